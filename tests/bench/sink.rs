//! A receiver that counts which rows have come. What a benchmark says of speed is what this saw, never what the
//! agent says of itself.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;

/// Where an event's key begins, as CloudEvents' `subject` has it: the company of `drain::MAPPING`, and behind it item
/// and warehouse.
const KEY: &[u8] = b"\"BENCH|";

#[derive(Default)]
struct Seen {
    /// By number of the row, when it came first.
    rows: Vec<Option<Instant>>,
    distinct: u64,
    /// So many of them are to come.
    wanted: u64,
    requests: u64,
    /// When the last row came that had not come before.
    last: Option<Instant>,
}

type Shared = Arc<Mutex<Seen>>;

pub struct Sink {
    pub url: String,
    seen: Shared,
}

impl Sink {
    /// It has a thread of its own, so that what the benchmark does meanwhile holds up no request.
    pub fn start() -> Self {
        let seen = Shared::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&seen));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { url, seen }
    }

    /// Forgets everything; `rows` are to come.
    pub fn expect(&self, rows: u64) {
        self.expect_some(rows, rows);
    }

    /// Forgets everything; so many of the `rows` are to come.
    pub fn expect_some(&self, rows: u64, wanted: u64) {
        *self.seen.lock().unwrap() = Seen {
            rows: vec![None; usize::try_from(rows).unwrap()],
            wanted,
            ..Seen::default()
        };
    }

    /// When the last of the rows that are to come had come.
    pub fn complete(&self) -> Option<Instant> {
        let seen = self.seen.lock().unwrap();
        seen.last.filter(|_| seen.distinct == seen.wanted)
    }

    /// When each row came first, by its number.
    pub fn arrivals(&self) -> Vec<Option<Instant>> {
        self.seen.lock().unwrap().rows.clone()
    }

    /// Rows that came, and requests.
    pub fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock().unwrap();
        (seen.distinct, seen.requests)
    }
}

/// The body is searched for keys and not parsed: two cores are shared with what is measured.
async fn take(State(seen): State<Shared>, body: Bytes) -> StatusCode {
    let now = Instant::now();
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    for at in memchr::memmem::find_iter(&body, KEY) {
        let row = row(&body[at + KEY.len()..]);
        // A row that is not to come is a mistake of the benchmark, and better seen than counted.
        if seen.rows[row].is_none() {
            seen.rows[row] = Some(now);
            seen.distinct += 1;
            seen.last = Some(now);
        }
    }
    StatusCode::NO_CONTENT
}

/// The number of the row whose item and warehouse a key says: ten warehouses have an item.
fn row(key: &[u8]) -> usize {
    let digits = key.iter().take_while(|byte| **byte != b'"');
    digits
        .filter(|byte| **byte != b'|')
        .fold(0, |row, digit| row * 10 + usize::from(digit - b'0'))
}
