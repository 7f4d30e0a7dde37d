//! The heartbeat: a mark written to the log, to be met again in the stream.
//!
//! It proves the whole way round: that we may write to the log, that the server decodes it, that
//! the slot is the one we think and the connection alive. It needs no table, and nothing but the
//! settings switches it on: it is the only thing that capture ever writes to the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::clock::after;
use contract::{Canary, Heartbeat, Proof, SourceError};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::connect::{self, Rights, classify};
use crate::settings::Settings;
use crate::wire::HEARTBEAT;

/// After so long without a change another is sent.
const QUIET: Duration = Duration::from_secs(10);
/// One that is on its way for less is not spoken of when others have come round.
const PATIENCE: Duration = Duration::from_secs(30);

/// The heartbeats of a source: what was sent, and whether it came round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse {
    state: Arc<Mutex<State>>,
    /// A mark or a change came through the log. Outlives a stream.
    through: Proof,
    /// The server has said how far its log is read for us.
    answered: Proof,
}

#[derive(Debug, Default)]
struct State {
    sent: Option<Sent>,
    /// The newest that came round, of this stream.
    met: Option<Heartbeat>,
    /// When the stream last told of a change.
    told_at: Option<Instant>,
    /// Since when one has been on its way, or should be.
    waits_since: Option<Instant>,
}

#[derive(Debug)]
struct Sent {
    text: String,
    /// By the server's clock.
    at: Timestamp,
    since: Instant,
    took: Option<Duration>,
    /// It could not be written, as far as we know: another is sent.
    failed: bool,
}

/// Sends heartbeats until dropped.
#[derive(Debug)]
pub(crate) struct Beating {
    pulse: Pulse,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody would meet it any more.
        *self.pulse.state() = State::default();
    }
}

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest heartbeat, while the stream is open: the one on its way only when it is the
    /// first, or is long on its way.
    pub(crate) fn newest(&self) -> Option<Heartbeat> {
        let state = self.state();
        let sent = state.sent.as_ref()?;
        let newest = Heartbeat {
            sent_at: sent.at,
            took: sent.took,
        };
        let waits = state.waits_since.filter(|_| sent.took.is_none());
        let soon = waits.is_some_and(|since| since.elapsed() < PATIENCE);
        Some(state.met.filter(|_| soon).unwrap_or(newest))
    }

    /// The stream has told of changes: it is alive without us.
    pub(crate) fn told(&self) {
        self.through.note();
        self.state().told_at = Some(Instant::now());
    }

    /// The server has said how far its log is read for us: it and the connection live.
    pub(crate) fn answered(&self) {
        self.answered.note();
    }

    /// The last proof that the log comes through, with heartbeats or without.
    pub(crate) fn canary(&self, heartbeat: bool) -> Canary {
        if heartbeat {
            self.through
                .canary("a heartbeat or a change came through its log")
        } else {
            self.answered.canary(
                "the server answered on the connection that its log comes through; heartbeat = true would prove the \
                 whole way",
            )
        }
    }

    /// The stream has met a heartbeat; one from before a restart is not ours.
    pub(crate) fn met(&self, text: &[u8]) {
        let mut state = self.state();
        let Some(sent) = state.sent.as_mut() else {
            return;
        };
        if sent.text.as_bytes() != text || sent.took.is_some() {
            return;
        }
        sent.took = Some(sent.since.elapsed());
        state.met = Some(Heartbeat {
            sent_at: sent.at,
            took: sent.took,
        });
        state.waits_since = None;
        self.through.note();
    }

    /// One is on its way. Whatever keeps it from being written, nothing proves the log from now on.
    fn set_out(&self, text: String, at: Timestamp) {
        let now = Instant::now();
        let mut state = self.state();
        state.waits_since.get_or_insert(now);
        state.sent = Some(Sent {
            text,
            at,
            since: now,
            took: None,
            failed: false,
        });
    }

    /// The next is about to be written, as soon as the server says its time.
    fn begin(&self) {
        let last = self.state().sent.as_ref().map(|sent| (sent.at, sent.since));
        if let Some((at, since)) = last {
            // No text of a heartbeat is empty: this one is met by nothing.
            self.set_out(String::new(), after(at, since.elapsed()));
        }
    }

    fn failed(&self) {
        if let Some(sent) = self.state().sent.as_mut() {
            sent.failed = true;
        }
    }

    /// When the next is due; `None` while one is on its way.
    fn due(&self) -> Option<Instant> {
        let state = self.state();
        let sent = state.sent.as_ref()?;
        if sent.took.is_none() {
            return sent.failed.then_some(sent.since);
        }
        let last = state.told_at.map_or(sent.since, |at| at.max(sent.since));
        Some(last + QUIET)
    }

    /// Sends the first heartbeat, and goes on.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(crate) async fn start(&self, settings: &Settings) -> Result<Beating, SourceError> {
        let client = connect::connect(settings, Rights::Read).await?;
        self.send(settings, &client).await?;
        let (pulse, settings) = (self.clone(), settings.clone());
        let task = tokio::spawn(async move { pulse.beat(&settings, client).await });
        Ok(Beating {
            pulse: self.clone(),
            task,
        })
    }

    async fn beat(&self, settings: &Settings, mut client: Client) {
        loop {
            let now = Instant::now();
            let due = self.due().unwrap_or(now + QUIET);
            if due > now {
                tokio::time::sleep_until(due).await;
                continue;
            }
            self.begin();
            let sent = async {
                if client.is_closed() {
                    client = connect::connect(settings, Rights::Read).await?;
                }
                self.send(settings, &client).await
            };
            // The stream itself says what is wrong with the server.
            if let Err(error) = sent.await {
                tracing::debug!(error = %error, "a heartbeat could not be sent");
                self.failed();
                tokio::time::sleep(QUIET).await;
            }
        }
    }

    async fn send(&self, settings: &Settings, client: &Client) -> Result<(), SourceError> {
        let doing = "send a heartbeat";
        let failed = |error: tokio_postgres::Error| classify(doing, &error);
        let row = client
            .query_one(
                "SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
                         * 1000000)::pg_catalog.int8",
                &[],
            )
            .await
            .map_err(failed)?;
        let micros: i64 = row.get(0);
        let at = Timestamp::from_microsecond(micros)
            .map_err(|error| SourceError::Malformed(format!("{doing}: {error}")))?;
        let text = format!("{} {micros}", settings.slot);
        // Before it is written: it may be met at once.
        self.set_out(text.clone(), at);
        let written = client
            .execute(
                "SELECT pg_catalog.pg_logical_emit_message(false, $1::pg_catalog.text,
                                                           $2::pg_catalog.text)",
                &[&HEARTBEAT, &text],
            )
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) if error.code().is_some_and(|code| code.code() == "42501") => {
                let what = classify(doing, &error).to_string();
                Err(denied(what, settings, client).await?)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Everybody may write to the log, unless somebody has taken that right away.
async fn denied(
    what: String,
    settings: &Settings,
    client: &Client,
) -> Result<SourceError, SourceError> {
    let row = client
        .query_one(
            "SELECT oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc
              WHERE proname = 'pg_logical_emit_message'
                AND proargtypes[2] = 'pg_catalog.text'::pg_catalog.regtype",
            &[],
        )
        .await
        .map_err(|error| classify("read rights", &error))?;
    let function: String = row.get(0);
    let user = connect::name(&settings.user);
    Ok(SourceError::Denied {
        what,
        hint: format!(
            "GRANT EXECUTE ON FUNCTION {function} TO {user}; undo: REVOKE EXECUTE ON FUNCTION \
             {function} FROM {user}; or heartbeat = false in the settings"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pulse: &Pulse, text: &str) {
        pulse.set_out(text.to_owned(), Timestamp::UNIX_EPOCH);
    }

    #[tokio::test]
    async fn only_the_newest_heartbeat_counts_and_only_once() {
        let pulse = Pulse::default();
        assert_eq!(pulse.newest(), None);
        assert_eq!(pulse.canary(true).ago, None);
        pulse.answered();
        assert!(pulse.canary(false).ago.is_some());
        sent(&pulse, "s 2");
        pulse.met(b"s 1");
        assert_eq!(pulse.newest().unwrap().took, None);
        assert_eq!(pulse.due(), None);
        // With heartbeats nothing less is a proof.
        assert_eq!(pulse.canary(true).ago, None);
        pulse.met(b"s 2");
        assert!(pulse.canary(true).ago.is_some());
        let first = pulse.newest().unwrap().took;
        assert!(first.is_some());
        pulse.met(b"s 2");
        assert_eq!(pulse.newest().unwrap().took, first);
        // The next one is on its way, which is nothing to speak of yet.
        sent(&pulse, "s 3");
        assert_eq!(pulse.newest().unwrap().took, first);
        pulse.met(b"s 3");
        // A stream that tells of changes needs none.
        let due = pulse.due().unwrap();
        tokio::task::yield_now().await;
        pulse.told();
        assert!(pulse.due().unwrap() > due);
    }
}
