//! What must be true before the log is read: nothing is missing between it and our checkpoint.

use std::fmt;
use std::time::Duration;

use contract::{CapturedTable, Resume, SourceError};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::catalogue::{Publication, Table, publish_sql};
use crate::connect::{PREPARE, lost};
use crate::identity::{self, Identity, gap};
use crate::lsn;
use crate::settings::Settings;
use crate::slot::{Holder, Slot};
use crate::told::{Origin, Told};

/// How long a slot that was just ours may still be held by our last connection.
const SLOT_WAIT: Duration = Duration::from_secs(3);
const SLOT_POLL: Duration = Duration::from_millis(100);

/// What we have already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    /// Our checkpoint.
    pub(crate) checkpoint: u64,
    /// Commit time of the newest change we have.
    pub(crate) committed_at: Option<Timestamp>,
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lsn::text(self.checkpoint))?;
        match self.committed_at {
            Some(at) => write!(f, " (newest change committed at {at:.0})"),
            None => Ok(()),
        }
    }
}

/// Which server this is, once it is sure that its log goes on from our checkpoint; what we have, and
/// what the log told of when the checkpoint was stored.
pub(crate) async fn server(
    settings: &Settings,
    sql: &Client,
    from: &Resume,
) -> Result<(Identity, Option<Ours>, Option<Told>), SourceError> {
    identity::primary(sql, settings).await?;
    let server = Identity::read(sql, settings).await?;
    let Some(after) = &from.after else {
        return Ok((server, None, None));
    };
    let ours = Ours {
        checkpoint: lsn::of(after)?,
        committed_at: from.committed_at,
    };
    let Some(text) = &from.server else {
        return Ok((server, Some(ours), None));
    };
    let Some(before) = Origin::parse(text) else {
        return Err(SourceError::Malformed(format!(
            "read the server's identity: \"{text}\" in the state file is none"
        )));
    };
    server.goes_on(settings, &before.server, &ours).await?;
    Ok((server, Some(ours), before.told))
}

/// The slot, once nobody holds it and it reaches back to what we have.
pub(crate) async fn slot(
    settings: &Settings,
    sql: &Client,
    ours: Option<&Ours>,
) -> Result<Slot, SourceError> {
    let name = &settings.slot;
    let doing = format!("read slot \"{name}\"");
    let deadline = Instant::now() + SLOT_WAIT;
    loop {
        let Some(slot) = Slot::read(sql, name).await? else {
            let what = format!("{doing}: slot does not exist");
            return Err(if ours.is_some() {
                gap(&what, ours, log_end(sql).await)
            } else {
                SourceError::Denied {
                    what,
                    hint: PREPARE.to_owned(),
                }
            });
        };
        if !slot.usable {
            return Err(SourceError::Denied {
                what: format!(
                    "{doing}: it is not a pgoutput slot of database \"{}\"",
                    settings.database
                ),
                hint: format!("name another slot in the settings, then {PREPARE}"),
            });
        }
        if let Some(why) = slot.dead() {
            return Err(gap(&format!("{doing}: {why}"), ours, Some(slot.insert)));
        }
        if let Some(ours) = ours {
            if let Some(confirmed) = slot.confirmed.filter(|at| *at > ours.checkpoint) {
                let what = format!(
                    "{doing}: it stands at {}, past our checkpoint: something else has read from \
                     it, or it was made anew",
                    lsn::text(confirmed)
                );
                return Err(gap(&what, Some(ours), Some(confirmed)));
            }
            if ours.checkpoint > slot.insert {
                return Err(lost(format!(
                    "{doing}: our checkpoint {ours} is beyond the end of the server's log {}: the \
                     database was restored to an earlier time, or is another one. What was captured \
                     after {} this server does not have",
                    lsn::text(slot.insert),
                    lsn::text(slot.insert)
                )));
            }
        }
        let Some(pid) = slot.active_pid else {
            return Ok(slot);
        };
        if Instant::now() >= deadline {
            let holder = Holder::read(sql, pid).await?;
            return Err(SourceError::Disconnected(format!(
                "{doing}: it is in use by another connection, {holder}"
            )));
        }
        tokio::time::sleep(SLOT_POLL).await;
    }
}

/// Where the server's log ends; `None` when it does not say.
async fn log_end(sql: &Client) -> Option<u64> {
    let asked = sql
        .query_one(
            "SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text",
            &[],
        )
        .await;
    let end: String = asked.ok()?.get(0);
    lsn::parse(&end)
}

/// The publication must tell everything of every captured table.
pub(crate) async fn publication(
    settings: &Settings,
    sql: &Client,
    tables: &[CapturedTable],
) -> Result<(), SourceError> {
    let name = &settings.publication;
    let publication = Publication::read(sql, name).await?;
    let mut unpublished = Vec::new();
    for captured in tables {
        let published = publication
            .as_ref()
            .and_then(|known| known.table(&captured.table));
        if published.is_none() {
            let Some(table) = Table::read(sql, &captured.table).await? else {
                return Err(SourceError::SchemaChanged {
                    what: format!("read log: table {} does not exist", captured.table),
                    hint: "correct the table's name in the mapping".to_owned(),
                });
            };
            unpublished.push(table);
        }
    }
    let hint = || {
        let sql = publish_sql(settings, publication.as_ref(), &unpublished);
        format!("{PREPARE}, or {}", sql.join("; "))
    };
    let Some(publication) = &publication else {
        return Err(SourceError::Denied {
            what: format!("read log: publication \"{name}\" does not exist"),
            hint: hint(),
        });
    };
    if !unpublished.is_empty() {
        let names: Vec<_> = unpublished.iter().map(|t| t.name.to_string()).collect();
        return Err(SourceError::Denied {
            what: format!(
                "read log: publication \"{name}\" does not have {}",
                names.join(", ")
            ),
            hint: hint(),
        });
    }
    if !publication.untold.is_empty() {
        return Err(SourceError::Denied {
            what: format!(
                "read log: publication \"{name}\" does not tell of {}",
                publication.untold.join(", ")
            ),
            hint: hint(),
        });
    }
    Ok(())
}
