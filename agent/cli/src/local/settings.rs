//! `[local]` in the settings file.

use std::net::SocketAddr;
use std::time::Duration;

use contract::{Secrets, Section};

use super::api::{self, Token};
use super::page::{self, PageSettings};

/// Where it listens unless the settings say otherwise: only this machine reaches it.
const LISTEN: &str = "127.0.0.1:8350";

/// A change that is not delivered after this long is trouble, unless the settings say otherwise.
const OLDEST_DELIVERY: Duration = Duration::from_mins(15);

/// Guesses of a token that are answered in a minute, unless the settings say otherwise.
const UNKNOWN_TOKENS: u32 = 60;

/// The local server's settings. Without a `[local]` block there is no server: nothing listens that
/// nobody asked for, and two agents on one machine do not fight for a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalSettings {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// A reverse proxy stands in front of it, for TLS and logins.
    pub(crate) behind_proxy: bool,
    /// The age of an undelivered change from which `/health/ready` says no.
    pub(crate) oldest_delivery: Duration,
    /// Who may ask the local API.
    pub(crate) tokens: Vec<Token>,
    /// Who may see the status page.
    pub(crate) page: PageSettings,
    /// Tokens that nobody knows are answered so often in a minute.
    pub(crate) unknown_tokens: u32,
}

/// Reads them.
pub(crate) fn read(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<LocalSettings> {
    let behind_proxy = section.flag_or("behind_proxy", false);
    let usual = OLDEST_DELIVERY.as_secs();
    let oldest = section.number_or("oldest_delivery_seconds", 1, 7 * 86_400, usual);
    let tokens = api::read(&mut section, secrets);
    let unknown = section.number("unknown_tokens_per_minute", 1, 60_000);
    let unknown = unknown.and_then(|unknown| u32::try_from(unknown).ok());
    let unknown_tokens = section.or("unknown_tokens_per_minute", unknown, UNKNOWN_TOKENS);
    let text = section.text_or("listen", LISTEN);
    let node = section.get("listen");
    let listen = text.parse::<SocketAddr>().ok();
    if let Some(node) = node {
        match listen {
            None => section.wrong(
                "listen",
                node,
                format!("`{text}` is not an address and a port"),
                Some(format!("listen = \"{LISTEN}\"")),
            ),
            Some(listen) if !listen.ip().is_loopback() && !behind_proxy => section.wrong(
                "listen",
                node,
                format!("{} can be reached from other machines", listen.ip()),
                Some(format!(
                    "listen = \"{LISTEN}\"; or put a reverse proxy with TLS and a login in front, let only it \
                     reach this address, and say behind_proxy = true"
                )),
            ),
            Some(_) => {}
        }
    }
    let page = page::read_settings(&mut section, behind_proxy, secrets);
    section.finish();
    Some(LocalSettings {
        listen: listen?,
        behind_proxy,
        oldest_delivery: Duration::from_secs(oldest),
        tokens,
        page,
        unknown_tokens,
    })
}

#[cfg(test)]
mod tests {
    use contract::{Problems, Secret, SecretPlace};

    use super::*;

    struct Nowhere;

    impl Secrets for Nowhere {
        fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
            Err("it is away".to_owned())
        }
    }

    fn check(text: &str) -> (Option<LocalSettings>, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let settings = read(Section::new(&root, "local", &problems), &Nowhere);
        let found = problems.take().iter().map(ToString::to_string).collect();
        (settings, found)
    }

    #[test]
    fn only_this_machine_reaches_it_unless_a_proxy_is_said() {
        let (settings, found) = check("");
        assert_eq!(found, Vec::<String>::new());
        let settings = settings.unwrap();
        assert!(settings.listen.ip().is_loopback() && settings.listen.port() == 8350);
        assert_eq!(settings.oldest_delivery, Duration::from_mins(15));
        for text in [
            "listen = \"[::1]:8350\"",
            "listen = \"0.0.0.0:8350\"\nbehind_proxy = true",
        ] {
            assert_eq!(check(text).1, Vec::<String>::new(), "{text}");
        }
        for (text, wanted) in [
            ("listen = \"0.0.0.0:8350\"", "from other machines"),
            ("listen = \"[::]:8350\"", "from other machines"),
            ("listen = \"10.0.0.7:8350\"", "behind_proxy = true"),
            ("listen = \"localhost:8350\"", "not an address and a port"),
            ("listen = \"127.0.0.1\"", "not an address and a port"),
            ("port = 8350", "unknown key `port`"),
            ("oldest_delivery_seconds = 0", "from 1 to"),
        ] {
            let (_, found) = check(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{text}: {found:?}");
        }
    }
}
