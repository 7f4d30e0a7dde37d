//! What newer servers write, made of what the one at hand writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use harness::mariadb::MariadbOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::common::told::{changes, lines, next};
use crate::common::{World, number};

/// What goes through a transaction's cache: annotations, tables and rows, packed or not.
const CACHED: [u8; 9] = [19, 23, 24, 25, 160, 166, 167, 168, 2];

/// Before a server on this port, one that writes its log as MariaDB does since 11.4
/// (`binlog_legacy_event_pos = OFF`): events of a transaction do not say where the next one begins.
async fn newer(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(forward(from_client, to_server));
            tokio::spawn(rewrite(from_server, to_client));
        }
    });
    own
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = copy(&mut from, &mut to).await;
}

async fn rewrite(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut head = [0; 4];
    while from.read_exact(&mut head).await.is_ok() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut packet = vec![0; length as usize];
        if from.read_exact(&mut packet).await.is_err() {
            return;
        }
        let size = packet.get(10..14).map(|bytes| bytes.try_into().unwrap());
        let is_event = packet[0] == 0 && size.map(u32::from_le_bytes) == Some(length - 1);
        if is_event && CACHED.contains(&packet[5]) {
            packet[14..18].fill(0);
            let end = packet.len() - 4;
            let sum = crc32fast::hash(&packet[1..end]);
            packet[end..].copy_from_slice(&sum.to_le_bytes());
        }
        let sent = [&head[..], &packet].concat();
        if to.write_all(&sent).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn events_without_a_place_of_their_own_are_told() {
    for setting in ["log_bin_compress=OFF", "log_bin_compress=ON"] {
        let options = MariadbOptions::default().setting(setting);
        let item = "CREATE TABLE item (id INT PRIMARY KEY, sku VARCHAR(400))";
        let world = World::with(options, item, &["item"]).await;
        let port = newer(world.server.port()).await;
        let source = world.source_with(&[("port", number(port))]);
        let mut stream = source.stream(1, None).await.unwrap();
        let first = next(&mut *stream).await.unwrap().end;
        world
            .run(
                "INSERT INTO item VALUES (1, repeat('a', 300)); BEGIN;
                 UPDATE item SET sku = 'b'; INSERT INTO item VALUES (2, 'c'); COMMIT;
                 DELETE FROM item WHERE id = 1",
            )
            .await;
        let (all, end) = changes(&mut *stream, 4).await;
        let ops: Vec<&str> = all.iter().map(|change| change.op.name()).collect();
        assert_eq!(ops, ["insert", "update", "insert", "delete"]);
        // By the same places as from a server that says them.
        let mut direct = world.source().stream(1, Some(&first)).await.unwrap();
        let (same, same_end) = changes(&mut *direct, 4).await;
        assert_eq!((&same, &same_end), (&all, &end), "{:?}", lines(&same));
        for change in &all {
            let rest = all.iter().filter(|one| one.position > change.position);
            let rest = rest.cloned().collect::<Vec<_>>();
            if rest.is_empty() {
                continue;
            }
            let mut again = source.stream(1, Some(&change.position)).await.unwrap();
            assert_eq!(changes(&mut *again, rest.len()).await.0, rest);
        }
    }
}
