//! What commands look like at a terminal. The documents' pictures of it are of what the commands print now: the
//! text they were made of stands beside them, and this compares it. `SHOTS=1` makes text and pictures anew.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use harness::browser::Browser;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use harness::terminal::Terminal;
use serde_json::{Value, json};

use crate::metrics::SOON;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const STOCK: &str = "inventory.availability.v1";

/// What a document may cost who reads it.
const PICTURE_BYTES_MAX: usize = 150_000;

const TABLES: &str =
    "CREATE TABLE stock (sku TEXT, loc TEXT, qty NUMERIC NOT NULL, PRIMARY KEY (sku, loc));
    INSERT INTO stock VALUES ('100XLG', 'WH7', 4), ('128 SDRAM', 'WH7', 12), ('WIRE-SCD-0001', 'WH7', 150),
      ('FAXX-FG3-0001', 'MAIN', 3), ('HDWR-PRO-4862', 'MAIN', 8), ('PHON-ATT-53WH', 'MAIN', 64);";

const MAPPING: &str = r#"mapping: 1
pack: my-erp
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku, loc]}
dictionaries:
  places: {MAIN: WEB-1}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: {column: "stock.loc", dictionary: places}}
    fields: {uom: "'EA'", on_hand: "stock.qty", allocated: "0", active: true}
"#;

/// An agent that told what it could; a location is in no dictionary, and the shop refuses an item.
fn site(receiver: &Receiver) -> Site {
    let refused = "ACME|FAXX-FG3-0001|WEB-1".to_owned();
    receiver.held().rejected.push(refused);
    let webhook = format!(
        "type = \"webhook\"\nurl = \"{}\"\ntimeout_seconds = 1\n",
        receiver.url()
    );
    let site = Site::with(BINARY, &webhook, TABLES, MAPPING);
    let port = harness::receiver::free_port();
    append(
        &site,
        &format!("[check]\nevery_minutes = 0\n[local]\nlisten = \"127.0.0.1:{port}\"\n"),
    );
    site
}

fn append(site: &Site, more: &str) {
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{settings}{more}")).unwrap();
}

async fn settled(site: &Site) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, status) = site.status();
        let said = status["sentences"].as_array().unwrap().iter();
        let said: Vec<&str> = said.map(|one| one["text"].as_str().unwrap()).collect();
        let has = |words: &str| said.iter().any(|text| text.contains(words));
        if status["held_count"] == 4
            && status["destinations"][0]["backlog"] == 0
            && has("is captured")
            && has("comes through")
        {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What a terminal of so many columns and rows shows of a command, from some words on, up to a line with others.
fn screen(site: &Site, words: &[&str], size: (u16, u16), last: &str, key: Option<&str>) -> String {
    let mut terminal = Terminal::coloured(BINARY, site.path(), words, size);
    terminal.expect(last);
    match key {
        Some(key) => terminal.keys(key),
        None => terminal.expect("\n"),
    }
    terminal.ended();
    let shown = terminal.shown();
    // Of what is drawn again and again the first one: from the top left corner.
    let shown = shown
        .split_once("\x1b[H")
        .map_or(&*shown, |(_, frame)| frame);
    let (before, behind) = shown.split_once(last).unwrap();
    let end = behind
        .split(['\r', '\n', '\x1b'])
        .next()
        .unwrap_or_default();
    let drawn = format!("$ lighterman {}\n{before}{last}{end}\n", words.join(" "));
    drawn.replace("\x1b[K", "").replace('\r', "")
}

/// The same text whenever it is made: without counts, times, sizes and what the machine is.
fn skeleton(text: &str) -> String {
    let mut text = text.to_owned();
    // Where a sentence goes on below hangs on how long its numbers are.
    for colour in [31, 32, 33] {
        text = text.replace(&format!("\x1b[0m\n\x1b[{colour}m  "), " ");
    }
    let text = text
        .replace("\x1b[31m", "<red>")
        .replace("\x1b[32m", "<green>")
        .replace("\x1b[33m", "<yellow>")
        .replace("\x1b[0m", "<>");
    let mut all = String::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let mut digits = false;
        let mut plain = String::new();
        for c in word.chars() {
            if !c.is_ascii_digit() {
                plain.push(c);
            } else if !digits {
                plain.push('#');
            }
            digits = c.is_ascii_digit();
        }
        let unit = plain.trim_end_matches(['.', ':', ',', ';']);
        if all.ends_with("# ")
            && ["ms", "s", "min", "h", "B", "KiB", "MiB", "GiB", "TiB"].contains(&unit)
        {
            plain = plain.replacen(unit, "unit", 1);
        }
        let _ = write!(all, "{plain} ");
        // A place in a log, a version and a time zone are what they are.
        if ["position", "version", "this machine's"]
            .iter()
            .any(|before| all.ends_with(&format!("{before} ")))
        {
            words.next();
        }
        if all.ends_with("this machine's is ") {
            words.next();
        }
    }
    all
}

/// The terminal's text as a page of its own, with the terminal's edge: lines go on below as they do there.
fn page(text: &str, columns: u16) -> String {
    let mut body = String::new();
    for piece in text.split_inclusive('\n') {
        let piece = piece
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace("\x1b[31m", "<span style=\"color:#ff8a80\">")
            .replace("\x1b[32m", "<span style=\"color:#8ddb8c\">")
            .replace("\x1b[33m", "<span style=\"color:#f2cc60\">")
            .replace("\x1b[0m", "</span>");
        body.push_str(&piece);
    }
    format!(
        "<!doctype html><meta charset=\"utf-8\"><body style=\"margin:0\"><pre style=\"margin:0;padding:16px 20px;\
         width:calc({columns}ch + 4px);white-space:pre-wrap;word-break:break-all;background:#0d1117;color:#e6edf3;\
         font:14px/1.4 'Liberation Mono',monospace\">{}</pre>",
        body.trim_end()
    )
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating/images")
}

/// The text that a picture was made of is what is printed now.
async fn compare(name: &str, columns: u16, shown: &str) {
    let (text, picture) = (
        folder().join(format!("{name}.ansi")),
        folder().join(format!("{name}.png")),
    );
    if std::env::var_os("SHOTS").is_some() {
        std::fs::write(&text, shown).unwrap();
        let words: Value = json!({ "html": page(shown, columns), "file": picture });
        let browser = Browser::installed(name).unwrap();
        browser.walk("terminal", words).await;
    }
    let kept = std::fs::read_to_string(&text).unwrap();
    assert_eq!(
        skeleton(&kept),
        skeleton(shown),
        "the picture {name}.png shows another text than the command prints now; look at the new one, and make it \
         with SHOTS=1 cargo test -p lighterman --test all terminal_pictures:: (docs/operating/images)\n{shown}"
    );
    let picture = std::fs::read(picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG"), "{name}");
    assert!(
        picture.len() < PICTURE_BYTES_MAX,
        "{name}: {}",
        picture.len()
    );
}

fn is_shown_in(name: &str, documents: &[&str]) {
    for document in documents {
        let file = folder().join("../../..").join(document);
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.contains(&format!("images/{name}.png")),
            "{name} in {document}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pictures_of_status_are_of_this_status() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site(&receiver);
    let agent = site.agent();
    for (sku, quantity) in [("HDWR-PRO-4862", 5), ("PHON-ATT-53WH", 60)] {
        site.run(&format!(
            "UPDATE stock SET qty = {quantity} WHERE sku = '{sku}'"
        ));
        let (key, wanted) = (
            format!("ACME|{sku}|WEB-1"),
            Value::from(quantity.to_string()),
        );
        let told = receiver.wait(SOON, |held| {
            held.body(STOCK, &key)
                .is_some_and(|body| body["on_hand"] == wanted)
        });
        assert!(told.await, "{}", agent.log());
    }
    settled(&site).await;
    let shown = screen(&site, &["status"], (100, 60), "the state file has ", None);
    compare("status-terminal", 100, &shown).await;
    is_shown_in(
        "status-terminal",
        &["docs/operating/status.md", "README.md"],
    );

    let words = ["status", "--watch"];
    let shown = screen(&site, &words, (80, 40), "q ends it", Some("q"));
    compare("watch-terminal", 80, &shown).await;
    is_shown_in("watch-terminal", &["docs/operating/status.md"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_of_check_is_of_this_check() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = site(&receiver);
    // What an upgrade of the application may take away, and a cloud system that is not there.
    site.run("DROP TRIGGER lighterman_stock_u");
    site.run("PRAGMA journal_mode = DELETE");
    append(
        &site,
        "[[destination]]\nname = \"warehouse\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n",
    );
    let shown = screen(&site, &["check"], (110, 60), " failures in ", None);
    compare("check-terminal", 110, &shown).await;
    is_shown_in("check-terminal", &["docs/operating/check.md", "README.md"]);
}
