//! What waits for another delivery: how long, what holds it, and what lets it go.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{Answer, Body, Event, EventOp, EventType, FieldValue, Outgoing};
use state::{Happened, HeldFilter, Item, Published, Said};

use crate::common::{NOW, World, at, envelope, price, product, stock};

fn outcome(outgoing: &Outgoing, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset: outgoing.offset,
        event,
        said,
        cause: Some("HTTP 500".to_owned()),
        answer: Some(Answer::default()),
    }
}

fn applied(picked: &[Outgoing]) -> Vec<Happened> {
    let applied = |one| outcome(one, DeliveryEvent::Applied, Said::Applied);
    picked.iter().map(applied).collect()
}

fn failed(one: &Outgoing, due: i64) -> Vec<Happened> {
    let event = DeliveryEvent::Transient { due: at(due) };
    vec![outcome(one, event, Said::Retry)]
}

fn types(picked: &[Outgoing]) -> Vec<&'static str> {
    picked.iter().map(|one| one.event_type.name()).collect()
}

fn held(world: &World) -> Vec<String> {
    let all = world.reader().held_list(&HeldFilter::default(), 10);
    all.unwrap().into_iter().map(|one| one.reason).collect()
}

fn of_type(event_type: &str) -> HeldFilter {
    HeldFilter {
        event_type: Some(event_type.to_owned()),
        ..HeldFilter::default()
    }
}

#[tokio::test]
async fn what_is_on_its_way_without_a_failure_is_waited_for_however_long() {
    let world = World::new().await;
    let all = vec![
        product("P", 1, "p"),
        price("P", 2, "9.90"),
        stock("P", 3, 5),
    ];
    world.commit(all, 3).await;
    // A backlog, a pause, an outage: for a day nothing leaves.
    let nothing = world.full_turn(vec![], at(86_400), |turn| turn.pick = None);
    nothing.await;
    assert_eq!(held(&world), [""; 0]);
    let sent = world.turn(vec![], at(86_400)).await;
    assert_eq!(types(&sent), ["product.v1"]);
    assert_eq!(world.turn(applied(&sent), at(90_001)).await.len(), 2);
}

#[tokio::test]
async fn what_needs_something_that_fails_too_long_is_held_until_that_is_there() {
    let world = World::new().await;
    let all = vec![
        product("P", 1, "p"),
        price("P", 2, "9.90"),
        stock("P", 3, 5),
    ];
    world.commit(all, 3).await;
    let start = 7_200;
    let first = world.turn(vec![], at(start)).await;
    assert!(
        world
            .turn(failed(&first[0], start + 10), at(start))
            .await
            .is_empty()
    );
    // A newer state of it fails as the older one did.
    world.commit(vec![product("P", 4, "pp")], 4).await;
    let second = world.turn(vec![], at(start + 20)).await;
    assert_eq!(types(&second), ["product.v1"]);
    world
        .turn(failed(&second[0], start + 3_599), at(start + 3_598))
        .await;
    let third = world.turn(vec![], at(start + 3_599)).await;
    assert_eq!(held(&world), [""; 0]);
    world
        .turn(failed(&third[0], start + 4_000), at(start + 3_600))
        .await;
    let why = "its product P fails again and again: HTTP 500";
    assert_eq!(held(&world), [why, why]);
    // A person gave the stock up; the price leaves by itself.
    let drop = state::Command::Drop {
        which: of_type("inventory.availability.v1"),
        by: "kim".to_owned(),
        why: "not sold".to_owned(),
    };
    assert_eq!(world.command(drop, at(start + 3_700)).await, 1);
    let fourth = world.turn(vec![], at(start + 4_000)).await;
    assert_eq!(types(&fourth), ["product.v1"]);
    let rest = world.turn(applied(&fourth), at(start + 4_001)).await;
    assert_eq!(types(&rest), ["price.v1"]);
    let trace = world.reader().trace("ACME|P", 10).unwrap();
    let price = trace.events.iter().find(|one| one.event_type == "price.v1");
    let tried = &price.unwrap().deliveries[0].attempts;
    let outcomes: Vec<_> = tried.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(outcomes, ["dependency", "released"]);
}

#[tokio::test]
async fn what_comes_to_a_lane_that_has_long_been_held_does_not_wait_anew() {
    let world = World::new().await;
    world.commit(vec![product("P", 1, "p")], 1).await;
    let first = world.turn(vec![], NOW).await;
    let refused = outcome(&first[0], DeliveryEvent::Rejected, Said::Rejected);
    world.turn(vec![refused], NOW).await;
    world.full_turn(vec![], at(4_000), |_| {}).await;
    world.commit(vec![price("P", 2, "9.90")], 2).await;
    let turned = world.full_turn(vec![], at(4_001), |_| {}).await;
    assert_eq!(turned.held.len(), 1);
    assert!(held(&world).contains(&"its product P is held: HTTP 500".to_owned()));
    // The product is mended: both leave, the price behind it and by itself.
    world.commit(vec![product("P", 3, "good")], 3).await;
    let mended = world.turn(vec![], at(4_002)).await;
    assert_eq!(types(&mended), ["product.v1"]);
    let rest = world.turn(applied(&mended), at(4_003)).await;
    assert_eq!(types(&rest), ["price.v1"]);
}

#[tokio::test]
async fn what_an_api_misses_is_held_by_its_own_tries_and_leaves_when_that_is_told() {
    let mut world = World::new().await;
    world.rules.dependency_wait = Duration::from_mins(1);
    world.commit(vec![product("P", 1, "p")], 1).await;
    let sent = world.turn(vec![], NOW).await;
    world.turn(applied(&sent), NOW).await;
    world.commit(vec![price("P", 2, "9.90")], 2).await;
    // It was in a queue for a day: that is no reason to hold it at the first answer.
    let mut now = 86_400;
    for _ in 0..3 {
        let picked = world.turn(vec![], at(now)).await;
        assert_eq!(types(&picked), ["price.v1"], "{now}");
        let due = DeliveryEvent::Transient { due: at(now + 30) };
        world
            .turn(vec![outcome(&picked[0], due, Said::Missing)], at(now))
            .await;
        now += 30;
    }
    assert_eq!(held(&world).len(), 1);
    world.commit(vec![product("P", 3, "pp")], 3).await;
    let told = world.turn(vec![], at(now)).await;
    assert_eq!(types(&told), ["product.v1"]);
    let rest = world.turn(applied(&told), at(now)).await;
    assert_eq!(types(&rest), ["price.v1"]);
}

fn order(id: &str, version: u64) -> Item {
    let body = Body::new(EventType::Order.schema());
    of(EventType::Order, id, version, body)
}

fn shipment(id: &str, version: u64, orders: &[&str]) -> Item {
    let mut body = Body::new(EventType::Shipment.schema());
    let orders = orders.iter().map(|&order| order.to_owned()).collect();
    body.set("order_refs", FieldValue::Texts(orders)).unwrap();
    of(EventType::Shipment, id, version, body)
}

fn of(event_type: EventType, id: &str, version: u64, body: Body) -> Item {
    let envelope = envelope(event_type, id, version, EventOp::Upsert);
    Item::Event(Published {
        event: Event::new(envelope, Some(body)),
        row_key: id.to_owned(),
        related: false,
        zero_first: false,
    })
}

#[tokio::test]
async fn a_shipment_of_several_orders_waits_for_each_of_them() {
    let world = World::new().await;
    let all = vec![
        order("1", 1),
        order("2", 2),
        shipment("S", 3, &["1", "2"]),
        shipment("T", 4, &["1"]),
    ];
    world.commit(all, 4).await;
    let orders = world.turn(vec![], NOW).await;
    assert_eq!(types(&orders), ["order.v1", "order.v1"]);
    let of_one = world.turn(applied(&orders[..1]), NOW).await;
    assert_eq!(of_one.len(), 1, "the other order is not there yet");
    assert!(of_one[0].key.ends_with("|T"), "{}", of_one[0].key);
    // The first one changes meanwhile: it is there all the same.
    let mut changed = Body::new(EventType::Order.schema());
    changed
        .set("currency", FieldValue::Text("EUR".to_owned()))
        .unwrap();
    world
        .commit(vec![of(EventType::Order, "1", 5, changed)], 5)
        .await;
    let change = world.turn(vec![], NOW).await;
    assert_eq!(types(&change), ["order.v1"]);
    let of_both = world.turn(applied(&orders[1..]), NOW).await;
    assert_eq!(types(&of_both), ["shipment.v1"]);
}
