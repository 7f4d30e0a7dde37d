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

use contract::value::uuid_text;
use contract::{ColumnInfo, ColumnKind, Value};

use crate::session::Parameter;
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

/// A row of `sys.columns` as far as a column's kind depends on it.
#[derive(Debug, Clone)]
pub(crate) struct Declared<'a> {
    /// The type's own name.
    pub(crate) type_name: &'a str,
    /// The server's type that it is made of; `None` = a type of an assembly.
    pub(crate) base: Option<&'a str>,
    /// In bytes; -1 = `(max)`.
    pub(crate) max_length: i64,
    pub(crate) precision: i64,
    pub(crate) scale: i64,
    pub(crate) collation: Option<&'a str>,
}

impl Declared<'_> {
    fn bytes(&self) -> Option<u16> {
        u16::try_from(self.max_length)
            .ok()
            .filter(|bytes| *bytes > 0)
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        let scale = u8::try_from(self.scale).unwrap_or(0);
        let collation = || self.collation.unwrap_or_default().to_owned();
        let base = self.base.unwrap_or(self.type_name);
        match base {
            "bit" => Kind::Bit,
            "tinyint" => Kind::Int("tinyint"),
            "smallint" => Kind::Int("smallint"),
            "int" => Kind::Int("int"),
            "bigint" => Kind::Int("bigint"),
            "decimal" | "numeric" => Kind::Decimal {
                precision: u8::try_from(self.precision).unwrap_or(38),
                scale,
            },
            "money" => Kind::Money,
            "smallmoney" => Kind::SmallMoney,
            "real" => Kind::Real,
            "float" => Kind::Float,
            "date" => Kind::Date,
            "time" => Kind::Time(scale),
            "datetime" => Kind::DateTime,
            "smalldatetime" => Kind::SmallDateTime,
            "datetime2" => Kind::DateTime2(scale),
            "datetimeoffset" => Kind::DateTimeOffset(scale),
            "char" | "varchar" => Kind::Char {
                fixed: base == "char",
                bytes: self.bytes(),
                collation: collation(),
            },
            "text" => Kind::Char {
                fixed: false,
                bytes: None,
                collation: collation(),
            },
            "nchar" | "nvarchar" => Kind::NChar {
                fixed: base == "nchar",
                units: self.bytes().map(|bytes| bytes / 2),
                collation: collation(),
            },
            "ntext" => Kind::NChar {
                fixed: false,
                units: None,
                collation: collation(),
            },
            "xml" => Kind::Xml,
            "binary" | "varbinary" => Kind::Binary {
                fixed: base == "binary",
                bytes: self.bytes(),
            },
            "image" => Kind::Binary {
                fixed: false,
                bytes: None,
            },
            "timestamp" | "rowversion" => Kind::Rowversion,
            "uniqueidentifier" => Kind::Uuid,
            "hierarchyid" => Kind::Udt("hierarchyid"),
            "geography" => Kind::Udt("geography"),
            "geometry" => Kind::Udt("geometry"),
            _ => Kind::Foreign(self.type_name.to_owned()),
        }
    }
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

/// A value as text, to stand in a cursor and be bound again by [`Kind::unpacked`].
pub(crate) fn packed(value: &Value) -> Option<String> {
    match value {
        Value::Uuid(uuid) => Some(uuid_text(uuid)),
        other => other.text(),
    }
}

impl Kind {
    /// The parameter behind a text of [`packed`], which [`Kind::mark`] stands for; `None` = the text is of
    /// another type, or the column cannot be compared with.
    pub(crate) fn unpacked(&self, text: &str) -> Option<Parameter> {
        Some(match self {
            Self::Bit => Parameter::Int(i64::from(text.parse::<bool>().ok()?)),
            Self::Int(_) => Parameter::Int(text.parse().ok()?),
            Self::Real | Self::Float => Parameter::Float(text.parse().ok()?),
            Self::Binary { .. } | Self::Rowversion => {
                Parameter::Bytes(contract::value::unhex(text)?)
            }
            Self::Uuid => Parameter::Uuid(contract::value::parse_uuid(text)?),
            Self::Xml | Self::Udt(_) | Self::Foreign(_) => return None,
            _ => Parameter::Text(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared<'a>(type_name: &'a str, base: Option<&'a str>, max_length: i64) -> Declared<'a> {
        Declared {
            type_name,
            base,
            max_length,
            precision: 19,
            scale: 5,
            collation: Some("SQL_Latin1_General_CP1_CI_AS"),
        }
    }

    #[test]
    fn columns_are_asked_for_and_compared_as_what_they_are() {
        for (type_name, base, length, shown, asked, compared) in [
            ("bit", "bit", 1, "bit", "t.[c]", Some("CAST(@P3 AS bit)")),
            ("int", "int", 4, "int", "t.[c]", Some("CAST(@P3 AS int)")),
            ("bigint", "bigint", 8, "bigint", "t.[c]", Some("@P3")),
            (
                "numeric",
                "numeric",
                9,
                "decimal(19,5)",
                "t.[c]",
                Some("CAST(@P3 AS decimal(19,5))"),
            ),
            (
                "money",
                "money",
                8,
                "money",
                "CAST(t.[c] AS decimal(19,4)) AS [c]",
                Some("CAST(@P3 AS money)"),
            ),
            (
                "smallmoney",
                "smallmoney",
                4,
                "smallmoney",
                "CAST(t.[c] AS decimal(10,4)) AS [c]",
                Some("CAST(@P3 AS smallmoney)"),
            ),
            (
                "datetime",
                "datetime",
                8,
                "datetime",
                "t.[c]",
                Some("CAST(@P3 AS datetime)"),
            ),
            (
                "datetime2",
                "datetime2",
                8,
                "datetime2(5)",
                "t.[c]",
                Some("CAST(@P3 AS datetime2(5))"),
            ),
            (
                "char",
                "char",
                31,
                "char(31)",
                "CAST(t.[c] AS nvarchar(31)) AS [c]",
                Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS char(31))"),
            ),
            (
                "varchar",
                "varchar",
                8000,
                "varchar(8000)",
                "CAST(t.[c] AS nvarchar(max)) AS [c]",
                Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS varchar(8000))"),
            ),
            (
                "nvarchar",
                "nvarchar",
                40,
                "nvarchar(20)",
                "t.[c]",
                Some("@P3"),
            ),
            ("nvarchar", "nvarchar", -1, "nvarchar(max)", "t.[c]", None),
            ("ntext", "ntext", 16, "nvarchar(max)", "t.[c]", None),
            (
                "xml",
                "xml",
                -1,
                "xml",
                "CAST(t.[c] AS nvarchar(max)) AS [c]",
                None,
            ),
            (
                "binary",
                "binary",
                10,
                "binary(10)",
                "t.[c]",
                Some("CAST(@P3 AS binary(10))"),
            ),
            (
                "timestamp",
                "timestamp",
                8,
                "rowversion",
                "CAST(t.[c] AS binary(8)) AS [c]",
                Some("CAST(@P3 AS binary(8))"),
            ),
            (
                "uniqueidentifier",
                "uniqueidentifier",
                16,
                "uniqueidentifier",
                "t.[c]",
                Some("@P3"),
            ),
            // A type that somebody made of another.
            (
                "ItemNumber",
                "char",
                31,
                "char(31)",
                "CAST(t.[c] AS nvarchar(31)) AS [c]",
                Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS char(31))"),
            ),
        ] {
            let kind = declared(type_name, Some(base), length).kind();
            let column = Column {
                name: "c".to_owned(),
                id: 1,
                kind: kind.clone(),
                nullable: false,
                computed: false,
                alias: None,
            };
            assert_eq!(kind.declared(), shown, "{type_name}");
            assert_eq!(column.select("t").as_deref(), Some(asked), "{type_name}");
            assert_eq!(kind.mark(3).as_deref(), compared, "{type_name}");
        }
        let hierarchy = declared("hierarchyid", None, 892).kind();
        assert_eq!(
            hierarchy.select("t.[c]").as_deref(),
            Some("CAST(t.[c] AS varbinary(max))")
        );
        for foreign in ["sql_variant", "MyType"] {
            let kind = declared(foreign, None, -1).kind();
            assert_eq!(kind, Kind::Foreign(foreign.to_owned()));
            assert_eq!((kind.select("t.[c]"), kind.mark(1)), (None, None));
        }
    }

    /// A name of a collation is not quoted: what is none is not written.
    #[test]
    fn a_collation_is_a_plain_name_or_none() {
        let kind = Kind::Char {
            fixed: false,
            bytes: Some(5),
            collation: "x AS int); DROP TABLE t --".to_owned(),
        };
        assert_eq!(kind.mark(1), None);
    }

    #[test]
    fn a_value_comes_out_of_a_cursor_as_itself() {
        let nvarchar = Kind::NChar {
            fixed: false,
            units: Some(9),
            collation: String::new(),
        };
        let decimal = Kind::Decimal {
            precision: 19,
            scale: 5,
        };
        let bytes = Kind::Binary {
            fixed: true,
            bytes: Some(2),
        };
        let text = |text: &str| Parameter::Text(text.to_owned());
        let moment = "2026-01-31T01:02:03.997";
        for (kind, value, expected) in [
            (Kind::Bit, Value::Bool(true), Parameter::Int(1)),
            (Kind::Int("int"), Value::Int(-7), Parameter::Int(-7)),
            (
                decimal,
                Value::Decimal("-1.50".parse().unwrap()),
                text("-1.5"),
            ),
            (Kind::Float, Value::Float(0.1), Parameter::Float(0.1)),
            (
                Kind::Date,
                Value::Date("2026-01-31".parse().unwrap()),
                text("2026-01-31"),
            ),
            (
                Kind::DateTime,
                Value::DateTime(moment.parse().unwrap()),
                text(moment),
            ),
            (
                Kind::DateTimeOffset(7),
                Value::Timestamp("2026-01-31T01:02:03Z".parse().unwrap()),
                text("2026-01-31T01:02:03Z"),
            ),
            (nvarchar, Value::Text("a|'b ".to_owned()), text("a|'b ")),
            (
                bytes,
                Value::Bytes(vec![0, 255]),
                Parameter::Bytes(vec![0, 255]),
            ),
            (Kind::Uuid, Value::Uuid([7; 16]), Parameter::Uuid([7; 16])),
        ] {
            let again = packed(&value).and_then(|text| kind.unpacked(&text));
            assert_eq!(again, Some(expected), "{kind:?}");
        }
        assert_eq!(packed(&Value::Null), None);
        for (kind, text) in [
            (Kind::Int("int"), "x"),
            (Kind::Uuid, "x"),
            (Kind::Rowversion, "0"),
            (Kind::Xml, "<a/>"),
        ] {
            assert_eq!(kind.unpacked(text), None, "{kind:?}");
        }
    }
}
