//! A column as the server's catalogue declares it.

use super::Kind;

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
