//! Rows that foreign keys change without a word in the log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use contract::{ChangeStream, Level};

use crate::common::told::{changes, lines, next, untold};
use crate::common::{self, World};

/// `line` goes with its `head`, which goes with its `customer`; `note` refers to a head by its number.
const TABLES: &str = "CREATE TABLE customer (id INT PRIMARY KEY, name VARCHAR(20));
    CREATE TABLE head (id INT PRIMARY KEY, number INT UNIQUE, customer INT, note VARCHAR(20),
        FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE);
    CREATE TABLE line (id INT PRIMARY KEY, head INT,
        FOREIGN KEY (head) REFERENCES head (id) ON DELETE CASCADE);
    CREATE TABLE note (id INT PRIMARY KEY, number INT,
        FOREIGN KEY (number) REFERENCES head (number) ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE tree (id INT PRIMARY KEY, parent INT,
        FOREIGN KEY (parent) REFERENCES tree (id) ON DELETE CASCADE);
    CREATE TABLE plain (id INT PRIMARY KEY, customer INT,
        FOREIGN KEY (customer) REFERENCES customer (id));
    INSERT INTO customer VALUES (1, 'a'), (2, 'b'), (3, 'c');
    INSERT INTO head VALUES (1, 10, 1, 'x'), (2, 20, 2, 'y'), (3, 30, NULL, 'z');
    INSERT INTO line VALUES (1, 1), (2, 2), (3, 3);
    INSERT INTO note VALUES (1, 10), (3, 30);
    INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)";

async fn begun(world: &World) -> Box<dyn ChangeStream> {
    let mut stream = world.source().stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    stream
}

/// Which tables are to be read again for a statement, of those captured.
async fn read_again(tables: &[&str], sql: &str) -> Vec<String> {
    let world = World::new(&format!("{TABLES}; CREATE TABLE last (id INT)"), tables).await;
    let mut world = world;
    world.tables.push(common::captured(&world.name, "last"));
    let mut stream = begun(&world).await;
    world.run(sql).await;
    world.run("INSERT INTO last VALUES (1)").await;
    loop {
        let batch = next(&mut *stream).await.unwrap();
        if batch.changes.iter().any(|one| one.table().name == "last") {
            break;
        }
    }
    let untold = stream.untold().iter().map(|one| one.table.name.clone());
    let mut untold: Vec<String> = untold.collect();
    untold.sort();
    untold
}

#[tokio::test]
async fn tables_behind_a_row_that_is_deleted_are_read_again() {
    let all = ["line", "note", "tree", "plain"];
    for (sql, expected) in [
        // The server keeps silent about what happens to lines and notes.
        ("DELETE FROM head WHERE id = 1", &["line", "note"][..]),
        ("DELETE FROM customer WHERE id = 2", &["line", "note"]),
        ("DELETE FROM tree WHERE id = 1", &["tree"]),
        ("UPDATE head SET note = 'new'", &[]),
        ("UPDATE head SET number = 11 WHERE id = 1", &["note"]),
        ("INSERT INTO head VALUES (9, 90, 3, '')", &[]),
        ("DELETE FROM line WHERE id = 1", &[]),
        ("BEGIN; DELETE FROM head; ROLLBACK", &[]),
        (
            "SET foreign_key_checks = 0; DELETE FROM head WHERE id = 3",
            &[],
        ),
    ] {
        assert_eq!(read_again(&all, sql).await, expected, "{sql}");
    }
    // Where the row that went is captured, too.
    let sql = "DELETE FROM head WHERE id = 1";
    assert_eq!(read_again(&["head", "line"], sql).await, ["line"]);
    let sql = "UPDATE head SET number = 12 WHERE id = 1";
    assert_eq!(read_again(&["head", "note"], sql).await, ["note"]);
}

/// What all this is for.
#[tokio::test]
async fn the_log_keeps_silent_about_them() {
    let world = World::new(TABLES, &["head", "line"]).await;
    let mut stream = begun(&world).await;
    world
        .run("DELETE FROM head WHERE id = 1; INSERT INTO line VALUES (77, NULL)")
        .await;
    let (all, _) = changes(&mut *stream, 2).await;
    assert_eq!(
        lines(&all),
        ["head delete 1,10,1,x | ", "line insert  | 77,null"],
        "a server that tells what its foreign keys do needs no table read again"
    );
    let left: u64 = world
        .server
        .ask(&format!(
            "SELECT COUNT(*) FROM {}.line WHERE head = 1",
            world.name
        ))
        .await;
    assert_eq!(left, 0);
    let what = untold(&mut *stream, "line").await;
    assert!(what.contains("foreign key"), "{what}");
}

/// Once it has been said, the table is told as before: the stream goes on, and says it anew.
#[tokio::test]
async fn a_stream_that_left_a_table_unclear_goes_on() {
    let world = World::new(TABLES, &["line"]).await;
    let mut stream = begun(&world).await;
    for id in [1, 3] {
        world
            .run(&format!("DELETE FROM head WHERE id = {id}"))
            .await;
        let what = untold(&mut *stream, "line").await;
        assert!(what.contains("foreign key"), "{what}");
        // A batch carries it, and nothing is left of it when the next look has found the table there.
        while !stream.untold().is_empty() {
            let more = "INSERT INTO customer (id) SELECT max(id) + 1 FROM customer";
            world.run(more).await;
            next(&mut *stream).await.unwrap();
        }
    }
    world.run("INSERT INTO line (id) VALUES (99)").await;
    let (all, _) = changes(&mut *stream, 1).await;
    assert!(lines(&all)[0].starts_with("line insert"), "{all:?}");
}

#[tokio::test]
async fn a_foreign_key_that_is_added_later_counts() {
    let world = World::new(TABLES, &["plain"]).await;
    let mut stream = begun(&world).await;
    world
        .run(
            "ALTER TABLE plain ADD CONSTRAINT later FOREIGN KEY (id) REFERENCES customer (id)
               ON DELETE CASCADE;
             DELETE FROM customer WHERE id = 3",
        )
        .await;
    let what = tokio::time::timeout(Duration::from_mins(1), untold(&mut *stream, "plain"));
    let what = what.await.unwrap();
    assert!(what.contains("foreign key"), "{what}");
}

#[tokio::test]
async fn check_names_the_foreign_keys_and_what_they_cost() {
    let world = World::new(TABLES, &["line", "note", "plain"]).await;
    let findings = world.source().check().await;
    let warned = common::of(&findings, Level::Warn).join("\n");
    for (table, rule) in [("line", "ON DELETE CASCADE"), ("note", "ON UPDATE CASCADE")] {
        let line = warned
            .lines()
            .find(|line| line.contains(&format!(".{table}:")));
        let line = line.unwrap_or_else(|| panic!("{table} in {warned}"));
        assert!(line.contains(rule), "{line}");
    }
    assert!(!warned.contains(".plain:"), "{warned}");
}
