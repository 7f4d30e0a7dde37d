//! What a row change means: drafts of events, and what is held.

use std::fmt;
use std::sync::Arc;

use contract::{
    Body, Decimal, Envelope, Event, EventType, FieldValue, MappingRef, Origin, TableName, Value,
};
use jiff::Timestamp;

use crate::evaluate::{complete, guards};
use crate::rule::{Field, Rule};

/// What a mapping may know beside the row.
#[derive(Debug, Clone)]
pub struct MapContext {
    /// Our customer.
    pub tenant: Arc<str>,
    /// The source's name.
    pub source: Arc<str>,
    /// When the row was read.
    pub read_at: Timestamp,
    /// Why it was read.
    pub origin: Origin,
}

/// A change that cannot become an event without guessing.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldChange {
    /// The rule.
    pub mapping: Arc<MappingRef>,
    /// What it would have become.
    pub event_type: EventType,
    /// The table.
    pub table: TableName,
    /// The row's key, or empty.
    pub row_key: String,
    /// The event's key, where it could be worked out.
    pub event_key: Option<String>,
    /// Why: rule, field, column, types. Never the value.
    pub reason: String,
    /// The raw row, for the operator.
    pub row_json: String,
}

/// Leaves out the row: its values must not reach a log by `{:?}`.
impl fmt::Debug for HeldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldChange")
            .field("rule", &self.mapping.rule)
            .field("event_type", &self.event_type)
            .field("table", &self.table)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// The source table was emptied: every published key of the rule is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// The rule.
    pub mapping: Arc<MappingRef>,
    /// What it publishes.
    pub event_type: EventType,
    /// Before each tombstone, zero is to be told.
    pub zero_first: bool,
}

/// What a change means.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Events, possibly still needing fields of what was published before.
    pub drafts: Vec<Draft>,
    /// Facts whose row was rewritten: the old row says the same of them. They are no news to anyone
    /// who was told of the old row.
    pub rewritten: Vec<Draft>,
    /// What needs a person.
    pub held: Vec<HeldChange>,
    /// Emptied tables.
    pub truncated: Vec<Truncated>,
    /// Rules to which the change means nothing.
    pub filtered: usize,
}

/// What the log left out of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gap {
    /// All of it.
    Whole,
    /// An amount's number; the currency is known, or null.
    Amount { currency: Option<String> },
    /// An amount's currency; the number is known.
    Currency { amount: Decimal },
}

/// What an unfinished draft still needs.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) rule: Arc<Rule>,
    /// Indexes into the rule's fields.
    pub(crate) gaps: Vec<(usize, Gap)>,
    /// Who to name when it cannot be finished.
    pub(crate) blame: HeldChange,
    /// The row and where the rule's columns stand in it, for guards.
    pub(crate) row: Vec<Value>,
    pub(crate) at: Vec<usize>,
}

/// An event that may still need fields from what was published before.
#[derive(Debug)]
pub struct Draft {
    pub(crate) envelope: Envelope,
    pub(crate) body: Option<Body>,
    pub(crate) open: Option<Box<Open>>,
    pub(crate) zero_first: bool,
}

impl Draft {
    /// Identity and provenance.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether zero is to be told before it, if it is a tombstone.
    pub fn zero_first(&self) -> bool {
        self.zero_first
    }

    /// Whether [`Draft::finish`] needs the last published body.
    pub fn needs_previous(&self) -> bool {
        self.open.is_some()
    }

    /// The event. `previous` is the body last published for the same key by the same mapping; it
    /// is looked at only where [`Draft::needs_previous`].
    ///
    /// # Errors
    /// When cells the log left out are not known from before, or a required field is missing.
    pub fn finish(self, previous: Option<&Body>) -> Result<Event, Box<HeldChange>> {
        let Self {
            mut envelope,
            body,
            open,
            ..
        } = self;
        let Some(open) = open else {
            return Ok(Event::new(envelope, body));
        };
        let Open {
            rule,
            gaps,
            mut blame,
            row,
            at,
        } = *open;
        let mut body = body.unwrap_or_else(|| Body::new(rule.event_type.schema()));
        let filled = gaps
            .into_iter()
            .try_for_each(|(index, gap)| match rule.fields.get(index) {
                Some(field) => fill(&rule, field, gap, previous, &mut body)
                    .map_err(|reason| format!("{}: {reason}", rule.describe(field))),
                None => Ok(()),
            })
            .and_then(|()| complete(&rule, &mut body))
            .and_then(|()| guards(&rule, &rule.cells(&at, &row), &envelope.key, &body));
        match filled {
            Ok(warnings) => {
                envelope.warnings = warnings;
                Ok(Event::new(envelope, Some(body)))
            }
            Err(reason) => {
                blame.reason = reason;
                Err(Box::new(blame))
            }
        }
    }
}

fn fill(
    rule: &Rule,
    field: &Field,
    gap: Gap,
    previous: Option<&Body>,
    body: &mut Body,
) -> Result<(), String> {
    let Some(previous) = previous else {
        return Err(rule.with_hint(
            "the log does not carry this unchanged column and no earlier value is known".to_owned(),
        ));
    };
    let unknown_currency = || {
        rule.with_hint(
            "the log does not carry its currency and no earlier currency is known".to_owned(),
        )
    };
    let value = match (previous.get(field.name), gap) {
        (None, Gap::Currency { .. }) => return Err(unknown_currency()),
        (None, Gap::Whole | Gap::Amount { .. }) if field.required => {
            return Err(rule.with_hint(
                "the log does not carry this unchanged column and the earlier event lacks it"
                    .to_owned(),
            ));
        }
        // It was null and still is.
        (None, Gap::Whole | Gap::Amount { .. }) => return Ok(()),
        (Some(FieldValue::Money { amount, .. }), Gap::Amount { currency }) => FieldValue::Money {
            amount: *amount,
            currency: currency.ok_or("its currency is null")?,
        },
        (Some(FieldValue::Money { currency, .. }), Gap::Currency { amount }) => FieldValue::Money {
            amount,
            currency: currency.clone(),
        },
        (Some(value), _) => value.clone(),
    };
    body.set_at(field.index, value)
        .map_err(|error| error.to_string())
}
