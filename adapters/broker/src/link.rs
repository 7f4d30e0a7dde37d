//! A destination of one connection that is used by one batch at a time.
//!
//! A connection on which anything went wrong is closed, so that nothing of a batch can leave after
//! its outcome was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Report, Resend, Section,
};
use tokio::sync::Mutex;

use crate::address::Address;
use crate::fates::Fates;

/// A check answers within this time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// How to speak to one kind of broker.
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// A connection that has logged in.
    type Link: Send;

    /// Where the broker is.
    fn address(&self) -> &Address;

    /// Connects and logs in. An error says why in words and names no secret.
    async fn open(&self) -> Result<Self::Link, String>;

    /// Whether a connection that lay still can be used.
    async fn usable(&self, link: &mut Self::Link) -> bool;

    /// Publishes a batch and takes the broker's answers. An error means that the connection must
    /// not be used again; what is then not known is unknown, or not sent if it had not left.
    async fn publish(
        &self,
        link: &mut Self::Link,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String>;

    /// Looks whether what events are published to is there. `what` names the destination.
    async fn look(&self, link: &mut Self::Link, what: &str) -> Vec<Finding>;
}

/// Limits that every broker's settings have.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A batch is answered within this time.
    pub timeout: Duration,
    /// Most events in a batch.
    pub batch_events_max: usize,
}

impl Times {
    /// Reads `timeout_seconds` and `batch_events_max`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let timeout = section.number_or("timeout_seconds", 1, 300, 15);
        let events = section.number_or("batch_events_max", 1, 1_000, 200);
        Self {
            timeout: Duration::from_secs(timeout),
            batch_events_max: usize::try_from(events).unwrap_or(1),
        }
    }
}

/// A broker as a destination.
pub struct Broker<P: Protocol> {
    name: String,
    times: Times,
    protocol: P,
    link: Mutex<Option<P::Link>>,
}

/// The destination of this name.
pub fn build<P: Protocol>(name: &str, times: Times, protocol: P) -> Arc<dyn Destination> {
    Arc::new(Broker {
        name: name.to_owned(),
        times,
        protocol,
        link: Mutex::new(None),
    })
}

impl<P: Protocol> Broker<P> {
    async fn send(&self, batch: &[Outgoing], fates: &mut Fates) -> Result<(), String> {
        let mut held = self.link.lock().await;
        // Taken out while it is used: if this is cut off, it is closed.
        let mut link = match held.take() {
            Some(link) => link,
            None => self.protocol.open().await?,
        };
        if !self.protocol.usable(&mut link).await {
            link = self.protocol.open().await?;
        }
        self.protocol.publish(&mut link, batch, fates).await?;
        *held = Some(link);
        Ok(())
    }
}

#[async_trait]
impl<P: Protocol> Destination for Broker<P> {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            batch_events_max: self.times.batch_events_max,
            // A repetition is recognised by the event's id: by the broker, or by who reads there.
            resend: Resend::Safe,
            request_timeout: self.times.timeout,
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        let what = format!("destination {}", self.name);
        let look = async {
            let mut link = self.protocol.open().await?;
            Ok::<_, String>(self.protocol.look(&mut link, &what).await)
        };
        match tokio::time::timeout(CHECK_TIMEOUT, look).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(cause)) => vec![
                Finding::fail(what, cause)
                    .fix("check servers, tls, user and password, name resolution and firewall"),
            ],
            Err(_) => {
                vec![Finding::fail(what, "does not answer").fix("check servers, tls and firewall")]
            }
        }
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let began = Instant::now();
        if !gate.pass(0, self.times.timeout).await {
            let cause = "the destination's limits left no room for the batch in time";
            return Report::all(batch.len(), &Outcome::not_sent(cause));
        }
        let limit = self.times.timeout.saturating_sub(began.elapsed());
        let mut fates = Fates::new(batch.len());
        let sent = tokio::time::timeout(limit, self.send(batch, &mut fates)).await;
        let went_wrong = !matches!(sent, Ok(Ok(())));
        let cause = match sent {
            Ok(Ok(())) => "the broker did not say what became of it".to_owned(),
            Ok(Err(cause)) => cause,
            Err(_) => "no answer within the timeout".to_owned(),
        };
        if went_wrong {
            self.protocol.address().pass_by();
        }
        fates.report(&cause)
    }
}
