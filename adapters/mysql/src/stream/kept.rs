//! What a source keeps from one stream to the next, for as long as the agent runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prepared;
use crate::cascade::Cascades;
use crate::place::Born;

/// What is kept between streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(super) prepared: prepared::Kept,
    server: Arc<Mutex<OfServer>>,
}

/// What is known of one server.
#[derive(Debug, Default)]
struct OfServer {
    identity: String,
    cascades: Cascades,
    ours: Option<Born>,
    in_order: Option<u32>,
}

impl Kept {
    fn of(&self, identity: &str) -> MutexGuard<'_, OfServer> {
        // Whoever panicked left all of it or nothing.
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.identity != identity {
            *server = OfServer {
                identity: identity.to_owned(),
                ..OfServer::default()
            };
        }
        server
    }

    /// The foreign keys as they were known last.
    pub(super) fn cascades(&self, identity: &str) -> Cascades {
        self.of(identity).cascades.clone()
    }

    pub(super) fn note(&self, identity: &str, cascades: &Cascades) {
        self.of(identity).cascades = cascades.clone();
    }

    /// A stream has failed: what became of the server meanwhile is not known.
    pub(super) fn doubt(&self, identity: &str) {
        self.of(identity).ours = None;
    }

    /// Whether the log file that was begun then is surely the one that we read.
    pub(crate) fn is_ours(&self, identity: &str, born: Born) -> bool {
        self.of(identity).ours == Some(born)
    }

    /// Whether in this life of the log, too, what comes before a place is what we have.
    pub(crate) fn is_in_order(&self, identity: &str, life: u32) -> bool {
        self.of(identity).in_order == Some(life)
    }

    /// Both are so: what is begun anew from now on is begun at another second.
    pub(crate) fn found_ours(&self, identity: &str, born: Born, life: u32) {
        let mut server = self.of(identity);
        (server.ours, server.in_order) = (Some(born), Some(life));
    }
}
