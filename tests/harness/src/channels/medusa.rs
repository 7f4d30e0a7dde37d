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

    /// What it has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
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
