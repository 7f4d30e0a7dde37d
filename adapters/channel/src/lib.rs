//! Destination: an HTTP API described by a destination file (`docs/channels.md`).
//!
//! What is sent and what an answer means, the file says (`mappings::channel`). This crate sends:
//! it logs in, signs, passes the gate before each request and tells it what answers say of limits.

mod api;
mod dress;
mod listing;
mod refreshed;
mod session;
mod settings;
mod sign;
mod skus;

pub use settings::read;

/// The `type` in the settings.
pub const NAME: &str = "channel";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "web-shop"
type = "channel"
channel = "vendure"              # a shipped one (docs/channels), or
# file = "channels/my-shop.yaml" # your own
# ca_file = "shop-ca.pem"        # beside the system's certificate authorities
# cert_file = "agent.pem"        # our own certificate and its key, where the API asks for one
# key_file = "agent.key"
# proxy = "http://proxy.example.com:3128"
# requests_max = 2               # requests at once, if fewer than the channel's own
# batch_events_max = 50          # events in a request, if fewer than the channel's own
# timeout_seconds = 60
# reconcile = { every = "24h" }  # compares what it holds with what it was told (docs/operating/reconcile.md)
# skus = { "100XLG" = "SHOP-1" } # items that have another SKU there; or a file of such pairs:
# skus_file = "skus.csv"
settings.url = "https://shop.example.com"
settings.user = "agent"
settings.password = { env = "SHOP_PASSWORD" }
settings.locations = { MAIN = "1" }
"#;

/// What a guided set-up asks of it stands in the destination file.
pub const QUESTIONS: &[contract::Question] = &[];
