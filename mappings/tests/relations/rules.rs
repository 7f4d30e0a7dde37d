//! Random rules, as a mapping file and as the SQL that says the same.

use std::fmt::Write as _;

use proptest::prelude::*;

/// The tables: name, columns with their kind (`i` number, `t` text), and how many are the key.
pub(crate) const TABLES: &[(&str, &[(&str, char)], usize)] = &[
    (
        "stock",
        &[
            ("id", 'i'),
            ("item", 't'),
            ("loc", 't'),
            ("qty", 'i'),
            ("flag", 'i'),
            ("gone", 'i'),
        ],
        1,
    ),
    (
        "item",
        &[
            ("code", 't'),
            ("uomset", 't'),
            ("active", 'i'),
            ("zone", 't'),
        ],
        1,
    ),
    ("uom", &[("id", 't'), ("base", 't')], 1),
    (
        "need",
        &[
            ("id", 'i'),
            ("item", 't'),
            ("loc", 't'),
            ("kind", 'i'),
            ("qty", 'i'),
        ],
        1,
    ),
    ("head", &[("id", 'i'), ("cust", 't'), ("state", 'i')], 1),
    (
        "line",
        &[
            ("doc", 'i'),
            ("no", 'i'),
            ("item", 't'),
            ("qty", 'i'),
            ("done", 'i'),
        ],
        2,
    ),
    ("oldhead", &[("id", 'i'), ("cust", 't'), ("state", 'i')], 1),
    (
        "oldline",
        &[
            ("doc", 'i'),
            ("no", 'i'),
            ("item", 't'),
            ("qty", 'i'),
            ("done", 'i'),
        ],
        2,
    ),
    ("cust", &[("code", 't'), ("name", 't')], 1),
];

/// What differs between cases.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) item_missing: usize,
    pub(crate) with_uom: bool,
    pub(crate) with_need: bool,
    pub(crate) need_kind: bool,
    pub(crate) need_join: bool,
    pub(crate) grouped: bool,
    pub(crate) by_zone: bool,
    pub(crate) flag_filter: bool,
    pub(crate) active_filter: bool,
    pub(crate) gone: bool,
    pub(crate) history: bool,
    pub(crate) cust_missing: usize,
    pub(crate) line_filter: bool,
    /// Matches have conditions on their own rows.
    pub(crate) narrow: bool,
}

pub(crate) const MISSING: [&str; 3] = ["hold", "null", "leave_out"];

impl Shape {
    /// The zone of a missing item is none; where it must be there, the key would be unknown.
    pub(crate) fn by_zone(&self) -> bool {
        self.by_zone && self.item_missing != 0
    }

    pub(crate) fn file(&self) -> String {
        let mut tables = String::new();
        for (name, columns, key) in TABLES {
            let key: Vec<&str> = columns[..*key].iter().map(|(name, _)| *name).collect();
            writeln!(
                tables,
                "  {name}: {{name: {name}, key: [{}]}}",
                key.join(", ")
            )
            .unwrap();
        }
        let narrow = |condition: &str| {
            if self.narrow {
                format!(" and {condition}")
            } else {
                String::new()
            }
        };
        let mut joins = format!(
            "      item: {{match: \"item.code = stock.item{}\", missing: {}}}\n",
            narrow("item.zone <> 'D'"),
            MISSING[self.item_missing]
        );
        let mut uom = "'EA'".to_owned();
        if self.with_uom && !self.grouped {
            joins.push_str("      uom: {match: \"uom.id = item.uomset\", missing: null}\n");
            uom = "coalesce(uom.base, 'EA')".to_owned();
        }
        let mut filters = Vec::new();
        if self.flag_filter {
            filters.push("stock.flag = 1");
        }
        if self.active_filter {
            filters.push("item.active = 1");
        }
        let mut blocks = String::new();
        if !filters.is_empty() {
            writeln!(blocks, "    where: \"{}\"", filters.join(" and ")).unwrap();
        }
        if self.gone {
            blocks.push_str("    deleted_when: \"stock.gone = 1\"\n");
        }
        if self.grouped {
            blocks.push_str("    group: sum\n");
        }
        let mut allocated = "0".to_owned();
        let mut on_order = String::new();
        if self.with_need {
            blocks.push_str("    add:\n      soft:\n        from: need\n");
            writeln!(
                blocks,
                "        match: \"need.item = stock.item and stock.loc = need.loc{}\"",
                narrow("need.qty > 0")
            )
            .unwrap();
            if self.need_join {
                blocks.push_str(
                    "        join: {cust: {match: \"cust.code = need.item\", missing: leave_out}}\n",
                );
            }
            if self.need_kind {
                blocks.push_str("        where: \"need.kind = 1\"\n");
            }
            blocks.push_str("        sum: \"need.qty * 2\"\n");
            allocated = "\"soft.sum\"".to_owned();
            on_order = "      on_order: \"soft.count\"\n".to_owned();
        }
        let location = if self.by_zone() {
            "coalesce(item.zone, 'none')"
        } else {
            "coalesce(stock.loc, 'none')"
        };
        let history = if self.history {
            "    also_in: {head: oldhead, line: oldline}\n"
        } else {
            ""
        };
        let archived = if self.history {
            ""
        } else {
            "      archived: false\n"
        };
        let line_filter = if self.line_filter {
            "      where: \"line.item is not null\"\n"
        } else {
            ""
        };
        let line_narrow = narrow("line.qty > 0");
        let sku = "coalesce(line.item, '-')";
        let cust_missing = MISSING[self.cust_missing];
        format!(
            r#"
mapping: 1
pack: property
pack_version: "1"
company: C
tables:
{tables}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    join:
{joins}{blocks}
    key: {{sku: "coalesce(stock.item, 'none')", location: "{location}"}}
    fields:
      uom: "{uom}"
      on_hand: "stock.qty"
      allocated: {allocated}
{on_order}
      active: "stock.flag = 1"
      backordered: "on_hand - allocated"
  - id: set
    emit: product.v1
    from: item
    where: "item.active < 3"
    deleted_when: "item.active = 2"
    key: {{sku: "coalesce(item.uomset, 'none')"}}
    fields: {{name: item.zone, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}}
  - id: order
    emit: order.v1
    from: head
{history}
    join:
      cust: {{match: "cust.code = head.cust", missing: {cust_missing}}}
    lines:
      from: line
      match: "line.doc = head.id{line_narrow}"
      order_by: ["line.qty desc", line.no]
{line_filter}
      join:
        item: {{match: "item.code = line.item", missing: null}}
      fields:
        line_id: "line.no"
        sku: "{sku}"
        location: "item.zone"
        uom: "'EA'"
        qty_ordered: "line.qty"
        qty_shipped: "line.done"
        qty_cancelled: 0
        qty_open: "qty_ordered - qty_shipped"
        status: "case when qty_open = 0 then 'shipped' else 'open' end"
    key: {{order_id: "head.id"}}
    fields:
      order_number: "head.id"
      document_kind: "'order'"
      customer_id: "coalesce(cust.name, 'unknown')"
      ordered_on: "date '2026-11-20'"
      lifecycle: "case when head.state = 1 then 'open' else 'closed' end"
      fulfillment: "case when count_lines() = 0 then 'none' when sum_lines(qty_open) = 0 then 'shipped' else 'partial' end"
      has_backorder: "any_lines(qty_open > 0)"
      source_status: "head.state"
{archived}
"#
        )
    }

    /// Rows of the stock rule: what each means, and its key and values.
    pub(crate) fn stock_sql(&self) -> String {
        let mut filter = vec!["1".to_owned()];
        if self.flag_filter {
            filter.push("s.flag = 1".to_owned());
        }
        if self.active_filter {
            filter.push("i.active = 1".to_owned());
        }
        let (item_narrow, need_narrow) = if self.narrow {
            ("and i.zone <> 'D'", "and n.qty > 0")
        } else {
            ("", "")
        };
        let need = if self.with_need {
            let kind = if self.need_kind { "and n.kind = 1" } else { "" };
            let join = if self.need_join {
                "join cust c on c.code = n.item"
            } else {
                ""
            };
            format!(
                "select coalesce(sum(n.qty * 2), 0) as total, count(*) as number from need n {join}
                 where n.item = s.item and n.loc = s.loc {kind} {need_narrow}"
            )
        } else {
            "select 0 as total, null as number".to_owned()
        };
        let uom = if self.with_uom && !self.grouped {
            "coalesce(u.base, 'EA')"
        } else {
            "'EA'"
        };
        let location = if self.by_zone() {
            "coalesce(i.zone, 'none')"
        } else {
            "coalesce(s.loc, 'none')"
        };
        format!(
            "select s.id, coalesce(s.item, 'none'), {location}, {uom}, s.qty,
               (select total from ({need})), (select number from ({need})), s.flag = 1,
               i.code is null, {} , coalesce(s.gone = 1, 0)
             from stock s left join item i on i.code = s.item {item_narrow} left join uom u on u.id = i.uomset
             order by s.id",
            filter.join(" and ")
        )
    }
}

pub(crate) fn shape_of() -> impl Strategy<Value = Shape> {
    (
        (
            0..3_usize,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (0..3_usize, any::<bool>(), any::<bool>()),
    )
        .prop_map(|(a, b, c)| Shape {
            item_missing: a.0,
            with_uom: a.1,
            with_need: a.2,
            need_kind: a.3,
            need_join: a.4,
            grouped: a.5,
            by_zone: b.0,
            flag_filter: b.1,
            active_filter: b.2,
            gone: b.3,
            history: b.4,
            cust_missing: c.0,
            line_filter: c.1,
            narrow: c.2,
        })
}
