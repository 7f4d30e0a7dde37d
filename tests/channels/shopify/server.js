// A stand-in for Shopify's Admin GraphQL API, version 2026-04, on one loopback port.
//
// Shopify's own here: the schema, and with it what is a valid request and the shape of every answer.
// graphql-js reads the requests and checks them against it.
//
// Simulated by the lines below, after Shopify's documentation and never against its server: tokens,
// stock and its compare-and-set, the key that inventory mutations must carry, cost and throttling.
// The words of their errors are ours, and that one bad entry fails a whole mutation is assumed. Fields
// that nothing here fills have made-up values of the right type, and mutations that are not
// simulated answer without errors and change nothing.
//
// PORT is where it listens, SCHEMA the introspection result, BUCKET and RESTORE the cost points at
// most and per second, THROTTLED the HTTP status of a throttled answer.
const fs = require('fs');
const http = require('http');
const zlib = require('zlib');
const { addMocksToSchema } = require('@graphql-tools/mock');
const {
  buildClientSchema, execute, getOperationAST, isScalarType, isSpecifiedScalarType, parse, validate, valueFromASTUntyped,
  visit,
} = require('graphql');

const TOKEN = 'shpat_tests';
const CLIENT = new URLSearchParams({ grant_type: 'client_credentials', client_id: 'tests', client_secret: 'tests' });
const PATH = '/admin/api/2026-04/graphql.json';
const ITEMS = 100;
const ENTRIES_MAX = 250; // of any input list
const QUANTITY_MAX = 1e9;
const BUCKET = Number(process.env.BUCKET);
const RESTORE = Number(process.env.RESTORE);
const MUTATION_COST = 10;

// --- what the shop holds
const gid = (type, id) => `gid://shopify/${type}/${id}`;
const locations = ['EAST', 'WEST'].map((name, at) => ({ id: gid('Location', at + 1), name, isActive: true }));
const items = Array.from({ length: ITEMS }, (_, at) => {
  const number = at + 1;
  const item = { id: gid('InventoryItem', number), sku: `SKU-${String(number).padStart(3, '0')}`, tracked: true };
  item.levels = locations.map((location) => level(item, location));
  item.inventoryLevel = ({ locationId }) => item.levels.find((at) => at.location.id === locationId) ?? null;
  item.inventoryLevels = (args) => connection(item.levels, args);
  item.variant = { id: gid('ProductVariant', number), sku: item.sku, inventoryItem: item };
  return item;
});

function level(item, location) {
  const held = { available: 0, committed: 0 };
  return {
    id: gid('InventoryLevel', `${location.id.split('/').pop()}?inventory_item_id=${item.id.split('/').pop()}`),
    item,
    location,
    held,
    quantities: ({ names }) => names.map((name) => ({
      id: gid('InventoryQuantity', name),
      name,
      quantity: name === 'on_hand' ? held.available + held.committed : held[name] ?? 0,
    })),
  };
}

function connection(all, { first, after, query }) {
  const skus = query?.split(' OR ').map((term) => term.match(/^sku:(?:'((?:[^'\\]|\\.)*)'|([\w-]+))$/));
  if (skus?.includes(null)) throw new Error(`the stand-in only knows queries such as sku:X OR sku:'Y', not ${query}`);
  const wanted = skus?.map(([, quoted, bare]) => bare ?? quoted.replace(/\\(.)/g, '$1'));
  const found = wanted ? all.filter((one) => wanted.includes(one.sku)) : all;
  const from = after ? Number(after) : 0;
  const nodes = found.slice(from, from + (first ?? 50));
  const edges = nodes.map((node, at) => ({ node, cursor: String(from + at + 1) }));
  return { nodes, edges, pageInfo: {
    hasNextPage: from + nodes.length < found.length, hasPreviousPage: from > 0,
    startCursor: edges[0]?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null,
  } };
}

// --- mutations of stock
const seen = new Map(); // what a key was used for, and what was answered

function change(kind, list, input, key) {
  const known = seen.get(key);
  const used = `${kind} ${JSON.stringify(input)}`;
  if (known) {
    return known.used === used ? known.answer : refuse([{ code: 'IDEMPOTENCY_KEY_PARAMETER_MISMATCH', field: null,
      message: 'the key was used with other parameters' }]);
  }
  const answer = applied(list, input);
  seen.set(key, { used, answer });
  return answer;
}

const refuse = (userErrors) => ({ inventoryAdjustmentGroup: null, userErrors });

function applied(list, input) {
  const errors = [];
  const wrong = (at, field, code) => errors.push({ code, field: ['input', list, String(at), field], message: code });
  if (!['available', 'on_hand'].includes(input.name)) {
    return refuse([{ code: 'INVALID_NAME', field: ['input', 'name'], message: 'INVALID_NAME' }]);
  }
  const pairs = new Set();
  const todo = input[list].map((entry, at) => {
    const item = items.find((one) => one.id === entry.inventoryItemId);
    if (!item) return wrong(at, 'inventoryItemId', 'INVALID_INVENTORY_ITEM');
    if (!locations.some((one) => one.id === entry.locationId)) return wrong(at, 'locationId', 'INVALID_LOCATION');
    const { held } = item.inventoryLevel(entry);
    const pair = `${item.id} ${entry.locationId}`;
    if (pairs.has(pair)) return wrong(at, 'inventoryItemId', 'NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR');
    pairs.add(pair);
    const now = held.available + (input.name === 'on_hand' ? held.committed : 0);
    // null says that the caller does not care what it was.
    if (entry.changeFromQuantity !== null && entry.changeFromQuantity !== now) {
      return wrong(at, 'changeFromQuantity', 'CHANGE_FROM_QUANTITY_STALE');
    }
    const next = entry.quantity ?? now + entry.delta;
    if (next > QUANTITY_MAX) return wrong(at, 'quantity', 'INVALID_QUANTITY_TOO_HIGH');
    if (next < -QUANTITY_MAX) return wrong(at, 'quantity', 'INVALID_QUANTITY_TOO_LOW');
    return () => { held.available += next - now; };
  });
  if (errors.length) return refuse(errors);
  todo.forEach((step) => step());
  return { inventoryAdjustmentGroup: { id: gid('InventoryAdjustmentGroup', seen.size + 1), reason: input.reason },
    userErrors: [] };
}

// --- the schema with all that
const introspection = JSON.parse(zlib.gunzipSync(fs.readFileSync(process.env.SCHEMA)));
const schema = buildClientSchema(introspection.data ?? introspection);
const mocks = {};
for (const type of Object.values(schema.getTypeMap())) {
  if (isScalarType(type) && !isSpecifiedScalarType(type)) mocks[type.name] = () => 'made up';
  if (type.getFields?.().userErrors) mocks[type.name] = () => ({ userErrors: [] });
}
const shop = addMocksToSchema({ schema, mocks, resolvers: {
  QueryRoot: {
    inventoryItem: (_, { id }) => items.find((item) => item.id === id) ?? null,
    inventoryItems: (_, args) => connection(items, args),
    productVariants: (_, args) => connection(items.map((item) => item.variant), args),
    locations: (_, args) => connection(locations, args),
  },
  Mutation: {
    inventorySetQuantities: (_, { input }, { key }) => change('set', 'quantities', input, key),
    inventoryAdjustQuantities: (_, { input }, { key }) => change('adjust', 'changes', input, key),
  },
} });

// --- requests
let points = BUCKET;
let filled = Date.now();
let requests = 0;

// What a request asks for: its cost, and the key of an inventory mutation.
function measure(document, variables) {
  const found = { cost: 0, key: undefined, stock: false, lists: [] };
  visit(document, {
    Field(node) {
      if (node.selectionSet) found.cost += 1;
      if (!/^inventory(Set|Adjust)Quantities$/.test(node.name.value)) return;
      found.stock = true;
      const input = valueFromASTUntyped(node.arguments[0].value, variables);
      found.lists.push(input?.quantities ?? input?.changes ?? []);
    },
    Directive(node) {
      if (node.name.value === 'idempotent') found.key = valueFromASTUntyped(node.arguments[0].value, variables);
    },
  });
  if (getOperationAST(document)?.operation === 'mutation') found.cost += MUTATION_COST;
  return found;
}

async function answer(body) {
  const failed = (message, code, more) => ({ errors: [{ message, extensions: { code } }], ...more });
  let request, document;
  try {
    request = JSON.parse(body);
    document = parse(request.query);
  } catch (error) {
    return [200, failed(error.message, 'BAD_REQUEST')];
  }
  const invalid = validate(schema, document);
  if (invalid.length) return [200, { errors: invalid.map(({ message, locations }) => ({ message, locations })) }];
  const variables = request.variables ?? {};
  const { cost, key, stock, lists } = measure(document, variables);

  points = Math.min(BUCKET, points + ((Date.now() - filled) / 1000) * RESTORE);
  filled = Date.now();
  const throttled = cost > points;
  if (!throttled) points -= cost;
  const extensions = { cost: {
    requestedQueryCost: cost,
    actualQueryCost: throttled ? null : cost,
    throttleStatus: { maximumAvailable: BUCKET, currentlyAvailable: Math.floor(points), restoreRate: RESTORE },
  } };
  if (throttled) return [Number(process.env.THROTTLED), failed('Throttled', 'THROTTLED', { extensions })];

  const entries = lists.flat();
  if (stock && !key) return [200, failed('the @idempotent directive is required', 'BAD_REQUEST', { extensions })];
  if (entries.some((entry) => entry?.changeFromQuantity === undefined)) {
    return [200, failed('changeFromQuantity is required', 'BAD_REQUEST', { extensions })];
  }
  if (lists.some((list) => list.length > ENTRIES_MAX)) {
    return [200, failed(`more than ${ENTRIES_MAX} entries`, 'MAX_INPUT_SIZE_EXCEEDED', { extensions })];
  }
  const result = await execute({ schema: shop, document, variableValues: variables, contextValue: { key } });
  return [200, { ...result, extensions }];
}

http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', async () => {
    const send = (status, json) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(json));
    };
    // Not Shopify's: what a test does or asks behind the API's back.
    if (request.url === '/tests/requests') return send(200, requests);
    if (request.url === '/tests/sell') {
      const { sku, location, quantity } = JSON.parse(body);
      const { held } = items.find((item) => item.sku === sku).levels.find((at) => at.location.name === location);
      held.available -= quantity;
      held.committed += quantity;
      return send(200, held);
    }
    if (request.url === '/admin/oauth/access_token') {
      const asked = [...new URLSearchParams(body)].sort().join();
      if (asked !== [...CLIENT].sort().join()) return send(400, { error: 'invalid_client' });
      return send(200, { access_token: TOKEN, scope: 'write_inventory', expires_in: 86399 });
    }
    requests += 1;
    if (request.url !== PATH || request.method !== 'POST') return send(404, { errors: 'Not Found' });
    if (request.headers['x-shopify-access-token'] !== TOKEN) return send(401, { errors: 'Invalid API key or access token' });
    return send(...await answer(body));
  });
}).on('error', (error) => {
  console.error(error);
  process.exit(1);
}).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('READY'));
