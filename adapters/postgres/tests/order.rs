//! The order that tables are read in: keys of every type and collation, places in them, and ranges of
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;

use contract::RowChange;

use crate::common::{self, World};
use crate::snapshot::{TYPES, limits, started, table};

/// Key types: the column, and how row `i` of `generate_series` gets its key.
const KEYS: &[(&str, &str)] = &[
    ("int2", "i - 30"),
    ("int4", "(i - 30) * 30000000"),
    ("int8", "(i - 30)::int8 * 300000000000000"),
    (
        "numeric",
        "CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity'
         ELSE (i - 30) / 7.0 END",
    ),
    (
        "float8",
        "CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity'
         ELSE (i - 30) / 3.0::float8 END",
    ),
    ("float4", "(i - 30) / 3.0::float4"),
    ("text COLLATE \"C\"", WORD),
    ("text COLLATE \"en-US-x-icu\"", WORD),
    ("text COLLATE ci", "chr(192 + i) || i"),
    ("text COLLATE numbers", "'v' || i * 37 % 1000"),
    ("text", WORD),
    ("varchar(40) COLLATE \"de-x-icu\"", WORD),
    ("char(6)", "'c' || repeat(' ', i % 2) || i"),
    (
        "citext",
        "CASE i % 2 WHEN 0 THEN 'Word' ELSE 'wORD' END || i",
    ),
    (
        "mail",
        "CASE i % 2 WHEN 0 THEN 'A' ELSE 'a' END || i || '@x'",
    ),
    ("code", WORD),
    ("code COLLATE \"C\"", WORD),
    ("uuid", "md5(i::text)::uuid"),
    (
        "date",
        "CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' ELSE '0044-03-15 BC'::date + i * 20000 END",
    ),
    (
        "timestamptz",
        "CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity'
         ELSE '2026-10-25 00:30+00'::timestamptz + i * interval '17.000001 min' END",
    ),
    (
        "timestamp",
        "'2026-03-29'::timestamp + i * interval '17 min'",
    ),
    ("time", "'00:00'::time + i * interval '17.5 s'"),
    ("timetz", "'00:00+02'::timetz + i * interval '17.5 s'"),
    (
        "interval",
        "CASE i % 2 WHEN 0 THEN interval '1 mon' ELSE interval '-9 days' END * i",
    ),
    (
        "bytea",
        "CASE i WHEN 1 THEN '' ELSE decode(md5(i::text), 'hex') END",
    ),
    ("mood", "(enum_range(NULL::mood))[i]"),
    (
        "inet",
        "CASE i % 2 WHEN 0 THEN ('10.0.' || i || '.1/16')::inet ELSE ('2001:db8::' || i)::inet END",
    ),
    ("cidr", "('10.' || i || '.0.0/16')::cidr"),
    (
        "macaddr",
        "('08:00:2b:01:02:' || lpad(to_hex(i), 2, '0'))::macaddr",
    ),
    ("pair", "ROW(i % 2 = 0, 'it''s \"' || i)::pair"),
    (
        "int4[]",
        "CASE i WHEN 1 THEN '{}' ELSE ARRAY[i % 3, NULL, i] END",
    ),
    ("text[] COLLATE \"C\"", "ARRAY['a\"b', 'c,' || i, '\\']"),
    ("jsonb", "jsonb_build_object('n', i, 't', 'it''s')"),
    ("int4range", "int4range(i, i + 5)"),
    ("bit(9)", "i::bit(9)"),
    ("varbit", "substring(i::bit(9) FROM 1 + i % 4) || i::bit(9)"),
    ("money", "(i - 30)::money / 100"),
    ("name", "'n' || i"),
    ("oid", "i + 3000000000"),
    ("pg_lsn", "('0/' || to_hex(i))::pg_lsn"),
    ("boolean", "i % 2 = 0"),
];

/// Words whose order depends on the collation.
const WORD: &str =
    "(ARRAY['a', 'B', 'Z', 'é', '_', ' x', 'ß', '''\\', 'zz', 'ä'])[i % 10 + 1] || i / 10";

#[tokio::test]
async fn every_row_is_read_once_whatever_type_its_key_has() {
    let mut sql = TYPES.to_owned();
    let names: Vec<String> = (0..KEYS.len()).map(|n| format!("k{n}")).collect();
    for (name, (column, key)) in names.iter().zip(KEYS) {
        let rows = if *column == "boolean" { 2 } else { 60 };
        sql.push_str(&format!(
            "CREATE TABLE {name} (k {column} PRIMARY KEY, n int);
             INSERT INTO {name} SELECT {key}, i FROM generate_series(1, {rows}) i;"
        ));
    }
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::prepared(&sql, &tables).await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for (name, (column, _)) in names.iter().zip(KEYS) {
        let count = if *column == "boolean" { 2 } else { 60 };
        for rows_max in [7, 59] {
            let rows = common::snapshot(&mut *reader, &table(name), rows_max).await;
            let numbers: BTreeSet<String> = rows.iter().map(number).collect();
            assert_eq!(numbers.len(), count, "{column} by {rows_max}");
            assert_eq!(rows.len(), count, "{column} by {rows_max}: one came twice");
        }
    }
}

fn number(row: &RowChange) -> String {
    let cells = row.after.as_ref().unwrap();
    cells[1].text().unwrap()
}

#[tokio::test]
async fn keys_that_an_index_tells_apart_and_a_column_does_not_are_all_read() {
    let mut world = World::new(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (k text COLLATE ci NOT NULL, n int);
         CREATE UNIQUE INDEX t_k ON t (k COLLATE \"C\");
         INSERT INTO t SELECT CASE i % 2 WHEN 0 THEN 'A' ELSE 'a' END || i / 2, i
           FROM generate_series(2, 61) i;
         ALTER TABLE t REPLICA IDENTITY FULL",
        &["t"],
    )
    .await;
    world.tables[0].key = vec!["k".to_owned()];
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut reader = started(&*source).await;
    for rows_max in [1, 3, 8] {
        let rows = common::snapshot(&mut *reader, &table("t"), rows_max).await;
        let numbers: BTreeSet<String> = rows.iter().map(number).collect();
        assert_eq!((rows.len(), numbers.len()), (60, 60), "by {rows_max}");
    }
}

/// A key keeps its place in the table under another type or collation, and so does an index under
/// another name; but its rows stand in another order then, in which those that were never read may
/// come before the last one that was.
#[tokio::test]
async fn a_key_whose_order_changes_is_read_from_its_first_row() {
    let mut world = World::new(
        "CREATE TABLE typed (id int PRIMARY KEY, n int);
         INSERT INTO typed SELECT i, i FROM generate_series(1, 30) i;
         CREATE TABLE sorted (id text COLLATE \"C\" PRIMARY KEY, n int);
         CREATE TABLE indexed (id text NOT NULL, n int);
         CREATE UNIQUE INDEX indexed_c ON indexed (id COLLATE \"C\");
         INSERT INTO sorted SELECT CASE i % 2 WHEN 0 THEN 'A' ELSE 'b' END || i, i
           FROM generate_series(1, 30) i;
         INSERT INTO indexed SELECT * FROM sorted;
         ALTER TABLE indexed REPLICA IDENTITY FULL",
        &["typed", "sorted", "indexed"],
    )
    .await;
    world.tables[2].key = vec!["id".to_owned()];
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut reader = started(&*source).await;
    for (name, sql) in [
        ("typed", "ALTER TABLE typed ALTER COLUMN id TYPE text"),
        (
            "sorted",
            "ALTER TABLE sorted ALTER COLUMN id TYPE text COLLATE \"en-US-x-icu\"",
        ),
        (
            "indexed",
            "CREATE UNIQUE INDEX indexed_icu ON indexed (id COLLATE \"en-US-x-icu\");
             DROP INDEX indexed_c",
        ),
    ] {
        let of = table(name);
        let cursor = reader.chunk(&of, None, limits(20)).await.unwrap().next;
        // Nothing of it changes: it goes on where it stood.
        let rest = reader.chunk(&of, cursor.as_deref(), limits(100)).await;
        assert_eq!(rest.unwrap().rows.len(), 10, "{name}");
        world.run(sql).await;
        let all = reader.chunk(&of, cursor.as_deref(), limits(100)).await;
        assert_eq!(all.unwrap().rows.len(), 30, "{name}");
    }
}

/// Ranges of a table are the table, whatever its key, and also when the statistics are old.
#[tokio::test]
async fn ranges_of_a_table_are_the_table() {
    let columns = [
        ("int4", "(i * 7919) % 100000"),
        (
            "text COLLATE \"en-US-x-icu\"",
            "(ARRAY['a', 'B', 'Z', 'é', '_'])[i % 5 + 1] || i",
        ),
        ("text COLLATE ci", "chr(192 + i % 40) || i"),
        (
            "citext",
            "CASE i % 2 WHEN 0 THEN 'Word' ELSE 'wORD' END || i",
        ),
        ("uuid", "md5(i::text)::uuid"),
        (
            "timestamptz",
            "'2026-10-25'::timestamptz + i * interval '17 min'",
        ),
    ];
    let mut sql = TYPES.to_owned();
    let mut names = Vec::new();
    for (n, (column, key)) in columns.iter().enumerate() {
        names.push(format!("r{n}"));
        sql.push_str(&format!(
            "CREATE TABLE r{n} (k {column} PRIMARY KEY, n int);
             INSERT INTO r{n} SELECT {key}, i FROM generate_series(1, 3000) i; ANALYZE r{n};
             INSERT INTO r{n} SELECT {key}, i FROM generate_series(3001, 3500) i;"
        ));
    }
    sql.push_str(
        "CREATE TABLE line (a int, b int, n int, PRIMARY KEY (a, b));
         INSERT INTO line SELECT i / 2, i, i FROM generate_series(1, 3500) i; ANALYZE line;
         CREATE TABLE fresh (k int PRIMARY KEY, n int)",
    );
    names.extend(["line".to_owned(), "fresh".to_owned()]);
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::prepared(&sql, &tables).await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for name in &tables[..tables.len() - 1] {
        let table = table(name);
        let ranges = reader.ranges(&table, 4).await.unwrap();
        assert!(ranges.len() >= 2, "{name}: {ranges:?}");
        let mut numbers = BTreeSet::new();
        let mut count = 0;
        let mut sizes = Vec::new();
        for range in ranges {
            let mut cursor = Some(range);
            let before = count;
            while let Some(at) = cursor {
                let chunk = reader.chunk(&table, Some(&at), limits(400)).await.unwrap();
                count += chunk.rows.len();
                for row in &chunk.rows {
                    numbers.insert(row.after.as_ref().unwrap().last().unwrap().text());
                }
                cursor = chunk.next;
            }
            sizes.push(count - before);
        }
        assert_eq!((numbers.len(), count), (3_500, 3_500), "{name}: {sizes:?}");
        assert!(sizes.iter().all(|size| *size > 0), "{name}: {sizes:?}");
    }
    let fresh = table("fresh");
    assert_eq!(
        reader.ranges(&fresh, 4).await.unwrap(),
        Vec::<String>::new()
    );
}
