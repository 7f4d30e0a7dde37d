//! A commit stands in the log before readers see it: what a chunk reflects must go by visibility.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use contract::{Position, ReadQuery, Sees, TableName};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;

use crate::common::read::{cell, limits, next, started};
use crate::common::{self, World};

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

fn question() -> ReadQuery {
    ReadQuery {
        sql: "SELECT qty FROM item".to_owned(),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 10,
        time_max: DEADLINE,
    }
}

fn seen(sees: Option<Sees>) -> Position {
    match sees {
        Some(Sees::UpTo(up_to)) => up_to,
        other => panic!("{other:?}"),
    }
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
    let query = question();
    let answer = source.query(&query).await.unwrap();
    assert!(seen(answer.sees) < change.position);
    release(&world, commit).await;
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "20");
    assert!(chunk.sees.reflects(&chunk.mark, &change.position, 0));
    let answer = source.query(&query).await.unwrap();
    assert!(seen(answer.sees) > change.position);
}

/// The last commit of a file waits while the next one is begun, whose head is then the place of a
/// snapshot, as the server tells it.
#[tokio::test]
async fn nor_where_another_file_is_begun_meanwhile() {
    let world = world().await;
    world
        .run("SET GLOBAL max_binlog_size = 4096; CREATE TABLE filler (id int PRIMARY KEY)")
        .await;
    let source = world.source_with(&[("database", common::text(&world.name))]);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = started(&*source).await;
    source.query(&question()).await.unwrap();
    let large =
        "BEGIN; UPDATE item SET qty = 20; INSERT INTO filler SELECT seq FROM seq_1_to_3000; COMMIT";
    let commit = held_commit(&world, large).await;
    let change = loop {
        if let Some(change) = next(&mut *stream).await.changes.pop() {
            break change;
        }
    };
    let place: mysql_async::Row = world.server.ask("SHOW MASTER STATUS").await;
    let file: String = place.get(0).unwrap();
    assert_eq!(file, "binlog.000002", "another file was begun");
    let table = TableName::new(&world.name, "item");
    for _ in 0..3 {
        let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
        assert_eq!(cell(&chunk.rows[0], "qty"), "10");
        let reflects = chunk.sees.reflects(&chunk.mark, &change.position, 0);
        assert!(!reflects, "{:?} at {:?}", chunk.sees, chunk.mark);
        let answer = source.query(&question()).await.unwrap();
        assert!(seen(answer.sees) < change.position);
    }
    let mut other = source.snapshot(1).await.unwrap();
    {
        let mut begin = std::pin::pin!(other.begin());
        let early = tokio::time::timeout(Duration::from_millis(500), &mut begin).await;
        assert!(early.is_err(), "nothing was waited for");
        release(&world, commit).await;
        tokio::time::timeout(DEADLINE, begin)
            .await
            .unwrap()
            .unwrap();
    }
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "20");
    assert!(chunk.sees.reflects(&chunk.mark, &change.position, 0));
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

/// The commit of an XA transaction is in the log before its rows are there, and the server's own
/// snapshot counts it as seen: a row that was read between the two must not stand for it.
#[tokio::test]
async fn a_chunk_does_not_stand_for_an_xa_commit_that_it_does_not_see() {
    let world = world().await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = started(&*source).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let mut conn = world.server.connect(Some(&world.name)).await;
    let writing = tokio::spawn(async move {
        let mut last = 10;
        while stopped.try_recv().is_err() {
            last += 1;
            let prepare = format!(
                "XA START 'x{last}'; UPDATE item SET qty = {last}; XA END 'x{last}'; \
                 XA PREPARE 'x{last}'"
            );
            conn.query_drop(prepare).await.unwrap();
            let commit = format!("XA COMMIT 'x{last}'");
            conn.query_drop(commit).await.unwrap();
        }
        last
    });
    let table = TableName::new(&world.name, "item");
    let mut chunks = Vec::new();
    let until = Instant::now() + Duration::from_secs(8);
    while chunks.len() < 4_000 && Instant::now() < until {
        let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
        let row: u64 = cell(&chunk.rows[0], "qty").parse().unwrap();
        chunks.push((row, chunk.mark, chunk.sees));
    }
    stop.send(()).unwrap();
    let last: u64 = writing.await.unwrap();
    let mut changes = Vec::new();
    while changes.last().is_none_or(|(qty, _)| *qty < last) {
        let batch = next(&mut *stream).await;
        changes.extend(batch.changes.into_iter().map(|change| {
            let qty: u64 = cell(&change, "qty").parse().unwrap();
            (qty, change.position)
        }));
    }
    let (mut wrong, mut useless) = (0, 0);
    for (row, mark, sees) in &chunks {
        let next = changes.iter().find(|(qty, _)| qty > row);
        wrong += usize::from(next.is_some_and(|(_, at)| sees.reflects(mark, at, 0)));
        let first = changes.first();
        useless += usize::from(
            first.is_some_and(|(qty, at)| qty + 1_000 < *row && !sees.reflects(mark, at, 0)),
        );
    }
    let all = chunks.len();
    assert_eq!(
        wrong, 0,
        "of {all} chunks that are older than they say, beside {last} changes"
    );
    assert_eq!(useless, 0, "of {all} chunks that say nothing");
}

/// Nobody knows whether a prepared transaction is being committed: it holds up what is read for some
/// seconds, and no longer, however long it stays.
#[tokio::test]
async fn what_stays_prepared_is_not_waited_for_for_ever() {
    let world = world().await;
    world
        .run("CREATE TABLE other (id int); XA START 'lost'; INSERT INTO other VALUES (1); XA END 'lost'; XA PREPARE 'lost'")
        .await;
    let source = world.source_with(&[("database", common::text(&world.name))]);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = tokio::time::timeout(DEADLINE, started(&*source))
        .await
        .unwrap();
    world.run("UPDATE item SET qty = 20").await;
    let change = loop {
        if let Some(change) = next(&mut *stream).await.changes.pop() {
            break change;
        }
    };
    let table = TableName::new(&world.name, "item");
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(cell(&chunk.rows[0], "qty"), "20");
    let until = Instant::now() + DEADLINE;
    while seen(source.query(&question()).await.unwrap().sees) < change.position {
        assert!(Instant::now() < until, "the question is never answered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where engines commit in any order, the server's own snapshot says nothing for sure.
#[tokio::test]
async fn engines_that_commit_in_any_order_are_given_time() {
    let options = MariadbOptions::default().setting("binlog_optimize_thread_scheduling=OFF");
    let sql = "CREATE TABLE item (id int PRIMARY KEY, qty int) ENGINE = InnoDB;
               INSERT INTO item VALUES (1, 10)";
    let world = World::with(options, sql, &["item"]).await;
    let source = world.source_with(&[("database", common::text(&world.name))]);
    let found = source.check().await;
    let found = common::about(&found, "binlog_optimize_thread_scheduling");
    assert_eq!(found.level, contract::Level::Warn);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = tokio::time::timeout(DEADLINE, started(&*source))
        .await
        .unwrap();
    world.run("UPDATE item SET qty = 20").await;
    let change = loop {
        if let Some(change) = next(&mut *stream).await.changes.pop() {
            break change;
        }
    };
    let table = TableName::new(&world.name, "item");
    let chunk = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert!(!chunk.sees.reflects(&chunk.mark, &change.position, 0));
    let answer = source.query(&question()).await.unwrap();
    assert!(seen(answer.sees) < change.position);
    let until = Instant::now() + DEADLINE;
    while seen(source.query(&question()).await.unwrap().sees) < change.position {
        assert!(Instant::now() < until, "the question is never answered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
