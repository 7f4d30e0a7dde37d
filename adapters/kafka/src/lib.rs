//! Destination: Apache Kafka, and what speaks its protocol.
//!
//! An event is applied when all replicas in sync have it. Events of a key go to one partition, in
//! order. The producer is idempotent: a batch whose answer was lost with its connection is sent
//! once more under the same number, and the broker leaves out what it has.

mod api;
mod error;
mod link;
mod record;
mod sasl;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use broker::{Address, ClientConfig, Content, Fates, Login, Protocol, Template, Times};
use contract::{BuildDestination, Finding, Outgoing, Secrets, Section};

use api::Part;
use error::{Meaning, meaning};
use link::Link;
use record::Record;
use sasl::Mechanism;

/// The `type` in the settings.
pub const NAME: &str = "kafka";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "bus"
type = "kafka"
servers = ["kafka-1.example.com:9093", "kafka-2.example.com:9093"] # the first that answers says where the others are
topic = "lighterman.{type}"          # {type} is the event's; topics must be there
user = "lighterman"
password = { env = "KAFKA_PASSWORD" }
# login = "scram-sha-512"            # or "scram-sha-256", "plain"
# content = "structured"             # or "binary": attributes as headers
# ignore_advertised = false          # true: one broker behind a tunnel, spoken to only by `servers`
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
        "Into which topic do events go?",
        "{type} is the event's; topics must be there",
    ),
    broker::USER,
    broker::PASSWORD,
];

#[derive(Clone)]
pub(crate) struct Kafka {
    address: Address,
    login: Option<Login>,
    mechanism: Mechanism,
    topic: Template,
    content: Content,
    ignore_advertised: bool,
    times: Times,
    tls: Option<Arc<ClientConfig>>,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let address = Address::read(section, 9092, 9093);
    let login = Login::read(section, secrets);
    let mechanism = section.word_or("login", &Mechanism::NAMES, "scram-sha-512");
    let topic = Template::read(section, "topic", "lighterman.{type}", &["type"], |topic| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fine = !topic.is_empty() && topic.len() <= 200 && topic.bytes().all(fine);
        (!fine).then_some("may have letters, digits, `.`, `_` and `-` only, 249 in all")
    });
    let ignore_advertised = section.flag_or("ignore_advertised", false);
    let times = Times::read(section);
    let kafka = Kafka {
        content: Content::read(section),
        times,
        address: address?.within(times),
        login,
        mechanism: Mechanism::of(mechanism),
        topic,
        ignore_advertised,
        tls: None,
    };
    Some(Arc::new(move |name| {
        let tls = broker::tls(&kafka.address)?;
        let kafka = Kafka {
            tls,
            ..kafka.clone()
        };
        Ok(broker::build(name, kafka.times, kafka))
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a record's time is when it is produced: brokers drop records by it"
)]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Events that go to one partition together.
#[derive(Debug, Clone)]
struct Work {
    topic: String,
    partition: usize,
    leader: i32,
    events: Vec<usize>,
    /// So often it has left.
    sent: u8,
}

impl Work {
    fn number(&self) -> i32 {
        i32::try_from(self.partition).unwrap_or(i32::MAX)
    }
}

impl Kafka {
    fn record(&self, event: &Outgoing) -> Record {
        let kind = (
            "content-type".to_owned(),
            self.content.content_type().to_owned(),
        );
        let mut headers = vec![kind];
        headers.extend(self.content.headers(event, "ce_"));
        headers.push(broker::trace(event));
        Record {
            key: event.key.clone().into_bytes(),
            value: self.content.payload(event),
            headers,
        }
    }

    /// Which events go where, as the brokers are now. `todo` are those not decided yet.
    fn sort(
        &self,
        link: &Link,
        batch: &[Outgoing],
        todo: impl Iterator<Item = usize>,
        fates: &mut Fates,
    ) -> VecDeque<Work> {
        let mut works: BTreeMap<(String, usize), Work> = BTreeMap::new();
        for index in todo {
            let Some(event) = batch.get(index) else {
                continue;
            };
            let topic = self.topic.name(event);
            let leaders = match link.leaders(&topic) {
                Ok(leaders) => leaders,
                Err(cause) => {
                    fates.refused(index, format!("topic {topic}: {cause}"));
                    continue;
                }
            };
            let partition = record::partition(event.key.as_bytes(), leaders.len());
            let leader = leaders.get(partition).copied().unwrap_or(-1);
            if leader < 0 {
                let cause = format!("topic {topic}: partition {partition} has no leader now");
                fates.refused(index, cause);
                continue;
            }
            if let Some(cause) = link.forbidden(self, leader) {
                fates.refused(index, cause);
                continue;
            }
            let work = works.entry((topic.clone(), partition)).or_insert(Work {
                topic,
                partition,
                leader,
                events: Vec::new(),
                sent: 0,
            });
            work.events.push(index);
        }
        works.into_values().collect()
    }

    /// Sends works, one for each partition at most, and takes their answers. What is left of
    /// `works` has none. An error is of a connection; what was answered before it counts.
    async fn round(
        &self,
        link: &mut Link,
        records: &[Record],
        works: &mut Vec<Work>,
        answered: &mut Vec<(Work, i16, i64)>,
        fates: &mut Fates,
    ) -> Result<(), String> {
        let mut leaders: Vec<i32> = works.iter().map(|work| work.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let timeout = i32::try_from(self.times.timeout.as_millis()).unwrap_or(i32::MAX);
        let mut waiting = Vec::with_capacity(leaders.len());
        for leader in leaders {
            let mut parts = Vec::new();
            for work in works.iter().filter(|work| work.leader == leader) {
                let events = work.events.iter().filter_map(|index| records.get(*index));
                let events: Vec<&Record> = events.collect();
                parts.push(Part {
                    topic: &work.topic,
                    partition: work.number(),
                    records: record::batch(
                        &events,
                        link.place(&work.topic, work.number()),
                        now_ms(),
                    ),
                });
            }
            let request = api::ask_produce(&parts, timeout);
            let connection = link.connection(self, leader).await?;
            for work in works.iter_mut().filter(|work| work.leader == leader) {
                work.sent = work.sent.saturating_add(1);
                work.events.iter().for_each(|index| fates.out(*index));
            }
            waiting.push((leader, connection.send(api::PRODUCE, &request).await?));
        }
        for (leader, number) in waiting {
            let connection = link.connection(self, leader).await?;
            for (topic, partition, error, offset) in link::produced(connection, number).await? {
                let place = works
                    .iter()
                    .position(|work| *work.topic == *topic && work.number() == partition);
                if let Some(place) = place {
                    answered.push((works.swap_remove(place), error, offset));
                }
            }
        }
        Ok(())
    }
}

/// What a broker's answer means for the events of a work; halves, if they are to be tried alone.
fn decide(
    link: &mut Link,
    (work, error, offset): (Work, i16, i64),
    fates: &mut Fates,
) -> (Vec<Work>, Result<(), String>) {
    let (topic, partition) = (&work.topic, work.partition);
    let (meaning, words) = meaning(error);
    let cause = format!("topic {topic}, partition {partition}: {words}");
    match meaning {
        Meaning::There => {
            link.advance(topic, work.number(), work.events.len());
            for (place, index) in work.events.iter().enumerate() {
                // Of what it had before, a broker may not say where.
                let at = i64::try_from(place).unwrap_or_default();
                let at = at.saturating_add(offset);
                let at = if offset < 0 {
                    words.clone()
                } else {
                    format!("offset {at}")
                };
                fates.applied(
                    *index,
                    format!("topic {topic}, partition {partition}, {at}"),
                );
            }
            (Vec::new(), Ok(()))
        }
        Meaning::TooLarge | Meaning::Never if work.events.len() > 1 => {
            // One of them is at fault: halving finds it.
            let (first, second) = work.events.split_at(work.events.len() / 2);
            let halves = [first, second].map(|events| Work {
                events: events.to_vec(),
                sent: 0,
                ..work.clone()
            });
            (halves.into(), Ok(()))
        }
        Meaning::TooLarge | Meaning::Never => {
            work.events
                .iter()
                .for_each(|index| fates.rejected(*index, cause.clone()));
            (Vec::new(), Ok(()))
        }
        // What was sent before, on a connection that broke, may stand for all that is said now.
        Meaning::Later if work.sent > 1 => (Vec::new(), Err(cause)),
        // Leaders have changed, or the broker's count of us has: begin anew.
        Meaning::Later => {
            work.events
                .iter()
                .for_each(|index| fates.refused(*index, cause.clone()));
            (Vec::new(), Err(cause))
        }
        Meaning::Unclear => (Vec::new(), Err(cause)),
    }
}

#[async_trait]
impl Protocol for Kafka {
    type Link = Link;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self) -> Result<Link, String> {
        Link::open(self).await
    }

    async fn usable(&self, link: &mut Link) -> bool {
        link.usable().await
    }

    async fn publish(
        &self,
        link: &mut Link,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String> {
        let topics: Vec<String> = batch.iter().map(|event| self.topic.name(event)).collect();
        link.learn(&topics).await?;
        let records: Vec<Record> = batch.iter().map(|event| self.record(event)).collect();
        let mut queue = self.sort(link, batch, 0..batch.len(), fates);
        link.forget_missing();
        let mut broke = false;
        let mut result = Ok(());
        while !queue.is_empty() {
            // One batch at a time for each partition, so that its row has no gap.
            let mut works: Vec<Work> = Vec::new();
            let mut later = VecDeque::new();
            for work in queue {
                let taken = works
                    .iter()
                    .any(|other| other.topic == work.topic && other.partition == work.partition);
                if taken {
                    later.push_back(work);
                } else {
                    works.push(work);
                }
            }
            queue = later;
            let mut answered = Vec::new();
            let round = self.round(link, &records, &mut works, &mut answered, fates);
            let went = round.await;
            for one in answered {
                let (halves, decided) = decide(link, one, fates);
                for half in halves.into_iter().rev() {
                    queue.push_front(half);
                }
                if decided.is_err() {
                    result = decided;
                }
            }
            match went {
                Ok(()) if works.is_empty() => {}
                Ok(()) => return Err("the broker did not answer for every partition".to_owned()),
                // The same batches under the same numbers: what is there already is left out.
                Err(cause) if !broke => {
                    broke = true;
                    let again = link.again(self).await;
                    again.map_err(|again| format!("{cause}; then: {again}"))?;
                    link.learn(&topics).await?;
                    for work in works.into_iter().rev() {
                        let leaders = link.leaders(&work.topic)?;
                        let leader = leaders.get(work.partition).copied().unwrap_or(-1);
                        queue.push_front(Work { leader, ..work });
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
        result
    }

    async fn look(&self, link: &mut Link, what: &str) -> Vec<Finding> {
        let wanted = self.topic.samples();
        let found = match link.ask(&wanted).await {
            Ok(found) => found,
            Err(cause) => return vec![Finding::fail(what, cause)],
        };
        let (mut there, mut missing) = (0, Vec::new());
        for topic in &found.topics {
            match meaning(topic.error) {
                (Meaning::There, _) if topic.leaders.iter().all(|leader| *leader >= 0) => {
                    there += 1;
                }
                (Meaning::There, _) => missing.push(format!("{} (without leader)", topic.name)),
                (_, words) => missing.push(format!("{} ({words})", topic.name)),
            }
        }
        let mut away = found.brokers.iter().filter_map(|(id, (host, port))| {
            let spoken_to = !self.ignore_advertised;
            spoken_to.then(|| link::forbidden(self, *id, host, *port))?
        });
        if let Some(cause) = away.next() {
            return vec![Finding::fail(what, cause).fix("see the page of Kafka destinations")];
        }
        let brokers = found.brokers.len();
        if missing.is_empty() {
            let found = format!("{there} topics are there, {brokers} brokers");
            return vec![Finding::pass(what, found)];
        }
        let found = format!("cannot be published to: {}", missing.join(", "));
        vec![if there == 0 {
            let make = "kafka-topics.sh --create --topic lighterman.product.v1 --partitions 6";
            Finding::fail(what, found).fix(format!("make the topics, such as: {make}"))
        } else {
            Finding::warn(what, found)
                .fix("make the topics of the types that this destination gets")
        }]
    }
}
