//! `lighterman status`: whether stock is flowing, in plain sentences first.

use std::path::Path;

use contract::{Clock, Finding};
use engine::clock::SystemClock;
use state::{StateReader, StoreError};

use crate::{Exit, out, refuse};

pub(crate) fn status(folder: &Path, json: bool) -> Exit {
    match show(folder, json) {
        Ok(exit) => exit,
        Err(error) => state_refused("read the state folder", &error, json),
    }
}

fn show(folder: &Path, json: bool) -> Result<Exit, StoreError> {
    let reader = StateReader::open(folder)?;
    let running = reader.running();
    let sources = reader.sources()?;
    let destinations = reader.destinations()?;
    let held = reader.held(20)?;
    let held_count = sources.iter().map(|s| s.held).sum::<u64>()
        + destinations.iter().map(|d| d.held).sum::<u64>();
    let now = SystemClock.now();
    if json {
        let form = serde_json::json!({
            "running": running.is_some(),
            "pid": running,
            "sources": sources,
            "destinations": destinations,
            "held_count": held_count,
            "held": held,
        });
        out(&form.to_string());
    } else {
        match running {
            Some(pid) => out(&format!("The agent runs (process {pid}).")),
            None if reader.exists() => out("The agent does NOT run. Start it: lighterman run"),
            None => out("The agent has never run here. Start it: lighterman run"),
        }
        for source in &sources {
            if let Some(problem) = &source.problem {
                out(&format!("Source {} does NOT run: {problem}", source.name));
            }
            for tables in &source.resync_asked {
                out(&format!(
                    "Source {}: {tables} is to be read again and compared; the running agent takes \
                     it up within seconds.",
                    source.name
                ));
            }
        }
        for destination in &destinations {
            let oldest = destination.oldest_undelivered_at;
            out(&match oldest {
                None => format!("{} has everything that was captured.", destination.name),
                Some(oldest) => format!(
                    "{} is {} behind: {} events wait.",
                    destination.name,
                    seconds(now.duration_since(oldest)),
                    destination.backlog
                ),
            });
            if let Some(cause) = &destination.last_cause {
                out(&format!("  last trouble: {cause}"));
            }
        }
        if held_count > 0 {
            out(&format!("{held_count} are held for a person:"));
            for item in &held {
                out(&format!(
                    "  {} {} (by {}): {}",
                    item.what, item.key, item.by, item.reason
                ));
            }
        }
        for source in &sources {
            out(&format!(
                "\nsource {}: {} changes, {} events, {} suppressed, {} held, snapshot {}/{} tables \
                 ({} rows)\n  position {}",
                source.name,
                source.changes,
                source.events,
                source.suppressed,
                source.held,
                source.snapshot_done,
                source.snapshot_tables,
                source.snapshot_rows,
                source.checkpoint.as_deref().unwrap_or("none yet"),
            ));
        }
        for destination in &destinations {
            out(&format!(
                "destination {}: {} delivered, {} superseded, {} retried; {} wait, {} out, {} \
                 unknown, {} back off, {} held",
                destination.name,
                destination.delivered,
                destination.superseded,
                destination.retried,
                destination.backlog,
                destination.sending,
                destination.unknown,
                destination.backoff,
                destination.held,
            ));
        }
    }
    let trouble = running.is_none() || sources.iter().any(|source| source.problem.is_some());
    Ok(if trouble { Exit::Trouble } else { Exit::Ok })
}

/// Says why the state folder cannot be used.
pub(crate) fn state_refused(what: &str, error: &StoreError, json: bool) -> Exit {
    let mut finding = Finding::fail(what, error.to_string());
    finding.fix = error.hint();
    refuse(&[finding], json);
    Exit::State
}

fn seconds(time: jiff::SignedDuration) -> String {
    match time.as_secs() {
        ..=119 => format!("{} s", time.as_secs().max(0)),
        120..=7_199 => format!("{} min", time.as_mins()),
        _ => format!("{} h", time.as_hours()),
    }
}
