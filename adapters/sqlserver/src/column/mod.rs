//! What a column holds: the one model of stream, snapshot, questions and catalogue, and the one place that
//! says how a column is asked for and how a value is compared with it.
//!
//! | declared | asked for as | value |
//! |---|---|---|
//! | `bit` | itself | bool |
//! | `tinyint` .. `bigint` | itself | int |
//! | `decimal`, `numeric` | itself | exact decimal |
//! | `money`, `smallmoney` | `CAST(.. AS decimal(19,4))`: the client makes binary floats of them | exact decimal |
//! | `real`, `float` | itself | float |
//! | `date` | itself | date |
//! | `time` | itself | time |
//! | `datetime`, `smalldatetime`, `datetime2` | itself | datetime; a `datetime` by the millisecond, as the server writes it |
//! | `datetimeoffset` | itself | timestamp in UTC; its offset is left out |
//! | `char`, `varchar`, `text` | `CAST(.. AS nvarchar)`: the server knows each code page best | text, `char` with its padding |
//! | `nchar`, `nvarchar`, `ntext` | itself | text, `nchar` with its padding; half a character: invalid |
//! | `xml` | `CAST(.. AS nvarchar(max))` | text |
//! | `binary`, `varbinary`, `image` | itself | bytes |
//! | `rowversion` | `CAST(.. AS binary(8))` | bytes |
//! | `uniqueidentifier` | itself | uuid |
//! | `hierarchyid`, `geography`, `geometry` | `CAST(.. AS varbinary(max))` | bytes, as the server stores them |
//! | `sql_variant`, types of other assemblies | not at all | refused by name |

mod declared;
mod packed;
#[cfg(test)]
mod tests;

use contract::{ColumnInfo, ColumnKind};

pub(crate) use declared::Declared;
pub(crate) use packed::packed;

use crate::sql::{name, plain_name};

/// The longest text that is not `(max)`, in characters of `nvarchar`.
const TEXT_MAX: u16 = 4_000;

/// What a column's values are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bit,
    /// Whole numbers; by their type's name.
    Int(&'static str),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Money,
    SmallMoney,
    Real,
    Float,
    Date,
    /// With so many decimal places, as those below.
    Time(u8),
    DateTime,
    SmallDateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    /// In a code page: so many bytes, `None` = `(max)` or the older `text`.
    Char {
        fixed: bool,
        bytes: Option<u16>,
        collation: String,
    },
    /// So many units of UTF-16, `None` = `(max)` or the older `ntext`.
    NChar {
        fixed: bool,
        units: Option<u16>,
        collation: String,
    },
    Xml,
    /// So many bytes, `None` = `(max)` or the older `image`.
    Binary {
        fixed: bool,
        bytes: Option<u16>,
    },
    Rowversion,
    Uuid,
    /// `hierarchyid`, `geography` or `geometry`.
    Udt(&'static str),
    /// Not readable by us; by its type's name.
    Foreign(String),
}

impl Kind {
    /// As it is written in SQL, for people and for `CAST`.
    pub(crate) fn declared(&self) -> String {
        let long = |name: &str, length: Option<u16>| match length {
            Some(length) => format!("{name}({length})"),
            None => format!("{name}(max)"),
        };
        match self {
            Self::Bit => "bit".to_owned(),
            Self::Int(name) | Self::Udt(name) => (*name).to_owned(),
            Self::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            Self::Money => "money".to_owned(),
            Self::SmallMoney => "smallmoney".to_owned(),
            Self::Real => "real".to_owned(),
            Self::Float => "float".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Time(scale) => format!("time({scale})"),
            Self::DateTime => "datetime".to_owned(),
            Self::SmallDateTime => "smalldatetime".to_owned(),
            Self::DateTime2(scale) => format!("datetime2({scale})"),
            Self::DateTimeOffset(scale) => format!("datetimeoffset({scale})"),
            Self::Char { fixed, bytes, .. } => {
                long(if *fixed { "char" } else { "varchar" }, *bytes)
            }
            Self::NChar { fixed, units, .. } => {
                long(if *fixed { "nchar" } else { "nvarchar" }, *units)
            }
            Self::Xml => "xml".to_owned(),
            Self::Binary { fixed, bytes } => {
                long(if *fixed { "binary" } else { "varbinary" }, *bytes)
            }
            Self::Rowversion => "rowversion".to_owned(),
            Self::Uuid => "uniqueidentifier".to_owned(),
            Self::Foreign(name) => name.clone(),
        }
    }

    /// Whether change data capture may leave its value out where it did not change.
    pub(crate) fn is_large(&self) -> bool {
        matches!(
            self,
            Self::Char { bytes: None, .. }
                | Self::NChar { units: None, .. }
                | Self::Binary { bytes: None, .. }
                | Self::Xml
                | Self::Udt(_)
        )
    }

    /// The value it promises.
    pub(crate) fn column_kind(&self) -> ColumnKind {
        match self {
            Self::Bit => ColumnKind::Bool,
            Self::Int(_) => ColumnKind::Int,
            Self::Decimal { .. } | Self::Money | Self::SmallMoney => ColumnKind::Decimal,
            Self::Real | Self::Float => ColumnKind::Float,
            Self::Date => ColumnKind::Date,
            Self::Time(_) => ColumnKind::Time,
            Self::DateTime | Self::SmallDateTime | Self::DateTime2(_) => ColumnKind::DateTime,
            Self::DateTimeOffset(_) => ColumnKind::Timestamp,
            Self::Char { .. } | Self::NChar { .. } | Self::Xml => ColumnKind::Text,
            Self::Binary { .. } | Self::Rowversion | Self::Udt(_) => ColumnKind::Bytes,
            Self::Uuid => ColumnKind::Uuid,
            Self::Foreign(_) => ColumnKind::Other,
        }
    }

    /// Asks for `place`, a column of this kind, as a value that the client reads exactly; `None` = it cannot
    /// be read.
    pub(crate) fn select(&self, place: &str) -> Option<String> {
        let cast = |to: &str| Some(format!("CAST({place} AS {to})"));
        match self {
            Self::Money => cast("decimal(19,4)"),
            Self::SmallMoney => cast("decimal(10,4)"),
            Self::Char { bytes, .. } => match bytes.filter(|bytes| *bytes <= TEXT_MAX) {
                Some(bytes) => cast(&format!("nvarchar({bytes})")),
                None => cast("nvarchar(max)"),
            },
            Self::Xml => cast("nvarchar(max)"),
            Self::Rowversion => cast("binary(8)"),
            Self::Udt(_) => cast("varbinary(max)"),
            Self::Foreign(_) => None,
            _ => Some(place.to_owned()),
        }
    }

    /// What stands for parameter number `number` where it is compared with a column of this kind, so that
    /// the comparison is the column's own: of another type the server would convert every row's, use no
    /// index, and compare by other rules than it sorts by. `None` = it cannot be compared.
    pub(crate) fn mark(&self, number: usize) -> Option<String> {
        let cast = |to: &str| Some(format!("CAST(@P{number} AS {to})"));
        match self {
            Self::Int("bigint") | Self::Float | Self::Uuid => Some(format!("@P{number}")),
            // Texts of a code page are compared by its collation, which also says what the code page is.
            Self::Char { collation, .. } => {
                let collation = plain_name(collation)?;
                Some(format!(
                    "CAST(@P{number} COLLATE {collation} AS {})",
                    self.declared()
                ))
            }
            Self::NChar { units: Some(_), .. } => Some(format!("@P{number}")),
            Self::Rowversion => cast("binary(8)"),
            Self::NChar { .. } | Self::Xml | Self::Udt(_) | Self::Foreign(_) => None,
            _ => cast(&self.declared()),
        }
    }
}

/// A column, as snapshot and stream deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its number in the table, which change tracking's masks have.
    pub(crate) id: i64,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// The server computes it: change data capture has NULL in its place.
    pub(crate) computed: bool,
    /// The database's own name of its type, where that is made of another.
    pub(crate) alias: Option<String>,
}

impl Column {
    /// Asks for the column of a table that is called `of` in the statement, under its own name.
    pub(crate) fn select(&self, of: &str) -> Option<String> {
        let own = name(&self.name);
        let place = format!("{of}.{own}");
        let asked = self.kind.select(&place)?;
        Some(if asked == place {
            place
        } else {
            format!("{asked} AS {own}")
        })
    }

    /// What the catalogue says of it.
    pub(crate) fn info(&self) -> ColumnInfo {
        let declared = match &self.alias {
            Some(alias) => alias.clone(),
            None => self.kind.declared(),
        };
        ColumnInfo {
            name: self.name.clone(),
            kind: self.kind.column_kind(),
            nullable: self.nullable,
            declared,
        }
    }
}
