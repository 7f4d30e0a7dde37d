//! What happened to a delivery, as the deliver loop says it.

use contract::Answer;
use contract::delivery::DeliveryEvent;
use jiff::Timestamp;

/// What came of an attempt, or who decided: the word that is kept with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Applied.
    Applied,
    /// Taken for later.
    Accepted,
    /// Asked about, and still on the way.
    Waiting,
    /// It failed and may work later.
    Retry,
    /// Our own limits left it no room: nothing was sent.
    NotSent,
    /// Refused.
    Rejected,
    /// The API holds something else.
    Conflict,
    /// What it is about is not there.
    Missing,
    /// No answer, or one that says nothing.
    Unknown,
    /// It was read whether it happened, and nobody can tell yet: read again then.
    Doubt {
        /// When.
        again: Timestamp,
    },
    /// It could not be read whether it happened, for a reason that passes: read again then.
    NotAsked {
        /// When, at the soonest.
        again: Timestamp,
        /// And at the latest: the longer it lasts, the later.
        latest: Timestamp,
    },
    /// It surely did not happen, as was read.
    NotThere,
    /// In shadow mode: the destination holds the same.
    Same,
    /// In shadow mode: it holds something else.
    Differs,
    /// In shadow mode: it cannot be compared.
    NotCompared,
}

impl Said {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Retry => "retry",
            Self::NotSent => "not sent",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Doubt { .. } => "doubt",
            Self::NotAsked { .. } => "not asked",
            Self::NotThere => "not there",
            Self::Same => "same",
            Self::Differs => "differs",
            Self::NotCompared => "not compared",
        }
    }

    pub(super) fn is_shadow(self) -> bool {
        matches!(self, Self::Same | Self::Differs | Self::NotCompared)
    }
}

/// What happened to one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The event's place in the outbox.
    pub offset: i64,
    /// What.
    pub event: DeliveryEvent,
    /// What it came of.
    pub said: Said,
    /// Why, in plain words; no secrets, no row values.
    pub cause: Option<String>,
    /// The API's answer.
    pub answer: Option<Answer>,
}
