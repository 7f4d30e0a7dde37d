//! A producer: its connections to the brokers, what it knows of topics, and how far its rows are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use broker::Address;

use crate::api::{self, Metadata};
use crate::error::{Meaning, meaning};
use crate::record::Place;
use crate::wire::{Api, Connection, In, Out};
use crate::{Kafka, sasl};

/// After this time topics are asked for again: partitions may have been added.
const KNOWN_FOR: Duration = Duration::from_mins(5);

pub(crate) struct Link {
    first: Connection,
    others: HashMap<i32, Connection>,
    brokers: HashMap<i32, (String, u16)>,
    /// Leaders by partition, or why there are none.
    topics: HashMap<String, Result<Vec<i32>, String>>,
    known_at: Instant,
    producer: i64,
    epoch: i16,
    sequences: HashMap<(String, i32), i32>,
}

async fn connect(kafka: &Kafka, address: &Address) -> Result<Connection, String> {
    let stream = broker::dial(address, kafka.tls.as_ref()).await?;
    let mut connection = Connection::new(stream);
    if let Some(login) = &kafka.login {
        sasl::log_in(&mut connection, login, kafka.mechanism).await?;
    }
    Ok(connection)
}

/// Events, and the password, must not leave this machine in plain because a broker says so.
pub(crate) fn forbidden(kafka: &Kafka, id: i32, host: &str, port: u16) -> Option<String> {
    (!kafka.address.may_be_at(host)).then(|| {
        format!(
            "broker {id} says that it is at {host}:{port}, where events would go unencrypted: set tls = true, \
             ignore_advertised = true where `servers` is a tunnel to the one broker, or allow_plain = true"
        )
    })
}

impl Link {
    pub(crate) async fn open(kafka: &Kafka) -> Result<Self, String> {
        let stream = broker::dial(&kafka.address, kafka.tls.as_ref()).await?;
        let mut first = Connection::new(stream);
        let nothing = Out::default();
        let versions = first.ask(api::VERSIONS, &nothing, api::versions);
        let (error, versions) = versions.await?;
        if error != 0 {
            return Err(meaning(error).1);
        }
        let speaks = |api: Api| {
            let found = versions.get(&api.kind);
            found.is_some_and(|(low, high)| (*low..=*high).contains(&api.version))
        };
        let init = if speaks(api::INIT_PRODUCER_TAGGED) {
            api::INIT_PRODUCER_TAGGED
        } else {
            api::INIT_PRODUCER
        };
        for api in [api::PRODUCE, api::METADATA, init] {
            if !speaks(api) {
                let Api { kind, version, .. } = api;
                return Err(format!(
                    "the broker does not speak version {version} of request {kind}: Kafka 2.1 to 4 do"
                ));
            }
        }
        if let Some(login) = &kafka.login {
            sasl::log_in(&mut first, login, kafka.mechanism).await?;
        }
        let mut link = Self {
            first,
            others: HashMap::new(),
            brokers: HashMap::new(),
            topics: HashMap::new(),
            known_at: Instant::now(),
            producer: -1,
            epoch: -1,
            sequences: HashMap::new(),
        };
        let question = api::ask_producer(init);
        let asked = link.first.ask(init, &question, api::producer);
        let (error, producer, epoch) = asked.await?;
        if error != 0 {
            return Err(format!(
                "begin as idempotent producer: {}",
                meaning(error).1
            ));
        }
        (link.producer, link.epoch) = (producer, epoch);
        Ok(link)
    }

    /// New connections for the same producer, whose rows go on where they are.
    pub(crate) async fn again(&mut self, kafka: &Kafka) -> Result<(), String> {
        self.others.clear();
        self.topics.clear();
        self.first = connect(kafka, &kafka.address).await?;
        Ok(())
    }

    pub(crate) async fn usable(&mut self) -> bool {
        if !self.first.usable().await {
            return false;
        }
        for connection in self.others.values_mut() {
            if !connection.usable().await {
                return false;
            }
        }
        true
    }

    /// Learns what is not known of these topics.
    pub(crate) async fn learn(&mut self, topics: &[String]) -> Result<(), String> {
        if self.known_at.elapsed() > KNOWN_FOR {
            self.topics.clear();
        }
        let unknown = topics
            .iter()
            .filter(|topic| !self.topics.contains_key(*topic));
        let mut unknown: Vec<String> = unknown.cloned().collect();
        unknown.sort();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        if self.topics.is_empty() {
            self.known_at = Instant::now();
        }
        let Metadata { brokers, topics } = self.ask(&unknown).await?;
        self.brokers = brokers;
        for topic in topics {
            let found = match meaning(topic.error) {
                (Meaning::There, _) if !topic.leaders.is_empty() => Ok(topic.leaders),
                (Meaning::There, _) => Err("it has no partition".to_owned()),
                (_, words) => Err(words),
            };
            self.topics.insert(topic.name, found);
        }
        Ok(())
    }

    /// What the brokers know of topics.
    pub(crate) async fn ask(&mut self, topics: &[String]) -> Result<Metadata, String> {
        let question = api::ask_metadata(topics);
        self.first
            .ask(api::METADATA, &question, api::metadata)
            .await
    }

    /// The leaders of a topic's partitions.
    pub(crate) fn leaders(&self, topic: &str) -> Result<&[i32], String> {
        match self.topics.get(topic) {
            Some(Ok(leaders)) => Ok(leaders),
            Some(Err(cause)) => Err(cause.clone()),
            None => Err("the broker says nothing about it".to_owned()),
        }
    }

    /// A topic that could not be used is asked for again next time.
    pub(crate) fn forget_missing(&mut self) {
        self.topics.retain(|_, found| found.is_ok());
    }

    /// Why a broker must not be spoken to where the brokers say that it is.
    pub(crate) fn forbidden(&self, kafka: &Kafka, id: i32) -> Option<String> {
        let (host, port) = self.brokers.get(&id)?;
        (!kafka.ignore_advertised).then_some(())?;
        forbidden(kafka, id, host, *port)
    }

    /// The connection to a broker.
    pub(crate) async fn connection(
        &mut self,
        kafka: &Kafka,
        id: i32,
    ) -> Result<&mut Connection, String> {
        if kafka.ignore_advertised {
            return Ok(&mut self.first);
        }
        if !self.others.contains_key(&id) {
            let at = self.brokers.get(&id);
            let (host, port) = at.ok_or_else(|| format!("nobody says where broker {id} is"))?;
            if let Some(cause) = self.forbidden(kafka, id) {
                return Err(cause);
            }
            let address = kafka.address.at(host.clone(), *port);
            let connection = connect(kafka, &address).await?;
            self.others.insert(id, connection);
        }
        let connection = self.others.get_mut(&id);
        connection.ok_or_else(|| format!("no connection to broker {id}"))
    }

    /// Where a partition's next record stands.
    pub(crate) fn place(&self, topic: &str, partition: i32) -> Place {
        let known = self.sequences.get(&(topic.to_owned(), partition));
        Place {
            producer: self.producer,
            epoch: self.epoch,
            sequence: known.copied().unwrap_or(0),
        }
    }

    /// So many records are there.
    pub(crate) fn advance(&mut self, topic: &str, partition: i32, count: usize) {
        let sequence = self
            .sequences
            .entry((topic.to_owned(), partition))
            .or_default();
        // The row of numbers begins anew behind the largest.
        let next = i64::from(*sequence) + i64::try_from(count).unwrap_or_default();
        *sequence = i32::try_from(next & i64::from(i32::MAX)).unwrap_or_default();
    }
}

/// Reads what became of a request's batches.
pub(crate) async fn produced(
    connection: &mut Connection,
    number: i32,
) -> Result<Vec<api::Produced>, String> {
    let answer = connection.answer(number).await?;
    api::produced(&mut In(&answer)).ok_or_else(crate::wire::strange)
}
