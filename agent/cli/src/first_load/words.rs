//! What a load would be, for people.

use std::time::Duration;

use contract::look::span;

use super::Told;
use super::sample::{Sampled, Table};
use crate::out;

pub(super) fn source(one: &Sampled) {
    out(&format!("source {}", one.name));
    for table in &one.tables {
        out(&format!("  {}: {}", table.name, of_table(table)));
    }
    let rate = one.rows_per_second.map_or_else(
        || "resting as long as it reads".to_owned(),
        |rate| format!("at {rate} rows a second"),
    );
    let pauses = match one.pauses.as_slice() {
        [] => {
            "; no pauses are set (snapshot = { pause = [\"08:00-18:00\"], zone = .. })".to_owned()
        }
        pauses => format!("; pauses of {} come on top", pauses.join(", ")),
    };
    out(&format!(
        "  to read all of it takes {}, {rate}{pauses}",
        about(one.time)
    ));
    for rule in &one.rules {
        let expected = match (rule.expected, rule.expected_held) {
            (Some(events), Some(0)) => format!("about {events} events of the whole"),
            (Some(events), Some(held)) => {
                format!("about {events} events of the whole, and {held} held")
            }
            _ => "how many of the whole is not known".to_owned(),
        };
        out(&format!(
            "  {} tells {}: of {} rows {} events, {} held; {expected}",
            rule.id, rule.event_type, rule.rows, rule.events, rule.held
        ));
    }
}

fn of_table(table: &Table) -> String {
    let rows = match (table.rows, table.exact) {
        (Some(rows), true) => format!("{rows} rows"),
        (Some(rows), false) => format!("about {rows} rows, as the database believes"),
        (None, _) => "more rows than were looked at; the database has no estimate".to_owned(),
    };
    if table.done {
        return format!("{rows}; it was read before, and is not read again");
    }
    format!("{rows}, {}", about(table.time))
}

fn about(time: Option<Duration>) -> String {
    match time {
        Some(time) if time < Duration::from_secs(1) => "less than a second".to_owned(),
        Some(time) => format!("about {}", span(time)),
        None => "a time that is not known".to_owned(),
    }
}

pub(super) fn destination(one: &Told) {
    let events: Vec<String> = one
        .events
        .iter()
        .map(|(event_type, count)| match count {
            Some(count) => format!("about {count} {event_type}"),
            None => format!("{event_type}, how many is not known"),
        })
        .collect();
    let events = if events.is_empty() {
        "nothing".to_owned()
    } else {
        events.join(", ")
    };
    let shadow = if one.shadow {
        "; it is in shadow: they are compared with what it holds, and not sent"
    } else {
        ""
    };
    out(&format!(
        "destination {} would be told {events}{shadow}",
        one.name
    ));
    if let Some(time) = one.at_one_each {
        out(&format!(
            "  at its rate, with one event a request, that takes {}",
            about(Some(time))
        ));
    }
}
