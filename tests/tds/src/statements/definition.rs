//! Statements that set a database up: tables, tracking, users and rights.

use super::ast::{Alter, AlterDatabase, ColumnDef, On, Path, Statement};
use super::bind::Result;
use super::connection::Connection;
use super::types::collation;
use crate::model::{Column, State, User, same_name};
use crate::wire::ServerError;

impl Connection {
    pub(super) fn define(&mut self, statement: &Statement) -> Result<()> {
        let owner = self.read(|cx| Ok((cx.user.is_owner(), cx.user.sysadmin)))?;
        let server = matches!(
            statement,
            Statement::CreateUser { login: true, .. } | Statement::DropUser { login: true, .. }
        );
        if !owner.0 || (server && !owner.1) {
            return Err(ServerError::new(
                15_247,
                16,
                "User does not have permission to perform this action.",
            ));
        }
        self.database.with(|state| run(state, statement))
    }
}

fn find(state: &State, path: &Path) -> Result<i32> {
    let (schema, name) = split(path);
    state.table(schema, name).map(|table| table.id).ok_or_else(|| {
        let text = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", path.join("."));
        ServerError::new(1088, 16, text)
    })
}

fn split(path: &Path) -> (&str, &str) {
    match path.as_slice() {
        [.., schema, name] => (schema, name),
        [name] => ("dbo", name),
        [] => ("dbo", ""),
    }
}

fn column(of: &ColumnDef) -> Result<Column> {
    let mut column = Column::new(&of.name, of.kind.clone());
    column.nullable = of.nullable;
    column.rowversion = of.rowversion;
    column.identity = of.identity;
    column.computed.clone_from(&of.computed);
    if let Some(name) = &of.collation {
        column.collation = Some((name.clone(), collation(name)?));
    }
    Ok(column)
}

fn run(state: &mut State, statement: &Statement) -> Result<()> {
    match statement {
        Statement::CreateSchema(name) => state.create_schema(name),
        Statement::CreateRole(name) => {
            state.roles.insert(name.to_lowercase());
            Ok(())
        }
        Statement::CreateTable {
            table,
            columns,
            key,
            unique,
        } => {
            let (schema, name) = split(table);
            let columns = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
            let id = state.create_table(schema, name, columns, key)?;
            for (at, columns) in unique.iter().enumerate() {
                state.add_index(id, &format!("UQ_{name}_{at}"), columns, true)?;
            }
            Ok(())
        }
        Statement::CreateIndex {
            table,
            name,
            columns,
            unique,
        } => {
            let id = find(state, table)?;
            state.add_index(id, name, columns, *unique)
        }
        Statement::DropTable(path) => {
            let id = find(state, path)?;
            state.drop_table(id)
        }
        Statement::Truncate(path) => {
            let id = find(state, path)?;
            state.truncate(id)
        }
        Statement::AlterTable(path, alter) => {
            let id = find(state, path)?;
            match alter {
                Alter::Add(columns) => columns
                    .iter()
                    .try_for_each(|of| state.add_column(id, column(of)?)),
                Alter::Drop(name) => state.drop_column(id, name),
                Alter::Column(of) => state.alter_column(id, &of.name, &of.kind, of.nullable),
                Alter::Track(columns) => state.track_table(id, *columns),
                Alter::Untrack => state.untrack_table(id),
            }
        }
        Statement::AlterDatabase(name, alter) => {
            if let Some(name) = name
                && !same_name(name, &state.name)
            {
                let text = format!(
                    "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
                );
                return Err(ServerError::new(5011, 14, text));
            }
            match alter {
                AlterDatabase::Snapshot(on) => state.snapshot_allowed = *on,
                AlterDatabase::CommittedSnapshot(on) => state.committed_snapshot = *on,
                AlterDatabase::Track(retention, cleanup) => {
                    state.track_database(*retention, *cleanup)
                }
                AlterDatabase::Untrack => state.untrack_database()?,
            }
            Ok(())
        }
        Statement::CreateUser {
            name,
            login,
            password,
        } => {
            let exists = state.user(name).is_some_and(|user| *login || user.here);
            if exists {
                let text = format!("The server principal '{name}' already exists.");
                return Err(ServerError::new(
                    if *login { 15_025 } else { 15_023 },
                    16,
                    text,
                ));
            }
            if let Some(user) = state
                .users
                .iter_mut()
                .find(|user| same_name(&user.name, name))
            {
                user.here = true;
            } else {
                let mut user = User::new(name, password.as_deref().unwrap_or(""));
                user.here = !login;
                state.users.push(user);
            }
            Ok(())
        }
        Statement::DropUser { name, login } => {
            if *login {
                state.users.retain(|user| !same_name(&user.name, name));
            } else if let Some(user) = state
                .users
                .iter_mut()
                .find(|user| same_name(&user.name, name))
            {
                let (name, password) = (user.name.clone(), user.password.clone());
                *user = User::new(&name, &password);
                user.here = false;
            }
            Ok(())
        }
        Statement::Member { role, user, add } => {
            let user = principal(state, user)?;
            if *add {
                user.roles.insert(role.to_lowercase());
            } else {
                user.roles.remove(&role.to_lowercase());
            }
            Ok(())
        }
        Statement::Grant {
            grant,
            permissions,
            on,
            to,
        } => to.iter().try_for_each(|to| {
            permissions
                .iter()
                .try_for_each(|p| give(state, *grant, p, on, to))
        }),
        _ => Err(ServerError::syntax("")),
    }
}

fn principal<'a>(state: &'a mut State, name: &str) -> Result<&'a mut User> {
    state.users.iter_mut().find(|user| same_name(&user.name, name)).ok_or_else(|| {
        let text = format!("Cannot find the user '{name}', because it does not exist or you do not have permission.");
        ServerError::new(15_151, 16, text)
    })
}

fn give(state: &mut State, grant: bool, permission: &str, on: &On, to: &str) -> Result<()> {
    let unknown = || ServerError::new(102, 15, format!("Incorrect syntax near '{permission}'."));
    match on {
        On::Whole => {
            let user = principal(state, to)?;
            match permission {
                "VIEW SERVER STATE" | "VIEW SERVER PERFORMANCE STATE" => user.server_state = grant,
                "VIEW DATABASE STATE" | "VIEW DATABASE PERFORMANCE STATE" => {
                    user.database_state = grant
                }
                "VIEW DEFINITION" | "VIEW ANY DEFINITION" => user.definition = grant,
                "SELECT" if grant => {
                    user.roles.insert("db_datareader".to_owned());
                }
                "SELECT" => {
                    user.roles.remove("db_datareader");
                }
                "CONNECT" => {}
                _ => return Err(unknown()),
            }
        }
        On::Schema(name) => {
            let user = principal(state, to)?;
            let of = user.schemas.entry(name.to_lowercase()).or_default();
            match permission {
                "SELECT" => of.select = grant,
                "VIEW CHANGE TRACKING" => of.tracking = grant,
                _ => return Err(unknown()),
            }
        }
        On::Object(path) => {
            if path.last().is_some_and(|name| same_name(name, "cdc_jobs")) {
                let user = principal(state, to)?;
                if grant {
                    user.objects.insert("cdc_jobs".to_owned());
                } else {
                    user.objects.remove("cdc_jobs");
                }
                return Ok(());
            }
            let (schema, _) = split(path);
            if same_name(schema, "sys") || same_name(schema, "cdc") {
                // What the server lets everybody do, or what the whole schema is granted for.
                return principal(state, to).map(drop);
            }
            let id = find(state, path)?;
            let user = principal(state, to)?;
            let of = user.tables.entry(id).or_default();
            match permission {
                "SELECT" => of.select = grant,
                "VIEW CHANGE TRACKING" => of.tracking = grant,
                _ => return Err(unknown()),
            }
        }
    }
    Ok(())
}
