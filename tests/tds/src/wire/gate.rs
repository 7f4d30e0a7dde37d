//! A place where the server waits until the test lets it go on.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate. All its copies are the same gate; once open it stays open.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            reached: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Lets all go on, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Ends when the server has come to the gate, or had.
    pub async fn reached(&self) {
        // The sender is here, so the channel cannot end.
        let _ = self.reached.subscribe().wait_for(|count| *count > 0).await;
    }

    /// How many times the server has come to the gate.
    pub fn reached_count(&self) -> usize {
        *self.reached.borrow()
    }

    /// Comes to the gate and waits until it is open.
    pub async fn pass(&self) {
        self.reached.send_modify(|count| *count += 1);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
