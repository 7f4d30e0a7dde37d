//! Letters by HTTP: to Slack's incoming webhooks, to workflows of Teams, and as JSON to whatever else.

use std::time::Duration;

use contract::{Node, Secret, Secrets, Section};
use http_client::{Answered as Answer, Request, Sent, retry_after};

use super::channel::{Answered, Refused};
use super::letters::Letter;

/// The shapes of a letter.
pub(super) const SHAPES: [&str; 3] = ["slack", "teams", "json"];
/// The whole of a letter.
const SEND_MAX: Duration = Duration::from_secs(20);
/// So much of an answer is read.
const ANSWER_BYTES_MAX: usize = 4_096;

/// An address that is a secret, and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    url: Secret,
    encrypted: bool,
    http: http_client::Settings,
}

/// A `[[alerts.webhook]]` of the settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    place: Place,
    shape: &'static str,
}

/// Reads its address, its shape, and how it is reached.
pub(super) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Settings> {
    let shape = section.word("shape", &SHAPES);
    if section.get("shape").is_none() {
        section.missing("shape", "`shape = \"slack\"`, \"teams\" or \"json\"");
    }
    let place = Place::read(section, secrets);
    Some(Settings {
        place: place?,
        shape: shape?,
    })
}

impl Place {
    /// Reads `url`, `allow_plain_http` and what `http_client::Settings` reads.
    pub(super) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Self> {
        let allowed = section.flag("allow_plain_http").unwrap_or(false);
        if section.get("url").is_none() {
            section.missing("url", "`url = { env = \"..\" }`");
        }
        let url = secret_url(section, "url", secrets, allowed);
        let encrypted = url.as_ref().is_none_or(is_encrypted);
        let http = http_client::Settings::read(section, secrets, encrypted);
        Some(Self {
            url: url?,
            encrypted,
            http,
        })
    }

    /// Reads another address; nothing where none is said, or what is said is wrong.
    pub(super) fn url(
        section: &mut Section<'_>,
        key: &'static str,
        secrets: &dyn Secrets,
    ) -> Option<Secret> {
        let allowed = section.flag("allow_plain_http").unwrap_or(false);
        secret_url(section, key, secrets, allowed)
    }

    /// Another address that is reached in the same way.
    pub(super) fn other(&self, url: Secret) -> Self {
        Self {
            encrypted: is_encrypted(&url),
            url,
            http: self.http.clone(),
        }
    }

    /// Sends a request. No word of what comes back on failure has the address in it.
    pub(super) async fn send(
        &self,
        method: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Refused> {
        let client = self.http.client(self.encrypted, SEND_MAX);
        let client = client.map_err(Refused::here)?;
        let headers = body
            .iter()
            .map(|_| ("content-type", content_type))
            .collect();
        let request = Request {
            method,
            url: self.url.expose(),
            headers,
            body,
        };
        match http_client::send(&client, request, SEND_MAX, ANSWER_BYTES_MAX).await {
            Sent::Answered(answer) if (200..300).contains(&answer.status) => Ok(answer),
            Sent::Answered(answer) => {
                let mut headers = answer.headers.iter();
                let wait = headers.find(|(name, _)| name == "retry-after");
                Err(Refused {
                    short: format!("HTTP {}", answer.status),
                    answer: words(&answer),
                    after: wait.and_then(|(_, text)| retry_after(text, http_client::now())),
                })
            }
            Sent::Refused(why) | Sent::Lost(why) => Err(Refused::here(why)),
        }
    }
}

/// What an answer says, for people.
pub(super) fn words(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    format!("HTTP {} {}", answer.status, text.trim())
        .trim_end()
        .to_owned()
}

fn is_encrypted(url: &Secret) -> bool {
    url.expose().starts_with("https://")
}

/// An address of `https://`, or of `http://` on this machine or where that is allowed. What is said of a wrong one
/// has nothing of it.
fn secret_url(
    section: &mut Section<'_>,
    key: &'static str,
    secrets: &dyn Secrets,
    allowed: bool,
) -> Option<Secret> {
    let url = section.secret(key, secrets)?;
    let node: &Node = section.get(key)?;
    let text = url.expose();
    let wrong = |found: &str, fix: &str| {
        section.wrong(key, node, found.to_owned(), Some(fix.to_owned()));
        None
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("is not an http or https address", "https://..");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) {
                host
            } else {
                authority
            }
        });
    let plain = !text
        .bytes()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control());
    if host.is_empty() || authority.contains('@') || !plain {
        return wrong("is not an address that can be used", "https://host/path");
    }
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match scheme {
        "https" => Some(url),
        "http" if here || allowed => Some(url),
        "http" => wrong(
            "would send letters, and the address itself, unencrypted",
            "use https, or set allow_plain_http = true",
        ),
        _ => wrong("is not an http or https address", "https://.."),
    }
}

impl Settings {
    pub(super) fn shape(&self) -> &'static str {
        self.shape
    }

    pub(super) async fn send(&self, letter: &Letter) -> Result<Answered, Refused> {
        let body = match self.shape {
            "slack" => letter.slack(),
            "teams" => letter.teams(),
            _ => letter.json(),
        };
        let body = body.to_string().into_bytes();
        let answer = self
            .place
            .send("POST", "application/json", Some(body))
            .await?;
        Ok(Answered {
            words: words(&answer),
            but: None,
        })
    }
}
