//! The channel `business-central` against an API that answers as Microsoft's pages say. It was not run
//! against Business Central.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use contract::gate::Open;
use contract::{Destination, EventOp, EventType, Level, Outgoing};
use serde_json::{Value as Json, json};

const TOKEN: &str = "/t1/oauth2/v2.0/token";
const API: &str = "/v2.0/t1/Production/api/v2.0";

/// Items are what is asked for, but `NONE`; `BAD` is refused by a rule of theirs, and a filter with `|` as a whole.
/// A batch goes on after a failed member only where that is preferred.
fn central(request: &Request) -> Do {
    if request.path == TOKEN {
        return answer(
            200,
            json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "t-1"}),
        );
    }
    if request.header("authorization") != "Bearer t-1" {
        return answer(
            401,
            json!({"error": {"code": "Authentication_InvalidCredentials", "message": "no"}}),
        );
    }
    let path = request.path.strip_prefix(API).unwrap();
    if path == "/companies(c1)?$select=id%2CdisplayName" {
        return answer(200, json!({"id": "c1", "displayName": "CRONUS"}));
    }
    if let Some((_, filter)) = path.split_once("$filter=") {
        if filter.contains("%7C") {
            return answer(
                400,
                json!({"error": {"code": "Application_FilterErrorException", "message": "is not valid for the No. field"}}),
            );
        }
        let asked = filter
            .split("%27")
            .skip(1)
            .step_by(2)
            .filter(|number| *number != "NONE");
        let items: Vec<Json> = asked
            .map(|number| json!({"id": format!("id-{number}"), "number": number}))
            .collect();
        return answer(200, json!({"value": items}));
    }
    assert_eq!(path, "/$batch");
    let mut responses = Vec::new();
    for one in request.body["requests"].as_array().unwrap() {
        assert_eq!(one["headers"]["If-Match"], "*");
        let bad = one["url"] == "companies(c1)/items(id-BAD)";
        responses.push(if bad {
            json!({"id": one["id"], "status": 400, "body": {"error": {"code": "Application_DialogException", "message": "Item BAD is blocked."}}})
        } else {
            json!({"id": one["id"], "status": 200, "body": one["body"]})
        });
        if bad && request.header("prefer") != "odata.continue-on-error" {
            break;
        }
    }
    answer(200, json!({"responses": responses}))
}

fn channel(api: &Api) -> Arc<dyn Destination> {
    let settings = map([
        ("url", text(&api.url)),
        ("login_url", text(&api.url)),
        ("tenant", text("t1")),
        ("company", text("c1")),
        ("client_id", text("app")),
        ("client_secret", environment()),
        ("location", text("MAIN")),
    ]);
    destination(&map([
        ("channel", text("business-central")),
        ("settings", settings),
        ("timeout_seconds", number(5)),
    ]))
}

fn count(n: u32, sku: &str) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "location": "MAIN"});
    event(
        n,
        EventType::InventoryAvailability,
        EventOp::Upsert,
        key,
        json!({"on_hand": n.to_string(), "sellable": "0", "active": true}),
    )
}

#[tokio::test]
async fn a_batch_is_booked_but_for_the_item_that_is_refused() {
    let api = Api::start(central).await;
    let shop = channel(&api);
    assert_eq!(
        shop.check().await[0].level,
        Level::Pass,
        "{:?}",
        shop.check().await
    );
    api.took();
    let batch: Vec<Outgoing> = (1..)
        .zip(["A", "BAD", "C", "NONE", "D|"])
        .map(|(n, sku)| count(n, sku))
        .collect();
    let outcomes = shop.deliver(&batch, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied rejected applied missing rejected",
        "{outcomes:?}"
    );
    assert_eq!(cause(&outcomes[1]), "Item BAD is blocked.");
    let booked: Vec<(String, Json)> = api
        .took()
        .iter()
        .filter_map(|request| request.body["requests"].as_array().cloned())
        .flatten()
        .map(|one| {
            (
                one["url"].as_str().unwrap().to_owned(),
                one["body"]["inventory"].clone(),
            )
        })
        .collect();
    let expected = [("A", 1), ("BAD", 2), ("C", 3)]
        .map(|(sku, n)| (format!("companies(c1)/items(id-{sku})"), json!(n)));
    assert_eq!(booked, expected, "each of them once");
}

#[tokio::test]
async fn one_token_is_asked_for_and_too_many_requests_are_heard() {
    let api = Api::start(central).await;
    let shop = channel(&api);
    let gate = Watched::default();
    let outcomes = shop.deliver(&[count(1, "A")], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    let took = api.took();
    assert_eq!(
        took[0].text,
        "grant_type=client_credentials&client_id=app&client_secret=s3cr3t-pass\
         &scope=https%3A%2F%2Fapi.businesscentral.dynamics.com%2F.default"
    );
    // The id is remembered; nothing says how long to wait.
    api.then([answer(429, Json::Null)]);
    let outcomes = shop.deliver(&[count(2, "A")], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "retry", "{outcomes:?}");
    assert!(gate.heard.lock().unwrap().last().unwrap().throttled);
    let took: Vec<String> = api.took().into_iter().map(|request| request.path).collect();
    assert_eq!(took, [format!("{API}/$batch")]);
}
