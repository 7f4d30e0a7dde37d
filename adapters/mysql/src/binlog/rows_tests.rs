//! Rows by bytes made by hand, and how columns must fit them.

use bytes::{BufMut, Bytes, BytesMut};
use contract::{SourceError, Value};
use proptest::prelude::*;

use super::fields::Stored;
use super::layout::Layout;
use super::metadata::Metadata;
use super::rows::{Row, RowsEvent};
use super::table_map::{StoredColumn, TableMap};
use crate::charset::Charsets;
use crate::column::{Column, Kind};

fn table(stored: &[Stored]) -> TableMap {
    let column = |stored: &Stored| StoredColumn {
        stored: *stored,
        nullable: true,
    };
    TableMap {
        id: 7,
        schema: "shop".to_owned(),
        table: "item".to_owned(),
        columns: stored.iter().map(column).collect(),
        metadata: Metadata::default(),
    }
}

fn known(kinds: &[Kind]) -> Vec<Column> {
    let column = |(at, kind): (usize, &Kind)| Column {
        name: format!("c{at}"),
        kind: kind.clone(),
        nullable: true,
        declared: "what the catalogue says".to_owned(),
    };
    kinds.iter().enumerate().map(column).collect()
}

fn layout(stored: &[Stored], kinds: &[Kind]) -> Result<Layout, SourceError> {
    Layout::new(
        &table(stored),
        &known(kinds),
        &Charsets::default(),
        "read it",
    )
}

const INT: Kind = Kind::Int { unsigned: false };

/// A rows event of the second version, with additional data.
fn event(kind: u8, columns: u8, lists: &[u8], rows: &[u8]) -> Result<RowsEvent, super::Trouble> {
    let mut body = BytesMut::new();
    body.put_uint_le(7, 6);
    body.put_u16_le(1);
    body.put_u16_le(2 + 3);
    body.put_slice(b"xyz");
    body.put_u8(columns);
    body.put_slice(lists);
    body.put_slice(rows);
    RowsEvent::read(kind, &body.freeze(), 6)
}

fn all(event: &RowsEvent, layout: &Layout) -> Result<Vec<Row>, SourceError> {
    let mut reader = event.rows(layout, "read it")?;
    let mut found = Vec::new();
    while let Some(row) = reader.next_row("read it")? {
        found.push(row);
    }
    Ok(found)
}

#[test]
fn additional_data_is_left_out_and_nulls_count_only_columns_that_are_there() {
    let stored = [Stored::Tiny, Stored::Short, Stored::Tiny];
    let layout = layout(&stored, &[INT, INT, INT]).unwrap();
    // The second column is not there, the third is null.
    let event = event(30, 3, &[0b101], &[0b10, 5, 0b00, 6, 7]).unwrap();
    assert!(!event.is_dummy());
    let rows = all(&event, &layout).unwrap();
    let after: Vec<_> = rows.into_iter().map(|row| row.after.unwrap()).collect();
    assert_eq!(
        after,
        [
            vec![Value::Int(5), Value::Unchanged, Value::Null],
            vec![Value::Int(6), Value::Unchanged, Value::Int(7)],
        ]
    );
}

#[test]
fn what_is_cut_or_too_long_names_its_row_and_column() {
    let layout = layout(&[Stored::Tiny, Stored::Short], &[INT, INT]).unwrap();
    let cut = event(30, 2, &[0b11], &[0, 1, 2, 3, 0, 1, 2]).unwrap();
    let error = all(&cut, &layout).unwrap_err().to_string();
    assert!(
        error.contains("table shop.item, row 2") && error.contains("column 2"),
        "{error}"
    );
    // After an error there is nothing more.
    let mut reader = cut.rows(&layout, "").unwrap();
    assert!(reader.next_row("").is_ok());
    assert!(reader.next_row("").is_err());
    assert_eq!(reader.next_row(""), Ok(None));
    // Another number of columns than the table.
    let other = event(30, 1, &[1], &[0, 1]).unwrap();
    assert!(all(&other, &layout).is_err());
}

#[test]
fn rows_without_bytes_are_neither_lost_nor_read_for_ever() {
    // INSERT INTO item () VALUES () with a minimal image.
    let nothing = event(30, 1, &[0], &[]).unwrap();
    let error = all(&nothing, &layout(&[Stored::Tiny], &[INT]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("binlog_row_image"), "{error}");
    let layout = layout(&[], &[]).unwrap();
    let full = event(30, 0, &[], &[1, 2, 3]).unwrap();
    assert!(all(&full, &layout).is_err());
}

#[test]
fn counts_that_lie_are_refused_before_anything_is_made_of_them() {
    let mut body = BytesMut::new();
    body.put_uint_le(7, 6);
    body.put_u16_le(0);
    let head = body.clone();
    body.put_slice(&[0xfd, 0xff, 0xff, 0xff]);
    assert!(RowsEvent::read(23, &body.freeze(), 6).is_err());
    // Additional data that does not even have its own length.
    let mut short = head;
    short.put_slice(&[1, 0, 0]);
    assert!(RowsEvent::read(30, &short.freeze(), 6).is_err());
}

#[test]
fn only_the_end_of_a_statement_belongs_to_no_table() {
    for id in [0x00ff_ffff, 0xffff_ffff_ffff] {
        let mut body = BytesMut::new();
        body.put_uint_le(id, 6);
        body.put_u16_le(1);
        body.put_slice(&[0]);
        let event = RowsEvent::read(23, &body.freeze(), 6).unwrap();
        assert!(event.is_dummy());
    }
}

/// An event that may tell documents by what changed, and does not.
#[test]
fn whole_documents_of_a_partial_update_are_read() {
    let layout = layout(&[Stored::Tiny, Stored::Json(4)], &[INT, Kind::Json]).unwrap();
    let read = |after: &[u8]| {
        let mut body = BytesMut::new();
        body.put_uint_le(7, 6);
        body.put_u16_le(1);
        body.put_u16_le(2);
        body.put_slice(&[2, 0b11, 0b11]);
        body.put_slice(&[0, 1, 2, 0, 0, 0, 4, 0]);
        body.put_slice(after);
        let event = RowsEvent::read(39, &body.freeze(), 6).unwrap();
        all(&event, &layout)
    };
    // No options at all, and a document that could be partial and is not.
    for after in [
        &[0, 0, 1, 2, 0, 0, 0, 4, 1][..],
        &[1, 0, 0, 1, 2, 0, 0, 0, 4, 1],
    ] {
        let rows = read(after).unwrap();
        let json = |text: &str| Value::Json(text.to_owned());
        assert_eq!(rows[0].before, Some(vec![Value::Int(1), json("null")]));
        assert_eq!(rows[0].after, Some(vec![Value::Int(1), json("true")]));
    }
    let partial = read(&[1, 1, 0, 1, 2, 0, 0, 0, 4, 1]);
    assert!(
        matches!(partial, Err(SourceError::Denied { .. })),
        "{partial:?}"
    );
    let unknown = read(&[2, 0, 0, 1, 2, 0, 0, 0, 4, 1]);
    assert!(
        matches!(unknown, Err(SourceError::Malformed(_))),
        "{unknown:?}"
    );
}

#[test]
fn columns_that_do_not_fit_are_a_change_of_the_table() {
    let text = Kind::Text { collation: 45 };
    for (stored, kind) in [
        (Stored::Tiny, text.clone()),
        (Stored::VarChar(10), INT),
        (Stored::VarChar(10), Kind::Bytes { fixed: Some(10) }),
        (Stored::Bit(2), Kind::Bit(1)),
        (Stored::Blob(2), Kind::Json),
        (Stored::Blob(2), Kind::Uuid),
        (Stored::Json(4), text.clone()),
        (Stored::Json(4), Kind::Bytes { fixed: None }),
        (Stored::Geometry(4), Kind::Bytes { fixed: None }),
        (Stored::Date, Kind::DateTime),
        (Stored::Timestamp(0), Kind::DateTime),
        (Stored::Float, Kind::Double),
        (Stored::Enum(1), Kind::Set([].into())),
        (Stored::Char(4), Kind::Enum([].into())),
    ] {
        let error = layout(&[stored], std::slice::from_ref(&kind)).unwrap_err();
        let SourceError::SchemaChanged { what, .. } = &error else {
            panic!("{stored:?} {kind:?}: {error:?}")
        };
        assert!(
            what.contains("column c0 of table shop.item")
                && what.contains("what the catalogue says"),
            "{what}"
        );
    }
    let error = layout(&[Stored::Tiny, Stored::Tiny], &[INT]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("shop.item has 2 columns in the log, and 1 are known"),
        "{text}"
    );
    // Nobody asked for its tables.
    let error = layout(&[Stored::VarChar(9)], &[Kind::Text { collation: 28 }]).unwrap_err();
    let SourceError::Denied { what, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(what.contains("column c0") && what.contains("gbk"), "{what}");
}

#[test]
fn values_longer_than_their_column_are_refused() {
    for kind in [Kind::Inet4, Kind::Bytes { fixed: Some(4) }] {
        let layout = layout(&[Stored::Char(4)], &[kind]).unwrap();
        let fits = event(30, 1, &[1], &[0, 3, 1, 2, 3]).unwrap();
        assert!(all(&fits, &layout).is_ok());
        let long = event(30, 1, &[1], &[0, 5, 1, 2, 3, 4, 5]).unwrap();
        assert!(all(&long, &layout).is_err());
    }
}

proptest! {
    #[test]
    fn any_rows_end(kind in prop::sample::select(vec![23_u8, 24, 25, 30, 31, 32, 39]), body: Vec<u8>, rows: Vec<u8>) {
        let stored = [Stored::Tiny, Stored::VarChar(300), Stored::Json(4), Stored::PackedBlob(1), Stored::Time(3)];
        let kinds = [INT, Kind::Text { collation: 45 }, Kind::Json, Kind::Bytes { fixed: None }, Kind::Time];
        let layout = layout(&stored, &kinds).unwrap();
        if let Ok(event) = RowsEvent::read(kind, &Bytes::from(body), 6) {
            let _ = all(&event, &layout);
        }
        if let Ok(event) = event(kind, 5, &[0x1f, 0x1f][..if matches!(kind, 24 | 31 | 39) { 2 } else { 1 }], &rows) {
            let _ = all(&event, &layout);
        }
    }
}
