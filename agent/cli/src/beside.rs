//! What runs beside the loops. Where a part of it ends by a bug, the agent ends: its service manager starts the whole
//! of it again, and nothing goes on half dead while it says that all is well.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

/// Starts such parts, and knows when one of them ended by a bug.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    ended: watch::Sender<bool>,
}

impl Beside {
    pub(crate) fn new() -> Self {
        Self {
            ended: watch::Sender::new(false),
        }
    }

    /// Starts a part; dropped with its handle's task. `None` = it ended by a bug, which was said.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        part: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let ended = self.ended.clone();
        tokio::spawn(async move {
            // The work ends where this is aborted.
            let mut running = JoinSet::new();
            running.spawn(work);
            match running.join_next().await? {
                Ok(done) => Some(done),
                Err(error) if error.is_panic() => {
                    tracing::error!(
                        code = "agent.part_ended",
                        loop_name = part,
                        hint = "report it; the service manager starts the agent again, and the state file says where \
                                to go on",
                        "a part of the agent ended by a bug: the agent stops"
                    );
                    // Also where nobody listens yet: the loops may not have begun.
                    ended.send_replace(true);
                    None
                }
                Err(_) => None,
            }
        })
    }

    /// Whether one of them ended by a bug.
    pub(crate) fn is_broken(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until one of them ends by a bug.
    pub(crate) async fn broken(&self) {
        // The sender lives here.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Has a bug of a part's own task be a bug of the part.
pub(crate) fn unwound(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
