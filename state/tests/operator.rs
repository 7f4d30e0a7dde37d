//! Guards, held deliveries, and what a person does about them.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use contract::delivery::{DeliveryEvent, HeldCause};
use contract::{Answer, Outgoing, Resend};
use state::{
    Ask, Command, Guards, Happened, HeldFilter, Item, MassDrop, ReplayFilter, Said, is_replayed,
};

use crate::common::{NOW, World, at, fact, price, product, stock, stock_end, tombstone};

fn outcome(outgoing: &Outgoing, event: DeliveryEvent, said: Said, status: u16) -> Happened {
    Happened {
        offset: outgoing.offset,
        event,
        said,
        cause: Some(format!("HTTP {status}")),
        answer: Some(Answer {
            status: Some(status),
            body: "so it says".to_owned(),
            latency_ms: 7,
        }),
    }
}

fn applied(picked: &[Outgoing]) -> Vec<Happened> {
    let applied = |one| outcome(one, DeliveryEvent::Applied, Said::Applied, 200);
    picked.iter().map(applied).collect()
}

/// Delivers everything that leaves; how many events that were.
async fn deliver_all(world: &World, now: i64) -> usize {
    let mut all = 0;
    let mut picked = world.turn(vec![], at(now)).await;
    while !picked.is_empty() {
        all += picked.len();
        picked = world.turn(applied(&picked), at(now)).await;
    }
    all
}

fn cause(name: &str) -> HeldFilter {
    HeldFilter {
        cause: Some(name.to_owned()),
        ..HeldFilter::default()
    }
}

fn retry(which: HeldFilter) -> Command {
    Command::Retry {
        which,
        by: "kim".to_owned(),
    }
}

#[tokio::test]
async fn a_price_of_nothing_is_held_until_a_person_lets_it_pass() {
    let world = World::new().await;
    world
        .commit(vec![price("A", 1, "0.00"), price("B", 2, "0.01")], 2)
        .await;
    let turned = world.full_turn(vec![], NOW, |_| {}).await;
    assert_eq!(turned.picked.len(), 1);
    assert_eq!(turned.held[0].cause, HeldCause::Guard);
    let held = world.reader().held_list(&cause("guard"), 10).unwrap();
    assert_eq!(held[0].reason, "the price would be 0 (guard zero_price)");
    assert_eq!(world.command(retry(cause("guard")), NOW).await, 1);
    let passed = world.turn(vec![], NOW).await;
    assert_eq!(passed.len(), 1);
    let show = world.reader().trace("ACME|A", 10).unwrap();
    let tried = &show.events[0].deliveries[0].attempts;
    let outcomes: Vec<_> = tried.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(outcomes, ["guard", "operator"]);
    assert_eq!(tried[1].cause.as_deref(), Some("sent again by kim"));
}

#[tokio::test]
async fn a_jump_is_measured_by_what_the_destination_has() {
    let mut world = World::new().await;
    world.rules.guards = Guards {
        jump_percent: Some(200),
        ..Guards::off()
    };
    let had = vec![stock("A", 1, 10), price("A", 2, "5"), stock("B", 3, 0)];
    world.commit(had, 3).await;
    assert_eq!(deliver_all(&world, 0).await, 3);
    let changes = vec![stock("A", 4, 31), price("A", 5, "15"), stock("B", 6, 900)];
    world.commit(changes, 6).await;
    assert_eq!(deliver_all(&world, 1).await, 2, "from nothing is no jump");
    let held = world.reader().held_list(&cause("guard"), 10).unwrap();
    assert_eq!(
        held[0].reason,
        "the quantity would change from 10 to 31 (guard jump_percent: more than 200 %)"
    );
    // A newer state takes the place of what is held.
    world.commit(vec![stock("A", 7, 12)], 7).await;
    assert_eq!(deliver_all(&world, 2).await, 1);
    assert!(
        world
            .reader()
            .held_list(&cause("guard"), 10)
            .unwrap()
            .is_empty()
    );
}

/// So many SKUs from `from` on.
fn many(from: u64, skus: std::ops::Range<u64>, of: fn(&str, u64) -> Item) -> Vec<Item> {
    let item = |n: u64| of(&format!("S{n}"), from + n);
    skus.map(item).collect()
}

#[tokio::test]
async fn too_many_keys_that_end_are_held_and_a_person_lets_them_go() {
    let mut world = World::new().await;
    world.rules.guards.mass_drop = Some(MassDrop {
        percent: 30,
        least: 20,
        minutes: 10,
    });
    let had = many(1, 0..100, |sku, version| stock(sku, version, 5));
    world.commit(had, 200).await;
    assert_eq!(deliver_all(&world, 0).await, 100);
    // 30 of 100 are not too many, one by one and not at once.
    let sold_out = many(201, 0..15, |sku, version| stock(sku, version, 0));
    world.commit(sold_out, 300).await;
    assert_eq!(deliver_all(&world, 60).await, 15);
    world.commit(many(301, 15..30, stock_end), 400).await;
    assert_eq!(deliver_all(&world, 120).await, 15);
    world.commit(many(401, 30..90, stock_end), 500).await;
    world.commit(vec![stock("S95", 600, 7)], 600).await;
    assert_eq!(deliver_all(&world, 180).await, 1, "others go on");
    let held = world.reader().held_list(&cause("guard"), 100).unwrap();
    assert_eq!(held.len(), 60);
    assert_eq!(
        held[0].reason,
        "mass-zero brake: 90 of 100 would end or become nothing (guard mass_drop: more than 30 % \
         within 10 minutes)"
    );
    assert_eq!(deliver_all(&world, 190).await, 0);
    assert_eq!(world.command(retry(cause("guard")), at(200)).await, 60);
    assert_eq!(deliver_all(&world, 200).await, 60);
    // What a person let go no longer counts.
    world.commit(vec![stock_end("S91", 700)], 700).await;
    assert_eq!(deliver_all(&world, 801).await, 1);
}

/// A source whose stream runs ahead of its snapshot tells the ends of keys that nobody was told of.
#[tokio::test]
async fn only_the_ends_of_keys_that_the_destination_has_count_for_the_brake() {
    let world = World::new().await;
    let never_told = many(1, 0..40, tombstone);
    world.commit(never_told, 100).await;
    assert_eq!(deliver_all(&world, 0).await, 40, "it has none of them");
    // On its way there is as good as there.
    let told = many(101, 40..100, |sku, version| product(sku, version, "a"));
    world.commit(told, 200).await;
    let on_the_way = world.turn(vec![], at(10)).await;
    assert_eq!(on_the_way.len(), 60);
    world.commit(many(201, 40..70, tombstone), 300).await;
    assert!(world.turn(applied(&on_the_way), at(20)).await.is_empty());
    let held = world.reader().held_list(&cause("guard"), 100).unwrap();
    assert_eq!(held.len(), 30);
    assert!(
        held[0]
            .reason
            .starts_with("mass-zero brake: 30 of 60 would"),
        "{}",
        held[0].reason
    );
}

#[tokio::test]
async fn a_conflict_is_tried_five_times_and_every_answer_is_kept() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let mut picked = world.turn(vec![], NOW).await;
    let mut tries = 0;
    while let [one] = picked.as_slice() {
        tries += 1;
        let due = DeliveryEvent::Transient { due: NOW };
        picked = world
            .turn(vec![outcome(one, due, Said::Conflict, 412)], NOW)
            .await;
    }
    assert_eq!(tries, 5);
    let held = world.reader().held_list(&cause("conflict"), 10).unwrap();
    let shown = world.reader().held_show(&held[0].id).unwrap().unwrap();
    assert_eq!(shown.attempts.len(), 5);
    let last = &shown.attempts[4];
    assert_eq!((last.attempt, last.status), (5, Some(412)));
    assert_eq!(last.body.as_deref(), Some("so it says"));
    assert!(shown.data.contains("\"name\":\"a\""));
}

#[tokio::test]
async fn the_first_and_the_newest_attempts_are_kept() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1)], 1).await;
    for n in 1..=70_u16 {
        let picked = world.turn(vec![], NOW).await;
        let due = DeliveryEvent::Transient { due: NOW };
        let failed = outcome(&picked[0], due, Said::Retry, 1_000 + n);
        world
            .full_turn(vec![failed], NOW, |turn| turn.pick = None)
            .await;
    }
    let trace = world.reader().trace("1", 10).unwrap();
    let tried = &trace.events[0].deliveries[0].attempts;
    let status: Vec<u16> = tried.iter().map(|one| one.status.unwrap()).collect();
    assert_eq!(status.len(), 50);
    assert_eq!(status[..10], (1_001..=1_010).collect::<Vec<_>>());
    assert_eq!(status[10..], (1_031..=1_070).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_accepted_event_is_asked_about_when_it_is_due_and_once_at_a_time() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let first = world.turn(vec![], NOW).await;
    let took = DeliveryEvent::Took {
        ticket: "job 7".to_owned(),
        due: at(30),
        until: at(100),
    };
    let took = outcome(&first[0], took, Said::Accepted, 202);
    let ask = Some(Ask {
        events_max: 10,
        lease: Duration::from_secs(11),
    });
    let turned = world
        .full_turn(vec![took], NOW, |turn| turn.ask = ask)
        .await;
    assert_eq!((turned.taken.len(), turned.next_due), (0, Some(at(30))));
    // A newer state waits for it: nobody knows when the older one takes effect.
    world.commit(vec![product("A", 2, "b")], 2).await;
    assert!(world.turn(vec![], at(1)).await.is_empty());
    let asked = |now| world.full_turn(vec![], at(now), move |turn| turn.ask = ask);
    let turned = asked(30).await;
    assert_eq!(turned.taken[0].ticket, "job 7");
    assert_eq!(turned.taken[0].outgoing, first[0]);
    assert!(asked(31).await.taken.is_empty(), "it is being asked about");
    assert_eq!(asked(41).await.taken.len(), 1, "after a crash, again");
    let done = outcome(&first[0], DeliveryEvent::Applied, Said::Applied, 200);
    assert_eq!(world.turn(vec![done], at(42)).await.len(), 1);
}

#[tokio::test]
async fn an_unknown_event_is_read_before_anything_is_decided() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1), fact("2", 2)], 2).await;
    let sent = world.turn(vec![], NOW).await;
    let lost = |one| outcome(one, DeliveryEvent::Lost, Said::Unknown, 500);
    let turn = |outcomes, now| {
        world.full_turn(outcomes, at(now), |turn| {
            turn.resend = Resend::Verify;
            turn.ask = Some(Ask {
                events_max: 10,
                lease: Duration::from_secs(11),
            });
        })
    };
    let turned = turn(sent.iter().map(lost).collect(), 1).await;
    assert!(turned.doubtful.is_empty(), "its request may still be out");
    let turned = turn(vec![], 10).await;
    assert_eq!(turned.doubtful, sent);
    // One is not there and is sent again, of the other nobody can tell.
    let due = DeliveryEvent::Resend { due: at(11) };
    let again = Said::Doubt { again: at(20) };
    let outcomes = vec![
        outcome(&sent[0], due, Said::NotThere, 404),
        outcome(&sent[1], DeliveryEvent::CannotTell, again, 200),
    ];
    let turned = turn(outcomes, 11).await;
    assert_eq!(turned.picked.len(), 1);
    assert_eq!(turned.picked[0].id, sent[0].id);
    for now in [20, 40] {
        let asked = turn(vec![], now).await.doubtful;
        assert_eq!(asked.len(), 1);
        let again = Said::Doubt {
            again: at(now + 20),
        };
        let doubt = outcome(&asked[0], DeliveryEvent::CannotTell, again, 200);
        turn(vec![doubt], now + 1).await;
    }
    let held = world.reader().held_list(&cause("ambiguous"), 10).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].key, sent[1].key);
}

#[tokio::test]
async fn a_paused_destination_sends_nothing_and_stays_paused_over_restarts() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    // As beside a running agent.
    let pause = Command::Pause {
        until: Some(at(100)),
    };
    let asked = state::ask(world.folder.path(), "shop", &pause, NOW).unwrap();
    assert!(world.reader().answer(asked.unwrap()).unwrap().is_none());
    let turned = world.full_turn(vec![], NOW, |_| {}).await;
    assert!(turned.picked.is_empty());
    assert_eq!(turned.paused.unwrap().until, Some(at(100)));
    assert_eq!(turned.done[0].what, "pause");
    let done = world.reader().answer(asked.unwrap()).unwrap().unwrap();
    assert_eq!((done.count, done.problem), (1, None));
    let world = world.reopen().await;
    assert!(world.turn(vec![], at(99)).await.is_empty());
    assert_eq!(
        world.reader().destinations().unwrap()[0]
            .paused
            .unwrap()
            .until,
        Some(at(100))
    );
    assert_eq!(world.turn(vec![], at(100)).await.len(), 1);
    assert!(
        state::ask(world.folder.path(), "nobody", &pause, NOW)
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_drained_destination_sends_what_was_there_and_nothing_newer() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), product("B", 2, "b")], 2)
        .await;
    world.command(Command::Drain, NOW).await;
    world.commit(vec![product("C", 3, "c")], 3).await;
    let picked = world.turn(vec![], NOW).await;
    assert_eq!(picked.len(), 2);
    assert!(world.reader().destinations().unwrap()[0].draining);
    let turned = world.full_turn(applied(&picked), NOW, |_| {}).await;
    assert!(turned.picked.is_empty() && turned.paused.is_some());
    world.command(Command::Resume, NOW).await;
    assert_eq!(world.turn(vec![], NOW).await.len(), 1);
}

#[tokio::test]
async fn held_items_are_dropped_by_key_and_the_lane_goes_on() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1), fact("2", 2)], 2).await;
    let sent = world.turn(vec![], NOW).await;
    let refused = |one| outcome(one, DeliveryEvent::Rejected, Said::Rejected, 422);
    world.turn(sent.iter().map(refused).collect(), NOW).await;
    let drop = Command::Drop {
        which: HeldFilter {
            key: Some("2".to_owned()),
            ..HeldFilter::default()
        },
        by: "kim".to_owned(),
        why: "counted twice".to_owned(),
    };
    assert_eq!(world.command(drop, NOW).await, 1);
    let left = world
        .reader()
        .held_list(&HeldFilter::default(), 10)
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, "ACME|1");
    let trace = world.reader().trace("ACME|2", 10).unwrap();
    let dropped = &trace.events[0].deliveries[0];
    assert_eq!(dropped.state, "discarded");
    let last = dropped.attempts.last().unwrap();
    assert_eq!(last.cause.as_deref(), Some("dropped by kim: counted twice"));
}

fn replay(which: ReplayFilter) -> Command {
    Command::Replay {
        which,
        tenant: "acme".to_owned(),
    }
}

#[tokio::test]
async fn a_replay_tells_what_was_told_last_and_takes_effect() {
    let world = World::new().await;
    let all = vec![
        product("A", 1, "old"),
        product("B", 2, "b"),
        fact("1", 3),
        product("AB", 4, "x"),
    ];
    world.commit(all, 4).await;
    deliver_all(&world, 0).await;
    world.commit(vec![product("A", 5, "new")], 5).await;
    let told = world.turn(vec![], NOW).await;
    world.turn(applied(&told), NOW).await;
    let of_key = ReplayFilter {
        key: Some("A".to_owned()),
        ..ReplayFilter::default()
    };
    let count = world.reader().replay_count("shop", &[], &of_key).unwrap();
    assert_eq!((count.states, count.facts), (1, 0), "a part, not a piece");
    assert_eq!(world.command(replay(of_key.clone()), NOW).await, 1);
    let again = world.turn(vec![], NOW).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id, told[0].id);
    assert!(is_replayed(&again[0]) && !is_replayed(&told[0]));
    let json = String::from_utf8(again[0].json.to_vec()).unwrap();
    assert!(json.contains("\"name\":\"new\""));
    assert!(json.contains(&format!(
        "\"idempotency_key\":\"{}\"",
        again[0].idempotency_key
    )));
    world.turn(applied(&again), NOW).await;
    // Once more has a key of its own.
    world.command(replay(of_key), NOW).await;
    let third = world.turn(vec![], NOW).await;
    assert_ne!(third[0].idempotency_key, again[0].idempotency_key);
    world.turn(applied(&third), NOW).await;
    // All of it: each state once, the fact under the id and key that it had.
    assert_eq!(world.command(replay(ReplayFilter::default()), NOW).await, 4);
    let all = world.turn(vec![], NOW).await;
    assert_eq!(all.len(), 4);
    let fact = all.iter().find(|one| one.key == "ACME|1").unwrap();
    assert!(!is_replayed(fact));
    // What is on its way is not told twice.
    assert_eq!(world.command(replay(ReplayFilter::default()), NOW).await, 0);
}

#[tokio::test]
async fn a_replay_of_what_left_the_outbox_is_made_of_what_was_published() {
    let world = World::new().await;
    world.commit(vec![stock("A", 1, 5)], 1).await;
    let told = world.turn(vec![], NOW).await;
    world.turn(applied(&told), NOW).await;
    let none = state::Retention {
        keep: Duration::ZERO,
        rows_max: 0,
    };
    world.store.prune(none, 0, at(100)).await.unwrap();
    assert!(world.reader().trace("A", 10).unwrap().events.is_empty());
    assert_eq!(
        world
            .command(replay(ReplayFilter::default()), at(100))
            .await,
        1
    );
    let again = world.turn(vec![], at(100)).await;
    assert_eq!(again[0].id, told[0].id);
    let body = |one: &Outgoing| {
        let json: serde_json::Value = serde_json::from_slice(&one.json).unwrap();
        (json["body"].to_string(), json["version"].to_string())
    };
    assert_eq!(body(&again[0]), body(&told[0]));
    // It goes behind what changes now.
    world.turn(applied(&again), at(100)).await;
    world.commit(vec![stock("B", 2, 5)], 2).await;
    world
        .command(replay(ReplayFilter::default()), at(101))
        .await;
    let order = world.turn(vec![], at(101)).await;
    assert_eq!(order[0].key, "ACME|B|MAIN");
}

#[tokio::test]
async fn what_is_compared_in_shadow_mode_never_leaves() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), price("B", 2, "0")], 2)
        .await;
    let shadow = |outcomes| world.full_turn(outcomes, NOW, |turn| turn.shadow = true);
    let picked = shadow(vec![]).await.picked;
    assert_eq!(picked.len(), 1);
    // A newer state takes its place while it is compared.
    world.commit(vec![product("A", 3, "b")], 3).await;
    let said = |one: &Outgoing| Happened {
        answer: None,
        cause: Some("shadow: holds 5, would hold 7".to_owned()),
        ..outcome(one, DeliveryEvent::Discard, Said::Differs, 0)
    };
    let newer = shadow(picked.iter().map(said).collect()).await.picked;
    assert_eq!(newer.len(), 1);
    assert!(
        shadow(newer.iter().map(said).collect())
            .await
            .picked
            .is_empty()
    );
    let trace = world.reader().trace("ACME|A", 10).unwrap();
    let states: Vec<_> = trace
        .events
        .iter()
        .map(|event| event.deliveries[0].state.as_str())
        .collect();
    assert_eq!(states, ["superseded", "discarded"]);
    let guarded = world.reader().trace("ACME|B", 10).unwrap();
    let cause = guarded.events[0].deliveries[0].cause.clone().unwrap();
    assert_eq!(
        cause,
        "shadow: it would be held: the price would be 0 (guard zero_price)"
    );
}
