//! The MQTT destination passes the suite of every destination, and loses nothing when its broker
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod reader;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::Destination;
use harness::brokers::Mosquitto;
use harness::proxy::{Proxy, Stall};
use harness::receiver::free_port;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use harness::suite::outage;
use reader::Reader;
use serde_json::json;

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2 });
    settings::destination(destination_mqtt::read, &settings)
}

struct Backend {
    broker: Mosquitto,
    reader: Reader,
    proxy: Proxy,
}

#[async_trait]
impl DestinationBackend for Backend {
    fn destination(&self) -> Arc<dyn Destination> {
        destination(self.proxy.port())
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::LoseAnswer, Fault::Hang]
    }

    fn fail_next(&self, fault: Fault) {
        if fault == Fault::LoseAnswer {
            self.proxy.reset_after(0);
        } else {
            self.proxy.stall(Stall::TO_CLIENT);
        }
    }

    /// MQTT recognises no repetition, so a subscriber must: by the id.
    fn effects(&self, id: &str) -> usize {
        let held = self.reader.held(&self.broker);
        usize::from(held.iter().any(|(held, _)| held == id))
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(free_port())
    }
}

#[tokio::test]
async fn passes_the_suite() {
    let broker = Mosquitto::start();
    let reader = Reader::start(broker.port());
    let proxy = Proxy::start(broker.port()).await;
    let backend = Backend {
        broker,
        reader,
        proxy,
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
