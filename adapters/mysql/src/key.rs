//! The values of a key in SQL, so that the database finds the same ones again.
//!
//! A text travels as its bytes, in its column's own character set and collation, so that the comparison
//! is the index's, whatever letters or blanks it calls equal
//! (<https://dev.mysql.com/doc/refman/8.4/en/charset-introducer.html>); a label as its number, by which
//! an index sorts labels; a float in digits that make the same float again.

use contract::value::{hex, unhex};
use mysql_async::Value as Sent;

use crate::column::Kind;
use crate::connect::literal;
use crate::values::bits;

/// How a key's value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Int,
    Bits,
    Decimal,
    Float,
    Year,
    Date,
    DateTime,
    Time,
    /// By the text the server gives: its own types.
    Own,
    Bytes,
    Text {
        charset: String,
        collation: String,
    },
    /// The number of a label, or the bits of several: not what the column itself gives.
    Label,
}

impl Form {
    /// How values of a column of this kind are written, whose character set and collation the server
    /// calls so; `None` = it cannot be a key.
    pub(crate) fn of(kind: &Kind, charset: Option<&str>, collation: Option<&str>) -> Option<Self> {
        // They stand in a statement as they are.
        let word = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (!text.is_empty() && text.bytes().all(plain)).then(|| text.to_owned())
        };
        Some(match kind {
            Kind::Int { .. } => Self::Int,
            Kind::Bit(_) => Self::Bits,
            Kind::Decimal => Self::Decimal,
            Kind::Float | Kind::Double => Self::Float,
            Kind::Year => Self::Year,
            Kind::Date => Self::Date,
            Kind::DateTime | Kind::Timestamp => Self::DateTime,
            Kind::Time => Self::Time,
            Kind::Uuid | Kind::Inet4 | Kind::Inet6 => Self::Own,
            Kind::Bytes { .. } => Self::Bytes,
            Kind::Text { .. } => Self::Text {
                charset: word(charset?)?,
                collation: word(collation?)?,
            },
            Kind::Enum(_) | Kind::Set(_) => Self::Label,
            Kind::Json | Kind::Geometry => return None,
        })
    }

    /// A value as it is kept.
    pub(crate) fn text(&self, sent: &Sent) -> Option<String> {
        Some(match (self, sent) {
            (Self::Int | Self::Label, Sent::Int(number)) => number.to_string(),
            (Self::Int | Self::Label, Sent::UInt(number)) => number.to_string(),
            (Self::Bits, Sent::Bytes(bytes)) => bits(bytes)?.to_string(),
            // Four digits, or a year before 100 would be one of these days.
            (Self::Year, Sent::Int(year)) => format!("{year:04}"),
            (Self::Float, Sent::Float(number)) => format!("{:e}", f64::from(*number)),
            (Self::Float, Sent::Double(number)) => format!("{number:e}"),
            (Self::Date, Sent::Date(year, month, day, ..)) => {
                format!("{year:04}-{month:02}-{day:02}")
            }
            (Self::DateTime, Sent::Date(year, month, day, hour, minute, second, micros)) => {
                format!(
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
                )
            }
            (Self::Time, Sent::Time(negative, days, hour, minute, second, micros)) => {
                let sign = if *negative { "-" } else { "" };
                let hour = days.checked_mul(24)?.checked_add(u32::from(*hour))?;
                format!("{sign}{hour:02}:{minute:02}:{second:02}.{micros:06}")
            }
            (Self::Decimal | Self::Own, Sent::Bytes(bytes)) => {
                String::from_utf8(bytes.clone()).ok()?
            }
            (Self::Bytes | Self::Text { .. }, Sent::Bytes(bytes)) => hex(bytes),
            _ => return None,
        })
    }

    /// A kept value in SQL; `None` when it is none of this form.
    pub(crate) fn sql(&self, text: &str) -> Option<String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.strip_prefix('-').unwrap_or(text);
        Some(match self {
            Self::Int | Self::Label | Self::Bits => digits(number).then(|| text.to_owned())?,
            Self::Decimal => {
                let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
                (digits(whole) && digits(part)).then(|| text.to_owned())?
            }
            Self::Float => {
                let number: f64 = text.parse().ok()?;
                number.is_finite().then(|| format!("{number:e}"))?
            }
            Self::Year | Self::Date | Self::DateTime | Self::Time | Self::Own => literal(text),
            Self::Bytes => format!("X'{}'", hex(&unhex(text)?)),
            Self::Text { charset, collation } => {
                format!("_{charset} X'{}' COLLATE {collation}", hex(&unhex(text)?))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_so_that_they_are_the_same_again() {
        let own = Sent::Bytes(b"10.0.0.1".to_vec());
        for (form, sent, sql) in [
            (Form::Int, Sent::UInt(u64::MAX), "18446744073709551615"),
            (Form::Bits, Sent::Bytes(vec![1, 0]), "256"),
            (Form::Decimal, Sent::Bytes(b"-12.50".to_vec()), "-12.50"),
            (Form::Float, Sent::Float(0.1), "1.0000000149011612e-1"),
            (Form::Float, Sent::Double(-0.1), "-1e-1"),
            (Form::Year, Sent::Int(0), "'0000'"),
            (
                Form::Date,
                Sent::Date(2026, 0, 0, 0, 0, 0, 0),
                "'2026-00-00'",
            ),
            (
                Form::DateTime,
                Sent::Date(2026, 1, 2, 3, 4, 5, 60),
                "'2026-01-02 03:04:05.000060'",
            ),
            (
                Form::Time,
                Sent::Time(true, 34, 22, 59, 59, 0),
                "'-838:59:59.000000'",
            ),
            (Form::Own, own, "'10.0.0.1'"),
            (Form::Bytes, Sent::Bytes(vec![]), "X''"),
            (Form::Bytes, Sent::Bytes(vec![0, 39]), "X'0027'"),
        ] {
            let text = form.text(&sent).unwrap();
            assert_eq!(form.sql(&text).as_deref(), Some(sql), "{form:?}");
            assert_eq!(form.text(&Sent::NULL), None);
        }
    }

    #[test]
    fn what_is_no_value_of_its_form_is_not_written() {
        let latin1 = Form::of(
            &Kind::Text { collation: 8 },
            Some("latin1"),
            Some("latin1_swedish_ci"),
        );
        let latin1 = latin1.unwrap();
        assert_eq!(
            latin1.sql("e9").as_deref(),
            Some("_latin1 X'e9' COLLATE latin1_swedish_ci")
        );
        assert_eq!(latin1.sql("").unwrap().find("X''"), Some(8));
        for (form, text) in [
            (Form::Int, "1 OR 1=1"),
            (Form::Int, ""),
            (Form::Int, "-"),
            (Form::Decimal, "1.5.5"),
            (Form::Decimal, ".5"),
            (Form::Float, "inf"),
            (Form::Float, "1, 2"),
            (Form::Bytes, "0"),
            (Form::Bytes, "' OR 1"),
            (latin1, "zz"),
        ] {
            assert_eq!(form.sql(text), None, "{form:?} {text}");
        }
        assert_eq!(Form::Own.sql("it's").as_deref(), Some("'it''s'"));
        let odd = Form::of(&Kind::Text { collation: 8 }, Some("latin1 X"), Some("c"));
        assert_eq!(odd, None);
        assert_eq!(Form::of(&Kind::Geometry, None, None), None);
    }
}
