//! A look beside the stream: how much log is yet to be read, when the server drops it, and what the
//! stream cannot tell of.
//!
//! The server keeps its log for a time, not for us: nothing grows because we are away, but what it
//! drops before we have read it is lost.

use std::sync::{Arc, Mutex as Shared, PoisonError};
use std::time::{Duration, Instant};

use contract::{LogKept, Look, Proof, SourceError};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::connect::{self, Connection, Rights};
use crate::server::{Log, Server};
use crate::settings::Settings;

/// The whole look.
const LOOK_MAX: Duration = Duration::from_secs(18);
/// A rate is measured over no less than this.
const MEASURE_MIN: Duration = Duration::from_secs(20);

/// How far the log is read: noted by the stream, read by the looks beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    place: Arc<Shared<Option<Place>>>,
    /// The server has sent an event, or said that there is none.
    pub(crate) heard: Proof,
}

/// A place in the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The log's file.
    pub(crate) file: String,
    /// How much of it is read and stored.
    pub(crate) offset: u64,
    /// When what was read last was committed.
    pub(crate) committed_at: Option<Timestamp>,
}

impl Reached {
    /// Notes that all up to here is stored.
    pub(crate) fn note(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    pub(crate) fn place(&self) -> Option<Place> {
        let place = self.place.lock();
        place.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at a source; keeps its connection from one look to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looker {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    connection: Option<Connection>,
    rate: Rate,
}

/// How fast the server writes its log, as far as it has been seen.
#[derive(Debug, Default)]
struct Rate {
    /// When the end of the log was seen, and where it was.
    seen: Option<(Instant, String, u64)>,
    per_hour: Option<u64>,
}

impl Rate {
    fn measure(&mut self, log: &Log, now: Instant) {
        if let Some((then, file, end)) = &self.seen {
            let time = now.saturating_duration_since(*then);
            if time < MEASURE_MIN {
                return;
            }
            self.per_hour = log.since(file, *end).map(|written| {
                let rate = u128::from(written) * 3_600 / u128::from(time.as_secs().max(1));
                u64::try_from(rate).unwrap_or(u64::MAX)
            });
        }
        self.seen = Some((now, log.file.clone(), log.end));
    }
}

impl Looker {
    pub(crate) async fn look(
        &self,
        settings: &Settings,
        reached: &Reached,
    ) -> Result<Look, SourceError> {
        let looking = async {
            let mut held = self.held.lock().await;
            // Kept again only when the look went well.
            let (mut connection, kept) = match held.connection.take() {
                Some(connection) => (connection, true),
                None => (connect::connect(settings, Rights::Read).await?, false),
            };
            let place = reached.place();
            let look = match look(&mut connection, settings, place.as_ref(), &mut held.rate).await {
                // The server may have ended it meanwhile, as it does with those that are silent.
                Err(SourceError::Disconnected(_)) if kept => {
                    connection = connect::connect(settings, Rights::Read).await?;
                    look(&mut connection, settings, place.as_ref(), &mut held.rate).await?
                }
                other => other?,
            };
            held.connection = Some(connection);
            Ok(look)
        };
        tokio::time::timeout(LOOK_MAX, looking)
            .await
            .unwrap_or_else(|_| {
                Err(SourceError::Disconnected(format!(
                    "look at the server's log: no answer within {} s",
                    LOOK_MAX.as_secs()
                )))
            })
    }
}

async fn look(
    connection: &mut Connection,
    settings: &Settings,
    place: Option<&Place>,
    rate: &mut Rate,
) -> Result<Look, SourceError> {
    let server = Server::read(connection).await?;
    let log = Log::read(connection).await?;
    let now = connection
        .one::<i64>("read the server's clock", "SELECT UNIX_TIMESTAMP()")
        .await?;
    if let Some(log) = &log {
        rate.measure(log, Instant::now());
    }
    let kept = place
        .zip(log.as_ref())
        .and_then(|(place, log)| kept(settings, &server, log, place, rate.per_hour, now));
    Ok(Look {
        kept,
        behind: None,
        heartbeat: None,
        trouble: trouble(&server, log.as_ref(), place),
    })
}

/// The log that is yet to be read; `None` when the place in it is gone.
pub(crate) fn kept(
    settings: &Settings,
    server: &Server,
    log: &Log,
    place: &Place,
    rate_per_hour: Option<u64>,
    now_seconds: i64,
) -> Option<LogKept> {
    let kept_bytes = log.since(&place.file, place.offset)?;
    let lag = match place.committed_at {
        Some(at) if kept_bytes > 0 => now_seconds.saturating_sub(at.as_second()).max(0),
        _ => 0,
    };
    let lag = u64::try_from(lag).unwrap_or(0);
    let time_left = server.expire_seconds().map(|all| all.saturating_sub(lag));
    // The server counts in time; how much that is depends on how fast it writes.
    let left_bytes = time_left.map(|seconds| match rate_per_hour {
        None | Some(0) => u64::MAX,
        Some(rate) => {
            let bytes = u128::from(rate) * u128::from(seconds) / 3_600;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        }
    });
    // It drops whole files: all from the beginning of ours on must fit.
    let by_size = server.log_bytes_max().map(|most| {
        let ours = log.since(&place.file, 0).unwrap_or(u64::MAX);
        most.saturating_sub(ours)
    });
    let left_bytes = left_bytes.into_iter().chain(by_size).min();
    // The file that is written now is never dropped.
    let at_risk = place.file != log.file && (time_left == Some(0) || by_size == Some(0));
    Some(LogKept {
        state: if at_risk { "expired" } else { "kept" }.to_owned(),
        at_risk,
        kept_bytes,
        left_bytes,
        room_bytes: server.room_bytes(settings),
        warn_bytes: settings.retained_warn_mib << 20,
        hint: format!(
            "see that the agent reads (lighterman status); where it only lags, have the server keep \
             its log for longer: {}",
            expire_sql(server, 14)
        ),
    })
}

/// SQL that has the log kept for so many days.
pub(crate) fn expire_sql(server: &Server, days: u64) -> String {
    let seconds = days * 86_400;
    if server.get("binlog_expire_logs_seconds").is_some() {
        format!("SET GLOBAL binlog_expire_logs_seconds = {seconds}")
    } else {
        format!("SET GLOBAL expire_logs_days = {days}")
    }
}

/// What the stream cannot tell of: a log that does not tell rows any more.
fn trouble(server: &Server, log: Option<&Log>, place: Option<&Place>) -> Option<SourceError> {
    let denied = |what: String, hint: &str| {
        Some(SourceError::Denied {
            what: format!("look at the server: {what}"),
            hint: format!(
                "{hint}; then stop the agent, lighterman source resync, and start it: it reads what \
                 it was not told of"
            ),
        })
    };
    let Some(log) = log else {
        return denied(
            "it writes no binary log".to_owned(),
            "set log_bin in the server's configuration, then restart it",
        );
    };
    for (name, wanted) in [("binlog_format", "ROW"), ("binlog_row_image", "FULL")] {
        if let Some(value) = server.get(name)
            && !value.eq_ignore_ascii_case(wanted)
        {
            return denied(
                format!("{name} is {value}: the log of new sessions does not tell whole rows"),
                &format!("SET GLOBAL {name} = '{wanted}'"),
            );
        }
    }
    // Opening the stream again says what that means for our checkpoint.
    let place = place?;
    let what = match log.end_of(&place.file) {
        None => "is not there any more".to_owned(),
        // The server goes on serving the file it has deleted, in which nothing happens any more.
        Some(end) if end < place.offset => {
            format!(
                "ends at {end}, and we have read it up to {}: it was begun anew (RESET MASTER)",
                place.offset
            )
        }
        Some(_) => return None,
    };
    Some(SourceError::Disconnected(format!(
        "look at the server: log file {} {what}",
        place.file
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::LogFile;

    fn log() -> Log {
        let file = |name: &str, bytes| LogFile {
            name: name.to_owned(),
            bytes,
        };
        Log {
            file: "b.2".to_owned(),
            end: 60,
            files: vec![file("b.1", 100), file("b.2", 60)],
            ..Log::default()
        }
    }

    #[test]
    fn a_rate_is_measured_between_looks() {
        let mut rate = Rate::default();
        let start = Instant::now();
        rate.measure(
            &Log {
                file: "b.1".to_owned(),
                end: 40,
                ..Log::default()
            },
            start,
        );
        assert_eq!(rate.per_hour, None);
        rate.measure(&log(), start + Duration::from_secs(10));
        assert_eq!(rate.per_hour, None, "too short");
        rate.measure(&log(), start + Duration::from_mins(1));
        assert_eq!(rate.per_hour, Some(120 * 60));
    }

    #[test]
    fn what_expires_before_it_is_read_is_at_risk() {
        let settings = crate::settings::of_tests(1);
        let server = Server::of_tests(&[("binlog_expire_logs_seconds", "7200")]);
        let at = |file: &str, offset, committed| Place {
            file: file.to_owned(),
            offset,
            committed_at: Some(Timestamp::from_second(committed).unwrap()),
        };
        let kept = |place: &Place, rate| kept(&settings, &server, &log(), place, rate, 10_000);
        // An hour behind, and an hour left.
        let behind = kept(&at("b.1", 40, 6_400), Some(1_000)).unwrap();
        assert_eq!((behind.kept_bytes, behind.left_bytes), (120, Some(1_000)));
        assert!(!behind.at_risk);
        assert_eq!(behind.warn_bytes, 1 << 20);
        let lost = kept(&at("b.1", 40, 1_000), Some(1_000)).unwrap();
        assert!(lost.at_risk);
        assert_eq!(lost.left_bytes, Some(0));
        // The file that is written now is not dropped, and at its end nothing is behind.
        assert!(!kept(&at("b.2", 40, 1_000), None).unwrap().at_risk);
        let quiet = kept(&at("b.2", 60, 1_000), Some(1_000)).unwrap();
        assert_eq!((quiet.kept_bytes, quiet.left_bytes), (0, Some(2_000)));
        assert_eq!(kept(&at("b.0", 4, 1), None), None);
        // Of 160 bytes from the beginning of its first file on.
        for (most, left, at_risk) in [("200", 40, false), ("160", 0, true)] {
            let server = Server::of_tests(&[("max_binlog_total_size", most)]);
            let place = at("b.1", 40, 6_400);
            let found = super::kept(&settings, &server, &log(), &place, None, 10_000).unwrap();
            assert_eq!((found.left_bytes, found.at_risk), (Some(left), at_risk));
        }
    }

    #[tokio::test]
    async fn a_log_file_that_is_gone_is_said() {
        let server =
            harness::mariadb::MariadbServer::start(harness::mariadb::MariadbOptions::default());
        let settings = crate::settings::of_tests(server.port());
        let (looker, reached) = (Looker::default(), Reached::default());
        let first = looker.look(&settings, &reached).await.unwrap();
        assert_eq!(
            (first.kept, first.trouble),
            (None, None),
            "nothing is read yet"
        );
        reached.note(Place {
            file: "binlog.000001".to_owned(),
            offset: 4,
            committed_at: None,
        });
        server.run("FLUSH BINARY LOGS; CREATE DATABASE x").await;
        let look = looker.look(&settings, &reached).await.unwrap();
        assert_eq!(look.trouble, None);
        let kept = look.kept.unwrap();
        assert!(kept.kept_bytes > 300, "{kept:?}");
        assert_eq!(kept.left_bytes, None, "this server drops nothing");
        assert!(kept.room_bytes.is_some());
        let deadline = Instant::now() + Duration::from_secs(30);
        let look = loop {
            // As long as the engine may still need the file after a crash, it is left in silence.
            server.run("PURGE BINARY LOGS TO 'binlog.000002'").await;
            let look = looker.look(&settings, &reached).await.unwrap();
            if look.kept.is_none() {
                break look;
            }
            assert!(Instant::now() < deadline, "{look:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let found = look.trouble.unwrap();
        assert!(matches!(found, SourceError::Disconnected(_)), "{found:?}");
        assert!(found.to_string().contains("binlog.000001"), "{found}");
    }
}
