//! Reading tables: keys of every type and collation, tables that change under the reader, row
//! filters, and what a chunk leaves behind at the server.
#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};

use contract::{ChunkLimits, Position, RowChange, SnapshotReader, Source, SourceError, TableName};

use crate::common::{self, World, reach, show};

pub(crate) const TYPES: &str = "
CREATE EXTENSION citext;
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION numbers (provider = icu, locale = 'und-u-kn-true');
CREATE DOMAIN mail AS citext;
CREATE DOMAIN code AS text COLLATE \"en-US-x-icu\" CHECK (value <> '');
CREATE TYPE pair AS (yes bool, word text);
DO $$ BEGIN EXECUTE 'CREATE TYPE mood AS ENUM (' ||
  (SELECT string_agg(quote_literal('m''\\' || 100 - i), ', ') FROM generate_series(1, 60) i) || ')';
END $$;";

pub(crate) fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

pub(crate) fn limits(rows_max: usize) -> ChunkLimits {
    ChunkLimits {
        rows_max,
        bytes_max: 1 << 20,
    }
}

pub(crate) async fn started(source: &dyn Source) -> Box<dyn SnapshotReader> {
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    reader
}

/// What a capture loop keeps of some tables: the newest change of each row, and the rows.
#[derive(Default)]
struct Taken {
    changed: BTreeMap<(String, String), (Position, u64)>,
    rows: BTreeMap<(String, String), Vec<String>>,
}

impl Taken {
    fn stream(&mut self, changes: &[RowChange]) {
        for change in changes {
            let name = change.table().name.clone();
            let at = (change.position.clone(), change.transaction);
            let old = change.old_key();
            for key in [old, change.key()].into_iter().flatten() {
                let place = (name.clone(), key.as_str().to_owned());
                self.rows.remove(&place);
                self.changed.insert(place, at.clone());
            }
            if let (Some(key), Some(row)) = (change.key(), &change.after) {
                let place = (name, key.as_str().to_owned());
                self.rows.insert(place, show(Some(row)));
            }
        }
    }

    fn chunk(&mut self, chunk: &contract::SnapshotChunk) {
        for row in &chunk.rows {
            let place = (
                row.table().name.clone(),
                row.key().unwrap().as_str().to_owned(),
            );
            let fresh = self.changed.get(&place).is_none_or(|(position, number)| {
                chunk.sees.reflects(&chunk.mark, position, *number)
            });
            if fresh {
                self.rows.insert(place, show(row.after.as_ref()));
            }
        }
    }
}

/// Types whose rows are written while they are read, and how a row with number `i` is keyed.
const STRESSED: &[(&str, &str)] = &[
    ("text COLLATE ci", "chr(192 + {i}) || {i}"),
    ("numeric", "({i} - 30) / 7.0"),
    (
        "timestamptz",
        "'2026-10-25'::timestamptz + {i} * interval '17 min'",
    ),
    ("pair", "ROW({i} % 2 = 0, 'w' || {i})::pair"),
    ("citext", "'W' || {i}"),
];

/// Random writers beside the reader: what snapshot and stream say together is the table.
#[tokio::test]
async fn rows_that_are_written_while_they_are_read_come_out_as_they_are() {
    let mut sql = TYPES.to_owned();
    let names: Vec<String> = (0..STRESSED.len()).map(|n| format!("s{n}")).collect();
    for (name, (column, key)) in names.iter().zip(STRESSED) {
        sql.push_str(&format!(
            "CREATE TABLE {name} (k {column} PRIMARY KEY, n int);
             INSERT INTO {name} SELECT {}, 0 FROM generate_series(1, 120) i;",
            key.replace("{i}", "i")
        ));
    }
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::prepared(&sql, &tables).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = Vec::new();
    for seed in [7_u64, 11] {
        let (db, stopped) = (world.server.connect(&world.name).await, stopped.clone());
        writers.push(tokio::spawn(async move {
            let mut number = seed;
            let mut next = |below: u64| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (number >> 33) % below
            };
            while !*stopped.borrow() {
                let which = next(STRESSED.len() as u64);
                let (i, n) = (next(140) + 1, next(1_000_000));
                let (_, key) = STRESSED[usize::try_from(which).unwrap()];
                let key_of = |i: u64| key.replace("{i}", &i.to_string());
                let at = key_of(i);
                let statement = match next(4) {
                    0 => format!("DELETE FROM s{which} WHERE k = {at}"),
                    1 => format!("UPDATE s{which} SET n = {n} WHERE k = {at}"),
                    2 => format!(
                        "UPDATE s{which} SET k = {} WHERE k = {at}",
                        key_of(200 + next(200))
                    ),
                    _ => format!(
                        "INSERT INTO s{which} VALUES ({at}, {n}) ON CONFLICT (k)
                         DO UPDATE SET n = excluded.n"
                    ),
                };
                // Two writers may meet at one key: the statement is refused, and the next comes.
                let _ = db.batch_execute(&statement).await;
            }
        }));
    }
    let mut reader = started(&*source).await;
    let mut taken = Taken::default();
    for name in &names {
        let (name, mut cursor) = (table(name), None::<String>);
        loop {
            let chunk = reader.chunk(&name, cursor.as_deref(), limits(9));
            let chunk = chunk.await.unwrap();
            for batch in reach(&mut *stream, &chunk.mark).await {
                taken.stream(&batch.changes);
            }
            taken.chunk(&chunk);
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    stop.send(true).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    world.run("INSERT INTO s1 VALUES (1000, 1)").await;
    while !taken
        .rows
        .contains_key(&("s1".to_owned(), "1000".to_owned()))
    {
        let batch = common::next(&mut *stream).await.unwrap();
        taken.stream(&batch.changes);
    }
    // A reading with nobody beside it is the truth.
    let mut truth = Taken::default();
    for name in &names {
        let chunk = reader.chunk(&table(name), None, limits(10_000)).await;
        truth.chunk(&chunk.unwrap());
    }
    assert_eq!(taken.rows, truth.rows);
}

#[tokio::test]
async fn a_table_that_is_empty_goes_comes_back_or_gets_another_key_is_said() {
    let world = World::prepared(
        "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE empty (id int PRIMARY KEY)",
        &["t", "empty"],
    )
    .await;
    world
        .run("INSERT INTO t SELECT i, i FROM generate_series(1, 30) i")
        .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let chunk = reader
        .chunk(&table("empty"), None, limits(10))
        .await
        .unwrap();
    assert_eq!((chunk.rows.len(), chunk.next), (0, None));
    let first = reader.chunk(&table("t"), None, limits(10)).await.unwrap();
    let cursor = first.next.unwrap();
    world.run("ALTER TABLE t RENAME TO gone").await;
    let error = reader.chunk(&table("t"), Some(&cursor), limits(10)).await;
    let SourceError::SchemaChanged { what, .. } = error.unwrap_err() else {
        panic!("expected a changed schema")
    };
    assert!(what.contains("does not exist"), "{what}");
    // The reader is as good as before, for the other table and for this one when it is back.
    reader
        .chunk(&table("empty"), None, limits(10))
        .await
        .unwrap();
    world.run("ALTER TABLE gone RENAME TO t").await;
    let rest = reader
        .chunk(&table("t"), Some(&cursor), limits(100))
        .await
        .unwrap();
    assert_eq!((rest.rows.len(), rest.next), (20, None));
    // The same key by another name goes on where it stood.
    world.run("ALTER TABLE t RENAME id TO number").await;
    let rest = reader
        .chunk(&table("t"), Some(&cursor), limits(100))
        .await
        .unwrap();
    assert_eq!(rest.rows.len(), 20);
    assert_eq!(rest.rows[0].shape.columns, ["number", "n"]);
    let again = table("t");
    // Under another key its rows stand in another order, and so in another table of its name.
    let other = format!(
        "ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old INCLUDING ALL);
         INSERT INTO t SELECT * FROM old; ALTER PUBLICATION {} ADD TABLE t",
        world.slot()
    );
    for sql in [
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n)",
        &other,
    ] {
        let before = reader.chunk(&table("t"), None, limits(10)).await.unwrap();
        world.run(sql).await;
        let cursor = before.next;
        let all = reader.chunk(&again, cursor.as_deref(), limits(100));
        assert_eq!(all.await.unwrap().rows.len(), 30, "{sql}");
    }
}

/// A row filter of the publication holds for both ways: a row that leaves it is gone, one that
/// comes into it is new, and a snapshot reads no others.
#[tokio::test]
async fn a_row_filter_holds_for_snapshot_and_stream() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, n int, \"odd \"\" name\" text);
         ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t SELECT i, i % 10, 'x' FROM generate_series(1, 100) i;
         CREATE PUBLICATION lighterman_p FOR TABLE t
           WHERE (n > 4 AND \"odd \"\" name\" IS DISTINCT FROM 'y')",
        &["t"],
    )
    .await;
    let source = world.source_with(&[("publication", common::text("lighterman_p"))]);
    source.prepare(true).await.unwrap();
    let found = source.check().await;
    let said = |text: &str| {
        found
            .iter()
            .any(|finding| finding.to_string().contains(text))
    };
    assert!(said("is captured as far as it is published"), "{found:?}");
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = started(&*source).await;
    let mut taken = Taken::default();
    let name = table("t");
    let first = reader.chunk(&name, None, limits(20)).await.unwrap();
    assert_eq!(first.rows.len(), 20);
    world
        .run(
            "UPDATE t SET n = 1 WHERE id = 5; UPDATE t SET n = 9 WHERE id = 1;
             UPDATE t SET \"odd \"\" name\" = 'y' WHERE id = 99; DELETE FROM t WHERE id = 98;
             UPDATE t SET n = 2 WHERE id = 2; INSERT INTO t VALUES (200, 1, 'x'), (201, 7, 'x')",
        )
        .await;
    for batch in reach(&mut *stream, &first.mark).await {
        taken.stream(&batch.changes);
    }
    taken.chunk(&first);
    let rest = reader
        .chunk(&name, first.next.as_deref(), limits(1_000))
        .await;
    let rest = rest.unwrap();
    for batch in reach(&mut *stream, &rest.mark).await {
        taken.stream(&batch.changes);
    }
    taken.chunk(&rest);
    let real = world
        .db
        .query(
            "SELECT id FROM t WHERE n > 4 AND \"odd \"\" name\" <> 'y'",
            &[],
        )
        .await
        .unwrap();
    let real: BTreeSet<String> = real
        .iter()
        .map(|row| row.get::<_, i32>(0).to_string())
        .collect();
    let ours: BTreeSet<String> = taken.rows.keys().map(|(_, key)| key.clone()).collect();
    assert_eq!(ours, real);
    assert!(ours.contains("1") && !ours.contains("5") && ours.contains("201"));
}

/// Between two chunks, and while a snapshot waits to begin, no transaction or view of ours is open
/// that would hold back the server's cleaning up.
#[tokio::test]
async fn no_transaction_stays_open_between_chunks() {
    let world = World::prepared(
        "CREATE TABLE t (id int PRIMARY KEY, n int);
         INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i",
        &["t"],
    )
    .await;
    let source = world.source();
    let idle = format!(
        "SELECT count(*) > 0 AND bool_and(state = 'idle' AND backend_xmin IS NULL
             AND backend_xid IS NULL AND xact_start IS NULL)
           FROM pg_stat_activity
          WHERE application_name LIKE 'lighterman%' AND datname = '{}'
            AND backend_type = 'client backend'",
        world.name
    );
    // A running transaction makes the beginning wait.
    let other = world.server.connect(&world.name).await;
    other
        .batch_execute("BEGIN; INSERT INTO t VALUES (0, 0)")
        .await
        .unwrap();
    let mut reader = source.snapshot(1).await.unwrap();
    let mut beginning = Box::pin(reader.begin());
    let waits = tokio::time::timeout(std::time::Duration::from_millis(500), &mut beginning);
    assert!(waits.await.is_err(), "it must wait for the transaction");
    // The future is not polled now: it stands between two looks, or its last look's answer waits.
    world.until(&idle).await;
    other.batch_execute("COMMIT").await.unwrap();
    beginning.await.unwrap();
    world.until(&idle).await;
    let (name, mut cursor) = (table("t"), None::<String>);
    loop {
        let chunk = reader
            .chunk(&name, cursor.as_deref(), limits(2_000))
            .await
            .unwrap();
        assert_eq!(
            world.ask(&idle).await.as_deref(),
            Some("t"),
            "after a chunk"
        );
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
}

/// A chunk takes no longer than a statement may; what blocks it is not waited for without end.
#[tokio::test]
async fn a_chunk_that_is_locked_out_ends_in_time() {
    let world = World::prepared(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
        &["t"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    world
        .run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .await;
    let name = table("t");
    let error = reader.chunk(&name, None, limits(10)).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    world.run("COMMIT").await;
    assert_eq!(
        reader
            .chunk(&name, None, limits(10))
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
}

/// A statement that writes a table anew holds its lock until its end, and for a snapshot of before
/// that end the table is empty: a chunk that waits for the lock looks at the table only then.
#[tokio::test]
async fn a_table_written_anew_while_a_chunk_waits_for_it_is_read() {
    let world = World::prepared(
        "CREATE TABLE t (id int PRIMARY KEY, n int);
         INSERT INTO t SELECT i, i FROM generate_series(1, 30) i;
         CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
         CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (1) TO (16);
         CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (16) TO (40);
         INSERT INTO parts SELECT i, i FROM generate_series(1, 30) i",
        &["t", "parts"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let other = world.server.connect(&world.name).await;
    for name in ["t", "parts"] {
        let all = reader.chunk(&table(name), None, limits(10)).await.unwrap();
        let cursor = all.next.unwrap();
        for change in [
            "ALTER COLUMN n TYPE bigint",
            "ADD COLUMN v float8 DEFAULT random()",
        ] {
            let sql = format!("BEGIN; ALTER TABLE {name} {change}");
            other.batch_execute(&sql).await.unwrap();
            let waits = format!(
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = '{name}'::regclass
                   AND NOT granted)"
            );
            let name = table(name);
            let (chunk, ()) =
                tokio::join!(reader.chunk(&name, Some(&cursor), limits(100)), async {
                    world.until(&waits).await;
                    other.batch_execute("COMMIT").await.unwrap();
                });
            let rows = chunk.unwrap().rows;
            assert_eq!(rows.len(), 20, "{name} {change}");
            // As the log tells them from now on.
            let columns = rows[0].shape.columns.len();
            assert_eq!(
                columns,
                if change.contains("ADD") { 3 } else { 2 },
                "{name}"
            );
        }
    }
    // Who may read a partitioned table may lock it with its partitions.
    let user = format!("{}_reader", world.name);
    world
        .run(&format!(
            "CREATE ROLE {user} LOGIN; GRANT SELECT ON parts TO {user}"
        ))
        .await;
    let source = world.source_with(&[("user", common::text(&user))]);
    let mut reader = started(&*source).await;
    let all = reader.chunk(&table("parts"), None, limits(100)).await;
    assert_eq!(all.unwrap().rows.len(), 30);
}

/// Rows may be of any size, and nobody knows the next one's: a chunk takes one more than fits at
/// most, whatever was asked of the server.
#[tokio::test]
async fn a_chunk_holds_one_large_row_at_most_beside_what_fits() {
    let world = World::prepared(
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT i, 'small' FROM generate_series(1, 300) i;
         INSERT INTO t SELECT i, repeat('large ', 600000) FROM generate_series(301, 312) i;
         INSERT INTO t SELECT i, 'small' FROM generate_series(313, 400) i",
        &["t"],
    )
    .await;
    let mut reader = world.source().snapshot(1).await.unwrap();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let limits = ChunkLimits {
            rows_max: 2_000,
            bytes_max: 1 << 20,
        };
        let chunk = reader.chunk(&table("t"), cursor.as_deref(), limits).await;
        let chunk = chunk.unwrap();
        let large = chunk.rows.iter().filter(|row| row.bytes() > 1 << 20);
        assert!(large.count() <= 1, "after {} rows", seen.len());
        seen.extend(
            chunk
                .rows
                .iter()
                .map(|row| row.key().unwrap().as_str().to_owned()),
        );
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    let all: Vec<String> = (1..=400).map(|id| id.to_string()).collect();
    assert_eq!(seen, all);
    // The connections that were given up are gone, and with them their transactions.
    world
        .until(
            "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = 'lighterman'
               AND datname = current_database() AND state <> 'idle')",
        )
        .await;
}
