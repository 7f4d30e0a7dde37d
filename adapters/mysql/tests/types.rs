//! Every type by stream, snapshot and question: the same values.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/every.rs"]
mod every;
#[path = "common/read.rs"]
mod read;

use common::{World, text};
use contract::{ReadQuery, TableName};
use every::{EVERY, EVERY_TYPE, EVERY_VALUE};
use harness::mariadb::MariadbOptions;
use read::{Taken, limits, started};

/// I10. The server's own settings are others than ours.
#[tokio::test]
async fn stream_snapshot_and_question_give_equal_values() {
    for metadata in ["FULL", "NO_LOG"] {
        let options = MariadbOptions::default()
            .setting("default_time_zone=+05:30")
            .setting("character_set_server=latin1")
            .setting(format!("binlog_row_metadata={metadata}"));
        let world = World::with(options, EVERY_TYPE, EVERY).await;
        let source = world.source_with(&[("database", text(&world.name))]);
        let mut stream = source.stream(1, None).await.unwrap();
        world.run(EVERY_VALUE).await;
        let mut reader = started(&*source).await;
        let (mut streamed, mut read) = (Taken::default(), Taken::default());
        for name in EVERY {
            let table = TableName::new(&world.name, *name);
            let chunk = reader.chunk(&table, None, limits(100)).await.unwrap();
            assert_eq!(chunk.next, None);
            streamed.reach(&mut *stream, &chunk.mark).await;
            read.chunk(&chunk);
            for row in &chunk.rows {
                let columns: Vec<String> =
                    row.shape.columns.iter().map(|c| format!("`{c}`")).collect();
                let cells = row.after.as_ref().unwrap();
                let query = ReadQuery {
                    sql: format!("SELECT {} FROM {name} WHERE id = :id", columns.join(", ")),
                    parameters: vec![("id".to_owned(), cells[0].clone())],
                    more: Vec::new(),
                    rows_max: 1,
                    time_max: std::time::Duration::from_secs(10),
                };
                let found = source.query(&query).await.unwrap();
                assert_eq!(read::show(&found.rows[0]), read::show(cells), "{name}");
            }
        }
        assert!(read.rows.len() > 12, "{}", read.rows.len());
        assert_eq!(streamed.rows, read.rows, "{metadata}");
    }
}
