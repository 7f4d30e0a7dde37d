//! What is no container in MySQL's binary JSON: literals, numbers, texts, and values of the
//! database's own types
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>).

use std::fmt::Write as _;

use super::decimal::decimal_text;
use super::input::Input;
use super::{Result, malformed};

/// Types of the database that have a form of their own in JSON.
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const TIMESTAMP: u8 = 7;
const DECIMAL: u8 = 246;

/// Appends the text of a value.
pub(super) fn scalar(kind: u8, input: &mut Input<'_>, out: &mut String) -> Result<()> {
    match kind {
        0x04 => out.push_str(match input.u8()? {
            0 => "null",
            1 => "true",
            2 => "false",
            _ => return Err(malformed("a JSON document with an unknown literal")),
        }),
        0x05 => put(out, i16::from_le_bytes(input.array()?)),
        0x06 => put(out, input.u16()?),
        0x07 => put(out, i32::from_le_bytes(input.array()?)),
        0x08 => put(out, input.u32()?),
        0x09 => put(out, i64::from_le_bytes(input.array()?)),
        0x0a => put(out, input.u64()?),
        0x0b => {
            let number = f64::from_le_bytes(input.array()?);
            if !number.is_finite() {
                return Err(malformed("a JSON document with a number that is none"));
            }
            let text = double(number);
            out.push_str(&text);
            // So that it stays a floating-point number where it is read again.
            if !text.contains(['.', 'e']) {
                out.push_str(".0");
            }
        }
        0x0c => {
            let length = length(input)?;
            quoted(input.take(length)?, out)?;
        }
        0x0f => {
            let kind = input.u8()?;
            let length = length(input)?;
            own(kind, input.take(length)?, out)?;
        }
        _ => return Err(malformed("a JSON document with a value of an unknown type")),
    }
    Ok(())
}

fn put(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a text never fails.
    let _ = write!(out, "{number}");
}

/// A length of up to five bytes, seven bits in each, the lowest first.
fn length(input: &mut Input<'_>) -> Result<usize> {
    let mut length = 0_u64;
    for shift in 0..5 {
        let byte = input.u8()?;
        length |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return usize::try_from(length)
                .ok()
                .filter(|length| *length <= input.left())
                .ok_or(malformed("a JSON document that ends too early"));
        }
    }
    Err(malformed("a JSON document with a length that is none"))
}

/// Appends a text with its quotation marks.
pub(super) fn quoted(bytes: &[u8], out: &mut String) -> Result<()> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| malformed("a JSON document with a text that is not UTF-8"))?;
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..'\u{20}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
    Ok(())
}

/// A floating-point number as the server writes it: the fewest digits that read as the same number,
/// in scientific notation above 10^15 and below 10^-15.
fn double(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    let point = exponent + 1;
    let longer = usize::try_from(point).map_or(true, |point| count > point);
    if (-14..=15).contains(&point) || point > 15 && longer {
        number.to_string()
    } else {
        scientific
    }
}

/// A value of one of the database's own types.
fn own(kind: u8, bytes: &[u8], out: &mut String) -> Result<()> {
    let mut input = Input(bytes);
    match kind {
        DECIMAL => {
            let (precision, scale) = (input.u8()?, input.u8()?);
            out.push_str(&decimal_text(&mut input, precision, scale)?);
            input.end()
        }
        DATE | TIME | DATETIME | TIMESTAMP => {
            let packed = i64::from_le_bytes(input.array()?);
            input.end()?;
            moment(kind, packed, out);
            Ok(())
        }
        _ => quoted(
            format!("base64:type{kind}:{}", base64(bytes)).as_bytes(),
            out,
        ),
    }
}

/// A date or time, always with six decimal places: the whole part above 24 bits of microseconds.
fn moment(kind: u8, packed: i64, out: &mut String) {
    let size = packed.unsigned_abs();
    let (whole, micros) = (size >> 24, size & 0xff_ffff);
    let (day, clock) = (whole >> 17, whole & 0x1_ffff);
    let (months, day) = (day >> 5, day & 31);
    let sign = if packed < 0 { "-" } else { "" };
    let (hour, minute, second) = match kind {
        TIME => (whole >> 12 & 0x3ff, whole >> 6 & 63, whole & 63),
        _ => (clock >> 12, clock >> 6 & 63, clock & 63),
    };
    let date = format!("{:04}-{:02}-{day:02}", months / 13, months % 13);
    let time = format!("{sign}{hour:02}:{minute:02}:{second:02}.{micros:06}");
    let _ = match kind {
        DATE => write!(out, "\"{date}\""),
        TIME => write!(out, "\"{time}\""),
        _ => write!(out, "\"{date} {time}\""),
    };
}

/// Base 64 as the server writes it: a line break after each 76 characters, as long as more follow.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len() / 3 * 4 + 4);
    for (at, three) in bytes.chunks(3).enumerate() {
        if at > 0 && at % 19 == 0 {
            out.push('\n');
        }
        let bits = three
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS.get(bits >> (18 - 6 * place) & 63);
            let there = place <= three.len();
            out.push(
                digit
                    .filter(|_| there)
                    .map_or('=', |digit| char::from(*digit)),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: u8, bytes: &[u8]) -> String {
        let mut out = String::new();
        scalar(kind, &mut Input(bytes), &mut out).unwrap();
        out
    }

    /// Each text as `SELECT 1e15` of a server gives it.
    #[test]
    fn floating_point_numbers_are_written_as_the_server_writes_them() {
        for expected in [
            "100000000000000",
            "1e15",
            "1e16",
            "123456789012345",
            "1.234567890123456e15",
            "1.2345678901234568e16",
            "1.5e15",
            "0.0001",
            "0.00000000000001",
            "0.000000000000001",
            "1e-16",
            "0.0000000000000015",
            "1.7976931348623157e308",
            "5e-324",
            "0.1",
            "1",
            "0",
            "123456.789",
            "0.00012345678901234567",
            "0.00000000012345678901234568",
            "999999999999999",
            "0.0000000000000020100000000000003",
            "123456789012345.67",
            "1234567890123456.8",
            "-1e15",
            "-0.5",
        ] {
            assert_eq!(double(expected.parse().unwrap()), expected);
        }
        assert_eq!(text(0x0b, &100_f64.to_le_bytes()), "100.0");
        assert_eq!(text(0x0b, &1e15_f64.to_le_bytes()), "1e15");
    }

    #[test]
    fn values_of_the_databases_own_types() {
        let opaque = |kind: u8, bytes: &[u8]| {
            let all = [&[kind, u8::try_from(bytes.len()).unwrap()][..], bytes].concat();
            text(0x0f, &all)
        };
        // DECIMAL(5,2) 123.45
        assert_eq!(opaque(DECIMAL, &[5, 2, 0x80, 0x7b, 0x2d]), "123.45");
        // 2015-01-15 23:24:25.12
        let day = (2015_i64 * 13 + 1) * 32 + 15;
        let clock = (23_i64 * 64 + 24) * 64 + 25;
        let packed = ((day << 17) + clock) * 0x100_0000 + 120_000;
        assert_eq!(
            opaque(DATETIME, &packed.to_le_bytes()),
            "\"2015-01-15 23:24:25.120000\""
        );
        assert_eq!(opaque(DATE, &(day << 41).to_le_bytes()), "\"2015-01-15\"");
        let time = -(clock * 0x100_0000 + 1);
        assert_eq!(opaque(TIME, &time.to_le_bytes()), "\"-23:24:25.000001\"");
        // Bytes, which need not be a text.
        assert_eq!(opaque(253, b"ab"), "\"base64:type253:YWI=\"");
        assert_eq!(opaque(252, b"abcd"), "\"base64:type252:YWJjZA==\"");
        let lines = opaque(252, &[0; 58]);
        assert_eq!(
            lines,
            format!("\"base64:type252:{}\\nAA==\"", "A".repeat(76))
        );
    }

    #[test]
    fn lengths_and_texts_that_are_none_are_refused() {
        let refused = |kind: u8, bytes: &[u8]| {
            assert!(scalar(kind, &mut Input(bytes), &mut String::new()).is_err());
        };
        refused(0x0c, b"\x05abc");
        refused(0x0c, b"\xff\xff\xff\xff\xff\xff");
        refused(0x0c, b"\x01\xff");
        refused(0x0b, &f64::NAN.to_le_bytes());
        refused(0x04, b"\x03");
        refused(0x0d, b"\0\0\0\0\0\0\0\0");
        assert_eq!(text(0x0c, b"\x04\x01\n\"\\"), "\"\\u0001\\n\\\"\\\\\"");
    }
}
