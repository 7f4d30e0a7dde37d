//! AMQP 0-9-1 on the wire: frames, methods, tables
//! (<https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>).
//!
//! Our own: of a client for all of AMQP, publishing takes a dozen methods, and each event's fate
//! hangs on what had left when the connection broke.

use broker::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

/// Largest frame that we send and read.
pub(crate) const FRAME_BYTES_MAX: u32 = 128 << 10;
const END: u8 = 0xce;

/// Kinds of frames.
pub(crate) const METHOD: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;

/// A method's class and number.
pub(crate) type Name = (u16, u16);

pub(crate) const START: Name = (10, 10);
pub(crate) const START_OK: Name = (10, 11);
pub(crate) const TUNE: Name = (10, 30);
pub(crate) const TUNE_OK: Name = (10, 31);
pub(crate) const OPEN: Name = (10, 40);
pub(crate) const OPEN_OK: Name = (10, 41);
pub(crate) const CLOSE: Name = (10, 50);
pub(crate) const CHANNEL_OPEN: Name = (20, 10);
pub(crate) const CHANNEL_OPEN_OK: Name = (20, 11);
pub(crate) const CHANNEL_CLOSE: Name = (20, 40);
pub(crate) const EXCHANGE_DECLARE: Name = (40, 10);
pub(crate) const EXCHANGE_DECLARE_OK: Name = (40, 11);
pub(crate) const PUBLISH: Name = (60, 40);
pub(crate) const RETURN: Name = (60, 50);
pub(crate) const ACK: Name = (60, 80);
pub(crate) const NACK: Name = (60, 120);
pub(crate) const CONFIRM: Name = (85, 10);
pub(crate) const CONFIRM_OK: Name = (85, 11);

/// A method being written.
#[derive(Debug)]
pub(crate) struct Method(Vec<u8>);

impl Method {
    pub(crate) fn new((class, number): Name) -> Self {
        Self([class.to_be_bytes(), number.to_be_bytes()].concat())
    }

    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn u16(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// At most 255 bytes; see [`fits`].
    pub(crate) fn short(mut self, text: &str) -> Self {
        short(&mut self.0, text);
        self
    }

    pub(crate) fn long(mut self, text: &[u8]) -> Self {
        long(&mut self.0, text);
        self
    }

    pub(crate) fn frame(&self, channel: u16) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, METHOD, channel, &self.0);
        out
    }
}

/// Whether a text is short enough to be a short one.
pub(crate) fn fits(text: &str) -> bool {
    u8::try_from(text.len()).is_ok()
}

fn short(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(
        text.as_bytes()
            .get(..usize::from(length))
            .unwrap_or_default(),
    );
}

pub(crate) fn long(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text);
}

/// A table of texts.
pub(crate) fn table(entries: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in entries {
        short(&mut out, name);
        out.push(b'S');
        long(&mut out, value.as_bytes());
    }
    out
}

/// What we are, and what we understand.
pub(crate) fn client_properties() -> Vec<u8> {
    let mut abilities = Vec::new();
    for ability in [
        "publisher_confirms",
        "basic.nack",
        "authentication_failure_close",
    ] {
        short(&mut abilities, ability);
        abilities.extend_from_slice(b"t\x01");
    }
    let texts = [
        ("product", "lighterman"),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    let texts = texts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut out = table(&texts);
    short(&mut out, "capabilities");
    out.push(b'F');
    long(&mut out, &abilities);
    out
}

/// Puts a frame behind others.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    long(out, payload);
    out.push(END);
}

/// A message's properties, in AMQP's order.
pub(crate) struct Properties<'a> {
    pub(crate) content_type: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
}

const CONTENT_TYPE: u16 = 1 << 15;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const MESSAGE_ID: u16 = 1 << 7;
const TYPE: u16 = 1 << 5;
const APP_ID: u16 = 1 << 3;
const FLAGS: u16 = CONTENT_TYPE | HEADERS | DELIVERY_MODE | MESSAGE_ID | TYPE | APP_ID;

impl Properties<'_> {
    pub(crate) fn header(&self, body_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&60_u16.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(body_bytes as u64).to_be_bytes());
        out.extend_from_slice(&FLAGS.to_be_bytes());
        short(&mut out, self.content_type);
        long(&mut out, &table(self.headers));
        // Kept on disk.
        out.push(2);
        short(&mut out, self.id);
        short(&mut out, self.kind);
        short(&mut out, "lighterman");
        out
    }
}

/// The id of a message of ours that came back.
pub(crate) fn returned_id(header: &[u8]) -> Option<String> {
    let mut read = Read(header.get(12..)?);
    if read.u16()? != FLAGS {
        return None;
    }
    read.short()?;
    read.long()?;
    read.byte()?;
    read.short()
}

/// Reads a method's arguments.
pub(crate) struct Read<'a>(pub(crate) &'a [u8]);

impl<'a> Read<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(crate) fn short(&mut self) -> Option<String> {
        let length = self.byte()?;
        let text = self.take(usize::from(length))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) fn long(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The method that it is, and its arguments.
    pub(crate) fn method(&self) -> Option<(Name, Read<'_>)> {
        let mut read = Read(&self.payload);
        let name = (read.u16()?, read.u16()?);
        (self.kind == METHOD).then_some((name, read))
    }
}

/// A connection.
pub(crate) struct Wire(BufReader<Stream>);

fn broken(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => format!("the connection broke: {error}"),
    }
}

pub(crate) fn strange() -> String {
    "what answers there does not speak AMQP 0-9-1".to_owned()
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) async fn usable(&mut self) -> bool {
        self.0.buffer().is_empty() && self.0.get_mut().quiet().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.0.get_mut();
        stream.write_all(bytes).await.map_err(|e| broken(&e))?;
        stream.flush().await.map_err(|e| broken(&e))
    }

    /// The next frame; that the server closes is an error, with its reason.
    pub(crate) async fn frame(&mut self) -> Result<Frame, String> {
        let kind = self.0.read_u8().await.map_err(|e| broken(&e))?;
        // Who does not like our greeting answers with its own.
        if !matches!(kind, METHOD | HEADER | BODY | 8) {
            return Err(strange());
        }
        let _channel = self.0.read_u16().await.map_err(|e| broken(&e))?;
        let length = self.0.read_u32().await.map_err(|e| broken(&e))?;
        if length > FRAME_BYTES_MAX {
            return Err(strange());
        }
        let length = usize::try_from(length).map_err(|_| strange())?;
        let mut payload = vec![0; length + 1];
        let read = self.0.read_exact(&mut payload).await;
        read.map_err(|e| broken(&e))?;
        if payload.pop() != Some(END) {
            return Err(strange());
        }
        let frame = Frame { kind, payload };
        if let Some((CLOSE | CHANNEL_CLOSE, mut read)) = frame.method() {
            let (code, text) = (read.u16(), read.short());
            let (code, text) = (code.unwrap_or_default(), text.unwrap_or_default());
            return Err(format!("the server says {code} {text}"));
        }
        Ok(frame)
    }

    /// The arguments of the method that must come next; what servers tell at any time is passed over.
    pub(crate) async fn expect(&mut self, name: Name) -> Result<Vec<u8>, String> {
        for _ in 0..100 {
            let frame = self.frame().await?;
            if let Some((found, read)) = frame.method()
                && found == name
            {
                return Ok(read.0.to_vec());
            }
        }
        Err(strange())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_back_is_known_by_its_id() {
        let properties = Properties {
            content_type: "application/json",
            headers: &[("a".to_owned(), "b".to_owned())],
            id: "evt_1",
            kind: "product.v1",
        };
        let header = properties.header(7);
        assert_eq!(returned_id(&header).as_deref(), Some("evt_1"));
        assert_eq!(returned_id(&header[..20]), None);
    }
}
