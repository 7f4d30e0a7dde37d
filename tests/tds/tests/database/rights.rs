//! §1.3: what a login without rights gets.

use tds_server::model::{Database, User};
use tds_server::wire::Value;

use crate::common::{big, captured, place, put, rows_of};

/// Captured, tracked, and a user that may only connect.
fn poor() -> (Database, u64) {
    let database = captured();
    database.track("dbo.orders").unwrap();
    let last = put(&database, 1, "a");
    database.capture_all();
    database.add_user(User::new("poor", "x"));
    (database, last)
}

fn grant(database: &Database, what: &str) {
    database
        .connect("sa")
        .query(&format!("GRANT {what} TO [poor]"), &[])
        .unwrap();
}

fn number(database: &Database, sql: &str) -> i32 {
    let parameters = [big("@P1", 0)];
    database
        .connect("poor")
        .query(sql, &parameters)
        .err()
        .map_or(0, |error| error.number)
}

#[test]
fn zero_and_null_stand_for_no_rights() {
    let (database, _) = poor();
    let mut connection = database.connect("poor");
    let min = "SELECT sys.fn_cdc_get_min_lsn(N'dbo_orders')";
    let valid = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.orders'))";
    assert_eq!(
        rows_of(&mut connection, min, &[]),
        [[Value::Bytes(vec![0; 10])]]
    );
    assert_eq!(rows_of(&mut connection, valid, &[]), [[Value::Null]]);
    grant(&database, "SELECT ON [dbo].[orders]");
    assert_ne!(
        rows_of(&mut connection, min, &[]),
        [[Value::Bytes(vec![0; 10])]]
    );
    assert_eq!(rows_of(&mut connection, valid, &[]), [[Value::Null]]);
    grant(&database, "VIEW CHANGE TRACKING ON OBJECT::[dbo].[orders]");
    assert_ne!(rows_of(&mut connection, valid, &[]), [[Value::Null]]);
}

#[test]
fn each_read_needs_its_own_right() {
    let (database, _) = poor();
    let table = "SELECT id FROM dbo.orders";
    let changes = "SELECT CT.id FROM CHANGETABLE(CHANGES dbo.orders, @P1) AS CT";
    let direct = "SELECT id FROM cdc.dbo_orders_CT";
    let agent = "SELECT status FROM sys.dm_server_services";
    let jobs = "SELECT pollinginterval FROM msdb.dbo.cdc_jobs";
    let all = [table, changes, direct, agent, jobs];
    assert_eq!(
        all.map(|sql| number(&database, sql)),
        [229, 229, 229, 300, 229]
    );
    grant(&database, "SELECT ON dbo.orders");
    grant(&database, "SELECT ON SCHEMA::cdc");
    assert_eq!(all.map(|sql| number(&database, sql)), [0, 229, 0, 300, 229]);
    grant(&database, "VIEW CHANGE TRACKING ON dbo.orders");
    grant(&database, "VIEW SERVER STATE");
    assert_eq!(all.map(|sql| number(&database, sql)), [0, 0, 0, 0, 229]);
}

/// Whoever asks is told of what they may read, and of nothing else.
#[test]
fn instances_are_told_to_those_who_may_read_them() {
    let (database, _) = poor();
    let mut connection = database.connect("poor");
    let help = "EXEC sys.sp_cdc_help_change_data_capture";
    let ordinal = "SELECT sys.fn_cdc_get_column_ordinal(N'dbo_orders', N'id')";
    assert_eq!(rows_of(&mut connection, help, &[]), [] as [[Value; 0]; 0]);
    assert_eq!(rows_of(&mut connection, ordinal, &[]), [[Value::Null]]);
    grant(&database, "SELECT ON dbo.orders");
    let told = rows_of(&mut connection, help, &[]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][2], Value::text("dbo_orders"));
    assert_eq!(rows_of(&mut connection, ordinal, &[]), [[Value::Int(1)]]);
}

#[test]
fn a_gating_role_is_needed_beside_select() {
    let database = captured();
    database.drop_instance("dbo_orders").unwrap();
    database
        .capture_table_for("dbo.orders", None, None, Some("gate"))
        .unwrap();
    let last = put(&database, 1, "a");
    database.capture_all();
    database.add_user(User::new("poor", "x"));
    grant(&database, "SELECT ON dbo.orders");
    let sql = "SELECT f.id FROM cdc.fn_cdc_get_all_changes_dbo_orders(@P1, @P2, N'all') AS f";
    let ask = || {
        database
            .connect("poor")
            .query(sql, &[place("@P1", last), place("@P2", last)])
    };
    assert_eq!(ask().unwrap_err().number, 229);
    database.run("ALTER ROLE gate ADD MEMBER poor").unwrap();
    assert_eq!(ask().unwrap()[0].rows.len(), 1);
}

#[test]
fn what_a_user_may_not_see_is_not_in_the_catalogue() {
    let (database, _) = poor();
    let mut connection = database.connect("poor");
    assert!(rows_of(&mut connection, "SELECT name FROM sys.tables", &[]).is_empty());
    assert_eq!(
        rows_of(&mut connection, "SELECT OBJECT_ID(N'dbo.orders')", &[]),
        [[Value::Null]]
    );
    let rights = "SELECT HAS_PERMS_BY_NAME(N'[dbo].[orders]', 'OBJECT', 'SELECT'), IS_MEMBER('db_owner'), \
                  HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE')";
    assert_eq!(
        rows_of(&mut connection, rights, &[]),
        [[0.into(), 0.into(), 0.into()]]
    );
    assert_eq!(
        rows_of(&mut database.connect("sa"), rights, &[]),
        [[1.into(), 1.into(), 1.into()]]
    );
    assert_eq!(number(&database, "DELETE FROM dbo.orders"), 229);
    assert_eq!(
        number(&database, "ALTER TABLE dbo.orders DISABLE CHANGE_TRACKING"),
        15_247
    );
    assert_eq!(number(&database, "EXEC sys.sp_cdc_help_jobs"), 22_904);
}

#[test]
fn logins_and_users_are_made_by_statements() {
    let (database, _) = poor();
    for sql in [
        "CREATE LOGIN [reader] WITH PASSWORD = N'Long-1', CHECK_POLICY = ON",
        "CREATE USER [reader] FOR LOGIN [reader]",
        "GRANT SELECT, VIEW CHANGE TRACKING ON [dbo].[orders] TO [reader]",
    ] {
        database.connect("sa").query(sql, &[]).unwrap();
    }
    let mut reader = database.connect("reader");
    assert_eq!(
        rows_of(&mut reader, "SELECT SUSER_SNAME()", &[]),
        [["reader".into()]]
    );
    assert_eq!(
        rows_of(&mut reader, "SELECT id FROM dbo.orders", &[]).len(),
        1
    );
    database
        .connect("sa")
        .query("REVOKE SELECT ON dbo.orders FROM reader", &[])
        .unwrap();
    assert_eq!(
        reader
            .query("SELECT id FROM dbo.orders", &[])
            .unwrap_err()
            .number,
        229
    );
}

#[test]
fn what_was_granted_by_name_is_in_the_catalogue() {
    let (database, _) = poor();
    grant(&database, "SELECT ON dbo.orders");
    grant(&database, "SELECT ON SCHEMA::cdc");
    let mut connection = database.connect("sa");
    let sql = "SELECT p.class, p.permission_name FROM sys.database_permissions AS p WHERE \
               p.grantee_principal_id = USER_ID(@P1) AND (p.state = 'G' OR p.state = 'W') ORDER BY p.class";
    let poor = crate::common::text("@P1", "poor");
    let found = rows_of(&mut connection, sql, std::slice::from_ref(&poor));
    let row = |class: u8, right: &str| vec![Value::TinyInt(class), right.into()];
    assert_eq!(
        found,
        [row(0, "CONNECT"), row(1, "SELECT"), row(3, "SELECT")]
    );
    let sql = "SELECT dp.name FROM sys.database_principals AS dp WHERE dp.sid = SUSER_SID(@P1)";
    assert_eq!(rows_of(&mut connection, sql, &[poor]), [["poor".into()]]);
    let nobody = [crate::common::text("@P1", "nobody")];
    assert_eq!(
        rows_of(&mut connection, "SELECT SUSER_SID(@P1)", &nobody),
        [[Value::Null]]
    );
    let sql = "SELECT IS_ROLEMEMBER('db_owner', N'poor'), IS_ROLEMEMBER('db_owner', N'dbo')";
    assert_eq!(rows_of(&mut connection, sql, &[]), [[0.into(), 1.into()]]);
}
