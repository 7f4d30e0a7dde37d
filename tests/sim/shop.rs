//! The simulated API: it fails, answers late, takes for later, misses and refuses things, and
//! watches how it is treated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Allowance, Answer, Destination, DestinationTraits, EventOp, EventType, Finding, Gate, Outcome,
    Outgoing, Rate, Report, Resend, Taken,
};
use judge::Class;
use rand::RngExt;
use tokio::time::Instant;

use crate::world::{Shared, World, let_others, lock};

/// What the API bears.
pub const RATE: Rate = Rate {
    requests: 4,
    per: Duration::from_secs(1),
};
/// No request takes longer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Faults by which a request is lost to the agent and comes long after its deadline.
const LATE: std::ops::RangeInclusive<u32> = 10..=12;
const LATE_TIMES: u32 = 20;
/// What it takes for later is done within this.
const LATER_MAX: u64 = 5_000;

/// What the API knows beside what it holds.
#[derive(Default)]
pub struct Shop {
    /// When requests came since the agent was started.
    pub came: VecDeque<Instant>,
    /// All of them.
    pub requests: usize,
    /// How it is, and until when.
    pub mood: Option<(Mood, Instant)>,
    /// It said that nothing may come before.
    pub not_before: Option<Instant>,
    /// What it took for later: whether that is done, or was lost.
    tickets: BTreeMap<String, Later>,
    /// Sent and not answered yet, however the agent fares.
    out: BTreeSet<String>,
    /// What it did not apply, and said so: it does not when the same comes late either.
    refused: BTreeSet<String>,
}

/// How an API is for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It refuses whatever comes, and says for how long.
    Throttles,
    /// It does not know our token until it has a new one.
    Expired,
    /// It fails.
    Down,
    /// It answers as late as it may.
    Slow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Later {
    Waits,
    Done,
    Lost,
}

pub struct SimDestination {
    pub world: Shared,
    pub batch_events_max: usize,
    pub resend: Resend,
    pub per_day: Option<u32>,
    pub requests_max: usize,
}

/// What becomes of one event of a request that arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Applied,
    Conflict,
    Missing,
    Rejected,
}

#[async_trait]
impl Destination for SimDestination {
    fn traits(&self) -> DestinationTraits {
        let mut traits = DestinationTraits {
            batch_events_max: self.batch_events_max,
            requests_max: self.requests_max,
            resend: self.resend,
            request_timeout: TIMEOUT,
            accepted_max: Duration::from_secs(8),
            accepted_poll: Duration::from_millis(500),
            ..DestinationTraits::modest()
        };
        traits.limits.rate = Some(RATE);
        traits.limits.per_day = self.per_day;
        traits
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        if !self.arrives(gate).await {
            return Report::all(batch.len(), &Outcome::not_sent("no room"));
        }
        let_others(&self.world).await;
        self.nothing_is_passed_over(batch);
        let mood = lock(&self.world).shop.mood();
        if let Some(report) = self.refuses(mood, batch, gate).await {
            return report;
        }
        let (before, after, late, fault, fates) = {
            let mut world = lock(&self.world);
            let slow = if mood == Some(Mood::Slow) {
                1_900
            } else if world.faults {
                900
            } else {
                100
            };
            let mut wait = || Duration::from_millis(world.rng.random_range(0..slow));
            let (mut before, after) = (wait(), wait());
            let fault = if world.faults {
                world.rng.random_range(0..100)
            } else {
                100
            };
            // Where nothing is read before it is sent again, something on the way may keep it for long.
            let late = LATE.contains(&fault) && self.resend == Resend::Safe;
            if late {
                before *= LATE_TIMES;
            }
            let mut fates = vec![Fate::Applied; batch.len()];
            let one = world.rng.random_range(0..batch.len());
            fates[one] = match fault {
                22..=27 => Fate::Conflict,
                28..=32 => Fate::Missing,
                33..=35 => Fate::Rejected,
                _ => Fate::Applied,
            };
            (before, after, late, fault, fates)
        };
        let answer = Answer::default;
        let cause = || "simulated".to_owned();
        if fault < 10 {
            tokio::time::sleep(before).await;
            let retry = Outcome::Retry {
                after: None,
                cause: cause(),
                answer: Answer {
                    status: Some(503),
                    ..answer()
                },
            };
            return Report::all(batch.len(), &retry);
        }
        if (36..=45).contains(&fault) {
            tokio::time::sleep(before).await;
            return self.take_for_later(batch);
        }
        // The request is a thing of its own: it arrives though the agent crashes or gives up.
        let (world, events) = (Arc::clone(&self.world), batch.to_vec());
        let arriving = fates.clone();
        for outgoing in batch {
            lock(&self.world).shop.out.insert(outgoing.id.clone());
        }
        let request = tokio::spawn(async move {
            tokio::time::sleep(before).await;
            let mut world = lock(&world);
            for (outgoing, fate) in events.iter().zip(arriving) {
                world.shop.out.remove(&outgoing.id);
                let refused = late && world.shop.refused.contains(&outgoing.id);
                if fate == Fate::Applied && !refused {
                    world.takes(outgoing);
                }
            }
        });
        if fault >= 15 {
            request.await.unwrap();
            tokio::time::sleep(after).await;
        }
        if fault < 20 {
            let cause = "the answer was lost".to_owned();
            return Report::all(batch.len(), &Outcome::unknown(cause));
        }
        let mut report = Report::new(batch.len());
        for (index, fate) in fates.into_iter().enumerate() {
            let (cause, answer) = (cause(), answer());
            if fate != Fate::Applied {
                let id = batch[index].id.clone();
                lock(&self.world).shop.refused.insert(id);
            }
            let outcome = match fate {
                Fate::Applied => Outcome::Applied(answer),
                Fate::Conflict => Outcome::Conflict { cause, answer },
                Fate::Missing => Outcome::Missing { cause, answer },
                Fate::Rejected => Outcome::Rejected { cause, answer },
            };
            // Now and then the adapter forgets one: it must count as unknown.
            if fault != 21 || index != 0 {
                report.set(index, outcome);
            }
        }
        report
    }

    async fn follow_up(&self, taken: &[Taken], gate: &dyn Gate) -> Report {
        let mut report = Report::new(taken.len());
        if !self.arrives(gate).await {
            return Report::all(taken.len(), &Outcome::not_sent("no room"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let world = lock(&self.world);
        for (index, one) in taken.iter().enumerate() {
            let answer = Answer::default();
            report.set(
                index,
                match world.shop.tickets.get(&one.ticket) {
                    Some(Later::Done) => Outcome::Applied(answer),
                    Some(Later::Waits) => Outcome::Accepted {
                        ticket: one.ticket.clone(),
                        answer,
                    },
                    Some(Later::Lost) | None => Outcome::unknown("there is no such job"),
                },
            );
        }
        report
    }

    async fn verify(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let mut report = Report::new(batch.len());
        if !self.arrives(gate).await {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut world = lock(&self.world);
        for (index, outgoing) in batch.iter().enumerate() {
            if world.shop.out.contains(&outgoing.id) {
                let found = format!("{} is read while its request is out", outgoing.id);
                world.wrong(Class::Unexplained, found);
            }
            let dark = world.faults && world.chance(20);
            let status = Answer {
                status: Some(200),
                ..Answer::default()
            };
            report.set(
                index,
                if dark {
                    Outcome::unknown("nobody answers")
                } else if world.received.has(outgoing) {
                    Outcome::Applied(status)
                } else {
                    Outcome::Retry {
                        after: None,
                        cause: "it is not there".to_owned(),
                        answer: status,
                    }
                },
            );
        }
        report
    }
}

impl SimDestination {
    /// One request; false = the agent's own limits left it no room.
    async fn arrives(&self, gate: &dyn Gate) -> bool {
        if !gate.pass(0, TIMEOUT / 10).await {
            return false;
        }
        let now = Instant::now();
        let mut world = lock(&self.world);
        world.shop.requests += 1;
        world.shop.came.push_back(now);
        while world
            .shop
            .came
            .front()
            .is_some_and(|at| *at + RATE.per <= now)
        {
            world.shop.came.pop_front();
        }
        let inside = world.shop.came.len();
        if inside > RATE.requests as usize {
            let found = format!("{inside} requests came within a second");
            world.wrong(Class::Unexplained, found);
        }
        if world.shop.not_before.is_some_and(|until| now < until) {
            let found = "a request came before the time that the API had said".to_owned();
            world.wrong(Class::Unexplained, found);
        }
        let requests = world.shop.requests;
        world.note(&format!("request {requests}"));
        true
    }

    fn take_for_later(&self, batch: &[Outgoing]) -> Report {
        let mut report = Report::new(batch.len());
        for (index, outgoing) in batch.iter().enumerate() {
            let (ticket, lost, pause) = {
                let mut world = lock(&self.world);
                let ticket = format!("job {}", world.shop.tickets.len());
                world.shop.tickets.insert(ticket.clone(), Later::Waits);
                let pause = world.rng.random_range(0..LATER_MAX);
                (ticket, world.chance(15), Duration::from_millis(pause))
            };
            let (world, outgoing, job) =
                (Arc::clone(&self.world), outgoing.clone(), ticket.clone());
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let mut world = lock(&world);
                let became = if lost {
                    Later::Lost
                } else {
                    world.takes(&outgoing);
                    Later::Done
                };
                world.shop.tickets.insert(job, became);
            });
            let answer = Answer::default();
            report.set(index, Outcome::Accepted { ticket, answer });
        }
        report
    }

    /// What an event is about was told before it, or was not on its way when it came.
    fn nothing_is_passed_over(&self, batch: &[Outgoing]) {
        let mut world = lock(&self.world);
        for outgoing in batch {
            let stock = outgoing.event_type == EventType::InventoryAvailability;
            if !stock || outgoing.op == EventOp::Delete {
                continue;
            }
            let product = outgoing.key.rsplit_once('|').unwrap().0;
            let held = world.received.state.get(product);
            if held.is_some_and(|(_, body)| body.is_some()) {
                continue;
            }
            let passed: bool = world
                .file()
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM published p JOIN delivery d ON d.lane = p.id
                       WHERE p.event_type = 'product.v1' AND p.key = ?1 AND d.offset < ?2
                         AND d.tombstone = 0
                         AND d.destination = (SELECT id FROM destination WHERE name = 'shop')
                         AND d.state NOT IN ('delivered', 'superseded', 'discarded'))",
                )
                .unwrap()
                .query_row(rusqlite::params![product, outgoing.offset], |row| {
                    row.get(0)
                })
                .unwrap();
            if passed {
                let found = format!("{} was sent before its product", outgoing.key);
                world.wrong(Class::Reordered, found);
            }
        }
    }

    /// What it says to whatever comes while it is in such a mood.
    async fn refuses(
        &self,
        mood: Option<Mood>,
        batch: &[Outgoing],
        gate: &dyn Gate,
    ) -> Option<Report> {
        let status = match mood? {
            Mood::Throttles => 429,
            Mood::Expired => 401,
            Mood::Down => 503,
            Mood::Slow => return None,
        };
        let pause = lock(&self.world).rng.random_range(0..200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut after = None;
        if status == 429 {
            let mut world = lock(&self.world);
            let wait = Duration::from_millis(world.rng.random_range(100..3_000));
            after = Some(wait);
            gate.heard(&Allowance {
                throttled: true,
                wait: after,
                ..Allowance::default()
            });
            let until = Instant::now() + wait;
            let known = world.shop.not_before.unwrap_or(until);
            world.shop.not_before = Some(known.max(until));
        }
        let retry = Outcome::Retry {
            after,
            cause: "simulated".to_owned(),
            answer: Answer {
                status: Some(status),
                ..Answer::default()
            },
        };
        Some(Report::all(batch.len(), &retry))
    }
}

impl Shop {
    /// An agent starts that may know nothing of what the last one heard.
    pub fn starts(&mut self) {
        self.came.clear();
        self.not_before = None;
    }

    fn mood(&mut self) -> Option<Mood> {
        self.mood.take_if(|(_, until)| *until <= Instant::now());
        self.mood.map(|(mood, _)| mood)
    }
}

impl World {
    fn takes(&mut self, outgoing: &Outgoing) {
        let wrongs = self.received.take(outgoing);
        self.note(&format!("arrived {} {}", outgoing.key, outgoing.id));
        for (class, text) in wrongs {
            self.wrong(class, text);
        }
    }
}
