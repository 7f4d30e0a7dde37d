//! Broken answers, byte for byte as they come over the wire: what becomes of the event, and that nothing else is asked.
//!
//! A case is one file of `tests/broken/answers`, named after its fault: an answer as HTTP has it, with lines that end as
//! those of the file do. What becomes of the event stands beside it, as `.said`: where the answer is that to what was
//! sent, and where it is that to what was looked for before. `BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use contract::gate::Open;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::*;

const FILE: &str = r#"
channel: answered
title: Answered
proven: documentation
resend: RESEND
settings:
  url: {type: url, ask: where?}
  password: {type: secret, ask: which?}
url: setting.url
timeout: 1s
auth: {bearer: setting.password}
events:
  inventory.availability.v1:
    steps:
      - find: {name: item, get: "/items/{sku}", take: {id: id}, missing: missing}
      - send:
          put: "/stock/{found.id}"
          body: {quantity: sellable}
          done: ok
    delete: same
"#;

const WELL: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ok\": true, \"id\": 7}";

/// Stands in a case for a megabyte.
const LONG: &[u8] = b"<<LONG>>";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/broken/answers")
}

/// The server hangs up after each answer. Where the answer does not say so, and has its length, the next request may be
/// sent before that is noticed.
const CLOSE: &[u8] = b"connection: close\n";

/// The bytes of a case: the lines of the head end as HTTP wants it, the body is as it stands.
fn bytes(case: &Path) -> Vec<u8> {
    let mut file = std::fs::read(case).unwrap();
    if let Some(at) = file.windows(LONG.len()).position(|part| part == LONG) {
        file.splice(at..at + LONG.len(), vec![b'x'; 1_000_000]);
    }
    let first = file.iter().position(|byte| *byte == b'\n');
    if let Some(first) = first.filter(|_| file.starts_with(b"HTTP/1.1 2")) {
        let at = first + 1;
        file.splice(at..at, CLOSE.iter().copied());
    }
    let end = file.windows(2).position(|two| two == b"\n\n");
    let (head, body) = file.split_at(end.map_or(file.len(), |end| end + 2));
    let mut bytes = Vec::new();
    for byte in head {
        if *byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(*byte);
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Answers each request for items with one text, each other with another, and closes the connection. Gives its address
/// and what it was asked.
async fn server(items: Vec<u8>, others: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (items, others, seen) = (items.clone(), others.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut read = Vec::new();
                let request = loop {
                    if let Some((request, _)) = parse(&read) {
                        break request;
                    }
                    let mut part = [0; 4096];
                    match stream.read(&mut part).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => read.extend_from_slice(&part[..n]),
                    }
                };
                let line = format!("{} {}", request.method, request.path);
                let is_item = request.path.starts_with("/items/");
                seen.lock().unwrap().push(line);
                // The client may have hung up already.
                let _ = stream
                    .write_all(if is_item { &items } else { &others })
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (url, asked)
}

/// What became of one event, and the requests that it made.
async fn outcome(resend: &str, items: &[u8], others: &[u8]) -> String {
    let (url, asked) = server(items.to_vec(), others.to_vec()).await;
    let settings = map([("url", text(&url)), ("password", environment())]);
    let shop = of_file(
        &FILE.replace("RESEND", resend),
        vec![("settings", settings), ("timeout_seconds", number(2))],
    );
    let events = [stock(1, "A", "MAIN", 5)];
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    assert_eq!(outcomes.len(), 1);
    assert!(!format!("{outcomes:?}").contains("s3cr3t"), "{outcomes:?}");
    let asked = asked.lock().unwrap().join(", ");
    let cause = cause(&outcomes[0]).replace(&url, "http://SHOP");
    let cause: String = cause.chars().flat_map(shown).collect();
    assert!(cause.len() < 2_000, "{cause}");
    format!("{} [{asked}] {cause}", word(&outcomes[0]))
        .trim_end()
        .to_owned()
}

/// What cannot be seen is written so that it can.
fn shown(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_answers_end_as_data_and_are_never_taken_for_success() {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "http"))
        .collect();
    cases.sort();
    let mut wrong = Vec::new();
    for case in &cases {
        let answer = bytes(case);
        let said = format!(
            "sent, twice is once: {}\nsent, twice is not once: {}\nlooked for: {}\n",
            outcome("safe", WELL, &answer).await,
            outcome("unsafe", WELL, &answer).await,
            outcome("safe", &answer, WELL).await,
        );
        let golden = case.with_extension("said");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &said).unwrap();
            continue;
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != wanted {
            wrong.push(format!("{}\n{said}and not\n{wanted}", case.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
