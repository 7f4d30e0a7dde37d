//! What statements in the log do to rows that are not in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{Op, SourceError};
use harness::mariadb::{MariadbOptions, MariadbServer};

use crate::common::told::{changes, error, go_on, lines, next, untold};
use crate::common::{World, captured, number, source, text};

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, sku VARCHAR(40));
    CREATE TABLE other (id INT PRIMARY KEY, item INT)";

/// A session that began before the log was set to tell rows.
fn as_statement(sql: &str) -> String {
    format!("SET SESSION binlog_format = 'STATEMENT'; {sql}")
}

#[tokio::test]
async fn statements_in_place_of_rows_are_refused_by_name() {
    let world = World::new(ITEM, &["item"]).await;
    world
        .run(
            "INSERT INTO item VALUES (1, 'a'); INSERT INTO other VALUES (1, 1);
             CREATE TRIGGER t AFTER INSERT ON other FOR EACH ROW UPDATE item SET sku = 'by trigger'",
        )
        .await;
    for (sql, named) in [
        ("UPDATE item SET sku = 'b'", "item"),
        // Whose rows these change is not what they name first.
        (
            "UPDATE other JOIN item ON other.item = item.id SET sku = 'c'",
            "",
        ),
        ("UPDATE other, item SET item.sku = 'd'", ""),
        ("INSERT INTO other VALUES (2, 1)", "other"),
        // With foreign keys and triggers, as TRUNCATE has none.
        ("DELETE FROM other", "other"),
        ("DELETE FROM item", "item"),
        (
            "DELETE other, item FROM item JOIN other ON other.item = item.id",
            "",
        ),
    ] {
        let mut stream = world.source().stream(1, None).await.unwrap();
        next(&mut *stream).await.unwrap();
        world.run(&as_statement(sql)).await;
        let error = error(&mut *stream).await;
        let SourceError::Denied { what, hint } = &error else {
            panic!("{sql}: {error:?}");
        };
        if !named.is_empty() {
            assert!(what.contains(&format!("{}.{named} ", world.name)), "{what}");
        }
        assert!(what.contains("told as a statement"), "{what}");
        assert!(hint.contains("binlog_format"), "{hint}");
    }
}

#[tokio::test]
async fn statements_of_another_application_are_passed_over() {
    let world = World::new(ITEM, &["item"]).await;
    let elsewhere = World::new("CREATE TABLE note (id INT PRIMARY KEY)", &[]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    let sql = "INSERT INTO note VALUES (1), (2); UPDATE note SET id = 3 WHERE id = 2";
    elsewhere.run(&as_statement(sql)).await;
    let both = "UPDATE note AS a JOIN note AS b USING (id) SET a.id = 9 WHERE b.id = 3";
    elsewhere.run(&as_statement(both)).await;
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    assert_eq!(
        lines(&changes(&mut *stream, 1).await.0),
        ["item insert  | 1,a"]
    );
    let ours = format!("UPDATE note JOIN {}.item AS i SET i.sku = 'b'", world.name);
    elsewhere.run(&as_statement(&ours)).await;
    let error = error(&mut *stream).await;
    assert!(error.to_string().contains("told as a statement"), "{error}");
}

/// There the log names tables in small letters, and statements as they were written.
#[tokio::test]
async fn where_the_server_folds_names_a_statement_may_write_them_in_any_case() {
    let options = MariadbOptions::default().setting("lower_case_table_names=1");
    let world = World::with(options, ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    let name = world.name.to_uppercase();
    world
        .run(&format!(
            "INSERT INTO Item VALUES (1, 'a'); TRUNCATE TABLE {name}.ITEM; INSERT INTO iTEM VALUES (2, 'b')"
        ))
        .await;
    let (told, _) = changes(&mut *stream, 3).await;
    assert_eq!(told[1].op, Op::Truncate);
    world
        .run("ALTER TABLE Item ADD COLUMN qty INT NOT NULL DEFAULT 5")
        .await;
    untold(&mut *stream, "item").await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    world
        .run(&as_statement("DELETE FROM ITEM WHERE id = 2"))
        .await;
    let error = error(&mut *stream).await;
    assert!(error.to_string().contains("told as a statement"), "{error}");
}

/// However it is written, and in whatever character set: rows that went or came without a word.
#[tokio::test]
async fn a_table_whose_rows_a_statement_may_have_changed_is_read_again() {
    for sql in [
        "ALTER IGNORE TABLE item ADD UNIQUE KEY (sku)",
        "SET STATEMENT lock_wait_timeout = 5 FOR RENAME TABLE item TO old, stage TO item",
        "SET NAMES cp1250; SET STATEMENT lock_wait_timeout = 5 FOR RENAME TABLE item TO old, stage TO item",
        "SET NAMES gbk; RENAME TABLE item TO old, stage TO item /* \u{91cd} */",
        "SET NAMES cp850; TRUNCATE TABLE item",
        "SET NAMES sjis; TRUNCATE TABLE item /* \u{7a7a} */",
    ] {
        let world = World::new(ITEM, &["item"]).await;
        world
            .run("INSERT INTO item VALUES (1, 'a'), (2, 'a'); CREATE TABLE stage LIKE item")
            .await;
        let mut stream = world.source().stream(1, None).await.unwrap();
        next(&mut *stream).await.unwrap();
        world.run(sql).await;
        untold(&mut *stream, "item").await;
    }
}

fn of_erp(server: &MariadbServer) -> std::sync::Arc<dyn contract::Source> {
    let settings = [
        ("host", text("127.0.0.1")),
        ("port", number(server.port())),
        ("user", text("root")),
    ];
    source("erp", &settings, vec![captured("erp", "item")])
}

/// A restart empties a table in memory, and the server says so when it opens it.
#[tokio::test]
async fn a_table_in_memory_is_empty_after_a_restart() {
    let mut server = MariadbServer::start(MariadbOptions::default());
    server
        .run("CREATE DATABASE erp; CREATE TABLE erp.item (id INT PRIMARY KEY) ENGINE = MEMORY")
        .await;
    let source = of_erp(&server);
    let mut stream = source.stream(1, None).await.unwrap();
    server.run("INSERT INTO erp.item VALUES (1)").await;
    let (_, at) = changes(&mut *stream, 1).await;
    let name = stream.server();
    drop(stream);
    server.restart();
    server.run("INSERT INTO erp.item VALUES (2)").await;
    let mut stream = go_on(&*source, &at, name).await;
    let mut ops = Vec::new();
    while !ops.contains(&Op::Insert) {
        let batch = next(&mut *stream).await.unwrap();
        ops.extend(batch.changes.iter().map(|change| change.op));
    }
    let emptied = ops == [Op::Truncate, Op::Insert];
    assert!(emptied || !stream.untold().is_empty(), "{ops:?}");
}

/// What the server was writing when it ended came to nothing; its number is given to something else.
#[tokio::test]
async fn a_group_that_a_crash_cut_off_is_left() {
    let mut server = MariadbServer::start(MariadbOptions::default());
    server
        .run(
            "CREATE DATABASE erp; CREATE TABLE erp.item (id INT PRIMARY KEY, sku VARCHAR(40));
             INSERT INTO erp.item VALUES (1, 'a')",
        )
        .await;
    let source = of_erp(&server);
    let mut stream = source.stream(1, None).await.unwrap();
    let at = next(&mut *stream).await.unwrap().end;
    let name = stream.server();
    drop(stream);
    server.run("INSERT INTO erp.item VALUES (2, 'b')").await;
    server.run("INSERT INTO erp.item VALUES (3, 'never')").await;
    let log = server.data().join("binlog.000001");
    server.stop();
    // Its commit, and some rows, never reached the disk.
    let bytes = std::fs::metadata(&log).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    let commit = 31;
    file.set_len(bytes - commit).unwrap();
    drop(file);
    server.start_again();
    let there: i64 = server.ask("SELECT count(*) FROM erp.item").await;
    let next_id = there + 1;
    server
        .run(&format!("INSERT INTO erp.item VALUES ({next_id}, 'after')"))
        .await;
    let mut stream = go_on(&*source, &at, name).await;
    let (told, _) = changes(&mut *stream, 2).await;
    let after = format!("item insert  | {next_id},after");
    assert_eq!(lines(&told), ["item insert  | 2,b", after.as_str()]);
}
