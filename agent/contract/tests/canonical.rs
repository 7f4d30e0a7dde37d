//! What is published about the event types: schemas, document and baseline. `BLESS=1` writes the
//! files anew, except the baseline, which is what receivers were promised: that is
//! `BLESS_BASELINE=1`, when a version is released.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod validate;

use std::collections::BTreeSet;
use std::path::PathBuf;

use contract::schema::{
    TypeDescription, asyncapi, breaks, describe, example, file_name, json_schema, later_example,
    markdown,
};
use contract::{Decimal, Event, EventKind, EventType, FieldType};
use serde_json::{Value, json};
use validate::problems;

const BASELINE: &str = "mappings/canonical/baseline.json";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

fn pretty(value: &impl serde::Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

fn check(name: &str, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path(name), text).unwrap();
    }
    let written = std::fs::read_to_string(path(name)).unwrap_or_default();
    let line = written.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        written == text,
        "{name} is not what the code says, from line {} on; BLESS=1 writes it anew",
        line.map_or("the end".to_owned(), |n| (n + 1).to_string())
    );
}

fn sent(event: &Event) -> Value {
    serde_json::from_str(&event.json()).unwrap()
}

/// Every example event: what a type is, and what comes later.
fn examples() -> Vec<(EventType, Value)> {
    let both = |event_type| {
        let events = [example(event_type), later_example(event_type)];
        events.map(|event| (event_type, sent(&event.unwrap())))
    };
    EventType::ALL.into_iter().flat_map(both).collect()
}

#[test]
fn the_published_files_are_what_the_code_says() {
    for event_type in EventType::ALL {
        let name = format!("mappings/canonical/{}", file_name(event_type));
        check(&name, &pretty(&json_schema(event_type)));
    }
    check("mappings/canonical/asyncapi.json", &pretty(&asyncapi()));
    check("docs/events.md", &markdown());
    // A type that was renamed must not leave its old schema behind.
    let mut expected: BTreeSet<String> = EventType::ALL.into_iter().map(file_name).collect();
    expected.extend(["asyncapi.json", "baseline.json"].map(str::to_owned));
    for file in std::fs::read_dir(path("mappings/canonical")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(expected.contains(&name), "{name} is of no event type");
    }
}

#[test]
fn nothing_that_was_promised_is_broken() {
    let now = EventType::ALL.map(describe);
    if std::env::var_os("BLESS_BASELINE").is_some() {
        std::fs::write(path(BASELINE), pretty(&now)).unwrap();
    }
    let text = std::fs::read_to_string(path(BASELINE)).unwrap();
    let promised: Vec<TypeDescription> = serde_json::from_str(&text).unwrap();
    assert!(!promised.is_empty());
    let mut wrong = Vec::new();
    for old in &promised {
        match now.iter().find(|new| new.name == old.name) {
            Some(new) => {
                let breaks = breaks(old, new);
                wrong.extend(breaks.into_iter().map(|why| format!("{}: {why}", old.name)));
            }
            None => wrong.push(format!("{} is gone", old.name)),
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nreceivers rely on what {BASELINE} says: make it a new major version, or undo it"
    );
}

#[test]
fn a_description_is_read_back_as_it_was() {
    for event_type in EventType::ALL {
        let description = describe(event_type);
        let text = pretty(&description);
        assert_eq!(
            serde_json::from_str::<TypeDescription>(&text).unwrap(),
            description
        );
    }
}

#[test]
fn the_examples_fit_their_schemas() {
    for (event_type, event) in examples() {
        let wrong = problems(&json_schema(event_type), &event, true);
        assert!(wrong.is_empty(), "{event_type}: {wrong:#?}");
    }
}

/// The other way round: no part of the envelope is made up, and what is called required is there.
#[test]
fn every_part_of_the_envelope_is_really_sent() {
    for event_type in EventType::ALL {
        let schema = json_schema(event_type);
        let events = [example(event_type), later_example(event_type)];
        let events = events.map(|event| {
            let mut event = event.unwrap();
            event.envelope.warnings = vec!["something".to_owned()];
            if event.kind() == contract::EventKind::State {
                event.envelope.renamed_from = Some(event.envelope.key.clone());
            }
            sent(&event)
        });
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let sent: BTreeSet<_> = events.iter().flat_map(names).collect();
        assert_eq!(sent, names(&schema["properties"]), "{event_type}");
        for part in ["key", "version", "mapping"] {
            let described = names(&schema["properties"][part]["properties"]);
            assert_eq!(names(&events[0][part]), described, "{event_type} {part}");
        }
    }
}

#[test]
fn the_schemas_refuse_what_is_never_sent() {
    let schema = json_schema(EventType::Order);
    let good = sent(&example(EventType::Order).unwrap());
    let tombstone = sent(&later_example(EventType::Order).unwrap());
    let cases: &[(&Value, &str, Option<Value>, &str)] = &[
        (&good, "/type", Some(json!("product.v1")), "is not"),
        (&good, "/id", Some(json!("evt_1")), "does not match"),
        (&good, "/op", Some(json!("fact")), "is none of"),
        (&good, "/version/epoch", Some(json!(-1)), "beyond minimum"),
        (&good, "/version/seq", Some(json!("1")), "of type integer"),
        (&good, "/key/company", None, "\"company\" is missing"),
        (&good, "/key/order_id", Some(json!(1)), "of type string"),
        (&good, "/body", None, "\"body\" is missing"),
        (&good, "/read_at", Some(json!("yesterday")), "no date-time"),
        (
            &good,
            "/body/ordered_on",
            Some(json!("17.03.2026")),
            "no date",
        ),
        (
            &good,
            "/body/total/amount",
            Some(json!("1e3")),
            "does not match",
        ),
        (
            &good,
            "/body/total/amount",
            Some(json!("1.50")),
            "does not match",
        ),
        (
            &good,
            "/body/total/amount",
            Some(json!(1)),
            "of type string",
        ),
        (
            &good,
            "/body/total/currency",
            Some(json!("€")),
            "does not match",
        ),
        (&good, "/body/lifecycle", Some(json!("opn")), "is none of"),
        (
            &good,
            "/body/archived",
            Some(json!("no")),
            "of type boolean",
        ),
        (&good, "/body/order_number", None, "is missing"),
        (&good, "/body/lines/0/sku", None, "is missing"),
        (&good, "/body/lines", Some(json!({})), "of type array"),
        (&good, "/body/hold/held", None, "is missing"),
        (
            &good,
            "/body/preceded_by/0",
            Some(json!(1)),
            "of type string",
        ),
        (
            &good,
            "/reason",
            Some(json!("hard_delete")),
            "must not be there",
        ),
        (&tombstone, "/reason", None, "\"reason\" is missing"),
        (&tombstone, "/body", Some(json!({})), "must not be there"),
    ];
    for (event, place, value, expected) in cases {
        let mut event = (*event).clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap();
        match (parent, value) {
            (Value::Object(parent), Some(value)) => {
                drop(parent.insert(name.to_owned(), value.clone()));
            }
            (Value::Object(parent), None) => drop(parent.remove(name).unwrap()),
            (Value::Array(parent), Some(value)) => {
                parent[name.parse::<usize>().unwrap()] = value.clone();
            }
            _ => panic!("{place}"),
        }
        let found = problems(&schema, &event, false);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{place}: {found:?} lacks {expected}"
        );
    }
}

#[test]
fn facts_have_no_tombstones_and_always_a_body() {
    for event_type in EventType::ALL {
        let schema = json_schema(event_type);
        let fact = event_type.kind() == EventKind::Fact;
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.contains(&json!("body")), fact, "{event_type}");
        assert_eq!(schema["properties"].get("reason").is_none(), fact);
        let ops = schema["properties"]["op"]["enum"].as_array().unwrap();
        assert_eq!(!ops.contains(&json!("delete")), fact, "{event_type}");
    }
}

#[test]
fn a_later_field_does_not_break_a_receiver_that_validates() {
    let schema = json_schema(EventType::Product);
    let mut event = sent(&example(EventType::Product).unwrap());
    event["body"]["of_a_later_minor"] = json!("x");
    event["of_a_later_envelope"] = json!("x");
    assert_eq!(problems(&schema, &event, false), [""; 0]);
    assert_eq!(problems(&schema, &event, true).len(), 2);
}

#[test]
fn the_pattern_of_decimals_takes_what_we_write() {
    let schema = &json_schema(EventType::Product)["$defs"]["decimal"];
    for text in [
        "0",
        "-0.5",
        "12.50",
        "1000",
        "0.00000000000000000001",
        "-99999999999999999999",
    ] {
        let decimal: Decimal = text.parse().unwrap();
        assert_eq!(problems(schema, &json!(decimal), false), [""; 0], "{text}");
    }
    for text in [
        "", "-", "+1", "01", ".5", "1.", "1.0", "1e3", "1,5", " 1", "NaN",
    ] {
        assert_ne!(problems(schema, &json!(text), false), [""; 0], "{text}");
    }
}

#[test]
fn what_asyncapi_refers_to_is_there() {
    fn references(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(form) => {
                for (name, value) in form {
                    match value {
                        Value::String(target) if name == "$ref" => into.push(target.clone()),
                        value => references(value, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }
    let document = asyncapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert_eq!(found.len(), 4 * EventType::ALL.len());
    for target in found {
        let there = match target.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => path("mappings/canonical").join(&target).is_file(),
        };
        assert!(there, "{target}");
    }
}

/// A table cell breaks at a bar or a line's end, and a quantity without a unit means nothing.
#[test]
fn every_field_says_what_it_means_in_one_line() {
    let fractions = ["factor_num", "factor_den", "stock_qty_factor", "fx_rate"];
    for event_type in EventType::ALL {
        let description = describe(event_type);
        for field in &description.fields {
            let (path, meaning) = (&field.path, &field.meaning);
            let place = format!("{event_type} {path}");
            assert!(
                !meaning.is_empty() && !meaning.contains(['|', '\n']),
                "{place}"
            );
            assert!(
                !meaning.contains("  ") && !meaning.ends_with('.'),
                "{place}"
            );
            let name = path.rsplit('.').next().unwrap();
            if field.field_type == FieldType::Decimal.name() && !fractions.contains(&name) {
                let unit = ["`uom`", "`stock_uom`", "`unit`", "`weight_unit`"];
                assert!(unit.iter().any(|unit| meaning.contains(unit)), "{place}");
            }
        }
        for part in &description.key {
            assert!(!part.meaning.is_empty(), "{event_type} {}", part.name);
        }
    }
}

/// `other` without the source's own code would lose it.
#[test]
fn where_a_word_can_be_other_the_sources_code_has_a_field() {
    for event_type in EventType::ALL {
        let fields = describe(event_type).fields;
        let other = fields
            .iter()
            .any(|field| field.words.contains(&"other".to_owned()));
        let code = fields.iter().find(|field| field.path == "source_value");
        assert_eq!(other, code.is_some(), "{event_type}");
        assert!(code.is_none_or(|field| !field.required));
    }
}

#[test]
fn sensitive_fields_are_optional_and_say_so() {
    let mut seen = BTreeSet::new();
    for event_type in EventType::ALL {
        for field in describe(event_type).fields {
            let name = field.path.rsplit('.').next().unwrap().to_owned();
            if ["unit_cost", "credit_limit"].contains(&name.as_str()) {
                assert!(
                    !field.required && field.meaning.contains("off by default"),
                    "{name}"
                );
                seen.insert(format!("{event_type} {}", field.path));
            }
        }
    }
    let expected = [
        "customer.v1 credit_limit",
        "inventory.movement.v1 unit_cost",
        "purchase_order.v1 lines[].unit_cost",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}
