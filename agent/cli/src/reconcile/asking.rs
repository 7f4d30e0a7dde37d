//! A comparison by the running agent: asked for, and waited for.

use std::path::Path;
use std::time::Duration;

use contract::Clock;
use engine::clock::SystemClock;
use state::{ReconcileOrder, ReconcileWith, StateReader, ask_reconcile, withdraw_reconcile};

use crate::operate::Failed;

/// How long the running agent may take until it begins; it looks each second, and compares one after another.
const BEGIN_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Has the running agent compare: the comparison's number.
///
/// # Errors
/// Why there is none, in words.
pub(super) async fn there(
    folder: &Path,
    with: &ReconcileWith,
    order: &ReconcileOrder,
) -> Result<i64, Failed> {
    let nobody = || {
        Failed::Said(
            format!("the running agent does not compare with {}", with.name()),
            "look into its log why it refused the changed settings, or whether it is busy with \
             another comparison; then ask again",
        )
    };
    let now = SystemClock.now();
    let request = ask_reconcile(folder, with, order, now)?.ok_or_else(nobody)?;
    let deadline = tokio::time::Instant::now() + BEGIN_MAX;
    loop {
        let reader = StateReader::open(folder)?;
        if let Some(answer) = reader.reconcile_answer(request)? {
            return answer.run.ok_or_else(|| {
                let problem = answer.problem.unwrap_or_default();
                Failed::Said(
                    problem,
                    "ask again in a moment; lighterman status says how things stand",
                )
            });
        }
        let late = tokio::time::Instant::now() >= deadline;
        if late && !reader.reconcile_begun(request)? {
            withdraw_reconcile(folder, request)?;
            return Err(nobody());
        }
        if reader.running().is_none() {
            return Err(Failed::Said(
                "the agent stopped before the comparison was done".to_owned(),
                "start it (lighterman run), and ask again",
            ));
        }
        SystemClock.sleep(LOOK_EVERY).await;
    }
}

/// The newest comparison's number.
///
/// # Errors
/// That there was none.
pub(super) fn newest(folder: &Path, with: &ReconcileWith) -> Result<i64, Failed> {
    let found = StateReader::open(folder)?.reconcile_newest(with)?;
    found.ok_or_else(|| {
        Failed::Said(
            format!("{} was never compared", with.name()),
            "leave --last out",
        )
    })
}
