//! Joins.

use super::super::ast::{Expr, From, Join, Op};
use super::super::bind::{Bound, Cx, Named, Result, Scope, expr};
use super::super::eval::Node;
use super::super::types::Kind;
use super::{Plan, bind};
use crate::model::same_name;
use crate::wire::{ServerError, Type};

pub(super) fn join(
    cx: &Cx<'_>,
    kind: Join,
    (left, right): (&From, &From),
    on: Option<&Expr>,
    outer: Option<&Scope<'_>>,
) -> Result<(Plan, Vec<Named>)> {
    let (left, mut columns) = bind(cx, left, outer)?;
    let apply = matches!(kind, Join::CrossApply | Join::OuterApply);
    let around = Scope {
        columns: columns.clone(),
        outer,
    };
    let (right, mut others) = bind(cx, right, if apply { Some(&around) } else { outer })?;
    let clash = columns
        .iter()
        .any(|a| others.iter().any(|b| same_name(&a.of, &b.of)));
    if clash {
        let of = others.first().map_or("", |named| named.of.as_str());
        let text = format!(
            "The objects \"{of}\" and \"{of}\" in the FROM clause have the same exposed names. Use correlation names to distinguish them."
        );
        return Err(ServerError::new(1013, 16, text));
    }
    let before = columns.len();
    let width = others.len();
    if matches!(kind, Join::Left | Join::OuterApply) {
        for other in &mut others {
            other.kind.nullable = true;
        }
    }
    columns.extend(others);
    let scope = Scope {
        columns: columns.clone(),
        outer,
    };
    let (mut keys, mut rest) = (Vec::new(), None);
    if let Some(on) = on {
        let mut parts = Vec::new();
        conjuncts(on, &mut parts);
        for part in parts {
            let bound = expr(cx, part, &scope, None)?.condition()?;
            if let Some(pair) = equal_key(&bound, before) {
                keys.push(pair);
                continue;
            }
            rest = Some(both(rest, bound));
        }
    }
    let plan = Plan::Join {
        kind,
        left: Box::new(left),
        right: Box::new(right),
        before,
        width,
        filters: Vec::new(),
        on: rest,
        keys,
    };
    Ok((plan, columns))
}

/// The parts that AND joins.
pub(crate) fn conjuncts<'a>(of: &'a Expr, into: &mut Vec<&'a Expr>) {
    match of {
        Expr::Binary(Op::And, left, right) => {
            conjuncts(left, into);
            conjuncts(right, into);
        }
        other => into.push(other),
    }
}

/// `left.a = right.b` of columns of one type, which is found by its sameness.
fn equal_key(bound: &Bound, before: usize) -> Option<(Bound, Bound)> {
    let Node::Compare(Op::Eq, by, parts) = &bound.node else {
        return None;
    };
    let at = |bound: &Bound| match bound.node {
        Node::Column(0, at) => Some(at),
        _ => None,
    };
    let (a, b) = (at(&parts.0)?, at(&parts.1)?);
    let same = parts.0.kind.of == parts.1.kind.of;
    if !same || (a < before) == (b < before) {
        return None;
    }
    let (mut left, mut right) = (parts.0.clone(), parts.1.clone());
    if a >= before {
        std::mem::swap(&mut left, &mut right);
    }
    left.kind.collation = *by;
    right.kind.collation = *by;
    if let Node::Column(_, at) = &mut right.node {
        *at -= before;
    }
    Some((left, right))
}

/// One condition and another.
pub(crate) fn both(one: Option<Bound>, other: Bound) -> Bound {
    match one {
        None => other,
        Some(one) => Bound::new(
            Kind::new(Type::Bit),
            Node::Logic(true, Box::new((one, other))),
        ),
    }
}
