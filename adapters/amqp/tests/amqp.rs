//! What stands in a queue, and what is said of brokers and exchanges that are not as they should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use contract::gate::Open;
use contract::trace_context::traceparent;
use contract::{Destination, Level, Outcome, Outgoing};
use harness::brokers::Rabbit;
use harness::settings;
use harness::suite::destination::event;
use reqwest::Method;
use serde_json::{Value, json};

fn destination(rabbit: &Rabbit, more: &Value) -> Arc<dyn Destination> {
    let mut settings = json!({ "servers": [format!("127.0.0.1:{}", rabbit.port())],
        "exchange": "shop", "user": "guest", "password": { "env": "guest" } });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings::destination(destination_amqp::read, &settings)
}

async fn one(destination: &Arc<dyn Destination>, event: &Outgoing) -> Outcome {
    let batch = std::slice::from_ref(event);
    destination.deliver(batch, &Open).await.outcomes().remove(0)
}

async fn put(rabbit: &Rabbit, path: &str, body: Value) {
    let method = if path.starts_with("bindings") {
        Method::POST
    } else {
        Method::PUT
    };
    let (status, answer) = rabbit.api(method, path, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
}

/// One broker for all of it: it takes long to start.
#[tokio::test]
async fn exchanges_queues_and_logins() {
    let rabbit = Rabbit::start();
    let structured = destination(&rabbit, &json!({}));

    // No exchange: said, and waited for.
    let finding = structured.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(
        finding.found.contains("404") && finding.found.contains("shop"),
        "{finding}"
    );
    let outcome = one(&structured, &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("no exchange")),
        "{outcome:?}"
    );

    // No queue: held, and the others of the batch are not touched by it.
    put(
        &rabbit,
        "exchanges/%2f/shop",
        json!({ "type": "topic", "durable": true }),
    )
    .await;
    rabbit.make_queue("all").await;
    let key = |key: &str| json!({ "routing_key": key });
    put(&rabbit, "bindings/%2f/e/shop/q/all", key("*.ACME%7CS1")).await;
    put(&rabbit, "bindings/%2f/e/shop/q/all", key("*.ACME%7CS3")).await;
    let by_key = json!({ "routing_key": "{op}.{key}", "content": "binary" });
    let binary = destination(&rabbit, &by_key);
    let large = Outgoing {
        json: Bytes::from(format!("{{\"t\":\"{}\"}}", "x".repeat(300_000))),
        ..event(3)
    };
    let batch = [event(1), event(2), large.clone()];
    let outcomes = binary.deliver(&batch, &Open).await.outcomes();
    assert!(
        matches!(&outcomes[1], Outcome::Rejected { cause, .. } if cause == "no queue is bound to exchange `shop` for routing key upsert.ACME%7CS2"),
        "{outcomes:?}"
    );
    assert!(
        matches!(
            (&outcomes[0], &outcomes[2]),
            (Outcome::Applied(_), Outcome::Applied(_))
        ),
        "{outcomes:?}"
    );
    let messages = rabbit.take("all", 2).await;
    assert_eq!(
        messages[0]["payload"].as_str().unwrap().as_bytes(),
        event(1).json
    );
    assert_eq!(
        messages[1]["payload"].as_str().unwrap().as_bytes(),
        large.json
    );
    let properties = &messages[0]["properties"];
    assert_eq!(properties["content_type"], "application/json");
    assert_eq!(properties["delivery_mode"], 2);
    assert_eq!(properties["message_id"], event(1).idempotency_key);
    assert_eq!(properties["headers"]["cloudEvents_subject"], "ACME|S1");
    assert_eq!(properties["headers"]["cloudEvents_type"], "product.v1");
    assert_eq!(
        properties["headers"]["traceparent"],
        traceparent(&event(1).id)
    );

    // A queue that is full refuses: waited for.
    let full = json!({ "durable": true, "arguments": { "x-max-length": 1, "x-overflow": "reject-publish" } });
    put(&rabbit, "queues/%2f/full", full).await;
    let to_full = destination(&rabbit, &json!({ "exchange": "", "routing_key": "full" }));
    let mut refused = 0;
    for n in 0..4 {
        match one(&to_full, &event(n)).await {
            Outcome::Applied(_) => {}
            Outcome::Retry { cause, .. } => {
                assert!(cause.contains("did not take it"), "{cause}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);

    // Logins.
    let wrong = destination(&rabbit, &json!({ "password": { "env": "guessed" } }));
    let outcome = one(&wrong, &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("403 ACCESS_REFUSED")),
        "{outcome:?}"
    );
    assert!(!format!("{outcome:?}{:?}", wrong.check().await).contains("guessed"));
    let nowhere = destination(&rabbit, &json!({ "virtual_host": "none" }));
    let outcome = one(&nowhere, &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("vhost")),
        "{outcome:?}"
    );
}
