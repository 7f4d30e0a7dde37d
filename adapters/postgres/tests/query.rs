//! Re-reads by key from PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use contract::{ReadQuery, ReadRows, Source, SourceError, TableName, Value};

use crate::common::types::{EVERY_TYPE, EVERY_VALUE};
use crate::common::{World, show, snapshot, text as setting};

fn asked(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
    let given = parameters.iter();
    ReadQuery {
        sql: sql.to_owned(),
        parameters: given.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        more: Vec::new(),
        rows_max: 100,
        time_max: Duration::from_secs(20),
    }
}

async fn ask(
    source: &dyn Source,
    sql: &str,
    parameters: &[(&str, Value)],
) -> Result<ReadRows, SourceError> {
    source.query(&asked(sql, parameters)).await
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// I10, for the third way a row is read.
#[tokio::test]
async fn a_re_read_row_equals_its_snapshot() {
    let world = World::prepared(EVERY_TYPE, &["every"]).await;
    // Other settings in the database than ours must not show.
    world
        .run(&format!(
            "ALTER DATABASE {} SET datestyle = 'German'; ALTER DATABASE {0} SET timezone = 'Asia/Kolkata';
             ALTER DATABASE {0} SET extra_float_digits = 0; ALTER DATABASE {0} SET bytea_output = 'escape';
             ALTER DATABASE {0} SET standard_conforming_strings = off;
             ALTER DATABASE {0} SET default_transaction_isolation = 'serializable'",
            world.name
        ))
        .await;
    world.run(EVERY_VALUE).await;
    let source = world.source();
    assert!(source.can_query());
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let every = TableName::new("public", "every");
    let read = snapshot(&mut *reader, &every, 10).await;
    assert_eq!(read.len(), 3);
    for row in &read {
        let cells = row.after.as_ref().unwrap();
        let mut query = asked(
            "SELECT * FROM every WHERE id = :id -- all of it",
            &[("id", cells[0].clone())],
        );
        // Alone, and twice at once.
        for more in [vec![], vec![vec![cells[0].clone()]]] {
            query.more = more;
            let found = source.query(&query).await.unwrap();
            assert_eq!(found.rows.len(), 1 + query.more.len());
            let computed = found.columns.len() - 1;
            assert_eq!(found.columns[..computed], row.shape.columns);
            for mut found in found.rows {
                found.truncate(computed);
                assert_eq!(show(Some(&found)), show(Some(cells)));
            }
        }
    }
    let backslash = ask(
        &*source,
        r"SELECT '\' || ':id' || :v || E'\':v'",
        &[("v", text("\\"))],
    )
    .await;
    assert_eq!(backslash.unwrap().rows, [[text(r"\:id\':v")]]);
}

#[tokio::test]
async fn a_parameter_finds_its_row_whatever_the_columns_type() {
    let world = World::new(EVERY_TYPE, &[]).await;
    world.run(EVERY_VALUE).await;
    let source = world.source();
    let uuid = "a0eebc999c0b4ef8bb6d6bb9bd380a11";
    let bytes = |hex: &str| contract::value::unhex(hex).unwrap();
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    for (column, value) in [
        ("id", Value::Int(1)),
        ("id", text("1")),
        ("id", decimal("1.00")),
        ("s", Value::Int(-32_768)),
        ("b", Value::Int(i64::MAX)),
        ("b", Value::UInt(u64::MAX >> 1)),
        ("b", text("9223372036854775807")),
        ("n", decimal("12345678901234567890.123456789")),
        ("n2", decimal("1234567890123456789012345678.0123456789")),
        ("p", decimal("12.5")),
        ("p", Value::Float(12.5)),
        ("cash", Value::Int(99_999)),
        ("o", Value::Int(4_000_000_000)),
        ("t", text("tab\there 'quoted' \\ é 漢")),
        ("v", text("v")),
        ("c", text("pad")),
        ("c", text("pad     ")),
        ("ci", text("cITEXT")),
        ("e", text("green")),
        ("k", text("K")),
        ("nm", text("nam")),
        ("f4", Value::Float(0.1)),
        ("f8", Value::Float(0.1)),
        ("bo", Value::Bool(true)),
        ("d", Value::Date("2024-02-29".parse().unwrap())),
        ("d", text("2024-02-29")),
        ("ts::date", Value::Date("2024-02-29".parse().unwrap())),
        ("tm", Value::Time("23:59:59.999999".parse().unwrap())),
        (
            "ts",
            Value::DateTime("2024-02-29T12:00:00.5".parse().unwrap()),
        ),
        (
            "tz",
            Value::Timestamp("2024-02-29T06:30:00.123456Z".parse().unwrap()),
        ),
        ("u", Value::Uuid(bytes(uuid).try_into().unwrap())),
        ("u", text(uuid)),
        ("by", Value::Bytes(bytes("00ff10"))),
        ("jb", Value::Json("{\"a\":2,\"b\":1.1}".to_owned())),
        ("ip", text("10.1.2.3")),
        ("ar", text("{1,NULL,3}")),
        ("iv", text("1 year 2 days 03:04:05.6")),
    ] {
        let found = ask(
            &*source,
            &format!("SELECT id FROM every WHERE {column} = :v"),
            &[("v", value.clone())],
        )
        .await;
        let found = found.unwrap_or_else(|error| panic!("{column} {}: {error}", value.type_name()));
        assert_eq!(
            found.rows,
            [[Value::Int(1)]],
            "{column} {}",
            value.type_name()
        );
    }
    let null = ask(
        &*source,
        "SELECT id FROM every WHERE (:v::int IS NULL OR id = :v) AND n2 IS NULL ORDER BY id",
        &[("v", Value::Null)],
    )
    .await;
    assert_eq!(null.unwrap().rows, [[Value::Int(2)], [Value::Int(3)]]);
    // What the server would quietly cut is refused.
    let moment = Value::Timestamp("2024-02-29T06:30:00Z".parse().unwrap());
    let clock = Value::DateTime("2024-02-29T06:30:00".parse().unwrap());
    let day = Value::Date("2024-02-29".parse().unwrap());
    for (column, value) in [
        ("d", &moment),
        ("tm", &moment),
        ("ts", &moment),
        ("d", &clock),
        ("tz", &clock),
        ("tz", &day),
    ] {
        let sql = format!("SELECT id FROM every WHERE {column} = :v");
        let error = ask(&*source, &sql, &[("v", value.clone())])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cast one of them"), "{error}");
    }
    let cast = "SELECT id FROM every WHERE d = :v::timestamptz::date";
    assert_eq!(
        ask(&*source, cast, &[("v", moment)])
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
}

#[tokio::test]
async fn hard_formulas_are_the_databases_own() {
    let world = World::new(
        "CREATE TABLE stock (sku text, site int, qty numeric(12,3));
         CREATE TABLE booked (sku text, qty numeric(12,3));
         INSERT INTO stock VALUES ('a', 1, 5), ('a', 2, 2.5), ('b', 1, 1);
         INSERT INTO booked VALUES ('a', 1.25);
         CREATE FUNCTION free(wanted text) RETURNS numeric LANGUAGE plpgsql STABLE AS
         'BEGIN RETURN (SELECT sum(qty) FROM stock WHERE sku = wanted)
              - coalesce((SELECT sum(qty) FROM booked WHERE sku = wanted), 0); END'",
        &[],
    )
    .await;
    let source = world.source();
    let free = ask(
        &*source,
        "SELECT free(:sku) AS free, :sku AS sku",
        &[("sku", text("a"))],
    )
    .await;
    let free = free.unwrap();
    assert_eq!(free.columns, ["free", "sku"]);
    assert_eq!(show(Some(&free.rows[0])), ["decimal 6.25", "text a"]);
    let none = ask(
        &*source,
        "WITH s AS (SELECT * FROM stock WHERE sku = :sku) SELECT site, qty, qty FROM s",
        &[("sku", text("none"))],
    )
    .await;
    let none = none.unwrap();
    assert_eq!(
        (none.columns.join(","), none.rows.len()),
        ("site,qty,qty".to_owned(), 0)
    );
    let many = ask(
        &*source,
        "SELECT i FROM generate_series(1, 100) i WHERE i <> ALL (:not::int[])",
        &[("not", text("{7}"))],
    )
    .await;
    assert_eq!(many.unwrap().rows.len(), 99);
}

#[tokio::test]
async fn an_answer_beyond_its_limits_is_an_error() {
    let world = World::new(
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 1200) i",
        &[],
    )
    .await;
    let source = world.source();
    let mut query = asked("SELECT i FROM t ORDER BY i", &[]);
    for rows_max in [1200, 1201, usize::MAX] {
        query.rows_max = rows_max;
        let rows = source.query(&query).await.unwrap().rows;
        assert_eq!(rows.len(), 1200, "{rows_max}");
        assert_eq!(rows[1199], [Value::Int(1200)]);
    }
    for rows_max in [1199, 16, 15, 1, 0] {
        query.rows_max = rows_max;
        let error = source.query(&query).await.unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }));
        let said = format!("more than {rows_max} rows");
        assert!(error.to_string().contains(&said), "{error}");
    }
    let wide = ask(&*source, "SELECT repeat('x', 1000000) FROM t LIMIT 20", &[]).await;
    assert!(wide.unwrap_err().to_string().contains("16 MiB"));
    // The server stops it, not only we.
    let mut slow = asked("SELECT 'slowly' WHERE pg_sleep(600) IS NOT NULL", &[]);
    slow.time_max = Duration::from_millis(300);
    let started = Instant::now();
    let error = source.query(&slow).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)));
    assert!(
        error
            .to_string()
            .contains("timed out, stopped after 300 ms"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    world
        .until(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()
                AND state = 'active' AND query LIKE '%lighterman_read%' AND pid <> pg_backend_pid()",
        )
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the server goes on with what nobody waits for"
    );
    assert!(source.query(&asked("SELECT 1", &[])).await.is_ok());
}

#[tokio::test]
async fn nothing_but_one_read_is_run() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
         CREATE FUNCTION put() RETURNS int LANGUAGE sql AS 'INSERT INTO public.t VALUES (2) RETURNING k'",
        &[],
    )
    .await;
    let source = world.source();
    for (sql, what) in [
        ("DELETE FROM t", "must begin with"),
        ("SELECT 1; DELETE FROM t", "more than one"),
        ("COMMIT; SELECT 1", "must begin with"),
        (
            "WITH x AS (DELETE FROM t RETURNING k) SELECT * FROM x",
            "WITH",
        ),
        ("WITH x AS (SELECT 1) DELETE FROM t", "syntax error"),
        ("SELECT k INTO u FROM t", "INTO"),
        ("SELECT put()", "would write"),
        ("SELECT nextval('s')", "would write"),
        ("SELECT k FROM t FOR UPDATE", "would write"),
        ("SELECT k FROM t FOR KEY SHARE", "would write"),
        (
            "SELECT set_config('transaction_read_only', 'off', true)",
            "fails in the server",
        ),
        ("SELECT $1", "`$`"),
        (
            "SELECT nonsense FROM t",
            "column \"nonsense\" does not exist",
        ),
        ("SELECT * FROM gone", "relation \"gone\" does not exist"),
        ("SELECT FROM WHERE t", "syntax error at or near \"WHERE\""),
    ] {
        let error = ask(&*source, sql, &[]).await.expect_err(sql);
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains(what), "{sql}: {error}");
    }
    assert_eq!(world.ask("SELECT count(*) FROM t").await.unwrap(), "1");
    assert_eq!(world.ask("SELECT is_called FROM s").await.unwrap(), "f");
}

#[tokio::test]
async fn no_error_shows_a_value() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'secret');
         CREATE TABLE hidden (k int);
         CREATE FUNCTION shout(v text, code text) RETURNS text LANGUAGE plpgsql AS
         'BEGIN RAISE EXCEPTION ''no %'', v USING ERRCODE = code; END';
         DO $$ BEGIN CREATE ROLE asker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         GRANT SELECT ON t TO asker; CREATE SEQUENCE secret",
        &[],
    )
    .await;
    let source = world.source_with(&[("user", setting("asker"))]);
    for sql in [
        "SELECT k FROM t WHERE k = :v",
        "SELECT v::int FROM t WHERE v = :v",
        "SELECT :v::regclass::oid::int4range",
        "SELECT 1 FROM pg_class WHERE oid = (:v || '.')::regclass",
        "SELECT (:v || '')::date",
        "SELECT json(:v)",
        "SELECT :v::jsonb",
        "SELECT shout(:v, 'P0001')",
        "SELECT shout(:v, '42501')",
        "SELECT shout(:v, '22012')",
        "SELECT shout(:v, '57014')",
        "SELECT shout(:v, '55P03')",
        "SELECT shout(:v, '08006')",
        "SELECT shout(:v, '42P01')",
        "SELECT last_value FROM secret WHERE :v = 'x'",
        "SELECT nextval(:v::regclass)",
        "SELECT :v FROM :v",
        "SELECT ':v'",
        "SELECT nonsense, :v",
    ] {
        let error = ask(&*source, sql, &[("v", text("secret"))])
            .await
            .expect_err(sql);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{sql}: {shown}");
        assert!(shown.starts_with("read by key: "), "{sql}: {shown}");
    }
    let error = ask(&*source, "SELECT :v FROM :v", &[("v", text("secret"))]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("near \":v\""), "{error}");
    let error = ask(&*source, "SELECT :v", &[("v", text("a\0b"))]).await;
    assert!(error.unwrap_err().to_string().contains("NUL"));
    // A missing right is named where it is no value.
    let error = ask(&*source, "SELECT k FROM hidden", &[])
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("permission denied for table hidden"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("SELECT"));
}

#[tokio::test]
async fn a_re_read_blocks_nobody_and_waits_for_nobody_long() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)",
        &[],
    )
    .await;
    let source = world.source();
    let sleeping = source.clone();
    let long = tokio::spawn(async move {
        let query = asked(
            "SELECT k FROM t WHERE pg_sleep(2) IS NOT NULL AND k = 1",
            &[],
        );
        sleeping.query(&query).await
    });
    let active = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event = 'PgSleep'";
    world.until(active).await;
    world
        .run("SET lock_timeout = '100ms'; UPDATE t SET v = 2; DELETE FROM t; INSERT INTO t VALUES (1, 3)")
        .await;
    // Two at the same time.
    let rows = ask(&*source, "SELECT v FROM t", &[]).await.unwrap().rows;
    assert_eq!(rows, [[Value::Int(3)]]);
    assert_eq!(long.await.unwrap().unwrap().rows.len(), 1);
    world
        .run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .await;
    let mut query = asked("SELECT v FROM t", &[]);
    query.time_max = Duration::from_secs(30);
    let started = Instant::now();
    let error = source.query(&query).await.unwrap_err();
    assert!(error.to_string().contains("holds a lock"), "{error}");
    assert!(matches!(error, SourceError::Disconnected(_)));
    assert!(started.elapsed() < Duration::from_secs(10));
    world.run("ROLLBACK").await;
}

#[tokio::test]
async fn a_connection_is_kept_clean_and_replaced_when_it_broke() {
    let world = World::new("CREATE TABLE t (k int)", &[]).await;
    let source = world.source();
    let pid = || async {
        let rows = ask(&*source, "SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .rows;
        rows[0][0].text().unwrap()
    };
    let first = pid().await;
    let refused = ask(&*source, "SELECT 1 / :v::int", &[("v", Value::Int(0))]).await;
    assert!(refused.is_err());
    let spoilt = "SELECT set_config('search_path', 'nowhere', false),
        set_config('datestyle', 'German', false), pg_advisory_lock(7)::text";
    ask(&*source, spoilt, &[]).await.unwrap();
    let day = ask(&*source, "SELECT date '2024-02-29', count(*) FROM t", &[]).await;
    assert_eq!(show(Some(&day.unwrap().rows[0]))[0], "date 2024-02-29");
    assert_eq!(pid().await, first, "one connection for all of it");
    let free = world.ask("SELECT pg_try_advisory_lock(7)").await;
    assert_eq!(free.as_deref(), Some("t"), "no lock is left behind");
    world
        .run(&format!("SELECT pg_terminate_backend({first}, 5000)"))
        .await;
    assert_ne!(pid().await, first);
}

/// A change can be in the log before readers see it: an answer says which it reflects.
#[tokio::test]
async fn an_answer_says_which_transactions_it_sees() {
    let world = World::prepared("CREATE TABLE t (i int PRIMARY KEY)", &["t"]).await;
    let source = world.source();
    let open = world.server.connect(&world.name).await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let xid = open
        .query_one("SELECT pg_current_xact_id()::text", &[])
        .await
        .unwrap();
    let xid: u64 = xid.get::<_, String>(0).parse().unwrap();
    let at = contract::Position::border(1, contract::LogPos::from_number(1));
    let seen = |answer: &ReadRows| answer.sees.as_ref().unwrap().reflects(&at, &at, xid);
    let before = ask(&*source, "SELECT count(*) FROM t", &[]).await.unwrap();
    assert!(!seen(&before), "{:?}", before.sees);
    open.batch_execute("COMMIT").await.unwrap();
    let after = ask(&*source, "SELECT count(*) FROM t", &[]).await.unwrap();
    assert!(seen(&after), "{:?}", after.sees);
    assert_eq!(after.rows, [[Value::Int(1)]]);
}
