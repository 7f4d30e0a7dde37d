//! Questions of `read`: none is lost, each key is asked in its turn.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use contract::{LogPos, Op, Origin, Position, RowChange, TableName, TableShape, Value};
use mappings::MappingSet;
use mappings::relate::{
    Answer, MemoryReplicas, Questions, Related, Relations, Replicas as _, Turn,
};

use crate::common::*;

const FILE: &str = r#"
mapping: 1
pack: p
pack_version: "1"
company: ACME
source: postgres
tables: {stock: {name: stock, key: [id]}, item: {name: item, key: [id]}}
events:
  - id: stock
    emit: inventory.availability.v1
    read:
      sql: select item, qty from v where item = :item
      columns: [item, qty]
      touch:
        - {table: stock, give: {item: stock.item}}
        - {table: item, give: {item: item.id}}
    key: {sku: item, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: qty, allocated: 0, active: true}
"#;

struct Asking {
    relations: Relations,
    replicas: MemoryReplicas,
    at: u64,
}

impl Asking {
    fn new(file: &str) -> Self {
        let mut replicas = MemoryReplicas::default();
        let set = MappingSet::new(vec![load(file)]).unwrap();
        let (relations, _) = Relations::open(&set, None, &mut replicas).unwrap();
        Self {
            relations,
            replicas,
            at: 0,
        }
    }

    fn position(&self) -> Position {
        Position {
            epoch: 1,
            pos: LogPos::from_number(self.at),
            seq: 0,
        }
    }

    fn touch(&mut self, table: &str, id: i64, column: &str, item: &Value) {
        self.at += 1;
        let id = Value::Int(id);
        let (columns, row) = if column == "id" {
            (vec!["id"], vec![item.clone()])
        } else {
            (vec!["id", column], vec![id, item.clone()])
        };
        let change = RowChange {
            shape: Arc::new(TableShape {
                table: TableName::new("public", table),
                columns: columns.into_iter().map(str::to_owned).collect(),
                key: vec![0],
            }),
            op: Op::Insert,
            before: None,
            after: Some(row),
            position: self.position(),
            committed_at: None,
            transaction: self.at,
        };
        let mut pending = self.relations.pending(true);
        self.relations
            .apply(
                &change,
                Origin::Live,
                context().read_at,
                &mut pending,
                &mut self.replicas,
            )
            .unwrap();
        self.relations
            .keep(&mut pending, &mut self.replicas)
            .unwrap();
    }

    fn next(&mut self, turn: &Turn, limit: usize) -> Option<Questions> {
        self.relations
            .questions(turn, &|_| true, limit, &mut self.replicas)
            .unwrap()
    }

    fn answer(&mut self, questions: &Questions, answers: &[Answer]) -> Vec<Related> {
        let mut pending = self.relations.pending(true);
        let replicas = &mut self.replicas;
        let mut related = self
            .relations
            .answered(questions, answers, &mut pending, replicas)
            .unwrap();
        let flushed = self
            .relations
            .flush(&mut pending, &|_| true, &context(), 100, replicas)
            .unwrap();
        related.extend(flushed.related);
        related
    }
}

fn item(code: &str) -> Value {
    Value::Text(code.to_owned())
}

fn qty(code: &str, qty: i64) -> Answer {
    Answer::Rows(vec![vec![item(code), Value::Int(qty)]])
}

fn asked(questions: &Questions) -> Vec<String> {
    let all: Vec<usize> = (0..questions.len()).collect();
    let query = questions.query(&all);
    let first = query.parameters.iter().map(|(_, value)| value.clone());
    let values = first.chain(query.more.into_iter().flatten());
    values
        .map(|value| value.text().unwrap_or_default())
        .collect()
}

fn events(related: &[Related]) -> Vec<String> {
    let events = related.iter().filter_map(|related| match related {
        Related::Event { event, .. } => {
            let body = event.body.as_ref().map(contract::Body::json);
            let on_hand = body.map(|body| {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                body["on_hand"].as_str().unwrap().to_owned()
            });
            let gone = || "gone".to_owned();
            let version = &event.envelope.version;
            Some(format!(
                "{} {} at {version}",
                event.envelope.key.text(),
                on_hand.unwrap_or_else(gone)
            ))
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn a_key_that_changes_while_it_is_asked_is_asked_again() {
    let mut asking = Asking::new(FILE);
    asking.touch("stock", 1, "item", &item("A"));
    let first = asking.next(&None, 10).unwrap();
    assert_eq!(asked(&first), ["A"]);
    // Nothing forgets it before its answer is there.
    assert_eq!(asked(&asking.next(&None, 10).unwrap()), ["A"]);
    asking.touch("stock", 2, "item", &item("A"));
    let told = asking.answer(&first, &[qty("A", 5)]);
    assert_eq!(events(&told).len(), 1);
    let second = asking.next(&first.turn(), 10).unwrap();
    assert_eq!(asked(&second), ["A"]);
    let told = asking.answer(&second, &[qty("A", 4)]);
    assert!(events(&told)[0].starts_with("ACME|A|MAIN 4"), "{told:?}");
    assert!(asking.next(&None, 10).is_none());
}

#[test]
fn one_key_is_asked_once_whatever_touches_it_and_in_its_turn() {
    let mut asking = Asking::new(FILE);
    // A number is a number, whichever type a table has it in.
    asking.touch("stock", 1, "item", &Value::Int(7));
    asking.touch("item", 0, "id", &Value::Decimal("7.0".parse().unwrap()));
    for (n, code) in ["A", "B", "C"].into_iter().enumerate() {
        asking.touch("stock", 10 + i64::try_from(n).unwrap(), "item", &item(code));
    }
    asking.touch("stock", 20, "item", &Value::Null);
    let mut turn = None;
    let mut all = Vec::new();
    for _ in 0..3 {
        let some = asking.next(&turn, 2).unwrap();
        turn = some.turn();
        all.extend(asked(&some));
        let later = vec![Answer::Later; some.len()];
        assert_eq!(asking.answer(&some, &later).len(), 0);
    }
    // A round comes to everyone before it comes to anyone again.
    assert_eq!(all, ["A", "B", "C", "7", "A", "B"]);
}

#[test]
fn what_is_refused_is_held_by_its_question_until_it_is_answered() {
    let mut asking = Asking::new(FILE);
    asking.touch("stock", 1, "item", &item("A"));
    asking.touch("stock", 2, "item", &Value::Invalid("not a text".to_owned()));
    let both = asking.next(&None, 10).unwrap();
    let doubts: Vec<Option<String>> = (0..2).map(|n| both.doubt(n)).collect();
    assert_eq!(doubts[0], None);
    assert!(doubts[1].as_ref().unwrap().contains(":item has no value"));
    let told = asking.answer(&both, &[Answer::Refused("no".to_owned()), Answer::Later]);
    let [Related::Held { held, .. }] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(held.row_key, r#"["A"]"#);
    assert_eq!(held.row_json, r#"{"asked":{"item":"A"}}"#);
    asking.touch("stock", 1, "item", &item("A"));
    let again = asking.next(&both.turn(), 10).unwrap();
    assert_eq!(asked(&again)[0], "A");
    let told = asking.answer(&again, &[qty("A", 1), Answer::Later]);
    let settled = |related: &Related| matches!(related, Related::Settled { row_key, .. } if row_key == r#"["A"]"#);
    assert!(told.iter().any(settled), "{told:?}");
}

/// After a table was read anew, what its rows do not ask for any more is asked once, at the end.
#[test]
fn a_whole_read_asks_for_what_it_did_not_find() {
    let mut asking = Asking::new(FILE);
    for (n, code) in [(1, "A"), (2, "B")] {
        asking.touch("stock", n, "item", &item(code));
    }
    let both = asking.next(&None, 10).unwrap();
    asking.answer(&both, &[qty("A", 1), qty("B", 1)]);
    assert!(asking.next(&None, 10).is_none());
    // As a resync leaves it: what was told is known, the answers are not.
    let columns = ["item".to_owned(), "qty".to_owned()];
    let answers = TableName::new("", "answers of stock");
    let answers = asking.replicas.open_table(&answers, &columns).unwrap();
    assert!(!answers.grown);
    for code in ["A", "B"] {
        let row = format!(r#"["{code}"] ["{code}"]"#);
        assert!(asking.replicas.row(answers.id, &row).unwrap().is_some());
        asking.replicas.remove(answers.id, &row).unwrap();
    }
    asking.touch("stock", 1, "item", &item("A"));
    let (read, position) = (TableName::new("public", "stock"), asking.position());
    asking
        .relations
        .read_whole(&read, &position, &mut asking.replicas)
        .unwrap();
    let first = asking.next(&None, 10).unwrap();
    assert_eq!(asked(&first), ["A"]);
    asking.answer(&first, &[qty("A", 1)]);
    // While a table is not read whole, nothing is concluded.
    let unread = asking
        .relations
        .questions(&None, &|_| false, 10, &mut asking.replicas);
    assert!(unread.unwrap().is_none());
    let rest = asking.next(&None, 10).unwrap();
    assert_eq!(asked(&rest), ["B"]);
    let told = asking.answer(&rest, &[Answer::Rows(Vec::new())]);
    assert!(events(&told)[0].starts_with("ACME|B|MAIN gone"), "{told:?}");
    assert!(asking.next(&None, 10).is_none());
}
