//! The Redis destination passes the suite of every destination, and loses nothing when its server
//! goes away.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};

use contract::Destination;
use harness::brokers::Redis;
use harness::proxy::{Proxy, Stall};
use harness::settings;
use harness::suite::destination::run;
use harness::suite::outage;
use harness::suite::proxied::{LOST, Proxied};
use serde_json::json;

fn destination(port: u16) -> Arc<dyn Destination> {
    let settings = json!({ "servers": [format!("127.0.0.1:{port}")], "timeout_seconds": 2 });
    settings::destination(destination_redis::read, &settings)
}

/// Ids and contents of all that the stream holds.
fn held(redis: &Redis) -> Vec<(String, String)> {
    let streams = ["product", "inventory.movement"].into_iter();
    let entries = streams.flat_map(|kind| redis.entries(&format!("lighterman.{kind}.v1")));
    entries
        .map(|fields| (fields[1].1.clone(), format!("{fields:?}")))
        .collect()
}

#[tokio::test]
async fn passes_the_suite() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    let effects = |id: &str| held(&redis).iter().filter(|(held, _)| held == id).count();
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
    let redis = Redis::start();
    let destination = destination(redis.port());
    let redis = Mutex::new(redis);
    let down = || redis.lock().unwrap().stop();
    let up = || redis.lock().unwrap().start_again();
    let doubles = outage::run(destination, down, up, || held(&redis.lock().unwrap())).await;
    assert_eq!(doubles, 0, "the server knows keys, over restarts too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_between_publish_and_answer_has_the_event_once() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    let destination = destination(proxy.port());
    let redis = Mutex::new(redis);
    let count = |id: &str| {
        let held = held(&redis.lock().unwrap());
        held.iter().filter(|(held, _)| held == id).count()
    };
    let id = outage::kill_before_answer(
        destination,
        || proxy.stall(Stall::TO_CLIENT),
        |id| count(id) > 0,
        || redis.lock().unwrap().stop(),
        || redis.lock().unwrap().start_again(),
    );
    let id = id.await;
    assert_eq!(count(&id), 1);
}
