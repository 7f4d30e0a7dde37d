//! Redis with an append-only file, and its protocol.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use super::{SETTINGS, keep_settings, life};
use crate::server::{Ready, Server, connect, program};

/// A running server that has written each change to its file when it answers.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

life!(Redis, "redis://127.0.0.1:{}");

impl Redis {
    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more lines in its settings file.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn start_with(settings: &str) -> Self {
        let server = Server::start(
            "redis-server",
            |folder| keep_settings(folder, settings),
            |folder, port| {
                let mut command = Command::new(program("redis-server", "redis-server"));
                command
                    .arg(folder.join(SETTINGS))
                    .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                    .args([
                        "--appendonly",
                        "yes",
                        "--appendfsync",
                        "always",
                        "--save",
                        "",
                    ])
                    .arg("--dir")
                    .arg(folder);
                command
            },
            Ready::Says("Ready to accept connections"),
        );
        Self { server }
    }

    /// The answer to a command: texts (a status too), numbers, lists, and null for nothing.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn command(&self, words: &[&str]) -> Value {
        self.commands(&[words]).pop().unwrap()
    }

    /// The answers to commands on one connection: the first may be a login.
    ///
    /// # Panics
    /// When the server answers one with an error.
    pub fn commands(&self, commands: &[&[&str]]) -> Vec<Value> {
        let mut stream = BufReader::new(connect(self.server.port()).unwrap());
        let answers = commands.iter().map(|words| {
            let mut request = format!("*{}\r\n", words.len());
            for word in *words {
                let _ = write!(request, "${}\r\n{word}\r\n", word.len());
            }
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            answer(&mut stream)
        });
        answers.collect()
    }

    /// The entries of a stream, in its order: each one's fields with their values.
    ///
    /// # Panics
    /// When it is no stream.
    pub fn entries(&self, stream: &str) -> Vec<Vec<(String, String)>> {
        let entries = self.command(&["XRANGE", stream, "-", "+"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = entries.as_array().unwrap().iter().map(|entry| {
            let fields = entry[1].as_array().unwrap().chunks(2);
            fields
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect()
        });
        entries.collect()
    }
}

fn answer(stream: &mut BufReader<TcpStream>) -> Value {
    let mut line = String::new();
    assert!(
        stream.read_line(&mut line).unwrap() > 0,
        "the server hung up"
    );
    let (kind, rest) = line.trim_end().split_at(1);
    let count = || rest.parse::<usize>();
    match kind {
        "+" => rest.into(),
        ":" => rest.parse::<i64>().unwrap().into(),
        // A length of -1 is nothing.
        "$" => count().map_or(Value::Null, |length| {
            let mut text = vec![0; length + 2];
            stream.read_exact(&mut text).unwrap();
            text.truncate(length);
            String::from_utf8(text).unwrap().into()
        }),
        "*" => count().map_or(Value::Null, |length| {
            (0..length).map(|_| answer(stream)).collect()
        }),
        _ => panic!("redis answers {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_kept_over_a_crash() {
        let mut redis = Redis::start();
        redis.command(&["XADD", "events", "*", "id", "a", "data", "zwei €"]);
        redis.command(&["XADD", "events", "*", "id", "b", "data", "{}"]);
        redis.stop();
        redis.start_again();
        let entries = redis.entries("events");
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(entries[0], [field("id", "a"), field("data", "zwei €")]);
        assert_eq!(entries.len(), 2);
        assert_eq!(redis.command(&["GET", "nothing"]), Value::Null);
    }

    #[test]
    fn a_server_wants_a_password_where_it_is_told_to() {
        let redis = Redis::start_with("requirepass secret\n");
        let answers = redis.commands(&[&["AUTH", "secret"], &["DBSIZE"]]);
        assert_eq!(answers, [Value::from("OK"), Value::from(0)]);
    }
}
