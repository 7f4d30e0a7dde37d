//! Changes of the shape of things: tables, columns, tracking, restores.

use std::collections::{BTreeMap, HashMap};

use super::capture::Ddl;
use super::state::State;
use super::table::{Column, Index, Table};
use super::tracking::{TableTracking, not_tracked};
use crate::wire::{ServerError, Type, Value};

impl State {
    pub(crate) fn create_schema(&mut self, name: &str) -> Result<(), ServerError> {
        if self
            .schemas
            .iter()
            .any(|(_, other)| super::same_name(other, name))
        {
            let text = format!("There is already an object named '{name}' in the database.");
            return Err(ServerError::new(2714, 16, text));
        }
        let id = 5 + i32::try_from(self.schemas.len()).unwrap_or(0);
        self.schemas.push((id, name.to_owned()));
        Ok(())
    }

    pub(crate) fn create_table(
        &mut self,
        schema: &str,
        name: &str,
        columns: Vec<Column>,
        key: &[String],
    ) -> Result<i32, ServerError> {
        if self.table(schema, name).is_some() {
            let text = format!("There is already an object named '{name}' in the database.");
            return Err(ServerError::new(2714, 16, text));
        }
        if !self
            .schemas
            .iter()
            .any(|(_, other)| super::same_name(other, schema))
        {
            let text = format!(
                "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
            );
            return Err(ServerError::new(2760, 16, text));
        }
        let id = self.next_object();
        self.seq += 1;
        let mut table = Table {
            id,
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns,
            indexes: Vec::new(),
            rows: BTreeMap::new(),
            next_row: 0,
            next_identity: 0,
            by_key: HashMap::new(),
            tracking: None,
            shaped: self.seq,
            created: self.now,
        };
        if !key.is_empty() {
            let at = places(&table, key)?;
            for at in &at {
                table.columns[*at].nullable = false;
            }
            table.indexes.push(Index {
                name: format!("PK_{name}"),
                columns: at,
                primary: true,
                unique: true,
            });
        }
        self.tables.insert(id, table);
        if let Err(error) = self.type_computed(id) {
            self.tables.remove(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// Gives computed columns the types of their expressions.
    fn type_computed(&mut self, id: i32) -> Result<(), ServerError> {
        let columns = self.tables.get(&id).map(|table| table.columns.clone());
        for (at, column) in columns.into_iter().flatten().enumerate() {
            let Some(expr) = &column.computed else {
                continue;
            };
            let kind = crate::statements::computed_type(self, id, expr)?;
            if let Some(table) = self.tables.get_mut(&id) {
                table.columns[at].kind = kind;
            }
        }
        Ok(())
    }

    pub(crate) fn add_index(
        &mut self,
        table: i32,
        name: &str,
        columns: &[String],
        unique: bool,
    ) -> Result<(), ServerError> {
        let table = self.shaped(table, None)?;
        let columns = places(table, columns)?;
        table.indexes.push(Index {
            name: name.to_owned(),
            columns,
            primary: false,
            unique,
        });
        Ok(())
    }

    /// The table, its shape changed as of now. A command goes into the DDL history of its instances.
    fn shaped(&mut self, id: i32, ddl: Option<(&str, bool)>) -> Result<&mut Table, ServerError> {
        self.seq += 1;
        let (seq, now) = (self.seq, self.now);
        if let Some((command, column_update)) = ddl {
            let place = self.next_place();
            if let Some(capture) = &mut self.capture {
                let of: Vec<i32> = capture
                    .instances
                    .iter()
                    .filter(|i| i.source == id)
                    .map(|i| i.id)
                    .collect();
                capture.ddl.extend(of.into_iter().map(|instance| Ddl {
                    source: id,
                    instance,
                    column_update,
                    command: command.to_owned(),
                    place,
                    time: now,
                }));
            }
        }
        let table = self
            .tables
            .get_mut(&id)
            .ok_or_else(|| ServerError::invalid_object("?"))?;
        table.shaped = seq;
        Ok(table)
    }

    pub(crate) fn add_column(&mut self, id: i32, column: Column) -> Result<(), ServerError> {
        let (name, kind) = (
            column.name.clone(),
            crate::statements::type_name(&column.kind),
        );
        let full = self
            .tables
            .get(&id)
            .map(Table::full_name)
            .unwrap_or_default();
        let table = self.shaped(
            id,
            Some((&format!("ALTER TABLE {full} ADD {name} {kind}"), false)),
        )?;
        if table.column(&name).is_some() {
            let text = format!(
                "Column names in each table must be unique. Column name '{name}' in table '{full}' is specified more than once."
            );
            return Err(ServerError::new(2705, 16, text));
        }
        table.columns.push(column);
        self.type_computed(id)
    }

    pub(crate) fn drop_column(&mut self, id: i32, name: &str) -> Result<(), ServerError> {
        let full = self
            .tables
            .get(&id)
            .map(Table::full_name)
            .unwrap_or_default();
        let at = self.tables.get(&id).and_then(|table| table.column(name));
        let Some(at) = at else {
            let text = format!(
                "ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{full}'."
            );
            return Err(ServerError::new(4924, 16, text));
        };
        let table = self.shaped(
            id,
            Some((&format!("ALTER TABLE {full} DROP COLUMN {name}"), false)),
        )?;
        if table
            .indexes
            .iter()
            .any(|index| index.columns.contains(&at))
        {
            let text = format!(
                "ALTER TABLE DROP COLUMN {name} failed because one or more objects access this column."
            );
            return Err(ServerError::new(5074, 16, text));
        }
        let column = &mut table.columns[at];
        column.dropped = true;
        column.nullable = true;
        // What comes later has NULL there.
        for versions in table.rows.values_mut() {
            if let Some(row) = versions.last().and_then(|last| last.row.clone()) {
                let mut row = (*row).clone();
                if let Some(value) = row.get_mut(at) {
                    *value = Value::Null;
                }
                if let Some(last) = versions.last_mut() {
                    last.row = Some(std::sync::Arc::new(row));
                }
            }
        }
        Ok(())
    }

    /// Another type for a column. The change tables get it too, as a server does with
    /// `required_column_update`.
    pub(crate) fn alter_column(
        &mut self,
        id: i32,
        name: &str,
        kind: &Type,
        nullable: bool,
    ) -> Result<(), ServerError> {
        let full = self
            .tables
            .get(&id)
            .map(Table::full_name)
            .unwrap_or_default();
        let at = self.tables.get(&id).and_then(|table| table.column(name));
        let at = at.ok_or_else(|| {
            let text = format!("ALTER TABLE ALTER COLUMN failed because column '{name}' does not exist in table '{full}'.");
            ServerError::new(4924, 16, text)
        })?;
        let to = crate::statements::type_name(kind);
        let command = format!("ALTER TABLE {full} ALTER COLUMN {name} {to}");
        let table = self.shaped(id, Some((&command, true)))?;
        let from = table.columns[at].kind.clone();
        for versions in table.rows.values_mut() {
            for version in versions {
                if let Some(row) = &mut version.row
                    && let Some(value) = row.get(at)
                {
                    let value = crate::statements::convert(value, &from, kind, 0)?;
                    let mut changed = (**row).clone();
                    changed[at] = value;
                    *row = std::sync::Arc::new(changed);
                }
            }
        }
        table.columns[at].kind = kind.clone();
        table.columns[at].nullable = nullable;
        if let Some(capture) = &mut self.capture {
            for instance in capture.instances.iter_mut().filter(|i| i.source == id) {
                if let Some(ordinal) = instance.columns.iter().position(|column| column.at == at) {
                    instance.columns[ordinal].kind = kind.clone();
                    for row in &mut instance.rows {
                        row.values[ordinal] =
                            crate::statements::convert(&row.values[ordinal], &from, kind, 0)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn drop_table(&mut self, id: i32) {
        self.seq += 1;
        self.tables.remove(&id);
        if let Some(capture) = &mut self.capture {
            capture.instances.retain(|instance| instance.source != id);
        }
    }

    /// TRUNCATE TABLE: refused on a table that is captured; in Change Tracking as if just enabled.
    pub(crate) fn truncate(&mut self, id: i32) -> Result<(), ServerError> {
        let captured = self
            .capture
            .as_ref()
            .is_some_and(|c| c.instances.iter().any(|i| i.source == id));
        let name = self
            .tables
            .get(&id)
            .map(|table| table.name.clone())
            .unwrap_or_default();
        if captured {
            let text = format!(
                "Cannot truncate table '{name}' because it is published for replication or enabled for Change Data Capture."
            );
            return Err(ServerError::new(4711, 16, text));
        }
        if self
            .tables
            .get(&id)
            .is_some_and(|table| table.is_locked(None))
        {
            return Err(super::state::lock_timeout());
        }
        self.seq += 1;
        let seq = self.seq;
        let bumps = self.options.truncate_is_a_version;
        let now = self.now;
        let version = self.tracking.as_mut().map_or(0, |tracking| {
            if bumps {
                tracking.version += 1;
                tracking.commits.push((tracking.version, seq, now));
            }
            tracking.version
        });
        let table = self
            .tables
            .get_mut(&id)
            .ok_or_else(|| ServerError::invalid_object(&name))?;
        for versions in table.rows.values_mut() {
            versions.push(super::table::Version {
                stamp: seq,
                row: None,
            });
        }
        // A snapshot from before sees the shape changed, as after other changes of it.
        table.shaped = seq;
        table.next_identity = 0;
        if let Some(tracking) = &mut table.tracking {
            *tracking = TableTracking::new(tracking.kept_in, version, tracking.columns);
        }
        Ok(())
    }

    pub(crate) fn track_database(&mut self, retention: Option<i32>, cleanup: Option<bool>) {
        let tracking = self
            .tracking
            .get_or_insert_with(|| super::tracking::Tracking {
                version: 0,
                commits: Vec::new(),
                retention_minutes: 2 * 1440,
                auto_cleanup: true,
                max_cleanup: 0,
            });
        if let Some(minutes) = retention {
            tracking.retention_minutes = minutes;
        }
        if let Some(on) = cleanup {
            tracking.auto_cleanup = on;
        }
    }

    pub(crate) fn untrack_database(&mut self) -> Result<(), ServerError> {
        if self.tables.values().any(|table| table.tracking.is_some()) {
            let text = format!(
                "Change tracking is enabled for one or more tables in database '{}'. Disable change tracking on each table before disabling it for the database.",
                self.name
            );
            return Err(ServerError::new(22_115, 16, text));
        }
        self.tracking = None;
        Ok(())
    }

    pub(crate) fn track_table(&mut self, id: i32, columns: bool) -> Result<(), ServerError> {
        let now = self.now;
        let bumps = self.options.enable_is_a_version;
        let table = self
            .tables
            .get(&id)
            .ok_or_else(|| ServerError::invalid_object("?"))?;
        let name = table.full_name();
        if table.key().is_empty() {
            let text = format!(
                "Cannot enable change tracking on table '{}'. Change tracking requires a primary key on the table. Create a primary key on the table before enabling change tracking.",
                table.name
            );
            return Err(ServerError::new(4997, 16, text));
        }
        if table.tracking.is_some() {
            return Err(ServerError::new(
                4996,
                16,
                format!("Change tracking is already enabled for table '{name}'."),
            ));
        }
        self.seq += 1;
        let seq = self.seq;
        let Some(tracking) = &mut self.tracking else {
            return Err(ServerError::new(
                22_106,
                16,
                format!(
                    "Change tracking is not enabled on database '{}'.",
                    self.name
                ),
            ));
        };
        if bumps {
            tracking.version += 1;
            tracking.commits.push((tracking.version, seq, now));
        }
        let version = tracking.version;
        let kept_in = i32::try_from(seq).map_or(i32::MAX, |seq| seq.saturating_add(1_900_000_000));
        self.shaped(id, None)?.tracking = Some(TableTracking::new(kept_in, version, columns));
        Ok(())
    }

    pub(crate) fn untrack_table(&mut self, id: i32) -> Result<(), ServerError> {
        let table = self.shaped(id, None)?;
        if table.tracking.take().is_none() {
            return Err(not_tracked(&table.full_name()));
        }
        Ok(())
    }

    /// The primary key goes, and Change Tracking with it must be off first, as a server demands.
    pub(crate) fn drop_key(&mut self, id: i32) -> Result<(), ServerError> {
        let table = self.shaped(id, None)?;
        if table.tracking.is_some() {
            return Err(ServerError::new(
                3744,
                16,
                "The primary key constraint cannot be dropped while change tracking is enabled.",
            ));
        }
        table.indexes.retain(|index| !index.primary);
        Ok(())
    }
}

fn places(table: &Table, names: &[String]) -> Result<Vec<usize>, ServerError> {
    let place = |name: &String| {
        table.column(name).ok_or_else(|| {
            let text = format!("Column name '{name}' does not exist in the target table or view.");
            ServerError::new(1911, 16, text)
        })
    };
    names.iter().map(place).collect()
}
