//! The agent's role needs no more than it is documented to need, and what it lacks is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use contract::{Finding, Level, Login, NodeKind, Source, SourceError, TableName};

use crate::common::{self, World, changes, next, secret, text};

const TABLES: &str = "CREATE SCHEMA shop;
    CREATE TABLE item (id int PRIMARY KEY, sku text);
    CREATE TABLE shop.stock (id int PRIMARY KEY, qty numeric)";

/// A database that belongs to a role of its own, who is no superuser, and its captured tables.
struct Shop {
    world: World,
    owner: Login,
    clerk: String,
}

impl Shop {
    /// The agent's role is not there yet.
    async fn new() -> Self {
        let mut world = World::new(TABLES, &["item"]).await;
        let mut stock = common::captured("stock");
        stock.table = TableName::new("shop", "stock");
        world.tables.push(stock);
        let (name, owner) = (&world.name, format!("{}_owner", world.name));
        world
            .run(&format!(
                "CREATE ROLE {owner} LOGIN REPLICATION; ALTER DATABASE {name} OWNER TO {owner};
                 ALTER SCHEMA shop OWNER TO {owner}; ALTER TABLE item OWNER TO {owner};
                 ALTER TABLE shop.stock OWNER TO {owner};
                 REVOKE ALL ON DATABASE {name} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
                 ALTER SCHEMA public OWNER TO {owner}"
            ))
            .await;
        let clerk = format!("{name}_clerk");
        Self {
            owner: Login {
                user: owner,
                password: None,
            },
            clerk,
            world,
        }
    }

    /// Its source, as the agent's role.
    fn source(&self) -> Arc<dyn Source> {
        self.world.source_with(&[
            ("user", text(&self.clerk)),
            ("password", secret("pw")),
            ("heartbeat", NodeKind::Bool(true)),
        ])
    }

    /// With the agent's role and all it needs.
    async fn prepared() -> Self {
        let shop = Self::new().await;
        let create = format!("CREATE ROLE {} LOGIN REPLICATION PASSWORD 'pw'", shop.clerk);
        shop.world.run(&create).await;
        shop.source().prepare_as(&shop.owner, true).await.unwrap();
        shop
    }
}

fn of(findings: &[Finding], level: Level) -> Vec<&Finding> {
    findings.iter().filter(|one| one.level == level).collect()
}

#[tokio::test]
async fn prepare_as_the_owner_grants_what_is_needed_and_takes_it_back() {
    let shop = Shop::new().await;
    let (world, clerk) = (&shop.world, &shop.clerk);
    // Nobody of that name: how it is made is said, and a password is for a person to choose.
    let error = shop.source().prepare(false).await.unwrap_err();
    assert!(error.hint().unwrap().contains("CREATE ROLE"), "{error:?}");
    let printed = shop.source().prepare_as(&shop.owner, false).await.unwrap();
    let create = format!("-- CREATE ROLE \"{clerk}\" LOGIN REPLICATION PASSWORD 'choose one'");
    assert_eq!(printed.sql[0], create);
    let error = shop
        .source()
        .prepare_as(&shop.owner, true)
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("CREATE ROLE"), "{error:?}");
    world
        .run(&format!("CREATE ROLE {clerk} LOGIN PASSWORD 'pw'"))
        .await;
    // What the owner may not do is named, with who may.
    let error = shop
        .source()
        .prepare_as(&shop.owner, true)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("REPLICATION") && error.hint().unwrap().contains("superuser"),
        "{error:?}"
    );
    world.run(&format!("ALTER ROLE {clerk} REPLICATION")).await;

    let printed = shop.source().prepare_as(&shop.owner, false).await.unwrap();
    let name = &world.name;
    let failover = match world.server.major() {
        Some(17..) => ", failover => true",
        _ => "",
    };
    let expected = [
        format!("GRANT CONNECT ON DATABASE \"{name}\" TO \"{clerk}\""),
        format!("GRANT USAGE ON SCHEMA \"public\" TO \"{clerk}\""),
        format!("GRANT USAGE ON SCHEMA \"shop\" TO \"{clerk}\""),
        format!("GRANT SELECT ON \"public\".\"item\" TO \"{clerk}\""),
        format!("GRANT SELECT ON \"shop\".\"stock\" TO \"{clerk}\""),
        format!(
            "CREATE PUBLICATION \"lighterman_{name}\" FOR TABLE \"public\".\"item\", \
             \"shop\".\"stock\" WITH (publish = 'insert, update, delete, truncate')"
        ),
        format!(
            "SELECT pg_create_logical_replication_slot('lighterman_{name}', 'pgoutput'{failover})"
        ),
    ];
    assert_eq!(printed.sql, expected);
    let applied = shop.source().prepare_as(&shop.owner, true).await.unwrap();
    assert_eq!(applied.sql, printed.sql);
    let again = shop.source().prepare(true).await.unwrap();
    assert_eq!(again.sql, Vec::<String>::new());
    // Taken back, nothing of the role is left: it can go.
    assert_eq!(again.undo, applied.undo);
    for sql in &again.undo {
        world.run(sql).await;
    }
    world.run(&format!("DROP ROLE {clerk}")).await;
}

/// What a person made before stands after the undo, and what stays is said.
#[tokio::test]
async fn the_undo_leaves_what_was_there_before() {
    let tables = "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)";
    let world = World::new(tables, &["item"]).await;
    let (name, clerk) = (&world.name, format!("{}_clerk", world.name));
    world
        .run(&format!(
            "CREATE ROLE {clerk} LOGIN REPLICATION;
             CREATE PUBLICATION feed_{name} FOR TABLE other WITH (publish = 'insert, delete')"
        ))
        .await;
    let by = Login {
        user: "postgres".to_owned(),
        password: None,
    };
    let more = [
        ("user", text(&clerk)),
        ("publication", text(format!("feed_{name}"))),
    ];
    let source = world.source_with(&more);
    let told =
        "SELECT concat_ws(' ', string_agg(tablename, ','), bool_or(pubinsert), bool_or(pubupdate),
                                 bool_or(pubdelete), bool_or(pubtruncate))
                  FROM pg_publication JOIN pg_publication_tables USING (pubname)";
    let before = world.ask(told).await;
    let done = source.prepare_as(&by, true).await.unwrap();
    assert_eq!(world.ask(told).await.as_deref(), Some("item,other t t t t"));
    for sql in &done.undo {
        world.run(sql).await;
    }
    assert_eq!(world.ask(told).await, before, "{:#?}", done.undo);
    // The role is none that prepare made.
    let stays = done.undo.last().unwrap();
    assert!(
        stays.starts_with("-- ") && stays.ends_with(&format!("DROP ROLE \"{clerk}\"")),
        "{stays}"
    );
    world
        .run(&format!(
            "DROP ROLE {clerk}; CREATE ROLE {clerk} LOGIN REPLICATION"
        ))
        .await;
    // One that needs nothing is not ours to drop, unless it bears our name.
    source.prepare_as(&by, true).await.unwrap();
    let again = source.prepare_as(&by, true).await.unwrap();
    assert_eq!(again.sql, Vec::<String>::new());
    let said = format!("-- publication \"feed_{name}\" was there before");
    assert!(again.undo.contains(&said), "{:#?}", again.undo);
    for sql in &again.undo {
        world.run(sql).await;
    }
    assert_eq!(world.ask(told).await.as_deref(), Some("item,other t t t t"));
    let ours = world.source_with(&[("user", text(&clerk))]);
    ours.prepare_as(&by, true).await.unwrap();
    let again = ours.prepare_as(&by, true).await.unwrap();
    let drop = format!("DROP PUBLICATION \"lighterman_{name}\"");
    assert!(again.undo.contains(&drop), "{:#?}", again.undo);
    for sql in &again.undo {
        world.run(sql).await;
    }
}

/// No superuser anywhere: what is documented is enough for all that the agent does.
#[tokio::test]
async fn the_documented_rights_are_enough_for_all_of_it() {
    let shop = Shop::prepared().await;
    let (world, source) = (&shop.world, shop.source());
    let findings = source.check().await;
    assert_eq!(of(&findings, Level::Fail), Vec::<&Finding>::new());
    let warned: Vec<&str> = of(&findings, Level::Warn)
        .iter()
        .map(|one| one.what.as_str())
        .collect();
    let unlimited = format!("source {}: max_slot_wal_keep_size", world.name);
    assert_eq!(warned, [unlimited]);
    for part in [
        "max_replication_slots",
        "max_wal_senders",
        "identity",
        "disk",
    ] {
        let found = findings.iter().find(|one| one.what.ends_with(part));
        assert_eq!(found.map(|one| one.level), Some(Level::Pass), "{part}");
    }

    let mut stream = source.stream(1, None).await.unwrap();
    assert!(stream.server().is_some());
    world
        .run("INSERT INTO item VALUES (1, 'a'); INSERT INTO shop.stock VALUES (1, 2.50)")
        .await;
    assert_eq!(changes(&mut *stream, 2).await.len(), 2);
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    for captured in &world.tables {
        let rows = common::snapshot(&mut *reader, &captured.table, 10).await;
        assert_eq!(rows.len(), 1, "{}", captured.table);
    }
    assert_eq!(source.catalogue(&[]).await.unwrap().len(), 2);
    common::heartbeat(&*source, &mut *stream).await;
    let look = source.look().await.unwrap().unwrap();
    assert_eq!(look.trouble, None);
    let kept = look.kept.unwrap();
    assert_eq!((kept.state.as_str(), kept.left_bytes), ("reserved", None));
    drop((stream, reader));
    world.released().await;
}

/// Each right is taken away in turn: the check names it, with the SQL that gives it and its undo.
#[tokio::test]
async fn a_right_that_is_missing_is_named_with_its_sql() {
    let shop = Shop::prepared().await;
    let (world, clerk) = (&shop.world, &shop.clerk);
    let name = &world.name;
    let rights = [
        (
            format!("ALTER ROLE {clerk} NOREPLICATION"),
            format!("ALTER ROLE {clerk} REPLICATION"),
        ),
        (
            format!("REVOKE SELECT ON item FROM {clerk}"),
            format!("GRANT SELECT ON public.item TO {clerk}"),
        ),
        (
            format!("REVOKE USAGE ON SCHEMA shop FROM {clerk}"),
            format!("GRANT USAGE ON SCHEMA shop TO {clerk}"),
        ),
        (
            format!("REVOKE CONNECT ON DATABASE {name} FROM {clerk}"),
            format!("GRANT CONNECT ON DATABASE {name} TO {clerk}"),
        ),
        (
            "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC".to_owned(),
            format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {clerk}"),
        ),
        (
            format!("ALTER PUBLICATION lighterman_{name} DROP TABLE item"),
            format!("ALTER PUBLICATION lighterman_{name} ADD TABLE public.item"),
        ),
    ];
    let failed = |findings: &[Finding]| -> Vec<String> {
        let failed = of(findings, Level::Fail);
        failed.iter().map(ToString::to_string).collect()
    };
    for (take, give) in rights {
        world.run(&take).await;
        let said = failed(&shop.source().check().await);
        let fix = said
            .iter()
            .find(|said| said.replace('"', "").contains(&give));
        let fix = fix.unwrap_or_else(|| panic!("{give}: {said:#?}"));
        let undo = fix.contains("undo: ") || give.contains("PUBLICATION");
        assert!(undo, "{fix}");
        world.run(&give).await;
        assert_eq!(
            failed(&shop.source().check().await),
            Vec::<String>::new(),
            "{give}"
        );
    }
}

/// Everybody may write to the log, unless somebody has taken that right away.
#[tokio::test]
async fn a_heartbeat_that_may_not_be_written_is_said() {
    let shop = Shop::prepared().await;
    // It has got an argument more in 17.
    let function = shop
        .world
        .ask(
            "SELECT oid::regprocedure FROM pg_proc WHERE proname = 'pg_logical_emit_message'
                AND proargtypes[2] = 'text'::regtype",
        )
        .await
        .unwrap();
    shop.world
        .run(&format!(
            "REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC"
        ))
        .await;
    let opened = shop.source().stream(1, None).await.map(|_| ());
    let error = opened.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    let hint = error.hint().unwrap();
    let fix = format!("GRANT EXECUTE ON FUNCTION {function} TO \"{}\"", shop.clerk);
    assert!(hint.contains(&fix) && hint.contains("undo"), "{hint}");
    shop.world.run(hint.split(';').next().unwrap()).await;
    shop.world.released().await;
    shop.source().stream(1, None).await.unwrap();
}

/// The agent's own role may not do what only an owner may: the statement and who may run it.
#[tokio::test]
async fn an_owner_who_may_not_replicate_leaves_the_slot_to_the_agents_role() {
    let shop = Shop::new().await;
    let (world, clerk, owner) = (&shop.world, &shop.clerk, &shop.owner.user);
    world
        .run(&format!(
            "CREATE ROLE {clerk} LOGIN REPLICATION PASSWORD 'pw'; ALTER ROLE {owner} NOREPLICATION"
        ))
        .await;
    let error = shop
        .source()
        .prepare_as(&shop.owner, true)
        .await
        .unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        error.to_string().contains("replication_slot") && hint.contains("without --user"),
        "{error:?}"
    );
    let done = shop.source().prepare(true).await.unwrap();
    assert_eq!(done.sql.len(), 1, "only the slot was left: {:?}", done.sql);
    assert!(shop.source().stream(1, None).await.is_ok());
}

#[tokio::test]
async fn what_the_role_may_not_prepare_is_named() {
    let shop = Shop::new().await;
    let clerk = &shop.clerk;
    let name = &shop.world.name;
    shop.world
        .run(&format!(
            "CREATE ROLE {clerk} LOGIN REPLICATION PASSWORD 'pw';
             GRANT CONNECT ON DATABASE {name} TO {clerk}; GRANT USAGE ON SCHEMA public, shop TO {clerk};
             GRANT SELECT ON item, shop.stock TO {clerk}"
        ))
        .await;
    let error = shop.source().prepare(true).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("CREATE PUBLICATION"), "{error}");
    assert!(error.hint().unwrap().contains("--user"), "{error:?}");
    // Once the publication is there, the slot is its own to make.
    shop.source().prepare_as(&shop.owner, false).await.unwrap();
    let publication = format!("CREATE PUBLICATION lighterman_{name} FOR TABLE item, shop.stock");
    shop.world.run(&publication).await;
    let done = shop.source().prepare(true).await.unwrap();
    assert_eq!(done.sql.len(), 1, "{done:?}");
    let mut stream = shop.source().stream(1, None).await.unwrap();
    shop.world.run("INSERT INTO item VALUES (1, 'a')").await;
    next(&mut *stream).await.unwrap();
}
