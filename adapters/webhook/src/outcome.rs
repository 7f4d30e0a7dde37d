//! An HTTP answer to an outcome: pure.

use std::collections::HashMap;
use std::time::Duration;

use contract::{Answer, Outcome};
use serde_json::Value;

/// Longest part of a problem's title in a cause.
const TITLE_CHARS_MAX: usize = 200;

/// What an answer says about one event.
///
/// | status | outcome |
/// |---|---|
/// | 2xx | applied |
/// | 408, 425, 429, 5xx but 501, 502, 504 | retry, after what the server says |
/// | 502, 504 | unknown: a gateway lost the answer, the receiver may still be at it |
/// | 401, 403, 407 | retry: our login is refused, not the event |
/// | 3xx | rejected: redirects are not followed |
/// | 501 and other 4xx | rejected |
pub(crate) fn of(status: u16, answer: Answer, wait: Option<Duration>) -> Outcome {
    match status {
        200..=299 => Outcome::Applied(answer),
        300..=399 => Outcome::Rejected {
            cause: format!("HTTP {status}: redirects are not followed; configure the final url"),
            answer,
        },
        502 | 504 => Outcome::Unknown {
            cause: format!(
                "{}: a gateway lost the receiver's answer",
                describe(status, &answer)
            ),
            answer: Some(answer),
        },
        401 | 403 | 407 | 408 | 425 | 429 | 500 | 503 | 505..=599 => Outcome::Retry {
            after: wait,
            cause: match status {
                401 | 403 | 407 => format!("{}: our login is refused", describe(status, &answer)),
                _ => describe(status, &answer),
            },
            answer,
        },
        _ => Outcome::Rejected {
            cause: describe(status, &answer),
            answer,
        },
    }
}

fn describe(status: u16, answer: &Answer) -> String {
    // RFC 9457: the title is for people and holds no instance data.
    let title = serde_json::from_str::<Value>(&answer.body)
        .ok()
        .and_then(|problem| Some(problem.get("title")?.as_str()?.to_owned()));
    match title {
        Some(title) => {
            let title: String = title.chars().take(TITLE_CHARS_MAX).collect();
            format!("HTTP {status}: {title}")
        }
        None => format!("HTTP {status}"),
    }
}

/// What a 2xx answer to a batch says of its events.
#[derive(Debug)]
pub(crate) enum Listed {
    /// Of each of them; `None` = nothing.
    Each(Vec<Option<Outcome>>),
    /// It lists nothing: all of them were applied.
    All,
    /// It would have listed something, and nobody can tell what. Why.
    Untold(&'static str),
}

/// Reads `{"results": [{"id": "evt_..", "status": 422, "error": ".."}]}`. `broken` = the answer did not come whole:
/// what is missing may be the very list.
pub(crate) fn listed(body: &[u8], broken: bool, ids: &[&str], answer: &Answer) -> Listed {
    if broken {
        return Listed::Untold(
            "the answer broke off, or is too long: what it says of each event is not known",
        );
    }
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return if body.trim_ascii_start().starts_with(b"{") {
            Listed::Untold("the answer begins as JSON and cannot be read")
        } else {
            Listed::All
        };
    };
    let Some(results) = json.get("results") else {
        return Listed::All;
    };
    let Some(results) = results.as_array() else {
        return Listed::Untold("the answer's results are no list");
    };
    // By id: a batch may have a thousand events. Of one that is listed twice, and not alike, nothing is known.
    let mut by_id: HashMap<&str, Option<&Value>> = HashMap::new();
    for result in results {
        if let Some(id) = result.get("id").and_then(Value::as_str) {
            let known = by_id.entry(id).or_insert(Some(result));
            *known = known.filter(|known| known.get("status") == result.get("status"));
        }
    }
    let each = ids.iter().map(|id| {
        let result = by_id.get(id).copied().flatten()?;
        let status = u16::try_from(result.get("status")?.as_u64()?).ok()?;
        let error = result
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let own = Answer {
            status: Some(status),
            body: error.chars().take(TITLE_CHARS_MAX).collect(),
            latency_ms: answer.latency_ms,
        };
        Some(of(status, own, None))
    });
    Listed::Each(each.collect())
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn kind(status: u16) -> &'static str {
        match of(status, Answer::default(), None) {
            Outcome::Applied(_) => "applied",
            Outcome::Retry { .. } => "retry",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Accepted { .. } | Outcome::Conflict { .. } | Outcome::Missing { .. } => {
                "other"
            }
            Outcome::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn statuses_mean_what_the_table_says() {
        for (status, expected) in [
            (200, "applied"),
            (204, "applied"),
            (301, "rejected"),
            (400, "rejected"),
            (401, "retry"),
            (403, "retry"),
            (404, "rejected"),
            (407, "retry"),
            (408, "retry"),
            (409, "rejected"),
            (410, "rejected"),
            (413, "rejected"),
            (422, "rejected"),
            (425, "retry"),
            (429, "retry"),
            (500, "retry"),
            (501, "rejected"),
            (502, "unknown"),
            (503, "retry"),
            (504, "unknown"),
            (505, "retry"),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn an_event_missing_in_the_results_or_twice_in_them_has_no_outcome() {
        let body = br#"{"results":[{"id":"a","status":200},{"id":"b","status":422,"error":"no"},
            {"id":"d","status":200},{"id":"d","status":503},{"id":"e","status":200},{"id":"e","status":200}]}"#;
        let found = listed(body, false, &["a", "b", "c", "d", "e"], &Answer::default());
        let Listed::Each(found) = found else {
            panic!("{found:?}");
        };
        assert!(matches!(found[0], Some(Outcome::Applied(_))));
        assert!(matches!(found[1], Some(Outcome::Rejected { .. })));
        assert!(found[2].is_none() && found[3].is_none());
        assert!(matches!(found[4], Some(Outcome::Applied(_))));
        for nothing in [&b"ok"[..], b"", b"{\"done\":1}", b"[]", b"null"] {
            let found = listed(nothing, false, &["a"], &Answer::default());
            assert!(matches!(found, Listed::All), "{found:?}");
        }
    }
}
