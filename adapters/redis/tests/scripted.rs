//! A server that answers as no real one does.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::Outcome;
use contract::gate::Open;
use harness::settings;
use harness::suite::destination::event;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A list without an end, of texts of a thousand bytes: nobody keeps it until memory ends.
#[tokio::test]
async fn an_answer_without_an_end_is_not_kept() {
    const FAR_TOO_MUCH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1_024]).await.unwrap(), 0);
        let item = [b"$1000\r\n".to_vec(), vec![b'x'; 1_000], b"\r\n".to_vec()].concat();
        let mut sent = 0;
        let mut wrote = stream.write_all(b"*1000000000000\r\n").await;
        while wrote.is_ok() && sent < FAR_TOO_MUCH {
            wrote = stream.write_all(&item).await;
            sent += item.len();
        }
        sent
    });
    let destination = settings::destination(
        destination_redis::read,
        &json!({ "servers": [format!("127.0.0.1:{port}")] }),
    );
    let outcome = destination
        .deliver(&[event(1)], &Open)
        .await
        .outcomes()
        .remove(0);
    let Outcome::Retry { cause, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(cause.contains("a list that is too long"), "{cause}");
    let sent = server.await.unwrap();
    assert!(sent < FAR_TOO_MUCH, "{sent} bytes were taken");
}
