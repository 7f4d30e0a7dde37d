//! What the database says about its tables, for people who choose one and for mappings that are checked
//! against it.

use std::time::Duration;

use contract::{SourceError, TableInfo, TableName};

use crate::catalogue::{self, Table};
use crate::column::Column;
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
        let mut session = connect::connect(settings, Rights::Read).await?;
        let found = catalogue::read(&mut session, tables).await?;
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
        key: table.own_key(),
        columns: table.columns.iter().map(Column::info).collect(),
        table: table.name,
        rows: table.rows,
    }
}
