//! A channel's file: read, and checked as a whole, every problem at once and with its place.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::destination::Resend;
use contract::{
    EventKind, EventType, Finding, Limits, Node, NodeKind, Points, Problems, Rate, Section,
};

use super::formula::Allowed;
use super::load_listing;
use super::load_steps::Steps;
use super::load_template::Reader;
use super::model::{
    Channel, Comparison, Conflict, Delete, Handling, PointPlaces, Proven, Read, Step,
};
use super::settings::{self, Answers, Declared};
use super::skus::Skus;
use super::trial;
use crate::load::did_you_mean;
use crate::yaml::parse_yaml;

/// The settings that a file declares.
///
/// # Errors
/// Findings with file, line and column.
pub fn declared(file: &str, text: &str) -> Result<Vec<Declared>, Vec<Finding>> {
    let root = parse_yaml(file, text)?;
    let problems = Problems::new(file);
    let mut top = Section::new(&root, "", &problems);
    let declared = settings::read(&mut top);
    let findings = problems.take();
    if findings.is_empty() {
        Ok(declared)
    } else {
        Err(findings)
    }
}

/// Reads and checks a file with its settings' answers.
///
/// # Errors
/// Findings with file, line and column.
pub fn load(file: &str, text: &str, answers: &Answers) -> Result<Channel, Vec<Finding>> {
    load_watched(file, text, answers, &Problems::new(file))
}

/// As [`load`], with everything the file is asked for noted.
pub(super) fn load_watched(
    file: &str,
    text: &str,
    answers: &Answers,
    problems: &Problems,
) -> Result<Channel, Vec<Finding>> {
    let root = parse_yaml(file, text)?;
    let channel = read(&root, answers, problems);
    let findings = problems.take();
    match channel {
        Some(channel) if findings.is_empty() => Ok(channel),
        _ if findings.is_empty() => Err(vec![Finding::fail(file, "cannot be read")]),
        _ => Err(findings),
    }
}

fn read(root: &Node, answers: &Answers, problems: &Problems) -> Option<Channel> {
    let mut top = Section::new(root, "", problems);
    let name = top
        .required_name("channel", "`channel: my-shop`")
        .map(str::to_owned);
    let title = top
        .required_text("title", "`title: My Shop`")
        .map(str::to_owned);
    let proven = match top.word("proven", &["server", "schema", "documentation"]) {
        Some("server") => Proven::Server,
        Some("schema") => Proven::Schema,
        _ => Proven::Documentation,
    };
    if top.get("proven").is_none() {
        top.missing("proven", "`proven: documentation` (or schema, or server)");
    }
    settings::read(&mut top);
    let resend = match top.word("resend", &["safe", "verify", "unsafe"]) {
        Some("safe") => Some(Resend::Safe),
        Some("verify") => Some(Resend::Verify),
        Some(_) => Some(Resend::Unsafe),
        None => {
            if top.get("resend").is_none() {
                top.missing(
                    "resend",
                    "`resend: safe` (the same request twice is the same as once), verify or unsafe",
                );
            }
            None
        }
    };
    let allowed = Allowed {
        answers,
        event: None,
        found: Vec::new(),
        item: None,
        given: &[],
    };
    let reader = Reader {
        problems,
        allowed,
        items: false,
        keys: false,
    };
    if top.get("url").is_none() {
        top.missing("url", "`url: setting.url`");
    }
    let url = top.get("url").and_then(|node| reader.formula(node, "url"));
    let timeout = duration(&mut top, "timeout").unwrap_or(Duration::from_secs(30));
    let steps = Steps {
        reader: reader.clone(),
    };
    let headers = reader.headers(&mut top);
    let auth = steps.auth(&mut top);
    let limits = limits(&mut top, &reader);
    let shared = reader.rules(&mut top);
    let check = top.section("check").and_then(|mut section| {
        let request = reader.request(&mut section, false);
        let done = reader.matches(&mut section, "done");
        need_done(&section, &done);
        section.finish();
        Some((request?, done))
    });
    let events = events(&mut top, &steps, resend);
    let tests = trial::read(&mut top);
    top.finish();
    let (limits, concurrent, bytes, points, accepted) = limits;
    Some(Channel {
        name: name?,
        title: title?,
        proven,
        resend: resend?,
        limits,
        concurrent,
        bytes,
        timeout,
        auth: auth?,
        accepted,
        url: url?,
        headers,
        answers: shared,
        points,
        check,
        events: events?,
        tests,
        skus: Skus::default(),
        answers_given: answers.clone(),
    })
}

/// A request of which nobody knows how success looks would be taken for done by its status.
pub(super) fn need_done(section: &Section<'_>, done: &[super::rules::Match]) {
    if done.is_empty() {
        section.missing(
            "done",
            "`done: data.updated` or `done: {status: 204}`: what an answer holds when it was done",
        );
    }
}

type Bounds = (Limits, usize, usize, PointPlaces, (Duration, Duration));

fn limits(top: &mut Section<'_>, reader: &Reader<'_>) -> Bounds {
    let mut limits = Limits::default();
    let (mut concurrent, mut bytes) = (1, 1 << 20);
    let mut places = PointPlaces::default();
    let mut accepted = (Duration::from_hours(2), Duration::from_secs(30));
    let Some(mut section) = top.section("limits") else {
        return (limits, concurrent, bytes, places, accepted);
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let requests = section.number("requests", 1, 1_000_000);
    let per = duration(&mut section, "per");
    if let Some(requests) = requests {
        limits.rate = Some(Rate {
            requests: small(requests),
            per: per.unwrap_or(Duration::from_secs(1)),
        });
    } else if let Some(node) = section.get("per") {
        section.wrong(
            "per",
            node,
            "says nothing without `requests`".to_owned(),
            Some("requests: 4".to_owned()),
        );
    }
    limits.per_day = section.number("per_day", 1, 1_000_000_000).map(small);
    if let Some(number) = section.number("concurrent", 1, 64) {
        concurrent = usize::try_from(number).unwrap_or(1);
    }
    bytes = size(&mut section, "bytes").unwrap_or(bytes);
    if let Some(mut points) = section.section("points") {
        let (max, back) = (
            points.number("max", 1, 1_000_000),
            points.number("per_second", 1, 1_000_000),
        );
        if let Some((max, back)) = max.zip(back) {
            limits.points = Some(Points {
                max: small(max),
                per_second: small(back),
            });
        } else {
            points.missing("max", "`max: 2000` and `per_second: 100`");
        }
        places.left = reader.may_path(&mut points, "left_at");
        places.max = reader.may_path(&mut points, "max_at");
        places.per_second = reader.may_path(&mut points, "per_second_at");
        points.finish();
    }
    accepted.0 = duration(&mut section, "accepted_within").unwrap_or(accepted.0);
    accepted.1 = duration(&mut section, "ask_every").unwrap_or(accepted.1);
    section.finish();
    (limits, concurrent, bytes, places, accepted)
}

fn events(
    top: &mut Section<'_>,
    steps: &Steps<'_>,
    resend: Option<Resend>,
) -> Option<BTreeMap<EventType, Handling>> {
    let Some(mut section) = top.section("events") else {
        top.missing("events", "`events: {inventory.availability.v1: ..}`");
        return None;
    };
    let problems = section.problems().clone();
    let mut all = BTreeMap::new();
    let (line, column) = section.place();
    let entries = section.free_entries();
    if entries.is_empty() {
        let found = "names no event type: nothing would be sent".to_owned();
        let fix = Some("{inventory.availability.v1: ..}".to_owned());
        problems.add(line, column, "events", found, fix);
    }
    for (key, node) in entries {
        let path = format!("events.{}", key.name);
        let Ok(event_type) = key.name.parse::<EventType>() else {
            let names = EventType::ALL.iter().map(|kind| kind.name());
            let fix = did_you_mean(&key.name, names.clone())
                .unwrap_or_else(|| format!("one of {}", names.collect::<Vec<_>>().join(", ")));
            problems.add(
                key.line,
                key.column,
                &path,
                format!("there is no event type `{}`", key.name),
                Some(fix),
            );
            continue;
        };
        let mut one = Section::new(node, path, &problems);
        let handling = handling(&mut one, event_type, steps, resend);
        one.finish();
        if let Some(handling) = handling {
            all.insert(event_type, handling);
        }
    }
    Some(all)
}

fn handling(
    section: &mut Section<'_>,
    event_type: EventType,
    steps: &Steps<'_>,
    resend: Option<Resend>,
) -> Option<Handling> {
    let mut steps = steps.clone();
    steps.reader.allowed.event = Some(event_type);
    let path = section.path().to_owned();
    let filter = section
        .get("where")
        .map(|node| steps.reader.test(node, &format!("{path}.where")));
    let batch = section
        .number("batch", 1, 10_000)
        .map_or(1, |n| usize::try_from(n).unwrap_or(1));
    let all = steps.list(section, "steps", &mut Vec::new());
    if section.get("steps").is_none() {
        section.missing("steps", "`steps: [{send: ..}]`");
    }
    let is_send = |step: &Step| matches!(step, Step::Send(_));
    if let (Some(all), Some(node)) = (&all, section.get("steps"))
        && !all.iter().any(is_send)
    {
        section.wrong(
            "steps",
            node,
            "nothing is sent".to_owned(),
            Some("a step `send`".to_owned()),
        );
    }
    if let (true, Some(all), Some(node)) = (batch > 1, &all, section.get("batch"))
        && !all.iter().any(|step| matches!(step, Step::Send(send) if send.items))
        && !all.iter().any(|step| matches!(step, Step::Find(find) if find.request.body.as_ref().is_some_and(super::template::Template::has_keys)))
    {
        section.wrong("batch", node, "no request takes several events".to_owned(), Some("{$items: ..} in the body of a `send`".to_owned()));
    }
    let delete = delete(section, event_type, &steps);
    let conflict = section.section("conflict").and_then(|mut one| {
        let tries = one.number("tries", 1, 10).unwrap_or(3);
        let names = finds(all.as_deref().unwrap_or_default());
        let from = one.required_text("from", "`from: variant` (the find to begin with again)")?;
        let found = names
            .iter()
            .find(|(_, name)| *name == from)
            .map(|(n, _)| *n);
        // Where a step is wrong, that is what is told.
        if let (None, Some(node), true) = (found, one.get("from"), all.is_some()) {
            one.wrong(
                "from",
                node,
                format!("no step finds `{from}`"),
                did_you_mean(from, names.iter().map(|(_, name)| *name)),
            );
        }
        one.finish();
        let own = match &delete {
            Some(Delete::Steps(own)) => finds(own),
            _ => Vec::new(),
        };
        // All of a tombstone's own steps, where none of them has that name.
        let own = own.iter().find(|(_, name)| *name == from);
        Some(Conflict {
            from: found?,
            from_of_delete: own.map_or(0, |(n, _)| *n),
            tries: u32::try_from(tries).unwrap_or(3),
        })
    });
    let read = section.section("read").and_then(|mut one| {
        let read = reading(&mut one, &steps);
        one.finish();
        read
    });
    if resend == Some(Resend::Verify) && section.get("read").is_none() {
        section.missing("read", "`read: {steps: [{find: ..}], compare: ..}`: with `resend: verify` an outcome that is not known is read back");
    }
    let listing = section.section("list").map(|mut one| {
        let listing = load_listing::read(&mut one, event_type, &steps);
        one.finish();
        listing
    });
    let filter = match filter {
        None => None,
        Some(filter) => Some(filter?),
    };
    Some(Handling {
        filter,
        batch,
        steps: all?,
        delete: delete?,
        conflict,
        read,
        listing: match listing {
            None => None,
            Some(listing) => Some(listing?),
        },
    })
}

/// The look-ups among steps: where each stands, and its name.
fn finds(steps: &[Step]) -> Vec<(usize, &str)> {
    let all = steps.iter().enumerate();
    all.filter_map(|(n, step)| match step {
        Step::Find(find) => Some((n, find.name.as_str())),
        Step::Send(_) | Step::Hold(_) => None,
    })
    .collect()
}

fn delete(section: &mut Section<'_>, event_type: EventType, steps: &Steps<'_>) -> Option<Delete> {
    if event_type.kind() == EventKind::Fact {
        if let Some(node) = section.get("delete") {
            section.wrong(
                "delete",
                node,
                format!("{event_type} is a fact and has no tombstones"),
                None,
            );
        }
        return Some(Delete::Same);
    }
    let Some(node) = section.get("delete") else {
        section.missing("delete", "`delete: same` (the steps, with no field but the key), `delete: {skip: why}` or `delete: {steps: ..}`");
        return None;
    };
    if matches!(&node.kind, NodeKind::Text(text) if text == "same") {
        return Some(Delete::Same);
    }
    let mut one = section.section("delete")?;
    let skip = one.text("skip").map(str::to_owned);
    let own = one
        .get("steps")
        .is_some()
        .then(|| steps.list(&mut one, "steps", &mut Vec::new()));
    one.finish();
    match (skip, own) {
        (Some(why), None) => Some(Delete::Skip(why)),
        (None, Some(own)) => Some(Delete::Steps(own?)),
        _ => {
            section.wrong(
                "delete",
                node,
                "expected exactly one of `skip` and `steps`, or `same`".to_owned(),
                None,
            );
            None
        }
    }
}

fn reading(section: &mut Section<'_>, steps: &Steps<'_>) -> Option<Read> {
    let mut found = Vec::new();
    let all = steps.list(section, "steps", &mut found);
    if section.get("steps").is_none() {
        section.missing("steps", "`steps: [{find: ..}]`");
    }
    if let (Some(all), Some(node)) = (&all, section.get("steps"))
        && all.iter().any(|step| matches!(step, Step::Send(_)))
    {
        section.wrong(
            "steps",
            node,
            "reading back changes nothing: only `find` may stand here".to_owned(),
            None,
        );
        section.get("compare");
        return None;
    }
    let mut reader = steps.reader.clone();
    reader.allowed.found = found;
    let mut compare = Vec::new();
    let Some(mut pairs) = section.section("compare") else {
        section.missing(
            "compare",
            "`compare: {quantity: {holds: found.stock, would: sellable}}`",
        );
        return None;
    };
    let path = pairs.path().to_owned();
    let problems = pairs.problems().clone();
    for (key, node) in pairs.free_entries() {
        let mut one = Section::new(node, format!("{path}.{}", key.name), &problems);
        let mut side = |key: &'static str| {
            let Some(node) = one.get(key) else {
                one.missing(key, &format!("`{key}: ..`"));
                return None;
            };
            reader.template(node, &format!("{path}.{key}"))
        };
        let pair = (side("holds"), side("would"));
        one.finish();
        if let (Some(holds), Some(would)) = pair {
            compare.push(Comparison {
                name: key.name.clone(),
                holds,
                would,
            });
        }
    }
    Some(Read {
        steps: all?,
        compare,
    })
}

/// A time: `500ms`, `30s`, `5m`, `1h`, `7d`.
pub(super) fn duration(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let text = section.text(key)?;
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let millis = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000_u64),
        _ => None,
    };
    let time = number
        .parse::<u64>()
        .ok()
        .zip(millis)
        .and_then(|(number, unit)| number.checked_mul(unit));
    let time = time
        .filter(|time| (1..=31 * 86_400_000).contains(time))
        .map(Duration::from_millis);
    if let (None, Some(node)) = (time, section.get(key)) {
        section.wrong(
            key,
            node,
            format!("`{text}` is no time"),
            Some("such as 500ms, 30s, 5m, 1h or 1d, at most 31d".to_owned()),
        );
    }
    time
}

/// A size: `64KiB`, `1MiB`.
fn size(section: &mut Section<'_>, key: &'static str) -> Option<usize> {
    let text = section.text(key)?;
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit = match unit.trim() {
        "KiB" => Some(1_024),
        "MiB" => Some(1_048_576_usize),
        _ => None,
    };
    let bytes = number
        .parse::<usize>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit));
    let bytes = bytes.filter(|bytes| (1_024..=64 << 20).contains(bytes));
    if let (None, Some(node)) = (bytes, section.get(key)) {
        section.wrong(
            key,
            node,
            format!("`{text}` is no size"),
            Some("such as 64KiB or 1MiB, at most 64MiB".to_owned()),
        );
    }
    bytes
}
