//! Networks that break, stall and are slow, and servers that go and come back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use contract::{ChangeStream, Position, RowChange, Source, SourceError};
use harness::mariadb::{MariadbOptions, MariadbServer};
use harness::proxy::{Proxy, Stall};
use tokio::time::Instant;

use crate::common::told::{changes, error, lines, next, resumed};
use crate::common::{self, World, number};

const ITEM: &str = "CREATE TABLE item (id INT PRIMARY KEY, v VARCHAR(2000))";
const DEADLINE: Duration = Duration::from_mins(2);

fn by(proxy: &Proxy, world: &World) -> Arc<dyn Source> {
    world.source_with(&[("port", number(proxy.port()))])
}

/// Reads on whatever breaks, as the engine does: behind what came last, again and again.
async fn whatever_breaks(
    source: &dyn Source,
    from: &Position,
    server: Option<&String>,
    count: usize,
) -> Vec<RowChange> {
    let deadline = Instant::now() + DEADLINE;
    let (mut all, mut end) = (Vec::new(), from.clone());
    let mut stream: Option<Box<dyn ChangeStream>> = None;
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", all.len());
        let batch = match &mut stream {
            Some(stream) => stream.next().await,
            None => match source.resume(&resumed(&end, server.cloned())).await {
                Ok(opened) => {
                    stream = Some(opened);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match batch {
            Ok(batch) => {
                all.extend(batch.changes);
                end = batch.end;
            }
            Err(SourceError::Disconnected(_)) => {
                stream = None;
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("a broken network is no reason for {error:?}"),
        }
    }
    all
}

async fn start(world: &World) -> (Position, Option<String>) {
    let mut stream = world.source().stream(1, None).await.unwrap();
    let end = next(&mut *stream).await.unwrap().end;
    (end, stream.server())
}

const MANY: &str = "INSERT INTO item VALUES (1, 'one');
    INSERT INTO item SELECT seq, repeat(char(97 + seq % 26), 900) FROM seq_10_to_3010;
    UPDATE item SET v = concat('x', v) WHERE id < 100; DELETE FROM item WHERE id > 2000";
const MANY_ROWS: usize = 1 + 3_001 + 91 + 1_010;

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_loses_and_doubles_nothing() {
    let world = World::new(ITEM, &["item"]).await;
    let (from, server) = start(&world).await;
    world.run(MANY).await;
    let whole = whatever_breaks(&*world.source(), &from, server.as_ref(), MANY_ROWS).await;
    let proxy = Proxy::start(world.server.port()).await;
    let source = by(&proxy, &world);
    // In every part of it: logging in, the questions, the head of the log, the middle of an event.
    let bytes = [
        1, 60, 150, 400, 900, 2_000, 4_000, 8_000, 12_000, 20_000, 100_000,
    ];
    for bytes in bytes.into_iter().chain((1..12).map(|n| n * 333_333)) {
        let before = proxy.resets();
        proxy.reset_after(bytes);
        let all = whatever_breaks(&*source, &from, server.as_ref(), MANY_ROWS).await;
        assert!(all == whole, "cut after {bytes} bytes");
        assert!(
            proxy.resets() > before,
            "after {bytes} bytes nothing was cut"
        );
    }
}

#[tokio::test]
async fn a_network_that_flaps_and_is_slow_gets_all_through() {
    let world = World::new(ITEM, &["item"]).await;
    let (from, server) = start(&world).await;
    world.run(MANY).await;
    let whole = whatever_breaks(&*world.source(), &from, server.as_ref(), MANY_ROWS).await;
    let proxy = Proxy::start(world.server.port()).await;
    proxy.latency(Duration::from_millis(3));
    let source = by(&proxy, &world);
    let flapping = proxy.flap(Duration::from_millis(40), Duration::from_millis(10));
    let all = whatever_breaks(&*source, &from, server.as_ref(), MANY_ROWS).await;
    drop(flapping);
    assert!(all == whole);
    assert!(proxy.resets() > 3, "{}", proxy.resets());
}

/// A server that has nothing to tell says that it is there; one that is silent is gone.
#[tokio::test]
async fn a_quiet_server_is_waited_for_and_a_silent_one_is_not() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let mut quiet = world.source().stream(1, None).await.unwrap();
    let proxy = Proxy::start(world.server.port()).await;
    let other = [
        ("server_id", number(77_u32)),
        ("port", number(proxy.port())),
    ];
    let mut stalled = world.source_with(&other).stream(1, None).await.unwrap();
    // Both have begun.
    world.run("INSERT INTO item VALUES (0, 'first')").await;
    changes(&mut *stalled, 1).await;
    changes(&mut *quiet, 1).await;
    proxy.stall(Stall::TO_CLIENT);
    let started = Instant::now();
    let end = error(&mut *stalled);
    tokio::pin!(end);
    let end = loop {
        tokio::select! {
            end = &mut end => break end,
            batch = quiet.next() => assert_eq!(batch.unwrap().changes, []),
        }
    };
    // The log is silent, and so is whoever is asked about the tables.
    let SourceError::Disconnected(what) = &end else {
        panic!("{end:?}");
    };
    assert!(
        what.contains("said nothing") || what.contains("no answer"),
        "{what}"
    );
    assert!(started.elapsed() < Duration::from_mins(1));
    world.run("INSERT INTO item VALUES (1, 'still here')").await;
    let (all, _) = changes(&mut *quiet, 1).await;
    assert_eq!(lines(&all), ["item insert  | 1,still here"]);
}

#[tokio::test]
async fn a_connection_that_an_administrator_ends_is_opened_again() {
    let world = World::with(MariadbOptions::default(), ITEM, &["item"]).await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    let (_, end) = changes(&mut *stream, 1).await;
    let server = stream.server();
    let kill = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
    let dump: u64 = world.server.ask(kill).await;
    world
        .run(&format!("KILL {dump}; INSERT INTO item VALUES (2, 'b')"))
        .await;
    let error = error(&mut *stream).await;
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    let all = whatever_breaks(&*source, &end, server.as_ref(), 1).await;
    assert_eq!(lines(&all), ["item insert  | 2,b"]);
}

/// In order, and at once: the log's file goes on in another one, and nothing is lost or doubled.
#[tokio::test]
async fn a_server_that_is_restarted_is_read_on() {
    let options = MariadbOptions {
        fsync: true,
        ..MariadbOptions::default()
    };
    let mut server = MariadbServer::start(options);
    server
        .run(&format!("CREATE DATABASE erp; USE erp; {ITEM}"))
        .await;
    let settings = [
        ("host", common::text("127.0.0.1")),
        ("port", number(server.port())),
        ("user", common::text("root")),
    ];
    let source = common::source("erp", &settings, vec![common::captured("erp", "item")]);
    let mut stream = source.stream(1, None).await.unwrap();
    let mut end = next(&mut *stream).await.unwrap().end;
    let name = stream.server();
    for n in [1, 3] {
        server
            .run(&format!("INSERT INTO erp.item VALUES ({n}, 'before')"))
            .await;
        let (all, border) = changes(&mut *stream, 1).await;
        assert_eq!(lines(&all), [format!("item insert  | {n},before")]);
        end = end.max(border);
        if n == 1 {
            server.shut_down().await;
        } else {
            server.stop();
        }
        let error = error(&mut *stream).await;
        assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
        server.start_again();
        let m = n + 1;
        server
            .run(&format!("INSERT INTO erp.item VALUES ({m}, 'after')"))
            .await;
        stream = source.resume(&resumed(&end, name.clone())).await.unwrap();
        let (all, border) = changes(&mut *stream, 1).await;
        assert_eq!(lines(&all), [format!("item insert  | {m},after")]);
        end = border;
    }
    assert_eq!(stream.untold(), []);
}
