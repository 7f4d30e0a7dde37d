//! Tables of every make: what identifies their rows, partitions, children, computed columns, odd
//! names, and tables that change places.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;

use contract::{CapturedTable, Finding, Level, Op, RowChange, Source, SourceError, TableName};
use harness::postgres::{PostgresServer, majors};

use crate::common::{World, changes, show, snapshot};

pub(crate) fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

/// A change in one line: its key, and the cells before and after.
fn line(change: &RowChange) -> String {
    let key = change.key();
    let key = key.as_ref().map_or("-", |key| key.as_str());
    let old = change.old_key();
    let old = old.map_or_else(String::new, |old| format!("{} > ", old.as_str()));
    let cells = |row: Option<&contract::Row>| show(row).join(", ");
    format!(
        "{} {} [{old}{key}] {} | {}",
        change.table().name,
        change.op.name(),
        cells(change.before.as_ref()),
        cells(change.after.as_ref())
    )
}

pub(crate) fn lines(changes: &[RowChange]) -> Vec<String> {
    changes.iter().map(line).collect()
}

pub(crate) async fn read(source: &dyn Source, name: &TableName) -> Vec<RowChange> {
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    snapshot(&mut *reader, name, 2).await
}

/// Rows by key after all changes, as a reader of the log alone knows them.
pub(crate) fn fold(told: &[RowChange]) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for change in told {
        let key = |key: Option<contract::RowKey>| key.map(|key| key.as_str().to_owned());
        if let Some(old) = key(change.old_key()) {
            rows.remove(&old);
        }
        match (change.op, key(change.key())) {
            (Op::Truncate, _) => rows.clear(),
            (Op::Delete, Some(key)) => {
                rows.remove(&key);
            }
            (_, Some(key)) => {
                rows.insert(key, show(change.after.as_ref()));
            }
            (_, None) => {}
        }
    }
    rows
}

pub(crate) fn said<'f>(findings: &'f [Finding], text: &str) -> &'f Finding {
    let found = findings.iter().find(|finding| finding.found.contains(text));
    found.unwrap_or_else(|| panic!("{text}: {findings:#?}"))
}

/// Each identity and what it makes of changed rows, changed keys and removed rows.
#[tokio::test]
async fn every_replica_identity_tells_what_it_can() {
    const MADE: &str = "CREATE TABLE d (id int PRIMARY KEY, v text);
        CREATE TABLE i (id int PRIMARY KEY, u int NOT NULL UNIQUE, v text);
        ALTER TABLE i REPLICA IDENTITY USING INDEX i_u_key;
        CREATE TABLE f (id int PRIMARY KEY, v text); ALTER TABLE f REPLICA IDENTITY FULL;
        CREATE TABLE u (id int NOT NULL UNIQUE, v text); ALTER TABLE u REPLICA IDENTITY FULL;
        CREATE TABLE n (id int PRIMARY KEY, v text); ALTER TABLE n REPLICA IDENTITY NOTHING";
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let world = World::on(server, MADE, &["d", "i", "f", "u", "n"]).await;
        let source = world.source();
        // Before the application's own UPDATE breaks: nothing is published.
        let findings = source.check().await;
        let found = said(&findings, "the application's own UPDATE and DELETE fail");
        assert_eq!(found.level, Level::Fail);
        assert!(found.what.contains("table public.n"), "{found:?}");
        assert!(
            matches!(source.prepare(true).await, Err(SourceError::Denied { hint, .. })
                if hint.contains("REPLICA IDENTITY"))
        );
        let world = world.capturing(&["d", "i", "f", "u"]);
        let source = world.source();
        source.prepare(true).await.unwrap();
        let mut stream = source.stream(1, None).await.unwrap();
        for (name, columns) in [
            ("d", "1, 'a'"),
            ("i", "1, 11, 'a'"),
            ("f", "1, 'a'"),
            ("u", "1, 'a'"),
        ] {
            world
                .run(&format!(
                    "INSERT INTO {name} VALUES ({columns}); UPDATE {name} SET v = 'b';
                     UPDATE {name} SET id = 2; DELETE FROM {name}"
                ))
                .await;
        }
        assert_eq!(
            lines(&changes(&mut *stream, 16).await),
            [
                "d insert [1]  | int 1, text a",
                "d update [1]  | int 1, text b",
                "d update [1 > 2] int 1, unchanged | int 2, text b",
                "d delete [2] int 2, unchanged | ",
                // The key is no part of the identity: a changed key and a removed row have none.
                // `check` says so.
                "i insert [1]  | int 1, int 11, text a",
                "i update [1]  | int 1, int 11, text b",
                "i update [2]  | int 2, int 11, text b",
                "i delete [-] unchanged, int 11, unchanged | ",
                "f insert [1]  | int 1, text a",
                "f update [1] int 1, text a | int 1, text b",
                "f update [1 > 2] int 1, text b | int 2, text b",
                "f delete [2] int 2, text b | ",
                "u insert [1]  | int 1, text a",
                "u update [1] int 1, text a | int 1, text b",
                "u update [1 > 2] int 1, text b | int 2, text b",
                "u delete [2] int 2, text b | ",
            ]
        );
        let findings = source.check().await;
        let found = said(&findings, "removed rows and changed keys cannot be told");
        assert!(found.what.contains("table public.i"), "{found:?}");
    }
}

const PARTS: &str =
    "CREATE TABLE stock (site text, day date, sku text, qty int, PRIMARY KEY (site, day, sku))
        PARTITION BY LIST (site);
    CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a') PARTITION BY RANGE (day);
    CREATE TABLE stock_a_24 PARTITION OF stock_a FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE stock_a_25 PARTITION OF stock_a FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE stock_b PARTITION OF stock FOR VALUES IN ('b')";

/// Partitions of partitions, rows that move between them, and partitions that come while it runs.
#[tokio::test]
async fn a_partitioned_table_is_one_table() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let world = World::prepared_on(server, PARTS, &["stock"]).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run(
                "INSERT INTO stock VALUES ('a', '2024-05-01', 'x', 1), ('b', '2024-05-01', 'y', 2);
                 UPDATE stock SET day = '2025-05-01' WHERE sku = 'x';
                 UPDATE stock SET site = 'b' WHERE sku = 'x';
                 CREATE TABLE stock_c PARTITION OF stock FOR VALUES IN ('c');
                 INSERT INTO stock VALUES ('c', '2024-05-01', 'z', 3);
                 UPDATE stock SET qty = 4 WHERE sku = 'z';
                 CREATE TABLE stock_d PARTITION OF stock FOR VALUES IN ('d');
                 ALTER TABLE stock DETACH PARTITION stock_d;
                 INSERT INTO stock_d VALUES ('d', '2024-06-01', 'not ours', 9);
                 DELETE FROM stock WHERE sku = 'y'",
            )
            .await;
        let told = changes(&mut *stream, 9).await;
        assert!(told.iter().all(|change| *change.table() == table("stock")));
        assert_eq!(
            lines(&told)[2..6],
            [
                "stock delete [a|2024-05-01|x] text a, date 2024-05-01, text x, unchanged | ",
                "stock insert [a|2025-05-01|x]  | text a, date 2025-05-01, text x, int 1",
                "stock delete [a|2025-05-01|x] text a, date 2025-05-01, text x, unchanged | ",
                "stock insert [b|2025-05-01|x]  | text b, date 2025-05-01, text x, int 1",
            ]
        );
        let rows = read(&*source, &table("stock")).await;
        assert_eq!(fold(&told), fold(&rows));
        assert_eq!(rows[0].shape, told[0].shape);
        // A truncated table is one truncation, whatever it is made of.
        world.run("TRUNCATE stock").await;
        let told = changes(&mut *stream, 1).await;
        assert_eq!(lines(&told), ["stock truncate [-]  | "]);
    }
}

/// One partition captured by its own name.
#[tokio::test]
async fn a_partition_can_be_captured_alone() {
    let world = World::prepared(PARTS, &["stock_b"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO stock VALUES ('a', '2024-05-01', 'x', 1), ('b', '2024-05-01', 'y', 2);
             UPDATE stock SET site = 'b' WHERE sku = 'x'; UPDATE stock SET site = 'a' WHERE sku = 'y'",
        )
        .await;
    let told = changes(&mut *stream, 3).await;
    assert_eq!(
        lines(&told),
        [
            "stock_b insert [b|2024-05-01|y]  | text b, date 2024-05-01, text y, int 2",
            "stock_b insert [b|2024-05-01|x]  | text b, date 2024-05-01, text x, int 1",
            "stock_b delete [b|2024-05-01|y] text b, date 2024-05-01, text y, unchanged | ",
        ]
    );
    assert_eq!(fold(&told), fold(&read(&*source, &table("stock_b")).await));
    let catalogue = source.catalogue(&[table("stock_b")]).await.unwrap();
    assert_eq!(catalogue.len(), 1, "a mapping may name it");
}

/// Partitions have identities of their own: a whole old row is one only where all of them tell it.
#[tokio::test]
async fn what_partitions_do_not_tell_is_not_null() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql = "CREATE TABLE stock (site text, sku text, big text, PRIMARY KEY (site, sku))
                       PARTITION BY LIST (site);
                   CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');
                   CREATE TABLE stock_b PARTITION OF stock FOR VALUES IN ('b');
                   ALTER TABLE stock REPLICA IDENTITY FULL; ALTER TABLE stock_b REPLICA IDENTITY FULL;
                   ALTER TABLE stock_a ALTER big SET STORAGE EXTERNAL";
        let world = World::prepared_on(server, sql, &["stock"]).await;
        let mut stream = world.source().stream(1, None).await.unwrap();
        world
            .run(
                "INSERT INTO stock VALUES ('a', 'x', repeat('x', 9000));
                 UPDATE stock SET sku = 'y'; DELETE FROM stock",
            )
            .await;
        let told = lines(&changes(&mut *stream, 3).await);
        assert_eq!(
            told[1..],
            [
                "stock update [a|x > a|y] text a, text x, unchanged | text a, text y, unchanged",
                "stock delete [a|y] text a, text y, unchanged | ",
            ]
        );
    }
    // Without a key a partition breaks, whatever its table says.
    let world = World::new(
        "CREATE TABLE stock (site text NOT NULL, sku text) PARTITION BY LIST (site);
         CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');
         ALTER TABLE stock REPLICA IDENTITY FULL",
        &["stock"],
    )
    .await;
    let findings = world.source().check().await;
    let found = said(&findings, "the application's own UPDATE and DELETE fail");
    let fix = found.fix.as_deref().unwrap();
    assert!(
        fix.contains("ALTER TABLE \"public\".\"stock_a\" REPLICA IDENTITY FULL"),
        "{fix}"
    );
}

/// A publication that tells partitions under their own names is silent about their table.
#[tokio::test]
async fn a_publication_that_names_partitions_is_refused_with_its_sql() {
    let world = World::new(PARTS, &["stock"]).await;
    world
        .run(&format!(
            "CREATE PUBLICATION lighterman_{} FOR TABLE stock",
            world.name
        ))
        .await;
    let source = world.source();
    let findings = source.check().await;
    let found = said(
        &findings,
        "does not tell everything of every captured table",
    );
    let fix = found.fix.as_deref().unwrap();
    assert!(
        fix.contains("SET (publish_via_partition_root = true)"),
        "{fix}"
    );
    assert!(!fix.contains("ADD TABLE"), "{fix}");
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run("INSERT INTO stock VALUES ('b', '2024-05-01', 'y', 2)")
        .await;
    assert_eq!(changes(&mut *stream, 1).await[0].table(), &table("stock"));
}

/// A table that others inherit from has its own rows, and only those, by both ways.
#[tokio::test]
async fn rows_of_children_are_their_own() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql = "CREATE TABLE parent (id int PRIMARY KEY, v text);
                   CREATE TABLE child (extra int) INHERITS (parent);
                   INSERT INTO parent VALUES (1, 'own'); INSERT INTO child VALUES (2, 'child', 5)";
        let world = World::prepared_on(server, sql, &["parent"]).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        // The child has no key: published with its parent it would break.
        world
            .run("UPDATE child SET v = 'x'; DELETE FROM child; INSERT INTO child VALUES (3, 'c', 1); INSERT INTO parent VALUES (4, 'own')")
            .await;
        assert_eq!(
            lines(&changes(&mut *stream, 1).await),
            ["parent insert [4]  | int 4, text own"]
        );
        let rows = read(&*source, &table("parent")).await;
        let keys: Vec<_> = fold(&rows).into_keys().collect();
        assert_eq!(keys, ["1", "4"]);
        let findings = source.check().await;
        assert_eq!(
            said(
                &findings,
                "tables that inherit from it, such as public.child"
            )
            .level,
            Level::Warn
        );
    }
}

/// Computed columns: both ways leave them out, or both have them.
#[tokio::test]
async fn computed_columns_are_the_same_by_both_ways() {
    for major in majors() {
        let newest = major.is_some_and(|major| major >= 18);
        let mut sql = "CREATE TABLE item (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED".to_owned();
        if newest {
            sql.push_str(", v int GENERATED ALWAYS AS (a * 3) VIRTUAL");
        }
        for publish in [false, true] {
            if publish && !newest {
                continue;
            }
            let server = PostgresServer::shared_of(major);
            let world = World::prepared_on(server, &format!("{sql})"), &["item"]).await;
            if publish {
                world
                    .run(&format!(
                        "ALTER PUBLICATION {} SET (publish_generated_columns = stored)",
                        world.slot()
                    ))
                    .await;
            }
            let source = world.source();
            let mut stream = source.stream(1, None).await.unwrap();
            world
                .run("INSERT INTO item VALUES (1, 5); UPDATE item SET a = 6")
                .await;
            let told = changes(&mut *stream, 2).await;
            let expected: &[&str] = if publish {
                &["id", "a", "s"]
            } else {
                &["id", "a"]
            };
            assert_eq!(told[0].shape.columns, expected);
            let rows = read(&*source, &table("item")).await;
            assert_eq!(rows[0].shape, told[1].shape);
            assert_eq!(rows[0].after, told[1].after);
        }
        let server = PostgresServer::shared_of(major);
        let world = World::on(server, &format!("{sql})"), &["item"]).await;
        let mut world = world;
        world.tables[0].columns = vec![if newest { "v" } else { "s" }.to_owned()];
        let findings = world.source().check().await;
        said(&findings, "itself: the log does not have it");
    }
}

/// Names as bad as they come, of schema, table and columns.
#[tokio::test]
async fn names_of_any_kind_are_told_as_they_are() {
    let long = "é".repeat(31) + "x";
    let names = [
        "with \"quotes\"",
        "with space",
        "Capital.Dot",
        "back\\slash",
        "it's",
        "漢字",
        "$1 -- ;",
        "select",
        &long,
    ];
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sql: Vec<String> = names
            .iter()
            .map(|name| {
                let q = quoted(name);
                format!(
                    "CREATE SCHEMA {q}; CREATE TYPE {q}.\"a \"\"b\" AS ENUM ('a'); CREATE TABLE {q}.{q}
                     ({q} text, \"n \"\"\" {q}.\"a \"\"b\", PRIMARY KEY ({q}))"
                )
            })
            .collect();
        let mut world = World::on(server, &sql.join("; "), &[]).await;
        world.tables = names
            .iter()
            .map(|name| CapturedTable {
                table: TableName::new(*name, *name),
                key: vec![(*name).to_owned()],
                columns: vec!["n \"".to_owned()],
            })
            .collect();
        let source = world.source();
        source.prepare(true).await.unwrap();
        let findings = source.check().await;
        assert!(
            findings.iter().all(|finding| finding.level != Level::Fail),
            "{findings:#?}"
        );
        let mut stream = source.stream(1, None).await.unwrap();
        for name in names {
            let q = quoted(name);
            world
                .run(&format!(
                    "INSERT INTO {q}.{q} VALUES ('1', 'a'), (E'2''\\\\', 'a'), ('3', 'a')"
                ))
                .await;
            let told = changes(&mut *stream, 3).await;
            let rows = read(&*source, &TableName::new(name, name)).await;
            assert_eq!(rows.len(), 3, "{name}");
            assert_eq!(told[0].shape.columns, [name, "n \""]);
            for (told, read) in told.iter().zip(&rows) {
                assert_eq!((&told.shape, &told.after), (&read.shape, &read.after));
            }
        }
        assert!(stream.untold().is_empty());
        let catalogue = source.catalogue(&[]).await.unwrap();
        assert_eq!(catalogue.len(), names.len());
    }
}
