//! Tests of `list:`: recorded pages, beside what was told.

use std::collections::BTreeSet;

use contract::{Node, Outgoing};

use super::answered::Came;
use super::listing::Turned;
use super::model::Channel;
use super::rules::plain;
use super::trial::{Members, came, compare_request, json_of};

/// Lists what the recorded answers hold, and compares what none of the events is called.
pub(super) fn run(node: &Node, channel: &Channel, events: &[Outgoing]) -> Result<(), String> {
    let Some(event_type) = events.first().map(|event| event.event_type) else {
        return Err("has no events in `given`".to_owned());
    };
    let told: BTreeSet<String> = events
        .iter()
        .filter_map(|one| channel.called(one))
        .collect();
    let exchanges = node.member("exchanges").map(Members::items);
    let exchanges = exchanges.unwrap_or_default();
    let mut untold = Vec::new();
    let mut after: Option<String> = None;
    for (n, exchange) in exchanges.iter().enumerate() {
        let number = n + 1;
        if n > 0 && after.is_none() {
            return Err(format!(
                "exchange {number} was expected, but there is no further page"
            ));
        }
        let request = match channel.list_request(event_type, after.as_deref()) {
            Ok(request) => request,
            Err(cause) => return ended(node, &cause),
        };
        if let Some(wanted) = exchange.member("request") {
            compare_request(&request, &channel.base(), wanted)
                .map_err(|found| format!("exchange {number}: {found}"))?;
        }
        let Some(answer) = exchange.member("answer") else {
            return Err(format!("exchange {number} has no `answer`"));
        };
        let page = match came(answer)? {
            Came::Answer(answered) => match channel.listed(event_type, after.as_deref(), &answered)
            {
                Turned::Page(page) => page,
                Turned::Login => return Err(format!("exchange {number} means a login")),
                Turned::Not(not) => return ended(node, &not.cause),
            },
            Came::NotSent(cause) | Came::Lost(cause) => return ended(node, &cause),
        };
        for entry in page.entries {
            if !told.contains(&entry.name) {
                untold.push(format!("{}: {}", entry.name, entry.holds));
            }
        }
        after = page.next;
    }
    if let Some(after) = after {
        return Err(format!("a further page is asked for, after `{after}`"));
    }
    let wanted = node
        .member("untold")
        .map(Members::items)
        .unwrap_or_default();
    let wanted: Vec<String> = wanted.iter().map(|one| plain(&json_of(one))).collect();
    if wanted == untold {
        Ok(())
    } else {
        Err(format!("what was never told is `{}`", untold.join("; ")))
    }
}

/// A page that does not come: `untold: {not: part of the reason}`.
fn ended(node: &Node, cause: &str) -> Result<(), String> {
    let wanted = node
        .member("untold")
        .and_then(|untold| untold.member("not"));
    match wanted.map(json_of) {
        Some(part) if cause.contains(&plain(&part)) => Ok(()),
        _ => Err(format!("a page did not come: {cause}")),
    }
}
