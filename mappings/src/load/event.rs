//! Loading one entry of `events`.

use std::sync::Arc;

use contract::body::availability;
use contract::section::{Key, Problems};
use contract::{
    BodySchema, CapturedTable, EventKind, EventType, FieldSchema, FieldType, FieldValue, Finding,
    MappingRef, Node, NodeKind, Section, TableName,
};

use super::history::{history, same_columns};
use super::scope::{FieldNames, Scope, Shared};
use super::words::did_you_mean;
use super::{field_names, in_order, required_fields};
use crate::rule::{Field, Guard, Origin, Read, Role, Rule, Term};
use crate::sql::Type;

/// What one event used of the file.
pub(crate) struct Loaded {
    pub(crate) rule: Option<Rule>,
    pub(crate) used_tables: Vec<String>,
    pub(crate) used_dictionaries: Vec<String>,
}

/// How long a document waits for the rest of its rows unless its file says otherwise, in
/// milliseconds: longer than an application takes between two of its statements.
const WAIT_MS: u64 = 1_500;

/// The parts of an event that are read before the scope is known.
struct Parts<'a> {
    id: Option<&'a str>,
    event_type: Option<EventType>,
    from: Option<&'a str>,
    key: Option<&'a Node>,
    fields: Option<&'a Node>,
    filter: Option<&'a Node>,
    deleted_when: Option<&'a Node>,
    lines: Option<&'a Node>,
    grouped: bool,
    zero_first: bool,
    wait_ms: u64,
    place: (usize, usize),
    path: String,
}

/// Reads an event; `source` is the kind of database, for hints.
pub(crate) fn load(
    shared: &Shared<'_>,
    mut event: Section<'_>,
    reference: &MappingRef,
    source: Option<&str>,
) -> Loaded {
    let mut scope = Scope::new(shared);
    let parts = parts(&mut event);
    let mut read = None;
    let mut slot = None;
    if event.get("read").is_some() {
        read = scope.read(&mut event);
        slot = read.as_ref().map(|_| 0);
    } else if let (Some(alias), Some(node)) = (parts.from, event.get("from")) {
        let path = format!("{}.from", parts.path);
        slot = scope.add_slot(alias, alias, Role::From, Some(0), node, &path);
    }
    scope.known = slot.is_some();
    scope.visible = vec![0];
    if read.is_none() && slot.is_some() {
        scope.joins(&mut event, 0);
        scope.adds(&mut event);
    } else {
        // Their mistakes would mostly be echoes.
        for block in ["join", "add"] {
            event.get(block);
        }
    }
    let named = |node: Option<&Node>, name| entries(node).iter().any(|(key, _)| key.name == name);
    scope.archives = parts
        .from
        .is_some_and(|from| named(event.get("also_in"), from))
        && !named(parts.fields, "archived");
    let also_in = event.section("also_in");
    let guards = event.get("guard").map(|_| event.sections("guard"));
    event.finish();
    let rule = build(
        &mut scope,
        &parts,
        guards.unwrap_or_default(),
        also_in,
        read,
        reference,
        source,
    );
    Loaded {
        rule: slot.and(rule),
        used_tables: scope.used_tables,
        used_dictionaries: scope.used_dictionaries,
    }
}

fn parts<'a>(event: &mut Section<'a>) -> Parts<'a> {
    let id = event.required_name("id", "`id: stock`");
    event.word("emit_when", &["fields_changed"]);
    let event_type = event_type(event);
    let read = event.get("read");
    let from = match read {
        Some(_) => None,
        None => event.required_text("from", "`from: <an alias of tables>`, or `read`"),
    };
    let (key, fields) = (event.get("key"), event.get("fields"));
    event.section("key");
    event.section("fields");
    if key.is_none() {
        event.missing("key", "`key: {sku: \"alias.column\", ..}`");
    }
    if fields.is_none() {
        event.missing("fields", "`fields: {..}`");
    }
    let (filter, deleted_when) = (event.get("where"), event.get("deleted_when"));
    let fact = event_type.is_some_and(|event_type| event_type.kind() == EventKind::Fact);
    let for_state = |event: &Section<'_>, key: &str, node: Option<&Node>, fix: &str| {
        if let (Some(node), true) = (node, fact) {
            let found = "is for events of state: what happened stays happened".to_owned();
            event.wrong(key, node, found, Some(fix.to_owned()));
        }
    };
    for_state(
        event,
        "deleted_when",
        deleted_when,
        "`where` leaves rows out",
    );
    let group = event.get("group");
    let grouped = event.word("group", &["sum"]).is_some();
    for_state(event, "group", group, "each row is a fact of its own");
    for_state(
        event,
        "read",
        read,
        "a re-read gives what is now, not what happened",
    );
    let also_in = event.get("also_in");
    for_state(
        event,
        "also_in",
        also_in,
        "facts are told once and stay told",
    );
    if let Some(node) = event.get("fact") {
        let wanted = event.flag("fact");
        if let (Some(wanted), Some(event_type)) = (wanted, event_type)
            && wanted != fact
        {
            let found = format!("{event_type} is no event of that kind");
            let fix = Some(format!("`fact: {fact}`, or leave it out"));
            event.wrong("fact", node, found, fix);
        }
    }
    let zero_first = on_delete(event, event_type);
    // One row is whole by itself.
    let several = event.get("lines").is_some() || also_in.is_some();
    let mut wait_ms = if several { WAIT_MS } else { 0 };
    if let Some(mut together) = event.section("together") {
        together.flag("transaction");
        wait_ms = together.number("wait_ms", 0, 600_000).unwrap_or(wait_ms);
        together.finish();
    }
    Parts {
        id,
        event_type,
        from,
        key,
        fields,
        filter,
        deleted_when,
        lines: event.get("lines"),
        grouped,
        zero_first,
        wait_ms,
        place: event.place(),
        path: event.path().to_owned(),
    }
}

fn build(
    scope: &mut Scope<'_>,
    parts: &Parts<'_>,
    guards: Vec<Section<'_>>,
    also_in: Option<Section<'_>>,
    read: Option<Read>,
    reference: &MappingRef,
    source: Option<&str>,
) -> Option<Rule> {
    let problems = scope.shared.problems;
    let path = &parts.path;
    let event_type = parts.event_type?;
    let schema = event_type.schema();
    let lines = parts.lines.map(|node| lines(scope, schema, node, path));
    let (history, moves) = also_in.map_or((None, Vec::new()), |section| history(scope, section));
    let key_entries = entries(parts.key);
    let field_entries = entries(parts.fields);
    let at = |node: Option<&Node>| node.map_or(parts.place, |node| (node.line, node.column));
    let (key_place, field_place) = (at(parts.key), at(parts.fields));
    let key = parts
        .key
        .map(|_| load_key(scope, event_type, key_entries, key_place, path));
    let read_by_key: Vec<String> = scope.columns.iter().filter_map(own_column).collect();
    let mut condition = |node: Option<&Node>, name: &str| {
        let path = format!("{path}.{name}");
        node.and_then(|node| scope.formula(node, &path, Type::Bool, "stock.kind = 2"))
    };
    let filter = condition(parts.filter, "where");
    let deleted_when = condition(parts.deleted_when, "deleted_when");
    let mapped = field_entries.iter().map(|(key, _)| key.name.clone());
    // Filled by itself, and readable like any other.
    let archived_too = history.map(|()| "archived".to_owned());
    let mapped: Vec<String> = mapped.chain(archived_too).collect();
    scope.fields = FieldNames {
        schema: Some(schema),
        mapped,
        keys: true,
        ..FieldNames::default()
    };
    let mut fields = parts.fields.map(|_| {
        let mut provided: Vec<&str> = Vec::new();
        if event_type == EventType::InventoryAvailability {
            provided.extend(availability::DERIVED);
        }
        if parts.lines.is_some() {
            provided.push("lines");
        }
        if history.is_some() {
            provided.push("archived");
        }
        load_fields(scope, schema, field_entries, &provided, field_place, path)
    })?;
    if let Some(Some((field, _))) = &lines {
        fields.push(field.clone());
    }
    archived(scope, &mut fields, schema, history.is_some());
    let fields = in_order(problems, fields, field_place, &format!("{path}.fields"));
    if parts.grouped {
        grouped_fields(problems, &fields, field_place, path);
    }
    scope.fields.derived = true;
    for moved in &moves {
        same_columns(scope, moved);
    }
    let guards = guards
        .into_iter()
        .filter_map(|guard| load_guard(scope, guard, parts.grouped))
        .collect();
    let columns = std::mem::take(&mut scope.columns);
    let slots = std::mem::take(&mut scope.slots);
    let table = slots.first()?.table.clone();
    let reference = MappingRef {
        rule: parts.id?.to_owned(),
        ..reference.clone()
    };
    let mut rule = Rule {
        reference: Arc::new(reference),
        digest: String::new(),
        event_type,
        company: scope.shared.company.map(|company| company.code.clone()),
        whole_rows_hint: None,
        slots,
        lists: std::mem::take(&mut scope.lists),
        columns,
        grouped: parts.grouped,
        filter,
        deleted_when,
        guards,
        zero_first: parts.zero_first,
        read,
        wait_ms: parts.wait_ms,
        cleaning: Arc::clone(&scope.shared.clean.cleaning),
        zone: scope.shared.clean.zone.clone(),
        key: key?,
        fields,
        reads: Vec::new(),
    };
    // What relates keeps whole rows itself.
    if !rule.relates() {
        rule.whole_rows_hint = whole_rows_hint(&table.table, source);
        warn_key(
            problems,
            &table,
            event_type,
            &read_by_key,
            key_place,
            path,
            source,
        );
    }
    Some(rule.noted())
}

fn entries(node: Option<&Node>) -> &[(Key, Node)] {
    match node.map(|node| &node.kind) {
        Some(NodeKind::Map(entries)) => entries,
        _ => &[],
    }
}

fn own_column(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Cell {
            slot: 0, column, ..
        } => Some(column.clone()),
        _ => None,
    }
}

/// The event's `lines`, as its field of that name.
fn lines(
    scope: &mut Scope<'_>,
    schema: &'static BodySchema,
    node: &Node,
    path: &str,
) -> Option<(Field, Vec<String>)> {
    let path = format!("{path}.lines");
    let index = schema.index("lines");
    let found = index.and_then(|index| schema.fields.get(index).map(|field| (index, field)));
    let Some((index, field)) = found else {
        let said = format!("{} has no lines", schema.name);
        scope
            .shared
            .problems
            .add(node.line, node.column, &path, said, None);
        return None;
    };
    let FieldType::List(inner) = field.field_type else {
        return None;
    };
    let outer = (scope.visible.clone(), scope.fields.clone());
    let read = scope.list_of(inner, node, &path);
    (scope.visible, scope.fields) = outer;
    let (list, mapped) = read?;
    scope.lists.push(list);
    let list = scope.lists.len() - 1;
    scope.lines = Some((list, mapped.clone()));
    Some((scope.plain(field, index, Term::List(list)), mapped))
}

/// `archived` follows from where the document was found, unless the file says otherwise.
fn archived(
    scope: &mut Scope<'_>,
    fields: &mut Vec<Field>,
    schema: &'static BodySchema,
    has_history: bool,
) {
    let Some(index) = schema.index("archived").filter(|_| has_history) else {
        return;
    };
    if fields.iter().any(|field| field.index == index) {
        return;
    }
    let Some(field) = schema.fields.get(index) else {
        return;
    };
    let column = scope.origin(Origin::Archived);
    fields.push(scope.plain(field, index, Term::Column(column)));
}

/// In a grouped event a field is made of rows or of other fields, never of both.
fn grouped_fields(problems: &Problems, fields: &[Field], place: (usize, usize), path: &str) {
    for field in fields {
        let reads =
            |what: &dyn Fn(&crate::sql::Expr) -> bool| field.expressions().into_iter().any(what);
        let of_fields = reads(&|expr| !expr.fields().is_empty());
        let of_rows = reads(&|expr| !expr.columns().is_empty());
        let nested = matches!(
            field.term,
            Term::List(_) | Term::Object(..) | Term::Texts(_) | Term::Map(_)
        );
        let path = format!("{path}.fields.{}", field.name);
        if of_fields && of_rows {
            let found = "mixes columns of a row with fields of the whole group".to_owned();
            let fix =
                Some("a field for the column's sum, and this one from fields alone".to_owned());
            problems.add(place.0, place.1, &path, found, fix);
        } else if nested {
            let found = "a grouped event has plain fields only".to_owned();
            problems.add(place.0, place.1, &path, found, None);
        }
    }
}

fn load_guard(scope: &mut Scope<'_>, mut guard: Section<'_>, grouped: bool) -> Option<Guard> {
    let path = guard.path().to_owned();
    let check = guard.get("check");
    if check.is_none() {
        guard.missing("check", "`check: \"on_hand >= 0\"`");
    }
    let hold = guard.word("else", &["hold", "warn"]);
    if guard.get("else").is_none() {
        guard.missing("else", "`else: hold` or `warn`");
    }
    let say = guard.required_text("say", "`say: \"negative stock\"`");
    guard.finish();
    let path = format!("{path}.check");
    let node = check?;
    let check = scope.formula(node, &path, Type::Bool, "on_hand >= 0")?;
    if let (true, Some(column)) = (grouped, check.expr.columns().first()) {
        // The group has many rows, and its guard looks at what they became together.
        let read = scope.shown_column(*column);
        let found = format!("{read} is of a single row, and the event is made of many");
        let fix = "a field of the event, such as on_hand; a condition on each row is `where`";
        let problems = scope.shared.problems;
        problems.add(node.line, node.column, &path, found, Some(fix.to_owned()));
        return None;
    }
    Some(Guard {
        check,
        hold: hold? == "hold",
        say: say?.to_owned(),
    })
}

/// The statement that makes the log carry whole rows, where the source has one.
fn whole_rows_hint(table: &TableName, source: Option<&str>) -> Option<String> {
    if !matches!(source, None | Some("postgres")) {
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

/// A key that reads other columns beside the table's key needs whole old rows from the log:
/// otherwise deletes are held, and nobody sees that the key changed.
fn warn_key(
    problems: &Problems,
    table: &CapturedTable,
    event_type: EventType,
    columns: &[String],
    place: (usize, usize),
    path: &str,
    source: Option<&str>,
) {
    let other = columns.iter().find(|column| !table.key.contains(column));
    let (Some(column), EventKind::State) = (other, event_type.kind()) else {
        return;
    };
    let Some(hint) = whole_rows_hint(&table.table, source) else {
        return;
    };
    let found = format!(
        "column \"{column}\" is part of the event's key but not of the table's key [{}]: \
         without the whole old row, deletes are held and a change of it is not noticed",
        table.key.join(", ")
    );
    let finding = Finding::warn(format!("{path}.key"), found).fix(hint);
    problems.push(finding, place.0, place.1);
}

fn load_key(
    scope: &mut Scope<'_>,
    event_type: EventType,
    entries: &[(Key, Node)],
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
            required: key_required(event_type, name),
            meaning: "key",
            private: false,
        };
        let index = key.len();
        let entry = entries.iter().find(|(entry, _)| entry.name == *name);
        match (entry, scope.shared.company) {
            (Some((_, node)), _) => key.extend(scope.field(&field, index, node, &path)),
            (None, Some(_)) if *name == "company" => {
                let node = Node {
                    line: place.0,
                    column: place.1,
                    kind: NodeKind::Text("company.code".to_owned()),
                };
                key.extend(scope.field(&field, index, &node, &path));
            }
            (None, _) if !field.required => {
                let term = Term::Constant(FieldValue::Text(String::new()));
                key.push(scope.plain(&field, index, term));
            }
            (None, _) => {
                let found = format!("key field `{name}` of {event_type} is not mapped");
                let alias = scope.slots.first().map_or("stock", |slot| &slot.alias);
                let fix = Some(if *name == "company" {
                    "`company: MY-COMPANY` at the top of the file".to_owned()
                } else {
                    format!("add `{name}: \"{alias}.<a column>\"`, or a constant: \"'MAIN'\"")
                });
                scope
                    .shared
                    .problems
                    .add(place.0, place.1, &path, found, fix);
            }
        }
    }
    field_names(scope.shared.problems, entries, names, &path);
    key
}

fn load_fields(
    scope: &mut Scope<'_>,
    schema: &'static BodySchema,
    entries: &[(Key, Node)],
    provided: &[&str],
    place: (usize, usize),
    path: &str,
) -> Vec<Field> {
    let path = format!("{path}.fields");
    let mut fields = Vec::new();
    for (index, field) in schema.fields.iter().enumerate() {
        if let Some((_, node)) = entries.iter().find(|(key, _)| key.name == field.name) {
            scope.fields.current = Some(field.name);
            fields.extend(scope.field(field, index, node, &path));
            scope.fields.current = None;
        }
    }
    let problems = scope.shared.problems;
    required_fields(problems, schema, entries, provided, place, &path);
    let names: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
    field_names(problems, entries, &names, &path);
    fields
}

/// Price lists leave parts of their key open: no break, no end, no customer of their own.
fn key_required(event_type: EventType, name: &str) -> bool {
    event_type.name() != "price.v1"
        || !matches!(name, "min_qty" | "valid_from" | "customer_id" | "uom")
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

/// Whether a deleted row first tells zero.
fn on_delete(event: &mut Section<'_>, event_type: Option<EventType>) -> bool {
    let word = event.word("on_delete", &["tombstone", "zero_then_tombstone"]);
    let zero = word == Some("zero_then_tombstone");
    if let (true, Some(event_type), Some(node)) = (zero, event_type, event.get("on_delete"))
        && event_type != EventType::InventoryAvailability
    {
        let found = format!("`zero_then_tombstone` is for stock; {event_type} has no zero");
        event.wrong("on_delete", node, found, Some("`tombstone`".to_owned()));
    }
    zero
}
