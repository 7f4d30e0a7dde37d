//! One table: whether it may be read, what tells its rows apart, and how its changes are learned.

use contract::finding::nearest;
use contract::{CapturedTable, SourceError};

use super::Looking;
use crate::catalogue::{self, CDC, Table};
use crate::column::Kind;
use crate::errors::PREPARE;
use crate::has::{self, Asked, Has, There};
use crate::mode;
use crate::probe;
use crate::session::Session;
use crate::settings::Mode;
use crate::sql::{self, name};

/// The right to read what is tracked of a table.
const VIEW_TRACKING: &str = "VIEW CHANGE TRACKING";

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
                let all = catalogue::names(session).await?;
                let fix = match has::nearest(wanted, &all) {
                    Some(meant) => format!("did you mean {meant}? Or {grant}"),
                    None => format!("correct the table's name in the mapping, or {grant}"),
                };
                self.fail(
                    &part,
                    "does not exist, or may not be seen by the agent's user",
                    fix,
                );
            }
            return Ok(None);
        };
        let denied = self.denials.on_table(&table, captured, "SELECT");
        // The server says whether we may: it knows what outweighs a denial. It says so of the whole table.
        for denial in denied.iter().filter(|one| !rights.select || one.of_column) {
            let found = format!("may not be read by the agent's user: {}", denial.found);
            self.fail(&part, found, &denial.fix);
        }
        if !rights.select && denied.is_empty() {
            self.fail(&part, "may not be read by the agent's user", grant);
        }
        if !rights.select {
            return Ok(None);
        }
        let has = asked.has(session, &table).await?;
        let chosen = self.settings.modes.get(wanted).copied();
        let before = self.findings.len();
        let mode = match mode::choose(wanted, chosen, &has) {
            Ok(mode) => Some(mode),
            Err(unfit) => {
                let denied = self.denials.on_table(&table, captured, VIEW_TRACKING);
                match denied.first().filter(|_| has.tracking == There::Unreadable) {
                    Some(denial) => {
                        let found = format!("{}: {}", unfit.what, denial.found);
                        self.fail(&part, found, &denial.fix);
                    }
                    None => self.fail(&part, unfit.what, unfit.hint),
                }
                chosen
            }
        };
        self.columns(&table, captured, mode, &part);
        self.key(&table, captured, &part);
        match mode {
            Some(Mode::Cdc | Mode::CdcFunction) => self.cdc(&table, captured, asked, &part),
            Some(Mode::Rowversion) if has.rowversion => {
                self.rowversion(session, &table, asked, &part).await?;
            }
            Some(Mode::Compare) => self.compare(&table, asked, &part),
            Some(Mode::Tracking | Mode::Rowversion) | None => {}
        }
        if mode == Some(Mode::CdcFunction) {
            self.by_function(&has, &part);
        }
        if self.findings.len() == before {
            let by = mode.map_or("nothing", Mode::name);
            self.pass(&part, format!("is captured by {by}"));
        }
        Ok(mode)
    }

    /// Whether the mapping's columns are there and can be read.
    fn columns(&mut self, table: &Table, captured: &CapturedTable, mode: Option<Mode>, part: &str) {
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
            if column.computed && matches!(mode, Some(Mode::Cdc | Mode::CdcFunction)) {
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

    /// Whether the newest capture instance has what the mapping reads.
    fn cdc(&mut self, table: &Table, captured: &CapturedTable, asked: &Asked, part: &str) {
        let of_table = asked.instances.of_object(table.object_id);
        let Some(newest) = of_table.last().map(|one| &one.instance) else {
            return;
        };
        for wanted in captured.columns.iter().chain(&captured.key) {
            let is_captured = newest.columns.iter().any(|one| one.name == *wanted);
            if table.column(wanted).is_some() && !is_captured {
                self.fail(
                    part,
                    format!(
                        "column \"{wanted}\" is not captured by instance {}: it was left out, or added later",
                        newest.name
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

    /// What is captured is read by functions.
    fn by_function(&mut self, has: &Has, part: &str) {
        let fix = if has.cdc_tables && !has.cdc_order {
            "its change table has no column __$command_id: update the server (KB 3030352; in an availability group \
             EXEC sys.sp_vupgrade_replication on the primary)"
                .to_owned()
        } else if has.cdc_tables {
            "take it out of modes in the settings: its tables can be read".to_owned()
        } else {
            let user = name(&self.user);
            match self.denials.on_schema(CDC).first() {
                Some(denial) => format!("{}: {}", denial.found, denial.fix),
                None => format!(
                    "GRANT SELECT ON SCHEMA::cdc TO {user}; undo: REVOKE SELECT ON SCHEMA::cdc FROM {user}"
                ),
            }
        };
        let limits = mode::limits(Mode::CdcFunction).unwrap_or_default();
        self.warn(
            part,
            format!("is captured by {}: {limits}", Mode::CdcFunction.name()),
            fix,
        );
    }

    async fn rowversion(
        &mut self,
        session: &mut Session,
        table: &Table,
        asked: &Asked,
        part: &str,
    ) -> Result<(), SourceError> {
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
        if let Some(column) = table.rowversion()
            && !catalogue::leads(session, &table.name, &column.name).await?
        {
            let (create, undo) = catalogue::rowversion_index(&table.name, &column.name);
            self.warn(
                part,
                format!(
                    "has no index that begins with its rowversion {}: all of it is read whenever a rowversion of the \
                     database has moved",
                    column.name
                ),
                format!("{create}; undo: {undo}"),
            );
        }
        Ok(())
    }

    fn compare(&mut self, table: &Table, asked: &Asked, part: &str) {
        let rows = match table.rows {
            Some(1) => ", about 1 row each time".to_owned(),
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
    let way = if asked.engine.without_cdc().is_some() {
        "change tracking"
    } else {
        "change data capture or change tracking"
    };
    format!("{way} tells which rows changed, deleted ones too: {PREPARE} turns it on")
}
