//! Rules as they come into force: whose tables are read for them, and what may end.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::EventType;
use rusqlite::Connection;
use state::{CaptureCommit, ChunkDone, FILE_NAME, RuleInForce, RuleProgress, Stage, Store};

use crate::common::{NOW, World, mapping, position, product, tombstone};

const STATE: EventType = EventType::Product;
const FACT: EventType = EventType::InventoryMovement;

fn rule(name: &str, digest: &str, event_type: EventType) -> RuleInForce {
    RuleInForce {
        name: name.to_owned(),
        digest: digest.to_owned(),
        event_type,
        table: "item".to_owned(),
        relates: false,
    }
}

async fn open(world: &World, rules: &[RuleInForce]) -> Vec<RuleProgress> {
    let at = world.store.source("erp").await.unwrap().checkpoint;
    let opened = world.store.open_rules(world.source, rules.to_vec(), at);
    let opened = opened.await.unwrap();
    let tables = vec!["item".to_owned()];
    let snapshots = world.store.snapshots(world.source, 1, tables, NOW);
    snapshots.await.unwrap();
    opened
}

async fn stage(world: &World, name: &str) -> Stage {
    let rules = world.store.rules(world.source).await.unwrap();
    rules.iter().find(|rule| rule.name == name).unwrap().stage
}

/// A chunk of the table; without `next` its last.
async fn chunk(world: &World, next: Option<&str>) {
    let commit = CaptureCommit {
        chunk: Some(ChunkDone {
            table: "item".to_owned(),
            range: None,
            next: next.map(str::to_owned),
            rows: 1,
        }),
        ..CaptureCommit::default()
    };
    let stored = world.store.commit_capture(world.source, commit, NOW);
    stored.await.unwrap();
}

/// Whether the table is read, and from where.
async fn reading(world: &World) -> Option<Option<String>> {
    let tables = vec!["item".to_owned()];
    let found = world.store.snapshots(world.source, 1, tables, NOW).await;
    let progress = found.unwrap().remove(0);
    (!progress.done).then_some(progress.cursor)
}

#[tokio::test]
async fn a_reading_under_way_goes_on_and_another_follows_for_a_rule_that_changed() {
    let world = World::new().await;
    let facts = rule("facts", "1", FACT);
    open(&world, &[rule("products", "1", STATE), facts.clone()]).await;
    chunk(&world, Some("5")).await;
    open(&world, &[rule("products", "2", STATE), facts.clone()]).await;
    assert_eq!(stage(&world, "products").await, Stage::Next);
    assert_eq!(stage(&world, "facts").await, Stage::Reading, "the rest");
    assert_eq!(reading(&world).await, Some(Some("5".to_owned())));
    chunk(&world, None).await;
    assert_eq!(stage(&world, "products").await, Stage::Reading);
    assert_eq!(stage(&world, "facts").await, Stage::Told);
    assert_eq!(reading(&world).await, Some(None), "from its first row");
    chunk(&world, None).await;
    assert_eq!(stage(&world, "products").await, Stage::Ending);
    assert_eq!(reading(&world).await, None);
    // Facts are not told again, and what did not change has nothing read.
    open(
        &world,
        &[rule("products", "2", STATE), rule("facts", "2", FACT)],
    )
    .await;
    assert_eq!(reading(&world).await, None);
}

#[tokio::test]
async fn what_a_rule_told_before_it_changed_stands_in_for_nothing() {
    let world = World::new().await;
    open(&world, &[rule("products", "1", STATE)]).await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let outdated = async |rule: &str| {
        let (key, rule) = ("ACME|A".to_owned(), rule.to_owned());
        let found = world
            .store
            .published(world.source, STATE, key, rule, "A".to_owned());
        found.await.unwrap().unwrap().outdated
    };
    // Another comment in its file is no other rule.
    open(&world, &[rule("products", "1", STATE)]).await;
    assert!(!outdated("products").await);
    assert!(outdated("others").await, "another rule told it");
    open(&world, &[rule("products", "2", STATE)]).await;
    assert!(outdated("products").await, "until it is told again");
    world.commit(vec![product("A", 2, "a")], 2).await;
    assert!(!outdated("products").await);
}

#[tokio::test]
async fn only_keys_of_an_older_generation_that_are_not_held_are_untold() {
    let world = World::new().await;
    open(&world, &[rule("products", "1", STATE)]).await;
    let told = ["A", "B", "C"].map(|sku| product(sku, 1, "a"));
    world.commit(told.to_vec(), 1).await;
    chunk(&world, None).await;
    open(&world, &[rule("products", "2", STATE)]).await;
    // B is told as it was, which is not sent.
    assert_eq!(world.commit(vec![product("B", 2, "a")], 2).await.events, 0);
    let untold = || {
        world.store.commit_related(world.source, 1, NOW, |store| {
            let found = store.untold("products", "products", 0, 10)?;
            let may_end = store.may_end("products", &["products".to_owned()])?;
            let keys: Vec<String> = found.into_iter().map(|untold| untold.key).collect();
            Ok((std::sync::Arc::default(), (keys, may_end)))
        })
    };
    let (_, (keys, may_end)) = untold().await.unwrap();
    assert_eq!((keys.len(), may_end), (2, true), "A and C: {keys:?}");
    let hold = |row: &str, key: Option<&str>| {
        state::Item::Held(state::Held {
            rule: mapping().rule.clone(),
            event_type: STATE,
            table: "item".to_owned(),
            row_key: row.to_owned(),
            event_key: key.map(str::to_owned),
            position: position(3),
            reason: "an unknown code".to_owned(),
            row_json: "{}".to_owned(),
        })
    };
    world.commit(vec![hold("c", Some("ACME|C"))], 3).await;
    let (_, (keys, may_end)) = untold().await.unwrap();
    assert_eq!((keys, may_end), (vec!["ACME|A".to_owned()], true));
    world.commit(vec![hold("d", None)], 4).await;
    assert!(!untold().await.unwrap().1.1, "it may be any key");
}

fn held(rule: &str, event_type: EventType, row: &str, key: Option<&str>) -> state::Item {
    state::Item::Held(state::Held {
        rule: rule.to_owned(),
        event_type,
        table: "item".to_owned(),
        row_key: row.to_owned(),
        event_key: key.map(str::to_owned),
        position: position(3),
        reason: "an unknown code".to_owned(),
        row_json: r#"{"op":"insert"}"#.to_owned(),
    })
}

async fn may_end(world: &World, rule: &'static str, ready: &[&str]) -> bool {
    let ready: Vec<String> = ready.iter().map(|&name| name.to_owned()).collect();
    let asked = world
        .store
        .commit_related(world.source, 1, NOW, move |store| {
            Ok((std::sync::Arc::default(), store.may_end(rule, &ready)?))
        });
    asked.await.unwrap().1
}

async fn tellers(world: &World, rule: &'static str) -> Vec<String> {
    let asked = world
        .store
        .commit_related(world.source, 1, NOW, move |store| {
            Ok((std::sync::Arc::default(), store.predecessors(rule)?))
        });
    asked.await.unwrap().1
}

fn held_items(world: &World) -> i64 {
    let db = Connection::open(world.folder.path().join(FILE_NAME)).unwrap();
    let count = "SELECT count(*) FROM held";
    db.query_row(count, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn facts_that_come_back_during_their_reading_are_told_from_where_they_left_it() {
    let world = World::new().await;
    let both = [rule("products", "1", STATE), rule("facts", "1", FACT)];
    open(&world, &both).await;
    chunk(&world, Some("5")).await;
    // Nothing is read meanwhile, under the same name or another one.
    open(&world, &both[..1]).await;
    open(&world, &both).await;
    assert_eq!(stage(&world, "facts").await, Stage::Reading);
    open(&world, &both[..1]).await;
    let other = [rule("products", "1", STATE), rule("moves", "1", FACT)];
    open(&world, &other).await;
    assert_eq!(stage(&world, "moves").await, Stage::Reading);
    assert_eq!(reading(&world).await, Some(Some("5".to_owned())));
    // The rest is read for others meanwhile.
    open(&world, &both[..1]).await;
    chunk(&world, Some("7")).await;
    chunk(&world, None).await;
    assert_eq!(reading(&world).await, None);
    open(&world, &other).await;
    assert_eq!(stage(&world, "moves").await, Stage::Reading);
    assert_eq!(reading(&world).await, Some(Some("5".to_owned())));
    chunk(&world, None).await;
    assert_eq!(stage(&world, "moves").await, Stage::Told);
    // Of those who told it in turn, none is left to tell anything.
    open(&world, &both).await;
    assert_eq!(stage(&world, "facts").await, Stage::Told);
    assert_eq!(reading(&world).await, None);
}

#[tokio::test]
async fn facts_that_come_back_saw_no_change_while_they_were_away() {
    let world = World::new().await;
    let both = [rule("products", "1", STATE), rule("facts", "1", FACT)];
    open(&world, &both).await;
    chunk(&world, Some("5")).await;
    world.commit(Vec::new(), 1).await;
    open(&world, &both[..1]).await;
    world.commit(Vec::new(), 2).await;
    let back = open(&world, &both).await;
    let facts = back.iter().find(|rule| rule.name == "facts").unwrap();
    assert_eq!(facts.since, None);
    assert_eq!(facts.unseen, Some((Some(position(1)), position(2))));
    // Under another name as well, and over a second time.
    let other = [both[0].clone(), rule("moves", "1", FACT)];
    let renamed = open(&world, &other).await;
    let moves = renamed.iter().find(|rule| rule.name == "moves").unwrap();
    assert_eq!(moves.unseen, facts.unseen);
    open(&world, &both[..1]).await;
    world.commit(Vec::new(), 3).await;
    let back = open(&world, &other).await;
    let moves = back.iter().find(|rule| rule.name == "moves").unwrap();
    assert_eq!(moves.unseen, Some((Some(position(1)), position(3))));
}

#[tokio::test]
async fn facts_under_another_name_saw_what_they_saw_under_the_old_one() {
    let world = World::new().await;
    open(&world, &[rule("facts", "1", FACT)]).await;
    chunk(&world, Some("5")).await;
    world.commit(Vec::new(), 1).await;
    let renamed = open(&world, &[rule("moves", "1", FACT)]).await;
    assert_eq!(renamed[0].stage, Stage::Reading);
    assert_eq!(renamed[0].since, None, "every change, as before");
}

#[tokio::test]
async fn what_is_held_of_rows_without_a_key_hinders_no_end_and_does_not_pile_up() {
    let world = World::new().await;
    open(&world, &[rule("products", "1", STATE)]).await;
    chunk(&world, None).await;
    let nameless = held("products", STATE, "", None);
    world.commit(vec![nameless.clone(), nameless], 1).await;
    assert_eq!(held_items(&world), 1, "of one row");
    assert!(may_end(&world, "products", &["products"]).await);
    let known = held("products", STATE, "a", Some("ACME|A"));
    world.commit(vec![known], 2).await;
    open(&world, &[rule("products", "2", STATE)]).await;
    assert_eq!(held_items(&world), 1, "the reading holds it anew");
}

/// The end of a key of a rule over several tables names no row: it settles none that has no key.
#[tokio::test]
async fn what_has_no_row_settles_nothing_of_rows_without_a_key() {
    let world = World::new().await;
    open(&world, &[rule("products", "1", STATE)]).await;
    let nameless = held("products", STATE, "", None);
    world
        .commit(vec![product("A", 1, "a"), nameless.clone()], 1)
        .await;
    let state::Item::Event(mut end) = tombstone("A", 2) else {
        unreachable!("a tombstone is an event")
    };
    (end.row_key, end.related) = (String::new(), true);
    let settled = state::Item::Settled {
        rule: "products".to_owned(),
        row_key: String::new(),
    };
    world
        .commit(vec![state::Item::Event(end), settled], 2)
        .await;
    assert_eq!(held_items(&world), 1, "nobody knows what became of the row");
    // Read again, the row is held once; told by another form of its rule, anew.
    world.commit(vec![nameless], 3).await;
    assert_eq!(held_items(&world), 1);
    open(&world, &[rule("products", "2", STATE)]).await;
    assert_eq!(held_items(&world), 0);
}

#[tokio::test]
async fn only_what_takes_a_rules_place_takes_over_its_keys() {
    let world = World::new().await;
    open(
        &world,
        &[rule("products", "1", STATE), rule("others", "1", STATE)],
    )
    .await;
    open(&world, &[rule("others", "1", STATE)]).await;
    open(&world, &[rule("others", "2", STATE)]).await;
    assert_eq!(tellers(&world, "others").await, ["others"]);
    open(&world, &[rule("goods", "2", STATE)]).await;
    assert_eq!(tellers(&world, "goods").await, ["goods", "others"]);
    open(&world, &[rule("wares", "2", STATE)]).await;
    assert_eq!(tellers(&world, "wares").await, ["wares", "goods", "others"]);
    // And back.
    open(&world, &[rule("goods", "2", STATE)]).await;
    assert_eq!(tellers(&world, "goods").await, ["goods", "others", "wares"]);
}

#[tokio::test]
async fn keys_of_a_type_that_a_rule_emits_no_more_wait_for_the_rule_that_emits_it_now() {
    let world = World::new().await;
    open(&world, &[rule("products", "1", STATE)]).await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    chunk(&world, None).await;
    let elsewhere = RuleInForce {
        table: "other".to_owned(),
        ..rule("new", "1", STATE)
    };
    let stocks = rule("products", "2", EventType::InventoryAvailability);
    open(&world, &[stocks, elsewhere]).await;
    chunk(&world, None).await;
    assert_eq!(stage(&world, "products").await, Stage::Ending);
    assert_eq!(stage(&world, "new").await, Stage::Reading);
    assert!(!may_end(&world, "products", &["products"]).await);
    assert!(may_end(&world, "products", &["products", "new"]).await);
}

#[tokio::test]
async fn a_changed_rule_of_facts_reads_its_table_for_those_that_are_held() {
    let world = World::new().await;
    open(&world, &[rule("facts", "1", FACT)]).await;
    chunk(&world, None).await;
    let item = held("facts", FACT, "a", Some("ACME|A"));
    world.commit(vec![item], 1).await;
    open(&world, &[rule("facts", "2", FACT)]).await;
    assert_eq!(reading(&world).await, Some(None));
    // Once more, where it changes while they are read, and takes another name at that.
    chunk(&world, Some("5")).await;
    open(&world, &[rule("moves", "3", FACT)]).await;
    chunk(&world, None).await;
    assert_eq!(stage(&world, "moves").await, Stage::Held);
    assert_eq!(reading(&world).await, Some(None));
    chunk(&world, None).await;
    assert_eq!(stage(&world, "moves").await, Stage::Told);
    assert_eq!(reading(&world).await, None);
}

#[tokio::test]
async fn a_file_of_version_2_has_its_state_told_again_and_its_facts_not() {
    let folder = tempfile::tempdir().unwrap();
    {
        let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        db.pragma_update(None, "application_id", 0x4c54_524d_i64)
            .unwrap();
        db.execute_batch(include_str!("../src/schema.sql")).unwrap();
        db.execute_batch(include_str!("../src/schema_2.sql"))
            .unwrap();
        db.pragma_update(None, "user_version", 2).unwrap();
        db.execute_batch(
            "INSERT INTO source (name) VALUES ('erp');
             INSERT INTO snapshot (source, table_name, epoch, done) VALUES (1, 'item', 1, 1);
             INSERT INTO published (source, event_type, key, rule, version, digest,
               mapping_digest, body) VALUES (1, 'product.v1', 'ACME|A', 'products',
               '0000000001/0000000000000001/0000000000', 'd', 'm', '{}')",
        )
        .unwrap();
    }
    drop(Store::open(folder.path()).unwrap());
    let world = World::open(folder).await;
    open(
        &world,
        &[rule("products", "1", STATE), rule("facts", "1", FACT)],
    )
    .await;
    assert_eq!(stage(&world, "products").await, Stage::Reading);
    assert_eq!(stage(&world, "facts").await, Stage::Told);
    assert_eq!(reading(&world).await, Some(None));
}
