//! Statement texts are fixed, so that the server keeps few plans: values are parameters.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::number;
use common::world::{World, int, words};
use contract::{ChunkLimits, TableName};
use tds_server::model::Column;
use tds_server::wire::{Type, Value};

/// The texts of a day of work: streams that are opened again and again, pages, chunks, looks.
async fn work(world: &World, rows: i32) -> BTreeSet<String> {
    let mut reader = world.open();
    for round in 0..3 {
        for id in 0..rows {
            let row = [("id", int(round * 1_000 + id)), ("name", Value::text("x"))];
            for table in ["cdc", "tracking", "rowversion"] {
                world.database.insert(table, &row).unwrap();
            }
        }
        world.database.capture_all();
        reader.catch_up().await.unwrap();
        reader.stream = None;
        reader.source.look().await.unwrap();
    }
    for table in ["cdc", "tracking", "rowversion"] {
        let mut chunks = reader.source.snapshot(1).await.unwrap();
        let mut cursor: Option<String> = None;
        loop {
            let limits = ChunkLimits {
                rows_max: 3,
                bytes_max: 1 << 20,
            };
            let table = TableName::new("dbo", table);
            let chunk = chunks
                .chunk(&table, cursor.as_deref(), limits)
                .await
                .unwrap();
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    world.server.handle().statements()
}

fn world() -> World {
    let mut world = World::new().set("page_rows", number(2_u64));
    for name in ["cdc", "tracking", "rowversion"] {
        let mut columns = vec![
            Column::new("id", Type::Int).not_null(),
            Column::new("name", words()),
        ];
        if name == "rowversion" {
            columns.push(Column::rowversion("rv"));
        }
        world.database.create_table(name, columns, &["id"]).unwrap();
        world.tables.push(common::captured("dbo", name));
    }
    world.database.enable_cdc();
    world.database.capture_table("cdc", None, None).unwrap();
    world.database.track("tracking").unwrap();
    world
}

#[tokio::test]
async fn more_rows_and_more_pages_send_no_more_texts() {
    let few = work(&world(), 5).await;
    let many = work(&world(), 40).await;
    assert_eq!(
        few.difference(&many).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    assert_eq!(
        many.difference(&few).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    assert!(many.len() <= 45, "{} texts: {many:#?}", many.len());
    for text in &many {
        assert!(!text.to_ascii_uppercase().contains("NOLOCK"), "{text}");
        // Trap 24: they have no order and no old image.
        assert!(!text.contains("fn_cdc_get_net_changes"), "{text}");
    }
}
