//! `lighterman held list`: what is held, by who holds it and why.

use std::collections::BTreeMap;

use contract::{EventType, Finding};
use state::{HeldCount, HeldEntry, HeldFilter, StateReader, StoreError};

use super::{Failed, counted};
use crate::config::Config;
use crate::plain::line;
use crate::{Exit, out};

/// Why something is held.
pub(crate) const CAUSES: [&str; 7] = [
    "rejected",
    "ambiguous",
    "exhausted",
    "conflict",
    "dependency",
    "guard",
    MAPPING,
];
/// Who holds changes, and why.
pub(crate) const MAPPING: &str = "mapping";

/// What a cause means, and what to do.
pub(crate) fn meaning(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "rejected" => (
            "refused by the destination",
            "mend what its answer says, there or in the mapping, then: lighterman held retry --cause rejected",
        ),
        "ambiguous" => (
            "sent, and nobody can tell whether it arrived",
            "look at the destination: lighterman held drop .. --why .. if it is there, lighterman held retry .. if it \
             is not",
        ),
        "exhausted" => (
            "tried as often as it may be",
            "when the destination works again: lighterman held retry --cause exhausted",
        ),
        "conflict" => (
            "changed at the destination by somebody else, again and again",
            "find out who else writes there, then: lighterman held retry --cause conflict",
        ),
        "dependency" => (
            "waiting in vain for what it belongs to",
            "bring the product or order it names to the destination, then: lighterman held retry --cause dependency",
        ),
        "guard" => (
            "stopped by our own guard, or because a person froze its location",
            "look at the numbers; if they are right: lighterman held retry --cause guard; a frozen location goes on by: \
             lighterman location release LOCATION",
        ),
        _ => (
            "not clear to the mapping",
            "mend the mapping (which is taken up as soon as it is saved), or the row (which is read when it changes); or \
             have it read again as it is now: lighterman held retry --cause mapping",
        ),
    }
}

/// What a filter names that there is not.
pub(super) fn unknown(config: &Config, which: &HeldFilter) -> Result<Option<Finding>, StoreError> {
    let types = EventType::ALL.map(EventType::name);
    // What left the settings may hold something still.
    let counts = StateReader::open(&config.state_folder)?.held_counts()?;
    let holders = counts.iter().map(|one| one.by.as_str());
    let named = config.destinations.iter().map(|one| one.name.as_str());
    let mut all: Vec<&str> = named.chain([MAPPING]).chain(holders).collect();
    all.sort_unstable();
    all.dedup();
    let wrong = |what: &str, name: &Option<String>, known: &[&str]| {
        let name = name.as_deref().filter(|name| !known.contains(name))?;
        let near = contract::finding::nearest(name, known.iter().copied());
        let fix = near.map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        Some(Finding::fail("held", format!("there is no {what} {name:?}")).fix(fix))
    };
    Ok(wrong("cause", &which.cause, &CAUSES)
        .or_else(|| wrong("event type", &which.event_type, &types))
        .or_else(|| wrong("destination", &which.by, &all)))
}

/// So many of a kind, and the first of them.
#[derive(Default)]
struct Group {
    count: u64,
    items: Vec<HeldEntry>,
}

pub(super) fn list(
    config: &Config,
    which: &HeldFilter,
    limit: usize,
    json: bool,
) -> Result<Exit, Failed> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    StateReader::open(&config.state_folder)?.held_each(which, |item| {
        let place = (item.by.clone(), item.cause.clone());
        let group = groups.entry(place).or_default();
        group.count += 1;
        if group.items.len() < limit {
            group.items.push(item);
        }
        true
    })?;
    if json {
        let counts = groups.iter().map(|((by, cause), group)| HeldCount {
            by: by.clone(),
            cause: cause.clone(),
            count: group.count,
        });
        let counts: Vec<_> = counts.collect();
        let items: Vec<_> = groups.values().flat_map(|group| &group.items).collect();
        let form = serde_json::json!({ "held": items, "counts": counts });
        out(&form.to_string());
        return Ok(Exit::Ok);
    }
    if groups.is_empty() {
        let all = *which == HeldFilter::default();
        out(if all {
            "Nothing is held."
        } else {
            "Nothing that fits is held."
        });
        return Ok(Exit::Ok);
    }
    for ((by, cause), Group { count, items }) in groups {
        let (means, fix) = meaning(&cause);
        out(&format!(
            "{by}: {} {means} ({cause})",
            counted(count, "event")
        ));
        for item in &items {
            out(&format!(
                "  {}  {} {}: {}",
                item.id,
                item.event_type,
                line(&item.key),
                line(&item.reason)
            ));
        }
        let more = count - items.len() as u64;
        if more > 0 {
            out(&format!("  .. and {more} more (--limit)"));
        }
        out(&format!("  to mend it: {fix}"));
    }
    Ok(Exit::Ok)
}
