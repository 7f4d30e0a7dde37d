//! Mosquitto, an MQTT broker, read back by its own client program.

use std::process::Command;

use serde_json::Value;

use super::{SETTINGS, keep_settings, life};
use crate::server::{Ready, Server, connect, program, run};

/// How long the reading client waits for messages, in seconds.
const WAIT_SECONDS: &str = "60";

/// A running broker that lets everybody in and queues without limit for those who are away. What it
/// holds is kept over [`Mosquitto::shut_down`] and, being written only then and now and then, not
/// over [`Mosquitto::stop`].
#[derive(Debug)]
pub struct Mosquitto {
    server: Server,
}

life!(Mosquitto, "mqtt://127.0.0.1:{}");

impl Mosquitto {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        Self::start_with("allow_anonymous true\n")
    }

    /// Starts one with these lines in its settings file: at least one that lets somebody in.
    ///
    /// # Panics
    /// As [`Mosquitto::start`].
    pub fn start_with(settings: &str) -> Self {
        let server = Server::start(
            "mosquitto",
            |folder| keep_settings(folder, settings),
            |folder, port| {
                let more = std::fs::read_to_string(folder.join(SETTINGS)).unwrap();
                let file = folder.join("mosquitto.conf");
                // Started by root it would become another user, who may not write here.
                let settings = format!(
                    "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {}/\n\
                     max_queued_messages 0\nlog_dest stderr\n{more}",
                    folder.display()
                );
                std::fs::write(&file, settings).unwrap();
                let mut command = Command::new(program("mosquitto", "mosquitto"));
                command.arg("-c").arg(file);
                command
            },
            Ready::Answers(|port| connect(port).is_ok()),
        );
        Self { server }
    }

    /// From now on the broker keeps what is published to a topic (which may have wildcards) for
    /// this reader, at the quality it is published with.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn keep_for(&self, reader: &str, topic: &str) {
        run(self.client(reader, topic).arg("-E"));
    }

    /// The next messages that the broker kept for this reader, oldest first: `topic`, `payload` (a
    /// text), `qos`, `retain`.
    ///
    /// # Panics
    /// When fewer come within a minute.
    pub fn messages(&self, reader: &str, topic: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        let mut client = self.client(reader, topic);
        let printed = run(client.args(["-C", &count, "-W", WAIT_SECONDS, "-F", "%j"]));
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn client(&self, reader: &str, topic: &str) -> Command {
        let mut command = Command::new(program("mosquitto_sub", "mosquitto-clients"));
        command
            .args(["-h", "127.0.0.1", "-p", &self.server.port().to_string()])
            .args(["-V", "311", "-c", "-q", "2", "-i", reader, "-t", topic]);
        command
    }

    /// Publishes a message at quality 1.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn publish(&self, topic: &str, payload: &str) {
        run(Command::new(program("mosquitto_pub", "mosquitto-clients"))
            .args(["-h", "127.0.0.1", "-p", &self.server.port().to_string()])
            .args(["-q", "1", "-t", topic, "-m", payload]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_kept_for_a_reader_who_is_away() {
        let mut broker = Mosquitto::start();
        broker.keep_for("judge", "events/#");
        broker.publish("events/stock", "zwei €");
        broker.publish("events/price", "{\"n\":1}");
        broker.publish("other", "not asked for");
        broker.shut_down();
        broker.start_again();
        let messages = broker.messages("judge", "events/#", 2);
        assert_eq!(messages[0]["topic"], "events/stock");
        assert_eq!(messages[0]["payload"], "zwei €");
        assert_eq!(messages[0]["qos"], 1);
        assert_eq!(messages[1]["payload"], "{\"n\":1}");
    }
}
