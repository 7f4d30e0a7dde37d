//! Vendure, a shop with a GraphQL API: its database in SQLite, filled as `seed.js` says.

use std::process::Command;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{answer, client, copy, link_modules, prepared};
use crate::server::{Ready, Server};

const FILES: &[(&str, &str)] = &[
    ("", "package-lock.json"),
    ("vendure", "server.js"),
    ("vendure", "seed.js"),
];

/// A running Vendure with the products `SKU-001` to `SKU-100`, at 10.00 and with nothing in stock
/// at its two locations, `EAST` and `WEST`. A variant has the custom fields `sourceVersion` (int)
/// and `idempotencyKey` (string).
#[derive(Debug)]
pub struct Vendure {
    server: Server,
    http: Client,
    token: OnceCell<String>,
}

impl Vendure {
    /// The administrator's name, which is the password too.
    pub const ADMIN: &str = "superadmin";

    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        let prepared = prepared("vendure", "vendure", FILES);
        let server = Server::start(
            "Vendure",
            |folder| {
                link_modules("vendure", folder);
                copy(&prepared, folder, &["server.js", "vendure.sqlite"]);
            },
            |_, port| {
                let mut command = Command::new("node");
                command.arg("server.js").env("PORT", port.to_string());
                command
            },
            Ready::Says("READY"),
        );
        Self {
            server,
            http: client(),
            token: OnceCell::new(),
        }
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// Its Admin API.
    pub fn admin_api(&self) -> String {
        format!("{}/admin-api", self.url())
    }

    /// A bearer token of the administrator's, from its login call.
    pub async fn admin_token(&self) -> &str {
        let token = self.token.get_or_init(async || {
            let login = json!({
                "query": "mutation ($name: String!) { login(username: $name, password: $name) { __typename } }",
                "variables": { "name": Self::ADMIN },
            });
            let request = self.http.post(self.admin_api());
            let request = request.header("content-type", "application/json");
            let response = request.body(login.to_string()).send().await.unwrap();
            let token = response.headers().get("vendure-auth-token");
            token.expect("a token").to_str().unwrap().to_owned()
        });
        token.await
    }

    /// What the Admin API answers the administrator, all of it.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let request = self
            .http
            .post(self.admin_api())
            .bearer_auth(self.admin_token().await)
            .header("content-type", "application/json")
            .body(json!({ "query": query, "variables": variables }).to_string());
        answer(request).await.1
    }

    /// The `data` of the Admin API's answer.
    ///
    /// # Panics
    /// When there are errors in it.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.graphql(query, variables).await;
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].take()
    }

    /// A variant by its SKU: `id`, `sku`, `enabled`, `name`, `price` in cents, `stockLevels` (`stockLocation
    /// { name }`, `stockOnHand`, `stockAllocated`) and `customFields`; null when there is none.
    pub async fn variant(&self, sku: &str) -> Value {
        let query = "query ($sku: String!) { productVariants(options: { filter: { sku: { eq: $sku } } }) { items {
            id sku enabled name price stockLevels { stockLocation { id name } stockOnHand stockAllocated }
            customFields { sourceVersion idempotencyKey } } } }";
        let mut data = self.data(query, json!({ "sku": sku })).await;
        let items = data["productVariants"]["items"].as_array_mut().unwrap();
        assert!(items.len() < 2, "{sku} is there {} times", items.len());
        items.pop().unwrap_or_default()
    }

    /// What is on hand of a SKU at a location.
    ///
    /// # Panics
    /// When there is no such SKU, or it was never at that location.
    pub async fn stock(&self, sku: &str, location: &str) -> i64 {
        let variant = self.variant(sku).await;
        let levels = variant["stockLevels"].as_array();
        let level = levels
            .into_iter()
            .flatten()
            .find(|level| level["stockLocation"]["name"] == location);
        level
            .and_then(|level| level["stockOnHand"].as_i64())
            .unwrap_or_else(|| panic!("{sku} at {location}: {variant}"))
    }

    /// The price of a SKU, in cents.
    ///
    /// # Panics
    /// When there is no such SKU.
    pub async fn price(&self, sku: &str) -> i64 {
        let variant = self.variant(sku).await;
        let price = variant["price"].as_i64();
        price.unwrap_or_else(|| panic!("{sku}: {variant}"))
    }

    /// The id of a stock location.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn location(&self, name: &str) -> String {
        let data = self
            .data("{ stockLocations { items { id name } } }", json!({}))
            .await;
        let items = data["stockLocations"]["items"].as_array();
        let found = items.into_iter().flatten().find(|at| at["name"] == name);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Sets what is on hand of a SKU at a location, as somebody in the shop's back office would.
    pub async fn set_stock(&self, sku: &str, location: &str, on_hand: i64) {
        let (variant, location) = (self.variant(sku).await, self.location(location).await);
        let input = json!([{ "id": variant["id"],
            "stockLevels": [{ "stockLocationId": location, "stockOnHand": on_hand }] }]);
        let query = "mutation ($input: [UpdateProductVariantInput!]!) { updateProductVariants(input: $input) { id } }";
        self.data(query, json!({ "input": input })).await;
    }

    /// A customer buys and pays some of a SKU; returns the order's id.
    pub async fn place_order(&self, sku: &str, quantity: u32) -> String {
        let variant = self.variant(sku).await;
        let order = self
            .data("mutation { createDraftOrder { id } }", json!({}))
            .await;
        let order = order["createDraftOrder"]["id"].clone();
        let steps = [
            "addItemToDraftOrder(orderId: $order, input: { productVariantId: $variant, quantity: $quantity }) { __typename }",
            "setCustomerForDraftOrder(orderId: $order, input: { firstName: \"A\", lastName: \"B\", emailAddress: $mail }) { __typename }",
            "setDraftOrderShippingAddress(orderId: $order, input: { streetLine1: \"1 Street\", countryCode: \"US\" }) { __typename }",
            "setDraftOrderShippingMethod(orderId: $order, shippingMethodId: 1) { __typename }",
            "transitionOrderToState(id: $order, state: \"ArrangingPayment\") { __typename }",
            "addManualPaymentToOrder(input: { orderId: $order, method: \"dummy\", transactionId: \"1\", metadata: {} }) { __typename }",
        ];
        let variables = json!({ "order": order, "variant": variant["id"], "quantity": quantity,
            "mail": format!("{}@example.com", order.as_str().unwrap()) });
        for step in steps {
            let declared: Vec<_> = [
                "order: ID!",
                "variant: ID!",
                "quantity: Int!",
                "mail: String!",
            ]
            .into_iter()
            .filter(|name| step.contains(&format!("${}", name.split(':').next().unwrap())))
            .map(|name| format!("${name}"))
            .collect();
            let query = format!("mutation ({}) {{ {step} }}", declared.join(", "));
            let data = self.data(&query, variables.clone()).await;
            let (_, done) = data.as_object().unwrap().iter().next().unwrap();
            assert_eq!(done["__typename"], "Order", "{step}: {data}");
        }
        order.as_str().unwrap().to_owned()
    }

    /// An order by its id: `id`, `code`, `state`, `lines` and `fulfillments`.
    pub async fn order(&self, id: &str) -> Value {
        let query = "query ($id: ID!) { order(id: $id) { id code state
            lines { id quantity productVariant { sku } } fulfillments { id state method trackingCode } } }";
        self.data(query, json!({ "id": id })).await["order"].take()
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again on the same port and data.
    pub fn start_again(&mut self) {
        self.server.start_again();
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shop_keeps_what_it_is_told() {
        let mut shop = Vendure::start();
        assert_eq!(shop.stock("SKU-003", "EAST").await, 0);
        shop.set_stock("SKU-003", "EAST", 77).await;
        shop.stop();
        shop.start_again();
        assert_eq!(shop.stock("SKU-003", "EAST").await, 77);
        assert_eq!(shop.stock("SKU-003", "WEST").await, 0);
        assert_eq!(shop.price("SKU-100").await, 1000);
        assert_eq!(shop.variant("SKU-101").await, Value::Null);

        let order = shop.place_order("SKU-003", 2).await;
        assert_eq!(shop.order(&order).await["state"], "PaymentSettled");
        // What is sold is still on hand until it is shipped.
        assert_eq!(shop.stock("SKU-003", "EAST").await, 77);
        let variant = shop.variant("SKU-003").await;
        let levels = variant["stockLevels"].as_array().unwrap();
        let sold = levels
            .iter()
            .map(|level| level["stockAllocated"].as_i64().unwrap());
        assert_eq!(sold.sum::<i64>(), 2, "{variant}");
    }
}
