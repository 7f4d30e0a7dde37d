//! Change Tracking: versions, clean-up, TRUNCATE, errors.

use tds_server::model::{Database, Which};
use tds_server::wire::Value;

use crate::common::{ask, big, gone, net, one, put, refusal, rows_of, shop, tracked};

const VALID: &str = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'[dbo].[orders]'))";
const VERSION: &str = "SELECT CHANGE_TRACKING_CURRENT_VERSION()";
const CHANGES: &str = "SELECT CT.id FROM CHANGETABLE(CHANGES dbo.orders, @P1) AS CT";

/// §1.3: NULL for not enabled, unknown, dropped.
#[test]
fn what_is_not_tracked_has_no_version() {
    let database = shop();
    assert_eq!(one(&database, VERSION, &[]), Value::Null);
    assert_eq!(one(&database, VALID, &[]), Value::Null);
    assert_eq!(
        one(
            &database,
            "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.nothing'))",
            &[]
        ),
        Value::Null
    );
    assert_eq!(refusal(&database, CHANGES, &[big("@P1", 0)]).number, 22_105);
}

/// Trap 14: a version that is too old is no error; only the lowest valid one says so.
#[test]
fn a_version_that_is_too_old_silently_gives_less() {
    let database = tracked();
    let start = database.tracking_version().unwrap();
    put(&database, 1, "a");
    put(&database, 2, "b");
    database.tracking_cleanup("dbo.orders", start + 1).unwrap();
    assert_eq!(net(&database, start), [gone(start + 2, "I", 2)]);
    assert_eq!(one(&database, VALID, &[]), (start + 1).into());
}

/// Trap 16: the version of one table overtakes that of an idle one; both have one counter.
#[test]
fn all_tables_count_one_version() {
    let database = tracked();
    database
        .run("CREATE TABLE dbo.other (id int PRIMARY KEY)")
        .unwrap();
    database.track("dbo.other").unwrap();
    let start = database.tracking_version().unwrap();
    put(&database, 1, "a");
    database.insert("dbo.other", &[("id", 1.into())]).unwrap();
    assert_eq!(database.tracking_version(), Some(start + 2));
    database
        .run("CREATE TABLE dbo.quiet (id int PRIMARY KEY)")
        .unwrap();
    database.insert("dbo.quiet", &[("id", 1.into())]).unwrap();
    assert_eq!(
        database.tracking_version(),
        Some(start + 2),
        "other tables do not count"
    );
}

/// Trap 12: no deletes are told, and it is as if just enabled. Whether the version rises is an option.
#[test]
fn truncate_resets_the_lowest_valid_version() {
    for counts in [true, false] {
        let database = tracked();
        database.options(|options| options.truncate_is_a_version = counts);
        put(&database, 1, "a");
        let before = database.tracking_version().unwrap();
        database.truncate("dbo.orders").unwrap();
        assert!(net(&database, 0).is_empty());
        assert!(database.rows("dbo.orders").unwrap().is_empty());
        assert_eq!(
            one(&database, VALID, &[]),
            (before + i64::from(counts)).into()
        );
    }
}

#[test]
fn disabled_and_enabled_again_is_as_if_new() {
    let database = tracked();
    put(&database, 1, "a");
    let before = database.tracking_version().unwrap();
    database.untrack("dbo.orders").unwrap();
    assert_eq!(one(&database, VALID, &[]), Value::Null);
    assert_eq!(refusal(&database, CHANGES, &[big("@P1", 0)]).number, 22_105);
    database.track("dbo.orders").unwrap();
    assert_eq!(one(&database, VALID, &[]), (before + 1).into());
    assert!(net(&database, 0).is_empty());
}

#[test]
fn a_table_without_a_key_cannot_be_tracked() {
    let database = shop();
    database.run("CREATE TABLE dbo.heap (id int)").unwrap();
    assert_eq!(database.track("dbo.heap").unwrap_err().number, 4997);
    let tracked = tracked();
    assert_eq!(tracked.drop_key("dbo.orders").unwrap_err().number, 3744);
    tracked.untrack("dbo.orders").unwrap();
    tracked.drop_key("dbo.orders").unwrap();
}

const POLL: &str = "SET XACT_ABORT ON; SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; \
                    SELECT CHANGE_TRACKING_CURRENT_VERSION() AS v, \
                    CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'[dbo].[orders]')) AS min_valid";

/// Scenario 23: a commit between the version and the changes.
#[test]
fn a_snapshot_sees_neither_later_changes_nor_their_version() {
    let database = tracked();
    put(&database, 1, "a");
    let version = database.tracking_version().unwrap();
    database.before(Which::next("CHANGETABLE"), |database| {
        put(database, 2, "b");
    });
    let mut connection = database.connect("sa");
    assert_eq!(rows_of(&mut connection, POLL, &[])[0][0], version.into());
    assert_eq!(
        rows_of(&mut connection, CHANGES, &[big("@P1", 0)]),
        [[1.into()]]
    );
    assert_eq!(database.hooks_waiting(), 0);
    assert_eq!(
        rows_of(&mut connection, "SELECT id FROM dbo.orders", &[]),
        [[1.into()]]
    );
    connection.query("COMMIT TRAN", &[]).unwrap();
    assert_eq!(rows_of(&mut connection, CHANGES, &[big("@P1", 0)]).len(), 2);
    // Without a snapshot the changes are newer than the version.
    let mut plain = database.connect("sa");
    database.before(Which::next("CHANGETABLE"), |database| {
        put(database, 3, "c");
    });
    let noted = rows_of(&mut plain, VERSION, &[])[0][0].clone();
    assert_eq!(noted, (version + 1).into());
    assert_eq!(rows_of(&mut plain, CHANGES, &[big("@P1", 0)]).len(), 3);
}

/// Trap 14: whether a snapshot notices a clean-up is an option.
#[test]
fn a_clean_up_under_a_snapshot_shows_or_hides_as_the_options_say() {
    for shows in [false, true] {
        let database = tracked();
        database.options(|options| options.cleanup_shows_in_snapshots = shows);
        put(&database, 1, "a");
        let version = database.tracking_version().unwrap();
        let mut connection = database.connect("sa");
        let valid = rows_of(&mut connection, POLL, &[])[0][1].clone();
        database.tracking_cleanup("dbo.orders", version).unwrap();
        let rows = rows_of(&mut connection, CHANGES, &[big("@P1", 0)]);
        let now = rows_of(&mut connection, VALID, &[])[0][0].clone();
        assert_eq!(
            (rows.len(), now == valid),
            if shows { (0, false) } else { (1, true) }
        );
    }
}

/// Trap 8: the docs' own example. After a restore the counter grows over the client's version.
#[test]
fn after_a_restore_the_version_is_lower_and_grows_again() {
    let database = tracked();
    put(&database, 1, "a");
    let backup = database.backup();
    put(&database, 2, "b");
    put(&database, 3, "c");
    let client = database.tracking_version().unwrap();
    database.restore(&backup);
    assert!(database.tracking_version().unwrap() < client);
    for id in 10..15 {
        put(&database, id, "x");
    }
    assert!(database.tracking_version().unwrap() > client);
    let Value::BigInt(valid) = one(&database, VALID, &[]) else {
        panic!()
    };
    assert!(
        valid < client,
        "the check of the lowest valid version passes"
    );
}

/// Scenario 28.
#[test]
fn a_read_only_copy_says_so_and_takes_no_change() {
    let database = tracked();
    let sql = "SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(128))";
    assert_eq!(one(&database, sql, &[]), "READ_WRITE".into());
    database.read_only(true);
    assert_eq!(one(&database, sql, &[]), "READ_ONLY".into());
    assert_eq!(
        database
            .insert("dbo.orders", &[("id", 1.into())])
            .unwrap_err()
            .number,
        3906
    );
}

#[test]
fn it_is_set_up_by_statements() {
    let database = shop();
    let run = |sql: &str| database.connect("sa").query(sql, &[]).map(drop);
    assert_eq!(
        run("ALTER TABLE dbo.orders ENABLE CHANGE_TRACKING")
            .unwrap_err()
            .number,
        22_106
    );
    run("ALTER DATABASE [shop] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 3 DAYS, AUTO_CLEANUP = ON)").unwrap();
    run("ALTER TABLE [dbo].[orders] ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)")
        .unwrap();
    assert_eq!(
        run("ALTER TABLE dbo.orders ENABLE CHANGE_TRACKING")
            .unwrap_err()
            .number,
        4996
    );
    let sql = "SELECT retention_period, retention_period_units_desc FROM sys.change_tracking_databases \
               WHERE database_id = DB_ID()";
    assert_eq!(ask(&database, sql, &[]), [[3.into(), "DAYS".into()]]);
    assert_eq!(
        run("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF")
            .unwrap_err()
            .number,
        22_115
    );
    run("ALTER TABLE dbo.orders DISABLE CHANGE_TRACKING").unwrap();
    run("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF").unwrap();
    assert_eq!(one(&database, VERSION, &[]), Value::Null);
}

#[test]
fn a_transaction_in_flight_is_not_told_before_it_commits() {
    let database: Database = tracked();
    let slow = database.begin();
    slow.insert("dbo.orders", &[("id", 1.into())]).unwrap();
    put(&database, 2, "b");
    let between = database.tracking_version().unwrap();
    assert_eq!(net(&database, 0).len(), 1);
    let version = slow.commit().unwrap().version.unwrap();
    assert!(version > between, "its version is that of its commit");
    assert_eq!(net(&database, between), [gone(version, "I", 1)]);
}
