//! What became of each event of a batch, as far as is known when the connection breaks off.

use std::time::Instant;

use contract::destination::ANSWER_BODY_BYTES_MAX;
use contract::{Answer, Outcome, Report};

#[derive(Debug, Clone)]
enum Fate {
    /// Not a byte of it has left.
    Here,
    /// It may have arrived.
    Out,
    Known(Outcome),
}

/// One fate per event of a batch.
#[derive(Debug)]
pub struct Fates {
    fates: Vec<Fate>,
    began: Instant,
}

impl Fates {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            fates: vec![Fate::Here; len],
            began: Instant::now(),
        }
    }

    fn set(&mut self, index: usize, fate: Fate) {
        if let Some(place) = self.fates.get_mut(index) {
            *place = fate;
        }
    }

    /// From now on the event may have arrived. Say so before its first byte leaves.
    pub fn out(&mut self, index: usize) {
        self.set(index, Fate::Out);
    }

    /// Its outcome is known.
    pub fn known(&mut self, index: usize, outcome: Outcome) {
        self.set(index, Fate::Known(outcome));
    }

    /// The broker has it; `said` is how to find it there.
    pub fn applied(&mut self, index: usize, said: impl Into<String>) {
        let answer = self.answer(said);
        self.known(index, Outcome::Applied(answer));
    }

    /// The broker refused it because of what it is.
    pub fn rejected(&mut self, index: usize, cause: impl Into<String>) {
        let cause = cause.into();
        let answer = self.answer(cause.clone());
        self.known(index, Outcome::Rejected { cause, answer });
    }

    /// The broker surely does not have it, and may take it later.
    pub fn refused(&mut self, index: usize, cause: impl Into<String>) {
        let cause = cause.into();
        let answer = self.answer(cause.clone());
        let after = None;
        let outcome = Outcome::Retry {
            after,
            cause,
            answer,
        };
        self.known(index, outcome);
    }

    /// Whether nothing more is to be waited for.
    pub fn all_known(&self) -> bool {
        let known = |fate: &Fate| matches!(fate, Fate::Known(_));
        self.fates.iter().all(known)
    }

    fn answer(&self, said: impl Into<String>) -> Answer {
        let mut body = said.into();
        let mut end = ANSWER_BODY_BYTES_MAX.min(body.len());
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        body.truncate(end);
        Answer {
            status: None,
            body,
            latency_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The report, when nothing more will be heard for this cause.
    pub(crate) fn report(self, cause: &str) -> Report {
        let mut report = Report::new(self.fates.len());
        for (index, fate) in self.fates.into_iter().enumerate() {
            let outcome = match fate {
                Fate::Here => Outcome::not_sent(cause),
                Fate::Out => Outcome::unknown(cause),
                Fate::Known(outcome) => outcome,
            };
            report.set(index, outcome);
        }
        report
    }
}
