//! Everything that can go wrong, at random and all together: the agent as a process, real databases and brokers, and
//! a judge (`tests/judge`) that compares what was committed with what came.
//!
//! `cargo torture --seeds 1000` plays so many seeds; `cargo torture --help` says the rest. Without flags it plays the
//! few of the suite. A seed that fails prints the command that plays it again, and a smaller history that still fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod account;
mod database;
mod destination;
mod fault;
mod flags;
mod generate;
mod model;
mod play;
mod servers;
mod sql;
mod sqlserver;
mod step;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flags::Flags;
use generate::{Generator, History};
use judge::{Shrunk, Verdict, shrink};
use play::{Plan, Played};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use servers::Servers;
use step::{Statement, Step};

/// The log of a seed that fails is shown from so many lines before its end.
const LOG_LINES: usize = 60;

/// One seed as it is to be played.
struct Seed {
    plan: Plan,
    history: History,
    replay: String,
}

/// A seed of the command: all of it but the flags follows from its number.
fn seed(number: u64, flags: &Flags) -> Seed {
    // What the seed decides is drawn whether it is asked for or not, so that a replay by flags is the same.
    let mut rng = StdRng::seed_from_u64(number ^ 0x7047_7572);
    let drawn = match rng.random_range(0..100) {
        0..50 => destination::Kind::Webhook,
        n => destination::Kind::ALL[n % destination::Kind::ALL.len()],
    };
    let (changes, faults) = (rng.random_range(300..2_000), rng.random_range(2..12));
    let turn = usize::try_from(number).unwrap_or_default() % database::Kind::ALL.len();
    let source = flags.source.unwrap_or(database::Kind::ALL[turn]);
    let destination = flags.destination.unwrap_or(drawn);
    let changes = flags.changes.unwrap_or(changes);
    let history = Generator::new(number, source, destination).history(changes, faults, false);
    let more = match flags.changes {
        Some(changes) => format!(" --changes {changes}"),
        None => String::new(),
    };
    Seed {
        plan: Plan {
            seed: number,
            source,
            destination,
            quiet: flags.quiet,
        },
        history,
        replay: format!(
            "cargo torture --seed {number} --source {source} --destination {destination}{more}"
        ),
    }
}

/// Which seed, and how.
#[derive(Debug, Clone, Copy)]
struct Number {
    number: u64,
    /// Long, with SIGKILL alone.
    long: bool,
}

const LONG_SEEDS: u64 = 8;
const LONG_CHANGES: u32 = 20_000;
const SHORT_SEEDS: u64 = 19;

/// The seeds of the suite: of each source a few long ones with SIGKILL alone, and short ones with everything.
fn suite() -> Vec<Number> {
    let long = (0..LONG_SEEDS).map(|number| Number { number, long: true });
    let short = (0..SHORT_SEEDS).map(|number| Number {
        number,
        long: false,
    });
    long.chain(short).collect()
}

fn asked(flags: &Flags) -> Vec<Number> {
    let numbers = flags.from..flags.from.saturating_add(flags.seeds);
    numbers
        .map(|number| Number {
            number,
            long: false,
        })
        .collect()
}

impl Number {
    fn prepare(self, flags: &Flags) -> Seed {
        let mut seed = seed(self.number, flags);
        if self.long {
            let Plan { source, .. } = seed.plan;
            seed.plan.destination = destination::Kind::Webhook;
            let generator = Generator::new(self.number, source, seed.plan.destination);
            seed.history = generator.history(LONG_CHANGES, 6, true);
        }
        if flags.suite {
            // Whether the agent had read a log before it was taken away hangs on how busy the machine is: those
            // are played when nothing else runs.
            let stays = |step: &Step| !matches!(step, Step::Fault(fault::Fault::Source(_)));
            seed.history.steps.retain(stays);
            seed.plan.quiet = Duration::from_mins(3);
        }
        seed
    }
}

/// Plays a history; a panic is a finding as well, in words.
fn played(
    plan: Plan,
    opening: &[Statement],
    steps: &[Step],
    servers: &Servers,
) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let play = || runtime.block_on(play::play(plan, opening, steps, servers));
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic").to_owned()
    })
}

/// The last lines of a text.
fn end_of(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// A smaller history that fails too.
fn smaller(seed: &Seed, flags: &Flags, servers: &Servers) -> Shrunk<Step> {
    let until = Instant::now() + flags.shrink;
    // Less patience: most of the tries end well at once, and the others do not get better.
    let plan = Plan {
        quiet: seed.plan.quiet.min(Duration::from_secs(20)),
        ..seed.plan
    };
    shrink(&seed.history.steps, usize::MAX, |steps| {
        if Instant::now() > until {
            return false;
        }
        let again = played(plan, &seed.history.opening, steps, servers);
        again.is_err() || again.is_ok_and(|again| !again.verdict.is_clean())
    })
}

fn shown(steps: &[Step]) -> String {
    let lines: Vec<_> = steps.iter().map(|step| format!("  {step:?}")).collect();
    lines.join("\n")
}

/// Plays a seed and says how it went; whether it went well.
fn one(seed: &Seed, flags: &Flags, servers: &Servers, sum: &Mutex<Verdict>) -> bool {
    let began = Instant::now();
    let Seed {
        plan,
        history,
        replay,
    } = seed;
    let name = format!("seed {} {} {}", plan.seed, plan.source, plan.destination);
    let result = played(*plan, &history.opening, &history.steps, servers);
    let seconds = began.elapsed().as_secs();
    let mut sum = sum.lock().unwrap();
    sum.did("seeds", 1);
    let failed = match result {
        Ok(Played { verdict, .. }) if verdict.is_clean() => {
            eprintln!("{name} ({seconds} s): {verdict}");
            sum.add(verdict);
            return true;
        }
        Ok(Played { verdict, log }) => {
            let words: Vec<_> = verdict.words().collect();
            let text = format!("{verdict}\n{}\n{}", words.join("\n"), end_of(&log));
            sum.add(verdict);
            text
        }
        Err(panic) => {
            sum.did("broken", 1);
            end_of(&panic)
        }
    };
    drop(sum);
    eprintln!("{name} FAILED ({seconds} s): {replay}\n{failed}");
    if !flags.suite && !flags.shrink.is_zero() {
        let small = smaller(seed, flags, servers);
        eprintln!(
            "{name}: {} of {} steps fail, after {} tries; {replay}\n{}",
            small.steps.len(),
            history.steps.len(),
            small.tries,
            shown(&small.steps)
        );
    }
    false
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        println!("{}", flags::USAGE);
        return ExitCode::SUCCESS;
    }
    let flags = match flags::read(words.into_iter()) {
        Ok(flags) => flags,
        Err(wrong) => {
            eprintln!("{wrong}\n{}", flags::USAGE);
            return ExitCode::from(2);
        }
    };
    if !flags.meant {
        println!("test result: ok. 0 passed; 0 failed;");
        return ExitCode::SUCCESS;
    }
    let seeds = if flags.suite { suite() } else { asked(&flags) };
    let sum = Mutex::new(Verdict::default());
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..flags.jobs {
            scope.spawn(|| {
                let servers = Servers::default();
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !one(&seed.prepare(&flags), &flags, &servers, &sum) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("{}", sum.into_inner().unwrap());
    // As every test program says it, so that `./tests/run` counts it.
    println!(
        "test result: {word}. {} passed; {failed} failed;",
        seeds.len() - failed
    );
    ExitCode::from(u8::from(failed > 0))
}
