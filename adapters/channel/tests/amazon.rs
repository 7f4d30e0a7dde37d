//! Amazon's listings and feeds on the wire, against a scripted API: by documentation only.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::Write as _;
use std::sync::Arc;

use crate::common::*;
use contract::gate::Open;
use contract::{Destination, Outcome, Outgoing, Taken};
use serde_json::{Value as Json, json};

/// The shipped file, with its fixed addresses on this machine.
fn amazon(channel: &str, url: &str) -> Arc<dyn Destination> {
    let (_, shipped) = mappings::channel::shipped(channel).unwrap();
    let file = shipped
        .replace(
            "\"'https://api.amazon.com/auth/o2/token'\"",
            "setting.url || '/auth/o2/token'",
        )
        .replace("[amazonaws.com, cloudfront.net]", "[127.0.0.1]");
    assert!(!file.contains("'https://api.") && !file.contains("away: [amazonaws"));
    let settings = map([
        ("url", text(url)),
        ("client_id", text("app")),
        ("client_secret", environment()),
        ("refresh_token", environment()),
        ("seller", text("SELLER")),
        ("marketplace", text("ATVPDKIKX0DER")),
        ("location", text("MAIN")),
    ]);
    of_file(
        &file,
        vec![("settings", settings), ("timeout_seconds", number(5))],
    )
}

fn listing(sku: &str) -> Json {
    let channels = json!([{"fulfillmentChannelCode": "DEFAULT", "quantity": 1}]);
    let summaries = json!([{"marketplaceId": "ATVPDKIKX0DER", "productType": "LUGGAGE"}]);
    json!({"sku": sku, "summaries": summaries, "fulfillmentAvailability": channels})
}

fn token() -> Do {
    let token = json!({"access_token": "Atza|1", "token_type": "bearer", "expires_in": 3600});
    answer(200, token)
}

#[tokio::test]
async fn a_listing_is_patched_and_a_token_that_has_run_out_is_renewed() {
    let api = Api::start(|request: &Request| match request.method.as_str() {
        "POST" => token(),
        "GET" => answer(200, listing("A")),
        _ if request.path.contains("/BAD?") => {
            let issue = json!({"code": "90220", "message": "it lacks much", "severity": "ERROR", "categories": []});
            answer(200, json!({"sku": "BAD", "status": "INVALID", "submissionId": "s", "issues": [issue]}))
        }
        _ => answer(200, json!({"sku": "A", "status": "ACCEPTED", "submissionId": "s"})),
    })
    .await;
    let shop = amazon("amazon-sp-api", &api.url);
    let deliver = async |sku: &str| {
        let outcomes = shop
            .deliver(&[stock(1, sku, "MAIN", 3)], &Open)
            .await
            .outcomes();
        (words(&outcomes), cause(&outcomes[0]).to_owned())
    };
    assert_eq!(deliver("A").await.0, "applied");
    let took = api.took();
    let paths: Vec<&str> = took.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths[0], "/auth/o2/token");
    assert!(took[0].text.contains("grant_type=refresh_token"));
    assert_eq!(took[2].header("x-amz-access-token"), "Atza|1");
    assert_eq!(took[2].header("authorization"), "");
    assert!(took[2].header("user-agent").starts_with("lighterman/"));
    assert_eq!(took[2].body["patches"][0]["op"], "merge");

    assert_eq!(
        deliver("BAD").await,
        ("rejected".to_owned(), "HTTP 200: it lacks much".to_owned())
    );
    api.took();

    let expired =
        json!({"errors": [{"code": "Unauthorized", "message": "The access token has expired."}]});
    api.then([answer(403, expired)]);
    assert_eq!(deliver("A").await.0, "applied");
    let methods: Vec<String> = api.took().into_iter().map(|one| one.method).collect();
    assert_eq!(
        methods,
        ["PATCH", "POST", "PATCH"],
        "looked up before, and logged in once"
    );

    let quota = json!({"errors": [{"code": "QuotaExceeded", "message": "too many"}]});
    api.then([Do::Answer(
        429,
        vec![("x-amzn-ratelimit-limit", "5.0".to_owned())],
        quota,
    )]);
    assert_eq!(deliver("A").await.0, "retry");
}

fn taken(events: &[Outgoing], outcomes: &[Outcome]) -> Vec<Taken> {
    let one = |(event, outcome): (&Outgoing, &Outcome)| {
        let Outcome::Accepted { ticket, .. } = outcome else {
            return None;
        };
        Some(Taken {
            outgoing: event.clone(),
            ticket: ticket.clone(),
        })
    };
    events.iter().zip(outcomes).filter_map(one).collect()
}

#[tokio::test]
async fn a_feed_goes_by_a_place_of_another_server_and_its_report_comes_from_there() {
    let report = json!({
        "header": {"sellerId": "SELLER", "version": "2.0", "feedId": "F1"},
        "issues": [{"messageId": 3, "sku": "BAD", "code": "90220", "severity": "ERROR", "message": "it lacks much"}],
        "summary": {"errors": 1, "warnings": 0, "messagesProcessed": 3, "messagesAccepted": 2, "messagesInvalid": 1},
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(report.to_string().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let files = Api::start(move |request: &Request| match request.method.as_str() {
        "PUT" => Do::Bytes(200, Vec::new()),
        _ => Do::Bytes(200, packed.clone()),
    })
    .await;
    let (place, result) = (
        format!("{}/in?signature=1%2F2", files.url),
        format!("{}/out?signature=3", files.url),
    );
    let api = Api::start(move |request: &Request| match request.path.as_str() {
        "/auth/o2/token" => token(),
        "/feeds/2021-06-30/documents" => answer(201, json!({"feedDocumentId": "D1", "url": place})),
        "/feeds/2021-06-30/feeds" => answer(202, json!({"feedId": "F1"})),
        "/feeds/2021-06-30/feeds/F1" => answer(
            200,
            json!({"processingStatus": "DONE", "resultFeedDocumentId": "R1"}),
        ),
        "/feeds/2021-06-30/documents/R1" => {
            answer(200, json!({"url": result, "compressionAlgorithm": "GZIP"}))
        }
        _ => {
            let all: Vec<Json> = ["A", "BAD", "C"].into_iter().map(listing).collect();
            answer(200, json!({"numberOfResults": 3, "items": all}))
        }
    })
    .await;
    let shop = amazon("amazon-sp-api-feed", &api.url);
    // Numbers in the outbox 1, 2, ..
    let batch: Vec<Outgoing> = ["A", "BAD", "C", "NONE"]
        .into_iter()
        .zip(1..)
        .map(|(sku, n)| stock(n, sku, "MAIN", i64::from(n)))
        .collect();
    let gate = Watched::default();
    let outcomes = shop.deliver(&batch, &gate).await.outcomes();
    assert_eq!(words(&outcomes), "accepted accepted accepted missing");
    assert_eq!(*gate.passed.lock().unwrap(), [0, 0, 60, 0, 0]);
    let put = files.took();
    assert_eq!(put.len(), 1);
    assert_eq!(put[0].path, "/in?signature=1%2F2");
    assert_eq!(
        put[0].header("content-type"),
        "application/json; charset=UTF-8"
    );
    let ids: Vec<&Json> = put[0].body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["messageId"])
        .collect();
    assert_eq!(ids, [2, 3, 4]);

    // Asked about in another order and without one of them.
    let mut asked = taken(&batch, &outcomes);
    asked.remove(0);
    asked.reverse();
    api.took();
    let outcomes = shop.follow_up(&asked, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied rejected");
    assert_eq!(cause(&outcomes[1]), "it lacks much");
    assert_eq!(api.took().len(), 2, "one question for all of a feed");
    let got = files.took();
    assert_eq!(got[0].path, "/out?signature=3");
    for request in put.iter().chain(&got) {
        assert!(!request.text.contains("Atza"));
        for (name, value) in &request.headers {
            assert!(name != "authorization" && !value.contains("Atza"), "{name}");
        }
    }

    // A report that cannot be unpacked says nothing.
    files.then([Do::Bytes(200, vec![0x1f, 0x8b, 8, 0, 1])]);
    let outcomes = shop.follow_up(&asked, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "unknown unknown");
}
