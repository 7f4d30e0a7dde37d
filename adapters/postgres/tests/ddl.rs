//! Tables that change while they are captured: the log is told by the columns it had, in its order,
//! whatever the catalogue says by the time it is read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{Position, RowChange, SourceError, TableName};
use harness::postgres::{PostgresServer, majors};

use crate::common::{self, World, batches, changes, next, show, snapshot};

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

/// A change in one line: columns with their cells, and the key.
fn line(change: &RowChange) -> String {
    let row = change.row();
    let cells: Vec<String> = change
        .shape
        .columns
        .iter()
        .zip(show(row))
        .map(|(name, cell)| format!("{name}={cell}"))
        .collect();
    let key = change.key();
    let key = key.as_ref().map_or("-", |key| key.as_str());
    format!("{} [{key}] {}", change.op.name(), cells.join(", "))
}

fn lines(changes: &[RowChange]) -> Vec<String> {
    changes.iter().map(line).collect()
}

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, sku text, qty numeric(12, 3));
                    CREATE TABLE other (id int PRIMARY KEY)";

/// The same story told twice: by a stream that follows, and by one that was away all the time and
/// meets a catalogue that is newer than the log.
#[tokio::test]
async fn columns_come_go_and_change_in_stream_order() {
    const STORY: &[&str] = &[
        "INSERT INTO item VALUES (1, 'a', 1.5)",
        "ALTER TABLE item ADD COLUMN bin text DEFAULT 'B0'",
        "INSERT INTO item VALUES (2, 'b', 2, 'B1')",
        "ALTER TABLE item RENAME COLUMN qty TO quantity",
        "UPDATE item SET quantity = 3 WHERE id = 1",
        "ALTER TABLE item ALTER COLUMN quantity TYPE text USING quantity || ' pcs'",
        "INSERT INTO item VALUES (3, 'c', '4 pcs', 'B2')",
        "ALTER TABLE item DROP COLUMN sku",
        "INSERT INTO item VALUES (4, '5 pcs', 'B3')",
        "ALTER TABLE item RENAME COLUMN id TO number",
        "UPDATE item SET bin = 'B4' WHERE number = 4",
        "DELETE FROM item WHERE number = 2",
        // All of it within one transaction, between rows.
        "BEGIN; INSERT INTO item VALUES (5, '6 pcs', 'B5'); ALTER TABLE item ADD COLUMN n int DEFAULT 7;
         UPDATE item SET bin = 'B6' WHERE number = 5; ALTER TABLE item DROP COLUMN quantity;
         INSERT INTO item VALUES (6, 'B7', 8); ALTER TABLE item ALTER number TYPE bigint;
         INSERT INTO other VALUES (1); DELETE FROM item WHERE number = 6; COMMIT",
    ];
    let expected = [
        "insert [1] id=int 1, sku=text a, qty=decimal 1.5",
        "insert [2] id=int 2, sku=text b, qty=decimal 2, bin=text B1",
        "update [1] id=int 1, sku=text a, quantity=decimal 3, bin=text B0",
        "insert [3] id=int 3, sku=text c, quantity=text 4 pcs, bin=text B2",
        "insert [4] id=int 4, quantity=text 5 pcs, bin=text B3",
        "update [4] number=int 4, quantity=text 5 pcs, bin=text B4",
        "delete [2] number=int 2, quantity=unchanged, bin=unchanged",
        "insert [5] number=int 5, quantity=text 6 pcs, bin=text B5",
        "update [5] number=int 5, quantity=text 6 pcs, bin=text B6, n=int 7",
        "insert [6] number=int 6, bin=text B7, n=int 8",
        "insert [1] id=int 1",
        "delete [6] number=int 6, bin=unchanged, n=unchanged",
    ];
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let world = World::prepared_on(server, ITEM, &["item", "other"]).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        let mut told = Vec::new();
        for (n, step) in STORY.iter().enumerate() {
            world.run(step).await;
            if !step.starts_with("ALTER") && n + 1 < STORY.len() {
                let batches = batches(&mut *stream, 1).await;
                told.extend(batches.into_iter().flat_map(|batch| batch.changes));
            }
        }
        let rest = batches(&mut *stream, expected.len() - told.len()).await;
        told.extend(rest.into_iter().flat_map(|batch| batch.changes));
        assert_eq!(lines(&told), expected, "while it follows");
        drop(stream);
        world.released().await;
        // Nothing was acknowledged: all of it comes again, and the catalogue is that of the end.
        let mut stream = source.stream(1, None).await.unwrap();
        let again = changes(&mut *stream, expected.len()).await;
        assert_eq!(lines(&again), expected, "when it was away");
        // A snapshot has the columns of now, and the key of now.
        let mut reader = source.snapshot(1).await.unwrap();
        reader.begin().await.unwrap();
        let read = snapshot(&mut *reader, &table("item"), 2).await;
        assert_eq!(
            lines(&read),
            [
                "read [1] number=int 1, bin=text B0, n=int 7",
                "read [3] number=int 3, bin=text B2, n=int 7",
                "read [4] number=int 4, bin=text B4, n=int 7",
                "read [5] number=int 5, bin=text B6, n=int 7",
            ]
        );
    }
}

/// Keys of several columns in an order of their own, renamed before the log is read.
#[tokio::test]
async fn a_composite_key_renamed_since_is_the_same_key() {
    let sql = "CREATE TABLE line (pos int, doc text, qty int, PRIMARY KEY (doc, pos));
               CREATE TABLE whole (pos int, doc text, qty int, PRIMARY KEY (doc, pos));
               ALTER TABLE whole REPLICA IDENTITY FULL";
    let world = World::prepared(sql, &["line", "whole"]).await;
    world
        .run(
            "INSERT INTO line VALUES (1, 'd', 5); DELETE FROM line; INSERT INTO whole VALUES (1, 'd', 5);
             DELETE FROM whole; ALTER TABLE line RENAME doc TO document;
             ALTER TABLE line RENAME pos TO no; INSERT INTO line VALUES (2, 'e', 6);
             ALTER TABLE whole RENAME doc TO document; INSERT INTO whole VALUES (2, 'e', 6)",
        )
        .await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    let told = changes(&mut *stream, 6).await;
    assert_eq!(
        lines(&told),
        [
            "insert [d|1] pos=int 1, doc=text d, qty=int 5",
            "delete [d|1] pos=int 1, doc=text d, qty=unchanged",
            "insert [d|1] pos=int 1, doc=text d, qty=int 5",
            "delete [d|1] pos=int 1, doc=text d, qty=int 5",
            "insert [e|2] no=int 2, document=text e, qty=int 6",
            "insert [e|2] pos=int 2, document=text e, qty=int 6",
        ]
    );
}

/// A key that nobody can name any more is no key: its rows are held, and nothing stops.
#[tokio::test]
async fn a_key_nobody_can_name_is_no_key_and_stops_nothing() {
    let mut world = World::new(
        "CREATE TABLE item (a int, id int PRIMARY KEY, b text);
         ALTER TABLE item REPLICA IDENTITY FULL;
         CREATE TABLE mapped (id int PRIMARY KEY, code text)",
        &["item", "mapped"],
    )
    .await;
    world.tables[1].key = vec!["code".to_owned()];
    let source = world.source();
    source.prepare(true).await.unwrap();
    world
        .run(
            "INSERT INTO item VALUES (1, 2, 'x'); INSERT INTO mapped VALUES (1, 'A');
             ALTER TABLE item DROP a; ALTER TABLE item RENAME id TO number;
             ALTER TABLE mapped RENAME code TO sku; INSERT INTO item VALUES (3, 'y');
             INSERT INTO mapped VALUES (2, 'B')",
        )
        .await;
    let mut stream = source.stream(1, None).await.unwrap();
    assert_eq!(
        lines(&changes(&mut *stream, 4).await),
        [
            "insert [-] a=int 1, id=int 2, b=text x",
            "insert [A] id=int 1, code=text A",
            "insert [3] number=int 3, b=text y",
            "insert [-] id=int 2, sku=text B",
        ]
    );
}

/// Types that are not in the catalogue any more when the log is read.
#[tokio::test]
async fn values_of_types_that_are_gone_are_invalid_and_others_right() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql = "CREATE TYPE colour AS ENUM ('red'); CREATE DOMAIN price AS numeric(9, 2);
                   CREATE TABLE item (id int PRIMARY KEY, c colour, p price, n numeric)";
        let world = World::prepared_on(server, sql, &["item"]).await;
        world
            .run(
                "INSERT INTO item VALUES (1, 'red', 2.50, 3.50); ALTER TABLE item ALTER c TYPE text;
                 ALTER TABLE item ALTER p TYPE numeric; DROP TYPE colour; DROP DOMAIN price;
                 INSERT INTO item VALUES (2, 'red', 2.50, 3.50)",
            )
            .await;
        let mut stream = world.source().stream(1, None).await.unwrap();
        assert_eq!(
            lines(&changes(&mut *stream, 2).await),
            [
                "insert [1] id=int 1, c=invalid red, p=invalid 2.50, n=decimal 3.5",
                "insert [2] id=int 2, c=text red, p=decimal 2.5, n=decimal 3.5",
            ]
        );
    }
}

/// A type made in the very transaction whose rows use it is known when they are told.
#[tokio::test]
async fn a_type_made_with_its_first_row_is_known() {
    let world = World::prepared(ITEM, &["item"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    for n in 0..10 {
        world
            .run(&format!(
                "BEGIN; CREATE DOMAIN price{n} AS numeric(9, 2); ALTER TABLE item ADD p{n} price{n};
                 INSERT INTO item (id, p{n}) VALUES ({n}, 2.50); COMMIT"
            ))
            .await;
        let told = lines(&changes(&mut *stream, 1).await);
        assert!(told[0].contains(&format!("p{n}=decimal 2.5")), "{told:?}");
    }
}

/// A table that is gone stops only itself, for the stream that follows and for one that opens later.
#[tokio::test]
async fn a_dropped_table_is_said_and_the_others_go_on() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let world = World::prepared_on(server, ITEM, &["item", "other"]).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run("INSERT INTO item VALUES (1, 'a', 1); DELETE FROM item; DROP TABLE item; INSERT INTO other VALUES (1)")
            .await;
        let told = changes(&mut *stream, 3).await;
        assert_eq!(told[2].table(), &table("other"));
        let (said, end) = untold(&mut *stream).await;
        assert!(
            said.contains("public.item does not exist any more"),
            "{said}"
        );
        // Also where the log is read after the table is gone.
        drop(stream);
        world.released().await;
        let mut stream = source.stream(1, Some(&end)).await.unwrap();
        assert_eq!(stream.untold().len(), 1);
        world.run("INSERT INTO other VALUES (2)").await;
        let told = changes(&mut *stream, 1).await;
        assert_eq!(line(&told[0]), "insert [2] id=int 2");
        drop(stream);
        world.released().await;
        // At a first start nobody has captured it yet: the names are wrong.
        let Err(refused) = source.stream(1, None).await else {
            panic!("a table that does not exist is captured");
        };
        assert!(
            matches!(refused, SourceError::SchemaChanged { .. }),
            "{refused}"
        );
    }
}

/// The log of a table that is gone, read by one who was away.
#[tokio::test]
async fn rows_of_a_table_dropped_since_are_told() {
    let world = World::prepared(ITEM, &["item", "other"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO other VALUES (1)").await;
    let end = batches(&mut *stream, 1).await.pop().unwrap().end;
    drop(stream);
    world.released().await;
    world
        .run("INSERT INTO item VALUES (1, 'a', 1); DELETE FROM item WHERE id = 1; DROP TABLE item; INSERT INTO other VALUES (2)")
        .await;
    let mut stream = source.stream(1, Some(&end)).await.unwrap();
    assert_eq!(
        lines(&changes(&mut *stream, 3).await),
        [
            "insert [1] id=int 1, sku=text a, qty=decimal 1",
            "delete [1] id=int 1, sku=unchanged, qty=unchanged",
            "insert [2] id=int 2",
        ]
    );
}

/// Waits until the stream says of some table that it is not told: what it says, and where it stands
/// then.
async fn untold(stream: &mut dyn contract::ChangeStream) -> (String, Position) {
    let deadline = tokio::time::Instant::now() + common::DEADLINE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "nothing is said");
        let batch = next(stream).await.unwrap();
        assert!(batch.changes.is_empty());
        stream.acknowledge(&batch.end).await.unwrap();
        if let Some(untold) = stream.untold().first() {
            return (untold.what.clone(), batch.end);
        }
    }
}
