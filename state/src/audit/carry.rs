//! A restored state is older than what persons did since: that stays on record.

use std::path::Path;

use rusqlite::Connection;

use super::{AuditRecord, head, put, read};
use crate::error::StoreError;
use crate::folder;

/// Entries that are carried over at most: no file has more.
const CARRIED_MAX: usize = 200_000;

/// Takes over what a replaced state file noted since `db` was a copy of it, if its record goes on from
/// that of `db`: how many. One that cannot be read has nothing.
pub(crate) fn carry_over(db: &Connection, replaced: &Path) -> Result<u64, StoreError> {
    let Ok((newer, known)) = newer(db, replaced) else {
        return Ok(0);
    };
    let together = db.unchecked_transaction()?;
    for record in &newer {
        put(db, record)?;
    }
    if !newer.is_empty() {
        for (name, value) in &known {
            db.execute(
                "INSERT OR REPLACE INTO audit_known (name, value) VALUES (?1, ?2)",
                [name, value],
            )?;
        }
    }
    together.commit()?;
    Ok(newer.len() as u64)
}

type Newer = (Vec<AuditRecord>, Vec<(String, String)>);

fn newer(db: &Connection, replaced: &Path) -> Result<Newer, StoreError> {
    let last = head(db)?;
    let none = Ok((Vec::new(), Vec::new()));
    if !replaced.exists() {
        return none;
    }
    let old = folder::read_only(replaced)?;
    if read::at(&old, last.number)? != Some(last.clone()) {
        return none;
    }
    let mut chain = super::AuditChain::behind(last.clone());
    let mut found = Vec::new();
    // Up to the first that is wrong: what hangs together is what was noted.
    read::each_behind(&old, last.number, |record| {
        let right = chain.take(&record).is_ok() && found.len() < CARRIED_MAX;
        if right {
            found.push(record);
        }
        right
    })?;
    let mut query = old.prepare("SELECT name, value FROM audit_known")?;
    let known = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let known = known.collect::<Result<_, _>>()?;
    Ok((found, known))
}
