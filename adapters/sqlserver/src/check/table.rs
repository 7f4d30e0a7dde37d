//! One table: whether it may be read, what tells its rows apart, and how its changes are learned.

use contract::finding::nearest;
use contract::{CapturedTable, SourceError};

use super::{Asked, Looking};
use crate::catalogue::{self, Table};
use crate::choice::{self, There};
use crate::column::Kind;
use crate::errors::PREPARE;
use crate::probe::{self, Captured, Known};
use crate::session::Session;
use crate::settings::Mode;
use crate::sql::{self, name};

impl Looking<'_> {
    /// Looks at a table; gives the way its changes are learned, where it can be.
    pub(super) async fn table(
        &mut self,
        session: &mut Session,
        captured: &CapturedTable,
        asked: &Asked,
    ) -> Result<Option<Mode>, SourceError> {
        let wanted = &captured.table;
        let part = format!("table {wanted}");
        let rights = probe::table_rights(session, wanted).await?;
        let sql = sql::table(wanted);
        let user = name(&self.user);
        let grant =
            format!("GRANT SELECT ON {sql} TO {user}; undo: REVOKE SELECT ON {sql} FROM {user}");
        let found = catalogue::find(session, wanted).await?;
        if let Some(found) = found.as_ref().filter(|found| found.name != *wanted) {
            let fix = format!("write it as {} in the mapping", found.name);
            self.fail(&part, "is called otherwise in the database", fix);
            return Ok(None);
        }
        let Some(table) = found else {
            if rights.exists {
                let fix = "name the tables that it is made of in the mapping";
                self.fail(&part, "is a view, or no table with rows of its own", fix);
            } else {
                self.fail(
                    &part,
                    "does not exist, or may not be seen by the agent's user",
                    format!("correct the table's name in the mapping, or {grant}"),
                );
            }
            return Ok(None);
        };
        if !rights.select {
            self.fail(&part, "may not be read by the agent's user", grant);
            return Ok(None);
        }
        let there = There::of(&table, &asked.captured, &asked.tracked, asked.own, rights);
        let mode = choice::mode(self.settings, wanted, there);
        let before = self.findings.len();
        self.columns(&table, captured, mode, &part);
        self.key(&table, captured, &part);
        match mode {
            Mode::Cdc | Mode::CdcFunction => self.cdc(&table, captured, asked, there, &part),
            Mode::Tracking => self.tracked(&table, asked, there, rights.tracking, &part),
            Mode::Rowversion => self.rowversion(&table, asked, &part),
            Mode::Compare => self.compare(&table, asked, &part),
        }
        if self.findings.len() == before {
            self.pass(&part, format!("is captured by {}", mode.name()));
        }
        Ok(Some(mode))
    }

    /// Whether the mapping's columns are there and can be read.
    fn columns(&mut self, table: &Table, captured: &CapturedTable, mode: Mode, part: &str) {
        for wanted in captured.columns.iter().chain(&captured.key) {
            let Some(column) = table.column(wanted) else {
                let names = table.columns.iter().map(|column| column.name.as_str());
                let fix = match nearest(wanted, names) {
                    Some(name) => format!("did you mean \"{name}\"?"),
                    None => "correct the column's name in the mapping".to_owned(),
                };
                let found = format!("has no column \"{wanted}\", which the mapping reads");
                self.fail(part, found, fix);
                continue;
            };
            if let Kind::Foreign(kind) = &column.kind {
                self.fail(
                    part,
                    format!("column \"{wanted}\" is of type {kind}, which cannot be read"),
                    "leave the column out of the mapping, or have the database hold its value in a column of \
                     another type",
                );
            }
            if column.computed && matches!(mode, Mode::Cdc | Mode::CdcFunction) {
                self.warn(
                    part,
                    format!(
                        "column \"{wanted}\" is computed: change data capture does not have its value, which \
                         comes with snapshots only"
                    ),
                    "compute it in the mapping from the columns that it is made of",
                );
            }
        }
    }

    /// Whether something tells the rows apart, and whether they can be read in its order.
    fn key(&mut self, table: &Table, captured: &CapturedTable, part: &str) {
        let key = table.key(captured);
        let sql = sql::table(&table.name);
        if key.is_empty() {
            self.fail(
                part,
                "has no primary key and no unique index without nulls: nothing tells its rows apart",
                format!(
                    "ALTER TABLE {sql} ADD CONSTRAINT [PK_{}] PRIMARY KEY (..); undo: ALTER TABLE {sql} DROP \
                     CONSTRAINT the same",
                    table.name.name.replace(']', "")
                ),
            );
            return;
        }
        if table.order().is_none() {
            let columns: Vec<String> = key.iter().map(|column| name(column)).collect();
            self.fail(
                part,
                "has no primary key and no unique index without NULL, over columns that can be compared, to \
                 read it in order by: the rows that are in it wait until it has one",
                format!(
                    "CREATE UNIQUE INDEX [lighterman] ON {sql} ({}), whose columns must be NOT NULL; undo: DROP \
                     INDEX [lighterman] ON {sql}",
                    columns.join(", ")
                ),
            );
        }
        let nullable = |name: &&String| table.column(name).is_some_and(|column| column.nullable);
        if let Some(column) = key.iter().find(nullable) {
            self.warn(
                part,
                format!("may hold rows without a key: \"{column}\" can be null, and they are held"),
                "name other key columns in the mapping, or make the column NOT NULL",
            );
        }
    }

    fn cdc(
        &mut self,
        table: &Table,
        captured: &CapturedTable,
        asked: &Asked,
        there: There,
        part: &str,
    ) {
        if !asked.database.cdc {
            let found = "change data capture is off for the database";
            self.fail(part, found, PREPARE);
            return;
        }
        let all = match &asked.captured {
            Known::Is(all) => all,
            Known::Unknown(why) => {
                let user = name(&self.user);
                self.fail(
                    part,
                    format!("what change data capture captures cannot be read: {why}"),
                    format!(
                        "GRANT SELECT ON SCHEMA::cdc TO {user}; undo: REVOKE SELECT ON SCHEMA::cdc FROM {user}"
                    ),
                );
                return;
            }
        };
        let own: Vec<&Captured> = all
            .iter()
            .filter(|one| one.object_id == table.object_id)
            .collect();
        let Some(newest) = own.last() else {
            self.fail(part, "is not captured by change data capture", PREPARE);
            return;
        };
        if !there.captured {
            let user = name(&self.user);
            self.fail(
                part,
                "what is captured of it may not be read by the agent's user",
                format!(
                    "GRANT SELECT ON SCHEMA::cdc TO {user}; undo: REVOKE SELECT ON SCHEMA::cdc FROM {user}"
                ),
            );
        }
        for wanted in captured.columns.iter().chain(&captured.key) {
            if table.column(wanted).is_some() && !newest.columns.contains(wanted) {
                self.fail(
                    part,
                    format!(
                        "column \"{wanted}\" is not captured by instance {}: it was left out, or added later",
                        newest.instance
                    ),
                    format!(
                        "make a second instance, which has it, and drop the old one once it is told: \
                         {PREPARE}"
                    ),
                );
            }
        }
        // The server converts them by the database's own code page.
        let is_other = |column: &&crate::column::Column| {
            captured.columns.contains(&column.name)
                && matches!(&column.kind, Kind::Char { collation, .. }
                    if !collation.is_empty() && *collation != asked.database.collation)
        };
        if let Some(column) = table.columns.iter().find(is_other) {
            self.warn(
                part,
                format!(
                    "column \"{}\" has another collation than the database: change data capture may store \
                     letters of it wrongly",
                    column.name
                ),
                "choose tracking for the table (modes in the settings), or make the column nvarchar",
            );
        }
    }

    fn tracked(&mut self, table: &Table, asked: &Asked, there: There, may_view: bool, part: &str) {
        let sql = sql::table(&table.name);
        if table.primary().is_none() {
            self.fail(
                part,
                "has no primary key, without which changes cannot be tracked",
                "give it one, or choose another mode for it: modes in the settings",
            );
            return;
        }
        if !asked.database.writable {
            self.fail(
                part,
                "changes are tracked at the primary only, and this database can only be read",
                "set host to the primary, without read_only_intent",
            );
            return;
        }
        if there.tracked {
            return;
        }
        if let (Known::Is(None), _) = (&asked.tracking, &asked.tracked) {
            self.fail(part, "change tracking is off for the database", PREPARE);
        } else if let Known::Is(tracked) = &asked.tracked
            && !tracked.contains(&table.object_id)
        {
            self.fail(part, "its changes are not tracked", PREPARE);
        } else if !may_view {
            let user = name(&self.user);
            self.fail(
                part,
                "what is tracked of it may not be read by the agent's user",
                format!(
                    "GRANT VIEW CHANGE TRACKING ON {sql} TO {user}; undo: REVOKE VIEW CHANGE TRACKING ON {sql} \
                     FROM {user}"
                ),
            );
        } else if let Known::Unknown(why) = &asked.tracked {
            let found = format!("whether its changes are tracked cannot be asked: {why}");
            self.fail(part, found, PREPARE);
        }
    }

    fn rowversion(&mut self, table: &Table, asked: &Asked, part: &str) {
        if table.rowversion().is_none() {
            let sql = sql::table(&table.name);
            self.fail(
                part,
                "has no column of type rowversion",
                format!(
                    "ALTER TABLE {sql} ADD [rv] rowversion; undo: ALTER TABLE {sql} DROP COLUMN [rv]; or choose \
                     another mode for it"
                ),
            );
            return;
        }
        self.warn(
            part,
            format!(
                "is captured by its rowversion: rows that are deleted are not seen until it is read again, every \
                 {} minutes; a transaction that is open for long anywhere in the database holds it up; and only \
                 the last of several changes is told",
                self.settings.compare_minutes
            ),
            better(asked),
        );
    }

    fn compare(&mut self, table: &Table, asked: &Asked, part: &str) {
        let rows = match table.rows {
            Some(rows) => format!(", about {rows} rows each time"),
            None => String::new(),
        };
        self.warn(
            part,
            format!(
                "nothing tells its changes: it is read again and compared every {} minutes{rows}",
                self.settings.compare_minutes
            ),
            better(asked),
        );
    }
}

/// What would tell more.
fn better(asked: &Asked) -> String {
    let way = if asked.engine.is_express() {
        "change tracking"
    } else {
        "change data capture or change tracking"
    };
    format!("{way} tells every change: {PREPARE} turns it on")
}
