//! Tables that the log does not tell, or does not tell clearly: they are named and read again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{ChangeStream, Position};
use harness::postgres::{PostgresServer, majors};

use crate::common::{self, World, changes, next};
use crate::tables::{fold, lines, read, said, table};

/// Waits until a table is not told: what is said, and where the stream stands.
async fn untold(stream: &mut dyn ChangeStream) -> (String, String, Position) {
    let deadline = tokio::time::Instant::now() + common::DEADLINE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "nothing is said");
        let batch = next(stream).await.unwrap();
        stream.acknowledge(&batch.end).await.unwrap();
        if let Some(untold) = stream.untold().first() {
            return (untold.what.clone(), untold.hint.clone(), batch.end);
        }
    }
}

/// Waits until the stream ends because a table is told again: what it says, and where it stood.
async fn again(
    stream: &mut dyn ChangeStream,
    mut end: Option<Position>,
) -> (String, Option<Position>) {
    let deadline = tokio::time::Instant::now() + common::DEADLINE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "the stream goes on");
        match next(stream).await {
            Ok(batch) => {
                stream.acknowledge(&batch.end).await.unwrap();
                end = Some(batch.end);
            }
            Err(error) => return (error.to_string(), end),
        }
    }
}

/// As tools that change a large table do it: a copy takes the table's name. The publication follows
/// the table, so the log falls silent; that is said, with what mends it, and then it goes on.
#[tokio::test]
async fn a_table_swapped_for_another_is_said_and_told_again() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql =
            "CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'old');
                   CREATE TABLE other (id int PRIMARY KEY)";
        let world = World::prepared_on(server, sql, &["item", "other"]).await;
        let source = world.source();
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run(
                "CREATE TABLE item_new (id bigint PRIMARY KEY, v text);
                 INSERT INTO item_new SELECT * FROM item;
                 BEGIN; ALTER TABLE item RENAME TO item_old; ALTER TABLE item_new RENAME TO item; COMMIT;
                 INSERT INTO item VALUES (2, 'untold'); INSERT INTO item_old VALUES (9, 'not ours');
                 INSERT INTO other VALUES (1)",
            )
            .await;
        let (what, hint, end) = untold(&mut *stream).await;
        assert!(
            what.contains("public.item is another one than before"),
            "{what}"
        );
        assert!(
            what.contains("the former one is called public.item_old now"),
            "{what}"
        );
        assert!(hint.contains("ADD TABLE \"public\".\"item\""), "{hint}");
        // What would be read now would be outdated unnoticed.
        let mut reader = source.snapshot(1).await.unwrap();
        let limits = contract::ChunkLimits {
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let refused = reader
            .chunk(&table("item"), None, limits)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("does not have it"),
            "{refused}"
        );
        let findings = source.check().await;
        said(
            &findings,
            "does not tell everything of every captured table",
        );
        let sql = hint.split_once(", or").unwrap().0;
        world.run(sql).await;
        let (ended, end) = again(&mut *stream, Some(end)).await;
        assert!(ended.contains("public.item is told again"), "{ended}");
        drop(stream);
        world.released().await;
        let mut stream = source.stream(1, end.as_ref()).await.unwrap();
        assert!(stream.untold().is_empty());
        world.run("INSERT INTO item VALUES (3, 'told')").await;
        let told = changes(&mut *stream, 1).await;
        assert_eq!(lines(&told), ["item insert [3]  | int 3, text told"]);
        assert_eq!(read(&*source, &table("item")).await.len(), 3);
    }
}

/// Dropped and made anew in a publication of all tables: told, but not what was before.
#[tokio::test]
async fn a_table_made_anew_is_read_again() {
    let sql = "CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'old')";
    let world = World::new(sql, &["item"]).await;
    let slot = world.slot();
    world
        .run(&format!("CREATE PUBLICATION {slot} FOR ALL TABLES"))
        .await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run("DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (2, 'new')")
        .await;
    let (what, _, _) = untold(&mut *stream).await;
    assert!(what.contains("another one than before"), "{what}");
    let (ended, _) = again(&mut *stream, None).await;
    assert!(
        ended.contains("is told again, and is read again"),
        "{ended}"
    );
}

/// Two rows exchange their keys within one transaction, which only an index that waits for its end
/// allows. The log alone leaves open who is who; so the table is read again.
#[tokio::test]
async fn rows_that_exchange_keys_are_read_again() {
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        let sql = "CREATE TABLE place (no int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, sku text);
                   ALTER TABLE place REPLICA IDENTITY FULL;
                   CREATE TABLE plain (no int PRIMARY KEY, sku text);
                   INSERT INTO place VALUES (1, 'a'), (2, 'b'), (3, 'c');
                   INSERT INTO plain VALUES (1, 'a'), (2, 'b')";
        let world = World::prepared_on(server, sql, &["place", "plain"]).await;
        let source = world.source();
        let findings = source.check().await;
        said(
            &findings,
            "lets two rows have one key until their transaction ends",
        );
        let mut stream = source.stream(1, None).await.unwrap();
        // By way of a third key the log is clear, whatever the index.
        world
            .run("BEGIN; UPDATE plain SET no = 9 WHERE no = 1; UPDATE plain SET no = 1 WHERE no = 2;
                  UPDATE plain SET no = 2 WHERE no = 9; UPDATE place SET no = 4 WHERE no = 3; COMMIT")
            .await;
        let told = changes(&mut *stream, 4).await;
        assert_eq!(
            fold(&told[..3]),
            fold(&read(&*source, &table("plain")).await)
        );
        assert!(stream.untold().is_empty());
        world
            .run("BEGIN; UPDATE place SET no = 2 WHERE sku = 'a'; UPDATE place SET no = 1 WHERE sku = 'b'; COMMIT")
            .await;
        let told = changes(&mut *stream, 2).await;
        assert_eq!(
            lines(&told),
            [
                "place update [1 > 2] int 1, text a | int 2, text a",
                "place update [2 > 1] int 2, text b | int 1, text b",
            ]
        );
        assert!(stream.untold()[0].what.contains("exchanged their keys"));
        let (ended, _) = again(&mut *stream, None).await;
        assert!(ended.contains("public.place is told again"), "{ended}");
        // The key may be broken within a transaction, and is whole in whatever one can see of it.
        assert_eq!(
            lines(&read(&*source, &table("place")).await),
            [
                "place read [1]  | int 1, text b",
                "place read [2]  | int 2, text a",
                "place read [4]  | int 4, text c",
            ]
        );
    }
}
