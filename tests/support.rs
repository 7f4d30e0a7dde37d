//! A support bundle: what is in it, also where much is wrong, and what is not. `taint.rs` looks for every
//! secret and every person in one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const TABLES: &str = "CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT)";

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  item: {name: item, key: [sku]}
dictionaries:
  kinds: {A: stocked}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"dict(kinds, name)\", status: \"'active'\"}
";

/// A key of what is held.
const KEY: &str = "Zx5HeldKey";

/// What is in a bundle, by the names within its folder.
pub(crate) fn unpacked(file: &Path) -> BTreeMap<String, String> {
    let packed = std::fs::File::open(file).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let name = path.components().skip(1).collect::<std::path::PathBuf>();
        found.insert(name.display().to_string(), text);
    }
    found
}

fn json(files: &BTreeMap<String, String>, name: &str) -> Value {
    let text = files
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

/// The part of the manifest about a file.
fn part<'m>(manifest: &'m Value, file: &str) -> &'m Value {
    let parts = manifest["parts"].as_array().unwrap();
    let found = parts.iter().find(|part| part["file"] == file);
    found.unwrap_or_else(|| panic!("nothing of {file}: {manifest:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_has_what_helps_and_no_key_unless_it_is_asked_for() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let local = format!("[local]\nlisten = \"127.0.0.1:{}\"\n", free_port());
    std::fs::write(&settings, local + &text).unwrap();
    let mut agent = site.agent();
    site.run(&format!(
        "INSERT INTO item VALUES ('A', 'A'), ('{KEY}', '{KEY}')"
    ));
    let there = receiver
        .wait(SOON, |held| held.body("product.v1", "ACME|A").is_some())
        .await;
    assert!(there, "{}", agent.log());
    let deadline = tokio::time::Instant::now() + SOON;
    while site.status().1["held_count"] != 1 {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (code, shown) = site.command(&["support-bundle", "--to", "b.tar.gz"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("Wrote "), "{shown}");
    let file = site.path().join("b.tar.gz");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "for whoever made it alone");
    }
    let files = unpacked(&file);
    let manifest = json(&files, "manifest.json");
    for part in manifest["parts"].as_array().unwrap() {
        assert_eq!(part["had"], true, "{part}");
    }
    assert_eq!(json(&files, "system.json")["agent"]["pid"], agent.pid());
    assert!(json(&files, "system.json")["disk_free_bytes"].is_number());
    let settings = json(&files, "settings.json")["settings"].to_string();
    assert!(settings.contains("source.erp.file"), "{settings}");
    assert_eq!(files["mappings/erp/1-mapping.yaml"], MAPPING);
    let check = json(&files, "check.json");
    assert!(
        check["worst"].is_string() && check["worst"] != "fail",
        "{check}"
    );
    let status = json(&files, "status.json");
    assert_eq!(status["held_count"], 1, "{status}");
    assert_eq!(status["destinations"][0]["name"], "shop", "{status}");
    let state = json(&files, "state.json");
    assert!(
        state["verify"]["findings"].as_array().unwrap().len() > 8,
        "{state}"
    );
    let outbox = state["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["table"] == "outbox");
    let outbox = outbox.unwrap();
    assert!(
        outbox["rows"] == 1 && outbox["bytes"].as_u64() > Some(0),
        "{outbox}"
    );
    let held = json(&files, "held.json");
    assert_eq!(held["counts"][0]["count"], 1, "{held}");
    assert!(
        files["metrics.txt"].contains("lighterman_"),
        "{}",
        files["metrics.txt"]
    );
    let log = files
        .iter()
        .find(|(name, _)| name.starts_with("logs/"))
        .unwrap()
        .1;
    assert!(log.contains("agent.started"), "{log}");
    assert!(
        files["audit.jsonl"].contains("agent.started"),
        "{}",
        files["audit.jsonl"]
    );
    for (name, text) in &files {
        assert!(!text.contains(KEY), "{name}: {text}");
    }

    // It never takes another file's place.
    let (code, shown) = site.command(&["support-bundle", "--to", "b.tar.gz"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("exists already") && shown.contains("hint: "),
        "{shown}"
    );

    let (code, shown) = site.command(&[
        "support-bundle",
        "--with-keys",
        "--to",
        "k.tar.gz",
        "--json",
    ]);
    assert_eq!(code, Some(0), "{shown}");
    let told: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(told["manifest"]["with_keys"], true, "{told}");
    let files = unpacked(&site.path().join("k.tar.gz"));
    assert!(
        files["held.json"].contains(KEY) && files["status.json"].contains(KEY),
        "{files:#?}"
    );
    let ended = agent.terminate(SOON).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
    let (_, shown) = site.command(&["audit", "show", "--what", "support"]);
    assert_eq!(shown.matches("support.bundle").count(), 2, "{shown}");
}

/// The bad day is when it is needed: what cannot be had keeps nothing else away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_said_and_the_rest_is_there() {
    let site = Site::new(BINARY, "http://127.0.0.1:9/", TABLES, MAPPING);
    let settings = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    // A source that is not there, a secret that is missing, a mapping file that is not there.
    let more = format!(
        "[local]\nlisten = \"127.0.0.1:{}\"\n[[source]]\nname = \"far\"\ntype = \"postgres\"\n\
         host = \"127.0.0.1\"\nport = {}\ndatabase = \"erp\"\nuser = \"u\"\n\
         password = {{ env = \"NOT_SET_ANYWHERE\" }}\nmappings = [\"far.yaml\"]\n",
        free_port(),
        free_port()
    );
    std::fs::write(&settings, more + &text).unwrap();
    let (code, shown) = site.command(&["support-bundle", "--to", ".", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let told: Value = serde_json::from_str(&shown).unwrap();
    let manifest = &told["manifest"];
    let file = told["file"].as_str().unwrap();
    assert!(file.contains("lighterman-support-"), "{file}");
    let files = unpacked(Path::new(file));
    for (name, why) in [
        ("mappings/far/1-far.yaml", "read far.yaml"),
        ("metrics.txt", "does the agent run?"),
        ("held.json", "there is none"),
        ("audit.jsonl", "there is none"),
        ("logs", "has no file of these days"),
    ] {
        let part = part(manifest, name);
        assert_eq!(part["had"], false, "{part}");
        assert!(part["said"].to_string().contains(why), "{part}");
        assert!(!files.contains_key(name), "{name}");
    }
    for name in [
        "settings.json",
        "check.json",
        "system.json",
        "mappings/erp/1-mapping.yaml",
    ] {
        assert_eq!(part(manifest, name)["had"], true, "{manifest:#}");
        assert!(files.contains_key(name), "{name}");
    }
    assert!(
        files["check.json"].contains("NOT_SET_ANYWHERE"),
        "{}",
        files["check.json"]
    );

    // Settings that are no TOML any more, and none at all.
    std::fs::write(&settings, "[[source]\n").unwrap();
    let (code, shown) = site.command(&["support-bundle", "--to", "broken.tar.gz"]);
    assert_eq!(code, Some(0), "{shown}");
    let files = unpacked(&site.path().join("broken.tar.gz"));
    assert!(
        files["settings.json"].contains("lighterman.toml"),
        "{}",
        files["settings.json"]
    );
    std::fs::remove_file(&settings).unwrap();
    let (code, shown) = site.command(&["support-bundle"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("no settings file") && shown.contains("hint: "),
        "{shown}"
    );
}
