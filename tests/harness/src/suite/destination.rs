//! What every destination must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use contract::gate::Open;
use contract::{Destination, EventOp, EventType, Outcome, Outgoing, Resend};

/// How the API fails at its next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refuses for good, because of what the request holds.
    Reject,
    /// Is busy and says for how many seconds.
    Throttle(u64),
    /// Fails without taking the request.
    Unavailable,
    /// Takes the request and closes the connection without an answer.
    LoseAnswer,
    /// Takes the request and answers nothing for longer than any timeout.
    Hang,
}

impl Fault {
    /// Every way, with some wait.
    pub const ALL: [Self; 5] = [
        Self::Reject,
        Self::Throttle(7),
        Self::Unavailable,
        Self::LoseAnswer,
        Self::Hang,
    ];
}

/// A private API and the destination that speaks to it, with a request timeout of a second or two.
#[async_trait]
pub trait DestinationBackend: Send + Sync {
    /// The destination.
    fn destination(&self) -> Arc<dyn Destination>;

    /// The ways in which it can be made to fail.
    fn faults(&self) -> &'static [Fault] {
        &Fault::ALL
    }

    /// The API's next request fails like this: one of [`DestinationBackend::faults`].
    fn fail_next(&self, fault: Fault);

    /// How often the API took an event in effect; a recognised repetition does not count.
    fn effects(&self, id: &str) -> usize;

    /// A destination for which nothing listens.
    fn nobody(&self) -> Arc<dyn Destination>;
}

/// The suite's `n`th event.
pub fn event(n: u32) -> Outgoing {
    Outgoing {
        offset: i64::from(n),
        id: format!("evt_{n:032}"),
        event_type: EventType::Product,
        key: format!("ACME|S{n}"),
        op: EventOp::Upsert,
        idempotency_key: format!("evt_{n:032}"),
        origin: "acme/erp".to_owned(),
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        attempt: 1,
        json: Bytes::from(format!(
            r#"{{"id":"evt_{n:032}","body":{{"name":"ä \" {n}"}}}}"#
        )),
    }
}

/// The suite's `n`th event as a fact, or as the correction of one. All of them tell of the same fact,
/// so they have one idempotency key.
fn fact(n: u32, op: EventOp) -> Outgoing {
    Outgoing {
        event_type: EventType::InventoryMovement,
        key: "ACME|M1".to_owned(),
        op,
        idempotency_key: "ACME/wms.move/1".to_owned(),
        ..event(n)
    }
}

async fn one(destination: &Arc<dyn Destination>, event: &Outgoing) -> Outcome {
    let limit = destination.traits().request_timeout + Duration::from_secs(5);
    let report = tokio::time::timeout(
        limit,
        destination.deliver(std::slice::from_ref(event), &Open),
    );
    let mut outcomes = report
        .await
        .expect("deliver returns within its timeout")
        .outcomes();
    assert_eq!(outcomes.len(), 1, "one outcome per event");
    outcomes.remove(0)
}

/// Runs the whole suite.
///
/// # Panics
/// When the destination does not do what it must; the message says what.
pub async fn run(backend: &dyn DestinationBackend) {
    let destination = backend.destination();
    let traits = destination.traits();
    assert!(
        traits.batch_events_max >= 1 && traits.requests_max >= 1,
        "it can send at all"
    );

    let first = event(1);
    let outcome = one(&destination, &first).await;
    assert!(
        matches!(outcome, Outcome::Applied(_)),
        "a good event is applied: {outcome:?}"
    );
    assert_eq!(backend.effects(&first.id), 1, "and is there");

    let faults = backend.faults();
    for (n, fault) in (2..).zip(faults) {
        backend.fail_next(*fault);
        let failing = event(n);
        let outcome = one(&destination, &failing).await;
        let right = match (fault, &outcome) {
            (Fault::Reject, Outcome::Rejected { .. })
            | (Fault::Unavailable, Outcome::Retry { .. })
            | (Fault::LoseAnswer | Fault::Hang, Outcome::Unknown { .. }) => true,
            (
                Fault::Throttle(wait),
                Outcome::Retry {
                    after: Some(after), ..
                },
            ) => after.as_secs() == *wait,
            _ => false,
        };
        assert!(right, "{fault:?}: {outcome:?}");
        let unknown = matches!(outcome, Outcome::Unknown { .. });
        if unknown && traits.resend == Resend::Safe {
            let again = Outgoing {
                attempt: 2,
                ..failing.clone()
            };
            let outcome = one(&destination, &again).await;
            assert!(
                matches!(outcome, Outcome::Applied(_)),
                "sent again: {outcome:?}"
            );
            assert_eq!(backend.effects(&failing.id), 1, "{fault:?}: once in effect");
        }
    }

    // What recognises a repetition must not take a correction for one, nor a fact for a new one.
    for (told, what) in [
        (fact(30, EventOp::Fact), "a fact"),
        (fact(31, EventOp::Correction), "its correction"),
    ] {
        let outcome = one(&destination, &told).await;
        assert!(
            matches!(outcome, Outcome::Applied(_)),
            "{what}: {outcome:?}"
        );
        assert_eq!(backend.effects(&told.id), 1, "{what} is there");
    }
    if traits.resend == Resend::Safe {
        let again = fact(30, EventOp::Fact);
        let outcome = one(&destination, &again).await;
        assert!(matches!(outcome, Outcome::Applied(_)), "again: {outcome:?}");
        assert_eq!(
            backend.effects(&again.id),
            1,
            "a fact told again is there once"
        );
    }

    let outcome = one(&backend.nobody(), &event(8)).await;
    assert!(
        matches!(outcome, Outcome::Retry { .. }),
        "not sent, so tried again: {outcome:?}"
    );

    let batch: Vec<_> = (10..10 + u32::try_from(traits.batch_events_max.min(20)).unwrap())
        .map(event)
        .collect();
    let outcomes = destination.deliver(&batch, &Open).await.outcomes();
    assert_eq!(
        outcomes.len(),
        batch.len(),
        "one outcome per event of a batch"
    );
    for (event, outcome) in batch.iter().zip(&outcomes) {
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        assert_eq!(backend.effects(&event.id), 1);
    }
}
