//! Change data capture.

use contract::{SourceError, Value as Cell};

use crate::common::world::ops;
use crate::site::Site;

pub async fn scenario_01_one_transaction_over_three_tables(mut site: Site) {
    site.names(&["c", "a", "b"]).await;
    site.cdc().await;
    site.run("INSERT INTO dbo.a (id, name) VALUES (1, N'old'); INSERT INTO dbo.b (id, name) VALUES (1, N'old')")
        .await;
    site.captured().await;
    let mut reader = site.open();
    reader.catch_up().await.unwrap();
    reader.told.clear();
    site.run(
        "BEGIN TRAN; INSERT INTO dbo.c (id, name) VALUES (7, N'x'); UPDATE dbo.b SET name = N'new' WHERE id = \
         1; DELETE FROM dbo.a WHERE id = 1; COMMIT TRAN",
    )
    .await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert c 7", "update b 1", "delete a 1"]);
    let seqs: Vec<u64> = told
        .iter()
        .map(|change| change.position.seq.into())
        .collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert!(
        told.iter()
            .all(|change| change.position.pos == told[0].position.pos)
    );
    let name = |row: &Option<Vec<Cell>>| row.as_ref().unwrap()[1].text();
    let update = &told[1];
    assert_eq!(name(&update.before).as_deref(), Some("old"));
    assert_eq!(name(&update.after).as_deref(), Some("new"));
}

pub async fn scenario_08_a_delete_without_its_text(mut site: Site) {
    site.table("t", "id int NOT NULL PRIMARY KEY, body text NOT NULL")
        .await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, body) VALUES (1, 'x')")
        .await;
    site.run("DELETE FROM dbo.t WHERE id = 1").await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1", "delete t 1"]);
    assert_eq!(told[1].before.as_ref().unwrap()[1], Cell::Unchanged);
}

pub async fn scenario_09_a_computed_column(mut site: Site) {
    site.table("t", "id int NOT NULL PRIMARY KEY, a int NULL, b AS (a + 1)")
        .await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, a) VALUES (1, 4)").await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    assert_eq!(told[0].shape.columns, ["id", "a"]);
}

/// Scenarios 13 and 14: nothing captured is no error.
pub async fn scenario_13_a_job_that_has_not_run(mut site: Site) {
    site.names(&["t"]).await;
    site.cdc().await;
    let mut reader = site.open();
    for id in [1, 2] {
        site.run(&format!("INSERT INTO dbo.t (id, name) VALUES ({id}, N'a')"))
            .await;
        reader.try_catch_up().await.unwrap();
        site.captured().await;
        reader.catch_up().await.unwrap();
    }
    assert_eq!(ops(&reader.told), ["insert t 1", "insert t 2"]);
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

pub async fn scenario_16_a_table_that_was_just_enabled(mut site: Site) {
    site.names(&["a"]).await;
    site.cdc().await;
    site.run("INSERT INTO dbo.a (id, name) VALUES (1, N'a')")
        .await;
    site.captured().await;
    site.names(&["b"]).await;
    site.capture("b", None).await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.b (id, name) VALUES (1, N'b')")
        .await;
    site.captured().await;
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert b 1"]);
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

pub async fn scenario_17_a_second_instance(mut site: Site) {
    let mut reader = site.capturing(&["t"]).await;
    reader.catch_up().await.unwrap();
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    site.run("ALTER TABLE dbo.t ADD more int NULL").await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (2, N'b')")
        .await;
    site.capture("t", Some("dbo_t_2")).await;
    site.run("INSERT INTO dbo.t (id, name, more) VALUES (3, N'c', 9)")
        .await;
    site.captured().await;
    reader.start_anew(site.source());
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert t 1", "insert t 2", "insert t 3"]);
    assert_eq!(told[1].shape.columns, ["id", "name"]);
    assert_eq!(told[2].shape.columns, ["id", "name", "more"]);
    site.release("t", "dbo_t").await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (4, N'd')")
        .await;
    site.captured().await;
    reader.start_anew(site.source());
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 4"]);
    assert!(reader.untold.is_empty(), "{:?}", reader.untold);
}

pub async fn scenario_18_an_instance_that_is_dropped_early(mut site: Site) {
    let mut reader = site.capturing(&["a", "b"]).await;
    reader.catch_up().await.unwrap();
    site.run("INSERT INTO dbo.a (id, name) VALUES (1, N'a'); INSERT INTO dbo.b (id, name) VALUES (1, N'b')")
        .await;
    site.captured().await;
    site.capture("a", Some("second")).await;
    site.release("a", "dbo_a").await;
    site.run("INSERT INTO dbo.a (id, name) VALUES (2, N'a')")
        .await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    assert_eq!(ops(&told), ["insert b 1", "insert a 2"]);
    let said = reader.said("a");
    assert!(
        said.first().is_some_and(|said| said.contains("are lost")),
        "{said:?}"
    );
    assert!(reader.said("b").is_empty(), "{:?}", reader.untold);
}

/// Restored, and then grown above our place.
pub async fn scenario_19_a_database_that_is_restored(mut site: Site) {
    site.names(&["t"]).await;
    site.cdc().await;
    site.back_up().await;
    let mut reader = site.open();
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    site.restore().await;
    for id in 10..20 {
        site.run(&format!("INSERT INTO dbo.t (id, name) VALUES ({id}, N'b')"))
            .await;
    }
    site.captured().await;
    reader.start_anew(site.source());
    let error = reader.catch_up().await.unwrap_err();
    assert!(
        matches!(error, SourceError::PositionLost { .. }),
        "{error:?}"
    );
}

/// Trap 2, where the functions are read: they tell no order of commands.
pub async fn trap_02_a_row_that_one_transaction_makes_and_removes_by_functions(mut site: Site) {
    site.names(&["t", "other"]).await;
    site.mode("cdc-function");
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a'); INSERT INTO dbo.other (id, name) VALUES (1, N'a')")
        .await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.untold, []);
    site.run("DELETE FROM dbo.t WHERE id = 1; INSERT INTO dbo.t (id, name) VALUES (1, N'b')")
        .await;
    site.run(
        "BEGIN TRAN; DELETE FROM dbo.other WHERE id = 1; INSERT INTO dbo.other (id, name) VALUES (1, N'b'); \
         COMMIT TRAN",
    )
    .await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    site.answered(&format!(
        "rows made again, by functions: {:?}",
        reader.untold
    ));
    for table in ["t", "other"] {
        let truth = site.truth(table, &["id", "name"]).await;
        assert!(reader.rows().of(table) == truth || !reader.said(table).is_empty());
    }
    site.run(
        "BEGIN TRAN; INSERT INTO dbo.t (id, name) VALUES (5, N'a'); DELETE FROM dbo.t WHERE id = 5; INSERT INTO \
         dbo.t (id, name) VALUES (5, N'b'); COMMIT TRAN",
    )
    .await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    let said = reader.said("t");
    assert!(
        said.first().is_some_and(|said| said.contains("came last")),
        "{said:?}"
    );
}
