//! Looks at a source beside its stream, for as long as the agent runs: how much log the database
//! keeps for us, and what is missing although the stream is silent.
//!
//! A task of its own, which never holds up capture. What it finds goes to the store for `status`;
//! what crosses a threshold is said once, and once more when it is good again; what ends the stream
//! goes to the capture loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use contract::look::span;
use contract::{Behind, Heartbeat, Level, LogKept, Look, SourceError};
use jiff::Timestamp;
use state::{LookStatus, StoreError};
use tokio::sync::{Notify, watch};

use crate::observe::{LogLooked, SourceMeter};
use crate::{Common, SourceSetup};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// While a heartbeat is on its way.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A heartbeat that has not come round after this long is said.
const HEARTBEAT_MAX: Duration = Duration::from_mins(1);
/// Growth is measured over as much time,
const MEASURE_MAX: Duration = Duration::from_mins(10);
/// in no more looks than this,
const LOOKS_MAX: usize = 300;
/// and over no less time, so that one burst says nothing.
const MEASURE_MIN: Duration = Duration::from_mins(2);
/// The end of the log is said when it is nearer than this,
const END_WARN: Duration = Duration::from_hours(24);
/// and as an error when it is nearer than this.
const END_FAIL: Duration = Duration::from_hours(4);
/// What is less than this is no matter, however fast it grows.
const KEPT_MIN: u64 = 64 << 20;

/// Looks that go on until dropped.
pub(crate) struct Looking {
    /// What ends the stream, as found last.
    troubles: watch::Receiver<Option<SourceError>>,
    wake: Arc<Notify>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Looking {
    /// Waits for the next trouble.
    pub(crate) async fn trouble(&mut self) -> SourceError {
        loop {
            if self.troubles.changed().await.is_err() {
                return self.ended().await;
            }
            if let Some(error) = self.troubles.borrow_and_update().clone() {
                return error;
            }
        }
    }

    /// Nobody looks any more: for good, unless that is by a bug, which is ours then.
    async fn ended(&mut self) -> SourceError {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        std::future::pending().await
    }

    /// Looks at once: the stream was opened, and a heartbeat may be on its way.
    pub(crate) fn look_now(&self) {
        self.wake.notify_one();
    }

    /// Forgets what was found before the stream was opened: opening it has looked itself.
    pub(crate) fn forget(&mut self) {
        self.troubles.mark_unchanged();
    }
}

pub(crate) fn start(
    common: Arc<Common>,
    name: String,
    source_id: i64,
    setup: watch::Receiver<SourceSetup>,
) -> Looking {
    let (sender, troubles) = watch::channel(None);
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let task = tokio::spawn(async move {
        let mut watcher = Watcher {
            meter: common.meters.source(&name),
            name,
            kept: Kept::default(),
            behind: Level::Pass,
            beat: Beat::default(),
            unanswered: false,
        };
        loop {
            failpoint::crash!("task.look");
            let mut wait = LOOK_EVERY;
            let source = Arc::clone(&setup.borrow().source);
            match source.look().await {
                Ok(None) => return,
                Ok(Some(look)) => {
                    if look.heartbeat.is_some_and(|beat| beat.took.is_none()) {
                        wait = LOOK_AGAIN;
                    }
                    let status = watcher.status(&look, common.clock.now());
                    watcher.measure(&look, &status);
                    match common.store.set_look(source_id, status).await {
                        Ok(()) | Err(StoreError::Full) => {}
                        // Whoever must write to the store says so.
                        Err(_) => return,
                    }
                    if look.trouble.is_some() {
                        let _ = sender.send(look.trouble);
                    }
                }
                Err(error) => watcher.unanswered(&error),
            }
            tokio::select! {
                biased;
                stop = common.sleep(wait) => {
                    if stop {
                        return;
                    }
                }
                () = woken.notified() => {}
            }
        }
    });
    Looking {
        troubles,
        wake,
        task: Some(task),
    }
}

/// What is said of the looks at one source.
struct Watcher {
    name: String,
    meter: Arc<SourceMeter>,
    kept: Kept,
    /// How bad it is that we are behind.
    behind: Level,
    beat: Beat,
    /// The last look failed, which has been said.
    unanswered: bool,
}

impl Watcher {
    fn unanswered(&mut self, error: &SourceError) {
        if !std::mem::replace(&mut self.unanswered, true) {
            tracing::warn!(code = "look.failed",
                source = self.name, stage = "look", error = %error, hint = error.hint(),
                "the source's log cannot be looked at");
        }
    }

    fn status(&mut self, look: &Look, now: Timestamp) -> LookStatus {
        self.unanswered = false;
        let mut status = LookStatus {
            looked_at: now,
            state: None,
            kept_bytes: None,
            left_bytes: None,
            room_bytes: None,
            growth_per_hour: None,
            sentence: None,
            alarm: None,
            heartbeat_sent_at: look.heartbeat.map(|beat| beat.sent_at),
            heartbeat_took_ms: look.heartbeat.and_then(took_ms),
        };
        let late = self.beat(look.heartbeat, now);
        status.alarm = late;
        if let Some(behind) = &look.behind {
            self.behind(behind, &mut status);
        }
        let Some(kept) = &look.kept else {
            return status;
        };
        let (growth, crossed) = self.kept.look(kept, now);
        let sentence = kept.sentence(growth);
        match crossed {
            Some(Level::Pass) => {
                tracing::info!(
                    code = "look.log_well",
                    source = self.name,
                    stage = "look",
                    kept_bytes = kept.kept_bytes,
                    "the log that the server keeps for us is well again: {sentence}"
                );
            }
            Some(Level::Warn) => {
                tracing::warn!(
                    code = "look.log_grows",
                    source = self.name,
                    stage = "look",
                    kept_bytes = kept.kept_bytes,
                    hint = kept.hint,
                    "the server keeps much log for us: {sentence}"
                );
            }
            Some(Level::Fail) => {
                tracing::error!(
                    code = "look.log_in_danger",
                    source = self.name,
                    stage = "look",
                    kept_bytes = kept.kept_bytes,
                    hint = kept.hint,
                    "the log that the server keeps for us is in danger: {sentence}"
                );
            }
            None => {}
        }
        status.state = Some(kept.state.clone());
        status.kept_bytes = Some(kept.kept_bytes);
        status.left_bytes = kept.left_bytes;
        status.room_bytes = kept.room_bytes;
        status.growth_per_hour = growth;
        if self.kept.level > Level::Pass {
            status.alarm = Some(kept.hint.clone());
        }
        status.sentence = Some(sentence);
        status
    }

    /// The same for monitoring.
    fn measure(&self, look: &Look, status: &LookStatus) {
        let growth = status.growth_per_hour;
        let kept = look.kept.as_ref();
        let end = kept.and_then(|kept| kept.end(growth?));
        let behind = look.behind.as_ref();
        self.meter.looked(LogLooked {
            kept_bytes: status.kept_bytes,
            left_bytes: status.left_bytes,
            left: end.map(|(_, time)| time).or(behind.and_then(Behind::left)),
            behind: behind.and_then(|behind| behind.by),
            level: self.kept.level.max(self.behind),
            late: self.beat.late,
            sentence: status.sentence.clone(),
        });
    }

    /// Where the database counts in time.
    fn behind(&mut self, behind: &Behind, status: &mut LookStatus) {
        let sentence = behind.sentence();
        let level = better_by_a_margin(self.behind, |percent| behind.level(percent));
        match (std::mem::replace(&mut self.behind, level), level) {
            (Level::Pass, Level::Pass) => {}
            (_, Level::Pass) => {
                tracing::info!(
                    code = "look.in_time",
                    source = self.name,
                    stage = "look",
                    "changes are read in time again: {sentence}"
                );
            }
            (before, _) if before != level => {
                tracing::error!(
                    code = "look.behind",
                    source = self.name,
                    stage = "look",
                    hint = behind.hint,
                    "the server removes changes soon that we have not read: {sentence}"
                );
            }
            _ => {}
        }
        let soon = level > Level::Pass;
        status.state = Some(if soon { "expiring" } else { "kept" }.to_owned());
        status.sentence = Some(sentence);
        if soon {
            status.alarm = Some(behind.hint.clone());
        }
    }

    /// What is to be said of a heartbeat that is late.
    fn beat(&mut self, beat: Option<Heartbeat>, now: Timestamp) -> Option<String> {
        let late = self.beat.late;
        let waited = self.beat.look(beat, now);
        match (late, self.beat.late) {
            (false, true) => {
                tracing::error!(
                    code = "look.heartbeat_lost",
                    source = self.name,
                    stage = "look",
                    sent_at = beat.map(|beat| tracing::field::display(beat.sent_at)),
                    hint = LATE,
                    "a heartbeat does not come round through the source's log"
                );
            }
            (true, false) => {
                tracing::info!(
                    code = "look.heartbeat_back",
                    source = self.name,
                    stage = "look",
                    "heartbeats come round through the source's log again"
                );
            }
            _ => {}
        }
        waited
            .filter(|_| self.beat.late)
            .map(|waited| format!("no heartbeat for {}: {LATE}", span(waited)))
    }
}

/// What a person can do about a heartbeat that is late.
const LATE: &str = "lighterman check; where the server is at work on a large transaction, it comes \
     when that is over";

/// The heartbeat on its way, since when, by our clock, and whether that has been said.
#[derive(Default)]
struct Beat {
    waits: Option<(Timestamp, Timestamp)>,
    late: bool,
}

impl Beat {
    /// How long the newest heartbeat has been on its way.
    fn look(&mut self, beat: Option<Heartbeat>, now: Timestamp) -> Option<Duration> {
        let Some(beat) = beat.filter(|beat| beat.took.is_none()) else {
            *self = Self::default();
            return None;
        };
        let since = match self.waits {
            Some((sent_at, since)) if sent_at == beat.sent_at => since,
            _ => now,
        };
        self.waits = Some((beat.sent_at, since));
        let waited = contract::clock::until(since, now);
        self.late = waited >= HEARTBEAT_MAX;
        Some(waited)
    }
}

fn took_ms(beat: Heartbeat) -> Option<u64> {
    beat.took
        .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// The last looks at the kept log, and how bad it is.
struct Kept {
    looks: VecDeque<(Timestamp, u64)>,
    level: Level,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            looks: VecDeque::new(),
            level: Level::Pass,
        }
    }
}

impl Kept {
    /// Takes a look in: the growth in an hour, and the level when it is another one now.
    fn look(&mut self, kept: &LogKept, now: Timestamp) -> (Option<i64>, Option<Level>) {
        // A clock that was set back says nothing about what was before.
        if self.looks.back().is_some_and(|(at, _)| *at >= now) {
            self.looks.clear();
        }
        self.looks.push_back((now, kept.kept_bytes));
        let old = |(at, _): &(Timestamp, u64)| contract::clock::until(*at, now) > MEASURE_MAX;
        while self.looks.len() > LOOKS_MAX || self.looks.front().is_some_and(old) {
            self.looks.pop_front();
        }
        let growth = self.growth();
        let before = self.level;
        self.level = better_by_a_margin(before, |percent| level(kept, growth, percent));
        (growth, (self.level != before).then_some(self.level))
    }

    fn growth(&self) -> Option<i64> {
        let ((first_at, first), (last_at, last)) = (self.looks.front()?, self.looks.back()?);
        let time = contract::clock::until(*first_at, *last_at);
        if time < MEASURE_MIN {
            return None;
        }
        let grown = i128::from(*last) - i128::from(*first);
        let millis = i128::try_from(time.as_millis()).ok()?;
        i64::try_from(grown * 3_600_000 / millis).ok()
    }
}

/// It gets better only when it is better by a margin: what swings about a threshold is said once.
fn better_by_a_margin(before: Level, level: impl Fn(u32) -> Level) -> Level {
    let (strict, lenient) = (level(100), level(125));
    if strict > before {
        strict
    } else {
        before.min(lenient)
    }
}

/// How bad it is, by thresholds of which `percent` count.
fn level(kept: &LogKept, growth: Option<i64>, percent: u32) -> Level {
    if kept.at_risk {
        return Level::Fail;
    }
    let much = |bytes: u64| u128::from(bytes) * u128::from(percent) / 100;
    let near = |time: Duration| time * percent / 100;
    let mut level = Level::Pass;
    if kept.left_bytes == Some(0) {
        level = Level::Fail;
    }
    if much(kept.kept_bytes) > u128::from(kept.warn_bytes) {
        level = level.max(Level::Warn);
    }
    if much(kept.kept_bytes) > u128::from(KEPT_MIN)
        && let Some((_, time)) = growth.and_then(|growth| kept.end(growth))
    {
        if time < near(END_FAIL) {
            level = level.max(Level::Fail);
        } else if time < near(END_WARN) {
            level = level.max(Level::Warn);
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn kept(mib: u64, left_mib: Option<u64>) -> LogKept {
        LogKept {
            state: "reserved".to_owned(),
            kept_bytes: mib * MIB,
            left_bytes: left_mib.map(|left| left * MIB),
            warn_bytes: 1_024 * MIB,
            ..LogKept::default()
        }
    }

    /// Looks, half a minute apart, and what was said at each.
    fn said(looks: impl IntoIterator<Item = LogKept>) -> Vec<(usize, Level)> {
        let mut watched = Kept::default();
        let mut said = Vec::new();
        for (n, kept) in looks.into_iter().enumerate() {
            let seconds = 30 * i64::try_from(n).unwrap();
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
            said.extend(watched.look(&kept, now).1.map(|level| (n, level)));
        }
        said
    }

    #[test]
    fn much_log_is_said_once_and_once_when_it_is_good_again() {
        let sizes = [900, 1_025, 1_020, 1_025, 1_000, 1_030, 900, 1_030, 800, 700];
        let looks = sizes.map(|size| kept(size, None));
        assert_eq!(said(looks), [(1, Level::Warn), (8, Level::Pass)]);
    }

    #[test]
    fn an_end_that_comes_near_is_said() {
        // 120 MiB in an hour; 10 h, then less and less are left.
        let growing = (0..800).map(|n| kept(100 + n, Some(1_200 - n)));
        assert_eq!(said(growing), [(4, Level::Warn), (721, Level::Fail)]);
        // What only came and went never was.
        let swinging = (0..100_u64).map(|n| kept(100 + n % 2, Some(600)));
        assert_eq!(said(swinging), []);
    }

    #[test]
    fn a_limit_that_is_passed_is_said_at_once() {
        let risk = LogKept {
            at_risk: true,
            ..kept(1, Some(0))
        };
        assert_eq!(
            said([kept(1, Some(5)), risk, kept(1, Some(5))]),
            [(1, Level::Fail), (2, Level::Pass)]
        );
    }

    #[test]
    fn what_a_look_finds_can_be_measured() {
        let meter = crate::observe::Meters::default().source("erp");
        let mut watcher = Watcher {
            name: "erp".to_owned(),
            meter: Arc::clone(&meter),
            kept: Kept::default(),
            behind: Level::Pass,
            beat: Beat::default(),
            unanswered: false,
        };
        let mut look = |look: Look, seconds| {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
            let status = watcher.status(&look, now);
            watcher.measure(&look, &status);
            meter.log().unwrap()
        };
        let of = |mib, left| Look {
            kept: Some(kept(mib, Some(left))),
            ..Look::default()
        };
        let found = look(of(100, 600), 0);
        assert_eq!(found.kept_bytes, Some(100 * MIB));
        assert_eq!(found.left_bytes, Some(600 * MIB));
        assert_eq!(
            (found.left, found.level),
            (None, Level::Pass),
            "not measured yet"
        );
        // 300 MiB in two minutes: the other 300 are gone in two more.
        let found = look(of(400, 300), 120);
        assert_eq!(
            (found.left, found.level),
            (Some(Duration::from_mins(2)), Level::Fail)
        );
        // Where the database counts in time.
        let behind = Behind {
            by: Some(Duration::from_hours(60)),
            kept_for: contract::KeptFor::Time(Duration::from_hours(72)),
            hint: String::new(),
        };
        let timed = Look {
            behind: Some(behind),
            ..Look::default()
        };
        let found = look(timed, 150);
        assert_eq!(
            (found.left, found.level),
            (Some(Duration::from_hours(12)), Level::Fail)
        );
        assert_eq!(meter.lag(), Some(Duration::from_hours(60)));
    }

    #[test]
    fn a_heartbeat_that_does_not_come_round_is_late_after_a_minute() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let sent = |took| {
            Some(Heartbeat {
                sent_at: at(-5_000),
                took,
            })
        };
        let mut beat = Beat::default();
        // Our clock measures: the server's may be wrong.
        assert_eq!(beat.look(sent(None), at(0)), Some(Duration::ZERO));
        beat.look(sent(None), at(59));
        assert!(!beat.late);
        beat.look(sent(None), at(60));
        assert!(beat.late);
        beat.look(sent(Some(Duration::from_millis(3))), at(62));
        assert!(!beat.late);
    }

    #[test]
    fn growth_is_measured_over_minutes() {
        let mut watched = Kept::default();
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        assert_eq!(watched.look(&kept(100, None), at(0)).0, None);
        assert_eq!(watched.look(&kept(200, None), at(30)).0, None);
        let hourly = i64::try_from(60 * 60 * MIB).unwrap();
        assert_eq!(watched.look(&kept(220, None), at(120)).0, Some(hourly));
        // A clock that is set back begins again.
        assert_eq!(watched.look(&kept(220, None), at(60)).0, None);
    }
}
