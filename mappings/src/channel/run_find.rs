//! Look-ups of a batch.

use std::collections::BTreeMap;

use contract::destination::Compared;
use contract::{Answer, EventOp};
use serde_json::Value as Json;

use super::answered::Answered;
use super::formula::Scope;
use super::model::{Find, IfMissing};
use super::rules::{Asks, Match, Meaning, Verdict, judge, plain};
use super::run::{Heard, Run, Waiting, Which, Work};
use super::template::Render;

impl Run<'_> {
    /// Looks up what is not known yet of the next events; when all is known they go on.
    pub(super) fn find(&mut self, work: Work, find: &Find) {
        let mut keys: Vec<String> = Vec::new();
        let mut asked: Vec<usize> = Vec::new();
        for n in work.members.clone() {
            if self
                .members
                .get(n)
                .is_none_or(|member| member.resolved == Some(work.step))
            {
                continue;
            }
            match self.key(n, &work, find) {
                Err(reason) => self.refuse(n, format!("find {}: {reason}", find.name)),
                Ok(Wanted::Nothing) => self.resolve(n, work.step),
                Ok(Wanted::Known(found)) => {
                    if let Some(member) = self.members.get_mut(n) {
                        member.found.extend(found);
                    }
                    self.resolve(n, work.step);
                }
                Ok(Wanted::Key(key)) => {
                    let same = keys.iter().any(|known| Some(known) == key.as_ref());
                    let room =
                        keys.len() < find.most && (find.is_many() || asked.is_empty() || same);
                    if same || room {
                        asked.push(n);
                    }
                    if let (true, false, Some(key)) = (room, same, key) {
                        keys.push(key);
                    }
                }
            }
        }
        let Some(first) = asked.first().copied() else {
            self.work.push(Work {
                step: work.step + 1,
                ..work
            });
            return;
        };
        let given = [("request_key", "")];
        let scope = if find.is_many() {
            Scope {
                given: &given,
                ..Scope::default()
            }
        } else {
            self.scope(first, 0, &given)
        };
        let render = Render {
            scope,
            members: &[],
            keys: &keys,
        };
        match find.request.prepare(self.channel, &render) {
            Ok(prepared) => {
                self.waiting = Some(Waiting {
                    work,
                    asked,
                    prepared,
                    logged_in: !self.channel.logs_in(),
                    question: 0,
                });
            }
            Err(reason) => {
                for n in asked {
                    self.refuse(n, format!("find {}: {reason}", find.name));
                }
                self.work.push(work);
            }
        }
    }

    fn key(&mut self, n: usize, work: &Work, find: &Find) -> Result<Wanted, String> {
        let scope = self.scope(n, 0, &[]);
        if let Some(when) = &find.when
            && !when.truth(&scope)?
        {
            return Ok(Wanted::Nothing);
        }
        let Some(by) = &find.by else {
            return Ok(Wanted::Key(None));
        };
        let Some(key) = by.text(&scope)? else {
            self.not_there(n, find, Answer::default());
            return Ok(Wanted::Nothing);
        };
        if find.cache.is_some() {
            let place = (work.event_type, find.name.clone(), key.clone());
            // Reading back must see what is there now.
            let known = if work.which == Which::Read {
                None
            } else {
                self.cache.get(&place, self.now)
            };
            if let Some(member) = self.members.get_mut(n) {
                member.places.push(place);
            }
            if let Some(found) = known {
                return Ok(Wanted::Known(found));
            }
        }
        Ok(Wanted::Key(Some(key)))
    }

    fn resolve(&mut self, n: usize, step: usize) {
        if let Some(member) = self.members.get_mut(n) {
            member.resolved = Some(step);
        }
    }

    /// What a look-up's answer says.
    pub(super) fn found(&mut self, waiting: &Waiting, find: &Find, answered: &Answered) -> Heard {
        let verdict = self.find_verdict(find, answered);
        if verdict.means == Meaning::Login && !waiting.logged_in {
            return Heard::Login;
        }
        if waiting.work.which == Which::Read {
            for n in &waiting.asked {
                if let Some(member) = self.members.get_mut(*n) {
                    member.answer = answered.answer();
                }
            }
        }
        let absent = verdict.means == Meaning::Missing;
        if verdict.means == Meaning::Done || (absent && !find.is_many()) {
            let listed = find
                .list
                .as_ref()
                .and_then(|list| list.list(answered))
                .unwrap_or_default();
            for n in waiting.asked.clone() {
                let entry = if absent {
                    Ok(None)
                } else {
                    self.entry(n, find, &listed, answered)
                };
                match entry {
                    Ok(Some(entry)) => self.take(n, find, &entry, answered, &waiting.work),
                    Ok(None) => {
                        self.not_there(n, find, answered.answer());
                        self.resolve(n, waiting.work.step);
                    }
                    Err(reason) => self.end_by(
                        n,
                        Meaning::Rejected,
                        format!("find {}: {reason}", find.name),
                        None,
                        answered.answer(),
                    ),
                }
            }
        } else if verdict.halve && find.is_many() && waiting.asked.len() > 1 {
            // Refused as a whole because of one of them: each half by itself, until that one stands alone.
            let others = |n: &usize| !waiting.asked.contains(n);
            let members = waiting
                .work
                .members
                .iter()
                .copied()
                .filter(others)
                .collect();
            self.work.push(Work {
                members,
                ..waiting.work.clone()
            });
            self.halve(&waiting.work, waiting.asked.clone());
            return Heard::Understood;
        } else {
            // A look-up changes nothing: what is not known of it is asked again.
            let means = if verdict.means == Meaning::Unknown {
                Meaning::Retry
            } else {
                verdict.means
            };
            let verdict = Verdict {
                means,
                cause: format!("find {}: {}", find.name, verdict.cause),
                ..verdict
            };
            for n in waiting.asked.clone() {
                self.end_as(n, &verdict, answered.answer());
            }
        }
        self.work.push(waiting.work.clone());
        Heard::Understood
    }

    fn find_verdict(&self, find: &Find, answered: &Answered) -> Verdict {
        // A list that is there is an answer; where no list is, any JSON is.
        let is_there = answered.is_success()
            && match &find.list {
                Some(list) => list.list(answered).is_some(),
                None => {
                    answered.json.is_some() || find.take.iter().all(|(_, path)| !path.is_body())
                }
            };
        let any = [Match::default()];
        let done: &[Match] = match (find.done.is_empty(), is_there) {
            (false, _) => &find.done,
            (true, true) => &any,
            (true, false) => &[],
        };
        judge(
            answered,
            &[&find.answers, &self.channel.answers],
            done,
            Asks::Reads,
        )
    }

    fn entry(
        &self,
        n: usize,
        find: &Find,
        listed: &[Json],
        answered: &Answered,
    ) -> Result<Option<Json>, String> {
        if find.list.is_none() {
            return Ok(Some(answered.json.clone().unwrap_or_default()));
        }
        let wanted = match (&find.key, &find.by) {
            (Some(key), Some(by)) => Some((key, Json::from(by.text(&self.scope(n, 0, &[]))?))),
            _ => None,
        };
        let fits = |entry: &&Json| {
            wanted.as_ref().is_none_or(|(key, wanted)| {
                key.within(entry)
                    .is_some_and(|found| plain(found) == plain(wanted))
            })
        };
        let mut fitting = listed.iter().filter(fits);
        let first = fitting.next();
        if !find.first && fitting.next().is_some() {
            return Err("the API has several that fit, and which is meant is not known".to_owned());
        }
        Ok(first.cloned())
    }

    fn take(&mut self, n: usize, find: &Find, entry: &Json, answered: &Answered, work: &Work) {
        let mut found = BTreeMap::new();
        for (name, path) in &find.take {
            let value = if path.is_body() {
                path.within(entry).cloned()
            } else {
                path.of(answered)
            };
            found.insert(name.clone(), value.unwrap_or_default());
        }
        let Some(member) = self.members.get_mut(n) else {
            return;
        };
        member.resolved = Some(work.step);
        member.found.extend(found.clone());
        if let (Some(time), Some(place)) = (find.cache, member.places.last())
            && place.1 == find.name
        {
            self.cache.put(place.clone(), self.now + time, found);
        }
    }

    fn not_there(&mut self, n: usize, find: &Find, answer: Answer) {
        let key = find
            .by
            .as_ref()
            .and_then(|by| by.text(&self.scope(n, 0, &[])).ok().flatten());
        let said = find
            .says
            .clone()
            .unwrap_or_else(|| format!("the API has no {}", find.name));
        let cause = key.map_or_else(|| said.clone(), |key| format!("{said}: {key}"));
        let Some(member) = self.members.get_mut(n) else {
            return;
        };
        if self.purpose != super::run::Purpose::Deliver && find.missing != IfMissing::Continue {
            let gone = member.seen.op == EventOp::Delete.name();
            let compared = if gone {
                Compared::Same
            } else {
                Compared::Differs {
                    holds: String::new(),
                    would: cause,
                }
            };
            self.read_as(n, compared);
            return;
        }
        match find.missing {
            IfMissing::Continue => {
                for (name, _) in &find.take {
                    member.found.insert(name.clone(), Json::Null);
                }
            }
            IfMissing::Skip => self.nothing_to_do(n, &cause),
            IfMissing::Missing => self.end_by(n, Meaning::Missing, cause, None, answer),
            IfMissing::Rejected => self.end_by(n, Meaning::Rejected, cause, None, answer),
        }
    }
}

enum Wanted {
    /// The step is not for this event.
    Nothing,
    Known(BTreeMap<String, Json>),
    /// What to look for; nothing where the request itself says it.
    Key(Option<String>),
}
