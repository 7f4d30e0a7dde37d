//! Letters by SMTP.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::{Secret, Secrets, Section};
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::channel::{Answered, Refused};
use super::letters::Letter;

const TLS: [&str; 3] = ["starttls", "tls", "none"];
/// More are a list that the mail server should keep.
const TO_MAX: usize = 20;
/// The whole of a letter to one address. The library's own limit is for connecting alone.
const SEND_MAX: Duration = Duration::from_secs(30);

/// The settings' `[alerts.smtp]`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    tls: &'static str,
    ca_file: Option<PathBuf>,
    login: Option<(String, Secret)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    under_way: Arc<Mutex<UnderWay>>,
}

/// A letter that not every address has yet: who has it is not sent it again.
#[derive(Debug, Default)]
struct UnderWay {
    about: String,
    took: BTreeSet<String>,
}

/// Reads them.
pub(super) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Settings> {
    let host = section.required_text("host", "`host = \"mail.example.com\"`");
    let host = host.map(str::to_owned);
    let tls = section.word("tls", &TLS).unwrap_or("starttls");
    let usual = match tls {
        "tls" => 465,
        "starttls" => 587,
        _ => 25,
    };
    let port = section.number("port", 1, 65_535);
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(usual);
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let user = section.text("user").map(str::to_owned);
    let password = section.secret("password", secrets);
    if user.is_some() != password.is_some()
        && let Some(node) = section.get("user").or_else(|| section.get("password"))
    {
        let found = "a user and a password belong together".to_owned();
        section.wrong(
            "user",
            node,
            found,
            Some("set user and password".to_owned()),
        );
    }
    let local = host.as_deref().is_some_and(is_here);
    if tls == "none"
        && password.is_some()
        && !local
        && let Some(node) = section.get("tls")
    {
        let found = "would send the password unencrypted".to_owned();
        let fix = "tls = \"starttls\", or \"tls\" where the server expects it at once".to_owned();
        section.wrong("tls", node, found, Some(fix));
    }
    let from = section.required_text("from", "`from = \"lighterman@example.com\"`");
    let from = from.and_then(|text| mailbox(section, "from", text));
    if section.get("to").is_none() {
        section.missing("to", "`to = [\"it@example.com\"]`");
    }
    let texts = section.texts("to").unwrap_or_default();
    if (texts.is_empty() || texts.len() > TO_MAX)
        && let Some(node) = section.get("to")
    {
        let found = format!("expected 1 to {TO_MAX} addresses, found {}", texts.len());
        section.wrong("to", node, found, None);
    }
    let to: Vec<_> = texts
        .iter()
        .filter_map(|text| mailbox(section, "to", text))
        .collect();
    Some(Settings {
        host: host?,
        port,
        tls,
        ca_file,
        login: user.zip(password),
        from: from?,
        to: (!to.is_empty()).then_some(to)?,
        under_way: Arc::default(),
    })
}

fn is_here(host: &str) -> bool {
    let ip = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

fn mailbox(section: &mut Section<'_>, key: &'static str, text: &str) -> Option<Mailbox> {
    let found = text.parse().ok();
    if found.is_none()
        && let Some(node) = section.get(key)
    {
        let fix = Some("it@example.com, or IT <it@example.com>".to_owned());
        section.wrong(key, node, format!("`{text}` is no address"), fix);
    }
    found
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

impl Settings {
    /// What can be known before anything is sent.
    ///
    /// # Errors
    /// What is wrong with a file.
    fn transport(&self) -> Result<Transport, String> {
        let encryption = || {
            let mut parameters = TlsParameters::builder(self.host.clone());
            if let Some(file) = &self.ca_file {
                parameters = parameters.add_root_certificate(authority(file)?);
            }
            parameters
                .build()
                .map_err(|error| format!("set up TLS: {error}"))
        };
        let tls = match self.tls {
            "tls" => Tls::Wrapper(encryption()?),
            "starttls" => Tls::Required(encryption()?),
            _ => Tls::None,
        };
        let mut builder = Transport::builder_dangerous(self.host.as_str())
            .port(self.port)
            .tls(tls)
            .timeout(Some(SEND_MAX));
        if let Some((user, password)) = &self.login {
            let login = Credentials::new(user.clone(), password.expose().to_owned());
            builder = builder.credentials(login);
        }
        Ok(builder.build())
    }

    fn message(&self, letter: &Letter, to: &Mailbox) -> Result<Message, String> {
        let number: u128 = rand::random();
        let id = format!("<{number:032x}@{}>", self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .to(to.clone())
            .subject(letter.subject())
            .message_id(Some(id))
            .raw_header(HeaderValue::new(
                // Nobody's absence is told to us.
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text())
            .map_err(|error| format!("write the letter: {error}"))
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has this letter already.
    fn took(&self, letter: &Letter) -> BTreeSet<String> {
        let mut under_way = self.under_way();
        let about = letter.about();
        if under_way.about != about {
            *under_way = UnderWay {
                about,
                took: BTreeSet::new(),
            };
        }
        under_way.took.clone()
    }

    /// Sends a letter to each address by itself: one that is refused keeps none of the others from it. Where one
    /// may take it later, the letter is to be sent again, to those that do not have it.
    pub(super) async fn send(&self, letter: &Letter) -> Result<Answered, Refused> {
        let (mut said, mut refused, mut later) = (Vec::new(), None, false);
        let transport = self.transport().map_err(Refused::here)?;
        let took = self.took(letter);
        for (number, to) in (1..).zip(&self.to) {
            if took.contains(&to.email.to_string()) {
                continue;
            }
            let message = self.message(letter, to).map_err(Refused::here)?;
            let sending = tokio::time::timeout(SEND_MAX, transport.send(message)).await;
            match sending {
                Ok(Ok(response)) => {
                    self.under_way().took.insert(to.email.to_string());
                    let words: Vec<&str> = response.message().collect();
                    said.push(format!(
                        "{}: {} {}",
                        to.email,
                        response.code(),
                        words.join(" ")
                    ));
                }
                Ok(Err(error)) => {
                    let code = error.status().map(|code| format!("SMTP {code}"));
                    let mut short = code.unwrap_or_else(|| short(&error));
                    if self.to.len() > 1 {
                        short = format!("{short} (address {number} of {})", self.to.len());
                    }
                    refused = Some(Refused {
                        short,
                        answer: format!("{}: {error}", to.email),
                        after: None,
                    });
                    later |= !error.is_permanent();
                    if error.status().is_none() {
                        // The server is not there, for nobody.
                        break;
                    }
                }
                Err(_) => {
                    let seconds = SEND_MAX.as_secs();
                    refused = Some(Refused::here(format!("no answer within {seconds} s")));
                    later = true;
                    break;
                }
            }
        }
        match refused {
            Some(refused) if later || said.is_empty() && took.is_empty() => Err(refused),
            refused => {
                *self.under_way() = UnderWay::default();
                Ok(Answered {
                    words: said.join("; "),
                    but: refused,
                })
            }
        }
    }
}

fn authority(file: &Path) -> Result<Certificate, String> {
    let pem =
        std::fs::read(file).map_err(|error| format!("read ca_file {}: {error}", file.display()))?;
    Certificate::from_pem(&pem)
        .map_err(|_| format!("ca_file {}: is no certificate in PEM", file.display()))
}

/// What went wrong before the server said anything: words of ours and of libraries, none of the server's.
fn short(error: &lettre::transport::smtp::Error) -> String {
    if error.is_response() {
        return "what answers is no mail server, or breaks off".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
