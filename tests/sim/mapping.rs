//! The mappings of a simulation: bodies, keys and conditions that differ, and products made of one row or
//! of two.

use std::sync::{Arc, OnceLock};

use mappings::{Mapping, MappingSet};

const MAPPING: &str = r#"
mapping: 1
pack: sim
pack_version: "1"
source: postgres
company: ACME
tables:
  item: {name: item, key: [sku]}
  move: {name: move, key: [id]}
events:
  - id: item
    emit: product.v1
    from: item
    key: {sku: sku}
    fields: {name: name, stock_uom: "'EA'", kind: "'stocked'", status: "'active'"}
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: "'x'", location: "'x'", uom: "'EA'", quantity: qty}
  - id: stock
    emit: inventory.availability.v1
    from: item
    add:
      moved: {from: move, match: "move.sku = item.sku", sum: move.qty}
    key: {sku: item.sku, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: moved.sum, allocated: 0, active: true}
  - id: total
    emit: inventory.availability.v1
    from: move
    join:
      item: {match: "item.sku = move.sku", missing: leave_out}
    group: sum
    key: {sku: "'ALL'", location: "right(item.sku, 1)"}
    fields: {uom: "'EA'", on_hand: move.qty, allocated: 0, active: true}
"#;

/// Versions of the mapping, each of which may come in place of any other.
pub const VERSIONS: usize = 3;

/// One version, loaded once.
pub fn of_version(version: usize) -> Arc<MappingSet> {
    static LOADED: [OnceLock<Arc<MappingSet>>; VERSIONS] = [const { OnceLock::new() }; VERSIONS];
    let loaded = LOADED[version].get_or_init(|| {
        let mapping = Mapping::load("sim.yaml", &text(version)).unwrap();
        Arc::new(MappingSet::new(vec![mapping]).unwrap())
    });
    Arc::clone(loaded)
}

fn text(version: usize) -> String {
    let one = "    key: {sku: sku}\n    fields: {name: name, stock_uom";
    let other = match version {
        0 => return MAPPING.to_owned(),
        1 => {
            "    where: \"sku not like '%7'\"\n    key: {sku: \"'K' || sku\"}\n    \
             fields: {name: \"name || '+'\", stock_uom"
        }
        _ => {
            "    where: \"right(item.sku, 1) <> '8'\"\n    \
             join: {twin: {match: \"twin.sku = item.sku\", missing: hold}}\n    \
             key: {sku: item.sku}\n    fields: {name: \"twin.name || '+'\", stock_uom"
        }
    };
    let changed = MAPPING.replace(one, other);
    assert_ne!(changed, MAPPING);
    if version == 1 {
        return changed;
    }
    changed.replace("  move: {", "  twin: {name: item, key: [sku]}\n  move: {")
}
