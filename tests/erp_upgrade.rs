//! The ERP behind a source is upgraded: what is kept before, and what is said and done after.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL, note TEXT);
    INSERT INTO stock VALUES ('A', 5, ''), ('B', 7, '');
    CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT);
    INSERT INTO item VALUES ('A', 'Anvil');";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
  item: {name: item, key: [sku]}
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
  - id: item
    emit: product.v1
    from: item
    key: {sku: "item.sku"}
    fields:
      name: "item.name"
      stock_uom: "'EA'"
      kind: "'stocked'"
      status: "'active'"
"#;

async fn holds(receiver: &Receiver, sku: &str, quantity: &str) -> bool {
    let quantity = Value::from(quantity);
    let key = format!("ACME|{sku}|MAIN");
    let there = receiver.wait(SOON, |held| {
        let body = held.body(STOCK, &key);
        body.is_some_and(|body| body["on_hand"] == quantity)
    });
    there.await
}

fn json(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_upgrade_it_says_what_is_another_and_reads_only_that_again() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let (code, said) = site.command(&["source", "after-upgrade"]);
    assert!(
        code == Some(1) && said.contains("nothing was kept"),
        "{said}"
    );
    let mut agent = site.agent();
    assert!(holds(&receiver, "B", "7").await, "{}", agent.log());

    let (code, said) = site.command(&["source", "prepare-upgrade"]);
    assert_eq!(code, Some(0), "{said}");
    for wanted in [
        "everything that was captured is delivered",
        "what 2 tables look like is kept",
        "take our objects out",
        "lighterman source after-upgrade erp",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let (code, said) = site.command(&["source", "after-upgrade"]);
    assert!(code == Some(0) && said.contains("as they were"), "{said}");
    agent.terminate(SOON).await.unwrap();

    // What no event reads has no table read again; only our triggers are to be of the table as it is.
    site.run("ALTER TABLE stock ADD COLUMN bin TEXT");
    let (code, said) = site.command(&["source", "after-upgrade"]);
    assert!(
        code == Some(1) && said.contains("bin is new") && said.contains("no event reads that"),
        "{said}"
    );
    assert!(
        said.contains("lighterman source prepare --apply") && !said.contains("source resync"),
        "{said}"
    );
    // The upgrade makes a table anew, with another type, other rows and without what captures it.
    site.run(
        "CREATE TABLE next (sku TEXT PRIMARY KEY, qty INTEGER NOT NULL, bin TEXT);
         INSERT INTO next SELECT sku, qty + 1, bin FROM stock;
         DROP TABLE stock; ALTER TABLE next RENAME TO stock",
    );
    let (code, said) = site.command(&["source", "after-upgrade", "--json"]);
    let found = json(&said);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        found["read_again"],
        serde_json::json!(["main.stock"]),
        "{said}"
    );
    assert!(
        said.contains("qty was NUMERIC and is INTEGER; the events stock read it"),
        "{said}"
    );
    assert!(!found["prepare"].as_array().unwrap().is_empty(), "{said}");

    let (code, said) = site.command(&["source", "after-upgrade", "--apply"]);
    assert!(
        code == Some(0) && said.contains("main.stock is read again and compared"),
        "{said}"
    );
    let agent = site.agent();
    for (sku, quantity) in [("A", "6"), ("B", "8")] {
        assert!(holds(&receiver, sku, quantity).await, "{}", agent.log());
    }
    let (_, status) = site.status();
    let tables = status["sources"][0]["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 2, "{status}");
    let (code, said) = site.command(&["source", "after-upgrade"]);
    assert!(code == Some(0) && said.contains("as they were"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_gone_is_named_with_the_events_that_read_it() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    assert!(holds(&receiver, "B", "7").await, "{}", agent.log());
    let (code, said) = site.command(&["source", "prepare-upgrade", "erp", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let kept = json(&said);
    assert_eq!(kept["kept"]["tables"]["main.stock"]["key"][0], "sku");
    assert!(!kept["undo"].as_array().unwrap().is_empty());
    agent.terminate(SOON).await.unwrap();
    site.run("DROP TABLE stock");
    let (code, said) = site.command(&["source", "after-upgrade"]);
    assert!(
        code == Some(1) && said.contains("is gone; the events stock read it"),
        "{said}"
    );
    // Nothing is done while something fails.
    let (code, said) = site.command(&["source", "after-upgrade", "--apply", "--json"]);
    assert!(code == Some(1) && json(&said)["applied"] == false, "{said}");
    let left = json(&said)["prepare"].as_array().unwrap().len();
    let (_, said) = site.command(&["source", "after-upgrade", "--json"]);
    let still = json(&said)["prepare"].as_array().unwrap().len();
    assert_eq!(left, still, "the database was touched: {said}");
}
