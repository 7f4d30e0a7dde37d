//! NATS with JetStream, and as much of its text protocol as it takes to read a stream.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{SETTINGS, keep_settings, life};
use crate::server::{Ready, Server, connect, program};

/// A running server that keeps its streams in files.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    login: String,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsMessage {
    /// Where it was published.
    pub subject: String,
    /// Its headers as they came: a first line `NATS/1.0` and one line each; empty without any.
    pub headers: String,
    /// What it says.
    pub payload: String,
}

life!(Nats, "nats://127.0.0.1:{}");

impl Nats {
    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        Self::start_with("", json!({}))
    }

    /// Starts one with more lines in its settings file; `login` are the fields that the reading
    /// side of this handle then sends in its `CONNECT`.
    ///
    /// # Panics
    /// As [`Nats::start`].
    pub fn start_with(settings: &str, login: Value) -> Self {
        let server = Server::start(
            "nats-server",
            |folder| keep_settings(folder, settings),
            |folder, port| {
                let mut command = Command::new(program("nats-server", "nats-server"));
                command
                    .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
                    .args(["--jetstream", "--store_dir"])
                    .arg(folder.join("data"))
                    .arg("--config")
                    .arg(folder.join(SETTINGS));
                command
            },
            Ready::Answers(|port| {
                let mut greeting = [0; 5];
                connect(port).is_ok_and(|mut stream| stream.read_exact(&mut greeting).is_ok())
                    && greeting == *b"INFO "
            }),
        );
        let mut login = login;
        login["verbose"] = json!(false);
        login["headers"] = json!(true);
        Self {
            server,
            login: login.to_string(),
        }
    }

    /// Makes a stream of these subjects, kept in files, that knows a repeated message id for two
    /// minutes.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn make_stream(&self, name: &str, subjects: &[&str]) {
        let stream = json!({ "name": name, "subjects": subjects, "storage": "file", "retention": "limits",
            "discard": "old", "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "duplicate_window": 120_000_000_000_i64 });
        self.request(
            &format!("$JS.API.STREAM.CREATE.{name}"),
            "",
            &stream.to_string(),
        );
    }

    /// Publishes a message under an id and returns the stream's acknowledgement.
    ///
    /// # Panics
    /// When no stream takes it.
    pub fn publish(&self, subject: &str, id: &str, payload: &str) -> Value {
        self.request(
            subject,
            &format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n"),
            payload,
        )
    }

    /// What a stream says of itself.
    ///
    /// # Panics
    /// When there is no such stream.
    pub fn stream(&self, name: &str) -> Value {
        self.request(&format!("$JS.API.STREAM.INFO.{name}"), "", "")
    }

    /// All messages of a stream, in its order.
    ///
    /// # Panics
    /// When there is no such stream, or one of its messages was deleted.
    pub fn messages(&self, stream: &str) -> Vec<NatsMessage> {
        let state = self.stream(stream)["state"].take();
        if state["messages"] == 0 {
            return Vec::new();
        }
        let number = |name: &str| state[name].as_u64().unwrap();
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let mut client = self.client();
        let read = (number("first_seq")..=number("last_seq")).map(|sequence| {
            let answer = client.request(&subject, "", &json!({ "seq": sequence }).to_string());
            let message = &answer["message"];
            let text = |name: &str| {
                let bytes = STANDARD.decode(message[name].as_str().unwrap_or_default());
                String::from_utf8(bytes.unwrap()).unwrap()
            };
            NatsMessage {
                subject: message["subject"].as_str().unwrap().to_owned(),
                headers: text("hdrs"),
                payload: text("data"),
            }
        });
        read.collect()
    }

    fn request(&self, subject: &str, headers: &str, payload: &str) -> Value {
        self.client().request(subject, headers, payload)
    }

    fn client(&self) -> Client {
        let mut client = Client {
            stream: BufReader::new(connect(self.server.port()).unwrap()),
        };
        let (connect, inbox) = (&self.login, Client::INBOX);
        client.send(&format!("CONNECT {connect}\r\nSUB {inbox} 1\r\nPING\r\n"));
        while client.line() != "PONG" {}
        client
    }
}

/// A connection with one subscription, for the answers.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    const INBOX: &'static str = "_INBOX.tests";

    /// The answer to a request.
    fn request(&mut self, subject: &str, headers: &str, payload: &str) -> Value {
        let inbox = Self::INBOX;
        let (head, all) = (headers.len(), headers.len() + payload.len());
        self.send(&if headers.is_empty() {
            format!("PUB {subject} {inbox} {all}\r\n{payload}\r\n")
        } else {
            format!("HPUB {subject} {inbox} {head} {all}\r\n{headers}{payload}\r\n")
        });
        loop {
            let line = self.line();
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["MSG", .., size] => {
                    let mut body = vec![0; size.parse::<usize>().unwrap() + 2];
                    self.stream.read_exact(&mut body).unwrap();
                    let answer: Value = serde_json::from_slice(&body).unwrap();
                    assert!(answer["error"].is_null(), "{subject}: {answer}");
                    return answer;
                }
                // An answer of headers alone: nobody listens there.
                ["HMSG", ..] => panic!("nobody answers {subject}"),
                ["PING"] => self.send("PONG\r\n"),
                _ => {}
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).unwrap();
        assert!(read > 0, "the server hung up");
        assert!(!line.starts_with("-ERR"), "{line}");
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_kept_over_a_crash_and_knows_repeated_ids() {
        let mut nats = Nats::start();
        nats.make_stream("EVENTS", &["events.>"]);
        nats.publish("events.stock", "a", "{\"n\":1}");
        nats.publish("events.price", "b", "zwei €");
        assert_eq!(nats.publish("events.stock", "a", "{}")["duplicate"], true);
        nats.stop();
        nats.start_again();
        let messages = nats.messages("EVENTS");
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(messages[1].subject, "events.price");
        assert_eq!(messages[1].headers, "NATS/1.0\r\nNats-Msg-Id: b\r\n\r\n");
        assert_eq!(messages[1].payload, "zwei €");
        let (port, folder) = (nats.port(), nats.server.folder().to_owned());
        drop(nats);
        assert!(connect(port).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_wants_a_login_where_it_is_told_to() {
        let settings = "authorization { user: agent, password: secret }";
        let nats = Nats::start_with(settings, json!({ "user": "agent", "pass": "secret" }));
        nats.make_stream("EVENTS", &["events.>"]);
        assert_eq!(nats.messages("EVENTS"), []);
    }
}
