//! The names of types.

use super::{Parser, Result};
use crate::statements::token::Token;
use crate::wire::{Length, ServerError, Type, Udt};

impl Parser<'_> {
    /// A type, and whether it is `rowversion`.
    pub(super) fn kind(&mut self) -> Result<(Type, bool)> {
        let mut name = match self.next() {
            Token::Word(name) | Token::Name(name) => name.to_lowercase(),
            _ => {
                self.back_to(self.here() - 1);
                return self.wrong();
            }
        };
        if name == "sys" && self.sign(".") {
            name = self.name()?.to_lowercase();
        }
        let sizes = if self.is_sign("(") {
            self.list(Self::size)?
        } else {
            Vec::new()
        };
        let kind = kind(&name, &sizes).ok_or_else(|| {
            ServerError::new(
                243,
                16,
                format!("Type {name} is not a defined system type."),
            )
        })?;
        Ok((kind, matches!(name.as_str(), "rowversion" | "timestamp")))
    }

    /// A size of a type; none for `max`.
    fn size(&mut self) -> Result<Option<u16>> {
        if self.word("MAX") {
            return Ok(None);
        }
        match self.next() {
            Token::Number(digits) => digits.parse().map(Some).or_else(|_| self.wrong()),
            _ => self.wrong(),
        }
    }
}

fn kind(name: &str, sizes: &[Option<u16>]) -> Option<Type> {
    let fixed = |default| match sizes {
        [] => Some(default),
        [Some(size @ 1..=8000)] => Some(*size),
        _ => None,
    };
    let length = |longest| match sizes {
        [] => Some(Length::Of(30.min(longest))),
        [None] => Some(Length::Max),
        [Some(size)] if (1..=longest).contains(size) => Some(Length::Of(*size)),
        _ => None,
    };
    let scale = || match sizes {
        [] => Some(7),
        [Some(scale @ 0..=7)] => u8::try_from(*scale).ok(),
        _ => None,
    };
    let digits = || match sizes {
        [] => Some((18, 0)),
        [Some(precision @ 1..=38)] => Some((u8::try_from(*precision).ok()?, 0)),
        [Some(precision @ 1..=38), Some(scale)] if scale <= precision => {
            Some((u8::try_from(*precision).ok()?, u8::try_from(*scale).ok()?))
        }
        _ => None,
    };
    let plain = |kind: Type| sizes.is_empty().then_some(kind);
    Some(match name {
        "bit" => plain(Type::Bit)?,
        "tinyint" => plain(Type::TinyInt)?,
        "smallint" => plain(Type::SmallInt)?,
        "int" | "integer" => plain(Type::Int)?,
        "bigint" => plain(Type::BigInt)?,
        "real" => plain(Type::Real)?,
        "float" => match sizes {
            [] | [Some(25..=53)] => Type::Float,
            [Some(1..=24)] => Type::Real,
            _ => return None,
        },
        "decimal" | "dec" => digits().map(|(p, s)| Type::Decimal(p, s))?,
        "numeric" => digits().map(|(p, s)| Type::Numeric(p, s))?,
        "money" => plain(Type::Money)?,
        "smallmoney" => plain(Type::SmallMoney)?,
        "datetime" => plain(Type::DateTime)?,
        "smalldatetime" => plain(Type::SmallDateTime)?,
        "date" => plain(Type::Date)?,
        "time" => Type::Time(scale()?),
        "datetime2" => Type::DateTime2(scale()?),
        "datetimeoffset" => Type::DateTimeOffset(scale()?),
        "char" => Type::Char(fixed(1)?),
        "varchar" => Type::VarChar(length(8000)?),
        "nchar" => Type::NChar(fixed(1).filter(|size| *size <= 4000)?),
        "nvarchar" => Type::NVarChar(length(4000)?),
        "sysname" => plain(Type::NVarChar(Length::Of(128)))?,
        "text" => plain(Type::Text)?,
        "ntext" => plain(Type::NText)?,
        "image" => plain(Type::Image)?,
        "binary" => Type::Binary(fixed(1)?),
        "varbinary" => Type::VarBinary(length(8000)?),
        "rowversion" | "timestamp" => plain(Type::Binary(8))?,
        "uniqueidentifier" => plain(Type::UniqueIdentifier)?,
        "xml" => plain(Type::Xml)?,
        "sql_variant" => plain(Type::Variant)?,
        "hierarchyid" => plain(Type::Udt(Udt::hierarchyid()))?,
        "geography" => plain(Type::Udt(Udt::geography()))?,
        _ => return None,
    })
}
