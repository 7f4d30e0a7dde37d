//! Positions that a server does not have any more, or never had: that is said, whatever stands in its log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use contract::{Position, Source, SourceError};
use harness::mariadb::{MariadbOptions, MariadbServer};

use crate::common::told::{self, changes, error, resumed};
use crate::common::{self, World, number, text};
use crate::positions::{ITEM, now, told_with_ends};

fn refused(error: &SourceError) -> String {
    let SourceError::PositionLost { what, hint } = error else {
        panic!("{error:?}");
    };
    assert!(hint.contains("resync"), "{hint}");
    what.clone()
}

pub(crate) async fn lost(source: &dyn Source, at: &Position, server: Option<String>) -> String {
    match source.resume(&resumed(at, server)).await {
        Ok(mut stream) => refused(&error(&mut *stream).await),
        Err(error) => refused(&error),
    }
}

/// Within one second, nothing tells a log file from another one of the same name.
async fn another_second(server: &MariadbServer) {
    server.run("SELECT SLEEP(1.1)").await;
}

#[tokio::test]
async fn a_log_that_is_begun_anew_is_said_whatever_stands_in_it() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    let rows = |n: u32| format!("REPLACE INTO item VALUES ({n}, 'abc', {n})");
    let (start, server) = now(&*source).await;
    world.run(&format!("FLUSH BINARY LOGS; {}", rows(1))).await;
    let told = told_with_ends(&*source, &start, 1).await;
    let at = told.ends.last().unwrap().1.clone();
    another_second(&world.server).await;
    world.server.run("RESET MASTER").await;
    let what = lost(&*source, &at, server.clone()).await;
    assert!(what.contains("RESET MASTER"), "{what}");
    // The same statements again: the same numbers of transactions, at the same places and beyond.
    world
        .run("CREATE DATABASE one; CREATE TABLE one.item LIKE item; CREATE TABLE one.other LIKE other")
        .await;
    for n in 1..9 {
        let flush = if n == 5 { "FLUSH BINARY LOGS; " } else { "" };
        world.run(&format!("{flush}{}", rows(n))).await;
    }
    let again = told::Where::of(&world.server).await;
    assert!(
        again.file == 2 && again.offset > told::offset(&at),
        "{again:?}"
    );
    let what = lost(&*source, &at, server.clone()).await;
    assert!(what.contains("RESET MASTER"), "{what}");
    // Nor from within.
    let what = lost(&*source, &told.changes[0].position, server).await;
    assert!(what.contains("RESET MASTER"), "{what}");
}

/// Then nothing tells the two files apart but what is in them.
#[tokio::test]
async fn a_log_that_is_begun_anew_within_the_same_second_is_said() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    world.server.run("SET @a = 1; RESET MASTER").await;
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let (at, server) = now(&*source).await;
    // As the file would be called that was begun in the second of ours.
    world.server.run("RESET MASTER").await;
    let fill = "INSERT INTO item SELECT seq, 'b', 2 FROM seq_2_to_30";
    world.run(fill).await;
    let (anew, _) = now(&*source).await;
    let text = at.to_string();
    let (rest, seq) = text.rsplit_once('/').unwrap();
    let (rest, _) = rest.rsplit_once(",,").unwrap();
    let anew = anew.pos.as_str().rsplit_once(",,").unwrap().1.to_owned();
    let forged = format!("{rest},,{anew}/{seq}").parse().unwrap();
    let what = lost(&*source, &forged, server).await;
    assert!(what.contains("RESET MASTER"), "{what}");
}

/// A connected reader is left with the file that was deleted, and hears nothing but that all is quiet.
#[tokio::test]
async fn a_log_that_is_begun_anew_under_our_hands_is_said_by_the_look() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    let big = "INSERT INTO item SELECT seq, 'a', 1 FROM seq_1_to_1000";
    world.run(big).await;
    let (_, end) = changes(&mut *stream, 1_000).await;
    stream.acknowledge(&end).await.unwrap();
    let look = source.look().await.unwrap().unwrap();
    assert_eq!(look.trouble, None);
    world.server.run("RESET MASTER").await;
    world.run("UPDATE item SET qty = 2 WHERE id = 1").await;
    let look = source.look().await.unwrap().unwrap();
    let trouble = look.trouble.unwrap();
    assert!(trouble.to_string().contains("RESET MASTER"), "{trouble}");
    let name = stream.server();
    let what = lost(&*source, &end, name).await;
    assert!(what.contains("RESET MASTER"), "{what}");
}

#[tokio::test]
async fn a_server_that_was_restored_to_an_earlier_time_is_said() {
    let mut server = MariadbServer::start(MariadbOptions::default());
    server
        .run("CREATE DATABASE erp; CREATE TABLE erp.item (id INT PRIMARY KEY)")
        .await;
    server.stop();
    let backup = MariadbOptions {
        copy_of: Some(server.data()),
        ..MariadbOptions::default()
    };
    let restored = MariadbServer::start(backup);
    another_second(&restored).await;
    server.start_again();
    let source = |server: &MariadbServer| {
        let settings = [
            ("host", text("127.0.0.1")),
            ("port", number(server.port())),
            ("user", text("root")),
        ];
        common::source("erp", &settings, vec![common::captured("erp", "item")])
    };
    let (start, name) = now(&*source(&server)).await;
    server
        .run("INSERT INTO erp.item VALUES (1); INSERT INTO erp.item VALUES (2)")
        .await;
    let told = told_with_ends(&*source(&server), &start, 2).await;
    let at = told.ends.last().unwrap().1.clone();
    for name in [name.clone(), None] {
        let what = lost(&*source(&restored), &at, name).await;
        assert!(what.contains("restored"), "{what}");
    }
    // And when it has written as much as was lost.
    let again = "INSERT INTO erp.item VALUES (7); INSERT INTO erp.item VALUES (8);
                 INSERT INTO erp.item VALUES (9)";
    another_second(&restored).await;
    restored.run(again).await;
    // Whether it is where the other one was, or elsewhere: then its number and files mean nothing.
    for name in [name, None] {
        let what = lost(&*source(&restored), &at, name).await;
        assert!(what.contains("restored"), "{what}");
    }
}

#[tokio::test]
async fn transactions_the_server_never_had_are_said() {
    let world = World::new(ITEM, &["item"]).await;
    let (at, _) = now(&*world.source()).await;
    // As another server has it, whose file was begun at another time.
    let theirs = |gtid: &str| {
        let text = at.to_string().replace(",,0-1-", gtid);
        let (rest, seq) = text.rsplit_once('/').unwrap();
        let (rest, born) = rest.rsplit_once(",,").unwrap();
        let born = format!("00000001{}", &born[8..]);
        format!("{rest},,{born}/{seq}").parse().unwrap()
    };
    let server = Some("another one".to_owned());
    let what = lost(&*world.source(), &theirs(",,0-1-9"), server.clone()).await;
    assert!(what.contains("never got"), "{what}");
    // Of a server of another number: the numbers are known, and mean another transaction.
    let what = lost(&*world.source(), &theirs(",,0-77-"), server).await;
    assert!(what.contains("0-77-"), "{what}");
}
