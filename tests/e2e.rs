//! The whole product through its binary, as a user runs it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

fn lighterman(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lighterman"))
        .current_dir(folder)
        .args(words)
        // A bare machine: without a single certificate authority.
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/dev/null")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn demo(words: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec!["demo", "--json"];
    all.extend(words);
    let output = lighterman(folder.path(), &all);
    let shown = stdout(&output);
    assert!(
        output.status.success(),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary: serde_json::Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["lost"], &summary["mismatched"]),
        (&0.into(), &0.into()),
        "{summary}"
    );
    assert!(summary["delivered"].as_u64().unwrap() > 500, "{summary}");
    summary
}

#[test]
fn the_demo_loses_and_doubles_nothing() {
    demo(&["--seconds", "3"]);
}

#[test]
fn the_demo_survives_kill_9() {
    let summary = demo(&["--seconds", "5", "--kill-every", "1"]);
    assert!(summary["kills"].as_u64().unwrap() >= 3, "{summary}");
}

#[test]
fn init_writes_what_check_reads_for_every_source() {
    for (words, mapping) in [
        (vec!["init"], "source: postgres\n"),
        (vec!["init", "--source", "postgres"], "source: postgres\n"),
        (vec!["init", "--source", "sqlite"], "source: sqlite\n"),
        (
            vec!["init", "--source", "mysql"],
            "source: mysql\nschema: erp ",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(lighterman(folder.path(), &words).status.success());
        let written = std::fs::read_to_string(folder.path().join("mapping.yaml")).unwrap();
        assert!(written.contains(mapping), "{written}");
        // The examples' secrets are references that are not set here: nothing else is wrong.
        let output = lighterman(folder.path(), &["check"]);
        assert_eq!(output.status.code(), Some(2));
        let shown = stdout(&output);
        for line in shown.lines().filter(|line| line.starts_with("FAIL")) {
            assert!(line.contains("environment variable"), "{shown}");
        }
        assert!(shown.contains("SHOP_WEBHOOK_SECRET is not set"), "{shown}");
        let again = lighterman(folder.path(), &["init", "--json"]);
        let again: serde_json::Value = serde_json::from_str(&stdout(&again)).unwrap();
        assert_eq!(again["written"].as_array().map(Vec::len), Some(0));
        assert_eq!(again["kept"].as_array().map(Vec::len), Some(2));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = lighterman(folder.path(), &["init", "--source", "oracle"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stdout(&output).contains("one of mysql, postgres, sqlite"),
        "{}",
        stdout(&output)
    );
}

/// Broken settings and what is said about them, all at once and each with its place.
#[test]
fn broken_settings_are_refused_with_place_and_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "tennant = \"x\"\nstate_folder = 5\n\n[[source]]\nname = \"erp\"\ntype = \"sqlte\"\nmappings = [\"none.yaml\"]\n\n[[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"http://example.com/x\"\nbatch_events_max = 5\nrequests_max = 0\n";
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    let output = lighterman(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
    let shown = stdout(&output);
    for expected in [
        "lighterman.toml:1:1: tennant: unknown key `tennant`\n  hint: did you mean `tenant`?",
        "lighterman.toml:2:16: state_folder: expected text, found a number",
        "lighterman.toml:6:8: source[1].type: there is no `sqlte`\n  hint: did you mean `sqlite`?",
        "lighterman.toml:12:7: destination[1].url: would send events unencrypted\n  hint: use https",
        "lighterman.toml:13:20: destination[1].batch_events_max: only means something with mode",
        "lighterman.toml:14:16: destination[1].requests_max: expected a whole number from 1 to 64, found 0",
    ] {
        assert!(
            shown.contains(expected),
            "missing: {expected}\nin:\n{shown}"
        );
    }
    std::fs::write(folder.path().join("lighterman.toml"), "tenant = \n").unwrap();
    let shown = stdout(&lighterman(folder.path(), &["check"]));
    assert!(shown.contains("FAIL lighterman.toml:1:"), "{shown}");
    for words in [
        &["check"][..],
        &["status"],
        &["source", "prepare"],
        &["source", "resync"],
    ] {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        let refused = stdout(&lighterman(folder.path(), &words));
        let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
        assert_eq!(refused["findings"][0]["level"], "fail", "{words:?}");
        assert_eq!(refused["findings"][0]["place"]["line"], 1, "{words:?}");
    }
    let missing = lighterman(folder.path(), &["status", "--config", "nowhere.toml"]);
    assert!(
        stdout(&missing).contains("read nowhere.toml"),
        "{}",
        stdout(&missing)
    );
}

#[test]
fn check_says_what_loads_but_should_be_known() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        lighterman(folder.path(), &["init", "--source", "sqlite"])
            .status
            .success()
    );
    let file = folder.path().join("mapping.yaml");
    let mapping = std::fs::read_to_string(&file).unwrap();
    let mapping = mapping.replace("events:\n", "  spare: {name: spare, key: [id]}\nevents:\n");
    std::fs::write(&file, mapping).unwrap();
    let settings = folder.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("secret = {", "# secret = {")).unwrap();
    let shown = stdout(&lighterman(folder.path(), &["check"]));
    let warned = shown
        .lines()
        .any(|line| line.starts_with("WARN mapping.yaml:") && line.contains("spare"));
    assert!(warned, "{shown}");
}
