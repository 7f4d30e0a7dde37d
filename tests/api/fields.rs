//! A token gets its fields and no other.

use harness::receiver::{Faults, Receiver};
use serde_json::json;

use super::{PERSON, get, site, told, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_gets_its_fields_and_no_other_by_any_way() {
    let receiver = Receiver::start(3, Faults::default()).await;
    receiver.held().rejected.push("ACME|1".to_owned());
    let more = "scopes = [\"published:read\", \"held:read\", \"trace:read\"]\nrequests_per_minute = 6000\n\
        types = [\"order.v1\", \"inventory.availability.v1\"]";
    let fields = |list: &str| format!("{more}\nfields = {{ \"order.v1\" = {list} }}");
    let (site, port) = site(
        &receiver,
        &[
            ("plain", more),
            ("few", &fields("[\"lifecycle\", \"ship_to.country\"]")),
            ("all", &fields("[\"*\"]")),
        ],
    );
    let agent = site.agent();
    told(port, "plain", &agent).await;
    until(port, "plain", "/api/v1/held", &agent, |said| {
        said.body["held"][0]["id"].is_string()
    })
    .await;
    let held = get(port, "plain", "/api/v1/held").await;
    let id = held.body["held"][0]["id"]
        .as_str()
        .unwrap()
        .replace('/', "%2F");

    let said = get(port, "few", "/api/v1/orders?order_id=1").await;
    assert_eq!(
        said.body["items"][0]["body"],
        json!({"ship_to": {"country": "DE"}, "lifecycle": "open"}),
        "{}",
        said.text
    );
    let tag = said.headers["etag"].clone();
    let said = get(port, "plain", "/api/v1/orders?order_id=1").await;
    let body = &said.body["items"][0]["body"];
    assert_eq!(body["ship_to"], json!({"country": "DE"}), "{body}");
    assert!(
        body["order_number"] == "1" && body.get("customer_name").is_none(),
        "{body}"
    );
    let said = get(port, "all", "/api/v1/orders?order_id=1").await;
    assert!(
        said.text.contains(&format!("{PERSON} Ann")),
        "{}",
        said.text
    );
    assert!(
        said.text.contains(&format!("{PERSON}@example.com")),
        "{}",
        said.text
    );

    // By no filter, no error, no digest, and by nothing that is held or traced.
    for name in ["few", "plain"] {
        for path in [
            "/api/v1/orders".to_owned(),
            format!("/api/v1/orders?customer_name={PERSON}%20Ann"),
            format!("/api/v1/orders?cursor={PERSON}"),
            "/api/v1/orders?limit=x".to_owned(),
            "/api/v1/held".to_owned(),
            format!("/api/v1/held/{id}"),
            "/api/v1/trace?key=1".to_owned(),
            "/api/v1/trace?key=ACME&limit=100".to_owned(),
        ] {
            let said = get(port, name, &path).await;
            let body = said.text.split_once("\r\n\r\n").unwrap().1;
            // What a caller sends itself is its own.
            let echoed =
                path.contains(PERSON) && !body.contains("Ann") && !body.contains("items\":[{");
            assert!(echoed || !body.contains(PERSON), "{name} {path}: {body}");
            // By a digest, values could be guessed.
            let traced = said.body["events"].as_array().into_iter().flatten();
            for event in traced.map(|one| &one["event"]).chain([&said.body["event"]]) {
                let digest = event["type"] == "order.v1" && event.get("body_digest").is_some();
                assert!(!digest, "{name} {path}: {event}");
            }
        }
    }
    let said = get(port, "all", &format!("/api/v1/held/{id}")).await;
    assert!(
        said.text.contains(&format!("{PERSON} Ann")),
        "{}",
        said.text
    );
    assert_eq!(said.body["attempts"][0]["status"], 422, "{}", said.text);
    assert!(
        get(port, "all", "/api/v1/trace?key=1")
            .await
            .text
            .contains("body_digest")
    );

    // A change of what it does not see changes the version that it sees, and nothing else.
    let before = get(port, "few", "/api/v1/orders?order_id=2").await;
    site.run("UPDATE head SET mail = 'Zq4PersonMark.new@example.com' WHERE id = '2'");
    let path = "/api/v1/orders?order_id=2";
    let version = before.body["items"][0]["version"].clone();
    let after = until(port, "few", path, &agent, |said| {
        said.body["items"][0]["version"] != version
    })
    .await;
    assert_eq!(
        after.body["items"][0]["body"],
        before.body["items"][0]["body"]
    );
    let said = get(port, "few", "/api/v1/orders?order_id=1").await;
    assert_eq!(
        said.headers["etag"], tag,
        "the same as long as nothing is told"
    );
}
