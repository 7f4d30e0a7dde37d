//! Destination: takes every event and forgets it.
//!
//! For running a source and its mappings before there is anybody to send to, and for measuring what
//! all but the sending costs. Outbox, lanes and counters are those of any destination; an event
//! counts as delivered, so what was sent here is not sent anywhere else later.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, BuildDestination, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing,
    Report, Resend, Secrets, Section,
};

/// The `type` in the settings.
pub const NAME: &str = "null";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "nowhere"
type = "null"                    # takes every event and forgets it
"#;

/// A guided set-up asks nothing more of it.
pub const QUESTIONS: &[contract::Question] = &[];

/// Reads a destination's own settings: there are none.
pub fn read(_: &mut Section<'_>, _: &dyn Secrets) -> Option<BuildDestination> {
    Some(Arc::new(|name| {
        let name = name.to_owned();
        Ok(Arc::new(Nowhere { name }) as Arc<dyn Destination>)
    }))
}

struct Nowhere {
    name: String,
}

#[async_trait]
impl Destination for Nowhere {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            batch_events_max: 1_000,
            resend: Resend::Safe,
            request_timeout: Duration::from_secs(10),
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        let what = format!("destination {}", self.name);
        let found = "takes every event and forgets it: nobody is told";
        vec![Finding::warn(what, found).fix("give it another `type` when somebody is to be told")]
    }

    async fn deliver(&self, batch: &[Outgoing], _: &dyn Gate) -> Report {
        Report::all(batch.len(), &Outcome::Applied(Answer::default()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contract::{EventOp, EventType};

    use super::*;

    #[tokio::test]
    async fn every_event_is_applied() {
        let event = Outgoing {
            offset: 1,
            id: "evt_1".to_owned(),
            event_type: EventType::Product,
            key: "ACME|S1".to_owned(),
            op: EventOp::Upsert,
            idempotency_key: "evt_1".to_owned(),
            origin: "acme/erp".to_owned(),
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            attempt: 1,
            json: Bytes::from_static(b"{}"),
        };
        let name = "nowhere".to_owned();
        let report = Nowhere { name }
            .deliver(&[event.clone(), event], &contract::gate::Open)
            .await;
        let applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied(_));
        let outcomes = report.outcomes();
        assert!(outcomes.len() == 2 && outcomes.iter().all(applied));
    }
}
