//! Every conversion: what a cell becomes, and what is held instead of guessed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{EventType, FieldType, Value};

use crate::common::*;

/// A file whose one rule maps `field` of an event type by `spec`, and every other required field
/// by a constant.
fn file(event_type: EventType, field: &str, spec: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "mapping: 1\npack: p\npack_version: \"1\"\ncompany: C\nclean:\n  \
         dates: {{null_values: [\"1900-01-01\", \"0000-00-00\"], zone: Europe/Berlin}}\n\
         tables: {{t: {{name: t, key: [id]}}}}\ndictionaries:\n  \
         flag: {{Y: true, \"0\": false, \"1.5\": true}}\n  \
         codes: {{A: one, \"7\": seven, else: rest}}\n  \
         dates: {{today: 2026-11-20, else: hold}}\n\
         events:\n  - id: r\n    emit: {event_type}\n    from: t\n    key: {{"
    );
    for key in event_type.schema().key.iter().skip(1) {
        write!(text, "{key}: id, ").unwrap();
    }
    writeln!(text, "}}\n    fields:\n      {field}: {spec}").unwrap();
    for other in event_type.schema().fields {
        if !other.required || other.name == field {
            continue;
        }
        let constant = match other.field_type {
            FieldType::Text => "\"'x'\"".to_owned(),
            FieldType::Decimal => "0".to_owned(),
            FieldType::Bool => "true".to_owned(),
            FieldType::Word(words) => format!("\"'{}'\"", words[0]),
            FieldType::Date => "\"'2026-01-01'\"".to_owned(),
            FieldType::Timestamp
            | FieldType::Money
            | FieldType::List(_)
            | FieldType::Object(_)
            | FieldType::Texts
            | FieldType::Map => {
                panic!("{}", other.name)
            }
        };
        writeln!(text, "      {}: {constant}", other.name).unwrap();
    }
    text
}

/// What `cell` in column `x` becomes: the field's JSON, `-` for absent, or the reason.
fn becomes_with(
    event_type: EventType,
    field: &str,
    spec: &str,
    cell: Value,
    other: Value,
) -> String {
    let shape = shape("public", "t", &["id", "x", "cur"], 1);
    let change = insert(&shape, vec![text("1"), cell, other]);
    let mapped = map(&file(event_type, field, spec), &change);
    if let Some(held) = mapped.held.first() {
        let place = format!("rule r, field {field}, column \"x\": ");
        let formula = format!("rule r, field {field}, `{}`: ", spec.trim_matches('"'));
        let reason = held.reason.replace(&place, "").replace(&formula, "");
        return format!("held: {reason}");
    }
    let events = events(mapped);
    let form: serde_json::Value = serde_json::from_str(&body(&events[0])).unwrap();
    form.get(field).map_or("-".to_owned(), ToString::to_string)
}

fn check(event_type: EventType, field: &str, spec: &str, cases: &[(Value, &str)]) {
    for (cell, expected) in cases {
        let found = becomes_with(event_type, field, spec, cell.clone(), Value::Null);
        let kind = cell.type_name();
        assert_eq!(
            &found,
            expected,
            "{field}: {spec}, {kind} {:?}",
            cell.text()
        );
    }
}

fn moment(value: &str) -> Value {
    Value::Timestamp(value.parse().unwrap())
}

#[test]
fn texts() {
    let product = EventType::Product;
    let uuid = contract::value::parse_uuid("00112233-4455-6677-8899-aabbccddeeff").unwrap();
    check(
        product,
        "description",
        "x",
        &[
            (text("  a b "), r#""  a b ""#),
            (text(""), r#""""#),
            (Value::Int(-5), r#""-5""#),
            (Value::unsigned(u64::MAX), r#""18446744073709551615""#),
            (decimal("1.50"), r#""1.5""#),
            (Value::Bool(true), r#""true""#),
            (
                Value::Uuid(uuid),
                r#""00112233-4455-6677-8899-aabbccddeeff""#,
            ),
            (date("2026-11-20"), r#""2026-11-20""#),
            (date("1900-01-01"), "-"),
            (local("2026-11-20T08:00:00"), r#""2026-11-20T08:00:00""#),
            (moment("2026-11-20T08:00:00Z"), r#""2026-11-20T08:00:00Z""#),
            (Value::Json("{\"a\": 1.0}".to_owned()), r#""{\"a\": 1.0}""#),
            (Value::Null, "-"),
            (
                Value::Float(1.5),
                "held: a value of type float cannot become text",
            ),
            (
                Value::Bytes(vec![1]),
                "held: a value of type bytes cannot become text",
            ),
            (
                Value::Invalid("?".to_owned()),
                "held: the source holds a value that no type here can hold",
            ),
            (Value::Invalid("0000-00-00".to_owned()), "-"),
        ],
    );
    let padded = [(text("  a "), r#""a ""#), (text("x"), r#""x""#)];
    check(product, "description", "{column: x, trim: left}", &padded);
    let both = [(text("  a "), r#""a""#), (text("  "), r#""""#)];
    check(product, "description", "{column: x, trim: both}", &both);
    let nulls = [
        (text("----"), "-"),
        (text(" ----"), "-"),
        (Value::Int(0), "-"),
        (text("0.0"), r#""0.0""#),
    ];
    let spec = "{column: x, trim: both, null_values: [\"----\", \"0\"]}";
    check(product, "description", spec, &nulls);
    let default = [(Value::Null, r#""none""#), (text("a"), r#""a""#)];
    check(
        product,
        "description",
        "{column: x, default: none}",
        &default,
    );
    let codes = [
        (text("A"), r#""one""#),
        (Value::Int(7), r#""seven""#),
        (text("Z"), r#""rest""#),
        (Value::Null, "-"),
    ];
    check(
        product,
        "description",
        "{column: x, dictionary: codes}",
        &codes,
    );
    check(
        product,
        "description",
        "\"'it''s'\"",
        &[(Value::Null, r#""it's""#)],
    );
    check(
        product,
        "description",
        "{const: x}",
        &[(Value::Null, r#""x""#)],
    );
}

#[test]
fn decimals() {
    let nines = "9".repeat(38);
    check(
        EventType::Product,
        "weight",
        "x",
        &[
            (Value::Int(5), r#""5""#),
            (Value::unsigned(u64::MAX), r#""18446744073709551615""#),
            (decimal("-0.10"), r#""-0.1""#),
            (text("2e3"), r#""2000""#),
            (text(&nines), &format!("\"{nines}\"")),
            (
                text(" 5"),
                "held: its text cannot become a decimal: not a decimal number",
            ),
            (
                text("1,5"),
                "held: its text cannot become a decimal: not a decimal number",
            ),
            (
                text(""),
                "held: its text cannot become a decimal: not a decimal number",
            ),
            (
                text(&format!("{nines}9")),
                "held: its text cannot become a decimal: more than 38 digits",
            ),
            (
                Value::Float(1.5),
                "held: a binary float needs `round` to become a decimal",
            ),
            (
                Value::Bool(true),
                "held: a value of type bool cannot become decimal",
            ),
            (
                date("2026-11-20"),
                "held: a value of type date cannot become decimal",
            ),
            (Value::Null, "-"),
        ],
    );
    check(
        EventType::Product,
        "weight",
        "{column: x, implied_decimals: 2, default: 7}",
        &[
            (Value::Int(12_345), r#""123.45""#),
            (text("-5"), r#""-0.05""#),
            // A default is what the field becomes, not what the column would have held.
            (Value::Null, r#""7""#),
        ],
    );
}

#[test]
fn rounding_is_half_away_from_zero_and_never_wraps() {
    check(
        EventType::Product,
        "weight",
        "{column: x, round: 2}",
        &[
            (Value::Float(32.38), r#""32.38""#),
            (Value::Float(2.675), r#""2.68""#),
            (Value::Float(-2.675), r#""-2.68""#),
            (Value::Float(0.1 + 0.2), r#""0.3""#),
            (Value::Float(1e-300), r#""0""#),
            (Value::Float(-4.9e-324), r#""0""#),
            (Value::Float(0.005), r#""0.01""#),
            (Value::Float(1e20), r#""100000000000000000000""#),
            (
                Value::Float(1e300),
                "held: its float cannot become a decimal: more than 38 digits",
            ),
            (
                Value::Float(f64::NAN),
                "held: the float is infinite or not a number",
            ),
            (
                Value::Float(f64::INFINITY),
                "held: the float is infinite or not a number",
            ),
            (decimal("1.005"), r#""1.01""#),
            (Value::Int(3), r#""3""#),
        ],
    );
    let small = format!("0.{}", "9".repeat(38));
    check(
        EventType::Product,
        "weight",
        "{column: x, round: 0}",
        &[
            (decimal(&small), r#""1""#),
            (decimal(&format!("-{small}")), r#""-1""#),
            (decimal("0.49"), r#""0""#),
            (Value::Float(2.5), r#""3""#),
        ],
    );
}

#[test]
fn truth_values() {
    let no = "held: a value of type text cannot become bool; a dictionary to true and false can";
    check(
        EventType::Product,
        "hazardous",
        "x",
        &[
            (Value::Bool(true), "true"),
            (Value::Int(0), "false"),
            (Value::Int(1), "true"),
            (
                Value::Int(2),
                "held: a whole number other than 0 and 1 is no bool",
            ),
            (text("true"), no),
            (Value::Null, "-"),
        ],
    );
    check(
        EventType::Product,
        "hazardous",
        "{column: x, dictionary: flag}",
        &[
            (text("Y"), "true"),
            (decimal("0.00"), "false"),
            (decimal("1.50"), "true"),
            (text("N"), "held: its code is not in dictionary `flag`"),
        ],
    );
    let default = [(Value::Null, "false"), (Value::Int(1), "true")];
    check(
        EventType::Product,
        "hazardous",
        "{column: x, default: false}",
        &default,
    );
}

#[test]
fn words() {
    check(
        EventType::Product,
        "status",
        "x",
        &[
            (text("blocked"), r#""blocked""#),
            (
                text("B"),
                "held: its code is none of active, no_new_sales, discontinued, blocked, deleted; \
                 a dictionary can translate it",
            ),
            (Value::Null, "held: a required field must not be null"),
        ],
    );
    check(
        EventType::Order,
        "lifecycle",
        "\"case when x is not null then 'closed' else 'open' end\"",
        &[
            (Value::Null, r#""open""#),
            (date("2026-11-20"), r#""closed""#),
            // The file's "no date" is null, however the column stores it.
            (date("1900-01-01"), r#""open""#),
            (local("1900-01-01T00:00:00"), r#""open""#),
            (local("1900-01-01T08:00:00"), r#""closed""#),
            (Value::Invalid("0000-00-00".to_owned()), r#""open""#),
            (
                Value::Invalid("0000-00-00 00:00:00".to_owned()),
                r#""open""#,
            ),
            (
                Value::Invalid("0000-00-00 00:00:00.000".to_owned()),
                r#""open""#,
            ),
            (
                Value::Invalid("0000-00-00 00:00:01".to_owned()),
                "held: the source holds a value that no type here can hold",
            ),
            (
                Value::Invalid("2026-02-31".to_owned()),
                "held: the source holds a value that no type here can hold",
            ),
        ],
    );
}

#[test]
fn dates() {
    let movement = EventType::InventoryMovement;
    check(
        movement,
        "posted_on",
        "x",
        &[
            (date("2026-11-20"), r#""2026-11-20""#),
            (text("2026-11-20"), r#""2026-11-20""#),
            (date("1900-01-01"), "-"),
            (text("1900-01-01"), "-"),
            (text("2026-11-2"), "held: its text is no date YYYY-MM-DD"),
            (text("2026-02-30"), "held: its text is no date YYYY-MM-DD"),
            (text("20261120"), "held: its text is no date YYYY-MM-DD"),
            (text("+026-11-20"), "held: its text is no date YYYY-MM-DD"),
            (
                local("2026-11-20T00:00:00"),
                "held: a value of type datetime cannot become date",
            ),
            (
                moment("2026-11-20T00:00:00Z"),
                "held: a value of type timestamp cannot become date",
            ),
        ],
    );
    check(
        movement,
        "posted_on",
        "{column: x, date: ymd, default: 2026-01-02}",
        &[
            (Value::Int(20_090_630), r#""2009-06-30""#),
            (decimal("20090630"), r#""2009-06-30""#),
            (text("20090630"), r#""2009-06-30""#),
            (Value::Int(19_000_101), r#""2026-01-02""#),
            (Value::Int(0), "held: its int is no date YYYYMMDD"),
            (Value::Int(20_091_330), "held: its int is no date YYYYMMDD"),
            (text("2009063ä"), "held: its text is no date YYYYMMDD"),
            (Value::Null, r#""2026-01-02""#),
        ],
    );
    check(
        movement,
        "posted_on",
        "{column: x, date: cyyddd, null_values: [\"0\"]}",
        &[
            (Value::Int(126_328), r#""2026-11-24""#),
            (text("099365"), r#""1999-12-31""#),
            (Value::Int(99_365), r#""1999-12-31""#),
            (Value::Int(124_366), r#""2024-12-31""#),
            (Value::Int(126_366), "held: its int is no date CYYDDD"),
            (Value::Int(126_000), "held: its int is no date CYYDDD"),
            (Value::Int(-1), "held: its int is no date CYYDDD"),
            (Value::Int(0), "-"),
        ],
    );
    let word = [
        (text("today"), r#""2026-11-20""#),
        (text("x"), "held: its code is not in dictionary `dates`"),
    ];
    check(
        movement,
        "posted_on",
        "{column: x, dictionary: dates}",
        &word,
    );
    // The field's own null values stand instead of the file's.
    let own = [
        (date("1900-01-01"), r#""1900-01-01""#),
        (date("1753-01-01"), "-"),
    ];
    let spec = "{column: x, null_values: [\"1753-01-01\"]}";
    check(movement, "posted_on", spec, &own);
}

#[test]
fn moments() {
    let change = "held: the local time falls into a clock change of its zone; clean.dates.clock_change says which moment to take";
    check(
        EventType::InventoryMovement,
        "occurred_at",
        "x",
        &[
            (moment("2026-11-20T08:00:00Z"), r#""2026-11-20T08:00:00Z""#),
            (local("2026-11-20T09:00:00"), r#""2026-11-20T08:00:00Z""#),
            (local("2026-07-01T09:00:00"), r#""2026-07-01T07:00:00Z""#),
            (local("1900-01-01T00:00:00"), "-"),
            (local("2026-03-29T02:30:00"), change),
            (local("2026-10-25T02:30:00"), change),
            (
                date("2026-11-20"),
                "held: a value of type date cannot become timestamp",
            ),
            (
                text("2026-11-20T08:00:00Z"),
                "held: a value of type text cannot become timestamp",
            ),
            (Value::Null, "-"),
        ],
    );
    let spec = "{column: x, zone: America/Chicago, default: \"2026-01-01T00:00:00Z\"}";
    let cases = [
        (local("2026-11-20T09:00:00"), r#""2026-11-20T15:00:00Z""#),
        (Value::Null, r#""2026-01-01T00:00:00Z""#),
    ];
    check(EventType::InventoryMovement, "occurred_at", spec, &cases);
}

#[test]
fn money() {
    let order = EventType::Order;
    let fixed = [
        (decimal("19.90"), r#"{"amount":"19.9","currency":"USD"}"#),
        (Value::Int(5), r#"{"amount":"5","currency":"USD"}"#),
        (
            Value::Float(32.38),
            "held: a binary float needs `round` to become a decimal",
        ),
        (Value::Null, "-"),
    ];
    check(order, "total", "{column: x, currency: USD}", &fixed);
    let rounded = [
        (
            Value::Float(32.384_999),
            r#"{"amount":"32.38","currency":"USD"}"#,
        ),
        (Value::Null, "-"),
    ];
    check(
        order,
        "total",
        "{column: x, round: 2, currency: USD}",
        &rounded,
    );
    let constant = [(Value::Null, r#"{"amount":"4.5","currency":"USD"}"#)];
    check(order, "total", "{const: 4.50, currency: USD}", &constant);
    let spec = "{column: x, currency: {column: cur}}";
    let with =
        |amount: Value, currency: Value| becomes_with(order, "total", spec, amount, currency);
    assert_eq!(
        with(decimal("1"), text("EUR  ")),
        r#"{"amount":"1","currency":"EUR"}"#
    );
    assert_eq!(
        with(decimal("1"), Value::Null),
        "held: its currency is null"
    );
    assert_eq!(
        with(decimal("1"), text("   ")),
        "held: its currency is null"
    );
    assert_eq!(
        with(decimal("1"), text("Eur")),
        "held: its currency is not three capital letters"
    );
    assert_eq!(with(Value::Null, text("?")), "-");
    assert_eq!(with(Value::Null, Value::Null), "-");
}
