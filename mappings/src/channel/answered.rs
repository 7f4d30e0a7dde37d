//! An answer of an API, as a channel's rules see it.

use std::sync::Arc;
use std::time::Duration;

use contract::Answer;
use contract::destination::ANSWER_BODY_BYTES_MAX;
use serde_json::Value as Json;

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// An answer.
    Answer(Answered),
    /// The request surely did not reach the API.
    NotSent(String),
    /// Nobody can tell whether the API has it.
    Lost(String),
}

/// An answer.
#[derive(Clone, PartialEq)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub json: Option<Json>,
    /// The start of the body as text.
    pub text: String,
    /// The body broke off before its end, or was longer than what is read.
    pub broken: bool,
    /// From the first byte sent to the answer.
    pub latency_ms: u64,
    /// What the API asked to wait for, where it did.
    pub wait: Option<Duration>,
    /// What is cut out of all that is kept or said of it.
    pub(super) secrets: Arc<[String]>,
}

/// Shows no content: answers may hold personal data.
impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answered({}, {} bytes)", self.status, self.text.len())
    }
}

impl Answered {
    /// An answer from its parts.
    pub fn new(
        status: u16,
        headers: Vec<(String, String)>,
        body: &[u8],
        broken: bool,
        latency_ms: u64,
    ) -> Self {
        let json = if broken {
            None
        } else {
            serde_json::from_slice(body).ok()
        };
        let text = cut(&String::from_utf8_lossy(
            body.get(..ANSWER_BODY_BYTES_MAX.min(body.len()))
                .unwrap_or_default(),
        ));
        Self {
            status,
            headers,
            json,
            text,
            broken,
            latency_ms,
            wait: None,
            secrets: Arc::default(),
        }
    }

    /// The same, and what is kept or said of it holds none of these: some APIs say what they were sent. What is
    /// read of it stays as it is, for a secret may be a part of something else. `body` is the whole body.
    #[must_use]
    pub fn hiding(self, secrets: Arc<[String]>, body: &[u8]) -> Self {
        // Before it is cut, so that no part of one stays.
        let text = hide(&String::from_utf8_lossy(body), &secrets);
        Self {
            text: cut(&text),
            secrets,
            ..self
        }
    }

    /// The same, with what the API asked to wait for.
    #[must_use]
    pub fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, text)| text.as_str())
    }

    /// The cookies that it sets, as one `Cookie` header: without their attributes, and without those it takes away.
    pub fn cookies(&self) -> Option<String> {
        let mut all: Vec<(&str, &str)> = Vec::new();
        for (name, text) in &self.headers {
            let pair = text.split(';').next().and_then(|pair| pair.split_once('='));
            if let (true, Some((cookie, value))) = (name == "set-cookie", pair) {
                let cookie = cookie.trim();
                all.retain(|(known, _)| *known != cookie);
                all.push((cookie, value.trim()));
            }
        }
        let kept = all.iter().filter(|(_, value)| !value.is_empty());
        let kept: Vec<String> = kept
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!kept.is_empty()).then(|| kept.join("; "))
    }

    /// Whether the API says that it did what was asked, by its status.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What is kept of it.
    pub fn answer(&self) -> Answer {
        Answer {
            status: Some(self.status),
            body: self.text.clone(),
            latency_ms: self.latency_ms,
        }
    }

    /// What is kept of a part of it that is about one event.
    pub(super) fn about(&self, part: &Json) -> Answer {
        Answer {
            body: cut(&hide(&part.to_string(), &self.secrets)),
            ..self.answer()
        }
    }
}

/// A text without these secrets.
pub fn hide(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "<redacted>");
        }
    }
    text
}

/// At most as many bytes as are kept.
fn cut(text: &str) -> String {
    let mut end = ANSWER_BODY_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
