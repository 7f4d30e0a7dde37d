//! Broken mapping files and expressions, made from good ones: whatever stands in a file, loading
//! it and running its tests ends in findings or results, never in a panic and never in a hang.
//!
//! `FUZZ_SECONDS=600 cargo test --release -p mappings --test fuzz` runs longer; `FUZZ_SEED=7`
//! begins elsewhere. A failure prints its seed and leaves the file in the temporary folder.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::SHOP;
use mappings::{Catalogue, FORMS, FUNCTIONS, LoadContext, Which, packs, trial};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// No file of this size takes long; a case that takes this long hangs.
const HANG: Duration = Duration::from_secs(30);

/// What mapping files are made of, in places where it does not belong.
const PIECES: &[&str] = &[
    "join:",
    "add:",
    "lines:",
    "fields:",
    "key:",
    "where: ",
    "match: ",
    "missing: null",
    "group: sum",
    "also_in:",
    "tests:",
    "given:",
    "expect: []",
    "then:",
    "extends: northwind",
    "settings:",
    "companies:",
    "guard:",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ":",
    "- ",
    "\n",
    "\n  ",
    "#",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "99999999999999999999999999999999999999999",
    "0.1",
    "''",
    "&x ",
    "*x",
    "!!str ",
    "|",
    ">",
    "(",
    ")",
    ",",
    ".",
    " and ",
    " or ",
    " not ",
    " is null",
    " in (",
    "case when ",
    " then ",
    " else ",
    " end",
    " = ",
    " <> ",
    " < ",
    "*",
    "/",
    "%",
    "||",
    "setting.x",
    "company.code",
    "stock.",
    "count_lines()",
    "sum_lines(",
    "dict(",
    "optional(",
    "money(",
    "date '2026-13-40'",
    "like '%",
    "between ",
    "cast(",
    " as decimal)",
    "\u{0}",
    "ß",
    "\u{202e}",
];

fn corpus() -> Vec<String> {
    let mut all: Vec<String> = packs::SHIPPED
        .iter()
        .map(|(_, text)| (*text).to_owned())
        .collect();
    all.push(SHOP.to_owned());
    // Every function and form, so that calls are cut up too.
    let examples = FUNCTIONS.iter().map(|info| info.example.0);
    let examples = examples.chain(FORMS.iter().map(|info| info.example));
    let calls = examples.map(|example| {
        SHOP.replacen(
            "name: item.name",
            &format!("name: \"{}\"", example.replace('"', "")),
            1,
        )
    });
    all.extend(calls);
    all
}

/// A place between two characters.
fn place(rng: &mut StdRng, text: &str) -> usize {
    let mut at = rng.random_range(0..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn range(rng: &mut StdRng, text: &str) -> (usize, usize) {
    let from = place(rng, text);
    let mut to = (from + rng.random_range(0..40)).min(text.len());
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    (from, to.max(from))
}

fn mutated(rng: &mut StdRng, corpus: &[String]) -> String {
    let mut text = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..5) {
        let at = place(rng, &text);
        match rng.random_range(0..7) {
            0 => text.insert_str(at, PIECES[rng.random_range(0..PIECES.len())]),
            1 => {
                let (from, to) = range(rng, &text);
                text.replace_range(from..to, "");
            }
            2 => {
                let (from, to) = range(rng, &text);
                let piece = text[from..to].to_owned();
                text.insert_str(at, &piece);
            }
            3 => {
                let (from, to) = range(rng, &text);
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                text.replace_range(from..to, piece);
            }
            4 => {
                // Lines of another file.
                let other = &corpus[rng.random_range(0..corpus.len())];
                let lines: Vec<&str> = other.lines().collect();
                let from = rng.random_range(0..lines.len());
                let to = (from + rng.random_range(1..6)).min(lines.len());
                text.insert_str(at, &format!("\n{}\n", lines[from..to].join("\n")));
            }
            5 => {
                let lines: Vec<&str> = text.lines().collect();
                if lines.len() > 2 {
                    let (a, b) = (
                        rng.random_range(0..lines.len()),
                        rng.random_range(0..lines.len()),
                    );
                    let mut lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
                    lines.swap(a, b);
                    text = lines.join("\n");
                }
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                text.insert_str(at, &piece.repeat(rng.random_range(1..200)));
            }
        }
    }
    text
}

fn run(text: &str) {
    let catalogue = Catalogue::default();
    let context = LoadContext {
        company: Which::First,
        catalogue: &catalogue,
        packs: &packs::shipped,
    };
    let _ = trial::test_file("fuzz.yaml", text, context);
}

#[test]
fn broken_files_end_in_findings() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(5);
    let first: u64 = number("FUZZ_SEED").unwrap_or(1);
    let corpus = corpus();
    let (sender, cases) = mpsc::sync_channel::<(u64, String)>(1);
    let (done, results) = mpsc::sync_channel::<Result<(), ()>>(1);
    let worker = std::thread::spawn(move || {
        while let Ok((_, text)) = cases.recv() {
            let ended = catch_unwind(AssertUnwindSafe(|| run(&text)));
            if done.send(ended.map_err(drop)).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let mut seed = first;
    while began.elapsed() < Duration::from_secs(seconds) {
        let text = mutated(&mut StdRng::seed_from_u64(seed), &corpus);
        sender.send((seed, text.clone())).unwrap();
        let outcome = results.recv_timeout(HANG);
        if !matches!(outcome, Ok(Ok(()))) {
            let path = std::env::temp_dir().join(format!("mapping-fuzz-{seed}.yaml"));
            std::fs::write(&path, &text).unwrap();
            let how = if outcome.is_err() { "hangs" } else { "panics" };
            panic!("FUZZ_SEED={seed} {how}; the file is {}", path.display());
        }
        seed += 1;
    }
    drop(sender);
    worker.join().unwrap();
    println!("{} files", seed - first);
}
