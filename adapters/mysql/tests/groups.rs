//! Transactions of every kind, and what stands in a log beside them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use contract::{ChangeStream, SourceError};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable;

use crate::common::World;
use crate::common::told::{changes, error, go_on, lines, next, untold};

/// `XAER_NOTA`.
const UNKNOWN_XID: u16 = 1_397;

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
    CREATE TABLE plain (id INT PRIMARY KEY, v INT) ENGINE=MyISAM;
    CREATE TABLE aria (id INT PRIMARY KEY, v INT) ENGINE=Aria TRANSACTIONAL=0";

/// In a server of its own: an XA transaction that is not known may be of any database.
async fn alone(sql: &str, tables: &[&str]) -> World {
    World::with(MariadbOptions::default(), sql, tables).await
}

async fn begun(world: &World) -> Box<dyn ChangeStream> {
    let mut stream = world.source().stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    stream
}

/// Ends an XA transaction that another connection prepared: the server does not know it for a moment, until it has noticed
/// that that connection was closed.
async fn parted(world: &World, end: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut db = world.server.connect(None).await;
    loop {
        match db.query_drop(end).await {
            Ok(()) => break,
            Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_XID => {}
            Err(error) => panic!("{end}: {error}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "{end}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    db.disconnect().await.unwrap();
}

/// What comes of these statements, and of one more behind them.
async fn told(world: &World, sql: &str, count: usize) -> Vec<String> {
    let mut stream = begun(world).await;
    world.run(sql).await;
    world.run("INSERT INTO item VALUES (999, 0)").await;
    let (all, _) = changes(&mut *stream, count + 1).await;
    assert_eq!(stream.untold(), [], "nothing is left open");
    let mut all = lines(&all);
    assert_eq!(all.pop().as_deref(), Some("item insert  | 999,0"));
    all
}

#[tokio::test]
async fn an_xa_transaction_is_told_with_its_commit() {
    let world = alone(ITEM, &["item"]).await;
    let xa = "INSERT INTO item VALUES (1, 1);
        XA START 'a','b',7; INSERT INTO item VALUES (2, 2); UPDATE item SET v = 9 WHERE id = 1;
        XA END 'a','b',7; XA PREPARE 'a','b',7";
    let mut stream = begun(&world).await;
    world.run(xa).await;
    let (first, _) = changes(&mut *stream, 1).await;
    assert_eq!(lines(&first), ["item insert  | 1,1"]);
    // Prepared, it has not happened yet; what others do is told before it.
    world.run("INSERT INTO item VALUES (3, 3)").await;
    let (second, border) = changes(&mut *stream, 1).await;
    assert_eq!(lines(&second), ["item insert  | 3,3"]);
    parted(&world, "XA COMMIT 'a','b',7").await;
    world.run("INSERT INTO item VALUES (4, 4)").await;
    let (third, _) = changes(&mut *stream, 3).await;
    let expected = [
        "item insert  | 2,2",
        "item update 1,1 | 1,9",
        "item insert  | 4,4",
    ];
    assert_eq!(lines(&third), expected);
    assert!(third[0].position > border);
    assert_eq!(stream.untold(), []);
    // From within it, the rows are not known any more: the table is read again.
    let server = stream.server();
    let mut stream = go_on(&*world.source(), &third[0].position, server).await;
    let what = untold(&mut *stream, "item").await;
    assert!(what.contains("XA transaction was committed"), "{what}");
}

/// What is prepared outlives the stream that read it: the next one goes on where it was left.
#[tokio::test]
async fn an_xa_transaction_prepared_in_an_earlier_stream_is_told_with_its_commit() {
    let world = alone(ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    let server = stream.server();
    for (xid, row) in [("a", 1), ("b", 2), ("c", 3)] {
        let insert = format!("INSERT INTO item VALUES ({row}, {row})");
        let xa = format!("XA START '{xid}'; {insert}; XA END '{xid}'; XA PREPARE '{xid}'");
        world.run(&xa).await;
    }
    world.run("INSERT INTO item VALUES (4, 4)").await;
    let (first, prepared) = changes(&mut *stream, 1).await;
    assert_eq!(lines(&first), ["item insert  | 4,4"]);
    drop(stream);
    parted(&world, "XA COMMIT 'a'").await;
    parted(&world, "XA ROLLBACK 'b'").await;
    world.run("INSERT INTO item VALUES (5, 5)").await;
    // It reads on, but nothing of that is stored; who goes on at the same place is told all of it.
    let expected = ["item insert  | 1,1", "item insert  | 5,5"];
    for _ in 0..3 {
        let mut stream = go_on(&*source, &prepared, server.clone()).await;
        let mut all = Vec::new();
        while all.len() < 2 {
            all.extend(next(&mut *stream).await.unwrap().changes);
            assert_eq!(stream.untold(), []);
        }
        assert_eq!(lines(&all), expected);
    }
    // Stored, it is not told again, and what is prepared still stays.
    let mut stream = go_on(&*source, &prepared, server.clone()).await;
    let (_, end) = changes(&mut *stream, 2).await;
    drop(stream);
    parted(&world, "XA COMMIT 'c'").await;
    world.run("INSERT INTO item VALUES (6, 6)").await;
    let mut stream = go_on(&*source, &end, server.clone()).await;
    let (all, _) = changes(&mut *stream, 2).await;
    assert_eq!(lines(&all), ["item insert  | 3,3", "item insert  | 6,6"]);
    assert_eq!(stream.untold(), []);
    // At a place before the one that was stored, it is not known what was prepared there: by now
    // another one has the name.
    world
        .run("XA START 'a'; INSERT INTO item VALUES (7, 7); XA END 'a'; XA PREPARE 'a'")
        .await;
    world.run("INSERT INTO item VALUES (8, 8)").await;
    changes(&mut *stream, 1).await;
    drop(stream);
    let mut stream = go_on(&*source, &prepared, server).await;
    let mut all = Vec::new();
    while stream.untold().is_empty() {
        all.extend(next(&mut *stream).await.unwrap().changes);
    }
    assert!(!lines(&all).contains(&"item insert  | 7,7".to_owned()));
    assert!(stream.untold()[0].what.contains("before we began"));
}

#[tokio::test]
async fn an_xa_transaction_that_is_rolled_back_is_not_told() {
    let world = alone(ITEM, &["item"]).await;
    let all = told(
        &world,
        "XA START 'r1'; INSERT INTO item VALUES (1, 1); XA END 'r1'; XA PREPARE 'r1';
         XA ROLLBACK 'r1';
         XA START 'r2'; INSERT INTO item VALUES (2, 2); XA END 'r2'; XA ROLLBACK 'r2';
         XA START 'r3'; INSERT INTO item VALUES (3, 3); XA END 'r3'; XA COMMIT 'r3' ONE PHASE",
        1,
    )
    .await;
    assert_eq!(all, ["item insert  | 3,3"]);
}

#[tokio::test]
async fn an_xa_transaction_prepared_before_we_read_has_its_tables_read_again() {
    let world = alone(ITEM, &["item", "plain"]).await;
    world
        .run("XA START 'before'; INSERT INTO item VALUES (1, 1); XA END 'before'; XA PREPARE 'before'")
        .await;
    let mut stream = begun(&world).await;
    parted(&world, "XA COMMIT 'before'").await;
    for table in ["item", "plain"] {
        let what = untold(&mut *stream, table).await;
        assert!(what.contains("before we began"), "{what}");
    }
}

#[tokio::test]
async fn an_xa_transaction_too_large_to_be_kept_has_its_table_read_again() {
    let sql = "CREATE TABLE item (id INT PRIMARY KEY, v TEXT);
               CREATE TABLE plain (id INT PRIMARY KEY)";
    let world = alone(sql, &["item", "plain"]).await;
    let mut stream = begun(&world).await;
    world
        .run(
            "XA START 'large'; INSERT INTO item SELECT seq, repeat('x', 2000) FROM seq_1_to_1000;
             XA END 'large'; XA PREPARE 'large'; XA COMMIT 'large'",
        )
        .await;
    let what = untold(&mut *stream, "item").await;
    assert!(what.contains("too many"), "{what}");
    assert_eq!(
        stream.untold().len(),
        1,
        "the other table has no part in it"
    );
}

#[tokio::test]
async fn engines_without_transactions_end_theirs_by_a_statement() {
    let world = World::new(ITEM, &["item", "plain", "aria"]).await;
    let all = told(
        &world,
        "INSERT INTO plain VALUES (1, 1); INSERT INTO aria VALUES (1, 1);
         BEGIN; INSERT INTO item VALUES (1, 1); INSERT INTO plain VALUES (2, 2);
         UPDATE item SET v = 2; ROLLBACK",
        3,
    )
    .await;
    // What was rolled back is gone but for what cannot be.
    let expected = [
        "plain insert  | 1,1",
        "aria insert  | 1,1",
        "plain insert  | 2,2",
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_mixed_transaction_written_as_one_is_told_or_read_again() {
    let options = MariadbOptions::default().setting("binlog_direct_non_transactional_updates=OFF");
    let world = World::with(options, ITEM, &["item", "plain"]).await;
    let mut stream = begun(&world).await;
    // Behind a change of a table with transactions, those of one without are in the same group.
    world
        .run(
            "SET SESSION binlog_direct_non_transactional_updates = OFF;
             BEGIN; INSERT INTO item VALUES (1, 1); INSERT INTO plain SELECT 2, 2 FROM item;
             ROLLBACK; INSERT INTO item VALUES (3, 3)",
        )
        .await;
    let (all, _) = changes(&mut *stream, 2).await;
    let expected = ["plain insert  | 2,2", "item insert  | 3,3"];
    assert_eq!(lines(&all), expected);
}

#[tokio::test]
async fn savepoints_take_back_what_came_behind_them() {
    let world = World::new(ITEM, &["item", "plain"]).await;
    let all = told(
        &world,
        "BEGIN; INSERT INTO item VALUES (1, 1); SAVEPOINT a; INSERT INTO item VALUES (2, 2);
         SAVEPOINT b; INSERT INTO item VALUES (3, 3); ROLLBACK TO b; INSERT INTO item VALUES (4, 4);
         ROLLBACK TO a; INSERT INTO item VALUES (5, 5); COMMIT;
         BEGIN; INSERT INTO item VALUES (6, 6); SAVEPOINT a; INSERT INTO item VALUES (7, 7);
         INSERT INTO plain VALUES (1, 1); ROLLBACK TO a; INSERT INTO item VALUES (8, 8); COMMIT",
        5,
    )
    .await;
    let mut all = all;
    all.sort();
    let expected = [
        "item insert  | 1,1",
        "item insert  | 5,5",
        "item insert  | 6,6",
        "item insert  | 8,8",
        "plain insert  | 1,1",
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_savepoint_that_is_told_already_has_the_table_read_again() {
    let world = World::new(ITEM, &["item", "plain"]).await;
    let mut stream = begun(&world).await;
    world
        .run(
            "BEGIN; INSERT INTO item VALUES (0, 0); SAVEPOINT a;
             INSERT INTO item SELECT seq, seq FROM seq_1_to_5000;
             INSERT INTO plain VALUES (1, 1); ROLLBACK TO a; COMMIT",
        )
        .await;
    let what = untold(&mut *stream, "item").await;
    assert!(what.contains("savepoint"), "{what}");
}

#[tokio::test]
async fn every_way_to_write_a_row_is_told_by_its_rows() {
    let sql = "CREATE TABLE item (id INT PRIMARY KEY, v INT, u INT UNIQUE);
        CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20));
        CREATE TRIGGER t AFTER UPDATE ON item FOR EACH ROW INSERT INTO log (what) VALUES ('updated');
        CREATE PROCEDURE p() UPDATE item SET v = v + 1 WHERE id = 1";
    let world = World::new(sql, &["item", "log"]).await;
    let mut stream = begun(&world).await;
    world
        .run(
            "INSERT INTO item SELECT seq, seq, seq FROM seq_1_to_2;
             REPLACE INTO item VALUES (1, 5, 1);
             INSERT INTO item VALUES (9, 7, 2) ON DUPLICATE KEY UPDATE v = 7;
             CALL p(); REPLACE INTO item VALUES (3, 3, 2)",
        )
        .await;
    let (all, _) = changes(&mut *stream, 9).await;
    let expected = [
        "item insert  | 1,1,1",
        "item insert  | 2,2,2",
        "item delete 1,1,1 | ",
        "item insert  | 1,5,1",
        "item update 2,2,2 | 2,7,2",
        "log insert  | 1,updated",
        "item update 1,5,1 | 1,6,1",
        "log insert  | 2,updated",
        "item update 2,7,2 | 3,3,2",
    ];
    assert_eq!(lines(&all), expected);
}

#[tokio::test]
async fn a_file_that_is_loaded_is_told_by_its_rows() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let file = world.server.data().join("rows.csv");
    std::fs::write(&file, "1,10\n2,20\n").unwrap();
    let sql = format!(
        "LOAD DATA INFILE '{}' INTO TABLE item FIELDS TERMINATED BY ','",
        file.display()
    );
    let all = told(&world, &sql, 2).await;
    assert_eq!(all, ["item insert  | 1,10", "item insert  | 2,20"]);
}

#[tokio::test]
async fn rows_without_all_their_columns_are_refused() {
    for image in ["MINIMAL", "NOBLOB"] {
        let sql = "CREATE TABLE item (id INT PRIMARY KEY, v INT, t TEXT)";
        let world = World::new(sql, &["item"]).await;
        let mut stream = begun(&world).await;
        world.run("INSERT INTO item VALUES (1, 1, 'x')").await;
        changes(&mut *stream, 1).await;
        world
            .run(&format!(
                "SET SESSION binlog_row_image = '{image}'; UPDATE item SET v = 2"
            ))
            .await;
        let SourceError::Denied { what, hint } = error(&mut *stream).await else {
            panic!("{image} is refused");
        };
        assert!(what.contains(&format!("{}.item", world.name)), "{what}");
        assert!(hint.contains("binlog_row_image"), "{hint}");
    }
}

#[tokio::test]
async fn a_row_of_twenty_megabytes_comes_whole() {
    let sql = "CREATE TABLE item (id INT PRIMARY KEY, v LONGTEXT)";
    let options = MariadbOptions::default().setting("max_allowed_packet=64M");
    let world = World::with(options, sql, &["item"]).await;
    let mut stream = begun(&world).await;
    world
        .run("INSERT INTO item VALUES (1, repeat('0123456789abcdef', 1310720)), (2, 'small')")
        .await;
    let (all, _) = changes(&mut *stream, 2).await;
    let row = all[0].after.as_ref().unwrap();
    assert_eq!(row[1].text().unwrap().len(), 20 << 20);
    assert!(lines(&all[1..])[0].ends_with("2,small"));
    let server = stream.server();
    let mut stream = go_on(&*world.source(), &all[0].position, server).await;
    let (rest, _) = changes(&mut *stream, 1).await;
    assert_eq!(rest, all[1..]);
}

#[tokio::test]
async fn a_log_without_checksums_is_read_and_one_that_changes_to_it() {
    let options = MariadbOptions::default().setting("binlog_checksum=NONE");
    let world = World::with(options, ITEM, &["item"]).await;
    let all = told(
        &world,
        "INSERT INTO item VALUES (1, 1); SET GLOBAL binlog_checksum = 'CRC32';
         INSERT INTO item VALUES (2, 2); SET GLOBAL binlog_checksum = 'NONE';
         INSERT INTO item VALUES (3, 3)",
        3,
    )
    .await;
    let expected = [
        "item insert  | 1,1",
        "item insert  | 2,2",
        "item insert  | 3,3",
    ];
    assert_eq!(all, expected);
}
