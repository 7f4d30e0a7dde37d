//! What columns are commonly called, for a first draft of a mapping.

use contract::{ColumnInfo, TableInfo};

/// Columns that commonly mean a field, beside the field's own name. Only letters and digits are compared,
/// whatever their case: `itemno` is `ITEM_NO`, too.
const SYNONYMS: &[(&str, &[&str])] = &[
    (
        "sku",
        &[
            "item",
            "itemcode",
            "itemno",
            "itemnmbr",
            "itemid",
            "itemnumber",
            "article",
            "articleno",
            "artikel",
            "artikelnr",
            "artikelnummer",
            "artnr",
            "product",
            "productcode",
            "productno",
            "partno",
            "partnum",
        ],
    ),
    (
        "location",
        &[
            "warehouse",
            "warehousecode",
            "warehouseid",
            "whs",
            "whscode",
            "whse",
            "wh",
            "whcode",
            "loc",
            "locncode",
            "loccode",
            "site",
            "sitecode",
            "locationid",
            "locationcode",
            "store",
            "depot",
            "branch",
            "lager",
            "lagerort",
            "lagernr",
        ],
    ),
    (
        "on_hand",
        &[
            "qtyonhand",
            "qtyonhnd",
            "quantityonhand",
            "onhandqty",
            "actualqty",
            "instock",
            "unitsinstock",
            "stockqty",
            "qty",
            "quantity",
            "bestand",
            "lagerbestand",
            "menge",
        ],
    ),
    (
        "allocated",
        &[
            "atyalloc",
            "qtyallocated",
            "qtyalloc",
            "allocatedqty",
            "iscommited",
            "reserved",
            "reservedqty",
            "reservedquantity",
            "qtyreserved",
            "committed",
            "qtycommitted",
            "committedqty",
            "reserviert",
        ],
    ),
    ("safety_stock", &["safety", "minstock", "sftystckqty"]),
    (
        "on_order",
        &["qtyonord", "qtyonorder", "orderedqty", "unitsonorder"],
    ),
    (
        "uom",
        &[
            "unit",
            "baseunit",
            "stockuom",
            "unitofmeasure",
            "einheit",
            "mengeneinheit",
        ],
    ),
    ("stock_uom", &["unit", "baseunit", "uom", "einheit"]),
    (
        "name",
        &[
            "itemname",
            "description",
            "itemdesc",
            "descr",
            "productname",
            "custname",
            "bezeichnung",
        ],
    ),
    ("order_id", &["id", "docentry", "orderno", "sopnumbe"]),
    ("order_number", &["number", "docnum", "orderno", "sopnumbe"]),
    (
        "customer_id",
        &[
            "customer",
            "cardcode",
            "custnmbr",
            "customerno",
            "partnerid",
            "kunde",
            "kundennr",
        ],
    ),
    (
        "ordered_on",
        &["orderdate", "docdate", "transactiondate", "dateorder"],
    ),
    ("movement_id", &["id", "name", "entryno"]),
];

fn letters(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// A column whose name says that it is the field: the field's own name, or one commonly used.
pub(super) fn column_for<'i>(info: &'i TableInfo, field: &str) -> Option<&'i ColumnInfo> {
    let synonyms = SYNONYMS.iter().find(|(known, _)| *known == field);
    let mut wanted = [field]
        .into_iter()
        .chain(synonyms.map_or(&[][..], |(_, names)| names).iter().copied());
    wanted.find_map(|name| {
        let mut columns = info.columns.iter();
        columns.find(|column| letters(&column.name) == letters(name))
    })
}

#[cfg(test)]
mod tests {
    use contract::{ColumnKind, TableName};

    use super::*;

    fn table(columns: &[&str]) -> TableInfo {
        let column = |name: &&str| ColumnInfo {
            name: (*name).to_owned(),
            kind: ColumnKind::Text,
            nullable: false,
            declared: String::new(),
        };
        TableInfo {
            table: TableName::new("public", "stock"),
            columns: columns.iter().map(column).collect(),
            key: Vec::new(),
            rows: None,
        }
    }

    #[test]
    fn columns_are_known_by_what_erps_call_them() {
        let fields = ["sku", "location", "on_hand", "allocated"];
        for (columns, expected) in [
            (
                ["ITEM_NO", "WHS", "QTY_ON_HAND", "QTY_COMMITTED"],
                [true; 4],
            ),
            (["artikel", "lager", "menge", "reserviert"], [true; 4]),
            (["sku", "location", "on_hand", "allocated"], [true; 4]),
            (["a", "b", "c", "reserved"], [false, false, false, true]),
        ] {
            let info = table(&columns);
            for ((field, column), expected) in fields.iter().zip(columns).zip(expected) {
                let found = column_for(&info, field).map(|found| found.name.as_str());
                assert_eq!(found, expected.then_some(column), "{field}");
            }
        }
        // The field's own name goes before others.
        let info = table(&["item", "sku"]);
        assert_eq!(
            column_for(&info, "sku").map(|one| one.name.as_str()),
            Some("sku")
        );
    }
}
