//! Names and types looked up.

use std::collections::BTreeMap;

use super::ast::{Expr, Op, Path};
use super::convert::convert;
use super::eval::{Aggregate, Node, Total};
use super::functions;
use super::query::{self, Bound as BoundQuery};
use super::types::{Family, Kind, collation, common, comparable, family, name, scale};
use crate::model::{State, Table, User, View, same_name};
use crate::wire::{Collation, Length, ServerError, Type, Value};

pub(crate) type Result<T> = std::result::Result<T, ServerError>;

/// What a connection is, for functions that ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) transactions: i32,
    pub(crate) lock_timeout: i32,
    pub(crate) program: String,
    pub(crate) row_count: i64,
}

/// Parameters and variables.
pub(crate) type Names = BTreeMap<String, (Value, Kind)>;

/// What a statement is run with.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'a> {
    pub(crate) state: &'a State,
    pub(crate) user: &'a User,
    pub(crate) view: View,
    pub(crate) names: &'a Names,
    pub(crate) facts: &'a Facts,
    /// Another for each statement: the order of rows that nobody ordered.
    pub(crate) salt: u64,
}

/// A column that an expression can name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) of: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) identity: bool,
}

/// The columns that an expression can name, and those around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) columns: Vec<Named>,
    pub(crate) outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    pub(crate) fn of_table(table: &Table, default: Collation) -> Self {
        let named = |column: &crate::model::Column| Named {
            of: table.name.clone(),
            name: if column.dropped {
                String::new()
            } else {
                column.name.clone()
            },
            kind: column.kind(default),
            identity: column.identity,
        };
        Self {
            columns: table.columns.iter().map(named).collect(),
            outer: None,
        }
    }

    fn find(&self, path: &Path) -> Result<Option<(usize, usize, Kind)>> {
        let (last, qualifier) = match path.as_slice() {
            [name] => (name, None),
            [of, name] | [_, of, name] => (name, Some(of)),
            _ => return Ok(None),
        };
        let mut scope = Some(self);
        let mut depth = 0;
        while let Some(now) = scope {
            let fits = |named: &Named| {
                same_name(&named.name, last) && qualifier.is_none_or(|of| same_name(&named.of, of))
            };
            let mut found = now
                .columns
                .iter()
                .enumerate()
                .filter(|(_, named)| fits(named));
            if let Some((at, named)) = found.next() {
                if found.next().is_some() {
                    return Err(ServerError::new(
                        209,
                        16,
                        format!("Ambiguous column name '{last}'."),
                    ));
                }
                return Ok(Some((depth, at, named.kind.clone())));
            }
            scope = now.outer;
            depth += 1;
        }
        Ok(None)
    }
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) kind: Kind,
    pub(crate) node: Node,
    /// How strongly it holds to its collation: 0 a constant, 1 a column, 2 said with COLLATE.
    strength: u8,
}

impl Bound {
    pub(crate) fn new(kind: Kind, node: Node) -> Self {
        Self {
            kind,
            node,
            strength: 0,
        }
    }

    pub(crate) fn cast(self, to: Kind) -> Result<Self> {
        if self.kind.of == to.of {
            return Ok(self);
        }
        if let Node::Value(value) = &self.node {
            let value = convert(value, &self.kind.of, &to.of, 0)?;
            return Ok(Self {
                kind: to,
                node: Node::Value(value),
                strength: self.strength,
            });
        }
        let from = self.kind.of.clone();
        let strength = self.strength;
        let node = Node::Cast {
            what: Box::new(self),
            from,
            to: to.of.clone(),
            style: 0,
            lenient: false,
        };
        Ok(Self {
            kind: to,
            node,
            strength,
        })
    }
}

fn boolean(node: Node) -> Bound {
    Bound::new(Kind::new(Type::Bit), node)
}

/// The aggregates of a SELECT, gathered while its expressions are bound.
pub(crate) type Aggregates<'a> = Option<&'a mut Vec<Aggregate>>;

/// Binds an expression.
pub(crate) fn expr(
    cx: &Cx<'_>,
    of: &Expr,
    scope: &Scope<'_>,
    mut totals: Aggregates<'_>,
) -> Result<Bound> {
    let default = cx.state.collation.1;
    let mut inner = |of: &Expr| expr(cx, of, scope, totals.as_deref_mut());
    Ok(match of {
        Expr::Literal(value, kind) => {
            let mut kind = Kind::new(kind.clone()).collated(default);
            kind.null = *value == Value::Null;
            kind.nullable = kind.null;
            Bound::new(kind, Node::Value(value.clone()))
        }
        Expr::Parameter(name) => {
            let found = cx
                .names
                .iter()
                .find(|(other, _)| same_name(other, name))
                .map(|(_, v)| v);
            let (value, kind) = found.ok_or_else(|| {
                ServerError::new(
                    137,
                    15,
                    format!("Must declare the scalar variable \"{name}\"."),
                )
            })?;
            Bound::new(kind.clone(), Node::Value(value.clone()))
        }
        Expr::Global(name) => functions::global(cx, name)?,
        Expr::Column(path) => {
            let Some((depth, at, kind)) = scope.find(path)? else {
                return Err(not_found(path, scope));
            };
            Bound {
                kind,
                node: Node::Column(depth, at),
                strength: 1,
            }
        }
        Expr::Word(word) => Bound::new(Kind::nvarchar(30), Node::Value(Value::text(word))),
        Expr::Call {
            name,
            args,
            star,
            distinct,
        } => {
            if let Some(total) = Total::named(name, *star) {
                let Some(list) = totals else {
                    return Err(ServerError::new(
                        147,
                        15,
                        "An aggregate may not appear here.",
                    ));
                };
                let arg = match args.as_slice() {
                    [] if *star => None,
                    [one] => Some(expr(cx, one, scope, None)?),
                    _ => return Err(functions::arguments(&name.join("."))),
                };
                let kind = total.kind(arg.as_ref().map(|arg| &arg.kind))?;
                list.push(Aggregate {
                    total,
                    arg,
                    distinct: *distinct,
                });
                return Ok(Bound::new(kind, Node::Total(list.len() - 1)));
            }
            let args = args.iter().map(&mut inner).collect::<Result<Vec<_>>>()?;
            functions::call(cx, name, args)?
        }
        Expr::Minus(what) => {
            let what = inner(what)?;
            let zero = Bound::new(Kind::int(), Node::Value(Value::Int(0)));
            arithmetic(Op::Sub, zero, what)?
        }
        Expr::Not(what) => boolean(Node::Not(Box::new(inner(what)?))),
        Expr::Binary(op, left, right) => {
            let (left, right) = (inner(left)?, inner(right)?);
            match op {
                Op::And | Op::Or => boolean(Node::Logic(*op == Op::And, Box::new((left, right)))),
                Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => compare(*op, left, right)?,
                _ => arithmetic(*op, left, right)?,
            }
        }
        Expr::IsNull(what, not) => boolean(Node::IsNull(Box::new(inner(what)?), *not)),
        Expr::Like {
            what,
            pattern,
            escape,
            not,
        } => {
            let (what, pattern) = (inner(what)?, inner(pattern)?);
            let escape = escape.as_deref().map(&mut inner).transpose()?.map(Box::new);
            boolean(Node::Like {
                parts: Box::new((what, pattern)),
                escape,
                not: *not,
            })
        }
        Expr::In(what, list, not) => {
            let what = inner(what)?;
            let mut any = boolean(Node::Value(Value::Bit(false)));
            for one in list {
                let same = compare(Op::Eq, what.clone(), inner(one)?)?;
                any = boolean(Node::Logic(false, Box::new((any, same))));
            }
            if *not {
                boolean(Node::Not(Box::new(any)))
            } else {
                any
            }
        }
        Expr::InQuery(what, query, not) => {
            let what = inner(what)?;
            let query = query::bind(cx, query, Some(scope))?;
            one_column(&query)?;
            comparable(&what.kind, &query.columns[0].kind)?;
            boolean(Node::InQuery(Box::new(what), Box::new(query), *not))
        }
        Expr::Between(what, low, high, not) => {
            let what = inner(what)?;
            let low = compare(Op::Ge, what.clone(), inner(low)?)?;
            let high = compare(Op::Le, what, inner(high)?)?;
            let both = boolean(Node::Logic(true, Box::new((low, high))));
            if *not {
                boolean(Node::Not(Box::new(both)))
            } else {
                both
            }
        }
        Expr::Case { of, whens, other } => {
            let of = of.as_deref().map(&mut inner).transpose()?;
            let mut bound = Vec::new();
            for (when, then) in whens {
                let when = match &of {
                    Some(of) => compare(Op::Eq, of.clone(), inner(when)?)?,
                    None => inner(when)?,
                };
                bound.push((when, inner(then)?));
            }
            let other = match other {
                Some(other) => inner(other)?,
                None => functions::null(),
            };
            case(bound, other)?
        }
        Expr::Cast {
            what,
            to,
            style,
            lenient,
        } => {
            let what = inner(what)?;
            let mut kind = Kind::new(to.clone()).collated(what.kind.collation);
            kind.nullable = what.kind.nullable || *lenient;
            let from = what.kind.of.clone();
            let strength = what.strength;
            let node = Node::Cast {
                what: Box::new(what),
                from,
                to: to.clone(),
                style: *style,
                lenient: *lenient,
            };
            Bound {
                kind,
                node,
                strength,
            }
        }
        Expr::Exists(query) => {
            let query = query::bind(cx, query, Some(scope))?;
            boolean(Node::Exists(Box::new(query)))
        }
        Expr::Query(query) => {
            let query = query::bind(cx, query, Some(scope))?;
            one_column(&query)?;
            let mut kind = query.columns[0].kind.clone();
            kind.nullable = true;
            Bound {
                kind,
                node: Node::Scalar(Box::new(query)),
                strength: 1,
            }
        }
        Expr::Collate(what, to) => {
            let mut what = inner(what)?;
            if family(&what.kind.of) != Family::Text {
                let text = format!(
                    "Expression type {} is invalid for COLLATE clause.",
                    name(&what.kind.of)
                );
                return Err(ServerError::new(447, 16, text));
            }
            what.kind.collation = collation(to)?;
            what.strength = 2;
            what
        }
    })
}

fn not_found(path: &Path, scope: &Scope<'_>) -> ServerError {
    let name = path.last().map_or("", String::as_str);
    if let [.., of, _] = path.as_slice() {
        let mut now = Some(scope);
        while let Some(scope) = now {
            if scope.columns.iter().any(|named| same_name(&named.of, of)) {
                return ServerError::new(207, 16, format!("Invalid column name '{name}'."));
            }
            now = scope.outer;
        }
        return ServerError::new(
            4104,
            16,
            format!(
                "The multi-part identifier \"{}\" could not be bound.",
                path.join(".")
            ),
        );
    }
    ServerError::new(207, 16, format!("Invalid column name '{name}'."))
}

fn one_column(query: &BoundQuery) -> Result<()> {
    if query.columns.len() == 1 {
        return Ok(());
    }
    let text = "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.";
    Err(ServerError::new(116, 16, text))
}

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
    let (left, right) = if l == r || left.kind.null || right.kind.null {
        (left, right)
    } else if l == Family::Variant || r == Family::Variant {
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

fn arithmetic(op: Op, left: Bound, right: Bound) -> Result<Bound> {
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
