//! Logging in, and what answers instead of the server.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{Level, NodeKind, SourceError};
use harness::pooler::Pooler;
use harness::postgres::{PostgresOptions, PostgresServer};

use crate::common::{self, World, changes, secret, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";

#[tokio::test]
async fn every_usual_way_to_log_in_works_for_both_connections() {
    let ways = [
        ("hashed", "md5"),
        ("clear", "password"),
        ("scram", "scram-sha-256"),
        ("old", "scram-sha-256"),
    ];
    let hba = ways.map(|(user, way)| format!("host all {user} 127.0.0.1/32 {way}\n"));
    let hba = hba.concat();
    let server = Arc::new(PostgresServer::start(PostgresOptions {
        hba: Some(format!(
            "{hba}local all all trust\nhost all all 127.0.0.1/32 trust\n"
        )),
        ..PostgresOptions::default()
    }));
    let roles = ways.map(|(user, way)| {
        let kind = if way == "md5" { "md5" } else { "scram-sha-256" };
        format!(
            "; SET password_encryption = '{kind}'; CREATE ROLE {user} LOGIN REPLICATION \
             PASSWORD 'pw-{user}'; GRANT SELECT ON item TO {user}"
        )
    });
    let roles = roles.concat();
    let world = World::on(server, &format!("{ITEM}{roles}"), &["item"]).await;
    world.source().prepare(true).await.unwrap();
    let source = |user: &str, password: Option<&str>| {
        let mut settings = vec![("user", text(user))];
        settings.extend(password.map(|password| ("password", secret(password))));
        world.source_with(&settings)
    };
    for (n, (user, _)) in ways.iter().enumerate() {
        let source = source(user, Some(&format!("pw-{user}")));
        let mut stream = source.stream(1, None).await.unwrap();
        world.run(&format!("INSERT INTO item VALUES ({n})")).await;
        changes(&mut *stream, 1).await;
        // Only what was acknowledged is not told again to the next.
        let end = world.insert_lsn().await;
        let slot = world.slot();
        drop(stream);
        world.released().await;
        world
            .run(&format!(
                "SELECT pg_replication_slot_advance('{slot}', '0/0'::pg_lsn + {end})"
            ))
            .await;
    }
    // Said before it comes to that.
    let soon = "DO $$ BEGIN EXECUTE format('ALTER ROLE scram VALID UNTIL %L', now() + interval '3 days'); END $$";
    world.run(soon).await;
    let findings = source("scram", Some("pw-scram")).check().await;
    let finding = findings.iter().find(|f| f.what.ends_with("password"));
    assert_eq!(finding.map(|f| f.level), Some(Level::Warn), "{findings:#?}");
    let findings = source("hashed", Some("pw-hashed")).check().await;
    assert!(!findings.iter().any(|f| f.what.ends_with("password")));
    world.run("ALTER ROLE old VALID UNTIL '2020-01-01'").await;
    for (user, password, found, to_do) in [
        // The server does not tell the two apart.
        (
            "old",
            Some("pw-old"),
            "password authentication failed",
            "rolvaliduntil",
        ),
        (
            "scram",
            Some("pw-other"),
            "password authentication failed",
            "password",
        ),
        ("scram", None, "password missing", "password"),
    ] {
        let error = source(user, password)
            .stream(1, None)
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error:?}");
        assert!(error.hint().unwrap().contains(to_do), "{error:?}");
        assert!(!format!("{error:?}").contains("pw-"), "{error:?}");
    }
}

#[tokio::test]
async fn a_folder_as_host_is_its_unix_socket_for_both_connections() {
    let world = World::prepared(ITEM, &["item"]).await;
    let socket = world.ask("SHOW unix_socket_directories").await.unwrap();
    let source = world.source_with(&[("host", text(socket.clone()))]);
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1)").await;
    changes(&mut *stream, 1).await;
    let tcp = "SELECT count(*)::text FROM pg_stat_activity
                WHERE application_name = 'lighterman' AND client_port > 0
                  AND datname = current_database()";
    assert_eq!(world.ask(tcp).await.unwrap(), "0");
    let source = world.source_with(&[("host", text(socket)), ("tls", text("require"))]);
    let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("a Unix socket has no TLS"),
        "{error}"
    );
}

/// Whatever the pooler is told to let pass.
#[tokio::test]
async fn a_pooler_is_named_and_left_alone() {
    let world = World::prepared(ITEM, &["item"]).await;
    for settings in [
        "",
        "ignore_startup_parameters = options",
        "ignore_startup_parameters = options, replication, extra_float_digits",
    ] {
        let pooler = Pooler::start(world.server.port(), settings);
        let port = NodeKind::Number(pooler.port().to_string());
        let source = world.source_with(&[("port", port)]);
        let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
        assert!(
            error.to_string().contains("pgbouncer"),
            "{settings}: {error}"
        );
        assert!(error.hint().unwrap().contains("host and port"), "{error:?}");
        let findings = source.check().await;
        let finding = findings
            .iter()
            .find(|f| f.what.ends_with("database"))
            .unwrap();
        assert_eq!(finding.level, Level::Fail, "{finding}");
        assert!(finding.to_string().contains("pgbouncer"), "{finding}");
        // What we asked for as a session is nobody else's.
        let url = format!(
            "postgresql://postgres@127.0.0.1:{}/{}",
            pooler.port(),
            world.name
        );
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let left = common::ask(&client, "SHOW default_transaction_read_only").await;
        assert_eq!(left.as_deref(), Some("off"), "{settings}: {}", pooler.log());
    }
}

/// Something else than a database listens there.
#[tokio::test]
async fn what_is_no_server_is_said() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, answer).await;
        }
    });
    let world = World::prepared(ITEM, &["item"]).await;
    let proxy = harness::proxy::Proxy::start(world.server.port()).await;
    proxy.divert(1, port);
    let port = NodeKind::Number(proxy.port().to_string());
    let source = world.source_with(&[("port", port)]);
    let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(
        error.to_string().contains("no PostgreSQL server"),
        "{error:?}"
    );
}
