//! `lighterman demo`: a small warehouse, people working in it, the real agent beside it as a
//! process of its own, and a channel that takes its events. Everything is made in a temporary
//! folder and removed at the end.

mod picture;
mod play;
mod receiver;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use clap::Args;
use rand::RngExt;
use serde_json::json;
use state::StateReader;

use crate::{Exit, out};
use picture::Picture;
use play::Warehouse;
use receiver::{Shared, lock};

/// Between two steps in the warehouse.
const STEP: Duration = Duration::from_millis(4);
/// Between two pictures of the table.
const PICTURE: Duration = Duration::from_secs(1);
/// The agent may take this long to catch up when the play is over.
const CATCH_UP: Duration = Duration::from_mins(1);
const MAPPING: &str = include_str!("../../../../mappings/packs/demo-warehouse/demo-warehouse.yaml");

/// How the demo is played.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ends after this many seconds; without it, by Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Kills the agent's process this often (in seconds) and starts it again.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    kill_every: Option<u64>,
    /// Prints only the final summary, as JSON.
    #[arg(long)]
    json: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn demo(options: Options) -> Exit {
    match play(&options).await {
        Ok(exit) => exit,
        Err(error) => {
            out(&format!("the demo cannot go on: {error}"));
            Exit::Trouble
        }
    }
}

/// A folder that is removed when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let number: u32 = rand::rng().random();
        let name = format!("lighterman-demo-{}-{number:08x}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The agent's process; killed when the demo ends, however it ends.
struct Agent(Child);

impl Agent {
    fn start(folder: &Path) -> std::io::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("agent.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run", "--config"])
            .arg(folder.join("lighterman.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    /// SIGKILL on Unix, TerminateProcess on Windows: nothing the agent could prepare for.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write_settings(folder: &Path, url: &str) -> std::io::Result<()> {
    let secret: [u8; 32] = rand::rng().random();
    let secret = base64::engine::general_purpose::STANDARD.encode(secret);
    std::fs::write(folder.join("secret"), format!("whsec_{secret}\n"))?;
    std::fs::write(folder.join("mapping.yaml"), MAPPING)?;
    let settings = format!(
        r#"tenant = "demo"
state_folder = "state"

[[source]]
name = "warehouse"
type = "sqlite"
file = "warehouse.db"
mappings = ["mapping.yaml"]

[[destination]]
name = "channel"
type = "webhook"
url = "{url}"
secret = {{ file = "secret" }}
timeout_seconds = 1
retry_first_ms = 100
requests_max = 16
"#
    );
    std::fs::write(folder.join("lighterman.toml"), settings)
}

async fn play(options: &Options) -> Result<Exit, Failure> {
    let folder = Folder::create()?;
    let shop = Shared::default();
    let url = receiver::start(shop.clone()).await?;
    write_settings(&folder.0, &url)?;
    let mut warehouse = Warehouse::create(&folder.0.join("warehouse.db"))?;
    let prepared = Command::new(std::env::current_exe()?)
        .args(["source", "prepare", "--apply", "--config"])
        .arg(folder.0.join("lighterman.toml"))
        .stdout(Stdio::null())
        .status()?;
    if !prepared.success() {
        return Err("the warehouse could not be prepared".into());
    }
    let mut agent = Agent::start(&folder.0)?;
    let began = Instant::now();
    let mut kills = 0_u64;
    let mut killed_at = began;
    let mut picture_at = began;
    let mut picture = Picture::new();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let ends_at = options
        .seconds
        .map(|seconds| began + Duration::from_secs(seconds));
    while ends_at.is_none_or(|end| Instant::now() < end) {
        warehouse.step()?;
        if options
            .kill_every
            .is_some_and(|every| killed_at.elapsed().as_secs() >= every)
        {
            agent.kill();
            agent = Agent::start(&folder.0)?;
            kills += 1;
            killed_at = Instant::now();
        } else if let Some(ended) = agent.0.try_wait()? {
            let log = std::fs::read_to_string(folder.0.join("agent.log")).unwrap_or_default();
            return Err(format!("the agent ended by itself ({ended}):\n{log}").into());
        }
        if !options.json && picture_at.elapsed() >= PICTURE {
            picture.show(&warehouse, &shop, kills)?;
            picture_at = Instant::now();
        }
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            _ = &mut interrupted => break,
        }
    }
    let played = began.elapsed();
    let stopped = Instant::now();
    let (mut lost, mut mismatched) = compare(&warehouse, &shop)?;
    while (lost > 0 || mismatched > 0) && stopped.elapsed() < CATCH_UP {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (lost, mismatched) = compare(&warehouse, &shop)?;
    }
    let caught_up = stopped.elapsed();
    agent.kill();
    let state = StateReader::open(&folder.0.join("state"))?;
    let sources = state.sources()?;
    let held = state.sources()?.iter().map(|s| s.held).sum::<u64>()
        + state.destinations()?.iter().map(|d| d.held).sum::<u64>();
    let superseded: u64 = state.destinations()?.iter().map(|d| d.superseded).sum();
    let (delivered, repeated, out_of_order) = {
        let shop = lock(&shop);
        (shop.delivered, shop.repeated, shop.out_of_order)
    };
    let mismatched = mismatched + out_of_order;
    let summary = json!({
        "seconds": played.as_secs(),
        "kills": kills,
        "changes": warehouse.changes,
        "events": sources.iter().map(|s| s.events).sum::<u64>(),
        "delivered": delivered,
        "repeated": repeated,
        "superseded": superseded,
        "suppressed": sources.iter().map(|s| s.suppressed).sum::<u64>(),
        "held": held,
        "lost": lost,
        "mismatched": mismatched,
    });
    if options.json {
        out(&summary.to_string());
    } else {
        picture.show(&warehouse, &shop, kills)?;
        out(&format!(
            "\n{} changes in the warehouse, {delivered} events at the channel, {kills} kills; \
             caught up {} ms after the last change.\nLost: {lost}. Mismatched: {mismatched}. \
             Held: {held}.",
            warehouse.changes,
            caught_up.as_millis()
        ));
    }
    if lost > 0 || mismatched > 0 {
        let log = std::fs::read_to_string(folder.0.join("agent.log")).unwrap_or_default();
        for line in log.lines().rev().take(20) {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
        }
        return Ok(Exit::Trouble);
    }
    Ok(Exit::Ok)
}

/// Facts the channel misses, and rows it holds otherwise than the warehouse.
fn compare(warehouse: &Warehouse, shop: &Shared) -> Result<(u64, u64), Failure> {
    let expected = warehouse.expected()?;
    let shop = lock(shop);
    let lost = warehouse
        .movements()
        .filter(|key| !shop.facts.contains(key))
        .count();
    let differs = |row: &&play::Expected| {
        let known = shop.state.get(&(row.kind.to_owned(), row.key.clone()));
        let value = known
            .and_then(|(_, body)| body.as_ref()?.get(row.field)?.as_str())
            .is_some_and(|value| row.equals(value));
        !value
    };
    let mismatched = expected.iter().filter(differs).count();
    Ok((lost as u64, mismatched as u64))
}
