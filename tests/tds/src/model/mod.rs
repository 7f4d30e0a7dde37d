//! A model of one SQL Server database that captures its changes: rows in versions, transactions, the
//! transaction log, Change Data Capture, Change Tracking, rowversion, rights and the catalogue.
//!
//! It is what the notes on SQL Server say, not SQL Server. Where they are not sure, [`Options`] has both
//! ways. A test drives it through [`Database`] in the same process; clients ask it over the wire through
//! [`Database`] as a [`Handler`](crate::wire::Handler).
//!
//! Not modelled: waiting for locks (what would wait ends with error 1222 at once), deadlocks and the version
//! store (a test lets them happen with [`Database::fail`]), several databases, plans and costs.

mod capture;
mod catalogue;
mod handle;
mod hooks;
mod lsn;
mod options;
mod rights;
mod shape;
mod state;
mod table;
mod tracking;
mod transaction;

pub use capture::{Half, update_mask};
pub use handle::{Backup, Database};
pub use hooks::Which;
pub use lsn::{Place, lsn};
pub use options::{KeyChange, Options};
pub use rights::User;
pub use state::Commit;
pub use table::Column;
pub use transaction::Transaction;

pub(crate) use capture::{CapturedRow, Instance, Time};
pub(crate) use catalogue::{TYPES, cdc_relation, local, relation};
pub(crate) use hooks::Then;
pub(crate) use lsn::{next as next_lsn, place as lsn_place};
pub(crate) use rights::denied;
pub(crate) use state::{State, lock_timeout};
pub(crate) use table::{Table, View, locked};
pub(crate) use tracking::{Did, in_mask, not_tracked};

/// Whether two names are the same, as in a database whose collation ignores case.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}
