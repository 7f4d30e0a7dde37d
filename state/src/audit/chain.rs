//! How entries hang together: the hash of each covers all that it says and the hash of the one before.
//!
//! The same form serves the state file and an export of it.

use contract::value::hex;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What every hash begins with. Another form of entries would have another one.
const FORM: &str = "lighterman audit 1";
/// What stands in an entry that lets older ones go, and who writes it.
pub(super) const PRUNED: &str = "audit.pruned";
pub(super) const AGENT: &str = "agent";

/// An entry as it stands in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// From 1, none left out.
    pub number: u64,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What, as a code.
    pub what: String,
    /// To what.
    pub subject: String,
    /// More of it, as the JSON text that was hashed.
    pub details: String,
    /// The hash of the entry before.
    pub previous: String,
    /// The hash of this one.
    pub hash: String,
}

impl AuditRecord {
    /// The moment as it is hashed: `2026-11-27T14:30:00.123Z`.
    pub fn moment(&self) -> String {
        format!("{:.3}", self.at)
    }

    /// What the hash of an entry that says this is: SHA-256, in lower-case hexadecimal, of these parts, each
    /// with its length in bytes as 8 bytes before it, the highest first.
    pub fn hashed(&self) -> String {
        let (number, moment) = (self.number.to_string(), self.moment());
        let parts = [
            FORM,
            &self.previous,
            &number,
            &moment,
            &self.who,
            &self.what,
            &self.subject,
            &self.details,
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize())
    }

    fn head(&self) -> AuditHead {
        AuditHead {
            number: self.number,
            hash: self.hash.clone(),
        }
    }
}

/// A place in the record: an entry's number and hash. Kept elsewhere, it witnesses all that is before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditHead {
    /// The entry's number; 0 = before the first one.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl AuditHead {
    /// Before the first entry.
    pub fn none() -> Self {
        Self {
            number: 0,
            hash: "0".repeat(64),
        }
    }
}

/// Entries that are looked at one after the other.
#[derive(Debug)]
pub struct AuditChain {
    begins: AuditHead,
    head: AuditHead,
    /// An entry says that what was before the first one was let go.
    vouched: bool,
}

impl AuditChain {
    /// The entries behind a place.
    pub fn behind(begins: AuditHead) -> Self {
        Self {
            head: begins.clone(),
            vouched: begins == AuditHead::none(),
            begins,
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// Why it is not what was noted behind the one before, in words.
    pub fn take(&mut self, record: &AuditRecord) -> Result<(), String> {
        let (number, before) = (record.number, self.head.number);
        let next = before.saturating_add(1);
        if number != next {
            return Err(format!(
                "entry {next} is missing: entry {number} stands in its place"
            ));
        }
        if record.hash != record.hashed() {
            return Err(format!(
                "entry {number} was changed: its hash is not that of what it says"
            ));
        }
        if record.previous != self.head.hash {
            return Err(format!(
                "entry {number} does not follow what stands before it: {} was changed or replaced, or {number} was",
                match before {
                    0 => "the record's beginning".to_owned(),
                    _ => format!("entry {before}"),
                }
            ));
        }
        self.vouched |= lets_go(record).as_ref() == Some(&self.begins);
        self.head = record.head();
        Ok(())
    }

    /// The last entry that was taken.
    pub fn head(&self) -> &AuditHead {
        &self.head
    }

    /// Whether all of it hangs together.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn end(&self) -> Result<(), String> {
        if self.vouched {
            return Ok(());
        }
        Err(format!(
            "entry {} is the first one, and no entry says that those before it were let go",
            self.begins.number.saturating_add(1)
        ))
    }
}

/// The last entry that an entry lets go, where it does.
fn lets_go(record: &AuditRecord) -> Option<AuditHead> {
    if record.what != PRUNED || record.who != AGENT {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(&record.details).ok()?;
    Some(AuditHead {
        number: details.get("upto")?.as_u64()?,
        hash: details.get("hash")?.as_str()?.to_owned(),
    })
}
