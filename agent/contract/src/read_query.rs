//! A re-read by key: a statement of the mapping's own, asked with the values of a change.

use std::time::Duration;

use crate::source::SourceError;
use crate::sql_parameters::{SqlLexis, place_parameters};
use crate::value::Value;

/// Begins every message about a re-read.
const DOING: &str = "read by key";

/// A question to the source's database. Its answer is bounded in rows, bytes and time; what goes
/// beyond is an error, never a cut: a part of the rows would be taken for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadQuery {
    /// One `select` or `with` statement in the database's own SQL, with parameters as `:name`.
    pub sql: String,
    /// The parameters' values. Each must be used, and each used name must have a value.
    pub parameters: Vec<(String, Value)>,
    /// Most rows of an answer.
    pub rows_max: usize,
    /// How long the answer may take, connecting included.
    pub time_max: Duration,
}

/// The answer to a [`ReadQuery`]: values as a snapshot would give them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRows {
    /// The columns' names, as the database gives them; a name can come twice.
    pub columns: Vec<String>,
    /// The rows, each with a value per column.
    pub rows: Vec<Vec<Value>>,
}

/// A statement ready for the database.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedQuery<'a> {
    /// The statement, with each `:name` replaced.
    pub sql: String,
    /// Names and values by number, from 1.
    pub parameters: Vec<(&'a str, &'a Value)>,
}

impl PlacedQuery<'_> {
    /// A message of the database about the placed statement, in the statement's own names.
    #[must_use]
    pub fn in_names(&self, message: &str, mark: impl Fn(usize) -> String) -> String {
        // From the last, for `$1` also begins `$12`.
        let numbered = self.parameters.iter().enumerate().rev();
        numbered.fold(message.to_owned(), |text, (n, (name, _))| {
            text.replace(&mark(n + 1), &format!(":{name}"))
        })
    }
}

impl ReadQuery {
    /// Most bytes of an answer, measured by [`Value::bytes`].
    pub const BYTES_MAX: usize = 16 << 20;

    /// Puts `mark(number)` in the place of each `:name`, for adapters.
    ///
    /// # Errors
    /// [`SourceError::Denied`] when the statement is no single read, when its parameters and the
    /// given ones differ, or when one has no value to compare with. No error shows a value.
    pub fn place(
        &self,
        lexis: &SqlLexis,
        mark: impl Fn(usize) -> String,
    ) -> Result<PlacedQuery<'_>, SourceError> {
        let placed = place_parameters(&self.sql, lexis, mark)
            .map_err(|problem| refused(format!("the statement {problem}")))?;
        let mut unused: Vec<&(String, Value)> = self.parameters.iter().collect();
        let mut parameters = Vec::with_capacity(placed.names.len());
        for name in &placed.names {
            let Some(at) = unused.iter().position(|(given, _)| given == name) else {
                return Err(refused(format!(
                    "the statement uses :{name}, which is not given"
                )));
            };
            let (name, value) = unused.swap_remove(at);
            if matches!(value, Value::Unchanged | Value::Invalid(_)) {
                return Err(refused(format!(
                    ":{name} has nothing to compare with: its value is {}",
                    value.type_name()
                )));
            }
            parameters.push((name.as_str(), value));
        }
        if let Some((name, _)) = unused.first() {
            return Err(refused(format!(
                "the statement does not use :{name}, which is given"
            )));
        }
        Ok(PlacedQuery {
            sql: placed.sql,
            parameters,
        })
    }

    /// The error for an answer of more than [`ReadQuery::rows_max`] rows.
    pub fn too_many_rows(&self) -> SourceError {
        SourceError::Denied {
            what: format!("{DOING}: the answer has more than {} rows", self.rows_max),
            hint: "narrow the statement, or allow more rows".to_owned(),
        }
    }

    /// The error for an answer of more than [`ReadQuery::BYTES_MAX`].
    pub fn too_many_bytes(&self) -> SourceError {
        SourceError::Denied {
            what: format!(
                "{DOING}: the answer has more than {} MiB",
                Self::BYTES_MAX >> 20
            ),
            hint: "narrow the statement, or read fewer columns".to_owned(),
        }
    }

    /// The error for an answer that takes longer than [`ReadQuery::time_max`].
    pub fn timed_out(&self) -> SourceError {
        SourceError::Disconnected(format!(
            "{DOING}: timed out, stopped after {} ms",
            self.time_max.as_millis()
        ))
    }
}

/// The error for a statement that a person must correct; `what` must not show a value.
pub fn refused(what: impl std::fmt::Display) -> SourceError {
    SourceError::Denied {
        what: format!("{DOING}: {what}"),
        hint: "correct the statement or its parameters".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEXIS: SqlLexis = SqlLexis {
        nested_comments: false,
        dollar_quotes: false,
        escape_strings: false,
        quoted_names: &[],
        foreign: b"?",
    };

    fn query(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
        let given = parameters.iter();
        ReadQuery {
            sql: sql.to_owned(),
            parameters: given.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
            rows_max: 1,
            time_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn values_come_in_the_order_of_their_numbers() {
        let query = query(
            "select :b, :a, :b",
            &[("a", Value::Int(1)), ("b", Value::Null)],
        );
        let placed = query.place(&LEXIS, |n| format!("?{n}")).unwrap();
        assert_eq!(placed.sql, "select ?1, ?2, ?1");
        assert_eq!(
            placed.parameters,
            [("b", &Value::Null), ("a", &Value::Int(1))]
        );
        let message = placed.in_names("near \"?2\" or ?1", |n| format!("?{n}"));
        assert_eq!(message, "near \":a\" or :b");
    }

    #[test]
    fn parameters_and_statement_must_agree_and_no_error_shows_a_value() {
        let secret = || Value::Text("secret".to_owned());
        for (sql, parameters, what) in [
            ("select :a", vec![], "uses :a"),
            ("select 1", vec![("a", secret())], "does not use :a"),
            ("select ':a'", vec![("a", secret())], "does not use :a"),
            ("select :A", vec![("a", secret())], "uses :A"),
            (
                "select :a",
                vec![("a", secret()), ("a", secret())],
                "does not use :a",
            ),
            (
                "select :a",
                vec![("a", Value::Invalid("secret".to_owned()))],
                "its value is invalid",
            ),
            ("select :a", vec![("a", Value::Unchanged)], "unchanged"),
            ("drop table t", vec![], "must begin with"),
        ] {
            let query = query(sql, &parameters);
            let error = query.place(&LEXIS, |n| format!("?{n}")).unwrap_err();
            assert!(matches!(error, SourceError::Denied { .. }), "{sql}");
            let text = error.to_string();
            assert!(
                text.starts_with("read by key: ") && text.contains(what),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
