//! Source: MySQL and MariaDB, captured from the binary log.
//!
//! It reads the log as a replica does, in row format, and tables for snapshots over a second
//! connection. It writes nothing to the database: no trigger, no table.

mod bind;
mod binlog;
mod cascade;
mod catalogue;
mod charset;
mod check;
mod column;
mod connect;
mod declared;
mod describe;
mod errors;
mod feed;
mod fetch;
mod gather;
mod grants;
mod gtid;
mod heads;
mod index;
mod key;
mod known;
mod life;
mod look;
mod order;
mod place;
mod prepare;
mod query;
mod question;
mod reading;
mod server;
mod settings;
mod settling;
mod snapshot;
mod start;
mod stream;
mod tls;
mod trial;
mod untold;
mod values;
mod visible;

use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    BuildSource, Canary, ChangeStream, Finding, Login, Look, Position, Preparation, ReadQuery,
    ReadRows, Resume, Secrets, Section, SnapshotReader, Source, SourceContext, SourceError,
    TableInfo, TableName,
};

use settings::Settings;

/// The `type` in the settings.
pub const NAME: &str = "mysql";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[source]]
name = "erp"
type = "mysql"                   # MySQL and MariaDB
host = "127.0.0.1"               # the server itself, no proxy; a path = its Unix socket
port = 3306
user = "lighterman"              # needs REPLICATION SLAVE, BINLOG MONITOR (MySQL: REPLICATION CLIENT), and SELECT on the captured tables
password = { env = "ERP_PASSWORD" }
# database = "erp"               # where questions of a mapping look that name no schema; by default that of its tables
# tls = "verify-full"            # disable | require | verify-ca | verify-full; the default, except on this machine
# ca_file = "erp-ca.pem"         # beside the system's certificate authorities
# cert_file = "lighterman.pem"   # who we are, where the server asks for a certificate
# key_file = "lighterman.key"
# server_id = 4000000001         # who we are among the readers of the log; by default made of the source's name and this machine
# start = "2026-01-31T08:00:00Z" # where the first capture begins, by default at the end of the log: a time, or GTIDs that are known already
# retained_warn_mib = 1024       # said when more log than this is yet to be read
mappings = ["mapping.yaml"]
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    contract::Question::new(
        "host",
        "Where is the database server?",
        "its name or address; 127.0.0.1 = this machine",
    ),
    contract::Question::new(
        "port",
        "On which port does it listen?",
        "3306, unless somebody moved it",
    ),
    contract::Question::new(
        "user",
        "Which database user does the agent log in with?",
        "one of its own: the rights it needs are printed later as SQL",
    ),
    contract::Question::new(
        "password",
        "And its password?",
        "the settings only say where it stands",
    ),
];

/// Reads a source's own settings: `host`, `port`, `user`, `password`, `database`, `tls`, `ca_file`,
/// `cert_file`, `key_file`, `server_id`, `start`, `retained_warn_mib`.
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildSource> {
    let unnamed = settings::read(section, secrets)?;
    Some(Arc::new(move |context: SourceContext| {
        let mut settings = unnamed.named(&context.name);
        let mut schemas = context.tables.iter().map(|one| &one.table.schema);
        if settings.database.is_none()
            && let Some(first) = schemas.next()
            && schemas.all(|schema| schema == first)
        {
            settings.database = Some(first.clone());
        }
        Ok(Arc::new(MysqlSource {
            settings,
            context,
            looker: look::Looker::default(),
            reached: look::Reached::default(),
            reader: query::Reader::default(),
            life: life::Life::default(),
            prepared: stream::Kept::default(),
        }) as Arc<dyn Source>)
    }))
}

/// A MySQL or MariaDB database we capture.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    settings: Settings,
    context: SourceContext,
    looker: look::Looker,
    reached: look::Reached,
    reader: query::Reader,
    life: life::Life,
    prepared: stream::Kept,
}

#[async_trait]
impl Source for MysqlSource {
    async fn check(&self) -> Vec<Finding> {
        check::check(&self.context.name, &self.settings, &self.context.tables).await
    }

    async fn prepare(&self, apply: bool) -> Result<Preparation, SourceError> {
        prepare::prepare(&self.settings, &self.context.tables, None, apply).await
    }

    async fn prepare_as(&self, login: &Login, apply: bool) -> Result<Preparation, SourceError> {
        let tables = &self.context.tables;
        prepare::prepare(&self.settings, tables, Some(login), apply).await
    }

    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        let from = Resume {
            epoch,
            after: after.cloned(),
            ..Resume::default()
        };
        self.resume(&from).await
    }

    async fn resume(&self, from: &Resume) -> Result<Box<dyn ChangeStream>, SourceError> {
        let tables = &self.context.tables;
        let (reached, life, prepared) = (&self.reached, &self.life, &self.prepared);
        let opening = stream::open(&self.settings, tables, from, reached, life, prepared);
        Ok(Box::new(opening.await?))
    }

    async fn look(&self) -> Result<Option<Look>, SourceError> {
        let look = self.looker.look(&self.settings, &self.reached).await?;
        Ok(Some(look))
    }

    fn canary(&self) -> Option<Canary> {
        let how = "the server sent an event of its log, or said that there is none";
        Some(self.reached.heard.canary(how))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        describe::describe(&self.settings, tables).await
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        let tables = &self.context.tables;
        let opening = snapshot::TableReader::open(&self.settings, tables, epoch, &self.life);
        Ok(Box::new(opening.await?))
    }

    fn can_query(&self) -> bool {
        true
    }

    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        self.reader.read(&self.settings, &self.life, query).await
    }
}
