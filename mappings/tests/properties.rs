//! Whatever stands in a file or a row: no panic, and the same answer twice.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;

use contract::{Decimal, Op, Value};
use jiff::{Timestamp, civil};
use mappings::{Mapping, parse_yaml};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::*;

fn any_value() -> impl Strategy<Value = Value> {
    let date = (-9999i16..=9999, 1i8..=12, 1i8..=28)
        .prop_map(|(year, month, day)| civil::date(year, month, day));
    let decimal = (any::<i128>(), 0u32..=38).prop_filter_map("too many digits", |(n, scale)| {
        Decimal::try_new(n, scale).ok()
    });
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (0i64..3).prop_map(Value::Int),
        any::<u64>().prop_map(Value::unsigned),
        decimal.prop_map(Value::Decimal),
        any::<f64>().prop_map(Value::Float),
        ".{0,12}".prop_map(Value::Text),
        "[0-9.e-]{0,9}".prop_map(Value::Text),
        "[ADSQ]".prop_map(Value::Text),
        ".{0,12}".prop_map(Value::Invalid),
        ".{0,12}".prop_map(Value::Json),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        date.clone().prop_map(Value::Date),
        (date, 0i8..24).prop_map(|(date, hour)| Value::DateTime(date.at(hour, 30, 0, 0))),
        (-377_705_023_201i64..=253_402_207_200)
            .prop_map(|second| Value::Timestamp(Timestamp::from_second(second).unwrap())),
        (0i8..24).prop_map(|hour| Value::Time(civil::time(hour, 0, 0, 0))),
    ]
}

/// A good row of a table of the shared file with up to three cells replaced, or any cells at all.
fn any_row(good: Vec<Value>) -> impl Strategy<Value = Option<Vec<Value>>> {
    let width = good.len();
    let edited = vec((0..width, any_value()), 0..3).prop_map(move |edits| {
        let mut row = good.clone();
        for (cell, value) in edits {
            row[cell] = value;
        }
        Some(row)
    });
    prop_oneof![
        4 => edited,
        1 => vec(any_value(), 0..9).prop_map(Some),
        1 => Just(None),
    ]
}

fn any_change() -> impl Strategy<Value = contract::RowChange> {
    let tables = [
        (item(), item_row("A1")),
        (movement(), movement_row(1)),
        (sale(), sale_row(Value::Null)),
        (stock(), stock_row()),
    ];
    let ops = [Op::Insert, Op::Update, Op::Delete, Op::Truncate, Op::Read];
    (0..tables.len(), 0..ops.len()).prop_flat_map(move |(table, op)| {
        let (shape, good) = tables[table].clone();
        let op = ops[op];
        (any_row(good.clone()), any_row(good))
            .prop_map(move |(before, after)| change(&shape, op, before, after))
    })
}

/// Everything that came of a change, as text.
fn outcome(change: &contract::RowChange) -> String {
    let mapped = map(SHOP, change);
    let mut all = format!("{} {:?}", mapped.filtered, mapped.truncated);
    for draft in mapped.drafts.into_iter().chain(mapped.rewritten) {
        match draft.finish(None) {
            Ok(event) => all.push_str(&event.json()),
            Err(held) => write!(all, "{} {}", held.reason, held.row_json).unwrap(),
        }
    }
    for held in mapped.held {
        write!(all, "{} {}", held.reason, held.row_json).unwrap();
    }
    all
}

proptest! {
    #[test]
    fn no_edit_of_a_file_makes_loading_panic(
        at in 0..SHOP.len(), cut in 0usize..40, put in "[ -~\n]{0,6}"
    ) {
        let end = (at + cut).min(SHOP.len());
        let broken = format!("{}{put}{}", &SHOP[..at], &SHOP[end..]);
        let _ = Mapping::load("shop.yaml", &broken);
    }

    #[test]
    fn no_text_makes_loading_panic(text: String, yaml in "[a-z0-9 :,'\"&*!|>#\\[\\]{}\n\t-]{0,120}") {
        let _ = Mapping::load("f", &text);
        let _ = Mapping::load("f", &yaml);
        let _ = parse_yaml("f", &yaml);
    }

    #[test]
    fn every_change_has_one_outcome_and_it_is_the_same_twice(change in any_change()) {
        let once = outcome(&change);
        prop_assert_eq!(&once, &outcome(&change));
        // Nothing vanishes: a mapped table's change is an event, held, filtered, a truncate, or a fact
        // whose row was rewritten.
        prop_assert_ne!(once, "0 []");
    }

    #[test]
    fn reasons_never_show_a_value(secret in "S3CR3T[a-z]{6}", cell in 0usize..7) {
        let mut row = item_row("A1");
        row[cell] = text(&secret);
        let mapped = map(SHOP, &insert(&item(), row));
        for held in &mapped.held {
            prop_assert!(!held.reason.contains(&secret));
            let shown = format!("{held:?}");
            prop_assert!(!shown.contains(&secret));
        }
    }
}
