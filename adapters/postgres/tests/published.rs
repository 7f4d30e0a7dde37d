//! What changes while it is not published is in no log: a publication, or a table in it, that was
//! away for a while is noticed, between two looks and between two runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use contract::{ChangeStream, Resume, SourceError};
use harness::postgres::{PostgresServer, majors};
use tokio::time::Instant;

use crate::common::{DEADLINE, World, changes, next};

const TABLES: &str = "CREATE TABLE item (id int PRIMARY KEY, v text);
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (100);
    INSERT INTO item VALUES (1, 'a'), (2, 'b')";

async fn worlds(tables: &[&str]) -> Vec<World> {
    let mut worlds = Vec::new();
    for major in majors() {
        let server = PostgresServer::shared_of(major);
        worlds.push(World::prepared_on(server, TABLES, tables).await);
    }
    worlds
}

/// What is stored once the stream has told a row of `other`.
async fn stored(world: &World, stream: &mut dyn ChangeStream) -> Resume {
    world
        .run("INSERT INTO other SELECT count(*) FROM other")
        .await;
    loop {
        let batch = next(stream).await.unwrap();
        stream.acknowledge(&batch.end).await.unwrap();
        if !batch.changes.is_empty() {
            return Resume {
                epoch: 1,
                after: Some(batch.end),
                server: stream.server(),
                committed_at: None,
            };
        }
    }
}

/// A first run, which has ended.
async fn ran(world: &World) -> Resume {
    let mut stream = world.source().stream(1, None).await.unwrap();
    let from = stored(world, &mut *stream).await;
    drop(stream);
    world.released().await;
    from
}

/// The table that is not told when a stream is opened again, and what is said of it. The others go
/// on; soon it is told again, and the next stream has nothing to say.
async fn untold_once(world: &World, from: &Resume) -> (String, String) {
    let mut stream = world.source().resume(from).await.unwrap();
    let untold = stream.untold().to_vec();
    assert_eq!(untold.len(), 1, "{untold:?}");
    let mut from = stored(world, &mut *stream).await;
    let why = ended(&mut *stream, &mut from).await;
    assert!(why.to_string().contains("is told again"), "{why}");
    drop(stream);
    world.released().await;
    let stream = world.source().resume(&from).await.unwrap();
    assert_eq!(stream.untold(), []);
    drop(stream);
    world.released().await;
    (untold[0].table.name.clone(), untold[0].what.clone())
}

/// How a stream ends; where it stood then is stored.
async fn ended(stream: &mut dyn ChangeStream, from: &mut Resume) -> SourceError {
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "the stream goes on");
        match next(stream).await {
            Ok(batch) => {
                stream.acknowledge(&batch.end).await.unwrap();
                from.after = Some(batch.end);
            }
            Err(error) => return error,
        }
    }
}

fn is_lost(world: &World, error: &SourceError) {
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("made anew"), "{error}");
    let hint = error.hint().unwrap();
    let drop = format!("pg_drop_replication_slot('{}')", world.slot());
    for words in [&drop, "prepare --apply", "resync"] {
        assert!(hint.contains(words), "{hint}");
    }
}

#[tokio::test]
async fn a_publication_made_anew_is_a_lost_position() {
    for world in worlds(&["item", "other"]).await {
        let slot = world.slot();
        let create = format!("CREATE PUBLICATION {slot} FOR TABLE item, other");
        // Between two looks, and nothing changes meanwhile: not even an older server notices.
        let mut stream = world.source().stream(1, None).await.unwrap();
        let mut from = stored(&world, &mut *stream).await;
        world
            .run(&format!("BEGIN; DROP PUBLICATION {slot}; {create}; COMMIT"))
            .await;
        is_lost(&world, &ended(&mut *stream, &mut from).await);
        drop(stream);
        world.released().await;

        // Between two runs.
        let again = world.source().resume(&from).await.map(|_| ()).unwrap_err();
        is_lost(&world, &again);
        // With nothing captured there is nothing to lose; and what an older agent stored says
        // nothing of publications.
        let fresh = Resume {
            after: None,
            ..from.clone()
        };
        world.source().resume(&fresh).await.unwrap();
        world.released().await;
        let text = from.server.as_deref().unwrap();
        let older = Resume {
            server: Some(text.split(' ').next().unwrap().to_owned()),
            ..from.clone()
        };
        let stream = world.source().resume(&older).await.unwrap();
        let mut learnt = Resume {
            server: stream.server(),
            ..from
        };
        drop(stream);
        world.released().await;
        world.source().resume(&learnt).await.unwrap();
        world.released().await;
        // Gone while the agent runs: that is said, not that tables are not told.
        let mut stream = world.source().resume(&learnt).await.unwrap();
        world.run(&format!("DROP PUBLICATION {slot}")).await;
        let gone = ended(&mut *stream, &mut learnt).await;
        assert!(matches!(gone, SourceError::Denied { .. }), "{gone:?}");
        let hint = gone.hint().unwrap();
        assert!(hint.contains("CREATE PUBLICATION"), "{hint}");
        assert!(hint.contains("\"public\".\"item\""), "{hint}");
    }
}

#[tokio::test]
async fn a_table_out_for_a_while_is_not_told_at_first() {
    for world in worlds(&["item", "other"]).await {
        let slot = world.slot();
        let mut from = ran(&world).await;
        let out = format!("ALTER PUBLICATION {slot} DROP TABLE item");
        let back = format!("ALTER PUBLICATION {slot} ADD TABLE item");
        for sql in [&out, "UPDATE item SET v = 'unseen' WHERE id = 1", &back] {
            world.run(sql).await;
        }
        let (table, what) = untold_once(&world, &from).await;
        assert_eq!(table, "item");
        assert!(
            what.contains("was taken out of publication") && what.contains("read again"),
            "{what}"
        );

        // Between two looks.
        let mut stream = world.source().stream(1, None).await.unwrap();
        assert_eq!(stream.untold(), []);
        world.run(&format!("BEGIN; {out}; {back}; COMMIT")).await;
        let deadline = Instant::now() + DEADLINE;
        while stream.untold().is_empty() {
            assert!(Instant::now() < deadline, "unnoticed");
            let batch = next(&mut *stream).await.unwrap();
            stream.acknowledge(&batch.end).await.unwrap();
        }
        assert_eq!(stream.untold()[0].what, what);
        let why = ended(&mut *stream, &mut from).await;
        assert!(why.to_string().contains("is told again"), "{why}");
    }
}

#[tokio::test]
async fn a_table_made_anew_between_two_runs_is_not_told_at_first() {
    for world in worlds(&["item", "other"]).await {
        let slot = world.slot();
        let from = ran(&world).await;
        world
            .run(&format!(
                "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, v text);
                 INSERT INTO item VALUES (1, 'unseen'); ALTER PUBLICATION {slot} ADD TABLE item"
            ))
            .await;
        let (table, what) = untold_once(&world, &from).await;
        assert_eq!(table, "item");
        assert!(what.contains("is another one than before"), "{what}");
        // A table that comes to the mapping is nothing special; nor is one that leaves it.
        let from = ran(&world).await;
        let world = world.capturing(&["other", "half"]);
        world.source().prepare(true).await.unwrap();
        let mut stream = world.source().resume(&from).await.unwrap();
        assert_eq!(stream.untold(), []);
        assert_ne!(stream.server(), from.server);
        world.run("INSERT INTO half VALUES (1)").await;
        changes(&mut *stream, 1).await;
    }
}

/// A table may be told by way of its schema, of the table it is a part of, or of all tables.
#[tokio::test]
async fn a_table_that_is_told_with_others_is_watched_as_well() {
    for world in worlds(&["other"]).await {
        let world = world.capturing(&["half", "other"]);
        let slot = world.slot();
        let version = world.ask("SHOW server_version_num").await.unwrap();
        let mut ways = vec!["TABLE whole"];
        if version.parse::<u32>().unwrap() >= 150_000 {
            world
                .run("CREATE SCHEMA apart; ALTER TABLE half SET SCHEMA apart")
                .await;
            world
                .run("ALTER TABLE apart.half SET SCHEMA public; CREATE TABLE apart.more (id int)")
                .await;
            ways.push("TABLES IN SCHEMA public");
        }
        for way in ways {
            let (out, back) = (
                format!("ALTER PUBLICATION {slot} DROP {way}"),
                format!("ALTER PUBLICATION {slot} ADD {way}"),
            );
            world.run(&back).await;
            let from = ran(&world).await;
            // Told in another way as well, it is told all the time.
            let more = format!("ALTER PUBLICATION {slot} ADD TABLE half");
            let less = format!("ALTER PUBLICATION {slot} DROP TABLE half");
            for sql in [&more, &less] {
                world.run(sql).await;
            }
            let stream = world.source().resume(&from).await.unwrap();
            assert_eq!(stream.untold(), [], "{way}");
            drop(stream);
            world.released().await;
            for sql in [&out, "INSERT INTO half VALUES (7)", &back] {
                world.run(sql).await;
            }
            let (table, _) = untold_once(&world, &from).await;
            assert_eq!(table, "half", "{way}");
            world.run(&out).await;
            world.run("DELETE FROM half").await;
        }
        // Of all tables: only the table itself can be another one.
        for sql in [
            format!("DROP PUBLICATION {slot}"),
            format!("CREATE PUBLICATION {slot} FOR ALL TABLES"),
            format!("SELECT pg_drop_replication_slot('{slot}')"),
        ] {
            world.run(&sql).await;
        }
        world.source().prepare(true).await.unwrap();
        let from = ran(&world).await;
        world
            .run("DROP TABLE half; CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (9)")
            .await;
        let (table, what) = untold_once(&world, &from).await;
        assert_eq!(table, "half");
        assert!(what.contains("is another one than before"), "{what}");
    }
}

/// The catalogue is in order again when the log tells of it: what happened under another name is not
/// told, so the table is read again; and what another table told under its name is none of its rows.
#[tokio::test]
async fn names_that_changed_for_a_while_are_noticed_in_the_log() {
    for world in worlds(&["item", "other"]).await {
        let slot = world.slot();
        let from = ran(&world).await;
        // Within one transaction, and while nobody looks.
        let mut stream = world.source().resume(&from).await.unwrap();
        assert_eq!(stream.untold(), []);
        world
            .run(
                "BEGIN; ALTER TABLE item RENAME TO item_tmp;
                 UPDATE item_tmp SET v = 'unseen' WHERE id = 1;
                 ALTER TABLE item_tmp RENAME TO item; COMMIT",
            )
            .await;
        let mut from = stored(&world, &mut *stream).await;
        let untold = stream.untold().to_vec();
        assert_eq!(untold.len(), 1, "{untold:?}");
        let said = "table public.item was called public.item_tmp for a while";
        assert!(untold[0].what.contains(said), "{untold:?}");
        let why = ended(&mut *stream, &mut from).await;
        assert!(why.to_string().contains("is told again"), "{why}");
        drop(stream);
        world.released().await;

        // Another table in its place, and back, while the agent is stopped.
        for sql in [
            "CREATE TABLE item_new (id int PRIMARY KEY, v text)",
            &format!("ALTER PUBLICATION {slot} ADD TABLE item_new"),
            "BEGIN; ALTER TABLE item RENAME TO item_old; ALTER TABLE item_new RENAME TO item; COMMIT",
            "INSERT INTO item VALUES (9, 'another table')",
            "UPDATE item_old SET v = 'unseen too' WHERE id = 2",
            "BEGIN; ALTER TABLE item RENAME TO item_new; ALTER TABLE item_old RENAME TO item; COMMIT",
        ] {
            world.run(sql).await;
        }
        let mut stream = world.source().resume(&from).await.unwrap();
        world.run("INSERT INTO other VALUES (1000)").await;
        let (mut told, mut said) = (Vec::new(), Vec::new());
        while told.is_empty() {
            let batch = next(&mut *stream).await.unwrap();
            stream.acknowledge(&batch.end).await.unwrap();
            said.extend(stream.untold().iter().map(|one| one.what.clone()));
            told.extend(batch.changes.iter().map(|one| one.table().name.clone()));
        }
        assert_eq!(
            told,
            ["other"],
            "no row of another table is told as an item"
        );
        let words = "was called public.item for a while";
        assert!(said.iter().any(|what| what.contains(words)), "{said:?}");
    }
}

/// Whoever rewrites a table locks it for as long as that takes. The others are told all the time.
#[tokio::test]
async fn a_locked_table_keeps_no_other_from_being_told() {
    for world in worlds(&["item", "other"]).await {
        let from = ran(&world).await;
        let client = world.server.connect(&world.name).await;
        client
            .batch_execute("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        // Opened while it is locked.
        let mut stream = world.source().resume(&from).await.unwrap();
        // And over looks that come and go.
        let until = Instant::now() + Duration::from_secs(13);
        let mut longest = Duration::ZERO;
        while Instant::now() < until {
            let began = Instant::now();
            stored(&world, &mut *stream).await;
            longest = longest.max(began.elapsed());
        }
        assert!(longest < Duration::from_secs(4), "a row waited {longest:?}");
        assert_eq!(stream.untold(), []);
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}
