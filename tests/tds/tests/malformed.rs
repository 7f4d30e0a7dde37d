//! Clients that do not keep to the protocol.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use tds_server::wire::Options;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::door::door;
use crate::support::raw::{Hello, hello, packet, prelogin, read, said_hello, with_headers};

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection_and_is_said() {
    let mut early: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a packet of"),
        (packet(0x01, 1, b"x"), "kind 0x01 at the beginning"),
        (packet(0x12, 1, &[]), "announced"),
        (packet(0x12, 1, &[0xFF]), "nothing is said"),
        (
            packet(0x12, 1, &[1, 0, 6, 0, 1, 0xFF, 2]),
            "not the version",
        ),
        (packet(0x12, 1, &[0, 0xFF, 0xFF, 0, 6, 0xFF]), "announced"),
        (prelogin(9), "9 as the wish for encryption"),
        (vec![0x12, 1, 0, 7, 0, 0, 0, 0], "a packet of 7 bytes"),
        (
            vec![0x12, 1, 0xFF, 0xFF, 0, 0, 0, 0],
            "a packet of 65535 bytes",
        ),
        (vec![0x12, 1, 0], "the end after 3 bytes"),
    ];
    for (bytes, said) in early.drain(..) {
        let (server, _) = door(Options::default());
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(read(&mut socket).await, None);
        server.handle().all_closed().await;
        let complaints = server.handle().complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains(said),
            "{complaints:?}, not {said}"
        );
    }

    let named = |bytes: &[u8]| {
        // sp_executesql with a statement, its declaration and this.
        let text = b"\0\0\xE7\x02\0\x09\x04\xD0\0\x34\x02\0x\0";
        let head = [0xFF, 0xFF, 10, 0, 0, 0];
        packet(
            0x03,
            1,
            &with_headers(0, &[&head[..], text, text, bytes].concat()),
        )
    };
    let late: Vec<(Vec<u8>, &str)> = vec![
        (packet(0x01, 1, &[]), "announced"),
        (packet(0x01, 1, &[3, 0, 0, 0]), "headers of 3 bytes"),
        (packet(0x01, 1, &[4, 0, 0, 0]), "without its transaction"),
        (packet(0x01, 1, &[0xFF; 8]), "announced"),
        (packet(0x01, 1, &with_headers(0, b"x")), "which is odd"),
        (packet(0x01, 1, &with_headers(0, &[0, 0xD8])), "not UTF-16"),
        (packet(0x07, 1, &with_headers(0, &[])), "in bulk"),
        (packet(0x10, 1, &with_headers(0, &[])), "after the login"),
        (packet(0x0E, 1, &with_headers(0, &[99, 0])), "request 99"),
        (
            packet(0x0E, 1, &with_headers(0, &[5, 0, 9, 0])),
            "isolation level 9",
        ),
        (
            packet(0x03, 1, &with_headers(0, &[0xFF, 0xFF, 99, 0, 0, 0])),
            "procedure number 99",
        ),
        (
            packet(0x03, 1, &with_headers(0, &[0xFF, 0xFF, 10, 0, 0, 0])),
            "a text is expected",
        ),
        (named(b"\0\0\x99"), "type 0x99"),
        (named(b"\0\0\xF3"), "a table"),
        (named(b"\0\x08\x38"), "encrypted"),
        (named(b"\0\0\x26\x03\x03abc"), "3"),
        (named(b"\0\0\x26\x04\x08abcdefgh"), "8 bytes for Int"),
        (named(b"\0\0\x26\x04\x02ab"), "announced"),
        (named(b"\0\0\x6A\x05\x27\0\0"), "decimal(39,0)"),
        (
            named(b"\0\0\x6A\x05\x01\0\x05\x01\x63\0\0\0"),
            "more digits",
        ),
        (
            named(b"\0\0\x6A\x05\x01\0\x05\x07\x01\0\0\0"),
            "a sign of 7",
        ),
        (named(b"\0\0\x29\x08"), "a time of scale 8"),
        (named(b"\0\0\x29\0\x03\xFF\xFF\xFF"), "a time of day"),
        (named(b"\0\0\x28\x03\xFF\xFF\xFF"), "a day of"),
        (
            named(b"\0\0\xA5\x40\x1F\xFF\x7Fab"),
            "32767 bytes for VarBinary",
        ),
        (named(b"\0\0\xA5\x41\x1F"), "a type of 8001 bytes"),
        (named(b"\0\0\xAD\xFF\xFF"), "any length"),
        (named(b"\0\0\x22\xFF\xFF\xFF\x7F\xFE\xFF\xFF\xFF"), "bytes"),
        (
            named(b"\0\0\xA5\xFF\xFF\x09\0\0\0\0\0\0\0\x01\0\0\0a\0\0\0\0"),
            "9 bytes announced, 1 came",
        ),
        (
            named(b"\0\0\xA5\xFF\xFF\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFa"),
            "announced",
        ),
        (
            named(b"\0\0\x62\x49\x1F\0\0\x03\0\0\0\x99\0a"),
            "type 0x99 in a sql_variant",
        ),
        (
            named(b"\0\0\x62\x49\x1F\0\0\x03\0\0\0\x38\x01a"),
            "properties",
        ),
    ];
    for (bytes, said) in late {
        let (server, _) = door(Options::default());
        let (mut socket, _) = said_hello(&server, &Hello::default()).await;
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut socket).await, None, "{said}");
        server.handle().all_closed().await;
        let complaints = server.handle().complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains(said),
            "{complaints:?}, not {said}"
        );
    }
}

#[tokio::test]
async fn a_message_without_end_is_not_kept() {
    let (server, _) = door(Options {
        message_bytes_max: 100_000,
        ..Options::default()
    });
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    let piece = packet(0x01, 0, &[0; 4000]);
    // The server ends it somewhere on the way.
    for _ in 0..1000 {
        if socket.write_all(&piece).await.is_err() {
            break;
        }
    }
    drop(socket);
    server.handle().all_closed().await;
    assert!(server.handle().complaints()[0].contains("more than 100000 bytes"));
}

#[tokio::test]
async fn a_login_that_is_cut_or_changed_anywhere_never_kills_the_server() {
    let (server, _) = door(Options::default());
    let whole = hello(&Hello {
        sspi: b"negotiate",
        features: b"\x02\x0D\0\0\0\x02\x08\0\0\0a\0b\0c\0d\0\xFF",
        flags: 0x20,
    });
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0xFF;
        for body in [&whole[..at], &changed] {
            let mut socket = TcpStream::connect(server.address()).await.unwrap();
            socket.write_all(&prelogin(2)).await.unwrap();
            read(&mut socket).await.unwrap();
            socket.write_all(&packet(0x10, 1, body)).await.unwrap();
            socket.shutdown().await.unwrap();
            read(&mut socket).await;
        }
    }
    server.handle().all_closed().await;
    let complaints = server.handle().complaints();
    assert!(!complaints.is_empty());
    assert!(
        !complaints
            .iter()
            .any(|complaint| complaint.contains("died")),
        "{complaints:?}"
    );
}
