//! Shops, ERPs and vendors' contracts as private servers, judged by reading their own APIs.
//!
//! What they run stands in `tests/channels`; `tests/channels/install` prepares it once per machine,
//! and each start copies what was prepared into a folder of its own.

mod cap;
mod medusa;
mod shopify;
mod tryton;
mod vendure;
mod walmart;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

pub use cap::Cap;
pub use medusa::Medusa;
pub use shopify::{Shopify, ShopifyLimits};
pub use tryton::Tryton;
pub use vendure::Vendure;
pub use walmart::Walmart;

/// The method of a request that a test sends itself.
pub use reqwest::Method;

/// How long an answer may take: many servers work at once on a small machine.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// Where `tests/channels/install` puts things.
fn installed() -> PathBuf {
    crate::postgres::cache().join("channels")
}

/// The program that tries our own API, where `tests/channels/install schemathesis` has put it.
pub fn schemathesis() -> Option<PathBuf> {
    let program = installed().join("schemathesis/venv/bin/schemathesis");
    program.exists().then_some(program)
}

/// What stands in the tree for a server.
fn source(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../channels")
        .join(part)
}

/// A folder that `tests/channels/install PART` has made, if it was made from what stands in the
/// tree now: `names` are files that are in both.
///
/// # Panics
/// When it is not there or was made from something else; the message says what to run.
pub(crate) fn prepared(part: &str, folder: &str, names: &[(&str, &str)]) -> PathBuf {
    let at = installed().join(folder);
    for (from, name) in names {
        let there = fs::read(at.join(name));
        let here = fs::read(source(from).join(name)).unwrap();
        let is = match there {
            Ok(there) if there == here => continue,
            Ok(_) => "was prepared from other files",
            Err(_) => "is not installed",
        };
        panic!(
            "{part} {is} ({}); run: ./tests/channels/install {part}",
            at.display()
        );
    }
    at
}

/// The modules of the servers that run on Node.js, linked into a server's folder.
fn link_modules(part: &str, folder: &Path) {
    let node = prepared(part, "node", &[("", "package-lock.json")]);
    std::os::unix::fs::symlink(node.join("node_modules"), folder.join("node_modules")).unwrap();
}

fn copy(from: &Path, folder: &Path, names: &[&str]) {
    for name in names {
        fs::copy(from.join(name), folder.join(name))
            .unwrap_or_else(|error| panic!("copy {name} of {}: {error}", from.display()));
    }
}

/// A client that keeps no connection: servers come and go, and so do runtimes.
pub(crate) fn client() -> Client {
    // The process may have one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(ANSWER_MAX)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// The status and the body of an answer; a body that is not JSON comes as a text.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, body)
}
