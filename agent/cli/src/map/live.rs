//! What a live source's catalogue says, for mapping commands.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::{Finding, TableInfo};
use mappings::{Catalogue, MappingSet, Which};

use super::files::MappingFile;
use crate::config::{self, SourceConfig};

/// Which configured source to ask.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Ask this source of the settings what tables and columns there are; nothing is written.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// The settings file.
    #[arg(long, default_value = "lighterman.toml", env = "LIGHTERMAN_CONFIG")]
    pub(crate) config: PathBuf,
}

/// The source that is meant: by its name, or the only one.
///
/// # Errors
/// What is wrong with the settings or the name.
pub(crate) fn source(ask: &Ask) -> Result<SourceConfig, Vec<Finding>> {
    let sources = config::load_sources(&ask.config)?;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let mut sources = sources.into_iter();
    let found = match &ask.source {
        Some(name) => sources.find(|source| source.name == *name),
        None if names.len() == 1 => sources.next(),
        None => None,
    };
    found.ok_or_else(|| {
        let what = match &ask.source {
            Some(name) => format!("there is no source `{name}`"),
            None => "there are several sources".to_owned(),
        };
        let fix = format!("--source, one of {}", names.join(", "));
        vec![Finding::fail("--source", what).fix(fix)]
    })
}

/// Every table of a source.
///
/// # Errors
/// Why the source does not answer.
pub(crate) async fn tables(source: &SourceConfig) -> Result<Vec<TableInfo>, Vec<Finding>> {
    let what = format!("source {}", source.name);
    let asked = source.bare()?.catalogue(&[]).await;
    let tables = asked.map_err(|error| {
        let finding = Finding::fail(&what, error.to_string());
        let hint = error.hint().unwrap_or("lighterman check says more");
        vec![finding.fix(hint)]
    })?;
    if tables.is_empty() {
        let found = "says nothing about its tables: there are none, or its login may see none";
        let fix = "as the database's administrator, GRANT SELECT on the table to the user in the settings";
        return Err(vec![Finding::fail(what, found).fix(fix)]);
    }
    Ok(tables)
}

/// A mapping file, checked against a source's tables, for the company the source holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn load(
    source: &SourceConfig,
    path: &Path,
    tables: &[TableInfo],
) -> Result<MappingSet, Vec<Finding>> {
    let file = MappingFile::read(path).map_err(|finding| vec![finding])?;
    let company = source.company.as_deref().map_or(Which::First, Which::Named);
    MappingSet::new(vec![file.load_as(company, &Catalogue::new(tables))?])
}
