//! Which delivery leaves first, and what waits for another.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{Answer, Origin, Outgoing};
use state::{Happened, HeldFilter, Item, PickLimits, Said};

use crate::common::{LIMITS, NOW, World, at, price, product, stock, stock_end};

fn outcome(outgoing: &Outgoing, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset: outgoing.offset,
        event,
        said,
        cause: Some("HTTP 422: no such thing".to_owned()),
        answer: Some(Answer::default()),
    }
}

fn applied(picked: &[Outgoing]) -> Vec<Happened> {
    let applied = |one| outcome(one, DeliveryEvent::Applied, Said::Applied);
    picked.iter().map(applied).collect()
}

fn skus(picked: &[Outgoing]) -> Vec<String> {
    let part = |one: &Outgoing| one.key.split('|').nth(1).unwrap().to_owned();
    picked.iter().map(part).collect()
}

pub(crate) fn of_snapshot(item: Item) -> Item {
    let Item::Event(mut published) = item else {
        return item;
    };
    let envelope = contract::Envelope {
        origin: Origin::Snapshot,
        ..published.event.envelope.clone()
    };
    published.event = contract::Event::new(envelope, published.event.body.clone());
    Item::Event(published)
}

/// Delivers everything that leaves, turn by turn.
async fn deliver_all(world: &World) -> Vec<Outgoing> {
    let mut all = Vec::new();
    let mut picked = world.turn(vec![], NOW).await;
    while !picked.is_empty() {
        let next = world.turn(applied(&picked), NOW).await;
        all.extend(std::mem::replace(&mut picked, next));
    }
    all
}

#[tokio::test]
async fn less_stock_leaves_first_then_more_then_the_rest_and_snapshots_behind() {
    let world = World::new().await;
    let had = vec![
        stock("LESS", 1, 9),
        stock("MORE", 2, 9),
        stock("GONE", 3, 9),
        stock("NONE", 4, 0),
    ];
    world.commit(had, 4).await;
    // Nobody knows what it holds: what cannot be sold goes first.
    let first = deliver_all(&world).await;
    assert_eq!(skus(&first), ["NONE", "LESS", "MORE", "GONE"]);
    let changes = vec![
        of_snapshot(stock("READ", 9, 0)),
        product("NEW", 10, "new"),
        stock("MORE", 11, 10),
        stock("LESS", 12, 8),
        stock_end("GONE", 13),
    ];
    world.commit(changes, 13).await;
    let order = skus(&deliver_all(&world).await);
    assert_eq!(order, ["LESS", "GONE", "MORE", "NEW", "READ"]);
}

#[tokio::test]
async fn what_takes_the_place_of_an_undelivered_decrease_is_measured_by_what_was_told() {
    let world = World::new().await;
    world
        .commit(vec![stock("A", 1, 10), stock("B", 2, 10)], 2)
        .await;
    deliver_all(&world).await;
    // 10 was told. 4 is less; 6, which takes its place, is more than 4 and still less than 10.
    world
        .commit(
            vec![stock("B", 3, 11), stock("A", 4, 4), stock("A", 5, 6)],
            5,
        )
        .await;
    let order = deliver_all(&world).await;
    assert_eq!(skus(&order), ["A", "B"]);
    // 6 was told. 2 is less; 7, which takes its place, is more than was told.
    world
        .commit(
            vec![stock("A", 6, 2), stock("A", 7, 7), stock("B", 8, 10)],
            8,
        )
        .await;
    assert_eq!(skus(&deliver_all(&world).await), ["B", "A"]);
}

#[tokio::test]
async fn a_turn_picks_the_most_urgent_and_leaves_the_rest_open_to_newer_states() {
    let world = World::new().await;
    let all = (0..10).map(|n| stock(&format!("S{n}"), n + 1, 5)).collect();
    world.commit(all, 10).await;
    deliver_all(&world).await;
    let more = (0..10).map(|n| stock(&format!("S{n}"), n + 11, 9));
    world.commit(more.collect(), 20).await;
    let two = PickLimits {
        events_max: 2,
        ..LIMITS
    };
    let pick = |outcomes| world.full_turn(outcomes, NOW, |turn| turn.pick = Some(two));
    let first = pick(vec![]).await.picked;
    assert_eq!(skus(&first), ["S0", "S1"]);
    world.commit(vec![stock("S9", 21, 1)], 21).await;
    let second = pick(applied(&first)).await.picked;
    assert_eq!(skus(&second), ["S9", "S2"], "the decrease overtakes");
}

#[tokio::test]
async fn a_price_waits_for_its_product_and_goes_when_that_is_there() {
    let world = World::new().await;
    let all = vec![
        product("P", 1, "p"),
        price("P", 2, "9.90"),
        stock("P", 3, 5),
        stock("Q", 4, 5),
    ];
    world.commit(all, 4).await;
    let first = world.turn(vec![], NOW).await;
    assert_eq!(skus(&first), ["Q", "P"], "the stock and the product");
    let product_out = first[1].clone();
    assert!(product_out.key == "ACME|P", "{}", product_out.key);
    // It fails: what needs it still waits.
    let retry = outcome(
        &product_out,
        DeliveryEvent::Transient { due: at(5) },
        Said::Retry,
    );
    assert!(world.turn(vec![retry], NOW).await.is_empty());
    let status = world.reader().destinations().unwrap();
    assert_eq!(status[0].waiting, 2);
    let again = world.turn(vec![], at(5)).await;
    assert_eq!(again.len(), 1);
    // A newer state of the product is on its way: it is there all the same.
    world.commit(vec![product("P", 5, "pp")], 5).await;
    let rest = world.turn(applied(&again), at(6)).await;
    let types: Vec<_> = rest.iter().map(|one| one.event_type.name()).collect();
    assert_eq!(
        types,
        ["inventory.availability.v1", "price.v1", "product.v1"]
    );
}

#[tokio::test]
async fn what_waits_too_long_is_held_with_the_reason_and_can_be_sent_again() {
    let world = World::new().await;
    world
        .commit(vec![product("P", 1, "p"), price("P", 2, "9.90")], 2)
        .await;
    let first = world.turn(vec![], NOW).await;
    let refused = outcome(&first[0], DeliveryEvent::Rejected, Said::Rejected);
    let turned = world.full_turn(vec![refused], NOW, |_| {}).await;
    assert!(turned.picked.is_empty());
    assert_eq!(turned.next_due, Some(at(3_600)));
    // A newer price takes the place of the one that waits, and goes on waiting.
    world.commit(vec![price("P", 3, "9.80")], 3).await;
    assert!(world.turn(vec![], at(3_599)).await.is_empty());
    assert!(world.turn(vec![], at(3_600)).await.is_empty());
    let dependency = HeldFilter {
        cause: Some("dependency".to_owned()),
        ..HeldFilter::default()
    };
    let held = world.reader().held_list(&dependency, 10).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(
        held[0].reason,
        "its product P is held: HTTP 422: no such thing"
    );
    // The product is dropped: nothing of it is to come, and a retried price leaves.
    let drop = state::Command::Drop {
        which: HeldFilter {
            cause: Some("rejected".to_owned()),
            ..HeldFilter::default()
        },
        by: "kim".to_owned(),
        why: "sold out".to_owned(),
    };
    assert_eq!(world.command(drop, at(3_700)).await, 1);
    let retry = state::Command::Retry {
        which: dependency,
        by: "kim".to_owned(),
    };
    assert_eq!(world.command(retry, at(3_700)).await, 1);
    let sent = world.turn(vec![], at(3_701)).await;
    assert_eq!(sent.len(), 1);
    assert!(String::from_utf8_lossy(&sent[0].json).contains("9.8"));
}

#[tokio::test]
async fn a_thing_that_the_api_misses_is_tried_again_until_the_limit() {
    let mut world = World::new().await;
    world.rules.dependency_wait = Duration::from_mins(1);
    world.commit(vec![price("P", 1, "9.90")], 1).await;
    let mut now = 0;
    let mut picked = world.turn(vec![], at(now)).await;
    let mut tries = 0;
    while let [one] = picked.as_slice() {
        tries += 1;
        now += 25;
        let due = DeliveryEvent::Transient { due: at(now) };
        let missing = outcome(one, due, Said::Missing);
        picked = world.turn(vec![missing], at(now)).await;
    }
    // 25, 50, 75 and 100: a minute after the first.
    assert_eq!(tries, 4);
    let counts = world.reader().held_counts().unwrap();
    assert_eq!(
        (counts[0].cause.as_str(), counts[0].count),
        ("dependency", 1)
    );
}

#[tokio::test]
async fn what_failed_again_and_again_is_picked_for_requests_of_its_own() {
    let world = World::new().await;
    let all = (0..3).map(|n| stock(&format!("S{n}"), n + 1, 5)).collect();
    world.commit(all, 3).await;
    for now in 0..2 {
        let picked = world.turn(vec![], at(now)).await;
        assert_eq!(picked.len(), 3, "twice they leave together");
        let due = |one| {
            let due = DeliveryEvent::Transient { due: at(now + 1) };
            outcome(one, due, Said::Retry)
        };
        let failed = picked.iter().map(due).collect();
        world
            .full_turn(failed, at(now), |turn| turn.pick = None)
            .await;
    }
    world.commit(vec![stock("FRESH", 9, 5)], 9).await;
    let one = |turn: &mut state::Turn| {
        turn.pick = Some(PickLimits {
            batches_max: 1,
            ..LIMITS
        });
    };
    let suspects = world.full_turn(vec![], at(2), one).await.picked;
    assert_eq!(skus(&suspects), ["S0", "S1", "S2"]);
    let fresh = world.full_turn(vec![], at(2), one).await.picked;
    assert_eq!(skus(&fresh), ["FRESH"]);
}
