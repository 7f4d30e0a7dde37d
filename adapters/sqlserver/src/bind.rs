//! A statement of a mapping's in the server's form, and its parameters.
//!
//! The server takes several statements in one text, without even a semicolon between them. Words that begin
//! one, write or lock are reserved in T-SQL, so that where they stand without quotes they mean just that.

use contract::read_query::refused;
use contract::{ReadQuery, SourceError, SqlLexis, Value};

use crate::session::Parameter;

const LEXIS: SqlLexis = SqlLexis {
    nested_comments: true,
    dollar_quotes: false,
    escape_strings: false,
    mysql: false,
    quoted_names: &[(b'[', b']')],
    // Variables, and parameters of the server's own kind.
    foreign: b"@",
};

/// The most parameters of a statement.
const PARAMETERS_MAX: usize = 2_000;
/// The longest text of a code page that is not `(max)`.
const PLAIN_MAX: usize = 8_000;

/// Words that begin a statement other than a read, or write within one.
const WRITES: &[&str] = &[
    "alter",
    "backup",
    "begin",
    "bulk",
    "checkpoint",
    "close",
    "commit",
    "create",
    "dbcc",
    "deallocate",
    "declare",
    "delete",
    "deny",
    "drop",
    "dump",
    "exec",
    "execute",
    "goto",
    "grant",
    "if",
    "insert",
    "into",
    "kill",
    "load",
    "merge",
    "opendatasource",
    "openquery",
    "openrowset",
    "openxml",
    "print",
    "raiserror",
    "readtext",
    "reconfigure",
    "restore",
    "return",
    "revert",
    "revoke",
    "rollback",
    "save",
    "set",
    "setuser",
    "shutdown",
    "throw",
    "truncate",
    "update",
    "updatetext",
    "use",
    "waitfor",
    "while",
    "writetext",
];
/// Hints that lock what is read for longer than the read takes, or read what is not committed.
const LOCKS: &[&str] = &[
    "holdlock",
    "nolock",
    "paglock",
    "readpast",
    "readuncommitted",
    "repeatableread",
    "serializable",
    "tablock",
    "tablockx",
    "updlock",
    "xlock",
];

/// A statement in the server's form, and its parameters by number.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Parameter>,
}

impl Placed {
    pub(crate) fn of(query: &ReadQuery) -> Result<Self, SourceError> {
        let first = query.place(&LEXIS, |_| String::new())?;
        if first.parameters.len() > PARAMETERS_MAX {
            return Err(refused(format!(
                "the statement has more than {PARAMETERS_MAX} parameters, over all the keys it is asked for \
                 at once"
            )));
        }
        let bound = first
            .parameters
            .iter()
            .enumerate()
            .map(|(at, (name, value))| bind(at + 1, name, value));
        let bound: Vec<(String, Parameter)> = bound.collect::<Result<_, _>>()?;
        let placed = query.place(&LEXIS, |number| {
            let bound = bound.get(number.wrapping_sub(1));
            bound.map_or_else(String::new, |(mark, _)| mark.clone())
        })?;
        refuse_writes(&query.sql)?;
        Ok(Self {
            sql: placed.sql,
            parameters: bound.into_iter().map(|(_, parameter)| parameter).collect(),
        })
    }
}

/// What stands for a parameter in the statement, and its value.
fn bind(number: usize, name: &str, value: &Value) -> Result<(String, Parameter), SourceError> {
    let plain = format!("@P{number}");
    let cast = |to: &str| format!("CAST(@P{number} AS {to})");
    let fine = |nanos: i32| {
        if nanos % 100 == 0 {
            return Ok(());
        }
        Err(refused(format!(
            ":{name} is a {} finer than SQL Server has them",
            value.type_name()
        )))
    };
    Ok(match value {
        Value::Null | Value::Unchanged | Value::Invalid(_) => (plain, Parameter::Null),
        Value::Bool(value) => (plain, Parameter::Int(i64::from(*value))),
        Value::Int(value) => (plain, Parameter::Int(*value)),
        Value::UInt(value) => (cast("decimal(20,0)"), Parameter::Text(value.to_string())),
        Value::Decimal(value) => {
            let mark = cast(&format!("decimal(38,{})", value.scale()));
            (mark, Parameter::Text(value.to_string()))
        }
        Value::Float(value) => (plain, Parameter::Float(*value)),
        // Compared with a text of a code page, one of all characters has the server convert every row, and
        // use no index. These are the same in every code page.
        Value::Text(text) if text.is_ascii() && text.len() <= PLAIN_MAX => {
            (cast("varchar(8000)"), Parameter::Text(text.clone()))
        }
        Value::Text(text) | Value::Json(text) => (plain, Parameter::Text(text.clone())),
        Value::Bytes(bytes) => (plain, Parameter::Bytes(bytes.clone())),
        Value::Uuid(uuid) => (plain, Parameter::Uuid(*uuid)),
        Value::Date(date) => (cast("date"), Parameter::Text(date.to_string())),
        Value::Time(time) => {
            fine(time.subsec_nanosecond())?;
            (cast("time(7)"), Parameter::Text(time.to_string()))
        }
        Value::DateTime(at) => {
            fine(at.subsec_nanosecond())?;
            (cast("datetime2(7)"), Parameter::Text(at.to_string()))
        }
        Value::Timestamp(at) => {
            fine(at.subsec_nanosecond())?;
            (cast("datetimeoffset(7)"), Parameter::Text(at.to_string()))
        }
    })
}

fn refuse_writes(sql: &str) -> Result<(), SourceError> {
    let words = words(sql);
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(String::as_str);
        let is_hint = matches!(
            (word.as_str(), next),
            ("use", Some("hint" | "plan")) | ("merge", Some("join" | "union"))
        );
        if WRITES.contains(&word.as_str()) && !is_hint {
            return Err(refused(format!(
                "the statement holds {}, which does more than read; a name is put in [brackets]",
                word.to_ascii_uppercase()
            )));
        }
        if LOCKS.contains(&word.as_str()) {
            return Err(refused(format!(
                "the statement would lock what it reads, or read what is not committed: leave out {}",
                word.to_ascii_uppercase()
            )));
        }
        if word == "next" && next == Some("value") {
            return Err(refused("the statement would take a number from a sequence"));
        }
    }
    Ok(())
}

/// The words of a statement that stand outside of texts, quotes and comments, in lower case.
fn words(sql: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || matches!(c, '_' | '#' | '$' | '@') {
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
            continue;
        }
        words.push(String::new());
        let close = match c {
            '\'' | '"' => c,
            '[' => ']',
            '-' if rest.peek() == Some(&'-') => {
                rest.by_ref().find(|c| *c == '\n');
                continue;
            }
            '/' if rest.peek() == Some(&'*') => {
                rest.next();
                comment(&mut rest);
                continue;
            }
            _ => continue,
        };
        // Doubled, it is a part of the text: another text begins right there, which comes to the same.
        rest.by_ref().find(|c| *c == close);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Comments hold comments.
fn comment(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut depth = 1;
    while depth > 0 {
        match (rest.next(), rest.peek()) {
            (Some('*'), Some('/')) => depth -= 1,
            (Some('/'), Some('*')) => depth += 1,
            (Some(_), _) => continue,
            (None, _) => return,
        }
        rest.next();
    }
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
    fn parameters_have_numbers_and_types() {
        let decimal = Value::Decimal("1.25".parse().unwrap());
        let mut query = query(
            "select :b, :a, [:c] from t where x = :b -- :a",
            &[("a", Value::Text("ä".to_owned())), ("b", decimal)],
        );
        let placed = Placed::of(&query).unwrap();
        assert_eq!(
            placed.sql,
            "select CAST(@P1 AS decimal(38,2)), @P2, [:c] from t where x = CAST(@P1 AS decimal(38,2)) -- :a"
        );
        let text = |text: &str| Parameter::Text(text.to_owned());
        assert_eq!(placed.parameters, [text("1.25"), text("ä")]);
        query.more = vec![vec![Value::Text("plain".to_owned()), Value::Int(7)]];
        let placed = Placed::of(&query).unwrap();
        assert_eq!(
            placed.parameters,
            [text("1.25"), text("ä"), Parameter::Int(7), text("plain")]
        );
        assert!(
            placed
                .sql
                .contains("select @P3, CAST(@P4 AS varchar(8000)), [:c]"),
            "{}",
            placed.sql
        );
    }

    #[test]
    fn values_keep_their_types() {
        let bound = |value: &Value| bind(1, "v", value).unwrap();
        let moment = Value::Timestamp("2026-01-02T03:04:05.0000006Z".parse().unwrap());
        assert_eq!(
            bound(&moment),
            (
                "CAST(@P1 AS datetimeoffset(7))".to_owned(),
                Parameter::Text("2026-01-02T03:04:05.0000006Z".to_owned())
            )
        );
        let fine = Value::Time("23:59:59.00000001".parse().unwrap());
        let error = bind(1, "v", &fine).unwrap_err().to_string();
        assert!(error.contains(":v is a time finer"), "{error}");
        assert_eq!(
            bound(&Value::UInt(u64::MAX)).0,
            "CAST(@P1 AS decimal(20,0))"
        );
    }

    #[test]
    fn what_does_more_than_read_is_refused_and_names_are_not() {
        for sql in [
            "select 1 drop table t",
            "select * INTO copy from t",
            "select 1\ndelete from t",
            "with c as (select * from t) update c set x = 1",
            "select 1 exec('drop table t')",
            "select 1 /* /* */ */ truncate table t",
            "select 'it''s' shutdown",
            "select [a]]b] grant",
            "select * from openrowset('x', 'y', 'z')",
            "select next value for numbers",
            "select a from t with (updlock)",
            "select a from t (NOLOCK)",
            "select \"a\"update",
        ] {
            assert!(Placed::of(&query(sql, &[])).is_err(), "{sql}");
        }
        for sql in [
            "select [update], [drop table t] from t",
            "select 'delete from t' as x, updated_at, last_update from t",
            "select a /* insert /* into */ t */ from t -- drop\norder by a offset 1 rows fetch next 1 rows only",
            "select a from t option (merge join, use hint ('x'))",
            "select \"into\" from t",
        ] {
            assert!(Placed::of(&query(sql, &[])).is_ok(), "{sql}");
        }
    }
}
