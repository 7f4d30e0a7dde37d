//! INSERT, UPDATE and DELETE on rows and in the log.

use std::sync::Arc;

use super::options::KeyChange;
use super::state::{Change, Changed, State, lock_timeout};
use super::table::{OPEN, Row, Version, View, locked};
use crate::wire::{ServerError, Value};

impl State {
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
        let open = self.open.get(&transaction);
        let first = open.and_then(|open| open.first_rowversion);
        if let Some(first) = first.filter(|_| self.options.one_rowversion) {
            return Value::Bytes(first.to_be_bytes().to_vec());
        }
        self.dbts += 1;
        let now = self.dbts;
        if let Some(open) = self.open.get_mut(&transaction) {
            open.first_rowversion.get_or_insert(now);
        }
        Value::Bytes(now.to_be_bytes().to_vec())
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
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for (id, old, new) in done {
            self.unique(transaction, table, &new, Some(id))?;
            let moved = |primary: bool| {
                let all = self
                    .tables
                    .get(&table)
                    .map_or(&[][..], |table| &table.indexes);
                let unique = all
                    .iter()
                    .filter(|index| index.unique && (index.primary || !primary));
                unique
                    .flat_map(|index| &index.columns)
                    .any(|at| old.get(*at) != new.get(*at))
            };
            let by_itself = moved(false) && self.options.key_change.is_deferred(several);
            // A key is free before another row has it, so that in the log all rows of a command go before any
            // comes. What changes nothing is not in the log; Change Tracking tells it all the same.
            let apart = self.options.key_change != KeyChange::RowByRow;
            if by_itself && several && moved(true) && apart {
                gone.push(Change::Delete(old));
                come.push(Change::Insert(new));
            } else if deferred || by_itself {
                gone.push(Change::Deferred(old, new));
            } else {
                gone.push(Change::Update(old, new));
            }
        }
        for change in gone.into_iter().chain(come) {
            self.log(transaction, table, command, change)?;
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
}
