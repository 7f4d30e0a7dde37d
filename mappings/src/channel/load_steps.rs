//! The steps of a channel's file, and the requests in them.

use contract::{NodeKind, Section};

use super::load::{duration, need_done};
use super::load_template::Reader;
use super::model::{
    Accepted, Find, Hold, IfMissing, ItemReport, Others, Question, ReportBy, Request, Send, Step,
};
use super::path::Path;
use super::template::Template;

/// Reads steps.
#[derive(Clone)]
pub(super) struct Steps<'a> {
    pub(super) reader: Reader<'a>,
}

impl Steps<'_> {
    /// Steps under a key; `found` grows by what they find.
    pub(super) fn list(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        found: &mut Vec<String>,
    ) -> Option<Vec<Step>> {
        let mut whole = true;
        let mut all = Vec::new();
        for mut one in section.sections(key) {
            let mut reader = self.reader.clone();
            reader.allowed.found.clone_from(found);
            let inner = Steps { reader };
            let path = one.path().to_owned();
            let when = one
                .get("when")
                .map(|node| inner.reader.test(node, &format!("{path}.when")));
            let step = match (one.get("find"), one.get("send"), one.get("hold")) {
                (Some(_), None, None) => one
                    .section("find")
                    .and_then(|mut find| {
                        let made = inner.find(&mut find, found);
                        find.finish();
                        made
                    })
                    .map(|find| Step::Find(Box::new(find))),
                (None, Some(_), None) => one
                    .section("send")
                    .and_then(|mut send| {
                        let made = inner.send(&mut send, found);
                        send.finish();
                        made
                    })
                    .map(|send| Step::Send(Box::new(send))),
                (None, None, Some(_)) => one.text("hold").map(|says| {
                    let says = says.to_owned();
                    Step::Hold(Hold { when: None, says })
                }),
                _ => {
                    one.missing("send", "exactly one of `find`, `send` and `hold`");
                    None
                }
            };
            one.finish();
            match (step, when) {
                (Some(step), None) => all.push(step),
                (Some(mut step), Some(Some(test))) => {
                    match &mut step {
                        Step::Find(find) => find.when = Some(test),
                        Step::Send(send) => send.when = Some(test),
                        Step::Hold(hold) => hold.when = Some(test),
                    }
                    all.push(step);
                }
                _ => whole = false,
            }
        }
        whole.then_some(all)
    }

    pub(super) fn take(
        &self,
        section: &mut Section<'_>,
        found: &mut Vec<String>,
    ) -> Vec<(String, Path)> {
        let Some(mut take) = section.section("take") else {
            return Vec::new();
        };
        let path = take.path().to_owned();
        let mut all = Vec::new();
        for (key, node) in take.free_entries() {
            if let Some(place) = self.reader.path_of(node, &format!("{path}.{}", key.name)) {
                all.push((key.name.clone(), place));
            }
            if !found.contains(&key.name) {
                found.push(key.name.clone());
            }
        }
        all
    }

    fn find(&self, section: &mut Section<'_>, found: &mut Vec<String>) -> Option<Find> {
        let name = section
            .required_text("name", "`name: variant`")
            .map(str::to_owned);
        let path = section.path().to_owned();
        let by = section
            .get("by")
            .map(|node| self.reader.formula(node, &format!("{path}.by")));
        let mut reader = self.reader.clone();
        reader.keys = true;
        let request = reader.request(section, true);
        let many = request.as_ref().is_some_and(has_keys);
        if many {
            // The request is for several events: what one of them says cannot stand in it.
            for (key, missing) in [
                ("by", section.get("by").is_none()),
                ("key", section.get("key").is_none()),
            ] {
                if missing {
                    section.missing(
                        key,
                        if key == "by" {
                            "`by: sku`: what is looked for"
                        } else {
                            "`key: sku`: which member of what is listed it is"
                        },
                    );
                }
            }
        }
        let list = self.reader.may_path(section, "list");
        let key = self.reader.may_path(section, "key");
        if key.is_some() && section.get("by").is_none() {
            section.missing("by", "`by: sku`: what `key` is compared with");
        }
        if let (true, Some(node)) = (list.is_none() && key.is_some(), section.get("key")) {
            section.wrong(
                "key",
                node,
                "says nothing without `list`".to_owned(),
                Some("list: data.items".to_owned()),
            );
        }
        let take = self.take(section, found);
        let missing = section.word("missing", &["missing", "rejected", "skip", "continue"]);
        if section.get("missing").is_none() {
            section.missing(
                "missing",
                "`missing: missing` (wait for it), rejected, skip (nothing to do) or continue",
            );
        }
        let missing = match missing {
            Some("rejected") => IfMissing::Rejected,
            Some("skip") => IfMissing::Skip,
            Some("continue") => IfMissing::Continue,
            _ => IfMissing::Missing,
        };
        let says = section.text("says").map(str::to_owned);
        let first = section.flag("first").unwrap_or(false);
        let cache = duration(section, "cache");
        if let (true, None, Some(node)) = (cache.is_some(), &by, section.get("cache")) {
            section.wrong(
                "cache",
                node,
                "needs what to remember it by".to_owned(),
                Some("by: sku".to_owned()),
            );
        }
        let most = section
            .number("most", 1, 1_000)
            .map_or(if many { 50 } else { 1 }, |n| {
                usize::try_from(n).unwrap_or(1)
            });
        let answers = self.reader.rules(section);
        let done = self.reader.matches(section, "done");
        let by = match by {
            None => None,
            Some(by) => Some(by?),
        };
        Some(Find {
            name: name?,
            when: None,
            by,
            request: request?,
            list,
            key,
            take,
            missing,
            says,
            first,
            cache,
            most,
            answers,
            done,
        })
    }

    fn send(&self, section: &mut Section<'_>, found: &mut Vec<String>) -> Option<Send> {
        let mut reader = self.reader.clone();
        reader.items = true;
        let request = reader.request(section, true);
        let group = section.get("group").map(|node| {
            self.reader
                .formula(node, &format!("{}.group", section.path()))
        });
        let items = request
            .as_ref()
            .and_then(|request| request.body.as_ref())
            .is_some_and(Template::has_items);
        let most = section.number("most", 1, 10_000);
        if let (Some(_), false, None, Some(node)) = (most, items, &group, section.get("most")) {
            section.wrong(
                "most",
                node,
                "each event has a request of its own here".to_owned(),
                Some("`$items` in the body makes one request for several".to_owned()),
            );
        }
        let answers = self.reader.rules(section);
        let done = self.reader.matches(section, "done");
        let report = self.report(section);
        let take = self.take(section, found);
        let accepted = section.section("accepted").and_then(|mut one| {
            let accepted = self.accepted(&mut one);
            one.finish();
            accepted
        });
        if report.is_none() {
            need_done(section, &done);
        }
        let group = match group {
            None => None,
            Some(group) => Some(group?),
        };
        Some(Send {
            when: None,
            request: request?,
            items,
            group,
            most: most.and_then(|n| usize::try_from(n).ok()),
            answers,
            done,
            report,
            take,
            accepted,
        })
    }

    fn accepted(&self, section: &mut Section<'_>) -> Option<Accepted> {
        let ticket = self.reader.path(section, "ticket", "`ticket: feedId`");
        let ask = section.section("ask");
        if ask.is_none() {
            section.missing("ask", "`ask: {get: /feeds/{ticket}}`");
        }
        let mut asked: Vec<Section<'_>> = ask.into_iter().collect();
        asked.extend(section.sections("then"));
        let mut found = Vec::new();
        let last = asked.len().saturating_sub(1);
        let questions: Vec<Option<Question>> = asked
            .into_iter()
            .enumerate()
            .map(|(n, one)| self.question(one, &mut found, n == last))
            .collect();
        Some(Accepted {
            ticket: ticket?,
            questions: questions.into_iter().collect::<Option<_>>()?,
        })
    }

    fn question(
        &self,
        mut section: Section<'_>,
        found: &mut Vec<String>,
        last: bool,
    ) -> Option<Question> {
        let mut asking = self.reader.clone();
        asking.allowed.given = &["ticket"];
        asking.allowed.found.clone_from(found);
        let inner = Steps { reader: asking };
        let request = inner.reader.request(&mut section, false);
        let waiting = inner.reader.matches(&mut section, "waiting");
        let done = inner.reader.matches(&mut section, "done");
        let answers = inner.reader.rules(&mut section);
        let report = inner.report(&mut section);
        let take = inner.take(&mut section, found);
        if let (false, Some(_), Some(node)) = (last, &report, section.get("report")) {
            section.wrong(
                "report",
                node,
                "only the last question has the report".to_owned(),
                None,
            );
        }
        if report.is_none() {
            need_done(&section, &done);
        }
        section.finish();
        Some(Question {
            request: request?,
            waiting,
            done,
            answers,
            report,
            take,
        })
    }

    fn report(&self, section: &mut Section<'_>) -> Option<ItemReport> {
        let mut one = section.section("report")?;
        let list = self.reader.path(&mut one, "list", "`list: results`");
        let index = one.get("index");
        let by = match (index.map(|node| (&node.kind, node)), one.get("id")) {
            (Some((NodeKind::Bool(true), _)), None) => Some(ReportBy::Position),
            (Some((_, node)), None) => self
                .reader
                .path_of(node, &format!("{}.index", one.path()))
                .map(ReportBy::Index),
            (None, Some(_)) => {
                let id = self.reader.may_path(&mut one, "id");
                let path = format!("{}.is", one.path());
                let is = one.get("is");
                if is.is_none() {
                    one.missing("is", "`is: event.id`: what that member is for an event");
                }
                let is = is.and_then(|node| self.reader.formula(node, &path));
                id.zip(is).map(|(id, is)| ReportBy::Id(id, is))
            }
            _ => {
                one.missing("index", "exactly one of `index: true` (the n-th is the n-th event), `index: path` and `id: path` with `is`");
                None
            }
        };
        let done = self.reader.matches(&mut one, "done");
        let answers = self.reader.rules(&mut one);
        let others = match one.word("others", &["unknown", "done", "again"]) {
            Some("done") => Others::Done,
            Some("again") => Others::Again,
            _ => Others::Unknown,
        };
        let atomic = one.flag("atomic").unwrap_or(false);
        one.finish();
        Some(ItemReport {
            list: list?,
            by: by?,
            done,
            answers,
            others,
            atomic,
        })
    }
}

fn has_keys(request: &Request) -> bool {
    request.body.as_ref().is_some_and(Template::has_keys)
        || request.query.iter().any(|(_, one)| one.has_keys())
}

impl Find {
    /// One request looks for several.
    pub(super) fn is_many(&self) -> bool {
        has_keys(&self.request)
    }
}
