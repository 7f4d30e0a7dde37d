//! What a channel calls the items whose SKU is another one there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

/// Our SKUs to the channel's. What is not among them has the same one there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skus {
    theirs: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Skus {
    /// Adds one.
    ///
    /// # Errors
    /// Why not: two items would be one there, or one item two.
    pub fn add(&mut self, ours: &str, theirs: &str) -> Result<(), String> {
        if self.theirs.contains_key(ours) {
            return Err(format!("SKU {ours} stands there twice"));
        }
        if !self.taken.insert(theirs.to_owned()) {
            return Err(format!("two SKUs would be {theirs} at the channel"));
        }
        self.theirs.insert(ours.to_owned(), theirs.to_owned());
        Ok(())
    }

    /// Names the items of an event as the channel does.
    ///
    /// # Errors
    /// Why nothing may be sent: another item has this SKU there.
    pub(super) fn translate(&self, key: &mut Json, body: &mut Json) -> Result<(), String> {
        if self.theirs.is_empty() {
            return Ok(());
        }
        self.within(key)?;
        self.within(body)
    }

    fn within(&self, json: &mut Json) -> Result<(), String> {
        match json {
            Json::Object(members) => members.iter_mut().try_for_each(|(name, one)| match one {
                Json::String(sku) if name == "sku" => {
                    *sku = self.of(sku)?.to_owned();
                    Ok(())
                }
                one => self.within(one),
            }),
            Json::Array(items) => items.iter_mut().try_for_each(|one| self.within(one)),
            _ => Ok(()),
        }
    }

    fn of<'s>(&'s self, ours: &'s str) -> Result<&'s str, String> {
        match self.theirs.get(ours) {
            Some(theirs) => Ok(theirs),
            None if self.taken.contains(ours) => Err(format!(
                "the channel's SKU {ours} is another item's (`skus`): say what this one is there"
            )),
            None => Ok(ours),
        }
    }
}
