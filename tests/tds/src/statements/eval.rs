//! Expressions worked out for a row.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::ast::{Op, Path};
use super::bind::{Bound, Cx, Result};
use super::compare::{compare, exact, float, order, sameness};
use super::convert::convert;
use super::functions::Run;
use super::query::Bound as BoundQuery;
use super::types::{Family, Kind, family, ignores_case, scale};
use crate::wire::{Collation, ServerError, Type, Value};

/// What an expression is.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Value(Value),
    /// How many rows further out, and its place there.
    Column(usize, usize),
    Total(usize),
    Not(Box<Bound>),
    /// AND when true, else OR.
    Logic(bool, Box<(Bound, Bound)>),
    Compare(Op, Collation, Box<(Bound, Bound)>),
    Arithmetic(Op, Type, Box<(Bound, Bound)>),
    /// Text behind text.
    Join(Box<(Bound, Bound)>),
    IsNull(Box<Bound>, bool),
    Like {
        parts: Box<(Bound, Bound)>,
        escape: Option<Box<Bound>>,
        not: bool,
    },
    Case(Vec<(Bound, Bound)>, Box<Bound>),
    Cast {
        what: Box<Bound>,
        from: Type,
        to: Type,
        style: i32,
        lenient: bool,
    },
    Exists(Box<BoundQuery>),
    Scalar(Box<BoundQuery>),
    InQuery(Box<Bound>, Box<BoundQuery>, bool),
    Call(Run, Vec<Bound>),
}

/// What aggregates do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Total {
    Count,
    CountBig,
    Min,
    Max,
    Sum,
    Avg,
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) total: Total,
    pub(crate) arg: Option<Bound>,
    pub(crate) distinct: bool,
}

impl Total {
    pub(crate) fn named(path: &Path, star: bool) -> Option<Self> {
        let [name] = path.as_slice() else { return None };
        let found = match name.to_uppercase().as_str() {
            "COUNT" => Self::Count,
            "COUNT_BIG" => Self::CountBig,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            "SUM" => Self::Sum,
            "AVG" => Self::Avg,
            _ => return None,
        };
        (!star || matches!(found, Self::Count | Self::CountBig)).then_some(found)
    }

    pub(crate) fn kind(self, arg: Option<&Kind>) -> Result<Kind> {
        let of = arg.map_or(Type::Int, |kind| kind.of.clone());
        Ok(match self {
            Self::Count => Kind::int(),
            Self::CountBig => Kind::new(Type::BigInt),
            Self::Min | Self::Max => {
                if matches!(family(&of), Family::Old | Family::Xml) || of == Type::Bit {
                    let text = format!(
                        "Operand data type {} is invalid for this operator.",
                        super::types::name(&of)
                    );
                    return Err(ServerError::new(8117, 16, text));
                }
                let mut kind = arg.cloned().unwrap_or_else(Kind::int);
                kind.nullable = true;
                kind
            }
            Self::Sum | Self::Avg => Kind::new(match (family(&of), &of) {
                (Family::Float, _) => Type::Float,
                (_, Type::Decimal(_, scale) | Type::Numeric(_, scale)) => Type::Decimal(38, *scale),
                (_, Type::Money | Type::SmallMoney) => Type::Money,
                (_, Type::BigInt) => Type::BigInt,
                (Family::Exact, _) => Type::Int,
                _ => {
                    let text = format!(
                        "Operand data type {} is invalid for sum operator.",
                        super::types::name(&of)
                    );
                    return Err(ServerError::new(8117, 16, text));
                }
            }),
        })
    }

    /// The aggregate over the rows of a group.
    pub(crate) fn over(self, cx: &Cx<'_>, of: &Aggregate, rows: &[Env<'_>]) -> Result<Value> {
        let Some(arg) = &of.arg else {
            return Ok(self.count(rows.len()));
        };
        let mut values = Vec::new();
        let mut seen = BTreeSet::new();
        for env in rows {
            let value = eval(cx, arg, env)?;
            if value != Value::Null && (!of.distinct || seen.insert(sameness(&value, &arg.kind))) {
                values.push(value);
            }
        }
        let best = |want: Ordering| {
            values.iter().cloned().reduce(|a, b| {
                if order(&b, &a, &arg.kind) == want {
                    b
                } else {
                    a
                }
            })
        };
        match self {
            Self::Count | Self::CountBig => Ok(self.count(values.len())),
            Self::Min => Ok(best(Ordering::Less).unwrap_or(Value::Null)),
            Self::Max => Ok(best(Ordering::Greater).unwrap_or(Value::Null)),
            Self::Sum | Self::Avg => {
                if values.is_empty() {
                    return Ok(Value::Null);
                }
                let to = self.kind(Some(&arg.kind))?.of;
                let mut sum = convert(&Value::Int(0), &Type::Int, &to, 0)?;
                for value in &values {
                    sum = arithmetic(Op::Add, &to, (&sum, &to), (value, &arg.kind.of))?;
                }
                if self == Self::Sum {
                    return Ok(sum);
                }
                let count = Value::Int(i32::try_from(values.len()).unwrap_or(i32::MAX));
                arithmetic(Op::Div, &to, (&sum, &to), (&count, &Type::Int))
            }
        }
    }

    fn count(self, count: usize) -> Value {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self == Self::CountBig {
            return Value::BigInt(count);
        }
        Value::Int(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

/// The row that an expression is worked out for, and those around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env<'a> {
    pub(crate) row: &'a [Value],
    pub(crate) totals: &'a [Value],
    pub(crate) outer: Option<&'a Env<'a>>,
}

impl<'a> Env<'a> {
    pub(crate) fn of(row: &'a [Value]) -> Self {
        Self {
            row,
            totals: &[],
            outer: None,
        }
    }

    pub(crate) fn inside(row: &'a [Value], outer: Option<&'a Env<'a>>) -> Self {
        Self {
            row,
            totals: &[],
            outer,
        }
    }
}

/// Whether a condition is true: neither false nor unknown.
pub(crate) fn holds(cx: &Cx<'_>, of: &Bound, env: &Env<'_>) -> Result<bool> {
    Ok(truth(&eval(cx, of, env)?) == Some(true))
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bit(value) => Some(*value),
        _ => None,
    }
}

fn bit(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bit)
}

/// Works an expression out.
pub(crate) fn eval(cx: &Cx<'_>, of: &Bound, env: &Env<'_>) -> Result<Value> {
    Ok(match &of.node {
        Node::Value(value) => value.clone(),
        Node::Column(depth, at) => {
            let mut now = env;
            for _ in 0..*depth {
                match now.outer {
                    Some(outer) => now = outer,
                    None => return Ok(Value::Null),
                }
            }
            now.row.get(*at).cloned().unwrap_or(Value::Null)
        }
        Node::Total(at) => env.totals.get(*at).cloned().unwrap_or(Value::Null),
        Node::Not(what) => bit(truth(&eval(cx, what, env)?).map(|truth| !truth)),
        Node::Logic(and, parts) => {
            let left = truth(&eval(cx, &parts.0, env)?);
            // AND ends with false, OR with true.
            if left == Some(!and) {
                return Ok(Value::Bit(!and));
            }
            let right = truth(&eval(cx, &parts.1, env)?);
            if right == Some(!and) {
                return Ok(Value::Bit(!and));
            }
            bit(left.and(right))
        }
        Node::Compare(op, by, parts) => {
            let (left, right) = (eval(cx, &parts.0, env)?, eval(cx, &parts.1, env)?);
            let found = compare(&left, &parts.0.kind.of, &right, &parts.1.kind.of, *by);
            bit(found.map(|found| match op {
                Op::Eq => found.is_eq(),
                Op::Ne => found.is_ne(),
                Op::Lt => found.is_lt(),
                Op::Le => found.is_le(),
                Op::Gt => found.is_gt(),
                _ => found.is_ge(),
            }))
        }
        Node::Arithmetic(op, to, parts) => {
            let (left, right) = (eval(cx, &parts.0, env)?, eval(cx, &parts.1, env)?);
            arithmetic(
                *op,
                to,
                (&left, &parts.0.kind.of),
                (&right, &parts.1.kind.of),
            )?
        }
        Node::Join(parts) => match (eval(cx, &parts.0, env)?, eval(cx, &parts.1, env)?) {
            (Value::Text(left), Value::Text(right)) => Value::Text(left + &right),
            _ => Value::Null,
        },
        Node::IsNull(what, not) => Value::Bit((eval(cx, what, env)? == Value::Null) != *not),
        Node::Like { parts, escape, not } => {
            let text = |bound: &Bound| -> Result<Option<String>> {
                match convert(
                    &eval(cx, bound, env)?,
                    &bound.kind.of,
                    &Type::NVarChar(crate::wire::Length::Max),
                    0,
                )? {
                    Value::Text(text) => Ok(Some(text)),
                    _ => Ok(None),
                }
            };
            let (Some(what), Some(pattern)) = (text(&parts.0)?, text(&parts.1)?) else {
                return Ok(Value::Null);
            };
            let escape = match escape {
                Some(escape) => text(escape)?.and_then(|text| text.chars().next()),
                None => None,
            };
            let fold = |text: String| -> Vec<char> {
                if ignores_case(parts.0.kind.collation) {
                    text.to_lowercase()
                } else {
                    text
                }
                .chars()
                .collect()
            };
            Value::Bit(like(&fold(what), &fold(pattern), escape) != *not)
        }
        Node::Case(whens, other) => {
            for (when, then) in whens {
                if holds(cx, when, env)? {
                    return eval(cx, then, env);
                }
            }
            eval(cx, other, env)?
        }
        Node::Cast {
            what,
            from,
            to,
            style,
            lenient,
        } => {
            let value = eval(cx, what, env)?;
            match convert(&value, from, to, *style) {
                Err(_) if *lenient => Value::Null,
                found => found?,
            }
        }
        Node::Exists(query) => Value::Bit(!query.run(cx, Some(env))?.is_empty()),
        Node::Scalar(query) => {
            let rows = query.run(cx, Some(env))?;
            if rows.len() > 1 {
                return Err(ServerError::new(
                    512,
                    16,
                    "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression.",
                ));
            }
            rows.into_iter()
                .next()
                .and_then(|row| row.into_iter().next())
                .unwrap_or(Value::Null)
        }
        Node::InQuery(what, query, not) => {
            let value = eval(cx, what, env)?;
            let mut unknown = value == Value::Null;
            for row in query.run(cx, Some(env))? {
                let other = row.first().unwrap_or(&Value::Null);
                match compare(
                    &value,
                    &what.kind.of,
                    other,
                    &query.columns[0].kind.of,
                    what.kind.collation,
                ) {
                    Some(Ordering::Equal) => return Ok(Value::Bit(!not)),
                    Some(_) => {}
                    None => unknown = true,
                }
            }
            if unknown {
                Value::Null
            } else {
                Value::Bit(*not)
            }
        }
        Node::Call(run, args) => {
            let values = args
                .iter()
                .map(|arg| eval(cx, arg, env))
                .collect::<Result<Vec<_>>>()?;
            let kinds: Vec<&Kind> = args.iter().map(|arg| &arg.kind).collect();
            run(cx, &values, &kinds)?
        }
    })
}

fn arithmetic(op: Op, to: &Type, left: (&Value, &Type), right: (&Value, &Type)) -> Result<Value> {
    if *left.0 == Value::Null || *right.0 == Value::Null {
        return Ok(Value::Null);
    }
    let overflow = || {
        let text = format!(
            "Arithmetic overflow error converting expression to data type {}.",
            super::types::name(to)
        );
        ServerError::new(8115, 16, text)
    };
    if *to == Type::Float {
        let number = |side: (&Value, &Type)| float(side.0, side.1).ok_or_else(overflow);
        let (a, b) = (number(left)?, number(right)?);
        return Ok(Value::Float(match op {
            Op::Add => a + b,
            Op::Sub => a - b,
            Op::Mul => a * b,
            Op::Div => a / b,
            _ => return Err(overflow()),
        }));
    }
    let number = |side: (&Value, &Type)| -> Result<(i128, u8)> {
        match exact(side.0, side.1) {
            Some(found) => Ok(found),
            None => {
                let value = convert(side.0, side.1, to, 0)?;
                exact(&value, to).ok_or_else(overflow)
            }
        }
    };
    let ((a, sa), (b, sb)) = (number(left)?, number(right)?);
    let up = |value: i128, by: u8| {
        10_i128
            .checked_pow(u32::from(by))
            .and_then(|by| value.checked_mul(by))
            .ok_or_else(overflow)
    };
    let same = sa.max(sb);
    let (digits, has) = match op {
        Op::Mul => (a.checked_mul(b).ok_or_else(overflow)?, sa + sb),
        Op::Div | Op::Mod if b == 0 => {
            return Err(ServerError::new(
                8134,
                16,
                "Divide by zero error encountered.",
            ));
        }
        Op::Div => {
            let wants = scale(to);
            (up(a, wants + sb)? / up(b, sa)?, wants)
        }
        _ => {
            let (a, b) = (up(a, same - sa)?, up(b, same - sb)?);
            let found = match op {
                Op::Add => a.checked_add(b),
                Op::Sub => a.checked_sub(b),
                Op::Mod => a.checked_rem(b),
                Op::BitAnd => Some(a & b),
                Op::BitOr => Some(a | b),
                _ => Some(a ^ b),
            };
            (found.ok_or_else(overflow)?, same)
        }
    };
    convert(&Value::Decimal(digits), &Type::Decimal(38, has), to, 0)
}

fn like(text: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    if Some(*first) == escape
        && let Some((wanted, rest)) = rest.split_first()
    {
        return text
            .split_first()
            .is_some_and(|(c, text)| c == wanted && like(text, rest, escape));
    }
    match first {
        '%' => (0..=text.len()).any(|from| like(&text[from..], rest, escape)),
        '_' => text
            .split_first()
            .is_some_and(|(_, text)| like(text, rest, escape)),
        '[' => {
            let Some(end) = rest.iter().position(|c| *c == ']') else {
                return false;
            };
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            let (not, set) = match set.split_first() {
                Some(('^', set)) => (true, set),
                _ => (false, set),
            };
            text.split_first().is_some_and(|(c, text)| {
                let ranged = set
                    .windows(3)
                    .any(|w| w[1] == '-' && w[0] <= *c && *c <= w[2]);
                (set.contains(c) || ranged) != not && like(text, rest, escape)
            })
        }
        wanted => text
            .split_first()
            .is_some_and(|(c, text)| c == wanted && like(text, rest, escape)),
    }
}
