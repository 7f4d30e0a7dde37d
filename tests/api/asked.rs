//! What is held, told again, paused: asked for, and followed.

use std::time::Duration;

use harness::receiver::{Faults, Receiver};
use serde_json::json;

use super::{OPERATES, SOON, STOCK, Said, as_token, done, get, site, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_found_sent_again_and_given_up_and_each_request_is_followed() {
    let receiver = Receiver::start(4, Faults::default()).await;
    let refused = ["ACME|A|MAIN", "ACME|C|MAIN"].map(str::to_owned);
    receiver.held().rejected.extend(refused);
    let stock_only = format!("{OPERATES}\ntypes = [\"{STOCK}\"]\nrequests_per_minute = 6000");
    let orders_only = format!("{OPERATES}\ntypes = [\"order.v1\"]\nrequests_per_minute = 6000");
    let (site, port) = site(
        &receiver,
        &[
            ("desk", &format!("{OPERATES}\nrequests_per_minute = 6000")),
            ("stock", &stock_only),
            ("orders", &orders_only),
        ],
    );
    let mut agent = site.agent();
    let path = "/api/v1/held?cause=rejected";
    let said = until(port, "desk", path, &agent, |said| {
        said.body["counts"] == json!([{"by": "shop", "cause": "rejected", "count": 2}])
    })
    .await;
    let item = &said.body["held"][0];
    assert_eq!(item["status"], 422);
    assert!(
        item["fix"]
            .as_str()
            .unwrap()
            .contains("held retry --cause rejected"),
        "{item}"
    );
    let id = item["id"].as_str().unwrap().to_owned();
    let said = get(
        port,
        "desk",
        &format!("/api/v1/held/{}", id.replace('/', "%2F")),
    )
    .await;
    assert_eq!(said.body["event"]["body"]["on_hand"], "5", "{}", said.text);
    assert_eq!(
        said.body["attempts"][0]["outcome"], "rejected",
        "{}",
        said.text
    );

    // What it is not clear about, or what is not its own, is not done.
    for (name, path, body, status, wanted) in [
        ("desk", "held/retry", "{}", 400, "which items"),
        ("desk", "held/retry", "[]", 400, "no JSON object"),
        (
            "desk",
            "held/retry",
            "{\"caus\": \"guard\"}",
            400,
            "unknown field `caus`",
        ),
        (
            "desk",
            "held/retry",
            "{\"cause\": \"rejectd\"}",
            400,
            "did you mean rejected?",
        ),
        (
            "desk",
            "held/retry",
            "{\"ids\": [\"shop/999\"]}",
            404,
            "nothing of this name",
        ),
        (
            "desk",
            "held/retry",
            "{\"destination\": \"shup\"}",
            404,
            "no such destination",
        ),
        (
            "desk",
            "held/drop",
            "{\"cause\": \"rejected\"}",
            400,
            "does not say why",
        ),
        (
            "desk",
            "destinations/shup/pause",
            "",
            404,
            "did you mean shop?",
        ),
        (
            "desk",
            "destinations/shop/pause",
            "{\"minutes\": 0}",
            400,
            "from 1 to",
        ),
        (
            "desk",
            "replay",
            "{\"from\": \"2026-11-27\"}",
            400,
            "no moment with a zone",
        ),
        (
            "desk",
            "replay",
            "{\"types\": [\"order.v2\"]}",
            400,
            "did you mean order.v1?",
        ),
        (
            "orders",
            "held/retry",
            "{\"all\": true}",
            403,
            "name one of its types",
        ),
        (
            "orders",
            "held/retry",
            "{\"type\": \"inventory.availability.v1\"}",
            403,
            "is not for",
        ),
        (
            "orders",
            "replay",
            "{\"types\": [\"inventory.availability.v1\"]}",
            403,
            "is not for",
        ),
    ] {
        let said = as_token(port, name, "POST", &format!("/api/v1/{path}"), body).await;
        assert!(
            said.status == status && said.text.contains(wanted),
            "{path} {body}: {}",
            said.text
        );
        assert!(
            said.body["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
            "{}",
            said.text
        );
    }
    let one = json!({ "ids": [id] }).to_string();
    let said = as_token(port, "orders", "POST", "/api/v1/held/retry", &one).await;
    assert_eq!(said.status, 404, "not one of its types: {}", said.text);
    assert_eq!(
        get(port, "orders", "/api/v1/held").await.body["held"],
        json!([])
    );

    // Mended at the receiver, and sent again.
    receiver.held().rejected.clear();
    let more = json!({ "ids": [id, "shop/999"] }).to_string();
    let said = as_token(port, "stock", "POST", "/api/v1/held/retry", &more).await;
    assert_eq!(said.body["not_held"], json!(["shop/999"]), "{}", said.text);
    let place = said.headers["location"].clone();
    assert_eq!(said.body["requests"][0]["href"], place);
    assert_eq!(done(port, "stock", &agent, &said).await, [1]);
    let there = receiver.wait(SOON, |held| held.body(STOCK, "ACME|A|MAIN").is_some());
    assert!(there.await, "{}", agent.log());
    // The other one is given up.
    let why = "{\"cause\": \"rejected\", \"why\": \"not sold there\"}";
    let said = as_token(port, "desk", "POST", "/api/v1/held/drop", why).await;
    assert_eq!(done(port, "desk", &agent, &said).await, [1]);
    let said = get(port, "desk", "/api/v1/trace?key=C%7CMAIN").await;
    assert_eq!(
        said.body["events"][0]["deliveries"][0]["state"], "discarded",
        "{}",
        said.text
    );
    let (_, shown) = site.command(&["trace", "--key", "C"]);
    assert!(
        shown.contains("token:desk") && shown.contains("not sold there"),
        "{shown}"
    );
    let said = get(port, "desk", "/api/v1/requests/999999").await;
    assert_eq!(said.status, 404, "{}", said.text);

    // Paused, it sends nothing; told again, all of it.
    let said = as_token(
        port,
        "desk",
        "POST",
        "/api/v1/destinations/shop/pause",
        "{\"minutes\": 60}",
    )
    .await;
    done(port, "desk", &agent, &said).await;
    let path = "/api/v1/destinations";
    let paused = |said: &Said| said.body["destinations"][0]["paused"]["until"].is_string();
    until(port, "desk", path, &agent, paused).await;
    site.run("UPDATE stock SET qty = 4 WHERE sku = 'A'");
    let (_, shown) = site.command(&["status"]);
    assert!(shown.contains("PAUSED"), "{shown}");
    let said = as_token(port, "desk", "POST", "/api/v1/destinations/shop/resume", "").await;
    done(port, "desk", &agent, &said).await;
    let there = receiver.wait(SOON, |held| {
        held.body(STOCK, "ACME|A|WEST")
            .is_some_and(|body| body["on_hand"] == "4")
    });
    assert!(there.await, "{}", agent.log());
    let before = receiver.held().arrivals;
    let which = format!("{{\"key\": \"A\", \"types\": [\"{STOCK}\"]}}");
    // What the receiver has is told of a moment later.
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let said = as_token(port, "stock", "POST", "/api/v1/replay", &which).await;
        assert_eq!(said.status, 200, "{}", said.text);
        if said.body["replay"][0]["would"]["states"] == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", said.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let which = "{\"key\": \"A\", \"dry_run\": false}";
    let said = as_token(port, "stock", "POST", "/api/v1/replay", which).await;
    assert_eq!(done(port, "stock", &agent, &said).await, [2]);
    assert!(
        receiver
            .wait(SOON, |held| held.arrivals >= before + 2)
            .await,
        "{}",
        agent.log()
    );

    let said = get(port, "desk", "/api/v1/status").await;
    assert_eq!(said.body["health"]["ready"], true, "{}", said.text);
    assert_eq!(said.body["sources"][0]["name"], "erp");
    agent.terminate(SOON).await.unwrap();
    assert_eq!(receiver.held().violations, Vec::<String>::new());
}
