//! Requests that were about several events, kept for a moment for whoever tells a collector of them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::gate::Together;
use contract::trace_context::Context;
use jiff::Timestamp;

use super::meters::lock;

/// Requests that are kept at most; newer ones are only counted.
const REQUESTS_MAX: usize = 64;
/// Events of a request that are named at most.
const EVENTS_MAX: usize = 128;

/// A request that was about several events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The places of its events in the outbox; the first of them, where there were many.
    pub offsets: Vec<i64>,
    /// Events that are not among these.
    pub unnamed: usize,
    /// What it told the receiver.
    pub context: Context,
    /// When it left.
    pub began: Timestamp,
    /// When its answer was there, or none was waited for any more.
    pub ended: Timestamp,
    /// HTTP's status, where an answer came.
    pub status: Option<u16>,
}

/// Those of a destination. Nothing is kept until somebody has asked.
#[derive(Debug, Default)]
pub(super) struct Batches {
    asked: AtomicBool,
    kept: Mutex<(VecDeque<Batch>, u64)>,
}

impl Batches {
    pub(super) fn add(&self, request: &Together<'_>) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let mut kept = lock(&self.kept);
        let (batches, passed) = &mut *kept;
        // What is looked up for events and what is written of them is one.
        let known = batches
            .iter_mut()
            .rev()
            .find(|known| known.context == *request.context);
        if let Some(known) = known {
            known.ended = request.ended;
            known.status = request.status;
            return;
        }
        if batches.len() >= REQUESTS_MAX {
            *passed += 1;
            return;
        }
        let offsets = request.events.iter().map(|event| event.offset);
        batches.push_back(Batch {
            offsets: offsets.take(EVENTS_MAX).collect(),
            unnamed: request.events.len().saturating_sub(EVENTS_MAX),
            context: request.context.clone(),
            began: request.began,
            ended: request.ended,
            status: request.status,
        });
    }

    pub(super) fn take(&self) -> (Vec<Batch>, u64) {
        self.asked.store(true, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        let (batches, passed) = &mut *kept;
        (batches.drain(..).collect(), std::mem::take(passed))
    }
}

#[cfg(test)]
mod tests {
    use contract::{EventOp, EventType, Outgoing};

    use super::*;

    fn event(offset: i64) -> Outgoing {
        Outgoing {
            offset,
            id: format!("evt_{offset}"),
            event_type: EventType::Product,
            key: offset.to_string(),
            op: EventOp::Upsert,
            idempotency_key: offset.to_string(),
            origin: "acme/erp".to_owned(),
            occurred_at: Timestamp::UNIX_EPOCH,
            attempt: 1,
            json: "{}".into(),
        }
    }

    fn send(batches: &Batches, offsets: std::ops::Range<i64>, status: u16) {
        let events: Vec<Outgoing> = offsets.map(event).collect();
        let about: Vec<&Outgoing> = events.iter().collect();
        let now = Timestamp::UNIX_EPOCH;
        batches.add(&Together {
            events: &about,
            context: &Context::of_request(&about).unwrap(),
            began: now,
            ended: now,
            status: Some(status),
        });
    }

    #[test]
    fn they_are_kept_only_for_who_asks_and_never_more_than_so_many() {
        let batches = Batches::default();
        send(&batches, 0..2, 200);
        assert_eq!(batches.take(), (vec![], 0));
        // Looked up, then written.
        send(&batches, 0..300, 200);
        send(&batches, 0..300, 503);
        let (taken, passed) = batches.take();
        assert_eq!((taken.len(), passed), (1, 0));
        assert_eq!((taken[0].offsets.len(), taken[0].unnamed), (128, 172));
        assert_eq!(taken[0].status, Some(503));
        for n in 0..70 {
            send(&batches, n..n + 2, 200);
        }
        let (taken, passed) = batches.take();
        assert_eq!((taken.len(), passed), (64, 6));
        assert_eq!(batches.take(), (vec![], 0));
    }
}
