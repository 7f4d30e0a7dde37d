//! Connections that break in the middle of an answer: the stream is opened again and goes on exactly there.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::common::number;
use crate::common::world::{World, int, ops};
use tds_server::wire::{Fault, FaultKind, Options, Point, Value};

fn insert(world: &World, id: i32) {
    let row = [("id", int(id)), ("name", Value::text("some name"))];
    world.database.insert("t", &row).unwrap();
}

/// Scenario 34: wherever the answer to a page is cut, each change is told once.
#[tokio::test]
async fn a_connection_that_is_cut_within_a_page_is_gone_on_with_exactly() {
    for mode in ["cdc", "tracking"] {
        let part = if mode == "cdc" { "_CT]" } else { "CHANGETABLE" };
        for bytes in [1, 40, 120, 300, 420, 600] {
            let world = World::new().table("t").set("page_rows", number(3_u64));
            let world = if mode == "cdc" {
                world.cdc()
            } else {
                world.track()
            };
            let mut reader = world.open();
            reader.catch_up().await.unwrap();
            for id in 0..8 {
                insert(&world, id);
            }
            world.database.capture_all();
            let cut = Fault::new(FaultKind::Cut(Point::Bytes(bytes)))
                .on(part)
                .after(1);
            world.server.handle().fault(cut);
            let told = reader.catch_up().await.unwrap();
            let expected: Vec<String> = (0..8).map(|id| format!("insert t {id}")).collect();
            assert_eq!(ops(&told), expected, "{mode} {bytes}");
        }
    }
}

/// The same whatever the packets and however little is written at once.
#[tokio::test]
async fn packets_of_any_size_bring_the_same() {
    for (packet_bytes, write_bytes_max) in
        [(Some(512), None), (None, Some(1)), (Some(600), Some(7))]
    {
        let options = Options {
            packet_bytes,
            write_bytes_max,
            ..Options::default()
        };
        let world = World::with(options).table("t").cdc();
        let mut reader = world.open();
        reader.catch_up().await.unwrap();
        for id in 0..30 {
            insert(&world, id);
        }
        world.database.capture_all();
        assert_eq!(reader.catch_up().await.unwrap().len(), 30);
    }
}

/// Scenario 34: an error in the place of a row, and a cut within one.
#[tokio::test]
async fn an_error_or_a_cut_after_some_rows_tells_no_half_of_a_page() {
    let world = World::new().table("t").cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    for id in 0..20 {
        insert(&world, id);
    }
    world.database.capture_all();
    let error = tds_server::wire::ServerError::new(1205, 13, "deadlock");
    for fault in [
        FaultKind::Error { rows: 12, error },
        FaultKind::Cut(Point::InRow { rows: 5, bytes: 9 }),
        FaultKind::Cut(Point::Start),
        FaultKind::Cut(Point::End),
    ] {
        world
            .server
            .handle()
            .fault(Fault::new(fault).on("_CT] AS c"));
    }
    let told = reader.catch_up().await.unwrap();
    assert_eq!(told.len(), 20);
    assert_eq!(world.server.handle().faults_left(), 0);
}
