//! Loading `read`: a statement of the database's own that gives an event's rows, and the changes
//! that make it be asked.

use contract::{CapturedTable, Node, Section, TableName};

use super::scope::Scope;
use super::words::did_you_mean;
use crate::rule::{Formula, Read, Role, Slot, Touch};
use crate::sql::Type;

/// What expressions call the answer's rows.
pub(super) const ALIAS: &str = "read";

/// Blocks that the statement stands for.
const INSTEAD_OF: &[&str] = &[
    "from", "join", "add", "lines", "also_in", "group", "together",
];

impl Scope<'_> {
    /// Reads the block, with the answer's rows as the event's own.
    pub(super) fn read(&mut self, event: &mut Section<'_>) -> Option<Read> {
        let mut read = event.section("read")?;
        for key in INSTEAD_OF {
            if let Some(node) = event.get(key) {
                let found = format!("the statement of `read` stands for `{key}`");
                let fix = Some(format!("leave `{key}` out: SQL can do it"));
                event.wrong(key, node, found, fix);
            }
        }
        self.slots.push(Slot {
            alias: ALIAS.to_owned(),
            table: CapturedTable {
                table: TableName::new("", ""),
                key: Vec::new(),
                columns: Vec::new(),
            },
            history: None,
            role: Role::From,
            home: 0,
            link: None,
        });
        let sql = read.required_text("sql", "`sql: \"select .. where item = :item\"`");
        let columns = read.texts("columns");
        if read.get("columns").is_none() {
            let example = "`columns: [item, on_hand]`, what the statement gives";
            read.missing("columns", example);
        }
        let rows_max = read.number("rows_max", 1, 10_000).unwrap_or(1_000);
        let time_max_ms = read.number("time_max_ms", 100, 60_000).unwrap_or(5_000);
        let mut names: Option<Vec<String>> = None;
        let mut touches = Vec::new();
        if read.get("touch").is_none() {
            let example = "`touch: [{table: stock, give: {item: stock.item}}]`";
            read.missing("touch", example);
        }
        for mut touch in read.sections("touch") {
            touches.extend(self.touch(&mut touch, &mut names));
            touch.finish();
        }
        let names = names.unwrap_or_default();
        if let (Some(sql), Some(node)) = (sql, read.get("sql")) {
            statement(&read, node, sql, &names);
        }
        read.finish();
        self.visible = vec![0];
        let columns = columns.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
        self.answer.clone_from(&columns);
        Some(Read {
            sql: sql?.to_owned(),
            names,
            columns: columns?,
            touches,
            rows_max: usize::try_from(rows_max).unwrap_or(usize::MAX),
            time_max_ms,
        })
    }

    /// `{table: alias, where: condition, give: {parameter: expression}}`
    fn touch(&mut self, touch: &mut Section<'_>, names: &mut Option<Vec<String>>) -> Option<Touch> {
        let path = touch.path().to_owned();
        let alias = touch.required_text("table", "`table: <an alias of tables>`");
        let filter = touch.get("where");
        let give = touch.get("give");
        if give.is_none() {
            touch.missing(
                "give",
                "`give: {item: stock.item}`, a value for each parameter",
            );
        }
        let entries = touch.section("give").map(|mut give| give.free_entries());
        let entries = entries.unwrap_or_default();
        if names.is_none() && !entries.is_empty() {
            let mut all: Vec<String> = entries.iter().map(|(name, _)| name.name.clone()).collect();
            all.sort();
            *names = Some(all);
        }
        let (alias, place) = (alias?, touch.get("table")?);
        let known = self
            .slots
            .iter()
            .position(|slot| slot.alias == alias && slot.role == Role::Touch);
        let slot = match known {
            Some(slot) => slot,
            None => self.add_slot(alias, alias, Role::Touch, None, place, &path)?,
        };
        self.visible = vec![slot];
        let filter = filter.and_then(|node| {
            self.formula(node, &format!("{path}.where"), Type::Bool, "stock.kind = 2")
        });
        let mut values: Vec<(String, Option<Formula>)> = Vec::new();
        for (name, node) in entries {
            let path = format!("{path}.give.{}", name.name);
            if !is_parameter(&name.name) {
                let found = format!("`{}` is no name for a parameter", name.name);
                let fix = Some("letters, digits and underscores, a letter first".to_owned());
                self.shared
                    .problems
                    .add(name.line, name.column, &path, found, fix);
                continue;
            }
            let formula = self.formula(node, &path, Type::Any, "stock.item");
            values.push((name.name.clone(), formula));
        }
        let (node, names) = (give?, names.as_deref()?);
        let mut give = Vec::with_capacity(names.len());
        for name in names {
            match values.iter().position(|(given, _)| given == name) {
                Some(at) => give.extend(values.remove(at).1),
                None if is_parameter(name) => {
                    touch.wrong("give", node, format!("gives no `{name}`"), None);
                }
                None => {}
            }
        }
        for (other, _) in &values {
            let found = format!("gives `{other}`, which the first of `touch` does not give");
            let fix = did_you_mean(other, names.iter().map(String::as_str));
            touch.wrong("give", node, found, fix);
        }
        let table = self.slots.get(slot)?.table.table.to_string();
        (give.len() == names.len()).then_some(Touch {
            slot,
            table,
            filter,
            give,
        })
    }
}

/// What can be said of a statement without its database.
fn statement(read: &Section<'_>, node: &Node, sql: &str, names: &[String]) {
    let word = sql.split_whitespace().next().unwrap_or_default();
    let reads = ["select", "with"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known));
    if !reads && !word.starts_with("--") && !word.starts_with("/*") {
        let found = "must begin with `select` or `with`".to_owned();
        read.wrong("sql", node, found, None);
    }
    for name in names.iter().filter(|name| is_parameter(name)) {
        if !uses(sql, name) {
            let found = format!("the statement does not use :{name}, which is given");
            read.wrong("sql", node, found, Some(format!("`where .. = :{name}`")));
        }
    }
}

fn is_parameter(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `:name` stands somewhere.
fn uses(sql: &str, name: &str) -> bool {
    let wanted = format!(":{name}");
    sql.match_indices(&wanted).any(|(at, _)| {
        let rest = sql.get(at + wanted.len()..).unwrap_or_default();
        let next = rest.chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
    })
}
