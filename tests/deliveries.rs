//! What a person does about deliveries: a held event is found, understood, sent again and gone; a destination is
//! stopped and goes on; what was told is told again; a key's story. With a running agent, and without one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty NUMERIC NOT NULL);
    INSERT INTO stock VALUES ('GOOD', 5), ('BAD', 7), ('WORSE', 9);";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "'MAIN'"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
"#;

fn key(sku: &str) -> String {
    format!("ACME|{sku}|MAIN")
}

async fn has(receiver: &Receiver, sku: &str, quantity: &str) -> bool {
    let wanted = Value::from(quantity);
    let there = receiver.wait(SOON, |held| {
        let body = held.body(STOCK, &key(sku));
        body.is_some_and(|body| body["on_hand"] == wanted)
    });
    there.await
}

/// Waits until a command prints something.
async fn says(site: &Site, arguments: &[&str], words: &str) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, shown) = site.command(arguments);
        if shown.contains(words) {
            return shown;
        }
        assert!(tokio::time::Instant::now() < deadline, "{words}: {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_event_is_found_understood_sent_again_and_gone() {
    let receiver = Receiver::start(1, Faults::default()).await;
    receiver.held().rejected.extend([key("BAD"), key("WORSE")]);
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    assert!(has(&receiver, "GOOD", "5").await, "{}", agent.log());
    says(&site, &["held", "list"], "WORSE").await;
    let shown = says(
        &site,
        &["held", "list"],
        "2 events refused by the destination",
    )
    .await;
    assert!(
        shown.contains("lighterman held retry --cause rejected"),
        "{shown}"
    );

    let (_, listed) = site.command(&["held", "list", "--key", "BAD", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed["held"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed["held"].as_array().unwrap().len(), 1);
    let (code, shown) = site.command(&["held", "show", &id]);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("HTTP 4") && shown.contains("\"on_hand\":\"7\""),
        "{shown}"
    );
    let (code, shown) = site.command(&["held", "show", "shop/999"]);
    assert_eq!(code, Some(1), "{shown}");
    let (code, shown) = site.command(&["held", "retry"]);
    assert_eq!(code, Some(2), "{shown}");

    let (code, shown) = site.command(&["held", "retry", "shop/999"]);
    assert!(
        code == Some(1) && shown.contains("shop/999: is not held"),
        "{shown}"
    );
    for (wrong, near) in [
        (
            ["held", "list", "--cause", "rejectd"],
            "did you mean rejected?",
        ),
        (
            ["held", "list", "--type", "product.v2"],
            "did you mean product.v1?",
        ),
        (
            ["held", "retry", "--destination", "shup"],
            "did you mean shop?",
        ),
    ] {
        let (code, shown) = site.command(&wrong);
        assert!(code == Some(2) && shown.contains(near), "{shown}");
    }
    let (code, shown) = site.command(&["held", "list", "--cause", "guard"]);
    assert_eq!(
        (code, shown.trim()),
        (Some(0), "Nothing that fits is held.")
    );
    // Of each cause so many, with the count of all of them.
    let (_, shown) = site.command(&["held", "list", "--limit", "1", "--cause", "rejected"]);
    assert!(shown.contains("shop: 2 events refused"), "{shown}");
    assert!(shown.contains(".. and 1 more (--limit)"), "{shown}");

    // What was wrong is mended at the receiver: one command sends it again, and it is gone.
    receiver.held().rejected.retain(|key| key.contains("WORSE"));
    let (code, shown) = site.command(&["held", "retry", &id]);
    assert_eq!((code, shown.trim()), (Some(0), "1 event sent again"));
    assert!(has(&receiver, "BAD", "7").await, "{}", agent.log());
    let (_, shown) = site.command(&["trace", "--key", "BAD"]);
    assert!(
        shown.contains("rejected") && shown.contains("delivered"),
        "{shown}"
    );

    // The other one is kept for later, then given up, with no agent running.
    agent.terminate(SOON).await.unwrap();
    let file = site.path().join("held.jsonl");
    let (code, shown) = site.command(&["held", "export", "--file", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{shown}");
    let exported = std::fs::read_to_string(&file).unwrap();
    assert!(
        exported.lines().count() == 1 && exported.contains("WORSE"),
        "{exported}"
    );
    let (code, shown) = site.command(&[
        "held",
        "drop",
        "--cause",
        "rejected",
        "--why",
        "not sold there",
    ]);
    assert_eq!((code, shown.trim()), (Some(0), "1 held item given up"));
    let (_, shown) = site.command(&["held", "list"]);
    assert_eq!(shown.trim(), "Nothing is held.");
    let (_, shown) = site.command(&["trace", "--key", "WORSE"]);
    assert!(
        shown.contains("discarded") && shown.contains("not sold there"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_stops_goes_on_and_is_told_again() {
    let receiver = Receiver::start(2, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    assert!(has(&receiver, "WORSE", "9").await, "{}", agent.log());
    let (code, shown) = site.command(&["destination", "test"]);
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = site.command(&["destination", "pause", "shopp"]);
    assert!(
        code == Some(2) && shown.contains("did you mean shop?"),
        "{shown}"
    );

    let (code, shown) = site.command(&["destination", "pause", "shop"]);
    assert_eq!(code, Some(0), "{shown}");
    site.run("UPDATE stock SET qty = 4 WHERE sku = 'GOOD'");
    says(&site, &["destination", "list"], "paused; 1 event wait").await;
    // A pause outlives the agent.
    agent.terminate(SOON).await.unwrap();
    agent = site.agent();
    says(&site, &["status"], "PAUSED").await;
    assert_eq!(
        receiver.held().body(STOCK, &key("GOOD")).unwrap()["on_hand"],
        "5"
    );
    site.command(&["destination", "resume", "shop"]);
    assert!(has(&receiver, "GOOD", "4").await, "{}", agent.log());

    // Told again: counted first, then done.
    let before = receiver.held().arrivals;
    let (code, shown) = site.command(&["replay", "--key", "GOOD"]);
    assert!(
        code == Some(0) && shown.contains("1 state and 0 facts would be told again"),
        "{shown}"
    );
    assert!(shown.contains("--yes"), "{shown}");
    let (code, shown) = site.command(&["replay", "--type", "inventory.availability.v1", "--yes"]);
    assert_eq!((code, shown.trim()), (Some(0), "shop: 3 events told again"));
    let again = receiver
        .wait(SOON, |held| held.arrivals >= before + 3)
        .await;
    assert!(again, "{}", agent.log());
    let (code, shown) = site.command(&["replay", "--type", "inventory.availabilty.v1"]);
    assert!(
        code == Some(2) && shown.contains("did you mean inventory.availability.v1?"),
        "{shown}"
    );
    agent.terminate(SOON).await.unwrap();
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}

/// Whoever writes a channel's file tries it with what is recorded in it, before there is a login or a site.
#[tokio::test]
async fn a_channels_file_is_gone_through_offline() {
    let receiver = Receiver::start(3, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let test =
        |channel: &str| site.command(&["destination", "test", "--offline", "--channel", channel]);
    let (code, shown) = test("vendure");
    assert!(
        code == Some(0) && shown.contains("ok   channels/vendure.yaml: test `"),
        "{shown}"
    );
    let (_, text) = mappings::channel::shipped("vendure").unwrap();
    let wrong = text.replacen("outcomes: [applied", "outcomes: [accepted", 1);
    assert_ne!(wrong, text);
    std::fs::write(site.path().join("own.yaml"), wrong).unwrap();
    let (code, shown) = test("own.yaml");
    assert!(
        code == Some(1) && shown.contains("FAIL own.yaml:") && shown.contains("is `applied`"),
        "{shown}"
    );
    let (code, shown) = test("vendur");
    assert!(code == Some(1) && shown.contains("vendure"), "{shown}");
    // What is not described by a file has nothing recorded.
    let (code, shown) = site.command(&["destination", "test", "shop", "--offline"]);
    assert!(
        code == Some(0) && shown.contains("WARN destination shop") && shown.contains("nothing"),
        "{shown}"
    );
}

/// A command with another working folder and time zone than the site's.
fn elsewhere(site: &Site, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(BINARY)
        .args(arguments)
        .arg("--config")
        .arg(site.path().join("lighterman.toml"))
        .current_dir(folder)
        .env("TZ", "America/New_York")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), shown)
}

/// What a person stops before the first start must not send then; times are of the person's zone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_has_never_run_is_paused_before_it_does() {
    let receiver = Receiver::start(5, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let folder = tempfile::tempdir().unwrap();
    let pause = |until: &str| {
        let arguments = ["destination", "pause", "shop", "--json", "--until", until];
        let (code, shown) = elsewhere(&site, folder.path(), &arguments);
        (code, serde_json::from_str::<Value>(&shown).unwrap())
    };
    for (written, understood) in [
        (
            "2999-07-01T14:30",
            "2999-07-01T14:30:00-04:00[America/New_York]",
        ),
        (
            "2999-07-01T14:30Z",
            "2999-07-01T10:30:00-04:00[America/New_York]",
        ),
        (
            "2999-07-01T14:30[Europe/Berlin]",
            "2999-07-01T08:30:00-04:00[America/New_York]",
        ),
    ] {
        let (code, shown) = pause(written);
        assert_eq!((code, shown["until"].as_str()), (Some(0), Some(understood)));
    }
    let (code, shown) = pause("2020-01-01");
    assert!(
        code == Some(2) && shown.to_string().contains("is over"),
        "{shown}"
    );

    let mut agent = site.agent();
    says(
        &site,
        &["destination", "list"],
        "shop: paused; 3 events wait",
    )
    .await;
    assert_eq!(receiver.held().arrivals, 0, "{}", agent.log());

    // An agent that runs without a destination cannot stop it.
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let more = format!(
        "{settings}[[destination]]\nname = \"new\"\ntype = \"webhook\"\nurl = \"{}\"\n",
        receiver.url()
    );
    std::fs::write(&file, more).unwrap();
    let (code, shown) = site.command(&["destination", "pause", "new"]);
    assert!(
        code == Some(1) && shown.contains("does not have destination new"),
        "{shown}"
    );
    agent.terminate(SOON).await.unwrap();

    let (code, shown) = elsewhere(
        &site,
        folder.path(),
        &["held", "export", "--file", "x.jsonl"],
    );
    assert_eq!(code, Some(0), "{shown}");
    assert!(folder.path().join("x.jsonl").exists(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_left_the_settings_holds_up_no_retry_of_others() {
    let receiver = Receiver::start(6, Faults::default()).await;
    receiver.held().rejected.extend([key("BAD"), key("WORSE")]);
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let file = site.path().join("lighterman.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let url = receiver.url();
    let old = format!("[[destination]]\nname = \"before\"\ntype = \"webhook\"\nurl = \"{url}\"\n");
    std::fs::write(&file, format!("{old}{settings}")).unwrap();
    let mut agent = site.agent();
    let refused = "2 events refused by the destination";
    for name in ["before", "shop"] {
        says(&site, &["held", "list"], &format!("{name}: {refused}")).await;
    }
    agent.terminate(SOON).await.unwrap();

    std::fs::write(&file, settings).unwrap();
    let mut agent = site.agent();
    site.run("INSERT INTO stock VALUES ('NEW', 1)");
    assert!(has(&receiver, "NEW", "1").await, "{}", agent.log());
    receiver.held().rejected.clear();
    let (code, shown) = site.command(&["held", "retry", "--cause", "rejected"]);
    assert!(
        code == Some(1)
            && shown.contains("2 events sent again")
            && shown.contains("destination before: is not in the settings any more"),
        "{shown}"
    );
    assert!(has(&receiver, "BAD", "7").await, "{}", agent.log());
    agent.terminate(SOON).await.unwrap();

    // Without an agent its own are settled, too.
    let drop = [
        "held",
        "drop",
        "--destination",
        "before",
        "--why",
        "it is gone",
    ];
    let (code, shown) = site.command(&drop);
    assert_eq!((code, shown.trim()), (Some(0), "2 held items given up"));
}
