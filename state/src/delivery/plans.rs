//! How SQLite goes about what is done for each event: never by walking a table or all deliveries of
//! a destination.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use contract::delivery::DeliveryEvent;
use contract::{
    Answer, Body, Envelope, Event, EventKey, EventOp, EventType, FieldValue, LogPos, MappingRef,
    Origin, Position,
};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::{Happened, PickLimits, Rules, Said, Turn, Turned, take_turn};
use crate::capture::{CaptureReport, Published, Route};
use crate::enqueue::Enqueue;

pub(super) const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub(super) fn event(
    event_type: EventType,
    sku: &str,
    version: u64,
    fields: &[(&str, FieldValue)],
) -> Event {
    let mut body = Body::new(event_type.schema());
    for (field, value) in fields {
        body.set(field, value.clone()).unwrap();
    }
    let names = event_type.schema().key.iter().copied();
    let parts = ["ACME", sku, "MAIN"].map(str::to_owned);
    let envelope = Envelope {
        tenant: Arc::from("acme"),
        source: Arc::from("erp"),
        event_type,
        key: EventKey::new(names.zip(parts).collect()),
        version: Position::border(1, LogPos::from_number(version)),
        op: EventOp::Upsert,
        origin: Origin::Live,
        occurred_at: NOW,
        occurred_at_exact: true,
        read_at: NOW,
        transaction: 0,
        mapping: Arc::new(MappingRef {
            pack: "p".to_owned(),
            version: "1".to_owned(),
            digest: "d".to_owned(),
            rule: "products".to_owned(),
        }),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    };
    Event::new(envelope, Some(body))
}

fn told(db: &Connection, events: Vec<Event>) {
    let routes = [Route {
        destination: 1,
        event_types: Vec::new(),
    }];
    let desk = Enqueue::new(db, 1, &routes, NOW);
    let mut report = CaptureReport::default();
    for event in events {
        let published = Published {
            row_key: event.envelope.key.text(),
            event,
            related: false,
            zero_first: false,
        };
        crate::publish::publish(&desk, &published, &mut report).unwrap();
    }
}

fn turn(db: &Connection, outcomes: Vec<Happened>) -> Turned {
    let turn = Turn {
        outcomes,
        pick: Some(PickLimits {
            events_max: 10,
            batches_max: 1,
            bytes_max: 1_000_000,
            request_timeout: std::time::Duration::from_secs(1),
        }),
        commands: true,
        ..Turn::at(NOW)
    };
    take_turn(db, 1, &turn, &Rules::default()).unwrap()
}

fn outcome(offset: i64, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset,
        event,
        said,
        cause: Some("HTTP 500".to_owned()),
        answer: Some(Answer::default()),
    }
}

/// Every statement that an event's way through delivery runs.
fn statements(db: &mut Connection) -> BTreeSet<String> {
    db.execute_batch(
        "INSERT INTO source (name) VALUES ('erp'); INSERT INTO destination (name) VALUES ('shop');",
    )
    .unwrap();
    let all = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&all);
    let note = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(_, sql) = event {
            seen.lock().unwrap().insert(sql.to_owned());
        }
    };
    db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))
        .unwrap();
    let text = |text: &str| FieldValue::Text(text.to_owned());
    let number = FieldValue::Decimal(contract::Decimal::from(5_i64));
    let stock = [("available", number)];
    told(
        db,
        vec![
            event(EventType::Product, "P", 1, &[("name", text("p"))]),
            event(EventType::InventoryAvailability, "P", 2, &stock),
            event(EventType::Order, "O", 3, &[]),
            event(
                EventType::Shipment,
                "S",
                4,
                &[("order_refs", FieldValue::Texts(vec!["O".to_owned()]))],
            ),
        ],
    );
    let picked = turn(db, vec![]).picked;
    assert_eq!(picked.len(), 2, "the product and the order");
    // Each fails, is refused, and is mended.
    let fails = |offset| outcome(offset, DeliveryEvent::Transient { due: NOW }, Said::Retry);
    let again = turn(db, picked.iter().map(|one| fails(one.offset)).collect()).picked;
    let refuse = |offset| outcome(offset, DeliveryEvent::Rejected, Said::Rejected);
    turn(db, again.iter().map(|one| refuse(one.offset)).collect());
    told(
        db,
        vec![
            event(EventType::Product, "P", 5, &[("name", text("q"))]),
            event(EventType::Order, "O", 6, &[("currency", text("EUR"))]),
        ],
    );
    let mut picked = turn(db, vec![]).picked;
    let mut left = 0;
    while !picked.is_empty() {
        left += picked.len();
        let applied = |offset| outcome(offset, DeliveryEvent::Applied, Said::Applied);
        picked = turn(db, picked.iter().map(|one| applied(one.offset)).collect()).picked;
    }
    assert_eq!(left, 4);
    db.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>)
        .unwrap();
    std::mem::take(&mut *all.lock().unwrap())
}

#[test]
fn nothing_that_is_done_for_each_event_walks_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = crate::folder::open_writer(folder.path()).unwrap();
    let mut looked_at = 0;
    for sql in statements(&mut db) {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = plan.parameter_count();
        let nothing = rusqlite::params_from_iter(vec![None::<i64>; parameters]);
        let steps = plan.query_map(nothing, |row| row.get::<_, String>(3));
        for step in steps.unwrap().map(Result::unwrap) {
            looked_at += 1;
            let walks = step.starts_with("SCAN ")
                && !step.starts_with("SCAN CONSTANT ROW")
                && !step.starts_with("SCAN (");
            // The queue is read from its head, in its order, and so is what a person asks; stopped locations are few.
            let by_order = ["delivery_queued", "request_open", "location_stop"].iter();
            let of_all = step.ends_with("(destination=?)")
                && !by_order.into_iter().any(|index| step.contains(index));
            assert!(!walks && !of_all, "{step}, of: {sql}");
        }
    }
    assert!(looked_at > 40, "{looked_at} steps");
}

/// What an index is of is decided at each row that is written, for each index: it must not need a table
/// that is built for it, as a list of more than two words does.
#[test]
fn no_delivery_is_written_with_a_table_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = crate::folder::open_writer(folder.path()).unwrap();
    let mut looked_at = 0;
    for sql in statements(&mut db) {
        let inserts = sql.starts_with("INSERT INTO delivery ");
        if !inserts && !sql.starts_with("UPDATE delivery SET ") {
            continue;
        }
        looked_at += 1;
        let mut program = db.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let parameters = program.parameter_count();
        let nothing = rusqlite::params_from_iter(vec![None::<i64>; parameters]);
        let steps = program.query_map(nothing, |row| row.get::<_, String>(1));
        for step in steps.unwrap().map(Result::unwrap) {
            assert!(!step.contains("Ephemeral"), "{step}, of: {sql}");
        }
    }
    assert!(looked_at >= 2, "{looked_at} statements");
}
