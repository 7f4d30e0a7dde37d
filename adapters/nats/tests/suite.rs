//! The NATS destination passes the suite of every destination, and loses nothing when its server
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::Destination;
use harness::brokers::Nats;
use harness::proxy::{Proxy, Stall};
use harness::receiver::free_port;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use harness::suite::outage;
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

struct Backend {
    nats: Nats,
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

    fn effects(&self, id: &str) -> usize {
        held(&self.nats)
            .iter()
            .filter(|(held, _)| held == id)
            .count()
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(free_port())
    }
}

#[tokio::test]
async fn passes_the_suite() {
    let nats = Nats::start();
    nats.make_stream("LIGHTERMAN", &["lighterman.>"]);
    let proxy = Proxy::start(nats.port()).await;
    run(&Backend { nats, proxy }).await;
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
