//! Encrypted connections, both kinds.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::sync::Arc;

use contract::{Level, NodeKind, SourceError, TableName};
use harness::certificates::Certificates;
use harness::postgres::{PostgresOptions, PostgresServer};
use harness::proxy::Proxy;

use crate::common::{self, World, changes, secret, text};

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

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY)";

/// A server with one of the certificates, where only the owner may come without TLS.
fn server(certificates: &Certificates, own: &str, more_hba: &str) -> Arc<PostgresServer> {
    let file = |name: &str, file: String| {
        let bytes = fs::read(certificates.file(&file)).unwrap();
        (name.to_owned(), bytes)
    };
    let mut settings = vec!["ssl=on".to_owned()];
    // With it, a certificate nobody asked for is looked at, too.
    if more_hba.ends_with(" cert") {
        settings.push("ssl_ca_file=ca.crt".to_owned());
    }
    Arc::new(PostgresServer::start(PostgresOptions {
        settings,
        hba: Some(format!(
            "hostnossl all postgres 127.0.0.1/32 trust\n{more_hba}\n"
        )),
        files: vec![
            file("server.crt", format!("{own}.crt")),
            file("server.key", format!("{own}.key")),
            file("ca.crt", "ca.crt".to_owned()),
        ],
        ..PostgresOptions::default()
    }))
}

/// A stream with the SQL connection to one server and the replication connection to another, or
/// both to the other: how it is refused.
async fn refused(
    world: &World,
    other: u16,
    settings: &[(&'static str, NodeKind)],
) -> [SourceError; 2] {
    let mut refused = Vec::new();
    for n in [0, 1] {
        let proxy = Proxy::start(world.server.port()).await;
        proxy.divert(n, other);
        let mut settings = settings.to_vec();
        settings.push(("port", NodeKind::Number(proxy.port().to_string())));
        let stream = world.source_with(&settings).stream(1, None).await;
        refused.push(stream.map(|_| ()).unwrap_err());
        assert_eq!(proxy.accepted(), n + 1);
    }
    refused.try_into().unwrap()
}

#[track_caller]
fn denied(errors: &[SourceError], found: &str, to_do: &str) {
    for error in errors {
        assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error:?}");
        assert!(error.hint().unwrap().contains(to_do), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_on_both_connections() {
    let certificates = Certificates::new();
    let here = "DNS:localhost,IP:127.0.0.1";
    certificates.sign_expired("old", "localhost", here);
    certificates.sign("elsewhere", "elsewhere.example", "DNS:elsewhere.example");
    let hba = "hostssl all all 127.0.0.1/32 trust";
    let world = World::on(server(&certificates, "server", hba), ITEM, &["item"]).await;
    let with = |more: &[(&'static str, NodeKind)]| {
        let ca = certificates.file("ca.crt").display().to_string();
        [&[("ca_file", text(ca))], more].concat()
    };
    let full = with(&[("tls", text("verify-full"))]);
    let authority = with(&[("tls", text("verify-ca"))]);
    world.source().prepare(true).await.unwrap();
    for settings in [&full, &authority] {
        world.source_with(settings).stream(1, None).await.unwrap();
        world.released().await;
    }

    let old = server(&certificates, "old", hba);
    for settings in [&full, &authority] {
        denied(
            &refused(&world, old.port(), settings).await,
            "has expired",
            "renew",
        );
    }
    let elsewhere = server(&certificates, "elsewhere", hba);
    let found = refused(&world, elsewhere.port(), &full).await;
    denied(&found, "another host name", "verify-ca");
    let strange = Certificates::new();
    let stranger = server(&strange, "server", hba);
    for settings in [&full, &authority] {
        let found = refused(&world, stranger.port(), settings).await;
        denied(&found, "authority we do not know", "ca_file");
    }
    let plain = PostgresServer::shared();
    let found = refused(&world, plain.port(), &full).await;
    denied(&found, "does not offer TLS", "ssl = on");

    // The authority alone is enough for one mode, and no check at all for another.
    let world = World::on(elsewhere, ITEM, &["item"]).await;
    world.source().prepare(true).await.unwrap();
    let source = world.source_with(&authority);
    drop(source.stream(1, None).await.unwrap());
    world.released().await;
    let findings = source.check().await;
    let tls = findings.iter().find(|f| f.what.ends_with("tls")).unwrap();
    assert_eq!(tls.level, Level::Warn, "{tls}");
    let world = World::on(stranger, ITEM, &["item"]).await;
    world.source().prepare(true).await.unwrap();
    let require = with(&[("tls", text("require"))]);
    world.source_with(&require).stream(1, None).await.unwrap();
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_ours_on_both_connections() {
    let certificates = Certificates::new();
    certificates.sign("clerk", "clerk", "DNS:clerk");
    let strange = Certificates::new();
    strange.sign("clerk", "clerk", "DNS:clerk");
    let roles =
        format!("{ITEM}; CREATE ROLE clerk LOGIN REPLICATION; GRANT SELECT ON item TO clerk");
    let wants = server(&certificates, "server", "hostssl all clerk all cert");
    let world = World::on(wants, &roles, &["item"]).await;
    world.source().prepare(true).await.unwrap();
    let with = |from: &Certificates, cert: &str, key: &str| {
        let path = |file: &str| text(from.file(file).display().to_string());
        vec![
            ("user", text("clerk")),
            ("tls", text("verify-full")),
            (
                "ca_file",
                text(certificates.file("ca.crt").display().to_string()),
            ),
            ("cert_file", path(cert)),
            ("key_file", path(key)),
        ]
    };
    let ours = with(&certificates, "clerk.crt", "clerk.key");
    let source = world.source_with(&ours);
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1)").await;
    changes(&mut *stream, 1).await;
    let known = "SELECT count(*)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE usename = 'clerk' AND client_dn = '/CN=clerk'";
    assert_eq!(world.ask(known).await.unwrap(), "2");
    drop(stream);
    world.released().await;

    // A server that lets everybody in takes the SQL connection where the other is to be refused.
    let lets = server(
        &certificates,
        "server",
        "hostssl all all 127.0.0.1/32 trust",
    );
    let first = World::on(lets, &roles, &["item"]).await;
    first.source().prepare(true).await.unwrap();
    let wants = world.server.port();
    let none = ours
        .iter()
        .filter(|(key, _)| !["cert_file", "key_file"].contains(key));
    let none: Vec<_> = none.cloned().collect();
    denied(
        &refused(&first, wants, &none).await,
        "valid client certificate",
        "cert_file",
    );
    let stranger = with(&strange, "clerk.crt", "clerk.key");
    for error in refused(&first, wants, &stranger).await {
        let why = error.to_string();
        // What the server says may be lost on the way, when it does not read on.
        assert!(why.contains("does not accept our certificate"), "{error:?}");
        let denied = matches!(error, SourceError::Denied { .. });
        assert!(denied || why.contains("its log"), "{error:?}");
    }

    // Files that are missing, empty of what they should hold, or do not belong together.
    for (cert, key, found) in [
        ("gone.crt", "clerk.key", "gone.crt: No such file"),
        ("clerk.crt", "gone.key", "gone.key: No such file"),
        ("clerk.key", "clerk.key", "no certificate in it"),
        ("clerk.crt", "clerk.crt", "nothing of this kind in it"),
        ("clerk.crt", "server.key", "does not belong to it"),
    ] {
        let source = world.source_with(&with(&certificates, cert, key));
        let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
        denied(&[error], found, "_file");
    }
}
