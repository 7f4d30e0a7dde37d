//! Rights that somebody denied the agent's user, or a role that it is in: no `GRANT` helps against a `DENY`.

use contract::{CapturedTable, SourceError, TableName};

use crate::catalogue::Table;
use crate::probe::{self, Known};
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::sql::{self, name};

const DENIED: &str = "SELECT p.class, p.major_id, p.permission_name, dp.name, s.name AS of_schema, c.name AS \
     of_column FROM sys.database_permissions AS p JOIN sys.database_principals AS dp ON dp.principal_id = \
     p.grantee_principal_id LEFT JOIN sys.schemas AS s ON s.schema_id = p.major_id LEFT JOIN sys.columns AS c ON \
     c.object_id = p.major_id AND c.column_id = p.minor_id WHERE p.state = 'D' AND (dp.name = @P1 OR dp.name = \
     N'public' OR IS_ROLEMEMBER(dp.name, @P1) = 1)";
const READS_NOTHING: &str = "SELECT IS_ROLEMEMBER('db_denydatareader', @P1)";

/// What a right is denied on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum On {
    Database,
    Schema(String),
    /// A table, by its number.
    Table(i64),
    Column(i64, String),
    /// Every table, by a role that is there for that.
    Every,
}

/// A right that is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denied {
    on: On,
    right: String,
    /// Whom.
    to: String,
}

/// A denial, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) found: String,
    /// It is about one column: the rest may be read.
    pub(crate) of_column: bool,
    /// What takes it back, and what would put it there again.
    pub(crate) fix: String,
}

/// What is denied, as far as our user may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    all: Vec<Denied>,
}

impl Denials {
    /// What is denied a user of the database, by itself or by a role.
    pub(crate) async fn read(session: &mut Session, user: &str) -> Result<Self, SourceError> {
        let doing = "read which rights are denied";
        let mut denials = Self::default();
        // Nothing is ever denied the owner.
        if user == "dbo" {
            return Ok(denials);
        }
        let named = [Parameter::Text(user.to_owned())];
        let reads_nothing = probe::row(session, doing, READS_NOTHING, &named).await?;
        if let Known::Is(Some(row)) = reads_nothing
            && row.flag(doing, 0)?
        {
            denials.all.push(Denied {
                on: On::Every,
                right: "SELECT".to_owned(),
                to: user.to_owned(),
            });
        }
        // Whoever may not know them is not worse off than without this question.
        let rows = Known::of(probe::rows(session, doing, DENIED, &named).await)?;
        for row in rows.known().into_iter().flatten() {
            denials.all.extend(denied(row, doing)?);
        }
        Ok(denials)
    }

    /// What keeps a right from a table.
    pub(crate) fn on_table(
        &self,
        table: &Table,
        captured: &CapturedTable,
        right: &str,
    ) -> Vec<Denial> {
        let reads = |column: &String| {
            captured.columns.contains(column)
                || captured.key.contains(column)
                || captured.columns.is_empty()
        };
        let of_table = |on: &On| match on {
            On::Every => right == "SELECT",
            On::Database => true,
            On::Schema(schema) => *schema == table.name.schema,
            On::Table(id) => *id == table.object_id,
            On::Column(id, column) => *id == table.object_id && reads(column),
        };
        self.found(right, of_table, &table.name)
    }

    /// What keeps `SELECT` from a schema.
    pub(crate) fn on_schema(&self, schema: &str) -> Vec<Denial> {
        let of_schema = |on: &On| match on {
            On::Every | On::Database => true,
            On::Schema(one) => one == schema,
            On::Table(_) | On::Column(..) => false,
        };
        self.found("SELECT", of_schema, &TableName::new(schema, ""))
    }

    fn found(&self, right: &str, on: impl Fn(&On) -> bool, table: &TableName) -> Vec<Denial> {
        let keeps = |one: &&Denied| (one.right == right || one.right == "CONTROL") && on(&one.on);
        let found = self.all.iter().filter(keeps);
        found.map(|one| one.shown(table)).collect()
    }
}

impl Denied {
    fn shown(&self, table: &TableName) -> Denial {
        let to = name(&self.to);
        let on = match &self.on {
            On::Every => {
                return Denial {
                    of_column: false,
                    found: "the agent's user is in db_denydatareader, which may read no table"
                        .to_owned(),
                    fix: format!(
                        "ALTER ROLE db_denydatareader DROP MEMBER {to}; undo: ALTER ROLE db_denydatareader ADD \
                         MEMBER {to}"
                    ),
                };
            }
            On::Database => String::new(),
            On::Schema(schema) => format!(" ON SCHEMA::{}", name(schema)),
            On::Table(_) => format!(" ON {}", sql::table(table)),
            On::Column(_, column) => format!(" ON {}({})", sql::table(table), name(column)),
        };
        let right = &self.right;
        Denial {
            of_column: matches!(self.on, On::Column(..)),
            found: format!(
                "{right}{} is denied to {to}",
                on.replacen(" ON ", " on ", 1)
            ),
            fix: format!(
                "REVOKE {right}{on} FROM {to}: no GRANT helps against a DENY; undo: DENY {right}{on} TO {to}"
            ),
        }
    }
}

/// A row of the answer; nothing where it is on something else.
fn denied(row: &Row, doing: &str) -> Result<Option<Denied>, SourceError> {
    let on = match row.int_there(doing, 0)? {
        0 => Some(On::Database),
        1 => Some(match row.text(doing, 5)? {
            Some(column) => On::Column(row.int_there(doing, 1)?, column),
            None => On::Table(row.int_there(doing, 1)?),
        }),
        3 => row.text(doing, 4)?.map(On::Schema),
        _ => None,
    };
    let Some(on) = on else {
        return Ok(None);
    };
    Ok(Some(Denied {
        on,
        right: row.text_there(doing, 2)?,
        to: row.text_there(doing, 3)?,
    }))
}
