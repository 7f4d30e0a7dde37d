//! `lighterman map new`

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use contract::finding::nearest;
use contract::{ColumnInfo, EventType, FieldSchema, FieldType, Finding, TableInfo};
use serde_json::json;

use super::live::{self, Ask};
use super::names::column_for;
use crate::{Exit, init, out, refuse};

/// What draft is wanted.
pub(crate) struct Wanted<'a> {
    /// The table.
    pub(crate) from: &'a str,
    pub(crate) emit: EventType,
    /// Whose rows they are.
    pub(crate) company: &'a str,
    /// `None` = it is printed.
    pub(crate) to: Option<&'a Path>,
}

/// Writes a first draft of a mapping file from what the database says about a table.
pub(crate) async fn new(ask: &Ask, wanted: &Wanted<'_>, json: bool) -> Exit {
    let source = match live::source(ask) {
        Ok(source) => source,
        Err(findings) => return refuse(&findings, json),
    };
    let tables = match live::tables(&source).await {
        Ok(tables) => tables,
        Err(findings) => return refuse(&findings, json),
    };
    let text = match named(&tables, wanted.from) {
        Ok(info) => draft(info, wanted, source.kind, &source.name),
        Err(finding) => return refuse(&[finding], json),
    };
    if let Some(file) = wanted.to
        && let Err(finding) = write(file, &text)
    {
        return refuse(&[finding], json);
    }
    match wanted.to {
        _ if json => out(&json!({ "mapping": text, "written": wanted.to }).to_string()),
        None => out(text.trim_end()),
        Some(file) => {
            out(&format!("wrote {}", file.display()));
            let name = &source.name;
            out(&format!(
                "fill in what is required, then: lighterman map check --source {name}"
            ));
        }
    }
    Exit::Ok
}

fn named<'t>(tables: &'t [TableInfo], from: &str) -> Result<&'t TableInfo, Finding> {
    let same = |info: &&TableInfo| {
        info.table.to_string().eq_ignore_ascii_case(from)
            || info.table.name.eq_ignore_ascii_case(from)
    };
    tables.iter().find(same).ok_or_else(|| {
        let names: Vec<String> = tables.iter().map(|info| info.table.to_string()).collect();
        let near = nearest(from, tables.iter().map(|info| info.table.name.as_str()));
        let fix = near.map_or_else(
            || format!("one of {}", names.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        // Some databases do not name what a login may not read.
        let found = format!("there is no table `{from}`, or the login may not see it");
        Finding::fail("--from", found).fix(fix)
    })
}

/// Nobody's work is written over.
fn write(file: &Path, text: &str) -> Result<(), Finding> {
    let what = || format!("write {}", file.display());
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Ok(there) if init::is_untouched(&there) => {}
        Ok(_) => {
            let fix = "another name after --to, or take the file away first";
            return Err(Finding::fail(what(), "somebody has written into it").fix(fix));
        }
        Err(error) => return Err(Finding::fail(what(), error.to_string())),
    }
    std::fs::write(file, text).map_err(|error| Finding::fail(what(), error.to_string()))
}

fn draft(info: &TableInfo, wanted: &Wanted<'_>, kind: &str, source: &str) -> String {
    let (emit, company) = (wanted.emit, wanted.company);
    let schema = emit.schema();
    let alias: String = info
        .table
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!(
        "# A first draft for {}. Fields without a column are left as comments:",
        info.table
    ));
    line("# fill in what is required, delete the rest, then".to_owned());
    line(format!(
        "#   lighterman map check <this file> --source {source}"
    ));
    line("#   lighterman map try <this file> --sample 200".to_owned());
    line("mapping: 1".to_owned());
    line(format!("pack: my-{}", alias.replace('_', "-")));
    line("pack_version: \"0.1.0\"".to_owned());
    line(format!("source: {kind}"));
    line(format!(
        "company: {}   # first part of every key",
        quoted(company)
    ));
    line(String::new());
    line("clean:".to_owned());
    line("  text: {trim: right, blank_is_null: true}".to_owned());
    line(String::new());
    line("tables:".to_owned());
    let name = quoted(&info.table.name);
    let schema_name = quoted(&info.table.schema);
    let key: Vec<String> = info.key.iter().map(|column| quoted(column)).collect();
    let key_note = if key.is_empty() {
        "   # the table has no key: name the columns that identify a row"
    } else {
        ""
    };
    line(format!(
        "  {alias}: {{name: {name}, schema: {schema_name}, key: [{}]}}{key_note}",
        key.join(", ")
    ));
    line("# Its columns:".to_owned());
    for column in &info.columns {
        let null = if column.nullable { ", may be null" } else { "" };
        line(format!("#   {}: {}{null}", column.name, column.declared));
    }
    line(String::new());
    line("events:".to_owned());
    line(format!("  - id: {alias}"));
    line(format!("    emit: {emit}"));
    line(format!("    from: {alias}"));
    line("    key:".to_owned());
    for part in schema.key.iter().filter(|part| **part != "company") {
        line(match column_for(info, part) {
            Some(column) => format!("      {part}: {}", expression(&alias, &column.name)),
            None => format!(
                "      # {part}: \"{alias}.??\"   # required: a column, or a constant: \"'MAIN'\""
            ),
        });
    }
    line("    fields:".to_owned());
    for field in schema.fields {
        let found = column_for(info, field.name).filter(|_| plain(field));
        let derived = emit == EventType::InventoryAvailability
            && contract::body::availability::DERIVED.contains(&field.name);
        match found {
            Some(column) => line(mapped(&alias, field, column)),
            None if field.required && !derived => {
                let meaning = words(field);
                let value =
                    constant(field.name).map_or_else(|| format!("\"{alias}.??\""), str::to_owned);
                line(format!(
                    "      # {}: {value}   # required: {meaning}",
                    field.name
                ));
            }
            None => {}
        }
    }
    line(String::new());
    // As comments: what is to come out of a row is not known before the fields are filled in.
    line("# What must come out of rows of yours, for lighterman map test:".to_owned());
    line("# tests:".to_owned());
    line("#   - name: \"one row\"".to_owned());
    line("#     given:".to_owned());
    let cells: Vec<String> = info
        .columns
        .iter()
        .map(|column| format!("{}: \"\"", quoted(&column.name)))
        .collect();
    line(format!("#       {alias}: [{{{}}}]", cells.join(", ")));
    line("#     expect: []".to_owned());
    text
}

/// A field whose column is known by its name. What null means in it is said, not guessed: but for what is
/// reserved, where nothing is reserved.
fn mapped(alias: &str, field: &FieldSchema, column: &ColumnInfo) -> String {
    let (name, value) = (field.name, expression(alias, &column.name));
    match (field.required && column.nullable, name) {
        (true, "allocated") => {
            format!(
                "      {name}: {{column: {value}, default: 0}}   # please check; null counts as 0"
            )
        }
        (true, _) => format!(
            "      {name}: {value}   # please check; may be null, and is held then: {{column: {value}, default: ..}}"
        ),
        (false, _) => format!("      {name}: {value}   # please check"),
    }
}

/// What many ERPs have no column for, as it is written without one.
fn constant(field: &str) -> Option<&'static str> {
    match field {
        "uom" | "stock_uom" => Some("\"'EA'\""),
        "active" => Some("true"),
        _ => None,
    }
}

fn plain(field: &FieldSchema) -> bool {
    !matches!(
        field.field_type,
        FieldType::List(_)
            | FieldType::Object(_)
            | FieldType::Texts
            | FieldType::Map
            | FieldType::Money
            | FieldType::Word(_)
    )
}

fn words(field: &FieldSchema) -> String {
    match field.field_type {
        FieldType::Word(words) => format!("one of {}", words.join(", ")),
        _ => field.meaning.to_owned(),
    }
}

fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A name as YAML text.
fn quoted(name: &str) -> String {
    if is_plain_name(name) && !matches!(name, "null" | "true" | "false") {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn expression(alias: &str, column: &str) -> String {
    if is_plain_name(column) {
        return format!("\"{alias}.{column}\"");
    }
    format!(
        "'{alias}.\"{}\"'",
        column.replace('"', "\"\"").replace('\'', "''")
    )
}
