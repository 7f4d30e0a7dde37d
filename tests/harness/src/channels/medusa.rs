//! Medusa, a shop with a REST API on a PostgreSQL of its own. It is too large for every machine: its
//! test is skipped by name without it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{answer, client, copy, installed, source};
use crate::postgres::{PostgresOptions, PostgresServer};
use crate::server::{Ready, Server, run};

/// A running Medusa with the stock locations `EAST` and `WEST` and the products `SKU-001` to
/// `SKU-010` at 10 dollars, of which nothing was ever at either. It takes half a minute to start.
#[derive(Debug)]
pub struct Medusa {
    // Stopped before its database.
    server: Server,
    _database: PostgresServer,
    http: Client,
    token: OnceCell<String>,
    /// What an order needs: a region, a sales channel, and a way to ship, each by its id.
    trade: OnceCell<[String; 3]>,
}

impl Medusa {
    /// The administrator's address.
    pub const ADMIN: &str = "admin@example.com";
    /// Their password.
    pub const PASSWORD: &str = "supersecret";
    const PRODUCTS: u32 = 10;

    /// Starts one and fills it by its own API; `None`, and a line that says so, where it is not
    /// installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        let modules = modules()?;
        let database = PostgresServer::start(PostgresOptions::default());
        database.create_database("medusa").await;
        let server = Server::start(
            "Medusa",
            |folder| {
                std::os::unix::fs::symlink(&modules, folder.join("node_modules")).unwrap();
                copy(
                    &source("medusa"),
                    folder,
                    &["medusa-config.js", "package.json"],
                );
                fs::create_dir(folder.join("src")).unwrap();
                fs::write(folder.join("database"), database.url("medusa")).unwrap();
                run(medusa(folder).args(["db:migrate", "--skip-scripts"]));
                run(medusa(folder).args(["user", "-e", Self::ADMIN, "-p", Self::PASSWORD]));
            },
            |folder, port| {
                let mut command = medusa(folder);
                command.args(["start", "-H", "127.0.0.1", "-p", &port.to_string()]);
                command
            },
            Ready::Says("Server is ready on"),
        );
        let shop = Self {
            server,
            _database: database,
            http: client(),
            token: OnceCell::new(),
            trade: OnceCell::new(),
        };
        shop.fill().await;
        Some(shop)
    }

    async fn fill(&self) {
        for name in ["EAST", "WEST"] {
            self.post("/admin/stock-locations", json!({ "name": name }))
                .await;
        }
        for number in 1..=Self::PRODUCTS {
            let sku = format!("SKU-{number:03}");
            let product = json!({
                "title": format!("Product {number}"), "status": "published",
                "options": [{ "title": "kind", "values": ["one"] }],
                "variants": [{ "title": "one", "sku": sku, "manage_inventory": true,
                    "options": { "kind": "one" },
                    "prices": [{ "amount": 10, "currency_code": "usd" }] }],
            });
            self.post("/admin/products", product).await;
        }
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// A bearer token of the administrator's, from its login call.
    pub async fn admin_token(&self) -> &str {
        let token = self.token.get_or_init(async || {
            let login = json!({ "email": Self::ADMIN, "password": Self::PASSWORD });
            let request = self
                .http
                .post(format!("{}/auth/user/emailpass", self.url()))
                .header("content-type", "application/json")
                .body(login.to_string());
            let (status, body) = answer(request).await;
            let token = body["token"].as_str();
            token
                .unwrap_or_else(|| panic!("login: {status} {body}"))
                .to_owned()
        });
        token.await
    }

    /// The answer to a request of the administrator's.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url()))
            .bearer_auth(self.admin_token().await);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    /// Sends something as the administrator.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, None).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// The id of a stock location.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn location(&self, name: &str) -> String {
        let found = self
            .get(&format!("/admin/stock-locations?name={name}"))
            .await;
        let id = found["stock_locations"][0]["id"].as_str();
        id.unwrap_or_else(|| panic!("{name}: {found}")).to_owned()
    }

    /// The id of the inventory item of a SKU.
    ///
    /// # Panics
    /// When there is no such SKU.
    pub async fn item(&self, sku: &str) -> String {
        let found = self.get(&format!("/admin/inventory-items?sku={sku}")).await;
        let id = found["inventory_items"][0]["id"].as_str();
        id.unwrap_or_else(|| panic!("{sku}: {found}")).to_owned()
    }

    /// How much of a SKU is at a location; `None` when it was never there.
    ///
    /// # Panics
    /// When there is no such SKU or location.
    pub async fn stock(&self, sku: &str, location: &str) -> Option<i64> {
        let (item, location) = (self.item(sku).await, self.location(location).await);
        let path = format!("/admin/inventory-items/{item}/location-levels");
        let found = self.get(&path).await;
        let mut levels = found["inventory_levels"].as_array().into_iter().flatten();
        let level = levels.find(|level| level["location_id"] == location.as_str())?;
        level["stocked_quantity"].as_i64()
    }

    /// Places an order of a SKU that is in stock at `EAST`; its number.
    ///
    /// # Panics
    /// When the shop refuses it.
    pub async fn place_order(&self, sku: &str, quantity: u32) -> u64 {
        let trade = self.trade.get_or_init(|| self.open_trade());
        let [region, channel, shipping] = trade.await;
        let found = self
            .get(&format!("/admin/product-variants?sku={sku}"))
            .await;
        let variant = &found["variants"][0];
        let address =
            json!({ "address_1": "1 Main St", "city": "Springfield", "country_code": "us" });
        let order = json!({
            "email": "buyer@example.com", "region_id": region, "sales_channel_id": channel,
            "shipping_address": address,
            "items": [{ "variant_id": variant["id"], "quantity": quantity }],
            "shipping_methods": [{ "name": "post", "shipping_option_id": shipping, "amount": 0 }],
        });
        let draft = self.post("/admin/draft-orders", order).await;
        let id = text(&draft["draft_order"]["id"]);
        let path = format!("/admin/draft-orders/{id}/convert-to-order");
        let order = self.post(&path, json!({})).await;
        let number = order["order"]["display_id"].as_u64();
        number.unwrap_or_else(|| panic!("{order}"))
    }

    /// An order by its number, with its fulfilments.
    ///
    /// # Panics
    /// When there is none.
    pub async fn order(&self, number: u64) -> Value {
        let found = self
            .get(&format!("/admin/orders?q={number}&fields=id,display_id"))
            .await;
        let mut orders = found["orders"].as_array().into_iter().flatten();
        let order = orders.find(|order| order["display_id"] == number);
        let id = text(&order.unwrap_or_else(|| panic!("{number}: {found}"))["id"]);
        let fields = "id,status,fulfillments.id,fulfillments.metadata,fulfillments.shipped_at,\
                      fulfillments.delivered_at,fulfillments.canceled_at,\
                      fulfillments.labels.tracking_number,fulfillments.items.quantity";
        let path = format!("/admin/orders/{id}?fields={fields}");
        self.get(&path).await["order"].take()
    }

    /// Makes it possible to ship everything from `EAST`.
    async fn open_trade(&self) -> [String; 3] {
        let region = json!({ "name": "US", "currency_code": "usd", "countries": ["us"] });
        let region = self.post("/admin/regions", region).await;
        let channel = self.get("/admin/sales-channels").await;
        let channel = text(&channel["sales_channels"][0]["id"]);
        let profile = json!({ "name": "all", "type": "default" });
        let profile = self.post("/admin/shipping-profiles", profile).await;
        let profile = &profile["shipping_profile"]["id"];
        let east = format!("/admin/stock-locations/{}", self.location("EAST").await);
        let provider = "manual_manual";
        self.post(
            &format!("{east}/sales-channels"),
            json!({ "add": [channel] }),
        )
        .await;
        self.post(
            &format!("{east}/fulfillment-providers"),
            json!({ "add": [provider] }),
        )
        .await;
        let path = format!("{east}/fulfillment-sets?fields=fulfillment_sets.id");
        let set = json!({ "name": "post", "type": "shipping" });
        let set = self.post(&path, set).await;
        let set = text(&set["stock_location"]["fulfillment_sets"][0]["id"]);
        let path = format!("/admin/fulfillment-sets/{set}/service-zones?fields=service_zones.id");
        let zone =
            json!({ "name": "US", "geo_zones": [{ "type": "country", "country_code": "us" }] });
        let zone = self.post(&path, zone).await;
        let option = json!({
            "name": "post", "service_zone_id": zone["fulfillment_set"]["service_zones"][0]["id"],
            "shipping_profile_id": profile, "provider_id": provider, "price_type": "flat",
            "type": { "label": "post", "description": "post", "code": "post" },
            "prices": [{ "currency_code": "usd", "amount": 0 }], "rules": [],
        });
        let option = self.post("/admin/shipping-options", option).await;
        let products = self.get("/admin/products?fields=id").await;
        for product in products["products"].as_array().into_iter().flatten() {
            let path = format!("/admin/products/{}", text(&product["id"]));
            self.post(&path, json!({ "shipping_profile_id": profile }))
                .await;
        }
        let region = text(&region["region"]["id"]);
        [region, channel, text(&option["shipping_option"]["id"])]
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// Its modules, where they are installed from the file that stands here.
fn modules() -> Option<PathBuf> {
    let folder = installed().join("medusa");
    let asked = fs::read(source("medusa").join("package-lock.json")).unwrap();
    if fs::read(folder.join("package-lock.json")).is_ok_and(|there| there == asked) {
        return Some(folder.join("node_modules"));
    }
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    // Not by a print macro: those are captured, and a skipped test must be seen.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {test}: Medusa is not installed; run: ./tests/channels/install medusa"
    );
    None
}

fn medusa(folder: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg("node_modules/@medusajs/cli/cli.js")
        .current_dir(folder)
        .env("MEDUSA_DISABLE_TELEMETRY", "true")
        // What it keeps about its user goes with the test.
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        .env(
            "DATABASE_URL",
            fs::read_to_string(folder.join("database")).unwrap(),
        );
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shop_on_postgresql_keeps_what_it_is_told() {
        let Some(shop) = Medusa::start().await else {
            return;
        };
        assert_eq!(shop.stock("SKU-003", "EAST").await, None);
        let (item, east) = (shop.item("SKU-003").await, shop.location("EAST").await);
        let levels = format!("/admin/inventory-items/{item}/location-levels");
        let level = json!({ "location_id": east, "stocked_quantity": 77 });
        shop.post(&levels, level).await;
        assert_eq!(shop.stock("SKU-003", "EAST").await, Some(77));
        assert_eq!(shop.stock("SKU-003", "WEST").await, None);
    }
}
