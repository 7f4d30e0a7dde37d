//! The shipped packs, on rows as their databases hold them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use contract::Value;
use mappings::{Catalogue, LoadContext, Mapping, Which, packs, trial};

use crate::common::*;

fn pack(name: &str) -> String {
    let path = format!("{}/packs/{name}/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Packs that a site extends; the others are for the demo and for beginning.
const PACKS: &[&str] = &[
    "dynamics-gp",
    "erpnext",
    "northwind",
    "odoo",
    "sap-business-one",
];

#[test]
fn shipped_packs_pass_their_own_tests_and_have_enough() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, text) in packs::SHIPPED {
        let context = LoadContext {
            company: Which::Only,
            catalogue: &Catalogue::default(),
            packs: &packs::shipped,
        };
        let results = trial::test_file(file, text, context)
            .unwrap_or_else(|findings| panic!("{}", said(&findings)));
        let failures: Vec<String> = results
            .iter()
            .flat_map(|r| &r.failures)
            .map(ToString::to_string)
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let folder = file.split('/').next().unwrap();
        *counts.entry(folder).or_default() += results.len();
        let mapping = Mapping::load(file, text).unwrap();
        assert_eq!(said(mapping.warnings()), "", "{file}");
    }
    for pack in PACKS {
        assert!(counts[pack] >= 12, "{pack} has {} tests", counts[pack]);
        let page = format!("{}/../docs/packs/{pack}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(std::fs::exists(&page).unwrap(), "{page}");
    }
}

#[test]
fn a_site_extends_a_shipped_pack() {
    let site = "mapping: 1\nextends: dynamics-gp-inventory@1.0.0\n\
        settings: {sellable_sites: [WAREHOUSE]}\n\
        companies: {split: database, list: [{code: ACME, database: ACME}]}\n";
    assert_eq!(load(site).pack(), "dynamics-gp-inventory");
    let wrong = site
        .replace("@1.0.0", "@9.0.0")
        .replace("sellable_sites", "sites");
    let findings = Mapping::load("site.yaml", &wrong).unwrap_err();
    assert!(
        said(&findings).contains("is shipped as version 1.0.0, not 9.0.0"),
        "{}",
        said(&findings)
    );
    let findings = Mapping::load("site.yaml", &wrong.replace("@9.0.0", "")).unwrap_err();
    assert!(
        said(&findings).contains("site.yaml:3:12: settings: the pack asks for no setting `sites`"),
        "{}",
        said(&findings)
    );
    // What is wrong in the pack is said with the pack's own place.
    let broken = site.replace(
        "companies:",
        "events: [{id: gp-availability, fields: {on_hand: \"stock.QTYONHND +\"}}]\ncompanies:",
    );
    let findings = Mapping::load("site.yaml", &broken).unwrap_err();
    assert!(
        said(&findings).starts_with("site.yaml:4:50: events[1].fields.on_hand"),
        "{}",
        said(&findings)
    );
}

#[test]
fn shipped_packs_load_without_warnings() {
    for name in ["northwind", "demo-warehouse"] {
        let mapping = Mapping::load(name, &pack(name))
            .unwrap_or_else(|findings| panic!("{}", said(&findings)));
        assert_eq!(said(mapping.warnings()), "", "{name}");
        assert_eq!(mapping.pack(), name);
    }
}

#[test]
fn northwind_products_are_items_and_stock() {
    let columns = [
        "product_id",
        "product_name",
        "quantity_per_unit",
        "units_in_stock",
        "units_on_order",
        "discontinued",
    ];
    let shape = shape("public", "products", &columns, 1);
    let row = |stock: Value, discontinued: i64| {
        vec![
            Value::Int(901),
            text("Test tea"),
            text("12 boxes"),
            stock,
            Value::Null,
            Value::Int(discontinued),
        ]
    };
    let all = events(map(
        &pack("northwind"),
        &insert(&shape, row(Value::Int(39), 0)),
    ));
    assert_eq!(
        body(&all[0]),
        r#"{"name":"Test tea","description":"12 boxes","stock_uom":"EA","kind":"stocked","status":"active"}"#
    );
    assert_eq!(all[1].envelope.key.text(), "NORTHWIND|901|MAIN");
    assert!(body(&all[1]).starts_with(r#"{"uom":"EA","on_hand":"39","allocated":"0","#));
    assert!(!body(&all[1]).contains("on_order"));
    let all = events(map(
        &pack("northwind"),
        &insert(&shape, row(Value::Null, 1)),
    ));
    assert!(body(&all[0]).contains("discontinued"));
    assert!(body(&all[1]).contains(r#""on_hand":"0""#));
    let mapped = map(&pack("northwind"), &insert(&shape, row(Value::Int(1), 2)));
    assert_eq!((mapped.drafts.len(), mapped.held.len()), (1, 1));
}

#[test]
fn northwind_orders_are_open_until_shipped() {
    let columns = [
        "order_id",
        "customer_id",
        "order_date",
        "required_date",
        "shipped_date",
        "freight",
    ];
    let shape = shape("public", "orders", &columns, 1);
    let row = |shipped: Value, freight: Value| {
        vec![
            Value::Int(99_001),
            text("TESTC"),
            date("2026-11-02"),
            Value::Null,
            shipped,
            freight,
        ]
    };
    let change = insert(&shape, row(Value::Null, Value::Null));
    let all = events(map(&pack("northwind"), &change));
    assert_eq!(
        body(&all[0]),
        r#"{"order_number":"99001","document_kind":"order","customer_id":"TESTC","ordered_on":"2026-11-02","lifecycle":"open","fulfillment":"none","has_backorder":false,"source_status":"unshipped","archived":false}"#
    );
    // A `real` of 32.38 that went through 64 bits.
    let freight = Value::Float(f64::from(32.38_f32));
    let change = insert(&shape, row(date("2026-11-04"), freight));
    let all = events(map(&pack("northwind"), &change));
    let body = body(&all[0]);
    assert!(body.contains(
        r#""shipped_on":"2026-11-04","freight":{"amount":"32.38","currency":"USD"},"lifecycle":"closed","fulfillment":"shipped""#
    ), "{body}");
}

#[test]
fn the_demo_warehouse_has_every_kind_of_event() {
    let map = |table: &str, columns: &[&str], key: usize, row: Vec<Value>| {
        let shape = shape("main", table, columns, key);
        let all = events(map(&pack("demo-warehouse"), &insert(&shape, row)));
        assert_eq!(all.len(), 1, "{table}");
        (all[0].envelope.key.text(), body(&all[0]))
    };
    let item = vec![text("A1"), text("Bolt"), text("EA"), text("N")];
    let (_, body) = map("item", &["sku", "name", "uom", "status"], 1, item);
    assert!(body.contains("no_new_sales"));
    let stock = vec![
        text("A1"),
        text("W1"),
        decimal("10.5"),
        decimal("2"),
        decimal("1"),
    ];
    let columns = ["sku", "warehouse", "on_hand", "allocated", "safety"];
    let (key, body) = map("stock", &columns, 2, stock);
    assert_eq!(key, "DEMO|A1|W1");
    assert!(body.contains(r#""available":"8.5","atp":"7.5","sellable":"7""#));
    let columns = ["id", "sku", "warehouse", "kind", "qty", "posted_on"];
    for (code, kind) in [
        ("P", "shipment"),
        ("R", "receipt"),
        ("T-", "transfer_out"),
        ("T+", "transfer_in"),
        ("A", "adjustment"),
    ] {
        let row = vec![
            Value::Int(3),
            text("A1"),
            text("W1"),
            text(code),
            decimal("-2"),
            date("2026-11-20"),
        ];
        let (_, body) = map("movement", &columns, 1, row);
        assert!(body.contains(&format!(r#""kind":"{kind}""#)), "{body}");
    }
    let columns = [
        "id",
        "number",
        "customer",
        "ordered_on",
        "status",
        "total",
        "currency",
    ];
    for (code, state) in [
        ("O", r#""lifecycle":"open","fulfillment":"none""#),
        ("P", r#""lifecycle":"open","fulfillment":"picking""#),
        ("S", r#""lifecycle":"closed","fulfillment":"shipped""#),
        ("C", r#""lifecycle":"cancelled","fulfillment":"none""#),
    ] {
        let row = vec![
            Value::Int(5),
            text("SO-5"),
            text("C1"),
            date("2026-11-20"),
            text(code),
            decimal("19.90"),
            text("EUR"),
        ];
        let (_, body) = map("orders", &columns, 1, row);
        assert!(body.contains(state), "{body}");
    }
}
