//! What the store's tests share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Body, Envelope, Event, EventKey, EventOp, EventType, FieldValue, LogPos, MappingRef, Origin,
    Outgoing, Position, Resend,
};
use jiff::Timestamp;
use rusqlite::Connection;
use state::{
    CaptureCommit, Command, Happened, Item, PickLimits, Published, Route, Rules, StateReader,
    Store, StoreError, Turn, Turned,
};

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub fn position(number: u64) -> Position {
    Position::border(1, LogPos::from_number(number))
}

pub fn mapping() -> Arc<MappingRef> {
    Arc::new(MappingRef {
        pack: "p".to_owned(),
        version: "1".to_owned(),
        digest: "d".to_owned(),
        rule: "products".to_owned(),
    })
}

pub fn envelope(event_type: EventType, sku: &str, version: u64, op: EventOp) -> Envelope {
    let names = event_type.schema().key;
    Envelope {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        event_type,
        key: EventKey::new(vec![
            (names[0], "ACME".to_owned()),
            (names[1], sku.to_owned()),
        ]),
        version: position(version),
        op,
        origin: Origin::Live,
        occurred_at: NOW,
        occurred_at_exact: true,
        read_at: NOW,
        transaction: 0,
        mapping: mapping(),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    }
}

/// A product event whose body differs by `name`.
pub fn product(sku: &str, version: u64, name: &str) -> Item {
    let mut body = Body::new(EventType::Product.schema());
    let text = |value: &str| FieldValue::Text(value.to_owned());
    body.set("name", text(name)).unwrap();
    body.set("stock_uom", text("EA")).unwrap();
    body.set("kind", text("stocked")).unwrap();
    body.set("status", text("active")).unwrap();
    let envelope = envelope(EventType::Product, sku, version, EventOp::Upsert);
    Item::Event(Published {
        event: Event::new(envelope, Some(body)),
        row_key: sku.to_owned(),
        related: false,
        zero_first: false,
    })
}

/// So many products, each of a key of its own.
pub fn products(from: u64, count: u64) -> Vec<Item> {
    let one = |n| product(&format!("P{n}"), n, "p");
    (from..from + count).map(one).collect()
}

pub fn tombstone(sku: &str, version: u64) -> Item {
    let envelope = envelope(EventType::Product, sku, version, EventOp::Delete);
    Item::Event(Published {
        event: Event::new(envelope, None),
        row_key: sku.to_owned(),
        related: false,
        zero_first: false,
    })
}

pub fn fact(id: &str, version: u64) -> Item {
    let mut envelope = envelope(EventType::InventoryMovement, id, version, EventOp::Fact);
    envelope.fact_key = Some(format!("ACME/main.movement/{id}"));
    let body = Body::new(EventType::InventoryMovement.schema());
    Item::Event(Published {
        event: Event::new(envelope, Some(body)),
        row_key: id.to_owned(),
        related: false,
        zero_first: false,
    })
}

/// Stock of a SKU at the main place.
pub fn stock(sku: &str, version: u64, available: i64) -> Item {
    let mut body = Body::new(EventType::InventoryAvailability.schema());
    let number = |value: i64| FieldValue::Decimal(contract::Decimal::from(value));
    body.set("uom", FieldValue::Text("EA".to_owned())).unwrap();
    for field in ["on_hand", "available", "atp", "sellable"] {
        body.set(field, number(available)).unwrap();
    }
    body.set("allocated", number(0)).unwrap();
    body.set("unavailable_in_on_hand", FieldValue::Bool(false))
        .unwrap();
    body.set("formula", FieldValue::Text("f".to_owned()))
        .unwrap();
    body.set("active", FieldValue::Bool(true)).unwrap();
    of_place(EventType::InventoryAvailability, sku, version, Some(body))
}

/// The end of a SKU's stock at the main place.
pub fn stock_end(sku: &str, version: u64) -> Item {
    of_place(EventType::InventoryAvailability, sku, version, None)
}

/// A list price.
pub fn price(sku: &str, version: u64, amount: &str) -> Item {
    let mut body = Body::new(EventType::Price.schema());
    let amount = FieldValue::Money {
        amount: amount.parse().unwrap(),
        currency: "EUR".to_owned(),
    };
    body.set("amount", amount).unwrap();
    body.set("per_qty", FieldValue::Decimal(1_i64.into()))
        .unwrap();
    body.set("kind", FieldValue::Text("list".to_owned()))
        .unwrap();
    body.set("tax_included", FieldValue::Bool(false)).unwrap();
    body.set("computed", FieldValue::Bool(false)).unwrap();
    of_place(EventType::Price, sku, version, Some(body))
}

fn of_place(event_type: EventType, sku: &str, version: u64, body: Option<Body>) -> Item {
    let op = if body.is_some() {
        EventOp::Upsert
    } else {
        EventOp::Delete
    };
    let mut envelope = envelope(event_type, sku, version, op);
    let names = event_type.schema().key.iter().copied();
    let mut parts = vec!["ACME".to_owned(), sku.to_owned(), "MAIN".to_owned()];
    parts.resize(event_type.schema().key.len(), String::new());
    envelope.key = EventKey::new(names.zip(parts).collect());
    Item::Event(Published {
        event: Event::new(envelope, body),
        row_key: sku.to_owned(),
        related: false,
        zero_first: false,
    })
}

pub const LIMITS: PickLimits = PickLimits {
    events_max: 100,
    batches_max: 1,
    bytes_max: 1_000_000,
    request_timeout: Duration::from_secs(10),
};

pub struct World {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub source: i64,
    pub destination: i64,
    pub rules: Rules,
}

impl World {
    pub async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    pub async fn open(folder: tempfile::TempDir) -> Self {
        let store = Store::open(folder.path()).unwrap();
        let source = store.source("erp").await.unwrap().id;
        let destination = store.destination("shop").await.unwrap();
        Self {
            folder,
            store,
            source,
            destination,
            rules: Rules::default(),
        }
    }

    /// Closes the store as a crash would find it: everything answered is in the file.
    pub async fn reopen(self) -> Self {
        drop(self.store);
        let rules = self.rules;
        Self {
            rules,
            ..Self::open(self.folder).await
        }
    }

    pub fn routes(&self) -> Arc<[Route]> {
        Arc::from([Route {
            destination: self.destination,
            event_types: Vec::new(),
        }])
    }

    pub fn commit_of(&self, items: Vec<Item>, checkpoint: u64) -> CaptureCommit {
        CaptureCommit {
            items,
            routes: self.routes(),
            checkpoint: Some(position(checkpoint)),
            ..CaptureCommit::default()
        }
    }

    pub async fn commit(&self, items: Vec<Item>, checkpoint: u64) -> state::CaptureReport {
        let commit = self.commit_of(items, checkpoint);
        self.store
            .commit_capture(self.source, commit, NOW)
            .await
            .unwrap()
    }

    pub async fn turn(&self, outcomes: Vec<Happened>, now: Timestamp) -> Vec<Outgoing> {
        self.full_turn(outcomes, now, |_| {}).await.picked
    }

    /// A turn that records these, picks up to 100 events and is otherwise as told.
    pub async fn full_turn(
        &self,
        outcomes: Vec<Happened>,
        now: Timestamp,
        otherwise: impl FnOnce(&mut Turn),
    ) -> Turned {
        let mut turn = Turn {
            outcomes,
            resend: Resend::Safe,
            pick: Some(LIMITS),
            commands: true,
            ..Turn::at(now)
        };
        otherwise(&mut turn);
        let rules = Arc::new(self.rules.clone());
        let turned = self.store.turn(self.destination, turn, rules).await;
        turned.unwrap()
    }

    /// What a person asks, as without a running agent.
    pub async fn command(&self, command: Command, now: Timestamp) -> u64 {
        let rules = Arc::new(self.rules.clone());
        let done = self.store.command("shop", command, rules, now).await;
        done.unwrap().unwrap().count
    }

    pub fn reader(&self) -> StateReader {
        StateReader::open(self.folder.path()).unwrap()
    }
}

/// What an error says; it must say what to do, too.
pub fn refused(error: &StoreError) -> String {
    let hint = error.hint();
    assert!(hint.is_some(), "{error} says not what to do");
    error.to_string()
}

/// What is in a folder.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What a query for one number gives in a state file.
pub fn number(file: &Path, sql: &str) -> i64 {
    let db = Connection::open(file).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}
