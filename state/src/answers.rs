//! Whether the writer still writes.

use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Comes back when the writer has got through what waits for it, with a transaction that changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`]. Each of them is an answer, too: the writer is there and says what is wrong.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.writer.run(|_| Ok(())).await
    }
}
