//! Destinations of each kind, and what came there.

mod event;
pub mod hook;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::proxy::Proxy;
use judge::Received;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::servers::Servers;
use hook::Hook;

const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Webhook,
    File,
    Nats,
    Redis,
    Kafka,
    Amqp,
    Mqtt,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Webhook,
        Self::File,
        Self::Nats,
        Self::Redis,
        Self::Kafka,
        Self::Amqp,
        Self::Mqtt,
    ];

    /// Whether it is reached by a network that can fail.
    pub fn is_remote(self) -> bool {
        self != Self::File
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Webhook => "webhook",
            Self::File => "file",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Amqp => "amqp",
            Self::Mqtt => "mqtt",
        })
    }
}

/// Someone who is told, on servers that are shared: all that is its own has its name.
pub struct Destination<'a> {
    kind: Kind,
    name: String,
    folder: PathBuf,
    servers: &'a Servers,
    hook: Option<Hook>,
    proxy: Option<Proxy>,
    /// Who reads what an MQTT broker passes on.
    reader: Option<Child>,
}

impl<'a> Destination<'a> {
    pub async fn start(
        kind: Kind,
        seed: u64,
        number: u32,
        folder: &Path,
        servers: &'a Servers,
    ) -> Self {
        let name = format!("torture-{number}");
        let mut new = Self {
            kind,
            name: name.clone(),
            folder: folder.to_owned(),
            servers,
            hook: None,
            proxy: None,
            reader: None,
        };
        let port = match kind {
            Kind::Webhook => {
                let hook = Hook::start(seed).await;
                let port = hook.port();
                new.hook = Some(hook);
                port
            }
            Kind::File => {
                std::fs::create_dir(folder.join("archive")).unwrap();
                return new;
            }
            Kind::Nats => {
                let nats = servers.nats();
                nats.make_stream(&name, &[&format!("{name}.>")]);
                nats.port()
            }
            Kind::Redis => servers.redis().port(),
            Kind::Kafka => {
                servers.tansu().make_topic(&name, 1);
                servers.tansu().port()
            }
            Kind::Amqp => {
                servers.rabbit().make_queue(&name).await;
                servers.rabbit().port()
            }
            Kind::Mqtt => {
                let port = servers.mosquitto().port();
                new.read_mqtt(port);
                port
            }
        };
        new.proxy = Some(Proxy::start(port).await);
        new
    }

    /// A subscriber that writes down what comes.
    fn read_mqtt(&mut self, port: u16) {
        let topic = format!("{}/#", self.name);
        self.servers.mosquitto().keep_for(&self.name, &topic);
        let file = std::fs::File::create(self.folder.join("mqtt.jsonl")).unwrap();
        let reader = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-V", "311", "-c", "-q", "2", "-i", &self.name, "-t", &topic])
            .args(["-F", "%j"])
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn();
        self.reader = Some(reader.unwrap());
    }

    /// The network in front of it.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The receiver that answers as it is told.
    pub fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
    }

    /// Its `[[destination]]` block.
    pub fn settings(&self, seed: u64) -> String {
        let name = &self.name;
        let port = self.proxy.as_ref().map(Proxy::port).unwrap_or_default();
        let servers = format!("servers = [\"127.0.0.1:{port}\"]\ntimeout_seconds = 2");
        let own = match self.kind {
            Kind::Webhook => {
                let mode = if seed.is_multiple_of(2) {
                    "structured"
                } else {
                    "batch"
                };
                format!(
                    "type = \"webhook\"\nurl = \"http://127.0.0.1:{port}/events\"\nmode = \"{mode}\"\n\
                     timeout_seconds = 1\nrequests_max = 16"
                )
            }
            Kind::File => {
                "type = \"file\"\nfolder = \"archive\"\nfile_megabytes_max = 1".to_owned()
            }
            Kind::Nats => format!("type = \"nats\"\n{servers}\nsubject = \"{name}.{{type}}\""),
            Kind::Redis => format!("type = \"redis\"\n{servers}\nstream = \"{name}\""),
            Kind::Kafka => format!(
                "type = \"kafka\"\n{servers}\ntopic = \"{name}\"\nignore_advertised = true\ncontent = \"structured\""
            ),
            Kind::Amqp => format!(
                "type = \"amqp\"\n{servers}\nexchange = \"\"\nrouting_key = \"{name}\"\nuser = \"guest\"\n\
                 password = {{ file = \"guest\" }}"
            ),
            Kind::Mqtt => format!("type = \"mqtt\"\n{servers}\ntopic = \"{name}/{{type}}\""),
        };
        format!(
            "[[destination]]\nname = \"shop\"\n{own}\nretry_first_ms = 20\nretry_max_seconds = 1\n\
             # rows go and come by the dozen\nguards = {{mass_drop = false}}\n"
        )
    }

    /// About how much has come; it grows when something comes.
    pub async fn arrivals(&self) -> u64 {
        match self.kind {
            Kind::Webhook => self.hook.as_ref().map(Hook::arrivals).unwrap_or_default(),
            Kind::File => self.lines("archive").len() as u64,
            Kind::Nats => {
                let stream = self.servers.nats().stream(&self.name);
                stream["state"]["messages"].as_u64().unwrap_or_default()
            }
            Kind::Redis => {
                let length = self.servers.redis().command(&["XLEN", &self.name]);
                length.as_u64().unwrap_or_default()
            }
            Kind::Mqtt => self.lines("").len() as u64,
            Kind::Kafka | Kind::Amqp => self.received().await.len() as u64,
        }
    }

    /// Until so many more have arrived; false when `limit` passed first.
    pub async fn wait(&self, more: u64, limit: Duration) -> bool {
        // A look at these costs more than what is waited for.
        if matches!(self.kind, Kind::Kafka | Kind::Amqp) {
            tokio::time::sleep(limit / 4).await;
            return false;
        }
        let wanted = self.arrivals().await + more;
        let deadline = Instant::now() + limit;
        while self.arrivals().await < wanted {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// The whole lines of the files in a folder, by the files' names.
    fn lines(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(folder)) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "jsonl"));
        files.sort();
        let mut lines = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            lines.extend(
                whole
                    .lines()
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned),
            );
        }
        lines
    }

    /// All that came, in the order it came.
    pub async fn received(&self) -> Vec<Received> {
        let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
        let events: Vec<Value> = match self.kind {
            Kind::Webhook => return self.hook.as_ref().map(Hook::received).unwrap_or_default(),
            Kind::File => self
                .lines("archive")
                .iter()
                .map(|line| parse(line))
                .collect(),
            Kind::Nats => {
                let messages = self.servers.nats().messages(&self.name);
                messages
                    .iter()
                    .map(|message| parse(&message.payload))
                    .collect()
            }
            Kind::Redis => {
                let entries = self.servers.redis().entries(&self.name);
                entries
                    .iter()
                    .map(|fields| event::of_fields(fields))
                    .collect()
            }
            Kind::Kafka => {
                let messages = self.servers.tansu().messages(&self.name);
                messages
                    .iter()
                    .map(|message| parse(message["value"].as_str().unwrap()))
                    .collect()
            }
            Kind::Amqp => {
                let body = json!({ "count": 1_000_000, "ackmode": "ack_requeue_true", "encoding": "auto" });
                let path = format!("queues/%2f/{}/get", self.name);
                let (_, messages) = self.servers.rabbit().api(Method::POST, &path, body).await;
                let messages = messages.as_array().cloned().unwrap_or_default();
                messages
                    .iter()
                    .map(|message| parse(message["payload"].as_str().unwrap()))
                    .collect()
            }
            Kind::Mqtt => {
                let lines = self.lines("");
                let payload = |line: &String| parse(parse(line)["payload"].as_str().unwrap());
                lines.iter().map(payload).collect()
            }
        };
        events.iter().map(event::received).collect()
    }

    /// Frees what the run took from a shared server.
    pub async fn clean(mut self) {
        if let Some(mut reader) = self.reader.take() {
            let _ = reader.kill();
            let _ = reader.wait();
        }
        match self.kind {
            Kind::Redis => {
                self.servers.redis().command(&["FLUSHALL"]);
            }
            Kind::Amqp => {
                let path = format!("queues/%2f/{}", self.name);
                let _ = self
                    .servers
                    .rabbit()
                    .api(Method::DELETE, &path, json!({}))
                    .await;
            }
            _ => {}
        }
    }
}

impl Drop for Destination<'_> {
    fn drop(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            let _ = reader.kill();
            let _ = reader.wait();
        }
    }
}
