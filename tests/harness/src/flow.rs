//! A running agent and the receiver that it tells, and what a test waits for there.

use std::time::Duration;

use serde_json::Value;

use crate::agent::Agent;
use crate::receiver::Receiver;

/// How long anything may take to come.
const LIMIT: Duration = Duration::from_mins(2);
/// How long the agent may take to end.
const END_MAX: Duration = Duration::from_secs(30);

/// Both of them.
pub struct Flow {
    /// Who is told.
    pub receiver: Receiver,
    /// Who tells.
    pub agent: Agent,
}

impl Flow {
    /// Until the receiver has a field of an event's like this.
    pub async fn comes(&self, event_type: &str, key: &str, field: &str, wanted: Value) {
        let there = self.receiver.wait(LIMIT, |held| {
            let body = held.body(event_type, key);
            body.is_some_and(|body| body[field] == wanted)
        });
        assert!(
            there.await,
            "{event_type} {key} {field} {wanted}: {}",
            self.shown()
        );
    }

    /// Until the receiver has a fact.
    pub async fn told(&self, key: &str) {
        let there = self
            .receiver
            .wait(LIMIT, |held| held.facts.contains_key(key));
        assert!(there.await, "{key}: {}", self.shown());
    }

    /// Until the receiver knows an event to be gone.
    pub async fn gone(&self, event_type: &str, key: &str) {
        let gone = self
            .receiver
            .wait(LIMIT, |held| held.body(event_type, key).is_none());
        assert!(gone.await, "{event_type} {key}: {}", self.shown());
    }

    /// Stops the agent as a service does.
    pub async fn stop(&mut self) {
        let ended = self.agent.terminate(END_MAX).await;
        assert!(ended.is_some(), "{}", self.agent.log());
    }

    /// The agent's end, and that the receiver was told nothing that may not be.
    pub async fn end(mut self) {
        self.stop().await;
        assert_eq!(self.receiver.held().violations, Vec::<String>::new());
    }

    fn shown(&self) -> String {
        let held = self.receiver.held();
        format!("{:#?}\n{:#?}\n{}", held.state, held.facts, self.agent.log())
    }
}
