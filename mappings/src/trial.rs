//! Trying a mapping without a source and without a destination: changes in, events out, and the
//! tests that stand in mapping files.

use std::collections::HashMap;
use std::sync::Arc;

use contract::event::{OUT_OF_SCOPE, SOFT_FLAG};
use contract::{
    Event, EventKind, EventOp, EventType, Finding, LogPos, Node, NodeKind, Op, Origin, Place,
    Position, ReadRows, RowChange, RowKey, TableName, TableShape, Value,
};
use jiff::Timestamp;

use crate::expected::{differences, named, shown};
use crate::given::{Given, GivenAnswers, GivenRow, Step};
use crate::relate::{
    Answer, Look, MemoryReplicas, Questions, Related, Relations, Replicas as _, Turn,
};
use crate::{HeldChange, LoadContext, MapContext, Mapper, Mapping, MappingSet, Pending, Which};

/// Questions asked together.
const ASKED: usize = 50;
/// Rows worked out in one go.
const PIECE: usize = 10_000;

/// What came of changes.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events that would be sent: not what was told already.
    pub events: Vec<Event>,
    /// What would be held.
    pub held: Vec<HeldChange>,
    /// Events left out because the same was told before.
    pub unchanged: usize,
}

impl Outcome {
    /// With what came of more changes.
    pub fn and(&mut self, more: Self) {
        self.events.extend(more.events);
        self.held.extend(more.held);
        self.unchanged += more.unchanged;
    }
}

/// A mapping at work on rows that are given to it.
pub struct Trial {
    mapper: Mapper,
    relations: Relations,
    replicas: MemoryReplicas,
    /// The next transaction follows before anything that waits is due.
    hurries: bool,
    context: MapContext,
    /// What was told last of each key.
    told: HashMap<(EventType, String), Option<Event>>,
    /// Rows as they are, for changes given by what is new.
    rows: HashMap<(TableName, String), (Arc<TableShape>, Vec<Value>)>,
    /// What the statements of `read` give, by event.
    answers: HashMap<String, GivenAnswers>,
    next: u64,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "trial after {} transactions", self.next)
    }
}

impl Trial {
    /// A trial of rules, on rows that came from a database.
    pub fn new(set: Arc<MappingSet>) -> Self {
        let mut replicas = MemoryReplicas::default();
        let Ok((relations, _)) = Relations::open(&set, None, &mut replicas);
        Self {
            mapper: Mapper::new(set),
            relations,
            replicas,
            context: MapContext {
                tenant: Arc::from("trial"),
                source: Arc::from("trial"),
                read_at: Timestamp::UNIX_EPOCH,
                origin: Origin::Live,
            },
            hurries: false,
            told: HashMap::new(),
            rows: HashMap::new(),
            answers: HashMap::new(),
            next: 1,
        }
    }

    /// A trial that can be looked into: rules of one row work like those of several.
    pub fn to_look_at(set: &MappingSet) -> Self {
        let mut replicas = MemoryReplicas::default();
        let Ok(relations) = Relations::open_all(set, &mut replicas);
        let none = Arc::new(set.only(&[]));
        Self {
            relations,
            replicas,
            ..Self::new(none)
        }
    }

    /// What a row of a rule's own table makes, step by step; `None` where there is no such row.
    pub fn look(&mut self, rule: &str, row_key: &str) -> Option<Look> {
        self.relations.look(rule, row_key, &mut self.replicas)
    }

    /// The rows that a rule's statement gave.
    pub fn answered_rows(&mut self, rule: &str) -> Vec<String> {
        self.relations.answered_rows(rule, &mut self.replicas)
    }

    /// A trial on rows that a person wrote down.
    pub fn of_test(set: &MappingSet) -> Self {
        Self::new(Arc::new(set.untyped()))
    }

    /// What the statement of a rule's `read` gives from now on.
    pub fn answer(&mut self, answers: GivenAnswers) {
        self.answers.insert(answers.event.clone(), answers);
    }

    /// One step of a test: one transaction, and all the time that something waits for, unless
    /// the next one follows at once.
    pub fn step(&mut self, step: &Step, next: Option<&Step>) -> Outcome {
        self.hurries = next.is_some_and(|next| next.at_once);
        self.change(&step.rows, &step.deleted)
    }

    /// One transaction: rows that are new or changed, and rows that are removed.
    fn change(&mut self, rows: &[GivenRow], deleted: &[GivenRow]) -> Outcome {
        let mut changes = Vec::new();
        for given in deleted {
            let (shape, row) = of_given(given);
            let Some(key) = RowKey::of(&shape, &row) else {
                continue;
            };
            if let Some((shape, old)) = self.rows.remove(&place(given, &key)) {
                changes.push((shape, Op::Delete, Some(old), None));
            }
        }
        for given in rows {
            let (shape, row) = of_given(given);
            let Some(key) = RowKey::of(&shape, &row) else {
                changes.push((shape, Op::Insert, None, Some(row)));
                continue;
            };
            let now = (Arc::clone(&shape), row.clone());
            let before = self.rows.insert(place(given, &key), now);
            // A row given again may name other columns.
            let before = before.filter(|(known, _)| known.columns == shape.columns);
            match before {
                Some((_, old)) => changes.push((shape, Op::Update, Some(old), Some(row))),
                None => changes.push((shape, Op::Insert, None, Some(row))),
            }
        }
        let mut all = Vec::with_capacity(changes.len());
        for (n, (shape, op, before, after)) in changes.into_iter().enumerate() {
            all.push(RowChange {
                shape,
                op,
                before,
                after,
                position: Position {
                    epoch: 1,
                    pos: LogPos::from_number(self.next),
                    seq: u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1),
                },
                committed_at: None,
                transaction: self.next,
            });
        }
        self.next += 1;
        self.transaction(&all)
    }

    /// One transaction of a source, whose database is asked by nobody: see [`Trial::questions`].
    pub fn take_changes(&mut self, changes: &[RowChange]) -> Outcome {
        let mut outcome = Outcome::default();
        let Ok(stored) = self.replicas.has_marks();
        let mut pending = self.relations.pending(stored);
        for change in changes {
            let mapped = self.mapper.apply(change, &self.context);
            for draft in mapped.drafts {
                let zero_first = draft.zero_first();
                let envelope = draft.envelope();
                let place = (envelope.event_type, envelope.key.text());
                let known = self.told.get(&place).and_then(Option::as_ref);
                match draft.finish(known.and_then(|event| event.body.as_ref())) {
                    Ok(event) => self.publish(event, zero_first, &mut outcome),
                    Err(held) => outcome.held.push(*held),
                }
            }
            outcome.unchanged += mapped.rewritten.len();
            outcome.held.extend(mapped.held);
            let Ok(()) = self.relations.apply(
                change,
                Origin::Live,
                self.context.read_at,
                &mut pending,
                &mut self.replicas,
            );
        }
        self.flush(&mut pending, &mut outcome);
        outcome
    }

    /// What the source's database is to be asked next.
    pub fn questions(&mut self, turn: &Turn) -> Option<Questions> {
        let replicas = &mut self.replicas;
        let Ok(questions) = self.relations.questions(turn, &|_| true, ASKED, replicas);
        questions
    }

    /// Takes the database's answers over.
    pub fn answered(&mut self, questions: &Questions, answers: &[Answer]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut pending = self.relations.pending(true);
        let replicas = &mut self.replicas;
        let Ok(related) = self
            .relations
            .answered(questions, answers, &mut pending, replicas);
        self.take(related, &mut outcome);
        self.flush(&mut pending, &mut outcome);
        outcome
    }

    /// One transaction of a source; a database's answers are those that are given.
    pub fn transaction(&mut self, changes: &[RowChange]) -> Outcome {
        let mut outcome = self.take_changes(changes);
        let mut turn = None;
        while let Some(questions) = self.questions(&turn) {
            turn = questions.turn();
            let asked = 0..questions.len();
            let answers: Vec<Answer> = asked
                .map(|question| self.answer_to(&questions, question))
                .collect();
            outcome.and(self.answered(&questions, &answers));
        }
        outcome
    }

    fn flush(&mut self, pending: &mut Pending, outcome: &mut Outcome) {
        loop {
            let Ok(flushed) =
                self.relations
                    .flush(pending, &|_| true, &self.context, PIECE, &mut self.replicas);
            self.take(flushed.related, outcome);
            if flushed.more {
                continue;
            }
            let Ok(due) = self.replicas.next_due();
            let due = due.filter(|due| *due > self.context.read_at && !self.hurries);
            let Some(due) = due else {
                return;
            };
            self.context.read_at = due;
            *pending = self.relations.pending(true);
        }
    }

    fn take(&mut self, related: Vec<Related>, outcome: &mut Outcome) {
        for related in related {
            match related {
                Related::Event {
                    event, zero_first, ..
                } => self.publish(*event, zero_first, outcome),
                Related::Held { held, .. } => outcome.held.push(*held),
                Related::Settled { .. } => {}
            }
        }
    }

    /// The given rows that hold a question's values under its parameters' names.
    fn answer_to(&self, questions: &Questions, question: usize) -> Answer {
        if let Some(doubt) = questions.doubt(question) {
            return Answer::Refused(doubt);
        }
        let (event, _) = questions
            .name
            .split_once('@')
            .unwrap_or((&questions.name, ""));
        let given = self.answers.get(event).map_or(&[][..], |given| &given.rows);
        let query = questions.query(&[question]);
        let mut columns: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for row in given {
            let cell = |name: &str| {
                let cell = row.iter().find(|(column, _)| column == name);
                cell.map(|(_, value)| value)
            };
            let mut answers = true;
            for (name, value) in &query.parameters {
                let Some(given) = cell(name) else {
                    let why = format!("read: a given row does not say its `{name}`");
                    return Answer::Refused(why);
                };
                answers &= given.text() == value.text();
            }
            if answers {
                if columns.is_empty() {
                    columns = row.iter().map(|(column, _)| column.clone()).collect();
                }
                let cells = columns.iter().map(|name| cell(name).cloned());
                rows.push(cells.map(|value| value.unwrap_or(Value::Null)).collect());
            }
        }
        if rows.is_empty() {
            return Answer::Rows(rows);
        }
        let answer = ReadRows::of(&query, columns, rows, None);
        let rows = answer.map_err(|error| error.to_string());
        match rows.and_then(|answer| questions.rows(1, &answer)) {
            Ok(rows) => Answer::Rows(rows.into_iter().next().unwrap_or_default()),
            Err(why) => Answer::Refused(format!("read: {why}")),
        }
    }

    /// As the store does: what was told already is not told again, and where zero goes first it
    /// goes before the tombstone.
    fn publish(&mut self, mut event: Event, zero_first: bool, outcome: &mut Outcome) {
        if event.kind() == EventKind::Fact {
            outcome.events.push(event);
            return;
        }
        let place = (event.envelope.event_type, event.envelope.key.text());
        let known = self.told.get(&place);
        let never = matches!(known, None | Some(None));
        let silent = matches!(event.envelope.reason, Some(OUT_OF_SCOPE | SOFT_FLAG));
        let gone = event.envelope.op == EventOp::Delete;
        let same = matches!(known, Some(Some(known)) if known.body_digest == event.body_digest);
        if same || (never && gone && (silent || known.is_none())) {
            outcome.unchanged += 1;
            return;
        }
        if let Some(told) = known.and_then(|known| known.as_ref()?.body.as_ref())
            && zero_first
            && gone
            && let Some((zero, tombstone)) = event.zero_first(told)
        {
            outcome.events.push(zero);
            event = tombstone;
        }
        self.told.insert(place, Some(event.clone()));
        outcome.events.push(event);
    }
}

fn place(given: &GivenRow, key: &RowKey) -> (TableName, String) {
    (given.table.clone(), key.as_str().to_owned())
}

fn of_given(given: &GivenRow) -> (Arc<TableShape>, Vec<Value>) {
    let columns: Vec<String> = given.cells.iter().map(|(name, _)| name.clone()).collect();
    let at = |column: &String| columns.iter().position(|known| known == column);
    let shape = TableShape {
        table: given.table.clone(),
        // A test may leave out parts of a key that do not matter to it.
        key: given.key.iter().filter_map(at).collect(),
        columns: columns.clone(),
    };
    let row = given.cells.iter().map(|(_, value)| match value {
        // Keys are compared as texts; a number and its text are one row.
        Value::Decimal(number) => match number.to_string().parse() {
            Ok(whole) => Value::Int(whole),
            Err(_) => Value::Decimal(*number),
        },
        other => other.clone(),
    });
    (Arc::new(shape), row.collect())
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestResult {
    /// The test.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// What was not as expected; empty = passed.
    pub failures: Vec<Finding>,
}

/// Runs the tests that stand in a mapping file.
///
/// # Errors
/// What is wrong with the file.
pub fn test_file(
    file: &str,
    text: &str,
    context: LoadContext<'_>,
) -> Result<Vec<TestResult>, Vec<Finding>> {
    let first = Mapping::load_with(
        file,
        text,
        LoadContext {
            company: Which::First,
            ..context
        },
    )?;
    // Compiled once for each company and each set of answers.
    let mut loaded: HashMap<With<'_>, Result<Loaded, Vec<Finding>>> = HashMap::new();
    let mut results = Vec::new();
    for (n, test) in first.tests().iter().enumerate() {
        let company = test.company.as_deref();
        let company = company.filter(|company| !first.has_company(company));
        let with = loaded.entry((company, answers(test))).or_insert_with(|| {
            if company.is_none() && test.settings.is_empty() {
                return Loaded::of(first.clone());
            }
            let company = company.map_or(Which::First, Which::Named);
            let context = LoadContext { company, ..context };
            let settings = &test.settings;
            Loaded::of(Mapping::load_with_answers(file, text, context, settings)?)
        });
        results.push(match with {
            // The same test, its rows in the tables that these answers name.
            Ok(with) => run(&with.set, with.tests.get(n).unwrap_or(test)),
            Err(findings) if test.settings.is_empty() => return Err(findings.clone()),
            // What the file means with these answers is this test's matter alone.
            Err(findings) => TestResult {
                name: test.name.clone(),
                place: test.place.clone(),
                failures: findings.clone(),
            },
        });
    }
    Ok(results)
}

/// A file with one company and one set of answers.
struct Loaded {
    set: MappingSet,
    tests: Vec<Given>,
}

impl Loaded {
    fn of(mapping: Mapping) -> Result<Self, Vec<Finding>> {
        let tests = mapping.tests().to_vec();
        let set = MappingSet::new(vec![mapping])?;
        Ok(Self { set, tests })
    }
}

/// A company, and answers to settings without their places.
type With<'t> = (Option<&'t str>, Vec<(&'t str, String)>);

fn answers(test: &Given) -> Vec<(&str, String)> {
    let said = test.settings.iter();
    let mut said: Vec<(&str, String)> = said
        .map(|(key, node)| (key.name.as_str(), answer(node)))
        .collect();
    said.sort();
    said
}

fn answer(node: &Node) -> String {
    match &node.kind {
        NodeKind::List(items) => {
            let items: Vec<String> = items.iter().map(answer).collect();
            format!("[{}]", items.join(", "))
        }
        kind => format!("{kind:?}"),
    }
}

fn run(set: &MappingSet, test: &Given) -> TestResult {
    let mut trial = Trial::of_test(set);
    let mut failures = Vec::new();
    for (n, step) in test.steps.iter().enumerate() {
        let what = match n {
            0 => test.name.clone(),
            n => format!("{}, then {n}", test.name),
        };
        let fail = |place: &Place, found: String| Finding {
            place: Some(Box::new(place.clone())),
            ..Finding::fail(what.clone(), found)
        };
        for answers in &step.answers {
            if !set.reads(&answers.event) {
                let found = format!("no event `{}` has a `read`", answers.event);
                failures.push(fail(&step.place, found));
            }
            trial.answer(answers.clone());
        }
        let outcome = trial.step(step, test.steps.get(n + 1));
        let mut events: Vec<&Event> = outcome.events.iter().collect();
        for expected in &step.expect {
            let best = events
                .iter()
                .enumerate()
                .map(|(at, event)| (differences(expected, event), at))
                .min_by_key(|(differences, _)| differences.len());
            match best {
                Some((differences, at)) if differences.is_empty() => {
                    events.remove(at);
                }
                Some((differences, at)) => {
                    let event = events.remove(at);
                    let name = named(event);
                    let found = format!("{name}: {}", differences.join("; "));
                    failures.push(fail(&expected.place, found));
                }
                None => failures.push(fail(&expected.place, "no event came of it".to_owned())),
            }
        }
        for event in events {
            let found = format!("not expected: {}", shown(event));
            failures.push(fail(&step.place, found));
        }
        let mut held: Vec<&HeldChange> = outcome.held.iter().collect();
        for part in &step.held {
            let found = held
                .iter()
                .position(|held| held.reason.contains(part.as_str()));
            if let Some(at) = found {
                held.remove(at);
            } else {
                let found = format!("nothing is held because of `{part}`");
                failures.push(fail(&step.place, found));
            }
        }
        for held in held {
            failures.push(fail(&step.place, format!("held: {}", held.reason)));
        }
    }
    TestResult {
        name: test.name.clone(),
        place: test.place.clone(),
        failures,
    }
}
