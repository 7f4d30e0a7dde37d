//! Rows of any values, made of what is left of an input.

use std::sync::Arc;

use contract::{CapturedTable, LogPos, Op, Position, RowChange, TableShape, Value};
use jiff::civil::{Date, Time};
use jiff::{Timestamp, civil::DateTime};

use crate::Input;

/// Numbers and texts that are often special.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.5",
    "-0.005",
    "100",
    "9.99",
    "99999999999999999999999999999999999999",
    "0.00000000000000000000000000000000000001",
    "1e20",
    "3.333",
    "1000000",
    "-7.25",
    "2",
];
const TEXTS: &[&str] = &[
    "",
    " ",
    "A",
    "a ",
    "EUR",
    "EA",
    "N'1'",
    "2026-11-28",
    "20261128",
    "126333",
    "1.50",
    "-3",
    "é\u{301}",
    "\u{0}",
    "%_",
    "2026-11-28T10:00:00Z",
    "1900-01-01",
    "NaN",
    "true",
];

/// A value of any type.
pub fn value(input: &mut Input<'_>) -> Value {
    let which = input.byte();
    let small = input.byte();
    let of = |all: &[&'static str]| all[usize::from(small) % all.len()];
    match which % 18 {
        0 => Value::Null,
        1 => Value::Unchanged,
        2 => Value::Bool(small % 2 == 0),
        3 => Value::Int(i64::from(small) - 128),
        4 => Value::Int(i64::from_le_bytes(input.array())),
        5 => Value::unsigned(u64::from_le_bytes(input.array())),
        6 | 7 => of(NUMBERS).parse().map_or(Value::Null, Value::Decimal),
        8 => {
            let number = f64::from_le_bytes(input.array());
            if number.is_finite() {
                Value::Float(number)
            } else {
                Value::Float(0.1)
            }
        }
        9 | 10 => Value::Text(of(TEXTS).to_owned()),
        11 => Value::Text(input.text()),
        12 => Value::Bytes(input.piece().to_vec()),
        13 => Value::Date(day(input)),
        14 => Value::DateTime(DateTime::from_parts(day(input), clock(small))),
        15 => {
            let seconds = i64::from(i32::from_le_bytes(input.array()));
            Value::Timestamp(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
        }
        16 if small % 2 == 0 => Value::Time(clock(small)),
        16 => Value::Uuid(input.array()),
        _ if small % 2 == 0 => Value::Json(of(TEXTS).to_owned()),
        _ => Value::Invalid(of(TEXTS).to_owned()),
    }
}

fn day(input: &mut Input<'_>) -> Date {
    let year = i16::from_le_bytes(input.array());
    let (month, day) = (input.byte() % 12 + 1, input.byte() % 28 + 1);
    let part = |part: u8| i8::try_from(part).unwrap_or(1);
    Date::new(year.rem_euclid(9_999) + 1, part(month), part(day)).unwrap_or(Date::ZERO)
}

fn clock(small: u8) -> Time {
    Time::new(i8::try_from(small % 24).unwrap_or(0), 5, 9, 0).unwrap_or(Time::midnight())
}

/// Changes of rows of these tables, as many as the input has, but few.
pub fn changes(tables: &[CapturedTable], input: &mut Input<'_>) -> Vec<RowChange> {
    let shapes: Vec<Arc<TableShape>> = tables.iter().map(|table| Arc::new(shape(table))).collect();
    let mut changes = Vec::new();
    while !input.is_empty() && changes.len() < 12 && !shapes.is_empty() {
        let shape = &shapes[usize::from(input.byte()) % shapes.len()];
        let mut row = || {
            shape
                .columns
                .iter()
                .map(|_| value(input))
                .collect::<Vec<_>>()
        };
        let (one, other) = (row(), row());
        let (op, before, after) = match input.byte() % 4 {
            0 | 1 => (Op::Insert, None, Some(one)),
            2 => (Op::Update, Some(one), Some(other)),
            _ => (Op::Delete, Some(one), None),
        };
        let number = u64::try_from(changes.len()).unwrap_or(0) + 1;
        changes.push(RowChange {
            shape: Arc::clone(shape),
            op,
            before,
            after,
            position: Position {
                epoch: 1,
                pos: LogPos::from_number(number),
                seq: 1,
            },
            committed_at: Some(Timestamp::UNIX_EPOCH),
            transaction: number,
        });
    }
    changes
}

fn shape(table: &CapturedTable) -> TableShape {
    let mut columns = table.columns.clone();
    for key in &table.key {
        if !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    let key = table
        .key
        .iter()
        .filter_map(|key| columns.iter().position(|column| column == key));
    TableShape {
        table: table.table.clone(),
        key: key.collect(),
        columns,
    }
}
