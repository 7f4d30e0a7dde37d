//! The Redis destination passes the suite of every destination, and loses nothing when its server
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::Destination;
use harness::brokers::Redis;
use harness::proxy::{Proxy, Stall};
use harness::receiver::free_port;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use harness::suite::outage;
use serde_json::json;

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2 });
    settings::destination(destination_redis::read, &settings)
}

/// Ids and contents of all that the stream holds.
fn held(redis: &Redis) -> Vec<(String, String)> {
    let entries = redis.entries("lighterman.product.v1").into_iter();
    entries
        .map(|fields| (fields[1].1.clone(), format!("{fields:?}")))
        .collect()
}

struct Backend {
    redis: Redis,
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
        held(&self.redis)
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
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    run(&Backend { redis, proxy }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_loses_nothing_and_doubles_nothing() {
    let redis = Redis::start();
    let destination = destination(redis.port());
    let redis = Mutex::new(redis);
    let down = || redis.lock().unwrap().stop();
    let up = || redis.lock().unwrap().start_again();
    let doubles = outage::run(destination, down, up, || held(&redis.lock().unwrap())).await;
    assert_eq!(doubles, 0, "the server knows keys, over restarts too");
}
