//! Events made of several tables' rows: whatever changes, in whatever order and however cut into
//! batches, they are what plain SQL over the final rows gives.
//!
//! `RELATION_CASES=n` runs more cases.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::assigning_clones,
    missing_docs,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod rules;
mod world;

use std::collections::BTreeMap;

use common::*;
use contract::{Origin, RowChange, Value};
use mappings::relate::{MemoryReplicas, Related, Relations, Replicas as _};
use mappings::{MapContext, MappingSet};
use oracle::{Wanted, wanted_orders, wanted_sets, wanted_stock};
use proptest::prelude::*;
use rules::{Shape, shape_of};
use world::{Step, World, step};

/// The agent's side: relations fed with the log, and what was told.
struct Agent {
    relations: Relations,
    replicas: MemoryReplicas,
    context: MapContext,
    /// Everything that came out, in order.
    out: Vec<String>,
    /// The last of each key; gone keys are not in it.
    told: BTreeMap<(String, String), serde_json::Value>,
}

impl Agent {
    fn new(file: &str) -> Self {
        let set = MappingSet::new(vec![load(file)]).unwrap();
        let mut replicas = MemoryReplicas::default();
        let (relations, _) = Relations::open(&set, None, &mut replicas).unwrap();
        Self {
            relations,
            replicas,
            context: context(),
            out: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Takes transactions; with `cut`, marks go to the store after every so many changes, and
    /// work is done in small pieces.
    fn take(&mut self, log: &[(Vec<RowChange>, bool)], cut: bool) {
        let mut stored = self.has_marks();
        for (n, (changes, cut_here)) in log.iter().enumerate() {
            let mut pending = self.relations.pending(stored);
            for change in changes {
                let at = self.context.read_at;
                self.relations
                    .apply(change, Origin::Live, at, &mut pending, &mut self.replicas)
                    .unwrap();
                if cut && *cut_here {
                    // As after a restart within the transaction.
                    self.relations
                        .keep(&mut pending, &mut self.replicas)
                        .unwrap();
                    pending = self.relations.pending(true);
                }
            }
            let limit = if cut { 1 + n % 3 } else { 10_000 };
            loop {
                let flushed = self
                    .relations
                    .flush(
                        &mut pending,
                        &|_| true,
                        &self.context,
                        limit,
                        &mut self.replicas,
                    )
                    .unwrap();
                for related in flushed.related {
                    self.publish(related);
                }
                if !flushed.more {
                    break;
                }
                pending = self.relations.pending(true);
            }
            stored = self.has_marks();
        }
    }

    /// Works out what is marked.
    fn settle(&mut self) {
        self.take(&[(Vec::new(), false)], false);
    }

    /// Lets pass all the time that something waits for.
    fn wait(&mut self) {
        while let Some(due) = self.replicas.next_due().unwrap() {
            self.context.read_at = due;
            self.settle();
        }
    }

    fn has_marks(&mut self) -> bool {
        self.replicas.has_marks().unwrap()
    }

    fn publish(&mut self, related: Related) {
        match related {
            Related::Event { event, .. } => {
                let key = event.envelope.key.text();
                let place = (event.envelope.event_type.name().to_owned(), key);
                self.out.push(event.json());
                match &event.body {
                    Some(body) => {
                        let body = serde_json::from_str(&body.json()).unwrap();
                        self.told.insert(place, body);
                    }
                    None => {
                        self.told.remove(&place);
                    }
                }
            }
            Related::Held { held, .. } => {
                self.out
                    .push(format!("held {} {}", held.row_key, held.reason));
            }
            Related::Settled { .. } => {}
        }
    }
}

fn compare(event_type: &str, wanted: &BTreeMap<String, Wanted>, agent: &Agent) {
    for (key, wanted) in wanted {
        let Wanted::Body(fields) = wanted else {
            continue;
        };
        let place = (event_type.to_owned(), key.clone());
        let body = agent.told.get(&place);
        for (name, value) in fields {
            let found = body.and_then(|body| body.get(*name));
            assert_eq!(found, Some(value), "{event_type} {key} {name}");
        }
    }
    for (kind, key) in agent.told.keys() {
        // What waits for a person keeps what was told before.
        assert!(
            kind != event_type || wanted.contains_key(key),
            "{kind} {key} should be gone"
        );
    }
}

fn cases() -> u32 {
    let wanted = std::env::var("RELATION_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn events_are_what_sql_gives_over_the_final_rows(
        shape in shape_of(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let file = shape.file();
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let mut agent = Agent::new(&file);
        agent.take(&world.log, false);
        agent.wait();
        compare("inventory.availability.v1", &wanted_stock(&shape, &world.db), &agent);
        compare("product.v1", &wanted_sets(&world.db), &agent);
        compare("order.v1", &wanted_orders(&shape, &world.db), &agent);
        let mut cut = Agent::new(&file);
        cut.take(&world.log, true);
        cut.wait();
        prop_assert_eq!(agent.out, cut.out, "the same changes, cut otherwise");
    }
}

/// Joins and sums that leave no row out.
fn plain() -> Shape {
    Shape {
        item_missing: 1,
        with_uom: false,
        with_need: true,
        need_kind: false,
        need_join: false,
        grouped: false,
        by_zone: false,
        flag_filter: false,
        active_filter: false,
        gone: false,
        history: false,
        cust_missing: 1,
        line_filter: false,
        narrow: false,
    }
}

/// An agent that has told of one row of stock, and that row's change.
fn told() -> (Agent, RowChange) {
    let mut agent = Agent::new(&plain().file());
    let mut world = World::new();
    world.step(&Step {
        table: 0,
        cells: vec![Some(1); 6],
        delete: false,
        more: false,
        cut: false,
    });
    agent.take(&world.log, false);
    assert_eq!(agent.told.len(), 1, "{:?}", agent.out);
    let change = world.log[0].0[0].clone();
    (agent, change)
}

#[test]
fn nothing_is_worked_out_before_its_tables_are_read() {
    let mut agent = Agent::new(&plain().file());
    let mut world = World::new();
    world.step(&Step {
        table: 0,
        cells: vec![Some(1); 6],
        delete: false,
        more: false,
        cut: false,
    });
    let mut pending = agent.relations.pending(false);
    for (changes, _) in &world.log {
        for change in changes {
            agent
                .relations
                .apply(
                    change,
                    Origin::Snapshot,
                    agent.context.read_at,
                    &mut pending,
                    &mut agent.replicas,
                )
                .unwrap();
        }
    }
    let unread = |table: &contract::TableName| table.name != "need";
    let flushed = agent
        .relations
        .flush(
            &mut pending,
            &unread,
            &agent.context,
            100,
            &mut agent.replicas,
        )
        .unwrap();
    assert!(flushed.related.is_empty(), "{:?}", flushed.related);
    assert!(agent.has_marks(), "what is marked waits in the store");
    let mut pending = agent.relations.pending(true);
    let flushed = agent
        .relations
        .flush(
            &mut pending,
            &|_| true,
            &agent.context,
            100,
            &mut agent.replicas,
        )
        .unwrap();
    assert!(
        flushed
            .related
            .iter()
            .any(|related| matches!(related, Related::Event { .. }))
    );
    assert!(!agent.has_marks());
}

#[test]
fn what_a_whole_read_did_not_find_is_gone() {
    let (mut agent, change) = told();
    // As after a resync: rows are forgotten, what was told is not, and the read finds none.
    let set = MappingSet::new(vec![load(&plain().file())]).unwrap();
    let columns: Vec<String> = set
        .tables()
        .into_iter()
        .find(|captured| captured.table.name == "stock")
        .unwrap()
        .columns;
    let stock = agent.replicas.open_table(change.table(), &columns).unwrap();
    assert!(!stock.grown);
    let key = change.key().unwrap();
    agent.replicas.remove(stock.id, key.as_str()).unwrap();
    let mut position = change.position.clone();
    position.seq += 1;
    let other = contract::TableName::new("public", "item");
    agent
        .relations
        .read_whole(&other, &position, &mut agent.replicas)
        .unwrap();
    assert!(!agent.has_marks(), "another table says nothing about stock");
    agent
        .relations
        .read_whole(change.table(), &position, &mut agent.replicas)
        .unwrap();
    agent.settle();
    assert!(agent.told.is_empty(), "{:?}", agent.out);
}

#[test]
fn a_cell_no_change_told_comes_from_an_overtaken_row() {
    let (mut agent, change) = told();
    let row = change.after.clone().unwrap();
    // A change that leaves out the quantity, of a row nobody had read.
    let mut part = row.clone();
    (part[0], part[1], part[3]) = (Value::Int(9), text("D"), Value::Unchanged);
    let mut update = change.clone();
    (update.op, update.after) = (contract::Op::Update, Some(part.clone()));
    update.position.seq += 1;
    agent.take(&[(vec![update.clone()], false)], false);
    assert!(
        agent.out.last().unwrap().starts_with("held 9 "),
        "{:?}",
        agent.out
    );
    let mut read = update.clone();
    (part[2], part[3]) = (text("D"), Value::Int(3));
    (read.op, read.after) = (contract::Op::Read, Some(part));
    agent
        .relations
        .complete(&read, &mut agent.replicas)
        .unwrap();
    // Told cells stay; the next change of the row finds the one that was missing.
    let mut again = row;
    (again[0], again[1], again[3], again[4]) =
        (Value::Int(9), text("D"), Value::Unchanged, Value::Int(0));
    (update.after, update.position.seq) = (Some(again), update.position.seq + 1);
    agent.take(&[(vec![update], false)], false);
    let key = ("inventory.availability.v1".to_owned(), "C|D|B".to_owned());
    assert_eq!(agent.told[&key]["on_hand"], "3", "{:?}", agent.out);
}
