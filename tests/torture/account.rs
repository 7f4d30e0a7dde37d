//! What the agent says of itself: to what end its events came, and what it holds.

use std::path::Path;

use harness::agent::command;
use judge::{Balance, HeldItem};
use serde_json::Value;

use crate::play::BINARY;

/// Its word at one moment.
pub struct Account {
    pub balance: Balance,
    /// The first of what is held, by destinations and by the mapping.
    pub held: Vec<HeldItem>,
}

impl Account {
    /// Asks for it. An error is what was answered instead.
    pub fn ask(folder: &Path) -> Result<Self, String> {
        let (code, shown) = command(BINARY, folder, &["status", "--json"]);
        let said = serde_json::from_str::<Value>(&shown).ok();
        let account = said.as_ref().and_then(Self::read);
        account.ok_or_else(|| format!("status --json ended with {code:?}: {shown}"))
    }

    fn read(said: &Value) -> Option<Self> {
        let number = |name: &str| said["destinations"][0][name].as_u64();
        let balance = Balance {
            enqueued: said["sources"][0]["events"].as_u64()?,
            delivered: number("delivered")?,
            superseded: number("superseded")?,
            discarded: number("discarded")?,
            held: number("held")?,
            waiting: number("backlog")?,
        };
        let held = said["held"].as_array()?.iter().map(|item| {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            HeldItem {
                receiver: Some(text("by")).filter(|by| by != "mapping"),
                event_type: text("what"),
                key: text("key"),
                reason: text("reason"),
            }
        });
        Some(Self {
            balance,
            held: held.collect(),
        })
    }

    /// Nothing is on its way, and nothing is held.
    pub fn at_rest(&self) -> bool {
        self.balance.waiting == 0 && self.balance.held == 0 && self.held.is_empty()
    }
}
