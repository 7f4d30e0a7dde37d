//! The MQTT destination passes the suite of every destination, and loses nothing when its broker
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use crate::reader::Reader;
use contract::Destination;
use harness::brokers::Mosquitto;
use harness::proxy::Proxy;
use harness::settings;
use harness::suite::destination::run;
use harness::suite::outage;
use harness::suite::proxied::{LOST, Proxied};
use serde_json::json;

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2 });
    settings::destination(destination_mqtt::read, &settings)
}

#[tokio::test]
async fn passes_the_suite() {
    let broker = Mosquitto::start();
    let reader = Reader::start(broker.port());
    let proxy = Proxy::start(broker.port()).await;
    // MQTT recognises no repetition, so a subscriber must: by the id.
    let effects = |id: &str| usize::from(reader.held(&broker).iter().any(|(held, _)| held == id));
    let backend = Proxied {
        proxy,
        destination,
        faults: LOST,
        effects,
    };
    run(&backend).await;
}

/// Stopped in order: killed, Mosquitto loses what it acknowledged since it last wrote its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_and_started_again_loses_nothing() {
    let broker = Mosquitto::start();
    let reader = Reader::start(broker.port());
    let destination = destination(broker.port());
    let broker = Mutex::new(broker);
    let down = || broker.lock().unwrap().shut_down();
    let up = || broker.lock().unwrap().start_again();
    outage::run(destination, down, up, || {
        reader.held(&broker.lock().unwrap())
    })
    .await;
}
