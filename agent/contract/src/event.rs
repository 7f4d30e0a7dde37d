//! The event: an envelope that says what, which, when and from where, around a typed body.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::body::{
    Body, BodySchema, CUSTOMER, ORDER, PRICE, PRODUCT, PURCHASE_ORDER, PURCHASE_RECEIPT, RETURN,
    SHIPMENT, availability, json_text, movement,
};
use crate::change::{push_escaped, split_escaped};
use crate::position::Position;
use crate::value::{hex, push_hex};

/// A canonical event type with its major version. A minor version only adds optional fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// `inventory.availability.v1`: how much of an item can be sold at a location.
    InventoryAvailability,
    /// `inventory.movement.v1`: one stock movement.
    InventoryMovement,
    /// `product.v1`: an item.
    Product,
    /// `price.v1`: one price of an item.
    Price,
    /// `customer.v1`: a customer.
    Customer,
    /// `order.v1`: a sales document.
    Order,
    /// `shipment.v1`: goods on their way to a customer.
    Shipment,
    /// `return.v1`: goods or credit on their way back.
    Return,
    /// `purchase_order.v1`: an order to a vendor.
    PurchaseOrder,
    /// `purchase_receipt.v1`: goods of one line received.
    PurchaseReceipt,
}

/// A tombstone's reason: the source's row is gone.
pub const HARD_DELETE: &str = "hard_delete";
/// A tombstone's reason: the row is there, but the mapping no longer takes it.
pub const OUT_OF_SCOPE: &str = "out_of_scope";
/// A tombstone's reason: the row is there, but marked as deleted.
pub const SOFT_FLAG: &str = "soft_flag";

/// Whether the latest event of a key replaces older ones, or each counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The latest wins; older undelivered ones may be superseded.
    State,
    /// Append-only; each must arrive.
    Fact,
}

impl EventType {
    /// Every event type.
    pub const ALL: [Self; 10] = [
        Self::InventoryAvailability,
        Self::InventoryMovement,
        Self::Product,
        Self::Price,
        Self::Customer,
        Self::Order,
        Self::Shipment,
        Self::Return,
        Self::PurchaseOrder,
        Self::PurchaseReceipt,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.schema().name
    }

    /// State or fact.
    pub fn kind(self) -> EventKind {
        match self {
            Self::InventoryAvailability
            | Self::Product
            | Self::Price
            | Self::Customer
            | Self::Order
            | Self::Shipment
            | Self::Return
            | Self::PurchaseOrder => EventKind::State,
            Self::InventoryMovement | Self::PurchaseReceipt => EventKind::Fact,
        }
    }

    /// The body's fields.
    pub fn schema(self) -> &'static BodySchema {
        match self {
            Self::InventoryAvailability => &availability::SCHEMA,
            Self::InventoryMovement => &movement::SCHEMA,
            Self::Product => &PRODUCT,
            Self::Price => &PRICE,
            Self::Customer => &CUSTOMER,
            Self::Order => &ORDER,
            Self::Shipment => &SHIPMENT,
            Self::Return => &RETURN,
            Self::PurchaseOrder => &PURCHASE_ORDER,
            Self::PurchaseReceipt => &PURCHASE_RECEIPT,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EventType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or(())
    }
}

/// The natural key of what the event is about: fields in the type's order, company first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(Vec<(&'static str, String)>);

impl EventKey {
    /// A key from its fields, in the schema's key order.
    pub fn new(fields: Vec<(&'static str, String)>) -> Self {
        Self(fields)
    }

    /// The fields.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0
    }

    /// The key of a type from its text; `None` when the text has another number of parts.
    pub fn parse(schema: &'static BodySchema, text: &str) -> Option<Self> {
        let parts = split_escaped(text);
        if parts.len() != schema.key.len() {
            return None;
        }
        Some(Self(schema.key.iter().copied().zip(parts).collect()))
    }

    /// One text for the whole key, without collisions: the lane's name, the outbox's key.
    pub fn text(&self) -> String {
        let bytes = self.0.iter().map(|(_, value)| value.len() + 1).sum();
        let mut text = String::with_capacity(bytes);
        for (n, (_, value)) in self.0.iter().enumerate() {
            if n > 0 {
                text.push('|');
            }
            push_escaped(&mut text, value);
        }
        text
    }
}

impl Serialize for EventKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What the event does to its key at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventOp {
    /// The key now looks like the body.
    Upsert,
    /// The key is gone (a tombstone); there is no body.
    Delete,
    /// This happened.
    Fact,
    /// A fact with the same key was changed at the source.
    Correction,
}

impl EventOp {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Fact => "fact",
            Self::Correction => "correction",
        }
    }
}

/// Why the event was made. Receivers treat all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A change in the log.
    Live,
    /// A row of a snapshot.
    Snapshot,
    /// Sent again by an operator.
    Replay,
    /// Sent to repair a difference.
    Reconcile,
}

/// The mapping that produced the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappingRef {
    /// Pack name.
    pub pack: String,
    /// Pack version.
    pub version: String,
    /// Digest of the mapping file's bytes.
    pub digest: String,
    /// The rule (`events[].id`) in the file.
    pub rule: String,
}

/// A deterministic event id: the same source state gives the same id on every run, machine and
/// replay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// The text: `evt_` and 32 hexadecimal digits; has no `.`, as Standard Webhooks demands.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(parts: &[&str]) -> Self {
        let mut id = String::with_capacity(36);
        id.push_str("evt_");
        push_hex(&mut id, &hash(parts));
        Self(id)
    }
}

/// 128 bits of SHA-256 over length-prefixed parts, in hexadecimal.
pub fn digest(parts: &[&str]) -> String {
    hex(&hash(parts))
}

fn hash(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

/// What stands behind an event's identity and provenance; all of it deterministic but `read_at`.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Our customer.
    pub tenant: Arc<str>,
    /// The configured source's name.
    pub source: Arc<str>,
    /// The type.
    pub event_type: EventType,
    /// The natural key.
    pub key: EventKey,
    /// The key under which the same row was told before; its tombstone comes with this event.
    pub renamed_from: Option<EventKey>,
    /// Orders the changes of one key: the position of the change behind it.
    pub version: Position,
    /// Upsert, delete, fact, correction.
    pub op: EventOp,
    /// Live, snapshot, replay, reconcile.
    pub origin: Origin,
    /// Commit time at the source, or read time when the source gives none.
    pub occurred_at: Timestamp,
    /// False when `occurred_at` is only the read time.
    pub occurred_at_exact: bool,
    /// When the agent read the change.
    pub read_at: Timestamp,
    /// The source's transaction, 0 where it has none.
    pub transaction: u64,
    /// The mapping.
    pub mapping: Arc<MappingRef>,
    /// For facts: company, source table and source primary key. State events use their id.
    pub fact_key: Option<String>,
    /// Why a tombstone: `hard_delete`, `soft_flag`, `archived`, `out_of_scope`.
    pub reason: Option<&'static str>,
    /// Guards that did not hold the event.
    pub warnings: Vec<String>,
}

/// A canonical business event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Deterministic id.
    pub id: EventId,
    /// Identity and provenance.
    pub envelope: Envelope,
    /// Digest of the canonical body: suppression and reconcile.
    pub body_digest: String,
    /// The body; `None` for a tombstone.
    pub body: Option<Body>,
    /// The body's canonical JSON, written once: it is digested, sent and remembered.
    body_json: Option<String>,
}

/// Bytes that most envelopes fit into.
const ENVELOPE_BYTES: usize = 1_024;

impl Event {
    /// An event with its id and digest worked out.
    pub fn new(envelope: Envelope, body: Option<Body>) -> Self {
        let e = &envelope;
        let key = e.key.text();
        let version = e.version.to_string();
        let identity = match (&e.fact_key, e.op) {
            (Some(fact), EventOp::Fact) => fact.as_str(),
            _ => version.as_str(),
        };
        let id = EventId::of(&[&e.tenant, &e.source, e.event_type.name(), &key, identity]);
        let body_json = body.as_ref().map(Body::json);
        let body_digest = match &body_json {
            Some(json) => digest(&[json]),
            None => "tombstone".to_owned(),
        };
        Self {
            id,
            envelope,
            body_digest,
            body,
            body_json,
        }
    }

    /// The body's canonical JSON; `None` for a tombstone.
    pub fn body_json(&self) -> Option<&str> {
        self.body_json.as_deref()
    }

    /// What is told instead of a tombstone where zero goes first, because many channels ignore
    /// deletes: the same place with nothing to sell, and the tombstone one version behind it.
    /// `told` is what was told last; nothing where that was zero.
    pub fn zero_first(&self, told: &Body) -> Option<(Self, Self)> {
        let zero = availability::zeroed(told).ok()?;
        if zero == *told {
            return None;
        }
        let before = Envelope {
            op: EventOp::Upsert,
            reason: None,
            ..self.envelope.clone()
        };
        Some((
            Self::new(before, Some(zero)),
            self.behind(&self.envelope.version),
        ))
    }

    /// The same event as the next version behind `version`.
    #[must_use]
    pub fn behind(&self, version: &Position) -> Self {
        let envelope = Envelope {
            version: Position {
                seq: version.seq.saturating_add(1),
                ..version.clone()
            },
            ..self.envelope.clone()
        };
        Self::new(envelope, self.body.clone())
    }

    /// What the receiver stores to recognise a repetition.
    pub fn idempotency_key(&self) -> &str {
        self.envelope
            .fact_key
            .as_deref()
            .unwrap_or(self.id.as_str())
    }

    /// State or fact.
    pub fn kind(&self) -> EventKind {
        self.envelope.event_type.kind()
    }

    /// The canonical JSON form, in fixed field order.
    pub fn json(&self) -> String {
        let body = self.body_json.as_deref().unwrap_or_default();
        let mut json = json_text(&WithoutBody(self), ENVELOPE_BYTES + body.len());
        if !body.is_empty() && json.pop() == Some('}') {
            json.push_str(",\"body\":");
            json.push_str(body);
            json.push('}');
        }
        json
    }
}

/// An event as far as its envelope goes.
struct WithoutBody<'a>(&'a Event);

struct VersionForm<'a>(&'a Position);

impl Serialize for VersionForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_struct("version", 3)?;
        form.serialize_field("epoch", &self.0.epoch)?;
        form.serialize_field("pos", self.0.pos.as_str())?;
        form.serialize_field("seq", &self.0.seq)?;
        form.end()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = self.envelope_form(serializer)?;
        if let Some(body) = &self.body {
            form.serialize_entry("body", body)?;
        }
        form.end()
    }
}

impl Serialize for WithoutBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.envelope_form(serializer)?.end()
    }
}

impl Event {
    fn envelope_form<S: Serializer>(&self, serializer: S) -> Result<S::SerializeMap, S::Error> {
        let e = &self.envelope;
        let mut form = serializer.serialize_map(None)?;
        form.serialize_entry("id", &self.id)?;
        form.serialize_entry("type", e.event_type.name())?;
        form.serialize_entry("schema_minor", &e.event_type.schema().minor)?;
        form.serialize_entry("tenant", &e.tenant)?;
        form.serialize_entry("source", &e.source)?;
        form.serialize_entry("key", &e.key)?;
        if let Some(key) = &e.renamed_from {
            form.serialize_entry("renamed_from", key)?;
        }
        form.serialize_entry("version", &VersionForm(&e.version))?;
        form.serialize_entry("op", &e.op)?;
        if let Some(reason) = e.reason {
            form.serialize_entry("reason", reason)?;
        }
        form.serialize_entry("origin", &e.origin)?;
        form.serialize_entry("occurred_at", &e.occurred_at)?;
        form.serialize_entry("occurred_at_exact", &e.occurred_at_exact)?;
        form.serialize_entry("read_at", &e.read_at)?;
        if e.transaction != 0 {
            form.serialize_entry("transaction", &e.transaction.to_string())?;
        }
        form.serialize_entry("mapping", &e.mapping)?;
        form.serialize_entry("idempotency_key", self.idempotency_key())?;
        form.serialize_entry("body_digest", &self.body_digest)?;
        if !e.warnings.is_empty() {
            form.serialize_entry("warnings", &e.warnings)?;
        }
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn key_text_round_trips(company: String, sku: String, location: String) {
            let key = EventKey::new(vec![
                ("company", company), ("sku", sku), ("location", location),
            ]);
            let schema = EventType::InventoryAvailability.schema();
            prop_assert_eq!(EventKey::parse(schema, &key.text()), Some(key));
        }
    }

    #[test]
    fn names_round_trip() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.name().parse(), Ok(event_type));
        }
    }
}
