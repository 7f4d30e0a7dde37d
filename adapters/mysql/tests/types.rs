//! Every type, by every way its values come: an insert, an update and a delete of the log, a snapshot,
//! a question, and what the catalogue promised. All of them give one value, whatever the server's own
//! zone and character set are, and however much its log tells of the columns.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use contract::{ChangeStream, Op, ReadQuery, RowChange, Source, TableInfo, TableName, Value};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;

use crate::common::matrix::{Typed, WRITER, matrix};
use crate::common::read::{limits, next, show, started};
use crate::common::{World, text};

const NULL: &str = "null";

/// A server whose own settings are others than ours.
fn odd() -> MariadbOptions {
    let mut options = MariadbOptions::default()
        .setting("character_set_server=cp1250")
        .setting("character_set_client_handshake=OFF")
        .setting("sql_mode=ANSI_QUOTES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH");
    // Summer and winter time, and neither of them UTC.
    options.zone = Some("CET-1CEST,M3.5.0,M10.5.0/3".to_owned());
    options
}

/// The table of a type, and its rows: a value each, the last one null.
fn rows(typed: &Typed) -> Vec<(String, String)> {
    let null = ("NULL".to_owned(), NULL.to_owned());
    typed.values.iter().cloned().chain([null]).collect()
}

/// In the places of `v`: from the log the rows as they were, as they are, of each kind.
#[derive(Default)]
struct Told {
    inserted: Vec<String>,
    updated: Vec<(String, String)>,
    deleted: Vec<String>,
}

fn value(row: &RowChange, cells: Option<&Vec<Value>>) -> String {
    let at = row.shape.column("v").unwrap();
    show(cells.unwrap())[at].clone()
}

/// Reads the log up to now.
async fn told(
    source: &dyn Source,
    stream: &mut dyn ChangeStream,
    table: &TableName,
) -> HashMap<String, Told> {
    let mut reader = started(source).await;
    let mark = reader.chunk(table, None, limits(1)).await.unwrap().mark;
    let mut found: HashMap<String, Told> = HashMap::new();
    loop {
        let batch = next(stream).await;
        for row in &batch.changes {
            let of = found.entry(row.table().name.clone()).or_default();
            let (before, after) = (row.before.as_ref(), row.after.as_ref());
            match row.op {
                Op::Insert => of.inserted.push(value(row, after)),
                Op::Update => of.updated.push((value(row, before), value(row, after))),
                Op::Delete => of.deleted.push(value(row, before)),
                other => panic!("{other:?}"),
            }
        }
        if batch.end >= mark {
            return found;
        }
    }
}

/// I10, on a server that is set up so.
async fn all_ways_are_equal(options: MariadbOptions) -> World {
    let all = matrix();
    let names: Vec<String> = (0..all.len()).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut make = format!("{WRITER};");
    let mut insert = make.clone();
    let mut change = make.clone();
    for (name, typed) in names.iter().zip(&all) {
        let declared = &typed.declared;
        make.push_str(&format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, v {declared}, x varchar(400) DEFAULT
              REPEAT('x', 300)) ENGINE = InnoDB CHARACTER SET utf8mb4;"
        ));
        let rows = rows(typed);
        for (id, (sql, _)) in rows.iter().enumerate() {
            insert.push_str(&format!("INSERT INTO {name} (id, v) VALUES ({id}, {sql});"));
            let (to, _) = &rows[(id + 1) % rows.len()];
            change.push_str(&format!("UPDATE {name} SET v = {to} WHERE id = {id};"));
        }
        change.push_str(&format!("DELETE FROM {name};"));
    }
    let world = World::with(options, &make, &names).await;
    let (zone,): (String,) = world.server.ask("SELECT @@system_time_zone").await;
    assert_eq!(zone, "CET");
    let source = world.source_with(&[("database", text(&world.name))]);
    let mut stream = source.stream(1, None).await.unwrap();
    world.run(&insert).await;
    let mut wrong = Vec::new();
    let mut compare = |typed: &Typed, way: &str, found: &[String]| {
        let expected: Vec<String> = rows(typed).into_iter().map(|(_, is)| is).collect();
        if found != expected {
            wrong.push(format!("{} by {way}: {found:?}", typed.declared));
        }
    };
    let mut reader = started(&*source).await;
    let infos = source.catalogue(&[]).await.unwrap();
    for (name, typed) in names.iter().zip(&all) {
        let table = TableName::new(&world.name, *name);
        let chunk = reader.chunk(&table, None, limits(100)).await.unwrap();
        let read: Vec<String> = chunk
            .rows
            .iter()
            .map(|row| value(row, row.after.as_ref()))
            .collect();
        compare(typed, "snapshot", &read);
        compare(typed, "question", &asked(&*source, name).await);
        promised(&infos, typed, &table, &read);
    }
    world.run(&change).await;
    let first = TableName::new(&world.name, names[0]);
    let mut told = told(&*source, &mut *stream, &first).await;
    for (name, typed) in names.iter().zip(&all) {
        let told = told.remove(*name).unwrap_or_default();
        compare(typed, "insert", &told.inserted);
        let (before, mut after): (Vec<String>, Vec<String>) = told.updated.into_iter().unzip();
        compare(typed, "update, before", &before);
        let mut deleted = told.deleted;
        for (rows, way) in [(&mut after, "update, after"), (&mut deleted, "delete")] {
            if !rows.is_empty() {
                rows.rotate_right(1);
            }
            compare(typed, way, rows);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world
}

async fn asked(source: &dyn Source, name: &str) -> Vec<String> {
    let query = ReadQuery {
        sql: format!("SELECT v FROM {name} ORDER BY id"),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 100,
        time_max: Duration::from_secs(20),
    };
    let found = source.query(&query).await.unwrap();
    found.rows.iter().map(|row| show(row)[0].clone()).collect()
}

/// What is not null and not invalid is of the kind that the catalogue names.
fn promised(infos: &[TableInfo], typed: &Typed, table: &TableName, read: &[String]) {
    let info = infos.iter().find(|info| info.table == *table).unwrap();
    let said = info.column("v").unwrap().kind.name();
    for value in read {
        let kind = value
            .split(' ')
            .next()
            .unwrap_or_default()
            .replace("uint", "int");
        assert!(
            ["null", "invalid", said].contains(&kind.as_str()),
            "{} is said to be {said}: {value}",
            typed.declared
        );
    }
}

#[tokio::test]
async fn all_ways_are_equal_with_full_metadata() {
    all_ways_are_equal(odd()).await;
}

#[tokio::test]
async fn all_ways_are_equal_with_no_metadata() {
    all_ways_are_equal(odd().setting("binlog_row_metadata=NO_LOG")).await;
}

#[tokio::test]
async fn all_ways_are_equal_with_minimal_metadata() {
    all_ways_are_equal(odd().setting("binlog_row_metadata=MINIMAL")).await;
}

/// Each row is over 256 bytes, from where on the server packs them.
#[tokio::test]
async fn all_ways_are_equal_with_a_compressed_log() {
    let options = odd()
        .setting("log_bin_compress=ON")
        .setting("default_time_zone=-03:00");
    let world = all_ways_are_equal(options).await;
    let mut conn = world.server.connect(None).await;
    let events: Vec<mysql_async::Row> = conn.query("SHOW BINLOG EVENTS").await.unwrap();
    let kinds: BTreeSet<String> = events.iter().filter_map(|row| row.get(2)).collect();
    for kind in ["Write", "Update", "Delete"] {
        assert!(
            kinds.contains(&format!("{kind}_rows_compressed_v1")),
            "{kinds:?}"
        );
        assert!(!kinds.contains(&format!("{kind}_rows_v1")), "{kinds:?}");
    }
}

/// What the server computes, hides or fills in stands in the log like everything else.
#[tokio::test]
async fn computed_and_invisible_columns_are_told_as_they_are() {
    for metadata in ["FULL", "NO_LOG", "MINIMAL"] {
        let options = odd().setting(format!("binlog_row_metadata={metadata}"));
        let sql = "CREATE TABLE t (
            vg varchar(40) CHARACTER SET latin1 AS (CONCAT(v, '!')) VIRTUAL, id int PRIMARY KEY,
            v varchar(9) CHARACTER SET latin1 DEFAULT NULL, d varchar(9) DEFAULT 'made',
            hidden int INVISIBLE DEFAULT 7, sg varchar(40) AS (CONCAT(v, '?')) PERSISTENT,
            at timestamp DEFAULT '1999-12-31 23:59:59', last bigint AS (id * 2) VIRTUAL INVISIBLE)";
        let world = World::with(options, sql, &["t"]).await;
        let source = world.source_with(&[("database", text(&world.name))]);
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run("INSERT INTO t (id) VALUES (1); INSERT INTO t (id, v) VALUES (2, x'e9')")
            .await;
        let mut reader = started(&*source).await;
        let table = TableName::new(&world.name, "t");
        let chunk = reader.chunk(&table, None, limits(100)).await.unwrap();
        let rows: Vec<String> = chunk
            .rows
            .iter()
            .map(|row| show(row.after.as_ref().unwrap()).join(", "))
            .collect();
        let at = "timestamp 1999-12-31T22:59:59Z";
        let first = format!("null, int 1, null, text made, int 7, null, {at}, int 2");
        let second = format!("text é!, int 2, text é, text made, int 7, text é?, {at}, int 4");
        assert_eq!(rows, [first.clone(), second.clone()], "{metadata}");
        world
            .run("UPDATE t SET v = 'x' WHERE id = 2; UPDATE t SET hidden = NULL WHERE id = 1; DELETE FROM t")
            .await;
        let mark = reader.chunk(&table, None, limits(1)).await.unwrap().mark;
        let mut told = Vec::new();
        loop {
            let batch = next(&mut *stream).await;
            for change in &batch.changes {
                let image = |cells: &Option<Vec<Value>>| match cells {
                    Some(cells) => show(cells).join(", "),
                    None => "-".to_owned(),
                };
                told.push((image(&change.before), image(&change.after)));
            }
            if batch.end >= mark {
                break;
            }
        }
        let none = || "-".to_owned();
        let third = format!("text x!, int 2, text x, text made, int 7, text x?, {at}, int 4");
        let fourth = format!("null, int 1, null, text made, null, null, {at}, int 2");
        let expected = [
            (none(), first.clone()),
            (none(), second.clone()),
            (second, third.clone()),
            (first, fourth.clone()),
            (fourth, none()),
            (third, none()),
        ];
        assert_eq!(told, expected, "{metadata}");
    }
}
