//! Re-reads by key from MySQL and MariaDB.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{ReadQuery, ReadRows, Source, SourceError, TableName, Value};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;

use crate::common::every::{EVERY, EVERY_TYPE, EVERY_VALUE};
use crate::common::read::{show, snapshot, started};
use crate::common::{World, text as setting};

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

fn source(world: &World) -> Arc<dyn Source> {
    world.source_with(&[("database", setting(&world.name))])
}

/// I10, for the third way a row is read.
#[tokio::test]
async fn a_re_read_row_equals_its_snapshot() {
    // Other settings of the server than ours must not show.
    let options = MariadbOptions::default()
        .setting("default_time_zone=+05:30")
        .setting(
            "sql_mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH",
        )
        .setting("character_set_server=latin1");
    let world = World::with(options, EVERY_TYPE, EVERY).await;
    world.run(EVERY_VALUE).await;
    let source = source(&world);
    assert!(source.can_query());
    let mut reader = started(&*source).await;
    for name in EVERY {
        let read = snapshot(&mut *reader, &TableName::new(&world.name, *name), 2).await;
        assert!(read.len() > 3, "{name}");
        let columns: Vec<String> = read[0]
            .shape
            .columns
            .iter()
            .map(|c| format!("`{c}`"))
            .collect();
        for row in &read {
            let cells = row.after.as_ref().unwrap();
            let mut query = asked(
                &format!(
                    "SELECT {} FROM {name} WHERE id = :id -- it's all",
                    columns.join(", ")
                ),
                &[("id", cells[0].clone())],
            );
            // Alone, and twice at once.
            for more in [vec![], vec![vec![cells[0].clone()]]] {
                query.more = more;
                let found = source.query(&query).await.unwrap();
                assert_eq!(found.rows.len(), 1 + query.more.len());
                assert_eq!(found.columns, row.shape.columns);
                for found in found.rows {
                    assert_eq!(show(&found), show(cells), "{name}");
                }
            }
        }
    }
    let backslash = ask(
        &*source,
        r#"SELECT CONCAT('\\', ':id', :v, '\':v', "it's :v") # :v"#,
        &[("v", text("\\"))],
    )
    .await;
    assert_eq!(backslash.unwrap().rows, [[text(r"\:id\':vit's :v")]]);
}

#[tokio::test]
async fn a_parameter_finds_its_row_whatever_the_columns_type() {
    let world = World::new(EVERY_TYPE, &[]).await;
    world.run(EVERY_VALUE).await;
    let source = source(&world);
    let uuid = "a0eebc999c0b4ef8bb6d6bb9bd380a11";
    let bytes = |hex: &str| contract::value::unhex(hex).unwrap();
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    for (table, column, value) in [
        ("numbers", "id", Value::Int(1)),
        ("numbers", "id", text("1")),
        ("numbers", "id", decimal("1.00")),
        ("numbers", "m", Value::Int(-8_388_608)),
        ("numbers", "b", Value::Int(i64::MIN)),
        ("numbers", "bu", Value::UInt(u64::MAX)),
        ("numbers", "bu", text("18446744073709551615")),
        ("numbers", "b1 = 1 AND id", Value::Bool(true)),
        ("numbers", "d", decimal("-99999999.99")),
        (
            "numbers",
            "d38",
            decimal("0.99999999999999999999999999999999999999"),
        ),
        ("numbers", "db", Value::Float(0.1)),
        ("numbers", "e", text("it's")),
        ("moments", "d", Value::Date("2026-11-26".parse().unwrap())),
        ("moments", "d", text("2026-11-26")),
        (
            "moments",
            "t6",
            Value::Time("12:34:56.789012".parse().unwrap()),
        ),
        (
            "moments",
            "dt6",
            Value::DateTime("2026-11-26T12:34:56.789012".parse().unwrap()),
        ),
        (
            "moments",
            "ts6",
            Value::Timestamp("2026-11-26T07:04:56.789012Z".parse().unwrap()),
        ),
        ("texts", "c", text("pad")),
        ("texts", "v", text("it's \\ \u{1d11e}")),
        ("texts", "l1", text("café €")),
        ("texts", "l2", text("łódź")),
        ("texts", "u16", text("é漢\u{1d11e}")),
        ("texts", "vb", Value::Bytes(bytes("00ff10"))),
        ("texts", "uu", Value::Uuid(bytes(uuid).try_into().unwrap())),
        ("texts", "uu", text(uuid)),
        ("texts", "i4", text("10.1.0.0")),
        ("texts", "i6", text("2001:db8::")),
    ] {
        let sql = format!("SELECT id FROM {table} WHERE {column} = :v");
        let found = ask(&*source, &sql, &[("v", value.clone())]).await;
        let found = found.unwrap_or_else(|error| panic!("{column} {}: {error}", value.type_name()));
        assert_eq!(
            found.rows,
            [[Value::Int(1)]],
            "{column} {}",
            value.type_name()
        );
    }
    // Texts of a column's own character set beside a parameter's.
    for (sql, text) in [
        (
            "SELECT COALESCE(:none, l2) FROM texts WHERE id = 1 AND :v = 'x'",
            "łódź",
        ),
        (
            "SELECT CONCAT(cp, :v) FROM texts WHERE id = 1 AND :none IS NULL",
            "žluťx",
        ),
        (
            "SELECT CONVERT(:v USING cp850) FROM texts WHERE id = 1 AND :none IS NULL",
            "x",
        ),
    ] {
        let found = ask(
            &*source,
            sql,
            &[("v", self::text("x")), ("none", Value::Null)],
        )
        .await;
        assert_eq!(found.unwrap().rows, [[self::text(text)]], "{sql}");
    }
    let null = ask(
        &*source,
        "SELECT id FROM numbers WHERE (:v IS NULL OR id = :v) AND d IS NULL",
        &[("v", Value::Null)],
    )
    .await;
    assert_eq!(null.unwrap().rows, [[Value::Int(5)]]);
}

#[tokio::test]
async fn hard_formulas_are_the_databases_own() {
    let world = World::new(
        "CREATE TABLE stock (sku varchar(9), site int, qty decimal(12,3));
         CREATE TABLE booked (sku varchar(9), qty decimal(12,3));
         INSERT INTO stock VALUES ('a', 1, 5), ('a', 2, 2.5), ('b', 1, 1);
         INSERT INTO booked VALUES ('a', 1.25);
         CREATE FUNCTION free(wanted varchar(9)) RETURNS decimal(12,3) READS SQL DATA
         RETURN (SELECT SUM(qty) FROM stock WHERE sku = wanted)
              - COALESCE((SELECT SUM(qty) FROM booked WHERE sku = wanted), 0)",
        &[],
    )
    .await;
    let source = source(&world);
    let free = ask(
        &*source,
        "SELECT free(:sku) AS free, :sku AS sku",
        &[("sku", text("a"))],
    )
    .await;
    let free = free.unwrap();
    assert_eq!(free.columns, ["free", "sku"]);
    assert_eq!(show(&free.rows[0]), ["decimal 6.25", "text a"]);
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
    // Without a database in the settings, a name needs its schema.
    let error = ask(&*world.source(), "SELECT * FROM stock", &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("No database selected"),
        "{error}"
    );
    let whole = format!("SELECT site FROM {}.stock WHERE site = 2", world.name);
    assert_eq!(
        ask(&*world.source(), &whole, &[]).await.unwrap().rows,
        [[Value::Int(2)]]
    );
}

#[tokio::test]
async fn an_answer_beyond_its_limits_is_an_error() {
    let world = World::new("CREATE TABLE t AS SELECT seq AS i FROM seq_1_to_1200", &[]).await;
    let source = source(&world);
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
    let wide = ask(&*source, "SELECT REPEAT('x', 1000000) FROM t LIMIT 40", &[]).await;
    assert!(wide.unwrap_err().to_string().contains("16 MiB"));
    // The server stops it, not only we.
    let mut slow = asked("SELECT 'slowly', SLEEP(600)", &[]);
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
    let running = "SELECT COUNT(*) FROM information_schema.PROCESSLIST
                    WHERE INFO LIKE '%slowly%' AND ID <> CONNECTION_ID()";
    loop {
        let (count,): (u64,) = world.server.ask(running).await;
        if count == 0 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the server goes on with what nobody waits for"
        );
    }
    assert!(source.query(&asked("SELECT 1", &[])).await.is_ok());
}

/// What the server cuts, leaves out or ends early is no error to it.
#[tokio::test]
async fn an_answer_that_the_server_cut_is_refused() {
    let made = "CREATE TABLE t AS SELECT seq AS k FROM seq_1_to_100";
    let world = World::new(made, &[]).await;
    let source = source(&world);
    // More than its own limit for lists, and than its own limit for recursions.
    let long = ask(
        &*source,
        "SELECT LENGTH(GROUP_CONCAT(REPEAT('x', 1000) SEPARATOR '')) FROM seq_1_to_3000",
        &[],
    );
    assert_eq!(long.await.unwrap().rows, [[Value::Int(3_000_000)]]);
    let deep = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                SELECT COUNT(*) FROM n";
    let deep = ask(&*source, deep, &[]).await.unwrap();
    assert_eq!(deep.rows, [[Value::Int(20_000)]]);
    for (sql, what) in [
        (
            "SELECT GROUP_CONCAT(REPEAT('x', 1000000)) FROM seq_1_to_20",
            "16 MiB",
        ),
        (
            "SELECT LENGTH(GROUP_CONCAT(REPEAT('x', 1000000))) FROM seq_1_to_20",
            "cut a list",
        ),
        (
            "SELECT LENGTH(JSON_ARRAYAGG(REPEAT('x', 1000000))) FROM seq_1_to_20",
            "cut a list",
        ),
        (
            "SELECT REPEAT('x', 100000000) IS NULL",
            "longer than max_allowed_packet",
        ),
        (
            "SELECT a.k FROM t a, t b LIMIT ROWS EXAMINED 10",
            "before the end",
        ),
        // Behind other warnings.
        (
            "SELECT SUM(CONCAT(seq, 'x') + 0), LENGTH(GROUP_CONCAT(REPEAT('x', 1000000)))
               FROM seq_1_to_100",
            "cut a list",
        ),
    ] {
        let error = ask(&*source, sql, &[]).await.expect_err(sql);
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains(what), "{sql}: {error}");
    }
    assert!(ask(&*source, "SELECT 'x' + 0", &[]).await.is_ok());
}

#[tokio::test]
async fn nothing_but_one_read_is_run() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
         CREATE TABLE m (k int PRIMARY KEY) ENGINE = MyISAM;
         CREATE FUNCTION put() RETURNS int DETERMINISTIC MODIFIES SQL DATA
           BEGIN INSERT INTO t VALUES (2); RETURN 2; END;
         CREATE FUNCTION put_m() RETURNS int DETERMINISTIC MODIFIES SQL DATA
           BEGIN INSERT INTO m VALUES (2); RETURN 2; END",
        &[],
    )
    .await;
    let source = source(&world);
    for (sql, what) in [
        ("DELETE FROM t", "must begin with"),
        ("SELECT 1; DELETE FROM t", "more than one"),
        ("COMMIT; SELECT 1", "must begin with"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "syntax"),
        ("SELECT k INTO @x FROM t", "gives no rows"),
        ("SELECT k FROM t INTO OUTFILE 'lighterman'", "gives no rows"),
        ("SELECT put()", "would write"),
        ("SELECT put_m()", "would write"),
        ("SELECT NEXTVAL(s)", "would write"),
        ("SELECT k FROM t LOCK IN SHARE MODE", "would lock"),
        ("SELECT /*! k */ FROM t", "the server runs"),
        ("SELECT ?", "`?`"),
        ("SELECT nonsense FROM t", "Unknown column 'nonsense'"),
        ("SELECT * FROM gone", "gone' doesn't exist"),
        ("SELECT FROM WHERE t", "near 'FROM WHERE t'"),
        ("SELECT 1/'a:b'", "looks like a parameter"),
    ] {
        let error = ask(&*source, sql, &[]).await.expect_err(sql);
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains(what), "{sql}: {error}");
    }
    // What locks rows for writing is refused or locks nothing.
    if ask(&*source, "SELECT k FROM t FOR UPDATE", &[])
        .await
        .is_ok()
    {
        panic!("FOR UPDATE is run");
    }
    let (t, m): (u64, u64) = world
        .server
        .ask(&format!(
            "SELECT (SELECT COUNT(*) FROM {0}.t), (SELECT COUNT(*) FROM {0}.m)",
            world.name
        ))
        .await;
    assert_eq!((t, m), (1, 0));
}

#[tokio::test]
async fn no_error_shows_a_value() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY, v varchar(20)); INSERT INTO t VALUES (1, 'secret');
         CREATE TABLE hidden (k int);
         CREATE FUNCTION shout(v varchar(20), code int) RETURNS int DETERMINISTIC
           BEGIN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = v, MYSQL_ERRNO = code; RETURN 1; END",
        &[],
    )
    .await;
    world
        .run(&format!(
            "CREATE USER IF NOT EXISTS asker@'%'; GRANT BINLOG MONITOR ON *.* TO asker@'%';
             GRANT SELECT ON {0}.t TO asker@'%'; GRANT EXECUTE ON {0}.* TO asker@'%'",
            world.name
        ))
        .await;
    let source = world.source_with(&[
        ("database", setting(&world.name)),
        ("user", setting("asker")),
    ]);
    for sql in [
        "SELECT shout(:v, 1644)",
        "SELECT shout(:v, 1142)",
        "SELECT shout(:v, 1205)",
        "SELECT shout(:v, 1292)",
        "SELECT shout(:v, 1054)",
        "SELECT shout(:v, 1969)",
        "SELECT shout(:v, 1300)",
        "SELECT :v FROM :v",
        "SELECT ':v'",
        "SELECT nonsense, :v",
        "SELECT CAST(:v AS DECIMAL(99,0))",
        "SELECT (SELECT :v UNION SELECT 2)",
        "SELECT ST_GeomFromText(:v) FROM hidden",
    ] {
        let error = ask(&*source, sql, &[("v", text("secret"))])
            .await
            .expect_err(sql);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{sql}: {shown}");
        assert!(shown.starts_with("read by key: "), "{sql}: {shown}");
    }
    // A missing right is named where it is no value.
    let error = ask(&*source, "SELECT k FROM hidden", &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("hidden"), "{error}");
    assert!(error.hint().unwrap().contains("SELECT"));
}

#[tokio::test]
async fn a_re_read_blocks_nobody_and_waits_for_nobody_long() {
    let world = World::new(
        "CREATE TABLE t (k int PRIMARY KEY, v int) ENGINE = InnoDB; INSERT INTO t VALUES (1, 1)",
        &[],
    )
    .await;
    let source = source(&world);
    let sleeping = Arc::clone(&source);
    let long = tokio::spawn(async move {
        let query = asked("SELECT k, 'a nap' FROM t WHERE SLEEP(2) = 0", &[]);
        sleeping.query(&query).await
    });
    let napping = "SELECT COUNT(*) FROM information_schema.PROCESSLIST
                    WHERE INFO LIKE '%a nap%' AND ID <> CONNECTION_ID()";
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (count,): (u64,) = world.server.ask(napping).await;
        if count > 0 {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    world
        .run(
            "SET innodb_lock_wait_timeout = 1; UPDATE t SET v = 2; DELETE FROM t;
             INSERT INTO t VALUES (1, 3)",
        )
        .await;
    // Two at the same time.
    let rows = ask(&*source, "SELECT v FROM t", &[]).await.unwrap().rows;
    assert_eq!(rows, [[Value::Int(3)]]);
    assert_eq!(long.await.unwrap().unwrap().rows.len(), 1);
    // Somebody else's lock is not waited for long.
    let mut conn = world.server.connect(Some(&world.name)).await;
    conn.query_drop("LOCK TABLES t WRITE").await.unwrap();
    let started = Instant::now();
    let error = ask(&*source, "SELECT v FROM t", &[]).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(8));
    conn.disconnect().await.unwrap();
    assert!(ask(&*source, "SELECT v FROM t", &[]).await.is_ok());
}

/// An answer says up to where in the log it surely sees.
#[tokio::test]
async fn an_answer_says_what_it_sees() {
    let world = World::with(
        MariadbOptions::default(),
        "CREATE TABLE t (k int PRIMARY KEY) ENGINE = InnoDB",
        &["t"],
    )
    .await;
    let source = source(&world);
    let first = ask(&*source, "SELECT k FROM t", &[]).await.unwrap();
    world.run("INSERT INTO t VALUES (1)").await;
    let later = ask(&*source, "SELECT k FROM t", &[]).await.unwrap();
    assert_eq!((first.rows.len(), later.rows.len()), (0, 1));
    let up_to = |rows: &ReadRows| match &rows.sees {
        Some(contract::Sees::UpTo(position)) => position.clone(),
        other => panic!("{other:?}"),
    };
    assert!(up_to(&first) < up_to(&later));
}
