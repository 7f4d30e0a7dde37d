//! The event: an envelope that says what, which, when and from where, around a typed body.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::body::write::{name, plain_text, shown, text};
use crate::body::{
    Body, BodySchema, CUSTOMER, ORDER, PRICE, PRODUCT, PURCHASE_ORDER, PURCHASE_RECEIPT, RETURN,
    SHIPMENT, availability, movement,
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

    /// What recognises a repetition of an event of this type: of a state the idempotency key, which a
    /// replay on purpose has another of; of a fact the event's id, for a correction carries the
    /// idempotency key of what it corrects.
    pub fn repetition_key<'e>(self, id: &'e str, idempotency_key: &'e str) -> &'e str {
        match self.kind() {
            EventKind::State => idempotency_key,
            EventKind::Fact => id,
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

impl EventKey {
    fn write_json(&self, json: &mut String) {
        json.push('{');
        for (n, (field, value)) in self.0.iter().enumerate() {
            name(json, field, n == 0);
            text(json, value);
        }
        json.push('}');
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

impl Origin {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Snapshot => "snapshot",
            Self::Replay => "replay",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The mapping that produced the event.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

impl EventId {
    /// The text: `evt_` and 32 hexadecimal digits; has no `.`, as Standard Webhooks demands.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its 16 bytes; `None` where the text is no event id.
    pub fn bytes(&self) -> Option<[u8; 16]> {
        let digits = self.0.strip_prefix("evt_")?;
        let number = u128::from_str_radix(digits, 16).ok()?;
        Some(number.to_be_bytes())
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

    /// The id that the fact has, or had when it was first told: of a correction, that of what it
    /// corrects. `None` for a state.
    pub fn fact_id(&self) -> Option<EventId> {
        let e = &self.envelope;
        let fact = e.fact_key.as_deref()?;
        let key = e.key.text();
        let name = e.event_type.name();
        Some(EventId::of(&[&e.tenant, &e.source, name, &key, fact]))
    }

    /// The same fact as a correction of what was told of it.
    #[must_use]
    pub fn corrected(&self) -> Self {
        let envelope = Envelope {
            op: EventOp::Correction,
            ..self.envelope.clone()
        };
        Self::new(envelope, self.body.clone())
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

    /// What the receiver stores to recognise what it holds: of a fact, the same for its corrections.
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

    /// The canonical JSON form, in fixed field order. Written by hand, as bodies are.
    pub fn json(&self) -> String {
        let body = self.body_json.as_deref().unwrap_or_default();
        let mut json = String::with_capacity(ENVELOPE_BYTES + body.len());
        let e = &self.envelope;
        json.push('{');
        name(&mut json, "id", true);
        plain_text(&mut json, self.id.as_str());
        name(&mut json, "type", false);
        plain_text(&mut json, e.event_type.name());
        name(&mut json, "schema_minor", false);
        number(&mut json, e.event_type.schema().minor);
        name(&mut json, "tenant", false);
        text(&mut json, &e.tenant);
        name(&mut json, "source", false);
        text(&mut json, &e.source);
        name(&mut json, "key", false);
        e.key.write_json(&mut json);
        if let Some(key) = &e.renamed_from {
            name(&mut json, "renamed_from", false);
            key.write_json(&mut json);
        }
        name(&mut json, "version", false);
        json.push('{');
        name(&mut json, "epoch", true);
        number(&mut json, e.version.epoch);
        name(&mut json, "pos", false);
        text(&mut json, e.version.pos.as_str());
        name(&mut json, "seq", false);
        number(&mut json, e.version.seq);
        json.push('}');
        name(&mut json, "op", false);
        plain_text(&mut json, e.op.name());
        if let Some(reason) = e.reason {
            name(&mut json, "reason", false);
            plain_text(&mut json, reason);
        }
        name(&mut json, "origin", false);
        plain_text(&mut json, e.origin.name());
        name(&mut json, "occurred_at", false);
        shown(&mut json, &e.occurred_at);
        name(&mut json, "occurred_at_exact", false);
        json.push_str(if e.occurred_at_exact { "true" } else { "false" });
        name(&mut json, "read_at", false);
        shown(&mut json, &e.read_at);
        if e.transaction != 0 {
            name(&mut json, "transaction", false);
            shown(&mut json, &e.transaction);
        }
        name(&mut json, "mapping", false);
        let parts = [
            ("pack", &e.mapping.pack),
            ("version", &e.mapping.version),
            ("digest", &e.mapping.digest),
            ("rule", &e.mapping.rule),
        ];
        json.push('{');
        for (n, (part, value)) in parts.into_iter().enumerate() {
            name(&mut json, part, n == 0);
            text(&mut json, value);
        }
        json.push('}');
        name(&mut json, "idempotency_key", false);
        text(&mut json, self.idempotency_key());
        name(&mut json, "body_digest", false);
        plain_text(&mut json, &self.body_digest);
        for (n, warning) in e.warnings.iter().enumerate() {
            if n == 0 {
                name(&mut json, "warnings", false);
            }
            json.push(if n == 0 { '[' } else { ',' });
            text(&mut json, warning);
        }
        if !e.warnings.is_empty() {
            json.push(']');
        }
        if !body.is_empty() {
            name(&mut json, "body", false);
            json.push_str(body);
        }
        json.push('}');
        json
    }
}

fn number(json: &mut String, number: impl fmt::Display) {
    // Writing to a text cannot fail.
    let _ = write!(json, "{number}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::FieldValue;

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

    fn event(texts: [&str; 4], transaction: u64, warnings: Vec<String>) -> Event {
        let [key, uom, note, rule] = texts;
        let mut body = Body::new(&ORDER);
        let texts = vec![note.to_owned(), uom.to_owned()];
        let mut hold = Body::new(match ORDER.field("hold").map(|field| field.field_type) {
            Some(crate::body::FieldType::Object(schema)) => schema,
            _ => panic!("an order's hold is an object"),
        });
        hold.set("held", FieldValue::Bool(true)).unwrap();
        hold.set("reasons", FieldValue::Texts(texts)).unwrap();
        let amount = "-12.50".parse().unwrap();
        let currency = "EUR".to_owned();
        let fields = [
            ("order_number", FieldValue::Text(note.to_owned())),
            ("total", FieldValue::Money { amount, currency }),
            ("hold", FieldValue::Object(Box::new(hold))),
            ("has_backorder", FieldValue::Bool(false)),
            (
                "ordered_on",
                FieldValue::Date(jiff::civil::date(2026, 11, 20)),
            ),
        ];
        for (name, value) in fields {
            body.set(name, value).unwrap();
        }
        let key = EventKey::new(vec![
            ("company", uom.to_owned()),
            ("order_id", key.to_owned()),
        ]);
        let envelope = Envelope {
            tenant: Arc::from(uom),
            source: Arc::from(note),
            event_type: EventType::Order,
            renamed_from: (!warnings.is_empty()).then(|| key.clone()),
            key,
            version: Position {
                epoch: 7,
                pos: crate::LogPos::from_number(9),
                seq: 3,
            },
            op: EventOp::Upsert,
            origin: Origin::Reconcile,
            occurred_at: Timestamp::UNIX_EPOCH,
            occurred_at_exact: true,
            read_at: "2026-11-20T08:15:00.75Z".parse().unwrap(),
            transaction,
            mapping: Arc::new(MappingRef {
                pack: note.to_owned(),
                version: "1".to_owned(),
                digest: "00".to_owned(),
                rule: rule.to_owned(),
            }),
            fact_key: None,
            reason: None,
            warnings,
        };
        Event::new(envelope, Some(body))
    }

    proptest! {
        #[test]
        fn json_is_what_serde_writes(key: String, uom: String, note: String, rule: String,
                                     transaction: u64, warnings: Vec<String>) {
            let event = event([&key, &uom, &note, &rule], transaction, warnings);
            let json = event.json();
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.to_string(), json);
            prop_assert_eq!(&read["key"]["order_id"], &key);
            let body = event.body.as_ref().unwrap();
            prop_assert_eq!(serde_json::to_string(body).unwrap(), body.json());
        }
    }

    #[test]
    fn names_round_trip() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.name().parse(), Ok(event_type));
        }
    }
}
