//! `lighterman map explain`

use std::path::PathBuf;

use contract::TableInfo;
use mappings::{
    Catalogue, Explained, ExplainedEvent, ExplainedReplica, ExplainedTable, MappingSet,
};

use super::files;
use super::live::{self, Ask};
use crate::{Exit, out, refuse};

/// Says, per event, what influences it and what is kept for it; with a source also how many rows
/// its tables have, where it knows without counting.
pub(crate) async fn explain(paths: &[PathBuf], ask: &Ask, json: bool) -> Exit {
    let files = match files::read(paths) {
        Ok(files) => files,
        Err(findings) => return refuse(&findings, json),
    };
    let tables = match ask.source {
        Some(_) => match asked(ask).await {
            Ok(tables) => Some(tables),
            Err(findings) => return refuse(&findings, json),
        },
        None => None,
    };
    let catalogue = tables
        .as_deref()
        .map_or_else(Catalogue::default, Catalogue::new);
    let mut all = Vec::new();
    let mut findings = Vec::new();
    for file in files {
        let set = file
            .load(&catalogue)
            .and_then(|mapping| MappingSet::new(vec![mapping]));
        let tables = tables.as_deref().unwrap_or_default();
        match set {
            Ok(set) => all.push((file.name, set.explain(tables))),
            Err(more) => findings.extend(more),
        }
    }
    if !findings.is_empty() {
        return refuse(&findings, json);
    }
    if json {
        let files = all.iter().map(|(file, explained)| {
            serde_json::json!({
                "file": file,
                "events": explained.events,
                "replicas": explained.replicas,
            })
        });
        let files: Vec<serde_json::Value> = files.collect();
        out(&serde_json::json!({ "files": files }).to_string());
        return Exit::Ok;
    }
    for (file, explained) in &all {
        out(file);
        explained.events.iter().for_each(print);
        print_kept(explained);
    }
    Exit::Ok
}

async fn asked(ask: &Ask) -> Result<Vec<TableInfo>, Vec<contract::Finding>> {
    live::tables(&live::source(ask)?).await
}

fn print(event: &ExplainedEvent) {
    out(&format!("  {}: {}", event.rule, event.emits));
    out(&format!("    key    {}", event.key.join(", ")));
    out(&format!("    fields {}", event.fields.join(", ")));
    if event.one_row {
        out("    works on one row alone; no rows are kept");
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
    let mut told = Vec::new();
    if event.bytes_per_row > 0 {
        let bytes = event.bytes_per_row;
        told.push(format!("{bytes} bytes for each of its own rows"));
    }
    if event.bytes_per_key > 0 {
        let bytes = event.bytes_per_key;
        told.push(format!("{bytes} bytes for each key"));
    }
    if !told.is_empty() {
        out(&format!(
            "    what was told is kept: about {}",
            told.join(", and ")
        ));
    }
}

/// What is kept of tables, each once for all events of the file.
fn print_kept(explained: &Explained) {
    if explained.replicas.is_empty() {
        return;
    }
    out("  kept of tables, once for all events above, with texts of 20 characters:");
    explained.replicas.iter().for_each(print_replica);
    let known = explained.replicas.iter().map(bytes);
    let known: Option<Vec<u64>> = known.collect();
    if let Some(known) = known {
        let all = known.iter().sum();
        out(&format!("    together about {}", size(all)));
    }
}

fn print_replica(replica: &ExplainedReplica) {
    out(&format!("    {}", replica.table));
    out(&format!("      columns {}", replica.columns.join(", ")));
    for index in &replica.indexes {
        out(&format!("      index on {index}"));
    }
    let each = replica.bytes_per_row;
    out(&match (replica.rows, bytes(replica)) {
        (Some(rows), Some(all)) => format!(
            "      about {each} bytes a row; {rows} rows by the database's own estimate: {}",
            size(all)
        ),
        _ => format!(
            "      about {each} bytes a row, {} for 1,000 rows",
            size(each * 1_000)
        ),
    });
}

fn bytes(replica: &ExplainedReplica) -> Option<u64> {
    replica.rows?.checked_mul(replica.bytes_per_row)
}

fn size(bytes: u64) -> String {
    match bytes {
        ..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
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
    if let Some(index) = &table.index {
        out(&format!("      by the index {index}"));
    }
    if let (Some(through), Some(index)) = (&table.felt_through, &table.reverse_index) {
        out(&format!(
            "      a change reaches the event through {through}, by the index {index}"
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
}
