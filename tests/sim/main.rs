//! Seeded simulation: the real loops and the real store against a fake source, fake destinations and a
//! fake clock. One seed is one run: changes, disconnects, lost answers, refusals, forgotten outcomes,
//! snapshot chunks that do not see what the log already told, commits that fail, crashes between any two
//! turns of any task, a wall clock that jumps, persons, other mappings. Afterwards the faults end and the
//! receivers must come to equal the source as the last mapping sees it.
//!
//! Time is virtual and the store's commits are steps in it, so a seed is always the same history.
//! `cargo simulate --seeds 1000` runs many; without arguments this program is the suite's part
//! (`checks.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::unused_async,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod agent;
mod checks;
mod clock;
mod command;
mod committing;
mod database;
mod depot;
mod faults;
mod folder;
mod history;
mod mapping;
mod operator;
mod play;
mod received;
mod remains;
mod shop;
mod source;
mod step;
mod verdict;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::read(&arguments) {
        Ok(Some(command)) => command::run(&command, &arguments),
        Ok(None) => checks::run(&arguments),
        Err(problem) => {
            eprintln!("cargo simulate: {problem}\n{}", command::USAGE);
            ExitCode::from(2)
        }
    }
}
