//! Source: PostgreSQL 14 and newer, captured through logical replication.
//!
//! It reads `pgoutput` from a slot and a publication that `source prepare` makes, and tables for
//! snapshots over a second connection. It writes nothing to the database otherwise: no triggers,
//! no tables; and a heartbeat to the log where the settings ask for it. It does not follow a slot to
//! a standby, does not capture views, and does not tell of DDL: a changed table is met with its new
//! columns at its next change (`known`), one that is no longer told is said (`untold`).
//!
//! A change's position is the start of its transaction's commit record and its ordinal in the
//! transaction; a finished transaction ends at a border, the end of its commit record. Transaction
//! ids are PostgreSQL's 64-bit ones: the log has their lower 32 bits, and the upper are those that
//! bring the id nearest to one known in full (the server's own, read when the stream starts, then
//! the newest met). `values` lists the types; whatever is not in the list is text as PostgreSQL
//! writes it.

mod bind;
mod catalogue;
mod check;
mod connect;
mod decode;
mod describe;
mod exchange;
mod fetch;
mod gather;
mod grants;
mod identity;
mod kinds;
mod known;
mod look;
mod lsn;
mod order;
mod prepare;
mod published;
mod pulse;
mod query;
mod server;
mod settings;
mod slot;
mod snapshot;
mod start;
mod stream;
mod tls;
mod told;
mod untold;
mod values;
mod wait;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    BuildSource, Canary, ChangeStream, Finding, Login, Look, Position, Preparation, ReadQuery,
    ReadRows, Resume, Secrets, Section, SnapshotReader, Source, SourceContext, SourceError,
    TableInfo, TableName,
};

use settings::Settings;

/// The `type` in the settings.
pub const NAME: &str = "postgres";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[source]]
name = "erp"
type = "postgres"
host = "127.0.0.1"               # the primary server; a folder = its Unix socket
port = 5432
database = "erp"
user = "lighterman"              # needs REPLICATION, and SELECT on the captured tables
password = { env = "ERP_PASSWORD" }
# tls = "verify-full"            # disable | require | verify-ca | verify-full; the default, except on this machine
# ca_file = "erp-ca.pem"         # beside the system's certificate authorities
# cert_file = "lighterman.pem"   # who we are, where the server asks for a certificate
# key_file = "lighterman.key"
# slot = "lighterman_erp"        # made by `lighterman source prepare --apply`
# publication = "lighterman_erp"
# heartbeat = false              # true: a mark in the log every 10 s of quiet proves that it flows
# retained_warn_mib = 1024       # said when the server keeps more log for us than this
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
        "5432, unless somebody moved it",
    ),
    contract::Question::new("database", "Which database?", "its name, as in psql's \\l"),
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

/// Reads a source's own settings: `host`, `port`, `database`, `user`, `password`, `tls`,
/// `ca_file`, `cert_file`, `key_file`, `slot`, `publication`, `heartbeat`,
/// `retained_warn_mib`.
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildSource> {
    let unnamed = settings::read(section, secrets)?;
    Some(Arc::new(move |context: SourceContext| {
        Ok(Arc::new(PostgresSource {
            settings: unnamed.named(&context.name),
            context,
            reader: query::Reader::default(),
            looker: look::Looker::default(),
            pulse: pulse::Pulse::default(),
        }) as Arc<dyn Source>)
    }))
}

/// A PostgreSQL database we capture.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    settings: Settings,
    context: SourceContext,
    reader: query::Reader,
    looker: look::Looker,
    pulse: pulse::Pulse,
}

#[async_trait]
impl Source for PostgresSource {
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
        let stream = stream::open(&self.settings, tables, from, &self.pulse).await?;
        Ok(Box::new(stream))
    }

    async fn look(&self) -> Result<Option<Look>, SourceError> {
        let look = self.looker.look(&self.settings).await?;
        Ok(Some(Look {
            heartbeat: self.pulse.newest(),
            ..look
        }))
    }

    fn canary(&self) -> Option<Canary> {
        Some(self.pulse.canary(self.settings.heartbeat))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        describe::describe(&self.settings, tables).await
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        let tables = &self.context.tables;
        let reader = snapshot::TableReader::open(&self.settings, tables, epoch).await?;
        Ok(Box::new(reader))
    }

    fn can_query(&self) -> bool {
        true
    }

    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        self.reader.read(&self.settings, query).await
    }
}
