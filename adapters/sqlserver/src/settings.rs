//! A source's own settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use contract::finding::nearest;
use contract::{Node, NodeKind, Secret, Secrets, Section, TableName};
use jiff::Timestamp;

/// The port of a server that nobody moved.
const PORT: u16 = 1433;
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

/// Who we are at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// A login of the server's own.
    Sql { user: String, password: Secret },
    /// A token of Azure's directory.
    Token(Secret),
    /// The same, in a file that somebody keeps new.
    TokenFile(PathBuf),
    /// A Windows account: the one the agent runs as, or another by its password.
    Windows(Option<(String, Secret)>),
}

impl Auth {
    /// The user's name, where the settings have one.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Sql { user, .. } | Self::Windows(Some((user, _))) => Some(user),
            Self::Token(_) | Self::TokenFile(_) | Self::Windows(None) => None,
        }
    }

    pub(crate) fn is_token(&self) -> bool {
        matches!(self, Self::Token(_) | Self::TokenFile(_))
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Its SQL Browser is asked for the port of this instance.
    pub(crate) instance: Option<String>,
}

/// How a table's changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    /// Change data capture, read from its tables.
    Cdc,
    /// Change data capture, read through its functions.
    CdcFunction,
    /// Change tracking.
    Tracking,
    /// A column of type `rowversion`.
    Rowversion,
    /// The table is read again and compared.
    Compare,
}

impl Mode {
    pub(crate) const ALL: [Self; 5] = [
        Self::Cdc,
        Self::CdcFunction,
        Self::Tracking,
        Self::Rowversion,
        Self::Compare,
    ];

    /// Its name in the settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cdc => "cdc",
            Self::CdcFunction => "cdc-function",
            Self::Tracking => "tracking",
            Self::Rowversion => "rowversion",
            Self::Compare => "compare",
        }
    }
}

/// A place in the log that a person names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// Behind this log sequence number.
    Behind([u8; 10]),
    /// With the first transaction that was committed then or later.
    Time(Timestamp),
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
            None if is_local(host) => TlsMode::Disable,
            None => TlsMode::VerifyFull,
        }
    }
}

pub(crate) fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Settings> {
    let server = server(section);
    let partner = partner(section);
    let database = section.required_text("database", "`database = \"ERP\"`");
    let auth = auth(section, secrets);
    let word = section.word("tls", &["disable", "require", "verify-ca", "verify-full"]);
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let read_only_intent = section.flag("read_only_intent").unwrap_or(false);
    let poll_seconds = section.number("poll_seconds", 1, 3_600);
    let page_rows = section.number("page_rows", 1, 100_000);
    let compare_minutes = section.number("compare_minutes", 1, 43_200);
    let modes = modes(section);
    let start = start(section);
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
        poll_seconds: poll_seconds.unwrap_or(POLL_SECONDS),
        page_rows: page_rows.unwrap_or(PAGE_ROWS),
        compare_minutes: compare_minutes.unwrap_or(COMPARE_MINUTES),
        modes: modes.ok()?,
        start: start.ok()?,
    })
}

fn server(section: &mut Section<'_>) -> Option<Server> {
    let host = section.required_text("host", "`host = \"127.0.0.1\"`");
    let node = section.get("host");
    let has_port = section.get("port");
    let port = section.number("port", 1, 65_535);
    let instance = section.text("instance");
    let (host, node) = (host?, node?);
    // What SQL Server's own tools call this machine.
    let host = if [".", "(local)"].contains(&host) {
        "localhost"
    } else {
        host
    };
    if let Some((host, instance)) = host.split_once('\\') {
        let found = "the name of an instance is a setting of its own".to_owned();
        let fix = format!("host = \"{host}\" and instance = \"{instance}\"");
        section.wrong("host", node, found, Some(fix));
        return None;
    }
    if let (Some(node), Some(_)) = (has_port, instance) {
        let found = "an instance's port is the one that its SQL Browser names".to_owned();
        let fix = "set port or instance, not both".to_owned();
        section.wrong("port", node, found, Some(fix));
        return None;
    }
    if has_port.is_some() && port.is_none() {
        return None;
    }
    Some(Server {
        host: host.to_owned(),
        port: u16::try_from(port.unwrap_or(u64::from(PORT))).ok()?,
        instance: instance.map(str::to_owned),
    })
}

/// Another server that may have the database: `host`, `host:port` or `host\instance`.
fn partner(section: &mut Section<'_>) -> Result<Option<Server>, ()> {
    let (text, node) = (section.text("failover_host"), section.get("failover_host"));
    let (Some(text), Some(node)) = (text, node) else {
        return Ok(None);
    };
    let of = |host: &str, port: Option<u16>, instance: Option<&str>| {
        (!host.is_empty()).then(|| Server {
            host: host.to_owned(),
            port: port.unwrap_or(PORT),
            instance: instance.map(str::to_owned),
        })
    };
    let found = if let Some((host, instance)) = text.split_once('\\') {
        of(host, None, Some(instance))
    } else if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        match rest.strip_prefix(':') {
            Some(port) => port
                .parse()
                .ok()
                .and_then(|port| of(host, Some(port), None)),
            None if rest.is_empty() => of(host, None, None),
            None => None,
        }
    } else {
        match text.split_once(':') {
            // More than one colon: an address of version 6.
            Some((_, rest)) if rest.contains(':') => of(text, None, None),
            Some((host, port)) => port
                .parse()
                .ok()
                .and_then(|port| of(host, Some(port), None)),
            None => of(text, None, None),
        }
    };
    if found.is_none() {
        let found = format!("`{text}` names no server");
        let fix = "\"host\", \"host:port\" or \"host\\\\instance\"".to_owned();
        section.wrong("failover_host", node, found, Some(fix));
    }
    found.map(Some).ok_or(())
}

/// Who we are. Exactly one of the three ways.
fn auth(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Auth> {
    let user = section.text("user");
    let has_password = section.get("password");
    let password = section.secret("password", secrets);
    let has_token = section.get("token");
    let token = section.secret("token", secrets);
    let token_file = section.text("token_file");
    let has_file = section.get("token_file");
    let is_integrated = section.get("integrated");
    let integrated = section.flag("integrated").unwrap_or(false);
    if (has_password.is_some() && password.is_none()) || (has_token.is_some() && token.is_none()) {
        return None;
    }
    let both = has_token.is_some() && has_file.is_some();
    if let Some(node) = has_token.or(has_file)
        && (integrated || user.is_some() || password.is_some() || both)
    {
        let found = "a token already says who we are".to_owned();
        let fix =
            "leave out user, password and integrated, and take token or token_file".to_owned();
        section.wrong("token", node, found, Some(fix));
        return None;
    }
    if has_file.is_some() {
        return token_file.map(|file| Auth::TokenFile(PathBuf::from(file)));
    }
    if let Some(token) = token {
        return Some(Auth::Token(token));
    }
    if integrated {
        return windows(section, is_integrated?, user, password);
    }
    let Some(user) = user else {
        section.missing(
            "user",
            "`user = \"lighterman\"`, or `token` or `integrated` in its place",
        );
        return None;
    };
    let Some(password) = password else {
        section.missing("password", "`password = { env = \"ERP_PASSWORD\" }`");
        return None;
    };
    let user = user.to_owned();
    Some(Auth::Sql { user, password })
}

/// A Windows account, where the system has them: the client's way to log in with one needs Windows on our
/// side too.
fn windows(
    section: &mut Section<'_>,
    node: &Node,
    user: Option<&str>,
    password: Option<Secret>,
) -> Option<Auth> {
    if !cfg!(windows) {
        let found = "a Windows account can log in only where the agent itself runs on Windows";
        let fix = "set user and password of a SQL login (the server must allow both ways to log in), \
                   or token for Azure";
        section.wrong("integrated", node, found.to_owned(), Some(fix.to_owned()));
        return None;
    }
    match (user, password) {
        (None, None) => Some(Auth::Windows(None)),
        (Some(user), Some(password)) => Some(Auth::Windows(Some((user.to_owned(), password)))),
        (user, _) => {
            let missing = if user.is_some() { "password" } else { "user" };
            let found = format!(
                "needs user and password, or neither for the account that the agent runs as: \
                 `{missing}` is missing"
            );
            section.wrong("integrated", node, found, None);
            None
        }
    }
}

/// Modes by table; `Err` when one is none.
fn modes(section: &mut Section<'_>) -> Result<BTreeMap<TableName, Mode>, ()> {
    let mut modes = BTreeMap::new();
    let Some(mut section) = section.section("modes") else {
        return Ok(modes);
    };
    let mut right = true;
    for (key, node) in section.free_entries() {
        let table = key
            .name
            .split_once('.')
            .filter(|(schema, table)| !schema.is_empty() && !table.is_empty());
        let Some((schema, table)) = table else {
            let found = format!("`{}` names no table with its schema", key.name);
            let fix = Some(format!("\"dbo.{}\"", key.name));
            section.wrong(&key.name, node, found, fix);
            right = false;
            continue;
        };
        let names = Mode::ALL.map(Mode::name);
        let text = if let NodeKind::Text(text) = &node.kind {
            text.as_str()
        } else {
            node.type_name()
        };
        if let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.name() == text) {
            modes.insert(TableName::new(schema, table), mode);
            continue;
        }
        let found = format!("`{text}` is not one of {}", names.join(", "));
        let fix = nearest(text, names).map(|name| format!("did you mean `{name}`?"));
        section.wrong(&key.name, node, found, fix);
        right = false;
    }
    if right { Ok(modes) } else { Err(()) }
}

/// Where to begin; `Err` when what is given is no place.
fn start(section: &mut Section<'_>) -> Result<Option<StartAt>, ()> {
    let (text, node) = (section.text("start"), section.get("start"));
    let (Some(text), Some(node)) = (text, node) else {
        return Ok(None);
    };
    let lsn = text.strip_prefix("0x").and_then(contract::value::unhex);
    let behind = lsn.and_then(|lsn| lsn.try_into().ok()).map(StartAt::Behind);
    let start = behind.or_else(|| text.parse().ok().map(StartAt::Time));
    if start.is_none() {
        let found = format!("`{text}` is no log sequence number and no time");
        let hint = "a time as \"2026-01-31T08:00:00Z\"; or what is told by SELECT \
                    sys.fn_cdc_get_max_lsn(), as \"0x\" and 20 digits";
        section.wrong("start", node, found, Some(hint.to_owned()));
    }
    start.map(Some).ok_or(())
}

/// Whether the connection never leaves this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
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
            password: Secret::new("p@ss wörd"),
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

#[cfg(test)]
mod tests {
    use contract::section::Problems;
    use contract::{Key, SecretPlace};

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

    fn map(entries: &[(&str, NodeKind)]) -> NodeKind {
        let entries = entries.iter().map(|(name, kind)| {
            let key = Key {
                name: (*name).to_owned(),
                line: 1,
                column: 1,
            };
            (key, node(kind.clone()))
        });
        NodeKind::Map(entries.collect())
    }

    fn read_all(entries: &[(&str, NodeKind)]) -> (Option<Settings>, Vec<String>) {
        let table = node(map(entries));
        let problems = Problems::new("t");
        let mut section = Section::new(&table, "source", &problems);
        let settings = read(&mut section, &Fixed);
        section.finish();
        let found = problems.take();
        let text = |finding: &contract::Finding| {
            format!(
                "{} {}",
                finding.found,
                finding.fix.as_deref().unwrap_or_default()
            )
        };
        (settings, found.iter().map(text).collect())
    }

    fn text(text: &str) -> NodeKind {
        NodeKind::Text(text.to_owned())
    }

    fn number(number: &str) -> NodeKind {
        NodeKind::Number(number.to_owned())
    }

    fn secret(name: &str) -> NodeKind {
        map(&[("env", text(name))])
    }

    fn least() -> Vec<(&'static str, NodeKind)> {
        vec![
            ("host", text("db.example.com")),
            ("database", text("ERP")),
            ("user", text("lighterman")),
            ("password", secret("ERP_PASSWORD")),
        ]
    }

    #[test]
    fn defaults_are_safe() {
        let (settings, problems) = read_all(&least());
        let settings = settings.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.server.port, 1433);
        assert_eq!(settings.tls("db.example.com"), TlsMode::VerifyFull);
        assert_eq!((settings.poll_seconds, settings.compare_minutes), (1, 60));
        assert!(!settings.read_only_intent);
        assert!(!format!("{settings:?}").contains("pw\""));
    }

    #[test]
    fn only_what_stays_on_this_machine_is_unprotected() {
        for (host, mode) in [
            ("127.0.0.1", TlsMode::Disable),
            ("localhost", TlsMode::Disable),
            (".", TlsMode::Disable),
            ("(local)", TlsMode::Disable),
            ("10.0.0.1", TlsMode::VerifyFull),
        ] {
            let mut entries = least();
            entries[0].1 = text(host);
            let settings = read_all(&entries).0.unwrap();
            assert_eq!(settings.tls(&settings.server.host), mode, "{host}");
            // Where the partner is, or where we are sent on to.
            assert_eq!(settings.tls("db2.example.com"), TlsMode::VerifyFull);
        }
    }

    #[test]
    fn a_partner_is_a_host_with_a_port_or_an_instance() {
        for (given, host, port, instance) in [
            ("erp2", "erp2", 1433, None),
            ("erp2:1444", "erp2", 1444, None),
            ("erp2\\ERP", "erp2", 1433, Some("ERP")),
            ("[fe80::1]:1444", "fe80::1", 1444, None),
            ("[fe80::1]", "fe80::1", 1433, None),
            ("fe80::1", "fe80::1", 1433, None),
        ] {
            let mut entries = least();
            entries.push(("failover_host", text(given)));
            let partner = read_all(&entries).0.unwrap().partner.unwrap();
            let expected = Server {
                host: host.to_owned(),
                port,
                instance: instance.map(str::to_owned),
            };
            assert_eq!(partner, expected, "{given}");
        }
    }

    #[test]
    fn modes_and_start_are_read() {
        let mut entries = least();
        let modes = [
            ("dbo.orders", text("tracking")),
            ("dbo.a.b", text("cdc-function")),
        ];
        entries.push(("modes", map(&modes)));
        entries.push(("start", text("0x0000002A000001F80003")));
        let settings = read_all(&entries).0.unwrap();
        let mode = |name: &str| settings.modes.get(&TableName::new("dbo", name)).copied();
        assert_eq!(mode("orders"), Some(Mode::Tracking));
        assert_eq!(mode("a.b"), Some(Mode::CdcFunction));
        let lsn = [0, 0, 0, 0x2a, 0, 0, 1, 0xf8, 0, 3];
        assert_eq!(settings.start, Some(StartAt::Behind(lsn)));
    }

    #[test]
    fn problems_are_said_and_refused() {
        for (key, kind, expected) in [
            ("password", secret("MISSING"), "not set"),
            ("host", text("db\\ERP"), "instance = \"ERP\""),
            ("port", number("70000"), "70000"),
            ("failover_host", text("a:b"), "names no server"),
            ("modes", map(&[("orders", text("cdc"))]), "\"dbo.orders\""),
            (
                "modes",
                map(&[("dbo.orders", text("trakcing"))]),
                "did you mean `tracking`?",
            ),
            ("modes", map(&[("dbo.orders", number("1"))]), "a number"),
            ("start", text("0x00"), "no log sequence number"),
            ("token", secret("ERP_PASSWORD"), "leave out user"),
        ] {
            let mut entries = least();
            entries.retain(|(name, _)| *name != key);
            entries.push((key, kind));
            let (settings, problems) = read_all(&entries);
            assert!(settings.is_none(), "{key} {problems:?}");
            assert!(
                problems.iter().any(|p| p.contains(expected)),
                "{key} {problems:?}"
            );
        }
        let without = |name: &str| {
            let mut entries = least();
            entries.retain(|(other, _)| *other != name);
            read_all(&entries)
        };
        for name in ["host", "database", "user", "password"] {
            let (settings, problems) = without(name);
            assert!(settings.is_none());
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(
                problems[0].contains(&format!("`{name}` is missing")),
                "{problems:?}"
            );
        }
        let mut entries = least();
        entries.push(("hots", text("x")));
        assert!(read_all(&entries).1[0].contains("unknown key"));
        let mut entries = least();
        entries.push(("instance", text("ERP")));
        entries.push(("port", number("1433")));
        assert!(read_all(&entries).1[0].contains("SQL Browser"));
    }

    #[test]
    fn a_token_is_never_sent_without_tls() {
        let entries = |tls: &str| {
            vec![
                ("host", text("db.example.com")),
                ("database", text("ERP")),
                ("token", secret("ERP_PASSWORD")),
                ("tls", text(tls)),
            ]
        };
        let settings = read_all(&entries("verify-ca")).0.unwrap();
        assert_eq!(settings.auth, Auth::Token(Secret::new("pw")));
        let (settings, problems) = read_all(&entries("disable"));
        assert!(settings.is_none());
        assert!(problems[0].contains("only sent over TLS"), "{problems:?}");
        let mut entries = entries("verify-ca");
        entries.push(("token_file", text("token")));
        assert!(read_all(&entries).1[0].contains("token or token_file"));
        entries.retain(|(name, _)| *name != "token");
        let settings = read_all(&entries).0.unwrap();
        assert_eq!(settings.auth, Auth::TokenFile(PathBuf::from("token")));
    }

    #[cfg(not(windows))]
    #[test]
    fn a_windows_account_is_refused_where_it_cannot_log_in() {
        let mut entries = least();
        entries.push(("integrated", NodeKind::Bool(true)));
        let (settings, problems) = read_all(&entries);
        assert!(settings.is_none());
        assert!(problems[0].contains("runs on Windows"), "{problems:?}");
    }
}
