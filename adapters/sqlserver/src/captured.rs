//! Capture instances: which there are, of which tables, and what each of them captures.
//!
//! They are read from the tables of change data capture. Who may not read those is told by its procedures
//! and functions of the instances that may be read through them, and of no others.

use contract::{SourceError, TableName, Value};

use crate::column::Kind;
use crate::errors::{Failed, NO_CAPTURE, NO_OBJECT, NO_RIGHT};
use crate::instance::{CapturedColumn, Instance};
use crate::lsn::Lsn;
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::values;

const INSTANCES: &str = "SELECT ct.object_id, ct.source_object_id, s.name, t.name, ct.capture_instance, \
     ct.start_lsn, ct.role_name, COLUMNPROPERTY(ct.object_id, N'__$command_id', 'ColumnId') AS command_id FROM \
     cdc.change_tables AS ct JOIN sys.tables AS t ON t.object_id = ct.source_object_id JOIN sys.schemas AS s ON \
     s.schema_id = t.schema_id ORDER BY s.name, t.name, ct.create_date, ct.capture_instance";
const COLUMNS: &str = "SELECT cc.object_id, cc.column_name, cc.column_id, cc.column_type, \
     cc.column_ordinal, cc.is_computed FROM cdc.captured_columns AS cc ORDER BY cc.object_id, \
     cc.column_ordinal";
const HELP: &str = "EXEC sys.sp_cdc_help_change_data_capture";
const ORDINALS: &str = "SELECT c.name, sys.fn_cdc_get_column_ordinal(@P1, c.name) AS ordinal, c.is_computed FROM \
     sys.columns AS c WHERE c.object_id = @P2 ORDER BY c.column_id";
const MIN_LSN: &str = "SELECT sys.fn_cdc_get_min_lsn(@P1) AS min_lsn";
const DOING: &str = "read capture instances";

/// A capture instance, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) table: TableName,
    /// The table's number.
    pub(crate) object_id: i64,
    /// Who may read it beside owners; `None` = whoever may read the table.
    pub(crate) role: Option<String>,
    /// Its change table tells the order of commands: older builds have no column for it.
    pub(crate) has_order: bool,
    pub(crate) instance: Instance,
}

/// The capture instances of all tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instances {
    all: Vec<Captured>,
    /// The tables of change data capture may not be read: only those instances are known that may be read
    /// through functions.
    pub(crate) by_functions: bool,
    /// Nor may it be asked which those are.
    pub(crate) is_hidden: bool,
}

impl Instances {
    /// Reads them; there are none where nothing is captured.
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        Self::with_columns(session, |_| true).await
    }

    /// The same, with the columns of one table only: each table's are a question of their own where the tables
    /// of change data capture may not be read.
    pub(crate) async fn of_table(
        session: &mut Session,
        table: &TableName,
    ) -> Result<Self, SourceError> {
        Self::with_columns(session, |of| of == table).await
    }

    /// The same without columns.
    pub(crate) async fn names(session: &mut Session) -> Result<Self, SourceError> {
        Self::with_columns(session, |_| false).await
    }

    async fn with_columns(
        session: &mut Session,
        wanted: impl Fn(&TableName) -> bool + Send,
    ) -> Result<Self, SourceError> {
        match tables(session, &wanted).await {
            Ok(all) => Ok(Self {
                all,
                ..Self::default()
            }),
            Err(failed) if failed.is(NO_OBJECT) => Ok(Self::default()),
            Err(failed) if failed.is(NO_RIGHT) => match functions(session, &wanted).await {
                Ok(all) => Ok(Self {
                    all,
                    by_functions: true,
                    is_hidden: false,
                }),
                Err(failed) if failed.is(NO_CAPTURE) => Ok(Self::default()),
                Err(failed) if failed.passes() => Err(failed.error),
                Err(Failed {
                    number: Some(_),
                    error,
                }) if session.is_usable() => {
                    tracing::debug!(stage = "capture", error = %error, "which tables are captured cannot be asked");
                    Ok(Self {
                        by_functions: true,
                        is_hidden: true,
                        ..Self::default()
                    })
                }
                Err(failed) => Err(failed.error),
            },
            Err(failed) => Err(failed.error),
        }
    }

    /// Those of a table, in the order in which they were made.
    pub(crate) fn of(&self, table: &TableName) -> Vec<Instance> {
        let ours = self.all.iter().filter(|one| one.table == *table);
        ours.map(|one| one.instance.clone()).collect()
    }

    /// The same with all that belongs to them, by the table's number.
    pub(crate) fn of_object(&self, object_id: i64) -> impl DoubleEndedIterator<Item = &Captured> {
        let ours = move |one: &&Captured| one.object_id == object_id;
        self.all.iter().filter(ours)
    }

    /// Whether an instance has this name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.all.iter().any(|one| one.instance.name == name)
    }
}

/// From the tables of change data capture.
async fn tables(
    session: &mut Session,
    wanted: &(impl Fn(&TableName) -> bool + Send),
) -> Result<Vec<Captured>, Failed> {
    let rows = session.rows(DOING, INSTANCES, &[]).await?;
    let found: Result<Vec<_>, SourceError> = rows.iter().map(of_tables).collect();
    let mut found = found.map_err(Failed::ours)?;
    if found.iter().any(|(_, one)| wanted(&one.table)) {
        for column in session.rows(DOING, COLUMNS, &[]).await? {
            let (of, column) = of_columns(&column).map_err(Failed::ours)?;
            let own = found.iter_mut().find(|(own, _)| *own == of);
            if let Some((_, own)) = own.filter(|(_, own)| wanted(&own.table)) {
                own.instance.columns.push(column);
            }
        }
    }
    Ok(found.into_iter().map(|(_, one)| one).collect())
}

/// An instance, with the number of its change table.
fn of_tables(row: &Row) -> Result<(i64, Captured), SourceError> {
    let captured = Captured {
        table: TableName::new(row.text_there(DOING, 2)?, row.text_there(DOING, 3)?),
        object_id: row.int_there(DOING, 1)?,
        role: row.text(DOING, 6)?,
        has_order: row.int(DOING, 7)?.is_some(),
        instance: Instance {
            name: row.text_there(DOING, 4)?,
            low: Lsn(row.array(DOING, 5)?.unwrap_or_default()),
            columns: Vec::new(),
        },
    };
    Ok((row.int_there(DOING, 0)?, captured))
}

/// A column, with the number of its change table.
fn of_columns(row: &Row) -> Result<(i64, CapturedColumn), SourceError> {
    let column = CapturedColumn {
        name: row.text_there(DOING, 1)?,
        ordinal: u32::try_from(row.int_there(DOING, 4)?).unwrap_or(0),
        is_computed: row.flag(DOING, 5)?,
    };
    Ok((row.int_there(DOING, 0)?, column))
}

/// From the procedure that tells everybody of what they may read.
async fn functions(
    session: &mut Session,
    wanted: &(impl Fn(&TableName) -> bool + Send),
) -> Result<Vec<Captured>, Failed> {
    let rows = session.rows(DOING, HELP, &[]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let made = row.cell(12).cloned();
        let made = made.and_then(|made| values::value(&Kind::DateTime, made));
        let made = match made {
            Some(Value::DateTime(made)) => Some(made),
            _ => None,
        };
        let mut captured = of_help(row).map_err(Failed::ours)?;
        if wanted(&captured.table) {
            captured.instance.columns = ordinals(session, &captured).await?;
        }
        found.push((made, captured));
    }
    found.sort_by(|(a_made, a), (b_made, b)| {
        let key = |one: &Captured| (one.table.clone(), one.instance.name.clone());
        let (a_key, b_key) = (key(a), key(b));
        (a_key.0, a_made, a_key.1).cmp(&(b_key.0, b_made, b_key.1))
    });
    Ok(found.into_iter().map(|(_, captured)| captured).collect())
}

/// The captured columns of an instance: those of the table that have a place in its update mask.
async fn ordinals(
    session: &mut Session,
    captured: &Captured,
) -> Result<Vec<CapturedColumn>, Failed> {
    let asked = [
        Parameter::Text(captured.instance.name.clone()),
        Parameter::Int(captured.object_id),
    ];
    let mut columns = Vec::new();
    for column in session.rows(DOING, ORDINALS, &asked).await? {
        columns.extend(of_ordinal(&column).map_err(Failed::ours)?);
    }
    Ok(columns)
}

fn of_help(row: &Row) -> Result<Captured, SourceError> {
    Ok(Captured {
        table: TableName::new(row.text_there(DOING, 0)?, row.text_there(DOING, 1)?),
        object_id: row.int_there(DOING, 4)?,
        role: row.text(DOING, 9)?,
        // The functions do not tell it anyway.
        has_order: false,
        instance: Instance {
            name: row.text_there(DOING, 2)?,
            low: Lsn(row.array(DOING, 5)?.unwrap_or_default()),
            columns: Vec::new(),
        },
    })
}

/// A column of the table; nothing where it is not captured.
fn of_ordinal(row: &Row) -> Result<Option<CapturedColumn>, SourceError> {
    let ordinal = row.int(DOING, 1)?.and_then(|at| u32::try_from(at).ok());
    let Some(ordinal) = ordinal.filter(|at| *at > 0) else {
        return Ok(None);
    };
    Ok(Some(CapturedColumn {
        name: row.text_there(DOING, 0)?,
        ordinal,
        is_computed: row.flag(DOING, 2)?,
    }))
}

/// How far down an instance reaches; `None` = there is none of that name, or our user may not read it: the
/// server does not tell one from the other, and neither is a place in the log.
pub(crate) async fn low(session: &mut Session, instance: &str) -> Result<Option<Lsn>, SourceError> {
    let doing = format!("read how far down capture instance {instance} reaches");
    let named = [Parameter::Text(instance.to_owned())];
    let row = session.one(&doing, MIN_LSN, &named).await?;
    let low = row.array(&doing, 0)?.map(Lsn);
    Ok(low.filter(|low| !low.is_zero()))
}
