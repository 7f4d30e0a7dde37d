//! Tryton, an ERP with a JSON-RPC API: its database in SQLite, filled as `fill.py` says.

use std::io::{Read as _, Write as _};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{answer, client, copy, prepared};
use crate::server::{Ready, Server, connect};

const FILES: &[(&str, &str)] = &[("tryton", "requirements.txt"), ("tryton", "fill.py")];

/// A running Tryton with one company, one warehouse, the goods `P-001` to `P-100` at 10 with nothing
/// in stock, and the customer `C-1`.
#[derive(Debug)]
pub struct Tryton {
    server: Server,
    http: Client,
    session: OnceCell<Session>,
}

/// What a login is good for.
#[derive(Debug, Clone)]
struct Session {
    header: String,
    context: Value,
}

impl Tryton {
    /// The administrator's name, which is the password too.
    pub const ADMIN: &str = "admin";
    /// The database's name, which stands in every address.
    pub const DATABASE: &str = "erp";

    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        let prepared = prepared("tryton", "tryton", FILES);
        let server = Server::start(
            "Tryton",
            |folder| {
                copy(&prepared, folder, &["erp.sqlite"]);
                let programs = prepared.join("venv/bin");
                std::os::unix::fs::symlink(programs, folder.join("bin")).unwrap();
            },
            |folder, port| {
                let mut command = Command::new(folder.join("bin/trytond"));
                command
                    .args(["-d", Self::DATABASE])
                    .env("TRYTOND_DATABASE__PATH", folder)
                    .env("TRYTOND_WEB__LISTEN", format!("127.0.0.1:{port}"));
                command
            },
            Ready::Answers(answers),
        );
        Self {
            server,
            http: client(),
            session: OnceCell::new(),
        }
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// Where its database takes calls.
    pub fn rpc_url(&self) -> String {
        format!("{}/{}/rpc/", self.url(), Self::DATABASE)
    }

    /// What is answered to a call without a session, such as a login.
    async fn without_session(&self, method: &str, params: Value) -> Value {
        let body = json!({ "id": 1, "method": method, "params": params });
        let request = self.http.post(self.rpc_url());
        let request = request.header("content-type", "application/json");
        answer(request.body(body.to_string())).await.1
    }

    async fn session(&self) -> &Session {
        let session = self.session.get_or_init(async || {
            let params = json!([Self::ADMIN, { "password": Self::ADMIN }, "en"]);
            let login = self.without_session("common.db.login", params).await;
            let (user, key) = (&login["result"][0], login["result"][1].as_str());
            let key = key.unwrap_or_else(|| panic!("login: {login}"));
            let header = STANDARD.encode(format!("{}:{user}:{key}", Self::ADMIN));
            let mut session = Session {
                header: format!("Session {header}"),
                context: json!({}),
            };
            let user = json!([[user], ["company"], {}]);
            let (_, user) = self.send(&session, "model.res.user.read", user).await;
            session.context = json!({ "company": user["result"][0]["company"] });
            session
        });
        session.await
    }

    /// The value of `Authorization` of an administrator's session.
    pub async fn admin_session(&self) -> &str {
        &self.session().await.header
    }

    /// The id of the company that everything belongs to.
    pub async fn company(&self) -> Value {
        self.session().await.context["company"].clone()
    }

    async fn send(&self, session: &Session, method: &str, params: Value) -> (StatusCode, Value) {
        let body = json!({ "id": 1, "method": method, "params": params });
        let request = self
            .http
            .post(self.rpc_url())
            .header("content-type", "application/json")
            .header("authorization", &session.header)
            .body(body.to_string());
        answer(request).await
    }

    /// The whole answer to a call of a model's method; `more` is added to the context.
    pub async fn ask(&self, model: &str, method: &str, params: Value, more: Value) -> Value {
        let session = self.session().await;
        let mut context = session.context.clone();
        let Value::Object(more) = more else {
            panic!("a context is an object: {more}");
        };
        context.as_object_mut().unwrap().extend(more);
        let mut params = params;
        params.as_array_mut().unwrap().push(context);
        let method = format!("model.{model}.{method}");
        self.send(session, &method, params).await.1
    }

    /// The result of a call of a model's method.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub async fn call(&self, model: &str, method: &str, params: Value) -> Value {
        let mut answer = self.ask(model, method, params, json!({})).await;
        assert!(answer.get("error").is_none(), "{model} {method}: {answer}");
        answer["result"].take()
    }

    /// The ids of a model's records, by a domain, oldest first.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub async fn search(&self, model: &str, domain: Value) -> Vec<Value> {
        let order = json!([["id", "ASC"]]);
        let mut found = self
            .call(model, "search", json!([domain, 0, null, order]))
            .await;
        std::mem::take(found.as_array_mut().unwrap())
    }

    /// Fields of the one record of a model that a domain finds; null when it finds none.
    ///
    /// # Panics
    /// When it finds more.
    pub async fn find(&self, model: &str, domain: Value, fields: &[&str]) -> Value {
        let found = self.search(model, domain.clone()).await;
        assert!(found.len() < 2, "{model} {domain}: {} found", found.len());
        if found.is_empty() {
            return Value::Null;
        }
        let mut record = self.call(model, "read", json!([found, fields])).await[0].take();
        record["id"] = found[0].clone();
        record
    }

    /// A product by its code: `id`, `code`, `name`, `template`, `list_price_used`; null when there is
    /// none.
    pub async fn product(&self, code: &str) -> Value {
        let fields = ["code", "name", "template", "list_price_used"];
        let domain = json!([["code", "=", code]]);
        self.find("product.product", domain, &fields).await
    }

    /// The id of the place where the warehouse stores goods.
    pub async fn storage(&self) -> Value {
        let fields = ["storage_location"];
        let domain = json!([["type", "=", "warehouse"]]);
        self.find("stock.location", domain, &fields).await["storage_location"].take()
    }

    /// How much of a product the warehouse has today.
    ///
    /// # Panics
    /// When there is no such product, or it has a part of one.
    pub async fn stock(&self, code: &str) -> i64 {
        let product = self.product(code).await["id"].take();
        let context = json!({ "locations": [self.storage().await], "stock_date_end": today() });
        let params = json!([[product], ["quantity"]]);
        let answer = self.ask("product.product", "read", params, context).await;
        let quantity = answer["result"][0]["quantity"].to_string();
        // It comes as a number with or without a fraction, which is then zero.
        let whole = quantity.trim_end_matches(".0").parse();
        whole.unwrap_or_else(|_| panic!("{code}: {answer}"))
    }

    /// Counts a product in the warehouse, as somebody there would.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn set_stock(&self, code: &str, quantity: i64) {
        let product = self.product(code).await["id"].take();
        let count = json!([[{
            "location": self.storage().await, "company": self.company().await, "date": today(),
            "empty_quantity": "keep",
            "lines": [["create", [{ "product": product, "quantity": quantity }]]],
        }]]);
        let count = self.call("stock.inventory", "create", count).await;
        self.call("stock.inventory", "confirm", json!([count]))
            .await;
    }

    /// A sale by its reference: `id`, `state`, `reference`, `shipment_state`, `shipments`, `lines`;
    /// null when there is none.
    pub async fn sale(&self, reference: &str) -> Value {
        let fields = ["state", "reference", "shipment_state", "shipments", "lines"];
        let domain = json!([["reference", "=", reference]]);
        self.find("sale.sale", domain, &fields).await
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

/// Today as the protocol has it.
#[allow(
    clippy::disallowed_methods,
    reason = "the server compares it with its own clock"
)]
fn today() -> Value {
    let today = jiff::tz::TimeZone::UTC
        .to_datetime(jiff::Timestamp::now())
        .date();
    json!({ "__class__": "date", "year": today.year(), "month": today.month(), "day": today.day() })
}

fn answers(port: u16) -> bool {
    let body = r#"{"id":1,"method":"common.server.version","params":[]}"#;
    let request = format!(
        "POST /rpc/ HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    connect(port).is_ok_and(|mut stream| {
        stream.write_all(request.as_bytes()).is_ok() && stream.read_to_string(&mut answer).is_ok()
    }) && answer.contains(" 200 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_erp_counts_sells_and_refuses_what_is_stale() {
        let mut erp = Tryton::start();
        assert_eq!(erp.stock("P-007").await, 0);
        erp.set_stock("P-007", 70).await;
        erp.stop();
        erp.start_again();
        assert_eq!(erp.stock("P-007").await, 70);
        assert_eq!(erp.product("P-101").await, Value::Null);

        let product = erp.product("P-007").await;
        let (model, template) = ("product.template", &product["template"]);
        let name = |name: &str| json!([[template], { "name": name }]);
        erp.call(model, "write", name("Newer")).await;
        let seen = json!({ "_timestamp": { format!("{model},{template}"): "1.0" } });
        let refused = erp.ask(model, "write", name("Stale"), seen).await;
        assert_eq!(refused["error"][0], "ConcurrencyException", "{refused}");

        let fields = ["addresses"];
        let customer = erp
            .find("party.party", json!([["code", "=", "C-1"]]), &fields)
            .await;
        let unit = erp
            .search("product.uom", json!([["symbol", "=", "u"]]))
            .await;
        let sale = json!([[{
            "party": customer["id"], "company": erp.company().await, "reference": "WEB-1",
            "currency": erp.search("currency.currency", json!([])).await[0],
            "warehouse": erp.search("stock.location", json!([["type", "=", "warehouse"]])).await[0],
            "sale_date": today(), "invoice_method": "manual", "shipment_method": "order",
            "invoice_address": customer["addresses"][0], "shipment_address": customer["addresses"][0],
            "lines": [["create", [{ "type": "line", "product": product["id"], "unit": unit[0], "quantity": 2,
                "unit_price": { "__class__": "Decimal", "decimal": "10" } }]]],
        }]]);
        let sale = erp.call("sale.sale", "create", sale).await;
        for step in ["quote", "confirm", "process"] {
            erp.call("sale.sale", step, json!([sale])).await;
        }
        let sale = erp.sale("WEB-1").await;
        assert_eq!(sale["state"], "processing", "{sale}");
        assert_eq!(
            sale["shipments"].as_array().map(Vec::len),
            Some(1),
            "{sale}"
        );
    }
}
