//! A disk that becomes full, fails or is slow at any moment, and a machine whose memory is used up: the agent stops or
//! waits, with a word, and goes on where it was.
//!
//! `DISK_FAULTS=all` fails at every write, sync and read of a short run; without it, at some of them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::failpoints::walk;
use harness::agent::Agent;
use harness::disk::{Shim, faults};
use harness::receiver::{Faults, Receiver};
use harness::site::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  move: {name: move, key: [id]}
events:
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: \"'adjustment'\", sku: sku, location: \"'X'\", uom: \"'EA'\", quantity: qty}
";

const TABLES: &str = "CREATE TABLE move (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER)";

struct Shop {
    receiver: Receiver,
    site: Site,
}

impl Shop {
    async fn new() -> Self {
        let receiver = Receiver::start(1, Faults::default()).await;
        let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
        let file = site.path().join("lighterman.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // So that what is counted is the state file's.
        std::fs::write(&file, format!("{text}[log]\nfiles = false\n")).unwrap();
        std::fs::create_dir(site.path().join("state")).unwrap();
        Self { receiver, site }
    }

    fn moves(&self, count: usize, sku: &str) {
        let mut sql = String::from("BEGIN;");
        for _ in 0..count {
            let _ = write!(sql, "INSERT INTO move (sku, qty) VALUES ('{sku}', 1);");
        }
        self.site.run(&(sql + "COMMIT"));
    }

    /// The state folder's disk with a fault, and where it is noted that it came.
    fn noted(&self, fault: &str) -> (Shim, PathBuf) {
        let state = self.site.path().join("state");
        let log = self.site.path().join("disk.log");
        (Shim::under(&state).noted(&state, &log).fault(fault), log)
    }

    async fn told(&self, count: usize) -> bool {
        let there = self.receiver.wait(SOON, |held| held.facts.len() == count);
        there.await
    }

    async fn ends_well(&self, count: usize) {
        let mut agent = self.site.agent();
        assert!(self.told(count).await, "{}", agent.log());
        let ended = agent.terminate(SOON).await;
        assert!(
            ended.is_some_and(|ended| ended.success()),
            "{}",
            agent.log()
        );
        assert_eq!(self.receiver.held().violations, Vec::<String>::new());
        let (code, shown) = self.site.command(&["state", "verify"]);
        assert_eq!(code, Some(0), "{shown}");
    }
}

/// What it says of a full disk while it goes on, and when it cannot begin.
const FULL: [&str; 3] = [
    "the disk is full",
    "No space left on device",
    "disk is full",
];

/// One fault. It comes: where all is told without it, more changes until it does.
async fn fails(fault: String) {
    let shop = Shop::new().await;
    let mut moves = 20;
    shop.moves(moves, "A");
    let (shim, log) = shop.noted(&fault);
    let mut agent = shop.site.agent_with(&shim.environment());
    let full = fault.ends_with("ENOSPC");
    let said = |agent: &Agent| full && FULL.iter().any(|text| agent.log().contains(text));
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let ended = agent.ended();
        let told = shop.receiver.held().facts.len() == moves;
        let came = faults(&log) > 0;
        if let Some(ended) = ended {
            assert_eq!(ended.code(), Some(3), "{fault}: {}", agent.log());
            // It said why.
            assert!(agent.log().contains("ERROR"), "{fault}: {}", agent.log());
            break;
        }
        if said(&agent) || told && came {
            break;
        }
        if told {
            shop.moves(1, "C");
            moves += 1;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{fault} ({}): neither told nor ended nor said: {}",
            if came { "it came" } else { "it never came" },
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(agent);
    assert!(faults(&log) > 0, "{fault} never came");
    shop.moves(5, "B");
    shop.ends_well(moves + 5).await;
}

/// Of the first so many, all or some. A start writes some 230 times before the loops begin, and syncs some 25 times.
fn some(most: u32, few: &[u32]) -> Vec<u32> {
    if std::env::var("DISK_FAULTS").is_ok_and(|said| said == "all") {
        (1..=most).collect()
    } else {
        few.to_vec()
    }
}

#[test]
fn a_disk_that_is_full_from_any_write_on_stops_it_and_loses_nothing() {
    let numbers = some(380, &[60, 240, 280]);
    let faults = numbers.iter().map(|n| format!("write:{n}+:ENOSPC"));
    walk(faults.collect(), async |fault| fails(fault).await);
}

/// Once, as a disk does that is about to die: what is in doubt is not written again, and the next start looks at it.
#[test]
fn a_write_a_sync_or_a_read_that_fails_stops_it_and_loses_nothing() {
    let writes = some(380, &[260]);
    let syncs = some(40, &[15, 30]);
    let reads = some(120, &[60]);
    let of = |kind: &str, all: &[u32]| -> Vec<String> {
        all.iter().map(|n| format!("{kind}:{n}:EIO")).collect()
    };
    let all = [of("write", &writes), of("sync", &syncs), of("read", &reads)].concat();
    walk(all, async |fault| fails(fault).await);
}

/// Each sync takes its time, as on a disk that others use: less is read at once, nothing piles up in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_slows_it_down_and_takes_no_memory() {
    const MANY: usize = 800;
    const MEMORY_KIB_MAX: u64 = 160 << 10;
    let shop = Shop::new().await;
    shop.moves(MANY, "A");
    let (shim, log) = shop.noted("sync:1+:sleep=20");
    let agent = shop.site.agent_with(&shim.environment());
    assert!(shop.told(MANY).await, "{}", agent.log());
    // Each of a start's own and of at least one batch was slow.
    assert!(faults(&log) > 25, "{} slow syncs", faults(&log));
    let peak = agent.memory_peak_kib();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    drop(agent);
    shop.moves(5, "B");
    shop.ends_well(MANY + 5).await;
}

/// The machine gives no memory any more: the process ends, or says what it lacks and tries again, and what it had
/// promised is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_memory_loses_nothing_and_goes_on_where_it_was() {
    const MANY: usize = 3_000;
    let shop = Shop::new().await;
    shop.moves(20, "A");
    // A failed allocation ends the process at once, without looking for where it came from.
    let mut agent = shop.site.agent_with(&[("RUST_BACKTRACE", "0".to_owned())]);
    assert!(shop.told(20).await, "{}", agent.log());
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = data.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let limited = Command::new("prlimit")
        .args(["--pid", &agent.pid().to_string()])
        .arg(format!("--data={}", (kib.unwrap() << 10) + (64 << 10)))
        .status()
        .unwrap();
    assert!(limited.success());
    shop.moves(MANY, &"S".repeat(4_000));
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(ended) = agent.ended() {
            assert!(!ended.success(), "{ended}: {}", agent.log());
            break;
        }
        if agent.log().contains("out of memory") {
            break;
        }
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "neither ended nor said: {}", agent.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(agent);
    shop.ends_well(MANY + 20).await;
}
