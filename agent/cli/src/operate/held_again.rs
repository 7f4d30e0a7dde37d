//! What a mapping holds is tried anew by reading its tables as they are now.

use std::collections::BTreeMap;

use contract::Finding;
use state::StateReader;

use crate::audit;
use crate::config::Config;
use crate::resync;

/// Has tables read again and compared: those that are, as `source table`, and why others are not.
pub(super) async fn read_again(
    config: &Config,
    tables: &[(String, String)],
) -> (Vec<String>, Vec<Finding>) {
    let mut of_source: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let (mut read, mut failed) = (Vec::new(), Vec::new());
    let known = StateReader::open(&config.state_folder).and_then(|reader| reader.sources());
    let known = known.unwrap_or_default();
    for (source, table) in tables {
        let mut of = known.iter().filter(|one| one.name == *source);
        let is_read = |one: &state::SourceStatus| {
            let mut tables = one.tables.iter();
            tables.any(|one| one.table == *table && !one.done)
        };
        if of.any(is_read) {
            // It would be begun anew.
            let found = "is being read already: nothing more was asked of it";
            let fix = "lighterman status says how far it is; ask again when that is done";
            failed.push(Finding::warn(format!("source {source}: {table}"), found).fix(fix));
            continue;
        }
        of_source.entry(source).or_default().push(table.clone());
    }
    for (source, tables) in of_source {
        let what = format!("source {source}");
        if !config.sources.iter().any(|one| one.name == source) {
            let found = "is not in the settings any more: nobody reads its tables";
            let fix = "lighterman held drop .. --why .. gives up what is held of it";
            failed.push(Finding::fail(what, found).fix(fix));
            continue;
        }
        match resync::again(config, source, tables.clone()).await {
            Ok(true) => {
                let details = serde_json::json!({ "tables": tables, "epoch": null });
                audit::did(&config.state_folder, "source.resync", source, details);
                read.extend(tables.iter().map(|table| format!("{source} {table}")));
            }
            Ok(false) => {
                let fix = "start the agent: it reads all of them then";
                failed.push(Finding::fail(what, "has never run").fix(fix));
            }
            Err(error) => {
                let fix = "lighterman status says how things stand";
                failed.push(Finding::fail(what, error.to_string()).fix(fix));
            }
        }
    }
    (read, failed)
}
