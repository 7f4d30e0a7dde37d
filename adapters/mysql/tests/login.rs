//! Logging in, and what answers instead of the server.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{Level, NodeKind, SourceError};
use harness::mariadb::MariadbOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{self, World, about, number, secret, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";

async fn error(world: &World, settings: &[(&str, NodeKind)]) -> SourceError {
    world
        .source_with(settings)
        .catalogue(&[])
        .await
        .unwrap_err()
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let world = World::new(ITEM, &["item"]).await;
    let name = &world.name;
    world
        .run(&format!(
            "CREATE USER {name}_clerk IDENTIFIED BY 'pw'; GRANT SELECT ON {name}.* TO {name}_clerk;
             CREATE USER {name}_locked IDENTIFIED BY 'pw' ACCOUNT LOCK;
             CREATE USER {name}_expired IDENTIFIED BY 'pw' PASSWORD EXPIRE;
             CREATE USER {name}_tls IDENTIFIED BY 'pw' REQUIRE SSL"
        ))
        .await;
    let as_user = |user: &str, password: &str| {
        vec![
            ("user", text(format!("{name}_{user}"))),
            ("password", secret(password)),
        ]
    };
    world
        .source_with(&as_user("clerk", "pw"))
        .catalogue(&[])
        .await
        .unwrap();
    for (user, password, found, to_do) in [
        ("clerk", "pw-other", "Access denied", "SHOW CREATE USER"),
        ("nobody", "pw", "Access denied", "user and password"),
        ("tls", "pw", "Access denied", "needs tls in the settings"),
        ("locked", "pw", "locked", "ACCOUNT UNLOCK"),
        ("expired", "pw", "PASSWORD", "ALTER USER"),
    ] {
        let error = error(&world, &as_user(user, password)).await;
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{user}: {error:?}"
        );
        assert!(error.to_string().contains(found), "{user}: {error:?}");
        assert!(error.hint().unwrap().contains(to_do), "{user}: {error:?}");
        assert!(!format!("{error:?}").contains("pw-other"), "{error:?}");
    }
}

#[tokio::test]
async fn too_many_connections_are_waited_for() {
    let options = MariadbOptions::default()
        .setting("max_connections=10")
        .setting("extra_max_connections=0");
    let world = World::with(options, ITEM, &["item"]).await;
    let name = &world.name;
    world
        .run(&format!(
            "CREATE USER {name}_clerk; GRANT SELECT ON {name}.* TO {name}_clerk"
        ))
        .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(world.server.connect(None).await);
    }
    let error = error(&world, &[("user", text(format!("{name}_clerk")))]).await;
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(
        error.to_string().contains("Too many connections"),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_as_host_is_a_unix_socket() {
    let world = World::new(ITEM, &["item"]).await;
    let (socket,): (String,) = world.server.ask("SELECT @@socket").await;
    let source = world.source_with(&[("host", text(socket.clone()))]);
    assert!(!source.catalogue(&[]).await.unwrap().is_empty());
    let error = error(&world, &[("host", text(socket)), ("tls", text("require"))]).await;
    assert!(
        error.to_string().contains("a Unix socket has no TLS"),
        "{error}"
    );
}

/// The sessions are the same on a server whose own settings are others.
#[tokio::test]
async fn sessions_do_not_depend_on_the_servers_settings() {
    let options = MariadbOptions::default()
        .setting("default_time_zone=+05:30")
        .setting("sql_mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT")
        .setting("character_set_server=latin1")
        .setting("wait_timeout=2")
        .setting("autocommit=0");
    let sql = "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)";
    let world = World::with(options, sql, &["item", "other"]).await;
    world
        .run("SET GLOBAL sql_select_limit = 1; SET GLOBAL sql_big_selects = 0")
        .await;
    let source = world.source();
    let mut tables = source.catalogue(&[]).await.unwrap();
    tables.retain(|info| info.table.schema == world.name);
    assert_eq!(tables.len(), 2, "no answer is cut short");
    let findings = source.check().await;
    assert_eq!(common::of(&findings, Level::Fail), Vec::<String>::new());
    assert!(about(&findings, "timezone").found.contains("+05:30"));
}

/// A proxy that knows connections under numbers of its own, as MaxScale and ProxySQL do.
async fn proxy(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut ours, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut theirs = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let mut greeting = vec![0; 4096];
                let length = theirs.read(&mut greeting).await.unwrap();
                let greeting = &mut greeting[..length];
                // Header, version of the protocol, the server's version up to its zero byte, number.
                let end = greeting[5..].iter().position(|byte| *byte == 0).unwrap() + 5;
                greeting[end + 1..end + 5].copy_from_slice(&77_u32.to_le_bytes());
                ours.write_all(greeting).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_proxy_is_named_and_refused() {
    let world = World::new(ITEM, &["item"]).await;
    let port = proxy(world.server.port()).await;
    let settings = [("port", number(port))];
    let error = error(&world, &settings).await;
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("MaxScale"), "{error}");
    assert!(
        error.hint().unwrap().contains("past the proxy"),
        "{error:?}"
    );
    let findings = world.source_with(&settings).check().await;
    assert_eq!(about(&findings, "database").level, Level::Fail);
}

/// Something else than a database listens there.
#[tokio::test]
async fn what_is_no_server_is_said() {
    let world = World::new(ITEM, &["item"]).await;
    let answers: [&'static [u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x0a",
        b"\x05\x00\x00\x00\x0a5.5\x00",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.write_all(answer).await;
                let _ = socket.shutdown().await;
            }
        });
        let error = error(&world, &[("port", number(port))]).await;
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{answer:?}: {error:?}"
        );
        assert!(
            error.to_string().contains("no MySQL or MariaDB server"),
            "{answer:?}: {error}"
        );
        assert!(error.hint().unwrap().contains("host and port"));
    }
}

/// A server of the protocol that answers a login with these packets, each after one of the client's;
/// gives what the client sent.
async fn impostor(
    plugin: &'static str,
    packets: Vec<Vec<u8>>,
) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut greeting = b"\x0a8.0.36\x00\x09\x00\x00\x00abcdefgh\x00".to_vec();
    // Protocol 4.1, secure connections and login plugins; a character set, a status.
    greeting.extend(b"\x01\x82\x2d\x02\x00\x08\x00\x15");
    greeting.extend([0; 10]);
    greeting.extend(b"ijklmnopqrst\x00");
    greeting.extend(plugin.as_bytes());
    greeting.push(0);
    let talk = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        for (n, packet) in std::iter::once(greeting).chain(packets).enumerate() {
            let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
            let number = u8::try_from(2 * n).unwrap();
            let header = [length[0], length[1], length[2], number];
            socket
                .write_all(&[&header, &packet[..]].concat())
                .await
                .unwrap();
            let mut answer = vec![0; 4096];
            let length = socket.read(&mut answer).await.unwrap_or(0);
            received.extend_from_slice(&answer[..length]);
        }
        received
    });
    (port, talk)
}

/// A password in clear text is for a server that is known.
#[tokio::test]
async fn a_password_is_not_given_in_clear_to_whoever_asks() {
    let world = World::new(ITEM, &["item"]).await;
    let ask = b"\xfemysql_clear_password\x00".to_vec();
    let (port, talk) = impostor("mysql_native_password", vec![ask]).await;
    let settings = [("port", number(port)), ("password", secret("pw-clear"))];
    let error = error(&world, &settings).await;
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("clear text"), "{error}");
    assert!(error.hint().unwrap().contains("verify-full"), "{error:?}");
    let received = talk.await.unwrap();
    let told = received.windows(8).any(|bytes| bytes == b"pw-clear");
    assert!(!received.is_empty() && !told);
    // The library has heard of one of them, and panics.
    for kind in ["auth_gssapi_client", "client_ed25519"] {
        let ask = [
            b"\xfe".as_slice(),
            kind.as_bytes(),
            b"\x00abcdefghijklmnopqrstuvwxyz012345",
        ]
        .concat();
        let (port, _talk) = impostor("mysql_native_password", vec![ask]).await;
        let settings = [("port", number(port)), ("password", secret("pw"))];
        let source = world.source_with(&settings);
        let error = source.catalogue(&[]).await.unwrap_err();
        let known = kind.trim_start_matches("client_");
        assert!(error.to_string().contains(known), "{error}");
        assert!(error.hint().unwrap().contains("ALTER USER"), "{error:?}");
    }
}

/// The library trusts what a server says while it logs in, and panics; we do not.
#[tokio::test]
async fn a_server_that_breaks_the_login_breaks_nothing_else() {
    let world = World::new(ITEM, &["item"]).await;
    // It wants the password under its own key, and then has none.
    let packets = vec![b"\x01\x04".to_vec(), Vec::new()];
    let (port, _talk) = impostor("caching_sha2_password", packets).await;
    let settings = [("port", number(port)), ("password", secret("pw"))];
    let error = error(&world, &settings).await;
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("protocol"), "{error}");
}
