//! Which life of its tracking a table is in.
//!
//! `TRUNCATE` and turning tracking off and on forget what was tracked. Whether either counts as a version is
//! not known: where it does not, a reader whose version is the newest one passes the server's own check, and
//! the rows that went are told by nobody. The version with which a table's tracking began is set anew by
//! both, and unlike the lowest valid one it does not move when the server cleans up. Where it began anew with
//! the version that it had begun with, the server's own table that the changes are kept in is another one.

use std::fmt;

use contract::{SourceError, TableName};

use crate::errors::{Failed, NO_OBJECT, NO_RIGHT, broken};
use crate::probe::Known;
use crate::session::Session;

use super::table::line_of;

/// A table that is made again has another number; one that is emptied, or tracked anew, begins anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) object: i64,
    pub(crate) began: i64,
    /// The server's own table of its changes; 0 = our user may not see it.
    pub(crate) kept_in: i64,
}

impl PartialEq for Life {
    /// What cannot be seen is no difference.
    fn eq(&self, other: &Self) -> bool {
        let hidden = self.kept_in == 0 || other.kept_in == 0;
        self.object == other.object
            && self.began == other.began
            && (hidden || self.kept_in == other.kept_in)
    }
}

/// How it stands in what a stream says of a table.
const MARK: &str = " life=";

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}.{}.{}", self.object, self.began, self.kept_in)
    }
}

impl Life {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let mut number = || numbers.next().flatten();
        let (object, began, kept_in) = (number()?, number()?, number()?);
        numbers.next().is_none().then_some(Self {
            object,
            began,
            kept_in,
        })
    }

    /// The life of a table when a stream said this; `None` = it did not say.
    pub(crate) fn before(server: &str, table: &TableName) -> Option<Self> {
        let (_, life) = line_of(server, table)?.rsplit_once(MARK)?;
        Self::parse(life)
    }
}

/// The line of a table without its life.
pub(crate) fn without_life(line: &str) -> &str {
    match line.rsplit_once(MARK) {
        Some((rest, life)) if Life::parse(life).is_some() => rest,
        _ => line,
    }
}

/// The lives of all tables whose changes are tracked, as far as our user may see them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lives(Vec<Life>);

impl Lives {
    /// Reads them. What passes, as a lock that somebody else holds, says nothing about what our user may see.
    pub(crate) async fn read(session: &mut Session) -> Result<Known<Self>, Failed> {
        let doing = "read when the tracking of tables began";
        // 209: of change tracking.
        let sql = "SELECT ctt.object_id, ctt.begin_version, it.object_id AS kept_in FROM \
             sys.change_tracking_tables AS ctt LEFT JOIN sys.internal_tables AS it ON it.parent_id = \
             ctt.object_id AND it.internal_type = 209";
        let rows = match session.rows(doing, sql, &[]).await {
            Ok(rows) => rows,
            Err(failed) if failed.is(NO_RIGHT) || failed.is(NO_OBJECT) => {
                return Ok(Known::Unknown(failed.error.to_string()));
            }
            Err(failed) => return Err(failed),
        };
        let mut lives = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(began) = row.int(doing, 1).map_err(Failed::ours)? {
                let object = row.int_there(doing, 0).map_err(Failed::ours)?;
                let kept_in = row.int(doing, 2).map_err(Failed::ours)?;
                lives.push(Life {
                    object,
                    began,
                    kept_in: kept_in.unwrap_or(0),
                });
            }
        }
        Ok(Known::Is(Self(lives)))
    }

    pub(crate) fn of(&self, object: i64) -> Option<Life> {
        let lives = self.0.iter().filter(|life| life.object == object);
        // Were there two, it must always be the same.
        lives.max_by_key(|life| life.kept_in).copied()
    }
}

/// What happened to a table that is in another life.
pub(crate) fn reborn(table: &TableName) -> String {
    format!(
        "table {table} was emptied (TRUNCATE), made again, or its tracking was turned off and on: what \
         happened to its rows meanwhile is not told"
    )
}

/// The stream must begin anew: what it says of itself names the life that it began in.
pub(crate) fn anew(table: &TableName) -> SourceError {
    broken(
        &format!("read the tracked changes of {table}"),
        format!(
            "{}; the stream begins anew, and the table is read again",
            reborn(table)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_table_is_found_again_and_can_be_left_out() {
        let life = Life {
            object: 581,
            began: 7,
            kept_in: 99,
        };
        let table = TableName::new("dbo", "a life=1.2.3");
        let line = format!("{:?} tracking{life}", table.to_string());
        let server = format!("SQL Server\n{line}\n\"dbo.b\" tracking");
        assert_eq!(Life::before(&server, &table), Some(life));
        let of = |kept_in| Life { kept_in, ..life };
        assert!(of(0) == life && life == of(0) && of(98) != life);
        assert_eq!(Life::before(&server, &TableName::new("dbo", "b")), None);
        assert_eq!(Life::before(&server, &TableName::new("dbo", "c")), None);
        assert_eq!(without_life(&line), "\"dbo.a life=1.2.3\" tracking");
        for whole in ["\"dbo.a life=1.2.3\" cdc", "\"dbo.b\" tracking"] {
            assert_eq!(without_life(whole), whole);
        }
    }
}
