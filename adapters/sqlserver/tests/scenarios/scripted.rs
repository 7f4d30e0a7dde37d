//! An instance of the scripted server with databases that come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::certificates::Certificates;
use tds_server::model::{Backup, Database, KeyChange};
use tds_server::wire::{
    Answer, Handler, Login, Options, Parameter, Server, ServerError, Session, Transaction,
};

use crate::admin::Address;
use crate::capture::scenario_01_one_transaction_over_three_tables;
use crate::common::encrypted;
use crate::common::world::ops;
use crate::site::Site;
use crate::unknown::unknown_03_the_order_of_every_form_of_an_update;

/// The instance, for its test.
#[derive(Clone, Default)]
pub struct Instance(Arc<Mutex<Databases>>);

#[derive(Default)]
struct Databases {
    all: BTreeMap<String, Database>,
    /// How its databases capture an update of a key, where not as they do by themselves.
    key_change: Option<KeyChange>,
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

/// One statement gives rows the keys that other rows of it had, captured in every way that is thinkable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_take_the_keys_of_each_other_are_all_told() {
    for key_change in [KeyChange::Pair, KeyChange::Deferred, KeyChange::RowByRow] {
        let (server, instance, address) = start(Options::default());
        instance.0.lock().unwrap().key_change = Some(key_change);
        let site = Site::new(address, Some((server, instance))).await;
        unknown_03_the_order_of_every_form_of_an_update(site).await;
    }
}

/// Where the order leaves it open which rows are left, the table is compared after they are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_took_the_keys_of_each_other_are_compared() {
    let (server, instance, address) = start(Options::default());
    instance.0.lock().unwrap().key_change = Some(KeyChange::RowByRow);
    let mut site = Site::new(address, Some((server, instance))).await;
    site.table("t", "id int NOT NULL PRIMARY KEY").await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id) VALUES (1), (2)").await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.untold, []);
    site.run("UPDATE dbo.t SET id = id + 1").await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.rows().of("t"), site.truth("t", &["id"]).await);
    let said: Vec<&str> = reader.untold.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("keys that other rows of it had"),
        "{said:?}"
    );
}

/// The functions tell no commands. What they leave open is named with the batch that told it: whoever is killed
/// behind that batch and before the end of its cycle goes on behind it, and never sees it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_functions_leave_open_are_compared_though_the_agent_is_killed_in_between() {
    let (server, instance, address) = start(Options::default());
    instance.0.lock().unwrap().key_change = Some(KeyChange::RowByRow);
    let mut site = Site::new(address, Some((server, instance))).await;
    site.table("t", "id int NOT NULL PRIMARY KEY").await;
    let columns = "id int NOT NULL PRIMARY KEY, note nvarchar(max) NULL";
    site.table("wide", columns).await;
    site.mode("cdc-function");
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id) VALUES (1), (2)").await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.untold, []);
    site.run("UPDATE dbo.t SET id = id + 1").await;
    // More than one batch takes.
    let note = "x".repeat(700_000);
    for id in 1..=3 {
        site.run(&format!(
            "INSERT INTO dbo.wide (id, note) VALUES ({id}, N'{note}')"
        ))
        .await;
    }
    site.captured().await;
    let told = reader.batch().await.unwrap();
    assert!(ops(&told).contains(&"delete t 2".to_owned()), "{told:?}");
    assert!(ops(&told).len() < 7, "the cycle goes on behind this batch");
    let lost = reader.rows().of("t") != site.truth("t", &["id"]).await;
    assert!(lost, "without a comparison a row would be missing");
    reader.start_anew(site.source());
    reader.catch_up().await.unwrap();
    let names = ["id", "note"];
    assert_eq!(reader.rows().of("wide"), site.truth("wide", &names).await);
    let said = reader.said("t");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("which of the two came last"), "{said:?}");
    assert!(reader.said("wide").is_empty(), "{:?}", reader.said("wide"));
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
                let database = Database::new(name);
                if let Some(key_change) = databases.key_change {
                    database.options(|options| options.key_change = key_change);
                }
                databases.all.insert(name.to_owned(), database);
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
