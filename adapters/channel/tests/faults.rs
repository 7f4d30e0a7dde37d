//! Every way an API fails, and what becomes of each event.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use crate::common::*;
use contract::gate::Open;
use contract::{Compared, Node, Outgoing};
use serde_json::{Value as Json, json};

/// An API with an atomic batch, per-item reports, and a login.
const FILE: &str = r#"
channel: faulty
title: Faulty
proven: documentation
resend: RESEND
settings:
  url: {type: url, ask: where?}
  password: {type: secret, ask: which?}
url: setting.url
timeout: 1s
auth: AUTH
answers:
  - {at: code, is: already_there, means: done}
events:
  inventory.availability.v1:
    batch: 4
    steps:
      - send:
          post: /stock
          headers: {idempotency-key: request_key}
          body: {items: {$items: {sku: sku, quantity: sellable}}}
          done: ok
    delete: same
    read:
      steps:
        - find: {name: stock, get: "/stock/{sku}", take: {quantity: quantity}, missing: missing}
      compare: {quantity: {holds: found.quantity, would: sellable}}
"#;

const LOGIN: &str = "{login: {post: /login, body: {password: setting.password}, take: {token: token}, expires: 1h}}";

fn settings(url: &str) -> Vec<(&'static str, Node)> {
    vec![
        (
            "settings",
            map([("url", text(url)), ("password", environment())]),
        ),
        ("timeout_seconds", number(3)),
    ]
}

fn file(auth: &str, resend: &str) -> String {
    FILE.replace("AUTH", auth).replace("RESEND", resend)
}

fn ok() -> Do {
    answer(200, json!({"ok": true}))
}

fn items(request: &Request) -> Vec<String> {
    let items = request.body["items"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    items
        .iter()
        .map(|item| item["sku"].as_str().unwrap().to_owned())
        .collect()
}

/// Logs in, and takes everything but what holds the SKU `BAD`.
fn usual(request: &Request) -> Do {
    match request.path.as_str() {
        "/login" => answer(200, json!({"token": "t"})),
        _ if items(request).contains(&"BAD".to_owned()) => {
            answer(422, json!({"message": "BAD is bad"}))
        }
        _ => ok(),
    }
}

struct Case {
    name: &'static str,
    auth: &'static str,
    resend: &'static str,
    skus: &'static [&'static str],
    script: Vec<Do>,
    outcomes: &'static str,
    /// Requests that came, logins among them.
    requests: usize,
}

fn case(name: &'static str, script: Vec<Do>, outcomes: &'static str) -> Case {
    Case {
        name,
        auth: "none",
        resend: "safe",
        skus: &["A"],
        script,
        outcomes,
        requests: 1,
    }
}

fn cases() -> Vec<Case> {
    let body = || json!({"message": "no"});
    let with = |status: u16, name: &'static str, value: &str| {
        Do::Answer(status, vec![(name, value.to_owned())], json!({}))
    };
    let date = jiff::Timestamp::UNIX_EPOCH
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    vec![
        case("200 and done", vec![ok()], "applied"),
        case(
            "200 that does not say that it was done",
            vec![answer(200, json!({"ok": false}))],
            "unknown",
        ),
        case(
            "200 with something that is no JSON",
            vec![Do::Answer(200, Vec::new(), Json::Null)],
            "unknown",
        ),
        case(
            "200 that breaks off",
            vec![Do::Break(200, "{\"o")],
            "unknown",
        ),
        case("302", vec![answer(302, body())], "rejected"),
        case("400", vec![answer(400, body())], "rejected"),
        case(
            "401 where nothing can be renewed",
            vec![answer(401, body())],
            "retry",
        ),
        case("403", vec![answer(403, body())], "rejected"),
        case("404", vec![answer(404, body())], "missing"),
        case("409", vec![answer(409, body())], "conflict"),
        case(
            "409 that says that it is there already",
            vec![answer(409, json!({"code": "already_there"}))],
            "applied",
        ),
        case("413", vec![answer(413, body())], "rejected"),
        case("422", vec![answer(422, body())], "rejected"),
        case(
            "429 with seconds",
            vec![with(429, "retry-after", "7")],
            "retry after 7",
        ),
        case(
            "429 with a date",
            vec![with(429, "retry-after", &date)],
            "retry after 0",
        ),
        case("429 with nothing", vec![answer(429, body())], "retry"),
        case("500", vec![answer(500, body())], "retry"),
        Case {
            resend: "unsafe",
            ..case(
                "500 where twice is not once",
                vec![answer(500, body())],
                "unknown",
            )
        },
        case("502", vec![answer(502, body())], "unknown"),
        case("504", vec![answer(504, body())], "unknown"),
        case("501", vec![answer(501, body())], "rejected"),
        case("503", vec![with(503, "retry-after", "2")], "retry after 2"),
        case(
            "503 that breaks off at the third byte",
            vec![Do::Break(503, "abc")],
            "retry",
        ),
        case("taken, and the answer lost", vec![Do::Lose], "unknown"),
        case("taken, and no answer in time", vec![Do::Hang], "unknown"),
        Case {
            skus: &["A", "B", "BAD", "D"],
            requests: 5,
            ..case(
                "one bad item in an atomic batch",
                vec![],
                "applied applied rejected applied",
            )
        },
        Case {
            skus: &["A", "B", "C", "D"],
            requests: 3,
            ..case(
                "413 is sent in halves",
                vec![answer(413, body())],
                "applied applied applied applied",
            )
        },
        Case {
            skus: &["A", "B", "C", "D"],
            requests: 3,
            ..case(
                "half of a batch is busy",
                vec![answer(400, body()), ok(), answer(503, body())],
                "applied applied retry retry",
            )
        },
        Case {
            auth: LOGIN,
            requests: 4,
            ..case(
                "401 is answered by one login",
                vec![answer(200, json!({"token": "old"})), answer(401, body())],
                "applied",
            )
        },
        Case {
            auth: LOGIN,
            requests: 4,
            ..case(
                "401 again after a new login",
                vec![
                    answer(200, json!({"token": "old"})),
                    answer(401, body()),
                    answer(200, json!({"token": "new"})),
                    answer(401, body()),
                ],
                "retry",
            )
        },
        Case {
            auth: LOGIN,
            skus: &["A", "B", "C", "D"],
            requests: 6,
            ..case(
                "the token expires in the middle of a batch",
                vec![
                    answer(200, json!({"token": "old"})),
                    answer(413, body()),
                    ok(),
                    answer(401, body()),
                ],
                "applied applied applied applied",
            )
        },
        case(
            "a login that is refused",
            vec![answer(403, json!({"error": "invalid_client"}))],
            "retry",
        )
        .logging_in(),
    ]
}

impl Case {
    fn logging_in(self) -> Self {
        Self {
            auth: LOGIN,
            ..self
        }
    }
}

fn batch(skus: &[&str]) -> Vec<Outgoing> {
    skus.iter()
        .zip(1..)
        .map(|(sku, n)| stock(n, sku, "MAIN", i64::from(n)))
        .collect()
}

#[tokio::test]
async fn every_fault_has_its_outcome() {
    let mut wrong = Vec::new();
    for case in cases() {
        let api = Api::start(usual).await;
        api.then(case.script.clone());
        let shop = of_file(&file(case.auth, case.resend), settings(&api.url));
        let gate = Watched::default();
        let outcomes = shop.deliver(&batch(case.skus), &gate).await.outcomes();
        let took = api.took();
        let found = (words(&outcomes), took.len());
        if found != (case.outcomes.to_owned(), case.requests) {
            let causes: Vec<&str> = outcomes.iter().map(cause).collect();
            wrong.push(format!("{}: {found:?}, {causes:?}", case.name));
        }
        assert_eq!(
            gate.passed.lock().unwrap().len(),
            took.len(),
            "{}: every request passes the gate",
            case.name
        );
        for outcome in &outcomes {
            assert!(!format!("{outcome:?}").contains("s3cr3t"), "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn the_servers_own_words_and_limits_are_passed_on() {
    let api = Api::start(usual).await;
    let shop = of_file(&file("none", "safe"), settings(&api.url));
    let gate = Watched::default();
    api.then([Do::Answer(
        429,
        vec![
            ("retry-after", "3".to_owned()),
            ("ratelimit", "\"default\";r=0;t=3".to_owned()),
        ],
        json!({}),
    )]);
    let outcomes = shop.deliver(&batch(&["A"]), &gate).await.outcomes();
    assert_eq!(words(&outcomes), "retry after 3");
    let heard = gate.heard.lock().unwrap()[0];
    assert!(heard.throttled);
    assert_eq!(
        (heard.wait, heard.requests_left),
        (Some(Duration::from_secs(3)), Some(0))
    );
    let outcomes = shop.deliver(&batch(&["BAD"]), &gate).await.outcomes();
    assert_eq!(cause(&outcomes[0]), "HTTP 422: BAD is bad");
}

#[tokio::test]
async fn the_same_request_has_the_same_key_and_another_one_another() {
    let api = Api::start(usual).await;
    let shop = of_file(&file("none", "safe"), settings(&api.url));
    for skus in [&["A", "B"][..], &["A", "B"], &["A"]] {
        shop.deliver(&batch(skus), &Open).await;
    }
    let keys: Vec<String> = api
        .took()
        .iter()
        .map(|request| request.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    // Alone it is the event's own.
    assert_eq!(keys[2], batch(&["A"])[0].idempotency_key);
}

#[tokio::test]
async fn all_lanes_wait_for_one_login() {
    let api = Api::start(usual).await;
    let shop = of_file(&file(LOGIN, "safe"), settings(&api.url));
    let one = batch(&["A"]);
    let all = [
        shop.deliver(&one, &Open),
        shop.deliver(&one, &Open),
        shop.deliver(&one, &Open),
    ];
    let [a, b, c] = all;
    let (a, b, c) = tokio::join!(a, b, c);
    assert_eq!(
        words(&[a.outcomes(), b.outcomes(), c.outcomes()].concat()),
        "applied applied applied"
    );
    let logins = api
        .took()
        .iter()
        .filter(|request| request.path == "/login")
        .count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn what_nobody_knows_is_read_back() {
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/stock/A" => answer(200, json!({"quantity": 1})),
        "/stock/B" => answer(200, json!({"quantity": "9"})),
        "/stock/C" => answer(404, json!({})),
        _ => answer(503, json!({})),
    })
    .await;
    let shop = of_file(&file("none", "verify"), settings(&api.url));
    let events = batch(&["A", "B", "C", "D"]);
    let outcomes = shop.verify(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied retry retry unknown",
        "what could not be read is not what was not applied: {outcomes:?}"
    );
    let compared = shop.compare(&events, &Open).await;
    assert_eq!(compared[0], Compared::Same);
    assert_eq!(
        compared[1],
        Compared::Differs {
            holds: "quantity 9".to_owned(),
            would: "quantity 2".to_owned()
        }
    );
    assert!(
        matches!(&compared[2], Compared::Differs { holds, .. } if holds.is_empty()),
        "{compared:?}"
    );
    assert!(
        matches!(&compared[3], Compared::CannotTell { .. }),
        "{compared:?}"
    );
}

#[tokio::test]
async fn a_token_that_all_lanes_lost_is_renewed_once() {
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/login" => answer(200, json!({"token": "new"})),
        _ if request.header("authorization") == "Bearer new" => ok(),
        _ => answer(401, json!({})),
    })
    .await;
    api.then([answer(200, json!({"token": "old"}))]);
    let shop = of_file(&file(LOGIN, "safe"), settings(&api.url));
    let one = batch(&["A"]);
    let (a, b, c) = tokio::join!(
        shop.deliver(&one, &Open),
        shop.deliver(&one, &Open),
        shop.deliver(&one, &Open)
    );
    let all = [a.outcomes(), b.outcomes(), c.outcomes()].concat();
    assert_eq!(words(&all), "applied applied applied");
    let took = api.took();
    let logins = took.iter().filter(|request| request.path == "/login");
    assert_eq!(logins.count(), 2, "the first one, and one for all");
}
