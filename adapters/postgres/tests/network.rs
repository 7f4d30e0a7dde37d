//! What networks do to a stream: each fault is said, and what comes after it continues with
//! nothing lost and nothing twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use contract::{ChangeStream, NodeKind, Position, Source, SourceError};
use harness::postgres::{PostgresOptions, PostgresServer};
use harness::proxy::{Proxy, Stall};
use tokio::time::Instant;

use crate::common::{self, DEADLINE, World, changes, next};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";
/// The place of the replication connection among those a stream opens.
const REPLICATION: usize = 1;

/// A source whose connections all go through a proxy, and what it told.
struct Follower {
    source: Arc<dyn Source>,
    told: Vec<i32>,
    end: Option<Position>,
    /// Why each stream ended.
    ended: Vec<String>,
}

impl Follower {
    fn new(world: &World, proxy: &Proxy) -> Self {
        let port = NodeKind::Number(proxy.port().to_string());
        Self {
            source: world.source_with(&[("port", port)]),
            told: Vec::new(),
            end: None,
            ended: Vec::new(),
        }
    }

    /// A stream from where the last one ended, as soon as one can be had.
    async fn open(&mut self) -> Box<dyn ChangeStream> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.source.stream(1, self.end.as_ref()).await {
                Ok(stream) => return stream,
                Err(error) => self.disconnected(&error),
            }
            assert!(Instant::now() < deadline, "{:#?}", self.ended);
        }
    }

    /// Notes an end; the only one a network may bring.
    fn disconnected(&mut self, error: &SourceError) {
        assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
        self.ended.push(error.to_string());
    }

    /// Takes a batch; false when the stream has ended instead.
    async fn take(&mut self, stream: &mut dyn ChangeStream) -> bool {
        let batch = match next(stream).await {
            Ok(batch) => batch,
            Err(error) => {
                self.disconnected(&error);
                return false;
            }
        };
        let keys = batch.changes.iter().map(|change| {
            let key = change.key().unwrap();
            key.as_str().parse::<i32>().unwrap()
        });
        self.told.extend(keys);
        stream.acknowledge(&batch.end).await.unwrap();
        self.end = Some(batch.end);
        true
    }

    /// Takes batches until the stream ends; says why.
    async fn until_it_ends(&mut self, stream: &mut dyn ChangeStream) -> String {
        while self.take(stream).await {}
        self.ended.last().unwrap().clone()
    }

    /// Follows, over as many streams as it takes, until `count` changes were told.
    async fn until(&mut self, count: usize) {
        let deadline = Instant::now() + 2 * DEADLINE;
        while self.told.len() < count {
            assert!(Instant::now() < deadline, "{:#?}", self.ended);
            let mut stream = self.open().await;
            while self.told.len() < count && self.take(&mut *stream).await {}
        }
    }

    /// Everything from 1 to `count` came once, in order.
    fn told_all(&self, count: i32) {
        let all: Vec<i32> = (1..=count).collect();
        assert!(self.told == all, "{:?}; {:#?}", self.told, self.ended);
    }
}

/// A database whose server has little patience with a silent client.
async fn world() -> World {
    let world = World::prepared(ITEM, &["item"]).await;
    world
        .run(&format!(
            "ALTER DATABASE {} SET wal_sender_timeout = '3s'",
            world.name
        ))
        .await;
    world
}

async fn insert(world: &World, from: i32, to: i32) {
    world
        .run(&format!(
            "INSERT INTO item SELECT i, repeat('x', 900) FROM generate_series({from}, {to}) i"
        ))
        .await;
}

/// The connection lies still and open; the server runs. It is noticed, named and left, and the
/// next goes on once the server has given up the old one.
async fn a_half_open_connection_is_named(stall: Stall, words: &str) {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    let mut follower = Follower::new(&world, &proxy);
    insert(&world, 1, 10).await;
    let mut stream = follower.open().await;
    while follower.told.len() < 10 {
        assert!(follower.take(&mut *stream).await);
    }
    proxy.stall_one(REPLICATION, stall);
    insert(&world, 11, 20).await;
    let why = follower.until_it_ends(&mut *stream).await;
    assert!(why.contains(words), "{stall:?}: {why}");
    drop(stream);
    follower.until(20).await;
    follower.told_all(20);
}

/// As above, of all connections at once.
async fn a_half_open_network_is_named() {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    let mut follower = Follower::new(&world, &proxy);
    let mut stream = follower.open().await;
    proxy.stall(Stall::BOTH);
    insert(&world, 1, 10).await;
    let why = follower.until_it_ends(&mut *stream).await;
    assert!(
        why.contains("has not answered for") && why.contains("another connection"),
        "{why}"
    );
    drop(stream);
    follower.until(10).await;
    follower.told_all(10);
}

/// Together, because each of them takes a while to notice.
#[tokio::test]
async fn half_open_connections_are_noticed_and_named() {
    tokio::join!(
        // The server gives up first: we ask, and find it streaming to nobody.
        a_half_open_connection_is_named(Stall::BOTH, "has not answered for"),
        // It hears us, so it does not give up; it waits for more of its log.
        a_half_open_connection_is_named(Stall::TO_CLIENT, "swallows what we say"),
        // It gives up, and we hear it.
        a_half_open_connection_is_named(Stall::TO_SERVER, "closed the connection"),
        a_half_open_network_is_named(),
    );
}

/// A server with nothing to tell from a large transaction may not answer for long: leaving it
/// would begin all over again, for ever.
#[tokio::test]
async fn a_server_at_work_is_waited_for() {
    // Who decodes a change of a table with triggers reads their catalogue first.
    let sql = format!(
        "{ITEM}; CREATE TABLE other (i int);
         CREATE TRIGGER t BEFORE UPDATE ON other FOR EACH ROW
           EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    );
    let world = World::on(PostgresServer::shared(), &sql, &["item"]).await;
    // This connection has read it already, and before there was a slot.
    world.run("INSERT INTO other VALUES (1)").await;
    world.source().prepare(true).await.unwrap();
    world
        .run(&format!(
            "ALTER DATABASE {} SET wal_sender_timeout = 0",
            world.name
        ))
        .await;
    let proxy = Proxy::start(world.server.port()).await;
    let mut follower = Follower::new(&world, &proxy);
    let mut stream = follower.open().await;
    // Until it is let go, it is as silent as one that is at work.
    let other = world.server.connect(&world.name).await;
    other
        .batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    world.run("INSERT INTO other VALUES (2)").await;
    insert(&world, 1, 10).await;
    // Longer than an answer may take when nothing explains it.
    let silent = tokio::time::timeout(Duration::from_secs(20), async {
        while follower.take(&mut *stream).await {}
    });
    let silent = silent.await;
    let slot = world.slot();
    let busy = format!(
        "SELECT wait_event_type = 'Lock'
           FROM pg_stat_activity JOIN pg_replication_slots ON pid = active_pid
          WHERE slot_name = '{slot}'"
    );
    assert_eq!(world.ask(&busy).await.as_deref(), Some("t"));
    assert!(silent.is_err(), "{:#?}", follower.ended);
    assert_eq!(follower.told, Vec::<i32>::new());
    other.batch_execute("COMMIT").await.unwrap();
    while follower.told.len() < 10 {
        assert!(follower.take(&mut *stream).await, "{:#?}", follower.ended);
    }
    follower.told_all(10);
}

fn signal(pid: &str, name: &str) {
    let sent = Command::new("kill").args(["-s", name, pid]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_reset_in_the_middle_of_anything_loses_and_doubles_nothing() {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    for n in 0..40 {
        insert(&world, n * 50 + 1, n * 50 + 50).await;
    }
    let mut follower = Follower::new(&world, &proxy);
    let (mut resets, mut inside) = (0_u64, 0);
    while follower.told.len() < 2_000 {
        // From inside a login to some transactions far.
        resets += 1;
        proxy.reset_after(resets * 20_011 % 199_999);
        let mut stream = follower.open().await;
        while follower.told.len() < 2_000 && follower.take(&mut *stream).await {}
        inside += usize::from(
            follower
                .ended
                .last()
                .is_some_and(|why| why.contains("in the middle of a message")),
        );
    }
    follower.told_all(2_000);
    assert!(resets > 5 && inside > 2, "{:#?}", follower.ended);
    for why in &follower.ended {
        assert!(
            ["reset", "closed", "broke", "in use"]
                .iter()
                .any(|word| why.contains(word)),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_flapping_and_slow_network_loses_and_doubles_nothing() {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    proxy.latency(Duration::from_millis(3));
    let mut follower = Follower::new(&world, &proxy);
    let flapping = proxy.flap(Duration::from_millis(400), Duration::from_millis(50));
    let writing = async {
        for n in 0..40 {
            insert(&world, n * 50 + 1, n * 50 + 50).await;
            // Spread over several ups and downs.
            let resets = proxy.resets();
            let deadline = Instant::now() + DEADLINE;
            while n % 5 == 0 && proxy.resets() == resets {
                assert!(Instant::now() < deadline, "nobody connects any more");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::join!(writing, follower.until(2_000));
    drop(flapping);
    follower.told_all(2_000);
    assert!(follower.ended.len() > 2, "{:#?}", follower.ended);
}

#[tokio::test]
async fn a_refused_connection_is_said_and_tried_again() {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    proxy.refuse(true);
    let mut follower = Follower::new(&world, &proxy);
    let refused = follower.source.stream(1, None).await.map(|_| ());
    follower.disconnected(&refused.unwrap_err());
    proxy.refuse(false);
    insert(&world, 1, 5).await;
    follower.until(5).await;
    follower.told_all(5);
}

/// Latency is nobody's silence.
#[tokio::test]
async fn a_slow_line_is_kept_and_told_in_order() {
    let world = world().await;
    let proxy = Proxy::start(world.server.port()).await;
    let mut follower = Follower::new(&world, &proxy);
    let mut stream = follower.open().await;
    proxy.latency(Duration::from_millis(700));
    for n in 0..2 {
        insert(&world, n * 10 + 1, n * 10 + 10).await;
        let last = n * 10 + 10;
        while follower.told.last() != Some(&last) {
            assert!(follower.take(&mut *stream).await, "{:#?}", follower.ended);
        }
    }
    follower.told_all(20);
}

/// What nobody takes stays at the server, and the connection stays.
#[tokio::test]
async fn a_slow_consumer_holds_the_server_back() {
    let world = world().await;
    let source = world.source();
    let mut stream = source.stream(1, None).await.unwrap();
    world
        .run("INSERT INTO item SELECT i, repeat('x', 3000) FROM generate_series(1, 15000) i")
        .await;
    let walsender = |what: &str| {
        let slot = world.slot();
        format!(
            "SELECT {what} FROM pg_stat_activity a JOIN pg_stat_replication r USING (pid)
               JOIN pg_replication_slots ON pid = active_pid WHERE slot_name = '{slot}'"
        )
    };
    let held = walsender("wait_event = 'WalSenderWriteData'");
    world.until(&held).await;
    let pid = world.ask(&walsender("pid::text")).await.unwrap();
    // Longer than the server's patience with a silent client.
    let told = "r.reply_time > a.backend_start + interval '5 s'";
    world.until(&walsender(told)).await;
    assert_eq!(world.ask(&held).await.as_deref(), Some("t"));
    assert_eq!(world.ask(&walsender("pid::text")).await.unwrap(), pid);
    let told = changes(&mut *stream, 15_000).await;
    let keys = told.iter().map(|change| change.key().unwrap());
    let all = (1..=15_000).map(|n| n.to_string());
    assert!(keys.map(|key| key.as_str().to_owned()).eq(all));
}

/// An acknowledgement just before the end is no reason to be told again.
#[tokio::test]
async fn the_last_acknowledgement_is_told_at_the_end() {
    let world = world().await;
    let source = world.source();
    for n in 0..3 {
        let mut stream = source.stream(1, None).await.unwrap();
        let mut end = None;
        for m in 1..=2 {
            insert(&world, n * 2 + m, n * 2 + m).await;
            let batch = common::batches(&mut *stream, 1).await.remove(0);
            // The first is told at once, the second with the next status.
            stream.acknowledge(&batch.end).await.unwrap();
            end = batch.end.pos.number();
        }
        drop(stream);
        world.released().await;
        assert!(world.confirmed().await >= end.unwrap());
    }
}

/// A shutdown waits until everything is acknowledged; then the stream says what happened.
#[tokio::test]
async fn a_server_that_shuts_down_is_let_go() {
    let server = Arc::new(PostgresServer::start(PostgresOptions::default()));
    let world = World::on(server, ITEM, &["item"]).await;
    let source = world.source();
    source.prepare(true).await.unwrap();
    let mut stream = source.stream(1, None).await.unwrap();
    world.run("INSERT INTO item VALUES (1, 'a')").await;
    changes(&mut *stream, 1).await;
    signal(&world.server.pid().unwrap().to_string(), "INT");
    let why = loop {
        match next(&mut *stream).await {
            Ok(batch) => stream.acknowledge(&batch.end).await.unwrap(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(why.contains("shuts down"), "{why}");
}

#[tokio::test]
async fn no_room_at_the_server_is_waited_for() {
    let world = World::prepared(
        &format!("{ITEM}; CREATE ROLE lone LOGIN REPLICATION CONNECTION LIMIT 1; GRANT SELECT ON item TO lone"),
        &["item"],
    )
    .await;
    let source = world.source_with(&[("user", common::text("lone"))]);
    let stream = source.stream(1, None).await.unwrap();
    let error = source.snapshot(1).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, SourceError::Disconnected(why) if why.contains("too many connections")),
        "{error:?}"
    );
    drop(stream);
    world.released().await;
    // Another has the only place of a replication connection.
    let server = Arc::new(PostgresServer::start(
        PostgresOptions::default().setting("max_wal_senders=1"),
    ));
    let first = World::on(Arc::clone(&server), ITEM, &["item"]).await;
    let second = World::on(server, ITEM, &["item"]).await;
    for world in [&first, &second] {
        world.source().prepare(true).await.unwrap();
    }
    let held = first.source().stream(1, None).await.unwrap();
    let error = second.source().stream(1, None).await.map(|_| ());
    let error = error.unwrap_err();
    assert!(
        matches!(&error, SourceError::Disconnected(why) if why.contains("max_wal_senders")),
        "{error:?}"
    );
    let findings = second.source().check().await;
    let finding = findings.iter().find(|f| f.what.ends_with("replication"));
    let fix = finding.unwrap().fix.as_ref().unwrap();
    assert!(fix.contains("max_wal_senders"), "{fix}");
    drop(held);
    first.released().await;
    second.source().stream(1, None).await.unwrap();
}
