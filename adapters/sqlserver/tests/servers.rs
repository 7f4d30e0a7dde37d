//! Servers that are not the only one, and servers whose clock is put back.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::denied;
use common::world::{World, int, ops};
use contract::NodeKind;
use tds_server::wire::Value;

fn insert(world: &World, id: i32) {
    let row = [("id", int(id)), ("name", Value::text("x"))];
    world.database.insert("t", &row).unwrap();
    world.database.capture_all();
}

/// Trap 23: a readable secondary tells captured changes, each poll what has come by then, to who says that
/// it only reads. Nothing stays open between two polls that would hide what comes later.
#[tokio::test]
async fn trap_23_captured_changes_are_told_by_a_readable_secondary() {
    let world = World::new()
        .table("t")
        .cdc()
        .set("read_only_intent", NodeKind::Bool(true));
    world.database.read_only(true);
    let mut reader = world.open();
    reader.start().await.unwrap();
    for id in 1..=3 {
        // What the primary wrote arrives.
        world.database.read_only(false);
        insert(&world, id);
        world.database.read_only(true);
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), [format!("insert t {id}")]);
    }
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

/// Scenario 28, and trap 16: versions that do not fit each other are none, whatever the server says of itself.
#[tokio::test]
async fn trap_16_versions_that_do_not_fit_each_other_are_refused_at_the_start() {
    let world = World::new().table("t").track();
    insert(&world, 1);
    let newest = world.database.tracking_version().unwrap();
    world.database.tracking_cleanup("t", newest + 10).unwrap();
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(&error, "do not fit each other", "primary");
}

/// Trap 20: the order of changes is that of the log, whatever the server's clock says meanwhile.
#[tokio::test]
async fn trap_20_a_clock_that_is_put_back_changes_no_order() {
    let world = World::new().table("t").cdc();
    let mut reader = world.open();
    reader.start().await.unwrap();
    insert(&world, 1);
    reader.catch_up().await.unwrap();
    world.database.clock_offset(0);
    insert(&world, 2);
    reader.kill(&world);
    reader.catch_up().await.unwrap();
    world.database.clock_offset(120);
    insert(&world, 3);
    reader.catch_up().await.unwrap();
    assert_eq!(
        ops(&reader.told),
        ["insert t 1", "insert t 2", "insert t 3"]
    );
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}
