//! From a syntax tree to a checked expression.

use std::sync::Arc;

use contract::Value;
use sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, DataType, InTarget, TrimWhereField,
    UnaryOperator,
};

use super::call_compile::{self, function, target};
use super::parse::{parse, start};
use super::{Arithmetic, Codes, Comparison, Expr, Piece, Type, Wrong};
use crate::units::Units;

/// Operators side by side, which nest in the tree as well: `a + b + c`.
const HEIGHT_MAX: usize = 60;

/// What an expression may refer to.
pub(crate) trait Names {
    /// What a name stands for.
    fn name(&mut self, alias: Option<&str>, name: &str) -> Result<Formed, Wrong>;
    /// The index of a column that some versions of the table lack; `effect` is what follows if
    /// this one does.
    fn optional(&mut self, alias: Option<&str>, name: &str, effect: &str) -> Result<usize, Wrong>;
    /// What a person answered.
    fn setting(&self, name: &str) -> Result<Setting, Wrong>;
    /// The file's units of measure.
    fn units(&mut self) -> Result<Arc<Units>, Wrong>;
    /// A dictionary.
    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong>;
    /// Whether there is a zone for local times.
    fn has_zone(&self) -> bool;
    /// From here on names are those of one line of the event's document.
    fn enter_lines(&mut self) -> Result<(), Wrong>;
    /// Where the expression is wrong that is being read: a line and a character of its text, from
    /// 1. Nothing where the whole of it is, or where another one begins.
    fn wrong_at(&mut self, text: &str, at: Option<(u64, u64)>) {
        let _ = (text, at);
    }
    /// Back to the event itself; what the call gives over all lines.
    fn leave_lines(&mut self, call: LineCall, inner: Option<Expr>) -> Formed;
}

/// An expression and what is known of its value.
pub(crate) type Formed = (Expr, Type);

/// A setting's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Setting {
    One(Value),
    List(Vec<String>),
}

impl Setting {
    /// As an expression.
    pub(crate) fn formed(self, name: &str) -> Result<Formed, Wrong> {
        match self {
            Self::One(value) => {
                let kind = match value {
                    Value::Bool(_) => Type::Bool,
                    Value::Decimal(_) => Type::Number,
                    Value::Null => Type::Null,
                    _ => Type::Text,
                };
                Ok((Expr::Constant(value), kind))
            }
            Self::List(_) => instead(
                format!("`setting.{name}` is a list"),
                format!("site_allowed(column, setting.{name})"),
            ),
        }
    }
}

/// What is asked of all lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineCall {
    Sum,
    Count,
    All,
    Any,
}

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn compile(text: &str, names: &mut dyn Names) -> Result<(Expr, Type), Wrong> {
    let parsed = read(text, names)?;
    let mut compiler = Compiler::new(names);
    let made = compiler.expr(&parsed);
    compiler.finish(text, made)
}

/// Reads the syntax; notes where it is wrong.
fn read(text: &str, names: &mut dyn Names) -> Result<ast::Expr, Wrong> {
    names.wrong_at(text, None);
    parse(text).map_err(|(wrong, at)| {
        names.wrong_at(text, at);
        wrong
    })
}

/// Reads `money(amount, currency)`; nothing where the text is something else.
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_money(
    text: &str,
    names: &mut dyn Names,
) -> Result<Option<(Formed, Formed)>, Wrong> {
    let ast::Expr::Function(call) = read(text, names)? else {
        return Ok(None);
    };
    if !call.name.to_string().eq_ignore_ascii_case("money") {
        return Ok(None);
    }
    let mut compiler = Compiler::new(names);
    let [amount, currency] = call_compile::arguments("money", &call)?[..] else {
        return instead(
            "money takes an amount and a currency",
            "money(line.price, line.currency)",
        );
    };
    let amount = compiler.expr(amount);
    let made = amount.and_then(|amount| Ok(Some((amount, compiler.expr(currency)?))));
    compiler.finish(text, made)
}

pub(super) struct Compiler<'n> {
    pub(super) names: &'n mut dyn Names,
    height: usize,
    /// Where the innermost thing that is wrong begins.
    wrong: Option<(u64, u64)>,
}

pub(super) fn wrong<T>(found: impl Into<String>) -> Result<T, Wrong> {
    Err((found.into(), None))
}

pub(super) fn instead<T>(found: impl Into<String>, fix: impl Into<String>) -> Result<T, Wrong> {
    Err((found.into(), Some(fix.into())))
}

/// As the author wrote it, cut short.
pub(super) fn shown(node: &ast::Expr) -> String {
    let text = node.to_string();
    if text.chars().count() <= 60 {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(57).collect();
    format!("`{start}...`")
}

impl<'n> Compiler<'n> {
    fn new(names: &'n mut dyn Names) -> Self {
        Self {
            names,
            height: 0,
            wrong: None,
        }
    }

    /// Says where it is wrong.
    fn finish<T>(self, text: &str, made: Result<T, Wrong>) -> Result<T, Wrong> {
        if made.is_err() {
            self.names.wrong_at(text, self.wrong);
        }
        made
    }

    fn mark(&mut self, node: &ast::Expr) {
        self.wrong = self.wrong.or_else(|| start(node));
    }
}

impl Compiler<'_> {
    pub(super) fn expr(&mut self, node: &ast::Expr) -> Result<(Expr, Type), Wrong> {
        self.height += 1;
        if self.height > HEIGHT_MAX {
            return instead(
                format!("has more than {HEIGHT_MAX} operators in a row"),
                "put parts of it into fields of their own, or into a view of the database",
            );
        }
        let done = self.node(node);
        if done.is_err() {
            self.mark(node);
        }
        self.height -= 1;
        done
    }

    /// An expression that must be of a type.
    pub(super) fn of(
        &mut self,
        node: &ast::Expr,
        wanted: Type,
        where_: &str,
    ) -> Result<Expr, Wrong> {
        let (expr, kind) = self.expr(node)?;
        if kind.fits(wanted) {
            return Ok(expr);
        }
        self.mark(node);
        let found = format!(
            "{where_} needs {}, but {} is {}",
            wanted.name(),
            shown(node),
            kind.name()
        );
        let texts = where_ == "`+`" && kind == Type::Text;
        let fix = texts.then(|| "`||` puts texts together".to_owned());
        Err((found, fix.or_else(|| rounded(kind, node))))
    }

    fn node(&mut self, node: &ast::Expr) -> Result<(Expr, Type), Wrong> {
        use ast::Expr as E;
        Ok(match node {
            E::Nested(inner) => self.expr(inner)?,
            E::Identifier(name) => self.names.name(None, &name.value)?,
            E::CompoundIdentifier(parts) => match parts.as_slice() {
                [alias, name] if alias.value == "setting" => {
                    self.names.setting(&name.value)?.formed(&name.value)?
                }
                [alias, name] => self.names.name(Some(&alias.value), &name.value)?,
                _ => return instead(format!("{} names no column", shown(node)), "alias.column"),
            },
            E::Value(value) => constant(&value.value)?,
            E::UnaryOp { op, expr } => self.unary(*op, expr)?,
            E::BinaryOp { left, op, right } => self.binary(left, op, right)?,
            E::IsNull(inner) => (Expr::IsNull(Box::new(self.expr(inner)?.0)), Type::Bool),
            E::IsNotNull(inner) => {
                let is_null = Expr::IsNull(Box::new(self.expr(inner)?.0));
                (Expr::Not(Box::new(is_null)), Type::Bool)
            }
            E::IsTrue(inner) => self.truth(inner, true, false)?,
            E::IsFalse(inner) => self.truth(inner, false, false)?,
            E::IsNotTrue(inner) => self.truth(inner, true, true)?,
            E::IsNotFalse(inner) => self.truth(inner, false, true)?,
            E::IsDistinctFrom(left, right) => {
                let (left, right) = self.pair(left, right, "is distinct from")?;
                (Expr::Not(Box::new(Expr::Same(left, right))), Type::Bool)
            }
            E::IsNotDistinctFrom(left, right) => {
                let (left, right) = self.pair(left, right, "is not distinct from")?;
                (Expr::Same(left, right), Type::Bool)
            }
            E::In {
                expr,
                target: InTarget::List(items),
                negated,
                global: false,
            } => {
                let value = self.side(expr)?;
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    let item = self.side(item)?;
                    comparable(&value, &item, "in")?;
                    list.push(item.made);
                }
                let found = Expr::In(Box::new(value.made), list);
                (negate(found, *negated), Type::Bool)
            }
            E::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let value = self.side(expr)?;
                let (low, high) = (self.side(low)?, self.side(high)?);
                comparable(&value, &low, "between")?;
                comparable(&value, &high, "between")?;
                let parts = [value, low, high].map(|side| Box::new(side.made));
                let [value, low, high] = parts;
                (
                    negate(Expr::Between(value, low, high), *negated),
                    Type::Bool,
                )
            }
            E::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => {
                let value = self.of(expr, Type::Text, "like")?;
                let (Expr::Constant(Value::Text(pattern)), _) = self.expr(pattern)? else {
                    return wrong("the pattern of like must be a constant text");
                };
                let pieces = pattern.chars().map(|c| match c {
                    '%' => Piece::Any,
                    '_' => Piece::One,
                    c => Piece::Char(c),
                });
                let found = Expr::Like(Box::new(value), pieces.collect());
                (negate(found, *negated), Type::Bool)
            }
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref())?,
            E::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
                ..
            } => {
                let (target, result) = target(data_type)?;
                let (inner, kind) = self.expr(expr)?;
                if kind == Type::Float {
                    let found = format!("cast: {} is {}", shown(expr), kind.name());
                    return Err((found, rounded(kind, expr)));
                }
                (Expr::Cast(Box::new(inner), target), result)
            }
            E::Ceil {
                expr,
                field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.call(function("ceil")?, &[expr])?,
            E::Floor {
                expr,
                field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.call(function("floor")?, &[expr])?,
            E::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } if substring_from.is_some() || substring_for.is_none() => {
                let (from, length) = (substring_from.as_ref(), substring_for.as_ref());
                let arguments: Vec<&ast::Expr> = [Some(expr), from, length]
                    .into_iter()
                    .flatten()
                    .map(Box::as_ref)
                    .collect();
                self.call(function("substr")?, &arguments)?
            }
            E::Trim {
                trim_where,
                trim_what: None,
                expr,
                trim_characters: None,
            } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "trim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                self.call(function(name)?, &[expr])?
            }
            E::Function(call) => self.function(call)?,
            E::TypedString(typed) if matches!(typed.data_type, DataType::Date) => {
                let text = typed.value.value.clone().into_string().unwrap_or_default();
                let Some(date) = crate::convert::iso(&text) else {
                    let found = format!("'{text}' is no date YYYY-MM-DD");
                    return instead(found, "a day that there is, as in date '2026-11-28'");
                };
                (Expr::Constant(Value::Date(date)), Type::Date)
            }
            E::Subquery(_) | E::Exists { .. } => {
                return wrong("expressions have no queries: a row is all they see");
            }
            other => {
                return wrong(format!(
                    "{} is no part of this language; docs/mapping.md lists what is",
                    shown(other)
                ));
            }
        })
    }

    fn truth(
        &mut self,
        inner: &ast::Expr,
        wanted: bool,
        negated: bool,
    ) -> Result<(Expr, Type), Wrong> {
        let inner = self.of(inner, Type::Bool, "is true")?;
        let found = Expr::IsTruth(Box::new(inner), wanted);
        Ok((negate(found, negated), Type::Bool))
    }

    fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr) -> Result<(Expr, Type), Wrong> {
        Ok(match op {
            UnaryOperator::Not => (
                Expr::Not(Box::new(self.of(inner, Type::Bool, "not")?)),
                Type::Bool,
            ),
            UnaryOperator::Plus => (self.of(inner, Type::Number, "+")?, Type::Number),
            UnaryOperator::Minus => match self.of(inner, Type::Number, "-")? {
                Expr::Constant(Value::Decimal(number)) => (
                    Expr::Constant(Value::Decimal(number.negated())),
                    Type::Number,
                ),
                inner => (Expr::Negate(Box::new(inner)), Type::Number),
            },
            other => return wrong(format!("`{other}` is no operator of this language")),
        })
    }

    fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
    ) -> Result<(Expr, Type), Wrong> {
        use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
        use BinaryOperator as B;
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Unequal};
        let arithmetic = match op {
            B::Plus => Some(Add),
            B::Minus => Some(Subtract),
            B::Multiply => Some(Multiply),
            B::Divide => Some(Divide),
            B::Modulo => Some(Remainder),
            _ => None,
        };
        if let Some(arithmetic) = arithmetic {
            let sign = format!("`{op}`");
            let left = Box::new(self.of(left, Type::Number, &sign)?);
            let right = Box::new(self.of(right, Type::Number, &sign)?);
            return Ok((Expr::Arithmetic(arithmetic, left, right), Type::Number));
        }
        let comparison = match op {
            B::Eq => Some(Equal),
            B::NotEq => Some(Unequal),
            B::Lt => Some(Less),
            B::LtEq => Some(LessOrEqual),
            B::Gt => Some(Greater),
            B::GtEq => Some(GreaterOrEqual),
            _ => None,
        };
        if let Some(comparison) = comparison {
            let (left, right) = self.pair(left, right, &format!("`{op}`"))?;
            return Ok((Expr::Compare(comparison, left, right), Type::Bool));
        }
        match op {
            B::And | B::Or => {
                let name = op.to_string().to_ascii_lowercase();
                let left = Box::new(self.of(left, Type::Bool, &name)?);
                let right = Box::new(self.of(right, Type::Bool, &name)?);
                let made = match op {
                    B::And => Expr::And(left, right),
                    _ => Expr::Or(left, right),
                };
                Ok((made, Type::Bool))
            }
            B::StringConcat => {
                let (left, right) = (self.expr(left)?.0, self.expr(right)?.0);
                Ok((Expr::Concat(Box::new(left), Box::new(right)), Type::Text))
            }
            other => wrong(format!("`{other}` is no operator of this language")),
        }
    }

    /// Two values that can be compared.
    fn pair(
        &mut self,
        left: &ast::Expr,
        right: &ast::Expr,
        what: &str,
    ) -> Result<(Box<Expr>, Box<Expr>), Wrong> {
        let (left, right) = (self.side(left)?, self.side(right)?);
        comparable(&left, &right, what)?;
        Ok((Box::new(left.made), Box::new(right.made)))
    }

    fn side<'e>(&mut self, node: &'e ast::Expr) -> Result<Side<'e>, Wrong> {
        let (made, kind) = self.expr(node)?;
        Ok(Side { node, made, kind })
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<(Expr, Type), Wrong> {
        let mut arms = Vec::with_capacity(conditions.len());
        let mut result = Type::Null;
        let mut join = |kind: Type, node: &ast::Expr| {
            // Beside numbers it may still be rounded.
            let kind = if kind == Type::Float { Type::Any } else { kind };
            if result == Type::Null || kind == result {
                result = if result == Type::Null { kind } else { result };
            } else if kind == Type::Any || result == Type::Any {
                result = Type::Any;
            } else if kind != Type::Null {
                return wrong(format!(
                    "the branches of case disagree: {} is {}, one before it is {}",
                    shown(node),
                    kind.name(),
                    result.name()
                ));
            }
            Ok(())
        };
        let operand = operand.map(|operand| self.side(operand)).transpose()?;
        for arm in conditions {
            let condition = match &operand {
                None => self.of(&arm.condition, Type::Bool, "when")?,
                Some(operand) => {
                    let value = self.side(&arm.condition)?;
                    comparable(operand, &value, "case")?;
                    value.made
                }
            };
            let (value, kind) = self.expr(&arm.result)?;
            join(kind, &arm.result)?;
            arms.push((condition, value));
        }
        let otherwise = match otherwise {
            Some(node) => {
                let (value, kind) = self.expr(node)?;
                join(kind, node)?;
                value
            }
            None => Expr::Constant(Value::Null),
        };
        let otherwise = Box::new(otherwise);
        let made = match operand {
            None => Expr::Case(arms, otherwise),
            Some(operand) => Expr::Choice(Box::new(operand.made), arms, otherwise),
        };
        Ok((made, result))
    }
}

/// One side of a comparison.
struct Side<'e> {
    node: &'e ast::Expr,
    made: Expr,
    kind: Type,
}

fn comparable(left: &Side<'_>, right: &Side<'_>, what: &str) -> Result<(), Wrong> {
    use Type::{Bool, Date, DateTime, Number, Text, Time, Timestamp};
    for (constant, other) in [(left, right), (right, left)] {
        // A date written as text must be one.
        if let (Expr::Constant(Value::Text(text)), Date) = (&constant.made, other.kind)
            && crate::convert::iso(text).is_none()
        {
            let found = format!("{} is no date YYYY-MM-DD", shown(constant.node));
            return instead(found, "a day that there is, as in '2026-11-28'");
        }
    }
    for (side, other) in [(left, right), (right, left)] {
        if side.kind == Type::Float && other.kind != Type::Null {
            let found = format!(
                "{what} compares {}, {}, which has no exact value",
                shown(side.node),
                side.kind.name()
            );
            return Err((found, rounded(side.kind, side.node)));
        }
    }
    let fine = |one: Type, other: Type| {
        one.fits(other)
            || matches!(
                (one, other),
                (Date | Time | DateTime | Timestamp, Text) | (Date, DateTime) | (Bool, Number)
            )
    };
    if fine(left.kind, right.kind) || fine(right.kind, left.kind) {
        return Ok(());
    }
    let found = format!(
        "{what} compares {}, {}, with {}, {}",
        shown(left.node),
        left.kind.name(),
        shown(right.node),
        right.kind.name()
    );
    instead(
        found,
        "quotes make a text of a number; cast(.. as text) and cast(.. as decimal) make both alike",
    )
}

/// What makes a number of a binary float.
pub(super) fn rounded(kind: Type, node: &ast::Expr) -> Option<String> {
    (kind == Type::Float).then(|| format!("round({node}, 2), with the places it really has"))
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated {
        Expr::Not(Box::new(expr))
    } else {
        expr
    }
}

pub(super) fn constant(value: &ast::Value) -> Result<(Expr, Type), Wrong> {
    let (value, kind) = match value {
        ast::Value::Number(text, false) => match text.parse() {
            Ok(number) => (Value::Decimal(number), Type::Number),
            Err(error) => {
                return instead(
                    format!("`{text}`: {error}"),
                    "a text in quotes, if it is no number",
                );
            }
        },
        // N'..' is how SQL Server writes texts of any language.
        ast::Value::SingleQuotedString(text) | ast::Value::NationalStringLiteral(text) => {
            (Value::Text(text.clone()), Type::Text)
        }
        ast::Value::Boolean(value) => (Value::Bool(*value), Type::Bool),
        ast::Value::Null => (Value::Null, Type::Null),
        other => {
            let found = format!("`{other}` is no constant of this language");
            return instead(found, "a column, 'a text', 12.5, true, false or null");
        }
    };
    Ok((Expr::Constant(value), kind))
}
