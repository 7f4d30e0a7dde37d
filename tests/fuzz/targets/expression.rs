//! Expressions: any text is refused with a reason or compiled, and what is compiled takes rows of any values: it gives
//! the same each time, exact numbers, or holds the row.
#![no_main]

use std::sync::Arc;

use contract::{FieldValue, Level};
use fuzz::{Input, rows, told};
use libfuzzer_sys::fuzz_target;
use mappings::{Mapping, MappingSet};

/// Where the expression stands: as a text, a number, a truth value, a moment, and as what leaves rows out.
const FILES: &[(&str, &str)] = &[
    (
        "product.v1",
        "key: {sku: t.id}\n    fields: {name: EXPR, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}",
    ),
    (
        "inventory.availability.v1",
        "key: {sku: t.id, location: \"'MAIN'\"}\n    fields: {uom: \"'EA'\", on_hand: EXPR, allocated: {value: t.b, default: 0}}",
    ),
    (
        "product.v1",
        "key: {sku: t.id}\n    where: EXPR\n    fields: {name: t.a, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\", hazardous: EXPR}",
    ),
    (
        "inventory.movement.v1",
        "key: {movement_id: t.id}\n    fields: {kind: \"'adjustment'\", sku: t.a, location: \"'MAIN'\", uom: \"'EA'\", quantity: t.b, occurred_at: EXPR}",
    ),
];

// The first byte says where, then comes the expression up to a zero byte, then what rows are made of.
fuzz_target!(|data: &[u8]| {
    let [which, rest @ ..] = data else { return };
    let (event_type, rule) = FILES[usize::from(*which) % FILES.len()];
    let end = rest.iter().position(|byte| *byte == 0);
    let (text, rest) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 1..]));
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let quoted = serde_json::Value::from(text).to_string();
    let file = format!(
        "mapping: 1\npack: p\npack_version: \"1\"\ncompany: C\n\
         tables: {{t: {{name: public.t, key: [id]}}}}\n\
         dictionaries: {{codes: {{A: one, B: two, else: hold}}}}\n\
         events:\n  - id: one\n    emit: {event_type}\n    from: t\n    {}\n",
        rule.replace("EXPR", &quoted)
    );
    let mapping = match Mapping::load("fuzz.yaml", &file) {
        Ok(mapping) => mapping,
        Err(findings) => {
            let failed = |finding: &contract::Finding| finding.level == Level::Fail;
            assert!(findings.iter().any(failed), "refused, and nobody says why");
            return;
        }
    };
    let Ok(set) = MappingSet::new(vec![mapping]) else {
        return;
    };
    let set = Arc::new(set);
    let changes = rows::changes(&set.tables(), &mut Input::new(rest));
    for event in told::told(&set, &changes).events {
        let on_hand = event
            .body
            .as_ref()
            .and_then(|body| body.get("on_hand").cloned());
        if let Some(FieldValue::Decimal(number)) = on_hand {
            fuzz::same_decimal(number);
        }
    }
});
