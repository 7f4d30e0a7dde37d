//! Change tracking: what is told of rows that changed, and what is lost where.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::world::{World, int, ops, truth};
use common::{denied, number};
use contract::{KeptFor, Level, Value as Cell};
use tds_server::model::{Database, Which};
use tds_server::wire::{ServerError, Value};

fn named(id: i32, name: &str) -> [(&'static str, Value); 2] {
    [("id", int(id)), ("name", Value::text(name))]
}

fn insert(world: &World, table: &str, id: i32, name: &str) {
    world.database.insert(table, &named(id, name)).unwrap();
}

fn rename(world: &World, table: &str, id: i32, name: &str) {
    let set = [("name", Value::text(name))];
    world.database.update(table, &[int(id)], &set).unwrap();
}

/// Scenario 20.
#[tokio::test]
async fn a_row_that_changed_often_is_told_once_as_it_is_now() {
    let world = World::new().table("t").track();
    let mut reader = world.started().await;
    insert(&world, "t", 1, "a");
    rename(&world, "t", 1, "b");
    rename(&world, "t", 1, "c");
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1"]);
    assert_eq!(told[0].before, None);
    assert_eq!(
        told[0].after.as_ref().unwrap()[1],
        Cell::Text("c".to_owned())
    );
    rename(&world, "t", 1, "d");
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["update t 1"]);
}

/// Scenario 21.
#[tokio::test]
async fn a_row_that_came_and_went_is_a_delete_of_an_unknown_key() {
    let world = World::new().table("t").track();
    let mut reader = world.started().await;
    insert(&world, "t", 1, "a");
    world.database.delete("t", &[int(1)]).unwrap();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["delete t 1"]);
    assert_eq!(told[0].before.as_ref().unwrap()[1], Cell::Unchanged);
    assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
}

/// Scenario 22, and trap 13.
#[tokio::test]
async fn trap_13_a_row_that_was_made_again_and_a_key_that_changed_lose_nothing() {
    let world = World::new().table("t").track();
    let mut reader = world.started().await;
    insert(&world, "t", 1, "a");
    insert(&world, "t", 2, "b");
    reader.catch_up().await.unwrap();
    let again = world.database.begin();
    again.delete("t", &[int(1)]).unwrap();
    again.insert("t", &named(1, "new")).unwrap();
    again.commit().unwrap();
    world
        .database
        .update("t", &[int(2)], &[("id", int(3))])
        .unwrap();
    let told = reader.catch_up().await.unwrap();
    let mut found = ops(&told);
    found.sort();
    assert_eq!(found, ["delete t 2", "insert t 3", "update t 1"]);
    assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
}

/// Scenario 23.
#[tokio::test]
async fn a_commit_beside_a_page_converges_with_and_without_snapshots() {
    for snapshots in [true, false] {
        for part in ["CHANGE_TRACKING_MIN_VALID_VERSION", "CHANGETABLE(CHANGES"] {
            let world = World::new().table("t").track();
            world.database.allow_snapshot(snapshots);
            let mut reader = world.started().await;
            insert(&world, "t", 1, "a");
            insert(&world, "t", 2, "a");
            insert(&world, "t", 4, "a");
            let change = |database: &Database| {
                let set = [("name", Value::text("late"))];
                database.update("t", &[int(1)], &set).unwrap();
                database.delete("t", &[int(2)]).unwrap();
                database.insert("t", &named(3, "late")).unwrap();
                database.delete("t", &[int(4)]).unwrap();
                database.insert("t", &named(4, "again")).unwrap();
            };
            world.database.before(Which::next(part), change);
            reader.catch_up().await.unwrap();
            reader.catch_up().await.unwrap();
            assert_eq!(world.database.hooks_waiting(), 0);
            let found = reader.rows().of("t");
            assert_eq!(found, truth(&world.database, "t"), "{snapshots} {part}");
            // In a snapshot the page has what its version had, and the commit beside it comes with its own.
            let first = |change: &&contract::RowChange| change.key().unwrap().as_str() == "1";
            let first = reader.told.iter().find(first).unwrap();
            let name = first.after.as_ref().unwrap()[1].text().unwrap();
            if part == "CHANGETABLE(CHANGES" {
                let expected = if snapshots { "a" } else { "late" };
                assert_eq!(name, expected, "{snapshots}");
            }
        }
    }
}

/// Scenario 24, and trap 14.
#[tokio::test]
async fn trap_14_a_clean_up_that_overtakes_us_is_said_and_idle_tables_move_on() {
    for shows in [true, false] {
        let world = World::new().table("idle").table("t").track();
        world
            .database
            .options(|options| options.cleanup_shows_in_snapshots = shows);
        let mut reader = world.started().await;
        insert(&world, "t", 1, "a");
        reader.catch_up().await.unwrap();
        // One version counts for all tables: the idle one has it too.
        let upto = world.database.tracking_version().unwrap();
        world.database.tracking_cleanup("idle", upto).unwrap();
        insert(&world, "t", 2, "a");
        reader.catch_up().await.unwrap();
        assert!(reader.untold.is_empty(), "{:?}", reader.untold);
        reader.kill(&world);
        insert(&world, "t", 3, "a");
        insert(&world, "idle", 3, "a");
        let upto = world.database.tracking_version().unwrap();
        insert(&world, "t", 4, "a");
        let clean = move |database: &Database| database.tracking_cleanup("t", upto).unwrap();
        world
            .database
            .before(Which::next("CHANGE_TRACKING_MIN_VALID_VERSION"), clean);
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["insert idle 3"]);
        assert!(
            reader.said("t")[0].contains("are lost"),
            "{:?}",
            reader.said("t")
        );
        assert!(reader.said("idle").is_empty());
        insert(&world, "t", 5, "a");
        assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 5"]);
    }
}

/// Scenario 25, and trap 12.
#[tokio::test]
async fn trap_12_an_emptied_table_is_read_again() {
    let world = World::new().table("t").track();
    let mut reader = world.started().await;
    insert(&world, "t", 1, "a");
    reader.catch_up().await.unwrap();
    world.database.truncate("t").unwrap();
    insert(&world, "t", 2, "a");
    reader.catch_up().await.unwrap();
    assert!(
        reader.said("t")[0].contains("TRUNCATE"),
        "{:?}",
        reader.said("t")
    );
    // And said once.
    insert(&world, "t", 3, "a");
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 3"]);
    assert_eq!(reader.untold.len(), 1);
}

/// Scenario 26.
#[tokio::test]
async fn a_table_whose_tracking_ends_fails_alone() {
    for drop_key in [true, false] {
        let world = World::new().table("a").table("b").track();
        let mut reader = world.started().await;
        insert(&world, "a", 1, "x");
        reader.catch_up().await.unwrap();
        world.database.untrack("a").unwrap();
        if drop_key {
            world.database.drop_key("a").unwrap();
        }
        insert(&world, "b", 1, "x");
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["insert b 1"], "{drop_key}");
        assert!(!reader.said("a").is_empty());
        assert!(reader.said("b").is_empty(), "{:?}", reader.untold);
    }
}

/// Scenario 27, and trap 17: the whole page is read again, and nothing half of it is told.
#[tokio::test]
async fn trap_17_what_the_server_wants_tried_again_is_tried_again() {
    for error in [1205, 1222, 3958, 3960, 3961, 3966] {
        for part in ["CHANGE_TRACKING_MIN_VALID_VERSION", "CHANGETABLE(CHANGES"] {
            let world = World::new().table("t").track();
            let mut reader = world.started().await;
            insert(&world, "t", 1, "a");
            let error = ServerError::new(error, 13, "try again");
            world.database.fail(Which::next(part), error);
            reader.try_catch_up().await.unwrap();
            assert_eq!(ops(&reader.told), ["insert t 1"]);
            assert_eq!(world.database.hooks_waiting(), 0);
        }
    }
}

/// Scenario 27: snapshots that are turned off meanwhile.
#[tokio::test]
async fn without_snapshots_it_is_read_as_it_can_be() {
    let world = World::new().table("t").track();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    world.database.allow_snapshot(false);
    insert(&world, "t", 1, "a");
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1"]);
}

/// Scenario 28, and trap 16.
#[tokio::test]
async fn trap_16_a_replica_that_is_only_read_is_refused_at_the_start() {
    let world = World::new().table("t").track();
    world.database.read_only(true);
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(&error, "replica", "primary");
}

/// Scenario 12: a NULL version.
#[tokio::test]
async fn changes_that_may_not_be_read_are_said_with_what_mends_it() {
    let world = World::new().table("t").track();
    let user = tds_server::model::User::new("agent", common::PASSWORD);
    world.database.add_user(user);
    world
        .database
        .run("ALTER ROLE db_datareader ADD MEMBER [agent]")
        .unwrap();
    let world = world
        .set("user", common::text("agent"))
        .set("password", common::secret(common::PASSWORD))
        .mode("tracking");
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(
        &error,
        "tracked changes",
        "GRANT VIEW CHANGE TRACKING ON [dbo].[t]",
    );
}

/// Scenario 29, and trap 15.
#[tokio::test]
async fn trap_15_a_version_of_many_pages_that_is_cut_short_loses_nothing() {
    const ROWS: i32 = 12_000;
    let world = World::new()
        .table("t")
        .track()
        .set("page_rows", number(1_000_u64));
    let mut reader = world.started().await;
    let transaction = world.database.begin();
    let long = "x".repeat(50);
    let rows: Vec<[(&str, Value); 2]> = (0..ROWS).map(|id| named(id, &long)).collect();
    let rows: Vec<&[(&str, Value)]> = rows.iter().map(<[(&str, Value); 2]>::as_slice).collect();
    transaction.insert_all("t", &rows).unwrap();
    transaction.commit().unwrap();
    // Six pages of it and a part of the seventh, then the agent is killed, and rows leave the version that was
    // told in part: some that were told, and one that was not.
    let mut told = 0;
    while told < 5_900 {
        let batch = reader.batch().await.unwrap();
        let bytes: usize = batch.iter().map(contract::RowChange::bytes).sum();
        assert!(bytes < 1_200_000, "{bytes} bytes");
        told += batch.len();
    }
    assert!(told < 10_000, "{told}");
    let newest = reader.told.len() - reader.newest();
    reader.kill_within(&world, 5_900 - newest);
    assert_eq!(reader.told.len(), 5_900);
    assert!(reader.resume.after.as_ref().unwrap().seq > 0);
    rename(&world, "t", ROWS - 1, "late");
    rename(&world, "t", 0, "late");
    world.database.delete("t", &[int(1)]).unwrap();
    reader.catch_up().await.unwrap();
    let mut truth = truth(&world.database, "t");
    truth.sort_by_key(|row| row["id"].clone());
    let mut found = reader.rows().of("t");
    found.sort_by_key(|row| row["id"].clone());
    assert!(found == truth, "{} rows, {}", found.len(), truth.len());
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

/// Scenario 24: what clean-up is about to pass is an alarm in `status`.
#[tokio::test]
async fn tracked_changes_that_are_about_to_go_are_an_alarm() {
    let world = World::new().table("t").track();
    let mut reader = world.open();
    insert(&world, "t", 1, "a");
    reader.catch_up().await.unwrap();
    let hours = std::time::Duration::from_hours;
    world.database.pass(hours(100));
    let read = reader.behind().await.unwrap();
    assert_eq!(read.by, Some(hours(0)));
    let KeptFor::Time(time) = read.kept_for else {
        panic!("{read:?}");
    };
    reader.stream = None;
    insert(&world, "t", 2, "a");
    world.database.pass(time.saturating_sub(hours(8)));
    let soon = reader.behind().await.unwrap();
    assert_eq!(soon.level(100), Level::Fail);
    assert!(
        soon.left().is_some_and(|left| left <= hours(8)) && soon.hint.contains("CHANGE_RETENTION"),
        "{soon:?}"
    );
    reader.catch_up().await.unwrap();
    assert_eq!(reader.behind().await.unwrap().by, Some(hours(0)));
}

/// Nothing is asked of change data capture where no table is read by it.
#[tokio::test]
async fn only_what_is_read_is_looked_at() {
    let world = World::new().table("t").track();
    world.database.enable_cdc();
    let mut reader = world.open();
    reader.source.look().await.unwrap();
    reader.catch_up().await.unwrap();
    reader.source.look().await.unwrap();
    let sent = world.server.handle().statements();
    let asked = |part| sent.iter().any(|text| text.contains(part));
    for part in ["cdc_jobs", "dm_cdc", "dm_server", "lsn_time_mapping"] {
        assert!(!asked(part), "{part}: {sent:#?}");
    }
}
