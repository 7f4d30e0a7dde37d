//! The agent as a service: what systemd is told while it runs, and the unit that `service install` writes.
//! What a real systemd makes of both is tried by packaging/test-linux.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
/// The service manager's limit for the agent's pings.
const LIMIT: Duration = Duration::from_secs(2);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  item: {name: item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
";

const TABLES: &str = "CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT)";

/// The agent under a service manager that is this test.
struct Managed {
    child: Child,
    socket: UnixDatagram,
    folder: std::path::PathBuf,
    /// All that it was told.
    told: Vec<String>,
}

impl Managed {
    fn start(site: &Site) -> Self {
        let path = site.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = std::fs::File::create(site.path().join("agent.log")).unwrap();
        let child = Command::new(BINARY)
            .args(["run", "--config"])
            .arg(site.path().join("lighterman.toml"))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            socket,
            folder: site.path().to_owned(),
            told: Vec::new(),
        }
    }

    /// The next thing that is told within a time.
    fn next(&mut self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut room = [0; 4096];
        match self.socket.recv(&mut room) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&room[..length]).trim().to_owned();
                self.told.push(text.clone());
                Some(text)
            }
            Err(error) => {
                let waited = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                assert!(waited.contains(&error.kind()), "{error}");
                None
            }
        }
    }

    /// Waits until something is told.
    fn until(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.next(left.max(Duration::from_millis(1)));
            match told {
                Some(text) if is_it(&text) => return text,
                Some(_) => {}
                None => assert!(!left.is_zero(), "{:#?}\n{}", self.told, self.log()),
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_it: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_it() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_is_told_how_the_agent_stands() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = Managed::start(&site);
    agent.until(|text| text == "READY=1");
    assert!(agent.log().contains("agent started"), "{}", agent.log());
    agent.until(|text| text.starts_with("STATUS=Source erp"));
    for _ in 0..3 {
        agent.until(|text| text == "WATCHDOG=1");
    }
    assert!(
        !agent.told.iter().any(|text| text.starts_with("RELOADING")),
        "{:#?}",
        agent.told
    );

    agent.signal("HUP");
    let reloading = agent.until(|text| text.starts_with("RELOADING=1"));
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    agent.until(|text| text == "READY=1");

    // Other settings, other loops: it goes on to be told.
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        settings.replace("retry_first_ms = 50", "retry_first_ms = 60"),
    )
    .unwrap();
    agent.until(|text| text.starts_with("RELOADING=1"));
    agent.until(|text| text == "READY=1");
    until("settings in force", || {
        agent.log().contains("settings are in force")
    });
    for _ in 0..3 {
        agent.until(|text| text == "WATCHDOG=1");
    }

    agent.signal("TERM");
    agent.until(|text| text == "STOPPING=1");
    assert!(agent.child.wait().unwrap().success());
}

/// A process that answers signals and holds its sockets may be dead all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_cannot_write_its_state_does_not_say_that_it_gets_on() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = Managed::start(&site);
    agent.until(|text| text == "READY=1");
    agent.until(|text| text == "WATCHDOG=1");
    let file = site.path().join("state/lighterman.db");
    let other = Connection::open(&file).unwrap();
    other.busy_timeout(SOON).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    until("the log says that it is stuck", || {
        agent.log().contains("service.stuck")
    });
    // What was told before that.
    while agent.next(Duration::from_millis(1)).is_some() {}
    let told = agent.told.len();
    // Two more were due in this time.
    let silent = Instant::now() + LIMIT + LIMIT / 4;
    while Instant::now() < silent {
        agent.next(
            silent
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1)),
        );
    }
    let since = &agent.told[told..];
    assert!(!since.iter().any(|text| text == "WATCHDOG=1"), "{since:?}");
    other.execute_batch("ROLLBACK").unwrap();
    agent.until(|text| text == "WATCHDOG=1");
    until("the log says that it goes on", || {
        agent.log().contains("service.goes_on")
    });
}

/// A source that is away is no reason to start the agent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_gets_on_while_what_it_needs_is_away() {
    let site = Site::new(BINARY, "http://127.0.0.1:9/", TABLES, MAPPING);
    site.run("INSERT INTO item VALUES ('A', 'a')");
    let mut agent = Managed::start(&site);
    agent.until(|text| text == "READY=1");
    until("the destination fails", || {
        agent.log().contains("destination.fails")
    });
    let before = agent.told.len();
    for _ in 0..4 {
        agent.until(|text| text == "WATCHDOG=1");
    }
    assert!(agent.told.len() > before && !agent.log().contains("service.stuck"));
}

fn planned(folder: &str, name: &str) -> Value {
    let output = Command::new(BINARY)
        .args(["service", "install", "--dry-run", "--json"])
        .args(["--folder", folder, "--name", name])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The shipped unit, and what it becomes elsewhere, are read by systemd without a word, and give little away.
#[test]
fn systemd_understands_the_unit() {
    let there = Command::new("systemd-analyze").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    let verify = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/linux/verify");
    for (folder, name) in [("/etc/lighterman", "lighterman"), ("/srv/shop", "shop-2")] {
        let plan = planned(folder, name);
        let path = format!("/etc/systemd/system/{name}.service");
        assert_eq!(plan["path"], path.as_str());
        let scratch = tempfile::tempdir().unwrap();
        let unit = scratch.path().join(format!("{name}.service"));
        std::fs::write(&unit, plan["unit"].as_str().unwrap()).unwrap();
        let output = Command::new(&verify).arg(&unit).output().unwrap();
        assert!(output.status.success(), "{output:#?}");
    }
    let output = Command::new(&verify).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    // A key that systemd does not know is only a warning of its own: here it is an error.
    let scratch = tempfile::tempdir().unwrap();
    let unit = scratch.path().join("shop.service");
    let text = planned("/srv/shop", "shop")["unit"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(&unit, text.replace("PrivateTmp=", "PrivatTmp=")).unwrap();
    let output = Command::new(&verify).arg(&unit).output().unwrap();
    assert!(!output.status.success(), "{output:#?}");
}

#[test]
fn what_cannot_be_a_service_is_refused_with_what_to_do() {
    let refused = |words: &[&str]| {
        let output = Command::new(BINARY)
            .arg("service")
            .args(words)
            .arg("--json")
            .output()
            .unwrap();
        let form: Value = serde_json::from_slice(&output.stdout).unwrap();
        let finding = form["findings"][0].clone();
        assert!(finding["fix"].is_string(), "{form}");
        (output.status.code(), finding.to_string())
    };
    let named = Command::new(BINARY)
        .args(["service", "install", "--dry-run", "--name", "../x"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&named.stderr);
    assert!(
        named.status.code() == Some(2) && text.contains("--name") && text.contains("small letters"),
        "{text}"
    );
    let (code, text) = refused(&["install", "--dry-run", "--folder", "/srv/a b"]);
    assert!(code == Some(2) && text.contains("--folder"), "{text}");
    let (code, text) = refused(&["install", "--dry-run", "--folder", "/root/lighterman"]);
    assert!(code == Some(2) && text.contains("does not see"), "{text}");
    if Path::new("/run/systemd/system").exists() {
        println!("skipped in part: systemd runs this machine");
        return;
    }
    for command in ["install", "uninstall", "start", "stop", "status"] {
        let (code, text) = refused(&[command]);
        assert!(code == Some(1) && text.contains("systemd"), "{text}");
    }
}

/// What a package ships beside the program.
#[test]
fn pages_and_completions_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .arg("pages")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let first = read("man/lighterman.1");
    for part in [
        "Carries changes of an ERP",
        "EXIT STATUS",
        "lighterman\\-status(1)",
        "/etc/lighterman",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(read("man/lighterman-source-prepare.1").contains("\\-\\-apply"));
    for completions in [
        "bash/lighterman.bash",
        "zsh/_lighterman",
        "fish/lighterman.fish",
    ] {
        let text = read(completions);
        for word in ["status", "resync", "dry-run"] {
            assert!(text.contains(word), "{completions}: {word}");
        }
    }
}
