//! The language's expressions: a total part of SQL's scalar expressions without side effects.
//!
//! `parse` reads a text, `compile` makes an [`Expr`] of it and checks what can be known before any
//! row is seen, `functions` is the fixed list of functions, `eval` works an expression out for a
//! row and `call` the functions in it. Numbers
//! are exact decimals, null has SQL's three values, and nothing is rounded, cut or guessed: what
//! has no exact result stops, so that the row is held.

mod call;
mod call_compile;
mod compile;
mod eval;
mod functions;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::Value;
use jiff::tz::TimeZone;

pub(crate) use compile::{Formed, LineCall, Names, Setting, compile, compile_money};
pub(crate) use eval::{ABSENT, Cells, Stop, compare as order, folded};
pub use functions::{FORMS, FUNCTIONS, FormInfo, FunctionInfo};

use crate::pages::Page;
use crate::units::Units;
use functions::Call;

/// What is wrong with an expression, and what to write instead.
pub(crate) type Wrong = (String, Option<String>);

/// What is known about an expression's value when the file is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Known only when a row comes: a column, most often.
    Any,
    /// Always null.
    Null,
    /// A truth value.
    Bool,
    /// An exact number.
    Number,
    /// A binary float, which only `round` makes a number of.
    Float,
    /// Text.
    Text,
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// Date and time without zone.
    DateTime,
    /// A moment.
    Timestamp,
}

impl Type {
    /// The plain name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any type",
            Self::Null => "null",
            Self::Bool => "a truth value",
            Self::Number => "a number",
            Self::Float => "a binary float",
            Self::Text => "text",
            Self::Date => "a date",
            Self::Time => "a time",
            Self::DateTime => "a datetime",
            Self::Timestamp => "a timestamp",
        }
    }

    /// Whether a value of this type may stand where `wanted` is expected.
    pub(crate) fn fits(self, wanted: Self) -> bool {
        self == wanted || matches!(self, Self::Any | Self::Null) || wanted == Self::Any
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How a quotient becomes a number where it has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Round(u32),
    Floor,
    Ceil,
}

/// What `cast` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Number,
    Whole,
    Text,
    Date,
}

/// The pieces of a LIKE pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// `%`
    Any,
    /// `_`
    One,
    Char(char),
}

/// A dictionary as an expression uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) name: String,
    /// Where a person finds it, behind its name, where that is not the file itself.
    pub(crate) of: &'static str,
    pub(crate) values: BTreeMap<String, String>,
    /// What unknown codes mean; `None` = hold.
    pub(crate) otherwise: Option<String>,
}

/// An expression, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Constant(Value),
    /// Index into the rule's columns.
    Column(usize),
    /// Another field of the same event: its place among the fields, key fields behind them.
    Field(usize),
    /// A column that some versions of a table lack, and what stands for it then.
    Optional(usize, Box<Expr>),
    /// Whether a code is in a list in which `*` means every code.
    Allowed(Box<Expr>, Vec<String>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// A division whose rounding is asked for: `round(a / b, n)`, `floor(a / b)`, `ceil(a / b)`.
    Quotient(Ending, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Concat(Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>),
    /// `is true`, `is false`
    IsTruth(Box<Expr>, bool),
    /// `is not distinct from`
    Same(Box<Expr>, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    Like(Box<Expr>, Vec<Piece>),
    /// The first arm whose condition is true.
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    /// The first arm whose value equals the operand: `case a when 1 then ..`.
    Choice(Box<Expr>, Vec<(Expr, Expr)>, Box<Expr>),
    Cast(Box<Expr>, Target),
    Call(Call, Vec<Expr>),
    Dictionary(Box<Codes>, Vec<Expr>),
    /// Bytes, or a text that was misread, by a code page.
    Decode(Box<Expr>, Page),
    /// The day of a moment in a zone.
    LocalDate(Box<Expr>, TimeZone),
    /// A quantity, its unit and the wanted one; rounded where a number of places is given.
    InUnit(Arc<Units>, Vec<Expr>, Option<u32>),
}

impl Expr {
    /// The expressions directly inside.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Constant(_) | Self::Column(_) | Self::Field(_) => Vec::new(),
            Self::Optional(_, inner)
            | Self::Allowed(inner, _)
            | Self::Decode(inner, _)
            | Self::LocalDate(inner, _)
            | Self::Not(inner)
            | Self::Negate(inner)
            | Self::IsNull(inner)
            | Self::IsTruth(inner, _)
            | Self::Like(inner, _)
            | Self::Cast(inner, _) => vec![inner],
            Self::And(left, right)
            | Self::Or(left, right)
            | Self::Arithmetic(_, left, right)
            | Self::Quotient(_, left, right)
            | Self::Compare(_, left, right)
            | Self::Concat(left, right)
            | Self::Same(left, right) => vec![left, right],
            Self::In(value, items) => {
                let mut all: Vec<&Expr> = vec![value];
                all.extend(items);
                all
            }
            Self::Between(value, low, high) => vec![value, low, high],
            Self::Case(arms, otherwise) => {
                let arms = arms
                    .iter()
                    .flat_map(|(condition, value)| [condition, value]);
                arms.chain([&**otherwise]).collect()
            }
            Self::Choice(operand, arms, otherwise) => {
                let arms = arms.iter().flat_map(|(wanted, value)| [wanted, value]);
                [&**operand]
                    .into_iter()
                    .chain(arms)
                    .chain([&**otherwise])
                    .collect()
            }
            Self::Call(_, arguments)
            | Self::Dictionary(_, arguments)
            | Self::InUnit(_, arguments, _) => arguments.iter().collect(),
        }
    }

    /// The columns it reads, each once, in ascending order.
    pub(crate) fn columns(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        self.walk(&mut |expr| {
            if let Self::Column(column) | Self::Optional(column, _) = expr {
                found.insert(*column);
            }
        });
        found
    }

    /// The fields it reads.
    pub(crate) fn fields(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        self.walk(&mut |expr| {
            if let Self::Field(field) = expr {
                found.insert(*field);
            }
        });
        found
    }

    /// Calls `see` with this expression and all inside it.
    fn walk<'e>(&'e self, see: &mut dyn FnMut(&'e Self)) {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            see(expr);
            open.extend(expr.parts());
        }
    }

    /// Every text that the expression is known to give when it gives one of its constants.
    pub(crate) fn known_texts(&self) -> Vec<&str> {
        match self {
            Self::Constant(Value::Text(text)) => vec![text],
            Self::Case(arms, otherwise) | Self::Choice(_, arms, otherwise) => arms
                .iter()
                .map(|(_, value)| value)
                .chain([&**otherwise])
                .flat_map(Self::known_texts)
                .collect(),
            Self::Call(Call::Coalesce, arguments) => {
                arguments.iter().flat_map(Self::known_texts).collect()
            }
            Self::Dictionary(codes, _) => codes
                .values
                .values()
                .chain(&codes.otherwise)
                .map(String::as_str)
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
