//! Owning and opening a state folder.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use state::{FILE_NAME, StateReader, Store, StoreError};

#[test]
fn a_second_agent_refuses_with_the_others_pid() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let StoreError::Busy { pid, .. } = Store::open(folder.path()).unwrap_err() else {
        unreachable!("expected Busy")
    };
    assert_eq!(pid, std::process::id().to_string());
    assert_eq!(
        StateReader::open(folder.path()).unwrap().running(),
        Some(std::process::id())
    );
    drop(store);
    assert_eq!(StateReader::open(folder.path()).unwrap().running(), None);
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(FILE_NAME),
        "this is no database, of 100 bytes".repeat(40),
    )
    .unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { .. } | StoreError::Sqlite(_)),
        "{error}"
    );
}

#[test]
fn a_foreign_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.execute_batch("CREATE TABLE t (a)").unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(
        error.to_string().contains("not a Lighterman state file"),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let db = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    assert!(matches!(
        Store::open(folder.path()).unwrap_err(),
        StoreError::TooNew { found: 99, .. }
    ));
    assert!(StateReader::open(folder.path()).is_err());
}

#[test]
fn the_file_is_kept_in_the_durable_mode() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    let db = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let mode: String = db
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}
