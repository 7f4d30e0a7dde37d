//! A state file that is compacted, and one of another version.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use contract::Level;
use contract::finding::worst;
use rusqlite::Connection;
use state::{FILE_NAME, Store, StoreError, backup, compact, migrate, restore, verify};

use crate::common::{NOW, World, files, number, product, refused};

#[tokio::test]
async fn compacting_keeps_everything_but_the_room() {
    let world = World::new().await;
    let long = "x".repeat(1_000);
    for n in 0..20_u64 {
        let items = (0..50).map(|k| product(&format!("P{n}-{k}"), n + 1, &long));
        world.commit(items.collect(), n + 1).await;
    }
    let busy = compact(world.folder.path()).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    let World { folder, store, .. } = world;
    drop(store);
    let file = folder.path().join(FILE_NAME);
    let db = Connection::open(&file).unwrap();
    // Every second one leaves, so that no page is free and all are half empty.
    db.execute_batch("DELETE FROM delivery WHERE offset % 2; DELETE FROM outbox WHERE offset % 2")
        .unwrap();
    drop(db);
    let rows = number(&file, "SELECT count(*) FROM outbox");
    let done = compact(folder.path()).unwrap();
    assert!(done.after_bytes < done.before_bytes * 9 / 10, "{done:?}");
    assert_eq!(done.only_free_pages, None);
    assert_eq!(number(&file, "SELECT count(*) FROM outbox"), rows);
    assert_eq!(number(&file, "PRAGMA auto_vacuum"), 2);
    let verdict = verify(&file).unwrap();
    assert_eq!(worst(&verdict.findings), Level::Pass, "{verdict:?}");
    assert_eq!(
        files(folder.path()),
        [FILE_NAME, "lighterman.lock", "lighterman.pid"]
    );
    drop(Store::open(folder.path()).unwrap());
}

/// A file of version 4 with something in it.
fn older(folder: &Path) -> PathBuf {
    let file = folder.join(FILE_NAME);
    let db = Connection::open(&file).unwrap();
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
    db.execute_batch("INSERT INTO source (name) VALUES ('erp')")
        .unwrap();
    file
}

#[test]
fn a_migration_is_shown_then_done_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = older(folder.path());
    let shown = migrate(folder.path(), true).unwrap();
    assert_eq!((shown.from, shown.backup.is_none()), (4, true));
    assert_eq!(shown.steps[0].format, 5);
    assert_eq!(
        shown.steps[0].what,
        "what delivery knows beyond the last attempt"
    );
    assert_eq!(number(&file, "PRAGMA user_version"), 4, "only shown");
    let verdict = verify(&file).unwrap();
    assert_eq!(worst(&verdict.findings), Level::Warn, "{verdict:?}");

    let done = migrate(folder.path(), false).unwrap();
    assert_eq!(number(&file, "PRAGMA user_version"), done.to);
    let before = done.backup.unwrap();
    assert_eq!(number(&before, "PRAGMA user_version"), 4);
    assert_eq!(worst(&verify(&file).unwrap().findings), Level::Pass);
    assert_eq!(migrate(folder.path(), false).unwrap().steps, []);
    // A backup of the older version comes up to date when it is restored.
    let restored = restore(folder.path(), &before, false, NOW).unwrap();
    assert_eq!(restored.formats, (4, done.to));
    drop(Store::open(folder.path()).unwrap());
}

#[test]
fn whatever_opens_an_older_file_keeps_a_copy_of_it() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path());
    drop(Store::open(folder.path()).unwrap());
    let kept = files(&folder.path().join("backups"));
    assert_eq!(
        kept,
        [format!(
            "before-{}-of-format-4.db",
            env!("CARGO_PKG_VERSION")
        )]
    );
    drop(Store::open(folder.path()).unwrap());
    assert_eq!(files(&folder.path().join("backups")).len(), 1);
    // Of a new file there is nothing to keep.
    let new = tempfile::tempdir().unwrap();
    drop(Store::open(new.path()).unwrap());
    assert!(!new.path().join("backups").exists());
}

#[test]
fn a_newer_file_is_neither_migrated_nor_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = older(folder.path());
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let other = tempfile::tempdir().unwrap();
    for error in [
        migrate(folder.path(), true).unwrap_err(),
        migrate(folder.path(), false).unwrap_err(),
        compact(folder.path()).unwrap_err(),
        verify(&file).unwrap_err(),
        backup(folder.path(), None, NOW).unwrap_err(),
        restore(other.path(), &file, false, NOW).unwrap_err(),
    ] {
        assert!(
            matches!(error, StoreError::TooNew { found: 99, .. }),
            "{error}"
        );
        assert!(refused(&error).contains("format 99"), "{error}");
    }
    assert!(!folder.path().join("backups").exists());
}
