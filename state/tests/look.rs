//! What is remembered of a source's server and of the last look at its log.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use contract::{LogPos, Position};
use jiff::Timestamp;
use rusqlite::Connection;
use state::{CaptureCommit, FILE_NAME, LookStatus, Part, StateReader, Store};

fn look() -> LookStatus {
    LookStatus {
        looked_at: "2026-11-26T12:00:00Z".parse().unwrap(),
        state: Some("reserved".to_owned()),
        kept_bytes: Some(310 << 20),
        left_bytes: None,
        room_bytes: Some(u64::MAX),
        growth_per_hour: Some(-5),
        sentence: Some("The server keeps 310 MiB of log for us.".to_owned()),
        alarm: None,
        heartbeat_sent_at: Some("2026-11-26T11:59:59Z".parse().unwrap()),
        heartbeat_took_ms: Some(7),
    }
}

#[tokio::test]
async fn the_newest_look_is_shown_and_a_resync_forgets_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let id = store.source("erp").await.unwrap().id;
    let shown = || {
        let reader = StateReader::open(folder.path()).unwrap();
        reader.sources().unwrap().remove(0).look
    };
    assert_eq!(shown(), None);
    store
        .set_look(
            id,
            LookStatus {
                alarm: Some("much".to_owned()),
                ..look()
            },
        )
        .await
        .unwrap();
    assert_eq!(shown().unwrap().alarm.as_deref(), Some("much"));
    store.set_look(id, look()).await.unwrap();
    let expected = LookStatus {
        // As much as the file can hold.
        room_bytes: Some(i64::MAX.unsigned_abs()),
        ..look()
    };
    assert_eq!(shown(), Some(expected));

    let server = Some("7412345678901234567/1".to_owned());
    let commit = |checkpoint: Option<Position>, server: &Option<String>| {
        let commit = CaptureCommit {
            checkpoint,
            server: server.clone(),
            ..CaptureCommit::default()
        };
        store.commit_capture(id, commit, Timestamp::UNIX_EPOCH)
    };
    let border = |number| Some(Position::border(1, LogPos::from_number(number)));
    // Without a checkpoint there is nothing that it told.
    commit(None, &server).await.unwrap();
    assert_eq!(store.source("erp").await.unwrap().server, None);
    commit(border(1), &server).await.unwrap();
    commit(border(2), &None).await.unwrap();
    assert_eq!(store.source("erp").await.unwrap().server, server);
    store.resync("erp", state::Resync::All).await.unwrap();
    assert_eq!(store.source("erp").await.unwrap().server, None);
}

#[tokio::test]
async fn what_keeps_a_part_from_running_is_shown_beside_the_other_and_not_under_a_whole_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let id = store.source("erp").await.unwrap().id;
    let shown = || {
        let reader = StateReader::open(folder.path()).unwrap();
        let source = reader.sources().unwrap().remove(0);
        (source.problem, source.partly)
    };
    let text = |text: &str| Some(text.to_owned());
    let (untold, unanswered) = (Part::Untold, Part::Unanswered);
    store.set_partial(id, untold, text("a")).await.unwrap();
    store.set_partial(id, unanswered, text("b")).await.unwrap();
    assert_eq!(shown(), (None, vec!["a".to_owned(), "b".to_owned()]));
    store.set_problem(id, text("c")).await.unwrap();
    assert_eq!(shown(), (text("c"), Vec::new()));
    store.set_problem(id, None).await.unwrap();
    store.set_partial(id, unanswered, None).await.unwrap();
    assert_eq!(shown(), (None, vec!["a".to_owned()]));
    store.set_problem(id, text("c")).await.unwrap();
    store.set_running(id).await.unwrap();
    assert_eq!(shown(), (None, Vec::new()));
}

#[tokio::test]
async fn a_file_of_version_3_is_read_and_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    {
        let db = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        db.pragma_update(None, "application_id", 0x4c54_524d_i64)
            .unwrap();
        for schema in [
            include_str!("../src/schema.sql"),
            include_str!("../src/schema_2.sql"),
            include_str!("../src/schema_3.sql"),
        ] {
            db.execute_batch(schema).unwrap();
        }
        db.pragma_update(None, "user_version", 3).unwrap();
        db.execute_batch("INSERT INTO source (name) VALUES ('erp')")
            .unwrap();
    }
    // Beside an agent of the older version.
    let before = StateReader::open(folder.path()).unwrap().sources().unwrap();
    assert_eq!(before[0].look, None);
    let store = Store::open(folder.path()).unwrap();
    let source = store.source("erp").await.unwrap();
    assert_eq!(source.server, None);
    store.set_look(source.id, look()).await.unwrap();
    let after = StateReader::open(folder.path()).unwrap().sources().unwrap();
    assert!(after[0].look.is_some());
}
