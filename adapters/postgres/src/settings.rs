//! A source's own settings.

use std::path::PathBuf;

use contract::{Node, Secret, Secrets, Section};

/// What slots and publications begin with that the settings do not name.
pub(crate) const OURS: &str = "lighterman_";
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
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: TlsMode,
    pub(crate) ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<Identity>,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// Marks are written to the log, to be met again in the stream.
    pub(crate) heartbeat: bool,
    /// Said when the server keeps more log for us than this.
    pub(crate) retained_warn_mib: u64,
}

/// Settings before the source's name is known.
#[derive(Debug, Clone)]
pub(crate) struct Unnamed {
    settings: Settings,
    slot: Option<String>,
    publication: Option<String>,
}

impl Unnamed {
    pub(crate) fn named(&self, source: &str) -> Settings {
        let slot = self.slot.clone().unwrap_or_else(|| default_slot(source));
        let publication = self.publication.clone().unwrap_or_else(|| slot.clone());
        Settings {
            slot,
            publication,
            ..self.settings.clone()
        }
    }
}

pub(crate) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Unnamed> {
    let host = section.required_host("host", "`host = \"127.0.0.1\"`");
    let port = section.number_or("port", 1, 65_535, 5432);
    let database = section.required_text("database", "`database = \"erp\"`");
    let user = section.required_text("user", "`user = \"lighterman\"`");
    let has_password = section.get("password").is_some();
    let password = section.secret("password", secrets);
    let tls = section.word("tls", &["disable", "require", "verify-ca", "verify-full"]);
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let identity = identity(section);
    let slot = name(
        section,
        "slot",
        is_slot_name,
        "a-z, 0-9 and _, at most 63 characters",
    );
    let publication = name(
        section,
        "publication",
        is_name,
        "at most 63 bytes, no comma",
    );
    let heartbeat = section.flag_or("heartbeat", false);
    let retained_warn_mib = section.number_or("retained_warn_mib", 1, 1 << 30, RETAINED_WARN_MIB);
    let (host, database, user) = (host?, database?, user?);
    if has_password && password.is_none() {
        return None;
    }
    if let Some(source) = section.text("name") {
        let usual = default_slot(source);
        section.here("slot", format_args!("\"{usual}\""));
        let slot = slot.clone().ok().flatten().unwrap_or(usual);
        section.here("publication", format_args!("\"{slot}\""));
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
    Some(Unnamed {
        settings: Settings {
            host: host.to_owned(),
            port: u16::try_from(port).ok()?,
            database: database.to_owned(),
            user: user.to_owned(),
            password,
            tls,
            ca_file,
            identity: identity.ok()?,
            slot: String::new(),
            publication: String::new(),
            heartbeat,
            retained_warn_mib,
        },
        slot: slot.ok()?,
        publication: publication.ok()?,
    })
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

/// An optional name that must fit; `Err` when it does not.
fn name(
    section: &mut Section<'_>,
    key: &'static str,
    fits: fn(&str) -> bool,
    allowed: &str,
) -> Result<Option<String>, ()> {
    let node: Option<&Node> = section.get(key);
    match (section.text(key), node) {
        (Some(text), _) if fits(text) => Ok(Some(text.to_owned())),
        (Some(text), Some(node)) => {
            let fix = format!("such as {key} = \"lighterman_erp\"");
            section.wrong(
                key,
                node,
                format!("`{text}` does not fit: {allowed}"),
                Some(fix),
            );
            Err(())
        }
        _ => Ok(None),
    }
}

/// What PostgreSQL allows as a slot name.
fn is_slot_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

/// A publication's name travels in a comma-separated list.
fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && !text.chars().any(|c| c == ',' || c.is_control())
}

/// [`OURS`] and the source's name, made of what a slot name may hold.
fn default_slot(source: &str) -> String {
    let plain = source.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_') => c,
        _ => '_',
    });
    OURS.chars().chain(plain).take(63).collect()
}

/// Whether the connection never leaves this machine. A path is a folder with a Unix socket.
pub(crate) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.starts_with('/')
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use contract::section::Problems;
    use contract::{Key, NodeKind, SecretPlace};

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
            ("database", text("erp")),
            ("user", text("lighterman")),
        ]
    }

    #[test]
    fn defaults_are_safe() {
        let (settings, problems) = read_all(&least());
        let settings = settings.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.port, 5432);
        assert_eq!(settings.tls, TlsMode::VerifyFull);
        assert_eq!(settings.slot, "lighterman_haupt_erp");
        assert_eq!(settings.publication, "lighterman_haupt_erp");
        let mut local = least();
        local[0].1 = text("127.0.0.1");
        assert_eq!(read_all(&local).0.unwrap().tls, TlsMode::Disable);
    }

    #[test]
    fn problems_are_said_and_refused() {
        for (key, kind, expected) in [
            ("slot", text("Bad-Name"), "does not fit"),
            ("slot", text(""), "does not fit"),
            ("publication", text("a,b"), "does not fit"),
            ("password", node_env("MISSING"), "not set"),
            ("cert_file", text("c.pem"), "needs `key_file` too"),
            ("key_file", text("c.key"), "needs `cert_file` too"),
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
        assert_eq!(problems.len(), 4, "{problems:?}");
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
