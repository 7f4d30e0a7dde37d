//! The order that tables are read in: keys of every type and collation, places in them, ranges of them,
//! and tables that have none.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;

use contract::{SourceError, TableName};

use crate::common::World;
use crate::common::keys;
use crate::common::read::{self, cell, limits, snapshot, started};

fn named(world: &World, name: &str) -> TableName {
    TableName::new(&world.name, name)
}

fn numbers(rows: &[contract::RowChange]) -> BTreeSet<String> {
    rows.iter().map(|row| cell(row, "n")).collect()
}

#[tokio::test]
async fn every_row_is_read_once_whatever_type_its_key_has() {
    let (tables, sql) = keys::tables();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    let world = World::new(&sql, &names).await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for (name, column) in &tables {
        let table = named(&world, name);
        for rows_max in [1, 7, 59] {
            let rows = snapshot(&mut *reader, &table, rows_max).await;
            assert_eq!(rows.len(), 60, "{column} by {rows_max}");
            assert_eq!(numbers(&rows).len(), 60, "{column} by {rows_max}");
        }
    }
}

/// From every place, exactly the rest, also for another reader; and rows that are written on both
/// sides of the place meanwhile change nothing of what was there.
#[tokio::test]
async fn reading_goes_on_from_every_place_while_rows_come() {
    let (tables, sql) = keys::tables();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    let world = World::new(&sql, &names).await;
    for name in ["k0", "k15", "k21", "k28", "k36", "several"] {
        let table = named(&world, name);
        let source = world.source();
        let mut reader = started(&*source).await;
        let all = snapshot(&mut *reader, &table, 100).await;
        let order: Vec<String> = all.iter().map(|row| cell(row, "n")).collect();
        let (mut cursor, mut found) = (None::<String>, Vec::new());
        for turn in 0..order.len() {
            let mut other = source.snapshot(1).await.unwrap();
            let chunk = other.chunk(&table, cursor.as_deref(), limits(1));
            let chunk = chunk.await.unwrap();
            let rest = reader.chunk(&table, cursor.as_deref(), limits(100));
            let rest = rest.await.unwrap();
            let rest: Vec<String> = rest.rows.iter().map(|row| cell(row, "n")).collect();
            assert_eq!(rest, order[turn..], "{name} behind {cursor:?}");
            found.extend(chunk.rows.iter().map(|row| cell(row, "n")));
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, order, "{name}");
    }
    // Rows that come: those of before are read once each.
    let table = named(&world, "k28");
    let source = world.source();
    let mut reader = started(&*source).await;
    let (mut cursor, mut seen, mut turn) = (None::<String>, Vec::new(), 1000);
    loop {
        let chunk = reader.chunk(&table, cursor.as_deref(), limits(7));
        let chunk = chunk.await.unwrap();
        seen.extend(chunk.rows.iter().map(|row| cell(row, "n")));
        turn += 1;
        world
            .run(&format!(
                "INSERT INTO k28 VALUES ('A{turn}', {turn}), ('zzzz{turn}', {turn} + 1000)"
            ))
            .await;
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    let of_before = |n: &&String| n.parse::<u32>().unwrap() <= 60;
    let of_before: Vec<&String> = seen.iter().filter(of_before).collect();
    let once: BTreeSet<&&String> = of_before.iter().collect();
    assert_eq!((of_before.len(), once.len()), (60, 60));
}

#[tokio::test]
async fn a_table_without_an_order_is_refused_and_says_what_to_add() {
    let mut world = World::new(
        "CREATE TABLE keyless (a int, n int);
         CREATE TABLE nullable (a int, n int, UNIQUE (a));
         CREATE TABLE prefixed (a text NOT NULL, n int, UNIQUE (a(5)));
         CREATE TABLE hashed (a text NOT NULL, n int, UNIQUE (a));
         CREATE TABLE hidden (a int NOT NULL, b int NOT NULL, n int NOT NULL, UNIQUE (a, b),
           UNIQUE KEY u (n) IGNORED);
         CREATE TABLE own (my_row_id bigint unsigned AUTO_INCREMENT INVISIBLE PRIMARY KEY, n int);
         INSERT INTO own (n) SELECT seq FROM seq_1_to_30;
         INSERT INTO hidden SELECT seq, -seq, seq FROM seq_1_to_30;
         CREATE TABLE small (a int NOT NULL, b int NOT NULL, n int, UNIQUE (b, a), UNIQUE (a, b, n),
           UNIQUE `x``y` (a));
         INSERT INTO small SELECT seq, -seq, seq FROM seq_1_to_30",
        &[
            "keyless", "nullable", "prefixed", "hashed", "hidden", "small", "own",
        ],
    )
    .await;
    world.tables[0].key = vec!["a".to_owned()];
    let source = world.source();
    let mut reader = started(&*source).await;
    for name in ["keyless", "nullable", "prefixed", "hashed"] {
        let error = reader.chunk(&named(&world, name), None, limits(10)).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, SourceError::SchemaChanged { .. }),
            "{name}: {error:?}"
        );
        let hint = error.hint().unwrap();
        let what = if name == "keyless" {
            "UNIQUE INDEX (`a`)"
        } else {
            "ADD PRIMARY KEY"
        };
        assert!(hint.contains(what), "{name}: {hint}");
    }
    for name in ["small", "hidden", "own"] {
        let rows = snapshot(&mut *reader, &named(&world, name), 7).await;
        assert!(rows.iter().all(|row| row.key().is_some()), "{name}");
        assert_eq!(numbers(&rows).len(), 30, "{name}");
    }
    world
        .run("ALTER TABLE keyless ADD UNIQUE INDEX (a), MODIFY a int NOT NULL; INSERT INTO keyless VALUES (1, 1)")
        .await;
    let rows = snapshot(&mut *reader, &named(&world, "keyless"), 7).await;
    assert_eq!(rows.len(), 1);
    let error = reader.chunk(&named(&world, "gone"), None, limits(10)).await;
    assert!(error.unwrap_err().to_string().contains("not exist"));
}

/// Read one after the other or at once: together they are the table, and no row is in two of them.
#[tokio::test]
async fn a_table_can_be_read_by_ranges_of_its_key() {
    let world = World::new(
        "CREATE TABLE one (id int PRIMARY KEY, n int);
         INSERT INTO one SELECT CAST(seq AS SIGNED) * 3 - 700, seq FROM seq_1_to_500;
         CREATE TABLE large (id bigint unsigned PRIMARY KEY, n int);
         INSERT INTO large SELECT 18446744073709551615 - seq * 1000, seq FROM seq_1_to_500;
         CREATE TABLE down (a smallint NOT NULL, b varchar(9) NOT NULL, n int, UNIQUE (a DESC, b));
         INSERT INTO down SELECT seq % 9, seq, seq FROM seq_1_to_500;
         CREATE TABLE words (id varchar(9) PRIMARY KEY, n int);
         INSERT INTO words SELECT seq, seq FROM seq_1_to_500;
         CREATE TABLE single (id int PRIMARY KEY, n int); INSERT INTO single VALUES (7, 1);
         CREATE TABLE none (id int PRIMARY KEY, n int)",
        &["one", "large", "down", "words", "single", "none"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for (name, ranges) in [
        ("one", 4),
        ("large", 4),
        ("down", 4),
        ("words", 0),
        ("single", 0),
        ("none", 0),
    ] {
        let table = named(&world, name);
        let cursors = reader.ranges(&table, 4).await.unwrap();
        assert_eq!(cursors.len(), ranges, "{name}");
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        for cursor in cursors {
            let before = seen.len();
            let mut cursor = Some(cursor);
            while let Some(at) = cursor {
                // Each part by another reader.
                let mut other = started(&*source).await;
                let chunk = other.chunk(&table, Some(&at), limits(60)).await.unwrap();
                seen.extend(chunk.rows.iter().map(|row| cell(row, "n")));
                cursor = chunk.next;
            }
            sizes.push(seen.len() - before);
        }
        let all: BTreeSet<&String> = seen.iter().collect();
        let expected = if ranges == 0 { 0 } else { 500 };
        assert_eq!((seen.len(), all.len()), (expected, expected), "{name}");
        assert!(sizes.iter().all(|size| *size > 50), "{name}: {sizes:?}");
    }
}

/// A key keeps its name under another type or collation, but its rows stand in another order then, in
/// which those that were never read may come before the last one that was.
#[tokio::test]
async fn a_key_whose_order_changes_is_read_from_its_first_row() {
    let world = World::new(
        "CREATE TABLE typed (id int PRIMARY KEY, n int);
         INSERT INTO typed SELECT seq, seq FROM seq_1_to_30;
         CREATE TABLE sorted (id varchar(9) COLLATE utf8mb4_bin PRIMARY KEY, n int);
         INSERT INTO sorted SELECT CONCAT(ELT(seq % 2 + 1, 'A', 'b'), seq), seq FROM seq_1_to_30;
         CREATE TABLE labels (id enum('a','b','c') PRIMARY KEY, n int);
         INSERT INTO labels VALUES ('a', 1), ('b', 2), ('c', 3);
         CREATE TABLE swapped LIKE typed; INSERT INTO swapped SELECT * FROM typed",
        &["typed", "sorted", "labels", "swapped"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for (name, rows_max, sql) in [
        ("typed", 20, "ALTER TABLE typed MODIFY id varchar(9)"),
        ("sorted", 20, "ALTER TABLE sorted MODIFY id varchar(9) COLLATE utf8mb4_general_ci"),
        ("labels", 2, "ALTER TABLE labels MODIFY id enum('c','b','a')"),
        (
            "swapped",
            20,
            "DO SLEEP(1.1); CREATE TABLE other LIKE swapped; INSERT INTO other SELECT * FROM swapped;
             RENAME TABLE swapped TO old, other TO swapped",
        ),
    ] {
        let table = named(&world, name);
        let all = reader.chunk(&table, None, limits(100)).await.unwrap().rows.len();
        let first = reader.chunk(&table, None, limits(rows_max)).await.unwrap();
        let cursor = first.next;
        // Nothing of it changes: it goes on where it stood.
        let rest = reader.chunk(&table, cursor.as_deref(), limits(100)).await;
        assert_eq!(rest.unwrap().rows.len(), all - rows_max, "{name}");
        world.run(sql).await;
        let again = reader.chunk(&table, cursor.as_deref(), limits(100)).await;
        assert_eq!(again.unwrap().rows.len(), all, "{name}");
    }
}

/// A primary key over a part of a column is none: rows are told under the key that they are read under.
#[tokio::test]
async fn the_log_and_a_chunk_have_the_same_key() {
    let world = World::new(
        "CREATE TABLE part (code varchar(40) NOT NULL, id int NOT NULL, n int,
           PRIMARY KEY (code(8)), UNIQUE u (id));
         CREATE TABLE whole (id int, m int NOT NULL, n int, PRIMARY KEY (id), UNIQUE (m))",
        &["part", "whole"],
    )
    .await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reader = started(&*source).await;
    world
        .run("INSERT INTO part VALUES ('A', 7, 1); INSERT INTO whole VALUES (7, 8, 1)")
        .await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(read::next(&mut *stream).await.changes);
    }
    for (name, change) in ["part", "whole"].into_iter().zip(&told) {
        let rows = snapshot(&mut *reader, &named(&world, name), 10).await;
        assert_eq!(rows[0].key(), change.key(), "{name}");
        assert_eq!(rows[0].shape.key, change.shape.key, "{name}");
    }
}
