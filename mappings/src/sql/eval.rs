//! An expression's value for a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use contract::{Decimal, Value};
use jiff::civil;
use jiff::tz::TimeZone;

use super::call::{call_function, local_date};
use super::{Arithmetic, Codes, Comparison, Ending, Expr, Piece, Target};
use crate::convert::{self, Cleaned, Cleaning, clean};
use crate::rule::Origin;
use crate::units::Units;

/// Why an expression has no value. The reason names types and functions, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A cell it needs is one the log left out.
    Unchanged,
    /// It has no exact result.
    Wrong(String),
}

pub(super) fn stop<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(reason.into()))
}

pub(super) type Got<'r> = Result<Cow<'r, Value>, Stop>;

/// The cells of a row, as an expression sees them.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'r> {
    /// The row.
    pub(crate) row: &'r [Value],
    /// Where the rule's columns stand in it; [`ABSENT`] for a column the table does not have.
    pub(crate) at: &'r [usize],
    /// Fields worked out before, key fields behind them.
    pub(crate) fields: &'r [Option<Value>],
    /// What the columns are, for reasons.
    pub(crate) names: &'r [Origin],
    /// The file's cleaning rules.
    pub(crate) cleaning: &'r Cleaning,
    /// The zone of local times.
    pub(crate) zone: Option<&'r TimeZone>,
}

/// The place of a column that the table does not have.
pub(crate) const ABSENT: usize = usize::MAX;

impl<'r> Cells<'r> {
    fn is_absent(&self, column: usize) -> bool {
        self.at.get(column) == Some(&ABSENT)
    }

    /// A column's value, cleaned.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn cell(&self, column: usize) -> Got<'r> {
        let cell = self.at.get(column).and_then(|at| self.row.get(*at));
        let Some(cell) = cell else {
            return stop(match self.names.get(column) {
                Some(Origin::Cell { column, .. }) => {
                    format!("the row has no column \"{column}\"")
                }
                _ => "the row has no such column".to_owned(),
            });
        };
        match clean(cell, self.cleaning).map_err(Stop::Wrong)? {
            Cleaned::Cell(cell) => Ok(cell),
            Cleaned::Null => Ok(Cow::Owned(Value::Null)),
            Cleaned::Unchanged => Err(Stop::Unchanged),
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "so that every way out of an expression reads alike"
)]
pub(super) fn owned<'r>(value: Value) -> Got<'r> {
    Ok(Cow::Owned(value))
}

fn truth<'r>(value: Option<bool>) -> Got<'r> {
    owned(value.map_or(Value::Null, Value::Bool))
}

impl Expr {
    /// The value for a row.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn value<'r>(&'r self, cells: &Cells<'r>) -> Got<'r> {
        match self {
            Self::Constant(value) => Ok(Cow::Borrowed(value)),
            Self::Column(column) => cells.cell(*column),
            Self::Field(field) => match cells.fields.get(*field) {
                Some(Some(value)) => Ok(Cow::Borrowed(value)),
                // A field the log left out, or one that is not there.
                Some(None) | None => Err(Stop::Unchanged),
            },
            Self::Optional(column, default) if cells.is_absent(*column) => default.value(cells),
            Self::Optional(column, _) => cells.cell(*column),
            Self::Allowed(code, list) => {
                let code = code.value(cells)?;
                let fold = cells.cleaning.fold;
                let known = plain_text(&code)?.map(|code| {
                    let same = |item: &String| item == "*" || text_order(item, &code, fold).is_eq();
                    list.iter().any(same)
                });
                truth(known)
            }
            Self::Not(inner) => truth(inner.truth(cells)?.map(|value| !value)),
            Self::Negate(inner) => match inner.number(cells)? {
                Some(number) => owned(Value::Decimal(number.negated())),
                None => owned(Value::Null),
            },
            Self::And(left, right) => truth(both(left, right, cells, false)?),
            Self::Or(left, right) => truth(both(left, right, cells, true)?),
            Self::Arithmetic(op, left, right) => {
                let (Some(left), Some(right)) = (left.number(cells)?, right.number(cells)?) else {
                    return owned(Value::Null);
                };
                let (result, name) = match op {
                    Arithmetic::Add => (left.try_add(right), "+"),
                    Arithmetic::Subtract => (left.try_sub(right), "-"),
                    Arithmetic::Multiply => (left.try_mul(right), "*"),
                    Arithmetic::Divide => (left.try_div(right), "/"),
                    Arithmetic::Remainder => (left.try_rem(right), "%"),
                };
                match result {
                    Ok(number) => owned(Value::Decimal(number)),
                    Err(contract::DecimalError::Endless) => stop(
                        "`/`: the quotient has endless digits; round(a / b, places) says how many \
                         to keep",
                    ),
                    Err(error) => stop(format!("`{name}`: {error}")),
                }
            }
            Self::Quotient(ending, left, right) => {
                let (Some(left), Some(right)) = (left.number(cells)?, right.number(cells)?) else {
                    return owned(Value::Null);
                };
                let result = match ending {
                    Ending::Round(places) => left.try_div_round(right, *places),
                    Ending::Floor => left.try_div_floor(right),
                    Ending::Ceil => left.negated().try_div_floor(right).map(Decimal::negated),
                };
                match result {
                    Ok(number) => owned(Value::Decimal(number)),
                    Err(error) => stop(format!("`/`: {error}")),
                }
            }
            Self::Compare(op, left, right) => {
                let order = compare(&*left.value(cells)?, &*right.value(cells)?, cells)?;
                truth(order.map(|order| match op {
                    Comparison::Equal => order.is_eq(),
                    Comparison::Unequal => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                }))
            }
            Self::Concat(left, right) => {
                let (left, right) = (left.value(cells)?, right.value(cells)?);
                match (plain_text(&left)?, plain_text(&right)?) {
                    (Some(left), Some(right)) => owned(Value::Text(left.into_owned() + &right)),
                    _ => owned(Value::Null),
                }
            }
            Self::IsNull(inner) => {
                let value = inner.value(cells)?;
                truth(Some(matches!(*value, Value::Null)))
            }
            Self::IsTruth(inner, wanted) => truth(Some(inner.truth(cells)? == Some(*wanted))),
            Self::Same(left, right) => {
                let (left, right) = (left.value(cells)?, right.value(cells)?);
                let same = match (&*left, &*right) {
                    (Value::Null, Value::Null) => true,
                    (Value::Null, _) | (_, Value::Null) => false,
                    (left, right) => compare(left, right, cells)?.is_some_and(Ordering::is_eq),
                };
                truth(Some(same))
            }
            Self::In(value, items) => {
                let value = value.value(cells)?;
                let mut unknown = false;
                for item in items {
                    match compare(&value, &*item.value(cells)?, cells)? {
                        Some(Ordering::Equal) => return truth(Some(true)),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                truth((!unknown).then_some(false))
            }
            Self::Between(value, low, high) => {
                let value = value.value(cells)?;
                let above = compare(&value, &*low.value(cells)?, cells)?.map(Ordering::is_ge);
                let below = compare(&value, &*high.value(cells)?, cells)?.map(Ordering::is_le);
                truth(match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                })
            }
            Self::Like(value, pattern) => {
                let value = value.value(cells)?;
                let fold = cells.cleaning.fold;
                truth(plain_text(&value)?.map(|text| like(&text, pattern, fold)))
            }
            Self::Case(arms, otherwise) => {
                for (condition, value) in arms {
                    if condition.truth(cells)? == Some(true) {
                        return value.value(cells);
                    }
                }
                otherwise.value(cells)
            }
            Self::Choice(operand, arms, otherwise) => {
                let operand = operand.value(cells)?;
                for (wanted, value) in arms {
                    if compare(&operand, &*wanted.value(cells)?, cells)?
                        .is_some_and(Ordering::is_eq)
                    {
                        return value.value(cells);
                    }
                }
                otherwise.value(cells)
            }
            Self::Cast(inner, target) => cast(inner.value(cells)?, *target, cells),
            Self::Call(call, arguments) => call_function(*call, arguments, cells),
            Self::Dictionary(codes, parts) => look_up(codes, parts, cells),
            Self::LocalDate(moment, zone) => local_date(moment, zone, cells),
            Self::Decode(inner, page) => {
                let value = inner.value(cells)?;
                let text = match &*value {
                    Value::Null => return owned(Value::Null),
                    Value::Bytes(bytes) => page.text(bytes),
                    Value::Text(text) => page.mended(text),
                    other => {
                        let kind = other.type_name();
                        return stop(format!("decode: a {kind} has no code page"));
                    }
                };
                match text {
                    Some(text) => owned(Value::Text(text)),
                    None => stop("decode: its bytes are no text in that code page"),
                }
            }
            Self::InUnit(units, parts, places) => in_unit(units, parts, *places, cells),
        }
    }

    /// The value as a truth value; `None` is unknown.
    pub(crate) fn truth(&self, cells: &Cells<'_>) -> Result<Option<bool>, Stop> {
        match *self.value(cells)? {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(value)),
            ref other => stop(format!(
                "a value of type {} is no truth value; compare it, or truthy(..)",
                other.type_name()
            )),
        }
    }

    pub(crate) fn number(&self, cells: &Cells<'_>) -> Result<Option<Decimal>, Stop> {
        number(&*self.value(cells)?, cells)
    }
}

/// SQL's and (`decisive` false) and or (`decisive` true). A side the log left out matters only
/// where the other does not decide.
fn both(
    left: &Expr,
    right: &Expr,
    cells: &Cells<'_>,
    decisive: bool,
) -> Result<Option<bool>, Stop> {
    let left = left.truth(cells);
    if left == Ok(Some(decisive)) {
        return Ok(Some(decisive));
    }
    let right = match (&left, right.truth(cells)) {
        (Err(Stop::Unchanged), Ok(Some(value))) if value == decisive => return Ok(Some(decisive)),
        (_, right) => right,
    };
    let (left, right) = (left?, right?);
    Ok(match (left, right) {
        (_, Some(value)) if value == decisive => Some(decisive),
        (Some(_), Some(_)) => Some(!decisive),
        _ => None,
    })
}

pub(super) fn number(value: &Value, cells: &Cells<'_>) -> Result<Option<Decimal>, Stop> {
    Ok(Some(match value {
        // A test writes `"12.00000"` for what is a number in the table.
        Value::Text(text) if cells.cleaning.untyped && text.trim().parse::<Decimal>().is_ok() => {
            text.trim().parse().unwrap_or(Decimal::ZERO)
        }
        Value::Null => return Ok(None),
        Value::Int(value) => Decimal::from(*value),
        Value::UInt(value) => Decimal::from(*value),
        Value::Decimal(value) => *value,
        Value::Float(_) => {
            return stop("a binary float is no exact number; round(column, places) makes it one");
        }
        other => {
            return stop(format!(
                "a value of type {} is no number; cast(.. as decimal) reads one from text",
                other.type_name()
            ));
        }
    }))
}

/// Text as it stands; whatever has a canonical text, as that.
pub(crate) fn plain_text(value: &Value) -> Result<Option<Cow<'_, str>>, Stop> {
    Ok(match value {
        Value::Null => None,
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Float(_) | Value::Bytes(_) => {
            return stop(format!(
                "a value of type {} has no exact text",
                value.type_name()
            ));
        }
        other => other.text().map(Cow::Owned),
    })
}

/// A text as keys compare it where upper and lower case and blanks at the end do not count.
pub(crate) fn folded(text: &str) -> String {
    text.trim_end()
        .chars()
        .flat_map(char::to_lowercase)
        .collect()
}

fn text_order(left: &str, right: &str, fold: bool) -> Ordering {
    if !fold {
        return left.cmp(right);
    }
    let fold = |text: &'_ str| folded(text);
    fold(left).cmp(&fold(right))
}

/// Which of two values is greater; `None` when one of them is null.
pub(crate) fn compare(
    left: &Value,
    right: &Value,
    cells: &Cells<'_>,
) -> Result<Option<Ordering>, Stop> {
    use Value as V;
    let unlike = || {
        stop(format!(
            "a value of type {} cannot be compared with one of type {}",
            left.type_name(),
            right.type_name()
        ))
    };
    // A text beside a date, time or moment must be one.
    let moment = |text: &str, other: &Value| {
        Some(match other {
            V::Date(_) => V::Date(convert::iso(text)?),
            V::Time(_) => V::Time(text.parse().ok()?),
            V::DateTime(_) => match convert::iso(text) {
                Some(date) => V::DateTime(date.to_datetime(civil::Time::midnight())),
                None => V::DateTime(text.parse().ok()?),
            },
            V::Timestamp(_) => V::Timestamp(text.parse().ok()?),
            _ => return None,
        })
    };
    Ok(Some(match (left, right) {
        (V::Null, _) | (_, V::Null) => return Ok(None),
        (V::Text(left), V::Text(right)) => text_order(left, right, cells.cleaning.fold),
        (V::Bool(left), V::Bool(right)) => left.cmp(right),
        (V::Date(left), V::Date(right)) => left.cmp(right),
        (V::Time(left), V::Time(right)) => left.cmp(right),
        (V::DateTime(left), V::DateTime(right)) => left.cmp(right),
        (V::Timestamp(left), V::Timestamp(right)) => left.cmp(right),
        (V::Uuid(left), V::Uuid(right)) => left.cmp(right),
        (V::Date(left), V::DateTime(right)) => left.to_datetime(civil::Time::midnight()).cmp(right),
        (V::DateTime(left), V::Date(right)) => {
            left.cmp(&right.to_datetime(civil::Time::midnight()))
        }
        (V::Text(_), V::Int(_) | V::UInt(_) | V::Decimal(_) | V::Bool(_))
        | (V::Int(_) | V::UInt(_) | V::Decimal(_) | V::Bool(_), V::Text(_))
            if cells.cleaning.untyped =>
        {
            let side = |value: &Value| match value {
                V::Bool(value) => Ok(Some(Decimal::from(i64::from(*value)))),
                other => number(other, cells),
            };
            match (side(left), side(right)) {
                (Ok(Some(left)), Ok(Some(right))) => left.cmp(&right),
                _ => return unlike(),
            }
        }
        (V::Text(text), other) => match moment(text, other) {
            Some(left) => return compare(&left, other, cells),
            None => return unlike(),
        },
        (other, V::Text(text)) => match moment(text, other) {
            Some(right) => return compare(other, &right, cells),
            None => return unlike(),
        },
        // Truth values are bits in some databases and words in others.
        (V::Bool(left), other) => match number(other, cells)? {
            Some(right) if right == Decimal::ZERO || right == Decimal::from(1_i64) => {
                Decimal::from(i64::from(*left)).cmp(&right)
            }
            _ => return unlike(),
        },
        (other, V::Bool(_)) => {
            return Ok(compare(right, other, cells)?.map(Ordering::reverse));
        }
        (left_value, right_value) => {
            match (number(left_value, cells), number(right_value, cells)) {
                (Ok(Some(left)), Ok(Some(right))) => left.cmp(&right),
                _ => return unlike(),
            }
        }
    }))
}

/// Backtracks to the last `%` only, so it takes at most text times pattern steps.
fn like(text: &str, pattern: &[Piece], fold: bool) -> bool {
    let text: Vec<char> = text.chars().collect();
    let same = |left: char, right: char| {
        left == right || (fold && left.to_lowercase().eq(right.to_lowercase()))
    };
    let (mut at, mut piece) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(piece) {
            Some(Piece::Any) => {
                retry = Some((at, piece));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Char(c)) if text.get(at).is_some_and(|t| same(*t, *c)) => {
                (at, piece) = (at + 1, piece + 1);
            }
            _ => match retry {
                Some((from, any)) => {
                    retry = Some((from + 1, any));
                    (at, piece) = (from + 1, any + 1);
                }
                None => return false,
            },
        }
    }
    pattern
        .get(piece..)
        .is_none_or(|rest| rest.iter().all(|piece| *piece == Piece::Any))
}

fn cast<'r>(value: Cow<'r, Value>, target: Target, cells: &Cells<'_>) -> Got<'r> {
    let wrong = |value: &Value, what: &str| {
        stop(format!(
            "a value of type {} cannot be cast to {what}",
            value.type_name()
        ))
    };
    match (target, &*value) {
        (_, Value::Null) => owned(Value::Null),
        (Target::Number | Target::Whole, Value::Text(text)) => {
            match text.trim().parse::<Decimal>() {
                Ok(number) if target == Target::Number || number.is_integer() => {
                    owned(Value::Decimal(number))
                }
                Ok(_) => stop("cast to int: the number has decimal places; floor or round it"),
                Err(error) => stop(format!("cast to a number: its text is {error}")),
            }
        }
        (Target::Number | Target::Whole, Value::Bool(value)) => {
            owned(Value::Int(i64::from(*value)))
        }
        (Target::Number, other) => match number(other, cells)? {
            Some(number) => owned(Value::Decimal(number)),
            None => owned(Value::Null),
        },
        (Target::Whole, other) => match number(other, cells)? {
            Some(number) if number.is_integer() => owned(Value::Decimal(number)),
            Some(_) => stop("cast to int: the number has decimal places; floor or round it"),
            None => owned(Value::Null),
        },
        (Target::Text, other) => match plain_text(other)? {
            Some(text) => owned(Value::Text(text.into_owned())),
            None => owned(Value::Null),
        },
        (Target::Date, Value::Date(_)) => Ok(value),
        (Target::Date, Value::DateTime(local)) => owned(Value::Date(local.date())),
        (Target::Date, Value::Text(text)) => match convert::iso(text.trim()) {
            Some(date) if convert::is_null_date(date, cells.cleaning) => owned(Value::Null),
            Some(date) => owned(Value::Date(date)),
            // In a test, a datetime is written as text too.
            None if cells.cleaning.untyped && text.parse::<civil::DateTime>().is_ok() => owned(
                Value::Date(text.parse::<civil::DateTime>().unwrap_or_default().date()),
            ),
            None => stop("cast to date: its text is no date YYYY-MM-DD"),
        },
        (Target::Date, other) => wrong(other, "date"),
    }
}

fn in_unit<'r>(
    units: &Units,
    parts: &'r [Expr],
    places: Option<u32>,
    cells: &Cells<'r>,
) -> Got<'r> {
    let [quantity, from, to] = parts else {
        return owned(Value::Null);
    };
    let Some(quantity) = quantity.number(cells)? else {
        return owned(Value::Null);
    };
    let unit = |part: &'r Expr| -> Result<Option<String>, Stop> {
        let value = part.value(cells)?;
        let text = plain_text(&value)?.map(std::borrow::Cow::into_owned);
        Ok(text.map(|text| {
            if cells.cleaning.fold {
                folded(&text)
            } else {
                text
            }
        }))
    };
    let (Some(from), Some(to)) = (unit(from)?, unit(to)?) else {
        return owned(Value::Null);
    };
    match units.convert(quantity, &from, &to, places) {
        Ok(number) => owned(Value::Decimal(number)),
        Err(reason) => stop(format!("in_unit: {reason}")),
    }
}

fn look_up<'r>(codes: &Codes, parts: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    let mut code = String::new();
    for (n, part) in parts.iter().enumerate() {
        let value = part.value(cells)?;
        let Some(text) = plain_text(&value)? else {
            return owned(Value::Null);
        };
        if n > 0 {
            code.push('/');
        }
        code.push_str(&text);
    }
    if cells.cleaning.fold {
        code = folded(&code);
    }
    match codes.values.get(&code).or(codes.otherwise.as_ref()) {
        Some(meaning) => owned(Value::Text(meaning.clone())),
        None => stop(format!(
            "its code is not in dictionary `{}`{}",
            codes.name, codes.of
        )),
    }
}
