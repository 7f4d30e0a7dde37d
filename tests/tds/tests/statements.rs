//! Statements, counts, messages and transactions through tiberius.

mod support;

use support::{connect, server};
use tds_server::wire::Length;
use tds_server::wire::{Answer, Column, Part, ServerError, Type, Value};

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
