//! What all pages have in common.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::Clock;
use contract::look::span;
use engine::clock::SystemClock;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::gate::LOGOUT;
use super::session::Visitor;
use super::{HOME, Page};
use crate::local::answer;

pub(super) const NO_RANDOM: &str =
    "The system gives no random numbers, without which nobody can be let in.\n";

/// The pages, by their places.
const PAGES: [(&str, &str); 6] = [
    (HOME, "Overview"),
    ("/page/held", "Held"),
    ("/page/trace", "Trace"),
    ("/page/destinations", "Destinations"),
    ("/page/mappings", "Mappings"),
    ("/page/audit", "Audit"),
];

fn page_of(status: StatusCode, markup: Markup) -> Response {
    answer(status, "text/html; charset=utf-8", markup.into_string())
}

/// Another place; what was sent is not sent again when somebody goes back or loads again.
pub(super) fn go_to(place: &str) -> Response {
    let place = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static(HOME));
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Lighterman" }
                link rel="stylesheet" href="/page/style.css";
                link rel="icon" type="image/svg+xml" href="/page/icon.svg";
                script src="/page/script.js" defer {}
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                (body)
            }
        }
    }
}

/// A page for whoever is not known.
pub(super) fn bare(status: StatusCode, title: &str, content: &Markup) -> Response {
    let body = html! {
        header .top { p .brand { "Lighterman" } }
        main #main .narrow tabindex="-1" { (content) }
    };
    page_of(status, document(title, &body))
}

/// Why somebody gets nothing.
pub(super) fn refused(status: StatusCode, sentence: &str) -> Response {
    let content = html! {
        h1 { "Not done" }
        p .message.bad role="alert" { (sentence) }
        p { a href=(HOME) { "To the overview" } }
    };
    bare(status, "Not done", &content)
}

/// What there is to see while nobody may see anything.
pub(super) fn for_nobody() -> Response {
    let content = html! {
        h1 { "Nobody can log in yet" }
        p {
            "Add " code { "[[local.user]]" } " with " code { "name = \"anna\"" } ", "
            code { "secret = { file = \"secrets/anna\" }" } " and " code { "role = \"operator\"" }
            " to lighterman.toml; the running agent takes it within a second."
        }
    };
    bare(StatusCode::FORBIDDEN, "Nobody can log in yet", &content)
}

/// A page. `place` is its own; `title` is also its heading, unless the content begins with another.
pub(super) fn whole(
    page: &Page,
    visitor: &Visitor,
    place: &str,
    title: &str,
    content: &Markup,
) -> Response {
    with_status(StatusCode::OK, page, visitor, place, title, content)
}

pub(super) fn with_status(
    status: StatusCode,
    page: &Page,
    visitor: &Visitor,
    place: &str,
    title: &str,
    content: &Markup,
) -> Response {
    let message = page.sessions.said(visitor);
    let body = html! {
        header .top {
            p .brand { "Lighterman" }
            nav aria-label="Pages" {
                ul {
                    @for (at, name) in PAGES {
                        li {
                            a href=(at) aria-current=[(at == place).then_some("page")] { (name) }
                        }
                    }
                }
            }
            div .who {
                span { (visitor.name) " (" (visitor.role.word()) ")" }
                @if !visitor.by_proxy {
                    form method="post" action=(LOGOUT) {
                        (token(visitor))
                        button .quiet type="submit" { "Log out" }
                    }
                }
            }
        }
        p #connection .message.bad role="alert" hidden {}
        main #main tabindex="-1" {
            div #said role="status" {
                @if let Some(message) = message {
                    p .message.(if message.is_good { "good" } else { "bad" }) { (message.text) }
                }
            }
            (content)
        }
        footer {
            p {
                "Lighterman " (env!("CARGO_PKG_VERSION")) ". Times are UTC. Made "
                span #made data-live { (time(SystemClock.now())) } "."
            }
        }
    };
    page_of(status, document(title, &body))
}

/// A page that says why it has nothing to say.
pub(super) fn broken(page: &Page, visitor: &Visitor, place: &str, sentence: &str) -> Response {
    let content = html! {
        h1 { "The state file cannot be read" }
        p .message.bad role="alert" { (sentence) }
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    with_status(status, page, visitor, place, "Not readable", &content)
}

/// What proves that a form is of this session.
pub(super) fn token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="form" value=(visitor.form_token); }
}

/// A moment.
pub(super) fn time(moment: Timestamp) -> Markup {
    let exact = format!("{moment:.0}");
    let shown = exact.trim_end_matches('Z').replace('T', " ");
    html! { time datetime=(exact) { (shown) } }
}

/// How long ago a moment was.
pub(super) fn ago(moment: Timestamp) -> String {
    let past = SystemClock.now().duration_since(moment);
    span(Duration::try_from(past).unwrap_or_default())
}

/// A whole number, with its thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A table that may be wider than the screen: it can be moved by the keyboard, too.
pub(super) fn wide(caption: &str, table: &Markup) -> Markup {
    html! {
        div .wide role="region" aria-label=(caption) tabindex="0" { (table) }
    }
}

/// Our own drawing, which holds nothing that came from elsewhere.
pub(super) fn drawn(svg: String) -> Markup {
    PreEscaped(svg)
}

/// An address with a question.
pub(super) fn asking(place: &str, pairs: &[(&str, &str)]) -> String {
    let begin = format!("{place}?");
    let length = begin.len();
    let mut address = form_urlencoded::Serializer::for_suffix(begin, length);
    for (name, text) in pairs {
        address.append_pair(name, text);
    }
    address.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_moments_are_readable() {
        let shown = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let moment = "2026-11-27T14:28:59.9Z".parse::<Timestamp>().unwrap();
        let text = time(moment).into_string();
        assert!(text.contains(">2026-11-27 14:28:"), "{text}");
        let address = asking("/page/trace", &[("key", "A&B <c>")]);
        assert_eq!(address, "/page/trace?key=A%26B+%3Cc%3E");
    }
}
