//! What our user may not know is told from what somebody else keeps from us for a moment.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::world::{World, int};
use common::{about, disconnected};
use contract::{Behind, KeptFor, Level};
use tds_server::wire::{Fault, FaultKind, ServerError, Value};

/// So often the next questions with this text are in the way of somebody else.
fn in_the_way(world: &World, part: &str, number: i32, times: usize) {
    for n in 0..times {
        let error = ServerError::new(number, 16, "Lock request time out period exceeded.");
        let fault = FaultKind::Error { rows: 0, error };
        let fault = Fault::new(fault).on(part).after(n);
        world.server.handle().fault(fault);
    }
}

const FORK: &str = "sys.database_recovery_status";
const JOBS: &str = "msdb.dbo.cdc_jobs";

/// Were it taken for a missing right, nobody would know whether the database was restored, and all tables were
/// read again.
#[tokio::test]
async fn a_lock_is_no_reason_not_to_know_which_life_of_the_database_this_is() {
    let world = World::new().table("t").cdc();
    let mut reader = world.open();
    reader.catch_up().await.unwrap();
    let server = reader.resume.server.clone().unwrap();
    assert!(!server.contains("fork unknown"), "{server}");
    for number in [1222, 1205] {
        in_the_way(&world, FORK, number, 2);
        reader.kill(&world);
        reader.start().await.unwrap();
        let now = reader.stream.as_ref().unwrap().server().unwrap();
        assert_eq!(now, server, "{number}");
        // And where it stays so, the stream is opened again later.
        in_the_way(&world, FORK, number, 3);
        reader.kill(&world);
        let error = reader.start().await.unwrap_err();
        disconnected(&error, &format!("error {number}"));
    }
    assert_eq!(reader.untold, []);
    // What says that there is no such thing, or no right to it, is still an answer.
    let missing = ServerError::new(208, 16, "Invalid object name.");
    let fault = FaultKind::Error {
        rows: 0,
        error: missing,
    };
    world.server.handle().fault(Fault::new(fault).on(FORK));
    let findings = world.source().check().await;
    assert_eq!(about(&findings, "identity").level, Level::Warn);
}

#[tokio::test]
async fn a_lock_is_no_reason_not_to_know_for_how_long_changes_are_kept() {
    let world = World::new().table("t").cdc();
    let mut reader = world.open();
    let row = [("id", int(1)), ("name", Value::text("a"))];
    world.database.insert("t", &row).unwrap();
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    in_the_way(&world, JOBS, 1205, 2);
    let known = reader.behind().await;
    assert!(
        matches!(
            known,
            Some(Behind {
                kept_for: KeptFor::Time(_),
                ..
            })
        ),
        "{known:?}"
    );
    // A look begins once more, and then it has failed: it found nothing out.
    in_the_way(&world, JOBS, 1222, 6);
    let error = reader.source.look().await.unwrap_err();
    disconnected(&error, "error 1222");
}

/// A login that may not read the tables of the capture is told by a procedure which instances there are. A lock
/// in its way does not mean that there are none.
#[tokio::test]
async fn a_lock_is_no_reason_not_to_know_what_is_captured() {
    let world = World::new().table("t").cdc();
    let user = tds_server::model::User::new("agent", common::PASSWORD);
    world.database.add_user(user);
    world
        .database
        .run("GRANT SELECT ON dbo.t TO agent")
        .unwrap();
    let world = world
        .set("user", common::text("agent"))
        .set("password", common::secret(common::PASSWORD));
    in_the_way(&world, "sp_cdc_help_change_data_capture", 1222, 1);
    let error = world.open().start().await.unwrap_err();
    disconnected(&error, "error 1222");
    world.open().start().await.unwrap();
}
