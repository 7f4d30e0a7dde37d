//! Checking calls: functions of the list, and the forms that are no functions of values.

use contract::Value;
use contract::finding::nearest;
use sqlparser::ast::{
    self, BinaryOperator, DataType, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
};

use super::compile::{
    Compiler, Formed, LineCall, Setting, constant, instead, rounded, shown, wrong,
};
use super::functions::{self, Call, FORMS, FUNCTIONS, FunctionInfo};
use super::{Ending, Expr, Target, Type, Wrong};
use crate::pages::Page;
use crate::zones;

impl Compiler<'_> {
    pub(super) fn function(&mut self, call: &ast::Function) -> Result<Formed, Wrong> {
        let name = match call.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => name.value.as_str(),
            _ => return wrong(format!("there is no function `{}`", call.name)),
        };
        if let Some(elsewhere) = elsewhere(name) {
            return Err(elsewhere);
        }
        let arguments = arguments(name, call)?;
        match name.to_ascii_lowercase().as_str() {
            "dict" => self.dictionary(&arguments),
            "decode" => self.decode(&arguments),
            "in_unit" => self.in_unit(&arguments),
            "local_date" => self.local_date(&arguments),
            "optional" => self.optional(&arguments),
            "column" => self.named_column(&arguments),
            "site_allowed" => self.allowed(&arguments),
            "money" => instead(
                "money stands alone: it is a whole field of type money",
                "total: \"money(sale.total, sale.currency)\"",
            ),
            "count_lines" => self.lines(LineCall::Count, name, &arguments),
            "sum_lines" => self.lines(LineCall::Sum, name, &arguments),
            "all_lines" => self.lines(LineCall::All, name, &arguments),
            "any_lines" => self.lines(LineCall::Any, name, &arguments),
            _ => match functions::find(name) {
                Some(info) => self.call(info, &arguments),
                None => unknown(name),
            },
        }
    }

    fn optional(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "optional(item.safety_stock, 0)";
        const EFFECT: &str = "optional always gives its second value";
        let [column, default] = arguments else {
            return instead("optional takes a column and a value", EXAMPLE);
        };
        let column = match column {
            ast::Expr::Identifier(name) => self.names.optional(None, &name.value, EFFECT)?,
            ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [alias, name] => {
                    let alias = Some(alias.value.as_str());
                    self.names.optional(alias, &name.value, EFFECT)?
                }
                _ => return instead("optional needs a column first", EXAMPLE),
            },
            _ => return instead("optional needs a column first", EXAMPLE),
        };
        let default = self.expr(default)?.0;
        Ok((Expr::Optional(column, Box::new(default)), Type::Any))
    }

    /// A column whose name a person gave as a setting.
    fn named_column(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "column(head, setting.web_order_field)";
        let [
            ast::Expr::Identifier(alias),
            ast::Expr::CompoundIdentifier(setting),
        ] = arguments
        else {
            return instead("column takes an alias and a setting", EXAMPLE);
        };
        let [word, name] = setting.as_slice() else {
            return instead("column takes an alias and a setting", EXAMPLE);
        };
        if word.value != "setting" {
            return instead("column takes an alias and a setting", EXAMPLE);
        }
        match self.names.setting(&name.value)? {
            // Null by a person's choice: a constant null would be taken for a mistake.
            Setting::One(Value::Null) => Ok((nothing(), Type::Null)),
            Setting::One(Value::Text(column)) if column.trim().is_empty() => {
                Ok((nothing(), Type::Null))
            }
            // What a site named may be missing at the next: then it is null.
            Setting::One(Value::Text(column)) => {
                let effect = format!("column(.., setting.{}) is always null", name.value);
                let alias = Some(alias.value.as_str());
                let at = self.names.optional(alias, column.trim(), &effect)?;
                let null = Box::new(Expr::Constant(Value::Null));
                Ok((Expr::Optional(at, null), Type::Any))
            }
            _ => wrong(format!("`setting.{}` is no column's name", name.value)),
        }
    }

    fn allowed(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "site_allowed(stock.site, setting.sellable_sites)";
        let [code, ast::Expr::CompoundIdentifier(setting)] = arguments else {
            return instead("site_allowed takes a code and a setting", EXAMPLE);
        };
        let code = self.expr(code)?.0;
        let list = match setting.as_slice() {
            [word, name] if word.value == "setting" => match self.names.setting(&name.value)? {
                Setting::List(list) => list,
                Setting::One(Value::Text(one)) => vec![one],
                Setting::One(_) => {
                    let found = format!("`setting.{}` is no list of codes", name.value);
                    return instead(found, format!("settings: {{{}: [CODE, ..]}}", name.value));
                }
            },
            _ => return instead("site_allowed takes a code and a setting", EXAMPLE),
        };
        Ok((Expr::Allowed(Box::new(code), list), Type::Bool))
    }

    fn lines(
        &mut self,
        call: LineCall,
        name: &str,
        arguments: &[&ast::Expr],
    ) -> Result<Formed, Wrong> {
        let wanted = usize::from(call != LineCall::Count);
        if arguments.len() != wanted {
            let found = arguments.len();
            return wrong(format!("`{name}` takes {wanted} values, found {found}"));
        }
        self.names.enter_lines()?;
        let kind = match call {
            LineCall::Sum => Type::Number,
            LineCall::Count | LineCall::All | LineCall::Any => Type::Bool,
        };
        let inner = match arguments.first() {
            Some(node) => self.of(node, kind, &format!("`{name}`")).map(Some),
            None => Ok(None),
        };
        // Also where it failed: other expressions are still to be looked at.
        let (failed, inner) = match inner {
            Ok(inner) => (None, inner),
            Err(error) => (Some(error), None),
        };
        let formed = self.names.leave_lines(call, inner);
        failed.map_or(Ok(formed), Err)
    }

    fn dictionary(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
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

    /// A text by its code page.
    fn decode(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "decode(item.name, 'cp850')";
        let [value, ast::Expr::Value(page)] = arguments else {
            return instead("decode takes a value and a code page's name", EXAMPLE);
        };
        let (Expr::Constant(Value::Text(name)), _) = constant(&page.value)? else {
            return instead("decode takes a value and a code page's name", EXAMPLE);
        };
        let Some(page) = Page::named(&name) else {
            let found = format!("decode: `{name}` is no code page");
            return instead(found, "utf-8, windows-1252, iso-8859-1, cp850, cp437");
        };
        let value = self.expr(value)?.0;
        Ok((Expr::Decode(Box::new(value), page), Type::Text))
    }

    /// The day of a moment in a zone.
    fn local_date(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "local_date(sale.created_at, 'Europe/Berlin')";
        let [moment, zone] = arguments else {
            return instead("local_date takes a moment and a time zone", EXAMPLE);
        };
        let (made, kind) = self.expr(moment)?;
        if !matches!(
            kind,
            Type::Timestamp | Type::DateTime | Type::Any | Type::Null
        ) {
            return instead(
                format!(
                    "`local_date` needs a timestamp or a datetime, but {} is {}",
                    shown(moment),
                    kind.name()
                ),
                EXAMPLE,
            );
        }
        if kind == Type::DateTime && !self.names.has_zone() {
            return instead(
                format!("`local_date`: {} has no zone of its own", shown(moment)),
                "clean: {dates: {zone: UTC}}, the zone it is stored in",
            );
        }
        let name = match (zone, self.expr(zone)?.0) {
            (_, Expr::Constant(Value::Text(name))) => name,
            // Said where the setting stands.
            (ast::Expr::CompoundIdentifier(_), Expr::Constant(Value::Null)) => {
                return Ok((nothing(), Type::Date));
            }
            _ => {
                let found = "local_date needs its zone as a constant or a setting";
                return instead(found, EXAMPLE);
            }
        };
        match zones::named(name.trim()) {
            Ok(zone) => Ok((Expr::LocalDate(Box::new(made), zone), Type::Date)),
            Err((found, fix)) => instead(format!("local_date: {found}"), fix),
        }
    }

    /// A quantity in another unit of measure.
    fn in_unit(&mut self, arguments: &[&ast::Expr]) -> Result<Formed, Wrong> {
        const EXAMPLE: &str = "in_unit(line.qty, line.unit, 'EA')";
        let (three, places) = match arguments {
            [_, _, _] => (arguments, None),
            [three @ .., places] if three.len() == 3 => {
                (three, Some(whole_places("in_unit", places)?))
            }
            _ => {
                let found = "in_unit takes a quantity, its unit, the wanted unit, and perhaps a \
                             number of places";
                return instead(found, EXAMPLE);
            }
        };
        let units = self.names.units()?;
        let mut parts = Vec::with_capacity(3);
        for (node, kind) in three.iter().zip([Type::Number, Type::Text, Type::Text]) {
            parts.push(self.of(node, kind, "`in_unit`")?);
        }
        Ok((Expr::InUnit(units, parts, places), Type::Number))
    }

    pub(super) fn call(
        &mut self,
        info: &'static FunctionInfo,
        arguments: &[&ast::Expr],
    ) -> Result<Formed, Wrong> {
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
            let rounds = info.call == Call::Round && n == 0 && kind == Type::Float;
            if !kind.fits(wanted) && !rounds {
                return instead(
                    format!(
                        "`{name}` needs {}, but {} is {}",
                        wanted.name(),
                        shown(node),
                        kind.name()
                    ),
                    rounded(kind, node).unwrap_or_else(|| info.example.0.to_owned()),
                );
            }
            // A float beside numbers may still be rounded.
            if same && !matches!(kind, Type::Any | Type::Null | Type::Float) {
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

/// Always null.
fn nothing() -> Expr {
    Expr::Case(Vec::new(), Box::new(Expr::Constant(Value::Null)))
}

/// A call's plain values.
pub(super) fn arguments<'c>(
    name: &str,
    call: &'c ast::Function,
) -> Result<Vec<&'c ast::Expr>, Wrong> {
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
    Ok(arguments)
}

pub(super) fn function(name: &str) -> Result<&'static FunctionInfo, Wrong> {
    functions::find(name).ok_or_else(|| (format!("there is no function `{name}`"), None))
}

fn unknown<T>(name: &str) -> Result<T, Wrong> {
    let names = FUNCTIONS
        .iter()
        .map(|info| info.name)
        .chain(FORMS.iter().map(|form| form.name));
    let fix = match name.to_ascii_lowercase().as_str() {
        "isnull" | "ifnull" | "nvl" => Some("coalesce(a, b)".to_owned()),
        "len" | "char_length" => Some("length(text)".to_owned()),
        "iif" | "if" => Some("case when .. then .. else .. end".to_owned()),
        "substring" | "mid" => Some("substr(text, from, length)".to_owned()),
        other => Some(nearest(other, names).map_or_else(
            || "lighterman map functions lists what there is".to_owned(),
            |name| format!("did you mean `{name}`?"),
        )),
    };
    Err((format!("there is no function `{name}`"), fix))
}

/// What SQL has and a mapping cannot have, and what stands for it.
fn elsewhere(name: &str) -> Option<Wrong> {
    let (found, fix) = match name.to_ascii_lowercase().as_str() {
        "sum" | "count" | "avg" | "min" | "max" => (
            format!("`{name}` adds rows up, and an expression sees one row"),
            "rows of another table: add: {open: {from: line, match: \"..\", sum: \"..\"}}, then \
             open.sum or open.count; several rows of its own: group: sum",
        ),
        "now" | "current_date" | "current_time" | "current_timestamp" | "localtime"
        | "localtimestamp" | "getdate" | "getutcdate" | "sysdate" | "sysdatetime" | "curdate"
        | "today" | "utc_timestamp" => (
            format!(
                "`{name}`: a mapping has no clock, so that the same rows always give the same event"
            ),
            "send the date itself, or let the database compare it: `read`",
        ),
        "dateadd" | "datediff" | "date_add" | "date_sub" | "adddate" => (
            format!("there is no function `{name}`: dates are compared, not counted with"),
            "send both dates, or let the database work it out: `read`",
        ),
        _ => return None,
    };
    Some((found, Some(fix.to_owned())))
}

/// Whether a function says how a quotient ends.
fn ending(call: Call, arguments: &[&ast::Expr]) -> Result<Option<Ending>, Wrong> {
    Ok(match call {
        Call::Floor => Some(Ending::Floor),
        Call::Ceil => Some(Ending::Ceil),
        Call::Round => Some(Ending::Round(match arguments.get(1) {
            None => 0,
            Some(node) => whole_places("round", node)?,
        })),
        _ => None,
    })
}

/// A number of decimal places, as a constant.
fn whole_places(name: &str, node: &ast::Expr) -> Result<u32, Wrong> {
    let ast::Expr::Value(value) = node else {
        return wrong(format!("`{name}` needs its number of places as a constant"));
    };
    match constant(&value.value)? {
        (Expr::Constant(Value::Decimal(places)), _)
            if places.is_integer() && (0..=18).contains(&places.coefficient()) =>
        {
            Ok(u32::try_from(places.coefficient()).unwrap_or(0))
        }
        _ => wrong(format!("`{name}` keeps 0 to 18 places")),
    }
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

/// What a cast makes.
pub(super) fn target(data_type: &DataType) -> Result<(Target, Type), Wrong> {
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
