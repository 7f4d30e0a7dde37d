//! The agent fails at every point that has a name (`agent/failpoint`), is started again, and nothing is lost or told
//! twice; and a bug in any of its tasks ends it, with a word, rather than leaving it half dead.
//!
//! `FAILPOINTS=all` walks every point with every action, and has every task panic; without it, each point is walked once,
//! and some tasks panic.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use failpoint::{NAMES, VARIABLE};
use harness::agent::Agent;
use harness::receiver::{Faults, Held, Receiver, free_port};
use harness::site::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
/// So many points are walked at once: most of the time they wait.
const AT_ONCE: usize = 4;

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
CREATE TABLE move (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER);
INSERT INTO item VALUES ('A', 'a'), ('B', 'b'), ('C', 'c');
INSERT INTO move VALUES (1, 'A', 5), (2, 'B', 6)";

/// What changes once the agent runs.
const CHANGES: &str = "
UPDATE item SET name = 'a2' WHERE sku = 'A';
DELETE FROM item WHERE sku = 'B';
INSERT INTO item VALUES ('D', 'd');
INSERT INTO move VALUES (3, 'D', 7)";

/// And once it runs again.
const MORE: &str = "
UPDATE item SET name = 'd2' WHERE sku = 'D';
INSERT INTO move VALUES (4, 'A', 1)";

fn names(held: &Held) -> Vec<(&str, &str)> {
    let there = held.state.iter().filter_map(|((_, key), (_, body))| {
        let name = body.as_ref()?["name"].as_str()?;
        Some((key.as_str(), name))
    });
    there.collect()
}

/// Where `CHANGES` were made, and `MORE` were not.
fn has_changes(held: &Held) -> bool {
    let wanted = [("ACME|A", "a2"), ("ACME|C", "c"), ("ACME|D", "d")];
    names(held) == wanted && held.facts.len() == 3
}

fn has_all(held: &Held) -> bool {
    let wanted = [("ACME|A", "a2"), ("ACME|C", "c"), ("ACME|D", "d2")];
    names(held) == wanted && held.facts.len() == 4
}

struct Shop {
    receiver: Receiver,
    site: Site,
}

impl Shop {
    async fn new() -> Self {
        let receiver = Receiver::start(1, Faults::default()).await;
        let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
        Self { receiver, site }
    }

    /// Adds to the settings.
    fn says(&self, more: &str) {
        let file = self.site.path().join("lighterman.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n{more}\n")).unwrap();
    }

    async fn comes(&self, agent: &Agent, done: impl FnMut(&Held) -> bool) {
        let there = self.receiver.wait(SOON, done).await;
        let held = self.receiver.held();
        assert!(
            there,
            "{:#?}\n{:#?}\n{}",
            held.state,
            held.facts,
            agent.log()
        );
    }

    /// An agent that brings `CHANGES`, and has ended.
    async fn told(&self) {
        let agent = self.site.agent();
        self.site.run(CHANGES);
        self.comes(&agent, has_changes).await;
        stop(agent).await;
    }

    /// An agent that nothing befalls brings the rest; all is well then.
    async fn goes_on(&self) {
        self.site.run(MORE);
        let agent = self.site.agent();
        self.comes(&agent, has_all).await;
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

fn at(point: &str, action: &str) -> [(&'static str, String); 1] {
    [(VARIABLE, format!("{point}={action}"))]
}

/// Where the running agent fails.
async fn while_it_runs(point: &str, action: &str) {
    let shop = Shop::new().await;
    let mut agent = shop.site.agent_with(&at(point, action));
    // A first start that dies before the changes sees them with the second one.
    let began = agent.logged("agent started", Duration::from_secs(1)).await;
    if began {
        shop.site.run(CHANGES);
    }
    let came = agent.logged(&format!("failpoint {point}: "), SOON).await;
    assert!(came, "{point} was not reached: {}", agent.log());
    // Who waits for room would go on by itself.
    if !action.ends_with("full") {
        let ended = agent.end(SOON).await;
        let ended = ended.unwrap_or_else(|| panic!("{point} {action}: {}", agent.log()));
        assert!(!ended.success(), "{point} {action}: {}", agent.log());
    }
    drop(agent);
    if !began {
        shop.site.run(CHANGES);
    }
    shop.goes_on().await;
}

/// Where a command fails that is about the state file: it is given once more.
async fn in_a_command(point: &str, action: &str) {
    let shop = Shop::new().await;
    shop.told().await;
    let backup = ["state", "backup", "--to", "kept.db"];
    let words: &[&str] = if point.starts_with("state.backup.") {
        &backup
    } else if point.starts_with("state.restore.") {
        let (code, shown) = shop.site.command(&backup);
        assert_eq!(code, Some(0), "{shown}");
        &["state", "restore", "kept.db"]
    } else if point.starts_with("state.compact.") {
        &["state", "compact"]
    } else {
        assert_eq!(point, "state.audit.commit");
        &["destination", "pause", "shop"]
    };
    let (code, shown) = shop.site.command_with(words, &at(point, action));
    // What was done and could not be noted is done, and that is said.
    let may_succeed = point == "state.audit.commit" && code.is_some();
    assert!(may_succeed || code != Some(0), "{point} {action}: {shown}");
    if point == "state.backup.named" {
        // Whole, and its name is taken; whether that was durable is not known.
        std::fs::remove_file(shop.site.path().join("kept.db")).unwrap();
    }
    let (code, shown) = shop.site.command(words);
    assert_eq!(code, Some(0), "{point} {action}: {shown}");
    if point == "state.audit.commit" {
        let (code, shown) = shop.site.command(&["destination", "resume", "shop"]);
        assert_eq!(code, Some(0), "{shown}");
    }
    shop.goes_on().await;
}

fn runs(point: &str) -> bool {
    let running = ["capture.", "deliver.", "state."];
    let commands = [
        "state.audit.",
        "state.backup.",
        "state.compact.",
        "state.restore.",
        "state.rollback.",
    ];
    let begins = |all: &[&str]| all.iter().any(|begin| point.starts_with(begin));
    begins(&running) && !begins(&commands)
}

/// Whether all of it is wanted.
fn is_all() -> bool {
    std::env::var("FAILPOINTS").is_ok_and(|said| said == "all")
}

/// What happens at each point: (point, action). Visits are chosen so that something is under way.
fn walks() -> Vec<(String, String)> {
    let all = is_all();
    let mut walks = Vec::new();
    for (n, point) in NAMES.iter().enumerate() {
        if point.starts_with("task.") || upgrades(point) {
            continue;
        }
        // Half-way through what a start writes, and later when changes come.
        let visits: &[u32] = match *point {
            "state.begin" | "state.commit" | "state.committed" if all => &[1, 4, 9, 14, 20],
            "state.begin" => &[12],
            "state.commit" => &[16],
            "state.committed" => &[14],
            "state.migrate.step" => &[4],
            _ => &[1],
        };
        let can_fail = !point.starts_with("capture.")
            && !point.starts_with("deliver.")
            && !["state.committed", "state.migrate.stepped"].contains(point);
        let actions: &[&str] = match (all, can_fail) {
            (true, true) => &["kill", "abort", "panic", "error", "full"],
            (true, false) => &["kill", "abort", "panic", "exit"],
            // Each has its turn.
            (false, true) => [&["kill"] as &[&str], &["error"], &["full"]][n % 3],
            (false, false) => [&["kill"] as &[&str], &["abort"]][n % 2],
        };
        for visit in visits {
            for action in actions {
                walks.push(((*point).to_owned(), format!("{visit}:{action}")));
            }
        }
    }
    walks
}

/// Those of an upgrade need a signed release: tests/upgrade_killed.rs walks them.
fn upgrades(point: &str) -> bool {
    ["upgrade.", "rollback.", "state.rollback."]
        .iter()
        .any(|begin| point.starts_with(begin))
}

/// Does them a few at once, each with a runtime of its own; the first that fails fails the test.
pub(crate) fn walk<W: Send>(walks: Vec<W>, one: impl AsyncFn(W) + Sync) {
    let waiting = Mutex::new(VecDeque::from(walks));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                loop {
                    let next = waiting.lock().unwrap().pop_front();
                    let Some(next) = next else { return };
                    runtime.block_on(one(next));
                }
            });
        }
    });
}

#[test]
fn whatever_it_was_about_to_do_it_dies_there_and_goes_on() {
    walk(walks(), async |(point, action)| {
        if runs(&point) {
            while_it_runs(&point, &action).await;
        } else {
            in_a_command(&point, &action).await;
        }
    });
}

/// A statement that is asked, so that something asks.
const ASKS: &str = "  - id: stock
    emit: inventory.availability.v1
    read:
      sql: select sku, name from item where sku = :sku
      columns: [sku, name]
      touch: [{table: item, give: {sku: item.sku}}]
    key: {sku: sku, location: \"'X'\"}
    fields: {uom: \"'EA'\", on_hand: 1, allocated: 0, active: true}
";

/// A shop in which every task has something to do.
async fn busy(port: u16) -> Shop {
    let shop = Shop::new().await;
    let mapping = format!("{MAPPING}{ASKS}");
    shop.site.map(&mapping);
    let other = mapping.replace("pack_version: '1'", "pack_version: '2'");
    std::fs::write(shop.site.path().join("other.yaml"), other).unwrap();
    let file = shop.site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let named = "mappings = [\"mapping.yaml\"]\n";
    let both = format!("{named}shadow_mappings = [\"other.yaml\"]\n");
    std::fs::write(&file, text.replace(named, &both)).unwrap();
    // They are told that there is nothing here; that is no matter.
    let url = shop.receiver.url().replace("/events", "/elsewhere");
    shop.says(&format!(
        "[local]\nlisten = \"127.0.0.1:{port}\"\n[otlp]\nendpoint = \"{url}\"\nevery_seconds = 1\n\
         [alerts]\nevery_seconds = 1\n\
         [[alerts.webhook]]\nname = \"hook\"\nshape = \"json\"\nurl = \"{url}\"\n\
         [alerts.deadman]\nurl = \"{url}\"\nevery_seconds = 1"
    ));
    shop
}

/// It ends as a whole, and not by chance: with a code that has a service manager start it again, and a line that says
/// why.
async fn a_bug_ends_it(task: &str) {
    let port = free_port();
    let shop = busy(port).await;
    let socket = shop.site.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&socket).unwrap();
    tokio::spawn(async move {
        let mut word = [0; 4_096];
        while manager.recv(&mut word).await.is_ok() {}
    });
    let mut environment = at(task, "panic").to_vec();
    environment.push(("NOTIFY_SOCKET", socket.display().to_string()));
    environment.push(("WATCHDOG_USEC", "3000000".to_owned()));
    let mut agent = shop.site.agent_with(&environment);
    agent.logged("agent started", Duration::from_secs(2)).await;
    shop.site.run(CHANGES);
    let asked = async {
        // Somebody looks at the page.
        while !agent.log().contains(&format!("failpoint {task}: ")) {
            let _ = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let came = tokio::time::timeout(SOON, asked).await;
    assert!(came.is_ok(), "{task} was not reached: {}", agent.log());
    let ended = agent.end(SOON).await;
    let ended = ended.unwrap_or_else(|| panic!("{task}: it goes on: {}", agent.log()));
    let log = agent.log();
    // 2 would mean that another start is of no use.
    assert!(
        matches!(ended.code(), Some(1 | 3)),
        "{task}: {ended}: {log}"
    );
    let said = ["agent stopped by itself", "the agent stops"];
    assert!(said.iter().any(|text| log.contains(text)), "{task}: {log}");
    drop(agent);
    shop.goes_on().await;
}

#[test]
fn a_bug_in_any_task_ends_the_agent_with_a_word() {
    let alone = "task.connection";
    let few = [
        "task.alerts",
        "task.channel",
        "task.local",
        "task.look",
        "task.reload",
        "task.snapshot",
        "task.store",
    ];
    let tasks = NAMES.iter().copied();
    let mut tasks: Vec<&str> = tasks
        .filter(|name| name.starts_with("task.") && *name != alone)
        .filter(|name| is_all() || few.contains(name))
        .collect();
    // A request's own task, and what a batch is worked out in.
    tasks.extend(["deliver.leave", "capture.batch", "state.capture.checkpoint"]);
    walk(tasks, async |task| a_bug_ends_it(task).await);
}

/// One connection's bug is its own: the next one is answered, and nothing else knows of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bug_of_one_connection_is_its_own() {
    let shop = Shop::new().await;
    let port = free_port();
    shop.says(&format!("[local]\nlisten = \"127.0.0.1:{port}\""));
    let agent = shop.site.agent_with(&at("task.connection", "panic"));
    assert!(agent.logged("the local server listens", SOON).await);
    drop(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap(),
    );
    let came = agent.logged("failpoint task.connection: ", SOON).await;
    assert!(came, "{}", agent.log());
    let live = harness::local::get(port, "/health/live").await;
    assert_eq!(live.0, 200, "{}", live.1);
    shop.site.run(CHANGES);
    shop.comes(&agent, has_changes).await;
    stop(agent).await;
    shop.goes_on().await;
}
