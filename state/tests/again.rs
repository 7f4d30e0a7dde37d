//! What a replay tells again, and what only a person's retry lets pass.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::delivery::DeliveryEvent;
use contract::{Answer, Envelope, Event, EventOp, FieldValue, Outgoing};
use state::{Command, Happened, HeldFilter, Item, MassDrop, ReplayFilter, Said};

use crate::common::{NOW, World, at, fact, price, stock, stock_end};

fn outcome(outgoing: &Outgoing, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset: outgoing.offset,
        event,
        said,
        cause: Some("HTTP 422".to_owned()),
        answer: Some(Answer::default()),
    }
}

fn applied(picked: &[Outgoing]) -> Vec<Happened> {
    let applied = |one| outcome(one, DeliveryEvent::Applied, Said::Applied);
    picked.iter().map(applied).collect()
}

/// Delivers everything that leaves, turn by turn: what was done.
async fn deliver_all(world: &World) -> Vec<&'static str> {
    let mut all = Vec::new();
    let mut picked = world.turn(vec![], NOW).await;
    while !picked.is_empty() {
        all.extend(picked.iter().map(|one| one.op.name()));
        picked = world.turn(applied(&picked), NOW).await;
    }
    all
}

fn replay() -> Command {
    Command::Replay {
        which: ReplayFilter::default(),
        tenant: "acme".to_owned(),
    }
}

fn correction(id: &str, version: u64, sku: &str) -> Item {
    let Item::Event(mut published) = fact(id, version) else {
        unreachable!("a fact is an event")
    };
    let mut body = published.event.body.clone().unwrap();
    body.set("sku", FieldValue::Text(sku.to_owned())).unwrap();
    let envelope = Envelope {
        op: EventOp::Correction,
        ..published.event.envelope.clone()
    };
    published.event = Event::new(envelope, Some(body));
    Item::Event(published)
}

#[tokio::test]
async fn a_replay_tells_a_fact_and_what_corrected_it_in_their_order() {
    let world = World::new().await;
    world
        .commit(vec![fact("1", 1), correction("1", 2, "x"), fact("2", 3)], 3)
        .await;
    assert_eq!(deliver_all(&world).await.len(), 3);
    let count = world
        .reader()
        .replay_count("shop", &[], &ReplayFilter::default());
    assert_eq!(count.unwrap().facts, 3);
    assert_eq!(world.command(replay(), NOW).await, 3);
    assert_eq!(deliver_all(&world).await, ["fact", "fact", "correction"]);
    // What another replay has put on its way hinders this one.
    assert_eq!(world.command(replay(), NOW).await, 3);
    let count = world
        .reader()
        .replay_count("shop", &[], &ReplayFilter::default());
    assert_eq!(count.unwrap().on_their_way, 3);
    assert_eq!(world.command(replay(), NOW).await, 0);
    assert_eq!(deliver_all(&world).await.len(), 3);
    // Of a lane that is held, it is the held one.
    world.commit(vec![correction("1", 4, "y")], 4).await;
    let newest = world.turn(vec![], NOW).await;
    let refused = outcome(&newest[0], DeliveryEvent::Rejected, Said::Rejected);
    world.turn(vec![refused], NOW).await;
    let count = world
        .reader()
        .replay_count("shop", &[], &ReplayFilter::default())
        .unwrap();
    assert_eq!((count.held, count.facts, count.on_their_way), (1, 1, 2));
    assert_eq!(world.command(replay(), NOW).await, 2);
}

#[tokio::test]
async fn a_replay_lets_nothing_pass_the_guards() {
    let world = World::new().await;
    world.commit(vec![price("A", 1, "0.00")], 1).await;
    assert!(world.turn(vec![], NOW).await.is_empty());
    assert_eq!(world.command(replay(), NOW).await, 1);
    let turned = world.full_turn(vec![], NOW, |_| {}).await;
    assert_eq!((turned.picked.len(), turned.held.len()), (0, 1));
}

#[tokio::test]
async fn who_lets_a_zero_pass_lets_the_end_behind_it_pass() {
    let mut world = World::new().await;
    world.rules.guards.mass_drop = Some(MassDrop {
        percent: 1,
        least: 1,
        minutes: 10,
    });
    world
        .commit(vec![stock("A", 1, 5), stock("B", 2, 5)], 2)
        .await;
    assert_eq!(deliver_all(&world).await.len(), 2);
    let Item::Event(mut end) = stock_end("A", 3) else {
        unreachable!("an end is an event")
    };
    end.zero_first = true;
    world
        .commit(vec![Item::Event(end), stock_end("B", 4)], 4)
        .await;
    assert_eq!(deliver_all(&world).await, [""; 0]);
    let retry = Command::Retry {
        which: HeldFilter {
            cause: Some("guard".to_owned()),
            key: Some("A".to_owned()),
            ..HeldFilter::default()
        },
        by: "kim".to_owned(),
    };
    assert_eq!(world.command(retry, at(1)).await, 1);
    assert_eq!(deliver_all(&world).await, ["upsert", "delete"]);
    let held = world
        .reader()
        .held_list(&HeldFilter::default(), 10)
        .unwrap();
    assert_eq!(held.len(), 1, "the other one is still held");
}
