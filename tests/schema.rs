//! Tables that change under a running agent and between two runs: what needs what is gone is held
//! with its reason, the rest goes on, and what was held is told when the mapping is mended.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::{Agent, command};
use harness::postgres::{PostgresServer, majors};
use harness::receiver::{Faults, Held, Receiver};
use serde_json::Value;
use tokio_postgres::Client;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(40);
const STOCK: &str = "inventory.availability.v1";
const PRODUCT: &str = "product.v1";

const MAPPING: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: postgres
company: ACME
tables:
  stock: {name: stock, key: [item]}
  item:  {name: item, key: [code]}
  note:  {name: note, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: stock.item, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: stock.qty, allocated: 0, active: true}
  - id: joined
    emit: inventory.availability.v1
    from: stock
    join: {item: {match: "item.code = stock.item", missing: "null"}}
    key: {sku: stock.item, location: "'J'"}
    fields: {uom: "'EA'", on_hand: stock.bin, allocated: "coalesce(item.reserved, 0)", active: true}
  - id: note
    emit: product.v1
    from: note
    key: {sku: note.id}
    fields: {name: note.text, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

const TABLES: &str = "
CREATE TABLE stock (item text PRIMARY KEY, qty numeric, bin int);
CREATE TABLE item (code text PRIMARY KEY, reserved int);
CREATE TABLE note (id int PRIMARY KEY, text text);
INSERT INTO stock VALUES ('a', 1, 1), ('b', 2, 2);
INSERT INTO item VALUES ('a', 5), ('b', 6);
INSERT INTO note VALUES (1, 'one'), (2, 'two'), (3, 'three')";

struct World {
    folder: tempfile::TempDir,
    db: Client,
    receiver: Receiver,
    _server: std::sync::Arc<PostgresServer>,
}

impl World {
    async fn on(major: Option<u32>, database: &str) -> Self {
        let server = PostgresServer::shared_of(major);
        server.create_database(database).await;
        let db = server.connect(database).await;
        db.batch_execute(TABLES).await.unwrap();
        let receiver = Receiver::start(1, Faults::default()).await;
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
             database = \"{database}\"\nslot = \"{database}\"\n\
             publication = \"lighterman_erp\"\nuser = \"postgres\"\nmappings = [\"mapping.yaml\"]\n\
             [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\n\
             timeout_seconds = 1\nretry_first_ms = 50\nretry_max_seconds = 1\n",
            server.port(),
            receiver.url()
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        let world = Self {
            folder,
            db,
            receiver,
            _server: server,
        };
        world.map(MAPPING);
        let (code, shown) = world.command(&["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
        world
    }

    fn map(&self, mapping: &str) {
        std::fs::write(self.folder.path().join("mapping.yaml"), mapping).unwrap();
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        command(BINARY, self.folder.path(), words)
    }

    async fn run(&self, sql: &str) {
        self.db.batch_execute(sql).await.unwrap();
    }

    /// Waits until a field of an event is as wanted.
    async fn comes(&self, agent: &Agent, event_type: &str, key: &str, field: &str, wanted: &str) {
        let key = format!("ACME|{key}");
        let is = |body: Option<&Value>| body.is_some_and(|body| body[field] == wanted);
        let came = self
            .receiver
            .wait(SOON, |held| is(held.body(event_type, &key)))
            .await;
        let has = self.receiver.held().body(event_type, &key).cloned();
        assert!(came, "{key} is {has:?}\n{}", agent.log());
    }

    /// Waits until a key has ended.
    async fn ends(&self, agent: &Agent, event_type: &str, key: &str) {
        let key = format!("ACME|{key}");
        let gone = |held: &Held| held.body(event_type, &key).is_none();
        let ended = self.receiver.wait(SOON, gone).await;
        assert!(ended, "{key} is still there\n{}", agent.log());
    }

    /// What is held, by what `status` says.
    fn status(&self) -> String {
        self.command(&["status", "--json"]).1
    }

    /// Waits until `status` does, or does not, say something.
    async fn says(&self, agent: &Agent, text: &str, wanted: bool) {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let status = self.status();
            if status.contains(text) == wanted {
                return;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "{text} {wanted}: {status}\n{}", agent.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_what_is_gone_is_held_and_the_rest_goes_on() {
    let world = World::on(None, "erp").await;
    let mut agent = Agent::start(BINARY, world.folder.path());
    world.comes(&agent, STOCK, "a|MAIN", "on_hand", "1").await;
    world.comes(&agent, STOCK, "b|J", "allocated", "6").await;
    world.comes(&agent, PRODUCT, "1", "name", "one").await;

    // A column that one rule reads.
    world
        .run(
            "ALTER TABLE stock RENAME COLUMN qty TO quantity;
             UPDATE stock SET quantity = 10, bin = 11 WHERE item = 'a';
             INSERT INTO note VALUES (12, 'two')",
        )
        .await;
    world.comes(&agent, PRODUCT, "12", "name", "two").await;
    let gone = "is not in table public.stock; lighterman map check says what";
    world.says(&agent, gone, true).await;
    // The other rule of that table does not need it.
    world.comes(&agent, STOCK, "a|J", "on_hand", "11").await;
    // The same after a restart: only the rows that need it wait.
    agent.kill();
    agent = Agent::start(BINARY, world.folder.path());
    world
        .run(
            "UPDATE stock SET quantity = 20 WHERE item = 'b'; INSERT INTO note VALUES (13, 'three')",
        )
        .await;
    world.comes(&agent, PRODUCT, "13", "name", "three").await;
    let changed = "the source's tables have changed, rows that need what changed are held";
    assert!(agent.logged(changed, SOON).await, "{}", agent.log());
    let (code, shown) = world.command(&["map", "check", "mapping.yaml", "--source", "erp"]);
    assert_ne!(code, Some(0), "{shown}");
    // A mended mapping: what was held is told, as it is now.
    let mended = MAPPING.replace("stock.qty", "stock.quantity");
    world.map(&mended);
    world.comes(&agent, STOCK, "a|MAIN", "on_hand", "10").await;
    world.comes(&agent, STOCK, "b|MAIN", "on_hand", "20").await;
    world.says(&agent, gone, false).await;

    // A column by which rows of another table are found: nothing is joined to nothing.
    world
        .run(
            "ALTER TABLE item RENAME COLUMN code TO sku; UPDATE item SET reserved = 50 WHERE sku = 'a';
             UPDATE stock SET bin = 12 WHERE item = 'a'; DELETE FROM item WHERE sku = 'b';
             INSERT INTO note VALUES (14, 'four')",
        )
        .await;
    world.comes(&agent, PRODUCT, "14", "name", "four").await;
    let unfound = "is not in table public.item; lighterman map check says what";
    world.says(&agent, unfound, true).await;
    world
        .says(
            &agent,
            "the log does not say which row of public.item was removed",
            true,
        )
        .await;
    world.comes(&agent, STOCK, "a|J", "on_hand", "12").await;
    for (key, allocated) in [("ACME|a|J", "5"), ("ACME|b|J", "6")] {
        let has = world.receiver.held().body(STOCK, key).cloned();
        assert_eq!(has.unwrap()["allocated"], allocated, "{key}");
    }
    let mended = mended
        .replace("key: [code]", "key: [sku]")
        .replace("item.code = stock.item", "item.sku = stock.item");
    world.map(&mended);
    world.comes(&agent, STOCK, "a|J", "allocated", "50").await;
    world.says(&agent, unfound, false).await;

    // A column of another type, and the agent started anew: the same, and it starts.
    agent.kill();
    world
        .run(
            "ALTER TABLE stock ALTER COLUMN bin TYPE text;
             UPDATE stock SET bin = 'A-13', quantity = 21 WHERE item = 'a'",
        )
        .await;
    agent = Agent::start(BINARY, world.folder.path());
    world.comes(&agent, STOCK, "a|MAIN", "on_hand", "21").await;
    assert!(agent.logged(changed, SOON).await, "{}", agent.log());
    let retyped = "its text cannot become a decimal";
    world.says(&agent, retyped, true).await;
    let has = world.receiver.held().body(STOCK, "ACME|a|J").cloned();
    assert_eq!(has.unwrap()["on_hand"], "12", "held, not guessed");
    world
        .run(
            "ALTER TABLE stock ALTER COLUMN bin TYPE int USING replace(bin, 'A-', '')::int;
             UPDATE stock SET bin = 14 WHERE item = 'a'",
        )
        .await;
    world.comes(&agent, STOCK, "a|J", "on_hand", "14").await;
    world.says(&agent, retyped, false).await;

    // A table that is gone, and another in its place.
    world
        .run("DROP TABLE note; UPDATE stock SET quantity = 30 WHERE item = 'b'")
        .await;
    world.comes(&agent, STOCK, "b|MAIN", "on_hand", "30").await;
    let gone = "table public.note does not exist any more";
    world.says(&agent, gone, true).await;
    // The source runs, and `status` does not say otherwise; but a person must know. While it opens its log anew,
    // nothing is said for a moment.
    let said = format!("Source erp runs, but not all of it: {gone}");
    let deadline = tokio::time::Instant::now() + SOON;
    let shown = loop {
        let (code, shown) = world.command(&["status"]);
        if shown.contains(&said) {
            assert_eq!(code, Some(1), "{shown}");
            break shown;
        }
        assert!(tokio::time::Instant::now() < deadline, "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!shown.contains("does NOT run"), "{shown}");
    world
        .run(
            "CREATE TABLE note (id int PRIMARY KEY, text text); INSERT INTO note VALUES (1, 'new');
             UPDATE stock SET quantity = 31 WHERE item = 'b'",
        )
        .await;
    world.comes(&agent, STOCK, "b|MAIN", "on_hand", "31").await;
    world
        .run("ALTER PUBLICATION lighterman_erp ADD TABLE note; INSERT INTO note VALUES (5, 'five')")
        .await;
    world.comes(&agent, PRODUCT, "1", "name", "new").await;
    world.comes(&agent, PRODUCT, "5", "name", "five").await;
    world.says(&agent, "does not exist any more", false).await;
    let held = world.receiver.held();
    assert!(held.violations.is_empty(), "{:?}", held.violations);
}

/// Tables that were out of the publication, or made anew, while the agent was stopped: what changed
/// unseen is told, what was deleted unseen ends, and the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_published_between_two_runs_is_compared() {
    for (n, major) in majors().into_iter().enumerate() {
        let world = World::on(major, &format!("apart{n}")).await;
        // Before anything is read: the stream comes to it, whatever else is due.
        world
            .run("UPDATE note SET text = 'second' WHERE id = 2")
            .await;
        let mut agent = Agent::start(BINARY, world.folder.path());
        world.comes(&agent, STOCK, "b|MAIN", "on_hand", "2").await;
        world.comes(&agent, PRODUCT, "1", "name", "one").await;
        world.comes(&agent, PRODUCT, "2", "name", "second").await;
        assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
        agent.kill();
        for sql in [
            "ALTER PUBLICATION lighterman_erp DROP TABLE note",
            "UPDATE note SET text = 'unseen' WHERE id = 1",
            "DELETE FROM note WHERE id = 2",
            "ALTER PUBLICATION lighterman_erp ADD TABLE note",
            "DROP TABLE stock",
            "CREATE TABLE stock (item text PRIMARY KEY, qty numeric, bin int)",
            "INSERT INTO stock VALUES ('a', 7, 1)",
            "ALTER PUBLICATION lighterman_erp ADD TABLE stock",
            "UPDATE item SET reserved = 9 WHERE code = 'a'",
        ] {
            world.run(sql).await;
        }
        agent = Agent::start(BINARY, world.folder.path());
        world.comes(&agent, STOCK, "a|J", "allocated", "9").await;
        world.comes(&agent, PRODUCT, "1", "name", "unseen").await;
        world.comes(&agent, STOCK, "a|MAIN", "on_hand", "7").await;
        world.ends(&agent, PRODUCT, "2").await;
        world.ends(&agent, STOCK, "b|MAIN").await;
        world.run("INSERT INTO note VALUES (4, 'seen')").await;
        world.comes(&agent, PRODUCT, "4", "name", "seen").await;
        world.says(&agent, "is read again", false).await;
        let log = agent.log();
        assert!(log.contains("was taken out of publication"), "{log}");
        assert!(log.contains("is another one than before"), "{log}");
        let violations = &world.receiver.held().violations;
        assert!(violations.is_empty(), "{violations:?}");
    }
}

/// A publication made anew: what changed meanwhile is in no log. That is said, also where the server
/// reads on as if nothing had been; and what it says to do brings all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_made_anew_is_said_and_mended() {
    const ANEW: [&str; 4] = [
        "DROP PUBLICATION lighterman_erp",
        "UPDATE note SET text = text || '!' WHERE id = 1",
        "DELETE FROM note WHERE id = (SELECT max(id) FROM note)",
        "CREATE PUBLICATION lighterman_erp FOR TABLE stock, item, note",
    ];
    for (n, major) in majors().into_iter().enumerate() {
        let world = World::on(major, &format!("anew{n}")).await;
        let mut agent = Agent::start(BINARY, world.folder.path());
        for (id, name) in [("1", "one"), ("2", "two"), ("3", "three")] {
            world.comes(&agent, PRODUCT, id, "name", name).await;
        }
        assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
        for (running, name, gone) in [(true, "one!", "3"), (false, "one!!", "2")] {
            if !running {
                agent.kill();
            }
            for sql in ANEW {
                world.run(sql).await;
            }
            if !running {
                agent = Agent::start(BINARY, world.folder.path());
            }
            world.says(&agent, "pg_drop_replication_slot", true).await;
            let (_, shown) = world.command(&["status"]);
            assert!(shown.contains("Source erp does NOT run"), "{shown}");
            let anew = "was dropped and made anew: changes before that are not told";
            // While it runs, a server before 18 is the first to say it, in its own words.
            assert!(running || shown.contains(anew), "{shown}");
            world
                .run(&format!("SELECT pg_drop_replication_slot('anew{n}')"))
                .await;
            for words in [&["source", "prepare", "--apply"][..], &["source", "resync"]] {
                let (code, shown) = world.command(words);
                assert_eq!(code, Some(0), "{shown}");
            }
            world.comes(&agent, PRODUCT, "1", "name", name).await;
            world.ends(&agent, PRODUCT, gone).await;
            world.says(&agent, "pg_drop_replication_slot", false).await;
        }
        let violations = &world.receiver.held().violations;
        assert!(violations.is_empty(), "{violations:?}");
    }
}
