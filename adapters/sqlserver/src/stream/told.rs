//! What a capture instance tells of a table: its columns, how they are asked for, and what its rows mean.

use contract::{CapturedTable, Row, SourceError, TableName, Value};
use jiff::Timestamp;

use crate::catalogue::{CDC, Table};
use crate::column::Kind;
use crate::instance::{CapturedColumn, Instance};
use crate::layout::Layout;
use crate::lsn::Lsn;
use crate::mask::is_changed;
use crate::row::Row as Answer;
use crate::session::Session;
use crate::sql::name;
use crate::tuple::{Captured, Operation, Tuple};
use crate::values;

/// What an instance tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) instance: Instance,
    pub(super) layout: Layout,
    /// Of each column of the layout: its place in the mask, and whether it may be left out.
    marks: Vec<(u32, bool)>,
    pub(super) sql: String,
    pub(super) by_function: bool,
}

impl Told {
    /// What an instance of a table tells of it: columns that are captured, as they are captured.
    pub(crate) async fn of(
        session: &mut Session,
        table: &Table,
        captured: &CapturedTable,
        instance: Instance,
        by_function: bool,
    ) -> Result<Self, SourceError> {
        // Of the types that the change table has: they may be older than the table's.
        let changes = TableName::new(CDC, format!("{}_CT", instance.name));
        let stored = if by_function {
            None
        } else {
            Table::read(session, &changes).await?
        };
        let mut source = table.clone();
        for column in &mut source.columns {
            let kept = stored
                .as_ref()
                .and_then(|stored| stored.column(&column.name));
            if let Some(kept) = kept {
                column.kind = match (&column.kind, &kept.kind) {
                    // Kept as bytes.
                    (Kind::Rowversion, Kind::Binary { .. }) => Kind::Rowversion,
                    _ => kept.kind.clone(),
                };
            }
        }
        let of = |name: &str| instance.columns.iter().find(|column| column.name == name);
        // One that the server computes is always null there.
        let told = |column: &CapturedColumn| !column.is_computed;
        let layout = Layout::new(&source, captured, |column| {
            !column.computed && of(&column.name).is_some_and(told)
        });
        let marks = layout.columns.iter().map(|column| {
            let ordinal = of(&column.name).map_or(0, |captured| captured.ordinal);
            (ordinal, column.kind.is_large())
        });
        Ok(Self {
            marks: marks.collect(),
            sql: if by_function {
                function_sql(&instance.name, &layout)
            } else {
                table_sql(&instance.name, &layout)
            },
            instance,
            layout,
            by_function,
        })
    }

    /// Cells that were left out are not null.
    fn mend(&self, row: &mut Row, operation: Operation, mask: &[u8]) {
        for (cell, (ordinal, is_large)) in row.iter_mut().zip(&self.marks) {
            if !is_large || *cell != Value::Null {
                continue;
            }
            let left_out = match operation {
                Operation::Insert => false,
                // Of text, ntext and image nothing is ever kept here, of the others what changed.
                Operation::Delete | Operation::Before => true,
                Operation::After => !is_changed(mask, *ordinal),
            };
            if left_out {
                *cell = Value::Unchanged;
            }
        }
    }
}

fn columns(layout: &Layout, of: &str) -> String {
    let asked = layout.select(of);
    if asked.is_empty() {
        asked
    } else {
        format!(", {asked}")
    }
}

/// Rows that have the whole tuple in common are never cut apart. The first column is bounded by itself, too:
/// within an OR the server may not see that it can begin to read there.
fn table_sql(instance: &str, layout: &Layout) -> String {
    format!(
        "SELECT TOP (@P1) WITH TIES c.[__$start_lsn], c.[__$command_id], c.[__$seqval], c.[__$operation], \
         c.[__$update_mask], m.tran_end_time{} FROM cdc.{} AS c LEFT JOIN cdc.lsn_time_mapping AS m ON \
         m.start_lsn = c.[__$start_lsn] WHERE c.[__$start_lsn] <= @P2 AND c.[__$start_lsn] >= @P3 AND \
         (c.[__$start_lsn] > @P3 OR (c.[__$start_lsn] = @P3 AND (c.[__$command_id] > @P4 OR (c.[__$command_id] = @P4 AND (c.[__$seqval] > \
         @P5 OR (c.[__$seqval] = @P5 AND c.[__$operation] > @P6)))))) ORDER BY c.[__$start_lsn], \
         c.[__$command_id], c.[__$seqval], c.[__$operation]",
        columns(layout, "c"),
        name(&format!("{instance}_CT")),
    )
}

/// The functions do not tell the order of commands.
fn function_sql(instance: &str, layout: &Layout) -> String {
    format!(
        "SELECT TOP (@P1) WITH TIES f.[__$start_lsn], f.[__$seqval], f.[__$operation], f.[__$update_mask]{} \
         FROM cdc.{}(@P2, @P3, N'all update old') AS f WHERE (f.[__$start_lsn] > @P4 OR (f.[__$start_lsn] = \
         @P4 AND (f.[__$seqval] > @P5 OR (f.[__$seqval] = @P5 AND f.[__$operation] > @P6)))) ORDER BY \
         f.[__$start_lsn], f.[__$seqval], f.[__$operation]",
        columns(layout, "f"),
        name(&format!("fn_cdc_get_all_changes_{instance}")),
    )
}

/// A row of an answer.
pub(super) fn captured(
    told: &Told,
    row: Answer,
    offset_minutes: i64,
    doing: &str,
) -> Result<Captured, SourceError> {
    let malformed = |what: &str| SourceError::Malformed(format!("{doing}: {what}"));
    let lsn = |at| row.array(doing, at).map(|lsn| lsn.map(Lsn));
    let (first, own) = if told.by_function { (1, 4) } else { (2, 6) };
    let command = if told.by_function {
        0
    } else {
        let command = row.int(doing, 1)?.unwrap_or(0);
        i32::try_from(command).map_err(|_| malformed("a command's number is too large"))?
    };
    let operation = row.int_there(doing, first + 1)?;
    let tuple = Tuple {
        lsn: lsn(0)?.ok_or_else(|| malformed("a change has no LSN"))?,
        command,
        seqval: lsn(first)?.ok_or_else(|| malformed("a change has no place in its transaction"))?,
        operation: Operation::of(operation)
            .ok_or_else(|| malformed(&format!("operation {operation} is unknown")))?,
    };
    let mask = row.bytes(doing, first + 2)?.unwrap_or_default();
    let mut cells = row.into_cells().skip(own - 1);
    let time = cells.next();
    let committed_at = time
        .filter(|_| !told.by_function)
        .and_then(|time| values::value(&Kind::DateTime, time))
        .and_then(|time| moment(&time, offset_minutes));
    let mut row = told.layout.row(&mut cells)?;
    told.mend(&mut row, tuple.operation, &mask);
    Ok(Captured {
        tuple,
        row,
        committed_at,
    })
}

/// The server's own time as a moment: a hint, for the server's offset may have been another then.
fn moment(time: &Value, offset_minutes: i64) -> Option<Timestamp> {
    let Value::DateTime(time) = time else {
        return None;
    };
    let utc = jiff::tz::TimeZone::UTC.to_timestamp(*time).ok()?;
    let back = jiff::SignedDuration::from_mins(offset_minutes);
    utc.checked_sub(back).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 7, and trap 10.
    #[test]
    fn trap_10_a_large_value_that_was_left_out_is_unchanged_and_never_null() {
        let text = Kind::NChar {
            fixed: false,
            units: None,
            collation: String::new(),
        };
        let column = |name: &str, kind: Kind| crate::column::Column {
            name: name.to_owned(),
            id: 1,
            kind,
            nullable: true,
            computed: false,
            alias: None,
        };
        let table = Table {
            name: TableName::new("dbo", "t"),
            object_id: 1,
            columns: vec![column("id", Kind::Int("int")), column("note", text)],
            indexes: Vec::new(),
            rows: None,
        };
        let captured = CapturedTable {
            table: table.name.clone(),
            key: vec!["id".to_owned()],
            columns: Vec::new(),
        };
        let told = Told {
            instance: Instance {
                name: "dbo_t".to_owned(),
                low: Lsn::ZERO,
                columns: Vec::new(),
            },
            layout: Layout::new(&table, &captured, |_| true),
            marks: vec![(1, false), (9, true)],
            sql: String::new(),
            by_function: false,
        };
        let mended = |operation, mask: &[u8]| {
            let mut row = vec![Value::Null, Value::Null];
            told.mend(&mut row, operation, mask);
            assert_eq!(row[0], Value::Null, "a small value is what it is");
            row[1].clone()
        };
        assert_eq!(mended(Operation::After, &[0x00, 0x01]), Value::Unchanged);
        assert_eq!(mended(Operation::After, &[0x01, 0x00]), Value::Null);
        assert_eq!(mended(Operation::Before, &[0x01, 0x00]), Value::Unchanged);
        assert_eq!(mended(Operation::Delete, &[0x01, 0xff]), Value::Unchanged);
        assert_eq!(mended(Operation::Insert, &[0x01, 0xff]), Value::Null);
    }

    /// Trap 20.
    #[test]
    fn trap_20_a_commit_time_is_the_servers_own_and_only_a_hint() {
        let at: jiff::civil::DateTime = "2026-07-01T12:00:00".parse().unwrap();
        let found = moment(&Value::DateTime(at), 120).unwrap();
        assert_eq!(found.to_string(), "2026-07-01T10:00:00Z");
        assert_eq!(moment(&Value::Null, 0), None);
    }
}
