//! What the deliver loop reads and writes, through the store's own door.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{Answer, Outgoing, Resend};
use state::{Happened, Retention, Said, StateReader, Turn};

use crate::common::{NOW, World, at, fact, product, tombstone};

fn happened(outgoing: &Outgoing, event: DeliveryEvent) -> Happened {
    Happened {
        offset: outgoing.offset,
        said: Said::Unknown,
        event,
        cause: None,
        answer: Some(Answer::default()),
    }
}

#[tokio::test]
async fn only_the_head_of_a_lane_leaves() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "1")], 1).await;
    let first = world.turn(vec![], NOW).await;
    assert_eq!(first.len(), 1);
    // While it is out, a newer state queues behind it; another key goes on.
    world
        .commit(vec![product("A", 2, "2"), product("B", 3, "b")], 3)
        .await;
    let second = world.turn(vec![], NOW).await;
    assert_eq!(
        second.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(),
        ["ACME|B"]
    );
    let third = world
        .turn(vec![happened(&first[0], DeliveryEvent::Applied)], NOW)
        .await;
    assert_eq!(
        third.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(),
        ["ACME|A"]
    );
}

#[tokio::test]
async fn newer_states_supersede_what_has_not_left_but_no_tombstone_and_no_fact() {
    let world = World::new().await;
    world
        .commit(
            vec![
                product("A", 1, "1"),
                product("A", 2, "2"),
                tombstone("A", 3),
                product("A", 4, "4"),
                fact("9", 5),
            ],
            5,
        )
        .await;
    let mut ops = Vec::new();
    loop {
        let picked = world.turn(vec![], NOW).await;
        if picked.is_empty() {
            break;
        }
        let outcomes = picked
            .iter()
            .map(|o| happened(o, DeliveryEvent::Applied))
            .collect();
        ops.extend(picked.iter().map(|o| o.op.name()));
        let more = world.turn(outcomes, NOW).await;
        ops.extend(more.iter().map(|o| o.op.name()));
        world
            .turn(
                more.iter()
                    .map(|o| happened(o, DeliveryEvent::Applied))
                    .collect(),
                NOW,
            )
            .await;
    }
    ops.sort_unstable();
    assert_eq!(ops, ["delete", "fact", "upsert"]);
}

#[tokio::test]
async fn a_failed_older_state_gives_way_to_the_newer_one_behind_it() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "1")], 1).await;
    let first = world.turn(vec![], NOW).await;
    world.commit(vec![product("A", 2, "2")], 2).await;
    let retry = Happened {
        said: Said::Retry,
        ..happened(&first[0], DeliveryEvent::Transient { due: at(60) })
    };
    let next = world.turn(vec![retry], NOW).await;
    assert_eq!(next.len(), 1, "no waiting for the older state's back-off");
    assert!(
        String::from_utf8(next[0].json.to_vec())
            .unwrap()
            .contains("\"name\":\"2\"")
    );
}

#[tokio::test]
async fn a_request_that_was_out_at_a_crash_is_unknown_until_its_deadline() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "1")], 1).await;
    let first = world.turn(vec![], NOW).await;
    world.commit(vec![product("A", 2, "2")], 2).await;
    let world = world.reopen().await;
    assert_eq!(
        world.store.recover(world.destination, at(1)).await.unwrap(),
        1
    );
    assert!(
        world.turn(vec![], at(1)).await.is_empty(),
        "the old request may still arrive"
    );
    assert_eq!(
        world.full_turn(vec![], at(1), |_| {}).await.next_due,
        Some(at(10))
    );
    // And later, too: it goes again before the newer one, so that whoever knows its id knows what comes late.
    let again = world.turn(vec![], at(10)).await;
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].id, again[0].attempt), (&first[0].id, 2));
    let applied = happened(&again[0], DeliveryEvent::Applied);
    let newer = world.turn(vec![applied], at(10)).await;
    assert_eq!(newer.len(), 1);
    assert_ne!(newer[0].id, first[0].id);
}

#[tokio::test]
async fn what_may_still_arrive_is_sent_before_anything_newer() {
    let lost = |one: &Outgoing| happened(one, DeliveryEvent::Lost);
    let gave_up = |one: &Outgoing| Happened {
        said: Said::Retry,
        answer: Some(Answer {
            status: Some(504),
            ..Answer::default()
        }),
        ..happened(one, DeliveryEvent::Transient { due: at(10) })
    };
    for doubt in [lost, gave_up] {
        let world = World::new().await;
        world.commit(vec![product("A", 1, "1")], 1).await;
        let first = world.turn(vec![], NOW).await;
        world.turn(vec![doubt(&first[0])], NOW).await;
        // Neither those that come while it waits nor one behind another that says clearly no.
        world.commit(vec![product("A", 2, "2")], 2).await;
        let second = world.turn(vec![], at(10)).await;
        assert_eq!((second.len(), &second[0].id), (1, &first[0].id));
        let refused = Happened {
            said: Said::Retry,
            ..happened(&second[0], DeliveryEvent::Transient { due: at(20) })
        };
        assert!(world.turn(vec![refused], at(11)).await.is_empty());
        world.commit(vec![product("A", 3, "3")], 3).await;
        let third = world.turn(vec![], at(20)).await;
        assert_eq!((third.len(), &third[0].id), (1, &first[0].id));
        // Refused for good, it is the newest one's turn: nobody has to act.
        let rejected = Happened {
            said: Said::Rejected,
            ..happened(&third[0], DeliveryEvent::Rejected)
        };
        let newest = world.turn(vec![rejected], at(20)).await;
        let json = String::from_utf8(newest[0].json.to_vec()).unwrap();
        assert!(json.contains("\"name\":\"3\""), "{json}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_forth_decides_no_request_that_is_still_out() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "1")], 1).await;
    world.turn(vec![], NOW).await;
    world.commit(vec![product("A", 2, "2")], 2).await;
    world
        .store
        .recover(world.destination, at(600))
        .await
        .unwrap();
    // By the new time its deadline passed long ago; it left a moment ago.
    world
        .store
        .requests_out_until(world.destination, at(611))
        .await
        .unwrap();
    assert!(world.turn(vec![], at(600)).await.is_empty());
    assert_eq!(
        world.full_turn(vec![], at(600), |_| {}).await.next_due,
        Some(at(611))
    );
    assert_eq!(world.turn(vec![], at(611)).await.len(), 1);
    // One that has longer keeps it.
    world
        .store
        .requests_out_until(world.destination, at(612))
        .await
        .unwrap();
    world
        .store
        .recover(world.destination, at(612))
        .await
        .unwrap();
    assert!(world.turn(vec![], at(613)).await.is_empty());
}

#[tokio::test]
async fn an_unknown_outcome_is_held_where_resending_could_double_it() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1)], 1).await;
    world.turn(vec![], NOW).await;
    world.store.recover(world.destination, NOW).await.unwrap();
    let unsafe_one = |turn: &mut Turn| turn.resend = Resend::Unsafe;
    world.full_turn(vec![], at(60), unsafe_one).await;
    let held = StateReader::open(world.folder.path())
        .unwrap()
        .held(10)
        .unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(
        held[0].reason,
        "the agent stopped while the request was out"
    );
}

#[tokio::test]
async fn the_same_event_keeps_its_id_over_attempts() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1)], 1).await;
    let first = world.turn(vec![], NOW).await;
    let retry = happened(&first[0], DeliveryEvent::Transient { due: at(5) });
    assert!(
        world.turn(vec![retry], NOW).await.is_empty(),
        "not before it is due"
    );
    let second = world.turn(vec![], at(5)).await;
    assert_eq!((second[0].attempt, first[0].attempt), (2, 1));
    assert_eq!(second[0].id, first[0].id);
    assert_eq!(second[0].json, first[0].json);
}

#[tokio::test]
async fn a_step_the_state_machine_forbids_is_refused() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1)], 1).await;
    let first = world.turn(vec![], NOW).await;
    world
        .turn(vec![happened(&first[0], DeliveryEvent::Applied)], NOW)
        .await;
    let twice = vec![happened(&first[0], DeliveryEvent::Transient { due: NOW })];
    let turn = Turn {
        outcomes: twice,
        ..Turn::at(NOW)
    };
    let rules = Arc::default();
    let refused = world.store.turn(world.destination, turn, rules).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn finished_events_are_pruned_and_offsets_never_used_again() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1), fact("2", 2)], 2).await;
    let picked = world.turn(vec![], NOW).await;
    let outcomes = vec![happened(&picked[0], DeliveryEvent::Applied)];
    world.turn(outcomes, NOW).await;
    let none = Retention {
        keep: Duration::ZERO,
        rows_max: 0,
    };
    world.store.prune(none, 0, at(100)).await.unwrap();
    let waiting = StateReader::open(world.folder.path())
        .unwrap()
        .destinations()
        .unwrap();
    assert_eq!(
        (waiting[0].backlog, waiting[0].delivered),
        (1, 1),
        "what waits stays"
    );
    world
        .turn(vec![happened(&picked[1], DeliveryEvent::Applied)], NOW)
        .await;
    world.store.prune(none, 0, at(100)).await.unwrap();
    let world = world.reopen().await;
    world.commit(vec![fact("3", 3)], 3).await;
    let next = world.turn(vec![], NOW).await;
    assert!(next[0].offset > picked[1].offset);
}

#[tokio::test]
async fn pruned_events_give_their_space_back() {
    const FACTS: u64 = 3_000;
    let size = |world: &World| {
        let files = std::fs::read_dir(world.folder.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum::<u64>()
    };
    let world = World::new().await;
    let facts = (1..=FACTS).map(|n| fact(&n.to_string(), n)).collect();
    world.commit(facts, FACTS).await;
    let mut outcomes = Vec::new();
    loop {
        let picked = world.turn(outcomes, NOW).await;
        if picked.is_empty() {
            break;
        }
        outcomes = picked
            .iter()
            .map(|event| happened(event, DeliveryEvent::Applied))
            .collect();
    }
    let world = world.reopen().await;
    let full = size(&world);
    let all = Retention {
        keep: Duration::ZERO,
        rows_max: 0,
    };
    let mut after = Some(0);
    while let Some(from) = after {
        after = world.store.prune(all, from, at(100)).await.unwrap();
    }
    let world = world.reopen().await;
    let empty = size(&world);
    assert!(empty * 2 < full, "{full} bytes full, {empty} bytes empty");
}
