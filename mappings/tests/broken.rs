//! What is said about files that do not load.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;

use mappings::{Catalogue, LoadContext, Mapping, MappingSet, Which};

use crate::common::*;

/// Edits that break the shared file: what is replaced, and by what.
const BROKEN: &[(&str, &str)] = &[
    // the file as a whole
    ("mapping: 1", "mapping: 2"),
    ("mapping: 1\n", ""),
    ("pack: shop", "pakc: shop"),
    ("pack_version: \"1.0.0\"", "pack_version: 1.0"),
    ("source: postgres", "source: oracle"),
    ("company: ACME", "company: \" \""),
    ("company: ACME", "company: {column: co}"),
    ("company: ACME\n", ""),
    ("pack: shop", "pack: [shop"),
    ("pack: shop", "pack: shop\npack: shop2"),
    ("pack: shop", "pack: &name shop"),
    ("pack: shop", "pack: !!str shop"),
    ("pack: shop", "pack: *name"),
    ("\nevents:", "\n---\nevents:"),
    ("pack: shop", "\tpack: shop"),
    // cleaning rules, tables, dictionaries
    ("trim: right", "trim: rihgt"),
    ("blank_is_null: true", "blank_is_null: yes"),
    ("zone: Europe/Berlin", "zone: Europe/Berln"),
    ("[\"1900-01-01\"]", "[0]"),
    ("{name: item, key: [sku]}", "{name: item, key: []}"),
    ("{name: item, key: [sku]}", "{name: item}"),
    ("{name: item, key: [sku]}", "{name: item, kye: [sku]}"),
    ("{name: sale, key: [id]}", "{name: item, key: [id]}"),
    ("{A: active, D", "{A: [active], D"),
    ("{A: active, D", "{A: activ, D"),
    ("{A: active, D", "{A: active, TRUE: active, D"),
    ("else: other", "else: something"),
    // events
    ("- id: move", "- id: item"),
    ("- id: item", "- name: item"),
    ("emit: product.v1", "emit: produkt.v1"),
    ("emit: product.v1", "emit: invoice.v1"),
    ("from: item", "from: itme"),
    ("    key: {sku: item.sku}\n", ""),
    ("key: {sku: item.sku}", "key: {}"),
    (
        "key: {sku: item.sku}",
        "key: {sku: item.sku, location: item.loc}",
    ),
    ("on_delete: tombstone", "on_delete: [tombstone]"),
    ("on_delete: tombstone", "on_delete: ignore"),
    // fields
    ("      name: item.name\n", ""),
    ("name: item.name", "name: sale.name"),
    ("name: item.name", "name: itm.name"),
    ("name: item.name", "name: item.name + 'x'"),
    ("name: item.name", "name: uper(item.name)"),
    ("name: item.name", "name: long name"),
    ("name: item.name", "name: \"sum(item.name)\""),
    ("name: item.name", "name: \"count(*)\""),
    ("name: item.name", "name: \"cast(current_date as text)\""),
    (
        "name: item.name",
        "name: {value: \"case when item.a = 1 then 'x'\"}",
    ),
    (
        "name: item.name",
        "name: >-\n        case when item.a = 1\n        then 'a' else upcase(item.b) end",
    ),
    (
        "name: item.name",
        "name: |\n        coalesce(\n          item.a,\n          upper(5))",
    ),
    (
        "name: item.name",
        "name: \"case when item.a = 'x'\n        then itm.b else 'c' end\"",
    ),
    (
        "name: item.name",
        "name: |\n        case when item.a = 1\n        when 2 end",
    ),
    ("name: item.name", "name: \"'Bolt\""),
    ("name: item.name", "name: \"null\""),
    ("name: item.name", "name: 5"),
    ("name: item.name", "name: [item.name]"),
    ("name: item.name", "name: {colunm: item.name}"),
    ("name: item.name", "name: {column: item.name, const: x}"),
    ("name: item.name", "name: {column: \"'x'\"}"),
    ("name: item.name", "name: {column: item.name, round: 2}"),
    ("name: item.name", "name: {const: x, trim: left}"),
    ("hazardous: item.hazardous", "hazardos: item.hazardous"),
    ("hazardous: item.hazardous", "hazardous: 1"),
    ("kind: \"'stocked'\"", "kind: \"'stoked'\""),
    (
        "kind: \"'stocked'\"",
        "kind: \"case when a is null then 'kit' else 'x' end\"",
    ),
    ("dictionary: status}", "dictionary: stats}"),
    ("implied_decimals: 3", "implied_decimals: 99"),
    ("implied_decimals: 3", "implied_decimals: 3, round: 2"),
    ("implied_decimals: 3", "default: heavy"),
    ("implied_decimals: 3", "date: ymd"),
    ("date: ymd", "date: dmy"),
    (", currency: {column: cur}}", "}"),
    (", currency: {column: cur}}", ", currency: usd}"),
    (", currency: {column: cur}}", ", currency: {colum: cur}}"),
    ("default: MAIN", "currency: USD"),
    ("archived: {const: false}", "lines: sale.lines"),
    ("archived: {const: false}", "archived: {const: \"no\"}"),
    // blocks of the full language
    ("pack: shop", "pack: shop\nsettings: {zone: {default: x}}"),
    ("pack: shop", "pack: shop\ncompanies: {split: column}"),
    (
        "    from: item\n",
        "    from: item\n    where: \"item.kind + 2\"\n",
    ),
    (
        "    from: item\n",
        "    from: item\n    where: \"kind = 1 and\"\n",
    ),
    (
        "    from: item\n",
        "    from: item\n    where: \"sale.id = 1\"\n",
    ),
    ("    from: item\n", "    from: item\n    where: true\n"),
    (
        "    from: item\n",
        "    from: item\n    where: \"item.a = 1 && item.b = 2\"\n",
    ),
    (
        "    from: item\n",
        "    from: item\n    where: \"!item.a\"\n",
    ),
    ("on_delete: tombstone", "on_delete: zero"),
    ("{name: item, key: [sku]}", "{key: [sku]}"),
    ("    from: item\n", "    from: item\n    join: []\n"),
    (
        "    from: item\n",
        "    from: item\n    deleted_when: \"'Y'\"\n",
    ),
    (
        "    from: move\n",
        "    from: move\n    deleted_when: \"move.void = 1\"\n",
    ),
    ("name: item.name", "name: \"'a' || upper(5)\""),
    ("name: item.name", "name: {value: \"item.a = 1 or 'x'\"}"),
    (
        "name: item.name",
        "name: {value: item.name, column: item.name}",
    ),
    ("name: item.name", "name: \"dict(stats, item.name)\""),
    ("name: item.name", "name: \"cast(item.name as money)\""),
    ("name: item.name", "name: \"substr(item.name)\""),
    ("name: item.name", "name: \"(select name from item)\""),
    (
        "{column: day, date: ymd}",
        "\"local_date(at, 'Europe/Berln')\"",
    ),
    ("{column: day, date: ymd}", "\"local_date(at, sale.zone)\""),
    (
        "hazardous: item.hazardous",
        "hazardous: \"date_ymd(item.d)\"",
    ),
    (
        "hazardous: item.hazardous",
        "hazardous: \"item.a = 1 and upper(item.b)\"",
    ),
    ("    from: item\n", "    from: item\n    fact: true\n"),
    ("trim: right,", "trim: right, charset: latin1,"),
    ("clean:\n", "clean:\n  keys: {compare: loosely}\n"),
    ("zone: Europe/Berlin", "date_only: \"yes\""),
    ("zone: Europe/Berlin", "zone: setting.time_zone"),
];

const JOINS: &str = include_str!("language/joins.yaml");
const DOCUMENTS: &str = include_str!("language/documents.yaml");
const GROUPS: &str = include_str!("language/groups.yaml");
const READ: &str = include_str!("language/read.yaml");
const SETTINGS: &str = include_str!("language/settings.yaml");
pub(crate) const COMPANIES: &str = include_str!("language/companies.yaml");

/// Edits that break files with several tables.
const BROKEN_RELATED: &[(&str, &str, &str)] = &[
    // joins
    (JOINS, "missing: hold}", "mising: hold}"),
    (JOINS, "missing: hold}", "missing: maybe}"),
    (JOINS, ", missing: hold}", "}"),
    (JOINS, "match: \"item.code = stock.item\", ", ""),
    (JOINS, "item.code = stock.item", "item.code = stok.item"),
    (JOINS, "item.code = stock.item", "item.code > stock.item"),
    (JOINS, "item.code = stock.item", "item.code = 'A1'"),
    (
        JOINS,
        "item.code = stock.item",
        "item.code = stock.item or item.hidden = 0",
    ),
    (JOINS, "item.code = stock.item", "item.code = item.unit"),
    (JOINS, "      item: {match", "      itm: {match"),
    (
        JOINS,
        "unit.code = item.unit and",
        "unit.code = need.item and",
    ),
    // sums
    (JOINS, "        from: need\n", "        from: needs\n"),
    (JOINS, "        from: need\n", ""),
    (JOINS, "      demand:\n", "      item:\n"),
    (
        JOINS,
        "sum: \"need.open * need.factor\"",
        "sum: \"stock.on_hand * need.factor\"",
    ),
    (
        JOINS,
        "sum: \"need.open * need.factor\"",
        "sum: \"need.open > 1\"",
    ),
    (JOINS, "demand.sum", "demand.total"),
    (
        JOINS,
        "latest: \"need.due_on\"\n",
        "lastest: \"need.due_on\"\n",
    ),
    // fields, guards, settings
    (JOINS, "{damaged: \"optional", "{damagd: \"optional"),
    (
        JOINS,
        "optional(stock.damaged, 0)",
        "optional(0, stock.damaged)",
    ),
    (
        JOINS,
        "{damaged: \"optional(stock.damaged, 0)\"}",
        "\"stock.damaged\"",
    ),
    (JOINS, "setting.sellable)\"", "setting.salable)\""),
    (JOINS, "setting.sellable)\"", "stock.site)\""),
    (JOINS, "else: hold, say", "else: stop, say"),
    (JOINS, ", say: \"on hand out of range\"", ""),
    (JOINS, "check: \"sellable > 0\"", "check: \"sellable\""),
    (
        JOINS,
        "check: \"sellable > 0\"",
        "check: \"selable > 0 and x.y\"",
    ),
    (JOINS, "default: [\"MAIN\", \"WEST\"]", "default: {MAIN: 1}"),
    (JOINS, ", default: [\"MAIN\", \"WEST\"]", ""),
    (
        JOINS,
        "      soft_demand: \"demand.sum\"",
        "      soft_demand: \"backordered\"\n      backordered: \"soft_demand\"",
    ),
    // groups
    (GROUPS, "group: sum\n    key", "group: max\n    key"),
    (GROUPS, "{match: \"site.code", "{on: \"site.code"),
    (GROUPS, "join: {site: {match", "join: {sites: {match"),
    (
        GROUPS,
        "match: \"site.code = lot.site\"",
        "match: \"site.code = lto.site\"",
    ),
    (
        GROUPS,
        "    join: {site: {match: \"site.code = lot.site\", missing: hold}}",
        "    join:\n      site: {match: \"site.code = zone.site\", missing: hold}\n      zone: {match: \"zone.code = lot.site\", missing: hold}",
    ),
    (GROUPS, "group: greatest}", "group: any}"),
    (
        GROUPS,
        "safety_stock: \"allocated / 2\"",
        "safety_stock: \"allocated / lot.qty\"",
    ),
    (
        GROUPS,
        "safety_stock: \"allocated / 2\"",
        "unavailable: {damaged: \"lot.qty\"}",
    ),
    (
        GROUPS,
        "safety_stock: \"allocated / 2\"\n",
        "safety_stock: 0\n    guard: [{check: \"on_hand >= 0 and lot.qty >= 0\", else: hold, say: negative}]\n",
    ),
    // documents
    (DOCUMENTS, "      from: line\n", "      from: lines\n"),
    (DOCUMENTS, "        sku: \"item.sku\"\n", ""),
    (DOCUMENTS, "order_by: line.no", "order_by: 7"),
    (
        DOCUMENTS,
        "all_lines(qty_open = 0)",
        "all_lines(qty_left = 0 and head.id)",
    ),
    (DOCUMENTS, "all_lines(qty_open = 0)", "all_lines()"),
    (
        DOCUMENTS,
        "any_lines(qty_shipped > 0)",
        "any_lines(count_lines() > 0)",
    ),
    (
        DOCUMENTS,
        "sum_lines(qty_ordered * line.price)",
        "sum_lines(status)",
    ),
    (
        DOCUMENTS,
        "money(line.price, head.currency)",
        "money(line.price)",
    ),
    (DOCUMENTS, "money(line.price, head.currency)", "line.price"),
    (
        DOCUMENTS,
        "also_in: {head: old_head",
        "also_in: {haed: old_head",
    ),
    (
        DOCUMENTS,
        "match: \"line.doc = head.id\"",
        "match: \"line.doc = head.id and not archived\"",
    ),
    (
        DOCUMENTS,
        "else 'open' end\"\n    also_in",
        "else 'open' end\"\n        qty_picked: \"archived + 1\"\n    also_in",
    ),
    (
        DOCUMENTS,
        "also_in: {head: old_head",
        "also_in: {head: old_heads",
    ),
    (
        DOCUMENTS,
        "reasons: [\"head.stop_reason\", \"head.stop_note\"]",
        "reasons: {a: head.stop_reason}",
    ),
    (
        DOCUMENTS,
        "    from: move\n",
        "    from: move\n    group: sum\n",
    ),
    (
        DOCUMENTS,
        "    from: move\n",
        "    from: move\n    lines: {from: line}\n",
    ),
    // companies
    (COMPANIES, "split: table_prefix", "split: prefix"),
    (COMPANIES, ", prefix: \"South$\"", ""),
    (COMPANIES, "currency: EUR}", "currency: Euro}"),
    (COMPANIES, "split: table_prefix", "split: database"),
    (COMPANIES, "company.currency\"}\n", "company.country\"}\n"),
    // companies
    (COMPANIES, "company: SOUTH", "company: SOUHT"),
    // units
    (GROUPS, "tables:\n", "units: {CS: twelve EA}\ntables:\n"),
    (
        GROUPS,
        "tables:\n",
        "units: {CS: \"12 EA\", EA: \"2 CS\"}\ntables:\n",
    ),
    (GROUPS, "tables:\n", "units: {CS: 12}\ntables:\n"),
    (
        GROUPS,
        "safety_stock: \"allocated / 2\"",
        "safety_stock: \"in_unit(allocated, 'CS', 'EA')\"",
    ),
    // answers to settings
    (SETTINGS, "settings: {sites: [S]}", "settings: {site: [S]}"),
    (
        SETTINGS,
        "settings: {level: site,",
        "settings: {level: sites,",
    ),
    (SETTINGS, "settings: {sites: [S]}", "settings: [S]"),
    (
        SETTINGS,
        "settings: {sites: [S]}",
        "settings: {sites: {S: 1}}",
    ),
    // answers of the database
    (
        READ,
        "      sql: |\n        select",
        "      sql: |\n        update",
    ),
    (
        READ,
        "give: {item: stock.item, loc: stock.loc}}",
        "give: {item: stock.item, loc: stock.loc, lot: stock.lot}}",
    ),
    (
        READ,
        "columns: [item, loc, on_hand, reserved]",
        "columns: item",
    ),
    (READ, "      columns: [item, loc, on_hand, reserved]\n", ""),
    (READ, "on_hand: on_hand", "on_hand: read.onhand"),
    (
        READ,
        "{table: stock, give: {item: stock.item, loc: stock.loc}}",
        "{table: stocks, give: {item: stock.item, loc: stock.loc}}",
    ),
    (
        READ,
        "give: {loc: booking.loc, item: \"trim(booking.item)\"}",
        "give: {loc: booking.loc}",
    ),
    (READ, "give: {loc: booking.loc,", "give: {lco: booking.loc,"),
    (
        READ,
        "give: {item: stock.item, loc: stock.loc}}",
        "give: {\"item no\": stock.item, loc: stock.loc}}",
    ),
    (
        READ,
        "give: {item: stock.item, loc: stock.loc}}",
        "give: {item: booking.item, loc: stock.loc}}",
    ),
    (
        READ,
        "        - {table: stock, give: {item: stock.item, loc: stock.loc}}\n",
        "        - {table: stock}\n",
    ),
    (
        READ,
        "emit: inventory.availability.v1",
        "emit: inventory.movement.v1",
    ),
    (READ, "    read:\n", "    from: stock\n    read:\n"),
    (
        READ,
        "    key: {sku",
        "    join: {booking: {match: \"booking.item = read.item\", missing: hold}}\n    key: {sku",
    ),
    (READ, "time_max_ms: 2000", "time_max_ms: 20000000"),
    (
        READ,
        "          - {item: A, loc: \"01\", on_hand: \"5.50\"",
        "          - [A, \"01\"]\n          - {item: A, loc: \"01\", on_hand: \"5.50\"",
    ),
    // tests
    (JOINS, "    given:\n", "    givn:\n"),
    (
        JOINS,
        "      unit:  [{code: \"P\", kind",
        "      units: [{code: \"P\", kind",
    ),
    (
        JOINS,
        "      buyer: [{code: \"B\", blocked: 0}]\n",
        "      buyer: {code: B}\n",
    ),
    (JOINS, "    expect: []\n", ""),
];

/// What is said of each broken file, as a golden file; every edit must be refused.
fn refused(
    name: &str,
    golden_file: &str,
    edits: impl Iterator<Item = (&'static str, &'static str, &'static str)>,
) {
    let mut all = String::new();
    let mut loads = Vec::new();
    for (file, from, to) in edits {
        let broken = file.replacen(from, to, 1);
        assert_ne!(broken, file, "{from}");
        match Mapping::load(name, &broken) {
            Err(findings) => {
                writeln!(all, "### {from:?} -> {to:?}\n{}\n", said(&findings)).unwrap();
            }
            Ok(_) => loads.push((from, to)),
        }
    }
    assert!(loads.is_empty(), "these load: {loads:?}");
    golden(golden_file, all.trim_end());
}

#[test]
fn broken_files_are_refused_with_place_and_suggestion() {
    let edits = BROKEN.iter().map(|(from, to)| (SHOP, *from, *to));
    refused("shop.yaml", "broken_files.txt", edits);
}

#[test]
fn broken_files_of_several_tables_are_refused_with_place_and_suggestion() {
    refused(
        "erp.yaml",
        "broken_related.txt",
        BROKEN_RELATED.iter().copied(),
    );
}

#[test]
fn all_mistakes_of_a_file_are_said_at_once_in_file_order() {
    let broken = SHOP
        .replacen("trim: right", "trim: rihgt", 1)
        .replacen("from: item", "from: itme", 1)
        .replacen("name: item.name", "nmae: item.name", 1)
        .replacen("date: cyyddd", "date: julian", 1)
        .replacen("currency: {column: cur}", "currency: 3", 1);
    let findings = Mapping::load("shop.yaml", &broken).unwrap_err();
    let lines: Vec<usize> = findings
        .iter()
        .map(|finding| finding.place.as_ref().unwrap().line)
        .collect();
    assert_eq!(lines.len(), 6, "{}", said(&findings));
    assert!(lines.is_sorted());
}

/// What a site answers wrongly hides nothing, and what it changes of a table is no mistake of the
/// pack's.
#[test]
fn all_mistakes_of_a_site_file_are_said_at_once() {
    let site = "mapping: 1\nextends: shop.yaml\nsettings: {zone: Berlin}\n\
        tables: {item: {key: [number]}, move: {kye: [id]}}\n\
        events:\n  - {id: move, off: yes}\n  - {id: item, fields: {nmae: item.short}}\n";
    let context = LoadContext {
        company: Which::Only,
        catalogue: &Catalogue::default(),
        packs: &|name| Ok((name.to_owned(), SHOP.to_owned())),
    };
    let findings = Mapping::load_with("site.yaml", site, context).unwrap_err();
    assert_eq!(
        said(&findings),
        "site.yaml:3:12: settings: the pack asks for no setting `zone`\n\
         site.yaml:4:40: tables.move.kye: unknown key `kye`\n  hint: did you mean `key`?\n\
         site.yaml:6:21: events.off: expected true or false, found text\n  \
         hint: only true and false are truth values, without quotes\n\
         site.yaml:7:25: events[1].fields: unknown field `nmae`\n  hint: did you mean `name`?"
    );
    let site = "mapping: 1\nextends: shop.yaml\ntables: {item: {key: [number]}}\n\
        events: [{id: move, off: true}, {id: item, off: false}]\n";
    let mapping = Mapping::load_with("site.yaml", site, context).unwrap();
    let set = MappingSet::new(vec![mapping]).unwrap();
    assert_eq!(set.tables()[0].table.to_string(), "public.item");
    assert_eq!(set.tables()[0].key, ["number"]);
    assert!(set.rules().all(|rule| rule.id != "move"));
}
