//! Requests of a batch that change something.

use std::collections::BTreeMap;

use contract::{Answer, Outcome};
use serde_json::Value as Json;

use super::answered::Answered;
use super::formula::Scope;
use super::model::{Delete, ItemReport, Others, ReportBy, Send};
use super::prepared::Prepared;
use super::rules::{Asks, Match, Meaning, Verdict, judge, judge_part, plain};
use super::run::{Heard, Run, Waiting, Which, Work};
use super::template::Render;

impl Run<'_> {
    /// Makes the next request of a step, and leaves the rest for later.
    pub(super) fn send(&mut self, work: &Work, send: &Send) {
        let (mut takes, mut passes) = (Vec::new(), Vec::new());
        for n in work.members.clone() {
            let is_for = send
                .when
                .as_ref()
                .map_or(Ok(true), |when| when.truth(&self.scope(n, 0, &[])));
            match is_for {
                Ok(true) => takes.push(n),
                Ok(false) => passes.push(n),
                Err(reason) => self.refuse(n, format!("when: {reason}")),
            }
        }
        if !passes.is_empty() {
            self.work.push(Work {
                step: work.step + 1,
                members: passes,
                ..work.clone()
            });
        }
        let room = if send.items || send.group.is_some() {
            self.channel
                .handling(work.event_type)
                .map_or(1, |handling| handling.batch)
                .min(send.most.unwrap_or(usize::MAX))
        } else {
            1
        };
        let mut rest = takes.split_off(room.min(takes.len()));
        if let Some(group) = &send.group {
            let of = |run: &Self, n: usize| group.text(&run.scope(n, 0, &[]));
            let first = takes.first().map(|n| of(self, *n));
            let apart: Vec<usize> = takes
                .iter()
                .copied()
                .filter(|n| Some(of(self, *n)) != first)
                .collect();
            takes.retain(|n| !apart.contains(n));
            rest.splice(0..0, apart);
        }
        if !rest.is_empty() {
            self.work.push(Work {
                members: rest,
                ..work.clone()
            });
        }
        if takes.is_empty() {
            return;
        }
        let too_large = |prepared: &Prepared| {
            let bytes = prepared.body.as_ref().map_or(0, Vec::len);
            takes.len() > 1 && bytes > self.channel.bytes
        };
        match self.prepared(send, &takes) {
            // The second half would be put over the first.
            Ok(prepared) if too_large(&prepared) && prepared.away => {
                for n in takes {
                    self.refuse(n, "the document is larger than `limits.bytes`".to_owned());
                }
            }
            Ok(prepared) if too_large(&prepared) => self.halve(work, takes),
            Ok(prepared) => {
                let work = Work {
                    members: takes.clone(),
                    ..work.clone()
                };
                self.waiting = Some(Waiting {
                    work,
                    asked: takes,
                    prepared,
                    logged_in: !self.channel.logs_in(),
                    question: 0,
                });
            }
            // One of them has no request: which one, each alone says.
            Err(_) if takes.len() > 1 => {
                takes.retain(|n| match self.prepared(send, &[*n]) {
                    Ok(_) => true,
                    Err(reason) => {
                        self.refuse(*n, reason);
                        false
                    }
                });
                self.work.push(Work {
                    members: takes,
                    ..work.clone()
                });
            }
            Err(reason) => {
                for n in takes {
                    self.refuse(n, reason.clone());
                }
            }
        }
    }

    fn prepared(&self, send: &Send, members: &[usize]) -> Result<Prepared, String> {
        // The same request has the same key at every attempt; after a conflict it is another request.
        let mut parts: Vec<String> = Vec::with_capacity(members.len());
        for n in members {
            let Some(member) = self.members.get(*n) else {
                continue;
            };
            let seen = &member.seen;
            let own = seen
                .event_type
                .repetition_key(&seen.id, &seen.idempotency_key);
            parts.push(match member.tries {
                0 => own.to_owned(),
                tries => format!("{own}/c{tries}"),
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let key = match parts.as_slice() {
            [one] if !one.contains('/') => (*one).to_owned(),
            all => format!("req_{}", contract::event::digest(all)),
        };
        let given = [("request_key", key.as_str())];
        let scopes: Vec<Scope<'_>> = members
            .iter()
            .enumerate()
            .map(|(index, n)| self.scope(*n, index, &given))
            .collect();
        let scope = scopes.first().copied().unwrap_or_default();
        send.request.prepare(
            self.channel,
            &Render {
                scope,
                members: &scopes,
                keys: &[],
            },
        )
    }

    /// Both halves, the first one first.
    pub(super) fn halve(&mut self, work: &Work, mut members: Vec<usize>) {
        let second = members.split_off(members.len() / 2);
        self.work.push(Work {
            members: second,
            ..work.clone()
        });
        self.work.push(Work {
            members,
            ..work.clone()
        });
    }

    /// What the answer to a request says.
    pub(super) fn sent(&mut self, waiting: &Waiting, send: &Send, answered: &Answered) -> Heard {
        let any = [Match::default()];
        let listed = send
            .report
            .as_ref()
            .and_then(|report| report.list.list(answered));
        // A report that lists each event says by itself that the request was taken.
        let by_report = send.done.is_empty() && listed.is_some();
        let done: &[Match] = if by_report { &any } else { &send.done };
        let verdict = judge(
            answered,
            &[&send.answers, &self.channel.answers],
            done,
            if self.safe() {
                Asks::Writes
            } else {
                Asks::WritesOnce
            },
        );
        let work = &waiting.work;
        if verdict.means == Meaning::Login && !waiting.logged_in {
            return Heard::Login;
        }
        if verdict.halve && waiting.asked.len() > 1 && !waiting.prepared.away {
            // Refused as a whole, so surely not applied.
            self.halve(work, waiting.asked.clone());
            return Heard::Understood;
        }
        match (verdict.means, &send.report) {
            (Meaning::Done, Some(report)) => {
                self.report(waiting, send, report, &listed.unwrap_or_default(), answered);
            }
            (Meaning::Done, None) => {
                for n in waiting.asked.clone() {
                    self.done(n, work, send, answered, answered.answer());
                }
                self.go_on(work);
            }
            _ => {
                for n in waiting.asked.clone() {
                    self.not_done(n, work, &verdict, answered.answer());
                }
            }
        }
        Heard::Understood
    }

    /// The request's effect is there for this event.
    fn done(&mut self, n: usize, work: &Work, send: &Send, answered: &Answered, answer: Answer) {
        let ticket = send
            .accepted
            .as_ref()
            .map(|accepted| accepted.ticket.of(answered).map(|json| plain(&json)));
        match ticket {
            Some(Some(ticket)) => self.end(
                n,
                Outcome::Accepted {
                    ticket: format!("{}:{ticket}", work.step),
                    answer,
                },
            ),
            Some(None) => self.end_by(
                n,
                Meaning::Unknown,
                "the API took it, but gave nothing to ask by".to_owned(),
                None,
                answer,
            ),
            None => {
                let Some(member) = self.members.get_mut(n) else {
                    return;
                };
                for (name, path) in &send.take {
                    member
                        .found
                        .insert(name.clone(), path.of(answered).unwrap_or_default());
                }
                member.changed = true;
                member.answer = answer;
            }
        }
    }

    fn go_on(&mut self, work: &Work) {
        self.work.push(Work {
            step: work.step + 1,
            ..work.clone()
        });
    }

    fn not_done(&mut self, n: usize, work: &Work, verdict: &Verdict, answer: Answer) {
        let handling = self.channel.handling(work.event_type);
        let conflict = handling.and_then(|handling| handling.conflict);
        let own = work.which == Which::Delete
            && handling.is_some_and(|handling| matches!(handling.delete, Delete::Steps(_)));
        if let (Meaning::Conflict, Some(conflict), Some(member)) =
            (verdict.means, conflict, self.members.get_mut(n))
            && member.tries < conflict.tries
        {
            member.tries += 1;
            member.resolved = None;
            for place in member.places.drain(..) {
                self.cache.forget(&place);
            }
            self.work.push(Work {
                step: if own {
                    conflict.from_of_delete
                } else {
                    conflict.from
                },
                members: vec![n],
                ..work.clone()
            });
            return;
        }
        self.end_as(n, verdict, answer);
    }

    /// An answer that says of each event what became of it.
    fn report(
        &mut self,
        waiting: &Waiting,
        send: &Send,
        report: &ItemReport,
        listed: &[Json],
        answered: &Answered,
    ) {
        let work = &waiting.work;
        let verdicts = self.verdicts(&waiting.asked, report, listed, answered);
        let failed = verdicts
            .values()
            .any(|(verdict, _)| verdict.means != Meaning::Done);
        let mut again = Vec::new();
        for n in &waiting.asked {
            match verdicts.get(n) {
                Some((verdict, answer)) if verdict.means == Meaning::Done => {
                    if report.atomic && failed {
                        again.push(*n);
                    } else {
                        self.done(*n, work, send, answered, answer.clone());
                    }
                }
                Some((verdict, answer)) => self.not_done(*n, work, verdict, answer.clone()),
                None => match report.others {
                    Others::Done => self.done(*n, work, send, answered, answered.answer()),
                    Others::Again if failed => again.push(*n),
                    // Nothing is listed as failed.
                    Others::Again if listed.is_empty() => {
                        self.done(*n, work, send, answered, answered.answer());
                    }
                    Others::Again | Others::Unknown if report.atomic && failed => again.push(*n),
                    Others::Again | Others::Unknown => {
                        let cause = "the answer does not say what became of this item".to_owned();
                        self.end_by(*n, Meaning::Unknown, cause, None, answered.answer());
                    }
                },
            }
        }
        let on: Vec<usize> = waiting
            .asked
            .iter()
            .copied()
            .filter(|n| self.is_open(*n) && !again.contains(n))
            .collect();
        // Those that begin again after a conflict stand in the work already.
        let queued: Vec<usize> = self
            .work
            .iter()
            .flat_map(|work| work.members.clone())
            .collect();
        let on: Vec<usize> = on.into_iter().filter(|n| !queued.contains(n)).collect();
        if !again.is_empty() {
            self.work.push(Work {
                members: again,
                ..work.clone()
            });
        }
        if !on.is_empty() {
            self.go_on(&Work {
                members: on,
                ..work.clone()
            });
        }
    }

    pub(super) fn verdicts(
        &self,
        asked: &[usize],
        report: &ItemReport,
        listed: &[Json],
        answered: &Answered,
    ) -> BTreeMap<usize, (Verdict, Answer)> {
        let mut verdicts: BTreeMap<usize, (Verdict, Answer)> = BTreeMap::new();
        // A failure that names none of the events.
        let mut nobody = None;
        for (place, entry) in listed.iter().enumerate() {
            let about: Vec<usize> = match &report.by {
                ReportBy::Position => asked.get(place).copied().into_iter().collect(),
                ReportBy::Index(path) => {
                    let index = path
                        .within(entry)
                        .and_then(|json| plain(json).parse::<usize>().ok());
                    index
                        .and_then(|index| asked.get(index))
                        .copied()
                        .into_iter()
                        .collect()
                }
                ReportBy::Id(path, is) => {
                    let id = path.within(entry).map(plain);
                    let same = |(index, n): &(usize, &usize)| {
                        let own = is.text(&self.scope(**n, *index, &[])).ok().flatten();
                        own.is_some() && own == id
                    };
                    asked
                        .iter()
                        .enumerate()
                        .filter(same)
                        .map(|(_, n)| *n)
                        .collect()
                }
            };
            let verdict = judge_part(answered, entry, &report.answers, &report.done);
            let names = match &report.by {
                ReportBy::Position => true,
                ReportBy::Index(path) | ReportBy::Id(path, _) => path.within(entry).is_some(),
            };
            if !names && verdict.means != Meaning::Done && nobody.is_none() {
                nobody = Some((verdict.clone(), answered.about(entry)));
            }
            for n in about {
                let known = verdicts
                    .get(&n)
                    .is_some_and(|(known, _)| known.means != Meaning::Done);
                if !known {
                    verdicts.insert(n, (verdict.clone(), answered.about(entry)));
                }
            }
        }
        // Whoever is not listed would be done: then it is theirs.
        if let (Some(nobody), Others::Done) = (nobody, report.others) {
            for n in asked {
                verdicts.entry(*n).or_insert_with(|| nobody.clone());
            }
        }
        verdicts
    }
}
