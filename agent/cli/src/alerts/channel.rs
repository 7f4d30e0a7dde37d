//! A channel: somewhere letters go, and what came of one.

use std::time::Duration;

use super::letters::Letter;
use super::rule::Urgency;
use super::{smtp, webhook};

/// A channel of the settings.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(super) name: String,
    /// What matters less is not sent here.
    pub(super) least: Urgency,
    pub(super) kind: Kind,
}

/// How it is reached.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Smtp(smtp::Settings),
    Webhook(webhook::Settings),
}

/// A letter was taken.
#[derive(Debug)]
pub(super) struct Answered {
    /// What the server said; not for the log.
    pub(super) words: String,
    /// Not by everybody it was for.
    pub(super) but: Option<Refused>,
}

/// A letter was not taken.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// In words that have nothing of the server's: for the log and the state file.
    pub(super) short: String,
    /// With what the server said: for whoever asked for a test.
    pub(super) answer: String,
    /// When the server wants to be asked again.
    pub(super) after: Option<Duration>,
}

impl Refused {
    /// By nobody but us.
    pub(super) fn here(why: String) -> Self {
        Self {
            answer: why.clone(),
            short: why,
            after: None,
        }
    }
}

impl Channel {
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Smtp(_) => "smtp",
            Kind::Webhook(settings) => settings.shape(),
        }
    }

    /// Sends a letter; it is over within a bounded time.
    pub(super) async fn send(&self, letter: &Letter) -> Result<Answered, Refused> {
        match &self.kind {
            Kind::Smtp(settings) => settings.send(letter).await,
            Kind::Webhook(settings) => settings.send(letter).await,
        }
    }
}
