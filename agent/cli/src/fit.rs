//! Whether a source's mapping files fit the tables it has.
//!
//! A file alone does not say what a column holds: where a text is compared with a number, every row
//! would be held. So nothing is captured before the database's own catalogue was asked, whether it
//! answers when the agent starts or only later.
//!
//! Tables change under a mapping that is in force. A column or table that is gone or of another type
//! then stops only the rows that need it, whether it changed before our eyes or while the agent was
//! stopped: the mapper holds them, one by one, and the rest goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use contract::finding::worst;
use contract::{
    Canary, ChangeStream, Finding, Level, Login, Look, Position, Preparation, ReadQuery, ReadRows,
    Resume, SnapshotReader, Source, SourceError, TableInfo, TableName,
};
use engine::SourceSetup;
use mappings::{Catalogue, Mapping, Which};

use crate::map::files::MappingFile;

/// Nothing is delivered before the agent has started: a source that is not there must not hold
/// that up.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A source's mapping files, as they were read: they are looked at again when its tables can be.
pub(crate) struct SourceFiles {
    files: Vec<MappingFile>,
    /// Which company its database holds, where a file lists several.
    company: Option<String>,
}

impl SourceFiles {
    /// Reads them.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn read(paths: &[PathBuf], company: Option<String>) -> Result<Self, Vec<Finding>> {
        let mut files = Vec::new();
        let mut findings = Vec::new();
        for path in paths {
            match MappingFile::read(path) {
                Ok(file) => files.push(file),
                Err(finding) => findings.push(finding),
            }
        }
        if findings.is_empty() {
            Ok(Self { files, company })
        } else {
            Err(findings)
        }
    }

    /// All of them as mappings, checked against `catalogue`.
    ///
    /// # Errors
    /// What is wrong with any of them.
    pub(crate) fn load(&self, catalogue: &Catalogue) -> Result<Vec<Mapping>, Vec<Finding>> {
        let company = self.company.as_deref().map_or(Which::Only, Which::Named);
        let mut mappings = Vec::new();
        let mut findings = Vec::new();
        for file in &self.files {
            match file.load_as(company, catalogue) {
                Ok(mapping) => mappings.push(mapping),
                Err(more) => findings.extend(more),
            }
        }
        if findings.is_empty() {
            Ok(mappings)
        } else {
            Err(findings)
        }
    }

    /// What is to be said of them beside those tables: what does not fit, or what fits but should
    /// be known.
    pub(crate) fn look(&self, catalogue: &Catalogue) -> Vec<Finding> {
        match self.load(catalogue) {
            Ok(mappings) => {
                let mappings = mappings.iter();
                mappings
                    .flat_map(|mapping| mapping.warnings().to_vec())
                    .collect()
            }
            Err(findings) => findings,
        }
    }
}

/// A source that is captured only if its mapping files fit its tables, made from its setup and the
/// files that setup came from; what fits but should be known, where its tables could be seen soon.
/// `in_force` says that rows were told by this very mapping before.
///
/// # Errors
/// What does not fit.
pub(crate) async fn fitted(
    setup: SourceSetup,
    files: SourceFiles,
    in_force: bool,
) -> Result<(SourceSetup, Vec<Finding>), Vec<Finding>> {
    let fitted = Fitted::new(&setup, files, in_force);
    // Whoever is not there now is asked when its log is opened.
    let looked = tokio::time::timeout(ANSWER_MAX, fitted.findings()).await;
    let mut findings = looked.ok().and_then(Result::ok).unwrap_or_default();
    if worst(&findings) == Level::Fail {
        if !in_force {
            return Err(findings);
        }
        // Said when the log is opened.
        findings.retain(|finding| finding.level != Level::Fail);
    }
    let source = Arc::new(fitted);
    Ok((SourceSetup { source, ..setup }, findings))
}

/// A source that is captured only while its mapping files fit its tables.
struct Fitted {
    source: Arc<dyn Source>,
    files: SourceFiles,
    tables: Vec<TableName>,
    /// They did once.
    in_force: AtomicBool,
}

impl Fitted {
    /// The source of a setup and the files it was made from.
    fn new(setup: &SourceSetup, files: SourceFiles, in_force: bool) -> Self {
        let tables = setup.mapping.all_tables().into_iter();
        Self {
            source: Arc::clone(&setup.source),
            files,
            tables: tables.map(|captured| captured.table).collect(),
            in_force: AtomicBool::new(in_force),
        }
    }

    /// What is to be said of the files beside the tables that the database has; nothing where it
    /// says nothing about them.
    ///
    /// # Errors
    /// Why it does not answer.
    async fn findings(&self) -> Result<Vec<Finding>, SourceError> {
        let found = self.source.catalogue(&self.tables).await?;
        // None of these tables: either the database has others, or it says nothing at all.
        if found.is_empty() && self.source.catalogue(&[]).await?.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.files.look(&Catalogue::of(&self.tables, &found)))
    }

    /// Whether it can be captured; the doubt where the database does not say.
    async fn must_fit(&self) -> Result<Option<SourceError>, SourceError> {
        let findings = match self.findings().await {
            Ok(findings) => findings,
            Err(error @ SourceError::Disconnected(_)) => return Err(error),
            // Whoever may not see the catalogue may still be allowed to read the rows.
            Err(error) => return Ok(Some(error)),
        };
        let mut misfits = findings.into_iter().filter(|one| one.level == Level::Fail);
        let Some(mut first) = misfits.next() else {
            self.in_force.store(true, Relaxed);
            return Ok(None);
        };
        let fix = first.fix.take();
        let more = match misfits.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let all = "lighterman map check lists all that does not fit";
        let hint = fix.map_or_else(|| all.to_owned(), |fix| format!("{fix}; {all}"));
        if self.in_force.load(Relaxed) {
            tracing::error!(
                code = "source.tables_changed",
                hint,
                "the source's tables have changed, rows that need what changed are held: \
                 {first}{more}"
            );
            return Ok(None);
        }
        Err(SourceError::SchemaChanged {
            what: format!("a mapping does not fit the source's tables: {first}{more}"),
            hint,
        })
    }
}

#[async_trait]
impl Source for Fitted {
    async fn check(&self) -> Vec<Finding> {
        self.source.check().await
    }

    async fn prepare(&self, apply: bool) -> Result<Preparation, SourceError> {
        self.source.prepare(apply).await
    }

    async fn prepare_as(&self, login: &Login, apply: bool) -> Result<Preparation, SourceError> {
        self.source.prepare_as(login, apply).await
    }

    async fn look(&self) -> Result<Option<Look>, SourceError> {
        self.source.look().await
    }

    fn canary(&self) -> Option<Canary> {
        self.source.canary()
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
        let doubt = self.must_fit().await?;
        let stream = self.source.resume(from).await?;
        if let Some(error) = doubt {
            tracing::warn!(code = "source.not_compared", error = %error, hint = error.hint(),
                "the mappings could not be compared with the source's tables");
        }
        Ok(stream)
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        self.source.snapshot(epoch).await
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        self.source.catalogue(tables).await
    }

    fn can_query(&self) -> bool {
        self.source.can_query()
    }

    async fn query(&self, query: &ReadQuery) -> Result<ReadRows, SourceError> {
        self.source.query(query).await
    }

    fn silence_max(&self) -> Duration {
        self.source.silence_max()
    }
}
