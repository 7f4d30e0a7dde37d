//! Totals since the state file was made, kept in the transaction that they count.

use rusqlite::{Connection, params};

use crate::error::StoreError;

pub(crate) fn add(db: &Connection, scope: &str, name: &str, value: u64) -> Result<(), StoreError> {
    if value == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO counter (scope, name, value) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET value = value + excluded.value",
    )?
    .execute(params![
        scope,
        name,
        i64::try_from(value).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}
