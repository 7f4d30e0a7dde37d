//! The AMQP destination passes the suite of every destination, and loses nothing when its broker is
//! killed.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::Destination;
use harness::brokers::Rabbit;
use harness::proxy::{Proxy, Stall};
use harness::receiver::free_port;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use harness::suite::outage;
use reqwest::Method;
use serde_json::{Value, json};

const QUEUE: &str = "product.v1";

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2,
        "exchange": "", "user": "guest", "password": { "env": "guest" } });
    settings::destination(destination_amqp::read, &settings)
}

/// Ids and contents of all that the queue holds; they stay there.
fn held(rabbit: &Rabbit) -> Vec<(String, String)> {
    let body = json!({ "count": 100_000, "ackmode": "ack_requeue_true", "encoding": "auto" });
    let read = async {
        let path = format!("queues/%2f/{QUEUE}/get");
        let (status, messages) = rabbit.api(Method::POST, &path, body).await;
        assert!(status.is_success(), "{status} {messages}");
        messages
    };
    // Tests ask from within a runtime.
    let messages = std::thread::scope(|scope| {
        let thread = scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(read));
        thread.join().unwrap()
    });
    let messages = messages.as_array().unwrap().iter();
    messages
        .map(|message| {
            let payload = message["payload"].as_str().unwrap().to_owned();
            let event: Value = serde_json::from_str(&payload).unwrap();
            (event["id"].as_str().unwrap().to_owned(), payload)
        })
        .collect()
}

struct Backend {
    rabbit: Rabbit,
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

    /// AMQP recognises no repetition, so a consumer must: by the id.
    fn effects(&self, id: &str) -> usize {
        let held = held(&self.rabbit);
        usize::from(held.iter().any(|(held, _)| held == id))
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(free_port())
    }
}

/// One broker for both: it takes long to start.
#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite_and_a_broker_that_is_killed_and_started_again_loses_nothing() {
    let rabbit = Rabbit::start();
    rabbit.make_queue(QUEUE).await;
    let proxy = Proxy::start(rabbit.port()).await;
    let backend = Backend { rabbit, proxy };
    run(&backend).await;

    let Backend { rabbit, .. } = backend;
    let path = format!("queues/%2f/{QUEUE}/contents");
    let (status, body) = rabbit.api(Method::DELETE, &path, json!({})).await;
    assert!(status.is_success(), "{status} {body}");
    let destination = destination(rabbit.port());
    let rabbit = Mutex::new(rabbit);
    let down = || rabbit.lock().unwrap().stop();
    let up = || rabbit.lock().unwrap().start_again();
    outage::run(destination, down, up, || held(&rabbit.lock().unwrap())).await;
}
