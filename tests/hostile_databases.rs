//! The same rows that somebody typed to do harm, from servers: by what is read of a table, and by the log.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;

use harness::agent::{Agent, command};
use harness::mariadb::MariadbServer;
use harness::postgres::PostgresServer;
use harness::receiver::{Faults, Receiver};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::hostile::{HOSTILE, MAPPING, PRODUCT, key};
use crate::metrics::SOON;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

fn settle(folder: &Path, source: &str, mapping: &str, receiver: &Receiver) -> Agent {
    let settings = format!(
        "[[source]]\nname = \"erp\"\n{source}\nmappings = [\"mapping.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_first_ms = 20\n",
        receiver.url()
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.join("mapping.yaml"), mapping).unwrap();
    let (code, shown) = command(BINARY, folder, &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    Agent::start(BINARY, folder)
}

/// Waits for all of them, and looks at each.
async fn all_came(receiver: &Receiver, agent: &Agent, texts: &[&str]) {
    let came = receiver.wait(SOON, |held| {
        let there = |text: &&str| held.body(PRODUCT, &key(text)).is_some();
        texts.iter().all(there)
    });
    let came = came.await;
    let held = receiver.held();
    for text in texts {
        let body = held.body(PRODUCT, &key(text));
        let body = body.unwrap_or_else(|| panic!("{text:?} is not there\n{}", agent.log()));
        assert_eq!(body["name"], Value::from(*text), "{body}");
    }
    assert!(came && held.violations.is_empty(), "{:?}", held.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_typed_into_postgresql_is_data() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(4, Faults::default()).await;
    let server = PostgresServer::shared();
    server.create_database("hostile").await;
    let db = server.connect("hostile").await;
    let tables = "CREATE TABLE item (sku text PRIMARY KEY, name text, more text)";
    db.batch_execute(tables).await.unwrap();
    let insert = "INSERT INTO item VALUES ($1, $1, $1)";
    let (first, second) = HOSTILE.split_at(HOSTILE.len() / 2);
    for text in first {
        db.execute(insert, &[text]).await.unwrap();
    }
    let source = format!(
        "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"hostile\"\nuser = \"postgres\"",
        server.port()
    );
    let mapping = MAPPING.replace("source: sqlite", "source: postgres");
    let mapping = mapping.replace("{name: item,", "{name: \"public.item\",");
    let mut agent = settle(folder.path(), &source, &mapping, &receiver);
    all_came(&receiver, &agent, first).await;
    for text in second {
        db.execute(insert, &[text]).await.unwrap();
    }
    all_came(&receiver, &agent, &HOSTILE).await;
    let count = db.query_one("SELECT count(*) FROM item", &[]).await;
    let count = count.unwrap().get::<_, i64>(0);
    assert_eq!(usize::try_from(count).unwrap(), HOSTILE.len());
    agent.terminate(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_typed_into_mariadb_is_data() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(5, Faults::default()).await;
    let server = MariadbServer::shared();
    server.run("CREATE DATABASE hostile").await;
    let mut db = server.connect(Some("hostile")).await;
    let tables = "CREATE TABLE item (sku varchar(200) PRIMARY KEY, name varchar(200), more text)
                  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    db.query_drop(tables).await.unwrap();
    let insert = "INSERT INTO item VALUES (?, ?, ?)";
    let (first, second) = HOSTILE.split_at(HOSTILE.len() / 2);
    for text in first {
        db.exec_drop(insert, (text, text, text)).await.unwrap();
    }
    let source = format!(
        "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"",
        server.port()
    );
    let mapping = MAPPING.replace("source: sqlite", "source: mysql\nschema: hostile");
    let mut agent = settle(folder.path(), &source, &mapping, &receiver);
    all_came(&receiver, &agent, first).await;
    for text in second {
        db.exec_drop(insert, (text, text, text)).await.unwrap();
    }
    all_came(&receiver, &agent, &HOSTILE).await;
    let count: Option<i64> = db.query_first("SELECT count(*) FROM item").await.unwrap();
    assert_eq!(usize::try_from(count.unwrap()).unwrap(), HOSTILE.len());
    agent.terminate(SOON).await.unwrap();
}
