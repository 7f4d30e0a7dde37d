//! Destination: MQTT 5.
//!
//! An event is applied when the broker has acknowledged it (quality of service 1).

mod packet;

use std::sync::Arc;

use async_trait::async_trait;
use broker::{Address, ClientConfig, Content, Fates, Login, Protocol, Stream, Template, Times};
use contract::{BuildDestination, Finding, Outgoing, Secrets, Section};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use packet::{Limits, Packet, Publish};

/// The `type` in the settings.
pub const NAME: &str = "mqtt";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "plant"
type = "mqtt"
servers = ["mqtt.example.com:8883"]  # tried in turn; they must speak MQTT 5
topic = "lighterman/{type}"          # {type}, {op} and {key} are the event's
user = "lighterman"
password = { env = "MQTT_PASSWORD" }
# client_id = "lighterman"           # what our client ids begin with
# content = "structured"             # or "binary": attributes as user properties
# retain = false                     # true: the broker keeps the last message of each topic
# without_subscriber = "retry"       # or "applied": what a message is that nobody was there for
# tls = true                         # else only servers on this machine are spoken to in plain
# ca_file = "ca.pem"                 # beside the system's certificate authorities
# certificate_file = "agent.crt"     # for servers that want one
# key_file = "agent.key"
# allow_plain = false                # true: events may leave this machine unencrypted
# batch_events_max = 200
# timeout_seconds = 15
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    broker::SERVERS,
    contract::Question::new(
        "topic",
        "To which topic are events sent?",
        "{type}, {op} and {key} are the event's",
    ),
    broker::USER,
    broker::PASSWORD,
];

/// Largest packet that is read: servers say little to those who only publish.
const READ_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
struct Mqtt {
    address: Address,
    login: Option<Login>,
    client_id: String,
    topic: Template,
    content: Content,
    retain: bool,
    /// A message that nobody was there for counts as applied.
    unheard: bool,
    times: Times,
    tls: Option<Arc<ClientConfig>>,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let address = Address::read(section, 1883, 8883);
    let login = Login::read(section, secrets);
    let client_id = section.text_or("client_id", "lighterman").to_owned();
    if let (false, Some(node)) = (
        client_id.len() <= 100 && packet::fits(&client_id),
        section.get("client_id"),
    ) {
        section.wrong("client_id", node, "is too long".to_owned(), None);
    }
    let places = ["type", "op", "key"];
    let topic = Template::read(section, "topic", "lighterman/{type}", &places, |topic| {
        let odd = topic.is_empty() || topic.contains(['+', '#', '\0']) || topic.starts_with('$');
        odd.then_some("is no topic to publish to: without `+`, `#` and a leading `$`")
    });
    let retain = section.flag_or("retain", false);
    let unheard =
        section.word_or("without_subscriber", &["retry", "applied"], "retry") == "applied";
    let times = Times::read(section);
    let mqtt = Mqtt {
        content: Content::read(section),
        times,
        address: address?.within(times),
        login,
        client_id,
        topic,
        retain,
        unheard,
        tls: None,
    };
    Some(Arc::new(move |name| {
        let tls = broker::tls(&mqtt.address)?;
        let mqtt = Mqtt {
            tls,
            ..mqtt.clone()
        };
        Ok(broker::build(name, mqtt.times, mqtt))
    }))
}

/// A connection that has logged in.
struct Link {
    stream: BufReader<Stream>,
    limits: Limits,
    next: u16,
}

fn broken(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => format!("the connection broke: {error}"),
    }
}

fn with(reason: u8, said: &str) -> String {
    let reason = packet::reason(reason);
    if said.is_empty() {
        reason
    } else {
        format!("{reason}: {said}")
    }
}

impl Link {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.map_err(|e| broken(&e))?;
        stream.flush().await.map_err(|e| broken(&e))
    }

    async fn packet(&mut self) -> Result<Packet, String> {
        let first = self.byte().await?;
        let mut length = 0;
        for place in 0..4 {
            let byte = self.byte().await?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if length > READ_BYTES_MAX {
            return Err("what answers there does not speak MQTT 5".to_owned());
        }
        let mut body = vec![0; length];
        let read = self.stream.read_exact(&mut body).await;
        read.map_err(|e| broken(&e))?;
        match packet::read(first, &body) {
            Some(Packet::Disconnected { reason, said }) => Err(format!(
                "the server ended the connection: {}",
                with(reason, &said)
            )),
            Some(packet) => Ok(packet),
            None => Err("what answers there does not speak MQTT 5".to_owned()),
        }
    }

    async fn byte(&mut self) -> Result<u8, String> {
        self.stream.read_u8().await.map_err(|e| broken(&e))
    }

    /// The number of the next message: never 0.
    fn number(&mut self) -> u16 {
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.next
    }
}

impl Mqtt {
    /// What the broker's acknowledgement says about an event.
    fn decide(&self, fates: &mut Fates, index: usize, topic: &str, reason: u8, said: &str) {
        match reason {
            0x10 if !self.unheard && !self.retain => {
                let cause = format!("nobody subscribes to {topic}, so the server threw it away");
                fates.refused(index, cause);
            }
            0x00..0x80 => fates.applied(index, format!("topic {topic}: {}", with(reason, said))),
            0x90 | 0x99 => fates.rejected(index, with(reason, said)),
            // The standard lets these say nothing about what was done.
            0x80 | 0x83 | 0x91 => {}
            _ => fates.refused(index, format!("topic {topic}: {}", with(reason, said))),
        }
    }

    fn message(&self, event: &Outgoing, topic: &str, id: u16) -> Option<Vec<u8>> {
        let mut properties = self.content.headers(event, "");
        properties.push(broker::trace(event));
        let fits = packet::fits(topic) && properties.iter().all(|(_, value)| packet::fits(value));
        fits.then(|| {
            let message = Publish {
                id,
                topic,
                retain: self.retain,
                content_type: self.content.content_type(),
                properties: &properties,
                payload: &self.content.payload(event),
            };
            message.packet()
        })
    }
}

#[async_trait]
impl Protocol for Mqtt {
    type Link = Link;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self) -> Result<Link, String> {
        let stream = broker::dial(&self.address, self.tls.as_ref()).await?;
        let mut link = Link {
            stream: BufReader::new(stream),
            limits: Limits::default(),
            next: 0,
        };
        // A client id is held by one connection only: a check must not end the agent's own.
        let unique = broker::unique();
        let client = format!(
            "{}-{}",
            self.client_id,
            unique.get(..12).unwrap_or_default()
        );
        let login = self.login.as_ref();
        let login = login.map(|login| (login.user.as_str(), login.password.expose()));
        link.send(&packet::connect(&client, login)).await?;
        match link.packet().await? {
            Packet::Connected {
                reason: 0, limits, ..
            } => link.limits = limits,
            Packet::Connected { reason, said, .. } => {
                return Err(format!("the server refuses us: {}", with(reason, &said)));
            }
            Packet::Acknowledged { .. } | Packet::Disconnected { .. } | Packet::Other => {
                return Err("what answers there does not speak MQTT 5".to_owned());
            }
        }
        if !link.limits.acknowledges {
            return Err("the server acknowledges no messages (maximum QoS is 0)".to_owned());
        }
        if self.retain && !link.limits.retains {
            return Err("the server keeps no messages: set retain = false".to_owned());
        }
        Ok(link)
    }

    async fn usable(&self, link: &mut Link) -> bool {
        link.stream.buffer().is_empty() && link.stream.get_mut().quiet().await
    }

    async fn publish(
        &self,
        link: &mut Link,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String> {
        let mut waiting: Vec<(u16, usize, String)> = Vec::new();
        let mut rest = batch.iter().enumerate();
        loop {
            // As many as the server bears at once; each acknowledgement makes room for one more.
            let mut out = Vec::new();
            while waiting.len() < usize::from(link.limits.at_once) {
                let Some((index, event)) = rest.next() else {
                    break;
                };
                let topic = self.topic.name(event);
                let id = link.number();
                let Some(packet) = self.message(event, &topic, id) else {
                    let cause = "a topic or an attribute is too long for MQTT, or holds a zero";
                    fates.rejected(index, cause);
                    continue;
                };
                let most = link.limits.packet_bytes;
                if packet.len() > usize::try_from(most).unwrap_or(usize::MAX) {
                    let bytes = packet.len();
                    let cause = format!("{bytes} bytes are more than the server takes ({most})");
                    fates.rejected(index, cause);
                    continue;
                }
                fates.out(index);
                out.extend_from_slice(&packet);
                waiting.push((id, index, topic));
            }
            if !out.is_empty() {
                link.send(&out).await?;
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if let Packet::Acknowledged { id, reason, said } = link.packet().await?
                && let Some(place) = waiting.iter().position(|(waited, _, _)| *waited == id)
            {
                let (_, index, topic) = waiting.remove(place);
                self.decide(fates, index, &topic, reason, &said);
            }
        }
    }

    async fn look(&self, link: &mut Link, what: &str) -> Vec<Finding> {
        // Nothing in MQTT asks whether a topic may be published to, or who subscribes.
        let bye = link.send(&packet::DISCONNECT).await;
        vec![match bye {
            Ok(()) => Finding::pass(what, "the server lets us in and speaks MQTT 5"),
            Err(cause) => Finding::fail(what, cause),
        }]
    }
}
