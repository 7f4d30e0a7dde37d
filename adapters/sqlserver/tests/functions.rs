//! What is captured, read by its functions: where its tables may not be read, or are of an older build.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::world::{Reader, World, int, ops, truth};
use common::{PASSWORD, about, captured, denied, of, secret, text};
use contract::{Level, Op, Value as Cell};
use tds_server::model::{Column, User};
use tds_server::wire::{Length, Type, Value};

const ENABLE: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = N'readers'";

/// A table with a large text, whose capture instance is guarded by a role, and an agent that is a member of
/// that role and may read the table, and nothing else.
fn gated() -> World {
    let mut world = World::new()
        .set("user", text("agent"))
        .set("password", secret(PASSWORD));
    let columns = vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("name", common::world::words()),
        Column::new("note", Type::NVarChar(Length::Max)),
    ];
    world.database.create_table("t", columns, &["id"]).unwrap();
    world.tables.push(captured("dbo", "t"));
    world.database.add_user(User::new("agent", PASSWORD));
    for sql in [
        "EXEC sys.sp_cdc_enable_db",
        ENABLE,
        "GRANT SELECT ON dbo.t TO agent",
        "ALTER ROLE readers ADD MEMBER agent",
    ] {
        world.database.run(sql).unwrap();
    }
    world
}

fn row(id: i32, name: &str) -> [(&'static str, Value); 3] {
    [
        ("id", int(id)),
        ("name", Value::text(name)),
        ("note", Value::text("long")),
    ]
}

fn note(reader: &Reader) -> Cell {
    let last = reader.told.last().unwrap();
    assert_eq!(last.op, Op::Update);
    last.after.as_ref().unwrap()[2].clone()
}

/// Nobody chose it: without `SELECT` on the schema `cdc` the functions are read.
#[tokio::test]
async fn a_login_that_is_only_in_the_gating_role_captures_changes() {
    let world = gated();
    let mut reader = world.started().await;
    let server = reader.stream.as_ref().unwrap().server().unwrap();
    assert!(server.contains("\"dbo.t\" cdc-function"), "{server}");
    for id in [1, 2] {
        world.database.insert("t", &row(id, "a")).unwrap();
    }
    let set = [("name", Value::text("b"))];
    world.database.update("t", &[int(1)], &set).unwrap();
    world.database.capture_all();
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1", "insert t 2", "update t 1"]);
    // The place of a column in the update's mask is known: what was left alone is told from what is NULL now.
    assert_eq!(note(&reader), Cell::Unchanged);
    let set = [("note", Value::Null)];
    world.database.update("t", &[int(1)], &set).unwrap();
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    assert_eq!(note(&reader), Cell::Null);
    world.database.delete("t", &[int(2)]).unwrap();
    world.database.capture_all();
    reader.kill(&world);
    reader.catch_up().await.unwrap();
    assert_eq!(reader.rows().of("t"), truth(&world.database, "t"));
    assert_eq!(reader.said("t"), Vec::<String>::new());
    let asked = world.server.handle().statements();
    let own = |sql: &&String| sql.contains("_CT]") || sql.contains("FROM cdc.captured_columns");
    assert_eq!(asked.iter().find(own), None, "its tables are not asked");
}

/// The order of the function contradicts that of the commands: the row is told as gone, and is there. The
/// table is compared.
#[tokio::test]
async fn a_row_that_the_functions_tell_as_gone_is_looked_at() {
    for page in [1_u64, 100] {
        let world = World::new().table("t").cdc().mode("cdc-function");
        let world = world.set("page_rows", common::number(page));
        let row = [("id", int(1)), ("name", Value::text("a"))];
        world.database.insert("t", &row).unwrap();
        world.database.capture_all();
        let mut reader = world.started().await;
        let transaction = world.database.begin();
        transaction.reverse_seqval();
        transaction.delete("t", &[int(1)]).unwrap();
        transaction.insert("t", &row).unwrap();
        transaction.commit().unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(ops(&told), ["insert t 1", "delete t 1"], "{page}");
        let said = reader.said("t");
        assert_eq!(said.len(), 1, "{page}: {said:?}");
        assert!(said[0].contains("do not tell which"), "{said:?}");
    }
}

/// What a check says is what the stream does.
#[tokio::test]
async fn a_check_says_that_functions_are_read_and_what_that_costs() {
    let world = gated();
    let findings = world.source().check().await;
    let finding = about(&findings, "table dbo.t");
    assert_eq!(finding.level, Level::Warn);
    assert!(finding.found.contains("by cdc-function"), "{finding}");
    let fix = finding.fix.as_deref().unwrap();
    assert!(fix.contains("GRANT SELECT ON SCHEMA::cdc"), "{finding}");
    assert_eq!(of(&findings, Level::Fail), Vec::<String>::new());
}

/// Whoever is in no gating role can read neither tables nor functions, and is never told that nothing is
/// captured.
#[tokio::test]
async fn a_login_outside_of_the_gating_role_is_refused() {
    let world = gated();
    let leave = "ALTER ROLE readers DROP MEMBER agent";
    world.database.run(leave).unwrap();
    for grant in [None, Some("GRANT SELECT ON SCHEMA::cdc TO agent")] {
        if let Some(grant) = grant {
            world.database.run(grant).unwrap();
        }
        let error = world.open().start().await.unwrap_err();
        let to_do = if grant.is_some() {
            // Who may read the tables of the capture sees which role it is.
            "ALTER ROLE [readers] ADD MEMBER [agent]"
        } else {
            "gating role"
        };
        denied(&error, "may not read what is captured of it", to_do);
        let findings = world.source().check().await;
        let finding = about(&findings, "table dbo.t");
        assert_eq!(finding.level, Level::Fail, "{finding}");
        let found = finding.found.as_str();
        assert!(error.to_string().contains(found), "{error} {finding}");
        assert_eq!(finding.fix.as_deref(), error.hint());
    }
}

/// An older build has no order of commands in its change tables.
#[tokio::test]
async fn change_tables_of_an_older_build_are_read_by_functions() {
    let world = World::new().table("t").cdc();
    world.database.options(|options| options.command_id = false);
    let mut reader = world.started().await;
    let row = [("id", int(1)), ("name", Value::text("a"))];
    world.database.insert("t", &row).unwrap();
    world.database.capture_all();
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 1"]);
    let findings = world.source().check().await;
    let finding = about(&findings, "table dbo.t");
    assert!(finding.found.contains("by cdc-function"), "{finding}");
    let fix = finding.fix.as_deref().unwrap();
    assert!(fix.contains("no column __$command_id"), "{finding}");
    // Who wants the tables is told why not, before anything is read.
    let world = world.mode("cdc");
    let error = world.open().start().await.unwrap_err();
    denied(&error, "no column __$command_id", "cdc-function");
}
