//! A source's own settings.

mod auth;
mod modes;
mod server;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use contract::{Secrets, Section, TableName};

pub(crate) use auth::Auth;
pub(crate) use modes::Mode;
pub(crate) use server::{Server, is_local};
pub(crate) use start::StartAt;

/// How often a quiet database is asked.
const POLL_SECONDS: u64 = 1;
/// Rows of one page at most: enough that a slow network does not count.
const PAGE_ROWS: u64 = 2_000;
/// How often a table is read again that nothing tells the changes of.
const COMPARE_MINUTES: u64 = 60;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Not at all.
    Disable,
    /// Encrypted; whoever answers is believed.
    Require,
    /// Encrypted; the certificate is verified, the host name in it is not.
    VerifyCa,
    /// Encrypted; certificate and host name are verified.
    VerifyFull,
}

/// Where the database is, who we are there and how it is read.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    /// Tried where the first does not answer or does not have the database.
    pub(crate) partner: Option<Server>,
    pub(crate) database: String,
    pub(crate) auth: Auth,
    /// As a person chose it; see [`Settings::tls`].
    pub(crate) tls: Option<TlsMode>,
    pub(crate) ca_file: Option<PathBuf>,
    /// We say that we only read, so that a listener may send us to a replica.
    pub(crate) read_only_intent: bool,
    pub(crate) poll_seconds: u64,
    /// The most rows of a table that are asked for at once.
    pub(crate) page_rows: u64,
    pub(crate) compare_minutes: u64,
    /// Modes that a person chose.
    pub(crate) modes: BTreeMap<TableName, Mode>,
    /// Where the first capture begins; `None` = at the end of the log.
    pub(crate) start: Option<StartAt>,
}

impl Settings {
    /// How a connection to this host is protected. One that stays on this machine needs no protection by
    /// itself, but a server there may send us on to another, or be down and its partner elsewhere.
    pub(crate) fn tls(&self, host: &str) -> TlsMode {
        match self.tls {
            Some(mode) => mode,
            None => usual(host),
        }
    }
}

/// How a connection is protected where nobody chose.
fn usual(host: &str) -> TlsMode {
    if is_local(host) {
        TlsMode::Disable
    } else {
        TlsMode::VerifyFull
    }
}

impl TlsMode {
    fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

pub(crate) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Settings> {
    let server = server::server(section);
    let partner = server::partner(section);
    let database = section.required_text("database", "`database = \"ERP\"`");
    let auth = auth::auth(section, secrets);
    let word = section.word("tls", &["disable", "require", "verify-ca", "verify-full"]);
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let read_only_intent = section.flag_or("read_only_intent", false);
    let poll_seconds = section.number_or("poll_seconds", 1, 3_600, POLL_SECONDS);
    let page_rows = section.number_or("page_rows", 1, 100_000, PAGE_ROWS);
    let compare_minutes = section.number_or("compare_minutes", 1, 43_200, COMPARE_MINUTES);
    let modes = modes::modes(section);
    let start = start::start(section);
    if let Some(server) = &server {
        section.here("tls", format_args!("\"{}\"", usual(&server.host).name()));
    }
    let (server, auth) = (server?, auth?);
    let tls = word.map(|word| match word {
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => TlsMode::Disable,
    });
    if tls == Some(TlsMode::Disable)
        && auth.is_token()
        && let Some(node) = section.get("token").or(section.get("token_file"))
    {
        let found = "a token is only sent over TLS".to_owned();
        section.wrong(
            "token",
            node,
            found,
            Some("tls = \"verify-full\"".to_owned()),
        );
        return None;
    }
    Some(Settings {
        server,
        partner: partner.ok()?,
        database: database?.to_owned(),
        auth,
        tls,
        ca_file,
        read_only_intent,
        poll_seconds,
        page_rows,
        compare_minutes,
        modes: modes.ok()?,
        start: start.ok()?,
    })
}

/// A server of the tests.
#[cfg(test)]
pub(crate) fn of_tests(port: u16) -> Settings {
    Settings {
        server: Server {
            host: "127.0.0.1".to_owned(),
            port,
            instance: None,
        },
        partner: None,
        database: "ERP".to_owned(),
        auth: Auth::Sql {
            user: "agent".to_owned(),
            password: contract::Secret::new("p@ss wörd"),
        },
        tls: None,
        ca_file: None,
        read_only_intent: false,
        poll_seconds: POLL_SECONDS,
        page_rows: PAGE_ROWS,
        compare_minutes: COMPARE_MINUTES,
        modes: BTreeMap::new(),
        start: None,
    }
}
