//! Whom the agent trusts: servers that are not the ones that are meant, or that want to speak without encryption, learn
//! nothing, whatever their protocol. SQL Server's TLS stands within its own packets: `adapters/sqlserver/tests/tls.rs`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::agent::command;
use harness::certificates::Certificates;
use harness::impostor::{Guise, Impostor, Step};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
/// Stands in every secret.
const MARK: &str = "Zq7SecretMark";

const AT_ONCE: &[Step] = &[];
const POSTGRES: &[Step] = &[Step::Hear(8), Step::Say(b"S")];
const POSTGRES_PLAIN: &[Step] = &[Step::Hear(8), Step::Say(b"N")];
// The greeting of a MySQL server, with the flag that offers TLS and without it.
const MYSQL: &[Step] = &[
    Step::Say(
        b"\x4a\0\0\0\x0a8.0.36\0\x01\0\0\0AAAAAAAA\0\x09\xaa\x21\x02\0\x08\0\x15\
          \0\0\0\0\0\0\0\0\0\0BBBBBBBBBBBB\0mysql_native_password\0",
    ),
    Step::Hear(36),
];
const MYSQL_PLAIN: &[Step] = &[Step::Say(
    b"\x4a\0\0\0\x0a8.0.36\0\x01\0\0\0AAAAAAAA\0\x09\xa2\x21\x02\0\x08\0\x15\
      \0\0\0\0\0\0\0\0\0\0BBBBBBBBBBBB\0mysql_native_password\0",
)];
const NATS: &[Step] = &[Step::Say(
    b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576,\
      \"tls_required\":true}\r\n",
)];
const NATS_PLAIN: &[Step] = &[Step::Say(
    b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576}\r\n",
)];
const SMTP: &[Step] = &[
    Step::Say(b"220 mx ESMTP\r\n"),
    Step::HearLine,
    Step::Say(b"250-mx\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"),
    Step::HearLine,
    Step::Say(b"220 go ahead\r\n"),
];
const SMTP_PLAIN: &[Step] = &[
    Step::Say(b"220 mx ESMTP\r\n"),
    Step::HearLine,
    Step::Say(b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n"),
];

/// What the agent speaks to: its name in the settings, how a conversation begins, and how it begins where somebody has
/// taken the offer of TLS out of it.
type Service = (&'static str, &'static [Step], Option<&'static [Step]>);

const SERVICES: [Service; 11] = [
    ("postgres", POSTGRES, Some(POSTGRES_PLAIN)),
    ("mysql", MYSQL, Some(MYSQL_PLAIN)),
    ("webhook", AT_ONCE, None),
    ("channel", AT_ONCE, None),
    ("nats", NATS, Some(NATS_PLAIN)),
    ("redis", AT_ONCE, None),
    ("kafka", AT_ONCE, None),
    ("mqtt", AT_ONCE, None),
    ("amqp", AT_ONCE, None),
    ("letters", SMTP, Some(SMTP_PLAIN)),
    ("chat", AT_ONCE, None),
];

const MAPPING: &str = "mapping: 1\npack: site\npack_version: '1'\nsource: SOURCE\ncompany: ACME\ntables:\n  \
    item: {name: item, SCHEMAkey: [sku]}\nevents:\n  - id: item\n    emit: product.v1\n    from: item\n    \
    key: {sku: sku}\n    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}\n";

const CHANNEL: &str = "channel: a\ntitle: A\nproven: documentation\nresend: safe\n\
    settings: {url: {type: url, ask: where?}, key: {type: secret, ask: which?}}\n\
    url: setting.url\ntimeout: 5s\nauth: {bearer: setting.key}\ncheck: {get: /me, done: {status: 200}}\n\
    events: {product.v1: {steps: [{send: {post: /items, body: {name: name}, done: {status: 200}}}], delete: same}}\n";

/// Settings with each service at a port of its own, all of them encrypted and verified by this authority.
fn settings(folder: &Path, ports: &[u16], authority: &str) -> String {
    let signs = BASE64_STANDARD.encode(format!("{MARK}-signs-what-is-sent"));
    std::fs::write(folder.join("signs"), format!("whsec_{signs}")).unwrap();
    std::fs::write(folder.join("word"), format!("{MARK}-word")).unwrap();
    std::fs::write(folder.join("channel.yaml"), CHANNEL).unwrap();
    let chat = ports[10];
    let url = format!("https://127.0.0.1:{chat}/{MARK}");
    std::fs::write(folder.join("chat"), url).unwrap();
    for (name, schema) in [("postgres", ""), ("mysql", "schema: erp, ")] {
        let text = MAPPING.replace("SOURCE", name).replace("SCHEMA", schema);
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    }
    let ca = format!("ca_file = \"{authority}\"\n");
    let login = "user = \"u\"\npassword = { file = \"word\" }\n";
    let mut text = String::new();
    for ((name, ..), port) in SERVICES.into_iter().zip(ports) {
        let destination = format!("[[destination]]\nname = \"{name}\"\n{ca}");
        let broker = format!(
            "{destination}type = \"{name}\"\ntls = true\nservers = [\"127.0.0.1:{port}\"]\n{login}"
        );
        let block = match name {
            "postgres" | "mysql" => {
                let database = if name == "postgres" {
                    "database = \"erp\"\n"
                } else {
                    ""
                };
                format!(
                    "[[source]]\nname = \"{name}\"\ntype = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\n{database}\
                     tls = \"verify-full\"\n{ca}{login}mappings = [\"{name}.yaml\"]\n"
                )
            }
            "webhook" => format!(
                "{destination}type = \"webhook\"\nurl = \"https://127.0.0.1:{port}/\"\nsecret = {{ file = \"signs\" }}\n"
            ),
            "channel" => format!(
                "{destination}type = \"channel\"\nfile = \"channel.yaml\"\n\
                 settings.url = \"https://127.0.0.1:{port}\"\nsettings.key = {{ file = \"word\" }}\n"
            ),
            "letters" => format!(
                "[alerts.smtp]\nhost = \"127.0.0.1\"\nport = {port}\n{ca}{login}from = \"a@example.com\"\n\
                 to = [\"b@example.com\"]\n"
            ),
            "chat" => format!(
                "[[alerts.webhook]]\nname = \"chat\"\nshape = \"json\"\n{ca}url = {{ file = \"chat\" }}\n"
            ),
            "nats" => broker + "subject = \"s\"\n",
            "redis" => broker + "stream = \"s\"\n",
            "amqp" => broker + "exchange = \"x\"\n",
            _ => broker + "topic = \"s\"\n",
        };
        text.push_str(&block);
    }
    text
}

/// What a service was told, and what the agent said of it to the person who asked.
struct Asked {
    name: &'static str,
    open: Vec<u8>,
    encrypted: Vec<u8>,
    connections: usize,
    said: String,
    fine: bool,
}

/// Has `check` and `alert test` ask all services that are like that.
async fn ask(certificates: &Certificates, guise: Guise, stripped: bool) -> Vec<Asked> {
    let folder = tempfile::tempdir().unwrap();
    let mut impostors = Vec::new();
    for (_, opening, plain) in SERVICES {
        let opening = if stripped {
            plain.unwrap_or(opening)
        } else {
            opening
        };
        impostors.push(Impostor::start(opening, guise.clone()).await);
    }
    let ports: Vec<u16> = impostors.iter().map(Impostor::port).collect();
    let authority = certificates.file("ca.crt").display().to_string();
    let text = settings(folder.path(), &ports, &authority);
    std::fs::write(folder.path().join("lighterman.toml"), text).unwrap();
    let asking = tokio::task::spawn_blocking(move || {
        let checked = command(BINARY, folder.path(), &["check", "--json"]).1;
        let tested = command(BINARY, folder.path(), &["alert", "test", "--json"]).1;
        (checked, tested)
    });
    let (checked, tested) = asking.await.unwrap();
    let checked: Value = serde_json::from_str(&checked).unwrap_or_else(|_| panic!("{checked}"));
    let tested: Value = serde_json::from_str(&tested).unwrap_or_else(|_| panic!("{tested}"));
    let mut all = Vec::new();
    for ((name, ..), impostor) in SERVICES.into_iter().zip(&impostors) {
        let told = impostor.told();
        let (mut said, mut fine) = (String::new(), true);
        for finding in checked["findings"].as_array().unwrap() {
            let what = finding["what"].as_str().unwrap();
            let ours = [format!("source {name}"), format!("destination {name}")];
            let ours = ours.iter().any(|one| what.starts_with(one.as_str()));
            if ours && finding["level"] == "fail" {
                fine = false;
                write!(said, "{finding}").unwrap();
            }
        }
        for channel in tested["channels"].as_array().unwrap() {
            let which = channel["channel"].as_str().unwrap();
            let ours = which == name || which == "smtp" && name == "letters";
            if ours && channel["ok"] == false {
                fine = false;
                write!(said, "{channel}").unwrap();
            }
        }
        all.push(Asked {
            name,
            open: told.open,
            encrypted: told.encrypted,
            connections: told.connections,
            said,
            fine,
        });
    }
    all
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    bytes
        .windows(mark.len())
        .any(|found| found == mark.as_bytes())
}

/// The secret as it is and as logins write it.
fn leaked(asked: &Asked) -> bool {
    // Wherever in a group of three bytes it begins.
    let written = ["", "x", "xx"].map(|before| BASE64_STANDARD.encode(format!("{before}{MARK}")));
    let written = written.iter().map(|text| &text[4..text.len() - 4]);
    [MARK].into_iter().chain(written).any(|mark| {
        holds(&asked.open, mark) || holds(&asked.encrypted, mark) || asked.said.contains(mark)
    })
}

#[track_caller]
fn refused(why: &str, all: &[Asked], expected: &str) {
    for asked in all {
        let name = asked.name;
        assert!(
            asked.connections > 0,
            "{why}: {name} was not asked: {}",
            asked.said
        );
        assert!(
            asked.encrypted.is_empty(),
            "{why}: {name} was told {:?}",
            String::from_utf8_lossy(&asked.encrypted)
        );
        assert!(
            !leaked(asked),
            "{why}: {name} was told the secret, or {}",
            asked.said
        );
        assert!(!asked.fine, "{why}: {name} is taken for a good one");
        assert!(
            asked.said.contains(expected),
            "{why}: {name}: {}",
            asked.said
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_prove_who_it_is_learns_nothing() {
    let certificates = Certificates::new();
    let here = "DNS:localhost,IP:127.0.0.1";
    certificates.sign_expired("old", "localhost", here);
    certificates.sign_not_yet("young", "localhost", here);
    certificates.sign("elsewhere", "elsewhere.example", "DNS:elsewhere.example");
    let stranger = Certificates::new();

    // The right one is told something, so what the others are not told would have been seen.
    let right = ask(
        &certificates,
        Guise::certificate(&certificates, "server"),
        false,
    )
    .await;
    for asked in &right {
        assert!(
            !asked.encrypted.is_empty(),
            "{}: {}",
            asked.name,
            asked.said
        );
        assert!(
            !holds(&asked.open, MARK) && !asked.said.contains(MARK),
            "{}: {}",
            asked.name,
            asked.said
        );
    }
    for (why, of, name) in [
        ("an authority that nobody knows", &stranger, "server"),
        ("another name", &certificates, "elsewhere"),
        ("expired", &certificates, "old"),
        ("not valid yet", &certificates, "young"),
    ] {
        let all = ask(&certificates, Guise::certificate(of, name), false).await;
        refused(why, &all, "certificate");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_talks_the_agent_out_of_encryption() {
    let certificates = Certificates::new();
    let all = ask(&certificates, Guise::Old, false).await;
    refused("TLS 1.1", &all, "");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let all = ask(&certificates, Guise::Plain(answer), false).await;
    refused("a plain answer", &all, "");
    let all = ask(&certificates, Guise::Plain(answer), true).await;
    let all: Vec<Asked> = all
        .into_iter()
        .zip(SERVICES)
        .filter(|(_, (_, _, plain))| plain.is_some())
        .map(|(asked, _)| asked)
        .collect();
    assert_eq!(all.len(), 4);
    refused("no offer of TLS", &all, "TLS");
}

/// What is said of settings, and whether they are taken.
fn shown(lines: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, schema) in [
        ("postgres", ""),
        ("mysql", "schema: erp, "),
        ("sqlserver", ""),
    ] {
        let text = MAPPING.replace("SOURCE", name).replace("SCHEMA", schema);
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    std::fs::write(folder.path().join("word"), format!("{MARK}-word")).unwrap();
    std::fs::write(folder.path().join("channel.yaml"), CHANNEL).unwrap();
    std::fs::write(folder.path().join("lighterman.toml"), lines).unwrap();
    command(BINARY, folder.path(), &["config", "show", "--effective"])
}

fn of_source(name: &str, more: &str) -> String {
    let database = if name == "mysql" {
        ""
    } else {
        "database = \"erp\"\n"
    };
    format!(
        "[[source]]\nname = \"erp\"\ntype = \"{name}\"\nhost = \"db.example.com\"\n{database}user = \"u\"\n\
         password = {{ file = \"word\" }}\nmappings = [\"{name}.yaml\"]\n{more}\n\
         [[destination]]\nname = \"nobody\"\ntype = \"null\"\n"
    )
}

/// Nobody has to ask for encryption, and there is no word for "if the server likes".
#[test]
fn other_machines_are_spoken_to_encrypted_unless_a_person_says_otherwise() {
    for name in ["postgres", "mysql", "sqlserver"] {
        let (code, text) = shown(&of_source(name, ""));
        assert!(
            code == Some(0) && text.contains("verify-full"),
            "{name}: {text}"
        );
        for word in ["prefer", "allow"] {
            let (code, text) = shown(&of_source(name, &format!("tls = \"{word}\"")));
            assert_eq!(code, Some(2), "{name}: {text}");
            assert!(
                text.contains(word) && text.contains("verify-full"),
                "{name}: {text}"
            );
        }
    }
    let source = of_source("postgres", "");
    for (name, more) in [
        ("nats", "subject = \"s\""),
        ("redis", "stream = \"s\""),
        ("kafka", "topic = \"s\""),
        ("mqtt", "topic = \"s\""),
        (
            "amqp",
            "exchange = \"x\"\nuser = \"u\"\npassword = { file = \"word\" }",
        ),
    ] {
        let broker = format!(
            "{source}[[destination]]\nname = \"bus\"\ntype = \"{name}\"\nservers = [\"bus.example.com\"]\n{more}\n"
        );
        let (code, text) = shown(&broker);
        assert!(
            code == Some(0) && text.contains("tls = true"),
            "{name}: {text}"
        );
        let (code, text) = shown(&format!("{broker}tls = false\n"));
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(text.contains("would send events unencrypted"), "{text}");
    }
    for block in [
        "[[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"http://shop.example.com/\"\n",
        "[[destination]]\nname = \"shop\"\ntype = \"channel\"\nfile = \"channel.yaml\"\n\
         settings.url = \"http://shop.example.com\"\nsettings.key = { file = \"word\" }\n",
        "[otlp]\nendpoint = \"http://collector.example.com\"\n",
        "[[alerts.webhook]]\nname = \"chat\"\nshape = \"json\"\nurl = \"http://chat.example.com/x\"\n",
        "[alerts.smtp]\nhost = \"mx.example.com\"\ntls = \"none\"\nuser = \"u\"\npassword = { file = \"word\" }\n\
         from = \"a@example.com\"\nto = [\"b@example.com\"]\n",
    ] {
        let (code, text) = shown(&format!("{source}{block}"));
        assert_eq!(code, Some(2), "{block}: {text}");
        assert!(
            text.contains("unencrypted") || text.contains("https"),
            "{text}"
        );
    }
}
