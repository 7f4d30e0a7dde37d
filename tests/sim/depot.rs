//! A second destination, which comes and goes: a plain receiver whose answers are lost now and then.

use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Answer, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Report, Resend,
};

use crate::world::{Shared, let_others, lock};

pub struct Depot(pub Shared);

#[async_trait]
impl Destination for Depot {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            batch_events_max: 20,
            requests_max: 2,
            resend: Resend::Safe,
            request_timeout: Duration::from_secs(1),
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        if !gate.pass(0, Duration::from_secs(1)).await {
            return Report::all(batch.len(), &Outcome::not_sent("no room"));
        }
        let_others(&self.0).await;
        let mut world = lock(&self.0);
        // It takes what comes first and loses the rest.
        let faulty = world.faults && world.chance(15);
        let taken = if faulty { batch.len() / 2 } else { batch.len() };
        for outgoing in &batch[..taken] {
            world.note(&format!("depot {} {}", outgoing.key, outgoing.id));
            for (class, text) in world.depot.take(outgoing) {
                world.wrong(class, format!("{text}, at the depot"));
            }
        }
        if faulty {
            return Report::all(batch.len(), &Outcome::unknown("the answer was lost"));
        }
        Report::all(batch.len(), &Outcome::Applied(Answer::default()))
    }
}
