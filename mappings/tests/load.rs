//! What loads, and what is said about files that do not.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;

use contract::Level;
use mappings::{Catalogue, LoadContext, Mapping, MappingSet, Which, parse_yaml};

use crate::broken::COMPANIES;
use crate::common::*;

#[test]
fn a_good_file_has_no_warnings_and_a_digest_of_its_text() {
    let mapping = load(SHOP);
    assert_eq!(mapping.warnings(), &[]);
    assert_eq!(mapping.pack(), "shop");
    assert_eq!(mapping.digest(), load(SHOP).digest());
    assert_ne!(mapping.digest(), load(&format!("{SHOP}\n")).digest());
}

#[test]
fn what_works_but_surprises_is_warned_about() {
    let odd = SHOP
        .replacen(
            "tables:\n",
            "tables:\n  spare: {name: spare, key: [id]}\n",
            1,
        )
        .replacen("dictionaries:\n", "dictionaries:\n  old: {A: b}\n", 1)
        .replacen("{order_id: id}", "{company: branch, order_id: id}", 1);
    let mapping = load(&odd);
    assert!(mapping.warnings().iter().all(|w| w.level == Level::Warn));
    golden("warnings.txt", &said(mapping.warnings()));
    // SQLite's change log always carries the whole old row.
    let mapping = load(&odd.replacen("postgres", "sqlite", 1));
    assert_eq!(mapping.warnings().len(), 2);
}

#[test]
fn tables_name_every_column_a_rule_reads() {
    let more = "mapping: 1\npack: more\npack_version: \"1\"\ncompany: ACME\n\
        tables: {i: {name: public.item, key: [sku]}}\n\
        events:\n  - id: more\n    emit: product.v1\n    from: i\n    key: {sku: sku}\n    \
        fields: {name: short_name, stock_uom: uom, kind: \"'kit'\", status: \"'active'\"}\n";
    let set = MappingSet::new(vec![load(SHOP), load(more)]).unwrap();
    let tables = set.tables();
    let names: Vec<String> = tables.iter().map(|t| t.table.to_string()).collect();
    assert_eq!(
        names,
        ["public.item", "wms.move", "public.sale", "public.stock"]
    );
    let columns = [
        "sku",
        "name",
        "long_text",
        "status",
        "grams",
        "min_qty",
        "hazardous",
        "short_name",
        "uom",
    ];
    let mut found = tables[0].columns.clone();
    found.sort();
    let mut expected = columns.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(tables[2].columns.len(), 7);
    assert_eq!(tables[2].columns[0], "id");
    assert_eq!(set.rules().count(), 5);
}

#[test]
fn two_files_must_not_disagree() {
    let findings = MappingSet::new(vec![load(SHOP), load(SHOP)]).unwrap_err();
    assert!(
        said(&findings).contains("rule item: pack shop and pack shop both define it"),
        "{}",
        said(&findings)
    );
    let other = SHOP
        .replace("{name: item, key: [sku]}", "{name: item, key: [sku, co]}")
        .replace("- id: ", "- id: other-");
    let findings = MappingSet::new(vec![load(SHOP), load(&other)]).unwrap_err();
    assert_eq!(
        said(&findings),
        "table public.item: rule item says its key is [sku], rule other-item says [sku, co]"
    );
}

#[test]
fn names_without_schema_take_the_source_s_default() {
    let table = |file: &str| {
        let set = MappingSet::new(vec![load(file)]).unwrap();
        set.tables()[0].table.to_string()
    };
    assert_eq!(table(SHOP), "public.item");
    assert_eq!(
        table(&SHOP.replacen("source: postgres\n", "", 1)),
        "public.item"
    );
    assert_eq!(table(&SHOP.replacen("postgres", "sqlite", 1)), "main.item");
    let named = SHOP.replacen("{name: item,", "{name: item, schema: erp,", 1);
    assert_eq!(table(&named), "erp.item");
    let dotted = SHOP.replacen("{name: item,", "{name: a.b, schema: erp,", 1);
    assert_eq!(table(&dotted), "erp.a.b");
    // There a schema is a database, and none is the usual one.
    let mariadb = SHOP.replacen("postgres", "mariadb", 1);
    let findings = Mapping::load("shop.yaml", &mariadb).unwrap_err();
    assert_eq!(findings.len(), 1, "{}", said(&findings));
    assert!(
        said(&findings).contains("`schema` is missing"),
        "{}",
        said(&findings)
    );
    let named = mariadb.replace("{name: ", "{schema: erp, name: ");
    assert_eq!(table(&named), "erp.item");
    let all = mariadb.replacen("source: mariadb", "source: mariadb\nschema: wms", 1);
    assert_eq!(table(&all), "wms.item");
}

#[test]
fn huge_and_deep_files_end_in_findings_and_quickly() {
    let nested = "[".repeat(500_000);
    assert!(parse_yaml("f", &nested).is_err());
    let nested = "- ".repeat(300_000);
    assert!(parse_yaml("f", &nested).is_err());
    let nested = "{a: ".repeat(200_000);
    assert!(parse_yaml("f", &nested).is_err());
    let big = format!("a: {}", "x".repeat(1 << 20));
    let findings = parse_yaml("f", &big).unwrap_err();
    assert!(said(&findings).contains("larger than"));
    let mut wide = String::from(SHOP);
    wide.push_str("    extra:\n");
    for n in 0..50_000 {
        writeln!(wide, "k{n}: {n}").unwrap();
    }
    let findings = Mapping::load("shop.yaml", &wide).unwrap_err();
    assert!(findings.len() <= 100);
}

#[test]
fn a_company_that_is_not_listed_is_said_once() {
    let context = LoadContext {
        company: Which::Named("WEST"),
        catalogue: &Catalogue::default(),
        packs: &mappings::packs::shipped,
    };
    let findings = Mapping::load_with("erp.yaml", COMPANIES, context).unwrap_err();
    assert_eq!(findings.len(), 1, "{}", said(&findings));
    assert!(findings[0].found.contains("there is no company `WEST`"));
}
