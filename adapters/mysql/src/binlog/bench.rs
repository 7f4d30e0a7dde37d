//! How fast rows are read: `cargo test -p source-mysql --release -- --ignored --nocapture bench`.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::Stored;
use super::layout::Layout;
use super::metadata::Metadata;
use super::rows::RowsEvent;
use super::table_map::{StoredColumn, TableMap};
use crate::charset::Charsets;
use crate::column::{Column, Kind};

fn table() -> (TableMap, Vec<Column>) {
    let text = || Kind::Text { collation: 45 };
    let all = [
        ("id", Stored::Long, Kind::Int { unsigned: false }),
        ("big", Stored::LongLong, Kind::Int { unsigned: true }),
        (
            "price",
            Stored::Decimal {
                precision: 19,
                scale: 5,
            },
            Kind::Decimal,
        ),
        ("name", Stored::VarChar(400), text()),
        ("note", Stored::Blob(2), text()),
        ("made", Stored::DateTime(6), Kind::DateTime),
        ("seen", Stored::Timestamp(0), Kind::Timestamp),
        ("day", Stored::Date, Kind::Date),
        ("ratio", Stored::Double, Kind::Double),
        ("flag", Stored::Bit(1), Kind::Bit(1)),
    ];
    let columns = all.iter().map(|(name, _, kind)| Column {
        name: (*name).to_owned(),
        kind: kind.clone(),
        nullable: true,
        declared: String::new(),
    });
    let map = TableMap {
        id: 1,
        schema: "s".to_owned(),
        table: "t".to_owned(),
        columns: all
            .iter()
            .map(|(_, stored, _)| StoredColumn {
                stored: *stored,
                nullable: true,
            })
            .collect(),
        metadata: Metadata::default(),
    };
    (map, columns.collect())
}

fn event(rows: u32) -> Bytes {
    let mut body = BytesMut::new();
    body.put_uint_le(1, 6);
    body.put_u16_le(1);
    body.put_u8(10);
    body.put_slice(&[0xff, 0x03]);
    for row in 0..rows {
        body.put_slice(&[0, 0]);
        body.put_u32_le(row);
        body.put_u64_le(u64::from(row) << 32);
        // 14 digits in 4 + 3 bytes, 5 in 3.
        body.put_slice(&[0x80, 0, 42, 7, 0x5b, 0xcd, 0x15, 0, 0x48, 0x3a]);
        body.put_u16_le(20);
        body.put_slice(b"a name of 20 letters");
        body.put_u16_le(40);
        body.put_slice(b"a note with some words and Umlaute: \xc3\xa4\xc3\xb6");
        body.put_slice(&[0x99, 0xb7, 0x75, 0x31, 0x02, 0x01, 0xe2, 0x40]);
        body.put_u32(1_764_000_000 + row);
        body.put_uint_le(2026 * 512 + 11 * 32 + 26, 3);
        body.put_f64_le(0.5);
        body.put_u8(1);
    }
    body.freeze()
}

#[test]
#[ignore = "a measurement"]
fn bench_rows_of_ten_columns() {
    const ROWS: u32 = 100_000;
    let (map, columns) = table();
    let layout = Layout::new(&map, &columns, &Charsets::default(), "bench").unwrap();
    let event = RowsEvent::read(23, &event(ROWS), 6).unwrap();
    for _ in 0..5 {
        let begun = Instant::now();
        let mut reader = event.rows(&layout, "bench").unwrap();
        let mut count = 0;
        while let Some(row) = reader.next_row("bench").unwrap() {
            count += row.after.map_or(0, |cells| cells.len());
        }
        assert_eq!(count, 10 * 100_000);
        let seconds = begun.elapsed().as_secs_f64();
        println!("{:.0} rows/s", f64::from(ROWS) / seconds);
    }
}

/// What the measurement reads is what it looks like.
#[test]
fn the_measured_row_is_sound() {
    let (map, columns) = table();
    let layout = Layout::new(&map, &columns, &Charsets::default(), "bench").unwrap();
    let event = RowsEvent::read(23, &event(2), 6).unwrap();
    let mut reader = event.rows(&layout, "bench").unwrap();
    let cells = reader.next_row("bench").unwrap().unwrap().after.unwrap();
    let cells: Vec<_> = cells.iter().map(|cell| cell.text().unwrap()).collect();
    assert_eq!(
        cells.join("|"),
        "0|0|42123456789.1849|a name of 20 letters|a note with some words and Umlaute: äö|\
         2025-08-26T19:04:02.123456|2025-11-24T16:00:00Z|2026-11-26|0.5|true"
    );
}
