//! What a subscriber gets, and what is said of brokers that are not as they should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::reader::Reader;
use bytes::Bytes;
use contract::gate::Open;
use contract::trace_context::traceparent;
use contract::{Destination, Level, Outcome, Outgoing};
use harness::brokers::Mosquitto;
use harness::certificates::Certificates;
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};

fn destination(broker: &Mosquitto, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["servers"] = json!([format!("127.0.0.1:{}", broker.port())]);
    settings::destination(destination_mqtt::read, &settings)
}

async fn one(destination: &Arc<dyn Destination>, event: &Outgoing) -> Outcome {
    let batch = std::slice::from_ref(event);
    destination.deliver(batch, &Open).await.outcomes().remove(0)
}

/// As it stands among user properties: two texts with their lengths.
fn trace(event: &Outgoing) -> String {
    format!("&\0\u{b}traceparent\07{}", traceparent(&event.id))
}

#[tokio::test]
async fn attributes_stand_in_user_properties_as_the_binding_says() {
    let broker = Mosquitto::start();
    let reader = Reader::start(broker.port());
    let binary = json!({ "content": "binary", "topic": "lighterman/{op}/{key}" });
    let odd = Outgoing {
        key: "ACME|a/b+ü".to_owned(),
        ..event(1)
    };
    assert!(matches!(
        one(&destination(&broker, binary), &odd).await,
        Outcome::Applied(_)
    ));
    let message = reader.messages(&broker).remove(0);
    assert_eq!(message.topic, "lighterman/upsert/ACME%7Ca%2Fb%2B%C3%BC");
    assert_eq!(message.payload.as_bytes(), odd.json);
    let properties = String::from_utf8_lossy(&message.properties).into_owned();
    for part in [
        "application/json",
        "specversion\0\u{3}1.0",
        "type\0\nproduct.v1",
        "ACME|a/b+ü",
        &trace(&odd),
    ] {
        assert!(properties.contains(part), "{part}: {properties:?}");
    }

    let structured = destination(&broker, json!({}));
    one(&structured, &event(2)).await;
    let message = reader.messages(&broker).remove(1);
    assert_eq!(message.topic, "lighterman/product.v1");
    let properties = String::from_utf8_lossy(&message.properties).into_owned();
    assert!(
        properties.contains("application/cloudevents+json"),
        "{properties:?}"
    );
    assert!(properties.ends_with(&trace(&event(2))), "{properties:?}");
    let payload: Value = serde_json::from_str(&message.payload).unwrap();
    assert_eq!(payload["id"], event(2).id);
}

#[tokio::test]
async fn a_message_that_nobody_is_there_for_waits_for_a_subscriber() {
    let broker = Mosquitto::start();
    let destination_ = destination(&broker, json!({}));
    let outcome = one(&destination_, &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.starts_with("nobody subscribes to lighterman/product.v1")),
        "{outcome:?}"
    );
    for careless in [
        json!({ "without_subscriber": "applied" }),
        json!({ "retain": true }),
    ] {
        let outcome = one(&destination(&broker, careless), &event(1)).await;
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    }
    let reader = Reader::start(broker.port());
    assert!(matches!(
        one(&destination_, &event(2)).await,
        Outcome::Applied(_)
    ));
    // What was retained comes first.
    let ids: Vec<_> = reader.held(&broker).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [event(1).id, event(2).id]);
}

#[tokio::test]
async fn more_than_the_broker_bears_at_once_and_what_is_too_large() {
    let broker = Mosquitto::start_with(
        "allow_anonymous true\nmax_inflight_messages 3\nmax_packet_size 5000\n",
    );
    let reader = Reader::start(broker.port());
    let mut events: Vec<_> = (0..50).map(event).collect();
    events[7].json = Bytes::from(format!("{{\"t\":\"{}\"}}", "x".repeat(6_000)));
    let outcomes = destination(&broker, json!({}))
        .deliver(&events, &Open)
        .await
        .outcomes();
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Applied(_) => assert_ne!(n, 7),
            Outcome::Rejected { cause, .. } => {
                assert!(n == 7 && cause.contains("5000"), "{n}: {cause}");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(reader.held(&broker).len(), 49);
}

#[tokio::test]
async fn logins_and_certificates_are_checked_and_no_secret_is_shown() {
    let certificates = Certificates::new();
    let file = |name: &str| certificates.file(name).display().to_string();
    let passwords = tempfile::tempdir().unwrap();
    let passwords = passwords.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["agent", "hidden"])
        .status();
    assert!(made.unwrap().success());
    let settings = format!(
        "allow_anonymous false\npassword_file {}\ncertfile {}\nkeyfile {}\n",
        passwords.display(),
        file("server.crt"),
        file("server.key")
    );
    let broker = Mosquitto::start_with(&settings);
    let with = |password: &str, ca: String| {
        json!({ "user": "agent", "password": { "env": password }, "tls": true, "ca_file": ca,
            "without_subscriber": "applied" })
    };
    let right = one(
        &destination(&broker, with("hidden", file("ca.crt"))),
        &event(1),
    )
    .await;
    assert!(matches!(right, Outcome::Applied(_)), "{right:?}");
    let wrong = destination(&broker, with("guessed", file("ca.crt")));
    let finding = wrong.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(
        finding.found.contains("we are not allowed") || finding.found.contains("wrong user"),
        "{finding}"
    );
    assert!(!finding.to_string().contains("guessed"));
    let stranger = Certificates::new();
    let unknown = with("hidden", stranger.file("ca.crt").display().to_string());
    let outcome = one(&destination(&broker, unknown), &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("certificate")),
        "{outcome:?}"
    );
}
