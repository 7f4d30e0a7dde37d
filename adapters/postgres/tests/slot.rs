//! Slot, publication, acknowledgement and what is said when they are not right.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use contract::{Finding, Level, NodeKind, Position, Resume, SourceError, TableName};
use harness::postgres::{PostgresOptions, PostgresServer};
use tokio::time::{Instant, timeout};

use crate::common::{self, World, batches, changes, next, reach, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text)";

fn hint(error: &SourceError) -> &str {
    error.hint().unwrap_or_else(|| panic!("no hint: {error}"))
}

async fn opened(world: &World, after: Option<&Position>) -> Result<(), SourceError> {
    world.source().stream(1, after).await.map(|_| ())
}

#[tokio::test]
async fn the_slot_moves_only_after_acknowledgement_and_on_quiet_tables_too() {
    let world = World::prepared(&format!("{ITEM}; CREATE TABLE other (a int)"), &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    let start = world.confirmed().await;
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let batch = next(&mut *stream).await.unwrap();
    assert_eq!((batch.changes.len(), batch.end.seq), (1, 0));
    // The server has heard from us since (it stamps each reply), and was told nothing.
    let replied = format!(
        "SELECT reply_time > '{}' FROM pg_stat_replication WHERE pid =
             (SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}')",
        world.ask("SELECT clock_timestamp()").await.unwrap(),
        world.slot()
    );
    world.until(&replied).await;
    assert_eq!(world.confirmed().await, start);
    stream.acknowledge(&batch.end).await.unwrap();
    let acknowledged = batch.end.pos.number().unwrap();
    let stands = |lsn: u64| {
        let slot = world.slot();
        format!(
            "SELECT confirmed_flush_lsn - '0/0' >= {lsn} FROM pg_replication_slots WHERE slot_name = '{slot}'"
        )
    };
    world.until(&stands(acknowledged)).await;
    // Traffic in a table nobody publishes: only borders, and the slot follows.
    world
        .run("INSERT INTO other SELECT generate_series(1, 1000)")
        .await;
    let far = world.insert_lsn().await;
    assert!(far > acknowledged + 10_000);
    let mark = Position::border(1, contract::LogPos::from_number(far - 8192));
    let quiet = reach(&mut *stream, &mark).await;
    assert!(quiet.iter().all(|batch| batch.changes.is_empty()));
    world.until(&stands(far - 8192)).await;
}

/// The engine may let a batch without changes pass; it comes again.
#[tokio::test]
async fn an_unacknowledged_border_is_told_again_and_an_acknowledged_one_is_not() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let first = next(&mut *stream).await.unwrap();
    let mut end = first.end;
    for _ in 0..2 {
        let again = next(&mut *stream).await.unwrap();
        assert!(again.changes.is_empty() && again.end >= end);
        end = again.end;
    }
    // Once it is acknowledged there is nothing to say, for longer than it takes to say it again.
    let mut quiet = 0;
    while quiet < 2 {
        stream.acknowledge(&end).await.unwrap();
        match timeout(Duration::from_secs(2), stream.next()).await {
            // The server's own background work moves the border now and then.
            Ok(batch) => {
                let batch = batch.unwrap();
                assert!(batch.changes.is_empty() && batch.end > end, "{batch:?}");
                end = batch.end;
            }
            Err(_) => quiet += 1,
        }
    }
}

/// I7: the server's patience is two seconds, ours with the stream is longer.
#[tokio::test]
async fn the_connection_lives_while_nobody_polls_the_stream() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().setting("wal_sender_timeout=2s"),
    ));
    let world = World::on(server, ITEM, &["item"]).await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    // More than the buffer between connection and stream holds, so that it is full as well.
    world
        .run("INSERT INTO item SELECT i, repeat('x', 2000) FROM generate_series(1, 5000) i")
        .await;
    let pid = |world: &World| {
        let slot = world.slot();
        format!("SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = '{slot}'")
    };
    let before = world.ask(&pid(&world)).await.unwrap();
    world
        .until(&format!(
            "SELECT reply_time > backend_start + interval '5 s' FROM pg_stat_replication WHERE pid = {before}"
        ))
        .await;
    assert_eq!(changes(&mut *stream, 5_000).await.len(), 5_000);
    assert_eq!(world.ask(&pid(&world)).await.unwrap(), before);
    assert!(!world.server.log().contains("replication timeout"));
}

#[tokio::test]
async fn a_dropped_stream_gives_the_slot_back() {
    let world = World::prepared(ITEM, &["item"]).await;
    let source = world.source();
    world
        .run("INSERT INTO item SELECT i, repeat('x', 2000) FROM generate_series(1, 5000) i")
        .await;
    for _ in 0..5 {
        // In the middle of a transaction, with the buffer between full.
        let mut stream = source.stream(1, None).await.unwrap();
        while next(&mut *stream).await.unwrap().changes.is_empty() {}
        drop(stream);
        world.released().await;
    }
}

#[tokio::test]
async fn a_slot_in_use_names_its_holder() {
    let world = World::prepared(ITEM, &["item"]).await;
    let _holder = world.source().stream(1, None).await.unwrap();
    let error = opened(&world, None).await.unwrap_err();
    let pid = world
        .ask(
            "SELECT active_pid::text FROM pg_replication_slots WHERE database = current_database()",
        )
        .await
        .unwrap();
    assert!(
        matches!(&error, SourceError::Disconnected(what) if what.contains(&pid)),
        "{error}"
    );
}

#[tokio::test]
async fn a_killed_connection_is_an_error_to_retry_and_the_next_goes_on() {
    let world = World::prepared(ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let told = batches(&mut *stream, 1).await;
    let end = told.last().unwrap().end.clone();
    world
        .run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()")
        .await;
    let error = loop {
        match next(&mut *stream).await {
            Ok(batch) => assert!(batch.changes.is_empty()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    drop(stream);
    world.run("INSERT INTO item VALUES (2, 'b')").await;
    let mut stream = source.stream(1, Some(&end)).await.unwrap();
    let seen = changes(&mut *stream, 1).await;
    assert_eq!(seen[0].key().unwrap().as_str(), "2");
}

#[tokio::test]
async fn a_restarted_server_goes_on() {
    let mut server = PostgresServer::start(PostgresOptions {
        fsync: true,
        ..PostgresOptions::default()
    });
    server.create_database("erp").await;
    let db = server.connect("erp").await;
    db.batch_execute(ITEM).await.unwrap();
    let settings = [
        ("host", text("127.0.0.1")),
        ("port", NodeKind::Number(server.port().to_string())),
        ("database", text("erp")),
        ("user", text("postgres")),
    ];
    let source = common::source("erp", &settings, vec![common::captured("item")]);
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    db.batch_execute("INSERT INTO item VALUES (1, 'a')")
        .await
        .unwrap();
    let batch = next(&mut *stream).await.unwrap();
    stream.acknowledge(&batch.end).await.unwrap();
    server.restart();
    let error = loop {
        if let Err(error) = next(&mut *stream).await {
            break error;
        }
    };
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    drop(stream);
    let db = server.connect("erp").await;
    db.batch_execute("INSERT INTO item VALUES (2, 'b')")
        .await
        .unwrap();
    let mut stream = source.stream(1, Some(&batch.end)).await.unwrap();
    let seen = changes(&mut *stream, 1).await;
    assert_eq!(seen[0].key().unwrap().as_str(), "2");
}

#[tokio::test]
async fn a_lost_position_is_said() {
    let world = World::prepared(ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let end = next(&mut *stream).await.unwrap().end;
    stream.acknowledge(&end).await.unwrap();
    drop(stream);
    world.released().await;
    let slot = world.slot();
    let lost = |error: SourceError, words: &str| {
        assert!(
            matches!(&error, SourceError::PositionLost { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert!(hint(&error).contains("prepare"), "{error}");
    };
    // Somebody else reads on.
    world.run("INSERT INTO item VALUES (2, 'b')").await;
    world
        .run(&format!(
            "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
        ))
        .await;
    lost(
        opened(&world, Some(&end)).await.unwrap_err(),
        "past our checkpoint",
    );
    // The log ends before our checkpoint: an older copy of the database.
    let future = Position::border(1, contract::LogPos::from_number(u64::MAX / 2));
    lost(opened(&world, Some(&future)).await.unwrap_err(), "restored");
    // No slot at all.
    world
        .run(&format!("SELECT pg_drop_replication_slot('{slot}')"))
        .await;
    lost(
        opened(&world, Some(&end)).await.unwrap_err(),
        "does not exist",
    );
    let first = opened(&world, None).await.unwrap_err();
    assert!(matches!(first, SourceError::Denied { .. }), "{first:?}");
    assert_eq!(hint(&first), "lighterman source prepare --apply");
    // Made anew: it stands past what we have.
    source.prepare(true).await.unwrap();
    lost(opened(&world, Some(&end)).await.unwrap_err(), "made anew");
}

#[tokio::test]
async fn a_log_the_server_has_removed_is_said() {
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default()
            .setting("max_slot_wal_keep_size=1MB")
            .setting("min_wal_size=32MB")
            .setting("max_wal_size=32MB"),
    ));
    let world = World::on(server, ITEM, &["item"]).await;
    world.source().prepare(true).await.unwrap();
    let slot = world.slot();
    for _ in 0..6 {
        world
            .run("CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 20000); DROP TABLE filler")
            .await;
        world.run("SELECT pg_switch_wal()").await;
        world.run("CHECKPOINT").await;
    }
    world
        .until(&format!(
            "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '{slot}'"
        ))
        .await;
    let error = opened(&world, None).await.unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    let findings = world.source().check().await;
    assert_eq!(level(&findings, "slot"), Level::Fail);
    // Preparing again replaces it.
    let plan = world.source().prepare(true).await.unwrap();
    assert_eq!(plan.sql.len(), 2, "{plan:?}");
    opened(&world, None).await.unwrap();
}

#[tokio::test]
async fn a_publication_that_does_not_fit_is_said_with_its_sql() {
    let mut world = World::prepared(
        &format!("{ITEM}; CREATE TABLE late (id int PRIMARY KEY)"),
        &["item"],
    )
    .await;
    world.tables.push(common::captured("late"));
    let error = opened(&world, None).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(
        hint(&error).contains("ADD TABLE \"public\".\"late\""),
        "{error}"
    );
    world.source().prepare(true).await.unwrap();
    let stream = world.source().stream(1, None).await.unwrap();
    let server = stream.server().unwrap();
    drop(stream);
    world.released().await;
    let name = world.slot();
    world
        .run(&format!(
            "ALTER PUBLICATION {name} SET (publish = 'insert')"
        ))
        .await;
    let error = opened(&world, None).await.unwrap_err();
    assert!(
        error.to_string().contains("update, delete, truncate"),
        "{error}"
    );
    world.run(&format!("DROP PUBLICATION {name}")).await;
    let error = opened(&world, None).await.unwrap_err();
    assert!(hint(&error).contains("CREATE PUBLICATION"), "{error}");
    // Made anew by hand, it is younger than the slot: what the slot has yet to tell cannot be told.
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    world
        .run(&format!("CREATE PUBLICATION {name} FOR TABLE item, late"))
        .await;
    let from = Resume {
        epoch: 1,
        after: Some(Position::border(
            1,
            contract::LogPos::from_number(world.confirmed().await),
        )),
        server: Some(server),
        committed_at: None,
    };
    let error = world.source().resume(&from).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("made anew"), "{error}");
    // Before 18, the server says so itself, also where nothing is remembered. Later ones skip it;
    // then nothing was captured, and every table is read.
    let version = world.ask("SHOW server_version_num").await.unwrap();
    if version.parse::<u32>().unwrap() >= 180_000 {
        return;
    }
    let mut stream = world.source().stream(1, None).await.unwrap();
    let error = loop {
        if let Err(error) = next(&mut *stream).await {
            break error;
        }
    };
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn prepare_prints_applies_once_and_can_be_undone() {
    let world = World::new(ITEM, &["item"]).await;
    let source = world.source();
    let objects = "SELECT ((SELECT count(*) FROM pg_publication)
        + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()))::text";
    let printed = source.prepare(false).await.unwrap();
    assert!(!printed.applied);
    assert_eq!(printed.sql.len(), 2);
    // The publication first: a slot older than its publication cannot be read.
    assert!(printed.sql[0].starts_with("CREATE PUBLICATION"));
    assert_eq!(world.ask(objects).await.unwrap(), "0");
    let applied = source.prepare(true).await.unwrap();
    assert!(applied.applied);
    assert_eq!(applied.sql, printed.sql);
    assert_eq!(world.ask(objects).await.unwrap(), "2");
    let again = source.prepare(true).await.unwrap();
    assert_eq!(again.sql, Vec::<String>::new());
    opened(&world, None).await.unwrap();
    world.released().await;
    for sql in &again.undo {
        world.run(sql).await;
    }
    assert_eq!(world.ask(objects).await.unwrap(), "0");
    // By hand, as printed.
    for sql in &printed.sql {
        world.run(sql).await;
    }
    opened(&world, None).await.unwrap();
}

/// Publishing such a table would make the application's own UPDATE fail.
#[tokio::test]
async fn prepare_publishes_no_table_that_would_break() {
    let world = World::new("CREATE TABLE bare (a int)", &["bare"]).await;
    let error = world.source().prepare(true).await.unwrap_err();
    assert!(hint(&error).contains("REPLICA IDENTITY FULL"), "{error}");
    let count = world.ask("SELECT count(*)::text FROM pg_publication").await;
    assert_eq!(count.unwrap(), "0");
}

fn level(findings: &[Finding], part: &str) -> Level {
    let found = findings.iter().filter(|f| f.what.contains(part));
    found
        .map(|f| f.level)
        .max()
        .unwrap_or_else(|| panic!("no {part} in {findings:#?}"))
}

#[tokio::test]
async fn check_names_what_is_missing_and_its_sql() {
    let mut world = World::new(
        "CREATE TABLE item (id int PRIMARY KEY, sku text, twice int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE TABLE bare (a int);
         CREATE TABLE other (id int PRIMARY KEY, sku text NOT NULL UNIQUE);
         CREATE ROLE clerk LOGIN",
        &["item", "bare", "other", "gone"],
    )
    .await;
    world.tables[0].columns = vec!["sku".to_owned(), "skuu".to_owned(), "twice".to_owned()];
    world.tables[2].key = vec!["sku".to_owned()];
    let source = world.source_with(&[("user", text("clerk"))]);
    let findings = source.check().await;
    for (part, expected) in [
        ("database", Level::Pass),
        ("version", Level::Pass),
        ("wal_level", Level::Pass),
        ("role", Level::Fail),
        ("table public.item", Level::Fail),
        ("table public.bare", Level::Fail),
        ("table public.gone", Level::Fail),
        ("publication", Level::Fail),
        ("slot", Level::Fail),
    ] {
        assert_eq!(level(&findings, part), expected, "{part}: {findings:#?}");
    }
    let said = |words: &str| {
        let text: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|t| t.contains(words)), "{words}: {text:#?}");
    };
    said("GRANT SELECT ON \"public\".\"item\" TO \"clerk\"");
    said("ALTER ROLE \"clerk\" REPLICATION");
    said("has no column \"skuu\"");
    said("computes its column \"twice\" itself");
    said("ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL");
    said("without the mapping's key column \"sku\"");
    said("CREATE PUBLICATION");
    said("pg_create_logical_replication_slot");
    // Each finding but a pass says what to do.
    for finding in findings.iter().filter(|f| f.level != Level::Pass) {
        assert!(finding.fix.is_some(), "{finding}");
    }
    // All right at last.
    world.tables = vec![common::captured("item"), common::captured("other")];
    world.source().prepare(true).await.unwrap();
    world
        .run("ALTER ROLE clerk REPLICATION; GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk")
        .await;
    let source = world.source_with(&[("user", text("clerk"))]);
    let findings = source.check().await;
    for finding in &findings {
        let room = finding.what.contains("max_slot_wal_keep_size");
        let expected = if room { Level::Warn } else { Level::Pass };
        assert_eq!(finding.level, expected, "{finding}");
    }
    // The role of the check is enough to capture.
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    changes(&mut *stream, 1).await;
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let item = TableName::new("public", "item");
    assert_eq!(common::snapshot(&mut *reader, &item, 10).await.len(), 1);
    // A released role can go with its database.
    drop((stream, reader));
    world.released().await;
}

#[tokio::test]
async fn check_answers_in_time_whoever_is_not_there() {
    // A listener that never speaks, and a port nobody listens on.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for port in [silent.local_addr().unwrap().port(), closed] {
        let settings = [
            ("host", text("127.0.0.1")),
            ("port", NodeKind::Number(port.to_string())),
            ("database", text("erp")),
            ("user", text("clerk")),
        ];
        let source = common::source("erp", &settings, vec![common::captured("item")]);
        let started = Instant::now();
        let findings = source.check().await;
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(contract::finding::worst(&findings), Level::Fail);
        let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    }
}

#[tokio::test]
async fn wrong_names_are_denied_not_retried() {
    let world = World::prepared(ITEM, &["item"]).await;
    for (key, value) in [("database", "nowhere"), ("user", "nobody")] {
        let source = world.source_with(&[(key, text(value))]);
        let error = source.stream(1, None).await.map(|_| ()).unwrap_err();
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{key}: {error:?}"
        );
    }
}
