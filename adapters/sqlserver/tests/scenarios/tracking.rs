//! Change Tracking.

use crate::common::denied;
use crate::common::world::ops;
use crate::site::Site;

pub async fn scenario_12_changes_that_may_not_be_read(mut site: Site) {
    site.names(&["t"]).await;
    site.track().await;
    site.least().await;
    site.mode("tracking");
    let error = site.source().stream(1, None).await.err().unwrap();
    denied(
        &error,
        "tracked changes",
        "GRANT VIEW CHANGE TRACKING ON [dbo].[t]",
    );
}

pub async fn scenario_22_a_row_made_again_and_a_changed_key(mut site: Site) {
    let mut reader = site.tracking(&["t"]).await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a'), (2, N'b')")
        .await;
    reader.catch_up().await.unwrap();
    site.run(
        "BEGIN TRAN; DELETE FROM dbo.t WHERE id = 1; INSERT INTO dbo.t (id, name) VALUES (1, N'new'); COMMIT \
         TRAN; UPDATE dbo.t SET id = 3 WHERE id = 2",
    )
    .await;
    let told = reader.catch_up().await.unwrap();
    let mut found = ops(&told);
    found.sort();
    assert_eq!(found, ["delete t 2", "insert t 3", "update t 1"]);
    assert_eq!(
        reader.rows().of("t"),
        site.truth("t", &["id", "name"]).await
    );
}

pub async fn scenario_25_an_emptied_table(mut site: Site) {
    let mut reader = site.tracking(&["t"]).await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    reader.catch_up().await.unwrap();
    site.run("TRUNCATE TABLE dbo.t; INSERT INTO dbo.t (id, name) VALUES (2, N'b')")
        .await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.said("t").len(), 1, "{:?}", reader.untold);
    site.run("INSERT INTO dbo.t (id, name) VALUES (3, N'c')")
        .await;
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 3"]);
    assert_eq!(reader.untold.len(), 1, "said once");
}

pub async fn scenario_26_a_table_whose_tracking_ends(mut site: Site) {
    let mut reader = site.tracking(&["a", "b"]).await;
    site.run("INSERT INTO dbo.a (id, name) VALUES (1, N'a')")
        .await;
    reader.catch_up().await.unwrap();
    site.run("ALTER TABLE dbo.a DISABLE CHANGE_TRACKING").await;
    site.run("INSERT INTO dbo.b (id, name) VALUES (1, N'b')")
        .await;
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert b 1"]);
    assert!(!reader.said("a").is_empty());
    assert!(reader.said("b").is_empty(), "{:?}", reader.untold);
}

pub async fn scenario_27_snapshots_that_are_turned_off(mut site: Site) {
    let mut reader = site.tracking(&["t"]).await;
    reader.catch_up().await.unwrap();
    site.run("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
        .await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["insert t 1"]);
}
