//! The power is lost under a running agent: whatever its disk may look like then (`harness::disk`), the agent opens it,
//! nothing that was promised is gone, and the source was told to forget no more than that.
//!
//! `POWERLOSS_RUNS=100 cargo test -p lighterman --test all powerloss::` looks at more of them,
//! as does `POWERLOSS_LOOKS=500`.
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
use state::{StateReader, Store};

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

/// Up to which change the source has forgotten what it captured.
fn forgotten(database: &Path) -> u64 {
    let db = Connection::open(database).unwrap();
    let number = |sql: &str| -> Option<u64> {
        let found: Option<i64> = db.query_row(sql, [], |row| row.get(0)).unwrap();
        found.map(i64::unsigned_abs)
    };
    let oldest = number("SELECT min(seq) FROM lighterman_log");
    let newest = number("SELECT seq FROM sqlite_sequence WHERE name = 'lighterman_log'");
    oldest.map_or(newest.unwrap(), |oldest| oldest - 1)
}

/// Whether it has forgotten all.
fn is_empty(database: &Path) -> bool {
    let db = Connection::open(database).unwrap();
    let any = "SELECT EXISTS (SELECT 1 FROM lighterman_log)";
    !db.query_row(any, [], |row| row.get::<_, bool>(0)).unwrap()
}

/// The checkpoint in a state folder, once that was opened again.
pub(crate) fn checkpoint(folder: &Path) -> Result<Option<String>, String> {
    drop(Store::open(folder).map_err(|error| error.to_string())?);
    let reader = StateReader::open(folder).map_err(|error| error.to_string())?;
    let sources = reader.sources().map_err(|error| error.to_string())?;
    Ok(sources.first().and_then(|one| one.checkpoint.clone()))
}

/// Up to which change a state folder has everything.
fn kept(folder: &Path) -> Result<u64, String> {
    let position = checkpoint(folder)?.map(|text| text.parse::<Position>().unwrap());
    Ok(position.map_or(0, |position| position.pos.number().unwrap()))
}

/// What a power loss behind the first `cut` steps takes, that the source does not have any more either.
fn lost(shop: &Shop, recorded: &Recorded, cut: usize, loss: &mut Loss<'_>) -> Option<String> {
    let (source, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The source is another machine: it goes on.
    recorded.image(cut, &mut Loss::Nothing, shop.site.path(), source.path());
    recorded.image(cut, loss, &shop.state(), state.path());
    let forgotten = forgotten(&source.path().join("erp.db"));
    match kept(state.path()) {
        Ok(kept) if kept >= forgotten => None,
        Ok(kept) => Some(format!(
            "it has all up to {kept}, and the source nothing up to {forgotten}"
        )),
        Err(error) => Some(format!("it cannot be opened: {error}")),
    }
}

/// What the agent told its source that it may forget is nowhere else any more: it must be in the state, whatever the
/// power loss took. Looked at behind many steps of one run, with all or some of what was not synced gone.
///
/// The same run on a disk that says of each sync that it is done, and does nothing, must be found out: a judge that
/// cannot fail proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_was_told_to_forget_is_in_the_state_after_a_power_loss() {
    let mut rng = StdRng::seed_from_u64(wanted("POWERLOSS_SEED", 12));
    let mut shop = Shop::new().await;
    shop.changes(&mut rng, 20);
    let agent = shop.site.agent();
    shop.comes(&agent).await;
    stop(agent).await;
    shop.changes(&mut rng, 1_500);
    let (names, contents) = shop.files();
    let log = shop.site.path().join("disk.log");
    let shim = Shim::under(&shop.state()).noted(shop.site.path(), &log);
    let mut agent = shop.site.agent_with(&shim.environment());
    shop.comes(&agent).await;
    // Until the source has forgotten all of it.
    let database = shop.site.path().join("erp.db");
    let deadline = tokio::time::Instant::now() + SOON;
    while !is_empty(&database) {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::task::yield_now().await;
    }
    agent.kill();
    drop(agent);

    let recorded = Recorded::read(&log, &names, &contents);
    let lies = recorded.without_syncs();
    let mut found = 0;
    let looks = wanted("POWERLOSS_LOOKS", 12);
    for look in 0..looks {
        // The last one is behind all.
        let cut = match look {
            0 => recorded.len(),
            _ => rng.random_range(recorded.before()..=recorded.len()),
        };
        // Every second time where it is most likely: just when the source has forgotten something.
        let forgot = recorded.promised(cut, "/erp.db-wal");
        let cut = if look % 2 == 1 && forgot > recorded.before() {
            forgot
        } else {
            cut
        };
        let mut chance = StdRng::seed_from_u64(look);
        let mut loss = match look % 3 {
            0 => Loss::All,
            _ => Loss::Some(&mut chance),
        };
        let wrong = lost(&shop, &recorded, cut, &mut loss);
        assert_eq!(
            wrong,
            None,
            "look {look}: behind {cut} of {}",
            recorded.len()
        );
        found += u64::from(lost(&shop, &lies, cut, &mut Loss::All).is_some());
    }
    let told = lost(&shop, &lies, lies.len(), &mut Loss::All).unwrap();
    assert!(told.contains("and the source nothing up to"), "{told}");
    println!(
        "looks={looks} steps={} syncs={} lost=0 lost_without_syncs={found}",
        recorded.len(),
        recorded.syncs()
    );
}
