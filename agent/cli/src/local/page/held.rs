//! What is held, by who holds it and why; what would mend it; one item; and giving it up.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};
use state::{HeldDetail, HeldEntry, HeldFilter, StateReader, StoreError};

use super::gate::Fields;
use super::session::Visitor;
use super::view::{self, asking, number, time, token, wide};
use super::which::{Which, which};
use super::{Page, story};
use crate::operate::{counted, meaning};

const PLACE: &str = "/page/held";

/// Items shown of each group.
const SHOWN: usize = 25;
/// Items that are looked at for them, whether they fit or not.
const LOOKED_AT_MAX: usize = 20_000;

/// A reason is no longer than this.
pub(super) const WHY_MAX: usize = 500;

/// What to do about a cause, for whoever has the buttons beside it.
fn fix(cause: &str) -> &'static str {
    match cause {
        "rejected" => "Mend what its answer says, there or in the mapping, then retry.",
        "ambiguous" => "Look at the destination: drop it if it is there, retry if it is not.",
        "exhausted" => "Retry when the destination works again.",
        "conflict" => "Find out who else writes there, then retry.",
        "dependency" => "Bring the product or order that it names to the destination, then retry.",
        "guard" => "Look at the numbers; if they are right, retry: guards let it pass then.",
        _ => "Mend the mapping or the row, then retry: its table is read again and compared.",
    }
}

/// What is held, by who holds it and why.
#[derive(Default)]
struct Groups(BTreeMap<(String, String), (u64, Vec<HeldEntry>)>);

/// The first ones, as far as they are found in time.
fn shown(reader: &StateReader, filter: &HeldFilter) -> Result<Vec<HeldEntry>, StoreError> {
    let mut items = Vec::new();
    reader.held_within(filter, LOOKED_AT_MAX, |item| {
        items.push(item);
        items.len() < SHOWN
    })?;
    Ok(items)
}

fn groups(reader: &StateReader) -> Result<Groups, StoreError> {
    let mut groups = Groups::default();
    for count in reader.held_counts()? {
        let own = HeldFilter {
            by: Some(count.by.clone()),
            cause: Some(count.cause.clone()),
            ..HeldFilter::default()
        };
        let items = shown(reader, &own)?;
        groups
            .0
            .insert((count.by, count.cause), (count.count, items));
    }
    Ok(groups)
}

pub(super) async fn list(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let groups = match page.read(groups).await {
        Ok(groups) => groups,
        Err(sentence) => return view::broken(&page, &visitor, PLACE, &sentence),
    };
    let all: u64 = groups.0.values().map(|(count, _)| count).sum();
    let content = html! {
        h1 { "Held for a person" }
        div #held data-live {
            @if groups.0.is_empty() {
                p { "Nothing is held." }
            } @else {
                p { (counted(all, "item")) " held. Each holds up its own key and nothing else." }
            }
            @for ((by, cause), (count, items)) in &groups.0 {
                (group(&visitor, by, cause, *count, items))
            }
        }
    };
    view::whole(&page, &visitor, PLACE, "Held", &content)
}

fn group(visitor: &Visitor, by: &str, cause: &str, count: u64, items: &[HeldEntry]) -> Markup {
    let (means, _) = meaning(cause);
    let title = format!("{by}: {} {means}", counted(count, "item"));
    let all = html! {
        input type="hidden" name="by" value=(by);
        input type="hidden" name="cause" value=(cause);
    };
    html! {
        section .card {
            h2 { (title) }
            p { strong { "What to do: " } (fix(cause)) }
            @if visitor.is_operator() {
                (buttons(visitor, &all, &format!("all {} of {by}, {cause}", number(count)), " all"))
            }
            (wide(&title, &table(visitor, by, cause, items)))
            @if count > items.len() as u64 {
                p .small {
                    "The oldest " (items.len()) " of " (number(count)) " are shown. "
                    code { "lighterman held list --cause " (cause) " --limit 1000" } " has more."
                }
            }
        }
    }
}

/// The two things that can be done with what is held. What they are about is said to those who do not
/// see the row.
fn buttons(visitor: &Visitor, about: &Markup, said: &str, all: &str) -> Markup {
    html! {
        div .actions {
            form method="post" action="/page/held/retry" {
                (token(visitor))
                (about)
                button type="submit" { "Retry" (all) span .unseen { ": " (said) } }
            }
            form method="get" action="/page/held/drop" {
                (about)
                button .quiet type="submit" { "Drop" (all) "…" span .unseen { ": " (said) } }
            }
        }
    }
}

fn table(visitor: &Visitor, by: &str, cause: &str, items: &[HeldEntry]) -> Markup {
    html! {
        table {
            caption { "Held by " (by) ", " (cause) ", oldest first" }
            thead {
                tr {
                    th scope="col" { "Item" }
                    th scope="col" { "Type" }
                    th scope="col" { "Key" }
                    th scope="col" { "Why" }
                    th scope="col" { "Since" }
                    th scope="col" .number { "Tried" }
                    @if visitor.is_operator() {
                        th scope="col" { "What to do with it" }
                    }
                }
            }
            tbody {
                @for item in items {
                    tr {
                        th scope="row" {
                            a href=(asking("/page/held/item", &[("id", &item.id)])) { (item.id) }
                        }
                        td { (item.event_type) }
                        td {
                            a href=(asking("/page/trace", &[("key", &item.key)])) { (item.key) }
                        }
                        td .text { (item.reason) }
                        td { (time(item.since)) }
                        td .number { (item.attempts) }
                        @if visitor.is_operator() {
                            td { (buttons(visitor, &one(&item.id), &item.key, "")) }
                        }
                    }
                }
            }
        }
    }
}

fn one(id: &str) -> Markup {
    html! { input type="hidden" name="id" value=(id); }
}

pub(super) async fn item(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
) -> Response {
    let fields = Fields::of_uri(&uri);
    let id = fields.get("id").unwrap_or_default().to_owned();
    let found = page.read(move |reader| reader.held_show(&id)).await;
    match found {
        Err(sentence) => view::broken(&page, &visitor, PLACE, &sentence),
        Ok(None) => {
            let content = html! {
                h1 { "Not held" }
                p { "Nothing of that name is held, or not any more. " a href=(PLACE) { "What is held" } }
            };
            let status = StatusCode::NOT_FOUND;
            view::with_status(status, &page, &visitor, PLACE, "Not held", &content)
        }
        Ok(Some(detail)) => {
            let title = format!("Held: {}", detail.entry.id);
            let content = detailed(&visitor, &detail);
            view::whole(&page, &visitor, PLACE, &title, &content)
        }
    }
}

fn detailed(visitor: &Visitor, detail: &HeldDetail) -> Markup {
    let entry = &detail.entry;
    let (means, _) = meaning(&entry.cause);
    html! {
        h1 { (entry.event_type) " " (entry.key) }
        section .card {
            h2 { "Why it is held" }
            p { (entry.reason) }
            p { strong { "What to do: " } (fix(&entry.cause)) }
            @if visitor.is_operator() {
                (buttons(visitor, &one(&entry.id), &entry.key, ""))
            }
            dl {
                dt { "Item" } dd { (entry.id) }
                dt { "Held by" } dd { (entry.by) ": " (means) " (" (entry.cause) ")" }
                dt { "Since" } dd { (time(entry.since)) }
                @if let Some(change) = &entry.change {
                    dt { "From" }
                    dd { "source " (change.source) ", table " (change.table) ", rule " (change.rule) }
                    dt { "Position" } dd { (change.position) }
                }
                @if let Some(status) = entry.status { dt { "Last status" } dd { "HTTP " (status) } }
                @if let Some(body) = entry.body.as_deref().filter(|body| !body.is_empty()) {
                    dt { "Last answer" } dd .text { (body) }
                }
                dt { "Story" }
                dd { a href=(asking("/page/trace", &[("key", &entry.key)])) { "Trace " (entry.key) } }
            }
        }
        @if !detail.attempts.is_empty() {
            section .card {
                h2 { "What was tried" }
                ol .steps { @for attempt in &detail.attempts { li { (story::attempt(attempt, None)) } } }
            }
        }
        section .card {
            h2 #data { @if entry.change.is_some() { "The row" } @else { "The event" } }
            pre tabindex="0" role="region" aria-labelledby="data" { (pretty(&detail.data)) }
        }
    }
}

/// JSON as people read it.
pub(super) fn pretty(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json);
    value.map_or_else(|_| json.to_owned(), |value| format!("{value:#}"))
}

/// Asks whether it is meant, and why.
pub(super) async fn confirm(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
) -> Response {
    if !visitor.is_operator() {
        let sentence = "You are a viewer, who changes nothing: ask an operator.";
        return view::refused(StatusCode::FORBIDDEN, sentence);
    }
    match which(&page, &Fields::of_uri(&uri)).await {
        Ok(which) => ask_why(&page, &visitor, &which, false).await,
        Err(sentence) => {
            let content = html! {
                h1 { "Nothing to drop" }
                p { (sentence) " " a href=(PLACE) { "What is held" } }
            };
            let status = StatusCode::NOT_FOUND;
            view::with_status(status, &page, &visitor, PLACE, "Nothing to drop", &content)
        }
    }
}

pub(super) async fn ask_why(
    page: &Page,
    visitor: &Visitor,
    which: &Which,
    is_missing: bool,
) -> Response {
    let filter = which.filter.clone();
    let items = page
        .read(move |reader| shown(reader, &filter))
        .await
        .unwrap_or_default();
    let content = html! {
        h1 { "Drop what is held?" }
        @if is_missing {
            p .message.bad role="alert" {
                "Nothing was dropped. Say why, in up to " (WHY_MAX) " characters, and look whether this is what you \
                 mean: it may have become more."
            }
        }
        section .card {
            p { strong { (which.words()) } }
            ul {
                @for item in &items { li { (item.event_type) " " (item.key) ": " (item.reason) } }
            }
            @if which.count > items.len() as u64 {
                p { "and " (number(which.count - items.len() as u64)) " more" }
            }
            p {
                "What is dropped is never sent, and stays on record as discarded. Newer changes of the \
                 same keys go on."
            }
            form .login method="post" action="/page/held/drop" {
                (token(visitor))
                (which.hidden())
                label for="why" { "Why, for the record" }
                textarea #why name="why" rows="3" required maxlength=(WHY_MAX)
                    aria-invalid=[is_missing.then_some("true")] {}
                div .actions {
                    button .danger type="submit" { "Drop " (counted(which.count, "item")) }
                    a href=(PLACE) { "Back, and drop nothing" }
                }
            }
        }
    };
    let status = if is_missing {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    view::with_status(status, page, visitor, PLACE, "Drop what is held", &content)
}
