//! What the command line asks for.

use std::path::{Path, PathBuf};

pub const HELP: &str = "\
The whole agent as a process, beside what limits it. Prints ratios: the machine's own speed means nothing.

cargo bench-agent [CASE ...] [--rows N] [--rounds N] [--agent PATH]

Counted at an HTTP receiver, beside the server's own reader in the same run:
  drain           a backlog of single-row updates on PostgreSQL, beside pg_recvlogical
  snapshot        the first reading of a table on PostgreSQL, beside COPY to stdout
  drain_mariadb, snapshot_mariadb
                  the same on MariaDB, beside mariadb-binlog as text and a SELECT of all rows
  linear          a drain on PostgreSQL, and one of ten times its rows: time and memory
  latency         500 transactions a second on PostgreSQL: from commit to received
  idle            memory and processor time of an agent with nothing to do

Others (docs/performance.md says what they count):
  transaction     one transaction of many rows: memory
  impact          what the agent takes from pgbench
  impact_mariadb  the same on MariaDB
  recount         a recount while the API takes few requests
  floor           what SQLite alone takes to write down the least of each change of a drain

Without a case: all of them.

  --rows N        rows of drain and snapshot (500000)
  --rounds N      how often each is repeated; also of latency (3)
  --agent PATH    the agent to measure. Without it the one that cargo built for tests: optimised like a
                  release, but with the points at which tests have it fail.
  --help          this
";

pub const CASES: [&str; 12] = [
    "drain",
    "snapshot",
    "drain_mariadb",
    "snapshot_mariadb",
    "linear",
    "latency",
    "idle",
    "floor",
    "transaction",
    "impact",
    "impact_mariadb",
    "recount",
];

pub struct Options {
    pub cases: Vec<String>,
    pub rows: u64,
    pub rounds: u64,
    pub agent: Option<PathBuf>,
}

impl Options {
    /// # Errors
    /// What is wrong with the words.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            cases: Vec::new(),
            rows: 500_000,
            rounds: 3,
            agent: None,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let given = words.next();
                given.ok_or_else(|| format!("{word} needs a value, see --help"))
            };
            match word.as_str() {
                // Cargo says it to every benchmark.
                "--bench" => {}
                "--rows" => options.rows = number(&word, &value()?)?,
                "--rounds" => options.rounds = number(&word, &value()?)?,
                "--agent" => {
                    let path = value()?;
                    if !Path::new(&path).is_file() {
                        return Err(format!("--agent: there is no file {path}"));
                    }
                    // Cargo starts a benchmark in its package's folder.
                    let whole = std::fs::canonicalize(&path).map_err(|error| error.to_string())?;
                    options.agent = Some(whole);
                }
                case if CASES.contains(&case) => options.cases.push(word),
                _ => return Err(format!("{word} is no case and no flag, see --help")),
            }
        }
        if options.cases.is_empty() {
            options.cases = CASES.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

fn number(flag: &str, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{flag} is a number from 1 on, not {text}"))
}
