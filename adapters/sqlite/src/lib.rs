//! Source: a SQLite database, captured through a change log that triggers fill.
//!
//! It is for databases whose application accepts triggers. It does not read the write-ahead log:
//! that holds pages, not rows. Transactions are not told apart in the log, so every change is at
//! a border of its own; batches keep together what was committed at once where it fits. TRUNCATE
//! does not exist in SQLite: `DELETE` without `WHERE` fires the row triggers.
//!
//! Acknowledged log rows are removed in small writes. An application that reads before it writes
//! in one deferred transaction can then get `SQLITE_BUSY`, as beside any other writer; `BEGIN
//! IMMEDIATE` avoids it.

mod catalogue;
mod check;
mod database;
mod prepare;
mod query;
mod snapshot;
mod stream;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    BuildSource, Canary, ChangeStream, Finding, Position, Preparation, Proof, ReadQuery, ReadRows,
    Secrets, Section, SnapshotReader, Source, SourceContext, SourceError, TableInfo, TableName,
};

/// The `type` in the settings.
pub const NAME: &str = "sqlite";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[source]]
name = "warehouse"
type = "sqlite"
file = "warehouse.db"            # the application's database
# poll_ms = 500                  # look at least this often; file events come first
mappings = ["mapping.yaml"]
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[contract::Question::new(
    "file",
    "Which file is the application's database?",
    "relative to the settings' folder, or in full",
)];

/// Reads a source's own settings: `file`, `poll_ms`.
pub fn read(section: &mut Section<'_>, _secrets: &dyn Secrets) -> Option<BuildSource> {
    let file = section
        .required_text("file", "`file = \"warehouse.db\"`")
        .map(PathBuf::from);
    let poll = Duration::from_millis(section.number_or("poll_ms", 50, 60_000, 500));
    let file = file?;
    Some(Arc::new(move |context| {
        Ok(Arc::new(SqliteSource {
            file: file.clone(),
            poll,
            context,
            read: Proof::default(),
        }) as Arc<dyn Source>)
    }))
}

/// A SQLite database we capture.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    file: PathBuf,
    poll: Duration,
    context: SourceContext,
    /// Its change log was read to the end, and the triggers that fill it were there.
    read: Proof,
}

/// All of the catalogue, within the 20 seconds it may take.
const CATALOGUE_MAX: Duration = Duration::from_secs(18);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SourceError::Malformed(error.to_string()))?
}

#[async_trait]
impl Source for SqliteSource {
    async fn check(&self) -> Vec<Finding> {
        let this = self.clone();
        let look = move || {
            Ok(check::check(
                &this.context.name,
                &this.file,
                &this.context.tables,
            ))
        };
        blocking(look).await.unwrap_or_default()
    }

    async fn prepare(&self, apply: bool) -> Result<Preparation, SourceError> {
        let this = self.clone();
        blocking(move || {
            let mut db = database::open(&this.file, apply)?;
            let mut plan = prepare::plan(&db, &this.context.tables)?;
            if apply {
                prepare::apply(&mut db, &plan)?;
                plan.applied = true;
            }
            Ok(plan)
        })
        .await
    }

    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        let (this, after) = (self.clone(), after.cloned());
        let open = move || {
            stream::open(
                &this.file,
                this.context.tables,
                this.poll,
                epoch,
                after.as_ref(),
                this.read,
            )
        };
        Ok(Box::new(blocking(open).await?))
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        Ok(Box::new(snapshot::TableReader {
            file: self.file.clone(),
            tables: self.context.tables.clone(),
            epoch,
        }))
    }

    fn canary(&self) -> Option<Canary> {
        let how = "its change log was read to the end, and the triggers that fill it are there";
        Some(self.read.canary(how))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        let (file, tables) = (self.file.clone(), tables.to_vec());
        // A file on a share that hangs stops the thread, but not the answer.
        let until = Instant::now() + CATALOGUE_MAX;
        let look = blocking(move || catalogue::read(&file, &tables, until));
        tokio::time::timeout(CATALOGUE_MAX, look)
            .await
            .unwrap_or_else(|_| Err(catalogue::too_slow()))
    }

    fn can_query(&self) -> bool {
        true
    }

    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        let (file, asked) = (self.file.clone(), query.clone());
        let until = Instant::now() + query.time_max;
        let ask = blocking(move || query::read(&file, &asked, until));
        tokio::time::timeout(query.time_max, ask)
            .await
            .unwrap_or_else(|_| Err(query.timed_out()))
    }
}
