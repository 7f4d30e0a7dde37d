//! Mapping commands by a user's door: on files, and against a live source that they only read.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::receiver::{Faults, Receiver};
use rusqlite::Connection;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

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
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    where: "stock.qty >= 0"
    join: {item: {match: "item.code = stock.item", missing: hold}}
    add: {demand: {from: need, match: "need.item = stock.item", sum: need.qty}}
    key: {sku: item.sku, location: stock.site}
    fields: {uom: item.unit, on_hand: stock.qty, allocated: "10 / stock.qty", soft_demand: demand.sum, active: true}
  - id: product
    emit: product.v1
    from: item
    key: {sku: item.sku}
    fields: {name: "upper(item.code)", status: {const: active}, kind: {const: stocked}, stock_uom: item.unit}
tests:
  - name: "demand is added up"
    given:
      stock: [{item: a, site: M, qty: 5}]
      item: [{code: a, sku: A, unit: EA}]
      need: [{id: 1, item: a, qty: 2}]
    expect:
      - {sku: A, on_hand: 5, soft_demand: 2}
      - {event: product, name: A}
"#;

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("erp.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE stock (item TEXT, site TEXT, qty INTEGER, PRIMARY KEY (item, site));
         CREATE TABLE item (code TEXT PRIMARY KEY, sku TEXT, unit TEXT);
         CREATE TABLE need (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER);
         INSERT INTO stock VALUES ('a', 'M', 5), ('a', 'W', 0), ('b', 'M', 1), ('a', 'X', -1);
         INSERT INTO item VALUES ('a', 'A', 'EA');
         INSERT INTO need VALUES (1, 'a', 3), (2, 'a', 4), (3, 'z', 9)",
    )
    .unwrap();
    std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    std::fs::write(
        folder.path().join("lighterman.toml"),
        "[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\n\
         mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\n\
         url = \"http://127.0.0.1:9/\"\n",
    )
    .unwrap();
    folder
}

fn map(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let words: Vec<&str> = ["map"].iter().chain(words).copied().collect();
    command(BINARY, folder, &words)
}

/// The command's JSON, which stands alone on its last line.
fn json_of(folder: &Path, words: &[&str]) -> (Option<i32>, Value) {
    let words: Vec<&str> = words.iter().chain(&["--json"]).copied().collect();
    let (code, shown) = map(folder, &words);
    (
        code,
        serde_json::from_str(shown.trim()).unwrap_or_else(|_| panic!("{shown}")),
    )
}

/// From a table to a mapping that loads: what a draft leaves open is filled in by taking a `#` away.
#[test]
fn a_draft_needs_only_what_the_table_does_not_say() {
    let site = site();
    let words = ["new", "--from", "stock", "--company", "01"];
    let (code, draft) = map(site.path(), &words);
    assert_eq!(code, Some(0), "{draft}");
    for part in [
        "company: \"01\"   # first part of every key",
        "      sku: \"stock.item\"\n      location: \"stock.site\"\n",
        "      on_hand: \"stock.qty\"   # please check; may be null",
        "map check <this file> --source erp",
    ] {
        assert!(draft.contains(part), "{part}: {draft}");
    }
    let filled = draft
        .replace("# uom: ", "uom: ")
        .replace("# active: ", "active: ")
        .replace("# allocated: \"stock.??\"", "allocated: \"0\"");
    std::fs::write(site.path().join("mapping.yaml"), filled).unwrap();
    // Without files, those that the settings name.
    let (code, shown) = map(site.path(), &["check", "--source", "erp"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("fits the source's tables"), "{shown}");
    let (code, shown) = map(site.path(), &["test"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("mapping.yaml: has no tests"), "{shown}");
    let sample = ["try", "mapping.yaml", "--sample", "10"];
    let (code, shown) = map(site.path(), &sample);
    assert_eq!(code, Some(0), "{shown}");

    // Nobody's work is written over; what `init` wrote is.
    let to = ["new", "--from", "stock", "--to", "mapping.yaml"];
    let (code, shown) = map(site.path(), &to);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("somebody has written into it"), "{shown}");
    let words = [
        "init",
        "--non-interactive",
        "--folder",
        "new",
        "--source",
        "mysql",
        "--schema",
        "wms",
        "--company",
        "ACME",
    ];
    let (code, shown) = command(BINARY, site.path(), &words);
    assert_eq!(code, Some(0), "{shown}");
    let to = ["new", "--from", "stock", "--to", "new/mapping.yaml"];
    let (code, shown) = map(site.path(), &to);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("wrote new/mapping.yaml\n"), "{shown}");
    let written = std::fs::read_to_string(site.path().join("new/mapping.yaml")).unwrap();
    assert!(written.contains("pack: my-stock"), "{written}");

    // What is reserved counts as nothing where it is null.
    let db = Connection::open(site.path().join("erp.db")).unwrap();
    db.execute_batch("CREATE TABLE whs_stock (artikel TEXT NOT NULL, lager TEXT NOT NULL, menge INTEGER NOT NULL,
        reserviert INTEGER, PRIMARY KEY (artikel, lager))")
        .unwrap();
    let (code, draft) = map(site.path(), &["new", "--from", "whs_stock"]);
    assert_eq!(code, Some(0), "{draft}");
    for part in [
        "company: \"MY-COMPANY\"",
        "      on_hand: \"whs_stock.menge\"   # please check\n",
        "      allocated: {column: \"whs_stock.reserviert\", default: 0}   # please check; null counts as 0",
    ] {
        assert!(draft.contains(part), "{part}: {draft}");
    }
}

#[test]
fn one_row_is_shown_step_by_step() {
    let site = site();
    let row = [
        "try",
        "mapping.yaml",
        "--table",
        "stock",
        "--key",
        "a",
        "--key",
        "M",
    ];
    let (code, shown) = map(site.path(), &row);
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        "stock: event ACME|A|M",
        "row item of main.item",
        "    sku = A",
        "    where = true   <- stock.qty >= 0",
        "    demand.sum = 7",
        "    fields.allocated = 2   <- 10 / stock.qty",
        "    fields.available = -4",
        "\"sellable\": \"0\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (_, json) = json_of(site.path(), &row);
    assert_eq!(json["events"][0]["key"]["sku"], "A");
    assert_eq!(json["looks"].as_array().unwrap().len(), 1);

    // A division by zero is said where it stands, and the rest is worked out all the same.
    let zero = [
        "try",
        "mapping.yaml",
        "--table",
        "main.stock",
        "--key",
        "a",
        "--key",
        "W",
    ];
    let (code, shown) = map(site.path(), &zero);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("fields.allocated = held: `/`: division by zero"),
        "{shown}"
    );
    assert!(shown.contains("fields.soft_demand = 7"), "{shown}");
    assert!(shown.contains("held main.stock a|W"), "{shown}");
    let out = [
        "try",
        "mapping.yaml",
        "--table",
        "stock",
        "--key",
        "a",
        "--key",
        "X",
    ];
    let (code, shown) = map(site.path(), &out);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("no event: out_of_scope"), "{shown}");
    // Nothing was written: no log, no triggers.
    let db = Connection::open(site.path().join("erp.db")).unwrap();
    let objects: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(objects, 3);
    let mut files: Vec<_> = std::fs::read_dir(site.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["erp.db", "lighterman.toml", "mapping.yaml"]);
}

#[test]
fn what_cannot_be_tried_is_said_with_what_can() {
    let site = site();
    for (words, wanted) in [
        (vec!["--table", "need", "--key", "1"], "it is read by stock"),
        (
            vec!["--table", "stok", "--key", "1"],
            "one of main.stock, main.item, main.need",
        ),
        (
            vec!["--table", "stock", "--key", "a"],
            "the key [item, site]",
        ),
        (
            vec!["--table", "stock", "--key", "q", "--key", "M"],
            "no row of it has this key",
        ),
        (vec![], "--sample 200"),
    ] {
        let words: Vec<&str> = ["try", "mapping.yaml"].into_iter().chain(words).collect();
        let (code, shown) = map(site.path(), &words);
        assert_ne!(code, Some(0), "{shown}");
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
}

#[test]
fn a_sample_counts_what_becomes_of_rows() {
    let site = site();
    let (code, json) = json_of(site.path(), &["try", "mapping.yaml", "--sample", "10"]);
    assert_eq!(code, Some(1), "{json}");
    let stock = &json["rules"][0];
    assert_eq!(
        (&stock["rows"], &stock["events"], &stock["no_event"]),
        (&json!(4), &json!(1), &json!(1)),
        "{json}"
    );
    let held = stock["held"].as_object().unwrap();
    assert_eq!(held.len(), 2, "{json}");
    assert!(
        held.keys()
            .any(|reason| reason.contains("no row of main.item")),
        "{json}"
    );
    assert_eq!(stock["fields"]["on_hand"]["words"]["5"], 1);
    let (_, few) = json_of(site.path(), &["try", "mapping.yaml", "--sample", "1"]);
    assert_eq!(few["rules"][0]["rows"], 1);
    let (_, shown) = map(site.path(), &["try", "mapping.yaml", "--sample", "10"]);
    assert!(
        shown.contains("stock: 4 rows, 1 events, 2 held, 1 without an event"),
        "{shown}"
    );
}

#[test]
fn two_versions_are_compared_on_sampled_rows_and_on_those_of_tests() {
    let site = site();
    let new = MAPPING
        .replace("\"10 / stock.qty\"", "\"1\"")
        .replace("missing: hold", "missing: leave_out");
    std::fs::write(site.path().join("new.yaml"), new).unwrap();
    let files = ["diff", "mapping.yaml", "new.yaml"];
    let (code, tests) = json_of(site.path(), &files);
    assert_eq!(code, Some(0), "{tests}");
    assert_eq!(
        (&tests["rows"], &tests["same"]),
        (&json!(3), &json!(1)),
        "{tests}"
    );
    let allocated = &tests["changed"][0]["fields"]["allocated"];
    assert_eq!(*allocated, json!({ "old": "2", "new": "1" }), "{tests}");
    let sampled: Vec<&str> = files.into_iter().chain(["--sample", "10"]).collect();
    let (_, json) = json_of(site.path(), &sampled);
    // Stock at W could not be divided, stock of b had no item.
    assert_eq!(
        json["added"],
        json!(["inventory.availability.v1 ACME|A|W"]),
        "{json}"
    );
    assert_eq!(
        json["no_longer_held"].as_array().unwrap().len(),
        2,
        "{json}"
    );
    assert_eq!(json["same"], 1, "{json}");
    let (_, shown) = map(site.path(), &sampled);
    assert!(shown.contains("    allocated: 2 -> 1"), "{shown}");
    let (code, same) = map(
        site.path(),
        &["diff", "new.yaml", "new.yaml", "--sample", "10"],
    );
    assert_eq!(code, Some(0), "{same}");
    assert!(same.contains("0 changed, 0 added, 0 removed"), "{same}");
}

#[test]
fn a_zero_before_a_tombstone_is_a_difference() {
    let site = tempfile::tempdir().unwrap();
    let old = "mapping: 1\npack: m\npack_version: \"1\"\ncompany: ACME\n\
        tables: {stock: {name: stock, key: [sku]}}\n\
        events:\n\
        \x20 - {id: stock, emit: inventory.availability.v1, from: stock, on_delete: tombstone, \
        key: {sku: stock.sku, location: \"'W'\"}, \
        fields: {uom: \"'EA'\", on_hand: stock.qty, allocated: 0, active: true}}\n\
        tests:\n\
        \x20 - {name: ends, given: {stock: [{sku: A, qty: 5}]}, expect: [{sku: A}], \
        then: [{delete: {stock: [{sku: A}]}, expect: [{sku: A, op: delete}]}]}\n";
    let new = old.replace("on_delete: tombstone", "on_delete: zero_then_tombstone");
    std::fs::write(site.path().join("old.yaml"), old).unwrap();
    std::fs::write(site.path().join("new.yaml"), new).unwrap();
    let (_, found) = json_of(site.path(), &["diff", "old.yaml", "new.yaml"]);
    assert_eq!(
        found["added"],
        json!(["inventory.availability.v1 ACME|A|W, before it ends (test 1, ends, then 1)"]),
        "{found}"
    );
    assert_eq!(found["same"], 2, "{found}");
}

#[test]
fn files_are_checked_tested_explained_and_begun() {
    let site = site();
    let (code, shown) = map(site.path(), &["check", "mapping.yaml", "--source", "erp"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("2 events, 1 tests, fits the source's tables"),
        "{shown}"
    );
    let (code, shown) = map(site.path(), &["test", "mapping.yaml"]);
    assert_eq!(code, Some(0), "{shown}");
    let wrong = MAPPING.replace("need.qty}}", "need.quantity}}");
    std::fs::write(site.path().join("wrong.yaml"), wrong).unwrap();
    let (code, shown) = map(site.path(), &["check", "wrong.yaml", "--source", "erp"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("wrong.yaml:17:"), "{shown}");
    assert!(
        shown.contains("table main.need has no column \"quantity\""),
        "{shown}"
    );
    let (code, shown) = map(site.path(), &["explain", "mapping.yaml"]);
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        "found by need.item = stock.item",
        "by the index demand [item]",
        "a change reaches the event through stock, by the index stock [item]",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The item's rows are kept once, though two sides of a match find them by it.
    let kept = "    main.stock\n      columns item, site, qty\n      index on item\n      about ";
    assert!(shown.contains(kept), "{shown}");
    let (code, shown) = map(site.path(), &["explain", "mapping.yaml", "--source", "erp"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("bytes a row"), "{shown}");
    let (code, draft) = map(site.path(), &["new", "--from", "main.stock"]);
    assert_eq!(code, Some(0), "{draft}");
    assert!(draft.contains("emit: inventory.availability.v1"), "{draft}");
    let (code, schema) = map(site.path(), &["schema"]);
    assert_eq!(code, Some(0), "{schema}");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "Lighterman mapping file");
    let (code, shown) = map(site.path(), &["functions"]);
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn no_mapping_command_needs_what_a_destination_needs() {
    let site = site();
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let secret = "secret = { env = \"NOBODY_HAS_SET_THIS\" }\n";
    std::fs::write(&settings, format!("{text}{secret}")).unwrap();
    for words in [
        vec!["check", "mapping.yaml", "--source", "erp"],
        vec!["new", "--from", "main.stock"],
        vec!["try", "mapping.yaml", "--sample", "10"],
        vec!["diff", "mapping.yaml", "mapping.yaml", "--sample", "10"],
    ] {
        let (code, shown) = map(site.path(), &words);
        assert_ne!(code, Some(2), "{words:?}: {shown}");
    }
    let (code, shown) = command(BINARY, site.path(), &["check"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("NOBODY_HAS_SET_THIS is not set"), "{shown}");
}

/// What is held keeps what was told of it last, so nothing is taken away.
#[test]
fn what_is_newly_held_is_not_removed_as_well() {
    let site = site();
    let diff = |new: String| {
        std::fs::write(site.path().join("new.yaml"), new).unwrap();
        let words = ["diff", "mapping.yaml", "new.yaml", "--sample", "10"];
        json_of(site.path(), &words).1
    };
    let count = |json: &Value, what: &str| json[what].as_array().unwrap().len();
    let fields = MAPPING.replace("10 / stock.qty", "10 / (stock.qty - 5)");
    let key = MAPPING.replace(
        "key: {sku: item.sku, location: stock.site}",
        "key: {sku: item.sku, location: \"cast(10 / (stock.qty - 5) as text)\"}",
    );
    for new in [fields, key] {
        let json = diff(new);
        assert_eq!(
            (count(&json, "removed"), count(&json, "held")),
            (0, 1),
            "{json}"
        );
        assert!(
            json["held"][0]
                .as_str()
                .unwrap()
                .contains("division by zero"),
            "{json}"
        );
    }
    let json = diff(MAPPING.replace("stock.qty >= 0", "stock.qty > 5"));
    assert_eq!(
        (count(&json, "removed"), count(&json, "held")),
        (1, 0),
        "{json}"
    );
}

/// What `map explain` says is kept, beside what a state file really takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_that_is_explained_is_near_the_truth() {
    const ROWS: u64 = 1_000;
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site();
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(
        &settings,
        text.replace("http://127.0.0.1:9/", receiver.url()),
    )
    .unwrap();
    let db = Connection::open(site.path().join("erp.db")).unwrap();
    db.execute_batch(
        "DELETE FROM stock; DELETE FROM item; DELETE FROM need;
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
         INSERT INTO stock SELECT printf('ITEM-%06d', n), 'MAIN', 5 FROM n;
         INSERT INTO item SELECT item, item || '-SKU', 'EACH' FROM stock;
         INSERT INTO need SELECT rowid, item, 2 FROM stock",
    )
    .unwrap();
    let (code, shown) = command(BINARY, site.path(), &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    let agent = Agent::start(BINARY, site.path());
    let soon = Duration::from_mins(1);
    let whole = |held: &harness::receiver::Held| held.arrivals >= 2 * ROWS;
    assert!(receiver.wait(soon, whole).await, "{}", agent.log());
    let state = Connection::open(site.path().join("state/lighterman.db")).unwrap();
    let pages = |tables: &str| {
        let sql = format!("SELECT sum(pgsize) FROM dbstat WHERE name IN ({tables})");
        state
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let (_, json) = json_of(site.path(), &["explain", "mapping.yaml"]);
    let file = &json["files"][0];
    let sum = |list: &Value, what: &str| -> u64 {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one[what].as_u64().unwrap()).sum()
    };
    for (what, tables, said) in [
        (
            "tables",
            "'replica_row', 'replica_place'",
            sum(&file["replicas"], "bytes_per_row"),
        ),
        (
            "told",
            "'told', 'told_by_key'",
            sum(&file["events"], "bytes_per_row"),
        ),
        (
            "published",
            "'published', 'published_by_rule', 'sqlite_autoindex_published_1'",
            sum(&file["events"], "bytes_per_key"),
        ),
    ] {
        let truth = u64::try_from(pages(tables)).unwrap() / ROWS;
        assert!(
            truth * 2 / 3 <= said && said <= truth * 3 / 2,
            "{what}: {truth} bytes, said {said}"
        );
    }
}
