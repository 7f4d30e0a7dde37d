//! How a table is read in key order, as its catalogue says; kept from chunk to chunk, for as long as nobody
//! alters the table.

use std::time::Duration;

use contract::{CapturedTable, SourceError, TableName, Value};
use tokio::time::Instant;

use crate::catalogue::Table;
use crate::column::Kind;
use crate::errors::{Failed, denied};
use crate::layout::Layout;
use crate::order::{Order, Place, bounds};
use crate::probe::Database;
use crate::session::{Isolation, Parameter, Session};
use crate::sql;
use crate::values;

/// An index that is dropped need not count as an alteration: the catalogue is read again after so long.
const KEPT_MAX: Duration = Duration::from_secs(10);

/// How a table is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) layout: Layout,
    pub(crate) order: Order,
    pub(crate) isolation: Isolation,
    name: TableName,
    known: Known,
}

/// When the catalogue was read, and what it said of when the table was altered last.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    at: Instant,
    altered: Option<Vec<Value>>,
}

impl Reading {
    /// Reads the catalogue.
    pub(crate) async fn of(
        session: &mut Session,
        captured: &CapturedTable,
    ) -> Result<Self, SourceError> {
        let name = &captured.table;
        // First: what is altered meanwhile is read again.
        let known = Known {
            at: Instant::now(),
            altered: altered(session, name).await?,
        };
        let Some(table) = Table::read(session, name).await? else {
            return Err(SourceError::SchemaChanged {
                what: format!("read table {name}: there is none, or our user may not know of it"),
                hint: format!(
                    "make it again, take it out of the mapping (lighterman map check), or GRANT SELECT ON {}",
                    sql::table(name)
                ),
            });
        };
        let Some(index) = table.order() else {
            return Err(denied(
                format!(
                    "read table {name}: it has no primary key and no unique index over columns that are never \
                     null, so it cannot be read in pieces"
                ),
                format!("ALTER TABLE {} ADD PRIMARY KEY (..)", sql::table(name)),
            ));
        };
        let order = Order::of(&table, &index.columns).map_err(|column| {
            denied(
                format!("read table {name}: its key has column {column}, which cannot be compared"),
                "give it a unique index over columns of other types",
            )
        })?;
        // Columns of the order are read as well, though nobody may have asked for them.
        let mut wanted = captured.clone();
        if !wanted.columns.is_empty() {
            wanted.columns.extend(index.columns.iter().cloned());
        }
        let layout = Layout::new(&table, &wanted, |_| true);
        let database = Database::read(session).await?;
        Ok(Self {
            isolation: if database.snapshots() {
                Isolation::Snapshot
            } else {
                Isolation::ReadCommitted
            },
            layout,
            order,
            name: name.clone(),
            known,
        })
    }

    /// Whether this is still how the table is read: the server says with one row that nobody has altered it.
    pub(crate) async fn is_fresh(
        &self,
        session: &mut Session,
        table: &TableName,
    ) -> Result<bool, SourceError> {
        if self.name != *table || self.known.at.elapsed() >= KEPT_MAX {
            return Ok(false);
        }
        let now = altered(session, table).await?;
        Ok(now.is_some() && now == self.known.altered)
    }

    /// The statement that reads on from a place, and its parameters behind the first, which is how many rows.
    pub(crate) fn statement(&self, place: &Place) -> Option<(String, Vec<Parameter>)> {
        let (rest, parameters) = self.order.rest(place, "T", 2)?;
        let rest = if rest.is_empty() {
            rest
        } else {
            format!(" WHERE {rest}")
        };
        let sql = format!(
            "SELECT TOP (@P1) {} FROM {} AS T{rest} ORDER BY {}",
            self.layout.select("T"),
            sql::table(&self.name),
            self.order.by("T")
        );
        Some((sql, parameters))
    }

    /// Cursors of ranges of the key. The server finds both ends of it in the index; asked for in one go, it
    /// would read all of that.
    pub(crate) async fn ranges(
        &self,
        session: &mut Session,
        parts: usize,
    ) -> Result<Vec<String>, Failed> {
        let Some(column) = self.order.numbers() else {
            return Ok(Vec::new());
        };
        let doing = format!("cut table {} into ranges", self.name);
        let (column, table) = (sql::name(column), sql::table(&self.name));
        let sql = format!(
            "SELECT (SELECT MIN(T.{column}) FROM {table} AS T), (SELECT MAX(T.{column}) FROM {table} AS T)"
        );
        session.begin_transaction(&doing, self.isolation).await?;
        let row = session.one(&doing, &sql, &[]).await?;
        session.commit(&doing).await?;
        let (least, most) = (row.int(&doing, 0), row.int(&doing, 1));
        let ends = least
            .map_err(Failed::ours)?
            .zip(most.map_err(Failed::ours)?);
        let bounds = ends.map(|(least, most)| bounds(least, most, parts));
        let bounds = bounds.unwrap_or_default();
        if bounds.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.order.ranges(&bounds))
    }

    /// The key of a row, in this order.
    pub(crate) fn key(&self, row: &contract::Row) -> Result<Vec<String>, SourceError> {
        let columns = self.order.columns.iter();
        let key = columns.filter_map(|column| {
            let at = self.layout.shape.column(&column.name)?;
            row.get(at).cloned()
        });
        self.order.pack(&key.collect::<Vec<_>>())
    }
}

/// Which table there is of a name, and when it was altered last; `None` = there is none.
async fn altered(
    session: &mut Session,
    table: &TableName,
) -> Result<Option<Vec<Value>>, SourceError> {
    let doing = format!("ask whether {table} was altered");
    let sql = "SELECT o.object_id, o.modify_date FROM sys.objects AS o WHERE o.object_id = OBJECT_ID(@P1)";
    let named = [Parameter::Text(sql::table(table))];
    let Some(row) = session.row(&doing, sql, &named).await? else {
        return Ok(None);
    };
    let cells = row.into_cells().zip([Kind::Int("int"), Kind::DateTime]);
    Ok(cells
        .map(|(cell, kind)| values::value(&kind, cell))
        .collect())
}
