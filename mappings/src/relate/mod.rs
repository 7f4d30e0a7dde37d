//! Events made of rows of several tables, and those of one table whose rows can share a key.
//!
//! Of each table a rule relates to, a replica of the needed columns is kept. A change goes into
//! its replica and marks every row of a rule's own table that it influences, found through
//! indexes by what the changed row was and by what it is. When the source's transaction ends, what
//! is marked is worked out from the replicas: first the rows, then the keys of the events they
//! belong to. So an event is always what a query over the present rows would give, whichever row
//! changed and however the changes were cut into batches.

mod ask;
mod assemble;
mod cells;
mod change;
mod flush;
mod group;
mod look;
mod memory;
mod plan;
mod replicas;
mod work;

use contract::{Position, TableName};

pub use ask::{Answer, Questions, Statement, Turn};
pub use cells::{cells_from_text, cells_text, mark_from_text, mark_text};
pub use change::Pending;
pub use flush::{Flushed, Related};
pub use look::{FoundRow, Look, LookRow, LookValue, Needed};
pub use memory::MemoryReplicas;
pub use replicas::{Cell, Mark, Marked, OpenedTable, ReplicaRow, Replicas, Subgroup, Told};

use crate::set::MappingSet;
use plan::{PAGE, Plan};

/// The rules of a mapping set that need rows of several tables.
#[derive(Debug)]
pub struct Relations {
    plan: Plan,
}

impl Relations {
    /// The relations of a set; replicas are opened, and new indexes filled, as they need them.
    /// Also the tables that must be read before their replicas are whole. Events of rules that
    /// are not what they were are marked as of `position`.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn open<R: Replicas>(
        set: &MappingSet,
        position: Option<&Position>,
        replicas: &mut R,
    ) -> Result<(Self, Vec<TableName>), R::Error> {
        Self::open_rules(set, false, position, replicas)
    }

    /// As [`Relations::open`], with rules of one row as well: for looking at their events.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn open_all<R: Replicas>(set: &MappingSet, replicas: &mut R) -> Result<Self, R::Error> {
        Ok(Self::open_rules(set, true, None, replicas)?.0)
    }

    fn open_rules<R: Replicas>(
        set: &MappingSet,
        all: bool,
        position: Option<&Position>,
        replicas: &mut R,
    ) -> Result<(Self, Vec<TableName>), R::Error> {
        let (plan, opened) = Plan::open(set, all, replicas)?;
        let relations = Self { plan };
        for index in &opened.to_fill {
            relations.fill(*index, replicas)?;
        }
        for rule in &opened.asked_anew {
            relations.forget_answers(*rule, position, replicas)?;
        }
        if let Some(position) = position {
            for rule in &opened.changed {
                relations.mark_rule(*rule, position, replicas)?;
            }
        }
        Ok((relations, opened.to_read))
    }

    /// After a table was read from its first row to its last: what rows told that are no longer
    /// there is marked as of `position`.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn read_whole<R: Replicas>(
        &self,
        table: &TableName,
        position: &Position,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        for plan in &self.plan.rules {
            let tables = plan.slots.first().map_or(&[][..], |slot| &slot.tables);
            let own = self.plan.by_name.get(table);
            if let Some(own) = own {
                ask::ask_rest(plan, *own, position, replicas)?;
            }
            if !tables.iter().any(|known| Some(&known.table) == own) {
                continue;
            }
            let mark = read_mark(position);
            let mut after: Option<String> = None;
            loop {
                let rows = replicas.told_rows(plan.id, after.as_deref(), PAGE)?;
                for row in &rows {
                    let mut there = false;
                    for known in tables {
                        if let Some(known) = self.plan.tables.get(known.table) {
                            there |= replicas.row(known.id, row)?.is_some();
                        }
                    }
                    if !there {
                        replicas.mark(plan.id, Marked::Row, row, &mark)?;
                    }
                }
                match rows.last() {
                    Some(last) if rows.len() == PAGE => after = Some(last.clone()),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Whether all events of a rule are worked out: its tables have been read, and nothing of it
    /// is marked or asked.
    ///
    /// # Errors
    /// When the replicas cannot be read.
    pub fn worked_out<R: Replicas>(
        &self,
        rule: &str,
        ready: &dyn Fn(&TableName) -> bool,
        replicas: &mut R,
    ) -> Result<bool, R::Error> {
        let mut rules = self.plan.rules.iter();
        let Some(plan) = rules.find(|plan| plan.rule.reference.rule == rule) else {
            return Ok(false);
        };
        let tables = plan.rule.tables(false);
        if !tables.iter().all(|captured| ready(&captured.table)) {
            return Ok(false);
        }
        for id in [Some(plan.id), plan.questions].into_iter().flatten() {
            for what in [Marked::Row, Marked::Key] {
                if !replicas.marks(id, what, None, 1)?.is_empty() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Takes a row's fact for told, where nothing of it is remembered: another version of its rule
    /// told it, before there were replicas.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn told_before<R: Replicas>(
        &self,
        rule: &str,
        row: &str,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let mut rules = self.plan.rules.iter();
        if let Some(plan) = rules.find(|plan| plan.rule.reference.rule == rule)
            && replicas.told(plan.id, row)?.is_none()
        {
            replicas.tell(plan.id, row, Some(&flush::before()))?;
        }
        Ok(())
    }

    /// As [`Relations::told_before`], for all rows that are in replicas.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn all_told_before<R: Replicas>(
        &self,
        rule: &str,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let mut rules = self.plan.rules.iter();
        let plan = rules.find(|plan| plan.rule.reference.rule == rule);
        let own = plan.and_then(|plan| self.plan.by_name.get(&plan.rule.from().table.table));
        let Some(table) = own.and_then(|own| self.plan.tables.get(*own)) else {
            return Ok(());
        };
        let mut after: Option<String> = None;
        loop {
            let rows = replicas.rows(table.id, after.as_deref(), PAGE)?;
            for row in &rows {
                self.told_before(rule, &row.key, replicas)?;
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Whether any rule of the set needs rows of several tables.
    pub fn is_empty(&self) -> bool {
        self.plan.rules.is_empty()
    }

    /// Whether a table has a replica.
    pub fn has(&self, table: &TableName) -> bool {
        self.plan.by_name.contains_key(table)
    }

    /// Marks in memory; `stored` = some may be in the store.
    pub fn pending(&self, stored: bool) -> Pending {
        Pending {
            stored,
            ..Pending::default()
        }
    }

    /// Puts every row of a replica into a new index.
    fn fill<R: Replicas>(&self, index: usize, replicas: &mut R) -> Result<(), R::Error> {
        let Some(known) = self.plan.indexes.get(index) else {
            return Ok(());
        };
        let tables = self.plan.tables.iter().enumerate();
        for (n, table) in tables.filter(|(_, table)| table.indexes.contains(&index)) {
            let mut after: Option<String> = None;
            loop {
                let rows = replicas.rows(table.id, after.as_deref(), PAGE)?;
                for row in &rows {
                    if let Some(value) = self.plan.index_value(known, n, &row.cells) {
                        replicas.index(known.id, &value, table.id, &row.key)?;
                    }
                }
                match rows.last() {
                    Some(last) if rows.len() == PAGE => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Marks every row of a rule's own table.
    fn mark_rule<R: Replicas>(
        &self,
        rule: usize,
        position: &Position,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(plan) = self.plan.rules.get(rule) else {
            return Ok(());
        };
        let mark = read_mark(position);
        let tables = plan.slots.first().map_or(&[][..], |slot| &slot.tables);
        for table in tables {
            let Some(table) = self.plan.tables.get(table.table) else {
                continue;
            };
            let mut after: Option<String> = None;
            loop {
                let rows = replicas.rows(table.id, after.as_deref(), PAGE)?;
                for row in &rows {
                    replicas.mark(plan.id, Marked::Row, &row.key, &mark)?;
                }
                match rows.last() {
                    Some(last) if rows.len() == PAGE => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// A mark that no change of the log is behind.
fn read_mark(position: &Position) -> Mark {
    Mark {
        position: position.clone(),
        transaction: 0,
        committed_at: None,
        origin: contract::Origin::Snapshot,
        own: false,
        due: None,
        latest: None,
        gone: false,
        reason: None,
        renamed_from: None,
    }
}
