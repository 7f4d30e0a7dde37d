//! A real MariaDB: its log as it streams it, and every character of every character set.

use std::time::Duration;

use futures_util::StreamExt as _;
use harness::mariadb::{MariadbOptions, MariadbServer};
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Conn};

use super::event::{Event, Format, decode};
use super::golden_client::of_client;
use super::layout::Layout;
use super::raw::Raw;
use crate::charset::tables::{Tables, questions};
use crate::charset::{Charsets, charset_of};

/// The events of the log from a file's beginning to its end.
async fn streamed(server: &MariadbServer, file: &str) -> Vec<(Raw, Event)> {
    let mut conn = server.connect(None).await;
    conn.query_drop("SET @mariadb_slave_capability = 4")
        .await
        .unwrap();
    let mut format = Format::new();
    let request = BinlogStreamRequest::new(4_000_000_001)
        .with_non_blocking()
        .with_filename(file.as_bytes())
        .with_pos(4);
    let mut stream = conn.get_binlog_stream(request).await.unwrap();
    let mut found = Vec::new();
    while let Some(event) = stream.next().await {
        let raw = of_client(&event.unwrap());
        let event = decode(&raw, &format).unwrap();
        if let Event::FormatDescription(description) = &event {
            format.learn(description);
        }
        found.push((raw, event));
    }
    found
}

async fn log_file(conn: &mut Conn) -> String {
    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
    let row: mysql_async::Row = conn
        .query_first("SHOW MASTER STATUS")
        .await
        .unwrap()
        .unwrap();
    row.get(0).unwrap()
}

async fn asked(conn: &mut Conn) -> Charsets {
    let mut charsets = Charsets::default();
    for collation in 1..=97 {
        let Some(name) = charsets.missing(collation) else {
            continue;
        };
        let mut answers: Vec<(String, Option<String>)> = Vec::new();
        for question in questions(name) {
            answers.extend(
                conn.query::<(String, Option<String>), _>(question)
                    .await
                    .unwrap(),
            );
        }
        let answers = answers
            .iter()
            .map(|(code, answer)| (code.as_str(), answer.as_deref()));
        charsets.add(Tables::new(name, answers));
    }
    charsets
}

#[tokio::test]
async fn every_character_of_every_set_is_what_the_server_says() {
    let server = MariadbServer::shared();
    let mut conn = server.connect(None).await;
    conn.query_drop("CREATE DATABASE sets; USE sets; SET sql_mode = ''")
        .await
        .unwrap();
    let charsets = asked(&mut conn).await;
    let mut rows = 0;
    for collation in 1..=97_u16 {
        let Some(name) = charset_of(collation).filter(|name| *name != "binary") else {
            continue;
        };
        // The first collation of each set.
        if (1..collation).any(|before| charset_of(before) == Some(name)) {
            continue;
        }
        let decoder = charsets.decoder(collation).unwrap();
        let file = log_file(&mut conn).await;
        conn.query_drop(format!(
            "CREATE TABLE {name}_ (id INT PRIMARY KEY, t VARCHAR(600) CHARACTER SET {name})"
        ))
        .await
        .unwrap();
        let width = match name {
            "utf8mb3" | "utf8mb4" => 0,
            "ucs2" | "utf16" | "utf16le" => 2,
            "utf32" => 4,
            _ => 1,
        };
        let codes: Vec<Vec<u8>> = match width {
            2 => (0..=u16::MAX)
                .map(|code| code.to_be_bytes().to_vec())
                .collect(),
            4 => (0..0x11_0000_u32)
                .step_by(7)
                .map(|code| code.to_be_bytes().to_vec())
                .collect(),
            0 => (0..0x11_0000_u32)
                .step_by(5)
                .filter_map(char::from_u32)
                .map(|char| char.to_string().into_bytes())
                .collect(),
            _ => (0..=u8::MAX)
                .map(|code| vec![code])
                .chain((0x8000..=u16::MAX).map(|code| code.to_be_bytes().to_vec()))
                .chain((0x8f_a1a1..=0x8f_fefe_u32).map(|code| code.to_be_bytes()[1..].to_vec()))
                .collect(),
        };
        // Only what we take for characters: what we do not, is invalid and never guessed.
        let valid: Vec<_> = codes
            .into_iter()
            .filter(|code| {
                decoder
                    .decode(code)
                    .is_some_and(|text| text.chars().count() == 1)
            })
            .collect();
        let mut inserts = Vec::new();
        for (id, some) in valid.chunks(200).enumerate() {
            inserts.push(format!(
                "({id}, 0x{})",
                contract::value::hex(&some.concat())
            ));
        }
        for some in inserts.chunks(100) {
            conn.query_drop(format!("INSERT INTO {name}_ VALUES {}", some.join(", ")))
                .await
                .unwrap();
        }
        let shown: Vec<(i64, String)> = conn
            .query(format!(
                "SELECT id, HEX(CONVERT(t USING utf8mb4)) FROM {name}_ ORDER BY id"
            ))
            .await
            .unwrap();
        let read = texts(&streamed(&server, &file).await, &charsets);
        assert_eq!(read.len(), shown.len(), "{name}");
        for ((_, shown), (at, read)) in shown.iter().zip(read.iter().enumerate()) {
            assert_eq!(
                &contract::value::hex(read.as_bytes()).to_uppercase(),
                shown,
                "{name} {at}"
            );
            rows += 1;
        }
    }
    assert!(rows > 1500, "{rows}");
}

/// The second column of the rows in these events.
fn texts(events: &[(Raw, Event)], charsets: &Charsets) -> Vec<String> {
    let mut layout = None;
    let mut found = Vec::new();
    for (raw, event) in events {
        match event {
            Event::TableMap(table) => {
                let map = table.map(&raw.doing()).unwrap();
                let columns = map.described(charsets).unwrap();
                layout = Some(Layout::new(&map, &columns, charsets, &raw.doing()).unwrap());
            }
            Event::Rows(rows) => {
                let doing = raw.doing();
                let mut reader = rows.rows(layout.as_ref().unwrap(), &doing).unwrap();
                while let Some(row) = reader.next_row(&doing).unwrap() {
                    found.push(row.after.unwrap()[1].text().unwrap());
                }
            }
            _ => {}
        }
    }
    found
}

/// The stream begins with an event that is in no file, with the file's name and, glued to it, a
/// checksum or none.
#[tokio::test]
async fn the_name_of_the_file_is_the_servers_with_checksums_and_without() {
    let server = MariadbServer::start(MariadbOptions::default());
    let mut conn = server.connect(None).await;
    for checksum in ["CRC32", "NONE"] {
        conn.query_drop(format!("SET GLOBAL binlog_checksum = {checksum}"))
            .await
            .unwrap();
        let file = log_file(&mut conn).await;
        let next = log_file(&mut conn).await;
        let events = streamed(&server, &file).await;
        let rotations: Vec<_> = events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Rotate(rotate) => Some((rotate.file.as_str(), rotate.artificial)),
                _ => None,
            })
            .collect();
        let expected = [(file.as_str(), true), (&next, false), (&next, true)];
        assert_eq!(rotations, expected, "{checksum}");
        assert!(
            matches!(events[1].1, Event::FormatDescription(_)),
            "{events:?}"
        );
        let list = |(_, event): &(Raw, Event)| matches!(event, Event::MariadbGtidList(_));
        assert!(events.iter().any(list), "{events:?}");
    }
}

/// A quiet server says again and again that it has told everything.
#[tokio::test]
async fn heartbeats_say_how_far_the_log_goes() {
    let server = MariadbServer::start(MariadbOptions::default());
    let mut conn = server.connect(None).await;
    for checksum in ["CRC32", "NONE"] {
        conn.query_drop(format!("SET GLOBAL binlog_checksum = {checksum}"))
            .await
            .unwrap();
        let file = log_file(&mut conn).await;
        let mut reader = server.connect(None).await;
        // Nanoseconds.
        reader
            .query_drop("SET @mariadb_slave_capability = 4, @master_heartbeat_period = 200000000")
            .await
            .unwrap();
        let request = BinlogStreamRequest::new(4_000_000_002)
            .with_filename(file.as_bytes())
            .with_pos(4);
        let mut stream = reader.get_binlog_stream(request).await.unwrap();
        let mut format = Format::new();
        let mut said = Vec::new();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(30), stream.next());
            let raw = of_client(&event.await.unwrap().unwrap().unwrap());
            match decode(&raw, &format).unwrap() {
                Event::FormatDescription(description) => format.learn(&description),
                Event::Heartbeat { file, position } => said.push((file, position)),
                _ => continue,
            }
            let status: mysql_async::Row = conn
                .query_first("SHOW MASTER STATUS")
                .await
                .unwrap()
                .unwrap();
            // A server that began a file writes a checkpoint into it when it comes to it.
            let end: (String, u64) = (file.clone(), status.get(1).unwrap());
            if said.last() == Some(&end) {
                break;
            }
            assert!(said.len() < 50, "{checksum}: {said:?}, not {end:?}");
        }
        stream.close().await.unwrap();
    }
}
