//! What goes wrong where the test wants it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::time::Duration;

use futures_util::TryStreamExt;
use tds_server::wire::{
    Answer, Column, Fault, FaultKind, Gate, Length, LoginFault, Options, Part, Point, Server,
    ServerError, Type, Value, answering,
};
use tiberius::{ColumnData, QueryItem};

use crate::support::{self, config, connect, connect_with, server};

fn columns() -> Vec<Column> {
    vec![
        Column::new("n", Type::Int),
        Column::new("t", Type::NVarChar(Length::Of(10))),
        Column::new("m", Type::VarBinary(Length::Max)),
    ]
}

fn row(n: i32) -> Vec<Value> {
    vec![
        n.into(),
        if n % 2 == 0 {
            Value::Null
        } else {
            "wörter".into()
        },
        vec![7; 20].into(),
    ]
}

/// A server with `rows <n>`.
fn rows() -> Server {
    server(|sql, _| {
        let count: i32 = sql.trim_start_matches("rows ").parse().unwrap();
        Answer::rows(columns(), (0..count).map(row))
    })
}

/// What comes of a statement: the rows before the error, and the error.
async fn take(
    client: &mut support::Tiberius,
    sql: &str,
) -> (
    Vec<Vec<ColumnData<'static>>>,
    Option<tiberius::error::Error>,
) {
    let mut rows = Vec::new();
    let mut stream = match client.query(sql.to_owned(), &[]).await {
        Ok(stream) => stream,
        Err(error) => return (rows, Some(error)),
    };
    loop {
        match stream.try_next().await {
            Ok(Some(QueryItem::Row(row))) => rows.push(row.into_iter().collect()),
            Ok(Some(QueryItem::Metadata(_))) => {}
            Ok(None) => return (rows, None),
            Err(error) => return (rows, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_packet_border_at_any_byte_gives_the_same_rows() {
    let server = rows();
    let mut client = connect(&server).await;
    let (expected, error) = take(&mut client, "rows 4").await;
    assert!(error.is_none() && expected.len() == 4);
    for split in 1..400 {
        server.handle().fault(Fault::new(FaultKind::Split(split)));
        let (read, error) = take(&mut client, "rows 4").await;
        assert!(error.is_none(), "at {split}: {error:?}");
        assert!(read == expected, "at {split}");
    }
    assert_eq!(server.handle().faults_left(), 0);
}

#[tokio::test]
async fn a_cut_at_any_byte_is_an_error_and_never_a_shorter_answer() {
    let server = rows();
    let mut cut = 0;
    loop {
        let mut client = connect(&server).await;
        server
            .handle()
            .fault(Fault::new(FaultKind::Cut(Point::Bytes(cut))));
        let (read, error) = take(&mut client, "rows 2").await;
        if error.is_none() {
            // The answer is not longer than that.
            assert_eq!(read.len(), 2);
            break;
        }
        cut += 1;
        assert!(cut < 1000);
    }
    assert!(cut > 150, "{cut}");
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_is_cut_after_rows_in_a_row_and_at_its_end() {
    let server = rows();
    for (point, most) in [
        (Point::Start, 0),
        (Point::Rows(3), 3),
        (Point::InRow { rows: 3, bytes: 2 }, 3),
        (Point::End, 5),
    ] {
        let mut client = connect(&server).await;
        server
            .handle()
            .fault(Fault::new(FaultKind::Cut(point)).on("rows 5"));
        let (read, error) = take(&mut client, "rows 5").await;
        assert_eq!(read.len(), most, "{point:?}");
        assert!(error.is_some(), "{point:?}");
    }
    assert_eq!(server.handle().faults_left(), 0);
}

#[tokio::test]
async fn an_error_stands_after_some_rows_and_the_connection_goes_on() {
    let server = rows();
    let mut client = connect(&server).await;
    let error = ServerError::new(1205, 13, "chosen as the deadlock victim");
    let fault = FaultKind::Error { rows: 500, error };
    server
        .handle()
        .fault(Fault::new(fault).on("rows 600").after(1));
    assert_eq!(take(&mut client, "rows 600").await.0.len(), 600);
    let (read, error) = take(&mut client, "rows 600").await;
    assert_eq!(read.len(), 500);
    assert_eq!(error.unwrap().code(), Some(1205));
    assert_eq!(take(&mut client, "rows 600").await.0.len(), 600);
}

#[tokio::test]
async fn a_stall_shows_what_was_before_it_and_goes_on_when_the_gate_opens() {
    let server = rows();
    for point in [
        Point::Start,
        Point::Bytes(100),
        Point::Rows(3),
        Point::InRow { rows: 3, bytes: 2 },
        Point::End,
    ] {
        let gate = Gate::closed();
        server
            .handle()
            .fault(Fault::new(FaultKind::Stall(point, gate.clone())));
        let mut client = connect(&server).await;
        let mut stream_rows = 0;
        let (read, ()) = tokio::join!(take(&mut client, "rows 5"), async {
            gate.reached().await;
            stream_rows += 1;
            gate.open();
        });
        assert_eq!(read.0.len(), 5, "{point:?}");
        assert!(read.1.is_none());
        assert_eq!(stream_rows, 1);
    }
}

#[tokio::test]
async fn rows_before_a_gate_in_the_answer_are_there_before_it_opens() {
    let gate = Gate::closed();
    let server = server({
        let gate = gate.clone();
        move |_, _| {
            let first = [
                Part::Columns(columns()),
                Part::Row(row(0)),
                Part::Wait(gate.clone()),
            ];
            Answer::new(first.into_iter().chain([Part::Row(row(1))]))
        }
    });
    let mut client = connect(&server).await;
    let mut rows = client.query("x", &[]).await.unwrap().into_row_stream();
    assert_eq!(
        rows.try_next().await.unwrap().unwrap().get::<i32, _>(0),
        Some(0)
    );
    gate.reached().await;
    gate.open();
    assert_eq!(
        rows.try_next().await.unwrap().unwrap().get::<i32, _>(0),
        Some(1)
    );
    assert!(rows.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_wish_to_stop_is_granted_in_the_middle_of_rows_and_at_a_gate() {
    let gate = Gate::closed();
    let server = server({
        let gate = gate.clone();
        move |sql, _| match sql {
            "long" => Answer::rows(columns(), (0..1_000_000).map(row)),
            "gate" => Answer::wait(gate.clone()).then(Answer::count(1)),
            _ => Answer::count(7),
        }
    });
    let mut client = connect(&server).await;
    {
        let mut rows = client.simple_query("long").await.unwrap().into_row_stream();
        for _ in 0..100 {
            rows.try_next().await.unwrap().unwrap();
        }
    }
    tokio::time::timeout(Duration::from_mins(1), client.cancel_query())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [7]);

    {
        let asked = client.simple_query("gate");
        tokio::pin!(asked);
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::select! {
            biased;
            () = gate.reached() => {}
            _ = asked => panic!("it was answered"),
        }
    }
    tokio::time::timeout(Duration::from_mins(1), client.cancel_query())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(client.execute("x", &[]).await.unwrap().rows_affected(), [7]);
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wish_to_stop_can_be_ignored() {
    let server = rows();
    server
        .handle()
        .fault(Fault::new(FaultKind::IgnoreAttention));
    let gate = Gate::closed();
    server
        .handle()
        .fault(Fault::new(FaultKind::Stall(Point::Rows(2), gate.clone())));
    let mut client = connect(&server).await;
    {
        let mut rows = client.query("rows 9", &[]).await.unwrap().into_row_stream();
        rows.try_next().await.unwrap().unwrap();
    }
    gate.reached().await;
    let cancel = client.cancel_query();
    tokio::pin!(cancel);
    // The answer goes on to its end and the wish is never answered.
    assert!(futures_util::poll!(&mut cancel).is_pending());
    gate.open();
    assert!(cancel.await.is_err());
}

#[tokio::test]
async fn an_error_of_class_20_ends_the_connection() {
    let server = server(|_, _| Answer::error(ServerError::new(823, 24, "disk")));
    let mut client = connect(&server).await;
    let (_, error) = take(&mut client, "x").await;
    assert_eq!(error.unwrap().code(), Some(823));
    server.handle().all_closed().await;
    assert!(take(&mut client, "x").await.1.is_some());
}

#[tokio::test]
async fn logins_are_refused_dropped_and_stalled() {
    let server = rows();
    let handle = server.handle();
    let refused = ServerError::login_failed("agent");
    for (fault, code) in [
        (LoginFault::DropAtConnect, None),
        (LoginFault::DropAtPrelogin, None),
        (LoginFault::DropAtLogin, None),
        (LoginFault::Refuse(refused), Some(18456)),
    ] {
        handle.login_fault(fault.clone());
        let error = connect_with(&server, config(&server)).await.err().unwrap();
        assert_eq!(error.code(), code, "{fault:?}");
    }
    let gate = Gate::closed();
    handle.login_fault(LoginFault::Stall(gate.clone()));
    let (client, ()) = tokio::join!(connect(&server), async {
        gate.reached().await;
        gate.open();
    });
    drop(client);
    assert_eq!(handle.connection_count(), 5);
    handle.all_closed().await;
    assert_eq!(handle.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_million_rows_are_made_as_they_are_taken() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};
    let made = Arc::new(AtomicI32::new(0));
    let server = server({
        let made = made.clone();
        move |_, _| {
            let made = made.clone();
            Answer::rows(
                columns(),
                (0..1_000_000).map(move |n| {
                    made.store(n + 1, Ordering::SeqCst);
                    row(n)
                }),
            )
        }
    });
    let mut client = connect(&server).await;
    let mut rows = client.query("x", &[]).await.unwrap().into_row_stream();
    for _ in 0..100 {
        rows.try_next().await.unwrap().unwrap();
    }
    // The client takes no more and goes. The sockets hold a few megabytes at most.
    drop(rows);
    drop(client);
    server.handle().all_closed().await;
    let made = made.load(Ordering::SeqCst);
    assert!(made < 300_000, "{made} rows made for 100 taken");
}

#[tokio::test]
async fn the_server_ends_its_connections_when_it_is_dropped() {
    let gate = Gate::closed();
    let server = Server::start(Options::default(), {
        let gate = gate.clone();
        answering(move |_, _| Answer::wait(gate.clone()))
    })
    .unwrap();
    let mut client = connect(&server).await;
    let (answer, ()) = tokio::join!(take(&mut client, "x"), async {
        gate.reached().await;
        drop(server);
    });
    assert!(answer.1.is_some());
}
