//! Rows that were written, changed or removed
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>).

use bytes::Bytes;
use contract::{SourceError, Value};

use super::input::Input;
use super::layout::Layout;
use super::table_map::{COLUMNS_MAX, bit};
use super::{Hidden, Result, Trouble, malformed};

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsKind {
    Write,
    Update,
    Delete,
}

/// The rows of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowsEvent {
    pub(crate) kind: RowsKind,
    /// The number in a table map before it.
    pub(crate) table_id: u64,
    flags: u16,
    columns: usize,
    /// Which columns an image has, one bit each.
    before: Bytes,
    after: Bytes,
    /// JSON documents may be told by what changed in them.
    partial: bool,
    rows: Hidden,
}

/// What stands before the rows.
struct Head {
    kind: RowsKind,
    table_id: u64,
    flags: u16,
    columns: usize,
    /// Bytes of the head, to the end of its first, and of its second list of columns.
    before: usize,
    after: usize,
}

const PARTIAL_UPDATE: u8 = 39;

impl Head {
    fn read(kind: u8, body: &[u8], id_bytes: usize) -> Result<Self> {
        let mut input = Input(body);
        let table_id = input.little(id_bytes)?;
        let flags = input.u16()?;
        // The second version has room for more, whose length counts itself.
        if kind >= 30 {
            let more = usize::from(input.u16()?);
            let more = more
                .checked_sub(2)
                .ok_or(malformed("additional data of an impossible length"))?;
            input.take(more)?;
        }
        let columns = usize::try_from(input.packed()?).unwrap_or(usize::MAX);
        if columns > COLUMNS_MAX {
            return Err(malformed("rows of more columns than any table can have"));
        }
        let rows = match kind {
            23 | 30 => RowsKind::Write,
            24 | 31 | PARTIAL_UPDATE => RowsKind::Update,
            _ => RowsKind::Delete,
        };
        input.take(columns.div_ceil(8))?;
        let before = body.len() - input.left();
        if rows == RowsKind::Update {
            input.take(columns.div_ceil(8))?;
        }
        Ok(Self {
            kind: rows,
            table_id,
            flags,
            columns,
            before,
            after: body.len() - input.left(),
        })
    }
}

/// Bytes before the rows, which are never compressed.
pub(crate) fn head_bytes(kind: u8, body: &[u8], id_bytes: usize) -> Result<usize> {
    Head::read(kind, body, id_bytes).map(|head| head.after)
}

impl RowsEvent {
    pub(super) fn read(kind: u8, body: &Bytes, id_bytes: usize) -> Result<Self> {
        let head = Head::read(kind, body, id_bytes)?;
        let list = head.columns.div_ceil(8);
        let first = body.slice(head.before - list..head.before);
        let second = body.slice(head.after - list..head.after);
        let (before, after) = match head.kind {
            RowsKind::Write => (Bytes::new(), first),
            RowsKind::Update => (first, second),
            RowsKind::Delete => (first, Bytes::new()),
        };
        Ok(Self {
            kind: head.kind,
            table_id: head.table_id,
            flags: head.flags,
            columns: head.columns,
            before,
            after,
            partial: kind == PARTIAL_UPDATE,
            rows: Hidden(body.slice(head.after..)),
        })
    }

    /// Its rows have all their columns, as they were and as they are.
    pub(crate) fn is_whole(&self) -> bool {
        let whole = |there: &Bytes| count_of(there, self.columns) == self.columns;
        match self.kind {
            RowsKind::Write => whole(&self.after),
            RowsKind::Update => whole(&self.before) && whole(&self.after),
            RowsKind::Delete => whole(&self.before),
        }
    }

    /// Foreign keys did their work: the session had not switched them off.
    pub(crate) fn obeys_foreign_keys(&self) -> bool {
        self.flags & 0x02 == 0
    }

    /// Belongs to no table: it only ends a statement. Its table is one of two numbers that no table
    /// has.
    pub(crate) fn is_dummy(&self) -> bool {
        matches!(self.table_id, 0x00ff_ffff | 0xffff_ffff_ffff) && self.rows.0.is_empty()
    }

    /// Bytes of its rows.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.0.len()
    }

    /// The rows, one after the other. `doing` says what is being read, for errors.
    pub(crate) fn rows(
        &self,
        layout: &Layout,
        doing: &str,
    ) -> std::result::Result<RowsReader, SourceError> {
        let trouble = if layout.cells.len() == self.columns {
            self.rows.0.is_empty().then(no_cells)
        } else {
            Some(malformed(
                "rows with another number of columns than their table",
            ))
        };
        if let Some(why) = trouble {
            return Err(why.at(&format!("{doing}, table {}", layout.table)));
        }
        Ok(RowsReader {
            kind: self.kind,
            layout: layout.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            partial: self.partial,
            rows: self.rows.clone(),
            at: 0,
            ordinal: 0,
        })
    }
}

/// A row, as it was and as it is. Cells that the log left out are [`Value::Unchanged`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// None: it was written.
    pub(crate) before: Option<Vec<Value>>,
    /// None: it was removed.
    pub(crate) after: Option<Vec<Value>>,
}

/// Where the reading of an event's rows is. It can be kept while others are read.
#[derive(Debug, Clone)]
pub(crate) struct RowsReader {
    kind: RowsKind,
    layout: Layout,
    before: Bytes,
    after: Bytes,
    partial: bool,
    rows: Hidden,
    at: usize,
    ordinal: usize,
}

impl RowsReader {
    /// How many bytes of rows were read.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The next row. `doing` says what is being read, for errors. After an error there is none.
    pub(crate) fn next_row(
        &mut self,
        doing: &str,
    ) -> std::result::Result<Option<Row>, SourceError> {
        let rest = self.rows.0.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        match self.row(rest) {
            Ok((row, left)) if left < rest.len() => {
                self.at = self.rows.0.len() - left;
                self.ordinal += 1;
                Ok(Some(row))
            }
            // A row of no bytes at all would be read for ever.
            other => {
                self.at = self.rows.0.len();
                let why = other.map_or_else(
                    |why| why,
                    |_| malformed("bytes behind the rows of a table without columns"),
                );
                let (table, row) = (&self.layout.table, self.ordinal + 1);
                Err(why.at(&format!("{doing}, table {table}, row {row}")))
            }
        }
    }

    /// The row and how many bytes are left.
    fn row(&self, rest: &[u8]) -> Result<(Row, usize)> {
        let mut input = Input(rest);
        let before = match self.kind {
            RowsKind::Write => None,
            RowsKind::Update | RowsKind::Delete => Some(self.image(&mut input, &self.before)?),
        };
        let after = match self.kind {
            RowsKind::Delete => None,
            RowsKind::Write | RowsKind::Update => {
                if self.partial {
                    whole_documents(&mut input, self.documents())?;
                }
                Some(self.image(&mut input, &self.after)?)
            }
        };
        Ok((Row { before, after }, input.left()))
    }

    /// How many columns are JSON documents.
    fn documents(&self) -> usize {
        let cells = self.layout.cells.iter();
        cells.filter(|cell| cell.is_document()).count()
    }

    /// One image: a bit for each column that is there, set for null, and the other cells.
    fn image(&self, input: &mut Input<'_>, there: &[u8]) -> Result<Vec<Value>> {
        let cells = &self.layout.cells;
        let count = count_of(there, cells.len());
        let nulls = input.take(count.div_ceil(8))?;
        let mut values = Vec::with_capacity(cells.len());
        let mut next = 0;
        for (at, cell) in cells.iter().enumerate() {
            if !bit(there, at) {
                values.push(Value::Unchanged);
                continue;
            }
            let value = if bit(nulls, next) {
                Value::Null
            } else {
                cell.read(input).map_err(|why| of_column(why, at))?
            };
            values.push(value);
            next += 1;
        }
        Ok(values)
    }
}

/// Rows of an image that no column is in have no bytes, so that nobody can say how many there are.
#[cold]
fn no_cells() -> Trouble {
    Trouble::Denied {
        what: "its rows have no cells at all, because binlog_row_image is not FULL".to_owned(),
        hint: "SET GLOBAL binlog_row_image = 'FULL' (and in the server's settings), then \
               lighterman source resync"
            .to_owned(),
    }
}

#[cold]
fn of_column(why: Trouble, at: usize) -> Trouble {
    match why {
        Trouble::Malformed(why) => Trouble::Malformed(format!("column {}: {why}", at + 1).into()),
        other @ (Trouble::Denied { .. } | Trouble::Changed { .. }) => other,
    }
}

/// How many of the columns are there.
fn count_of(there: &[u8], columns: usize) -> usize {
    (0..columns).filter(|at| bit(there, *at)).count()
}

/// Before the new image of a row whose event may tell documents by what changed in them: whether it
/// does. What changed is refused, as whole documents are cheap to have and nothing is guessed.
fn whole_documents(input: &mut Input<'_>, documents: usize) -> Result<()> {
    const MAY_BE_PARTIAL: u64 = 1;
    match input.packed()? {
        0 => return Ok(()),
        MAY_BE_PARTIAL => {}
        _ => return Err(malformed("a new row with an unknown option")),
    }
    // A bit for each document.
    let partial = input.take(documents.div_ceil(8))?;
    if partial.iter().all(|bits| *bits == 0) {
        return Ok(());
    }
    Err(Trouble::Denied {
        what: "a JSON document is told by what changed in it, and not whole, because \
               binlog_row_value_options is PARTIAL_JSON"
            .to_owned(),
        hint:
            "SET GLOBAL binlog_row_value_options = '' (and in the server's settings; open sessions \
               keep the old value: restart the application), then lighterman source resync"
                .to_owned(),
    })
}
