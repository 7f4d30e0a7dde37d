//! Prism on Walmart's own descriptions of its inventory and price APIs: it checks requests and
//! answers with the descriptions' examples. It holds nothing, and hands out no tokens.

use std::process::Command;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::{answer, client, installed, link_modules};
use crate::server::{Ready, Server};

/// A running Prism.
#[derive(Debug)]
pub struct Walmart {
    server: Server,
    http: Client,
}

impl Walmart {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (the message says how to) or does not start.
    pub fn start() -> Self {
        let description = |name: &str| -> Value {
            let text = std::fs::read(installed().join("contracts").join(name));
            let text = text.unwrap_or_else(|_| {
                panic!("Walmart's {name} is not installed; run: ./tests/channels/install walmart")
            });
            serde_json::from_slice(&text).unwrap()
        };
        let mut whole = description("walmart.json");
        let price = description("walmart-price.json")["paths"]["/v3/price"].take();
        assert!(price.is_object(), "the description of prices has changed");
        whole["paths"]["/v3/price"] = price;
        let server = Server::start(
            "Prism",
            |folder| {
                link_modules("walmart", folder);
                std::fs::write(folder.join("walmart.json"), whole.to_string()).unwrap();
            },
            |_, port| {
                let mut command = Command::new("node");
                command
                    .args(["node_modules/@stoplight/prism-cli/dist/index.js", "mock"])
                    .args(["-h", "127.0.0.1", "-p", &port.to_string()])
                    .args(["--errors", "walmart.json"]);
                command
            },
            Ready::Says("Prism is listening"),
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

    /// The answer to a request that carries what the description asks of every one.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url()))
            .header("authorization", "Basic dGVzdHM6dGVzdHM=")
            .header("wm_sec.access_token", "tests")
            .header("wm_qos.correlation_id", "tests")
            .header("wm_svc.name", "tests")
            .header("accept", "application/json");
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    /// What it has logged: each request with what was wrong in it.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn requests_are_held_against_the_description() {
        let walmart = Walmart::start();
        let put = |amount: Value| {
            let body = json!({ "sku": "SKU-1", "quantity": { "unit": "EACH", "amount": amount } });
            walmart.ask(Method::PUT, "/v3/inventory?sku=SKU-1", Some(body))
        };
        let (status, body) = put(json!(5)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["quantity"]["unit"], "EACH", "{body}");
        let (status, body) = put(json!("five")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let (status, body) = walmart.ask(Method::GET, "/v3/nothing", None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    }
}
