//! Reading the record: some entries, all of them, and whether they hang together.

use contract::Finding;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{AuditChain, AuditHead, AuditRecord, begins};
use crate::error::StoreError;
use crate::status::StateReader;
use crate::{from_millis, migrate, millis};

/// The format from which on there is a record.
const SINCE_FORMAT: i64 = 7;

/// What findings about it are called.
pub(crate) const WHAT: &str = "audit record";

/// Which entries are meant: all that fit everything given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Noted then or later.
    pub since: Option<Timestamp>,
    /// By this one: `os:anna`, or only `anna`.
    pub who: Option<String>,
    /// This: `held.retry`, or all of `held`.
    pub what: Option<String>,
    /// To this, or to a part of it: `source.erp.port`, or all of `source.erp`.
    pub subject: Option<String>,
    /// The newest so many.
    pub limit: u32,
}

/// Whether the record hangs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditVerdict {
    /// Entries that were looked at and are right.
    pub entries: u64,
    /// What the oldest entry follows; number 0 = it is the first one ever.
    pub begins: AuditHead,
    /// The last entry that is right.
    pub head: AuditHead,
    /// What is wrong behind it.
    pub wrong: Option<String>,
}

const COLUMNS: &str = "number, at, who, what, subject, details, previous, hash";

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        at: from_millis(row.get(1)?),
        who: row.get(2)?,
        what: row.get(3)?,
        subject: row.get(4)?,
        details: row.get(5)?,
        previous: row.get(6)?,
        hash: row.get(7)?,
    })
}

pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<AuditHead> {
    Ok(AuditHead {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        hash: row.get(1)?,
    })
}

/// Goes over the entries behind a number, oldest first, for as long as `each` wants more.
pub(super) fn each_behind(
    db: &Connection,
    number: u64,
    mut each: impl FnMut(AuditRecord) -> bool,
) -> Result<(), StoreError> {
    let mut query = db.prepare(&format!(
        "SELECT {COLUMNS} FROM audit WHERE number > ?1 ORDER BY number"
    ))?;
    let mut rows = query.query([i64::try_from(number).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        if !each(record(row)?) {
            break;
        }
    }
    Ok(())
}

/// The entry with a number.
pub(super) fn at(db: &Connection, number: u64) -> Result<Option<AuditHead>, StoreError> {
    if number == 0 {
        return Ok(Some(AuditHead::none()));
    }
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    Ok(db
        .query_row(
            "SELECT number, hash FROM audit WHERE number = ?1
             UNION ALL SELECT number, hash FROM audit_anchor WHERE number = ?1",
            [number],
            head,
        )
        .optional()?)
}

/// Looks at every entry, within a transaction or not: the first that is wrong ends it.
fn verified(db: &Connection) -> Result<AuditVerdict, StoreError> {
    let begins = begins(db)?;
    let mut chain = AuditChain::behind(begins.clone());
    let (mut entries, mut wrong) = (0, None);
    each_behind(db, 0, |record| {
        match chain.take(&record) {
            Ok(()) => entries += 1,
            Err(why) => wrong = Some(why),
        }
        wrong.is_none()
    })?;
    Ok(AuditVerdict {
        entries,
        begins,
        head: chain.head().clone(),
        wrong: wrong.or_else(|| chain.end().err()),
    })
}

/// What is said of the record of a state file of this format.
pub(crate) fn finding(db: &Connection) -> Result<Finding, StoreError> {
    let verdict = verified(db)?;
    Ok(match verdict.wrong {
        None => Finding::pass(WHAT, "hangs together from its first entry to its last"),
        Some(wrong) => Finding::fail(WHAT, wrong).fix(
            "somebody wrote to the state file, or it is damaged: keep a copy of it, and compare with the \
             newest export (lighterman audit verify --file EXPORT); what the agent does is not touched by it",
        ),
    })
}

impl StateReader {
    /// The file, if its format has a record.
    fn recorded(&self) -> Result<Option<&Connection>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        Ok((migrate::format(db)? >= SINCE_FORMAT).then_some(db))
    }

    /// Whether there is an audit record: a state file of an older version has none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn has_audit(&self) -> Result<bool, StoreError> {
        Ok(self.recorded()?.is_some())
    }

    /// Some entries of the audit record, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn audit(&self, which: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let Some(db) = self.recorded()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare(&format!(
            "SELECT {COLUMNS} FROM audit
             WHERE (?1 IS NULL OR at >= ?1)
               AND (?2 IS NULL OR who = ?2 OR substr(who, -length(?2) - 1) = ':' || ?2)
               AND (?3 IS NULL OR what = ?3 OR substr(what, 1, length(?3) + 1) = ?3 || '.')
               AND (?4 IS NULL OR subject = ?4
                 OR substr(subject, 1, length(?4) + 1) IN (?4 || '.', ?4 || '/'))
             ORDER BY number DESC LIMIT ?5"
        ))?;
        let rows = query.query_map(
            params![
                which.since.map(millis),
                which.who,
                which.what,
                which.subject,
                which.limit
            ],
            record,
        )?;
        let mut found: Vec<AuditRecord> = rows.collect::<Result<_, _>>()?;
        found.reverse();
        Ok(found)
    }

    /// The newest entry of the audit record, and when it was noted; `None` = there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn audit_head(&self) -> Result<Option<(AuditHead, Timestamp)>, StoreError> {
        let Some(db) = self.recorded()? else {
            return Ok(None);
        };
        let last = db
            .query_row(
                "SELECT number, hash, at FROM audit ORDER BY number DESC LIMIT 1",
                [],
                |row| Ok((head(row)?, from_millis(row.get(2)?))),
            )
            .optional()?;
        Ok(last)
    }

    /// The place with a number in the audit record: `None` = there is no such entry, or it was let go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn audit_at(&self, number: u64) -> Result<Option<AuditHead>, StoreError> {
        match self.recorded()? {
            Some(db) => at(db, number),
            None => Ok(None),
        }
    }

    /// Goes over all of the audit record, one moment of it: what its oldest entry follows and the newest
    /// one first, then each entry, for as long as `each` wants more; `with` is what both work on. False
    /// where there is no record.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn audit_each<T>(
        &self,
        with: &mut T,
        first: impl FnOnce(&mut T, &AuditHead, &AuditHead),
        mut each: impl FnMut(&mut T, AuditRecord) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(db) = self.recorded()? else {
            return Ok(false);
        };
        // Only reads, so it ends with nothing to undo.
        let moment = db.unchecked_transaction()?;
        first(with, &begins(&moment)?, &super::head(&moment)?);
        each_behind(&moment, 0, |record| each(with, record))?;
        Ok(true)
    }

    /// Whether the audit record hangs together; `None` = there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn audit_verified(&self) -> Result<Option<AuditVerdict>, StoreError> {
        match self.recorded()? {
            Some(db) => {
                // One moment of it.
                let moment = db.unchecked_transaction()?;
                Ok(Some(verified(&moment)?))
            }
            None => Ok(None),
        }
    }
}
