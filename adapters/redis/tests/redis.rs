//! What stands in a stream, and what is said of servers that are not as they should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::gate::Open;
use contract::trace_context::traceparent;
use contract::{Destination, Level, Outcome, Outgoing};
use harness::brokers::Redis;
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};

const STREAM: &str = "lighterman.product.v1";

fn destination(redis: &Redis, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["servers"] = json!([format!("127.0.0.1:{}", redis.port())]);
    settings::destination(destination_redis::read, &settings)
}

async fn one(destination: &Arc<dyn Destination>, event: &Outgoing) -> Outcome {
    let batch = std::slice::from_ref(event);
    destination.deliver(batch, &Open).await.outcomes().remove(0)
}

#[tokio::test]
async fn an_entry_has_the_attributes_and_the_event_and_a_repetition_has_none() {
    let redis = Redis::start();
    let destination = destination(&redis, json!({}));
    let outcome = one(&destination, &event(1)).await;
    let again = one(&destination, &event(1)).await;
    let Outcome::Applied(answer) = &again else {
        panic!("{again:?}")
    };
    assert!(
        answer.body.ends_with(", which it had already"),
        "{answer:?}"
    );
    assert!(matches!(outcome, Outcome::Applied(first) if answer.body.starts_with(&first.body)));
    let replayed = Outgoing {
        idempotency_key: "evt_1/r1".to_owned(),
        ..event(1)
    };
    one(&destination, &replayed).await;
    let entries = redis.entries(STREAM);
    assert_eq!(entries.len(), 2);
    let names: Vec<_> = entries[0].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "op",
            "idempotencykey",
            "datacontenttype",
            "traceparent",
            "data"
        ]
    );
    assert_eq!(entries[0][9].1, traceparent(&event(1).id));
    assert_eq!(entries[0][10].1.as_bytes(), event(1).json);
    let key = format!("{{{STREAM}}}:known:{}", event(1).idempotency_key);
    let left = redis.command(&["TTL", &key]).as_i64().unwrap();
    assert!(
        (3_500..=3_600).contains(&left),
        "it is forgotten after an hour: {left}"
    );
}

#[tokio::test]
async fn a_stream_may_be_bounded_and_stand_in_another_database() {
    let redis = Redis::start();
    let more = json!({ "entries_max": 100, "database": 3, "stream": "s" });
    let destination = destination(&redis, more);
    for part in 0..4_u32 {
        let events: Vec<_> = (part * 100..(part + 1) * 100).map(event).collect();
        for outcome in destination.deliver(&events, &Open).await.outcomes() {
            assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        }
    }
    let answers = redis.commands(&[&["SELECT", "3"], &["XLEN", "s"]]);
    let length = answers[1].as_i64().unwrap();
    assert!((100..400).contains(&length), "about so many: {length}");
}

#[tokio::test]
async fn a_server_that_cannot_take_it_now_is_waited_for() {
    let redis = Redis::start();
    let destination = destination(&redis, json!({}));
    one(&destination, &event(0)).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let outcome = one(&destination, &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.starts_with("the server says OOM")),
        "{outcome:?}"
    );
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(matches!(
        one(&destination, &event(1)).await,
        Outcome::Applied(_)
    ));
    // A script that the server forgot is loaded again by the next attempt.
    redis.command(&["SCRIPT", "FLUSH"]);
    assert!(matches!(
        one(&destination, &event(2)).await,
        Outcome::Retry { .. }
    ));
    assert!(matches!(
        one(&destination, &event(2)).await,
        Outcome::Applied(_)
    ));
    assert_eq!(redis.entries(STREAM).len(), 3);

    redis.command(&["DEL", STREAM]);
    redis.command(&["SET", STREAM, "text"]);
    let outcome = one(&destination, &event(3)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.ends_with("is not a stream")),
        "{outcome:?}"
    );
    let finding = destination.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(
        finding.found.contains("is no stream but a string"),
        "{finding}"
    );
}

#[tokio::test]
async fn servers_that_may_forget_are_said() {
    let redis = Redis::start();
    let destination = destination(&redis, json!({}));
    let findings = destination.check().await;
    assert!(
        matches!(&findings[..], [one] if one.level == Level::Pass),
        "{findings:?}"
    );
    redis.command(&["CONFIG", "SET", "appendonly", "no"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1gb"]);
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let findings = destination.check().await;
    assert!(
        findings[0].found.contains("append-only file"),
        "{findings:?}"
    );
    assert!(findings[1].found.contains("allkeys-lru"), "{findings:?}");
}

#[tokio::test]
async fn logins_are_checked_and_no_secret_is_shown() {
    let redis = Redis::start_with("requirepass hidden\n");
    let right = json!({ "password": { "env": "hidden" } });
    assert!(matches!(
        one(&destination(&redis, right), &event(1)).await,
        Outcome::Applied(_)
    ));
    let named = json!({ "user": "default", "password": { "env": "hidden" } });
    assert!(matches!(
        one(&destination(&redis, named), &event(2)).await,
        Outcome::Applied(_)
    ));
    let wrong = destination(&redis, json!({ "password": { "env": "guessed" } }));
    let outcome = one(&wrong, &event(3)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.starts_with("log in: the server says WRONGPASS")),
        "{outcome:?}"
    );
    let finding = wrong.check().await.remove(0);
    assert!(!format!("{finding}{outcome:?}").contains("guessed"));
    let none = one(&destination(&redis, json!({})), &event(4)).await;
    assert!(
        matches!(&none, Outcome::Retry { cause, .. } if cause.contains("NOAUTH")),
        "{none:?}"
    );
}
