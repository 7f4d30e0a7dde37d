//! Where a stream begins and goes on, whatever happens to the log meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use contract::{LogPos, Position, RowChange, Source, SourceError};
use harness::mariadb::{MariadbOptions, MariadbServer};

use crate::common::told::{changes, error, go_on, lines, next};
use crate::common::{self, World, number, text};
use crate::lost::lost;

pub(crate) const ITEM: &str =
    "CREATE TABLE item (id INT PRIMARY KEY, sku VARCHAR(40), qty DECIMAL(19,4));
    CREATE TABLE other (id INT PRIMARY KEY, big VARCHAR(2000))";

/// A transaction of several statements over two tables, too large for one batch.
const LARGE: &str = "BEGIN;

    INSERT INTO item SELECT seq, concat('s', seq), seq FROM seq_1_to_5000;
    INSERT INTO other SELECT seq, repeat('x', 500) FROM seq_1_to_1000;
    UPDATE item SET qty = qty + 1 WHERE id % 3 = 0;
    DELETE FROM other WHERE id % 2 = 0;
    DELETE FROM item WHERE id > 4000;
    COMMIT";
const LARGE_ITEMS: usize = 5_000 + 1_666 + 1_000;

/// All changes, and the end of each batch with how many came before it.
pub(crate) async fn told_with_ends(source: &dyn Source, from: &Position, count: usize) -> Told {
    let mut stream = go_on(source, from, None).await;
    let mut told = Told::default();
    while told.changes.len() < count || told.ends.last().is_none_or(|(_, end)| end.seq > 0) {
        let batch = next(&mut *stream).await.unwrap();
        told.changes.extend(batch.changes);
        told.ends.push((told.changes.len(), batch.end));
    }
    assert_eq!(told.changes.len(), count);
    told
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) changes: Vec<RowChange>,
    pub(crate) ends: Vec<(usize, Position)>,
}

/// Where the log of a server stands for a source that begins now.
pub(crate) async fn now(source: &dyn Source) -> (Position, Option<String>) {
    let mut stream = source.stream(1, None).await.unwrap();
    let end = next(&mut *stream).await.unwrap().end;
    (end, stream.server())
}

async fn goes_on_inside(world: &World) {
    let source = world.source();
    let (start, server) = now(&*source).await;
    world.run(LARGE).await;
    let told = told_with_ends(&*source, &start, LARGE_ITEMS).await;
    let inside = told.ends.iter().filter(|(_, end)| end.seq > 0).count();
    assert!(inside >= 3, "it comes in pieces");
    // Behind any row, not only where a batch ended.
    let rows = (0..LARGE_ITEMS).step_by(1_097);
    let rows = rows.map(|n| (n + 1, told.changes[n].position.clone()));
    for (n, at) in rows.chain(told.ends.clone()) {
        if n == LARGE_ITEMS {
            continue;
        }
        let mut stream = go_on(&*source, &at, server.clone()).await;
        let (rest, _) = changes(&mut *stream, LARGE_ITEMS - n).await;
        assert!(rest == told.changes[n..], "behind {at}");
    }
}

#[tokio::test]
async fn it_goes_on_behind_any_row_of_a_large_transaction() {
    goes_on_inside(&World::new(ITEM, &["item"]).await).await;
}

#[tokio::test]
async fn it_goes_on_behind_any_row_of_a_large_compressed_transaction() {
    let options = MariadbOptions::default()
        .setting("log_bin_compress=ON")
        .setting("log_bin_compress_min_len=10");
    goes_on_inside(&World::with(options, ITEM, &["item"]).await).await;
}

/// What is known of a place, beside where it is, may change between two runs. Positions are compared by
/// their texts: the one that is stored must never seem to be behind.
#[tokio::test]
async fn a_place_is_never_told_in_other_words() {
    let world = World::new(ITEM, &["item"]).await;
    let source = world.source();
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let (at, server) = now(&*source).await;
    let (less, _) = at.pos.as_str().rsplit_once(",,").unwrap();
    let bare = Position::border(at.epoch, LogPos::try_new(less).unwrap());
    let mut stream = go_on(&*source, &bare, server).await;
    // As long as nothing happens the server says only that it is quiet.
    let quiet = tokio::time::timeout(Duration::from_secs(7), stream.next()).await;
    if let Ok(batch) = quiet {
        let end = batch.unwrap().end;
        assert!(end.to_string() >= bare.to_string(), "{end} behind {bare}");
    }
    world.run("INSERT INTO item VALUES (2, 'b', 2)").await;
    let (all, end) = changes(&mut *stream, 1).await;
    assert!(all[0].position.to_string() > bare.to_string());
    assert!(end.to_string() > all[0].position.to_string());
}

#[tokio::test]
async fn it_goes_on_over_files_and_where_the_oldest_are_gone() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    let (first, server) = now(&*source).await;
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let behind_first = told_with_ends(&*source, &first, 1).await;
    world
        .run(
            "FLUSH BINARY LOGS;
             INSERT INTO item VALUES (2, 'b', 2); FLUSH BINARY LOGS; FLUSH BINARY LOGS;
             INSERT INTO item VALUES (3, 'c', 3)",
        )
        .await;
    let told = told_with_ends(&*source, &first, 3).await;
    for (n, change) in told.changes.iter().enumerate().take(2) {
        let mut stream = go_on(&*source, &change.position, server.clone()).await;
        let (rest, _) = changes(&mut *stream, 2 - n).await;
        assert_eq!(rest, told.changes[n + 1..]);
    }
    // Of the first file only what stands behind its end is needed.
    purge(&world.server, "binlog.000002").await;
    let what = lost(&*source, &first, server.clone()).await;
    assert!(what.contains("purged"), "{what}");
    let border = &behind_first.ends.last().unwrap().1;
    for (n, at) in [(1, border), (2, &told.changes[1].position)] {
        let mut stream = go_on(&*source, at, server.clone()).await;
        let (rest, _) = changes(&mut *stream, 3 - n).await;
        assert_eq!(lines(&rest), lines(&told.changes[n..]));
    }
}

/// Deletes all log files before this one. As long as the engine may still need one after a crash,
/// the server leaves it in silence.
async fn purge(server: &MariadbServer, to: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        server.run(&format!("PURGE BINARY LOGS TO '{to}'")).await;
        let (first,): (String,) = first_file(server).await;
        if first == to {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{first} stays");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn first_file(server: &MariadbServer) -> (String,) {
    let row: mysql_async::Row = server.ask("SHOW BINARY LOGS").await;
    (row.get(0).unwrap(),)
}

/// Without strict mode a domain's newest transaction may have a lower number than those before it.
#[tokio::test]
async fn it_goes_on_where_numbers_are_out_of_order() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let (at, server) = now(&*source).await;
    world
        .run(
            "SET SESSION server_id = 2, gtid_seq_no = 3; INSERT INTO item VALUES (2, 'b', 2);
             SET SESSION server_id = 1, gtid_seq_no = 2; INSERT INTO item VALUES (3, 'c', 3)",
        )
        .await;
    let told = told_with_ends(&*source, &at, 2).await;
    for (change, rest) in [(None, 2), (Some(0), 1)] {
        let from = change.map_or(&at, |n: usize| &told.changes[n].position);
        let mut stream = go_on(&*source, from, server.clone()).await;
        assert_eq!(
            changes(&mut *stream, rest).await.0,
            told.changes[2 - rest..]
        );
    }
    let end = &told.ends.last().unwrap().1;
    let mut stream = go_on(&*source, end, server).await;
    world.run("DELETE FROM item WHERE id = 1").await;
    assert_eq!(changes(&mut *stream, 1).await.0[0].op.name(), "delete");
}

/// Behind a set of GTIDs a server skips what we have, and what comes before a place of its log is less.
#[tokio::test]
async fn it_goes_on_where_the_order_of_the_log_is_not_ours() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let seven = |n: u32| {
        format!(
            "SET SESSION gtid_domain_id = 7; REPLACE INTO item VALUES ({n}, 'seven', {n});
                 SET SESSION gtid_domain_id = 0"
        )
    };
    world
        .run(&format!(
            "{}; INSERT INTO item VALUES (2, 'b', 2); INSERT INTO item VALUES (3, 'c', 3); {}",
            seven(1),
            seven(4)
        ))
        .await;
    let all: String = world.server.ask("SELECT @@GLOBAL.gtid_binlog_pos").await;
    let (zero, _) = all.split_once(',').unwrap();
    let source = world.source_with(&[("start", text(zero))]);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let batch = next(&mut *stream).await.unwrap();
        ends.extend(batch.changes.into_iter().map(|one| one.position));
    }
    let server = stream.server();
    drop(stream);
    world.run(&format!("FLUSH BINARY LOGS; {}", seven(5))).await;
    for (at, sevens) in ends.iter().zip([2, 1]) {
        let updated = format!(
            "SELECT CAST(qty - 2 AS UNSIGNED) FROM {}.item WHERE id = 2",
            world.name
        );
        let updates: u64 = world.server.ask(&updated).await;
        let mut stream = go_on(&*source, at, server.clone()).await;
        let count = sevens + usize::try_from(updates).unwrap();
        let (rest, mut end) = changes(&mut *stream, count).await;
        let said = lines(&rest);
        let of_seven = said.iter().filter(|line| line.contains("seven")).count();
        assert_eq!(of_seven, sevens, "{said:?}");
        // And from there on, as often as it is opened.
        for _ in 0..2 {
            let mut stream = go_on(&*source, &end, server.clone()).await;
            world
                .run("UPDATE item SET qty = qty + 1 WHERE id = 2")
                .await;
            end = changes(&mut *stream, 1).await.1;
        }
    }
}

/// It is in no later list of the log then, and nothing is missing.
#[tokio::test]
async fn a_domain_that_is_taken_out_of_the_log_is_no_loss() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    world
        .run(
            "SET SESSION gtid_domain_id = 7; INSERT INTO item VALUES (1, 'a', 1);
             SET SESSION gtid_domain_id = 0; FLUSH BINARY LOGS",
        )
        .await;
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (2, 'b', 2)").await;
    changes(&mut *stream, 1).await;
    let file: mysql_async::Row = world.server.ask("SHOW MASTER STATUS").await;
    let file: String = file.get(0).unwrap();
    purge(&world.server, &file).await;
    world
        .run(
            "FLUSH BINARY LOGS DELETE_DOMAIN_ID = (7); INSERT INTO item VALUES (3, 'c', 3);
             FLUSH BINARY LOGS; INSERT INTO item VALUES (4, 'd', 4)",
        )
        .await;
    let (_, end) = changes(&mut *stream, 2).await;
    let name = stream.server();
    drop(stream);
    // By its place, and where that is gone by its transactions.
    let mut stream = go_on(&*source, &end, name.clone()).await;
    world.run("INSERT INTO item VALUES (5, 'e', 5)").await;
    changes(&mut *stream, 1).await;
    world.run("FLUSH BINARY LOGS").await;
    let file: mysql_async::Row = world.server.ask("SHOW MASTER STATUS").await;
    let file: String = file.get(0).unwrap();
    drop(stream);
    world.run("INSERT INTO item VALUES (6, 'f', 6)").await;
    let mut stream = go_on(&*source, &end, name.clone()).await;
    let (_, end) = changes(&mut *stream, 2).await;
    drop(stream);
    world.run("FLUSH BINARY LOGS").await;
    let newest: mysql_async::Row = world.server.ask("SHOW MASTER STATUS").await;
    let newest: String = newest.get(0).unwrap();
    assert_ne!(newest, file);
    purge(&world.server, &newest).await;
    let mut stream = go_on(&*source, &end, name).await;
    world.run("INSERT INTO item VALUES (7, 'g', 7)").await;
    changes(&mut *stream, 1).await;
}

/// After a loss tables are read again, and what the log told before is older.
#[tokio::test]
async fn where_to_begin_holds_for_the_first_time_only() {
    let world = World::new(ITEM, &["item"]).await;
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let source = world.source_with(&[("start", text("2001-01-01T00:00:00Z"))]);
    let early = source.stream(1, None).await;
    assert!(matches!(early, Err(SourceError::PositionLost { .. })));
    let mut stream = source.stream(2, None).await.unwrap();
    world.run("UPDATE item SET qty = 2").await;
    let (all, _) = changes(&mut *stream, 1).await;
    assert!(lines(&all)[0].starts_with("item update 1,"), "{all:?}");
}

#[tokio::test]
async fn it_begins_now_at_a_gtid_or_at_a_time() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let server = &world.server;
    world.run("INSERT INTO item VALUES (1, 'a', 1)").await;
    let set: String = server.ask("SELECT @@GLOBAL.gtid_binlog_pos").await;
    world
        .run("INSERT INTO item VALUES (2, 'b', 2); SELECT SLEEP(1.1)")
        .await;
    let then: String = server
        .ask("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%TZ')")
        .await;
    world
        .run(
            "INSERT INTO item VALUES (3, 'c', 3); FLUSH BINARY LOGS; SELECT SLEEP(1.1);
             INSERT INTO item VALUES (4, 'd', 4); FLUSH BINARY LOGS; SELECT SLEEP(1.1)",
        )
        .await;
    let later: String = server
        .ask("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%TZ')")
        .await;
    let from = |start: &str| world.source_with(&[("start", text(start))]);
    for (start, rows) in [(&set, 3), (&then, 2)] {
        let source = from(start);
        let mut stream = source.stream(1, None).await.unwrap();
        let (all, end) = changes(&mut *stream, rows).await;
        let first = 5 - rows;
        assert!(lines(&all)[0].contains(&format!("| {first},")), "{start}");
        // The setting is for the first time only.
        let mut stream = go_on(&*source, &all[0].position, stream.server()).await;
        let (rest, again) = changes(&mut *stream, rows - 1).await;
        assert_eq!(rest, all[1..]);
        assert!(again >= end);
    }
    // Nothing of before comes, whatever the file.
    for source in [world.source(), from("2999-01-01T00:00:00Z")] {
        let mut stream = source.stream(1, None).await.unwrap();
        world
            .run("UPDATE item SET qty = qty + 1 WHERE id = 1")
            .await;
        let (all, _) = changes(&mut *stream, 1).await;
        assert!(lines(&all)[0].starts_with("item update 1,"), "{all:?}");
    }
    let mut stream = from(&later).stream(1, None).await.unwrap();
    let (all, _) = changes(&mut *stream, 2).await;
    assert!(lines(&all)[0].starts_with("item update 1,"), "{all:?}");
    let early = from("2001-01-01T00:00:00Z").stream(1, None).await;
    let Err(SourceError::PositionLost { what, hint }) = early else {
        panic!("the log does not reach back that far");
    };
    assert!(what.contains("oldest log file"), "{what}");
    assert!(hint.contains("start"), "{hint}");
}

#[tokio::test]
async fn another_server_goes_on_exactly_where_the_first_one_ended() {
    let first = Arc::new(MariadbServer::start(MariadbOptions::default()));
    let world = World::on(Arc::clone(&first), ITEM, &["item"]).await;
    let source = world.source();
    let (start, name) = now(&*source).await;
    world
        .run(&format!(
            "SET SESSION gtid_domain_id = 7; INSERT INTO item VALUES (-1, 'seven', 7);
             SET SESSION gtid_domain_id = 0; {LARGE}"
        ))
        .await;
    let count = LARGE_ITEMS + 1;
    let told = told_with_ends(&*source, &start, count).await;
    // Its files, places and compression are its own.
    let options = MariadbOptions::default()
        .setting("log_bin=other")
        .setting("log_bin_compress=ON")
        .setting("log_bin_compress_min_len=10");
    let second = first.replica(options).await;
    // Late, as replicas are: the times of its log are those of the first one all the same.
    second
        .run("STOP SLAVE; SELECT SLEEP(1.1); START SLAVE")
        .await;
    second.caught_up_with(&first).await;
    let there = |server: &MariadbServer| world.source_with(&[("port", number(server.port()))]);
    // Its last transaction took some time between its first statement and its commit.
    let slow = "BEGIN; UPDATE item SET qty = 1 WHERE id = 2; SELECT SLEEP(1.1); COMMIT";
    let mut stream = go_on(&*source, &told.ends.last().unwrap().1, name.clone()).await;
    world.run(slow).await;
    let (_, behind) = changes(&mut *stream, 1).await;
    drop(stream);
    second.caught_up_with(&first).await;
    world.run("UPDATE item SET qty = 2 WHERE id = 2").await;
    second.caught_up_with(&first).await;
    let mut stream = go_on(&*there(&second), &behind, name.clone()).await;
    let (after, _) = changes(&mut *stream, 1).await;
    assert!(lines(&after)[0].starts_with("item update 2,"), "{after:?}");
    let count = count + 2;
    let told = told_with_ends(&*source, &start, count).await;
    let ends = told.ends.iter().filter(|(_, end)| end.seq > 0).cloned();
    let rows = [0, 1, 2_500, 6_000].map(|n| (n + 1, told.changes[n].position.clone()));
    for (n, at) in ends.chain(rows) {
        let mut stream = go_on(&*there(&second), &at, name.clone()).await;
        let (rest, end) = changes(&mut *stream, count - n).await;
        assert!(lines(&rest) == lines(&told.changes[n..]), "behind {at}");
        assert!(
            rest.iter().all(|change| change.position > at),
            "what comes later sorts later"
        );
        assert!(end > at);
    }
    // One that lags behind us lacks what we have told.
    let third = first
        .replica(MariadbOptions::default().setting("server_id=3"))
        .await;
    third.caught_up_with(&first).await;
    third.run("STOP SLAVE").await;
    world.run("UPDATE item SET qty = 0 WHERE id = 1").await;
    let mut stream = go_on(&*source, &told.ends.last().unwrap().1, name.clone()).await;
    let (_, ahead) = changes(&mut *stream, 1).await;
    let what = lost(&*there(&third), &ahead, name).await;
    assert!(what.contains("never got"), "{what}");
}

#[tokio::test]
async fn two_readers_under_one_number_are_told_so() {
    let world = World::new(ITEM, &["item"]).await;
    let id = [("server_id", number(4_000_000_001_u32))];
    let mut one = world.source_with(&id).stream(1, None).await.unwrap();
    next(&mut *one).await.unwrap();
    let two = world.source_with(&id);
    let mut stream = two.stream(1, None).await.unwrap();
    next(&mut *stream).await.unwrap();
    let ended = error(&mut *one).await;
    let SourceError::Denied { what, hint } = &ended else {
        panic!("{ended:?}");
    };
    assert!(what.contains("server_id"), "{what}");
    assert!(hint.contains("set server_id"), "{hint}");
    let findings = world.source_with(&id).check().await;
    let found = common::about(&findings, "server_id");
    assert!(found.to_string().contains("4000000001"), "{found}");
}
