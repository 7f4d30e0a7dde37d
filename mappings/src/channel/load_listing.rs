//! `list:` in a channel's file: how the API lists what it has of an event type.

use contract::{EventType, NodeKind, Section};

use super::formula::Formula;
use super::listing::{Listing, Turn};
use super::load_steps::Steps;
use super::load_template::Reader;
use super::settings::{Given, SettingKind};
use crate::load::did_you_mean;

/// What a page's request is told, where it is not an address.
const AFTER: &[&str] = &["after"];
const PAGE: &[&str] = &["page"];

pub(super) fn read(
    section: &mut Section<'_>,
    event_type: EventType,
    steps: &Steps<'_>,
) -> Option<Listing> {
    let mut reader = steps.reader.clone();
    // Only `is` is about an event.
    reader.allowed.event = None;
    reader.allowed.found = Vec::new();
    let next = turn(section, &reader);
    let mut asking = reader.clone();
    asking.allowed.given = match &next {
        Some(Turn::Page) => PAGE,
        Some(Turn::Link(_)) => &[],
        _ => AFTER,
    };
    let request = asking.request(section, false);
    if let (Some(Turn::Link(_)), Some(request)) = (&next, &request)
        && request.method != "GET"
        && let Some(node) = section.get("next")
    {
        let found = "an address is only gone on at with `get`".to_owned();
        section.wrong("next", node, found, Some("get: /items".to_owned()));
    }
    let entries = reader.path(
        section,
        "entries",
        "`entries: data.items`: where the answer lists what it has",
    );
    let inner = Steps {
        reader: reader.clone(),
    };
    let mut found = Vec::new();
    let take = inner.take(section, &mut found);
    let each = section.section("each").map(|mut one| {
        let list = reader.path(
            &mut one,
            "list",
            "`list: stockLevels`: a list in each entry",
        );
        let take = inner.take(&mut one, &mut found);
        one.finish();
        Some((list?, take))
    });
    let mut entry = reader.clone();
    entry.allowed.found = found;
    let path = section.path().to_owned();
    let only = only(section, &entry);
    let filter = section
        .get("where")
        .map(|node| entry.test(node, &format!("{path}.where")));
    let key = needed(
        section,
        &entry,
        "key",
        "`key: found.sku`: what an entry is called",
    );
    let mut event = reader.clone();
    event.allowed.event = Some(event_type);
    let is = needed(
        section,
        &event,
        "is",
        "`is: sku`: what `key` is for an event",
    );
    let holds = entry.named(section, "holds");
    let answers = reader.rules(section);
    let done = reader.matches(section, "done");
    Some(Listing {
        request: request?,
        entries: entries?,
        take,
        each: match each {
            None => None,
            Some(each) => Some(each?),
        },
        next: next?,
        only: only?,
        filter: match filter {
            None => None,
            Some(filter) => Some(filter?),
        },
        key: key?,
        is: is?,
        holds,
        answers,
        done,
    })
}

fn needed(
    section: &mut Section<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    example: &str,
) -> Option<Formula> {
    let path = format!("{}.{key}", section.path());
    let Some(node) = section.get(key) else {
        section.missing(key, example);
        return None;
    };
    reader.formula(node, &path)
}

fn turn(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Turn> {
    const EXAMPLE: &str = "`next: offset`, `next: page`, `next: {cursor: place}`, `next: {last: place}` or `next: {link: place}`";
    let Some(node) = section.get("next") else {
        section.missing("next", EXAMPLE);
        return None;
    };
    if let NodeKind::Text(word) = &node.kind {
        return match word.as_str() {
            "offset" => Some(Turn::Offset),
            "page" => Some(Turn::Page),
            other => {
                let found = format!("`{other}` is no way to the next page");
                section.wrong("next", node, found, Some(EXAMPLE.to_owned()));
                None
            }
        };
    }
    let mut one = section.section("next")?;
    let cursor = reader.may_path(&mut one, "cursor");
    let more = reader.matches(&mut one, "more");
    let last = reader.may_path(&mut one, "last");
    let link = reader.may_path(&mut one, "link");
    if let (None, false, Some(place)) = (&cursor, more.is_empty(), one.get("more")) {
        let found = "says nothing without `cursor`".to_owned();
        one.wrong("more", place, found, None);
    }
    one.finish();
    match (cursor, last, link) {
        (Some(cursor), None, None) => Some(Turn::Cursor(cursor, more)),
        (None, Some(last), None) => Some(Turn::Last(last)),
        (None, None, Some(link)) => Some(Turn::Link(link)),
        _ => {
            let found = "expected exactly one of `cursor`, `last` and `link`".to_owned();
            section.wrong("next", node, found, Some(EXAMPLE.to_owned()));
            None
        }
    }
}

/// Entries of what the settings name, and of nothing else.
fn only(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Vec<(Vec<String>, Formula)>> {
    let Some(mut named) = section.section("only") else {
        return Some(Vec::new());
    };
    let answers = reader.allowed.answers;
    let path = named.path().to_owned();
    let problems = named.problems().clone();
    let mut whole = true;
    let mut all = Vec::new();
    for (key, node) in named.free_entries() {
        let path = format!("{path}.{}", key.name);
        let formula = reader.formula(node, &path);
        if answers.kind(&key.name) != Some(SettingKind::Map) {
            let fix = did_you_mean(&key.name, answers.maps());
            let found = format!("there is no setting `{}` of type map", key.name);
            problems.add(key.line, key.column, &path, found, fix);
            whole = false;
        }
        let values = match answers.given(&key.name) {
            Some(Given::Map(map)) => map.into_values().collect(),
            _ => Vec::new(),
        };
        match formula {
            Some(formula) => all.push((values, formula)),
            None => whole = false,
        }
    }
    whole.then_some(all)
}
