//! Global transaction ids: one transaction's, and sets of all that were seen.
//!
//! MariaDB numbers transactions by domain, and the newest of each domain stands for all before it
//! (<https://mariadb.com/kb/en/gtid/>). MySQL numbers them by the server they began at, and a set
//! is a list of intervals for each
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html>); from 8.3 on a server's
//! transactions may carry a tag. Two sets are equal when their texts are: what is parsed is
//! written in one form.

use std::collections::BTreeMap;
use std::fmt;

use crate::binlog::gtid::{MariadbPlace, MysqlOrigin, PreviousGtids};

/// The id of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Gtid {
    /// `domain-server-sequence`.
    Maria {
        domain: u32,
        server: u32,
        sequence: u64,
    },
    /// `uuid:number` or `uuid:tag:number`.
    Mysql { source: MysqlSource, number: u64 },
}

/// Where a MySQL transaction began: a server's UUID and the tag its session gave, or none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MysqlSource {
    pub(crate) uuid: [u8; 16],
    pub(crate) tag: String,
}

/// All transactions up to some place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GtidSet {
    Maria(BTreeMap<u32, (u32, u64)>),
    /// First and last number of each interval, in order and apart.
    Mysql(BTreeMap<MysqlSource, Vec<(u64, u64)>>),
}

/// Longest tag of a MySQL transaction.
const TAG_MAX: usize = 32;

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maria {
                domain,
                server,
                sequence,
            } => write!(f, "{domain}-{server}-{sequence}"),
            Self::Mysql { source, number } => write!(f, "{source}:{number}"),
        }
    }
}

impl fmt::Display for MysqlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&contract::value::uuid_text(&self.uuid))?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        Ok(())
    }
}

impl Gtid {
    /// From its text; `None` when it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some((source, number)) = text.rsplit_once(':') {
            return Some(Self::Mysql {
                source: MysqlSource::parse(source)?,
                number: positive(number)?,
            });
        }
        let mut parts = text.split('-');
        let (domain, server, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self::Maria {
            domain: digits(domain)?.try_into().ok()?,
            server: digits(server)?.try_into().ok()?,
            sequence: digits(sequence)?,
        })
    }
}

impl From<MariadbPlace> for Gtid {
    fn from(place: MariadbPlace) -> Self {
        Self::Maria {
            domain: place.domain,
            server: place.server,
            sequence: place.sequence,
        }
    }
}

impl From<&(MysqlOrigin, u64)> for Gtid {
    fn from((origin, number): &(MysqlOrigin, u64)) -> Self {
        Self::Mysql {
            source: MysqlSource::from(origin),
            number: *number,
        }
    }
}

impl From<&MysqlOrigin> for MysqlSource {
    fn from(origin: &MysqlOrigin) -> Self {
        Self {
            uuid: origin.server,
            tag: origin.tag.clone(),
        }
    }
}

impl MysqlSource {
    fn parse(text: &str) -> Option<Self> {
        let (uuid, tag) = text.split_once(':').unwrap_or((text, ""));
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (tag.len() <= TAG_MAX && tag.chars().all(fits)).then_some(())?;
        Some(Self {
            uuid: contract::value::parse_uuid(uuid)?,
            // The server reads tags whatever their case and writes them in lower case.
            tag: tag.to_ascii_lowercase(),
        })
    }
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

fn positive(text: &str) -> Option<u64> {
    digits(text).filter(|number| *number > 0)
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut comma = |f: &mut fmt::Formatter<'_>| {
            if !std::mem::take(&mut first) {
                f.write_str(",")?;
            }
            Ok(())
        };
        match self {
            Self::Maria(domains) => {
                for (domain, (server, sequence)) in domains {
                    comma(f)?;
                    write!(f, "{domain}-{server}-{sequence}")?;
                }
            }
            Self::Mysql(sources) => {
                for (source, intervals) in sources {
                    comma(f)?;
                    write!(f, "{source}")?;
                    for (from, to) in intervals {
                        write!(f, ":{from}")?;
                        if from != to {
                            write!(f, "-{to}")?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl GtidSet {
    /// No transaction of MariaDB's.
    #[cfg(test)]
    pub(crate) fn maria() -> Self {
        Self::Maria(BTreeMap::new())
    }

    /// No transaction of MySQL's.
    #[cfg(test)]
    pub(crate) fn mysql() -> Self {
        Self::Mysql(BTreeMap::new())
    }

    /// Of the list at the head of a log file of MariaDB's. Of a domain with several servers the
    /// newest transaction comes last.
    pub(crate) fn of_list(list: &[MariadbPlace]) -> Self {
        let all = list.iter();
        Self::Maria(
            all.map(|one| (one.domain, (one.server, one.sequence)))
                .collect(),
        )
    }

    /// Leaves those domains of MariaDB's out that a list does not have.
    pub(crate) fn keep_domains(&mut self, list: &[MariadbPlace]) {
        if let Self::Maria(domains) = self {
            domains.retain(|domain, _| list.iter().any(|one| one.domain == *domain));
        }
    }

    /// Of the list at the head of a log file of MySQL's.
    pub(crate) fn of_previous(previous: &PreviousGtids) -> Self {
        let mut set: BTreeMap<MysqlSource, Vec<(u64, u64)>> = BTreeMap::new();
        for (origin, intervals) in &previous.0 {
            let known = set.entry(MysqlSource::from(origin)).or_default();
            for (from, to) in intervals {
                include(known, *from, *to);
            }
        }
        Self::Mysql(set)
    }

    /// Either kind, as [`fmt::Display`] writes it; a set of nothing counts as MariaDB's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            Self::parse_mysql(text)
        } else {
            Self::parse_maria(text)
        }
    }

    /// MariaDB's list, as `gtid_binlog_pos` has it; `None` when it is not one.
    pub(crate) fn parse_maria(text: &str) -> Option<Self> {
        let mut domains = BTreeMap::new();
        for part in parts(text) {
            let Gtid::Maria {
                domain,
                server,
                sequence,
            } = Gtid::parse(part)?
            else {
                return None;
            };
            if domains.insert(domain, (server, sequence)).is_some() {
                return None;
            }
        }
        Some(Self::Maria(domains))
    }

    /// MySQL's set, as `gtid_executed` has it; `None` when it is not one.
    pub(crate) fn parse_mysql(text: &str) -> Option<Self> {
        let mut set = BTreeMap::new();
        for part in parts(text) {
            let (uuid, rest) = part.split_once(':')?;
            let mut source = MysqlSource::parse(uuid)?;
            // A server, or a tag, without an interval is no set: a set of nothing is written as nothing.
            let mut waits = true;
            for word in rest.split(':') {
                let word = word.trim();
                let (from, to) = word.split_once('-').unwrap_or((word, word));
                let (Some(from), Some(to)) = (positive(from), positive(to)) else {
                    // A tag; the intervals after it are its own.
                    let tag = MysqlSource::parse(&format!("{uuid}:{word}"))?;
                    if tag.tag.is_empty() || (waits && !source.tag.is_empty()) {
                        return None;
                    }
                    (source, waits) = (tag, true);
                    continue;
                };
                if from > to {
                    return None;
                }
                include(set.entry(source.clone()).or_default(), from, to);
                waits = false;
            }
            if waits {
                return None;
            }
        }
        Some(Self::Mysql(set))
    }

    /// The newest transaction of each domain, or of each server.
    pub(crate) fn newest(&self) -> Vec<Gtid> {
        match self {
            Self::Maria(domains) => {
                let all = domains.iter();
                all.map(|(domain, (server, sequence))| Gtid::Maria {
                    domain: *domain,
                    server: *server,
                    sequence: *sequence,
                })
                .collect()
            }
            Self::Mysql(sources) => {
                let all = sources.iter();
                all.filter_map(|(source, intervals)| {
                    Some(Gtid::Mysql {
                        source: source.clone(),
                        number: intervals.last()?.1,
                    })
                })
                .collect()
            }
        }
    }

    /// Whether the transaction is in it.
    pub(crate) fn contains(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (
                Self::Maria(domains),
                Gtid::Maria {
                    domain, sequence, ..
                },
            ) => domains
                .get(domain)
                .is_some_and(|(_, newest)| newest >= sequence),
            (Self::Mysql(sources), Gtid::Mysql { source, number }) => {
                let holds = |(from, to): &(u64, u64)| (from..=to).contains(&number);
                sources
                    .get(source)
                    .is_some_and(|intervals| intervals.iter().any(holds))
            }
            _ => false,
        }
    }

    /// Whether every transaction of `other` is in it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Maria(ours), Self::Maria(theirs)) => {
                theirs.iter().all(|(domain, (_, sequence))| {
                    ours.get(domain)
                        .is_some_and(|(_, newest)| newest >= sequence)
                })
            }
            (Self::Mysql(ours), Self::Mysql(theirs)) => theirs.iter().all(|(source, intervals)| {
                let ours = ours.get(source).map_or(&[][..], Vec::as_slice);
                intervals.iter().all(|(from, to)| {
                    ours.iter()
                        .any(|(our_from, our_to)| our_from <= from && to <= our_to)
                })
            }),
            _ => false,
        }
    }

    /// Takes a transaction in; `false` when it is of the other kind of server.
    #[must_use]
    pub(crate) fn insert(&mut self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (
                Self::Maria(domains),
                Gtid::Maria {
                    domain,
                    server,
                    sequence,
                },
            ) => {
                domains.insert(*domain, (*server, *sequence));
                true
            }
            (Self::Mysql(sources), Gtid::Mysql { source, number }) => {
                include(sources.entry(source.clone()).or_default(), *number, *number);
                true
            }
            _ => false,
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Adds an interval to intervals in order and apart.
fn include(intervals: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    let (mut from, mut to) = (from, to);
    // Most of the time the newest transaction follows the newest known.
    if let Some(last) = intervals.last_mut()
        && from == last.1.saturating_add(1)
    {
        last.1 = to;
        return;
    }
    let touches =
        |one: &(u64, u64)| one.0 <= to.saturating_add(1) && from <= one.1.saturating_add(1);
    let (apart, joined): (Vec<_>, Vec<_>) = intervals.drain(..).partition(|one| !touches(one));
    for one in joined {
        from = from.min(one.0);
        to = to.max(one.1);
    }
    *intervals = apart;
    let at = intervals.partition_point(|one| one.0 < from);
    intervals.insert(at, (from, to));
}

#[cfg(test)]
#[path = "gtid_tests.rs"]
mod tests;
