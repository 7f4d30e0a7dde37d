//! Logs recorded from real servers; `tests/golden/README.md` says how each was made.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use contract::{SourceError, Value};
use proptest::prelude::*;

use super::event::{Event, Format, decode};
use super::layout::Layout;
use super::raw::{Checksum, Raw};
use super::rows::{Row, RowsKind};
use super::table_map::TableMap;
use crate::charset::Charsets;
use crate::column::{Column, Kind};

pub(super) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The events of a log file, up to what is broken.
pub(super) fn events(log: &[u8]) -> Vec<Result<(Raw, Event), SourceError>> {
    let mut format = Format::new(Checksum::Unknown);
    let mut found = Vec::new();
    let mut rest = log.strip_prefix(b"\xfebin").unwrap_or(log);
    while let Some(size) = rest.get(9..13) {
        let size = usize::try_from(u32::from_le_bytes(size.try_into().unwrap())).unwrap();
        let Some((whole, behind)) = rest.split_at_checked(size.max(19)) else {
            break;
        };
        rest = behind;
        let event = Raw::new(Bytes::copy_from_slice(whole))
            .and_then(|raw| decode(&raw, &format).map(|event| (raw, event)));
        if let Ok((_, Event::FormatDescription(description))) = &event {
            format.learn(description);
        }
        if let Ok((_, Event::Payload(payload))) = &event {
            let inside = format.inside_payload();
            let unpacked: Vec<_> = payload.events().map_or_else(
                |error| vec![Err(error)],
                |events| {
                    events
                        .map(|raw| raw.and_then(|raw| decode(&raw, &inside).map(|event| (raw, event))))
                        .collect()
                },
            );
            found.push(event);
            found.extend(unpacked);
        } else {
            found.push(event);
        }
    }
    found
}

/// The rows of a log file: of which table, and what happened.
pub(super) fn rows(
    log: &[u8],
    columns: &dyn Fn(&TableMap) -> Vec<Column>,
) -> Result<Vec<(String, RowsKind, Row)>, SourceError> {
    let charsets = Charsets::default();
    let mut tables = HashMap::new();
    let mut found = Vec::new();
    for event in events(log) {
        let (raw, event) = event?;
        match event {
            Event::TableMap(map) => {
                let layout = Layout::new(&map, &columns(&map), &charsets)
                    .map_err(|why| why.at(&raw.doing()))?;
                tables.insert(map.id, (map.table.clone(), layout));
            }
            Event::Rows(rows) if !rows.is_dummy() => {
                let doing = raw.doing();
                let (table, layout) = &tables[&rows.table_id];
                let mut reader = rows.rows(layout, &doing)?;
                while let Some(row) = reader.next_row(&doing)? {
                    found.push((table.clone(), rows.kind, row));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The columns from the log itself, with what only the catalogue knows.
fn described(map: &TableMap) -> Vec<Column> {
    let mut columns = map.described(&Charsets::default()).unwrap();
    for column in &mut columns {
        match (map.table.as_str(), column.name.as_str()) {
            ("texts", "uu") => column.kind = Kind::Uuid,
            ("texts", "i4") => column.kind = Kind::Inet4,
            ("texts", "i6") => column.kind = Kind::Inet6,
            _ => {}
        }
    }
    columns
}

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
                Event::TableMap(map) if map.table == table => Some(map),
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
            Event::TableMap(map) => Some((map.table.clone(), described(&map))),
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

/// Rows in a form short enough to compare.
fn listed(log: &str) -> String {
    let mut text = String::new();
    for (table, kind, row) in rows(&file(log), &described).unwrap() {
        let _ = writeln!(text, "{kind:?} {table} {:?} -> {:?}", row.before, row.after);
    }
    text
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
            && matches!(event, Event::Query(query) if query.text.starts_with(b"CREATE TABLE g.comp"))
    });
    assert!(ddl);
}

#[test]
fn cells_that_an_image_leaves_out_are_unchanged() {
    assert_eq!(listed("mariadb-images.binlog"), "");
}

fn all() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".tsv") && !name.ends_with(".md"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_event_of_every_log_is_understood() {
    for name in all() {
        for event in events(&file(&name)) {
            let (raw, event) = event.unwrap_or_else(|error| panic!("{name}: {error}"));
            println!("{name} {} {event:?}", raw.header.kind);
        }
    }
}

proptest! {
    /// Whatever is broken: an error, and no panic. Without checksums, so that broken bytes reach
    /// everything behind them.
    #[test]
    fn broken_bytes_never_panic(
        name in prop::sample::select(all()),
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut log = file(&name);
        // The server's version decides whether there are checksums: a very old one has none.
        for (at, byte) in &spots {
            let at = at.index(log.len());
            log[at] = *byte;
        }
        if let Some(cut) = cut {
            log.truncate(cut.index(log.len()));
        }
        let _ = events(&log);
        let _ = rows(&log, &|map| map.described(&Charsets::default()).unwrap_or_default());
    }
}
