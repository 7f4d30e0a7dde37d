//! Which life of the log the stream reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::SourceError;

/// The epoch that the stream stamps, and the life of the log
/// ([`Place::life`](crate::place::Place::life)) that it reads, at which server: set by the stream when
/// it opens the log, before it tells anything, and read by snapshots and questions, which must see the
/// same log and cannot know of its lives. Before any stream was opened both numbers are 0, and nothing
/// sorts before that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life(Arc<Mutex<At>>);

#[derive(Debug, Default)]
struct At {
    epoch: u32,
    life: u32,
    server: Option<String>,
}

impl Life {
    fn at(&self) -> MutexGuard<'_, At> {
        // Whoever panicked left all of it or nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the stream reads, at the server that calls itself so.
    pub(crate) fn begin(&self, epoch: u32, life: u32, server: &str) {
        *self.at() = At {
            epoch,
            life,
            server: Some(server.to_owned()),
        };
    }

    /// Notes that its server has begun its files anew.
    pub(crate) fn set(&self, epoch: u32, life: u32) {
        let mut at = self.at();
        (at.epoch, at.life) = (epoch, life);
    }

    /// The epoch and the life, for what is read at this server.
    ///
    /// # Errors
    /// When the stream reads another server's log: a name or an address has moved on to it, and a
    /// place here means nothing there.
    pub(crate) fn of(&self, server: &str, doing: &str) -> Result<(u32, u32), SourceError> {
        let at = self.at();
        match &at.server {
            Some(known) if known != server => Err(SourceError::Disconnected(format!(
                "{doing}: {server} answers, and the log is read at {known}: it is waited for until \
                 both are at the same server"
            ))),
            _ => Ok((at.epoch, at.life)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handle_has_the_same_life_and_no_other_server_has_it() {
        let stream = Life::default();
        let snapshot = stream.clone();
        assert_eq!(snapshot.of("a", "read"), Ok((0, 0)));
        stream.begin(3, u32::MAX, "a");
        assert_eq!(snapshot.of("a", "read"), Ok((3, u32::MAX)));
        stream.set(3, 7);
        assert_eq!(snapshot.of("a", "read"), Ok((3, 7)));
        assert!(snapshot.of("b", "read").is_err());
    }
}
