//! What happens in a run, step by step, as the seed says: a list from which steps can be left out
//! without changing the others.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use state::StepFault;

use crate::committing::Death;
use crate::mapping::VERSIONS;
use crate::shop::Mood;

/// What comes after an end of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct After {
    /// The log is lost meanwhile.
    pub loses_log: bool,
    /// Another mapping.
    pub version: Option<usize>,
    /// The second destination comes or goes.
    pub depot: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Transactions at the source.
    Commits(u8),
    /// A person acts.
    Person,
    /// Tables are to be read again.
    Resync,
    /// The agent dies.
    Crash(After),
    /// It dies so many commits later.
    CrashAt(u32, Death),
    /// It is stopped.
    Stop(After),
    /// Another mapping comes while it runs.
    Reload(usize),
    /// A commit fails, so many later.
    StoreFault(u32, StepFault),
    /// Commits take so many milliseconds from now on.
    SlowStore(u16),
    /// The wall clock is set to so many milliseconds off.
    Clock(i64),
    /// The API is in a mood for so many milliseconds.
    Mood(Mood, u16),
    /// Faults end, and so do stalled transactions.
    Calm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number in the whole list.
    pub n: usize,
    /// How long it lasts.
    pub pause: Duration,
    /// Of its own choices.
    pub seed: u64,
    pub what: What,
}

/// How far the wall clock is off at most.
const CLOCK_OFF: i64 = 5 * 60 * 1_000;

/// All steps of a seed.
pub fn steps(seed: u64) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
    let most = [40, 80, 120, 200][rng.random_range(0..4)];
    let mut steps = Vec::new();
    let mut add = |rng: &mut StdRng, pause: u64, what| {
        steps.push(Step {
            n: steps.len(),
            pause: Duration::from_millis(pause),
            seed: rng.random(),
            what,
        });
    };
    for _ in 0..most {
        let pause = rng.random_range(0..80);
        let what = one(&mut rng);
        add(&mut rng, pause, what);
    }
    let calm = What::Calm;
    add(&mut rng, 0, calm);
    // Now that little happens, readings come far before the next mapping cuts them short.
    for _ in 0..rng.random_range(0..4) {
        let pause = 20 * rng.random_range(0..80);
        add(&mut rng, pause, What::Commits(0));
        let after = After {
            version: Some(rng.random_range(0..VERSIONS)),
            ..After::default()
        };
        let what = if rng.random_range(0..3) == 0 {
            What::Stop(after)
        } else {
            What::Crash(after)
        };
        add(&mut rng, 0, what);
    }
    // And no mapping comes after the last gap, which would find what it left.
    if rng.random_range(0..100) < 50 {
        let after = After {
            loses_log: true,
            ..After::default()
        };
        add(&mut rng, 0, What::Crash(after));
    }
    steps
}

fn after(rng: &mut StdRng) -> After {
    After {
        loses_log: rng.random_range(0..100) < 20,
        version: (rng.random_range(0..100) < 60).then(|| rng.random_range(0..VERSIONS)),
        depot: rng.random_range(0..100) < 25,
    }
}

fn one(rng: &mut StdRng) -> What {
    match rng.random_range(0..100) {
        0..68 => What::Commits(rng.random_range(1..3)),
        68..80 => What::Person,
        80..82 => What::Resync,
        82..85 => What::Crash(after(rng)),
        85..87 => {
            let death = if rng.random_range(0..2) == 0 {
                Death::Before
            } else {
                Death::Behind
            };
            What::CrashAt(rng.random_range(1..12), death)
        }
        87 => What::Stop(after(rng)),
        88 => What::Reload(rng.random_range(0..VERSIONS)),
        89..92 => {
            let fault = match rng.random_range(0..5) {
                0 | 1 => StepFault::Full,
                2 => StepFault::Interrupted(rng.random_range(1..3_000)),
                3 => StepFault::Lost,
                _ => StepFault::Unsaid,
            };
            What::StoreFault(rng.random_range(1..8), fault)
        }
        92..94 => What::SlowStore([0, 0, 5, 40, 300][rng.random_range(0..5)]),
        94..97 => What::Clock(rng.random_range(-CLOCK_OFF..=CLOCK_OFF)),
        _ => {
            let mood = [Mood::Throttles, Mood::Expired, Mood::Down, Mood::Slow];
            let mood = mood[rng.random_range(0..4)];
            What::Mood(mood, rng.random_range(100..3_000))
        }
    }
}
