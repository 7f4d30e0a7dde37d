//! The suite's part: some seeds, that a seed is one history, and what else needs virtual time.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Pace, Pause};
use tokio::sync::Notify;

use crate::agent::start;
use crate::clock::VirtualClock;
use crate::command::differs;
use crate::faults;
use crate::play::{in_virtual_time, run as play};
use crate::step::steps;
use crate::world::{Shared, World, lock};

const CHECKS: [(&str, fn()); 10] = [
    (
        "receivers_come_to_equal_the_source",
        receivers_come_to_equal_the_source,
    ),
    ("a_seed_is_one_history", a_seed_is_one_history),
    (
        "what_is_left_out_changes_nothing_else",
        what_is_left_out_changes_nothing_else,
    ),
    (
        "tables_are_read_no_faster_than_the_settings_say",
        tables_are_read_no_faster_than_the_settings_say,
    ),
    (
        "no_table_is_read_while_the_settings_say_pause",
        no_table_is_read_while_the_settings_say_pause,
    ),
    (
        "a_days_quota_outlives_crashes",
        a_days_quota_outlives_crashes,
    ),
    ("nothing_is_durable_before_its_step", || {
        in_virtual_time(faults::nothing_is_durable_before_its_step());
    }),
    ("what_waits_when_the_steps_are_gone_is_not_done", || {
        in_virtual_time(faults::what_waits_when_the_steps_are_gone_is_not_done());
    }),
    ("each_fault_leaves_what_it_says", || {
        in_virtual_time(faults::each_fault_leaves_what_it_says());
    }),
    ("a_full_disk_is_said_and_gets_over", || {
        in_virtual_time(faults::a_full_disk_is_said_and_gets_over());
    }),
];

/// Runs those whose name has one of the words among the arguments, and ends as a program of tests does.
pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&String> = arguments
        .iter()
        .filter(|one| !one.starts_with('-'))
        .collect();
    let is_meant = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    let chosen: Vec<_> = CHECKS.iter().filter(|(name, _)| is_meant(name)).collect();
    if arguments.iter().any(|one| one == "--list") {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in &chosen {
        let ended = std::panic::catch_unwind(AssertUnwindSafe(check));
        let word = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word}");
        *if ended.is_ok() {
            &mut passed
        } else {
            &mut failed
        } += 1;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let others = CHECKS.len() - chosen.len();
    println!(
        "test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {others} filtered out"
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn receivers_come_to_equal_the_source() {
    for seed in 0..16 {
        let ran = play(seed, &steps(seed), false);
        let words: Vec<String> = ran.verdict.words().collect();
        assert!(
            ran.verdict.is_clean(),
            "cargo simulate --seed {seed}\n{}\n{}",
            words.join("\n"),
            ran.about
        );
    }
}

fn a_seed_is_one_history() {
    for seed in 100..102 {
        let steps = steps(seed);
        let mut ran = play(seed, &steps, true);
        differs(&mut ran, &play(seed, &steps, true));
        let words: Vec<String> = ran.verdict.words().collect();
        assert!(ran.verdict.is_clean(), "seed {seed}: {}", words.join("\n"));
        assert!(ran.lines.len() > 100, "hardly anything happened");
    }
}

/// Else a shorter history would be another one.
fn what_is_left_out_changes_nothing_else() {
    let whole = steps(7);
    let half: Vec<_> = whole
        .iter()
        .filter(|step| step.n % 2 == 0)
        .cloned()
        .collect();
    let ran = play(7, &half, true);
    for step in &whole {
        let line = format!("step {} {:?}", step.n, step.what);
        let took = ran.lines.iter().any(|one| one.ends_with(&line));
        assert_eq!(took, step.n % 2 == 0, "{line}");
    }
}

/// A world without faults.
fn quiet_world() -> (Shared, Arc<VirtualClock>) {
    let world: Shared = Arc::new((Mutex::new(World::new(1)), Notify::new()));
    let began = {
        let mut world = lock(&world);
        world.seed_rows();
        world.faults = false;
        world.began
    };
    (world, Arc::new(VirtualClock::new(began)))
}

/// Reads all tables at a pace; when that began, and when chunks of how many rows were read.
fn chunks_at(pace: Pace) -> (tokio::time::Instant, Vec<(tokio::time::Instant, usize)>) {
    in_virtual_time(async {
        let (world, clock) = quiet_world();
        let folder = tempfile::tempdir().unwrap();
        let began = lock(&world).began;
        lock(&world).pace = pace;
        let agent = start(&world, folder.path(), &clock, 5);
        while !lock(&world).is_equal() {
            assert!(
                began.elapsed() < Duration::from_hours(3),
                "it reads nothing"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        agent.crash(&world).await;
        (began, std::mem::take(&mut lock(&world).chunks))
    })
}

fn tables_are_read_no_faster_than_the_settings_say() {
    for parallel in [1, 2] {
        let rate = 6;
        let (began, chunks) = chunks_at(Pace {
            rows_per_second: Some(rate),
            parallel,
            ..Pace::default()
        });
        let mut rows = 0.0;
        for (at, more) in chunks {
            let seconds = at.duration_since(began).as_secs_f64();
            // Each reader may be one chunk of three rows ahead.
            let most = seconds * f64::from(rate) + f64::from(u32::try_from(parallel).unwrap() * 3);
            rows += f64::from(u32::try_from(more).unwrap());
            assert!(
                rows <= most,
                "{rows} rows after {seconds} s with {parallel} readers"
            );
        }
        assert!(rows >= 90.0, "all rows are read: {rows}");
    }
}

fn no_table_is_read_while_the_settings_say_pause() {
    // The clock of a simulation begins at midnight.
    let time = |text: &str| text.parse().unwrap();
    let (began, chunks) = chunks_at(Pace {
        pauses: vec![Pause {
            from: time("23:00"),
            to: time("01:30"),
        }],
        ..Pace::default()
    });
    let first = chunks[0].0.duration_since(began);
    assert!(first >= Duration::from_mins(90), "read after {first:?}");
}

/// A day's quota is not passed, however often the agent crashes.
fn a_days_quota_outlives_crashes() {
    const PER_DAY: u32 = 40;
    in_virtual_time(async {
        let (world, clock) = quiet_world();
        let folder = tempfile::tempdir().unwrap();
        lock(&world).per_day = Some(PER_DAY);
        for seconds in [4, 4, 4, 4, 4, 4, 4, 4, 60] {
            let agent = start(&world, folder.path(), &clock, 1);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            agent.crash(&world).await;
        }
        let requests = lock(&world).shop.requests;
        assert!(requests <= PER_DAY as usize, "{requests} requests left");
        assert!(requests > PER_DAY as usize / 2, "{requests} requests left");
        let wrong: Vec<String> = lock(&world).verdict.words().collect();
        assert_eq!(wrong, Vec::<String>::new());
    });
}
