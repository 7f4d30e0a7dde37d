//! What is known of one source while it runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::{Canary, Level, Position, clock};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::meters::{lock, millis_since};

/// How long it is known how far behind capture is: longer than between two looks.
const LAG_MAX: Duration = Duration::from_mins(1);

/// What the last look at a source's log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLooked {
    /// Log that the database keeps for us.
    pub kept_bytes: Option<u64>,
    /// What may still be written before it drops what we have not read.
    pub left_bytes: Option<u64>,
    /// Time until that, or until its disk is full.
    pub left: Option<Duration>,
    /// How far behind we are, where the database counts in time.
    pub behind: Option<Duration>,
    /// How bad it is.
    pub level: Level,
    /// A heartbeat is late.
    pub late: bool,
    /// All that in plain words.
    pub sentence: Option<String>,
}

/// What is known of a source.
#[derive(Debug)]
pub struct SourceMeter {
    began: Instant,
    turned_ms: AtomicU64,
    /// Negative = not known.
    lag_ms: AtomicI64,
    /// When that was found.
    lag_at_ms: AtomicU64,
    captured: Histogram,
    held: Counter,
    looked: Mutex<Option<LogLooked>>,
    proven: Mutex<Option<Proven>>,
    refused: AtomicBool,
    reached: Mutex<Option<Position>>,
}

/// The last proof that a source's log comes through.
#[derive(Debug, Clone, Copy)]
struct Proven {
    at_ms: u64,
    how: &'static str,
    /// There was one; else it is awaited since then.
    is_proven: bool,
}

impl SourceMeter {
    pub(super) fn new(began: Instant, captured: Histogram, held: Counter) -> Self {
        Self {
            began,
            turned_ms: AtomicU64::new(millis_since(began)),
            lag_ms: AtomicI64::new(-1),
            lag_at_ms: AtomicU64::new(0),
            captured,
            held,
            looked: Mutex::default(),
            proven: Mutex::default(),
            refused: AtomicBool::new(false),
            reached: Mutex::default(),
        }
    }

    /// The capture loop turned.
    pub(crate) fn turned(&self) {
        self.turned_ms
            .store(millis_since(self.began), Ordering::Relaxed);
    }

    /// All up to this border of the log is stored.
    pub(crate) fn reach(&self, border: Position) {
        *lock(&self.reached) = Some(border);
    }

    /// Another stream is opened, which may count its positions anew.
    pub(crate) fn reopen(&self) {
        *lock(&self.reached) = None;
    }

    /// Up to where all of the log is stored, also where it told nothing; `None` = no stream is open yet, or
    /// it is within a transaction.
    pub fn reached(&self) -> Option<Position> {
        lock(&self.reached).clone()
    }

    /// A batch is in the outbox; its newest change was committed then, or it had none.
    pub(crate) fn stored(&self, committed_at: Option<Timestamp>, changes: u64, now: Timestamp) {
        if changes > 0
            && let Some(proven) = lock(&self.proven).as_mut()
        {
            proven.at_ms = millis_since(self.began);
            proven.is_proven = true;
        }
        let lag = match committed_at {
            Some(committed_at) => {
                let lag = clock::until(committed_at, now);
                self.captured.observe(lag.as_secs_f64());
                lag
            }
            // The log has nothing more for us.
            None if changes == 0 => Duration::ZERO,
            None => return,
        };
        self.set_lag(lag);
    }

    fn set_lag(&self, lag: Duration) {
        let millis = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
        self.lag_ms.store(millis, Ordering::Relaxed);
        self.lag_at_ms
            .store(millis_since(self.began), Ordering::Relaxed);
    }

    pub(crate) fn held(&self, count: u64) {
        self.held.inc_by(count);
    }

    pub(crate) fn looked(&self, looked: LogLooked) {
        if let Some(behind) = looked.behind {
            self.set_lag(behind);
        }
        *lock(&self.looked) = Some(looked);
    }

    /// What the source says of its last proof. Before the first one its age counts from when it was first asked; one
    /// that is built anew does not make forget what was proven before.
    pub(crate) fn proven(&self, canary: Option<Canary>) {
        let Some(Canary { ago, how }) = canary else {
            return;
        };
        let now_ms = millis_since(self.began);
        let mut proven = lock(&self.proven);
        let before = proven.map(|proven| proven.at_ms);
        let at_ms = match ago {
            Some(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                now_ms.saturating_sub(ago).max(before.unwrap_or(0))
            }
            None => before.unwrap_or(now_ms),
        };
        let is_proven = ago.is_some() || proven.is_some_and(|proven| proven.is_proven);
        *proven = Some(Proven {
            at_ms,
            how,
            is_proven,
        });
    }

    /// How old the last proof is that its log comes through, and what the proof was; `None` = the source has none.
    pub fn canary(&self) -> Option<(Duration, &'static str)> {
        let proven = (*lock(&self.proven))?;
        Some((self.age(proven), proven.how))
    }

    /// The same, where there was a proof.
    pub(crate) fn proof(&self) -> Option<(Duration, &'static str)> {
        let proven = lock(&self.proven).filter(|proven| proven.is_proven)?;
        Some((self.age(proven), proven.how))
    }

    fn age(&self, proven: Proven) -> Duration {
        let age = millis_since(self.began).saturating_sub(proven.at_ms);
        Duration::from_millis(age)
    }

    /// Whether a changed mapping of it is refused, so that an older one is in force.
    pub fn set_refused(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }

    /// Whether one is.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Since when the capture loop has not turned.
    pub fn turned_ago(&self) -> Duration {
        let now = millis_since(self.began);
        Duration::from_millis(now.saturating_sub(self.turned_ms.load(Ordering::Relaxed)))
    }

    /// How far behind the log capture is, as it was found within the last minute; `None` = not known.
    pub fn lag(&self) -> Option<Duration> {
        self.lag_at(millis_since(self.began))
    }

    fn lag_at(&self, now_ms: u64) -> Option<Duration> {
        // Some sources say nothing while nothing changes: what was late once is not late for ever.
        let age = now_ms.saturating_sub(self.lag_at_ms.load(Ordering::Relaxed));
        if Duration::from_millis(age) > LAG_MAX {
            return None;
        }
        let millis = u64::try_from(self.lag_ms.load(Ordering::Relaxed)).ok()?;
        Some(Duration::from_millis(millis))
    }

    /// What the last look at its log found; `None` = it was not looked at, or there is no log of a server's.
    pub fn log(&self) -> Option<LogLooked> {
        lock(&self.looked).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Meters;

    #[test]
    fn a_proof_ages_until_the_next_one_and_changes_are_one() {
        let meter = Meters::default().source("erp");
        assert_eq!(meter.canary(), None);
        meter.stored(None, 3, Timestamp::UNIX_EPOCH);
        assert_eq!(meter.canary(), None, "a source without a proof has none");
        let of = |ago| Some(Canary { ago, how: "x" });
        meter.proven(of(None));
        assert_eq!(meter.proof(), None);
        let age = |meter: &SourceMeter| meter.canary().unwrap().0;
        let day = Duration::from_hours(24);
        assert!(age(&meter) < day);
        // An older proof than the one that is known changes nothing.
        meter.proven(of(Some(day)));
        assert!(age(&meter) < day);
        lock(&meter.proven).as_mut().unwrap().at_ms = 0;
        std::thread::sleep(Duration::from_millis(5));
        let before = age(&meter);
        meter.proven(of(None));
        assert!(age(&meter) >= before);
        meter.stored(None, 3, Timestamp::UNIX_EPOCH);
        assert!(age(&meter) < before && meter.proof().is_some());
    }

    #[test]
    fn what_was_late_once_is_not_late_for_ever() {
        let meter = Meters::default().source("erp");
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(meter.lag(), None);
        meter.stored(Some(at(0)), 5, at(21));
        assert_eq!(meter.lag(), Some(Duration::from_secs(21)));
        let told = meter.lag_at_ms.load(Ordering::Relaxed);
        assert_eq!(meter.lag_at(told + 60_001), None);
        // The log has nothing more; then changes whose time nobody knows.
        meter.stored(None, 0, at(30));
        assert_eq!(meter.lag(), Some(Duration::ZERO));
        meter.stored(None, 3, at(40));
        assert_eq!(meter.lag(), Some(Duration::ZERO));
    }
}
