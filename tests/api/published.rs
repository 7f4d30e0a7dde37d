//! Published state: by key, by page, and again only when it changed.

use harness::receiver::{Faults, Receiver};
use serde_json::{Value, json};

use super::{READS, STOCK, call, count, get, secret, site, told, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_state_is_read_by_key_and_by_page_and_again_only_when_it_changed() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(
        &receiver,
        &[("reports", &format!("{READS}\nrequests_per_minute = 6000"))],
    );
    let agent = site.agent();
    told(port, "reports", &agent).await;
    let get = |path: String| async move { get(port, "reports", &path).await };

    // By key, whatever stands in it; decimals as they were told.
    let said = get("/api/v1/inventory?sku=A&location=WEST".to_owned()).await;
    assert_eq!(said.status, 200, "{}", said.text);
    let item = &said.body["items"][0];
    assert_eq!(
        item["key"],
        json!({"company": "ACME", "sku": "A", "location": "WEST"})
    );
    assert_eq!(item["source"], "erp");
    assert_eq!(item["version"]["epoch"], 1);
    assert!(item["updated_at"].is_string(), "{item}");
    let receiver_has = receiver.held().body(STOCK, "ACME|A|WEST").cloned().unwrap();
    assert_eq!(item["body"], receiver_has, "as it was told");
    assert_eq!(item["body"]["on_hand"], "12");
    for (query, wanted) in [
        ("sku=A", 2),
        ("sku=A%7CB", 1),
        ("location=MAIN", 3),
        ("company=ACME", 4),
        ("company=ACME&sku=C&location=MAIN", 1),
        ("company=OTHER", 0),
        ("company=OTHER&sku=A", 0),
        ("sku=B", 0),
        ("sku=", 0),
    ] {
        let said = get(format!("/api/v1/inventory?{query}")).await;
        assert_eq!(
            (said.status, count(&said)),
            (200, wanted),
            "{query}: {}",
            said.text
        );
    }

    // By page, in the order of the keys.
    let mut path = Some("/api/v1/inventory?limit=1".to_owned());
    let mut keys = Vec::new();
    while let Some(next) = path {
        let said = get(next).await;
        for item in said.body["items"].as_array().unwrap() {
            keys.push(
                format!("{} {}", item["key"]["sku"], item["key"]["location"]).replace('"', ""),
            );
        }
        path = said.body["next"].as_str().map(str::to_owned);
    }
    assert_eq!(keys, ["A|B MAIN", "A MAIN", "A WEST", "C MAIN"]);
    for (query, wanted) in [
        ("limit=0", "limit is no whole number from 1 to 500"),
        ("limit=501", "limit is no whole number"),
        ("skus=A", "did you mean sku?"),
        ("sku=A&sku=B", "twice"),
        ("on_hand=5", "unknown part"),
    ] {
        let said = get(format!("/api/v1/inventory?{query}")).await;
        assert!(
            said.status == 400 && said.text.contains(wanted),
            "{query}: {}",
            said.text
        );
        assert_eq!(said.headers["content-type"], "application/problem+json");
    }

    // What is known already does not come again, until it changes.
    let path = "/api/v1/inventory?sku=C";
    let first = get(path.to_owned()).await;
    let tag = first.headers["etag"].clone();
    let bearer = format!("Bearer {}", secret("reports"));
    let known = async |tag: &str| {
        let headers = [("Authorization", bearer.as_str()), ("If-None-Match", tag)];
        call(port, "GET", path, &headers, "").await
    };
    let said = known(&format!("\"x\", W/{tag}")).await;
    assert_eq!(
        (said.status, said.body),
        (304, Value::Null),
        "{}",
        said.text
    );
    assert_eq!(said.headers["etag"], tag);
    assert_eq!(said.headers["cache-control"], "private, no-cache");
    site.run("UPDATE stock SET qty = 8 WHERE sku = 'C'");
    until(port, "reports", path, &agent, |said| {
        said.body["items"][0]["body"]["on_hand"] == "8"
    })
    .await;
    let said = known(&tag).await;
    assert!(
        said.status == 200 && said.headers["etag"] != tag,
        "{}",
        said.text
    );
    assert_ne!(
        said.body["items"][0]["version"],
        first.body["items"][0]["version"]
    );

    // What ended is not there any more.
    site.run("DELETE FROM stock WHERE sku = 'C'");
    until(port, "reports", path, &agent, |said| count(said) == 0).await;
}
