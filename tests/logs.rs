//! What the agent says of itself: files, the console, the journal, levels and repetitions.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);

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

/// A site whose settings have this `[log]` block.
fn site_of(receiver: &Receiver, log: &str) -> Site {
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("[log]\n{log}\n{settings}")).unwrap();
    site
}

async fn quiet() -> Receiver {
    Receiver::start(1, Faults::default()).await
}

async fn arrives(receiver: &Receiver, sku: &str) -> bool {
    let key = format!("ACME|{sku}");
    receiver
        .wait(SOON, |held| held.body("product.v1", &key).is_some())
        .await
}

/// Every line in the files of a folder, in order.
fn lines(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
                .collect();
            lines
        })
        .collect()
}

fn with_code<'l>(lines: &'l [Value], code: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["code"] == code).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_hold_what_the_console_says_and_every_line_has_its_code() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "");
    let mut agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(arrives(&receiver, "A").await, "{}", agent.log());
    agent.terminate(SOON).await.unwrap();
    let lines = lines(&site.path().join("state/logs"));
    for code in [
        "agent.started",
        "capture.started",
        "delivery.started",
        "agent.stopped",
    ] {
        assert_eq!(with_code(&lines, code).len(), 1, "{code}: {lines:#?}");
    }
    for line in &lines {
        for field in ["timestamp", "level", "message", "target"] {
            let value = line[field].as_str().unwrap_or_default();
            assert!(!value.is_empty(), "{field}: {line}");
        }
        let message = line["message"].as_str().unwrap();
        assert!(agent.log().contains(message), "{message}: {}", agent.log());
    }
    let started = with_code(&lines, "agent.started")[0];
    assert!(started["pid"].is_u64(), "{started}");

    let site = site_of(&receiver, "files = false");
    let mut agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    agent.terminate(SOON).await.unwrap();
    assert!(!site.path().join("state/logs").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_be_kept_are_refused() {
    let receiver = quiet().await;
    let site = site_of(
        &receiver,
        "level = \"loud\"\nfile_bytes_max = 1_000_000\ntotal_bytes_max = 1_000_000",
    );
    let (code, shown) = site.command(&["check"]);
    assert_eq!(code, Some(2), "{shown}");
    for said in [
        "error, warn, info, debug, trace",
        "less than two files",
        "= 2000000",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_is_said_once_and_stops_nothing() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "folder = \"blocked\"");
    let blocked = site.path().join("blocked");
    std::fs::write(&blocked, "a file where the folder should be").unwrap();
    let agent = site.agent();
    let said = "log files cannot be written";
    assert!(agent.logged(said, SOON).await, "{}", agent.log());
    for sku in ["A", "B", "C"] {
        site.run(&format!("INSERT INTO item VALUES ('{sku}', 'a')"));
        assert!(arrives(&receiver, sku).await, "{}", agent.log());
    }
    assert_eq!(agent.log().matches(said).count(), 1, "{}", agent.log());
    // Mended, it goes on with the next line, and says how many are missing.
    std::fs::remove_file(&blocked).unwrap();
    let mended = async {
        let mut pause = false;
        while with_code(&lines(&blocked), "log.lines_lost").is_empty() {
            let command = if pause { "pause" } else { "resume" };
            site.command(&["destination", command, "shop"]);
            pause = !pause;
        }
    };
    let mended = tokio::time::timeout(SOON, mended).await;
    assert!(mended.is_ok(), "{}", agent.log());
    let lines = lines(&blocked);
    let lost = with_code(&lines, "log.lines_lost")[0];
    assert!(lost["count"].as_u64().unwrap() > 0, "{lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_log_is_said_once_and_stops_nothing() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "");
    let mut agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    agent.terminate(SOON).await.unwrap();
    let folder = site.path().join("state/logs");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(file.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", file.path()).unwrap();
    let agent = site.agent();
    for sku in ["A", "B", "C"] {
        site.run(&format!("INSERT INTO item VALUES ('{sku}', 'a')"));
        assert!(arrives(&receiver, sku).await, "{}", agent.log());
    }
    let said = "No space left on device";
    assert!(agent.logged(said, SOON).await, "{}", agent.log());
    assert_eq!(agent.log().matches(said).count(), 1, "{}", agent.log());
}

/// Starts the agent with its standard error somewhere else.
fn spawn(site: &Site, stderr: std::fs::File, journal: Option<&str>) -> Child {
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--config"])
        .arg(site.path().join("lighterman.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    if let Some(journal) = journal {
        command.env("JOURNAL_STREAM", journal);
    }
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_whose_disk_is_full_stops_nothing() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut agent = spawn(&site, full.unwrap(), None);
    site.run("INSERT INTO item VALUES ('A', 'a')");
    let arrived = arrives(&receiver, "A").await;
    let lines = lines(&site.path().join("state/logs"));
    let ended = agent.try_wait().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(arrived && ended.is_none(), "{ended:?}: {lines:#?}");
    assert_eq!(with_code(&lines, "agent.started").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_gets_priorities_and_nobody_else_does() {
    let receiver = quiet().await;
    for (journal, sku) in [(true, "A"), (false, "B")] {
        let site = site_of(&receiver, "");
        let path = site.path().join("journal");
        let file = std::fs::File::create(&path).unwrap();
        let about = file.metadata().unwrap();
        // Inherited from a shell under systemd, it names another file.
        let other = u64::from(!journal);
        let named = format!("{}:{}", about.dev(), about.ino() + other);
        let mut agent = spawn(&site, file, Some(&named));
        site.run(&format!("INSERT INTO item VALUES ('{sku}', 'a')"));
        assert!(arrives(&receiver, sku).await);
        agent.kill().unwrap();
        agent.wait().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let ranked = text
            .lines()
            .all(|line| line.starts_with("<6>") || line.starts_with("<4>"));
        assert_eq!(ranked, journal, "{text}");
        assert_eq!(
            text.starts_with("20"),
            !journal,
            "the journal knows when: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_is_changed_for_a_while_and_goes_back_by_itself() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "");
    let (code, shown) = site.command(&["log", "level", "debug"]);
    assert!(code == Some(1) && shown.contains("does not run"), "{shown}");
    let agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    let (code, _) = site.command(&["log", "level", "loud"]);
    assert_eq!(code, Some(2));
    let (code, _) = site.command(&["log", "level", "debug", "--for", "25h"]);
    assert_eq!(code, Some(2));

    let (code, shown) = site.command(&["log", "level", "debug", "--for", "1h", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(arrives(&receiver, "A").await);
    assert!(
        agent.logged("an event leaves", SOON).await,
        "{}",
        agent.log()
    );
    let (_, shown) = site.command(&["log", "level", "--json"]);
    let stands: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&stands["level"], &stands["usual"]),
        (&"debug".into(), &"info".into())
    );

    let (code, _) = site.command(&["log", "level", "debug", "--for", "1s"]);
    assert_eq!(code, Some(0));
    let back = "as the settings say again";
    assert!(agent.logged(back, SOON).await, "{}", agent.log());
    site.run("INSERT INTO item VALUES ('B', 'b')");
    assert!(arrives(&receiver, "B").await);
    // What a person does stands behind whatever was said of it.
    site.command(&["destination", "pause", "shop"]);
    assert!(agent.logged("is paused", SOON).await, "{}", agent.log());
    let log = agent.log();
    let (_, after) = log.rsplit_once(back).unwrap();
    assert!(!after.contains("DEBUG"), "{after}");
    let (_, shown) = site.command(&["log", "level"]);
    assert!(shown.contains("is info, as the settings say"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_outlives_a_restart_and_no_longer_than_it_was_asked_for() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "");
    let mut agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    let (code, shown) = site.command(&["log", "level", "debug", "--for", "1h"]);
    assert_eq!(code, Some(0), "{shown}");
    agent.kill();
    agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(
        agent.logged("an event leaves", SOON).await,
        "{}",
        agent.log()
    );
    agent.kill();
    // As if it had been asked for long ago; and something that nobody could have asked for.
    let state = site.path().join("state");
    let old = r#"{"level":"trace","until":"2020-01-01T00:00:00Z","by":"somebody"}"#;
    std::fs::write(state.join("log-level"), old).unwrap();
    std::fs::write(state.join("log-level.asked"), "{\"level\":").unwrap();
    let agent = site.agent();
    let refused = "that cannot be read";
    assert!(agent.logged(refused, SOON).await, "{}", agent.log());
    assert!(!state.join("log-level").exists() && !state.join("log-level.asked").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_again_and_again_is_summed_up() {
    const ITEMS: u64 = 50;
    let receiver = quiet().await;
    let refused = (0..ITEMS).map(|sku| format!("ACME|{sku}"));
    receiver.held().rejected.extend(refused);
    let site = site_of(&receiver, "");
    let mut agent = site.agent();
    for sku in 0..ITEMS {
        site.run(&format!("INSERT INTO item VALUES ('{sku}', 'a')"));
    }
    let held = async {
        while site.status().1["held_count"] != ITEMS {
            tokio::task::yield_now().await;
        }
    };
    let held = tokio::time::timeout(SOON, held).await;
    assert!(held.is_ok(), "{}", agent.log());
    agent.terminate(SOON).await.unwrap();
    let lines = lines(&site.path().join("state/logs"));
    let refused = with_code(&lines, "delivery.refused");
    let folded: u64 = refused
        .iter()
        .filter_map(|line| line["folded"].as_u64())
        .sum();
    let written = refused.iter().filter(|line| line["folded"].is_null());
    assert_eq!(written.clone().count(), 1, "{refused:#?}");
    assert_eq!(folded + 1, ITEMS, "{refused:#?}");
    assert!(refused.iter().all(|line| line["error"] == "HTTP 422"));
    assert!(agent.log().contains("49 more in"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_leads_from_the_change_to_the_answer() {
    let receiver = quiet().await;
    let site = site_of(&receiver, "level = \"trace\"");
    let mut agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(arrives(&receiver, "A").await, "{}", agent.log());
    agent.terminate(SOON).await.unwrap();
    let (_, shown) = site.command(&["trace", "--key", "A", "--json"]);
    let traced: Value = serde_json::from_str(&shown).unwrap();
    let event = &traced["events"][0];
    let lines = lines(&site.path().join("state/logs"));
    let of = |code: &str, field: &str, value: &Value| -> Value {
        let found = with_code(&lines, code);
        let found: Vec<_> = found.iter().filter(|line| line[field] == *value).collect();
        assert_eq!(found.len(), 1, "{code} with {field} {value}: {lines:#?}");
        (*found[0]).clone()
    };
    let id = &event["event_id"];
    let stored = of("event.stored", "event_id", id);
    assert_eq!(stored["position"], event["position"], "{event}");
    of("change.read", "position", &stored["position"]);
    let sent = of("delivery.sent", "event_id", id);
    let answered = of("delivery.answered", "event_id", id);
    assert_eq!(sent["attempt"], answered["attempt"]);
    assert_eq!(answered["outcome"], "applied", "{answered}");
}
