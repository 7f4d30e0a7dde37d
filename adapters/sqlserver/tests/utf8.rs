//! Texts of a code page that is UTF-8: the client would read their bytes as if they were of another one.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use crate::common::world::{World, int};
use contract::{ChunkLimits, ReadQuery, TableName, Value as Cell};
use tds_server::wire::Value;

const TABLE: &str = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, \
     v varchar(20) COLLATE Latin1_General_100_CI_AS_SC_UTF8 NULL, \
     c char(12) COLLATE Latin1_General_100_CI_AS_SC_UTF8 NULL, \
     m varchar(max) COLLATE Latin1_General_100_CI_AS_SC_UTF8 NULL)";
const WORDS: &str = "łß 日本";

fn world(mode: &str) -> World {
    let mut world = World::new();
    world.database.run(TABLE).unwrap();
    world.tables.push(crate::common::captured("dbo", "t"));
    match mode {
        "tracking" => world.track(),
        _ => world.cdc(),
    }
    .mode(mode)
}

fn insert(world: &World) {
    let row = [
        ("id", int(1)),
        ("v", Value::text(WORDS)),
        ("c", Value::text("é")),
        ("m", Value::text(WORDS)),
    ];
    world.database.insert("t", &row).unwrap();
    world.database.capture_all();
}

#[track_caller]
fn is_whole(row: &[Cell]) {
    let words = Cell::Text(WORDS.to_owned());
    assert_eq!((&row[1], &row[3]), (&words, &words));
    let Cell::Text(padded) = &row[2] else {
        panic!("{row:?}");
    };
    assert_eq!(padded.trim_end(), "é");
}

#[tokio::test]
async fn texts_in_utf8_are_whole_in_changes_and_chunks() {
    for mode in ["cdc", "cdc-function", "tracking"] {
        let world = world(mode);
        let mut reader = world.open();
        reader.start().await.unwrap();
        insert(&world);
        let told = reader.catch_up().await.unwrap();
        is_whole(told[0].after.as_ref().unwrap());
        let mut chunks = reader.source.snapshot(1).await.unwrap();
        let limits = ChunkLimits {
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let table = TableName::new("dbo", "t");
        let chunk = chunks.chunk(&table, None, limits).await.unwrap();
        is_whole(chunk.rows[0].after.as_ref().unwrap());
    }
}

/// A question's own words say what is asked for: where the client cannot know the bytes, it is refused, and
/// said how it is asked.
#[tokio::test]
async fn a_question_for_texts_in_utf8_is_refused_and_said_how_it_is_asked() {
    let world = world("tracking");
    insert(&world);
    let source = world.source();
    let ask = |sql: &str| ReadQuery {
        sql: sql.to_owned(),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 10,
        time_max: Duration::from_secs(5),
    };
    let error = source.query(&ask("SELECT v FROM dbo.t")).await.unwrap_err();
    let said = format!("{error} {:?}", error.hint());
    assert!(said.contains("CAST(v AS nvarchar(4000))"), "{said}");
    let cast = "SELECT CAST(v AS nvarchar(4000)) AS v FROM dbo.t";
    let rows = source.query(&ask(cast)).await.unwrap();
    assert_eq!(rows.rows[0][0], Cell::Text(WORDS.to_owned()));
    // Where nothing is in UTF-8, the client knows each code page.
    let plain = World::new().table("t");
    let rows = plain.source().query(&ask("SELECT 'é' AS v")).await.unwrap();
    assert_eq!(rows.rows[0][0], Cell::Text("é".to_owned()));
}
