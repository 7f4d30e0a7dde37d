//! What a request says: the query of its address, and its body.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use contract::finding::nearest;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::problem::Problem;

/// Bodies are this large at most.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A query's parts, each of which may be said once.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads one in which nothing but `known` may stand.
    pub(super) fn read(raw: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parts: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let fix = match nearest(&name, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None if known.is_empty() => "leave it out".to_owned(),
                    None => format!("here may stand: {}", known.join(", ")),
                };
                let shown: String = name.chars().take(60).collect();
                return Err(Problem::bad(
                    format!("the query has the unknown part {shown:?}"),
                    fix,
                ));
            }
            if parts.iter().any(|(said, _)| *said == name) {
                return Err(Problem::bad(
                    format!("the query has {name} twice"),
                    "say it once",
                ));
            }
            parts.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parts))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let part = self.0.iter().find(|(said, _)| said == name);
        part.map(|(_, value)| value.as_str())
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&self, name: &str, most: usize, or: usize) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(or);
        };
        // Not with a sign or zeros before it: what is written is what is meant.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|number| plain && *number <= most);
        number.ok_or_else(|| {
            Problem::bad(
                format!("{name} is no whole number from 1 to {most}"),
                format!("for example {name}={or}"),
            )
        })
    }
}

/// A text that is one of some words.
pub(super) fn one_of<'a>(name: &str, text: &'a str, known: &[&str]) -> Result<&'a str, Problem> {
    if known.contains(&text) {
        return Ok(text);
    }
    let near = nearest(text, known.iter().copied());
    Err(Problem::bad(
        format!("there is no such {name}"),
        near.map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        ),
    ))
}

/// A moment as JSON Schema's `date-time` has it. What is before or behind all moments that are known is the
/// first or last of them, and parts of a second that nobody keeps are cut.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let short = match text.split_once('.') {
        Some((seconds, rest)) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at(digits);
            // Nanoseconds have nine.
            format!("{seconds}.{}{zone}", &fraction[..digits.min(9)])
        }
        None => text.to_owned(),
    };
    let known = short.parse::<Timestamp>().ok();
    known.or_else(|| {
        let civil = short.get(..19)?.parse::<jiff::civil::DateTime>().ok()?;
        let rest = short.get(19..)?;
        let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        let zoned = zone.eq_ignore_ascii_case("z") || zone.starts_with(['+', '-']);
        (zoned && civil.year() == 9999).then_some(Timestamp::MAX)
    })
}

/// A request's JSON body. An empty one is `{}` where all of it may be left out.
pub(super) async fn body<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    may_be_empty: bool,
) -> Result<T, Problem> {
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body has more than {BODY_BYTES_MAX} bytes, or broke off"),
            "ask for less at once: by cause, key or type instead of by many ids",
        )
    })?;
    if bytes.is_empty() && may_be_empty {
        return parsed(b"{}");
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "the body is not said to be JSON",
            "send it with Content-Type: application/json",
        ));
    }
    parsed(&bytes)
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let wrong = |error: serde_json::Error| {
        // It says what it found, which is the caller's own.
        Problem::bad(
            format!("the body does not fit: {error}"),
            "/api/v1/openapi.json says what may stand in it",
        )
    };
    match serde_json::from_slice(bytes).map_err(wrong)? {
        // A list would be taken for the values of an object without their names.
        object @ Value::Object(_) => serde_json::from_value(object).map_err(wrong),
        _ => Err(Problem::bad(
            "the body is no JSON object",
            "as in {\"all\": true}",
        )),
    }
}

/// A value that may be left out and is never null.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_far_as_they_are_known() {
        let at = |text: &str| moment(text).map(|moment| moment.to_string());
        for (text, wanted) in [
            ("2026-11-27T14:30:00Z", "2026-11-27T14:30:00Z"),
            ("2026-11-27t14:30:00.5z", "2026-11-27T14:30:00.5Z"),
            (
                "2026-11-27T14:30:00.1234567891234+02:00",
                "2026-11-27T12:30:00.123456789Z",
            ),
        ] {
            assert_eq!(at(text).as_deref(), Some(wanted), "{text}");
        }
        assert_eq!(moment("9999-12-31T23:59:59-12:00"), Some(Timestamp::MAX));
        for text in [
            "2026-11-27",
            "2026-11-27T14:30:00",
            "9999-12-31T23:59:59",
            "x",
            "",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_query_says_each_part_once_and_nothing_else() {
        let query = Query::read(Some("sku=A%7C1+x&limit=7"), &["sku", "limit"]).unwrap();
        assert_eq!(query.text("sku"), Some("A|1 x"));
        assert_eq!(query.number("limit", 500, 100).unwrap(), 7);
        assert!(Query::read(Some("sku=1&sku=2"), &["sku"]).is_err());
        assert!(Query::read(Some("sku=1&access_token=x"), &["sku"]).is_err());
        for limit in ["0", "501", "+7", "07", "-1", "1.0", "", "x"] {
            let query = Query::read(
                Some(&format!("limit={}", limit.replace('+', "%2B"))),
                &["limit"],
            );
            assert!(query.unwrap().number("limit", 500, 100).is_err(), "{limit}");
        }
    }
}
