//! Tables as the log describes them.
//!
//! Where `binlog_row_metadata` is `FULL` the log says itself what the columns of a moment were, and
//! the catalogue is asked only for what it leaves open: which bytes are a `uuid` or an address, and
//! which columns are the key of a table without a primary key. Elsewhere the log says how values
//! are stored and not what they are called: then the catalogue of today must fit, and what it does
//! not fit is not told.

use std::sync::Arc;

use contract::{CapturedTable, SourceError, TableName, TableShape};

use crate::binlog::described::refine;
use crate::binlog::layout::Layout;
use crate::binlog::table_map::{TableEvent, TableMap};
use crate::catalogue::Table;
use crate::charset::Charsets;
use crate::charset::tables::{Tables, questions};
use crate::column::Kind;
use crate::connect::{Connection, literal};

/// A captured table that the log has described.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it was described by.
    pub(crate) event: TableEvent,
    pub(crate) layout: Layout,
    pub(crate) shape: Arc<TableShape>,
    /// Its columns' names are those of the catalogue, as it is today.
    pub(crate) of_today: bool,
}

/// A captured table that the log has described and we have not looked up yet.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) event: TableEvent,
    pub(crate) captured: CapturedTable,
    /// When its rows were written, in seconds since 1970.
    pub(crate) second: u32,
    /// What is being read, for errors.
    pub(crate) doing: String,
}

/// What came of a description.
#[derive(Debug)]
pub(crate) enum Learnt {
    Known(Known),
    /// Its rows cannot be read, and why.
    Unclear(String),
}

/// Gives a captured table its columns and its key.
///
/// # Errors
/// When the server does not answer, or the log is damaged.
pub(crate) async fn learn(
    sql: &mut Connection,
    charsets: &mut Charsets,
    described: &Described,
) -> Result<Learnt, SourceError> {
    let Described {
        event,
        captured,
        second,
        doing,
    } = described;
    let map = event.map(doing)?;
    let today = Table::read(sql, &captured.table).await?;
    if today.as_ref().is_some_and(|table| table.versioned) {
        return Ok(Learnt::Unclear(format!(
            "table {} keeps its former rows (system versioning), and the log tells them as new ones",
            captured.table
        )));
    }
    let told = map.metadata.collations.iter().flatten();
    let told = told.chain(map.metadata.label_collations.iter().flatten());
    let known = today.iter().flat_map(|table| &table.columns);
    let known = known.filter_map(|column| match column.kind {
        Kind::Text { collation } => Some(collation),
        _ => None,
    });
    let collations: Vec<u16> = told.copied().flatten().chain(known).collect();
    ask(sql, charsets, &collations).await?;
    let (columns, of_today) = match (map.described(charsets), &today) {
        (Some(mut columns), today) => {
            let today = today.as_ref().map_or(&[][..], |table| &table.columns);
            refine(&mut columns, today);
            (columns, false)
        }
        (None, Some(today)) => {
            if made(sql, &captured.table)
                .await?
                .is_some_and(|made| made > i64::from(*second))
            {
                return Ok(Learnt::Unclear(format!(
                    "table {} was changed after these rows were written, and the log does not say \
                     what its columns were called (binlog_row_metadata is not FULL)",
                    captured.table
                )));
            }
            (today.columns.clone(), true)
        }
        (None, None) => {
            return Ok(Learnt::Unclear(format!(
                "table {} does not exist any more, and the log does not say what its columns were \
                 called (binlog_row_metadata is not FULL)",
                captured.table
            )));
        }
    };
    let layout = match Layout::new(&map, &columns, charsets, doing) {
        Ok(layout) => layout,
        Err(error) => return unclear(error),
    };
    let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    let key = key(captured, &map, &names, today.as_ref());
    Ok(Learnt::Known(Known {
        event: event.clone(),
        layout,
        shape: Arc::new(TableShape {
            table: captured.table.clone(),
            columns: names,
            key,
        }),
        of_today,
    }))
}

/// When the table was made or changed last, where the server knows.
async fn made(sql: &mut Connection, table: &TableName) -> Result<Option<i64>, SourceError> {
    let (schema, name) = (literal(&table.schema), literal(&table.name));
    let made: Option<(Option<i64>,)> = sql
        .row(
            "read when the table was made",
            &format!(
                "SELECT UNIX_TIMESTAMP(CREATE_TIME) FROM information_schema.TABLES
                  WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name}"
            ),
        )
        .await?;
    Ok(made.and_then(|(made,)| made))
}

/// A table that has changed is not told; anything else ends the stream.
fn unclear(error: SourceError) -> Result<Learnt, SourceError> {
    match error {
        SourceError::SchemaChanged { what, .. } => Ok(Learnt::Unclear(what)),
        other => Err(other),
    }
}

/// The places of the key's columns: as the mapping says, else as the log does, else as the table is
/// today, which is how its rows are read in chunks. Empty where one of them is not among the columns: rows without a key are held.
fn key(
    captured: &CapturedTable,
    map: &TableMap,
    names: &[String],
    today: Option<&Table>,
) -> Vec<usize> {
    let place = |wanted: &String| names.iter().position(|name| name == wanted);
    if !captured.key.is_empty() {
        let places: Option<Vec<usize>> = captured.key.iter().map(place).collect();
        return places.unwrap_or_default();
    }
    // A key that compares only the beginning of a column is none to the catalogue, nor to a chunk.
    let whole = |primary: &&Vec<(usize, u64)>| primary.iter().all(|(_, prefix)| *prefix == 0);
    if let Some(primary) = map.metadata.key.as_ref().filter(whole) {
        return primary.iter().map(|(column, _)| *column).collect();
    }
    let names = today.map_or(&[][..], |table| table.key.as_slice());
    let places: Option<Vec<usize>> = names.iter().map(place).collect();
    places.unwrap_or_default()
}

/// Asks the server for the character sets of these collations that are not known yet.
pub(crate) async fn ask(
    sql: &mut Connection,
    charsets: &mut Charsets,
    collations: &[u16],
) -> Result<(), SourceError> {
    for collation in collations {
        let Some(name) = charsets.missing(*collation) else {
            continue;
        };
        let mut answers: Vec<(String, Option<String>)> = Vec::new();
        for question in questions(name) {
            let doing = format!("read the characters of {name}");
            answers.extend(
                sql.rows::<(String, Option<String>)>(&doing, &question)
                    .await?,
            );
        }
        let answers = answers
            .iter()
            .map(|(code, answer)| (code.as_str(), answer.as_deref()));
        charsets.add(Tables::new(name, answers));
    }
    Ok(())
}
