//! Who may do what.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
use super::table::Table;
use crate::wire::ServerError;

/// What a user may do with a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnTable {
    pub(crate) select: bool,
    pub(crate) tracking: bool,
}

/// A login and its user in the database.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    /// Whether it is a user of the database, not only a login.
    pub(crate) here: bool,
    pub(crate) sysadmin: bool,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) server_state: bool,
    pub(crate) database_state: bool,
    pub(crate) definition: bool,
    /// Schemas with SELECT, and those with VIEW CHANGE TRACKING.
    pub(crate) schemas: BTreeMap<String, OnTable>,
    pub(crate) tables: BTreeMap<i32, OnTable>,
    /// SELECT on objects that are no tables of users, such as `msdb.dbo.cdc_jobs`.
    pub(crate) objects: BTreeSet<String>,
}

impl User {
    /// A user that may connect and nothing else.
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            here: true,
            sysadmin: false,
            roles: BTreeSet::new(),
            server_state: false,
            database_state: false,
            definition: false,
            schemas: BTreeMap::new(),
            tables: BTreeMap::new(),
            objects: BTreeSet::new(),
        }
    }

    /// A user that may do everything.
    pub fn sysadmin(name: &str, password: &str) -> Self {
        Self {
            sysadmin: true,
            ..Self::new(name, password)
        }
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.sysadmin || self.roles.contains("db_owner")
    }

    pub(crate) fn is_member(&self, role: &str) -> bool {
        let role = role.to_lowercase();
        role == "public" || (self.sysadmin && role == "db_owner") || self.roles.contains(&role)
    }

    fn reads_all(&self) -> bool {
        self.is_owner() || self.roles.contains("db_datareader")
    }

    pub(crate) fn selects(&self, table: &Table) -> bool {
        self.reads_all()
            || self
                .schemas
                .get(&table.schema.to_lowercase())
                .is_some_and(|on| on.select)
            || self.tables.get(&table.id).is_some_and(|on| on.select)
    }

    pub(crate) fn views_tracking(&self, table: &Table) -> bool {
        self.is_owner()
            || self
                .schemas
                .get(&table.schema.to_lowercase())
                .is_some_and(|on| on.tracking)
            || self.tables.get(&table.id).is_some_and(|on| on.tracking)
    }

    pub(crate) fn selects_cdc(&self) -> bool {
        self.reads_all() || self.schemas.get("cdc").is_some_and(|on| on.select)
    }

    pub(crate) fn views_server_state(&self) -> bool {
        self.sysadmin || self.server_state
    }

    /// Whether the catalogue shows it a table.
    pub(crate) fn sees(&self, table: &Table) -> bool {
        self.definition || self.selects(table) || self.views_tracking(table)
    }
}

pub(crate) fn denied(permission: &str, object: &str, database: &str, schema: &str) -> ServerError {
    let mut error = ServerError::new(
        229,
        14,
        format!(
            "The {permission} permission was denied on the object '{object}', database '{database}', \
             schema '{schema}'."
        ),
    );
    error.state = 5;
    error
}

impl State {
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| super::same_name(&user.name, name))
    }

    /// Whether a user may read an instance: SELECT on every captured column and the gating role, or owner.
    pub(crate) fn reads_instance(&self, user: &User, name: &str) -> bool {
        let Some(instance) = self.instance(name) else {
            return false;
        };
        if user.is_owner() {
            return true;
        }
        let table = self.tables.get(&instance.source);
        table.is_some_and(|table| user.selects(table))
            && instance
                .role
                .as_ref()
                .is_none_or(|role| user.is_member(role))
    }
}
