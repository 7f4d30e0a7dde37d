//! `product.v1`: an item.

use super::{BodySchema, FieldType, may, must};

static GTIN: BodySchema = BodySchema {
    name: "gtin",
    minor: 0,
    key: &[],
    fields: &[
        must(
            "gtin",
            FieldType::Text,
            "GS1 number (GTIN, EAN, UPC), digits only",
        ),
        may(
            "uom",
            FieldType::Text,
            "unit the number stands for, as the ERP calls it; the stocking unit if left out",
        ),
        may(
            "qty",
            FieldType::Decimal,
            "how much the number stands for, in `stock_uom`",
        ),
    ],
};

static UOM: BodySchema = BodySchema {
    name: "unit",
    minor: 0,
    key: &[],
    fields: &[
        must("uom", FieldType::Text, "unit, as the ERP calls it"),
        must(
            "factor_num",
            FieldType::Decimal,
            "numerator of the exact fraction: one `uom` is `factor_num` / `factor_den` of \
             `stock_uom`",
        ),
        must(
            "factor_den",
            FieldType::Decimal,
            "denominator of the exact fraction, above zero",
        ),
        may(
            "sell",
            FieldType::Bool,
            "whether the item is sold in this unit",
        ),
        may(
            "buy",
            FieldType::Bool,
            "whether the item is bought in this unit",
        ),
    ],
};

static KIT_COMPONENT: BodySchema = BodySchema {
    name: "kit component",
    minor: 0,
    key: &[],
    fields: &[
        must("sku", FieldType::Text, "item inside the kit"),
        must(
            "qty",
            FieldType::Decimal,
            "how much of it is in one kit, in the component's own `stock_uom`",
        ),
    ],
};

static DIMENSIONS: BodySchema = BodySchema {
    name: "dimensions",
    minor: 0,
    key: &[],
    fields: &[
        may("length", FieldType::Decimal, "length, in `unit`"),
        may("width", FieldType::Decimal, "width, in `unit`"),
        may("height", FieldType::Decimal, "height, in `unit`"),
        must(
            "unit",
            FieldType::Text,
            "unit of length of the three, such as `mm` or `in`",
        ),
    ],
};

/// The fields.
pub static SCHEMA: BodySchema = BodySchema {
    name: "product.v1",
    minor: 0,
    key: &["company", "sku"],
    fields: &[
        must(
            "name",
            FieldType::Text,
            "name in the company's main language",
        ),
        may(
            "description",
            FieldType::Text,
            "longer description in the company's main language",
        ),
        may(
            "names",
            FieldType::Map,
            "names in other languages: language code (BCP 47, such as `de` or `pt-BR`) to name",
        ),
        may("brand", FieldType::Text, "brand"),
        may(
            "category_path",
            FieldType::Text,
            "place in the tree of product groups, from the top down",
        ),
        may(
            "manufacturer_part_no",
            FieldType::Text,
            "the maker's own number of the item",
        ),
        may(
            "gtins",
            FieldType::List(&GTIN),
            "GS1 numbers, one for each unit or packing level",
        ),
        must(
            "stock_uom",
            FieldType::Text,
            "stocking unit, as the ERP calls it: the unit of every stock quantity of this item",
        ),
        may(
            "uoms",
            FieldType::List(&UOM),
            "other units with their exact fraction to `stock_uom`",
        ),
        must(
            "kind",
            FieldType::Word(&["stocked", "non_stock", "kit", "service", "charge"]),
            "what it is: kept in stock, bought or made when ordered, made up of other items \
             when sold, work, or a fee",
        ),
        may(
            "kit_components",
            FieldType::List(&KIT_COMPONENT),
            "what one kit is made of, where `kind` is `kit`",
        ),
        may(
            "variant_of",
            FieldType::Text,
            "`sku` of the parent item this one is a variant of",
        ),
        may(
            "attributes",
            FieldType::Map,
            "attributes, such as those that tell variants apart: name to value, such as \
             `colour` to `red`",
        ),
        may(
            "lot_tracked",
            FieldType::Bool,
            "whether stock is kept by lot or batch",
        ),
        may(
            "serial_tracked",
            FieldType::Bool,
            "whether stock is kept by serial number",
        ),
        may(
            "hazardous",
            FieldType::Bool,
            "whether it counts as dangerous goods",
        ),
        may(
            "weight",
            FieldType::Decimal,
            "weight of one `stock_uom`, in `weight_unit`",
        ),
        may(
            "weight_unit",
            FieldType::Text,
            "unit of `weight`, such as `kg` or `lb`; always there when `weight` is",
        ),
        may(
            "dimensions",
            FieldType::Object(&DIMENSIONS),
            "outer dimensions of one `stock_uom`",
        ),
        must(
            "status",
            FieldType::Word(&[
                "active",
                "no_new_sales",
                "discontinued",
                "blocked",
                "deleted",
            ]),
            "whether it may be sold: yes, only what is left of it, not again, not now, or gone \
             from the ERP",
        ),
        may(
            "replaced_by",
            FieldType::Texts,
            "`sku` of each item that takes its place",
        ),
        may(
            "min_order_qty",
            FieldType::Decimal,
            "least quantity of an order, in `stock_uom`",
        ),
        may(
            "order_multiple",
            FieldType::Decimal,
            "orders come in multiples of this quantity, in `stock_uom`",
        ),
        may(
            "custom",
            FieldType::Map,
            "further fields of the source that the mapping shows, under names it gives",
        ),
    ],
};
