//! Loading a mapping file: every problem at once, each with its place and a suggestion.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::body::availability;
use contract::event::digest;
use contract::finding::{Level, nearest};
use contract::section::{Key, Problems};
use contract::{
    CapturedTable, Decimal, EventType, FieldSchema, FieldType, Finding, MappingRef, Node, NodeKind,
    Section, TableName,
};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::rule::{Currency, DateForm, Dictionary, Field, Mapping, Rule, Term, Trim};
use crate::yaml::parse_yaml;

/// Blocks of the full language that this form does not have yet.
const LATER: &[&str] = &["settings", "companies", "tests"];
const LATER_IN_EVENTS: &[&str] = &[
    "where",
    "join",
    "add",
    "group",
    "lines",
    "together",
    "deleted_when",
    "guard",
    "also_in",
    "fact",
    "read",
];

impl Mapping {
    /// Loads and checks one mapping file. `file` is its name as the user gave it.
    ///
    /// # Errors
    /// Every problem found, with file, line, column and a suggestion where there is one.
    pub fn load(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let root = parse_yaml(file, text)?;
        let problems = Problems::new(file);
        let mapping = Loader::new(&root, &problems, digest(&[text])).load();
        let findings = problems.take();
        if findings.iter().any(|finding| finding.level == Level::Fail) {
            return Err(findings);
        }
        mapping.ok_or(findings)
    }
}

#[derive(Default)]
struct Clean {
    trim: Trim,
    blank_is_null: bool,
    date_null_values: Vec<String>,
    zone: Option<TimeZone>,
}

struct Loader<'a> {
    top: Section<'a>,
    problems: Problems,
    digest: String,
    clean: Clean,
    tables: BTreeMap<String, CapturedTable>,
    dictionaries: BTreeMap<String, Arc<Dictionary>>,
    company: Option<Term>,
}

/// A rule under construction: collects the columns its terms name.
struct Columns<'l> {
    alias: &'l str,
    names: Vec<String>,
}

impl Columns<'_> {
    /// The index of `alias.column` or `column`; the error says what is wrong with the name.
    fn index(&mut self, text: &str) -> Result<usize, String> {
        let name = match text.split_once('.') {
            Some((alias, column)) if alias == self.alias => column,
            Some((alias, _)) => {
                return Err(format!(
                    "`{alias}` is not the event's table `{}`; joining tables is not supported yet",
                    self.alias
                ));
            }
            None => text,
        };
        let name = name.trim().trim_matches('"');
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '$' | '#');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "`{text}` is no column; write a column, 'a text', or case when .. is null then .."
            ));
        }
        Ok(self
            .names
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }))
    }
}

impl<'a> Loader<'a> {
    fn new(root: &'a Node, problems: &Problems, digest: String) -> Self {
        Self {
            top: Section::new(root, "", problems),
            problems: problems.clone(),
            digest,
            clean: Clean::default(),
            tables: BTreeMap::new(),
            dictionaries: BTreeMap::new(),
            company: None,
        }
    }

    fn load(mut self) -> Option<Mapping> {
        if self.top.number("mapping", 1, 1).is_none() && self.top.get("mapping").is_none() {
            self.top.missing(
                "mapping",
                "`mapping: 1`, the version of the mapping language",
            );
        }
        let pack = self.top.required_text("pack", "`pack: my-erp-stock`");
        let version = self
            .top
            .required_text("pack_version", "`pack_version: \"1.0.0\"`");
        let source = self.top.word("source", &["postgres", "sqlite"]);
        let default_schema = if source == Some("sqlite") {
            "main"
        } else {
            "public"
        };
        for key in LATER {
            refuse_later(&mut self.top, key);
        }
        self.load_clean();
        self.load_dictionaries();
        self.load_tables(default_schema);
        if let Some(node) = self.top.get("company") {
            match &node.kind {
                NodeKind::Text(company) => self.company = Some(Term::Text(company.clone())),
                _ => self
                    .top
                    .wrong("company", node, "expected text".to_owned(), None),
            }
        }
        let reference = MappingRef {
            pack: pack.unwrap_or_default().to_owned(),
            version: version.unwrap_or_default().to_owned(),
            digest: self.digest.clone(),
            rule: String::new(),
        };
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        if self.top.get("events").is_none() {
            self.top.missing("events", "an `events:` list");
        }
        for event in self.top.sections("events") {
            let (line, column) = event.place();
            let Some(rule) = self.load_event(event, &reference) else {
                continue;
            };
            let id = &rule.reference.rule;
            if rules.iter().any(|known| known.reference.rule == *id) {
                let found = format!("another event has the id `{id}`");
                self.problems.add(line, column, "events", found, None);
            }
            rules.push(Arc::new(rule));
        }
        self.top.finish();
        Some(Mapping {
            pack: pack?.to_owned(),
            digest: self.digest,
            rules,
        })
    }

    fn load_clean(&mut self) {
        let Some(mut clean) = self.top.section("clean") else {
            return;
        };
        if let Some(mut text) = clean.section("text") {
            self.clean.trim = trim(&mut text).unwrap_or_default();
            self.clean.blank_is_null = text.flag("blank_is_null").unwrap_or_default();
            text.finish();
        }
        if let Some(mut dates) = clean.section("dates") {
            let values = dates.texts("null_values").unwrap_or_default();
            self.clean.date_null_values = values.into_iter().map(str::to_owned).collect();
            self.clean.zone = zone(&mut dates);
            dates.finish();
        }
        clean.finish();
    }

    fn load_dictionaries(&mut self) {
        let Some(mut section) = self.top.section("dictionaries") else {
            return;
        };
        for (key, node) in section.free_entries() {
            let path = format!("dictionaries.{}", key.name);
            let mut entries = Section::new(node, path.clone(), &self.problems);
            let mut words = BTreeMap::new();
            let mut otherwise = None;
            for (code, word) in entries.free_entries() {
                let text = match &word.kind {
                    NodeKind::Text(text) | NodeKind::Number(text) => text.clone(),
                    NodeKind::Bool(value) => value.to_string(),
                    NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                        let found = format!("expected a word, found {}", word.type_name());
                        self.problems
                            .add(word.line, word.column, &path, found, None);
                        continue;
                    }
                };
                if code.name == "else" {
                    otherwise = (text != "hold").then_some(text);
                } else {
                    words.insert(code.name.clone(), text);
                }
            }
            let name = key.name.clone();
            let dictionary = Dictionary {
                name: name.clone(),
                words,
                otherwise,
            };
            self.dictionaries.insert(name, Arc::new(dictionary));
        }
    }

    fn load_tables(&mut self, default_schema: &str) {
        let Some(mut section) = self.top.section("tables") else {
            self.top
                .missing("tables", "`tables: {stock: {name: \"stock\", key: [sku]}}`");
            return;
        };
        for (alias, node) in section.free_entries() {
            let path = format!("tables.{}", alias.name);
            let mut table = Section::new(node, path, &self.problems);
            let name = table.required_text("name", "`name: \"schema.table\"`");
            let schema = table.text("schema");
            if table.get("key").is_none() {
                table.missing(
                    "key",
                    "`key: [column, ..]`, the columns that identify a row",
                );
            }
            let key: Vec<String> = match table.texts("key") {
                Some(key) if key.is_empty() => {
                    let (line, column) = table.place();
                    let found = "`key` names no column".to_owned();
                    self.problems.add(line, column, table.path(), found, None);
                    Vec::new()
                }
                key => key
                    .unwrap_or_default()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            };
            table.finish();
            let Some(name) = name else { continue };
            let table = match (schema, name.split_once('.')) {
                (Some(schema), _) => TableName::new(schema, name),
                (None, Some((schema, name))) => TableName::new(schema, name),
                (None, None) => TableName::new(default_schema, name),
            };
            let captured = CapturedTable {
                table,
                key,
                columns: Vec::new(),
            };
            self.tables.insert(alias.name.clone(), captured);
        }
    }

    fn load_event(&self, mut event: Section<'a>, reference: &MappingRef) -> Option<Rule> {
        for key in LATER_IN_EVENTS {
            refuse_later(&mut event, key);
        }
        let id = event.required_text("id", "`id: stock`");
        event.word("on_delete", &["tombstone"]);
        event.word("emit_when", &["fields_changed"]);
        let event_type = event_type(&mut event);
        let alias = event.required_text("from", "`from: <an alias of tables>`");
        let table = alias.and_then(|alias| {
            let found = self.tables.get(alias);
            if found.is_none()
                && let Some(node) = event.get("from")
            {
                let fix = nearest(alias, self.tables.keys().map(String::as_str));
                let fix = fix.map(|name| format!("did you mean `{name}`?"));
                event.wrong("from", node, format!("`{alias}` is not one of tables"), fix);
            }
            found
        });
        let mut key_section = event.section("key");
        let mut field_section = event.section("fields");
        if key_section.is_none() {
            event.missing("key", "`key: {sku: \"alias.column\", ..}`");
        }
        if field_section.is_none() {
            event.missing("fields", "`fields: {..}`");
        }
        let place = event.place();
        let path = event.path().to_owned();
        event.finish();
        let (event_type, table, alias) = (event_type?, table?, alias?);
        let schema = event_type.schema();
        let mut columns = Columns {
            alias,
            names: Vec::new(),
        };
        let mut key = Vec::new();
        let entries = key_section.as_mut().map_or(&[][..], Section::free_entries);
        for name in schema.key {
            let field = FieldSchema {
                name,
                field_type: FieldType::Text,
                required: true,
                meaning: "key",
            };
            let index = key.len();
            if let Some((_, node)) = entries.iter().find(|(entry, _)| entry.name == *name) {
                key.extend(self.field(&field, index, node, &path, &mut columns));
            } else if *name == "company" && self.company.is_some() {
                let term = self.company.clone().unwrap_or(Term::Bool(false));
                key.push(self.plain(&field, index, term));
            } else {
                let found = format!(
                    "key field `{name}` of {schema} is not mapped",
                    schema = schema.name
                );
                self.problems.add(place.0, place.1, &path, found, None);
            }
        }
        self.unknown(entries, schema.key, &format!("{path}.key"));
        let mut fields = Vec::new();
        let entries = field_section
            .as_mut()
            .map_or(&[][..], Section::free_entries);
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
        self.unknown(entries, &names, &format!("{path}.fields"));
        let derived = match event_type {
            EventType::InventoryAvailability => availability::DERIVED,
            EventType::InventoryMovement | EventType::Product | EventType::Order => &[],
        };
        for (index, field) in schema.fields.iter().enumerate() {
            if let Some((_, node)) = entries.iter().find(|(entry, _)| entry.name == field.name) {
                fields.extend(self.field(field, index, node, &path, &mut columns));
            } else if field.required && !derived.contains(&field.name) {
                let found = format!("required field `{}` is not mapped", field.name);
                let fix = Some(format!("{}: {}", field.name, field.meaning));
                self.problems.add(place.0, place.1, &path, found, fix);
            }
        }
        let reference = MappingRef {
            rule: id?.to_owned(),
            ..reference.clone()
        };
        Some(Rule {
            reference: Arc::new(reference),
            event_type,
            table: table.clone(),
            columns: columns.names,
            key,
            fields,
        })
    }

    fn unknown(&self, entries: &[(Key, Node)], allowed: &[&str], path: &str) {
        for (key, _) in entries
            .iter()
            .filter(|(key, _)| !allowed.contains(&key.name.as_str()))
        {
            let fix = nearest(&key.name, allowed.iter().copied()).map_or_else(
                || format!("one of {}", allowed.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            let found = format!("unknown field `{}`", key.name);
            self.problems
                .add(key.line, key.column, path, found, Some(fix));
        }
    }

    fn plain(&self, schema: &FieldSchema, index: usize, term: Term) -> Field {
        let is_date = matches!(schema.field_type, FieldType::Date | FieldType::Timestamp);
        let null_values = if is_date {
            self.clean.date_null_values.clone()
        } else {
            Vec::new()
        };
        Field {
            name: schema.name,
            index,
            field_type: schema.field_type,
            required: schema.required,
            term,
            trim: self.clean.trim,
            blank_is_null: self.clean.blank_is_null,
            null_values,
            default: None,
            dictionary: None,
            implied_decimals: 0,
            round: None,
            date: DateForm::Iso,
            zone: self.clean.zone.clone(),
            currency: None,
        }
    }

    fn field(
        &self,
        schema: &FieldSchema,
        index: usize,
        node: &Node,
        path: &str,
        columns: &mut Columns<'_>,
    ) -> Option<Field> {
        let path = format!("{path}.{}", schema.name);
        let wrong = |node: &Node, found: String| {
            self.problems
                .add(node.line, node.column, &path, found, None);
        };
        if matches!(schema.field_type, FieldType::List(_) | FieldType::Object(_)) {
            wrong(
                node,
                format!("a {} cannot be mapped yet", schema.field_type.name()),
            );
            return None;
        }
        let term = |node: &Node, columns: &mut Columns<'_>| match parse_term(node, columns) {
            Ok(term) => Some(term),
            Err(found) => {
                wrong(node, found);
                None
            }
        };
        let field = if matches!(node.kind, NodeKind::Map(_)) {
            let mut section = Section::new(node, path.clone(), &self.problems);
            let from = match (section.get("column"), section.get("const")) {
                (Some(column), None) => term(column, columns),
                (None, Some(constant)) => self.constant(constant, &path),
                _ => {
                    wrong(
                        node,
                        "expected exactly one of `column` and `const`".to_owned(),
                    );
                    None
                }
            };
            let mut field = self.plain(schema, index, from.unwrap_or(Term::Bool(false)));
            if let Some(value) = trim(&mut section) {
                field.trim = value;
            }
            if let Some(values) = section.texts("null_values") {
                field.null_values = values.into_iter().map(str::to_owned).collect();
            }
            field.default = match section.get("default").map(|node| &node.kind) {
                Some(NodeKind::Text(text) | NodeKind::Number(text)) => Some(text.clone()),
                Some(NodeKind::Bool(value)) => Some(value.to_string()),
                _ => None,
            };
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
            if let Some(node) = section.get("currency") {
                field.currency = self.currency(node, &path, columns);
            }
            if let Some(name) = section.text("dictionary") {
                field.dictionary = self.dictionaries.get(name).cloned();
                if field.dictionary.is_none()
                    && let Some(node) = section.get("dictionary")
                {
                    let fix = nearest(name, self.dictionaries.keys().map(String::as_str))
                        .map(|name| format!("did you mean `{name}`?"));
                    let found = format!("there is no dictionary `{name}`");
                    self.problems.add(node.line, node.column, &path, found, fix);
                }
            }
            section.finish();
            field
        } else {
            self.plain(schema, index, term(node, columns)?)
        };
        self.check(&field, node, &path);
        Some(field)
    }

    fn constant(&self, node: &Node, path: &str) -> Option<Term> {
        match &node.kind {
            NodeKind::Text(text) => Some(Term::Text(text.clone())),
            NodeKind::Number(text) => text.parse::<Decimal>().ok().map(Term::Number),
            NodeKind::Bool(value) => Some(Term::Bool(*value)),
            NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                let found = format!("expected a constant, found {}", node.type_name());
                self.problems.add(node.line, node.column, path, found, None);
                None
            }
        }
    }

    fn currency(&self, node: &Node, path: &str, columns: &mut Columns<'_>) -> Option<Currency> {
        match &node.kind {
            NodeKind::Text(code)
                if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                Some(Currency::Fixed(code.clone()))
            }
            NodeKind::Map(_) => {
                let mut section = Section::new(node, format!("{path}.currency"), &self.problems);
                let name = section.required_text("column", "`column: currency_code`");
                section.finish();
                match columns.index(name?) {
                    Ok(index) => Some(Currency::Column(index)),
                    Err(found) => {
                        self.problems.add(node.line, node.column, path, found, None);
                        None
                    }
                }
            }
            _ => {
                let found = "expected a code such as \"USD\", or {column: ..}".to_owned();
                self.problems.add(node.line, node.column, path, found, None);
                None
            }
        }
    }

    /// What can be known to be wrong before any row is seen.
    fn check(&self, field: &Field, node: &Node, path: &str) {
        let wrong = |found: String| {
            self.problems.add(node.line, node.column, path, found, None);
        };
        if field.field_type == FieldType::Money && field.currency.is_none() {
            wrong("an amount of money needs `currency`".to_owned());
        }
        if field.field_type != FieldType::Money && field.currency.is_some() {
            wrong("only an amount of money has a `currency`".to_owned());
        }
        if let FieldType::Word(words) = field.field_type {
            let mut possible: Vec<&str> = Vec::new();
            if let Some(dictionary) = &field.dictionary {
                possible.extend(dictionary.words.values().map(String::as_str));
                possible.extend(dictionary.otherwise.as_deref());
            } else {
                match &field.term {
                    Term::Text(text) => possible.push(text),
                    Term::NullCase {
                        when_null,
                        when_set,
                        ..
                    } => {
                        possible.extend([when_null.as_str(), when_set]);
                    }
                    Term::Number(_) | Term::Bool(_) => wrong("expected a word".to_owned()),
                    Term::Column(_) => {}
                }
            }
            possible.extend(field.default.as_deref());
            for word in possible.into_iter().filter(|word| !words.contains(word)) {
                let fix = nearest(word, words.iter().copied())
                    .map_or_else(|| words.join(", "), str::to_owned);
                wrong(format!(
                    "`{word}` is not a word of this field; perhaps {fix}"
                ));
            }
        }
        let fits = match (&field.term, field.field_type) {
            (Term::Bool(_), FieldType::Bool)
            | (Term::Number(_), FieldType::Decimal | FieldType::Money | FieldType::Text)
            | (Term::Text(_) | Term::Column(_) | Term::NullCase { .. }, _) => true,
            (Term::Bool(_) | Term::Number(_), other) => matches!(other, FieldType::Word(_)),
        };
        if !fits {
            wrong(format!(
                "the constant is not of type {}",
                field.field_type.name()
            ));
        }
    }
}

fn event_type(event: &mut Section<'_>) -> Option<EventType> {
    let name = event.required_text("emit", "`emit: inventory.availability.v1`")?;
    if let Ok(event_type) = name.parse() {
        return Some(event_type);
    }
    let fix = nearest(name, EventType::ALL.into_iter().map(EventType::name));
    let fix = fix.map_or_else(
        || format!("one of {}", EventType::ALL.map(EventType::name).join(", ")),
        |name| format!("did you mean `{name}`?"),
    );
    if let Some(node) = event.get("emit") {
        event.wrong(
            "emit",
            node,
            format!("`{name}` is not an event type"),
            Some(fix),
        );
    }
    None
}

fn refuse_later(section: &mut Section<'_>, key: &'static str) {
    if let Some(node) = section.get(key) {
        section.wrong(key, node, format!("`{key}` is not supported yet"), None);
    }
}

fn trim(section: &mut Section<'_>) -> Option<Trim> {
    Some(
        match section.word("trim", &["none", "left", "right", "both"])? {
            "left" => Trim::Left,
            "right" => Trim::Right,
            "both" => Trim::Both,
            _ => Trim::None,
        },
    )
}

/// Zones come from the database inside the binary: a mapping means the same on every machine.
fn zone(section: &mut Section<'_>) -> Option<TimeZone> {
    let name = section.text("zone")?;
    let zone = TimeZoneDatabase::bundled().get(name);
    if zone.is_err()
        && let Some(node) = section.get("zone")
    {
        let fix = Some("a name such as Europe/Berlin or America/Chicago".to_owned());
        section.wrong("zone", node, format!("there is no time zone `{name}`"), fix);
    }
    zone.ok()
}

fn parse_term(node: &Node, columns: &mut Columns<'_>) -> Result<Term, String> {
    match &node.kind {
        NodeKind::Bool(value) => Ok(Term::Bool(*value)),
        NodeKind::Number(text) => text
            .parse()
            .map(Term::Number)
            .map_err(|error| format!("`{text}` has {error}")),
        NodeKind::Text(text) => parse_text(text.trim(), columns),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => Err(format!(
            "expected a column or a constant, found {}",
            node.type_name()
        )),
    }
}

/// The part of the expression language that this form has: a column, a text, and
/// `case when c is [not] null then 'a' else 'b' end`.
fn parse_text(text: &str, columns: &mut Columns<'_>) -> Result<Term, String> {
    if let Some(literal) = literal(text) {
        return Ok(Term::Text(literal));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|w| w.eq_ignore_ascii_case(word));
    if is(0, "case") {
        let negated = is(4, "not");
        let at = if negated { 5 } else { 4 };
        let shape = is(1, "when")
            && is(3, "is")
            && is(at, "null")
            && is(at + 1, "then")
            && is(at + 3, "else")
            && is(at + 5, "end")
            && words.len() == at + 6;
        let words_at = |at: usize| words.get(at).copied().and_then(literal);
        if let (true, Some(column), Some(then), Some(other)) =
            (shape, words.get(2), words_at(at + 2), words_at(at + 4))
        {
            let column = columns.index(column)?;
            let (when_null, when_set) = if negated {
                (other, then)
            } else {
                (then, other)
            };
            return Ok(Term::NullCase {
                column,
                when_null,
                when_set,
            });
        }
        return Err(
            "only `case when c is [not] null then 'a' else 'b' end` is supported yet".to_owned(),
        );
    }
    columns.index(text).map(Term::Column)
}

/// The text of an SQL string literal.
fn literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let unescaped = inner.replace("''", "\u{0}");
    (!unescaped.contains('\'')).then(|| unescaped.replace('\u{0}', "'"))
}
