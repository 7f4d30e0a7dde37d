//! What a column or parameter can be.

use std::fmt;

/// How long a value of variable length may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// At most so many bytes, or so many UTF-16 units for `nvarchar`.
    Of(u16),
    /// `(max)`: sent in chunks.
    Max,
}

/// The name of a type that lives in an assembly, such as `hierarchyid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udt {
    /// The database that holds it.
    pub database: String,
    /// Its schema, `sys` for those that the server brings.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The name of its class and assembly.
    pub assembly: String,
    /// The longest value in bytes, 65535 for those without a bound.
    pub bytes_max: u16,
}

impl Udt {
    /// `hierarchyid`.
    pub fn hierarchyid() -> Self {
        Self::of_server("hierarchyid", "SqlHierarchyId", 892)
    }

    /// `geography`.
    pub fn geography() -> Self {
        Self::of_server("geography", "SqlGeography", u16::MAX)
    }

    fn of_server(name: &str, class: &str, bytes_max: u16) -> Self {
        Self {
            database: "master".to_owned(),
            schema: "sys".to_owned(),
            name: name.to_owned(),
            assembly: format!(
                "Microsoft.SqlServer.Types.{class}, Microsoft.SqlServer.Types, Version=11.0.0.0, \
                 Culture=neutral, PublicKeyToken=89845dcd8080cc91"
            ),
            bytes_max,
        }
    }
}

/// The type of a column or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `bit`
    Bit,
    /// `tinyint`, without sign
    TinyInt,
    /// `smallint`
    SmallInt,
    /// `int`
    Int,
    /// `bigint`
    BigInt,
    /// `real`
    Real,
    /// `float`
    Float,
    /// `decimal(precision, scale)`
    Decimal(u8, u8),
    /// `numeric(precision, scale)`, the same with another token
    Numeric(u8, u8),
    /// `money`
    Money,
    /// `smallmoney`
    SmallMoney,
    /// `datetime`
    DateTime,
    /// `smalldatetime`
    SmallDateTime,
    /// `date`
    Date,
    /// `time(scale)`
    Time(u8),
    /// `datetime2(scale)`
    DateTime2(u8),
    /// `datetimeoffset(scale)`
    DateTimeOffset(u8),
    /// `char(bytes)`
    Char(u16),
    /// `varchar(bytes)` or `varchar(max)`
    VarChar(Length),
    /// `nchar(units)`
    NChar(u16),
    /// `nvarchar(units)` or `nvarchar(max)`
    NVarChar(Length),
    /// `text`
    Text,
    /// `ntext`
    NText,
    /// `image`
    Image,
    /// `binary(bytes)`
    Binary(u16),
    /// `varbinary(bytes)` or `varbinary(max)`
    VarBinary(Length),
    /// `uniqueidentifier`
    UniqueIdentifier,
    /// `xml` without a schema
    Xml,
    /// A type of an assembly
    Udt(Udt),
    /// `sql_variant`
    Variant,
}

/// The collation of text: its language, its comparison and with them its code page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Collation {
    /// Language in the low 20 bits, then the flags of comparison, then the version.
    pub info: u32,
    /// The sort order of collations whose names begin with `SQL_`, else 0.
    pub sort: u8,
}

impl Collation {
    /// `SQL_Latin1_General_CP1_CI_AS`, code page 1252: what a server has by default.
    pub const LATIN1: Self = Self {
        info: 0x00D0_0409,
        sort: 52,
    };
    /// `Latin1_General_100_CI_AS_SC_UTF8`: `char` and `varchar` hold UTF-8.
    pub const UTF8: Self = Self {
        info: 0x24D0_0409,
        sort: 0,
    };
    const UTF8_FLAG: u32 = 0x0400_0000;

    /// Whether `char` and `varchar` hold UTF-8.
    pub fn is_utf8(self) -> bool {
        self.info & Self::UTF8_FLAG != 0
    }

    pub(super) fn bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.info.to_le_bytes();
        [a, b, c, d, self.sort]
    }
}

impl fmt::Debug for Collation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collation({:#010x}, {})", self.info, self.sort)
    }
}

/// A column of a result set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; empty for an expression without one.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Whether NULL can come. A fixed type that cannot be NULL is sent as such (`INT4`, not `INTN`).
    pub nullable: bool,
    /// Whether its values are given by the server.
    pub identity: bool,
    /// Whether it is computed.
    pub computed: bool,
    /// The collation, of character types only.
    pub collation: Collation,
    /// The number of a user type: 80 for `rowversion`, else 0.
    pub user_type: u32,
}

impl Column {
    /// A column that can be NULL.
    pub fn new(name: &str, kind: Type) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            nullable: true,
            identity: false,
            computed: false,
            collation: Collation::LATIN1,
            user_type: 0,
        }
    }

    /// A `rowversion` column.
    pub fn rowversion(name: &str) -> Self {
        let mut column = Self::new(name, Type::Binary(8)).not_null();
        column.user_type = 80;
        column
    }

    /// The same column, never NULL.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// The same column in another collation.
    #[must_use]
    pub fn collated(mut self, collation: Collation) -> Self {
        self.collation = collation;
        self
    }
}

/// How many bytes the digits of a `decimal` of this precision take, the sign not counted.
pub(super) fn decimal_bytes(precision: u8) -> Option<u8> {
    match precision {
        1..=9 => Some(4),
        10..=19 => Some(8),
        20..=28 => Some(12),
        29..=38 => Some(16),
        _ => None,
    }
}

/// How many bytes a time of day of this scale takes.
pub(super) fn time_bytes(scale: u8) -> Option<u8> {
    match scale {
        0..=2 => Some(3),
        3..=4 => Some(4),
        5..=7 => Some(5),
        _ => None,
    }
}
