//! A private PostgreSQL server beside the agent.

use std::time::{Duration, Instant};

use harness::postgres::{PostgresOptions, PostgresServer};
use tokio_postgres::Client;

use crate::place::{DEADLINE, Place};

pub struct Postgres {
    pub server: PostgresServer,
    db: Client,
    pub place: Place,
}

impl Postgres {
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
        let source = format!(
            "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"erp\"\nuser = \"postgres\"\n",
            server.port()
        );
        let place = Place::new(&source, mapping);
        Self { server, db, place }
    }

    /// The agent as it is before its first start.
    pub async fn anew(&self) {
        self.drop_slot("lighterman_erp").await;
        self.place.anew();
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
}
