//! The table that rows in the log belong to
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>).

use bytes::Bytes;
use contract::SourceError;

use super::fields::Stored;
use super::input::Input;
use super::metadata::Metadata;
use super::{Hidden, Result, malformed};

/// No table has more columns (<https://dev.mysql.com/doc/refman/8.4/en/column-count-limit.html>).
pub(super) const COLUMNS_MAX: usize = 4096;

/// A table by its name. What it is made of is read only where somebody wants its rows: a column of
/// an unknown type in another table stops nobody.
///
/// Two that are equal are of the same table in the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableEvent {
    /// What rows name it by, until the next event of this kind with the same number.
    pub(crate) id: u64,
    pub(crate) schema: String,
    pub(crate) table: String,
    of_mariadb: bool,
    /// All that comes behind the names.
    rest: Hidden,
}

impl TableEvent {
    pub(super) fn read(body: &Bytes, id_bytes: usize, of_mariadb: bool) -> Result<Self> {
        let mut input = Input(body);
        let id = input.little(id_bytes)?;
        let _flags = input.u16()?;
        let schema = name(&mut input)?;
        let table = name(&mut input)?;
        Ok(Self {
            id,
            schema,
            table,
            of_mariadb,
            rest: Hidden(body.slice(body.len() - input.left()..)),
        })
    }

    /// All of it. `doing` says what is being read, for errors.
    pub(crate) fn map(&self, doing: &str) -> std::result::Result<TableMap, SourceError> {
        let doing = || format!("{doing}, table {}.{}", self.schema, self.table);
        TableMap::read(self).map_err(|why| why.at(&doing()))
    }
}

/// A table, and how its rows are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableMap {
    pub(crate) id: u64,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<StoredColumn>,
    /// What `binlog_row_metadata` adds.
    pub(crate) metadata: Metadata,
}

/// A column of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    pub(crate) stored: Stored,
    pub(crate) nullable: bool,
}

impl TableMap {
    fn read(event: &TableEvent) -> Result<Self> {
        let mut input = Input(&event.rest.0);
        let count = input.packed_length()?;
        if count > COLUMNS_MAX {
            return Err(malformed("a table with more columns than any can have"));
        }
        let types = input.take(count)?;
        let measures = input.packed_length()?;
        let mut measures = Input(input.take(measures)?);
        let nullable = input.take(count.div_ceil(8))?;
        let columns = types
            .iter()
            .enumerate()
            .map(|(at, number)| {
                Ok(StoredColumn {
                    stored: Stored::read(*number, &mut measures)?,
                    nullable: bit(nullable, at),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        measures.end()?;
        let metadata = Metadata::read(input, &columns, event.of_mariadb)?;
        Ok(Self {
            id: event.id,
            schema: event.schema.clone(),
            table: event.table.clone(),
            columns,
            metadata,
        })
    }
}

/// Whether a bit is set, counted from the lowest of the first byte.
#[inline]
pub(super) fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8)
        .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// A length, the name, and a zero byte.
fn name(input: &mut Input<'_>) -> Result<String> {
    let bytes = input.short_text()?;
    if input.u8()? != 0 {
        return Err(malformed("the name of a table without its end"));
    }
    text(bytes)
}

pub(super) fn text(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| malformed("a name that is not UTF-8"))
}
