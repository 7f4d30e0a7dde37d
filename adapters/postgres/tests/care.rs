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

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text)";
/// Some MiB of log.
const FILL: &str = "CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 20000); \
                    DROP TABLE filler";

fn slot_part(world: &World) -> String {
    format!("slot {}", world.slot())
}

async fn look(world: &World) -> Look {
    world.source().look().await.unwrap().unwrap()
}

/// What the check says of a part, with its level and what to do.
async fn said(world: &World, part: &str) -> (Level, String) {
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
            .setting("min_wal_size=32MB")
            .setting("max_wal_size=32MB"),
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
        let kept = look(&world).await.kept.unwrap();
        if kept.at_risk {
            let (level, slot) = said(&world, &slot_part(&world)).await;
            assert_eq!(level, Level::Warn, "{slot}");
            assert!(slot.contains("is about to be lost"), "{slot}");
            break;
        }
    }
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

/// A server whose log does not tell rows says so before anything else.
#[tokio::test]
async fn a_lowered_wal_level_is_noticed() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().setting("wal_level=replica"),
    ));
    let world = World::on(server, ITEM, &["item"]).await;
    let trouble = look(&world).await.trouble.unwrap();
    assert!(matches!(trouble, SourceError::Denied { .. }), "{trouble:?}");
    assert!(
        trouble.to_string().contains("wal_level is replica"),
        "{trouble}"
    );
    let (level, text) = said(&world, "wal_level").await;
    assert_eq!(level, Level::Fail);
    for words in [
        "ALTER SYSTEM SET wal_level = 'logical'",
        "restart",
        "undo",
        "after every logical slot has been dropped, or the server does not start",
    ] {
        assert!(text.contains(words), "{text}");
    }
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

/// A new slot waits for every transaction that writes: for a limited time, and they are named.
#[tokio::test]
async fn preparing_waits_a_limited_time_and_names_for_whom() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().setting("max_prepared_transactions=5"),
    ));
    let world = World::on(
        server,
        &format!("{ITEM}; CREATE TABLE other (a int)"),
        &["item"],
    )
    .await;
    let (session, other) = (
        world.server.connect(&world.name).await,
        world.server.connect("postgres").await,
    );
    session
        .batch_execute(
            "SET application_name = 'nightly report'; BEGIN; INSERT INTO other VALUES (4711)",
        )
        .await
        .unwrap();
    other
        .batch_execute("CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half done'")
        .await
        .unwrap();
    // Said before it is tried, too.
    let (level, prepared) = said(&world, "prepared transaction").await;
    assert_eq!(level, Level::Warn);
    assert!(
        prepared.contains("ROLLBACK PREPARED 'half done'"),
        "{prepared}"
    );

    let error = world.source().prepare(true).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    let what = error.to_string();
    for words in [
        "not done within",
        "application nightly report",
        "user postgres",
        "state idle in transaction",
        "transaction since 20",
        "last statement at 20",
        "the prepared transaction 'half done'",
    ] {
        assert!(what.contains(words), "{words}: {what}");
    }
    assert!(!what.contains("4711") && !what.contains("INSERT"), "{what}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("SELECT pg_terminate_backend("), "{hint}");
    assert!(hint.contains("ROLLBACK PREPARED 'half done'"), "{hint}");
    // Nothing is left behind: no slot, and no session that still makes one.
    world
        .until(
            "SELECT NOT EXISTS (SELECT 1 FROM pg_replication_slots)
                AND NOT EXISTS (SELECT 1 FROM pg_stat_activity
                                 WHERE application_name = 'lighterman' AND state = 'active')",
        )
        .await;
    session.batch_execute("ROLLBACK").await.unwrap();
    other
        .batch_execute("ROLLBACK PREPARED 'half done'")
        .await
        .unwrap();
    let done = world.source().prepare(true).await.unwrap();
    assert_eq!(
        done.sql.len(),
        1,
        "only the slot was left to make: {done:?}"
    );
}

/// What the server's settings mean for us is said with numbers, SQL and undo.
#[tokio::test]
async fn the_servers_settings_are_looked_at() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default()
            .setting("max_replication_slots=1")
            .setting("max_wal_senders=1")
            .setting("wal_sender_timeout=0")
            .setting("timezone=Asia/Tokyo"),
    ));
    let world = World::on(
        server,
        "CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        &[],
    )
    .await;
    world
        .run("SELECT pg_create_physical_replication_slot('standby')")
        .await;
    for (part, level, words) in [
        (
            "max_replication_slots",
            Level::Fail,
            "1 of 1 are taken: none is left for us",
        ),
        ("max_wal_senders", Level::Pass, "0 of 1 are taken"),
        ("wal_sender_timeout", Level::Warn, "is 0"),
        ("max_slot_wal_keep_size", Level::Warn, "is unlimited"),
        ("timezone", Level::Pass, "is Asia/Tokyo"),
        ("encoding", Level::Pass, "is UTF8"),
    ] {
        let (found, text) = said(&world, part).await;
        assert_eq!(found, level, "{text}");
        assert!(text.contains(words), "{text}");
        if level > Level::Pass {
            assert!(
                text.contains("ALTER SYSTEM SET") && text.contains("undo: "),
                "{text}"
            );
        }
        let restart = part == "max_replication_slots";
        assert_eq!(text.contains("restart the server"), restart, "{text}");
    }
    let old = world.source_with(&[("database", text("old"))]);
    let findings = old.check().await;
    let encoding = findings.iter().find(|one| one.what.ends_with("encoding"));
    assert_eq!(encoding.unwrap().level, Level::Warn);
    // Limits of the role's own sessions.
    world
        .run("ALTER ROLE postgres SET idle_session_timeout = '1min'")
        .await;
    let (level, limit) = said(&world, "idle_session_timeout").await;
    assert_eq!(level, Level::Warn);
    assert!(
        limit.contains("is 60000ms") && limit.contains("RESET"),
        "{limit}"
    );
}

/// Limits that a role begins its sessions with cut what is idle, and nothing is lost by it.
#[tokio::test]
async fn time_limits_of_the_role_cut_nothing_that_matters() {
    let world = World::prepared(ITEM, &["item"]).await;
    let role = format!("{}_hurried", world.name);
    world
        .run(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON item TO {role};
             ALTER ROLE {role} SET statement_timeout = '1s'; ALTER ROLE {role} SET lock_timeout = '1s';
             ALTER ROLE {role} SET idle_session_timeout = '1s';
             ALTER ROLE {role} SET idle_in_transaction_session_timeout = '1s'"
        ))
        .await;
    let source = world.source_with(&[("user", text(&role))]);
    let mut stream = source.stream(1, None).await.unwrap();
    assert_eq!(source.look().await.unwrap().unwrap().trouble, None);
    let sessions = format!("FROM pg_stat_activity WHERE usename = '{role}'");
    let pid = format!("SELECT max(pid)::text {sessions} AND backend_type = 'walsender'");
    let before = world.ask(&pid).await;
    // All that is idle has been cut.
    world
        .until(&format!("SELECT count(*) = 1 {sessions}"))
        .await;
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    changes(&mut *stream, 1).await;
    assert_eq!(world.ask(&pid).await, before);
    assert_eq!(source.look().await.unwrap().unwrap().trouble, None);
    drop(stream);
    world.released().await;
}

/// A replica identity that is given up is the one that the undo gives back.
#[tokio::test]
async fn the_undo_of_a_replica_identity_is_what_it_was() {
    let mut world = World::new(
        "CREATE TABLE by_index (id int PRIMARY KEY, sku text NOT NULL, name text);
         CREATE UNIQUE INDEX \"by Sku\" ON by_index (sku);
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX \"by Sku\";
         CREATE TABLE by_nothing (id int PRIMARY KEY);
         ALTER TABLE by_nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE sale (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (1) TO (2);
         ALTER TABLE sale_1 REPLICA IDENTITY NOTHING",
        &["by_index", "by_nothing", "sale"],
    )
    .await;
    world.tables[0].key = vec!["id".to_owned()];
    for (table, undo) in [
        (
            "by_index",
            "\"by_index\" REPLICA IDENTITY USING INDEX \"by Sku\"",
        ),
        ("by_nothing", "\"by_nothing\" REPLICA IDENTITY NOTHING"),
        ("sale", "\"sale_1\" REPLICA IDENTITY NOTHING"),
    ] {
        let (level, text) = said(&world, &format!("table public.{table}")).await;
        assert!(level > Level::Pass, "{text}");
        let undo = format!("undo: ALTER TABLE \"public\".{undo}");
        assert!(text.contains(&undo), "{undo}: {text}");
    }
    // Refused for the same reason, with the same undo.
    world.tables.drain(..2);
    let error = world.source().prepare(false).await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("\"sale_1\" REPLICA IDENTITY NOTHING"),
        "{hint}"
    );
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

/// A server that waits for every standby of whatever name waits for us.
#[tokio::test]
async fn a_server_whose_commits_wait_for_us_is_said() {
    let server = Arc::new(PostgresServer::start(PostgresOptions::default()));
    let world = World::prepared_on(server, ITEM, &["item"]).await;
    let part = "synchronous_standby_names";
    assert_eq!(said(&world, part).await.0, Level::Pass);
    let stream = world.source().stream(1, None).await.unwrap();
    for (names, level, words) in [
        ("*", Level::Fail, "= ''"),
        ("Lighterman", Level::Fail, "= ''"),
        (
            "ANY 2 (a, \"lighterman\")",
            Level::Fail,
            "= 'ANY 1 (\"a\")'",
        ),
        ("a, lighterman", Level::Warn, "= 'FIRST 1 (\"a\")'"),
        (
            "FIRST 1 (a, b, *)",
            Level::Warn,
            "= 'FIRST 1 (\"a\", \"b\")'",
        ),
        ("a, \"not, lighterman\"", Level::Pass, "does not name us"),
    ] {
        // Nothing is committed by it.
        let set = format!("ALTER SYSTEM SET {part} = '{names}'");
        world.run(&set).await;
        world.run("SELECT pg_reload_conf()").await;
        world
            .until(&format!("SELECT current_setting('{part}') = '{names}'"))
            .await;
        let (found, text) = said(&world, part).await;
        assert_eq!(found, level, "{text}");
        assert!(text.contains(words), "{words}: {text}");
        if level > Level::Pass {
            let undo = format!("undo: {set} and SELECT pg_reload_conf()");
            assert!(text.contains(&undo), "{undo}: {text}");
            // It is so: the server says it of our connection.
            world
                .until("SELECT sync_priority > 0 FROM pg_stat_replication WHERE application_name = 'lighterman'")
                .await;
        }
    }
    drop(stream);
}

/// Rows of partitions are told under the name of the table that the mapping knows, and each
/// partition has a replica identity of its own.
#[tokio::test]
async fn partitions_are_published_by_their_root_and_looked_at_one_by_one() {
    let mut world = World::new(
        "CREATE TABLE sale (id int, day date) PARTITION BY RANGE (day);
         CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
         CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
         CREATE UNIQUE INDEX ON sale (id, day);
         ALTER TABLE sale ALTER id SET NOT NULL; ALTER TABLE sale ALTER day SET NOT NULL;
         ALTER TABLE sale REPLICA IDENTITY FULL; ALTER TABLE sale_1 REPLICA IDENTITY FULL",
        &["sale"],
    )
    .await;
    world.tables[0].key = vec!["id".to_owned(), "day".to_owned()];
    let slot = world.slot();
    world
        .run(&format!("CREATE PUBLICATION {slot} FOR TABLE sale"))
        .await;
    let (level, table) = said(&world, "table public.sale").await;
    assert_eq!(level, Level::Fail, "{table}");
    assert!(
        table.contains("ALTER TABLE \"public\".\"sale_2\" REPLICA IDENTITY FULL; undo"),
        "{table}"
    );
    world.run("ALTER TABLE sale_2 REPLICA IDENTITY FULL").await;
    let plan = world.source().prepare(true).await.unwrap();
    let root = format!("ALTER PUBLICATION \"{slot}\" SET (publish_via_partition_root = true)");
    assert_eq!(plan.sql[0], root);
    assert_eq!(plan.sql.len(), 2, "{plan:?}");
    let (level, table) = said(&world, "table public.sale").await;
    assert_eq!(level, Level::Warn, "{table}");
    for words in ["TRUNCATE", "DROP", "source resync --table public.sale"] {
        assert!(table.contains(words), "{table}");
    }
    let mut stream = world.source().stream(1, None).await.unwrap();
    world.run("INSERT INTO sale VALUES (1, '2026-11-26')").await;
    let seen = changes(&mut *stream, 1).await;
    assert_eq!(seen[0].table().name, "sale");
}
