//! What nobody knows without a real server. Where the source is made for more than one answer, the answer is
//! printed and only what the source makes of it is checked.

use std::time::Duration;

use crate::common::world::ops;
use crate::site::Site;

/// The heads that the source takes must be of rows that are there: read first, and the rows behind them after.
pub async fn unknown_01_captured_rows_become_visible_with_their_time(mut site: Site) {
    site.run("ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON")
        .await;
    site.names(&["t"]).await;
    site.cdc().await;
    let mut other = site.another().await;
    let count = |head: &str| {
        format!("SELECT COUNT(*) FROM cdc.[dbo_t_CT] AS c WHERE c.[__$start_lsn] <= {head}")
    };
    let mut seen: Vec<(String, Option<String>)> = Vec::new();
    let watching = async {
        loop {
            let head = "SELECT MAX(m.start_lsn) FROM cdc.lsn_time_mapping AS m";
            if let Some(head) = other.one(head).await {
                let rows = other.one(&count(&head)).await;
                seen.push((head, rows));
            }
            let untimed = "SELECT COUNT(*) FROM cdc.[dbo_t_CT] AS c LEFT JOIN cdc.lsn_time_mapping AS m ON \
                           m.start_lsn = c.[__$start_lsn] WHERE m.start_lsn IS NULL";
            assert_eq!(
                other.one(untimed).await.as_deref(),
                Some("0"),
                "rows without their time"
            );
        }
    };
    let writing = async {
        for n in 0..20 {
            site.run(&format!(
                "INSERT INTO dbo.t (id, name) VALUES ({n}, N'a'), ({}, N'b')",
                n + 100
            ))
            .await;
            site.captured().await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = writing => {}
    }
    seen.dedup();
    assert!(!seen.is_empty());
    for (head, rows) in seen {
        assert_eq!(
            site.one(&count(&head)).await,
            rows,
            "rows came behind their head {head}"
        );
    }
}

pub async fn unknown_02_an_untouched_large_value_in_the_new_row_of_an_update(mut site: Site) {
    let columns = "id int NOT NULL PRIMARY KEY, n int NULL, note nvarchar(max) NULL";
    site.table("t", columns).await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, n, note) VALUES (1, 1, N'long')")
        .await;
    site.run("UPDATE dbo.t SET n = 2 WHERE id = 1").await;
    site.captured().await;
    let raw = "SELECT c.note FROM cdc.[dbo_t_CT] AS c WHERE c.[__$operation] = 4";
    site.answered(&format!(
        "an untouched nvarchar(max) is {:?}",
        site.one(raw).await
    ));
    reader.catch_up().await.unwrap();
    let names = ["id", "n", "note"];
    assert_eq!(reader.rows().of("t"), site.truth("t", &names).await);
    site.run("UPDATE dbo.t SET note = NULL WHERE id = 1").await;
    site.captured().await;
    reader.catch_up().await.unwrap();
    assert_eq!(reader.rows().of("t"), site.truth("t", &names).await);
}

pub async fn unknown_03_the_order_of_every_form_of_an_update(mut site: Site) {
    let columns = "id int NOT NULL PRIMARY KEY, code int NOT NULL UNIQUE, name nvarchar(50) NULL";
    site.table("t", columns).await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    site.run(
        "INSERT INTO dbo.t (id, code, name) VALUES (1, 1, N'a'), (2, 2, N'b'), (3, 3, N'c'), (4, 4, N'd')",
    )
    .await;
    for form in [
        "UPDATE dbo.t SET name = N'x'",
        "UPDATE dbo.t SET id = 10 WHERE id = 1",
        // Each new key is another row's old one.
        "UPDATE dbo.t SET id = id + 1 WHERE id < 10",
        "UPDATE dbo.t SET id = CASE id WHEN 3 THEN 4 ELSE 3 END WHERE id = 3 OR id = 4",
        "UPDATE dbo.t SET code = code + 1",
        "UPDATE dbo.t SET id = id + 1, code = code + 1, name = N'y'",
        "BEGIN TRAN; DELETE FROM dbo.t WHERE id = 4; INSERT INTO dbo.t (id, code, name) VALUES (4, 40, N'z'); \
         UPDATE dbo.t SET name = N'zz' WHERE id = 4; COMMIT TRAN",
    ] {
        let before = reader.told.len();
        site.run(form).await;
        site.captured().await;
        reader.catch_up().await.unwrap();
        let told = ops(&reader.told[before..]);
        site.answered(&format!("{form}: {told:?}"));
        assert_eq!(
            reader.rows().of("t"),
            site.truth("t", &["id", "code", "name"]).await,
            "{form}"
        );
    }
}

pub async fn unknown_04_the_number_of_a_truncate_of_a_captured_table(mut site: Site) {
    site.names(&["t"]).await;
    site.cdc().await;
    assert_eq!(site.error("TRUNCATE TABLE dbo.t").await, 4711);
}

pub async fn unknown_05_the_number_of_a_snapshot_where_none_is_allowed(mut site: Site) {
    site.names(&["t"]).await;
    site.run("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
        .await;
    let read =
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT id FROM dbo.t; COMMIT TRAN";
    assert_eq!(site.another().await.error(read).await, 3952);
}

pub async fn unknown_06_the_number_of_a_snapshot_of_an_altered_table(mut site: Site) {
    site.names(&["t", "u"]).await;
    let mut reading = site.another().await;
    reading
        .run("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT id FROM dbo.u")
        .await;
    site.run("ALTER TABLE dbo.t ADD more int NULL").await;
    assert_eq!(reading.error("SELECT id FROM dbo.t").await, 3961);
}

/// Nothing else happens, so that the version may be the same.
pub async fn unknown_07_a_truncate_of_a_tracked_table_is_noticed(mut site: Site) {
    let mut reader = site.tracking(&["t"]).await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    reader.catch_up().await.unwrap();
    let version = "SELECT CHANGE_TRACKING_CURRENT_VERSION()";
    let before = site.one(version).await;
    site.run("TRUNCATE TABLE dbo.t").await;
    let after = site.one(version).await;
    site.answered(&format!(
        "TRUNCATE of a tracked table: version {before:?}, then {after:?}"
    ));
    reader.catch_up().await.unwrap();
    assert!(
        !reader.said("t").is_empty(),
        "the rows that went are not said"
    );
}

pub async fn unknown_08_tracking_off_and_on_is_noticed(mut site: Site) {
    let mut reader = site.tracking(&["t"]).await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    reader.catch_up().await.unwrap();
    site.run("ALTER TABLE dbo.t DISABLE CHANGE_TRACKING").await;
    site.run("DELETE FROM dbo.t WHERE id = 1").await;
    let version = "SELECT CHANGE_TRACKING_CURRENT_VERSION()";
    let before = site.one(version).await;
    site.run("ALTER TABLE dbo.t ENABLE CHANGE_TRACKING").await;
    let after = site.one(version).await;
    site.answered(&format!(
        "ENABLE CHANGE_TRACKING: version {before:?}, then {after:?}"
    ));
    reader.catch_up().await.unwrap();
    assert!(
        !reader.said("t").is_empty(),
        "the row that went is not said"
    );
}

pub async fn unknown_09_captured_changes_wait_for_no_row_lock(mut site: Site) {
    site.names(&["t"]).await;
    site.cdc().await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    let mut reader = site.open().started().await;
    let mut holding = site.another().await;
    holding
        .run("BEGIN TRAN; UPDATE dbo.t SET name = N'held' WHERE id = 1")
        .await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (2, N'b')")
        .await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    assert!(
        ops(&told).contains(&"insert t 2".to_owned()),
        "{:?}",
        ops(&told)
    );
    holding.run("ROLLBACK TRAN").await;
}

pub async fn unknown_10_the_number_of_the_edition(site: Site) {
    let sql = "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int)";
    let number = site.one(sql).await.unwrap();
    let sql = "SELECT CAST(SERVERPROPERTY('Edition') AS nvarchar(128))";
    let edition = site.one(sql).await.unwrap();
    site.answered(&format!("edition {edition} has number {number}"));
    assert_eq!(edition.contains("Express"), number == "4");
    assert_eq!(
        edition.contains("Azure"),
        ["5", "8"].contains(&number.as_str())
    );
}

/// Scenario 24: what a clean-up took is said, or it was not taken; and a table in which nothing happens does not
/// fall behind.
pub async fn unknown_11_when_change_tracking_is_cleaned_up(mut site: Site) {
    site.names(&["idle", "t"]).await;
    site.track().await;
    site.run("ALTER DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = 1 MINUTES)")
        .await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    reader.catch_up().await.unwrap();
    reader.start_anew(site.source());
    site.run("INSERT INTO dbo.t (id, name) VALUES (2, N'b')")
        .await;
    let valid = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.t'))";
    let before = site.one(valid).await;
    site.pass(Duration::from_secs(90)).await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (3, N'c')")
        .await;
    site.run("EXEC sys.sp_flush_CT_internal_table_on_demand @TableToClean = N't'")
        .await;
    let after = site.one(valid).await;
    site.answered(&format!(
        "90 s behind a retention of 1 min the lowest valid version was {before:?}, and is {after:?}"
    ));
    let told = ops(&reader.catch_up().await.unwrap());
    let both = told == ["insert t 2", "insert t 3"];
    assert!(both || !reader.said("t").is_empty(), "{told:?}");
    assert!(reader.said("idle").is_empty(), "{:?}", reader.untold);
    // And it goes on.
    site.run("INSERT INTO dbo.t (id, name) VALUES (4, N'd')")
        .await;
    let told = ops(&reader.catch_up().await.unwrap());
    assert_eq!(told, ["insert t 4"]);
}
