//! What destinations that speak HTTP share: one way to set a client up, one way to send a request
//! that says what surely happened, and what answers say of limits.
//!
//! Redirects are not followed, no proxy is taken from the environment, nothing is sent again.

mod clock;
mod limits;
mod settings;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Client, Method, Url};

pub use clock::clock;
pub use limits::{allowance, retry_after};
pub use settings::Settings;

/// A request.
pub struct Request<'r> {
    /// Method.
    pub method: &'r str,
    /// Address.
    pub url: &'r str,
    /// Headers.
    pub headers: Vec<(&'r str, &'r str)>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Sent {
    /// An answer came.
    Answered(Answered),
    /// It surely did not reach anybody.
    Refused(String),
    /// Nobody can tell.
    Lost(String),
}

/// An answer.
pub struct Answered {
    /// Status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// The body broke off, or is longer than what is read. The status stands all the same.
    pub broken: bool,
    /// From the first byte sent to the last one read.
    pub latency_ms: u64,
}

/// Shows no content.
impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answered({}, {} bytes)", self.status, self.body.len())
    }
}

/// Sends a request and reads at most `read_max` bytes of its answer. It is over within `limit`.
pub async fn send(client: &Client, request: Request<'_>, limit: Duration, read_max: usize) -> Sent {
    let (Ok(method), Ok(url)) = (
        Method::from_bytes(request.method.as_bytes()),
        Url::parse(request.url),
    ) else {
        return Sent::Refused("the address or method is none".to_owned());
    };
    let began = Instant::now();
    let mut building = client.request(method, url).timeout(limit);
    for (name, value) in request.headers {
        building = building.header(name, value);
    }
    if let Some(body) = request.body {
        building = building.body(body);
    }
    let mut response = match building.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => {
            return Sent::Refused(format!("connect: {}", root(&error)));
        }
        Err(error) if error.is_timeout() => {
            return Sent::Lost("no answer within the timeout".to_owned());
        }
        Err(error) => return Sent::Lost(format!("the answer was lost: {}", root(&error))),
    };
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers.filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let headers = headers.collect();
    let mut body = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = read_max - body.len();
                body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
                if chunk.len() > room {
                    break true;
                }
            }
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Sent::Answered(Answered {
        status,
        headers,
        body,
        broken,
        latency_ms,
    })
}

/// The wall time, for waits that answers give as a date.
#[expect(
    clippy::disallowed_methods,
    reason = "what an answer says is measured from when it came"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The innermost cause, which names no URL.
pub fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
