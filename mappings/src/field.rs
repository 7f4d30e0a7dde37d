//! Loading one key or body field: its term, its conversions, and what can be known to be wrong
//! before any row is seen.

use std::collections::BTreeMap;

use contract::finding::nearest;
use contract::section::Problems;
use contract::{CapturedTable, FieldSchema, FieldType, FieldValue, Node, NodeKind, Section, Value};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::convert;
use crate::convert::Cleaning;
use crate::rule::{Currency, DateForm, Field, Formula, Lookup, Term, Trim};
use crate::sql::{self, Codes, Expr, Names, Type, Wrong};

/// A word of a dictionary, with its place.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) code: String,
    pub(crate) meaning: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A dictionary as it stands in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    pub(crate) words: Vec<Word>,
    /// What unknown codes mean; `None` = hold.
    pub(crate) otherwise: Option<Word>,
}

/// The file's cleaning rules.
#[derive(Debug, Default)]
pub(crate) struct Clean {
    pub(crate) cleaning: Cleaning,
    pub(crate) zone: Option<TimeZone>,
}

/// What the fields of one event may refer to, and what they did refer to.
pub(crate) struct Scope<'l> {
    pub(crate) problems: &'l Problems,
    pub(crate) clean: &'l Clean,
    pub(crate) dictionaries: &'l BTreeMap<String, Dictionary>,
    pub(crate) tables: &'l BTreeMap<String, CapturedTable>,
    /// The event's own table.
    pub(crate) alias: Option<&'l str>,
    /// Columns read so far.
    pub(crate) columns: Vec<String>,
    /// Dictionaries used so far.
    pub(crate) used: Vec<String>,
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
            cleaning: self.clean.cleaning.clone(),
            default: None,
            lookup: None,
            implied_decimals: 0,
            round: None,
            date: DateForm::Iso,
            zone: self.clean.zone.clone(),
            currency: None,
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
        if matches!(
            schema.field_type,
            FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map
        ) {
            let found = format!(
                "not yet supported: mapping {}, which is of type {}",
                schema.name,
                schema.field_type.name()
            );
            let fix = Some("leave it out".to_owned());
            self.problems.add(node.line, node.column, &path, found, fix);
            return None;
        }
        if matches!(node.kind, NodeKind::Map(_)) {
            let section = Section::new(node, path.clone(), self.problems);
            return self.detailed(schema, index, section, node);
        }
        let term = self.term(node, schema.field_type);
        let term = self.report(term, node, &path)?;
        if schema.field_type == FieldType::Money {
            self.no_currency(node, &path);
        }
        Some(self.plain(schema, index, term))
    }

    fn no_currency(&self, node: &Node, path: &str) {
        let found = "an amount of money needs `currency`".to_owned();
        let fix = "{column: .., currency: USD} or {column: .., currency: {column: ..}}".to_owned();
        self.problems
            .add(node.line, node.column, path, found, Some(fix));
    }

    fn report<T>(&self, result: Result<T, Wrong>, node: &Node, path: &str) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err((found, fix)) => {
                self.problems.add(node.line, node.column, path, found, fix);
                None
            }
        }
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
        let term = match (column, constant, section.get("value")) {
            (None, None, Some(node)) => {
                let term = self.term(node, field_type);
                self.report(term, node, &format!("{path}.value"))
            }
            (Some(node), None, None) => {
                let index = self.column(node);
                self.report(index, node, &format!("{path}.column"))
                    .map(Term::Column)
            }
            (None, Some(node), None) => {
                let value = constant_of(node, field_type);
                self.report(value, node, &format!("{path}.const"))
                    .map(Term::Constant)
            }
            _ => {
                let found = "expected exactly one of `column`, `value` and `const`".to_owned();
                self.problems
                    .add(node.line, node.column, &path, found, None);
                None
            }
        };
        let broken = term.is_none();
        // Go on with a stand-in, to report everything else that is wrong here.
        let mut field = self.plain(schema, index, term.unwrap_or(Term::Column(0)));
        if let Some(value) = trim(&mut section) {
            field.cleaning.trim = value;
        }
        if let Some(values) = section.texts("null_values") {
            field.cleaning.null_values = values.into_iter().map(str::to_owned).collect();
            // For a date, the field's own list stands instead of the file's.
            if matches!(field_type, FieldType::Date | FieldType::Timestamp) {
                field.cleaning.null_dates = field.cleaning.null_values.clone().into();
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
        section.finish();
        (!broken).then_some(field)
    }

    fn term(&mut self, node: &Node, field_type: FieldType) -> Result<Term, Wrong> {
        let text = match &node.kind {
            NodeKind::Bool(_) | NodeKind::Number(_) => {
                return constant_of(node, field_type).map(Term::Constant);
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
        self.formula(text, field_type)
    }

    /// An expression as a field's term.
    fn formula(&mut self, text: &str, field_type: FieldType) -> Result<Term, Wrong> {
        let (expr, kind) = sql::compile(text, self)?;
        Ok(match expr {
            Expr::Column(column) => Term::Column(column),
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
                Term::Expression(Formula {
                    text: text.to_owned(),
                    expr,
                })
            }
        })
    }

    /// A condition on rows.
    pub(crate) fn condition(&mut self, node: &Node, path: &str) -> Option<Formula> {
        let NodeKind::Text(text) = &node.kind else {
            let found = format!("expected a condition, found {}", node.type_name());
            let fix = Some("such as \"stock.kind = 2\"".to_owned());
            self.problems.add(node.line, node.column, path, found, fix);
            return None;
        };
        let made = sql::compile(text, self).and_then(|(expr, kind)| match kind {
            Type::Bool | Type::Any => Ok(Formula {
                text: text.clone(),
                expr,
            }),
            other => Err((
                format!("expected a condition, found {}", other.name()),
                Some("compare it with something".to_owned()),
            )),
        });
        self.report(made, node, path)
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
                let mut section = Section::new(node, path.clone(), self.problems);
                let node = section.get("column");
                if node.is_none() {
                    section.missing("column", "`column: currency_code`");
                }
                section.finish();
                let node = node?;
                let index = self.column(node);
                self.report(index, node, &format!("{path}.column"))
                    .map(Currency::Column)
            }
            _ => {
                let found = "expected a code such as USD, or {column: ..}".to_owned();
                self.problems.add(node.line, node.column, path, found, None);
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
        let Some(dictionary) = self.dictionaries.get(name) else {
            if let Some(node) = section.get("dictionary") {
                let fix = did_you_mean(name, self.dictionaries.keys().map(String::as_str));
                let found = format!("there is no dictionary `{name}`");
                section.wrong("dictionary", node, found, fix);
            }
            return None;
        };
        self.used.push(name.to_owned());
        let value = |word: &Word| match constant(Scalar::Text(&word.meaning), schema.field_type) {
            Ok(value) => Some(value),
            Err((found, fix)) => {
                let path = format!("dictionaries.{name}.{}", word.code);
                let found = format!("field {}: {found}", schema.name);
                self.problems.add(word.line, word.column, &path, found, fix);
                None
            }
        };
        let values = dictionary
            .words
            .iter()
            .filter_map(|word| Some((word.code.clone(), value(word)?)))
            .collect();
        Some(Lookup {
            name: name.to_owned(),
            values,
            otherwise: dictionary.otherwise.as_ref().and_then(value),
        })
    }
}

impl Names for Scope<'_> {
    fn column(&mut self, alias: Option<&str>, column: &str) -> Result<usize, Wrong> {
        if let (Some(alias), Some(own)) = (alias, self.alias)
            && alias != own
        {
            if self.tables.contains_key(alias) {
                let found = format!(
                    "not yet supported: `{alias}` is not the table of this event, `{own}`; one \
                     event reads one table"
                );
                return Err((found, None));
            }
            let found = format!("`{alias}` is not one of tables");
            return Err((found, did_you_mean(alias, [own])));
        }
        let known = self.columns.iter().position(|known| known == column);
        Ok(known.unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.columns.len() - 1
        }))
    }

    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong> {
        let Some(dictionary) = self.dictionaries.get(name) else {
            let fix = did_you_mean(name, self.dictionaries.keys().map(String::as_str));
            return Err((format!("there is no dictionary `{name}`"), fix));
        };
        self.used.push(name.to_owned());
        let meaning = |word: &Word| word.meaning.clone();
        let words = dictionary.words.iter();
        Ok(Codes {
            name: name.to_owned(),
            values: words
                .map(|word| (word.code.clone(), meaning(word)))
                .collect(),
            otherwise: dictionary.otherwise.as_ref().map(meaning),
        })
    }

    fn has_zone(&self) -> bool {
        self.clean.zone.is_some()
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

/// A scalar as it stands in the file.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
}

fn constant_of(node: &Node, field_type: FieldType) -> Result<FieldValue, Wrong> {
    let scalar = match &node.kind {
        NodeKind::Text(text) => Scalar::Text(text),
        NodeKind::Number(text) => Scalar::Number(text),
        NodeKind::Bool(value) => Scalar::Bool(*value),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
            let found = format!("expected a constant, found {}", node.type_name());
            return Err((found, None));
        }
    };
    constant(scalar, field_type)
}

/// A constant as a value of the field's type; for money, its amount.
///
/// # Errors
/// When it is not exactly one.
pub(crate) fn constant(scalar: Scalar<'_>, field_type: FieldType) -> Result<FieldValue, Wrong> {
    let expected = |example: &str| {
        let found = match scalar {
            Scalar::Text(text) => format!("`{text}`"),
            Scalar::Number(text) => format!("the number {text}"),
            Scalar::Bool(value) => format!("{value}"),
        };
        let name = field_type.name();
        Err((
            format!("expected a constant of type {name}, found {found}"),
            Some(format!("such as {example}")),
        ))
    };
    match (field_type, scalar) {
        (FieldType::Text, Scalar::Text(text)) => Ok(FieldValue::Text(text.to_owned())),
        (FieldType::Text, Scalar::Number(text)) => expected(&format!("\"'{text}'\"")),
        (FieldType::Text, Scalar::Bool(value)) => expected(&format!("\"'{value}'\"")),
        (FieldType::Word(words), Scalar::Text(text)) if words.contains(&text) => {
            Ok(FieldValue::Text(text.to_owned()))
        }
        (FieldType::Word(words), Scalar::Text(text)) => {
            let fix = did_you_mean(text, words.iter().copied())
                .or_else(|| Some(format!("one of {}", words.join(", "))));
            Err((format!("`{text}` is not a word of this field"), fix))
        }
        (FieldType::Word(words), _) => expected(words.first().copied().unwrap_or_default()),
        (FieldType::Decimal | FieldType::Money, Scalar::Text(text) | Scalar::Number(text)) => text
            .parse()
            .map(FieldValue::Decimal)
            .or_else(|_| expected("12.5")),
        (FieldType::Decimal | FieldType::Money, Scalar::Bool(_)) => expected("12.5"),
        (FieldType::Bool, Scalar::Bool(value)) => Ok(FieldValue::Bool(value)),
        (FieldType::Bool, Scalar::Text("true")) => Ok(FieldValue::Bool(true)),
        (FieldType::Bool, Scalar::Text("false")) => Ok(FieldValue::Bool(false)),
        (FieldType::Bool, _) => expected("true or false"),
        (FieldType::Date, Scalar::Text(text)) => {
            let date = convert::iso(text);
            date.map_or_else(|| expected("2026-11-20"), |d| Ok(FieldValue::Date(d)))
        }
        (FieldType::Date, _) => expected("2026-11-20"),
        (FieldType::Timestamp, Scalar::Text(text)) => text
            .parse()
            .map(FieldValue::Timestamp)
            .or_else(|_| expected("2026-11-20T08:00:00Z")),
        (FieldType::Timestamp, _) => expected("2026-11-20T08:00:00Z"),
        (FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map, _) => {
            expected("nothing")
        }
    }
}

/// The nearest allowed name as a suggestion.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, allowed).map(|name| format!("did you mean `{name}`?"))
}

/// The `trim` key of a section.
pub(crate) fn trim(section: &mut Section<'_>) -> Option<Trim> {
    Some(
        match section.word("trim", &["none", "left", "right", "both"])? {
            "left" => Trim::Left,
            "right" => Trim::Right,
            "both" => Trim::Both,
            _ => Trim::None,
        },
    )
}

/// The `zone` key of a section. Zones come from the database inside the binary: a mapping means
/// the same on every machine.
pub(crate) fn zone(section: &mut Section<'_>) -> Option<TimeZone> {
    let name = section.text("zone")?;
    let zone = TimeZoneDatabase::bundled().get(name);
    if zone.is_err()
        && let Some(node) = section.get("zone")
    {
        let nearest = TimeZoneDatabase::bundled();
        let names: Vec<String> = nearest.available().map(|n| n.to_string()).collect();
        let fix = did_you_mean(name, names.iter().map(String::as_str))
            .unwrap_or_else(|| "a name such as Europe/Berlin or America/Chicago".to_owned());
        section.wrong(
            "zone",
            node,
            format!("there is no time zone `{name}`"),
            Some(fix),
        );
    }
    zone.ok()
}
