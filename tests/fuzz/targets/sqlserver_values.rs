//! What SQL Server answers: cells of every type of TDS for columns of every kind, keys that are sent back, and the
//! order of captured rows.
#![no_main]

use std::borrow::Cow;
use std::sync::Arc;

use contract::{TableName, TableShape, Value};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::xml::XmlData;
use tiberius::{ColumnData, Uuid};

#[allow(dead_code, unused_imports, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/column/mod.rs"]
mod column;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/lsn.rs"]
mod lsn;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/made.rs"]
mod made;
#[path = "../parts/sqlserver_session.rs"]
mod session;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/sql.rs"]
mod sql;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/tuple.rs"]
mod tuple;
#[path = "../../../adapters/sqlserver/src/values.rs"]
mod values;

use column::{Kind, packed};
use lsn::Lsn;
use tuple::{Captured, Operation, Pairing, Tuple};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    if input.byte() % 4 == 3 {
        captured(&mut input);
        return;
    }
    while !input.is_empty() {
        let kind = kind(&mut input);
        let (cell, bytes) = cell(&mut input);
        let same = cell.clone();
        let Some(value) = values::value(&kind, cell) else {
            continue;
        };
        fuzz::sound(&value, bytes);
        assert!(
            values::value(&kind, same) == Some(value.clone()),
            "read twice, it is another"
        );
        let _ = packed(&value);
    }
});

fn kind(input: &mut Input<'_>) -> Kind {
    let size = u16::from(input.byte());
    let places = input.byte();
    let collation = || "Latin1_General_CI_AS".to_owned();
    match input.byte() % 19 {
        0 => Kind::Bit,
        1 => Kind::Int("bigint"),
        2 => Kind::Decimal {
            precision: places,
            scale: places / 2,
        },
        3 => Kind::Money,
        4 => Kind::SmallMoney,
        5 => Kind::Real,
        6 => Kind::Float,
        7 => Kind::Date,
        8 => Kind::Time(places),
        9 => Kind::DateTime,
        10 => Kind::SmallDateTime,
        11 => Kind::DateTime2(places),
        12 => Kind::DateTimeOffset(places),
        13 => Kind::Char {
            fixed: true,
            bytes: Some(size),
            collation: collation(),
        },
        14 => Kind::NChar {
            fixed: false,
            units: None,
            collation: collation(),
        },
        15 => Kind::Xml,
        16 => Kind::Binary {
            fixed: true,
            bytes: Some(size),
        },
        17 => Kind::Rowversion,
        _ => Kind::Uuid,
    }
}

/// A cell as the client hands it over, of any type and with any content that fits the type, and its size.
fn cell(input: &mut Input<'_>) -> (ColumnData<'static>, usize) {
    let (which, there) = (input.byte(), input.byte() % 8 != 0);
    let mut bytes = 32;
    let cell = match which % 19 {
        0 => ColumnData::Bit(there.then(|| input.byte() % 2 == 1)),
        1 => ColumnData::U8(there.then(|| input.byte())),
        2 => ColumnData::I16(there.then(|| i16::from_le_bytes(input.array()))),
        3 => ColumnData::I32(there.then(|| i32::from_le_bytes(input.array()))),
        4 => ColumnData::I64(there.then(|| i64::from_le_bytes(input.array()))),
        5 => ColumnData::F32(there.then(|| f32::from_le_bytes(input.array()))),
        6 => ColumnData::F64(there.then(|| f64::from_le_bytes(input.array()))),
        7 => {
            let digits = i128::from_le_bytes(input.array());
            // The client itself takes no other scale.
            let scale = input.byte() % 38;
            ColumnData::Numeric(there.then(|| Numeric::new_with_scale(digits, scale)))
        }
        8 => ColumnData::Date(there.then(|| date(input))),
        9 => ColumnData::Time(there.then(|| time(input))),
        10 => ColumnData::DateTime(there.then(|| {
            DateTime::new(
                i32::from_le_bytes(input.array()),
                u32::from_le_bytes(input.array()),
            )
        })),
        11 => ColumnData::SmallDateTime(there.then(|| {
            SmallDateTime::new(
                u16::from_le_bytes(input.array()),
                u16::from_le_bytes(input.array()),
            )
        })),
        12 => ColumnData::DateTime2(there.then(|| moment(input))),
        13 => ColumnData::DateTimeOffset(
            there.then(|| DateTimeOffset::new(moment(input), i16::from_le_bytes(input.array()))),
        ),
        14 => ColumnData::Guid(there.then(|| Uuid::from_bytes(input.array()))),
        15 => {
            let text = input.text();
            bytes += text.len();
            ColumnData::Xml(there.then(|| Cow::Owned(XmlData::new(text))))
        }
        16 => {
            let content = input.piece().to_vec();
            bytes += content.len();
            ColumnData::Binary(there.then_some(Cow::Owned(content)))
        }
        _ => {
            let text = input.text();
            bytes += text.len();
            ColumnData::String(there.then_some(Cow::Owned(text)))
        }
    };
    (cell, bytes)
}

fn date(input: &mut Input<'_>) -> Date {
    // Three bytes, as the protocol has it.
    let [a, b, c] = input.array();
    Date::new(u32::from_le_bytes([a, b, c, 0]))
}

fn time(input: &mut Input<'_>) -> Time {
    // Five bytes, as the protocol has it.
    let [a, b, c, d, e] = input.array();
    Time::new(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]), input.byte())
}

fn moment(input: &mut Input<'_>) -> DateTime2 {
    DateTime2::new(date(input), time(input))
}

/// Captured rows in any order: an update is told whole or not at all, and no row is made up.
fn captured(input: &mut Input<'_>) {
    let shape = Arc::new(TableShape {
        table: TableName::new("dbo", "t"),
        columns: vec!["id".to_owned(), "n".to_owned()],
        key: vec![0],
    });
    let mut pairing = Pairing::new(input.byte() % 2 == 0);
    let (mut taken, mut told) = (0_usize, 0_usize);
    while !input.is_empty() {
        let [lsn, command, seqval, operation, id, n] = input.array();
        let place = |byte: u8| Lsn([byte; 10]);
        let Some(operation) = Operation::of(i64::from(operation % 5)) else {
            continue;
        };
        let tuple = Tuple {
            lsn: place(lsn % 4),
            command: i32::from(command % 4),
            seqval: place(seqval % 4),
            operation,
        };
        let row = vec![Value::Int((id % 4).into()), Value::Int(n.into())];
        taken += 1;
        let one = Captured {
            tuple,
            row,
            committed_at: None,
        };
        match pairing.take(one, &shape) {
            Ok(Some(change)) => {
                told += 1;
                assert!(change.before.is_some() || change.after.is_some());
                assert_eq!(change.tuple, tuple);
            }
            Ok(None) => {}
            Err(why) => {
                assert!(!why.is_empty());
                return;
            }
        }
        assert!(told <= taken);
        let _ = (pairing.is_waiting(), pairing.take_unclear());
    }
}
