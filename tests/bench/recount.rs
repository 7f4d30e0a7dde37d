//! A recount: every quantity changes twice while the API takes only so many requests. What counts is
//! when the last quantity is right, and that no channel sells meanwhile what is not there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use harness::backlog::postgres as backlog;
use serde_json::Value;

use crate::drain::{MAPPING, fill, stop};
use crate::place::{Place, number};
use crate::postgres::Postgres;

const PER_SECOND: u64 = 4;
const ITEMS: u64 = 100;

/// What the API was told.
#[derive(Default)]
struct Told {
    /// When each request came.
    requests: Vec<Instant>,
    /// By key: the quantity, and which event it came with.
    quantities: HashMap<String, (f64, usize)>,
    events: usize,
}

type Shared = Arc<Mutex<Told>>;

async fn take(State(told): State<Shared>, body: String) -> StatusCode {
    let now = Instant::now();
    let batch: Value = serde_json::from_str(&body).unwrap();
    let events = batch.as_array().unwrap();
    assert!(events.len() as u64 <= ITEMS);
    let mut told = told.lock().unwrap();
    told.requests.push(now);
    for event in events {
        let quantity = event["data"]["body"]["available"].as_str().unwrap();
        let key = event["subject"].as_str().unwrap().to_owned();
        told.events += 1;
        let at = told.events;
        told.quantities.insert(key, (quantity.parse().unwrap(), at));
    }
    StatusCode::NO_CONTENT
}

pub async fn run() {
    let keys = number("RECOUNT_KEYS", 50_000);
    let told = Shared::default();
    let app = Router::new()
        .route("/", post(take))
        .with_state(Arc::clone(&told));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let erp = Postgres::new(backlog::TABLES, MAPPING).await;
    let place = &erp.place;
    place.deliver_to(&url, ITEMS, "requests_max = 4\n");
    fill(&erp, keys).await;
    load(place, keys).await;
    let paced = format!("requests_max = 4\nrequests_per_second = {PER_SECOND}\n");
    place.deliver_to(&url, ITEMS, &paced);
    let before = told.lock().unwrap().quantities.clone();

    let mut agent = place.agent();
    let touch = |change: &str| {
        let sql = format!("UPDATE stock SET on_hand = on_hand + {change}");
        let erp = &erp;
        async move { erp.run(&sql).await }
    };
    // Even items have more and then less than ever, odd ones less and then more.
    touch("CASE WHEN item_id % 2 = 0 THEN 5 ELSE -5 END").await;
    let fifth = told.lock().unwrap().events + usize::try_from(keys / 5).unwrap();
    wait(|| told.lock().unwrap().events >= fifth).await;
    let began = Instant::now();
    let first = told.lock().unwrap().events;
    touch("CASE WHEN item_id % 2 = 0 THEN -20 ELSE 20 END").await;
    let end = erp.end().await;
    erp.acknowledged(&end).await;
    let captured = began.elapsed().as_secs_f64();
    place
        .until("all is delivered", |status| {
            status["destinations"][0]["backlog"] == 0
        })
        .await;
    assert!(agent.terminate(Duration::from_mins(1)).await.is_some());

    let told = told.lock().unwrap();
    let requests: Vec<f64> = told
        .requests
        .iter()
        .filter(|at| **at >= began)
        .map(|at| at.duration_since(began).as_secs_f64())
        .collect();
    let (mut less, mut more) = (Vec::new(), Vec::new());
    let mut wrong = 0;
    for (key, (quantity, at)) in &told.quantities {
        let had = before[key].0;
        let even = key.split('|').nth(1).unwrap().parse::<u64>().unwrap() % 2 == 0;
        let wanted = had + if even { -15.0 } else { 15.0 };
        wrong += u64::from((quantity - wanted).abs() > 1e-6 || *at <= first);
        let moved = if even { &mut less } else { &mut more };
        moved.push(*at);
    }
    assert_eq!(wrong, 0, "keys without their last quantity");
    let fewest = keys.div_ceil(ITEMS);
    let minimum = fewest as f64 / PER_SECOND as f64;
    let took = requests.last().unwrap();
    let busiest = busiest(&requests);
    let last_less = less.iter().max().unwrap();
    let early = more.iter().filter(|at| *at < last_less).count();
    println!(
        "recount of {keys} keys: captured after {captured:.1} s, all right after {took:.1} s and {} \
         requests, at least {minimum:.1} s and {fewest} (ratio {:.3}); at most {busiest} requests in a \
         second; {early} increases before the last decrease",
        requests.len(),
        took / minimum,
    );
    assert!(took / minimum <= 1.05, "too late");
    assert!(busiest as u64 <= PER_SECOND, "too fast");
    // Increases of the first touch may leave until the second one is captured; a batch may hold both.
    let at_most = (captured + 1.0) * (PER_SECOND * ITEMS) as f64 + ITEMS as f64;
    assert!((early as f64) <= at_most, "increases before decreases");
}

/// Runs the agent until every row of the table is with the API.
async fn load(place: &Place, rows: u64) {
    let mut agent = place.agent();
    place
        .until("the first load", |status| {
            let done = &status["sources"][0]["snapshot_done"];
            let delivered = status["destinations"][0]["delivered"].as_u64();
            done == 1 && delivered == Some(rows)
        })
        .await;
    stop(&mut agent).await;
}

/// Most requests in any second.
fn busiest(times: &[f64]) -> usize {
    let within = |from: f64| {
        let inside = |at: &&f64| **at >= from && **at < from + 1.0;
        times.iter().filter(inside).count()
    };
    times.iter().map(|from| within(*from)).max().unwrap()
}

async fn wait(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(10);
    while !done() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
