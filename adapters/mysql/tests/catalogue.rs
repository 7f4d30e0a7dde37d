//! What the source says about tables.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use contract::{ColumnKind, Level, SourceError, TableInfo, TableName};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;

use crate::common::{self, World};

const TABLES: &str = r"
    CREATE TABLE every (
        id int PRIMARY KEY, n decimal(19,5) unsigned NOT NULL, ti tinyint, mi mediumint,
        b bigint unsigned, y year, bo bool, b1 bit(1), b9 bit(9), f float, d double, da date,
        ti3 time(3), dt datetime, ts timestamp(6) NULL, c char(8), v varchar(20) CHARACTER SET latin1,
        u varchar(9) COLLATE utf8mb4_uca1400_ai_ci, tx mediumtext, bi binary(5), vb varbinary(9),
        bl longblob, e enum('a','it''s','x,y)','back\\slash'), s set('p','q'), j json, uu uuid,
        i4 inet4, i6 inet6, g point, inv int INVISIBLE DEFAULT 7,
        vg int AS (id * 2) VIRTUAL, sg int AS (id * 3) STORED);
    INSERT INTO every (id, n) VALUES (1, 1.5);
    CREATE TABLE pair (b int, a varchar(5), PRIMARY KEY (b, a));
    CREATE TABLE by_index (x int NOT NULL, y int NOT NULL, z int, p varchar(20) NOT NULL,
        UNIQUE (x, y), UNIQUE (z), UNIQUE (p(3)));
    CREATE TABLE keyless (x int);
    CREATE TABLE own_key (my_row_id bigint unsigned AUTO_INCREMENT INVISIBLE PRIMARY KEY, x int);
    CREATE TABLE KeyLess (x int, y int, PRIMARY KEY (y, x));
    CREATE TABLE `Odd ``Name` (`Col 1` int PRIMARY KEY);
    CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2;
    CREATE TABLE old (id int PRIMARY KEY) ENGINE = MyISAM;
    CREATE TABLE versioned (id int PRIMARY KEY) WITH SYSTEM VERSIONING;
    CREATE SEQUENCE counter;
    CREATE VIEW shown AS SELECT * FROM keyless";

fn names(tables: &[TableInfo]) -> Vec<&str> {
    tables.iter().map(|info| info.table.name.as_str()).collect()
}

#[tokio::test]
async fn tables_are_listed_with_columns_and_keys() {
    let world = World::new(TABLES, &[]).await;
    let source = world.source();
    let all = source.catalogue(&[]).await.unwrap();
    let system = ["mysql", "sys", "information_schema", "performance_schema"];
    assert!(
        !all.iter()
            .any(|info| system.contains(&info.table.schema.as_str()))
    );
    let mut ours = all.clone();
    ours.retain(|info| info.table.schema == world.name);
    assert_eq!(
        names(&ours),
        [
            "KeyLess",
            "Odd `Name",
            "by_index",
            "every",
            "keyless",
            "old",
            "own_key",
            "pair",
            "parts",
            "versioned"
        ]
    );
    let key = |name: &str| {
        let info = ours.iter().find(|info| info.table.name == name);
        info.unwrap().key.clone()
    };
    assert_eq!(key("every"), ["id"]);
    assert_eq!(key("pair"), ["b", "a"]);
    assert_eq!(
        key("by_index"),
        ["x", "y"],
        "nulls and parts identify nothing"
    );
    assert!(key("keyless").is_empty());
    // As MySQL makes one for tables that have none.
    assert_eq!(key("own_key"), ["my_row_id"]);
    assert_eq!(key("KeyLess"), ["y", "x"]);
    assert_eq!(key("Odd `Name"), ["Col 1"]);
    let wanted = [
        TableName::new(&world.name, "every"),
        TableName::new(&world.name, "absent"),
        TableName::new("o'ther", "x\\"),
    ];
    let some = source.catalogue(&wanted).await.unwrap();
    assert_eq!(names(&some), ["every"]);
    assert!(some[0].rows.is_some());
    let wanted = [TableName::new(&world.name, "keyless")];
    let some = source.catalogue(&wanted).await.unwrap();
    assert_eq!(names(&some), ["keyless"]);
    assert_eq!(some[0].columns.len(), 1);
}

/// The columns are those of the log: computed and invisible ones are in it too.
#[tokio::test]
async fn columns_say_what_their_values_come_as() {
    let world = World::new(TABLES, &[]).await;
    let wanted = [TableName::new(&world.name, "every")];
    let every = world.source().catalogue(&wanted).await.unwrap().remove(0);
    let kinds: Vec<(&str, ColumnKind)> = every
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("id", ColumnKind::Int),
            ("n", ColumnKind::Decimal),
            ("ti", ColumnKind::Int),
            ("mi", ColumnKind::Int),
            ("b", ColumnKind::Int),
            ("y", ColumnKind::Int),
            ("bo", ColumnKind::Int),
            ("b1", ColumnKind::Bool),
            ("b9", ColumnKind::Int),
            ("f", ColumnKind::Float),
            ("d", ColumnKind::Float),
            ("da", ColumnKind::Date),
            ("ti3", ColumnKind::Time),
            ("dt", ColumnKind::DateTime),
            ("ts", ColumnKind::Timestamp),
            ("c", ColumnKind::Text),
            ("v", ColumnKind::Text),
            ("u", ColumnKind::Text),
            ("tx", ColumnKind::Text),
            ("bi", ColumnKind::Bytes),
            ("vb", ColumnKind::Bytes),
            ("bl", ColumnKind::Bytes),
            ("e", ColumnKind::Text),
            ("s", ColumnKind::Text),
            // An alias of longtext.
            ("j", ColumnKind::Text),
            ("uu", ColumnKind::Uuid),
            ("i4", ColumnKind::Text),
            ("i6", ColumnKind::Text),
            ("g", ColumnKind::Bytes),
            ("inv", ColumnKind::Int),
            ("vg", ColumnKind::Int),
            ("sg", ColumnKind::Int),
        ]
    );
    let n = every.column("n").unwrap();
    assert_eq!(
        (n.declared.as_str(), n.nullable),
        ("decimal(19,5) unsigned", false)
    );
    assert!(every.column("b").unwrap().nullable);
}

/// The server shows a table that is being changed without its columns, and without an error.
#[tokio::test]
async fn a_table_that_is_locked_is_no_table_without_columns() {
    // In a server of its own: who lists all tables waits for those that are locked.
    let world = World::with(
        MariadbOptions::default(),
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         CREATE TABLE free (id int PRIMARY KEY)",
        &["a", "b", "free"],
    )
    .await;
    let source = world.source();
    let mut changing = Vec::new();
    for name in ["a", "b"] {
        let mut conn = world.server.connect(Some(&world.name)).await;
        let id = conn.id();
        let sql = format!(
            "CREATE OR REPLACE TABLE {name} (id int PRIMARY KEY) SELECT SLEEP(120) + 1 AS id"
        );
        changing.push((id, tokio::spawn(async move { conn.query_drop(sql).await })));
    }
    let until = Instant::now() + Duration::from_secs(30);
    let waiting = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST
          WHERE STATE = 'User sleep' AND DB = '{}'",
        world.name
    );
    while world.server.ask::<(u64,)>(&waiting).await.0 < 2 {
        assert!(Instant::now() < until, "nobody changes the tables");
    }
    let wanted = [TableName::new(&world.name, "a")];
    let locked = source.catalogue(&wanted).await;
    match locked {
        Err(SourceError::Disconnected(what)) => assert!(what.contains("is locked"), "{what}"),
        other => panic!("{other:?}"),
    }
    let found = source.check().await;
    let locked = common::about(&found, &format!("table {}.a", world.name));
    assert_eq!(locked.level, Level::Warn, "{locked}");
    // The stream begins all the same, and tells of what is not locked.
    let opened = Instant::now();
    let mut stream = source.stream(1, None).await.unwrap();
    let elapsed = opened.elapsed();
    assert!(
        elapsed < Duration::from_secs(8),
        "each lock was waited for: {elapsed:?}"
    );
    assert_eq!(stream.untold(), []);
    world.run("INSERT INTO free VALUES (1)").await;
    let until = Instant::now() + Duration::from_secs(30);
    let mut told = Vec::new();
    // Beyond a look of the stream.
    let looked = Instant::now() + Duration::from_secs(12);
    while told.is_empty() || Instant::now() < looked {
        assert!(Instant::now() < until, "nothing is told");
        let next = tokio::time::timeout(Duration::from_secs(1), stream.next());
        if let Ok(batch) = next.await {
            told.extend(batch.unwrap().changes);
        }
    }
    assert_eq!(stream.untold(), []);
    for (id, changing) in changing {
        world.server.run(&format!("KILL {id}")).await;
        changing.await.unwrap().unwrap_err();
    }
}
