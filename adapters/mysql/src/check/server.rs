//! The server's settings, our rights on it, and its log.

use contract::SourceError;
use contract::look::bytes;

use super::Looking;
use crate::connect::{Connection, Flavour};
use crate::grants::{self, Grants};
use crate::look;
use crate::prepare::{TELLING, set};
use crate::server::{Log, Server};
use crate::trial;

/// The oldest versions whose log can tell its columns' names.
const MARIADB_MIN: (u32, u32) = (10, 5);
const MYSQL_MIN: (u32, u32) = (8, 0);
/// A log that is dropped sooner is lost over a long weekend.
const EXPIRE_MIN_SECONDS: u64 = 4 * 86_400;
/// A clock that is off by more makes lags meaningless.
const CLOCK_MAX_SECONDS: u64 = 30;

impl Looking<'_> {
    /// What the server is; `None` when it cannot be captured at all.
    pub(super) async fn server(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Option<Server>, SourceError> {
        let server = Server::read(connection).await?;
        let (flavour, version) = (server.flavour, &server.version);
        let least = match flavour {
            Flavour::MariaDb => MARIADB_MIN,
            Flavour::MySql => MYSQL_MIN,
        };
        let found = format!("is {} {version}", flavour.name());
        if server.numbers() < least {
            let (major, minor) = least;
            let fix = format!("use {} {major}.{minor} or newer", flavour.name());
            self.fail("version", found, fix);
            return Ok(None);
        }
        self.pass("version", found);
        self.pass("identity", format!("is {}", server.identity()));
        if server.is_on("wsrep_on") {
            self.warn(
                "cluster",
                "is a member of a Galera cluster: each member writes a log of its own, and a position \
                 in one means nothing in another unless wsrep_gtid_mode and log_slave_updates are on",
                "always connect to the same member",
            );
        }
        self.telling(&server);
        let zone = match (server.get("time_zone"), server.get("system_time_zone")) {
            (Some("SYSTEM"), Some(system)) => system.to_owned(),
            (Some(zone), _) => zone.to_owned(),
            (None, _) => "unknown".to_owned(),
        };
        self.pass("timezone", format!("is {zone}; our connections use UTC"));
        if let Some(charset) = server.get("character_set_server") {
            let found = format!("is {charset}; texts come by each column's own");
            self.pass("character set", found);
        }
        self.clock(connection).await?;
        Ok(Some(server))
    }

    /// What the log is set to tell.
    fn telling(&mut self, server: &Server) {
        if !server.is_on("log_bin") {
            self.fail(
                "log_bin",
                "is off: the server writes no log",
                "log_bin = binlog and server_id = 1 (or another number that no other server of yours \
                 has) in the server's configuration, then restart it; undo: take the lines out, and \
                 restart it",
            );
            return;
        }
        self.pass("log_bin", "is on");
        for (name, wanted) in TELLING {
            let Some(now) = server.get(name) else {
                continue;
            };
            if now.eq_ignore_ascii_case(wanted) {
                self.pass(name, format!("is {wanted}"));
                continue;
            }
            let (sql, undo) = set(server, name, wanted, now);
            let more = sql.iter().map(|sql| sql.trim_start_matches("-- "));
            let fix = format!(
                "{} (it holds for new sessions: restart the application too); undo: {undo}",
                more.collect::<Vec<_>>().join(", ")
            );
            match *name {
                "binlog_format" => {
                    let found = format!("is {now}: the log tells statements, not rows");
                    self.fail(name, found, fix);
                }
                "binlog_row_image" => {
                    let found = format!("is {now}: the log leaves columns out");
                    self.fail(name, found, fix);
                }
                _ => {
                    let found = format!(
                        "is {now}: the log does not name its columns, so that they are taken from \
                         the catalogue; a table that was changed while the agent was away is read \
                         again"
                    );
                    self.warn(name, found, fix);
                }
            }
        }
        if server
            .get("binlog_row_value_options")
            .is_some_and(|value| !value.is_empty())
        {
            self.fail(
                "binlog_row_value_options",
                "is PARTIAL_JSON: the log tells what changed in a JSON document, and the stream ends \
                 at the first one",
                "SET PERSIST binlog_row_value_options = '' (it holds for new sessions: restart the \
                 application too); undo: SET PERSIST binlog_row_value_options = 'PARTIAL_JSON'",
            );
        }
        if server.get("sync_binlog").is_some_and(|value| value != "1") {
            let value = server.get("sync_binlog").unwrap_or_default().to_owned();
            self.warn(
                "sync_binlog",
                format!(
                    "is {value}: when the machine loses its power, the end of the log may be lost \
                     after we have read it, and other changes get its numbers"
                ),
                format!(
                    "SET GLOBAL sync_binlog = 1, and in the server's configuration (each commit then \
                     waits for the disk); undo: SET GLOBAL sync_binlog = {value}"
                ),
            );
        }
        self.copies(server);
        self.seeing(server);
        for (name, what) in [
            (
                "encrypt_binlog",
                "the server sends it in clear to its readers",
            ),
            ("log_bin_compress", "rows are unpacked here"),
        ] {
            if server.is_on(name) {
                self.pass(name, format!("is on: {what}"));
            }
        }
        let packed = "binlog_transaction_compression";
        if server.is_on(packed) {
            self.warn(
                packed,
                "is on: each transaction is unpacked whole in the agent's memory before its rows are \
                 told, so a very large one needs as much memory as it has bytes",
                format!(
                    "nothing, where transactions are small; else SET PERSIST {packed} = OFF (it holds \
                     for new sessions); undo: SET PERSIST {packed} = ON"
                ),
            );
        }
    }

    /// When a commit that is in the log is visible.
    fn seeing(&mut self, server: &Server) {
        let name = "binlog_optimize_thread_scheduling";
        if server.get(name).is_some() && !server.is_on(name) {
            self.warn(
                name,
                "is OFF: engines commit in another order than the log's, and what is read counts as \
                 newer than the log only after 5 s: questions of a mapping (read) wait for so long",
                format!(
                    "{name} = ON (the default) in the server's configuration, then restart it; undo: \
                     {name} = OFF, and a restart"
                ),
            );
        }
        let semi_sync = [
            "rpl_semi_sync_master_enabled",
            "rpl_semi_sync_source_enabled",
        ]
        .into_iter()
        .find(|name| server.is_on(name));
        let without_gtids = server.get("gtid_mode").is_some_and(|mode| mode != "ON");
        if let Some(name) = semi_sync {
            if without_gtids {
                self.warn(
                    name,
                    "is ON without GTIDs: a commit may be in the log and wait for a replica, which the \
                     server does not tell; what is read counts as newer than the log only after the \
                     time limit for replicas and 5 s",
                    "turn on gtid_mode",
                );
            } else {
                self.pass(
                    name,
                    "is ON: reading waits for commits that wait for a replica",
                );
            }
        }
    }

    /// What a position means when another server takes this one's place.
    fn copies(&mut self, server: &Server) {
        if let Some(mode) = server.get("gtid_mode")
            && mode != "ON"
        {
            self.warn(
                "gtid_mode",
                format!(
                    "is {mode}: a position is a file and a place in it, which mean nothing at a server \
                     that takes this one's place; and what is read counts as newer than the log only \
                     after 5 s, so that questions of a mapping (read) wait for so long"
                ),
                "turn it on in the steps of \
                 https://dev.mysql.com/doc/refman/8.4/en/replication-mode-change-online-enable-gtids.html",
            );
        }
        let name = ["log_slave_updates", "log_replica_updates"]
            .into_iter()
            .find(|name| server.get(name).is_some());
        if let Some(name) = name
            && server.is_on("read_only")
            && !server.is_on(name)
        {
            self.warn(
                name,
                "is OFF, and the server is read_only: where it is a replica, what it gets from its \
                 primary is not in its own log",
                format!(
                    "connect to the primary, or {name} = ON in the server's configuration, then \
                     restart it; undo: {name} = OFF, and a restart"
                ),
            );
        }
    }

    /// The rights on the server; gives the log where it may be seen.
    pub(super) async fn rights(
        &mut self,
        connection: &mut Connection,
        server: &Server,
    ) -> Result<Option<Log>, SourceError> {
        let grants = Grants::read(connection, None).await?;
        let user = self.account.clone();
        let mut missing = 0;
        for right in grants::on_server(server) {
            if grants.on_server(right) {
                self.pass("user", format!("{user} has {right}"));
                continue;
            }
            missing += 1;
            self.fail(
                "user",
                format!("{user} does not have {right}"),
                format!("GRANT {right} ON *.* TO {user}; undo: REVOKE {right} ON *.* FROM {user}"),
            );
        }
        if missing > 0 || !server.is_on("log_bin") {
            return Ok(None);
        }
        let Some(log) = Log::read(connection).await? else {
            return Ok(None);
        };
        match trial::try_log(self.settings, &log).await {
            Ok(()) => self.pass("replication", "the server gives us its log"),
            Err(error) => {
                let fix = error.hint().unwrap_or(
                    "see that nothing stands between us and the server, and that it has room for one \
                     more connection (max_connections)",
                );
                self.fail("replication", error.to_string(), fix);
            }
        }
        Ok(Some(log))
    }

    /// How long the server keeps its log, how much it is and the room it has.
    pub(super) fn log(&mut self, server: &Server, log: &Log) {
        let all = bytes(log.bytes());
        let files = log.files.len();
        let oldest = log.files.first().map_or("none", |file| &file.name);
        let found = format!("{files} files with {all}, the oldest {oldest}");
        self.pass("log", format!("has {found}"));
        if log.gtids.is_empty() {
            self.pass("gtid", "there are none in the log yet");
        } else {
            self.pass("gtid", format!("the log is at {}", log.gtids));
        }
        match server.expire_seconds() {
            None => self.pass(
                "log expiry",
                "the server drops no log by itself: its disk fills unless somebody purges it",
            ),
            Some(seconds) if seconds < EXPIRE_MIN_SECONDS => self.warn(
                "log expiry",
                format!(
                    "the server drops its log after {} h: when the agent is away for longer, it reads \
                     everything again",
                    seconds / 3_600
                ),
                format!(
                    "{}, and in the server's configuration",
                    look::expire_sql(server, 14)
                ),
            ),
            Some(seconds) => self.pass(
                "log expiry",
                format!("the server keeps its log for {} days", seconds / 86_400),
            ),
        }
        if let Some(most) = server.log_bytes_max() {
            self.warn(
                "max_binlog_total_size",
                format!("the server keeps at most {} of log, however new it is", bytes(most)),
                format!(
                    "SET GLOBAL max_binlog_total_size = 0, and in the server's configuration; undo: \
                     SET GLOBAL max_binlog_total_size = {most}"
                ),
            );
        }
        match server.room_bytes(self.settings) {
            Some(room) => self.pass("disk", format!("the log's disk has {} free", bytes(room))),
            None => self.pass(
                "disk",
                "the free room on the log's disk is unknown from here: the server does not tell it",
            ),
        }
    }

    /// Who else reads the log, where we may see it: a server id must be nobody else's.
    pub(super) async fn readers(&mut self, connection: &mut Connection) -> Result<(), SourceError> {
        let ours = self.settings.server_id;
        let own: u32 = connection
            .one("read the server's id", "SELECT @@GLOBAL.server_id")
            .await?;
        if own == ours {
            self.fail(
                "server_id",
                format!("{ours} is the server's own: it takes us for itself"),
                "set server_id in the settings to a number that nobody has",
            );
            return Ok(());
        }
        let old = "SHOW SLAVE HOSTS";
        let new = match connection.flavour {
            Flavour::MariaDb => old,
            Flavour::MySql => "SHOW REPLICAS",
        };
        let rows: Vec<mysql_async::Row> = match connection
            .rows_of_either("read who reads the log", new, old)
            .await
        {
            Ok(rows) => rows,
            // MariaDB asks for a right of administrators, which is not worth giving away.
            Err(SourceError::Denied { .. }) => {
                let found = format!("ours is {ours}; who else reads the log is not for us to see");
                self.pass("server_id", found);
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let text = |row: &mysql_async::Row, n: usize| {
            let text = row.get_opt::<String, _>(n).and_then(Result::ok);
            text.unwrap_or_default()
        };
        match rows.iter().find(|row| text(row, 0) == ours.to_string()) {
            Some(row) => {
                let host = text(row, 1);
                let found = format!(
                    "a reader of the log has ours, {ours}{}: the agent itself, if it runs now; if it \
                     does not, each of the two ends the other's connection",
                    if host.is_empty() {
                        host
                    } else {
                        format!(" (host {host})")
                    }
                );
                self.pass("server_id", found);
            }
            None => self.pass("server_id", format!("ours is {ours}; nobody else has it")),
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how far the two clocks are apart is the question itself"
    )]
    async fn clock(&mut self, connection: &mut Connection) -> Result<(), SourceError> {
        let theirs: i64 = connection
            .one("read the server's clock", "SELECT UNIX_TIMESTAMP()")
            .await?;
        let apart = theirs.abs_diff(jiff::Timestamp::now().as_second());
        if apart > CLOCK_MAX_SECONDS {
            self.warn(
                "clock",
                format!("is {apart} s off this machine's: lags are wrong by as much"),
                "set both clocks by the same time servers",
            );
        } else {
            self.pass("clock", "agrees with this machine's");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::Level;

    use super::*;
    use crate::settings::of_tests;

    /// MariaDB has no such variable.
    #[test]
    fn parts_of_documents_are_said_before_the_stream_meets_one() {
        let settings = of_tests(1);
        for (value, fails) in [("PARTIAL_JSON", true), ("", false)] {
            let mut looking = Looking {
                source: "erp",
                settings: &settings,
                account: String::new(),
                findings: Vec::new(),
            };
            let variables = [("log_bin", "ON"), ("binlog_row_value_options", value)];
            looking.telling(&Server::of_tests(&variables));
            let failed = |finding: &&contract::Finding| finding.level == Level::Fail;
            let found = looking.findings.iter().find(failed);
            assert_eq!(found.is_some(), fails, "{found:?}");
            let sql = "SET PERSIST binlog_row_value_options = ''";
            assert!(found.is_none_or(|found| found.to_string().contains(sql)));
        }
    }
}
