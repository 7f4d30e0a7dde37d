//! What one event costs in the store, from the capture loop's commit to its delivery: statements that
//! SQLite runs for it, and steps of their programs. Both are the same on every machine; time is not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use contract::delivery::DeliveryEvent;
use contract::{Answer, EventType, FieldValue};
use rusqlite::StatementStatus;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::plans::{NOW, event};
use super::{Happened, PickLimits, Rules, Said, Turn, Turned};
use crate::Store;
use crate::capture::{CaptureCommit, Item, Published, Route};
use crate::steps::Steps;

/// Events of one commit, and of one turn.
const BATCH: usize = 100;
/// Commits and turns.
const BATCHES: u64 = 10;

/// Hundredths of statements and of steps that a delivered event may cost: about a fifth more than it did when this
/// was written. Before schema_8.sql those were 1,225 and 105,565.
const STATEMENTS_MAX: u64 = 1_100;
const STEPS_MAX: u64 = 79_000;

/// How often each statement ran, and the steps that its program took.
#[derive(Debug, Default)]
struct Cost(BTreeMap<String, (u64, u64)>);

impl Cost {
    fn note(&mut self, sql: &str, steps: u64) {
        let (times, all) = self.0.entry(sql.to_owned()).or_default();
        *times += 1;
        // SQLite counts on for as long as it keeps the statement.
        *all = steps.max(*all);
    }

    fn sum(&self, of: impl Fn(&(u64, u64)) -> u64) -> u64 {
        self.0.values().map(of).sum()
    }
}

/// A store whose statements are counted.
struct Counted {
    store: Store,
    steps: Steps,
    cost: Arc<Mutex<Cost>>,
}

impl Counted {
    fn new(folder: &std::path::Path) -> Self {
        let (store, mut steps) = Store::open_in_steps(folder).unwrap();
        let cost = Arc::new(Mutex::new(Cost::default()));
        let noted = Arc::clone(&cost);
        let note = move |event: TraceEvent<'_>| {
            if let TraceEvent::Profile(statement, _) = event {
                let steps = statement.get_status(StatementStatus::VmStep);
                let steps = u64::try_from(steps).unwrap();
                noted.lock().unwrap().note(&statement.sql(), steps);
            }
        };
        let codes = TraceEventCodes::SQLITE_TRACE_PROFILE;
        steps.connection().trace_v2(codes, Some(note)).unwrap();
        Self { store, steps, cost }
    }

    /// What is asked of the store, committed.
    async fn done<T>(
        steps: &mut Steps,
        asked: impl Future<Output = Result<T, crate::StoreError>>,
    ) -> T {
        let ((), done) = tokio::join!(
            async {
                assert!(steps.ready().await && steps.step(None));
            },
            asked
        );
        done.unwrap()
    }

    async fn commit(&mut self, source: i64, destination: i64, items: Vec<Item>) {
        let commit = CaptureCommit {
            changes: items.len() as u64,
            items,
            routes: Arc::from([Route {
                destination,
                event_types: Vec::new(),
            }]),
            ..CaptureCommit::default()
        };
        Self::done(
            &mut self.steps,
            self.store.commit_capture(source, commit, NOW),
        )
        .await;
    }

    async fn turn(&mut self, destination: i64, outcomes: Vec<Happened>) -> Turned {
        let turn = Turn {
            outcomes,
            pick: Some(PickLimits {
                events_max: BATCH,
                batches_max: 1,
                bytes_max: 10_000_000,
                request_timeout: std::time::Duration::from_secs(1),
            }),
            commands: true,
            ..Turn::at(NOW)
        };
        let rules = Arc::new(Rules::default());
        Self::done(&mut self.steps, self.store.turn(destination, turn, rules)).await
    }
}

/// Stock of a few hundred keys, over and over.
fn stock(batch: u64) -> Vec<Item> {
    (0..BATCH as u64)
        .map(|n| {
            let number = batch * BATCH as u64 + n;
            let key = format!("P{}", number % 700);
            let available = FieldValue::Decimal(i64::try_from(number % 13 * 7 + 1).unwrap().into());
            let fields = [("available", available)];
            let event = event(EventType::InventoryAvailability, &key, number + 1, &fields);
            Item::Event(Published {
                row_key: key,
                event,
                related: false,
                zero_first: false,
            })
        })
        .collect()
}

fn applied(turned: &Turned) -> Vec<Happened> {
    let one = |offset| Happened {
        offset,
        event: DeliveryEvent::Applied,
        said: Said::Applied,
        cause: None,
        answer: Some(Answer::default()),
    };
    turned.picked.iter().map(|out| one(out.offset)).collect()
}

#[tokio::test]
async fn an_event_costs_few_statements() {
    let folder = tempfile::tempdir().unwrap();
    let mut counted = Counted::new(folder.path());
    let source = Counted::done(&mut counted.steps, counted.store.source("erp"))
        .await
        .id;
    let shop = Counted::done(&mut counted.steps, counted.store.destination("shop")).await;
    let mut turned = counted.turn(shop, Vec::new()).await;
    std::mem::take(&mut *counted.cost.lock().unwrap());
    let mut delivered = 0;
    for batch in 0..BATCHES {
        counted.commit(source, shop, stock(batch)).await;
        turned = counted.turn(shop, applied(&turned)).await;
        delivered += turned.picked.len() as u64;
    }
    counted.turn(shop, applied(&turned)).await;
    assert_eq!(delivered, BATCHES * BATCH as u64);
    let cost = std::mem::take(&mut *counted.cost.lock().unwrap());
    let hundredths = |all: u64| all * 100 / delivered;
    let statements = hundredths(cost.sum(|one| one.0));
    let steps = hundredths(cost.sum(|one| one.1));
    let mut costly: Vec<_> = cost.0.iter().collect();
    costly.sort_by_key(|(_, (_, steps))| std::cmp::Reverse(*steps));
    let mut said =
        format!("an event costs {statements} hundredths of a statement and {steps} of a step:\n");
    for (sql, (times, steps)) in costly.into_iter().take(20) {
        let (times, steps) = (hundredths(*times), hundredths(*steps));
        writeln!(said, "{times:>6} {steps:>8}  {sql}").unwrap();
    }
    println!("{said}");
    assert!(statements <= STATEMENTS_MAX, "{said}");
    assert!(steps <= STEPS_MAX, "{said}");
}
