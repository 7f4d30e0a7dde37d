//! SQLite's `quote()` text and a column's declared type to a [`Value`]: the one place for both
//! the stream and the snapshot.
//!
//! | declared type (upper case, contains) | stored | value |
//! |---|---|---|
//! | `BOOL` | 0 or 1 | bool |
//! | `DEC`, `NUM`, `MONEY` | integer or text | decimal |
//! | `DECIMAL(p,s)` | real with at most s decimal places in its shortest text | decimal |
//! | `DATETIME`, `TIMESTAMP` | ISO text | timestamp with an offset or Z, datetime without |
//! | `DATE` | ISO text | date |
//! | `UUID`, `JSON` | text | uuid, json |
//! | `DATE..`, `TIME..` | other text | invalid |
//! | anything else | integer, real, text, blob | int, float, text, bytes |
//!
//! `quote()` writes reals with enough digits to read them back exactly
//! (<https://www.sqlite.org/lang_corefunc.html#quote>) and ends a text at a NUL character.

use contract::value::{parse_uuid, unhex};
use contract::{Decimal, Value};

/// A column's name and declared type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) declared: String,
}

/// The value of a quoted cell; `None` when the text is not what `quote()` writes.
pub(crate) fn read(quoted: &str, declared: &str) -> Option<Value> {
    let declared = declared.to_ascii_uppercase();
    let decimal = ["DEC", "NUM", "MONEY"]
        .iter()
        .any(|word| declared.contains(word));
    if quoted == "NULL" {
        return Some(Value::Null);
    }
    if let Some(inner) = quoted.strip_prefix('\'') {
        let inner = inner.strip_suffix('\'')?;
        return Some(text(inner.replace("''", "'"), &declared, decimal));
    }
    if let Some(inner) = quoted.strip_prefix("X'") {
        return unhex(inner.strip_suffix('\'')?).map(Value::Bytes);
    }
    if let Ok(number) = quoted.parse::<i64>() {
        return Some(match number {
            0 | 1 if declared.contains("BOOL") => Value::Bool(number == 1),
            _ if decimal => Value::Decimal(Decimal::from(number)),
            _ => Value::Int(number),
        });
    }
    let number: f64 = quoted.parse().ok()?;
    if !number.is_finite() {
        return Some(Value::Invalid(quoted.to_owned()));
    }
    // A declared scale says what the shortest text of the binary float was meant to be.
    let exact: Option<Decimal> = number.to_string().parse().ok();
    match (exact, scale(&declared)) {
        (Some(exact), Some(scale)) if decimal && exact.scale() <= scale => {
            Some(Value::Decimal(exact))
        }
        _ => Some(Value::Float(number)),
    }
}

/// The `s` of `DECIMAL(p,s)`.
fn scale(declared: &str) -> Option<u32> {
    declared
        .split_once(',')?
        .1
        .trim_end_matches(')')
        .trim()
        .parse()
        .ok()
}

fn text(text: String, declared: &str, decimal: bool) -> Value {
    if decimal {
        return match text.parse() {
            Ok(number) => Value::Decimal(number),
            Err(_) => Value::Text(text),
        };
    }
    if declared.contains("DATETIME") || declared.contains("TIMESTAMP") {
        if let Ok(moment) = text.parse() {
            return Value::Timestamp(moment);
        }
        let has_time = text.len() > 10;
        return match text.parse() {
            Ok(local) if has_time => Value::DateTime(local),
            _ => Value::Invalid(text),
        };
    }
    if declared.contains("DATE") {
        return match text.parse() {
            Ok(date) if text.len() == 10 => Value::Date(date),
            _ => Value::Invalid(text),
        };
    }
    if declared.contains("UUID") {
        return parse_uuid(&text).map_or(Value::Text(text), Value::Uuid);
    }
    if declared.contains("JSON") {
        return Value::Json(text);
    }
    Value::Text(text)
}

/// A name as SQL writes it.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::types::ToSql;

    use super::*;

    fn through_sqlite(value: &dyn ToSql, declared: &str) -> Value {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let quoted: String = db
            .query_row("SELECT quote(?1)", [value], |row| row.get(0))
            .unwrap();
        read(&quoted, declared).unwrap()
    }

    proptest! {
        #[test]
        fn integers_and_blobs_come_back(number: i64, bytes: Vec<u8>) {
            prop_assert_eq!(through_sqlite(&number, ""), Value::Int(number));
            prop_assert_eq!(through_sqlite(&bytes, ""), Value::Bytes(bytes));
        }

        #[test]
        fn reals_come_back_to_the_bit(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let Value::Float(back) = through_sqlite(&number, "") else {
                return Err(TestCaseError::fail("not a float"));
            };
            prop_assert!(back.to_bits() == number.to_bits() || number == 0.0);
        }

        #[test]
        fn texts_come_back(text in "[^\0]{0,40}") {
            prop_assert_eq!(through_sqlite(&text, "TEXT"), Value::Text(text));
        }

        #[test]
        fn never_panics(quoted: String, declared: String) {
            let _ = read(&quoted, &declared);
        }
    }

    #[test]
    fn declared_types_decide() {
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        let cases = [
            ("12", "DECIMAL(18,4)", decimal("12")),
            ("12.5", "DECIMAL(18,4)", decimal("12.5")),
            ("12.34567", "DECIMAL(18,4)", Value::Float(12.34567)),
            ("12.5", "NUMERIC", Value::Float(12.5)),
            ("'0.10'", "DECIMAL_TEXT", decimal("0.1")),
            ("'abc'", "DECIMAL_TEXT", Value::Text("abc".to_owned())),
            ("1", "BOOLEAN", Value::Bool(true)),
            ("2", "BOOLEAN", Value::Int(2)),
            (
                "'2026-11-20'",
                "DATE",
                Value::Date("2026-11-20".parse().unwrap()),
            ),
            (
                "'0000-00-00'",
                "DATE",
                Value::Invalid("0000-00-00".to_owned()),
            ),
            (
                "'2026-11-20 08:00:00'",
                "DATETIME",
                Value::DateTime("2026-11-20T08:00".parse().unwrap()),
            ),
            (
                "'2026-11-20T08:00:00Z'",
                "TIMESTAMP",
                Value::Timestamp("2026-11-20T08:00Z".parse().unwrap()),
            ),
            ("NULL", "DATE", Value::Null),
            ("'it''s'", "", Value::Text("it's".to_owned())),
        ];
        for (quoted, declared, expected) in cases {
            assert_eq!(
                read(quoted, declared),
                Some(expected),
                "{quoted} {declared}"
            );
        }
        assert_eq!(read("'open", "TEXT"), None);
    }
}
