//! The slot is looked after: what state it is in, how much log it keeps, and what is wrong although
//! the stream is silent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use contract::{Level, LogPos, Look, NodeKind, Position, SourceError};
use harness::postgres::{PostgresOptions, PostgresServer};

use crate::common::{World, changes, heartbeat, reach, text};

pub(crate) const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text)";
/// Some MiB of log.
const FILL: &str = "CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 20000); \
                    DROP TABLE filler";

fn slot_part(world: &World) -> String {
    format!("slot {}", world.slot())
}

pub(crate) async fn look(world: &World) -> Look {
    world.source().look().await.unwrap().unwrap()
}

/// What the check says of a part, with its level and what to do.
pub(crate) async fn said(world: &World, part: &str) -> (Level, String) {
    let findings = world.source().check().await;
    let found = findings.iter().filter(|one| one.what.ends_with(part));
    let worst = found.max_by_key(|one| one.level);
    let worst = worst.unwrap_or_else(|| panic!("no {part} in {findings:#?}"));
    (worst.level, worst.to_string())
}

#[tokio::test]
async fn the_log_that_is_kept_is_measured_and_its_end_is_known() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default()
            .setting("max_slot_wal_keep_size=64MB")
            // No log is removed but by a checkpoint, and none comes but the test's own.
            .setting("max_wal_size=4GB")
            .setting("checkpoint_timeout=1d"),
    ));
    let world = World::prepared_on(server, ITEM, &["item"]).await;
    let before = look(&world).await.kept.unwrap();
    assert_eq!(before.state, "reserved");
    // The harness's role sees the data folder, and so do we.
    assert!(before.room_bytes.is_some_and(|room| room > 1 << 20));
    world.run(FILL).await;
    let after = look(&world).await.kept.unwrap();
    assert!(
        after.kept_bytes > before.kept_bytes + (8 << 20),
        "{after:?}"
    );
    assert!(after.left_bytes < before.left_bytes, "{after:?}");
    assert!(after.left_bytes.unwrap() < 128 << 20, "{after:?}");
    assert_eq!(said(&world, "max_slot_wal_keep_size").await.0, Level::Pass);
    let (level, slot) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Pass, "{slot}");
    assert!(
        slot.contains("is read by nobody") && slot.contains(". The server keeps"),
        "{slot}"
    );
    // Much log is a warning, with what to do.
    let source = world.source_with(&[("retained_warn_mib", NodeKind::Number("1".to_owned()))]);
    let kept = source.look().await.unwrap().unwrap().kept.unwrap();
    assert!(kept.kept_bytes > kept.warn_bytes, "{kept:?}");
    let findings = source.check().await;
    let slot = findings
        .iter()
        .find(|one| one.what.ends_with(&slot_part(&world)));
    assert_eq!(slot.unwrap().level, Level::Warn);
    // Beyond the limit it is lost sooner or later: first that is said, then that it is.
    for _ in 0..8 {
        world.run(FILL).await;
        world.run("SELECT pg_switch_wal()").await;
        if look(&world).await.kept.unwrap().at_risk {
            break;
        }
    }
    let (level, slot) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Warn, "{slot}");
    assert!(slot.contains("is about to be lost"), "{slot}");
    for _ in 0..2 {
        world.run("SELECT pg_switch_wal(); CHECKPOINT").await;
    }
    world
        .until(&format!(
            "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '{}'",
            world.slot()
        ))
        .await;
    let (level, slot) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Fail, "{slot}");
    assert!(
        slot.contains("is lost: the server has removed the log it needs"),
        "{slot}"
    );
    assert!(slot.contains("resync"), "{slot}");
    let trouble = look(&world).await.trouble.unwrap();
    assert!(trouble.to_string().contains("removed the log"), "{trouble}");
}

/// A publication that tells less than it should leaves the log as silent as a quiet database.
#[tokio::test]
async fn a_publication_that_tells_less_is_noticed() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    changes(&mut *stream, 1).await;
    assert_eq!(look(&world).await.trouble, None);
    let slot = world.slot();
    let steps = [
        (
            format!("ALTER PUBLICATION {slot} SET (publish = 'insert')"),
            format!("ALTER PUBLICATION {slot} SET (publish = 'insert, update, delete, truncate')"),
        ),
        (
            format!("DROP PUBLICATION {slot}"),
            format!("CREATE PUBLICATION {slot} FOR TABLE item"),
        ),
    ];
    for (breaks, mends) in steps {
        world.run(&breaks).await;
        let trouble = look(&world).await.trouble;
        let trouble = trouble.unwrap_or_else(|| panic!("unnoticed: {breaks}"));
        assert!(matches!(trouble, SourceError::Denied { .. }), "{trouble:?}");
        assert!(
            trouble.to_string().contains("is not in the log"),
            "{trouble}"
        );
        let hint = trouble.hint().unwrap();
        assert!(
            hint.contains("PUBLICATION") && hint.contains("resync"),
            "{hint}"
        );
        world.run(&mends).await;
        assert_eq!(look(&world).await.trouble, None, "{mends}");
    }
    drop(stream);
    world.released().await;
    world
        .run(&format!("SELECT pg_drop_replication_slot('{slot}')"))
        .await;
    let trouble = look(&world).await.trouble.unwrap();
    assert!(
        trouble.to_string().contains("does not exist any more"),
        "{trouble}"
    );
}

/// A slot that standbys do not keep is lost by a failover: that is said where there are standbys.
#[tokio::test]
async fn a_slot_that_a_failover_would_lose_is_warned_of() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().major(Some(18)),
    ));
    let world = World::on(server, ITEM, &["item"]).await;
    let slot = world.slot();
    world
        .run(&format!("CREATE PUBLICATION {slot} FOR TABLE item"))
        .await;
    world
        .run(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .await;
    assert_eq!(said(&world, &slot_part(&world)).await.0, Level::Pass);
    world
        .run("SELECT pg_create_physical_replication_slot('standby')")
        .await;
    let (level, text) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Warn, "{text}");
    assert!(
        text.contains("ALTER_REPLICATION_SLOT") && text.contains("undo"),
        "{text}"
    );
}

/// Who reads is said, and since when nobody does.
#[tokio::test]
async fn who_reads_the_slot_is_said() {
    let world = World::prepared_on(PostgresServer::shared_of(Some(18)), ITEM, &["item"]).await;
    let (_, slot) = said(&world, &slot_part(&world)).await;
    assert!(slot.contains("is read by nobody since 20"), "{slot}");
    let stream = world.source().stream(1, None).await.unwrap();
    let holder = "user postgres, application lighterman, from 127.0.0.1, since 20";
    let (level, slot) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Pass, "{slot}");
    assert!(
        slot.contains("is read by server process") && slot.contains(holder),
        "{slot}"
    );
    let error = world
        .source()
        .stream(1, None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(error.to_string().contains(holder), "{error}");
    drop(stream);
}

/// From 18 on a server gives up slots that nobody reads.
#[tokio::test]
async fn a_slot_that_was_given_up_says_why() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default()
            .major(Some(18))
            .setting("idle_replication_slot_timeout=1s"),
    ));
    let world = World::prepared_on(server, ITEM, &["item"]).await;
    let (level, timeout) = said(&world, "idle_replication_slot_timeout").await;
    assert_eq!(level, Level::Warn);
    assert!(
        timeout.contains("is 1s") && timeout.contains("undo"),
        "{timeout}"
    );
    let slot = world.slot();
    world
        .until(&format!(
            "SELECT now() - inactive_since > '1 s' FROM pg_replication_slots WHERE slot_name = '{slot}'"
        ))
        .await;
    world.run("CHECKPOINT").await;
    let (level, dead) = said(&world, &slot_part(&world)).await;
    assert_eq!(level, Level::Fail, "{dead}");
    assert!(dead.contains("idle_replication_slot_timeout"), "{dead}");
    let error = world
        .source()
        .stream(1, None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("idle_replication_slot_timeout"),
        "{error}"
    );
}

/// Traffic in another database of the same server is log that our slot keeps, too.
#[tokio::test]
async fn traffic_elsewhere_lets_the_slot_go_on_with_and_without_heartbeats() {
    let world = World::prepared(ITEM, &["item"]).await;
    let elsewhere = World::new("CREATE TABLE busy (a text)", &[]).await;
    for beats in [false, true] {
        let source = world.source_with(&[("heartbeat", NodeKind::Bool(beats))]);
        let mut stream = source.stream(1, None).await.unwrap();
        let newest = source.look().await.unwrap().unwrap().heartbeat;
        assert_eq!(newest.is_some(), beats);
        elsewhere
            .run("INSERT INTO busy SELECT repeat('x', 500) FROM generate_series(1, 2000)")
            .await;
        let far = world.insert_lsn().await - 8192;
        let mark = Position::border(1, LogPos::from_number(far));
        let quiet = reach(&mut *stream, &mark).await;
        assert!(quiet.iter().all(|batch| batch.changes.is_empty()));
        if beats {
            heartbeat(&*source, &mut *stream).await;
        }
        world
            .until(&format!(
                "SELECT confirmed_flush_lsn - '0/0' >= {far} FROM pg_replication_slots WHERE \
                 slot_name = '{}'",
                world.slot()
            ))
            .await;
        drop(stream);
        world.released().await;
        // Without a stream nothing is on its way.
        assert_eq!(source.look().await.unwrap().unwrap().heartbeat, None);
    }
    // No table of ours was made for it.
    let tables = "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(world.ask(tables).await.as_deref(), Some("1"));
}

/// The heartbeat's session is cut and no new one is to be had: that it came round is not said of the
/// log any more. With the login given back it goes on by itself.
#[tokio::test]
async fn a_heartbeat_that_cannot_be_sent_has_not_come_round() {
    let hindered = [
        ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
        (
            "REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC",
            "GRANT EXECUTE ON FUNCTION {function} TO PUBLIC",
        ),
    ];
    let tried = hindered.map(|(hinder, mend)| async move {
        let world = World::prepared(ITEM, &["item"]).await;
        let role = format!("{}_clerk", world.name);
        let function = world
            .ask(
                "SELECT oid::regprocedure FROM pg_proc WHERE proname = 'pg_logical_emit_message'
                    AND proargtypes[2] = 'text'::regtype",
            )
            .await
            .unwrap();
        let sql = |text: &str| {
            text.replace("{role}", &role)
                .replace("{function}", &function)
        };
        world
            .run(&format!(
                "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON item TO {role}"
            ))
            .await;
        let settings = [("user", text(&role)), ("heartbeat", NodeKind::Bool(true))];
        let source = world.source_with(&settings);
        let mut stream = source.stream(1, None).await.unwrap();
        heartbeat(&*source, &mut *stream).await;
        world.run(&sql(hinder)).await;
        world
            .run(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE usename = '{role}' AND query LIKE '%emit_message%'"
            ))
            .await;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(55);
        loop {
            let newest = source.look().await.unwrap().unwrap().heartbeat;
            if newest.unwrap().took.is_none() {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{hinder}: {newest:?}"
            );
            let soon = std::time::Duration::from_millis(500);
            if let Ok(batch) = tokio::time::timeout(soon, stream.next()).await {
                stream.acknowledge(&batch.unwrap().end).await.unwrap();
            }
        }
        world.run(&sql(mend)).await;
        heartbeat(&*source, &mut *stream).await;
    });
    let [login, right] = tried;
    tokio::join!(login, right);
}
