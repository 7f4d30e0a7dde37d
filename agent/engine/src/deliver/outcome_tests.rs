//! What is made of what an API says of an event that may have been applied.

use std::sync::Arc;

use contract::{EventOp, EventType};

use super::super::gate::{CallGate, Door};
use super::super::limiter::Limiter;
use super::*;

fn outgoing(attempt: u32) -> Outgoing {
    Outgoing {
        offset: 1,
        id: "evt_1".to_owned(),
        event_type: EventType::InventoryMovement,
        key: "ACME|1".to_owned(),
        op: EventOp::Fact,
        idempotency_key: "evt_1".to_owned(),
        origin: "acme/erp".to_owned(),
        occurred_at: Timestamp::UNIX_EPOCH,
        attempt,
        json: "{}".into(),
    }
}

fn verified(attempt: u32, outcome: Outcome) -> Happened {
    let traits = DestinationTraits::modest();
    let judge = Judge {
        traits: &traits,
        retry: &RetryPolicy::default(),
        now: Timestamp::UNIX_EPOCH,
        chance: 1_000,
    };
    let limiter = Limiter::new(&traits, None, tokio::time::Instant::now());
    let clock = Arc::new(crate::clock::SystemClock);
    let meter = crate::observe::Meters::default().destination("shop", &[]);
    let passes = CallGate::new(&Door::new(limiter, Arc::default(), clock, meter)).passes();
    judge.verified(&outgoing(attempt), outcome, passes).unwrap()
}

fn answer(status: Option<u16>) -> Answer {
    Answer {
        status,
        ..Answer::default()
    }
}

#[test]
fn a_question_that_fails_says_nothing_of_the_event() {
    let asked = |status| {
        let outcome = Outcome::Unknown {
            cause: "it could not be read back".to_owned(),
            answer: Some(answer(status)),
        };
        verified(1, outcome).said
    };
    for passing in [
        None,
        Some(401),
        Some(403),
        Some(408),
        Some(429),
        Some(500),
        Some(503),
    ] {
        let said = asked(passing);
        assert!(
            matches!(said, Said::NotAsked { .. }),
            "{passing:?}: {said:?}"
        );
    }
    for told in [200, 404, 422] {
        let said = asked(Some(told));
        assert!(matches!(said, Said::Doubt { .. }), "{told}: {said:?}");
    }
    let forgotten = verified(1, Outcome::unknown("no outcome")).said;
    assert!(matches!(forgotten, Said::NotAsked { .. }));
}

#[test]
fn what_is_not_there_is_sent_again_with_a_growing_wait() {
    let mut waits = Vec::new();
    for attempt in [1, 2, 5] {
        let outcome = Outcome::Retry {
            after: None,
            cause: "it is not there".to_owned(),
            answer: answer(Some(404)),
        };
        let DeliveryEvent::Resend { due } = verified(attempt, outcome).event else {
            unreachable!("it surely did not happen");
        };
        waits.push(due.as_millisecond());
    }
    assert_eq!(waits, [500, 1_000, 8_000]);
}
