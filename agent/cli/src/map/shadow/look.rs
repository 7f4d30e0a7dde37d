//! Both mappings tried on the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use contract::event::digest;
use contract::{Clock, Finding, Source, TableInfo, TableName, Value};
use engine::ChangedRow;
use engine::clock::SystemClock;
use mappings::MappingSet;
use serde_json::{Value as Json, json};
use state::{ShadowCounts, ShadowDifference};

use super::super::diff::{Made, compare};
use super::super::rows::{Pick, Reader, run};
use crate::config::SourceConfig;

/// Differences of one look that are kept.
const KEPT_MAX: usize = 200;

/// The mapping in force and the one that is tried.
pub(super) struct Both {
    old: Arc<MappingSet>,
    new: MappingSet,
    /// Who reads the rows for each; they keep their connections.
    asked: [Arc<dyn Source>; 2],
    tables: Vec<TableInfo>,
    /// When the new one's files were written.
    written: Vec<Option<SystemTime>>,
}

/// What one look found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) counts: ShadowCounts,
    pub(super) differences: Vec<ShadowDifference>,
}

impl Both {
    pub(super) fn new(
        source: &SourceConfig,
        old: Arc<MappingSet>,
        new: MappingSet,
        tables: Vec<TableInfo>,
        written: Vec<Option<SystemTime>>,
    ) -> Result<Self, Vec<Finding>> {
        let asked = [
            source.capturing(old.tables())?,
            source.capturing(new.tables())?,
        ];
        Ok(Self {
            old,
            new,
            asked,
            tables,
            written,
        })
    }

    /// Tables that the reading of one row may touch, at most, for both mappings.
    pub(super) fn reach(&self) -> usize {
        self.old.tables().len() + self.new.tables().len()
    }

    pub(super) fn is_of(&self, old: &Arc<MappingSet>, written: &[Option<SystemTime>]) -> bool {
        Arc::ptr_eq(&self.old, old) && self.written == written
    }

    /// Of all that either makes events of.
    pub(super) fn digest(&self) -> String {
        let rules = |set: &MappingSet| -> Vec<String> {
            let mut all: Vec<String> = set
                .rules()
                .map(|rule| rule.id + " " + &rule.digest)
                .collect();
            all.sort();
            all
        };
        let (old, new) = (rules(&self.old).join("\n"), rules(&self.new).join("\n"));
        digest(&[&old, &new])
    }

    /// Reads rows of one table by their keys, and tries both mappings on them.
    pub(super) async fn look(&self, rows: &[ChangedRow]) -> Result<Found, Vec<Finding>> {
        let mut found = Found::default();
        let Some(first) = rows.first() else {
            return Ok(found);
        };
        let table = &first.table;
        let begins = |set: &MappingSet| !set.beginning_with(table).is_empty();
        if !begins(&self.old) && !begins(&self.new) {
            // A table that is only joined: whose events it touches is known to the mapping in force alone.
            found.counts.left_out = rows.len() as u64;
            return Ok(found);
        }
        let keys: Vec<Vec<Value>> = rows.iter().map(|row| row.key.clone()).collect();
        let [old, new] = &self.asked;
        let before = self.made(&**old, &self.old, table, &keys).await?;
        let after = self.made(&**new, &self.new, table, &keys).await?;
        let difference = compare(&before, &after);
        let differs = !(difference.changed.is_empty()
            && difference.added.is_empty()
            && difference.removed.is_empty()
            && difference.held.is_empty()
            && difference.freed.is_empty());
        // A row that changed between the two readings is no difference of mappings; it comes again.
        if differs && self.made(&**old, &self.old, table, &keys).await? != before {
            found.counts.left_out = rows.len() as u64;
            return Ok(found);
        }
        found.counts = ShadowCounts {
            rows: rows.len() as u64,
            left_out: 0,
            same: difference.same as u64,
            changed: difference.changed.len() as u64,
            added: difference.added.len() as u64,
            removed: difference.removed.len() as u64,
            held: difference.held.len() as u64,
            freed: difference.freed.len() as u64,
        };
        let mut all: BTreeMap<&'static str, Vec<(String, Json)>> = BTreeMap::new();
        let changed = difference.changed.into_iter().map(|(event, fields)| {
            let fields = fields.into_iter();
            let fields: serde_json::Map<String, Json> = fields
                .map(|(name, old, new)| (name, json!({ "old": old, "new": new })))
                .collect();
            (event, Json::Object(fields))
        });
        all.insert("changed", changed.collect());
        let plain = |events: Vec<String>| {
            events
                .into_iter()
                .map(|event| (event, Json::Null))
                .collect()
        };
        all.insert("added", plain(difference.added));
        all.insert("removed", plain(difference.removed));
        let reasons = |lines: Vec<String>| {
            let split = |line: String| match line.split_once(": ") {
                Some((what, reason)) => (what.to_owned(), json!(reason)),
                None => (line, Json::Null),
            };
            lines.into_iter().map(split).collect()
        };
        all.insert("held", reasons(difference.held));
        all.insert("freed", reasons(difference.freed));
        let now = SystemClock.now();
        let each = all.into_iter().flat_map(|(class, events)| {
            events
                .into_iter()
                .map(move |(what, details)| ShadowDifference {
                    class: class.to_owned(),
                    what,
                    details,
                    seen_at: now,
                })
        });
        found.differences = each.take(KEPT_MAX).collect();
        Ok(found)
    }

    async fn made(
        &self,
        asked: &dyn Source,
        set: &MappingSet,
        table: &TableName,
        keys: &[Vec<Value>],
    ) -> Result<Made, Vec<Finding>> {
        let rules = set.beginning_with(table);
        let mut made = Made::default();
        if rules.is_empty() {
            return Ok(made);
        }
        let set = set.only(&rules);
        let pick = Pick::Keys(table.clone(), keys.to_vec());
        let rows = Reader::new(asked, &self.tables, &set)
            .by_key_only()
            .read(&rules, &pick)
            .await?;
        made.take(&run(Some(asked), &set, &rows, keys.len()).await?.outcome);
        Ok(made)
    }
}
