//! An expression's value for a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use contract::{Decimal, Value};
use jiff::civil;
use jiff::tz::TimeZone;

use super::functions::Call;
use super::{Arithmetic, Codes, Comparison, Ending, Expr, Piece, Target};
use crate::convert::{self, Cleaned, Cleaning, clean};

/// Why an expression has no value. The reason names types and functions, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A cell it needs is one the log left out.
    Unchanged,
    /// It has no exact result.
    Wrong(String),
}

fn stop<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(reason.into()))
}

type Got<'r> = Result<Cow<'r, Value>, Stop>;

/// The cells of a row, as an expression sees them.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'r> {
    /// The row.
    pub(crate) row: &'r [Value],
    /// Where the rule's columns stand in it.
    pub(crate) at: &'r [usize],
    /// The file's cleaning rules.
    pub(crate) cleaning: &'r Cleaning,
    /// The zone of local times.
    pub(crate) zone: Option<&'r TimeZone>,
}

impl<'r> Cells<'r> {
    fn cell(&self, column: usize) -> Got<'r> {
        let cell = self.at.get(column).and_then(|at| self.row.get(*at));
        let Some(cell) = cell else {
            return stop("the row is shorter than its table's columns");
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
fn owned<'r>(value: Value) -> Got<'r> {
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
                let order = compare(&*left.value(cells)?, &*right.value(cells)?)?;
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
                    (left, right) => compare(left, right)?.is_some_and(Ordering::is_eq),
                };
                truth(Some(same))
            }
            Self::In(value, items) => {
                let value = value.value(cells)?;
                let mut unknown = false;
                for item in items {
                    match compare(&value, &*item.value(cells)?)? {
                        Some(Ordering::Equal) => return truth(Some(true)),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                truth((!unknown).then_some(false))
            }
            Self::Between(value, low, high) => {
                let value = value.value(cells)?;
                let above = compare(&value, &*low.value(cells)?)?.map(Ordering::is_ge);
                let below = compare(&value, &*high.value(cells)?)?.map(Ordering::is_le);
                truth(match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                })
            }
            Self::Like(value, pattern) => {
                let value = value.value(cells)?;
                truth(plain_text(&value)?.map(|text| like(&text, pattern)))
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
                    if compare(&operand, &*wanted.value(cells)?)?.is_some_and(Ordering::is_eq) {
                        return value.value(cells);
                    }
                }
                otherwise.value(cells)
            }
            Self::Cast(inner, target) => cast(inner.value(cells)?, *target),
            Self::Call(call, arguments) => call_function(*call, arguments, cells),
            Self::Dictionary(codes, parts) => look_up(codes, parts, cells),
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

    fn number(&self, cells: &Cells<'_>) -> Result<Option<Decimal>, Stop> {
        number(&*self.value(cells)?)
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

fn number(value: &Value) -> Result<Option<Decimal>, Stop> {
    Ok(Some(match value {
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
fn plain_text(value: &Value) -> Result<Option<Cow<'_, str>>, Stop> {
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

/// Which of two values is greater; `None` when one of them is null.
fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, Stop> {
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
        (V::Text(left), V::Text(right)) => left.cmp(right),
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
        (V::Text(text), other) => match moment(text, other) {
            Some(left) => return compare(&left, other),
            None => return unlike(),
        },
        (other, V::Text(text)) => match moment(text, other) {
            Some(right) => return compare(other, &right),
            None => return unlike(),
        },
        // Truth values are bits in some databases and words in others.
        (V::Bool(left), other) => match number(other)? {
            Some(right) if right == Decimal::ZERO || right == Decimal::from(1_i64) => {
                Decimal::from(i64::from(*left)).cmp(&right)
            }
            _ => return unlike(),
        },
        (other, V::Bool(_)) => {
            return Ok(compare(right, other)?.map(Ordering::reverse));
        }
        (left_value, right_value) => match (number(left_value), number(right_value)) {
            (Ok(Some(left)), Ok(Some(right))) => left.cmp(&right),
            _ => return unlike(),
        },
    }))
}

/// Backtracks to the last `%` only, so it takes at most text times pattern steps.
fn like(text: &str, pattern: &[Piece]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(piece) {
            Some(Piece::Any) => {
                retry = Some((at, piece));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Char(c)) if text.get(at) == Some(c) => (at, piece) = (at + 1, piece + 1),
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

fn cast(value: Cow<'_, Value>, target: Target) -> Got<'_> {
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
        (Target::Number, other) => match number(other)? {
            Some(number) => owned(Value::Decimal(number)),
            None => owned(Value::Null),
        },
        (Target::Whole, other) => match number(other)? {
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
            Some(date) => owned(Value::Date(date)),
            None => stop("cast to date: its text is no date YYYY-MM-DD"),
        },
        (Target::Date, other) => wrong(other, "date"),
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
    match codes.values.get(&code).or(codes.otherwise.as_ref()) {
        Some(meaning) => owned(Value::Text(meaning.clone())),
        None => stop(format!("its code is not in dictionary `{}`", codes.name)),
    }
}

fn call_function<'r>(call: Call, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    // These choose among their arguments and take nulls.
    match call {
        Call::Coalesce => {
            for argument in arguments {
                let value = argument.value(cells)?;
                if !matches!(*value, Value::Null) {
                    return Ok(value);
                }
            }
            return owned(Value::Null);
        }
        Call::Greatest | Call::Least => {
            let wanted = if call == Call::Greatest {
                Ordering::Greater
            } else {
                Ordering::Less
            };
            let mut best: Cow<'r, Value> = Cow::Owned(Value::Null);
            for argument in arguments {
                let value = argument.value(cells)?;
                let better = match compare(&value, &best)? {
                    Some(order) => order == wanted,
                    None => matches!(*best, Value::Null),
                };
                if better {
                    best = value;
                }
            }
            return Ok(best);
        }
        Call::ConcatAll => {
            let mut text = String::new();
            for argument in arguments {
                let value = argument.value(cells)?;
                text.push_str(&plain_text(&value)?.unwrap_or_default());
            }
            return owned(Value::Text(text));
        }
        Call::Round => {
            let value = argument(arguments, 0, cells)?;
            let places = match arguments.get(1) {
                Some(places) => places.number(cells)?,
                None => Some(Decimal::ZERO),
            };
            let places = places
                .and_then(|places| u32::try_from(places.coefficient()).ok())
                .unwrap_or(0);
            // The one way a binary float becomes a number.
            let rounded = match &*value {
                Value::Float(float) => convert::float(*float, places).map_err(Stop::Wrong)?,
                other => match number(other)? {
                    Some(number) => number,
                    None => return owned(Value::Null),
                },
            };
            return match rounded.try_round(places) {
                Ok(number) => owned(Value::Decimal(number)),
                Err(error) => stop(format!("round: {error}")),
            };
        }
        _ => {}
    }
    strict(call, arguments, cells)
}

fn argument<'r>(arguments: &'r [Expr], n: usize, cells: &Cells<'r>) -> Got<'r> {
    match arguments.get(n) {
        Some(expr) => expr.value(cells),
        None => owned(Value::Null),
    }
}

/// Functions that are null where an argument is.
fn strict<'r>(call: Call, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    let first = argument(arguments, 0, cells)?;
    if matches!(*first, Value::Null) {
        return owned(Value::Null);
    }
    let text = |value: &Value| match value {
        Value::Text(text) => Ok(text.clone()),
        other => match plain_text(other)? {
            Some(text) => Ok(text.into_owned()),
            None => stop("a null text"),
        },
    };
    let count = |n: usize| -> Result<Option<usize>, Stop> {
        let Some(expr) = arguments.get(n) else {
            return Ok(None);
        };
        match expr.number(cells)? {
            None => Ok(None),
            Some(number) if number.is_integer() => Ok(Some(
                usize::try_from(number.coefficient().max(0)).unwrap_or(usize::MAX),
            )),
            Some(_) => stop("a number of characters must be whole"),
        }
    };
    Ok(Cow::Owned(match call {
        Call::Abs => match number(&first)? {
            Some(number) => Value::Decimal(number.abs()),
            None => Value::Null,
        },
        Call::Ceil => number(&first)?.map_or(Value::Null, |n| Value::Decimal(n.ceil())),
        Call::Floor => number(&first)?.map_or(Value::Null, |n| Value::Decimal(n.floor())),
        Call::Nullif => {
            let second = argument(arguments, 1, cells)?;
            if compare(&first, &second)? == Some(Ordering::Equal) {
                Value::Null
            } else {
                return Ok(first);
            }
        }
        Call::Trim => Value::Text(text(&first)?.trim().to_owned()),
        Call::Ltrim => Value::Text(text(&first)?.trim_start().to_owned()),
        Call::Rtrim => Value::Text(text(&first)?.trim_end().to_owned()),
        Call::Upper => Value::Text(text(&first)?.to_uppercase()),
        Call::Lower => Value::Text(text(&first)?.to_lowercase()),
        Call::Length => {
            let length = text(&first)?.chars().count();
            Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
        }
        Call::Left | Call::Right => {
            let Some(wanted) = count(1)? else {
                return owned(Value::Null);
            };
            let text = text(&first)?;
            let skip = if call == Call::Right {
                text.chars().count().saturating_sub(wanted)
            } else {
                0
            };
            Value::Text(text.chars().skip(skip).take(wanted).collect())
        }
        Call::Substr => {
            let Some(from) = count(1)? else {
                return owned(Value::Null);
            };
            if from == 0 {
                return stop("substr counts characters from 1");
            }
            let length = match arguments.get(2) {
                None => usize::MAX,
                Some(_) => match count(2)? {
                    Some(length) => length,
                    None => return owned(Value::Null),
                },
            };
            Value::Text(text(&first)?.chars().skip(from - 1).take(length).collect())
        }
        Call::Replace => {
            let (old, new) = (
                argument(arguments, 1, cells)?,
                argument(arguments, 2, cells)?,
            );
            match (&*old, &*new) {
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                (old, new) => {
                    let (old, new) = (text(old)?, text(new)?);
                    if old.is_empty() {
                        return stop("replace: the text to look for is empty");
                    }
                    Value::Text(text(&first)?.replace(&old, &new))
                }
            }
        }
        Call::DateYmd | Call::DateCyyddd => {
            let (read, form): (fn(&str) -> Option<civil::Date>, _) = if call == Call::DateYmd {
                (convert::ymd, "YYYYMMDD")
            } else {
                (convert::cyyddd, "CYYDDD")
            };
            match &*first {
                Value::Text(_) | Value::Int(_) | Value::Decimal(_) => {}
                other => return stop(format!("a {} is no date {form}", other.type_name())),
            }
            let digits = text(&first)?;
            let digits = digits.trim();
            if digits.bytes().all(|b| b == b'0') {
                Value::Null
            } else {
                match read(digits) {
                    Some(date) => Value::Date(date),
                    None => return stop(format!("its {} is no date {form}", first.type_name())),
                }
            }
        }
        Call::TimeHhmm => match hhmm(text(&first)?.trim()) {
            Some(time) => Value::Time(time),
            None => return stop(format!("its {} is no time HHMM", first.type_name())),
        },
        Call::DateTime => match (&*first, &*argument(arguments, 1, cells)?) {
            (_, Value::Null) => Value::Null,
            (Value::Date(date), Value::Time(time)) => Value::DateTime(date.to_datetime(*time)),
            (date, time) => {
                return stop(format!(
                    "datetime needs a date and a time, found {} and {}",
                    date.type_name(),
                    time.type_name()
                ));
            }
        },
        Call::LocalDateTime => return local(&first, arguments, cells),
        Call::Truthy => match &*first {
            Value::Bool(value) => Value::Bool(*value),
            Value::Int(0) => Value::Bool(false),
            Value::Int(1) => Value::Bool(true),
            other => match plain_text(other)?.unwrap_or_default().trim() {
                "1" | "Y" | "y" | "Yes" | "yes" | "YES" | "T" | "t" | "True" | "true" | "TRUE" => {
                    Value::Bool(true)
                }
                "" | "0" | "N" | "n" | "No" | "no" | "NO" | "F" | "f" | "False" | "false"
                | "FALSE" => Value::Bool(false),
                _ => return stop("truthy: its code is neither yes nor no"),
            },
        },
        Call::Coalesce | Call::Greatest | Call::Least | Call::ConcatAll | Call::Round => {
            return stop("a function that takes nulls came to the wrong place");
        }
    }))
}

fn local<'r>(first: &Value, arguments: &'r [Expr], cells: &Cells<'r>) -> Got<'r> {
    let local = match (first, arguments.get(1)) {
        (Value::DateTime(local), None) => *local,
        (Value::Date(date), Some(time)) => match &*time.value(cells)? {
            Value::Null => return owned(Value::Null),
            Value::Time(time) => date.to_datetime(*time),
            other => {
                return stop(format!(
                    "local_datetime needs a time, found {}",
                    other.type_name()
                ));
            }
        },
        (other, _) => {
            return stop(format!(
                "local_datetime needs a datetime, or a date and a time, found {}",
                other.type_name()
            ));
        }
    };
    let Some(zone) = cells.zone else {
        return stop("a time without zone needs a zone");
    };
    match zone.to_ambiguous_timestamp(local).unambiguous() {
        Ok(moment) => owned(Value::Timestamp(moment)),
        Err(_) => stop("the local time falls into a clock change of its zone"),
    }
}

/// `805`, `0805`, `1435`.
fn hhmm(digits: &str) -> Option<civil::Time> {
    let only = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: i8 = only
        .then(|| digits.parse::<i16>().ok())?
        .and_then(|n| (n / 100).try_into().ok())?;
    let minutes: i8 = digits
        .parse::<i16>()
        .ok()
        .and_then(|n| (n % 100).try_into().ok())?;
    civil::Time::new(number, minutes, 0, 0).ok()
}
