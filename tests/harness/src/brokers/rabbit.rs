//! RabbitMQ with its management API, by which it is read.

use std::fs;
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SETTINGS, keep_settings, life};
use crate::channels::{answer, client};
use crate::receiver::free_port;
use crate::server::{Ready, Server, connect, program};

const PACKAGE: &str = "rabbitmq-server";
const MANAGEMENT: &str = "management-port";
const EPMD: &str = "epmd-port";

/// A running broker with the user `guest`, whose password is the same. It takes ten seconds to
/// start.
#[derive(Debug)]
pub struct Rabbit {
    server: Server,
    /// By which its own programs find it.
    _epmd: Server,
}

life!(Rabbit, "amqp://guest:guest@127.0.0.1:{}/%2f");

impl Rabbit {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more lines in its settings file.
    ///
    /// # Panics
    /// As [`Rabbit::start`].
    pub fn start_with(settings: &str) -> Self {
        let epmd = Server::start(
            "epmd",
            |_| {},
            |_, port| {
                let mut command = Command::new(program("epmd", PACKAGE));
                command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
                command
            },
            Ready::Answers(|port| connect(port).is_ok()),
        );
        let server = Server::start_group(
            "rabbitmq-server",
            |folder| {
                keep_settings(folder, settings);
                fs::write(folder.join(EPMD), epmd.port().to_string()).unwrap();
                fs::write(folder.join("plugins"), "[rabbitmq_management].").unwrap();
            },
            |folder, port| {
                let management = free_port().to_string();
                fs::write(folder.join(MANAGEMENT), &management).unwrap();
                let more = fs::read_to_string(folder.join(SETTINGS)).unwrap();
                let settings = format!(
                    "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n{more}\n"
                );
                fs::write(folder.join("rabbit.conf"), settings).unwrap();
                // The script in the path would change the user; this is what it runs.
                let _ = program("rabbitmqctl", PACKAGE);
                let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
                command
                    .env("HOME", folder)
                    .env("RABBITMQ_NODENAME", "rabbit@localhost")
                    .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_NODE_PORT", port.to_string())
                    .env("RABBITMQ_DIST_PORT", free_port().to_string())
                    .env(
                        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                        "-kernel inet_dist_use_interface {127,0,0,1}",
                    )
                    .env(
                        "ERL_EPMD_PORT",
                        fs::read_to_string(folder.join(EPMD)).unwrap(),
                    )
                    .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
                    .env("RABBITMQ_LOG_BASE", folder.join("log"))
                    .env("RABBITMQ_LOGS", "-")
                    .env("RABBITMQ_PID_FILE", folder.join("pid"))
                    .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
                    .env("RABBITMQ_CONFIG_FILE", folder.join("rabbit.conf"));
                command
            },
            Ready::Says("Server startup complete"),
        );
        Self {
            server,
            _epmd: epmd,
        }
    }

    /// The answer of the management API to a request below `/api`.
    pub async fn api(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let port = fs::read_to_string(self.server.folder().join(MANAGEMENT)).unwrap();
        let request = client()
            .request(method, format!("http://127.0.0.1:{port}/api/{path}"))
            .basic_auth("guest", Some("guest"))
            .header("content-type", "application/json")
            .body(body.to_string());
        answer(request).await
    }

    /// Makes a durable queue that gets what is published to the default exchange under its name.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn make_queue(&self, name: &str) {
        let body = json!({ "durable": true });
        let (status, body) = self
            .api(Method::PUT, &format!("queues/%2f/{name}"), body)
            .await;
        assert!(status.is_success(), "{name}: {status} {body}");
    }

    /// Takes the next messages out of a queue, oldest first: `payload`, `properties`, `routing_key`.
    ///
    /// # Panics
    /// When fewer come within a minute.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        while messages.len() < count {
            let body = json!({ "count": count - messages.len(), "ackmode": "ack_requeue_false", "encoding": "auto" });
            let (status, mut more) = self
                .api(Method::POST, &format!("queues/%2f/{queue}/get"), body)
                .await;
            assert!(status.is_success(), "{queue}: {status} {more}");
            messages.append(more.as_array_mut().unwrap());
            assert!(
                tokio::time::Instant::now() < deadline,
                "{queue}: {count} wanted, {messages:?} there"
            );
        }
        messages
    }

    /// Publishes a message that is kept on disk to the default exchange.
    ///
    /// # Panics
    /// When no queue gets it.
    pub async fn publish(&self, queue: &str, payload: &str) {
        let body = json!({ "properties": { "delivery_mode": 2 }, "routing_key": queue,
            "payload": payload, "payload_encoding": "string" });
        let (status, body) = self
            .api(Method::POST, "exchanges/%2f/amq.default/publish", body)
            .await;
        assert!(
            status.is_success() && body["routed"] == true,
            "{queue}: {status} {body}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_published_is_kept_over_an_orderly_restart() {
        let mut rabbit = Rabbit::start();
        rabbit.make_queue("events").await;
        rabbit.publish("events", "zwei €").await;
        rabbit.publish("events", "{}").await;
        rabbit.shut_down();
        rabbit.start_again();
        let messages = rabbit.take("events", 2).await;
        assert_eq!(messages[0]["payload"], "zwei €");
        assert_eq!(messages[1]["payload"], "{}");
    }
}
