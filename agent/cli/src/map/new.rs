//! `lighterman map new`

use std::fmt::Write as _;

use contract::finding::nearest;
use contract::{EventType, FieldSchema, FieldType, Finding, TableInfo};

use super::live::{self, Ask};
use crate::{Exit, out, refuse};

/// Columns that commonly mean a field, beside the field's own name.
const SYNONYMS: &[(&str, &[&str])] = &[
    (
        "sku",
        &[
            "item",
            "itemcode",
            "item_code",
            "itemno",
            "item_no",
            "itemnmbr",
            "article",
            "product_code",
            "part_no",
            "partnum",
            "item_id",
        ],
    ),
    (
        "location",
        &[
            "warehouse",
            "warehouse_code",
            "whscode",
            "whse",
            "loc",
            "locncode",
            "site",
            "location_id",
        ],
    ),
    (
        "on_hand",
        &[
            "onhand",
            "qty_on_hand",
            "qtyonhnd",
            "quantity_on_hand",
            "actual_qty",
            "in_stock",
            "units_in_stock",
            "qty",
            "quantity",
        ],
    ),
    (
        "allocated",
        &[
            "atyalloc",
            "qty_allocated",
            "iscommited",
            "reserved",
            "reserved_qty",
            "reserved_quantity",
            "committed",
        ],
    ),
    ("safety_stock", &["safety", "minstock", "sftystckqty"]),
    (
        "on_order",
        &["onorder", "qtyonord", "ordered_qty", "units_on_order"],
    ),
    (
        "uom",
        &["unit", "base_unit", "stock_uom", "unit_of_measure"],
    ),
    ("stock_uom", &["unit", "base_unit", "uom"]),
    (
        "name",
        &[
            "item_name",
            "itemname",
            "description",
            "itemdesc",
            "product_name",
            "custname",
        ],
    ),
    ("order_id", &["id", "docentry", "order_no", "sopnumbe"]),
    (
        "order_number",
        &["number", "docnum", "order_no", "sopnumbe"],
    ),
    (
        "customer_id",
        &[
            "customer",
            "cardcode",
            "custnmbr",
            "customer_no",
            "partner_id",
        ],
    ),
    (
        "ordered_on",
        &["order_date", "docdate", "transaction_date", "date_order"],
    ),
    ("movement_id", &["id", "name", "entry_no"]),
];

/// Writes a first draft of a mapping file from what the database says about a table.
pub(crate) async fn new(ask: &Ask, from: &str, emit: EventType, json: bool) -> Exit {
    let source = match live::source(ask) {
        Ok(source) => source,
        Err(findings) => return refuse(&findings, json),
    };
    let tables = match live::tables(&source).await {
        Ok(tables) => tables,
        Err(findings) => return refuse(&findings, json),
    };
    let same = |info: &&TableInfo| {
        info.table.to_string().eq_ignore_ascii_case(from)
            || info.table.name.eq_ignore_ascii_case(from)
    };
    let Some(info) = tables.iter().find(same) else {
        let names: Vec<String> = tables.iter().map(|info| info.table.to_string()).collect();
        let near = nearest(from, tables.iter().map(|info| info.table.name.as_str()));
        let fix = near.map_or_else(
            || format!("one of {}", names.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        let finding = Finding::fail("--from", format!("there is no table `{from}`")).fix(fix);
        return refuse(&[finding], json);
    };
    let text = draft(info, emit, source.kind);
    if json {
        out(&serde_json::json!({ "mapping": text }).to_string());
    } else {
        out(text.trim_end());
    }
    Exit::Ok
}

fn draft(info: &TableInfo, emit: EventType, source: &str) -> String {
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
    line("#   lighterman map check <this file> --source <name>".to_owned());
    line("#   lighterman map test <this file>".to_owned());
    line("mapping: 1".to_owned());
    line(format!("pack: my-{}", alias.replace('_', "-")));
    line("pack_version: \"0.1.0\"".to_owned());
    line(format!("source: {source}"));
    line("company: MY-COMPANY".to_owned());
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
            Some(column) => format!("      {part}: {}", expression(&alias, column)),
            None => format!("      # {part}: \"{alias}.??\"   # required"),
        });
    }
    line("    fields:".to_owned());
    for field in schema.fields {
        let found = column_for(info, field.name).filter(|_| plain(field));
        let derived = emit == EventType::InventoryAvailability
            && contract::body::availability::DERIVED.contains(&field.name);
        match found {
            Some(column) => {
                line(format!(
                    "      {}: {}   # please check",
                    field.name,
                    expression(&alias, column)
                ));
            }
            None if field.required && !derived => {
                let meaning = words(field);
                line(format!(
                    "      # {}: \"{alias}.??\"   # required: {meaning}",
                    field.name
                ));
            }
            None => {}
        }
    }
    line(String::new());
    line("tests:".to_owned());
    line("  - name: \"one row\"".to_owned());
    line("    given:".to_owned());
    let cells: Vec<String> = info
        .columns
        .iter()
        .map(|column| format!("{}: \"\"", quoted(&column.name)))
        .collect();
    line(format!(
        "      {alias}: [{{{}}}]   # a row of yours",
        cells.join(", ")
    ));
    line("    expect: []   # what it must become".to_owned());
    text
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

/// A column whose name says that it is the field: the same letters, or a name commonly used.
fn column_for<'i>(info: &'i TableInfo, field: &str) -> Option<&'i str> {
    let letters = |name: &str| -> String {
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    let synonyms = SYNONYMS.iter().find(|(known, _)| *known == field);
    let wanted = [field]
        .into_iter()
        .chain(synonyms.map_or(&[][..], |(_, names)| names).iter().copied());
    for name in wanted {
        let same = info
            .columns
            .iter()
            .find(|column| letters(&column.name) == letters(name));
        if let Some(column) = same {
            return Some(&column.name);
        }
    }
    None
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
