//! An agent that is killed in the middle of a batch leaves real servers right: judged by what they say themselves.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::time::Duration;

use harness::agent::Agent;
use harness::channels::{Cap, Method, Tryton, Vendure};
use harness::proxy::Proxy;
use harness::site::Site;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
/// Everything that the server is still to get; many tests share the machine.
const SOON: Duration = Duration::from_mins(6);
/// Each look is work for the server or a process of its own, and takes from what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Where the agent is to be killed in the middle of something.
const LOOK_SOON: Duration = Duration::from_millis(20);
/// How long what the server says takes to come back: time to kill the agent in.
const ON_THE_WAY: Duration = Duration::from_secs(1);
const ROUNDS: i64 = 2;
const SKUS: i64 = 60;

const STOCK: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "'MAIN'"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
"#;

const ORDERS: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  orders: {name: orders, key: [id]}
events:
  - id: orders
    emit: order.v1
    from: orders
    key: {order_id: "orders.id"}
    fields:
      order_number: "orders.id"
      channel_order_id: "orders.id"
      document_kind: "'order'"
      customer_id: "'C'"
      ordered_on: "'2026-11-20'"
      lifecycle: "orders.lifecycle"
      fulfillment: "'none'"
      has_backorder: false
      source_status: "orders.lifecycle"
      archived: false
"#;

/// So many pieces of each SKU, by its number.
fn stock(name: impl Fn(i64) -> String) -> String {
    let mut sql = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);".to_owned();
    for n in 1..=SKUS {
        write!(sql, "INSERT INTO stock VALUES ('{}', {n});", name(n)).unwrap();
    }
    sql
}

async fn until(what: &str, agent: &Agent, there: impl AsyncFn() -> bool) {
    until_looking(LOOK_EVERY, what, agent, there).await;
}

async fn until_looking(every: Duration, what: &str, agent: &Agent, there: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !there().await {
        let log = || agent.log();
        assert!(tokio::time::Instant::now() < deadline, "{what}\n{}", log());
        tokio::time::sleep(every).await;
    }
}

fn shop(site: &Site) -> Value {
    site.status().1["destinations"][0].clone()
}

/// Changes all stock again and again. `has`: what the server says of a SKU; `got_more`: whether it has got something
/// since it was last asked, with so much added. Each time the server has got something and what it says of it is
/// on its way back, the agent is killed; then it starts again, and in the end the server is right.
async fn survive(
    site: &Site,
    proxy: &Proxy,
    has: impl AsyncFn(i64) -> i64,
    got_more: impl AsyncFn(i64) -> bool,
) {
    let mut added = 0;
    let all = async |added: i64| {
        for n in (1..=SKUS).rev() {
            if has(n).await != n + added {
                return false;
            }
        }
        true
    };
    let mut agent = site.agent();
    until("the first stock", &agent, || all(0)).await;
    for round in 1..=ROUNDS {
        // Until the server's last answer is told, something is on its way.
        until("nothing is on its way", &agent, async || {
            shop(site)["backlog"] == 0
        })
        .await;
        got_more(added).await;
        proxy.latency(ON_THE_WAY);
        added += round;
        site.run(&format!("UPDATE stock SET qty = qty + {round}"));
        until_looking(LOOK_SOON, "the server gets it", &agent, async || {
            got_more(added).await
        })
        .await;
        agent.kill();
        proxy.latency(Duration::ZERO);
        proxy.reset();
        let stands = shop(site);
        assert!(stands["sending"].as_u64().unwrap() > 0, "{stands}");
        agent = site.agent();
        until("the new stock", &agent, || all(added)).await;
    }
    until("all is told", &agent, async || shop(site)["backlog"] == 0).await;
    assert_eq!(shop(site)["held"], 0, "{}", shop(site));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vendure_is_right_after_each_kill() {
    let vendure = Vendure::start();
    let port = vendure.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = Proxy::start(port).await;
    let sku = |n: i64| format!("SKU-{n:03}");
    let destination = format!(
        "type = \"channel\"\ntimeout_seconds = 10\nchannel = \"vendure\"\nsettings = {{url = \"http://127.0.0.1:{}\", user = \"{1}\", \
         password = \"{1}\", locations = {{MAIN = \"{2}\"}}}}",
        proxy.port(),
        Vendure::ADMIN,
        vendure.location("EAST").await
    );
    let site = Site::with(BINARY, &destination, &stock(sku), STOCK);
    let has = async |n: i64| vendure.stock(&sku(n), "EAST").await;
    survive(&site, &proxy, has, async |added| has(1).await == 1 + added).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tryton_is_right_after_each_kill_and_no_count_is_left_open() {
    let tryton = Tryton::start();
    let port = tryton.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = Proxy::start(port).await;
    let sku = |n: i64| format!("P-{n:03}");
    let unit = tryton
        .search("product.uom", json!([["symbol", "=", "u"]]))
        .await;
    let destination = format!(
        "type = \"channel\"\ntimeout_seconds = 10\nchannel = \"tryton\"\nsettings = {{url = \"http://127.0.0.1:{}/{}\", user = \"{2}\", \
         password = \"{2}\", company = {3}, unit = {4}, locations = {{MAIN = \"{5}\"}}}}",
        proxy.port(),
        Tryton::DATABASE,
        Tryton::ADMIN,
        tryton.company().await,
        unit[0],
        tryton.storage().await
    );
    let site = Site::with(BINARY, &destination, &stock(sku), STOCK);
    let has = async |n: i64| tryton.stock(&sku(n)).await;
    let counts = async || tryton.search("stock.inventory", json!([])).await.len();
    let seen = std::cell::Cell::new(0);
    let got_more = async |_| {
        let now = counts().await;
        now > seen.replace(now)
    };
    survive(&site, &proxy, has, got_more).await;
    let open = json!([["state", "=", "draft"]]);
    assert_eq!(
        tryton.search("stock.inventory", open).await,
        Vec::<Value>::new()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_orders_one_is_refused_and_held_while_the_agent_is_killed() {
    const ORDERS_ALL: usize = 10_000;
    const POISON: usize = 6_283;
    let erp = Cap::start();
    let number = |n: usize| format!("N-{n:05}");
    let all: Vec<usize> = (1..=ORDERS_ALL).collect();
    for some in all.chunks(500) {
        let one = |n: &usize| {
            json!({"id": n.to_string(), "atomicityGroup": "g", "method": "POST", "url": "/Orders",
                "headers": {"content-type": "application/json"}, "body": {"number": number(*n), "status": "open"}})
        };
        let requests: Vec<Value> = some.iter().map(one).collect();
        let (status, body) = erp
            .ask(Method::POST, "$batch", Some(json!({"requests": requests})))
            .await;
        assert!(status.is_success(), "{status} {body}");
    }
    let mut sql =
        "CREATE TABLE orders (id TEXT PRIMARY KEY, lifecycle TEXT NOT NULL); BEGIN;".to_owned();
    for n in &all {
        let lifecycle = if *n == POISON { "cancelled" } else { "open" };
        write!(
            sql,
            "INSERT INTO orders VALUES ('{}', '{lifecycle}');",
            number(*n)
        )
        .unwrap();
    }
    sql.push_str("COMMIT");
    // What the agent is told to call a cancelled order is no word of this server.
    let destination = format!(
        "type = \"channel\"\ntimeout_seconds = 10\nchannel = \"odata-v4\"\nsettings = {{url = \"{}\", user = \"{}\", password = \"{}\", \
         locations = {{MAIN = \"EAST\"}}, statuses = {{open = \"released\", closed = \"invoiced\", cancelled = \"lost\"}}}}",
        erp.url(),
        Cap::USER,
        Cap::PASSWORD
    );
    let site = Site::with(BINARY, &destination, &sql, ORDERS);
    let released = async || {
        let (_, found) = erp
            .ask(
                Method::GET,
                "Orders/$count?$filter=status%20eq%20'released'",
                None,
            )
            .await;
        found.as_u64().unwrap()
    };
    let mut agent = site.agent();
    for far in [1_000, 5_000] {
        until("some of the orders", &agent, async || {
            released().await >= far
        })
        .await;
        agent.kill();
        agent = site.agent();
    }
    until("all orders but one", &agent, async || {
        shop(&site)["backlog"] == 0
    })
    .await;
    assert_eq!(released().await, ORDERS_ALL as u64 - 1);
    assert_eq!(erp.order(&number(POISON)).await["status"], "open");
    let status = site.status().1;
    assert_eq!(status["held_count"], 1, "{status}");
    let wrong = Some(json!({"status": "lost"}));
    let path = format!("Orders('{}')", number(POISON));
    let (_, body) = erp.ask(Method::PATCH, &path, wrong).await;
    let words = body["error"]["message"].as_str().unwrap();
    let held = &status["held"][0];
    assert_eq!(held["key"], format!("ACME|{}", number(POISON)));
    assert!(
        held["reason"].as_str().unwrap().contains(words),
        "{words}: {held}"
    );
}
