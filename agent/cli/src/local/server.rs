//! The server's door: who may come in, how many at once, and for how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{LocalSettings, Seen, plain, routes};

/// Connections at once; further ones wait before they are taken.
const CONNECTIONS_MAX: usize = 32;
/// A connection is over after this long, whatever it does.
const CONNECTION_MAX: Duration = Duration::from_mins(1);
/// A request's head must have come within this time.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// And be no larger than this.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// An answer is made within this time, or there is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Between two tries to listen, and after a connection that could not be taken.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves for as long as the process lives. That it cannot listen is said and tried again: it stops nothing else.
pub(crate) async fn serve(settings: LocalSettings, seen: Arc<Seen>) {
    let listener = listen(settings.listen).await;
    let routes = guarded(routes(&seen, &settings), settings.behind_proxy);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with it: what was open before settings changed knows the old ones.
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                failpoint::crash!("task.local");
                let routes = routes.clone();
                open.spawn(async move {
                    failpoint::crash!("task.connection");
                    connection(stream, routes).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(code = "local.not_taken", error = %error, "a connection to the local server cannot be taken");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(code = "local.listens", address = %address, "the local server listens");
                return listener;
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(code = "local.not_listening", address = %address, error = %error,
                        hint = "another port in [local] listen; two agents cannot share one",
                        "the local server cannot listen; it tries again, and all else goes on");
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // How it ended is the client's matter.
    let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
}

/// Every answer is made within a time, for whoever may ask, and kept by nobody unless its room says so.
fn guarded(routes: Router, behind_proxy: bool) -> Router {
    routes.layer(middleware::from_fn_with_state(behind_proxy, guard))
}

async fn guard(State(behind_proxy): State<bool>, request: Request, next: Next) -> Response {
    // Whoever stands in front may have looked at the other one.
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return plain(StatusCode::BAD_REQUEST, "a request has one Host header\n");
    }
    // A page of another site that the browser was led to send here names that site.
    if !behind_proxy && !names_this_machine(request.uri(), request.headers()) {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers only as 127.0.0.1, [::1] or localhost; behind a reverse proxy, say \
             behind_proxy = true in [local]\n",
        );
    }
    let answered = tokio::time::timeout(ANSWER_MAX, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text = "the state file did not answer in time; lighterman status says more\n";
        plain(StatusCode::SERVICE_UNAVAILABLE, text)
    });
    for (name, value) in HEADERS {
        // A room may know better what becomes of its answers.
        let headers = response.headers_mut();
        headers
            .entry(name.clone())
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

const HEADERS: &[(HeaderName, &str)] = &[
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    // An address that is written out counts before the header.
    let written = uri.authority();
    is_this_machine(&host) && written.is_none_or(is_this_machine)
}

fn is_this_machine(authority: &Authority) -> bool {
    let host = authority.host();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || ip
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
