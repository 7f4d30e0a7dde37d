//! Kafka's protocol: numbers, texts, requests and answers on a connection
//! (<https://kafka.apache.org/protocol>).
//!
//! Our own: of the crates at hand the pure one has no idempotent producer, and the other is a C
//! library whose TLS is OpenSSL's. Old versions of requests are spoken, almost all without tagged
//! fields, which every broker from Kafka 2.1 to 4 understands.

use broker::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is written.
#[derive(Debug, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn i8(&mut self, number: i8) {
        self.raw(&number.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, number: i16) {
        self.raw(&number.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, number: i32) {
        self.raw(&number.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, number: i64) {
        self.raw(&number.to_be_bytes());
    }

    /// Zig-zag and seven bits a byte.
    pub(crate) fn varint(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        loop {
            let low = rest.to_le_bytes()[0] & 0x7f;
            rest >>= 7;
            if rest == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.raw(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }
}

/// What came. Every reading can find that there is no more.
#[derive(Debug)]
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn i8(&mut self) -> Option<i8> {
        self.take().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// A text; an absent one is empty.
    pub(crate) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let text = self.some(length)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.some(length)
    }

    /// A list; an absent one is empty.
    pub(crate) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }
}

/// A request's kind and version, and whether that version has tagged fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    pub(crate) kind: i16,
    pub(crate) version: i16,
    pub(crate) tagged: bool,
}

impl Api {
    pub(crate) const fn new(kind: i16, version: i16) -> Self {
        let tagged = false;
        Self {
            kind,
            version,
            tagged,
        }
    }
}

/// A connection to one broker.
pub(crate) struct Connection {
    stream: BufReader<Stream>,
    next: i32,
}

fn broken(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => format!("the connection broke: {error}"),
    }
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream: BufReader::new(stream),
            next: 0,
        }
    }

    pub(crate) async fn usable(&mut self) -> bool {
        self.stream.buffer().is_empty() && self.stream.get_mut().quiet().await
    }

    /// Sends a request; its number is what the answer comes under.
    pub(crate) async fn send(&mut self, api: Api, body: &Out) -> Result<i32, String> {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let mut head = Out::default();
        head.i16(api.kind);
        head.i16(api.version);
        head.i32(number);
        head.text("lighterman");
        if api.tagged {
            head.i8(0);
        }
        let mut out = Out::default();
        out.count(head.0.len() + body.0.len());
        out.raw(&head.0);
        out.raw(&body.0);
        let stream = self.stream.get_mut();
        stream.write_all(&out.0).await.map_err(|e| broken(&e))?;
        stream.flush().await.map_err(|e| broken(&e))?;
        Ok(number)
    }

    /// The answer to a request.
    pub(crate) async fn answer(&mut self, number: i32) -> Result<Vec<u8>, String> {
        let length = self.stream.read_i32().await.map_err(|e| broken(&e))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(strange());
        }
        let mut body = vec![0; length];
        let read = self.stream.read_exact(&mut body).await;
        read.map_err(|e| broken(&e))?;
        let rest = body.split_off(4);
        if body != number.to_be_bytes() {
            return Err(strange());
        }
        Ok(rest)
    }

    /// A request and its answer, read by `read`.
    pub(crate) async fn ask<T>(
        &mut self,
        api: Api,
        body: &Out,
        read: impl FnOnce(&mut In<'_>) -> Option<T>,
    ) -> Result<T, String> {
        let number = self.send(api, body).await?;
        let answer = self.answer(number).await?;
        let mut answer = In(&answer);
        // No answer that we read has tags in its head.
        if api.tagged && answer.i8() != Some(0) {
            return Err(strange());
        }
        read(&mut answer).ok_or_else(strange)
    }
}

pub(crate) fn strange() -> String {
    "what answers there does not speak Kafka's protocol".to_owned()
}
