//! The channel `netsuite` against an API that answers as Oracle's pages say. It was not run against NetSuite.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::common::*;
use base64::Engine;
use contract::gate::Open;
use contract::{Destination, EventOp, EventType, Outgoing};
use serde_json::{Value as Json, json};

const API: &str = "/services/rest";

/// What is there of each item, and the adjustments by their external ids.
#[derive(Default)]
struct Books {
    on_hand: BTreeMap<String, i64>,
    documents: BTreeMap<String, i64>,
}

fn refused(status: u16, code: &str, detail: &str) -> Do {
    answer(
        status,
        json!({"title": "No", "status": status, "o:errorDetails": [{"detail": detail, "o:errorCode": code}]}),
    )
}

/// An item's id is `id-` and its name; `NONE` is not there, and `LOT` is kept by lots.
fn suite(books: &Mutex<Books>, request: &Request) -> Do {
    if !request
        .header("authorization")
        .starts_with("OAuth realm=\"1234567_SB1\", oauth_consumer_key=\"ck\"")
    {
        return refused(401, "INVALID_LOGIN", "Invalid login attempt.");
    }
    let mut books = books.lock().unwrap();
    let path = request.path.strip_prefix(API).unwrap();
    if let Some(external) = path.strip_prefix("/record/v1/inventoryAdjustment/eid:") {
        return match books.documents.get(external) {
            Some(_) => answer(200, json!({"id": "77", "externalId": external})),
            None => refused(404, "NONEXISTENT_ID", "The record instance does not exist."),
        };
    }
    if path == "/record/v1/inventoryAdjustment" {
        let line = &request.body["inventory"]["items"][0];
        let item = line["item"]["id"].as_str().unwrap().to_owned();
        if item == "id-LOT" {
            return refused(400, "USER_ERROR", "Please configure the inventory detail.");
        }
        let external = request.body["externalId"].as_str().unwrap().to_owned();
        if books.documents.contains_key(&external) {
            return refused(400, "USER_ERROR", "This record already exists.");
        }
        let by = line["adjustQtyBy"].as_i64().unwrap();
        *books.on_hand.entry(item).or_default() += by;
        books.documents.insert(external, by);
        let place = "http://127.0.0.1/services/rest/record/v1/inventoryAdjustment/77".to_owned();
        return Do::Answer(204, vec![("location", place)], Json::Null);
    }
    assert_eq!(path, "/query/v1/suiteql?limit=10");
    assert_eq!(request.header("prefer"), "transient");
    let q = request.body["q"].as_str().unwrap();
    let name = q.split('\'').nth(1).unwrap();
    let id = format!("id-{name}");
    let there = books.on_hand.get(&id).unwrap_or(&0).to_string();
    let row = json!({"links": [], "id": id, "itemid": name, "onhand": there});
    let rows = if name == "NONE" { vec![] } else { vec![row] };
    answer(200, json!({"items": rows, "hasMore": false}))
}

fn channel(api: &Api) -> Arc<dyn Destination> {
    let settings = map([
        ("url", text(&api.url)),
        ("account", text("1234567_SB1")),
        ("consumer_key", text("ck")),
        ("consumer_secret", environment()),
        ("token", text("tk")),
        ("token_secret", environment()),
        ("locations", map([("MAIN", text("3"))])),
        ("adjustment_account", text("58")),
        ("subsidiary", text("1")),
    ]);
    destination(&map([
        ("channel", text("netsuite")),
        ("settings", settings),
        ("timeout_seconds", number(5)),
    ]))
}

fn count(n: u32, sku: &str, on_hand: i64) -> Outgoing {
    let key = json!({"company": "C", "sku": sku, "location": "MAIN"});
    event(
        n,
        EventType::InventoryAvailability,
        EventOp::Upsert,
        key,
        json!({"on_hand": on_hand.to_string(), "sellable": "0", "active": true}),
    )
}

async fn one(shop: &Arc<dyn Destination>, event: Outgoing) -> String {
    words(&shop.deliver(&[event], &Open).await.outcomes())
}

#[tokio::test]
async fn the_difference_is_booked_and_one_item_that_is_refused_stands_alone() {
    let books = Arc::new(Mutex::new(Books::default()));
    books.lock().unwrap().on_hand.insert("id-A".to_owned(), 15);
    let at = Arc::clone(&books);
    let api = Api::start(move |request: &Request| suite(&at, request)).await;
    let shop = channel(&api);
    let batch = [
        count(1, "A", 12),
        count(2, "LOT", 3),
        count(3, "NONE", 1),
        count(4, "B", 7),
    ];
    let outcomes = shop.deliver(&batch, &Open).await.outcomes();
    assert_eq!(
        words(&outcomes),
        "applied rejected missing applied",
        "{outcomes:?}"
    );
    assert!(cause(&outcomes[1]).contains("Please configure the inventory detail."));
    api.then([refused(
        429,
        "CONCURRENCY_LIMIT_EXCEEDED",
        "Request blocked.",
    )]);
    let gate = Watched::default();
    let outcomes = shop.deliver(&[count(5, "A", 11)], &gate).await.outcomes();
    assert_eq!(words(&outcomes), "retry", "{outcomes:?}");
    assert!(gate.heard.lock().unwrap().last().unwrap().throttled);
    // As it should be: nothing is booked.
    assert_eq!(one(&shop, count(6, "A", 12)).await, "applied");
    let books = books.lock().unwrap();
    assert_eq!(
        (books.on_hand["id-A"], books.on_hand["id-B"]),
        (12, 7),
        "{:?}",
        books.documents
    );
    assert_eq!(
        books.documents.values().copied().collect::<Vec<_>>(),
        [-3, 7]
    );
}

#[tokio::test]
async fn a_booking_whose_answer_was_lost_is_found_and_not_made_twice() {
    let books = Arc::new(Mutex::new(Books::default()));
    let at = Arc::clone(&books);
    // The booking itself is done, and its answer lost; what is asked for comes.
    let lose = Mutex::new(true);
    let api = Api::start(move |request: &Request| {
        let done = suite(&at, request);
        let books = request.path.ends_with("/inventoryAdjustment");
        if books && std::mem::take(&mut *lose.lock().unwrap()) {
            return Do::Lose;
        }
        done
    })
    .await;
    let shop = channel(&api);
    assert_eq!(one(&shop, count(1, "A", 12)).await, "unknown");
    // Two are sold meanwhile.
    *books.lock().unwrap().on_hand.get_mut("id-A").unwrap() -= 2;
    let again = [count(1, "A", 12), count(2, "B", 3)];
    let outcomes = shop.verify(&again, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied retry", "{outcomes:?}");
    api.then([refused(
        429,
        "CONCURRENCY_LIMIT_EXCEEDED",
        "Request blocked.",
    )]);
    let outcomes = shop.verify(&again[..1], &Open).await.outcomes();
    assert_eq!(words(&outcomes), "unknown", "{outcomes:?}");
    // Sent again all the same, the document is not made twice.
    assert_eq!(one(&shop, count(1, "A", 12)).await, "rejected");
    assert_eq!(books.lock().unwrap().on_hand["id-A"], 10);
}

/// The page's other login, in the place of the file's own.
#[tokio::test]
async fn the_login_that_the_page_shows_for_new_integrations_asks_with_an_assertion() {
    let page = include_str!("../../../docs/channels/netsuite.md");
    let shown = page
        .split_once("```yaml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let (settings, auth) = shown
        .strip_prefix("settings:\n")
        .unwrap()
        .split_once("auth:\n")
        .unwrap();
    let (_, file) = mappings::channel::shipped("netsuite").unwrap();
    let file = file.split_once("\ntests:").unwrap().0;
    let (head, rest) = file.split_once("auth:\n").unwrap();
    let rest = rest.split_once("\n\n").unwrap().1;
    let own = |line: &&str| !line.contains("consumer_") && !line.starts_with("  token");
    let head = head.lines().filter(own).collect::<Vec<_>>().join("\n") + "\n";
    let head = head.replacen("settings:\n", &format!("settings:\n{settings}"), 1);
    let file = format!("{head}auth:\n{auth}\n{rest}");

    let key = ring::signature::EcdsaKeyPair::generate_pkcs8(
        &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &ring::rand::SystemRandom::new(),
    )
    .unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(key.as_ref())
    );
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/services/rest/auth/oauth2/v1/token" => answer(
            200,
            json!({"access_token": "t", "expires_in": "3600", "token_type": "bearer"}),
        ),
        _ => answer(
            200,
            json!({"items": [{"id": "1", "itemid": "A", "onhand": "12"}]}),
        ),
    })
    .await;
    let answers = map([
        ("url", text(&api.url)),
        ("account", text("1234567")),
        ("client_id", text("app")),
        ("certificate", text("cert-1")),
        ("private_key", text("PEM")),
        ("locations", map([("MAIN", text("3"))])),
        ("adjustment_account", text("58")),
    ]);
    // The test's secrets are all the same text: the key stands in the file.
    let file = file
        .replace("  private_key: {type: secret", "  private_key: {type: text")
        .replace(
            "key: setting.private_key",
            &format!("key: {}", json!(format!("'{pem}'"))),
        );
    let shop = of_file(&file, vec![("settings", answers)]);
    assert_eq!(one(&shop, count(1, "A", 12)).await, "applied");
    let took = api.took();
    let start = "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey";
    assert!(took[0].text.starts_with(start), "{}", took[0].text);
    assert_eq!(took[1].header("authorization"), "Bearer t");
}
