//! What must be right before the database can be captured.

use std::time::Duration;

use contract::{CapturedTable, Finding, SourceError};
use tokio_postgres::Client;

use crate::catalogue::{Publication, Slot, Table, publish_sql};
use crate::connect::{self, PREPARE, Rights, classify};
use crate::settings::{Settings, TlsMode, is_local};

/// All of it, within the 20 seconds a check may take.
const CHECK_MAX: Duration = Duration::from_secs(18);
/// Log the server keeps for a slot without a word from us.
const RETAINED_MAX: i64 = 1 << 30;

struct Looking<'a> {
    source: &'a str,
    settings: &'a Settings,
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
        let client = connect::connect(settings, Rights::Read).await?;
        self.pass(
            "database",
            format!("{}:{} answers", settings.host, settings.port),
        );
        match settings.tls {
            TlsMode::VerifyFull => {}
            TlsMode::Disable if is_local(&settings.host) => {}
            TlsMode::Disable => {
                self.warn("tls", "rows travel unencrypted", "tls = \"verify-full\"");
            }
            TlsMode::Require => self.warn(
                "tls",
                "the connection is encrypted, but whoever answers is believed",
                "tls = \"verify-full\", with ca_file where the authority is your own",
            ),
        }
        if !self.server(&client).await? {
            return Ok(());
        }
        self.role(&client).await?;
        let publication = Publication::read(&client, &settings.publication).await?;
        let mut known = Vec::new();
        for captured in tables {
            let table = self.table(&client, captured, publication.as_ref()).await?;
            known.extend(table);
        }
        self.publication(publication.as_ref(), &known);
        self.slot(&client, publication.is_some()).await
    }

    /// Whether the server can be captured at all.
    async fn server(&mut self, client: &Client) -> Result<bool, SourceError> {
        let row = client
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::int4,
                        pg_catalog.current_setting('server_version'),
                        pg_catalog.current_setting('wal_level'),
                        pg_catalog.pg_is_in_recovery()",
                &[],
            )
            .await
            .map_err(|error| classify("read server settings", &error))?;
        let (number, version, level): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        if number < 140_000 {
            self.fail(
                "version",
                format!("is {version}"),
                "use PostgreSQL 14 or newer",
            );
            return Ok(false);
        }
        self.pass("version", format!("is {version}"));
        if row.get(3) {
            self.fail(
                "database",
                "is a standby, which takes no slot of ours",
                "name the primary server as host",
            );
            return Ok(false);
        }
        if level == "logical" {
            self.pass("wal_level", "is logical");
        } else {
            self.fail(
                "wal_level",
                format!("is {level}: the log does not tell rows"),
                format!(
                    "ALTER SYSTEM SET wal_level = 'logical', then restart the server; undo: ALTER \
                     SYSTEM SET wal_level = '{level}'"
                ),
            );
        }
        Ok(true)
    }

    async fn role(&mut self, client: &Client) -> Result<(), SourceError> {
        let row = client
            .query_one(
                "SELECT rolreplication OR rolsuper
                        OR EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members m
                                     JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                                    WHERE m.member = r.oid AND g.rolname = 'rds_replication')
                   FROM pg_catalog.pg_roles r WHERE rolname = current_user",
                &[],
            )
            .await
            .map_err(|error| classify("read role", &error))?;
        if row.get(0) {
            self.pass("role", "may replicate");
        } else {
            let user = connect::name(&self.settings.user);
            self.fail(
                "role",
                "may not replicate",
                format!("ALTER ROLE {user} REPLICATION; undo: ALTER ROLE {user} NOREPLICATION"),
            );
        }
        Ok(())
    }

    async fn table(
        &mut self,
        client: &Client,
        captured: &CapturedTable,
        publication: Option<&Publication>,
    ) -> Result<Option<Table>, SourceError> {
        let name = &captured.table;
        let part = format!("table {name}");
        let Some(table) = Table::read(client, name).await? else {
            self.fail(
                &part,
                "does not exist",
                "correct the table's name in the mapping",
            );
            return Ok(None);
        };
        let before = self.findings.len();
        self.rights(client, &table, &part).await?;
        for wanted in captured.columns.iter().chain(&captured.key) {
            match table.column(wanted) {
                None => self.fail(
                    &part,
                    format!("has no column \"{wanted}\", which the mapping reads"),
                    "correct the column's name in the mapping",
                ),
                Some(column) if column.generated => self.fail(
                    &part,
                    format!("computes its column \"{wanted}\" itself: the log does not have it"),
                    "read the columns it is computed from",
                ),
                Some(_) => {}
            }
        }
        self.key(&table, captured, &part);
        if let Some(published) = publication.and_then(|known| known.table(name)) {
            let told = |column: &String| {
                let columns = published.columns.as_ref();
                columns.is_none_or(|columns| columns.contains(column))
            };
            if let Some(column) = captured.columns.iter().find(|column| !told(column)) {
                self.fail(
                    &part,
                    format!(
                        "is published without its column \"{column}\", which the mapping reads"
                    ),
                    "publish all columns of the table",
                );
            }
            if let Some(filter) = &published.filter {
                self.pass(
                    &part,
                    format!("is captured as far as it is published: rows with {filter}"),
                );
            }
        }
        if self.findings.len() == before {
            self.pass(&part, "can be captured");
        }
        Ok(Some(table))
    }

    async fn rights(
        &mut self,
        client: &Client,
        table: &Table,
        part: &str,
    ) -> Result<(), SourceError> {
        let row = client
            .query_one(
                "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
                        pg_catalog.has_table_privilege(c.oid, 'SELECT'),
                        pg_catalog.row_security_active(c.oid)
                   FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND c.relname = $2",
                &[&table.name.schema, &table.name.name],
            )
            .await
            .map_err(|error| classify(&format!("read rights on {}", table.name), &error))?;
        let user = connect::name(&self.settings.user);
        let schema = connect::name(&table.name.schema);
        let name = connect::table(&table.name);
        if !row.get::<_, bool>(0) {
            let fix = format!(
                "GRANT USAGE ON SCHEMA {schema} TO {user}; undo: REVOKE USAGE ON SCHEMA {schema} \
                 FROM {user}"
            );
            self.fail(part, "stands in a schema the role may not use", fix);
        }
        if !row.get::<_, bool>(1) {
            let fix = format!(
                "GRANT SELECT ON {name} TO {user}; undo: REVOKE SELECT ON {name} FROM {user}"
            );
            self.fail(part, "may not be read by the role", fix);
        }
        if row.get(2) {
            let fix = format!("ALTER ROLE {user} BYPASSRLS; undo: ALTER ROLE {user} NOBYPASSRLS");
            self.fail(part, "hides rows from the role by row security", fix);
        }
        Ok(())
    }

    fn key(&mut self, table: &Table, captured: &CapturedTable, part: &str) {
        if table.would_break() {
            self.fail(
                part,
                "has nothing to tell its rows by: once it is published, the application's own \
                 UPDATE and DELETE fail",
                table.identity_fix(),
            );
        }
        let key = table.key(captured);
        if key.is_empty() {
            self.fail(part, "has no key", "name the key's columns in the mapping");
            return;
        }
        let columns: Vec<String> = key.iter().map(|column| connect::name(column)).collect();
        let columns = columns.join(", ");
        let name = connect::table(&table.name);
        match table.paging(captured) {
            None => self.fail(
                part,
                "has no primary key and no unique index to read it in order by",
                format!("CREATE UNIQUE INDEX CONCURRENTLY ON {name} ({columns})"),
            ),
            Some(paging) => {
                let nullable = |name: &&String| table.column(name).is_some_and(|c| !c.not_null);
                if let Some(column) = paging.iter().find(nullable) {
                    self.warn(
                        part,
                        format!("may hold rows without a key: \"{column}\" can be null, and a snapshot leaves them out"),
                        format!("ALTER TABLE {name} ALTER {} SET NOT NULL", connect::name(column)),
                    );
                }
            }
        }
        let told = table.identity_columns();
        let untold = |column: &&String| told.is_some_and(|told| !told.contains(column));
        if let Some(column) = key.iter().find(untold).filter(|_| !table.would_break()) {
            self.warn(
                part,
                format!(
                    "tells of a removed row only its replica identity, without the mapping's key \
                     column \"{column}\": removed rows and changed keys cannot be told"
                ),
                format!(
                    "ALTER TABLE {name} REPLICA IDENTITY FULL; undo: ALTER TABLE {name} REPLICA \
                     IDENTITY DEFAULT"
                ),
            );
        }
    }

    fn publication(&mut self, publication: Option<&Publication>, tables: &[Table]) {
        let part = format!("publication {}", self.settings.publication);
        let sql = publish_sql(self.settings, publication, tables);
        match publication {
            None => self.fail(
                &part,
                "does not exist",
                format!("{PREPARE}, or {}", sql.join("; ")),
            ),
            Some(_) if sql.is_empty() => self.pass(&part, "has every captured table"),
            Some(_) => self.fail(
                &part,
                "does not tell everything of every captured table",
                format!("{PREPARE}, or {}", sql.join("; ")),
            ),
        }
    }

    async fn slot(&mut self, client: &Client, published: bool) -> Result<(), SourceError> {
        let name = self.settings.slot.clone();
        let part = format!("slot {name}");
        let literal = connect::literal(&name);
        let Some(slot) = Slot::read(client, &name).await? else {
            let first = if published {
                ""
            } else {
                "after the publication, "
            };
            self.fail(
                &part,
                "does not exist",
                format!(
                    "{PREPARE}, or {first}SELECT pg_create_logical_replication_slot({literal}, \
                     'pgoutput'); undo: SELECT pg_drop_replication_slot({literal})"
                ),
            );
            return Ok(());
        };
        if !slot.usable {
            self.fail(
                &part,
                format!(
                    "is not a pgoutput slot of database \"{}\"",
                    self.settings.database
                ),
                "name another slot in the settings",
            );
            return Ok(());
        }
        let retained = slot.retained.unwrap_or(0).max(0);
        let kept = format!("the server keeps {} MiB of log for it", retained >> 20);
        let status = slot.wal_status.as_str();
        match status {
            "lost" => self.fail(
                &part,
                "is lost: the server has removed the log it needs",
                format!("SELECT pg_drop_replication_slot({literal}), then {PREPARE}"),
            ),
            "unreserved" => self.warn(
                &part,
                format!("is about to be lost: {kept}, beyond max_slot_wal_keep_size"),
                "start the agent now, or raise max_slot_wal_keep_size",
            ),
            _ if retained > RETAINED_MAX => self.warn(
                &part,
                kept,
                format!(
                    "start the agent, or give the slot up: SELECT pg_drop_replication_slot({literal})"
                ),
            ),
            _ => self.pass(&part, format!("is {status}; {kept}")),
        }
        Ok(())
    }
}
