//! Requests in a channel's file.

use contract::{Node, NodeKind, Section};

use super::formula::Formula;
use super::load_template::Reader;
use super::model::{HeaderValue, Piece, Request};
use super::path::is_header;

const METHODS: &[(&str, &str)] = &[
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("head", "HEAD"),
];

impl Reader<'_> {
    /// Headers of a section.
    pub(super) fn headers(&self, section: &mut Section<'_>) -> Vec<(String, HeaderValue)> {
        self.named_headers(section, "headers")
    }

    pub(super) fn named_headers(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Vec<(String, HeaderValue)> {
        let Some(mut headers) = section.section(key) else {
            return Vec::new();
        };
        let path = headers.path().to_owned();
        let problems = headers.problems().clone();
        let mut all = Vec::new();
        for (key, node) in headers.free_entries() {
            let path = format!("{path}.{}", key.name);
            if !is_header(&key.name) {
                problems.add(
                    key.line,
                    key.column,
                    &path,
                    "is no header's name".to_owned(),
                    Some("letters, digits and -, such as x-request-id".to_owned()),
                );
            }
            let value = if let NodeKind::Map(_) = node.kind {
                let mut one = Section::new(node, path.clone(), &problems);
                let inner = one.get("base64");
                if inner.is_none() {
                    one.missing("base64", "`base64: ..` (and `before: 'Session '`)");
                }
                let before = one.text("before").unwrap_or_default().to_owned();
                one.finish();
                inner
                    .and_then(|node| self.formula(node, &path))
                    .map(|formula| HeaderValue {
                        formula,
                        base64: Some(before),
                    })
            } else {
                self.formula(node, &path).map(|formula| HeaderValue {
                    formula,
                    base64: None,
                })
            };
            all.extend(value.map(|value| (key.name.to_ascii_lowercase(), value)));
        }
        all
    }

    /// Expressions under free names.
    pub(super) fn named(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Vec<(String, Formula)> {
        let Some(mut named) = section.section(key) else {
            return Vec::new();
        };
        let path = named.path().to_owned();
        let mut all = Vec::new();
        for (key, node) in named.free_entries() {
            let formula = self.formula(node, &format!("{path}.{}", key.name));
            all.extend(formula.map(|formula| (key.name.clone(), formula)));
        }
        all
    }

    /// A request's shape. `keyed` = it may say its own key.
    pub(super) fn request(&self, section: &mut Section<'_>, keyed: bool) -> Option<Request> {
        let mut reader = self.clone();
        if keyed {
            reader.allowed.given = &["request_key"];
        }
        let mut found = None;
        for (key, method) in METHODS {
            if let Some(text) = section.text(key) {
                if let (Some(_), Some(node)) = (found, section.get(key)) {
                    section.wrong(key, node, "a request has one method".to_owned(), None);
                }
                found = Some((*key, *method, text));
            }
        }
        let Some((key, method, text)) = found else {
            section.missing(
                "post",
                "one of `get`, `post`, `put`, `patch`, `delete` with a path",
            );
            for key in [
                "query",
                "headers",
                "body",
                "form",
                "part",
                "content_type",
                "points",
                "away",
            ] {
                section.get(key);
            }
            return None;
        };
        let path = section.path().to_owned();
        let node = section.get(key)?;
        let pieces = reader.pieces(text, node, &format!("{path}.{key}"));
        let mut query = Vec::new();
        if let Some(mut asked) = section.section("query") {
            for (name, node) in asked.free_entries() {
                let made = reader.template(node, &format!("{path}.query.{}", name.name));
                query.extend(made.map(|made| (name.name.clone(), made)));
            }
        }
        let headers = reader.headers(section);
        let node = section.get("body");
        let body = node.map(|node| reader.template(node, &format!("{path}.body")));
        let form = reader.named(section, "form");
        if let (Some(node), false) = (node, form.is_empty()) {
            section.wrong(
                "body",
                node,
                "a request has a body or a form".to_owned(),
                None,
            );
        }
        let part = section.text("part").map(str::to_owned);
        if let (Some(name), Some(place)) = (&part, section.get("part")) {
            let well = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if !well {
                section.wrong("part", place, "is no part's name".to_owned(), None);
            }
            if node.is_none() || section.get("content_type").is_some() {
                section.wrong(
                    "part",
                    place,
                    "is how a `body` goes, and has a content type of its own".to_owned(),
                    Some("`part` and `body`, and no `content_type`".to_owned()),
                );
            }
        }
        let content_type = section.text("content_type").map(str::to_owned);
        let points = section
            .number("points", 1, 100_000)
            .map_or(0, |n| u32::try_from(n).unwrap_or(0));
        let away = away(section, pieces.as_deref(), key);
        if let (Some(node), "GET" | "HEAD") = (node, method) {
            section.wrong(
                "body",
                node,
                format!("{method} has no body"),
                Some("query".to_owned()),
            );
        }
        let body = match body {
            None => None,
            Some(body) => Some(body?),
        };
        Some(Request {
            method,
            path: pieces?,
            query,
            headers,
            body,
            form,
            part,
            content_type,
            points,
            away,
        })
    }

    fn pieces(&self, text: &str, node: &Node, path: &str) -> Option<Vec<Piece>> {
        let mut all = Vec::new();
        let mut rest = text;
        if !text.starts_with('/') && !text.starts_with('{') {
            self.add(
                node,
                path,
                "a path begins with /",
                Some("the address stands in `url`".to_owned()),
            );
            return None;
        }
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                all.push(Piece::Text(before.to_owned()));
            }
            let Some((inner, after)) = after.split_once('}') else {
                self.add(
                    node,
                    path,
                    "has a `{` without its `}`",
                    Some("/items/{found.id}".to_owned()),
                );
                return None;
            };
            match Formula::read(inner, &self.allowed) {
                Ok(formula) => all.push(Piece::Value(formula)),
                Err((found, fix)) => {
                    self.add(node, path, format!("{{{inner}}}: {found}"), fix);
                    return None;
                }
            }
            rest = after;
        }
        if !rest.is_empty() {
            all.push(Piece::Text(rest.to_owned()));
        }
        Some(all)
    }
}

/// The domains of other servers to which the request may go.
fn away(section: &mut Section<'_>, pieces: Option<&[Piece]>, method: &'static str) -> Vec<String> {
    let Some(domains) = section.texts("away") else {
        return Vec::new();
    };
    let whole = matches!(pieces, None | Some([Piece::Value(_)]));
    if let (false, Some(node)) = (whole, section.get(method)) {
        section.wrong(
            method,
            node,
            "where it goes, an answer must have said".to_owned(),
            Some("\"{found.url}\"".to_owned()),
        );
    }
    let well = |domain: &&str| {
        domain
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
            && domain.contains('.')
            && !domain.starts_with('.')
    };
    if let (false, Some(node)) = (
        !domains.is_empty() && domains.iter().all(well),
        section.get("away"),
    ) {
        section.wrong(
            "away",
            node,
            "expected domains in small letters".to_owned(),
            Some("[amazonaws.com]".to_owned()),
        );
    }
    domains.into_iter().map(str::to_owned).collect()
}
