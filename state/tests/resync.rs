//! Tables that are read again: what stays known, what is no longer there, and who asked.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{Envelope, Event, EventType, FieldValue, MappingRef};
use rusqlite::Connection;
use state::{
    CaptureCommit, ChunkDone, FILE_NAME, Held, Item, Resync, RuleInForce, Stage, StateReader,
    ask_resync,
};

use crate::common::{self, NOW, World, at, fact, position, product};

fn rules() -> Vec<RuleInForce> {
    let rule = |name: &str, event_type| RuleInForce {
        name: name.to_owned(),
        digest: "1".to_owned(),
        event_type,
        table: "item".to_owned(),
        relates: false,
    };
    vec![
        rule("products", EventType::Product),
        rule("facts", EventType::InventoryMovement),
    ]
}

async fn open(world: &World) {
    let at = world.store.source("erp").await.unwrap().checkpoint;
    world
        .store
        .open_rules(world.source, rules(), at)
        .await
        .unwrap();
    let tables = vec!["item".to_owned()];
    world
        .store
        .snapshots(world.source, 1, tables, NOW)
        .await
        .unwrap();
}

fn held(rule: &str, row: &str) -> Item {
    let fact = rule == "facts";
    Item::Held(Held {
        rule: rule.to_owned(),
        event_type: if fact {
            EventType::InventoryMovement
        } else {
            EventType::Product
        },
        table: "item".to_owned(),
        row_key: row.to_owned(),
        event_key: Some(format!("ACME|{row}")),
        position: position(1),
        reason: "unclear".to_owned(),
        row_json: "{\"op\":\"read\"}".to_owned(),
    })
}

/// Items read by a chunk; without `next` the last.
async fn chunk(world: &World, items: Vec<Item>, next: Option<&str>) -> state::CaptureReport {
    chunk_of(world, items, None, next).await
}

async fn chunk_of(
    world: &World,
    items: Vec<Item>,
    range: Option<u32>,
    next: Option<&str>,
) -> state::CaptureReport {
    let commit = CaptureCommit {
        items,
        routes: world.routes(),
        chunk: Some(ChunkDone {
            table: "item".to_owned(),
            range,
            next: next.map(str::to_owned),
            rows: 1,
        }),
        ..CaptureCommit::default()
    };
    let stored = world.store.commit_capture(world.source, commit, NOW);
    stored.await.unwrap()
}

async fn untold(world: &World) -> Vec<(String, bool)> {
    let found = world.store.commit_related(world.source, 1, NOW, |store| {
        let found = store.untold("products", "products", 0, 10)?;
        Ok((std::sync::Arc::default(), found))
    });
    let found = found.await.unwrap().1;
    found
        .into_iter()
        .map(|one| (one.key, one.same_rule))
        .collect()
}

async fn stage(world: &World, name: &str) -> Stage {
    let rules = world.store.rules(world.source).await.unwrap();
    rules.iter().find(|rule| rule.name == name).unwrap().stage
}

fn held_rows(world: &World) -> Vec<String> {
    let reader = StateReader::open(world.folder.path()).unwrap();
    let held = reader.held(10).unwrap().into_iter();
    held.map(|item| format!("{} {}", item.what, item.key))
        .collect()
}

#[tokio::test]
async fn what_a_reading_does_not_see_is_no_longer_told_or_held() {
    for what in [Resync::All, Resync::Tables(vec!["item".to_owned()])] {
        let world = World::new().await;
        open(&world).await;
        let first = vec![
            product("A", 1, "a"),
            product("B", 1, "b"),
            product("C", 1, "c"),
            held("products", "H"),
            held("products", "I"),
            held("facts", "F"),
        ];
        chunk(&world, first, None).await;
        assert_eq!(stage(&world, "products").await, Stage::Ending);
        let epoch = world.store.resync("erp", what.clone()).await.unwrap();
        assert_eq!(epoch, Some(if what == Resync::All { 2 } else { 1 }));
        assert_eq!(stage(&world, "products").await, Stage::Reading);
        assert_eq!(stage(&world, "facts").await, Stage::Reading);
        open(&world).await;
        // A is as it was, I is unclear still, the rest is gone.
        let second = vec![product("A", 2, "a"), held("products", "I")];
        let report = chunk(&world, second, None).await;
        assert_eq!((report.events, report.suppressed), (0, 1), "{what:?}");
        let gone = [("ACME|B".to_owned(), true), ("ACME|C".to_owned(), true)];
        assert_eq!(untold(&world).await, gone, "{what:?}");
        // A fact that nobody was told stays for a person.
        let mut rows = held_rows(&world);
        rows.sort();
        assert_eq!(rows, ["facts ACME|F", "products ACME|I"], "{what:?}");
    }
}

/// What is held of rows without a key is settled by no row; where their table is read again for a
/// rule of several tables, those that are still unclear are held anew.
#[tokio::test]
async fn what_is_held_of_rows_without_a_key_is_held_anew_by_a_reading() {
    for what in [Resync::All, Resync::Tables(vec!["item".to_owned()])] {
        let world = World::new().await;
        let mut rules = rules();
        rules.truncate(1);
        rules[0].relates = true;
        let opened = world.store.open_rules(world.source, rules, None);
        opened.await.unwrap();
        let of = |table: &str| {
            let Item::Held(mut item) = held("products", "") else {
                unreachable!("it is held")
            };
            (item.table, item.event_key) = (table.to_owned(), None);
            Item::Held(item)
        };
        world.commit(vec![of("item"), of("other")], 1).await;
        assert_eq!(held_rows(&world).len(), 2);
        world.store.resync("erp", what.clone()).await.unwrap();
        let left = usize::from(what != Resync::All);
        assert_eq!(held_rows(&world).len(), left, "{what:?}");
        chunk(&world, vec![of("item")], None).await;
        assert_eq!(held_rows(&world).len(), left + 1, "{what:?}");
    }
}

#[tokio::test]
async fn a_second_order_within_the_first_begins_anew() {
    let world = World::new().await;
    open(&world).await;
    chunk(
        &world,
        vec![product("A", 1, "a"), product("B", 1, "b")],
        None,
    )
    .await;
    let table = || Resync::Tables(vec!["item".to_owned()]);
    world.store.resync("erp", table()).await.unwrap();
    chunk(&world, vec![product("A", 2, "a")], Some("5")).await;
    world.store.resync("erp", table()).await.unwrap();
    let tables = vec!["item".to_owned()];
    let progress = world.store.snapshots(world.source, 1, tables, NOW).await;
    assert_eq!(progress.unwrap()[0].cursor, None, "from its first row");
    // A was seen by the first reading alone.
    chunk(&world, vec![product("B", 3, "b")], None).await;
    assert_eq!(untold(&world).await, [("ACME|A".to_owned(), true)]);
}

/// What changed while a table was out of the log changed unseen, also in cells that the log leaves
/// out of the next change it tells.
#[tokio::test]
async fn what_was_told_before_a_reading_stands_in_for_nothing() {
    for what in [Resync::All, Resync::Tables(vec!["item".to_owned()])] {
        let world = World::new().await;
        open(&world).await;
        let first = vec![product("A", 1, "a"), product("B", 1, "b")];
        chunk(&world, first, None).await;
        let outdated = async |sku: &str| {
            let (key, rule) = (format!("ACME|{sku}"), "products".to_owned());
            let (source, of) = (world.source, EventType::Product);
            let found = world.store.published(source, of, key, rule, sku.to_owned());
            found.await.unwrap().unwrap().outdated
        };
        assert!(!outdated("A").await && !outdated("B").await);
        world.store.resync("erp", what.clone()).await.unwrap();
        open(&world).await;
        assert!(outdated("A").await && outdated("B").await, "{what:?}");
        // Told again, by the log or as it is read.
        let epoch = world.store.source("erp").await.unwrap().epoch;
        let again = |item: Item| {
            let Item::Event(mut published) = item else {
                unreachable!("a product is an event")
            };
            let envelope = Envelope {
                version: contract::Position {
                    epoch,
                    ..published.event.envelope.version.clone()
                },
                ..published.event.envelope.clone()
            };
            published.event = Event::new(envelope, published.event.body.clone());
            Item::Event(published)
        };
        chunk(&world, vec![again(product("A", 2, "a"))], Some("5")).await;
        assert!(!outdated("A").await, "{what:?}");
        assert!(outdated("B").await, "{what:?}");
        chunk(&world, vec![again(product("B", 3, "c"))], None).await;
        assert!(!outdated("B").await, "{what:?}");
    }
}

/// A fact of the rule `facts`, of an item.
fn told(id: &str, sku: Option<&str>) -> Item {
    told_by("facts", id, sku)
}

fn told_by(rule: &str, id: &str, sku: Option<&str>) -> Item {
    let Item::Event(mut published) = fact(id, 3) else {
        unreachable!("a fact is an event")
    };
    let mut body = published.event.body.clone().unwrap();
    if let Some(sku) = sku {
        body.set("sku", FieldValue::Text(sku.to_owned())).unwrap();
    }
    let mapping = MappingRef {
        rule: rule.to_owned(),
        ..(*common::mapping()).clone()
    };
    let envelope = Envelope {
        mapping: Arc::new(mapping),
        ..published.event.envelope.clone()
    };
    published.event = Event::new(envelope, Some(body));
    Item::Event(published)
}

#[tokio::test]
async fn a_fact_is_told_once_and_corrected_when_it_says_something_else() {
    let world = World::new().await;
    open(&world).await;
    let report = chunk(&world, vec![told("1", None), told("2", None)], None).await;
    assert_eq!((report.events, report.suppressed), (2, 0));
    // What is pruned from the outbox is remembered all the same.
    let db = Connection::open(world.folder.path().join(FILE_NAME)).unwrap();
    db.execute_batch("DELETE FROM delivery; DELETE FROM outbox")
        .unwrap();
    world.store.resync("erp", Resync::All).await.unwrap();
    let again = vec![told("1", None), told("2", Some("x")), told("3", None)];
    let report = chunk(&world, again, None).await;
    assert_eq!((report.events, report.suppressed), (2, 1));
    let stands = || {
        let mut query = db
            .prepare("SELECT key || ' ' || op FROM outbox ORDER BY offset")
            .unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<String>>()
    };
    assert_eq!(stands(), ["ACME|2 correction", "ACME|3 fact"]);
    // And the correction once.
    world.store.resync("erp", Resync::All).await.unwrap();
    let report = chunk(&world, vec![told("2", Some("x"))], None).await;
    assert_eq!((report.events, report.suppressed), (0, 1));
}

/// What a fact says can be compared only with what the same form of its rule said, by whatever name.
#[tokio::test]
async fn a_fact_is_compared_with_what_the_same_form_of_its_rule_told() {
    let world = World::new().await;
    let named = async |name: &str, digest: &str| {
        let mut rules = rules();
        (rules[1].name, rules[1].digest) = (name.to_owned(), digest.to_owned());
        let stored = world.store.open_rules(world.source, rules, None);
        stored.await.unwrap();
        let tables = vec!["item".to_owned()];
        let snapshots = world.store.snapshots(world.source, 1, tables, NOW);
        snapshots.await.unwrap();
    };
    // What the table being read anew makes of a fact.
    let read = async |rule: &str, sku: &str| {
        world.store.resync("erp", Resync::All).await.unwrap();
        let item = told_by(rule, "1", Some(sku));
        let report = chunk(&world, vec![item], None).await;
        (report.events, report.suppressed)
    };
    named("facts", "1").await;
    chunk(&world, vec![told("1", Some("a"))], None).await;
    // Another name and another form: it may say other things of the same row.
    named("moves", "2").await;
    assert_eq!(read("moves", "b").await, (0, 1), "another form");
    assert_eq!(read("moves", "c").await, (1, 0), "the same form");
    // Another name alone, there and back.
    named("facts", "2").await;
    assert_eq!(read("facts", "d").await, (1, 0), "another name");
    named("moves", "2").await;
    assert_eq!(read("moves", "e").await, (1, 0), "its former name");
    // And a third form under the first name.
    named("facts", "3").await;
    assert_eq!(read("facts", "f").await, (0, 1), "a third form");
}

#[tokio::test]
async fn what_is_asked_beside_the_owner_is_shown_and_done_once() {
    let world = World::new().await;
    open(&world).await;
    chunk(&world, vec![product("A", 1, "a")], None).await;
    let folder = world.folder.path();
    let table = Resync::Tables(vec!["item".to_owned()]);
    assert!(ask_resync(folder, "erp", &table, NOW).unwrap());
    assert!(ask_resync(folder, "erp", &table, NOW).unwrap());
    assert!(ask_resync(folder, "erp", &Resync::All, NOW).unwrap());
    assert!(!ask_resync(folder, "other", &Resync::All, NOW).unwrap());
    let asked = || {
        StateReader::open(folder).unwrap().sources().unwrap()[0]
            .resync_asked
            .clone()
    };
    // What waits already is not begun anew by asking again.
    assert_eq!(asked(), ["item", "every table"]);
    let done = world.store.take_resync(world.source).await.unwrap();
    assert_eq!(done, [table, Resync::All]);
    assert_eq!(asked(), Vec::<String>::new());
    assert_eq!(world.store.source("erp").await.unwrap().epoch, 2);
    assert_eq!(world.store.take_resync(world.source).await.unwrap(), []);
    let empty = tempfile::tempdir().unwrap();
    assert!(!ask_resync(empty.path(), "erp", &Resync::All, NOW).unwrap());
}

#[tokio::test]
async fn a_table_is_read_when_all_its_ranges_are() {
    let world = World::new().await;
    open(&world).await;
    let split = || {
        let cursors = vec!["a".to_owned(), "b".to_owned()];
        world.store.split(world.source, "item".to_owned(), cursors)
    };
    assert!(split().await.unwrap());
    assert!(!split().await.unwrap(), "once");
    let progress = async || {
        let tables = vec!["item".to_owned()];
        let found = world.store.snapshots(world.source, 1, tables, NOW).await;
        let found = found.unwrap().remove(0);
        (found.done, found.ranges)
    };
    let range = |n: u32, cursor: &str| (n, cursor.to_owned());
    assert_eq!(
        progress().await,
        (false, vec![range(0, "a"), range(1, "b")])
    );
    chunk_of(&world, vec![product("B", 1, "b")], Some(1), Some("b2")).await;
    chunk_of(&world, vec![product("A", 1, "a")], Some(0), None).await;
    assert_eq!(stage(&world, "products").await, Stage::Reading);
    assert_eq!(progress().await, (false, vec![range(1, "b2")]));
    chunk_of(&world, vec![], Some(1), None).await;
    assert_eq!(stage(&world, "products").await, Stage::Ending);
    assert_eq!(progress().await, (true, vec![]));
    let reader = StateReader::open(world.folder.path()).unwrap();
    let tables = reader.sources().unwrap().remove(0).tables;
    assert_eq!((tables[0].rows, tables[0].done_at), (3, Some(NOW)));
}

#[tokio::test]
async fn a_file_of_version_3_remembers_the_facts_of_its_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let Item::Event(known) = told("1", None) else {
        unreachable!("a fact is an event")
    };
    {
        let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        db.pragma_update(None, "application_id", 0x4c54_524d_i64)
            .unwrap();
        for version in [
            include_str!("../src/schema.sql"),
            include_str!("../src/schema_2.sql"),
            include_str!("../src/schema_3.sql"),
        ] {
            db.execute_batch(version).unwrap();
        }
        db.pragma_update(None, "user_version", 3).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO source (name) VALUES ('erp');
             INSERT INTO outbox (source, event_id, event_type, key, op, idempotency_key, tenant,
               occurred_at, created_at, digest, json)
               VALUES (1, '{}', 'inventory.movement.v1', 'ACME|1', 'fact', 'k', 't', 0, 0, 'd', '{{}}')",
            known.event.id.as_str()
        ))
        .unwrap();
    }
    // Nobody has opened it with this version: the agent that runs is an older one.
    let refused = ask_resync(folder.path(), "erp", &Resync::All, NOW).unwrap_err();
    assert!(refused.to_string().contains("older version"), "{refused}");
    let shown = StateReader::open(folder.path()).unwrap().sources().unwrap();
    assert_eq!((shown[0].tables.len(), shown[0].resync_asked.len()), (0, 0));
    let world = World::open(folder).await;
    open(&world).await;
    let report = chunk(&world, vec![told("1", Some("x")), told("2", None)], None).await;
    assert_eq!((report.events, report.suppressed), (1, 1));
}

#[tokio::test]
async fn how_far_a_table_is_can_be_seen() {
    let world = World::new().await;
    open(&world).await;
    let item = || "item".to_owned();
    let status = || {
        let reader = StateReader::open(world.folder.path()).unwrap();
        let table = reader.sources().unwrap().remove(0).tables.remove(0);
        (
            table.rows,
            table.rows_per_second,
            table.eta_seconds,
            table.problem,
        )
    };
    let read = async |rows: u64, second: i64, next: Option<&str>| {
        let commit = CaptureCommit {
            chunk: Some(ChunkDone {
                table: item(),
                range: None,
                next: next.map(str::to_owned),
                rows,
            }),
            ..CaptureCommit::default()
        };
        let stored = world.store.commit_capture(world.source, commit, at(second));
        stored.await.unwrap();
    };
    let estimate = vec![(item(), Some(100))];
    world.store.estimate(world.source, estimate).await.unwrap();
    assert_eq!(status(), (0, None, None, None));
    read(20, 10, Some("20")).await;
    assert_eq!(status(), (20, Some(2), Some(40), None));
    let problem = Some("denied".to_owned());
    let stands = world
        .store
        .snapshot_stands(world.source, item(), problem.clone(), None);
    stands.await.unwrap();
    assert_eq!(status().3, problem);
    // After a break the rate is that since it goes on, and what stood in the way is forgotten.
    let tables = vec![item()];
    let at_break = world.store.snapshots(world.source, 1, tables, at(1_000));
    at_break.await.unwrap();
    assert_eq!(status(), (20, None, None, None));
    read(40, 1_004, Some("60")).await;
    assert_eq!(status(), (60, Some(10), Some(4), None));
    // A pause counts for nothing, and one that lasts is not ended by what was read before it.
    let stands = world
        .store
        .snapshot_stands(world.source, item(), None, Some(at(1_100)));
    stands.await.unwrap();
    read(10, 1_006, Some("70")).await;
    let reader = StateReader::open(world.folder.path()).unwrap();
    let table = reader.sources().unwrap().remove(0).tables.remove(0);
    assert_eq!((table.rows, table.eta_seconds), (70, None));
    assert_eq!(table.paused_until, Some(at(1_100)));
    assert_eq!(table.read_at, Some(at(1_006)));
    read(20, 1_110, Some("90")).await;
    assert_eq!(status(), (90, Some(2), Some(5), None));
    read(20, 1_120, None).await;
    let reader = StateReader::open(world.folder.path()).unwrap();
    let table = reader.sources().unwrap().remove(0).tables.remove(0);
    assert_eq!(
        (table.done, table.rows, table.done_at),
        (true, 110, Some(at(1_120)))
    );
    assert_eq!((table.rows_per_second, table.eta_seconds), (None, None));
}
