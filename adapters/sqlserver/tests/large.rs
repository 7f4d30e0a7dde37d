//! Transactions larger than a batch, tables with more columns than anyone needs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::common::number;
use crate::common::world::{World, int, ops};
use contract::Value as Cell;
use tds_server::model::{Column, Database};
use tds_server::wire::{Length, Type, Value};

fn world() -> World {
    let mut world = World::new().set("page_rows", number(300_u64));
    for name in ["t", "u"] {
        let columns = vec![
            Column::new("id", Type::Int).not_null(),
            Column::new("name", Type::NVarChar(Length::Of(4_000))),
        ];
        world.database.create_table(name, columns, &["id"]).unwrap();
        world.tables.push(crate::common::captured("dbo", name));
    }
    world.cdc()
}

fn fill(database: &Database, rows: i32) {
    let transaction = database.begin();
    let name = Value::text(&"x".repeat(4_000));
    for id in 0..rows {
        let row = [("id", int(id)), ("name", name.clone())];
        let table = if id % 2 == 0 { "t" } else { "u" };
        transaction.insert(table, &row).unwrap();
    }
    transaction.commit().unwrap();
}

/// A transaction of several MiB comes in pieces of about one, and is gone on with inside.
#[tokio::test]
async fn a_transaction_larger_than_a_batch_comes_in_pieces_and_goes_on_inside() {
    const ROWS: i32 = 600;
    let world = world();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    fill(&world.database, ROWS);
    world.database.capture_all();
    let mut pieces = 0;
    while reader.told.len() < 600 {
        let batch = reader.batch().await.unwrap();
        let bytes: usize = batch.iter().map(contract::RowChange::bytes).sum();
        assert!(bytes < 1_200_000, "{bytes} bytes");
        pieces += 1;
        // After each of them the agent is killed.
        reader.kill(&world);
    }
    assert!(pieces >= 3, "{pieces} pieces");
    let expected: Vec<String> = (0..ROWS)
        .map(|id| format!("insert {} {id}", if id % 2 == 0 { "t" } else { "u" }))
        .collect();
    assert_eq!(ops(&reader.told), expected);
    let first = &reader.told[0].position;
    for (n, change) in (1..).zip(&reader.told) {
        assert_eq!((&change.position.pos, change.position.seq), (&first.pos, n));
    }
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

/// Where other instances tell the rest, nobody knows how much of it was told: all of it is told again.
#[tokio::test]
async fn a_transaction_that_other_instances_tell_is_told_again_from_its_beginning() {
    let world = world();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    fill(&world.database, 400);
    world.database.capture_all();
    let first = reader.batch().await.unwrap();
    let inside = reader.resume.after.clone().unwrap();
    assert!(inside.seq > 0 && first.len() < 400);
    reader.kill(&world);
    world
        .database
        .capture_table("u", Some("second"), None)
        .unwrap();
    reader.catch_up().await.unwrap();
    let again = &reader.told[first.len()..];
    assert_eq!(again.len(), 400);
    assert_eq!(again[0].position.pos, inside.pos);
    assert_eq!(again[0].position.seq, inside.seq + 1);
}

/// A gap in the middle of a transaction that was told in part: the rows of the other tables are not counted
/// as told for those that are lost.
#[tokio::test]
async fn a_gap_within_a_transaction_that_was_told_in_part_loses_no_row_of_another_table() {
    let world = world();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    fill(&world.database, 400);
    world.database.capture_all();
    let first = reader.batch().await.unwrap();
    assert!(first.len() < 400);
    reader.kill(&world);
    world
        .database
        .cleanup("dbo_t", world.database.log_end())
        .unwrap();
    reader.catch_up().await.unwrap();
    let told = ops(&reader.told);
    for id in (1..400).step_by(2) {
        assert!(told.contains(&format!("insert u {id}")), "{id}");
    }
    assert!(!reader.said("t").is_empty() && reader.said("u").is_empty());
}

/// Scenarios 6 and 37: a mask of 128 bytes, of which each bit counts.
#[tokio::test]
async fn a_table_of_1024_columns_is_told_by_its_mask() {
    let mut world = World::new();
    let mut columns = vec![Column::new("id", Type::Int).not_null()];
    let kind = |n: usize| {
        let large = [9, 17, 512, 1_024].contains(&n);
        if large {
            Type::NVarChar(Length::Max)
        } else {
            Type::Int
        }
    };
    columns.extend((2..=1_024).map(|n| Column::new(&format!("c{n}"), kind(n))));
    world
        .database
        .create_table("wide", columns, &["id"])
        .unwrap();
    world.tables.push(crate::common::captured("dbo", "wide"));
    let world = world.cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    let row = [
        ("id", int(1)),
        ("c9", Value::text("a")),
        ("c17", Value::text("b")),
        ("c512", Value::text("c")),
        ("c1024", Value::text("d")),
    ];
    world.database.insert("wide", &row).unwrap();
    let set = [("c17", Value::Null), ("c1024", Value::Null)];
    world.database.update("wide", &[int(1)], &set).unwrap();
    world.database.capture_all();
    let told = reader.catch_up().await.unwrap();
    let after = told[1].after.as_ref().unwrap();
    let cell = |n: usize| &after[n - 1];
    assert_eq!((cell(17), cell(1_024)), (&Cell::Null, &Cell::Null));
    assert_eq!((cell(9), cell(512)), (&Cell::Unchanged, &Cell::Unchanged));
    assert_eq!(cell(2), &Cell::Null);
}
