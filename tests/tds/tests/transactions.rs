//! Transactions, as requests of their own and in SQL text.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::sync::{Arc, Mutex};

use tds_server::wire::{
    Answer, Handler, Isolation, Login, Options, Parameter, Part, Server, ServerError, Session,
    Transacted, Transaction,
};
use tiberius::IsolationLevel;

use crate::support::{config, connect, connect_with};

type Heard = Arc<Mutex<Vec<Transaction>>>;

struct Listening(Heard);

impl Handler for Listening {
    fn login(&self, _: &Login) -> Result<Box<dyn Session>, ServerError> {
        Ok(Box::new(Listening(self.0.clone())))
    }
}

impl Session for Listening {
    fn batch(&mut self, sql: &str, _: &[Parameter]) -> Answer {
        match sql {
            "BEGIN TRAN" => Answer::new([Part::Transaction(Transacted::Begun)]),
            "COMMIT" => Answer::new([Part::Transaction(Transacted::Committed)]),
            "BROKEN" => Answer::new([
                Part::Error(ServerError::new(
                    3961,
                    16,
                    "snapshot isolation transaction failed",
                )),
                Part::Transaction(Transacted::RolledBack),
            ]),
            _ => Answer::count(1),
        }
    }

    fn transaction(&mut self, request: &Transaction) -> Result<(), ServerError> {
        self.0.lock().unwrap().push(request.clone());
        match request {
            Transaction::Begin {
                isolation: Some(Isolation::Serializable),
                ..
            } => Err(ServerError::new(3952, 16, "not allowed")),
            _ => Ok(()),
        }
    }
}

fn listening() -> (Server, Heard) {
    let heard = Heard::default();
    let server = Server::start(Options::default(), Listening(heard.clone())).unwrap();
    (server, heard)
}

#[tokio::test]
async fn requests_about_the_transaction_reach_the_session() {
    let (server, heard) = listening();
    let mut client = connect(&server).await;
    client
        .begin_transaction_with_isolation(IsolationLevel::Snapshot)
        .await
        .unwrap();
    assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [1]);
    client.commit_transaction().await.unwrap();
    assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [1]);
    client.begin_transaction().await.unwrap();
    client.rollback_transaction().await.unwrap();
    assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [1]);
    let none = String::new();
    assert_eq!(
        *heard.lock().unwrap(),
        [
            Transaction::Begin {
                isolation: Some(Isolation::Snapshot),
                name: none.clone()
            },
            Transaction::Commit,
            Transaction::Begin {
                isolation: None,
                name: none.clone()
            },
            Transaction::Rollback { name: none },
        ]
    );
    let error = client
        .begin_transaction_with_isolation(IsolationLevel::Serializable)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(3952));
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn transactions_in_text_are_told_to_the_client() {
    let (server, _) = listening();
    let mut client = connect(&server).await;
    for end in ["COMMIT", "BROKEN"] {
        client
            .simple_query("BEGIN TRAN")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap();
        // The client must name the transaction now, and must not any more when it has ended.
        assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [1]);
        let ended = match client.simple_query(end).await {
            Ok(stream) => stream.into_results().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert_eq!(
            ended.err().and_then(|error| error.code()),
            (end == "BROKEN").then_some(3961)
        );
        assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [1]);
    }
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn the_end_of_no_transaction_is_a_mistake_of_the_script() {
    let (server, _) = listening();
    let mut client = connect_with(&server, config(&server)).await.unwrap();
    assert!(client.simple_query("COMMIT").await.is_err());
    server.handle().all_closed().await;
    assert!(server.handle().complaints()[0].contains("was not begun"));
}
