//! A script that lets clients in and keeps what they said.

use std::sync::{Arc, Mutex};

use tds_server::wire::{
    Answer, Handler, Login, Options, Parameter, Server, ServerError, Session, Transaction,
};

/// Lets everyone in whose integrated login is answered rightly, and keeps what was said.
#[derive(Clone, Default)]
pub struct Door {
    pub logins: Arc<Mutex<Vec<Login>>>,
    pub seen: Arc<Mutex<Vec<Parameter>>>,
    pub resets: Arc<Mutex<usize>>,
}

impl Handler for Door {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        self.logins.lock().unwrap().push(login.clone());
        match (&login.sspi, &login.sspi_reply) {
            (None, _) => Ok(Box::new(self.clone())),
            (Some(_), Some(reply)) if reply == b"right" => Ok(Box::new(self.clone())),
            _ => Err(ServerError::new(
                18452,
                14,
                "Login failed. The login is from an untrusted domain.",
            )),
        }
    }

    fn challenge(&self, _: &Login, sspi: &[u8]) -> Option<Vec<u8>> {
        (sspi == b"negotiate").then(|| b"challenge".to_vec())
    }
}

impl Session for Door {
    fn batch(&mut self, _: &str, parameters: &[Parameter]) -> Answer {
        self.seen.lock().unwrap().extend_from_slice(parameters);
        Answer::count(1)
    }

    fn transaction(&mut self, _: &Transaction) -> Result<(), ServerError> {
        Ok(())
    }

    fn reset(&mut self) {
        *self.resets.lock().unwrap() += 1;
    }
}

pub fn door(options: Options) -> (Server, Door) {
    let door = Door::default();
    (Server::start(options, door.clone()).unwrap(), door)
}
