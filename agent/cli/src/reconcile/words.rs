//! What a comparison says: in sentences, as a table for a spreadsheet, as JSON.

use std::io::Write;
use std::path::Path;

use contract::{EventOp, EventType, Outgoing};
use serde_json::{Value as Json, json};
use state::{ReconcileClass, ReconcileCount, ReconcileDifference, ReconcileRun, ReconcileSum};

use crate::operate::counted;
use crate::out;
use crate::plain::line;

/// Most characters of a value.
const SHORT: usize = 160;
/// Differences that are shown one by one.
const SHOWN_MAX: usize = 10;

pub(super) fn short(text: &str) -> String {
    text.chars().take(SHORT).collect()
}

/// What was told of a key, in a few words and without what may be about a person.
pub(super) fn ours(outgoing: &Outgoing) -> String {
    if outgoing.op == EventOp::Delete {
        return "told to be gone".to_owned();
    }
    let json: Json = serde_json::from_slice(&outgoing.json).unwrap_or_default();
    let text = |path: &str| match json.pointer(path) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let said = match outgoing.event_type {
        EventType::InventoryAvailability => {
            text("/body/sellable").map(|sellable| format!("sellable {sellable}"))
        }
        EventType::Price => text("/body/amount/amount")
            .or_else(|| text("/body/amount"))
            .map(|amount| format!("amount {amount}")),
        _ => None,
    };
    said.unwrap_or_else(|| "told".to_owned())
}

/// How an undelivered event stands.
pub(super) fn stands(state: Option<&str>) -> &'static str {
    match state {
        Some("held") => "held: lighterman held list",
        Some("queued") => "waiting to leave",
        Some("backoff") => "waiting after a failure",
        Some("sending") => "on its way",
        Some("unknown") => "sent, and its outcome unknown",
        Some("accepted") => "taken by the destination, and not applied yet",
        _ => "newer than what was asked about",
    }
}

fn sum(run: &ReconcileRun, of: fn(&ReconcileCount) -> u64) -> u64 {
    run.types.iter().map(of).sum()
}

/// Keys that a destination holds otherwise than they were told.
pub(super) fn differing(run: &ReconcileRun) -> u64 {
    sum(run, ReconcileCount::differing)
}

/// Keys that could not be compared.
pub(super) fn unknown(run: &ReconcileRun) -> u64 {
    sum(run, |count| count.unknown)
}

/// Keys that were looked at.
pub(super) fn looked_at(run: &ReconcileRun) -> u64 {
    sum(run, |count| count.looked_at)
}

/// Keys that a destination has and was never told.
pub(super) fn untold(run: &ReconcileRun) -> u64 {
    sum(run, |count| count.untold)
}

/// What was not looked for, and why; each once.
pub(super) fn notes(run: &ReconcileRun) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for note in run.types.iter().flat_map(|count| &count.notes) {
        if !all.contains(&note.as_str()) {
            all.push(note);
        }
    }
    all
}

/// The counts of keys; sums of tables stand by themselves.
pub(super) fn of_types(run: &ReconcileRun) -> impl Iterator<Item = &ReconcileCount> {
    let types = run.types.iter();
    types.filter(|count| count.event_type != ReconcileCount::SUMS)
}

/// Says it to a person.
pub(super) fn say(run: &ReconcileRun, differences: &[ReconcileDifference]) {
    let name = run.with.name();
    let looked_at = looked_at(run);
    let sampled = if run.sample.is_some() { "sampled " } else { "" };
    if looked_at == 0 {
        out(&format!(
            "{name}: nothing was told yet that could be compared."
        ));
        return;
    }
    let agree = sum(run, |count| count.agree);
    out(&format!(
        "{name}: {agree} of {looked_at} {sampled}keys agree."
    ));
    for count in &run.types {
        out(&format!(
            "  {}: {} of {} agree{}",
            count.event_type,
            count.agree,
            count.looked_at,
            classes(count)
        ));
    }
    list(differences);
    let lagging = sum(run, |count| count.lagging);
    if lagging > 0 {
        let keys = counted(lagging, "key");
        out(&format!(
            "{keys} could not be judged: what was told of them has not been delivered. Not counted as different."
        ));
    }
    let untold = untold(run);
    if untold > 0 {
        let keys = counted(untold, "key");
        out(&format!(
            "{name} has {keys} that it was never told. They are only reported: nothing takes them away."
        ));
    }
    for note in notes(run) {
        out(&format!("At {name}, {}.", line(note)));
    }
    if run.sample.is_some() {
        out(&format!(
            "--seed {} looks at the same keys again.",
            run.seed
        ));
    }
}

/// The first keys that do not agree.
pub(super) fn list(differences: &[ReconcileDifference]) {
    let shown = |one: &&ReconcileDifference| one.class != ReconcileClass::ExpectedLag;
    for one in differences.iter().filter(shown).take(SHOWN_MAX) {
        let told = one.since.map(|at| format!(", told {at:.0}"));
        out(&format!(
            "  {} {} {}: ours {}, theirs {}{}",
            one.class.name(),
            one.event_type,
            line(&one.key),
            line(&one.ours),
            line(&one.theirs),
            told.unwrap_or_default()
        ));
    }
    let all = differences.iter().filter(shown).count();
    if all > SHOWN_MAX {
        let more = all - SHOWN_MAX;
        out(&format!(
            "  .. and {more} more: --csv FILE writes all of them."
        ));
    }
}

fn classes(count: &ReconcileCount) -> String {
    parts(&[
        (count.missing, "missing there"),
        (
            count.extra.saturating_sub(count.untold),
            "there though told to be gone",
        ),
        (count.untold, "there and never told"),
        (count.different, "different"),
        (count.lagging, "on their way"),
        (count.unknown, "could not be compared"),
    ])
}

/// The same of a source's rows.
pub(super) fn source_classes(count: &ReconcileCount) -> String {
    parts(&[
        (count.missing, "were never told"),
        (count.extra, "told though no row says them"),
        (count.different, "told otherwise"),
        (count.lagging, "on their way"),
        (count.unknown, "held by the mapping"),
    ])
}

/// The fields in which two bodies differ: as they were told, and as they are now.
pub(super) fn fields(told: &str, now: &str) -> (String, String) {
    let object = |text: &str| match serde_json::from_str(text) {
        Ok(Json::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let (told, now) = (object(told), object(now));
    let mut sides = (Vec::new(), Vec::new());
    let names: std::collections::BTreeSet<&String> = told.keys().chain(now.keys()).collect();
    for name in names {
        let (told, now) = (told.get(name), now.get(name));
        if told != now {
            let text = |side: Option<&Json>| match side {
                None | Some(Json::Null) => format!("{name} nothing"),
                Some(Json::String(text)) => format!("{name} {text}"),
                Some(other) => format!("{name} {other}"),
            };
            sides.0.push(text(told));
            sides.1.push(text(now));
        }
    }
    (sides.0.join(", "), sides.1.join(", "))
}

fn parts(all: &[(u64, &str)]) -> String {
    let parts: Vec<String> = all
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!("; {}", parts.join(", "))
    }
}

/// Says it to a program.
pub(super) fn json(run: &ReconcileRun, differences: &[ReconcileDifference]) -> Json {
    let mut form = serde_json::to_value(run).unwrap_or_default();
    if let Some(form) = form.as_object_mut() {
        form.insert("differing".to_owned(), json!(differing(run)));
        form.insert("differences".to_owned(), json!(differences));
        form.insert("not_asked".to_owned(), json!(notes(run)));
    }
    form
}

/// The same of a source.
pub(super) fn source_json(run: &ReconcileRun, differences: &[ReconcileDifference]) -> Json {
    let mut form = json(run, differences);
    if let Some(form) = form.as_object_mut() {
        let notes = form.remove("not_asked").unwrap_or_default();
        form.insert("notes".to_owned(), notes);
        form.insert("types".to_owned(), json!(of_types(run).collect::<Vec<_>>()));
        form.insert("sums".to_owned(), json!(run.sums));
    }
    form
}

/// Writes the keys that do not agree as a table.
///
/// # Errors
/// Why the file cannot be written.
pub(super) fn csv(
    file: &Path,
    differences: &[ReconcileDifference],
    sums: &[ReconcileSum],
) -> std::io::Result<()> {
    let mut text = std::io::BufWriter::new(std::fs::File::create(file)?);
    writeln!(text, "key,type,class,ours,theirs,since")?;
    for one in differences {
        let since = one.since.map_or_else(String::new, |at| at.to_string());
        let cells = [
            one.key.as_str(),
            &one.event_type,
            one.class.name(),
            &one.ours,
            &one.theirs,
            &since,
        ];
        let cells = cells.map(cell);
        writeln!(text, "{}", cells.join(","))?;
    }
    for sum in sums {
        let Some(class) = sum.class else { continue };
        let key = format!("{} {}", sum.table, sum.what);
        let cells = [
            key.as_str(),
            ReconcileCount::SUMS,
            class.name(),
            &sum.ours,
            &sum.theirs,
            "",
        ];
        writeln!(text, "{}", cells.map(cell).join(","))?;
    }
    text.flush()
}

/// A cell for people, whose spreadsheets take some beginnings for a formula and would do what it says.
fn cell(text: &str) -> String {
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!(
        "\"{mark}{}\"",
        text.replace('"', "\"\"").replace(['\r', '\n'], " ")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cell_is_no_formula_whoever_opens_it() {
        for (text, written) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("-1+1", "\"'-1+1\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("\t=1", "\"'\t=1\""),
            ("ACME|=1", "\"ACME|=1\""),
            ("a\r\n=1", "\"a  =1\""),
        ] {
            assert_eq!(super::cell(text), written);
        }
    }
}
