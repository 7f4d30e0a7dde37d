//! `lighterman status`: whether stock is flowing, in plain sentences first.

use std::fmt::Write as _;

use contract::{Clock, Finding};
use engine::clock::SystemClock;
use jiff::{SignedDuration, Timestamp};
use state::{
    DestinationStatus, LookStatus, Paused, SnapshotStatus, SourceStatus, StateReader, StoreError,
};

use crate::config::Config;
use crate::disk::Stands;
use crate::{Exit, out, refuse};

pub(crate) fn status(config: &Config, json: bool) -> Exit {
    match show(config, json) {
        Ok(exit) => exit,
        Err(error) => state_refused("read the state folder", &error, json),
    }
}

fn show(config: &Config, json: bool) -> Result<Exit, StoreError> {
    let reader = StateReader::open(&config.state_folder)?;
    let disk = Stands::of(&config.state_folder, config.reserve);
    let running = reader.running();
    let sources = reader.sources()?;
    let destinations = reader.destinations()?;
    let held = reader.held(20)?;
    let stops = reader.location_stops()?;
    let held_count = sources.iter().map(|s| s.held).sum::<u64>()
        + destinations.iter().map(|d| d.held).sum::<u64>();
    let now = SystemClock.now();
    if json {
        let form = serde_json::json!({
            "running": running.is_some(),
            "pid": running,
            "disk": disk.as_ref().map(Stands::json),
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
        if let Some(sentence) = disk.as_ref().and_then(Stands::sentence) {
            out(&sentence);
        }
        for source in &sources {
            if let Some(problem) = &source.problem {
                out(&format!("Source {} does NOT run: {problem}", source.name));
            } else if !source.partly.is_empty() {
                out(&partly(source, running.is_some()));
            }
            for table in source.tables.iter().filter(|table| !table.done) {
                out(&reading(&source.name, table, now, running.is_some()));
            }
            for table in &source.tables {
                if let Some(at) = table.again_at {
                    out(&format!(
                        "Source {} reads {} again at {at}: the log leaves its rows unclear, and it \
                         rests for as long as reading it took.",
                        source.name, table.table
                    ));
                }
            }
            for tables in &source.resync_asked {
                out(&format!(
                    "Source {}: {tables} is to be read again and compared; the running agent takes \
                     it up within seconds.",
                    source.name
                ));
            }
            if let Some(look) = &source.look {
                looked(&source.name, look, now);
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
            for line in stands(destination, now) {
                out(&line);
            }
            if let Some(cause) = &destination.last_cause {
                out(&format!("  last trouble: {cause}"));
            }
        }
        for (destination, stop) in &stops {
            out(&crate::operate::location_sentence(destination, stop));
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
    let trouble = running.is_none()
        || disk.is_some_and(|disk| disk.is_low())
        || sources.iter().any(|source| {
            let stuck = |table: &SnapshotStatus| !table.done && table.problem.is_some();
            source.problem.is_some()
                || !source.partly.is_empty()
                || source.tables.iter().any(stuck)
                || unproven(source)
        });
    Ok(if trouble { Exit::Trouble } else { Exit::Ok })
}

/// What keeps a destination from being told, in sentences.
fn stands(destination: &DestinationStatus, now: Timestamp) -> Vec<String> {
    let name = &destination.name;
    let mut lines = Vec::new();
    match &destination.paused {
        Some(Paused { until: Some(until) }) => lines.push(format!(
            "  {name} is PAUSED until {until}: nothing leaves; events wait in order."
        )),
        Some(Paused { until: None }) => lines.push(format!(
            "  {name} is PAUSED until a person resumes it: nothing leaves; events wait in order."
        )),
        None if destination.draining => lines.push(format!(
            "  {name} sends what was there when it was told to drain, and is paused then."
        )),
        None => {}
    }
    if let Some(until) = destination.throttled_until.filter(|until| *until > now) {
        lines.push(format!("  {name} limits us: nothing leaves until {until}."));
    }
    if let Some(shadow) = &destination.shadow {
        lines.push(format!(
            "  {name} is in shadow mode, NOTHING is sent: {} compared are the same there, {} differ, \
             {} cannot be compared, {} would be held by a guard.",
            shadow.same, shadow.differs, shadow.unknown, shadow.guarded
        ));
    }
    if destination.waiting > 0 {
        lines.push(format!(
            "  {} wait for another event, such as a price for its product.",
            destination.waiting
        ));
    }
    if destination.accepted > 0 {
        lines.push(format!(
            "  {} were taken by {name}, which has not applied them yet.",
            destination.accepted
        ));
    }
    if !destination.held_by_cause.is_empty() {
        let counts: Vec<String> = destination
            .held_by_cause
            .iter()
            .map(|held| format!("{} {}", held.count, held.cause))
            .collect();
        lines.push(format!("  held by {name}: {}", counts.join(", ")));
    }
    lines
}

/// Says which parts of a source do not run.
fn partly(source: &SourceStatus, running: bool) -> String {
    format!(
        "Source {} {}, but not all of it: {}",
        source.name,
        if running { "runs" } else { "ran" },
        source.partly.join("; ")
    )
}

/// Whether a heartbeat is on its way: until it is met, nobody knows that the log flows.
fn unproven(source: &SourceStatus) -> bool {
    source
        .look
        .as_ref()
        .is_some_and(|look| look.heartbeat_sent_at.is_some() && look.heartbeat_took_ms.is_none())
}

/// Says what the last look at a source's log found.
fn looked(name: &str, look: &LookStatus, now: Timestamp) {
    if let Some(sentence) = &look.sentence {
        let age = seconds(now.duration_since(look.looked_at));
        out(&format!("Source {name}, {age} ago: {sentence}"));
    }
    if let Some(alarm) = &look.alarm {
        out(&format!("  to mend it: {alarm}"));
    }
    if let Some(sent_at) = look.heartbeat_sent_at {
        out(&match look.heartbeat_took_ms {
            Some(took) => format!("  A heartbeat came round through its log in {took} ms."),
            None => format!(
                "  The heartbeat of {sent_at} has NOT come round through its log: that it flows is \
                 not proven."
            ),
        });
    }
}

/// A table is said to stand still after so long without a row.
const STILL_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How the reading of a table stands, in a sentence.
fn reading(source: &str, table: &SnapshotStatus, now: Timestamp, running: bool) -> String {
    let of = table
        .estimate
        .map_or_else(String::new, |rows| format!(" of about {rows}"));
    let mut text = format!(
        "Source {source} reads {}: {}{of} rows",
        table.table, table.rows
    );
    if let Some(end) = table.paused_until.filter(|end| *end > now) {
        return text + &format!("; it pauses until {end}, as the settings say.");
    }
    if let (Some(rate), Some(left)) = (table.rows_per_second, table.eta_seconds) {
        let left = seconds(SignedDuration::from_secs(
            i64::try_from(left).unwrap_or(i64::MAX),
        ));
        let _ = write!(text, ", {rate} a second, about {left} left");
    }
    text.push('.');
    let on = table.read_at.max(table.paused_until);
    let still = on.map(|at| now.duration_since(at));
    if let Some(still) = still.filter(|still| running && *still >= STILL_AFTER) {
        let _ = write!(text, " No progress for {}.", seconds(still));
    }
    if let Some(problem) = &table.problem {
        let _ = write!(text, " It does not go on: {problem}");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_destination_from_being_told_is_said() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut destination = DestinationStatus {
            name: "shop".to_owned(),
            paused: Some(Paused { until: None }),
            throttled_until: Some(at(60)),
            waiting: 2,
            ..DestinationStatus::default()
        };
        let said = stands(&destination, at(0));
        assert!(said[0].contains("PAUSED until a person resumes it"));
        assert!(said[1].contains("until 1970-01-01T00:01:00Z"));
        assert!(said[2].starts_with("  2 wait for another event"));
        assert_eq!(stands(&destination, at(61)).len(), 2, "no longer throttled");
        destination = DestinationStatus::default();
        assert_eq!(stands(&destination, at(0)), Vec::<String>::new());
    }

    #[test]
    fn a_tables_reading_is_said_in_a_sentence() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let table = SnapshotStatus {
            table: "public.stock".to_owned(),
            done: false,
            done_at: None,
            rows: 1_000,
            estimate: Some(4_000),
            rows_per_second: Some(10),
            eta_seconds: Some(300),
            read_at: Some(at(0)),
            again_at: None,
            paused_until: None,
            problem: None,
        };
        let check = |table: &SnapshotStatus, now, running, wanted: &str| {
            assert_eq!(reading("erp", table, at(now), running), wanted);
        };
        let head = "Source erp reads public.stock: 1000 of about 4000 rows";
        let rate = format!("{head}, 10 a second, about 5 min left.");
        check(&table, 5, true, &rate);
        check(
            &table,
            660,
            true,
            &format!("{rate} No progress for 11 min."),
        );
        check(&table, 660, false, &rate);
        let paused = SnapshotStatus {
            paused_until: Some(at(700)),
            ..table.clone()
        };
        let pause = format!("{head}; it pauses until 1970-01-01T00:11:40Z, as the settings say.");
        check(&paused, 660, true, &pause);
        check(&paused, 701, true, &rate);
        let stuck = SnapshotStatus {
            estimate: None,
            rows_per_second: None,
            eta_seconds: None,
            problem: Some("read table: denied".to_owned()),
            ..table
        };
        let said =
            "Source erp reads public.stock: 1000 rows. It does not go on: read table: denied";
        check(&stuck, 5, true, said);
    }
}
