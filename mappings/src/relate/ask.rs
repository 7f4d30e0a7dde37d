//! Events of `read`: what a changed row touches becomes a question to the source's database, and
//! the rows of its answer are the event's own rows, kept in a replica like those of a table.
//!
//! A question waits in the store as a mark until its answer is there, so none is lost. A question
//! that is put again while it is asked stays and is asked again.

use std::time::Duration;

use contract::{Position, ReadQuery, ReadRows, TableName, Value};

use super::Relations;
use super::cells::{cells_from_text, cells_text};
use super::change::Pending;
use super::plan::{PAGE, RulePlan, TablePlan};
use super::read_mark;
use super::replicas::{Cell, Mark, Marked, Replicas};
use super::work::Work;
use crate::draft::HeldChange;
use crate::relate::Related;
use crate::rule::{Origin, Read, Touch};
use crate::set::MappingSet;
use crate::sql::{Stop, folded};

/// Waits behind all questions of a rule: what told something and was not answered is asked again.
const ASK_REST: &str = "?";
/// Waits behind all questions of a rule: what told something and was not answered is gone.
const END_REST: &str = "!";

/// Where a round over the waiting questions stands: a rule, and the question asked last.
pub type Turn = Option<(usize, String)>;

/// Questions of one rule, asked together.
#[derive(Debug, Clone)]
pub struct Questions {
    rule: usize,
    /// The rule's name.
    pub name: String,
    read: Read,
    /// Each question and its mark.
    asked: Vec<(String, Mark)>,
}

/// What became of one question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Rows, in the order of the columns the rule names.
    Rows(Vec<Vec<Value>>),
    /// The database refuses it: a person must look.
    Refused(String),
    /// To be asked again.
    Later,
}

impl Questions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Where the next round goes on.
    pub fn turn(&self) -> Turn {
        let (last, _) = self.asked.last()?;
        Some((self.rule, last.clone()))
    }

    /// The newest change behind a question, and its transaction.
    pub fn position(&self, question: usize) -> Option<(&Position, u64)> {
        let (_, mark) = self.asked.get(question)?;
        Some((&mark.position, mark.transaction))
    }

    /// Why a question cannot be put: a value of it cannot be worked out.
    pub fn doubt(&self, question: usize) -> Option<String> {
        let (key, _) = self.asked.get(question)?;
        let values = values(&self.read, key).unwrap_or_default();
        let mut named = self.read.names.iter().zip(&values);
        named.find_map(|(name, value)| match value {
            Value::Invalid(reason) => Some(format!("read, :{name} has no value: {reason}")),
            Value::Unchanged => Some(format!("read, :{name}: the log did not carry its column")),
            _ => None,
        })
    }

    /// The statement with the values of some questions.
    pub fn query(&self, questions: &[usize]) -> ReadQuery {
        let asked = questions.iter().filter_map(|n| self.asked.get(*n));
        let sets = asked.map(|(key, _)| values(&self.read, key).unwrap_or_default());
        self.read.query(sets.collect())
    }

    /// Most rows that one question may have.
    pub fn rows_max(&self) -> usize {
        self.read.rows_max
    }

    /// The statement with a null for every parameter: whether it can be asked at all.
    pub fn probe(&self) -> ReadQuery {
        self.read.query(Vec::new())
    }

    /// The rows of an answer in the order of the columns that the rule names, by question.
    ///
    /// # Errors
    /// When a column is not there, or stands there twice.
    pub fn rows(
        &self,
        questions: usize,
        answer: &ReadRows,
    ) -> Result<Vec<Vec<Vec<Value>>>, String> {
        let places = self.read.places(&answer.columns)?;
        let mut found: Vec<Vec<Vec<Value>>> = vec![Vec::new(); questions];
        for (row, question) in answer.rows.iter().zip(&answer.questions) {
            let cells = places.iter().filter_map(|at| row.get(*at).cloned());
            if let Some(rows) = found.get_mut(*question) {
                rows.push(cells.collect());
            }
        }
        Ok(found)
    }
}

/// A rule's statement, as it is tried before anything is asked.
#[derive(Debug, Clone)]
pub struct Statement {
    rule: String,
    probe: ReadQuery,
    read: Read,
}

impl Statement {
    /// The rule.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The statement with a null for every parameter.
    pub fn probe(&self) -> &ReadQuery {
        &self.probe
    }

    /// Whether an answer has the columns that the rule names.
    ///
    /// # Errors
    /// The column that is not there.
    pub fn fits(&self, answer: &ReadRows) -> Result<(), String> {
        self.read.places(&answer.columns).map(|_| ())
    }
}

impl MappingSet {
    /// The statements of its rules.
    pub fn statements(&self) -> Vec<Statement> {
        let rules = self.rules.iter().filter_map(|rule| {
            let read = rule.read.as_ref()?;
            Some(Statement {
                rule: rule.reference.rule.clone(),
                probe: read.query(Vec::new()),
                read: read.clone(),
            })
        });
        rules.collect()
    }
}

impl Read {
    /// Where the columns that are named stand in an answer; the database may write them in other
    /// cases.
    fn places(&self, columns: &[String]) -> Result<Vec<usize>, String> {
        let place = |name: &String| {
            let same = |fold: bool| {
                let equal =
                    |column: &String| column == name || fold && column.eq_ignore_ascii_case(name);
                let places = columns.iter().enumerate();
                let places = places.filter(|(_, column)| equal(column));
                places.map(|(at, _)| at).collect::<Vec<usize>>()
            };
            let exact = same(false);
            let found = if exact.is_empty() { same(true) } else { exact };
            match found.as_slice() {
                [at] => Ok(*at),
                [] => Err(format!(
                    "the statement gives no column \"{name}\"; it gives {}",
                    columns.join(", ")
                )),
                _ => Err(format!("the statement gives the column \"{name}\" twice")),
            }
        };
        self.columns.iter().map(place).collect()
    }

    /// The statement with values for its parameters.
    fn query(&self, mut sets: Vec<Vec<Value>>) -> ReadQuery {
        let questions = sets.len().max(1);
        let nulls = || self.names.iter().map(|_| Value::Null).collect();
        let first = if sets.is_empty() {
            nulls()
        } else {
            sets.remove(0)
        };
        ReadQuery {
            sql: self.sql.clone(),
            parameters: self.names.iter().cloned().zip(first).collect(),
            more: sets,
            rows_max: self.rows_max * questions,
            time_max: Duration::from_millis(self.time_max_ms),
        }
    }
}

impl Touch {
    /// The question that a row of the touched table puts; none for a row that it leaves out or
    /// whose values hold a null, which equals nothing.
    pub(super) fn question(
        &self,
        plan: &RulePlan,
        at: &TablePlan,
        cells: &[Cell],
    ) -> Option<String> {
        let mut work = Work::new(&plan.rule);
        work.fill(&at.cells, cells);
        if let Some(filter) = &self.filter
            && matches!(filter.expr.truth(&work.cells()), Ok(Some(false) | None))
        {
            return None;
        }
        let mut values = Vec::with_capacity(self.give.len());
        for give in &self.give {
            let value = match give.expr.value(&work.cells()) {
                Ok(value) if *value == Value::Null => return None,
                Ok(value) => value.into_owned(),
                Err(Stop::Wrong(reason)) => Value::Invalid(reason),
                Err(Stop::Unchanged) => Value::Unchanged,
            };
            values.push(Some(plain(plan, value)));
        }
        Some(cells_text(&values))
    }
}

/// One form for values that are equal, so that a key is asked once whichever table touched it.
fn plain(plan: &RulePlan, value: Value) -> Value {
    match &value {
        Value::Int(_) | Value::UInt(_) => match value.text().and_then(|text| text.parse().ok()) {
            Some(number) => Value::Decimal(number),
            None => value,
        },
        Value::Text(text) if plan.rule.cleaning.fold => Value::Text(folded(text)),
        _ => value,
    }
}

impl Relations {
    /// Whether some rule asks the source's database.
    pub fn ask(&self) -> bool {
        self.plan.rules.iter().any(|plan| plan.read().is_some())
    }

    /// The next questions in turn, at most `limit` and all of one rule; `ready` says whether a
    /// table has been read.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn questions<R: Replicas>(
        &self,
        turn: &Turn,
        ready: &dyn Fn(&TableName) -> bool,
        limit: usize,
        replicas: &mut R,
    ) -> Result<Option<Questions>, R::Error> {
        let count = self.plan.rules.len();
        let (first, after) = match turn {
            Some((rule, after)) => (*rule, Some(after.as_str())),
            None => (0, None),
        };
        // The rest of the rule whose turn it is, every other rule, and its beginning.
        for step in 0..=count {
            let rule = (first + step) % count.max(1);
            let after = after.filter(|_| step == 0);
            let Some(plan) = self.plan.rules.get(rule) else {
                continue;
            };
            let Some((read, id)) = plan.read() else {
                continue;
            };
            let mut asked = replicas.marks(id, Marked::Row, after, limit + 2)?;
            asked.retain(|(key, _)| key != ASK_REST && key != END_REST);
            asked.truncate(limit);
            if !asked.is_empty() {
                return Ok(Some(Questions {
                    rule,
                    name: plan.rule.reference.rule.clone(),
                    read: read.clone(),
                    asked,
                }));
            }
            if after.is_none() {
                let touched = plan.rule.tables(false);
                let whole = touched.iter().all(|table| ready(&table.table));
                if whole && self.rest(plan, id, read, replicas)? {
                    return self.questions(&None, ready, limit, replicas);
                }
            }
        }
        Ok(None)
    }

    /// What told something and was not answered, once everything else is; true where there is
    /// something to ask now.
    fn rest<R: Replicas>(
        &self,
        plan: &RulePlan,
        id: i64,
        read: &Read,
        replicas: &mut R,
    ) -> Result<bool, R::Error> {
        let waiting = replicas.marks(id, Marked::Row, None, 3)?;
        let rest = |key: &str| key == ASK_REST || key == END_REST;
        if waiting.is_empty() || waiting.iter().any(|(key, _)| !rest(key)) {
            return Ok(false);
        }
        let end = waiting.iter().any(|(key, _)| key == END_REST);
        let Some((_, mark)) = waiting.into_iter().next_back() else {
            return Ok(false);
        };
        let mut some = false;
        let mut after: Option<String> = None;
        loop {
            let rows = replicas.told_rows(plan.id, after.as_deref(), PAGE)?;
            for row in &rows {
                if self.answered_row(plan, row, replicas)? {
                    continue;
                }
                match question_of(row).filter(|key| !end && values(read, key).is_some()) {
                    Some(key) => {
                        replicas.mark(id, Marked::Row, key, &mark)?;
                        some = true;
                    }
                    None => replicas.mark(plan.id, Marked::Row, row, &mark)?,
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => after = Some(last.clone()),
                _ => break,
            }
        }
        replicas.unmark(id, Marked::Row, ASK_REST)?;
        replicas.unmark(id, Marked::Row, END_REST)?;
        Ok(some)
    }

    /// Whether a row stands in an answer.
    pub(super) fn answered_row<R: Replicas>(
        &self,
        plan: &RulePlan,
        row: &str,
        replicas: &mut R,
    ) -> Result<bool, R::Error> {
        let slot = plan.slots.first();
        let table = slot.and_then(|slot| slot.tables.first());
        let known = table.and_then(|table| self.plan.tables.get(table.table));
        match known {
            Some(known) => Ok(replicas.row(known.id, row)?.is_some()),
            None => Ok(false),
        }
    }

    /// Takes the answers over, and marks what they change. What they say of held questions is
    /// given back.
    ///
    /// # Errors
    /// When the replicas cannot be read or written.
    pub fn answered<R: Replicas>(
        &self,
        questions: &Questions,
        answers: &[Answer],
        pending: &mut Pending,
        replicas: &mut R,
    ) -> Result<Vec<Related>, R::Error> {
        let mut related = Vec::new();
        let Some(plan) = self.plan.rules.get(questions.rule) else {
            return Ok(related);
        };
        let Some((_, id)) = plan.read() else {
            return Ok(related);
        };
        for ((key, mark), answer) in questions.asked.iter().zip(answers) {
            let known = replicas.marked(id, Marked::Row, key)?;
            let same = |known: &Mark| {
                known.position == mark.position && known.transaction == mark.transaction
            };
            if known.as_ref().is_some_and(same) {
                replicas.unmark(id, Marked::Row, key)?;
            }
            match answer {
                Answer::Later => replicas.mark(id, Marked::Row, key, mark)?,
                Answer::Refused(reason) => {
                    let table = plan.rule.from().table.table.clone();
                    related.push(Related::Held {
                        held: Box::new(HeldChange {
                            mapping: std::sync::Arc::clone(&plan.rule.reference),
                            event_type: plan.rule.event_type,
                            table,
                            row_key: key.clone(),
                            event_key: None,
                            reason: format!("rule {}, {reason}", plan.rule.reference.rule),
                            row_json: shown(questions, key),
                        }),
                        position: mark.position.clone(),
                    });
                }
                Answer::Rows(rows) => {
                    related.push(Related::Settled {
                        rule: std::sync::Arc::clone(&plan.rule.reference),
                        row_key: key.clone(),
                    });
                    self.answer(questions.rule, plan, key, rows, mark, pending, replicas)?;
                }
            }
        }
        Ok(related)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of answering")]
    fn answer<R: Replicas>(
        &self,
        rule: usize,
        plan: &RulePlan,
        question: &str,
        rows: &[Vec<Value>],
        mark: &Mark,
        pending: &mut Pending,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(at) = plan.slots.first().and_then(|slot| slot.tables.first()) else {
            return Ok(());
        };
        let (Some(known), Some((read, _))) = (self.plan.tables.get(at.table), plan.read()) else {
            return Ok(());
        };
        let identity = identity(plan, at);
        let mark = Mark {
            own: true,
            due: None,
            latest: None,
            gone: false,
            ..mark.clone()
        };
        let mut told = Vec::with_capacity(rows.len());
        for row in rows {
            let cell = |name: &String| {
                let place = read.columns.iter().position(|column| column == name)?;
                row.get(place).cloned()
            };
            let cells: Vec<Cell> = known.columns.iter().map(cell).collect();
            let parts = identity.iter().map(|at| cells.get(*at).cloned().flatten());
            let part = cells_text(&parts.collect::<Vec<Cell>>());
            let mut key = format!("{question} {part}");
            // Two rows of one key: the flush says so.
            let mut nth = 2;
            while told.contains(&key) {
                key = format!("{question} {part} {nth}");
                nth += 1;
            }
            if replicas.row(known.id, &key)?.as_ref() != Some(&cells) {
                replicas.put(known.id, &key, &cells, &[])?;
                pending.mark(rule, &key, mark.clone());
            }
            told.push(key);
        }
        // What this question gave before and does not give any more.
        let prefix = format!("{question} ");
        let mut gone: Vec<String> = Vec::new();
        let mut after = prefix.clone();
        loop {
            let found = replicas.rows(known.id, Some(&after), PAGE)?;
            let keys = found.iter().map(|row| &row.key);
            let keys: Vec<&String> = keys.take_while(|key| key.starts_with(&prefix)).collect();
            gone.extend(
                keys.iter()
                    .filter(|key| !told.contains(key))
                    .map(|key| (*key).clone()),
            );
            match keys.last() {
                Some(last) if keys.len() == PAGE => after.clone_from(last),
                _ => break,
            }
        }
        for key in &gone {
            replicas.remove(known.id, key)?;
        }
        let mut after = prefix.clone();
        loop {
            let found = replicas.told_rows(plan.id, Some(&after), PAGE)?;
            let keys = found.iter().take_while(|key| key.starts_with(&prefix));
            let keys: Vec<&String> = keys.collect();
            for key in keys.iter().filter(|key| !told.contains(key)) {
                pending.mark(rule, key, mark.clone());
            }
            match keys.last() {
                Some(last) if keys.len() == PAGE => after.clone_from(last),
                _ => return Ok(()),
            }
        }
    }

    /// The question of a rule was changed: what its answers were is forgotten, and what nobody
    /// asks any more is gone once all else is answered.
    pub(super) fn forget_answers<R: Replicas>(
        &self,
        rule: usize,
        position: Option<&Position>,
        replicas: &mut R,
    ) -> Result<(), R::Error> {
        let Some(plan) = self.plan.rules.get(rule) else {
            return Ok(());
        };
        let at = plan.slots.first().and_then(|slot| slot.tables.first());
        let known = at.and_then(|at| self.plan.tables.get(at.table));
        let (Some(known), Some((_, id))) = (known, plan.read()) else {
            return Ok(());
        };
        loop {
            let rows = replicas.rows(known.id, None, PAGE)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                replicas.remove(known.id, &row.key)?;
            }
        }
        loop {
            let waiting = replicas.marks(id, Marked::Row, None, PAGE)?;
            if waiting.is_empty() {
                break;
            }
            for (key, _) in waiting {
                replicas.unmark(id, Marked::Row, &key)?;
            }
        }
        if let Some(position) = position {
            replicas.mark(id, Marked::Row, END_REST, &read_mark(position))?;
        }
        Ok(())
    }
}

/// A touched table was read from its first row to its last: what told something and is not asked
/// on the way is asked at the end.
pub(super) fn ask_rest<R: Replicas>(
    plan: &RulePlan,
    table: usize,
    position: &Position,
    replicas: &mut R,
) -> Result<(), R::Error> {
    let touched = plan.slots.iter().skip(1).flat_map(|slot| &slot.tables);
    match plan.read() {
        Some((_, id)) if touched.into_iter().any(|known| known.table == table) => {
            replicas.mark(id, Marked::Row, ASK_REST, &read_mark(position))
        }
        _ => Ok(()),
    }
}

/// The question whose answer gave a row.
fn question_of(row: &str) -> Option<&str> {
    let mut json = serde_json::Deserializer::from_str(row).into_iter::<serde_json::Value>();
    json.next()?.ok()?;
    row.get(..json.byte_offset())
}

/// The values of a question; `None` where it was put by another version of the rule.
fn values(read: &Read, question: &str) -> Option<Vec<Value>> {
    let cells = cells_from_text(question)?;
    let values: Option<Vec<Value>> = cells.into_iter().collect();
    values.filter(|values| values.len() == read.names.len())
}

/// What of an answer's row makes it itself: the cells that its event's key is made of.
fn identity(plan: &RulePlan, at: &TablePlan) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::new();
    for field in &plan.rule.key {
        let columns = field
            .expressions()
            .into_iter()
            .flat_map(crate::sql::Expr::columns);
        let own = match field.term {
            crate::rule::Term::Column(column) => Some(column),
            _ => None,
        };
        for column in columns.chain(own) {
            let answers = matches!(
                plan.rule.columns.get(column),
                Some(Origin::Cell { slot: 0, .. })
            );
            let cell = at.cells.iter().find(|(place, _)| *place == column);
            if let (true, Some((_, cell))) = (answers, cell)
                && !places.contains(cell)
            {
                places.push(*cell);
            }
        }
    }
    places.sort_unstable();
    places
}

/// A question's values, for a person.
fn shown(questions: &Questions, key: &str) -> String {
    let values = cells_from_text(key).unwrap_or_default();
    let names = questions.read.names.iter().cloned();
    let shown = names.zip(values).map(|(name, value)| {
        let text = value.and_then(|value| value.text());
        (name, text.map_or(serde_json::Value::Null, Into::into))
    });
    let asked: serde_json::Map<String, serde_json::Value> = shown.collect();
    serde_json::json!({ "asked": asked }).to_string()
}
