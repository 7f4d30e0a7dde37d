//! A state file of an older version, with work in it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use contract::event::digest;
use contract::{EventKind, Resend};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use state::{FILE_NAME, PickLimits, Store, Turn};

#[tokio::test]
async fn what_an_older_version_left_to_deliver_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    {
        let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        db.pragma_update(None, "application_id", 0x4c54_524d_i64)
            .unwrap();
        for schema in [
            include_str!("../src/schema.sql"),
            include_str!("../src/schema_2.sql"),
            include_str!("../src/schema_3.sql"),
            include_str!("../src/schema_4.sql"),
        ] {
            db.execute_batch(schema).unwrap();
        }
        db.pragma_update(None, "user_version", 4).unwrap();
        db.execute_batch(
            "INSERT INTO source (name) VALUES ('erp'); INSERT INTO destination (name) VALUES ('shop');",
        )
        .unwrap();
        for (offset, lane, event_type, op) in [
            (1_i64, 7_i64, "product.v1", "upsert"),
            (2, -3, "inventory.movement.v1", "fact"),
        ] {
            db.execute(
                "INSERT INTO outbox VALUES (?1, 1, 'evt_' || ?1, ?2, 'A|' || ?1, ?3, 'k', 't', 0, 0, ?4, '{}')",
                params![offset, event_type, op, digest(&["{}"])],
            )
            .unwrap();
            db.execute(
                "INSERT INTO delivery (destination, offset, lane, state, tombstone, updated_at)
                 VALUES (1, ?1, ?2, 'queued', 0, 5)",
                params![offset, lane],
            )
            .unwrap();
        }
    }
    let store = Store::open(folder.path()).unwrap();
    let turn = Turn {
        resend: Resend::Safe,
        pick: Some(PickLimits {
            events_max: 10,
            batches_max: 1,
            bytes_max: 1_000,
            request_timeout: Duration::from_secs(1),
        }),
        ..Turn::at(Timestamp::UNIX_EPOCH)
    };
    let turned = store.turn(1, turn, Arc::default()).await.unwrap();
    let kinds: Vec<EventKind> = turned.picked.iter().map(contract::Outgoing::kind).collect();
    assert_eq!(kinds, [EventKind::State, EventKind::Fact]);
    drop(store);
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let known: Vec<(i64, i64)> = db
        .prepare("SELECT kind, created_at FROM delivery ORDER BY offset")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(known, [(2, 5), (0, 5)]);
}
