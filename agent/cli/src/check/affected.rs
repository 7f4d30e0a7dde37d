//! Which events suffer where a source's tables are not as the mappings need them: what a person asks
//! first after an ERP's upgrade.

use std::collections::BTreeMap;

use contract::{CapturedTable, EventType, Finding, TableInfo};
use mappings::MappingSet;

/// What is missing, by event; nothing where nothing is.
pub(super) fn look(what: &str, mapping: &MappingSet, tables: &[TableInfo]) -> Option<Finding> {
    let mut missing: BTreeMap<&str, (EventType, Vec<String>)> = BTreeMap::new();
    for (event_type, needed) in mapping.needs() {
        let Some(lack) = lack(&needed, tables) else {
            continue;
        };
        let (_, lacks) = missing
            .entry(event_type.name())
            .or_insert((event_type, Vec::new()));
        if !lacks.contains(&lack) {
            lacks.push(lack);
        }
    }
    if missing.is_empty() {
        return None;
    }
    let events: Vec<String> = missing
        .values()
        .map(|(event_type, lacks)| {
            let (title, name) = (event_type.title(), event_type.name());
            format!("{title} ({name}): {}", lacks.join(", "))
        })
        .collect();
    let found = format!(
        "differs from what the mappings need, as after an upgrade of the application, or where a mapping is not \
         finished. These events are affected, and rows that need what is missing are held: {}",
        events.join("; ")
    );
    let fix = "give the rules the new names, see lighterman map check --source NAME; then \
               lighterman source resync --table TABLE tells what was held";
    Some(Finding::fail(format!("{what}: schema"), found).fix(fix))
}

/// What a table lacks.
fn lack(needed: &CapturedTable, tables: &[TableInfo]) -> Option<String> {
    let name = &needed.table;
    let Some(there) = tables.iter().find(|there| {
        there.table.name.eq_ignore_ascii_case(&name.name)
            && there.table.schema.eq_ignore_ascii_case(&name.schema)
    }) else {
        return Some(format!("there is no table {name}"));
    };
    let has = |wanted: &String| {
        let mut columns = there.columns.iter();
        columns.any(|column| column.name.eq_ignore_ascii_case(wanted))
    };
    let wanted = needed.key.iter().chain(&needed.columns);
    let mut lacks: Vec<&str> = wanted
        .filter(|wanted| !has(wanted))
        .map(String::as_str)
        .collect();
    lacks.dedup();
    (!lacks.is_empty()).then(|| format!("{name} has no {}", lacks.join(", ")))
}
