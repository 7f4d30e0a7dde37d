//! The first words with a server, before the client library says any: whether the connection is encrypted,
//! and the TLS handshake. The library has no TLS of its own here, for it would bring a second crypto
//! provider; it is shown an answer that says there is none, and speaks through ours without knowing.
//!
//! <https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868>

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// The type of a packet: ours before the login, with the handshake in it too.
const PRELOGIN: u8 = 0x12;
/// The type of the server's answer.
const ANSWER: u8 = 0x04;
/// The last packet of a message.
const LAST: u8 = 0x01;
const HEADER: usize = 8;
/// What the server may say in one packet before a larger size is agreed on, which it never is here. The
/// handshake's packets can be larger.
const PACKET_MAX: usize = 32_767;
/// How much of the handshake goes into one packet of ours.
const PACKET_OURS: usize = 4_096 - HEADER;

/// A server that can encrypt is asked to.
pub(crate) const ENCRYPT_ON: u8 = 1;
pub(crate) const ENCRYPT_OFF: u8 = 0;
pub(crate) const ENCRYPT_NOT_SUPPORTED: u8 = 2;

const OPTION_VERSION: u8 = 0;
const OPTION_ENCRYPTION: u8 = 1;
const OPTION_INSTANCE: u8 = 2;
const OPTION_THREAD: u8 = 3;
const OPTION_MARS: u8 = 4;
const OPTION_TOKEN_REQUIRED: u8 = 6;
const END: u8 = 0xff;

/// Why there is no answer to the first words.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// What answers does not keep to the protocol.
    NotAServer,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) encryption: u8,
    /// The instance that answers is the one that was asked for.
    pub(crate) instance_fits: bool,
    /// The whole packet, as the library is shown it.
    shown: Vec<u8>,
}

/// Says the first words, and hears the answer.
pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    encryption: u8,
    instance: Option<&str>,
    token: bool,
) -> Result<Answer, Failure> {
    socket.write_all(&ours(encryption, instance, token)).await?;
    socket.flush().await?;
    let mut header = [0; HEADER];
    socket.read_exact(&mut header).await?;
    let [kind, status, high, low, ..] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != ANSWER || status & LAST == 0 || !(HEADER..=PACKET_MAX).contains(&length) {
        return Err(Failure::NotAServer);
    }
    let mut body = vec![0; length - HEADER];
    socket.read_exact(&mut body).await?;
    read(header, body).ok_or(Failure::NotAServer)
}

fn ours(encryption: u8, instance: Option<&str>, token: bool) -> Vec<u8> {
    let mut name = instance.unwrap_or_default().as_bytes().to_vec();
    name.push(0);
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (OPTION_VERSION, vec![0; 6]),
        (OPTION_ENCRYPTION, vec![encryption]),
        (OPTION_INSTANCE, name),
        (OPTION_THREAD, vec![0; 4]),
        (OPTION_MARS, vec![0]),
    ];
    if token {
        options.push((OPTION_TOKEN_REQUIRED, vec![1]));
    }
    packet(&body(&options))
}

/// Options: first where each stands, then what they hold.
fn body(options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut held = Vec::new();
    for (option, value) in options {
        let at = options.len() * 5 + 1 + held.len();
        table.push(*option);
        table.extend(u16::try_from(at).unwrap_or(u16::MAX).to_be_bytes());
        table.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        held.extend_from_slice(value);
    }
    table.push(END);
    table.extend(held);
    table
}

fn packet(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + HEADER).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![PRELOGIN, LAST, high, low, 0, 0, 0, 0];
    packet.extend_from_slice(body);
    packet
}

/// Reads an answer, and makes it one that says that there is no encryption.
fn read(header: [u8; HEADER], mut body: Vec<u8>) -> Option<Answer> {
    let (mut encryption, mut instance_fits) = (None, true);
    let mut at = 0;
    loop {
        let option = *body.get(at)?;
        if option == END {
            break;
        }
        let place = body.get(at + 1..at + 5)?;
        let [a, b, c, d] = *place else {
            return None;
        };
        let from = usize::from(u16::from_be_bytes([a, b]));
        let length = usize::from(u16::from_be_bytes([c, d]));
        let value = body.get_mut(from..from.checked_add(length)?)?;
        match option {
            OPTION_ENCRYPTION => {
                let byte = value.first_mut()?;
                encryption = Some(*byte);
                *byte = ENCRYPT_NOT_SUPPORTED;
            }
            OPTION_INSTANCE => instance_fits = value.first().is_none_or(|byte| *byte == 0),
            _ => {}
        }
        at += 5;
    }
    let mut shown = header.to_vec();
    shown.extend(body);
    Some(Answer {
        encryption: encryption?,
        instance_fits,
        shown,
    })
}

/// A socket whose bytes travel in packets for as long as the TLS handshake takes: what is written gathers
/// until it is flushed, and then goes as one message.
#[derive(Debug)]
pub(crate) struct Wrapped<S> {
    socket: S,
    wrapping: bool,
    gathered: Vec<u8>,
    /// Packets on their way out, and how much of them is.
    going: Vec<u8>,
    gone: usize,
    /// The header of the packet that comes in, as far as it is there.
    header: [u8; HEADER],
    header_length: usize,
    /// Bytes left of that packet.
    left: usize,
}

impl<S> Wrapped<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            wrapping: true,
            gathered: Vec::new(),
            going: Vec::new(),
            gone: 0,
            header: [0; HEADER],
            header_length: 0,
            left: 0,
        }
    }

    /// The handshake is over: from here on bytes travel as they are.
    pub(crate) fn unwrap(&mut self) {
        self.wrapping = false;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wrapped<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.wrapping && this.left == 0 && this.header_length == 0 {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        while this.left == 0 {
            let Some(rest) = this.header.get_mut(this.header_length..) else {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            };
            let mut rest = ReadBuf::new(rest);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut rest))?;
            let came = rest.filled().len();
            if came == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.header_length += came;
            if this.header_length < HEADER {
                continue;
            }
            let [kind, _, high, low, ..] = this.header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if ![PRELOGIN, ANSWER].contains(&kind) || !(HEADER..=PACKET_MAX).contains(&length) {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the server's part of the TLS handshake is none",
                )));
            }
            this.header_length = 0;
            this.left = length - HEADER;
        }
        let mut part = [0; 2_048];
        let most = part.len().min(this.left).min(buffer.remaining());
        let mut part = ReadBuf::new(part.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut part))?;
        let came = part.filled().len();
        buffer.put_slice(part.filled());
        this.left -= came;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Wrapped<S> {
    /// Sends what is on its way.
    fn poll_going(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.going.get(self.gone..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += sent;
        }
        self.going.clear();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wrapped<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.wrapping && this.gathered.len() < PACKET_MAX {
            this.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(Pin::new(&mut *this).poll_flush(context))?;
        if this.wrapping {
            this.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_going(context))?;
            if this.gathered.is_empty() {
                break;
            }
            let gathered = std::mem::take(&mut this.gathered);
            let last = gathered.len().div_ceil(PACKET_OURS);
            for (at, part) in gathered.chunks(PACKET_OURS).enumerate() {
                let mut packet = packet(part);
                if at + 1 < last
                    && let Some(status) = packet.get_mut(1)
                {
                    *status = 0;
                }
                this.going.extend(packet);
            }
        }
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

/// A connection over which the first words were said already: the library's own are taken and go no
/// further, and it is shown the answer that came.
#[derive(Debug)]
pub(crate) struct Greeted<S> {
    socket: S,
    /// What the library has said of its first words.
    said: Vec<u8>,
    /// They are complete.
    heard: bool,
    shown: Vec<u8>,
    read: usize,
}

impl<S> Greeted<S> {
    pub(crate) fn new(socket: S, answer: Answer) -> Self {
        Self {
            socket,
            said: Vec::new(),
            heard: false,
            shown: answer.shown,
            read: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = this.shown.get(this.read..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        let part = rest.get(..buffer.remaining()).unwrap_or(rest);
        buffer.put_slice(part);
        this.read += part.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.heard {
            return Pin::new(&mut this.socket).poll_write(context, bytes);
        }
        // One message of one packet: how long it is stands in its header.
        let length = match *this.said {
            [kind, status, high, low, ..] if kind == PRELOGIN && status & LAST != 0 => {
                usize::from(u16::from_be_bytes([high, low])).max(HEADER)
            }
            [_, _, _, _, ..] => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => 4,
        };
        let part = bytes
            .get(..length.saturating_sub(this.said.len()))
            .unwrap_or(bytes);
        this.said.extend_from_slice(part);
        this.heard = this.said.len() > 4 && this.said.len() == length;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer: version, encryption, instance, thread, several answers at once.
    const SHOWN: [u8; 43] = [
        0x04, 0x01, 0x00, 0x2b, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x1a, 0x00, 0x06, 0x01, 0x00,
        0x20, 0x00, 0x01, 0x02, 0x00, 0x21, 0x00, 0x01, 0x03, 0x00, 0x22, 0x00, 0x00, 0x04, 0x00,
        0x22, 0x00, 0x01, 0xff, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    ];

    fn answer(packet: &[u8]) -> Option<Answer> {
        let (header, body) = packet.split_first_chunk()?;
        read(*header, body.to_vec())
    }

    #[test]
    fn the_library_is_shown_that_there_is_no_encryption() {
        let found = answer(&SHOWN).unwrap();
        assert_eq!((found.encryption, found.instance_fits), (ENCRYPT_ON, true));
        let mut expected = SHOWN.to_vec();
        expected[40] = ENCRYPT_NOT_SUPPORTED;
        assert_eq!(found.shown, expected);
        // Another instance than the one that was asked for.
        let mut other = SHOWN;
        other[41] = 1;
        assert!(!answer(&other).unwrap().instance_fits);
        for cut in 8..34 {
            assert_eq!(answer(&SHOWN[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn our_first_words_ask_for_what_is_wanted() {
        let said = ours(ENCRYPT_ON, Some("ERP"), true);
        assert_eq!(said.len(), usize::from(said[3]));
        let (_, body) = said.split_first_chunk::<HEADER>().unwrap();
        // Six options, each five bytes, and an end.
        let held = &body[31..];
        assert_eq!(held, b"\0\0\0\0\0\0\x01ERP\0\0\0\0\0\0\x01");
        let plain = ours(ENCRYPT_NOT_SUPPORTED, None, false);
        assert_eq!(plain[8 + 26..], *b"\0\0\0\0\0\0\x02\0\0\0\0\0\0");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_harm(header: [u8; HEADER], body: Vec<u8>) {
            let _ = read(header, body);
        }
    }

    /// What is written by the library before its own first words are complete goes nowhere, however it is
    /// cut; all behind them does.
    #[tokio::test]
    async fn the_librarys_first_words_go_no_further() {
        let words = ours(ENCRYPT_NOT_SUPPORTED, None, false);
        for size in 1..words.len() + 3 {
            let (mut near, ours) = tokio::io::duplex(256);
            let mut greeted = Greeted::new(ours, answer(&SHOWN).unwrap());
            let mut all = words.clone();
            all.extend(b"LOGIN");
            for part in all.chunks(size) {
                greeted.write_all(part).await.unwrap();
            }
            let mut shown = vec![0; SHOWN.len()];
            greeted.read_exact(&mut shown).await.unwrap();
            near.write_all(b"IN").await.unwrap();
            let mut inside = [0; 2];
            greeted.read_exact(&mut inside).await.unwrap();
            drop(greeted);
            let mut heard = Vec::new();
            near.read_to_end(&mut heard).await.unwrap();
            assert_eq!((&heard[..], &inside), (&b"LOGIN"[..], b"IN"), "{size}");
        }
    }
}
