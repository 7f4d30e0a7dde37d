//! Rows to drafts of events: pure, and total over every row.

use std::borrow::Cow;
use std::sync::Arc;

use contract::event::{HARD_DELETE, OUT_OF_SCOPE, SOFT_FLAG};
use contract::{
    Body, Envelope, EventKey, EventKind, EventOp, Op, Row, RowChange, RowKey, TableName,
    TableShape, Value,
};

use crate::draft::{Draft, Gap, HeldChange, MapContext, Mapped, Open, Truncated};
use crate::evaluate::{self, Known, complete};
use crate::rule::{Formula, Origin, Rule};
use crate::set::MappingSet;
use crate::sql::{ABSENT, Cells, Stop};

/// A rule bound to a table's columns: the rule's column n is the row's cell `cells[n]`.
#[derive(Debug)]
struct Bound {
    rule: Arc<Rule>,
    cells: Result<Vec<usize>, String>,
}

/// The rules of a table's shape.
#[derive(Debug)]
struct OfShape {
    shape: Arc<TableShape>,
    /// Those of its rows alone.
    bound: Vec<Bound>,
    /// Those that keep a replica of it.
    related: Vec<Arc<Rule>>,
    /// A column by which some of them find rows, and which the table does not have any more.
    unlinked: Option<String>,
}

/// A mapping set, with its rules bound to the table shapes seen so far.
#[derive(Debug)]
pub struct Mapper {
    set: Arc<MappingSet>,
    known: Vec<OfShape>,
}

/// Shapes remembered at most; more only means binding again.
const SHAPES_MAX: usize = 256;

impl Mapper {
    /// A mapper that has seen no shape yet.
    pub fn new(set: Arc<MappingSet>) -> Self {
        Self {
            set,
            known: Vec::new(),
        }
    }

    /// What a change means.
    pub fn apply(&mut self, change: &RowChange, context: &MapContext) -> Mapped {
        let mut all = self.known.iter();
        let known = all.position(|known| Arc::ptr_eq(&known.shape, &change.shape));
        let at = known.unwrap_or_else(|| {
            if self.known.len() >= SHAPES_MAX {
                self.known.clear();
            }
            let related = related(&self.set, &change.shape);
            self.known.push(OfShape {
                shape: Arc::clone(&change.shape),
                bound: bind(&self.set, &change.shape),
                unlinked: unlinked(&related, &change.shape),
                related,
            });
            self.known.len() - 1
        });
        let mut mapped = Mapped::default();
        let Some(known) = self.known.get(at) else {
            return mapped;
        };
        for bound in &known.bound {
            apply(bound, change, context, &mut mapped);
        }
        let unlinked = known.unlinked.as_deref();
        if !known.related.is_empty()
            && let Some(why) = unusable(unlinked, change)
        {
            for rule in &known.related {
                let reason = format!("rule {}: {why}", rule.reference.rule);
                // What settles it is another mapping, not the next change of a row with its key.
                mapped.held.push(HeldChange {
                    row_key: String::new(),
                    ..held(rule, change, reason, None)
                });
            }
        }
        mapped
    }
}

/// The rules that keep a replica of a table.
fn related(set: &MappingSet, shape: &TableShape) -> Vec<Arc<Rule>> {
    let rules = set.rules.iter().filter(|rule| {
        let mut tables = rule.tables(true).into_iter();
        rule.relates() && tables.any(|captured| captured.table == shape.table)
    });
    rules.cloned().collect()
}

/// A column by which rows are found, and which a table's rows do not have.
fn unlinked(related: &[Arc<Rule>], shape: &TableShape) -> Option<String> {
    let mut links = related.iter().flat_map(|rule| rule.links(&shape.table));
    let missing = links.find(|column| shape.column(column).is_none());
    missing.map(str::to_owned)
}

/// Why no replica can take a change: which row it is of, or which others it belongs to, is not known.
fn unusable(unlinked: Option<&str>, change: &RowChange) -> Option<String> {
    let table = change.table();
    let keyless = |row: &Option<Row>| {
        let key = |row| RowKey::of(&change.shape, row);
        row.as_ref().is_some_and(|row| key(row).is_none())
    };
    match (change.op, unlinked) {
        (Op::Truncate, _) => None,
        (Op::Delete, _) => keyless(&change.before)
            .then(|| format!("the log does not say which row of {table} was removed")),
        (Op::Insert | Op::Update | Op::Read, Some(column)) => {
            Some(format!("{}, and rows are found by it", gone(column, table)))
        }
        (Op::Insert | Op::Update | Op::Read, None) => keyless(&change.after).then(|| {
            format!(
                "a row of {table} has no value in its key [{}], so it cannot be told from others; \
                 correct the row, or name other columns as `key`",
                change.shape.key_names().join(", ")
            )
        }),
    }
}

/// What is said of a column that a table does not have, or has no more.
fn gone(column: &str, table: &TableName) -> String {
    format!(
        "column \"{column}\" is not in table {table}; lighterman map check says what of the file \
         no longer fits"
    )
}

fn bind(set: &MappingSet, shape: &TableShape) -> Vec<Bound> {
    let rules = set
        .rules
        .iter()
        .filter(|rule| !rule.relates() && rule.from().table.table == shape.table);
    rules
        .map(|rule| {
            let cell = |origin: &Origin| match origin {
                Origin::Cell {
                    column, optional, ..
                } => match shape.column(column) {
                    Some(at) => Ok(at),
                    // A test gives only the columns that matter to it.
                    None if *optional || rule.cleaning.untyped => Ok(ABSENT),
                    None => {
                        let (rule, table) = (&rule.reference.rule, &shape.table);
                        Err(format!("rule {rule}: {}", gone(column, table)))
                    }
                },
                // Rules of one table read nothing but its cells.
                Origin::Added { .. } | Origin::Lines { .. } | Origin::Archived => Ok(ABSENT),
            };
            Bound {
                rule: Arc::clone(rule),
                cells: rule.columns.iter().map(cell).collect(),
            }
        })
        .collect()
}

fn apply(bound: &Bound, change: &RowChange, context: &MapContext, mapped: &mut Mapped) {
    let rule = &bound.rule;
    let kind = rule.event_type.kind();
    match (change.op, kind) {
        (Op::Truncate, EventKind::State) => {
            mapped.truncated.push(Truncated {
                mapping: Arc::clone(&rule.reference),
                event_type: rule.event_type,
                zero_first: rule.zero_first,
            });
            return;
        }
        // What happened stays happened, whoever tidies the ledger.
        (Op::Truncate | Op::Delete, EventKind::Fact) => {
            mapped.filtered += 1;
            return;
        }
        (Op::Delete, EventKind::State)
        | (Op::Insert | Op::Update | Op::Read, EventKind::State | EventKind::Fact) => {}
    }
    let cells = match &bound.cells {
        Ok(cells) => cells,
        Err(reason) => {
            mapped.held.push(held(rule, change, reason.clone(), None));
            return;
        }
    };
    let made = if change.op == Op::Delete {
        removed(rule, cells, change, context).map(Some)
    } else {
        written(rule, cells, change, context, mapped)
    };
    match made {
        Ok(Some(draft)) if rewritten(rule, cells, change, &draft) => mapped.rewritten.push(draft),
        Ok(Some(draft)) => mapped.drafts.push(draft),
        Ok(None) => mapped.filtered += 1,
        Err((reason, event_key)) => {
            mapped.held.push(held(rule, change, reason, event_key));
        }
    }
}

/// Why a change is held, and the event's key if it is known.
type Hold = (String, Option<String>);

fn removed(
    rule: &Arc<Rule>,
    cells: &[usize],
    change: &RowChange,
    context: &MapContext,
) -> Result<Draft, Hold> {
    let Some(row) = &change.before else {
        let reason = format!(
            "rule {}: the log does not carry the removed row",
            rule.reference.rule
        );
        return Err((rule.with_hint(reason), None));
    };
    // Where the log tells too little to know, one tombstone too many is better than one too few.
    let reason = match ended(rule, &rule.cells(cells, row)) {
        Ok(Some(end)) => end,
        Ok(None) | Err(_) => HARD_DELETE,
    };
    let key = evaluate::key(rule, &rule.cells(cells, row)).map_err(|reason| (reason, None))?;
    Ok(tombstone(rule, change, context, key, reason))
}

fn written(
    rule: &Arc<Rule>,
    cells: &[usize],
    change: &RowChange,
    context: &MapContext,
    mapped: &mut Mapped,
) -> Result<Option<Draft>, Hold> {
    let name = &rule.reference.rule;
    let row = change.after.as_ref().ok_or_else(|| {
        let reason = format!("rule {name}: the log does not carry the new row");
        (reason, None)
    })?;
    // Cells the new row leaves unchanged are those of the old row, where that is known.
    let row = filled(row, change.before.as_ref());
    let end = ended(rule, &rule.cells(cells, &row)).map_err(|stop| {
        let reason = match stop {
            Stop::Wrong(reason) => reason,
            Stop::Unchanged => {
                rule.with_hint("the log does not carry a column its condition needs".to_owned())
            }
        };
        let known = evaluate::key(rule, &rule.cells(cells, &row)).ok();
        let known = known.map(|key| key.text());
        (format!("rule {name}, {reason}"), known)
    })?;
    if let Some(end) = end {
        return Ok(left_out(rule, cells, change, context, &row, end));
    }
    let key_now = evaluate::key(rule, &rule.cells(cells, &row)).map_err(|reason| (reason, None))?;
    let event_key = key_now.text();
    let hold = |reason: String| (reason, Some(event_key.clone()));
    let old_key = change
        .before
        .as_ref()
        .filter(|before| !matches!(ended(rule, &rule.cells(cells, before)), Ok(Some(_))))
        .and_then(|before| evaluate::key(rule, &rule.cells(cells, before)).ok())
        .filter(|old| *old != key_now);
    let mut envelope = envelope(rule, change, context, key_now.clone(), EventOp::Upsert);
    match rule.event_type.kind() {
        EventKind::State => {
            // Even if the new row is held, the old key is gone for sure.
            if let Some(old) = old_key {
                envelope.renamed_from = Some(old.clone());
                mapped
                    .drafts
                    .push(tombstone(rule, change, context, old, HARD_DELETE));
            }
        }
        EventKind::Fact => {
            let row_key = RowKey::of(&change.shape, &row).ok_or_else(|| {
                hold(format!(
                    "rule {name}: a fact needs its row's key to be recognised again"
                ))
            })?;
            let old_row_key = change
                .before
                .as_ref()
                .and_then(|before| RowKey::of(&change.shape, before));
            if old_key.is_some() || old_row_key.is_some_and(|old| old != row_key) {
                return Err(hold(format!(
                    "rule {name}: the key of a fact's row was changed; under its new key the \
                     same fact would count twice"
                )));
            }
            let company = envelope.key.fields().first();
            let company = company.map_or("", |(_, company)| company);
            envelope.fact_key = Some(format!("{company}/{}/{}", change.table(), row_key.as_str()));
            envelope.op = match change.op {
                Op::Update => EventOp::Correction,
                Op::Insert | Op::Read | Op::Delete | Op::Truncate => EventOp::Fact,
            };
        }
    }
    let cells = rule.cells(cells, &row);
    let (body, gaps, warnings) = worked_out(rule, &cells, &key_now).map_err(hold)?;
    envelope.warnings = warnings;
    let open = (!gaps.is_empty()).then(|| {
        let blame = held(rule, change, String::new(), Some(event_key.clone()));
        Box::new(Open {
            rule: Arc::clone(rule),
            gaps,
            blame,
            row: row.to_vec(),
            at: cells.at.to_vec(),
        })
    });
    Ok(Some(Draft {
        envelope,
        body: Some(body),
        open,
        zero_first: false,
    }))
}

/// Whether a fact's old row says the same of it. ERPs rewrite rows in bulk, and a state that is told
/// again is recognised by its body; of facts nothing but their rows is known.
fn rewritten(rule: &Rule, cells: &[usize], change: &RowChange, draft: &Draft) -> bool {
    let (Some(before), Some(body), None) = (&change.before, &draft.body, &draft.open) else {
        return false;
    };
    if draft.envelope.op != EventOp::Correction {
        return false;
    }
    let cells = rule.cells(cells, before);
    if ended(rule, &cells) != Ok(None) {
        return false;
    }
    let Ok(key) = evaluate::key(rule, &cells) else {
        return false;
    };
    let Ok((old, gaps, warnings)) = worked_out(rule, &cells, &key) else {
        return false;
    };
    gaps.is_empty()
        && key == draft.envelope.key
        && old == *body
        && warnings == draft.envelope.warnings
}

/// A row's body, what the log left out of it, and what guards said.
type WorkedOut = (Body, Vec<(usize, Gap)>, Vec<String>);

/// Works out a row's body; it is completed and guarded where the log left nothing out.
fn worked_out(rule: &Rule, cells: &Cells<'_>, key: &EventKey) -> Result<WorkedOut, String> {
    let mut body = Body::new(rule.event_type.schema());
    let mut known = Known::new(rule).with_key(rule, key);
    let gaps = evaluate::fields(rule, cells, &mut [], &mut known, &mut body, |_| true)?;
    if !gaps.is_empty() {
        return Ok((body, gaps, Vec::new()));
    }
    complete(rule, &mut body)?;
    let warnings = evaluate::guards(rule, cells, key, &body)?;
    Ok((body, gaps, warnings))
}

/// Why a row says nothing: `where` does not take it, or `deleted_when` says it is gone. Unknown
/// is neither taken nor gone.
pub(crate) fn ended(rule: &Rule, cells: &Cells<'_>) -> Result<Option<&'static str>, Stop> {
    let truth = |condition: &Formula, name: &str| {
        condition.expr.truth(cells).map_err(|stop| match stop {
            Stop::Wrong(reason) => Stop::Wrong(format!("{name}: {reason}")),
            Stop::Unchanged => Stop::Unchanged,
        })
    };
    let taken = match &rule.filter {
        Some(filter) => truth(filter, "where").map(|truth| truth == Some(true)),
        None => Ok(true),
    };
    if taken == Ok(false) {
        return Ok(Some(OUT_OF_SCOPE));
    }
    // A row that is marked as gone is gone, whether `where` can be worked out or not.
    if let Some(deleted) = &rule.deleted_when {
        match (truth(deleted, "deleted_when"), &taken) {
            (Ok(Some(true)), _) => return Ok(Some(SOFT_FLAG)),
            (Err(stop), Ok(_)) => return Err(stop),
            (Ok(_), _) | (Err(_), Err(_)) => {}
        }
    }
    taken.map(|_| None)
}

/// What a row means that says nothing: the end of what it may have told before, by these rules or
/// by those of an earlier file. The store knows whether anything was published.
fn left_out(
    rule: &Arc<Rule>,
    cells: &[usize],
    change: &RowChange,
    context: &MapContext,
    row: &Row,
    end: &'static str,
) -> Option<Draft> {
    if rule.event_type.kind() == EventKind::Fact || change.op == Op::Insert {
        return None;
    }
    let key = |row: &Row| evaluate::key(rule, &rule.cells(cells, row)).ok();
    let key = change.before.as_ref().and_then(key).or_else(|| key(row))?;
    Some(tombstone(rule, change, context, key, end))
}

fn filled<'a>(row: &'a Row, before: Option<&Row>) -> Cow<'a, Row> {
    let Some(before) = before.filter(|_| row.contains(&Value::Unchanged)) else {
        return Cow::Borrowed(row);
    };
    let mut full = row.clone();
    for (cell, old) in full.iter_mut().zip(before) {
        if matches!(cell, Value::Unchanged) {
            *cell = old.clone();
        }
    }
    Cow::Owned(full)
}

fn envelope(
    rule: &Rule,
    change: &RowChange,
    context: &MapContext,
    key: EventKey,
    op: EventOp,
) -> Envelope {
    Envelope {
        tenant: Arc::clone(&context.tenant),
        source: Arc::clone(&context.source),
        event_type: rule.event_type,
        key,
        version: change.position.clone(),
        op,
        origin: context.origin,
        occurred_at: change.committed_at.unwrap_or(context.read_at),
        occurred_at_exact: change.committed_at.is_some(),
        read_at: context.read_at,
        transaction: change.transaction,
        mapping: Arc::clone(&rule.reference),
        fact_key: None,
        reason: None,
        renamed_from: None,
        warnings: Vec::new(),
    }
}

fn tombstone(
    rule: &Rule,
    change: &RowChange,
    context: &MapContext,
    key: EventKey,
    reason: &'static str,
) -> Draft {
    let mut envelope = envelope(rule, change, context, key, EventOp::Delete);
    envelope.reason = Some(reason);
    Draft {
        envelope,
        body: None,
        open: None,
        zero_first: rule.zero_first,
    }
}

fn held(rule: &Rule, change: &RowChange, reason: String, event_key: Option<String>) -> HeldChange {
    HeldChange {
        mapping: Arc::clone(&rule.reference),
        event_type: rule.event_type,
        table: change.table().clone(),
        row_key: change.key().as_ref().map_or("", RowKey::as_str).to_owned(),
        event_key,
        reason,
        row_json: row_json(change),
    }
}

fn row_json(change: &RowChange) -> String {
    let row = |row: &Option<Row>| {
        let cells = row
            .as_ref()?
            .iter()
            .zip(&change.shape.columns)
            .map(|(cell, name)| {
                let text = match cell {
                    Value::Unchanged => serde_json::json!({ "unchanged": true }),
                    cell => cell
                        .text()
                        .map_or(serde_json::Value::Null, serde_json::Value::String),
                };
                (name.clone(), text)
            });
        Some(cells.collect::<serde_json::Map<_, _>>())
    };
    let form = serde_json::json!({
        "op": change.op.name(),
        "before": row(&change.before),
        "after": row(&change.after),
    });
    form.to_string()
}
