//! `lighterman check`: systems that are dead or silent are findings, not waits; what is wrong comes with the fix and
//! the undo; the running agent checks by itself, and is not disturbed by anybody who checks.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::local::{get, value};
use harness::postgres::PostgresServer;
use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
/// What a check promises.
const CHECK_MAX: Duration = Duration::from_secs(20);

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);
    CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT);
    INSERT INTO stock VALUES ('A', 1);";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
  item: {name: item, key: [sku]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "'MAIN'"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
  - id: item
    emit: product.v1
    from: item
    key: {sku: "item.sku"}
    fields: {name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

const ITEM_MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: postgres
company: ACME
tables:
  item: {name: public.item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
";

fn append(folder: &Path, text: &str) {
    let file = folder.join("lighterman.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What `check --json` found, with its exit code.
fn checked(folder: &Path) -> (Option<i32>, Vec<Value>) {
    let (code, shown) = command(BINARY, folder, &["check", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    (code, shown["findings"].as_array().unwrap().clone())
}

/// The worst that is said of something.
fn level<'f>(findings: &'f [Value], what: &str) -> Option<&'f str> {
    let of = |name: &str| {
        let mut findings = findings.iter();
        findings.any(|one| one["level"] == name && one["what"].as_str().unwrap().starts_with(what))
    };
    ["fail", "warn", "pass"].into_iter().find(|name| of(name))
}

fn about<'f>(findings: &'f [Value], what: &str) -> &'f Value {
    let mut all = findings.iter();
    all.find(|one| one["what"] == what)
        .unwrap_or_else(|| panic!("nothing about {what}: {findings:#?}"))
}

/// An address whose connections are never answered: its queue is full, so that the system drops who comes.
struct BlackHole {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    async fn dig() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        loop {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), connecting).await {
                Ok(stream) => queued.push(stream.unwrap()),
                Err(_) => break,
            }
            assert!(queued.len() < 100, "the queue does not fill");
        }
        Self {
            listener,
            _queued: queued,
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}

/// Databases and APIs that are silent, gone, or swallow every packet, beside ones that are well: all are asked at
/// once, each is a finding, and nothing is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_and_silent_systems_are_findings_and_not_waits() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    // A listener that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = BlackHole::dig().await;
    let places = [
        ("silent", silent.local_addr().unwrap().port()),
        ("hole", hole.port()),
        ("closed", free_port()),
    ];
    std::fs::write(site.path().join("item.yaml"), ITEM_MAPPING).unwrap();
    let mysql = ITEM_MAPPING.replace("postgres", "mysql\nschema: erp");
    std::fs::write(
        site.path().join("mysql.yaml"),
        mysql.replace("public.item", "item"),
    )
    .unwrap();
    for (name, port) in places {
        append(
            site.path(),
            &format!(
                "[[source]]\nname = \"pg-{name}\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\n\
                 database = \"erp\"\nuser = \"clerk\"\nmappings = [\"item.yaml\"]\n\
                 [[source]]\nname = \"my-{name}\"\ntype = \"mysql\"\nhost = \"127.0.0.1\"\nport = {port}\n\
                 user = \"clerk\"\nserver_id = 77\nmappings = [\"mysql.yaml\"]\n\
                 [[destination]]\nname = \"hook-{name}\"\ntype = \"webhook\"\n\
                 url = \"http://127.0.0.1:{port}/events\"\n"
            ),
        );
    }
    let began = Instant::now();
    let (code, findings) = checked(site.path());
    let took = began.elapsed();
    assert!(took < CHECK_MAX, "{took:?}");
    assert_eq!(code, Some(1), "{findings:#?}");
    for (name, _) in places {
        for system in ["source pg", "source my", "destination hook"] {
            let what = format!("{system}-{name}");
            assert_eq!(
                level(&findings, &what),
                Some("fail"),
                "{what}: {findings:#?}"
            );
            let failed = findings.iter().find(|one| {
                one["level"] == "fail" && one["what"].as_str().unwrap().starts_with(&what)
            });
            assert!(failed.unwrap()["fix"].is_string(), "{failed:#?}");
        }
    }
    assert_eq!(
        level(&findings, "source erp"),
        Some("pass"),
        "{findings:#?}"
    );
    assert_eq!(
        level(&findings, "destination shop"),
        Some("pass"),
        "{findings:#?}"
    );
    assert_eq!(level(&findings, "destination shop: clock"), Some("pass"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_may_read_is_said_with_the_fix_and_the_undo() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let destination = format!(
        "type = \"webhook\"\nurl = \"{}\"\nsecret = {{ file = \"secret\" }}\n",
        receiver.url()
    );
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u\n").unwrap();
    let destination = destination.replace("\"secret\"", &format!("\"{}\"", secret.display()));
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&secret, 0o644);
    let site = Site::with(BINARY, &destination, TABLES, MAPPING);
    let what = format!("secret file {}", secret.display());
    let (code, findings) = checked(site.path());
    assert_eq!(code, Some(0), "a warning stops nothing: {findings:#?}");
    let open = about(&findings, &what);
    assert_eq!(open["level"], "warn", "{open}");
    assert_eq!(open["fix"], format!("chmod o-rwx {}", secret.display()));
    assert_eq!(open["undo"], format!("chmod 644 {}", secret.display()));
    let (_, shown) = site.command(&["check"]);
    let undo = format!("\n  undo: chmod 644 {}\n", secret.display());
    assert!(shown.contains(&undo), "{shown}");
    assert!(shown.contains(", 0 failures in "), "{shown}");
    allow(&secret, 0o640);
    assert_eq!(about(&checked(site.path()).1, &what)["level"], "pass");

    // What the agent makes is closed to others from the start; a person may open it, which is said.
    let mut agent = site.agent();
    assert!(agent.logged("agent started", SOON).await, "{}", agent.log());
    assert!(agent.terminate(SOON).await.is_some());
    let state = site.path().join("state");
    let (_, findings) = checked(site.path());
    assert_eq!(
        about(&findings, "state folder: permissions")["level"],
        "pass"
    );
    let file = about(&findings, "state file");
    let said = file["found"].as_str().unwrap();
    assert!(said.contains("no agent runs on it"), "{file}");
    allow(&state, 0o755);
    let (_, findings) = checked(site.path());
    let open = about(&findings, "state folder: permissions");
    assert_eq!(
        (&open["level"], &open["undo"]),
        (&"warn".into(), &"chmod 755 state".into())
    );
}

/// After an upgrade of the ERP: which tables differ, and which events that concerns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_changed_are_said_with_the_events_that_are_affected() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let (code, findings) = checked(site.path());
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(
        about(&findings, "source erp: packs")["found"],
        "site 1 (2 rules)"
    );
    site.run("ALTER TABLE stock RENAME COLUMN qty TO quantity");
    let (code, findings) = checked(site.path());
    assert_eq!(code, Some(1), "{findings:#?}");
    let schema = about(&findings, "source erp: schema");
    let found = schema["found"].as_str().unwrap();
    assert!(
        found.ends_with("Stock (inventory.availability.v1): main.stock has no qty"),
        "{found}"
    );
    assert!(
        schema["fix"].as_str().unwrap().contains("source resync"),
        "{schema}"
    );
    site.run("ALTER TABLE item RENAME TO items");
    let found = checked(site.path()).1;
    let found = about(&found, "source erp: schema")["found"].to_string();
    assert!(
        found.contains("Products (product.v1): there is no table main.item"),
        "{found}"
    );
}

/// The agent's own check: what it finds stands in status and in a metric, and what changes is said once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_agent_checks_by_itself_and_says_what_changed() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/events");
    let site = Site::new(BINARY, &url, TABLES, MAPPING);
    let local = free_port();
    append(
        site.path(),
        &format!("[check]\nfirst_after_seconds = 1\n[local]\nlisten = \"127.0.0.1:{local}\"\n"),
    );
    let agent = site.agent();
    let worse = r#"the agent's own check fails code="check.worse" what="destination shop""#;
    assert!(agent.logged(worse, SOON).await, "{}", agent.log());
    let failed = "lighterman_check_findings{level=\"fail\"}";
    let metrics = until(local, &agent, |metrics| value(metrics, failed) == Some(1.0)).await;
    let passed = value(&metrics, "lighterman_check_findings{level=\"pass\"}");
    assert!(passed > Some(3.0), "{metrics}");
    let (_, status) = site.status();
    assert!(status["checked"]["at"].is_string(), "{status:#}");
    let (_, shown) = site.command(&["status"]);
    assert!(shown.contains(" s ago: 1 failure"), "{shown}");

    // Settings that changed are checked again; what is mended is said, and what is as it was is not.
    let _receiver = Receiver::start_on(port, 1, Faults::default()).await;
    let file = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("retry_first_ms = 50", "retry_first_ms = 60");
    let new = site.path().join("new.toml");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, &file).unwrap();
    let better = r#"check found is mended code="check.better" what="destination shop""#;
    assert!(agent.logged(better, SOON).await, "{}", agent.log());
    until(local, &agent, |metrics| value(metrics, failed) == Some(0.0)).await;
    let said = agent.log().matches("code=\"check.").count();
    assert_eq!(said, 2, "{}", agent.log());
}

async fn until(port: u16, agent: &Agent, wanted: impl Fn(&str) -> bool) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, metrics) = get(port, "/metrics").await;
        if wanted(&metrics) {
            return metrics;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{metrics}\n{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// People who check beside a running agent take nothing from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_does_not_disturb_a_running_agent() {
    let server = PostgresServer::shared();
    server.create_database("doctor").await;
    let db = server.connect("doctor").await;
    db.batch_execute("CREATE TABLE item (sku text PRIMARY KEY, name text)")
        .await
        .unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
         database = \"doctor\"\nuser = \"postgres\"\nslot = \"doctor\"\npublication = \"doctor\"\n\
         mappings = [\"mapping.yaml\"]\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\n\
         url = \"{}\"\n[check]\nfirst_after_seconds = 1\n",
        server.port(),
        receiver.url()
    );
    std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.join("mapping.yaml"), ITEM_MAPPING).unwrap();
    let (code, shown) = command(BINARY, folder, &["source", "prepare", "--apply"]);
    assert_eq!(code, Some(0), "{shown}");
    let agent = Agent::start(BINARY, folder);
    let checks: Vec<_> = (0..3)
        .map(|_| {
            let folder = folder.to_owned();
            tokio::task::spawn_blocking(move || checked(&folder))
        })
        .collect();
    for item in 0..50 {
        db.batch_execute(&format!("INSERT INTO item VALUES ('{item}', 'n')"))
            .await
            .unwrap();
    }
    for check in checks {
        let (code, findings) = check.await.unwrap();
        assert_eq!(code, Some(0), "{findings:#?}");
        for what in ["clock", "version", "timezone", "encoding", "database"] {
            let what = format!("source erp: {what}");
            assert_eq!(about(&findings, &what)["level"], "pass", "{findings:#?}");
        }
    }
    let arrived = receiver.wait(SOON, |held| {
        (0..50).all(|item| held.body("product.v1", &format!("ACME|{item}")).is_some())
    });
    assert!(arrived.await, "{}", agent.log());
    assert!(
        !agent.log().contains("capture.disconnected"),
        "{}",
        agent.log()
    );
}
