//! A private PostgreSQL server, and the agent in a folder of its own beside it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::postgres::{PostgresOptions, PostgresServer};
use tokio_postgres::Client;

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

pub struct Place {
    pub server: PostgresServer,
    pub db: Client,
    folder: tempfile::TempDir,
}

impl Place {
    /// A server with a database `erp` set up by `tables`, and an agent prepared for `mapping`.
    pub async fn new(tables: &str, mapping: &str) -> Self {
        let options = PostgresOptions::default()
            .setting("max_wal_size=16GB")
            .setting("checkpoint_timeout=1h")
            .setting("shared_buffers=512MB");
        let server = PostgresServer::start(options);
        server.create_database("erp").await;
        let db = server.connect("erp").await;
        db.batch_execute(tables).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
             database = \"erp\"\nuser = \"postgres\"\nmappings = [\"mapping.yaml\"]\n\
             [[destination]]\nname = \"nowhere\"\ntype = \"null\"\n",
            server.port()
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        std::fs::write(folder.path().join("mapping.yaml"), mapping).unwrap();
        let place = Self { server, db, folder };
        let (code, shown) = place.command(&["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
        place
    }

    /// Has the agent send to an HTTP receiver, in batches.
    pub fn deliver_to(&self, url: &str) {
        let settings = self.path().join("lighterman.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let receiver = format!(
            "type = \"webhook\"\nurl = \"{url}\"\nmode = \"batch\"\nbatch_events_max = 1000\n\
             guards = {{mass_drop = false}}\n"
        );
        let text = text.replace("type = \"null\"\n", &receiver);
        std::fs::write(settings, text).unwrap();
    }

    /// The agent as it is before its first start.
    pub async fn anew(&self) {
        let _ = std::fs::remove_dir_all(self.state());
        self.drop_slot("lighterman_erp").await;
        let (code, shown) = self.command(&["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
    }

    pub async fn copy_slot(&self, from: &str, to: &str) {
        let sql = format!("SELECT pg_copy_logical_replication_slot('{from}', '{to}')");
        self.run(&sql).await;
    }

    /// Where there is one: a slot is made by the agent's first start.
    pub async fn drop_slot(&self, name: &str) {
        let sql = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}'"
        );
        self.run(&sql).await;
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

    pub async fn run(&self, sql: &str) {
        self.db.batch_execute(sql).await.unwrap();
    }

    pub async fn ask(&self, sql: &str) -> String {
        let messages = self.db.simple_query(sql).await.unwrap();
        let answer = messages.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        answer.unwrap()
    }

    /// Where the server's log ends.
    pub async fn end(&self) -> String {
        self.ask("SELECT pg_current_wal_flush_lsn()::text").await
    }

    /// Waits until the agent has everything up to `end` for good.
    pub async fn acknowledged(&self, end: &str) {
        let sql = format!(
            "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots
              WHERE slot_name = 'lighterman_erp'"
        );
        let deadline = Instant::now() + DEADLINE;
        while self.ask(&sql).await != "t" {
            assert!(Instant::now() < deadline, "{end} is not reached");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
