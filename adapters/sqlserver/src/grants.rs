//! What the agent's user may do in the database, and what of it was granted to it by name.

use contract::SourceError;

use crate::errors::denied;
use crate::probe::{self, Engine};
use crate::session::{Parameter, Session};
use crate::sql;

/// The database's classes of what a right is on.
const OBJECT: i64 = 1;
const SCHEMA: i64 = 3;

/// Who the agent is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The database knows it by this name.
    User(String),
    /// The server knows its login, the database does not.
    Login(String),
    /// Nobody knows it.
    Nobody(String),
}

impl Agent {
    /// Who we are ourselves.
    pub(crate) async fn own(session: &mut Session) -> Result<Self, SourceError> {
        Ok(Self::User(probe::user(session).await?))
    }

    /// Who the login of the settings is.
    pub(crate) async fn of_login(session: &mut Session, login: &str) -> Result<Self, SourceError> {
        let doing = "find the agent's user";
        let named = [Parameter::Text(login.to_owned())];
        if Engine::read(session).await?.is_azure() {
            // There it answers everybody with who they are themselves, whatever login is asked for; and which
            // logins there are stands in another database.
            let sql = "SELECT dp.name FROM sys.database_principals AS dp WHERE dp.name = @P1";
            return Ok(match session.row(doing, sql, &named).await? {
                Some(row) => Self::User(row.text_there(doing, 0)?),
                None => Self::Login(login.to_owned()),
            });
        }
        // A user of a contained database has no login.
        let sql = "SELECT dp.name FROM sys.database_principals AS dp WHERE dp.sid = SUSER_SID(@P1) OR dp.name \
             = @P1";
        if let Some(row) = session.row(doing, sql, &named).await? {
            return Ok(Self::User(row.text_there(doing, 0)?));
        }
        let row = session.one(doing, "SELECT SUSER_SID(@P1)", &named).await?;
        Ok(match row.bytes(doing, 0)? {
            Some(_) => Self::Login(login.to_owned()),
            None => Self::Nobody(login.to_owned()),
        })
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Login(name) | Self::Nobody(name) => name,
        }
    }
}

/// Rights of the agent's user, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// May do everything in the database.
    owner: bool,
    /// May read every table.
    reader: bool,
    /// What was granted to it by name: a class, the number of what it is on, and the right.
    all: Vec<(i64, i64, String)>,
}

impl Grants {
    pub(crate) async fn read(session: &mut Session, agent: &Agent) -> Result<Self, SourceError> {
        let Agent::User(user) = agent else {
            return Ok(Self::default());
        };
        let doing = "read the agent's rights";
        let named = [Parameter::Text(user.clone())];
        let sql = "SELECT IS_ROLEMEMBER('db_owner', @P1), IS_ROLEMEMBER('db_datareader', @P1)";
        let row = session.one(doing, sql, &named).await?;
        let mut grants = Self {
            owner: row.flag(doing, 0)? || user == "dbo",
            reader: row.flag(doing, 1)?,
            all: Vec::new(),
        };
        let sql = "SELECT p.class, p.major_id, p.permission_name FROM sys.database_permissions AS p WHERE \
             p.grantee_principal_id = USER_ID(@P1) AND (p.state = 'G' OR p.state = 'W') AND p.minor_id = 0";
        for row in session.rows(doing, sql, &named).await? {
            grants.all.push((
                row.int_there(doing, 0)?,
                row.int_there(doing, 1)?,
                row.text_there(doing, 2)?,
            ));
        }
        Ok(grants)
    }

    /// Whether a right on a table was granted by name.
    pub(crate) fn on_table(&self, object_id: i64, right: &str) -> bool {
        self.names(OBJECT, object_id, right)
    }

    /// Whether `SELECT` on a schema was granted by name.
    pub(crate) fn on_schema(&self, schema_id: i64) -> bool {
        self.names(SCHEMA, schema_id, "SELECT")
    }

    /// Whether it may read every table.
    pub(crate) fn reads_all(&self) -> bool {
        self.owner || self.reader
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.owner
    }

    fn names(&self, class: i64, on: i64, right: &str) -> bool {
        let mut here = self.all.iter();
        here.any(|(of, id, granted)| *of == class && *id == on && granted == right)
    }
}

/// The number of a schema, which is there once change data capture is on.
pub(crate) async fn schema_id(
    session: &mut Session,
    schema: &str,
) -> Result<Option<i64>, SourceError> {
    let doing = "find a schema";
    let named = [Parameter::Text(schema.to_owned())];
    let row = session.one(doing, "SELECT SCHEMA_ID(@P1)", &named).await?;
    row.int(doing, 0)
}

/// What a user may be, who the settings do not name.
pub(crate) fn unnamed() -> SourceError {
    denied(
        "prepare: the settings do not name the agent's user, which is the one of a token or of Windows".to_owned(),
        "lighterman source prepare, without --user and as the agent's own user",
    )
}

/// A grant, and its undo.
pub(crate) fn grant(right: &str, on: &str, user: &str) -> (String, String) {
    let user = sql::name(user);
    (
        format!("GRANT {right} ON {on} TO {user}"),
        format!("REVOKE {right} ON {on} FROM {user}"),
    )
}
