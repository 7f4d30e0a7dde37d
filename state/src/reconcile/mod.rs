//! Reconcile: what was told, to be compared with what a destination holds, and what that came to.

mod asked;
mod keep;
mod mend;
mod names;
mod read;
mod run;
mod source;
mod told;

use rusqlite::Connection;

use crate::error::StoreError;
use crate::status::StateReader;

pub use asked::{
    ReconcileAnswer, ReconcileAsked, ReconcileOrder, ask_reconcile, withdraw_reconcile,
};
pub(crate) use mend::step as mend;
pub use names::Names;
pub use run::{
    ReconcileClass, ReconcileCount, ReconcileDifference, ReconcileRun, ReconcileStatus,
    ReconcileSum, ReconcileWith,
};
pub use source::{ReplicaTable, ToldBody, ToldByRule};
pub use told::ToldKey;

/// The version of the state file that has what is kept here.
const SINCE: i64 = 7;

/// The file, if it is of a version that has what is kept here.
fn reading(reader: &StateReader) -> Result<Option<&Connection>, StoreError> {
    let Some(db) = reader.newest()? else {
        return Ok(None);
    };
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((version >= SINCE).then_some(db))
}
