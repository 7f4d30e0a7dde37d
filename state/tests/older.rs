//! A state file of an older version, with work in it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use contract::event::digest;
use contract::{EventKind, Resend};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use state::{FILE_NAME, PickLimits, Retention, StateReader, Store, Turn, newest_format};

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

/// Who upgrades looks before the new version was started for the first time: the file is of a format before.
#[test]
fn a_file_of_a_format_before_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.pragma_update(None, "application_id", 0x4c54_524d_i64)
        .unwrap();
    for schema in [
        include_str!("../src/schema.sql"),
        include_str!("../src/schema_2.sql"),
        include_str!("../src/schema_3.sql"),
        include_str!("../src/schema_4.sql"),
        include_str!("../src/schema_5.sql"),
        include_str!("../src/schema_6.sql"),
        include_str!("../src/schema_7.sql"),
    ] {
        db.execute_batch(schema).unwrap();
    }
    db.pragma_update(None, "user_version", 7).unwrap();
    db.execute_batch(
        "INSERT INTO source (name) VALUES ('erp'); INSERT INTO destination (name) VALUES ('shop');",
    )
    .unwrap();
    let states = [
        "delivered",
        "held",
        "superseded",
        "unknown",
        "sending",
        "accepted",
        "backoff",
        "queued",
        "queued",
    ];
    for (offset, state) in (1_i64..).zip(states) {
        db.execute(
            "INSERT INTO outbox VALUES (?1, 1, 'evt_' || ?1, 'product.v1', 'A|' || ?1, 'upsert', 'k', 't', ?1 * 1000,
               ?1 * 1000, ?2, '{}', NULL)",
            params![offset, digest(&["{}"])],
        )
        .unwrap();
        db.execute(
            "INSERT INTO delivery (destination, offset, lane, state, tombstone, updated_at, created_at, kind, needs)
             VALUES (1, ?1, ?1, ?2, 0, ?1 * 1000, ?1 * 1000, 2, iif(?1 = 9, 8, NULL))",
            params![offset, state],
        )
        .unwrap();
    }
    let json = r#"{"body":{"name":"a"}}"#;
    db.execute(
        "UPDATE outbox SET json = ?1, digest = ?2",
        params![json, digest(&[json])],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO published (id, source, event_type, key, rule, version, digest, body, offset)
           SELECT offset, source, event_type, key, 'r', '0000000001/0000000000000001/0000000000', 'd', '{}', offset
           FROM outbox",
    )
    .unwrap();
    // Without the indexes of format 7 nothing is counted, and nothing fails.
    db.execute_batch("DROP INDEX delivery_held; DROP INDEX delivery_held_cause")
        .unwrap();
    db.pragma_update(None, "user_version", 6).unwrap();
    let reader = StateReader::open(folder.path()).unwrap();
    assert_eq!(reader.destinations().unwrap(), []);
    drop(reader);
    db.execute_batch(
        "CREATE INDEX delivery_held ON delivery (destination, offset) WHERE state = 'held';
         CREATE INDEX delivery_held_cause ON delivery (destination, held_cause, offset) WHERE state = 'held'",
    )
    .unwrap();
    db.pragma_update(None, "user_version", 7).unwrap();
    drop(db);
    let second = |second| Some(Timestamp::from_second(second).unwrap());
    let look = || {
        let reader = StateReader::open(folder.path()).unwrap();
        let shop = reader.destinations().unwrap().remove(0);
        assert_eq!((shop.backlog, shop.held, shop.waiting), (6, 1, 1));
        assert_eq!(
            (shop.sending, shop.unknown, shop.accepted, shop.backoff),
            (1, 1, 1, 1)
        );
        assert_eq!(shop.oldest_undelivered_at, second(4));
        assert_eq!(reader.standings().unwrap()[0].oldest_at, second(4));
        assert_eq!(reader.unfinished_offsets(4).unwrap(), [9, 8, 7, 6]);
        assert_eq!(reader.unfinished_offsets(9).unwrap(), [9, 8, 7, 6, 5, 4]);
        assert_eq!(reader.held_offsets(9).unwrap(), [2]);
        let retention = Retention {
            keep: Duration::from_hours(1),
            rows_max: 1_000,
        };
        let lanes: Vec<i64> = (1..=9).collect();
        let told = reader.told_keys("shop", "t", &lanes, Timestamp::UNIX_EPOCH);
        let left: Vec<_> = told
            .unwrap()
            .into_iter()
            .map(|key| key.undelivered)
            .collect();
        let expected = states.map(|state| Some(state.to_owned()));
        let done = |state: &Option<String>| {
            let state = state.as_deref().unwrap_or_default();
            !["delivered", "superseded"].contains(&state)
        };
        assert_eq!(
            left,
            expected.map(|state| Some(state).filter(done).flatten())
        );
        let flow = reader.flow(Timestamp::UNIX_EPOCH, retention).unwrap();
        assert_eq!(flow.waiting[0].count, 6);
        reader.format().unwrap().unwrap()
    };
    assert_eq!(look(), (7, newest_format()));
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.execute_batch(include_str!("../src/schema_8.sql"))
        .unwrap();
    db.pragma_update(None, "user_version", 8).unwrap();
    drop(db);
    assert_eq!(look(), (8, newest_format()));
    drop(Store::open(folder.path()).unwrap());
    assert_eq!(look(), (newest_format(), newest_format()));
}
