//! The binary log of MySQL and MariaDB, from bytes to events and rows. No input or output here.
//!
//! [`raw`] takes an event apart and verifies its checksum, [`event`] says what it is. Of a table
//! whose rows are wanted, [`table_map`] reads how they are stored; its columns come from the log
//! itself ([`described`]) or from the catalogue, [`layout`] puts both together, and [`rows`] reads
//! the rows by it. [`statement`] says what the text of a query event does.
//!
//! Takes any bytes: what it does not understand is an error, never a panic and never a guess.
//! Formats are those of the servers' own documentation:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>
//! and <https://mariadb.com/kb/en/replication-protocol/>.

mod bits;
mod cell;
mod compressed;
mod ddl;
mod decimal;
pub(crate) mod described;
pub(crate) mod event;
pub(crate) mod fields;
mod format;
pub(crate) mod gtid;
#[cfg(test)]
mod gtid_tests;
mod input;
mod jsonb;
mod jsonb_scalar;
pub(crate) mod kept;
pub(crate) mod layout;
mod lex;
pub(crate) mod metadata;
pub(crate) mod net;
pub(crate) mod payload;
pub(crate) mod query;
pub(crate) mod raw;
pub(crate) mod rows;
#[cfg(test)]
mod rows_tests;
pub(crate) mod statement;
#[cfg(test)]
mod statement_tests;
pub(crate) mod table_map;
pub(crate) mod temporal;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_client;
#[cfg(test)]
mod golden_mariadb;
#[cfg(test)]
mod golden_mysql;
#[cfg(test)]
mod live;
#[cfg(test)]
mod same;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use contract::SourceError;

/// Why bytes are no event or no value we can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The bytes contradict their own format, or have one we do not know.
    Malformed(Cow<'static, str>),
    /// They are understood, and the server must be set differently for us.
    Denied { what: String, hint: String },
    /// They do not fit what is known of the table.
    Changed { what: String, hint: String },
}

/// Bytes that may hold values of rows, and do not get into logs by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) Bytes);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

type Result<T> = std::result::Result<T, Trouble>;

/// Bytes we do not understand, and why.
pub(crate) const fn malformed(why: &'static str) -> Trouble {
    Trouble::Malformed(Cow::Borrowed(why))
}

impl Trouble {
    /// The error, with what was being read and where.
    pub(crate) fn at(self, doing: &str) -> SourceError {
        match self {
            Self::Malformed(why) => SourceError::Malformed(format!("{doing}: {why}")),
            Self::Denied { what, hint } => SourceError::Denied {
                what: format!("{doing}: {what}"),
                hint,
            },
            Self::Changed { what, hint } => SourceError::SchemaChanged {
                what: format!("{doing}: {what}"),
                hint,
            },
        }
    }
}
