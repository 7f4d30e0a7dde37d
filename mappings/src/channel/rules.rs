//! What an answer means: a file's rules, and what HTTP means where they say nothing.

use std::time::Duration;

use contract::{Node, NodeKind, Section};
use serde_json::Value as Json;

use super::answered::{Answered, hide};
use super::load_template::Reader;
use super::path::Path;
use super::template::same;

/// Longest part of a server's own words in a cause.
const WORDS_MAX: usize = 300;
/// The longest wait taken from an answer.
const WAIT_MAX: u64 = 24 * 3_600;

/// What must be so for a rule to speak. All that is said must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Match {
    status: Vec<(u16, u16)>,
    at: Option<Path>,
    is: Vec<Wanted>,
    has: Vec<String>,
    absent: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Value(Json),
    Range(i64, i64),
}

/// What an answer means for what the request carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Done,
    Retry,
    /// As retry, and there were too many requests.
    Throttled,
    Rejected,
    Conflict,
    Missing,
    Unknown,
    Login,
}

const MEANINGS: &[&str] = &[
    "done",
    "retry",
    "throttled",
    "rejected",
    "conflict",
    "missing",
    "unknown",
    "login",
];

impl Meaning {
    fn of(word: &str) -> Self {
        match word {
            "done" => Self::Done,
            "retry" => Self::Retry,
            "throttled" => Self::Throttled,
            "rejected" => Self::Rejected,
            "conflict" => Self::Conflict,
            "missing" => Self::Missing,
            "login" => Self::Login,
            _ => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    when: Match,
    means: Meaning,
    says: Option<Says>,
    after: Option<Path>,
    /// The request was refused as a whole because of some of it: halve it to find what.
    atomic: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Says {
    At(Path),
    Words(String),
}

/// What an answer means, and why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) means: Meaning,
    pub(super) cause: String,
    pub(super) after: Option<Duration>,
    /// Refused as a whole: parts of it may fare better.
    pub(super) halve: bool,
}

/// What a request does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It changes nothing.
    Reads,
    /// It changes something, and twice is the same as once.
    Writes,
    /// It changes something, and twice is not the same as once.
    WritesOnce,
}

/// Where a rule looks.
#[derive(Clone, Copy)]
enum Seen<'a> {
    Answer(&'a Answered),
    Part(&'a Json),
}

impl Seen<'_> {
    fn at(self, path: &Path) -> Option<Json> {
        match self {
            Self::Answer(answered) => path.of(answered),
            Self::Part(json) => path.within(json).cloned(),
        }
    }
}

impl Match {
    fn fits(&self, seen: Seen<'_>) -> bool {
        let status = match seen {
            Seen::Answer(answered) => answered.status,
            Seen::Part(_) => 0,
        };
        if !self.status.is_empty()
            && !self
                .status
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&status))
        {
            return false;
        }
        let Some(path) = &self.at else { return true };
        let found = seen.at(path);
        if self.absent {
            // Where there is no JSON at all, nobody has said that it is not there.
            let unsaid =
                matches!(seen, Seen::Answer(answered) if path.is_body() && answered.json.is_none());
            return found.is_none() && !unsaid;
        }
        let Some(found) = found else { return false };
        if !self.is.is_empty() {
            return self.is.iter().any(|wanted| wanted.fits(&found));
        }
        if !self.has.is_empty() {
            let text = plain(&found).to_lowercase();
            return self.has.iter().any(|part| text.contains(part));
        }
        // An empty list of errors says that there are none.
        !matches!(&found, Json::Bool(false)) && found.as_array().is_none_or(|list| !list.is_empty())
    }

    /// Whether it speaks of an answer.
    pub(super) fn answer(&self, answered: &Answered) -> bool {
        self.fits(Seen::Answer(answered))
    }

    /// Whether it speaks of a part of an answer.
    pub(super) fn part(&self, json: &Json) -> bool {
        self.fits(Seen::Part(json))
    }
}

impl Wanted {
    fn fits(&self, found: &Json) -> bool {
        match self {
            Self::Value(json) => same(json, found),
            Self::Range(low, high) => {
                let number = found.as_i64().or_else(|| found.as_str()?.parse().ok());
                number.is_some_and(|number| (*low..=*high).contains(&number))
            }
        }
    }
}

/// A text, or JSON as text.
pub(super) fn plain(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

fn words(json: &Json, secrets: &[String]) -> String {
    let text = hide(&plain(json), secrets);
    text.chars()
        .filter(|c| !c.is_control())
        .take(WORDS_MAX)
        .collect()
}

fn spoken(
    rules: &[&[Rule]],
    seen: Seen<'_>,
    status: Option<u16>,
    secrets: &[String],
) -> Option<Verdict> {
    let rule = rules
        .iter()
        .copied()
        .flatten()
        .find(|rule| rule.when.fits(seen))?;
    let said = match &rule.says {
        Some(Says::At(path)) => seen.at(path).map(|json| words(&json, secrets)),
        Some(Says::Words(text)) => Some(text.clone()),
        None => None,
    };
    let status = status.map_or_else(String::new, |status| format!("HTTP {status}"));
    let cause = match (said, status.is_empty()) {
        (Some(said), true) => said,
        (Some(said), false) => format!("{status}: {said}"),
        (None, true) => "the API said so of this item".to_owned(),
        (None, false) => status,
    };
    let after = rule
        .after
        .as_ref()
        .and_then(|path| seconds(&seen.at(path)?));
    Some(Verdict {
        means: rule.means,
        cause,
        after,
        halve: rule.atomic,
    })
}

/// Seconds, rounded up.
fn seconds(json: &Json) -> Option<Duration> {
    let number: contract::Decimal = plain(json).trim().parse().ok()?;
    let whole: u64 = number.ceil().to_string().parse().ok()?;
    Some(Duration::from_secs(whole.min(WAIT_MAX)))
}

/// What an answer means.
///
/// The file's rules speak first, in their order; then what it calls done; then HTTP's own meaning.
/// A success that nobody recognises says nothing.
pub(super) fn judge(answered: &Answered, rules: &[&[Rule]], done: &[Match], asks: Asks) -> Verdict {
    let verdict = meant(answered, rules, done, asks);
    Verdict {
        after: verdict.after.or(answered.wait),
        ..verdict
    }
}

fn meant(answered: &Answered, rules: &[&[Rule]], done: &[Match], asks: Asks) -> Verdict {
    let verdict = |means, cause: String| Verdict {
        means,
        cause,
        after: None,
        halve: false,
    };
    let status = answered.status;
    if answered.broken && answered.is_success() {
        return verdict(
            Meaning::Unknown,
            format!("HTTP {status}, but the answer broke off or was too long to read"),
        );
    }
    if let Some(spoken) = spoken(
        rules,
        Seen::Answer(answered),
        Some(status),
        &answered.secrets,
    ) {
        return spoken;
    }
    if answered.is_success() {
        if done.iter().any(|one| one.answer(answered)) {
            return verdict(Meaning::Done, String::new());
        }
        return verdict(
            Meaning::Unknown,
            format!("HTTP {status}, but the answer does not say that it was done"),
        );
    }
    let cause = described(answered);
    match status {
        401 => verdict(
            Meaning::Login,
            format!("{cause}: the API does not take our credentials"),
        ),
        300..=399 => verdict(
            Meaning::Rejected,
            format!("{cause}: redirects are not followed; set the final address"),
        ),
        404 | 410 => verdict(Meaning::Missing, cause),
        409 | 412 | 428 => verdict(Meaning::Conflict, cause),
        400 | 413 | 422 => Verdict {
            halve: true,
            ..verdict(Meaning::Rejected, cause)
        },
        429 => verdict(Meaning::Throttled, cause),
        408 | 425 | 503 => verdict(Meaning::Retry, cause),
        501 | 505 => verdict(Meaning::Rejected, cause),
        // A gateway gave up, and what stands behind it may still be at work: a newer state sent now could be
        // overtaken by this one, even where sending twice does no harm.
        502 | 504 if asks != Asks::Reads => verdict(
            Meaning::Unknown,
            format!("{cause}: a gateway gave up, and the API behind it may have it"),
        ),
        // The API failed on the way: it may have done it.
        500..=599 if asks != Asks::WritesOnce => verdict(Meaning::Retry, cause),
        500..=599 => verdict(Meaning::Unknown, cause),
        _ => verdict(Meaning::Rejected, cause),
    }
}

/// What a part of an answer means for the event it is about: done, or what the rules say then.
pub(super) fn judge_part(
    answered: &Answered,
    part: &Json,
    rules: &[Rule],
    done: &[Match],
) -> Verdict {
    let is_done = done.iter().any(|one| one.part(part));
    if let (false, Some(spoken)) = (
        is_done,
        spoken(&[rules], Seen::Part(part), None, &answered.secrets),
    ) {
        return spoken;
    }
    let (means, cause) = if is_done {
        (Meaning::Done, String::new())
    } else {
        (
            Meaning::Unknown,
            "what the answer says of this item is not known to the channel".to_owned(),
        )
    };
    Verdict {
        means,
        cause,
        after: None,
        halve: false,
    }
}

/// The status, and what common error bodies say (RFC 9457, OData, and a plain `message`).
fn described(answered: &Answered) -> String {
    const PLACES: &[&[&str]] = &[
        &["detail"],
        &["title"],
        &["error", "message"],
        &["message"],
        &["error_description"],
        &["error"],
    ];
    let status = answered.status;
    let json = answered.json.as_ref();
    let said = json.and_then(|json| {
        PLACES.iter().find_map(|place| {
            let mut at = json;
            for part in *place {
                at = at.get(part)?;
            }
            at.as_str()
        })
    });
    match said {
        Some(said) => format!(
            "HTTP {status}: {}",
            words(&Json::String(said.to_owned()), &answered.secrets)
        ),
        None => format!("HTTP {status}"),
    }
}

impl Reader<'_> {
    /// `answers:` of a section.
    pub(super) fn rules(&self, section: &mut Section<'_>) -> Vec<Rule> {
        let all = section.sections("answers");
        all.into_iter().filter_map(|one| self.rule(one)).collect()
    }

    fn rule(&self, mut section: Section<'_>) -> Option<Rule> {
        let when = self.matching(&mut section);
        let means = section.word("means", MEANINGS).map(Meaning::of);
        if section.get("means").is_none() {
            section.missing("means", "`means: rejected`");
        }
        let after = self.may_path(&mut section, "after");
        let atomic = section.flag("atomic").unwrap_or(false);
        let says = match section.text("says") {
            // A sentence is said as it stands.
            Some(text) if text.contains(' ') => Some(Says::Words(text.to_owned())),
            Some(_) => self.may_path(&mut section, "says").map(Says::At),
            None => None,
        };
        if let (true, Some(node), Some(means)) = (atomic, section.get("atomic"), means)
            && !matches!(
                means,
                Meaning::Rejected | Meaning::Missing | Meaning::Conflict
            )
        {
            section.wrong(
                "atomic",
                node,
                "only what was refused is looked at in parts".to_owned(),
                Some("means: rejected".to_owned()),
            );
        }
        section.finish();
        Some(Rule {
            when: when?,
            means: means?,
            says,
            after,
            atomic,
        })
    }

    /// One match or a list of them under a key.
    pub(super) fn matches(&self, section: &mut Section<'_>, key: &'static str) -> Vec<Match> {
        let Some(node) = section.get(key) else {
            return Vec::new();
        };
        let path = format!("{}.{key}", section.path());
        let nodes: Vec<&Node> = match &node.kind {
            NodeKind::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut all = Vec::new();
        for node in nodes {
            if let NodeKind::Text(_) = &node.kind {
                // `done: data.updated`: it is there.
                all.extend(self.path_of(node, &path).map(|at| Match {
                    at: Some(at),
                    ..Match::default()
                }));
            } else {
                let mut one = Section::new(node, path.clone(), self.problems);
                all.extend(self.matching(&mut one));
                one.finish();
            }
        }
        all
    }

    fn matching(&self, section: &mut Section<'_>) -> Option<Match> {
        let status = section
            .get("status")
            .map_or_else(|| Some(Vec::new()), |node| statuses(section, node));
        let named = section.get("at").is_some();
        let at = self.may_path(section, "at");
        let is = section.get("is");
        let wanted = is.map(listed).unwrap_or_default();
        let is: Vec<Wanted> = wanted
            .into_iter()
            .filter_map(|node| {
                let wanted = wanted_of(node);
                if wanted.is_none() {
                    section.wrong(
                        "is",
                        node,
                        format!(
                            "expected a text, number or truth value, found {}",
                            node.type_name()
                        ),
                        None,
                    );
                }
                wanted
            })
            .collect();
        let has: Vec<String> = section
            .get("has")
            .map(listed)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Text(text) | NodeKind::Number(text) => Some(text.to_lowercase()),
                _ => {
                    section.wrong(
                        "has",
                        node,
                        format!("expected text, found {}", node.type_name()),
                        None,
                    );
                    None
                }
            })
            .collect();
        let absent = section.flag("absent").unwrap_or(false);
        for (key, said) in [
            ("is", !is.is_empty()),
            ("has", !has.is_empty()),
            ("absent", absent),
        ] {
            if let (true, false, Some(node)) = (
                said,
                named,
                section.get(match key {
                    "is" => "is",
                    "has" => "has",
                    _ => "absent",
                }),
            ) {
                section.wrong(
                    key,
                    node,
                    "says nothing without a place".to_owned(),
                    Some("at: error.code".to_owned()),
                );
            }
        }
        if named && at.is_none() {
            return None;
        }
        Some(Match {
            status: status?,
            at,
            is,
            has,
            absent,
        })
    }
}

fn statuses(section: &Section<'_>, node: &Node) -> Option<Vec<(u16, u16)>> {
    let mut all = Vec::new();
    for one in listed(node) {
        let range = match &one.kind {
            NodeKind::Number(text) | NodeKind::Text(text) => {
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                low.parse::<u16>().ok().zip(high.parse::<u16>().ok())
            }
            _ => None,
        };
        let fits = |(low, high): &(u16, u16)| low <= high && *low >= 100 && *high < 600;
        let Some(range) = range.filter(fits) else {
            let fix = Some("a status such as 404, or 500-599".to_owned());
            section.wrong("status", one, "is no status".to_owned(), fix);
            return None;
        };
        all.push(range);
    }
    Some(all)
}

fn listed(node: &Node) -> Vec<&Node> {
    match &node.kind {
        NodeKind::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}

fn wanted_of(node: &Node) -> Option<Wanted> {
    Some(match &node.kind {
        NodeKind::Text(text) => {
            let range = text
                .split_once('-')
                .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            range.map_or_else(
                || Wanted::Value(Json::String(text.clone())),
                |(low, high)| Wanted::Range(low, high),
            )
        }
        NodeKind::Number(text) => Wanted::Value(Json::Number(text.replace('_', "").parse().ok()?)),
        NodeKind::Bool(value) => Wanted::Value(Json::Bool(*value)),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => return None,
    })
}
