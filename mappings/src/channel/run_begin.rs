//! How events begin their way through a channel: which steps each of them takes, if any.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::destination::Compared;
use contract::{Answer, EventOp, EventType, Outcome, Outgoing, Taken};
use serde_json::Value as Json;

use super::cache::Cache;
use super::formula::Seen;
use super::model::{Channel, Delete};
use super::run::{Member, Purpose, Run, Which, Work};

/// An event as expressions see it; `None` = it is no event.
pub(super) fn seen(event: &Outgoing) -> Option<Seen> {
    let mut json: Json = serde_json::from_slice(&event.json).ok()?;
    let mut part = |name: &str| json.get_mut(name).map(Json::take).unwrap_or_default();
    Some(Seen {
        id: event.id.clone(),
        event_type: event.event_type,
        op: event.op.name(),
        idempotency_key: event.idempotency_key.clone(),
        occurred_at: event.occurred_at,
        key_text: event.key.clone(),
        offset: event.offset,
        key: part("key"),
        body: part("body"),
    })
}

impl<'c> Run<'c> {
    /// Begins. `now` is any clock that only goes forward; the cache is measured by it.
    pub fn new(
        channel: &'c Channel,
        cache: &'c Cache,
        purpose: Purpose,
        batch: &[Outgoing],
        now: Duration,
    ) -> Self {
        let mut run = Self {
            channel,
            cache,
            purpose,
            now,
            members: Vec::new(),
            work: Vec::new(),
            waiting: None,
            following: false,
        };
        let mut groups: BTreeMap<(EventType, Which), Vec<usize>> = BTreeMap::new();
        for (n, event) in batch.iter().enumerate() {
            if let Some(which) = run.admit(event) {
                groups.entry((event.event_type, which)).or_default().push(n);
            }
        }
        let groups = groups.into_iter().rev();
        run.work = groups
            .map(|((event_type, which), members)| Work {
                event_type,
                which,
                step: 0,
                members,
            })
            .collect();
        run
    }

    /// Begins to ask what became of what the API took for later.
    pub fn follow(channel: &'c Channel, cache: &'c Cache, taken: &[Taken], now: Duration) -> Self {
        let mut run = Self {
            channel,
            cache,
            purpose: Purpose::Deliver,
            now,
            members: Vec::new(),
            work: Vec::new(),
            waiting: None,
            following: true,
        };
        let mut groups: BTreeMap<(EventType, Which, &str), Vec<usize>> = BTreeMap::new();
        for (n, one) in taken.iter().enumerate() {
            let Some(which) = run.admit(&one.outgoing) else {
                continue;
            };
            groups
                .entry((one.outgoing.event_type, which, one.ticket.as_str()))
                .or_default()
                .push(n);
        }
        for ((event_type, which, ticket), members) in groups.into_iter().rev() {
            // A ticket is the step's number and what the API gave.
            let Some(step) = ticket
                .split_once(':')
                .and_then(|(step, _)| step.parse().ok())
            else {
                for member in members {
                    run.end(
                        member,
                        Outcome::unknown("the ticket is not one of this channel's"),
                    );
                }
                continue;
            };
            for member in &members {
                if let Some(member) = run.members.get_mut(*member) {
                    member.ticket = Some(ticket.to_owned());
                }
            }
            run.work.push(Work {
                event_type,
                which,
                step,
                members,
            });
        }
        run
    }

    /// Takes an event; which steps it goes through, if there is anything to do for it.
    fn admit(&mut self, event: &Outgoing) -> Option<Which> {
        let seen_event = seen(event);
        let is_event = seen_event.is_some();
        let empty = || Seen {
            id: event.id.clone(),
            event_type: event.event_type,
            op: event.op.name(),
            idempotency_key: event.idempotency_key.clone(),
            occurred_at: event.occurred_at,
            key_text: event.key.clone(),
            offset: event.offset,
            key: Json::Null,
            body: Json::Null,
        };
        self.members.push(Member {
            seen: seen_event.unwrap_or_else(empty),
            found: BTreeMap::new(),
            outcome: None,
            compared: None,
            resolved: None,
            places: Vec::new(),
            changed: false,
            tries: 0,
            answer: Answer::default(),
            ticket: None,
            asked: false,
        });
        let n = self.members.len() - 1;
        if !is_event {
            self.refuse(n, "what stands in the outbox is no event".to_owned());
            return None;
        }
        let channel = self.channel;
        if let Some(Member { seen, .. }) = self.members.get_mut(n)
            && let Err(why) = channel.skus.translate(&mut seen.key, &mut seen.body)
        {
            self.refuse(n, why);
            return None;
        }
        let Some(handling) = self.channel.handling(event.event_type) else {
            let name = event.event_type.name();
            self.refuse(
                n,
                format!(
                    "channel {} does nothing with {name}: leave it out of the destination's events",
                    self.channel.name
                ),
            );
            return None;
        };
        if event.op != EventOp::Delete
            && let Some(filter) = &handling.filter
        {
            match filter.truth(&self.scope(n, 0, &[])) {
                Ok(true) => {}
                Ok(false) => {
                    self.nothing_to_do(n, "the channel does not take this one (`where`)");
                    return None;
                }
                Err(reason) => {
                    self.refuse(n, format!("where: {reason}"));
                    return None;
                }
            }
        }
        if event.op == EventOp::Delete
            && let Delete::Skip(why) = &handling.delete
        {
            self.nothing_to_do(n, why);
            return None;
        }
        if self.purpose != Purpose::Deliver {
            if handling.read.is_none() {
                let cause = format!(
                    "channel {} cannot read {} back",
                    self.channel.name, event.event_type
                );
                self.read_as(n, Compared::CannotTell { cause });
                return None;
            }
            return Some(Which::Read);
        }
        Some(if event.op == EventOp::Delete {
            Which::Delete
        } else {
            Which::Write
        })
    }
}
