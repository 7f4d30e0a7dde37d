//! The cells of one event's rows, side by side, as its expressions see them.

use contract::{Row, TableShape, Value};

use super::replicas::Cell;
use crate::rule::{Origin, Rule};
use crate::sql::{ABSENT, Cells};

/// One value for each of a rule's columns. A slot whose row is not known yet is all unchanged, so
/// that a condition which does not need it can still decide.
#[derive(Debug)]
pub(super) struct Work<'r> {
    pub(super) rule: &'r Rule,
    values: Vec<Value>,
    at: Vec<usize>,
}

impl<'r> Work<'r> {
    pub(super) fn new(rule: &'r Rule) -> Self {
        let columns = rule.columns.len();
        Self {
            rule,
            values: vec![Value::Unchanged; columns],
            at: (0..columns).collect(),
        }
    }

    /// Takes over a slot's row.
    pub(super) fn fill(&mut self, places: &[(usize, usize)], cells: &[Cell]) {
        for (place, cell) in places {
            let (value, at) = match cells.get(*cell) {
                Some(Some(value)) => (value.clone(), *place),
                Some(None) => (Value::Null, ABSENT),
                // Stored before anyone asked for this column.
                None => (Value::Unchanged, *place),
            };
            self.set(*place, value, at);
        }
    }

    /// As [`Work::fill`], of cells that nobody else needs.
    pub(super) fn take(&mut self, places: &[(usize, usize)], mut cells: Vec<Cell>) {
        for (place, cell) in places {
            let (value, at) = match cells.get_mut(*cell).map(Option::take) {
                Some(Some(value)) => (value, *place),
                Some(None) => (Value::Null, ABSENT),
                None => (Value::Unchanged, *place),
            };
            self.set(*place, value, at);
        }
    }

    /// Takes over a slot's row by the names of its columns.
    pub(super) fn fill_named(&mut self, wanted: usize, shape: &TableShape, row: &Row) {
        for (place, origin) in self.rule.columns.iter().enumerate() {
            let Origin::Cell { slot, column, .. } = origin else {
                continue;
            };
            if *slot != wanted {
                continue;
            }
            match shape.column(column).and_then(|at| row.get(at)) {
                Some(value) => self.set(place, value.clone(), place),
                None => self.set(place, Value::Null, ABSENT),
            }
        }
    }

    /// A slot's columns and raw values; none where there is no row.
    pub(super) fn cells_of(&self, wanted: usize) -> Vec<(String, Option<String>)> {
        let cells = self.rule.columns.iter().zip(&self.values);
        let mut found = Vec::new();
        for (origin, value) in cells {
            match origin {
                Origin::Cell { slot, column, .. } if *slot == wanted => {
                    found.push((column.clone(), value.text()));
                }
                _ => {}
            }
        }
        if found.iter().all(|(_, value)| value.is_none()) {
            found.clear();
        }
        found
    }

    /// A value as text.
    pub(super) fn text(&self, place: usize) -> Option<String> {
        self.values.get(place)?.text()
    }

    fn set(&mut self, place: usize, value: Value, at: usize) {
        if let (Some(slot), Some(index)) = (self.values.get_mut(place), self.at.get_mut(place)) {
            *slot = value;
            *index = at;
        }
    }

    /// A slot without a row.
    pub(super) fn nulls(&mut self, slot: usize) {
        self.all(slot, &Value::Null);
    }

    /// A slot whose row is not known.
    pub(super) fn unknown(&mut self, slot: usize) {
        self.all(slot, &Value::Unchanged);
    }

    fn all(&mut self, slot: usize, value: &Value) {
        for (place, origin) in self.rule.columns.iter().enumerate() {
            if matches!(origin, Origin::Cell { slot: known, .. } if *known == slot) {
                self.set(place, value.clone(), place);
            }
        }
    }

    /// Something that is no cell.
    pub(super) fn put(&mut self, wanted: &Origin, value: &Value) {
        for (place, origin) in self.rule.columns.iter().enumerate() {
            if origin == wanted {
                self.set(place, value.clone(), place);
            }
        }
    }

    pub(super) fn cells(&self) -> Cells<'_> {
        self.rule.cells(&self.at, &self.values)
    }

    /// The raw cells, for a person: `alias.column` and its value.
    pub(super) fn row_json(&self) -> serde_json::Value {
        let mut found = serde_json::Map::new();
        for (origin, value) in self.rule.columns.iter().zip(&self.values) {
            let Origin::Cell { slot, column, .. } = origin else {
                continue;
            };
            let alias = self.rule.slots.get(*slot).map_or("", |slot| &slot.alias);
            let text = match value {
                Value::Unchanged => continue,
                value => value.text().map_or(serde_json::Value::Null, Into::into),
            };
            found.insert(format!("{alias}.{column}"), text);
        }
        serde_json::Value::Object(found)
    }
}
