//! Logs of MySQL 8, recorded by others. What they show was never seen on a live server here: the
//! expectations are the statements in the logs themselves.

use contract::SourceError;

use super::event::Event;
use super::golden::{events, file, listed, rows};
use super::table_map::TableMap;
use crate::column::{Column, Kind};

/// Columns of these kinds.
fn columns(kinds: &[Kind]) -> impl Fn(&TableMap) -> Vec<Column> {
    let column = |kind: &Kind| Column {
        name: "c".to_owned(),
        kind: kind.clone(),
        nullable: true,
        declared: String::new(),
    };
    let columns: Vec<_> = kinds.iter().map(column).collect();
    move |_| columns.clone()
}

fn described(map: &TableMap) -> Vec<Column> {
    map.described(&crate::charset::Charsets::default()).unwrap()
}

const INT: Kind = Kind::Int { unsigned: false };
const TEXT: Kind = Kind::Text { collation: 255 };

#[test]
fn transactions_and_their_sets() {
    let all = |log: &str| events(&file(log)).into_iter().map(|event| event.unwrap().1);
    let sets: Vec<_> = [
        "mysql-binlog_transaction_with_GTID_TAG.000001",
        "mysql-binlog_transaction_previous_GTID_no_tag.000001",
    ]
    .into_iter()
    .flat_map(all)
    .filter_map(|event| match event {
        Event::PreviousGtids(set) => Some(set.to_string()),
        _ => None,
    })
    .collect();
    assert_eq!(
        sets,
        [
            "55778904-0299-11f1-b1b8-4ef0c4956feb:1-13,\
             55778904-0299-11f1-b1b8-4ef0c4956feb:mytag:1-2",
            "b9b88c66-0755-11f1-9899-4a9da94c4d71:1-2",
        ]
    );
    let gtids = |log: &str| -> Vec<String> {
        all(log)
            .filter_map(|event| match event {
                Event::MysqlGtid(gtid) => Some(gtid.gtid.map_or_else(
                    || "anonymous".to_owned(),
                    |(origin, number)| format!("{origin}:{number}"),
                )),
                _ => None,
            })
            .collect()
    };
    assert_eq!(
        gtids("mysql-binlog_transaction_with_GTID_TAG.000001"),
        ["55778904-0299-11f1-b1b8-4ef0c4956feb:mytag:3"]
    );
    assert_eq!(
        gtids("mysql-type-bit.000001"),
        [1, 2, 3].map(|number| format!("fbda2ad0-7c46-11ec-ae30-4ef7efc81a2a:{number}"))
    );
    assert_eq!(gtids("mysql-time_issue.000001"), ["anonymous"]);
}

#[test]
fn a_compressed_transaction_is_unpacked() {
    let log = "mysql-transaction_compression.000001";
    assert_eq!(listed(log, &columns(&[INT])), "Write - -> 1\n");
    let kinds: Vec<_> = events(&file(log))
        .into_iter()
        .map(|event| event.unwrap().0.header.kind)
        .collect();
    assert_eq!(kinds, [15, 35, 34, 40, 2, 19, 30, 16, 4]);
}

#[test]
fn json_with_values_of_the_databases_own_types() {
    assert_eq!(
        listed("mysql-json-opaque.binlog", &described),
        r#"Write - -> {"a": "base64:type15:VQ=="}
Write - -> {"b": "2012-03-18"}
Write - -> {"c": "2012-03-18 11:30:45.000000"}
Write - -> {"c": "87:31:46.654321"}
Write - -> {"d": 123.456}
Write - -> {"e": 9.00}
Write - -> {"e": [0, 1, true, false]}
Write - -> {"e": null}
"#
    );
}

#[test]
fn json_told_by_what_changed_is_refused() {
    let log = file("mysql-json.binlog.000001");
    let kinds = columns(&[INT, Kind::Json, TEXT, INT]);
    let error = rows(&log, &kinds).unwrap_err();
    let SourceError::Denied { what, hint } = error else {
        panic!("{error}")
    };
    for part in ["type 39", "row 1", ", table ", "binlog_row_value_options"] {
        assert!(what.contains(part), "{what}");
    }
    assert!(
        hint.contains("SET GLOBAL binlog_row_value_options = ''"),
        "{hint}"
    );
    // Everything before it is read.
    let partial = events(&log)
        .into_iter()
        .position(|event| event.unwrap().0.header.kind == 39);
    let size: usize = 4 + events(&log)
        .iter()
        .take(partial.unwrap())
        .map(|event| usize::try_from(event.as_ref().unwrap().0.header.size).unwrap())
        .sum::<usize>();
    let found = rows(&log[..size], &kinds).unwrap();
    let last = found.last().unwrap().2.after.as_ref().unwrap();
    let cells: Vec<_> = last.iter().map(|cell| cell.text().unwrap()).collect();
    assert_eq!(
        cells,
        [
            "6",
            r#"{"age": 41, "data": "zzzzzzzzzz", "name": "Pete"}"#,
            "Pete",
            "41"
        ]
    );
}

#[test]
fn labels_bits_and_times() {
    assert_eq!(
        listed("mysql-type-bit.000001", &described),
        "Write - -> 4,foo,32\n"
    );
    let labels = listed("mysql-enum-set.000001", &described);
    assert!(labels.contains(",var1,one,three,0123456789 -> field1,field_2,variant2,two,four,"));
    assert_eq!(
        listed("mysql-time_issue.000001", &columns(&[Kind::Time])),
        "Write - -> -507:48:27\n"
    );
}

#[test]
fn the_log_may_name_less_than_everything() {
    let minimal = columns(&[
        INT,
        Kind::Bytes { fixed: None },
        TEXT,
        INT,
        Kind::Int { unsigned: true },
    ]);
    assert_eq!(
        listed("mysql-minimal_row_metadata.000001", &minimal),
        "Write - -> 1,_,a,_,3230202323\n"
    );
    let invisible: Vec<_> = events(&file("mysql-binlog-invisible-columns.000001"))
        .into_iter()
        .filter_map(|event| match event.unwrap().1 {
            Event::TableMap(map) => map.map("").unwrap().metadata.visible,
            _ => None,
        })
        .collect();
    assert!(!invisible.is_empty());
    assert!(
        invisible.iter().all(|visible| visible.contains(&false)),
        "{invisible:?}"
    );
}

#[test]
fn vectors_are_bytes() {
    let text = listed("mysql-vector.binlog", &described);
    assert!(
        text.starts_with("Write - -> 1,cdcc8c3fcdcc0c4033335340\n"),
        "{text}"
    );
}
