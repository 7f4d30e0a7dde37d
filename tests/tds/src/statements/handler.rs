//! The database behind the wire.

use super::connection::Connection;
use crate::model::{Database, same_name};
use crate::wire::{Answer, Handler, Login, Parameter, ServerError, Session, Transaction};

impl Handler for Database {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        self.with_state(|state| {
            let user = state
                .user(&login.user)
                .filter(|user| user.password == login.password);
            let user = user.ok_or_else(|| ServerError::login_failed(&login.user))?;
            let here = login.database.is_empty() || same_name(&login.database, &state.name);
            if !here || !(user.here || user.sysadmin) {
                return Err(ServerError::new(
                    4060,
                    11,
                    format!(
                        "Cannot open database \"{}\" requested by the login. The login failed.",
                        login.database
                    ),
                ));
            }
            Ok(())
        })?;
        let mut connection = Connection::new(self.clone(), &login.user);
        connection.program.clone_from(&login.program);
        Ok(Box::new(connection))
    }
}

impl Session for Connection {
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer {
        Answer::new(self.execute(sql, parameters))
    }

    fn transaction(&mut self, request: &Transaction) -> Result<(), ServerError> {
        match request {
            Transaction::Begin { isolation, .. } => {
                if let Some(isolation) = isolation {
                    self.isolate(*isolation)?;
                }
                self.begin()
            }
            Transaction::Commit => self.commit(),
            Transaction::Rollback { .. } => {
                if !self.has_transaction() {
                    let text =
                        "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.";
                    return Err(ServerError::new(3903, 16, text));
                }
                self.roll_back();
                Ok(())
            }
            Transaction::Save { .. } => Err(ServerError::syntax("SAVE")),
        }
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}
