//! What the log and the tables tell, against a real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{ChunkLimits, Op, Position, TableName, Value};

use crate::common::{self, World, batches, captured, changes, next, reach, show, snapshot};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text, qty numeric(12, 3))";

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

#[tokio::test]
async fn tells_every_kind_of_change() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world
        .run(
            "BEGIN; INSERT INTO item VALUES (1, 'a', 1.500), (2, NULL, NULL);
             UPDATE item SET qty = 2 WHERE id = 1; UPDATE item SET id = 9 WHERE id = 2;
             DELETE FROM item WHERE id = 1; COMMIT; TRUNCATE item",
        )
        .await;
    let seen = changes(&mut *stream, 6).await;
    let told: Vec<_> = seen
        .iter()
        .map(|c| (c.op, show(c.before.as_ref()), show(c.after.as_ref())))
        .collect();
    let list = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let none = Vec::new;
    assert_eq!(
        told,
        [
            (
                Op::Insert,
                none(),
                list(&["int 1", "text a", "decimal 1.5"])
            ),
            (Op::Insert, none(), list(&["int 2", "null", "null"])),
            (Op::Update, none(), list(&["int 1", "text a", "decimal 2"])),
            (
                Op::Update,
                list(&["int 2", "unchanged", "unchanged"]),
                list(&["int 9", "null", "null"])
            ),
            (
                Op::Delete,
                list(&["int 1", "unchanged", "unchanged"]),
                none()
            ),
            (Op::Truncate, none(), none()),
        ]
    );
    let shape = &seen[0].shape;
    assert_eq!(shape.columns, ["id", "sku", "qty"]);
    assert_eq!(shape.key, [0]);
    assert_eq!(seen[3].old_key().unwrap().as_str(), "2");
    assert_eq!(seen[3].key().unwrap().as_str(), "9");
    // One transaction: one commit place, ordinals from 1, one id, one time.
    let first = &seen[0];
    for (n, change) in seen[..5].iter().enumerate() {
        assert_eq!(change.position.pos, first.position.pos);
        assert_eq!(change.position.seq as usize, n + 1);
        assert_eq!(change.transaction, first.transaction);
        assert_eq!(change.committed_at, first.committed_at);
    }
    assert!(seen[5].position.pos > first.position.pos);
    assert_eq!(seen[5].position.seq, 1);
    assert!(seen[5].transaction > first.transaction);
    // The server's clock is ours.
    let ago = world
        .ask(&format!(
            "SELECT now() - '{}'::timestamptz BETWEEN '0' AND '5 min'",
            first.committed_at.unwrap()
        ))
        .await;
    assert_eq!(ago.as_deref(), Some("t"));
}

#[tokio::test]
async fn full_identity_tells_the_whole_row_before() {
    let sql = format!("{ITEM}; ALTER TABLE item REPLICA IDENTITY FULL");
    let world = World::prepared(&sql, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world
        .run("INSERT INTO item VALUES (1, 'a', 1); UPDATE item SET qty = 2; DELETE FROM item")
        .await;
    let seen = changes(&mut *stream, 3).await;
    assert_eq!(
        show(seen[1].before.as_ref()),
        ["int 1", "text a", "decimal 1"]
    );
    assert_eq!(
        show(seen[1].after.as_ref()),
        ["int 1", "text a", "decimal 2"]
    );
    assert_eq!(
        show(seen[2].before.as_ref()),
        ["int 1", "text a", "decimal 2"]
    );
    assert_eq!(seen[0].shape.key, [0]);
}

#[tokio::test]
async fn an_unchanged_large_value_is_never_null() {
    let world = World::prepared(
        "CREATE TABLE plain (id int PRIMARY KEY, big text, n int);
         CREATE TABLE whole (id int PRIMARY KEY, big text, n int);
         ALTER TABLE whole REPLICA IDENTITY FULL;
         ALTER TABLE plain ALTER big SET STORAGE EXTERNAL;
         ALTER TABLE whole ALTER big SET STORAGE EXTERNAL",
        &["plain", "whole"],
    )
    .await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    let big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)";
    for name in ["plain", "whole"] {
        world
            .run(&format!(
                "INSERT INTO {name} VALUES (1, {big}, 1); UPDATE {name} SET n = 2"
            ))
            .await;
    }
    let seen = changes(&mut *stream, 4).await;
    let Some([_, Value::Text(inserted), _]) = seen[0].after.as_deref() else {
        panic!("{:?}", seen[0]);
    };
    assert_eq!(inserted.len(), 12_800);
    // Replica identity default: the log does not have it.
    assert_eq!(seen[1].after.as_ref().unwrap()[1], Value::Unchanged);
    assert_eq!(seen[1].after.as_ref().unwrap()[2], Value::Int(2));
    // Full: the row before has it.
    assert_eq!(
        seen[3].after.as_ref().unwrap()[1],
        Value::Text(inserted.clone())
    );
}

#[tokio::test]
async fn several_tables_share_a_transaction_and_uncaptured_ones_only_count() {
    let world = World::prepared(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         CREATE TABLE c (id int PRIMARY KEY)",
        &["a", "b", "c"],
    )
    .await;
    let fewer = common::World {
        tables: vec![captured("a"), captured("c")],
        server: world.server.clone(),
        name: world.name.clone(),
        db: world.server.connect(&world.name).await,
    };
    let mut stream = fewer.source().stream(1, None).await.unwrap();
    world
        .run(
            "BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1);
             TRUNCATE b, a, c; COMMIT",
        )
        .await;
    let seen = changes(&mut *stream, 4).await;
    let told: Vec<_> = seen
        .iter()
        .map(|c| (c.table().name.as_str(), c.op, c.position.seq))
        .collect();
    assert_eq!(told[..2], [("a", Op::Insert, 1), ("c", Op::Insert, 3)]);
    let mut emptied: Vec<_> = told[2..].iter().map(|(name, op, _)| (*name, *op)).collect();
    emptied.sort_by_key(|(name, _)| *name);
    assert_eq!(emptied, [("a", Op::Truncate), ("c", Op::Truncate)]);
    assert_ne!(told[2].2, told[3].2);
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces_and_resumes_inside() {
    let world = World::prepared(ITEM, &["item"]).await;
    world
        .run("INSERT INTO item SELECT i, 'sku' || i, i FROM generate_series(1, 50000) i")
        .await;
    let before = world.confirmed().await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut first = batches(&mut *stream, 20_000).await;
    // The server may say where it is before the transaction.
    first.retain(|batch| !batch.changes.is_empty());
    for batch in &first {
        assert!(batch.changes.len() <= 2_000);
        assert!(batch.end.seq > 0);
        assert_eq!(batch.end, batch.changes.last().unwrap().position);
        stream.acknowledge(&batch.end).await.unwrap();
    }
    let stopped_at = first.last().unwrap().end.clone();
    // A place inside a transaction releases nothing at the source, however often it is told.
    let since = world.ask("SELECT clock_timestamp()").await.unwrap();
    world
        .until(&format!(
            "SELECT reply_time > '{since}' FROM pg_stat_replication WHERE pid =
                 (SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}')",
            world.slot()
        ))
        .await;
    assert_eq!(world.confirmed().await, before);
    drop(stream);
    world.released().await;
    let mut stream = source.stream(1, Some(&stopped_at)).await.unwrap();
    let got = first.iter().map(|b| b.changes.len()).sum::<usize>();
    let rest = batches(&mut *stream, 50_000 - got).await;
    let ids: Vec<_> = first
        .iter()
        .chain(&rest)
        .flat_map(|b| &b.changes)
        .map(|c| c.after.as_ref().unwrap()[0].clone())
        .collect();
    assert_eq!(ids, (1..=50_000).map(Value::Int).collect::<Vec<_>>());
    let mut end = rest.last().unwrap().end.clone();
    if end.seq > 0 {
        // The last piece was full before the commit arrived: its border follows by itself.
        let border = next(&mut *stream).await.unwrap();
        assert_eq!((border.changes.len(), border.end.seq), (0, 0));
        end = border.end;
    }
    stream.acknowledge(&end).await.unwrap();
    let slot = world.slot();
    world
        .until(&format!(
            "SELECT confirmed_flush_lsn - '0/0' >= {} FROM pg_replication_slots WHERE slot_name = '{slot}'",
            end.pos.number().unwrap()
        ))
        .await;
}

#[tokio::test]
async fn resumes_after_every_batch_without_loss_or_repetition() {
    let world = World::prepared(ITEM, &["item"]).await;
    for n in 0..10 {
        world
            .run(&format!("INSERT INTO item VALUES ({n}, 'x', 1)"))
            .await;
    }
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut ids = Vec::new();
    let mut after = None;
    let mut more = 10;
    while ids.len() < 16 {
        let batch = next(&mut *stream).await.unwrap();
        assert!(after.as_ref().is_none_or(|after| *after <= batch.end));
        ids.extend(
            batch
                .changes
                .iter()
                .map(|c| show(c.after.as_ref())[0].clone()),
        );
        after = Some(batch.end);
        if more < 16 {
            world
                .run(&format!("INSERT INTO item VALUES ({more}, 'x', 1)"))
                .await;
            more += 1;
        }
        // Not acknowledged: the server would send it all again.
        drop(stream);
        stream = source.stream(1, after.as_ref()).await.unwrap();
    }
    assert_eq!(ids, (0..16).map(|n| format!("int {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_changed_table_is_met_with_its_new_columns() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO item VALUES (1, 'a', 1); ALTER TABLE item ADD COLUMN bin text;
             INSERT INTO item VALUES (2, 'b', 2, 'A-1'); ALTER TABLE item DROP COLUMN sku;
             INSERT INTO item VALUES (3, 3, 'A-2')",
        )
        .await;
    let seen = changes(&mut *stream, 3).await;
    assert_eq!(seen[0].shape.columns, ["id", "sku", "qty"]);
    assert_eq!(seen[1].shape.columns, ["id", "sku", "qty", "bin"]);
    assert_eq!(seen[2].shape.columns, ["id", "qty", "bin"]);
}

#[tokio::test]
async fn chunks_go_on_at_their_cursor() {
    let world = World::prepared(
        "CREATE EXTENSION citext;
         CREATE TABLE line (site text COLLATE \"C\", no numeric, code char(4), note text,
                            PRIMARY KEY (site, no, code));
         INSERT INTO line SELECT CASE i % 3 WHEN 0 THEN 'a''\\' WHEN 1 THEN 'Z' ELSE 'é' END,
                                 i / 10.0, 'c' || i % 2, repeat('x', i % 50)
                            FROM generate_series(1, 997) i;
         CREATE TABLE word (w citext PRIMARY KEY);
         INSERT INTO word SELECT CASE WHEN i % 2 = 0 THEN upper(md5(i::text)) ELSE md5(i::text) END
                            FROM generate_series(1, 500) i",
        &["line", "word"],
    )
    .await;
    let source = world.source();
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    for (name, count) in [("line", 997), ("word", 500)] {
        for rows_max in [7, 100, 2_000] {
            let rows = snapshot(&mut *reader, &table(name), rows_max).await;
            assert_eq!(rows.len(), count, "{name} by {rows_max}");
            let mut keys: Vec<_> = rows.iter().map(|row| row.key().unwrap()).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), count, "{name} by {rows_max}");
        }
    }
    // A cursor is good for another reader, after a restart.
    let limits = ChunkLimits {
        rows_max: 400,
        bytes_max: 1 << 20,
    };
    let line = table("line");
    let first = reader.chunk(&line, None, limits).await.unwrap();
    let mut other = source.snapshot(1).await.unwrap();
    let second = other
        .chunk(&line, first.next.as_deref(), limits)
        .await
        .unwrap();
    let third = other
        .chunk(&line, second.next.as_deref(), limits)
        .await
        .unwrap();
    assert_eq!(first.rows.len() + second.rows.len() + third.rows.len(), 997);
    assert_eq!(third.next, None);
    // A repeated call reads afresh.
    world.run("UPDATE line SET note = 'new'").await;
    let again = other
        .chunk(&line, first.next.as_deref(), limits)
        .await
        .unwrap();
    assert_eq!(again.rows.len(), second.rows.len());
    assert_eq!(
        again.rows[0].after.as_ref().unwrap()[3],
        Value::Text("new".to_owned())
    );
    // Bytes bound a chunk as rows do.
    let few = ChunkLimits {
        rows_max: 2_000,
        bytes_max: 5_000,
    };
    let small = other.chunk(&line, None, few).await.unwrap();
    assert!(small.rows.len() < 100 && small.next.is_some());
}

#[tokio::test]
async fn an_interrupted_chunk_leaves_a_usable_reader() {
    let world = World::prepared(
        &format!("{ITEM}; INSERT INTO item SELECT i, 'x', i FROM generate_series(1, 3000) i"),
        &["item"],
    )
    .await;
    let mut reader = world.source().snapshot(1).await.unwrap();
    let limits = ChunkLimits {
        rows_max: 2_000,
        bytes_max: 1 << 20,
    };
    let item = table("item");
    for _ in 0..20 {
        let mut chunk = reader.chunk(&item, None, limits);
        // Polled a little, then dropped.
        for _ in 0..3 {
            let once = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(chunk.as_mut().poll(cx).is_ready())
            });
            assert!(!once.await);
            tokio::task::yield_now().await;
        }
        drop(chunk);
    }
    assert_eq!(snapshot(&mut *reader, &item, 2_000).await.len(), 3_000);
}

#[tokio::test]
async fn a_tables_key_is_the_mappings_then_the_primary_key_then_the_identity() {
    let mut world = World::new(
        "CREATE TABLE mapped (id int PRIMARY KEY, sku text NOT NULL UNIQUE, site text);
         ALTER TABLE mapped REPLICA IDENTITY FULL;
         CREATE TABLE indexed (a int NOT NULL, b int NOT NULL);
         CREATE UNIQUE INDEX by_b ON indexed (b); ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_b;
         CREATE TABLE keyless (a int); ALTER TABLE keyless REPLICA IDENTITY FULL",
        &["mapped", "indexed", "keyless"],
    )
    .await;
    world.tables[0].key = vec!["site".to_owned(), "sku".to_owned()];
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO mapped VALUES (1, 'x', 's'); INSERT INTO indexed VALUES (1, 2);
             INSERT INTO keyless VALUES (1); DELETE FROM indexed",
        )
        .await;
    let seen = changes(&mut *stream, 4).await;
    assert_eq!(seen[0].key().unwrap().as_str(), "s|x");
    assert_eq!(seen[1].key().unwrap().as_str(), "2");
    assert_eq!(seen[2].key(), None);
    assert_eq!(show(seen[3].before.as_ref()), ["unchanged", "int 2"]);
    let mut reader = source.snapshot(1).await.unwrap();
    let rows = snapshot(&mut *reader, &table("mapped"), 10).await;
    assert_eq!(rows[0].key().unwrap().as_str(), "s|x");
    assert_eq!(rows[0].shape, seen[0].shape);
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let refused = reader
        .chunk(&table("keyless"), None, limits)
        .await
        .unwrap_err();
    assert!(refused.hint().unwrap().contains("key"), "{refused}");
}

#[tokio::test]
async fn partitions_are_told_under_the_table_the_mapping_knows() {
    let world = World::prepared(
        "CREATE TABLE stock (site text, sku text, qty int, PRIMARY KEY (site, sku))
             PARTITION BY LIST (site);
         CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');
         CREATE TABLE stock_b PARTITION OF stock FOR VALUES IN ('b')",
        &["stock"],
    )
    .await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run("INSERT INTO stock VALUES ('a', 'x', 1), ('b', 'x', 2)")
        .await;
    let seen = changes(&mut *stream, 2).await;
    assert!(seen.iter().all(|c| *c.table() == table("stock")));
    let mut reader = source.snapshot(1).await.unwrap();
    let rows = snapshot(&mut *reader, &table("stock"), 10).await;
    let keys: Vec<_> = rows
        .iter()
        .map(|row| row.key().unwrap().as_str().to_owned())
        .collect();
    assert_eq!(keys, ["a|x", "b|x"]);
}

/// When a silent server speaks by itself: half of its `wal_sender_timeout`. What takes less was
/// asked for.
const OWN_WORD: std::time::Duration = std::time::Duration::from_mins(8);

/// A server of its own, whose log nobody else writes to.
fn silent_server() -> std::sync::Arc<harness::postgres::PostgresServer> {
    let options = harness::postgres::PostgresOptions::default()
        .setting("autovacuum=off")
        .setting("wal_sender_timeout=16min");
    std::sync::Arc::new(harness::postgres::PostgresServer::start(options))
}

/// On a quiet server nothing but keepalives can bring the stream to a chunk's mark.
#[tokio::test]
async fn an_idle_stream_reaches_a_chunks_mark() {
    let world = World::on(
        silent_server(),
        &format!("{ITEM}; INSERT INTO item SELECT i, 'x', i FROM generate_series(1, 5000) i"),
        &["item"],
    )
    .await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let limits = ChunkLimits {
        rows_max: 1_000,
        bytes_max: 1 << 20,
    };
    let (mut cursor, mut reached): (Option<String>, Option<Position>) = (None, None);
    loop {
        let chunk = reader
            .chunk(&table("item"), cursor.as_deref(), limits)
            .await
            .unwrap();
        // A mark that was reached already is told of no second time.
        if reached.as_ref().is_none_or(|reached| *reached < chunk.mark) {
            let told = tokio::time::timeout(OWN_WORD / 4, reach(&mut *stream, &chunk.mark));
            let told = told.await.expect("the mark is reached");
            reached = told.last().map(|batch| batch.end.clone());
        }
        match chunk.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
}

/// Where the log ends at a page start the server names a place behind the page's header, which no
/// stream reaches before the next record.
#[tokio::test]
async fn an_idle_stream_reaches_a_mark_at_a_page_start() {
    let world = World::on(silent_server(), ITEM, &["item"]).await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let (mut pages, mut segments) = (0, 0);
    let mut overhead = 0;
    for attempt in 0..200 {
        if pages > 0 && segments > 0 {
            break;
        }
        let before = world.insert_lsn().await;
        if attempt % 2 == 0 {
            world.run("SELECT pg_switch_wal()").await;
        } else {
            // A record made to end where a page ends; its overhead is learnt from the last one.
            let room = 2 * 8192 - before % 8192 - 24;
            let size = room.saturating_sub(overhead).max(1_000);
            world
                .run(&format!(
                    "SELECT pg_logical_emit_message(false, 'x', repeat('x', {size}))"
                ))
                .await;
            overhead = (world.insert_lsn().await - before).saturating_sub(size + 24);
        }
        let end = world.insert_lsn().await;
        let at_segment = end % (16 << 20) == 40;
        if !at_segment && end % 8192 != 24 {
            continue;
        }
        let chunk = reader.chunk(&table("item"), None, limits).await.unwrap();
        if world.insert_lsn().await != end {
            continue;
        }
        let reached = tokio::time::timeout(OWN_WORD / 4, reach(&mut *stream, &chunk.mark));
        reached.await.expect("the mark is reached");
        assert_eq!(chunk.mark.pos.number().unwrap() % 8192, 0);
        segments += u32::from(at_segment);
        pages += u32::from(!at_segment);
    }
    assert!(
        pages > 0 && segments > 0,
        "{pages} pages, {segments} segments met"
    );
}

/// What a transaction took back is not told: by a savepoint, by a block that failed, or as a whole;
/// also where the server had put it aside already for being large.
#[tokio::test]
async fn what_a_transaction_took_back_is_not_told() {
    let world = World::prepared("CREATE TABLE t (id int PRIMARY KEY, n int)", &["t"]).await;
    let name = &world.name;
    world
        .run(&format!(
            "ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'"
        ))
        .await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    for sql in [
        "BEGIN; INSERT INTO t VALUES (1, 1); SAVEPOINT a; INSERT INTO t VALUES (2, 2); SAVEPOINT b;
         UPDATE t SET n = 9; RELEASE b; ROLLBACK TO a; INSERT INTO t VALUES (3, 3); COMMIT",
        "DO $$ BEGIN INSERT INTO t VALUES (4, 4);
            BEGIN INSERT INTO t VALUES (5, 5); RAISE EXCEPTION 'no'; EXCEPTION WHEN OTHERS THEN NULL; END;
            INSERT INTO t VALUES (6, 6); END $$",
        "BEGIN; INSERT INTO t VALUES (7, 7); ROLLBACK; INSERT INTO t VALUES (8, 8)",
        "BEGIN; INSERT INTO t SELECT i, 0 FROM generate_series(1001, 4000) i; SAVEPOINT a;
         INSERT INTO t SELECT i, 0 FROM generate_series(4001, 8000) i; UPDATE t SET n = n + 1;
         ROLLBACK TO a; INSERT INTO t SELECT i, 0 FROM generate_series(8001, 9000) i; COMMIT",
    ] {
        world.run(sql).await;
    }
    let told = changes(&mut *stream, 4_005).await;
    let ids: Vec<i64> = told
        .iter()
        .map(|change| match change.after.as_ref().unwrap()[0] {
            Value::Int(id) => id,
            ref other => panic!("{other:?}"),
        })
        .collect();
    let mut expected = vec![1, 3, 4, 6, 8];
    expected.extend(1_001..=4_000);
    expected.extend(8_001..=9_000);
    assert_eq!(ids, expected);
    let spilled = "SELECT spill_txns > 0 FROM pg_stat_replication_slots WHERE slot_name =";
    world.until(&format!("{spilled} '{}'", world.slot())).await;
}
