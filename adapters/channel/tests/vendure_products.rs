//! New products in a real Vendure: made once, sold only when somebody says so.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::*;
use crate::vendure::{Between, Next, destination_of, product};
use contract::gate::Open;
use contract::{Destination, Outgoing};
use harness::channels::Vendure;
use serde_json::{Value as Json, json};

async fn deliver(channel: &dyn Destination, event: &Outgoing) -> String {
    let outcomes = channel.deliver(std::slice::from_ref(event), &Open).await;
    words(&outcomes.outcomes())
}

/// Products that are called so.
async fn products(shop: &Vendure, name: &str) -> Vec<Json> {
    let query = "query ($name: String!) { products(options: {filter: {name: {eq: $name}}}) {
        items { id name slug enabled variants { sku name enabled price } } } }";
    let mut data = shop.data(query, json!({"name": name})).await;
    data["products"]["items"]
        .as_array_mut()
        .unwrap()
        .split_off(0)
}

/// What the shop says to somebody who orders one.
async fn ordered(shop: &Vendure, sku: &str) -> Json {
    let order = shop
        .data("mutation { createDraftOrder { id } }", json!({}))
        .await;
    let query = "mutation ($order: ID!, $variant: ID!) { addItemToDraftOrder(orderId: $order,
        input: {productVariantId: $variant, quantity: 1}) { __typename ... on ErrorResult { message } } }";
    let (order, variant) = (&order["createDraftOrder"]["id"], shop.variant(sku).await);
    let both = json!({"order": order, "variant": variant["id"]});
    shop.graphql(query, both).await
}

#[tokio::test]
async fn a_new_product_is_not_sold_until_somebody_publishes_it() {
    let shop = Vendure::start();
    let channel = destination_of(&shop, &shop.url()).await;
    for (n, sku, status) in [(1, "NEW-1", "active"), (10, "NEW-2", "blocked")] {
        let name = format!("A new thing, {sku}");
        let told = deliver(&*channel, &product(n, sku, &name, status)).await;
        assert_eq!(told, "applied");
        let told = deliver(&*channel, &stock(n + 1, sku, "MAIN", 50)).await;
        assert_eq!(told, "applied");
        let found = products(&shop, &name).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["enabled"], false, "{found:?}");
        assert_eq!(found[0]["variants"][0]["name"], name, "{found:?}");
        // It has no price yet, so it would be given away.
        assert_eq!(found[0]["variants"][0]["price"], 0, "{found:?}");
        let said = ordered(&shop, sku).await;
        assert!(!said["errors"].is_null(), "it is sold: {said}");

        let publish =
            "mutation ($id: ID!) { updateProduct(input: {id: $id, enabled: true}) { id } }";
        shop.data(publish, json!({"id": found[0]["id"]})).await;
        let said = ordered(&shop, sku).await;
        assert_eq!(said["errors"].is_null(), status == "active", "{said}");

        // From here on the ERP says whether it is sold.
        for (n, status, sold) in [(n + 2, "discontinued", false), (n + 3, "active", true)] {
            let told = deliver(&*channel, &product(n, sku, "Called otherwise", status)).await;
            assert_eq!(told, "applied");
            let variant = shop.variant(sku).await;
            assert_eq!(variant["name"], "Called otherwise", "{variant}");
            let said = ordered(&shop, sku).await;
            assert_eq!(said["errors"].is_null(), sold, "{status}: {said}");
        }
    }
}

#[tokio::test]
async fn a_product_whose_making_was_interrupted_is_made_once() {
    let shop = Vendure::start();
    let between = Between::start(&shop.url()).await;
    let channel = destination_of(&shop, &between.url).await;
    let cut = ["createProduct(", "createProductVariants(", "updateProduct("];
    for (n, at) in (1..).zip(cut) {
        // The shop changes such a SKU where it stands in an address.
        let (sku, name) = (format!("A/{n} B"), format!("Thing {n}"));
        let new = product(n, &sku, &name, "active");
        between.next(Next::LoseAt(at));
        assert_eq!(deliver(&*channel, &new).await, "unknown", "{at}");
        for _ in 0..2 {
            assert_eq!(deliver(&*channel, &new).await, "applied", "{at}");
        }
        let found = products(&shop, &name).await;
        assert_eq!(found.len(), 1, "{at}: {found:?}");
        assert_eq!(
            found[0]["variants"].as_array().unwrap().len(),
            1,
            "{at}: {found:?}"
        );
        assert_eq!(found[0]["variants"][0]["sku"], *sku, "{at}: {found:?}");
        let begun = products(&shop, &format!("new: {sku}")).await;
        assert_eq!(begun.len(), 0, "{at}: {begun:?}");
    }
}
