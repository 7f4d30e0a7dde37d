//! Logs recorded from real servers; `tests/golden/README.md` says how each was made.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use contract::{SourceError, Value};
use proptest::prelude::*;

use super::event::{Event, Format, decode};
use super::fields::Stored;
use super::layout::Layout;
use super::raw::Raw;
use super::rows::{Row, RowsKind};
use super::table_map::{StoredColumn, TableMap};
use crate::charset::tables::tests::recorded;
use crate::column::{Column, Kind};

pub(super) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The events of a log file, up to what is broken.
pub(super) fn events(log: &[u8]) -> Vec<Result<(Raw, Event), SourceError>> {
    let mut format = Format::new();
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
                        .map(|raw| {
                            raw.and_then(|raw| decode(&raw, &inside).map(|event| (raw, event)))
                        })
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
    let charsets = recorded();
    let mut tables = HashMap::new();
    let mut found = Vec::new();
    for event in events(log) {
        let (raw, event) = event?;
        match event {
            Event::TableMap(table) => {
                let map = table.map(&raw.doing())?;
                let layout = Layout::new(&map, &columns(&map), &charsets, &raw.doing())?;
                tables.insert(map.id, (map.table.clone(), layout));
            }
            Event::Rows(rows) if !rows.is_dummy() => {
                let doing = raw.doing();
                let unknown = || SourceError::Malformed("rows of an unknown table".to_owned());
                let (table, layout) = tables.get(&rows.table_id).ok_or_else(unknown)?;
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
pub(super) fn described(map: &TableMap) -> Vec<Column> {
    let mut columns = map.described(&recorded()).unwrap_or_default();
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

/// Rows in a form short enough to compare.
pub(super) fn listed(log: &str, columns: &dyn Fn(&TableMap) -> Vec<Column>) -> String {
    let image = |image: &Option<Vec<Value>>| {
        let cell = |value: &Value| match value {
            Value::Null => "NULL".to_owned(),
            Value::Unchanged => "_".to_owned(),
            other => other.text().unwrap(),
        };
        image.as_ref().map_or_else(
            || "-".to_owned(),
            |cells| cells.iter().map(cell).collect::<Vec<_>>().join(","),
        )
    };
    let mut text = String::new();
    for (_, kind, row) in rows(&file(log), columns).unwrap() {
        let _ = writeln!(
            text,
            "{kind:?} {} -> {}",
            image(&row.before),
            image(&row.after)
        );
    }
    text
}

pub(super) fn all() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            [".tsv", ".txt", ".md"]
                .iter()
                .all(|end| !name.ends_with(end))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_event_of_every_log_is_understood() {
    for name in all() {
        for event in events(&file(&name)) {
            let (raw, event) = event.unwrap_or_else(|error| panic!("{name}: {error}"));
            if let Event::TableMap(table) = &event {
                table
                    .map(&raw.doing())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            // What rows hold gets into no log.
            let shown = format!("{raw:?} {event:?}");
            let word = ["compress me", "INSERT INTO", "Pete"]
                .iter()
                .find(|word| shown.contains(**word));
            assert_eq!(word, None, "{name}: {shown}");
        }
    }
}

/// The log with checksums that are right again, so that what is broken is read and not only noticed.
pub(super) fn sealed(mut log: Vec<u8>) -> Vec<u8> {
    let mut at = 4;
    while let Some(size) = log.get(at + 9..at + 13) {
        let size = usize::try_from(u32::from_le_bytes(size.try_into().unwrap())).unwrap();
        let end = at + size.max(19);
        if end > log.len() || size < 23 {
            break;
        }
        let mut covered = log[at..end - 4].to_vec();
        if covered[4] == 15 {
            covered[17] &= !1;
        }
        let sum = crc32fast::hash(&covered);
        log[end - 4..end].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    log
}

#[test]
fn sealing_a_sound_log_changes_nothing() {
    for name in all() {
        if !name.contains("no-checksum") {
            assert_eq!(sealed(file(&name)), file(&name), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is broken: an error, and no panic.
    #[test]
    fn broken_bytes_never_panic(
        name in prop::sample::select(all()),
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        seal in prop::bool::weighted(0.9),
    ) {
        let mut log = file(&name);
        let begin = log.len() / 8;
        for (at, byte) in &spots {
            // Rather not in the format description, which everything depends on.
            let at = begin + at.index(log.len() - begin);
            log[at] = *byte;
        }
        if let Some(cut) = cut {
            log.truncate(cut.index(log.len()));
        }
        if seal && !name.contains("no-checksum") {
            log = sealed(log);
        }
        let _ = events(&log);
        let _ = rows(&log, &|map| {
            let columns = map.described(&recorded()).unwrap_or_default();
            if columns.is_empty() { guessed(map) } else { columns }
        });
    }
}

/// Columns of any kind that fits how they are stored.
pub(super) fn guessed(map: &TableMap) -> Vec<Column> {
    let kind = |stored: Stored| match stored {
        Stored::Tiny | Stored::Short | Stored::Medium | Stored::Long | Stored::LongLong => {
            Kind::Int { unsigned: false }
        }
        Stored::Float => Kind::Float,
        Stored::Double => Kind::Double,
        Stored::Year => Kind::Year,
        Stored::Bit(bits) => Kind::Bit(u8::try_from(bits).unwrap()),
        Stored::Decimal { .. } => Kind::Decimal,
        Stored::Date => Kind::Date,
        Stored::OldTime | Stored::Time(_) => Kind::Time,
        Stored::OldDateTime | Stored::DateTime(_) => Kind::DateTime,
        Stored::OldTimestamp | Stored::Timestamp(_) => Kind::Timestamp,
        Stored::VarChar(_) | Stored::Blob(_) | Stored::PackedVarChar(_) | Stored::PackedBlob(_) => {
            Kind::Text { collation: 45 }
        }
        Stored::Char(_) => Kind::Uuid,
        Stored::Json(_) => Kind::Json,
        Stored::Geometry(_) => Kind::Geometry,
        Stored::Vector(_) => Kind::Bytes { fixed: None },
        Stored::Enum(_) => Kind::Enum([].into()),
        Stored::Set(_) => Kind::Set([].into()),
    };
    let column = |stored: &StoredColumn| Column {
        name: "c".to_owned(),
        kind: kind(stored.stored),
        nullable: true,
        declared: String::new(),
    };
    map.columns.iter().map(column).collect()
}
