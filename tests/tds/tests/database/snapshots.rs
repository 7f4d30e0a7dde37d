//! Trap 17 and what transactions see of one another.

use tds_server::model::{Column, Which};
use tds_server::wire::{ServerError, Type};

use crate::common::{ints, put, rows_of, shop, tracked};

const READ: &str = "SELECT id FROM dbo.orders ORDER BY id";

#[test]
fn a_snapshot_is_as_of_its_first_read_and_read_committed_as_of_each_statement() {
    let database = shop();
    put(&database, 1, "a");
    let mut snapshot = database.connect("sa");
    snapshot
        .query("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN", &[])
        .unwrap();
    put(&database, 2, "b");
    assert_eq!(ints(&rows_of(&mut snapshot, READ, &[])), [1, 2]);
    let mut plain = database.connect("sa");
    plain.query("BEGIN TRAN", &[]).unwrap();
    put(&database, 3, "c");
    let open = database.begin();
    open.insert("dbo.orders", &[("id", 4.into())]).unwrap();
    assert_eq!(ints(&rows_of(&mut snapshot, READ, &[])), [1, 2]);
    assert_eq!(ints(&rows_of(&mut plain, READ, &[])), [1, 2, 3]);
    open.commit().unwrap();
    assert_eq!(ints(&rows_of(&mut plain, READ, &[])), [1, 2, 3, 4]);
    snapshot.query("COMMIT", &[]).unwrap();
    assert_eq!(ints(&rows_of(&mut snapshot, READ, &[])), [1, 2, 3, 4]);
}

#[test]
fn a_deleted_row_and_its_old_values_stay_for_the_snapshot() {
    let database = shop();
    put(&database, 1, "a");
    put(&database, 2, "b");
    let mut snapshot = database.connect("sa");
    let sql = "SELECT name FROM dbo.orders ORDER BY id";
    snapshot
        .query("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN", &[])
        .unwrap();
    let before = rows_of(&mut snapshot, sql, &[]);
    database.delete("dbo.orders", &[1.into()]).unwrap();
    database
        .update("dbo.orders", &[2.into()], &[("name", "z".into())])
        .unwrap();
    assert_eq!(rows_of(&mut snapshot, sql, &[]), before);
}

#[test]
fn snapshot_isolation_must_be_allowed() {
    let database = tracked();
    database.allow_snapshot(false);
    let mut connection = database.connect("sa");
    connection
        .query("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN", &[])
        .unwrap();
    for sql in [READ, "SELECT CHANGE_TRACKING_CURRENT_VERSION()"] {
        assert_eq!(
            connection.query(sql, &[]).unwrap_err().number,
            3952,
            "{sql}"
        );
    }
    let other = "SELECT snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()";
    assert_eq!(rows_of(&mut connection, other, &[]), [[0_u8.into()]]);
}

#[test]
fn a_change_of_the_shape_ends_the_snapshot_with_3961() {
    let database = shop();
    put(&database, 1, "a");
    let mut connection = database.connect("sa");
    connection
        .query("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN", &[])
        .unwrap();
    rows_of(&mut connection, READ, &[]);
    database
        .add_column("dbo.orders", Column::new("extra", Type::Int))
        .unwrap();
    assert_eq!(connection.query(READ, &[]).unwrap_err().number, 3961);
    let count = "SELECT @@TRANCOUNT";
    assert_eq!(
        rows_of(&mut connection, count, &[]),
        [[0.into()]],
        "the transaction is gone"
    );
    assert_eq!(rows_of(&mut connection, READ, &[]).len(), 1);
}

#[test]
fn a_deadlock_ends_the_transaction_of_its_victim() {
    let database = shop();
    let mut connection = database.connect("sa");
    database.fail(
        Which::nth("FROM dbo.orders", 2),
        ServerError::new(1205, 13, "deadlock"),
    );
    connection.query("BEGIN TRAN", &[]).unwrap();
    rows_of(&mut connection, READ, &[]);
    assert_eq!(connection.query(READ, &[]).unwrap_err().number, 1205);
    assert_eq!(
        rows_of(&mut connection, "SELECT @@TRANCOUNT", &[]),
        [[0.into()]]
    );
    assert_eq!(connection.query("COMMIT", &[]).unwrap_err().number, 3902);
}

#[test]
fn an_error_ends_the_transaction_only_with_xact_abort() {
    let database = shop();
    for (set, open) in [("OFF", 1), ("ON", 0)] {
        let mut connection = database.connect("sa");
        connection
            .query(&format!("SET XACT_ABORT {set}; BEGIN TRAN"), &[])
            .unwrap();
        connection
            .query("SELECT CAST(N'x' AS int)", &[])
            .unwrap_err();
        assert_eq!(
            rows_of(&mut connection, "SELECT @@TRANCOUNT", &[]),
            [[open.into()]]
        );
    }
}

#[test]
fn sql_changes_rows_in_one_transaction_or_not_at_all() {
    let database = shop();
    put(&database, 1, "a");
    let failed = database.run(
        "INSERT INTO orders (id, name) VALUES (2, N'b'); UPDATE orders SET id = 1 WHERE id = 2",
    );
    assert_eq!(failed.unwrap_err().number, 2627);
    assert_eq!(database.rows("dbo.orders").unwrap().len(), 1);
    database
        .run("INSERT INTO orders (id, name) VALUES (2, N'it''s'); DELETE FROM orders WHERE id = 1")
        .unwrap();
    let mut connection = database.connect("sa");
    assert_eq!(ints(&rows_of(&mut connection, READ, &[])), [2]);
}
