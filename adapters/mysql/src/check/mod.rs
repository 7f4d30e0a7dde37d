//! What must be right before the database can be captured.

mod server;
mod silent;

use std::time::Duration;

use contract::{CapturedTable, Finding, SourceError};

use crate::catalogue::Table;
use crate::connect::{self, Connection, Rights};
use crate::grants::Account;
use crate::order::Order;
use crate::server::Log;
use crate::settings::{Settings, TlsMode, is_local};

/// All of it, within the 20 seconds a check may take.
const CHECK_MAX: Duration = Duration::from_secs(18);

struct Looking<'a> {
    source: &'a str,
    settings: &'a Settings,
    /// Whom the server takes us for, in SQL.
    account: String,
    findings: Vec<Finding>,
}

pub(crate) async fn check(
    source: &str,
    settings: &Settings,
    tables: &[CapturedTable],
) -> Vec<Finding> {
    let mut looking = Looking {
        source,
        settings,
        account: String::new(),
        findings: Vec::new(),
    };
    let looked = tokio::time::timeout(CHECK_MAX, looking.look(tables)).await;
    let what = looking.what("database");
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let mut finding = Finding::fail(what, error.to_string());
            let fix = error.hint().unwrap_or(
                "see that the server runs, and that host, port, name resolution and firewall are \
                 right",
            );
            finding.fix = Some(fix.to_owned());
            looking.findings.push(finding);
        }
        Err(_) => {
            let found = format!(
                "answers too slowly: stopped after {} s",
                CHECK_MAX.as_secs()
            );
            looking.findings.push(Finding::fail(what, found));
        }
    }
    looking.findings
}

impl Looking<'_> {
    fn what(&self, part: &str) -> String {
        format!("source {}: {part}", self.source)
    }

    fn pass(&mut self, part: &str, found: impl Into<String>) {
        let finding = Finding::pass(self.what(part), found);
        self.findings.push(finding);
    }

    fn warn(&mut self, part: &str, found: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::warn(self.what(part), found).fix(fix);
        self.findings.push(finding);
    }

    fn fail(&mut self, part: &str, found: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::fail(self.what(part), found).fix(fix);
        self.findings.push(finding);
    }

    async fn look(&mut self, tables: &[CapturedTable]) -> Result<(), SourceError> {
        let settings = self.settings;
        let mut connection = connect::connect(settings, Rights::Read).await?;
        self.pass(
            "database",
            format!("{}:{} answers", settings.host, settings.port),
        );
        self.tls();
        let account: String = connection
            .one("read the user's name", "SELECT CURRENT_USER()")
            .await?;
        self.account = Account::parse(&account).map_or(account, |account| account.sql());
        let Some(server) = self.server(&mut connection).await? else {
            return Ok(());
        };
        let log = self.rights(&mut connection, &server).await?;
        if let Some(log) = &log {
            self.log(&server, log);
        }
        self.readers(&mut connection).await?;
        for captured in tables {
            self.table(&mut connection, captured, log.as_ref()).await?;
        }
        connection.close();
        Ok(())
    }

    fn tls(&mut self) {
        match self.settings.tls {
            TlsMode::VerifyFull => {}
            TlsMode::Disable if is_local(&self.settings.host) => {}
            TlsMode::Disable => {
                self.warn("tls", "rows travel unencrypted", "tls = \"verify-full\"");
            }
            TlsMode::VerifyCa => self.warn(
                "tls",
                "the server's authority is verified, its name is not: any server the authority \
                 signed for is believed",
                "tls = \"verify-full\"",
            ),
            TlsMode::Require => self.warn(
                "tls",
                "the connection is encrypted, but whoever answers is believed",
                "tls = \"verify-full\", with ca_file where the authority is your own",
            ),
        }
    }

    async fn table(
        &mut self,
        connection: &mut Connection,
        captured: &CapturedTable,
        log: Option<&Log>,
    ) -> Result<(), SourceError> {
        let name = &captured.table;
        let part = format!("table {name}");
        let sql = connect::table(name);
        // Asked for no row, the server says what a row would be refused for.
        let asked = connection
            .run(
                &format!("read {name}"),
                &format!("SELECT 1 FROM {sql} WHERE 1 = 0"),
            )
            .await;
        match asked {
            Ok(()) => {}
            Err(SourceError::Denied { .. }) => {
                let user = &self.account;
                let fix = format!(
                    "GRANT SELECT ON {sql} TO {user}; undo: REVOKE SELECT ON {sql} FROM {user}"
                );
                self.fail(
                    &part,
                    "may not be read by the agent's user, or does not exist",
                    fix,
                );
                return Ok(());
            }
            Err(SourceError::SchemaChanged { .. }) => {
                let fix = "correct the table's name in the mapping";
                self.fail(&part, "does not exist", fix);
                return Ok(());
            }
            Err(SourceError::Disconnected(what)) if what.contains("(error 1205)") => {
                self.warn(
                    &part,
                    "is locked by somebody now, for longer than we wait",
                    "SHOW PROCESSLIST, as an administrator, names who holds it",
                );
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        let Some(table) = Table::read(connection, name).await? else {
            let fix = "name the tables that it is made of in the mapping";
            self.fail(&part, "is a view, or no table with rows of its own", fix);
            return Ok(());
        };
        let before = self.findings.len();
        for wanted in captured.columns.iter().chain(&captured.key) {
            if table.column(wanted).is_none() {
                self.fail(
                    &part,
                    format!("has no column \"{wanted}\", which the mapping reads"),
                    "correct the column's name in the mapping",
                );
            }
        }
        let order = Order::read(connection, &table).await?;
        self.key(&table, captured, order.is_some(), &part);
        self.kind(&table, &part);
        self.silent(connection, &table, &part).await?;
        if let Some(log) = log {
            self.logged(&table, log, &part);
        }
        if self.findings.len() == before {
            self.pass(&part, "can be captured");
        }
        Ok(())
    }

    /// Whether something tells the rows apart, and whether they can be read in its order.
    fn key(&mut self, table: &Table, captured: &CapturedTable, is_ordered: bool, part: &str) {
        let key = table.key(captured);
        let name = connect::table(&table.name);
        if key.is_empty() {
            self.fail(
                part,
                "has no primary key and no unique index without nulls: nothing tells its rows apart",
                format!(
                    "ALTER TABLE {name} ADD PRIMARY KEY (..); undo: ALTER TABLE {name} DROP PRIMARY \
                     KEY"
                ),
            );
            return;
        }
        if !is_ordered {
            let columns: Vec<String> = key.iter().map(|column| connect::name(column)).collect();
            let columns = columns.join(", ");
            self.fail(
                part,
                "has no primary key and no unique index over whole columns without NULL to read it in \
                 order by: the rows that are in it wait until it has one",
                format!(
                    "ALTER TABLE {name} ADD UNIQUE INDEX lighterman ({columns}), whose columns must be \
                     NOT NULL; undo: ALTER TABLE {name} DROP INDEX lighterman"
                ),
            );
        }
        let nullable = |name: &&String| table.column(name).is_some_and(|column| column.nullable);
        if let Some(column) = key.iter().find(nullable) {
            self.warn(
                part,
                format!("may hold rows without a key: \"{column}\" can be null, and they are held"),
                "name other key columns in the mapping, or make the column NOT NULL",
            );
        }
    }

    fn kind(&mut self, table: &Table, part: &str) {
        let name = connect::table(&table.name);
        if table.versioned {
            self.fail(
                part,
                "keeps its former rows (system versioning): the log tells each of them as a row of \
                 its own",
                format!(
                    "ALTER TABLE {name} DROP SYSTEM VERSIONING; there is no undo: former rows go"
                ),
            );
        }
        let engine = &table.engine;
        if engine.eq_ignore_ascii_case("MEMORY") {
            self.warn(
                part,
                "is of engine MEMORY: a restart of the server empties it, and the log tells that as \
                 one statement",
                format!("ALTER TABLE {name} ENGINE = InnoDB; undo: ALTER TABLE {name} ENGINE = {engine}"),
            );
        } else if !table.is_transactional() {
            self.warn(
                part,
                format!(
                    "is of engine {engine}: what a transaction that is rolled back did to it stays, \
                     a crash of the server may leave rows that the log does not have, and a snapshot \
                     sees rows that are not yet in the log"
                ),
                format!("ALTER TABLE {name} ENGINE = InnoDB; undo: ALTER TABLE {name} ENGINE = {engine}"),
            );
        }
    }

    /// Whether the log has the table's schema.
    fn logged(&mut self, table: &Table, log: &Log, part: &str) {
        let schema = &table.name.schema;
        let names = |list: &[String]| list.iter().any(|name| name == schema);
        let left_out = if names(&log.without) {
            "binlog_ignore_db"
        } else if !log.only.is_empty() && !names(&log.only) {
            "binlog_do_db"
        } else {
            return;
        };
        self.fail(
            part,
            format!("is not in the log: {left_out} leaves schema {schema} out"),
            format!(
                "correct {left_out} in the server's configuration, then restart it; undo: the line \
                 as it was, and a restart"
            ),
        );
    }
}
