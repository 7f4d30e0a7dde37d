//! The same list on a server that somebody has, MySQL above all: none can be started here.
//!
//! `MYSQL_URL=mysql://root:password@host:3306 cargo test -p source-mysql --test all mysql8`: a user who
//! may make databases and read the log. Without it nothing is tried, and that is said. Each test makes a
//! database of its own and drops it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use async_trait::async_trait;
use contract::{LogPos, NodeKind, Op, Position, Source, SourceError, TableName};
use harness::suite::source::{SourceBackend, run};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use crate::common::told::{changes, error, go_on, lines, next, untold};
use crate::common::{self, captured, number, text};

struct Given {
    opts: Opts,
    name: String,
}

/// A database in the server that is given; `None`, and a line that says so, without one.
async fn given(test: &str, sql: &str) -> Option<Given> {
    let Ok(url) = std::env::var("MYSQL_URL") else {
        println!("skipped: {test} needs MYSQL_URL, the address of a MySQL server");
        return None;
    };
    let given = Given {
        opts: Opts::from_url(&url).expect("MYSQL_URL is an address"),
        name: format!("lighterman_{test}"),
    };
    let name = &given.name;
    given
        .run(&format!(
            "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}; USE {name}; {sql}"
        ))
        .await;
    Some(given)
}

impl Given {
    async fn run(&self, sql: &str) {
        let mut conn = Conn::new(self.opts.clone()).await.unwrap();
        for sql in sql.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            let done = conn.query_drop(sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        conn.disconnect().await.unwrap();
    }

    async fn inside(&self, sql: &str) {
        self.run(&format!("USE {}; {sql}", self.name)).await;
    }

    fn source(&self, tables: &[&str]) -> Arc<dyn Source> {
        self.source_with(tables, &[])
    }

    fn source_with(&self, tables: &[&str], more: &[(&str, NodeKind)]) -> Arc<dyn Source> {
        let mut settings = vec![
            ("host", text(self.opts.ip_or_hostname())),
            ("port", number(self.opts.tcp_port())),
            ("user", text(self.opts.user().unwrap_or("root"))),
            ("database", text(self.name.clone())),
            ("tls", text("disable")),
        ];
        if let Some(password) = self.opts.pass() {
            // A secret that is named by its value, as the tests' secrets are.
            settings.push(("password", common::secret(password)));
        }
        settings.extend(more.iter().map(|(name, kind)| (*name, kind.clone())));
        let tables = tables.iter().map(|table| captured(&self.name, table));
        common::source(&self.name, &settings, tables.collect())
    }

    async fn end(self) {
        self.run(&format!("DROP DATABASE {}", self.name)).await;
    }
}

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, v VARCHAR(100), doc JSON);
    CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(2000));
    CREATE TABLE digits (n INT PRIMARY KEY);
    INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)";
/// 10,000 numbers, by words that every server has.
const NUMBERS: &str = "SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n
    FROM digits a, digits b, digits c, digits d";

#[tokio::test]
async fn rows_come_in_order_and_go_on_behind_any() {
    let Some(given) = given("order", ITEM).await else {
        return;
    };
    let source = given.source(&["item"]);
    let mut stream = source.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    given
        .inside(
            "INSERT INTO item VALUES (1, 'a', '{\"a\": [1, 2.5, null]}');
             BEGIN; INSERT INTO item VALUES (2, 'b', NULL), (3, 'c', '\"x\"');
             INSERT INTO other VALUES (1, 'x'); SAVEPOINT s; DELETE FROM item; ROLLBACK TO s;
             UPDATE item SET v = 'z' WHERE id = 1; COMMIT; DELETE FROM item WHERE id = 2",
        )
        .await;
    let (all, _) = changes(&mut *stream, 5).await;
    let ops: Vec<Op> = all.iter().map(|change| change.op).collect();
    assert_eq!(
        ops,
        [Op::Insert, Op::Insert, Op::Insert, Op::Update, Op::Delete]
    );
    let server = stream.server();
    for (n, change) in all.iter().enumerate().take(4) {
        let mut stream = go_on(&*source, &change.position, server.clone()).await;
        let (rest, _) = changes(&mut *stream, 4 - n).await;
        assert_eq!(rest, all[n + 1..]);
    }
    given.end().await;
}

#[tokio::test]
async fn it_goes_on_inside_a_large_transaction() {
    let Some(given) = given("large", ITEM).await else {
        return;
    };
    let source = given.source(&["item"]);
    let mut stream = source.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    for compressed in [false, true] {
        let switch = if compressed {
            "SET SESSION binlog_transaction_compression = ON;"
        } else {
            ""
        };
        if compressed
            && !stream
                .server()
                .is_some_and(|name| name.starts_with("MySQL"))
        {
            println!("skipped: only MySQL compresses whole transactions");
            continue;
        }
        given
            .inside(&format!(
                "DELETE FROM item; {switch} BEGIN; INSERT INTO item (id, v) SELECT t.n, 'v' FROM
                   ({}) t; INSERT INTO other SELECT n, repeat('x', 900) FROM digits
                   ON DUPLICATE KEY UPDATE v = concat(other.v, 'y');
                 UPDATE item SET v = 'w' WHERE id < 5000; COMMIT",
                NUMBERS.replacen("1000 * d.n", "1000 * d.n AS n", 1)
            ))
            .await;
        let count = if compressed { 25_000 } else { 15_000 };
        let (all, _) = changes(&mut *stream, count).await;
        for n in [count - 15_000, count - 12_000, count - 4_000, count - 2] {
            let mut again = go_on(&*source, &all[n].position, stream.server()).await;
            let (rest, _) = changes(&mut *again, count - n - 1).await;
            assert!(rest == all[n + 1..], "behind {n}");
        }
        stream = source.stream(1, None).await.unwrap();
        next(&mut *stream).await.unwrap();
    }
    given.end().await;
}

#[tokio::test]
async fn tables_are_emptied_changed_and_made_anew() {
    let Some(given) = given("ddl", ITEM).await else {
        return;
    };
    let source = given.source(&["item"]);
    let mut stream = source.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    given
        .inside("INSERT INTO item VALUES (1, 'a', NULL); TRUNCATE TABLE item; INSERT INTO item VALUES (2, 'b', NULL)")
        .await;
    let (all, _) = changes(&mut *stream, 3).await;
    assert_eq!(
        lines(&all),
        [
            "item insert  | 1,a,null",
            "item truncate  | ",
            "item insert  | 2,b,null"
        ]
    );
    given
        .inside("RENAME TABLE item TO gone, other TO item")
        .await;
    untold(&mut *stream, "item").await;
    given.end().await;
}

#[tokio::test]
async fn xa_transactions_are_told_with_their_commit() {
    let Some(given) = given("xa", ITEM).await else {
        return;
    };
    let source = given.source(&["item"]);
    let mut stream = source.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    given
        .inside(
            "XA START 'lm'; INSERT INTO item VALUES (1, 'a', NULL); XA END 'lm'; XA PREPARE 'lm';
             XA COMMIT 'lm'; XA START 'ln'; INSERT INTO item VALUES (2, 'b', NULL); XA END 'ln';
             XA COMMIT 'ln' ONE PHASE; XA START 'lo'; INSERT INTO item VALUES (3, 'c', NULL);
             XA END 'lo'; XA PREPARE 'lo'; XA ROLLBACK 'lo'; INSERT INTO item VALUES (4, 'd', NULL)",
        )
        .await;
    let (all, _) = changes(&mut *stream, 3).await;
    assert_eq!(
        lines(&all),
        [
            "item insert  | 1,a,null",
            "item insert  | 2,b,null",
            "item insert  | 4,d,null"
        ]
    );
    given.end().await;
}

#[tokio::test]
async fn statements_and_partial_rows_are_refused() {
    for (test, switch) in [
        ("statement", "SET SESSION binlog_format = 'STATEMENT'"),
        ("minimal", "SET SESSION binlog_row_image = 'MINIMAL'"),
    ] {
        let Some(given) = given(test, ITEM).await else {
            return;
        };
        let mut stream = given.source(&["item"]).stream(1, None).await.unwrap();
        next(&mut *stream).await.unwrap();
        given
            .inside(&format!(
                "INSERT INTO item VALUES (1, 'a', NULL); {switch}; UPDATE item SET v = 'b'"
            ))
            .await;
        let SourceError::Denied { what, .. } = error(&mut *stream).await else {
            panic!("{test}");
        };
        assert!(what.contains(&format!("{}.item", given.name)), "{what}");
        given.end().await;
    }
}

struct Backend {
    given: Given,
    /// Behind what the log is read.
    start: String,
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        TableName::new(self.given.name.clone(), "suite")
    }

    fn source(&self) -> Arc<dyn Source> {
        let more = [("start", text(self.start.clone()))];
        self.given.source_with(&["suite"], &more)
    }

    async fn commit(&self, statements: &[&str]) {
        let mut conn = Conn::new(self.given.opts.clone()).await.unwrap();
        let first = format!("USE {}", self.given.name);
        let mode = "SET sql_mode = 'NO_BACKSLASH_ESCAPES'";
        let all = [first.as_str(), mode, "BEGIN"].into_iter();
        for sql in all.chain(statements.iter().copied()).chain(["COMMIT"]) {
            conn.query_drop(sql).await.unwrap();
        }
        conn.disconnect().await.unwrap();
    }

    fn beyond(&self) -> Position {
        // Transactions that nobody has had yet.
        let far = match self.start.split_once(':') {
            Some((uuid, _)) => format!("{uuid}:1-999999999999"),
            None => "0-1-999999999999".to_owned(),
        };
        let far = format!("00000001:0000000001:0000000000ffffff,,,,{far}");
        Position::border(1, LogPos::try_new(far).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_the_suite_of_every_source() {
    let sql = "CREATE TABLE suite (sku VARCHAR(100) COLLATE utf8mb4_bin PRIMARY KEY,
        qty DECIMAL(18,4), note TEXT)";
    let Some(given) = given("suite", sql).await else {
        return;
    };
    let findings = given.source(&["suite"]).check().await;
    let failed = common::of(&findings, contract::Level::Fail);
    assert_eq!(failed, Vec::<String>::new());
    let mut conn = Conn::new(given.opts.clone()).await.unwrap();
    let start: Result<Option<String>, _> = match conn.server_version() {
        version if version >= (10, 0, 0) => {
            conn.query_first("SELECT @@GLOBAL.gtid_binlog_pos").await
        }
        _ => conn.query_first("SELECT @@GLOBAL.gtid_executed").await,
    };
    conn.disconnect().await.unwrap();
    let start = start.unwrap().unwrap_or_default().replace('\n', "");
    if start.is_empty() {
        println!("skipped: the suite needs GTIDs (gtid_mode = ON)");
    } else {
        run(&Backend { given, start }).await;
    }
}
