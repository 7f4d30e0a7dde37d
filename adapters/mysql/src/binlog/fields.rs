//! How a column is stored in a row of the log: its type and the type's measures
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>).

use super::input::Input;
use super::{Result, Trouble, malformed};

/// The form of a column's cells in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Tiny,
    Short,
    /// Three bytes.
    Medium,
    Long,
    LongLong,
    Float,
    Double,
    Year,
    /// So many bits.
    Bit(u16),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    /// The forms before MySQL 5.6, which MariaDB still writes for tables made with
    /// `mysql56_temporal_format = OFF`.
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// Since MySQL 5.6, with so many decimal places.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    /// Up to so many bytes.
    VarChar(u16),
    Char(u16),
    /// So many bytes say the length.
    Blob(u8),
    Json(u8),
    Geometry(u8),
    /// A vector of MySQL 9.
    Vector(u8),
    /// So many bytes hold the label's number.
    Enum(u8),
    /// So many bytes hold the labels' bits.
    Set(u8),
    /// MariaDB's `COMPRESSED`.
    PackedVarChar(u16),
    PackedBlob(u8),
}

impl Stored {
    /// Reads a type's measures.
    pub(super) fn read(number: u8, measures: &mut Input<'_>) -> Result<Self> {
        let places = |measures: &mut Input<'_>| {
            let places = measures.u8()?;
            if places <= 6 {
                Ok(places)
            } else {
                Err(malformed("a time with more than six decimal places"))
            }
        };
        let length_bytes = |measures: &mut Input<'_>| match measures.u8()? {
            bytes @ 1..=4 => Ok(bytes),
            _ => Err(malformed("a long value whose length has no known form")),
        };
        Ok(match number {
            1 => Self::Tiny,
            2 => Self::Short,
            3 => Self::Long,
            4 => {
                size(measures, 4)?;
                Self::Float
            }
            5 => {
                size(measures, 8)?;
                Self::Double
            }
            7 => Self::OldTimestamp,
            8 => Self::LongLong,
            9 => Self::Medium,
            10 | 14 => Self::Date,
            11 => Self::OldTime,
            12 => Self::OldDateTime,
            13 => Self::Year,
            15 | 253 => Self::VarChar(measures.u16()?),
            16 => {
                let (bits, bytes) = (measures.u8()?, measures.u8()?);
                let bits = u16::from(bytes) * 8 + u16::from(bits);
                if !(1..=64).contains(&bits) {
                    return Err(malformed("a column with an impossible number of bits"));
                }
                Self::Bit(bits)
            }
            17 => Self::Timestamp(places(measures)?),
            18 => Self::DateTime(places(measures)?),
            19 => Self::Time(places(measures)?),
            140 => Self::PackedBlob(length_bytes(measures)?),
            141 => Self::PackedVarChar(measures.u16()?),
            242 => Self::Vector(length_bytes(measures)?),
            245 => Self::Json(length_bytes(measures)?),
            246 => {
                let (precision, scale) = (measures.u8()?, measures.u8()?);
                if !(1..=65).contains(&precision) || scale > precision || scale > 38 {
                    return Err(malformed("a decimal with an impossible number of digits"));
                }
                Self::Decimal { precision, scale }
            }
            249..=252 => Self::Blob(length_bytes(measures)?),
            254 => fixed(measures)?,
            255 => Self::Geometry(length_bytes(measures)?),
            _ => {
                return Err(Trouble::Malformed(
                    format!("a column of the unknown type {number}").into(),
                ));
            }
        })
    }

    /// Whether the list of signs has a bit for it.
    pub(super) fn has_sign(self) -> bool {
        matches!(
            self,
            Self::Tiny
                | Self::Short
                | Self::Medium
                | Self::Long
                | Self::LongLong
                | Self::Float
                | Self::Double
                | Self::Year
                | Self::Decimal { .. }
        )
    }

    /// Whether the lists of collations have an entry for it.
    pub(super) fn has_collation(self) -> bool {
        matches!(
            self,
            Self::VarChar(_)
                | Self::Char(_)
                | Self::Blob(_)
                | Self::PackedVarChar(_)
                | Self::PackedBlob(_)
                | Self::Geometry(_)
                | Self::Vector(_)
        )
    }
}

fn size(measures: &mut Input<'_>, expected: u8) -> Result<()> {
    if measures.u8()? == expected {
        Ok(())
    } else {
        Err(malformed("a binary float of unknown size"))
    }
}

/// Texts of a fixed length, and labels: the first byte is the real type, with two bits of the length
/// mixed in for those longer than 255 bytes
/// (<https://bugs.mysql.com/bug.php?id=37426>).
fn fixed(measures: &mut Input<'_>) -> Result<Stored> {
    const LENGTH_BITS: u8 = 0x30;
    let (first, second) = (measures.u8()?, measures.u8()?);
    if first & LENGTH_BITS != LENGTH_BITS {
        let high = u16::from(first & LENGTH_BITS ^ LENGTH_BITS) << 4;
        return match first | LENGTH_BITS {
            254 => Ok(Stored::Char(high | u16::from(second))),
            _ => Err(malformed("a text of an unknown type")),
        };
    }
    match (first, second) {
        (247, 1 | 2) => Ok(Stored::Enum(second)),
        (248, 1..=8) => Ok(Stored::Set(second)),
        (254, _) => Ok(Stored::Char(u16::from(second))),
        _ => Err(malformed("a text of an unknown type")),
    }
}
