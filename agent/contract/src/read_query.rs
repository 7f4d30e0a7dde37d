//! A re-read by key: a statement of the mapping's own, asked with the values of a change.

use std::time::Duration;

use crate::source::{Sees, SourceError};
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
    /// Further questions of the same statement: values in the order of `parameters`. The database
    /// is asked all of them at once.
    pub more: Vec<Vec<Value>>,
    /// Most rows of an answer, to all questions together.
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
    /// For each row, which question it answers: 0 = `parameters`, then `more` in its order.
    pub questions: Vec<usize>,
    /// Which changes the rows reflect; `None` = all that the source had told when it was asked.
    pub sees: Option<Sees>,
}

impl ReadRows {
    /// The answer as a database gave it to the placed statement.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] when a row does not say which question it answers.
    pub fn of(
        query: &ReadQuery,
        mut columns: Vec<String>,
        mut rows: Vec<Vec<Value>>,
        sees: Option<Sees>,
    ) -> Result<Self, SourceError> {
        let mut questions = vec![0; rows.len()];
        if !query.more.is_empty() {
            if !columns.is_empty() {
                columns.remove(0);
            }
            for (row, question) in rows.iter_mut().zip(&mut questions) {
                let number = (!row.is_empty()).then(|| row.remove(0));
                let number = number.and_then(|number| number.text()?.parse::<usize>().ok());
                let known = number.filter(|number| *number <= query.more.len());
                *question = known.ok_or_else(|| {
                    let what = format!("{DOING}: a row does not say which question it answers");
                    SourceError::Malformed(what)
                })?;
            }
        }
        Ok(Self {
            columns,
            rows,
            questions,
            sees,
        })
    }
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

    /// Puts `mark(number)` in the place of each `:name`, for adapters. Several questions become
    /// one statement, whose first column tells [`ReadRows::of`] them apart.
    ///
    /// # Errors
    /// [`SourceError::Denied`] when the statement is no single read, when its parameters and the
    /// given ones differ, or when one has no value to compare with. No error shows a value.
    pub fn place(
        &self,
        lexis: &SqlLexis,
        mark: impl Fn(usize) -> String,
    ) -> Result<PlacedQuery<'_>, SourceError> {
        let placed = |from: usize| {
            place_parameters(&self.sql, lexis, |number| mark(from + number))
                .map_err(|problem| refused(format!("the statement {problem}")))
        };
        let first = placed(0)?;
        let mut unused: Vec<usize> = (0..self.parameters.len()).collect();
        let mut used = Vec::with_capacity(first.names.len());
        for name in &first.names {
            let given = |at: &usize| self.parameters.get(*at).is_some_and(|(n, _)| n == name);
            let Some(at) = unused.iter().position(given) else {
                return Err(refused(format!(
                    "the statement uses :{name}, which is not given"
                )));
            };
            used.push(unused.swap_remove(at));
        }
        if let Some((name, _)) = unused.first().and_then(|at| self.parameters.get(*at)) {
            return Err(refused(format!(
                "the statement does not use :{name}, which is given"
            )));
        }
        let questions = self.more.len() + 1;
        let mut parameters = Vec::with_capacity(used.len() * questions);
        for question in 0..questions {
            for at in &used {
                parameters.push(self.parameter(question, *at)?);
            }
        }
        if questions == 1 {
            let sql = first.sql;
            return Ok(PlacedQuery { sql, parameters });
        }
        // One statement for all, each question by its own keys: every database can do that, and
        // plans each as it would alone.
        let mut sql = String::new();
        for question in 0..questions {
            let branch = placed(question * used.len())?.sql;
            let union = if question > 0 { "\nunion all " } else { "" };
            // The line's end is also that of a comment.
            for part in [
                union,
                "select ",
                &question.to_string(),
                " as lighterman_question, q.* from (\n",
                &branch,
                "\n) q",
            ] {
                sql.push_str(part);
            }
        }
        Ok(PlacedQuery { sql, parameters })
    }

    /// The name and value of a question's parameter.
    fn parameter(&self, question: usize, at: usize) -> Result<(&str, &Value), SourceError> {
        let (name, first) = self.parameters.get(at).ok_or_else(|| refused("no value"))?;
        let value = match question.checked_sub(1) {
            None => Some(first),
            Some(more) => self.more.get(more).and_then(|values| values.get(at)),
        };
        let value = value.ok_or_else(|| refused(format!(":{name} is not given every time")))?;
        if matches!(value, Value::Unchanged | Value::Invalid(_)) {
            return Err(refused(format!(
                ":{name} has nothing to compare with: its value is {}",
                value.type_name()
            )));
        }
        Ok((name.as_str(), value))
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
        mysql: false,
        quoted_names: &[],
        foreign: b"?",
    };

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
    fn several_questions_are_one_statement() {
        let mut query = query(
            "select :b, :a -- all",
            &[("a", Value::Int(1)), ("b", Value::Int(2))],
        );
        query.more = vec![vec![Value::Int(3), Value::Int(4)]];
        let placed = query.place(&LEXIS, |n| format!("?{n}")).unwrap();
        assert_eq!(
            placed.sql,
            "select 0 as lighterman_question, q.* from (\nselect ?1, ?2 -- all\n) q\n\
             union all select 1 as lighterman_question, q.* from (\nselect ?3, ?4 -- all\n) q"
        );
        let values: Vec<_> = placed
            .parameters
            .iter()
            .map(|(_, v)| (*v).clone())
            .collect();
        assert_eq!(values, [2, 1, 4, 3].map(Value::Int));
        let columns = ["lighterman_question", "x", "y"].map(str::to_owned);
        let row = |n: i64| vec![Value::Int(n), Value::Null, Value::Int(7)];
        let answer = ReadRows::of(&query, columns.to_vec(), vec![row(1), row(0), row(1)], None);
        let answer = answer.unwrap();
        assert_eq!(answer.columns, ["x", "y"]);
        assert_eq!(answer.questions, [1, 0, 1]);
        assert_eq!(answer.rows[0], [Value::Null, Value::Int(7)]);
        let lost = ReadRows::of(&query, columns.to_vec(), vec![row(2)], None);
        assert!(matches!(lost, Err(SourceError::Malformed(_))));
        query.more = vec![vec![Value::Int(3)]];
        assert!(query.place(&LEXIS, |n| format!("?{n}")).is_err());
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
