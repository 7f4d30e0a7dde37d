//! What runs beside the loops. Where a part of it ends by a bug, the agent ends: its service manager starts the whole
//! of it again, and nothing goes on half dead while it says that all is well.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

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
            // In this task itself: whoever aborts it and waits for it knows that the work is gone.
            let mut work = std::pin::pin!(work);
            let done = std::future::poll_fn(|context| {
                let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    work.as_mut().poll(context)
                }));
                match polled {
                    Ok(polled) => polled.map(Some),
                    Err(_) => std::task::Poll::Ready(None),
                }
            })
            .await;
            if done.is_none() {
                tracing::error!(
                    code = "agent.part_ended",
                    loop_name = part,
                    hint = "report it; the service manager starts the agent again, and the state file says where \
                            to go on",
                    "a part of the agent ended by a bug: the agent stops"
                );
                // Also where nobody listens yet: the loops may not have begun.
                ended.send_replace(true);
            }
            done
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
