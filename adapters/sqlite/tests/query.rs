//! Re-reads by key from SQLite.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use contract::{ChunkLimits, ReadQuery, ReadRows, SourceError, TableName, Value};

use crate::common::World;

fn asked(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
    let given = parameters.iter();
    ReadQuery {
        sql: sql.to_owned(),
        parameters: given.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        more: Vec::new(),
        rows_max: 100,
        time_max: Duration::from_secs(10),
    }
}

async fn ask(
    world: &World,
    sql: &str,
    parameters: &[(&str, Value)],
) -> Result<ReadRows, SourceError> {
    world.source().query(&asked(sql, parameters)).await
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

const EVERY: &str = "CREATE TABLE every (k INTEGER PRIMARY KEY, b BOOLEAN, d DECIMAL(18,4),
        dt DECIMAL_TEXT, f DOUBLE, t TEXT, y BLOB, da DATE, u UUID, j JSON, n NUMERIC, m DATETIME, x);
     INSERT INTO every VALUES
        (1, 1, 12.5, '0.1', 0.5, 'it''s', x'00ff', '2026-11-20',
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{}', 1, '2026-11-20 08:00:00', 1),
        (2, 0, 7, 8, 9e999, 10, x'', '0000-00-00', 'none', '[]', 1.5, '2026-11-20T08:00:00Z',
         'a' || char(0) || 'b'),
        (3, 2, 12.34567, 'x', -9e999, x'00', 'y', NULL, NULL, NULL, NULL, NULL, 0.1)";

/// I10, for the third way a row is read.
#[tokio::test]
async fn a_re_read_row_equals_its_snapshot() {
    let world = World::prepared(EVERY, &["every"]).await;
    let source = world.source();
    assert!(source.can_query());
    let mut reader = source.snapshot(1).await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let table = TableName::new("main", "every");
    let chunk = reader.chunk(&table, None, limits).await.unwrap();
    assert_eq!(chunk.rows.len(), 3);
    for row in &chunk.rows {
        let cells = row.after.as_ref().unwrap();
        for sql in [
            "SELECT * FROM every WHERE k = :k",
            "WITH e AS (SELECT * FROM every) SELECT e.* FROM e WHERE e.k = :k",
        ] {
            let found = ask(&world, sql, &[("k", cells[0].clone())]).await.unwrap();
            assert_eq!(found.columns, row.shape.columns);
            let found: Vec<_> = found.rows.into_iter().flatten().collect();
            let show = |cells: &[Value]| -> Vec<_> {
                cells.iter().map(|c| (c.type_name(), c.text())).collect()
            };
            assert_eq!(show(&found), show(cells));
            let mut twice = asked(sql, &[("k", cells[0].clone())]);
            twice.more = vec![vec![cells[0].clone()]];
            for found in source.query(&twice).await.unwrap().rows {
                assert_eq!(show(&found), show(cells), "asked twice at once");
            }
        }
    }
}

#[tokio::test]
async fn every_type_finds_its_row() {
    let world = World::new(EVERY, &[]);
    let uuid = [
        0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a,
        0x11,
    ];
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    for (column, value) in [
        ("k", Value::Int(1)),
        ("k", text("1")),
        ("k", decimal("1.0")),
        ("b", Value::Bool(true)),
        ("d", decimal("12.500")),
        ("d", text("12.5")),
        ("d + 0", decimal("12.5")),
        ("dt", decimal("0.1")),
        ("f", Value::Float(0.5)),
        ("t", text("it's")),
        ("y", Value::Bytes(vec![0, 255])),
        ("da", Value::Date("2026-11-20".parse().unwrap())),
        ("u", Value::Uuid(uuid)),
        ("j", Value::Json("{}".to_owned())),
        ("m", Value::DateTime("2026-11-20T08:00".parse().unwrap())),
        (
            "strftime('%Y-%m-%dT%H:%M:%SZ', m)",
            Value::Timestamp("2026-11-20T08:00Z".parse().unwrap()),
        ),
        (
            "strftime('%H:%M:%S', m)",
            Value::Time("08:00".parse().unwrap()),
        ),
        ("x", Value::Int(1)),
        ("coalesce(:v, 1)", Value::Null),
    ] {
        let sql = format!("SELECT k FROM every WHERE k = 1 AND {column} = coalesce(:v, 1)");
        let found = ask(&world, &sql, &[("v", value.clone())]).await.unwrap();
        assert_eq!(
            found.rows,
            [[Value::Int(1)]],
            "{column} {}",
            value.type_name()
        );
    }
    for value in [Value::UInt(u64::MAX), decimal("12345678901234567890123")] {
        let error = ask(&world, "SELECT :v", &[("v", value)]).await.unwrap_err();
        assert!(error.to_string().contains(":v has more digits"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_beyond_its_limits_is_an_error() {
    let world = World::new(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        &[],
    );
    let source = world.source();
    let mut query = asked("SELECT k FROM t", &[]);
    query.rows_max = 2;
    assert_eq!(source.query(&query).await.unwrap().rows.len(), 2);
    query.rows_max = 1;
    let error = source.query(&query).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }));
    assert!(error.to_string().contains("more than 1 rows"), "{error}");
    let error = ask(&world, "SELECT randomblob(9000000) FROM t", &[]).await;
    assert!(error.unwrap_err().to_string().contains("16 MiB"));
    query.sql =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            .to_owned();
    query.time_max = Duration::from_millis(200);
    let started = Instant::now();
    let error = source.query(&query).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)));
    assert!(error.to_string().contains("timed out"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nothing_but_one_read_is_run() {
    let world = World::new(
        "CREATE TABLE t (k INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)",
        &[],
    );
    for (sql, what) in [
        ("DELETE FROM t", "must begin with"),
        ("SELECT 1; DELETE FROM t", "more than one"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "would write"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT 2", "would write"),
        ("PRAGMA query_only = 0", "must begin with"),
        ("ATTACH 'x' AS x", "must begin with"),
        ("SELECT ?1", "`?`"),
        ("SELECT @v", "`@`"),
        ("SELECT nonsense FROM t", "no such column: nonsense"),
        ("SELECT * FROM gone", "no such table: gone"),
        ("SELECT FROM t", "syntax error"),
    ] {
        let error = ask(&world, sql, &[]).await.unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{sql}");
        assert!(error.to_string().contains(what), "{sql}: {error}");
    }
    let left: i64 = world
        .db
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 1);
    let folder = world.file.parent().unwrap();
    assert!(!folder.join("x").exists());
}

#[tokio::test]
async fn no_error_shows_a_value() {
    let world = World::new(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'secret')",
        &[],
    );
    for sql in [
        "SELECT :v FROM :v",
        "SELECT json_extract('{}', :v)",
        "SELECT json_extract('{}', v) FROM t WHERE v = :v",
        "SELECT json(:v)",
        "SELECT nonsense, :v",
        "SELECT ':v'",
    ] {
        let error = ask(&world, sql, &[("v", text("secret"))])
            .await
            .unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{sql}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{sql}: {shown}");
    }
    let error = ask(&world, "SELECT :v FROM :v", &[("v", text("secret"))]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("near \":v\""), "{error}");
}

#[tokio::test]
async fn a_re_read_blocks_no_writer_and_waits_for_no_lock_beyond_its_time() {
    let world = World::new(
        "CREATE TABLE t (k INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)",
        &[],
    );
    let source = world.source();
    let mut long = asked(
        "WITH RECURSIVE n(i) AS (SELECT k FROM t UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        &[],
    );
    long.time_max = Duration::from_secs(2);
    let reading = tokio::spawn(async move { source.query(&long).await });
    world.db.busy_timeout(Duration::ZERO).unwrap();
    while !reading.is_finished() {
        world.run("INSERT INTO t SELECT max(k) + 1 FROM t");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reading.await.unwrap().is_err(), "it ran into its limit");
    // A writer that shuts everyone out.
    let deadline = Instant::now() + Duration::from_secs(20);
    // The reader's connection may be closing still.
    while let Err(error) = world.db.execute_batch("PRAGMA journal_mode = DELETE") {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.run("BEGIN EXCLUSIVE");
    let mut short = asked("SELECT k FROM t", &[]);
    short.time_max = Duration::from_millis(200);
    let started = Instant::now();
    let error = world.source().query(&short).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
    world.run("COMMIT");
    assert!(world.source().query(&short).await.is_ok());
}
