//! The unique indexes of a table, as far as rows can be read along them, and how the server calls what
//! their columns hold.

use contract::{SourceError, TableName};

use crate::catalogue::Table;
use crate::connect::{Connection, literal, table as named};

/// What else the server says of a column.
pub(crate) struct Described {
    pub(crate) column: String,
    pub(crate) declared: String,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
}

/// An index, as far as it is known.
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, bool)>,
    pub(crate) usable: bool,
}

/// The unique indexes of a table. Which columns the answer has differs from server to server.
pub(crate) async fn indexes(
    connection: &mut Connection,
    table: &Table,
    doing: &str,
) -> Result<Vec<Index>, SourceError> {
    let sql = format!("SHOW INDEX FROM {}", named(&table.name));
    let rows: Vec<mysql_async::Row> = connection.rows(doing, &sql).await?;
    // A hash tells rows apart and has no order; tables in memory are small enough to be sorted.
    let is_memory = table.engine.eq_ignore_ascii_case("memory");
    let mut found: Vec<Index> = Vec::new();
    for row in rows {
        let get = |column: &str| {
            let cell = row.get_opt::<Option<String>, _>(column);
            cell.and_then(Result::ok).flatten()
        };
        if get("Non_unique").as_deref() != Some("0") {
            continue;
        }
        let index = get("Key_name").unwrap_or_default();
        let column = get("Column_name");
        let whole =
            column.is_some() && get("Sub_part").is_none() && get("Null").as_deref() != Some("YES");
        let ordered = is_memory || get("Index_type").as_deref() == Some("BTREE");
        // Such an index may not be named in a statement.
        let hidden =
            get("Ignored").as_deref() == Some("YES") || get("Visible").as_deref() == Some("NO");
        if found.last().is_none_or(|last| last.name != index) {
            found.push(Index {
                name: index,
                columns: Vec::new(),
                usable: true,
            });
        }
        if let Some(last) = found.last_mut() {
            last.usable &= whole && ordered && !hidden;
            let descending = get("Collation").as_deref() == Some("D");
            last.columns.push((column.unwrap_or_default(), descending));
        }
    }
    found.retain(|index| index.usable);
    Ok(found)
}

pub(crate) async fn described(
    connection: &mut Connection,
    table: &TableName,
    doing: &str,
) -> Result<Vec<Described>, SourceError> {
    type Row = (String, String, String, Option<String>, Option<String>);
    let rows: Vec<Row> = connection
        .rows(
            doing,
            &format!(
                "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME
                   FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}
                  ORDER BY ORDINAL_POSITION",
                literal(&table.schema),
                literal(&table.name)
            ),
        )
        .await?;
    let ours = rows.into_iter().filter(|(of, ..)| *of == table.name);
    Ok(ours
        .map(|(_, column, declared, charset, collation)| Described {
            column,
            declared,
            charset,
            collation,
        })
        .collect())
}
