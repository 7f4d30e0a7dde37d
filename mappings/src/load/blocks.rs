//! Loading the blocks that all events of a file share: companies, clean, dictionaries, tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::section::{Key, Problems};
use contract::{CapturedTable, Node, NodeKind, Section, TableName, Value};
use jiff::tz::TimeZone;

use super::Which;
use super::settings::Settings;
use super::words::{did_you_mean, trim, zone_named};
use crate::catalogue::Catalogue;
use crate::convert::{Cleaning, ClockChange, Flags, is_currency};
use crate::sql::{Setting, folded};
use crate::units::{Ratio, Units};

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
    pub(crate) cleaning: Arc<Cleaning>,
    pub(crate) zone: Option<TimeZone>,
}

/// How one source holds several companies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Split {
    /// One company, or one database for each.
    #[default]
    Database,
    Schema,
    TablePrefix,
    Column,
}

/// A company of the ERP.
#[derive(Debug, Clone, Default)]
pub(crate) struct Company {
    pub(crate) code: String,
    pub(crate) currency: Option<String>,
    /// Its schema or table prefix.
    pub(crate) part: Option<String>,
    /// The column that says which company a row belongs to.
    pub(crate) column: Option<String>,
}

/// Keys of a table with free keys.
pub(crate) type Entries<'a> = &'a [(Key, Node)];

pub(crate) fn entries(section: Option<Section<'_>>) -> Entries<'_> {
    section.map_or(&[], |mut section| section.free_entries())
}

/// A scalar of the file as a value.
pub(crate) fn scalar(kind: &NodeKind) -> Option<Value> {
    Some(match kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::Number(text) => Value::Decimal(text.parse().ok()?),
        NodeKind::Text(text) => Value::Text(text.clone()),
        NodeKind::List(_) | NodeKind::Map(_) => return None,
    })
}

/// Reads `company` and `companies`: one entry where the file names none.
pub(crate) fn companies(
    top: &mut Section<'_>,
    problems: &Problems,
    chosen: Which<'_>,
) -> (Split, Vec<Option<Company>>) {
    let single = company(top);
    let node = top.get("companies");
    let Some(mut section) = top.section("companies") else {
        return (Split::Database, vec![single]);
    };
    if let (Some(node), Some(_)) = (node, &single) {
        let found = "`company` and `companies` cannot stand together".to_owned();
        let fix = Some("keep one of them".to_owned());
        problems.add(node.line, node.column, "companies", found, fix);
    }
    if section.get("split").is_none() {
        section.missing(
            "split",
            "`split: database`, `schema`, `table_prefix` or `column`",
        );
    }
    let split = match section.word("split", &["database", "schema", "table_prefix", "column"]) {
        Some("schema") => Split::Schema,
        Some("table_prefix") => Split::TablePrefix,
        Some("column") => Split::Column,
        _ => Split::Database,
    };
    let column = section.text("column").map(str::to_owned);
    if split == Split::Column {
        if column.is_none() {
            section.missing("column", "`column: \"warehouse.company\"`");
        }
        section.get("list");
        section.finish();
        let company = Company {
            column: Some(column.unwrap_or_else(|| "''".to_owned())),
            ..Company::default()
        };
        return (split, vec![Some(company)]);
    }
    let mut list = Vec::new();
    let place = section.get("list");
    for mut entry in section.sections("list") {
        let code = entry.required_text("code", "`code: MY-COMPANY`");
        let currency = entry.text("currency");
        if let (Some(node), Some(currency)) = (entry.get("currency"), currency)
            && !is_currency(currency)
        {
            let found = format!("`{currency}` is no currency's code");
            entry.wrong("currency", node, found, Some("such as USD".to_owned()));
        }
        let (schema, prefix) = (entry.text("schema"), entry.text("prefix"));
        entry.text("database");
        let (word, part) = match split {
            Split::Schema => ("schema", schema),
            Split::TablePrefix => ("prefix", prefix),
            Split::Database | Split::Column => ("", None),
        };
        if !word.is_empty() && part.is_none() {
            entry.missing(word, &format!("`{word}: ..`"));
        }
        entry.finish();
        list.push(Some(Company {
            code: code.unwrap_or_default().to_owned(),
            currency: currency.map(str::to_owned),
            part: part.map(str::to_owned),
            column: None,
        }));
    }
    if list.is_empty() {
        section.missing("list", "`list: [{code: MY-COMPANY, ..}]`");
        list.push(Some(Company::default()));
    }
    section.finish();
    let one = |company: &Option<Company>, code: &str| {
        company.as_ref().is_some_and(|company| company.code == code)
    };
    if chosen == Which::First {
        // Its tests may be about any of them.
        if split == Split::Database {
            list.truncate(1);
        }
    } else if let Which::Named(code) = chosen {
        list.retain(|company| one(company, code));
        if let (true, Some(node)) = (list.is_empty(), place) {
            let found = format!("there is no company `{code}`");
            problems.add(node.line, node.column, "companies.list", found, None);
            // A stand-in that has all a company can have: what uses it is no mistake of its own.
            list.push(Some(Company {
                code: code.to_owned(),
                currency: Some("XXX".to_owned()),
                part: Some(String::new()),
                column: None,
            }));
        }
    } else if let (Split::Database, true, Some(node)) = (split, list.len() > 1, place) {
        let found = "several companies have a database each: one source captures one".to_owned();
        let fix = Some("company = \"..\" in the source's settings says which".to_owned());
        problems.add(node.line, node.column, "companies.list", found, fix);
    }
    (split, list)
}

fn company(top: &mut Section<'_>) -> Option<Company> {
    let node = top.get("company")?;
    let code = match &node.kind {
        NodeKind::Text(company) if !company.trim().is_empty() => company.clone(),
        NodeKind::Text(_) => {
            let fix = Some("company: MY-COMPANY, the first part of every key".to_owned());
            top.wrong("company", node, "is blank".to_owned(), fix);
            String::new()
        }
        NodeKind::Number(text) => {
            let found = format!("expected text, found the number {text}");
            let fix = Some(format!("\"{text}\""));
            top.wrong("company", node, found, fix);
            String::new()
        }
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::List(_) | NodeKind::Map(_) => {
            let found = format!("expected text, found {}", node.type_name());
            let fix = "a company that stands in a column: `companies: {split: column, column: \
                       \"alias.column\"}`";
            top.wrong("company", node, found, Some(fix.to_owned()));
            String::new()
        }
    };
    // Also a wrong one: not every event should complain again.
    Some(Company {
        code,
        ..Company::default()
    })
}

/// Reads `clean`.
pub(crate) fn clean(top: &mut Section<'_>, settings: &Settings) -> Clean {
    let mut cleaning = Cleaning::default();
    let mut found_zone = None;
    if let Some(mut clean) = top.section("clean") {
        if let Some(mut text) = clean.section("text") {
            cleaning.trim = trim(&mut text).unwrap_or_default();
            cleaning.blank_is_null = text.flag("blank_is_null").unwrap_or_default();
            text.finish();
        }
        if let Some(mut dates) = clean.section("dates") {
            let values = dates.texts("null_values").unwrap_or_default();
            cleaning.null_dates = values.into_iter().map(str::to_owned).collect();
            found_zone = zone(&mut dates, settings);
            cleaning.date_only = dates.flag("date_only").unwrap_or_default();
            cleaning.clock_change = match dates.word("clock_change", &["hold", "earlier", "later"])
            {
                Some("earlier") => ClockChange::Earlier,
                Some("later") => ClockChange::Later,
                _ => ClockChange::Hold,
            };
            dates.finish();
        }
        if let Some(mut flags) = clean.section("flags") {
            let mut codes = |key| {
                let codes = flags.texts(key).unwrap_or_default();
                codes.into_iter().map(str::to_owned).collect()
            };
            cleaning.flags = Flags {
                yes: codes("true_values"),
                no: codes("false_values"),
            };
            let both = cleaning
                .flags
                .yes
                .iter()
                .find(|code| cleaning.flags.no.contains(code));
            if let (Some(code), Some(node)) = (both, flags.get("false_values")) {
                let found = format!("`{code}` is a code for true as well");
                flags.wrong(
                    "false_values",
                    node,
                    found,
                    Some("each code in one list".to_owned()),
                );
            }
            for key in ["true_values", "false_values"] {
                if flags.get(key).is_none() {
                    flags.missing(key, &format!("`{key}: [..]`"));
                }
            }
            flags.finish();
        }
        if let Some(mut keys) = clean.section("keys") {
            let word = keys.word("compare", &["exact", "case_insensitive"]);
            cleaning.fold = word == Some("case_insensitive");
            keys.finish();
        }
        clean.finish();
    }
    Clean {
        cleaning: Arc::new(cleaning),
        zone: found_zone,
    }
}

/// `zone: Europe/Berlin` or `zone: setting.time_zone`.
fn zone(section: &mut Section<'_>, settings: &Settings) -> Option<TimeZone> {
    let text = section.text("zone")?;
    let node = section.get("zone")?;
    let Some(name) = text.strip_prefix("setting.") else {
        return zone_named(section, node, text);
    };
    match settings.values.get(name) {
        Some(Setting::One(Value::Text(zone))) => zone_named(section, node, zone),
        // Said where the setting stands.
        Some(Setting::One(Value::Null)) => None,
        Some(_) => {
            let found = format!("`setting.{name}` is no text");
            section.wrong("zone", node, found, None);
            None
        }
        None => {
            let fix = did_you_mean(name, settings.values.keys().map(String::as_str));
            let found = format!("there is no setting `{name}`");
            section.wrong("zone", node, found, fix);
            None
        }
    }
}

/// Reads `dictionaries`.
pub(crate) fn dictionaries<'a>(
    top: &mut Section<'a>,
    problems: &Problems,
    fold: bool,
) -> (BTreeMap<String, Dictionary>, Entries<'a>) {
    let mut found = BTreeMap::new();
    let entries = entries(top.section("dictionaries"));
    for (key, node) in entries {
        let path = format!("dictionaries.{}", key.name);
        let mut section = Section::new(node, path.clone(), problems);
        let mut dictionary = Dictionary::default();
        for (code, word) in section.free_entries() {
            let meaning = match &word.kind {
                NodeKind::Text(text) | NodeKind::Number(text) => text.clone(),
                NodeKind::Bool(value) => value.to_string(),
                NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                    let found = format!("expected a word, found {}", word.type_name());
                    problems.add(word.line, word.column, &path, found, None);
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
            if code.name == "else" {
                if !hold {
                    dictionary.otherwise = Some(word);
                }
                continue;
            }
            let same = |known: &Word| {
                fold && crate::sql::folded(&known.code) == crate::sql::folded(&word.code)
            };
            if let Some(other) = dictionary.words.iter().find(|known| same(known)) {
                let found = format!(
                    "`{}` and `{}` are one code: clean.keys.compare is case_insensitive",
                    other.code, word.code
                );
                problems.add(code.line, code.column, &path, found, None);
            }
            dictionary.words.push(word);
        }
        found.insert(key.name.clone(), dictionary);
    }
    (found, entries)
}

/// Reads `units`: what one of each is, as `12 EA`, `1/3 KG`.
pub(crate) fn units(top: &mut Section<'_>, problems: &Problems, fold: bool) -> Option<Arc<Units>> {
    let node = top.get("units")?;
    let code = |text: &str| {
        if fold { folded(text) } else { text.to_owned() }
    };
    let mut found = BTreeMap::new();
    for (key, node) in entries(top.section("units")) {
        let path = format!("units.{}", key.name);
        let text = match &node.kind {
            NodeKind::Text(text) => text.as_str(),
            _ => "",
        };
        let (factor, of) = text.trim().split_once(' ').unwrap_or_default();
        if let Some(ratio) = Ratio::parse(factor).filter(|_| !of.trim().is_empty()) {
            found.insert(code(&key.name), (ratio, code(of.trim())));
        } else {
            let said = "expected how much of another unit it is".to_owned();
            let fix = Some(format!("{}: \"12 EA\", or \"1/3 KG\"", key.name));
            problems.add(node.line, node.column, &path, said, fix);
        }
    }
    match Units::new(&found) {
        Ok(units) => Some(Arc::new(units)),
        Err(unit) => {
            let said = format!("{unit} is a part of itself, or too large a multiple");
            let fix =
                Some("say each unit by a smaller one, and the smallest not at all".to_owned());
            problems.add(node.line, node.column, "units", said, fix);
            None
        }
    }
}

/// Where tables stand whose names have no schema; empty where that must be said.
pub(crate) fn default_schema(
    top: &mut Section<'_>,
    source: Option<&str>,
    settings: &Settings,
) -> String {
    if let Some(text) = top.text("schema") {
        let setting = text.strip_prefix("setting.");
        return match setting.map(|name| (name, settings.values.get(name))) {
            None => text.to_owned(),
            Some((_, Some(Setting::One(Value::Text(schema))))) => schema.clone(),
            Some((name, _)) => {
                if let Some(node) = top.get("schema") {
                    let found = format!("there is no setting `{name}` with a text");
                    top.wrong("schema", node, found, None);
                }
                // A stand-in, so that no table complains again.
                name.to_owned()
            }
        };
    }
    match source {
        Some("sqlite") => "main",
        Some("sqlserver") => "dbo",
        // Asked for where a name needs it.
        Some("mariadb" | "mysql") => "",
        _ => "public",
    }
    .to_owned()
}

/// Reads `tables`.
pub(crate) fn tables<'a>(
    top: &mut Section<'a>,
    problems: &Problems,
    default_schema: &str,
    catalogue: &Catalogue,
) -> (BTreeMap<String, CapturedTable>, Entries<'a>) {
    let mut found: BTreeMap<String, CapturedTable> = BTreeMap::new();
    let Some(mut section) = top.section("tables") else {
        if top.get("tables").is_none() {
            top.missing("tables", "`tables: {stock: {name: \"stock\", key: [sku]}}`");
        }
        return (found, &[]);
    };
    let entries = section.free_entries();
    let mut asked = false;
    for (alias, node) in entries {
        let path = format!("tables.{}", alias.name);
        let mut table = Section::new(node, path.clone(), problems);
        let name = table.required_text("name", "`name: \"schema.table\"`");
        let schema = table.text("schema");
        if table.get("key").is_none() {
            table.missing(
                "key",
                "`key: [column, ..]`, the columns that identify a row",
            );
        }
        let key = table.texts("key");
        if let (Some(columns), Some(node)) = (key.as_deref(), table.get("key")) {
            let fix = Some("the columns that identify a row".to_owned());
            let twice = |(n, name): (usize, &&str)| columns.iter().take(n).any(|one| one == name);
            if columns.is_empty() {
                table.wrong("key", node, "names no column".to_owned(), fix);
            } else if columns.iter().any(|name| name.trim().is_empty()) {
                table.wrong("key", node, "names a column without a name".to_owned(), fix);
            } else if columns.iter().enumerate().any(twice) {
                table.wrong("key", node, "names a column twice".to_owned(), fix);
            }
        }
        if let (true, Some(node)) = (
            name.is_some_and(|name| name.trim().is_empty()),
            table.get("name"),
        ) {
            let fix = Some("name: \"schema.table\", as the database has it".to_owned());
            table.wrong("name", node, "is blank, expected a table".to_owned(), fix);
        }
        let named = name.is_some_and(|name| schema.is_none() && !name.contains('.'));
        if named && default_schema.is_empty() && !asked {
            asked = true;
            let example =
                "`schema: my_database`, the one it stands in, here or at the top of the file";
            table.missing("schema", example);
        }
        let place = table.get("name");
        table.finish();
        // A stand-in, so that what uses the table does not complain again.
        let name = name.unwrap_or(&alias.name);
        let table = match (schema, name.split_once('.')) {
            (Some(schema), _) => TableName::new(schema, name),
            (None, Some((schema, name))) => TableName::new(schema, name),
            (None, None) => TableName::new(default_schema, name),
        };
        let captured = CapturedTable {
            table,
            key: key
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            columns: Vec::new(),
        };
        if catalogue.lacks(&captured.table)
            && let Some(node) = place
        {
            let full: Vec<String> = catalogue.tables().map(ToString::to_string).collect();
            let wanted = captured.table.to_string();
            let fix = did_you_mean(&wanted, full.iter().map(String::as_str));
            let found = format!("the database has no table {wanted}");
            problems.add(node.line, node.column, &path, found, fix);
        }
        if let Some(columns) = catalogue.columns(&captured.table) {
            for column in &captured.key {
                if !columns.iter().any(|known| known.name == *column) {
                    let names = columns.iter().map(|known| known.name.as_str());
                    let fix = did_you_mean(column, names);
                    let found = format!("table {} has no column \"{column}\"", captured.table);
                    problems.add(node.line, node.column, &path, found, fix);
                }
            }
        }
        // Two aliases of one table must agree about its key.
        let other = found
            .iter()
            .find(|(_, known)| known.table == captured.table && known.key != captured.key);
        if let Some((other, _)) = other {
            let said = format!(
                "`{other}` is the same table, {}, with another key",
                captured.table
            );
            problems.add(node.line, node.column, &path, said, None);
        }
        found.insert(alias.name.clone(), captured);
    }
    (found, entries)
}

/// A company's own tables.
pub(crate) fn of_company(
    tables: &BTreeMap<String, CapturedTable>,
    split: Split,
    company: Option<&Company>,
) -> BTreeMap<String, CapturedTable> {
    let mut tables = tables.clone();
    let Some(part) = company.and_then(|company| company.part.as_ref()) else {
        return tables;
    };
    for table in tables.values_mut() {
        match split {
            Split::Schema => table.table.schema.clone_from(part),
            Split::TablePrefix => table.table.name = format!("{part}{}", table.table.name),
            Split::Database | Split::Column => {}
        }
    }
    tables
}
