//! A place in an answer: `data.items.0.id`, `"@odata.etag"`, `errors.*.code`, `$header.etag`, `$status`, `$cookies`.

use serde_json::Value as Json;

use super::answered::Answered;

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A member's name, or a place in a list.
    Name(String),
    /// Any element or member.
    Any,
}

/// Where to look in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Status,
    /// The first header of a name.
    Header(String),
    /// All cookies that are set.
    Cookies,
    /// A place in the body.
    Body(Vec<Part>),
}

impl Path {
    /// Reads a path. `$body` is the whole body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let place = match text {
            "$status" => Place::Status,
            "$cookies" => Place::Cookies,
            "$body" => Place::Body(Vec::new()),
            _ => match text.strip_prefix("$header.") {
                Some(name) if is_header(name) => Place::Header(name.to_ascii_lowercase()),
                Some(_) => return Err("is no header's name".to_owned()),
                None if text.starts_with('$') => {
                    return Err(
                        "only `$status`, `$body`, `$cookies` and `$header.NAME` begin with `$`"
                            .to_owned(),
                    );
                }
                None => Place::Body(parts(text)?),
            },
        };
        Ok(Self {
            text: text.to_owned(),
            place,
        })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands there in an answer, if anything does: the first that is there and not null.
    pub(super) fn of(&self, answered: &Answered) -> Option<Json> {
        match &self.place {
            Place::Status => Some(Json::from(answered.status)),
            Place::Header(name) => answered
                .header(name)
                .map(|text| Json::String(text.to_owned())),
            Place::Cookies => answered.cookies().map(Json::String),
            Place::Body(_) => self.within(answered.json.as_ref()?).cloned(),
        }
    }

    /// What stands there in a part of an answer.
    pub(super) fn within<'j>(&self, json: &'j Json) -> Option<&'j Json> {
        match &self.place {
            Place::Body(parts) => walk(json, parts),
            _ => None,
        }
    }

    /// Every list element that stands there; `None` where there is no list.
    pub(super) fn list(&self, answered: &Answered) -> Option<Vec<Json>> {
        match self.of(answered)? {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it looks into the body.
    pub(super) fn is_body(&self) -> bool {
        matches!(self.place, Place::Body(_))
    }
}

/// Whether it is a header's name. Of the signs that RFC 9110 allows, those that are in use.
pub(super) fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let Some((name, after)) = quoted.split_once('"') else {
                    return Err("has a quote without its end".to_owned());
                };
                (name, after)
            }
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if name.is_empty() {
            return Err("has an empty part, expected a place such as data.id; a name with dots is written \"in quotes\"".to_owned());
        }
        if name.contains([' ', '[', ']']) && !rest.starts_with('"') {
            return Err(
                "has a blank or bracket; a place in a list is written `items.0`".to_owned(),
            );
        }
        found.push(if name == "*" && !rest.starts_with('"') {
            Part::Any
        } else {
            Part::Name(name.to_owned())
        });
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(found),
            None => return Err("has a sign behind a quoted name that is no dot".to_owned()),
        }
    }
}

fn walk<'j>(json: &'j Json, parts: &[Part]) -> Option<&'j Json> {
    let Some((part, rest)) = parts.split_first() else {
        return (!json.is_null()).then_some(json);
    };
    match (part, json) {
        (Part::Name(name), Json::Object(members)) => walk(members.get(name)?, rest),
        (Part::Name(name), Json::Array(items)) => {
            walk(items.get(name.parse::<usize>().ok()?)?, rest)
        }
        (Part::Any, Json::Array(items)) => items.iter().find_map(|item| walk(item, rest)),
        (Part::Any, Json::Object(members)) => members.values().find_map(|item| walk(item, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_what_is_there_and_not_null() {
        let json = json!({"a": [{"b": null}, {"b": 7, "c.d": "x"}], "e": {"k1": {"m": 1}}});
        let at = |text: &str| Path::parse(text).unwrap().within(&json).cloned();
        assert_eq!(at("a.1.b"), Some(json!(7)));
        assert_eq!(at("a.0.b"), None);
        assert_eq!(at("a.*.b"), Some(json!(7)));
        assert_eq!(at("a.1.\"c.d\""), Some(json!("x")));
        assert_eq!(at("e.*.m"), Some(json!(1)));
        assert_eq!(at("a.9.b"), None);
        for wrong in ["", "a..b", "a[0]", "$x", "\"a", "\"a\"b", "$header."] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }
}
