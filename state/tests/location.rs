//! Locations that a person stops at a destination.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::delivery::DeliveryEvent;
use contract::{Answer, Outgoing};
use jiff::Timestamp;
use state::{
    Command, Guards, Happened, HeldFilter, LocationStop, MassDrop, ReplayFilter, Said, Stop,
};

use crate::common::{NOW, World, at, product, stock, stock_end};

fn stopped(stop: Stop, until: Option<Timestamp>) -> Command {
    Command::Stop {
        stop: LocationStop {
            location: "MAIN".to_owned(),
            stop,
            until,
            since: NOW,
            by: "kim".to_owned(),
            why: "the roof leaks".to_owned(),
        },
        tenant: "acme".to_owned(),
    }
}

fn released() -> Command {
    Command::Release {
        location: "MAIN".to_owned(),
        by: "kim".to_owned(),
        tenant: "acme".to_owned(),
    }
}

/// What leaves: keys, what may be sold, what is on hand, the version; and all of it is applied.
async fn leaving(world: &World, now: Timestamp) -> Vec<(String, String, String, String)> {
    let mut all = Vec::new();
    let mut picked = world.turn(vec![], now).await;
    while !picked.is_empty() {
        for outgoing in &picked {
            let json: serde_json::Value = serde_json::from_slice(&outgoing.json).unwrap();
            let text = |name: &str| json["body"][name].as_str().unwrap_or("-").to_owned();
            let sku = outgoing.key.split('|').nth(1).unwrap().to_owned();
            let version = format!("{}.{}", json["version"]["pos"], json["version"]["seq"]);
            all.push((sku, text("sellable"), text("on_hand"), version));
        }
        let applied = |one: &Outgoing| Happened {
            offset: one.offset,
            event: DeliveryEvent::Applied,
            said: Said::Applied,
            cause: None,
            answer: Some(Answer::default()),
        };
        picked = world.turn(picked.iter().map(applied).collect(), now).await;
    }
    all
}

fn told(all: &[(String, String, String, String)]) -> Vec<(&str, &str, &str)> {
    let mut told: Vec<_> = all
        .iter()
        .map(|(sku, sellable, on_hand, _)| (sku.as_str(), sellable.as_str(), on_hand.as_str()))
        .collect();
    told.sort_unstable();
    told
}

fn held() -> HeldFilter {
    HeldFilter::default()
}

#[tokio::test]
async fn nothing_to_sell_is_told_until_it_is_released() {
    let mut world = World::new().await;
    // No brake stops what a person asks for.
    world.rules.guards = Guards {
        mass_drop: Some(MassDrop {
            percent: 1,
            least: 1,
            minutes: 10,
        }),
        ..Guards::default()
    };
    world
        .commit(
            vec![stock("A", 1, 5), stock("B", 2, 7), stock("N", 3, 0)],
            3,
        )
        .await;
    assert_eq!(leaving(&world, NOW).await.len(), 3);

    assert_eq!(world.command(stopped(Stop::Zero, None), NOW).await, 2);
    let zero = leaving(&world, NOW).await;
    // What is on hand is there, flood or not; what had nothing to sell is not told again.
    assert_eq!(told(&zero), [("A", "0", "5"), ("B", "0", "7")]);
    // A receiver that compares versions takes it.
    assert!(
        zero.iter()
            .all(|(_, _, _, version)| version.ends_with(".1")),
        "{zero:?}"
    );

    // What changes meanwhile is told as nothing to sell; what ends ends.
    world.rules.guards = Guards::off();
    world
        .commit(
            vec![stock("A", 4, 50), stock("C", 5, 9), stock_end("B", 6)],
            6,
        )
        .await;
    let meanwhile = leaving(&world, NOW).await;
    assert_eq!(
        told(&meanwhile),
        [("A", "0", "50"), ("B", "-", "-"), ("C", "0", "9")]
    );
    // A replay says no more.
    let all = Command::Replay {
        which: ReplayFilter {
            key: Some("A".to_owned()),
            ..ReplayFilter::default()
        },
        tenant: "acme".to_owned(),
    };
    assert_eq!(world.command(all, NOW).await, 1);
    assert_eq!(told(&leaving(&world, NOW).await), [("A", "0", "50")]);
    assert_eq!(world.reader().location_stops().unwrap().len(), 1);

    // A restart forgets nothing.
    let world = world.reopen().await;
    world.commit(vec![stock("A", 7, 51)], 7).await;
    assert_eq!(told(&leaving(&world, NOW).await), [("A", "0", "51")]);

    assert_eq!(world.command(released(), NOW).await, 2);
    let real = leaving(&world, NOW).await;
    assert_eq!(told(&real), [("A", "51", "51"), ("C", "9", "9")]);
    assert!(world.reader().location_stops().unwrap().is_empty());
    // What the source tells next is newer than all of it.
    world.commit(vec![stock("A", 8, 1)], 8).await;
    assert_eq!(told(&leaving(&world, NOW).await), [("A", "1", "1")]);
    assert_eq!(world.command(released(), NOW).await, 0, "it is not stopped");
}

#[tokio::test]
async fn what_is_on_its_way_is_told_as_nothing_behind_itself() {
    let world = World::new().await;
    world
        .commit(vec![stock("A", 1, 5), stock("B", 2, 7)], 2)
        .await;
    let picked = world.turn(vec![], NOW).await;
    assert_eq!(picked.len(), 2);
    // Both are out; nobody knows yet whether they arrive.
    assert_eq!(world.command(stopped(Stop::Zero, None), NOW).await, 2);
    assert!(world.turn(vec![], NOW).await.is_empty(), "one lane each");
    let applied = |one: &Outgoing| Happened {
        offset: one.offset,
        event: DeliveryEvent::Applied,
        said: Said::Applied,
        cause: None,
        answer: Some(Answer::default()),
    };
    let next = world.turn(picked.iter().map(applied).collect(), NOW).await;
    assert_eq!(next.len(), 2);
    for one in next {
        let json = String::from_utf8(one.json.to_vec()).unwrap();
        assert!(json.contains("\"sellable\":\"0\""), "{json}");
    }
}

#[tokio::test]
async fn a_frozen_location_tells_nothing_until_its_time_is_over() {
    let world = World::new().await;
    world
        .commit(vec![stock("A", 1, 5), stock("B", 2, 7)], 2)
        .await;
    leaving(&world, NOW).await;
    let until = Some(at(60));
    world.command(stopped(Stop::Freeze, until), NOW).await;
    world
        .commit(
            vec![stock("A", 3, 1), stock_end("B", 4), product("P", 5, "p")],
            5,
        )
        .await;
    // Only stock of that place; a person's retry does not thaw it.
    let gone = leaving(&world, NOW).await;
    assert_eq!(gone.len(), 1, "{gone:?}");
    let reader = world.reader();
    let found = reader.held_list(&held(), 10).unwrap();
    assert_eq!(found.len(), 2);
    assert!(
        found[0]
            .reason
            .contains("is frozen until 1970-01-01T00:01:00Z by kim: the roof leaks"),
        "{}",
        found[0].reason
    );
    let retry = Command::Retry {
        which: held(),
        by: "kim".to_owned(),
    };
    world.command(retry, NOW).await;
    assert!(leaving(&world, NOW).await.is_empty());
    assert_eq!(world.reader().held_list(&held(), 10).unwrap().len(), 2);
    // The newest state takes the place of what is held.
    world.commit(vec![stock("A", 6, 2)], 6).await;
    assert!(leaving(&world, NOW).await.is_empty());

    let later = leaving(&world, at(61)).await;
    let later: Vec<_> = [later, leaving(&world, at(62)).await].concat();
    assert_eq!(told(&later), [("A", "2", "2"), ("B", "-", "-")]);
    assert!(world.reader().location_stops().unwrap().is_empty());
    assert!(world.reader().held_list(&held(), 10).unwrap().is_empty());
}

#[tokio::test]
async fn a_location_at_zero_is_not_frozen_and_a_frozen_one_may_be_set_to_zero() {
    let world = World::new().await;
    world
        .commit(vec![stock("A", 1, 5), stock("B", 2, 7)], 2)
        .await;
    leaving(&world, NOW).await;
    world.command(stopped(Stop::Freeze, None), NOW).await;
    world
        .commit(vec![stock("A", 3, 4), stock_end("B", 4)], 4)
        .await;
    assert!(leaving(&world, NOW).await.is_empty());
    world.command(stopped(Stop::Zero, None), NOW).await;
    let all = leaving(&world, NOW).await;
    assert_eq!(told(&all), [("A", "0", "4"), ("B", "-", "-")]);
    world.command(stopped(Stop::Freeze, None), NOW).await;
    assert_eq!(
        world.reader().location_stops().unwrap()[0].1.stop,
        Stop::Zero
    );
    world.command(released(), NOW).await;
    assert_eq!(told(&leaving(&world, NOW).await), [("A", "4", "4")]);
}

#[tokio::test]
async fn a_comparison_expects_what_the_destination_was_told() {
    let world = World::new().await;
    world.commit(vec![stock("A", 1, 5)], 1).await;
    leaving(&world, NOW).await;
    world.command(stopped(Stop::Zero, None), NOW).await;
    leaving(&world, NOW).await;
    let expected = async |wanted: &str| {
        let reader = world.reader();
        let types = [contract::EventType::InventoryAvailability];
        let lanes = reader.told_lanes(&types, 0, 10).unwrap();
        let keys = reader.told_keys("shop", "acme", &lanes, NOW).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&keys[0].outgoing.json).unwrap();
        assert_eq!(json["body"]["sellable"], wanted);
    };
    expected("0").await;
    world.command(released(), NOW).await;
    expected("5").await;
}

#[tokio::test]
async fn no_guard_stops_a_zero_that_takes_the_place_of_one_that_waits() {
    let mut world = World::new().await;
    world.commit(vec![stock("A", 1, 100)], 1).await;
    leaving(&world, NOW).await;
    world.rules.guards = Guards {
        jump_percent: Some(10),
        ..Guards::default()
    };
    world.command(stopped(Stop::Zero, None), NOW).await;
    // Before that has left, the ERP changes the row.
    world.commit(vec![stock("A", 2, 90)], 2).await;
    assert_eq!(told(&leaving(&world, NOW).await), [("A", "0", "90")]);
}
