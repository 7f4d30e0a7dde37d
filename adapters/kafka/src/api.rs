//! The requests that producing takes, in versions without tagged fields.

use std::collections::HashMap;
use std::sync::Arc;

use crate::wire::{Api, In, Out};

pub(crate) const PRODUCE: Api = Api::new(0, 7);
pub(crate) const METADATA: Api = Api::new(3, 4);
pub(crate) const SASL_HANDSHAKE: Api = Api::new(17, 1);
pub(crate) const VERSIONS: Api = Api::new(18, 0);
pub(crate) const INIT_PRODUCER: Api = Api::new(22, 1);
/// As newer brokers have it; not every one still understands the older.
pub(crate) const INIT_PRODUCER_TAGGED: Api = Api {
    kind: 22,
    version: 3,
    tagged: true,
};
pub(crate) const SASL_AUTHENTICATE: Api = Api::new(36, 0);

/// By kind of request, the first and the last version.
pub(crate) type Versions = HashMap<i16, (i16, i16)>;

/// Which versions a broker speaks, behind an error.
pub(crate) fn versions(answer: &mut In<'_>) -> Option<(i16, Versions)> {
    let error = answer.i16()?;
    let list = answer.list(|one| Some((one.i16()?, (one.i16()?, one.i16()?))))?;
    Some((error, list.into_iter().collect()))
}

/// A topic as a broker knows it.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) error: i16,
    pub(crate) name: String,
    /// Leaders by partition; -1 = none at the moment.
    pub(crate) leaders: Vec<i32>,
}

/// Where brokers are, and their topics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) brokers: HashMap<i32, (String, u16)>,
    pub(crate) topics: Vec<Topic>,
}

/// Asks for topics; none is made by asking.
pub(crate) fn ask_metadata(topics: &[String]) -> Out {
    let mut out = Out::default();
    out.count(topics.len());
    for topic in topics {
        out.text(topic);
    }
    out.i8(0);
    out
}

pub(crate) fn metadata(answer: &mut In<'_>) -> Option<Metadata> {
    let _throttled = answer.i32()?;
    let brokers = answer.list(|one| {
        let id = one.i32()?;
        let host = one.text()?;
        let port = u16::try_from(one.i32()?).ok()?;
        let _rack = one.text()?;
        Some((id, (host, port)))
    })?;
    let _cluster = answer.text()?;
    let _controller = answer.i32()?;
    let topics = answer.list(|one| {
        let error = one.i16()?;
        let name = one.text()?;
        let _internal = one.i8()?;
        let mut partitions = one.list(|part| {
            let _error = part.i16()?;
            let index = part.i32()?;
            let leader = part.i32()?;
            let _replicas = part.list(In::i32)?;
            let _in_sync = part.list(In::i32)?;
            Some((index, leader))
        })?;
        partitions.sort_unstable();
        let leaders = partitions.into_iter().map(|(_, leader)| leader);
        Some(Topic {
            error,
            name,
            leaders: leaders.collect(),
        })
    })?;
    let brokers = brokers.into_iter().collect();
    Some(Metadata { brokers, topics })
}

/// Asks for a producer's number: without transactions.
pub(crate) fn ask_producer(api: Api) -> Out {
    let mut out = Out::default();
    if api.tagged {
        out.i8(0);
        out.i32(60_000);
        out.i64(-1);
        out.i16(-1);
        out.i8(0);
    } else {
        out.i16(-1);
        out.i32(60_000);
    }
    out
}

/// The error, the number and its epoch.
pub(crate) fn producer(answer: &mut In<'_>) -> Option<(i16, i64, i16)> {
    let _throttled = answer.i32()?;
    Some((answer.i16()?, answer.i64()?, answer.i16()?))
}

/// A batch for a partition.
pub(crate) struct Part<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) records: Vec<u8>,
}

/// Produces batches, acknowledged by all replicas in sync.
pub(crate) fn ask_produce(parts: &[Part<'_>], timeout_ms: i32) -> Out {
    let mut out = Out::default();
    out.i16(-1);
    out.i16(-1);
    out.i32(timeout_ms);
    out.count(parts.len());
    for part in parts {
        out.text(part.topic);
        out.count(1);
        out.i32(part.partition);
        out.bytes(&part.records);
    }
    out
}

/// What became of a batch: topic, partition, error, first offset. All partitions of a topic share its name: an answer
/// takes no more memory than it has bytes, however long the name is.
pub(crate) type Produced = (Arc<str>, i32, i16, i64);

pub(crate) fn produced(answer: &mut In<'_>) -> Option<Vec<Produced>> {
    let topics = answer.list(|one| {
        let topic: Arc<str> = one.text()?.into();
        one.list(|part| {
            let partition = part.i32()?;
            let error = part.i16()?;
            let offset = part.i64()?;
            let _appended_at = part.i64()?;
            let _log_start = part.i64()?;
            Some((Arc::clone(&topic), partition, error, offset))
        })
    })?;
    Some(topics.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of 30 KB and many partitions of it: copied for each, an answer of 16 MB would become gigabytes.
    #[test]
    fn partitions_share_the_name_of_their_topic() {
        let mut answer = Out::default();
        answer.count(1);
        answer.text(&"t".repeat(30_000));
        answer.count(2_000);
        for partition in 0..2_000 {
            answer.i32(partition);
            answer.i16(0);
            (0..3).for_each(|_| answer.i64(7));
        }
        let produced = produced(&mut In(&answer.0)).unwrap();
        assert_eq!(produced.len(), 2_000);
        let (first, ..) = &produced[0];
        assert!(produced.iter().all(|(topic, ..)| Arc::ptr_eq(topic, first)));
    }
}
