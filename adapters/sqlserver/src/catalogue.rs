//! Tables as the server's catalogue has them: columns, keys, and an estimate of their rows.

use std::collections::HashMap;

use contract::{CapturedTable, SourceError, TableName};

use crate::column::{Column, Declared, Kind};
use crate::errors::{Failed, NO_OBJECT};
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::sql;

/// The schema of change data capture's own tables.
pub(crate) const CDC: &str = "cdc";

/// A unique index over whole rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    pub(crate) primary: bool,
    /// In the index's order.
    pub(crate) columns: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    pub(crate) object_id: i64,
    /// In the table's order.
    pub(crate) columns: Vec<Column>,
    /// The primary key first.
    pub(crate) indexes: Vec<UniqueIndex>,
    /// The server's estimate.
    pub(crate) rows: Option<u64>,
}

impl Table {
    /// Reads one table; `None` when there is none of that name, or none our user may know of.
    pub(crate) async fn read(
        session: &mut Session,
        table: &TableName,
    ) -> Result<Option<Self>, SourceError> {
        let found = find(session, table).await?;
        Ok(found.filter(|found| found.name == *table))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Its primary key.
    pub(crate) fn primary(&self) -> Option<&UniqueIndex> {
        self.indexes.iter().find(|index| index.primary)
    }

    /// The index by which its rows can be told apart and read in order: the primary key, else the smallest
    /// over columns that are never null.
    pub(crate) fn order(&self) -> Option<&UniqueIndex> {
        let never_null = |name: &String| {
            self.column(name)
                .is_some_and(|column| !column.nullable && column.kind.mark(1).is_some())
        };
        let usable = self
            .indexes
            .iter()
            .filter(|index| index.columns.iter().all(never_null));
        usable.min_by_key(|index| (!index.primary, index.columns.len(), index.name.clone()))
    }

    /// What tells its rows apart by itself; empty = nothing.
    pub(crate) fn own_key(&self) -> Vec<String> {
        let key = self.primary().or_else(|| self.order());
        key.map(|index| index.columns.clone()).unwrap_or_default()
    }

    /// What tells its rows apart: as the mapping says, else as the table does.
    pub(crate) fn key(&self, captured: &CapturedTable) -> Vec<String> {
        if captured.key.is_empty() {
            self.own_key()
        } else {
            captured.key.clone()
        }
    }

    /// Its column of type `rowversion`: a table has at most one.
    pub(crate) fn rowversion(&self) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.kind == Kind::Rowversion)
    }
}

const TABLES: &str = "SELECT s.name, t.name, t.object_id FROM sys.tables AS t JOIN sys.schemas AS s ON \
     s.schema_id = t.schema_id WHERE ";
const KEYS: &str = "SELECT i.name, i.is_primary_key, i.is_unique, ic.key_ordinal, c.name, i.object_id FROM \
     sys.indexes AS i JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id \
     AND ic.is_included_column = 0 JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = \
     ic.column_id WHERE ";
const KEYS_REST: &str = "i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 ORDER BY i.object_id, \
     i.is_primary_key DESC, i.index_id, ic.key_ordinal";
const ROWS: &str = "SELECT p.object_id, p.rows FROM sys.partitions AS p WHERE p.index_id <= 1";

fn columns_sql(newer: bool, one: bool) -> String {
    // What came with encryption and temporal tables.
    let newer = if newer {
        "c.is_hidden, c.generated_always_type, c.encryption_type"
    } else {
        "0 AS is_hidden, 0 AS generated_always_type, NULL AS encryption_type"
    };
    let of = if one {
        "c.object_id = OBJECT_ID(@P1)"
    } else {
        "c.object_id > 0"
    };
    format!(
        "SELECT c.column_id, c.name, ty.name AS type_name, bt.name AS base_type, c.max_length, c.precision, \
         c.scale, c.is_nullable, c.is_identity, c.is_computed, c.collation_name, c.is_column_set, {newer}, \
         c.object_id FROM sys.columns AS c JOIN sys.types AS ty ON ty.user_type_id = c.user_type_id LEFT JOIN \
         sys.types AS bt ON bt.user_type_id = c.system_type_id WHERE {of} ORDER BY c.object_id, c.column_id"
    )
}

/// The table that the server finds under a name, whatever the case of its letters: databases compare names
/// by their collation.
pub(crate) async fn find(
    session: &mut Session,
    table: &TableName,
) -> Result<Option<Table>, SourceError> {
    let doing = "read tables";
    let named = [Parameter::Text(sql::table(table))];
    let sql = format!("{TABLES}t.object_id = OBJECT_ID(@P1)");
    let Some(row) = session.row(doing, &sql, &named).await? else {
        return Ok(None);
    };
    let mut rest = Rest::read(session, &named).await?;
    Ok(Some(rest.table(&row)?))
}

/// Reads `tables`, or every table a person could choose, ordered by name.
pub(crate) async fn read(
    session: &mut Session,
    tables: &[TableName],
) -> Result<Vec<Table>, SourceError> {
    let doing = "read tables";
    let mut found = Vec::new();
    if tables.is_empty() {
        let sql = format!("{TABLES}t.is_ms_shipped = 0 ORDER BY s.name, t.name");
        let rows = session.rows(doing, &sql, &[]).await?;
        let mut rest = Rest::read(session, &[]).await?;
        for row in &rows {
            let table = rest.table(row)?;
            if table.name.schema != CDC {
                found.push(table);
            }
        }
    }
    for table in tables {
        found.extend(Table::read(session, table).await?);
    }
    let name = |table: &Table| (table.name.schema.clone(), table.name.name.clone());
    found.sort_by_key(name);
    Ok(found)
}

/// The names of all tables that a person could choose.
pub(crate) async fn names(session: &mut Session) -> Result<Vec<TableName>, SourceError> {
    let doing = "read the names of tables";
    let sql = format!("{TABLES}t.is_ms_shipped = 0 ORDER BY s.name, t.name");
    let rows = session.rows(doing, &sql, &[]).await?;
    let names = rows.iter().map(|row| {
        Ok(TableName::new(
            row.text_there(doing, 0)?,
            row.text_there(doing, 1)?,
        ))
    });
    names.collect()
}

/// Whether an index begins with a column: rows are found by it without reading all of them.
pub(crate) async fn leads(
    session: &mut Session,
    table: &TableName,
    column: &str,
) -> Result<bool, SourceError> {
    let doing = "read indexes";
    let sql = "SELECT i.name FROM sys.indexes AS i JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND \
         ic.index_id = i.index_id AND ic.key_ordinal = 1 JOIN sys.columns AS c ON c.object_id = ic.object_id AND \
         c.column_id = ic.column_id WHERE i.object_id = OBJECT_ID(@P1) AND c.name = @P2 AND i.is_disabled = 0 AND \
         i.has_filter = 0 AND i.is_hypothetical = 0";
    let named = [
        Parameter::Text(sql::table(table)),
        Parameter::Text(column.to_owned()),
    ];
    Ok(session.row(doing, sql, &named).await?.is_some())
}

/// An index that begins with a table's rowversion, and its undo.
pub(crate) fn rowversion_index(table: &TableName, column: &str) -> (String, String) {
    let (table, column) = (sql::table(table), sql::name(column));
    (
        format!("CREATE INDEX [lighterman_rv] ON {table} ({column})"),
        format!("DROP INDEX [lighterman_rv] ON {table}"),
    )
}

/// What belongs to tables, by their numbers.
#[derive(Debug, Default)]
struct Rest {
    columns: HashMap<i64, Vec<Column>>,
    indexes: HashMap<i64, Vec<UniqueIndex>>,
    rows: HashMap<i64, u64>,
}

impl Rest {
    /// Of the table that the parameter names, or of all.
    async fn read(session: &mut Session, named: &[Parameter]) -> Result<Self, SourceError> {
        let doing = "read columns";
        let mut rest = Self::default();
        let one = !named.is_empty();
        let newer = session.rows(doing, &columns_sql(true, one), named).await;
        let rows = match newer {
            Err(failed) if failed.is(NO_OBJECT) => {
                session.rows(doing, &columns_sql(false, one), named).await?
            }
            other => other?,
        };
        for row in &rows {
            let of = row.int_there(doing, 15)?;
            rest.columns
                .entry(of)
                .or_default()
                .push(column(row, doing)?);
        }
        let doing = "read keys";
        let of = if one {
            "i.object_id = OBJECT_ID(@P1) AND "
        } else {
            ""
        };
        for row in session
            .rows(doing, &format!("{KEYS}{of}{KEYS_REST}"), named)
            .await?
        {
            let name = row.text(doing, 0)?.unwrap_or_default();
            let primary = row.flag(doing, 1)?;
            let column = row.text_there(doing, 4)?;
            let indexes = rest.indexes.entry(row.int_there(doing, 5)?).or_default();
            match indexes.last_mut().filter(|index| index.name == name) {
                Some(index) => index.columns.push(column),
                None => indexes.push(UniqueIndex {
                    name,
                    primary,
                    columns: vec![column],
                }),
            }
        }
        let sql = if one {
            format!("{ROWS} AND p.object_id = OBJECT_ID(@P1)")
        } else {
            ROWS.to_owned()
        };
        match session.rows("count rows", &sql, named).await {
            Ok(rows) => {
                for row in &rows {
                    let of = row.int_there("count rows", 0)?;
                    let count = row.int("count rows", 1)?.unwrap_or(0);
                    *rest.rows.entry(of).or_default() += u64::try_from(count).unwrap_or(0);
                }
            }
            // It is only an estimate.
            Err(Failed {
                number: Some(_), ..
            }) => {}
            Err(failed) => return Err(failed.error),
        }
        Ok(rest)
    }

    fn table(&mut self, row: &Row) -> Result<Table, SourceError> {
        let doing = "read tables";
        let object_id = row.int_there(doing, 2)?;
        Ok(Table {
            name: TableName::new(row.text_there(doing, 0)?, row.text_there(doing, 1)?),
            object_id,
            columns: self.columns.remove(&object_id).unwrap_or_default(),
            indexes: self.indexes.remove(&object_id).unwrap_or_default(),
            rows: self.rows.remove(&object_id),
        })
    }
}

fn column(row: &Row, doing: &str) -> Result<Column, SourceError> {
    let type_name = row.text_there(doing, 2)?;
    let base = row.text(doing, 3)?;
    let collation = row.text(doing, 10)?;
    let declared = Declared {
        type_name: &type_name,
        base: base.as_deref(),
        max_length: row.int_there(doing, 4)?,
        precision: row.int_there(doing, 5)?,
        scale: row.int_there(doing, 6)?,
        collation: collation.as_deref(),
    };
    let mut kind = declared.kind();
    if row.int(doing, 14)?.is_some() {
        let what = format!("{}, encrypted for its clients only", kind.declared());
        kind = Kind::Foreign(what);
    }
    let is_alias = base.as_deref().is_some_and(|base| base != type_name);
    Ok(Column {
        name: row.text_there(doing, 1)?,
        id: row.int_there(doing, 0)?,
        kind,
        nullable: row.flag(doing, 7)?,
        computed: row.flag(doing, 9)? || row.flag(doing, 11)?,
        alias: is_alias.then_some(type_name),
    })
}
