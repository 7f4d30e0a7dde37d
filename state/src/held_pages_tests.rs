//! However much is held, a page of it costs what it shows.
#![allow(clippy::unwrap_used, reason = "tests")]

use rusqlite::StatementStatus;

use super::*;

/// What each of two destinations holds.
const HELD: i64 = 5_000;

/// `shop` and `erp2` each hold so many: every tenth by a guard, one as ambiguous without a word, the others refused.
fn open() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let db = crate::folder::open_writer(folder.path()).unwrap();
    db.execute_batch(&format!(
        "INSERT INTO source (name) VALUES ('erp');
         INSERT INTO destination (name) VALUES ('shop'), ('erp2');
         INSERT INTO outbox (source, event_id, event_type, key, op, idempotency_key, tenant, occurred_at, created_at,
             digest, json)
           WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {HELD})
           SELECT 1, 'evt_' || n, 'product.v1', 'ACME|' || n, 'upsert', 'k' || n, 'acme', 0, 0, '', '{{}}' FROM n;
         INSERT INTO delivery (destination, offset, lane, state, tombstone, held_cause, updated_at)
           SELECT d.id, o.offset, o.offset, 'held', 0,
             CASE WHEN o.offset = 7 THEN NULL WHEN o.offset % 10 = 0 THEN 'guard' ELSE 'rejected' END, 0
           FROM outbox o, destination d;
         INSERT INTO held (source, rule, event_type, table_name, row_key, position, reason, row_json, held_at)
           VALUES (1, 'r', 'product.v1', 'items', '1', '', 'why', '{{}}', 0),
             (1, 'r', 'product.v1', 'items', '2', '', 'why', '{{}}', 0);"
    ))
    .unwrap();
    (folder, db)
}

fn ids(db: &Connection, which: &HeldFilter, most: usize, enough: usize) -> (Vec<String>, bool) {
    let mut ids = Vec::new();
    let all = walk(db, which, most, |entry| {
        ids.push(entry.id);
        ids.len() < enough
    });
    (ids, all.unwrap())
}

fn of(by: &str, cause: Option<&str>) -> HeldFilter {
    HeldFilter {
        by: Some(by.to_owned()),
        cause: cause.map(str::to_owned),
        ..HeldFilter::default()
    }
}

#[test]
fn all_are_gone_through_in_order_page_by_page() {
    let (_folder, db) = open();
    let all = |which: &HeldFilter| ids(&db, which, usize::MAX, usize::MAX);
    let (found, whole) = all(&HeldFilter::default());
    assert!(whole && found.len() == 2 + 2 * 5_000, "{}", found.len());
    assert_eq!(found[..3], ["1", "2", "erp2/1"]);
    let expected: Vec<String> = (1..=HELD).map(|n| format!("shop/{n}")).collect();
    assert_eq!(found[2 + 5_000..], expected);
    assert_eq!(all(&of("shop", None)).0, expected);
    assert_eq!(all(&of("shop", Some("guard"))).0.len(), 500);
    assert_eq!(all(&of("shop", Some("ambiguous"))).0, ["shop/7"]);
    assert_eq!(all(&of("mapping", None)).0, ["1", "2"]);
    assert_eq!(all(&of("shop", Some("mapping"))).0, Vec::<String>::new());
}

#[test]
fn a_list_may_be_bounded_and_says_so() {
    let (_folder, db) = open();
    let (found, whole) = ids(&db, &of("shop", None), 1_000, usize::MAX);
    assert_eq!((found.len(), whole), (1_000, false));
    // It was enough before.
    let (found, whole) = ids(&db, &of("shop", None), 1_000, 3);
    assert_eq!((found.len(), whole), (3, true));
    let (found, whole) = ids(&db, &of("mapping", None), 2, usize::MAX);
    assert_eq!((found.len(), whole), (2, true));
    // What does not fit is looked at as well.
    let key = HeldFilter {
        key: Some("4000".to_owned()),
        ..of("shop", None)
    };
    assert_eq!(ids(&db, &key, 1_000, usize::MAX), (vec![], false));
    assert_eq!(ids(&db, &key, 5_000, usize::MAX).0, ["shop/4000"]);
}

#[test]
fn what_is_named_is_looked_up() {
    let (_folder, db) = open();
    let named = |names: &[&str]| HeldFilter {
        ids: names.iter().map(|name| (*name).to_owned()).collect(),
        ..HeldFilter::default()
    };
    let which = named(&["shop/9", "2", "shop/9", "none/1", "shop/x", "99", "erp2/4"]);
    assert_eq!(
        ids(&db, &which, 0, usize::MAX),
        (["2", "erp2/4", "shop/9"].map(str::to_owned).to_vec(), true)
    );
}

/// Without the two indexes SQLite sorts all that is held for each page of it.
#[test]
fn a_page_is_read_through_its_index_and_costs_what_it_shows() {
    let (_folder, db) = open();
    for (of_a_cause, index) in [(false, "delivery_held"), (true, "delivery_held_cause")] {
        let sql = sql(of_a_cause);
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = rusqlite::params_from_iter(vec![None::<i64>; plan.parameter_count()]);
        let steps = plan.query_map(nothing, |row| row.get::<_, String>(3));
        let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
        let wanted = format!("SEARCH d USING INDEX {index} (");
        assert!(steps[0].starts_with(&wanted), "{steps:?}");
        let bounded = "offset>? AND offset<?)";
        assert!(steps[0].ends_with(bounded), "{steps:?}");
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );

        let mut query = db.prepare(&sql).unwrap();
        let mut read = |after: i64, most: i64| {
            let mut values = vec![
                rusqlite::types::Value::from(2_i64),
                after.into(),
                i64::MAX.into(),
                most.into(),
            ];
            if of_a_cause {
                values.push("rejected".to_owned().into());
            }
            query.reset_status(StatementStatus::VmStep);
            let rows = query.query_map(rusqlite::params_from_iter(values), |row| {
                row.get::<_, i64>(1)
            });
            let count = rows.unwrap().count();
            assert_eq!(query.get_status(StatementStatus::Sort), 0);
            (count, query.get_status(StatementStatus::VmStep))
        };
        let (first, last) = (read(-1, 10), read(HELD - 100, 10));
        assert_eq!((first.0, last.0), (10, 10));
        assert!(first.1 < 500 && last.1 < 500, "{first:?} {last:?}");
    }
}

#[test]
fn counts_are_read_from_the_index_alone() {
    let (folder, db) = open();
    let sql = crate::held::COUNTS;
    let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = plan.query_map([1], |row| row.get::<_, String>(3));
    let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
    let covered = |step: &String| step.contains("USING COVERING INDEX delivery_held_cause");
    assert!(steps.iter().any(covered), "{steps:?}");
    assert!(
        !steps.iter().any(|step| step.contains("TEMP B-TREE")),
        "{steps:?}"
    );
    let reader = crate::StateReader::open(folder.path()).unwrap();
    let counts = reader.held_counts().unwrap();
    let of_shop: Vec<(&str, u64)> = counts
        .iter()
        .filter(|count| count.by == "shop")
        .map(|count| (count.cause.as_str(), count.count))
        .collect();
    let expected = [("ambiguous", 1), ("guard", 500), ("rejected", 4_499)];
    assert_eq!(of_shop, expected);
}
