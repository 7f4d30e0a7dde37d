//! What is prepared, and its undo.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{Door, PASSWORD, captured, denied, key, node, plain, source, text};
use contract::{
    CapturedTable, Login as As, NodeKind, Preparation, Secret, Source, SourceError, TableName,
};
use tds_server::model::{Database, User};
use tds_server::wire::{Options, Server, ServerError};

struct World {
    database: Database,
    server: Server,
}

impl World {
    fn new(sql: &[&str]) -> Self {
        let database = Database::new("ERP");
        database.add_user(User::new("agent", PASSWORD));
        for sql in sql {
            database.run(sql).unwrap();
        }
        let server = Server::start(Options::default(), database.clone()).unwrap();
        Self { database, server }
    }

    fn source(&self, more: &[(&str, NodeKind)], tables: Vec<CapturedTable>) -> Arc<dyn Source> {
        source(self.server.address().port(), more, tables)
    }

    fn database(&self) -> &Database {
        &self.database
    }
}

const ITEM: &str = "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)";
const ENABLE: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'item', @capture_instance \
     = N'dbo_item', @role_name = NULL, @supports_net_changes = 0";

fn item() -> Vec<CapturedTable> {
    vec![captured("dbo", "item")]
}

fn mode(mode: &str) -> [(&'static str, NodeKind); 1] {
    let modes = NodeKind::Map(vec![(key("dbo.item"), node(text(mode)))]);
    [("modes", modes)]
}

fn sa() -> As {
    As {
        user: "sa".to_owned(),
        password: Some(Secret::new("Secret-1")),
    }
}

async fn planned(source: &Arc<dyn Source>) -> Preparation {
    source.prepare_as(&sa(), false).await.unwrap()
}

/// Runs it, and then there is nothing left to do; and takes it back, and then the same is to do again.
async fn there_and_back(world: &World, source: &Arc<dyn Source>) {
    let plan = planned(source).await;
    let done = source.prepare_as(&sa(), true).await.unwrap();
    assert_eq!(
        (&done.sql, &done.undo, done.applied),
        (&plan.sql, &plan.undo, true)
    );
    assert_eq!(planned(source).await.sql, Vec::<String>::new());
    for sql in &done.undo {
        tds_server::wire::keep_sent(sql).unwrap();
        let undone = world.database().connect("sa").query(sql, &[]);
        assert!(undone.is_ok(), "{sql}: {undone:?}");
    }
    assert_eq!(planned(source).await.sql, plan.sql);
}

#[tokio::test]
async fn capture_is_turned_on_with_the_least_rights_and_off_again() {
    let world = World::new(&[ITEM]);
    world.database().allow_snapshot(false);
    let source = world.source(&[], item());
    let plan = planned(&source).await;
    assert_eq!(
        plan.sql,
        [
            "ALTER DATABASE [ERP] SET ALLOW_SNAPSHOT_ISOLATION ON",
            "EXEC sys.sp_cdc_enable_db",
            ENABLE,
            "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080",
            "GRANT SELECT ON SCHEMA::cdc TO [agent]",
            "GRANT SELECT ON [dbo].[item] TO [agent]",
        ]
    );
    assert_eq!(
        plan.undo,
        [
            "REVOKE SELECT ON [dbo].[item] FROM [agent]",
            "REVOKE SELECT ON SCHEMA::cdc FROM [agent]",
            "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'item', @capture_instance = \
             N'dbo_item'",
            "EXEC sys.sp_cdc_disable_db",
            "ALTER DATABASE [ERP] SET ALLOW_SNAPSHOT_ISOLATION OFF",
        ]
    );
    there_and_back(&world, &source).await;
}

#[tokio::test]
async fn tracking_is_turned_on_with_the_least_rights_and_off_again() {
    let world = World::new(&[ITEM]);
    // An edition without change data capture: chosen by itself.
    world
        .database()
        .options(|options| options.engine_edition = 4);
    let source = world.source(&[], item());
    let plan = planned(&source).await;
    assert_eq!(
        plan.sql,
        [
            "ALTER DATABASE [ERP] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
            "ALTER TABLE [dbo].[item] ENABLE CHANGE_TRACKING",
            "GRANT VIEW CHANGE TRACKING ON [dbo].[item] TO [agent]",
            "GRANT SELECT ON [dbo].[item] TO [agent]",
        ]
    );
    there_and_back(&world, &source).await;
}

/// The undo leaves what was there before.
#[tokio::test]
async fn what_was_there_before_stays() {
    let world = World::new(&[
        ITEM,
        "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        "GRANT SELECT ON dbo.item TO agent",
    ]);
    let source = world.source(&mode("tracking"), item());
    let plan = planned(&source).await;
    let undo = plan.undo.join("; ");
    assert!(
        undo.contains("SET CHANGE_TRACKING (CHANGE_RETENTION = 2 DAYS)"),
        "{undo}"
    );
    assert!(!undo.contains("CHANGE_TRACKING = OFF"), "{undo}");
    // Our own session knows its rights, whichever way they came.
    let own = source.prepare(false).await.unwrap();
    let selects = |sql: &[String]| sql.iter().any(|sql| sql.starts_with("GRANT SELECT"));
    assert!(!selects(&own.sql), "{own:?}");
}

/// Trap 9: two at most, and the second one has what was added.
#[tokio::test]
async fn a_column_that_was_added_gets_a_second_instance_and_no_third() {
    let world = World::new(&[ITEM]);
    let source = world.source(&mode("cdc"), item());
    source.prepare_as(&sa(), true).await.unwrap();
    let reading = |column: &str| {
        vec![CapturedTable {
            columns: vec![column.to_owned()],
            ..captured("dbo", "item")
        }]
    };
    world
        .database()
        .run("ALTER TABLE dbo.item ADD later int NULL")
        .unwrap();
    let later = world.source(&mode("cdc"), reading("later"));
    assert_eq!(
        planned(&later).await.sql,
        [ENABLE.replace("dbo_item", "dbo_item_2")]
    );
    later.prepare_as(&sa(), true).await.unwrap();
    assert_eq!(planned(&later).await.sql, Vec::<String>::new());
    world
        .database()
        .run("ALTER TABLE dbo.item ADD latest int NULL")
        .unwrap();
    let latest = world.source(&mode("cdc"), reading("latest"));
    // Nothing that can be run: a person drops the older one first.
    let plan = latest.prepare_as(&sa(), true).await.unwrap();
    let [note] = plan.sql.as_slice() else {
        panic!("{plan:?}");
    };
    assert!(
        note.starts_with("-- dbo.item has two capture instances"),
        "{note}"
    );
}

#[tokio::test]
async fn who_may_not_is_told_who_may() {
    let world = World::new(&[ITEM, "GRANT SELECT ON dbo.item TO agent"]);
    let source = world.source(&mode("cdc"), item());
    let error = source.prepare(true).await.unwrap_err();
    denied(
        &error,
        "prepare: EXEC sys.sp_cdc_enable_db",
        "source prepare --user NAME",
    );
    let none = world.source(&[], vec![captured("dbo", "none")]);
    let error = none.prepare_as(&sa(), false).await.unwrap_err();
    assert!(
        matches!(error, SourceError::SchemaChanged { .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains(&TableName::new("dbo", "none").to_string())
    );
}

#[tokio::test]
async fn a_login_that_nobody_knows_is_for_a_person_to_make() {
    let world = World::new(&[ITEM]);
    world.database().run("DROP USER agent").unwrap();
    let source = world.source(&mode("tracking"), item());
    let plan = planned(&source).await;
    assert_eq!(plan.sql[0], "CREATE USER [agent] FOR LOGIN [agent]");
    assert_eq!(plan.undo.last().unwrap(), "DROP USER [agent]");
    world.database().run("DROP LOGIN agent").unwrap();
    let plan = planned(&source).await;
    assert_eq!(
        plan.sql[0],
        "-- CREATE LOGIN [agent] WITH PASSWORD = 'choose one'"
    );
    let error = source.prepare_as(&sa(), true).await.unwrap_err();
    denied(
        &error,
        "login agent does not exist",
        "CREATE LOGIN [agent] WITH PASSWORD",
    );
    // Who cannot log in is told the same.
    let door = Door {
        refuse: Some(ServerError::login_failed("agent")),
        ..Door::new(|sql, _| common::empty(sql))
    };
    let server = plain(&door);
    let source = self::source(server.address().port(), &[], item());
    let error = source.prepare(false).await.unwrap_err();
    denied(&error, "(error 18456", "CREATE LOGIN [agent]");
}

#[tokio::test]
async fn a_replica_is_not_prepared() {
    let world = World::new(&[ITEM]);
    world.database().read_only(true);
    let source = world.source(&[], item());
    let error = source.prepare_as(&sa(), false).await.unwrap_err();
    denied(&error, "can only be read here", "primary");
}
