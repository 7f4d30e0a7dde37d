//! A mapping that changes, under a running agent and between two runs: rows that are there are told
//! anew, unchanged events are not sent, and keys that no row tells any more end, but for those that
//! are merely held.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::Agent;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
const STOCK: &str = "inventory.availability.v1";

const HEAD: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item]}
  item:  {name: item, key: [code]}
  moved: {name: moved, key: [id]}
events:
"#;

const OF_STOCK: &str = r#"
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: stock.item, location: "'MAIN'"}
    fields: {uom: stock.unit, on_hand: stock.qty, allocated: 0, active: true}
"#;

const OF_ITEMS: &str = r#"
  - id: item
    emit: product.v1
    from: item
    key: {sku: code}
    fields: {name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

const OF_MOVES: &str = r#"
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.item, location: "'MAIN'", uom: "'EA'", quantity: moved.qty}
"#;

const TABLES: &str = "
CREATE TABLE stock (item TEXT PRIMARY KEY, qty INTEGER, unit TEXT, code TEXT);
CREATE TABLE item (code TEXT PRIMARY KEY, name TEXT);
CREATE TABLE moved (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER, kind TEXT);
INSERT INTO stock VALUES ('a', 1, 'EA', 'A2'), ('b', 2, 'EA', NULL), ('c', 3, 'EA', 'C2');
INSERT INTO item VALUES ('a', 'Anchor'), ('b', 'Bolt');
INSERT INTO moved VALUES (1, 'a', 5, 'K'), (2, 'b', 6, 'X')";

fn site_of(url: &str, events: &str) -> Site {
    Site::new(BINARY, url, TABLES, &format!("{HEAD}{events}"))
}

/// Starts the agent after its mapping became another while it was down.
fn restart(site: &Site, agent: &mut Agent, events: &str) {
    agent.kill();
    site.map(&format!("{HEAD}{events}"));
    *agent = site.agent();
}

/// How many facts stand in the outbox more than once.
fn repeated_facts(site: &Site) -> i64 {
    let file = site.path().join("state/lighterman.db");
    let db = Connection::open(file).unwrap();
    db.query_row(
        "SELECT count(*) - count(DISTINCT idempotency_key) FROM outbox WHERE op = 'fact'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

fn facts_in_outbox(site: &Site) -> i64 {
    let db = Connection::open(site.path().join("state/lighterman.db")).unwrap();
    let count = "SELECT count(*) FROM outbox WHERE op = 'fact'";
    db.query_row(count, [], |row| row.get(0)).unwrap()
}

fn is_held(site: &Site, reason: &str) -> bool {
    let (_, shown) = site.command(&["status", "--json"]);
    shown.contains(reason)
}

/// Waits until the body of a key is as wanted; without one the key has ended or was never told.
async fn comes(
    receiver: &Receiver,
    agent: &Agent,
    event_type: &str,
    key: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let key = format!("ACME|{key}");
    let came = receiver
        .wait(SOON, |held| wanted(held.body(event_type, &key)))
        .await;
    let has = receiver.held().body(event_type, &key).cloned();
    assert!(came, "{key} is {has:?}\n{}", agent.log());
}

async fn stock(receiver: &Receiver, agent: &Agent, key: &str, field: &str, wanted: &str) {
    let is = |body: Option<&Value>| body.is_some_and(|body| body[field] == wanted);
    comes(receiver, agent, STOCK, &format!("{key}|MAIN"), is).await;
}

async fn ends(receiver: &Receiver, agent: &Agent, key: &str) {
    let key = format!("{key}|MAIN");
    comes(receiver, agent, STOCK, &key, |body| body.is_none()).await;
}

fn is_there(receiver: &Receiver, key: &str) -> bool {
    let key = format!("ACME|{key}|MAIN");
    receiver.held().body(STOCK, &key).is_some()
}

/// How often capture began with nothing to read.
fn quiet_starts(agent: &Agent) -> usize {
    let log = agent.log();
    let starts = log.lines().filter(|line| line.contains("capture started"));
    starts
        .filter(|line| line.contains("snapshot_tables=0") || line.contains("\"snapshot_tables\":0"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_rule_of_one_row_is_told_over_the_rows_that_are_there() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let two = format!("{OF_STOCK}{OF_MOVES}");
    let site = site_of(receiver.url(), &two);
    let mut agent = site.agent();
    stock(&receiver, &agent, "c", "on_hand", "3").await;
    stock(&receiver, &agent, "a", "allocated", "0").await;
    stock(&receiver, &agent, "b", "allocated", "0").await;
    let facts = |held: &harness::receiver::Held| held.facts.len() == 2;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    let before = receiver.held().events();

    // Twice, and no change in the log between: what is read at one place is told again.
    for allocated in ["4", "5"] {
        let said = format!("allocated: \"case stock.item when 'a' then 0 else {allocated} end\"");
        restart(&site, &mut agent, &two.replace("allocated: 0", &said));
        stock(&receiver, &agent, "b", "allocated", allocated).await;
        stock(&receiver, &agent, "c", "allocated", allocated).await;
    }
    // The next change is told as always; and neither unchanged events nor facts came again.
    site.run("UPDATE stock SET qty = 7 WHERE item = 'a'");
    stock(&receiver, &agent, "a", "on_hand", "7").await;
    let held = receiver.held();
    assert_eq!(held.events(), before + 5, "{}", agent.log());
    assert_eq!(repeated_facts(&site), 0, "{}", agent.log());
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_change_a_rules_events_reads_no_table_again() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let joined = OF_STOCK
        .replace("id: stock", "id: joined")
        .replace("'MAIN'", "'J'")
        .replace(
            "    key:",
            "    join: {item: {match: \"item.code = stock.item\", missing: \"null\"}}\n    key:",
        );
    let three = format!("{OF_STOCK}{OF_MOVES}{joined}");
    let site = site_of(receiver.url(), &three);
    let mut agent = site.agent();
    stock(&receiver, &agent, "c", "on_hand", "3").await;
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    // A comment, another order of keys, and another code for a rule that uses it not.
    let other = three.replace(
        "fields: {uom: stock.unit, on_hand: stock.qty,",
        "# more\n    fields: {on_hand: stock.qty, uom: stock.unit,",
    );
    restart(&site, &mut agent, &other);
    site.run("UPDATE stock SET qty = 8 WHERE item = 'c'");
    stock(&receiver, &agent, "c", "on_hand", "8").await;
    assert_eq!(quiet_starts(&agent), 1, "{}", agent.log());
    // Facts are told once: another mapping of them is for new ones.
    restart(
        &site,
        &mut agent,
        &other.replace("quantity: moved.qty", "quantity: \"moved.qty + 1\""),
    );
    site.run("INSERT INTO moved VALUES (3, 'a', 1, 'K')");
    let three = |held: &harness::receiver::Held| held.facts.len() == 3;
    assert!(receiver.wait(SOON, three).await, "{}", agent.log());
    assert_eq!(quiet_starts(&agent), 2, "{}", agent.log());
    assert_eq!(repeated_facts(&site), 0, "{}", agent.log());
    let held = receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_rule_is_told_of_a_table_that_was_read_before() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let before = format!("{OF_STOCK}{OF_MOVES}");
    let site = site_of(receiver.url(), &before);
    let mut agent = site.agent();
    stock(&receiver, &agent, "c", "on_hand", "3").await;
    // Products of the stock table, under the running agent; and facts of another kind.
    let products = OF_ITEMS
        .replace("from: item", "from: stock")
        .replace("code", "stock.item")
        .replace("item.name", "stock.item");
    let receipts = OF_MOVES
        .replace("id: moved", "id: sums")
        .replace("from: moved", "from: stock");
    let receipts = receipts
        .replace("movement_id: id", "movement_id: item")
        .replace("moved.", "stock.");
    site.map(&format!("{HEAD}{before}{products}{receipts}"));
    comes(&receiver, &agent, "product.v1", "b", |body| body.is_some()).await;
    let facts = |held: &harness::receiver::Held| held.facts.len() == 5;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());

    // Facts under another name are the same facts.
    let renamed = before.replace("id: moved", "id: movements");
    restart(&site, &mut agent, &renamed);
    site.run("INSERT INTO moved VALUES (3, 'a', 1, 'K')");
    let facts = |held: &harness::receiver::Held| held.facts.len() == 6;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    // Made of two tables as well.
    let joined = renamed.replace(
        "    key: {movement_id",
        "    join: {item: {match: \"item.code = moved.item\", missing: \"null\"}}\n    key: {movement_id",
    );
    restart(
        &site,
        &mut agent,
        &joined.replace("movement_id: id", "movement_id: moved.id"),
    );
    site.run("INSERT INTO moved VALUES (4, 'a', 1, 'K')");
    let facts = |held: &harness::receiver::Held| held.facts.len() == 7;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    assert_eq!(repeated_facts(&site), 0, "{}", agent.log());
    let held = receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_no_row_tells_any_more_end() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), OF_STOCK);
    let mut agent = site.agent();
    stock(&receiver, &agent, "c", "on_hand", "3").await;
    // Another key.
    let upper = OF_STOCK.replace("sku: stock.item", "sku: upper(stock.item)");
    restart(&site, &mut agent, &upper);
    for (old, new) in [("a", "A"), ("b", "B"), ("c", "C")] {
        stock(&receiver, &agent, new, "uom", "EA").await;
        ends(&receiver, &agent, old).await;
    }
    // Another name of the rule, and a row that it leaves out.
    let renamed = upper.replace("id: stock", "id: shelf");
    let fewer = renamed.replace("    key:", "    where: \"stock.item <> 'c'\"\n    key:");
    restart(&site, &mut agent, &fewer);
    ends(&receiver, &agent, "C").await;
    // Another table.
    let items = fewer
        .replace("from: stock", "from: item")
        .replace("stock.item", "code");
    let items = items
        .replace("stock.unit", "\"'EA'\"")
        .replace("stock.qty", "9");
    site.run("DELETE FROM item WHERE code = 'a'; UPDATE item SET code = 'd' WHERE code = 'b'");
    restart(&site, &mut agent, &items);
    stock(&receiver, &agent, "D", "on_hand", "9").await;
    ends(&receiver, &agent, "A").await;
    ends(&receiver, &agent, "B").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merely_held_does_not_end() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), OF_STOCK);
    let mut agent = site.agent();
    for key in ["a", "b", "c"] {
        stock(&receiver, &agent, key, "uom", "EA").await;
    }
    // Row b has no code: which key it will have is not known, so it may be any of the old ones.
    let coded = OF_STOCK.replace("sku: stock.item", "sku: stock.code");
    restart(&site, &mut agent, &coded);
    stock(&receiver, &agent, "A2", "uom", "EA").await;
    stock(&receiver, &agent, "C2", "uom", "EA").await;
    assert!(agent.logged("snapshot done", SOON).await);
    site.run("UPDATE stock SET qty = 5 WHERE item = 'a'");
    stock(&receiver, &agent, "A2", "on_hand", "5").await;
    assert!(is_held(&site, "a key field must not be null"));
    assert!(["a", "b", "c"].iter().all(|key| is_there(&receiver, key)));
    // Once it is known, what no row tells ends by itself.
    site.run("UPDATE stock SET code = 'b' WHERE item = 'b'");
    ends(&receiver, &agent, "a").await;
    ends(&receiver, &agent, "c").await;
    assert!(is_there(&receiver, "b"));

    // Held under its key, it stays as it was told last, while others end.
    site.run("UPDATE stock SET unit = 'BOX' WHERE item = 'b'");
    stock(&receiver, &agent, "b", "uom", "BOX").await;
    let key = "sku: \"case stock.item when 'b' then 'b' else stock.code || '!' end\"";
    let guard = "    guard: [{check: \"uom <> 'BOX'\", else: hold, say: \"no boxes\"}]\n    key:";
    let guarded = OF_STOCK
        .replace("sku: stock.item", key)
        .replace("    key:", guard);
    restart(&site, &mut agent, &guarded);
    stock(&receiver, &agent, "A2!", "uom", "EA").await;
    ends(&receiver, &agent, "A2").await;
    ends(&receiver, &agent, "C2").await;
    assert!(is_held(&site, "no boxes"));
    assert!(is_there(&receiver, "b"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_comes_to_need_another_table_ends_what_it_told_and_tells_no_more() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), OF_STOCK);
    let mut agent = site.agent();
    // All three: whoever is killed before has the others still to tell.
    for key in ["a", "b", "c"] {
        stock(&receiver, &agent, key, "uom", "EA").await;
    }
    // Item c is not there: its stock is left out.
    let joined = OF_STOCK.replace(
        "    key:",
        "    join: {item: {match: \"item.code = stock.item\", missing: leave_out}}\n    key:",
    );
    restart(&site, &mut agent, &joined);
    ends(&receiver, &agent, "c").await;
    assert!(is_there(&receiver, "a") && is_there(&receiver, "b"));
    // Nor under the key that it has now.
    let keyed = joined.replace("sku: stock.item", "sku: item.name");
    restart(&site, &mut agent, &keyed);
    stock(&receiver, &agent, "Bolt", "uom", "EA").await;
    ends(&receiver, &agent, "a").await;
    ends(&receiver, &agent, "b").await;
    // And back.
    restart(&site, &mut agent, OF_STOCK);
    stock(&receiver, &agent, "c", "on_hand", "3").await;
    ends(&receiver, &agent, "Bolt").await;
    ends(&receiver, &agent, "Anchor").await;
    let held = receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_are_held_are_told_once_a_changed_mapping_knows_their_code() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let coded = |codes: &str| {
        let kinds = format!("dictionaries:\n  kinds: {{{codes}}}\nevents:\n");
        let rule = OF_MOVES.replace(
            "kind: \"'adjustment'\"",
            "kind: {column: moved.kind, dictionary: kinds}",
        );
        format!("{}{rule}", HEAD.replace("events:\n", &kinds))
    };
    let site = Site::new(BINARY, receiver.url(), TABLES, &coded("K: adjustment"));
    let mut agent = site.agent();
    let told = async |agent: &Agent, count: usize| {
        let facts = |held: &harness::receiver::Held| held.facts.len() == count;
        assert!(receiver.wait(SOON, facts).await, "{count}\n{}", agent.log());
    };
    told(&agent, 1).await;
    // One held by the reading, one by the stream; and one whose correction is held.
    site.run("INSERT INTO moved VALUES (3, 'a', 7, 'Y'), (4, 'a', 8, 'K')");
    told(&agent, 2).await;
    site.run("UPDATE moved SET kind = 'Z', qty = 9 WHERE id = 4");
    site.run("INSERT INTO moved VALUES (5, 'a', 1, 'K')");
    told(&agent, 3).await;
    let held = || {
        let (_, status) = site.status();
        status["held"]
            .to_string()
            .matches("is not in dictionary")
            .count()
    };
    assert_eq!(held(), 3);
    // Still unknown: held as before. Then under the running agent.
    agent.kill();
    site.map(&coded("K: adjustment, X: receipt, Z: receipt"));
    agent = site.agent();
    told(&agent, 4).await;
    assert_eq!(held(), 2);
    site.map(&coded("K: adjustment, X: receipt, Y: receipt, Z: receipt"));
    told(&agent, 5).await;
    site.run("INSERT INTO moved VALUES (6, 'a', 1, 'K')");
    told(&agent, 6).await;
    assert_eq!(repeated_facts(&site), 0, "{}", agent.log());
    // Left out now: nobody is told, and nothing is held of it.
    site.run("INSERT INTO moved VALUES (7, 'a', 1, 'W')");
    site.run("INSERT INTO moved VALUES (8, 'a', 1, 'K')");
    told(&agent, 7).await;
    assert_eq!(held(), 2);
    let fewer = coded("K: adjustment, X: receipt, Y: receipt, Z: receipt").replace(
        "    key: {move",
        "    where: \"moved.kind <> 'W'\"\n    key: {move",
    );
    agent.kill();
    site.map(&fewer);
    agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    site.run("INSERT INTO moved VALUES (9, 'a', 1, 'K')");
    told(&agent, 8).await;
    assert_eq!(held(), 1, "the correction");
    assert_eq!(repeated_facts(&site), 0, "{}", agent.log());
    let held = receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_told_fact_whose_row_is_rewritten_while_its_table_is_read_for_others_is_not_told_again() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let products = OF_ITEMS
        .replace("from: item", "from: moved")
        .replace("code", "moved.id")
        .replace("item.name", "\"moved.item || moved.kind\"");
    let both = format!("{OF_MOVES}{products}");
    let site = site_of(receiver.url(), &both);
    let mut agent = site.agent();
    let facts = |held: &harness::receiver::Held| held.facts.len() == 2;
    assert!(receiver.wait(SOON, facts).await, "{}", agent.log());
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    let product = |body: Option<&Value>| body.is_some();
    for key in ["1", "2"] {
        comes(&receiver, &agent, "product.v1", key, product).await;
    }
    let before = receiver.held().events();
    agent.kill();
    site.run("UPDATE moved SET kind = 'Q' WHERE id = 1");
    let upper = both.replace(
        "moved.item || moved.kind",
        "upper(moved.item || moved.kind)",
    );
    site.map(&format!("{HEAD}{upper}"));
    agent = site.agent();
    let named = |body: Option<&Value>| body.is_some_and(|body| body["name"] == "BX");
    comes(&receiver, &agent, "product.v1", "2", named).await;
    let named = |body: Option<&Value>| body.is_some_and(|body| body["name"] == "AQ");
    comes(&receiver, &agent, "product.v1", "1", named).await;
    let again = receiver.held().events() - before;
    assert_eq!(again, 2, "products alone: {}", agent.log());
    assert_eq!(facts_in_outbox(&site), 2, "{}", agent.log());
}

/// Two rules of one event type whose rows pass from one to the other.
fn shared(first: &str, second: &str) -> String {
    let rule = |id: &str, condition: &str| {
        let left = format!("    where: \"stock.qty {condition} 10\"\n    key:");
        let rule = OF_STOCK.replace("id: stock", &format!("id: {id}"));
        rule.replace("    key:", &left)
            .replace("stock.unit", &format!("\"'{id}'\""))
    };
    format!("{}{}", rule(first, "<"), rule(second, ">="))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_one_rules_row_ends_nothing_that_another_rule_tells() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site_of(receiver.url(), &shared("few", "many"));
    let mut agent = site.agent();
    stock(&receiver, &agent, "a", "uom", "few").await;
    // Both ways, so that one of them meets the rules in the order of the file, and two rows of one
    // transaction.
    site.run("UPDATE stock SET qty = 20 WHERE item IN ('a', 'b')");
    stock(&receiver, &agent, "a", "uom", "many").await;
    stock(&receiver, &agent, "b", "uom", "many").await;
    site.run("UPDATE stock SET qty = 2 WHERE item = 'a'");
    stock(&receiver, &agent, "a", "uom", "few").await;
    let ended = || {
        let db = Connection::open(site.path().join("state/lighterman.db")).unwrap();
        let count = "SELECT count(*) FROM outbox WHERE op = 'delete'";
        db.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(ended(), 0, "{}", agent.log());

    // Rows of two tables that tell one key: the end of the one that was not told last ends nothing.
    let items = OF_ITEMS.replace("from: item", "from: stock");
    let items = items
        .replace("id: item", "id: of_stock")
        .replace("code", "item")
        .replace("item.name", "'-'");
    let both = format!("{OF_ITEMS}{}", items.replace("'-'", "\"'-'\""));
    restart(&site, &mut agent, &both);
    comes(&receiver, &agent, "product.v1", "c", |body| body.is_some()).await;
    site.run("UPDATE item SET name = 'Anchor 2' WHERE code = 'a'");
    let renamed = |body: Option<&Value>| body.is_some_and(|body| body["name"] == "Anchor 2");
    comes(&receiver, &agent, "product.v1", "a", renamed).await;
    site.run("DELETE FROM stock WHERE item IN ('a', 'c')");
    comes(&receiver, &agent, "product.v1", "c", |body| body.is_none()).await;
    let key = "ACME|a";
    assert!(receiver.held().body("product.v1", key).is_some());
    // A rule that is in no mapping any more holds nothing: its successor ends what it told.
    restart(
        &site,
        &mut agent,
        &OF_ITEMS.replace("id: item", "id: goods"),
    );
    stock(&receiver, &agent, "b", "uom", "many").await;
    site.run("DELETE FROM item WHERE code = 'a'");
    comes(&receiver, &agent, "product.v1", "a", |body| body.is_none()).await;
}
