//! A commit stands in the log before readers see it: what a chunk reflects must go by visibility.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;
#[path = "common/read.rs"]
mod read;

use std::time::{Duration, Instant};

use common::World;
use contract::{ReadQuery, Sees, TableName};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;
use read::{cell, limits, next, started};

const DEADLINE: Duration = Duration::from_secs(30);

async fn world() -> World {
    // No replica is there to confirm a commit: who waits for one stands between log and engine.
    let options = MariadbOptions::default()
        .setting("rpl_semi_sync_master_wait_point=AFTER_SYNC")
        .setting("rpl_semi_sync_master_timeout=600000");
    let sql = "CREATE TABLE item (id int PRIMARY KEY, qty int) ENGINE = InnoDB;
               INSERT INTO item VALUES (1, 10)";
    World::with(options, sql, &["item"]).await
}

/// A commit that is in the log, and that nobody sees.
async fn held_commit(world: &World, sql: &str) -> tokio::task::JoinHandle<()> {
    world
        .run("SET GLOBAL rpl_semi_sync_master_enabled = ON")
        .await;
    let mut conn = world.server.connect(Some(&world.name)).await;
    let sql = sql.to_owned();
    let commit = tokio::spawn(async move { conn.query_drop(sql).await.unwrap() });
    let deadline = Instant::now() + DEADLINE;
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST
                    WHERE STATE LIKE 'Waiting for semi-sync ACK%'";
    loop {
        let (count,): (u64,) = world.server.ask(waiting).await;
        if count > 0 {
            return commit;
        }
        assert!(Instant::now() < deadline, "the commit does not wait");
    }
}

async fn release(world: &World, commit: tokio::task::JoinHandle<()>) {
    world
        .run("SET GLOBAL rpl_semi_sync_master_enabled = OFF")
        .await;
    commit.await.unwrap();
}

/// The stream tells the change, and a chunk that is read afterwards does not have it yet: it must not
/// take its place.
#[tokio::test]
async fn a_chunk_does_not_stand_for_a_change_that_it_does_not_see() {
    let world = world().await;
    let source = world.source_with(&[("database", common::text(&world.name))]);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = started(&*source).await;
    let commit = held_commit(&world, "UPDATE item SET qty = 20").await;
    let change = loop {
        if let Some(change) = next(&mut *stream).await.changes.pop() {
            break change;
        }
    };
    assert_eq!(cell(&change, "qty"), "20");
    let table = TableName::new(&world.name, "item");
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "10");
    let reflects = chunk.sees.reflects(&chunk.mark, &change.position, 0);
    assert!(!reflects, "{:?} at {:?}", chunk.sees, chunk.mark);
    let query = ReadQuery {
        sql: "SELECT qty FROM item".to_owned(),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 10,
        time_max: DEADLINE,
    };
    let seen = |sees: Option<Sees>| match sees {
        Some(Sees::UpTo(up_to)) => up_to,
        other => panic!("{other:?}"),
    };
    let answer = source.query(&query).await.unwrap();
    assert!(seen(answer.sees) < change.position);
    release(&world, commit).await;
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "20");
    assert!(chunk.sees.reflects(&chunk.mark, &change.position, 0));
    let answer = source.query(&query).await.unwrap();
    assert!(seen(answer.sees) > change.position);
}

/// The stream begins behind the change and never tells it: the first chunk must wait until it is
/// there.
#[tokio::test]
async fn a_snapshot_waits_for_what_the_stream_will_not_tell() {
    let world = world().await;
    let source = world.source();
    let commit = held_commit(&world, "UPDATE item SET qty = 20").await;
    let _stream = source.stream(1, None).await.unwrap();
    let mut reader = source.snapshot(1).await.unwrap();
    {
        let mut begin = std::pin::pin!(reader.begin());
        let early = tokio::time::timeout(Duration::from_millis(500), &mut begin).await;
        assert!(early.is_err(), "nothing was waited for");
        release(&world, commit).await;
        tokio::time::timeout(DEADLINE, begin)
            .await
            .unwrap()
            .unwrap();
    }
    let table = TableName::new(&world.name, "item");
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "20");
}
