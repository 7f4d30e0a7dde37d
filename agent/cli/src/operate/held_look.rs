//! What a mapping makes of a held row as it is at the source now.

use contract::Finding;
use mappings::{Catalogue, MappingSet};
use serde_json::Value;
use state::HeldChange;

use crate::config::Config;
use crate::map::{Looked, live};

/// Reads a held change's row, and what it is joined with, and tries its rule on them. Nothing is written.
pub(super) async fn look(
    config: &Config,
    change: &HeldChange,
    data: &str,
) -> Result<Looked, Vec<Finding>> {
    let what = || format!("source {}", change.source);
    let source = config.sources.iter().find(|one| one.name == change.source);
    let source =
        source.ok_or_else(|| vec![Finding::fail(what(), "is not in the settings any more")])?;
    let tables = live::tables(source).await?;
    let files = source.files()?;
    let set = MappingSet::new(files.load(&Catalogue::new(&tables))?)?;
    if !set.rules().any(|rule| rule.id == change.rule) {
        let found = format!("the mapping has no rule {} any more", change.rule);
        let fix =
            "its item goes when its table was read again: lighterman held retry --cause mapping";
        return Err(vec![Finding::fail(what(), found).fix(fix)]);
    }
    let own = set.own_tables(&change.rule);
    let table = own.iter().find(|own| own.table.to_string() == change.table);
    let Some(table) = table else {
        let found = format!(
            "rule {} does not begin with rows of {}",
            change.rule, change.table
        );
        let fix = "lighterman map try --table .. --key .. on a row that it begins with";
        return Err(vec![Finding::fail(what(), found).fix(fix)]);
    };
    let alias = set.own_alias(&change.rule);
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    let cell = |column: &String| {
        [
            &data["after"][column.as_str()],
            &data["before"][column.as_str()],
            &data["rows"][format!("{alias}.{column}").as_str()],
        ]
        .into_iter()
        .find_map(|cell| cell.as_str().map(str::to_owned))
    };
    let key: Option<Vec<String>> = table.key.iter().map(cell).collect();
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
        let found = "its row's key is not known: the row cannot be looked for";
        vec![Finding::fail(change.table.clone(), found)]
    })?;
    Looked::at(source, &tables, &set, &change.rule, &table.clone(), &key).await
}
