//! What a broker's destination must do while its server goes away and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::gate::Open;
use contract::{Destination, Outcome, Outgoing};

use super::destination::event;

/// How long all of it may take on a busy machine.
const TOTAL_MAX: Duration = Duration::from_mins(4);
/// Between two attempts, as an engine would wait.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Between two looks at how far the sender is.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const BATCH: u32 = 20;
/// Events that arrive between two outages.
const BETWEEN: usize = 100;
/// The server goes away until an answer was lost by it, so many times at most.
const OUTAGES_MAX: usize = 6;

/// How far the sender is.
#[derive(Debug, Default)]
struct Progress {
    applied: AtomicUsize,
    /// Answers that did not come.
    unsure: AtomicUsize,
    over: AtomicBool,
}

/// Sends events without a pause while the server goes away and comes back by turns, then looks at
/// what the server holds: every event, each under its id; what stands twice is recognised by it.
/// Returns how many stand twice.
///
/// # Panics
/// When an event is lost or changed.
pub async fn run(
    destination: Arc<dyn Destination>,
    mut down: impl FnMut() + Send,
    mut up: impl FnMut() + Send,
    held: impl FnOnce() -> Vec<(String, String)>,
) -> usize {
    let progress = Arc::new(Progress::default());
    let sending = tokio::spawn(send_all(destination, Arc::clone(&progress)));
    let applied = || progress.applied.load(Ordering::Relaxed);
    let unsure = || progress.unsure.load(Ordering::Relaxed);
    for outage in 0..OUTAGES_MAX {
        // The sender waits for an answer nearly all the time, so that is when it is hit.
        let begin = applied();
        while applied() < begin + BETWEEN {
            assert!(!sending.is_finished(), "the sender goes on");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if outage >= 2 && unsure() > 0 {
            break;
        }
        down();
        up();
    }
    progress.over.store(true, Ordering::Relaxed);
    let sent = tokio::time::timeout(TOTAL_MAX, sending)
        .await
        .expect("everything is delivered in time")
        .unwrap();
    let unsure = unsure();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, content) in held() {
        found.entry(id).or_default().push(content);
    }
    let mut doubles = 0;
    for n in 0..sent {
        let id = event(n).id;
        let contents = found
            .remove(&id)
            .unwrap_or_else(|| panic!("{id} is lost (of {sent}; answers lost: {unsure})"));
        assert!(
            contents.iter().all(|content| *content == contents[0]),
            "{id}"
        );
        doubles += contents.len() - 1;
    }
    assert!(found.is_empty(), "nobody sent {found:?}");
    assert!(
        doubles <= unsure,
        "{doubles} stand twice, {unsure} were sent again"
    );
    doubles
}

/// Sends events until it is over and each is applied; how many.
async fn send_all(destination: Arc<dyn Destination>, progress: Arc<Progress>) -> u32 {
    let mut sent = 0;
    let mut waiting: Vec<Outgoing> = Vec::new();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < TOTAL_MAX, "{} wait", waiting.len());
        if waiting.is_empty() {
            if progress.over.load(Ordering::Relaxed) {
                return sent;
            }
            waiting.extend((sent..sent + BATCH).map(event));
            sent += BATCH;
        }
        let batch = std::mem::take(&mut waiting);
        let outcomes = destination.deliver(&batch, &Open).await.outcomes();
        for (event, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied(_) => {
                    progress.applied.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Outcome::Retry { .. } => {}
                Outcome::Unknown { .. } => {
                    progress.unsure.fetch_add(1, Ordering::Relaxed);
                }
                other => panic!("{}: {other:?}", event.id),
            }
            let attempt = event.attempt + 1;
            waiting.push(Outgoing { attempt, ..event });
        }
        if !waiting.is_empty() {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}
