//! Broken files and command lines by a user's door: what is said of each, and that nothing was begun.
//!
//! A case is one file in a folder of `tests/broken`, named after its fault. It takes the place of the good file of
//! `tests/broken/good`; what the command then says stands beside it, as `.said`, and what the environment is to hold, as
//! `.env`. `BLESS=1` writes what is said anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod unusual;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

/// No command takes longer; one that does has begun its work.
const SECONDS_MAX: &str = "60";

/// What the good files name.
const GIVEN: [(&str, &str); 3] = [
    (
        "SHOP_SECRET",
        "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u",
    ),
    ("SHOP_PASSWORD", "correct horse"),
    ("EMPTY", ""),
];

/// A folder of cases: which good file each takes the place of, and the settings by which it is read.
struct Area {
    folder: &'static str,
    file: &'static str,
    config: &'static str,
}

const AREAS: [Area; 5] = [
    area("settings", "lighterman.toml", "lighterman.toml"),
    area("mappings", "mapping.yaml", "lighterman.toml"),
    area("sites", "site.yaml", "site.toml"),
    area("channels", "channel.yaml", "channel.toml"),
    area("skus", "skus.csv", "channel.toml"),
];

const fn area(folder: &'static str, file: &'static str, config: &'static str) -> Area {
    Area {
        folder,
        file,
        config,
    }
}

fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/broken")
}

/// Stands in a case for so many signs as no person writes.
const LONG: &[u8] = b"<<LONG>>";
const LONG_BYTES: usize = 2 << 20;

/// A case's file.
fn whole(case: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(case).unwrap();
    if let Some(at) = bytes.windows(LONG.len()).position(|part| part == LONG) {
        bytes.splice(at..at + LONG.len(), std::iter::repeat_n(b'x', LONG_BYTES));
    }
    bytes
}

/// A folder of good files.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(cases_folder().join("good")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, site.path().join(path.file_name().unwrap())).unwrap();
    }
    site
}

/// All that stands in a folder, without following links.
fn held(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            let content = if kind.is_file() {
                std::fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path, content);
        }
    }
    all
}

/// What a command says, and its exit code. Nothing panics, and nothing that was not there before is there afterwards.
fn said(folder: &Path, words: &[&str], variables: &[(String, String)]) -> (String, i32) {
    let before = held(folder);
    let mut command = Command::new("timeout");
    command.arg(SECONDS_MAX).arg(BINARY).args(words);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LIGHTERMAN")) {
        command.env_remove(name);
    }
    let output = command
        .current_dir(folder)
        .env_remove("CREDENTIALS_DIRECTORY")
        .env("NO_COLOR", "1")
        .envs(GIVEN)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    // What differs from run to run: where we are, and how long it took.
    let here = folder.display().to_string();
    let lines = text
        .lines()
        .filter(|line| !(line.contains(" ok, ") && line.ends_with(" s.")));
    let text: String = lines
        .map(|line| line.replace(&here, "FOLDER") + "\n")
        .collect();
    let code = output.status.code().unwrap_or(-1);
    assert!(!text.contains("panicked"), "{words:?}: {text}");
    assert!(
        (1..=3).contains(&code),
        "{words:?} ends with {code}: {text}"
    );
    let after = held(folder);
    let new: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .collect();
    assert!(new.is_empty(), "{words:?} left {new:?}: {text}");
    assert!(before == after, "{words:?} changed a file: {text}");
    (text, code)
}

/// What `check` says of a folder, and that `run` refuses it as well.
fn refused(folder: &Path, config: &str, variables: &[(String, String)]) -> String {
    let (text, code) = said(folder, &["check", "--config", config], variables);
    assert_eq!(code, 2, "{text}");
    let (log, code) = said(folder, &["run", "--config", config], variables);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("settings.refused"), "{log}");
    text
}

/// Each failure says where it is, and what to do or what was expected.
fn unhelpful(found: &str) -> Option<String> {
    let mut findings: Vec<String> = Vec::new();
    for line in found.lines() {
        match findings.last_mut() {
            Some(last) if line.starts_with(' ') => {
                let _ = write!(last, "\n{line}");
            }
            _ => findings.push(line.to_owned()),
        }
    }
    let fails: Vec<_> = findings
        .into_iter()
        .filter_map(|one| one.strip_prefix("FAIL ").map(str::to_owned))
        .collect();
    if fails.is_empty() {
        return Some("nothing failed".to_owned());
    }
    fails.into_iter().find(|one| {
        let mut place = one.splitn(4, ':').skip(1);
        let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
        let is_located = number(place.next()) && number(place.next());
        // A file that cannot be read, and a variable, have no line.
        let is_named = one.starts_with("read ");
        let is_plain = ["hint: ", "expected ", "is not one of "];
        let is_plain = is_plain.iter().any(|words| one.contains(words));
        !((is_located || is_named) && is_plain)
    })
}

/// The cases of a folder: names and files.
fn cases(folder: &str) -> Vec<(String, PathBuf)> {
    let mut cases = Vec::new();
    let mut goldens = Vec::new();
    for entry in std::fs::read_dir(cases_folder().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        match path.extension().and_then(|end| end.to_str()) {
            Some("said") => goldens.push(name),
            Some("env") => {}
            _ => cases.push((name, path)),
        }
    }
    cases.sort();
    goldens.retain(|name| !cases.iter().any(|(case, _)| case == name));
    assert!(goldens.is_empty(), "said of no case: {goldens:?}");
    cases
}

/// The golden text beside a case; writes it where `BLESS` asks for it. Gives what is wrong.
fn compare(folder: &str, name: &str, found: &str) -> Option<String> {
    let golden = cases_folder().join(folder).join(format!("{name}.said"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, found).unwrap();
        return None;
    }
    let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
    (found != wanted).then(|| format!("{folder}/{name}\nsays\n{found}and not\n{wanted}"))
}

/// Does some work for each of a list, as many at once as the machine has processors. Gives what is wrong, in order.
fn each<T: Sync>(all: &[T], work: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { break };
                    if let Some(found) = work(one) {
                        wrong.lock().unwrap().insert(at, found);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap().into_values().collect()
}

/// `NAME=value`, a line each.
fn variables(case: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(case.with_extension("env")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What a panic in `work` says is one more thing that is wrong.
fn caught(name: &str, work: impl FnOnce() -> Option<String>) -> Option<String> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    result.unwrap_or_else(|said| {
        let text = said.downcast_ref::<String>().cloned().unwrap_or_default();
        Some(format!("{name}: {text}"))
    })
}

#[test]
fn broken_files_are_refused_with_place_and_advice_before_anything_is_begun() {
    let mut all = Vec::new();
    for area in &AREAS {
        all.extend(cases(area.folder).into_iter().map(|case| (area, case)));
    }
    let wrong = each(&all, |(area, (name, path))| {
        caught(&format!("{}/{name}", area.folder), || {
            let site = site();
            std::fs::write(site.path().join(area.file), whole(path)).unwrap();
            let found = refused(site.path(), area.config, &variables(path));
            let bad = unhelpful(&found)
                .map(|one| format!("{}/{name}: says too little: {one}", area.folder));
            bad.or(compare(area.folder, name, &found))
        })
    });
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

#[test]
fn broken_command_lines_say_what_is_wrong_and_begin_nothing() {
    let all = cases("commands");
    let wrong = each(&all, |(name, path)| {
        caught(name, || {
            let site = site();
            let line = std::fs::read_to_string(path).unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (text, code) = said(site.path(), &words, &variables(path));
            compare("commands", name, &format!("exit {code}\n{text}"))
        })
    });
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

/// Else every case would be refused for the same fault.
#[test]
fn the_good_files_are_good() {
    for config in ["lighterman.toml", "site.toml", "channel.toml"] {
        let site = site();
        rusqlite::Connection::open(site.path().join("erp.db"))
            .unwrap()
            .execute_batch(
                "CREATE TABLE item (code TEXT PRIMARY KEY, name TEXT, status TEXT);
                 CREATE TABLE stock (item TEXT, site TEXT, qty INTEGER, PRIMARY KEY (item, site))",
            )
            .unwrap();
        let output = Command::new(BINARY)
            .args(["source", "prepare", "--config", config])
            .current_dir(site.path())
            .envs(GIVEN)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{config}: {text}");
    }
}
