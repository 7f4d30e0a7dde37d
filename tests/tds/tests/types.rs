//! Every type at its borders, as tiberius reads it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::sync::Arc;

use tds_server::wire::{Answer, Column, Length, Options, Server, Type, Value, answering};
use tiberius::ColumnData;

use crate::support::golden::{self, Golden};
use crate::support::{self, config, connect, connect_with};

/// A server with a statement for each value, `g<n>`, with one for all in a row, and with NULLs.
fn typed(options: Options) -> Server {
    let all: Arc<[Golden]> = golden::all().into();
    Server::start(
        options,
        answering(move |sql, _| {
            let (columns, row): (Vec<Column>, Vec<Value>) = match sql {
                "all" | "none" => all
                    .iter()
                    .map(|golden| (golden.column.clone(), golden.value.clone()))
                    .unzip(),
                "null" => golden::nulls()
                    .into_iter()
                    .map(|column| (column, Value::Null))
                    .unzip(),
                _ => {
                    let Golden { column, value, .. } =
                        &all[sql.trim_start_matches(['g', 'f']).parse::<usize>().unwrap()];
                    let column = if sql.starts_with('f') {
                        column.clone().not_null()
                    } else {
                        column.clone()
                    };
                    (vec![column], vec![value.clone()])
                }
            };
            let rows = if sql == "none" {
                Vec::new()
            } else {
                vec![row.clone(), row]
            };
            Answer::rows(columns, rows)
        }),
    )
    .unwrap()
}

async fn read(client: &mut support::Tiberius, sql: &str) -> Vec<Vec<ColumnData<'static>>> {
    let rows = client
        .simple_query(sql.to_owned())
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().collect())
        .collect()
}

#[tokio::test]
async fn every_type_is_read_at_its_borders() {
    let server = typed(Options::default());
    let mut client = connect(&server).await;
    for (at, golden) in golden::all().into_iter().enumerate() {
        // As a column that can be NULL, and as one that cannot, which has another form.
        for letter in ["g", "f"] {
            let rows = read(&mut client, &format!("{letter}{at}")).await;
            let expected = vec![golden.tiberius.clone()];
            assert!(
                rows == [expected.clone(), expected],
                "{golden:?}, read {:?}",
                rows[0]
            );
        }
    }
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn packets_and_chunks_of_any_size_give_the_same_rows() {
    let expected: Vec<_> = golden::all()
        .into_iter()
        .map(|golden| golden.tiberius)
        .collect();
    for packet_bytes in [512, 4096, 32_767] {
        for (chunk_bytes, announce_length) in [(1000, true), (100_000, false), (77, false)] {
            let options = Options {
                packet_bytes: Some(packet_bytes),
                chunk_bytes,
                announce_length,
                ..Options::default()
            };
            let server = typed(options);
            let mut client = connect(&server).await;
            let rows = read(&mut client, "all").await;
            assert!(
                rows == [expected.clone(), expected.clone()],
                "packets of {packet_bytes}"
            );
            assert_eq!(read(&mut client, "none").await, Vec::<Vec<_>>::new());
        }
    }
}

#[tokio::test]
async fn bytes_that_come_one_by_one_give_the_same_rows() {
    let options = Options {
        write_bytes_max: Some(1),
        ..Options::default()
    };
    let server = Server::start(
        options,
        answering(|_, _| {
            let columns = vec![
                Column::new("a", Type::Int),
                Column::new("b", Type::NVarChar(Length::Max)),
            ];
            Answer::rows(columns, (0..50).map(|n| vec![n.into(), "wörter".into()]))
        }),
    )
    .unwrap();
    let mut client = connect(&server).await;
    let rows = client
        .query("x", &[])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let read: Vec<(i32, &str)> = rows
        .iter()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
        .collect();
    assert_eq!(read, (0..50).map(|n| (n, "wörter")).collect::<Vec<_>>());
}

#[tokio::test]
async fn null_of_every_type_is_read_with_and_without_the_bitmap() {
    for null_bitmap in [false, true] {
        let server = typed(Options {
            null_bitmap,
            ..Options::default()
        });
        let mut client = connect(&server).await;
        let rows = client
            .simple_query("null")
            .await
            .unwrap()
            .into_first_result()
            .await
            .unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!(row.len(), golden::nulls().len());
            for cell in row {
                let text = format!("{cell:?}");
                assert!(text.ends_with("(None)"), "bitmap {null_bitmap}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn text_that_is_not_well_formed_goes_as_bytes() {
    let server = support::server(|_, _| {
        let columns = vec![Column::new("n", Type::NVarChar(Length::Of(10)))];
        Answer::rows(columns, [vec![Value::bytes(&[0x41, 0, 0, 0xD8])]])
    });
    let mut strict = connect(&server).await;
    assert!(
        strict
            .simple_query("x")
            .await
            .unwrap()
            .into_first_result()
            .await
            .is_err()
    );
    let mut lossy = config(&server);
    lossy.lossy_utf16_decoding(true);
    let mut lossy = connect_with(&server, lossy).await.unwrap();
    let rows = lossy
        .simple_query("x")
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    assert_eq!(rows[0].get::<&str, _>(0), Some("A\u{fffd}"));
}

#[tokio::test]
async fn a_value_of_another_type_ends_the_connection_and_is_said() {
    for (kind, value) in [
        (Type::Int, Value::BigInt(1)),
        (Type::Decimal(3, 0), Value::Decimal(1000)),
        (Type::VarChar(Length::Of(2)), Value::text("abc")),
        (Type::VarChar(Length::Of(9)), Value::text("ж")),
        (Type::Time(7), Value::Time(golden::DAY)),
        (Type::Date, Value::Date(golden::LAST_DAY + 1)),
    ] {
        let column = Column::new("wrong", kind.clone());
        let server =
            support::server(move |_, _| Answer::rows(vec![column.clone()], [vec![value.clone()]]));
        let mut client = connect(&server).await;
        let read = match client.simple_query("x").await {
            Ok(stream) => stream.into_first_result().await,
            Err(error) => Err(error),
        };
        assert!(read.is_err(), "{kind:?}");
        server.handle().all_closed().await;
        let complaints = server.handle().complaints();
        assert!(complaints[0].contains("column `wrong`"), "{complaints:?}");
    }
}
