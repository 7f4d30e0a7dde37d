//! Replicas in memory: for tests of mapping files, which start from nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

use contract::TableName;
use jiff::Timestamp;

use super::replicas::{Cell, Mark, Marked, OpenedTable, ReplicaRow, Replicas, Subgroup, Told};

/// Where a row stands in indexes: index and value.
type Places = Vec<(i64, String)>;

/// A replica in memory.
#[derive(Default)]
struct Table {
    columns: Vec<String>,
    rows: BTreeMap<String, (Vec<Cell>, Places)>,
}

/// Replicas that live as long as the value.
#[derive(Default)]
pub struct MemoryReplicas {
    names: HashMap<String, i64>,
    tables: HashMap<i64, Table>,
    rules: HashMap<i64, String>,
    /// Index, and value in it, to the keys of rows.
    index: HashMap<i64, BTreeMap<String, BTreeSet<String>>>,
    /// The table of an index.
    indexed: HashMap<i64, i64>,
    marks: BTreeMap<(i64, Marked, String), Mark>,
    /// Rule and row.
    told: HashMap<i64, BTreeMap<String, Told>>,
    /// Rule and event key.
    tellers: HashMap<i64, BTreeMap<String, BTreeSet<String>>>,
    /// Rule and event key.
    groups: HashMap<i64, BTreeMap<String, BTreeMap<String, Subgroup>>>,
}

impl std::fmt::Debug for MemoryReplicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "replicas of {} tables", self.tables.len())
    }
}

impl MemoryReplicas {
    fn id(&mut self, name: String) -> (i64, bool) {
        let next = i64::try_from(self.names.len()).unwrap_or(i64::MAX);
        let mut new = false;
        let id = *self.names.entry(name).or_insert_with(|| {
            new = true;
            next
        });
        (id, new)
    }

    fn unindex(&mut self, key: &str, places: &[(i64, String)]) {
        for (index, value) in places {
            let Some(values) = self.index.get_mut(index) else {
                continue;
            };
            if let Some(keys) = values.get_mut(value) {
                keys.remove(key);
                if keys.is_empty() {
                    values.remove(value);
                }
            }
        }
    }

    fn stand(&mut self, index: i64, value: &str, key: &str) {
        let values = self.index.entry(index).or_default();
        values
            .entry(value.to_owned())
            .or_default()
            .insert(key.to_owned());
    }
}

fn behind<'b, V>(
    map: &'b BTreeMap<String, V>,
    after: Option<&str>,
) -> impl Iterator<Item = (&'b String, &'b V)> + use<'b, V> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |after| Excluded(after.to_owned()));
    map.range::<String, _>((from, Unbounded))
}

impl Replicas for MemoryReplicas {
    type Error = Infallible;

    fn open_table(
        &mut self,
        table: &TableName,
        columns: &[String],
    ) -> Result<OpenedTable, Infallible> {
        let (id, _) = self.id(format!("table {table}"));
        let known = self.tables.entry(id).or_default();
        let mut grown = false;
        for column in columns {
            if !known.columns.contains(column) {
                known.columns.push(column.clone());
                grown = true;
            }
        }
        Ok(OpenedTable {
            id,
            columns: known.columns.clone(),
            grown,
        })
    }

    fn open_index(&mut self, table: i64, on: &str) -> Result<(i64, bool), Infallible> {
        let (id, new) = self.id(format!("index {table} {on}"));
        self.indexed.insert(id, table);
        Ok((id, new))
    }

    fn open_rule(&mut self, rule: &str, digest: &str) -> Result<(i64, bool), Infallible> {
        let (id, new) = self.id(format!("rule {rule}"));
        let before = self.rules.insert(id, digest.to_owned());
        Ok((id, new || before.as_deref() != Some(digest)))
    }

    fn close_others(&mut self, _: &[i64], _: &[i64], _: &[i64]) -> Result<(), Infallible> {
        Ok(())
    }

    fn row(&mut self, table: i64, key: &str) -> Result<Option<Vec<Cell>>, Infallible> {
        let rows = self.tables.get(&table).map(|table| &table.rows);
        Ok(rows
            .and_then(|rows| rows.get(key))
            .map(|(cells, _)| cells.clone()))
    }

    fn put(
        &mut self,
        table: i64,
        key: &str,
        cells: &[Cell],
        places: &[(i64, String)],
    ) -> Result<(), Infallible> {
        let known = self.tables.get_mut(&table);
        let known = known.and_then(|table| table.rows.get_mut(key));
        if let Some((known, _)) = known.filter(|(_, known)| known.as_slice() == places) {
            *known = cells.to_vec();
            return Ok(());
        }
        self.remove(table, key)?;
        for (index, value) in places {
            self.stand(*index, value, key);
        }
        if let Some(table) = self.tables.get_mut(&table) {
            let row = (cells.to_vec(), places.to_vec());
            table.rows.insert(key.to_owned(), row);
        }
        Ok(())
    }

    fn index(&mut self, index: i64, value: &str, table: i64, key: &str) -> Result<(), Infallible> {
        self.stand(index, value, key);
        let row = self
            .tables
            .get_mut(&table)
            .and_then(|table| table.rows.get_mut(key));
        if let Some((_, places)) = row {
            places.push((index, value.to_owned()));
        }
        Ok(())
    }

    // Nothing is read again here.
    fn seen(&mut self, _: i64, _: &str) -> Result<(), Infallible> {
        Ok(())
    }

    fn is_unseen(&mut self, _: i64, _: &str) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn unseen(
        &mut self,
        _: i64,
        _: Option<&str>,
        _: usize,
    ) -> Result<(Vec<String>, Option<String>), Infallible> {
        Ok((Vec::new(), None))
    }

    fn remove(&mut self, table: i64, key: &str) -> Result<(), Infallible> {
        let row = self
            .tables
            .get_mut(&table)
            .and_then(|table| table.rows.remove(key));
        if let Some((_, places)) = row {
            self.unindex(key, &places);
        }
        Ok(())
    }

    fn rows(
        &mut self,
        table: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, Infallible> {
        let Some(table) = self.tables.get(&table) else {
            return Ok(Vec::new());
        };
        let rows = behind(&table.rows, after).take(limit);
        Ok(rows
            .map(|(key, (cells, _))| ReplicaRow {
                key: key.clone(),
                cells: cells.clone(),
            })
            .collect())
    }

    fn find(
        &mut self,
        index: i64,
        value: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReplicaRow>, Infallible> {
        let Some(keys) = self.index.get(&index).and_then(|values| values.get(value)) else {
            return Ok(Vec::new());
        };
        let table = self
            .indexed
            .get(&index)
            .and_then(|table| self.tables.get(table));
        let rows = keys
            .iter()
            .filter(|key| after.is_none_or(|after| key.as_str() > after))
            .filter_map(|key| {
                let (cells, _) = table?.rows.get(key)?;
                Some(ReplicaRow {
                    key: key.clone(),
                    cells: cells.clone(),
                })
            });
        Ok(rows.take(limit).collect())
    }

    fn mark(&mut self, rule: i64, what: Marked, key: &str, mark: &Mark) -> Result<(), Infallible> {
        let place = (rule, what, key.to_owned());
        match self.marks.get_mut(&place) {
            Some(known) => known.with(mark.clone()),
            None => {
                self.marks.insert(place, mark.clone());
            }
        }
        Ok(())
    }

    fn take_marks(
        &mut self,
        rule: i64,
        what: Marked,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, Infallible> {
        let due = |mark: &Mark| mark.due.is_none_or(|due| due <= now);
        let found: Vec<(i64, Marked, String)> = self
            .marks
            .iter()
            .filter(|((of, kind, _), mark)| *of == rule && *kind == what && due(mark))
            .take(limit)
            .map(|(place, _)| place.clone())
            .collect();
        Ok(found
            .into_iter()
            .filter_map(|place| {
                let mark = self.marks.remove(&place)?;
                Some((place.2, mark))
            })
            .collect())
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.marks.values().filter_map(|mark| mark.due).min())
    }

    fn marked(&mut self, rule: i64, what: Marked, key: &str) -> Result<Option<Mark>, Infallible> {
        Ok(self.marks.get(&(rule, what, key.to_owned())).cloned())
    }

    fn marks(
        &mut self,
        rule: i64,
        what: Marked,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Mark)>, Infallible> {
        let behind = |key: &str| after.is_none_or(|after| key > after);
        let all = self.marks.iter();
        let found = all.filter(|((of, kind, key), _)| *of == rule && *kind == what && behind(key));
        let found = found.map(|((_, _, key), mark)| (key.clone(), mark.clone()));
        Ok(found.take(limit).collect())
    }

    fn unmark(&mut self, rule: i64, what: Marked, key: &str) -> Result<(), Infallible> {
        self.marks.remove(&(rule, what, key.to_owned()));
        Ok(())
    }

    fn has_marks(&mut self) -> Result<bool, Infallible> {
        Ok(!self.marks.is_empty())
    }

    fn told(&mut self, rule: i64, row: &str) -> Result<Option<Told>, Infallible> {
        let rows = self.told.get(&rule);
        Ok(rows.and_then(|rows| rows.get(row)).cloned())
    }

    fn tell(&mut self, rule: i64, row: &str, told: Option<&Told>) -> Result<(), Infallible> {
        let rows = self.told.entry(rule).or_default();
        let tellers = self.tellers.entry(rule).or_default();
        let old = rows.remove(row);
        if let Some(old) = &old
            && told.is_none_or(|told| told.event_key != old.event_key)
            && let Some(keys) = tellers.get_mut(&old.event_key)
        {
            keys.remove(row);
            if keys.is_empty() {
                tellers.remove(&old.event_key);
            }
        }
        if let Some(told) = told {
            if old.is_none_or(|old| old.event_key != told.event_key) {
                let keys = tellers.entry(told.event_key.clone()).or_default();
                keys.insert(row.to_owned());
            }
            rows.insert(row.to_owned(), told.clone());
        }
        Ok(())
    }

    fn told_rows(
        &mut self,
        rule: i64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Infallible> {
        let Some(rows) = self.told.get(&rule) else {
            return Ok(Vec::new());
        };
        let rows = behind(rows, after).map(|(row, _)| row.clone());
        Ok(rows.take(limit).collect())
    }

    fn tellers(
        &mut self,
        rule: i64,
        event_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Told)>, Infallible> {
        let keys = self.tellers.get(&rule).and_then(|keys| keys.get(event_key));
        let (Some(rows), Some(told)) = (keys, self.told.get(&rule)) else {
            return Ok(Vec::new());
        };
        let told = rows
            .iter()
            .filter_map(|row| Some((row.clone(), told.get(row)?.clone())));
        Ok(told.take(limit).collect())
    }

    fn group(&mut self, rule: i64, event_key: &str) -> Result<Vec<Subgroup>, Infallible> {
        let group = self.groups.get(&rule).and_then(|keys| keys.get(event_key));
        Ok(group
            .map(|parts| parts.values().cloned().collect())
            .unwrap_or_default())
    }

    fn put_group(&mut self, rule: i64, event_key: &str, part: &Subgroup) -> Result<(), Infallible> {
        let keys = self.groups.entry(rule).or_default();
        let parts = keys.entry(event_key.to_owned()).or_default();
        if part.rows == 0 {
            parts.remove(&part.same);
        } else {
            parts.insert(part.same.clone(), part.clone());
        }
        if parts.is_empty() {
            keys.remove(event_key);
        }
        Ok(())
    }
}
