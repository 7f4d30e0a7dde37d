//! The end of a transaction.

use std::collections::BTreeSet;

use super::lsn::Place;
use super::state::{Change, Changed, Commit, Committed, State};
use super::table::{OPEN, Row, Table};
use super::tracking::{Did, Entry};
use crate::wire::ServerError;

impl State {
    pub(crate) fn rollback(&mut self, transaction: u64) {
        let Some(open) = self.open.remove(&transaction) else {
            return;
        };
        let stamp = OPEN | transaction;
        for (table, row) in open.touched {
            let Some(table) = self.tables.get_mut(&table) else {
                continue;
            };
            if let Some(versions) = table.rows.get_mut(&row) {
                versions.retain(|version| version.stamp != stamp);
                if versions.is_empty() {
                    table.rows.remove(&row);
                }
            }
        }
    }

    pub(crate) fn commit(&mut self, transaction: u64) -> Result<Commit, ServerError> {
        let Some(mut open) = self.open.remove(&transaction) else {
            return Err(ServerError::new(
                3902,
                16,
                "The transaction is not open any more.",
            ));
        };
        self.now += self.options.commit_ticks;
        if open.changes.is_empty() {
            return Ok(Commit::default());
        }
        let place = self.next_place();
        self.seq += 1;
        let stamp = OPEN | transaction;
        for (table, row) in &open.touched {
            let versions = self
                .tables
                .get_mut(table)
                .and_then(|table| table.rows.get_mut(row));
            for version in versions.into_iter().flatten() {
                if version.stamp == stamp {
                    version.stamp = self.seq;
                }
            }
        }
        let version = self.track(&open.changes);
        if open.reversed {
            let mut places: Vec<Place> = open.changes.iter().map(|(place, _)| *place).collect();
            places.reverse();
            for ((place, _), turned) in open.changes.iter_mut().zip(places) {
                *place = turned;
            }
        }
        // An update that changed nothing leaves nothing in the log.
        open.changes.retain(
            |(_, changed)| !matches!(&changed.what, Change::Update(old, new) if old == new),
        );
        self.log.push(Committed {
            place,
            transaction,
            begin: open.begin,
            end: self.now,
            changes: open.changes,
        });
        if self.options.capture_at_once {
            self.run_capture(usize::MAX, None);
        }
        Ok(Commit {
            place: Some(place),
            version,
        })
    }

    /// What a commit did to tracked tables, under one version.
    fn track(&mut self, changes: &[(Place, Changed)]) -> Option<i64> {
        let (seq, now, default) = (self.seq, self.now, self.collation.1);
        let tracked = |table: &i32| self.tables.get(table).is_some_and(|t| t.tracking.is_some());
        let any = changes.iter().any(|(_, changed)| tracked(&changed.table));
        let tracking = self.tracking.as_mut().filter(|_| any)?;
        tracking.version += 1;
        let version = tracking.version;
        tracking.commits.push((version, seq, now));
        for (_, changed) in changes {
            let Some(table) = self.tables.get_mut(&changed.table) else {
                continue;
            };
            if table.tracking.is_none() {
                continue;
            }
            let entry = |table: &Table, row: &Row, did: Did, columns: BTreeSet<i32>| Entry {
                version,
                key: table.key_of(row),
                same: table.sameness(table.key(), row, default),
                did,
                columns,
                from: seq,
                until: u64::MAX,
            };
            let none = BTreeSet::new;
            let entries = match &changed.what {
                Change::Insert(new) => vec![entry(table, new, Did::Insert, none())],
                Change::Delete(old) => vec![entry(table, old, Did::Delete, none())],
                Change::Update(old, new) | Change::Deferred(old, new) => {
                    let same = |row: &Row| table.sameness(table.key(), row, default);
                    if same(old) == same(new) {
                        let columns = (0..table.columns.len())
                            .filter(|at| old.get(*at) != new.get(*at))
                            .filter_map(|at| i32::try_from(at + 1).ok())
                            .collect();
                        vec![entry(table, new, Did::Update, columns)]
                    } else {
                        vec![
                            entry(table, old, Did::Delete, none()),
                            entry(table, new, Did::Insert, none()),
                        ]
                    }
                }
            };
            if let Some(tracking) = &mut table.tracking {
                tracking.entries.extend(entries);
            }
        }
        Some(version)
    }
}
