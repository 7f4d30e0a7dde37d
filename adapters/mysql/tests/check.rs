//! What `check` and `look` find at a server, and what `prepare` does about it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{Level, SourceError};
use harness::mariadb::MariadbOptions;

use crate::common::{self, World, about, of, text};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";

#[tokio::test]
async fn a_server_that_is_as_it_should_be_passes() {
    let options = MariadbOptions::default()
        .setting("sync_binlog=1")
        .setting("log_bin_compress=ON");
    let world = World::with(options, ITEM, &["item"]).await;
    let findings = world.source().check().await;
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
    assert_eq!(of(&findings, Level::Warn), Vec::<String>::new());
    for part in [
        "database",
        "replication",
        "version",
        "identity",
        "log_bin",
        "binlog_format",
        "log",
        "gtid",
        "log expiry",
        "disk",
        "server_id",
        "timezone",
        "log_bin_compress",
        "item",
    ] {
        assert_eq!(about(&findings, part).level, Level::Pass, "{part}");
    }
    let identity = about(&findings, "identity").to_string();
    let (uid,): (String,) = world.server.ask("SELECT @@server_uid").await;
    assert!(identity.contains(&uid), "{identity}");
}

#[tokio::test]
async fn what_the_log_does_not_tell_is_said_and_set_and_taken_back() {
    let options = MariadbOptions::default()
        .setting("binlog_format=MIXED")
        .setting("binlog_row_image=MINIMAL")
        .setting("binlog_row_metadata=NO_LOG")
        .setting("binlog_expire_logs_seconds=3600");
    let world = World::with(options, ITEM, &["item"]).await;
    let source = world.source();
    let findings = source.check().await;
    for (part, level, fix) in [
        (
            "binlog_format",
            Level::Fail,
            "SET GLOBAL binlog_format = 'ROW'",
        ),
        (
            "binlog_row_image",
            Level::Fail,
            "undo: SET GLOBAL binlog_row_image = 'MINIMAL'",
        ),
        (
            "binlog_row_metadata",
            Level::Warn,
            "SET GLOBAL binlog_row_metadata = 'FULL'",
        ),
        (
            "log expiry",
            Level::Warn,
            "SET GLOBAL binlog_expire_logs_seconds = 1209600",
        ),
    ] {
        let finding = about(&findings, part);
        assert_eq!(finding.level, level, "{finding}");
        assert!(finding.to_string().contains(fix), "{finding}");
    }
    let look = source.look().await.unwrap().unwrap();
    assert!(
        matches!(&look.trouble, Some(SourceError::Denied { hint, .. }) if hint.contains("resync")),
        "{look:?}"
    );

    let printed = source.prepare(false).await.unwrap();
    let run: Vec<&str> = printed
        .sql
        .iter()
        .map(String::as_str)
        .filter(|sql| !sql.starts_with("--"))
        .collect();
    assert_eq!(
        run,
        [
            "SET GLOBAL binlog_format = 'ROW'",
            "SET GLOBAL binlog_row_image = 'FULL'",
            "SET GLOBAL binlog_row_metadata = 'FULL'",
        ]
    );
    let formats =
        "SELECT @@GLOBAL.binlog_format, @@GLOBAL.binlog_row_image, @@GLOBAL.binlog_row_metadata";
    let before: (String, String, String) = world.server.ask(formats).await;
    assert_eq!(before.0, "MIXED", "nothing is done without being told");
    let applied = source.prepare(true).await.unwrap();
    assert_eq!(applied.sql, printed.sql);
    assert_eq!(
        source.prepare(true).await.unwrap().sql,
        Vec::<String>::new()
    );
    assert_eq!(of(&source.check().await, Level::Fail), Vec::<String>::new());
    assert_eq!(source.look().await.unwrap().unwrap().trouble, None);
    for sql in applied.undo.iter().filter(|sql| sql.starts_with("SET")) {
        world.run(sql).await;
    }
    let after: (String, String, String) = world.server.ask(formats).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_server_without_a_log_is_said() {
    let options = MariadbOptions::default().setting("skip_log_bin");
    let world = World::with(options, ITEM, &["item"]).await;
    let source = world.source();
    let findings = source.check().await;
    let finding = about(&findings, "log_bin");
    assert_eq!(finding.level, Level::Fail, "{finding}");
    assert!(finding.to_string().contains("restart"), "{finding}");
    let prepared = source.prepare(false).await.unwrap();
    assert!(prepared.sql.iter().any(|sql| sql.contains("log_bin")));
    let trouble = source.look().await.unwrap().unwrap().trouble;
    assert!(matches!(trouble, Some(SourceError::Denied { .. })));
}

#[tokio::test]
async fn tables_that_cannot_be_captured_or_only_with_care_are_named() {
    let mut world = World::new(
        "CREATE TABLE keyless (x int); CREATE TABLE own_key (x int, y int NOT NULL);
         CREATE TABLE hashed (x text NOT NULL, UNIQUE (x));
         CREATE TABLE old (id int PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE crash (id int PRIMARY KEY) ENGINE = Aria;
         CREATE TABLE gone (id int PRIMARY KEY) ENGINE = MEMORY;
         CREATE TABLE versioned (id int PRIMARY KEY) WITH SYSTEM VERSIONING;
         CREATE TABLE fine (id int PRIMARY KEY, a int);
         CREATE VIEW shown AS SELECT * FROM fine",
        &[
            "keyless",
            "own_key",
            "old",
            "crash",
            "gone",
            "versioned",
            "fine",
            "shown",
            "absent",
            "hashed",
        ],
    )
    .await;
    world.tables[1].key = vec!["x".to_owned()];
    world.tables[6].columns = vec!["a".to_owned(), "missing".to_owned()];
    let findings = world.source().check().await;
    for (table, level, said) in [
        ("keyless", Level::Fail, "nothing tells its rows apart"),
        ("own_key", Level::Fail, "ADD UNIQUE INDEX lighterman (`x`)"),
        ("hashed", Level::Fail, "to read it in order by"),
        ("old", Level::Warn, "engine MyISAM"),
        ("crash", Level::Warn, "engine Aria"),
        ("gone", Level::Warn, "restart of the server empties it"),
        ("versioned", Level::Fail, "system versioning"),
        ("fine", Level::Fail, "has no column \"missing\""),
        ("shown", Level::Fail, "is a view"),
        ("absent", Level::Fail, "does not exist"),
    ] {
        let finding = about(&findings, &format!(".{table}"));
        assert_eq!(finding.level, level, "{finding}");
        assert!(finding.to_string().contains(said), "{finding}");
    }
    // A key that may be null is another matter than one that may come twice.
    let own_key = findings.iter().filter(|one| one.what.ends_with(".own_key"));
    assert_eq!(own_key.count(), 2);
}

#[tokio::test]
async fn schemas_that_the_log_leaves_out_are_named() {
    for (setting, fails) in [
        ("binlog_ignore_db=t_none", false),
        ("binlog_do_db=t_none", true),
    ] {
        let options = MariadbOptions::default().setting(setting);
        let world = World::with(options, ITEM, &["item"]).await;
        let findings = world.source().check().await;
        let finding = about(&findings, ".item");
        assert_eq!(finding.level == Level::Fail, fails, "{finding}");
        if fails {
            assert!(finding.to_string().contains("binlog_do_db"), "{finding}");
        }
    }
}

#[tokio::test]
async fn a_server_id_that_is_somebodys_is_seen() {
    let world = World::new(ITEM, &["item"]).await;
    let source = world.source_with(&[("server_id", common::number(1_u32))]);
    let findings = source.check().await;
    let finding = about(&findings, "server_id");
    assert_eq!(finding.level, Level::Fail, "{finding}");
    let replica = world
        .server
        .replica(MariadbOptions::default().setting("report_host=elsewhere"))
        .await;
    replica.caught_up_with(&world.server).await;
    let source = world.source_with(&[("server_id", common::number(2_u32))]);
    let findings = source.check().await;
    let finding = about(&findings, "server_id").to_string();
    assert!(
        finding.contains("a reader of the log has ours, 2"),
        "{finding}"
    );
    assert!(finding.contains("elsewhere"), "{finding}");
}

#[tokio::test]
async fn a_server_that_is_away_is_said_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = [("port", common::number(port)), ("host", text("127.0.0.1"))];
    let world = World::new(ITEM, &["item"]).await;
    // It takes connections and says nothing.
    let began = std::time::Instant::now();
    let findings = world.source_with(&settings).check().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    let finding = about(&findings, "database");
    assert!(
        finding.to_string().contains("no answer within 5 s"),
        "{finding}"
    );
    drop(listener);
    let findings = world.source_with(&settings).check().await;
    let finding = about(&findings, "database");
    assert!(finding.to_string().contains("refused"), "{finding}");
    let unknown = [
        ("host", text("no-such-host.invalid")),
        ("tls", text("disable")),
    ];
    let findings = world.source_with(&unknown).check().await;
    assert_eq!(about(&findings, "database").level, Level::Fail);
}

#[tokio::test]
async fn a_replica_that_does_not_log_what_it_gets_is_seen() {
    for (setting, warned) in [
        ("log_slave_updates=OFF", true),
        ("log_slave_updates=ON", false),
    ] {
        let options = MariadbOptions::default()
            .setting("read_only=ON")
            .setting(setting);
        let world = World::with(options, ITEM, &["item"]).await;
        let findings = world.source().check().await;
        let said = of(&findings, Level::Warn);
        let found = said.iter().any(|one| one.contains("log_slave_updates"));
        assert_eq!(found, warned, "{said:#?}");
    }
}

/// The check asks for the log under an id of its own: a running reader keeps its connection.
#[tokio::test]
async fn a_check_does_not_push_a_running_reader_away() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let replica = world.server.replica(MariadbOptions::default()).await;
    replica.caught_up_with(&world.server).await;
    let reader = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'";
    let before: (u64,) = world.server.ask(reader).await;
    let source = world.source_with(&[("server_id", common::number(2_u32))]);
    let findings = source.check().await;
    assert_eq!(about(&findings, "replication").level, Level::Pass);
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    replica.caught_up_with(&world.server).await;
    let after: (u64,) = world.server.ask(reader).await;
    assert_eq!(before, after);
}
