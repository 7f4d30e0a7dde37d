//! Tables that the log does not tell while it goes on telling others, or whose rows it leaves unclear.
//!
//! Each is marked in the store, and a marked one is read from its first row: at once, or behind the
//! reading that is under way, which comes to its end however many marks there are meanwhile.

use std::time::Duration;

use contract::Untold;
use jiff::Timestamp;
use state::StoreError;

use super::{FULL_WAIT, Failed, Session};
use crate::Common;

/// A session in which tables are read goes on until something was read, or for so long: each one that
/// is begun anew loses the chunk that is on its way.
const ANEW_MAX: Duration = Duration::from_mins(1);

/// Notes which tables are not told now. One that is newly so is read again: what happens to its rows
/// until then is in no log of ours. `idle` says that nothing is being read. Whether there is one.
///
/// A full disk is waited out: the source says it once, and a batch that was stored without it would
/// take the log behind it.
pub(super) async fn note(
    common: &Common,
    name: &str,
    source_id: i64,
    untold: Vec<Untold>,
    noted: &mut Vec<Untold>,
    idle: bool,
) -> Result<bool, Failed> {
    if untold == *noted {
        return Ok(false);
    }
    let known = |one: &&Untold| noted.iter().any(|known| known.table == one.table);
    let new = untold.iter().filter(|one| !known(one));
    let tables: Vec<String> = new.map(|one| one.table.to_string()).collect();
    let said = untold.iter().filter(|one| !one.routine);
    let said = said.map(|one| format!("{}; to mend it: {}", one.what, one.hint));
    let said: Vec<String> = said.collect();
    let problem = (!said.is_empty()).then(|| said.join("; "));
    let marked = loop {
        let marking = common
            .store
            .mark(source_id, tables.clone(), idle, problem.clone());
        match marking.await {
            Ok(marked) => break marked,
            Err(error @ StoreError::Full) => {
                tracing::error!(code = "state.disk_full",
                    source = name, stage = "capture", error = %error,
                    hint = error.hint(), "capture waits for disk space");
                if common.sleep(FULL_WAIT).await {
                    return Err(Failed::Stopped);
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    // A table that is marked all the time is said once for each reading.
    for one in &untold {
        if !marked.contains(&one.table.to_string()) {
            continue;
        }
        if one.routine {
            tracing::info!(code = "capture.table_reread",
                source = name, stage = "capture", table = %one.table,
                "a table is read again and compared: {}", one.what);
        } else {
            tracing::error!(code = "capture.table_untold",
                source = name, stage = "capture", table = %one.table, hint = one.hint,
                "a table is read again as soon as it can be, the others go on: {}", one.what);
        }
    }
    *noted = untold;
    Ok(!tables.is_empty())
}

/// Has marked tables read that are due; false where none is.
pub(super) async fn read_marked(
    common: &Common,
    name: &str,
    source_id: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let marked = match common.store.take_marked(source_id, now).await {
        Ok(begun) => begun,
        // They stay marked.
        Err(StoreError::Full) => return Ok(false),
        Err(error) => return Err(error),
    };
    if marked.is_empty() {
        return Ok(false);
    }
    tracing::info!(
        code = "snapshot.rows_unclear",
        source = name,
        stage = "snapshot",
        tables = marked.join(", "),
        "tables are read again and compared: the log left their rows unclear"
    );
    Ok(true)
}

impl Session<'_> {
    /// Whether what is read now may be left, for other tables to be read as well.
    pub(super) fn may_begin_anew(&self, now: Timestamp) -> bool {
        let late = contract::clock::until(self.opened_at, now) >= ANEW_MAX;
        // Also when the wall clock was set back.
        self.guarded.is_empty() || self.has_read || late || now < self.opened_at
    }
}
