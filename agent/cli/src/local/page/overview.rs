//! Whether it flows, in a sentence; then the way from the sources to the channels; then the last day.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use contract::clock;
use contract::look::{bytes, span};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use state::{DestinationStatus, Samples, SourceStatus};

use super::chart::chart;
use super::destinations::stands;
use super::session::Visitor;
use super::view::{self, ago, number};
use super::{HOME, Page, samples};
use crate::local::health::Ready;
use crate::local::seen::{Seen, Standing, State as Found};
use crate::operate::{counted, meaning};

const DAY: SignedDuration = SignedDuration::from_hours(25);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

pub(super) async fn show(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let standing = page.seen.look().await;
    let since = clock::minus(standing.at, DAY);
    let samples = page.read(move |reader| reader.samples(since)).await;
    let ready = Ready::of(&page.seen, &standing);
    let content = html! {
        (health(&ready, standing.state.as_ref().map_or(0, held_in_all)))
        @if let Ok(state) = &standing.state {
            (flow(&page.seen, &standing, state, samples.as_ref().ok()))
            (held(state))
        }
        section {
            h2 { "The last day" }
            @match &samples {
                Ok(samples) => { (charts(&page.seen, samples, standing.at)) }
                Err(sentence) => { p { (sentence) } }
            }
        }
    };
    view::whole(&page, &visitor, HOME, headline(&ready), &content)
}

/// The page in one sentence.
fn headline(ready: &Ready) -> &'static str {
    match (ready.ready, ready.capture.ok, ready.delivery.ok) {
        (true, _, _) => "Everything flows",
        (false, false, _) => "Not everything is captured",
        (false, true, false) => "Not everything is delivered in time",
        (false, true, true) => "It flows, but a log is not kept long enough",
    }
}

fn health(ready: &Ready, held: u64) -> Markup {
    let questions = [&ready.capture, &ready.delivery, &ready.retention];
    let good = questions.iter().flat_map(|question| &question.sentences);
    let good = good.filter(|sentence| !ready.wrong.contains(sentence));
    html! {
        section .health.(if ready.ready { "good" } else { "bad" }) aria-labelledby="health" {
            div #headline data-live role="status" { h1 #health { (headline(ready)) "." } }
            div #sentences data-live {
                @if !ready.wrong.is_empty() {
                    ul .wrong { @for sentence in &ready.wrong { li { (sentence) } } }
                }
                ul { @for sentence in good { li { (sentence) } } }
                @if held > 0 {
                    p {
                        strong { (counted(held, "item")) " held for a person. " }
                        a href="/page/held" { "What to do about it" }
                    }
                }
            }
        }
    }
}

/// The way of a change, from left to right.
fn flow(seen: &Seen, standing: &Standing, state: &Found, samples: Option<&Samples>) -> Markup {
    let waiting: u64 = state.destinations.iter().map(|one| one.backlog).sum();
    html! {
        section aria-labelledby="flow-title" {
            h2 #flow-title { "From source to channel" }
            ol #flow .flow data-live {
                li {
                    h3 { "Sources" }
                    @for name in &seen.watched.sources {
                        (source(seen, name, state, samples, standing.at))
                    }
                }
                li {
                    h3 { "Outbox" }
                    div .card {
                        dl {
                            dt { "Wait" } dd { (number(waiting)) }
                            dt { "Held" } dd { a href="/page/held" { (number(held_in_all(state))) } }
                            dt { "State file" } dd { (bytes(state.size.database_bytes + state.size.wal_bytes)) }
                        }
                    }
                }
                li {
                    h3 { "Channels" }
                    @for name in seen.watched.destinations.keys() {
                        (destination(name, standing, state, samples))
                    }
                }
            }
        }
    }
}

fn source(
    seen: &Seen,
    name: &str,
    state: &Found,
    samples: Option<&Samples>,
    now: Timestamp,
) -> Markup {
    let found = state.sources.iter().find(|one| one.name == *name);
    let lag = seen.watched.meters.source(name).lag();
    html! {
        div .card {
            h4 { (name) }
            @if let Some(found) = found {
                p { span .state.(if found.problem.is_some() { "failed" } else { "goes" }) { (captured(found)) } }
                dl {
                    dt { "Behind" } dd { @if let Some(lag) = lag { (span(lag)) } @else { "not known" } }
                    dt { "Changes read" }
                    dd { (number(found.changes)) (in_the_hour(samples, &samples::changes(name), found.changes, now)) }
                    @if let Some(at) = found.updated_at { dt { "Moved" } dd { (ago(at)) " ago" } }
                    @if found.snapshot_done < found.snapshot_tables {
                        dt { "Tables read" }
                        dd { (found.snapshot_done) " of " (found.snapshot_tables) }
                    }
                }
            } @else {
                p { "It has not been started yet." }
            }
        }
    }
}

fn captured(found: &SourceStatus) -> &'static str {
    if found.problem.is_some() {
        "does not run"
    } else if found.partly.is_empty() {
        "captured"
    } else {
        "captured in part"
    }
}

fn destination(
    name: &str,
    standing: &Standing,
    state: &Found,
    samples: Option<&Samples>,
) -> Markup {
    let found = state.destinations.iter().find(|one| one.name == *name);
    let oldest = state.standings.iter().find(|one| one.name == *name);
    let age = oldest
        .and_then(|one| one.oldest_at)
        .map(|at| clock::until(at, standing.at));
    html! {
        div .card {
            h4 { (name) }
            @if let Some(one) = found {
                (way(one))
                dl {
                    dt { "Wait" } dd { (number(one.backlog)) }
                    dt { "Oldest" } dd { @if let Some(age) = age { (span(age)) } @else { "none" } }
                    dt { "Delivered" }
                    dd {
                        (number(one.delivered))
                        (in_the_hour(samples, &samples::delivered(name), one.delivered, standing.at))
                    }
                    @if one.held > 0 { dt { "Held" } dd { a href="/page/held" { (number(one.held)) } } }
                }
            } @else {
                p { "It has not been started yet." }
            }
        }
    }
}

fn way(one: &DestinationStatus) -> Markup {
    let (word, more) = stands(one);
    html! { p { span .state.(word.split(' ').next().unwrap_or(word)) { (word) } (more) } }
}

/// What came to a count within the last hour, where that is known.
fn in_the_hour(samples: Option<&Samples>, series: &str, is: u64, now: Timestamp) -> Markup {
    let since = clock::minus(now, HOUR);
    let was = samples.and_then(|samples| {
        let before = samples.get(series)?.iter();
        let mut before = before.rev().skip_while(|(at, _)| *at > since);
        Some(before.next()?.1)
    });
    let more = was.and_then(|was| is.checked_sub(was));
    html! { @if let Some(more) = more { ", " (number(more)) " in the last hour" } }
}

fn held_in_all(state: &Found) -> u64 {
    state.held.iter().map(|count| count.count).sum()
}

fn held(state: &Found) -> Markup {
    html! {
        section aria-labelledby="held-title" {
            h2 #held-title { "Held for a person" }
            div #held-counts data-live {
                @if state.held.is_empty() {
                    p { "Nothing is held." }
                } @else {
                    ul {
                        @for one in &state.held {
                            @let (means, _) = meaning(&one.cause);
                            li { (one.by) ": " (counted(one.count, "item")) " " (means) }
                        }
                    }
                }
            }
        }
    }
}

fn charts(seen: &Seen, samples: &Samples, now: Timestamp) -> Markup {
    let none = Vec::new();
    let of = |series: String| samples.get(&series).unwrap_or(&none);
    html! {
        div #charts .charts data-live {
            @for (n, name) in seen.watched.sources.iter().enumerate() {
                @let title = format!("How far capture of {name} is behind its log:");
                (chart(&format!("lag-{n}"), &title, of(samples::lag(name)), now))
            }
            @for (n, name) in seen.watched.destinations.keys().enumerate() {
                @let title = format!("How long the oldest change has waited for {name}:");
                (chart(&format!("oldest-{n}"), &title, of(samples::oldest(name)), now))
            }
        }
    }
}
