//! Looks at the numbers again and again, and keeps the book of what fires; a task beside it for each channel.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::{Clock, clock};
use engine::Reserve;
use engine::clock::SystemClock;
use state::{AlertStatus, ChannelStatus, StateReader, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::book::Book;
use super::judge::{Change, Judge, Verdict};
use super::rule::{Rule, Urgency};
use super::series::Samples;
use super::tell::Teller;
use super::{AlertSettings, deadman};
use crate::beside::unwound;
use crate::local::{self, Seen};

/// What a rule about the disk leaves to the disk: so many times what is kept free of it begins,
const LOW_TIMES: u64 = 2;
/// and a quarter more ends.
const WELL_PARTS: u64 = 4;

/// The book, shared by who writes it and who tells of it.
pub(super) type Shared = Arc<Mutex<Book>>;

pub(super) fn lock(book: &Shared) -> std::sync::MutexGuard<'_, Book> {
    // Nothing is left half done under this lock.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What watches.
pub(crate) struct Watch {
    pub(crate) settings: AlertSettings,
    /// How letters call this agent.
    pub(crate) agent: String,
    pub(crate) folder: PathBuf,
    pub(crate) reserve: Reserve,
}

/// The rules that are on, with the bound that the disk gives.
pub(super) fn rules(settings: &AlertSettings, folder: &Path, reserve: Reserve) -> Vec<Rule> {
    let room = state::room(folder);
    let on = settings.rules.iter().filter(|rule| rule.on).cloned();
    let bounded = on.filter_map(|mut rule| {
        if rule.bound.is_none() {
            let low = reserve.of(room?.total_bytes).saturating_mul(LOW_TIMES);
            rule.bound = Some(bytes(low));
            rule.clear = rule
                .clear
                .or(Some(bytes(low.saturating_add(low / WELL_PARTS))));
        }
        Some(rule)
    });
    bounded.collect()
}

/// As a bound; what is lost of so large a number is less than anybody sees.
fn bytes(bytes: u64) -> f64 {
    bytes.to_string().parse().unwrap_or(f64::MAX)
}

/// What the state file has of alerts and channels; nothing where it cannot be read, which is said elsewhere.
fn kept(folder: &Path) -> (Vec<AlertStatus>, Vec<ChannelStatus>) {
    let read = || -> Result<_, StoreError> {
        let reader = StateReader::open(folder)?;
        Ok((reader.alerts()?, reader.alert_channels()?))
    };
    read().unwrap_or_default()
}

impl Watch {
    /// Watches until dropped. It waits for nobody, and nobody waits for it.
    pub(crate) async fn run(self, seen: Arc<Seen>, store: Arc<Store>) {
        let rules = rules(&self.settings, &self.folder, self.reserve);
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || kept(&folder));
        let (alerts, channels) = reading.await.unwrap_or_default();
        let least = |one: &super::channel::Channel| (one.name.clone(), one.least);
        let book = Book::open(
            self.settings.channels.iter().map(least).collect(),
            alerts,
            |name| rules.iter().any(|rule| rule.name == name),
        );
        let mut judges: Vec<Judge> = rules
            .into_iter()
            .map(|rule| {
                let firing = book.firing(&rule.name).into_iter();
                let firing = firing
                    .map(|one| (one.series.clone(), one.sentence.clone(), one.value))
                    .collect::<Vec<_>>();
                Judge::new(rule, firing.into_iter())
            })
            .collect();
        let book: Shared = Arc::new(Mutex::new(book));
        let (changed, changes) = watch::channel(());
        let mut tasks = JoinSet::new();
        for channel in &self.settings.channels {
            let status = channels.iter().find(|one| one.channel == channel.name);
            let teller = Teller::new(
                channel.clone(),
                status.cloned(),
                &self.settings,
                self.agent.clone(),
                Arc::clone(&book),
                Arc::clone(&store),
                &seen.watched.meters,
            );
            tasks.spawn(teller.run(changes.clone()));
        }
        if let Some(deadman) = self.settings.deadman.clone() {
            tasks.spawn(deadman::run(deadman, self.agent.clone(), Arc::clone(&seen)));
        }
        let began = Instant::now();
        loop {
            failpoint::crash!("task.alerts");
            // A channel that nobody serves any more would tell nothing, and say nothing of it.
            while let Some(ended) = tasks.try_join_next() {
                unwound(ended);
            }
            look(&seen, &mut judges, &book, began.elapsed()).await;
            save(&book, &store).await;
            changed.send_replace(());
            tokio::time::sleep(self.settings.every).await;
        }
    }
}

/// One look at all numbers.
async fn look(seen: &Seen, judges: &mut [Judge], book: &Shared, elapsed: Duration) {
    let Ok(text) = local::numbers(seen).await else {
        return;
    };
    let samples = Samples::read(&text);
    let now = SystemClock.now();
    for judge in judges.iter_mut() {
        for verdict in judge.judge(&samples, elapsed) {
            note(&judge.rule, verdict, book, now);
        }
    }
    let firing = judges
        .iter()
        .map(|judge| (judge.rule.name.clone(), judge.firing()));
    seen.watched.meters.set_firing(firing.collect());
    let lost = lock(book).forget(now);
    if lost > 0 {
        tracing::warn!(
            code = "alert.not_told",
            count = lost,
            hint = "lighterman alert test",
            "alerts are over for a day that a channel could not be told of: they are forgotten"
        );
    }
}

/// Writes a verdict into the book and the log.
fn note(rule: &Rule, verdict: Verdict, book: &Shared, now: jiff::Timestamp) {
    let Verdict {
        series,
        change,
        sentence,
        look,
        value,
    } = verdict;
    match change {
        Change::Goes => lock(book).goes(&rule.name, &series, (sentence, value), now),
        Change::Began { since } => {
            if rule.urgency == Urgency::Page {
                tracing::error!(
                    code = "alert.began",
                    alert = rule.name,
                    series,
                    hint = look,
                    "{sentence}"
                );
            } else {
                tracing::warn!(
                    code = "alert.began",
                    alert = rule.name,
                    series,
                    hint = look,
                    "{sentence}"
                );
            }
            let since = jiff::SignedDuration::try_from(since).unwrap_or_default();
            lock(book).began(AlertStatus {
                alert: rule.name.clone(),
                series,
                level: rule.urgency.name().to_owned(),
                sentence,
                look,
                value,
                began_at: clock::minus(now, since),
                ended_at: None,
                told: std::collections::BTreeMap::new(),
                ended_told: Vec::new(),
            });
        }
        Change::Ended { measured } => {
            let why = (!measured).then_some("it is not measured any more");
            tracing::info!(
                code = "alert.ended",
                alert = rule.name,
                series,
                why,
                "over: {sentence}"
            );
            lock(book).ended(&rule.name, &series, now);
        }
    }
}

/// Writes what changed into the state file; what cannot be written now is with the next change.
pub(super) async fn save(book: &Shared, store: &Store) {
    let (changed, gone) = lock(book).take_changes();
    if changed.is_empty() && gone.is_empty() {
        return;
    }
    let written = store.set_alerts(changed.clone(), gone.clone()).await;
    // Whoever must write to the store says why it cannot be written.
    if written.is_err() {
        lock(book).unwritten(&changed, gone);
    }
}
