//! The AMQP destination passes the suite of every destination, and loses nothing when its broker is
//! killed.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use contract::Destination;
use harness::brokers::Rabbit;
use harness::proxy::{Proxy, Stall};
use harness::settings;
use harness::suite::destination::run;
use harness::suite::outage;
use harness::suite::proxied::{LOST, Proxied};
use reqwest::Method;
use serde_json::{Value, json};

const QUEUES: [&str; 2] = ["product.v1", "inventory.movement.v1"];

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2,
        "exchange": "", "user": "guest", "password": { "env": "guest" } });
    settings::destination(destination_amqp::read, &settings)
}

/// Ids and contents of all that the queues hold; they stay there.
fn held(rabbit: &Rabbit) -> Vec<(String, String)> {
    let body = json!({ "count": 100_000, "ackmode": "ack_requeue_true", "encoding": "auto" });
    let read = async {
        let mut all = Vec::new();
        for queue in QUEUES {
            let path = format!("queues/%2f/{queue}/get");
            let (status, messages) = rabbit.api(Method::POST, &path, body.clone()).await;
            assert!(status.is_success(), "{status} {messages}");
            all.extend(messages.as_array().unwrap().iter().cloned());
        }
        all
    };
    // Tests ask from within a runtime.
    let messages = std::thread::scope(|scope| {
        let thread = scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(read));
        thread.join().unwrap()
    });
    messages
        .iter()
        .map(|message| {
            let payload = message["payload"].as_str().unwrap().to_owned();
            let event: Value = serde_json::from_str(&payload).unwrap();
            (event["id"].as_str().unwrap().to_owned(), payload)
        })
        .collect()
}

/// One broker for both: it takes long to start.
#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite_and_a_broker_that_is_killed_and_started_again_loses_nothing() {
    let rabbit = Rabbit::start();
    for queue in QUEUES {
        rabbit.make_queue(queue).await;
    }
    let proxy = Proxy::start(rabbit.port()).await;
    // AMQP recognises no repetition, so a consumer must: by the id.
    let effects = |id: &str| usize::from(held(&rabbit).iter().any(|(held, _)| held == id));
    let backend = Proxied {
        proxy,
        destination,
        faults: LOST,
        effects,
    };
    run(&backend).await;

    let proxy = backend.proxy;
    for queue in QUEUES {
        let path = format!("queues/%2f/{queue}/contents");
        let (status, body) = rabbit.api(Method::DELETE, &path, json!({})).await;
        assert!(status.is_success(), "{status} {body}");
    }
    let (direct, through) = (destination(rabbit.port()), destination(proxy.port()));
    let rabbit = Mutex::new(rabbit);
    let down = || rabbit.lock().unwrap().stop();
    let up = || rabbit.lock().unwrap().start_again();
    let all = || held(&rabbit.lock().unwrap());
    outage::run(direct, down, up, all).await;

    let there = |id: &str| all().iter().any(|(held, _)| held == id);
    let hold = || proxy.stall(Stall::TO_CLIENT);
    let id = outage::kill_before_answer(through, hold, there, down, up).await;
    assert!(there(&id));
}
