//! An instance of the scripted server with databases that come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::certificates::Certificates;
use tds_server::model::{Backup, Database};
use tds_server::wire::{
    Answer, Handler, Login, Options, Parameter, Server, ServerError, Session, Transaction,
};

use crate::admin::Address;
use crate::capture::scenario_01_one_transaction_over_three_tables;
use crate::common::encrypted;
use crate::site::Site;

/// The instance, for its test.
#[derive(Clone, Default)]
pub struct Instance(Arc<Mutex<Databases>>);

#[derive(Default)]
struct Databases {
    all: BTreeMap<String, Database>,
    backups: BTreeMap<String, Backup>,
}

/// Starts one, whose administrator is `sa`.
pub fn start(options: Options) -> (Server, Instance, Address) {
    let instance = Instance::default();
    let server = Server::start(options, instance.clone()).unwrap();
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port: server.address().port(),
        user: "sa".to_owned(),
        password: "Secret-1".to_owned(),
        tls: "disable",
    };
    (server, instance, address)
}

/// The way to a real server, walked to one that encrypts as a real one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_by_its_url() {
    let certificates = Certificates::new();
    let (server, _, to) = start(encrypted(&certificates, "server"));
    let url = format!(
        "server=tcp:{},{};user={};password={};TrustServerCertificate=true",
        to.host, to.port, to.user, to.password
    );
    scenario_01_one_transaction_over_three_tables(Site::at(&url).await).await;
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

impl Instance {
    /// Lets time go by.
    pub fn pass(&self, time: Duration) {
        for database in self.0.lock().unwrap().all.values() {
            database.pass(time);
        }
    }
}

impl Handler for Instance {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        if login.database != "master" {
            let found = self.0.lock().unwrap().all.get(&login.database).cloned();
            let error = || {
                ServerError::new(
                    4060,
                    11,
                    format!("Cannot open database {}.", login.database),
                )
            };
            return found.ok_or_else(error)?.login(login);
        }
        if login.user == "sa" && login.password == "Secret-1" {
            return Ok(Box::new(Master(self.clone())));
        }
        Err(ServerError::login_failed(&login.user))
    }
}

/// A session in `master`, which knows what is done with whole databases.
struct Master(Instance);

impl Master {
    fn run(&self, sql: &str) -> Option<()> {
        let mut databases = self.0.0.lock().unwrap();
        let (what, rest) = sql.split_once(" [")?;
        let (name, how) = rest.split_once(']')?;
        let file = || how.split('\'').nth(1).map(str::to_owned);
        match (what, how) {
            ("CREATE DATABASE", "") => {
                databases.all.insert(name.to_owned(), Database::new(name));
            }
            ("DROP DATABASE", "") => drop(databases.all.remove(name)?),
            ("ALTER DATABASE", " SET SINGLE_USER WITH ROLLBACK IMMEDIATE" | " SET MULTI_USER") => {
                databases.all.get(name)?;
            }
            ("BACKUP DATABASE", _) if how.ends_with("' WITH INIT, COPY_ONLY") => {
                let backup = databases.all.get(name)?.backup();
                databases.backups.insert(file()?, backup);
            }
            ("RESTORE DATABASE", _) if how.ends_with("' WITH REPLACE") => {
                let backup = databases.backups.get(&file()?)?;
                databases.all.get(name)?.restore(backup);
            }
            // The logins of this instance are those of its databases.
            ("DROP LOGIN", "") => {}
            _ => return None,
        }
        Some(())
    }
}

impl Session for Master {
    fn batch(&mut self, sql: &str, _: &[Parameter]) -> Answer {
        if sql.starts_with("SET ") || self.run(sql).is_some() {
            return Answer::empty();
        }
        Answer::error(ServerError::syntax(sql))
    }

    fn transaction(&mut self, _: &Transaction) -> Result<(), ServerError> {
        Err(ServerError::syntax("a transaction"))
    }
}
