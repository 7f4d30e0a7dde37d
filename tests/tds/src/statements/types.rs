//! How types go together: families, precedence, names and collations.

use crate::wire::{Collation, Length, ServerError, Type};

/// A type with what goes with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) of: Type,
    pub(crate) collation: Collation,
    pub(crate) nullable: bool,
    /// Whether it is `rowversion`.
    pub(crate) rowversion: bool,
    /// Whether it is the constant NULL, which goes with every type.
    pub(crate) null: bool,
}

impl Kind {
    pub(crate) fn new(of: Type) -> Self {
        Self {
            of,
            collation: Collation::LATIN1,
            nullable: true,
            rowversion: false,
            null: false,
        }
    }

    pub(crate) fn collated(mut self, collation: Collation) -> Self {
        self.collation = collation;
        self
    }

    pub(crate) fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    pub(crate) fn int() -> Self {
        Self::new(Type::Int)
    }

    pub(crate) fn nvarchar(length: u16) -> Self {
        Self::new(Type::NVarChar(Length::Of(length)))
    }
}

/// Types whose values compare with one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Exact,
    Float,
    Text,
    Bytes,
    Guid,
    Moment,
    /// `text`, `ntext`, `image`: no comparison, no order.
    Old,
    Xml,
    Udt,
    Variant,
}

pub(crate) fn family(kind: &Type) -> Family {
    match kind {
        Type::Bit
        | Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Decimal(..)
        | Type::Numeric(..)
        | Type::Money
        | Type::SmallMoney => Family::Exact,
        Type::Real | Type::Float => Family::Float,
        Type::Char(_) | Type::VarChar(_) | Type::NChar(_) | Type::NVarChar(_) => Family::Text,
        Type::Binary(_) | Type::VarBinary(_) => Family::Bytes,
        Type::UniqueIdentifier => Family::Guid,
        Type::Date
        | Type::Time(_)
        | Type::DateTime
        | Type::SmallDateTime
        | Type::DateTime2(_)
        | Type::DateTimeOffset(_) => Family::Moment,
        Type::Text | Type::NText | Type::Image => Family::Old,
        Type::Xml => Family::Xml,
        Type::Udt(_) => Family::Udt,
        Type::Variant => Family::Variant,
    }
}

/// The digits after the point of an exact type.
pub(crate) fn scale(kind: &Type) -> u8 {
    match kind {
        Type::Decimal(_, scale) | Type::Numeric(_, scale) => *scale,
        Type::Money | Type::SmallMoney => 4,
        _ => 0,
    }
}

fn digits(kind: &Type) -> (u8, u8) {
    match kind {
        Type::Decimal(p, s) | Type::Numeric(p, s) => (*p, *s),
        Type::Money => (19, 4),
        Type::SmallMoney => (10, 4),
        Type::BigInt => (19, 0),
        Type::Int => (10, 0),
        Type::SmallInt => (5, 0),
        Type::TinyInt => (3, 0),
        _ => (1, 0),
    }
}

/// Its place in the order in which one type is converted to another: the greater wins.
fn rank(kind: &Type) -> u8 {
    match kind {
        Type::Variant => 30,
        Type::Xml => 29,
        Type::DateTimeOffset(_) => 28,
        Type::DateTime2(_) => 27,
        Type::DateTime => 26,
        Type::SmallDateTime => 25,
        Type::Date => 24,
        Type::Time(_) => 23,
        Type::Float => 22,
        Type::Real => 21,
        Type::Decimal(..) | Type::Numeric(..) => 20,
        Type::Money => 19,
        Type::SmallMoney => 18,
        Type::BigInt => 17,
        Type::Int => 16,
        Type::SmallInt => 15,
        Type::TinyInt => 14,
        Type::Bit => 13,
        Type::NText => 12,
        Type::Text => 11,
        Type::Image => 10,
        Type::UniqueIdentifier => 9,
        Type::NVarChar(_) => 8,
        Type::NChar(_) => 7,
        Type::VarChar(_) => 6,
        Type::Char(_) => 5,
        Type::VarBinary(_) => 4,
        Type::Binary(_) => 3,
        Type::Udt(_) => 31,
    }
}

fn length(kind: &Type) -> Length {
    match kind {
        Type::VarChar(length) | Type::NVarChar(length) | Type::VarBinary(length) => *length,
        Type::Char(size) | Type::NChar(size) | Type::Binary(size) => Length::Of(*size),
        _ => Length::Of(30),
    }
}

fn longer(a: Length, b: Length) -> Length {
    match (a, b) {
        (Length::Of(a), Length::Of(b)) => Length::Of(a.max(b)),
        _ => Length::Max,
    }
}

/// The type that holds values of both.
pub(crate) fn common(a: &Kind, b: &Kind) -> Result<Kind, ServerError> {
    let nullable = a.nullable || b.nullable;
    let with = |kind: &Kind| Kind {
        nullable,
        null: a.null && b.null,
        ..kind.clone()
    };
    if a.null || a == b {
        return Ok(with(b));
    }
    if b.null {
        return Ok(with(a));
    }
    comparable(a, b)?;
    let (low, high) = if rank(&a.of) <= rank(&b.of) {
        (a, b)
    } else {
        (b, a)
    };
    let of = match (&high.of, &low.of) {
        (Type::Decimal(..) | Type::Numeric(..), other) if family(other) == Family::Exact => {
            let ((p1, s1), (p2, s2)) = (digits(&high.of), digits(other));
            let scale = s1.max(s2);
            let precision = ((p1 - s1).max(p2 - s2) + scale).min(38);
            Type::Decimal(precision, scale)
        }
        (Type::NVarChar(l), other) => Type::NVarChar(longer(*l, length(other))),
        (Type::VarChar(l), other) => Type::VarChar(longer(*l, length(other))),
        (Type::NChar(l), Type::VarChar(other)) => Type::NVarChar(longer(Length::Of(*l), *other)),
        (Type::VarBinary(l), other) => Type::VarBinary(longer(*l, length(other))),
        (kind, _) => kind.clone(),
    };
    Ok(Kind {
        of,
        rowversion: false,
        ..with(high)
    })
}

/// Whether values of two types may stand on the two sides of a comparison.
pub(crate) fn comparable(a: &Kind, b: &Kind) -> Result<(), ServerError> {
    let (left, right) = (family(&a.of), family(&b.of));
    let clash = || {
        ServerError::new(
            206,
            16,
            format!(
                "Operand type clash: {} is incompatible with {}",
                name(&a.of),
                name(&b.of)
            ),
        )
    };
    if a.null || b.null || left == right {
        return Ok(());
    }
    let text = left == Family::Text || right == Family::Text;
    let other = if left == Family::Text { right } else { left };
    let fine = match other {
        Family::Exact | Family::Float if text => true,
        Family::Guid | Family::Moment | Family::Variant | Family::Xml | Family::Old if text => true,
        _ => matches!(
            (left, right),
            (
                Family::Exact,
                Family::Float | Family::Bytes | Family::Variant
            ) | (
                Family::Float | Family::Bytes | Family::Variant,
                Family::Exact
            ) | (Family::Guid, Family::Bytes)
                | (Family::Bytes, Family::Guid)
        ),
    };
    if fine { Ok(()) } else { Err(clash()) }
}

/// Its name in error messages and catalogue views.
pub(crate) fn name(kind: &Type) -> String {
    match kind {
        Type::Bit => "bit",
        Type::TinyInt => "tinyint",
        Type::SmallInt => "smallint",
        Type::Int => "int",
        Type::BigInt => "bigint",
        Type::Real => "real",
        Type::Float => "float",
        Type::Decimal(..) => "decimal",
        Type::Numeric(..) => "numeric",
        Type::Money => "money",
        Type::SmallMoney => "smallmoney",
        Type::DateTime => "datetime",
        Type::SmallDateTime => "smalldatetime",
        Type::Date => "date",
        Type::Time(_) => "time",
        Type::DateTime2(_) => "datetime2",
        Type::DateTimeOffset(_) => "datetimeoffset",
        Type::Char(_) => "char",
        Type::VarChar(_) => "varchar",
        Type::NChar(_) => "nchar",
        Type::NVarChar(_) => "nvarchar",
        Type::Text => "text",
        Type::NText => "ntext",
        Type::Image => "image",
        Type::Binary(_) => "binary",
        Type::VarBinary(_) => "varbinary",
        Type::UniqueIdentifier => "uniqueidentifier",
        Type::Xml => "xml",
        Type::Udt(udt) => &udt.name,
        Type::Variant => "sql_variant",
    }
    .to_owned()
}

/// The collation of a name, by its ending: this is all that comparing here needs.
pub(crate) fn collation(name: &str) -> Result<Collation, ServerError> {
    let upper = name.to_uppercase();
    let sql = upper.starts_with("SQL_");
    let known = [
        "LATIN1",
        "SQL_",
        "GERMAN",
        "FRENCH",
        "MODERN_SPANISH",
        "FINNISH",
        "CYRILLIC",
    ];
    if !known.iter().any(|start| upper.starts_with(start)) {
        return Err(ServerError::new(
            448,
            16,
            format!("Invalid collation '{name}'."),
        ));
    }
    let utf8 = if upper.ends_with("_UTF8") {
        0x0400_0000
    } else {
        0
    };
    let flags = if upper.contains("_BIN2") {
        0x0200_0000
    } else if upper.contains("_BIN") {
        0x0100_0000
    } else {
        let case = if upper.contains("_CI") { CASE } else { 0 };
        let accent = if upper.contains("_AI") { ACCENT } else { 0 };
        0x00C0_0000 | case | accent
    };
    let sort = if sql && flags & 0x0300_0000 == 0 {
        if flags & CASE == 0 { 51 } else { 52 }
    } else {
        0
    };
    Ok(Collation {
        info: 0x409 | flags | utf8,
        sort,
    })
}

const CASE: u32 = 0x0010_0000;
const ACCENT: u32 = 0x0020_0000;

/// Whether upper and lower case are the same to it.
pub(crate) fn ignores_case(collation: Collation) -> bool {
    collation.info & CASE != 0
}

/// Whether letters with and without accents are the same to it.
pub(crate) fn ignores_accents(collation: Collation) -> bool {
    collation.info & ACCENT != 0
}

/// Whether it compares code points.
pub(crate) fn is_binary(collation: Collation) -> bool {
    collation.info & 0x0300_0000 != 0
}
