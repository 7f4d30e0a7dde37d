//! Questions about what was sent that an API does not answer.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use contract::delivery::DeliveryEvent;
use contract::{Answer, Outgoing, Resend};
use state::{Ask, Happened, HeldFilter, Said, Turned};

use crate::common::{NOW, World, at, fact, product};

fn outcome(one: &Outgoing, event: DeliveryEvent, said: Said, status: Option<u16>) -> Happened {
    Happened {
        offset: one.offset,
        event,
        said,
        cause: Some("no answer".to_owned()),
        answer: Some(Answer {
            status,
            ..Answer::default()
        }),
    }
}

async fn turn(world: &World, outcomes: Vec<Happened>, now: i64) -> Turned {
    let verify = |turn: &mut state::Turn| {
        turn.resend = Resend::Verify;
        turn.ask = Some(Ask {
            events_max: 10,
            lease: Duration::from_secs(11),
        });
    };
    world.full_turn(outcomes, at(now), verify).await
}

fn held(world: &World) -> usize {
    let all = world.reader().held_list(&HeldFilter::default(), 10);
    all.unwrap().len()
}

#[tokio::test]
async fn a_ticket_is_given_up_only_when_the_api_was_asked() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let sent = world.turn(vec![], NOW).await;
    let took = DeliveryEvent::Took {
        ticket: "job 7".to_owned(),
        due: at(30),
        until: at(100),
    };
    turn(
        &world,
        vec![outcome(&sent[0], took, Said::Accepted, Some(202))],
        0,
    )
    .await;
    // The agent was stopped meanwhile, and finds no network at first.
    let asked = turn(&world, vec![], 500).await.taken;
    let waiting = || DeliveryEvent::Waiting {
        ticket: "job 7".to_owned(),
        due: at(530),
    };
    let unasked = outcome(&asked[0].outgoing, waiting(), Said::Waiting, None);
    turn(&world, vec![unasked], 501).await;
    let asked = turn(&world, vec![], 530).await.taken;
    assert_eq!(asked[0].ticket, "job 7");
    let not_yet = outcome(&asked[0].outgoing, waiting(), Said::Waiting, Some(200));
    turn(&world, vec![not_yet], 531).await;
    let doubtful = turn(&world, vec![], 600).await.doubtful;
    assert_eq!(doubtful.len(), 1, "now it is as good as lost");
}

#[tokio::test]
async fn what_cannot_be_read_for_a_while_is_read_again_and_not_held() {
    let world = World::new().await;
    world.commit(vec![fact("1", 1)], 1).await;
    let sent = world.turn(vec![], NOW).await;
    turn(
        &world,
        vec![outcome(&sent[0], DeliveryEvent::Lost, Said::Unknown, None)],
        0,
    )
    .await;
    // Each time later, by half of the time that it has lasted, and never later than asked for.
    for (now, next) in [(10, 15), (100, 150), (10_000, 15_000), (80_000, 90_800)] {
        let asked = turn(&world, vec![], now).await.doubtful;
        assert_eq!(asked.len(), 1, "at {now}");
        let said = Said::NotAsked {
            again: at(now + 1),
            latest: at(now + 10_800),
        };
        let failed = outcome(&asked[0], DeliveryEvent::CannotTell, said, Some(503));
        let turned = turn(&world, vec![failed], now).await;
        assert_eq!((turned.next_due, held(&world)), (Some(at(next)), 0));
    }
    // After a day a person must look.
    let asked = turn(&world, vec![], 90_800).await.doubtful;
    let said = Said::NotAsked {
        again: at(90_801),
        latest: at(90_801),
    };
    let failed = outcome(&asked[0], DeliveryEvent::CannotTell, said, Some(503));
    turn(&world, vec![failed], 90_800).await;
    assert_eq!(held(&world), 1);
}
