//! What the capture loop stores, through the store's own door.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::{EventOp, EventType};
use state::{CaptureCommit, ChunkDone, GuardEntry, Held, Item, StateReader, StoreError, Truncated};

use crate::common::{NOW, World, envelope, fact, mapping, position, product, tombstone};

#[tokio::test]
async fn checkpoint_and_events_commit_together() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), fact("1", 2)], 2)
        .await;
    let world = world.reopen().await;
    let state = world.store.source("erp").await.unwrap();
    assert_eq!(state.checkpoint, Some(position(2)));
    assert_eq!(world.turn(vec![], NOW).await.len(), 2);
}

#[tokio::test]
async fn a_failed_commit_stores_nothing_of_it() {
    let world = World::new().await;
    world.commit(vec![product("A", 5, "a")], 5).await;
    let back = world.commit_of(vec![product("B", 3, "b")], 3);
    let error = world
        .store
        .commit_capture(world.source, back, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Invariant(_)), "{error}");
    assert_eq!(world.turn(vec![], NOW).await.len(), 1, "only A");
    assert_eq!(
        world.commit(vec![product("B", 6, "b")], 6).await.events,
        1,
        "the store goes on"
    );
}

#[tokio::test]
async fn checkpoint_never_moves_back() {
    let world = World::new().await;
    world.commit(vec![], 5).await;
    let back = world.commit_of(vec![], 4);
    assert!(
        world
            .store
            .commit_capture(world.source, back, NOW)
            .await
            .is_err()
    );
    assert_eq!(
        world.store.source("erp").await.unwrap().checkpoint,
        Some(position(5))
    );
}

#[tokio::test]
async fn unchanged_bodies_are_suppressed_and_old_versions_dropped() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    assert_eq!(
        world.commit(vec![product("A", 2, "a")], 2).await.suppressed,
        1
    );
    // The suppressed version still counts: a snapshot row read before it is stale.
    let late = CaptureCommit {
        items: vec![product("A", 1, "older")],
        routes: world.routes(),
        ..CaptureCommit::default()
    };
    let report = world
        .store
        .commit_capture(world.source, late, NOW)
        .await
        .unwrap();
    assert_eq!((report.stale, report.events), (1, 0));
    assert_eq!(world.turn(vec![], NOW).await.len(), 1);
}

#[tokio::test]
async fn a_tombstone_is_published_once_and_a_new_body_after_it() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), tombstone("A", 2)], 2)
        .await;
    assert_eq!(world.commit(vec![tombstone("A", 3)], 3).await.suppressed, 1);
    assert_eq!(world.commit(vec![product("A", 4, "a")], 4).await.events, 1);
}

fn held(row_key: &str, version: u64) -> Item {
    Item::Held(Held {
        rule: mapping().rule.clone(),
        event_type: EventType::Product,
        table: "public.products".to_owned(),
        row_key: row_key.to_owned(),
        event_key: None,
        position: position(version),
        reason: "column \"kind\" holds an unknown code".to_owned(),
        row_json: "{}".to_owned(),
    })
}

#[tokio::test]
async fn a_row_leaving_the_scope_ends_only_what_was_published() {
    let world = World::new().await;
    let left = |sku: &str, version: u64| {
        let Item::Event(mut published) = tombstone(sku, version) else {
            unreachable!("a tombstone is an event");
        };
        published.event.envelope.reason = Some(contract::event::OUT_OF_SCOPE);
        Item::Event(published)
    };
    let report = world.commit(vec![left("NEW", 1)], 1).await;
    assert_eq!((report.events, report.suppressed), (0, 1));
    world.commit(vec![product("A", 2, "a")], 2).await;
    let report = world.commit(vec![left("A", 3)], 3).await;
    assert_eq!(report.events, 1);
    let report = world.commit(vec![left("A", 4)], 4).await;
    assert_eq!((report.events, report.suppressed), (0, 1), "once");
}

#[tokio::test]
async fn a_held_change_is_replaced_by_the_rows_next_state_only() {
    let world = World::new().await;
    world
        .commit(vec![held("A", 1), held("A", 2), held("B", 3)], 3)
        .await;
    let count = || {
        StateReader::open(world.folder.path())
            .unwrap()
            .held(10)
            .unwrap()
            .len()
    };
    assert_eq!(count(), 2, "one open item per row");
    world.commit(vec![product("A", 4, "a")], 4).await;
    assert_eq!(count(), 1, "B still waits");
}

#[tokio::test]
async fn a_body_behind_a_held_change_is_marked_outdated() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), held("A", 2)], 2)
        .await;
    let key = "ACME|A".to_owned();
    let rule = mapping().rule.clone();
    let found = world
        .store
        .published(world.source, EventType::Product, key, rule, "A".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert!(found.outdated);
    assert_eq!(found.body.json().matches("\"name\":\"a\"").count(), 1);
}

#[tokio::test]
async fn an_emptied_table_gives_a_tombstone_for_every_published_key() {
    let world = World::new().await;
    let many: Vec<Item> = (0..1_200)
        .map(|n| product(&n.to_string(), 1, "x"))
        .collect();
    world.commit(many, 1).await;
    let template = Truncated {
        envelope: envelope(EventType::Product, "", 2, EventOp::Delete),
        zero_first: false,
    };
    let report = world.commit(vec![Item::Truncated(template)], 2).await;
    assert_eq!(report.events, 1_200);
    let again = Truncated {
        envelope: envelope(EventType::Product, "", 3, EventOp::Delete),
        zero_first: false,
    };
    assert_eq!(
        world.commit(vec![Item::Truncated(again)], 3).await.events,
        0
    );
}

#[tokio::test]
async fn the_guard_remembers_rows_until_their_table_is_done() {
    let world = World::new().await;
    let table = "public.products".to_owned();
    world
        .store
        .snapshots(world.source, 1, vec![table.clone()], NOW)
        .await
        .unwrap();
    let mut commit = world.commit_of(vec![], 7);
    commit.guard = vec![GuardEntry {
        table: table.clone(),
        row_key: "A".to_owned(),
        position: position(7),
        transaction: 42,
    }];
    world
        .store
        .commit_capture(world.source, commit, NOW)
        .await
        .unwrap();
    let world = world.reopen().await;
    let keys = vec!["A".to_owned(), "B".to_owned()];
    let found = world
        .store
        .guard(world.source, table.clone(), keys.clone())
        .await
        .unwrap();
    assert_eq!(found, vec![Some((position(7), 42)), None]);
    let chunk = |next: Option<&str>| CaptureCommit {
        chunk: Some(ChunkDone {
            table: table.clone(),
            range: None,
            next: next.map(str::to_owned),
            rows: 10,
        }),
        ..CaptureCommit::default()
    };
    world
        .store
        .commit_capture(world.source, chunk(Some("c")), NOW)
        .await
        .unwrap();
    let progress = world
        .store
        .snapshots(world.source, 1, vec![table.clone()], NOW)
        .await
        .unwrap();
    assert_eq!(
        (progress[0].cursor.as_deref(), progress[0].rows),
        (Some("c"), 10)
    );
    world
        .store
        .commit_capture(world.source, chunk(None), NOW)
        .await
        .unwrap();
    let found = world
        .store
        .guard(world.source, table.clone(), keys)
        .await
        .unwrap();
    assert_eq!(found, vec![None, None]);
    assert!(
        world
            .store
            .snapshots(world.source, 1, vec![table], NOW)
            .await
            .unwrap()[0]
            .done
    );
}

/// Nobody was told of a fact that is held: then its row's next change tells it, whatever changed.
#[tokio::test]
async fn a_fact_whose_row_was_rewritten_is_told_only_where_it_was_held() {
    let world = World::new().await;
    let rewritten = |id: &str, version: u64| {
        let Item::Event(mut published) = fact(id, version) else {
            unreachable!("a fact is an event");
        };
        published.event.envelope.op = EventOp::Correction;
        Item::Rewritten(published)
    };
    world.commit(vec![fact("7", 1)], 1).await;
    let report = world.commit(vec![rewritten("7", 2)], 2).await;
    assert_eq!((report.events, report.suppressed), (0, 1));
    // Something else is held: this one still says nothing new.
    world.commit(vec![held("8", 3)], 3).await;
    let report = world.commit(vec![rewritten("7", 4)], 4).await;
    assert_eq!((report.events, report.suppressed), (0, 1));
    // Its row is clear again, and says what was told of it before.
    world.commit(vec![held("7", 5)], 5).await;
    let report = world.commit(vec![rewritten("7", 6)], 6).await;
    assert_eq!((report.events, report.suppressed), (0, 1));
    world.commit(vec![held("9", 7)], 7).await;
    let report = world.commit(vec![rewritten("9", 8)], 8).await;
    assert_eq!((report.events, report.suppressed), (1, 0));
    let open = StateReader::open(world.folder.path()).unwrap().held(10);
    assert_eq!(open.unwrap().len(), 1, "the other still waits");
}

#[tokio::test]
async fn held_changes_are_given_up_step_by_step_and_newer_ones_stay() {
    let world = World::new().await;
    let all = (0..1_200).map(|n| held(&n.to_string(), n + 1)).collect();
    world.commit(all, 1_200).await;
    let drop = state::Command::DropChanges {
        which: state::HeldFilter::default(),
    };
    let asked = state::ask(world.folder.path(), "", &drop, NOW)
        .unwrap()
        .unwrap();
    let turned = world.full_turn(vec![], NOW, |_| {}).await;
    assert!(turned.more && turned.done.is_empty(), "one step of them");
    world.commit(vec![held("newer", 1_300)], 1_300).await;
    while world.full_turn(vec![], NOW, |_| {}).await.more {}
    let done = world.reader().answer(asked).unwrap().unwrap();
    assert_eq!(done.count, 1_200);
    let left = world.reader().trace("newer", 10).unwrap();
    assert_eq!(left.held.len(), 1);
}
