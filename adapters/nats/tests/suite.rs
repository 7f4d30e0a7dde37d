//! The NATS destination passes the suite of every destination, and loses nothing when its server
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use contract::Destination;
use harness::brokers::Nats;
use harness::proxy::{Proxy, Stall};
use harness::settings;
use harness::suite::destination::run;
use harness::suite::outage;
use harness::suite::proxied::{LOST, Proxied};
use serde_json::{Value, json};

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2 });
    settings::destination(destination_nats::read, &settings)
}

/// Ids and contents of all that the stream holds.
fn held(nats: &Nats) -> Vec<(String, String)> {
    let messages = nats.messages("LIGHTERMAN").into_iter();
    messages
        .map(|message| {
            let event: Value = serde_json::from_str(&message.payload).unwrap();
            (event["id"].as_str().unwrap().to_owned(), message.payload)
        })
        .collect()
}

#[tokio::test]
async fn passes_the_suite() {
    let nats = Nats::start();
    nats.make_stream("LIGHTERMAN", &["lighterman.>"]);
    let proxy = Proxy::start(nats.port()).await;
    let effects = |id: &str| held(&nats).iter().filter(|(held, _)| held == id).count();
    let backend = Proxied {
        proxy,
        destination,
        faults: LOST,
        effects,
    };
    run(&backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_loses_nothing_and_doubles_nothing() {
    let nats = Nats::start();
    nats.make_stream("LIGHTERMAN", &["lighterman.>"]);
    let destination = destination(nats.port());
    let nats = Mutex::new(nats);
    let down = || nats.lock().unwrap().stop();
    let up = || nats.lock().unwrap().start_again();
    let doubles = outage::run(destination, down, up, || held(&nats.lock().unwrap())).await;
    assert_eq!(
        doubles, 0,
        "the stream knows message ids, over restarts too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_between_publish_and_answer_has_the_event_once() {
    let nats = Nats::start();
    nats.make_stream("LIGHTERMAN", &["lighterman.>"]);
    let proxy = Proxy::start(nats.port()).await;
    let destination = destination(proxy.port());
    let nats = Mutex::new(nats);
    let count = |id: &str| {
        let held = held(&nats.lock().unwrap());
        held.iter().filter(|(held, _)| held == id).count()
    };
    let id = outage::kill_before_answer(
        destination,
        || proxy.stall(Stall::TO_CLIENT),
        |id| count(id) > 0,
        || nats.lock().unwrap().stop(),
        || nats.lock().unwrap().start_again(),
    );
    let id = id.await;
    assert_eq!(count(&id), 1);
}
