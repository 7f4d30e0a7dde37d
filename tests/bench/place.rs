//! A private PostgreSQL server, and the agent in a folder of its own beside it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::postgres::{PostgresOptions, PostgresServer};
use tokio_postgres::Client;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
/// No wait here takes longer.
const DEADLINE: Duration = Duration::from_hours(1);

pub fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name);
    given.map_or(otherwise, |text| text.parse().unwrap())
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

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn agent(&self) -> Agent {
        Agent::start(BINARY, self.path())
    }

    pub fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        command(BINARY, self.path(), words)
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
