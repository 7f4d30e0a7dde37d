//! Random histories: whatever is done to tables, and wherever the stream is left and taken up again,
//! what it told is what the tables are, or it named the table to be read again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use contract::{ChangeStream, Op, Position, RowChange, Source, SourceError};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;
use tokio::time::Instant;

use crate::common::World;
use crate::common::told::{next, resumed};

/// How long histories are made; each begins with another seed.
const TIME: Duration = Duration::from_secs(20);
/// And no fewer than so many, however slow the machine is.
const HISTORIES_MIN: u64 = 4;
const TABLES: [&str; 5] = ["a", "b", "plain", "child", "last"];
const SETUP: &str = "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(600)) ENGINE=InnoDB;
    CREATE TABLE b (id INT, v VARCHAR(600), PRIMARY KEY (id)) ENGINE=InnoDB;
    CREATE TABLE plain (id INT PRIMARY KEY, v VARCHAR(600)) ENGINE=MyISAM;
    CREATE TABLE child (id INT PRIMARY KEY, v VARCHAR(600), a INT,
        FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE) ENGINE=InnoDB;
    CREATE TABLE last (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
    CREATE TABLE ignored (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT) ENGINE=InnoDB";

/// The same numbers for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A statement that writes rows.
    fn dml(&mut self) -> String {
        let table = ["a", "b", "plain"][usize::try_from(self.below(3)).unwrap()];
        let (id, more) = (self.below(60), self.below(20));
        let v = self.below(1_000_000);
        match self.below(8) {
            0 => format!(
                "DELETE FROM {table} WHERE id BETWEEN {id} AND {}",
                id + more / 4
            ),
            1 => format!("UPDATE {table} SET v = concat(left(v, 9), '-{v}') WHERE id < {id}"),
            2 => format!("UPDATE IGNORE {table} SET id = id + {more} WHERE id = {id}"),
            3 => format!(
                "REPLACE INTO {table} (id, v) SELECT seq, repeat('{v}', 60)
                   FROM seq_{id}_to_{}",
                id + more
            ),
            4 => format!("INSERT INTO ignored (v) VALUES (repeat('{v}', 500))"),
            5 => format!("INSERT IGNORE INTO child VALUES ({id}, '{v}', {more})"),
            _ => format!(
                "INSERT INTO {table} (id, v) VALUES ({id}, '{v}') ON DUPLICATE KEY UPDATE v = '{v}+'"
            ),
        }
    }

    fn transaction(&mut self, number: u64) -> String {
        if self.one_in(25) {
            let ddl = [
                "TRUNCATE TABLE b",
                "ALTER TABLE a ADD COLUMN IF NOT EXISTS more INT DEFAULT 5 FIRST",
                "ALTER TABLE a DROP COLUMN IF EXISTS more",
                "ALTER TABLE b MODIFY v TEXT",
                "ALTER TABLE plain ADD INDEX IF NOT EXISTS i (v)",
                "CREATE OR REPLACE TABLE b_new LIKE b; RENAME TABLE b TO b_old, b_new TO b;
                 DROP TABLE b_old",
                "FLUSH BINARY LOGS",
            ];
            return ddl[usize::try_from(self.below(7)).unwrap()].to_owned();
        }
        let mut sql = String::new();
        let xa = self.one_in(20);
        let _ = if xa {
            write!(sql, "XA START 'x{number}'")
        } else {
            write!(sql, "BEGIN")
        };
        let mut savepoints = 0;
        for _ in 0..=self.below(9) {
            let _ = match self.below(6) {
                0 if !xa => {
                    savepoints += 1;
                    write!(sql, "; SAVEPOINT s{savepoints}")
                }
                1 | 2 if savepoints > 0 => {
                    savepoints = 1 + self.below(savepoints);
                    write!(sql, "; ROLLBACK TO s{savepoints}")
                }
                _ => write!(sql, "; {}", self.dml()),
            };
        }
        let _ = match (xa, self.one_in(6)) {
            (true, true) => write!(
                sql,
                "; XA END 'x{number}'; XA PREPARE 'x{number}'; XA ROLLBACK 'x{number}'"
            ),
            (true, false) => write!(
                sql,
                "; XA END 'x{number}'; XA PREPARE 'x{number}'; XA COMMIT 'x{number}'"
            ),
            (false, true) => write!(sql, "; ROLLBACK"),
            (false, false) => write!(sql, "; COMMIT"),
        };
        sql
    }
}

type Rows = BTreeMap<String, BTreeMap<String, String>>;

fn apply(rows: &mut Rows, change: &RowChange) {
    let table = rows.entry(change.table().name.clone()).or_default();
    let cell = |row: &Option<Vec<contract::Value>>, name: &str| {
        let at = change.shape.column(name)?;
        row.as_ref()?[at].text()
    };
    if change.op == Op::Truncate {
        table.clear();
    }
    if let Some(id) = cell(&change.before, "id") {
        assert!(table.remove(&id).is_some(), "{change:?}: no such row");
    }
    if let Some(id) = cell(&change.after, "id") {
        let v = cell(&change.after, "v").unwrap_or_default();
        assert!(table.insert(id, v).is_none(), "{change:?}: there is one");
    }
}

async fn really(world: &World, table: &str) -> BTreeMap<String, String> {
    let mut conn = world.server.connect(Some(&world.name)).await;
    let all: Vec<(String, Option<String>)> = conn
        .query(format!(
            "SELECT CAST(id AS CHAR), CAST(v AS CHAR) FROM {table}"
        ))
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
    let all = all.into_iter().map(|(id, v)| (id, v.unwrap_or_default()));
    all.collect()
}

struct Reading<'a> {
    source: &'a dyn Source,
    stream: Option<Box<dyn ChangeStream>>,
    end: Position,
    server: Option<String>,
    rows: Rows,
    /// To be read again.
    again: BTreeSet<String>,
    left: u32,
}

impl Reading<'_> {
    /// Takes the stream up to the last row of a history, leaving it wherever chance will.
    async fn reach(&mut self, chance: &mut Chance, last: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self
            .rows
            .get("last")
            .is_none_or(|rows| !rows.contains_key(last))
        {
            assert!(Instant::now() < deadline, "{last} does not come");
            let Some(stream) = &mut self.stream else {
                let from = resumed(&self.end, self.server.clone());
                self.stream = Some(self.source.resume(&from).await.unwrap());
                continue;
            };
            let batch = match next(&mut **stream).await {
                Ok(batch) => batch,
                Err(SourceError::Disconnected(_)) => {
                    self.stream = None;
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            };
            let again = stream.untold().iter().map(|one| one.table.name.clone());
            // Its rows are only ever added: they are told whatever else is unclear.
            self.again.extend(again.filter(|name| name != "last"));
            let take = if chance.one_in(3) && !batch.changes.is_empty() {
                1 + usize::try_from(chance.below(batch.changes.len() as u64)).unwrap()
            } else {
                batch.changes.len()
            };
            for change in &batch.changes[..take] {
                assert!(change.position > self.end, "told before");
                self.end = change.position.clone();
                if !self.again.contains(&change.table().name) {
                    apply(&mut self.rows, change);
                }
            }
            if take == batch.changes.len() {
                self.end = batch.end;
            }
            if take < batch.changes.len() || chance.one_in(10) {
                self.stream = None;
                self.left += 1;
            }
        }
    }
}

#[tokio::test]
async fn what_is_told_is_what_the_tables_are() {
    let options = MariadbOptions::default();
    let mut world = World::with(options, SETUP, &TABLES).await;
    for captured in &mut world.tables {
        captured.columns = vec!["id".to_owned(), "v".to_owned()];
    }
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let mut reading = Reading {
        source: &*source,
        end: next(&mut *stream).await.unwrap().end,
        server: stream.server(),
        stream: Some(stream),
        rows: Rows::new(),
        again: BTreeSet::new(),
        left: 0,
    };
    let first: u64 = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let started = Instant::now();
    let (mut seed, mut exact, mut read) = (first, 0, 0);
    while started.elapsed() < TIME || seed < first + HISTORIES_MIN {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let mut conn = world.server.connect(Some(&world.name)).await;
        conn.query_drop("SET sql_mode = ''").await.unwrap();
        for number in 0..12 {
            let sql = chance.transaction(number);
            conn.query_drop(&sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let sql = format!("INSERT INTO last VALUES ({seed}, 0)");
        conn.query_drop(sql).await.unwrap();
        conn.disconnect().await.unwrap();
        let last = seed.to_string();
        reading.reach(&mut chance, &last).await;
        let again = std::mem::take(&mut reading.again);
        for table in TABLES {
            let really = really(&world, table).await;
            if again.contains(table) {
                read += 1;
                reading.rows.insert(table.to_owned(), really);
            } else {
                exact += 1;
                let told = reading.rows.entry(table.to_owned()).or_default();
                assert!(
                    *told == really,
                    "seed {seed}, table {table}: {told:#?} is {really:#?}"
                );
            }
        }
        seed += 1;
    }
    println!(
        "{} histories, {exact} tables exact, {read} read again, left {} times",
        seed - first,
        reading.left
    );
    assert!(exact > read, "{exact} exact, {read} read again");
    assert!(reading.left > 3);
}
