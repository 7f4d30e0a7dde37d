//! Reading tables: tables that change under the reader, engines
//! without transactions, and what a chunk leaves behind at the server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    missing_docs,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use contract::{ChunkLimits, Sees, SourceError, TableName};
use harness::mariadb::MariadbOptions;
use mysql_async::prelude::Queryable as _;

use crate::common::read::{self, cell, limits, snapshot, started};
use crate::common::{self, World};

const FILL: &str = "INSERT INTO t SELECT seq, seq FROM seq_1_to_30";

fn named(world: &World, name: &str) -> TableName {
    TableName::new(&world.name, name)
}

#[tokio::test]
async fn what_a_chunk_reflects_is_told_by_its_engine() {
    // Of its own: nobody else writes to its log.
    let world = World::with(
        MariadbOptions::default(),
        "CREATE TABLE innodb (id int PRIMARY KEY, n int) ENGINE = InnoDB;
         CREATE TABLE myisam (id int PRIMARY KEY, n int) ENGINE = MyISAM;
         CREATE TABLE aria (id int PRIMARY KEY, n int) ENGINE = Aria;
         CREATE TABLE memory (id int PRIMARY KEY, n int) ENGINE = MEMORY",
        &["innodb", "myisam", "aria", "memory"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    for name in ["innodb", "myisam", "aria", "memory"] {
        let table = named(&world, name);
        world
            .run(&format!(
                "INSERT INTO {name} SELECT seq, seq FROM seq_1_to_30"
            ))
            .await;
        let before = reader.chunk(&table, None, limits(10)).await.unwrap();
        assert_eq!(before.mark.seq, 0, "{name}: a border");
        assert!(before.rows.iter().all(|row| row.position == before.mark));
        world.run(&format!("UPDATE {name} SET n = n + 100")).await;
        let after = reader.chunk(&table, None, limits(10)).await.unwrap();
        assert!(before.mark < after.mark, "{name}");
        let reflects = |chunk: &contract::SnapshotChunk, of: &contract::SnapshotChunk| {
            chunk.sees.reflects(&chunk.mark, &of.mark, 0)
        };
        let is_innodb = name == "innodb";
        // Without transactions, rows of other sessions may be in the log and not be seen yet.
        assert_eq!(reflects(&after, &before), is_innodb, "{name}");
        assert!(!reflects(&before, &after), "{name}");
        let exact = matches!(after.sees, Sees::UpToMark);
        assert_eq!(exact, is_innodb, "{name}");
        let rows = snapshot(&mut *reader, &table, 7).await;
        assert_eq!(
            (rows.len(), cell(&rows[29], "n")),
            (30, "130".to_owned()),
            "{name}"
        );
    }
}

/// A table that is emptied, written anew, renamed or dropped while chunks of it are read.
#[tokio::test]
async fn a_table_that_changes_between_chunks_is_read_as_it_is() {
    let world = World::new(
        &format!("CREATE TABLE t (id int PRIMARY KEY, n int); {FILL}"),
        &["t"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let table = named(&world, "t");
    let first = reader.chunk(&table, None, limits(10)).await.unwrap();
    world.run("ALTER TABLE t ADD COLUMN v int DEFAULT 7").await;
    let rest = reader
        .chunk(&table, first.next.as_deref(), limits(100))
        .await;
    let rest = rest.unwrap();
    assert_eq!(rest.rows[0].shape.columns, ["id", "n", "v"]);
    world.run("TRUNCATE t").await;
    let none = reader
        .chunk(&table, first.next.as_deref(), limits(100))
        .await;
    let none = none.unwrap();
    assert_eq!((none.rows.len(), none.next), (0, None));
    world.run("RENAME TABLE t TO gone").await;
    let error = reader.chunk(&table, None, limits(10)).await.unwrap_err();
    assert!(
        matches!(error, SourceError::SchemaChanged { .. }),
        "{error:?}"
    );
    world
        .run("RENAME TABLE gone TO t; INSERT INTO t VALUES (1, 1, 1)")
        .await;
    let back = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert_eq!(back.rows.len(), 1);
    // Changed all the time, it is read all the same.
    world
        .run("DELETE FROM t; INSERT INTO t SELECT seq, seq, 1 FROM seq_1_to_3000")
        .await;
    let mut conn = world.server.connect(Some(&world.name)).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let changing = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            n += 1;
            let sql = format!("ALTER TABLE t MODIFY v {}", ["int", "bigint"][n % 2]);
            let _ = conn.query_drop(sql).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let rows = reader.chunk(&table, None, limits(10_000)).await;
    stop.send(()).unwrap();
    changing.await.unwrap();
    let rows = match rows {
        Ok(chunk) => chunk.rows,
        // Too often: tried again later.
        Err(SourceError::Disconnected(_)) => snapshot(&mut *reader, &table, 10_000).await,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(rows.len(), 3_000);
}

#[tokio::test]
async fn nothing_stays_open_between_chunks_and_a_lock_is_not_waited_for_long() {
    let world = World::new(
        &format!("CREATE TABLE t (id int PRIMARY KEY, n int) ENGINE = InnoDB; {FILL}"),
        &["t"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let table = named(&world, "t");
    let first = reader.chunk(&table, None, limits(10)).await.unwrap();
    assert!(first.next.is_some());
    // Who changes the table waits for nobody.
    let started = Instant::now();
    world
        .run("SET lock_wait_timeout = 1; ALTER TABLE t ADD COLUMN v int; ALTER TABLE t DROP COLUMN v")
        .await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let mut conn = world.server.connect(Some(&world.name)).await;
    {
        conn.query_drop("LOCK TABLES t WRITE").await.unwrap();
    }
    let started = Instant::now();
    let error = reader.chunk(&table, None, limits(10)).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    conn.disconnect().await.unwrap();
    let rows = snapshot(&mut *reader, &table, 10).await;
    assert_eq!(rows.len(), 30);
}

/// Rows may be of any size, and nobody knows the next one's: a chunk takes one more than fits at
/// most, whatever was asked of the server.
#[tokio::test]
async fn a_chunk_holds_one_large_row_at_most_beside_what_fits() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, note longtext) ENGINE = InnoDB;
         INSERT INTO t SELECT seq, 'small' FROM seq_1_to_300;
         INSERT INTO t SELECT seq, REPEAT('large ', 400000) FROM seq_301_to_312;
         INSERT INTO t SELECT seq, 'small' FROM seq_313_to_400",
        &["t"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let table = named(&world, "t");
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let limits = ChunkLimits {
            rows_max: 2_000,
            bytes_max: 1 << 20,
        };
        let chunk = reader.chunk(&table, cursor.as_deref(), limits).await;
        let chunk = chunk.unwrap();
        let large = chunk.rows.iter().filter(|row| row.bytes() > 1 << 20);
        assert!(large.count() <= 1, "after {} rows", seen.len());
        seen.extend(chunk.rows.iter().map(|row| cell(row, "id")));
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    let all: Vec<String> = (1..=400).map(|id| id.to_string()).collect();
    assert_eq!(seen, all);
    // The connections that were given up are gone, and so are their statements.
    let deadline = Instant::now() + Duration::from_secs(20);
    let running = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST
          WHERE INFO LIKE '%FROM `{}`.`t`%' AND ID <> CONNECTION_ID()",
        world.name
    );
    loop {
        let (count,): (u64,) = world.server.ask(&running).await;
        if count == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{count} statements go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A row of many packets, larger than what the server takes from a client today.
#[tokio::test]
async fn a_row_may_be_larger_than_a_packet() {
    let options = MariadbOptions::default().setting("max_allowed_packet=67108864");
    let world = World::with(
        options,
        "CREATE TABLE t (id int PRIMARY KEY, note longtext) ENGINE = InnoDB;
         INSERT INTO t VALUES (1, REPEAT('0123456789', 4000000)), (2, 'small');
         SET GLOBAL max_allowed_packet = 1048576",
        &["t"],
    )
    .await;
    let source = world.source_with(&[("database", common::text(&world.name))]);
    let mut reader = started(&*source).await;
    let rows = snapshot(&mut *reader, &named(&world, "t"), 10).await;
    let lengths: Vec<usize> = rows.iter().map(|row| cell(row, "note").len()).collect();
    assert_eq!(lengths, [40_000_000, 5]);
}

/// The server ends connections that are silent for long, and restarts.
#[tokio::test]
async fn a_connection_that_was_ended_meanwhile_is_replaced() {
    let world = World::with(
        MariadbOptions::default(),
        &format!("CREATE TABLE t (id int PRIMARY KEY, n int); {FILL}"),
        &["t"],
    )
    .await;
    let source = world.source();
    let mut reader = started(&*source).await;
    let table = named(&world, "t");
    reader.chunk(&table, None, limits(10)).await.unwrap();
    let mut conn = world.server.connect(None).await;
    let others: Vec<u64> = conn
        .query(
            "SELECT ID FROM information_schema.PROCESSLIST
              WHERE COMMAND = 'Sleep' AND ID <> CONNECTION_ID()",
        )
        .await
        .unwrap();
    assert!(!others.is_empty());
    for id in others {
        // Those that end by themselves meanwhile are gone already.
        let _ = conn.query_drop(format!("KILL {id}")).await;
    }
    let rows = snapshot(&mut *reader, &table, 10).await;
    assert_eq!(rows.len(), 30);
}

/// A user who may read the tables and see where the log is needs nothing else.
#[tokio::test]
async fn the_rights_that_prepare_gives_are_enough() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, note longtext) ENGINE = InnoDB;
         INSERT INTO t SELECT seq, REPEAT('x', 200000) FROM seq_1_to_30;
         CREATE TABLE m (id int PRIMARY KEY, n int) ENGINE = MyISAM; INSERT INTO m VALUES (1, 1)",
        &["t", "m"],
    )
    .await;
    world
        .run(&format!(
            "CREATE USER reader@'%'; GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO reader@'%';
             GRANT SELECT ON {0}.t TO reader@'%'; GRANT SELECT ON {0}.m TO reader@'%'",
            world.name
        ))
        .await;
    let source = world.source_with(&[("user", common::text("reader"))]);
    let mut reader = started(&*source).await;
    for (name, count) in [("t", 30), ("m", 1)] {
        let rows = snapshot(&mut *reader, &named(&world, name), 100).await;
        assert_eq!(rows.len(), count, "{name}");
    }
}

/// Types whose rows are written while they are read, and how a row with number `i` is keyed.
const STRESSED: &[(&str, &str)] = &[
    ("varchar(20) CHARACTER SET latin1", "CONCAT('ä', {i})"),
    ("decimal(20,6)", "({i} - 30) / 7"),
    (
        "datetime(6)",
        "'2026-10-25' + INTERVAL {i} * 17000001 MICROSECOND",
    ),
    (
        "varchar(20) COLLATE utf8mb4_uca1400_ai_ci",
        "CONCAT('W', {i})",
    ),
];

/// Random writers beside the reader: what snapshot and stream say together is the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_written_while_they_are_read_come_out_as_they_are() {
    let mut sql = String::new();
    let mut names = Vec::new();
    for engine in ["InnoDB", "MyISAM"] {
        for (column, key) in STRESSED {
            let name = format!("s{}", names.len());
            sql.push_str(&format!(
                "CREATE TABLE {name} (k {column} PRIMARY KEY, n int) ENGINE = {engine};
                 INSERT INTO {name} SELECT {}, 0 FROM seq_1_to_120;",
                key.replace("{i}", "CAST(seq AS SIGNED)")
            ));
            names.push(name);
        }
    }
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with(MariadbOptions::default(), &sql, &tables).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = Vec::new();
    for seed in [7_u64, 11] {
        let (mut db, stopped) = (
            world.server.connect(Some(&world.name)).await,
            stopped.clone(),
        );
        let count = names.len() as u64;
        writers.push(tokio::spawn(async move {
            let mut number = seed;
            let mut next = |below: u64| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (number >> 33) % below
            };
            while !*stopped.borrow() {
                let which = next(count);
                let (i, n) = (next(140) + 1, next(1_000_000));
                let (_, key) = STRESSED[usize::try_from(which).unwrap() % STRESSED.len()];
                let key_of = |i: u64| key.replace("{i}", &i.to_string());
                let at = key_of(i);
                let statement = match next(4) {
                    0 => format!("DELETE FROM s{which} WHERE k = {at}"),
                    1 => format!("UPDATE s{which} SET n = {n} WHERE k = {at}"),
                    2 => format!(
                        "UPDATE s{which} SET k = {} WHERE k = {at}",
                        key_of(200 + next(200))
                    ),
                    _ => format!("REPLACE INTO s{which} VALUES ({at}, {n})"),
                };
                // Two writers may meet at one key: the statement is refused, and the next comes.
                let _ = db.query_drop(statement).await;
            }
        }));
    }
    let mut reader = started(&*source).await;
    let mut taken = read::Taken::default();
    for name in &names {
        let (name, mut cursor) = (named(&world, name), None::<String>);
        loop {
            let chunk = reader.chunk(&name, cursor.as_deref(), limits(9));
            let chunk = chunk.await.unwrap();
            taken.reach(&mut *stream, &chunk.mark).await;
            taken.chunk(&chunk);
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    stop.send(true).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    // A reading with nobody beside it is the truth.
    let mut truth = read::Taken::default();
    for name in &names {
        let chunk = reader
            .chunk(&named(&world, name), None, limits(10_000))
            .await;
        let chunk = chunk.unwrap();
        truth.chunk(&chunk);
        taken.reach(&mut *stream, &chunk.mark).await;
    }
    assert_eq!(taken.rows, truth.rows);
}
