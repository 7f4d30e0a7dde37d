//! The SQLite source against real databases.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use contract::{
    ChangeStream, ChunkLimits, Level, Op, Position, RowChange, SourceError, TableName, Value,
};
use rusqlite::Connection;

use crate::common::World;

/// The next changes, at least `count` of them, within a deadline.
async fn take(stream: &mut dyn ChangeStream, count: usize) -> (Vec<RowChange>, Position) {
    let mut all = Vec::new();
    let limit = Duration::from_secs(20);
    loop {
        let next = tokio::time::timeout(limit, stream.next()).await;
        let batch = next
            .unwrap_or_else(|_| panic!("{} of {count} changes came", all.len()))
            .unwrap();
        all.extend(batch.changes);
        if all.len() >= count {
            return (all, batch.end);
        }
    }
}

fn names(changes: &[RowChange]) -> Vec<(Op, String)> {
    changes
        .iter()
        .map(|c| (c.op, c.key().unwrap().as_str().to_owned()))
        .collect()
}

const STOCK: &str =
    "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty DECIMAL_TEXT, pic BLOB, at DATE)";

#[tokio::test]
async fn changes_come_in_order_woken_by_file_events_and_resume_at_every_border() {
    let world = World::prepared(STOCK, &["stock"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let first = stream.next().await.unwrap();
    assert!(first.changes.is_empty(), "where the stream stands");
    world.run(
        "INSERT INTO stock VALUES ('A', '1.50', x'00ff', '2026-11-20');
         BEGIN; UPDATE stock SET qty = '2' WHERE sku = 'A'; UPDATE stock SET sku = 'B'; COMMIT;
         DELETE FROM stock;",
    );
    let (changes, _) = take(&mut *stream, 4).await;
    assert_eq!(
        names(&changes),
        [
            (Op::Insert, "A".to_owned()),
            (Op::Update, "A".to_owned()),
            (Op::Update, "B".to_owned()),
            (Op::Delete, "B".to_owned())
        ]
    );
    assert_eq!(
        changes[0].after.as_ref().unwrap()[1],
        Value::Decimal("1.5".parse().unwrap())
    );
    assert_eq!(
        changes[0].after.as_ref().unwrap()[2],
        Value::Bytes(vec![0, 255])
    );
    assert_eq!(changes[2].old_key().unwrap().as_str(), "A");
    assert!(changes.is_sorted_by(|a, b| a.position < b.position));
    drop(stream);
    for (n, change) in changes.iter().enumerate() {
        let mut stream = source.stream(1, Some(&change.position)).await.unwrap();
        if n + 1 < changes.len() {
            let (rest, _) = take(&mut *stream, changes.len() - n - 1).await;
            assert_eq!(rest, changes[n + 1..], "resume after change {n}");
        }
    }
}

#[tokio::test]
async fn the_log_is_kept_until_acknowledged_and_trimmed_then() {
    let world = World::prepared(STOCK, &["stock"]).await;
    let source = world.source();
    world.run("INSERT INTO stock (sku) VALUES ('A'), ('B')");
    let mut stream = source.stream(1, None).await.unwrap();
    let (_, end) = take(&mut *stream, 2).await;
    drop(stream);
    assert_eq!(world.log_rows(), 2);
    let mut stream = source.stream(1, None).await.unwrap();
    take(&mut *stream, 2).await;
    stream.acknowledge(&end).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while world.log_rows() > 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the log was not trimmed"
        );
        tokio::task::yield_now().await;
    }
    // The emptied log never gives out a sequence number twice.
    world.run("INSERT INTO stock (sku) VALUES ('C')");
    let (more, _) = take(&mut *stream, 1).await;
    assert!(more[0].position > end);
}

#[tokio::test]
async fn a_lost_position_is_said() {
    let world = World::prepared(STOCK, &["stock"]).await;
    let source = world.source();
    world.run("INSERT INTO stock (sku) VALUES ('A'), ('B'), ('C')");
    let mut stream = source.stream(1, None).await.unwrap();
    let (changes, end) = take(&mut *stream, 3).await;
    drop(stream);
    world.run("DELETE FROM lighterman_log WHERE seq = 2; DELETE FROM lighterman_log WHERE seq = 1");
    let Err(SourceError::PositionLost { what, .. }) = source
        .stream(
            1,
            Some(&Position {
                pos: contract::LogPos::from_number(1),
                ..end.clone()
            }),
        )
        .await
    else {
        panic!("expected a lost position")
    };
    assert!(what.contains("begins at 3"), "{what}");
    assert!(source.stream(1, Some(&changes[2].position)).await.is_ok());
    let ahead = Position {
        pos: contract::LogPos::from_number(9),
        ..end
    };
    let Err(SourceError::PositionLost { what, .. }) = source.stream(1, Some(&ahead)).await else {
        panic!("expected a lost position")
    };
    assert!(what.contains("older copy"), "{what}");
}

#[tokio::test]
async fn prepare_prints_without_doing_is_idempotent_and_can_be_undone() {
    let world = World::new(
        "CREATE TABLE \"odd \"\"näme\" (\"k k\" INTEGER PRIMARY KEY, v)",
        &["odd \"näme"],
    );
    let source = world.source();
    let plan = source.prepare(false).await.unwrap();
    assert!(!plan.applied && plan.sql.len() > 3);
    let objects = || -> i64 {
        world
            .db
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'lighterman%'",
                [],
                |r| r.get(0),
            )
            .unwrap()
    };
    assert_eq!(objects(), 0, "nothing was written");
    let missing = source.stream(1, None).await;
    assert!(matches!(missing, Err(SourceError::Denied { hint, .. }) if hint.contains("--apply")));
    assert!(source.check().await.iter().any(|f| f.level == Level::Fail));
    source.prepare(true).await.unwrap();
    assert_eq!(
        source.prepare(true).await.unwrap().sql,
        Vec::<String>::new()
    );
    assert!(
        source.check().await.iter().all(|f| f.level == Level::Pass),
        "{:?}",
        source.check().await
    );
    world.run("INSERT INTO \"odd \"\"näme\" VALUES (7, 'it''s')");
    let mut stream = source.stream(1, None).await.unwrap();
    let (changes, _) = take(&mut *stream, 1).await;
    assert_eq!(
        changes[0].after.as_ref().unwrap()[1],
        Value::Text("it's".to_owned())
    );
    drop(stream);
    for statement in plan.undo {
        world.run(&statement);
    }
    assert_eq!(objects(), 0);
}

#[tokio::test]
async fn a_changed_schema_is_said_after_all_that_was_logged() {
    let world = World::prepared(STOCK, &["stock"]).await;
    let source = world.source();
    world.run("INSERT INTO stock (sku) VALUES ('A'); ALTER TABLE stock ADD COLUMN bin TEXT");
    let mut stream = source.stream(1, None).await.unwrap();
    let (changes, end) = take(&mut *stream, 1).await;
    assert_eq!(changes[0].shape.columns.len(), 4, "the row as it was then");
    let Err(SourceError::SchemaChanged { hint, .. }) = stream.next().await else {
        panic!("expected a changed schema")
    };
    assert_eq!(hint, "lighterman source prepare --apply");
    drop(stream);
    source.prepare(true).await.unwrap();
    world.run("INSERT INTO stock (sku, bin) VALUES ('B', 'B-1')");
    let mut stream = source.stream(1, Some(&end)).await.unwrap();
    let (changes, _) = take(&mut *stream, 1).await;
    assert_eq!(
        changes[0].after.as_ref().unwrap()[4],
        Value::Text("B-1".to_owned())
    );
}

#[tokio::test]
async fn snapshot_rows_equal_streamed_rows_and_say_what_they_reflect() {
    let world = World::prepared(STOCK, &["stock"]).await;
    let source = world.source();
    for n in 0..25 {
        world.run(&format!(
            "INSERT INTO stock VALUES ('S{n:02}', '{n}.10', NULL, '2026-11-20')"
        ));
    }
    let mut stream = source.stream(1, None).await.unwrap();
    let (streamed, _) = take(&mut *stream, 25).await;
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let table = TableName::new("main", "stock");
    let (mut cursor, mut rows) = (None::<String>, Vec::new());
    loop {
        let chunk = reader
            .chunk(&table, cursor.as_deref(), limits)
            .await
            .unwrap();
        let last = &streamed[24];
        assert!(chunk.sees.reflects(&chunk.mark, &last.position, 0));
        world.run("UPDATE stock SET qty = qty WHERE sku = 'S00'");
        let (later, _) = take(&mut *stream, 1).await;
        assert!(!chunk.sees.reflects(&chunk.mark, &later[0].position, 0));
        rows.extend(chunk.rows);
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    let cells =
        |changes: &[RowChange]| -> Vec<_> { changes.iter().map(|c| c.after.clone()).collect() };
    assert_eq!(cells(&rows), cells(&streamed));
}

#[tokio::test]
async fn replace_is_seen_as_an_insert_and_warned_about_where_it_hides_a_delete() {
    let world = World::prepared(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, code TEXT UNIQUE)",
        &["t"],
    )
    .await;
    let source = world.source();
    world.run("INSERT INTO t VALUES (1, 'x'); REPLACE INTO t VALUES (1, 'y')");
    let mut stream = source.stream(1, None).await.unwrap();
    let (changes, _) = take(&mut *stream, 2).await;
    assert_eq!(names(&changes)[1], (Op::Insert, "1".to_owned()));
    assert!(
        source
            .check()
            .await
            .iter()
            .any(|f| f.level == Level::Warn && f.found.contains("REPLACE"))
    );
}

#[tokio::test]
async fn nothing_is_lost_beside_a_busy_writer() {
    let world = World::prepared("CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER)", &["t"]).await;
    let file = world.file.clone();
    let writer = std::thread::spawn(move || {
        let db = Connection::open(file).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        for n in 0..400 {
            let sql = format!(
                "BEGIN IMMEDIATE; INSERT INTO t VALUES ({n}, 0); UPDATE t SET v = v + 1 WHERE k % 50 = {} ; COMMIT",
                n % 50
            );
            db.execute_batch(&sql).unwrap();
        }
    });
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut state = std::collections::BTreeMap::new();
    let mut inserts = 0;
    loop {
        let batch = tokio::time::timeout(Duration::from_mins(1), stream.next())
            .await
            .unwrap()
            .unwrap();
        for change in &batch.changes {
            inserts += usize::from(change.op == Op::Insert);
            let row = change.after.clone().unwrap();
            state.insert(change.key().unwrap(), row[1].text().unwrap());
        }
        stream.acknowledge(&batch.end).await.unwrap();
        if inserts == 400 && writer.is_finished() {
            let at: i64 = world
                .db
                .query_row(
                    "SELECT seq FROM sqlite_sequence WHERE name = 'lighterman_log'",
                    [],
                    |r| r.get(0),
                )
                .unwrap();
            if batch.end.pos.number() == Some(at.unsigned_abs()) {
                break;
            }
        }
    }
    writer.join().unwrap();
    let mut query = world.db.prepare("SELECT k, v FROM t").unwrap();
    let rows = query
        .query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))
        .unwrap();
    for row in rows {
        let (key, value) = row.unwrap();
        let found = state
            .iter()
            .find(|(k, _)| k.as_str() == key.to_string())
            .unwrap()
            .1;
        assert_eq!(*found, value.to_string(), "row {key}");
    }
}
