//! The channel `walmart` against Walmart's own descriptions of its API, and against a scripted API where they end.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::gate::Open;
use contract::{
    Compared, Destination, EventOp, EventType, Level, Node, NodeKind, Outcome, Outgoing, Taken,
};
use harness::channels::Walmart;
use serde_json::json;

fn token() -> Do {
    answer(
        200,
        json!({"access_token": "tests", "token_type": "Bearer", "expires_in": 900}),
    )
}

fn settings(url: &str, feeds: bool) -> Node {
    let feeds = Node {
        line: 1,
        column: 1,
        kind: NodeKind::Bool(feeds),
    };
    let locations = map([("MAIN", text("10000003527")), ("WEST", text("1000000352"))]);
    map([
        ("url", text(url)),
        ("client_id", text("tests")),
        ("client_secret", text("tests")),
        ("locations", locations),
        ("feeds", feeds),
    ])
}

/// The file, with tokens from another API.
fn file_with(tokens: &Api) -> String {
    let (_, file) = mappings::channel::shipped("walmart").unwrap();
    let from = "token_url: setting.url || '/v3/token'";
    assert!(file.contains(from));
    file.replacen(
        from,
        &format!("token_url: \"'{}/v3/token'\"", tokens.url),
        1,
    )
}

fn destination_of(url: &str, tokens: &Api, feeds: bool) -> Arc<dyn Destination> {
    of_file(&file_with(tokens), vec![("settings", settings(url, feeds))])
}

fn price(n: u32, sku: &str, amount: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "price_list": "", "uom": "EA", "min_qty": "", "currency": "USD", "valid_from": "", "customer_id": ""});
    let body = json!({"amount": {"amount": amount, "currency": "USD"}, "per_qty": "1", "kind": "list", "tax_included": false, "computed": false});
    event(n, EventType::Price, EventOp::Upsert, key, body)
}

#[tokio::test]
async fn requests_are_such_as_walmart_describes_them() {
    let walmart = Walmart::start();
    let tokens = Api::start(|_| token()).await;
    let channel = destination_of(&walmart.url(), &tokens, false);
    let findings = channel.check().await;
    assert_eq!(findings[0].level, Level::Pass, "{findings:?}");
    let events = [
        stock(1, "97964_KFTest", "MAIN", 10),
        stock(2, "A/1 (x) & more", "WEST", 7),
        stock(3, "B", "NOWHERE", 7),
        price(4, "97964_KFTest", "1234.56"),
    ];
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied applied rejected applied",
        "{outcomes:?}; {}",
        walmart.log()
    );
    // The description's example holds ten.
    let compared = channel.compare(&events[..2], &Open).await;
    assert_eq!(compared[0], Compared::Same);
    assert!(
        matches!(&compared[1], Compared::Differs { .. }),
        "{compared:?}"
    );

    let channel = destination_of(&walmart.url(), &tokens, true);
    let outcomes = channel.deliver(&events[..3], &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "accepted accepted rejected",
        "{outcomes:?}; {}",
        walmart.log()
    );
    let asked = tokens.took();
    let login = asked.first().unwrap();
    assert_eq!(login.header("authorization"), "Basic dGVzdHM6dGVzdHM=");
    assert_eq!(login.header("wm_svc.name"), "Walmart Marketplace");
    assert_eq!(login.text, "grant_type=client_credentials");
}

#[tokio::test]
async fn a_request_that_does_not_fit_the_description_is_refused() {
    let walmart = Walmart::start();
    let tokens = Api::start(|_| token()).await;
    let file = file_with(&tokens);
    let file = file.replacen("unit: {$text: EACH}", "unit: {$text: PALLET}", 1);
    let channel = of_file(&file, vec![("settings", settings(&walmart.url(), false))]);
    let outcomes = channel
        .deliver(&[stock(1, "A", "MAIN", 5)], &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "rejected", "{outcomes:?}");
}

#[tokio::test]
async fn one_sku_that_is_refused_stops_only_itself_and_waiting_is_as_told() {
    let api = Api::start(|request| {
        if request.path == "/v3/token" {
            return token();
        }
        let sku = request.body["sku"].as_str().unwrap();
        match sku {
            "BAD" => answer(
                400,
                json!({"errors": [{"code": "INVALID_REQUEST_CONTENT.GMP_INVENTORY_API", "description": "no such ship node"}]}),
            ),
            "LATER" => Do::Answer(
                429,
                vec![("retry-after", "60".to_owned())],
                json!({"errors": [{"code": "REQUEST_THRESHOLD_VIOLATED.GMP_GATEWAY_API"}]}),
            ),
            _ => answer(
                200,
                json!({"sku": sku, "quantity": request.body["quantity"]}),
            ),
        }
    })
    .await;
    let channel = destination_of(&api.url, &api, false);
    let events = ["A", "BAD", "B", "LATER"].map(|sku| stock(1, sku, "MAIN", 5));
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied rejected applied retry after 60",
        "{outcomes:?}"
    );
    assert!(cause(&outcomes[1]).contains("no such ship node"));
    let sent = api.took();
    assert_eq!(sent[1].header("wm_sec.access_token"), "tests");
}

#[tokio::test]
async fn a_feed_is_followed_until_each_sku_is_known() {
    let api = Api::start(|request| match request.path.as_str() {
        "/v3/token" => token(),
        "/v3/feeds?feedType=MP_INVENTORY" => answer(200, json!({"feedId": "F1@AUoBAQA"})),
        path => {
            assert_eq!(path, "/v3/feeds/F1%40AUoBAQA?includeDetails=true&offset=0&limit=50");
            let of = |sku: &str, status: &str| json!({"sku": sku, "ingestionStatus": status,
                "ingestionErrors": {"ingestionError": [{"type": status, "code": "E", "description": format!("{sku} is wrong")}]}});
            answer(
                200,
                json!({"feedId": "F1@AUoBAQA", "feedStatus": "PROCESSED", "itemDetails": {"itemIngestionStatus":
                    [of("B", "DATA_ERROR"), of("A", "SUCCESS"), of("C", "SYSTEM_ERROR")]}}),
            )
        }
    })
    .await;
    let channel = destination_of(&api.url, &api, true);
    let events = ["A", "B", "C"].map(|sku| stock(1, sku, "MAIN", 5));
    let outcomes = channel.deliver(&events, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "accepted accepted accepted",
        "{outcomes:?}"
    );
    let sent = api.took();
    let file = &sent[1];
    assert!(
        file.header("content-type")
            .starts_with("multipart/form-data; boundary="),
        "{file:?}"
    );
    let part = "{\"inventoryHeader\":{\"version\":\"1.5\"},\"inventory\":[";
    assert!(file.text.contains(part), "{}", file.text);

    let taken: Vec<Taken> = events
        .iter()
        .zip(&outcomes)
        .map(|(event, outcome)| match outcome {
            Outcome::Accepted { ticket, .. } => Taken {
                outgoing: event.clone(),
                ticket: ticket.clone(),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    api.then([answer(200, json!({"feedStatus": "INPROGRESS"}))]);
    let outcomes = channel.follow_up(&taken, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "accepted accepted accepted");
    let outcomes = channel.follow_up(&taken, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied rejected unknown", "{outcomes:?}");
    assert_eq!(cause(&outcomes[1]), "B is wrong");
}
