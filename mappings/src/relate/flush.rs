//! Working out what is marked: first the rows, then the keys of the events they belong to.

use std::sync::Arc;

use contract::event::{HARD_DELETE, digest};
use contract::{Envelope, Event, EventKey, EventKind, EventOp, MappingRef, Position, TableName};
use jiff::Timestamp;

use super::Relations;
use super::assemble::{Assembled, Doubt, Whole};
use super::change::Pending;
use super::group::{self, Made};
use super::plan::RulePlan;
use super::replicas::{Mark, Marked, Replicas, Told};
use crate::draft::{HeldChange, MapContext};

/// What came of what was marked.
#[derive(Debug)]
pub enum Related {
    /// An event.
    Event {
        /// It.
        event: Box<Event>,
        /// The row of the rule's own table that told it, or the group's key.
        row_key: String,
        /// Before a tombstone, zero is to be told.
        zero_first: bool,
    },
    /// Something a person must look at.
    Held {
        /// It.
        held: Box<HeldChange>,
        /// The newest change behind it.
        position: Position,
    },
    /// What may have been held of a row no longer is.
    Settled {
        /// The rule.
        rule: Arc<MappingRef>,
        /// The row, or the group's key.
        row_key: String,
    },
}

/// A piece of work done.
#[derive(Debug, Default)]
pub struct Flushed {
    /// What came of it, rows in the order of their rules and keys.
    pub related: Vec<Related>,
    /// There is more to do before the next change may be taken.
    pub more: bool,
}

/// What one flush has made so far.
struct Flush<'f> {
    context: &'f MapContext,
    related: Vec<Related>,
    /// Events worked out with their row, waiting for their key's turn.
    whole: std::collections::HashMap<(usize, String), (String, Whole)>,
}

impl Relations {
    /// Works out at most `limit` of what is marked and due. `ready` says whether a table has been
    /// read: what needs one that has not waits.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn flush<R: Replicas>(
        &self,
        pending: &mut Pending,
        ready: &dyn Fn(&TableName) -> bool,
        context: &MapContext,
        limit: usize,
        replicas: &mut R,
    ) -> Result<Flushed, R::Error> {
        let ready: Vec<bool> = self
            .plan
            .rules
            .iter()
            .map(|plan| plan.tables.iter().all(ready))
            .collect();
        let now = context.read_at;
        let mut flush = Flush {
            context,
            related: Vec::new(),
            whole: std::collections::HashMap::new(),
        };
        let mut left = limit;
        // Rows of a group may change one after the other: keys come when all rows are done.
        for what in [Marked::Row, Marked::Key] {
            loop {
                let batch = self.take(what, pending, &ready, now, left, replicas)?;
                if batch.is_empty() {
                    break;
                }
                for (rule, key, mark) in batch {
                    left = left.saturating_sub(1);
                    match what {
                        Marked::Row => self.row(rule, &key, mark, pending, &mut flush, replicas)?,
                        Marked::Key => self.key(rule, &key, mark, &mut flush, replicas)?,
                    }
                }
                if left == 0 {
                    self.keep(pending, replicas)?;
                    return Ok(Flushed {
                        related: flush.related,
                        more: true,
                    });
                }
            }
        }
        // What is left waits for a table or for its time.
        self.keep(pending, replicas)?;
        Ok(Flushed {
            related: flush.related,
            more: false,
        })
    }

    /// Takes marks that can be worked out now.
    fn take<R: Replicas>(
        &self,
        what: Marked,
        pending: &mut Pending,
        ready: &[bool],
        now: Timestamp,
        limit: usize,
        replicas: &mut R,
    ) -> Result<Vec<(usize, String, Mark)>, R::Error> {
        if pending.stored {
            // Some are in the store: all go there, so that each is taken once and in order.
            self.keep(pending, replicas)?;
            for (n, plan) in self.plan.rules.iter().enumerate() {
                if !ready.get(n).is_some_and(|ready| *ready) {
                    continue;
                }
                let found = replicas.take_marks(plan.id, what, now, limit)?;
                if !found.is_empty() {
                    return Ok(found
                        .into_iter()
                        .map(|(key, mark)| (n, key, mark))
                        .collect());
                }
            }
            return Ok(Vec::new());
        }
        let marks = match what {
            Marked::Row => &mut pending.rows,
            Marked::Key => &mut pending.keys,
        };
        let due = |rule: usize, mark: &Mark| {
            ready.get(rule).is_some_and(|ready| *ready) && mark.due.is_none_or(|due| due <= now)
        };
        let taken: Vec<(usize, String)> = marks
            .iter()
            .filter(|((rule, _), mark)| due(*rule, mark))
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect();
        Ok(taken
            .into_iter()
            .filter_map(|key| {
                let mark = marks.remove(&key)?;
                Some((key.0, key.1, mark))
            })
            .collect())
    }

    fn row<R: Replicas>(
        &self,
        rule: usize,
        row: &str,
        mark: Mark,
        pending: &mut Pending,
        flush: &mut Flush<'_>,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(plan) = self.plan.rules.get(rule) else {
            return Ok(());
        };
        let told = replicas.told(plan.id, row)?;
        let fact = plan.rule.event_type.kind() == EventKind::Fact;
        // A fact stays as it was told, whatever becomes of what it was joined with.
        if fact && told.as_ref().is_some_and(|told| !told.held) && !mark.own {
            return Ok(());
        }
        match self.assemble(plan, row, replicas)? {
            Assembled::Ended(HARD_DELETE) if moves(plan, told.as_ref(), &mark) => {
                let wait = std::time::Duration::from_millis(plan.rule.wait_ms) * MOVE_WAITS;
                let until = contract::clock::after(flush.context.read_at, wait);
                let mark = Mark {
                    due: Some(until),
                    latest: Some(until),
                    gone: true,
                    ..mark
                };
                pending.mark(rule, row, mark);
            }
            Assembled::Ended(reason) => {
                if let Some(told) = &told {
                    if plan.rule.grouped {
                        group::replace(plan, Some(told), None, replicas)?;
                    }
                    // Out of scope again, a fact is remembered: it must not be told twice. Where
                    // it changed meanwhile, it is worked out when it comes back. Whether one was
                    // told before anything of it was remembered, nobody knows: told again, it is
                    // recognised by its idempotency key.
                    if !fact || reason == HARD_DELETE || told.part == BEFORE {
                        replicas.tell(plan.id, row, None)?;
                    } else if mark.own && !told.held {
                        let stale = Told {
                            held: true,
                            ..told.clone()
                        };
                        replicas.tell(plan.id, row, Some(&stale))?;
                    }
                    if !fact {
                        let mark = Mark {
                            reason: Some(reason),
                            ..mark
                        };
                        pending.mark_key(rule, &told.event_key, mark);
                    }
                }
                flush.settled(plan, row);
            }
            Assembled::Held(doubt) => {
                doubtful(
                    plan,
                    rule,
                    row,
                    told.as_ref(),
                    &doubt,
                    &mark,
                    pending,
                    replicas,
                )?;
                flush.held(plan, row, *doubt, mark.position);
            }
            Assembled::Whole(whole) if fact => {
                Self::fact(plan, row, told, *whole, mark, flush, replicas)?;
            }
            Assembled::Whole(whole) => {
                let event_key = whole.key.text();
                let part = if plan.rule.grouped {
                    group::part(&whole.body)
                } else {
                    String::new()
                };
                let new = Told {
                    event_key: event_key.clone(),
                    held: false,
                    part,
                };
                let mut renamed_from = None;
                if told.as_ref() != Some(&new) {
                    if let Some(told) = &told
                        && told.event_key != event_key
                    {
                        // What was held may never have been told under its key.
                        renamed_from = (!told.held).then(|| told.event_key.clone());
                        let gone = Mark {
                            reason: Some(HARD_DELETE),
                            ..mark.clone()
                        };
                        pending.mark_key(rule, &told.event_key, gone);
                    }
                    if plan.rule.grouped {
                        group::replace(plan, told.as_ref(), Some(&new), replicas)?;
                    }
                    replicas.tell(plan.id, row, Some(&new))?;
                }
                if told.is_none_or(|told| told.held) {
                    flush.settled(plan, row);
                }
                let mark = Mark {
                    reason: None,
                    // A group's row that moves renames nothing.
                    renamed_from: renamed_from.filter(|_| !plan.rule.grouped),
                    ..mark
                };
                pending.mark_key(rule, &event_key, mark);
                if !plan.rule.grouped {
                    flush
                        .whole
                        .insert((rule, event_key), (row.to_owned(), *whole));
                }
            }
        }
        Ok(())
    }

    fn fact<R: Replicas>(
        plan: &RulePlan,
        row: &str,
        told: Option<Told>,
        whole: Whole,
        mark: Mark,
        flush: &mut Flush<'_>,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let event_key = whole.key.text();
        let part = digest(&[&whole.body.json()]);
        let new = Told {
            event_key: event_key.clone(),
            held: false,
            part,
        };
        let op = match &told {
            Some(told) if told.part == BEFORE => {
                replicas.tell(plan.id, row, Some(&new))?;
                flush.settled(plan, row);
                return Ok(());
            }
            Some(told) if told.event_key == new.event_key && told.part == new.part => {
                if told.held {
                    replicas.tell(plan.id, row, Some(&new))?;
                    flush.settled(plan, row);
                }
                return Ok(());
            }
            // A doubtful fact was told before if anything of it is remembered.
            Some(told) if told.event_key != event_key && !told.part.is_empty() => {
                let reason = format!(
                    "rule {}: the key of a fact's row was changed; under its new key the same \
                     fact would count twice",
                    plan.rule.reference.rule
                );
                let doubt = Doubt {
                    reason,
                    key: Some(whole.key),
                    row_json: serde_json::Value::Null,
                };
                flush.held(plan, row, doubt, mark.position);
                return Ok(());
            }
            Some(told) if !told.part.is_empty() => EventOp::Correction,
            Some(_) | None => EventOp::Fact,
        };
        replicas.tell(plan.id, row, Some(&new))?;
        if told.is_none_or(|told| told.held) {
            flush.settled(plan, row);
        }
        let company = whole
            .key
            .fields()
            .first()
            .map_or("", |(_, company)| company);
        let fact_key = format!("{company}/{}/{row}", plan.rule.from().table.table);
        let mut envelope = flush.envelope(plan, whole.key, &mark, op);
        envelope.fact_key = Some(fact_key);
        envelope.warnings = whole.warnings;
        flush.event(plan, Event::new(envelope, Some(whole.body)), row);
        Ok(())
    }

    fn key<R: Replicas>(
        &self,
        rule: usize,
        event_key: &str,
        mark: Mark,
        flush: &mut Flush<'_>,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(plan) = self.plan.rules.get(rule) else {
            return Ok(());
        };
        let schema = plan.rule.event_type.schema();
        let Some(key) = EventKey::parse(schema, event_key) else {
            return Ok(());
        };
        if plan.rule.grouped {
            let row = group_row(event_key);
            match group::make(plan, &key, &replicas.group(plan.id, event_key)?) {
                Made::Nothing => flush.tombstone(plan, key, &mark, &row),
                Made::Waits => {}
                Made::Held(reason) => {
                    let doubt = Doubt {
                        reason,
                        key: Some(key),
                        row_json: serde_json::Value::Null,
                    };
                    flush.held(plan, &row, doubt, mark.position);
                }
                Made::Whole(whole) => {
                    flush.upsert(plan, *whole, &mark, &row);
                }
            }
            return Ok(());
        }
        let made = flush.whole.remove(&(rule, event_key.to_owned()));
        let tellers = self.tellers(plan, event_key, replicas)?;
        match tellers.as_slice() {
            [] => flush.tombstone(plan, key, &mark, ""),
            [(_, told)] if told.held => {}
            [(row, _)] => {
                let whole = match made {
                    Some((made_of, whole)) if made_of == *row => whole,
                    _ => match self.assemble(plan, row, replicas)? {
                        Assembled::Whole(whole) => *whole,
                        // It has a mark of its own, or none of its rows is what it was.
                        Assembled::Ended(_) | Assembled::Held(_) => return Ok(()),
                    },
                };
                let mut mark = mark;
                if let Some(old) = &mark.renamed_from {
                    // Another row may have told the old key as well, and tell it still.
                    if !self.tellers(plan, old, replicas)?.is_empty() {
                        mark.renamed_from = None;
                    }
                }
                flush.upsert(plan, whole, &mark, row);
            }
            [(first, _), (second, _), ..] => {
                let reason = format!(
                    "rule {}: rows {first} and {second} of {} both make the event {event_key}; \
                     `where` can leave one out, `group: sum` adds them up",
                    plan.rule.reference.rule,
                    plan.rule.from().table.table
                );
                let doubt = Doubt {
                    reason,
                    key: Some(key),
                    row_json: serde_json::Value::Null,
                };
                flush.held(plan, second, doubt, mark.position);
            }
        }
        Ok(())
    }
}

impl Relations {
    /// Whether a row of a rule's own table is in it, or where its documents go.
    fn is_there<R: Replicas>(
        &self,
        plan: &RulePlan,
        row: &str,
        replicas: &mut R,
    ) -> Result<bool, R::Error> {
        let tables = plan.slots.first().map_or(&[][..], |slot| &slot.tables);
        for table in tables {
            if let Some(known) = self.plan.tables.get(table.table)
                && replicas.row(known.id, row)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Up to two rows that tell an event's key.
    fn tellers<R: Replicas>(
        &self,
        plan: &RulePlan,
        event_key: &str,
        replicas: &mut R,
    ) -> Result<Vec<(String, Told)>, R::Error> {
        loop {
            let tellers = replicas.tellers(plan.id, event_key, 2)?;
            let may_be_gone = plan.rule.read.is_some() || plan.rule.from().history.is_some();
            if !may_be_gone || tellers.len() < 2 {
                return Ok(tellers);
            }
            // A row that a former question gave, or one that is waited for because its document
            // may be moving, tells nothing beside one that is there.
            let mut all = true;
            for (row, _) in &tellers {
                let there = match plan.rule.read {
                    Some(_) => self.answered_row(plan, row, replicas)?,
                    None => self.is_there(plan, row, replicas)?,
                };
                if !there {
                    replicas.tell(plan.id, row, None)?;
                    all = false;
                }
            }
            if all {
                return Ok(tellers);
            }
        }
    }
}

/// Times of a document's wait that a row may be in none of its tables while it moves.
const MOVE_WAITS: u32 = 10;

/// Whether a row that is gone may only be on its way to another table, and has not been waited
/// for.
fn moves(plan: &RulePlan, told: Option<&Told>, mark: &Mark) -> bool {
    plan.rule.from().history.is_some() && told.is_some() && !mark.gone
}

/// In place of a fact's digest: it was told before anything of it was remembered.
const BEFORE: &str = "before";

/// What is remembered of a fact that was told before anything of it was remembered.
pub(super) fn before() -> Told {
    Told {
        event_key: String::new(),
        held: false,
        part: BEFORE.to_owned(),
    }
}

/// How what is held of a whole group is named.
fn group_row(event_key: &str) -> String {
    format!("key:{event_key}")
}

/// What a row told is in doubt: its event waits, and an old key is surely gone.
#[expect(clippy::too_many_arguments, reason = "one step of a flush")]
fn doubtful<R: Replicas>(
    plan: &RulePlan,
    rule: usize,
    row: &str,
    told: Option<&Told>,
    doubt: &Doubt,
    mark: &Mark,
    pending: &mut Pending,
    replicas: &mut R,
) -> Result<(), R::Error> {
    let fact = plan.rule.event_type.kind() == EventKind::Fact;
    let event_key = match (&doubt.key, told) {
        (Some(key), _) if !fact => key.text(),
        (_, Some(told)) => told.event_key.clone(),
        (Some(key), None) => key.text(),
        (None, None) => return Ok(()),
    };
    let new = Told {
        event_key,
        held: true,
        // What a fact told stays known.
        part: told
            .filter(|_| fact)
            .map(|told| told.part.clone())
            .unwrap_or_default(),
    };
    if told == Some(&new) {
        return Ok(());
    }
    if let Some(told) = told
        && told.event_key != new.event_key
    {
        let gone = Mark {
            reason: Some(HARD_DELETE),
            ..mark.clone()
        };
        pending.mark_key(rule, &told.event_key, gone);
    }
    if plan.rule.grouped {
        group::replace(plan, told, Some(&new), replicas)?;
    }
    replicas.tell(plan.id, row, Some(&new))
}

impl Flush<'_> {
    fn envelope(&self, plan: &RulePlan, key: EventKey, mark: &Mark, op: EventOp) -> Envelope {
        Envelope {
            tenant: Arc::clone(&self.context.tenant),
            source: Arc::clone(&self.context.source),
            event_type: plan.rule.event_type,
            key,
            version: mark.position.clone(),
            op,
            origin: mark.origin,
            occurred_at: mark.committed_at.unwrap_or(self.context.read_at),
            occurred_at_exact: mark.committed_at.is_some(),
            read_at: self.context.read_at,
            transaction: mark.transaction,
            mapping: Arc::clone(&plan.rule.reference),
            fact_key: None,
            reason: None,
            renamed_from: None,
            warnings: Vec::new(),
        }
    }

    fn event(&mut self, plan: &RulePlan, event: Event, row_key: &str) {
        self.related.push(Related::Event {
            zero_first: plan.rule.zero_first,
            event: Box::new(event),
            row_key: row_key.to_owned(),
        });
    }

    fn upsert(&mut self, plan: &RulePlan, whole: Whole, mark: &Mark, row_key: &str) {
        let mut envelope = self.envelope(plan, whole.key, mark, EventOp::Upsert);
        let schema = plan.rule.event_type.schema();
        let old = mark.renamed_from.as_deref();
        envelope.renamed_from = old.and_then(|text| EventKey::parse(schema, text));
        envelope.warnings = whole.warnings;
        self.event(plan, Event::new(envelope, Some(whole.body)), row_key);
    }

    fn tombstone(&mut self, plan: &RulePlan, key: EventKey, mark: &Mark, row_key: &str) {
        let mut envelope = self.envelope(plan, key, mark, EventOp::Delete);
        envelope.reason = Some(mark.reason.unwrap_or(HARD_DELETE));
        self.event(plan, Event::new(envelope, None), row_key);
    }

    fn settled(&mut self, plan: &RulePlan, row_key: &str) {
        self.related.push(Related::Settled {
            rule: Arc::clone(&plan.rule.reference),
            row_key: row_key.to_owned(),
        });
    }

    fn held(&mut self, plan: &RulePlan, row_key: &str, doubt: Doubt, position: Position) {
        let held = HeldChange {
            mapping: Arc::clone(&plan.rule.reference),
            event_type: plan.rule.event_type,
            table: plan.rule.from().table.table.clone(),
            row_key: row_key.to_owned(),
            event_key: doubt.key.map(|key| key.text()),
            reason: doubt.reason,
            row_json: serde_json::json!({ "rows": doubt.row_json }).to_string(),
        };
        self.related.push(Related::Held {
            held: Box::new(held),
            position,
        });
    }
}
