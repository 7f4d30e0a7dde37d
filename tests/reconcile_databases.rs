//! A source's rows and sums beside what was told, at PostgreSQL, MariaDB and a scripted SQL Server: what their logs
//! never told is found by key and by sums that the database adds up, kept, shown, and compared by itself too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    missing_docs,
    reason = "tests; what they compare are counts"
)]

use std::path::Path;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::local::value;
use harness::mariadb::{MariadbOptions, MariadbServer};
use harness::postgres::{PostgresOptions, PostgresServer};
use harness::receiver::{Faults, Receiver, free_port};
use serde_json::{Value, json};
use tds_server::model::Database;
use tds_server::wire::{Options, Server};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(2);
const STOCK: &str = "inventory.availability.v1";
const PRODUCT: &str = "product.v1";

/// The sums of `need` are beyond what 32 bits and what floating point hold.
const ROWS: &[&str] = &[
    "INSERT INTO item VALUES ('A', 'a'), ('B', 'b'), ('C', 'c')",
    "INSERT INTO stock VALUES ('A', 10), ('B', 20)",
    "INSERT INTO need VALUES (1, 'A', 2000000000, 1.1), (2, 'A', 2000000000, 123456789012345.0000000001), (3, 'B', 1, 2.2)",
];

fn mapping(source: &str, more: &str, before: &str) -> String {
    format!(
        r#"mapping: 1
pack: site
pack_version: "1"
source: {source}
{more}company: ACME
tables:
  item: {{name: {before}item, key: [sku]}}
  stock: {{name: {before}stock, key: [sku]}}
  need: {{name: {before}need, key: [id]}}
events:
  - id: item
    emit: product.v1
    from: item
    key: {{sku: item.sku}}
    fields: {{name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}}
  - id: stock
    emit: inventory.availability.v1
    from: stock
    add:
      demand: {{from: need, match: "need.sku = stock.sku", sum: need.qty}}
      weighed: {{from: need, match: "need.sku = stock.sku", sum: need.weight}}
    key: {{sku: stock.sku, location: "'MAIN'"}}
    fields:
      uom: "'EA'"
      on_hand: stock.qty
      allocated: weighed.sum - weighed.sum
      soft_demand: demand.sum
      active: true
"#
    )
}

fn settle(folder: &Path, source: &str, mapping: &str, receiver: &Receiver, port: u16) {
    let settings = format!(
        "[local]\nlisten = \"127.0.0.1:{port}\"\n\
         [[source]]\nname = \"erp\"\n{source}\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\n\
         retry_first_ms = 20\ntimeout_seconds = 5\n",
        receiver.url()
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.join("mapping.yaml"), mapping).unwrap();
}

fn compared(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut words = vec!["reconcile", "--source", "erp", "--json"];
    words.extend(more);
    let (code, said) = command(BINARY, folder, &words);
    let mut said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    (code, said["reconcile"].take())
}

async fn holds(receiver: &Receiver, agent: &Agent, key: &str, field: &str, wanted: &str) {
    let event_type = if field == "name" { PRODUCT } else { STOCK };
    let there = receiver.wait(SOON, |held| {
        held.body(event_type, key)
            .is_some_and(|body| body[field] == wanted)
    });
    assert!(there.await, "{key} {field} {wanted}\n{}", agent.log());
}

/// A number of a table.
fn sum<'a>(said: &'a Value, table: &str, what: &str) -> &'a Value {
    let all = said["sums"].as_array().unwrap();
    let found = all
        .iter()
        .find(|one| one["table"].as_str().unwrap().ends_with(table) && one["what"] == what);
    found.unwrap_or_else(|| panic!("{table} {what}: {said}"))
}

/// What was told and kept is what the database says.
async fn agrees(folder: &Path, receiver: &Receiver, agent: &Agent) {
    holds(receiver, agent, "ACME|C", "name", "c").await;
    holds(receiver, agent, "ACME|A|MAIN", "soft_demand", "4000000000").await;
    let (code, said) = compared(folder, &["--full"]);
    assert_eq!(code, Some(0), "{said:#}\n{}", agent.log());
    assert_eq!(said["types"][0]["agree"], 3, "{said:#}");
    let quantity = sum(&said, "need", "qty");
    assert_eq!(quantity["theirs"], "4000000001", "{said:#}");
    let weight = sum(&said, "need", "weight");
    assert_eq!(weight["theirs"], "123456789012348.3000000001", "{said:#}");
    assert_eq!(weight["ours"], weight["theirs"], "{said:#}");
    assert_eq!(sum(&said, "need", "rows")["ours"], "3", "{said:#}");
}

/// A name and a quantity were changed without a word; what came behind them was told.
async fn differs(folder: &Path, agent: &Agent, port: u16) {
    let csv = folder.join("found.csv");
    let (code, said) = compared(folder, &["--full", "--csv", csv.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{said:#}\n{}", agent.log());
    let count = &said["types"][0];
    assert_eq!(
        (&count["different"], &count["lagging"], &count["missing"]),
        (&json!(1), &json!(0), &json!(0)),
        "{said:#}\n{}",
        agent.log()
    );
    assert_eq!(said["differences"][0]["key"], "ACME|B", "{said:#}");
    let quantity = sum(&said, "need", "qty");
    assert_eq!(
        (&quantity["class"], &quantity["ours"], &quantity["theirs"]),
        (
            &json!("different"),
            &json!("4000000001"),
            &json!("4000000007")
        ),
        "{said:#}"
    );
    let table = std::fs::read_to_string(&csv).unwrap();
    assert!(
        table.contains("\"ACME|B\",\"product.v1\",\"different\",\"name b\",\"name lost\""),
        "{table}"
    );
    assert!(
        table.contains("need qty\",\"sums\",\"different\",\"4000000001\",\"4000000007\""),
        "{table}"
    );

    // It is kept, and shown.
    let (code, last) = compared(folder, &["--last"]);
    assert_eq!((code, &last["sums"]), (Some(1), &said["sums"]), "{last:#}");
    let (_, shown) = command(BINARY, folder, &["status"]);
    assert!(
        shown.contains("sums of tables compared")
            && shown.contains("reconcile --source erp --last"),
        "{shown}"
    );
    let (_, metrics) = harness::local::get(port, "/metrics").await;
    let sums = u32::try_from(said["sums"].as_array().unwrap().len()).unwrap();
    for (event_type, wanted) in [(PRODUCT, 1.0 / 3.0), ("sums", 1.0 / f64::from(sums))] {
        let ratio = format!(
            "lighterman_reconcile_source_mismatch_ratio{{source=\"erp\",event_type=\"{event_type}\"}}"
        );
        let found = value(&metrics, &ratio).unwrap_or_else(|| panic!("{ratio}: {metrics}"));
        assert!((found - wanted).abs() < 0.001, "{ratio}: {found}");
    }
    let age = "lighterman_reconcile_source_last_seconds{source=\"erp\"}";
    assert!(value(&metrics, age).is_some(), "{metrics}");
    assert!(
        agent.log().contains("reconcile.source_differs"),
        "{}",
        agent.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_never_told_is_found_by_key_and_by_sum() {
    let server = PostgresServer::start(PostgresOptions::default());
    server.create_database("erp").await;
    let db = server.connect("erp").await;
    db.batch_execute(
        "CREATE TABLE item (sku text PRIMARY KEY, name text);
         CREATE TABLE stock (sku text PRIMARY KEY, qty integer);
         CREATE TABLE need (id integer PRIMARY KEY, sku text, qty integer, weight numeric)",
    )
    .await
    .unwrap();
    for rows in ROWS {
        db.batch_execute(rows).await.unwrap();
    }
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = (tempfile::tempdir().unwrap(), free_port());
    let folder = site.path();
    let source = format!(
        "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"erp\"\n\
         user = \"postgres\"\nheartbeat = true",
        server.port()
    );
    let mapping = mapping("postgres", "", "public.");
    settle(folder, &source, &mapping, &receiver, port);
    let (code, said) = command(BINARY, folder, &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{said}");
    let agent = Agent::start(BINARY, folder);
    agrees(folder, &receiver, &agent).await;

    // Somebody takes updates out of the publication, and puts them back.
    let publication: String = db
        .query_one("SELECT pubname::text FROM pg_publication", &[])
        .await
        .unwrap()
        .get(0);
    for sql in [
        &format!("ALTER PUBLICATION \"{publication}\" SET (publish = 'insert')"),
        "UPDATE item SET name = 'lost' WHERE sku = 'B'",
        "UPDATE need SET qty = 7 WHERE id = 3",
        &format!(
            "ALTER PUBLICATION \"{publication}\" SET (publish = 'insert, update, delete, truncate')"
        ),
        "UPDATE item SET name = 'c2' WHERE sku = 'C'",
    ] {
        db.batch_execute(sql).await.unwrap();
    }
    holds(&receiver, &agent, "ACME|C", "name", "c2").await;
    differs(folder, &agent, port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mariadb_never_told_is_found_by_key_and_by_sum_and_by_the_settings() {
    let server = MariadbServer::start(MariadbOptions::default());
    server
        .run(
            "CREATE DATABASE erp;
             CREATE TABLE erp.item (sku VARCHAR(20) PRIMARY KEY, name VARCHAR(40));
             CREATE TABLE erp.stock (sku VARCHAR(20) PRIMARY KEY, qty INT);
             CREATE TABLE erp.need (id INT PRIMARY KEY, sku VARCHAR(20), qty INT, weight DECIMAL(38,10));
             CREATE USER clerk@'127.0.0.1'",
        )
        .await;
    let in_erp = |sql: &str| {
        sql.replace("INTO ", "INTO erp.")
            .replace("UPDATE ", "UPDATE erp.")
    };
    for rows in ROWS {
        server.run(&in_erp(rows)).await;
    }
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = (tempfile::tempdir().unwrap(), free_port());
    let folder = site.path();
    let source = format!(
        "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"clerk\"",
        server.port()
    );
    let mapping = mapping("mysql", "schema: erp\n", "");
    settle(folder, &source, &mapping, &receiver, port);
    let (_, script) = command(BINARY, folder, &["source", "prepare"]);
    for sql in script.lines().filter(|line| line.starts_with("GRANT")) {
        server.run(sql).await;
    }
    let mut agent = Agent::start(BINARY, folder);
    agrees(folder, &receiver, &agent).await;

    // A session of somebody who may keep its changes out of the log.
    server
        .run(&in_erp(
            "SET sql_log_bin = 0; UPDATE item SET name = 'lost' WHERE sku = 'B';
             UPDATE need SET qty = 7 WHERE id = 3",
        ))
        .await;
    server
        .run(&in_erp("UPDATE item SET name = 'c2' WHERE sku = 'C'"))
        .await;
    holds(&receiver, &agent, "ACME|C", "name", "c2").await;
    differs(folder, &agent, port).await;

    // The settings have it compared as well; what is wrong in them is said.
    assert!(agent.terminate(SOON).await.is_some());
    let file = folder.join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let with = |reconcile: &str| {
        let line = format!("name = \"erp\"\nreconcile = {reconcile}");
        std::fs::write(&file, settings.replace("name = \"erp\"", &line)).unwrap();
    };
    with("{ every = \"24h\", at = \"02:30\", list = true }");
    let (code, said) = command(BINARY, folder, &["check"]);
    assert!(
        code == Some(2)
            && said.contains("source's block does not say in which zone")
            && said.contains("unknown key `list`"),
        "{said}"
    );
    with("{ every = \"24h\", full = true }");
    let agent = Agent::start(BINARY, folder);
    // The log of the agent before it says the same words.
    let deadline = tokio::time::Instant::now() + SOON;
    while compared(folder, &["--last"]).1["scheduled"] != true {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (code, said) = compared(folder, &["--last"]);
    assert_eq!(
        (code, &said["scheduled"], &said["types"][0]["different"]),
        (Some(1), &json!(true), &json!(1)),
        "{said:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sql_server_says_is_compared_by_key_and_by_sum() {
    let database = Database::new("ERP");
    database.options(|options| {
        options.engine_edition = 4;
        "Express Edition (64-bit)".clone_into(&mut options.edition);
    });
    let server = Server::start(Options::default(), database.clone()).unwrap();
    let run = |sql: &str| database.run(sql).unwrap();
    for sql in [
        "CREATE TABLE dbo.item (sku varchar(20) NOT NULL PRIMARY KEY, name varchar(40))",
        "CREATE TABLE dbo.stock (sku varchar(20) NOT NULL PRIMARY KEY, qty int)",
        "CREATE TABLE dbo.need (id int NOT NULL PRIMARY KEY, sku varchar(20), qty int, weight numeric(30,10))",
    ] {
        run(sql);
    }
    for rows in ROWS {
        let table = rows.split_whitespace().nth(2).unwrap();
        let columns = match table {
            "item" => "sku, name",
            "stock" => "sku, qty",
            _ => "id, sku, qty, weight",
        };
        run(&rows.replace(
            &format!("INTO {table} VALUES"),
            &format!("INTO dbo.{table} ({columns}) VALUES"),
        ));
    }
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = (tempfile::tempdir().unwrap(), free_port());
    let folder = site.path();
    std::fs::write(folder.join("password"), "Secret-1").unwrap();
    let source = format!(
        "type = \"sqlserver\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"ERP\"\nuser = \"sa\"\n\
         password = {{ file = \"password\" }}\ntls = \"disable\"",
        server.address().port()
    );
    let mapping = mapping("sqlserver", "", "dbo.");
    settle(folder, &source, &mapping, &receiver, port);
    let (code, said) = command(BINARY, folder, &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{said}");
    let agent = Agent::start(BINARY, folder);
    agrees(folder, &receiver, &agent).await;
    run("UPDATE dbo.item SET name = 'c2' WHERE sku = 'C'");
    holds(&receiver, &agent, "ACME|C", "name", "c2").await;
    let (code, said) = compared(folder, &["--full"]);
    assert_eq!(
        (code, &said["types"][0]["agree"]),
        (Some(0), &json!(3)),
        "{said:#}\n{}",
        agent.log()
    );
}
