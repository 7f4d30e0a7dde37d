//! Tansu, a broker that speaks Kafka's protocol, read back by librdkafka in `kafka.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::life;
use crate::channels::prepared;
use crate::server::{Ready, Server, connect, run};

/// A running broker that holds everything in memory: nothing is left after a stop.
#[derive(Debug)]
pub struct Tansu {
    server: Server,
}

life!(Tansu, "127.0.0.1:{}");

impl Tansu {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to; there is one for `x86_64` only) or does
    /// not start.
    pub fn start() -> Self {
        let _ = folder();
        let server = Server::start(
            "Tansu",
            |_| {},
            |_, port| {
                let address = format!("tcp://127.0.0.1:{port}");
                let mut command = Command::new(folder().join("tansu"));
                command
                    .args(["broker", "--storage-engine", "memory://tansu/"])
                    .args(["--listener-url", &address])
                    .args(["--advertised-listener-url", &address]);
                command
            },
            Ready::Answers(|port| connect(port).is_ok()),
        );
        Self { server }
    }

    /// Makes a topic. One that was not made is made by the first that publishes to it, with four
    /// partitions.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn make_topic(&self, topic: &str, partitions: u32) {
        self.client(&["create", topic, &partitions.to_string()]);
    }

    /// Publishes a message under a key, acknowledged by the broker.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn publish(&self, topic: &str, key: &str, value: &str) {
        self.client(&["produce", topic, key, value]);
    }

    /// All messages of a topic, partition by partition in its order: `partition`, `offset`, `key`,
    /// `value` (texts or null) and `headers`.
    ///
    /// # Panics
    /// When there is no such topic, or something in it is not text.
    pub fn messages(&self, topic: &str) -> Vec<Value> {
        let printed = self.client(&["read", topic]);
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn client(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../channels/tansu/kafka.py");
        run(Command::new(folder().join("venv/bin/python"))
            .arg(script)
            .arg(self.server.port().to_string())
            .args(arguments))
    }
}

fn folder() -> PathBuf {
    prepared("tansu", "tansu", &[("tansu", "requirements.txt")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_what_was_published_by_key() {
        let mut tansu = Tansu::start();
        tansu.make_topic("events", 3);
        for value in ["zwei €", "{}"] {
            tansu.publish("events", "SKU-1", value);
        }
        let messages = tansu.messages("events");
        assert_eq!(messages[0]["value"], "zwei €");
        assert_eq!(messages[1]["value"], "{}");
        assert_eq!(messages[0]["partition"], messages[1]["partition"]);
        tansu.stop();
        tansu.start_again();
        tansu.make_topic("events", 1);
        assert_eq!(tansu.messages("events"), Vec::<Value>::new());
    }
}
