//! Which transaction begins, in MariaDB's words and in MySQL's.

use std::fmt;
use std::fmt::Write as _;

use contract::value::{hex, uuid_text};

use super::input::Input;
use super::{Result, malformed};

/// How many places or transactions one event may list: more than any server has.
const LIST_MAX: usize = 1 << 20;

/// What a distributed transaction is called by who coordinates it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Xid {
    pub(crate) format: u32,
    pub(crate) global: Vec<u8>,
    pub(crate) branch: Vec<u8>,
}

impl Xid {
    /// Two parts of up to 64 bytes each
    /// (<https://dev.mysql.com/doc/refman/8.4/en/xa-statements.html>).
    pub(super) fn read(
        input: &mut Input<'_>,
        format: u32,
        first: u32,
        second: u32,
    ) -> Result<Self> {
        let part = |length: u32, input: &mut Input<'_>| {
            let length = usize::try_from(length).ok().filter(|length| *length <= 64);
            let length = length.ok_or(malformed("an XA transaction's name that is too long"))?;
            input.take(length).map(<[u8]>::to_vec)
        };
        Ok(Self {
            format,
            global: part(first, input)?,
            branch: part(second, input)?,
        })
    }
}

/// As the servers write it into the statements `XA COMMIT` and `XA ROLLBACK` of their logs.
impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (global, branch) = (hex(&self.global), hex(&self.branch));
        write!(f, "X'{global}',X'{branch}',{}", self.format)
    }
}

impl fmt::Debug for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transaction of MariaDB: domain, server and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MariadbPlace {
    pub(crate) domain: u32,
    pub(crate) server: u32,
    pub(crate) sequence: u64,
}

impl fmt::Display for MariadbPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// The beginning of a transaction (<https://mariadb.com/kb/en/gtid_event/>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MariadbGtid {
    pub(crate) place: MariadbPlace,
    flags: u8,
    /// The group of transactions that were committed together.
    pub(crate) commit_id: Option<u64>,
    /// The XA transaction that is prepared, committed or rolled back here.
    pub(crate) xid: Option<Xid>,
}

impl MariadbGtid {
    const STANDALONE: u8 = 0x01;
    const COMMIT_ID: u8 = 0x02;
    const PREPARED_XA: u8 = 0x40;
    const COMPLETED_XA: u8 = 0x80;

    pub(super) fn read(body: &[u8], server: u32) -> Result<Self> {
        let mut input = Input(body);
        let sequence = input.u64()?;
        let domain = input.u32()?;
        let flags = input.u8()?;
        let place = MariadbPlace {
            domain,
            server,
            sequence,
        };
        let commit_id = (flags & Self::COMMIT_ID != 0)
            .then(|| input.u64())
            .transpose()?;
        let xid = if flags & (Self::PREPARED_XA | Self::COMPLETED_XA) == 0 {
            None
        } else {
            let format = input.u32()?;
            let (first, second) = (input.u8()?, input.u8()?);
            let (first, second) = (u32::from(first), u32::from(second));
            Some(Xid::read(&mut input, format, first, second)?)
        };
        // Newer servers put more behind it (which engines take part, of how many threads), and
        // older ones fill it up with zero bytes: nothing of it is about rows.
        Ok(Self {
            place,
            flags,
            commit_id,
            xid,
        })
    }

    /// One statement, with no commit behind it.
    pub(crate) fn is_standalone(&self) -> bool {
        self.flags & Self::STANDALONE != 0
    }

    /// Its rows are prepared only: another transaction will complete it, or roll it back.
    pub(crate) fn is_prepared_xa(&self) -> bool {
        self.flags & Self::PREPARED_XA != 0
    }
}

/// The last transaction of each domain and server (<https://mariadb.com/kb/en/gtid_list_event/>).
pub(super) fn list(body: &[u8]) -> Result<Vec<MariadbPlace>> {
    const BYTES: usize = 16;
    let mut input = Input(body);
    // The four bits above the count are flags.
    let count = usize::try_from(input.u32()? & 0x0fff_ffff).unwrap_or(usize::MAX);
    if count > input.left() / BYTES {
        return Err(malformed("a count larger than the event"));
    }
    (0..count)
        .map(|_| {
            Ok(MariadbPlace {
                domain: input.u32()?,
                server: input.u32()?,
                sequence: input.u64()?,
            })
        })
        .collect()
}

/// Who numbers transactions of MySQL, and by which tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MysqlOrigin {
    pub(crate) server: [u8; 16],
    /// Lower-case, mostly empty.
    pub(crate) tag: String,
}

impl fmt::Display for MysqlOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_text(&self.server))?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        Ok(())
    }
}

/// The beginning of a transaction
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Gtid__event.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MysqlGtid {
    /// None: anonymous, the server has no GTIDs.
    pub(crate) gtid: Option<(MysqlOrigin, u64)>,
    /// Transactions that this one must come after, and its own number, inside one log file.
    pub(crate) last_committed: Option<u64>,
    pub(crate) sequence: Option<u64>,
    /// Microseconds since 1970, where the transaction was committed first.
    pub(crate) committed_at: Option<u64>,
}

impl MysqlGtid {
    /// The clock of logical timestamps.
    const LOGICAL_CLOCK: u8 = 2;

    pub(super) fn read(kind: u8, body: &[u8]) -> Result<Self> {
        const GTID: u8 = 33;
        let mut input = Input(body);
        let _flags = input.u8()?;
        let server: [u8; 16] = input.array()?;
        let number = input.u64()?;
        let origin = MysqlOrigin {
            server,
            tag: String::new(),
        };
        let mut read = Self {
            gtid: (kind == GTID).then_some((origin, number)),
            last_committed: None,
            sequence: None,
            committed_at: None,
        };
        // Servers before 5.7 end here.
        if input.left() >= 17 && input.u8()? == Self::LOGICAL_CLOCK {
            read.last_committed = Some(input.u64()?);
            read.sequence = Some(input.u64()?);
            // Servers before 8.0 end here. The highest bit says that another time follows.
            if input.left() >= 7 {
                let here = input.little(7)?;
                let first = if here & 1 << 55 == 0 {
                    here
                } else {
                    input.little(7)?
                };
                read.committed_at = Some(first);
            }
        }
        if read.gtid.is_some() && number == 0 {
            return Err(malformed("a transaction with the number 0"));
        }
        Ok(read)
    }

    /// The form of MySQL 8.3 and later: numbered parts, each of its own length
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html>).
    pub(super) fn read_tagged(body: &[u8]) -> Result<Self> {
        let mut input = Input(body);
        let _version = number(&mut input)?;
        let _size = number(&mut input)?;
        let _last_that_cannot_be_ignored = number(&mut input)?;
        let mut read = Self {
            gtid: None,
            last_committed: None,
            sequence: None,
            committed_at: None,
        };
        let mut server = [0; 16];
        let (mut tag, mut sequence) = (String::new(), None);
        let mut original = None;
        while !input.is_empty() {
            match number(&mut input)? {
                0 => {
                    let _flags = input.u8()?;
                }
                // Each byte of the server's UUID is a number of its own.
                1 => {
                    for byte in &mut server {
                        *byte = u8::try_from(number(&mut input)?)
                            .map_err(|_| malformed("a server's UUID that is none"))?;
                    }
                }
                2 => sequence = Some(signed(number(&mut input)?)?),
                3 => tag = tag_text(&mut input)?,
                4 => read.last_committed = Some(signed(number(&mut input)?)?),
                5 => read.sequence = Some(signed(number(&mut input)?)?),
                6 => read.committed_at = Some(number(&mut input)?),
                7 => original = Some(number(&mut input)?),
                // Length, versions of the servers, ticket: numbers that are of no use here.
                8..=11 => {
                    number(&mut input)?;
                }
                _ => return Err(malformed("a transaction's beginning with an unknown part")),
            }
        }
        let sequence: u64 = sequence.ok_or(malformed("a transaction without its number"))?;
        if sequence == 0 {
            return Err(malformed("a transaction with the number 0"));
        }
        read.committed_at = original.or(read.committed_at);
        read.gtid = Some((MysqlOrigin { server, tag }, sequence));
        Ok(read)
    }
}

/// A number of one to nine bytes: as many ones as the first byte ends in say how many bytes follow.
fn number(input: &mut Input<'_>) -> Result<u64> {
    let first = input.u8()?;
    let more = usize::try_from(first.trailing_ones()).unwrap_or(8);
    let rest = input.little(more)?;
    if more >= 7 {
        return Ok(rest);
    }
    let low = u64::from(first) >> (more + 1);
    Ok(rest << (7 - more) | low)
}

/// A number that could be negative and never is: its lowest bit is the sign.
fn signed(number: u64) -> Result<u64> {
    if number & 1 == 0 {
        Ok(number >> 1)
    } else {
        Err(malformed("a negative number of a transaction"))
    }
}

fn tag_text(input: &mut Input<'_>) -> Result<String> {
    let length = usize::try_from(number(input)?).unwrap_or(usize::MAX);
    if length > 32 {
        return Err(malformed("a transaction's tag that is too long"));
    }
    let text = std::str::from_utf8(input.take(length)?).ok();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.filter(|text| text.bytes().all(plain))
        .map(str::to_owned)
        .ok_or(malformed("a transaction's tag that is none"))
}

/// The transactions of MySQL that are in the log before a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviousGtids(pub(crate) Vec<(MysqlOrigin, Vec<(u64, u64)>)>);

impl PreviousGtids {
    /// A number of servers; of each its UUID and a number of intervals, whose end is not in them
    /// (<https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html>). Where tags are in
    /// it, the count's highest byte is 1 and its lowest one too, and a tag follows each UUID.
    pub(super) fn read(body: &[u8]) -> Result<Self> {
        let mut input = Input(body);
        let head = input.u64()?;
        let tagged = head >> 56 == 1;
        let count = if tagged {
            head >> 8 & 0x0000_ffff_ffff_ffff
        } else {
            head & 0x00ff_ffff_ffff_ffff
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > input.left() / 24 || count > LIST_MAX {
            return Err(malformed("a count larger than the event"));
        }
        let origins = (0..count)
            .map(|_| {
                let server = input.array()?;
                let tag = if tagged {
                    tag_text(&mut input)?
                } else {
                    String::new()
                };
                let intervals = usize::try_from(input.u64()?).unwrap_or(usize::MAX);
                if intervals > input.left() / 16 {
                    return Err(malformed("a count larger than the event"));
                }
                let intervals = (0..intervals)
                    .map(|_| {
                        let (first, behind) = (input.u64()?, input.u64()?);
                        if first == 0 || behind <= first {
                            return Err(malformed("an interval of transactions that is none"));
                        }
                        Ok((first, behind - 1))
                    })
                    .collect::<Result<_>>()?;
                Ok((MysqlOrigin { server, tag }, intervals))
            })
            .collect::<Result<_>>()?;
        Ok(Self(origins))
    }
}

/// As the server writes a set: `uuid:1-5:7,uuid:tag:1`.
impl fmt::Display for PreviousGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (origin, intervals)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            write!(f, "{origin}")?;
            for (first, last) in intervals {
                write!(f, ":{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}
