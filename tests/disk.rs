//! A disk that becomes low: reading stops before it is full, delivery goes on, and reading goes on by
//! itself when there is room.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const MIB: u64 = 1 << 20;

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

/// A small disk, which is gone when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// At a folder; `None` where this user may mount none.
    fn mount(folder: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        mounted.then(|| Self(folder.to_owned()))
    }

    /// Takes room until no more than so much is free.
    fn fill(&self, free_bytes: u64) {
        let free = state::room(&self.0).unwrap().free_bytes;
        let mut ballast = self.ballast();
        let mut left = free.saturating_sub(free_bytes);
        let part = vec![7_u8; 64 << 10];
        while left > 0 {
            let bytes = part.len().min(usize::try_from(left).unwrap());
            // The agent takes room meanwhile.
            if ballast.write_all(&part[..bytes]).is_err() {
                break;
            }
            left -= bytes as u64;
        }
    }

    /// Gives room back until so much is free, and at no moment more.
    fn give(&self, free_bytes: u64) {
        let free = state::room(&self.0).unwrap().free_bytes;
        let ballast = self.ballast();
        let taken = ballast.metadata().unwrap().len();
        let less = free_bytes.saturating_sub(free);
        ballast.set_len(taken.saturating_sub(less)).unwrap();
    }

    fn ballast(&self) -> std::fs::File {
        let path = self.0.join("ballast");
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn skipped(test: &str) {
    // Not by a print macro: those are captured, and a skipped test must be seen.
    let line = format!("skipped: {test}: this user may not mount a tmpfs\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// What the log says when reading stops.
const LOW: &str = "the state folder's disk is low: sources are not read";

/// Waits for a condition; false when it did not come.
async fn wait_for(mut done: impl FnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + SOON;
    while !done() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// Waits until `status` is as wanted; its exit code and what it said.
async fn status(site: &Site, wanted: impl Fn(&Value) -> bool) -> (Option<i32>, Value) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (code, status) = site.status();
        if wanted(&status) {
            return (code, status);
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rows(from: u32, count: u32) -> String {
    let rows: Vec<String> = (from..from + count)
        .map(|id| format!("({id}, 'A', 1)"))
        .collect();
    format!("INSERT INTO move VALUES {}", rows.join(", "))
}

fn says_low(status: &Value) -> bool {
    let problem = status["sources"][0]["problem"].as_str();
    problem.is_some_and(|problem| {
        problem.contains("the state folder's disk has less than 16 MiB free")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_disk_stops_reading_and_not_delivery_and_loses_nothing() {
    const MANY: u32 = 2_000;
    // Nobody is there yet: what is read waits.
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/events");
    let site = Site::new(BINARY, &url, TABLES, MAPPING);
    let Some(disk) = SmallDisk::mount(&site.path().join("state"), 48) else {
        return skipped("a_low_disk_stops_reading_and_not_delivery_and_loses_nothing");
    };
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}[disk]\nreserve_mib = 16\n")).unwrap();

    let agent = site.agent();
    site.run(&rows(0, MANY));
    let backlog = |status: &Value| status["destinations"][0]["backlog"].as_u64().unwrap_or(0);
    let (_, well) = status(&site, |status| backlog(status) == u64::from(MANY)).await;
    assert_eq!(well["disk"]["low"], false, "{well}");
    assert_eq!(well["disk"]["reserve_bytes"], 16 * MIB, "{well}");
    let (code, shown) = site.command(&["check"]);
    assert!(shown.contains("state folder: disk: "), "{code:?} {shown}");

    // Less than the reserve is free: sources are not read, and that is said.
    disk.fill(10 * MIB);
    let (code, low) = status(&site, says_low).await;
    assert_eq!(
        (code, &low["disk"]["low"]),
        (Some(1), &true.into()),
        "{low}"
    );
    let (_, shown) = site.command(&["status"]);
    let first: Vec<&str> = shown.lines().take(3).collect();
    assert!(
        first[1].starts_with("The state folder's disk is LOW: "),
        "{shown}"
    );
    assert!(
        first[1].contains("reading goes on by itself when 20 MiB are free"),
        "{shown}"
    );
    assert!(first[2].starts_with("Source erp does NOT run: "), "{shown}");
    let (code, shown) = site.command(&["check"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("FAIL state folder: disk: is low"), "{shown}");

    // What comes now is not read; what was read is delivered once somebody is there, also when the disk
    // became quite full for a while.
    site.run(&rows(MANY, MANY));
    disk.fill(0);
    let receiver = Receiver::start_on(port, 1, Faults::default()).await;
    status(&site, |status| status["disk"]["free_bytes"] == 0).await;
    disk.give(10 * MIB);
    let came = |all: u32| move |held: &harness::receiver::Held| held.facts.len() == all as usize;
    assert!(receiver.wait(SOON, came(MANY)).await, "{}", agent.log());
    let (_, still) = status(&site, |status| backlog(status) == 0).await;
    assert!(says_low(&still), "{still}");
    assert_eq!(still["sources"][0]["changes"], MANY, "{still}");

    // A little more room is not enough; a restart changes nothing.
    disk.give(18 * MIB);
    drop(agent);
    disk.fill(10 * MIB);
    let agent = site.agent();
    let twice = wait_for(|| agent.log().matches(LOW).count() == 2).await;
    assert!(twice, "{}", agent.log());
    let (_, still) = status(&site, |status| status["running"] == true).await;
    assert!(says_low(&still), "{still}");
    assert_eq!(still["sources"][0]["changes"], MANY, "{still}");

    disk.empty();
    assert!(receiver.wait(SOON, came(2 * MANY)).await, "{}", agent.log());
    let (code, well) = status(&site, |status| status["sources"][0]["problem"].is_null()).await;
    assert_eq!(
        (code, &well["disk"]["low"]),
        (Some(0), &false.into()),
        "{well}"
    );
    assert_eq!(receiver.held().violations, Vec::<String>::new());
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
    // Said once by each of the two agents, and once when there was room again.
    let log = agent.log();
    let said = |text: &str| log.matches(text).count();
    assert_eq!(
        said("the state folder's disk is low: sources are not read"),
        2,
        "{log}"
    );
    assert_eq!(said("the state folder's disk has room again"), 1, "{log}");
}
