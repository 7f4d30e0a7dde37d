//! `cargo simulate`: many seeds at once, one line of figures, and of the first failing seed a history that
//! is as short as it can be made.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use judge::Verdict;

use crate::play::{Ran, run as play};
use crate::step::{Step, steps};

pub const USAGE: &str = "\
usage: cargo simulate [--seeds N] [--from S] [--jobs N] [--keep-going]
       cargo simulate --seed S [--keep N,N,...] [--history] [--twice]";

/// Runs of a smaller history at most, and time for them.
const TRIES_MAX: usize = 300;
const SHRINK_MAX: Duration = Duration::from_mins(2);
/// No run takes so long: a task turns without waiting, and virtual time stands still.
const RUN_MAX: Duration = Duration::from_mins(2);

/// What is asked for.
pub struct Asked {
    from: u64,
    seeds: u64,
    jobs: usize,
    /// Seeds behind one that failed are run all the same.
    keep_going: bool,
    /// Only these steps.
    keep: Option<BTreeSet<usize>>,
    /// All that happened is shown.
    history: bool,
    /// Each seed is run twice, and must be the same history.
    twice: bool,
}

/// `None` = these are no arguments of ours.
pub fn read(arguments: &[String]) -> Result<Option<Asked>, String> {
    let mut asked = Asked {
        from: 0,
        seeds: 1_000,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        keep_going: false,
        keep: None,
        history: false,
        twice: false,
    };
    let mut ours = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || {
            let text = rest.next().ok_or(format!("{argument} needs a number"))?;
            let number = text.parse::<u64>();
            number.map_err(|_| format!("{argument} needs a number, not {text:?}"))
        };
        match &**argument {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--jobs" => asked.jobs = usize::try_from(number()?.clamp(1, 256)).unwrap(),
            "--seed" => (asked.from, asked.seeds) = (number()?, 1),
            "--keep-going" => asked.keep_going = true,
            "--history" => asked.history = true,
            "--twice" => asked.twice = true,
            "--keep" => {
                let text = rest.next().ok_or("--keep needs numbers of steps")?;
                let kept = text.split(',').filter(|n| !n.is_empty());
                let kept: Result<_, _> = kept.map(str::parse).collect();
                asked.keep = Some(kept.map_err(|_| format!("--keep: {text:?} are no numbers"))?);
            }
            // What others hand to a program of tests.
            _ if !ours => return Ok(None),
            _ => return Err(format!("{argument} is not known")),
        }
        ours = true;
    }
    if asked.keep.is_some() && asked.seeds != 1 {
        return Err("--keep needs --seed".to_owned());
    }
    Ok(ours.then_some(asked))
}

/// Runs what is asked for; fails where anything was found.
pub fn run(asked: &Asked, arguments: &[String]) -> ExitCode {
    if let Some(ended) = with_memory_kept(arguments) {
        return ended;
    }
    let began = Instant::now();
    let (verdict, failed) = all(asked);
    if let Some(seed) = failed.iter().min() {
        show(asked, *seed);
    }
    let seconds = began.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(asked.seeds).unwrap_or(u32::MAX));
    println!(
        "{seconds:.1} s, {:.0} seeds a minute",
        count * 60.0 / seconds
    );
    if !failed.is_empty() {
        let failed: Vec<String> = failed.iter().map(u64::to_string).collect();
        println!("failed: {}", failed.join(" "));
    }
    println!("{verdict}");
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// SQLite makes and drops small tables within many statements. glibc gives the memory of each back to the
/// system, and a fifth of a run's time goes there; it keeps it where it is told so at the start of a program.
fn with_memory_kept(arguments: &[String]) -> Option<ExitCode> {
    const KEPT: &str = "MALLOC_TRIM_THRESHOLD_";
    if !cfg!(target_os = "linux") || std::env::var_os(KEPT).is_some() {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let mut again = std::process::Command::new(program);
    again.args(arguments).env(KEPT, (64 << 20).to_string());
    let code = again.status().ok()?.code().unwrap_or(1);
    Some(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn chosen(asked: &Asked, seed: u64) -> Vec<Step> {
    let mut steps = steps(seed);
    if let Some(keep) = &asked.keep {
        steps.retain(|step| keep.contains(&step.n));
    }
    steps
}

/// Runs all seeds, several at once.
fn all(asked: &Asked) -> (Verdict, Vec<u64>) {
    let next = AtomicU64::new(asked.from);
    let ends = AtomicBool::new(false);
    let sum: Mutex<(Verdict, Vec<u64>)> = Mutex::default();
    let one = || {
        let done = || ends.load(Ordering::Relaxed) && !asked.keep_going;
        while !done() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= asked.from.saturating_add(asked.seeds) {
                break;
            }
            let ran = watched(asked, seed);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            if !ran.verdict.is_clean() {
                sum.1.push(seed);
                let first = ran.verdict.words().next().unwrap_or_default();
                println!("seed {seed} fails: {first}");
                ends.store(true, Ordering::Relaxed);
            }
            sum.0.add(ran.verdict);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(one);
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a seed; one that does not end ends the program, for nothing else could.
fn watched(asked: &Asked, seed: u64) -> Ran {
    let steps = chosen(asked, seed);
    let (ends, ended) = std::sync::mpsc::sync_channel::<()>(1);
    let watch = std::thread::spawn(move || {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        if ended.recv_timeout(RUN_MAX) == Err(Timeout) {
            println!("seed {seed} does not end: cargo simulate --seed {seed}");
            std::process::exit(1);
        }
    });
    let mut ran = play(seed, &steps, asked.history);
    if asked.twice {
        differs(&mut ran, &play(seed, &steps, asked.history));
    }
    drop(ends);
    watch.join().unwrap();
    if asked.history {
        println!("{}", ran.lines.join("\n"));
    }
    ran
}

/// Two runs of a seed must be one history.
pub fn differs(one: &mut Ran, other: &Ran) {
    if one.digest == other.digest {
        return;
    }
    let mut lines = one.lines.iter().zip(&other.lines);
    let first = lines.find(|(one, other)| one != other);
    let text = format!("two runs differ, first here: {first:?}");
    one.verdict.found(judge::Class::Unexplained, text);
}

/// A failing seed in words: what is wrong, how it is replayed, and the shortest history that fails.
fn show(asked: &Asked, seed: u64) {
    let whole = chosen(asked, seed);
    let ran = play(seed, &whole, false);
    println!("seed {seed} fails");
    for words in ran.verdict.words() {
        println!("  {words}");
    }
    println!("replay: cargo simulate --seed {seed}");
    if ran.verdict.is_clean() {
        println!("run again, it did not fail");
        return;
    }
    let until = Instant::now() + SHRINK_MAX;
    let shrunk = judge::shrink(&whole, TRIES_MAX, |steps| {
        Instant::now() < until && !play(seed, steps, false).verdict.is_clean()
    });
    let ran = play(seed, &shrunk.steps, true);
    println!(
        "{} of {} steps fail as well ({} tries):",
        shrunk.steps.len(),
        whole.len(),
        shrunk.tries
    );
    for step in &shrunk.steps {
        println!(
            "{:>6} {:?}, {} ms",
            step.n,
            step.what,
            step.pause.as_millis()
        );
    }
    let kept: Vec<String> = shrunk.steps.iter().map(|step| step.n.to_string()).collect();
    // Also a run without any step can fail.
    let kept = if kept.is_empty() {
        "''".to_owned()
    } else {
        kept.join(",")
    };
    println!("replay: cargo simulate --seed {seed} --keep {kept}");
    for words in ran.verdict.words() {
        println!("  {words}");
    }
    println!("{}", ran.about);
    let last = ran.lines.len().saturating_sub(60);
    println!(
        "the last of what happened:\n{}",
        ran.lines[last..].join("\n")
    );
}
