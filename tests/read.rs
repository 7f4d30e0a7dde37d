//! Events of `read`, by a running agent: what the database works out follows whatever touches it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::related::{SOON, ends, site_of, stock};
use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};

/// The same stock, worked out by the database.
const READ: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item, site]}
  item:  {name: item, key: [code]}
  need:  {name: need, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    read:
      sql: |
        select i.sku, s.site, s.qty, abs(i.safety) as safety, i.unit,
               (select coalesce(sum(n.qty), 0) from need n where n.item = :item) as demand
          from stock s join item i on i.code = s.item
         where s.item = :item
      columns: [sku, site, qty, unit, safety, demand]
      touch:
        - {table: stock, give: {item: stock.item}}
        - {table: need, give: {item: need.item}}
        - {table: item, give: {item: item.code}}
    key: {sku: sku, location: site}
    fields: {uom: unit, on_hand: qty, allocated: 0, soft_demand: demand, safety_stock: safety, active: true}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_works_out_follows_whatever_touches_it() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), READ);
    let mut agent = site.agent();
    let log = |agent: &Agent| agent.log();
    assert!(
        stock(&receiver, "A|MAIN", "10", "EA", "7").await,
        "{}",
        log(&agent)
    );
    assert!(
        stock(&receiver, "A|WEST", "1", "EA", "7").await,
        "{}",
        log(&agent)
    );
    // Its item is not there: the statement gives no row, and then it does.
    site.run("INSERT INTO item VALUES ('b', 'B', 'KG', 0)");
    assert!(
        stock(&receiver, "B|MAIN", "5", "KG", "0").await,
        "{}",
        log(&agent)
    );
    site.run("UPDATE need SET qty = 1 WHERE id = 1");
    assert!(
        stock(&receiver, "A|WEST", "1", "EA", "5").await,
        "{}",
        log(&agent)
    );

    agent.kill();
    site.run(
        "UPDATE item SET unit = 'PC' WHERE code = 'a'; DELETE FROM need WHERE id = 2;
         UPDATE need SET item = 'b' WHERE id = 1; DELETE FROM stock WHERE item = 'a' AND site = 'MAIN'",
    );
    let mut agent = site.agent();
    assert!(
        stock(&receiver, "A|WEST", "1", "PC", "0").await,
        "{}",
        log(&agent)
    );
    assert!(
        stock(&receiver, "B|MAIN", "5", "KG", "1").await,
        "{}",
        log(&agent)
    );
    assert!(ends(&receiver, "ACME|A|MAIN").await, "{}", log(&agent));

    // What the database cannot work out for one key holds that key alone, until it can.
    let held = || {
        let (_, shown) = site.command(&["status", "--json"]);
        shown.contains("read by key: the statement fails")
    };
    site.run(
        "UPDATE item SET safety = -9223372036854775807 - 1 WHERE code = 'a';
         UPDATE stock SET qty = 2 WHERE item = 'a'; UPDATE stock SET qty = 6 WHERE item = 'b'",
    );
    assert!(
        stock(&receiver, "B|MAIN", "6", "KG", "1").await,
        "{}",
        log(&agent)
    );
    assert!(held(), "{}", log(&agent));
    site.run("UPDATE item SET safety = 0 WHERE code = 'a'");
    assert!(
        stock(&receiver, "A|WEST", "2", "PC", "0").await,
        "{}",
        log(&agent)
    );
    assert!(!held());

    // Another question over the same tables, while nothing changes in them: what it does not give
    // any more ends.
    site.map(&READ.replace(
        "where s.item = :item\n",
        "where s.item = :item and s.qty > 2\n",
    ));
    assert!(ends(&receiver, "ACME|A|WEST").await, "{}", log(&agent));
    site.run("UPDATE stock SET qty = 3 WHERE item = 'a'");
    let wests = stock(&receiver, "A|WEST", "3", "PC", "0").await;
    assert!(wests, "{}", agent.log());
    // Rows that ask no more, without a change in what the statement gives.
    let fewer = READ.replace(
        "- {table: stock, give",
        "- {table: stock, where: \"stock.item <> 'a'\", give",
    );
    let fewer = fewer.replace(
        "- {table: item, give",
        "- {table: item, where: \"item.code <> 'a'\", give",
    );
    site.map(&fewer);
    assert!(ends(&receiver, "ACME|A|WEST").await, "{}", agent.log());
    site.map(READ);
    assert!(
        stock(&receiver, "A|WEST", "3", "PC", "0").await,
        "{}",
        log(&agent)
    );
    assert!(agent.ended().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_the_database_refuses_is_said_and_loses_nothing() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let view = READ.replace("from stock s", "from shown s");
    let site = site_of(receiver.url(), &view);
    let (code, shown) = site.command(&["check"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("rule stock, read: read by key: no such table: shown"),
        "{shown}"
    );
    let agent = site.agent();
    let problem = || {
        let (_, shown) = site.command(&["status", "--json"]);
        shown.contains("no such table: shown")
    };
    assert!(
        agent.logged("no such table: shown", SOON).await,
        "{}",
        agent.log()
    );
    assert!(problem());
    // A change of another rule's kind still goes its way, and the question waits.
    site.run("CREATE VIEW shown AS SELECT * FROM stock");
    let (code, shown) = site.command(&["check"]);
    assert_eq!(code, Some(0), "{shown}");
    // Reload by touching the mapping: nobody waits half a minute.
    site.map(&format!("{view}\n"));
    assert!(
        stock(&receiver, "A|MAIN", "10", "EA", "7").await,
        "{}",
        agent.log()
    );
    assert!(!problem());
}
