//! Logins of every kind, and requests byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use tds_server::wire::{Certificate, Encryption, Options, Value};
use tiberius::AuthMethod;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::certificate::certificate;
use crate::support::door::door;
use crate::support::raw::{
    Hello, contains, packet, prelogin, read, said_hello, utf16, with_headers,
};
use crate::support::{config, connect_with};

#[tokio::test]
async fn what_a_client_says_at_its_login_is_handed_on() {
    let (server, door) = door(Options::default());
    let mut config = config(&server);
    config.application_name("lighterman");
    config.database("shop");
    config.readonly(true);
    config.instance_name("MSSQLServer");
    let _client = connect_with(&server, config).await.unwrap();
    let login = door.logins.lock().unwrap()[0].clone();
    assert_eq!(login.user, "agent");
    assert_eq!(login.password, "p@ss wörd");
    assert_eq!(login.program, "lighterman");
    assert_eq!(login.database, "shop");
    assert_eq!(login.server, "127.0.0.1");
    assert_eq!(login.instance, "MSSQLServer");
    assert_eq!(login.version, 0x7400_0004);
    assert!(login.read_only && !login.encrypted);
    assert!(!login.client_host.is_empty());
    assert!(
        !format!("{login:?}").contains("p@ss"),
        "no secret in what is printed"
    );
}

#[tokio::test]
async fn an_instance_that_is_not_here_is_said_to_be_another() {
    let (server, _) = door(Options {
        instance: "SALES".to_owned(),
        ..Options::default()
    });
    let mut config = config(&server);
    config.instance_name("BUYING");
    let error = connect_with(&server, config).await.err().unwrap();
    assert!(
        error
            .to_string()
            .contains("rejected the requested instance"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_lets_a_client_in() {
    let (server, door) = door(Options::default());
    let mut config = config(&server);
    config.authentication(AuthMethod::aad_token("eyJ0.token"));
    let _client = connect_with(&server, config).await.unwrap();
    let login = door.logins.lock().unwrap()[0].clone();
    assert_eq!(login.token.as_deref(), Some("eyJ0.token"));
    assert_eq!((login.user.as_str(), login.password.as_str()), ("", ""));
}

#[tokio::test]
async fn an_integrated_login_is_challenged_accepted_and_refused() {
    let (server, door) = door(Options::default());
    for (reply, accepted) in [(&b"right"[..], true), (b"wrong", false)] {
        let what = Hello {
            sspi: b"negotiate",
            ..Hello::default()
        };
        let (mut socket, challenge) = said_hello(&server, &what).await;
        assert_eq!(challenge, b"\xED\x09\0challenge");
        socket.write_all(&packet(0x11, 1, reply)).await.unwrap();
        let answer = read(&mut socket).await.unwrap();
        assert_eq!(contains(&answer, &18452_u32.to_le_bytes()), !accepted);
        assert_eq!(contains(&answer, &utf16("Microsoft SQL Server")), accepted);
    }
    let (_, answer) = said_hello(
        &server,
        &Hello {
            sspi: b"ntlm",
            ..Hello::default()
        },
    )
    .await;
    assert!(contains(&answer, &18452_u32.to_le_bytes()));
    assert_eq!(door.logins.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn only_features_that_were_asked_for_are_told() {
    let (server, _) = door(Options::default());
    // UTF-8, and something that is not known here.
    let what = Hello {
        features: b"\x0A\x01\0\0\0\x01\x55\x02\0\0\0ab\xFF",
        ..Hello::default()
    };
    let (_, answer) = said_hello(&server, &what).await;
    assert!(contains(&answer, b"\xAE\x0A\x01\0\0\0\x01\xFF"));
    let (_, answer) = said_hello(&server, &Hello::default()).await;
    assert!(!contains(&answer, b"\xAE\x0A\x01"));
}

/// What the server says to a wish for encryption: the byte, and whether it goes on.
async fn agreed(encryption: Encryption, certificate: &Certificate, wish: u8) -> (u8, Came) {
    let options = Options {
        encryption,
        certificate: Some(certificate.clone()),
        ..Options::default()
    };
    let (server, _) = door(options);
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(&prelogin(wish)).await.unwrap();
    let answer = read(&mut socket).await.unwrap();
    // The options are in order, so the second one is the encryption.
    let at = usize::from(u16::from_be_bytes([answer[6], answer[7]]));
    // What is no TLS: it fails a handshake, is no login either, or comes to a connection that ended.
    socket
        .write_all(&packet(0x12, 1, &[0x99; 16]))
        .await
        .unwrap();
    read(&mut socket).await;
    server.handle().all_closed().await;
    let came = match server.handle().complaints().first() {
        None => Came::Nothing,
        Some(complaint) if complaint.contains("the handshake of TLS failed") => Came::Tls,
        Some(complaint) if complaint.contains("0x12 for a login") => Came::Plain,
        Some(complaint) => panic!("{complaint}"),
    };
    (answer[at], came)
}

/// What comes after the wishes about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Tls,
    Plain,
    Nothing,
}

#[tokio::test]
async fn encryption_is_agreed_for_each_pair_of_wishes() {
    const OFF: u8 = 0;
    const ON: u8 = 1;
    const CANNOT: u8 = 2;
    const MUST: u8 = 3;
    let (certificate, _) = certificate();
    let (tls, plain, nothing) = (Came::Tls, Came::Plain, Came::Nothing);
    for (server, answers) in [
        (
            Encryption::Off,
            [(OFF, tls), (ON, tls), (CANNOT, plain), (ON, tls)],
        ),
        (
            Encryption::On,
            [(ON, tls), (ON, tls), (CANNOT, plain), (ON, tls)],
        ),
        (
            Encryption::NotSupported,
            [
                (CANNOT, plain),
                (CANNOT, nothing),
                (CANNOT, plain),
                (CANNOT, nothing),
            ],
        ),
        (
            Encryption::Required,
            [(MUST, tls), (ON, tls), (MUST, nothing), (ON, tls)],
        ),
    ] {
        for (wish, expected) in (OFF..=MUST).zip(answers) {
            let agreed = agreed(server, &certificate, wish).await;
            assert_eq!(agreed, expected, "{server:?}, wish {wish}");
        }
    }
}

#[tokio::test]
async fn a_wrong_transaction_is_refused_and_a_reset_is_told() {
    let (server, door) = door(Options::default());
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    socket
        .write_all(&packet(0x01, 1, &with_headers(77, &utf16("x"))))
        .await
        .unwrap();
    assert!(contains(
        &read(&mut socket).await.unwrap(),
        &3989_u32.to_le_bytes()
    ));
    socket
        .write_all(&packet(0x01, 9, &with_headers(0, &utf16("x"))))
        .await
        .unwrap();
    assert!(
        read(&mut socket)
            .await
            .unwrap()
            .starts_with(b"\xE3\x03\0\x12\0\0")
    );
    assert_eq!(*door.resets.lock().unwrap(), 1);
    // A message that is taken back by its last packet is answered and has no effect.
    socket
        .write_all(&packet(0x01, 0, &with_headers(0, &utf16("never"))))
        .await
        .unwrap();
    socket
        .write_all(&packet(0x01, 3, &utf16(" done")))
        .await
        .unwrap();
    assert_eq!(read(&mut socket).await.unwrap()[..3], [0xFD, 0x20, 0]);
    assert_eq!(server.handle().statements().len(), 1);
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn statements_are_prepared_executed_and_forgotten() {
    fn text(text: &str) -> Vec<u8> {
        let bytes = utf16(text);
        let mut out = vec![0, 0, 0xE7, 0x40, 0x1F, 9, 4, 0xD0, 0, 0x34];
        out.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
        out.extend(bytes);
        out
    }
    fn int(n: i32) -> Vec<u8> {
        [&[0, 0, 0x26, 4, 4][..], &n.to_le_bytes()].concat()
    }
    fn call(number: u8, parameters: &[Vec<u8>]) -> Vec<u8> {
        let head = [0xFF, 0xFF, number, 0, 0, 0];
        packet(
            0x03,
            1,
            &with_headers(0, &[&head[..], &parameters.concat()].concat()),
        )
    }
    let (server, door) = door(Options::default());
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    let declared = text("@a int, @b int");
    let prepare = call(
        11,
        &[
            vec![0, 1, 0x26, 4, 0],
            declared.clone(),
            text("kept"),
            int(1),
        ],
    );
    socket.write_all(&prepare).await.unwrap();
    // The handle comes back in a parameter.
    let answer = read(&mut socket).await.unwrap();
    assert!(contains(&answer, b"\x26\x04\x04\x01\0\0\0"), "{answer:x?}");
    socket
        .write_all(&call(12, &[int(1), int(5), int(6)]))
        .await
        .unwrap();
    read(&mut socket).await.unwrap();
    let both = call(
        13,
        &[
            vec![0, 1, 0x26, 4, 0],
            declared,
            text("also"),
            int(7),
            int(8),
        ],
    );
    socket.write_all(&both).await.unwrap();
    assert!(contains(
        &read(&mut socket).await.unwrap(),
        b"\x26\x04\x04\x02\0\0\0"
    ));
    let seen: Vec<(String, Value)> = door
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| (seen.name.clone(), seen.value.clone()))
        .collect();
    let named = |name: &str, n: i32| (name.to_owned(), Value::Int(n));
    assert_eq!(
        seen,
        [
            named("@a", 5),
            named("@b", 6),
            named("@a", 7),
            named("@b", 8)
        ]
    );
    for (number, error) in [(15, false), (12, true)] {
        socket.write_all(&call(number, &[int(1)])).await.unwrap();
        let answer = read(&mut socket).await.unwrap();
        assert_eq!(contains(&answer, &8179_u32.to_le_bytes()), error);
    }
    assert_eq!(
        server.handle().statements().into_iter().collect::<Vec<_>>(),
        ["also", "kept"]
    );
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}
