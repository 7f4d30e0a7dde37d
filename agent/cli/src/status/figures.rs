//! The numbers below the sentences.

use std::fmt::Write as _;
use std::time::Duration;

use contract::look::{bytes, span};
use contract::{KeptEnd, Level, clock};
use state::{
    DestinationStatus, LookStatus, ReconcileCount, ReconcileStatus, ReconcileWith, SourceStatus,
};

use super::facts::{Facts, left};
use super::screen::{Block, Line};
use super::summary::title;
use crate::disk::Stands;
use crate::operate::counted;

/// The sentences, as the head of a screen.
pub(super) fn head(facts: &Facts) -> Block {
    let mut block = Block::untitled();
    for sentence in facts.sentences() {
        block.lines.push(Line::said(sentence.level, &sentence.text));
        if let Some(fix) = &sentence.fix {
            block.plain(&format!("  {fix}"));
        }
    }
    block
}

/// The first of what is held.
pub(super) fn held(facts: &Facts) -> Option<Block> {
    if facts.held_count == 0 {
        return None;
    }
    let (count, be) = (
        facts.held_count,
        if facts.held_count == 1 { "is" } else { "are" },
    );
    let mut block = Block::titled(&format!("{count} {be} held for a person:"));
    for item in &facts.held {
        let (what, key, by, reason) = (&item.what, &item.key, &item.by, &item.reason);
        block
            .lines
            .push(Line::cell(&format!("  {what} {key} (by {by}): {reason}")));
    }
    block.all = facts.held_count;
    block.more = "lighterman held list";
    Some(block)
}

/// Each source.
pub(super) fn sources(facts: &Facts) -> Vec<Block> {
    facts.sources.iter().map(|one| source(facts, one)).collect()
}

fn source(facts: &Facts, one: &SourceStatus) -> Block {
    let mut block = Block::titled(&format!(
        "source {}: {} changes, {} events, {} suppressed, {} held, snapshot {}/{} tables ({} rows)",
        one.name,
        one.changes,
        one.events,
        one.suppressed,
        one.held,
        one.snapshot_done,
        one.snapshot_tables,
        one.snapshot_rows,
    ));
    let ago = |at| span(clock::until(at, facts.now));
    let position = one.checkpoint.as_deref().unwrap_or("none yet");
    block.plain(&format!("  position {position}"));
    let lag = facts.agent.lags.get(&one.name);
    let parts = [
        lag.map(|lag| format!("{} behind its log", span(*lag))),
        one.committed_at
            .map(|at| format!("newest change committed {} ago", ago(at))),
        one.updated_at
            .map(|at| format!("position stored {} ago", ago(at))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        block.plain(&format!("  {}", parts.join(", ")));
    }
    if let Some(look) = &one.look {
        log(facts, one, look, &mut block);
    }
    let with = ReconcileWith::Source(one.name.clone());
    block.lines.extend(reconciled_with(facts, &with));
    block
}

/// How its log is kept.
fn log(facts: &Facts, one: &SourceStatus, look: &LookStatus, block: &mut Block) {
    // With an alarm it stands above.
    if let Some(sentence) = look.sentence.as_ref().filter(|_| look.alarm.is_none()) {
        let age = span(clock::until(look.looked_at, facts.now));
        block.plain(&format!("  {age} ago: {sentence}"));
    }
    if let Some(kept) = look.kept_bytes {
        let end = match left(one) {
            Some((KeptEnd::Dropped, time)) => {
                format!("{} until the database drops it", span(time))
            }
            Some((KeptEnd::DiskFull, time)) => format!("{} until its disk is full", span(time)),
            None if look.left_bytes.is_none() && look.room_bytes.is_none() => {
                "no limit is known".to_owned()
            }
            None if look.growth_per_hour.is_none() => "not measured yet".to_owned(),
            None => "as long as it goes on like this".to_owned(),
        };
        let kept = bytes(kept);
        block.plain(&format!("  log kept for us: {kept}; time left: {end}"));
    }
    if let Some(took) = look.heartbeat_took_ms {
        block.plain(&format!(
            "  A heartbeat came round through its log in {took} ms."
        ));
    }
}

/// Events by type: how many, how many wait, and how late they are.
pub(super) fn events(facts: &Facts) -> Option<Block> {
    let flow = &facts.flow;
    if flow.types.is_empty() {
        return None;
    }
    let mut block =
        Block::titled("events captured   last minute      hour       day   waiting  behind");
    let cut = flow.since.map(|since| clock::until(since, facts.now));
    let count = |count: u64, window: Duration| {
        let least = cut.is_some_and(|cut| cut < window);
        format!("{count}{}", if least { "+" } else { "" })
    };
    for one in &flow.types {
        let waiting = flow.waiting.iter();
        let waiting = waiting.filter(|waiting| waiting.event_type == one.event_type);
        let oldest = waiting.clone().map(|waiting| waiting.oldest_at).min();
        let more = waiting.clone().any(|waiting| waiting.or_more);
        let waits: u64 = waiting.map(|waiting| waiting.count).sum();
        let behind = oldest.map(|at| span(clock::until(at, facts.now)));
        let line = format!(
            "  {:<16}{:>11}{:>10}{:>10}{:>10}  {}",
            title(&one.event_type),
            count(one.minute, Duration::from_mins(1)),
            count(one.hour, Duration::from_hours(1)),
            count(one.day, Duration::from_hours(24)),
            format!("{waits}{}", if more { "+" } else { "" }),
            behind.unwrap_or_default(),
        );
        block.lines.push(Line::cell(line.trim_end()));
    }
    if let Some(cut) = cut {
        let cut = span(cut);
        block.plain(&format!(
            "  + = at least: counted over the last {cut}, which the state file remembers"
        ));
    }
    block.more = "lighterman status --json";
    Some(block)
}

/// Each destination.
pub(super) fn destinations(facts: &Facts) -> Vec<Block> {
    let one = |one| destination(facts, one);
    facts.destinations.iter().map(one).collect()
}

fn destination(facts: &Facts, one: &DestinationStatus) -> Block {
    let name = &one.name;
    let mut block = Block::titled(&format!(
        "destination {name}: {} delivered, {} superseded, {} retried; {} wait, {} out, {} unknown, {} back \
         off, {} held",
        one.delivered,
        one.superseded,
        one.retried,
        one.backlog,
        one.sending,
        one.unknown,
        one.backoff,
        one.held,
    ));
    let mut flows = facts.flow.delivered.iter();
    if let Some(flow) = flows.find(|flow| flow.destination == *name) {
        let least = if flow.or_more { "at least " } else { "" };
        block.plain(&format!(
            "  {least}{} delivered in the last minute, {} in the last hour; {} failed in the last hour",
            flow.minute,
            flow.hour,
            counted(flow.failed_hour, "attempt")
        ));
    }
    if one.waiting > 0 {
        let waiting = one.waiting;
        block.plain(&format!(
            "  {waiting} wait for another event, such as a price for its product."
        ));
    }
    if one.accepted > 0 {
        let accepted = one.accepted;
        block.plain(&format!(
            "  {accepted} were taken by {name}, which has not applied them yet."
        ));
    }
    if !one.held_by_cause.is_empty() {
        let counts = one.held_by_cause.iter();
        let counts: Vec<String> = counts
            .map(|held| format!("{} {}", held.count, held.cause))
            .collect();
        block.plain(&format!("  held by {name}: {}", counts.join(", ")));
    }
    if let Some(cause) = &one.last_cause {
        block.plain(&format!("  last trouble: {cause}"));
    }
    let with = ReconcileWith::Destination(name.clone());
    block.lines.extend(reconciled_with(facts, &with));
    block
}

/// What the newest comparisons came to.
fn reconciled_with(facts: &Facts, with: &ReconcileWith) -> Vec<Line> {
    let compared = facts.reconciled.iter();
    compared
        .filter(|compared| compared.with == *with)
        .map(|compared| reconciled(facts, compared))
        .collect()
}

/// What the newest comparison of a type came to.
fn reconciled(facts: &Facts, compared: &ReconcileStatus) -> Line {
    let ((side, name), count) = (compared.with.words(), &compared.count);
    let is_sums = count.event_type == ReconcileCount::SUMS;
    let (what, of) = if is_sums {
        ("sums of tables", "sums")
    } else {
        (title(&count.event_type), "keys")
    };
    let age = span(clock::until(compared.began_at, facts.now));
    let differ = count.missing + count.extra + count.different;
    let mut text = format!(
        "  {what} compared {age} ago: {} of {} {of} agree",
        count.agree, count.looked_at
    );
    if differ == 0 {
        return Line::cell(&text);
    }
    let _ = write!(
        text,
        ", {differ} do not: lighterman reconcile --{side} {name} --last"
    );
    Line::said(Level::Warn, &text)
}

/// The room that is left.
pub(super) fn disk(facts: &Facts) -> Option<Block> {
    let figures = facts.disk.as_ref().map(Stands::figures)?;
    let file = bytes(facts.size.database_bytes + facts.size.wal_bytes);
    let text = format!("disk: {figures}; the state file has {file}");
    Some(Block::titled(&text))
}
