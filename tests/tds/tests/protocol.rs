//! Logins of every kind, and clients that do not keep to the protocol, byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

mod support;

use std::sync::{Arc, Mutex};

use support::certificate::certificate;
use support::{config, connect_with};
use tds_server::wire::{
    Answer, Certificate, Encryption, Handler, Login, Options, Parameter, Server, ServerError,
    Session, Transaction, Value,
};
use tiberius::AuthMethod;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Lets everyone in whose integrated login is answered rightly, and keeps what was said.
#[derive(Clone, Default)]
struct Door {
    logins: Arc<Mutex<Vec<Login>>>,
    seen: Arc<Mutex<Vec<Parameter>>>,
    resets: Arc<Mutex<usize>>,
}

impl Handler for Door {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        self.logins.lock().unwrap().push(login.clone());
        match (&login.sspi, &login.sspi_reply) {
            (None, _) => Ok(Box::new(self.clone())),
            (Some(_), Some(reply)) if reply == b"right" => Ok(Box::new(self.clone())),
            _ => Err(ServerError::new(
                18452,
                14,
                "Login failed. The login is from an untrusted domain.",
            )),
        }
    }

    fn challenge(&self, _: &Login, sspi: &[u8]) -> Option<Vec<u8>> {
        (sspi == b"negotiate").then(|| b"challenge".to_vec())
    }
}

impl Session for Door {
    fn batch(&mut self, _: &str, parameters: &[Parameter]) -> Answer {
        self.seen.lock().unwrap().extend_from_slice(parameters);
        Answer::count(1)
    }

    fn transaction(&mut self, _: &Transaction) -> Result<(), ServerError> {
        Ok(())
    }

    fn reset(&mut self) {
        *self.resets.lock().unwrap() += 1;
    }
}

fn door(options: Options) -> (Server, Door) {
    let door = Door::default();
    (Server::start(options, door.clone()).unwrap(), door)
}

fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, status];
    packet.extend(u16::try_from(body.len() + 8).unwrap().to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(body);
    packet
}

/// A first message that wants this encryption.
fn prelogin(encryption: u8) -> Vec<u8> {
    let mut body = vec![
        0, 0, 21, 0, 6, 1, 0, 27, 0, 1, 2, 0, 28, 0, 1, 6, 0, 29, 0, 1, 0xFF,
    ];
    body.extend([9, 0, 0, 0, 0, 0, encryption, 0, 1]);
    packet(0x12, 1, &body)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[derive(Default)]
struct Hello<'a> {
    sspi: &'a [u8],
    features: &'a [u8],
    flags: u8,
}

/// A login.
fn hello(hello: &Hello<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut data = Vec::new();
    head.extend(0x7400_0004_u32.to_le_bytes());
    head.extend(4096_u32.to_le_bytes());
    head.extend([0; 12]);
    let extension = if hello.features.is_empty() { 0 } else { 0x10 };
    let integrated = if hello.sspi.is_empty() { 0 } else { 0x80 };
    head.extend([0, integrated, hello.flags, extension]);
    head.extend([0; 8]);
    let mut piece = |head: &mut Vec<u8>, bytes: &[u8], unit: usize| {
        head.extend(u16::try_from(94 + data.len()).unwrap().to_le_bytes());
        head.extend(u16::try_from(bytes.len() / unit).unwrap().to_le_bytes());
        data.extend_from_slice(bytes);
    };
    let password: Vec<u8> = utf16("p@ss")
        .iter()
        .map(|byte| byte.rotate_left(4) ^ 0xA5)
        .collect();
    for bytes in [
        utf16("machine"),
        utf16("agent"),
        password,
        utf16("program"),
        utf16("server"),
    ] {
        piece(&mut head, &bytes, 2);
    }
    let extension_at = head.len();
    piece(
        &mut head,
        if hello.features.is_empty() {
            &[]
        } else {
            &[0; 4]
        },
        1,
    );
    for text in ["library", "", "shop"] {
        piece(&mut head, &utf16(text), 2);
    }
    head.extend([0; 6]);
    piece(&mut head, hello.sspi, 1);
    for _ in 0..2 {
        piece(&mut head, &[], 2);
    }
    head.extend([0; 4]);
    let place = u32::try_from(94 + data.len()).unwrap();
    if !hello.features.is_empty() {
        let [low, high] = [head[extension_at], head[extension_at + 1]];
        let at = usize::from(u16::from_le_bytes([low, high])) - 94;
        data[at..at + 4].copy_from_slice(&place.to_le_bytes());
    }
    data.extend(hello.features);
    let length = u32::try_from(4 + head.len() + data.len()).unwrap();
    [&length.to_le_bytes()[..], &head, &data].concat()
}

/// Reads a message of the server: whether it came to its end, and its body.
async fn read<S: tokio::io::AsyncRead + Unpin>(socket: &mut S) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut header = [0; 8];
        socket.read_exact(&mut header).await.ok()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut piece = vec![0; length - 8];
        socket.read_exact(&mut piece).await.ok()?;
        body.extend(piece);
        if header[1] & 1 != 0 {
            return Some(body);
        }
    }
}

async fn said_hello(server: &Server, what: &Hello<'_>) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(&prelogin(2)).await.unwrap();
    read(&mut socket).await.unwrap();
    socket
        .write_all(&packet(0x10, 1, &hello(what)))
        .await
        .unwrap();
    let answer = read(&mut socket).await.unwrap_or_default();
    (socket, answer)
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

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

/// A request with its headers, of no transaction.
fn with_headers(transaction: u64, rest: &[u8]) -> Vec<u8> {
    let mut body = 22_u32.to_le_bytes().to_vec();
    body.extend(18_u32.to_le_bytes());
    body.extend([2, 0]);
    body.extend(transaction.to_le_bytes());
    body.extend(1_u32.to_le_bytes());
    body.extend(rest);
    body
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

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection_and_is_said() {
    let mut early: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a packet of"),
        (packet(0x01, 1, b"x"), "kind 0x01 at the beginning"),
        (packet(0x12, 1, &[]), "announced"),
        (packet(0x12, 1, &[0xFF]), "nothing is said"),
        (
            packet(0x12, 1, &[1, 0, 6, 0, 1, 0xFF, 2]),
            "not the version",
        ),
        (packet(0x12, 1, &[0, 0xFF, 0xFF, 0, 6, 0xFF]), "announced"),
        (prelogin(9), "9 as the wish for encryption"),
        (vec![0x12, 1, 0, 7, 0, 0, 0, 0], "a packet of 7 bytes"),
        (
            vec![0x12, 1, 0xFF, 0xFF, 0, 0, 0, 0],
            "a packet of 65535 bytes",
        ),
        (vec![0x12, 1, 0], "the end after 3 bytes"),
    ];
    for (bytes, said) in early.drain(..) {
        let (server, _) = door(Options::default());
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(read(&mut socket).await, None);
        server.handle().all_closed().await;
        let complaints = server.handle().complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains(said),
            "{complaints:?}, not {said}"
        );
    }

    let named = |bytes: &[u8]| {
        // sp_executesql with a statement, its declaration and this.
        let text = b"\0\0\xE7\x02\0\x09\x04\xD0\0\x34\x02\0x\0";
        let head = [0xFF, 0xFF, 10, 0, 0, 0];
        packet(
            0x03,
            1,
            &with_headers(0, &[&head[..], text, text, bytes].concat()),
        )
    };
    let late: Vec<(Vec<u8>, &str)> = vec![
        (packet(0x01, 1, &[]), "announced"),
        (packet(0x01, 1, &[3, 0, 0, 0]), "headers of 3 bytes"),
        (packet(0x01, 1, &[4, 0, 0, 0]), "without its transaction"),
        (packet(0x01, 1, &[0xFF; 8]), "announced"),
        (packet(0x01, 1, &with_headers(0, b"x")), "which is odd"),
        (packet(0x01, 1, &with_headers(0, &[0, 0xD8])), "not UTF-16"),
        (packet(0x07, 1, &with_headers(0, &[])), "in bulk"),
        (packet(0x10, 1, &with_headers(0, &[])), "after the login"),
        (packet(0x0E, 1, &with_headers(0, &[99, 0])), "request 99"),
        (
            packet(0x0E, 1, &with_headers(0, &[5, 0, 9, 0])),
            "isolation level 9",
        ),
        (
            packet(0x03, 1, &with_headers(0, &[0xFF, 0xFF, 99, 0, 0, 0])),
            "procedure number 99",
        ),
        (
            packet(0x03, 1, &with_headers(0, &[0xFF, 0xFF, 10, 0, 0, 0])),
            "a text is expected",
        ),
        (named(b"\0\0\x99"), "type 0x99"),
        (named(b"\0\0\xF3"), "a table"),
        (named(b"\0\x08\x38"), "encrypted"),
        (named(b"\0\0\x26\x03\x03abc"), "3"),
        (named(b"\0\0\x26\x04\x08abcdefgh"), "8 bytes for Int"),
        (named(b"\0\0\x26\x04\x02ab"), "announced"),
        (named(b"\0\0\x6A\x05\x27\0\0"), "decimal(39,0)"),
        (
            named(b"\0\0\x6A\x05\x01\0\x05\x01\x63\0\0\0"),
            "more digits",
        ),
        (
            named(b"\0\0\x6A\x05\x01\0\x05\x07\x01\0\0\0"),
            "a sign of 7",
        ),
        (named(b"\0\0\x29\x08"), "a time of scale 8"),
        (named(b"\0\0\x29\0\x03\xFF\xFF\xFF"), "a time of day"),
        (named(b"\0\0\x28\x03\xFF\xFF\xFF"), "a day of"),
        (
            named(b"\0\0\xA5\x40\x1F\xFF\x7Fab"),
            "32767 bytes for VarBinary",
        ),
        (named(b"\0\0\xA5\x41\x1F"), "a type of 8001 bytes"),
        (named(b"\0\0\xAD\xFF\xFF"), "any length"),
        (named(b"\0\0\x22\xFF\xFF\xFF\x7F\xFE\xFF\xFF\xFF"), "bytes"),
        (
            named(b"\0\0\xA5\xFF\xFF\x09\0\0\0\0\0\0\0\x01\0\0\0a\0\0\0\0"),
            "9 bytes announced, 1 came",
        ),
        (
            named(b"\0\0\xA5\xFF\xFF\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFa"),
            "announced",
        ),
        (
            named(b"\0\0\x62\x49\x1F\0\0\x03\0\0\0\x99\0a"),
            "type 0x99 in a sql_variant",
        ),
        (
            named(b"\0\0\x62\x49\x1F\0\0\x03\0\0\0\x38\x01a"),
            "properties",
        ),
    ];
    for (bytes, said) in late {
        let (server, _) = door(Options::default());
        let (mut socket, _) = said_hello(&server, &Hello::default()).await;
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut socket).await, None, "{said}");
        server.handle().all_closed().await;
        let complaints = server.handle().complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains(said),
            "{complaints:?}, not {said}"
        );
    }
}

#[tokio::test]
async fn a_message_without_end_is_not_kept() {
    let (server, _) = door(Options {
        message_bytes_max: 100_000,
        ..Options::default()
    });
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    let piece = packet(0x01, 0, &[0; 4000]);
    // The server ends it somewhere on the way.
    for _ in 0..1000 {
        if socket.write_all(&piece).await.is_err() {
            break;
        }
    }
    server.handle().all_closed().await;
    assert!(server.handle().complaints()[0].contains("more than 100000 bytes"));
}

#[tokio::test]
async fn a_login_that_is_cut_or_changed_anywhere_never_kills_the_server() {
    let (server, _) = door(Options::default());
    let whole = hello(&Hello {
        sspi: b"negotiate",
        features: b"\x02\x0D\0\0\0\x02\x08\0\0\0a\0b\0c\0d\0\xFF",
        flags: 0x20,
    });
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0xFF;
        for body in [&whole[..at], &changed] {
            let mut socket = TcpStream::connect(server.address()).await.unwrap();
            socket.write_all(&prelogin(2)).await.unwrap();
            read(&mut socket).await.unwrap();
            socket.write_all(&packet(0x10, 1, body)).await.unwrap();
            socket.shutdown().await.unwrap();
            read(&mut socket).await;
        }
    }
    server.handle().all_closed().await;
    let complaints = server.handle().complaints();
    assert!(!complaints.is_empty());
    assert!(
        !complaints
            .iter()
            .any(|complaint| complaint.contains("died")),
        "{complaints:?}"
    );
}
