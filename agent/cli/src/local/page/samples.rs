//! How the last day was: measured a few times a minute, and kept in the state file for the charts.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, clock};
use engine::clock::SystemClock;
use state::{Sample, Store};

use crate::local::Seen;
use crate::local::seen::Standing;

/// Between two measures. Of each minute the largest is kept, so what lasts shorter than this may be missed.
const EVERY: Duration = Duration::from_secs(20);

/// How far behind the log capture is, in milliseconds.
pub(super) fn lag(source: &str) -> String {
    format!("lag:{source}")
}

/// Since when the oldest change waits for a destination, in milliseconds.
pub(super) fn oldest(destination: &str) -> String {
    format!("oldest:{destination}")
}

/// What was delivered to it in all.
pub(super) fn delivered(destination: &str) -> String {
    format!("delivered:{destination}")
}

/// What a source read in all.
pub(super) fn changes(source: &str) -> String {
    format!("changes:{source}")
}

/// Measures for as long as it is let.
pub(crate) async fn keep(seen: Arc<Seen>, store: Arc<Store>) {
    let mut said = false;
    loop {
        failpoint::crash!("task.samples");
        let standing = seen.look().await;
        let measured = measured(&seen, &standing);
        match store.sample(SystemClock.now(), measured).await {
            Ok(()) => said = false,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(code = "page.not_sampled", error = %error,
                        hint = "mend what the error names; nothing else is held up",
                        "how the agent stands cannot be kept; charts have a gap");
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn measured(seen: &Seen, standing: &Standing) -> Vec<Sample> {
    let mut all = Vec::new();
    let mut add = |series: String, value: u64| all.push(Sample { series, value });
    for name in &seen.watched.sources {
        if let Some(behind) = seen.watched.meters.source(name).lag() {
            add(lag(name), millis(behind));
        }
    }
    let Ok(state) = &standing.state else {
        return all;
    };
    for source in &state.sources {
        add(changes(&source.name), source.changes);
    }
    for one in &state.destinations {
        add(delivered(&one.name), one.delivered);
    }
    for one in &state.standings {
        let age = one.oldest_at.map(|at| clock::until(at, standing.at));
        add(oldest(&one.name), millis(age.unwrap_or_default()));
    }
    all
}
