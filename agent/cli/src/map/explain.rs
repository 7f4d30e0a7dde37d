//! `lighterman map explain`

use std::path::PathBuf;

use mappings::{Catalogue, ExplainedEvent, ExplainedTable, MappingSet};

use super::files;
use crate::{Exit, out, refuse};

/// Says, per event, what influences it and what is kept for it.
pub(crate) fn explain(paths: &[PathBuf], json: bool) -> Exit {
    let files = match files::read(paths) {
        Ok(files) => files,
        Err(findings) => return refuse(&findings, json),
    };
    let mut all = Vec::new();
    let mut findings = Vec::new();
    for file in files {
        let set = file
            .load(&Catalogue::default())
            .and_then(|mapping| MappingSet::new(vec![mapping]));
        match set {
            Ok(set) => all.push((file.name, set.explain())),
            Err(more) => findings.extend(more),
        }
    }
    if !findings.is_empty() {
        return refuse(&findings, json);
    }
    if json {
        let files: Vec<serde_json::Value> = all
            .iter()
            .map(|(file, events)| serde_json::json!({ "file": file, "events": events }))
            .collect();
        out(&serde_json::json!({ "files": files }).to_string());
        return Exit::Ok;
    }
    for (file, events) in &all {
        out(file);
        events.iter().for_each(print);
    }
    Exit::Ok
}

fn print(event: &ExplainedEvent) {
    out(&format!("  {}: {}", event.rule, event.emits));
    out(&format!("    key    {}", event.key.join(", ")));
    out(&format!("    fields {}", event.fields.join(", ")));
    if event.one_row {
        out("    works on one row alone; nothing is kept");
    }
    if event.grouped {
        out("    several rows make one event; their sums are kept");
    }
    if event.shared_key {
        out("    two rows can have one key, so all are kept, with what each told");
    }
    if let Some(statement) = &event.statement {
        out("    read by key:");
        for line in statement.trim_end().lines() {
            out(&format!("      | {line}"));
        }
    }
    event.tables.iter().for_each(print_table);
}

fn print_table(table: &ExplainedTable) {
    out(&format!(
        "    {} = {}: {}",
        table.alias, table.table, table.role
    ));
    if let Some(found_by) = &table.found_by {
        let words: Vec<&str> = found_by.split_whitespace().collect();
        out(&format!("      found by {}", words.join(" ")));
    }
    if let Some(missing) = table.missing {
        out(&format!("      if there is none: {missing}"));
    }
    if let Some(through) = &table.felt_through {
        out(&format!(
            "      a change reaches the event through {through}"
        ));
    }
    if let Some(history) = &table.history {
        out(&format!("      finished rows are looked for in {history}"));
    }
    for asks in &table.asks {
        out(&format!("      a change of any column asks with {asks}"));
    }
    if table.asks.is_empty() {
        out(&format!(
            "      a change is felt in {}",
            table.columns.join(", ")
        ));
    }
    if table.bytes_per_row > 0 {
        out(&format!(
            "      kept: these columns, about {} bytes a row",
            table.bytes_per_row
        ));
    }
}
