//! Whether the receivers came to equal the source as the mapping in force sees it.
//!
//! What a key may say on its way there depends on when another mapping came, so the shared judge is told
//! of states how they end; of facts and positions it is told all. In which order states came is judged
//! where they arrive, by their versions (`received.rs`).

use std::collections::BTreeMap;
use std::fmt::Write;

use contract::Value;
use judge::{Committed, HeldItem, Ledger, Receiver, Repeats, What};

use crate::database::MOVE;
use crate::received::Received;
use crate::world::World;

const PRODUCT: &str = "product.v1";
const STOCK: &str = "inventory.availability.v1";
const FACT: &str = "inventory.movement.v1";

/// What a body must say of its key.
type Wanted = BTreeMap<String, String>;

impl World {
    /// What every key that is told must say, and the type of its event.
    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        for (sku, row) in self.rows.iter().filter(|(sku, _)| !sku.starts_with(MOVE)) {
            let name = row[1].text().unwrap();
            let (key, name) = match self.version {
                0 => (format!("ACME|{sku}"), name),
                1 if sku.ends_with('7') => continue,
                1 => (format!("ACME|K{sku}"), format!("{name}+")),
                _ if sku.ends_with('8') => continue,
                _ => (format!("ACME|{sku}"), format!("{name}+")),
            };
            wanted.insert(key, format!("\"name\":\"{name}\""));
        }
        for (key, sum) in self.sums() {
            wanted.insert(key, format!("\"on_hand\":\"{sum}\""));
        }
        wanted
    }

    /// Events made of several rows: moves added up by item, and over all items that are there.
    fn sums(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for sku in self.rows.keys().filter(|sku| !sku.starts_with(MOVE)) {
            sums.insert(format!("ACME|{sku}|MAIN"), 0);
        }
        let moves = self.rows.iter().filter(|(id, _)| id.starts_with(MOVE));
        for (_, row) in moves {
            let (Value::Int(qty), Some(sku)) = (&row[1], row[2].text()) else {
                continue;
            };
            if let Some(sum) = sums.get_mut(&format!("ACME|{sku}|MAIN")) {
                *sum += qty;
                let group = format!("ACME|ALL|{}", &sku[sku.len() - 1..]);
                *sums.entry(group).or_default() += qty;
            }
        }
        sums
    }

    /// Whether both receivers that are there hold what they must.
    pub fn is_equal(&self) -> bool {
        let wanted = self.wanted();
        let depot = !self.has_depot || holds(&self.depot, &wanted).is_empty();
        depot && holds(&self.received, &wanted).is_empty() && self.facts_that_differ().is_empty()
    }

    fn facts_that_differ(&self) -> Vec<String> {
        let mut found = Vec::new();
        for id in &self.facts {
            let key = format!("ACME|{id}");
            let says = self.received.quantities.get(&key);
            let row = self.rows.get(&format!("{MOVE}{id}"));
            match (says, row.map(|row| &row[1])) {
                (None, _) => found.push(format!("fact {key} is lost")),
                (Some(says), Some(Value::Int(qty))) if says != qty => {
                    found.push(format!(
                        "fact {key} is {qty} at the source, {says} at the receiver"
                    ));
                }
                _ => {}
            }
        }
        found
    }

    /// What differs, in words, each beginning with its key.
    pub fn differences(&self) -> Vec<String> {
        let wanted = self.wanted();
        let mut found = holds(&self.received, &wanted);
        found.extend(self.facts_that_differ());
        if self.has_depot {
            let depot = holds(&self.depot, &wanted).into_iter();
            found.extend(depot.map(|text| format!("{text}, of the depot")));
        }
        found
    }

    /// Has all of it judged, when the run has come to rest.
    pub fn judge(&mut self, held: Vec<HeldItem>) {
        let mut ledger = Ledger::new();
        for item in held {
            ledger.held(item);
        }
        let wanted = self.wanted();
        Self::states(&mut ledger, "shop", &self.received, &wanted);
        self.facts(&mut ledger);
        for seen in std::mem::take(&mut self.acknowledged) {
            ledger.position(seen);
        }
        self.verdict.add(judge::judge(&ledger));
        // Facts that came while it was not there, it is not told.
        let mut ledger = Ledger::new();
        if self.has_depot {
            Self::states(&mut ledger, "depot", &self.depot, &wanted);
        }
        self.verdict.add(judge::judge(&ledger));
    }

    fn states(ledger: &mut Ledger, name: &str, received: &Received, wanted: &Wanted) {
        ledger.receiver(Receiver::new(name, Repeats::Recognised));
        let keys = wanted.keys().chain(received.state.keys());
        let keys: std::collections::BTreeSet<&String> = keys.collect();
        for key in keys {
            let what = wanted
                .get(key)
                .map_or(What::Gone, |says| What::State(says.clone()));
            ledger.committed(Committed {
                source: "erp".to_owned(),
                event_type: type_of(key).to_owned(),
                key: key.clone(),
                what: what.clone(),
            });
            let Some((position, body)) = received.state.get(key) else {
                continue;
            };
            // A body says more than what it must.
            let took = match (body, wanted.get(key)) {
                (None, _) => What::Gone,
                (Some(body), Some(says)) if body.contains(says.as_str()) => what,
                (Some(body), _) => What::State(body.clone()),
            };
            ledger.received(
                name,
                judge::Received {
                    id: format!("{key} {position}"),
                    event_type: type_of(key).to_owned(),
                    key: key.clone(),
                    order: position.to_string(),
                    what: took,
                    read: false,
                },
            );
        }
    }

    fn facts(&self, ledger: &mut Ledger) {
        for (id, quantities) in &self.quantities {
            let key = format!("ACME|{id}");
            if !self.facts.contains(id) {
                ledger.forgotten(FACT, &key);
            }
            for quantity in quantities {
                for what in [What::Fact, What::Correction] {
                    ledger.committed(Committed {
                        source: "erp".to_owned(),
                        event_type: FACT.to_owned(),
                        key: key.clone(),
                        what: what(quantity.to_string()),
                    });
                }
            }
        }
        for fact in &self.received.facts {
            ledger.received("shop", fact.clone());
        }
    }

    /// What arrived of the keys that differ.
    pub fn arrived(&self, differences: &[String]) -> String {
        let mut text = "arrived:\n".to_owned();
        for (key, position, says) in &self.received.history {
            let of = |difference: &String| difference.contains(&format!("{key} "));
            if differences.iter().take(3).any(of) {
                let _ = writeln!(text, "  {key} {position} {says}");
            }
        }
        text
    }
}

/// Stock's keys have a location.
fn type_of(key: &str) -> &'static str {
    if key.matches('|').count() == 2 {
        STOCK
    } else {
        PRODUCT
    }
}

/// What a receiver does not hold, or holds and should not.
fn holds(received: &Received, wanted: &Wanted) -> Vec<String> {
    let mut found = Vec::new();
    for (key, says) in wanted {
        let has = received
            .state
            .get(key)
            .and_then(|(_, body)| body.as_deref());
        if !has.is_some_and(|has| has.contains(says.as_str())) {
            let has = has.unwrap_or("nothing");
            found.push(format!(
                "{key} says {says} at the source, {has} at the receiver"
            ));
        }
    }
    for (key, (_, body)) in &received.state {
        if body.is_some() && !wanted.contains_key(key) {
            found.push(format!(
                "{key} is gone at the source, still at the receiver"
            ));
        }
    }
    found
}
