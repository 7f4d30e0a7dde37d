//! Up to where in the log a transaction that reads surely sees the changes.
//!
//! A commit stands in the log before other sessions see it, for as long as the engines take; with a
//! replica that must confirm it first, for seconds. So the log's end says nothing of what a snapshot
//! sees. What does:
//!
//! - MariaDB takes a consistent snapshot while no commit is between the log and the engine, and tells
//!   the place in the log that it belongs to
//!   (<https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent-snapshot/>). Only the
//!   commit of a prepared XA transaction is counted there before the engine has it. Until then the
//!   server lists it as prepared (`XA RECOVER`), like one that nobody commits. And where a replica must
//!   confirm commits, a file that is begun meanwhile puts the place at its head, while those in the
//!   file before are still waiting: there only a place that has moved on within its file is proof.
//! - MySQL with GTIDs lists those that are on their way as owned, until the engine has them
//!   (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html#sysvar_gtid_owned>).
//! - Elsewhere, and for an XA transaction that stays prepared, what the log had some time ago. So it is
//!   with MariaDB's `binlog_optimize_thread_scheduling = OFF`, where engines commit in any order, with
//!   MySQL without GTIDs, and with engines without transactions: an `INSERT` into MyISAM is in the log
//!   before others see its rows.

use std::collections::HashSet;
use std::time::Duration;

use contract::{Position, SourceError};
use tokio::time::Instant;

use crate::connect::{Connection, Flavour};
use crate::place::{Place, file_number};

/// Reads one moment of the database, and writes nothing.
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Between two looks whether commits have ended, and how many there are.
const POLL: Duration = Duration::from_millis(20);
const LOOKS_MAX: usize = 100;
/// An engine has what was in the log for so long, unless a replica must confirm it first.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// And no longer than this is waited for, whatever the time limit for replicas is.
const SETTLED_MAX: Duration = Duration::from_mins(15);
/// So often a snapshot is asked for its place, until so many answers are the same.
const PLACES_MAX: usize = 30;
const PLACES_SAME: usize = 3;

/// A border in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Everything up to here; of tables whose engine has no transactions see [`settled`].
    pub(crate) up_to: Border,
    /// And nothing behind this, in tables whose engine keeps to the snapshot.
    pub(crate) nothing_behind: Option<Border>,
}

/// Begins a transaction that sees one moment of the database.
pub(crate) async fn begin(
    connection: &mut Connection,
    doing: &str,
) -> Result<Visible, SourceError> {
    if connection.flavour == Flavour::MySql {
        let up_to = ended(connection, doing).await?;
        connection.run(doing, BEGIN).await?;
        return Ok(Visible {
            up_to,
            nothing_behind: None,
        });
    }
    // In this order: what the log had before the list was made, and is not in the list, is there.
    let end = end(connection, doing).await?;
    let prepared = prepared(connection, doing).await?;
    let finished = connection.settling.unfinished(end, prepared);
    let in_order = in_order(connection, doing).await?;
    connection.run(doing, BEGIN).await?;
    let place = of_snapshot(connection, doing).await?;
    connection.settling.reach(place, Instant::now());
    let confirmed = confirmed_after(connection, doing).await?;
    let after = SETTLED_AFTER + confirmed.unwrap_or_default();
    let after = after.min(SETTLED_MAX);
    let settled = connection.settling.settled(after, Instant::now());
    Ok(if in_order {
        let moved = connection.settling.moved(place);
        let sure = if confirmed.is_none() { place } else { moved };
        Visible {
            up_to: place.min(finished).min(sure).max(place.min(settled)),
            nothing_behind: Some(place),
        }
    } else {
        Visible {
            up_to: settled,
            nothing_behind: None,
        }
    })
}

/// What the log had so long ago that a table has it, whatever its engine: by what [`begin`] has seen
/// on this connection.
pub(crate) async fn settled(
    connection: &mut Connection,
    doing: &str,
) -> Result<Border, SourceError> {
    let confirmed = confirmed_after(connection, doing).await?;
    let after = SETTLED_AFTER + confirmed.unwrap_or_default();
    let after = after.min(SETTLED_MAX);
    Ok(connection.settling.settled(after, Instant::now()))
}

/// How long a commit may wait for a replica; `None` = none is waited for.
async fn confirmed_after(
    connection: &mut Connection,
    doing: &str,
) -> Result<Option<Duration>, SourceError> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('rpl_semi_sync_master_enabled', \
               'rpl_semi_sync_master_timeout', 'rpl_semi_sync_source_enabled', \
               'rpl_semi_sync_source_timeout')";
    let rows: Vec<(String, String)> = connection.rows(doing, sql).await?;
    let is_on = rows.iter().any(|(_, value)| value == "ON");
    let millis = rows.iter().filter_map(|(_, value)| value.parse().ok());
    let millis = millis.max().unwrap_or(0);
    Ok(is_on.then(|| Duration::from_millis(millis)))
}

/// The XA transactions that are prepared, or are being committed.
async fn prepared(
    connection: &mut Connection,
    doing: &str,
) -> Result<HashSet<String>, SourceError> {
    let rows: Vec<(i64, u64, u64, Vec<u8>)> = connection.rows(doing, "XA RECOVER").await?;
    let names = rows.into_iter();
    let names = names.map(|(format, global, _, name)| format!("{format},{global},{name:02x?}"));
    Ok(names.collect())
}

/// Whether engines commit in the order of the log, each before its place counts.
async fn in_order(connection: &mut Connection, doing: &str) -> Result<bool, SourceError> {
    if let Some(known) = connection.settling.in_order {
        return Ok(known);
    }
    let sql = "SELECT @@GLOBAL.binlog_optimize_thread_scheduling";
    let is: u64 = connection.one(doing, sql).await?;
    connection.settling.in_order = Some(is == 1);
    Ok(is == 1)
}

/// Where MariaDB's consistent snapshot is in the log. What the server shows goes through variables
/// that all its sessions share: between ours and its answer another one may have put its own place,
/// which is a later one but for sessions that have a snapshot, too.
async fn of_snapshot(connection: &mut Connection, doing: &str) -> Result<Border, SourceError> {
    let (mut least, mut same) = (shown(connection, doing).await?, 1);
    for _ in 0..PLACES_MAX {
        if same >= PLACES_SAME {
            return Ok(least);
        }
        let place = shown(connection, doing).await?;
        if place < least {
            (least, same) = (place, 1);
        } else {
            same += usize::from(place == least);
        }
    }
    Err(SourceError::Disconnected(format!(
        "{doing}: the server gives another place in its log each time, because other sessions ask for \
         theirs (SHOW STATUS) too often"
    )))
}

async fn shown(connection: &mut Connection, doing: &str) -> Result<Border, SourceError> {
    // With LIKE the server works out these alone.
    let sql = "SHOW STATUS LIKE 'binlog\\_snapshot\\_%'";
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

/// Up to where MySQL's commits have ended. Those that are on their way are waited for, but not for
/// long.
async fn ended(connection: &mut Connection, doing: &str) -> Result<Border, SourceError> {
    let mode: String = connection.one(doing, "SELECT @@GLOBAL.gtid_mode").await?;
    let (mut wanted, mut looks) = (None, 0);
    loop {
        let end = end(connection, doing).await?;
        connection.settling.reach(end, Instant::now());
        if !mode.eq_ignore_ascii_case("ON") {
            return settled(connection, doing).await;
        }
        let now: Option<String> = connection.one(doing, "SELECT @@GLOBAL.gtid_owned").await?;
        let owned = owned(&now.unwrap_or_default());
        let ended = connection.settling.unfinished(end, owned);
        looks += 1;
        if ended >= *wanted.get_or_insert(end) || looks >= LOOKS_MAX {
            return Ok(ended);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `uuid:number#thread:number#thread,uuid:..`, with the thread or without, as single transactions.
fn owned(text: &str) -> HashSet<String> {
    let mut all = HashSet::new();
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
        assert_eq!(owned(""), HashSet::new());
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
        let whole = Visible {
            up_to: now,
            nothing_behind: Some(now),
        };
        assert_eq!(first, whole);
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

    /// The server keeps what it shows of a snapshot where all its sessions put theirs.
    #[tokio::test]
    async fn what_other_sessions_ask_for_does_not_move_a_snapshot() {
        let server =
            harness::mariadb::MariadbServer::start(harness::mariadb::MariadbOptions::default());
        server
            .run("CREATE DATABASE erp; CREATE TABLE erp.t (a int) ENGINE = InnoDB")
            .await;
        let settings = crate::settings::of_tests(server.port());
        let mut connection = crate::connect::connect(&settings, crate::connect::Rights::Read)
            .await
            .unwrap();
        let first = begin(&mut connection, "look").await.unwrap().up_to;
        let others = (0..3).map(|n| {
            let settings = settings.clone();
            async move {
                let rights = crate::connect::Rights::Write;
                let mut other = crate::connect::connect(&settings, rights).await.unwrap();
                loop {
                    if n == 0 {
                        let sql = "INSERT INTO erp.t VALUES (1)";
                        other.run("write", sql).await.unwrap();
                    }
                    shown(&mut other, "look").await.unwrap();
                }
            }
        });
        let others: Vec<_> = others.map(tokio::spawn).collect();
        let mut wrong = 0;
        for _ in 0..3_000 {
            let place = of_snapshot(&mut connection, "look").await.unwrap();
            wrong += usize::from(place != first);
        }
        for other in others {
            other.abort();
        }
        assert_eq!(wrong, 0);
    }
}
