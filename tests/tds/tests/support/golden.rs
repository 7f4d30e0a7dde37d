//! Values at the borders of every type, with what each client reads.

use std::borrow::Cow;

use tds_server::wire::{Collation, Column, Length, Type, Udt, Value};
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::xml::XmlData;
use tiberius::{ColumnData, Uuid};

/// A value of a type.
#[derive(Clone, Debug)]
pub struct Golden {
    pub column: Column,
    pub value: Value,
    /// What tiberius makes of it.
    pub tiberius: ColumnData<'static>,
}

pub const DAY: u64 = 864_000_000_000;
/// 9999-12-31 from 0001-01-01.
pub const LAST_DAY: u32 = 3_652_058;

fn time(scale: u8, ticks: u64) -> Time {
    Time::new(ticks / 10_u64.pow(u32::from(7 - scale)), scale)
}

fn string(text: &str) -> ColumnData<'static> {
    ColumnData::String(Some(Cow::Owned(text.to_owned())))
}

fn binary(bytes: &[u8]) -> ColumnData<'static> {
    ColumnData::Binary(Some(Cow::Owned(bytes.to_vec())))
}

/// All of them.
pub fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    let mut push = |kind: Type, value: Value, tiberius: ColumnData<'static>| {
        let column = Column::new("c", kind);
        all.push(Golden {
            column,
            value,
            tiberius,
        });
    };
    for bit in [false, true] {
        push(Type::Bit, bit.into(), ColumnData::Bit(Some(bit)));
    }
    for n in [0, 1, u8::MAX] {
        push(Type::TinyInt, n.into(), ColumnData::U8(Some(n)));
    }
    for n in [i16::MIN, -1, 0, i16::MAX] {
        push(Type::SmallInt, n.into(), ColumnData::I16(Some(n)));
    }
    for n in [i32::MIN, -1, 0, i32::MAX] {
        push(Type::Int, n.into(), ColumnData::I32(Some(n)));
    }
    for n in [i64::MIN, -1, 0, i64::MAX] {
        push(Type::BigInt, n.into(), ColumnData::I64(Some(n)));
    }
    for n in [f32::MIN, -0.0, f32::MIN_POSITIVE, f32::MAX] {
        push(Type::Real, n.into(), ColumnData::F32(Some(n)));
    }
    for n in [f64::MIN, -0.0, f64::MIN_POSITIVE, f64::MAX] {
        push(Type::Float, n.into(), ColumnData::F64(Some(n)));
    }
    for (precision, scale) in [
        (1, 0),
        (9, 9),
        (10, 0),
        (19, 4),
        (20, 1),
        (28, 28),
        (29, 0),
        (38, 0),
        (38, 10),
        (37, 37),
    ] {
        let most = 10_i128.pow(u32::from(precision)) - 1;
        for digits in [-most, 0, 1, most] {
            for kind in [
                Type::Decimal(precision, scale),
                Type::Numeric(precision, scale),
            ] {
                let number = Numeric::new_with_scale(digits, scale);
                push(
                    kind,
                    Value::Decimal(digits),
                    ColumnData::Numeric(Some(number)),
                );
            }
        }
    }
    // tiberius makes a binary float of money: the last digits are lost.
    for (units, read) in [
        (i64::MIN, -922_337_203_685_477.6),
        (-1, -0.0001),
        (0, 0.0),
        (i64::MAX, 922_337_203_685_477.6),
    ] {
        push(
            Type::Money,
            Value::Money(units),
            ColumnData::F64(Some(read)),
        );
    }
    for (units, read) in [
        (i32::MIN, -214_748.3648),
        (-1, -0.0001),
        (0, 0.0),
        (i32::MAX, 214_748.3647),
    ] {
        push(
            Type::SmallMoney,
            Value::SmallMoney(units),
            ColumnData::F64(Some(read)),
        );
    }
    for (days, ticks) in [(-53_690, 0), (0, 0), (0, 1), (2_958_463, 25_919_999)] {
        let read = ColumnData::DateTime(Some(DateTime::new(days, ticks)));
        push(Type::DateTime, Value::DateTime { days, ticks }, read);
    }
    for (days, minutes) in [(0, 0), (0, 1), (u16::MAX, 1439)] {
        let read = ColumnData::SmallDateTime(Some(SmallDateTime::new(days, minutes)));
        push(
            Type::SmallDateTime,
            Value::SmallDateTime { days, minutes },
            read,
        );
    }
    for days in [0, 1, 693_595, LAST_DAY] {
        push(
            Type::Date,
            Value::Date(days),
            ColumnData::Date(Some(Date::new(days))),
        );
    }
    for scale in 0..=7 {
        for ticks in [0, 1, 10_000_000, DAY - 1] {
            let read = time(scale, ticks);
            push(
                Type::Time(scale),
                Value::Time(ticks),
                ColumnData::Time(Some(read)),
            );
            for days in [0, LAST_DAY] {
                let read = DateTime2::new(Date::new(days), read);
                push(
                    Type::DateTime2(scale),
                    Value::DateTime2 { days, ticks },
                    ColumnData::DateTime2(Some(read)),
                );
                // At the first and last day the offset must not lead out of the calendar.
                for offset_minutes in if days == 0 { [0, 840] } else { [-840, 0] } {
                    let read = DateTimeOffset::new(read, offset_minutes);
                    push(
                        Type::DateTimeOffset(scale),
                        Value::DateTimeOffset {
                            days,
                            ticks,
                            offset_minutes,
                        },
                        ColumnData::DateTimeOffset(Some(read)),
                    );
                }
            }
        }
    }
    push(Type::Char(5), Value::text("ab"), string("ab   "));
    push(Type::NChar(3), Value::text("ж"), string("ж  "));
    push(
        Type::Binary(10),
        Value::bytes(&[0, 1]),
        binary(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    for text in ["", " ", "a\0b", "€uro – ÿ", &"x".repeat(8000)] {
        push(
            Type::VarChar(Length::Of(8000)),
            Value::text(text),
            string(text),
        );
        push(Type::VarChar(Length::Max), Value::text(text), string(text));
        push(Type::Text, Value::text(text), string(text));
    }
    for text in ["", " ", "a\0b", "žluťoučký 😀 𐍈", &"ж".repeat(4000)] {
        push(
            Type::NVarChar(Length::Of(4000)),
            Value::text(text),
            string(text),
        );
        push(Type::NVarChar(Length::Max), Value::text(text), string(text));
        push(Type::NText, Value::text(text), string(text));
    }
    for bytes in [&[][..], &[0], &[0xFF; 8000]] {
        push(
            Type::VarBinary(Length::Of(8000)),
            Value::bytes(bytes),
            binary(bytes),
        );
        push(
            Type::VarBinary(Length::Max),
            Value::bytes(bytes),
            binary(bytes),
        );
        push(Type::Image, Value::bytes(bytes), binary(bytes));
    }
    for long in ["ab".repeat(100_000), "😀".repeat(30_000)] {
        push(
            Type::NVarChar(Length::Max),
            Value::text(&long),
            string(&long),
        );
        push(
            Type::VarBinary(Length::Max),
            Value::bytes(long.as_bytes()),
            binary(long.as_bytes()),
        );
    }
    let guid = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
    let read = Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap();
    push(
        Type::UniqueIdentifier,
        Value::Guid(guid),
        ColumnData::Guid(Some(read)),
    );
    let xml = "<a b=\"ž\">😀</a>";
    let read = ColumnData::Xml(Some(Cow::Owned(XmlData::new(xml))));
    push(Type::Xml, Value::text(xml), read);
    push(
        Type::Udt(Udt::hierarchyid()),
        Value::bytes(&[0x5A, 0xC0]),
        binary(&[0x5A, 0xC0]),
    );
    push(
        Type::Udt(Udt::geography()),
        Value::bytes(&[0xE6; 22]),
        binary(&[0xE6; 22]),
    );
    all.extend(variants());
    let utf8 = Column::new("c", Type::VarChar(Length::Of(20))).collated(Collation::UTF8);
    // tiberius passes over the mark of UTF-8 and reads the language's code page.
    all.push(Golden {
        column: utf8,
        value: Value::text("ž"),
        tiberius: string("Å¾"),
    });
    all
}

fn variants() -> Vec<Golden> {
    let of = |kind: Type, value: Value, tiberius: ColumnData<'static>| Golden {
        column: Column::new("c", Type::Variant),
        value: Value::variant(kind, value),
        tiberius,
    };
    let guid = [7; 16];
    let days = 700_000;
    let seven = time(7, DAY - 1);
    vec![
        of(Type::Bit, true.into(), ColumnData::Bit(Some(true))),
        of(Type::TinyInt, 200_u8.into(), ColumnData::U8(Some(200))),
        of(
            Type::SmallInt,
            i16::MIN.into(),
            ColumnData::I16(Some(i16::MIN)),
        ),
        of(Type::Int, i32::MIN.into(), ColumnData::I32(Some(i32::MIN))),
        of(
            Type::BigInt,
            i64::MIN.into(),
            ColumnData::I64(Some(i64::MIN)),
        ),
        of(Type::Real, 1.5_f32.into(), ColumnData::F32(Some(1.5))),
        of(Type::Float, 1.5_f64.into(), ColumnData::F64(Some(1.5))),
        of(
            Type::Money,
            Value::Money(15_000),
            ColumnData::F64(Some(1.5)),
        ),
        of(
            Type::Decimal(38, 2),
            Value::Decimal(-12_345),
            ColumnData::Numeric(Some(Numeric::new_with_scale(-12_345, 2))),
        ),
        of(
            Type::Date,
            Value::Date(days),
            ColumnData::Date(Some(Date::new(days))),
        ),
        of(
            Type::Time(7),
            Value::Time(DAY - 1),
            ColumnData::Time(Some(seven)),
        ),
        of(
            Type::DateTime2(7),
            Value::DateTime2 {
                days,
                ticks: DAY - 1,
            },
            ColumnData::DateTime2(Some(DateTime2::new(Date::new(days), seven))),
        ),
        of(
            Type::DateTime,
            Value::DateTime { days: 1, ticks: 2 },
            ColumnData::DateTime(Some(DateTime::new(1, 2))),
        ),
        of(
            Type::UniqueIdentifier,
            Value::Guid(guid),
            ColumnData::Guid(Some(Uuid::from_bytes(guid))),
        ),
        of(Type::VarChar(Length::Of(10)), Value::text("ä"), string("ä")),
        of(
            Type::NVarChar(Length::Of(10)),
            Value::text("ж"),
            string("ж"),
        ),
        of(
            Type::VarBinary(Length::Of(10)),
            Value::bytes(&[1, 2]),
            binary(&[1, 2]),
        ),
        of(Type::Binary(2), Value::bytes(&[1, 2]), binary(&[1, 2])),
    ]
}

/// NULL of every type.
pub fn nulls() -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for golden in all() {
        if !columns
            .iter()
            .any(|column| column.kind == golden.column.kind)
        {
            columns.push(golden.column);
        }
    }
    columns
}
