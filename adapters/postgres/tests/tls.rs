//! Encrypted connections, both kinds.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{World, changes, secret, text};
use contract::{Level, NodeKind, SourceError, TableName};
use harness::certificates::Certificates;
use harness::postgres::{PostgresOptions, PostgresServer};

#[tokio::test]
async fn both_connections_are_encrypted_and_verified() {
    let certificates = Certificates::new();
    let file = |name: &str| (name.to_owned(), fs::read(certificates.file(name)).unwrap());
    let server = Arc::new(PostgresServer::start(PostgresOptions {
        settings: vec![
            "ssl=on".to_owned(),
            "password_encryption=scram-sha-256".to_owned(),
        ],
        hba: Some(
            "host all postgres 127.0.0.1/32 trust\n\
             hostssl all clerk all scram-sha-256\n"
                .to_owned(),
        ),
        files: vec![file("server.crt"), file("server.key")],
        ..PostgresOptions::default()
    }));
    let world = World::on(
        server,
        "CREATE TABLE item (id int PRIMARY KEY); CREATE ROLE clerk LOGIN REPLICATION PASSWORD 'pw-clerk';
         GRANT SELECT ON item TO clerk",
        &["item"],
    )
    .await;
    world.source().prepare(true).await.unwrap();
    let authority = text(certificates.file("ca.crt").display().to_string());
    let with = |more: &[(&'static str, NodeKind)]| {
        let mut settings = vec![("user", text("clerk")), ("password", secret("pw-clerk"))];
        settings.extend(more.iter().cloned());
        world.source_with(&settings)
    };
    let verified = [
        with(&[("tls", text("verify-full")), ("ca_file", authority.clone())]),
        with(&[
            ("tls", text("verify-full")),
            ("ca_file", authority.clone()),
            ("host", text("localhost")),
        ]),
        with(&[("tls", text("require"))]),
    ];
    for (n, source) in verified.into_iter().enumerate() {
        let mut stream = source.stream(1, None).await.unwrap();
        world.run(&format!("INSERT INTO item VALUES ({n})")).await;
        changes(&mut *stream, 1).await;
        let mut reader = source.snapshot(1).await.unwrap();
        let item = TableName::new("public", "item");
        assert_eq!(common::snapshot(&mut *reader, &item, 10).await.len(), n + 1);
        let plain = "SELECT count(*)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                      WHERE usename = 'clerk' AND NOT ssl";
        assert_eq!(world.ask(plain).await.unwrap(), "0");
        let slot = world.slot();
        world
            .until(&format!(
                "SELECT confirmed_flush_lsn > restart_lsn FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ))
            .await;
        drop(stream);
        world.released().await;
        world
            .run(&format!(
                "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
            ))
            .await;
    }
    let require = with(&[("tls", text("require"))]).check().await;
    let tls = require.iter().find(|f| f.what.ends_with("tls")).unwrap();
    assert_eq!(tls.level, Level::Warn);
    // An authority nobody trusts, and a password that is wrong.
    let unknown = with(&[("tls", text("verify-full"))]);
    let refused = unknown.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, SourceError::Denied { .. }), "{refused:?}");
    assert!(refused.hint().unwrap().contains("ca_file"), "{refused:?}");
    let plain = with(&[("tls", text("disable"))]);
    let refused = plain.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, SourceError::Denied { .. }), "{refused:?}");
    let wrong = world.source_with(&[
        ("user", text("clerk")),
        ("password", secret("pw-other")),
        ("tls", text("require")),
    ]);
    let refused = wrong.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, SourceError::Denied { .. }), "{refused:?}");
    assert!(!format!("{refused:?}").contains("pw-other"));
}
