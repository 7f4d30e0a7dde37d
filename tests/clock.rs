//! Somebody sets the clock of the machine, forth and back, while the agent runs: nothing is lost or told twice, what
//! waits for its next try waits no longer than it was told to, and no figure is nonsense.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::Agent;
use harness::clock::WallClock;
use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

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
INSERT INTO item VALUES ('A', '0')";

/// What a process has used of the processors, in ticks of 10 ms.
fn used(agent: &Agent) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |n: usize| fields[n].parse::<u64>().unwrap();
    number(11) + number(12)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_loses_and_doubles_nothing_and_holds_up_nothing() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let port = free_port();
    let file = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("[local]\nlisten = \"127.0.0.1:{port}\"\n[alerts]\nevery_seconds = 1\n");
    std::fs::write(&file, text + &more).unwrap();
    let clock = WallClock::default();
    let mut agent = site.agent_with(&clock.environment());
    let mut count = 0;
    let comes = async |agent: &Agent, count: usize, what: &str| {
        let there = receiver.wait(SOON, |held| {
            let body = held.body("product.v1", "ACME|A");
            held.facts.len() == count
                && body.is_some_and(|body| body["name"].as_str() == Some(&*count.to_string()))
        });
        assert!(there.await, "{what}: {}", agent.log());
    };
    let mut change = || {
        count += 1;
        site.run(&format!(
            "UPDATE item SET name = '{count}'; INSERT INTO move (sku, qty) VALUES ('A', {count})"
        ));
        count
    };
    let first = change();
    comes(&agent, first, "first").await;
    let refuse = |thousandths: u32| {
        receiver.fails(Faults {
            refuse: thousandths,
            ..Faults::default()
        });
    };
    // Each jump comes while something waits for its next try, and while something comes anew.
    let jumps: [(&str, bool, Duration); 7] = [
        ("a day ahead", true, DAY),
        ("back to now", true, Duration::ZERO),
        ("two hours back", false, 2 * HOUR),
        ("an hour back", false, HOUR),
        ("ten years ahead", true, 3_652 * DAY),
        ("a day back", false, DAY),
        ("right again", true, Duration::ZERO),
    ];
    for (what, ahead, by) in jumps {
        refuse(1_000);
        let before = change();
        let tried = agent_tries(&site).await;
        assert!(tried, "{what}: {before}: {}", agent.log());
        if ahead {
            clock.ahead(by);
        } else {
            clock.behind(by);
        }
        refuse(0);
        let now = change();
        comes(&agent, now, what).await;
        let (_, metrics) = harness::local::get(port, "/metrics").await;
        let negative = metrics.lines().find(|line| {
            let value = line.rsplit(' ').next();
            !line.starts_with('#') && value.is_some_and(|value| value.starts_with('-'))
        });
        assert_eq!(negative, None, "{what}");
    }
    // It does not spin after that.
    let before = used(&agent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ticks = used(&agent) - before;
    assert!(ticks < 100, "{ticks} ticks in 2 s");

    // What was tried when the clock was ahead is not put off until then by an agent that starts with a right one.
    clock.ahead(DAY);
    refuse(1_000);
    change();
    assert!(agent_tries(&site).await, "{}", agent.log());
    agent.kill();
    clock.ahead(Duration::ZERO);
    refuse(0);
    let agent = site.agent_with(&clock.environment());
    let now = change();
    comes(&agent, now, "a restart behind a clock that was ahead").await;
    drop(agent);
    assert_eq!(receiver.held().violations, Vec::<String>::new());
    let (code, shown) = site.command(&["state", "verify"]);
    assert_eq!(code, Some(0), "{shown}");
}

/// Waits until something failed and waits for its next try.
async fn agent_tries(site: &Site) -> bool {
    let deadline = tokio::time::Instant::now() + SOON;
    let file = site.path().join("state/lighterman.db");
    let db = rusqlite::Connection::open(file).unwrap();
    loop {
        let waits: i64 = db
            .query_row(
                "SELECT count(*) FROM delivery WHERE state = 'backoff' AND attempt > 0",
                [],
                |row| row.get(0),
            )
            .unwrap();
        if waits > 0 {
            return true;
        }
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
