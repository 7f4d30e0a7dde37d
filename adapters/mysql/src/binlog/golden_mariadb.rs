//! Logs of MariaDB 10.11, and what that server shows of the same rows.

use std::collections::HashMap;
use std::fmt::Write as _;

use contract::{SourceError, Value};

use super::event::Event;
use super::golden::{described, events, file, listed, rows};
use super::rows::RowsKind;
use super::statement::{Statement, of};
use super::table_map::TableMap;
use crate::charset::Charsets;
use crate::column::{Column, Kind};

/// What the server itself shows of a table: a line for each row, a cell for each column, `B` and
/// its bytes or `T` and its text, in hexadecimal.
fn shown(table: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(file(&format!("mariadb-{table}.tsv"))).unwrap();
    let line = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(line).collect()
}

/// A value as the server shows it.
fn as_shown(value: &Value, column: &Column) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::Bytes(bytes) => return format!("B{}", contract::value::hex(bytes).to_uppercase()),
        Value::Bool(bit) => u8::from(*bit).to_string(),
        Value::Timestamp(_) | Value::DateTime(_) => {
            value.text().unwrap().replace('T', " ").replace('Z', "")
        }
        Value::Float(float) => format!("{float:e}").replace("e0", ""),
        Value::Int(year) if column.kind == Kind::Year => format!("{year:04}"),
        other => other.text().unwrap(),
    };
    format!("T{}", contract::value::hex(text.as_bytes()).to_uppercase())
}

/// The shown text without what our own values leave out: zeros at the end of a fraction.
fn trimmed(cell: &str, kind: &Kind) -> String {
    let Some(hex) = cell.strip_prefix('T') else {
        return cell.to_owned();
    };
    let text = String::from_utf8(contract::value::unhex(hex).unwrap()).unwrap();
    let text = match kind {
        Kind::Decimal | Kind::Time | Kind::DateTime | Kind::Timestamp if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Kind::Float | Kind::Double => {
            format!("{:e}", text.parse::<f64>().unwrap()).replace("e0", "")
        }
        _ => text,
    };
    format!("T{}", contract::value::hex(text.as_bytes()).to_uppercase())
}

fn compare(log: &str, columns: &dyn Fn(&TableMap) -> Vec<Column>) -> Vec<String> {
    let log = file(log);
    let mut wrong = Vec::new();
    for table in ["numbers", "moments", "texts", "others"] {
        let maps: Vec<_> = events(&log)
            .into_iter()
            .filter_map(|event| match event.unwrap().1 {
                Event::TableMap(map) if map.table == table => Some(map.map("").unwrap()),
                _ => None,
            })
            .collect();
        let columns_here = columns(&maps[0]);
        let rows: Vec<_> = rows(&log, columns)
            .unwrap()
            .into_iter()
            .filter(|(name, ..)| name == table)
            .collect();
        let shown = shown(table);
        assert_eq!(rows.len(), shown.len(), "{table}");
        for ((_, _, row), line) in rows.iter().zip(&shown) {
            let values = row.after.as_ref().unwrap();
            assert_eq!(values.len(), line.len(), "{table}");
            for ((value, cell), column) in values.iter().zip(line).zip(&columns_here) {
                let ours = match as_shown(value, column) {
                    // Invalid values keep all places.
                    ours if matches!(value, Value::Invalid(_)) => ours,
                    ours => trimmed(&ours, &column.kind),
                };
                let theirs = match value {
                    Value::Invalid(_) => cell.clone(),
                    _ => trimmed(cell, &column.kind),
                };
                if ours != theirs {
                    let text = |cell: &str| {
                        contract::value::unhex(&cell[1..])
                            .map(|b| String::from_utf8_lossy(&b).into_owned())
                    };
                    let (ours, theirs) = (text(&ours), text(&theirs));
                    wrong.push(format!("{table}.{}: {ours:?} is {theirs:?}", column.name));
                }
            }
        }
    }
    wrong
}

#[test]
fn every_type_is_what_the_server_shows() {
    let wrong = compare("mariadb-types-full.binlog", &described);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// With less metadata, and without checksums: the columns are those of the catalogue.
#[test]
fn the_log_may_leave_out_what_the_catalogue_knows() {
    let full = events(&file("mariadb-types-full.binlog"));
    let known: HashMap<_, _> = full
        .into_iter()
        .filter_map(|event| match event.unwrap().1 {
            Event::TableMap(map) => Some((map.table.clone(), described(&map.map("").unwrap()))),
            _ => None,
        })
        .collect();
    for log in [
        "mariadb-types-no-log.binlog",
        "mariadb-types-minimal-no-checksum.binlog",
    ] {
        let wrong = compare(log, &|map| {
            assert!(map.described(&Charsets::default()).is_none());
            known[&map.table].clone()
        });
        assert!(wrong.is_empty(), "{log}: {wrong:#?}");
    }
}

#[test]
fn compressed_rows_are_read() {
    let found = rows(&file("mariadb-compressed.binlog"), &described).unwrap();
    let kinds: Vec<_> = found.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(
        kinds,
        [
            RowsKind::Write,
            RowsKind::Write,
            RowsKind::Update,
            RowsKind::Update,
            RowsKind::Delete,
            RowsKind::Delete,
        ]
    );
    let first = "compress me ".repeat(100);
    let (_, _, row) = &found[2];
    assert_eq!(row.before.as_ref().unwrap()[1], Value::Text(first.clone()));
    assert_eq!(row.after.as_ref().unwrap()[1], Value::Text(first + "!"));
    // The statements behind them are compressed as well.
    let ddl = events(&file("mariadb-compressed.binlog")).into_iter().any(|event| {
        let (raw, event) = event.unwrap();
        raw.header.kind == 165
            && matches!(event, Event::Query(query) if query.text.0.starts_with(b"CREATE TABLE g.comp"))
    });
    assert!(ddl);
}

#[test]
fn cells_that_an_image_leaves_out_are_unchanged() {
    let expected = "\
Write - -> 1,1,one,text one,1
Write - -> 2,2,_,_,_
Update 1,_,_,_,_ -> _,11,_,_,_
Update 1,_,_,_,_ -> _,_,uno,NULL,_
Delete 2,_,_,_,_ -> -
Write - -> 3,3,three,text three,3
Update 3,3,three,_,3 -> 3,33,three,_,3
Update 3,33,three,_,3 -> 3,33,three,new,3
Delete 3,33,three,_,3 -> -
Update 1,11,uno,NULL,1 -> 1,12,uno,NULL,1
";
    assert_eq!(listed("mariadb-images.binlog", &described), expected);
}

#[test]
fn times_in_the_form_before_mysql_5_6() {
    let log = file("mariadb-old-temporal.binlog");
    let columns = |declared: &[(&str, Kind, &str)]| -> Vec<Column> {
        declared
            .iter()
            .map(|(name, kind, declared)| Column {
                name: (*name).to_owned(),
                kind: kind.clone(),
                nullable: true,
                declared: (*declared).to_owned(),
            })
            .collect()
    };
    let id = ("id", Kind::Int { unsigned: false }, "int(11)");
    let old0 = columns(&[
        id.clone(),
        ("d", Kind::Date, "date"),
        ("t", Kind::Time, "time"),
        ("dt", Kind::DateTime, "datetime"),
        ("ts", Kind::Timestamp, "timestamp"),
        ("y", Kind::Year, "year(4)"),
    ]);
    let old3 = columns(&[
        id,
        ("t", Kind::Time, "time(3)"),
        ("dt", Kind::DateTime, "datetime(6)"),
        ("ts", Kind::Timestamp, "timestamp(2)"),
    ]);
    let of_table = |map: &TableMap| {
        // How many bytes they have, the log alone does not say.
        assert_eq!(map.described(&Charsets::default()), None);
        if map.table == "old0" {
            old0.clone()
        } else {
            old3.clone()
        }
    };
    let error = rows(&log, &of_table).unwrap_err();
    let SourceError::Denied { what, hint } = error else {
        panic!("{error}")
    };
    assert!(what.contains("column t of table g.old3"), "{what}");
    assert!(hint.contains("mysql56_temporal_format"), "{hint}");
    // Up to there, all is as the server shows it.
    let first = events(&log)
        .into_iter()
        .position(|event| matches!(event.unwrap().1, Event::TableMap(map) if map.table == "old3"));
    let cut: usize = 4 + events(&log)
        .iter()
        .take(first.unwrap())
        .map(|event| usize::try_from(event.as_ref().unwrap().0.header.size).unwrap())
        .sum::<usize>();
    let found = rows(&log[..cut], &of_table).unwrap();
    let shown = shown("old0");
    assert_eq!(found.len(), shown.len());
    for ((_, _, row), line) in found.iter().zip(&shown) {
        for ((value, cell), column) in row.after.as_ref().unwrap().iter().zip(line).zip(&old0) {
            assert_eq!(&as_shown(value, column), cell, "{}", column.name);
        }
    }
}

/// Transactions of several engines, XA, statement format, DDL: one line for each event.
#[test]
fn a_log_tells_its_transactions() {
    let mut text = String::new();
    for event in events(&file("mariadb-transactions.binlog")) {
        let (_, event) = event.unwrap();
        let _ = match event {
            Event::FormatDescription(format) => writeln!(text, "format {}", format.server_version),
            Event::MariadbGtidList(places) => writeln!(text, "list {}", places.len()),
            Event::MariadbGtid(gtid) => {
                let mut flags = String::new();
                for (set, flag) in [
                    (gtid.is_standalone(), " standalone"),
                    (gtid.is_prepared_xa(), " prepared"),
                ] {
                    flags.push_str(if set { flag } else { "" });
                }
                let xid = gtid.xid.map(|xid| format!(" {xid}")).unwrap_or_default();
                writeln!(text, "gtid{flags}{xid}")
            }
            Event::Query(query) => match of(&query, &Charsets::default()) {
                Statement::Xa { verb, xid } => writeln!(text, "{verb:?} {}", xid.unwrap()),
                Statement::Ddl(concerned) => {
                    writeln!(text, "ddl {}", super::statement_tests::shown(&concerned))
                }
                Statement::Truncate(concerned) => {
                    writeln!(
                        text,
                        "truncate {}",
                        super::statement_tests::shown(&concerned)
                    )
                }
                Statement::Emptied(name) => {
                    writeln!(text, "emptied {}.{}", name.schema, name.table)
                }
                Statement::Dml { verb, table } => {
                    let table = table.map(|name| name.table).unwrap_or_default();
                    writeln!(text, "dml {verb} {table}")
                }
                other => writeln!(text, "{other:?}"),
            },
            Event::Commit { .. } => writeln!(text, "commit"),
            Event::XaPrepare { xid, one_phase } => {
                writeln!(
                    text,
                    "xa prepare {xid}{}",
                    if one_phase { " one phase" } else { "" }
                )
            }
            Event::TableMap(map) => writeln!(text, "table {}", map.table),
            Event::Rows(rows) => writeln!(text, "{:?}", rows.kind),
            Event::Statement(_) => writeln!(text, "statement"),
            Event::StatementPart(what) => writeln!(text, "part {what}"),
            Event::Rotate(rotate) => writeln!(text, "rotate {}", rotate.position),
            Event::Ignored => writeln!(text, "ignored"),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(
        text,
        include_str!("../../tests/golden/mariadb-transactions.txt")
    );
}
