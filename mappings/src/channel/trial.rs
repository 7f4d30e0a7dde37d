//! Tests in a channel's file: recorded exchanges, gone through without a network.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::destination::Compared;
use contract::{
    EventOp, EventType, Finding, Node, NodeKind, Outcome, Outgoing, Problems, Section, Taken,
};
use serde_json::{Map, Value as Json, json};

use super::answered::{Answered, Came};
use super::cache::Cache;
use super::load::{declared, load};
use super::model::Channel;
use super::run::{Heard, Next, Purpose, Run};
use super::settings::{Answers, Given};
use super::template::same;
use super::trial_listing;

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    place: (usize, usize),
    node: Node,
}

/// What a test came to: nothing, or what is not as it says.
pub type Judged = (String, Result<(), Finding>);

/// Reads `tests:`; what stands in them is read when they run.
pub(super) fn read(top: &mut Section<'_>) -> Vec<Test> {
    let Some(node) = top.get("tests") else {
        return Vec::new();
    };
    let NodeKind::List(items) = &node.kind else {
        top.wrong(
            "tests",
            node,
            format!("expected a list of tests, found {}", node.type_name()),
            None,
        );
        return Vec::new();
    };
    let mut all = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let mut one = Section::new(item, format!("tests[{}]", n + 1), top.problems());
        let name = one
            .required_text("name", "`name: what it shows`")
            .unwrap_or_default()
            .to_owned();
        for key in [
            "settings",
            "given",
            "exchanges",
            "outcomes",
            "compared",
            "taken",
            "purpose",
            "untold",
        ] {
            one.get(key);
        }
        one.finish();
        all.push(Test {
            name,
            place: (item.line, item.column),
            node: item.clone(),
        });
    }
    all
}

/// Runs the tests of a file, without any network.
///
/// # Errors
/// What is wrong with the file itself.
pub fn offline(file: &str, text: &str) -> Result<Vec<Judged>, Vec<Finding>> {
    let settings = declared(file, text)?;
    let channel = load(file, text, &Answers::open(settings.clone()))?;
    let mut all = Vec::new();
    for test in &channel.tests {
        let given = given(test, &settings);
        let answers = if given.is_empty() {
            Answers::open(settings.clone())
        } else {
            Answers::partly(settings.clone(), given)
        };
        let judged = load(file, text, &answers)
            .map_err(|findings| {
                findings
                    .first()
                    .map_or_else(String::new, ToString::to_string)
            })
            .and_then(|channel| test.run(&channel));
        let judged = judged.map_err(|found| {
            let mut finding = Finding::fail(format!("test `{}`", test.name), found);
            let place = Problems::new(file).place(test.place.0, test.place.1);
            finding.place = Some(Box::new(place));
            finding
        });
        all.push((test.name.clone(), judged));
    }
    Ok(all)
}

/// What a file's own tests come to, for people: what is wrong with the file, or one finding for each
/// test.
pub fn recorded(file: &str, text: &str) -> Vec<Finding> {
    match offline(file, text) {
        Err(findings) => findings,
        Ok(judged) if judged.is_empty() => {
            vec![Finding::warn(file, "has no tests").fix("docs/channels.md says how to write some")]
        }
        Ok(judged) => {
            let one = |(name, judged): Judged| {
                judged
                    .err()
                    .unwrap_or_else(|| Finding::pass(file, format!("test `{name}`: as recorded")))
            };
            judged.into_iter().map(one).collect()
        }
    }
}

fn given(test: &Test, settings: &[super::settings::Declared]) -> BTreeMap<String, Given> {
    let Some(Node {
        kind: NodeKind::Map(entries),
        ..
    }) = test.node.member("settings")
    else {
        return BTreeMap::new();
    };
    let one = |(key, node): &(contract::Key, Node)| {
        let declared = settings.iter().find(|declared| declared.name == key.name)?;
        Some((key.name.clone(), Given::of(node, declared.kind)?))
    };
    entries.iter().filter_map(one).collect()
}

pub(super) trait Members {
    fn member(&self, name: &str) -> Option<&Node>;
    fn items(&self) -> &[Node];
}

impl Members for Node {
    fn member(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::List(items) => items,
            _ => &[],
        }
    }
}

impl Test {
    fn run(&self, channel: &Channel) -> Result<(), String> {
        let events = self.events()?;
        if self.node.member("purpose").map(json_of) == Some(Json::from("list")) {
            return trial_listing::run(&self.node, channel, &events);
        }
        let cache = Cache::default();
        let start = Duration::ZERO;
        let word = |name: &str| {
            self.node
                .member(name)
                .map(json_of)
                .and_then(|json| json.as_str().map(str::to_owned))
        };
        let purpose = match word("purpose").as_deref() {
            Some("verify") => Purpose::Verify,
            Some("compare") => Purpose::Compare,
            Some("deliver") | None => Purpose::Deliver,
            Some(other) => {
                return Err(format!(
                    "`{other}` is no purpose: deliver, verify, compare or list"
                ));
            }
        };
        let mut run = match word("taken") {
            Some(ticket) => {
                let taken: Vec<Taken> = events
                    .iter()
                    .map(|event| Taken {
                        outgoing: event.clone(),
                        ticket: ticket.clone(),
                    })
                    .collect();
                Run::follow(channel, &cache, &taken, start)
            }
            None => Run::new(channel, &cache, purpose, &events, start),
        };
        let exchanges = self
            .node
            .member("exchanges")
            .map(Members::items)
            .unwrap_or_default();
        for (n, exchange) in exchanges.iter().enumerate() {
            let number = n + 1;
            let Next::Send(request) = run.request() else {
                return Err(format!(
                    "exchange {number} was expected, but nothing more is sent"
                ));
            };
            if let Some(wanted) = exchange.member("request") {
                compare_request(request, &channel.base(), wanted)
                    .map_err(|found| format!("exchange {number}: {found}"))?;
            }
            let Some(answer) = exchange.member("answer") else {
                return Err(format!("exchange {number} has no `answer`"));
            };
            // A login that was wanted: the same request comes again.
            let (Heard::Understood | Heard::Login) = run.came(&came(answer)?);
        }
        if let Next::Send(request) = run.request() {
            let said = request
                .body
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let said: String = said.chars().take(300).collect();
            return Err(format!(
                "a further request is sent: {} {} {said}",
                request.method, request.url
            ));
        }
        if let Some(wanted) = self.node.member("compared") {
            let found: Vec<String> = run.compared().iter().map(compared_word).collect();
            return as_said("compared", wanted.items(), &found);
        }
        let found: Vec<String> = run.outcomes().iter().map(outcome_word).collect();
        match self.node.member("outcomes") {
            Some(wanted) => as_said("outcome", wanted.items(), &found),
            None => Err(format!("has no `outcomes`; they are: {}", found.join("; "))),
        }
    }

    fn events(&self) -> Result<Vec<Outgoing>, String> {
        let nodes = self
            .node
            .member("given")
            .map(Members::items)
            .unwrap_or_default();
        if nodes.is_empty() {
            return Err("has no events in `given`".to_owned());
        }
        nodes
            .iter()
            .enumerate()
            .map(|(n, node)| event(n, node))
            .collect()
    }
}

fn event(n: usize, node: &Node) -> Result<Outgoing, String> {
    let json = json_of(node);
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    let name = text("type").unwrap_or_default();
    let event_type: EventType = name
        .parse()
        .map_err(|()| format!("given: there is no event type `{name}`"))?;
    let op = match text("op") {
        None if event_type.kind() == contract::EventKind::Fact => EventOp::Fact,
        None | Some("upsert") => EventOp::Upsert,
        Some("delete") => EventOp::Delete,
        Some("correction") => EventOp::Correction,
        Some(other) => return Err(format!("given: `{other}` is no op")),
    };
    let mut key = Map::new();
    for name in event_type.schema().key {
        let part = json
            .get("key")
            .and_then(|key| key.get(name))
            .map(super::rules::plain);
        key.insert((*name).to_owned(), Json::String(part.unwrap_or_default()));
    }
    let id = format!("evt_{:032x}", n + 1);
    let shown: Vec<&str> = key.values().filter_map(Json::as_str).collect();
    let key_text = shown.join("|");
    let body = json.get("body").cloned().unwrap_or_default();
    let whole = json!({"id": id, "type": name, "op": op.name(), "key": key, "body": body});
    Ok(Outgoing {
        offset: i64::try_from(n).unwrap_or(i64::MAX),
        id: id.clone(),
        event_type,
        key: key_text,
        op,
        idempotency_key: id,
        origin: "test/test".to_owned(),
        occurred_at: text("occurred_at")
            .and_then(|text| text.parse().ok())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        attempt: 1,
        json: whole.to_string().into_bytes().into(),
    })
}

pub(super) fn came(node: &Node) -> Result<Came, String> {
    if let NodeKind::Text(word) = &node.kind {
        return match word.as_str() {
            "lost" => Ok(Came::Lost("the answer was lost".to_owned())),
            "not sent" => Ok(Came::NotSent("nothing listens".to_owned())),
            _ => Err(format!(
                "`{word}` is no answer: {{status: .., body: ..}}, lost, or not sent"
            )),
        };
    }
    let json = json_of(node);
    let status = json
        .get("status")
        .and_then(Json::as_u64)
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(200);
    let body = match json.get("body") {
        None => String::new(),
        Some(body) => body.to_string(),
    };
    let headers = json.get("headers").and_then(Json::as_object);
    let headers = headers
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.to_ascii_lowercase(), super::rules::plain(value)));
    Ok(Came::Answer(Answered::new(
        status,
        headers.collect(),
        body.as_bytes(),
        false,
        1,
    )))
}

/// What a node says, as JSON.
pub(super) fn json_of(node: &Node) -> Json {
    match &node.kind {
        NodeKind::Null => Json::Null,
        NodeKind::Bool(value) => Json::Bool(*value),
        NodeKind::Number(text) => text
            .replace('_', "")
            .parse()
            .map_or(Json::Null, Json::Number),
        NodeKind::Text(text) => Json::String(text.clone()),
        NodeKind::List(items) => items.iter().map(json_of).collect(),
        NodeKind::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, node)| (key.name.clone(), json_of(node)))
                .collect(),
        ),
    }
}

pub(super) fn compare_request(
    request: &super::prepared::Prepared,
    base: &str,
    wanted: &Node,
) -> Result<(), String> {
    let wanted = json_of(wanted);
    for method in ["get", "post", "put", "patch", "delete", "head"] {
        if let Some(path) = wanted.get(method).and_then(Json::as_str) {
            let expected = if path.starts_with('/') {
                format!("{}{path}", base.trim_end_matches('/'))
            } else {
                path.to_owned()
            };
            if !request.method.eq_ignore_ascii_case(method) || request.url != expected {
                return Err(format!("{} {} was sent", request.method, request.url));
            }
        }
    }
    for (name, value) in wanted
        .get("headers")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        let found = request
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, text)| text.as_str());
        if found.map(str::to_owned) != Some(super::rules::plain(value)) {
            return Err(format!(
                "header {name} is {}",
                found.map_or_else(|| "not there".to_owned(), |text| format!("`{text}`"))
            ));
        }
    }
    if let Some(body) = wanted.get("body") {
        let sent: Json = request
            .body
            .as_deref()
            .and_then(|body| {
                let json = serde_json::from_slice(body).ok();
                json.or_else(|| serde_json::from_slice(super::prepared::file_of(body)?).ok())
            })
            .unwrap_or_default();
        differs(body, &sent, "body")?;
    }
    if let Some(form) = wanted.get("form").and_then(Json::as_object) {
        for (name, value) in form {
            let found = request
                .form
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, text)| text);
            if found != Some(&super::rules::plain(value)) {
                return Err(format!("form field {name} is {found:?}"));
            }
        }
    }
    Ok(())
}

/// What is wanted must be there: members that are not named may be.
fn differs(wanted: &Json, found: &Json, path: &str) -> Result<(), String> {
    match (wanted, found) {
        (Json::Object(wanted), Json::Object(found)) => wanted.iter().try_for_each(|(name, one)| {
            differs(
                one,
                found.get(name).unwrap_or(&Json::Null),
                &format!("{path}.{name}"),
            )
        }),
        (Json::Array(wanted), Json::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(n, (one, other))| differs(one, other, &format!("{path}.{n}"))),
        // A number and a text are not the same to an API.
        (Json::Number(_), Json::Number(_)) if same(wanted, found) => Ok(()),
        _ if wanted == found => Ok(()),
        _ => {
            let found: String = found.to_string().chars().take(300).collect();
            Err(format!("{path} is {found}"))
        }
    }
}

fn outcome_word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied(answer) if answer.body.starts_with("nothing was sent") => {
            format!("applied: {}", answer.body)
        }
        Outcome::Applied(_) => "applied".to_owned(),
        Outcome::Accepted { ticket, .. } => format!("accepted: {ticket}"),
        Outcome::Retry { cause, .. } => format!("retry: {cause}"),
        Outcome::Rejected { cause, .. } => format!("rejected: {cause}"),
        Outcome::Conflict { cause, .. } => format!("conflict: {cause}"),
        Outcome::Missing { cause, .. } => format!("missing: {cause}"),
        Outcome::Unknown { cause, .. } => format!("unknown: {cause}"),
    }
}

fn compared_word(compared: &Compared) -> String {
    match compared {
        Compared::Same => "same".to_owned(),
        Compared::Differs { holds, would } => format!("differs: holds {holds}, would hold {would}"),
        Compared::CannotTell { cause } => format!("cannot tell: {cause}"),
    }
}

/// Each is said by its beginning, or by `word: a part of the cause`.
fn as_said(what: &str, wanted: &[Node], found: &[String]) -> Result<(), String> {
    if wanted.len() != found.len() {
        return Err(format!(
            "{} were expected, these came: {}",
            wanted.len(),
            found.join("; ")
        ));
    }
    for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        let (word, part) = match json_of(wanted) {
            Json::Object(map) => map
                .into_iter()
                .next()
                .map(|(word, part)| (word, super::rules::plain(&part)))
                .unwrap_or_default(),
            json => (super::rules::plain(&json), String::new()),
        };
        let said = found.split(':').next().unwrap_or_default();
        if said != word || !found.contains(&part) {
            return Err(format!("{what} {} is `{found}`", n + 1));
        }
    }
    Ok(())
}
