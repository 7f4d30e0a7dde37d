//! Questions about what an API took for later.

use contract::{Answer, Outcome};
use serde_json::Value as Json;

use super::answered::Answered;
use super::model::{Accepted, Others, Question, Step};
use super::rules::{Asks, Match, Meaning, Verdict, judge};
use super::run::{Heard, Run, Waiting, Work};
use super::template::Render;

impl<'c> Run<'c> {
    /// Asks what became of it.
    pub(super) fn ask(&mut self, work: Work) {
        if let Some(accepted) = self.accepted(&work) {
            self.question(work, accepted, 0);
            return;
        }
        let cause = "the ticket is of a step that the channel does not have any more";
        for n in work.members {
            self.end(n, Outcome::unknown(cause));
        }
    }

    fn accepted(&self, work: &Work) -> Option<&'c Accepted> {
        let steps = self.channel.steps(work.event_type, work.which);
        match steps.get(work.step)? {
            Step::Send(send) => send.accepted.as_ref(),
            Step::Find(_) | Step::Hold(_) => None,
        }
    }

    /// One of the questions, with what the ones before it found.
    fn question(&mut self, work: Work, accepted: &Accepted, question: usize) {
        let first = work.members.first().copied().unwrap_or_default();
        let ticket = self
            .members
            .get(first)
            .and_then(|member| member.ticket.clone())
            .unwrap_or_default();
        let given = [(
            "ticket",
            ticket.split_once(':').map_or("", |(_, ticket)| ticket),
        )];
        let render = Render {
            scope: self.scope(first, 0, &given),
            members: &[],
            keys: &[],
        };
        let Some(asking) = accepted.questions.get(question) else {
            return;
        };
        match asking.request.prepare(self.channel, &render) {
            Ok(prepared) => {
                let asked = work.members.clone();
                self.waiting = Some(Waiting {
                    work,
                    asked,
                    prepared,
                    logged_in: !self.channel.logs_in(),
                    question,
                });
            }
            Err(reason) => {
                for n in work.members {
                    self.end(n, Outcome::unknown(reason.clone()));
                }
            }
        }
    }

    /// What the answer to a question says.
    pub(super) fn followed(&mut self, waiting: &Waiting, answered: &Answered) -> Heard {
        let Some(accepted) = self.accepted(&waiting.work) else {
            return Heard::Understood;
        };
        let Some(asking) = accepted.questions.get(waiting.question) else {
            return Heard::Understood;
        };
        let any = [Match::default()];
        let still = answered.is_success() && asking.waiting.iter().any(|one| one.answer(answered));
        let listed = asking
            .report
            .as_ref()
            .and_then(|report| report.list.list(answered));
        let done: &[Match] = if asking.done.is_empty() && listed.is_some() {
            &any
        } else {
            &asking.done
        };
        let verdict = judge(
            answered,
            &[&asking.answers, &self.channel.answers],
            done,
            Asks::Reads,
        );
        if verdict.means == Meaning::Login && !waiting.logged_in {
            return Heard::Login;
        }
        let next = waiting.question + 1;
        if verdict.means == Meaning::Done && !still && next < accepted.questions.len() {
            self.learn(waiting, asking, answered);
            self.question(waiting.work.clone(), accepted, next);
            return Heard::Understood;
        }
        self.conclude(
            waiting,
            asking,
            answered,
            &verdict,
            listed.as_deref(),
            still,
        );
        Heard::Understood
    }

    /// Gives names to what an answer holds, for the questions behind it.
    fn learn(&mut self, waiting: &Waiting, asking: &Question, answered: &Answered) {
        for n in &waiting.asked {
            let Some(member) = self.members.get_mut(*n) else {
                continue;
            };
            for (name, path) in &asking.take {
                let value = path.of(answered).unwrap_or_default();
                member.found.insert(name.clone(), value);
            }
        }
    }

    fn conclude(
        &mut self,
        waiting: &Waiting,
        asking: &Question,
        answered: &Answered,
        verdict: &Verdict,
        listed: Option<&[Json]>,
        still: bool,
    ) {
        // A list that is not there tells of nobody, as an empty one does.
        let listed = listed.unwrap_or_default();
        let verdicts = match (verdict.means, &asking.report) {
            (Meaning::Done, Some(report)) if !still => {
                Some(self.verdicts(&waiting.asked, report, listed, answered))
            }
            _ => None,
        };
        let failed = verdicts
            .iter()
            .flatten()
            .any(|(_, (verdict, _))| verdict.means != Meaning::Done);
        let undone = failed && asking.report.as_ref().is_some_and(|report| report.atomic);
        for n in waiting.asked.clone() {
            let about = verdicts.as_ref().map(|verdicts| verdicts.get(&n).cloned());
            match (about, verdict.means) {
                _ if still => self.still_waiting(n, answered.answer()),
                (Some(Some((one, answer))), _) if undone && one.means == Meaning::Done => {
                    self.unknown(n, "one that failed undid it with all others", answer);
                }
                (Some(Some((one, answer))), _) => self.reported(n, &one, answer),
                (Some(None), _) => match asking.report.as_ref().map(|report| report.others) {
                    Some(Others::Again) if failed => {
                        let why = "nothing was done, because of what the API's report lists";
                        self.unknown(n, why, answered.answer());
                    }
                    Some(Others::Done | Others::Again) => {
                        self.end(n, Outcome::Applied(answered.answer()));
                    }
                    _ => self.unknown(n, "the API's report does not tell of it", answered.answer()),
                },
                (None, Meaning::Done | Meaning::Rejected | Meaning::Conflict) => {
                    self.end_as(n, verdict, answered.answer());
                }
                // The API does not know the ticket any more, or says what nobody understands.
                (None, Meaning::Missing | Meaning::Unknown) => {
                    self.unknown(n, &verdict.cause, answered.answer());
                }
                (None, Meaning::Retry | Meaning::Throttled | Meaning::Login) => {
                    self.still_waiting(n, answered.answer());
                }
            }
        }
    }

    /// What a finished report says of an event. What may be tried again is not asked about again, for the ticket
    /// brings the same report each time: it is in doubt, so that it is sent again where that is safe.
    fn reported(&mut self, n: usize, verdict: &Verdict, answer: Answer) {
        match verdict.means {
            Meaning::Retry | Meaning::Throttled | Meaning::Login => {
                self.unknown(n, &verdict.cause, answer);
            }
            _ => self.end_as(n, verdict, answer),
        }
    }

    fn unknown(&mut self, n: usize, cause: &str, answer: Answer) {
        self.end_by(n, Meaning::Unknown, cause.to_owned(), None, answer);
    }
}
