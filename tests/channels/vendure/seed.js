// Fills an empty Vendure through its own Admin API and ends: a shop in one country with two stock
// locations, EAST and WEST, and the products SKU-001 to SKU-100 at 10.00 with nothing in stock.
const net = require('net');
const PRODUCTS = 100;

let token;
async function graphql(query, variables) {
  const response = await fetch(`http://127.0.0.1:${process.env.PORT}/admin-api`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  });
  token = response.headers.get('vendure-auth-token') ?? token;
  const { data, errors } = await response.json();
  const refused = errors ?? Object.values(data).filter((found) => found.message);
  if (refused.length) throw new Error(`${query}: ${JSON.stringify(refused)}`);
  return data;
}

async function fill() {
  await graphql(`mutation { login(username: "superadmin", password: "superadmin") {
    __typename ... on ErrorResult { message } } }`);

  const country = (await graphql(`mutation { createCountry(input: { code: "US", enabled: true,
    translations: [{ languageCode: en, name: "United States" }] }) { id } }`)).createCountry.id;
  const zone = (await graphql('mutation ($of: [ID!]) { createZone(input: { name: "US", memberIds: $of }) { id } }',
    { of: [country] })).createZone.id;
  const tax = (await graphql('mutation { createTaxCategory(input: { name: "standard", isDefault: true }) { id } }'))
    .createTaxCategory.id;
  await graphql(`mutation ($zone: ID!, $tax: ID!) { createTaxRate(input: { name: "standard", value: 0,
    enabled: true, categoryId: $tax, zoneId: $zone }) { id } }`, { zone, tax });
  const { id } = (await graphql('{ activeChannel { id } }')).activeChannel;
  await graphql('mutation ($input: UpdateChannelInput!) { updateChannel(input: $input) { __typename ... on ErrorResult { message } } }',
    { input: { id, defaultTaxZoneId: zone, defaultShippingZoneId: zone, pricesIncludeTax: true } });

  // The shop comes with one location of its own.
  const west = (await graphql('{ stockLocations { items { id } } }')).stockLocations.items[0].id;
  await graphql('mutation ($id: ID!) { updateStockLocation(input: { id: $id, name: "WEST" }) { id } }', { id: west });
  const east = (await graphql('mutation { createStockLocation(input: { name: "EAST", description: "" }) { id } }'))
    .createStockLocation.id;

  await graphql(`mutation { createShippingMethod(input: { code: "flat", fulfillmentHandler: "manual-fulfillment",
    checker: { code: "default-shipping-eligibility-checker", arguments: [{ name: "orderMinimum", value: "0" }] },
    calculator: { code: "default-shipping-calculator", arguments: [{ name: "rate", value: "0" },
      { name: "includesTax", value: "auto" }, { name: "taxRate", value: "0" }] },
    translations: [{ languageCode: en, name: "Flat", description: "" }] }) { id } }`);
  await graphql(`mutation { createPaymentMethod(input: { code: "dummy", enabled: true,
    handler: { code: "dummy-payment-handler", arguments: [{ name: "automaticSettle", value: "true" }] },
    translations: [{ languageCode: en, name: "Dummy" }] }) { id } }`);

  for (let number = 1; number <= PRODUCTS; number++) {
    const sku = `SKU-${String(number).padStart(3, '0')}`;
    const productId = (await graphql(`mutation ($name: String!, $slug: String!) { createProduct(input: { enabled: true,
      translations: [{ languageCode: en, name: $name, slug: $slug, description: "" }] }) { id } }`,
      { name: `Product ${number}`, slug: sku.toLowerCase() })).createProduct.id;
    await graphql('mutation ($input: [CreateProductVariantInput!]!) { createProductVariants(input: $input) { id } }', {
      input: [{
        productId,
        sku,
        price: 1000,
        trackInventory: 'TRUE',
        translations: [{ languageCode: 'en', name: `Product ${number}` }],
        stockLevels: [east, west].map((stockLocationId) => ({ stockLocationId, stockOnHand: 0 })),
      }],
    });
  }
}

(async () => {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await new Promise((done) => probe.once('listening', done));
  process.env.PORT = probe.address().port;
  await new Promise((done) => probe.close(done));
  process.env.VENDURE_MAKE_TABLES = 'yes';
  const app = await require('./server.js').start();
  await fill();
  await app.close();
})().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
