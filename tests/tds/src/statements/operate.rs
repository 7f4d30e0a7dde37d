//! Operators: the types of their two sides.

use super::ast::Op;
use super::bind::{Bound, Result, boolean};
use super::eval::Node;
use super::types::{Family, Kind, common, comparable, family, name, scale};
use crate::wire::{Collation, Length, ServerError, Type};

/// CASE over expressions that are bound already.
pub(crate) fn case(whens: Vec<(Bound, Bound)>, other: Bound) -> Result<Bound> {
    let mut kind = other.kind.clone();
    for (_, then) in &whens {
        kind = common(&kind, &then.kind)?;
    }
    let whens = whens
        .into_iter()
        .map(|(when, then)| Ok((when, then.cast(kind.clone())?)));
    let whens = whens.collect::<Result<Vec<_>>>()?;
    let other = other.cast(kind.clone())?;
    Ok(Bound {
        kind,
        node: Node::Case(whens, Box::new(other)),
        strength: 1,
    })
}

/// The collation of two sides, or error 468.
fn shared(op: Op, left: &Bound, right: &Bound) -> Result<Collation> {
    let text = |bound: &Bound| family(&bound.kind.of) == Family::Text && !bound.kind.null;
    match (text(left), text(right)) {
        (true, true)
            if left.kind.collation != right.kind.collation && left.strength == right.strength =>
        {
            if left.strength == 0 {
                return Ok(left.kind.collation);
            }
            let text = format!(
                "Cannot resolve the collation conflict in the {} operation.",
                op.name()
            );
            Err(ServerError::new(468, 16, text))
        }
        (true, true) if right.strength > left.strength => Ok(right.kind.collation),
        (false, true) => Ok(right.kind.collation),
        _ => Ok(left.kind.collation),
    }
}

/// A comparison of two sides.
pub(crate) fn compare(op: Op, left: Bound, right: Bound) -> Result<Bound> {
    comparable(&left.kind, &right.kind)?;
    for side in [&left, &right] {
        if matches!(family(&side.kind.of), Family::Old | Family::Xml) {
            return Err(ServerError::new(
                402,
                16,
                format!(
                    "The data types {} and {} are incompatible in the {} operator.",
                    name(&left.kind.of),
                    name(&right.kind.of),
                    op.name()
                ),
            ));
        }
    }
    let by = shared(op, &left, &right)?;
    let (l, r) = (family(&left.kind.of), family(&right.kind.of));
    let as_they_are = l == r || left.kind.null || right.kind.null;
    let (left, right) = if as_they_are || l == Family::Variant || r == Family::Variant {
        (left, right)
    } else if l == Family::Text || (l == Family::Bytes && r != Family::Text) {
        let to = of_side(&right.kind, &left.kind);
        (left.cast(to)?, right)
    } else {
        let to = of_side(&left.kind, &right.kind);
        (left, right.cast(to)?)
    };
    Ok(boolean(Node::Compare(op, by, Box::new((left, right)))))
}

/// The type that a text or bytes become beside another type: wide enough to keep what they say.
fn of_side(other: &Kind, from: &Kind) -> Kind {
    let of = match &other.of {
        Type::Bit | Type::TinyInt | Type::SmallInt | Type::Int
            if family(&from.of) == Family::Text =>
        {
            Type::Int
        }
        kind if family(kind) == Family::Exact && family(&from.of) == Family::Bytes => Type::BigInt,
        Type::Decimal(_, scale) | Type::Numeric(_, scale) => Type::Decimal(38, *scale),
        Type::DateTime2(_) => Type::DateTime2(7),
        Type::Time(_) => Type::Time(7),
        Type::DateTimeOffset(_) => Type::DateTimeOffset(7),
        kind => kind.clone(),
    };
    Kind::new(of)
}

/// A sum, a product and their like; `+` of texts is one behind the other.
pub(super) fn arithmetic(op: Op, left: Bound, right: Bound) -> Result<Bound> {
    let nullable = left.kind.nullable || right.kind.nullable;
    let (l, r) = (family(&left.kind.of), family(&right.kind.of));
    let wrong = || {
        ServerError::new(
            402,
            16,
            format!(
                "The data types {} and {} are incompatible in the {} operator.",
                name(&left.kind.of),
                name(&right.kind.of),
                op.name()
            ),
        )
    };
    if l == Family::Text && r == Family::Text {
        if op != Op::Add {
            return Err(wrong());
        }
        let unicode = |kind: &Type| matches!(kind, Type::NChar(_) | Type::NVarChar(_));
        let long = |kind: &Type| {
            matches!(
                kind,
                Type::NVarChar(Length::Max) | Type::VarChar(Length::Max)
            )
        };
        let length = |most| {
            if long(&left.kind.of) || long(&right.kind.of) {
                Length::Max
            } else {
                Length::Of(most)
            }
        };
        let of = if unicode(&left.kind.of) || unicode(&right.kind.of) {
            Type::NVarChar(length(4000))
        } else {
            Type::VarChar(length(8000))
        };
        let by = shared(op, &left, &right)?;
        let kind = Kind {
            nullable,
            ..Kind::new(of).collated(by)
        };
        let strength = left.strength.max(right.strength);
        return Ok(Bound {
            kind,
            node: Node::Join(Box::new((left, right))),
            strength,
        });
    }
    let common = common(&left.kind, &right.kind)?;
    let of = match family(&common.of) {
        Family::Float => Type::Float,
        Family::Exact => {
            let (a, b) = (scale(&left.kind.of), scale(&right.kind.of));
            match (&common.of, op) {
                (Type::Decimal(..) | Type::Numeric(..), Op::Mul) => {
                    Type::Decimal(38, (a + b).min(38))
                }
                (Type::Decimal(..) | Type::Numeric(..), Op::Div) => Type::Decimal(38, a.max(6)),
                (Type::Decimal(..) | Type::Numeric(..), _) => Type::Decimal(38, a.max(b)),
                (Type::Bit | Type::TinyInt | Type::SmallInt, _) => Type::Int,
                (kind, _) => kind.clone(),
            }
        }
        _ => return Err(wrong()),
    };
    let kind = Kind {
        nullable,
        ..Kind::new(of)
    };
    Ok(Bound::new(
        kind.clone(),
        Node::Arithmetic(op, kind.of, Box::new((left, right))),
    ))
}
