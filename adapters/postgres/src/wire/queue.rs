//! What has arrived and waits to be taken: bounded in bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Event, Failure};

/// When so much waits, nothing more is read. One message may exceed it.
const FULL_BYTES: usize = 1 << 20;
/// So much is handed over at once.
const HAND_BYTES: usize = 256 << 10;

/// What the task that owns the socket and the stream share.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the stream: something is there.
    pub(super) filled: Notify,
    /// Wakes the task: there is room again, or it is to end.
    pub(super) called: Notify,
    acknowledged: AtomicU64,
    /// What was acknowledged before this connection.
    started_at: u64,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// Of all events in `events` and of those handed over last.
    bytes: usize,
    /// Why no more will come; taken by the first who asks.
    end: Option<Failure>,
    ended: bool,
    /// Nobody listens any more.
    closed: bool,
    /// Since when the server owes us an answer.
    unanswered: Option<Instant>,
}

impl Queue {
    pub(super) fn new(acknowledged: u64) -> Self {
        Self {
            acknowledged: AtomicU64::new(acknowledged),
            started_at: acknowledged,
            ..Self::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what has arrived.
    pub(super) fn put(&self, arrived: &mut Vec<Event>) {
        if arrived.is_empty() {
            return;
        }
        let bytes: usize = arrived.iter().map(Event::bytes).sum();
        let mut state = self.state();
        state.bytes += bytes;
        state.events.extend(arrived.drain(..));
        drop(state);
        self.filled.notify_one();
    }

    pub(super) fn is_full(&self) -> bool {
        self.state().bytes >= FULL_BYTES
    }

    /// Nothing more will come after what is there.
    pub(super) fn end(&self, why: Failure) {
        let mut state = self.state();
        if !state.ended {
            state.ended = true;
            state.end = Some(why);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Hands over what is there, a bounded part of it, as room for `handed` bytes is given back.
    /// Returns how many bytes were handed over.
    pub(super) fn take(&self, into: &mut VecDeque<Event>, handed: usize) -> Result<usize, Failure> {
        let mut state = self.state();
        let was_full = state.bytes >= FULL_BYTES;
        state.bytes -= handed;
        let mut bytes = 0;
        while bytes < HAND_BYTES
            && let Some(event) = state.events.pop_front()
        {
            bytes += event.bytes();
            into.push_back(event);
        }
        let call = was_full && state.bytes < FULL_BYTES;
        let ended = (bytes == 0 && state.ended).then(|| state.end.take());
        drop(state);
        if call {
            self.called.notify_one();
        }
        match ended {
            Some(why) => {
                let again = || Failure::Ended("the connection has ended".to_owned());
                Err(why.unwrap_or_else(again))
            }
            None => Ok(bytes),
        }
    }

    /// Nobody listens any more: the connection may end.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.called.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) fn acknowledge(&self, upto: u64) {
        let before = self.acknowledged.fetch_max(upto, Ordering::Relaxed);
        if before == self.started_at {
            self.called.notify_one();
        }
    }

    pub(super) fn started_at(&self) -> u64 {
        self.started_at
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) fn owe(&self, since: Option<Instant>) {
        self.state().unanswered = since;
    }

    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.state().unanswered
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn large(bytes: usize) -> Event {
        Event::Change(Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn it_is_full_by_bytes_until_what_was_handed_over_is_given_back() {
        let queue = Queue::new(0);
        for _ in 0..4 {
            assert!(!queue.is_full());
            queue.put(&mut vec![large(FULL_BYTES / 4)]);
        }
        assert!(queue.is_full());
        let mut taken = VecDeque::new();
        let first = queue.take(&mut taken, 0).unwrap();
        assert_eq!(taken.len(), 1);
        assert!(queue.is_full());
        queue.take(&mut taken, first).unwrap();
        assert!(!queue.is_full());
    }

    #[test]
    fn one_message_may_exceed_it_and_the_end_comes_last() {
        let queue = Queue::new(0);
        queue.put(&mut vec![large(9 << 20)]);
        queue.end(Failure::Ended("first".to_owned()));
        queue.end(Failure::Ended("second".to_owned()));
        let mut taken = VecDeque::new();
        let handed = queue.take(&mut taken, 0).unwrap();
        assert_eq!(taken.len(), 1);
        let why = queue.take(&mut taken, handed).unwrap_err();
        assert!(matches!(why, Failure::Ended(why) if why == "first"));
        assert!(queue.take(&mut taken, 0).is_err());
    }

    #[test]
    fn an_acknowledgement_never_goes_back() {
        let queue = Queue::new(5);
        queue.acknowledge(3);
        assert_eq!(queue.acknowledged(), 5);
        queue.acknowledge(7);
        assert_eq!(queue.acknowledged(), 7);
    }
}
