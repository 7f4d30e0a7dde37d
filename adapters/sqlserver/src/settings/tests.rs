//! Settings as people write them.

use contract::section::Problems;
use contract::{Key, Node, NodeKind, Secret, SecretPlace};

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
    assert_eq!(settings.auth, Auth::TokenFile("token".into()));
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
