//! The webhook passes the suite of every destination, in both modes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::section::Problems;
use contract::{Destination, Key, Node, NodeKind, Secret, SecretPlace, Secrets, Section};
use harness::receiver::free_port;
use harness::suite::destination::{DestinationBackend, Fault, run};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
        Err("none".to_owned())
    }
}

#[derive(Default)]
struct Api {
    fault: Option<Fault>,
    /// By event id: in effect.
    effects: HashMap<String, usize>,
    /// Idempotency keys of the requests that were taken.
    known: HashSet<String>,
}

type Shared = Arc<Mutex<Api>>;

struct Backend {
    api: Shared,
    url: String,
    batch: bool,
}

fn destination(url: &str, batch: bool) -> Arc<dyn Destination> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let node = |kind| Node {
        line: 1,
        column: 1,
        kind,
    };
    let key = |name: &str| Key {
        name: name.to_owned(),
        line: 1,
        column: 1,
    };
    let mode = if batch { "batch" } else { "structured" };
    let settings = node(NodeKind::Map(vec![
        (key("url"), node(NodeKind::Text(url.to_owned()))),
        (key("mode"), node(NodeKind::Text(mode.to_owned()))),
        (
            key("timeout_seconds"),
            node(NodeKind::Number("1".to_owned())),
        ),
    ]));
    let problems = Problems::new("t");
    let mut section = Section::new(&settings, "destination", &problems);
    let build = destination_webhook::read(&mut section, &NoSecrets).unwrap();
    build("shop").unwrap()
}

#[async_trait]
impl DestinationBackend for Backend {
    fn destination(&self) -> Arc<dyn Destination> {
        destination(&self.url, self.batch)
    }

    fn fail_next(&self, fault: Fault) {
        self.api.lock().unwrap().fault = Some(fault);
    }

    fn effects(&self, id: &str) -> usize {
        self.api
            .lock()
            .unwrap()
            .effects
            .get(id)
            .copied()
            .unwrap_or(0)
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(&format!("http://127.0.0.1:{}/", free_port()), self.batch)
    }
}

impl Api {
    /// As `docs/webhook.md` tells receivers: a request whose key is known does nothing again.
    fn take(&mut self, key: &str, body: &Value) {
        if !self.known.insert(key.to_owned()) {
            return;
        }
        let events = body
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![body.clone()]);
        for event in events {
            let id = event["id"].as_str().unwrap().to_owned();
            *self.effects.entry(id).or_default() += 1;
        }
    }
}

/// HTTP by hand: a real server cannot be made to drop a connection in the middle.
async fn serve(mut stream: TcpStream, api: Shared) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let mut part = [0; 4_096];
        let count = stream
            .read(&mut part)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        read.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0_usize);
        if body.len() < length {
            continue;
        }
        let fault = api.lock().unwrap().fault.take();
        let json: Value = serde_json::from_str(body).unwrap();
        let taken = matches!(fault, None | Some(Fault::LoseAnswer | Fault::Hang));
        if taken {
            let key = head
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "));
            api.lock().unwrap().take(key.unwrap(), &json);
        }
        let answer = match fault {
            None => "204 No Content\r\n".to_owned(),
            Some(Fault::Reject) => "404 Not Found\r\nContent-Length: 0\r\n".to_owned(),
            Some(Fault::Throttle(seconds)) => {
                format!("429 Busy\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n")
            }
            Some(Fault::Unavailable) => "503 Later\r\nContent-Length: 0\r\n".to_owned(),
            Some(Fault::LoseAnswer) => return None,
            Some(Fault::Hang) => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {answer}\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
        read.clear();
    }
}

async fn backend(batch: bool) -> Backend {
    let api = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let shared = Arc::clone(&api);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    Backend { api, url, batch }
}

#[tokio::test]
async fn passes_the_suite_event_by_event() {
    run(&backend(false).await).await;
}

#[tokio::test]
async fn passes_the_suite_in_batches() {
    run(&backend(true).await).await;
}
