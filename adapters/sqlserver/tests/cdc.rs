//! Change data capture: what is told of transactions, in which order, and what is lost where.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use crate::common::world::{World, int, ops, truth};
use crate::common::{denied, number};
use contract::{KeptFor, Level, Op, SourceError, Value as Cell};
use tds_server::model::{Column, Which, lsn};
use tds_server::wire::{Length, Type, Value};

fn insert(world: &World, table: &str, id: i32, name: &str) {
    let row = [("id", int(id)), ("name", Value::text(name))];
    world.database.insert(table, &row).unwrap();
}

/// Scenario 1.
#[tokio::test]
async fn one_transaction_over_three_tables_is_told_as_one_in_the_order_of_its_commands() {
    let world = World::new().table("c").table("a").table("b").cdc();
    insert(&world, "a", 1, "old");
    insert(&world, "b", 1, "old");
    world.database.capture_all();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    let transaction = world.database.begin();
    transaction
        .insert("c", &[("id", int(7)), ("name", Value::text("x"))])
        .unwrap();
    transaction
        .update("b", &[int(1)], &[("name", Value::text("new"))])
        .unwrap();
    transaction.delete("a", &[int(1)]).unwrap();
    transaction.commit().unwrap();
    world.database.capture_all();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert c 7", "update b 1", "delete a 1"]);
    assert!(
        told.iter()
            .all(|change| change.position.pos == told[0].position.pos)
    );
    assert_eq!(
        told.iter()
            .map(|change| change.position.seq)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let update = &told[1];
    assert_eq!(
        update.before.as_ref().unwrap()[1],
        Cell::Text("old".to_owned())
    );
    assert_eq!(
        update.after.as_ref().unwrap()[1],
        Cell::Text("new".to_owned())
    );
    assert!(told[0].committed_at.is_some() && told[0].transaction != 0);
}

/// Scenarios 2 and 5: pages of one row cut between the two rows of each update.
#[tokio::test]
async fn an_update_of_many_rows_comes_as_pairs_whatever_the_page() {
    for page in [1_u64, 2, 3, 100] {
        let world = World::new().table("t").cdc().set("page_rows", number(page));
        let mut reader = world.started().await;
        let transaction = world.database.begin();
        for id in 0..5 {
            transaction
                .insert("t", &[("id", int(id)), ("name", Value::text("a"))])
                .unwrap();
        }
        transaction.commit().unwrap();
        let keys: Vec<[Value; 1]> = (0..5).map(|id| [int(id)]).collect();
        let keys: Vec<&[Value]> = keys.iter().map(<[Value; 1]>::as_slice).collect();
        let transaction = world.database.begin();
        transaction
            .update_all("t", &keys, &[("name", Value::text("b"))])
            .unwrap();
        transaction.commit().unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(told.len(), 10, "{page}: {:?}", ops(&told));
        for change in &told[5..] {
            assert_eq!(change.op, Op::Update);
            assert!(change.before.is_some() && change.old_key().is_none());
        }
        assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
    }
}

/// Scenario 3: told the other way round, the row would be gone.
#[tokio::test]
async fn a_deferred_update_ends_with_the_row() {
    for page in [1_u64, 100] {
        let world = World::new().table("t").cdc().set("page_rows", number(page));
        insert(&world, "t", 1, "a");
        world.database.capture_all();
        let mut reader = world.started().await;
        let transaction = world.database.begin();
        transaction
            .update_deferred("t", &[&[int(1)]], &[("name", Value::text("b"))])
            .unwrap();
        transaction.commit().unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["delete t 1", "insert t 1"]);
    }
}

/// Scenario 4.
#[tokio::test]
async fn commands_order_what_seqvals_order_otherwise() {
    for page in [1_u64, 2, 100] {
        let world = World::new().table("t").cdc().set("page_rows", number(page));
        let mut reader = world.started().await;
        let transaction = world.database.begin();
        transaction.reverse_seqval();
        for name in ["a", "b", "c"] {
            let row = [("id", int(1)), ("name", Value::text(name))];
            if name == "a" {
                transaction.insert("t", &row).unwrap();
            } else {
                transaction
                    .update("t", &[int(1)], &[row[1].clone()])
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["insert t 1", "update t 1", "update t 1"]);
        assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
    }
}

fn wide(world: &mut World) {
    let mut columns: Vec<Column> = vec![Column::new("id", Type::Int).not_null()];
    columns.extend((2..=8).map(|n| Column::new(&format!("c{n}"), Type::Int)));
    columns.push(Column::new("note", Type::NVarChar(Length::Max)));
    world
        .database
        .create_table("wide", columns, &["id"])
        .unwrap();
    world.tables.push(crate::common::captured("dbo", "wide"));
}

/// Scenario 7: the ninth column, whose bit stands in the first byte of the mask.
#[tokio::test]
async fn a_large_value_that_an_update_left_alone_is_unchanged_and_one_it_emptied_is_null() {
    for kept in [false, true] {
        let mut world = World::new();
        world
            .database
            .options(|options| options.long_untouched_kept = kept);
        wide(&mut world);
        let world = world.cdc();
        let mut reader = world.started().await;
        let row = [("id", int(1)), ("note", Value::text("long"))];
        world.database.insert("wide", &row).unwrap();
        world
            .database
            .update("wide", &[int(1)], &[("c2", int(5))])
            .unwrap();
        world.database.capture_all();
        reader.catch_up().await.unwrap();
        assert_eq!(
            reader.rows().of("wide"),
            truth(&world.database, "wide"),
            "{kept}"
        );
        world
            .database
            .update("wide", &[int(1)], &[("note", Value::Null)])
            .unwrap();
        world.database.capture_all();
        reader.catch_up().await.unwrap();
        assert_eq!(
            reader.rows().of("wide"),
            truth(&world.database, "wide"),
            "{kept}"
        );
    }
}

/// Scenario 8.
#[tokio::test]
async fn a_delete_without_its_text_is_a_delete_by_key() {
    let mut world = World::new();
    let columns = vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("body", Type::Text).not_null(),
    ];
    world.database.create_table("t", columns, &["id"]).unwrap();
    world.tables.push(crate::common::captured("dbo", "t"));
    let world = world.cdc();
    let mut reader = world.started().await;
    world
        .database
        .insert("t", &[("id", int(1)), ("body", Value::text("x"))])
        .unwrap();
    world.database.delete("t", &[int(1)]).unwrap();
    world.database.capture_all();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1", "delete t 1"]);
    assert_eq!(told[1].before.as_ref().unwrap()[1], Cell::Unchanged);
}

/// Scenario 9, and trap 11.
#[tokio::test]
async fn trap_11_a_computed_column_is_left_out_and_never_null() {
    let world = World::new().table("plain").cdc();
    let sql = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, a int, b AS (a + 1), rv rowversion NOT NULL)";
    world.database.run(sql).unwrap();
    let mut world = world;
    world.tables = vec![crate::common::captured("dbo", "t")];
    let world = world.cdc();
    let mut reader = world.started().await;
    world
        .database
        .insert("t", &[("id", int(1)), ("a", int(4))])
        .unwrap();
    world.database.capture_all();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(told[0].shape.columns, ["id", "a", "rv"]);
    // Captured as plain bytes.
    let rv = &told[0].after.as_ref().unwrap()[2];
    assert!(
        matches!(rv, Cell::Bytes(bytes) if bytes.len() == 8),
        "{rv:?}"
    );
}

/// Scenario 10, and trap 6.
#[tokio::test]
async fn a_gap_of_one_table_is_said_of_it_alone() {
    let world = World::new().table("a").table("b").cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    reader.kill(&world);
    insert(&world, "a", 1, "x");
    insert(&world, "b", 1, "x");
    world.database.capture_all();
    let after = world.database.log_end();
    insert(&world, "a", 2, "y");
    insert(&world, "b", 2, "y");
    world.database.capture_all();
    world.database.cleanup("dbo_a", after).unwrap();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert b 1", "insert a 2", "insert b 2"]);
    assert!(
        reader.said("a")[0].contains("are lost"),
        "{:?}",
        reader.said("a")
    );
    assert_eq!(reader.said("b"), [""; 0]);
    assert!(!reader.untold[0].routine);
}

/// Scenario 11, and trap 5: between the check and the page.
#[tokio::test]
async fn trap_5_a_clean_up_that_overtakes_the_page_is_said() {
    let world = World::new().table("a").table("b").cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    reader.kill(&world);
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    let after = world.database.log_end();
    insert(&world, "a", 2, "y");
    insert(&world, "b", 2, "y");
    world.database.capture_all();
    let clean = move |database: &tds_server::model::Database| {
        database.cleanup("dbo_a", after).unwrap();
    };
    world.database.before(Which::next("[dbo_a_CT] AS c"), clean);
    let told = reader.catch_up().await.unwrap();
    assert_eq!(world.database.hooks_waiting(), 0);
    assert_eq!(ops(&told), ["insert a 2", "insert b 2"]);
    assert!(
        reader.said("a")[0].contains("are lost"),
        "{:?}",
        reader.said("a")
    );
    assert_eq!(reader.said("b"), [""; 0]);
}

/// Scenario 12: a zero LSN.
#[tokio::test]
async fn an_instance_that_may_not_be_read_is_said_with_what_mends_it() {
    let world = World::new().table("a");
    world.database.enable_cdc();
    world
        .database
        .capture_table_for("a", None, None, Some("gate"))
        .unwrap();
    let user = tds_server::model::User::new("agent", crate::common::PASSWORD);
    world.database.add_user(user);
    world
        .database
        .run("ALTER ROLE db_datareader ADD MEMBER [agent]")
        .unwrap();
    let world = world
        .set("user", crate::common::text("agent"))
        .set("password", crate::common::secret(crate::common::PASSWORD));
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(&error, "may not read", "gating role");
}

/// Scenario 13.
#[tokio::test]
async fn a_job_that_never_ran_is_waited_for() {
    let world = World::new().table("a").cdc();
    world.database.run_job(false);
    let mut reader = world.open();
    insert(&world, "a", 1, "x");
    assert!(reader.catch_up().await.unwrap().is_empty());
    world.database.run_job(true);
    world.database.capture_all();
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert a 1"]);
}

/// Scenario 14.
#[tokio::test]
async fn a_job_that_stands_still_is_no_error_and_is_gone_on_with() {
    let world = World::new().table("a").cdc();
    let mut reader = world.open();
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    world.database.run_job(false);
    world
        .database
        .options(|options| options.agent_running = false);
    insert(&world, "a", 2, "x");
    world.database.capture_all();
    assert!(reader.try_catch_up().await.is_ok());
    let look = reader.source.look().await.unwrap().unwrap();
    assert_eq!(look.trouble, None);
    world.database.run_job(true);
    world.database.capture_all();
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert a 2"]);
}

/// Trap 21: SQL Server Agent runs, and only the job does not. What a job at work leaves every five minutes tells it
/// from a database in which nothing happens.
#[tokio::test]
async fn a_cycle_proves_nothing_while_only_the_job_stands_still() {
    let world = World::new().table("a").cdc();
    let mut reader = world.open();
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    let eleven_minutes = Duration::from_mins(11);
    let proven_since = async |reader: &mut crate::common::world::Reader| {
        reader.source.look().await.unwrap();
        let looked = std::time::Instant::now();
        reader.try_catch_up().await.unwrap();
        reader.try_catch_up().await.unwrap();
        let ago = reader.source.canary().and_then(|canary| canary.ago);
        ago.unwrap() < looked.elapsed()
    };
    // Nothing happens, and the job says so.
    world.database.pass(eleven_minutes);
    world.database.capture_all();
    assert!(proven_since(&mut reader).await, "a quiet database");
    // It stands still, whether something happens or not.
    world.database.run_job(false);
    world.database.pass(eleven_minutes);
    world.database.capture_all();
    assert!(!proven_since(&mut reader).await, "the job stands still");
    insert(&world, "a", 2, "x");
    assert!(!proven_since(&mut reader).await, "it is not captured");
    // It runs again.
    world.database.run_job(true);
    world.database.capture_all();
    assert!(proven_since(&mut reader).await, "it goes on");
}

/// Scenario 15: error 313 is a gap, and no fault of the statement.
#[tokio::test]
async fn a_function_that_does_not_reach_means_a_gap() {
    let world = World::new()
        .table("a")
        .table("b")
        .cdc()
        .mode("cdc-function");
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    reader.kill(&world);
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    let after = world.database.log_end();
    insert(&world, "a", 2, "y");
    insert(&world, "b", 2, "y");
    world.database.capture_all();
    let clean = move |database: &tds_server::model::Database| {
        database.cleanup("dbo_a", after).unwrap();
    };
    world
        .database
        .before(Which::next("fn_cdc_get_all_changes_dbo_a]"), clean);
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert a 2", "insert b 2"]);
    assert!(
        reader.said("a")[0].contains("are lost"),
        "{:?}",
        reader.said("a")
    );
}

/// Scenario 16, and trap 7.
#[tokio::test]
async fn trap_7_a_table_that_was_just_enabled_is_read_from_its_start() {
    for mode in ["cdc", "cdc-function"] {
        let world = World::new().table("a").cdc();
        insert(&world, "a", 1, "x");
        world.database.capture_all();
        // The job has not come to it: the new instance begins behind more than the newest captured place.
        insert(&world, "a", 2, "late");
        let mut world = world.table("b");
        world.database.capture_table("b", None, None).unwrap();
        world = world.mode(mode);
        let mut reader = world.started().await;
        insert(&world, "b", 1, "y");
        world.database.capture_all();
        assert_eq!(
            ops(&reader.catch_up().await.unwrap()),
            ["insert a 2", "insert b 1"],
            "{mode}"
        );
        assert!(reader.untold.is_empty(), "{:?}", reader.untold);
    }
}

/// Scenario 17, and trap 9.
#[tokio::test]
async fn a_second_instance_takes_over_with_its_new_column_and_each_change_is_told_once() {
    for page in [1_u64, 100] {
        let world = World::new().table("t").cdc().set("page_rows", number(page));
        let mut reader = world.open();
        reader.catch_up().await.unwrap();
        reader.kill(&world);
        insert(&world, "t", 1, "x");
        world
            .database
            .add_column("t", Column::new("more", Type::Int))
            .unwrap();
        insert(&world, "t", 2, "x");
        world
            .database
            .capture_table("t", Some("dbo_t_2"), None)
            .unwrap();
        world
            .database
            .insert("t", &[("id", int(3)), ("more", int(9))])
            .unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["insert t 1", "insert t 2", "insert t 3"]);
        assert_eq!(told[1].shape.columns, ["id", "name"]);
        assert_eq!(told[2].shape.columns, ["id", "name", "more"]);
        assert_eq!(told[2].after.as_ref().unwrap()[2], Cell::Int(9));
        // The old one is not needed any more.
        world.database.drop_instance("dbo_t").unwrap();
        insert(&world, "t", 4, "x");
        world.database.capture_all();
        reader.kill(&world);
        assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 4"]);
        assert!(reader.untold.is_empty(), "{:?}", reader.untold);
    }
}

/// Scenario 18: while its pages are read.
#[tokio::test]
async fn an_instance_that_is_dropped_before_it_was_told_is_said_and_the_others_go_on() {
    let world = World::new().table("a").table("b").cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    insert(&world, "a", 1, "x");
    insert(&world, "b", 1, "x");
    world.database.capture_all();
    world
        .database
        .capture_table("a", Some("second"), None)
        .unwrap();
    insert(&world, "a", 2, "x");
    world.database.capture_all();
    let drop_it = |database: &tds_server::model::Database| database.drop_instance("dbo_a").unwrap();
    world
        .database
        .before(Which::next("[dbo_a_CT] AS c"), drop_it);
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert b 1", "insert a 2"]);
    assert!(
        reader.said("a")[0].contains("are lost"),
        "{:?}",
        reader.said("a")
    );
    // And one that leaves nothing behind is not told at all, nor read past in silence.
    world.database.drop_instance("second").unwrap();
    insert(&world, "b", 3, "x");
    world.database.capture_all();
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert b 3"]);
    assert!(!reader.said("a").is_empty());
}

/// Scenario 19, and trap 8.
#[tokio::test]
async fn trap_8_a_database_that_was_restored_is_another_one_however_far_it_grew() {
    let world = World::new().table("t").cdc();
    let backup = world.database.backup();
    let mut reader = world.open();
    insert(&world, "t", 1, "x");
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    // A copy that is behind has the same fork.
    world.database.fail_over(&backup);
    let error = reader.catch_up().await.unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    // Restored, and grown above our place.
    world.database.restore(&backup);
    for id in 10..20 {
        insert(&world, "t", id, "other");
    }
    world.database.capture_all();
    reader.kill(&world);
    let error = reader.catch_up().await.unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("restored"), "{error}");
}

/// A place that a person named and that is gone is said, and nothing is told in its place.
#[tokio::test]
async fn a_start_before_what_is_captured_is_refused() {
    let world = World::new().table("a").table("b").cdc();
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    let early = lsn(world.database.max_lsn().unwrap());
    insert(&world, "a", 2, "x");
    insert(&world, "b", 2, "x");
    world.database.capture_all();
    let at = |lsn: &[u8]| crate::common::text(format!("0x{}", contract::value::hex(lsn)));
    let world = world.set("start", at(&early));
    let mut reader = world.open();
    assert_eq!(
        ops(&reader.catch_up().await.unwrap()),
        ["insert a 2", "insert b 2"]
    );
    // One of the two was cleaned up behind it.
    world
        .database
        .cleanup("dbo_b", world.database.max_lsn().unwrap())
        .unwrap();
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(&error, "start is earlier", "a later place");
    assert!(error.to_string().contains("dbo.b"), "{error}");
    // What was begun goes on: a start is the first capture's.
    reader.kill(&world);
    insert(&world, "a", 3, "x");
    world.database.capture_all();
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert a 3"]);
    let mut late = early;
    late[0] = 0xff;
    let world = world.set("start", at(&late));
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(&error, "the newest captured one", "leave it out");
}

/// A time is not found in the log by itself: nothing says that its first transaction behind it is the first
/// one that there was.
#[tokio::test]
async fn a_start_at_a_time_before_what_is_captured_is_refused() {
    let world = World::new().table("a").cdc();
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    let world = world.set("start", crate::common::text("2001-01-01T00:00:00Z"));
    let error = world.source().stream(1, None).await.err().unwrap();
    denied(
        &error,
        "nothing is captured from before 2001",
        "a later place",
    );
}

/// How far behind we are is said in time, and three quarters of the retention are an alarm.
#[tokio::test]
async fn captured_changes_that_are_about_to_go_are_an_alarm() {
    let hours = std::time::Duration::from_hours;
    let world = World::new().table("a").cdc();
    let mut reader = world.open();
    insert(&world, "a", 1, "x");
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    let read = reader.behind().await.unwrap();
    assert_eq!(read.by, Some(hours(0)));
    assert_eq!(read.kept_for, KeptFor::Time(hours(72)));
    reader.stream = None;
    insert(&world, "a", 2, "x");
    world.database.capture_all();
    world.database.pass(hours(40));
    insert(&world, "a", 3, "x");
    world.database.capture_all();
    world.database.pass(hours(2));
    let late = reader.behind().await.unwrap();
    assert_eq!(late.level(100), Level::Pass);
    let sentence = late.sentence();
    assert!(
        sentence.contains("42 h behind") && sentence.contains("in 30 h"),
        "{sentence}"
    );
    world.database.pass(hours(18));
    let soon = reader.behind().await.unwrap();
    assert_eq!(soon.level(100), Level::Fail);
    assert!(soon.sentence().contains("in 12 h"), "{soon:?}");
    assert!(soon.hint.contains("sp_cdc_change_job"), "{soon:?}");
    // An agent that is begun anew knows it before it has read anything.
    reader.kill(&world);
    reader.start().await.unwrap();
    let by = reader.behind().await.unwrap().by.unwrap();
    assert!(by >= hours(60), "{by:?}");
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert a 2", "insert a 3"]);
    assert_eq!(reader.behind().await.unwrap().by, Some(hours(0)));
}

/// What is captured is asked once for all tables, not once for each.
#[tokio::test]
async fn the_instances_are_asked_for_once() {
    let world = World::new().table("a").table("b").table("c").cdc();
    for part in ["FROM cdc.captured_columns", "FROM cdc.change_tables"] {
        world.database.before(Which::nth(part, 2), |_| {});
    }
    world.started().await;
    assert_eq!(world.database.hooks_waiting(), 2, "asked a second time");
}
