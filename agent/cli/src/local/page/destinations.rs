//! The destinations, how each stands, and stopping one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use state::{DestinationStatus, Paused};

use super::Page;
use super::act::PAUSES;
use super::session::Visitor;
use super::view::{self, number, time, token, wide};

const PLACE: &str = "/page/destinations";

/// How a destination stands, in a word and, where there is more to it, in words.
pub(super) fn stands(one: &DestinationStatus) -> (&'static str, Markup) {
    let word = match (&one.paused, one.draining, &one.shadow) {
        (Some(_), _, _) => "paused",
        (None, true, _) => "drains",
        (None, false, Some(_)) => "compares only",
        (None, false, None) => "goes",
    };
    let more = html! {
        @if let Some(Paused { until: Some(until) }) = &one.paused { " until " (time(*until)) }
        @if let Some(until) = one.throttled_until { "; the API has no room until " (time(until)) }
    };
    (word, more)
}

pub(super) async fn show(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let standing = page.seen.look().await;
    let state = match &standing.state {
        Ok(state) => state,
        Err(error) => return view::broken(&page, &visitor, PLACE, error),
    };
    let caption = "The destinations of the settings";
    let names = page.seen.watched.destinations.keys();
    let table = html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "Destination" }
                    th scope="col" { "Stands" }
                    th scope="col" .number { "Wait" }
                    th scope="col" .number { "Held" }
                    th scope="col" .number { "Delivered" }
                    th scope="col" { "Last trouble" }
                    @if visitor.is_operator() { th scope="col" { "Pause or resume" } }
                }
            }
            tbody {
                @for (n, name) in names.enumerate() {
                    @let found = state.destinations.iter().find(|one| one.name == *name);
                    tr {
                        th scope="row" { (name) }
                        @if let Some(one) = found {
                            (row(&visitor, n, one))
                        } @else {
                            td colspan="6" { "It has not been started yet." }
                        }
                    }
                }
            }
        }
    };
    let content = html! {
        h1 { "Destinations" }
        p { "While a destination is paused nothing leaves for it; its events wait in order, and nothing is lost." }
        div #destinations data-live { (wide(caption, &table)) }
    };
    view::whole(&page, &visitor, PLACE, "Destinations", &content)
}

fn row(visitor: &Visitor, n: usize, one: &DestinationStatus) -> Markup {
    let (word, more) = stands(one);
    html! {
        td { span .state.(word.split(' ').next().unwrap_or(word)) { (word) } (more) }
        td .number { (number(one.backlog)) }
        td .number { (number(one.held)) }
        td .number { (number(one.delivered)) }
        td .text { (one.last_cause.as_deref().unwrap_or("none")) }
        @if visitor.is_operator() { td { (form(visitor, n, one)) } }
    }
}

fn form(visitor: &Visitor, n: usize, one: &DestinationStatus) -> Markup {
    let id = format!("minutes-{n}");
    html! {
        @if one.paused.is_some() || one.draining {
            form .actions method="post" action="/page/destinations/resume" {
                (token(visitor))
                input type="hidden" name="destination" value=(one.name);
                button type="submit" { "Resume" span .unseen { " " (one.name) } }
            }
        } @else {
            form .actions method="post" action="/page/destinations/pause" {
                (token(visitor))
                input type="hidden" name="destination" value=(one.name);
                label .unseen for=(id) { "How long " (one.name) " pauses" }
                select #(id) name="minutes" {
                    @for (minutes, words) in PAUSES { option value=(minutes) { (words) } }
                }
                button type="submit" { "Pause" span .unseen { " " (one.name) } }
            }
        }
    }
}
