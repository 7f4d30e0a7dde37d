//! Every type, the same to the cell by stream and snapshot, in each mode.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::world::{World, int};
use contract::{ChunkLimits, Decimal, TableName, Value as Cell};
use tds_server::model::Column;
use tds_server::wire::{Length, Type, Udt, Value};

fn decimal(text: &str) -> Cell {
    Cell::Decimal(text.parse::<Decimal>().unwrap())
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// Type, what is stored, and what is told of it.
fn all() -> Vec<(Type, Value, Cell)> {
    let bytes = |bytes: &[u8]| Cell::Bytes(bytes.to_vec());
    vec![
        (Type::Bit, Value::Bit(true), Cell::Bool(true)),
        (Type::TinyInt, Value::TinyInt(255), Cell::Int(255)),
        (
            Type::SmallInt,
            Value::SmallInt(i16::MIN),
            Cell::Int(-32_768),
        ),
        (Type::BigInt, Value::BigInt(i64::MIN), Cell::Int(i64::MIN)),
        (
            Type::Decimal(38, 10),
            Value::Decimal(-12_345),
            decimal("-0.0000012345"),
        ),
        // As a binary float it would end in .5806.
        (
            Type::Money,
            Value::Money(i64::MAX),
            decimal("922337203685477.5807"),
        ),
        (Type::SmallMoney, Value::SmallMoney(-5), decimal("-0.0005")),
        (Type::Float, Value::Float(0.1), Cell::Float(0.1)),
        (
            Type::Date,
            Value::Date(0),
            Cell::Date("0001-01-01".parse().unwrap()),
        ),
        (
            Type::Time(7),
            Value::Time(1),
            Cell::Time("00:00:00.0000001".parse().unwrap()),
        ),
        (
            Type::DateTime,
            Value::DateTime { days: 0, ticks: 1 },
            Cell::DateTime("1900-01-01T00:00:00.003".parse().unwrap()),
        ),
        (
            Type::DateTime2(3),
            Value::DateTime2 {
                days: 693_595,
                ticks: 10_000,
            },
            Cell::DateTime("1900-01-01T00:00:00.001".parse().unwrap()),
        ),
        (
            Type::DateTimeOffset(0),
            Value::DateTimeOffset {
                days: 693_595,
                ticks: 0,
                offset_minutes: 60,
            },
            Cell::Timestamp("1900-01-01T00:00:00Z".parse().unwrap()),
        ),
        (Type::Char(4), Value::text("ab"), text("ab  ")),
        (Type::VarChar(Length::Of(9)), Value::text("é"), text("é")),
        (
            Type::NVarChar(Length::Of(9)),
            Value::text("łäß"),
            text("łäß"),
        ),
        (
            Type::NVarChar(Length::Max),
            Value::text("long"),
            text("long"),
        ),
        (Type::Binary(3), Value::bytes(&[1, 2, 3]), bytes(&[1, 2, 3])),
        (
            Type::VarBinary(Length::Max),
            Value::bytes(&[0, 255]),
            bytes(&[0, 255]),
        ),
        (
            Type::UniqueIdentifier,
            Value::Guid([7; 16]),
            Cell::Uuid([7; 16]),
        ),
        (Type::Xml, Value::text("<a/>"), text("<a/>")),
        (
            Type::Udt(Udt::hierarchyid()),
            Value::bytes(&[0x58]),
            bytes(&[0x58]),
        ),
        (Type::Variant, Value::variant(Type::Int, int(1)), Cell::Null),
    ]
}

/// Scenario 33; and scenario 37: what has no one type is left out by name.
#[tokio::test]
async fn every_type_is_the_same_by_stream_and_snapshot() {
    for mode in ["cdc", "cdc-function", "tracking", "rowversion"] {
        let mut world = World::new();
        let mut columns = vec![Column::new("id", Type::Int).not_null()];
        let types = all();
        for (n, (kind, ..)) in types.iter().enumerate() {
            columns.push(Column::new(&format!("c{n}"), kind.clone()));
        }
        if mode == "rowversion" {
            columns.push(Column::rowversion("rv"));
        }
        world.database.create_table("t", columns, &["id"]).unwrap();
        world.tables.push(common::captured("dbo", "t"));
        let world = if mode.starts_with("cdc") {
            world.cdc()
        } else {
            world.track()
        }
        .mode(mode);
        let mut reader = world.open();
        reader.catch_up().await.unwrap();
        let names: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
        let mut row = vec![("id", int(1))];
        for (name, (_, value, _)) in names.iter().zip(&types) {
            row.push((name, value.clone()));
        }
        world.database.insert("t", &row).unwrap();
        world.database.insert("t", &[("id", int(2))]).unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        let limits = ChunkLimits {
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let mut chunks = reader.source.snapshot(1).await.unwrap();
        let chunk = chunks
            .chunk(&TableName::new("dbo", "t"), None, limits)
            .await
            .unwrap();
        let known: Vec<_> = types.iter().enumerate().collect();
        let known: Vec<_> = known
            .into_iter()
            .filter(|(_, (kind, ..))| *kind != Type::Variant)
            .collect();
        for change in [&told[0], &chunk.rows[0]] {
            for (n, (kind, _, expected)) in &known {
                let at = change.shape.column(&format!("c{n}")).unwrap();
                assert_eq!(
                    &change.after.as_ref().unwrap()[at],
                    expected,
                    "{mode} {kind:?}"
                );
            }
            assert_eq!(change.shape.column(&format!("c{}", types.len() - 1)), None);
        }
        assert_eq!(told[0].after, chunk.rows[0].after, "{mode}");
        assert_eq!(told[1].after, chunk.rows[1].after, "{mode}");
        assert_eq!(told[0].shape.columns, chunk.rows[0].shape.columns);
    }
}

/// Trap 22: the client makes binary floats of money, which cannot hold what it can.
#[tokio::test]
async fn trap_22_money_is_an_exact_decimal() {
    for mode in ["cdc", "cdc-function", "tracking", "rowversion"] {
        let mut world = World::new();
        let mut columns = vec![
            Column::new("id", Type::Int).not_null(),
            Column::new("price", Type::Money),
        ];
        if mode == "rowversion" {
            columns.push(Column::rowversion("rv"));
        }
        world.database.create_table("t", columns, &["id"]).unwrap();
        world.tables.push(common::captured("dbo", "t"));
        let world = if mode.starts_with("cdc") {
            world.cdc()
        } else {
            world.track()
        }
        .mode(mode);
        let mut reader = world.open();
        reader.catch_up().await.unwrap();
        for (id, price) in (0..).zip([i64::MIN, -1, 1, i64::MAX]) {
            let row = [("id", int(id)), ("price", Value::Money(price))];
            world.database.insert("t", &row).unwrap();
        }
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        let prices: Vec<String> = told
            .iter()
            .map(|change| change.after.as_ref().unwrap()[1].text().unwrap())
            .collect();
        let exact = [
            "-922337203685477.5808",
            "-0.0001",
            "0.0001",
            "922337203685477.5807",
        ];
        assert_eq!(prices, exact, "{mode}");
    }
}
