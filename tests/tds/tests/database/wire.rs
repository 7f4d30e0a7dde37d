//! The model through tiberius, over a socket.

use futures_util::TryStreamExt;
use tds_server::model::{Database, User};
use tds_server::wire::{Options, Server};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, IsolationLevel, Query};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::common::{put, tracked};

async fn connect(
    server: &Server,
    user: &str,
    password: &str,
    database: &str,
) -> tiberius::Result<Client<Compat<TcpStream>>> {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(server.address().port());
    config.authentication(AuthMethod::sql_server(user, password));
    config.database(database);
    config.encryption(EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(server.address()).await?;
    Client::connect(config, socket.compat_write()).await
}

/// The number of the error that a statement meets.
async fn number(client: &mut Client<Compat<TcpStream>>, sql: &str) -> Option<u32> {
    let answer = match client.simple_query(sql).await {
        Ok(stream) => stream.into_results().await.map(drop),
        Err(error) => Err(error),
    };
    answer.err().and_then(|error| error.code())
}

fn serve(database: &Database) -> Server {
    Server::start(Options::default(), database.clone()).unwrap()
}

#[tokio::test]
async fn a_client_reads_by_key_with_parameters() {
    let database = tracked();
    for id in 1..=5 {
        put(&database, id, "x");
    }
    let server = serve(&database);
    let mut client = connect(&server, "sa", "Secret-1", "shop").await.unwrap();
    let mut query = Query::new(
        "SELECT TOP (@P1) T.[id], T.[name] FROM [dbo].[orders] AS T WHERE T.[id] > @P2 ORDER BY T.[id]",
    );
    query.bind(2_i32);
    query.bind(2_i32);
    let rows = query
        .query(&mut client)
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let ids: Vec<i32> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(ids, [3, 4]);
    assert_eq!(rows[0].get::<&str, _>("name"), Some("x"));
    assert_eq!(
        number(&mut client, "SELECT nothing FROM dbo.orders").await,
        Some(207)
    );
}

#[tokio::test]
async fn a_snapshot_transaction_of_the_client_sees_one_state() {
    let database = tracked();
    put(&database, 1, "a");
    let server = serve(&database);
    let mut client = connect(&server, "sa", "Secret-1", "shop").await.unwrap();
    client
        .begin_transaction_with_isolation(IsolationLevel::Snapshot)
        .await
        .unwrap();
    let sql = "SELECT CHANGE_TRACKING_CURRENT_VERSION() AS v";
    let version = |row: Option<tiberius::Row>| row.unwrap().get::<i64, _>(0).unwrap();
    let before = version(
        client
            .simple_query(sql)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap(),
    );
    put(&database, 2, "b");
    let after = version(
        client
            .simple_query(sql)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap(),
    );
    assert_eq!(before, after);
    client.commit_transaction().await.unwrap();
    let now = version(
        client
            .simple_query(sql)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap(),
    );
    assert_eq!(now, before + 1);
}

#[tokio::test]
async fn a_login_is_checked() {
    let database = tracked();
    database.add_user(User::new("reader", "right"));
    let server = serve(&database);
    let refused = |found: tiberius::Result<Client<Compat<TcpStream>>>| {
        found.err().and_then(|error| error.code())
    };
    assert_eq!(
        refused(connect(&server, "reader", "wrong", "shop").await),
        Some(18_456)
    );
    assert_eq!(
        refused(connect(&server, "reader", "right", "other").await),
        Some(4060)
    );
    let mut client = connect(&server, "reader", "right", "shop").await.unwrap();
    assert_eq!(
        number(&mut client, "SELECT id FROM dbo.orders").await,
        Some(229)
    );
}

#[tokio::test]
async fn a_connection_from_before_a_restore_ends() {
    let database = tracked();
    let backup = database.backup();
    let server = serve(&database);
    let mut client = connect(&server, "sa", "Secret-1", "shop").await.unwrap();
    client
        .simple_query("SELECT 1")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    database.restore(&backup);
    let answer = match client.simple_query("SELECT 1").await {
        Ok(stream) => stream.into_results().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(answer.is_err());
    let again = match client.simple_query("SELECT 1").await {
        Ok(stream) => stream.into_results().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(again.is_err(), "the connection is closed");
    assert!(connect(&server, "sa", "Secret-1", "shop").await.is_ok());
}

#[tokio::test]
async fn many_rows_come_as_they_are_taken() {
    let database = tracked();
    let transaction = database.begin();
    for id in 0..20_000 {
        transaction
            .insert("dbo.orders", &[("id", id.into())])
            .unwrap();
    }
    transaction.commit().unwrap();
    let server = serve(&database);
    let mut client = connect(&server, "sa", "Secret-1", "shop").await.unwrap();
    let stream = client
        .simple_query("SELECT id FROM dbo.orders ORDER BY id")
        .await
        .unwrap();
    let rows: Vec<_> = stream.into_row_stream().try_collect().await.unwrap();
    assert_eq!(rows.len(), 20_000);
}
