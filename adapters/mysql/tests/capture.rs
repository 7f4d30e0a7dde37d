//! The log of a real MariaDB, read as a stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::Op;

use crate::common::World;
use crate::common::told::{changes, go_on, lines, next};

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, sku VARCHAR(20), qty DECIMAL(19,4));
    CREATE TABLE other (id INT PRIMARY KEY, big VARCHAR(2000))";

#[tokio::test]
async fn rows_come_in_commit_order_with_positions_to_go_on_from() {
    let world = World::new(ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO item VALUES (1, 'a', 1.5);
             BEGIN; INSERT INTO item VALUES (2, 'b', -0.0001), (3, 'c', NULL);
             INSERT INTO other VALUES (1, 'x'); UPDATE item SET qty = 7 WHERE id = 1;
             DELETE FROM item WHERE id = 2; COMMIT; UPDATE item SET sku = 'z'",
        )
        .await;
    let (told, end) = changes(&mut *stream, 7).await;
    assert_eq!(
        lines(&told),
        [
            "item insert  | 1,a,1.5",
            "item insert  | 2,b,-0.0001",
            "item insert  | 3,c,null",
            "item update 1,a,1.5 | 1,a,7",
            "item delete 2,b,-0.0001 | ",
            "item update 1,a,7 | 1,z,7",
            "item update 3,c,null | 3,z,null",
        ]
    );
    assert_eq!(told[0].shape.columns, ["id", "sku", "qty"]);
    assert_eq!(told[0].shape.key, [0]);
    assert!(told.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(
        told[1].position.pos, told[4].position.pos,
        "one transaction"
    );
    assert_ne!(told[0].position.pos, told[1].position.pos);
    assert!(told[6].position < end);
    let server = stream.server();
    drop(stream);
    // From every place on, exactly the rest, captured or not.
    for (n, change) in told.iter().enumerate().take(told.len() - 1) {
        let mut stream = go_on(&*source, &change.position, server.clone()).await;
        let (rest, again) = changes(&mut *stream, told.len() - n - 1).await;
        assert_eq!(rest, told[n + 1..], "{n}");
        // Others write to the server's log, too.
        assert!(again >= end);
    }
    // And from the end, nothing of it.
    let mut stream = go_on(&*source, &end, server).await;
    world.run("INSERT INTO item VALUES (9, 'new', 0)").await;
    let (new, _) = changes(&mut *stream, 1).await;
    assert_eq!(lines(&new), ["item insert  | 9,new,0"]);
}

#[tokio::test]
async fn a_transaction_larger_than_a_batch_comes_in_pieces_and_goes_on_inside() {
    let world = World::new(ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO item SELECT seq, concat('s', seq), seq FROM seq_1_to_10000;
             INSERT INTO item VALUES (20000, 'after', 1)",
        )
        .await;
    let mut told = Vec::new();
    let mut inside = None;
    while told.len() < 10_001 {
        let batch = next(&mut *stream).await.unwrap();
        told.extend(batch.changes);
        if batch.end.seq > 0 && inside.is_none() && told.len() > 3_000 {
            inside = Some((told.len(), batch.end));
        }
    }
    let (count, at) = inside.expect("it comes in pieces");
    let server = stream.server();
    drop(stream);
    let mut stream = go_on(&*source, &at, server).await;
    let (rest, _) = changes(&mut *stream, 10_001 - count).await;
    assert_eq!(rest, told[count..]);
}

#[tokio::test]
async fn a_truncated_table_and_what_has_no_transactions() {
    let sql = "CREATE TABLE item (id INT PRIMARY KEY, v INT) ENGINE=Aria;
               CREATE TABLE plain (id INT PRIMARY KEY, v INT) ENGINE=MyISAM";
    let world = World::new(sql, &["item", "plain"]).await;
    let mut stream = world.source().stream(1, None).await.unwrap();
    world
        .run(
            "INSERT INTO item VALUES (1, 1); INSERT INTO plain VALUES (5, 5), (6, 6);
             TRUNCATE item; DELETE FROM plain WHERE id = 5",
        )
        .await;
    let (told, _) = changes(&mut *stream, 5).await;
    assert_eq!(
        lines(&told),
        [
            "item insert  | 1,1",
            "plain insert  | 5,5",
            "plain insert  | 6,6",
            "item truncate  | ",
            "plain delete 5,5 | ",
        ]
    );
    assert_eq!(told[3].op, Op::Truncate);
}
