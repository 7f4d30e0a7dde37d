//! `lighterman map check`

use std::path::PathBuf;
use std::sync::Arc;

use contract::finding::worst;
use contract::{Finding, Level, Source, TableInfo};
use mappings::{Catalogue, MappingSet};

use super::files::{self, MappingFile};
use super::live::{self, Ask};
use crate::{Exit, out, refuse, say, statements};

/// Says what is wrong with mapping files: by themselves, or against a live source's catalogue.
pub(crate) async fn check(paths: &[PathBuf], ask: &Ask, json: bool) -> Exit {
    let files = match files::read_or_named(paths, &ask.config, ask.source.as_deref()) {
        Ok(files) => files,
        Err(findings) => return refuse(&findings, json),
    };
    let live = match ask.source {
        Some(_) => match asked(ask).await {
            Ok(live) => Some(live),
            Err(findings) => return refuse(&findings, json),
        },
        None => None,
    };
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(look(file, live.as_ref()).await);
    }
    if json {
        let level = worst(&findings);
        out(&serde_json::json!({ "worst": level, "findings": findings }).to_string());
    } else {
        say(&findings);
    }
    match worst(&findings) {
        Level::Fail => Exit::Settings,
        Level::Pass | Level::Warn => Exit::Ok,
    }
}

/// A live source and its tables.
type Live = (Arc<dyn Source>, Vec<TableInfo>);

async fn asked(ask: &Ask) -> Result<Live, Vec<Finding>> {
    let source = live::source(ask)?;
    let tables = live::tables(&source).await?;
    Ok((source.bare()?, tables))
}

async fn look(file: &MappingFile, live: Option<&Live>) -> Vec<Finding> {
    let tables = live.map(|(_, tables)| tables.as_slice());
    let catalogue = tables.map_or_else(Catalogue::default, Catalogue::new);
    let mapping = match file.load(&catalogue) {
        Ok(mapping) => mapping,
        Err(findings) => return findings,
    };
    let mut findings = mapping.warnings().to_vec();
    let tests = mapping.tests().len();
    let set = match MappingSet::new(vec![mapping]) {
        Ok(set) => set,
        Err(more) => return more,
    };
    for info in tables.unwrap_or_default() {
        findings.extend(other_key(&set, info));
    }
    if let Some((source, _)) = live {
        findings.extend(statements::check(&**source, &set.statements()).await);
    }
    if tests == 0 {
        let found = "has no tests: what it makes of rows is nowhere written down";
        let fix = "tests: [{name: .., given: {..}, expect: [..]}]";
        findings.push(Finding::warn(&file.name, found).fix(fix));
    }
    let against = match tables {
        Some(_) => "fits the source's tables",
        None => "is well-formed; --source checks it against a live database",
    };
    let events = set.rules().count();
    let found = format!("{events} events, {tests} tests, {against}");
    findings.push(Finding::pass(&file.name, found));
    findings
}

/// A key that the database knows otherwise.
pub(crate) fn other_key(set: &MappingSet, info: &TableInfo) -> Option<Finding> {
    let table = set
        .tables()
        .into_iter()
        .find(|table| table.table == info.table)?;
    let mut keys = [table.key.clone(), info.key.clone()];
    for key in &mut keys {
        key.sort();
    }
    if info.key.is_empty() || keys[0] == keys[1] {
        return None;
    }
    let found = format!(
        "the mapping says its rows are identified by [{}], the database by [{}]",
        table.key.join(", "),
        info.key.join(", ")
    );
    let fix = "two rows that share the mapping's key would overwrite each other";
    Some(Finding::warn(format!("table {}", info.table), found).fix(fix))
}
