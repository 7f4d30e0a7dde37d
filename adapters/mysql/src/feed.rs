//! The log as the server sends it: a task of its own takes events from the connection, as long as
//! what waits is bounded, and we take them one by one.
//!
//! The library that reads the connection unpacks some events itself and takes them on trust: in a
//! task, a panic of its is an error of ours.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use contract::SourceError;
use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Sid};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use crate::binlog::raw::{Header, Raw};
use crate::connect::{self, Connection, Flavour, Rights};
use crate::errors::classify;
use crate::gtid::{GtidSet, MysqlSource};
use crate::settings::Settings;

/// When so many bytes wait, nothing more is read. One event may exceed it.
const FULL_BYTES: usize = 1 << 20;
/// And so many events.
const EVENTS_MAX: usize = 4_096;
/// What an event takes beside its bytes.
const EACH: usize = 128;
/// A server with nothing to tell says so this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server may take to begin.
const START_MAX: Duration = Duration::from_secs(30);

/// Where to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// After all of these.
    After(GtidSet),
    /// This file, from here.
    File { name: String, offset: u64 },
}

/// Events that arrive.
#[derive(Debug)]
pub(crate) struct Feed {
    events: mpsc::Receiver<Arrived>,
    task: Option<JoinHandle<Result<(), SourceError>>>,
    abort: AbortHandle,
}

type Arrived = (Raw, OwnedSemaphorePermit);

impl Drop for Feed {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Feed {
    /// Opens the log.
    pub(crate) async fn open(settings: &Settings, from: &From) -> Result<Self, SourceError> {
        let doing = "open the binary log";
        let mut connection = connect::connect(settings, Rights::Log).await?;
        let set = connection
            .conn
            .query_drop(session(connection.flavour, from))
            .await;
        set.map_err(|error| classify(doing, &error))?;
        let opening = async {
            let request = request(settings, from)?;
            let Connection { conn, .. } = connection;
            let stream = conn.get_binlog_stream(request).await;
            stream.map_err(|error| classify(doing, &error))
        };
        let stream = tokio::time::timeout(START_MAX, opening).await;
        let stream = stream.unwrap_or_else(|_| {
            Err(SourceError::Disconnected(format!(
                "{doing}: no answer within {} s",
                START_MAX.as_secs()
            )))
        })?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(run(stream, sender));
        Ok(Self {
            events,
            abort: task.abort_handle(),
            task: Some(task),
        })
    }

    /// An event that is there already.
    pub(crate) fn at_hand(&mut self) -> Option<Raw> {
        self.events.try_recv().ok().map(|(raw, _)| raw)
    }

    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none any more.
    pub(crate) async fn next(&mut self) -> Result<Raw, SourceError> {
        if let Some((raw, _)) = self.events.recv().await {
            return Ok(raw);
        }
        let ended = || SourceError::Disconnected("read the binary log: it has ended".to_owned());
        let Some(task) = &mut self.task else {
            return Err(ended());
        };
        let end = task.await;
        self.task = None;
        match end {
            Ok(Ok(())) => Err(ended()),
            Ok(Err(error)) => Err(error),
            Err(error) if error.is_panic() => Err(SourceError::Malformed(
                "read the binary log: what the server sent is no event that can be unpacked"
                    .to_owned(),
            )),
            Err(_) => Err(ended()),
        }
    }
}

/// What a session says before it asks for the log. MariaDB takes where we are from variables of
/// the session (<https://mariadb.com/kb/en/5-slave-registration/>).
fn session(flavour: Flavour, from: &From) -> String {
    let heartbeat = HEARTBEAT.as_nanos();
    // Who does not read for a while is not gone: it is the disk or the receiver that are slow.
    let mut sql = format!(
        "SET SESSION net_write_timeout = 3600, @master_heartbeat_period = {heartbeat}, \
         @source_heartbeat_period = {heartbeat}"
    );
    if flavour == Flavour::MariaDb {
        sql.push_str(", @mariadb_slave_capability = 4");
        if let From::After(set) = from {
            let set = connect::literal(&set.to_string());
            sql.push_str(", @slave_gtid_strict_mode = 1, @slave_connect_state = ");
            sql.push_str(&set);
        }
    }
    sql
}

fn request<'a>(
    settings: &Settings,
    from: &'a From,
) -> Result<BinlogStreamRequest<'a>, SourceError> {
    let request = BinlogStreamRequest::new(settings.server_id);
    Ok(match from {
        From::After(GtidSet::Maria(_)) => request.with_pos(4),
        From::After(GtidSet::Mysql(sources)) => {
            let all = sources
                .iter()
                .map(|(source, intervals)| sid(source, intervals));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            request.with_pos(4).with_gtid().with_gtid_set(all)
        }
        From::File { name, offset } => request.with_filename(name.as_bytes()).with_pos(*offset),
    })
}

/// The transactions of one origin, by the text that the server itself has for them: it is the only way
/// to give the library a tag.
fn sid(source: &MysqlSource, intervals: &[(u64, u64)]) -> Result<Sid<'static>, SourceError> {
    let mut text = source.to_string();
    for (from, to) in intervals {
        let _ = write!(text, ":{from}-{to}");
    }
    text.parse().map_err(|_| {
        SourceError::Malformed(format!(
            "open the binary log: {text} is no set of transactions"
        ))
    })
}

async fn run(
    mut stream: mysql_async::BinlogStream,
    sender: mpsc::Sender<Arrived>,
) -> Result<(), SourceError> {
    let doing = "read the binary log";
    let room = Arc::new(Semaphore::new(FULL_BYTES));
    while let Some(event) = stream.next().await {
        let event = event.map_err(|error| classify(doing, &error))?;
        let header = event.header();
        // What stands inside a compressed transaction, the library hands over as well, and knows it by
        // this alone: we unpack it ourselves. A place in the log is no sign of the others: MariaDB
        // writes none into rows since 11.4
        // (<https://mariadb.com/docs/server/ha-and-performance/standard-replication/replication-and-binary-log-system-variables>,
        // `binlog_legacy_event_pos`).
        if !event.footer().get_checksum_enabled() {
            continue;
        }
        let header = Header {
            timestamp: header.timestamp(),
            kind: header.event_type_raw(),
            server_id: header.server_id(),
            size: header.event_size(),
            end: header.log_pos(),
            flags: header.flags_raw(),
        };
        let algorithm = event.footer().get_checksum_alg().ok().flatten();
        let algorithm = algorithm.map(|algorithm| algorithm as u8);
        let raw = Raw::from_parts(header, event.data(), algorithm, event.checksum())?;
        let bytes = (event.data().len() + EACH).min(FULL_BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&room).acquire_many_owned(bytes).await else {
            return Ok(());
        };
        if sender.send((raw, permit)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without its tag a set would name other transactions, which the server would then not send.
    #[test]
    fn a_server_is_asked_for_what_is_behind_each_tag() {
        let text = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,\
                    3e11fa47-71ca-11e1-9e33-c80aa9429562:app:1-100";
        let Some(GtidSet::Mysql(sources)) = GtidSet::parse_mysql(text) else {
            panic!("{text}");
        };
        let asked: Vec<String> = sources
            .iter()
            .map(|(source, intervals)| sid(source, intervals).unwrap().to_string())
            .collect();
        assert_eq!(asked.join(","), text);
    }
}
