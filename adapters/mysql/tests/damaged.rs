//! A log that is damaged, or has something in it that nobody knows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{Source, SourceError};
use harness::mariadb::{MariadbOptions, MariadbServer};
use std::sync::Arc;

use crate::common::told::{changes, error, go_on, next};
use crate::common::{self, captured, number, text};

const HEADER: usize = 19;
const WRITE_ROWS: u8 = 23;
const FILE: &str = "binlog.000002";

/// The checksum behind an event.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn source(server: &MariadbServer) -> Arc<dyn Source> {
    let settings = [
        ("host", text("127.0.0.1")),
        ("port", number(server.port())),
        ("user", text("root")),
    ];
    common::source("erp", &settings, vec![captured("erp", "item")])
}

/// What a stream says that meets an event which was changed in the log's file: all of its bytes but
/// the checksum. `seal` puts the right one behind it.
async fn said(change: fn(&mut [u8]), seal: bool) -> SourceError {
    let mut server = MariadbServer::start(MariadbOptions::default());
    server
        .run("CREATE DATABASE erp; CREATE TABLE erp.item (id INT PRIMARY KEY, v VARCHAR(100))")
        .await;
    let mut stream = source(&server).stream(1, None).await.unwrap();
    let start = next(&mut *stream).await.unwrap().end;
    let name = stream.server();
    server
        .run(
            "FLUSH BINARY LOGS; INSERT INTO erp.item VALUES (1, 'good');
             INSERT INTO erp.item VALUES (2, 'and here is room for another event');
             FLUSH BINARY LOGS; INSERT INTO erp.item VALUES (3, 'good')",
        )
        .await;
    drop(stream);
    server.stop();
    let path = server.data().join(FILE);
    let mut log = std::fs::read(&path).unwrap();
    let mut at = 4;
    let mut rows = 0;
    loop {
        let size = u32::from_le_bytes(log[at + 9..at + 13].try_into().unwrap());
        let end = at + usize::try_from(size).unwrap();
        if log[at + 4] == WRITE_ROWS {
            rows += 1;
        }
        if rows == 2 {
            let sum = end - 4;
            change(&mut log[at..sum]);
            if seal {
                let crc = crc32(&log[at..sum]).to_le_bytes();
                log[sum..end].copy_from_slice(&crc);
            }
            break;
        }
        at = end;
    }
    std::fs::write(&path, log).unwrap();
    server.start_again();
    let mut stream = go_on(&*source(&server), &start, name).await;
    let (good, end) = changes(&mut *stream, 1).await;
    assert_eq!(
        good[0].after.as_ref().unwrap()[1].text().as_deref(),
        Some("good")
    );
    let first = error(&mut *stream).await;
    // Nothing of it is skipped: it is met again.
    let mut stream = go_on(&*source(&server), &end, None).await;
    assert_eq!(error(&mut *stream).await, first);
    first
}

#[tokio::test]
async fn a_wrong_checksum_is_said_and_nothing_skipped() {
    let error = said(|event| event[HEADER + 20] ^= 1, false).await;
    let SourceError::Malformed(what) = &error else {
        panic!("{error:?}");
    };
    assert!(what.contains("checksum"), "{what}");
}

#[tokio::test]
async fn an_unknown_event_is_said_and_nothing_skipped() {
    let error = said(|event| event[4] = 200, true).await;
    let SourceError::Malformed(what) = &error else {
        panic!("{error:?}");
    };
    assert!(what.contains("type 200"), "{what}");
}

#[tokio::test]
async fn what_the_server_itself_has_missed_is_a_lost_position() {
    let error = said(
        |event| {
            event[4] = 26;
            let room = event.len() - HEADER - 3;
            event[HEADER..HEADER + 2].copy_from_slice(&[1, 0]);
            event[HEADER + 2] = u8::try_from(room).unwrap();
            event[HEADER + 3..].fill(b'x');
        },
        true,
    )
    .await;
    let SourceError::PositionLost { what, hint } = &error else {
        panic!("{error:?}");
    };
    assert!(what.contains("incident 1: xxx"), "{what}");
    assert!(hint.contains("resync"), "{hint}");
}
