//! Loading a mapping file: every problem at once, each with its place and a suggestion.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::body::availability;
use contract::event::digest;
use contract::finding::Level;
use contract::section::{Key, Problems};
use contract::{
    CapturedTable, EventKind, EventType, FieldSchema, FieldType, FieldValue, Finding, MappingRef,
    Node, NodeKind, Section, TableName,
};

use crate::field::{Clean, Dictionary, Scope, Word, did_you_mean, trim, zone};
use crate::rule::{Field, Mapping, Rule, Term};
use crate::yaml::{FINDINGS_MAX, parse_yaml};

/// Blocks of the full language that this form does not have yet.
const LATER: &[&str] = &["settings", "companies", "tests", "extends"];
const LATER_IN_CLEAN: &[&str] = &["keys", "flags"];
const LATER_IN_DATES: &[&str] = &["date_only"];
const LATER_IN_EVENTS: &[&str] = &[
    "join", "add", "group", "lines", "together", "guard", "also_in", "fact", "read",
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
        let mut findings = problems.take();
        // Two fields that use one dictionary find the same mistake in it.
        findings.dedup();
        let failed = findings.iter().any(|finding| finding.level == Level::Fail);
        if failed {
            // A warning about a broken file is mostly an echo of what is broken.
            findings.retain(|finding| finding.level == Level::Fail);
        }
        findings.truncate(FINDINGS_MAX);
        match mapping {
            Some(mapping) if !failed => Ok(Self {
                warnings: findings,
                ..mapping
            }),
            _ => Err(findings),
        }
    }
}

struct Loader<'a> {
    root: &'a Node,
    top: Section<'a>,
    problems: Problems,
    digest: String,
    source: Option<&'static str>,
    clean: Clean,
    tables: BTreeMap<String, CapturedTable>,
    dictionaries: BTreeMap<String, Dictionary>,
    company: Option<String>,
    /// Names that something refers to.
    used_tables: Vec<String>,
    used_dictionaries: Vec<String>,
}

impl<'a> Loader<'a> {
    fn new(root: &'a Node, problems: &Problems, digest: String) -> Self {
        Self {
            root,
            top: Section::new(root, "", problems),
            problems: problems.clone(),
            digest,
            source: None,
            clean: Clean::default(),
            tables: BTreeMap::new(),
            dictionaries: BTreeMap::new(),
            company: None,
            used_tables: Vec::new(),
            used_dictionaries: Vec::new(),
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
        self.source = self.top.word("source", &["postgres", "sqlite"]);
        refuse_later(&mut self.top, Some(self.root), LATER);
        self.load_clean();
        let dictionary_places = self.load_dictionaries();
        let table_places = self.load_tables();
        self.load_company();
        let reference = MappingRef {
            pack: pack.unwrap_or_default().to_owned(),
            version: version.unwrap_or_default().to_owned(),
            digest: self.digest.clone(),
            rule: String::new(),
        };
        let rules = self.load_events(&reference);
        self.warn_unused("tables", table_places, &self.used_tables);
        self.warn_unused("dictionaries", dictionary_places, &self.used_dictionaries);
        self.top.finish();
        Some(Mapping {
            pack: pack?.to_owned(),
            digest: self.digest,
            rules,
            warnings: Vec::new(),
        })
    }

    fn load_company(&mut self) {
        let Some(node) = self.top.get("company") else {
            return;
        };
        // A stand-in for a wrong one, so that not every event complains again.
        self.company = Some(String::new());
        match &node.kind {
            NodeKind::Text(company) if !company.trim().is_empty() => {
                self.company = Some(company.clone());
            }
            NodeKind::Text(_) => self.top.wrong("company", node, "is blank".to_owned(), None),
            NodeKind::Number(text) => {
                let found = format!("expected text, found the number {text}");
                let fix = Some(format!("\"{text}\""));
                self.top.wrong("company", node, found, fix);
            }
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::List(_) | NodeKind::Map(_) => {
                let found = format!("expected text, found {}", node.type_name());
                let fix = "a company that stands in a column belongs into each event's key: \
                           `key: {company: \"alias.column\", ..}`";
                self.top.wrong("company", node, found, Some(fix.to_owned()));
            }
        }
    }

    fn load_clean(&mut self) {
        let Some(mut clean) = self.top.section("clean") else {
            return;
        };
        refuse_later(&mut clean, self.top.get("clean"), LATER_IN_CLEAN);
        if let Some(mut text) = clean.section("text") {
            self.clean.cleaning.trim = trim(&mut text).unwrap_or_default();
            self.clean.cleaning.blank_is_null = text.flag("blank_is_null").unwrap_or_default();
            text.finish();
        }
        if let Some(mut dates) = clean.section("dates") {
            refuse_later(&mut dates, clean.get("dates"), LATER_IN_DATES);
            let values = dates.texts("null_values").unwrap_or_default();
            self.clean.cleaning.null_dates = values.into_iter().map(str::to_owned).collect();
            self.clean.zone = zone(&mut dates);
            dates.finish();
        }
        clean.finish();
    }

    fn load_dictionaries(&mut self) -> &'a [(Key, Node)] {
        let Some(mut section) = self.top.section("dictionaries") else {
            return &[];
        };
        let entries = section.free_entries();
        for (key, node) in entries {
            let path = format!("dictionaries.{}", key.name);
            let mut section = Section::new(node, path.clone(), &self.problems);
            let mut dictionary = Dictionary::default();
            for (code, word) in section.free_entries() {
                let meaning = match &word.kind {
                    NodeKind::Text(text) | NodeKind::Number(text) => text.clone(),
                    NodeKind::Bool(value) => value.to_string(),
                    NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                        let found = format!("expected a word, found {}", word.type_name());
                        self.problems
                            .add(word.line, word.column, &path, found, None);
                        continue;
                    }
                };
                let hold = meaning == "hold";
                let word = Word {
                    code: code.name.clone(),
                    meaning,
                    line: word.line,
                    column: word.column,
                };
                if code.name != "else" {
                    dictionary.words.push(word);
                } else if !hold {
                    dictionary.otherwise = Some(word);
                }
            }
            self.dictionaries.insert(key.name.clone(), dictionary);
        }
        entries
    }

    fn load_tables(&mut self) -> &'a [(Key, Node)] {
        let default_schema = match self.source {
            Some("sqlite") => "main",
            _ => "public",
        };
        let Some(mut section) = self.top.section("tables") else {
            self.top
                .missing("tables", "`tables: {stock: {name: \"stock\", key: [sku]}}`");
            return &[];
        };
        let entries = section.free_entries();
        for (alias, node) in entries {
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
            let key = table.texts("key");
            if let (Some([]), Some(node)) = (key.as_deref(), table.get("key")) {
                let fix = Some("the columns that identify a row".to_owned());
                table.wrong("key", node, "names no column".to_owned(), fix);
            }
            table.finish();
            let Some(name) = name else { continue };
            let table = match (schema, name.split_once('.')) {
                (Some(schema), _) => TableName::new(schema, name),
                (None, Some((schema, name))) => TableName::new(schema, name),
                (None, None) => TableName::new(default_schema, name),
            };
            let key = key.unwrap_or_default();
            let captured = CapturedTable {
                table,
                key: key.into_iter().map(str::to_owned).collect(),
                columns: Vec::new(),
            };
            self.same_key(alias, node, &captured);
            self.tables.insert(alias.name.clone(), captured);
        }
        entries
    }

    /// Two aliases of one table must agree about its key.
    fn same_key(&self, alias: &Key, node: &Node, table: &CapturedTable) {
        let other = self
            .tables
            .iter()
            .find(|(_, known)| known.table == table.table && known.key != table.key);
        if let Some((other, _)) = other {
            let path = format!("tables.{}", alias.name);
            let found = format!(
                "`{other}` is the same table, {}, with another key",
                table.table
            );
            self.problems
                .add(node.line, node.column, &path, found, None);
        }
    }

    fn load_events(&mut self, reference: &MappingRef) -> Vec<Arc<Rule>> {
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        let node = self.top.get("events");
        let events = self.top.sections("events");
        let items = match node.map(|node| &node.kind) {
            Some(NodeKind::List(items)) => items.as_slice(),
            _ => &[],
        };
        match node {
            None => self.top.missing("events", "an `events:` list"),
            Some(node) if items.is_empty() && matches!(node.kind, NodeKind::List(_)) => {
                self.top
                    .wrong("events", node, "lists no event".to_owned(), None);
            }
            Some(_) => {}
        }
        let mut ids: Vec<&str> = Vec::new();
        for (mut event, item) in events.into_iter().zip(items) {
            if let Some(node) = event.get("id")
                && let NodeKind::Text(id) = &node.kind
            {
                if ids.contains(&id.as_str()) {
                    let found = format!("another event has the id `{id}`");
                    event.wrong("id", node, found, None);
                }
                ids.push(id);
            }
            if let Some(rule) = self.load_event(event, item, reference) {
                rules.push(Arc::new(rule));
            }
        }
        rules
    }

    fn load_event(
        &mut self,
        mut event: Section<'a>,
        node: &Node,
        reference: &MappingRef,
    ) -> Option<Rule> {
        refuse_later(&mut event, Some(node), LATER_IN_EVENTS);
        let id = event.required_text("id", "`id: stock`");
        on_delete(&mut event);
        event.word("emit_when", &["fields_changed"]);
        let event_type = event_type(&mut event);
        let alias = event.required_text("from", "`from: <an alias of tables>`");
        let table = alias.and_then(|alias| self.table(alias, &mut event));
        let (key_node, field_node) = (event.get("key"), event.get("fields"));
        let mut key_section = event.section("key");
        let mut field_section = event.section("fields");
        if key_node.is_none() {
            event.missing("key", "`key: {sku: \"alias.column\", ..}`");
        }
        if field_node.is_none() {
            event.missing("fields", "`fields: {..}`");
        }
        let at = |node: Option<&Node>| node.map_or(event.place(), |node| (node.line, node.column));
        let (key_place, field_place) = (at(key_node), at(field_node));
        let path = event.path().to_owned();
        let (filter_node, deleted_node) = (event.get("where"), event.get("deleted_when"));
        if let (Some(node), Some(event_type)) = (deleted_node, event_type)
            && event_type.kind() == EventKind::Fact
        {
            let found = "is for events of state: what happened stays happened".to_owned();
            let fix = Some("`where` leaves rows out".to_owned());
            event.wrong("deleted_when", node, found, fix);
        }
        event.finish();
        let keys = key_section.as_mut().map(Section::free_entries);
        let fields = field_section.as_mut().map(Section::free_entries);
        let event_type = event_type?;
        let mut scope = Scope {
            problems: &self.problems,
            clean: &self.clean,
            dictionaries: &self.dictionaries,
            tables: &self.tables,
            // Without a known table every alias is taken, so that one mistake is said once.
            alias: table.is_some().then_some(alias).flatten(),
            columns: Vec::new(),
            used: Vec::new(),
        };
        let company = self.company.as_deref();
        let key = keys
            .map(|entries| load_key(&mut scope, event_type, entries, company, key_place, &path));
        let read_by_key = scope.columns.len();
        let mut condition = |node: Option<&Node>, name: &str| {
            node.and_then(|node| scope.condition(node, &format!("{path}.{name}")))
        };
        let filter = condition(filter_node, "where");
        let deleted_when = condition(deleted_node, "deleted_when");
        let fields =
            fields.map(|entries| load_fields(&mut scope, event_type, entries, field_place, &path));
        let Scope { columns, used, .. } = scope;
        if let Some(table) = &table {
            let key_columns = columns.get(..read_by_key).unwrap_or_default();
            self.warn_key(table, event_type, key_columns, key_place, &path);
        }
        let own_keys = table.as_ref().is_some_and(|table| {
            let key_columns = columns.get(..read_by_key).unwrap_or_default();
            table.key.iter().all(|column| key_columns.contains(column))
        });
        self.used_dictionaries.extend(used);
        self.used_tables.extend(alias.map(str::to_owned));
        let table = table?;
        let reference = MappingRef {
            rule: id?.to_owned(),
            ..reference.clone()
        };
        Some(Rule {
            reference: Arc::new(reference),
            event_type,
            whole_rows_hint: self.whole_rows_hint(&table.table),
            table,
            columns,
            own_keys,
            filter,
            deleted_when,
            cleaning: self.clean.cleaning.clone(),
            zone: self.clean.zone.clone(),
            key: key?,
            fields: fields?,
        })
    }

    fn table(&self, alias: &str, event: &mut Section<'a>) -> Option<CapturedTable> {
        let found = self.tables.get(alias);
        if found.is_none()
            && let Some(node) = event.get("from")
        {
            let fix = did_you_mean(alias, self.tables.keys().map(String::as_str));
            event.wrong("from", node, format!("`{alias}` is not one of tables"), fix);
        }
        found.cloned()
    }

    /// The statement that makes the log carry whole rows, where the source has one.
    fn whole_rows_hint(&self, table: &TableName) -> Option<String> {
        if self.source == Some("sqlite") {
            return None;
        }
        let part = |name: &str| {
            let plain = name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if plain {
                name.to_owned()
            } else {
                format!("\"{}\"", name.replace('"', "\"\""))
            }
        };
        let (schema, name) = (part(&table.schema), part(&table.name));
        Some(format!("alter table {schema}.{name} replica identity full"))
    }

    /// A key that reads other columns than the table's key needs whole old rows from the log:
    /// otherwise deletes are held, and nobody sees that the key changed.
    fn warn_key(
        &self,
        table: &CapturedTable,
        event_type: EventType,
        columns: &[String],
        place: (usize, usize),
        path: &str,
    ) {
        let other = columns.iter().find(|column| !table.key.contains(column));
        let (Some(column), EventKind::State) = (other, event_type.kind()) else {
            return;
        };
        let Some(hint) = self.whole_rows_hint(&table.table) else {
            return;
        };
        let found = format!(
            "column \"{column}\" is part of the event's key but not of the table's key [{}]: \
             without the whole old row, deletes are held and a change of it is not noticed",
            table.key.join(", ")
        );
        let finding = Finding::warn(format!("{path}.key"), found).fix(hint);
        self.problems.push(finding, place.0, place.1);
    }

    fn warn_unused(&self, block: &str, entries: &[(Key, Node)], used: &[String]) {
        for (key, _) in entries {
            if !used.contains(&key.name) {
                let what = format!("{block}.{}", key.name);
                let finding = Finding::warn(what, "nothing uses it");
                self.problems.push(finding, key.line, key.column);
            }
        }
    }
}

fn load_key(
    scope: &mut Scope<'_>,
    event_type: EventType,
    entries: &[(Key, Node)],
    company: Option<&str>,
    place: (usize, usize),
    path: &str,
) -> Vec<Field> {
    let path = format!("{path}.key");
    let names = event_type.schema().key;
    let mut key = Vec::new();
    for name in names {
        let field = FieldSchema {
            name,
            field_type: FieldType::Text,
            required: true,
            meaning: "key",
        };
        let index = key.len();
        let entry = entries.iter().find(|(entry, _)| entry.name == *name);
        match (entry, company) {
            (Some((_, node)), _) => key.extend(scope.field(&field, index, node, &path)),
            (None, Some(company)) if *name == "company" => {
                let term = Term::Constant(FieldValue::Text(company.to_owned()));
                key.push(scope.plain(&field, index, term));
            }
            (None, _) => {
                let found = format!("key field `{name}` of {event_type} is not mapped");
                let fix = (*name == "company")
                    .then(|| "`company: MY-COMPANY` at the top of the file".to_owned());
                scope.problems.add(place.0, place.1, &path, found, fix);
            }
        }
    }
    unknown(scope.problems, entries, names, &path);
    key
}

fn load_fields(
    scope: &mut Scope<'_>,
    event_type: EventType,
    entries: &[(Key, Node)],
    place: (usize, usize),
    path: &str,
) -> Vec<Field> {
    let path = format!("{path}.fields");
    let derived = match event_type {
        EventType::InventoryAvailability => availability::DERIVED,
        EventType::InventoryMovement
        | EventType::Product
        | EventType::Price
        | EventType::Customer
        | EventType::Order
        | EventType::Shipment
        | EventType::Return
        | EventType::PurchaseOrder
        | EventType::PurchaseReceipt => &[],
    };
    let schema = event_type.schema();
    let mut fields = Vec::new();
    for (index, field) in schema.fields.iter().enumerate() {
        let entry = entries.iter().find(|(entry, _)| entry.name == field.name);
        if let Some((_, node)) = entry {
            fields.extend(scope.field(field, index, node, &path));
        } else if field.required && !derived.contains(&field.name) {
            let found = format!("required field `{}` is not mapped", field.name);
            let fix = Some(format!("add `{}: ..`: {}", field.name, field.meaning));
            scope.problems.add(place.0, place.1, &path, found, fix);
        }
    }
    let names: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
    unknown(scope.problems, entries, &names, &path);
    fields
}

fn unknown(problems: &Problems, entries: &[(Key, Node)], allowed: &[&str], path: &str) {
    let unknown = entries
        .iter()
        .filter(|(key, _)| !allowed.contains(&key.name.as_str()))
        .take(FINDINGS_MAX);
    for (key, _) in unknown {
        let fix = did_you_mean(&key.name, allowed.iter().copied())
            .unwrap_or_else(|| format!("one of {}", allowed.join(", ")));
        let found = format!("unknown field `{}`", key.name);
        problems.add(key.line, key.column, path, found, Some(fix));
    }
}

fn event_type(event: &mut Section<'_>) -> Option<EventType> {
    let name = event.required_text("emit", "`emit: inventory.availability.v1`")?;
    if let Ok(event_type) = name.parse() {
        return Some(event_type);
    }
    let all = EventType::ALL.map(EventType::name);
    let fix = did_you_mean(name, all).unwrap_or_else(|| format!("one of {}", all.join(", ")));
    if let Some(node) = event.get("emit") {
        let found = format!("`{name}` is not an event type");
        event.wrong("emit", node, found, Some(fix));
    }
    None
}

fn on_delete(event: &mut Section<'_>) {
    if let Some(node) = event.get("on_delete")
        && matches!(&node.kind, NodeKind::Text(text) if text == "zero_then_tombstone")
    {
        let found = "not yet supported: `zero_then_tombstone`".to_owned();
        let fix = Some("`tombstone`, or leave it out".to_owned());
        event.wrong("on_delete", node, found, fix);
        return;
    }
    event.word("on_delete", &["tombstone"]);
}

/// Refuses keys of the full language by name; a key that is not there is not offered either.
fn refuse_later(section: &mut Section<'_>, node: Option<&Node>, keys: &[&'static str]) {
    let Some(NodeKind::Map(entries)) = node.map(|node| &node.kind) else {
        return;
    };
    for key in keys {
        if !entries.iter().any(|(entry, _)| entry.name == *key) {
            continue;
        }
        if let Some(node) = section.get(key) {
            let found = format!("not yet supported: `{key}`");
            let fix = "this version of the language maps one table to one event, field by field";
            section.wrong(key, node, found, Some(fix.to_owned()));
        }
    }
}
