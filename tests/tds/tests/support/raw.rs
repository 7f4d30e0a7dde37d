//! A client that writes every byte itself.

use tds_server::wire::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, status];
    packet.extend(u16::try_from(body.len() + 8).unwrap().to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(body);
    packet
}

/// A first message that wants this encryption.
pub fn prelogin(encryption: u8) -> Vec<u8> {
    let mut body = vec![
        0, 0, 21, 0, 6, 1, 0, 27, 0, 1, 2, 0, 28, 0, 1, 6, 0, 29, 0, 1, 0xFF,
    ];
    body.extend([9, 0, 0, 0, 0, 0, encryption, 0, 1]);
    packet(0x12, 1, &body)
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[derive(Default)]
pub struct Hello<'a> {
    pub sspi: &'a [u8],
    pub features: &'a [u8],
    pub flags: u8,
}

/// A login.
pub fn hello(hello: &Hello<'_>) -> Vec<u8> {
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
pub async fn read<S: tokio::io::AsyncRead + Unpin>(socket: &mut S) -> Option<Vec<u8>> {
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

pub async fn said_hello(server: &Server, what: &Hello<'_>) -> (TcpStream, Vec<u8>) {
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

pub fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

/// A request with its headers, of no transaction.
pub fn with_headers(transaction: u64, rest: &[u8]) -> Vec<u8> {
    let mut body = 22_u32.to_le_bytes().to_vec();
    body.extend(18_u32.to_le_bytes());
    body.extend([2, 0]);
    body.extend(transaction.to_le_bytes());
    body.extend(1_u32.to_le_bytes());
    body.extend(rest);
    body
}
