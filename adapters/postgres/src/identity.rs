//! Which server this is, and whether its log goes on from our checkpoint.
//!
//! A server is known by its system identifier, made by `initdb` and shared by all its physical
//! copies, and by its timeline, which rises whenever a copy becomes a primary of its own. A
//! position of one timeline means the same in a later one only up to the point where they parted.

use std::fmt;

use contract::SourceError;
use tokio_postgres::Client;

use crate::connect::{self, RESYNC, classify, lost};
use crate::lsn;
use crate::settings::Settings;
use crate::start::Ours;

/// Which server, and which life of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    system: String,
    timeline: u32,
}

/// `7412345678901234567/2`, as it stands in the state file.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.system, self.timeline)
    }
}

impl Identity {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (system, timeline) = text.split_once('/')?;
        Some(Self {
            system: system.to_owned(),
            timeline: timeline.parse().ok()?,
        })
    }

    /// Asks a primary server who it is.
    pub(crate) async fn read(client: &Client, settings: &Settings) -> Result<Self, SourceError> {
        let doing = "read the server's identity";
        let row = client
            .query_one(
                "SELECT system_identifier::pg_catalog.text,
                        pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())
                   FROM pg_catalog.pg_control_system()",
                &[],
            )
            .await
            .map_err(|error| match error.code() {
                Some(code) if code.code() == "42501" => SourceError::Denied {
                    what: format!("{doing}: the role may not ask for it"),
                    hint: format!(
                        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {user}; undo: \
                         REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM {user}",
                        user = connect::name(&settings.user)
                    ),
                },
                _ => classify(doing, &error),
            })?;
        // The name of a log file begins with its timeline: eight hexadecimal digits.
        let file: String = row.get(1);
        let timeline = file.get(..8).map(|digits| u32::from_str_radix(digits, 16));
        match timeline {
            Some(Ok(timeline)) => Ok(Self {
                system: row.get(0),
                timeline,
            }),
            _ => Err(SourceError::Malformed(format!(
                "{doing}: a log file is called \"{file}\""
            ))),
        }
    }

    /// Whether our checkpoint, which came from the server `before`, is good here.
    ///
    /// # Errors
    /// [`SourceError::PositionLost`] when it is not, with what is missing.
    pub(crate) async fn goes_on(
        &self,
        settings: &Settings,
        before: &Self,
        ours: &Ours,
    ) -> Result<(), SourceError> {
        if self == before {
            return Ok(());
        }
        let history = if self.system == before.system && self.timeline > before.timeline {
            connect::timeline_history(settings, self.timeline).await?
        } else {
            String::new()
        };
        self.follows(before, &history, ours)
            .map_err(|why| SourceError::PositionLost {
                what: format!("connect to {}:{}: {why}", settings.host, settings.port),
                hint: format!(
                    "if that is not the server you meant, correct host and port; else {RESYNC}"
                ),
            })?;
        tracing::warn!(
            code = "source.promoted",
            before = %before,
            now = %self,
            position = lsn::text(ours.checkpoint),
            "the server was promoted; its log goes on from our checkpoint"
        );
        Ok(())
    }

    /// Whether the checkpoint is good here; else why not.
    fn follows(&self, before: &Self, history: &str, ours: &Ours) -> Result<(), String> {
        if self.system != before.system {
            return Err(format!(
                "it is another server: its system identifier is {}, and our checkpoint {ours} comes \
                 from {}. It was set up anew, restored by a dump, or the address is another one's",
                self.system, before.system
            ));
        }
        let (old, new) = (before.timeline, self.timeline);
        if new < old {
            return Err(format!(
                "it stands on timeline {new}, and our checkpoint {ours} comes from timeline {old}: \
                 it is the primary from before a failover, or a copy older than that"
            ));
        }
        let Some(parted) = parted(history, old) else {
            return Err(format!(
                "it stands on timeline {new}, which did not come out of timeline {old}, where our \
                 checkpoint {ours} comes from"
            ));
        };
        if ours.checkpoint > parted {
            return Err(format!(
                "it was promoted at {parted}, and our checkpoint {ours} is beyond that: what was \
                 captured between {parted} and {checkpoint} this server never had, and what it did \
                 after {parted} is missing here",
                parted = lsn::text(parted),
                checkpoint = lsn::text(ours.checkpoint),
            ));
        }
        Ok(())
    }
}

/// Where a timeline ended, as the history of a later one tells it: lines of timeline, position and
/// reason.
fn parted(history: &str, timeline: u32) -> Option<u64> {
    history.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let of = words.next()?.parse::<u32>().ok()?;
        let at = lsn::parse(words.next()?)?;
        (of == timeline).then_some(at)
    })
}

/// Refuses a standby, and says where its primary is as far as our role may see it.
pub(crate) async fn primary(client: &Client, settings: &Settings) -> Result<(), SourceError> {
    match standby_of(client).await? {
        None => Ok(()),
        Some(hint) => Err(SourceError::Denied {
            what: format!(
                "connect to {}:{}: the server is a standby, which takes no slot of ours",
                settings.host, settings.port
            ),
            hint,
        }),
    }
}

/// Where to go instead when the server is a standby; `None` when it is none.
pub(crate) async fn standby_of(client: &Client) -> Result<Option<String>, SourceError> {
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_is_in_recovery(),
                    (SELECT w.sender_host || ':' || w.sender_port
                       FROM pg_catalog.pg_stat_wal_receiver w LIMIT 1)",
            &[],
        )
        .await
        .map_err(|error| classify("read whether the server is a standby", &error))?;
    let primary: Option<String> = row.get(1);
    Ok(row.get::<_, bool>(0).then(|| match primary {
        Some(primary) => format!("set host and port to the primary's: this one follows {primary}"),
        None => "set host and port to the primary's; on the standby, SELECT sender_host, \
                 sender_port FROM pg_stat_wal_receiver (as a member of pg_monitor) says where it is"
            .to_owned(),
    }))
}

/// Why the checkpoint is of no use: `what`, and what is missing.
pub(crate) fn gap(what: &str, ours: Option<&Ours>, end: Option<u64>) -> SourceError {
    let Some(ours) = ours else {
        return lost(what.to_owned());
    };
    let end = end.map_or_else(String::new, |end| format!(" to {}", lsn::text(end)));
    lost(format!("{what}. Missing: the log from {ours}{end} (now)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tno recovery \
                           target specified\n";

    fn ours(checkpoint: u64) -> Ours {
        Ours {
            checkpoint,
            committed_at: None,
        }
    }

    #[test]
    fn a_promoted_server_goes_on_up_to_where_the_timelines_parted() {
        let at = |text: &str| Identity::parse(text).unwrap();
        for (before, now, checkpoint, expected) in [
            ("7/1", "7/3", 0x300_0148, Ok(())),
            ("7/2", "7/3", 0x500_0000, Ok(())),
            (
                "7/1",
                "7/3",
                0x300_0149,
                Err("captured between 0/3000148 and 0/3000149"),
            ),
            ("7/2", "7/3", 0x500_0001, Err("promoted at 0/5000000")),
            ("7/2", "7/1", 1, Err("before a failover")),
            ("7/1", "8/1", 1, Err("another server")),
            ("7/4", "7/9", 1, Err("did not come out of timeline 4")),
        ] {
            let found = at(now).follows(&at(before), HISTORY, &ours(checkpoint));
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, _) => panic!("{before} {now} {checkpoint:x}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_identity_round_trips() {
        let text = "7412345678901234567/12";
        assert_eq!(Identity::parse(text).unwrap().to_string(), text);
        assert_eq!(Identity::parse("x"), None);
        assert_eq!(Identity::parse("7/x"), None);
    }
}
