//! A site: an SQLite database, a mapping file and a destination, in a folder of its own.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::agent::{Agent, command, command_with};

/// A folder with settings, a mapping and the database that they are about.
#[derive(Debug)]
pub struct Site {
    binary: &'static str,
    folder: tempfile::TempDir,
    db: Connection,
}

impl Site {
    /// A site whose database begins with `tables`, prepared for its mapping. Its one destination is
    /// a webhook.
    pub fn new(binary: &'static str, url: &str, tables: &str, mapping: &str) -> Self {
        let webhook = format!("type = \"webhook\"\nurl = \"{url}\"\ntimeout_seconds = 1\n");
        Self::with(binary, &webhook, tables, mapping)
    }

    /// As [`Site::new`], with what stands in its destination's block.
    pub fn with(binary: &'static str, destination: &str, tables: &str, mapping: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Connection::open(folder.path().join("erp.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.execute_batch(tables).unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\n\
             mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\n{destination}\n\
             retry_first_ms = 50\nretry_max_seconds = 1\n"
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        let site = Self { binary, folder, db };
        site.map(mapping);
        site
    }

    /// Writes a mapping and prepares the source for it.
    pub fn map(&self, mapping: &str) {
        std::fs::write(self.path().join("mapping.yaml"), mapping).unwrap();
        let (code, shown) = self.command(&["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements in the database.
    pub fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    /// Starts the agent.
    pub fn agent(&self) -> Agent {
        Agent::start(self.binary, self.path())
    }

    /// Starts the agent with more in its environment.
    pub fn agent_with(&self, environment: &[(&str, String)]) -> Agent {
        Agent::start_with(self.binary, self.path(), environment)
    }

    /// Runs a command to its end with more in its environment.
    pub fn command_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, String)],
    ) -> (Option<i32>, String) {
        command_with(self.binary, self.path(), arguments, environment)
    }

    /// Runs a command to its end: its exit code and what it printed.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        command(self.binary, self.path(), arguments)
    }

    /// What `status` says, with its exit code.
    pub fn status(&self) -> (Option<i32>, Value) {
        let (code, shown) = self.command(&["status", "--json"]);
        (code, serde_json::from_str(&shown).unwrap())
    }
}
