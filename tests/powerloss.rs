//! The power is lost under a running agent: whatever its disk may look like then (`harness::disk`), the agent opens it,
//! nothing that was promised is gone, and the source was told to forget no more than that.
//!
//! `POWERLOSS_IMAGES=500 POWERLOSS_RUNS=100 cargo test -p lighterman --test all powerloss::` looks at more of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::Position;
use harness::agent::Agent;
use harness::disk::{Loss, Recorded, Shim};
use harness::receiver::{Faults, Held, Receiver};
use harness::site::Site;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use state::{Store, StoreError};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  item: {name: item, key: [sku]}
  move: {name: move, key: [id]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: \"'EA'\", kind: \"'stocked'\", status: \"'active'\"}
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: \"'adjustment'\", sku: sku, location: \"'X'\", uom: \"'EA'\", quantity: qty}
";

const TABLES: &str = "
CREATE TABLE item (sku TEXT PRIMARY KEY, name TEXT);
CREATE TABLE move (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER)";

/// So many of what is named, unless the environment says more.
fn wanted(name: &str, usual: u64) -> u64 {
    let said = std::env::var(name).ok();
    said.map_or(usual, |said| said.parse().unwrap())
}

/// A shop whose rows change, and what its receiver must come to.
struct Shop {
    receiver: Receiver,
    site: Site,
    names: BTreeMap<String, String>,
    moves: usize,
}

impl Shop {
    async fn new() -> Self {
        let receiver = Receiver::start(1, Faults::default()).await;
        let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
        let file = site.path().join("lighterman.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // The log's own files would only be in the way.
        std::fs::write(&file, format!("{text}[log]\nfiles = false\n")).unwrap();
        Self {
            receiver,
            site,
            names: BTreeMap::new(),
            moves: 0,
        }
    }

    fn state(&self) -> PathBuf {
        self.site.path().join("state")
    }

    /// Rows that come, change and go.
    fn changes(&mut self, rng: &mut StdRng, count: usize) {
        let mut sql = String::from("BEGIN;");
        for _ in 0..count {
            let sku = format!("S{}", rng.random_range(0..40));
            match rng.random_range(0..10) {
                0..5 => {
                    let name = format!("name {}", rng.random_range(0..1_000_000));
                    let _ = write!(
                        sql,
                        "INSERT INTO item VALUES ('{sku}', '{name}')
                         ON CONFLICT DO UPDATE SET name = excluded.name;"
                    );
                    self.names.insert(format!("ACME|{sku}"), name);
                }
                5 => {
                    let _ = write!(sql, "DELETE FROM item WHERE sku = '{sku}';");
                    self.names.remove(&format!("ACME|{sku}"));
                }
                _ => {
                    self.moves += 1;
                    let _ = write!(
                        sql,
                        "INSERT INTO move (sku, qty) VALUES ('{sku}', {});",
                        self.moves
                    );
                }
            }
        }
        sql.push_str("COMMIT");
        self.site.run(&sql);
    }

    fn is_told(&self, held: &Held) -> bool {
        let there = held.state.iter().filter_map(|((_, key), (_, body))| {
            let name = body.as_ref()?["name"].as_str()?;
            Some((key.clone(), name.to_owned()))
        });
        held.facts.len() == self.moves && there.collect::<BTreeMap<_, _>>() == self.names
    }

    async fn comes(&self, agent: &Agent) {
        let there = self.receiver.wait(SOON, |held| self.is_told(held)).await;
        let held = self.receiver.held();
        assert!(
            there,
            "{} of {} facts\n{:#?}\n{:#?}\n{}",
            held.facts.len(),
            self.moves,
            held.state,
            self.names,
            agent.log()
        );
    }

    /// Files of the source and of the state, and what they hold.
    fn files(&self) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
        let mut names = Vec::new();
        for folder in [self.site.path().to_owned(), self.state()] {
            let found = std::fs::read_dir(folder).unwrap();
            let found = found.map(|entry| entry.unwrap().path());
            names.extend(found.filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                let ours = name.starts_with("erp.db") || name.starts_with("lighterman.");
                path.is_file() && ours && !name.ends_with("-shm")
            }));
        }
        let names: Vec<PathBuf> = names
            .iter()
            .map(|name| name.canonicalize().unwrap())
            .collect();
        let contents = names.iter().map(|name| std::fs::read(name).unwrap());
        let contents = contents.collect();
        (names, contents)
    }

    /// All is told by an agent that nothing befalls, and all is well then.
    async fn ends_well(&self) {
        let agent = self.site.agent();
        self.comes(&agent).await;
        stop(agent).await;
        assert_eq!(self.receiver.held().violations, Vec::<String>::new());
        let (code, shown) = self.site.command(&["state", "verify"]);
        assert_eq!(code, Some(0), "{shown}");
    }
}

async fn stop(mut agent: Agent) {
    let ended = agent.terminate(SOON).await;
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{}",
        agent.log()
    );
}

/// What a state file says was done.
#[derive(Debug, PartialEq)]
struct Done {
    checkpoint: Option<u64>,
    /// Events of the outbox, and how far each delivery is.
    events: BTreeMap<String, Vec<String>>,
}

fn done(folder: &Path) -> Result<Done, StoreError> {
    drop(Store::open(folder)?);
    let verdict = state::verify(&state::file_path(folder))?;
    let wrong: Vec<_> = verdict.findings.iter().map(ToString::to_string).collect();
    let bad = verdict
        .findings
        .iter()
        .any(|one| one.level == contract::Level::Fail);
    assert!(!bad, "{wrong:#?}");
    let db = Connection::open(state::file_path(folder)).unwrap();
    let checkpoint: Option<String> = db
        .query_row("SELECT checkpoint FROM source", [], |row| row.get(0))
        .unwrap_or(None);
    let checkpoint = checkpoint.map(|text| {
        let position: Position = text.parse().unwrap();
        position.pos.number().unwrap()
    });
    let mut events = BTreeMap::new();
    let mut read = || -> rusqlite::Result<()> {
        let mut query = db.prepare(
            "SELECT o.id, d.state FROM outbox o LEFT JOIN delivery d ON d.offset = o.offset",
        )?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        for row in rows {
            let (id, state) = row?;
            let of: &mut Vec<String> = events.entry(id).or_default();
            of.extend(state);
        }
        Ok(())
    };
    // A file that was just made has no tables.
    let _ = read();
    Ok(Done { checkpoint, events })
}

/// Up to which change the source has forgotten its log.
fn forgotten(database: &Path) -> u64 {
    let db = Connection::open(database).unwrap();
    let oldest: Option<i64> = db
        .query_row("SELECT min(seq) FROM lighterman_log", [], |row| row.get(0))
        .unwrap();
    let newest: i64 = db
        .query_row(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'lighterman_log'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    oldest.map_or(newest, |oldest| oldest - 1).unsigned_abs()
}

const FINAL: [&str; 4] = ["delivered", "superseded", "discarded", "held"];

/// What is wrong with what a power loss left, where this was promised and that could be there at most.
fn judge(image: &Done, promised: &Done, most: &Done, forgotten: u64) -> Option<String> {
    if image.checkpoint.unwrap_or(0) < forgotten {
        return Some(format!(
            "the source has forgotten up to {forgotten}, and the checkpoint is {:?}",
            image.checkpoint
        ));
    }
    if image.checkpoint < promised.checkpoint || image.checkpoint > most.checkpoint {
        return Some(format!(
            "the checkpoint {:?} is not between {:?} and {:?}",
            image.checkpoint, promised.checkpoint, most.checkpoint
        ));
    }
    for (id, states) in &promised.events {
        let Some(now) = image.events.get(id) else {
            return Some(format!("event {id} is gone"));
        };
        let ended = |all: &[String]| all.iter().any(|state| FINAL.contains(&state.as_str()));
        if ended(states) && !ended(now) {
            return Some(format!("event {id} was {states:?} and is {now:?}"));
        }
    }
    let more = image
        .events
        .keys()
        .find(|id| !most.events.contains_key(*id));
    more.map(|id| format!("event {id} was never there"))
}

/// One run of an agent from the first write to the last, its log folded into the file half-way and at its end; then
/// the power is lost at any moment of it, and what was not synced is kept or lost by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_power_loss_leaves_holds_what_was_promised() {
    let mut rng = StdRng::seed_from_u64(10);
    let mut shop = Shop::new().await;
    shop.changes(&mut rng, 100);
    let agent = shop.site.agent();
    shop.comes(&agent).await;
    stop(agent).await;
    // More than the 1,000 pages after which SQLite folds its log.
    shop.changes(&mut rng, 2_000);
    let (names, contents) = shop.files();
    let log = shop.site.path().join("disk.log");
    let shim = Shim::under(&shop.state()).noted(shop.site.path(), &log);
    let agent = shop.site.agent_with(&shim.environment());
    shop.comes(&agent).await;
    stop(agent).await;
    let recorded = Recorded::read(&log, &names, &contents);
    assert!(recorded.syncs() > 20, "{} syncs", recorded.syncs());

    let images = tempfile::tempdir().unwrap();
    let mut opened: BTreeMap<usize, Done> = BTreeMap::new();
    let mut number = 0;
    let mut image = |cut: usize, loss: &mut Loss<'_>, from: &Path| {
        number += 1;
        let to = images.path().join(number.to_string());
        std::fs::create_dir(&to).unwrap();
        recorded.image(cut, loss, from, &to);
        to
    };
    let all = wanted("POWERLOSS_IMAGES", 16);
    let began = std::time::Instant::now();
    for seed in 0..all {
        let mut rng = StdRng::seed_from_u64(seed);
        let cut = rng.random_range(recorded.before()..=recorded.len());
        let promised = recorded.promised(cut, "/lighterman.db-wal");
        for whole in [promised, cut] {
            if !opened.contains_key(&whole) {
                let folder = image(whole, &mut Loss::Nothing, &shop.state());
                let found = done(&folder).unwrap_or_else(|error| panic!("{whole}: {error}"));
                opened.insert(whole, found);
                std::fs::remove_dir_all(folder).unwrap();
            }
        }
        let source = image(cut, &mut Loss::Nothing, shop.site.path());
        let forgotten = forgotten(&source.join("erp.db"));
        let mut loss = if seed % 5 == 0 {
            Loss::All
        } else {
            Loss::Some(&mut rng)
        };
        let folder = image(cut, &mut loss, &shop.state());
        let found = done(&folder).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let wrong = judge(&found, &opened[&promised], &opened[&cut], forgotten);
        assert_eq!(wrong, None, "seed {seed}: cut {cut} of {}", recorded.len());
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::remove_dir_all(source).unwrap();
    }
    println!(
        "images={all} steps={} syncs={} lost=0 ahead=0 in {:.1?}",
        recorded.len(),
        recorded.syncs(),
        began.elapsed()
    );

    // A disk that says that it synced and did not: what it loses then nobody can bring back. It is noticed by SQLite's
    // own sums and our look at the file, or the file is an older one; in no case does opening it do more than say so.
    let lies = recorded.without_syncs();
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..all / 4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let cut = rng.random_range(lies.before()..=lies.len());
        let to = images.path().join(format!("lies-{seed}"));
        std::fs::create_dir(&to).unwrap();
        lies.image(cut, &mut Loss::Some(&mut rng), &shop.state(), &to);
        match Store::open(&to) {
            Ok(_) => opened += 1,
            Err(error) => {
                refused += 1;
                let helps = error.hint().is_some() || matches!(error, StoreError::Io { .. });
                assert!(helps, "seed {seed}: {error}");
            }
        }
    }
    println!("lost_syncs={} refused={refused} opened={opened}", all / 4);
}

/// The power is lost again and again under one shop, at moments that chance chooses; the source, elsewhere, has
/// forgotten what it was told to. In the end the receiver has what the source has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_losses_one_after_the_other_lose_and_double_nothing() {
    let mut rng = StdRng::seed_from_u64(wanted("POWERLOSS_SEED", 11));
    let mut shop = Shop::new().await;
    shop.receiver.fails(Faults {
        refuse: 50,
        fail_after: 50,
        too_late: 0,
    });
    let (mut losses, mut after) = (0, 0);
    for _ in 0..wanted("POWERLOSS_RUNS", 6) {
        let rows = rng.random_range(20..120);
        shop.changes(&mut rng, rows);
        let state = shop.state();
        if !state.exists() {
            std::fs::create_dir(&state).unwrap();
        }
        let (names, contents) = shop.files();
        let log = shop.site.path().join("disk.log");
        let _ = std::fs::remove_file(&log);
        let at = rng.random_range(1..400);
        let shim = Shim::under(&state)
            .noted(&state, &log)
            .fault(&format!("op:{at}:kill"));
        let mut agent = shop.site.agent_with(&shim.environment());
        let told = shop.receiver.wait(SOON, |held| shop.is_told(held));
        tokio::select! {
            ended = agent.end(SOON) => {
                assert!(ended.is_some_and(|ended| ended.code().is_none()), "{}", agent.log());
                losses += 1;
            }
            // It had less to do.
            there = told => {
                assert!(there, "{}", agent.log());
                after += 1;
            }
        }
        agent.kill();
        drop(agent);
        let recorded = Recorded::read(&log, &names, &contents);
        let image = tempfile::tempdir().unwrap();
        recorded.image(
            recorded.len(),
            &mut Loss::Some(&mut rng),
            &state,
            image.path(),
        );
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
        for entry in std::fs::read_dir(image.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                continue;
            }
            std::fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
    }
    shop.receiver.mend();
    shop.ends_well().await;
    println!(
        "power_losses={losses} after_all_was_told={after} facts={} lost=0 doubled=0",
        shop.moves
    );
}
