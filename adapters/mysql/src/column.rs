//! What a column holds, as far as its values depend on it: the one model of stream, snapshot and
//! catalogue.
//!
//! | declared | value |
//! |---|---|
//! | `tinyint` .. `bigint`, `year` | int (unsigned above `i64::MAX`: uint) |
//! | `bit(1)` | bool |
//! | `bit(2)` .. `bit(64)` | int |
//! | `decimal` | exact decimal; more than 38 digits: invalid |
//! | `float`, `double` | float |
//! | `date` | date; zero and partly zero dates: invalid, as the database writes them |
//! | `time` | time; negative and from 24 hours on: invalid |
//! | `datetime` | datetime; as `date` |
//! | `timestamp` | timestamp in UTC; zero: invalid |
//! | `char`, `varchar`, `text`, `enum`, `set`, `inet4`, `inet6` | text |
//! | `binary`, `varbinary`, `blob`, geometry, `vector` | bytes |
//! | `uuid` | uuid |
//! | `json` | json at MySQL; text at MariaDB, where it is an alias of `longtext` |

use std::sync::Arc;

/// What a column's values are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole numbers of any width.
    Int {
        unsigned: bool,
    },
    Year,
    /// So many bits; one is a truth value.
    Bit(u8),
    Decimal,
    Float,
    Double,
    Date,
    Time,
    DateTime,
    Timestamp,
    /// Text; the number of its collation, as table maps and result sets have it.
    Text {
        collation: u16,
    },
    /// Bytes. Of a fixed length, shorter ones end in zero bytes that the log leaves out.
    Bytes {
        fixed: Option<usize>,
    },
    /// One of these labels, counted from 1; 0 = the empty text the database stores for what is none
    /// of them.
    Enum(Arc<[String]>),
    /// Some of these labels.
    Set(Arc<[String]>),
    /// MySQL's own binary JSON.
    Json,
    Uuid,
    Inet4,
    Inet6,
    Geometry,
}

/// A column, as snapshot and stream deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// The database's own text of the type, such as `decimal(19,5) unsigned`.
    pub(crate) declared: String,
}
