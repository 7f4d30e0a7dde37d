//! Random transactions, page sizes and crashes, in each mode: whoever is told ends with what the database has.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::common::number;
use crate::common::world::{Reader, Rows, World, int, truth, words};
use contract::{Op, RowChange, SourceError};
use proptest::prelude::*;
use tds_server::model::{Column, Transaction};
use tds_server::wire::{Type, Value};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A transaction: of each command its table, its key and what to do.
    Commit(Vec<(bool, i32, u8)>),
    /// The capture job runs over so many transactions.
    Capture(usize),
    /// So many batches are taken.
    Batches(usize),
    /// The agent is killed.
    Kill,
    /// The same, while a part of the newest batch was stored.
    KillWithin(usize),
    /// So is the connection.
    Cut,
    CatchUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = (any::<bool>(), 0..5_i32, 0..4_u8);
    let step = prop_oneof![
        5 => proptest::collection::vec(command, 1..6).prop_map(Step::Commit),
        3 => (1..4_usize).prop_map(Step::Capture),
        2 => (1..3_usize).prop_map(Step::Batches),
        1 => Just(Step::Kill),
        3 => (0..20_usize).prop_map(Step::KillWithin),
        1 => Just(Step::Cut),
        2 => Just(Step::CatchUp),
    ];
    proptest::collection::vec(step, 1..25)
}

const TABLES: [&str; 2] = ["a", "b"];

fn world(mode: &str, page: u64) -> World {
    let mut world = World::new().set("page_rows", number(page));
    for table in TABLES {
        let mut columns = vec![
            Column::new("id", Type::Int).not_null(),
            Column::new("name", words()),
        ];
        if mode == "rowversion" {
            columns.push(Column::rowversion("rv"));
        }
        world
            .database
            .create_table(table, columns, &["id"])
            .unwrap();
        world.tables.push(crate::common::captured("dbo", table));
    }
    let world = match mode {
        "cdc" | "cdc-function" => world.cdc(),
        "tracking" => world.track(),
        _ => world,
    };
    world.mode(mode)
}

/// Does one command, if it makes sense.
fn command(transaction: &Transaction, table: &str, id: i32, what: u8, n: usize) {
    let name = Value::text(&format!("n{n}"));
    // What cannot be done (a key that is there, or is not) is left out.
    let _ = match what {
        0 | 1 => transaction
            .insert(table, &[("id", int(id)), ("name", name.clone())])
            .or_else(|_| transaction.update(table, &[int(id)], &[("name", name)]))
            .map(drop),
        2 => transaction.delete(table, &[int(id)]).map(drop),
        _ => transaction
            .update_deferred(table, &[&[int(id)]], &[("name", name)])
            .map(drop),
    };
}

/// Takes what is told, in the order in which it is.
fn apply(rows: &mut Rows, told: &[RowChange]) {
    for change in told {
        rows.apply(change);
    }
}

async fn play(mode: &str, page: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = world(mode, page);
    let mut reader = world.open();
    // Before that, a killed agent begins at the end of the log, and reads the tables.
    reader.catch_up().await.unwrap();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Commit(commands) => {
                let transaction = world.database.begin();
                for (first, id, what) in commands {
                    let what = if mode == "rowversion" && what == 2 {
                        0
                    } else {
                        what
                    };
                    command(&transaction, TABLES[usize::from(first)], id, what, n);
                }
                transaction.commit().unwrap();
            }
            Step::Capture(count) => {
                world.database.capture(count);
            }
            Step::Batches(count) => {
                // As many as there are.
                for _ in 0..count {
                    let wait = std::time::Duration::from_millis(5);
                    match tokio::time::timeout(wait, reader.batch()).await {
                        Ok(Err(SourceError::Disconnected(_))) => reader.stream = None,
                        Ok(other) => drop(other.unwrap()),
                        Err(_) => break,
                    }
                }
            }
            Step::Kill => reader.kill(&world),
            Step::KillWithin(part) => reader.kill_within(&world, part),
            Step::Cut => reader.stream = None,
            Step::CatchUp => drop(reader.catch_up().await.unwrap()),
        }
    }
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    let mut rows = Rows::default();
    apply(&mut rows, &reader.told);
    for table in TABLES {
        prop_assert_eq!(
            rows.of(table),
            truth(&world.database, table),
            "{} {}",
            mode,
            page
        );
    }
    check_order(&reader, mode)
}

/// Nothing is told twice where the log itself tells, and every place is new.
fn check_order(reader: &Reader, mode: &str) -> Result<(), TestCaseError> {
    let rising = reader.told.is_sorted_by(|a, b| a.position < b.position);
    prop_assert!(rising, "places rise over all crashes");
    if mode.starts_with("cdc") {
        // An insert of a row that is there, or an update or delete of one that is not, is a change told twice
        // or lost.
        let mut there = std::collections::BTreeSet::new();
        for change in &reader.told {
            let key = (change.table().clone(), change.key());
            let fits = match change.op {
                Op::Insert => there.insert(key),
                Op::Delete => there.remove(&key),
                _ => there.contains(&key),
            };
            prop_assert!(fits, "{:?} of {}", change.op, change.table());
        }
    }
    Ok(())
}

fn run(mode: &str, cases: u32) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let pages = prop_oneof![Just(1_u64), Just(2), Just(3), Just(50)];
    proptest!(config, |(steps in steps(), page in pages)| {
        runtime.block_on(play(mode, page, steps))?;
    });
}

#[test]
fn captured_changes_end_with_what_the_database_has() {
    run("cdc", 40);
}

#[test]
fn changes_by_function_end_with_what_the_database_has() {
    run("cdc-function", 25);
}

#[test]
fn tracked_changes_end_with_what_the_database_has() {
    run("tracking", 40);
}

#[test]
fn versioned_rows_end_with_what_the_database_has() {
    run("rowversion", 25);
}
