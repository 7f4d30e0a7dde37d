//! Statements, counts, messages and transactions through tiberius.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use tds_server::wire::Length;
use tds_server::wire::{Answer, Column, Part, ServerError, Type, Value};
use tokio::io::AsyncWriteExt;

use crate::support::raw::{Hello, packet, read, said_hello, utf16, with_headers};
use crate::support::{connect, server};

#[tokio::test]
async fn a_batch_and_a_statement_with_parameters_are_answered_alike() {
    let server = server(|sql, parameters| {
        let columns = vec![
            Column::new("n", Type::Int).not_null(),
            Column::new("t", Type::NVarChar(Length::Of(200))),
        ];
        let given: i32 = parameters.len().try_into().unwrap();
        let sql = sql.to_owned();
        Answer::rows(
            columns,
            (0..3).map(move |n| vec![Value::Int(n + given), Value::text(&sql)]),
        )
    });
    let mut client = connect(&server).await;

    let rows = client
        .simple_query("SELECT a")
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let read: Vec<(i32, &str)> = rows
        .iter()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
        .collect();
    assert_eq!(read, [(0, "SELECT a"), (1, "SELECT a"), (2, "SELECT a")]);

    let rows = client
        .query("SELECT @P1, @P2", &[&5_i32, &"x"])
        .await
        .unwrap();
    let rows = rows.into_first_result().await.unwrap();
    assert_eq!(
        rows.iter()
            .map(|row| row.get::<i32, _>(0).unwrap())
            .collect::<Vec<_>>(),
        [2, 3, 4]
    );

    let texts = server.handle().statements();
    assert_eq!(
        texts.into_iter().collect::<Vec<_>>(),
        ["SELECT @P1, @P2", "SELECT a"]
    );
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
    assert_eq!(server.handle().connection_count(), 1);
}

#[tokio::test]
async fn errors_and_counts_reach_the_client() {
    let server = server(|sql, _| match sql {
        "UPDATE" => Answer::count(7),
        "BROKEN" => Answer::new([
            Part::Columns(vec![Column::new("n", Type::Int)]),
            Part::Row(vec![Value::Int(1)]),
            Part::Error(ServerError::new(1205, 13, "deadlock")),
        ]),
        other => Answer::error(ServerError::invalid_object(other)),
    });
    let mut client = connect(&server).await;
    assert_eq!(
        client.execute("UPDATE", &[]).await.unwrap().rows_affected(),
        [7]
    );
    for _ in 0..2 {
        let error = client.execute("nobody", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(208));
        let error = client
            .simple_query("BROKEN")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(1205));
    }
}

/// An answer with everything in it.
fn all_of_it() -> Answer {
    let columns = || vec![Column::new("n", Type::Int).not_null()];
    Answer::new([
        Part::Columns(columns()),
        Part::Row(vec![1.into()]),
        Part::Row(vec![2.into()]),
        Part::Columns(columns()),
        Part::Done(None),
        Part::Done(Some(9)),
        Part::Info(ServerError::new(0, 0, "printed")),
        Part::Database("shop".to_owned()),
        Part::Error(ServerError::new(547, 16, "a key")),
        Part::Columns(columns()),
        Part::Row(vec![3.into()]),
        Part::Return(5),
    ])
}

/// What ends a statement: the token, the status and the count. Other tokens by themselves.
fn tokens(mut bytes: &[u8]) -> Vec<(u8, u16, u64)> {
    let mut tokens = Vec::new();
    while let [token, rest @ ..] = bytes {
        let short = || usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let (length, status, count) = match token {
            0xFD..=0xFF => {
                let count = u64::from_le_bytes(rest[4..12].try_into().unwrap());
                (12, u16::from_le_bytes([rest[0], rest[1]]), count)
            }
            0xD1 => (4, 0, u64::from(rest[0])),
            0x81 => (2 + 4 + 2 + 1 + 1 + 2, 0, 0),
            0x79 => (4, 0, u64::from(rest[0])),
            0xAA | 0xAB | 0xE3 => (2 + short(), 0, 0),
            other => panic!("token {other:#04x}"),
        };
        tokens.push((*token, status, count));
        bytes = &rest[length..];
    }
    tokens
}

const MORE: u16 = 1;
const ERROR: u16 = 2;
const COUNT: u16 = 0x10;

#[tokio::test]
async fn every_statement_of_a_batch_ends_with_its_count_and_only_the_last_says_that_nothing_follows()
 {
    let server = server(|_, _| all_of_it());
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    socket
        .write_all(&packet(0x01, 1, &with_headers(0, &utf16("x"))))
        .await
        .unwrap();
    assert_eq!(
        tokens(&read(&mut socket).await.unwrap()),
        [
            (0x81, 0, 0),
            (0xD1, 0, 1),
            (0xD1, 0, 2),
            (0xFD, MORE | COUNT, 2),
            (0x81, 0, 0),
            (0xFD, MORE | COUNT, 0),
            (0xFD, MORE | COUNT, 9),
            (0xAB, 0, 0),
            (0xE3, 0, 0),
            (0xAA, 0, 0),
            (0xFD, MORE | ERROR, 0),
            (0x81, 0, 0),
            (0xD1, 0, 3),
            (0xFF, MORE | COUNT, 1),
            (0x79, 0, 5),
            (0xFE, 0, 0),
        ]
    );
}

#[tokio::test]
async fn every_statement_of_a_call_says_that_its_end_follows() {
    let server = server(|_, _| all_of_it());
    let (mut socket, _) = said_hello(&server, &Hello::default()).await;
    // sp_executesql twice in one request.
    let call = b"\xFF\xFF\x0A\0\0\0\0\0\xE7\x02\0\x09\x04\xD0\0\x34\x02\0x\0";
    let both = [&call[..], &[0xFF], call].concat();
    socket
        .write_all(&packet(0x03, 1, &with_headers(0, &both)))
        .await
        .unwrap();
    let one = [
        (0x81, 0, 0),
        (0xD1, 0, 1),
        (0xD1, 0, 2),
        (0xFF, MORE | COUNT, 2),
        (0x81, 0, 0),
        (0xFF, MORE | COUNT, 0),
        (0xFF, MORE | COUNT, 9),
        (0xAB, 0, 0),
        (0xE3, 0, 0),
        (0xAA, 0, 0),
        (0xFF, MORE | ERROR, 0),
        (0x81, 0, 0),
        (0xD1, 0, 3),
        (0xFF, MORE | COUNT, 1),
        (0x79, 0, 5),
        (0xFE, MORE, 0),
    ];
    let mut expected = [one, one].concat();
    *expected.last_mut().unwrap() = (0xFE, 0, 0);
    assert_eq!(tokens(&read(&mut socket).await.unwrap()), expected);
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn several_result_sets_are_told_apart_and_a_script_can_hang_up() {
    let server = server(|sql, _| {
        let set = |n: i32| Answer::rows(vec![Column::new("n", Type::Int)], [vec![n.into()]]);
        match sql {
            "two" => set(1).then(Answer::count(4)).then(set(2)),
            _ => set(1).then(Answer::new([Part::HangUp])).then(set(2)),
        }
    });
    let mut client = connect(&server).await;
    let sets = client
        .simple_query("two")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let read: Vec<Vec<i32>> = sets
        .iter()
        .map(|rows| rows.iter().map(|row| row.get(0).unwrap()).collect())
        .collect();
    assert_eq!(read, [[1], [2]]);
    let error = client
        .simple_query("up")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap_err();
    assert!(
        matches!(error, tiberius::error::Error::Io { .. }),
        "{error}"
    );
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}
