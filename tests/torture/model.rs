//! What the database must hold, and what its mapping makes of each change: kept beside it, without it.

use std::collections::{BTreeMap, BTreeSet};

use judge::{Committed, What};

use crate::step::{Ddl, Statement};

pub const SOURCE: &str = "warehouse";
pub const PRODUCT: &str = "product.v1";
pub const STOCK: &str = "inventory.availability.v1";
pub const MOVEMENT: &str = "inventory.movement.v1";
pub const ORDER: &str = "order.v1";

/// By event type and key: what is there now.
pub type Place = (&'static str, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    items: BTreeMap<String, String>,
    now: BTreeMap<Place, What>,
    /// Columns that were added, by table.
    extra: BTreeMap<&'static str, BTreeSet<u32>>,
}

/// `5.1000` and `5.1` are one number.
pub fn plain(number: &str) -> String {
    let short = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    match short {
        "" | "-0" | "-" => "0".to_owned(),
        short => short.to_owned(),
    }
}

fn key(parts: &[&str]) -> String {
    format!("DEMO|{}", parts.join("|"))
}

impl Model {
    /// Whether the row that a statement puts is there already.
    pub fn has_row(&self, statement: &Statement) -> bool {
        match statement {
            Statement::PutItem { sku, .. } => self.items.contains_key(sku),
            Statement::PutStock { sku, warehouse, .. } => {
                self.now.contains_key(&(STOCK, key(&[sku, warehouse])))
            }
            Statement::PutOrder { id, .. } => {
                self.now.contains_key(&(ORDER, key(&[&id.to_string()])))
            }
            _ => false,
        }
    }

    /// Does it; what the mapping makes of it.
    pub fn apply(&mut self, statement: &Statement) -> Vec<Committed> {
        match statement {
            Statement::PutItem { sku, name } => {
                self.items.insert(sku.clone(), name.clone());
                vec![self.put(PRODUCT, key(&[sku]), What::State(name.clone()))]
            }
            Statement::DropItem { sku } => {
                self.items.remove(sku);
                self.end(PRODUCT, key(&[sku])).into_iter().collect()
            }
            Statement::RenameItem { from, to } => {
                if self.items.contains_key(to) {
                    return Vec::new();
                }
                let Some(name) = self.items.remove(from) else {
                    return Vec::new();
                };
                self.items.insert(to.clone(), name.clone());
                let ended = self.end(PRODUCT, key(&[from]));
                let put = self.put(PRODUCT, key(&[to]), What::State(name));
                ended.into_iter().chain([put]).collect()
            }
            Statement::PutStock {
                sku,
                warehouse,
                quantity,
            } => {
                vec![self.put(STOCK, key(&[sku, warehouse]), What::State(plain(quantity)))]
            }
            Statement::DropStock { sku, warehouse } => self
                .end(STOCK, key(&[sku, warehouse]))
                .into_iter()
                .collect(),
            Statement::Move {
                id,
                sku,
                warehouse,
                quantity,
            } => {
                let body = format!("{sku} {warehouse} {}", plain(quantity));
                vec![self.put(MOVEMENT, key(&[&id.to_string()]), What::Fact(body))]
            }
            Statement::PutOrder { id, status } => {
                let what = What::State((*status).to_owned());
                vec![self.put(ORDER, key(&[&id.to_string()]), what)]
            }
            Statement::DropOrder { id } => self
                .end(ORDER, key(&[&id.to_string()]))
                .into_iter()
                .collect(),
        }
    }

    fn put(&mut self, event_type: &'static str, key: String, what: What) -> Committed {
        self.now.insert((event_type, key.clone()), what.clone());
        committed(event_type, key, what)
    }

    fn end(&mut self, event_type: &'static str, key: String) -> Option<Committed> {
        self.now.remove(&(event_type, key.clone()))?;
        Some(committed(event_type, key, What::Gone))
    }

    /// Whether a change of a table can be done now; if so, it is.
    pub fn alter(&mut self, ddl: Ddl) -> bool {
        match ddl {
            Ddl::Add { table, column } => self.extra.entry(table).or_default().insert(column),
            Ddl::Drop { table, column } => self.extra.entry(table).or_default().remove(&column),
            Ddl::Rename { table, from, to } => {
                let extra = self.extra.entry(table).or_default();
                if extra.contains(&to) || !extra.remove(&from) {
                    return false;
                }
                extra.insert(to)
            }
        }
    }

    /// The rows of a type, by key: what a database that equals this model says.
    pub fn rows(&self, event_type: &str) -> BTreeMap<String, String> {
        let rows = self.now.iter().filter(|((kind, _), _)| *kind == event_type);
        rows.map(|((_, key), what)| {
            let body = match what {
                What::State(body) | What::Fact(body) | What::Correction(body) => body.clone(),
                What::Gone => String::new(),
            };
            (key.clone(), body)
        })
        .collect()
    }

    /// What it takes to become an earlier one, and the facts that are gone then.
    pub fn back_to(&self, earlier: &Self) -> (Vec<Committed>, Vec<Place>) {
        let (mut changes, mut facts) = (Vec::new(), Vec::new());
        for (place, what) in &self.now {
            match earlier.now.get(place) {
                Some(before) if before == what => {}
                Some(before) => changes.push(committed(place.0, place.1.clone(), before.clone())),
                None if what.is_state() => {
                    changes.push(committed(place.0, place.1.clone(), What::Gone));
                }
                None => facts.push(place.clone()),
            }
        }
        for (place, what) in &earlier.now {
            if !self.now.contains_key(place) {
                changes.push(committed(place.0, place.1.clone(), what.clone()));
            }
        }
        (changes, facts)
    }
}

fn committed(event_type: &str, key: String, what: What) -> Committed {
    Committed {
        source: SOURCE.to_owned(),
        event_type: event_type.to_owned(),
        key,
        what,
    }
}
