//! What the database says about its tables, for people who choose one and for mappings that are
//! checked against it.

use std::time::Duration;

use contract::{ColumnInfo, ColumnKind, SourceError, TableInfo, TableName};

use crate::catalogue::{self, Table};
use crate::column::{Column, Kind};
use crate::connect::{self, Rights};
use crate::settings::Settings;

/// All of the catalogue, within the 20 seconds it may take.
const ANSWER_MAX: Duration = Duration::from_secs(18);

/// Describes `tables`, or every table a person could choose.
pub(crate) async fn describe(
    settings: &Settings,
    tables: &[TableName],
) -> Result<Vec<TableInfo>, SourceError> {
    let asked = async {
        let mut connection = connect::connect(settings, Rights::Read).await?;
        let found = catalogue::read(&mut connection, tables).await?;
        connection.close();
        Ok(found.into_iter().map(info).collect())
    };
    tokio::time::timeout(ANSWER_MAX, asked)
        .await
        .unwrap_or_else(|_| {
            let what = "read tables: the database answers too slowly";
            Err(SourceError::Disconnected(what.to_owned()))
        })
}

fn info(table: Table) -> TableInfo {
    TableInfo {
        table: table.name,
        columns: table.columns.into_iter().map(column).collect(),
        key: table.key,
        rows: table.rows,
    }
}

fn column(column: Column) -> ColumnInfo {
    ColumnInfo {
        kind: kind(&column.kind),
        name: column.name,
        nullable: column.nullable,
        declared: column.declared,
    }
}

/// The value that `column` promises.
fn kind(kind: &Kind) -> ColumnKind {
    match kind {
        Kind::Bit(1) => ColumnKind::Bool,
        Kind::Int { .. } | Kind::Year | Kind::Bit(_) => ColumnKind::Int,
        Kind::Decimal => ColumnKind::Decimal,
        Kind::Float | Kind::Double => ColumnKind::Float,
        Kind::Date => ColumnKind::Date,
        Kind::Time => ColumnKind::Time,
        Kind::DateTime => ColumnKind::DateTime,
        Kind::Timestamp => ColumnKind::Timestamp,
        Kind::Text { .. } | Kind::Enum(_) | Kind::Set(_) | Kind::Inet4 | Kind::Inet6 => {
            ColumnKind::Text
        }
        Kind::Bytes { .. } | Kind::Geometry => ColumnKind::Bytes,
        Kind::Json => ColumnKind::Json,
        Kind::Uuid => ColumnKind::Uuid,
    }
}
