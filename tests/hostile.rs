//! Rows that somebody typed to do harm: wherever they come by, they are data and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use harness::local::get;
use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;
use serde_json::Value;

use crate::metrics::SOON;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
pub(crate) const PRODUCT: &str = "product.v1";

const TABLES: &str = "CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT, more JSON);";

pub(crate) const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  item: {name: item, key: [sku]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: item.sku}
    fields: {name: item.name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
"#;

/// Each is an item's number and its name.
pub(crate) const HOSTILE: [&str; 34] = [
    // SQL
    "'; DROP TABLE item; --",
    "\" OR 1=1; DELETE FROM event --",
    "\\'; ATTACH 'x' AS y; --",
    // templates, ours and others'
    "{sku}{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "{type}.{op}.{key}",
    "%s%n%x$(id)`id`;id|id&&id",
    // headers and lines
    "x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK",
    "\nFAIL forged: everything is lost",
    "{\"level\":\"ERROR\",\"code\":\"forged\"}",
    "a\u{85}b\u{2028}c\u{2029}d\u{b}e\u{c}f",
    // terminals
    "\u{1b}[2J\u{1b}[31mFAIL\u{1b}]0;mine\u{7}",
    "\u{9b}2J\u{9d}0;mine\u{9c}",
    "x\u{8}\u{8}y\u{7f}\u{e}z",
    // spreadsheets
    "=HYPERLINK(\"http://evil.example\",\"x\")",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "a\",\"b\"\r\n\"=1",
    // texts that look like others
    "\u{202e}gpj.exe\u{202c}",
    "\u{2066}a\u{2069}\u{200f}b",
    "zero\u{200b}\u{200d}\u{feff}width",
    "\u{fffd}\u{10ffff}\u{e000}",
    // names and numbers that programs stumble over
    "__proto__",
    "constructor",
    "{\"__proto__\":{\"admin\":true}}",
    "1e400",
    "-99999999999999999999999999999999999999999999.999",
    "NaN",
    // pages
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "<![CDATA[x]]>&#60;b&#62;<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>",
    // paths and parts of keys
    "../../../../etc/passwd",
    "a|b\\|c%7Cd%00",
];

/// A key as events have it.
pub(crate) fn key(sku: &str) -> String {
    format!("ACME|{}", sku.replace('\\', "\\\\").replace('|', "\\|"))
}

/// Settings with the agent's page, and everything told to two files beside the receiver.
fn site(receiver: &Receiver) -> (Site, u16) {
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let folder = site.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(site.path().join("anna"), "correct horse battery").unwrap();
    let port = free_port();
    let mut text = String::new();
    for format in ["json-lines", "csv"] {
        use std::fmt::Write as _;
        write!(
            text,
            "[[destination]]\nname = \"{format}\"\ntype = \"file\"\nfolder = \"{}\"\nformat = \"{format}\"\n",
            folder.display()
        )
        .unwrap();
    }
    let file = site.path().join("lighterman.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    write!(file, "{text}[local]\nlisten = \"127.0.0.1:{port}\"\n").unwrap();
    (site, port)
}

fn file_of(folder: &Path, ending: &str) -> String {
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let found = files
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == ending));
    found
        .map(|path| std::fs::read_to_string(path).unwrap())
        .unwrap_or_default()
}

/// Waits until a file has so many events.
async fn lines(folder: &Path, ending: &str, mark: &str, count: usize) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let text = file_of(folder, ending);
        if text.matches(mark).count() >= count {
            return text;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{ending}: {} events", text.matches(mark).count());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The records of RFC 4180.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            other => cell.push(other),
        }
    }
    records
}

/// What could steer a terminal or turn its text around.
fn steers(text: &str) -> Option<char> {
    text.chars().find(|letter| {
        letter.is_control() && *letter != '\n'
            || matches!(*letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

fn name_of(data: &Value) -> String {
    data["body"]["name"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_typed_is_data_wherever_it_comes_by() {
    let receiver = Receiver::start(1, Faults::default()).await;
    // All of the last ones are refused, so that they are held and shown.
    let refused: Vec<&str> = HOSTILE.iter().step_by(2).copied().collect();
    receiver
        .held()
        .rejected
        .extend(refused.iter().map(|sku| key(sku)));
    let (site, port) = site(&receiver);
    let db = rusqlite::Connection::open(site.path().join("erp.db")).unwrap();
    db.busy_timeout(SOON).unwrap();
    let insert = |text: &str| {
        db.execute("INSERT INTO item VALUES (?1, ?1, ?1)", [text])
            .unwrap();
    };
    let (first, second) = HOSTILE.split_at(HOSTILE.len() / 2);
    // Half of them are read as they stand, half come by the log.
    for text in first {
        insert(text);
    }
    let mut agent = site.agent();
    let all_of = |texts: &[&str]| {
        let mut wanted = texts
            .iter()
            .filter(|text| !refused.contains(text))
            .map(|text| key(text));
        let held = receiver.held();
        wanted.all(|key| held.body(PRODUCT, &key).is_some())
    };
    let deadline = tokio::time::Instant::now() + SOON;
    for text in second {
        insert(text);
    }
    while !all_of(&HOSTILE) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}\n{}",
            receiver.held().state.keys().collect::<Vec<_>>(),
            agent.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    // At an API.
    for text in HOSTILE.iter().filter(|text| !refused.contains(text)) {
        let held = receiver.held();
        let body = held.body(PRODUCT, &key(text)).unwrap();
        assert_eq!(body["name"], Value::from(*text), "{body}");
        assert_eq!(body["stock_uom"], "EA");
    }
    assert_eq!(receiver.held().violations, Vec::<String>::new());
    let rows: i64 = db
        .query_row("SELECT count(*) FROM item", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), HOSTILE.len());

    // In files.
    let wanted: BTreeSet<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    let out = site.path().join("out");
    let text = lines(&out, "jsonl", "\n", HOSTILE.len()).await;
    let events: Vec<Value> = text
        .split_terminator('\n')
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: BTreeSet<String> = events.iter().map(|event| name_of(&event["data"])).collect();
    assert_eq!((events.len(), &names), (HOSTILE.len(), &wanted));
    let text = lines(&out, "csv", "\"product.v1\",\"ACME", HOSTILE.len()).await;
    let table = records(&text);
    assert_eq!(table.len(), HOSTILE.len() + 1);
    let mut names = BTreeSet::new();
    for record in table.iter().skip(1) {
        assert_eq!(record.len(), 8, "{record:?}");
        let sum = |cell: &String| cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        assert!(!record.iter().any(sum), "{record:?}");
        let data: Value = serde_json::from_str(&record[7]).unwrap();
        assert_eq!(record[2], key(&name_of(&data)));
        names.insert(name_of(&data));
    }
    assert_eq!(names, wanted);

    // At a terminal, and for programs.
    let deadline = tokio::time::Instant::now() + SOON;
    let held = loop {
        let (_, shown) = site.command(&["held", "list", "--json", "--limit", "100"]);
        let held: Value = serde_json::from_str(&shown).unwrap();
        if held["held"].as_array().unwrap().len() == refused.len() {
            break held;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{shown}\n{}", agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let items = held["held"].as_array().unwrap().iter();
    let keys: BTreeSet<&str> = items
        .clone()
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    let wanted: BTreeSet<String> = refused.iter().map(|text| key(text)).collect();
    assert_eq!(
        keys,
        wanted.iter().map(String::as_str).collect::<BTreeSet<_>>()
    );
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["held", "list", "--limit", "100"],
        vec!["status"],
        vec!["audit", "show"],
        vec!["destination", "list"],
        vec![
            "map",
            "try",
            "mapping.yaml",
            "--table",
            "item",
            "--key",
            HOSTILE[10],
        ],
    ];
    let evil = [
        HOSTILE[6],
        HOSTILE[7],
        HOSTILE[10],
        HOSTILE[11],
        HOSTILE[19],
    ];
    let evil_keys = evil.map(key);
    for key in &evil_keys {
        asked.push(vec!["trace", "--key", key]);
    }
    let ids: Vec<&str> = items.map(|item| item["id"].as_str().unwrap()).collect();
    for id in ids.iter().take(8) {
        asked.push(vec!["held", "show", id]);
    }
    for words in asked {
        let (_, shown) = site.command(&words);
        assert_eq!(steers(&shown), None, "{words:?}: {shown:?}");
        for forged in ["FAIL forged", "Set-Cookie: a=b", "HTTP/1.1 200 OK"] {
            let begins = shown
                .lines()
                .any(|line| line.trim_start().starts_with(forged));
            assert!(!begins, "{words:?}: {shown}");
        }
    }
    let (_, shown) = site.command(&["trace", "--key", &evil_keys[2], "--json"]);
    let told: Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}"));
    assert_eq!(told["events"][0]["key"], evil_keys[2].as_str());
    assert_eq!(steers(&shown), None, "{shown:?}");

    // In the numbers, and in what is logged, at the level that says most.
    let (status, numbers) = get(port, "/metrics").await;
    assert!(status == 200 && !numbers.contains("alert(1)"), "{numbers}");
    site.command(&["log", "level", "trace", "--for", "1m"]);
    insert("\u{1b}[2J late\r\nforged");
    assert!(
        receiver
            .wait(SOON, |held| {
                held.body(PRODUCT, &key("\u{1b}[2J late\r\nforged"))
                    .is_some()
            })
            .await
    );
    agent.terminate(SOON).await.unwrap();
    let log = agent.log();
    assert_eq!(steers(&log), None, "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("forged")), "{log}");
    let logs = site.path().join("state/logs");
    let text = file_of(&logs, "jsonl");
    assert!(!text.is_empty());
    assert_eq!(steers(&text), None, "{text:?}");
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

/// What is no text at all, or ends in the middle for some programs: the rows beside it go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_hold_up_nothing() {
    let receiver = Receiver::start(2, Faults::default()).await;
    let (site, _) = site(&receiver);
    let odd = "(CAST(X'41FF42' AS TEXT), CAST(X'C328FF' AS TEXT), NULL), ('NUL', 'a' || char(0) || 'b', NULL), \
               ('HUGE', 9e999, NULL), ('BLOB', X'00FF', NULL)";
    site.run(&format!(
        "INSERT INTO item VALUES {odd}, ('FIRST', 'x', NULL)"
    ));
    let agent = site.agent();
    for sku in ["FIRST", "SECOND"] {
        let there = receiver.wait(SOON, |held| held.body(PRODUCT, &key(sku)).is_some());
        assert!(there.await, "{sku}: {}", agent.log());
        if sku == "FIRST" {
            site.run(&format!(
                "DELETE FROM item WHERE sku <> 'FIRST'; INSERT INTO item VALUES {odd}, ('SECOND', 'x', NULL)"
            ));
        }
    }
    // Whatever was not told is held, with a reason.
    let (_, shown) = site.command(&["held", "list", "--json", "--limit", "100"]);
    let held: Value = serde_json::from_str(&shown).unwrap();
    let held = held["held"].as_array().unwrap();
    for item in held {
        assert!(!item["reason"].as_str().unwrap().is_empty(), "{item}");
    }
    let all = receiver.wait(SOON, |now| {
        let told = now.state.values().filter(|(_, body)| body.is_some());
        told.count() + held.len() >= 6
    });
    assert!(all.await, "{held:?}\n{}", agent.log());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// JSON that is nested too deep for whoever reads it by recursion, and one text larger than all else together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_a_hundred_megabytes_and_json_without_end_pass_in_bounded_memory() {
    const BYTES: u64 = 100 << 20;
    let receiver = Receiver::start(3, Faults::default()).await;
    let (site, _) = site(&receiver);
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    // One file is enough of it.
    let only = text.split("[[destination]]").collect::<Vec<_>>();
    let only = format!("{}[[destination]]{}", only[0], only[2]);
    std::fs::write(&settings, only).unwrap();
    let deep = 100_000;
    site.run(&format!(
        "INSERT INTO item SELECT 'DEEP', '{}' || '1' || '{}', NULL; \
         INSERT INTO item SELECT 'JSON', 'x', '{}' || '{}'",
        "[".repeat(deep),
        "]".repeat(deep),
        "{\"a\":".repeat(deep),
        "}".repeat(deep),
    ));
    let agent = site.agent();
    let out = site.path().join("out");
    lines(&out, "jsonl", "\n", 2).await;
    site.run(&format!(
        "INSERT INTO item VALUES ('LONG', replace(hex(zeroblob({})), '00', 'xy'), NULL); \
         INSERT INTO item VALUES ('NEXT', 'y', NULL)",
        BYTES / 2
    ));
    let deadline = tokio::time::Instant::now() + 2 * SOON;
    // A file that is full is followed by the next; the large one is not read here.
    let (mut bytes, mut next) = (0, false);
    while bytes < BYTES || !next {
        (bytes, next) = (0, false);
        for entry in std::fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            let length = std::fs::metadata(&path).unwrap().len();
            bytes += length;
            next |= length < 1 << 20
                && String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("ACME|NEXT");
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{bytes} bytes\n{}", agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let peak = agent.memory_peak_kib() >> 10;
    assert!(peak < 1_000, "{peak} MiB");
}
