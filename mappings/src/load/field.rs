//! Loading one key or body field: its term, its conversions, and what can be known to be wrong
//! before any row is seen.

use std::sync::Arc;

use contract::{ColumnKind, FieldSchema, FieldType, Node, NodeKind, Section, Value};

use super::becomes::{self, becomes};
use super::blocks::Word;
use super::constant::{Scalar, constant, constant_of};
use super::nested::Money;
use super::scope::{Scope, own};
use super::words::{did_you_mean, trim, zone};
use crate::convert;
use crate::rule::{Combine, Currency, DateForm, Field, Formula, Lookup, Term};
use crate::sql::{self, Expr, Type, Wrong, folded};

/// How a grouped field may be made of several rows.
const COMBINES: &[&str] = &["sum", "least", "greatest", "any", "all", "same"];

/// What grouping does with a field of a type, unless the file says otherwise.
fn combine(field_type: FieldType) -> Combine {
    match field_type {
        FieldType::Decimal | FieldType::Money => Combine::Sum,
        FieldType::Bool => Combine::Any,
        _ => Combine::Same,
    }
}

fn combine_of(word: &str, field_type: FieldType) -> Result<Combine, String> {
    let (how, fits) = match word {
        "sum" => (
            Combine::Sum,
            matches!(field_type, FieldType::Decimal | FieldType::Money),
        ),
        "any" => (Combine::Any, field_type == FieldType::Bool),
        "all" => (Combine::All, field_type == FieldType::Bool),
        "same" => (Combine::Same, true),
        least_or_greatest => {
            let how = match least_or_greatest {
                "least" => Combine::Least,
                _ => Combine::Greatest,
            };
            let ordered = matches!(
                field_type,
                FieldType::Text | FieldType::Decimal | FieldType::Date | FieldType::Timestamp
            );
            (how, ordered)
        }
    };
    if fits {
        Ok(how)
    } else {
        Err(format!(
            "`{word}` does not fit a field of type {}",
            field_type.name()
        ))
    }
}

fn node_text(node: &Node) -> String {
    match &node.kind {
        NodeKind::Text(text) => text.clone(),
        _ => String::new(),
    }
}

impl Scope<'_> {
    /// A field with the file's cleaning rules and nothing else.
    pub(crate) fn plain(&self, schema: &FieldSchema, index: usize, term: Term) -> Field {
        Field {
            name: schema.name,
            index,
            field_type: schema.field_type,
            required: schema.required,
            term,
            cleaning: Arc::clone(&self.shared.clean.cleaning),
            default: None,
            lookup: None,
            implied_decimals: 0,
            round: None,
            date: DateForm::Iso,
            zone: self.shared.clean.zone.clone(),
            currency: None,
            combine: combine(schema.field_type),
            of_fields: false,
        }
    }

    /// Loads the field at `node`; reports what is wrong with it under `path`.
    pub(crate) fn field(
        &mut self,
        schema: &FieldSchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Option<Field> {
        let path = format!("{path}.{}", schema.name);
        self.reading(node, &path);
        match schema.field_type {
            FieldType::List(inner) => return self.list(schema, inner, index, node, &path),
            FieldType::Object(inner) => return self.object(schema, inner, index, node, &path),
            FieldType::Texts => return self.texts(schema, index, node, &path),
            FieldType::Map => return self.map(schema, index, node, &path),
            _ => {}
        }
        if matches!(node.kind, NodeKind::Map(_)) {
            let section = Section::new(node, path.clone(), self.shared.problems);
            return self.detailed(schema, index, section, node);
        }
        if schema.field_type == FieldType::Money {
            match self.money(schema, index, node, &path) {
                Money::Field(field) => return Some(*field),
                Money::Wrong => return None,
                Money::Other => {}
            }
        }
        let term = self.term(node, schema.field_type);
        let (term, kind) = self.report(term, node, &path)?;
        if schema.field_type == FieldType::Money {
            self.no_currency(node, &path);
        }
        let field = self.plain(schema, index, term);
        self.report(becomes(kind, &field), node, &path)?;
        Some(field)
    }

    fn no_currency(&self, node: &Node, path: &str) {
        let found = "an amount of money needs `currency`".to_owned();
        let fix = "money(amount, currency), or {column: .., currency: USD}".to_owned();
        self.shared
            .problems
            .add(node.line, node.column, path, found, Some(fix));
    }

    fn report<T>(&mut self, result: Result<T, Wrong>, node: &Node, path: &str) -> Option<T> {
        result.map_err(|wrong| self.misread(node, path, wrong)).ok()
    }

    fn detailed(
        &mut self,
        schema: &FieldSchema,
        index: usize,
        mut section: Section<'_>,
        node: &Node,
    ) -> Option<Field> {
        let field_type = schema.field_type;
        let path = section.path().to_owned();
        let (column, constant) = (section.get("column"), section.get("const"));
        let written = column.or_else(|| section.get("value"));
        let term = match (column, constant, section.get("value")) {
            (None, None, Some(node)) => {
                let term = self.term(node, field_type);
                self.report(term, node, &format!("{path}.value"))
            }
            (Some(node), None, None) => {
                let index = self.column(node);
                self.report(index, node, &format!("{path}.column"))
                    .map(|at| (Term::Column(at), self.column_kind(at)))
            }
            (None, Some(node), None) => {
                let value = constant_of(node, field_type);
                self.report(value, node, &format!("{path}.const"))
                    .map(|value| (Term::Constant(value), ColumnKind::Other))
            }
            _ => {
                let found = "expected exactly one of `column`, `value` and `const`".to_owned();
                let fix =
                    "{column: \"alias.column\"}, {value: \"an expression\"} or {const: a constant}";
                self.shared.problems.add(
                    node.line,
                    node.column,
                    &path,
                    found,
                    Some(fix.to_owned()),
                );
                None
            }
        };
        let broken = term.is_none();
        // Go on with a stand-in, to report everything else that is wrong here.
        let (term, kind) = term.unwrap_or((Term::Column(0), ColumnKind::Other));
        let mut field = self.plain(schema, index, term);
        if let Some(value) = trim(&mut section) {
            own(&mut field.cleaning).trim = value;
        }
        if let Some(values) = section.texts("null_values") {
            let cleaning = own(&mut field.cleaning);
            cleaning.null_values = values.into_iter().map(str::to_owned).collect();
            // For a date, the field's own list stands instead of the file's.
            if matches!(field_type, FieldType::Date | FieldType::Timestamp) {
                cleaning.null_dates = cleaning.null_values.clone().into();
            }
        }
        if let Some(word) = section.word("group", COMBINES) {
            match combine_of(word, field_type) {
                Ok(how) => field.combine = how,
                Err(found) => {
                    if let Some(node) = section.get("group") {
                        section.wrong("group", node, found, None);
                    }
                }
            }
        }
        if let Some(node) = section.get("default") {
            let value = constant_of(node, field_type);
            field.default = self.report(value, node, &format!("{path}.default"));
        }
        if let Some(places) = section.number("implied_decimals", 0, 18) {
            field.implied_decimals = u32::try_from(places).unwrap_or(0);
        }
        field.round = section
            .number("round", 0, 18)
            .map(|places| u32::try_from(places).unwrap_or(0));
        field.date = match section.word("date", &["iso", "ymd", "cyyddd"]) {
            Some("ymd") => DateForm::Ymd,
            Some("cyyddd") => DateForm::Cyyddd,
            _ => DateForm::Iso,
        };
        if section.get("zone").is_some() {
            field.zone = zone(&mut section);
        }
        match section.get("currency") {
            Some(node) => field.currency = self.currency(node, &path),
            None if field_type == FieldType::Money => self.no_currency(node, &path),
            None => {}
        }
        if let Some(name) = section.text("dictionary") {
            field.lookup = self.lookup(name, schema, &mut section);
        }
        let fixed = constant.is_some() || matches!(field.term, Term::Constant(_));
        no_effect(&mut section, field_type, fixed);
        // A dictionary that does not exist is the mistake to mend first.
        let unread = section.get("dictionary").is_some() && field.lookup.is_none();
        section.finish();
        if let (Some(node), false) = (written, broken || unread) {
            self.report(becomes(kind, &field), node, &path)?;
        }
        (!broken).then_some(field)
    }

    /// What a node says, and what values it gives.
    fn term(&mut self, node: &Node, field_type: FieldType) -> Result<(Term, ColumnKind), Wrong> {
        let text = match &node.kind {
            NodeKind::Bool(_) | NodeKind::Number(_) => {
                let value = constant_of(node, field_type)?;
                return Ok((Term::Constant(value), ColumnKind::Other));
            }
            NodeKind::Text(text) => text,
            NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                let found = format!(
                    "expected a column or a constant, found {}",
                    node.type_name()
                );
                return Err((found, None));
            }
        };
        self.typed_formula(text, field_type)
    }

    /// An expression as a field's term.
    fn typed_formula(
        &mut self,
        text: &str,
        field_type: FieldType,
    ) -> Result<(Term, ColumnKind), Wrong> {
        let (expr, kind) = sql::compile(text, self)?;
        let term = match expr {
            Expr::Column(column) => {
                return Ok((Term::Column(column), self.column_kind(column)));
            }
            Expr::Constant(Value::Text(text)) => {
                Term::Constant(constant(Scalar::Text(&text), field_type)?)
            }
            Expr::Constant(Value::Decimal(number)) => {
                Term::Constant(constant(Scalar::Number(&number.to_string()), field_type)?)
            }
            Expr::Constant(Value::Bool(value)) => {
                Term::Constant(constant(Scalar::Bool(value), field_type)?)
            }
            Expr::Constant(Value::Null) => {
                let fix = "leave the field out; if it is a column, \"\\\"null\\\"\"";
                return Err(("is always null".to_owned(), Some(fix.to_owned())));
            }
            expr => {
                fits(kind, field_type)?;
                if let FieldType::Word(_) = field_type {
                    for text in expr.known_texts() {
                        constant(Scalar::Text(text), field_type)?;
                    }
                }
                let text = text.to_owned();
                return Ok((
                    Term::Expression(Formula { text, expr }),
                    becomes::kind(kind),
                ));
            }
        };
        Ok((term, ColumnKind::Other))
    }

    /// The index of the one column a node names.
    fn column(&mut self, node: &Node) -> Result<usize, Wrong> {
        let NodeKind::Text(text) = &node.kind else {
            let found = format!("expected a column, found {}", node.type_name());
            return Err((found, None));
        };
        match sql::compile(text, self)?.0 {
            Expr::Column(column) => Ok(column),
            Expr::Constant(_) => Err((
                "expected a column, found a constant".to_owned(),
                Some("write it under `const`".to_owned()),
            )),
            _ => Err((
                "expected a column, found an expression".to_owned(),
                Some("write the expression under `value`".to_owned()),
            )),
        }
    }

    fn currency(&mut self, node: &Node, path: &str) -> Option<Currency> {
        match &node.kind {
            NodeKind::Text(code) if convert::is_currency(code) => {
                Some(Currency::Fixed(code.clone()))
            }
            NodeKind::Map(_) => {
                let path = format!("{path}.currency");
                let mut section = Section::new(node, path.clone(), self.shared.problems);
                let (column, value) = (section.get("column"), section.get("value"));
                if column.is_none() && value.is_none() {
                    section.missing("column", "`column: currency_code`");
                }
                section.finish();
                if let Some(node) = value {
                    let formula = self.formula(node, &path, Type::Text, "'USD'")?;
                    return Some(Currency::Of(formula));
                }
                let node = column?;
                let index = self.column(node);
                let index = self.report(index, node, &format!("{path}.column"))?;
                let text = node_text(node);
                let expr = Expr::Column(index);
                Some(Currency::Of(Formula { text, expr }))
            }
            _ => {
                let found = "expected a code such as USD, or {column: ..}".to_owned();
                let problems = self.shared.problems;
                problems.add(node.line, node.column, path, found, None);
                None
            }
        }
    }

    /// The dictionary with its words turned into values of the field's type.
    fn lookup(
        &mut self,
        name: &str,
        schema: &FieldSchema,
        section: &mut Section<'_>,
    ) -> Option<Lookup> {
        let Some(dictionary) = self.shared.dictionaries.get(name) else {
            if let Some(node) = section.get("dictionary") {
                let fix = did_you_mean(name, self.shared.dictionaries.keys().map(String::as_str));
                let found = format!("there is no dictionary `{name}`");
                section.wrong("dictionary", node, found, fix);
            }
            return None;
        };
        self.used_dictionaries.push(name.to_owned());
        let value = |word: &Word| match constant(Scalar::Text(&word.meaning), schema.field_type) {
            Ok(value) => Some(value),
            Err((found, fix)) => {
                let path = format!("dictionaries.{name}.{}", word.code);
                let found = format!("field {}: {found}", schema.name);
                self.shared
                    .problems
                    .add(word.line, word.column, &path, found, fix);
                None
            }
        };
        let fold = self.shared.clean.cleaning.fold;
        let values = dictionary
            .words
            .iter()
            .filter_map(|word| {
                let code = if fold {
                    folded(&word.code)
                } else {
                    word.code.clone()
                };
                Some((code, value(word)?))
            })
            .collect();
        Some(Lookup {
            name: name.to_owned(),
            values,
            otherwise: dictionary.otherwise.as_ref().and_then(value),
        })
    }
}

/// Whether an expression's type can become a field's at all.
fn fits(kind: Type, field_type: FieldType) -> Result<(), Wrong> {
    let fine = match field_type {
        FieldType::Text | FieldType::Word(_) => true,
        FieldType::Decimal | FieldType::Money => matches!(kind, Type::Number | Type::Text),
        FieldType::Bool => matches!(kind, Type::Bool | Type::Number | Type::Text),
        FieldType::Date => matches!(kind, Type::Date | Type::Text | Type::Number),
        FieldType::Timestamp => matches!(kind, Type::Timestamp | Type::DateTime),
        FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => false,
    };
    if fine || matches!(kind, Type::Any | Type::Null) {
        return Ok(());
    }
    let found = format!(
        "the expression is {}, the field is of type {}",
        kind.name(),
        field_type.name()
    );
    Err((found, None))
}

/// Reports conversions that would silently do nothing.
fn no_effect(section: &mut Section<'_>, field_type: FieldType, constant: bool) {
    let number = matches!(field_type, FieldType::Decimal | FieldType::Money);
    let cell = [
        ("trim", true, ""),
        ("null_values", true, ""),
        ("default", true, ""),
        (
            "dictionary",
            field_type != FieldType::Money,
            "has no effect on money",
        ),
        ("implied_decimals", number, "is for decimals and money"),
        ("round", number, "is for decimals and money"),
        ("date", field_type == FieldType::Date, "is for dates"),
        (
            "zone",
            field_type == FieldType::Timestamp,
            "is for timestamps",
        ),
    ];
    for (key, fits, what) in cell {
        let Some(node) = section.get(key) else {
            continue;
        };
        if constant {
            section.wrong(key, node, "has no effect on a constant".to_owned(), None);
        } else if !fits {
            let found = format!("{what}; this field is {}", field_type.name());
            section.wrong(key, node, found, None);
        }
    }
    if field_type != FieldType::Money
        && let Some(node) = section.get("currency")
    {
        let found = format!("is for money; this field is {}", field_type.name());
        section.wrong("currency", node, found, None);
    }
    let pairs = [
        ("implied_decimals", "round"),
        ("implied_decimals", "dictionary"),
        ("round", "dictionary"),
        ("date", "dictionary"),
        ("zone", "dictionary"),
    ];
    for (key, other) in pairs {
        if let (Some(node), Some(_)) = (section.get(key), section.get(other)) {
            let found = format!("`{key}` and `{other}` cannot stand together");
            section.wrong(key, node, found, None);
        }
    }
}
