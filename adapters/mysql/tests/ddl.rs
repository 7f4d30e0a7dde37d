//! Tables that change while they are captured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{ChangeStream, RowChange, SourceError};
use harness::mariadb::MariadbOptions;

use crate::common::World;
use crate::common::told::{changes, error, go_on, lines, next, untold};

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(20), qty INT);
    CREATE TABLE last (id INT PRIMARY KEY)";

async fn begun(world: &World) -> Box<dyn ChangeStream> {
    let mut stream = world.source().stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    stream
}

/// A change in one line: columns with their cells.
fn named(change: &RowChange) -> String {
    let row = change.after.iter().chain(&change.before).next();
    let cells = change.shape.columns.iter().zip(row.into_iter().flatten());
    let cells = cells.map(|(name, cell)| format!("{name}={}", cell.text().unwrap_or_default()));
    format!(
        "{} {}",
        change.op.name(),
        cells.collect::<Vec<_>>().join(" ")
    )
}

const STORY: &str = "INSERT INTO item VALUES (1, 'a', 10);
    ALTER TABLE item ADD COLUMN price DECIMAL(10,2) AFTER name;
    INSERT INTO item VALUES (2, 'b', 1.50, 20);
    ALTER TABLE item RENAME COLUMN name TO title, MODIFY qty BIGINT UNSIGNED;
    INSERT INTO item VALUES (3, 'c', 2.50, 18446744073709551615);
    ALTER TABLE item DROP COLUMN price, CHANGE title label VARCHAR(30) FIRST;
    UPDATE item SET qty = 5 WHERE id = 3; DELETE FROM item WHERE id = 1";
const TOLD: [&str; 5] = [
    "insert id=1 name=a qty=10",
    "insert id=2 name=b price=1.5 qty=20",
    "insert id=3 title=c price=2.5 qty=18446744073709551615",
    "update label=c id=3 qty=5",
    "delete label=a id=1 qty=10",
];

/// With names in the log: the same by a stream that follows and by one that was away, which meets a
/// catalogue that is newer than the log.
#[tokio::test]
async fn columns_come_go_and_change_in_stream_order() {
    let mut world = World::new(ITEM, &["item"]).await;
    // The mapping reads none that changes.
    world.tables[0].columns = vec!["id".to_owned()];
    let mut stream = world.source().stream(1, None).await.unwrap();
    let (at, server) = (next(&mut *stream).await.unwrap().end, stream.server());
    world.run(STORY).await;
    let (all, _) = changes(&mut *stream, 5).await;
    assert_eq!(all.iter().map(named).collect::<Vec<_>>(), TOLD);
    assert_eq!(stream.untold(), []);
    let mut stream = go_on(&*world.source(), &at, server).await;
    let (again, _) = changes(&mut *stream, 5).await;
    assert_eq!(again.iter().map(named).collect::<Vec<_>>(), TOLD);
}

/// Without names: what is told has the names of its time, and what is not clear is read again.
#[tokio::test]
async fn without_names_in_the_log_what_is_unclear_is_read_again() {
    for metadata in ["MINIMAL", "NO_LOG"] {
        let options = MariadbOptions::default().setting(format!("binlog_row_metadata={metadata}"));
        let mut world = World::with(options, ITEM, &["item"]).await;
        world.tables[0].columns = vec!["id".to_owned()];
        let mut start = begun(&world).await;
        world.run("INSERT INTO item VALUES (0, 'z', 0)").await;
        let (_, at) = changes(&mut *start, 1).await;
        let server = start.server();
        // One that follows.
        let mut stream = begun(&world).await;
        world.run("INSERT INTO item VALUES (1, 'a', 10)").await;
        let (all, _) = changes(&mut *stream, 1).await;
        assert_eq!(named(&all[0]), TOLD[0]);
        world
            .run("SELECT SLEEP(1.1); ALTER TABLE item RENAME COLUMN name TO title")
            .await;
        let what = untold(&mut *stream, "item").await;
        assert!(what.contains("binlog_row_metadata"), "{what}");
        let SourceError::Disconnected(what) = error(&mut *stream).await else {
            panic!("it begins anew");
        };
        assert!(what.contains("is told again"), "{what}");
        // One that was away: the row was written under names that are gone, and is not told by the
        // new ones.
        let mut stream = go_on(&*world.source(), &at, server.clone()).await;
        let mut rows = 0;
        while stream.untold().is_empty() {
            rows += next(&mut *stream).await.unwrap().changes.len();
        }
        assert_eq!(rows, 0, "{metadata}");
        let what = untold(&mut *stream, "item").await;
        assert!(what.contains("changed after these rows"), "{what}");
        world.run("INSERT INTO item VALUES (2, 'b', 20)").await;
        let mut stream = begun(&world).await;
        world.run("INSERT INTO item VALUES (3, 'c', 30)").await;
        let (all, _) = changes(&mut *stream, 1).await;
        assert_eq!(named(&all[0]), "insert id=3 title=c qty=30");
    }
}

/// What becomes of the rows already there is in no event.
#[tokio::test]
async fn statements_that_change_rows_without_telling_them_have_the_table_read_again() {
    let partitioned = "CREATE TABLE item (id INT PRIMARY KEY, qty INT)
          PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10),
            PARTITION p1 VALUES LESS THAN (100));
        CREATE TABLE new (id INT PRIMARY KEY, qty INT); INSERT INTO item VALUES (1, 1), (20, 2);
        INSERT INTO new VALUES (2, 2); CREATE TABLE last (id INT PRIMARY KEY)";
    for (sql, again) in [
        ("ALTER TABLE item TRUNCATE PARTITION p0", true),
        (
            "ALTER TABLE item EXCHANGE PARTITION p0 WITH TABLE new",
            true,
        ),
        ("ALTER TABLE item DROP PARTITION p0", true),
        ("ALTER TABLE item REMOVE PARTITIONING", false),
        (
            "DROP TABLE item; CREATE TABLE item (id INT PRIMARY KEY, qty INT)",
            true,
        ),
        (
            "CREATE OR REPLACE TABLE item (id INT PRIMARY KEY, qty INT)",
            true,
        ),
        ("RENAME TABLE item TO old, new TO item", true),
        ("ALTER TABLE item RENAME TO old", true),
        ("ALTER TABLE item MODIFY qty TINYINT", true),
        ("ALTER TABLE item ADD COLUMN other INT DEFAULT 7", false),
        ("ALTER TABLE item ADD INDEX (qty), COMMENT 'x'", false),
        ("TRUNCATE TABLE new", false),
        // Its columns were not described yet: nothing to tell it by.
        ("TRUNCATE TABLE item", true),
    ] {
        let mut world = World::new(partitioned, &["item", "last"]).await;
        world.tables[0].columns = vec!["id".to_owned(), "qty".to_owned()];
        let mut stream = begun(&world).await;
        world.run(sql).await;
        world.run("INSERT INTO last VALUES (1)").await;
        loop {
            let batch = next(&mut *stream).await.unwrap();
            if !batch.changes.is_empty() {
                break;
            }
        }
        let untold = stream.untold().iter().map(|one| one.table.name.as_str());
        let expected: &[&str] = if again { &["item"] } else { &[] };
        assert_eq!(untold.collect::<Vec<_>>(), expected, "{sql}");
    }
}

/// A copy of the table is filled by triggers or by a reader of the log, and takes its place.
#[tokio::test]
async fn online_schema_changes_are_followed() {
    let world = World::new(ITEM, &["item"]).await;
    world
        .run("INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2)")
        .await;
    let mut stream = begun(&world).await;
    world
        .run(
            "CREATE TABLE _item_new LIKE item; ALTER TABLE _item_new ADD COLUMN more INT DEFAULT 9;
             CREATE TRIGGER pt_ins AFTER INSERT ON item FOR EACH ROW
               REPLACE INTO _item_new (id, name, qty) VALUES (NEW.id, NEW.name, NEW.qty);
             INSERT INTO item VALUES (3, 'c', 3);
             INSERT IGNORE INTO _item_new (id, name, qty) SELECT * FROM item;
             INSERT INTO item VALUES (4, 'd', 4);
             RENAME TABLE item TO _item_old, _item_new TO item;
             DROP TRIGGER pt_ins; DROP TABLE _item_old",
        )
        .await;
    let mut told = Vec::new();
    while stream.untold().is_empty() {
        told.extend(next(&mut *stream).await.unwrap().changes);
    }
    assert_eq!(
        lines(&told),
        ["item insert  | 3,c,3", "item insert  | 4,d,4"]
    );
    let what = untold(&mut *stream, "item").await;
    assert!(what.contains("renamed"), "{what}");
    // Then it begins anew, so that the table is read, and the new one is told.
    let SourceError::Disconnected(_) = error(&mut *stream).await else {
        panic!("it begins anew");
    };
    let mut stream = begun(&world).await;
    world.run("INSERT INTO item VALUES (5, 'e', 5, 50)").await;
    let (all, _) = changes(&mut *stream, 1).await;
    assert_eq!(named(&all[0]), "insert id=5 name=e qty=5 more=50");
}

#[tokio::test]
async fn a_truncated_table_is_told_by_the_columns_it_had() {
    let world = World::new(ITEM, &["item"]).await;
    let mut stream = begun(&world).await;
    world
        .run("INSERT INTO item VALUES (1, 'a', 1); TRUNCATE item; INSERT INTO item VALUES (2, 'b', 2)")
        .await;
    let (all, _) = changes(&mut *stream, 3).await;
    assert_eq!(
        lines(&all),
        [
            "item insert  | 1,a,1",
            "item truncate  | ",
            "item insert  | 2,b,2"
        ]
    );
    assert_eq!(stream.untold(), []);
    // Going on between the two, it comes once.
    let mut stream = go_on(&*world.source(), &all[0].position, stream.server()).await;
    next(&mut *stream).await.unwrap();
}

/// A table of the same name with other columns, met by one that was away.
#[tokio::test]
async fn a_table_made_anew_with_other_columns_is_told_by_each_ones_own() {
    let mut world = World::new(ITEM, &["item"]).await;
    world.tables[0].columns = vec!["id".to_owned()];
    let mut start = begun(&world).await;
    let (at, server) = (next(&mut *start).await.unwrap().end, start.server());
    drop(start);
    world
        .run(
            "INSERT INTO item VALUES (1, 'a', 1); DROP TABLE item;
             CREATE TABLE item (id BIGINT PRIMARY KEY, x INT, y INT, z INT);
             INSERT INTO item VALUES (2, 20, 21, 22)",
        )
        .await;
    let mut stream = go_on(&*world.source(), &at, server).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(next(&mut *stream).await.unwrap().changes);
    }
    let told: Vec<String> = told.iter().map(named).collect();
    assert_eq!(
        told,
        ["insert id=1 name=a qty=1", "insert id=2 x=20 y=21 z=22"]
    );
    let what = untold(&mut *stream, "item").await;
    assert!(what.contains("dropped"), "{what}");
}
