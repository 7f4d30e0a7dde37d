//! Destination: HTTP POST of CloudEvents, signed by Standard Webhooks rules.
//!
//! It speaks to any receiver that recognises a repeated `webhook-id`. It does not follow
//! redirects, does not use a proxy, does not retry, and does not batch unless told to.

mod cloudevent;
mod outcome;
mod signature;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::destination::ANSWER_BODY_BYTES_MAX;
use contract::gate::Together;
use contract::trace_context::{self, Context};
use contract::{
    Answer, BuildDestination, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing,
    Report, Resend, Secret, Secrets, Section,
};
use http_client::{Request, root};
use outcome::Listed;
use reqwest::{Client, Url};

/// The `type` in the settings.
pub const NAME: &str = "webhook";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "shop"
type = "webhook"
url = "https://shop.example.com/hooks/stock"
secret = { env = "SHOP_WEBHOOK_SECRET" }   # whsec_ and base64 of 24 to 64 random bytes
# ca_file = "shop-ca.pem"        # beside the system's certificate authorities
# old_secret = { env = "SHOP_OLD_SECRET" } # signs too, while the receiver changes keys
# mode = "batch"                 # only when the receiver asked for batches
# batch_events_max = 100
# requests_max = 8               # requests at once
# timeout_seconds = 30
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    contract::Question::new(
        "url",
        "To which address are events sent?",
        "https; http only to this machine",
    ),
    contract::Question::new(
        "secret",
        "Which secret signs the requests?",
        "the receiver checks them with the same one: whsec_ and base64 of 24 to 64 bytes",
    )
    .made(),
];

/// Most of an answer that is read: a batch of a thousand events, each with some words of what is wrong with it.
const ANSWER_READ_MAX: usize = 2 << 20;
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Events of a batch at most, unless the settings say otherwise.
const EVENTS: u64 = 100;

#[derive(Clone)]
struct Settings {
    url: Url,
    keys: Vec<signature::Key>,
    batch: bool,
    traits: DestinationTraits,
    http: http_client::Settings,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let url = url(section);
    let mut keys = Vec::new();
    for name in ["secret", "old_secret"] {
        if let Some(secret) = section.secret(name, secrets) {
            keys.extend(key(section, name, &secret));
        }
    }
    if section.get("secret").is_none() {
        let finding = Finding::warn(section.path().to_owned(), "requests are not signed")
            .fix("add `secret = { env = \"NAME\" }` and verify it at the receiver");
        let (line, column) = section.place();
        section.problems().push(finding, line, column);
    }
    let encrypted = url.as_ref().is_none_or(|url| url.scheme() == "https");
    let http = http_client::Settings::read(section, secrets, encrypted);
    let batch = section.word_or("mode", &["structured", "batch"], "structured") == "batch";
    let events = section.number("batch_events_max", 1, 1_000);
    if events.is_some()
        && !batch
        && let Some(node) = section.get("batch_events_max")
    {
        let found = "only means something with mode = \"batch\"".to_owned();
        section.wrong(
            "batch_events_max",
            node,
            found,
            Some("add mode = \"batch\"".to_owned()),
        );
    }
    if batch {
        section.here("batch_events_max", EVENTS);
    }
    let bytes = section.number_or("batch_bytes_max", 1_024, 16 << 20, 256 << 10);
    let requests = section.number_or("requests_max", 1, 64, 8);
    let timeout = section.number_or("timeout_seconds", 1, 300, 30);
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let settings = Settings {
        url: url?,
        keys,
        batch,
        traits: DestinationTraits {
            batch_events_max: if batch {
                size(events.unwrap_or(EVENTS))
            } else {
                1
            },
            batch_bytes_max: size(bytes),
            requests_max: size(requests),
            resend: Resend::Safe,
            request_timeout: Duration::from_secs(timeout),
            ..DestinationTraits::modest()
        },
        http,
    };
    Some(Arc::new(move |name| {
        let encrypted = settings.url.scheme() == "https";
        let client = settings
            .http
            .client(encrypted, settings.traits.request_timeout)?;
        let (name, settings) = (name.to_owned(), settings.clone());
        Ok(Arc::new(Webhook {
            name,
            settings,
            client,
        }) as Arc<dyn Destination>)
    }))
}

fn key(section: &mut Section<'_>, name: &'static str, secret: &Secret) -> Option<signature::Key> {
    match signature::Key::parse(secret) {
        Ok(key) => Some(key),
        Err(found) => {
            if let Some(node) = section.get(name) {
                let fix = "a secret is whsec_ and base64 of 24 to 64 random bytes".to_owned();
                section.wrong(name, node, found.to_owned(), Some(fix));
            }
            None
        }
    }
}

fn url(section: &mut Section<'_>) -> Option<Url> {
    let allowed = section.flag_or("allow_plain_http", false);
    let text = section.required_text("url", "`url = \"https://..\"`")?;
    let node = section.get("url")?;
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            section.wrong(
                "url",
                node,
                "is not an http or https address".to_owned(),
                Some("such as https://shop.example.com:8443/stock; IPv6 in brackets: https://[2001:db8::1]/".to_owned()),
            );
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let found = "must not hold a user or password".to_owned();
        section.wrong("url", node, found, Some("use `secret`".to_owned()));
        return None;
    }
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "http" && !loopback && !allowed {
        let found = "would send events unencrypted".to_owned();
        let fix = Some("use https, or set allow_plain_http = true".to_owned());
        section.wrong("url", node, found, fix);
        return None;
    }
    Some(url)
}

/// An HTTP receiver of CloudEvents.
struct Webhook {
    name: String,
    settings: Settings,
    client: Client,
}

enum Sent {
    /// An answer came; its body's start, for per-event results.
    Answered(http_client::Answered, Answer),
    /// It surely was not applied.
    Refused(String),
    /// Nobody can tell.
    Lost(String),
}

impl Webhook {
    async fn post(
        &self,
        id: &str,
        key: &str,
        content_type: &'static str,
        body: Vec<u8>,
        trace: Option<&str>,
        limit: Duration,
    ) -> Sent {
        let timestamp = http_client::now().as_second();
        let sent_at = timestamp.to_string();
        // A structured-field string: printable ASCII, with quotes and backslashes escaped.
        let printable = key
            .bytes()
            .all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\');
        let key = format!("\"{}\"", if printable { key } else { id });
        let signature = (!self.settings.keys.is_empty())
            .then(|| signature::header(&self.settings.keys, id, timestamp, &body));
        let mut headers = vec![
            ("content-type", content_type),
            ("webhook-id", id),
            ("webhook-timestamp", &sent_at),
            ("idempotency-key", &key),
        ];
        headers.extend(trace.map(|text| (trace_context::NAME, text)));
        headers.extend(signature.as_deref().map(|text| ("webhook-signature", text)));
        let request = Request {
            method: "POST",
            url: self.settings.url.as_str(),
            headers,
            body: Some(body),
        };
        match http_client::send(&self.client, request, limit, ANSWER_READ_MAX).await {
            http_client::Sent::Answered(answered) => {
                let kept = answered
                    .body
                    .get(..ANSWER_BODY_BYTES_MAX.min(answered.body.len()))
                    .unwrap_or_default();
                let mut text = String::from_utf8_lossy(kept).into_owned();
                while text.len() > ANSWER_BODY_BYTES_MAX {
                    text.pop();
                }
                let answer = Answer {
                    status: Some(answered.status),
                    body: text,
                    latency_ms: answered.latency_ms,
                };
                Sent::Answered(answered, answer)
            }
            http_client::Sent::Refused(cause) => Sent::Refused(cause),
            http_client::Sent::Lost(cause) => Sent::Lost(cause),
        }
    }
}

#[async_trait]
impl Destination for Webhook {
    fn traits(&self) -> DestinationTraits {
        self.settings.traits
    }

    async fn check(&self) -> Vec<Finding> {
        let what = format!("destination {}", self.name);
        let probe = self
            .client
            .head(self.settings.url.clone())
            .timeout(CHECK_TIMEOUT);
        let answer = probe.send().await;
        let clock = answer.as_ref().ok().and_then(|response| {
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            http_client::clock(&what, header, http_client::now())
        });
        let mut findings = vec![match answer {
            Ok(response) if matches!(response.status().as_u16(), 401 | 403) => {
                Finding::warn(what, format!("answers HTTP {}", response.status().as_u16()))
                    .fix("check what the receiver wants before it takes requests")
            }
            Ok(response) => Finding::pass(
                what,
                format!("answers (HTTP {})", response.status().as_u16()),
            ),
            Err(error) => Finding::fail(what, format!("does not answer: {}", root(&error)))
                .fix("check url, name resolution, firewall and certificate"),
        }];
        findings.extend(clock);
        findings
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let mut report = Report::new(batch.len());
        let began = Instant::now();
        // Parts of the batch still to be sent. A batch that is refused as a whole surely was not
        // applied: halving it finds the one event that is at fault.
        let mut parts = Vec::from([std::ops::Range {
            start: 0,
            end: batch.len(),
        }]);
        while let Some(range) = parts.pop() {
            let Some(events) = batch.get(range.clone()) else {
                continue;
            };
            let limit = self
                .settings
                .traits
                .request_timeout
                .saturating_sub(began.elapsed());
            if limit.is_zero() {
                for index in range {
                    let cause = "no time was left for this part of the batch";
                    report.set(index, Outcome::not_sent(cause));
                }
                continue;
            }
            if !gate.pass(0, limit).await {
                let cause = "the destination's limits left no room for the request in time";
                for index in range {
                    report.set(index, Outcome::not_sent(cause));
                }
                continue;
            }
            let limit = self
                .settings
                .traits
                .request_timeout
                .saturating_sub(began.elapsed());
            let about: Vec<&Outgoing> = events.iter().collect();
            let context = Context::of_request(&about);
            let trace = context.as_ref().map(Context::traceparent);
            let trace = trace.as_deref();
            let left = http_client::now();
            let sent = match events {
                [event] if !self.settings.batch => {
                    let body = cloudevent::structured(event);
                    let key = event.repetition_key();
                    self.post(&event.id, key, cloudevent::STRUCTURED, body, trace, limit)
                        .await
                }
                events => {
                    let keys: Vec<&str> = events.iter().map(Outgoing::repetition_key).collect();
                    let id = format!("batch_{}", contract::event::digest(&keys));
                    let body = cloudevent::batch(events);
                    self.post(&id, &id, cloudevent::BATCH, body, trace, limit)
                        .await
                }
            };
            if let (Some(context), true) = (&context, about.len() > 1) {
                let status = match &sent {
                    Sent::Answered(answered, _) => Some(answered.status),
                    Sent::Refused(_) | Sent::Lost(_) => None,
                };
                gate.together(&Together {
                    events: &about,
                    context,
                    began: left,
                    ended: http_client::now(),
                    status,
                });
            }
            let (answered, answer) = match sent {
                Sent::Answered(answered, answer) => (answered, answer),
                Sent::Refused(cause) => {
                    for index in range {
                        report.set(index, Outcome::not_sent(cause.clone()));
                    }
                    continue;
                }
                Sent::Lost(cause) => {
                    for index in range {
                        report.set(index, Outcome::unknown(cause.clone()));
                    }
                    continue;
                }
            };
            let header = |name: &str| {
                let mut all = answered.headers.iter();
                all.find(|(known, _)| known == name)
                    .map(|(_, text)| text.as_str())
            };
            let allowance = http_client::allowance(answered.status, header, http_client::now());
            gate.heard(&allowance);
            let (status, wait, body) = (answered.status, allowance.wait, &answered.body);
            if events.len() > 1 && matches!(status, 400 | 413 | 422) {
                let middle = range.start + events.len() / 2;
                parts.push(middle..range.end);
                parts.push(range.start..middle);
                continue;
            }
            let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
            let success = (200..300).contains(&status);
            // Of one event the status says all there is to say.
            let listed = if self.settings.batch && success {
                outcome::listed(body, answered.broken, &ids, &answer)
            } else {
                Listed::All
            };
            match listed {
                Listed::Each(outcomes) => {
                    for (index, outcome) in range.zip(outcomes) {
                        if let Some(outcome) = outcome {
                            report.set(index, outcome);
                        }
                    }
                }
                Listed::All => {
                    for index in range {
                        report.set(index, outcome::of(status, answer.clone(), wait));
                    }
                }
                Listed::Untold(why) => {
                    for index in range {
                        let unknown = Outcome::Unknown {
                            cause: format!("HTTP {status}: {why}"),
                            answer: Some(answer.clone()),
                        };
                        report.set(index, unknown);
                    }
                }
            }
        }
        report
    }
}
