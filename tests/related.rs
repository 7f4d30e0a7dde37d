//! Events of several tables, by a running agent: whatever row changes, also while the agent is
//! down, and after a change of the mapping alone.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::{Agent, command};
use harness::postgres::PostgresServer;
use harness::receiver::{Faults, Held, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
pub(crate) const SOON: Duration = Duration::from_secs(30);

const MAPPING: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item, site]}
  item:  {name: item, key: [code]}
  need:  {name: need, key: [id]}
  head:  {name: head, key: [id]}
  line:  {name: line, key: [doc, no]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    join: {item: {match: "item.code = stock.item", missing: hold}}
    add: {demand: {from: need, match: "need.item = stock.item", sum: need.qty}}
    key: {sku: item.sku, location: stock.site}
    fields:
      uom: item.unit
      on_hand: stock.qty
      allocated: 0
      soft_demand: demand.sum
      active: true
    on_delete: zero_then_tombstone
  - id: order
    emit: order.v1
    from: head
    lines:
      from: line
      match: "line.doc = head.id"
      fields: {line_id: line.no, sku: line.item, uom: "'EA'", qty_ordered: line.qty, qty_shipped: 0, qty_cancelled: 0, qty_open: line.qty, status: "'open'"}
    together: {wait_ms: 300}
    key: {order_id: head.id}
    fields: {order_number: head.id, document_kind: "'order'", customer_id: head.customer, ordered_on: "date '2026-11-20'", lifecycle: "'open'", fulfillment: "'none'", has_backorder: false, source_status: "'-'", archived: false}
"#;

const TABLES: &str = "
CREATE TABLE stock (item TEXT, site TEXT, qty INTEGER, PRIMARY KEY (item, site));
CREATE TABLE item (code TEXT PRIMARY KEY, sku TEXT, unit TEXT, safety INTEGER);
CREATE TABLE need (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER);
CREATE TABLE head (id INTEGER PRIMARY KEY, customer TEXT);
CREATE TABLE line (doc INTEGER, no INTEGER, item TEXT, qty INTEGER, PRIMARY KEY (doc, no));
INSERT INTO stock VALUES ('a', 'MAIN', 10), ('b', 'MAIN', 5), ('a', 'WEST', 1);
INSERT INTO item VALUES ('a', 'A', 'EA', 2);
INSERT INTO need VALUES (1, 'a', 3), (2, 'a', 4)";

pub(crate) fn site_of(url: &str, mapping: &str) -> Site {
    Site::new(BINARY, url, TABLES, mapping)
}

/// Waits until an event's body is as wanted.
async fn comes(
    receiver: &Receiver,
    event_type: &str,
    key: &str,
    wanted: impl Fn(&Value) -> bool,
) -> bool {
    receiver
        .wait(SOON, |held| held.body(event_type, key).is_some_and(&wanted))
        .await
}

pub(crate) async fn stock(
    receiver: &Receiver,
    key: &str,
    on_hand: &str,
    uom: &str,
    demand: &str,
) -> bool {
    let key = format!("ACME|{key}");
    comes(receiver, "inventory.availability.v1", &key, |body| {
        body["on_hand"] == on_hand && body["uom"] == uom && body["soft_demand"] == demand
    })
    .await
}

/// Waits until the receiver holds nothing more for a key of stock.
pub(crate) async fn ends(receiver: &Receiver, key: &str) -> bool {
    let gone = |held: &Held| held.body("inventory.availability.v1", key).is_none();
    receiver.wait(SOON, gone).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_row_changes_the_event_follows() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), MAPPING);
    let mut agent = site.agent();
    assert!(
        stock(&receiver, "A|MAIN", "10", "EA", "7").await,
        "{}",
        agent.log()
    );
    assert!(
        stock(&receiver, "A|WEST", "1", "EA", "7").await,
        "{}",
        agent.log()
    );
    // Item b is not there: its stock is held, and heals when it comes.
    let held = || {
        let (_, shown) = site.command(&["status", "--json"]);
        shown.contains("join item: no row of main.item matches")
    };
    assert!(held(), "{}", agent.log());
    site.run("INSERT INTO item VALUES ('b', 'B', 'KG', 0)");
    assert!(
        stock(&receiver, "B|MAIN", "5", "KG", "0").await,
        "{}",
        agent.log()
    );
    assert!(!held());
    site.run("UPDATE need SET qty = 1 WHERE id = 1");
    assert!(stock(&receiver, "A|MAIN", "10", "EA", "5").await);

    agent.kill();
    site.run(
        "UPDATE item SET unit = 'PC' WHERE code = 'a'; DELETE FROM need WHERE id = 2;
              DELETE FROM stock WHERE item = 'b'",
    );
    let mut agent = site.agent();
    assert!(
        stock(&receiver, "A|WEST", "1", "PC", "1").await,
        "{}",
        agent.log()
    );
    assert!(ends(&receiver, "ACME|B|MAIN").await, "{}", agent.log());

    // A new code for the item: the old key ends, the new one begins.
    site.run("UPDATE item SET sku = 'AA' WHERE code = 'a'");
    assert!(
        stock(&receiver, "AA|WEST", "1", "PC", "1").await,
        "{}",
        agent.log()
    );
    assert!(ends(&receiver, "ACME|A|WEST").await, "{}", agent.log());
    assert!(agent.ended().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_mapping_is_worked_out_over_the_rows_that_are_there() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), MAPPING);
    let mut agent = site.agent();
    assert!(
        stock(&receiver, "A|MAIN", "10", "EA", "7").await,
        "{}",
        agent.log()
    );

    // A column that was not kept: its table is read again.
    let wider = MAPPING.replace(
        "      active: true",
        "      safety_stock: item.safety\n      active: true",
    );
    site.map(&wider);
    let key = "ACME|A|MAIN";
    let safety = comes(&receiver, "inventory.availability.v1", key, |body| {
        body["safety_stock"] == "2"
    });
    assert!(safety.await, "{}", agent.log());

    // Another expression over the same columns, and no change in the log.
    let other = wider.replace("on_hand: stock.qty", "on_hand: \"stock.qty * 2\"");
    site.map(&other);
    assert!(
        stock(&receiver, "A|MAIN", "20", "EA", "7").await,
        "{}",
        agent.log()
    );
    assert!(agent.ended().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_waits_for_the_rest_of_its_rows() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let patient = MAPPING.replace("wait_ms: 300", "wait_ms: 2000");
    let site = site_of(receiver.url(), &patient);
    let agent = site.agent();
    assert!(
        stock(&receiver, "A|MAIN", "10", "EA", "7").await,
        "{}",
        agent.log()
    );
    assert!(
        stock(&receiver, "A|WEST", "1", "EA", "7").await,
        "{}",
        agent.log()
    );
    let before = receiver.held().arrivals;
    // Three transactions of an application that does not know documents.
    site.run("INSERT INTO head VALUES (7, 'C1')");
    site.run("INSERT INTO line VALUES (7, 1, 'a', 2)");
    site.run("INSERT INTO line VALUES (7, 2, 'b', 4)");
    let whole = comes(&receiver, "order.v1", "ACME|7", |body| {
        body["lines"]
            .as_array()
            .is_some_and(|lines| lines.len() == 2)
    });
    assert!(whole.await, "{}", agent.log());
    // Not the header alone, nor with one line.
    assert_eq!(receiver.held().arrivals, before + 1, "{}", agent.log());
    site.run("DELETE FROM line WHERE no = 2");
    let less = comes(&receiver, "order.v1", "ACME|7", |body| {
        body["lines"]
            .as_array()
            .is_some_and(|lines| lines.len() == 1)
    });
    assert!(less.await, "{}", agent.log());
}

/// Names of items by their code, which is not their key.
const CODES: &str = r#"
mapping: 1
pack: codes
pack_version: "1"
company: ACME
tables: {item: {name: item, key: [id]}}
events:
  - id: item
    emit: product.v1
    from: item
    where: "item.hidden = 0"
    key: {sku: item.code}
    fields: {name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// PostgreSQL's log tells of a removed row no more than its key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_key_that_the_log_does_not_tell_ends_with_its_last_row() {
    let server = PostgresServer::shared();
    server.create_database("codes").await;
    let db = server.connect("codes").await;
    db.batch_execute(
        "CREATE TABLE item (id int PRIMARY KEY, code text, name text, hidden int);
         INSERT INTO item VALUES (1, 'A', 'Lamp', 0), (2, 'B', 'Desk', 0), (3, 'B', 'Vase', 1)",
    )
    .await
    .unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
         database = \"codes\"\nuser = \"postgres\"\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_first_ms = 20\n",
        server.port(),
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), CODES).unwrap();
    let (code, shown) = command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = command(BINARY, folder.path(), &["map", "explain", "mapping.yaml"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("two rows can have one key"), "{shown}");
    let mut agent = Agent::start(BINARY, folder.path());
    let named = async |key: &str, name: &str| {
        comes(&receiver, "product.v1", key, |body| body["name"] == name).await
    };
    let ended = async |key: &'static str| {
        let gone = |held: &Held| {
            let place = ("product.v1".to_owned(), key.to_owned());
            held.state
                .get(&place)
                .is_some_and(|(_, body)| body.is_none())
        };
        receiver.wait(SOON, gone).await
    };
    assert!(named("ACME|A", "Lamp").await, "{}", agent.log());
    assert!(named("ACME|B", "Desk").await, "{}", agent.log());
    db.batch_execute("DELETE FROM item WHERE id = 1")
        .await
        .unwrap();
    assert!(ended("ACME|A").await, "{}", agent.log());
    // Another row comes in as the one that told the key goes, while nobody listens.
    agent.kill();
    db.batch_execute(
        "BEGIN; UPDATE item SET hidden = 0 WHERE id = 3; DELETE FROM item WHERE id = 2; COMMIT",
    )
    .await
    .unwrap();
    let mut agent = Agent::start(BINARY, folder.path());
    assert!(named("ACME|B", "Vase").await, "{}", agent.log());
    // A key that moves with a change of which the log tells the new row only.
    db.batch_execute("UPDATE item SET code = 'C' WHERE id = 3")
        .await
        .unwrap();
    assert!(named("ACME|C", "Vase").await, "{}", agent.log());
    assert!(ended("ACME|B").await, "{}", agent.log());
    let (_, shown) = command(BINARY, folder.path(), &["status", "--json"]);
    assert!(!shown.contains("the log does not carry"), "{shown}");
    let held = receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
    assert!(agent.ended().is_none());
}

const REWRITTEN: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item, site]}
  item:  {name: item, key: [code]}
events:
  - id: product
    emit: product.v1
    from: item
    key: {sku: item.code}
    fields: {name: item.sku, stock_uom: item.unit, kind: "'stocked'", status: "'active'"}
  - id: stock
    emit: inventory.availability.v1
    from: stock
    join: {item: {match: "item.code = stock.item", missing: hold}}
    key: {sku: item.code, location: stock.site}
    fields: {uom: item.unit, on_hand: stock.qty, allocated: 0, active: true}
"#;

fn totals(site: &Site) -> (u64, u64) {
    let (_, status) = site.status();
    let total = |name: &str| status["sources"][0][name].as_u64().unwrap_or(0);
    (total("changes"), total("events"))
}

/// Waits until so many changes are stored, and so many events made of them.
async fn stored(site: &Site, agent: &Agent, changes: u64, events: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(4);
    loop {
        let known = totals(site);
        assert!(known.1 <= events, "{known:?}: {}", agent.log());
        if known.0 >= changes && known.1 == events {
            return;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{known:?} of {changes} changes: {}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// ERPs rewrite whole tables at night.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_thousand_rewritten_rows_only_those_that_changed_are_told() {
    // Nobody listens: this is about what goes into the outbox.
    let url = format!("http://127.0.0.1:{}/events", harness::receiver::free_port());
    let site = site_of(&url, REWRITTEN);
    site.run(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
           INSERT INTO item SELECT 'i' || n, 'Item ' || n, 'EA', 0 FROM n;
         INSERT INTO stock SELECT code, 'MAIN', 5 FROM item
           WHERE CAST(substr(code, 2) AS INTEGER) BETWEEN 1 AND 2000",
    );
    let agent = site.agent();
    // Beside them an item and two places of it; a place of an item that is not there is held.
    let told = 50_001 + 2_002;
    stored(&site, &agent, 0, told).await;
    let (changes, _) = totals(&site);
    site.run("UPDATE item SET safety = safety + 1, sku = sku; UPDATE stock SET qty = qty");
    stored(&site, &agent, changes + 52_004, told).await;
    site.run(
        "UPDATE item SET safety = safety + 1,
           sku = CASE WHEN code IN ('i7', 'i70', 'i700', 'i7000', 'i49999') THEN 'New' ELSE sku END;
         UPDATE stock SET qty = CASE WHEN item IN ('i1', 'i2', 'i3', 'i4', 'i5') THEN 6 ELSE qty END",
    );
    stored(&site, &agent, changes + 104_008, told + 10).await;
    // Whatever was still to come would have come before this.
    site.run("INSERT INTO item VALUES ('last', 'Last', 'EA', 0)");
    stored(&site, &agent, changes + 104_009, told + 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_until_all_is_worked_out() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), MAPPING);
    let rows = 10_000;
    site.run(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO stock SELECT 'a', 'S' || i, i FROM n"
    ));
    let mut agent = site.agent();
    let began = receiver.wait(SOON * 4, |held| held.arrivals > 0).await;
    assert!(began, "{}", agent.log());
    let ended = agent.terminate(SOON * 2).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
    let file = site.path().join("state/lighterman.db");
    let worked_out: i64 = Connection::open(file)
        .unwrap()
        .query_row("SELECT count(*) FROM published", [], |row| row.get(0))
        .unwrap();
    assert!(worked_out > 0 && worked_out < rows, "{worked_out}");
    // What was left is worked out by the next run.
    let agent = site.agent();
    let all = |held: &Held| held.state.len() >= 10_000;
    let all = receiver.wait(SOON * 4, all).await;
    assert!(all, "{} {}", receiver.held().state.len(), agent.log());
}

const KEYLESS: &str = r#"
mapping: 1
pack: parts
pack_version: "1"
source: sqlite
company: ACME
tables: {part: {name: part, key: [code]}}
events:
  - id: part
    emit: product.v1
    from: part
    key: {sku: "left(part.code, 3)"}
    fields: {name: part.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// Read at first or told by the log: a row that nothing can tell from others is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_a_key_is_held_also_when_its_table_is_read() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let tables = "CREATE TABLE part (code TEXT PRIMARY KEY, name TEXT);
                  INSERT INTO part VALUES (NULL, 'Nameless'), ('ABC1', 'Bolt')";
    let site = Site::new(BINARY, receiver.url(), tables, KEYLESS);
    let agent = site.agent();
    let bolt = comes(&receiver, "product.v1", "ACME|ABC", |body| {
        body["name"] == "Bolt"
    });
    assert!(bolt.await, "{}", agent.log());
    let (_, status) = site.status();
    assert!(
        status.to_string().contains("no value in its key [code]"),
        "{status}"
    );
}
