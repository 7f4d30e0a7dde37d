//! Reading the state file, and leaving requests in it: a few at a time, on threads that may block.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use state::{StateReader, StoreError};
use tokio::sync::Semaphore;

use super::problem::Problem;

/// So many look at once; the agent's own work has the rest of the machine.
const AT_ONCE: usize = 3;
/// Who does not get a turn within this time is told to come again.
const TURN_MAX: Duration = Duration::from_secs(5);

pub(super) struct Readers {
    folder: PathBuf,
    turns: Arc<Semaphore>,
    /// Open ones that nobody uses now.
    idle: Arc<Mutex<Vec<StateReader>>>,
}

impl Readers {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            idle: Arc::default(),
        }
    }

    /// Looks at the state file; `look` also gets its folder, to leave a request there.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StateReader, &Path) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_MAX, turn).await else {
            return Err(Problem::unavailable(
                "others are reading the state file, and this request had no turn in time",
                "ask again in a while, or less at once",
            ));
        };
        let (folder, idle) = (self.folder.clone(), Arc::clone(&self.idle));
        let work = move || {
            // Kept until it is done, also where nobody waits for it any more.
            let _turn = turn;
            let spare = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match spare {
                Some(reader) => reader,
                None => StateReader::open(&folder).map_err(Problem::from)?,
            };
            let found = look(&reader, &folder)?;
            // One that failed is not used again.
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(reader);
            Ok(found)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            let bug = StoreError::Invariant("looking at it ended by a bug".to_owned());
            Err(bug.into())
        })
    }
}
