//! Source: SQL Server, captured through change data capture, change tracking, rowversion columns or by
//! reading a table again and comparing it, as each table allows.
//!
//! It reads with ordinary queries and writes nothing to the database.

mod bind;
mod browser;
mod captured;
mod catalogue;
mod check;
mod column;
mod connect;
mod cycle;
mod denials;
mod describe;
mod errors;
mod grants;
mod has;
mod instance;
mod layout;
mod line;
mod look;
mod lsn;
mod made;
mod mask;
mod merge;
mod mode;
mod order;
mod place;
mod prelogin;
mod prepare;
mod probe;
mod query;
mod reading;
mod row;
mod session;
mod settings;
mod snapshot;
mod sql;
mod stream;
mod tls;
mod tuple;
mod untold;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    BuildSource, Canary, ChangeStream, Finding, Login, Look, Position, Preparation, ReadQuery,
    ReadRows, Resume, Secrets, Section, SnapshotReader, Source, SourceContext, SourceError,
    TableInfo, TableName,
};

use settings::Settings;

/// The `type` in the settings.
pub const NAME: &str = "sqlserver";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[source]]
name = "erp"
type = "sqlserver"               # SQL Server and Azure SQL
host = "127.0.0.1"
port = 1433
# instance = "ERP"               # a named instance, by its SQL Browser, in place of port
# failover_host = "erp2:1433"    # tried where the first server does not have the database; also host\instance
database = "ERP"
user = "lighterman"              # needs SELECT on the captured tables, and on schema cdc or VIEW CHANGE TRACKING
password = { env = "ERP_PASSWORD" }
# token_file = "erp-token"       # a token of Azure's directory, in place of user and password; read at each connection
# integrated = true              # a Windows account, where the agent runs on Windows; with user and password another than its own
# tls = "verify-full"            # disable | require | verify-ca | verify-full; the default, except on this machine
# ca_file = "erp-ca.pem"         # beside the system's certificate authorities
# read_only_intent = true        # an availability group's listener may send us to a replica
# poll_seconds = 1               # how often a quiet database is asked
# page_rows = 2000               # the most changed rows of a table that are asked for at once
# compare_minutes = 60           # how often a table is read again that nothing tells the changes, or the deletions, of
# modes = { "dbo.orders" = "tracking" } # cdc | cdc-function | tracking | rowversion | compare; by default the best that is there
# start = "2026-01-31T08:00:00Z" # where the first capture begins, by default at the end of the log: a time, or a log sequence number
mappings = ["mapping.yaml"]
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    contract::Question::new(
        "host",
        "Where is the database server?",
        "its name or address, without the instance; 127.0.0.1 = this machine",
    ),
    contract::Question::new(
        "instance",
        "Which instance of it?",
        "its name, where the server has several; - = the one on a port",
    )
    .optional(),
    contract::Question::new(
        "port",
        "On which port does it listen?",
        "1433, unless somebody moved it",
    )
    .without("instance"),
    contract::Question::new(
        "database",
        "Which database?",
        "the company's own, such as TWO in Dynamics GP",
    ),
    contract::Question::new(
        "user",
        "Which login does the agent use?",
        "a SQL login of its own: the rights it needs are printed later as SQL",
    ),
    contract::Question::new(
        "password",
        "And its password?",
        "the settings only say where it stands",
    ),
];

/// Reads a source's own settings: `host`, `port`, `instance`, `failover_host`, `database`, `user`,
/// `password`, `token`, `token_file`, `integrated`, `tls`, `ca_file`, `read_only_intent`, `poll_seconds`,
/// `page_rows`, `compare_minutes`, `modes`, `start`.
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildSource> {
    let settings = settings::read(section, secrets)?;
    // They outlive a mapping: what was compared or looked at a moment ago still was when it is reloaded.
    let shared = stream::Shared::default();
    let looker = look::Looker::default();
    Some(Arc::new(move |context: SourceContext| {
        has::warn_of_misnamed(&settings, &context.tables);
        Ok(Arc::new(SqlServerSource {
            settings: settings.clone(),
            context,
            reader: query::Reader::default(),
            shared: shared.again(),
            looker: looker.clone(),
        }) as Arc<dyn Source>)
    }))
}

/// A SQL Server database we capture.
#[derive(Debug, Clone)]
pub struct SqlServerSource {
    settings: Settings,
    context: SourceContext,
    reader: query::Reader,
    shared: stream::Shared,
    looker: look::Looker,
}

#[async_trait]
impl Source for SqlServerSource {
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
        let (settings, tables) = (&self.settings, &self.context.tables);
        let tuning = stream::Tuning::of(settings);
        let opening = stream::open(settings, tables, from, &self.shared, tuning);
        Ok(Box::new(opening.await?))
    }

    async fn look(&self) -> Result<Option<Look>, SourceError> {
        let look = self.looker.look(&self.settings, &self.shared);
        Ok(Some(look.await?))
    }

    fn canary(&self) -> Option<Canary> {
        Some(self.shared.canary())
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        let (settings, tables) = (&self.settings, &self.context.tables);
        let opening = snapshot::TableReader::open(settings, tables, epoch, &self.shared);
        Ok(Box::new(opening.await?))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        describe::describe(&self.settings, tables).await
    }

    fn can_query(&self) -> bool {
        true
    }

    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        self.reader.read(&self.settings, query).await
    }
}
