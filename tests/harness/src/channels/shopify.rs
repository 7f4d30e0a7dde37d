//! A stand-in for Shopify's Admin GraphQL API on Shopify's own schema; `server.js` says what in it is
//! Shopify's and what is ours.

use std::process::Command;

use reqwest::Client;
use serde_json::{Value, json};

use super::{answer, client, copy, installed, link_modules, source};
use crate::server::{Ready, Server};

/// How a stand-in limits its callers.
#[derive(Debug, Clone, Copy)]
pub struct ShopifyLimits {
    /// Cost points at most.
    pub bucket: u32,
    /// Cost points that come back per second.
    pub restore: u32,
    /// The HTTP status of a throttled answer: Shopify does not document it.
    pub status: u16,
}

/// A running stand-in with the items `SKU-001` to `SKU-100`, none in stock at its locations `EAST`
/// and `WEST`.
#[derive(Debug)]
pub struct Shopify {
    server: Server,
    http: Client,
}

impl Shopify {
    /// The access token that it takes.
    pub const TOKEN: &str = "shpat_tests";
    /// Whom it gives that token: both the client's name and its secret.
    pub const CLIENT: &str = "tests";

    /// Starts one that limits nobody who behaves.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        Self::start_with(ShopifyLimits {
            bucket: 20_000,
            restore: 1_000,
            status: 200,
        })
    }

    /// Starts one with limits.
    ///
    /// # Panics
    /// As [`Shopify::start`].
    pub fn start_with(limits: ShopifyLimits) -> Self {
        let schema = installed().join("contracts/shopify.json.gz");
        assert!(
            schema.exists(),
            "Shopify's schema is not installed; run: ./tests/channels/install shopify"
        );
        let ShopifyLimits {
            bucket,
            restore,
            status,
        } = limits;
        let server = Server::start(
            "the stand-in for Shopify",
            |folder| {
                link_modules("shopify", folder);
                copy(&source("shopify"), folder, &["server.js"]);
                std::os::unix::fs::symlink(&schema, folder.join("schema")).unwrap();
                let limits = format!("{bucket} {restore} {status}");
                std::fs::write(folder.join("limits"), limits).unwrap();
            },
            |folder, port| {
                let limits = std::fs::read_to_string(folder.join("limits")).unwrap();
                let names = ["BUCKET", "RESTORE", "THROTTLED"];
                let mut command = Command::new("node");
                command
                    .arg("server.js")
                    .env("PORT", port.to_string())
                    .env("SCHEMA", "schema")
                    .envs(names.into_iter().zip(limits.split(' ')));
                command
            },
            Ready::Says("READY"),
        );
        Self {
            server,
            http: client(),
        }
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// Its Admin API.
    pub fn admin_api(&self) -> String {
        format!("{}/admin/api/2026-04/graphql.json", self.url())
    }

    /// What the Admin API answers, all of it.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let request = self
            .http
            .post(self.admin_api())
            .header("x-shopify-access-token", Self::TOKEN)
            .header("content-type", "application/json")
            .body(json!({ "query": query, "variables": variables }).to_string());
        answer(request).await.1
    }

    /// How much of a SKU is available at a location.
    ///
    /// # Panics
    /// When there is no such SKU or location.
    pub async fn stock(&self, sku: &str, location: &str) -> i64 {
        let query = "query ($query: String!) { inventoryItems(first: 1, query: $query) { nodes {
            inventoryLevels(first: 10) { nodes { location { name } quantities(names: [\"available\"]) { quantity } } }
        } } }";
        let answer = self
            .graphql(query, json!({ "query": format!("sku:{sku}") }))
            .await;
        let item = &answer["data"]["inventoryItems"]["nodes"][0];
        let levels = item["inventoryLevels"]["nodes"].as_array();
        let mut levels = levels.into_iter().flatten();
        levels
            .find(|level| level["location"]["name"] == location)
            .and_then(|level| level["quantities"][0]["quantity"].as_i64())
            .unwrap_or_else(|| panic!("{sku} at {location}: {answer}"))
    }

    /// Somebody buys some of a SKU: less is available, as much on hand.
    pub async fn sell(&self, sku: &str, location: &str, quantity: u32) {
        let sale = json!({ "sku": sku, "location": location, "quantity": quantity });
        let request = self.http.post(format!("{}/tests/sell", self.url()));
        let (status, body) = answer(request.body(sale.to_string())).await;
        assert!(status.is_success(), "{body}");
    }

    /// How many requests its API was sent, of any kind.
    pub async fn requests(&self) -> u64 {
        let request = self.http.get(format!("{}/tests/requests", self.url()));
        answer(request).await.1.as_u64().unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "mutation ($input: InventorySetQuantitiesInput!, $key: String!) {
        inventorySetQuantities(input: $input) @idempotent(key: $key) { userErrors { code } } }";

    fn set(key: &str, quantity: i64, from: &Value) -> Value {
        json!({ "key": key, "input": { "name": "available", "reason": "correction", "quantities": [{
            "inventoryItemId": "gid://shopify/InventoryItem/3", "locationId": "gid://shopify/Location/1",
            "quantity": quantity, "changeFromQuantity": from }] } })
    }

    #[tokio::test]
    async fn a_stand_in_keeps_the_contract() {
        let shop = Shopify::start();
        let code = |answer: Value| {
            let errors = &answer["data"]["inventorySetQuantities"]["userErrors"];
            assert!(errors.is_array(), "{answer}");
            errors[0]["code"].clone()
        };
        let first = set("a", 77, &json!(0));
        assert_eq!(code(shop.graphql(SET, first.clone()).await), Value::Null);
        shop.sell("SKU-003", "EAST", 2).await;
        // The same key does nothing again; with another input it is refused.
        assert_eq!(code(shop.graphql(SET, first).await), Value::Null);
        assert_eq!(shop.stock("SKU-003", "EAST").await, 75);
        let other = shop.graphql(SET, set("a", 78, &json!(75))).await;
        assert_eq!(code(other), "IDEMPOTENCY_KEY_PARAMETER_MISMATCH");
        let stale = shop.graphql(SET, set("b", 80, &json!(77))).await;
        assert_eq!(code(stale), "CHANGE_FROM_QUANTITY_STALE");
        let whatever = shop.graphql(SET, set("c", 80, &Value::Null)).await;
        assert_eq!(code(whatever), Value::Null);
        assert_eq!(shop.stock("SKU-003", "EAST").await, 80);

        let without_key = SET.replace("@idempotent(key: $key)", "");
        let without_key = without_key.replace(", $key: String!", "");
        let refused = shop.graphql(&without_key, set("d", 1, &Value::Null)).await;
        assert!(refused["errors"][0]["message"].is_string(), "{refused}");
        let unknown = shop.graphql(
            "{ inventoryItems(first: 1) { nodes { stock } } }",
            json!({}),
        );
        let unknown = unknown.await;
        assert!(unknown["errors"][0]["message"].is_string(), "{unknown}");
        assert_eq!(shop.requests().await, 9);
    }

    #[tokio::test]
    async fn a_stand_in_throttles_by_cost() {
        let shop = Shopify::start_with(ShopifyLimits {
            bucket: 13,
            restore: 0,
            status: 429,
        });
        shop.graphql(SET, set("a", 1, &Value::Null)).await;
        let throttled = shop.graphql(SET, set("b", 2, &Value::Null)).await;
        assert_eq!(throttled["errors"][0]["extensions"]["code"], "THROTTLED");
        let cost = &throttled["extensions"]["cost"];
        assert_eq!(
            cost["throttleStatus"]["maximumAvailable"], 13,
            "{throttled}"
        );
    }
}
