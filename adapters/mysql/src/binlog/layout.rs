//! How the rows of a table are read: the table map says how they are stored, and its columns what
//! that means.

use std::sync::Arc;

use contract::SourceError;

use super::cell::{Cell, Meaning};
use super::fields::Stored;
use super::table_map::{StoredColumn, TableMap};
use super::{Result, Trouble};
use crate::charset::Charsets;
use crate::column::{Column, Kind};

/// How to read the rows of a table, worked out once for each table map.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Of which table, for errors.
    pub(super) table: Arc<str>,
    pub(super) cells: Arc<[Cell]>,
}

impl Layout {
    /// The columns are all that the log has, in its order. Where they do not fit, the table has
    /// changed, or has changed since. `doing` says what is being read, for errors.
    pub(crate) fn new(
        map: &TableMap,
        columns: &[Column],
        charsets: &Charsets,
        doing: &str,
    ) -> std::result::Result<Self, SourceError> {
        Self::of(map, columns, charsets).map_err(|why| why.at(doing))
    }

    fn of(map: &TableMap, columns: &[Column], charsets: &Charsets) -> Result<Self> {
        if map.columns.len() != columns.len() {
            return Err(changed(format!(
                "table {}.{} has {} columns in the log, and {} are known",
                map.schema,
                map.table,
                map.columns.len(),
                columns.len()
            )));
        }
        let cells = map
            .columns
            .iter()
            .zip(columns)
            .map(|(stored, column)| {
                let of = || {
                    format!(
                        "column {} of table {}.{}",
                        column.name, map.schema, map.table
                    )
                };
                cell(*stored, column, charsets, &of)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            table: format!("{}.{}", map.schema, map.table).into(),
            cells,
        })
    }
}

fn changed(what: String) -> Trouble {
    Trouble::Changed {
        what,
        hint: "the table is read again by its new columns: \
               lighterman source resync NAME --table SCHEMA.TABLE"
            .to_owned(),
    }
}

fn cell(
    column: StoredColumn,
    known: &Column,
    charsets: &Charsets,
    of: &dyn Fn() -> String,
) -> Result<Cell> {
    let old = has_old_fraction(column.stored, &known.declared);
    if old {
        return Err(Trouble::Denied {
            what: format!(
                "{} is stored in the form of MariaDB 5.3, whose decimal places the log does not say",
                of()
            ),
            hint:
                "with mysql56_temporal_format = ON: ALTER TABLE .. MODIFY the column with its own \
                   type, and read the table again"
                    .to_owned(),
        });
    }
    Ok(match (column.stored, &known.kind) {
        (Stored::Tiny, Kind::Int { unsigned }) => int(1, *unsigned),
        (Stored::Short, Kind::Int { unsigned }) => int(2, *unsigned),
        (Stored::Medium, Kind::Int { unsigned }) => int(3, *unsigned),
        (Stored::Long, Kind::Int { unsigned }) => int(4, *unsigned),
        (Stored::LongLong, Kind::Int { unsigned }) => int(8, *unsigned),
        (Stored::Year, Kind::Year) => Cell::Year,
        (Stored::Bit(bits), Kind::Bit(known)) if bits == u16::from(*known) => Cell::Bits(bits),
        (Stored::Decimal { precision, scale }, Kind::Decimal) => Cell::Decimal { precision, scale },
        (Stored::Float, Kind::Float) => Cell::Float,
        (Stored::Double, Kind::Double) => Cell::Double,
        (Stored::Date, Kind::Date) => Cell::Date,
        (Stored::Time(places), Kind::Time) => Cell::Time(places),
        (Stored::DateTime(places), Kind::DateTime) => Cell::DateTime(places),
        (Stored::Timestamp(places), Kind::Timestamp) => Cell::Timestamp(places),
        (Stored::OldTime, Kind::Time) => Cell::OldTime,
        (Stored::OldDateTime, Kind::DateTime) => Cell::OldDateTime,
        (Stored::OldTimestamp, Kind::Timestamp) => Cell::OldTimestamp,
        (Stored::Enum(bytes), Kind::Enum(labels)) => Cell::Enum {
            bytes,
            labels: Arc::clone(labels),
        },
        (Stored::Set(bytes), Kind::Set(labels)) => Cell::Set {
            bytes,
            labels: Arc::clone(labels),
        },
        (stored, kind) => match (long(stored), meaning(stored, kind, charsets, of)?) {
            (Some((length, packed)), Some(meaning)) => Cell::Long {
                length,
                meaning,
                packed,
            },
            _ => {
                return Err(changed(format!(
                    "{} is {stored:?} in the log, and known as {}",
                    of(),
                    known.declared
                )));
            }
        },
    })
}

fn int(bytes: u8, unsigned: bool) -> Cell {
    Cell::Int { bytes, unsigned }
}

/// Bytes of the length before a value, and whether the value is packed.
fn long(stored: Stored) -> Option<(u8, bool)> {
    let of_max = |max: u16| if max > 255 { 2 } else { 1 };
    Some(match stored {
        Stored::VarChar(max) | Stored::Char(max) => (of_max(max), false),
        Stored::PackedVarChar(max) => (of_max(max), true),
        Stored::PackedBlob(bytes) => (bytes, true),
        Stored::Blob(bytes)
        | Stored::Json(bytes)
        | Stored::Geometry(bytes)
        | Stored::Vector(bytes) => (bytes, false),
        _ => return None,
    })
}

fn meaning(
    stored: Stored,
    kind: &Kind,
    charsets: &Charsets,
    of: &dyn Fn() -> String,
) -> Result<Option<Meaning>> {
    let is_char = matches!(stored, Stored::Char(_));
    let is_text = is_char
        || matches!(
            stored,
            Stored::VarChar(_) | Stored::Blob(_) | Stored::PackedVarChar(_) | Stored::PackedBlob(_)
        );
    Ok(match kind {
        Kind::Text { collation } if is_text => {
            let decoder = charsets
                .decoder(*collation)
                .map_err(|why| Trouble::Denied {
                    what: format!("{}: {why}", of()),
                    hint: "give the column a character set that is known: ALTER TABLE .. MODIFY"
                        .to_owned(),
                })?;
            Some(Meaning::Text(decoder))
        }
        Kind::Bytes { fixed: Some(fixed) } if is_char => Some(Meaning::Fixed(*fixed)),
        Kind::Bytes { fixed: None } if is_text || matches!(stored, Stored::Vector(_)) => {
            Some(Meaning::Bytes)
        }
        Kind::Geometry if matches!(stored, Stored::Geometry(_)) => Some(Meaning::Bytes),
        Kind::Json if matches!(stored, Stored::Json(_)) => Some(Meaning::Json),
        Kind::Uuid if is_char => Some(Meaning::Uuid),
        Kind::Inet4 if is_char => Some(Meaning::Inet4),
        Kind::Inet6 if is_char => Some(Meaning::Inet6),
        _ => None,
    })
}

/// Times with decimal places in the form before MySQL 5.6: how many bytes they have depends on the
/// places, which only the declaration tells.
fn has_old_fraction(stored: Stored, declared: &str) -> bool {
    let old = matches!(
        stored,
        Stored::OldTime | Stored::OldDateTime | Stored::OldTimestamp
    );
    let places = declared.split_once('(').map(|(_, rest)| rest);
    old && places.is_some_and(|rest| !rest.starts_with("0)"))
}
