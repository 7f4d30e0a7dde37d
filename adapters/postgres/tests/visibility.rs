//! A commit stands in the log before readers see it: the guard must go by visibility.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{ChunkLimits, TableName};
use harness::postgres::{PostgresOptions, PostgresServer};
use tokio::time::timeout;

use crate::common::{self, DEADLINE, World, changes, show, snapshot};

const LIMITS: ChunkLimits = ChunkLimits {
    rows_max: 100,
    bytes_max: 1 << 20,
};

async fn world() -> World {
    // A standby that does not exist: who waits for it stands between log and visibility.
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default()
            .setting("synchronous_standby_names=ghost")
            .setting("synchronous_commit=local"),
    ));
    let world = World::on(
        server,
        "CREATE TABLE item (id int PRIMARY KEY, qty int); INSERT INTO item VALUES (1, 10)",
        &["item"],
    )
    .await;
    world.source().prepare(true).await.unwrap();
    world
}

/// A commit that waits for the ghost; its server process.
async fn held_commit(world: &World, sql: &str) -> (tokio::task::JoinHandle<()>, String) {
    let client = world.server.connect(&world.name).await;
    client
        .batch_execute("SET synchronous_commit = on")
        .await
        .unwrap();
    let pid = common::ask(&client, "SELECT pg_backend_pid()::text")
        .await
        .unwrap();
    let sql = sql.to_owned();
    let commit = tokio::spawn(async move { client.batch_execute(&sql).await.unwrap() });
    world
        .until(&format!(
            "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = {pid}"
        ))
        .await;
    (commit, pid)
}

/// Lets a waiting commit go: it has happened, only the standby has not confirmed it.
async fn let_go(world: &World, commit: tokio::task::JoinHandle<()>, pid: &str) {
    world.run(&format!("SELECT pg_cancel_backend({pid})")).await;
    timeout(DEADLINE, commit).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_chunk_says_what_it_sees_not_what_the_log_holds() {
    let world = world().await;
    let item = TableName::new("public", "item");
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (2, 20)").await;
    let finished = changes(&mut *stream, 1).await.remove(0);
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let (commit, pid) = held_commit(&world, "UPDATE item SET qty = 11 WHERE id = 1").await;
    // The log has it and the stream delivers it ...
    let held = changes(&mut *stream, 1).await.remove(0);
    assert_eq!(show(held.after.as_ref()), ["int 1", "int 11"]);
    // (another finishes after it, so that its id is in the middle of those in use)
    world.run("INSERT INTO item VALUES (3, 30)").await;
    let after = changes(&mut *stream, 1).await.remove(0);
    // ... while a chunk read afterwards does not see it, though its mark is behind it.
    let chunk = reader.chunk(&item, None, LIMITS).await.unwrap();
    assert_eq!(show(chunk.rows[0].after.as_ref()), ["int 1", "int 10"]);
    assert!(chunk.mark >= held.position);
    let reflects = |change: &contract::RowChange| {
        chunk
            .sees
            .reflects(&chunk.mark, &change.position, change.transaction)
    };
    assert!(!reflects(&held), "{:?} {}", chunk.sees, held.transaction);
    assert!(
        reflects(&finished),
        "{:?} {}",
        chunk.sees,
        finished.transaction
    );
    assert!(reflects(&after), "{:?} {}", chunk.sees, after.transaction);
    let_go(&world, commit, &pid).await;
    world.until("SELECT qty = 11 FROM item WHERE id = 1").await;
    let later = reader.chunk(&item, None, LIMITS).await.unwrap();
    assert_eq!(show(later.rows[0].after.as_ref()), ["int 1", "int 11"]);
    assert!(
        later
            .sees
            .reflects(&later.mark, &held.position, held.transaction)
    );
}

/// The stream starts behind the commit record, so it will never tell the change: no chunk may be
/// read before it is seen.
#[tokio::test]
async fn a_snapshot_begins_when_all_the_stream_leaves_out_is_seen() {
    let world = world().await;
    let item = TableName::new("public", "item");
    let source = world.source();
    for round in 0..2 {
        let qty = 11 + round;
        let (commit, pid) =
            held_commit(&world, &format!("UPDATE item SET qty = {qty} WHERE id = 1")).await;
        if round == 1 {
            // Not the newest id any more: another one has finished after it.
            world.run("INSERT INTO item VALUES (3, 30)").await;
        }
        // As if the agent had stored and acknowledged it in an earlier life.
        world
            .run(&format!(
                "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
                world.slot()
            ))
            .await;
        let stream = source.stream(1, None).await.unwrap();
        let mut reader = source.snapshot(1).await.unwrap();
        let early = timeout(Duration::from_secs(2), reader.begin()).await;
        assert!(
            early.is_err(),
            "round {round}: begins before the commit is seen"
        );
        let_go(&world, commit, &pid).await;
        timeout(DEADLINE, reader.begin()).await.unwrap().unwrap();
        let rows = snapshot(&mut *reader, &item, 100).await;
        assert_eq!(
            show(rows[0].after.as_ref()),
            ["int 1".to_owned(), format!("int {qty}")]
        );
        drop(stream);
        world.released().await;
    }
}

/// A prepared transaction belongs to no session, and its id may be the newest.
#[tokio::test]
async fn a_snapshot_waits_for_prepared_transactions_too() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().setting("max_prepared_transactions=5"),
    ));
    let world = World::on(
        server,
        "CREATE TABLE item (id int PRIMARY KEY, qty int)",
        &["item"],
    )
    .await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    world
        .run("BEGIN; INSERT INTO item VALUES (1, 1); PREPARE TRANSACTION 'p'")
        .await;
    let mut reader = source.snapshot(1).await.unwrap();
    assert!(
        timeout(Duration::from_secs(1), reader.begin())
            .await
            .is_err()
    );
    world.run("COMMIT PREPARED 'p'").await;
    timeout(DEADLINE, reader.begin()).await.unwrap().unwrap();
}

/// Changes made while chunks are read: whatever a chunk does not reflect, the stream tells, and
/// what is taken together is the table.
#[tokio::test]
async fn snapshot_and_stream_together_are_the_table() {
    let world = World::prepared(
        "CREATE TABLE item (id int PRIMARY KEY, qty int);
         INSERT INTO item SELECT i, 0 FROM generate_series(1, 500) i",
        &["item"],
    )
    .await;
    let item = TableName::new("public", "item");
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let writer = world.server.connect(&world.name).await;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn(async move {
        for n in 1.. {
            if *stopped.borrow_and_update() {
                break;
            }
            let (a, b) = (n * 7 % 500 + 1, n * 13 % 520 + 1);
            writer
                .batch_execute(&format!(
                    "BEGIN; UPDATE item SET qty = {n} WHERE id = {a};
                     DELETE FROM item WHERE id = {b} AND id % 3 = 0;
                     INSERT INTO item VALUES ({b}, {n}) ON CONFLICT (id) DO UPDATE SET qty = -{n}; COMMIT"
                ))
                .await
                .unwrap();
        }
    });
    // What a capture loop keeps: per key the newest change and the newest known row.
    let mut known: HashMap<String, (contract::Position, u64)> = HashMap::default();
    let mut state: HashMap<String, Vec<String>> = HashMap::default();
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let mut cursor: Option<String> = None;
    loop {
        let limits = ChunkLimits {
            rows_max: 40,
            bytes_max: 1 << 20,
        };
        let chunk = reader
            .chunk(&item, cursor.as_deref(), limits)
            .await
            .unwrap();
        for batch in common::reach(&mut *stream, &chunk.mark).await {
            apply(&batch.changes, &mut known, &mut state);
        }
        for row in &chunk.rows {
            let key = row.key().unwrap().as_str().to_owned();
            let fresh = known.get(&key).is_none_or(|(position, transaction)| {
                chunk.sees.reflects(&chunk.mark, position, *transaction)
            });
            if fresh {
                state.insert(key, show(row.after.as_ref()));
            }
        }
        match chunk.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    stop.send(true).unwrap();
    writing.await.unwrap();
    world.run("INSERT INTO item VALUES (1000, 1)").await;
    while !state.contains_key("1000") {
        let batch = common::next(&mut *stream).await.unwrap();
        apply(&batch.changes, &mut known, &mut state);
    }
    let rows = world
        .db
        .query("SELECT id, qty FROM item ORDER BY id", &[])
        .await
        .unwrap();
    let mut real: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                format!("int {}", row.get::<_, i32>(0)),
                format!("int {}", row.get::<_, i32>(1)),
            ]
        })
        .collect();
    let mut ours: Vec<Vec<String>> = state.into_values().collect();
    real.sort();
    ours.sort();
    assert_eq!(ours, real);
}

fn apply(
    changes: &[contract::RowChange],
    known: &mut HashMap<String, (contract::Position, u64)>,
    state: &mut HashMap<String, Vec<String>>,
) {
    for change in changes {
        let key = change.key().unwrap().as_str().to_owned();
        known.insert(key.clone(), (change.position.clone(), change.transaction));
        match &change.after {
            Some(row) => state.insert(key, show(Some(row))),
            None => state.remove(&key),
        };
    }
}
