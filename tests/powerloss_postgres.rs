//! The power is lost under an agent that reads PostgreSQL: what the server was told that it may forget
//! (`confirmed_flush_lsn`) is in the state, for the server sends nothing of it again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::disk::{Loss, Recorded, Shim};
use harness::postgres::PostgresServer;
use harness::receiver::{Faults, Receiver};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

use crate::powerloss::checkpoint;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const NAME: &str = "powerloss";
const ROUNDS: u64 = 5;

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: postgres
company: ACME
tables:
  move: {name: move, key: [id]}
events:
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: \"'adjustment'\", sku: sku, location: \"'X'\", uom: \"'EA'\", quantity: qty}
";

struct Shop {
    receiver: Receiver,
    _server: Arc<PostgresServer>,
    client: Client,
    folder: tempfile::TempDir,
    moves: usize,
}

impl Shop {
    async fn new() -> Self {
        let receiver = Receiver::start(1, Faults::default()).await;
        let server = PostgresServer::shared();
        server.create_database(NAME).await;
        let client = server.connect(NAME).await;
        let table = "CREATE TABLE move (id bigint PRIMARY KEY, sku text, qty integer)";
        client.batch_execute(table).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[[source]]\nname = \"erp\"\ntype = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\n\
             database = \"{NAME}\"\nuser = \"postgres\"\nslot = \"{NAME}\"\nmappings = [\"mapping.yaml\"]\n\
             [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\n\
             retry_first_ms = 50\nretry_max_seconds = 1\n[log]\nfiles = false\n",
            server.port(),
            receiver.url()
        );
        std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
        std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
        let (code, shown) = command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
        assert_eq!(code, Some(0), "{shown}");
        Self {
            receiver,
            _server: server,
            client,
            folder,
            moves: 0,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    async fn moves(&mut self, count: usize) {
        let (from, to) = (self.moves + 1, self.moves + count);
        let sql =
            format!("INSERT INTO move SELECT n, 'S' || n, n FROM generate_series({from}, {to}) n");
        self.client.batch_execute(&sql).await.unwrap();
        self.moves = to;
    }

    async fn told(&self) -> bool {
        let all = self.moves;
        let told = self.receiver.wait(SOON, |held| held.facts.len() == all);
        told.await
    }

    /// What the server was told that it may forget, as the agent writes positions.
    async fn forgotten(&self) -> String {
        let sql = "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1";
        let row = self.client.query_one(sql, &[&NAME]).await.unwrap();
        format!("{:016x}", row.get::<_, i64>(0))
    }

    /// Where the log ends now.
    async fn end(&self) -> String {
        let sql = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        let row = self.client.query_one(sql, &[]).await.unwrap();
        format!("{:016x}", row.get::<_, i64>(0))
    }

    fn files(&self) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
        let found = std::fs::read_dir(self.state()).unwrap();
        let names = found.map(|entry| entry.unwrap().path().canonicalize().unwrap());
        let names: Vec<PathBuf> = names
            .filter(|path| path.is_file() && !path.to_string_lossy().ends_with("-shm"))
            .collect();
        let contents = names.iter().map(|name| std::fs::read(name).unwrap());
        let contents = contents.collect();
        (names, contents)
    }

    /// An agent on a disk that is noted, and that loses its power at some step if one is named.
    fn noted(&self, dies_at: Option<u32>) -> (Agent, impl Fn() -> Recorded + use<>) {
        let state = self.state();
        let (names, contents) = self.files();
        let log = self.folder.path().join("disk.log");
        let _ = std::fs::remove_file(&log);
        let mut shim = Shim::under(&state).noted(&state, &log);
        if let Some(at) = dies_at {
            shim = shim.fault(&format!("op:{at}:kill"));
        }
        let agent = Agent::start_with(BINARY, self.folder.path(), &shim.environment());
        (agent, move || Recorded::read(&log, &names, &contents))
    }
}

/// What the server does not send again and the state does not have.
fn lost(image: &Path, forgotten: &str) -> Option<String> {
    let kept = checkpoint(image).unwrap_or_else(|error| panic!("it cannot be opened: {error}"));
    let kept = kept.unwrap_or_default();
    let position = kept.split('/').nth(1).unwrap_or_default();
    (position < forgotten)
        .then(|| format!("the state has all up to {kept}, and {forgotten} is forgotten"))
}

/// The state folder as the power loss left it.
fn image(recorded: &Recorded, loss: &mut Loss<'_>, state: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    recorded.image(recorded.len(), loss, state, image.path());
    image
}

fn puts(image: &Path, state: &Path) {
    std::fs::remove_dir_all(state).unwrap();
    std::fs::create_dir(state).unwrap();
    for entry in std::fs::read_dir(image).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
    }
}

/// Power losses at moments that chance chooses, and one behind all; on a disk whose syncs do nothing the last of them
/// is found to be a loss, by this judge and by the agent itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_was_told_to_forget_is_in_the_state_after_a_power_loss() {
    let mut rng = StdRng::seed_from_u64(13);
    let mut shop = Shop::new().await;
    shop.moves(5).await;
    let mut agent = Agent::start(BINARY, shop.folder.path());
    assert!(shop.told().await, "{}", agent.log());
    agent.kill();
    drop(agent);
    for round in 0..ROUNDS {
        shop.moves(rng.random_range(5..60)).await;
        let (mut agent, recorded) = shop.noted(Some(rng.random_range(40..320)));
        tokio::select! {
            // Its power is lost.
            ended = agent.end(SOON) => assert!(ended.is_some_and(|ended| ended.code().is_none()), "{}", agent.log()),
            // It had less to do.
            there = shop.told() => assert!(there, "{}", agent.log()),
        }
        agent.kill();
        drop(agent);
        let forgotten = shop.forgotten().await;
        let state = shop.state();
        let image = image(&recorded(), &mut Loss::Some(&mut rng), &state);
        assert_eq!(lost(image.path(), &forgotten), None, "round {round}");
        puts(image.path(), &state);
    }

    shop.moves(40).await;
    let end = shop.end().await;
    let (mut agent, recorded) = shop.noted(None);
    assert!(shop.told().await, "{}", agent.log());
    let deadline = tokio::time::Instant::now() + SOON;
    while shop.forgotten().await < end {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::task::yield_now().await;
    }
    agent.kill();
    drop(agent);
    let (recorded, forgotten) = (recorded(), shop.forgotten().await);
    let state = shop.state();
    let all = image(&recorded, &mut Loss::All, &state);
    assert_eq!(lost(all.path(), &forgotten), None);
    let lies = image(&recorded.without_syncs(), &mut Loss::All, &state);
    let found = lost(lies.path(), &forgotten);
    assert!(found.is_some(), "the judge cannot fail");

    // The agent sees it, too, and does not go on as if nothing were missing.
    puts(lies.path(), &state);
    let mut agent = Agent::start(BINARY, shop.folder.path());
    let said = agent.logged("capture.position_lost", SOON).await;
    assert!(said, "{}", agent.log());
    agent.kill();
    drop(agent);
    // On the disk that did sync it goes on.
    puts(all.path(), &state);
    shop.moves(1).await;
    let agent = Agent::start(BINARY, shop.folder.path());
    assert!(shop.told().await, "{}", agent.log());
    drop(agent);
    assert_eq!(shop.receiver.held().violations, Vec::<String>::new());
    println!("rounds={ROUNDS} lost=0 without syncs: {}", found.unwrap());
}
