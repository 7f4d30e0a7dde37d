//! SQLite's `quote()` text or stored cell and a column's declared type to a [`Value`]: the one place
//! for the stream, the snapshot and re-reads.
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
//! | any | text that is not UTF-8 | invalid |
//!
//! `quote()` writes reals with enough digits to read them back exactly
//! (<https://www.sqlite.org/lang_corefunc.html#quote>) and ends a text at a NUL character.

use std::fmt::Write as _;

use contract::value::{parse_uuid, unhex};
use contract::{ColumnKind, Decimal, Value};

/// A column's name and declared type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) declared: String,
}

/// A cell as SQLite stores it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// The value of a quoted cell; `None` when the text is not what `quote()` writes.
pub(crate) fn read(quoted: &str, declared: &str) -> Option<Value> {
    Some(value(unquote(quoted)?, declared))
}

fn unquote(quoted: &str) -> Option<Stored> {
    if quoted == "NULL" {
        return Some(Stored::Null);
    }
    if let Some(inner) = quoted.strip_prefix('\'') {
        let inner = inner.strip_suffix('\'')?;
        return Some(Stored::Text(inner.replace("''", "'")));
    }
    if let Some(inner) = quoted.strip_prefix("X'") {
        return unhex(inner.strip_suffix('\'')?).map(Stored::Blob);
    }
    if let Ok(number) = quoted.parse() {
        return Some(Stored::Integer(number));
    }
    quoted.parse().ok().map(Stored::Real)
}

fn is_decimal(declared: &str) -> bool {
    ["DEC", "NUM", "MONEY"]
        .iter()
        .any(|word| declared.contains(word))
}

fn is_moment(declared: &str) -> bool {
    declared.contains("DATETIME") || declared.contains("TIMESTAMP")
}

/// A text as SQLite has it, which need not be UTF-8: each byte that is none becomes a NUL (written like `nul`), an `x`
/// and two digits. `quote()` ends a text at a NUL, so no other one has any, and the cell is invalid.
pub(crate) fn marked(bytes: &[u8], nul: &str) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // A String takes whatever is written.
            let _ = write!(text, "{nul}x{byte:02X}");
        }
    }
    text
}

/// A `quote()` text as SQL takes it; `None` when it is none.
pub(crate) fn sql(quoted: &str) -> Option<String> {
    read(quoted, "")?;
    if !quoted.contains('\0') {
        return Some(quoted.to_owned());
    }
    let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let inner = inner.replace("''", "'");
    let mut parts = inner.split('\0');
    let mut digits = hex(parts.next()?);
    for part in parts {
        digits.push_str(part.get(1..3)?);
        digits.push_str(&hex(part.get(3..)?));
    }
    unhex(&digits)?;
    Some(format!("CAST(X'{digits}' AS TEXT)"))
}

fn hex(text: &str) -> String {
    let mut digits = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        let _ = write!(digits, "{byte:02X}");
    }
    digits
}

/// The value of a stored cell.
pub(crate) fn value(stored: Stored, declared: &str) -> Value {
    let declared = declared.to_ascii_uppercase();
    let decimal = is_decimal(&declared);
    match stored {
        Stored::Null => Value::Null,
        Stored::Text(found) if found.contains('\0') => Value::Invalid(found.replace('\0', "\\")),
        Stored::Text(found) => text(found, &declared, decimal),
        Stored::Blob(found) => Value::Bytes(found),
        Stored::Integer(number @ (0 | 1)) if declared.contains("BOOL") => Value::Bool(number == 1),
        Stored::Integer(number) if decimal => Value::Decimal(Decimal::from(number)),
        Stored::Integer(number) => Value::Int(number),
        Stored::Real(number) if !number.is_finite() => {
            // As `quote()` writes it: a literal too large for any double.
            let sign = if number < 0.0 { "-" } else { "" };
            Value::Invalid(format!("{sign}9.0e+999"))
        }
        Stored::Real(number) => {
            // A declared scale says what the shortest text of the binary float was meant to be.
            let exact: Option<Decimal> = number.to_string().parse().ok();
            match (exact, scale(&declared)) {
                (Some(exact), Some(scale)) if decimal && exact.scale() <= scale => {
                    Value::Decimal(exact)
                }
                _ => Value::Float(number),
            }
        }
    }
}

/// What the values of a column of this declared type come as, as long as the application stores
/// what it declared: SQLite itself takes any value in any column, except in STRICT tables.
///
/// The declared type also gives the column's affinity, which decides how a number given as text is
/// stored and the other way round (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
/// Where that leaves more than one kind of value, the kind is [`ColumnKind::Other`].
pub(crate) fn kind(declared: &str) -> ColumnKind {
    let declared = declared.to_ascii_uppercase();
    let has = |word: &str| declared.contains(word);
    if has("INT") {
        return match () {
            // They have the affinity by accident, and hold texts.
            () if has("POINT") || has("INTERVAL") => ColumnKind::Other,
            () if has("BOOL") => ColumnKind::Bool,
            () if is_decimal(&declared) => ColumnKind::Decimal,
            () => ColumnKind::Int,
        };
    }
    let texts = has("CHAR") || has("CLOB") || has("TEXT");
    if !texts {
        if has("BLOB") {
            return ColumnKind::Bytes;
        }
        if has("REAL") || has("FLOA") || has("DOUB") {
            let exact = is_decimal(&declared) && scale(&declared).is_some();
            return if exact {
                ColumnKind::Other
            } else {
                ColumnKind::Float
            };
        }
        if has("BOOL") {
            return ColumnKind::Bool;
        }
        // Without a scale, whole numbers are decimals and others floats.
        if is_decimal(&declared) && scale(&declared).is_none() {
            return ColumnKind::Other;
        }
    }
    match () {
        () if is_decimal(&declared) => ColumnKind::Decimal,
        // Some texts have an offset, some do not.
        () if is_moment(&declared) => ColumnKind::Other,
        () if has("DATE") => ColumnKind::Date,
        () if has("UUID") => ColumnKind::Uuid,
        () if has("JSON") => ColumnKind::Json,
        () if texts => ColumnKind::Text,
        () => ColumnKind::Other,
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
    if is_moment(declared) {
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

    #[test]
    fn a_text_that_is_not_utf8_is_invalid_and_found_again() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for bytes in [&b"A\xffB'"[..], b"\xc3(", b"'\xff", b"plain '' text"] {
            let quote = "SELECT quote(CAST(?1 AS TEXT))";
            let quoted = db
                .query_row(quote, [bytes], |row| {
                    Ok(marked(row.get_ref(0)?.as_bytes()?, "\0"))
                })
                .unwrap();
            let same = format!("SELECT CAST(?1 AS TEXT) = {}", sql(&quoted).unwrap());
            assert!(
                db.query_row(&same, [bytes], |row| row.get::<_, bool>(0))
                    .unwrap()
            );
            let invalid = matches!(read(&quoted, "TEXT"), Some(Value::Invalid(_)));
            assert_eq!(invalid, std::str::from_utf8(bytes).is_err());
        }
        assert_eq!(
            read("'A\0xFFB'", ""),
            Some(Value::Invalid("A\\xFFB".to_owned()))
        );
        for damaged in ["'a\0'", "'a\0xZZ'", "1; DROP", "'a\0x\u{e9}'"] {
            assert_eq!(sql(damaged), None, "{damaged:?}");
        }
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

    /// A column of each declared type, holding what it declares, by the application's own SQL.
    #[test]
    fn the_kind_of_a_declared_type_is_the_kind_of_its_values() {
        for (declared, literals, expected) in [
            ("", "1, 'a', x'00', 1.5", ColumnKind::Other),
            ("ANY", "1, 'a'", ColumnKind::Other),
            ("INTEGER", "0, 1, -7, '12'", ColumnKind::Int),
            ("UNSIGNED BIG INT", "9", ColumnKind::Int),
            ("POINT", "'1,2'", ColumnKind::Other),
            ("INTERVAL", "'1 day', 5", ColumnKind::Other),
            ("TINYINT BOOL", "0, 1", ColumnKind::Bool),
            ("BOOLEAN", "0, 1, true, '1'", ColumnKind::Bool),
            ("REAL", "1, 1.5, '2'", ColumnKind::Float),
            ("DOUBLE PRECISION", "1e300", ColumnKind::Float),
            ("DECIMAL FLOAT(5,2)", "1.25, 1e-9", ColumnKind::Other),
            ("VARCHAR(20)", "'a', 5, 1.5", ColumnKind::Text),
            ("TEXT", "'a', '2026-11-20'", ColumnKind::Text),
            ("clob", "'a'", ColumnKind::Text),
            ("BLOB", "x'00ff'", ColumnKind::Bytes),
            (
                "DECIMAL(18,4)",
                "12, 12.5, '0.10', '-7'",
                ColumnKind::Decimal,
            ),
            ("NUMERIC", "12, 12.5", ColumnKind::Other),
            ("MONEY", "12, 12.5", ColumnKind::Other),
            ("NUMERIC(10)", "12, 12.5", ColumnKind::Other),
            ("DECIMAL_TEXT", "'0.10', 5, 1.5", ColumnKind::Decimal),
            ("NUMBER INT", "5, '6'", ColumnKind::Decimal),
            ("DATE", "'2026-11-20'", ColumnKind::Date),
            ("DATE_CHAR", "'2026-11-20'", ColumnKind::Date),
            (
                "DATETIME",
                "'2026-11-20 08:00:00', '2026-11-20T08:00:00Z'",
                ColumnKind::Other,
            ),
            (
                "TIMESTAMP TEXT",
                "'2026-11-20T08:00:00Z'",
                ColumnKind::Other,
            ),
            ("TIME", "'08:00', 480", ColumnKind::Other),
            (
                "UUID",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                ColumnKind::Uuid,
            ),
            (
                "UUID CHAR(36)",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                ColumnKind::Uuid,
            ),
            ("JSON", "'{\"a\":1}', '[1]'", ColumnKind::Json),
            ("STRING", "'a', 5", ColumnKind::Other),
        ] {
            assert_eq!(kind(declared), expected, "{declared}");
            let db = rusqlite::Connection::open_in_memory().unwrap();
            db.execute_batch(&format!("CREATE TABLE t (v {declared})"))
                .unwrap();
            for literal in literals.split(", ") {
                db.execute(&format!("INSERT INTO t VALUES ({literal})"), [])
                    .unwrap();
            }
            let mut rows = db.prepare("SELECT quote(v) FROM t").unwrap();
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let value = read(&row.get::<_, String>(0).unwrap(), declared).unwrap();
                let fits = expected == ColumnKind::Other || expected.name() == value.type_name();
                assert!(fits, "{declared}: {} is no {expected:?}", value.type_name());
            }
        }
    }
}
