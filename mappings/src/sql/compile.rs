//! From a syntax tree to a checked expression.

use contract::Value;
use contract::finding::nearest;
use sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, DataType, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, InTarget, ObjectNamePart, TrimWhereField, UnaryOperator,
};

use super::functions::{self, Call, FUNCTIONS, FunctionInfo};
use super::parse::parse;
use super::{Arithmetic, Codes, Comparison, Ending, Expr, Piece, Target, Type, Wrong};

/// Operators side by side, which nest in the tree as well: `a + b + c`.
const HEIGHT_MAX: usize = 60;

/// What an expression may refer to.
pub(crate) trait Names {
    /// The index of a column.
    fn column(&mut self, alias: Option<&str>, column: &str) -> Result<usize, Wrong>;
    /// A dictionary.
    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong>;
    /// Whether there is a zone for local times.
    fn has_zone(&self) -> bool;
}

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn compile(text: &str, names: &mut dyn Names) -> Result<(Expr, Type), Wrong> {
    let parsed = parse(text)?;
    Compiler { names, height: 0 }.expr(&parsed)
}

struct Compiler<'n> {
    names: &'n mut dyn Names,
    height: usize,
}

fn wrong<T>(found: impl Into<String>) -> Result<T, Wrong> {
    Err((found.into(), None))
}

fn instead<T>(found: impl Into<String>, fix: impl Into<String>) -> Result<T, Wrong> {
    Err((found.into(), Some(fix.into())))
}

/// As the author wrote it, cut short.
fn shown(node: &ast::Expr) -> String {
    let text = node.to_string();
    if text.chars().count() <= 60 {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(57).collect();
    format!("`{start}...`")
}

impl Compiler<'_> {
    fn expr(&mut self, node: &ast::Expr) -> Result<(Expr, Type), Wrong> {
        self.height += 1;
        if self.height > HEIGHT_MAX {
            return wrong(format!("has more than {HEIGHT_MAX} operators in a row"));
        }
        let done = self.node(node);
        self.height -= 1;
        done
    }

    /// An expression that must be of a type.
    fn of(&mut self, node: &ast::Expr, wanted: Type, where_: &str) -> Result<Expr, Wrong> {
        let (expr, found) = self.expr(node)?;
        if found.fits(wanted) {
            return Ok(expr);
        }
        let found = format!(
            "{where_} needs {}, but {} is {}",
            wanted.name(),
            shown(node),
            found.name()
        );
        Err((found, None))
    }

    fn node(&mut self, node: &ast::Expr) -> Result<(Expr, Type), Wrong> {
        use ast::Expr as E;
        Ok(match node {
            E::Nested(inner) => self.expr(inner)?,
            E::Identifier(name) => (self.column(None, name)?, Type::Any),
            E::CompoundIdentifier(parts) => match parts.as_slice() {
                [alias, column] => (self.column(Some(alias), column)?, Type::Any),
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
                let inner = self.expr(expr)?.0;
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
                match crate::convert::iso(&text) {
                    Some(date) => (Expr::Constant(Value::Date(date)), Type::Date),
                    None => return wrong(format!("'{text}' is no date YYYY-MM-DD")),
                }
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

    fn column(&mut self, alias: Option<&Ident>, column: &Ident) -> Result<Expr, Wrong> {
        let alias = alias.map(|alias| alias.value.as_str());
        self.names.column(alias, &column.value).map(Expr::Column)
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

    fn function(&mut self, call: &ast::Function) -> Result<(Expr, Type), Wrong> {
        let name = match call.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => name.value.as_str(),
            _ => return wrong(format!("there is no function `{}`", call.name)),
        };
        let plain = call.filter.is_none()
            && call.over.is_none()
            && call.null_treatment.is_none()
            && !call.uses_odbc_syntax
            && call.within_group.is_empty()
            && call.parameters == FunctionArguments::None;
        let FunctionArguments::List(list) = &call.args else {
            return unknown(name);
        };
        if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return wrong(format!("`{name}` takes values and nothing else"));
        }
        let mut arguments = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(node)) => arguments.push(node),
                other => return wrong(format!("`{name}`: `{other}` is no value")),
            }
        }
        if name.eq_ignore_ascii_case("dict") {
            return self.dictionary(&arguments);
        }
        match functions::find(name) {
            Some(info) => self.call(info, &arguments),
            None => unknown(name),
        }
    }

    fn dictionary(&mut self, arguments: &[&ast::Expr]) -> Result<(Expr, Type), Wrong> {
        let [ast::Expr::Identifier(name), codes @ ..] = arguments else {
            return instead(
                "dict needs a dictionary's name first",
                "dict(status, orders.status)",
            );
        };
        if codes.is_empty() {
            return instead(
                "dict needs a code to look up",
                format!("dict({name}, column)"),
            );
        }
        let dictionary = self.names.dictionary(&name.value)?;
        let mut parts = Vec::with_capacity(codes.len());
        for code in codes {
            parts.push(self.expr(code)?.0);
        }
        Ok((Expr::Dictionary(Box::new(dictionary), parts), Type::Text))
    }

    fn call(
        &mut self,
        info: &'static FunctionInfo,
        arguments: &[&ast::Expr],
    ) -> Result<(Expr, Type), Wrong> {
        let name = info.name;
        let least = info.arguments.len() - info.optional;
        let too_many = !info.variadic && arguments.len() > info.arguments.len();
        if arguments.len() < least || too_many {
            let wanted = match (info.variadic, info.optional) {
                (true, _) => format!("at least {least}"),
                (false, 0) => least.to_string(),
                (false, _) => format!("{least} to {}", info.arguments.len()),
            };
            return instead(
                format!("`{name}` takes {wanted} values, found {}", arguments.len()),
                info.example.0,
            );
        }
        if let (Some(ending), Some((left, right))) =
            (ending(info.call, arguments)?, quotient(arguments))
        {
            let left = Box::new(self.of(left, Type::Number, "`/`")?);
            let right = Box::new(self.of(right, Type::Number, "`/`")?);
            return Ok((Expr::Quotient(ending, left, right), Type::Number));
        }
        if info.call == Call::LocalDateTime && !self.names.has_zone() {
            return instead(
                "local_datetime needs a zone",
                "clean: {dates: {zone: Europe/Berlin}}",
            );
        }
        let same = matches!(
            info.call,
            Call::Coalesce | Call::Nullif | Call::Greatest | Call::Least
        );
        let mut made = Vec::with_capacity(arguments.len());
        let mut result = info.result;
        let mut first: Option<(Type, &ast::Expr)> = None;
        for (n, node) in arguments.iter().enumerate() {
            let wanted = info.arguments.get(n).or(info.arguments.last());
            let wanted = wanted.copied().unwrap_or(Type::Any);
            let (value, kind) = self.expr(node)?;
            if !kind.fits(wanted) {
                return instead(
                    format!(
                        "`{name}` needs {}, but {} is {}",
                        wanted.name(),
                        shown(node),
                        kind.name()
                    ),
                    info.example.0,
                );
            }
            if same && !matches!(kind, Type::Any | Type::Null) {
                match first {
                    Some((known, other)) if known != kind => {
                        return wrong(format!(
                            "`{name}` mixes {}, {}, with {}, {}",
                            shown(other),
                            known.name(),
                            shown(node),
                            kind.name()
                        ));
                    }
                    Some(_) => {}
                    None => first = Some((kind, node)),
                }
            }
            made.push(value);
        }
        if same && let Some((kind, _)) = first {
            result = kind;
        }
        Ok((Expr::Call(info.call, made), result))
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
            return wrong(format!("{} is no date YYYY-MM-DD", shown(constant.node)));
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
    wrong(format!(
        "{what} compares {}, {}, with {}, {}",
        shown(left.node),
        left.kind.name(),
        shown(right.node),
        right.kind.name()
    ))
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated {
        Expr::Not(Box::new(expr))
    } else {
        expr
    }
}

fn function(name: &str) -> Result<&'static FunctionInfo, Wrong> {
    functions::find(name).ok_or_else(|| (format!("there is no function `{name}`"), None))
}

fn unknown<T>(name: &str) -> Result<T, Wrong> {
    let names = FUNCTIONS.iter().map(|info| info.name).chain(["dict"]);
    let fix = match name.to_ascii_lowercase().as_str() {
        "isnull" | "ifnull" | "nvl" => Some("coalesce(a, b)".to_owned()),
        "len" | "char_length" => Some("length(text)".to_owned()),
        "iif" | "decode" | "if" => Some("case when .. then .. else .. end".to_owned()),
        "substring" | "mid" => Some("substr(text, from, length)".to_owned()),
        other => nearest(other, names).map(|name| format!("did you mean `{name}`?")),
    };
    Err((format!("there is no function `{name}`"), fix))
}

/// Whether a function says how a quotient ends.
fn ending(call: Call, arguments: &[&ast::Expr]) -> Result<Option<Ending>, Wrong> {
    Ok(match call {
        Call::Floor => Some(Ending::Floor),
        Call::Ceil => Some(Ending::Ceil),
        Call::Round => Some(Ending::Round(match arguments.get(1) {
            None => 0,
            Some(node) => match node {
                ast::Expr::Value(value) => match constant(&value.value)? {
                    (Expr::Constant(Value::Decimal(places)), _)
                        if places.is_integer() && (0..=18).contains(&places.coefficient()) =>
                    {
                        u32::try_from(places.coefficient()).unwrap_or(0)
                    }
                    _ => return wrong("`round` keeps 0 to 18 places"),
                },
                _ => return wrong("`round` needs its number of places as a constant"),
            },
        })),
        _ => None,
    })
}

/// Both sides, where the first argument is a division.
fn quotient<'e>(arguments: &[&'e ast::Expr]) -> Option<(&'e ast::Expr, &'e ast::Expr)> {
    let mut node: &ast::Expr = arguments.first()?;
    while let ast::Expr::Nested(inner) = node {
        node = inner;
    }
    match node {
        ast::Expr::BinaryOp {
            left,
            op: BinaryOperator::Divide,
            right,
        } => Some((left, right)),
        _ => None,
    }
}

fn constant(value: &ast::Value) -> Result<(Expr, Type), Wrong> {
    let (value, kind) = match value {
        ast::Value::Number(text, false) => match text.parse() {
            Ok(number) => (Value::Decimal(number), Type::Number),
            Err(error) => return wrong(format!("`{text}`: {error}")),
        },
        // N'..' is how SQL Server writes texts of any language.
        ast::Value::SingleQuotedString(text) | ast::Value::NationalStringLiteral(text) => {
            (Value::Text(text.clone()), Type::Text)
        }
        ast::Value::Boolean(value) => (Value::Bool(*value), Type::Bool),
        ast::Value::Null => (Value::Null, Type::Null),
        other => return wrong(format!("`{other}` is no constant of this language")),
    };
    Ok((Expr::Constant(value), kind))
}

fn target(data_type: &DataType) -> Result<(Target, Type), Wrong> {
    use sqlparser::ast::ExactNumberInfo::None as Free;
    Ok(match data_type {
        DataType::Decimal(Free) | DataType::Numeric(Free) | DataType::Dec(Free) => {
            (Target::Number, Type::Number)
        }
        DataType::Int(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::SmallInt(None) => (Target::Whole, Type::Number),
        DataType::Text | DataType::Varchar(None) | DataType::Char(None) => {
            (Target::Text, Type::Text)
        }
        DataType::Date => (Target::Date, Type::Date),
        DataType::Decimal(_) | DataType::Numeric(_) | DataType::Dec(_) => {
            return instead(
                format!("cast to {data_type} would round unasked"),
                "round(cast(.. as decimal), places)",
            );
        }
        other => {
            return instead(
                format!("cast to {other} is no part of this language"),
                "one of decimal, int, text, date",
            );
        }
    })
}
