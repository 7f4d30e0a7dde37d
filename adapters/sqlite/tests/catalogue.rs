//! What the SQLite source says about tables.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{ChunkLimits, ColumnKind, SourceError, TableInfo, TableName, Value};

use crate::common::World;

fn named(name: &str) -> TableName {
    TableName::new("main", name)
}

async fn one(world: &World, name: &str) -> TableInfo {
    let mut found = world.source().catalogue(&[named(name)]).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

#[tokio::test]
async fn a_tables_columns_are_described() {
    let world = World::new(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, sku VARCHAR(20) NOT NULL,
            qty DECIMAL(18,4), any, \"od\"\"d\" date, twice AS (id * 2), kept AS (id) STORED);
         INSERT INTO item (sku) VALUES ('a'), ('b')",
        &[],
    );
    let item = one(&world, "item").await;
    let columns: Vec<_> = item
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.kind, c.nullable, c.declared.as_str()))
        .collect();
    // Computed columns are in no trigger's row.
    assert_eq!(
        columns,
        [
            ("id", ColumnKind::Int, false, "INTEGER"),
            ("sku", ColumnKind::Text, false, "VARCHAR(20)"),
            ("qty", ColumnKind::Decimal, true, "DECIMAL(18,4)"),
            ("any", ColumnKind::Other, true, ""),
            ("od\"d", ColumnKind::Date, true, "date"),
        ]
    );
    assert_eq!(item.key, ["id"]);
    assert_eq!(item.column("qty").unwrap().kind, ColumnKind::Decimal);
    assert_eq!(item.rows, None, "nothing is counted");
    world.run("CREATE INDEX odd ON item (sku) WHERE sku > 'a'; ANALYZE");
    assert_eq!(one(&world, "item").await.rows, Some(2));
    world.run("INSERT INTO item (sku) VALUES ('c')");
    assert_eq!(
        one(&world, "item").await.rows,
        Some(2),
        "the database's own estimate"
    );
}

#[tokio::test]
async fn the_key_is_the_primary_key_or_a_unique_index_without_nulls() {
    let world = World::new(
        "CREATE TABLE pair (a TEXT, b INT, PRIMARY KEY (b, a));
         CREATE TABLE whole (a TEXT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID;
         CREATE TABLE strict (a INT PRIMARY KEY, b ANY) STRICT;
         CREATE TABLE text_key (a TEXT PRIMARY KEY);
         CREATE TABLE uniq (a TEXT NOT NULL, b INT NOT NULL, c INT);
         CREATE UNIQUE INDEX u1 ON uniq (c); CREATE UNIQUE INDEX u2 ON uniq (a, c);
         CREATE UNIQUE INDEX u3 ON uniq (b) WHERE c > 1;
         CREATE UNIQUE INDEX u4 ON uniq (lower(a)); CREATE UNIQUE INDEX u5 ON uniq (b, a);
         CREATE INDEX u0 ON uniq (a);
         CREATE TABLE none (a TEXT UNIQUE)",
        &[],
    );
    for (table, key, nullable) in [
        ("pair", vec!["b", "a"], vec![true, true]),
        ("whole", vec!["b", "a"], vec![false, false]),
        ("strict", vec!["a"], vec![false, true]),
        ("text_key", vec!["a"], vec![true]),
        ("uniq", vec!["b", "a"], vec![false, false, true]),
        ("none", vec![], vec![true]),
    ] {
        let found = one(&world, table).await;
        assert_eq!(found.key, key, "{table}");
        let nulls: Vec<_> = found.columns.iter().map(|c| c.nullable).collect();
        assert_eq!(nulls, nullable, "{table}");
    }
    // SQLite agrees: what is said to take nulls takes them, and the other does not.
    world.run("INSERT INTO text_key VALUES (NULL); INSERT INTO pair VALUES (NULL, NULL)");
    for refused in [
        "INSERT INTO whole VALUES (NULL, 1)",
        "INSERT INTO strict VALUES (NULL, 1)",
    ] {
        assert!(world.db.execute_batch(refused).is_err(), "{refused}");
    }
}

#[tokio::test]
async fn no_table_named_lists_all_a_person_could_choose() {
    let world = World::prepared(
        "CREATE TABLE zeta (k INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE Alpha (k);
         CREATE VIEW seen AS SELECT * FROM zeta; CREATE VIRTUAL TABLE words USING fts5(t);
         CREATE TABLE sqlitee (k); INSERT INTO zeta VALUES (1); ANALYZE",
        &["zeta"],
    )
    .await;
    let source = world.source();
    let names = |found: Vec<TableInfo>| -> Vec<String> {
        found.into_iter().map(|info| info.table.name).collect()
    };
    let all = names(source.catalogue(&[]).await.unwrap());
    assert_eq!(all, ["Alpha", "sqlitee", "zeta"]);
    let asked = [
        named("zeta"),
        named("gone"),
        named("seen"),
        TableName::new("other", "zeta"),
        named("ALPHA"),
    ];
    let found = source.catalogue(&asked).await.unwrap();
    assert_eq!(names(found), ["zeta", "ALPHA"]);
}

#[tokio::test]
async fn a_missing_file_is_said() {
    let world = World::new("", &[]);
    assert_eq!(world.source().catalogue(&[]).await.unwrap(), []);
    std::fs::remove_file(&world.file).unwrap();
    let error = world.source().catalogue(&[]).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error}");
}

/// A column of every kind, as a snapshot gives it.
#[tokio::test]
async fn the_kind_of_a_column_is_the_kind_of_its_values() {
    let world = World::prepared(
        "CREATE TABLE every (k INTEGER PRIMARY KEY, b BOOLEAN, d DECIMAL(18,4), dt DECIMAL_TEXT,
            f DOUBLE, t TEXT, y BLOB, da DATE, u UUID, j JSON, n NUMERIC, m DATETIME, x);
         INSERT INTO every VALUES
            (1, 1, 12.5, '0.10', 0.5, 'a', x'00', '2026-11-20',
             'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{}', 1, '2026-11-20 08:00:00', 1),
            (2, 0, 7, 8, 9, 10, x'', '2026-11-21', '{a0eebc999c0b4ef8bb6d6bb9bd380a11}', '[]', 1.5,
             '2026-11-20T08:00:00Z', 'a'),
            (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        &["every"],
    )
    .await;
    // Braces are no part of a UUID's text here.
    world.run("UPDATE every SET u = trim(u, '{}')");
    let info = one(&world, "every").await;
    let source = world.source();
    let mut reader = source.snapshot(1).await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let chunk = reader.chunk(&named("every"), None, limits).await.unwrap();
    assert_eq!(chunk.rows.len(), 3);
    let mut exact = 0;
    for row in &chunk.rows {
        let names: Vec<_> = info.columns.iter().map(|c| c.name.clone()).collect();
        assert_eq!(row.shape.columns, names);
        for (column, value) in info.columns.iter().zip(row.after.as_ref().unwrap()) {
            if *value == Value::Null || column.kind == ColumnKind::Other {
                continue;
            }
            assert_eq!(
                column.kind.name(),
                value.type_name(),
                "{} {}",
                column.name,
                column.declared
            );
            exact += 1;
        }
    }
    assert_eq!(exact, 21, "every column but three, in two rows, and a key");
}
