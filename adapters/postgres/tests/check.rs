//! What `check` and `look` find at a server and its tables, and what `prepare` does about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use contract::{Level, SourceError};
use harness::postgres::{PostgresOptions, PostgresServer};

use crate::care::{ITEM, look, said};
use crate::common::{World, changes, text};

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
