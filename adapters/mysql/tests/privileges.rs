//! The agent's user needs no more than it is documented to need, and what it lacks is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use contract::{Level, Login, Source, SourceError};
use harness::mariadb::MariadbOptions;

use crate::common::{World, captured, of, secret, text};

const TABLES: &str = "CREATE TABLE item (id int PRIMARY KEY, sku varchar(20));
    CREATE TABLE other (id int PRIMARY KEY)";

/// A database with a captured table, another that is none of ours, an administrator, and the name of
/// the agent's user.
struct Shop {
    world: World,
    admin: Login,
    clerk: String,
}

impl Shop {
    /// The agent's user is not there yet.
    async fn new() -> Self {
        let mut world = World::new(TABLES, &["item"]).await;
        let (name, admin) = (world.name.clone(), format!("{}_admin", world.name));
        world
            .run(&format!(
                "CREATE DATABASE {name}_shop; CREATE TABLE {name}_shop.stock (id int PRIMARY KEY);
                 CREATE USER {admin}@'127.0.0.1';
                 GRANT ALL PRIVILEGES ON *.* TO {admin}@'127.0.0.1' WITH GRANT OPTION"
            ))
            .await;
        world
            .tables
            .push(captured(&format!("{name}_shop"), "stock"));
        Self {
            admin: Login {
                user: admin,
                password: None,
            },
            clerk: format!("{name}_clerk"),
            world,
        }
    }

    /// Its source, as the agent's user.
    fn source(&self) -> Arc<dyn Source> {
        self.world
            .source_with(&[("user", text(&self.clerk)), ("password", secret("pw"))])
    }

    /// With the agent's user and all it needs.
    async fn prepared() -> Self {
        let shop = Self::new().await;
        let create = format!("CREATE USER {} IDENTIFIED BY 'pw'", shop.clerk);
        shop.world.run(&create).await;
        shop.source().prepare_as(&shop.admin, true).await.unwrap();
        shop
    }
}

#[tokio::test]
async fn prepare_as_an_administrator_grants_what_is_needed_and_takes_it_back() {
    let shop = Shop::new().await;
    let (world, clerk) = (&shop.world, &shop.clerk);
    // Nobody of that name: how it is made is said, and a password is for a person to choose.
    let error = shop.source().prepare(false).await.unwrap_err();
    assert!(error.hint().unwrap().contains("CREATE USER"), "{error:?}");
    let printed = shop.source().prepare_as(&shop.admin, false).await.unwrap();
    let create = format!("-- CREATE USER '{clerk}'@'%' IDENTIFIED BY 'choose one'");
    assert_eq!(printed.sql[0], create);
    assert_eq!(
        printed.undo.last().unwrap(),
        &format!("DROP USER '{clerk}'@'%'")
    );
    let error = shop
        .source()
        .prepare_as(&shop.admin, true)
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("CREATE USER"), "{error:?}");

    let create = format!("CREATE USER {clerk}@'127.0.0.%' IDENTIFIED BY 'pw'");
    world.run(&create).await;
    let printed = shop.source().prepare_as(&shop.admin, false).await.unwrap();
    let (name, to) = (&world.name, format!("'{clerk}'@'127.0.0.%'"));
    let expected = [
        format!("GRANT REPLICATION SLAVE ON *.* TO {to}"),
        format!("GRANT BINLOG MONITOR ON *.* TO {to}"),
        format!("GRANT SELECT ON `{name}`.`item` TO {to}"),
        format!("GRANT SELECT ON `{name}_shop`.`stock` TO {to}"),
    ];
    assert_eq!(printed.sql, expected);
    assert!(!printed.applied);
    let applied = shop.source().prepare_as(&shop.admin, true).await.unwrap();
    assert_eq!(applied.sql, printed.sql);
    assert!(applied.applied);
    let again = shop.source().prepare(true).await.unwrap();
    assert_eq!(again.sql, Vec::<String>::new());
    assert_eq!(again.undo, applied.undo);
    for sql in &again.undo {
        world.run(sql).await;
    }
    let left: (i64,) = world
        .server
        .ask(&format!(
            "SELECT (SELECT COUNT(*) FROM information_schema.TABLE_PRIVILEGES WHERE GRANTEE = \"{to}\")
                  + (SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES
                      WHERE GRANTEE = \"{to}\" AND PRIVILEGE_TYPE <> 'USAGE')"
        ))
        .await;
    assert_eq!(left.0, 0);
}

/// No administrator anywhere: what is documented is enough for all that the agent does.
#[tokio::test]
async fn the_documented_rights_are_enough_for_all_of_it() {
    let shop = Shop::prepared().await;
    let source = shop.source();
    let findings = source.check().await;
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
    let warned = of(&findings, Level::Warn);
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(warned[0].contains("sync_binlog"), "{warned:#?}");
    let mut tables = source.catalogue(&[]).await.unwrap();
    tables.retain(|info| info.table.schema.starts_with(&shop.world.name));
    assert_eq!(tables.len(), 2, "{tables:#?}");
    let look = source.look().await.unwrap().unwrap();
    assert_eq!(look.trouble, None);
    // It is held from one look to the next, and made anew when the server has ended it.
    let user = &shop.clerk;
    let running: (u64,) = shop
        .world
        .server
        .ask(&format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{user}' ORDER BY ID DESC LIMIT 1"
        ))
        .await;
    shop.world.run(&format!("KILL {}", running.0)).await;
    assert_eq!(source.look().await.unwrap().unwrap().trouble, None);
}

/// Each right is taken away in turn: the check names it, with the SQL that gives it and its undo.
#[tokio::test]
async fn a_right_that_is_missing_is_named_with_its_sql() {
    let shop = Shop::prepared().await;
    let (world, clerk) = (&shop.world, &shop.clerk);
    let name = &world.name;
    for right in [
        "REPLICATION SLAVE ON *.*".to_owned(),
        "BINLOG MONITOR ON *.*".to_owned(),
        format!("SELECT ON `{name}`.`item`"),
        format!("SELECT ON `{name}_shop`.`stock`"),
    ] {
        world
            .run(&format!("REVOKE {right} FROM '{clerk}'@'%'"))
            .await;
        let failed = of(&shop.source().check().await, Level::Fail);
        let give = format!("GRANT {right} TO '{clerk}'@'%'");
        assert_eq!(failed.len(), 1, "{right}: {failed:#?}");
        assert!(failed[0].contains(&give), "{right}: {failed:#?}");
        assert!(failed[0].contains("undo: REVOKE"), "{failed:#?}");
        // The agent's own user may not give itself anything: who may is said.
        let error = shop.source().prepare(true).await.unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("--user") && hint.contains(&give), "{hint}");
        world.run(&give).await;
        let failed = of(&shop.source().check().await, Level::Fail);
        assert_eq!(failed, Vec::<String>::new(), "{right}");
    }
}

/// Rights that come by a role, by a schema or by everything are rights.
#[tokio::test]
async fn rights_by_roles_and_schemas_count() {
    let shop = Shop::new().await;
    let (world, clerk) = (&shop.world, &shop.clerk);
    let name = &world.name;
    world
        .run(&format!(
            "CREATE USER {clerk} IDENTIFIED BY 'pw'; CREATE ROLE {name}_reader;
             GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {name}_reader;
             GRANT SELECT ON {name}.* TO {name}_reader; GRANT SELECT ON {name}_shop.stock TO {clerk};
             GRANT {name}_reader TO {clerk}; SET DEFAULT ROLE {name}_reader FOR {clerk}"
        ))
        .await;
    let findings = shop.source().check().await;
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
    let prepared = shop.source().prepare(false).await.unwrap();
    assert_eq!(prepared.sql, Vec::<String>::new());
    world.run(&format!("DROP ROLE {name}_reader")).await;
}

/// Our sessions change nothing, whatever the user may.
#[tokio::test]
async fn nothing_is_written_to_the_servers_log() {
    let world = World::with(MariadbOptions::default(), TABLES, &["item"]).await;
    let position = "SELECT @@GLOBAL.gtid_binlog_pos";
    let before: (String,) = world.server.ask(position).await;
    let source = world.source();
    source.check().await;
    source.catalogue(&[]).await.unwrap();
    source.look().await.unwrap();
    source.prepare(false).await.unwrap();
    let after: (String,) = world.server.ask(position).await;
    assert_eq!(before, after);
}

/// Which of several users of one name we are, the server says; where it does not let us in, a person
/// must.
#[tokio::test]
async fn of_several_users_of_one_name_the_servers_choice_is_taken() {
    let shop = Shop::new().await;
    let clerk = &shop.clerk;
    shop.world
        .run(&format!(
            "CREATE USER {clerk}@'%' IDENTIFIED BY 'other';
             CREATE USER {clerk}@'127.0.0.1' IDENTIFIED BY 'pw'"
        ))
        .await;
    let printed = shop.source().prepare_as(&shop.admin, false).await.unwrap();
    let ours = format!("TO '{clerk}'@'127.0.0.1'");
    assert!(
        printed.sql.iter().all(|sql| sql.ends_with(&ours)),
        "{printed:?}"
    );
    assert_eq!(printed.sql.len(), 4);
    let source = shop
        .world
        .source_with(&[("user", text(clerk)), ("password", secret("wrong"))]);
    let error = source.prepare_as(&shop.admin, false).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("several users"), "{error}");
}
