//! Secrets and people, marked and looked for in everything that the agent says.
//!
//! Every secret of the settings and every field of a customer holds a mark. The agent runs at the level
//! that says most, against servers that are not there and APIs that refuse and say again whatever they
//! were sent. A secret may then stand nowhere, and a person in no log: what an API said, and what is held,
//! is kept in the state file, for `held` and `trace` to show.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use harness::receiver::free_port;
use harness::site::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

/// What each secret has in it, and nothing else.
const SECRET: &str = "Kx7SecretMark";
/// What each field about a person has in it.
const PERSON: &str = "Qy9PersonMark";

const TABLES: &str = "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT, phone TEXT, \
    street TEXT, tax TEXT, state TEXT)";

const FIELDS: &str = "
  - id: customer
    emit: customer.v1
    from: customer
    key: {customer_id: id}
    fields:
      name: name
      tax_id: tax
      hold_reasons: [email, phone, street]
      erased: false
      status: dict(states, state)
";

const CHANNEL: &str = r"
channel: echo
title: Echo
proven: documentation
resend: safe
settings:
  url: {type: url, ask: where?}
  password: {type: secret, ask: which?}
  key: {type: secret, ask: which?}
url: setting.url
timeout: 5s
auth: {login: {post: /login, body: {password: setting.password}, take: {token: token}, says: message, expires: 1h}}
headers: {x-shop-key: setting.key}
answers:
  - {status: 401, means: login, says: message}
  - {status: 422, means: rejected, says: message}
  - {status: 500, means: retry, says: message}
events:
  customer.v1:
    steps:
      - send: {post: /customers, body: {name: name, tax: tax_id, reasons: hold_reasons}, done: ok}
    delete: same
";

/// An API that says again what it is sent, in each way that an answer can be of no use.
#[derive(Clone, Default)]
struct Echo {
    logins: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

async fn echo(
    State(echo): State<Echo>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let said = format!("{headers:?} {body}");
    let words = |text: &str| {
        let title = format!("{text}: {said}");
        serde_json::json!({ "message": title, "title": title, "detail": said }).to_string()
    };
    if uri.path() == "/login" {
        // A few are refused, with what was sent.
        return match echo.logins.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::UNAUTHORIZED, words("wrong password")),
            1 => (StatusCode::OK, words("wrong password")),
            _ => {
                let token = format!("{SECRET}-token");
                (
                    StatusCode::OK,
                    serde_json::json!({ "token": token }).to_string(),
                )
            }
        };
    }
    match echo.calls.fetch_add(1, Ordering::Relaxed) % 5 {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, words("no")),
        1 => (StatusCode::UNPROCESSABLE_ENTITY, words("no")),
        2 => (StatusCode::UNAUTHORIZED, words("no")),
        3 => (StatusCode::CONFLICT, said),
        _ => (StatusCode::OK, "{}".to_owned()),
    }
}

async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(echo).with_state(Echo::default());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn mapping(source: &str) -> String {
    let schema = if source == "mysql" {
        "schema: erp, "
    } else {
        ""
    };
    format!(
        "mapping: 1\npack: shop\npack_version: '1'\nsource: {source}\ncompany: ACME\ntables:\n  \
         customer: {{name: customer, {schema}key: [id]}}\ndictionaries:\n  states: {{A: active, H: hold}}\n\
         events:{FIELDS}"
    )
}

/// Writes a secret into a file of its own, and says how the settings name it.
fn secret(folder: &Path, name: &str) -> String {
    let file = format!("{name}.secret");
    std::fs::write(folder.join(&file), format!("{SECRET}-{name}")).unwrap();
    format!("{{ file = \"{file}\" }}")
}

/// Settings with a secret in every place that takes one.
fn settings(folder: &Path, url: &str) -> String {
    let mut text = String::from(
        "[log]\nlevel = \"trace\"\n[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\n\
         mappings = [\"mapping.yaml\"]\n",
    );
    for kind in ["postgres", "mysql", "sqlserver"] {
        std::fs::write(folder.join(format!("{kind}.yaml")), mapping(kind)).unwrap();
        let (port, password) = (free_port(), secret(folder, kind));
        let database = if kind == "mysql" {
            ""
        } else {
            "database = \"erp\"\n"
        };
        write!(
            text,
            "[[source]]\nname = \"{kind}\"\ntype = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {port}\n{database}\
             user = \"u\"\npassword = {password}\nmappings = [\"{kind}.yaml\"]\n"
        )
        .unwrap();
    }
    let retry = "retry_first_ms = 50\nretry_max_seconds = 1\n";
    let base = "V2ViaG9va1NpZ25pbmdTZWNyZXRPZjI0Qnl0ZXM=";
    std::fs::write(folder.join("whsec.secret"), format!("whsec_{base}")).unwrap();
    let (user, proxied) = (secret(folder, "password"), secret(folder, "proxied"));
    write!(
        text,
        "[[destination]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}/hook\"\n\
         secret = {{ file = \"whsec.secret\" }}\n{retry}\
         [[destination]]\nname = \"proxied\"\ntype = \"webhook\"\nurl = \"{url}/hook\"\n\
         proxy = \"http://127.0.0.1:{}\"\nproxy_user = \"u\"\nproxy_password = {proxied}\n{retry}\
         [[destination]]\nname = \"echo\"\ntype = \"channel\"\nfile = \"echo.yaml\"\n\
         settings.url = \"{url}\"\nsettings.password = {user}\n\
         settings.key = \"{SECRET}-inline\"\n{retry}",
        free_port()
    )
    .unwrap();
    for (kind, more) in [
        ("nats", "subject = \"s\"\nuser = \"u\"\n"),
        ("redis", "stream = \"s\"\nuser = \"u\"\n"),
        ("kafka", "topic = \"s\"\nuser = \"u\"\n"),
        (
            "amqp",
            "exchange = \"\"\nrouting_key = \"s\"\nuser = \"u\"\n",
        ),
        ("mqtt", "topic = \"s\"\nuser = \"u\"\n"),
    ] {
        let (port, password) = (free_port(), secret(folder, kind));
        write!(
            text,
            "[[destination]]\nname = \"{kind}\"\ntype = \"{kind}\"\nservers = [\"127.0.0.1:{port}\"]\n\
             {more}password = {password}\n{retry}"
        )
        .unwrap();
    }
    let (port, token) = (free_port(), secret(folder, "token"));
    write!(
        text,
        "[[destination]]\nname = \"by-token\"\ntype = \"nats\"\nservers = [\"127.0.0.1:{port}\"]\nsubject = \"s\"\n\
         token = {token}\n{retry}"
    )
    .unwrap();
    let (port, reader) = (free_port(), secret(folder, "reader-of-the-api"));
    write!(
        text,
        "[local]\nlisten = \"127.0.0.1:{port}\"\n[[local.token]]\nname = \"reader\"\nsecret = {reader}\n\
         scopes = [\"status:read\"]\n"
    )
    .unwrap();
    let (port, password) = (free_port(), secret(folder, "letters"));
    std::fs::write(folder.join("chat.secret"), format!("{url}/{SECRET}-chat")).unwrap();
    write!(
        text,
        "[alerts]\nevery_seconds = 1\ngather_seconds = 0\n[alerts.smtp]\nhost = \"127.0.0.1\"\nport = {port}\n\
         tls = \"none\"\nuser = \"u\"\npassword = {password}\nfrom = \"{PERSON}@example.com\"\n\
         to = [\"{PERSON}@example.com\"]\n[[alerts.webhook]]\nname = \"chat\"\nshape = \"slack\"\n\
         url = {{ file = \"chat.secret\" }}\n[alerts.deadman]\nevery_seconds = 1\n\
         url = {{ file = \"chat.secret\" }}\n[[alert]]\nname = \"destination-failing\"\nabove = 1\n"
    )
    .unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_said_anywhere_and_no_person_in_the_log() {
    let url = serve().await;
    let site = Site::new(BINARY, &url, TABLES, &mapping("sqlite"));
    let folder = site.path();
    std::fs::write(folder.join("echo.yaml"), CHANNEL).unwrap();
    std::fs::write(folder.join("lighterman.toml"), settings(folder, &url)).unwrap();
    let mut agent = site.agent();
    for id in 0..20 {
        // Some have a state that no mapping knows.
        let state = if id % 5 == 4 { PERSON } else { "A" };
        site.run(&format!(
            "INSERT INTO customer VALUES ({id}, '{PERSON} name', '{PERSON}@example.com', '{PERSON} 030', \
             '{PERSON} street', '{PERSON} tax', '{state}')"
        ));
    }
    // Each way to fail has been gone.
    let gone = async {
        loop {
            let log = agent.log();
            let codes = [
                "destination.fails",
                "delivery.refused",
                "mapping.held",
                "capture.disconnected",
                "alert.began",
                "alert.not_sent",
            ];
            let refused = ["hook", "echo"].iter().all(|name| {
                log.lines().any(|line| {
                    line.contains("delivery.refused")
                        && line.contains(&format!("destination=\"{name}\""))
                })
            });
            if refused && codes.iter().all(|code| log.contains(code)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(SOON, gone).await;
    assert!(gone.is_ok(), "{}", agent.log());

    let mut said = vec![("the console".to_owned(), agent.log())];
    for words in [
        "status",
        "status --json",
        "held list",
        "held list --json",
        "trace --key 1",
        "trace --key 1 --json",
        "destination list --json",
        "destination test",
        "destination test --json",
        "check --json",
        "source prepare",
        "log level --json",
        "alert list",
        "alert list --json",
        "alert test",
        "alert test --json",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        said.push((words.join(" "), site.command(&words).1));
    }
    // Two who do something, so that it stands on record.
    for words in [
        "destination pause hook",
        "destination resume hook",
        "log level trace --for 1m",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        site.command(&words);
    }
    said.push((
        "audit".to_owned(),
        site.command(&["audit", "show", "--json"]).1,
    ));
    let (code, shown) = site.command(&["support-bundle", "--to", "bundle.tar.gz"]);
    assert_eq!(code, Some(0), "{shown}");
    let bundle = crate::support::unpacked(&folder.join("bundle.tar.gz"));
    for name in [
        "check.json",
        "status.json",
        "held.json",
        "audit.jsonl",
        "manifest.json",
    ] {
        assert!(bundle.contains_key(name), "{shown}");
    }
    let bundle = bundle.into_iter();
    said.extend(bundle.map(|(name, text)| (format!("bundle: {name}"), text)));
    let (_, held) = site.command(&["held", "list", "--json"]);
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    said.push(("held".to_owned(), held.to_string()));
    agent.terminate(SOON).await.unwrap();
    said.push(("the console at its end".to_owned(), agent.log()));
    for entry in std::fs::read_dir(folder.join("state/logs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("delivery.sent"), "the level that says most");
        said.push((path.display().to_string(), text));
    }
    for entry in std::fs::read_dir(folder.join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            said.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    let mut wrong = Vec::new();
    for (place, text) in &said {
        let log = ["console", "/logs/", "bundle: "]
            .iter()
            .any(|one| place.contains(one));
        let marks: &[&str] = if log {
            &[SECRET, PERSON, "V2ViaG9va1"]
        } else {
            &[SECRET, "V2ViaG9va1"]
        };
        for mark in marks {
            for (at, _) in text.match_indices(mark).take(3) {
                let around: String = text[..at].chars().rev().take(300).collect();
                let around: String = around.chars().rev().collect();
                wrong.push(format!("{place}: ..{around}{mark}"));
            }
        }
    }
    // The marks are there to be found: what is held is shown to whoever asks.
    let shown = |place: &str| {
        said.iter()
            .any(|(name, text)| name == place && text.contains(PERSON))
    };
    assert!(shown("trace --key 1"), "{said:#?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
