//! As much of the NATS client protocol as publishing takes
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
//!
//! Our own and not the vendor's client, for two reasons: that one connects again by itself and
//! then sends what was waiting, when its outcome was told long ago; and it reads JetStream's
//! answers in a way that does not bear the exact numbers this program reads all JSON with.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use broker::{Address, Login, Stream};
use contract::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Longest line of the protocol that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection that has logged in, with a subscription for answers.
pub(crate) struct Wire {
    stream: BufReader<Stream>,
    /// Subjects of answers are this and a number.
    inbox: String,
    next: u64,
    /// Most bytes that a message may have, headers and all.
    pub(crate) payload_max: usize,
    /// The server does not know headers.
    pub(crate) headers: bool,
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// JSON.
    Json(Value),
    /// Nobody listens on the subject.
    Nobody,
    /// Something that is no JSON.
    Other,
}

/// What the server says to what was sent.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The answer to the request of this number.
    Answer(u64, Answer),
    /// We may not publish to this subject: the request is not answered, and the connection goes on.
    Forbidden(String),
}

/// How to log in.
pub(crate) struct Who<'a> {
    pub(crate) login: Option<&'a Login>,
    pub(crate) token: Option<&'a Secret>,
}

/// The subject that a line says we may not publish to.
fn forbidden(line: &str) -> Option<&str> {
    let said = line.strip_prefix("-ERR ")?.trim_matches('\'');
    let rest = said.strip_prefix("Permissions Violation for Publish to ")?;
    let (subject, _) = rest.strip_prefix('"')?.split_once('"')?;
    Some(subject)
}

fn broken(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

impl Wire {
    /// Greets, encrypts, logs in.
    pub(crate) async fn open(
        address: &Address,
        tls: Option<&std::sync::Arc<broker::ClientConfig>>,
        who: &Who<'_>,
        inbox: String,
    ) -> Result<Self, String> {
        // The server greets in the clear; encryption begins after that.
        let (server, plain) = broker::dial_plain(address).await?;
        let mut wire = Self {
            stream: BufReader::new(plain),
            inbox,
            next: 0,
            payload_max: 0,
            headers: false,
        };
        let greeting = wire.line().await?;
        let info = greeting
            .strip_prefix("INFO ")
            .and_then(|json| serde_json::from_str::<Value>(json).ok())
            .ok_or("what answers there is no NATS server")?;
        let yes = |name: &str| info.get(name).and_then(Value::as_bool) == Some(true);
        wire.headers = yes("headers");
        wire.payload_max = info
            .get("max_payload")
            .and_then(Value::as_u64)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(1 << 20);
        if let Some(config) = tls {
            if !yes("tls_required") && !yes("tls_available") {
                return Err("the server does not offer TLS".to_owned());
            }
            if !wire.stream.buffer().is_empty() {
                return Err("the server spoke before the connection was encrypted".to_owned());
            }
            let plain = wire.stream.into_inner();
            let encrypted = broker::encrypt(&server, plain, config).await?;
            wire.stream = BufReader::new(encrypted);
        } else if yes("tls_required") {
            return Err("the server wants TLS: set tls = true".to_owned());
        }
        let mut connect = json!({
            "verbose": false, "pedantic": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "name": "lighterman", "protocol": 1, "headers": true, "no_responders": true,
            "tls_required": address.encrypted,
        });
        if let Some(login) = who.login {
            connect["user"] = login.user.as_str().into();
            connect["pass"] = login.password.expose().into();
        }
        if let Some(token) = who.token {
            connect["auth_token"] = token.expose().into();
        }
        let hello = format!("CONNECT {connect}\r\nSUB {}.* 1\r\nPING\r\n", wire.inbox);
        wire.send(hello.as_bytes()).await?;
        loop {
            let line = wire.line().await?;
            if line == "PONG" {
                return Ok(wire);
            }
        }
    }

    /// Whether nothing but pings came while nobody listened, and the connection is open.
    pub(crate) async fn usable(&mut self) -> bool {
        loop {
            match self.waits().await {
                Some(false) => return true,
                None => return false,
                Some(true) => {}
            }
            // The server pings now and then: that is answered, anything else ends the connection.
            match self.line().await.as_deref() {
                Ok("PING") => {
                    if self.send(b"PONG\r\n").await.is_err() {
                        return false;
                    }
                }
                Ok(line) if line.starts_with("INFO ") => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// Whether something has come that was not read yet; `None` = the connection is closed.
    async fn waits(&mut self) -> Option<bool> {
        poll_fn(|context| {
            let filled = Pin::new(&mut self.stream).poll_fill_buf(context);
            Poll::Ready(match filled {
                Poll::Pending => Some(false),
                Poll::Ready(Ok(bytes)) => (!bytes.is_empty()).then_some(true),
                Poll::Ready(Err(_)) => None,
            })
        })
        .await
    }

    /// Puts a request behind others; its number is what the answer comes under.
    pub(crate) fn request(
        &mut self,
        out: &mut Vec<u8>,
        subject: &str,
        headers: &[(String, String)],
        payload: &[u8],
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let reply = format!("{}.{number}", self.inbox);
        let mut head = String::new();
        if !headers.is_empty() {
            head.push_str("NATS/1.0\r\n");
            for (name, value) in headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            head.push_str("\r\n");
        }
        let all = head.len() + payload.len();
        let line = if head.is_empty() {
            format!("PUB {subject} {reply} {all}\r\n")
        } else {
            format!("HPUB {subject} {reply} {} {all}\r\n", head.len())
        };
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        number
    }

    /// One request and its answer.
    pub(crate) async fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<Answer, String> {
        let mut out = Vec::new();
        let number = self.request(&mut out, subject, &[], payload);
        self.send(&out).await?;
        loop {
            match self.heard().await? {
                Heard::Answer(answered, answer) if answered == number => return Ok(answer),
                Heard::Forbidden(known) if known == subject => return Ok(Answer::Nobody),
                Heard::Answer(..) | Heard::Forbidden(_) => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.map_err(|e| broken(&e))?;
        stream.flush().await.map_err(|e| broken(&e))
    }

    /// What comes next about a request of ours.
    pub(crate) async fn heard(&mut self) -> Result<Heard, String> {
        loop {
            let line = self.line().await?;
            if let Some(subject) = forbidden(&line) {
                return Ok(Heard::Forbidden(subject.to_owned()));
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (subject, head, size) = match words.as_slice() {
                ["PING"] => {
                    self.send(b"PONG\r\n").await?;
                    continue;
                }
                ["MSG", subject, _, size] => (*subject, "0", *size),
                ["HMSG", subject, _, head, size] => (*subject, *head, *size),
                // What the server says of itself; a cluster that changes.
                _ => continue,
            };
            let number = subject
                .rsplit_once('.')
                .and_then(|(_, number)| number.parse().ok());
            let sizes = size.parse::<usize>().ok().zip(head.parse::<usize>().ok());
            let (Some(number), Some((size, head))) = (number, sizes) else {
                return Err("the server sent what NATS does not know".to_owned());
            };
            if size > ANSWER_BYTES_MAX {
                return Err(format!("the server's answer has {size} bytes"));
            }
            let mut body = vec![0; size + 2];
            self.stream
                .read_exact(&mut body)
                .await
                .map_err(|e| broken(&e))?;
            body.truncate(size);
            let headers = body.get(..head).unwrap_or_default();
            if headers.starts_with(b"NATS/1.0 503") {
                return Ok(Heard::Answer(number, Answer::Nobody));
            }
            let json = serde_json::from_slice(body.get(head..).unwrap_or_default());
            let answer = json.map_or(Answer::Other, Answer::Json);
            return Ok(Heard::Answer(number, answer));
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|e| broken(&e))?;
        if line.last() != Some(&b'\n') {
            return Err("the server closed the connection".to_owned());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.strip_prefix("-ERR ") {
            // Alone of all errors that does not end the connection.
            Some(_) if forbidden(&line).is_some() => Ok(line),
            Some(error) => Err(format!("the server says {}", error.trim_matches('\''))),
            None => Ok(line),
        }
    }
}
