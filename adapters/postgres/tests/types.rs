//! Every type, by every way its values come: the log, a snapshot, a question, and what the
//! catalogue promised. All of them give one value, on each server version.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use contract::{ChunkLimits, ReadQuery, Row, Source, SourceError, TableName, Value};
use harness::postgres::{PostgresOptions, PostgresServer, locales, majors};

use crate::common::matrix::{MADE, MATRIX, expected, literal, matrix};
use crate::common::{self, World, changes, show, snapshot, text};

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

/// The two rows are alike; a message names the type.
fn same(found: &Row, n: usize, way: &str) {
    let (found, expected) = (show(Some(found)), expected(n));
    assert_eq!(found.len(), expected.len(), "{way}");
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let kind = at.checked_sub(1).map_or("id", |at| MATRIX[at].0);
        assert_eq!(found, expected, "{kind} by {way}, row {n}");
    }
}

/// Settings of a role and of a database that change the text of nearly every type.
fn other_settings(world: &World, role: &str) -> String {
    let of = |whom: String| {
        let set = [
            "datestyle = 'German'",
            "timezone = 'Asia/Kolkata'",
            "extra_float_digits = 0",
            "bytea_output = 'escape'",
            "intervalstyle = 'iso_8601'",
            "client_encoding = 'LATIN1'",
            "standard_conforming_strings = off",
            "quote_all_identifiers = on",
            "lc_monetary = 'C.UTF-8'",
            "xmlbinary = 'hex'",
            "search_path = 'nowhere'",
        ];
        set.map(|set| format!("ALTER {whom} SET {set}")).join("; ")
    };
    format!(
        "{}; {}",
        of(format!("DATABASE {}", world.name)),
        of(format!("ROLE {role}"))
    )
}

/// I10, on each version: stream (new rows and old ones), snapshot, question and catalogue.
#[tokio::test]
async fn every_type_is_one_value_by_every_way() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let (create, rows) = matrix();
        let world = World::prepared_on(server, &create, &["matrix"]).await;
        let role = format!("reader_{}", world.name);
        world
            .run(&format!("CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON matrix TO {role}; GRANT USAGE ON SCHEMA \"Odd Schema\" TO {role}"))
            .await;
        world.run(&other_settings(&world, &role)).await;
        let source = world.source_with(&[("user", text(&role))]);
        let mut stream = source.stream(1, None).await.unwrap();
        for row in &rows {
            world.run(row).await;
        }
        let streamed = changes(&mut *stream, rows.len()).await;
        for (n, change) in streamed.iter().enumerate() {
            same(change.after.as_ref().unwrap(), n, "stream");
        }
        world.run("DELETE FROM matrix").await;
        let removed = changes(&mut *stream, rows.len()).await;
        for (n, change) in removed.iter().enumerate() {
            same(change.before.as_ref().unwrap(), n, "old row of the stream");
        }
        for row in &rows {
            world.run(row).await;
        }
        let mut reader = source.snapshot(1).await.unwrap();
        reader.begin().await.unwrap();
        let read = snapshot(&mut *reader, &table("matrix"), 4).await;
        assert_eq!(read.len(), rows.len());
        for (n, row) in read.iter().enumerate() {
            same(row.after.as_ref().unwrap(), n, "snapshot");
            assert_eq!(row.shape, streamed[n].shape);
            assert_eq!(row.key(), streamed[n].key());
        }
        asked(&*source, rows.len()).await;
        promised(&*source, &read[0].shape.columns, &read).await;
    }
}

async fn asked(source: &dyn Source, rows: usize) {
    let query = ReadQuery {
        sql: "SELECT * FROM public.matrix WHERE id <= :id ORDER BY id".to_owned(),
        parameters: vec![("id".to_owned(), Value::Int(i64::try_from(rows).unwrap()))],
        more: Vec::new(),
        rows_max: 100,
        time_max: Duration::from_secs(20),
    };
    let answer = source.query(&query).await.unwrap();
    assert_eq!(answer.rows.len(), rows);
    for (n, row) in answer.rows.iter().enumerate() {
        same(row, n, "question");
    }
}

/// The catalogue's kinds are those of the values.
async fn promised(source: &dyn Source, columns: &[String], read: &[contract::RowChange]) {
    let info = source
        .catalogue(&[table("matrix")])
        .await
        .unwrap()
        .remove(0);
    let named: Vec<_> = info.columns.iter().map(|column| &column.name).collect();
    assert_eq!(named, columns.iter().collect::<Vec<_>>());
    for row in read {
        for (column, value) in info.columns.iter().zip(row.after.as_ref().unwrap()) {
            assert!(column.kind.fits(value), "{}", column.declared);
            if !matches!(value, Value::Null | Value::Invalid(_)) {
                assert_eq!(column.kind.name(), value.type_name(), "{}", column.declared);
            }
        }
    }
}

/// What is stored is a number of the smallest coin: how many make one unit is the database's own
/// to say, or the role's, and no setting of ours.
#[tokio::test]
async fn money_has_the_places_of_the_databases_own_locale() {
    let folder = locales(&["ja_JP", "ar_KW"]);
    for major in majors() {
        let mut options = PostgresOptions::default().major(major);
        let path = folder.path().display().to_string();
        options.env.push(("LOCPATH".to_owned(), path));
        let server = Arc::new(PostgresServer::start(options));
        let sql =
            "CREATE DOMAIN fee AS money; CREATE TABLE matrix (id int PRIMARY KEY, m money, f fee)";
        for (whose, locale, given, expected) in [
            ("DATABASE", "ja_JP.UTF-8", "1234", "1234"),
            ("DATABASE", "ar_KW.UTF-8", "12.345", "12.345"),
            ("ROLE", "ja_JP.UTF-8", "-1234567", "-1234567"),
        ] {
            let world = World::on(Arc::clone(&server), sql, &["matrix"]).await;
            let (name, role) = (&world.name, format!("{}_reader", world.name));
            let whom = if whose == "ROLE" { &role } else { name };
            world
                .run(&format!(
                    "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON matrix TO {role};
                     ALTER {whose} {whom} SET lc_monetary = '{locale}'"
                ))
                .await;
            world.source().prepare(true).await.unwrap();
            let source = world.source_with(&[("user", text(&role))]);
            let mut stream = source.stream(1, None).await.unwrap();
            // As the application's sessions have it, of which this one was begun before.
            world
                .run(&format!(
                    "SET lc_monetary = '{locale}';
                     INSERT INTO matrix VALUES (0, '{given}'::money, '{given}'::money)"
                ))
                .await;
            let amount = format!("decimal {expected}");
            let expected = ["int 0", &amount, &amount];
            let told = changes(&mut *stream, 1).await;
            assert_eq!(show(told[0].after.as_ref()), expected, "{locale} by stream");
            let mut reader = source.snapshot(1).await.unwrap();
            reader.begin().await.unwrap();
            let read = snapshot(&mut *reader, &table("matrix"), 1).await;
            let read = show(read[0].after.as_ref());
            assert_eq!(read, expected, "{locale} by snapshot");
            let query = ReadQuery {
                sql: "SELECT id, m, f FROM public.matrix".to_owned(),
                parameters: Vec::new(),
                more: Vec::new(),
                rows_max: 10,
                time_max: Duration::from_secs(20),
            };
            let answer = source.query(&query).await.unwrap();
            assert_eq!(show(answer.rows.first()), expected, "{locale} by question");
        }
    }
}

/// A key of each type that can be one: the database pages by it, and both ways name a row alike.
#[tokio::test]
async fn keys_of_any_type_are_named_alike() {
    const KEYS: &[(&str, &[&str])] = &[
        (
            "numeric",
            &["1.10", "1.1000000000000000000001", "-5", "NaN"],
        ),
        ("money", &["1.10", "-5"]),
        ("text", &["", "a", "A", "ä", "漢", "a|b", "a\\"]),
        ("citext", &["a", "B", "c"]),
        ("char(3)", &["a", "b ", ""]),
        ("date", &["2024-02-29", "infinity", "0044-03-15 BC"]),
        ("timestamptz", &["2024-02-29 12:00+05:30", "-infinity"]),
        (
            "uuid",
            &[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "00000000-0000-0000-0000-000000000000",
            ],
        ),
        ("bytea", &["\\x00", "\\xff00", ""]),
        ("boolean", &["true", "false"]),
        ("double precision", &["0.1", "1e300", "Infinity", "NaN"]),
        ("colour", &["grün", "red"]),
        ("int[]", &["{1,2}", "{}"]),
        ("inet", &["10.0.0.1", "::1"]),
        ("interval", &["1 day", "1 mon"]),
        ("price", &["1", "2.5"]),
    ];
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let tables: Vec<String> = (0..KEYS.len()).map(|n| format!("k{n}")).collect();
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        let create: Vec<String> = KEYS
            .iter()
            .zip(&names)
            .map(|((kind, _), name)| format!("CREATE TABLE {name} (k {kind} PRIMARY KEY, n int)"))
            .collect();
        let sql = format!("{MADE}; {}", create.join("; "));
        let world = World::prepared_on(server, &sql, &names).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        let mut reader = source.snapshot(1).await.unwrap();
        reader.begin().await.unwrap();
        for ((kind, values), name) in KEYS.iter().zip(&names) {
            for value in *values {
                let value = literal(value);
                world
                    .run(&format!("INSERT INTO {name} VALUES ({value}::{kind}, 1)"))
                    .await;
            }
            let mut told = keys(&changes(&mut *stream, values.len()).await);
            // One row a chunk: every cursor is used.
            let mut read = keys(&snapshot(&mut *reader, &table(name), 1).await);
            told.sort();
            read.sort();
            assert_eq!(told, read, "{kind}");
        }
    }
}

fn keys(rows: &[contract::RowChange]) -> Vec<String> {
    let key = |row: &contract::RowChange| row.key().unwrap().as_str().to_owned();
    rows.iter().map(key).collect()
}

/// Databases that do not hold UTF-8: texts are right or invalid, never garbled.
#[tokio::test]
async fn texts_of_other_encodings_are_right_or_held() {
    for (encoding, rows, expected) in [
        (
            "LATIN1",
            "(1, 'Grüße', 'é'), (2, 'plain', NULL)",
            [
                ["int 1", "text Grüße", "text é"],
                ["int 2", "text plain", "null"],
            ],
        ),
        (
            "EUC_JP",
            "(1, '在庫管理', 'カ'), (2, 'plain', NULL)",
            [
                ["int 1", "text 在庫管理", "text カ"],
                ["int 2", "text plain", "null"],
            ],
        ),
        (
            // Bytes that nobody ever said the meaning of.
            "SQL_ASCII",
            "(1, convert_from('\\xe4', 'SQL_ASCII'), 'x'), (2, 'Grüße', NULL)",
            [
                ["int 1", "invalid (not UTF-8)", "text x"],
                ["int 2", "text Grüße", "null"],
            ],
        ),
    ] {
        for major in majors() {
            let server = PostgresServer::shared_of(major);
            let world = World::encoded(Arc::clone(&server), encoding).await;
            world
                .run(
                    "CREATE TABLE \"tä\" (id int PRIMARY KEY, \"spälte\" text, c char(1))"
                        .replace('ä', if encoding == "EUC_JP" { "在" } else { "ä" })
                        .as_str(),
                )
                .await;
            let name = if encoding == "EUC_JP" { "t在" } else { "tä" };
            let world = world.capturing(&[name]);
            let source = world.source();
            source.prepare(true).await.unwrap();
            let mut stream = source.stream(1, None).await.unwrap();
            world
                .run(&format!("INSERT INTO \"{name}\" VALUES {rows}"))
                .await;
            let told = changes(&mut *stream, 2).await;
            let mut reader = source.snapshot(1).await.unwrap();
            reader.begin().await.unwrap();
            let read = snapshot(&mut *reader, &table(name), 1).await;
            for ((told, read), expected) in told.iter().zip(&read).zip(&expected) {
                assert_eq!(show(told.after.as_ref()), expected, "{encoding} by stream");
                assert_eq!(
                    show(read.after.as_ref()),
                    expected,
                    "{encoding} by snapshot"
                );
                assert_eq!(told.shape, read.shape);
            }
        }
    }
}

/// A text that UTF-8 does not have stops capture: the log keeps it, whatever becomes of the row, so
/// that correcting it is enough only for a table that is read.
#[tokio::test]
async fn a_text_that_utf8_does_not_have_is_said_with_the_way_out() {
    for major in majors() {
        let world = World::encoded(PostgresServer::shared_of(major), "WIN1252").await;
        world
            .run("CREATE TABLE item (id int PRIMARY KEY, name text)")
            .await;
        let world = world.capturing(&["item"]);
        let source = world.source();
        source.prepare(true).await.unwrap();
        world
            .run("INSERT INTO item VALUES (1, 'a' || chr(129))")
            .await;
        // By reading the table.
        let mut reader = source.snapshot(1).await.unwrap();
        reader.begin().await.unwrap();
        let limits = ChunkLimits {
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let chunk = reader.chunk(&table("item"), None, limits).await;
        has_no_utf8(&chunk.map(|_| ()).unwrap_err());
        // From the log.
        has_no_utf8(&streamed_error(&*source).await);
        world.run("UPDATE item SET name = 'a'").await;
        let chunk = reader.chunk(&table("item"), None, limits).await.unwrap();
        assert_eq!(chunk.rows.len(), 1);
        world.released().await;
        has_no_utf8(&streamed_error(&*source).await);
        world.released().await;
        let slot = world.slot();
        world
            .run(&format!("SELECT pg_drop_replication_slot('{slot}')"))
            .await;
        source.prepare(true).await.unwrap();
        let mut stream = source.stream(2, None).await.unwrap();
        world.run("INSERT INTO item VALUES (2, 'b')").await;
        changes(&mut *stream, 1).await;
    }
}

async fn streamed_error(source: &dyn Source) -> SourceError {
    let mut stream = source.stream(1, None).await.unwrap();
    loop {
        match common::next(&mut *stream).await {
            Ok(batch) => assert!(batch.changes.is_empty(), "{batch:?}"),
            Err(error) => return error,
        }
    }
}

fn has_no_utf8(error: &SourceError) {
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("22P05"), "{error}");
    let hint = error.hint().unwrap();
    for words in [
        "correct the text",
        "pg_drop_replication_slot",
        "source prepare --apply",
        "source resync",
    ] {
        assert!(hint.contains(words), "{hint}");
    }
}

/// Values of 64 MiB as text, by both ways.
#[tokio::test]
async fn very_large_values_come_whole() {
    let sql = "CREATE TABLE large (id int PRIMARY KEY, t text, b bytea, n int)";
    let world = World::prepared(sql, &["large"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO large VALUES (1, repeat('0123456789abcdef', 4194304), NULL, 1);
             INSERT INTO large VALUES (2, NULL, decode(repeat('00ff10a5', 8388608), 'hex'), 1);
             UPDATE large SET n = 2",
        )
        .await;
    let told = changes(&mut *stream, 4).await;
    drop(stream);
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let read = snapshot(&mut *reader, &table("large"), 10).await;
    let cell = |change: &contract::RowChange, at: usize| change.after.as_ref().unwrap()[at].clone();
    let Value::Text(long) = cell(&told[0], 1) else {
        panic!("no text");
    };
    assert_eq!(long.len(), 64 << 20);
    let whole = long
        .as_bytes()
        .chunks(16)
        .all(|part| part == b"0123456789abcdef");
    assert!(whole);
    let Value::Bytes(bytes) = cell(&told[1], 2) else {
        panic!("no bytes");
    };
    assert_eq!(bytes.len(), 32 << 20);
    assert!(bytes.chunks(4).all(|part| part == [0, 0xff, 0x10, 0xa5]));
    // Not told again by an update that left them alone, and never null.
    assert!(cell(&told[2], 1) == Value::Unchanged && cell(&told[3], 2) == Value::Unchanged);
    assert!(cell(&read[0], 1) == Value::Text(long));
    assert!(cell(&read[1], 2) == Value::Bytes(bytes));
}
