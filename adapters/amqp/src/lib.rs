//! Destination: RabbitMQ, by AMQP 0-9-1 with publisher confirms.
//!
//! An event is applied when the broker has confirmed it: each queue that it was routed to has it. One
//! that was routed to none is held.

mod frame;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use broker::{Address, ClientConfig, Content, Fates, Login, Protocol, Template, Times};
use contract::{BuildDestination, Finding, Outgoing, Secrets, Section};

use frame::{FRAME_BYTES_MAX, Method, Properties, Read, Wire};

/// The `type` in the settings.
pub const NAME: &str = "amqp";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "bus"
type = "amqp"
servers = ["rabbit.example.com:5671"] # tried in turn
exchange = "lighterman"              # must be there; "" = the default one, whose keys are queues
routing_key = "{type}"               # {type}, {op} and {key} are the event's
user = "lighterman"
password = { env = "RABBIT_PASSWORD" }
# virtual_host = "/"
# content = "structured"             # or "binary": attributes as headers
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
        "exchange",
        "To which exchange are events sent?",
        "it must be there",
    ),
    contract::Question::new(
        "routing_key",
        "With which routing key?",
        "{type}, {op} and {key} are the event's",
    ),
    contract::Question::new(
        "user",
        "Which user name does the agent log in with?",
        "a user of its own, which can be taken away again",
    ),
    contract::Question::new(
        "password",
        "And its password?",
        "the settings only say where it stands",
    ),
];

#[derive(Clone)]
struct Amqp {
    address: Address,
    login: Option<Login>,
    virtual_host: String,
    exchange: String,
    routing_key: Template,
    content: Content,
    times: Times,
    tls: Option<Arc<ClientConfig>>,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let address = Address::read(section, 5672, 5671);
    let login = Login::read(section, secrets);
    if login.is_none() && section.get("user").is_none() {
        section.missing("user", "`user = \"lighterman\"` and a password");
    }
    let exchange = section.required_text("exchange", "`exchange = \"lighterman\"`");
    let virtual_host = section.text_or("virtual_host", "/");
    for (key, text) in [("exchange", exchange), ("virtual_host", Some(virtual_host))] {
        if let (Some(false), Some(node)) = (text.map(frame::fits), section.get(key)) {
            section.wrong(key, node, "is longer than 255 bytes".to_owned(), None);
        }
    }
    let places = ["type", "op", "key"];
    let routing_key = Template::read(section, "routing_key", "{type}", &places, |key| {
        (!frame::fits(key)).then_some("is longer than 255 bytes")
    });
    let times = Times::read(section);
    let amqp = Amqp {
        content: Content::read(section),
        times,
        address: address?.within(times),
        login,
        virtual_host: virtual_host.to_owned(),
        exchange: exchange?.to_owned(),
        routing_key,
        tls: None,
    };
    Some(Arc::new(move |name| {
        let tls = broker::tls(&amqp.address)?;
        let amqp = Amqp {
            tls,
            ..amqp.clone()
        };
        Ok(broker::build(name, amqp.times, amqp))
    }))
}

/// A connection with one channel that confirms.
struct Link {
    wire: Wire,
    frame_max: usize,
    /// Messages published on the channel so far: confirms count them.
    published: u64,
}

/// Messages on their way.
#[derive(Default)]
struct Waiting {
    /// By delivery tag: the event, and its message id.
    tags: HashMap<u64, (usize, String)>,
    /// Message ids that came back, for no queue was there.
    returned: HashSet<String>,
}

impl Waiting {
    /// Takes what a confirm is about.
    fn confirmed(&mut self, tag: u64, multiple: bool) -> Vec<(usize, bool)> {
        let about = |known: &u64| *known == tag || (multiple && *known <= tag);
        let mut tags: Vec<u64> = self.tags.keys().copied().filter(about).collect();
        tags.sort_unstable();
        let taken = tags.iter().filter_map(|tag| self.tags.remove(tag));
        taken
            .map(|(index, id)| (index, self.returned.remove(&id)))
            .collect()
    }
}

impl Amqp {
    /// A message's frames; `None` = it cannot be said in AMQP.
    fn message(&self, event: &Outgoing, key: &str, frame_max: usize) -> Option<Vec<u8>> {
        let mut headers = self.content.headers(event, "cloudEvents_");
        headers.push(broker::trace(event));
        let payload = self.content.payload(event);
        let properties = Properties {
            content_type: self.content.content_type(),
            headers: &headers,
            id: event.repetition_key(),
            kind: event.event_type.name(),
        };
        let header = properties.header(payload.len());
        let id = event.repetition_key();
        if !frame::fits(key) || !frame::fits(id) || header.len() + 8 > frame_max {
            return None;
        }
        // What no queue gets comes back (mandatory).
        let publish = Method::new(frame::PUBLISH)
            .u16(0)
            .short(&self.exchange)
            .short(key)
            .byte(1);
        let mut out = publish.frame(1);
        frame::frame(&mut out, frame::HEADER, 1, &header);
        for part in payload.chunks(frame_max - 8) {
            frame::frame(&mut out, frame::BODY, 1, part);
        }
        Some(out)
    }

    async fn log_in(&self, wire: &mut Wire) -> Result<usize, String> {
        wire.send(b"AMQP\0\0\x09\x01").await?;
        wire.expect(frame::START).await?;
        let mut plain = Vec::new();
        if let Some(login) = &self.login {
            let password = login.password.expose();
            plain = format!("\0{}\0{password}", login.user).into_bytes();
        }
        let start = Method::new(frame::START_OK)
            .long(&frame::client_properties())
            .short("PLAIN")
            .long(&plain)
            .short("en_US");
        wire.send(&start.frame(0)).await?;
        let tune = wire.expect(frame::TUNE).await?;
        let mut tune = Read(&tune);
        let _channels = tune.u16();
        let most = tune.u32().ok_or_else(frame::strange)?;
        let most = if most == 0 {
            FRAME_BYTES_MAX
        } else {
            most.min(FRAME_BYTES_MAX)
        };
        // No heartbeats: a connection that lay still is looked at before it is used.
        let tune = Method::new(frame::TUNE_OK).u16(1).u32(most).u16(0);
        let open = Method::new(frame::OPEN)
            .short(&self.virtual_host)
            .short("")
            .byte(0);
        wire.send(&[tune.frame(0), open.frame(0)].concat()).await?;
        wire.expect(frame::OPEN_OK).await?;
        usize::try_from(most).map_err(|_| frame::strange())
    }
}

#[async_trait]
impl Protocol for Amqp {
    type Link = Link;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self) -> Result<Link, String> {
        let mut wire = Wire::new(broker::dial(&self.address, self.tls.as_ref()).await?);
        let frame_max = self.log_in(&mut wire).await?;
        wire.send(&Method::new(frame::CHANNEL_OPEN).short("").frame(1))
            .await?;
        wire.expect(frame::CHANNEL_OPEN_OK).await?;
        if !self.exchange.is_empty() {
            // Passive: only looks whether it is there.
            let look = Method::new(frame::EXCHANGE_DECLARE)
                .u16(0)
                .short(&self.exchange)
                .short("")
                .byte(1)
                .u32(0);
            wire.send(&look.frame(1)).await?;
            wire.expect(frame::EXCHANGE_DECLARE_OK).await?;
        }
        wire.send(&Method::new(frame::CONFIRM).byte(0).frame(1))
            .await?;
        wire.expect(frame::CONFIRM_OK).await?;
        Ok(Link {
            wire,
            frame_max,
            published: 0,
        })
    }

    async fn usable(&self, link: &mut Link) -> bool {
        link.wire.usable().await
    }

    async fn publish(
        &self,
        link: &mut Link,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String> {
        let mut out = Vec::new();
        let mut waiting = Waiting::default();
        for (index, event) in batch.iter().enumerate() {
            let key = self.routing_key.name(event);
            let Some(frames) = self.message(event, &key, link.frame_max) else {
                let cause = "its routing key, id or headers are too long for AMQP";
                fates.rejected(index, cause);
                continue;
            };
            fates.out(index);
            out.extend_from_slice(&frames);
            link.published += 1;
            let id = event.repetition_key().to_owned();
            waiting.tags.insert(link.published, (index, id));
        }
        link.wire.send(&out).await?;
        let mut returning = false;
        while !waiting.tags.is_empty() {
            let frame = link.wire.frame().await?;
            if frame.kind == frame::HEADER && returning {
                let id = frame::returned_id(&frame.payload).ok_or_else(frame::strange)?;
                waiting.returned.insert(id);
                returning = false;
            }
            let Some((name, mut read)) = frame.method() else {
                continue;
            };
            match name {
                // It comes before the confirm.
                frame::RETURN => returning = true,
                frame::ACK | frame::NACK => {
                    let tag = read.u64().ok_or_else(frame::strange)?;
                    let multiple = read.byte().is_some_and(|bits| bits & 1 == 1);
                    for (index, returned) in waiting.confirmed(tag, multiple) {
                        let key = batch.get(index).map(|event| self.routing_key.name(event));
                        let key = key.unwrap_or_default();
                        let exchange = &self.exchange;
                        if returned {
                            let cause = format!(
                                "no queue is bound to exchange `{exchange}` for routing key {key}"
                            );
                            fates.rejected(index, cause);
                        } else if name == frame::ACK {
                            let said =
                                format!("exchange `{exchange}`, routing key {key}, confirmed");
                            fates.applied(index, said);
                        } else {
                            let cause = format!(
                                "the broker did not take it (a queue that is full, say): routing key {key}"
                            );
                            fates.refused(index, cause);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn look(&self, _: &mut Link, what: &str) -> Vec<Finding> {
        let found = if self.exchange.is_empty() {
            "the server lets us in".to_owned()
        } else {
            format!("the server lets us in and has exchange `{}`", self.exchange)
        };
        vec![Finding::pass(what, found)]
    }
}
