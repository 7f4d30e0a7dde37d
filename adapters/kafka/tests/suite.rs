//! The Kafka destination passes the suite of every destination against a broker that speaks Kafka's
//! protocol.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::Destination;
use harness::brokers::Tansu;
use harness::proxy::Proxy;
use harness::settings;
use harness::suite::destination::{Fault, run};
use harness::suite::proxied::Proxied;
use serde_json::{Value, json};

const TOPICS: [&str; 2] = ["lighterman.product.v1", "lighterman.inventory.movement.v1"];

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2,
        "ignore_advertised": true, "content": "binary" });
    settings::destination(destination_kafka::read, &settings)
}

#[tokio::test]
async fn passes_the_suite() {
    let broker = Tansu::start();
    for topic in TOPICS {
        broker.make_topic(topic, 3);
    }
    let proxy = Proxy::start(broker.port()).await;
    // A new producer's repetition is not recognised by the broker, so a consumer must: by the id.
    let effects = |id: &str| {
        let mut messages = TOPICS.iter().flat_map(|topic| broker.messages(topic));
        let held = |message: Value| message["headers"]["ce_id"] == id;
        usize::from(messages.any(held))
    };
    let backend = Proxied {
        proxy,
        destination,
        // A lost connection is made good within the same call: see `kafka.rs`.
        faults: &[Fault::Hang],
        effects,
    };
    run(&backend).await;
}
