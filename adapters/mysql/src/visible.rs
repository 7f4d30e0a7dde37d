//! Up to where in the log a transaction that reads surely sees the changes.
//!
//! A commit stands in the log before other sessions see it, for as long as the engines take; with a
//! replica that must confirm it first, for seconds. So the log's end says nothing of what a snapshot
//! sees, but for two cases:
//!
//! - MariaDB takes a consistent snapshot while no commit is between the log and the engine, and tells
//!   the place in the log that it belongs to, exactly
//!   (<https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent-snapshot/>).
//! - MySQL with GTIDs lists those that are on their way as owned, until the engine has them
//!   (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html#sysvar_gtid_owned>):
//!   once none of those is left that were owned when the end of the log was read, everything up to
//!   that end is visible.
//!
//! A table whose engine knows no transactions is written before its change is in the log, and locked
//! until it is there: who reads it after the log sees all of the log.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{Position, SourceError};

use crate::connect::{Connection, Flavour};
use crate::place::{Place, file_number};

/// Reads one moment of the database, and writes nothing.
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Between two looks whether commits have ended, and how many there are.
const POLL: Duration = Duration::from_millis(20);
const LOOKS_MAX: usize = 100;

/// A border in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Border {
    /// The number of the file.
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

impl Border {
    /// Before everything in the log.
    pub(crate) const START: Self = Self { file: 0, offset: 0 };

    fn of(name: &str, offset: u64, doing: &str) -> Result<Self, SourceError> {
        let file = file_number(name).map(|(_, number)| number);
        let file = file.ok_or_else(|| {
            SourceError::Malformed(format!(
                "{doing}: the server's log file is called {name:?}, which does not end in a number"
            ))
        })?;
        Ok(Self { file, offset })
    }

    /// As a position. It needs no GTID: it is compared by its place and never resumed from.
    pub(crate) fn at(self, epoch: u32, life: u32) -> Position {
        Place {
            life,
            file: self.file,
            offset: self.offset,
            gtid: None,
            before: None,
            born: None,
            last: None,
        }
        .at(epoch, 0)
    }
}

/// What a transaction that has begun sees of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Everything up to here.
    pub(crate) up_to: Border,
    /// Without a doubt: not so at MySQL without GTIDs, where a commit may be on its way still.
    pub(crate) sure: bool,
    /// And nothing behind it, in tables whose engine keeps to the snapshot.
    pub(crate) exact: bool,
}

/// Begins a transaction that sees one moment of the database.
pub(crate) async fn begin(
    connection: &mut Connection,
    doing: &str,
) -> Result<Visible, SourceError> {
    match connection.flavour {
        Flavour::MariaDb => {
            connection.run(doing, BEGIN).await?;
            Ok(Visible {
                up_to: of_snapshot(connection, doing).await?,
                sure: true,
                exact: true,
            })
        }
        Flavour::MySql => {
            let up_to = end(connection, doing).await?;
            let sure = commits_have_ended(connection, doing).await?;
            connection.run(doing, BEGIN).await?;
            Ok(Visible {
                up_to,
                sure,
                exact: false,
            })
        }
    }
}

/// Whether all that stood in the log at `end` is visible by now. `None` = it cannot be told.
pub(crate) async fn is_visible(
    connection: &mut Connection,
    end: Border,
    doing: &str,
) -> Result<Option<bool>, SourceError> {
    if connection.flavour == Flavour::MySql {
        let ended = commits_have_ended(connection, doing).await?;
        return Ok(ended.then_some(true));
    }
    connection.run(doing, BEGIN).await?;
    let now = of_snapshot(connection, doing).await?;
    connection.run(doing, "COMMIT").await?;
    Ok(Some(now >= end))
}

/// Where MariaDB's consistent snapshot is in the log.
async fn of_snapshot(connection: &mut Connection, doing: &str) -> Result<Border, SourceError> {
    let sql = "SHOW STATUS WHERE Variable_name IN ('binlog_snapshot_file', \
               'binlog_snapshot_position')";
    let rows: Vec<(String, String)> = connection.rows(doing, sql).await?;
    let get = |name: &str| {
        let found = rows
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let file = get("binlog_snapshot_file");
    if file.is_empty() {
        return Err(no_log(doing));
    }
    let offset = get("binlog_snapshot_position").parse().map_err(|_| {
        SourceError::Malformed(format!("{doing}: the server gives no place in its log"))
    })?;
    Border::of(file, offset, doing)
}

/// The end of the log: at or after every change that anyone has seen.
pub(crate) async fn end(connection: &mut Connection, doing: &str) -> Result<Border, SourceError> {
    let old = "SHOW MASTER STATUS";
    let new = match connection.flavour {
        Flavour::MariaDb => old,
        Flavour::MySql => "SHOW BINARY LOG STATUS",
    };
    let rows: Vec<mysql_async::Row> = connection.rows_of_either(doing, new, old).await?;
    let row = rows.first().ok_or_else(|| no_log(doing))?;
    let file = row.get_opt::<String, _>("File").and_then(Result::ok);
    let offset = row.get_opt::<u64, _>("Position").and_then(Result::ok);
    let Some((file, offset)) = file.zip(offset) else {
        let what = format!("{doing}: the server gives no place in its log");
        return Err(SourceError::Malformed(what));
    };
    Border::of(&file, offset, doing)
}

fn no_log(doing: &str) -> SourceError {
    SourceError::Denied {
        what: format!("{doing}: the server writes no binary log"),
        hint: "lighterman check".to_owned(),
    }
}

/// Waits until no commit is on its way that was when this was called. Whether that can be told.
async fn commits_have_ended(connection: &mut Connection, doing: &str) -> Result<bool, SourceError> {
    let mode: String = connection.one(doing, "SELECT @@GLOBAL.gtid_mode").await?;
    if !mode.eq_ignore_ascii_case("ON") {
        return Ok(false);
    }
    let mut waited: Option<BTreeSet<String>> = None;
    for _ in 0..LOOKS_MAX {
        let now: Option<String> = connection.one(doing, "SELECT @@GLOBAL.gtid_owned").await?;
        let now = owned(&now.unwrap_or_default());
        let left = match waited {
            None => now,
            Some(before) => before.intersection(&now).cloned().collect(),
        };
        if left.is_empty() {
            return Ok(true);
        }
        waited = Some(left);
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

/// `uuid:number#thread:number#thread,uuid:..`, with the thread or without, as single transactions.
fn owned(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for of_server in text.split(',') {
        let mut parts = of_server.trim().split(':');
        let mut server = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let number = part.split('#').next().unwrap_or_default();
            if number.bytes().all(|byte| byte.is_ascii_digit()) {
                all.insert(format!("{server}:{number}"));
            } else {
                // A tag, or a range: as it is.
                server = format!("{server}:{number}");
                all.insert(server.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_transactions_are_told_apart() {
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(owned(""), BTreeSet::new());
        assert_eq!(owned("a-1:5#12"), set(&["a-1:5"]));
        assert_eq!(
            owned("a-1:5#12:6#13,\nb:7"),
            set(&["a-1:5", "a-1:6", "b:7"])
        );
    }

    #[test]
    fn borders_sort_before_what_comes_after_them() {
        let border = Border {
            file: 3,
            offset: 500,
        };
        let change = |offset| Place {
            life: 2,
            file: 3,
            offset,
            gtid: Some(crate::gtid::Gtid::Maria {
                domain: 0,
                server: 1,
                sequence: 9,
            }),
            before: crate::gtid::GtidSet::parse_maria("0-1-8"),
            born: None,
            last: None,
        };
        let mark = border.at(1, 2);
        // The transaction that ends there, whose changes stand where its first event ends.
        assert!(change(442).at(1, 7) < mark);
        assert!(change(542).at(1, 1) > mark);
        // The stream's own border there has an id.
        assert!(change(500).at(1, 0) >= mark);
        assert!(Border::START.at(1, 2) < mark);
        assert!(mark < border.at(1, 3));
    }

    #[tokio::test]
    async fn a_snapshot_is_where_the_log_says() {
        let server =
            harness::mariadb::MariadbServer::start(harness::mariadb::MariadbOptions::default());
        server
            .run("CREATE DATABASE erp; CREATE TABLE erp.t (a int) ENGINE = InnoDB")
            .await;
        let settings = crate::settings::of_tests(server.port());
        let mut connection = crate::connect::connect(&settings, crate::connect::Rights::Read)
            .await
            .unwrap();
        let first = begin(&mut connection, "look").await.unwrap();
        let now = end(&mut connection, "look").await.unwrap();
        assert_eq!((first.up_to, first.sure, first.exact), (now, true, true));
        server.run("INSERT INTO erp.t VALUES (1)").await;
        // What came since is in the log and not in the snapshot.
        let (rows,): (u64,) = connection
            .one("look", "SELECT COUNT(*) FROM erp.t")
            .await
            .unwrap();
        assert_eq!(rows, 0);
        assert_eq!(
            of_snapshot(&mut connection, "look").await.unwrap(),
            first.up_to
        );
        let later = end(&mut connection, "look").await.unwrap();
        assert!(later.offset > now.offset);
        connection.run("look", "COMMIT").await.unwrap();
        server.run("FLUSH BINARY LOGS").await;
        let next = begin(&mut connection, "look").await.unwrap();
        assert_eq!(next.up_to.file, now.file + 1);
    }
}
