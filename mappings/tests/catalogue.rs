//! What is said of a file beside the tables of a database.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use contract::{ColumnInfo, ColumnKind, Finding, Level, TableInfo, TableName};
use mappings::{Catalogue, LoadContext, Mapping, MappingSet, Which, packs};

const FILE: &str = r#"
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
settings: {field: {ask: "A column", default: note}}
tables:
  bin: {name: bin, key: [id]}
  head: {name: head, key: [id]}
  line: {name: line, key: [id]}
  old: {name: old_head, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: bin
    key: {sku: bin.item, location: bin.site}
    fields:
      uom: "'EA'"
      on_hand: bin.qty
      allocated: "round(bin.weight, 2)"
      active: bin.active
  - id: order
    emit: order.v1
    from: head
    also_in: {head: old}
    key: {order_id: head.id}
    fields:
      order_number: head.number
      document_kind: {const: order}
      lifecycle: {const: open}
      fulfillment: {const: none}
      has_backorder: false
      source_status: "'O'"
      ordered_on: head.day
      archived: false
      customer_id: head.customer
      lines: {from: line, match: "line.head = head.id", fields: {line_id: line.id, sku: line.item, uom: "'EA'", qty_ordered: line.qty, qty_shipped: 0, qty_cancelled: 0, qty_open: line.qty, status: {const: open}}}
"#;

fn table(name: &str, columns: &[(&str, ColumnKind)]) -> TableInfo {
    let column = |(name, kind): &(&str, ColumnKind)| ColumnInfo {
        name: (*name).to_owned(),
        kind: *kind,
        nullable: true,
        declared: String::new(),
    };
    TableInfo {
        table: TableName::new("main", name),
        columns: columns.iter().map(column).collect(),
        key: vec!["id".to_owned()],
        rows: None,
    }
}

fn tables() -> Vec<TableInfo> {
    use ColumnKind::{Bool, Bytes, Date, DateTime, Decimal, Float, Int, Text, Timestamp};
    vec![
        table(
            "bin",
            &[
                ("id", Int),
                ("item", Text),
                ("site", Text),
                ("qty", Decimal),
                ("weight", Float),
                ("active", Bool),
                ("code", Text),
                ("day", Date),
                ("seen", DateTime),
                ("moment", Timestamp),
                ("photo", Bytes),
                ("note", Text),
            ],
        ),
        table(
            "head",
            &[
                ("id", Int),
                ("number", Text),
                ("day", Date),
                ("customer", Text),
            ],
        ),
        table(
            "line",
            &[("id", Int), ("head", Int), ("item", Text), ("qty", Decimal)],
        ),
        table(
            "old_head",
            &[
                ("id", Int),
                ("number", Text),
                ("day", Date),
                ("customer", Text),
            ],
        ),
    ]
}

fn look(file: &str, catalogue: &Catalogue) -> Result<Vec<Finding>, Vec<Finding>> {
    let context = LoadContext {
        company: Which::Only,
        catalogue,
        packs: &packs::shipped,
    };
    let mapping = Mapping::load_with("shop.yaml", file, context)?;
    Ok(mapping.warnings().to_vec())
}

fn said(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn what_can_never_succeed_by_its_type_is_refused() {
    let catalogue = Catalogue::new(&tables());
    assert_eq!(look(FILE, &catalogue), Ok(Vec::new()));
    let quantity = "on_hand: bin.qty";
    for (from, to, found, fix) in [
        (
            quantity,
            "on_hand: bin.weight",
            "a value of type float cannot become decimal",
            "round(.., 2)",
        ),
        (
            quantity,
            "on_hand: {column: bin.weight}",
            "a value of type float cannot become decimal",
            "round: 2",
        ),
        (
            quantity,
            "on_hand: \"bin.weight * 2\"",
            "`*` needs a number, but `bin.weight` is a binary float",
            "round(bin.weight, 2)",
        ),
        (
            quantity,
            "on_hand: \"case when bin.weight > 1 then 1 else 2 end\"",
            "`>` compares `bin.weight`, a binary float",
            "round(bin.weight, 2)",
        ),
        (
            quantity,
            "on_hand: \"cast(bin.weight as decimal)\"",
            "cast: `bin.weight` is a binary float",
            "round(bin.weight, 2)",
        ),
        (
            quantity,
            "on_hand: bin.day",
            "a value of type date cannot become decimal",
            "",
        ),
        (
            "sku: bin.item",
            "sku: bin.photo",
            "a value of type bytes cannot become text",
            "decode(",
        ),
        (
            "active: bin.active",
            "active: bin.code",
            "a value of type text cannot become bool",
            "true_values",
        ),
        (
            "active: bin.active",
            "active: bin.day",
            "a value of type date cannot become bool",
            "",
        ),
        (
            quantity,
            "on_hand: bin.qty\n      counted_at: bin.day",
            "a value of type date cannot become timestamp",
            "local_datetime",
        ),
        (
            quantity,
            "on_hand: bin.qty\n      counted_at: bin.seen",
            "a value of type datetime cannot become timestamp",
            "zone",
        ),
        (
            quantity,
            "on_hand: bin.qty\n      counted_at: bin.code",
            "a value of type text cannot become timestamp",
            "",
        ),
        (
            "ordered_on: head.day",
            "ordered_on: head.id",
            "a value of type int cannot become date",
            "date: ymd",
        ),
        (
            "lifecycle: {const: open}\n",
            "lifecycle: head.id\n",
            "a value of type int cannot become word",
            "a dictionary",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        let findings = look(&FILE.replacen(from, to, 1), &catalogue).expect_err(to);
        assert_eq!(findings.len(), 1, "{to}: {}", said(&findings));
        assert!(
            findings[0].found.contains(found),
            "{to}: {}",
            said(&findings)
        );
        let hint = findings[0].fix.clone().unwrap_or_default();
        assert!(hint.contains(fix), "{to}: {}", said(&findings));
        // Offline nobody knows the columns, and nothing is guessed.
        let offline = look(&FILE.replacen(from, to, 1), &Catalogue::default());
        assert!(offline.is_ok(), "{to}: {}", said(&offline.unwrap_err()));
    }
}

#[test]
fn what_may_succeed_is_left_alone() {
    let catalogue = Catalogue::new(&tables());
    for (from, to) in [
        (
            "on_hand: bin.qty",
            "on_hand: {column: bin.weight, round: 3}",
        ),
        (
            "on_hand: bin.qty",
            "on_hand: \"round(coalesce(bin.weight, 0), 3)\"",
        ),
        (
            "on_hand: bin.qty",
            "on_hand: \"round(case when bin.weight is null then 0 else bin.weight end, 3)\"",
        ),
        ("on_hand: bin.qty", "on_hand: bin.code"),
        (
            "on_hand: bin.qty",
            "on_hand: bin.qty\n      counted_at: bin.moment",
        ),
        (
            "on_hand: bin.qty",
            "on_hand: bin.qty\n      counted_at: {column: bin.seen, zone: Europe/Berlin}",
        ),
        ("active: bin.active", "active: bin.qty"),
        (
            "ordered_on: head.day",
            "ordered_on: {column: head.id, date: ymd}",
        ),
        (
            "company: ACME\n",
            "company: ACME\nclean: {dates: {date_only: true}}\n",
        ),
    ] {
        let warnings = look(&FILE.replacen(from, to, 1), &catalogue);
        assert!(warnings.is_ok(), "{to}: {}", said(&warnings.unwrap_err()));
    }
}

#[test]
fn finished_rows_must_be_readable_where_they_went() {
    let mut tables = tables();
    tables[3] = table(
        "old_head",
        &[
            ("id", ColumnKind::Int),
            ("nummer", ColumnKind::Text),
            ("day", ColumnKind::Text),
            ("customer", ColumnKind::Text),
        ],
    );
    let findings = look(FILE, &Catalogue::new(&tables)).unwrap_err();
    let said = said(&findings);
    for part in [
        "events[2].also_in.head: table main.old_head has no column \"number\"",
        "did you mean `nummer`?",
        "column \"day\" is text in main.old_head, and a date where it came from",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(findings.len(), 2, "{said}");
}

#[test]
fn a_column_that_may_be_missing_is_warned_about_where_it_is() {
    let catalogue = Catalogue::new(&tables());
    let file = FILE
        .replacen("on_hand: bin.qty", "on_hand: \"optional(bin.qtty, 3)\"", 1)
        .replacen(
            "uom: \"'EA'\"",
            "uom: \"coalesce(column(bin, setting.field), 'EA')\"",
            1,
        );
    assert_eq!(
        said(&look(&file, &catalogue).unwrap()),
        "shop.yaml:20:16: events[1].fields.on_hand: table main.bin has no column \"qtty\": \
         optional always gives its second value\n  hint: did you mean `qty`?"
    );
    let file = file.replacen("default: note", "default: notte", 1);
    let warnings = look(&file, &catalogue).unwrap();
    assert!(warnings.iter().all(|one| one.level == Level::Warn));
    assert!(
        said(&warnings).contains(
            "events[1].fields.uom: table main.bin has no column \"notte\": column(.., \
             setting.field) is always null\n  hint: did you mean `note`?"
        ),
        "{}",
        said(&warnings)
    );
}

#[test]
fn only_tables_that_were_asked_for_can_be_missing() {
    let all = tables();
    let names: Vec<TableName> = all.iter().take(3).map(|info| info.table.clone()).collect();
    assert_eq!(
        look(FILE, &Catalogue::of(&names, &all[..3])),
        Ok(Vec::new())
    );
    let findings = look(FILE, &Catalogue::of(&names, &all[..2])).unwrap_err();
    assert!(
        said(&findings).contains("the database has no table main.line"),
        "{}",
        said(&findings)
    );
}

#[test]
fn what_is_kept_of_a_table_is_explained_once() {
    let second = FILE
        .replacen("{name: bin, key: [id]}", "{name: bin, key: [item, site]}", 1)
        .replacen("  old: ", "  again: {name: head, key: [id]}\n  old: ", 1)
        .replacen("    also_in: {head: old}\n", "", 1)
        .replacen("      archived: false\n", "      archived: again.day is null\n", 1)
        .replacen(
            "    from: head\n",
            "    from: head\n    join: {again: {match: \"again.number = head.number\", missing: hold}}\n",
            1,
        );
    let mapping = Mapping::load("shop.yaml", &second).unwrap();
    let set = MappingSet::new(vec![mapping]).unwrap();
    let mut tables = tables();
    tables[1].rows = Some(1_200);
    let (offline, live) = (set.explain(&[]), set.explain(&tables));
    let kept: Vec<&str> = live.replicas.iter().map(|kept| &*kept.table).collect();
    assert_eq!(
        kept,
        ["main.head", "main.line"],
        "stock works on one row alone"
    );
    let head = &live.replicas[0];
    assert_eq!(head.columns, ["id", "number", "customer", "day"]);
    // Both sides of the join, and the document's side of its lines.
    assert_eq!(head.indexes, ["number", "id"]);
    assert_eq!((head.rows, offline.replicas[0].rows), (Some(1_200), None));
    assert!(head.bytes_per_row < offline.replicas[0].bytes_per_row);
    let order = &live.events[1];
    let again = &order.tables[1];
    assert_eq!(again.index.as_deref(), Some("again [number]"));
    assert_eq!(again.reverse_index.as_deref(), Some("head [number]"));
    let line = &order.tables[2];
    assert_eq!(line.index.as_deref(), Some("line [head]"));
    assert_eq!(line.reverse_index.as_deref(), Some("head [id]"));
    assert_eq!(live.events[0].bytes_per_row, 0);
    assert!(live.events[0].bytes_per_key > 0 && order.bytes_per_row > 0);
}
