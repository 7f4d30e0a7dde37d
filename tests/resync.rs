//! Tables that are read again and compared: after a lost log, and because a person asked for it
//! beside the running agent. Rows that went unseen end, new ones are told, and no fact twice.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::postgres::PostgresServer;
use harness::receiver::{Faults, Held, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;
use tokio_postgres::Client;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const STOCK: &str = "inventory.availability.v1";
const MOVED: &str = "inventory.movement.v1";

const MAPPING: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: KIND
company: ACME
tables:
  stock: {name: stock, key: [item]}
  item:  {name: item, key: [code]}
  moved: {name: moved, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: stock.item, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: stock.qty, allocated: 0, active: true}
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.item, location: "'MAIN'", uom: "'EA'", quantity: moved.qty}
  - id: sum
    emit: inventory.availability.v1
    from: item
    add:
      moves: {from: moved, match: "moved.item = item.code", sum: moved.qty}
    key: {sku: item.code, location: "'SUM'"}
    fields: {uom: "'EA'", on_hand: moves.sum, allocated: 0, active: true}
"#;

const TABLES: &str = "
CREATE TABLE stock (item TEXT PRIMARY KEY, qty INTEGER);
CREATE TABLE item (code TEXT PRIMARY KEY, name TEXT);
CREATE TABLE moved (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER);
INSERT INTO stock VALUES ('a', 1), ('b', 2), ('c', 3);
INSERT INTO item VALUES ('a', 'Anchor'), ('b', 'Bolt'), ('c', 'Clamp');
INSERT INTO moved VALUES (1, 'a', 5), (2, 'b', 6), (3, 'a', 7), (4, 'c', 8);";

/// What nobody tells the agent: rows come, change and go.
const UNSEEN: &str = "
DELETE FROM stock WHERE item = 'b';
UPDATE stock SET qty = 11 WHERE item = 'a';
INSERT INTO stock VALUES ('d', 4);
DELETE FROM item WHERE code = 'b';
INSERT INTO item VALUES ('d', 'Dowel');
DELETE FROM moved WHERE id = 3;
UPDATE moved SET qty = 9 WHERE id = 4;
INSERT INTO moved VALUES (5, 'd', 10);";

fn mapping(kind: &str) -> String {
    MAPPING.replace("KIND", kind)
}

/// What the receiver must hold: stock by key, and the last quantity of each fact.
type Wanted = (
    Vec<(&'static str, &'static str)>,
    Vec<(&'static str, &'static str)>,
);

fn before() -> Wanted {
    (
        vec![
            ("a|MAIN", "1"),
            ("b|MAIN", "2"),
            ("c|MAIN", "3"),
            ("a|SUM", "12"),
            ("b|SUM", "6"),
            ("c|SUM", "8"),
        ],
        vec![("1", "5"), ("2", "6"), ("3", "7"), ("4", "8")],
    )
}

fn afterwards() -> Wanted {
    (
        vec![
            ("a|MAIN", "11"),
            ("c|MAIN", "3"),
            ("d|MAIN", "4"),
            ("a|SUM", "5"),
            ("c|SUM", "9"),
            ("d|SUM", "10"),
        ],
        // Of what is gone at the source, the fact stays; of what was changed, a correction comes.
        vec![("1", "5"), ("2", "6"), ("3", "7"), ("4", "9"), ("5", "10")],
    )
}

fn differences(held: &Held, wanted: &Wanted) -> Vec<String> {
    let mut found = held.violations.clone();
    let (stock, _) = wanted;
    for (key, on_hand) in stock {
        let body = held.body(STOCK, &format!("ACME|{key}"));
        if body.is_none_or(|body| body["on_hand"] != *on_hand) {
            found.push(format!("{key} is {on_hand}, the receiver has {body:?}"));
        }
    }
    for ((_, key), (_, body)) in held.state.iter().filter(|((kind, _), _)| kind == STOCK) {
        let known = stock
            .iter()
            .any(|(known, _)| *key == format!("ACME|{known}"));
        if body.is_some() && !known {
            found.push(format!("{key} is gone, the receiver has it"));
        }
    }
    found
}

/// Facts of the outbox by key, oldest first: what each was told as, and its quantity.
fn facts(folder: &Path) -> Vec<(String, String, String)> {
    let db = Connection::open(folder.join("state/lighterman.db")).unwrap();
    let mut query = db
        .prepare("SELECT key, op, json FROM outbox WHERE event_type = ?1 ORDER BY key, offset")
        .unwrap();
    let rows = query.query_map([MOVED], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
    });
    rows.unwrap()
        .map(Result::unwrap)
        .map(|(key, op, json)| {
            let json: Value = serde_json::from_str(&json).unwrap();
            let quantity = json["body"]["quantity"].as_str().unwrap().to_owned();
            (key, op, quantity)
        })
        .collect()
}

/// Every fact is told once, and the last that is said of it is true.
fn judge_facts(folder: &Path, wanted: &Wanted) {
    let told = facts(folder);
    for (id, quantity) in &wanted.1 {
        let key = format!("ACME|{id}");
        let of_it: Vec<_> = told.iter().filter(|(known, _, _)| *known == key).collect();
        let first = of_it.iter().filter(|(_, op, _)| op == "fact").count();
        assert_eq!(first, 1, "{id} is told {first} times: {told:?}");
        assert_eq!(of_it.last().unwrap().2, *quantity, "{id}: {told:?}");
    }
}

async fn comes(receiver: &Receiver, agent: &Agent, folder: &Path, wanted: &Wanted) {
    let same = |held: &Held| {
        let facts = wanted.1.iter();
        let mut facts = facts.map(|(id, _)| format!("ACME|{id}"));
        differences(held, wanted).is_empty() && facts.all(|key| held.facts.contains_key(&key))
    };
    let came = receiver.wait(SOON, same).await;
    let found = differences(&receiver.held(), wanted);
    assert!(came, "{found:?}\n{:?}\n{}", facts(folder), agent.log());
    judge_facts(folder, wanted);
}

async fn sums_come(receiver: &Receiver, agent: &Agent, wanted: &Wanted) {
    let same = |held: &Held| differences(held, wanted).is_empty();
    let came = receiver.wait(SOON, same).await;
    let found = differences(&receiver.held(), wanted);
    assert!(came, "{found:?}\n{}", agent.log());
}

/// A PostgreSQL database and the folder of its agent.
struct Postgres {
    server: Arc<PostgresServer>,
    name: &'static str,
    db: Client,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// A database with `more` in it, prepared.
    async fn new(name: &'static str, url: &str, more: &str) -> Self {
        let server = PostgresServer::shared();
        server.create_database(name).await;
        let db = server.connect(name).await;
        db.batch_execute(TABLES).await.unwrap();
        db.batch_execute(more).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
             database = \"{name}\"\nuser = \"postgres\"\nslot = \"{name}\"\n\
             mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\n\
             url = \"{url}\"\ntimeout_seconds = 1\nretry_first_ms = 50\nretry_max_seconds = 1\n",
            server.port()
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        std::fs::write(folder.path().join("mapping.yaml"), mapping("postgres")).unwrap();
        let site = Self {
            server,
            name,
            db,
            folder,
        };
        site.done(&["source", "prepare", "--apply"]);
        // Somebody is always writing something: a quiet server keeps its log's end to itself.
        let others = site.server.connect(name).await;
        tokio::spawn(async move {
            let sql = "SELECT pg_logical_emit_message(true, 'others', '')";
            while others.batch_execute(sql).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        site
    }

    fn agent(&self) -> Agent {
        Agent::start(BINARY, self.folder.path())
    }

    fn done(&self, words: &[&str]) -> String {
        let (code, shown) = command(BINARY, self.folder.path(), words);
        assert_eq!(code, Some(0), "{shown}");
        shown
    }

    async fn run(&self, sql: &str) {
        self.db.batch_execute(sql).await.unwrap();
    }

    /// Drops the slot, of which the server may not know yet that its reader was killed.
    async fn drop_slot(&self) {
        let deadline = tokio::time::Instant::now() + SOON;
        let sql = format!("SELECT pg_drop_replication_slot('{}')", self.name);
        let end = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
              WHERE slot_name = '{}' AND active",
            self.name
        );
        while let Err(error) = self.db.batch_execute(&sql).await {
            self.db.batch_execute(&end).await.unwrap();
            assert!(tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn clean(self) {
        self.drop_slot().await;
        drop(self.server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_slot_is_healed_while_the_agent_waits() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Postgres::new("resync_slot", receiver.url(), "").await;
    let folder = site.folder.path().to_owned();
    let mut agent = site.agent();
    comes(&receiver, &agent, &folder, &before()).await;
    agent.kill();
    site.drop_slot().await;
    site.run(UNSEEN).await;
    agent = site.agent();
    assert!(
        agent.logged("no longer reaches back", SOON).await,
        "{}",
        agent.log()
    );
    let (_, status) = command(BINARY, &folder, &["status"]);
    assert!(
        status.contains("does NOT run") && status.contains("source resync"),
        "{status}"
    );
    site.done(&["source", "prepare", "--apply"]);
    let shown = site.done(&["source", "resync"]);
    assert!(shown.contains("the running agent is asked"), "{shown}");
    comes(&receiver, &agent, &folder, &afterwards()).await;
    // The stream goes on from there, also where the reading found a row gone.
    site.run("INSERT INTO stock VALUES ('b', 20); UPDATE moved SET qty = 1 WHERE id = 5;")
        .await;
    let mut wanted = afterwards();
    wanted.0.push(("b|MAIN", "20"));
    wanted.0.retain(|(key, _)| *key != "d|SUM");
    wanted.0.push(("d|SUM", "1"));
    wanted.1.retain(|(id, _)| *id != "5");
    comes(&receiver, &agent, &folder, &wanted).await;
    agent.kill();
    site.clean().await;
}

/// A statement that writes a table anew tells nothing in the log: the table alone is read again, and the
/// stream of all goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_postgres_table_is_read_again_on_command_while_the_stream_runs() {
    let receiver = Receiver::start(6, Faults::default()).await;
    let site = Postgres::new("resync_one", receiver.url(), "").await;
    let folder = site.folder.path().to_owned();
    let mut agent = site.agent();
    comes(&receiver, &agent, &folder, &before()).await;
    site.run("ALTER TABLE stock ALTER COLUMN qty TYPE bigint USING qty + 100")
        .await;
    // What the log tells, comes; what the statement did, nobody knows of.
    site.run("UPDATE moved SET qty = 9 WHERE id = 4").await;
    let mut wanted = before();
    wanted.0[5] = ("c|SUM", "9");
    wanted.1[3] = ("4", "9");
    comes(&receiver, &agent, &folder, &wanted).await;
    let shown = site.done(&["source", "resync", "--source", "erp", "--table", "stock"]);
    assert!(shown.contains("public.stock"), "{shown}");
    site.run("UPDATE moved SET qty = 10 WHERE id = 4").await;
    let stock = [("a|MAIN", "101"), ("b|MAIN", "102"), ("c|MAIN", "103")];
    wanted.0.splice(0..3, stock);
    wanted.0[5] = ("c|SUM", "10");
    wanted.1[3] = ("4", "10");
    comes(&receiver, &agent, &folder, &wanted).await;
    let (_, status) = command(BINARY, &folder, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let epoch = &status["sources"][0]["epoch"];
    assert_eq!(*epoch, 1, "the log goes on where it stood");
    agent.kill();
    site.clean().await;
}

/// Rows that nothing can be matched with any more are there all the same: when their table is read
/// again, what was known of them stays, and only what is really gone leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_the_column_that_finds_them_are_not_gone() {
    let receiver = Receiver::start(5, Faults::default()).await;
    let site = Postgres::new("resync_renamed", receiver.url(), "").await;
    let folder = site.folder.path().to_owned();
    let mut agent = site.agent();
    comes(&receiver, &agent, &folder, &before()).await;
    agent.kill();
    for sql in [
        "ALTER PUBLICATION resync_renamed DROP TABLE moved",
        "ALTER TABLE moved RENAME COLUMN item TO sku",
        "DELETE FROM moved WHERE id = 3",
        "UPDATE moved SET qty = 9 WHERE id = 4",
        "ALTER PUBLICATION resync_renamed ADD TABLE moved",
    ] {
        site.run(sql).await;
    }
    agent = site.agent();
    let mut wanted = before();
    wanted.0[3] = ("a|SUM", "5");
    comes(&receiver, &agent, &folder, &wanted).await;
    let (_, status) = command(BINARY, &folder, &["status"]);
    assert!(
        status.contains("is not in table public.moved"),
        "{status}\n{}",
        agent.log()
    );
    // Named as before, they are found again.
    site.run("ALTER TABLE moved RENAME COLUMN sku TO item")
        .await;
    // What changed of one of them meanwhile is not known: no sum is made with what it was.
    site.run("INSERT INTO moved VALUES (6, 'c', 1)").await;
    site.run("UPDATE moved SET qty = 20 WHERE id = 2").await;
    wanted.0[4] = ("b|SUM", "20");
    sums_come(&receiver, &agent, &wanted).await;
    site.run("UPDATE moved SET qty = 9 WHERE id = 4").await;
    wanted.0[5] = ("c|SUM", "10");
    sums_come(&receiver, &agent, &wanted).await;
    agent.kill();
    site.clean().await;
}

/// Facts in the outbox, and how many of them are different ones.
fn facts_told(folder: &Path) -> (u32, u32) {
    let Ok(db) = Connection::open(folder.join("state/lighterman.db")) else {
        return (0, 0);
    };
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.query_row(
        "SELECT count(*), count(DISTINCT idempotency_key) FROM outbox WHERE op = 'fact'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .unwrap_or_default()
}

/// SIGKILL while a table is read by ranges, two at once: each row comes once, however often that happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_killed_goes_on_where_it_was() {
    const ROWS: u32 = 52_000;
    let receiver = Receiver::start(4, Faults::default()).await;
    // Four are there anyway.
    let more = format!(
        "INSERT INTO moved SELECT i, 'a', 1 FROM generate_series(11, {}) i;
         INSERT INTO stock SELECT 's' || i, i FROM generate_series(1, 3000) i;
         ANALYZE moved",
        ROWS + 6
    );
    let site = Postgres::new("resync_killed", receiver.url(), &more).await;
    let folder = site.folder.path().to_owned();
    let file = folder.join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let settings = settings.replace("mappings =", "snapshot = { parallel = 2 }\nmappings =");
    // What stands in the outbox is judged: nobody needs to take it.
    let settings = settings.replace(
        "type = \"webhook\"",
        "type = \"webhook\"\nevents = [\"product.v1\"]",
    );
    std::fs::write(&file, settings).unwrap();
    let mut agent = site.agent();
    let mut cut = Vec::new();
    for part in 1..=5 {
        let deadline = tokio::time::Instant::now() + SOON;
        while facts_told(&folder).0 < part * ROWS / 6 {
            assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
            tokio::task::yield_now().await;
        }
        agent.kill();
        cut.push(facts_told(&folder).0);
        agent = site.agent();
    }
    assert!(cut[0] < ROWS && cut[1] < ROWS, "it was cut short: {cut:?}");
    assert!(
        agent.log().contains("read by ranges of its key"),
        "{}",
        agent.log()
    );
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, status) = command(BINARY, &folder, &["status", "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        let source = &status["sources"][0];
        if source["snapshot_done"] == 3 && source["snapshot_tables"] == 3 {
            let tables = source["tables"].as_array().unwrap();
            assert!(
                tables.iter().all(|table| table["done_at"].is_string()),
                "{status}"
            );
            let moved = tables.iter().find(|table| table["table"] == "public.moved");
            assert_eq!(moved.unwrap()["rows"], ROWS, "{status}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(facts_told(&folder), (ROWS, ROWS));
    agent.kill();
    site.clean().await;
}

#[test]
fn settings_of_snapshots_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    for (snapshot, wanted) in [
        (
            "{ pause = [\"8-18\"], zone = \"UTC\" }",
            "`8-18` is no time of day",
        ),
        ("{ pause = [\"08:00-18:00\"] }", "zone"),
        ("{ zone = \"Europe/Zurch\" }", "there is no time zone"),
        ("{ parallel = 0 }", "parallel"),
        ("{ rate = 5 }", "rate"),
    ] {
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\nsnapshot = {snapshot}\n\
             mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\n\
             url = \"http://127.0.0.1:9/\"\n"
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        let (code, shown) = command(BINARY, folder.path(), &["check"]);
        assert!(
            code == Some(2) && shown.contains(wanted),
            "{snapshot}: {shown}"
        );
    }
}

fn sqlite(receiver: &Receiver) -> Site {
    Site::new(BINARY, receiver.url(), TABLES, &mapping("sqlite"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_rows_is_healed_while_the_agent_is_stopped() {
    let receiver = Receiver::start(2, Faults::default()).await;
    let site = sqlite(&receiver);
    let mut agent = site.agent();
    comes(&receiver, &agent, site.path(), &before()).await;
    agent.kill();
    site.run(UNSEEN);
    site.run(
        "INSERT INTO stock VALUES ('e', 5); DELETE FROM stock WHERE item = 'e';
         DELETE FROM lighterman_log WHERE seq < (SELECT max(seq) FROM lighterman_log)",
    );
    agent = site.agent();
    assert!(
        agent.logged("no longer reaches back", SOON).await,
        "{}",
        agent.log()
    );
    agent.kill();
    let (code, shown) = site.command(&["source", "resync", "--json"]);
    assert!(code == Some(0) && shown.contains("\"epoch\":2"), "{shown}");
    agent = site.agent();
    comes(&receiver, &agent, site.path(), &afterwards()).await;
    // Twice is as good as once.
    let arrivals = receiver.held().arrivals;
    agent.kill();
    site.command(&["source", "resync"]);
    site.command(&["source", "resync"]);
    agent = site.agent();
    assert!(
        receiver.wait(SOON, |_| all_read(&site)).await,
        "{}",
        agent.log()
    );
    site.run("UPDATE stock SET qty = 12 WHERE item = 'a'");
    let mut wanted = afterwards();
    wanted.0[0] = ("a|MAIN", "12");
    comes(&receiver, &agent, site.path(), &wanted).await;
    assert_eq!(receiver.held().arrivals, arrivals + 1, "{}", agent.log());
}

/// The triggers that write the log: name and statement.
fn triggers(site: &Site) -> Vec<(String, String)> {
    let db = Connection::open(site.path().join("erp.db")).unwrap();
    let mut query = db
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Whether every table has been read and nothing is asked for.
fn all_read(site: &Site) -> bool {
    let (_, status) = site.status();
    let source = &status["sources"][0];
    let asked = source["resync_asked"].as_array().unwrap();
    asked.is_empty() && source["snapshot_done"] == source["snapshot_tables"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_read_again_on_command_while_the_stream_runs() {
    let receiver = Receiver::start(3, Faults::default()).await;
    let site = sqlite(&receiver);
    let agent = site.agent();
    comes(&receiver, &agent, site.path(), &before()).await;
    // Somebody put old copies of two tables in place: the log knows nothing of it.
    let triggers = triggers(&site);
    let unseen = |sql: &str| {
        let names = triggers.iter().map(|(name, _)| name);
        let drop: Vec<String> = names
            .map(|name| format!("DROP TRIGGER \"{name}\";"))
            .collect();
        let drop = drop.join("");
        let make: Vec<&str> = triggers.iter().map(|(_, sql)| sql.as_str()).collect();
        let make = make.join(";");
        site.run(&format!("BEGIN; {drop} {sql}; {make}; COMMIT"));
    };
    unseen("DELETE FROM stock WHERE item = 'b'; UPDATE stock SET qty = 11 WHERE item = 'a'");
    unseen("DELETE FROM moved WHERE id = 3; INSERT INTO moved VALUES (5, 'b', 10)");
    let ask = |words: &[&str]| {
        let (code, shown) = site.command(&[&["source", "resync"], words].concat());
        assert_eq!(code, Some(0), "{shown}");
        shown
    };
    let shown = ask(&[
        "--source",
        "erp",
        "--table",
        "stock",
        "--table",
        "main.moved",
    ]);
    assert!(shown.contains("main.stock, main.moved"), "{shown}");
    let mut wanted = before();
    wanted.0 = vec![
        ("a|MAIN", "11"),
        ("c|MAIN", "3"),
        ("a|SUM", "5"),
        ("b|SUM", "16"),
        ("c|SUM", "8"),
    ];
    wanted.1.push(("5", "10"));
    comes(&receiver, &agent, site.path(), &wanted).await;
    let (_, status) = site.status();
    assert_eq!(
        status["sources"][0]["epoch"], 1,
        "the log goes on where it stood"
    );
    site.run("INSERT INTO stock VALUES ('b', 7)");
    wanted.0.push(("b|MAIN", "7"));
    comes(&receiver, &agent, site.path(), &wanted).await;
    let (code, shown) = site.command(&["source", "resync", "--table", "stok"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("did you mean stock?"), "{shown}");
}
