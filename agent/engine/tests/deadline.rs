//! A request is over by the deadline that stands in the store, however slow the store is.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    Answer, Clock, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Report, Resend,
};
use engine::{DeliverySettings, RetryPolicy};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use state::{CaptureCommit, Route, Store};
use tokio::sync::{mpsc, watch};

use crate::common::{delivers_to, stock};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A clock that jumps while the store marks the request for an event as out.
struct Jumping {
    began: Instant,
    file: PathBuf,
    offset: i64,
    seconds: i64,
    marked: AtomicBool,
}

#[async_trait]
impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let marked =
            self.marked.load(Ordering::SeqCst) || deadline(&self.file, self.offset).is_some();
        self.marked.store(marked, Ordering::SeqCst);
        let gone = if marked { self.seconds } else { 0 };
        let began = Timestamp::from_second(1_000 + gone).unwrap();
        contract::clock::after(began, self.began.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The deadline of the request that is out for an event.
fn deadline(file: &Path, offset: i64) -> Option<i64> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT due_at FROM delivery WHERE offset = ?1 AND state = 'sending'";
    db.query_row(sql, [offset], |row| row.get(0))
        .optional()
        .unwrap()
}

/// What a shop is asked.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// To take an event, by a request that may last until then; and the deadline that the store has for it.
    Deliver {
        offset: i64,
        until: i64,
        deadline: i64,
    },
    /// What it has of an event.
    Verify { offset: i64 },
}

/// Tells what it is asked. Of the first event it never says what became of it, whose request is out for long.
struct Shop {
    clock: Arc<Jumping>,
    resend: Resend,
    asked: mpsc::Sender<Asked>,
}

#[async_trait]
impl Destination for Shop {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            resend: self.resend,
            request_timeout: TIMEOUT,
            batch_events_max: 1,
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], _: &dyn Gate) -> Report {
        let offset = batch[0].offset;
        let until = contract::clock::after(self.clock.now(), TIMEOUT).as_millisecond();
        let deadline = deadline(&self.clock.file, offset).unwrap();
        let asked = Asked::Deliver {
            offset,
            until,
            deadline,
        };
        self.asked.send(asked).await.unwrap();
        if self.resend == Resend::Verify && offset == 1 {
            return Report::all(1, &Outcome::unknown("it does not answer"));
        }
        Report::all(1, &Outcome::Applied(Answer::default()))
    }

    async fn verify(&self, batch: &[Outgoing], _: &dyn Gate) -> Report {
        let offset = batch[0].offset;
        self.asked.send(Asked::Verify { offset }).await.unwrap();
        Report::all(1, &Outcome::unknown("nobody answers"))
    }
}

/// A shop beside a running engine.
struct Place {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
    source: i64,
    destination: i64,
    asked: mpsc::Receiver<Asked>,
    _stop: watch::Sender<bool>,
    engine: tokio::task::JoinHandle<Result<(), engine::EngineError>>,
}

impl Place {
    /// While the store marks the request for the event with that number as out, so many seconds go by.
    async fn new(resend: Resend, offset: i64, seconds: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let clock = Arc::new(Jumping {
            began: Instant::now(),
            file: state::file_path(folder.path()),
            offset,
            seconds,
            marked: AtomicBool::new(false),
        });
        let (sender, asked) = mpsc::channel(8);
        let shop = Shop {
            clock: Arc::clone(&clock),
            resend,
            asked: sender,
        };
        let retry = RetryPolicy {
            first: Duration::from_millis(100),
            max: Duration::from_secs(2),
        };
        let plan = delivers_to(Arc::new(shop), retry, DeliverySettings::default());
        let (stop, stopped) = watch::channel(false);
        let (source, destination) = (
            store.source("erp").await.unwrap().id,
            store.destination("shop").await.unwrap(),
        );
        let engine = tokio::spawn(engine::run(
            plan,
            Arc::clone(&store),
            clock,
            stopped,
            TIMEOUT,
        ));
        Self {
            _folder: folder,
            store,
            source,
            destination,
            asked,
            _stop: stop,
            engine,
        }
    }

    async fn stock(&self, number: u64) {
        let commit = CaptureCommit {
            items: vec![stock(number, number, 1)],
            routes: Arc::from(vec![Route {
                destination: self.destination,
                event_types: Vec::new(),
            }]),
            ..CaptureCommit::default()
        };
        let stored = self
            .store
            .commit_capture(self.source, commit, Timestamp::UNIX_EPOCH);
        stored.await.unwrap();
    }

    async fn asked(&mut self) -> Asked {
        let asked = tokio::time::timeout(Duration::from_secs(30), self.asked.recv());
        asked.await.unwrap().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

#[tokio::test]
async fn a_request_is_over_by_its_deadline_though_the_store_is_slow() {
    let mut place = Place::new(Resend::Safe, 1, 10).await;
    place.stock(1).await;
    let asked = place.asked().await;
    let Asked::Deliver {
        until, deadline, ..
    } = asked
    else {
        panic!("{asked:?}");
    };
    assert!(until <= deadline, "{asked:?}");
}

#[tokio::test]
async fn a_clock_set_forth_while_the_store_writes_decides_nothing_that_is_out() {
    let mut place = Place::new(Resend::Verify, 2, 300).await;
    place.stock(1).await;
    let first = place.asked().await;
    assert!(
        matches!(first, Asked::Deliver { offset: 1, .. }),
        "{first:?}"
    );
    place.stock(2).await;
    // By the new time the first one's deadline has passed long ago; its request left a moment ago.
    let second = place.asked().await;
    assert!(
        matches!(second, Asked::Deliver { offset: 2, .. }),
        "{second:?}"
    );
}
