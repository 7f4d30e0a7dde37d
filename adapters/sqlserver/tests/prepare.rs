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
    without_place(source.prepare_as(&sa(), false).await.unwrap())
}

/// What there is to run is led by the database in which it is.
fn without_place(mut plan: Preparation) -> Preparation {
    for lines in [&mut plan.sql, &mut plan.undo] {
        if lines.iter().any(|line| !line.starts_with("--")) {
            assert_eq!(lines.remove(0), "-- in database [ERP]:");
        }
    }
    plan
}

/// Runs it, and then there is nothing left to do; and takes it back, and then the same is to do again.
async fn there_and_back(world: &World, source: &Arc<dyn Source>) {
    let plan = planned(source).await;
    let done = without_place(source.prepare_as(&sa(), true).await.unwrap());
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
    // Editions without change data capture: chosen by itself, and said why.
    let source = world.source(&[], item());
    for (engine_edition, edition, version) in [
        (2, "Standard Edition (64-bit)", "13.0.1601.5"),
        (2, "Web Edition (64-bit)", "16.0.4135.4"),
        (4, "Express Edition (64-bit)", "16.0.4135.4"),
    ] {
        world.database().options(|options| {
            options.engine_edition = engine_edition;
            edition.clone_into(&mut options.edition);
            version.clone_into(&mut options.version);
        });
        let plan = planned(&source).await;
        let tracked = "-- changes are tracked, for this server has no change data capture: ";
        assert!(plan.sql[0].starts_with(tracked), "{plan:?}");
        let error = world
            .source(&mode("cdc"), item())
            .prepare_as(&sa(), false)
            .await;
        denied(&error.unwrap_err(), "no change data capture", "tracking");
    }
    let plan = planned(&source).await;
    assert_eq!(
        plan.sql[1..],
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

/// What undoes a plan undoes no more than the plan does.
#[tokio::test]
async fn the_undo_of_a_part_is_a_part() {
    let world = World::new(&[ITEM]);
    let source = world.source(&mode("cdc"), item());
    source.prepare_as(&sa(), true).await.unwrap();
    let plan = planned(&source).await;
    assert_eq!((plan.sql, plan.undo), (Vec::new(), Vec::new()));
    // A right that somebody took away, of all that there is.
    world
        .database()
        .run("REVOKE SELECT ON dbo.item FROM agent")
        .unwrap();
    let plan = planned(&source).await;
    assert_eq!(plan.sql, ["GRANT SELECT ON [dbo].[item] TO [agent]"]);
    assert_eq!(plan.undo, ["REVOKE SELECT ON [dbo].[item] FROM [agent]"]);
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

/// Trap 24: the name of an instance has at most 100 letters, and is one that nobody has.
#[tokio::test]
async fn trap_24_an_instance_gets_a_name_that_fits_and_is_free() {
    let long = "n".repeat(110);
    let table = format!("CREATE TABLE dbo.{long} (id int NOT NULL PRIMARY KEY)");
    let world = World::new(&[
        &table,
        ITEM,
        "CREATE TABLE dbo.other (id int NOT NULL PRIMARY KEY)",
    ]);
    world.database().enable_cdc();
    // Somebody else's, of another table.
    world
        .database()
        .capture_table("other", Some("dbo_item"), None)
        .unwrap();
    let tables = vec![captured("dbo", &long), captured("dbo", "item")];
    let source = world.source(&[], tables);
    let plan = source.prepare_as(&sa(), true).await.unwrap();
    let named: Vec<&str> = plan
        .sql
        .iter()
        .filter_map(|sql| {
            sql.split_once("@capture_instance = N'")?
                .1
                .split('\'')
                .next()
        })
        .collect();
    let [short, second] = named.as_slice() else {
        panic!("{plan:?}");
    };
    assert!(
        short.starts_with("lighterman_") && short.len() <= 100,
        "{short}"
    );
    assert_eq!(*second, "dbo_item_2");
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

fn gated() -> World {
    World::new(&[
        ITEM,
        "GRANT SELECT ON dbo.item TO agent",
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'item', @role_name = N'readers'",
        "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080",
    ])
}

/// Without it, neither what is captured nor its functions can be read.
#[tokio::test]
async fn the_agent_is_made_a_member_of_the_gating_role() {
    let world = gated();
    let add = "ALTER ROLE [readers] ADD MEMBER [agent]";
    let drop = "ALTER ROLE [readers] DROP MEMBER [agent]";
    let source = world.source(&mode("cdc-function"), item());
    let plan = planned(&source).await;
    assert_eq!(plan.sql[..1], [add], "{plan:?}");
    assert_eq!(plan.undo.last().unwrap(), drop);
    let all = plan.sql.join("; ");
    assert!(
        !all.contains("SCHEMA::cdc"),
        "functions need no more: {all}"
    );
    // By default its tables are read, too, for they tell more.
    let plan = planned(&world.source(&[], item())).await;
    let grant = "GRANT SELECT ON SCHEMA::cdc TO [agent]";
    assert!(plan.sql.iter().any(|sql| sql == grant), "{plan:?}");
    // Who is one already needs nothing.
    world.database().run(add).unwrap();
    let own = source.prepare(false).await.unwrap();
    assert_eq!((own.sql, own.undo), (Vec::new(), Vec::new()));
}

/// Whoever was kept from the old instance is kept from the new one.
#[tokio::test]
async fn a_second_instance_has_the_gating_role_of_the_first() {
    let world = gated();
    let add = "ALTER TABLE dbo.item ADD later int NULL";
    world.database().run(add).unwrap();
    let reading = vec![CapturedTable {
        columns: vec!["later".to_owned()],
        ..captured("dbo", "item")
    }];
    let plan = planned(&world.source(&mode("cdc-function"), reading)).await;
    let guarded = ENABLE
        .replace("dbo_item", "dbo_item_2")
        .replace("@role_name = NULL", "@role_name = N'readers'");
    assert_eq!(plan.sql[0], guarded);
}

/// It takes room and time: a person decides.
#[tokio::test]
async fn an_index_for_a_rowversion_is_suggested_and_not_made() {
    let table = "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, v rowversion NOT NULL)";
    let world = World::new(&[table, "GRANT SELECT ON dbo.item TO agent"]);
    let source = world.source(&mode("rowversion"), item());
    for apply in [false, true] {
        let plan = source.prepare(apply).await.unwrap();
        let [note] = plan.sql.as_slice() else {
            panic!("{plan:?}");
        };
        let index =
            "-- CREATE INDEX [lighterman_rv] ON [dbo].[item] ([v]): a suggestion that is not run";
        assert!(note.starts_with(index), "{note}");
        assert_eq!(plan.undo, Vec::<String>::new());
    }
    world
        .database()
        .run("CREATE INDEX v ON dbo.item (v)")
        .unwrap();
    let plan = source.prepare(false).await.unwrap();
    assert_eq!(plan.sql, Vec::<String>::new());
}

#[tokio::test]
async fn names_that_are_not_those_of_the_database_are_said() {
    let world = World::new(&[ITEM]);
    let tables = |name: &str| vec![captured("dbo", name)];
    for (name, meant) in [("ITEM", "write it as dbo.item"), ("itme", "write dbo.item")] {
        let source = world.source(&[], tables(name));
        let error = source.prepare_as(&sa(), false).await.unwrap_err();
        assert!(error.hint().unwrap().contains(meant), "{error:?}");
    }
    let modes = NodeKind::Map(vec![(key("dbo.Item"), node(text("tracking")))]);
    let plan = planned(&world.source(&[("modes", modes)], item())).await;
    let said = "-- modes in the settings names table dbo.Item, which no mapping reads: it has no effect; did you \
                mean \"dbo.item\"?";
    assert_eq!(plan.sql[0], said);
}

/// Azure SQL Database answers whoever asks for the number of a login with their own: were it believed, the agent
/// would be taken for the administrator, who needs no rights.
#[tokio::test]
async fn azure_is_not_asked_who_a_login_is() {
    let world = World::new(&[ITEM]);
    world
        .database()
        .options(|options| options.engine_edition = 5);
    let source = world.source(&mode("compare"), item());
    assert_eq!(
        planned(&source).await.sql,
        ["GRANT SELECT ON [dbo].[item] TO [agent]"]
    );
    let sent = world.server.handle().statements();
    assert!(
        !sent.iter().any(|sql| sql.contains("SUSER_SID")),
        "{sent:#?}"
    );
    // A user that it does not have.
    let other = [
        ("user", text("another")),
        mode("compare").into_iter().next().unwrap(),
    ];
    let source = world.source(&other, item());
    assert_eq!(
        planned(&source).await.sql,
        [
            "CREATE USER [another] FOR LOGIN [another]",
            "GRANT SELECT ON [dbo].[item] TO [another]",
        ]
    );
}
