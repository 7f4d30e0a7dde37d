//! Names and types looked up.

use std::collections::BTreeMap;

use super::ast::{Expr, Op, Path};
use super::convert::convert;
use super::eval::{Aggregate, Node, Total};
use super::functions;
use super::operate::{arithmetic, case, compare};
use super::query::{self, Bound as BoundQuery};
use super::types::{Family, Kind, collation, comparable, family, name};
use crate::model::{State, Table, User, View, same_name};
use crate::wire::{Collation, ServerError, Type, Value};

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
    pub(super) strength: u8,
}

impl Bound {
    pub(crate) fn new(kind: Kind, node: Node) -> Self {
        Self {
            kind,
            node,
            strength: 0,
        }
    }

    /// The same, when it is a condition: true, false or unknown.
    pub(crate) fn condition(self) -> Result<Self> {
        if self.node.is_condition() {
            return Ok(self);
        }
        let text = "An expression of non-boolean type specified in a context where a condition is expected.";
        Err(ServerError::new(4145, 15, text))
    }

    /// The same, when it is a value: T-SQL has no values that are true or false.
    pub(crate) fn value(self) -> Result<Self> {
        if self.node.is_condition() {
            Err(ServerError::syntax("="))
        } else {
            Ok(self)
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

pub(super) fn boolean(node: Node) -> Bound {
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
            let what = inner(what)?.value()?;
            let zero = Bound::new(Kind::int(), Node::Value(Value::Int(0)));
            arithmetic(Op::Sub, zero, what)?
        }
        Expr::Not(what) => boolean(Node::Not(Box::new(inner(what)?.condition()?))),
        Expr::Binary(op, left, right) => {
            let (left, right) = (inner(left)?, inner(right)?);
            if matches!(op, Op::And | Op::Or) {
                let sides = (left.condition()?, right.condition()?);
                return Ok(boolean(Node::Logic(*op == Op::And, Box::new(sides))));
            }
            let (left, right) = (left.value()?, right.value()?);
            match op {
                Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => compare(*op, left, right)?,
                _ => arithmetic(*op, left, right)?,
            }
        }
        Expr::IsNull(what, not) => boolean(Node::IsNull(Box::new(inner(what)?.value()?), *not)),
        Expr::Like {
            what,
            pattern,
            escape,
            not,
        } => {
            let (what, pattern) = (inner(what)?.value()?, inner(pattern)?.value()?);
            let escape = escape.as_deref().map(&mut inner).transpose()?.map(Box::new);
            boolean(Node::Like {
                parts: Box::new((what, pattern)),
                escape,
                not: *not,
            })
        }
        Expr::In(what, list, not) => {
            let what = inner(what)?.value()?;
            let mut any = Vec::new();
            for one in list {
                any.push(compare(Op::Eq, what.clone(), inner(one)?.value()?)?);
            }
            let any = either(any);
            if *not {
                boolean(Node::Not(Box::new(any)))
            } else {
                any
            }
        }
        Expr::InQuery(what, query, not) => {
            let what = inner(what)?.value()?;
            let query = query::bind(cx, query, Some(scope))?;
            one_column(&query)?;
            comparable(&what.kind, &query.columns[0].kind)?;
            boolean(Node::InQuery(Box::new(what), Box::new(query), *not))
        }
        Expr::Between(what, low, high, not) => {
            let what = inner(what)?.value()?;
            let low = compare(Op::Ge, what.clone(), inner(low)?.value()?)?;
            let high = compare(Op::Le, what, inner(high)?.value()?)?;
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
                    Some(of) => compare(Op::Eq, of.clone(), inner(when)?.value()?)?,
                    None => inner(when)?.condition()?,
                };
                bound.push((when, inner(then)?.value()?));
            }
            let other = match other {
                Some(other) => inner(other)?.value()?,
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
            let what = inner(what)?.value()?;
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

/// One of many conditions, as a tree that is no deeper than it must be: a list may be long.
fn either(mut all: Vec<Bound>) -> Bound {
    while all.len() > 1 {
        let mut halved = Vec::with_capacity(all.len().div_ceil(2));
        let mut rest = all.into_iter();
        while let Some(one) = rest.next() {
            halved.push(match rest.next() {
                Some(other) => boolean(Node::Logic(false, Box::new((one, other)))),
                None => one,
            });
        }
        all = halved;
    }
    all.pop()
        .unwrap_or_else(|| boolean(Node::Value(Value::Bit(false))))
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
