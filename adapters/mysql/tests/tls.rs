//! Encrypted connections.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::sync::Arc;

use contract::{Level, NodeKind, SourceError};
use harness::certificates::Certificates;
use harness::mariadb::{MariadbOptions, MariadbServer};

use crate::common::{World, about, secret, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY)";

/// A server with one of the certificates.
fn server(certificates: &Certificates, own: &str) -> Arc<MariadbServer> {
    let file = |name: &str, file: String| {
        let bytes = fs::read(certificates.file(&file)).unwrap();
        (name.to_owned(), bytes)
    };
    // Relative names are looked up in the data folder, where the server stands.
    let options = MariadbOptions {
        files: vec![
            file("server.crt", format!("{own}.crt")),
            file("server.key", format!("{own}.key")),
            file("ca.crt", "ca.crt".to_owned()),
        ],
        ..MariadbOptions::default()
    };
    let options = options
        .setting("ssl_cert=server.crt")
        .setting("ssl_key=server.key")
        .setting("ssl_ca=ca.crt");
    Arc::new(MariadbServer::start(options))
}

async fn world(server: Arc<MariadbServer>) -> World {
    let world = World::on(server, ITEM, &["item"]).await;
    let name = &world.name;
    world
        .run(&format!(
            "CREATE USER clerk IDENTIFIED BY 'pw-clerk' REQUIRE SSL; GRANT SELECT ON {name}.* TO clerk"
        ))
        .await;
    world
}

fn settings(
    certificates: &Certificates,
    more: &[(&'static str, NodeKind)],
) -> Vec<(&'static str, NodeKind)> {
    let ca = certificates.file("ca.crt").display().to_string();
    let mut all = vec![("user", text("clerk")), ("password", secret("pw-clerk"))];
    all.push(("ca_file", text(ca)));
    all.extend(more.iter().cloned());
    all
}

async fn refused(world: &World, settings: &[(&'static str, NodeKind)]) -> SourceError {
    let source = world.source_with(settings);
    source.catalogue(&[]).await.unwrap_err()
}

#[track_caller]
fn denied(error: &SourceError, found: &str, to_do: &str) {
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains(found), "{error:?}");
    assert!(error.hint().unwrap().contains(to_do), "{error:?}");
}

#[tokio::test]
async fn connections_are_encrypted_and_verified() {
    let certificates = Certificates::new();
    let world = world(server(&certificates, "server")).await;
    for more in [
        vec![("tls", text("verify-full"))],
        vec![("tls", text("verify-full")), ("host", text("localhost"))],
        vec![("tls", text("verify-ca"))],
        vec![("tls", text("require"))],
    ] {
        let source = world.source_with(&settings(&certificates, &more));
        assert!(!source.catalogue(&[]).await.unwrap().is_empty(), "{more:?}");
    }
    let require = world.source_with(&settings(&certificates, &[("tls", text("require"))]));
    let findings = require.check().await;
    assert_eq!(about(&findings, "tls").level, Level::Warn);
    // An authority nobody trusts, no encryption where it is asked for, and a wrong password.
    let unknown = [
        ("user", text("clerk")),
        ("password", secret("pw-clerk")),
        ("tls", text("verify-full")),
    ];
    denied(
        &refused(&world, &unknown).await,
        "authority we do not know",
        "ca_file",
    );
    let plain = settings(&certificates, &[("tls", text("disable"))]);
    denied(
        &refused(&world, &plain).await,
        "Access denied",
        "REQUIRE SSL",
    );
    let wrong = [
        ("user", text("clerk")),
        ("password", secret("pw-other")),
        ("tls", text("require")),
    ];
    let error = refused(&world, &wrong).await;
    denied(&error, "Access denied", "password");
    assert!(!format!("{error:?}").contains("pw-other"));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let certificates = Certificates::new();
    let here = "DNS:localhost,IP:127.0.0.1";
    certificates.sign_expired("old", "localhost", here);
    certificates.sign("elsewhere", "elsewhere.example", "DNS:*.elsewhere.example");
    let full = settings(&certificates, &[("tls", text("verify-full"))]);
    let authority = settings(&certificates, &[("tls", text("verify-ca"))]);

    let old = world(server(&certificates, "old")).await;
    for settings in [&full, &authority] {
        denied(&refused(&old, settings).await, "has expired", "renew");
    }
    let elsewhere = world(server(&certificates, "elsewhere")).await;
    denied(
        &refused(&elsewhere, &full).await,
        "another host name",
        "verify-ca",
    );
    // The authority alone is enough for one mode, and no check at all for another.
    let source = elsewhere.source_with(&authority);
    assert!(!source.catalogue(&[]).await.unwrap().is_empty());
    assert_eq!(about(&source.check().await, "tls").level, Level::Warn);
    certificates.sign("nameless", "localhost", "email:erp@example.com");
    let nameless = world(server(&certificates, "nameless")).await;
    let error = refused(&nameless, &authority).await;
    denied(
        &error,
        "has no name that can be asked for",
        "subjectAltName",
    );
    let strange = Certificates::new();
    let stranger = world(server(&strange, "server")).await;
    for settings in [&full, &authority] {
        let error = refused(&stranger, settings).await;
        denied(&error, "authority we do not know", "ca_file");
    }
    let require = settings(&certificates, &[("tls", text("require"))]);
    stranger.source_with(&require).catalogue(&[]).await.unwrap();
    let plain = World::new(ITEM, &["item"]).await;
    let root = [("tls", text("require")), ("user", text("root"))];
    denied(
        &refused(&plain, &root).await,
        "does not offer TLS",
        "ssl_cert",
    );
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_ours() {
    let certificates = Certificates::new();
    certificates.sign("clerk", "clerk", "DNS:clerk");
    let strange = Certificates::new();
    strange.sign("clerk", "clerk", "DNS:clerk");
    let world = world(server(&certificates, "server")).await;
    world
        .run("ALTER USER clerk IDENTIFIED BY 'pw-clerk' REQUIRE SUBJECT '/CN=clerk'")
        .await;
    let with = |from: &Certificates, cert: &str, key: &str| {
        let path = |file: &str| text(from.file(file).display().to_string());
        let more = [
            ("tls", text("verify-full")),
            ("cert_file", path(cert)),
            ("key_file", path(key)),
        ];
        settings(&certificates, &more)
    };
    let ours = with(&certificates, "clerk.crt", "clerk.key");
    let source = world.source_with(&ours);
    assert!(!source.catalogue(&[]).await.unwrap().is_empty());
    let none = settings(&certificates, &[("tls", text("verify-full"))]);
    denied(
        &refused(&world, &none).await,
        "Access denied",
        "SHOW CREATE USER",
    );
    let error = refused(&world, &with(&strange, "clerk.crt", "clerk.key")).await;
    let why = error.to_string();
    // What the server says may be lost on the way, when it does not read on.
    assert!(
        why.contains("does not accept our certificate") || why.contains("Access denied"),
        "{error:?}"
    );
    // Files that are missing, empty of what they should hold, or do not belong together.
    for (cert, key, found) in [
        ("gone.crt", "clerk.key", "gone.crt: No such file"),
        ("clerk.crt", "gone.key", "gone.key: No such file"),
        ("clerk.key", "clerk.key", "no certificate in it"),
        ("clerk.crt", "clerk.crt", "nothing of this kind in it"),
        ("clerk.crt", "server.key", "does not belong to it"),
    ] {
        let error = refused(&world, &with(&certificates, cert, key)).await;
        denied(&error, found, "_file");
    }
}
