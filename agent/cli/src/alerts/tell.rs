//! Tells one channel what it does not know yet, as often as it may be told, and again where it could not be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, clock};
use engine::clock::SystemClock;
use engine::observe::Meters;
use jiff::{SignedDuration, Timestamp};
use state::{ChannelStatus, Store};
use tokio::sync::watch;
use tokio::time::Instant;

use super::AlertSettings;
use super::book::News;
use super::channel::{Channel, Refused};
use super::letters::Letter;
use super::watch::{Shared, lock, save};

/// After a letter that was not taken the next try comes after this,
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// after twice as long each time, and after this at the latest.
const RETRY_MAX: Duration = Duration::from_mins(15);
/// However long a server wants to be left alone.
const AFTER_MAX: Duration = Duration::from_hours(1);
/// Reminders are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What tells one channel.
pub(super) struct Teller {
    channel: Channel,
    agent: String,
    gather: Duration,
    remind: Option<Duration>,
    per_hour: usize,
    book: Shared,
    store: Arc<Store>,
    /// When it took the newest letters.
    sent: VecDeque<Timestamp>,
    failing_since: Option<Timestamp>,
    problem: Option<String>,
    retry: Option<(Duration, Instant)>,
    /// That no more may be sent within this hour was said.
    said_full: bool,
    counted: [prometheus_client::metrics::counter::Counter; 2],
}

impl Teller {
    pub(super) fn new(
        channel: Channel,
        status: Option<ChannelStatus>,
        settings: &AlertSettings,
        agent: String,
        book: Shared,
        store: Arc<Store>,
        meters: &Meters,
    ) -> Self {
        let counted = ["sent", "failed"].map(|result| meters.letters(&channel.name, result));
        let (sent, failing_since, problem) = status.map_or_else(Default::default, |status| {
            (status.sent.into(), status.failing_since, status.problem)
        });
        Self {
            agent,
            gather: settings.gather,
            remind: settings.remind,
            per_hour: settings.letters_per_hour,
            book,
            store,
            sent,
            failing_since,
            problem,
            retry: None,
            said_full: false,
            counted,
            channel,
        }
    }

    /// Tells it until dropped.
    pub(super) async fn run(mut self, mut changes: watch::Receiver<()>) {
        // Since when there is something to tell.
        let mut since: Option<Instant> = None;
        loop {
            failpoint::crash!("task.channel");
            let now = SystemClock.now();
            let news = lock(&self.book).news(&self.channel.name, now, self.remind);
            if news.is_empty() {
                since = None;
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() {
                        return;
                    },
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            }
            let since_when = *since.get_or_insert_with(Instant::now);
            let due = self.due(&news, since_when, now);
            if due > Instant::now() {
                // What comes until then is told with it.
                tokio::time::sleep_until(due).await;
                continue;
            }
            since = None;
            self.tell(&news, now).await;
        }
    }

    /// When it may be told: when others that came with it are there, too, when the last refusal is long enough ago,
    /// and when there is room within the hour.
    fn due(&mut self, news: &News, since: Instant, now: Timestamp) -> Instant {
        let mut due = since;
        if news.is_new() {
            due += self.gather;
        }
        if let Some((_, at)) = self.retry {
            due = due.max(at);
        }
        // A clock that was set back must not silence it.
        let hour_ago = clock::minus(now, HOUR);
        self.sent.retain(|at| *at > hour_ago && *at <= now);
        let full = self.sent.len().checked_sub(self.per_hour);
        if let Some(oldest) = full.and_then(|over| self.sent.get(over)) {
            let left = clock::until(hour_ago, *oldest);
            due = due.max(Instant::now() + left);
            if !std::mem::replace(&mut self.said_full, true) {
                tracing::warn!(
                    code = "alert.many",
                    channel = self.channel.name,
                    count = self.sent.len(),
                    "so many letters were sent within an hour that the next one waits, and tells all that comes \
                     until then"
                );
            }
        } else {
            self.said_full = false;
        }
        due
    }

    async fn tell(&mut self, news: &News, now: Timestamp) {
        let letter = Letter::of(&self.agent, news.clone(), now);
        let told = self.channel.send(&letter).await;
        let count = news.began.len() + news.ended.len() + news.still.len();
        let name = &self.channel.name;
        match told {
            Ok(answered) => {
                let [sent, _] = &self.counted;
                sent.inc();
                tracing::info!(
                    code = "alert.sent",
                    channel = name,
                    count,
                    "a letter about alerts was sent"
                );
                if let Some(refused) = answered.but {
                    not_sent(name, &refused, None);
                }
                lock(&self.book).told(name, news, now);
                save(&self.book, &self.store).await;
                self.sent.push_back(now);
                (self.retry, self.failing_since, self.problem) = (None, None, None);
            }
            Err(refused) => {
                let [_, failed] = &self.counted;
                failed.inc();
                let before = self.retry.map(|(wait, _)| wait * 2);
                let usual = before.unwrap_or(RETRY_FIRST).min(RETRY_MAX);
                let wait = refused
                    .after
                    .map_or(usual, |after| after.clamp(usual, AFTER_MAX));
                self.retry = Some((usual, Instant::now() + wait));
                not_sent(name, &refused, Some(wait));
                self.failing_since.get_or_insert(now);
                self.problem = Some(refused.short);
            }
        }
        let status = ChannelStatus {
            channel: self.channel.name.clone(),
            sent: self.sent.iter().copied().collect(),
            failing_since: self.failing_since,
            problem: self.problem.clone(),
        };
        // As with the book: whoever must write to the store says why it cannot be written.
        let _ = self.store.set_alert_channel(status).await;
    }
}

fn not_sent(channel: &str, refused: &Refused, wait: Option<Duration>) {
    tracing::warn!(
        code = "alert.not_sent",
        channel,
        error = refused.short,
        retry_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        hint = format!("lighterman alert test --channel {channel}"),
        "a letter about alerts was not taken; what it said is in this log, and is told when the channel takes it"
    );
}
