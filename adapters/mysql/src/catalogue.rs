//! Tables as the server's catalogue has them: columns in the log's order, keys, and what stands in
//! the way of capturing them.
//!
//! The log has every column of a table, also those that the server computes, stored or not (tried
//! at MariaDB 10.11; MySQL: <https://bugs.mysql.com/bug.php?id=88791> shows one), and invisible ones.
//! Only the times of a table with system versioning may be in the log and not in the catalogue.

use std::collections::{BTreeSet, HashMap};

use contract::{CapturedTable, SourceError, TableName};

use crate::column::Column;
use crate::connect::{self, Connection, Flavour};
use crate::declared;

/// Schemas of the server's own.
pub(crate) const SYSTEM: &[&str] = &["information_schema", "mysql", "performance_schema", "sys"];

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    pub(crate) engine: String,
    /// It keeps its former rows, and its log tells them as new ones.
    pub(crate) versioned: bool,
    /// The server's estimate.
    pub(crate) rows: Option<u64>,
    /// In the table's order, which is the log's.
    pub(crate) columns: Vec<Column>,
    /// The primary key, else the smallest unique index without nulls; empty = neither.
    pub(crate) key: Vec<String>,
    /// Columns that the server computes.
    pub(crate) generated: Vec<String>,
}

impl Table {
    /// Reads one table; `None` when there is none of that name, or none our user may know of.
    pub(crate) async fn read(
        connection: &mut Connection,
        table: &TableName,
    ) -> Result<Option<Self>, SourceError> {
        let found = read(connection, std::slice::from_ref(table)).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// What tells its rows apart: as the mapping says, else as the table does.
    pub(crate) fn key(&self, captured: &CapturedTable) -> Vec<String> {
        if captured.key.is_empty() {
            self.key.clone()
        } else {
            captured.key.clone()
        }
    }

    /// Whether its changes are undone with their transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        knows_transactions(&self.engine)
    }
}

fn knows_transactions(engine: &str) -> bool {
    ["innodb", "rocksdb", "tokudb", "ndbcluster"].contains(&engine.to_ascii_lowercase().as_str())
}

/// Whether a table is of an engine with transactions, as far as can be seen: one that is locked may be
/// of any, and one that is not there has no rows.
pub(crate) async fn is_transactional(
    connection: &mut Connection,
    table: &TableName,
) -> Result<bool, SourceError> {
    let sql = format!(
        "SELECT ENGINE FROM information_schema.TABLES WHERE {}",
        wanted(std::slice::from_ref(table))
    );
    let found: Option<(Option<String>,)> = connection.row("read tables", &sql).await?;
    Ok(found.is_none_or(|(engine,)| engine.is_some_and(|engine| knows_transactions(&engine))))
}

/// Begins a question that waits for no lock. MySQL waits a second at least.
fn at_once(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => "SET STATEMENT lock_wait_timeout = 0 FOR ",
        Flavour::MySql => "",
    }
}

/// Whether there is a table, or a view, of that name, also when it is locked. Of one table by literals:
/// with several, the server lists the folder, and misses one that is being renamed.
pub(crate) async fn is_there(
    connection: &mut Connection,
    table: &TableName,
) -> Result<bool, SourceError> {
    let sql = format!(
        "{}SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE {}",
        at_once(connection.flavour),
        wanted(std::slice::from_ref(table))
    );
    let found: Vec<(String, String)> = connection.rows("look for tables", &sql).await?;
    let mut found = found.into_iter();
    Ok(found.any(|(schema, name)| TableName::new(schema, name) == *table))
}

/// Whether somebody changes a table now, so that nothing can be asked about it.
pub(crate) async fn is_locked(
    connection: &mut Connection,
    table: &TableName,
) -> Result<bool, SourceError> {
    let sql = format!(
        "{}SELECT ENGINE FROM information_schema.TABLES
          WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {}",
        at_once(connection.flavour),
        wanted(std::slice::from_ref(table))
    );
    let found: Option<(Option<String>,)> = connection.row("read tables", &sql).await?;
    Ok(found.is_some_and(|(engine,)| engine.is_none()))
}

/// A table that somebody changes is shown without what it is made of, and without an error.
fn locked(table: &TableName) -> SourceError {
    SourceError::Disconnected(format!(
        "read tables: {table} is locked by somebody who changes it: the server does not show its \
         columns"
    ))
}

/// Reads `tables`, or every table a person could choose, ordered by name.
///
/// # Errors
/// When the server does not answer, and when one of `tables` is locked.
pub(crate) async fn read(
    connection: &mut Connection,
    tables: &[TableName],
) -> Result<Vec<Table>, SourceError> {
    type Row = (String, String, String, Option<String>, Option<u64>);
    let rows: Vec<Row> = connection
        .rows(
            "read tables",
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS
                   FROM information_schema.TABLES
                  WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {}",
                wanted(tables)
            ),
        )
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = columns(connection, tables).await?;
    let mut keys = keys(connection, tables).await?;
    // Names are compared without case there, and ordered by no rule of ours.
    let exactly = |table: &TableName| tables.is_empty() || tables.contains(table);
    let found = rows.into_iter().map(|(schema, name, kind, engine, rows)| {
        let name = TableName::new(schema, name);
        let (columns, generated) = columns.remove(&name).unwrap_or_default();
        Table {
            key: keys.remove(&name).unwrap_or_default(),
            versioned: kind == "SYSTEM VERSIONED",
            engine: engine.unwrap_or_default(),
            rows,
            columns,
            generated,
            name,
        }
    });
    let mut found: Vec<Table> = found.filter(|table| exactly(&table.name)).collect();
    let is_whole = |table: &Table| !table.engine.is_empty() && !table.columns.is_empty();
    if !tables.is_empty()
        && let Some(table) = found.iter().find(|table| !is_whole(table))
    {
        return Err(locked(&table.name));
    }
    found.retain(is_whole);
    found.sort_by(|a, b| {
        let name = |table: &Table| (table.name.schema.clone(), table.name.name.clone());
        name(a).cmp(&name(b))
    });
    Ok(found)
}

/// The condition that a row of `information_schema` belongs to one of `tables`.
fn wanted(tables: &[TableName]) -> String {
    if tables.is_empty() {
        let system: Vec<String> = SYSTEM.iter().map(|name| format!("'{name}'")).collect();
        return format!("TABLE_SCHEMA NOT IN ({})", system.join(", "));
    }
    let one = |table: &TableName| {
        let (schema, name) = (&table.schema, &table.name);
        // Named by literals, the server opens these tables only.
        format!(
            "(TABLE_SCHEMA = {} AND TABLE_NAME = {})",
            connect::literal(schema),
            connect::literal(name)
        )
    };
    let all: Vec<String> = tables.iter().map(one).collect();
    format!("({})", all.join(" OR "))
}

/// The numbers of these collations, by name. MariaDB lists those that several character sets share
/// once, without a number, and in full elsewhere.
async fn collations(
    connection: &mut Connection,
    names: &BTreeSet<&str>,
) -> Result<HashMap<String, u16>, SourceError> {
    let doing = "read collations";
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let list: Vec<String> = names.iter().map(|name| connect::literal(name)).collect();
    let list = list.join(", ");
    let plain = format!(
        "SELECT COLLATION_NAME, ID FROM information_schema.COLLATIONS
          WHERE ID IS NOT NULL AND COLLATION_NAME IN ({list})"
    );
    let mut rows: Vec<(String, u64)> = connection.rows(doing, &plain).await?;
    let lists_shared = "SELECT COUNT(*) FROM information_schema.COLUMNS
          WHERE TABLE_SCHEMA = 'information_schema' AND COLUMN_NAME = 'FULL_COLLATION_NAME'
            AND TABLE_NAME = 'COLLATION_CHARACTER_SET_APPLICABILITY'";
    if rows.len() < names.len() && connection.one::<u64>(doing, lists_shared).await? > 0 {
        let full = format!(
            "SELECT FULL_COLLATION_NAME, ID FROM
             information_schema.COLLATION_CHARACTER_SET_APPLICABILITY
              WHERE ID IS NOT NULL AND FULL_COLLATION_NAME IN ({list})"
        );
        rows.extend(connection.rows::<(String, u64)>(doing, &full).await?);
    }
    rows.into_iter()
        .map(|(name, id)| match u16::try_from(id) {
            Ok(id) => Ok((name, id)),
            Err(_) => Err(SourceError::Malformed(format!(
                "{doing}: collation {name} has the number {id}"
            ))),
        })
        .collect()
}

type Columns = HashMap<TableName, (Vec<Column>, Vec<String>)>;

async fn columns(
    connection: &mut Connection,
    tables: &[TableName],
) -> Result<Columns, SourceError> {
    type Row = (
        String,
        String,
        String,
        String,
        String,
        Option<String>,
        String,
        String,
    );
    let rows: Vec<Row> = connection
        .rows(
            "read columns",
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE,
                        COLLATION_NAME, IS_NULLABLE, EXTRA
                   FROM information_schema.COLUMNS WHERE {}
                  ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
                wanted(tables)
            ),
        )
        .await?;
    let named = rows.iter().filter_map(|row| row.5.as_deref());
    let collations = collations(connection, &named.collect()).await?;
    let mut found = Columns::new();
    for (schema, table, name, data_type, declared, collation, nullable, extra) in rows {
        let table = TableName::new(schema, table);
        let number = match &collation {
            None => None,
            Some(collation) => Some(*collations.get(collation).ok_or_else(|| {
                SourceError::Malformed(format!(
                    "read columns: {table} has a column `{name}` in collation {collation}, which \
                     the server does not list"
                ))
            })?),
        };
        let kind = declared::kind(&data_type, &declared, number).ok_or_else(|| {
            SourceError::Malformed(format!(
                "read columns: {table} has a column `{name}` of type {declared}, which we do not \
                 know"
            ))
        });
        let (columns, generated) = found.entry(table).or_default();
        if extra.contains("GENERATED") && !extra.starts_with("DEFAULT_GENERATED") {
            generated.push(name.clone());
        }
        columns.push(Column {
            name,
            kind: kind?,
            nullable: nullable == "YES",
            declared,
        });
    }
    Ok(found)
}

/// A unique index: its name, and its columns where they tell rows apart.
type Index = (String, Option<Vec<String>>);

/// The primary key of each table, or a unique index without nulls, the smallest first. An index over
/// a part of a column or over an expression tells no rows apart for us.
async fn keys(
    connection: &mut Connection,
    tables: &[TableName],
) -> Result<HashMap<TableName, Vec<String>>, SourceError> {
    type Row = (String, String, String, Option<String>, Option<u64>, String);
    let rows: Vec<Row> = connection
        .rows(
            "read keys",
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE
                   FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND {}
                  ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
                wanted(tables)
            ),
        )
        .await?;
    let mut indexes: HashMap<TableName, Vec<Index>> = HashMap::new();
    for (schema, table, index, column, part, nullable) in rows {
        let of_table = indexes.entry(TableName::new(schema, table)).or_default();
        if of_table.last().is_none_or(|(last, _)| *last != index) {
            of_table.push((index, Some(Vec::new())));
        }
        let whole = column.filter(|_| part.is_none() && nullable != "YES");
        if let Some((_, columns)) = of_table.last_mut() {
            *columns = columns.take().zip(whole).map(|(mut columns, column)| {
                columns.push(column);
                columns
            });
        }
    }
    let smallest = |indexes: Vec<Index>| {
        let usable = indexes
            .into_iter()
            .filter_map(|(name, columns)| Some((name, columns?)));
        usable
            .min_by_key(|(name, columns)| (name != "PRIMARY", columns.len(), name.clone()))
            .map(|(_, columns)| columns)
    };
    Ok(indexes
        .into_iter()
        .filter_map(|(table, indexes)| Some((table, smallest(indexes)?)))
        .collect())
}
