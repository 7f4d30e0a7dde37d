//! How much may leave: pure, with the time as an argument.
//!
//! A rate is kept over every window of its length, not only on average: that many requests in any
//! one, however they fall. Points come back steadily. Where an API gives no figures, the number of
//! calls at once grows until it shows trouble, and is halved then.

use std::collections::VecDeque;
use std::time::Duration;

use contract::{Allowance, DestinationTraits, Points, Rate};
use tokio::time::Instant;

use crate::retry::SERVER_HINT_MAX;

/// A window is taken a hundredth longer: requests do not arrive as evenly as they leave.
const MARGIN_DIVISOR: u32 = 100;
/// Requests of a window that are remembered at most.
const REMEMBERED_MAX: u32 = 100_000;
/// Of a rate that proves too high, this many thousandths are left at least.
const SHARE_MIN: u32 = 100;
const WHOLE: u32 = 1_000;
/// Between two cuts, and from one to the first step back.
const CUT_EVERY: Duration = Duration::from_secs(1);
const STEP_BACK_EVERY: Duration = Duration::from_secs(10);

/// Why a request may not leave now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may then.
    Until(Instant),
    /// The day's quota must first be noted as used, or it is used up.
    Quota,
}

/// Points that are there, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    points: Points,
    level: u64,
    at: Instant,
    /// What a request cost last.
    typical: u64,
}

/// Requests of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    /// Most of them.
    pub(crate) max: u32,
    /// Which day it is.
    pub(crate) day: i64,
    /// They may have left: noted, so that a restart does not forget them.
    pub(crate) noted: u32,
    /// So many are being noted.
    pub(crate) noting: u32,
    /// They have left.
    pub(crate) used: u32,
    /// Of those, only to read; forgotten at a restart.
    pub(crate) read: u32,
    /// When it is over; `None` = not known yet.
    pub(crate) ends: Option<Instant>,
}

/// Calls at once, where nothing else says how much an API bears.
#[derive(Debug, Clone, Copy)]
struct Adaptive {
    at_once: usize,
    successes: usize,
    /// No trouble yet: it grows fast.
    untried: bool,
    cut_at: Option<Instant>,
}

/// The limits of one destination.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// What the settings allow at most, whatever the API says.
    set: Option<Rate>,
    /// What is known of the API, or was told by it.
    known: Option<Rate>,
    /// Times at which requests left, as many as the window may hold.
    left: VecDeque<Instant>,
    /// Thousandths of the rate that are used.
    share: u32,
    cut_at: Option<Instant>,
    bucket: Option<Bucket>,
    /// Nothing leaves before this.
    not_before: Option<Instant>,
    /// Requests that may still leave before a moment.
    budget: Option<(u32, Instant)>,
    day: Option<Day>,
    calls_max: usize,
    adaptive: Option<Adaptive>,
}

impl Limiter {
    pub(crate) fn new(traits: &DestinationTraits, set: Option<Rate>, now: Instant) -> Self {
        let limits = &traits.limits;
        let figures = set.is_some() || limits.rate.is_some() || limits.points.is_some();
        Self {
            set,
            known: limits.rate,
            left: VecDeque::new(),
            share: WHOLE,
            cut_at: None,
            bucket: limits.points.map(|points| Bucket::full(points, now)),
            not_before: None,
            budget: None,
            day: limits.per_day.map(|max| Day {
                max,
                day: 0,
                noted: 0,
                noting: 0,
                used: 0,
                read: 0,
                ends: None,
            }),
            calls_max: traits.requests_max.max(1),
            adaptive: (!figures).then_some(Adaptive {
                at_once: 1,
                successes: 0,
                untried: true,
                cut_at: None,
            }),
        }
    }

    /// The slower of what the settings allow and what the API bears.
    fn rate(&self) -> Option<Rate> {
        let slower = |a: Rate, b: Rate| {
            let left = u128::from(a.requests) * b.per.as_nanos();
            let right = u128::from(b.requests) * a.per.as_nanos();
            if left <= right { a } else { b }
        };
        match (self.set, self.known) {
            (Some(set), Some(known)) => Some(slower(set, known)),
            (set, known) => set.or(known),
        }
    }

    /// Requests in a window, and its length.
    fn window(&self) -> Option<(usize, Duration)> {
        let rate = self.rate()?;
        let share = u64::from(rate.requests) * u64::from(self.share) / u64::from(WHOLE);
        let requests = share.clamp(1, u64::from(REMEMBERED_MAX));
        let length = rate.per + rate.per / MARGIN_DIVISOR;
        Some((usize::try_from(requests).unwrap_or(1), length))
    }

    /// Whether it is known how much may leave.
    pub(crate) fn has_figures(&self) -> bool {
        self.adaptive.is_none()
    }

    /// Calls that may run at once.
    pub(crate) fn calls(&self) -> usize {
        self.adaptive
            .map_or(self.calls_max, |adaptive| adaptive.at_once)
            .min(self.calls_max)
    }

    /// How many requests may leave at `now`; none = when the first may.
    pub(crate) fn ready(&self, now: Instant) -> Result<usize, Wait> {
        let mut ready = usize::MAX;
        let mut until: Option<Instant> = None;
        let mut later = |at: Instant| until = Some(until.map_or(at, |known| known.max(at)));
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            later(at);
        }
        if let Some((left, reset)) = self.budget.filter(|(_, reset)| *reset > now) {
            ready = ready.min(left as usize);
            if left == 0 {
                later(reset);
            }
        }
        if let Some((requests, length)) = self.window() {
            let inside = self.left.iter().rev().take_while(|at| **at + length > now);
            let free = requests.saturating_sub(inside.count());
            ready = ready.min(free);
            if free == 0
                && let Some(oldest) = self.left.get(self.left.len().saturating_sub(requests))
            {
                later(*oldest + length);
            }
        }
        if let Some(bucket) = &self.bucket {
            let level = bucket.level(now);
            let typical = bucket.typical.min(bucket.max());
            if let Some(enough) = level.checked_div(typical) {
                ready = ready.min(usize::try_from(enough).unwrap_or(usize::MAX));
                if level < typical {
                    later(now + bucket.time_for(typical - level));
                }
            }
        }
        if let Some(at) = until {
            return Err(Wait::Until(at));
        }
        if let Some(day) = &self.day {
            let noted = day.noted.saturating_sub(day.used);
            // What was noted for a day is not left for the next one.
            if noted == 0 || day.ends.is_some_and(|ends| ends <= now) {
                return Err(Wait::Quota);
            }
            ready = ready.min(noted as usize);
        }
        Ok(ready)
    }

    /// Lets one request leave.
    pub(crate) fn pass(&mut self, now: Instant, points: u32) -> Result<(), Wait> {
        let cost = u64::from(points) * 1_000;
        if let Some(bucket) = &mut self.bucket {
            bucket.typical = cost;
        }
        self.ready(now)?;
        if let Some(bucket) = &mut self.bucket {
            bucket.level = bucket.level(now).saturating_sub(cost);
            bucket.at = now;
        }
        if let Some((left, _)) = &mut self.budget {
            *left = left.saturating_sub(1);
        }
        if let Some(day) = &mut self.day {
            day.used += 1;
        }
        self.step_back(now);
        if let Some(rate) = self.rate() {
            self.left.push_back(now);
            let most = rate.requests.clamp(1, REMEMBERED_MAX) as usize;
            while self.left.len() > most {
                self.left.pop_front();
            }
        }
        Ok(())
    }

    /// When half of the points are left beside a request that costs so many; `None` = now, or none are counted.
    pub(crate) fn half_left(&self, now: Instant, points: u32) -> Option<Instant> {
        let bucket = self.bucket.as_ref()?;
        let wanted = (bucket.max() / 2 + u64::from(points) * 1_000).min(bucket.max());
        let short = wanted.saturating_sub(bucket.level(now));
        (short > 0).then(|| now + bucket.time_for(short))
    }

    /// How far apart requests leave on average at the rate; `None` = there is no figure.
    pub(crate) fn spacing(&self) -> Option<Duration> {
        let (requests, length) = self.window()?;
        let rate = self.rate()?;
        // The window's margin is for how requests arrive, not for how many there are.
        let length = length.min(rate.per);
        Some(length / u32::try_from(requests).unwrap_or(u32::MAX).max(1))
    }

    /// Takes in what an answer said.
    pub(crate) fn heard(&mut self, now: Instant, said: &Allowance) {
        if let Some(wait) = said.wait.filter(|wait| !wait.is_zero()) {
            let at = now + wait.min(SERVER_HINT_MAX);
            self.not_before = Some(self.not_before.map_or(at, |known| known.max(at)));
        }
        if let (Some(left), Some(reset)) = (said.requests_left, said.reset) {
            let until = now + reset.min(SERVER_HINT_MAX);
            // Answers overtake each other: within a window the smaller number is the newer one.
            let left = match self.budget {
                Some((known, ends)) if ends > now => known.min(left),
                _ => left,
            };
            self.budget = Some((left, until));
        }
        if let Some(rate) = said
            .rate
            .filter(|rate| rate.requests > 0 && !rate.per.is_zero())
        {
            self.known = Some(rate);
            self.adaptive = None;
        }
        if let Some(points) = said.points.filter(|points| points.max > 0) {
            let bucket = self.bucket.get_or_insert(Bucket::full(points, now));
            (bucket.level, bucket.at) = (bucket.level(now), now);
            bucket.points = points;
            self.adaptive = None;
        }
        if let (Some(left), Some(bucket)) = (said.points_left, &mut self.bucket) {
            bucket.level = (u64::from(left) * 1_000).min(bucket.max());
            bucket.at = now;
        }
        if said.throttled {
            self.throttled(now);
        }
    }

    /// A call was answered well.
    pub(crate) fn succeeded(&mut self) {
        let Some(adaptive) = &mut self.adaptive else {
            return;
        };
        adaptive.successes += 1;
        if adaptive.untried || adaptive.successes >= adaptive.at_once {
            adaptive.successes = 0;
            adaptive.at_once = (adaptive.at_once + 1).min(self.calls_max);
        }
    }

    /// The API said that it is too much.
    fn throttled(&mut self, now: Instant) {
        // Requests that were out together are all refused.
        if self.cut_at.is_none_or(|at| now >= at + CUT_EVERY) {
            self.cut_at = Some(now);
            self.share = (self.share * 3 / 4).max(SHARE_MIN);
        }
        self.failed(now);
    }

    /// A call failed. Where there are figures that says nothing of them; else it may be too much.
    pub(crate) fn failed(&mut self, now: Instant) {
        let Some(adaptive) = &mut self.adaptive else {
            return;
        };
        if adaptive.cut_at.is_some_and(|at| now < at + CUT_EVERY) {
            return;
        }
        adaptive.cut_at = Some(now);
        adaptive.at_once = (adaptive.at_once / 2).max(1);
        adaptive.successes = 0;
        adaptive.untried = false;
    }

    fn step_back(&mut self, now: Instant) {
        if self.share < WHOLE && self.cut_at.is_some_and(|at| now >= at + STEP_BACK_EVERY) {
            self.share = (self.share + 100).min(WHOLE);
            self.cut_at = Some(now);
        }
    }

    /// Nothing leaves before then.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Instant> {
        let budget = self.budget.filter(|(left, _)| *left == 0);
        let budget = budget.map(|(_, reset)| reset);
        self.not_before.max(budget).filter(|at| *at > now)
    }

    /// Nothing leaves before then, as an API said before a restart.
    pub(crate) fn rest_until(&mut self, at: Instant) {
        self.not_before = self.not_before.max(Some(at));
    }

    /// The day's quota.
    pub(crate) fn day(&mut self) -> Option<&mut Day> {
        self.day.as_mut()
    }
}

impl Day {
    /// So many may leave before the next note: little is lost with a crash, and few notes are made.
    fn portion(&self) -> u32 {
        (self.max / 100).clamp(1, 100)
    }

    /// It is that day, for so long: with another one another account begins.
    pub(crate) fn is(&mut self, today: i64, ends: Instant) {
        if self.day != today {
            (self.day, self.noted, self.noting) = (today, 0, 0);
            (self.used, self.read) = (0, 0);
        }
        self.ends = Some(ends);
    }

    /// Takes a portion of the day's quota where none is left: what must be noted before any of it
    /// leaves.
    pub(crate) fn take_portion(&mut self) -> Option<u32> {
        if self.used < self.noted || self.noted >= self.max {
            return None;
        }
        self.noting = self.noted.saturating_add(self.portion()).min(self.max);
        Some(self.noting)
    }

    /// What was taken is noted for good.
    pub(crate) fn noted(&mut self) {
        self.noted = self.noted.max(self.noting);
    }

    /// Nothing of it is left.
    pub(crate) fn is_used_up(&self) -> bool {
        self.used >= self.max
    }
}

impl Bucket {
    fn full(points: Points, now: Instant) -> Self {
        let mut bucket = Self {
            points,
            level: 0,
            at: now,
            typical: 0,
        };
        bucket.level = bucket.max();
        bucket
    }

    fn max(&self) -> u64 {
        u64::from(self.points.max) * 1_000
    }

    fn level(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.at).as_millis();
        let more = u64::try_from(millis)
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(self.points.per_second));
        self.level.saturating_add(more).min(self.max())
    }

    fn time_for(&self, points: u64) -> Duration {
        let per_second = u64::from(self.points.per_second.max(1));
        Duration::from_millis(points.div_ceil(per_second))
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
