//! What our user may do.

use contract::{SourceError, TableName};

use crate::session::{Parameter, Session};
use crate::sql;

/// What our user may do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableRights {
    /// There is such a table, as far as our user may know.
    pub(crate) exists: bool,
    pub(crate) select: bool,
    pub(crate) tracking: bool,
}

/// What our user may do in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnRights {
    /// The name that the database has for us.
    pub(crate) user: String,
    /// `SELECT` on the schema of change data capture.
    pub(crate) cdc: bool,
}

pub(crate) async fn table_rights(
    session: &mut Session,
    table: &TableName,
) -> Result<TableRights, SourceError> {
    let doing = format!("read our rights on {table}");
    let sql = "SELECT HAS_PERMS_BY_NAME(@P1, 'OBJECT', 'VIEW CHANGE TRACKING'), HAS_PERMS_BY_NAME(@P1, \
         'OBJECT', 'SELECT'), OBJECT_ID(@P1)";
    let named = [Parameter::Text(sql::table(table))];
    let row = session.one(&doing, sql, &named).await?;
    Ok(TableRights {
        exists: row.int(&doing, 2)?.is_some(),
        select: row.flag(&doing, 1)?,
        tracking: row.flag(&doing, 0)?,
    })
}

pub(crate) async fn own_rights(session: &mut Session) -> Result<OwnRights, SourceError> {
    let doing = "read our rights";
    let sql = "SELECT USER_NAME(), HAS_PERMS_BY_NAME('cdc', 'SCHEMA', 'SELECT')";
    let row = session.one(doing, sql, &[]).await?;
    Ok(OwnRights {
        user: row.text_there(doing, 0)?,
        cdc: row.flag(doing, 1)?,
    })
}

/// Whether we are a member of a role, or `user` is where it is another.
pub(crate) async fn is_member(
    session: &mut Session,
    role: &str,
    user: Option<&str>,
) -> Result<bool, SourceError> {
    let doing = "read who is a member of a role";
    let mut named = vec![Parameter::Text(role.to_owned())];
    let sql = match user {
        None => "SELECT IS_MEMBER(@P1)",
        Some(user) => {
            named.push(Parameter::Text(user.to_owned()));
            "SELECT IS_ROLEMEMBER(@P1, @P2)"
        }
    };
    let row = session.one(doing, sql, &named).await?;
    row.flag(doing, 0)
}

/// The name that the database has for us.
pub(crate) async fn user(session: &mut Session) -> Result<String, SourceError> {
    let doing = "read the user's name";
    let row = session
        .one(doing, "SELECT USER_NAME(), SUSER_SNAME()", &[])
        .await?;
    row.text_there(doing, 0)
}
