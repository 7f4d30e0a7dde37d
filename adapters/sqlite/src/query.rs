//! Re-reads by key: a statement of the mapping's own, on a connection that can only read.
//!
//! In a database in WAL mode a read blocks nobody. In another journal mode SQLite lets no writer
//! commit while anyone reads; the time limit bounds that.
//!
//! A parameter is given in the form SQLite compares best: numbers as numbers, texts as texts,
//! `2026-11-20 08:00:00` for a date and time, `2026-11-20T08:00:00Z` for a moment. SQLite converts
//! between numbers and texts by the column it compares with, and has no types for dates.

use std::path::Path;
use std::time::Instant;

use contract::read_query::refused;
use contract::value::uuid_text;
use contract::{Decimal, PlacedQuery, ReadQuery, ReadRows, SourceError, SqlLexis, Value};
use rusqlite::types::{Value as Bound, ValueRef};
use rusqlite::{Connection, Error, ErrorCode, ffi};

use crate::database::{self, BUSY_TIMEOUT};
use crate::values::{self, Stored};

const LEXIS: SqlLexis = SqlLexis {
    nested_comments: false,
    dollar_quotes: false,
    escape_strings: false,
    mysql: false,
    quoted_names: &[(b'[', b']'), (b'`', b'`')],
    foreign: b"?@$#",
};

fn mark(number: usize) -> String {
    format!("?{number}")
}

/// Asks `query`, until `until` at most.
pub(crate) fn read(
    file: &Path,
    query: &ReadQuery,
    until: Instant,
) -> Result<ReadRows, SourceError> {
    let placed = query.place(&LEXIS, mark)?;
    let bound = placed.parameters.iter();
    let bound: Vec<Bound> = bound
        .map(|(name, value)| bind(name, value))
        .collect::<Result<_, _>>()?;
    let mut db = database::open(file, false)?;
    let prepared = |db: &mut Connection| {
        db.busy_timeout(query.time_max.min(BUSY_TIMEOUT))?;
        db.pragma_update(None, "query_only", true)?;
        database::stop_at(db, until)
    };
    prepared(&mut db).map_err(|error| running(query, &error))?;
    let db = db.transaction().map_err(|error| running(query, &error))?;
    // The first read takes the transaction's view: the columns cannot change any more.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| running(query, &error))?;
    let mut statement = db
        .prepare(&placed.sql)
        .map_err(|error| preparing(query, &placed, &error))?;
    if !statement.readonly() {
        return Err(refused("the statement would write"));
    }
    if statement.parameter_count() != bound.len() {
        return Err(refused(
            "SQLite finds other parameters in the statement than were given",
        ));
    }
    let (columns, declared): (Vec<String>, Vec<String>) = statement
        .columns()
        .map(|column| {
            let declared = column.decl_type().unwrap_or_default();
            (column.name().to_owned(), declared.to_owned())
        })
        .unzip();
    for (n, value) in bound.into_iter().enumerate() {
        statement
            .raw_bind_parameter(n + 1, value)
            .map_err(|error| running(query, &error))?;
    }
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(row) = found.next().map_err(|error| running(query, &error))? {
        if rows.len() >= query.rows_max {
            return Err(query.too_many_rows());
        }
        let mut cells = Vec::with_capacity(declared.len());
        for (n, declared) in declared.iter().enumerate() {
            let cell = row.get_ref(n).map_err(|error| running(query, &error))?;
            let cell = values::value(stored(cell), declared);
            bytes += cell.bytes();
            cells.push(cell);
        }
        if bytes > ReadQuery::BYTES_MAX {
            return Err(query.too_many_bytes());
        }
        rows.push(cells);
    }
    // The log is in the database: what it told is what a read sees.
    ReadRows::of(query, columns, rows, None)
}

fn bind(name: &str, value: &Value) -> Result<Bound, SourceError> {
    let beyond = || {
        refused(format!(
            ":{name} has more digits than a number of SQLite holds: give it as text"
        ))
    };
    Ok(match value {
        Value::Null | Value::Unchanged | Value::Invalid(_) => Bound::Null,
        Value::Bool(value) => Bound::Integer((*value).into()),
        Value::Int(value) => Bound::Integer(*value),
        Value::UInt(_) => return Err(beyond()),
        Value::Decimal(value) => number(*value).ok_or_else(beyond)?,
        Value::Float(value) => Bound::Real(*value),
        Value::Text(value) | Value::Json(value) => Bound::Text(value.clone()),
        Value::Bytes(value) => Bound::Blob(value.clone()),
        Value::Date(value) => Bound::Text(value.to_string()),
        Value::Time(value) => Bound::Text(value.to_string()),
        Value::DateTime(value) => Bound::Text(value.to_string().replacen('T', " ", 1)),
        Value::Timestamp(value) => Bound::Text(value.to_string()),
        Value::Uuid(value) => Bound::Text(uuid_text(value)),
    })
}

/// A decimal as the number SQLite would store for it. Not as text: beside an expression a text is
/// greater than every number.
fn number(value: Decimal) -> Option<Bound> {
    let text = value.to_string();
    if let Ok(whole) = text.parse() {
        return Some(Bound::Integer(whole));
    }
    let real: f64 = text.parse().ok()?;
    let exact = real.to_string().parse() == Ok(value);
    exact.then_some(Bound::Real(real))
}

fn stored(cell: ValueRef<'_>) -> Stored {
    match cell {
        ValueRef::Null => Stored::Null,
        ValueRef::Integer(number) => Stored::Integer(number),
        ValueRef::Real(number) => Stored::Real(number),
        ValueRef::Blob(bytes) => Stored::Blob(bytes.to_vec()),
        ValueRef::Text(bytes) => {
            // `quote()`, which stream and snapshot read by, ends a text at a NUL.
            let end = bytes.iter().position(|byte| *byte == 0);
            let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            Stored::Text(values::marked(bytes, "\0"))
        }
    }
}

/// An error before any value was given: SQLite's message can only speak of the statement.
fn preparing(query: &ReadQuery, placed: &PlacedQuery<'_>, error: &Error) -> SourceError {
    let message = match error {
        Error::SqlInputError { msg, .. } => Some(msg),
        Error::SqliteFailure(failure, message) if failure.code == ErrorCode::Unknown => {
            message.as_ref()
        }
        _ => None,
    };
    match message {
        Some(message) => refused(placed.in_names(message, mark)),
        None => running(query, error),
    }
}

/// An error while values are about: SQLite's message can quote them, its code cannot.
fn running(query: &ReadQuery, error: &Error) -> SourceError {
    let what = error
        .sqlite_error()
        .map_or("a value does not read", |failure| {
            ffi::code_to_str(failure.extended_code)
        });
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => query.timed_out(),
        // The statement itself went wrong: a number too large, a text that is no JSON.
        Some(ErrorCode::Unknown | ErrorCode::TooBig | ErrorCode::TypeMismatch) | None => {
            refused(format!("the statement fails: {what}"))
        }
        Some(ErrorCode::ReadOnly) => refused("the statement would write"),
        _ => SourceError::Disconnected(format!("read by key: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_bound_as_the_number_it_is_or_not_at_all() {
        for (text, expected) in [
            ("5", Some(Bound::Integer(5))),
            ("5.000", Some(Bound::Integer(5))),
            ("-9223372036854775808", Some(Bound::Integer(i64::MIN))),
            ("0.1", Some(Bound::Real(0.1))),
            ("-12.5", Some(Bound::Real(-12.5))),
            ("1234567890123456789.5", None),
            ("12345678901234567890123", None),
        ] {
            assert_eq!(number(text.parse().unwrap()), expected, "{text}");
        }
    }
}
