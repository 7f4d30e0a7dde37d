//! A binary log of MySQL or MariaDB: its events, the statements in them, and rows of all types, plain and packed.
#![no_main]

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use contract::SourceError;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/binlog/mod.rs"]
mod binlog;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/charset/mod.rs"]
mod charset;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/column.rs"]
mod column;

use binlog::event::{Event, Format, decode};
use binlog::fields::Stored;
use binlog::layout::Layout;
use binlog::raw::{Checksum, Raw};
use binlog::rows::{Row, RowsKind, head_bytes};
use binlog::statement;
use binlog::table_map::{StoredColumn, TableMap};
use charset::Charsets;
use charset::tables::Tables;
use column::{Column, Kind};

const HEADER: usize = 19;
const SUM: usize = 4;
/// What a log compresses itself is larger than its file; more than this, per byte, does not fit into one.
const UNPACKED_MAX: usize = 1_100;

type Rows = Vec<(String, RowsKind, Row)>;

// The input is a log file. Its checksums are made right first: what is broken shall be read, not only noticed.
fuzz_target!(|data: &[u8]| {
    let log = sealed(data);
    let plain = read(&log);
    if data.len() <= 8_192
        && let Ok(plain) = plain
        && let Some(packed) = packed(&log)
    {
        let again = read(&sealed(&packed));
        assert!(
            again.is_ok_and(|again| again == plain),
            "packed rows are others"
        );
    }
});

/// The events of a log file, with those inside of compressed transactions.
fn events(log: &[u8]) -> Vec<Result<(Raw, Event), SourceError>> {
    let mut format = Format::new();
    let mut found = Vec::new();
    for whole in split(log) {
        let event = Raw::new(Bytes::copy_from_slice(whole))
            .and_then(|raw| decode(&raw, &format).map(|event| (raw, event)));
        if let Ok((_, Event::FormatDescription(description))) = &event {
            format.learn(description);
        }
        let mut inside = Vec::new();
        if let Ok((_, Event::Payload(payload))) = &event
            && let Ok(events) = payload.events()
        {
            let format = format.inside_payload();
            inside
                .extend(events.map(|raw| {
                    raw.and_then(|raw| decode(&raw, &format).map(|event| (raw, event)))
                }));
        }
        found.push(event);
        found.extend(inside);
    }
    found
}

/// The events of a log file as they stand there, up to where it is cut.
fn split(log: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = log.strip_prefix(b"\xfebin").unwrap_or(log);
    while let Some(size) = size_of_event(rest) {
        let Some((whole, behind)) = rest.split_at_checked(size.max(HEADER)) else {
            break;
        };
        found.push(whole);
        rest = behind;
    }
    found
}

fn size_of_event(event: &[u8]) -> Option<usize> {
    let size = event.get(9..13)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*size)).ok()
}

/// Reads all there is; the rows, if none of them is broken.
fn read(log: &[u8]) -> Result<Rows, SourceError> {
    let charsets = charsets();
    let most = log.len() * UNPACKED_MAX + 1_024;
    let mut tables = HashMap::new();
    let mut found = Vec::new();
    let events = events(log);
    assert!(events.len() <= most / HEADER + 1);
    for event in events {
        let (raw, event) = event?;
        let doing = raw.doing();
        match event {
            Event::Query(query) => {
                let _ = statement::of(&query, charsets);
                let _ = statement::names(&query, charsets, |name| name == "orders");
                let _ = statement::kept(&query, charsets);
            }
            Event::TableMap(table) => {
                let map = table.map(&doing)?;
                let layout = Layout::new(&map, &columns(&map), charsets, &doing)?;
                tables.insert(map.id, (map.table.clone(), layout));
            }
            Event::Rows(rows) if !rows.is_dummy() => {
                let unknown = || SourceError::Malformed("rows of an unknown table".to_owned());
                let (table, layout) = tables.get(&rows.table_id).ok_or_else(unknown)?;
                let mut reader = rows.rows(layout, &doing)?;
                let mut before = reader.offset();
                while let Some(row) = reader.next_row(&doing)? {
                    assert!(reader.offset() > before, "a row of no bytes");
                    before = reader.offset();
                    for value in row.before.iter().chain(&row.after).flatten() {
                        // Short numbers of enumerations stand for long texts of the table's map.
                        fuzz::sound(value, rows.bytes() + 32 * log.len());
                    }
                    found.push((table.clone(), rows.kind, row));
                }
                assert!(before <= rows.bytes());
            }
            _ => {}
        }
    }
    assert!(found.len() <= most);
    Ok(found)
}

/// The columns by the log itself, else any kind that fits how they are stored.
fn columns(map: &TableMap) -> Vec<Column> {
    let described = map.described(charsets()).unwrap_or_default();
    if !described.is_empty() {
        return described;
    }
    let column = |stored: &StoredColumn| Column {
        name: "c".to_owned(),
        kind: kind(stored.stored),
        nullable: true,
        declared: String::new(),
    };
    map.columns.iter().map(column).collect()
}

fn kind(stored: Stored) -> Kind {
    match stored {
        Stored::Tiny | Stored::Short | Stored::Medium | Stored::Long | Stored::LongLong => {
            Kind::Int { unsigned: false }
        }
        Stored::Float => Kind::Float,
        Stored::Double => Kind::Double,
        Stored::Year => Kind::Year,
        Stored::Bit(bits) => Kind::Bit(u8::try_from(bits).unwrap_or(64)),
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
    }
}

/// The log with checksums that are right.
fn sealed(log: &[u8]) -> Vec<u8> {
    let mut log = log.to_vec();
    let mut at = if log.starts_with(b"\xfebin") { 4 } else { 0 };
    while let Some(size) = log.get(at..).and_then(size_of_event) {
        let end = at + size.max(HEADER);
        if end > log.len() || size < HEADER + SUM {
            break;
        }
        let covered = &log[at..end - SUM];
        // A format description is summed up as if nobody had the file open.
        let covered = match covered {
            [_, _, _, _, 15, ..] => {
                let mut closed = covered.to_vec();
                closed[17] &= !1;
                Cow::Owned(closed)
            }
            plain => Cow::Borrowed(plain),
        };
        let sum = crc32fast::hash(&covered);
        log[end - SUM..end].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    log
}

/// The log with its rows packed, as MariaDB does it; `None` where there are none, or no checksums to be made right.
fn packed(log: &[u8]) -> Option<Vec<u8>> {
    let mut whole = b"\xfebin".to_vec();
    let (mut any, mut has_checksums) = (false, false);
    let mut format = Format::new();
    for event in split(log) {
        let raw = Raw::new(Bytes::copy_from_slice(event)).ok()?;
        let kind = raw.header.kind;
        if let Ok(Event::FormatDescription(description)) = decode(&raw, &format) {
            format.learn(&description);
            has_checksums = description.checksum == Checksum::Crc32;
        }
        let to = match kind {
            23..=25 => kind + 143,
            30..=32 => kind + 139,
            _ => {
                whole.extend_from_slice(event);
                continue;
            }
        };
        if !has_checksums {
            return None;
        }
        let body = event.get(HEADER..event.len().checked_sub(SUM)?)?;
        let head = head_bytes(kind, body, format.table_id_bytes(kind)).ok()?;
        let (head, rows) = body.split_at_checked(head)?;
        if rows.is_empty() {
            return None;
        }
        let mut packed = head.to_vec();
        packed.push(0x84);
        packed.extend(u32::try_from(rows.len()).ok()?.to_be_bytes());
        let mut packer = flate2::write::ZlibEncoder::new(packed, flate2::Compression::fast());
        packer.write_all(rows).ok()?;
        let body = packer.finish().ok()?;
        let mut one = event[..HEADER].to_vec();
        one[4] = to;
        one.extend(body);
        one.extend([0; SUM]);
        let size = u32::try_from(one.len()).ok()?;
        one[9..13].copy_from_slice(&size.to_le_bytes());
        whole.extend(one);
        any = true;
    }
    any.then_some(whole)
}

/// What MariaDB 10.11 answers of its character sets: all that the sources' own tests know.
fn charsets() -> &'static Charsets {
    static READ: OnceLock<Charsets> = OnceLock::new();
    READ.get_or_init(|| {
        let all = include_str!("../../../adapters/mysql/tests/golden/mariadb-charsets.tsv");
        let mut charsets = Charsets::default();
        let ascii: Vec<String> = (0..0x40).map(|code| format!("{code:02X}")).collect();
        for name in (1..=97).filter_map(charset::charset_of) {
            let answers = all
                .lines()
                .filter_map(|line| {
                    let mut parts = line.split('\t');
                    let of = parts.next()? == name;
                    of.then_some((parts.next()?, Some(parts.next()?)))
                })
                .chain(
                    ascii
                        .iter()
                        .map(|code| (code.as_str(), Some(code.as_str()))),
                );
            charsets.add(Tables::new(name, answers));
        }
        charsets
    })
}
