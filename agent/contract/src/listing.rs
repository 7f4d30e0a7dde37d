//! What a destination has by itself, page by page: by it, what nobody ever told is found.

use std::time::Duration;

/// A page of what a destination has of an event type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedPage {
    /// What stands on it, as far as it may be ours.
    pub entries: Vec<ListedEntry>,
    /// By what the next page is asked for; `None` = there is none.
    pub next: Option<String>,
}

/// A thing that a destination has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedEntry {
    /// What it is there, as [`Destination::called`](crate::Destination::called) says it of events.
    pub name: String,
    /// What the destination holds of it, in a few words for a person; may be empty.
    pub holds: String,
}

/// Why a page did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotListed {
    /// Why.
    pub cause: String,
    /// It may come when it is asked for again, not before this time has passed.
    pub again: Option<Duration>,
}
