//! Named points at which a test has the agent fail: before and after each commit, around each request, within each
//! task.
//!
//! In what is released there are none: without the feature `on`, which only tests have, both macros are nothing. With
//! it, `LIGHTERMAN_FAILPOINTS` says where and how, as in `state.commit=3:kill;deliver.answered=panic`:
//!
//! | part | means |
//! |---|---|
//! | `NAME=ACTION` | the first time the agent comes there |
//! | `NAME=N:ACTION` | the N-th time |
//! | `NAME=N+:ACTION` | the N-th time and every time after it |
//!
//! | action | means |
//! |---|---|
//! | `kill`, `abort` | the process is gone at once, by SIGKILL or SIGABRT |
//! | `exit` | the process ends with code 70 |
//! | `panic` | the task or thread panics |
//! | `error`, `full` | what was to be done fails: an I/O error, a full disk. Where nothing can fail, a panic |
//! | `sleep=MS` | the thread stands still for so long |
//!
//! What happens is said on standard error: `failpoint state.commit: kill (3)`. Our own rather than a crate: the one
//! that everybody knows, `fail`, had no release for years, and brings a lock and a registry that are read in
//! production as well.

#[cfg(feature = "on")]
mod names;
#[cfg(feature = "on")]
mod points;

#[cfg(feature = "on")]
pub use names::NAMES;
#[cfg(feature = "on")]
pub use points::{VARIABLE, hit, pass};

/// How what was to be done fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The disk is full.
    #[error("no space left on device")]
    Full,
    /// Reading or writing failed.
    #[error("input/output error")]
    Error,
}

impl From<Failed> for std::io::Error {
    fn from(failed: Failed) -> Self {
        let kind = match failed {
            Failed::Full => std::io::ErrorKind::StorageFull,
            Failed::Error => std::io::ErrorKind::Other,
        };
        Self::new(kind, failed)
    }
}

/// A point at which something can fail: a `Result` of nothing or [`Failed`].
#[cfg(feature = "on")]
#[macro_export]
macro_rules! at {
    ($name:literal) => {
        $crate::hit($name)
    };
}

/// A point at which something can fail: a `Result` of nothing or [`Failed`].
#[cfg(not(feature = "on"))]
#[macro_export]
macro_rules! at {
    ($name:literal) => {
        ::core::result::Result::<(), $crate::Failed>::Ok(())
    };
}

/// A point at which nothing can fail but the process or the task itself.
#[cfg(feature = "on")]
#[macro_export]
macro_rules! crash {
    ($name:literal) => {
        $crate::pass($name)
    };
}

/// A point at which nothing can fail but the process or the task itself.
#[cfg(not(feature = "on"))]
#[macro_export]
macro_rules! crash {
    ($name:literal) => {};
}
