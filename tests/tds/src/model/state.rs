//! Everything the database is at a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capture::Capture;
use super::lsn::Place;
use super::options::Options;
use super::rights::User;
use super::table::{OPEN, Row, Table, Version, View, locked};
use super::tracking::{Did, Entry, Tracking};
use crate::wire::{Collation, ServerError, Value};

/// What happened to a row.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Insert(Row),
    Delete(Row),
    Update(Row, Row),
    /// An update that the server does as a delete and an insert.
    Deferred(Row, Row),
}

/// A change with its table and the command that did it.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) table: i32,
    pub(crate) command: i32,
    pub(crate) what: Change,
}

/// A transaction in the log, with the place of each change.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) place: Place,
    pub(crate) transaction: u64,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) changes: Vec<(Place, Changed)>,
}

/// A transaction that is open.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) begin: i64,
    pub(crate) commands: i32,
    pub(crate) changes: Vec<(Place, Changed)>,
    pub(crate) first_rowversion: Option<u64>,
    pub(crate) touched: Vec<(i32, u64)>,
    pub(crate) reversed: bool,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the log; none when it changed nothing.
    pub place: Option<Place>,
    /// Its version in Change Tracking; none when it changed no tracked table.
    pub version: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) collation: (String, Collation),
    pub(crate) snapshot_allowed: bool,
    pub(crate) committed_snapshot: bool,
    pub(crate) updateable: bool,
    pub(crate) fork: u128,
    pub(crate) first_fork: u128,
    pub(crate) database_guid: u128,
    pub(crate) created: i64,
    /// Rises with every commit that readers can see.
    pub(crate) seq: u64,
    pub(crate) log_end: Place,
    pub(crate) dbts: u64,
    /// The server's clock: 100 nanoseconds since 0001-01-01 in UTC.
    pub(crate) now: i64,
    pub(crate) offset_minutes: i16,
    pub(crate) schemas: Vec<(i32, String)>,
    pub(crate) tables: BTreeMap<i32, Table>,
    pub(crate) last_object: i32,
    pub(crate) last_transaction: u64,
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) log: Vec<Committed>,
    pub(crate) capture: Option<Capture>,
    pub(crate) tracking: Option<Tracking>,
    pub(crate) users: Vec<User>,
    pub(crate) roles: BTreeSet<String>,
    /// Rises with each restore: connections from before it are dead.
    pub(crate) life: u64,
}

impl State {
    pub(crate) fn next_place(&mut self) -> Place {
        self.log_end += 1;
        self.log_end
    }

    pub(crate) fn next_object(&mut self) -> i32 {
        self.last_object += 16;
        self.last_object
    }

    /// What is committed now, and what a transaction of its own did.
    pub(crate) fn view(&self, own: Option<u64>) -> View {
        View {
            seq: self.seq,
            own,
            snapshot: false,
        }
    }

    pub(crate) fn begin(&mut self) -> u64 {
        self.last_transaction += 1;
        let open = Open {
            begin: self.now,
            commands: 0,
            changes: Vec::new(),
            first_rowversion: None,
            touched: Vec::new(),
            reversed: false,
        };
        self.open.insert(self.last_transaction, open);
        self.last_transaction
    }

    fn open(&mut self, transaction: u64) -> Result<&mut Open, ServerError> {
        self.open
            .get_mut(&transaction)
            .ok_or_else(|| ServerError::new(3902, 16, "The transaction is not open any more."))
    }

    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables
            .values()
            .find(|t| super::same_name(&t.schema, schema) && super::same_name(&t.name, name))
    }

    fn write(&mut self, transaction: u64, table: i32, row: u64, new: Option<Row>) {
        let stamp = OPEN | transaction;
        let default = self.collation.1;
        if let Some(table) = self.tables.get_mut(&table) {
            if let Some(row_now) = &new {
                let key = table.key().to_vec();
                let same = table.sameness(&key, row_now, default);
                table.by_key.entry(same).or_default().insert(row);
            }
            let versions = table.rows.entry(row).or_default();
            match versions.last_mut() {
                Some(last) if last.stamp == stamp => last.row = new,
                _ => versions.push(Version { stamp, row: new }),
            }
        }
        if let Some(open) = self.open.get_mut(&transaction) {
            open.touched.push((table, row));
        }
    }

    /// The next value of `rowversion` for a transaction.
    fn rowversion(&mut self, transaction: u64) -> Value {
        self.dbts += 1;
        let now = self.dbts;
        if let Some(open) = self.open.get_mut(&transaction) {
            open.first_rowversion.get_or_insert(now);
        }
        Value::Bytes(now.to_be_bytes().to_vec())
    }

    /// The lowest rowversion of an open transaction, else the next one.
    pub(crate) fn min_active_rowversion(&self) -> u64 {
        let active = self
            .open
            .values()
            .filter_map(|open| open.first_rowversion)
            .min();
        active.unwrap_or(self.dbts + 1)
    }

    pub(crate) fn command(&mut self, transaction: u64) -> Result<i32, ServerError> {
        let open = self.open(transaction)?;
        open.commands += 1;
        Ok(open.commands)
    }

    /// Fills in what the server gives: rowversion, identity, computed columns. Checks what must not be NULL.
    fn complete(
        &mut self,
        transaction: u64,
        id: i32,
        mut row: Vec<Value>,
        insert: bool,
    ) -> Result<Row, ServerError> {
        let Some(table) = self.tables.get(&id) else {
            return Err(ServerError::invalid_object("?"));
        };
        let columns = table.columns.clone();
        let (name, schema) = (table.name.clone(), table.schema.clone());
        row.resize(columns.len(), Value::Null);
        for (at, column) in columns.iter().enumerate() {
            if column.dropped {
                continue;
            }
            if column.rowversion {
                row[at] = self.rowversion(transaction);
            } else if column.identity && insert && row[at] == Value::Null {
                let next = self.tables.get_mut(&id).map_or(1, |table| {
                    table.next_identity += 1;
                    table.next_identity
                });
                row[at] = crate::statements::convert(
                    &Value::BigInt(next),
                    &crate::wire::Type::BigInt,
                    &column.kind,
                    0,
                )?;
            }
        }
        for (at, column) in columns.iter().enumerate() {
            if let Some(expr) = &column.computed {
                row[at] = crate::statements::computed(self, id, expr, &row, &column.kind)?;
            }
            if row[at] == Value::Null && !column.nullable && !column.dropped {
                return Err(ServerError::new(
                    515,
                    16,
                    format!(
                        "Cannot insert the value NULL into column '{}', table '{}.{schema}.{name}'; \
                         column does not allow nulls. {} fails.",
                        column.name,
                        self.name,
                        if insert { "INSERT" } else { "UPDATE" }
                    ),
                ));
            }
        }
        Ok(Arc::new(row))
    }

    fn unique(
        &self,
        transaction: u64,
        table: i32,
        row: &Row,
        except: Option<u64>,
    ) -> Result<(), ServerError> {
        let Some(table) = self.tables.get(&table) else {
            return Ok(());
        };
        let own = View {
            seq: self.seq,
            own: Some(transaction),
            snapshot: false,
        };
        for index in table.indexes.iter().filter(|index| index.unique) {
            let same = table.sameness(&index.columns, row, self.collation.1);
            let other = |id: u64, versions: &[Version]| {
                if Some(id) == except {
                    return None;
                }
                let holds = |row: &Option<Row>| {
                    row.as_ref().is_some_and(|row| {
                        table.sameness(&index.columns, row, self.collation.1) == same
                    })
                };
                if locked(versions, Some(transaction))
                    && versions.iter().rev().take(2).any(|v| holds(&v.row))
                {
                    return Some(lock_timeout());
                }
                let now = versions
                    .iter()
                    .rev()
                    .find(|version| own.sees(version.stamp))?;
                holds(&now.row).then(|| {
                    ServerError::new(
                        if index.primary { 2627 } else { 2601 },
                        14,
                        format!(
                            "Violation of unique index '{}'. Cannot insert duplicate key in object '{}'.",
                            index.name,
                            table.full_name()
                        ),
                    )
                })
            };
            let clash = if index.primary {
                let ids = table.by_key.get(&same).into_iter().flatten();
                ids.filter_map(|id| table.rows.get(id).map(|v| (*id, v)))
                    .find_map(|(id, v)| other(id, v))
            } else {
                table
                    .rows
                    .iter()
                    .find_map(|(id, versions)| other(*id, versions))
            };
            if let Some(error) = clash {
                return Err(error);
            }
        }
        Ok(())
    }

    fn log(
        &mut self,
        transaction: u64,
        table: i32,
        command: i32,
        what: Change,
    ) -> Result<(), ServerError> {
        let place = self.next_place();
        self.open(transaction)?.changes.push((
            place,
            Changed {
                table,
                command,
                what,
            },
        ));
        Ok(())
    }

    pub(crate) fn insert(
        &mut self,
        transaction: u64,
        table: i32,
        rows: Vec<Vec<Value>>,
    ) -> Result<u64, ServerError> {
        self.writable()?;
        let command = self.command(transaction)?;
        let count = rows.len() as u64;
        for row in rows {
            let row = self.complete(transaction, table, row, true)?;
            self.unique(transaction, table, &row, None)?;
            let id = self.tables.get_mut(&table).map_or(0, |table| {
                table.next_row += 1;
                table.next_row
            });
            self.write(transaction, table, id, Some(Arc::clone(&row)));
            self.log(transaction, table, command, Change::Insert(row))?;
        }
        Ok(count)
    }

    /// Updates rows in one command. Rows that are given new keys in a command of several are told as DELETE
    /// and INSERT, or always or never, as the options say.
    pub(crate) fn update(
        &mut self,
        transaction: u64,
        table: i32,
        rows: Vec<(u64, Vec<Value>)>,
        deferred: bool,
    ) -> Result<u64, ServerError> {
        self.writable()?;
        let command = self.command(transaction)?;
        let several = rows.len() > 1;
        let count = rows.len() as u64;
        let mut done = Vec::new();
        for (id, new) in rows {
            let old = self.own_row(transaction, table, id)?;
            let new = self.complete(transaction, table, new, false)?;
            self.write(transaction, table, id, Some(Arc::clone(&new)));
            done.push((id, old, new));
        }
        for (id, old, new) in done {
            self.unique(transaction, table, &new, Some(id))?;
            let moved = self.tables.get(&table).is_some_and(|table| {
                let unique = table.indexes.iter().filter(|index| index.unique);
                unique
                    .flat_map(|index| &index.columns)
                    .any(|at| old.get(*at) != new.get(*at))
            });
            let deferred = deferred || (moved && self.options.key_change.is_deferred(several));
            // What changes nothing is not in the log; Change Tracking tells it all the same.
            let what = if deferred {
                Change::Deferred(old, new)
            } else {
                Change::Update(old, new)
            };
            self.log(transaction, table, command, what)?;
        }
        Ok(count)
    }

    pub(crate) fn delete(
        &mut self,
        transaction: u64,
        table: i32,
        rows: &[u64],
    ) -> Result<u64, ServerError> {
        self.writable()?;
        let command = self.command(transaction)?;
        for id in rows {
            let old = self.own_row(transaction, table, *id)?;
            self.write(transaction, table, *id, None);
            self.log(transaction, table, command, Change::Delete(old))?;
        }
        Ok(rows.len() as u64)
    }

    fn writable(&self) -> Result<(), ServerError> {
        if self.updateable {
            return Ok(());
        }
        Err(ServerError::new(
            3906,
            16,
            format!(
                "Failed to update database \"{}\" because the database is read-only.",
                self.name
            ),
        ))
    }

    fn own_row(&self, transaction: u64, table: i32, id: u64) -> Result<Row, ServerError> {
        let view = self.view(Some(transaction));
        let versions = self
            .tables
            .get(&table)
            .and_then(|table| table.rows.get(&id));
        let versions = versions.map_or(&[][..], Vec::as_slice);
        if locked(versions, Some(transaction)) {
            return Err(lock_timeout());
        }
        let now = versions
            .iter()
            .rev()
            .find(|version| view.sees(version.stamp));
        now.and_then(|version| version.row.clone())
            .ok_or_else(|| ServerError::new(50_000, 16, "The model has no such row."))
    }

    /// The row with a key, as a transaction of its own sees it.
    pub(crate) fn row_with_key(
        &self,
        view: View,
        table: &Table,
        key: &[Value],
    ) -> Option<(u64, Row)> {
        let mut row = vec![Value::Null; table.columns.len()];
        for (at, value) in table.key().iter().zip(key) {
            row[*at] = value.clone();
        }
        let same = table.sameness(table.key(), &row, self.collation.1);
        table.by_key.get(&same)?.iter().find_map(|id| {
            let versions = table.rows.get(id)?;
            let now = versions
                .iter()
                .rev()
                .find(|version| view.sees(version.stamp))?;
            let now = now.row.as_ref()?;
            (table.sameness(table.key(), now, self.collation.1) == same)
                .then(|| (*id, Arc::clone(now)))
        })
    }

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

pub(crate) fn lock_timeout() -> ServerError {
    let mut error = ServerError::new(1222, 16, "Lock request time out period exceeded.");
    error.state = 51;
    error
}
