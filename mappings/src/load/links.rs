//! Loading `join`, `add` and lists: which rows of other tables an event needs, and how they are
//! found.

use contract::{BodySchema, FieldSchema, Key, Node, NodeKind, Problems, Section};

use super::scope::{FieldNames, Scope};
use super::words::did_you_mean;
use super::{field_names, required_fields};
use crate::rule::{Field, Link, List, Missing, Role, Slot, Sums, Term};
use crate::sql::{Comparison, Expr, Type, Wrong};

/// Slots of one event at most: each costs a lookup per change.
const SLOTS_MAX: usize = 32;

impl Scope<'_> {
    /// Adds a slot for an alias of `tables`; says so where there is none.
    pub(crate) fn add_slot(
        &mut self,
        alias: &str,
        table: &str,
        role: Role,
        home: Option<usize>,
        place: &Node,
        path: &str,
    ) -> Option<usize> {
        let problem = |found: String, fix: Option<String>| {
            let problems = self.shared.problems;
            problems.add(place.line, place.column, path, found, fix);
        };
        self.used_tables.push(table.to_owned());
        let Some(captured) = self.shared.tables.get(table) else {
            let names = self.shared.tables.keys().map(String::as_str);
            let fix = did_you_mean(table, names)
                .unwrap_or_else(|| format!("tables: {{{table}: {{name: .., key: [..]}}}}"));
            problem(format!("`{table}` is not one of tables"), Some(fix));
            return None;
        };
        if self.slots.iter().any(|slot| slot.alias == alias) {
            let found = format!("the event uses the alias `{alias}` twice");
            let fix = "a second alias of the same table in `tables`".to_owned();
            problem(found, Some(fix));
            return None;
        }
        if self.slots.len() >= SLOTS_MAX {
            problem(format!("the event uses more than {SLOTS_MAX} tables"), None);
            return None;
        }
        let slot = self.slots.len();
        self.slots.push(Slot {
            alias: alias.to_owned(),
            table: captured.clone(),
            history: None,
            role,
            home: home.unwrap_or(slot),
            link: None,
        });
        Some(slot)
    }

    /// A `join` block: each entry one more row, found by its `match`.
    pub(crate) fn joins(&mut self, section: &mut Section<'_>, home: usize) {
        let Some(mut joins) = section.section("join") else {
            return;
        };
        let path = joins.path().to_owned();
        let entries = joins.free_entries();
        for (n, (alias, node)) in entries.iter().enumerate() {
            let path = format!("{path}.{}", alias.name);
            let later = entries.iter().skip(n + 1);
            self.later = later.map(|(alias, _)| alias.name.clone()).collect();
            self.join(
                alias,
                &on_is_match(node, &path, self.shared.problems),
                home,
                &path,
            );
        }
    }

    fn join(&mut self, alias: &Key, node: &Node, home: usize, path: &str) {
        let mut join = Section::new(node, path, self.shared.problems);
        let text = join.get("match");
        if text.is_none() {
            let example = format!("`match: \"{}.id = ..\"`", alias.name);
            join.missing("match", &example);
        }
        // YAML's own null is the word's other spelling.
        let missing = match join.get("missing").map(|node| &node.kind) {
            Some(NodeKind::Null) => Missing::Null,
            Some(_) => match join.word("missing", &["hold", "null", "leave_out"]) {
                Some("null") => Missing::Null,
                Some("leave_out") => Missing::LeaveOut,
                _ => Missing::Hold,
            },
            None => {
                join.missing("missing", "`missing: hold`, `null` or `leave_out`");
                Missing::Hold
            }
        };
        join.finish();
        let role = Role::Join(missing);
        let slot = self.add_slot(&alias.name, &alias.name, role, Some(home), node, path);
        let (Some(slot), Some(text)) = (slot, text) else {
            return;
        };
        self.link(slot, text, &format!("{path}.match"));
        self.visible.push(slot);
    }

    /// An `add` block: each entry rows to add up.
    pub(crate) fn adds(&mut self, section: &mut Section<'_>) {
        let Some(mut adds) = section.section("add") else {
            return;
        };
        let path = adds.path().to_owned();
        for (name, node) in adds.free_entries() {
            let path = format!("{path}.{}", name.name);
            self.sums(name, node, &path);
        }
    }

    fn sums(&mut self, name: &Key, node: &Node, path: &str) {
        let mut add = Section::new(node, path, self.shared.problems);
        let from = add.required_text("from", "`from: <an alias of tables>`");
        let (text, filter) = (add.get("match"), add.get("where"));
        if text.is_none() {
            add.missing("match", "`match: \"line.item = stock.item\"`");
        }
        let parts = ["sum", "earliest", "latest"].map(|part| add.get(part));
        let taken = self.slots.iter().any(|slot| slot.alias == name.name);
        if taken || self.shared.tables.contains_key(&name.name) {
            let found = format!("`{}` is also an alias of tables", name.name);
            let problems = self.shared.problems;
            problems.add(
                name.line,
                name.column,
                path,
                found,
                Some("another name".to_owned()),
            );
        }
        let slot = from.and_then(|from| {
            self.add_slot(from, from, Role::Add(Box::default()), None, node, path)
        });
        let Some(slot) = slot else {
            add.get("join");
            add.finish();
            return;
        };
        let outer = std::mem::take(&mut self.visible);
        self.visible.clone_from(&outer);
        if let Some(text) = text {
            self.link(slot, text, &format!("{path}.match"));
        }
        // Rows are added up before anyone knows to what: they see nothing but themselves.
        self.visible = vec![slot];
        self.joins(&mut add, slot);
        let mut formula = |part: Option<&Node>, name: &str, kind: Type, example: &str| {
            part.and_then(|node| self.formula(node, &format!("{path}.{name}"), kind, example))
        };
        let sums = Sums {
            filter: formula(filter, "where", Type::Bool, "line.status = 2"),
            sum: formula(parts[0], "sum", Type::Number, "line.qty"),
            earliest: formula(parts[1], "earliest", Type::Any, "line.due_on"),
            latest: formula(parts[2], "latest", Type::Any, "line.due_on"),
        };
        self.visible = outer;
        add.finish();
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.alias.clone_from(&name.name);
            slot.role = Role::Add(Box::new(sums));
        }
    }

    /// A list: rows of another table, each an object.
    pub(crate) fn list(
        &mut self,
        schema: &FieldSchema,
        inner: &'static BodySchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Option<Field> {
        let outer = (self.visible.clone(), self.fields.clone());
        let list = self.list_of(inner, node, path);
        (self.visible, self.fields) = outer;
        let (list, _) = list?;
        self.lists.push(list);
        let term = Term::List(self.lists.len() - 1);
        Some(self.plain(schema, index, term))
    }

    /// Reads a list; also which fields it maps.
    pub(crate) fn list_of(
        &mut self,
        schema: &'static BodySchema,
        node: &Node,
        path: &str,
    ) -> Option<(List, Vec<String>)> {
        let mut list = Section::new(node, path, self.shared.problems);
        let from = list.required_text("from", "`from: <an alias of tables>`");
        let (text, filter) = (list.get("match"), list.get("where"));
        if text.is_none() {
            list.missing("match", "`match: \"line.order_id = head.id\"`");
        }
        let order = list.get("order_by");
        let fields_node = list.get("fields");
        let mut fields_section = list.section("fields");
        if fields_node.is_none() {
            list.missing("fields", "`fields: {..}`");
        }
        let place = fields_node.map_or((node.line, node.column), |n| (n.line, n.column));
        let slot = from.and_then(|from| self.add_slot(from, from, Role::List, None, node, path));
        let Some(slot) = slot else {
            list.get("join");
            list.finish();
            return None;
        };
        self.fields.archived = self.archives.then_some(false);
        if let Some(text) = text {
            self.link(slot, text, &format!("{path}.match"));
        }
        // A line sees itself first, then its document.
        let mut visible = vec![slot];
        visible.append(&mut self.visible);
        self.visible = visible;
        self.fields = FieldNames {
            archived: self.fields.archived,
            ..FieldNames::default()
        };
        self.joins(&mut list, slot);
        self.fields.archived = self.archives.then_some(true);
        let filter_path = format!("{path}.where");
        let filter = filter
            .and_then(|node| self.formula(node, &filter_path, Type::Bool, "line.sku is not null"));
        let order = order.map(|node| self.order(node, &format!("{path}.order_by")));
        list.finish();
        let entries = fields_section.as_mut().map(Section::free_entries)?;
        let mapped: Vec<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
        self.fields = FieldNames {
            schema: Some(schema),
            mapped: mapped.clone(),
            archived: self.archives.then_some(true),
            ..FieldNames::default()
        };
        let path = format!("{path}.fields");
        let mut fields = Vec::new();
        for (n, field) in schema.fields.iter().enumerate() {
            if let Some((_, node)) = entries.iter().find(|(key, _)| key.name == field.name) {
                self.fields.current = Some(field.name);
                fields.extend(self.field(field, n, node, &path));
                self.fields.current = None;
            }
        }
        let problems = self.shared.problems;
        required_fields(problems, schema, entries, &[], place, &path);
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
        field_names(problems, entries, &names, &path);
        let fields = super::in_order(problems, fields, place, &path);
        let list = List {
            slot,
            schema,
            filter,
            order: order.unwrap_or_default(),
            fields,
            reads: Vec::new(),
        };
        Some((list, mapped))
    }

    /// `order_by: "line.no"`, `"line.no desc"`, or a list of them.
    fn order(&mut self, node: &Node, path: &str) -> Vec<(Expr, bool)> {
        let items = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut order = Vec::new();
        for item in items {
            let mut plain = item.clone();
            let mut descending = false;
            if let NodeKind::Text(text) = &mut plain.kind {
                let lower = text.trim_end().to_ascii_lowercase();
                for (word, down) in [(" desc", true), (" asc", false)] {
                    if lower.ends_with(word) {
                        text.truncate(lower.len() - word.len());
                        descending = down;
                    }
                }
            }
            let formula = self.formula(&plain, path, Type::Any, "line.number");
            order.extend(formula.map(|formula| (formula.expr, !descending)));
        }
        order
    }

    /// Reads a `match` and stores it with its slot.
    fn link(&mut self, slot: usize, node: &Node, path: &str) {
        let seen = self.visible.clone();
        self.visible.push(slot);
        let example = "item.id = stock.item_id";
        let formula = self.formula(node, path, Type::Bool, example);
        self.visible = seen;
        let Some(formula) = formula else { return };
        match self.split(slot, formula.text, formula.expr) {
            Ok(link) => {
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.link = Some(link);
                }
            }
            Err((found, fix)) => {
                self.shared
                    .problems
                    .add(node.line, node.column, path, found, fix);
            }
        }
    }

    fn split(&self, slot: usize, text: String, expr: Expr) -> Result<Link, Wrong> {
        let mut open = vec![expr];
        let mut parts = Vec::new();
        while let Some(expr) = open.pop() {
            match expr {
                Expr::And(left, right) => {
                    open.push(*right);
                    open.push(*left);
                }
                part => parts.push(part),
            }
        }
        let mut pairs: Vec<(Expr, Expr)> = Vec::new();
        let mut filter: Option<Expr> = None;
        for part in parts {
            let reads = self.slots_of(&part);
            if reads == [slot] {
                filter = Some(match filter {
                    Some(known) => Expr::And(Box::new(known), Box::new(part)),
                    None => part,
                });
                continue;
            }
            let Expr::Compare(Comparison::Equal, left, right) = part else {
                return Err(unfit());
            };
            match (self.slots_of(&left), self.slots_of(&right)) {
                (own, other) if own == [slot] && !other.contains(&slot) => {
                    pairs.push((*left, *right));
                }
                (other, own) if own == [slot] && !other.contains(&slot) => {
                    pairs.push((*right, *left));
                }
                _ => return Err(unfit()),
            }
        }
        let single = |pair: &(Expr, Expr)| match self.slots_of(&pair.1).as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let count = |slot: usize| {
            pairs
                .iter()
                .filter(|pair| single(pair) == Some(slot))
                .count()
        };
        let parent = pairs
            .iter()
            .filter_map(single)
            .max_by_key(|slot| count(*slot));
        let Some(parent) = parent else {
            let alias = self.slots.get(slot).map_or("", |slot| &slot.alias);
            let found = format!("needs an equality of {alias} with one other table");
            return Err((found, Some(format!("{alias}.id = stock.{alias}_id"))));
        };
        let back = (0..pairs.len())
            .filter(|n| pairs.get(*n).and_then(single) == Some(parent))
            .collect();
        Ok(Link {
            text,
            pairs,
            filter,
            parent,
            back,
        })
    }
}

/// A join whose condition stands under `on`, as SQL has it: said once, and read all the same.
fn on_is_match(node: &Node, path: &str, problems: &Problems) -> Node {
    let mut node = node.clone();
    let NodeKind::Map(entries) = &mut node.kind else {
        return node;
    };
    if entries.iter().any(|(key, _)| key.name == "match") {
        return node;
    }
    if let Some((key, _)) = entries.iter_mut().find(|(key, _)| key.name == "on") {
        let (path, found) = (format!("{path}.on"), "unknown key `on`".to_owned());
        let fix = Some("did you mean `match`?".to_owned());
        problems.add(key.line, key.column, &path, found, fix);
        "match".clone_into(&mut key.name);
    }
    node
}

fn unfit() -> Wrong {
    (
        "each part of a match must be an equality between its table and another, or look at its \
         own table alone"
            .to_owned(),
        Some("item.id = stock.item_id and item.kind = 'A'".to_owned()),
    )
}
