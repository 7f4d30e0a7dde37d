//! What stands in a stream, and what is said of servers and streams that are not as they should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use contract::gate::Open;
use contract::trace_context::traceparent;
use contract::{Destination, EventType, Level, Outcome, Outgoing};
use harness::brokers::Nats;
use harness::certificates::Certificates;
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};

fn destination(nats: &Nats, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["servers"] = json!([format!("127.0.0.1:{}", nats.port())]);
    settings::destination(destination_nats::read, &settings)
}

async fn one(destination: &Arc<dyn Destination>, event: &Outgoing) -> Outcome {
    let batch = std::slice::from_ref(event);
    destination.deliver(batch, &Open).await.outcomes().remove(0)
}

#[tokio::test]
async fn attributes_stand_in_headers_as_the_binding_says() {
    let nats = Nats::start();
    nats.make_stream("S", &["shop.>"]);
    let binary = json!({ "content": "binary", "subject": "shop.{op}.{key}" });
    let odd = Outgoing {
        key: "ACME|a b.ü%".to_owned(),
        idempotency_key: "evt_1/r2".to_owned(),
        ..event(1)
    };
    let outcome = one(&destination(&nats, binary), &odd).await;
    let Outcome::Applied(answer) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(answer.body, "stream S, sequence 1");
    let message = nats.messages("S").remove(0);
    assert_eq!(message.subject, "shop.upsert.ACME%7Ca%20b%2E%C3%BC%25");
    assert_eq!(message.payload.as_bytes(), odd.json);
    assert_eq!(
        message.headers,
        "NATS/1.0\r\nNats-Msg-Id: evt_1/r2\r\nContent-Type: application/json\r\n\
         ce-specversion: 1.0\r\nce-id: evt_00000000000000000000000000000001\r\n\
         ce-source: /lighterman/acme/erp\r\nce-type: product.v1\r\n\
         ce-subject: ACME|a%20b.%C3%BC%25\r\nce-time: 1970-01-01T00:00:00Z\r\nce-op: upsert\r\n\
         ce-idempotencykey: evt_1/r2\r\n"
            .to_owned()
            + &format!("traceparent: {}\r\n\r\n", traceparent(&odd.id))
    );

    // Attributes stand in the JSON then; the trace is none of them.
    one(
        &destination(&nats, json!({ "subject": "shop.{op}" })),
        &event(2),
    )
    .await;
    let message = nats.messages("S").remove(1);
    let expected = format!("traceparent: {}\r\n", traceparent(&event(2).id));
    assert!(message.headers.contains(&expected), "{}", message.headers);
    assert!(
        !message.payload.contains("traceparent"),
        "{}",
        message.payload
    );
}

#[tokio::test]
async fn a_repetition_is_left_out_by_the_stream_and_a_replay_is_not() {
    let nats = Nats::start();
    nats.make_stream("S", &["lighterman.>"]);
    let destination = destination(&nats, json!({}));
    one(&destination, &event(1)).await;
    let Outcome::Applied(answer) = one(&destination, &event(1)).await else {
        panic!("a repetition is applied")
    };
    assert!(answer.body.ends_with("which it had already"), "{answer:?}");
    let replayed = Outgoing {
        idempotency_key: format!("{}/r1", event(1).idempotency_key),
        ..event(1)
    };
    one(&destination, &replayed).await;
    assert_eq!(nats.messages("S").len(), 2);
}

#[tokio::test]
async fn a_missing_stream_is_said_and_waited_for() {
    let nats = Nats::start();
    let destination = destination(&nats, json!({}));
    let finding = destination.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(
        finding.found.contains("no stream takes") && finding.fix.is_some(),
        "{finding}"
    );
    let outcome = one(&destination, &event(1)).await;
    let Outcome::Retry { cause, .. } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        cause,
        "no stream takes subject lighterman.product.v1, or JetStream is off"
    );
    nats.make_stream("S", &["lighterman.>"]);
    assert!(matches!(
        one(&destination, &event(1)).await,
        Outcome::Applied(_)
    ));
    let findings = destination.check().await;
    assert!(
        matches!(&findings[..], [one] if one.level == Level::Pass),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_subject_that_we_may_not_publish_to_holds_up_no_other() {
    let user = r#"authorization { users: [ { user: agent, password: hidden, permissions: {
        publish: { allow: ["lighterman.>", "$JS.API.>"], deny: ["lighterman.product.v1"] }
        subscribe: ">" } } ] }"#;
    let nats = Nats::start_with(user, json!({ "user": "agent", "pass": "hidden" }));
    nats.make_stream("S", &["lighterman.>"]);
    let allowed = |n| Outgoing {
        event_type: EventType::Customer,
        ..event(n)
    };
    let login = json!({ "user": "agent", "password": { "env": "hidden" } });
    let destination = destination(&nats, login);
    for first in [0, 10] {
        let batch = [
            event(first),
            allowed(first + 1),
            event(first + 2),
            allowed(first + 3),
        ];
        let outcomes = destination.deliver(&batch, &Open).await.outcomes();
        for n in [0, 2] {
            let Outcome::Retry { cause, .. } = &outcomes[n] else {
                panic!("{outcomes:?}")
            };
            assert_eq!(cause, "we may not publish to subject lighterman.product.v1");
        }
        for n in [1, 3] {
            let applied = matches!(outcomes[n], Outcome::Applied(_));
            assert!(applied, "{outcomes:?}");
        }
    }
    assert_eq!(nats.messages("S").len(), 4);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_held_and_others_go_on() {
    let nats = Nats::start_with("max_payload: 20000\n", json!({}));
    nats.make_stream("S", &["lighterman.>"]);
    let large = Outgoing {
        json: Bytes::from(format!("{{\"t\":\"{}\"}}", "x".repeat(30_000))),
        ..event(1)
    };
    let batch = [event(0), large, event(2)];
    let outcomes = destination(&nats, json!({}))
        .deliver(&batch, &Open)
        .await
        .outcomes();
    assert!(
        matches!(&outcomes[1], Outcome::Rejected { cause, .. } if cause.contains("20000")),
        "{outcomes:?}"
    );
    assert!(matches!(
        (&outcomes[0], &outcomes[2]),
        (Outcome::Applied(_), Outcome::Applied(_))
    ));
    assert_eq!(nats.messages("S").len(), 2);
}

#[tokio::test]
async fn logins_are_checked_and_no_secret_is_shown() {
    let login = json!({ "user": "agent", "pass": "hidden" });
    let nats = Nats::start_with("authorization { user: agent, password: hidden }", login);
    nats.make_stream("S", &["lighterman.>"]);
    let right = json!({ "user": "agent", "password": { "env": "hidden" } });
    assert!(matches!(
        one(&destination(&nats, right), &event(1)).await,
        Outcome::Applied(_)
    ));
    let wrong = json!({ "user": "agent", "password": { "env": "guessed" } });
    let wrong = destination(&nats, wrong);
    let outcome = one(&wrong, &event(2)).await;
    let Outcome::Retry { cause, .. } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(cause, "the server says Authorization Violation");
    let finding = wrong.check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(!format!("{finding}{outcome:?}").contains("guessed"));

    let token = Nats::start_with(
        "authorization { token: hidden }",
        json!({ "auth_token": "hidden" }),
    );
    token.make_stream("S", &["lighterman.>"]);
    let right = json!({ "token": { "env": "hidden" } });
    assert!(matches!(
        one(&destination(&token, right), &event(1)).await,
        Outcome::Applied(_)
    ));
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_nothing() {
    let certificates = Certificates::new();
    let file = |name: &str| certificates.file(name).display().to_string();
    let settings = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
        file("server.crt"),
        file("server.key")
    );
    let nats = Nats::start_with(&settings, json!({}));
    let known = json!({ "tls": true, "ca_file": file("ca.crt") });
    // Encrypted and understood: it is the stream that is missing.
    let outcome = one(&destination(&nats, known), &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.starts_with("no stream takes")),
        "{outcome:?}"
    );
    let stranger = Certificates::new();
    let stranger = stranger.file("ca.crt");
    let unknown = json!({ "tls": true, "ca_file": stranger });
    let outcome = one(&destination(&nats, unknown), &event(1)).await;
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("certificate")),
        "{outcome:?}"
    );
    let plain = one(&destination(&nats, json!({ "tls": false })), &event(1)).await;
    assert!(
        matches!(&plain, Outcome::Retry { cause, .. } if cause.contains("wants TLS")),
        "{plain:?}"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let problems = |settings: Value| settings::problems(destination_nats::read, &settings);
    for (settings, expected) in [
        (json!({}), "required key `servers` is missing"),
        (
            json!({ "servers": ["nats://a"] }),
            "is not a host or host:port",
        ),
        (
            json!({ "servers": ["a"], "tls": false }),
            "would send events unencrypted",
        ),
        (
            json!({ "servers": ["a"], "user": "u" }),
            "required key `password` is missing",
        ),
        (
            json!({ "servers": ["a"], "subject": "x.{sku}" }),
            "`{sku}` is not one of {type}, {op}, {key}",
        ),
        (
            json!({ "servers": ["a"], "subject": "x.>" }),
            "is no subject to publish to",
        ),
        (
            json!({ "servers": ["localhost"], "ca_file": "x" }),
            "only means something with",
        ),
        (
            json!({ "servers": ["a"], "contents": "binary" }),
            "did you mean `content`?",
        ),
    ] {
        let found = problems(settings.clone());
        assert!(found.contains(expected), "{settings}: {found}");
    }
    let allowed = json!({ "servers": ["a"], "tls": false, "allow_plain": true });
    assert_eq!(problems(allowed), "");
}

/// A server that is silent: the next one gets the events, within the same call where the connection is
/// not taken, with the next call where it is.
#[tokio::test]
async fn a_silent_server_is_passed_by() {
    let nats = Nats::start();
    nats.make_stream("S", &["lighterman.>"]);
    let good = format!("127.0.0.1:{}", nats.port());
    let of = |silent: u16| {
        let settings =
            json!({ "servers": [format!("127.0.0.1:{silent}"), good], "timeout_seconds": 3 });
        settings::destination(destination_nats::read, &settings)
    };
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = (of(mute.local_addr().unwrap().port()), mute);
    let outcome = one(&mute.0, &event(1)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    let outcome = one(&mute.0, &event(1)).await;
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");

    // Full: what nobody takes from it fills it, and it answers no more.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let place = full.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(taken) = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        tokio::net::TcpStream::connect(place),
    )
    .await
    {
        filling.push(taken.unwrap());
    }
    let outcome = one(&of(place.port()), &event(2)).await;
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
}
