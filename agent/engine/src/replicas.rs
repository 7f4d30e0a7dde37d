//! The store as the memory of relations: values and marks to texts and back.

use contract::TableName;
use jiff::Timestamp;
use mappings::relate::{
    Cell, Mark, Marked, OpenedTable, ReplicaRow, Replicas, Subgroup, Told, cells_from_text,
    cells_text, mark_from_text, mark_text,
};
use state::{GroupPart, RelationStore, StoreError, ToldRow};

/// Replicas in the state file.
pub(crate) struct StoredReplicas<'a, 't>(pub(crate) &'a mut RelationStore<'t>);

fn what(marked: Marked) -> u8 {
    match marked {
        Marked::Row => 0,
        Marked::Key => 1,
    }
}

fn cells(text: &str) -> Result<Vec<Cell>, StoreError> {
    cells_from_text(text)
        .ok_or_else(|| StoreError::Invariant("a replica's row does not parse".to_owned()))
}

fn mark(text: &str) -> Result<Mark, StoreError> {
    mark_from_text(text).ok_or_else(|| StoreError::Invariant("a mark does not parse".to_owned()))
}

fn rows(found: Vec<(String, String)>) -> Result<Vec<ReplicaRow>, StoreError> {
    let row = |(key, text): (String, String)| {
        let cells = cells(&text)?;
        Ok(ReplicaRow { key, cells })
    };
    found.into_iter().map(row).collect()
}

fn told(row: ToldRow) -> (String, Told) {
    let told = Told {
        event_key: row.event_key,
        held: row.held,
        part: row.part,
    };
    (row.row_key, told)
}

impl Replicas for StoredReplicas<'_, '_> {
    type Error = StoreError;

    fn open_table(
        &mut self,
        table: &TableName,
        columns: &[String],
    ) -> Result<OpenedTable, StoreError> {
        let (id, columns, grown) = self.0.open_table(&table.to_string(), columns)?;
        Ok(OpenedTable { id, columns, grown })
    }

    fn open_index(&mut self, table: i64, on: &str) -> Result<(i64, bool), StoreError> {
        self.0.open_index(table, on)
    }

    fn open_rule(&mut self, rule: &str, digest: &str) -> Result<(i64, bool), StoreError> {
        self.0.open_rule(rule, digest)
    }

    fn close_others(
        &mut self,
        tables: &[i64],
        indexes: &[i64],
        rules: &[i64],
    ) -> Result<(), StoreError> {
        self.0.close_others(tables, indexes, rules)
    }

    fn row(&mut self, table: i64, key: &str) -> Result<Option<Vec<Cell>>, StoreError> {
        self.0.row(table, key)?.map(|text| cells(&text)).transpose()
    }

    fn put(
        &mut self,
        table: i64,
        key: &str,
        cells: &[Cell],
        places: &[(i64, String)],
    ) -> Result<(), StoreError> {
        self.0.put(table, key, &cells_text(cells), places)
    }

    fn index(&mut self, index: i64, value: &str, table: i64, key: &str) -> Result<(), StoreError> {
        self.0.index(index, value, table, key)
    }

    fn seen(&mut self, table: i64, key: &str) -> Result<(), StoreError> {
        self.0.seen(table, key)
    }

    fn is_unseen(&mut self, table: i64, key: &str) -> Result<bool, StoreError> {
        self.0.is_unseen(table, key)
    }

    fn unseen(
        &mut self,
        table: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>), StoreError> {
        self.0.unseen(table, after, limit)
    }

    fn remove(&mut self, table: i64, key: &str) -> Result<(), StoreError> {
        self.0.remove(table, key)
    }

    fn rows(
        &mut self,
        table: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        rows(self.0.rows(table, after, limit)?)
    }

    fn find(
        &mut self,
        index: i64,
        value: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        rows(self.0.find(index, value, after, limit)?)
    }

    fn mark(&mut self, rule: i64, marked: Marked, key: &str, new: &Mark) -> Result<(), StoreError> {
        let mut all = new.clone();
        if let Some(known) = self.0.mark(rule, what(marked), key)? {
            all = mark(&known)?;
            all.with(new.clone());
        }
        let due = all.due.map(Timestamp::as_millisecond);
        self.0
            .put_mark(rule, what(marked), key, due, &mark_text(&all))
    }

    fn take_marks(
        &mut self,
        rule: i64,
        marked: Marked,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, StoreError> {
        let found = self
            .0
            .take_marks(rule, what(marked), now.as_millisecond(), limit)?;
        found
            .into_iter()
            .map(|(key, text)| Ok((key, mark(&text)?)))
            .collect()
    }

    fn marked(&mut self, rule: i64, marked: Marked, key: &str) -> Result<Option<Mark>, StoreError> {
        let known = self.0.mark(rule, what(marked), key)?;
        known.as_deref().map(mark).transpose()
    }

    fn marks(
        &mut self,
        rule: i64,
        marked: Marked,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, StoreError> {
        // No key is empty.
        let after = after.unwrap_or_default();
        let found = self.0.marks(rule, what(marked), after, limit)?;
        found
            .into_iter()
            .map(|(key, text)| Ok((key, mark(&text)?)))
            .collect()
    }

    fn unmark(&mut self, rule: i64, marked: Marked, key: &str) -> Result<(), StoreError> {
        self.0.unmark(rule, what(marked), key)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let due = self.0.next_due()?;
        Ok(due.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
    }

    fn has_marks(&mut self) -> Result<bool, StoreError> {
        self.0.has_marks()
    }

    fn told(&mut self, rule: i64, row: &str) -> Result<Option<Told>, StoreError> {
        Ok(self.0.told(rule, row)?.map(|row| told(row).1))
    }

    fn tell(&mut self, rule: i64, row: &str, told: Option<&Told>) -> Result<(), StoreError> {
        let Some(told) = told else {
            return self.0.untell(rule, row);
        };
        let row = ToldRow {
            row_key: row.to_owned(),
            event_key: told.event_key.clone(),
            held: told.held,
            part: told.part.clone(),
        };
        self.0.tell(rule, &row)
    }

    fn told_rows(
        &mut self,
        rule: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.0.told_rows(rule, after, limit)
    }

    fn tellers(
        &mut self,
        rule: i64,
        event_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Told)>, StoreError> {
        let found = self.0.tellers(rule, event_key, limit)?;
        Ok(found.into_iter().map(told).collect())
    }

    fn group(&mut self, rule: i64, event_key: &str) -> Result<Vec<Subgroup>, StoreError> {
        let parts = self.0.group(rule, event_key)?.into_iter();
        Ok(parts
            .map(|part| Subgroup {
                same: part.same,
                rows: part.rows,
                sums: part.sums,
            })
            .collect())
    }

    fn put_group(&mut self, rule: i64, event_key: &str, part: &Subgroup) -> Result<(), StoreError> {
        let part = GroupPart {
            same: part.same.clone(),
            rows: part.rows,
            sums: part.sums.clone(),
        };
        self.0.put_group(rule, event_key, &part)
    }
}
