//! One row change: the replica kept, and every event marked that the row influences, by what it
//! was and by what it is.

use std::collections::BTreeMap;

use contract::{Op, Origin, Position, Row, RowChange, RowKey, TableName, Value};
use jiff::Timestamp;

use super::plan::{PAGE, RulePlan, Use, value_text};
use super::replicas::{Cell, Mark, Marked, Replicas};
use super::work::Work;
use super::{Relations, read_mark};

/// Marks kept in memory at most; more go to the store.
const MARKS_MAX: usize = 20_000;

/// What is marked and not yet worked out: in memory while one commit is made.
#[derive(Debug, Default)]
pub struct Pending {
    /// By rule and row key.
    pub(super) rows: BTreeMap<(usize, String), Mark>,
    /// By rule and event key.
    pub(super) keys: BTreeMap<(usize, String), Mark>,
    /// By rule and question.
    pub(super) questions: BTreeMap<(usize, String), Mark>,
    /// Some marks are in the store.
    pub(super) stored: bool,
}

impl Pending {
    /// Nothing is marked here, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.keys.is_empty() && self.questions.is_empty()
    }

    /// Marks a row of a rule.
    pub(super) fn mark(&mut self, rule: usize, row: &str, mark: Mark) {
        add(&mut self.rows, rule, row, mark);
    }

    /// Marks an event's key.
    pub(super) fn mark_key(&mut self, rule: usize, event_key: &str, mark: Mark) {
        add(&mut self.keys, rule, event_key, mark);
    }
}

fn add(marks: &mut BTreeMap<(usize, String), Mark>, rule: usize, key: &str, mark: Mark) {
    match marks.entry((rule, key.to_owned())) {
        std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().with(mark),
        std::collections::btree_map::Entry::Vacant(empty) => {
            empty.insert(mark);
        }
    }
}

impl Relations {
    /// Takes a change over into the replicas and marks what it influences.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn apply<R: Replicas>(
        &self,
        change: &RowChange,
        origin: Origin,
        read_at: Timestamp,
        pending: &mut Pending,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(table) = self.plan.by_name.get(change.table()).copied() else {
            return Ok(());
        };
        let mark = Mark {
            position: change.position.clone(),
            transaction: change.transaction,
            committed_at: change.committed_at,
            origin,
            own: false,
            due: None,
            latest: None,
            gone: false,
            reason: None,
            renamed_from: None,
        };
        let mut marker = Marker {
            relations: self,
            mark,
            transaction: change.transaction,
            read_at,
            pending,
        };
        match change.op {
            Op::Truncate => return marker.truncate(table, replicas),
            Op::Insert | Op::Update | Op::Delete | Op::Read => {}
        }
        let new = change
            .after
            .as_ref()
            .and_then(|row| RowKey::of(&change.shape, row));
        let old = change
            .before
            .as_ref()
            .and_then(|row| RowKey::of(&change.shape, row));
        if let Some(old) = old.filter(|old| change.op == Op::Delete || new.as_ref() != Some(old)) {
            marker.removed(table, old.as_str(), replicas)?;
        }
        if let (Some(key), Some(row)) = (new, &change.after) {
            if self.lacks_links(change) {
                // What belongs to such a row cannot be known: the mapper holds it.
                marker.found(table, key.as_str(), change, row, replicas)?;
            } else {
                marker.written(table, key.as_str(), change, row, replicas)?;
            }
        }
        if pending.rows.len() + pending.keys.len() + pending.questions.len() > MARKS_MAX {
            self.keep(pending, replicas)?;
        }
        Ok(())
    }

    /// Whether the rows of a change lack a column by which rows are found.
    pub fn lacks_links(&self, change: &RowChange) -> bool {
        let table = self.plan.by_name.get(change.table());
        let table = table.and_then(|table| self.plan.tables.get(*table));
        table.is_some_and(|table| {
            let mut links = table.links.iter();
            links.any(|column| change.shape.column(column).is_none())
        })
    }

    /// Fills cells that no change has told yet from a row that is otherwise overtaken.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn complete<R: Replicas>(
        &self,
        read: &RowChange,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(table) = self.plan.by_name.get(read.table()).copied() else {
            return Ok(());
        };
        let Some(known) = self.plan.tables.get(table) else {
            return Ok(());
        };
        let (Some(row), Some(key)) = (&read.after, read.key()) else {
            return Ok(());
        };
        if self.lacks_links(read) {
            return Ok(());
        }
        let Some(mut cells) = replicas.row(known.id, key.as_str())? else {
            return Ok(());
        };
        let told = self.cells(table, read, row);
        let mut filled = false;
        cells.resize(told.len(), Some(Value::Unchanged));
        for (cell, told) in cells.iter_mut().zip(told) {
            if matches!(cell, Some(Value::Unchanged)) {
                *cell = told;
                filled = true;
            }
        }
        if filled {
            let places = self.plan.places(table, &cells);
            replicas.put(known.id, key.as_str(), &cells, &places)?;
        }
        Ok(())
    }

    /// Takes rows out of a replica that the present reading of their table did not see, and marks
    /// what they influenced, as of `position`. Looks at `limit` rows behind a key; where it goes on,
    /// or none when all have been looked at.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn sweep<R: Replicas>(
        &self,
        table: &TableName,
        position: &Position,
        after: Option<&str>,
        limit: usize,
        read_at: Timestamp,
        replicas: &mut R,
    ) -> Result<Option<String>, R::Error> {
        let known = self.plan.by_name.get(table).copied();
        let Some((at, known)) = known.and_then(|at| Some((at, self.plan.tables.get(at)?))) else {
            return Ok(None);
        };
        let (unseen, next) = replicas.unseen(known.id, after, limit)?;
        let mut pending = Pending::default();
        let mut marker = Marker {
            relations: self,
            mark: read_mark(position),
            transaction: 0,
            read_at,
            pending: &mut pending,
        };
        for key in &unseen {
            marker.removed(at, key, replicas)?;
            if marker.pending.rows.len() > MARKS_MAX {
                self.keep(marker.pending, replicas)?;
            }
        }
        self.keep(&mut pending, replicas)?;
        Ok(next)
    }

    /// A row in the replica's layout.
    fn cells(&self, table: usize, change: &RowChange, row: &Row) -> Vec<Cell> {
        let columns = self
            .plan
            .tables
            .get(table)
            .map_or(&[][..], |table| &table.columns);
        let cell = |name: &String| {
            let at = change.shape.column(name)?;
            Some(row.get(at).cloned().unwrap_or(Value::Unchanged))
        };
        columns.iter().map(cell).collect()
    }

    /// Puts marks away into the store.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep<R: Replicas>(
        &self,
        pending: &mut Pending,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let rows = std::mem::take(&mut pending.rows);
        let keys = std::mem::take(&mut pending.keys);
        for ((rule, question), mark) in std::mem::take(&mut pending.questions) {
            if let Some((_, id)) = self.plan.rules.get(rule).and_then(RulePlan::read) {
                replicas.mark(id, Marked::Row, &question, &mark)?;
                pending.stored = true;
            }
        }
        for (what, marks) in [(Marked::Row, rows), (Marked::Key, keys)] {
            for ((rule, key), mark) in marks {
                if let Some(rule) = self.plan.rules.get(rule) {
                    replicas.mark(rule.id, what, &key, &mark)?;
                    pending.stored = true;
                }
            }
        }
        Ok(())
    }
}

struct Marker<'m> {
    relations: &'m Relations,
    mark: Mark,
    transaction: u64,
    read_at: Timestamp,
    pending: &'m mut Pending,
}

impl Marker<'_> {
    fn removed<R: Replicas>(
        &mut self,
        table: usize,
        key: &str,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(known) = self.relations.plan.tables.get(table) else {
            return Ok(());
        };
        let Some(old) = replicas.row(known.id, key)? else {
            return Ok(());
        };
        self.influenced(table, key, &old, replicas)?;
        self.touched(table, &old);
        replicas.remove(known.id, key)
    }

    fn written<R: Replicas>(
        &mut self,
        table: usize,
        key: &str,
        change: &RowChange,
        row: &Row,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(known) = self.relations.plan.tables.get(table) else {
            return Ok(());
        };
        let mut new = self.relations.cells(table, change, row);
        let old = replicas.row(known.id, key)?;
        // Cells the log left out are what they were: unless changes of them may have gone unseen,
        // and then they come with the row as it is read.
        let before = change.before.as_ref();
        let before = before.map(|row| self.relations.cells(table, change, row));
        let left_out = new.contains(&Some(Value::Unchanged));
        let unsure = left_out && replicas.is_unseen(known.id, key)?;
        for (n, cell) in new.iter_mut().enumerate() {
            if matches!(cell, Some(Value::Unchanged)) {
                let known = old.as_ref().filter(|_| !unsure);
                let known = known.and_then(|old| old.get(n));
                let told = before.as_ref().and_then(|row| row.get(n));
                if let Some(value) = known.or(told) {
                    cell.clone_from(value);
                }
            }
        }
        // Whatever changed of it: an answer reads more than what finds it.
        if let Some(old) = &old {
            self.touched(table, old);
        }
        self.touched(table, &new);
        let old_places = old
            .as_ref()
            .map(|old| self.relations.plan.places(table, old));
        if let Some(old) = &old {
            if *old == new {
                // Rewritten without a change in what anyone reads.
                return replicas.seen(known.id, key);
            }
            self.influenced(table, key, old, replicas)?;
        }
        let places = self.relations.plan.places(table, &new);
        replicas.put(known.id, key, &new, &places)?;
        // Found by the same values, it influences the same events, unless a condition of a match
        // took it or left it before.
        if old_places.as_ref() != Some(&places) || known.filtered {
            self.influenced(table, key, &new, replicas)?;
        }
        Ok(())
    }

    /// A row that cannot be matched with others any more is there all the same, and what it is found
    /// by stays as it was. Of a row that may have changed unseen, what is told otherwise now is not
    /// known: nothing is worked out with it, and no gap of a later change is filled from it.
    fn found<R: Replicas>(
        &mut self,
        table: usize,
        key: &str,
        change: &RowChange,
        row: &Row,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(known) = self.relations.plan.tables.get(table) else {
            return Ok(());
        };
        if !replicas.is_unseen(known.id, key)? {
            return Ok(());
        }
        let Some(old) = replicas.row(known.id, key)? else {
            return Ok(());
        };
        let told = self.relations.cells(table, change, row);
        let mut new = old.clone();
        for ((cell, told), column) in new.iter_mut().zip(&told).zip(&known.columns) {
            if told.is_some() && cell != told && !known.links.contains(column) {
                *cell = Some(Value::Unchanged);
            }
        }
        let places = self.relations.plan.places(table, &old);
        if new == old || self.relations.plan.places(table, &new) != places {
            return replicas.seen(known.id, key);
        }
        replicas.put(known.id, key, &new, &places)
    }

    fn truncate<R: Replicas>(&mut self, table: usize, replicas: &mut R) -> Result<(), R::Error> {
        let Some(known) = self.relations.plan.tables.get(table) else {
            return Ok(());
        };
        loop {
            let rows = replicas.rows(known.id, None, PAGE)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                self.influenced(table, &row.key, &row.cells, replicas)?;
                self.touched(table, &row.cells);
                replicas.remove(known.id, &row.key)?;
            }
            if self.pending.rows.len() + self.pending.questions.len() > MARKS_MAX {
                self.relations.keep(self.pending, replicas)?;
            }
        }
    }

    /// Marks every question that a row puts as it is.
    fn touched(&mut self, table: usize, cells: &[Cell]) {
        let plan = &self.relations.plan;
        let touches = plan.tables.get(table).map_or(&[][..], |t| &t.touches);
        for (rule, nth) in touches {
            let Some(rule_plan) = plan.rules.get(*rule) else {
                continue;
            };
            let Some((read, _)) = rule_plan.read() else {
                continue;
            };
            let touch = read.touches.get(*nth);
            let slot = touch.and_then(|touch| rule_plan.slots.get(touch.slot));
            let at = slot.and_then(|slot| slot.tables.first());
            if let (Some(touch), Some(at)) = (touch, at)
                && let Some(question) = touch.question(rule_plan, at, cells)
            {
                let mark = self.mark.clone();
                add(&mut self.pending.questions, *rule, &question, mark);
            }
        }
    }

    /// Marks every event that a row of a table influences as it is.
    fn influenced<R: Replicas>(
        &mut self,
        table: usize,
        key: &str,
        cells: &[Cell],
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let uses = self
            .relations
            .plan
            .tables
            .get(table)
            .map_or(&[][..], |table| &table.uses);
        for used in uses {
            self.climb(*used, table, key, cells, true, replicas)?;
        }
        Ok(())
    }

    fn climb<R: Replicas>(
        &mut self,
        used: Use,
        table: usize,
        key: &str,
        cells: &[Cell],
        own: bool,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let relations = self.relations;
        let Some(plan) = relations.plan.rules.get(used.rule) else {
            return Ok(());
        };
        let Some(link) = plan
            .rule
            .slots
            .get(used.slot)
            .and_then(|slot| slot.link.as_ref())
        else {
            self.mark(used.rule, plan, key, own && used.slot == 0);
            return Ok(());
        };
        let Some(slot) = plan.slots.get(used.slot) else {
            return Ok(());
        };
        let mut work = Work::new(&plan.rule);
        if let Some(table) = slot.tables.iter().find(|known| known.table == table) {
            work.fill(&table.cells, cells);
        }
        // A row that its own columns keep out of the match influences nothing.
        if let Some(filter) = &link.filter
            && matches!(filter.truth(&work.cells()), Ok(Some(false) | None))
        {
            return Ok(());
        }
        let Ok(Some(value)) = value_text(&work, &slot.back) else {
            return Ok(());
        };
        let parents = plan
            .slots
            .get(link.parent)
            .map_or(&[][..], |parent| &parent.tables);
        let parent = Use {
            rule: used.rule,
            slot: link.parent,
        };
        for table in parents {
            let Some(index) = table.as_parent.get(&used.slot) else {
                continue;
            };
            let Some(index) = relations.plan.indexes.get(*index) else {
                continue;
            };
            let mut after: Option<String> = None;
            loop {
                let rows = replicas.find(index.id, &value, after.as_deref(), PAGE)?;
                for row in &rows {
                    self.climb(parent, table.table, &row.key, &row.cells, false, replicas)?;
                }
                if self.pending.rows.len() > MARKS_MAX {
                    relations.keep(self.pending, replicas)?;
                }
                match rows.last() {
                    Some(last) if rows.len() == PAGE => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    fn mark(&mut self, rule: usize, plan: &RulePlan, key: &str, own: bool) {
        let mut mark = self.mark.clone();
        mark.own = own;
        // A source without transactions does not say when a document is whole.
        if plan.rule.wait_ms > 0 && self.transaction == 0 {
            let wait = std::time::Duration::from_millis(plan.rule.wait_ms);
            mark.due = Some(contract::clock::after(self.read_at, wait));
            mark.latest = Some(contract::clock::after(self.read_at, wait * 10));
        }
        self.pending.mark(rule, key, mark);
    }
}
