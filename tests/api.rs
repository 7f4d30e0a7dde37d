//! The local API through its door: what a token may read and ask, what it may not, and that its description is right.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod asked;
mod description;
mod door;
mod fields;
mod published;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use harness::agent::Agent;
use harness::local::ask;
use harness::receiver::{Receiver, free_port};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
const STOCK: &str = "inventory.availability.v1";
/// Stands in everything about a person that the database has, and nowhere else.
const PERSON: &str = "Zq4PersonMark";

const TABLES: &str = "CREATE TABLE stock (sku TEXT, site TEXT, qty NUMERIC NOT NULL, PRIMARY KEY (sku, site));
    INSERT INTO stock VALUES ('A', 'MAIN', 5), ('A', 'WEST', 12), ('A|B', 'MAIN', 7), ('C', 'MAIN', 9);
    CREATE TABLE head (id TEXT PRIMARY KEY, who TEXT, mail TEXT, country TEXT);
    INSERT INTO head VALUES ('1', 'Zq4PersonMark Ann', 'Zq4PersonMark@example.com', 'DE'),
      ('2', 'Zq4PersonMark Bob', 'Zq4PersonMark.b@example.com', 'NL');";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku, site]}
  head: {name: head, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "stock.site"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
  - id: order
    emit: order.v1
    from: head
    key: {order_id: head.id}
    fields:
      order_number: head.id
      document_kind: "'order'"
      customer_id: "'17'"
      customer_name: head.who
      ship_to: {name: head.who, email: head.mail, country: head.country}
      ordered_on: "date '2026-11-20'"
      lifecycle: "'open'"
      fulfillment: "'none'"
      has_backorder: false
      source_status: "'-'"
      archived: false
"#;

/// A secret: longer than any that could be guessed.
fn secret(name: &str) -> String {
    format!("{name}-4f1c2a9e7b3d4f1c2a9e7b3d")
}

/// A token's block in the settings, with its secret in a file.
fn token(site: &Site, name: &str, more: &str) -> String {
    let file = format!("{name}.secret");
    std::fs::write(site.path().join(&file), secret(name)).unwrap();
    format!("[[local.token]]\nname = \"{name}\"\nsecret = {{ file = \"{file}\" }}\n{more}\n")
}

const READS: &str =
    "scopes = [\"published:read\"]\ntypes = [\"inventory.availability.v1\", \"order.v1\"]";
const OPERATES: &str = "scopes = [\"status:read\", \"held:read\", \"held:write\", \"trace:read\", \"replay:write\", \
    \"destination:write\"]";

/// A site with these tokens, and its port.
fn site(receiver: &Receiver, tokens: &[(&str, &str)]) -> (Site, u16) {
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let port = free_port();
    let mut text = format!("[local]\nlisten = \"127.0.0.1:{port}\"\n");
    for (name, more) in tokens {
        text.push_str(&token(&site, name, more));
    }
    let file = site.path().join("lighterman.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    (site, port)
}

/// An answer.
struct Said {
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
    body: Value,
}

/// Asks, with these headers and this body.
async fn call(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        request.push_str("Content-Type: application/json\r\n");
    }
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let answer = ask(port, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let headers = head.lines().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    });
    Said {
        status: status.unwrap_or(0),
        headers: headers.collect(),
        body: serde_json::from_str(body).unwrap_or_default(),
        text: answer,
    }
}

async fn as_token(port: u16, name: &str, method: &str, path: &str, body: &str) -> Said {
    let bearer = format!("Bearer {}", secret(name));
    call(port, method, path, &[("Authorization", &bearer)], body).await
}

async fn get(port: u16, name: &str, path: &str) -> Said {
    as_token(port, name, "GET", path, "").await
}

/// Waits until an answer is as wanted.
async fn until(
    port: u16,
    name: &str,
    path: &str,
    agent: &Agent,
    wanted: impl Fn(&Said) -> bool,
) -> Said {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let said = get(port, name, path).await;
        if wanted(&said) {
            return said;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(
            !late,
            "{path}: {} {}\n{}",
            said.status,
            said.text,
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a request is done: to how many.
async fn done(port: u16, name: &str, agent: &Agent, asked: &Said) -> Vec<u64> {
    assert_eq!(asked.status, 202, "{}", asked.text);
    let mut counts = Vec::new();
    for one in asked.body["requests"].as_array().unwrap() {
        let path = one["href"].as_str().unwrap();
        let said = until(port, name, path, agent, |said| said.body["state"] == "done").await;
        counts.push(said.body["count"].as_u64().unwrap());
    }
    counts
}

fn count(said: &Said) -> usize {
    said.body["items"].as_array().map_or(0, Vec::len)
}

/// Waits until all of the tables is published.
async fn told(port: u16, name: &str, agent: &Agent) {
    until(port, name, "/api/v1/inventory", agent, |said| {
        count(said) == 4
    })
    .await;
    until(port, name, "/api/v1/orders", agent, |said| count(said) == 2).await;
}
