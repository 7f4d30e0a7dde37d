//! What a broker's destination must do while its server goes away and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::gate::Open;
use contract::{Destination, Outcome, Outgoing};

use super::destination::event;

/// How long all of it may take on a busy machine.
const TOTAL_MAX: Duration = Duration::from_mins(3);
/// Between two attempts, as an engine would wait.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const EVENTS: u32 = 400;
const BATCH: usize = 20;

/// Sends events without a pause while the server is killed and started again by turns, then looks
/// at what the server holds: every event, each under its id; what stands twice is recognised by it.
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
    let sending = tokio::spawn(send_all(Arc::clone(&destination)));
    for _ in 0..2 {
        // The server is a process of its own: that this thread waits for it stops only our sender,
        // so each time it is caught at another place.
        tokio::time::sleep(Duration::from_millis(30)).await;
        down();
        tokio::time::sleep(Duration::from_millis(200)).await;
        up();
    }
    let unsure = tokio::time::timeout(TOTAL_MAX, sending)
        .await
        .expect("everything is delivered in time")
        .unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, content) in held() {
        found.entry(id).or_default().push(content);
    }
    let mut doubles = 0;
    for n in 0..EVENTS {
        let id = event(n).id;
        let contents = found
            .remove(&id)
            .unwrap_or_else(|| panic!("{id} is lost (answers that did not come: {unsure})"));
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

/// Sends every event until it is applied; how often an answer did not come.
async fn send_all(destination: Arc<dyn Destination>) -> usize {
    let mut waiting: Vec<Outgoing> = (0..EVENTS).map(event).collect();
    let began = Instant::now();
    let mut unsure = 0;
    while !waiting.is_empty() {
        assert!(
            began.elapsed() < TOTAL_MAX,
            "{} are not delivered",
            waiting.len()
        );
        let batch: Vec<_> = waiting.drain(..waiting.len().min(BATCH)).collect();
        let outcomes = destination.deliver(&batch, &Open).await.outcomes();
        let before = waiting.len();
        for (event, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied(_) => continue,
                Outcome::Retry { .. } => {}
                Outcome::Unknown { .. } => unsure += 1,
                other => panic!("{}: {other:?}", event.id),
            }
            let attempt = event.attempt + 1;
            waiting.push(Outgoing { attempt, ..event });
        }
        if waiting.len() > before {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    unsure
}
