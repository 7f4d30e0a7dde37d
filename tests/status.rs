//! `lighterman status`: one screen that says whether stock flows, and if not, why; once, again and again, on a
//! terminal and into a pipe.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

use crate::metrics::{holds, site};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const STOCK: &str = "inventory.availability.v1";

/// Waits until status fits.
async fn until(site: &Site, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, status) = site.status();
        if fits(&status) {
            return status;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn texts(status: &Value) -> Vec<&str> {
    let sentences = status["sentences"].as_array().unwrap().iter();
    sentences.map(|one| one["text"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentences_say_what_flows_what_waits_and_what_is_held() {
    let receiver = Receiver::start(1, Faults::default()).await;
    receiver.held().rejected.extend(["ACME|B|MAIN".to_owned()]);
    let (site, _) = site(&receiver, "");
    let (code, shown) = site.command(&["status"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.starts_with("The agent has never run here."),
        "{shown}"
    );

    let mut agent = site.agent();
    site.run("UPDATE stock SET qty = 5 WHERE sku = 'A'");
    assert!(holds(&receiver, "A", "5").await, "{}", agent.log());
    let well = |status: &Value| {
        let captured = status["sources"][0]["lag_seconds"].is_number();
        captured && status["held_count"] == 1 && status["destinations"][0]["backlog"] == 0
    };
    let status = until(&site, well).await;
    let said = texts(&status);
    assert!(said[0].starts_with("The agent runs (process "), "{said:#?}");
    assert_eq!(
        said[1],
        "1 SKU is held for shop: refused by the destination."
    );
    let delivered = "Stock: every other change that was captured is delivered.";
    assert!(said.contains(&delivered), "{said:#?}");
    assert_eq!(status["sentences"][1]["level"], "warn");
    let flow = &status["flow"]["types"][0];
    assert_eq!(flow["event_type"], STOCK);
    assert!(flow["day"].as_u64() >= Some(3), "{flow}");
    assert_eq!(flow["minute"], flow["day"], "{flow}");
    let shop = &status["flow"]["delivered"][0];
    assert!(shop["minute"].as_u64() >= Some(2), "{shop}");
    assert_eq!(shop["failed_hour"], 1, "{shop}");
    let (code, shown) = site.command(&["status"]);
    assert_eq!(code, Some(0), "{shown}");
    for words in [
        "  which, and what to do: lighterman held list\n",
        "inventory.availability.v1 ACME|B|MAIN (by shop): ",
        "\nsource erp: ",
        "\n  position ",
        "\ndestination shop: ",
        "\ndisk: ",
        "\nevents captured ",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "no colours in a pipe: {shown}");

    // What waits is late by its age, and a person's pause is said.
    let (code, shown) = site.command(&["destination", "pause", "shop"]);
    assert_eq!(code, Some(0), "{shown}");
    site.run("UPDATE stock SET qty = 6 WHERE sku = 'A'");
    let status = until(&site, |status| {
        status["destinations"][0]["backlog"] == 1 && texts(status).join(" ").contains("behind at")
    })
    .await;
    let said = texts(&status).join("\n");
    assert!(
        said.contains("shop is PAUSED until a person resumes it"),
        "{said}"
    );
    assert!(said.contains(" s behind at shop: 1 event waits."), "{said}");

    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    let (code, shown) = site.command(&["status"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.starts_with("The agent does NOT run. Start it: lighterman run\n"),
        "{shown}"
    );
}

/// A mapping's reasons are said, and SKUs are counted where they are known, else rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mapping_holds_is_said_with_its_reason() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let tables = "CREATE TABLE stock (sku TEXT, loc TEXT, uom TEXT, PRIMARY KEY (sku, loc));
        INSERT INTO stock VALUES ('A', 'WH7', 'EA'), ('A', 'WH8', 'EA'), ('B', 'WH7', 'EA'),
          ('A', 'MAIN', 'BOX'), ('C', 'MAIN', 'BOX'), ('C', 'OLD', 'BOX'), ('D', 'MAIN', 'EA');";
    let mapping = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku, loc]}
dictionaries:
  places: {MAIN: WEB-1, OLD: WEB-2}
  units: {EA: EA}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: {column: "stock.loc", dictionary: places}}
    fields: {uom: {column: "stock.uom", dictionary: units}, on_hand: "1", allocated: "0", active: true}
"#;
    let site = Site::new(BINARY, receiver.url(), tables, mapping);
    let _agent = site.agent();
    let status = until(&site, |status| status["held_count"] == 6).await;
    let said = texts(&status);
    for words in [
        "3 rows of main.stock, stock, are held: rule stock, field location",
        "2 SKUs are held: rule stock, field uom",
    ] {
        let said = said.iter().any(|text| text.starts_with(words));
        assert!(said, "{words}: {status:#}");
    }
    let (_, shown) = site.command(&["held", "list"]);
    for text in said.iter().filter(|text| text.contains("held: ")) {
        let (_, reason) = text.split_once("held: ").unwrap();
        assert!(
            shown.contains(reason.trim_end_matches('.')),
            "{reason}\n{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_prints_again_into_a_pipe_until_nobody_reads_or_it_is_told_to_end() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _) = site(&receiver, "");
    let _agent = site.agent();
    until(&site, |status| status["running"] == true).await;
    let mut watch = watching(site.path(), &["status", "--json", "--watch", "1"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        let status: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(status["running"], true, "{line}");
    }
    let pid = watch.id().to_string();
    let told = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(told.unwrap().success());
    assert_eq!(ended(&mut watch), Some(0));

    let mut watch = watching(site.path(), &["status", "--watch", "1"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("The agent runs"), "{first}");
    drop(lines);
    assert!(
        ended(&mut watch).is_some(),
        "it goes on although nobody reads"
    );
}

fn watching(folder: &Path, words: &[&str]) -> Child {
    Command::new(BINARY)
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How a process ended; it is given a while.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A terminal of so many columns and rows, by `script`: what came onto it while a command ran there.
fn on_a_terminal(folder: &Path, before: &str, words: &str) -> Option<(i32, String)> {
    let line =
        format!("stty cols 60 rows 16; {before} {BINARY} {words}; code=$?; stty -a; exit $code");
    let started = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut script) = started else {
        // Not by a print macro: those are captured, and a skipped test must be seen.
        let line = "skipped: program `script` (package bsdutils) is not here\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let mut stdin = script.stdin.take().unwrap();
    let mut stdout = script.stdout.take().unwrap();
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        let mut asked = false;
        // A person presses q who has seen something.
        while let Ok(n @ 1..) = std::io::Read::read(&mut stdout, &mut piece) {
            bytes.extend_from_slice(&piece[..n]);
            let seen = String::from_utf8_lossy(&bytes).contains("q ends it");
            if seen && !std::mem::replace(&mut asked, true) {
                let _ = stdin.write_all(b"q");
                let _ = stdin.flush();
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let code = ended(&mut script)?;
    Some((code, read.join().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_it_fits_is_redrawn_in_place_and_leaves_everything_as_it_was() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _) = site(&receiver, "");
    let keys: Vec<String> = (0..40).map(|n| format!("ACME|X{n}|MAIN")).collect();
    receiver.held().rejected.extend(keys);
    for n in 0..40 {
        site.run(&format!("INSERT INTO stock VALUES ('X{n}', 1)"));
    }
    let _agent = site.agent();
    until(&site, |status| status["held_count"] == 40).await;

    let Some((code, shown)) = on_a_terminal(site.path(), "", "status") else {
        return;
    };
    assert_eq!(code, 0, "{shown}");
    assert!(
        shown.contains("\x1b[33m40 SKUs are held for shop"),
        "{shown}"
    );
    assert!(shown.contains(" more: lighterman held list"), "{shown}");
    let plain = |line: &str| {
        let mut text = String::new();
        let mut parts = line.split('\x1b');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| c.is_ascii_alphabetic());
            text.push_str(end.map_or("", |end| &part[end + 1..]));
        }
        text
    };
    let (screen, _) = shown.split_once("speed ").unwrap();
    for line in screen.lines() {
        assert!(plain(line).trim_end().chars().count() <= 60, "{line:?}");
    }
    for (before, words) in [("NO_COLOR=1", "status"), ("", "status --no-color")] {
        let (_, shown) = on_a_terminal(site.path(), before, words).unwrap();
        assert!(!shown.contains("\x1b[3"), "{before} {words}: {shown}");
    }

    let (code, shown) = on_a_terminal(site.path(), "", "status --watch 1").unwrap();
    assert_eq!(code, 0, "{shown}");
    let (begin, end) = ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l");
    assert!(shown.contains(begin) && shown.contains(end), "{shown}");
    let frame = shown.split("\x1b[H").nth(1).unwrap();
    let frame = frame.split("\x1b[J").next().unwrap();
    assert!(frame.lines().count() <= 16, "{frame}");
    // As `stty -a` has it afterwards.
    let (_, modes) = shown.split_once("speed ").unwrap();
    assert!(
        !modes.contains("-icanon") && !modes.contains("-echo "),
        "{modes}"
    );
    assert!(modes.contains("susp = ^Z"), "{modes}");
}
