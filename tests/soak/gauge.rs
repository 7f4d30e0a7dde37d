//! What is looked at: memory, handles, state files, lateness.

use std::path::PathBuf;
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of the whole time, what fills caches and pools is not looked at: a quarter.
const WARM_UP: f64 = 0.25;
/// A fact that was told is remembered for good, in so many bytes of the state file at most.
const BYTES_OF_A_FACT: f64 = 120.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Points of (minutes, value).
type Points = Vec<(f64, f64)>;

/// What was looked at, and how much it may rise a minute.
pub struct Watched<'a> {
    pub what: &'static str,
    pub points: &'a [(f64, f64)],
    pub bound: f64,
}

pub struct Gauge {
    pid: u32,
    state: PathBuf,
    next: Duration,
    memory: Points,
    handles: Points,
    files: Points,
    late: Points,
    /// All of it, in milliseconds.
    lateness: Vec<f64>,
    since_look: Vec<f64>,
}

impl Gauge {
    pub fn new(pid: u32, state: PathBuf) -> Self {
        Self {
            pid,
            state,
            next: LOOK_EVERY,
            memory: Vec::new(),
            handles: Vec::new(),
            files: Vec::new(),
            late: Vec::new(),
            lateness: Vec::new(),
            since_look: Vec::new(),
        }
    }

    /// Takes in how late changes arrived.
    pub fn late(&mut self, seen: Vec<Duration>) {
        let seen = seen.into_iter().map(|late| late.as_secs_f64() * 1_000.0);
        self.since_look.extend(seen);
    }

    /// Looks, when it is time to.
    pub fn look(&mut self, elapsed: Duration) {
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + LOOK_EVERY;
        let at = elapsed.as_secs_f64() / 60.0;
        self.memory.push((at, self.resident_mib()));
        let handles = std::fs::read_dir(format!("/proc/{}/fd", self.pid));
        self.handles.push((at, handles.unwrap().count() as f64));
        let files = std::fs::read_dir(&self.state).into_iter().flatten();
        let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len() as f64));
        self.files.push((at, sizes.sum::<f64>() / MIB));
        let mut late = std::mem::take(&mut self.since_look);
        late.sort_by(f64::total_cmp);
        if let Some(middle) = late.get(late.len() / 2) {
            self.late.push((at, *middle));
        }
        self.lateness.append(&mut late);
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap();
        kib / 1024.0
    }

    /// How late the given share of changes was at most, in milliseconds.
    pub fn late_at(&self, share: f64) -> f64 {
        let mut sorted = self.lateness.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (1..sorted.len()).take_while(|n| (*n as f64) < sorted.len() as f64 * share);
        sorted.get(at.count()).copied().unwrap_or_default()
    }

    /// What was looked at after the warm-up, and how much each may rise a minute: over the whole time at most 2 MiB
    /// of memory, two handles, 2 MiB of state files beside the facts, and a quarter of a second.
    pub fn series(&self, facts_per_minute: f64, minutes: f64) -> [Watched<'_>; 4] {
        let after = |points: &Points| {
            let from = points.iter().take_while(|(at, _)| *at < minutes * WARM_UP);
            from.count()
        };
        let watched = |what, points, bound| Watched {
            what,
            points: &Points::as_slice(points)[after(points)..],
            bound,
        };
        let facts = facts_per_minute * BYTES_OF_A_FACT / MIB;
        [
            watched("memory_mib", &self.memory, 2.0 / minutes),
            watched("handles", &self.handles, 2.0 / minutes),
            watched("state_mib", &self.files, facts + 2.0 / minutes),
            watched("late_ms", &self.late, 250.0 / minutes),
        ]
    }
}
