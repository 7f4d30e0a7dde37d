//! What a check finds.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use crate::common::{
    Door, PASSWORD, about, captured, denied, empty, key, node, nvarchar, of, plain, source, table,
    text,
};
use contract::{CapturedTable, Finding, Level, NodeKind, ReadQuery};
use tds_server::model::{Database, User, Which};
use tds_server::wire::{Options, Server, ServerError};

const ITEM: &str = "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, note varchar(10) NULL)";
const SELECT: &str = "GRANT SELECT ON dbo.item TO agent";

fn world(sql: &[&str]) -> Database {
    let database = Database::new("ERP");
    database.add_user(User::new("agent", PASSWORD));
    for sql in sql {
        database.run(sql).unwrap();
    }
    database
}

fn cdc() -> [&'static str; 5] {
    [
        ITEM,
        SELECT,
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'item', @role_name = NULL",
        "GRANT SELECT ON SCHEMA::cdc TO agent",
    ]
}

async fn check(
    database: &Database,
    more: &[(&str, NodeKind)],
    tables: Vec<CapturedTable>,
) -> Vec<Finding> {
    let server = Server::start(Options::default(), database.clone()).unwrap();
    source(server.address().port(), more, tables).check().await
}

fn reading(columns: &[&str]) -> Vec<CapturedTable> {
    vec![CapturedTable {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        ..captured("dbo", "item")
    }]
}

fn mode(mode: &str) -> [(&'static str, NodeKind); 1] {
    let modes = NodeKind::Map(vec![(key("dbo.item"), node(text(mode)))]);
    [("modes", modes)]
}

#[track_caller]
fn is(finding: &Finding, level: Level, found: &str, fix: &str) {
    assert_eq!(finding.level, level, "{finding}");
    assert!(finding.found.contains(found), "{finding}");
    assert!(
        finding.fix.as_deref().unwrap_or_default().contains(fix),
        "{finding}"
    );
}

#[tokio::test]
async fn a_database_that_is_ready_passes() {
    let database = world(&cdc());
    for sql in [
        "GRANT VIEW SERVER STATE TO agent",
        "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080",
    ] {
        database.run(sql).unwrap();
    }
    let findings = check(&database, &[], reading(&["id", "name"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Pass,
        "is captured by cdc",
        "",
    );
    is(about(&findings, "agent"), Level::Pass, "runs", "");
    is(about(&findings, "snapshots"), Level::Pass, "allowed", "");
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
}

/// Trap 21, and what may not be asked: each a warning of its own, never a failure of the whole.
#[tokio::test]
async fn what_may_not_be_asked_is_a_named_warning() {
    let database = world(&cdc());
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "agent"),
        Level::Warn,
        "looks like a quiet database",
        "GRANT VIEW SERVER STATE TO [agent]",
    );
    is(
        about(&findings, "retention"),
        Level::Warn,
        "cannot be asked",
        "cdc_jobs",
    );
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "how far the two clocks are apart is the question itself"
)]
async fn a_clock_that_is_off_is_said_whatever_its_zone() {
    let database = world(&cdc());
    database.clock_offset(-330);
    // When the model begins.
    let begins: jiff::Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
    let behind = jiff::Timestamp::now().duration_since(begins);
    database.pass(behind.unsigned_abs());
    let findings = check(&database, &[], reading(&["id"])).await;
    let finding = about(&findings, "clock");
    is(finding, Level::Pass, "agrees with this machine's", "");
    database.pass(std::time::Duration::from_mins(10));
    let findings = check(&database, &[], reading(&["id"])).await;
    let finding = about(&findings, "clock");
    is(finding, Level::Warn, "s off this machine's", "time servers");
}

#[tokio::test]
async fn an_agent_that_is_stopped_fails() {
    let database = world(&cdc());
    database.run("GRANT VIEW SERVER STATE TO agent").unwrap();
    database.options(|options| options.agent_running = false);
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "agent"),
        Level::Fail,
        "nothing is captured",
        "start the service",
    );
}

/// Its service is called otherwise in other languages, and its program is not.
#[tokio::test]
async fn the_agent_is_known_whatever_its_service_is_called() {
    let database = world(&cdc());
    database.run("GRANT VIEW SERVER STATE TO agent").unwrap();
    for service in [
        "SQL Server-Agent (MSSQLSERVER)",
        "Agent SQL Server (MSSQLSERVER)",
        "SQL Server 代理 (MSSQLSERVER)",
    ] {
        for (running, level) in [(true, Level::Pass), (false, Level::Fail)] {
            database.options(|options| {
                service.clone_into(&mut options.agent_service);
                options.agent_running = running;
            });
            let findings = check(&database, &[], reading(&["id"])).await;
            assert_eq!(about(&findings, "agent").level, level, "{service}");
        }
    }
}

/// Azure SQL Database captures by itself, and has its jobs in the database.
#[tokio::test]
async fn azure_is_asked_for_its_jobs_where_they_are() {
    let database = world(&cdc());
    database.options(|options| options.engine_edition = 5);
    let findings = check(&database, &[], reading(&["id"])).await;
    for part in ["agent", "capture job"] {
        let found = findings.iter().find(|one| one.what.ends_with(part));
        assert_eq!(found, None, "{findings:#?}");
    }
    is(
        about(&findings, "retention"),
        Level::Warn,
        "kept for 3 days",
        "@retention = 10080",
    );
    // What it does not have is not asked for with a right that it does not have either.
    let missing = ServerError::new(
        208,
        16,
        "Invalid object name 'sys.database_recovery_status'.",
    );
    database.fail(Which::next("sys.database_recovery_status"), missing);
    let findings = check(&database, &[], reading(&["id"])).await;
    let identity = about(&findings, "identity");
    is(
        identity,
        Level::Warn,
        "a restore makes another database",
        "source resync",
    );
}

/// The log reader of a publication captures in its place.
#[tokio::test]
async fn a_published_database_needs_no_capture_job() {
    let database = world(&cdc());
    database.options(|options| options.published = true);
    database
        .run("GRANT SELECT ON msdb.dbo.cdc_jobs TO agent")
        .unwrap();
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "capture job"),
        Level::Pass,
        "its log reader captures",
        "",
    );
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
}

/// An empty answer about the database is not "off": the row is only shown to who may see it.
#[tokio::test]
async fn tracking_that_may_not_be_seen_is_not_taken_for_off() {
    let database = world(&[
        ITEM,
        SELECT,
        "GRANT VIEW CHANGE TRACKING ON dbo.item TO agent",
        "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
        "ALTER TABLE dbo.item ENABLE CHANGE_TRACKING",
    ]);
    database.options(|options| options.databases_shown = false);
    for chosen in [&[][..], &mode("tracking")] {
        let findings = check(&database, chosen, reading(&["id"])).await;
        is(
            about(&findings, "table dbo.item"),
            Level::Pass,
            "is captured by tracking",
            "",
        );
        is(
            about(&findings, ": tracking"),
            Level::Warn,
            "cannot be asked",
            "GRANT VIEW ANY DATABASE TO [agent]",
        );
    }
}

/// Trap 12: no right is not "valid since ever".
#[tokio::test]
async fn what_may_not_be_read_is_said_with_the_grant() {
    let database = world(&[ITEM]);
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "may not be seen",
        "GRANT SELECT ON [dbo].[item] TO [agent]; undo: REVOKE SELECT ON [dbo].[item] FROM [agent]",
    );
    let database = world(&cdc()[..4]);
    let findings = check(&database, &mode("cdc"), reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "may not read the tables of change data capture",
        "GRANT SELECT ON SCHEMA::cdc TO [agent]",
    );
    let tracked = [
        ITEM,
        SELECT,
        "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
        "ALTER TABLE dbo.item ENABLE CHANGE_TRACKING",
    ];
    let findings = check(&world(&tracked), &mode("tracking"), reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "may not read its tracked changes",
        "GRANT VIEW CHANGE TRACKING ON [dbo].[item] TO [agent]",
    );
}

#[tokio::test]
async fn what_is_not_turned_on_is_said() {
    for (chosen, found) in [
        ("cdc", "change data capture is off for the database"),
        ("tracking", "change tracking is off for the database"),
        ("rowversion", "has no column of type rowversion"),
    ] {
        let findings = check(&world(&[ITEM, SELECT]), &mode(chosen), reading(&["id"])).await;
        let finding = about(&findings, "table dbo.item");
        assert_eq!(finding.level, Level::Fail, "{finding}");
        assert!(finding.found.contains(found), "{finding}");
    }
    let tracking = "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)";
    let database = world(&[ITEM, SELECT, tracking]);
    let findings = check(&database, &mode("tracking"), reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "are not tracked",
        "source prepare",
    );
    is(
        about(&findings, ": tracking"),
        Level::Warn,
        "kept for 2 days",
        "(CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON); undo: ALTER DATABASE [ERP] SET CHANGE_TRACKING \
         (CHANGE_RETENTION = 2 DAYS",
    );
}

/// Scenario 31: said when the source is set up.
#[tokio::test]
async fn a_mode_that_tells_less_says_so() {
    let database = world(&[
        "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, v rowversion NOT NULL)",
        SELECT,
    ]);
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Warn,
        "rows that are deleted are not seen",
        "change data capture or change tracking",
    );
    // Each look would read all of it.
    let index = "has no index that begins with its rowversion v";
    let of_index = |findings: &[Finding]| {
        let found = findings.iter().find(|one| one.found.contains(index));
        found.cloned()
    };
    is(
        &of_index(&findings).unwrap(),
        Level::Warn,
        index,
        "CREATE INDEX [lighterman_rv] ON [dbo].[item] ([v]); undo: DROP INDEX [lighterman_rv] ON [dbo].[item]",
    );
    database
        .run("CREATE INDEX late ON dbo.item (id, v)")
        .unwrap();
    let findings = check(&database, &[], reading(&["id"])).await;
    assert!(of_index(&findings).is_some(), "it stands second there");
    database.run("CREATE INDEX first ON dbo.item (v)").unwrap();
    let findings = check(&database, &[], reading(&["id"])).await;
    assert_eq!(of_index(&findings), None);
    database.options(|options| options.engine_edition = 4);
    let findings = check(&database, &mode("compare"), reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Warn,
        "read again and compared every 60 minutes",
        "change tracking tells",
    );
}

/// Whoever chose change data capture is told where there is none.
#[tokio::test]
async fn an_edition_without_change_data_capture_is_said() {
    let database = world(&[ITEM, SELECT]);
    for (engine_edition, edition, version, why) in [
        (
            4,
            "Express Edition (64-bit)",
            "16.0.4135.4",
            "not in Express",
        ),
        (
            2,
            "Web Edition (64-bit)",
            "15.0.2000.5",
            "not in Web Edition",
        ),
        (
            2,
            "Standard Edition (64-bit)",
            "12.0.6024.0",
            "from 2016 SP1 on",
        ),
    ] {
        database.options(|options| {
            options.engine_edition = engine_edition;
            edition.clone_into(&mut options.edition);
            version.clone_into(&mut options.version);
        });
        for chosen in ["cdc", "cdc-function"] {
            let findings = check(&database, &mode(chosen), reading(&["id"])).await;
            is(
                about(&findings, "table dbo.item"),
                Level::Fail,
                why,
                "choose tracking",
            );
        }
    }
}

#[tokio::test]
async fn names_that_are_not_there_are_said_with_the_nearest() {
    let database = world(&cdc());
    let findings = check(&database, &[], reading(&["id", "nmae"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "no column \"nmae\"",
        "\"name\"?",
    );
    let findings = check(&database, &[], vec![captured("dbo", "ITEM")]).await;
    is(
        about(&findings, "table dbo.ITEM"),
        Level::Fail,
        "called otherwise",
        "dbo.item",
    );
    for (name, fix) in [("none", "correct"), ("itme", "did you mean dbo.item?")] {
        let findings = check(&database, &[], vec![captured("dbo", name)]).await;
        let part = format!("table dbo.{name}");
        is(about(&findings, &part), Level::Fail, "does not exist", fix);
    }
    // So are those of the settings that nobody reads.
    for (name, level, fix) in [
        ("dbo.Item", Level::Fail, "did you mean \"dbo.item\"?"),
        ("dbo.itme", Level::Fail, "did you mean \"dbo.item\"?"),
        ("dbo.warehouse", Level::Warn, "take it out of modes"),
    ] {
        let modes = NodeKind::Map(vec![(key(name), node(text("tracking")))]);
        let findings = check(&database, &[("modes", modes)], reading(&["id"])).await;
        let found = format!("names table {name}, which no mapping reads");
        is(about(&findings, "modes"), level, &found, fix);
    }
}

#[tokio::test]
async fn a_table_without_a_key_cannot_be_captured() {
    let database = world(&[
        "CREATE TABLE dbo.item (id int NOT NULL, a int NULL)",
        SELECT,
    ]);
    let findings = check(&database, &[], reading(&["id"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "nothing tells its rows apart",
        "PRIMARY KEY",
    );
    let findings = check(&database, &mode("tracking"), reading(&["id"])).await;
    assert!(
        of(&findings, Level::Fail)
            .iter()
            .any(|found| found.contains("without which changes cannot be tracked")),
        "{findings:#?}"
    );
    let keyed = vec![CapturedTable {
        key: vec!["a".to_owned()],
        ..captured("dbo", "item")
    }];
    let findings = check(&database, &[], keyed).await;
    let said = of(&findings, Level::Warn).join("\n");
    assert!(said.contains("\"a\" can be null"), "{said}");
}

/// Trap 11, and columns that the client cannot read: by name.
#[tokio::test]
async fn columns_that_do_not_come_are_named() {
    let database = world(&[
        "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, v sql_variant NULL, twice AS id + id)",
        SELECT,
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'item', @role_name = NULL",
        "GRANT SELECT ON SCHEMA::cdc TO agent",
    ]);
    let findings = check(&database, &[], reading(&["id", "v", "twice"])).await;
    let said = |level| of(&findings, level).join("\n");
    assert!(
        said(Level::Fail).contains("column \"v\" is of type sql_variant"),
        "{findings:#?}"
    );
    assert!(
        said(Level::Warn).contains("column \"twice\" is computed"),
        "{findings:#?}"
    );
}

/// Trap 9: a column that was added later is absent from the instance.
#[tokio::test]
async fn a_column_that_the_instance_does_not_have_fails() {
    let database = world(&cdc());
    database
        .run("ALTER TABLE dbo.item ADD later int NULL")
        .unwrap();
    let findings = check(&database, &[], reading(&["id", "later"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "\"later\" is not captured by instance dbo_item",
        "second instance",
    );
}

/// Trap 25.
#[tokio::test]
async fn a_text_in_another_collation_is_warned_of() {
    let database = world(&[
        "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, t varchar(9) COLLATE Latin1_General_BIN NULL)",
    ]);
    for sql in &cdc()[1..] {
        database.run(sql).unwrap();
    }
    let findings = check(&database, &[], reading(&["id", "t"])).await;
    is(
        about(&findings, "table dbo.item"),
        Level::Warn,
        "another collation",
        "tracking",
    );
}

/// Scenario 28, and trap 17.
#[tokio::test]
async fn a_replica_and_a_database_without_snapshots_are_told() {
    let database = world(&[ITEM, SELECT]);
    database.allow_snapshot(false);
    database.read_only(true);
    let findings = check(&database, &mode("tracking"), reading(&["id"])).await;
    is(
        about(&findings, "snapshots"),
        Level::Warn,
        "not allowed",
        "ALTER DATABASE [ERP] SET ALLOW_SNAPSHOT_ISOLATION ON",
    );
    is(
        about(&findings, "table dbo.item"),
        Level::Fail,
        "tracked at the primary only",
        "primary",
    );
    assert!(
        of(&findings, Level::Warn)
            .iter()
            .any(|found| found.contains("can only be read"))
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_finding() {
    let database = world(&[ITEM]);
    database.fail(
        tds_server::model::Which::next("SERVERPROPERTY"),
        ServerError::new(40_613, 17, "Not now."),
    );
    let findings = check(&database, &[], Vec::new()).await;
    let last = findings.last().unwrap();
    is(
        last,
        Level::Fail,
        "Not now (error 40613",
        "see that the server runs",
    );
    let source = source(1, &[], Vec::new());
    let findings = source.check().await;
    is(
        &findings[0],
        Level::Fail,
        "connect to 127.0.0.1:1",
        "firewall",
    );
}

/// Who may not see the database that it is in has no database without change data capture or snapshots.
#[tokio::test]
async fn a_database_that_its_login_may_not_see_is_said() {
    let door = Door::new(|sql, _| {
        if sql.contains("FROM sys.databases") {
            return table(&[("name", nvarchar())], Vec::new());
        }
        empty(sql)
    });
    let server = plain(&door);
    let source = source(server.address().port(), &[], Vec::new());
    let question = ReadQuery {
        sql: "SELECT 1 AS n".to_owned(),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 10,
        time_max: Duration::from_secs(5),
    };
    let error = source.query(&question).await.unwrap_err();
    denied(&error, "its own database", "GRANT VIEW ANY DATABASE");
}
