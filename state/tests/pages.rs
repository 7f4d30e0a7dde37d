//! What was published, read by key and a page at a time.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;

use contract::{EventKey, EventType};
use proptest::prelude::*;
use rusqlite::{Connection, params};
use state::{PageLimits, PublishedPlace, StateReader, Store, file_path};

const STOCK: EventType = EventType::InventoryAvailability;
/// Parts whose order and ends are easily mistaken.
const PARTS: [&str; 8] = ["A", "A|", "A}", "A-", "\\", "B", "", "ä"];

type Key = (usize, [usize; 3]);

fn text(parts: [usize; 3]) -> String {
    let names = STOCK.schema().key.iter().copied();
    let parts = parts.map(|at| PARTS[at].to_owned());
    EventKey::new(names.zip(parts).collect()).text()
}

/// A state file in which these keys of two sources are published; some have ended.
fn published(keys: &BTreeSet<Key>, ended: &BTreeSet<Key>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let db = Connection::open(file_path(folder.path())).unwrap();
    // The names' order is not that of the numbers.
    db.execute_batch("BEGIN; INSERT INTO source (id, name) VALUES (1, 'wms'), (2, 'erp')")
        .unwrap();
    for key in keys {
        let (source, parts) = *key;
        for event_type in [STOCK, EventType::Product] {
            db.execute(
                "INSERT INTO published (source, event_type, key, rule, version, digest, body)
                 VALUES (?1, ?2, ?3, 'r', '0000000001/0000000000000001/0000000000', 'd', ?4)",
                params![
                    i64::try_from(source + 1).unwrap(),
                    event_type.name(),
                    text(parts),
                    (!ended.contains(key)).then_some("{\"uom\":\"EA\"}")
                ],
            )
            .unwrap();
        }
    }
    db.execute_batch("COMMIT").unwrap();
    folder
}

/// All pages, one after the other.
fn walked(
    reader: &StateReader,
    wanted: &[Option<String>],
    limits: PageLimits,
) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut place: Option<PublishedPlace> = None;
    for _ in 0..10_000 {
        let page = reader
            .published_page(STOCK, wanted, place.as_ref(), limits)
            .unwrap();
        assert!(page.states.len() <= limits.states);
        all.extend(
            page.states
                .iter()
                .map(|one| (one.source.clone(), one.key.text())),
        );
        match page.next {
            None => return all,
            Some(next) => {
                let behind =
                    place.is_none_or(|last| (&last.source, &last.key) < (&next.source, &next.key));
                assert!(behind, "a page goes on");
                place = Some(next);
            }
        }
    }
    unreachable!("the pages do not end");
}

fn key() -> impl Strategy<Value = Key> {
    (0..2_usize, [0..PARTS.len(), 0..PARTS.len(), 0..PARTS.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However keys, filters and limits are, pages together hold each key that fits, once and in order.
    #[test]
    fn pages_hold_what_fits_once_and_in_order(
        keys in prop::collection::btree_set(key(), 0..60),
        ended in prop::collection::btree_set(key(), 0..20),
        filters in prop::collection::vec(
            [prop::option::of(0..PARTS.len()), prop::option::of(0..PARTS.len()), prop::option::of(0..PARTS.len())],
            12,
        ),
        states in 1..6_usize,
        rows in 1..12_usize,
    ) {
        let folder = published(&keys, &ended);
        let reader = StateReader::open(folder.path()).unwrap();
        for filter in filters {
            let wanted: Vec<Option<String>> =
                filter.iter().map(|part| part.map(|at| PARTS[at].to_owned())).collect();
            let limits = PageLimits { states, bytes: 1 << 20, rows };
            let found = walked(&reader, &wanted, limits);
            let fits = |parts: &[usize; 3]| {
                filter.iter().zip(parts).all(|(wanted, part)| {
                    wanted.is_none_or(|wanted| wanted == *part)
                })
            };
            let mut expected: Vec<(String, String)> = keys
                .iter()
                .filter(|key| !ended.contains(*key) && fits(&key.1))
                .map(|(source, parts)| (["wms", "erp"][*source].to_owned(), text(*parts)))
                .collect();
            expected.sort();
            prop_assert_eq!(found, expected, "{:?} by {} of {} rows", filter, states, rows);
        }
    }
}

#[test]
fn a_page_ends_when_its_bodies_are_many_bytes_and_places_need_not_exist() {
    let keys: BTreeSet<Key> = (0..8).map(|at| (1, [0, at, 0])).collect();
    let folder = published(&keys, &BTreeSet::new());
    let reader = StateReader::open(folder.path()).unwrap();
    let limits = PageLimits {
        states: 100,
        bytes: 25,
        rows: 100,
    };
    let page = |place: Option<(&str, &str)>| {
        let place = place.map(|(source, key)| PublishedPlace {
            source: source.to_owned(),
            key: key.to_owned(),
        });
        let found = reader.published_page(STOCK, &[None, None, None], place.as_ref(), limits);
        found.unwrap()
    };
    assert_eq!(page(None).states.len(), 3, "of 12 bytes each");
    assert_eq!(page(Some(("", ""))).states.len(), 3);
    assert_eq!(page(Some(("erp", "A|B"))).states[0].key.fields()[1].1, "B");
    for behind in [("erp", "\u{10FFFF}"), ("f", "")] {
        let page = page(Some(behind));
        assert!(page.states.is_empty() && page.next.is_none(), "{behind:?}");
    }
    let all = walked(&reader, &[None, None, None], limits);
    assert_eq!(all.len(), 8);
}
