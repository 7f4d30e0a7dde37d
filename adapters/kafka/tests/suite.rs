//! The Kafka destination passes the suite of every destination against a broker that speaks Kafka's
//! protocol.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use contract::Destination;
use harness::brokers::Tansu;
use harness::proxy::{Proxy, Stall};
use harness::receiver::free_port;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use serde_json::json;

const TOPIC: &str = "lighterman.product.v1";

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2,
        "ignore_advertised": true, "content": "binary" });
    settings::destination(destination_kafka::read, &settings)
}

struct Backend {
    broker: Tansu,
    proxy: Proxy,
}

#[async_trait]
impl DestinationBackend for Backend {
    fn destination(&self) -> Arc<dyn Destination> {
        destination(self.proxy.port())
    }

    /// A lost connection is made good within the same call: see `kafka.rs`.
    fn faults(&self) -> &'static [Fault] {
        &[Fault::Hang]
    }

    fn fail_next(&self, _: Fault) {
        self.proxy.stall(Stall::TO_CLIENT);
    }

    /// A new producer's repetition is not recognised by the broker, so a consumer must: by the id.
    fn effects(&self, id: &str) -> usize {
        let messages = self.broker.messages(TOPIC);
        usize::from(
            messages
                .iter()
                .any(|message| message["headers"]["ce_id"] == id),
        )
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(free_port())
    }
}

#[tokio::test]
async fn passes_the_suite() {
    let broker = Tansu::start();
    broker.make_topic(TOPIC, 3);
    let proxy = Proxy::start(broker.port()).await;
    run(&Backend { broker, proxy }).await;
}
