//! Secrets that are kept, listed and removed; none of them is ever shown.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::terminal::Terminal;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

/// Fits whatever asks for a secret.
const SECRET: &str = "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u";

/// What a command said, and how it ended.
fn run(folder: &Path, words: &[&str], input: &[u8]) -> (String, i32) {
    let mut child = Command::new(BINARY)
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that asks for no secret does not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let mut shown = String::from_utf8_lossy(&output.stdout).into_owned();
    shown.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains(SECRET), "{shown}");
    (shown, output.status.code().unwrap())
}

/// A site whose one secret stands where `reference` says.
fn site(reference: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    settings(folder.path(), reference);
    folder
}

fn settings(folder: &Path, reference: &str) {
    let text = format!(
        "[[source]]\nname = \"erp\"\ntype = \"sqlite\"\nfile = \"erp.db\"\nmappings = [\"mapping.yaml\"]\n\n\
         [[destination]]\nname = \"web-shop\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n\
         secret = {reference}\n"
    );
    std::fs::write(folder.join("lighterman.toml"), text).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_secret_is_kept_for_its_owner_and_the_settings_take_it() {
    let folder = site("{ file = \"secrets/shop\" }");
    let (shown, code) = run(folder.path(), &["secret", "list"], b"");
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains("FAIL destination.web-shop.secret: read secret file secrets/shop"),
        "{shown}"
    );

    let input = format!("{SECRET}\r\n");
    let (shown, code) = run(folder.path(), &["secret", "set", "shop"], input.as_bytes());
    assert_eq!(code, 0, "{shown}");
    assert!(
        shown.contains("Kept in secrets/shop") && shown.contains("{ file = \"secrets/shop\" }"),
        "{shown}"
    );
    let kept = folder.path().join("secrets/shop");
    assert_eq!(
        std::fs::read_to_string(&kept).unwrap(),
        format!("{SECRET}\n")
    );
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    let (shown, code) = run(folder.path(), &["config", "show"], b"");
    assert_eq!(code, 0, "{shown}");

    // Another one takes its place, for the same readers.
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o640)).unwrap();
    let words = ["secret", "set", "shop", "--json"];
    let (shown, code) = run(folder.path(), &words, b"another one");
    assert_eq!(code, 0, "{shown}");
    let told: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(told["replaced"], true);
    assert_eq!(told["reference"], "{ file = \"secrets/shop\" }");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "another one\n");
    assert_eq!(mode(&kept), 0o640);
    let names: Vec<_> = std::fs::read_dir(kept.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn what_is_named_stays_and_what_is_not_goes() {
    let folder = site("{ file = \"./secrets/shop\" }");
    for name in ["shop", "old"] {
        let (shown, code) = run(folder.path(), &["secret", "set", name], SECRET.as_bytes());
        assert_eq!(code, 0, "{shown}");
    }
    let (shown, code) = run(folder.path(), &["secret", "list", "--json"], b"");
    assert_eq!(code, 0, "{shown}");
    let told: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(told["secrets"][0]["setting"], "destination.web-shop.secret");
    assert_eq!(told["secrets"][0]["error"], Value::Null);
    assert_eq!(
        told["named_by_no_setting"],
        serde_json::json!(["secrets/old"])
    );

    let (shown, code) = run(folder.path(), &["secret", "remove", "shop"], b"");
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains("destination.web-shop.secret of the settings names it"),
        "{shown}"
    );
    assert!(folder.path().join("secrets/shop").exists());
    let (shown, code) = run(folder.path(), &["secret", "remove", "old"], b"");
    assert_eq!((shown.as_str(), code), ("Removed file secrets/old.\n", 0));
    let (shown, code) = run(folder.path(), &["secret", "remove", "old"], b"");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("there is none"), "{shown}");
}

#[test]
fn a_secret_is_taken_neither_from_the_command_line_nor_half() {
    let folder = tempfile::tempdir().unwrap();
    // In the place of a name it is not repeated.
    let (shown, code) = run(folder.path(), &["secret", "set", "p@ss word!"], b"x");
    assert_eq!(code, 2, "{shown}");
    assert!(!shown.contains("p@ss"), "{shown}");
    let long = "x".repeat(70_000);
    for (input, found) in [
        (&b"\n"[..], "it is empty"),
        (b"\xff\xfea", "it is not UTF-8"),
        (long.as_bytes(), "longer than 65536 bytes"),
    ] {
        let (shown, code) = run(folder.path(), &["secret", "set", "erp"], input);
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains(found), "{shown}");
    }
    assert!(!folder.path().join("secrets").exists());
    // Lines of a key are all of it.
    let (shown, code) = run(
        folder.path(),
        &["secret", "set", "erp"],
        b"\xef\xbb\xbfa\nb\n",
    );
    assert_eq!(code, 0, "{shown}");
    let kept = std::fs::read_to_string(folder.path().join("secrets/erp")).unwrap();
    assert_eq!(kept, "a\nb\n");
}

#[test]
fn a_person_types_it_twice_and_nothing_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["secret", "set", "erp"];
    let mut terminal = Terminal::start(BINARY, folder.path(), &words);
    terminal.expect("it is not shown) > ");
    assert!(!terminal.echoes());
    terminal.line("geh eim");
    terminal.expect("once more > ");
    terminal.line("geh eim");
    terminal.expect("{ file = \"secrets/erp\" }");
    assert_eq!(terminal.ended(), Some(0));
    assert!(!terminal.shown().contains("eheim") && !terminal.shown().contains("geh eim"));
    let kept = std::fs::read_to_string(folder.path().join("secrets/erp")).unwrap();
    assert_eq!(kept, "geh eim\n");

    let mut terminal = Terminal::start(BINARY, folder.path(), &["secret", "set", "other"]);
    terminal.expect("it is not shown) > ");
    terminal.keys("\u{3}");
    terminal.expect("nothing was kept");
    assert_eq!(terminal.ended(), Some(1));
    assert!(terminal.echoes());
    assert!(!folder.path().join("secrets/other").exists());
}

#[test]
fn what_only_windows_has_is_refused_elsewhere_with_what_to_use() {
    for (reference, place) in [
        (
            "{ windows_credential = \"lighterman/shop\" }",
            "windows_credential lighterman/shop",
        ),
        (
            "{ protected_file = \"secrets/shop.protected\" }",
            "protected file secrets/shop.protected",
        ),
    ] {
        let folder = site(reference);
        std::fs::create_dir(folder.path().join("secrets")).unwrap();
        let kept = folder.path().join("secrets/shop.protected");
        std::fs::write(&kept, "lighterman protected file 1\nAQID\n").unwrap();
        let (shown, code) = run(folder.path(), &["config", "show"], b"");
        assert_eq!(code, 2, "{shown}");
        for part in [
            place,
            "only Windows has it",
            "{ file = \"path\" }",
            "lighterman.toml:11:",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        // What was written for another machine is no password.
        settings(folder.path(), "{ file = \"secrets/shop.protected\" }");
        let (shown, code) = run(folder.path(), &["config", "show"], b"");
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("it is protected"), "{shown}");
        // Nor is a text that somebody put there what a protected file says.
        std::fs::write(&kept, "plain\n").unwrap();
        settings(
            folder.path(),
            "{ protected_file = \"secrets/shop.protected\" }",
        );
        let (shown, _) = run(folder.path(), &["config", "show"], b"");
        assert!(
            shown.contains("none that lighterman secret set wrote"),
            "{shown}"
        );
    }
    let folder = site("{ env = \"X\", file = \"y\" }");
    let (shown, code) = run(folder.path(), &["config", "show"], b"");
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("exactly one of `env`, `file`"), "{shown}");
    for place in ["protected_file", "windows_credential"] {
        let words = ["secret", "set", "shop", "--in", place];
        let (shown, code) = run(folder.path(), &words, SECRET.as_bytes());
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("leave --in out"), "{shown}");
    }
}

#[test]
fn who_kept_and_removed_what_is_on_record_without_the_secret() {
    let folder = site("{ file = \"secrets/shop\" }");
    let (shown, code) = run(folder.path(), &["secret", "set", "shop"], SECRET.as_bytes());
    assert_eq!(code, 0, "{shown}");
    // The record begins with the state.
    drop(state_of(folder.path()));
    for words in [
        &["secret", "set", "other"][..],
        &["secret", "remove", "other"],
    ] {
        let (shown, code) = run(folder.path(), words, SECRET.as_bytes());
        assert_eq!(code, 0, "{shown}");
    }
    let (shown, code) = run(folder.path(), &["audit", "show"], b"");
    assert_eq!(code, 0, "{shown}");
    for entry in [
        "secret.set  file secrets/other",
        "secret.remove  file secrets/other",
    ] {
        assert!(shown.contains(entry), "{entry}: {shown}");
    }
}

/// A state folder as the first start makes it.
fn state_of(folder: &Path) -> state::Store {
    state::Store::open(&folder.join("state")).unwrap()
}
