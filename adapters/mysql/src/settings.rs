//! A source's own settings.

use std::path::PathBuf;

use contract::{Secret, Secrets, Section};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::gtid::GtidSet;

/// As much log as a busy shop writes in some hours.
const RETAINED_WARN_MIB: u64 = 1_024;

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

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// Where the database is and who we are there.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    /// Where a mapping's own SQL looks that names no schema.
    pub(crate) database: Option<String>,
    pub(crate) tls: TlsMode,
    pub(crate) ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<Identity>,
    /// Who we are among those that read the server's log.
    pub(crate) server_id: u32,
    /// Said when the server holds more log that we have yet to read than this.
    pub(crate) retained_warn_mib: u64,
    /// Where the first capture begins; `None` = at the end of the log.
    pub(crate) start: Option<StartAt>,
}

/// A place in the log that a person names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// Behind these transactions.
    Behind(GtidSet),
    /// With the first transaction that was committed then or later.
    Time(Timestamp),
}

/// Settings before the source's name is known.
#[derive(Debug, Clone)]
pub(crate) struct Unnamed {
    settings: Settings,
    server_id: Option<u32>,
}

impl Unnamed {
    pub(crate) fn named(&self, source: &str) -> Settings {
        Settings {
            server_id: self
                .server_id
                .unwrap_or_else(|| derived_id(source, &this_machine())),
            ..self.settings.clone()
        }
    }
}

pub(crate) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Unnamed> {
    let host = section.required_host("host", "`host = \"127.0.0.1\"`");
    let port = section.number_or("port", 1, 65_535, 3306);
    let database = section.text("database").map(str::to_owned);
    let user = section.required_text("user", "`user = \"lighterman\"`");
    let has_password = section.get("password").is_some();
    let password = section.secret("password", secrets);
    let tls = section.word("tls", &["disable", "require", "verify-ca", "verify-full"]);
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let identity = identity(section);
    let has_server_id = section.get("server_id").is_some();
    let server_id = section.number("server_id", 1, u64::from(u32::MAX));
    let retained_warn_mib = section.number_or("retained_warn_mib", 1, 1 << 30, RETAINED_WARN_MIB);
    let start = start(section);
    let (host, user) = (host?, user?);
    if (has_password && password.is_none()) || (has_server_id && server_id.is_none()) {
        return None;
    }
    let tls = match tls {
        Some("require") => TlsMode::Require,
        Some("verify-ca") => TlsMode::VerifyCa,
        Some("verify-full") => TlsMode::VerifyFull,
        Some(_) => TlsMode::Disable,
        None if is_local(host) => TlsMode::Disable,
        None => TlsMode::VerifyFull,
    };
    let usual = if is_local(host) {
        "disable"
    } else {
        "verify-full"
    };
    section.here("tls", format_args!("\"{usual}\""));
    if let Some(source) = section.text("name") {
        section.here("server_id", derived_id(source, &this_machine()));
    }
    let server_id = match server_id {
        Some(id) => Some(u32::try_from(id).ok()?),
        None => None,
    };
    Some(Unnamed {
        settings: Settings {
            host: host.to_owned(),
            port: u16::try_from(port).ok()?,
            user: user.to_owned(),
            password,
            database,
            tls,
            ca_file,
            identity: identity.ok()?,
            server_id: 0,
            retained_warn_mib,
            start: start.ok()?,
        },
        server_id,
    })
}

/// Where to begin; `Err` when what is given is no place.
fn start(section: &mut Section<'_>) -> Result<Option<StartAt>, ()> {
    let (text, node) = (section.text("start"), section.get("start"));
    let (Some(text), Some(node)) = (text, node) else {
        return Ok(None);
    };
    let set = GtidSet::parse(text).map(StartAt::Behind);
    let time = || text.parse().ok().map(StartAt::Time);
    let start = set.or_else(time);
    if start.is_none() {
        let found = format!("`{text}` is no set of transactions and no time");
        let hint = "a time as \"2026-01-31T08:00:00Z\"; or what is told by SELECT \
                    @@GLOBAL.gtid_binlog_pos at MariaDB, @@GLOBAL.gtid_executed at MySQL";
        section.wrong("start", node, found, Some(hint.to_owned()));
    }
    start.map(Some).ok_or(())
}

/// A client certificate: both files or none.
fn identity(section: &mut Section<'_>) -> Result<Option<Identity>, ()> {
    let cert_file = section.text("cert_file").map(PathBuf::from);
    let key_file = section.text("key_file").map(PathBuf::from);
    let (there, missing) = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => {
            return Ok(Some(Identity {
                cert_file,
                key_file,
            }));
        }
        (None, None) => return Ok(None),
        (Some(_), None) => ("cert_file", "key_file"),
        (None, Some(_)) => ("key_file", "cert_file"),
    };
    if let Some(node) = section.get(there) {
        let found = format!("a client certificate needs `{missing}` too");
        section.wrong(
            there,
            node,
            found,
            Some(format!("set {missing}, too, or neither")),
        );
    }
    Err(())
}

/// A server id of our own: the same at every start, so that the server gives up an older connection
/// of ours that it still holds, and another for each source and machine. People number their servers
/// from 1 and by addresses' last parts: ours are in the upper half.
fn derived_id(source: &str, machine: &str) -> u32 {
    let digest = Sha256::digest(format!("lighterman\0{source}\0{machine}").as_bytes());
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    // The highest one of all is left out: some tools take it for "none".
    (number | 0x8000_0000).min(u32::MAX - 1)
}

/// What tells this machine from others, as far as it says.
fn this_machine() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let windows = std::env::var("COMPUTERNAME").unwrap_or_default();
    format!(
        "{}\0{}\0{windows}",
        file("/etc/machine-id").trim(),
        file("/proc/sys/kernel/hostname").trim()
    )
}

/// Whether the connection never leaves this machine. A path is a Unix socket.
pub(crate) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.starts_with('/')
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The administrator of a server of the tests.
#[cfg(test)]
pub(crate) fn of_tests(port: u16) -> Settings {
    Settings {
        host: "127.0.0.1".to_owned(),
        port,
        user: "root".to_owned(),
        password: None,
        database: None,
        tls: TlsMode::Disable,
        ca_file: None,
        identity: None,
        server_id: 4_711,
        retained_warn_mib: 1,
        start: None,
    }
}

#[cfg(test)]
mod tests {
    use contract::section::Problems;
    use contract::{Key, Node, NodeKind, SecretPlace};

    use super::*;

    struct Fixed;

    impl Secrets for Fixed {
        fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
            match place {
                SecretPlace::Environment(name) if name == "ERP_PASSWORD" => Ok(Secret::new("pw")),
                _ => Err("not set".to_owned()),
            }
        }
    }

    fn node(kind: NodeKind) -> Node {
        Node {
            line: 1,
            column: 1,
            kind,
        }
    }

    fn read_all(entries: &[(&str, NodeKind)]) -> (Option<Settings>, Vec<String>) {
        let entries = entries
            .iter()
            .map(|(name, kind)| {
                let key = Key {
                    name: (*name).to_owned(),
                    line: 1,
                    column: 1,
                };
                (key, node(kind.clone()))
            })
            .collect();
        let table = node(NodeKind::Map(entries));
        let problems = Problems::new("t");
        let mut section = Section::new(&table, "source", &problems);
        let settings = read(&mut section, &Fixed).map(|unnamed| unnamed.named("Haupt-ERP"));
        section.finish();
        let found = problems.take().iter().map(|f| f.found.clone()).collect();
        (settings, found)
    }

    fn text(text: &str) -> NodeKind {
        NodeKind::Text(text.to_owned())
    }

    fn least() -> Vec<(&'static str, NodeKind)> {
        vec![
            ("host", text("db.example.com")),
            ("user", text("lighterman")),
        ]
    }

    #[test]
    fn defaults_are_safe() {
        let (settings, problems) = read_all(&least());
        let settings = settings.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.port, 3306);
        assert_eq!(settings.tls, TlsMode::VerifyFull);
        assert_eq!(settings.database, None);
        assert!(settings.server_id >= 0x8000_0000);
        let mut local = least();
        local[0].1 = text("127.0.0.1");
        assert_eq!(read_all(&local).0.unwrap().tls, TlsMode::Disable);
    }

    #[test]
    fn a_derived_server_id_tells_sources_and_machines_apart_and_stays() {
        let id = derived_id("erp", "a");
        assert_eq!(id, derived_id("erp", "a"));
        assert_ne!(id, derived_id("shop", "a"));
        assert_ne!(id, derived_id("erp", "b"));
        let mut entries = least();
        entries.push(("server_id", NodeKind::Number("4711".to_owned())));
        assert_eq!(read_all(&entries).0.unwrap().server_id, 4711);
    }

    #[test]
    fn problems_are_said_and_refused() {
        for (key, kind, expected) in [
            ("password", node_env("MISSING"), "not set"),
            ("cert_file", text("c.pem"), "needs `key_file` too"),
            ("key_file", text("c.key"), "needs `cert_file` too"),
            ("server_id", NodeKind::Number("0".to_owned()), "0"),
            (
                "server_id",
                NodeKind::Number("4294967296".to_owned()),
                "4294967296",
            ),
        ] {
            let mut entries = least();
            entries.push((key, kind));
            let (settings, problems) = read_all(&entries);
            assert!(settings.is_none(), "{key}");
            assert!(
                problems.iter().any(|p| p.contains(expected)),
                "{problems:?}"
            );
        }
        let (settings, problems) = read_all(&[("port", NodeKind::Number("70000".to_owned()))]);
        assert!(settings.is_none());
        assert_eq!(problems.len(), 3, "{problems:?}");
        let mut entries = least();
        entries.push(("hots", text("x")));
        assert!(read_all(&entries).1[0].contains("unknown key"));
    }

    fn node_env(name: &str) -> NodeKind {
        let key = Key {
            name: "env".to_owned(),
            line: 1,
            column: 1,
        };
        NodeKind::Map(vec![(key, node(text(name)))])
    }

    #[test]
    fn the_password_is_read_and_never_shown() {
        let mut entries = least();
        entries.push(("password", node_env("ERP_PASSWORD")));
        let settings = read_all(&entries).0.unwrap();
        assert_eq!(settings.password.as_ref().unwrap().expose(), "pw");
        assert!(!format!("{settings:?}").contains("pw\""));
    }
}
