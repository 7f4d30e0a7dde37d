//! The agent's own upgrade and the way back: what is put in place is signed, what it replaces is kept, and with a
//! backlog on both sides nothing is lost and nothing is told twice.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::receiver::{Faults, Held, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SOON: Duration = Duration::from_mins(1);
pub(crate) const STOCK: &str = "inventory.availability.v1";

const MAPPING: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item]}
  item:  {name: item, key: [code]}
  moved: {name: moved, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: stock.item, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: stock.qty, allocated: 0, active: true}
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.item, location: "'MAIN'", uom: "'EA'", quantity: moved.qty}
  - id: sum
    emit: inventory.availability.v1
    from: item
    add:
      moves: {from: moved, match: "moved.item = item.code", sum: moved.qty}
    key: {sku: item.code, location: "'SUM'"}
    fields: {uom: "'EA'", on_hand: moves.sum, allocated: 0, active: true}
"#;

const TABLES: &str = "
CREATE TABLE stock (item TEXT PRIMARY KEY, qty INTEGER);
CREATE TABLE item (code TEXT PRIMARY KEY, name TEXT);
CREATE TABLE moved (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER);
INSERT INTO stock VALUES ('a', 1), ('b', 2), ('c', 3);
INSERT INTO item VALUES ('a', 'Anchor'), ('b', 'Bolt'), ('c', 'Clamp');
INSERT INTO moved VALUES (1, 'a', 5), (2, 'b', 6);";

/// The format that the version before writes, and what it is made of.
pub(crate) const FORMAT_BEFORE: i64 = 8;
const SCHEMAS_BEFORE: [&str; 8] = [
    include_str!("../state/src/schema.sql"),
    include_str!("../state/src/schema_2.sql"),
    include_str!("../state/src/schema_3.sql"),
    include_str!("../state/src/schema_4.sql"),
    include_str!("../state/src/schema_5.sql"),
    include_str!("../state/src/schema_6.sql"),
    include_str!("../state/src/schema_7.sql"),
    include_str!("../state/src/schema_8.sql"),
];

/// Our binary without what debuggers need: small enough to be copied about.
fn small() -> &'static [u8] {
    static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
    SMALL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("lighterman");
        let stripped = Command::new("strip")
            .arg("-o")
            .arg(&to)
            .arg(BINARY)
            .status();
        let made = if stripped.is_ok_and(|status| status.success()) {
            to
        } else {
            PathBuf::from(BINARY)
        };
        std::fs::read(made).unwrap()
    })
}

/// A binary that does what ours does, and is another file.
fn binary(file: &Path, mark: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut content = small().to_vec();
    content.extend_from_slice(mark.as_bytes());
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A pair of keys, made here.
pub(crate) struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Self { folder };
        let public = keys.public();
        let secret = keys.secret();
        minisign(&["-G", "-W", "-p", text(&public), "-s", text(&secret)]);
        keys
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.folder.path().join("test.pub")
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("test.key")
    }

    fn sign(&self, file: &Path) {
        let secret = self.secret();
        minisign(&["-S", "-W", "-s", text(&secret), "-m", text(file)]);
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn minisign(words: &[&str]) {
    let done = Command::new("minisign").args(words).output();
    let done = done.unwrap_or_else(|error| panic!("minisign, which ./tests/run installs: {error}"));
    assert!(done.status.success(), "{done:?}");
}

/// A site with a binary of its own, and a newer one beside it.
pub(crate) struct Installed {
    pub(crate) site: Site,
    place: tempfile::TempDir,
    pub(crate) keys: Keys,
}

impl Installed {
    pub(crate) fn new(url: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let installed = Self {
            site: Site::new(BINARY, url, TABLES, MAPPING),
            place,
            keys: Keys::new(),
        };
        binary(&installed.binary(), "the one before");
        let newer = installed.newer();
        binary(&newer, "the newer one");
        installed.keys.sign(&newer);
        installed
    }

    pub(crate) fn binary(&self) -> PathBuf {
        self.place.path().join("bin/lighterman")
    }

    pub(crate) fn newer(&self) -> PathBuf {
        self.place.path().join("new/lighterman")
    }

    pub(crate) fn agent(&self) -> Agent {
        Agent::start(text(&self.binary()), self.site.path())
    }

    pub(crate) fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        command(text(&self.binary()), self.site.path(), words)
    }

    /// The command that upgrades, with more behind it.
    fn upgrade(&self, more: &[&str]) -> (Option<i32>, String) {
        let (newer, key) = (self.newer(), self.keys.public());
        let mut words = vec!["upgrade", "--from", text(&newer), "--key", text(&key)];
        words.extend(more);
        self.command(&words)
    }

    pub(crate) fn is(&self, mark: &str) -> bool {
        std::fs::read(self.binary())
            .unwrap()
            .ends_with(mark.as_bytes())
    }

    /// What lies beside the binary but what an upgrade keeps.
    pub(crate) fn beside(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.place.path().join("bin")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lighterman.previous").collect()
    }

    fn state(&self) -> PathBuf {
        self.site.path().join("state/lighterman.db")
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        let db = Connection::open(self.state()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Puts what the state file holds into the format of the version before.
    pub(crate) fn as_before(&self) {
        let file = self.state();
        let older = file.with_file_name("older.db");
        let db = Connection::open(&older).unwrap();
        db.execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = 0x4c54524d",
        )
        .unwrap();
        for schema in SCHEMAS_BEFORE {
            db.execute_batch(schema).unwrap();
        }
        db.pragma_update(None, "user_version", FORMAT_BEFORE)
            .unwrap();
        db.execute("ATTACH ?1 AS newer", [text(&file)]).unwrap();
        let tables: Vec<String> = db
            .prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        // They keep what is copied from being deleted first.
        let triggers: Vec<(String, String)> = db
            .prepare("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (name, _) in &triggers {
            db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        for table in tables {
            let columns: String = db
                .query_row(
                    "SELECT group_concat('\"' || name || '\"') FROM pragma_table_info(?1, 'main')",
                    [&table],
                    |row| row.get(0),
                )
                .unwrap();
            db.execute_batch(&format!(
                "DELETE FROM main.\"{table}\";
                 INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM newer.\"{table}\""
            ))
            .unwrap();
        }
        for (_, sql) in &triggers {
            db.execute_batch(sql).unwrap();
        }
        db.close().unwrap();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(file.with_file_name(format!("lighterman.db{end}")));
        }
        std::fs::rename(older, file).unwrap();
    }
}

pub(crate) async fn until(agent: &Agent, receiver: &Receiver, done: impl FnMut(&Held) -> bool) {
    let there = receiver.wait(SOON, done).await;
    let held = receiver.held();
    assert!(
        there,
        "{:#?}\n{:#?}\n{}",
        held.state,
        held.facts,
        agent.log()
    );
}

fn has(held: &Held, wanted: &[(&str, &str)], facts: usize) -> bool {
    let there = held.state.iter().filter(|(_, (_, body))| body.is_some());
    held.facts.len() == facts
        && there.count() == wanted.len()
        && wanted.iter().all(|(key, on_hand)| {
            let body = held.body(STOCK, &format!("ACME|{key}"));
            body.is_some_and(|body| body["on_hand"] == *on_hand)
        })
}

/// Until the agent has read everything, which it cannot deliver.
async fn captured(installed: &Installed, agent: &Agent, events: u64) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, status) = installed.site.status();
        let waiting = status["destinations"][0]["backlog"].as_u64().unwrap_or(0);
        if waiting >= events {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{status:#}\n{}",
            agent.log()
        );
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn stop(mut agent: Agent) {
    let ended = agent.terminate(SOON).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
}

fn refuses(receiver: &Receiver, thousandths: u32) {
    receiver.fails(Faults {
        refuse: thousandths,
        ..Faults::default()
    });
}

/// The version before has a backlog when it is replaced, the newer one when it is taken back; rows change while
/// either runs and while none does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_told_twice_on_the_way_there_and_back() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let installed = Installed::new(receiver.url());
    let agent = installed.agent();
    let told = [
        ("a|MAIN", "1"),
        ("b|MAIN", "2"),
        ("c|MAIN", "3"),
        ("a|SUM", "5"),
        ("b|SUM", "6"),
        ("c|SUM", "0"),
    ];
    until(&agent, &receiver, |held| has(held, &told, 2)).await;
    refuses(&receiver, 1_000);
    installed.site.run(
        "UPDATE stock SET qty = 10 WHERE item = 'a'; DELETE FROM stock WHERE item = 'b';
         INSERT INTO moved VALUES (3, 'a', 7), (4, 'c', 8)",
    );
    captured(&installed, &agent, 6).await;
    stop(agent).await;
    installed.as_before();

    let (code, shown) = installed.upgrade(&["--apply", "--allow-older"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(installed.is("the newer one"));
    assert_eq!(installed.number("PRAGMA user_version"), FORMAT_BEFORE);
    let agent = installed.agent();
    installed
        .site
        .run("INSERT INTO moved VALUES (5, 'b', 1); UPDATE stock SET qty = 11 WHERE item = 'a'");
    refuses(&receiver, 0);
    let told = [
        ("a|MAIN", "11"),
        ("c|MAIN", "3"),
        ("a|SUM", "12"),
        ("b|SUM", "7"),
        ("c|SUM", "8"),
    ];
    until(&agent, &receiver, |held| has(held, &told, 5)).await;
    assert!(installed.number("PRAGMA user_version") > FORMAT_BEFORE);

    // A backlog of the newer version: a key that came, one that went, facts whose row is gone when it goes back.
    refuses(&receiver, 1_000);
    installed.site.run(
        "INSERT INTO stock VALUES ('d', 4); DELETE FROM stock WHERE item = 'c';
         INSERT INTO item VALUES ('d', 'Dowel'); INSERT INTO moved VALUES (6, 'd', 9), (7, 'a', 1)",
    );
    captured(&installed, &agent, 6).await;
    let (code, shown) = installed.command(&["rollback"]);
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("stop it first"), "{shown}");
    let (code, shown) = installed.command(&["rollback", "--plan"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Nothing was touched"), "{shown}");
    stop(agent).await;
    assert!(installed.is("the newer one"));

    installed.site.run(
        "DELETE FROM moved WHERE id = 7; UPDATE stock SET qty = 12 WHERE item = 'a';
         INSERT INTO moved VALUES (8, 'b', 2)",
    );
    let (code, shown) = installed.command(&["rollback", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let done: Value = serde_json::from_str(&shown).unwrap();
    assert!(installed.is("the one before"), "{shown}");
    assert_eq!(done["binary"]["does"], "goes_back", "{shown}");
    assert_eq!(installed.number("PRAGMA user_version"), FORMAT_BEFORE);
    let shop = &done["state"]["destinations"][0];
    assert!(shop["delivered_since"].as_u64().unwrap() >= 6, "{shown}");
    assert!(shop["waiting"].as_u64().unwrap() >= 6, "{shown}");

    // The version before goes on.
    let repeated = receiver.held().repeated;
    refuses(&receiver, 0);
    let agent = installed.agent();
    let told = [
        ("a|MAIN", "12"),
        ("d|MAIN", "4"),
        ("a|SUM", "12"),
        ("b|SUM", "9"),
        ("c|SUM", "8"),
        ("d|SUM", "9"),
    ];
    until(&agent, &receiver, |held| has(held, &told, 8)).await;
    // Also when its tables have been read again: what they say was told.
    let read = "SELECT NOT EXISTS (SELECT 1 FROM snapshot WHERE NOT done)
                  AND NOT EXISTS (SELECT 1 FROM rule WHERE active AND stage <> 0)";
    let deadline = tokio::time::Instant::now() + SOON;
    while installed.number(read) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::task::yield_now().await;
    }
    installed.site.run("INSERT INTO stock VALUES ('z', 1)");
    until(&agent, &receiver, |held| {
        held.body(STOCK, "ACME|z|MAIN").is_some()
    })
    .await;
    stop(agent).await;
    let held = receiver.held();
    assert_eq!(held.violations, Vec::<String>::new());
    assert!(has(&held, &[&told[..], &[("z|MAIN", "1")]].concat(), 8));
    for (key, ids) in &held.facts {
        assert_eq!(ids.len(), 1, "{key}");
    }
    assert_eq!(
        held.repeated, repeated,
        "what was delivered is not sent again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_signed_takes_the_binarys_place() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let installed = Installed::new(receiver.url());
    let (newer, signature) = (
        installed.newer(),
        installed.newer().with_file_name("lighterman.minisig"),
    );
    let stays = |shown: &str, said: &str| {
        assert!(shown.contains(said), "{said}: {shown}");
        assert!(installed.is("the one before"), "{shown}");
        assert!(
            !installed
                .binary()
                .with_file_name("lighterman.previous")
                .exists()
        );
    };
    // This build knows no key, and takes nothing without one.
    let (code, shown) = installed.command(&["upgrade", "--from", text(&newer), "--apply"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "knows no key of its releases");
    let other = Keys::new();
    let (code, shown) = installed.command(&[
        "upgrade",
        "--from",
        text(&newer),
        "--apply",
        "--key",
        text(&other.public()),
    ]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "is signed with another key");
    // The same version is no newer one.
    let (code, shown) = installed.upgrade(&["--apply"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "is what stands here already");
    // A sum that is another.
    let sums = newer.with_file_name("SHA256SUMS");
    std::fs::write(&sums, format!("{}  lighterman\n", "0".repeat(64))).unwrap();
    let (code, shown) = installed.upgrade(&["--apply", "--allow-older"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "SHA256SUMS says");
    std::fs::remove_file(sums).unwrap();
    // One byte more.
    let mut content = std::fs::read(&newer).unwrap();
    content.push(b'!');
    std::fs::write(&newer, &content).unwrap();
    let (code, shown) = installed.upgrade(&["--apply", "--allow-older"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "is NOT what was signed");
    std::fs::remove_file(&signature).unwrap();
    let (code, shown) = installed.upgrade(&["--apply", "--allow-older"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "is not signed");
    // What is signed and no binary of ours.
    std::fs::write(&newer, "#!/bin/sh\necho something else\n").unwrap();
    installed.keys.sign(&newer);
    let (code, shown) = installed.upgrade(&["--apply", "--allow-older"]);
    assert_eq!(code, Some(1), "{shown}");
    stays(&shown, "does not say what it is");
    // What a package manager put there.
    binary(&newer, "the newer one");
    installed.keys.sign(&newer);
    let manager = installed.place.path().join("manager");
    std::fs::create_dir(&manager).unwrap();
    let program = manager.join("dpkg-query");
    std::fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    let path = format!("{}:{}", text(&manager), std::env::var("PATH").unwrap());
    let key = installed.keys.public();
    let done = Command::new(installed.binary())
        .args(["upgrade", "--apply", "--allow-older", "--from"])
        .args([newer.as_path(), Path::new("--key"), key.as_path()])
        .current_dir(installed.site.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{shown}");
    stays(&shown, "belongs to a package");
    assert!(shown.contains("apt-get install"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_would_change_and_touches_nothing() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let installed = Installed::new(receiver.url());
    let (code, shown) = installed.command(&["--version"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.starts_with(&format!("lighterman {VERSION} (commit ")),
        "{shown}"
    );
    let agent = installed.agent();
    until(&agent, &receiver, |held| held.facts.len() == 2).await;
    let (code, shown) = installed.upgrade(&["--plan"]);
    assert_eq!(code, Some(1), "the same version: {shown}");
    let (code, shown) = installed.upgrade(&["--plan", "--allow-older"]);
    assert_eq!(code, Some(0), "{shown}");
    for said in [
        "is signed (",
        &format!("runs as process {}: {VERSION}", agent.pid()),
        "stays of format ",
        "stays version 1",
        "all 3 make the same events",
        "Nothing was touched",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    stop(agent).await;
    // So it comes as a rule: an archive in a folder.
    let folder = installed.place.path().join("archive");
    std::fs::create_dir(&folder).unwrap();
    let archive = folder.join("lighterman-9.9.9-some-machine.tar.gz");
    let packed = Command::new("tar")
        .args([
            "-czf",
            text(&archive),
            "-C",
            text(installed.place.path()),
            "new",
        ])
        .status();
    assert!(packed.is_ok_and(|packed| packed.success()));
    installed.keys.sign(&archive);
    let key = installed.keys.public();
    let (code, shown) = installed.command(&[
        "upgrade",
        "--plan",
        "--allow-older",
        "--from",
        text(&folder),
        "--key",
        text(&key),
    ]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("lighterman-9.9.9-some-machine.tar.gz: is signed"),
        "{shown}"
    );

    installed.as_before();
    let before = std::fs::read(installed.state()).unwrap();
    // A rule that makes its events in another way than when it was last in force, and a setting that nobody knows.
    let mapping = MAPPING.replace("on_hand: stock.qty", "on_hand: stock.qty + 1");
    std::fs::write(installed.site.path().join("mapping.yaml"), mapping).unwrap();
    let (code, shown) = installed.upgrade(&["--plan", "--allow-older"]);
    assert_eq!(code, Some(0), "{shown}");
    for said in [
        "of format 8 (",
        "a key that is told anew costs one page of the file less",
        "stock of erp (table ",
        " make their events in another way: their tables are read again",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let settings = installed.site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("nobody_knows = 1\n{text}")).unwrap();
    let (code, shown) = installed.command(&["upgrade", "--plan", "--json"]);
    assert_eq!(code, Some(1), "{shown}");
    let plan: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(plan["worst"], "fail");
    assert!(shown.contains("nobody_knows"), "{shown}");
    assert_eq!(std::fs::read(installed.state()).unwrap(), before);
    assert!(!installed.site.path().join("state/backups").exists());
    assert!(installed.is("the one before"));
}

/// Upgrades that bring no new format make copies, too, and they do not fill the disk; a person's own stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_newest_copies_of_upgrades_without_a_new_format_are_kept() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let installed = Installed::new(receiver.url());
    let agent = installed.agent();
    until(&agent, &receiver, |held| held.facts.len() == 2).await;
    stop(agent).await;
    let backups = installed.site.path().join("state/backups");
    std::fs::create_dir(&backups).unwrap();
    for n in 0..7_u64 {
        for name in [
            format!("before-0.0.{n}-of-format-8-2026010{n}.db"),
            format!("mine-{n}.db"),
        ] {
            let file = backups.join(name);
            std::fs::copy(installed.state(), &file).unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(1_000 + n);
            let opened = std::fs::File::options().write(true).open(file).unwrap();
            opened.set_modified(at).unwrap();
        }
    }
    let (code, shown) = installed.upgrade(&["--apply", "--allow-older", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let done: Value = serde_json::from_str(&shown).unwrap();
    let made = PathBuf::from(done["backup"].as_str().unwrap());
    let mut kept: Vec<String> = std::fs::read_dir(&backups)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("before-"))
        .collect();
    kept.sort();
    let mut wanted: Vec<String> = (3..7)
        .map(|n| format!("before-0.0.{n}-of-format-8-2026010{n}.db"))
        .collect();
    wanted.push(text(Path::new(made.file_name().unwrap())).to_owned());
    assert_eq!(kept, wanted);
    for n in 0..7 {
        assert!(backups.join(format!("mine-{n}.db")).exists(), "mine-{n}");
    }
    // What is kept is what there is to go back to.
    let (code, shown) = installed.command(&["rollback"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(installed.is("the one before"), "{shown}");
}

/// Who puts an older binary there by hand is told what to do, and the older one can do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_refuses_a_newer_state_and_goes_back_on_command() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let installed = Installed::new(receiver.url());
    let agent = installed.agent();
    until(&agent, &receiver, |held| held.facts.len() == 2).await;
    stop(agent).await;
    let (code, shown) = installed.command(&["rollback"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("no upgrade is known here"), "{shown}");
    let (code, shown) = installed.command(&["state", "backup"]);
    assert_eq!(code, Some(0), "{shown}");
    // What a newer version left.
    let db = Connection::open(installed.state()).unwrap();
    db.execute_batch("ALTER TABLE published ADD COLUMN newer TEXT; PRAGMA user_version = 99")
        .unwrap();
    drop(db);
    for words in [
        &["status"][..],
        &["state", "verify"],
        &["upgrade", "--plan"],
    ] {
        let (code, shown) = installed.command(words);
        assert_eq!(code, Some(3), "{shown}");
        assert!(shown.contains("it has format 99"), "{shown}");
        assert!(
            shown.contains("lighterman rollback") && shown.contains("backups/lighterman-"),
            "{shown}"
        );
    }
    // So does the agent, and leaves the file as it is.
    let before = std::fs::read(installed.state()).unwrap();
    let mut agent = installed.agent();
    let refusal = "it has format 99, this agent knows up to ";
    assert!(agent.logged(refusal, SOON).await, "{}", agent.log());
    let deadline = tokio::time::Instant::now() + SOON;
    let ended = loop {
        if let Some(ended) = agent.ended() {
            break ended;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::task::yield_now().await;
    };
    assert_eq!(ended.code(), Some(3), "{}", agent.log());
    assert_eq!(std::fs::read(installed.state()).unwrap(), before);
    let (code, shown) = installed.command(&["rollback"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("went back from format 99"), "{shown}");
    installed.site.run("INSERT INTO moved VALUES (3, 'a', 1)");
    let agent = installed.agent();
    until(&agent, &receiver, |held| held.facts.len() == 3).await;
    stop(agent).await;
    let held = receiver.held();
    assert_eq!((&held.violations, held.repeated), (&Vec::new(), 0));
}
