//! All that an API has of an event type, page by page, and what our keys are called there.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{EventOp, EventType, ListedEntry, ListedPage, NotListed, Outgoing};
use serde_json::Value as Json;

use super::answered::Answered;
use super::formula::{Formula, Scope};
use super::model::{Channel, Request};
use super::path::Path;
use super::prepared::{Prepared, follow};
use super::rules::{Asks, Match, Meaning, Rule, judge, plain};
use super::run_begin::seen;
use super::template::Render;

/// How long until a page is asked for again where the API does not say.
const AGAIN: Duration = Duration::from_secs(5);
/// Most entries of one page, those within entries included.
const ENTRIES_MAX: usize = 100_000;

/// How an API lists what it has.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    pub(super) request: Request,
    /// Where the answer lists what it has.
    pub(super) entries: Path,
    pub(super) take: Vec<(String, Path)>,
    /// A list in each entry, each element of which is an entry by itself.
    pub(super) each: Option<(Path, Vec<(String, Path)>)>,
    pub(super) next: Turn,
    /// What must be one of the values of a setting that is a map.
    pub(super) only: Vec<(Vec<String>, Formula)>,
    /// Which entries are something.
    pub(super) filter: Option<Formula>,
    /// What an entry is called.
    pub(super) key: Formula,
    /// What an event is called.
    pub(super) is: Formula,
    pub(super) holds: Vec<(String, Formula)>,
    pub(super) answers: Vec<Rule>,
    pub(super) done: Vec<Match>,
}

/// How the next page is asked for.
#[derive(Debug, Clone)]
pub(super) enum Turn {
    /// Behind so many entries.
    Offset,
    /// By its number, from 1.
    Page,
    /// By what the answer gives, as long as it says that there is more.
    Cursor(Path, Vec<Match>),
    /// By what stands in the last entry.
    Last(Path),
    /// By an address.
    Link(Path),
}

/// What was made of a page's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// The page.
    Page(ListedPage),
    /// The API does not know us any more: log in anew, and ask again.
    Login,
    /// It did not come.
    Not(NotListed),
}

impl Channel {
    /// Whether it can list all that the API has of a type.
    pub fn lists(&self, event_type: EventType) -> bool {
        self.listing(event_type).is_some()
    }

    fn listing(&self, event_type: EventType) -> Option<&Listing> {
        self.events.get(&event_type)?.listing.as_ref()
    }

    /// The request for a page: the first one, or the one behind what the page before called the next.
    ///
    /// # Errors
    /// Why there is none.
    pub fn list_request(
        &self,
        event_type: EventType,
        after: Option<&str>,
    ) -> Result<Prepared, String> {
        let listing = self.listing(event_type).ok_or_else(|| {
            let name = event_type.name();
            format!("channel {} does not list {name}", self.name)
        })?;
        let first = match listing.next {
            Turn::Offset => Some(("after", "0")),
            Turn::Page => Some(("page", "1")),
            Turn::Cursor(..) | Turn::Last(_) | Turn::Link(_) => None,
        };
        let given = match (&listing.next, after) {
            (Turn::Page, Some(page)) => Some(("page", page)),
            (Turn::Link(_), Some(_)) => None,
            (_, Some(after)) => Some(("after", after)),
            (_, None) => first,
        };
        let given: Vec<(&'static str, &str)> = given.into_iter().collect();
        let render = Render {
            scope: Scope {
                given: &given,
                ..Scope::default()
            },
            members: &[],
            keys: &[],
        };
        let mut prepared = listing.request.prepare(self, &render)?;
        if let (Turn::Link(_), Some(link)) = (&listing.next, after) {
            prepared.url = follow(&prepared.url, link)?;
        }
        Ok(prepared)
    }

    /// What an answer to that request holds.
    pub fn listed(
        &self,
        event_type: EventType,
        after: Option<&str>,
        answered: &Answered,
    ) -> Turned {
        let not = |cause: String, again| Turned::Not(NotListed { cause, again });
        let Some(listing) = self.listing(event_type) else {
            return not("it does not list what it has".to_owned(), None);
        };
        let raw = listing.entries.list(answered);
        let any = [Match::default()];
        let done: &[Match] = match (
            listing.done.is_empty(),
            answered.is_success() && raw.is_some(),
        ) {
            (false, _) => &listing.done,
            (true, true) => &any,
            (true, false) => &[],
        };
        let rules: [&[Rule]; 2] = [&listing.answers, &self.answers];
        let verdict = judge(answered, &rules, done, Asks::Reads);
        match verdict.means {
            Meaning::Done => {}
            Meaning::Login => return Turned::Login,
            Meaning::Retry | Meaning::Throttled | Meaning::Unknown => {
                return not(verdict.cause, Some(verdict.after.unwrap_or(AGAIN)));
            }
            Meaning::Rejected | Meaning::Conflict | Meaning::Missing => {
                return not(verdict.cause, None);
            }
        }
        // Without the list nobody can tell an empty page from another answer.
        let Some(raw) = raw else {
            let cause = format!("the answer has no list at {}", listing.entries.text());
            return not(cause, Some(AGAIN));
        };
        match listing.page(&raw, after, answered) {
            Ok(page) => Turned::Page(page),
            Err(cause) => not(cause, None),
        }
    }

    /// What an event's key is called in the list; `None` = it is not in it.
    pub fn called(&self, event: &Outgoing) -> Option<String> {
        let handling = self.events.get(&event.event_type)?;
        let listing = handling.listing.as_ref()?;
        let mut seen = seen(event)?;
        self.skus.translate(&mut seen.key, &mut seen.body).ok()?;
        let scope = Scope {
            event: Some(&seen),
            ..Scope::default()
        };
        // A tombstone has no fields to test.
        if let (Some(filter), true) = (&handling.filter, event.op != EventOp::Delete)
            && !filter.truth(&scope).ok()?
        {
            return None;
        }
        // What cannot be worked out was never taken by the channel either.
        listing.is.text(&scope).ok().flatten()
    }
}

impl Listing {
    fn page(
        &self,
        raw: &[Json],
        after: Option<&str>,
        answered: &Answered,
    ) -> Result<ListedPage, String> {
        let mut entries = Vec::new();
        for entry in raw {
            let found = taken(&self.take, entry);
            let Some((list, take)) = &self.each else {
                entries.extend(self.entry(&found)?);
                continue;
            };
            let inner = list.within(entry).and_then(Json::as_array);
            for one in inner.into_iter().flatten() {
                let mut found = found.clone();
                found.extend(taken(take, one));
                entries.extend(self.entry(&found)?);
            }
            if entries.len() > ENTRIES_MAX {
                return Err(format!("a page has more than {ENTRIES_MAX} entries"));
            }
        }
        let next = self.next.next(raw, after, answered)?;
        Ok(ListedPage { entries, next })
    }

    /// An entry, where it is something, and of what is ours.
    fn entry(&self, found: &BTreeMap<String, Json>) -> Result<Option<ListedEntry>, String> {
        let scope = Scope {
            found: Some(found),
            ..Scope::default()
        };
        let wrong = |what: &str, reason: String| format!("{what} of an entry: {reason}");
        for (values, formula) in &self.only {
            let text = formula.text(&scope).map_err(|why| wrong("only", why))?;
            if text.is_none_or(|text| !values.contains(&text)) {
                return Ok(None);
            }
        }
        if let Some(filter) = &self.filter
            && !filter.truth(&scope).map_err(|why| wrong("where", why))?
        {
            return Ok(None);
        }
        // A thing without a name there is none of ours.
        let name = self.key.text(&scope).map_err(|why| wrong("key", why))?;
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let mut holds = Vec::new();
        for (what, formula) in &self.holds {
            let text = formula.text(&scope).map_err(|why| wrong("holds", why))?;
            let text: String = text.unwrap_or_default().chars().take(80).collect();
            holds.push(format!("{what} {text}"));
        }
        let holds = holds.join(", ");
        Ok(Some(ListedEntry { name, holds }))
    }
}

impl Turn {
    fn next(
        &self,
        raw: &[Json],
        after: Option<&str>,
        answered: &Answered,
    ) -> Result<Option<String>, String> {
        let number = |text: Option<&str>, first: usize| {
            let number = text.map_or(Ok(first), str::parse::<usize>);
            number.map_err(|_| "the place of the page is no number".to_owned())
        };
        let text = |json: Json| Some(plain(&json)).filter(|text| !text.is_empty());
        Ok(match self {
            // Only an empty page is surely behind the last one: an API may give fewer than it was asked for.
            Self::Offset | Self::Page | Self::Last(_) if raw.is_empty() => None,
            Self::Offset => Some((number(after, 0)? + raw.len()).to_string()),
            Self::Page => Some((number(after, 1)? + 1).to_string()),
            Self::Last(path) => {
                let last = raw.last().and_then(|last| path.within(last)).cloned();
                let place = path.text();
                Some(
                    last.and_then(text)
                        .ok_or_else(|| format!("the last entry has no {place}"))?,
                )
            }
            Self::Cursor(path, more) => {
                let is_more = more.is_empty() || more.iter().any(|one| one.answer(answered));
                path.of(answered).filter(|_| is_more).and_then(text)
            }
            Self::Link(path) => {
                let link = path.of(answered).and_then(text);
                match (link, path.text()) {
                    (Some(link), "$header.link") => linked(&link),
                    (link, _) => link,
                }
            }
        })
    }
}

fn taken(take: &[(String, Path)], entry: &Json) -> BTreeMap<String, Json> {
    let one = |(name, path): &(String, Path)| {
        let value = path.within(entry).cloned().unwrap_or_default();
        (name.clone(), value)
    };
    take.iter().map(one).collect()
}

/// The next page's address in a `Link` header (RFC 8288).
fn linked(header: &str) -> Option<String> {
    header.split(',').find_map(|one| {
        let (address, rest) = one.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |part: &str| {
            let part = part.trim().to_ascii_lowercase();
            part == "rel=\"next\"" || part == "rel=next"
        };
        rest.split(';').any(is_next).then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::linked;

    #[test]
    fn the_next_page_stands_in_a_link_header() {
        let header = "<https://a.example/x?page=1>; rel=\"prev\", <https://a.example/x?page=3>; rel=\"next\"";
        assert_eq!(
            linked(header).as_deref(),
            Some("https://a.example/x?page=3")
        );
        assert_eq!(linked("<https://a.example/x>; rel=\"last\""), None);
        assert_eq!(linked("rel=next"), None);
    }
}
