//! A batch of events on its way through a channel: which request comes next, and what its answer
//! means for each event. Pure: whoever runs it sends the requests and tells what came.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::destination::{Compared, Resend};
use contract::{Allowance, Answer, EventType, Outcome, Points};
use serde_json::Value as Json;

use super::answered::{Answered, Came};
use super::cache::Cache;
use super::formula::{Formula, Scope, Seen};
use super::model::{Channel, Delete, Handling, Hold, Step};
use super::prepared::Prepared;
use super::rules::{Asks, Meaning, Verdict, plain};
use super::skus::Skus;

/// Why events are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To write them.
    Deliver,
    /// To see whether they were written.
    Verify,
    /// To see what the API holds beside them.
    Compare,
}

/// What to do next.
#[derive(Debug)]
pub enum Next<'r> {
    /// Send this, and say what came.
    Send(&'r Prepared),
    /// All is known.
    Done,
}

/// What was made of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Go on.
    Understood,
    /// The API does not know us any more: log in anew; the same request comes again.
    Login,
}

/// Which of a type's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Write,
    Delete,
    Read,
}

/// Events that stand before the same step.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) event_type: EventType,
    pub(super) which: Which,
    pub(super) step: usize,
    pub(super) members: Vec<usize>,
}

pub(super) struct Member {
    pub(super) seen: Seen,
    pub(super) found: BTreeMap<String, Json>,
    pub(super) outcome: Option<Outcome>,
    pub(super) compared: Option<Compared>,
    /// The last step that looked something up for it.
    pub(super) resolved: Option<usize>,
    /// What it looked up, to be forgotten when it turns out wrong.
    pub(super) places: Vec<(EventType, String, String)>,
    /// Something was changed for it already.
    pub(super) changed: bool,
    pub(super) tries: u32,
    pub(super) answer: Answer,
    pub(super) ticket: Option<String>,
    /// A request about it was sent.
    pub(super) asked: bool,
}

/// A request that is out.
pub(super) struct Waiting {
    pub(super) work: Work,
    /// Those the request is about.
    pub(super) asked: Vec<usize>,
    pub(super) prepared: Prepared,
    pub(super) logged_in: bool,
    /// Which question it is about what was taken for later.
    pub(super) question: usize,
}

/// Events on their way.
pub struct Run<'c> {
    pub(super) channel: &'c Channel,
    pub(super) cache: &'c Cache,
    pub(super) purpose: Purpose,
    pub(super) now: Duration,
    pub(super) members: Vec<Member>,
    pub(super) work: Vec<Work>,
    pub(super) waiting: Option<Waiting>,
    pub(super) following: bool,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run({} events)", self.members.len())
    }
}

impl Channel {
    /// The address that paths are put behind.
    pub fn base(&self) -> String {
        self.url
            .text(&Scope::default())
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// With items whose SKU is another one there.
    #[must_use]
    pub fn with_skus(mut self, skus: Skus) -> Self {
        self.skus = skus;
        self
    }

    /// Most events in one request, over all types.
    pub fn batch(&self) -> usize {
        self.events
            .values()
            .map(|handling| handling.batch)
            .max()
            .unwrap_or(1)
    }

    /// Whether it takes events of a type.
    pub fn takes(&self, event_type: EventType) -> bool {
        self.events.contains_key(&event_type)
    }

    /// The texts that are secrets among its settings.
    pub fn secrets(&self) -> Vec<String> {
        self.answers_given.secrets()
    }

    /// What an answer's body says of limits.
    pub fn allowance(&self, answered: &Answered) -> Allowance {
        let number = |path: &Option<super::path::Path>| {
            let found: contract::Decimal = plain(&path.as_ref()?.of(answered)?).parse().ok()?;
            found.floor().to_string().parse::<u32>().ok()
        };
        let (max, back) = (number(&self.points.max), number(&self.points.per_second));
        let points = max
            .zip(back)
            .map(|(max, per_second)| Points { max, per_second });
        let throttled = super::rules::judge(answered, &[&self.answers], &[], Asks::Reads).means
            == Meaning::Throttled;
        Allowance {
            throttled,
            points_left: number(&self.points.left),
            points,
            ..Allowance::default()
        }
    }

    pub(super) fn steps(&self, event_type: EventType, which: Which) -> &[Step] {
        let Some(handling) = self.events.get(&event_type) else {
            return &[];
        };
        match (which, &handling.delete, &handling.read) {
            (Which::Read, _, Some(read)) => &read.steps,
            (Which::Read, _, None) => &[],
            (Which::Delete, Delete::Steps(steps), _) => steps,
            _ => &handling.steps,
        }
    }

    pub(super) fn handling(&self, event_type: EventType) -> Option<&Handling> {
        self.events.get(&event_type)
    }
}

impl Run<'_> {
    /// The next request.
    pub fn request(&mut self) -> Next<'_> {
        while self.waiting.is_none() {
            let Some(mut work) = self.work.pop() else {
                break;
            };
            work.members.retain(|n| self.is_open(*n));
            if work.members.is_empty() {
                continue;
            }
            if self.following {
                self.ask(work);
                continue;
            }
            let channel = self.channel;
            match channel.steps(work.event_type, work.which).get(work.step) {
                None => self.finish(&work),
                Some(Step::Find(find)) => self.find(work, find),
                Some(Step::Send(send)) => self.send(&work, send),
                Some(Step::Hold(hold)) => self.hold(work, hold),
            }
        }
        match &self.waiting {
            Some(waiting) => Next::Send(&waiting.prepared),
            None => Next::Done,
        }
    }

    /// Goes no further with those that a file has a reason to hold.
    fn hold(&mut self, mut work: Work, hold: &Hold) {
        for n in &work.members {
            let test = |when: &Formula| when.truth(&self.scope(*n, 0, &[]));
            match hold.when.as_ref().map_or(Ok(true), test) {
                Ok(false) => {}
                Ok(true) => self.refuse(*n, hold.says.clone()),
                Err(reason) => self.refuse(*n, format!("when: {reason}")),
            }
        }
        work.step += 1;
        self.work.push(work);
    }

    /// The events that the newest request is about, by their places in the batch.
    pub fn about(&self) -> &[usize] {
        self.waiting
            .as_ref()
            .map_or(&[][..], |waiting| &waiting.asked)
    }

    /// What came of that request.
    pub fn came(&mut self, came: &Came) -> Heard {
        let Some(mut waiting) = self.waiting.take() else {
            return Heard::Understood;
        };
        if !matches!(came, Came::NotSent(_)) {
            for n in &waiting.asked {
                if let Some(member) = self.members.get_mut(*n) {
                    member.asked = true;
                }
            }
        }
        let channel = self.channel;
        let step = channel
            .steps(waiting.work.event_type, waiting.work.which)
            .get(waiting.work.step);
        let again = match (step, came) {
            (Some(Step::Send(_)), Came::Answer(answered)) if self.following => {
                self.followed(&waiting, answered)
            }
            (Some(Step::Find(find)), Came::Answer(answered)) => {
                self.found(&waiting, find, answered)
            }
            (Some(Step::Send(send)), Came::Answer(answered)) => self.sent(&waiting, send, answered),
            (step, came) => {
                self.nothing_came(
                    &waiting,
                    matches!(step, Some(Step::Send(_))) && !self.following,
                    came,
                );
                Heard::Understood
            }
        };
        if again == Heard::Login && !waiting.logged_in {
            waiting.logged_in = true;
            self.waiting = Some(waiting);
            return Heard::Login;
        }
        Heard::Understood
    }

    /// Nothing more can be sent: what is open was not.
    pub fn stop(&mut self, cause: &str) {
        self.waiting = None;
        self.work.clear();
        for n in 0..self.members.len() {
            if self.is_open(n) && self.following {
                self.still_waiting(n, Answer::default());
            } else if self.is_open(n) {
                self.end_by(n, Meaning::Retry, cause.to_owned(), None, Answer::default());
            }
        }
    }

    /// What became of each event, in order.
    pub fn outcomes(self) -> Vec<Outcome> {
        let forgotten = || Outcome::unknown("the channel came to no outcome");
        self.members
            .into_iter()
            .map(|member| member.outcome.unwrap_or_else(forgotten))
            .collect()
    }

    pub(super) fn is_open(&self, n: usize) -> bool {
        self.members
            .get(n)
            .is_some_and(|member| member.outcome.is_none() && member.compared.is_none())
    }

    pub(super) fn scope<'s>(
        &'s self,
        n: usize,
        index: usize,
        given: &'s [(&'static str, &'s str)],
    ) -> Scope<'s> {
        let member = self.members.get(n);
        Scope {
            event: member.map(|one| &one.seen),
            found: member.map(|one| &one.found),
            item: None,
            index,
            given,
        }
    }

    /// Whatever a repeated request would do, it was not done by this one.
    pub(super) fn safe(&self) -> bool {
        self.channel.resend == Resend::Safe
    }

    fn finish(&mut self, work: &Work) {
        for n in work.members.clone() {
            if work.which == Which::Read {
                self.compare(n);
            } else if let Some(member) = self.members.get_mut(n) {
                let answer = std::mem::take(&mut member.answer);
                self.end(n, Outcome::Applied(answer));
            }
        }
    }

    pub(super) fn nothing_to_do(&mut self, n: usize, why: &str) {
        if self.purpose == Purpose::Deliver {
            self.end(
                n,
                Outcome::Applied(Answer {
                    body: format!("nothing was sent: {why}"),
                    ..Answer::default()
                }),
            );
        } else {
            self.read_as(n, Compared::Same);
        }
    }

    pub(super) fn refuse(&mut self, n: usize, cause: String) {
        self.end_by(n, Meaning::Rejected, cause, None, Answer::default());
    }

    pub(super) fn end_as(&mut self, n: usize, verdict: &Verdict, answer: Answer) {
        self.end_by(
            n,
            verdict.means,
            verdict.cause.clone(),
            verdict.after,
            answer,
        );
    }

    pub(super) fn end_by(
        &mut self,
        n: usize,
        means: Meaning,
        cause: String,
        after: Option<Duration>,
        answer: Answer,
    ) {
        let Some(member) = self.members.get(n) else {
            return;
        };
        let half_done = member.changed && !self.safe();
        // Reading back that came to nothing says nothing of what was written, least of all that it was not. What
        // is refused before anything was asked is what a person must look at.
        let unread =
            self.purpose == Purpose::Verify && (means != Meaning::Rejected || member.asked);
        let outcome = match means {
            Meaning::Done => Outcome::Applied(answer),
            _ if unread => Outcome::Unknown {
                cause: format!("it could not be read back: {cause}"),
                answer: Some(answer),
            },
            // A step before it was done, and doing that again is not the same as once.
            Meaning::Retry | Meaning::Throttled | Meaning::Login if half_done => Outcome::Unknown {
                cause: format!("some of it was done: {cause}"),
                answer: Some(answer),
            },
            Meaning::Retry | Meaning::Throttled | Meaning::Login => Outcome::Retry {
                after,
                cause,
                answer,
            },
            Meaning::Rejected => Outcome::Rejected { cause, answer },
            Meaning::Conflict => Outcome::Conflict { cause, answer },
            Meaning::Missing => Outcome::Missing { cause, answer },
            Meaning::Unknown => Outcome::Unknown {
                cause,
                answer: Some(answer),
            },
        };
        self.end(n, outcome);
    }

    pub(super) fn end(&mut self, n: usize, outcome: Outcome) {
        let Some(member) = self.members.get_mut(n) else {
            return;
        };
        // What was found may be why it was refused. Where the API had no time it is what the next call begins with:
        // a batch with more look-ups than fit into one call would get nowhere without it.
        if matches!(
            outcome,
            Outcome::Rejected { .. } | Outcome::Missing { .. } | Outcome::Conflict { .. }
        ) {
            for place in &member.places {
                self.cache.forget(place);
            }
        }
        member.outcome = Some(outcome);
    }

    /// No answer: not sent, or lost.
    fn nothing_came(&mut self, waiting: &Waiting, wrote: bool, came: &Came) {
        for n in &waiting.asked {
            match came {
                Came::Lost(cause) if wrote => {
                    self.end_by(*n, Meaning::Unknown, cause.clone(), None, Answer::default());
                }
                Came::Lost(cause) | Came::NotSent(cause) if !self.following => {
                    self.end_by(*n, Meaning::Retry, cause.clone(), None, Answer::default());
                }
                _ => self.still_waiting(*n, Answer::default()),
            }
        }
        // The others may have what they need.
        self.work.push(waiting.work.clone());
    }

    pub(super) fn still_waiting(&mut self, n: usize, answer: Answer) {
        let ticket = self
            .members
            .get(n)
            .and_then(|member| member.ticket.clone())
            .unwrap_or_default();
        self.end(n, Outcome::Accepted { ticket, answer });
    }
}
