//! Destination files: an API described as data, checked when it is loaded.
//!
//! A [`Channel`] is one YAML file with its settings' answers. A [`Run`] takes a batch of events
//! through it: it says which request comes next and makes one outcome of what came for each event.
//! Both are pure: no clock, no network, no chance. `adapters/channel` does what they say;
//! [`offline`] goes through a file's own tests.
//!
//! `docs/channels.md` has the whole language.

mod answered;
mod cache;
mod formula;
mod listing;
mod load;
mod load_auth;
mod load_listing;
mod load_request;
mod load_steps;
mod load_template;
mod login;
mod model;
mod path;
mod prepared;
mod rules;
mod run;
mod run_ask;
mod run_begin;
mod run_find;
mod run_read;
mod run_send;
mod schema;
mod settings;
mod shipped;
mod skus;
mod template;
mod trial;
mod trial_listing;

pub use answered::{Answered, Came, hide};
pub use cache::Cache;
pub use listing::Turned;
pub use load::{declared, load};
pub use login::{Credentials, CsrfFetch, Jwt, LoginCall, NoToken, Sending, Signing, Tokens};
pub use model::{Channel, Proven};
pub use path::Path;
pub use prepared::{Prepared, form_body, percent};
pub use run::{Heard, Next, Purpose, Run};
pub use schema::{SCHEMA, schema, watch};
pub use settings::{Answers, Declared, Given, SettingKind};
pub use shipped::{SHIPPED, shipped};
pub use skus::Skus;
pub use trial::{Judged, Test, offline, recorded};
