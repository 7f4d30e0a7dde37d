//! What must be true before the log is read: nothing is missing between it and our checkpoint.

use std::time::Duration;

use contract::{CapturedTable, Position, SourceError};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::catalogue::{Publication, Slot, Table, publish_sql};
use crate::connect::{PREPARE, lost};
use crate::lsn;
use crate::settings::Settings;

/// How long a slot that was just ours may still be held by our last connection.
const SLOT_WAIT: Duration = Duration::from_secs(3);
const SLOT_POLL: Duration = Duration::from_millis(100);

/// The slot, once nobody holds it and it reaches back to `after`.
pub(crate) async fn slot(
    settings: &Settings,
    sql: &Client,
    after: Option<&Position>,
) -> Result<Slot, SourceError> {
    let name = &settings.slot;
    let deadline = Instant::now() + SLOT_WAIT;
    loop {
        let Some(slot) = Slot::read(sql, name).await? else {
            let what = format!("read slot \"{name}\": slot does not exist");
            return Err(if after.is_some() {
                lost(what)
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
                    "read slot \"{name}\": it is not a pgoutput slot of database \"{}\"",
                    settings.database
                ),
                hint: format!("name another slot in the settings, then {PREPARE}"),
            });
        }
        if slot.wal_status == "lost" {
            return Err(lost(format!(
                "read slot \"{name}\": the server has removed the log it needs (wal_status is lost)"
            )));
        }
        if let Some(after) = after {
            let ours = lsn::of(after)?;
            if let Some(confirmed) = slot.confirmed.filter(|confirmed| *confirmed > ours) {
                return Err(lost(format!(
                    "read slot \"{name}\": it stands at {}, past our checkpoint {}: something \
                     else has read from it, or it was made anew",
                    lsn::text(confirmed),
                    lsn::text(ours)
                )));
            }
            if ours > slot.insert {
                return Err(lost(format!(
                    "read slot \"{name}\": our checkpoint {} is beyond the end of the server's \
                     log {}: the database was restored to an earlier time, or is another one",
                    lsn::text(ours),
                    lsn::text(slot.insert)
                )));
            }
        }
        let Some(pid) = slot.active_pid else {
            return Ok(slot);
        };
        if Instant::now() >= deadline {
            return Err(SourceError::Disconnected(format!(
                "read slot \"{name}\": it is in use by another connection, server process {pid}"
            )));
        }
        tokio::time::sleep(SLOT_POLL).await;
    }
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
