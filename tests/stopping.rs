//! What a person stops: a location, frozen or told as nothing to sell, beside a running agent and without one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_secs(30);
const STOCK: &str = "inventory.availability.v1";

const TABLES: &str =
    "CREATE TABLE stock (sku TEXT, place TEXT, qty NUMERIC NOT NULL, PRIMARY KEY (sku, place));
    INSERT INTO stock VALUES ('A', 'MAIN', 5), ('B', 'MAIN', 7), ('A', 'SIDE', 9);";

const MAPPING: &str = r#"mapping: 1
pack: site
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [sku, place]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: "stock.sku", location: "stock.place"}
    fields:
      uom: "'EA'"
      on_hand: "stock.qty"
      allocated: "0"
      active: true
"#;

/// Waits until the receiver holds so much to sell, and so much on hand, of a key.
async fn holds(receiver: &Receiver, key: &str, sellable: &str, on_hand: &str) -> bool {
    let (sellable, on_hand) = (Value::from(sellable), Value::from(on_hand));
    let there = receiver.wait(SOON, |held| {
        let body = held.body(STOCK, &format!("ACME|{key}"));
        body.is_some_and(|body| body["sellable"] == sellable && body["on_hand"] == on_hand)
    });
    there.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_is_told_as_nothing_to_sell_until_its_release() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    for (key, quantity) in [("A|MAIN", "5"), ("B|MAIN", "7"), ("A|SIDE", "9")] {
        assert!(
            holds(&receiver, key, quantity, quantity).await,
            "{}",
            agent.log()
        );
    }
    let (code, said) = site.command(&["location", "list"]);
    assert_eq!((code, said.trim()), (Some(0), "No location is stopped."));
    // What is mistyped, forgotten or over is refused.
    for (arguments, wanted) in [
        (
            &["location", "zero", "MAIM", "--why", "flood", "--for", "1h"][..],
            "did you mean MAIN?",
        ),
        (
            &["location", "zero", "MAIN", "--why", "flood"],
            "--until-released",
        ),
        (
            &[
                "location",
                "zero",
                "MAIN",
                "--why",
                "flood",
                "--until",
                "2020-01-01",
            ],
            "is over",
        ),
        (
            &[
                "location",
                "zero",
                "MAIN",
                "--why",
                "x",
                "--for",
                "1h",
                "--destination",
                "shup",
            ],
            "did you mean shop?",
        ),
    ] {
        let (code, said) = site.command(arguments);
        assert!(code == Some(2) && said.contains(wanted), "{said}");
    }

    let zero = ["location", "zero", "MAIN", "--why", "flood", "--for", "4h"];
    let (code, said) = site.command(&zero);
    assert!(
        code == Some(0) && said.contains("told as nothing to sell") && said.contains("2 events"),
        "{said}"
    );
    for (key, quantity) in [("A|MAIN", "5"), ("B|MAIN", "7")] {
        assert!(
            holds(&receiver, key, "0", quantity).await,
            "{}",
            agent.log()
        );
    }
    site.run("UPDATE stock SET qty = 50 WHERE sku = 'A'");
    assert!(
        holds(&receiver, "A|SIDE", "50", "50").await,
        "{}",
        agent.log()
    );
    assert!(
        holds(&receiver, "A|MAIN", "0", "50").await,
        "{}",
        agent.log()
    );
    let (_, said) = site.command(&["status"]);
    assert!(said.contains("nothing to sell is told of MAIN"), "{said}");
    let (code, said) = site.command(&["location", "freeze", "MAIN", "--why", "x", "--for", "1h"]);
    assert!(
        code == Some(2) && said.contains("location release MAIN first"),
        "{said}"
    );
    let (code, said) = site.command(&["location", "release", "MAIN", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    for (key, quantity) in [("A|MAIN", "50"), ("B|MAIN", "7")] {
        assert!(
            holds(&receiver, key, quantity, quantity).await,
            "{}",
            agent.log()
        );
    }

    // Without an agent it is done here and now, and holds when one is started.
    agent.terminate(SOON).await.unwrap();
    let (code, said) = site.command(&zero);
    assert_eq!(code, Some(0), "{said}");
    let mut agent = site.agent();
    assert!(
        holds(&receiver, "B|MAIN", "0", "7").await,
        "{}",
        agent.log()
    );
    agent.terminate(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_location_tells_its_newest_state_when_it_is_released() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let mut agent = site.agent();
    assert!(
        holds(&receiver, "A|MAIN", "5", "5").await,
        "{}",
        agent.log()
    );
    let freeze = [
        "location",
        "freeze",
        "MAIN",
        "--why",
        "stock-take",
        "--until-released",
    ];
    let (code, said) = site.command(&freeze);
    assert_eq!(code, Some(0), "{said}");
    site.run("UPDATE stock SET qty = 1 WHERE sku = 'A'");
    site.run("UPDATE stock SET qty = 2 WHERE sku = 'A'");
    assert!(
        holds(&receiver, "A|SIDE", "2", "2").await,
        "{}",
        agent.log()
    );
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (_, said) = site.command(&["held", "list"]);
        if said.contains("location MAIN is frozen") {
            assert!(said.contains("lighterman location release MAIN"), "{said}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(holds(&receiver, "A|MAIN", "5", "5").await);
    let (code, said) = site.command(&["location", "release", "MAIN"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        holds(&receiver, "A|MAIN", "2", "2").await,
        "{}",
        agent.log()
    );
    let (_, said) = site.command(&["held", "list"]);
    assert!(said.contains("Nothing"), "{said}");
    agent.terminate(SOON).await.unwrap();
}
