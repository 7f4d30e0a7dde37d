//! What was told, compared with what a source's rows say: changes that never reached the log are found by key, and of
//! tables that are joined and added up by their sums.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(2);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty INTEGER NOT NULL);
    CREATE TABLE need (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER);
    INSERT INTO stock VALUES ('S-1', 10), ('S-2', 20), ('S-3', 30), ('S-4', 40), ('S-5', 50);
    INSERT INTO need VALUES (1, 'S-1', 3), (2, 'S-1', 4), (3, 'S-2', 1);";

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

const ADDED: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
  need: {name: need, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    add: {demand: {from: need, match: "need.sku = stock.sku", sum: need.qty}}
    key: {sku: "stock.sku", location: "'MAIN'"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      soft_demand: demand.sum
      active: true
"#;

/// A change whose log row never was.
fn unlogged(site: &Site, sql: &str) {
    site.run(&format!(
        "BEGIN; {sql}; DELETE FROM lighterman_log WHERE seq = (SELECT max(seq) FROM lighterman_log); COMMIT"
    ));
}

async fn holds(receiver: &Receiver, agent: &Agent, sku: &str, quantity: &str) {
    let key = format!("ACME|{sku}|MAIN");
    let there = receiver.wait(SOON, |held| {
        held.body(STOCK, &key)
            .is_some_and(|body| body["on_hand"] == quantity)
    });
    assert!(there.await, "{sku} {quantity}\n{}", agent.log());
}

fn compared(site: &Site, more: &[&str]) -> (Option<i32>, Value) {
    let mut words = vec!["reconcile", "--source", "erp", "--json"];
    words.extend(more);
    let (code, said) = site.command(&words);
    let mut said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    (code, said["reconcile"].take())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_change_never_reached_the_log_are_found_and_told_by_a_reading() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    holds(&receiver, &agent, "S-5", "50").await;
    // A change that is logged, so that the log is as long as it says.
    site.run("UPDATE stock SET qty = 11 WHERE sku = 'S-1'");
    holds(&receiver, &agent, "S-1", "11").await;
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(5)),
        "{said}\n{}",
        agent.log()
    );

    unlogged(&site, "UPDATE stock SET qty = 21 WHERE sku = 'S-2'");
    unlogged(&site, "DELETE FROM stock WHERE sku = 'S-3'");
    unlogged(&site, "INSERT INTO stock VALUES ('S-6', 60)");
    site.run("UPDATE stock SET qty = 12 WHERE sku = 'S-1'");
    holds(&receiver, &agent, "S-1", "12").await;
    let csv = site.path().join("found.csv");
    let (code, said) = compared(&site, &["--full", "--csv", csv.to_str().unwrap()]);
    let count = &said["types"][0];
    assert_eq!(code, Some(1), "{said}\n{}", agent.log());
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
    let wanted = format!("\"ACME|S-2|MAIN\",\"{STOCK}\",\"different\",\"");
    let line = table
        .lines()
        .find(|line| line.starts_with(&wanted))
        .unwrap();
    assert!(
        line.contains("on_hand 20") && line.contains("on_hand 21"),
        "{table}"
    );
    let (code, said) = site.command(&["reconcile", "--source", "erp", "--full"]);
    assert!(
        code == Some(1)
            && said.contains("1 were never told, 1 told though no row says them, 1 told otherwise"),
        "{said}"
    );
    assert!(
        said.contains("lighterman source resync --source erp"),
        "{said}"
    );

    let (code, said) = site.command(&["source", "resync", "--source", "erp", "--table", "stock"]);
    assert_eq!(code, Some(0), "{said}");
    holds(&receiver, &agent, "S-2", "21").await;
    holds(&receiver, &agent, "S-6", "60").await;
    let gone = receiver.wait(SOON, |held| held.body(STOCK, "ACME|S-3|MAIN").is_none());
    assert!(gone.await, "{}", agent.log());
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(5)),
        "{said}"
    );

    // What is asked in vain is said with what to do.
    let (code, said) = site.command(&["reconcile", "--source", "epr"]);
    assert!(
        code == Some(2) && said.contains("did you mean erp?"),
        "{said}"
    );
    let (code, said) = site.command(&["reconcile"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(agent.terminate(SOON).await.is_some());
    let (code, said) = site.command(&["reconcile", "--source", "erp"]);
    assert!(code == Some(1) && said.contains("no agent runs"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_added_up_are_compared_by_the_sums_of_the_database() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, ADDED);
    let agent = site.agent();
    holds(&receiver, &agent, "S-5", "50").await;
    site.run("UPDATE need SET qty = 5 WHERE id = 2; UPDATE stock SET qty = 51 WHERE sku = 'S-5'");
    holds(&receiver, &agent, "S-5", "51").await;
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(code, Some(0), "{said}\n{}", agent.log());
    let sum = |said: &Value, what: &str| {
        let all = said["sums"].as_array().unwrap().clone();
        let found = all
            .into_iter()
            .find(|one| one["table"].as_str().unwrap().ends_with("need") && one["what"] == what);
        found.unwrap_or_else(|| panic!("{what}: {said}"))
    };
    assert_eq!(sum(&said, "rows")["ours"], "3", "{said}");
    let quantity = sum(&said, "qty");
    assert_eq!(
        (&quantity["ours"], &quantity["theirs"]),
        (&json!("9"), &json!("9")),
        "{said}"
    );
    assert!(
        said["notes"]
            .to_string()
            .contains("needs rows of several tables"),
        "{said}"
    );

    unlogged(&site, "UPDATE need SET qty = 100 WHERE id = 3");
    site.run("UPDATE stock SET qty = 52 WHERE sku = 'S-5'");
    holds(&receiver, &agent, "S-5", "52").await;
    let (code, said) = compared(&site, &["--full"]);
    assert_eq!(code, Some(1), "{said}\n{}", agent.log());
    let quantity = sum(&said, "qty");
    assert_eq!(
        (&quantity["ours"], &quantity["theirs"]),
        (&json!("9"), &json!("108")),
        "{said}"
    );
    assert_eq!(quantity["class"], "different", "{said}");
    assert_eq!(sum(&said, "rows")["class"], Value::Null, "{said}");
    let (_, said) = site.command(&["reconcile", "--source", "erp"]);
    assert!(
        said.contains("qty is 9 as it is kept and 108 as the database says"),
        "{said}"
    );
}
