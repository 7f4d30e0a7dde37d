//! What plain SQL over the final rows says that each key's event is.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::rules::Shape;

/// What SQL says a key's event is: some fields, nothing, or that it waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    Body(Vec<(&'static str, serde_json::Value)>),
    Waits,
}

pub(crate) fn wanted_stock(shape: &Shape, db: &Connection) -> BTreeMap<String, Wanted> {
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

/// One table, whose rows share keys.
pub(crate) fn wanted_sets(db: &Connection) -> BTreeMap<String, Wanted> {
    let sql = "select 'C|' || coalesce(uomset, 'none'), count(*), max(zone)
               from item where active < 2 group by 1";
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| {
        let (key, rows, name): (String, i64, Option<String>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let wanted = match name {
            Some(name) if rows == 1 => Wanted::Body(vec![("name", name.into())]),
            _ => Wanted::Waits,
        };
        Ok((key, wanted))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

pub(crate) fn wanted_orders(shape: &Shape, db: &Connection) -> BTreeMap<String, Wanted> {
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
        // Lines stand where their document's head stands, but for those that are not moved yet.
        let (table, other) = if old {
            ("oldline", "line")
        } else {
            ("line", "oldline")
        };
        let narrow = |alias: &str| {
            let narrow = shape.narrow.then(|| format!("and {alias}.qty > 0"));
            narrow.unwrap_or_default()
        };
        let table = if shape.history {
            format!(
                "(select * from {table} union all select * from {other} o where not exists
                   (select 1 from {table} t where t.doc = o.doc and t.no = o.no {}))",
                narrow("t")
            )
        } else {
            table.to_owned()
        };
        let narrow = narrow("l");
        let filter = if shape.line_filter {
            "and l.item is not null"
        } else {
            ""
        };
        let mut lines = db
            .prepare(&format!(
                "select l.no, coalesce(l.item, '-'), i.zone, l.qty, l.done
                 from {table} l left join item i on i.code = l.item
                 where l.doc = {id} {narrow} {filter} order by l.qty desc, l.no"
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
