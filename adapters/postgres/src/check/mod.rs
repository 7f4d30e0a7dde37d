//! What must be right before the database can be captured.

mod server;
mod synchronous;

use std::time::Duration;

use contract::{CapturedTable, Finding, SourceError, TableName};
use tokio_postgres::Client;

use crate::catalogue::{Publication, Table, identity_sql, publish_sql};
use crate::connect::{self, PREPARE, Rights, classify};
use crate::settings::{Settings, TlsMode, is_local};
use crate::slot::Slot;

/// All of it, within the 20 seconds a check may take.
const CHECK_MAX: Duration = Duration::from_secs(18);

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

/// SQL that publishes all of a table that is published in part. There is no undo but to name the
/// part again.
fn republish(settings: &Settings, table: &TableName) -> String {
    let (publication, table) = (connect::name(&settings.publication), connect::table(table));
    format!(
        "ALTER PUBLICATION {publication} DROP TABLE {table} and ALTER PUBLICATION {publication} ADD \
         TABLE {table}, in one transaction; undo: the same with the columns or WHERE that it has now"
    )
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
        let Some(server) = self.server(&client).await? else {
            return Ok(());
        };
        self.role(&client).await?;
        self.password(&client).await?;
        self.replication().await;
        let publication = Publication::read(&client, &settings.publication).await?;
        let mut known = Vec::new();
        for captured in tables {
            let table = self.table(&client, captured, publication.as_ref()).await?;
            known.extend(table);
        }
        self.publication(publication.as_ref(), &known);
        let slot = Slot::read(&client, &settings.slot).await?;
        let slot = slot.as_ref();
        self.slot(&client, &server, slot, publication.is_some())
            .await?;
        self.places(&server, slot);
        self.prepared(&server, slot);
        self.log(&server, slot);
        self.synchronous(&client).await?;
        Ok(())
    }

    /// A password whose time is over is refused like a wrong one: better said before.
    async fn password(&mut self, client: &Client) -> Result<(), SourceError> {
        let row = client
            .query_opt(
                "SELECT pg_catalog.to_char(rolvaliduntil, 'YYYY-MM-DD HH24:MI')
                   FROM pg_catalog.pg_roles
                  WHERE rolname = current_user AND rolvaliduntil < 'infinity'
                    AND rolvaliduntil < pg_catalog.now() + interval '14 days'",
                &[],
            )
            .await
            .map_err(|error| classify("read role", &error))?;
        if let Some(row) = row.filter(|_| self.settings.password.is_some()) {
            let (until, user): (String, _) = (row.get(0), connect::name(&self.settings.user));
            self.warn(
                "password",
                format!("its time is over at {until} UTC: no login from then on"),
                format!("ALTER ROLE {user} PASSWORD '<password>' VALID UNTIL '<date>'"),
            );
        }
        Ok(())
    }

    /// Whether the log can be reached as the tables can.
    async fn replication(&mut self) {
        match connect::try_replication(self.settings).await {
            Ok(()) => self.pass("replication", "a replication connection is given"),
            Err(error) => {
                let fix = error.hint().unwrap_or(
                    "see that max_wal_senders has room (SELECT count(*) FROM pg_stat_replication) \
                     and that nothing stands between us and the server",
                );
                self.fail("replication", error.to_string(), fix);
            }
        }
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
        let published = publication.and_then(|known| known.table(name));
        for wanted in captured.columns.iter().chain(&captured.key) {
            match table.column(wanted) {
                None => self.fail(
                    &part,
                    format!("has no column \"{wanted}\", which the mapping reads"),
                    "correct the column's name in the mapping",
                ),
                Some(column)
                    if column.generated && !published.is_some_and(|known| known.tells(column)) =>
                {
                    self.fail(
                        &part,
                        format!(
                            "computes its column \"{wanted}\" itself: the log does not have it"
                        ),
                        "read the columns it is computed from",
                    );
                }
                Some(_) => {}
            }
        }
        self.leaves(client, &table, &part).await?;
        self.key(&table, captured, &part);
        if let Some(child) = &table.child {
            self.warn(
                &part,
                format!(
                    "has tables that inherit from it, such as {child}: their rows are not among its \
                     own, in snapshot and log alike"
                ),
                "name those tables in the mapping, where their rows are wanted",
            );
        }
        if table.exchanges(&table.key(captured)) {
            self.warn(
                &part,
                "lets two rows have one key until their transaction ends: whenever rows exchange \
                 keys, all of it is read again",
                "make the key's constraint NOT DEFERRABLE, unless the application needs it so",
            );
        }
        if let Some(published) = published {
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
                    republish(self.settings, &table.name),
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

    /// Partitions have a replica identity of their own.
    async fn leaves(
        &mut self,
        client: &Client,
        table: &Table,
        part: &str,
    ) -> Result<(), SourceError> {
        if !table.partitioned {
            return Ok(());
        }
        let rows = client
            .query(
                "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                        c.relreplident = 'd'
                   FROM pg_catalog.pg_class root
                   JOIN pg_catalog.pg_namespace rn ON rn.oid = root.relnamespace
                  CROSS JOIN LATERAL pg_catalog.pg_partition_tree(root.oid) t
                   JOIN pg_catalog.pg_class c ON c.oid = t.relid
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE rn.nspname = $1 AND root.relname = $2 AND t.isleaf
                    AND (c.relreplident = 'n'
                         OR c.relreplident = 'd' AND NOT EXISTS (
                              SELECT 1 FROM pg_catalog.pg_index i
                               WHERE i.indrelid = c.oid AND i.indisprimary)
                         OR c.relreplident = 'i' AND NOT EXISTS (
                              SELECT 1 FROM pg_catalog.pg_index i
                               WHERE i.indrelid = c.oid AND i.indisreplident))
                  ORDER BY 1, 2",
                &[&table.name.schema, &table.name.name],
            )
            .await
            .map_err(|error| classify(&format!("read partitions of {}", table.name), &error))?;
        for row in &rows {
            let leaf = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let before = if row.get(2) { "DEFAULT" } else { "NOTHING" };
            self.fail(
                part,
                format!(
                    "has a partition, {leaf}, with nothing to tell its rows by: once it is \
                     published, the application's own UPDATE and DELETE there fail"
                ),
                identity_sql(&leaf, "FULL", before),
            );
        }
        if table.partitioned {
            let name = &table.name;
            self.warn(
                part,
                "is partitioned: a TRUNCATE or DROP of one of its partitions tells nothing in the log",
                format!("after each of them: lighterman source resync --table {name}"),
            );
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
                table.whole_identity(),
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
                format!(
                    "{PREPARE}, or {}; undo: DROP PUBLICATION {}",
                    sql.join("; "),
                    connect::name(&self.settings.publication)
                ),
            ),
            Some(_) if sql.is_empty() => self.pass(&part, "has every captured table"),
            Some(_) => self.fail(
                &part,
                "does not tell everything of every captured table",
                format!("{PREPARE}, or {}", sql.join("; ")),
            ),
        }
    }
}
