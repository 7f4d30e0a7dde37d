//! SAP CAP, an OData v4 server: its model in `erp.cds`, its data as `server.js` says.

use std::process::Command;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::{answer, client, copy, link_modules, source};
use crate::server::{Ready, Server};

/// A running OData service `erp`: the products `P-001` to `P-100`, at 10.00, with nothing in stock
/// at `EAST` and `WEST`; no orders. Products and stock want to be changed with their `ETag`.
#[derive(Debug)]
pub struct Cap {
    server: Server,
    http: Client,
}

impl Cap {
    /// Who may use it.
    pub const USER: &str = "agent";
    /// Their password.
    pub const PASSWORD: &str = "secret";

    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        let server = Server::start(
            "SAP CAP",
            |folder| {
                link_modules("cap", folder);
                let files = ["server.js", "erp.cds", "package.json"];
                copy(&source("cap"), folder, &files);
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
        }
    }

    /// The service, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/odata/v4/erp", self.server.port())
    }

    /// The answer to a request below the service, such as `Products('P-001')`.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}/{path}", self.url()))
            .basic_auth(Self::USER, Some(Self::PASSWORD));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    /// An entity by its address, such as `Orders('A-1')?$expand=items`; null when there is none.
    ///
    /// # Panics
    /// When the server answers with another error.
    pub async fn get(&self, path: &str) -> Value {
        match self.ask(Method::GET, path, None).await {
            (StatusCode::OK, entity) => entity,
            (StatusCode::NOT_FOUND, _) => Value::Null,
            (status, body) => panic!("{path}: {status} {body}"),
        }
    }

    /// A product by its code; null when there is none.
    pub async fn product(&self, code: &str) -> Value {
        self.get(&format!("Products('{code}')")).await
    }

    /// The row of a product's stock at a location; null when there is none.
    pub async fn stock(&self, product: &str, location: &str) -> Value {
        let key = format!("Stock(product='{product}',location='{location}')");
        self.get(&key).await
    }

    /// An order by its number, with its items; null when there is none.
    pub async fn order(&self, number: &str) -> Value {
        let path = format!("Orders('{number}')?$expand=items($orderby=position)");
        self.get(&path).await
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
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_erp_keeps_what_it_is_told_and_wants_to_know_what_was_seen() {
        let mut erp = Cap::start();
        let stock = "Stock(product='P-007',location='EAST')";
        let change = |body: Value| erp.ask(Method::PATCH, stock, Some(body));
        let (status, body) = change(json!({ "quantity": 5 })).await;
        assert_eq!(status, StatusCode::PRECONDITION_REQUIRED, "{body}");

        let tag = erp.stock("P-007", "EAST").await["@odata.etag"].take();
        let request = || {
            let request = erp.http.patch(format!("{}/{stock}", erp.url()));
            let request = request.basic_auth(Cap::USER, Some(Cap::PASSWORD));
            let request = request.header("content-type", "application/json");
            let request = request.header("if-match", tag.as_str().unwrap());
            request.body(json!({ "quantity": 77 }).to_string())
        };
        assert_eq!(answer(request()).await.0, StatusCode::OK);
        assert_eq!(answer(request()).await.0, StatusCode::PRECONDITION_FAILED);

        let order = json!({ "number": "A-1", "status": "open",
            "items": [{ "position": 1, "product": "P-007", "quantity": 2, "price": 10.5 }] });
        let (status, body) = erp.ask(Method::POST, "Orders", Some(order)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let wrong = json!({ "number": "A-2", "status": "lost" });
        let (status, body) = erp.ask(Method::POST, "Orders", Some(wrong)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");

        erp.stop();
        erp.start_again();
        assert_eq!(erp.stock("P-007", "EAST").await["quantity"], json!(77));
        assert_eq!(erp.order("A-1").await["items"][0]["product"], "P-007");
        assert_eq!(erp.order("A-2").await, Value::Null);
        assert_eq!(erp.product("P-100").await["code"], "P-100");
    }
}
