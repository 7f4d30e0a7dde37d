//! What fires, and which channel knows of it. A channel is told the difference between the two, whatever it was
//! that kept it from being told before: nothing is queued, so a storm is one letter, and what could not be told
//! while it came and went is told in a line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::clock;
use jiff::Timestamp;
use state::AlertStatus;

use super::rule::Urgency;

/// Alerts that are over and could not be told to everybody are kept for so long,
const ENDED_KEPT: Duration = Duration::from_hours(24);
/// and no more of all of them than these.
const ALERTS_MAX: usize = 1_000;
/// What an alert says now is noted for lists this often.
const NOTED_EVERY: Duration = Duration::from_secs(30);

type Key = (String, String);

/// What a channel is to be told.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct News {
    pub(super) began: Vec<AlertStatus>,
    pub(super) ended: Vec<AlertStatus>,
    /// Reminders.
    pub(super) still: Vec<AlertStatus>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.began.is_empty() && self.ended.is_empty() && self.still.is_empty()
    }

    /// There is more in it than reminders.
    pub(super) fn is_new(&self) -> bool {
        !self.began.is_empty() || !self.ended.is_empty()
    }
}

/// What fires, and who knows.
#[derive(Debug, Default)]
pub(super) struct Book {
    alerts: BTreeMap<Key, AlertStatus>,
    /// The channels of the settings, and what is too little for each.
    channels: Vec<(String, Urgency)>,
    /// What the state file does not have yet.
    changed: BTreeSet<Key>,
    gone: BTreeSet<Key>,
    /// When each was noted last.
    noted: BTreeMap<Key, Timestamp>,
}

fn key(alert: &AlertStatus) -> Key {
    (alert.alert.clone(), alert.series.clone())
}

impl Book {
    /// As it stood before, for the rules that are there now.
    pub(super) fn open(
        channels: Vec<(String, Urgency)>,
        kept: Vec<AlertStatus>,
        is_rule: impl Fn(&str) -> bool,
    ) -> Self {
        let mut book = Self {
            channels,
            ..Self::default()
        };
        for alert in kept {
            if is_rule(&alert.alert) {
                book.alerts.insert(key(&alert), alert);
            } else {
                book.gone.insert(key(&alert));
            }
        }
        book.forget(Timestamp::MIN);
        book
    }

    /// Those of a rule that fire.
    pub(super) fn firing(&self, rule: &str) -> Vec<&AlertStatus> {
        let own = self.alerts.values();
        own.filter(|alert| alert.alert == rule && alert.ended_at.is_none())
            .collect()
    }

    /// It fires. One that a channel was not told the end of goes on for that channel.
    pub(super) fn began(&mut self, alert: AlertStatus) {
        let key = key(&alert);
        if self.alerts.len() >= ALERTS_MAX && !self.alerts.contains_key(&key) {
            return;
        }
        let before = self.alerts.remove(&key);
        let told = before.map_or_else(BTreeMap::new, |before| {
            let mut told = before.told;
            told.retain(|channel, _| !before.ended_told.contains(channel));
            told
        });
        self.gone.remove(&key);
        self.changed.insert(key.clone());
        self.alerts.insert(key, AlertStatus { told, ..alert });
    }

    /// It says something else now: the next letter says it, and lists do within a while.
    pub(super) fn goes(
        &mut self,
        alert: &str,
        series: &str,
        (sentence, value): (String, f64),
        now: Timestamp,
    ) {
        let key = (alert.to_owned(), series.to_owned());
        let Some(known) = self.alerts.get_mut(&key) else {
            return;
        };
        (known.sentence, known.value) = (sentence, value);
        let noted = *self.noted.entry(key.clone()).or_insert(known.began_at);
        if clock::until(noted, now) >= NOTED_EVERY {
            self.noted.insert(key.clone(), now);
            self.changed.insert(key);
        }
    }

    /// It is over: what it was, where it was known.
    pub(super) fn ended(
        &mut self,
        alert: &str,
        series: &str,
        now: Timestamp,
    ) -> Option<&AlertStatus> {
        let key = (alert.to_owned(), series.to_owned());
        let known = self.alerts.get_mut(&key)?;
        known.ended_at = Some(now);
        self.changed.insert(key);
        Some(known)
    }

    fn is_for(&self, channel: &str, alert: &AlertStatus) -> bool {
        let least = self.channels.iter().find(|(name, _)| name == channel);
        least.is_some_and(|(_, least)| Urgency::of(&alert.level) >= *least)
    }

    /// What a channel is to be told.
    pub(super) fn news(&self, channel: &str, now: Timestamp, remind: Option<Duration>) -> News {
        let mut news = News::default();
        for alert in self.alerts.values() {
            if !self.is_for(channel, alert) {
                continue;
            }
            match (alert.ended_at, alert.told.get(channel)) {
                (Some(_), _) if alert.ended_told.iter().any(|told| told == channel) => {}
                (Some(_), _) => news.ended.push(alert.clone()),
                (None, None) => news.began.push(alert.clone()),
                (None, Some(told)) => {
                    if remind.is_some_and(|remind| clock::until(*told, now) >= remind) {
                        news.still.push(alert.clone());
                    }
                }
            }
        }
        news
    }

    /// A channel was told.
    pub(super) fn told(&mut self, channel: &str, news: &News, now: Timestamp) {
        let keys = |alerts: &[AlertStatus]| alerts.iter().map(key).collect::<Vec<_>>();
        for key in [keys(&news.began), keys(&news.still)].concat() {
            // It may be over meanwhile: that is the next letter's.
            if let Some(alert) = self.alerts.get_mut(&key) {
                alert.told.insert(channel.to_owned(), now);
                self.changed.insert(key);
            }
        }
        for key in keys(&news.ended) {
            // It may have begun again meanwhile: then the channel knows nothing of that yet.
            if let Some(alert) = self.alerts.get_mut(&key) {
                alert.told.remove(channel);
                if alert.ended_at.is_some() {
                    alert.ended_told.push(channel.to_owned());
                }
                self.changed.insert(key);
            }
        }
        self.forget(now);
    }

    /// Forgets what is over and told to everybody, and what nobody could be told of for long: how many of those.
    pub(super) fn forget(&mut self, now: Timestamp) -> usize {
        let mut lost = 0;
        let mut gone = Vec::new();
        for (key, alert) in &self.alerts {
            let Some(ended_at) = alert.ended_at else {
                continue;
            };
            let mut others = self.channels.iter().map(|(name, _)| name);
            let untold = others
                .any(|channel| self.is_for(channel, alert) && !alert.ended_told.contains(channel));
            let old = clock::until(ended_at, now) >= ENDED_KEPT;
            if !untold || old {
                lost += usize::from(untold);
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.alerts.remove(&key);
            self.noted.remove(&key);
            self.changed.remove(&key);
            self.gone.insert(key);
        }
        lost
    }

    /// What the state file does not have yet, and what it has too much. Whoever takes it and cannot write it gives it
    /// back with [`Book::unwritten`].
    pub(super) fn take_changes(&mut self) -> (Vec<AlertStatus>, Vec<Key>) {
        let changed = std::mem::take(&mut self.changed);
        let changed = changed
            .iter()
            .filter_map(|key| self.alerts.get(key).cloned());
        let changed = changed.collect();
        (
            changed,
            std::mem::take(&mut self.gone).into_iter().collect(),
        )
    }

    pub(super) fn unwritten(&mut self, changed: &[AlertStatus], gone: Vec<Key>) {
        let changed = changed.iter().map(key);
        self.changed
            .extend(changed.filter(|key| self.alerts.contains_key(key)));
        let alerts = &self.alerts;
        self.gone
            .extend(gone.into_iter().filter(|key| !alerts.contains_key(key)));
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
