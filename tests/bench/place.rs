//! The agent in a folder of its own, and what is measured where.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::agent::{Agent, command};

use crate::options::Options;

/// The agent that is measured.
static BINARY: OnceLock<String> = OnceLock::new();
/// No wait here takes longer.
pub const DEADLINE: Duration = Duration::from_hours(1);

pub fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name);
    given.map_or(otherwise, |text| text.parse().unwrap())
}

/// Says what is measured and where, and ends where that would mislead.
pub fn measure(options: &Options) {
    let ours = env!("CARGO_BIN_EXE_lighterman");
    let given = options.agent.as_ref();
    let path = given.map_or_else(|| ours.to_owned(), |path| path.to_str().unwrap().to_owned());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    println!("agent: {path}; {cores} cores; load before: {}", load.trim());
    if cfg!(debug_assertions) {
        println!("NOT OPTIMISED: good for trying the benchmark, its figures mean nothing");
    }
    let folder = std::env::temp_dir();
    assert!(
        !in_memory(&folder),
        "{} is in memory, where nothing is durable: set TMPDIR to a folder on a disk",
        folder.display()
    );
    BINARY.set(path).unwrap();
}

/// Whether a folder lies in a file system that keeps nothing.
fn in_memory(folder: &Path) -> bool {
    let folder = std::fs::canonicalize(folder).unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let mounted = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        folder.starts_with(&at).then_some((at.len(), kind))
    };
    let nearest = mounts.lines().filter_map(mounted).max();
    nearest.is_some_and(|(_, kind)| kind == "tmpfs" || kind == "ramfs")
}

pub fn binary() -> &'static str {
    BINARY.get().unwrap()
}

/// An agent's folder.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An agent that reads `source` (the settings of one, without its name) by `mapping`, and is prepared for it.
    pub fn new(source: &str, mapping: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\n{source}mappings = [\"mapping.yaml\"]\n\
             [[destination]]\nname = \"shop\"\ntype = \"null\"\n"
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        std::fs::write(folder.path().join("mapping.yaml"), mapping).unwrap();
        let place = Self { folder };
        place.prepare();
        place
    }

    fn prepare(&self) {
        let (code, shown) = self.command(&["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
    }

    /// Has the agent send to an HTTP receiver, in batches of so many events; `more` are settings of the destination.
    pub fn deliver_to(&self, url: &str, events: u64, more: &str) {
        let settings = self.path().join("lighterman.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let kept = text.split("type = \"null\"").next().unwrap();
        let kept = kept.split("type = \"webhook\"").next().unwrap();
        let receiver = format!(
            "type = \"webhook\"\nurl = \"{url}\"\nmode = \"batch\"\nbatch_events_max = {events}\n\
             guards = {{mass_drop = false}}\n{more}"
        );
        std::fs::write(settings, format!("{kept}{receiver}")).unwrap();
    }

    /// The agent as it is before its first start.
    pub fn anew(&self) {
        let _ = std::fs::remove_dir_all(self.state());
        self.prepare();
    }

    /// A copy of the state beside it.
    pub fn keep(&self) {
        copy(&self.state(), &self.path().join("kept"));
    }

    /// The state as it was kept.
    pub fn back(&self) {
        std::fs::remove_dir_all(self.state()).unwrap();
        copy(&self.path().join("kept"), &self.state());
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn agent(&self) -> Agent {
        Agent::start(binary(), self.path())
    }

    pub fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        command(binary(), self.path(), words)
    }

    /// What `status --json` says.
    pub fn status(&self) -> serde_json::Value {
        let (_, shown) = self.command(&["status", "--json"]);
        serde_json::from_str(&shown).unwrap()
    }

    /// Waits until `status` fits.
    pub async fn until(&self, what: &str, fits: impl Fn(&serde_json::Value) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if fits(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {status}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
