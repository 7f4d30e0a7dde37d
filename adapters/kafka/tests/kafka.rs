//! What a consumer gets, and what is said of topics that are not as they should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;

use contract::gate::Open;
use contract::trace_context::traceparent;
use contract::{Destination, Level, Outcome, Outgoing};
use harness::brokers::Tansu;
use harness::proxy::Proxy;
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};

const TOPIC: &str = "lighterman.product.v1";

fn destination(port: u16, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["servers"] = json!([format!("127.0.0.1:{port}")]);
    settings::destination(destination_kafka::read, &settings)
}

async fn applied(destination: &Arc<dyn Destination>, events: &[Outgoing]) -> Vec<String> {
    let outcomes = destination.deliver(events, &Open).await.outcomes();
    let said = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Applied(answer) => answer.body,
        other => panic!("{other:?}"),
    });
    said.collect()
}

#[tokio::test]
async fn records_are_as_the_binding_says_and_keys_are_where_other_producers_put_them() {
    let broker = Tansu::start();
    broker.make_topic(TOPIC, 5);
    let events: Vec<_> = (0..40).map(event).collect();
    let said = applied(
        &destination(broker.port(), json!({ "content": "binary" })),
        &events,
    )
    .await;
    let messages = broker.messages(TOPIC);
    assert_eq!(messages.len(), 40);
    for message in &messages {
        let headers = &message["headers"];
        let id = headers["ce_id"].as_str().unwrap();
        let place = events.iter().position(|event| event.id == id).unwrap();
        let event = &events[place];
        assert_eq!(message["key"], event.key);
        assert_eq!(message["value"].as_str().unwrap().as_bytes(), event.json);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["ce_type"], "product.v1");
        assert_eq!(headers["traceparent"], traceparent(id));
        let (partition, offset) = (&message["partition"], &message["offset"]);
        assert_eq!(
            said[place],
            format!("topic {TOPIC}, partition {partition}, offset {offset}")
        );
    }
    let partitions: HashMap<_, _> = messages
        .iter()
        .map(|message| (message["key"].to_string(), message["partition"].clone()))
        .collect();
    let used: std::collections::HashSet<_> = partitions.values().map(Value::to_string).collect();
    assert!(used.len() > 2, "{partitions:?}");

    applied(&destination(broker.port(), json!({})), &[event(100)]).await;
    let messages = broker.messages(TOPIC);
    let structured = messages
        .iter()
        .find(|message| message["headers"]["content-type"] == "application/cloudevents+json");
    let structured = structured.unwrap();
    let value: Value = serde_json::from_str(structured["value"].as_str().unwrap()).unwrap();
    assert_eq!(value["id"], event(100).id);
    assert_eq!(
        structured["headers"]["traceparent"],
        traceparent(&event(100).id)
    );
    assert_eq!(value.get("traceparent"), None);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_doubles_nothing() {
    let broker = Tansu::start();
    broker.make_topic(TOPIC, 1);
    let proxy = Proxy::start(broker.port()).await;
    let destination = destination(proxy.port(), json!({ "ignore_advertised": true }));
    applied(&destination, &[event(1)]).await;
    for n in 2..6 {
        // The broker has it, and its answer is cut off at the first byte.
        proxy.reset_after(0);
        applied(&destination, &[event(n)]).await;
    }
    let values: Vec<_> = broker
        .messages(TOPIC)
        .iter()
        .map(|m| m["value"].to_string())
        .collect();
    assert_eq!(values.len(), 5, "{values:#?}");
    assert!(proxy.resets() >= 4);
}

#[tokio::test]
async fn a_broker_that_goes_away_is_waited_for() {
    let mut broker = Tansu::start();
    broker.make_topic(TOPIC, 1);
    let destination = destination(broker.port(), json!({}));
    applied(&destination, &[event(1)]).await;
    broker.stop();
    let outcome = destination
        .deliver(&[event(2)], &Open)
        .await
        .outcomes()
        .remove(0);
    // Unknown, where the end of the connection was not seen before the batch left.
    let waits = matches!(outcome, Outcome::Retry { .. } | Outcome::Unknown { .. });
    assert!(waits, "{outcome:?}");
    broker.start_again();
    broker.make_topic(TOPIC, 1);
    applied(&destination, &[event(2)]).await;
    assert_eq!(broker.messages(TOPIC).len(), 1);
}

#[tokio::test]
async fn missing_topics_are_said() {
    let broker = Tansu::start();
    let destination = destination(broker.port(), json!({ "topic": "events.{type}" }));
    let finding = destination.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail, "{finding}");
    assert!(
        finding
            .found
            .contains("events.product.v1 (the topic or partition does not exist"),
        "{finding}"
    );
    let outcome = destination
        .deliver(&[event(1)], &Open)
        .await
        .outcomes()
        .remove(0);
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("does not exist")),
        "{outcome:?}"
    );
    broker.make_topic("events.product.v1", 1);
    applied(&destination, &[event(1)]).await;
    let finding = destination.check().await.remove(0);
    assert_eq!(finding.level, Level::Warn, "{finding}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let problems = |settings: Value| settings::problems(destination_kafka::read, &settings);
    let of = problems(json!({ "servers": ["a"], "topic": "a/{type}" }));
    assert!(of.contains("may have letters"), "{of}");
    let of = problems(json!({ "servers": ["a"], "topic": "{key}" }));
    assert!(of.contains("`{key}` is not one of {type}"), "{of}");
    let of = problems(json!({ "servers": ["a"], "login": "gssapi" }));
    assert!(
        of.contains("is not one of plain, scram-sha-256, scram-sha-512"),
        "{of}"
    );
}
