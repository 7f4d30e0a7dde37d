//! What a mapping holds is tried anew by reading its tables as they are now.

use std::collections::BTreeMap;

use contract::Finding;

use crate::audit;
use crate::config::Config;
use crate::resync;

/// Has tables read again and compared: those that are, as `source table`, and why others are not.
pub(super) async fn read_again(
    config: &Config,
    tables: &[(String, String)],
) -> (Vec<String>, Vec<Finding>) {
    let mut of_source: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (source, table) in tables {
        of_source.entry(source).or_default().push(table.clone());
    }
    let (mut read, mut failed) = (Vec::new(), Vec::new());
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
