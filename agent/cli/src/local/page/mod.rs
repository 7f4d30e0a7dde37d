//! The status page: for people, behind a login or a reverse proxy.
//!
//! Written here as HTML, whole with each answer, so that it works without a script and without
//! anything from elsewhere. Nothing is done by looking: what changes something is a form, and each
//! form passes one gate ([`gate`]), which knows who asks, what they may do, and that their own page
//! asked. What is asked goes the way of the commands: a row that the running agent takes up.

mod act;
mod attempts;
mod audit;
mod chart;
mod destinations;
mod gate;
mod held;
mod login;
mod mappings;
mod overview;
mod samples;
mod session;
mod settings;
mod story;
mod view;
mod which;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use state::{StateReader, StoreError};
use tokio::sync::Semaphore;

use attempts::Attempts;
use session::Sessions;

use super::{LocalSettings, Seen, answer, plain};

pub(crate) use samples::keep as keep_samples;
pub(crate) use settings::{PageSettings, read as read_settings};

/// The page's own place; what is below it is the page's, too.
pub(super) const HOME: &str = "/page";

/// Readings of the state file for the page at once; further ones wait.
const READINGS_MAX: usize = 2;

/// What people have asked for and is being done at once; more is refused.
const ACTIONS_MAX: usize = 8;

/// What all of the page's answers are made from.
struct Page {
    settings: PageSettings,
    behind_proxy: bool,
    /// The cookie's name. It has the port in it, for cookies are of a machine and not of a port.
    cookie: String,
    sessions: Sessions,
    attempts: Mutex<Attempts>,
    readings: Arc<Semaphore>,
    actions: Arc<Semaphore>,
    seen: Arc<Seen>,
}

impl Page {
    /// Reads the state file, beside everything else that does.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        // Kept by the reading, which goes on where whoever asked has gone.
        let permit = Arc::clone(&self.readings).acquire_owned().await;
        let folder = self.seen.watched.folder.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&StateReader::open(&folder)?)
        });
        let read = read.await;
        match read {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(format!("The state file cannot be read: {error}.")),
            Err(_) => Err("Reading the state file ended by a bug.".to_owned()),
        }
    }
}

/// The page's places.
pub(super) fn routes(settings: &LocalSettings, seen: &Arc<Seen>) -> Router<Arc<Seen>> {
    let Ok(sessions) = Sessions::new() else {
        // Without random numbers nobody could be told from somebody else.
        let sorry = async || plain(StatusCode::SERVICE_UNAVAILABLE, view::NO_RANDOM);
        return Router::new().route(HOME, get(sorry));
    };
    let page = Arc::new(Page {
        settings: settings.page.clone(),
        behind_proxy: settings.behind_proxy,
        cookie: format!("lighterman_{}", settings.listen.port()),
        sessions,
        attempts: Mutex::default(),
        readings: Arc::new(Semaphore::new(READINGS_MAX)),
        actions: Arc::new(Semaphore::new(ACTIONS_MAX)),
        seen: Arc::clone(seen),
    });
    let guarded = Router::new()
        .route(HOME, get(overview::show))
        .route("/page/held", get(held::list))
        .route("/page/held/item", get(held::item))
        .route("/page/held/retry", post(act::retry))
        .route("/page/held/drop", get(held::confirm).post(act::drop_held))
        .route("/page/trace", get(story::show))
        .route("/page/destinations", get(destinations::show))
        .route("/page/destinations/pause", post(act::pause))
        .route("/page/destinations/resume", post(act::resume))
        .route("/page/mappings", get(mappings::show))
        .route("/page/audit", get(audit::show))
        .route(gate::LOGOUT, post(login::logout))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&page),
            gate::pass,
        ));
    Router::new()
        .merge(guarded)
        .route(login::PLACE, get(login::show).post(login::login))
        .route("/page/style.css", get(async || style()))
        .route("/page/script.js", get(async || script()))
        .route("/page/icon.svg", get(async || icon()))
        .route_layer(middleware::from_fn(protected))
        .with_state(page)
}

fn style() -> Response {
    let text = include_str!("style.css").to_owned();
    answer(StatusCode::OK, "text/css; charset=utf-8", text)
}

fn script() -> Response {
    let text = include_str!("script.js").to_owned();
    answer(StatusCode::OK, "text/javascript; charset=utf-8", text)
}

fn icon() -> Response {
    let text = include_str!("icon.svg").to_owned();
    answer(StatusCode::OK, "image/svg+xml", text)
}

/// What browsers are told of every answer of the page: nothing comes from elsewhere, nothing is sent
/// elsewhere, and no other page may frame it.
const HEADERS: &[(HeaderName, &str)] = &[
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not less: without any, browsers hide from us where a form comes from.
    (header::REFERRER_POLICY, "same-origin"),
];

const POLICIES: [(&str, &str); 3] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-robots-tag", "noindex"),
];

async fn protected(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    for (name, value) in POLICIES {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}
