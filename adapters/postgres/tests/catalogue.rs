//! What the PostgreSQL source says about tables.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{ChunkLimits, ColumnKind, TableInfo, TableName, Value};

use crate::common::types::{EVERY_TYPE, EVERY_VALUE};
use crate::common::{World, changes, snapshot};

const TABLES: &str = "
    CREATE TYPE colour AS ENUM ('red', 'green');
    CREATE DOMAIN money2 AS numeric(14, 2);
    CREATE TABLE every (
        id int PRIMARY KEY, n numeric(19, 5) NOT NULL, b bigint, t text, c char(8),
        f8 double precision, bo boolean, d date, tm time, ts timestamp, tz timestamptz, u uuid,
        jb jsonb, by bytea, e colour, p money2, ar int[],
        g int GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO every VALUES (1, 1.5, 2, 't', 'c', 0.5, true, '2026-11-20', '08:05', '2026-11-20 08:05',
        '2026-11-20 08:05Z', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{}', '\\x01', 'red', 2.5, '{1}');
    CREATE TABLE pair (b int, a text, PRIMARY KEY (b, a));
    CREATE TABLE by_index (x int NOT NULL, y int NOT NULL, z int, UNIQUE (x, y), UNIQUE (z));
    CREATE TABLE keyless (x int);
    CREATE SCHEMA other; CREATE TABLE other.\"Odd Name\" (\"Col 1\" int PRIMARY KEY);
    CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE VIEW shown AS SELECT * FROM keyless";

fn names(tables: &[TableInfo]) -> Vec<String> {
    tables.iter().map(|info| info.table.to_string()).collect()
}

#[tokio::test]
async fn tables_are_listed_with_columns_and_keys() {
    let world = World::new(TABLES, &[]).await;
    let source = world.source();
    let all = source.catalogue(&[]).await.unwrap();
    assert_eq!(
        names(&all),
        [
            "other.Odd Name",
            "public.by_index",
            "public.every",
            "public.keyless",
            "public.pair",
            "public.parts"
        ]
    );
    let key = |name: &str| {
        all.iter()
            .find(|info| info.table.name == name)
            .unwrap()
            .key
            .clone()
    };
    assert_eq!(key("every"), ["id"]);
    assert_eq!(key("pair"), ["b", "a"]);
    assert_eq!(key("by_index"), ["x", "y"], "nulls identify nothing");
    assert!(key("keyless").is_empty());
    assert_eq!(key("Odd Name"), ["Col 1"]);
    let every = all.iter().find(|info| info.table.name == "every").unwrap();
    assert!(
        every.column("g").is_none(),
        "computed columns are not in the log"
    );
    let n = every.column("n").unwrap();
    assert_eq!((n.declared.as_str(), n.nullable), ("numeric(19,5)", false));
    assert!(every.column("b").unwrap().nullable);
    assert_eq!(every.rows, None, "nothing is counted");
    world.run("ANALYZE every").await;
    let wanted = [
        TableName::new("public", "every"),
        TableName::new("public", "absent"),
    ];
    let some = source.catalogue(&wanted).await.unwrap();
    assert_eq!(names(&some), ["public.every"]);
    assert_eq!(some[0].rows, Some(1));
}

#[tokio::test]
async fn kinds_are_those_of_the_values_that_come() {
    let world = World::prepared(TABLES, &["every"]).await;
    let source = world.source();
    let table = TableName::new("public", "every");
    let info = source
        .catalogue(std::slice::from_ref(&table))
        .await
        .unwrap()
        .remove(0);
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let chunk = reader.chunk(&table, None, limits).await.unwrap();
    let (shape, row) = (&chunk.rows[0].shape, chunk.rows[0].after.as_ref().unwrap());
    assert_eq!(shape.columns.len(), info.columns.len());
    for (name, value) in shape.columns.iter().zip(row) {
        let column = info.column(name).unwrap();
        assert_eq!(column.kind.name(), value.type_name(), "{name}");
        assert_ne!(column.kind, ColumnKind::Other, "{name}");
    }
}

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

async fn one(world: &World, name: &str) -> TableInfo {
    let mut found = world.source().catalogue(&[table(name)]).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

/// A stored computed column is listed where the publication tells it, and there alone: the log and a
/// snapshot have what is listed.
#[tokio::test]
async fn computed_columns_are_listed_where_they_are_told() {
    const MADE: &str = "CREATE TABLE item (id int PRIMARY KEY,
        twice int GENERATED ALWAYS AS (id * 2) STORED, name text)";
    for major in harness::postgres::majors() {
        let server = harness::postgres::PostgresServer::shared_of(major);
        let world = World::on(server, MADE, &["item"]).await;
        let listed = |info: TableInfo| -> Vec<String> {
            let columns = info.columns.into_iter();
            columns.map(|column| column.name).collect()
        };
        assert_eq!(listed(one(&world, "item").await), ["id", "name"]);
        let new = world.ask("SELECT current_setting('server_version_num')::int >= 180000");
        let new = new.await.as_deref() == Some("t");
        let told = if new {
            "WITH (publish_generated_columns = stored)"
        } else {
            ""
        };
        world
            .run(&format!(
                "CREATE PUBLICATION {} FOR TABLE item {told}",
                world.slot()
            ))
            .await;
        if new {
            world
                .run("ALTER TABLE item ADD shown int GENERATED ALWAYS AS (id * 3) VIRTUAL")
                .await;
        }
        let source = world.source();
        source.prepare(true).await.unwrap();
        let expected: &[&str] = if new {
            &["id", "twice", "name"]
        } else {
            &["id", "name"]
        };
        assert_eq!(listed(one(&world, "item").await), expected, "{major:?}");
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run("INSERT INTO item (id, name) VALUES (1, 'a')")
            .await;
        let streamed = changes(&mut *stream, 1).await;
        let mut reader = source.snapshot(1).await.unwrap();
        reader.begin().await.unwrap();
        let read = snapshot(&mut *reader, &table("item"), 10).await;
        for row in streamed.iter().chain(&read) {
            assert_eq!(row.shape.columns, expected, "{major:?}");
        }
    }
}

/// Every type there is, as the stream and a snapshot deliver it.
#[tokio::test]
async fn kinds_hold_for_every_type_in_stream_and_snapshot() {
    let world = World::prepared(EVERY_TYPE, &["every"]).await;
    let source = world.source();
    let info = one(&world, "every").await;
    let mut stream = source.stream(1, None).await.unwrap();
    world.run(EVERY_VALUE).await;
    let streamed = changes(&mut *stream, 3).await;
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let read = snapshot(&mut *reader, &table("every"), 10).await;
    let names: Vec<_> = info.columns.iter().map(|c| c.name.clone()).collect();
    for row in streamed.iter().chain(&read) {
        assert_eq!(row.shape.columns, names);
        for (column, value) in info.columns.iter().zip(row.after.as_ref().unwrap()) {
            assert!(column.kind.fits(value), "{}", column.name);
            if !matches!(value, Value::Null | Value::Invalid(_)) {
                let told = (&column.name, column.kind.name());
                assert_eq!(told, (&column.name, value.type_name()));
            }
        }
    }
    // The first row has an ordinary value in every column: no kind went unseen.
    let first = read[0].after.as_ref().unwrap();
    assert!(
        first
            .iter()
            .zip(&info.columns)
            .all(|(value, column)| value.type_name() == column.kind.name())
    );
    assert!(
        !info
            .columns
            .iter()
            .any(|column| column.kind == ColumnKind::Other)
    );
    let declared = |name: &str| info.column(name).unwrap().declared.as_str();
    for (column, text) in [
        ("id", "integer"),
        ("n", "numeric"),
        ("n2", "numeric(38,10)"),
        ("v", "character varying(20)"),
        ("c", "character(8)"),
        ("ci", "public.citext"),
        ("e", "public.colour"),
        ("p", "public.price"),
        ("tz", "timestamp with time zone"),
        ("ar", "integer[]"),
        ("bi", "bit(5)"),
    ] {
        assert_eq!(declared(column), text, "{column}");
    }
}
