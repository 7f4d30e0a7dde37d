//! Which server a checkpoint came from, and what happens when another one answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use contract::{ChangeStream, NodeKind, Position, Resume, Source, SourceError};
use harness::postgres::{PostgresOptions, PostgresServer};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::common::{self, World, ask, captured, changes, next, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text)";

/// The source of database `erp` on a server.
fn at(server: &PostgresServer) -> Arc<dyn Source> {
    let settings = [
        ("host", text("127.0.0.1")),
        ("port", NodeKind::Number(server.port().to_string())),
        ("database", text("erp")),
        ("user", text("postgres")),
    ];
    common::source("erp", &settings, vec![captured("item")])
}

async fn until(client: &Client, sql: &str) {
    let deadline = Instant::now() + common::DEADLINE;
    loop {
        let answer = ask(client, sql).await;
        if answer.as_deref() == Some("t") {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is stored after `count` changes from `stream`.
async fn stored(stream: &mut dyn ChangeStream, count: usize) -> Resume {
    let server = stream.server();
    assert!(server.is_some());
    let mut seen = 0;
    let mut after: Option<Position> = None;
    while seen < count {
        let batch = next(stream).await.unwrap();
        stream.acknowledge(&batch.end).await.unwrap();
        seen += batch.changes.len();
        after = Some(batch.end);
    }
    Resume {
        epoch: 1,
        after,
        server,
        committed_at: Some("2026-11-26T12:00:00Z".parse().unwrap()),
    }
}

/// An address that leads to one server and to the other, in turn.
async fn taking_turns(ports: [u16; 2]) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for port in ports.into_iter().cycle() {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

async fn refused(server: &PostgresServer, from: &Resume) -> SourceError {
    at(server).resume(from).await.map(|_| ()).unwrap_err()
}

fn lost(error: &SourceError, words: &[&str]) {
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    assert!(error.hint().unwrap().contains("resync"), "{error:?}");
}

/// A checkpoint is a number like any other: another server may well have it.
#[tokio::test]
async fn another_server_is_refused_with_both_identities() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let mut from = stored(&mut *stream, 1).await;
    drop(stream);
    world.released().await;
    world.source().resume(&from).await.unwrap();
    world.released().await;
    let id = "SELECT system_identifier::text FROM pg_control_system()";
    let found = world.ask(id).await.unwrap();
    let told = from.server.clone().unwrap();
    assert!(told.starts_with(&format!("{found}/1 ")), "{told}");
    from.server = Some("7000000000000000001/1".to_owned());
    let error = world.source().resume(&from).await.map(|_| ()).unwrap_err();
    lost(
        &error,
        &[
            "another server",
            &found,
            "7000000000000000001",
            "2026-11-26T12:00:00Z",
        ],
    );
    // Nothing was captured yet: nothing is lost.
    from.after = None;
    world.source().resume(&from).await.unwrap();
    world.released().await;
    // A state file from before identities were kept: this server is taken for the one.
    let before = Resume {
        epoch: 1,
        after: Some(Position::border(
            1,
            contract::LogPos::from_number(world.confirmed().await),
        )),
        ..Resume::default()
    };
    let stream = world.source().resume(&before).await.unwrap();
    assert!(stream.server().unwrap().starts_with(&found));
}

/// An address may lead to several servers: one may say that all is well, and another be read.
#[tokio::test]
async fn the_server_that_is_read_is_the_one_that_was_asked() {
    let world = World::prepared(ITEM, &["item"]).await;
    // Servers of one version share their folder's template, and with it their identity.
    let newest = world.server.major() == Some(18);
    let other = PostgresServer::shared_of(Some(if newest { 17 } else { 18 }));
    let port = taking_turns([world.server.port(), other.port()]).await;
    other.create_database(&world.name).await;
    let source = world.source_with(&[("port", NodeKind::Number(port.to_string()))]);
    let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(
        error.to_string().contains("reaches another server"),
        "{error}"
    );
}

/// Without a slot that came along, a failover is a lost position, and what is missing is named.
#[tokio::test]
async fn a_failover_without_the_slot_is_said_with_what_is_missing() {
    let mut primary = PostgresServer::start(PostgresOptions::default());
    primary.create_database("erp").await;
    let db = primary.connect("erp").await;
    db.batch_execute(ITEM).await.unwrap();
    drop(db);
    let standby = primary.standby(PostgresOptions::default()).await;
    let db = primary.connect("erp").await;
    at(&primary).prepare(true).await.unwrap();
    let mut stream = at(&primary).stream(1, None).await.unwrap();
    db.batch_execute("INSERT INTO item VALUES (1, 'a')")
        .await
        .unwrap();
    let early = stored(&mut *stream, 1).await;
    let other = standby.connect("erp").await;
    until(&other, "SELECT count(*) = 1 FROM item").await;

    // Not yet a primary.
    let error = refused(&standby, &early).await;
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("is a standby"), "{error}");
    let place = format!("127.0.0.1:{}", primary.port());
    assert!(error.hint().unwrap().contains(&place), "{error:?}");

    other.batch_execute("SELECT pg_promote()").await.unwrap();
    // The old primary lives on, and tells more, which the new one never has.
    db.batch_execute("INSERT INTO item VALUES (2, 'b')")
        .await
        .unwrap();
    let late = stored(&mut *stream, 1).await;
    drop(stream);
    let error = refused(&standby, &late).await;
    lost(
        &error,
        &["promoted at", "this server never had", "is missing here"],
    );

    // What we had before is good there, but there is no slot.
    let error = refused(&standby, &early).await;
    lost(
        &error,
        &[
            "slot does not exist",
            "Missing: the log from",
            "(now)",
            "2026-11-26",
        ],
    );
    // One that is made there by hand stands too late.
    at(&standby).prepare(true).await.unwrap();
    let error = refused(&standby, &early).await;
    lost(&error, &["made anew", "Missing: the log from"]);

    // And once the new one is the source, the old one is not taken for it.
    let mut stream = at(&standby).stream(1, None).await.unwrap();
    other
        .batch_execute("INSERT INTO item VALUES (3, 'c')")
        .await
        .unwrap();
    let there = stored(&mut *stream, 1).await;
    assert!(there.server.as_ref().unwrap().contains("/2 "));
    lost(&refused(&primary, &there).await, &["before a failover"]);

    // One address for both, as during a failover: what is asked of the one is not read from the other.
    drop(stream);
    let port = taking_turns([standby.port(), primary.port()]).await;
    let settings = [
        ("host", text("127.0.0.1")),
        ("port", NodeKind::Number(port.to_string())),
        ("database", text("erp")),
        ("user", text("postgres")),
    ];
    let both = common::source("erp", &settings, vec![captured("item")]);
    let error = both.resume(&there).await.map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("reaches another server"),
        "{error}"
    );
}

/// With a slot that is kept on the standby (17 and newer), the new primary goes on where the old
/// one stopped.
#[tokio::test]
async fn a_failover_with_the_slot_loses_nothing() {
    let mut primary = PostgresServer::start(PostgresOptions::default().major(Some(18)));
    primary.create_database("erp").await;
    let db = primary.connect("erp").await;
    db.batch_execute(ITEM).await.unwrap();
    drop(db);
    let standby = primary
        .standby(PostgresOptions::default().setting("hot_standby_feedback=on"))
        .await;
    let db = primary.connect("erp").await;
    at(&primary).prepare(true).await.unwrap();
    let mut stream = at(&primary).stream(1, None).await.unwrap();
    let other = standby.connect("erp").await;
    for sql in [
        "ALTER SYSTEM SET sync_replication_slots = on",
        "SELECT pg_reload_conf()",
    ] {
        other.batch_execute(sql).await.unwrap();
    }
    let kept = "SELECT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name =
                    'lighterman_erp' AND synced AND NOT temporary AND failover)";
    // A standby keeps a slot once its reader has gone on for a while.
    let mut captured = 0;
    let from = loop {
        captured += 1;
        db.batch_execute(&format!(
            "SELECT pg_log_standby_snapshot(); INSERT INTO item VALUES ({captured}, 'a')"
        ))
        .await
        .unwrap();
        let from = stored(&mut *stream, 1).await;
        if ask(&other, kept).await.as_deref() == Some("t") {
            break from;
        }
        assert!(
            captured < 100,
            "the standby does not keep the slot: {}",
            standby.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Committed there, captured by nobody, replicated.
    let last = captured + 50;
    let missed =
        format!("INSERT INTO item SELECT i, 'b' FROM generate_series({captured} + 1, {last}) i");
    db.batch_execute(&missed).await.unwrap();
    drop(stream);
    until(&other, &format!("SELECT count(*) = {last} FROM item")).await;
    drop(db);
    primary.stop();
    other.batch_execute("SELECT pg_promote()").await.unwrap();

    let mut stream = at(&standby).resume(&from).await.unwrap();
    assert_ne!(stream.server(), from.server);
    other
        .batch_execute(&format!("INSERT INTO item VALUES ({last} + 1, 'c')"))
        .await
        .unwrap();
    let seen = changes(&mut *stream, 51).await;
    let keys: Vec<String> = seen
        .iter()
        .map(|change| change.key().unwrap().as_str().to_owned())
        .collect();
    let expected: Vec<String> = (captured + 1..=last + 1)
        .map(|n: i32| n.to_string())
        .collect();
    assert_eq!(keys, expected);
}
