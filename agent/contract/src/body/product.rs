//! `product.v1`: an item.

use super::{BodySchema, FieldType, may, must};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "product.v1",
    minor: 0,
    key: &["company", "sku"],
    fields: &[
        must("name", FieldType::Text, "name"),
        may("description", FieldType::Text, "description"),
        may("brand", FieldType::Text, "brand"),
        may("category_path", FieldType::Text, "category"),
        may("manufacturer_part_no", FieldType::Text, "maker's number"),
        must("stock_uom", FieldType::Text, "stocking unit"),
        must(
            "kind",
            FieldType::Word(&["stocked", "non_stock", "kit", "service", "charge"]),
            "what it is",
        ),
        may("variant_of", FieldType::Text, "parent item"),
        may("lot_tracked", FieldType::Bool, "tracked by lot"),
        may(
            "serial_tracked",
            FieldType::Bool,
            "tracked by serial number",
        ),
        may("hazardous", FieldType::Bool, "hazardous"),
        may("weight", FieldType::Decimal, "weight in weight_unit"),
        may("weight_unit", FieldType::Text, "unit of weight"),
        must(
            "status",
            FieldType::Word(&[
                "active",
                "no_new_sales",
                "discontinued",
                "blocked",
                "deleted",
            ]),
            "whether it may be sold",
        ),
        may("min_order_qty", FieldType::Decimal, "least order quantity"),
        may(
            "order_multiple",
            FieldType::Decimal,
            "order in multiples of",
        ),
    ],
};
