//! Whether the agent gets on: not that its process answers, but that its loops turn and the state file is written.
//!
//! What is wrong elsewhere is no reason to start it again: a database or an API that is away, a disk that is full. The
//! loops turn while they wait for these.

use std::time::Duration;

use contract::look::span;
use state::Store;

use crate::local::{Seen, TURN_MAX};

/// The state file's writer answers within so long, whatever waits for it.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The part of the manager's limit that its answer may take: what is left is for us to say so.
const ANSWER_PARTS: u32 = 4;

/// Why the agent does not get on; `None` = it does. `limit` is the time within which the manager wants to hear of it.
pub(super) async fn stuck(seen: &Seen, store: &Store, limit: Duration) -> Option<String> {
    let answer_max = ANSWER_MAX.min(limit / ANSWER_PARTS);
    let answer = tokio::time::timeout(answer_max, store.answers()).await;
    if answer.is_err() {
        return Some(format!(
            "the state file has not been written for {}",
            span(answer_max)
        ));
    }
    // Those that have not begun yet are not stuck: sources are waited for, within limits of their own.
    if !seen.is_running() {
        return None;
    }
    let still_max = TURN_MAX.max(limit);
    let meters = &seen.watched.meters;
    let sources = meters.sources().into_iter();
    let sources = sources.map(|(name, meter)| (format!("capture of {name}"), meter.turned_ago()));
    let destinations = meters.destinations().into_iter();
    let destinations =
        destinations.map(|(name, meter)| (format!("delivery to {name}"), meter.turned_ago()));
    let (what, still) = sources
        .chain(destinations)
        .max_by_key(|(_, still)| *still)?;
    (still >= still_max).then(|| format!("{what} has not turned for {}", span(still)))
}
