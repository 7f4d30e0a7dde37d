//! Encrypted connections.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::{
    Door, about, connect, denied, disconnected, empty, encrypted, secret, source, start, text,
};
use contract::{Level, NodeKind};
use harness::certificates::Certificates;
use harness::proxy::Proxy;
use tds_server::wire::{Encryption, Options};

fn door() -> Door {
    Door::new(|sql, _| empty(sql))
}

fn settings(
    certificates: &Certificates,
    more: &[(&'static str, NodeKind)],
) -> Vec<(&'static str, NodeKind)> {
    let ca = certificates.file("ca.crt").display().to_string();
    let mut all = vec![("ca_file", text(ca))];
    all.extend(more.iter().cloned());
    all
}

#[tokio::test]
async fn connections_are_encrypted_and_verified() {
    let certificates = Certificates::new();
    let door = door();
    let server = start(encrypted(&certificates, "server"), &door);
    let port = server.address().port();
    let ways = [
        vec![("tls", text("verify-full"))],
        vec![("tls", text("verify-full")), ("host", text("localhost"))],
        vec![("tls", text("verify-ca"))],
        vec![("tls", text("require"))],
    ];
    for more in &ways {
        connect(port, &settings(&certificates, more)).await.unwrap();
    }
    let logins = door.logins();
    assert_eq!(logins.len(), ways.len());
    assert!(logins.iter().all(|login| login.encrypted));
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

/// The handshake's packets, and everything behind them, in any pieces.
#[tokio::test]
async fn an_encrypted_connection_may_come_in_any_pieces() {
    let certificates = Certificates::new();
    for write_bytes_max in [1, 3, 100] {
        let options = Options {
            write_bytes_max: Some(write_bytes_max),
            packet_bytes: Some(512),
            ..encrypted(&certificates, "server")
        };
        let server = start(options, &door());
        let settings = settings(&certificates, &[("tls", text("verify-full"))]);
        connect(server.address().port(), &settings).await.unwrap();
    }
}

#[tokio::test]
async fn who_cannot_be_verified_gets_no_password() {
    let certificates = Certificates::new();
    certificates.sign("other", "other", "DNS:other.example.com");
    certificates.sign_expired("old", "localhost", "DNS:localhost,IP:127.0.0.1");
    certificates.sign_not_yet("young", "localhost", "DNS:localhost,IP:127.0.0.1");
    let foreign = Certificates::new();
    for (own, authority, mode, found, to_do) in [
        (
            "server",
            &foreign,
            "verify-full",
            "an authority we do not know",
            "set ca_file",
        ),
        (
            "server",
            &foreign,
            "verify-ca",
            "an authority we do not know",
            "set ca_file",
        ),
        (
            "other",
            &certificates,
            "verify-full",
            "another host name",
            "verify-ca",
        ),
        ("old", &certificates, "verify-full", "has expired", "renew"),
        ("old", &certificates, "verify-ca", "has expired", "renew"),
        (
            "young",
            &certificates,
            "verify-full",
            "not valid yet",
            "clock",
        ),
        (
            "young",
            &certificates,
            "verify-ca",
            "not valid yet",
            "clock",
        ),
    ] {
        let door = door();
        let server = start(encrypted(&certificates, own), &door);
        let settings = settings(authority, &[("tls", text(mode))]);
        let error = connect(server.address().port(), &settings)
            .await
            .unwrap_err();
        denied(&error, found, to_do);
        assert_eq!(door.logins().len(), 0, "{own} {mode}");
    }
    // The authority is enough where the name is not asked for.
    let server = start(encrypted(&certificates, "other"), &door());
    let settings = settings(&certificates, &[("tls", text("verify-ca"))]);
    connect(server.address().port(), &settings).await.unwrap();
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_named() {
    let certificates = Certificates::new();
    let server = start(encrypted(&certificates, "server"), &door());
    let key = certificates.file("ca.key").display().to_string();
    for (file, found) in [
        (key, "no certificate in it"),
        ("/nowhere/ca.pem".to_owned(), "/nowhere/ca.pem"),
    ] {
        let settings = [("ca_file", text(file)), ("tls", text("verify-full"))];
        let error = connect(server.address().port(), &settings)
            .await
            .unwrap_err();
        denied(&error, found, "set ca_file");
    }
}

/// No way back to a plain connection: the server is told nothing secret.
#[tokio::test]
async fn a_server_without_tls_gets_no_password() {
    let certificates = Certificates::new();
    for mode in ["require", "verify-ca", "verify-full"] {
        let door = door();
        let server = start(Options::default(), &door);
        let settings = settings(&certificates, &[("tls", text(mode))]);
        let error = connect(server.address().port(), &settings)
            .await
            .unwrap_err();
        denied(&error, "does not offer TLS", "turn it on at the server");
        assert_eq!(door.logins().len(), 0, "{mode}");
    }
}

#[tokio::test]
async fn a_server_that_demands_tls_says_so() {
    let certificates = Certificates::new();
    let options = Options {
        encryption: Encryption::Required,
        ..encrypted(&certificates, "server")
    };
    let door = door();
    let server = start(options, &door);
    let port = server.address().port();
    let error = connect(port, &[("tls", text("disable"))])
        .await
        .unwrap_err();
    denied(&error, "only talks over TLS", "verify-full");
    assert_eq!(door.logins().len(), 0);
    let settings = settings(&certificates, &[("tls", text("verify-full"))]);
    connect(port, &settings).await.unwrap();
}

#[tokio::test]
async fn a_token_travels_over_tls_in_place_of_a_password() {
    let certificates = Certificates::new();
    let door = door();
    let server = start(encrypted(&certificates, "server"), &door);
    let port = server.address().port();
    let token = [
        ("user", NodeKind::Null),
        ("password", NodeKind::Null),
        ("token", secret("eyJ0eXAi.of.ours")),
        ("tls", text("verify-full")),
    ];
    connect(port, &settings(&certificates, &token))
        .await
        .unwrap();
    let logins = door.logins();
    let given = (logins[0].token.as_deref(), logins[0].password.as_str());
    assert_eq!(given, (Some("eyJ0eXAi.of.ours"), ""));
    // On this machine nothing is encrypted by default, and a token goes nowhere.
    let door = self::door();
    let server = start(encrypted(&certificates, "server"), &door);
    let plain = &token[..3];
    let error = connect(server.address().port(), &settings(&certificates, plain))
        .await
        .unwrap_err();
    denied(&error, "only sent over TLS", "verify-full");
    assert_eq!(door.logins().len(), 0);
}

/// A token is over after an hour or so: the file is read at each connection, and a token that is over is said.
#[tokio::test]
async fn a_token_in_a_file_is_read_anew_at_each_connection() {
    let certificates = Certificates::new();
    let mut door = door();
    let server = start(encrypted(&certificates, "server"), &door);
    let port = server.address().port();
    let file = certificates.file("token");
    let token = [
        ("user", NodeKind::Null),
        ("password", NodeKind::Null),
        ("token_file", text(file.to_str().unwrap())),
        ("tls", text("verify-full")),
    ];
    let settings = settings(&certificates, &token);
    let source = source(port, &settings, Vec::new());
    let error = source.catalogue(&[]).await.unwrap_err();
    denied(&error, "read the token from", "token_file");
    for (written, sent) in [("first", "first"), ("second\n", "second")] {
        std::fs::write(&file, written).unwrap();
        source.catalogue(&[]).await.unwrap();
        let last = door.logins().pop().unwrap();
        assert_eq!(last.token.as_deref(), Some(sent));
    }
    for empty in ["", "\n"] {
        std::fs::write(&file, empty).unwrap();
        let error = source.catalogue(&[]).await.unwrap_err();
        denied(&error, "bytes", "the token and nothing else");
    }
    std::fs::write(&file, "the one that is over").unwrap();
    door.refuse = Some(tds_server::wire::ServerError::login_failed(
        "<token-identified principal>",
    ));
    let server = start(encrypted(&certificates, "server"), &door);
    let error = connect(server.address().port(), &settings)
        .await
        .unwrap_err();
    denied(
        &error,
        "the token has expired",
        "have a new token written to",
    );
    assert!(!format!("{error:?}").contains("is over"), "{error:?}");
}

/// However far the handshake came, a cut is a lost connection.
#[tokio::test]
async fn a_cut_at_any_byte_of_the_handshake_is_a_lost_connection() {
    let certificates = Certificates::new();
    let server = start(encrypted(&certificates, "server"), &door());
    let proxy = Proxy::start(server.address().port()).await;
    let settings = settings(&certificates, &[("tls", text("verify-full"))]);
    for bytes in (1..40).chain((40..1_200).step_by(29)) {
        proxy.reset_after(bytes);
        let error = connect(proxy.port(), &settings).await.unwrap_err();
        disconnected(&error, "connect to 127.0.0.1");
    }
}

#[tokio::test]
async fn what_protects_less_is_warned_of() {
    let certificates = Certificates::new();
    let server = start(encrypted(&certificates, "server"), &door());
    for (mode, found) in [
        ("require", "whoever answers is believed"),
        ("verify-ca", "any server the authority signed for"),
    ] {
        let settings = settings(&certificates, &[("tls", text(mode))]);
        let findings = source(server.address().port(), &settings, Vec::new())
            .check()
            .await;
        let finding = about(&findings, ": tls");
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.found.contains(found), "{finding}");
    }
}
