//! What stands in the state file, counted: tables, what is held, and what persons did last.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use state::{AuditFilter, AuditRecord, HeldFilter, StateReader, StoreError};

use super::{Had, masked};
use crate::audit::form;

/// Reading all of the state file may take as long.
const WITHIN: Duration = Duration::from_mins(1);
/// The newest entries of the audit record.
const AUDIT_MAX: u32 = 500;
/// Held items that are named.
const HELD_MAX: usize = 1_000;

/// How it stands.
pub(super) struct Stands {
    /// Size of each table; why not, as a text.
    pub(super) tables: Value,
    pub(super) held: Result<Value, String>,
    pub(super) audit: Had,
}

pub(super) async fn stands(folder: &Path, with_keys: bool) -> Stands {
    let tables = within(folder, |reader| Ok(json!(reader.table_sizes()?)));
    let held = within(folder, move |reader| held(reader, with_keys));
    let audit = within(folder, move |reader| audit(reader, with_keys));
    let (tables, held, audit) = tokio::join!(tables, held, audit);
    Stands {
        tables: tables.unwrap_or_else(|why| json!({ "not_had": why })),
        held,
        audit,
    }
}

async fn within<T: Send + 'static>(
    folder: &Path,
    read: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let folder = folder.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let reader = StateReader::open(&folder)?;
        if !reader.exists() {
            let file = state::file_path(&folder);
            return Err(StoreError::Missing { file });
        }
        read(&reader)
    });
    match tokio::time::timeout(WITHIN, reading).await {
        Err(_) => Err(format!(
            "reading it took longer than {} s",
            WITHIN.as_secs()
        )),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => found.map_err(|error| error.to_string()),
    }
}

fn held(reader: &StateReader, with_keys: bool) -> Result<Value, StoreError> {
    let counts = reader.held_counts()?;
    if !with_keys {
        return Ok(json!({ "counts": counts }));
    }
    let mut items = Vec::new();
    reader.held_each(&HeldFilter::default(), |item| {
        items.push(json!(item));
        items.len() < HELD_MAX
    })?;
    Ok(json!({ "counts": counts, "items": items }))
}

/// The newest entries, as they are or without who and what nobody knows of.
fn audit(reader: &StateReader, with_keys: bool) -> Result<(String, Vec<String>), StoreError> {
    let newest = AuditFilter {
        limit: AUDIT_MAX,
        ..AuditFilter::default()
    };
    let found = reader.audit(&newest)?;
    let cut = found.first().is_some_and(|first| first.number > 1);
    let mut said: Vec<String> = cut
        .then(|| format!("cut: the newest {} entries", found.len()))
        .into_iter()
        .collect();
    if !with_keys {
        said.push("persons are numbered, and what they wrote is left out".to_owned());
    }
    Ok((lines(&found, with_keys), said))
}

fn lines(records: &[AuditRecord], with_keys: bool) -> String {
    let mut people = BTreeMap::new();
    let mut text = String::new();
    for record in records {
        let mut entry = form(record);
        if !with_keys {
            masked::known(&mut entry);
            let numbered = numbered(&record.who, &mut people);
            if let Some(who) = entry.get_mut("who") {
                *who = numbered.into();
            }
        }
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    text
}

/// `os:person-1` in place of `os:anna`.
fn numbered(who: &str, people: &mut BTreeMap<String, usize>) -> String {
    let Some((kind, _)) = who.split_once(':') else {
        return if who == "agent" { who } else { "somebody" }.to_owned();
    };
    let next = people.len() + 1;
    let number = *people.entry(who.to_owned()).or_insert(next);
    format!("{kind}:person-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_numbered_in_the_order_they_come() {
        let mut people = BTreeMap::new();
        let mut check = |who: &str, wanted: &str| assert_eq!(numbered(who, &mut people), wanted);
        check("os:anna", "os:person-1");
        check("token:reports", "token:person-2");
        check("os:anna", "os:person-1");
        check("agent", "agent");
        check("anna", "somebody");
    }
}
