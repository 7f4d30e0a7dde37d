//! Destination: NATS JetStream.
//!
//! An event is applied when a stream has acknowledged it. What recognises its repetition is the
//! message's `Nats-Msg-Id`, by which the stream leaves out what it has got within its duplicate window.

mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use broker::{Address, ClientConfig, Content, Fates, Login, Protocol, Template, Times};
use contract::{BuildDestination, Finding, Outgoing, Secret, Secrets, Section, cloudevent};
use serde_json::{Value, json};

use wire::{Answer, Heard, Who, Wire};

/// The `type` in the settings.
pub const NAME: &str = "nats";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "bus"
type = "nats"
servers = ["nats.example.com:4222"]  # tried in turn
subject = "lighterman.{type}"        # {type}, {op} and {key} are the event's; a stream must take it
user = "lighterman"
password = { env = "NATS_PASSWORD" }
# token = { env = "NATS_TOKEN" }     # instead of user and password
# content = "structured"             # or "binary": attributes as headers
# tls = true                         # else only servers on this machine are spoken to in plain
# ca_file = "ca.pem"                 # beside the system's certificate authorities
# certificate_file = "agent.crt"     # for servers that want one
# key_file = "agent.key"
# allow_plain = false                # true: events may leave this machine unencrypted
# batch_events_max = 200
# timeout_seconds = 15
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    broker::SERVERS,
    contract::Question::new(
        "subject",
        "To which subject are events sent?",
        "{type}, {op} and {key} are the event's; a stream must take it",
    ),
    broker::USER,
    broker::PASSWORD,
];

/// Printable ASCII but what the CloudEvents binding wants encoded, letters and digits apart.
const PRINTABLE: &[u8] = b"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// JetStream's error for a message that is larger than its stream takes.
const TOO_LARGE: u64 = 10_054;

#[derive(Clone)]
struct Nats {
    address: Address,
    login: Option<Login>,
    token: Option<Secret>,
    subject: Template,
    content: Content,
    times: Times,
    tls: Option<Arc<ClientConfig>>,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let address = Address::read(section, 4222, 4222);
    let login = Login::read(section, secrets);
    let token = section.secret("token", secrets);
    if let (Some(_), Some(_), Some(node)) = (&login, &token, section.get("token")) {
        let found = "stands beside user and password".to_owned();
        section.wrong("token", node, found, Some("leave one out".to_owned()));
    }
    let subject = Template::read(
        section,
        "subject",
        "lighterman.{type}",
        &["type", "op", "key"],
        |subject| {
            let wild = subject.contains(['*', '>', ' ', '\t']);
            let empty = subject.split('.').any(str::is_empty);
            (wild || empty || subject.starts_with('$')).then_some(
                "is no subject to publish to: words between dots, without spaces, `*`, `>` or a leading `$`",
            )
        },
    );
    let times = Times::read(section);
    let nats = Nats {
        content: Content::read(section),
        times,
        address: address?.within(times),
        login,
        token,
        subject,
        tls: None,
    };
    Some(Arc::new(move |name| {
        let tls = broker::tls(&nats.address)?;
        let nats = Nats {
            tls,
            ..nats.clone()
        };
        Ok(broker::build(name, nats.times, nats))
    }))
}

impl Nats {
    fn headers(&self, event: &Outgoing) -> Vec<(String, String)> {
        let text = |text: &str| cloudevent::percent(text, PRINTABLE);
        let mut headers = vec![
            ("Nats-Msg-Id".to_owned(), text(event.repetition_key())),
            (
                "Content-Type".to_owned(),
                self.content.content_type().to_owned(),
            ),
        ];
        for (name, value) in self.content.headers(event, "ce-") {
            headers.push((name, text(&value)));
        }
        headers.push(broker::trace(event));
        headers
    }
}

/// What a stream's acknowledgement, or refusal, says.
fn decide(fates: &mut Fates, index: usize, subject: &str, answer: &Answer) {
    let json = match answer {
        Answer::Nobody => {
            let cause = format!("no stream takes subject {subject}, or JetStream is off");
            return fates.refused(index, cause);
        }
        // Whoever answered, it was no stream: nothing is known.
        Answer::Other => return,
        Answer::Json(json) => json,
    };
    let text = |value: &Value, name: &str| {
        let found = value.get(name).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    if let Some(error) = json.get("error") {
        let cause = format!("JetStream refused it: {}", text(error, "description"));
        return match error.get("err_code").and_then(Value::as_u64) {
            Some(TOO_LARGE) => fates.rejected(index, cause),
            Some(_) | None => fates.refused(index, cause),
        };
    }
    let (stream, sequence) = (
        text(json, "stream"),
        json.get("seq").and_then(Value::as_u64),
    );
    let Some(sequence) = sequence.filter(|_| !stream.is_empty()) else {
        return;
    };
    let again = json.get("duplicate").and_then(Value::as_bool) == Some(true);
    let known = if again { ", which it had already" } else { "" };
    fates.applied(
        index,
        format!("stream {stream}, sequence {sequence}{known}"),
    );
}

#[async_trait]
impl Protocol for Nats {
    type Link = Wire;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self) -> Result<Wire, String> {
        let who = Who {
            login: self.login.as_ref(),
            token: self.token.as_ref(),
        };
        let inbox = format!("_INBOX.lighterman.{}", broker::unique());
        Wire::open(&self.address, self.tls.as_ref(), &who, inbox).await
    }

    async fn usable(&self, link: &mut Wire) -> bool {
        link.usable().await
    }

    async fn publish(
        &self,
        link: &mut Wire,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String> {
        let mut out = Vec::new();
        let mut waiting = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            let subject = self.subject.name(event);
            let headers = self.headers(event);
            let payload = self.content.payload(event);
            let before = out.len();
            let number = link.request(&mut out, &subject, &headers, &payload);
            // Its lines are a little more than what the server counts.
            let bytes = out.len() - before;
            if bytes > link.payload_max {
                out.truncate(before);
                let most = link.payload_max;
                let cause = format!("{bytes} bytes are more than the server takes ({most})");
                fates.rejected(index, cause);
                continue;
            }
            waiting.push((number, index, subject));
        }
        for (_, index, _) in &waiting {
            fates.out(*index);
        }
        link.send(&out).await?;
        while !waiting.is_empty() {
            let heard = link.heard().await?;
            let place = waiting
                .iter()
                .position(|(number, _, subject)| match &heard {
                    Heard::Answer(answered, _) => number == answered,
                    // Said once for each, in their order.
                    Heard::Forbidden(known) => subject == known,
                });
            let Some(place) = place else {
                continue;
            };
            let (_, index, subject) = waiting.remove(place);
            match heard {
                Heard::Answer(_, answer) => decide(fates, index, &subject, &answer),
                Heard::Forbidden(_) => {
                    let cause = format!("we may not publish to subject {subject}");
                    fates.refused(index, cause);
                }
            }
        }
        Ok(())
    }

    async fn look(&self, link: &mut Wire, what: &str) -> Vec<Finding> {
        match self.find_streams(link, what).await {
            Ok(findings) => findings,
            Err(cause) => vec![Finding::fail(what, cause)],
        }
    }
}

impl Nats {
    async fn find_streams(&self, link: &mut Wire, what: &str) -> Result<Vec<Finding>, String> {
        if !link.headers {
            let found = "the server does not know headers";
            return Ok(vec![
                Finding::fail(what, found).fix("NATS 2.2 or newer is needed"),
            ]);
        }
        let (mut streams, mut without) = (BTreeSet::new(), Vec::new());
        for subject in self.subject.samples() {
            let asked = json!({ "subject": subject }).to_string();
            let answer = link.ask("$JS.API.STREAM.NAMES", asked.as_bytes()).await?;
            let Answer::Json(answer) = answer else {
                let found = "JetStream is off at the server, or not allowed to this user";
                let fix = "start nats-server with JetStream, or allow $JS.API.STREAM.NAMES";
                return Ok(vec![Finding::fail(what, found).fix(fix)]);
            };
            let name = answer.pointer("/streams/0").and_then(Value::as_str);
            match name {
                Some(name) => drop(streams.insert(name.to_owned())),
                None => without.push(subject),
            }
        }
        let mut findings = Vec::new();
        if let Some(subject) = without.first() {
            let add = format!("nats stream add LIGHTERMAN --subjects '{subject}'");
            let found = format!("no stream takes {}", without.join(", "));
            findings.push(if streams.is_empty() {
                Finding::fail(what, found).fix(add)
            } else {
                let fix = "add the subjects to a stream if this destination gets such events";
                Finding::warn(what, found).fix(fix)
            });
        }
        for stream in streams {
            let answer = link
                .ask(&format!("$JS.API.STREAM.INFO.{stream}"), b"")
                .await?;
            let Answer::Json(answer) = answer else {
                continue;
            };
            findings.push(self.judge(what, &stream, &answer));
        }
        Ok(findings)
    }

    /// Whether a stream keeps what it acknowledges, and knows repetitions for long enough.
    fn judge(&self, what: &str, stream: &str, info: &Value) -> Finding {
        let setting = |name: &str| info.pointer(&format!("/config/{name}"));
        if setting("no_ack").and_then(Value::as_bool) == Some(true) {
            let found = format!("stream {stream} acknowledges nothing (no_ack)");
            return Finding::fail(what, found).fix("take no_ack off the stream");
        }
        if setting("storage").and_then(Value::as_str) == Some("memory") {
            let found = format!("stream {stream} is in memory only: a restart loses it");
            return Finding::warn(what, found).fix("give it file storage");
        }
        // In nanoseconds.
        let window = setting("duplicate_window").and_then(Value::as_u64);
        let seconds = window.map(|window| window / 1_000_000_000);
        let wanted = 2 * self.times.timeout.as_secs();
        match seconds {
            Some(seconds) if seconds < wanted => {
                let found = format!(
                    "stream {stream} knows repetitions for {seconds} s only: what is sent again \
                     after a lost answer may stand in it twice"
                );
                Finding::warn(what, found)
                    .fix(format!("set its duplicate window to {wanted} s or more"))
            }
            Some(_) | None => Finding::pass(what, format!("stream {stream} takes the events")),
        }
    }
}
