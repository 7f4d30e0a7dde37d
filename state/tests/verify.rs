//! What is said of state files that are right, and of those that are not.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::finding::Level;
use rusqlite::Connection;
use state::{FILE_NAME, StoreError, Verdict, verify};

use crate::common::{World, at, fact, price, product, stock, tombstone};

/// A state with work in it: delivered, out, waiting, held.
async fn worked() -> World {
    let world = World::new().await;
    world
        .commit(
            vec![
                product("A", 1, "a"),
                stock("A", 2, 5),
                price("A", 3, "1.50"),
            ],
            3,
        )
        .await;
    world
        .commit(vec![fact("m1", 4), product("B", 5, "b")], 5)
        .await;
    let picked = world.turn(Vec::new(), at(1)).await;
    assert!(!picked.is_empty());
    world
        .commit(vec![tombstone("B", 6), fact("m2", 7)], 7)
        .await;
    world
}

fn faults(verdict: &Verdict) -> String {
    let faults = verdict.findings.iter();
    let faults = faults.filter(|finding| finding.level == Level::Fail);
    faults
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn a_state_with_work_in_it_is_right_also_while_it_is_written() {
    let world = worked().await;
    let file = world.folder.path().join(FILE_NAME);
    let verdict = verify(&file).unwrap();
    assert_eq!(faults(&verdict), "");
    assert!(verdict.findings.len() > 8, "{:?}", verdict.findings);
    let folder = world.folder;
    drop(world.store);
    assert_eq!(faults(&verify(&file).unwrap()), "");
    drop(folder);
}

/// Each of these is a fault, and this is what is said of it.
const FAULTS: &[(&str, &str)] = &[
    (
        "UPDATE source SET checkpoint = 'nowhere'",
        "source erp: not a position",
    ),
    (
        "UPDATE source SET epoch = 2",
        "source erp is in epoch 2 and its checkpoint is of epoch 1",
    ),
    (
        "INSERT INTO guard VALUES (1, 't', 'k', '0000000001/9999999999999999/0000000000', 1)",
        "remembers a change that is newer than its checkpoint",
    ),
    (
        "UPDATE published SET version = '0000000007/0000000000000001/0000000000' WHERE id = 1",
        "source erp is in epoch 1 and told a key of epoch 7",
    ),
    (
        "DELETE FROM outbox WHERE offset = 2",
        "delivery 2 of destination 1 has no event",
    ),
    (
        "UPDATE outbox SET json = json || ' ' WHERE offset = 1",
        "event 1 changed on disk",
    ),
    (
        "UPDATE delivery SET state = 'gone' WHERE offset = 1",
        "delivery 1 is gone, which is no state",
    ),
    (
        "UPDATE delivery SET open = NULL WHERE state = 'sending'",
        "is sending and counts as finished",
    ),
    (
        "UPDATE delivery SET due_at = NULL WHERE state = 'sending'",
        "is sending and has no time",
    ),
    (
        "UPDATE delivery SET state = 'held' WHERE offset = 1",
        "delivery 1 is held without a cause",
    ),
    (
        "UPDATE delivery SET attempt = 0 WHERE state = 'sending'",
        "is sending and was never sent",
    ),
    (
        "UPDATE delivery SET state = 'superseded', open = NULL WHERE kind = 0",
        "is a fact and was superseded",
    ),
    (
        "UPDATE delivery SET state = 'sending', attempt = 1, due_at = 1 WHERE state = 'queued'",
        "and an older one of its lane is not finished",
    ),
    (
        "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'outbox'",
        "a number that was used",
    ),
    (
        "INSERT INTO snapshot_range VALUES (1, 'public.item', 0, 'c', 0)",
        "table public.item has ranges, and is not being read",
    ),
    (
        "INSERT INTO replica_place VALUES (7, 'v', 'k')",
        "places of index 7 without their row",
    ),
    (
        "INSERT INTO mark VALUES (9, 0, 'k', NULL, '{}')",
        "marks of relation 9",
    ),
    (
        "INSERT INTO published SELECT 99, 42, event_type, 'x', rule, version, digest, body,
           generation, offset, occurred_at FROM published WHERE id = 1",
        "a row of published refers to a row of source that is not there",
    ),
    ("DROP INDEX delivery_lane", "index delivery_lane is missing"),
    ("CREATE TABLE other (a)", "table other is not ours"),
    (
        "ALTER TABLE counter ADD COLUMN more TEXT",
        "table counter is not that of format",
    ),
];

#[tokio::test]
async fn each_fault_is_named_with_what_to_do() {
    let world = worked().await;
    let folder = world.folder;
    drop(world.store);
    let broken = tempfile::tempdir().unwrap();
    for (n, (sql, said)) in FAULTS.iter().enumerate() {
        let file = broken.path().join(format!("{n}.db"));
        std::fs::copy(folder.path().join(FILE_NAME), &file).unwrap();
        let db = Connection::open(&file).unwrap();
        db.pragma_update(None, "foreign_keys", "OFF").unwrap();
        db.execute_batch(sql).unwrap();
        let changes = sql.starts_with("UPDATE") || sql.starts_with("DELETE");
        assert!(!changes || db.changes() > 0, "{sql}");
        drop(db);
        let faults = faults(&verify(&file).unwrap());
        assert!(faults.contains(said), "{sql}\n{faults}");
        assert!(faults.contains("lighterman state restore"), "{faults}");
    }
}

#[tokio::test]
async fn a_damaged_page_is_found() {
    let world = worked().await;
    let folder = world.folder;
    drop(world.store);
    let file = folder.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xAB);
    std::fs::write(&file, bytes).unwrap();
    let verdict = verify(&file).unwrap();
    assert_ne!(faults(&verdict), "");
}

#[test]
fn what_is_no_state_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.db");
    assert!(matches!(
        verify(&file).unwrap_err(),
        StoreError::Missing { .. }
    ));
    std::fs::write(&file, "this is no database, of 100 bytes".repeat(40)).unwrap();
    let said = faults(&verify(&file).unwrap());
    assert!(said.contains("it is damaged: "), "{said}");
    std::fs::remove_file(&file).unwrap();
    let db = Connection::open(&file).unwrap();
    db.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(db);
    let said = faults(&verify(&file).unwrap());
    assert!(said.contains("not a Lighterman state file"), "{said}");
}
