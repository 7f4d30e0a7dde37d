//! Logging in.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::common::{
    Door, PASSWORD, connect, denied, disconnected, empty, encrypted, plain, secret, source, start,
    text,
};
use contract::{NodeKind, SourceError};
use harness::certificates::Certificates;
use harness::proxy::Proxy;
use tds_server::wire::{Gate, LoginFault, Options, ServerError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn door() -> Door {
    Door::new(|sql, _| empty(sql))
}

fn refusing(error: ServerError) -> Door {
    Door {
        refuse: Some(error),
        ..door()
    }
}

#[tokio::test]
async fn the_login_says_who_we_are_and_what_we_want() {
    let door = door();
    let server = plain(&door);
    let port = server.address().port();
    connect(port, &[]).await.unwrap();
    connect(port, &[("read_only_intent", NodeKind::Bool(true))])
        .await
        .unwrap();
    let logins = door.logins();
    let said: Vec<_> = logins
        .iter()
        .map(|login| {
            let who = (login.user.as_str(), login.password.as_str());
            let what = (login.program.as_str(), login.database.as_str());
            (who, what, login.read_only, login.encrypted)
        })
        .collect();
    let who = ("agent", PASSWORD);
    let what = ("lighterman", "ERP");
    assert_eq!(said, [(who, what, false, false), (who, what, true, false)]);
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_told_nowhere() {
    let door = door();
    let server = plain(&door);
    let wrong = [("password", secret("s3cret of ours"))];
    let error = connect(server.address().port(), &wrong).await.unwrap_err();
    denied(&error, "(error 18456", "user and password");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    let findings = source(server.address().port(), &wrong, Vec::new())
        .check()
        .await;
    assert!(!format!("{findings:?}").contains("s3cret"), "{findings:?}");
}

#[tokio::test]
async fn a_login_that_is_refused_says_what_to_do() {
    for (number, class, found, to_do) in [
        (4060, 11, "(error 4060", "the database's name"),
        (916, 14, "(error 916", "source prepare"),
        (18452, 14, "(error 18452", "integrated"),
        (18488, 14, "(error 18488", "CHECK_EXPIRATION"),
        (40615, 14, "(error 40615", "firewall"),
        (978, 14, "(error 978", "read_only_intent"),
    ] {
        let door = refusing(ServerError::new(number, class, "No."));
        let server = plain(&door);
        let error = connect(server.address().port(), &[]).await.unwrap_err();
        denied(&error, found, to_do);
    }
    for number in [40613, 40501, 983, 17142, 10928] {
        let door = refusing(ServerError::new(number, 16, "Later."));
        let server = plain(&door);
        let error = connect(server.address().port(), &[]).await.unwrap_err();
        disconnected(&error, &format!("Later (error {number}"));
    }
}

fn partner(port: u16) -> [(&'static str, NodeKind); 1] {
    [("failover_host", text(format!("127.0.0.1:{port}")))]
}

#[tokio::test]
async fn the_partner_is_tried_where_the_first_server_does_not_have_the_database() {
    let second = door();
    let two = plain(&second);
    let at_two = partner(two.address().port());
    // It does not have it, is no primary, or does not answer.
    for number in [4060, 976, 983, 927] {
        let first = plain(&refusing(ServerError::new(number, 14, "Not here.")));
        connect(first.address().port(), &at_two).await.unwrap();
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    connect(port, &at_two).await.unwrap();
    assert_eq!(second.logins().len(), 5);
    // Both are named where neither has it.
    let error = connect(port, &partner(port)).await.unwrap_err();
    disconnected(&error, "; and the partner: connect to 127.0.0.1");
}

/// A wrong password would be wrong twice, and lock the login the sooner.
#[tokio::test]
async fn the_partner_is_not_asked_about_a_wrong_password() {
    let second = door();
    let two = plain(&second);
    let first = plain(&door());
    let mut settings = vec![("password", secret("wrong"))];
    settings.extend(partner(two.address().port()));
    let error = connect(first.address().port(), &settings)
        .await
        .unwrap_err();
    denied(&error, "(error 18456", "password");
    assert_eq!(second.logins().len(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = plain(&door());
    let gate = Gate::closed();
    server.handle().login_fault(LoginFault::Stall(gate.clone()));
    let error = connect(server.address().port(), &[]).await.unwrap_err();
    disconnected(&error, "no answer within 5 s");
    gate.open();
}

#[tokio::test]
async fn a_server_that_goes_away_before_we_are_in_is_a_lost_connection() {
    let server = plain(&door());
    let port = server.address().port();
    for fault in [
        LoginFault::DropAtConnect,
        LoginFault::DropAtPrelogin,
        LoginFault::DropAtLogin,
    ] {
        server.handle().login_fault(fault);
        disconnected(
            &connect(port, &[]).await.unwrap_err(),
            "connect to 127.0.0.1",
        );
    }
    connect(port, &[]).await.unwrap();
}

/// However far the first words and the login came, a cut is a lost connection: nothing hangs, and nothing is
/// taken for an answer that is none.
#[tokio::test]
async fn a_cut_at_any_byte_of_the_login_is_a_lost_connection() {
    let server = plain(&door());
    let proxy = Proxy::start(server.address().port()).await;
    let mut cut = 0;
    for bytes in 1..2_000 {
        let before = proxy.resets();
        proxy.reset_after(bytes);
        match connect(proxy.port(), &[]).await {
            Err(SourceError::Disconnected(_)) => cut += 1,
            // The byte was one of the last, or none of this connection.
            Ok(()) => assert!(bytes > 300, "{bytes}"),
            other => panic!("{bytes}: {other:?}"),
        }
        if proxy.resets() == before {
            break;
        }
    }
    assert!(cut > 300, "{cut}");
}

#[tokio::test]
async fn packets_may_come_in_any_pieces() {
    for options in [
        Options {
            write_bytes_max: Some(1),
            ..Options::default()
        },
        Options {
            packet_bytes: Some(512),
            write_bytes_max: Some(7),
            ..Options::default()
        },
    ] {
        let server = start(options, &door());
        connect(server.address().port(), &[]).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_server_is_told_from_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            // A packet whose only option stands outside of it.
            b"\x04\x01\x00\x0e\x00\x00\x01\x00\x01\xff\xff\xff\xff\xff",
            // One that never ends.
            b"\x04\x01\x00\x09\x00\x00\x01\x00\x01",
        ];
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = [0; 16];
            socket.read_exact(&mut heard).await.unwrap();
            socket.write_all(answer).await.unwrap();
            // Until the other side has had enough.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    });
    for _ in 0..4 {
        let error = connect(port, &[]).await.unwrap_err();
        denied(&error, "is no SQL Server", "host and port");
    }
    answering.await.unwrap();
}

/// Everything that anybody logs, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::Id {
        attributes.record(&mut Words(&self.0));
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Words(&self.0));
    }

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Words(&self.0));
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

struct Words<'a>(&'a Mutex<String>);

impl tracing::field::Visit for Words<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut log = self.0.lock().unwrap();
        writeln!(log, "{field}={value:?}").unwrap();
    }
}

/// Scenario 35: a login that is refused, a server that has no TLS, one that nobody vouches for. Each fails,
/// nothing is sent in plain in its place, and no word of it holds the password.
#[tokio::test]
async fn scenario_35_what_is_refused_fails_closed_and_the_password_is_in_no_log() {
    const OURS: &str = "s3cret-of-ours";
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let ca = |of: &Certificates| text(of.file("ca.crt").display().to_string());
    let verified = |of: &Certificates| {
        vec![
            ("password", secret(OURS)),
            ("tls", text("verify-full")),
            ("ca_file", ca(of)),
        ]
    };
    let refused = || {
        let error = ServerError::login_failed("agent");
        refusing(error)
    };
    for (options, door, settings, found, logins) in [
        (
            encrypted(&certificates, "server"),
            refused(),
            verified(&certificates),
            "(error 18456",
            true,
        ),
        (
            Options::default(),
            door(),
            verified(&certificates),
            "does not offer TLS",
            false,
        ),
        (
            encrypted(&certificates, "server"),
            door(),
            verified(&foreign),
            "an authority we do not know",
            false,
        ),
    ] {
        let server = start(options, &door);
        let port = server.address().port();
        let error = connect(port, &settings).await.unwrap_err();
        assert!(error.to_string().contains(found), "{error:?}");
        assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
        let source = source(port, &settings, Vec::new());
        let said = format!("{error:?} {:?}", source.check().await);
        assert!(!said.contains(OURS), "{said}");
        let told = door.logins();
        // Where the server cannot be believed, it is told nothing at all.
        assert_eq!(!told.is_empty(), logins, "{found}");
        assert!(told.iter().all(|login| login.encrypted), "{found}");
    }
    tracing::trace!("the end");
    drop(guard);
    let log = log.0.lock().unwrap();
    assert!(log.contains("the end"), "nothing is heard: {log}");
    assert!(!log.contains(OURS), "{log}");
}
