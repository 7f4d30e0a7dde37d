//! The record of who changed what: it is added to and never changed, survives what happens to its file, and
//! says where somebody wrote to it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;

use contract::Level;
use contract::finding::worst;
use rusqlite::Connection;
use state::{
    AuditEntry, AuditFilter, AuditHead, FILE_NAME, StateReader, Store, StoreError, backup, compact,
    migrate, note_audit, note_audit_changes, restore, verify,
};

use crate::common::{NOW, World, at, product};

fn entry(who: &str, what: &str, subject: &str) -> AuditEntry {
    AuditEntry {
        at: at(60),
        who: who.to_owned(),
        what: what.to_owned(),
        subject: subject.to_owned(),
        details: serde_json::json!({ "count": 3, "why": "ä \"quoted\"\n" }),
    }
}

/// A folder with a state file and so many entries.
fn noted(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    for number in 0..count {
        let entry = entry("os:anna", "held.retry", &format!("shop-{number}"));
        note_audit(folder.path(), &entry).unwrap();
    }
    folder
}

fn head(folder: &Path) -> AuditHead {
    StateReader::open(folder)
        .unwrap()
        .audit_head()
        .unwrap()
        .unwrap()
        .0
}

fn wrong(folder: &Path) -> Option<String> {
    let verdict = StateReader::open(folder).unwrap().audit_verified();
    verdict.unwrap().unwrap().wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_noted_beside_a_store_that_writes_and_none_is_lost() {
    let world = World::new().await;
    let folder = world.folder.path().to_owned();
    let noting: Vec<_> = ["os:anna", "os:ben"]
        .into_iter()
        .map(|who| {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || {
                for number in 0..20 {
                    let entry = entry(who, "destination.pause", &number.to_string());
                    note_audit(&folder, &entry).unwrap();
                }
            })
        })
        .collect();
    for n in 1..20 {
        world.commit(vec![product("A", n, &n.to_string())], n).await;
    }
    for done in noting {
        done.await.unwrap();
    }
    let reader = StateReader::open(&folder).unwrap();
    let verdict = reader.audit_verified().unwrap().unwrap();
    assert_eq!((verdict.entries, verdict.wrong), (40, None));
    let of = AuditFilter {
        who: Some("ben".to_owned()),
        limit: 100,
        ..AuditFilter::default()
    };
    assert_eq!(reader.audit(&of).unwrap().len(), 20);
}

#[test]
fn some_are_found_by_who_what_subject_and_time() {
    let folder = noted(0);
    for (who, what, subject, second) in [
        ("os:anna", "held.retry", "shop", 10),
        ("os:ben", "held.drop", "shop", 20),
        ("token:anna", "settings.changed", "source.erp.port", 30),
        ("agent", "settings.changed", "source.erp2.port", 40),
    ] {
        let mut entry = entry(who, what, subject);
        entry.at = at(second);
        note_audit(folder.path(), &entry).unwrap();
    }
    let reader = StateReader::open(folder.path()).unwrap();
    let all = || AuditFilter {
        limit: 10,
        ..AuditFilter::default()
    };
    let text = |text: &str| Some(text.to_owned());
    let check = |filter: AuditFilter, wanted: &[u64]| {
        let found = reader.audit(&filter).unwrap();
        let numbers: Vec<u64> = found.iter().map(|one| one.number).collect();
        assert_eq!(numbers, wanted, "{filter:?}");
    };
    check(all(), &[1, 2, 3, 4]);
    check(AuditFilter { limit: 2, ..all() }, &[3, 4]);
    check(
        AuditFilter {
            who: text("anna"),
            ..all()
        },
        &[1, 3],
    );
    check(
        AuditFilter {
            who: text("os:anna"),
            ..all()
        },
        &[1],
    );
    check(
        AuditFilter {
            what: text("held"),
            ..all()
        },
        &[1, 2],
    );
    check(
        AuditFilter {
            what: text("held.drop"),
            ..all()
        },
        &[2],
    );
    check(
        AuditFilter {
            subject: text("source.erp"),
            ..all()
        },
        &[3],
    );
    check(
        AuditFilter {
            since: Some(at(30)),
            ..all()
        },
        &[3, 4],
    );
    check(
        AuditFilter {
            who: text("nobody"),
            ..all()
        },
        &[],
    );
}

/// Each of these is what somebody may do to the file who takes our triggers away first, and what is said.
const TAMPERED: &[(&str, &str)] = &[
    (
        "UPDATE audit SET who = 'os:ben' WHERE number = 3",
        "entry 3 was changed",
    ),
    (
        "UPDATE audit SET at = at + 60000 WHERE number = 5",
        "entry 5 was changed",
    ),
    (
        "UPDATE audit SET details = '{}' WHERE number = 1",
        "entry 1 was changed",
    ),
    ("DELETE FROM audit WHERE number = 2", "entry 2 is missing"),
    ("DELETE FROM audit WHERE number = 1", "entry 1 is missing"),
    (
        "DELETE FROM audit WHERE number = 2; UPDATE audit SET number = number - 1 WHERE number > 2",
        "entry 2 was changed",
    ),
    (
        "UPDATE audit SET number = 99 WHERE number = 3; UPDATE audit SET number = 3 WHERE number = 4;
         UPDATE audit SET number = 4 WHERE number = 99",
        "entry 3 was changed",
    ),
    (
        "UPDATE audit SET hash = (SELECT hash FROM audit WHERE number = 4) WHERE number = 3",
        "entry 3 was changed",
    ),
    (
        "DELETE FROM audit WHERE number <= 2;
         UPDATE audit_anchor SET number = 2, hash = (SELECT previous FROM audit WHERE number = 3)",
        "entry 3 is the first one, and no entry says",
    ),
    (
        "UPDATE audit_anchor SET number = 1",
        "entry 2 is missing",
    ),
];

#[test]
fn whatever_is_changed_removed_or_swapped_is_found_and_named() {
    for (sql, wanted) in TAMPERED {
        let folder = noted(6);
        let file = folder.path().join(FILE_NAME);
        let db = Connection::open(&file).unwrap();
        let triggers: Vec<(String, String)> = db
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (name, _) in &triggers {
            db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        let verdict = verify(&file).unwrap();
        assert!(format!("{verdict:?}").contains("trigger audit_only_added_to is missing"));
        db.execute_batch(sql).unwrap();
        for (_, sql) in &triggers {
            db.execute_batch(sql).unwrap();
        }
        let found = wrong(folder.path()).unwrap_or_default();
        assert!(found.contains(wanted), "{sql}: {found}");
        let verdict = verify(&file).unwrap();
        assert_eq!(worst(&verdict.findings), Level::Fail, "{sql}");
        assert!(
            format!("{verdict:?}").contains(wanted),
            "{sql}: {verdict:?}"
        );
    }
}

/// Whoever knows how hashes are made can make one entry look right, and then the next one does not.
#[test]
fn an_entry_that_is_replaced_with_its_hash_does_not_fit_the_next_one() {
    let folder = noted(6);
    let all = AuditFilter {
        limit: 10,
        ..AuditFilter::default()
    };
    let found = StateReader::open(folder.path())
        .unwrap()
        .audit(&all)
        .unwrap();
    let mut third = found[2].clone();
    assert_eq!(third.hash, third.hashed());
    third.who = "os:ben".to_owned();
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.execute_batch("DROP TRIGGER audit_only_added_to")
        .unwrap();
    db.execute(
        "UPDATE audit SET who = ?1, hash = ?2 WHERE number = 3",
        [&third.who, &third.hashed()],
    )
    .unwrap();
    let found = wrong(folder.path()).unwrap();
    assert!(found.contains("entry 4 does not follow"), "{found}");
}

/// What the chain by itself cannot see: its end, where nobody else knows of it.
#[test]
fn a_tail_that_is_cut_off_is_seen_only_by_who_kept_the_head() {
    let folder = noted(6);
    let before = head(folder.path());
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    db.execute_batch("DROP TRIGGER audit_only_pruned; DELETE FROM audit WHERE number > 4")
        .unwrap();
    assert_eq!(wrong(folder.path()), None);
    let reader = StateReader::open(folder.path()).unwrap();
    assert_eq!(before.number, 6);
    assert_eq!(reader.audit_at(6).unwrap(), None);
    // Written anew up to the same number, it has other hashes.
    for _ in 0..2 {
        note_audit(folder.path(), &entry("os:ben", "held.drop", "x")).unwrap();
    }
    assert_eq!(wrong(folder.path()), None);
    assert_ne!(reader.audit_at(6).unwrap(), Some(before));
}

#[test]
fn our_own_statements_cannot_break_it_by_accident() {
    let folder = noted(3);
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    for sql in [
        "UPDATE audit SET who = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE number = 1",
        "INSERT INTO audit SELECT 9, at, who, what, subject, details, hash, hash FROM audit WHERE number = 3",
        "INSERT INTO audit SELECT 4, at, who, what, subject, details, previous, hash FROM audit WHERE number = 3",
        "INSERT OR REPLACE INTO audit SELECT 2, at, who, what, subject, details, previous, hash FROM audit
           WHERE number = 3",
        "DELETE FROM audit_anchor",
        "UPDATE audit_anchor SET number = -1",
    ] {
        assert!(db.execute_batch(sql).is_err(), "{sql}");
    }
    assert_eq!(wrong(folder.path()), None);
}

#[test]
fn it_survives_backup_compact_and_restore_and_keeps_what_came_after_the_backup() {
    let folder = noted(3);
    let kept = folder.path().join("kept.db");
    backup(folder.path(), Some(&kept), NOW).unwrap();
    note_audit(folder.path(), &entry("os:ben", "held.drop", "after")).unwrap();
    let before = head(folder.path());
    compact(folder.path()).unwrap();
    assert_eq!(
        (head(folder.path()), wrong(folder.path())),
        (before.clone(), None)
    );

    let done = restore(folder.path(), &kept, false, NOW).unwrap();
    assert_eq!(done.noted_since, 1);
    assert_eq!((head(folder.path()), wrong(folder.path())), (before, None));
    note_audit(folder.path(), &entry("os:ben", "state.restore", "")).unwrap();
    assert_eq!(
        (head(folder.path()).number, wrong(folder.path())),
        (5, None)
    );

    // A state of another life has another record: nothing of it is taken over.
    let other = noted(0);
    for number in 0..6 {
        note_audit(
            other.path(),
            &entry("os:carl", "held.retry", &number.to_string()),
        )
        .unwrap();
    }
    let done = restore(other.path(), &kept, false, NOW).unwrap();
    assert_eq!(done.noted_since, 0);
    assert_eq!((head(other.path()).number, wrong(other.path())), (3, None));
}

#[test]
fn a_record_that_is_wrong_does_not_stop_a_restore() {
    let folder = noted(3);
    let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let trigger: String = db
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'audit_only_added_to'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    db.execute_batch(
        "DROP TRIGGER audit_only_added_to; UPDATE audit SET who = 'os:ben' WHERE number = 2",
    )
    .unwrap();
    db.execute_batch(&trigger).unwrap();
    drop(db);
    let kept = folder.path().join("kept.db");
    backup(folder.path(), Some(&kept), NOW).unwrap();
    assert_eq!(worst(&verify(&kept).unwrap().findings), Level::Fail);
    restore(folder.path(), &kept, false, NOW).unwrap();
    assert!(
        wrong(folder.path())
            .unwrap()
            .contains("entry 2 was changed")
    );
}

#[test]
fn nothing_is_noted_where_no_state_is_and_an_older_one_is_said() {
    let folder = tempfile::tempdir().unwrap();
    note_audit(folder.path(), &entry("os:anna", "source.prepare", "erp")).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let file = folder.path().join(FILE_NAME);
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "application_id", 0x4c54_524d_i64)
        .unwrap();
    db.execute_batch(include_str!("../src/schema.sql")).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    let refused =
        note_audit(folder.path(), &entry("os:anna", "source.prepare", "erp")).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("lighterman state migrate"));
    let reader = StateReader::open(folder.path()).unwrap();
    assert_eq!(reader.audit_head().unwrap(), None);
    assert_eq!(reader.audit_verified().unwrap(), None);

    migrate(folder.path(), false).unwrap();
    note_audit(folder.path(), &entry("os:anna", "state.migrate", "")).unwrap();
    assert_eq!(
        (head(folder.path()).number, wrong(folder.path())),
        (1, None)
    );
}

#[test]
fn what_differs_from_what_was_noted_last_is_noted_once() {
    let folder = noted(0);
    let set = |pairs: &[(&str, &str)]| {
        let own = pairs.iter();
        own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let told = |now: &[(&str, &str)]| {
        let mut told = None;
        note_audit_changes(folder.path(), "settings", &set(now), |changes| {
            let made = changes.as_ref().map_or(1, Vec::len);
            told = Some(changes);
            (0..made)
                .map(|_| entry("agent", "settings.changed", "x"))
                .collect()
        })
        .unwrap();
        told.unwrap()
    };
    assert_eq!(told(&[("a", "1"), ("b", "2")]), None);
    assert_eq!(told(&[("a", "1"), ("b", "2")]), Some(Vec::new()));
    let changes = told(&[("a", "3"), ("c", "4")]).unwrap();
    let shown: Vec<_> = changes
        .iter()
        .map(|one| (one.name.as_str(), one.was.as_deref(), one.is.as_deref()))
        .collect();
    assert_eq!(
        shown,
        [
            ("a", Some("1"), Some("3")),
            ("b", Some("2"), None),
            ("c", None, Some("4"))
        ]
    );
    assert_eq!(
        (head(folder.path()).number, wrong(folder.path())),
        (4, None)
    );
}

#[test]
fn what_is_too_long_is_shortened_and_what_is_long_beyond_that_left_out() {
    let folder = noted(0);
    let long = AuditEntry {
        who: format!("os:{}", "ä".repeat(300)),
        subject: "x".repeat(5_000),
        details: serde_json::json!({ "text": "y".repeat(50_000) }),
        ..entry("", "held.retry", "")
    };
    note_audit(folder.path(), &long).unwrap();
    let all = AuditFilter {
        limit: 1,
        ..AuditFilter::default()
    };
    let found = StateReader::open(folder.path())
        .unwrap()
        .audit(&all)
        .unwrap();
    assert!(found[0].who.len() <= 200 && found[0].subject.len() <= 500);
    assert_eq!(found[0].details, "{\"left_out_bytes\":50011}");
    assert_eq!(wrong(folder.path()), None);
}
