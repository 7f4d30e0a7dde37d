//! What stands at the head of a log file, and the place of a moment in the log.
//!
//! A file's first event says when it was begun and by which server, and the next ones which
//! transactions came before it. The server has no statement that tells either: the file is read as
//! the log is, under another server id than ours, so that a stream that runs is not disturbed.

use std::time::Duration;

use contract::SourceError;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::binlog::event::{Event, Format, decode};
use crate::binlog::gtid::MysqlGtid;
use crate::binlog::raw::Raw;
use crate::errors::lost;
use crate::feed::{Feed, From};
use crate::gtid::{Gtid, GtidSet};
use crate::place::{Born, Place, file_number, full_offset};
use crate::server::{Log, LogFile};
use crate::settings::Settings;

/// How long the server may take for the next event of a file that is there.
const EVENT_MAX: Duration = Duration::from_secs(30);
/// The first event of a file begins here.
const FIRST: u64 = 4;

/// Reads log files from their heads on.
struct Reader {
    feed: Feed,
    format: Format,
    /// Behind the newest event.
    place: Place,
    name: String,
}

impl Reader {
    async fn open(settings: &Settings, file: &LogFile) -> Result<Self, SourceError> {
        let settings = Settings {
            server_id: settings.server_id ^ 0x2000_0000,
            ..settings.clone()
        };
        let from = From::File {
            name: file.name.clone(),
            offset: FIRST,
        };
        Ok(Self {
            feed: Feed::open(&settings, &from).await?,
            format: Format::new(),
            place: Place {
                life: 1,
                file: number(&file.name)?,
                offset: FIRST,
                gtid: None,
                before: None,
                born: None,
                last: None,
            },
            name: file.name.clone(),
        })
    }

    /// The next event; [`Self::place`] is where it began, until the next call.
    async fn next(&mut self) -> Result<(Event, Raw), SourceError> {
        let next = timeout(EVENT_MAX, self.feed.next()).await;
        let raw = next.unwrap_or_else(|_| {
            Err(SourceError::Disconnected(format!(
                "read the binary log: no event of file {} within {} s",
                self.name,
                EVENT_MAX.as_secs()
            )))
        })?;
        let event = decode(&raw, &self.format)?;
        Ok((event, raw))
    }

    /// Goes on behind an event.
    fn pass(&mut self, event: &Event, raw: &Raw) -> Result<(), SourceError> {
        if !raw.header.is_artificial() && !matches!(event, Event::Heartbeat { .. }) {
            self.place.offset = full_offset(self.place.offset, raw.header.end);
        }
        match event {
            Event::FormatDescription(description) => {
                self.format.learn(description);
                self.place.born = Some(born(raw));
            }
            Event::Rotate(rotate) => {
                self.place.file = number(&rotate.file)?;
                self.place.offset = rotate.position;
                self.name.clone_from(&rotate.file);
            }
            Event::MariadbGtidList(list) => self.place.before = Some(GtidSet::of_list(list)),
            Event::PreviousGtids(all) => self.place.before = Some(GtidSet::of_previous(all)),
            Event::MariadbGtid(gtid) => self.pass_transaction(&gtid.place.into()),
            Event::MysqlGtid(gtid) => {
                if let Some(gtid) = &gtid.gtid {
                    self.pass_transaction(&gtid.into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pass_transaction(&mut self, gtid: &Gtid) {
        // A set of another kind of server means nothing here.
        self.place.before = self.place.before.take().and_then(|mut set| {
            let fits = set.insert(gtid);
            fits.then_some(set)
        });
    }
}

fn number(name: &str) -> Result<u64, SourceError> {
    let number = file_number(name).map(|(_, number)| number);
    number.ok_or_else(|| {
        SourceError::Malformed(format!(
            "read the binary log: \"{name}\" is no name of a log file"
        ))
    })
}

/// What a format description says of its file.
pub(crate) fn born(raw: &Raw) -> Born {
    Born {
        second: raw.header.timestamp,
        server: raw.header.server_id,
    }
}

/// All transactions before a place in a file, by the file itself.
pub(crate) async fn before(
    settings: &Settings,
    file: &LogFile,
    end: u64,
) -> Result<Option<GtidSet>, SourceError> {
    let mut reader = Reader::open(settings, file).await?;
    while reader.place.offset < end && reader.name == file.name {
        let (event, raw) = reader.next().await?;
        reader.pass(&event, &raw)?;
    }
    Ok(reader.place.before)
}

/// When a log file was begun, and by which server.
pub(crate) async fn read(settings: &Settings, file: &LogFile) -> Result<Born, SourceError> {
    let mut reader = Reader::open(settings, file).await?;
    loop {
        let (event, raw) = reader.next().await?;
        reader.pass(&event, &raw)?;
        if let Some(born) = reader.place.born {
            return Ok(born);
        }
    }
}

/// Which transactions came before a file.
async fn list(settings: &Settings, file: &LogFile) -> Result<Option<GtidSet>, SourceError> {
    let mut reader = Reader::open(settings, file).await?;
    loop {
        let (event, raw) = reader.next().await?;
        let begins = matches!(event, Event::MariadbGtid(_) | Event::MysqlGtid(_));
        if begins || reader.place.before.is_some() {
            return Ok(reader.place.before);
        }
        reader.pass(&event, &raw)?;
    }
}

/// When the newest transactions of a set were made, as [`Place::last`] has it: those of them that the
/// log still has. One of each domain, or of each server.
pub(crate) async fn made(
    settings: &Settings,
    log: &Log,
    set: &GtidSet,
) -> Result<Vec<u32>, SourceError> {
    // The newest file that does not have all of them before it. Halving the files each time.
    let mut files = log.files.as_slice();
    let mut found = None;
    while let Some(middle) = files.get(files.len() / 2) {
        let before = list(settings, middle).await?;
        let (older, newer) = files.split_at(files.len() / 2);
        if before.as_ref().is_some_and(|before| before.covers(set)) {
            files = older;
        } else {
            found = Some((middle, before));
            files = newer.get(1..).unwrap_or_default();
        }
    }
    let Some((file, before)) = found else {
        return Ok(Vec::new());
    };
    let mut wanted = set.newest();
    wanted.retain(|gtid| !before.as_ref().is_some_and(|before| before.contains(gtid)));
    let end = (number(&log.file)?, log.end);
    let mut reader = Reader::open(settings, file).await?;
    let (mut seconds, mut next) = (Vec::new(), false);
    while (!wanted.is_empty() || next) && (reader.place.file, reader.place.offset) < end {
        let (event, raw) = reader.next().await?;
        if std::mem::take(&mut next) {
            seconds.push(raw.header.timestamp);
        }
        let gtid = match &event {
            Event::MariadbGtid(gtid) => Some(Gtid::from(gtid.place)),
            Event::MysqlGtid(gtid) => gtid.gtid.as_ref().map(Gtid::from),
            _ => None,
        };
        if let Some(gtid) = gtid
            && wanted.contains(&gtid)
        {
            wanted.retain(|one| *one != gtid);
            match &event {
                Event::MysqlGtid(gtid) => seconds.extend(made_second(gtid)),
                _ => next = true,
            }
        }
        reader.pass(&event, &raw)?;
    }
    Ok(seconds)
}

/// When a transaction of MySQL was committed first, which every server hands on. At MariaDB it is the
/// time of the first event behind its GTID: the others have it from there.
pub(crate) fn made_second(gtid: &MysqlGtid) -> Option<u32> {
    u32::try_from(gtid.committed_at? / 1_000_000).ok()
}

/// Where the event of a file begins that ends at `end`.
pub(crate) async fn begins(
    settings: &Settings,
    file: &LogFile,
    end: u64,
) -> Result<u64, SourceError> {
    let mut reader = Reader::open(settings, file).await?;
    loop {
        let begin = reader.place.offset;
        let (event, raw) = reader.next().await?;
        reader.pass(&event, &raw)?;
        if reader.place.offset == end {
            return Ok(begin);
        }
        if reader.place.offset > end || reader.name != file.name {
            return Err(lost(format!(
                "open the binary log: no event of file {} ends at {end}, where our checkpoint is",
                file.name
            )));
        }
    }
}

/// Before the first transaction that was committed at `time` or later, by the log's own times: the
/// file's name, and the place. What follows may have begun earlier all the same, where it took long.
///
/// # Errors
/// [`SourceError::PositionLost`] when the log does not reach back to that time.
pub(crate) async fn at(
    settings: &Settings,
    log: &Log,
    time: Timestamp,
) -> Result<(String, Place), SourceError> {
    let file = file_of(settings, log, time).await?;
    let end = (number(&log.file)?, log.end);
    let mut reader = Reader::open(settings, file).await?;
    loop {
        if (reader.place.file, reader.place.offset) >= end {
            break;
        }
        let (event, raw) = reader.next().await?;
        let exact = match &event {
            Event::MysqlGtid(gtid) => gtid.committed_at,
            _ => None,
        };
        let begins = matches!(event, Event::MariadbGtid(_) | Event::MysqlGtid(_));
        if begins && committed_at(&raw, exact).is_some_and(|at| at >= time) {
            break;
        }
        reader.pass(&event, &raw)?;
    }
    Ok((reader.name, reader.place))
}

/// When a transaction was committed: exactly where the log says so, else by the second.
pub(crate) fn committed_at(raw: &Raw, micros: Option<u64>) -> Option<Timestamp> {
    let exact = micros.and_then(|micros| {
        let micros = i64::try_from(micros).ok()?;
        Timestamp::from_microsecond(micros).ok()
    });
    exact.or_else(|| Timestamp::from_second(i64::from(raw.header.timestamp)).ok())
}

/// The newest file that was begun before that time. Halving the files each time, few of many heads
/// are read.
async fn file_of<'a>(
    settings: &Settings,
    log: &'a Log,
    time: Timestamp,
) -> Result<&'a LogFile, SourceError> {
    let mut files = log.files.as_slice();
    let mut found = None;
    let mut oldest = None;
    while let Some(middle) = files.get(files.len() / 2) {
        let born = read(settings, middle).await?;
        let (before, after) = files.split_at(files.len() / 2);
        if i64::from(born.second) < time.as_second() {
            found = Some(middle);
            files = after.get(1..).unwrap_or_default();
        } else {
            oldest = Some(born.second);
            files = before;
        }
    }
    found.ok_or_else(|| {
        let oldest = oldest.and_then(|second| Timestamp::from_second(i64::from(second)).ok());
        let oldest = oldest.map_or_else(|| "there is none".to_owned(), |at| at.to_string());
        SourceError::PositionLost {
            what: format!(
                "open the binary log: `start` is {time}, and the oldest log file that the server has \
                 was begun at {oldest}"
            ),
            hint: "set `start` to a later time, or leave it out: tables are read whole in any case"
                .to_owned(),
        }
    })
}
