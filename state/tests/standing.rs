//! What monitoring asks: since when the oldest change waits, and what was delivered as it happened.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::delivery::DeliveryEvent;
use contract::{Answer, EventType, Outgoing};
use jiff::Timestamp;
use state::{Happened, Item, Said, StateSize};

use crate::common::{NOW, World, at, price, product, stock};
use crate::priority::of_snapshot;

fn happened(outgoing: &Outgoing, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset: outgoing.offset,
        event,
        said,
        cause: Some("HTTP 503".to_owned()),
        answer: Some(Answer::default()),
    }
}

fn oldest(world: &World) -> Option<Timestamp> {
    let standings = world.reader().standings().unwrap();
    assert_eq!(standings.len(), 1);
    assert_eq!(standings[0].name, "shop");
    standings[0].oldest_at
}

async fn commit(world: &World, items: Vec<Item>, checkpoint: u64, now: Timestamp) {
    let commit = world.commit_of(items, checkpoint);
    let stored = world.store.commit_capture(world.source, commit, now).await;
    stored.unwrap();
}

#[tokio::test]
async fn the_oldest_change_counts_wherever_it_waits_and_a_first_load_does_not() {
    let world = World::new().await;
    assert_eq!(oldest(&world), None);
    commit(&world, vec![of_snapshot(stock("OLD", 1, 5))], 1, at(1)).await;
    assert_eq!(oldest(&world), None, "it only repeats how things are");
    commit(&world, vec![product("A", 2, "a")], 2, at(10)).await;
    commit(
        &world,
        vec![price("A", 3, "1"), stock("B", 4, 0)],
        4,
        at(20),
    )
    .await;
    assert_eq!(oldest(&world), Some(at(10)), "queued");

    let out = world.turn(vec![], at(21)).await;
    let of = |key: &str| out.iter().find(|one| one.key == key).unwrap().clone();
    let product = of("ACME|A");
    assert_eq!(oldest(&world), Some(at(10)), "sending");
    let backs_off = DeliveryEvent::Transient { due: at(60) };
    let rest = out.iter().filter(|one| one.key != product.key);
    let mut outcomes: Vec<_> = rest
        .map(|one| happened(one, DeliveryEvent::Applied, Said::Applied))
        .collect();
    outcomes.push(happened(&product, backs_off, Said::Retry));
    assert!(world.turn(outcomes, at(22)).await.is_empty());
    assert_eq!(oldest(&world), Some(at(10)), "backing off");

    // Held, it waits for a person; what needs it waits in turn.
    let again = world.turn(vec![], at(60)).await;
    let refused = happened(&again[0], DeliveryEvent::Rejected, Said::Rejected);
    assert!(world.turn(vec![refused], at(61)).await.is_empty());
    assert_eq!(
        oldest(&world),
        Some(at(20)),
        "the price waits for the product"
    );
    let status = world.reader().destinations().unwrap();
    assert_eq!((status[0].held, status[0].waiting), (1, 1));
    assert!(StateSize::of(world.folder.path()).database_bytes > 0);
}

#[tokio::test]
async fn what_is_delivered_is_told_with_its_time_but_not_what_only_repeats() {
    let world = World::new().await;
    let changes = vec![stock("A", 1, 5), of_snapshot(stock("B", 2, 5))];
    commit(&world, changes, 2, at(10)).await;
    let out = world.turn(vec![], at(11)).await;
    assert_eq!(out.len(), 2);
    let applied = out
        .iter()
        .map(|one| happened(one, DeliveryEvent::Applied, Said::Applied));
    let turned = world.full_turn(applied.collect(), at(12), |_| {}).await;
    let told: Vec<_> = turned
        .delivered
        .iter()
        .map(|one| (one.event_type, one.occurred_at))
        .collect();
    assert_eq!(told, [(EventType::InventoryAvailability, NOW)]);
    let turned = world.full_turn(vec![], at(13), |_| {}).await;
    assert!(turned.delivered.is_empty(), "once");
}
