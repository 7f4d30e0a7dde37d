//! The calls of an adapter that run beside the loop.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::{Compared, Destination, DestinationTraits, Outcome, Outgoing, Taken};
use state::is_suspect;
use tokio::task::JoinSet;

use super::gate::{CallGate, Door, Passes};

/// What a call came to.
pub(super) enum Ended {
    /// Events were sent, when so many failures of the destination had been counted.
    Sent(Vec<(Outgoing, Outcome)>, Passes, u64),
    /// Accepted ones were asked about.
    Followed(Vec<(Taken, Outcome)>),
    /// Unknown ones were read.
    Verified(Vec<(Outgoing, Outcome)>, Passes),
    /// Events were compared, and not sent.
    Compared(Vec<(Outgoing, Compared)>, Passes),
}

/// Starts calls of one destination.
pub(super) struct Calls {
    pub(super) destination: Arc<dyn Destination>,
    pub(super) door: Arc<Door>,
    pub(super) running: JoinSet<Ended>,
    /// So many of them ask about what was sent.
    pub(super) asking: usize,
}

impl Calls {
    pub(super) fn send(&mut self, batch: Vec<Outgoing>, counted: u64) {
        let (destination, gate) = self.parts();
        self.running.spawn(async move {
            failpoint::crash!("deliver.leave");
            let report = destination.deliver(&batch, &gate).await;
            failpoint::crash!("deliver.answered");
            let outcomes = batch.into_iter().zip(report.outcomes()).collect();
            Ended::Sent(outcomes, gate.passes(), counted)
        });
    }

    pub(super) fn follow_up(&mut self, taken: Vec<Taken>) {
        let (destination, gate) = self.parts();
        self.asking += 1;
        self.running.spawn(async move {
            let report = destination.follow_up(&taken, &gate).await;
            Ended::Followed(taken.into_iter().zip(report.outcomes()).collect())
        });
    }

    pub(super) fn verify(&mut self, doubtful: Vec<Outgoing>) {
        let (destination, gate) = self.parts();
        self.asking += 1;
        self.running.spawn(async move {
            let report = destination.verify(&doubtful, &gate).await;
            let outcomes = doubtful.into_iter().zip(report.outcomes()).collect();
            Ended::Verified(outcomes, gate.passes())
        });
    }

    pub(super) fn compare(&mut self, batch: Vec<Outgoing>) {
        let (destination, gate) = self.parts();
        self.running.spawn(async move {
            let mut said = destination.compare(&batch, &gate).await.into_iter();
            let forgotten = || Compared::CannotTell {
                cause: "the adapter reported nothing".to_owned(),
            };
            let compared = batch
                .into_iter()
                .map(|outgoing| (outgoing, said.next().unwrap_or_else(forgotten)))
                .collect();
            Ended::Compared(compared, gate.passes())
        });
    }

    fn parts(&self) -> (Arc<dyn Destination>, CallGate) {
        (Arc::clone(&self.destination), CallGate::new(&self.door))
    }
}

/// Splits what was picked into requests within the destination's limits, in the order of picking.
/// What failed again and again is kept apart: one of those may be why.
pub(super) fn batches(picked: Vec<Outgoing>, traits: &DestinationTraits) -> Vec<Vec<Outgoing>> {
    let (suspects, others): (Vec<_>, Vec<_>) = picked.into_iter().partition(is_suspect);
    let mut all = Vec::new();
    for mut rest in [VecDeque::from(others), VecDeque::from(suspects)] {
        while let Some(first) = rest.pop_front() {
            let mut bytes = first.json.len();
            let mut batch = vec![first];
            while batch.len() < traits.batch_events_max
                && let Some(next) = rest.pop_front_if(|next| {
                    bytes += next.json.len();
                    bytes <= traits.batch_bytes_max
                })
            {
                batch.push(next);
            }
            all.push(batch);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use contract::{EventOp, EventType};
    use jiff::Timestamp;

    use super::*;

    fn outgoing(offset: i64, attempt: u32) -> Outgoing {
        Outgoing {
            offset,
            id: offset.to_string(),
            event_type: EventType::Product,
            key: offset.to_string(),
            op: EventOp::Upsert,
            idempotency_key: offset.to_string(),
            origin: "acme/erp".to_owned(),
            occurred_at: Timestamp::UNIX_EPOCH,
            attempt,
            json: "{}".into(),
        }
    }

    #[test]
    fn what_failed_twice_shares_no_request_with_what_did_not() {
        let mut traits = DestinationTraits::modest();
        traits.batch_events_max = 3;
        let attempts = [1, 3, 2, 7, 1, 1, 3, 4];
        let picked = (0..).zip(attempts).map(|(n, attempt)| outgoing(n, attempt));
        let split = batches(picked.collect(), &traits);
        let offsets: Vec<Vec<i64>> = split
            .iter()
            .map(|batch| batch.iter().map(|one| one.offset).collect())
            .collect();
        assert_eq!(offsets, [vec![0, 2, 4], vec![5], vec![1, 3, 6], vec![7]]);
    }
}
