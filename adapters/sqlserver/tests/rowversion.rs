//! Rowversion columns, and tables that nothing tells the changes of.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::number;
use common::world::{World, int, ops, truth, words};
use contract::{ChunkLimits, Op};
use tds_server::model::Column;
use tds_server::wire::{Type, Value};

fn versioned(name: &str) -> World {
    let mut world = World::new();
    let columns = vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("name", words()),
        Column::rowversion("rv"),
    ];
    world.database.create_table(name, columns, &["id"]).unwrap();
    world.tables.push(common::captured("dbo", name));
    world
}

fn insert(world: &World, id: i32) {
    let row = [("id", int(id)), ("name", Value::text("x"))];
    world.database.insert("t", &row).unwrap();
}

/// Scenario 30, and trap 19.
#[tokio::test]
async fn trap_19_a_row_of_an_open_transaction_is_not_passed_by() {
    for page in [1_u64, 2, 100] {
        for snapshots in [true, false] {
            let world = versioned("t").set("page_rows", number(page));
            world.database.allow_snapshot(snapshots);
            let mut reader = world.started().await;
            insert(&world, 1);
            let open = world.database.begin();
            open.insert("t", &[("id", int(2)), ("name", Value::text("late"))])
                .unwrap();
            insert(&world, 3);
            assert_eq!(ops(&reader.catch_up().await.unwrap()), ["read t 1"]);
            open.commit().unwrap();
            assert_eq!(
                ops(&reader.catch_up().await.unwrap()),
                ["read t 2", "read t 3"]
            );
            let set = [("name", Value::text("new"))];
            world.database.update("t", &[int(1)], &set).unwrap();
            assert_eq!(ops(&reader.catch_up().await.unwrap()), ["read t 1"]);
            assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
        }
    }
}

/// Scenario 30: rows at the edge of a page, and an agent that is killed there.
#[tokio::test]
async fn pages_that_are_cut_anywhere_lose_no_row() {
    for page in [1_u64, 2, 3] {
        let world = versioned("t").set("page_rows", number(page));
        let mut reader = world.started().await;
        for id in 1..=7 {
            insert(&world, id);
        }
        reader.catch_up().await.unwrap();
        reader.kill(&world);
        reader.catch_up().await.unwrap();
        assert_eq!(reader.told.len(), 7, "{:?}", ops(&reader.told));
        assert!(reader.told.iter().all(|change| change.op == Op::Read));
    }
}

/// Scenario 30: rows that share a rowversion are never cut apart by a page.
#[tokio::test]
async fn trap_19_rows_that_share_a_rowversion_are_told_together() {
    for page in [1_u64, 2, 3] {
        let world = versioned("t").set("page_rows", number(page));
        let shared = |options: &mut tds_server::model::Options| options.one_rowversion = true;
        world.database.options(shared);
        let mut reader = world.open();
        reader.start().await.unwrap();
        for ids in [1..=4, 5..=6, 7..=11] {
            let transaction = world.database.begin();
            for id in ids {
                let row = [("id", int(id)), ("name", Value::text("x"))];
                transaction.insert("t", &row).unwrap();
            }
            transaction.commit().unwrap();
        }
        let told = reader.catch_up().await.unwrap();
        assert_eq!(told.len(), 11, "{page}: {:?}", ops(&told));
        // Told in part, they are told again: nobody knows which of them left it meanwhile.
        reader.kill_within(&world, 2);
        reader.catch_up().await.unwrap();
        assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
    }
}

/// Scenario 31: the deletion is found when the table is compared, and that is no error.
#[tokio::test]
async fn deletions_are_not_told_and_the_table_is_compared_for_them() {
    let world = versioned("t");
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    insert(&world, 1);
    reader.catch_up().await.unwrap();
    world.database.delete("t", &[int(1)]).unwrap();
    assert!(reader.catch_up().await.unwrap().is_empty());
    assert!(reader.untold.is_empty());
    // What happened while the agent was away is not known either.
    reader.kill(&world);
    reader.catch_up().await.unwrap();
    assert_eq!(reader.untold.len(), 1);
    assert!(reader.untold[0].routine, "{:?}", reader.untold);
    assert!(
        reader.said("t")[0].contains("deleted"),
        "{:?}",
        reader.said("t")
    );
    // Once each compare_minutes, however often the stream is opened.
    reader.stream = None;
    reader.untold.clear();
    reader.catch_up().await.unwrap();
    assert!(reader.untold.is_empty());
}

#[tokio::test]
async fn a_table_that_nothing_tells_is_compared() {
    let world = World::new().table("t");
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    insert(&world, 1);
    reader.kill(&world);
    assert!(reader.catch_up().await.unwrap().is_empty());
    assert!(reader.untold[0].routine, "{:?}", reader.untold);
    let mut chunks = reader.source.snapshot(1).await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let table = world.tables[0].table.clone();
    let chunk = chunks.chunk(&table, None, limits).await.unwrap();
    assert_eq!(ops(&chunk.rows), ["read t 1"]);
}

/// A table that is told in another way than before is read again: what happened in between is in neither.
#[tokio::test]
async fn a_table_whose_mode_changed_is_read_again() {
    let world = versioned("t");
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    insert(&world, 1);
    reader.catch_up().await.unwrap();
    world.database.track("t").unwrap();
    insert(&world, 2);
    reader.kill(&world);
    reader.catch_up().await.unwrap();
    assert!(
        reader.said("t")[0].contains("is told by tracking now"),
        "{:?}",
        reader.said("t")
    );
    insert(&world, 3);
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 3"]);
}

/// A mapping that is reloaded is no reason to read tables again: the same settings built the source before.
#[tokio::test]
async fn a_reload_of_the_mapping_compares_no_table_at_once() {
    let world = World::new().table("t");
    let build = common::build(world.server.address().port(), &world.settings);
    let built = |tables| {
        build(contract::SourceContext {
            name: "erp".to_owned(),
            tables,
        })
        .unwrap()
    };
    let mut reader = world.open();
    reader.source = built(world.tables.clone());
    reader.catch_up().await.unwrap();
    reader.stream = None;
    reader.source = built(world.tables.clone());
    reader.catch_up().await.unwrap();
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}
