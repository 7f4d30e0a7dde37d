//! Events made of several tables' rows: whatever changes, in whatever order and however cut into
//! batches, they are what plain SQL over the final rows gives.
//!
//! `RELATION_CASES=n` runs more cases.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::assigning_clones,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use common::*;
use contract::{LogPos, Op, Origin, Position, RowChange, TableShape, Value};
use mappings::relate::{MemoryReplicas, Related, Relations};
use mappings::{MapContext, MappingSet};
use proptest::prelude::*;
use rusqlite::Connection;

/// The tables: name, columns with their kind (`i` number, `t` text), and how many are the key.
const TABLES: &[(&str, &[(&str, char)], usize)] = &[
    (
        "stock",
        &[
            ("id", 'i'),
            ("item", 't'),
            ("loc", 't'),
            ("qty", 'i'),
            ("flag", 'i'),
            ("gone", 'i'),
        ],
        1,
    ),
    (
        "item",
        &[
            ("code", 't'),
            ("uomset", 't'),
            ("active", 'i'),
            ("zone", 't'),
        ],
        1,
    ),
    ("uom", &[("id", 't'), ("base", 't')], 1),
    (
        "need",
        &[
            ("id", 'i'),
            ("item", 't'),
            ("loc", 't'),
            ("kind", 'i'),
            ("qty", 'i'),
        ],
        1,
    ),
    ("head", &[("id", 'i'), ("cust", 't'), ("state", 'i')], 1),
    (
        "line",
        &[
            ("doc", 'i'),
            ("no", 'i'),
            ("item", 't'),
            ("qty", 'i'),
            ("done", 'i'),
        ],
        2,
    ),
    ("oldhead", &[("id", 'i'), ("cust", 't'), ("state", 'i')], 1),
    (
        "oldline",
        &[
            ("doc", 'i'),
            ("no", 'i'),
            ("item", 't'),
            ("qty", 'i'),
            ("done", 'i'),
        ],
        2,
    ),
    ("cust", &[("code", 't'), ("name", 't')], 1),
];

/// What differs between cases.
#[derive(Debug, Clone)]
struct Shape {
    item_missing: usize,
    with_uom: bool,
    with_need: bool,
    need_kind: bool,
    need_join: bool,
    grouped: bool,
    by_zone: bool,
    flag_filter: bool,
    active_filter: bool,
    gone: bool,
    history: bool,
    cust_missing: usize,
    line_filter: bool,
}

const MISSING: [&str; 3] = ["hold", "null", "leave_out"];

impl Shape {
    /// The zone of a missing item is none; where it must be there, the key would be unknown.
    fn by_zone(&self) -> bool {
        self.by_zone && self.item_missing != 0
    }

    fn file(&self) -> String {
        let mut tables = String::new();
        for (name, columns, key) in TABLES {
            let key: Vec<&str> = columns[..*key].iter().map(|(name, _)| *name).collect();
            writeln!(
                tables,
                "  {name}: {{name: {name}, key: [{}]}}",
                key.join(", ")
            )
            .unwrap();
        }
        let mut joins = format!(
            "      item: {{match: \"item.code = stock.item\", missing: {}}}\n",
            MISSING[self.item_missing]
        );
        let mut uom = "'EA'".to_owned();
        if self.with_uom && !self.grouped {
            joins.push_str("      uom: {match: \"uom.id = item.uomset\", missing: null}\n");
            uom = "coalesce(uom.base, 'EA')".to_owned();
        }
        let mut filters = Vec::new();
        if self.flag_filter {
            filters.push("stock.flag = 1");
        }
        if self.active_filter {
            filters.push("item.active = 1");
        }
        let mut blocks = String::new();
        if !filters.is_empty() {
            writeln!(blocks, "    where: \"{}\"", filters.join(" and ")).unwrap();
        }
        if self.gone {
            blocks.push_str("    deleted_when: \"stock.gone = 1\"\n");
        }
        if self.grouped {
            blocks.push_str("    group: sum\n");
        }
        let mut allocated = "0".to_owned();
        let mut on_order = String::new();
        if self.with_need {
            blocks.push_str("    add:\n      soft:\n        from: need\n");
            blocks.push_str("        match: \"need.item = stock.item and stock.loc = need.loc\"\n");
            if self.need_join {
                blocks.push_str(
                    "        join: {cust: {match: \"cust.code = need.item\", missing: leave_out}}\n",
                );
            }
            if self.need_kind {
                blocks.push_str("        where: \"need.kind = 1\"\n");
            }
            blocks.push_str("        sum: \"need.qty * 2\"\n");
            allocated = "\"soft.sum\"".to_owned();
            on_order = "      on_order: \"soft.count\"\n".to_owned();
        }
        let location = if self.by_zone() {
            "coalesce(item.zone, 'none')"
        } else {
            "coalesce(stock.loc, 'none')"
        };
        let history = if self.history {
            "    also_in: {head: oldhead, line: oldline}\n"
        } else {
            ""
        };
        let archived = if self.history {
            ""
        } else {
            "      archived: false\n"
        };
        let line_filter = if self.line_filter {
            "      where: \"line.item is not null\"\n"
        } else {
            ""
        };
        let sku = "coalesce(line.item, '-')";
        let cust_missing = MISSING[self.cust_missing];
        format!(
            r#"
mapping: 1
pack: property
pack_version: "1"
company: C
tables:
{tables}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    join:
{joins}{blocks}
    key: {{sku: "coalesce(stock.item, 'none')", location: "{location}"}}
    fields:
      uom: "{uom}"
      on_hand: "stock.qty"
      allocated: {allocated}
{on_order}
      active: "stock.flag = 1"
      backordered: "on_hand - allocated"
  - id: order
    emit: order.v1
    from: head
{history}
    join:
      cust: {{match: "cust.code = head.cust", missing: {cust_missing}}}
    lines:
      from: line
      match: "line.doc = head.id"
      order_by: ["line.qty desc", line.no]
{line_filter}
      join:
        item: {{match: "item.code = line.item", missing: null}}
      fields:
        line_id: "line.no"
        sku: "{sku}"
        location: "item.zone"
        uom: "'EA'"
        qty_ordered: "line.qty"
        qty_shipped: "line.done"
        qty_cancelled: 0
        qty_open: "qty_ordered - qty_shipped"
        status: "case when qty_open = 0 then 'shipped' else 'open' end"
    key: {{order_id: "head.id"}}
    fields:
      order_number: "head.id"
      document_kind: "'order'"
      customer_id: "coalesce(cust.name, 'unknown')"
      ordered_on: "date '2026-11-20'"
      lifecycle: "case when head.state = 1 then 'open' else 'closed' end"
      fulfillment: "case when count_lines() = 0 then 'none' when sum_lines(qty_open) = 0 then 'shipped' else 'partial' end"
      has_backorder: "any_lines(qty_open > 0)"
      source_status: "head.state"
{archived}
"#
        )
    }

    /// Rows of the stock rule: what each means, and its key and values.
    fn stock_sql(&self) -> String {
        let mut filter = vec!["1".to_owned()];
        if self.flag_filter {
            filter.push("s.flag = 1".to_owned());
        }
        if self.active_filter {
            filter.push("i.active = 1".to_owned());
        }
        let need = if self.with_need {
            let kind = if self.need_kind { "and n.kind = 1" } else { "" };
            let join = if self.need_join {
                "join cust c on c.code = n.item"
            } else {
                ""
            };
            format!(
                "select coalesce(sum(n.qty * 2), 0) as total, count(*) as number from need n {join}
                 where n.item = s.item and n.loc = s.loc {kind}"
            )
        } else {
            "select 0 as total, null as number".to_owned()
        };
        let uom = if self.with_uom && !self.grouped {
            "coalesce(u.base, 'EA')"
        } else {
            "'EA'"
        };
        let location = if self.by_zone() {
            "coalesce(i.zone, 'none')"
        } else {
            "coalesce(s.loc, 'none')"
        };
        format!(
            "select s.id, coalesce(s.item, 'none'), {location}, {uom}, s.qty,
               (select total from ({need})), (select number from ({need})), s.flag = 1,
               i.code is null, {} , coalesce(s.gone = 1, 0)
             from stock s left join item i on i.code = s.item left join uom u on u.id = i.uomset
             order by s.id",
            filter.join(" and ")
        )
    }
}

/// A change: a table, the row's key and what becomes of it.
#[derive(Debug, Clone)]
struct Step {
    table: usize,
    cells: Vec<Option<u8>>,
    delete: bool,
    /// The transaction goes on.
    more: bool,
    /// The batch is cut here.
    cut: bool,
}

fn shape_of() -> impl Strategy<Value = Shape> {
    (
        (
            0..3_usize,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (0..3_usize, any::<bool>()),
    )
        .prop_map(|(a, b, c)| Shape {
            item_missing: a.0,
            with_uom: a.1,
            with_need: a.2,
            need_kind: a.3,
            need_join: a.4,
            grouped: a.5,
            by_zone: b.0,
            flag_filter: b.1,
            active_filter: b.2,
            gone: b.3,
            history: b.4,
            cust_missing: c.0,
            line_filter: c.1,
        })
}

fn step() -> impl Strategy<Value = Step> {
    // Stock and lines change most.
    let table = prop_oneof![
        4 => Just(0_usize),
        2 => Just(1),
        1 => Just(2),
        3 => Just(3),
        2 => Just(4),
        4 => Just(5),
        1 => Just(6),
        1 => Just(7),
        1 => Just(8),
    ];
    (
        table,
        proptest::collection::vec(proptest::option::weighted(0.9, 0..4_u8), 6),
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::bool::weighted(0.3),
    )
        .prop_map(|(table, cells, delete, more, cut)| Step {
            table,
            cells,
            delete,
            more,
            cut,
        })
}

/// Texts and numbers in which collisions are common.
fn cell(kind: char, key: bool, value: Option<u8>) -> Value {
    match (kind, value) {
        ('t', Some(n)) => text(["A", "B", "C", "D"][usize::from(n)]),
        (_, Some(n)) => Value::Int(i64::from(n)),
        ('t', None) if key => text("A"),
        (_, None) if key => Value::Int(0),
        (_, None) => Value::Null,
    }
}

/// A world: SQLite's tables, and the changes as a log tells them.
struct World {
    db: Connection,
    shapes: Vec<Arc<TableShape>>,
    log: Vec<(Vec<RowChange>, bool)>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        let mut shapes = Vec::new();
        for (name, columns, key) in TABLES {
            let list: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            db.execute_batch(&format!(
                "create table {name} ({}, primary key ({}))",
                list.join(", "),
                list[..*key].join(", ")
            ))
            .unwrap();
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            shapes.push(shape("public", name, &names, *key));
        }
        Self {
            db,
            shapes,
            log: vec![(Vec::new(), false)],
            next: 1,
        }
    }

    fn row(&self, table: usize, key: &[Value]) -> Option<Vec<Value>> {
        let (name, columns, _) = TABLES[table];
        let on: Vec<String> = columns[..key.len()]
            .iter()
            .zip(key)
            .map(|((name, _), value)| format!("{name} = {}", literal(value)))
            .collect();
        let mut found = self
            .db
            .prepare(&format!("select * from {name} where {}", on.join(" and ")))
            .unwrap();
        let mut rows = found.query([]).unwrap();
        let row = rows.next().unwrap()?;
        Some((0..columns.len()).map(|n| of_sql(row, n)).collect())
    }

    fn step(&mut self, step: &Step) {
        let (name, columns, key) = TABLES[step.table];
        let new: Vec<Value> = columns
            .iter()
            .zip(&step.cells)
            .enumerate()
            .map(|(n, ((_, kind), value))| cell(*kind, n < key, *value))
            .collect();
        let old = self.row(step.table, &new[..key]);
        let mut change = |op, before, after| {
            let (changes, _) = self.log.last_mut().unwrap();
            changes.push(RowChange {
                shape: Arc::clone(&self.shapes[step.table]),
                op,
                before,
                after,
                position: Position {
                    epoch: 1,
                    pos: LogPos::from_number(self.next),
                    seq: u32::try_from(changes.len()).unwrap() + 1,
                },
                committed_at: None,
                transaction: self.next,
            });
        };
        let on: Vec<String> = columns[..key]
            .iter()
            .zip(&new)
            .map(|((name, _), value)| format!("{name} = {}", literal(value)))
            .collect();
        let remove = format!("delete from {name} where {}", on.join(" and "));
        let values: Vec<String> = new.iter().map(literal).collect();
        let insert = format!("insert into {name} values ({})", values.join(", "));
        match (old, step.delete) {
            (None, true) => return,
            (Some(old), true) => {
                // Most logs carry only the key of a removed row.
                let mut before = vec![Value::Unchanged; columns.len()];
                before[..key].clone_from_slice(&old[..key]);
                change(Op::Delete, Some(before), None);
                self.db.execute_batch(&remove).unwrap();
            }
            (Some(_), false) => {
                change(Op::Update, None, Some(new));
                self.db
                    .execute_batch(&format!("{remove}; {insert}"))
                    .unwrap();
            }
            (None, false) => {
                change(Op::Insert, None, Some(new));
                self.db.execute_batch(&insert).unwrap();
            }
        }
        if !step.more {
            self.next += 1;
            self.log.push((Vec::new(), step.cut));
        }
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("'{text}'"),
        other => other.text().unwrap(),
    }
}

fn of_sql(row: &rusqlite::Row<'_>, n: usize) -> Value {
    match row.get_ref(n).unwrap() {
        rusqlite::types::ValueRef::Null => Value::Null,
        rusqlite::types::ValueRef::Integer(n) => Value::Int(n),
        rusqlite::types::ValueRef::Text(bytes) => text(std::str::from_utf8(bytes).unwrap()),
        _ => panic!("a value of another kind"),
    }
}

/// The agent's side: relations fed with the log, and what was told.
struct Agent {
    relations: Relations,
    replicas: MemoryReplicas,
    context: MapContext,
    /// Everything that came out, in order.
    out: Vec<String>,
    /// The last of each key; gone keys are not in it.
    told: BTreeMap<(String, String), serde_json::Value>,
}

impl Agent {
    fn new(file: &str) -> Self {
        let set = MappingSet::new(vec![load(file)]).unwrap();
        let mut replicas = MemoryReplicas::default();
        let (relations, _) = Relations::open(&set, None, &mut replicas).unwrap();
        Self {
            relations,
            replicas,
            context: context(),
            out: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Takes transactions; with `cut`, marks go to the store after every so many changes, and
    /// work is done in small pieces.
    fn take(&mut self, log: &[(Vec<RowChange>, bool)], cut: bool) {
        let mut stored = false;
        for (n, (changes, cut_here)) in log.iter().enumerate() {
            let mut pending = self.relations.pending(stored);
            for change in changes {
                let at = self.context.read_at;
                self.relations
                    .apply(change, Origin::Live, at, &mut pending, &mut self.replicas)
                    .unwrap();
                if cut && *cut_here {
                    // As after a restart within the transaction.
                    self.relations
                        .keep(&mut pending, &mut self.replicas)
                        .unwrap();
                    pending = self.relations.pending(true);
                }
            }
            let limit = if cut { 1 + n % 3 } else { 10_000 };
            loop {
                let flushed = self
                    .relations
                    .flush(
                        &mut pending,
                        &|_| true,
                        &self.context,
                        limit,
                        &mut self.replicas,
                    )
                    .unwrap();
                for related in flushed.related {
                    self.publish(related);
                }
                if !flushed.more {
                    break;
                }
                pending = self.relations.pending(true);
            }
            stored = self.has_marks();
        }
    }

    fn has_marks(&mut self) -> bool {
        use mappings::relate::Replicas as _;
        self.replicas.has_marks().unwrap()
    }

    fn publish(&mut self, related: Related) {
        match related {
            Related::Event { event, .. } => {
                let key = event.envelope.key.text();
                let place = (event.envelope.event_type.name().to_owned(), key);
                self.out.push(event.json());
                match &event.body {
                    Some(body) => {
                        let body = serde_json::from_str(&body.json()).unwrap();
                        self.told.insert(place, body);
                    }
                    None => {
                        self.told.remove(&place);
                    }
                }
            }
            Related::Held { held, .. } => {
                self.out
                    .push(format!("held {} {}", held.row_key, held.reason));
            }
            Related::Settled { .. } => {}
        }
    }
}

/// What SQL says a key's event is: some fields, nothing, or that it waits for a person.
#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Body(Vec<(&'static str, serde_json::Value)>),
    Waits,
}

fn wanted_stock(shape: &Shape, db: &Connection) -> BTreeMap<String, Wanted> {
    struct Row {
        key: Option<String>,
        uom: String,
        qty: Option<i64>,
        need: i64,
        number: Option<i64>,
        active: Option<i64>,
        held: bool,
    }
    let mut query = db.prepare(&shape.stock_sql()).unwrap();
    let rows = query
        .query_map([], |row| {
            let item: Option<String> = row.get(1)?;
            let location: Option<String> = row.get(2)?;
            let missing: bool = row.get(8)?;
            let kept: Option<bool> = row.get(9)?;
            let gone: bool = row.get(10)?;
            let qty: Option<i64> = row.get(4)?;
            let active: Option<i64> = row.get(7)?;
            let key = item
                .zip(location)
                .map(|(item, loc)| format!("C|{item}|{loc}"));
            let out = (shape.gone && gone && kept == Some(true))
                || (kept == Some(false))
                || (missing && shape.item_missing == 2)
                || (kept.is_none() && !(missing && shape.item_missing == 0));
            // A required field without a value, or a join that must be there.
            let held = (missing && shape.item_missing == 0) || qty.is_none() || active.is_none();
            Ok((
                out,
                Row {
                    held: held || key.is_none(),
                    key,
                    uom: row.get(3)?,
                    qty,
                    need: row.get(5)?,
                    number: row.get(6)?,
                    active,
                },
            ))
        })
        .unwrap()
        .map(Result::unwrap)
        .filter(|(out, _)| !out)
        .map(|(_, row)| row);
    let mut keys: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        if let Some(key) = row.key.clone() {
            keys.entry(key).or_default().push(row);
        }
    }
    let mut wanted = BTreeMap::new();
    for (key, rows) in keys {
        let waits = rows.iter().any(|row| row.held) || (!shape.grouped && rows.len() > 1);
        if waits {
            wanted.insert(key, Wanted::Waits);
            continue;
        }
        let on_hand: i64 = rows.iter().map(|row| row.qty.unwrap()).sum();
        // A constant is not added up.
        let need: i64 = rows.iter().map(|row| row.need).sum();
        let mut fields = vec![
            ("uom", rows[0].uom.clone().into()),
            ("on_hand", on_hand.to_string().into()),
            ("allocated", need.to_string().into()),
            ("backordered", (on_hand - need).to_string().into()),
            (
                "active",
                rows.iter().any(|row| row.active == Some(1)).into(),
            ),
        ];
        if shape.with_need {
            let number: i64 = rows.iter().map(|row| row.number.unwrap()).sum();
            fields.push(("on_order", number.to_string().into()));
        }
        wanted.insert(key, Wanted::Body(fields));
    }
    wanted
}

fn wanted_orders(shape: &Shape, db: &Connection) -> BTreeMap<String, Wanted> {
    let heads = if shape.history {
        "select id, cust, state, 0 as old from head
         union all select id, cust, state, 1 from oldhead
           where id not in (select id from head)"
    } else {
        "select id, cust, state, 0 as old from head"
    };
    let mut wanted = BTreeMap::new();
    let mut query = db
        .prepare(&format!(
            "select h.id, h.state, h.old, c.code is null, c.name
             from ({heads}) h left join cust c on c.code = h.cust"
        ))
        .unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let id: i64 = row.get(0).unwrap();
        let (state, old): (Option<i64>, bool) = (row.get(1).unwrap(), row.get(2).unwrap());
        let (missing, name): (bool, Option<String>) = (row.get(3).unwrap(), row.get(4).unwrap());
        if missing && shape.cust_missing == 2 {
            continue;
        }
        let table = if old { "oldline" } else { "line" };
        let filter = if shape.line_filter {
            "and l.item is not null"
        } else {
            ""
        };
        let mut lines = db
            .prepare(&format!(
                "select l.no, coalesce(l.item, '-'), i.zone, l.qty, l.done
                 from {table} l left join item i on i.code = l.item
                 where l.doc = {id} {filter} order by l.qty desc, l.no"
            ))
            .unwrap();
        let mut waits = (missing && shape.cust_missing == 0) || state.is_none();
        let mut list = Vec::new();
        let (mut open, mut backorder) = (0, false);
        let mut found = lines.query([]).unwrap();
        while let Some(line) = found.next().unwrap() {
            let (qty, done): (Option<i64>, Option<i64>) =
                (line.get(3).unwrap(), line.get(4).unwrap());
            let (Some(qty), Some(done)) = (qty, done) else {
                waits = true;
                continue;
            };
            open += qty - done;
            backorder |= qty > done;
            let mut item = serde_json::json!({
                "line_id": line.get::<_, i64>(0).unwrap().to_string(),
                "sku": line.get::<_, String>(1).unwrap(),
            });
            if let Some(zone) = line.get::<_, Option<String>>(2).unwrap() {
                item["location"] = zone.into();
            }
            item["uom"] = "EA".into();
            item["qty_ordered"] = qty.to_string().into();
            item["qty_shipped"] = done.to_string().into();
            item["qty_cancelled"] = "0".into();
            item["qty_open"] = (qty - done).to_string().into();
            item["status"] = if qty == done { "shipped" } else { "open" }.into();
            list.push(item);
        }
        if waits {
            wanted.insert(format!("C|{id}"), Wanted::Waits);
            continue;
        }
        let fulfillment = match (list.is_empty(), open) {
            (true, _) => "none",
            (false, 0) => "shipped",
            (false, _) => "partial",
        };
        let lifecycle = if state == Some(1) { "open" } else { "closed" };
        wanted.insert(
            format!("C|{id}"),
            Wanted::Body(vec![
                (
                    "customer_id",
                    name.unwrap_or_else(|| "unknown".to_owned()).into(),
                ),
                ("lifecycle", lifecycle.into()),
                ("fulfillment", fulfillment.into()),
                ("has_backorder", backorder.into()),
                ("archived", old.into()),
                ("lines", list.into()),
            ]),
        );
    }
    wanted
}

fn compare(event_type: &str, wanted: &BTreeMap<String, Wanted>, agent: &Agent) {
    for (key, wanted) in wanted {
        let Wanted::Body(fields) = wanted else {
            continue;
        };
        let place = (event_type.to_owned(), key.clone());
        let body = agent.told.get(&place);
        for (name, value) in fields {
            let found = body.and_then(|body| body.get(*name));
            assert_eq!(found, Some(value), "{event_type} {key} {name}");
        }
    }
    for (kind, key) in agent.told.keys() {
        // What waits for a person keeps what was told before.
        assert!(
            kind != event_type || wanted.contains_key(key),
            "{kind} {key} should be gone"
        );
    }
}

fn cases() -> u32 {
    let wanted = std::env::var("RELATION_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn events_are_what_sql_gives_over_the_final_rows(
        shape in shape_of(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let file = shape.file();
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let mut agent = Agent::new(&file);
        agent.take(&world.log, false);
        compare("inventory.availability.v1", &wanted_stock(&shape, &world.db), &agent);
        compare("order.v1", &wanted_orders(&shape, &world.db), &agent);
        let mut cut = Agent::new(&file);
        cut.take(&world.log, true);
        prop_assert_eq!(agent.out, cut.out, "the same changes, cut otherwise");
    }
}

#[test]
fn nothing_is_worked_out_before_its_tables_are_read() {
    let shape = Shape {
        item_missing: 1,
        with_uom: false,
        with_need: true,
        need_kind: false,
        need_join: false,
        grouped: false,
        by_zone: false,
        flag_filter: false,
        active_filter: false,
        gone: false,
        history: false,
        cust_missing: 1,
        line_filter: false,
    };
    let mut agent = Agent::new(&shape.file());
    let mut world = World::new();
    world.step(&Step {
        table: 0,
        cells: vec![Some(1); 6],
        delete: false,
        more: false,
        cut: false,
    });
    let mut pending = agent.relations.pending(false);
    for (changes, _) in &world.log {
        for change in changes {
            agent
                .relations
                .apply(
                    change,
                    Origin::Snapshot,
                    agent.context.read_at,
                    &mut pending,
                    &mut agent.replicas,
                )
                .unwrap();
        }
    }
    let unread = |table: &contract::TableName| table.name != "need";
    let flushed = agent
        .relations
        .flush(
            &mut pending,
            &unread,
            &agent.context,
            100,
            &mut agent.replicas,
        )
        .unwrap();
    assert!(flushed.related.is_empty(), "{:?}", flushed.related);
    assert!(agent.has_marks(), "what is marked waits in the store");
    let mut pending = agent.relations.pending(true);
    let flushed = agent
        .relations
        .flush(
            &mut pending,
            &|_| true,
            &agent.context,
            100,
            &mut agent.replicas,
        )
        .unwrap();
    assert!(
        flushed
            .related
            .iter()
            .any(|related| matches!(related, Related::Event { .. }))
    );
    assert!(!agent.has_marks());
}
