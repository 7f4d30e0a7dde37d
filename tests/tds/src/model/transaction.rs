//! A transaction that a test holds open.

use std::sync::Arc;

use super::handle::Database;
use super::state::Commit;
use super::table::Row;
use crate::statements::{convert, natural};
use crate::wire::{ServerError, Value};

type Result<T> = std::result::Result<T, ServerError>;

/// A transaction. Each of its methods is one command. It is rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    pub(super) database: Database,
    pub(super) id: u64,
    pub(super) done: bool,
}

impl Transaction {
    /// Inserts one row: the named columns, the others NULL.
    pub fn insert(&self, table: &str, row: &[(&str, Value)]) -> Result<&Self> {
        self.insert_all(table, &[row])
    }

    /// Inserts several rows in one command.
    pub fn insert_all(&self, table: &str, rows: &[&[(&str, Value)]]) -> Result<&Self> {
        self.database.with(|state| {
            let id = Database::find(state, table)?;
            let of = &state.tables[&id];
            let rows = rows
                .iter()
                .map(|row| set(of, vec![Value::Null; of.columns.len()], row));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            state.insert(self.id, id, rows)
        })?;
        Ok(self)
    }

    /// Updates the row with a key.
    pub fn update(&self, table: &str, key: &[Value], set: &[(&str, Value)]) -> Result<&Self> {
        self.update_all(table, &[key], set)
    }

    /// Updates the rows with these keys in one command.
    pub fn update_all(
        &self,
        table: &str,
        keys: &[&[Value]],
        set: &[(&str, Value)],
    ) -> Result<&Self> {
        self.change(table, keys, set, false)
    }

    /// Updates rows in one command which the server does as deletes and inserts.
    pub fn update_deferred(
        &self,
        table: &str,
        keys: &[&[Value]],
        set: &[(&str, Value)],
    ) -> Result<&Self> {
        self.change(table, keys, set, true)
    }

    fn change(
        &self,
        table: &str,
        keys: &[&[Value]],
        to: &[(&str, Value)],
        deferred: bool,
    ) -> Result<&Self> {
        self.database.with(|state| {
            let id = Database::find(state, table)?;
            let of = &state.tables[&id];
            let mut rows = Vec::new();
            for key in keys {
                let (row, now) = find(state, self.id, table, key)?;
                rows.push((row, set(of, (*now).clone(), to)?));
            }
            state.update(self.id, id, rows, deferred)
        })?;
        Ok(self)
    }

    /// Deletes the row with a key.
    pub fn delete(&self, table: &str, key: &[Value]) -> Result<&Self> {
        self.delete_all(table, &[key])
    }

    /// Deletes the rows with these keys in one command.
    pub fn delete_all(&self, table: &str, keys: &[&[Value]]) -> Result<&Self> {
        self.database.with(|state| {
            let id = Database::find(state, table)?;
            let rows = keys
                .iter()
                .map(|key| find(state, self.id, table, key).map(|(row, _)| row));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            state.delete(self.id, id, &rows)
        })?;
        Ok(self)
    }

    /// Lets `__$seqval` run against the order of the commands.
    pub fn reverse_seqval(&self) -> &Self {
        self.database.with_state(|state| {
            if let Some(open) = state.open.get_mut(&self.id) {
                open.reversed = true;
            }
        });
        self
    }

    /// Commits.
    pub fn commit(mut self) -> Result<Commit> {
        self.done = true;
        self.database.with(|state| state.commit(self.id))
    }

    /// Rolls back.
    pub fn rollback(self) {
        drop(self);
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.done {
            self.database.with_state(|state| state.rollback(self.id));
        }
    }
}

fn set(
    table: &super::table::Table,
    mut row: Vec<Value>,
    to: &[(&str, Value)],
) -> Result<Vec<Value>> {
    row.resize(table.columns.len(), Value::Null);
    for (name, value) in to {
        let at = table
            .column(name)
            .ok_or_else(|| ServerError::new(207, 16, format!("Invalid column name '{name}'.")))?;
        let kind = &table.columns[at].kind;
        row[at] = match value {
            // Digits are given as the column has them.
            Value::Decimal(_) | Value::Bytes(_) if natural(value, kind) => value.clone(),
            value => convert(value, &crate::statements::type_of(value, kind), kind, 0)?,
        };
    }
    Ok(row)
}

fn find(state: &super::state::State, own: u64, table: &str, key: &[Value]) -> Result<(u64, Row)> {
    let id = Database::find(state, table)?;
    let of = &state.tables[&id];
    if of.key().len() != key.len() {
        return Err(ServerError::new(
            50_000,
            16,
            format!("The key of {table} has other columns."),
        ));
    }
    let view = state.view(Some(own));
    let key = key.iter().zip(of.key()).map(|(value, at)| {
        let kind = &of.columns[*at].kind;
        convert(value, &crate::statements::type_of(value, kind), kind, 0)
    });
    let key = key.collect::<Result<Vec<_>>>()?;
    state
        .row_with_key(view, of, &key)
        .map(|(id, row)| (id, Arc::clone(&row)))
        .ok_or_else(|| {
            ServerError::new(
                50_000,
                16,
                format!("The model has no row with this key in {table}."),
            )
        })
}
