//! One running agent and what happens around it: reload, stop, a second agent, a refused event, an
//! endpoint that is dead for long.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::command;
use harness::receiver::{Faults, Receiver, free_port};
use harness::site::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);

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

fn site_of(url: &str) -> Site {
    Site::new(BINARY, url, TABLES, MAPPING)
}

async fn quiet() -> Receiver {
    Receiver::start(1, Faults::default()).await
}

/// Whether the receiver comes to hold this name for an item.
async fn arrives(receiver: &Receiver, sku: &str, name: &str) -> bool {
    let key = format!("ACME|{sku}");
    receiver
        .wait(SOON, |held| {
            held.body("product.v1", &key)
                .is_some_and(|body| body["name"] == name)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mappings_are_reloaded_and_a_bad_one_is_refused() {
    let receiver = quiet().await;
    let site = site_of(receiver.url());
    let mut agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(arrives(&receiver, "A", "a").await, "{}", agent.log());

    let mapping = site.path().join("mapping.yaml");
    std::fs::write(
        &mapping,
        MAPPING.replace("emit: product.v1", "emit: produkt.v1"),
    )
    .unwrap();
    assert!(
        agent.logged("a changed mapping is refused", SOON).await,
        "{}",
        agent.log()
    );
    assert!(
        agent.log().contains("did you mean `product.v1`?"),
        "{}",
        agent.log()
    );
    site.run("INSERT INTO item VALUES ('B', 'b')");
    assert!(
        arrives(&receiver, "B", "b").await,
        "the old one stays in force: {}",
        agent.log()
    );

    std::fs::write(&mapping, MAPPING.replace("company: ACME", "company: OTHER")).unwrap();
    assert!(
        agent.logged("mappings reloaded", SOON).await,
        "{}",
        agent.log()
    );
    site.run("INSERT INTO item VALUES ('C', 'c')");
    let other = |held: &harness::receiver::Held| held.body("product.v1", "OTHER|C").is_some();
    assert!(receiver.wait(SOON, other).await, "{}", agent.log());

    // SIGHUP is the same by hand; nothing changed, so nothing is restarted, and it lives.
    agent.signal("HUP");
    site.run("INSERT INTO item VALUES ('D', 'd')");
    let other = |held: &harness::receiver::Held| held.body("product.v1", "OTHER|D").is_some();
    assert!(receiver.wait(SOON, other).await, "{}", agent.log());
    assert!(agent.ended().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_exits_cleanly() {
    let receiver = Receiver::start(
        1,
        Faults {
            too_late: 300,
            ..Faults::default()
        },
    )
    .await;
    let site = site_of(receiver.url());
    let mut agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a'), ('B', 'b'), ('C', 'c')");
    assert!(
        receiver.wait(SOON, |held| held.arrivals > 0).await,
        "{}",
        agent.log()
    );
    let ended = agent.terminate(Duration::from_secs(10)).await;
    assert!(
        ended.is_some_and(|status| status.success()),
        "{ended:?}\n{}",
        agent.log()
    );
    assert!(agent.log().contains("agent stopped"), "{}", agent.log());
    receiver.mend();
    let agent = site.agent();
    for sku in ["A", "B", "C"] {
        assert!(
            arrives(&receiver, sku, &sku.to_lowercase()).await,
            "{}",
            agent.log()
        );
    }
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Scenario 38 of the SQL Server source, and the same for every other: two agents with one state directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_38_a_second_agent_refuses_with_the_others_pid() {
    let receiver = quiet().await;
    let site = site_of(receiver.url());
    let agent = site.agent();
    assert!(
        agent.logged("capture started", SOON).await,
        "{}",
        agent.log()
    );
    let mut second = site.agent();
    let said = format!("another agent (process {}) is using it", agent.pid());
    assert!(second.logged(&said, SOON).await, "{}", second.log());
    let deadline = tokio::time::Instant::now() + SOON;
    let ended = loop {
        if let Some(ended) = second.ended() {
            break ended;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not end");
        tokio::task::yield_now().await;
    };
    assert_eq!(ended.code(), Some(3));
    let (code, status) = site.status();
    assert_eq!((code, status["running"].as_bool()), (Some(0), Some(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_is_held_and_holds_up_only_its_key() {
    let receiver = quiet().await;
    receiver.held().rejected.push("ACME|BAD".to_owned());
    let site = site_of(receiver.url());
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('BAD', 'x'), ('GOOD', 'y')");
    assert!(arrives(&receiver, "GOOD", "y").await, "{}", agent.log());
    assert!(
        agent.logged("an event is held", SOON).await,
        "{}",
        agent.log()
    );
    let (_, status) = site.status();
    assert_eq!(status["held_count"], 1, "{status}");
    assert_eq!(status["held"][0]["reason"], "HTTP 422", "{status}");
    assert_eq!(status["held"][0]["key"], "ACME|BAD", "{status}");
    // The row's next state takes the held one's place.
    receiver.held().rejected.clear();
    site.run("UPDATE item SET name = 'z' WHERE sku = 'BAD'");
    assert!(arrives(&receiver, "BAD", "z").await, "{}", agent.log());
    assert!(!agent.log().contains("INFO x"), "no row value in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_mapped_is_held_until_it_can() {
    let receiver = quiet().await;
    let site = site_of(receiver.url());
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', NULL), ('B', 'b')");
    assert!(arrives(&receiver, "B", "b").await, "{}", agent.log());
    let (_, status) = site.status();
    let reason = status["held"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("column \"name\"") && reason.contains("null"),
        "{status}"
    );
    site.run("UPDATE item SET name = 'a' WHERE sku = 'A'");
    assert!(arrives(&receiver, "A", "a").await, "{}", agent.log());
    assert_eq!(site.status().1["held_count"], 0);
}

/// An hour of a dead endpoint is a backlog and time; the backlog is what can go wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_costs_no_memory_and_loses_nothing() {
    const FACTS: u32 = 30_000;
    let port = free_port();
    let site = site_of(&format!("http://127.0.0.1:{port}/events"));
    let mut agent = site.agent();
    assert!(agent.logged("snapshot done", SOON).await, "{}", agent.log());
    let mut filled = 0;
    let mut early_peak = 0;
    while filled < FACTS {
        let rows: Vec<String> = (filled..filled + 1_000)
            .map(|id| format!("({id}, 'A', 1)"))
            .collect();
        site.run(&format!("INSERT INTO move VALUES {}", rows.join(", ")));
        filled += 1_000;
        if filled == 10_000 {
            wait_backlog(&site, 10_000).await;
            early_peak = agent.memory_peak_kib();
        }
    }
    wait_backlog(&site, u64::from(FACTS)).await;
    let late_peak = agent.memory_peak_kib();
    assert!(
        late_peak < early_peak + 16 * 1024,
        "{early_peak} KiB at 10,000 events waiting, {late_peak} KiB at 30,000"
    );
    assert!(agent.ended().is_none());
    assert!(
        agent
            .log()
            .contains("destination fails, events wait in the outbox")
    );
    // A restart in the middle of it changes nothing.
    agent.kill();
    let agent = site.agent();
    let receiver = Receiver::start_on(port, 1, Faults::default()).await;
    let all = usize::try_from(FACTS).unwrap();
    let done = receiver
        .wait(Duration::from_mins(6), |held| held.facts.len() == all)
        .await;
    let arrived = receiver.held().facts.len();
    assert!(done, "{arrived} of {FACTS}: {}", agent.log());
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

async fn wait_backlog(site: &Site, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let (_, status) = site.status();
        let backlog = status["destinations"][0]["backlog"].as_u64().unwrap_or(0);
        if backlog >= count {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{backlog} of {count} wait: {status}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Well-formed, but wrong beside the database's own columns: a text is never equal to a number.
fn misfit() -> String {
    MAPPING.replace(
        "    from: move\n",
        "    from: move\n    where: \"move.sku = move.qty\"\n",
    )
}

const MISFIT: &str = "`=` compares `move.sku`, text, with `move.qty`, a number";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_that_does_not_fit_the_tables_is_refused_by_check_and_run() {
    let receiver = quiet().await;
    let site = site_of(receiver.url());
    let mapping = site.path().join("mapping.yaml");
    let (code, shown) = command(BINARY, site.path(), &["check"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("its tables fit the mappings"), "{shown}");
    std::fs::write(&mapping, misfit()).unwrap();
    let (code, shown) = command(BINARY, site.path(), &["check"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("mapping.yaml:19:12:"), "{shown}");
    assert!(shown.contains(MISFIT), "{shown}");
    let mut agent = site.agent();
    assert!(agent.logged(MISFIT, SOON).await, "{}", agent.log());
    let deadline = tokio::time::Instant::now() + SOON;
    while agent.ended().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(agent.ended().and_then(|ended| ended.code()), Some(2));

    // A running agent keeps what fits.
    std::fs::write(&mapping, MAPPING).unwrap();
    let agent = site.agent();
    site.run("INSERT INTO item VALUES ('A', 'a')");
    assert!(arrives(&receiver, "A", "a").await, "{}", agent.log());
    std::fs::write(&mapping, misfit()).unwrap();
    let refused = "a changed mapping is refused, the old one stays in force";
    assert!(agent.logged(refused, SOON).await, "{}", agent.log());
    site.run("INSERT INTO item VALUES ('B', 'b')");
    assert!(arrives(&receiver, "B", "b").await, "{}", agent.log());
    // A mapping of which there is no table at all is no better.
    let (item, moved) = ("{name: item,", "{name: move,");
    let other = MAPPING.replace(item, "{name: itm,");
    std::fs::write(&mapping, other.replace(moved, "{name: mvoe,")).unwrap();
    assert!(
        agent.logged("no table main.itm", SOON).await,
        "{}",
        agent.log()
    );
    site.run("INSERT INTO item VALUES ('C', 'c')");
    assert!(arrives(&receiver, "C", "c").await, "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_not_there_at_the_start_is_checked_when_it_is() {
    let receiver = quiet().await;
    let site = site_of(receiver.url());
    let (here, away) = (site.path().join("erp.db"), site.path().join("away.db"));
    site.run("INSERT INTO item VALUES ('A', 'a'); PRAGMA wal_checkpoint(TRUNCATE)");
    std::fs::rename(&here, &away).unwrap();
    std::fs::write(&here, "someone restores a backup").unwrap();
    let mapping = site.path().join("mapping.yaml");
    std::fs::write(&mapping, misfit()).unwrap();
    let (code, shown) = command(BINARY, site.path(), &["check"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(!shown.contains(MISFIT), "nobody could know: {shown}");
    let mut agent = site.agent();
    assert!(
        agent.logged("source is disconnected", SOON).await,
        "{}",
        agent.log()
    );
    std::fs::rename(&away, &here).unwrap();
    let said = "a mapping does not fit the source's tables";
    assert!(agent.logged(said, SOON).await, "{}", agent.log());
    let (code, status) = site.status();
    assert_eq!(code, Some(1), "{status}");
    let problem = status["sources"][0]["problem"].as_str().unwrap();
    assert!(problem.contains(MISFIT), "{status}");
    assert!(agent.ended().is_none(), "only the source stops");
    // What fits goes on by itself.
    std::fs::write(&mapping, MAPPING).unwrap();
    assert!(arrives(&receiver, "A", "a").await, "{}", agent.log());
    assert_eq!(site.status().0, Some(0));
}
