//! Trap 19: rowversion with transactions in flight.

use tds_server::wire::Value;

use crate::common::{ask, bytes, int, ints, one, put, shop};

const HIGH: &str = "SELECT MIN_ACTIVE_ROWVERSION()";
const READ: &str =
    "SELECT T.[id] FROM dbo.orders AS T WHERE T.[rv] > @P2 AND T.[rv] < @P3 ORDER BY T.[rv]";

fn raw(value: Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_open_transaction_holds_the_lowest_active_rowversion_back() {
    let database = shop();
    put(&database, 1, "a");
    let slow = database.begin();
    slow.insert("dbo.orders", &[("id", 2.into())]).unwrap();
    put(&database, 3, "c");
    let high = raw(one(&database, HIGH, &[]));
    let dbts = raw(one(&database, "SELECT @@DBTS", &[]));
    assert!(dbts > high, "@@DBTS has passed the row in flight");
    let read = |low: &[u8], high: &[u8]| {
        ints(&ask(
            &database,
            READ,
            &[bytes("@P2", low), bytes("@P3", high)],
        ))
    };
    assert_eq!(read(&[0; 8], &high), [1]);
    slow.commit().unwrap();
    let now = raw(one(&database, HIGH, &[]));
    assert!(now > dbts);
    let low = (u64::from_be_bytes(high.try_into().unwrap()) - 1).to_be_bytes();
    assert_eq!(read(&low, &now), [2, 3], "it arrives after its commit");
}

#[test]
fn any_table_in_the_database_holds_it_back_until_the_end() {
    let database = shop();
    database
        .run("CREATE TABLE dbo.other (id int PRIMARY KEY, rv rowversion)")
        .unwrap();
    let before = raw(one(&database, HIGH, &[]));
    let slow = database.begin();
    slow.insert("dbo.other", &[("id", 1.into())]).unwrap();
    put(&database, 1, "a");
    assert_eq!(raw(one(&database, HIGH, &[])), before);
    slow.rollback();
    assert!(raw(one(&database, HIGH, &[])) > before);
}

#[test]
fn every_write_of_a_row_gives_it_a_new_one_and_a_delete_leaves_nothing() {
    let database = shop();
    put(&database, 1, "a");
    let before = raw(one(&database, "SELECT rv FROM dbo.orders", &[]));
    database
        .update("dbo.orders", &[1.into()], &[("name", "a".into())])
        .unwrap();
    let after = raw(one(
        &database,
        "SELECT CAST(rv AS binary(8)) FROM dbo.orders",
        &[],
    ));
    assert!(after > before);
    database.delete("dbo.orders", &[1.into()]).unwrap();
    assert!(
        ask(
            &database,
            "SELECT TOP (@P1) id FROM dbo.orders WHERE rv > 0x00",
            &[int("@P1", 9)]
        )
        .is_empty()
    );
    let set = database
        .connect("sa")
        .query("SELECT rv FROM dbo.orders", &[])
        .unwrap()
        .remove(0);
    assert_eq!(set.columns[0].user_type, 80);
}
