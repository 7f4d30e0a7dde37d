//! An API that does what a test says, and events to send it.
#![allow(
    unreachable_pub,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    clippy::panic,
    reason = "events read best with their JSON in place"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contract::gate::Open;
use contract::section::Problems;
use contract::{
    Allowance, Destination, EventOp, EventType, Gate, Key, Level, Node, NodeKind, Outcome,
    Outgoing, Secret, SecretPlace, Secrets, Section,
};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the API does with a request.
#[derive(Clone)]
pub enum Do {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, Json),
    /// Status and a body as it stands.
    Bytes(u16, Vec<u8>),
    /// A success with this body, after a while.
    Late(Duration, Json),
    /// Takes it and closes the connection.
    Lose,
    /// Takes it and says nothing.
    Hang,
    /// Status and the first bytes of a longer body, then the connection ends.
    Break(u16, &'static str),
}

pub fn answer(status: u16, body: Json) -> Do {
    Do::Answer(status, Vec::new(), body)
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Json,
    pub text: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str()).unwrap_or_default()
    }
}

type Rule = dyn Fn(&Request) -> Do + Send + Sync;

/// The API: what it is told to do next, then what it always does.
pub struct Api {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
    pub script: Arc<Mutex<VecDeque<Do>>>,
}

impl Api {
    pub async fn start(always: impl Fn(&Request) -> Do + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, script) = (Arc::default(), Arc::default());
        let api = Self {
            url,
            seen: Arc::clone(&seen),
            script: Arc::clone(&script),
        };
        let always: Arc<Rule> = Arc::new(always);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script, always) =
                    (Arc::clone(&seen), Arc::clone(&script), Arc::clone(&always));
                tokio::spawn(async move { serve(stream, &seen, &script, &*always).await });
            }
        });
        api
    }

    pub fn then(&self, next: impl IntoIterator<Item = Do>) {
        self.script.lock().unwrap().extend(next);
    }

    /// Methods and paths of what came since last asked.
    pub fn took(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    script: &Mutex<VecDeque<Do>>,
    always: &Rule,
) {
    let mut read = Vec::new();
    loop {
        let request = loop {
            if let Some((request, used)) = parse(&read) {
                read.drain(..used);
                break request;
            }
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read.extend_from_slice(&part[..n]),
            }
        };
        let next = script.lock().unwrap().pop_front();
        seen.lock().unwrap().push(request.clone());
        let (head, body) = match next.unwrap_or_else(|| always(&request)) {
            Do::Lose => return,
            Do::Hang => {
                // Until the client gives up.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Do::Break(status, part) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 1000\r\n\r\n{part}");
                let _ = stream.write_all(head.as_bytes()).await;
                return;
            }
            Do::Late(time, body) => {
                tokio::time::sleep(time).await;
                let body = body.to_string().into_bytes();
                let length = body.len();
                (
                    format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n"),
                    body,
                )
            }
            Do::Answer(status, headers, body) => {
                let body = if body.is_null() {
                    Vec::new()
                } else {
                    body.to_string().into_bytes()
                };
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.extend([name, ": ", &value, "\r\n"]);
                }
                (head, body)
            }
            Do::Bytes(status, body) => {
                let length = body.len();
                (
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n"),
                    body,
                )
            }
        };
        if stream
            .write_all(&[head.as_bytes(), b"\r\n", &body].concat())
            .await
            .is_err()
        {
            return;
        }
    }
}

pub fn parse(read: &[u8]) -> Option<(Request, usize)> {
    let end = read.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, text)| text.parse().unwrap());
    let body = read.get(end + 4..end + 4 + length)?;
    let text = String::from_utf8_lossy(body).into_owned();
    let body = serde_json::from_slice(body).unwrap_or_default();
    Some((
        Request {
            method,
            path,
            headers,
            body,
            text,
        },
        end + 4 + length,
    ))
}

pub struct Fixed;

impl Secrets for Fixed {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        Ok(match place {
            SecretPlace::Environment(_) => Secret::new("s3cr3t-pass"),
            other => Secret::new(std::fs::read_to_string(other.parts().1).unwrap().trim_end()),
        })
    }
}

fn node(kind: NodeKind) -> Node {
    Node {
        line: 1,
        column: 1,
        kind,
    }
}

pub fn text(value: &str) -> Node {
    node(NodeKind::Text(value.to_owned()))
}

pub fn number(value: u64) -> Node {
    node(NodeKind::Number(value.to_string()))
}

pub fn map<'n>(entries: impl IntoIterator<Item = (&'n str, Node)>) -> Node {
    let key = |name: &str| Key {
        name: name.to_owned(),
        line: 1,
        column: 1,
    };
    node(NodeKind::Map(
        entries
            .into_iter()
            .map(|(name, value)| (key(name), value))
            .collect(),
    ))
}

pub fn environment() -> Node {
    map([("env", text("SECRET"))])
}

/// A destination of these settings; panics with what is wrong with them.
pub fn destination(settings: &Node) -> Arc<dyn Destination> {
    try_destination(settings).unwrap_or_else(|found| panic!("{found}"))
}

pub fn try_destination(settings: &Node) -> Result<Arc<dyn Destination>, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let problems = Problems::new("t");
    let mut section = Section::new(settings, "destination", &problems);
    let build = destination_channel::read(&mut section, &Fixed);
    section.finish();
    let wrong: Vec<String> = problems
        .take()
        .iter()
        .filter(|finding| finding.level == Level::Fail)
        .map(ToString::to_string)
        .collect();
    match build {
        Some(build) if wrong.is_empty() => build("shop"),
        _ => Err(wrong.join("\n")),
    }
}

/// A destination of a file's text.
pub fn of_file(text_of_file: &str, more: Vec<(&str, Node)>) -> Arc<dyn Destination> {
    let file = std::env::temp_dir().join(format!("channel-{:032x}.yaml", rand_name()));
    std::fs::write(&file, text_of_file).unwrap();
    let mut settings = vec![("file", text(file.to_str().unwrap()))];
    settings.extend(more);
    let destination = destination(&map(settings));
    std::fs::remove_file(file).unwrap();
    destination
}

pub fn rand_name() -> u128 {
    use std::hash::{BuildHasher, Hasher};
    let state = std::collections::hash_map::RandomState::new();
    u128::from(state.build_hasher().finish()) << 64 | u128::from(state.build_hasher().finish())
}

/// The end of an event's key.
pub fn gone(event: &Outgoing) -> Outgoing {
    let json: Json = serde_json::from_slice(&event.json).unwrap();
    crate::common::event(
        99,
        event.event_type,
        EventOp::Delete,
        json["key"].clone(),
        Json::Null,
    )
}

pub fn event(n: u32, event_type: EventType, op: EventOp, key: Json, body: Json) -> Outgoing {
    let id = format!("evt_{n:032}");
    let parts: Vec<&str> = key
        .as_object()
        .unwrap()
        .values()
        .filter_map(Json::as_str)
        .collect();
    let whole =
        json!({"id": id, "type": event_type.name(), "op": op.name(), "key": key, "body": body});
    Outgoing {
        offset: i64::from(n),
        id: id.clone(),
        event_type,
        key: parts.join("|"),
        op,
        idempotency_key: id,
        origin: "acme/erp".to_owned(),
        occurred_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        attempt: 1,
        json: whole.to_string().into_bytes().into(),
    }
}

pub fn stock(n: u32, sku: &str, location: &str, sellable: i64) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "location": location});
    event(
        n,
        EventType::InventoryAvailability,
        EventOp::Upsert,
        key,
        json!({"sellable": sellable.to_string(), "active": true}),
    )
}

/// A gate that is open and remembers.
#[derive(Default)]
pub struct Watched {
    pub passed: Mutex<Vec<u32>>,
    pub heard: Mutex<Vec<Allowance>>,
}

#[async_trait]
impl Gate for Watched {
    async fn pass(&self, points: u32, _: Duration) -> bool {
        self.passed.lock().unwrap().push(points);
        true
    }

    fn heard(&self, said: &Allowance) {
        self.heard.lock().unwrap().push(*said);
    }
}

/// A word for an outcome, with what the API asked to wait for.
pub fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied(_) => "applied".to_owned(),
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Retry {
            after: Some(after), ..
        } => format!("retry after {}", after.as_secs()),
        Outcome::Retry { .. } => "retry".to_owned(),
        Outcome::Rejected { .. } => "rejected".to_owned(),
        Outcome::Conflict { .. } => "conflict".to_owned(),
        Outcome::Missing { .. } => "missing".to_owned(),
        Outcome::Unknown { .. } => "unknown".to_owned(),
    }
}

pub fn words(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub fn cause(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { cause, .. }
        | Outcome::Rejected { cause, .. }
        | Outcome::Conflict { cause, .. }
        | Outcome::Missing { cause, .. }
        | Outcome::Unknown { cause, .. } => cause,
        Outcome::Applied(_) | Outcome::Accepted { .. } => "",
    }
}

/// All that a channel lists of a type, page by page; and how many pages that were.
pub async fn listed(
    channel: &Arc<dyn Destination>,
    event_type: EventType,
) -> (std::collections::BTreeMap<String, String>, usize) {
    let (mut all, mut pages) = (std::collections::BTreeMap::new(), 0);
    let mut after: Option<String> = None;
    loop {
        let page = channel.list(event_type, after.as_deref(), &Open).await;
        let page = page.unwrap_or_else(|not| panic!("page {pages}: {not:?}"));
        pages += 1;
        all.extend(page.entries.into_iter().map(|one| (one.name, one.holds)));
        match page.next {
            Some(next) => after = Some(next),
            None => return (all, pages),
        }
    }
}
