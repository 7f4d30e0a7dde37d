//! Where a broker is, and who we are there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::{Node, Secret, Secrets, Section};

use crate::link::Times;

/// Where a broker is and whether the way there is encrypted.
#[derive(Debug, Clone)]
pub struct Address {
    /// Hosts and ports, tried in turn.
    pub servers: Vec<(String, u16)>,
    /// Which of them is spoken to, or was tried last; shared by all who speak to them.
    turn: Arc<AtomicUsize>,
    /// All of them together are tried for so long.
    within: Duration,
    /// With TLS.
    pub encrypted: bool,
    /// Without TLS, other machines may be spoken to as well.
    pub plain_allowed: bool,
    /// Certificate authorities beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key, for brokers that want one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Who we are there.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

impl Address {
    /// Reads `servers`, `tls`, `ca_file`, `certificate_file`, `key_file` and `allow_plain`. Ports
    /// that are not said are the protocol's own, for plain and for encrypted connections.
    pub fn read(section: &mut Section<'_>, plain_port: u16, tls_port: u16) -> Option<Self> {
        let allowed = section.flag_or("allow_plain", false);
        let tls = section.flag("tls");
        let ca_file = section.text("ca_file").map(PathBuf::from);
        let certificate_file = section.text("certificate_file").map(PathBuf::from);
        let key_file = section.text("key_file").map(PathBuf::from);
        if section.get("servers").is_none() {
            section.missing("servers", "`servers = [\"broker.example.com\"]`");
            return None;
        }
        let texts = section.texts("servers")?;
        let node = section.get("servers")?;
        let mut hosts = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(host) = host(text) else {
                let found = format!("`{text}` is not a host or host:port");
                let fix = "a name or address, and a port after a colon; no `//`, no user; IPv6 in brackets";
                section.wrong("servers", node, found, Some(fix.to_owned()));
                return None;
            };
            hosts.push(host);
        }
        if hosts.is_empty() {
            section.wrong(
                "servers",
                node,
                "names no server".to_owned(),
                Some("servers = [\"broker.example.com\"]".to_owned()),
            );
            return None;
        }
        let here = hosts.iter().all(|(host, _)| loopback(host));
        let encrypted = tls.unwrap_or(!here);
        section.here("tls", encrypted);
        if !encrypted && !here && !allowed {
            let found = "would send events unencrypted".to_owned();
            let fix = "leave `tls = false` out, or set allow_plain = true".to_owned();
            section.wrong("servers", node, found, Some(fix));
            return None;
        }
        let mut meaningless = |key: &'static str| {
            if let (false, Some(node)) = (encrypted, section.get(key)) {
                only_with_tls(section, key, node);
            }
        };
        for key in ["ca_file", "certificate_file", "key_file"] {
            meaningless(key);
        }
        let certificate = match (certificate_file, key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                section.missing("key_file", "`key_file = \"agent.key\"`");
                return None;
            }
            (None, Some(_)) => {
                section.missing("certificate_file", "`certificate_file = \"agent.crt\"`");
                return None;
            }
        };
        let port = if encrypted { tls_port } else { plain_port };
        let servers = hosts
            .into_iter()
            .map(|(host, own)| (host, own.unwrap_or(port)));
        Some(Self {
            servers: servers.collect(),
            turn: Arc::default(),
            within: Duration::from_secs(10),
            encrypted,
            plain_allowed: allowed,
            ca_file,
            certificate,
        })
    }
}

impl Address {
    /// The same, to be reached within a batch's time.
    #[must_use]
    pub fn within(self, times: Times) -> Self {
        Self {
            within: times.timeout,
            ..self
        }
    }

    /// Another place of the same broker.
    #[must_use]
    pub fn at(&self, host: String, port: u16) -> Self {
        Self {
            servers: vec![(host, port)],
            turn: Arc::default(),
            ..self.clone()
        }
    }

    /// The server whose turn it is went wrong, or was silent: the next connection begins with the one
    /// behind it.
    pub fn pass_by(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// The servers, beginning with the one whose turn it is, each with the longest wait for it: what is
    /// left of the time, in equal parts for those not tried yet.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (&(String, u16), Duration)> {
        let (began, count) = (Instant::now(), self.servers.len());
        let first = self.turn.load(Ordering::Relaxed);
        (0..count).filter_map(move |step| {
            let turn = first.wrapping_add(step);
            // Before it is tried: whoever cuts this off passes by the right one.
            self.turn.store(turn, Ordering::Relaxed);
            let server = self.servers.get(turn % count)?;
            let left = self.within.saturating_sub(began.elapsed());
            let parts = u32::try_from(count - step).unwrap_or(u32::MAX);
            Some((server, left / parts))
        })
    }

    /// Whether a host may be spoken to that the settings do not name: a broker may send us to
    /// another machine, and what was fine for this one is not for the way there.
    pub fn may_be_at(&self, host: &str) -> bool {
        self.encrypted || self.plain_allowed || loopback(host)
    }
}

fn only_with_tls(section: &Section<'_>, key: &str, node: &Node) {
    let found = "only means something with an encrypted connection".to_owned();
    section.wrong(key, node, found, Some("add tls = true".to_owned()));
}

impl Login {
    /// Reads `user` and `password`: both or neither.
    pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Self> {
        let user = section.text("user").map(str::to_owned);
        let password = section.secret("password", secrets);
        match (user, password) {
            (Some(user), Some(password)) => Some(Self { user, password }),
            (Some(_), None) if section.get("password").is_none() => {
                section.missing("password", "`password = { env = \"BROKER_PASSWORD\" }`");
                None
            }
            (None, Some(_)) => {
                section.missing("user", "`user = \"lighterman\"`");
                None
            }
            (Some(_) | None, None) => None,
        }
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn host(text: &str) -> Option<(String, Option<u16>)> {
    let plain = |host: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        (!host.is_empty() && host.bytes().all(fine)).then(|| host.to_owned())
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((plain(host)?, port));
    }
    match text.split_once(':') {
        Some((host, port)) => Some((plain(host)?, Some(port.parse().ok()?))),
        None => Some((plain(text)?, None)),
    }
}

fn loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_port() {
        for (text, expected) in [
            ("a.example", Some(("a.example", None))),
            ("a.example:1", Some(("a.example", Some(1)))),
            ("[::1]:2", Some(("::1", Some(2)))),
            ("[::1]", Some(("::1", None))),
            ("nats://a", None),
            ("user@a", None),
            ("a:b", None),
            ("", None),
        ] {
            let found = host(text);
            let found = found.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(found, expected, "{text}");
        }
    }
}
