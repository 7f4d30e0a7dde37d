//! What a channel holds, compared with what it was told: what somebody changed, lost or brought back there is
//! found and told again, what is only on its way is not, and the ERP's file stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    missing_docs,
    reason = "tests; what they compare are counts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as At, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use harness::agent::Agent;
use harness::channels::{Cap, Method};
use harness::local::value;
use harness::receiver::free_port;
use harness::site::Site;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(2);
const STOCK: &str = "inventory.availability.v1";

const MAPPING: &str = r#"mapping: 1
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

/// It keeps one piece back of what there is.
const CHANNEL: &str = r#"channel: my-shop
title: My shop
proven: documentation
resend: safe
settings:
  url: {type: url, ask: "where is it?"}
url: setting.url
auth: none
events:
  inventory.availability.v1:
    steps:
      - send:
          put: "/stock/{sku}"
          body: {quantity: "greatest(sellable - 1, 0)"}
          done: {status: [200, 204]}
    delete:
      steps:
        - send:
            delete: "/stock/{sku}"
            done: {status: [200, 204]}
    read:
      steps:
        - find:
            name: stock
            by: sku
            get: "/stock/{sku}"
            take: {quantity: quantity}
            missing: missing
      compare: {quantity: {holds: found.quantity, would: "greatest(sellable - 1, 0)"}}
    list:
      get: /stock
      query: {after: after, limit: 2}
      entries: items
      take: {sku: sku, quantity: quantity}
      next: {last: sku}
      where: found.quantity > 0
      key: found.sku
      is: sku
      holds: {quantity: found.quantity}
"#;

/// What the shop has, and what was asked of it.
#[derive(Default)]
pub(crate) struct Has {
    pub(crate) stock: BTreeMap<String, i64>,
    read: Vec<String>,
    /// Pages of its list that were asked for, and so many that are refused for a moment.
    listed: usize,
    busy: usize,
    broken: bool,
    /// Its writes wait.
    waits: BTreeSet<String>,
    waiting: BTreeSet<String>,
}

/// A shop that can be read.
pub(crate) struct Shop {
    url: String,
    /// Where its channel's file is.
    folder: tempfile::TempDir,
    has: Arc<Mutex<Has>>,
}

impl Shop {
    pub(crate) async fn start() -> Self {
        let has: Arc<Mutex<Has>> = Arc::default();
        let app = Router::new()
            .route("/stock", get(list))
            .route("/stock/{sku}", get(read).put(write).delete(remove))
            .with_state(Arc::clone(&has));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("my-shop.yaml"), CHANNEL).unwrap();
        Self { url, folder, has }
    }

    pub(crate) fn has(&self) -> MutexGuard<'_, Has> {
        self.has.lock().unwrap()
    }

    pub(crate) fn of(&self, sku: &str) -> Option<i64> {
        self.has().stock.get(sku).copied()
    }

    /// A site that sells there, with these rows.
    pub(crate) fn site(&self, rows: &[(String, i64)], more: &str) -> Site {
        let mut sql = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);".to_owned();
        for (sku, quantity) in rows {
            write!(sql, "INSERT INTO stock VALUES ('{sku}', {quantity});").unwrap();
        }
        let destination = format!(
            "type = \"channel\"\nfile = \"{}/my-shop.yaml\"\ntimeout_seconds = 30\n\
             settings.url = \"{}\"\n{more}",
            self.folder.path().display(),
            self.url
        );
        Site::with(BINARY, &destination, &sql, MAPPING)
    }
}

type Shared = State<Arc<Mutex<Has>>>;

/// Two items behind the last one, in order.
async fn list(State(has): Shared, RawQuery(asked): RawQuery) -> impl IntoResponse {
    let mut has = has.lock().unwrap();
    has.listed += 1;
    let json = [(header::CONTENT_TYPE, "application/json")];
    if has.broken {
        return (StatusCode::BAD_REQUEST, json, "{}".to_owned());
    }
    if has.busy > 0 {
        has.busy -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, json, "{}".to_owned());
    }
    let asked = asked.unwrap_or_default();
    let after = asked
        .split('&')
        .find_map(|one| one.strip_prefix("after="))
        .unwrap_or_default();
    let behind = has.stock.iter().filter(|(sku, _)| sku.as_str() > after);
    let items: Vec<Value> = behind
        .take(2)
        .map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity }))
        .collect();
    (StatusCode::OK, json, json!({ "items": items }).to_string())
}

async fn read(State(has): Shared, At(sku): At<String>) -> impl IntoResponse {
    let mut has = has.lock().unwrap();
    has.read.push(sku.clone());
    let json = [(header::CONTENT_TYPE, "application/json")];
    match has.stock.get(&sku) {
        None => (StatusCode::NOT_FOUND, json, "{}".to_owned()),
        Some(quantity) => (
            StatusCode::OK,
            json,
            json!({ "quantity": quantity }).to_string(),
        ),
    }
}

async fn write(State(has): Shared, At(sku): At<String>, body: String) -> StatusCode {
    let body: Value = serde_json::from_str(&body).unwrap();
    loop {
        {
            let mut has = has.lock().unwrap();
            if !has.waits.contains(&sku) {
                has.waiting.remove(&sku);
                let quantity = body["quantity"].to_string().replace('"', "");
                has.stock.insert(sku, quantity.parse().unwrap());
                return StatusCode::NO_CONTENT;
            }
            has.waiting.insert(sku.clone());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn remove(State(has): Shared, At(sku): At<String>) -> StatusCode {
    has.lock().unwrap().stock.remove(&sku);
    StatusCode::NO_CONTENT
}

pub(crate) fn rows(count: i64) -> Vec<(String, i64)> {
    (1..=count).map(|n| (format!("S-{n:02}"), n * 10)).collect()
}

async fn until(what: &str, agent: &Agent, mut there: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !there() {
        let log = || agent.log();
        assert!(tokio::time::Instant::now() < deadline, "{what}\n{}", log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn delivered(site: &Site) -> bool {
    site.status().1["destinations"][0]["backlog"] == 0
}

/// What a comparison said to a program, and its exit code.
fn compared(site: &Site, more: &[&str]) -> (Option<i32>, Value) {
    let mut words = vec!["reconcile", "--destination", "shop", "--json"];
    words.extend(more);
    let (code, said) = site.command(&words);
    let mut said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    (code, said["reconcile"].take())
}

/// A database's files, byte for byte.
fn files(folder: &Path) -> Vec<Option<Vec<u8>>> {
    ["erp.db", "erp.db-wal"]
        .map(|name| std::fs::read(folder.join(name)).ok())
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_behind_our_back_is_found_and_told_again_and_the_erp_is_left_alone() {
    let shop = Shop::start().await;
    let site = shop.site(&rows(6), "");
    let port = free_port();
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let local = format!("{settings}\n[local]\nlisten = \"127.0.0.1:{port}\"\n");
    std::fs::write(&file, local).unwrap();
    let mut agent = site.agent();
    until("the first stock", &agent, || shop.has().stock.len() == 6).await;
    site.run("DELETE FROM stock WHERE sku = 'S-06'");
    until("one is gone", &agent, || {
        shop.of("S-06").is_none() && delivered(&site)
    })
    .await;
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(code, Some(0), "{said}\n{}", agent.log());
    assert_eq!(
        (&said["types"][0]["looked_at"], &said["types"][0]["agree"]),
        (&json!(6), &json!(6))
    );

    // Somebody changes one, one is lost, and one comes back.
    {
        let mut has = shop.has();
        has.stock.insert("S-02".to_owned(), 99);
        has.stock.remove("S-03");
        has.stock.insert("S-06".to_owned(), 3);
    }
    let csv = site.path().join("found.csv");
    let (code, said) = compared(&site, &["--csv", csv.to_str().unwrap()]);
    let count = &said["types"][0];
    assert_eq!(code, Some(1), "{said}");
    for (class, wanted) in [
        ("looked_at", 6),
        ("agree", 3),
        ("missing", 1),
        ("extra", 1),
        ("different", 1),
        ("lagging", 0),
        ("unknown", 0),
    ] {
        assert_eq!(count[class], wanted, "{class}: {said}");
    }
    let table = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "key,type,class,ours,theirs,since");
    assert!(lines[1].starts_with("\"ACME|S-02|MAIN\",\"inventory.availability.v1\",\"different\",\"quantity 19\",\"quantity 99\",\"20"), "{table}");
    assert!(
        lines[2].starts_with(
            "\"ACME|S-03|MAIN\",\"inventory.availability.v1\",\"missing\",\"sellable 30\""
        ),
        "{table}"
    );
    assert!(lines[3].starts_with("\"ACME|S-06|MAIN\",\"inventory.availability.v1\",\"extra\",\"told to be gone\",\"quantity 3\""), "{table}");
    let (code, shown) = site.command(&["reconcile", "--destination", "shop", "--last"]);
    assert!(
        code == Some(1) && shown.contains("shop: 3 of 6 sampled keys agree."),
        "{shown}"
    );
    assert!(
        shown.contains("1 missing there, 1 there though told to be gone, 1 different"),
        "{shown}"
    );
    assert!(shown.contains("is asked with --full only"), "{shown}");
    let (_, metrics) = harness::local::get(port, "/metrics").await;
    let ratio = format!(
        "lighterman_reconcile_mismatch_ratio{{destination=\"shop\",event_type=\"{STOCK}\"}}"
    );
    assert_eq!(value(&metrics, &ratio), Some(0.5), "{metrics}");
    let age = value(
        &metrics,
        "lighterman_reconcile_last_seconds{destination=\"shop\"}",
    );
    assert!(age.is_some_and(|age| age < 120.0), "{metrics}");
    assert!(agent.log().contains("reconcile.differs"), "{}", agent.log());

    // It is counted first, and done only when that is asked for.
    let (_, shown) = site.command(&["reconcile", "--destination", "shop", "--last", "--repair"]);
    assert!(
        shown.contains("3 keys would be told again. Nothing was done"),
        "{shown}"
    );
    assert_eq!(shop.of("S-02"), Some(99));
    until("nothing is on its way", &agent, || delivered(&site)).await;
    let before = files(site.path());
    let (code, said) = compared(&site, &["--last", "--repair", "--yes"]);
    assert_eq!((code, &said["repaired"]), (Some(1), &json!(3)), "{said}");
    until("it is mended", &agent, || {
        (shop.of("S-02"), shop.of("S-03"), shop.of("S-06")) == (Some(19), Some(29), None)
    })
    .await;
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(6)),
        "{said}"
    );
    assert!(before == files(site.path()), "the ERP's file was written");
    assert!(agent.terminate(SOON).await.is_some());
    assert!(!agent.log().contains("reconcile.failed"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_is_no_difference() {
    let shop = Shop::start().await;
    let site = shop.site(&rows(5), "");
    let agent = site.agent();
    until("the first stock", &agent, || {
        shop.has().stock.len() == 5 && delivered(&site)
    })
    .await;
    shop.has().waits.insert("S-01".to_owned());
    site.run("UPDATE stock SET qty = 7 WHERE sku = 'S-01'");
    until("it is on its way", &agent, || {
        shop.has().waiting.contains("S-01")
    })
    .await;

    // Nobody waits for it.
    let (code, said) = compared(&site, &["--full", "--wait", "0"]);
    let count = &said["types"][0];
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&count["agree"], &count["lagging"]),
        (&json!(4), &json!(1)),
        "{said}"
    );
    assert_eq!(said["differences"][0]["class"], "expected_lag", "{said}");
    assert!(
        !shop.has().read.contains(&"S-01".to_owned()),
        "it was asked about"
    );

    // It is waited for, and arrives.
    shop.has().read.clear();
    let folder = site.path().to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let words = ["reconcile", "--destination", "shop", "--full", "--json"];
        harness::agent::command(BINARY, &folder, &words)
    });
    until("all others were asked about", &agent, || {
        shop.has().read.len() >= 4
    })
    .await;
    shop.has().waits.clear();
    let (code, said) = running.await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &said["reconcile"]["types"][0]["agree"]),
        (Some(0), &json!(5)),
        "{said}"
    );
    assert_eq!(shop.of("S-01"), Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_told_is_found_in_the_shops_list_and_left_alone() {
    let shop = Shop::start().await;
    shop.has().stock.insert("OLD-1".to_owned(), 5);
    shop.has().stock.insert("OLD-2".to_owned(), 0);
    let site = shop.site(&rows(5), "");
    let agent = site.agent();
    until("the first stock", &agent, || {
        shop.has().stock.len() == 7 && delivered(&site)
    })
    .await;
    // A page that does not come at once is asked for again.
    shop.has().busy = 1;
    let (code, said) = compared(&site, &["--full", "--wait", "20"]);
    let count = &said["types"][0];
    assert_eq!(code, Some(1), "{said}\n{}", agent.log());
    assert_eq!(
        (&count["agree"], &count["extra"], &count["untold"]),
        (&json!(5), &json!(1), &json!(1)),
        "{said}"
    );
    let found = &said["differences"][0];
    assert_eq!(
        (&found["key"], &found["class"], &found["theirs"]),
        (&json!("OLD-1"), &json!("extra"), &json!("quantity 5")),
        "{said}"
    );
    assert_eq!(said["not_asked"], json!([]), "{said}");
    assert_eq!(shop.has().listed, 6);
    let (code, shown) = site.command(&["reconcile", "--destination", "shop", "--last"]);
    assert!(
        code == Some(1)
            && shown.contains("1 there and never told")
            && shown.contains("only reported"),
        "{shown}"
    );
    assert!(!shown.contains("--repair says"), "{shown}");
    // One that is told to be gone and came back is told again; the other is left alone.
    site.run("DELETE FROM stock WHERE sku = 'S-05'");
    until("it is gone", &agent, || {
        shop.of("S-05").is_none() && delivered(&site)
    })
    .await;
    shop.has().stock.insert("S-05".to_owned(), 9);
    let (_, said) = compared(&site, &["--full"]);
    let count = &said["types"][0];
    assert_eq!(
        (&count["extra"], &count["untold"]),
        (&json!(2), &json!(1)),
        "{said}"
    );
    let (_, said) = compared(&site, &["--last", "--repair", "--yes"]);
    assert_eq!(said["repaired"], 1, "{said}");
    until("it is mended", &agent, || shop.of("S-05").is_none()).await;
    assert_eq!(shop.of("OLD-1"), Some(5));
    // Whoever does not want it is not asked.
    shop.has().listed = 0;
    let (code, said) = compared(&site, &["--full", "--no-list"]);
    assert_eq!(
        (code, shop.has().listed),
        (Some(0), 0),
        "{said}\n{}",
        agent.log()
    );
    assert!(
        said["not_asked"][0].as_str().unwrap().contains("left out"),
        "{said}"
    );
    // A list that breaks off is told as such, with what was found before.
    shop.has().broken = true;
    let (_, said) = compared(&site, &["--full"]);
    let why = said["not_asked"][0].as_str().unwrap();
    assert!(
        why.contains("not all that it has could be listed: page 1: HTTP 400"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_agent_a_seed_chooses_the_same_keys_again() {
    let shop = Shop::start().await;
    let site = shop.site(&rows(40), "");
    let mut agent = site.agent();
    until("the first stock", &agent, || {
        shop.has().stock.len() == 40 && delivered(&site)
    })
    .await;
    assert!(agent.terminate(SOON).await.is_some());
    let before = files(site.path());
    let asked = |seed: &str| {
        shop.has().read.clear();
        let (code, said) = compared(&site, &["--sample", "8", "--seed", seed]);
        assert_eq!(
            (code, &said["types"][0]["agree"]),
            (Some(0), &json!(8)),
            "{said}"
        );
        let mut read = std::mem::take(&mut shop.has().read);
        read.sort();
        read
    };
    let first = asked("7");
    assert_eq!(first.len(), 8);
    assert_eq!(asked("7"), first);
    assert_ne!(asked("8"), first);
    assert!(before == files(site.path()), "the ERP's file was written");

    // What is wrong is said with what to do.
    for (words, code, wanted) in [
        (vec!["--destination", "shup"], 2, "did you mean shop?"),
        (
            vec![
                "--destination",
                "shop",
                "--type",
                "inventory.availabilty.v1",
            ],
            2,
            "did you mean inventory.availability.v1?",
        ),
        (
            vec!["--destination", "shop", "--full", "--sample", "3"],
            2,
            "",
        ),
        (vec!["--destination", "shop", "--yes"], 2, ""),
    ] {
        let mut all = vec!["reconcile"];
        all.extend(words);
        let (ended, shown) = site.command(&all);
        assert!(
            ended == Some(code) && shown.contains(wanted),
            "{all:?}: {ended:?} {shown}"
        );
    }
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{settings}\nper_day = 500\n")).unwrap();
    let (code, shown) = site.command(&["reconcile", "--destination", "shop"]);
    assert!(
        code == Some(1) && shown.contains("only the running agent counts it"),
        "{shown}"
    );
    let paused = format!("{settings}\npauses = [\"00:00-00:00\"]\nzone = \"UTC\"\n");
    std::fs::write(&file, paused).unwrap();
    let (code, shown) = site.command(&["reconcile", "--destination", "shop"]);
    assert!(
        code == Some(1) && shown.contains("within a pause"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_have_it_compared_and_what_cannot_be_read_is_said() {
    let shop = Shop::start().await;
    let site = shop.site(&rows(5), "reconcile = { every = \"24h\", sample = 100 }");
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let without = settings.replace("reconcile = ", "# reconcile = ");
    std::fs::write(&file, without).unwrap();
    let mut agent = site.agent();
    until("the first stock", &agent, || {
        shop.has().stock.len() == 5 && delivered(&site)
    })
    .await;
    shop.has().stock.insert("S-04".to_owned(), 1);
    assert!(agent.terminate(SOON).await.is_some());
    std::fs::write(&file, &settings).unwrap();
    let agent = site.agent();
    assert!(
        agent.logged("reconcile.differs", SOON).await,
        "{}",
        agent.log()
    );
    let (code, said) = compared(&site, &["--last"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        (&said["scheduled"], &said["types"][0]["different"]),
        (&json!(true), &json!(1)),
        "{said}"
    );
    assert_eq!(said["differences"][0]["key"], "ACME|S-04|MAIN", "{said}");

    // A channel that is not read back cannot be judged, and that is no agreement.
    let (code, said) = {
        let channel = CHANNEL.split("    read:").next().unwrap();
        std::fs::write(shop.folder.path().join("my-shop.yaml"), channel).unwrap();
        drop(agent);
        compared(&site, &["--full"])
    };
    assert_eq!(
        (code, &said["types"][0]["unknown"]),
        (Some(1), &json!(5)),
        "{said}"
    );
    let why = said["differences"][0]["theirs"].as_str().unwrap();
    assert!(why.contains("cannot read"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odata_service_is_compared_and_mended() {
    let erp = Cap::start();
    let rows: Vec<(String, i64)> = (1..=12).map(|n| (format!("P-{n:03}"), n)).collect();
    let mut sql = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);".to_owned();
    for (sku, quantity) in &rows {
        write!(sql, "INSERT INTO stock VALUES ('{sku}', {quantity});").unwrap();
    }
    let destination = format!(
        "type = \"channel\"\nchannel = \"odata-v4\"\ntimeout_seconds = 30\n\
         settings = {{url = \"{}\", user = \"{}\", password = \"{}\", locations = {{MAIN = \"EAST\"}}}}",
        erp.url(),
        Cap::USER,
        Cap::PASSWORD
    );
    let site = Site::with(BINARY, &destination, &sql, MAPPING);
    let agent = site.agent();
    let first = async || erp.stock("P-012", "EAST").await["quantity"] == 12;
    let deadline = tokio::time::Instant::now() + SOON;
    while !(first().await && delivered(&site)) {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(12)),
        "{said}"
    );

    // More than the service gives in one page, of which two are of the agent's location.
    for batch in 0..12 {
        let made = |n: u32| {
            let place = if batch == 11 && n < 2 { "EAST" } else { "WEST" };
            json!({ "id": n.to_string(), "method": "PUT",
                "url": format!("/Stock(product='Q-{batch:02}-{n:03}',location='{place}')"),
                "headers": { "content-type": "application/json", "if-none-match": "*" },
                "body": { "quantity": 3 } })
        };
        let requests: Vec<Value> = (0..100).map(made).collect();
        let all = json!({ "requests": requests });
        let (status, body) = erp.ask(Method::POST, "$batch", Some(all)).await;
        assert!(status.is_success(), "{body}");
    }
    let (code, said) = compared(&site, &["--full"]);
    let count = &said["types"][0];
    assert_eq!(
        (code, &count["agree"], &count["untold"]),
        (Some(1), &json!(12), &json!(2)),
        "{said}"
    );
    assert_eq!(
        (&said["differences"][0]["key"], &said["not_asked"]),
        (&json!("Q-11-000 at EAST"), &json!([])),
        "{said}"
    );
    let headers = json!({ "content-type": "application/json", "if-match": "*" });
    let change = |n: &str, method: &str, sku: &str| {
        json!({ "id": n, "method": method, "url": format!("/Stock(product='{sku}',location='EAST')"),
            "headers": headers, "body": { "quantity": 77 } })
    };
    let both =
        json!({ "requests": [change("1", "PATCH", "P-005"), change("2", "PATCH", "P-009")] });
    let (status, body) = erp.ask(Method::POST, "$batch", Some(both)).await;
    assert!(status.is_success(), "{body}");
    assert_eq!(erp.stock("P-009", "EAST").await["quantity"], 77, "{body}");
    let (code, said) = compared(&site, &["--repair", "--yes", "--full", "--no-list"]);
    let count = &said["types"][0];
    assert_eq!(
        (code, &count["different"], &said["repaired"]),
        (Some(1), &json!(2), &json!(2)),
        "{said}"
    );
    assert_eq!(said["differences"][1]["theirs"], "quantity 77", "{said}");
    let deadline = tokio::time::Instant::now() + SOON;
    while erp.stock("P-009", "EAST").await["quantity"] != 9 {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (code, said) = compared(&site, &["--full", "--no-list"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(12)),
        "{said}"
    );
}
