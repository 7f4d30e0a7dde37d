//! What a server is, what it is set to, and the state of its log.

use std::collections::BTreeMap;
use std::path::Path;

use contract::SourceError;

use crate::connect::{Connection, Flavour};
use crate::settings::{Settings, is_local};

/// The variables that mean something to us. Each server has only some of them.
const VARIABLES: &[&str] = &[
    "bind_address",
    "binlog_expire_logs_auto_purge",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_optimize_thread_scheduling",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "character_set_server",
    "datadir",
    "encrypt_binlog",
    "expire_logs_days",
    "gtid_domain_id",
    "gtid_mode",
    "gtid_strict_mode",
    "hostname",
    "log_bin",
    "log_bin_basename",
    "log_bin_compress",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "max_binlog_total_size",
    "max_connections",
    "port",
    "read_only",
    "rpl_semi_sync_master_enabled",
    "rpl_semi_sync_source_enabled",
    "server_id",
    "server_uid",
    "server_uuid",
    "sync_binlog",
    "system_time_zone",
    "time_zone",
    "version_comment",
    "wsrep_on",
];

/// A server, as far as our user may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    /// As `VERSION()` has it.
    pub(crate) version: String,
    variables: BTreeMap<String, String>,
}

impl Server {
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, SourceError> {
        let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
        let sql = format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
            names.join(", ")
        );
        let rows: Vec<(String, String)> = connection.rows("read server settings", &sql).await?;
        let rows = rows
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        Ok(Self {
            flavour: connection.flavour,
            version: connection.version.clone(),
            variables: rows.collect(),
        })
    }

    /// A variable's value; `None` = the server has no such variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("ON") || value == "1")
    }

    /// Statements may name a table in any case.
    pub(crate) fn folds_names(&self) -> bool {
        self.get("lower_case_table_names")
            .is_some_and(|value| value != "0")
    }

    /// Its major and minor version.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        let mut parts = self.version.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next()?.parse().ok();
        (next().unwrap_or(0), next().unwrap_or(0))
    }

    /// Who it is, in words that stay the same as long as it is the same server: MySQL gives itself a
    /// number that no other has; MariaDB has one made of machine and port, and before that none.
    pub(crate) fn identity(&self) -> String {
        let get = |name| self.get(name).unwrap_or("?");
        match self.flavour {
            Flavour::MySql => format!("MySQL {}", get("server_uuid")),
            Flavour::MariaDb => match self.get("server_uid") {
                Some(uid) => format!("MariaDB {uid} (server_id {})", get("server_id")),
                None => format!(
                    "MariaDB at {}:{} in {} (server_id {})",
                    get("hostname"),
                    get("port"),
                    get("datadir"),
                    get("server_id")
                ),
            },
        }
    }

    /// After so many seconds the server drops a log file; `None` = never by itself.
    pub(crate) fn expire_seconds(&self) -> Option<u64> {
        if self
            .get("binlog_expire_logs_auto_purge")
            .is_some_and(|value| value.eq_ignore_ascii_case("OFF"))
        {
            return None;
        }
        let whole = |name| -> Option<u64> {
            let seconds = self.get(name)?.parse().ok()?;
            (seconds > 0).then_some(seconds)
        };
        whole("binlog_expire_logs_seconds").or_else(|| {
            // MariaDB shows days with six decimals, and counts each part of one.
            let days = self.get("expire_logs_days")?;
            let (days, part) = days.split_once('.').unwrap_or((days, ""));
            let days: u64 = days.parse().ok()?;
            let part: u64 = format!("{part:0<6.6}").parse().ok()?;
            let seconds = days
                .checked_mul(86_400)?
                .checked_add(part * 86_400 / 1_000_000)?;
            (seconds > 0).then_some(seconds)
        })
    }

    /// The server drops its oldest log beyond this size, whatever its age: MariaDB 11.4 and newer
    /// (<https://mariadb.com/docs/server/ha-and-performance/standard-replication/replication-and-binary-log-system-variables>);
    /// `None` = it does not look at the size.
    pub(crate) fn log_bytes_max(&self) -> Option<u64> {
        let most = self.get("max_binlog_total_size")?.parse().ok()?;
        (most > 0).then_some(most)
    }

    /// The free room on the log's disk. The server has no function that tells it: it is known only
    /// where the server runs on this machine and lets us look at its folder.
    pub(crate) fn room_bytes(&self, settings: &Settings) -> Option<u64> {
        if !is_local(&settings.host) {
            return None;
        }
        let log = self.get("log_bin_basename").map(Path::new);
        let folder = match log.and_then(Path::parent) {
            Some(folder) if folder.is_absolute() => folder,
            _ => Path::new(self.get("datadir")?),
        };
        room_at(folder)
    }
}

#[cfg(unix)]
fn room_at(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn room_at(_folder: &Path) -> Option<u64> {
    None
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// The log as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The file that is written now, and its end.
    pub(crate) file: String,
    pub(crate) end: u64,
    /// What has been written to it ever, in the server's own kind of GTIDs; empty without them.
    pub(crate) gtids: String,
    /// All its files, the oldest first.
    pub(crate) files: Vec<LogFile>,
    /// Schemas it alone has, and schemas it leaves out, where the server is set to that.
    pub(crate) only: Vec<String>,
    pub(crate) without: Vec<String>,
}

impl Log {
    /// Reads the state of the log; `None` when the server writes none.
    pub(crate) async fn read(connection: &mut Connection) -> Result<Option<Self>, SourceError> {
        let doing = "read the state of the log";
        let Some(status) = status(connection, doing).await? else {
            return Ok(None);
        };
        let text = |column: &str| -> String {
            status
                .get_opt::<Option<String>, _>(column)
                .and_then(Result::ok)
                .flatten()
                .unwrap_or_default()
        };
        let end = status.get_opt::<u64, _>("Position").and_then(Result::ok);
        let end = end.ok_or_else(|| {
            SourceError::Malformed(format!("{doing}: the server gives no position"))
        })?;
        let schemas = |list: String| -> Vec<String> {
            let names = list.split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let gtids = match connection.flavour {
            Flavour::MySql => text("Executed_Gtid_Set").replace(['\n', ' '], ""),
            Flavour::MariaDb => connection
                .one::<Option<String>>(doing, "SELECT @@GLOBAL.gtid_binlog_pos")
                .await?
                .unwrap_or_default(),
        };
        Ok(Some(Self {
            file: text("File"),
            end,
            gtids,
            files: files(connection).await?,
            only: schemas(text("Binlog_Do_DB")),
            without: schemas(text("Binlog_Ignore_DB")),
        }))
    }

    /// So many bytes have been written since a place in the log; `None` when its file is gone.
    pub(crate) fn since(&self, file: &str, offset: u64) -> Option<u64> {
        let first = self.files.iter().position(|known| known.name == file)?;
        let all = self.files.iter().skip(first);
        let all = all.fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        Some(all.saturating_sub(offset))
    }

    /// Where a file ends; `None` when it is gone.
    pub(crate) fn end_of(&self, file: &str) -> Option<u64> {
        let known = self.files.iter().find(|known| known.name == file)?;
        let newest = self.file == file;
        Some(known.bytes.max(if newest { self.end } else { 0 }))
    }

    /// All that is kept.
    pub(crate) fn bytes(&self) -> u64 {
        let all = self.files.iter();
        all.fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// `SHOW MASTER STATUS`, which MySQL calls otherwise since 8.2 and knows no more since 8.4.
async fn status(
    connection: &mut Connection,
    doing: &str,
) -> Result<Option<mysql_async::Row>, SourceError> {
    let old = "SHOW MASTER STATUS";
    let new = match connection.flavour {
        Flavour::MariaDb => old,
        Flavour::MySql => "SHOW BINARY LOG STATUS",
    };
    let rows = connection.rows_of_either(doing, new, old).await?;
    Ok(rows.into_iter().next())
}

async fn files(connection: &mut Connection) -> Result<Vec<LogFile>, SourceError> {
    let doing = "read the files of the log";
    let rows: Vec<mysql_async::Row> = connection.rows(doing, "SHOW BINARY LOGS").await?;
    rows.iter()
        .map(|row| {
            // MySQL has a third column.
            let name = row.get_opt::<String, _>(0).and_then(Result::ok);
            let bytes = row.get_opt::<u64, _>(1).and_then(Result::ok);
            let both = name.zip(bytes);
            let file = both.map(|(name, bytes)| LogFile { name, bytes });
            file.ok_or_else(|| {
                SourceError::Malformed(format!(
                    "{doing}: the answer has other columns than expected"
                ))
            })
        })
        .collect()
}

#[cfg(test)]
impl Server {
    /// A MariaDB with these variables.
    pub(crate) fn of_tests(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter();
        Self {
            flavour: Flavour::MariaDb,
            version: "10.11.19-MariaDB".to_owned(),
            variables: variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, variables: &[(&str, &str)]) -> Server {
        Server {
            flavour: Flavour::of(version),
            version: version.to_owned(),
            ..Server::of_tests(variables)
        }
    }

    #[test]
    fn versions_and_expiry_are_read_as_each_server_shows_them() {
        let maria = "10.11.19-MariaDB-0+deb12u1-log";
        assert_eq!(server(maria, &[]).numbers(), (10, 11));
        assert_eq!(server("8.0.36", &[]).numbers(), (8, 0));
        for (variables, seconds) in [
            (&[][..], None),
            (
                &[
                    ("expire_logs_days", "0.000000"),
                    ("binlog_expire_logs_seconds", "0"),
                ],
                None,
            ),
            (
                &[
                    ("expire_logs_days", "10.000000"),
                    ("binlog_expire_logs_seconds", "864000"),
                ],
                Some(864_000),
            ),
            (&[("expire_logs_days", "10")], Some(864_000)),
            (&[("expire_logs_days", "0.500000")], Some(43_200)),
            (
                &[
                    ("binlog_expire_logs_seconds", "2592000"),
                    ("binlog_expire_logs_auto_purge", "OFF"),
                ],
                None,
            ),
        ] {
            assert_eq!(
                server(maria, variables).expire_seconds(),
                seconds,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn what_is_yet_to_be_read_is_counted_over_files() {
        let file = |name: &str, bytes| LogFile {
            name: name.to_owned(),
            bytes,
        };
        let log = Log {
            files: vec![file("b.1", 100), file("b.2", 50), file("b.3", 7)],
            ..Log::default()
        };
        assert_eq!(log.since("b.1", 40), Some(117));
        assert_eq!(log.since("b.3", 7), Some(0));
        assert_eq!(log.since("b.0", 4), None);
        assert_eq!(log.bytes(), 157);
    }
}
