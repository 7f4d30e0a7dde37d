//! A statement of a mapping's in the server's form, and its parameters as values of the protocol.

use std::cell::RefCell;

use contract::read_query::refused;
use contract::value::{hex, uuid_text};
use contract::{ReadQuery, SourceError, SqlLexis, Value};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use mysql_async::Value as Sent;

const LEXIS: SqlLexis = SqlLexis {
    nested_comments: false,
    dollar_quotes: false,
    escape_strings: false,
    mysql: true,
    quoted_names: &[(b'`', b'`')],
    foreign: b"?",
};

/// A statement in the server's form, and its parameters in the order they stand in.
pub(crate) struct Placed {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Sent>,
}

impl Placed {
    pub(crate) fn of(query: &ReadQuery) -> Result<Self, SourceError> {
        let first = query.place(&LEXIS, |_| "?".to_owned())?;
        let bound = first
            .parameters
            .iter()
            .map(|(name, value)| bind(name, value));
        let bound: Vec<(String, Sent)> = bound.collect::<Result<_, _>>()?;
        let used = RefCell::new(Vec::new());
        let placed = query.place(&LEXIS, |number| {
            used.borrow_mut().push(number);
            let bound = bound.get(number.wrapping_sub(1));
            bound.map_or_else(|| "?".to_owned(), |(mark, _)| mark.clone())
        })?;
        let mut used = used.into_inner();
        if !query.more.is_empty() {
            // The statement is read once for itself, and then once for each question.
            let questions = query.more.len() + 1;
            let once = used.len() / (questions + 1);
            used.drain(..once);
        }
        let values = used.iter().map(|number| {
            let bound = bound.get(number.wrapping_sub(1));
            bound.map_or(Sent::NULL, |(_, value)| value.clone())
        });
        let placed = Self {
            sql: placed.sql,
            parameters: values.collect(),
        };
        refuse_locks(&placed.sql)?;
        Ok(placed)
    }
}

/// Rows that are read so are locked against their own users, and the transaction allows it.
fn refuse_locks(sql: &str) -> Result<(), SourceError> {
    let words: Vec<String> = sql
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let has = |wanted: &[&str]| words.windows(wanted.len()).any(|words| words == wanted);
    if has(&["for", "share"]) || has(&["lock", "in", "share", "mode"]) {
        return Err(refused(
            "the statement would lock what it reads: leave out FOR SHARE or LOCK IN SHARE MODE",
        ));
    }
    Ok(())
}

/// What stands for a parameter in the statement, and its value.
fn bind(name: &str, value: &Value) -> Result<(String, Sent), SourceError> {
    let text = |text: &str| Sent::Bytes(text.as_bytes().to_vec());
    let beyond = || {
        refused(format!(
            ":{name} is a {} that MySQL and MariaDB do not have",
            value.type_name()
        ))
    };
    let sent = match value {
        Value::Null | Value::Unchanged | Value::Invalid(_) => Sent::NULL,
        Value::Bool(value) => Sent::Int(i64::from(*value)),
        Value::Int(value) => Sent::Int(*value),
        Value::UInt(value) => Sent::UInt(*value),
        Value::Decimal(value) => {
            let mark = format!("CAST(? AS DECIMAL(65,{}))", value.scale());
            return Ok((mark, text(&value.to_string())));
        }
        Value::Float(value) => Sent::Double(*value),
        Value::Text(value) | Value::Json(value) => text(value),
        Value::Bytes(value) => return Ok(("UNHEX(?)".to_owned(), text(&hex(value)))),
        Value::Uuid(value) => text(&uuid_text(value)),
        Value::Date(date) => moment(*date, Time::midnight()).ok_or_else(beyond)?,
        Value::DateTime(at) => moment(at.date(), at.time()).ok_or_else(beyond)?,
        // The session's zone is UTC.
        Value::Timestamp(at) => {
            let at = TimeZone::UTC.to_datetime(*at);
            moment(at.date(), at.time()).ok_or_else(beyond)?
        }
        Value::Time(at) => {
            let (hour, minute, second, micros) = clock(*at).ok_or_else(beyond)?;
            Sent::Time(false, 0, hour, minute, second, micros)
        }
    };
    Ok(("?".to_owned(), sent))
}

fn moment(date: Date, time: Time) -> Option<Sent> {
    let (hour, minute, second, micros) = clock(time)?;
    Some(Sent::Date(
        u16::try_from(date.year()).ok()?,
        u8::try_from(date.month()).ok()?,
        u8::try_from(date.day()).ok()?,
        hour,
        minute,
        second,
        micros,
    ))
}

/// Whole microseconds; finer ones would be cut off.
fn clock(time: Time) -> Option<(u8, u8, u8, u32)> {
    let nanos = u32::try_from(time.subsec_nanosecond()).ok()?;
    let part = |part: i8| u8::try_from(part).ok();
    nanos.is_multiple_of(1000).then_some(())?;
    Some((
        part(time.hour())?,
        part(time.minute())?,
        part(time.second())?,
        nanos / 1000,
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn query(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
        let given = parameters.iter();
        ReadQuery {
            sql: sql.to_owned(),
            parameters: given.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
            more: Vec::new(),
            rows_max: 1,
            time_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn parameters_stand_in_the_order_of_their_marks() {
        let decimal = Value::Decimal("1.25".parse().unwrap());
        let mut query = query(
            "select :b, :a, :b # :a",
            &[("a", Value::Bytes(vec![0, 255])), ("b", decimal)],
        );
        let placed = Placed::of(&query).unwrap();
        assert_eq!(
            placed.sql,
            "select CAST(? AS DECIMAL(65,2)), UNHEX(?), CAST(? AS DECIMAL(65,2)) # :a"
        );
        let text = |text: &str| Sent::Bytes(text.as_bytes().to_vec());
        assert_eq!(
            placed.parameters,
            [text("1.25"), text("00ff"), text("1.25")]
        );
        query.more = vec![vec![Value::Null, Value::Int(7)]];
        let placed = Placed::of(&query).unwrap();
        assert_eq!(
            placed.parameters,
            [
                text("1.25"),
                text("00ff"),
                text("1.25"),
                Sent::Int(7),
                Sent::NULL,
                Sent::Int(7)
            ]
        );
        assert!(
            placed.sql.contains("select ?, ?, ? # :a\n) q"),
            "{}",
            placed.sql
        );
    }

    #[test]
    fn values_keep_their_types() {
        let sent = |value: &Value| bind("v", value).map(|(_, sent)| sent);
        let moment = Value::Timestamp("2026-01-02T03:04:05.000006Z".parse().unwrap());
        assert_eq!(sent(&moment), Ok(Sent::Date(2026, 1, 2, 3, 4, 5, 6)));
        let day = Value::Date("2026-01-02".parse().unwrap());
        assert_eq!(sent(&day), Ok(Sent::Date(2026, 1, 2, 0, 0, 0, 0)));
        let clock = Value::Time("23:59:59.5".parse().unwrap());
        assert_eq!(sent(&clock), Ok(Sent::Time(false, 0, 23, 59, 59, 500_000)));
        let fine = Value::Time("23:59:59.0000001".parse().unwrap());
        assert!(
            sent(&fine)
                .unwrap_err()
                .to_string()
                .contains(":v is a time")
        );
        let early = Value::Date("-000044-03-15".parse().unwrap());
        assert!(sent(&early).is_err());
    }

    #[test]
    fn locks_are_refused_and_words_are_not() {
        for sql in [
            "select a from t for share",
            "select a from t FOR\n SHARE NOWAIT",
            "select a from t lock in share mode",
        ] {
            assert!(Placed::of(&query(sql, &[])).is_err(), "{sql}");
        }
        for sql in ["select share from t", "select for_share, lock_in from t"] {
            assert!(Placed::of(&query(sql, &[])).is_ok(), "{sql}");
        }
    }
}
