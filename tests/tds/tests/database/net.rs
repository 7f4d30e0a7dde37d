//! Trap 13: one row for a key, with its last version and the net operation.

use tds_server::model::Database;
use tds_server::wire::Value;

use crate::common::{ask, big, gone, net, put, tracked};

fn set(database: &Database, id: i32, name: &str) {
    database
        .update("dbo.orders", &[id.into()], &[("name", name.into())])
        .unwrap();
}

fn delete(database: &Database, id: i32) {
    database.delete("dbo.orders", &[id.into()]).unwrap();
}

#[test]
fn inserted_and_updated_is_one_insert_with_the_last_version() {
    let database = tracked();
    let start = database.tracking_version().unwrap();
    put(&database, 1, "a");
    set(&database, 1, "b");
    set(&database, 1, "c");
    assert_eq!(net(&database, start), [gone(start + 3, "I", 1)]);
    assert_eq!(net(&database, start + 1), [gone(start + 3, "U", 1)]);
    assert!(net(&database, start + 3).is_empty());
}

#[test]
fn inserted_and_deleted_between_two_reads_is_a_delete_of_a_key_never_seen() {
    let database = tracked();
    let start = database.tracking_version().unwrap();
    put(&database, 1, "a");
    delete(&database, 1);
    assert_eq!(net(&database, start), [gone(start + 2, "D", 1)]);
}

#[test]
fn deleted_and_inserted_again_is_an_update_of_all_columns() {
    let database = tracked();
    put(&database, 1, "a");
    let start = database.tracking_version().unwrap();
    delete(&database, 1);
    put(&database, 1, "b");
    assert_eq!(net(&database, start), [gone(start + 2, "U", 1)]);
    let sql = "SELECT CT.SYS_CHANGE_COLUMNS FROM CHANGETABLE(CHANGES dbo.orders, @P1) AS CT";
    assert_eq!(ask(&database, sql, &[big("@P1", start)]), [[Value::Null]]);
}

#[test]
fn a_new_key_is_a_delete_and_an_insert_in_one_version() {
    let database = tracked();
    put(&database, 1, "a");
    let start = database.tracking_version().unwrap();
    database
        .update("dbo.orders", &[1.into()], &[("id", 2.into())])
        .unwrap();
    assert_eq!(
        net(&database, start),
        [gone(start + 1, "D", 1), gone(start + 1, "I", 2)]
    );
}

#[test]
fn an_update_tells_the_columns_it_changed() {
    let database = tracked();
    put(&database, 1, "a");
    let start = database.tracking_version().unwrap();
    set(&database, 1, "b");
    let mask = |column: &str| {
        let sql = format!(
            "SELECT CHANGE_TRACKING_IS_COLUMN_IN_MASK(COLUMNPROPERTY(OBJECT_ID(N'dbo.orders'), N'{column}', \
             'ColumnId'), CT.SYS_CHANGE_COLUMNS) FROM CHANGETABLE(CHANGES dbo.orders, @P1) AS CT"
        );
        ask(&database, &sql, &[big("@P1", start)])
    };
    assert_eq!(mask("name"), [[true.into()]]);
    assert_eq!(mask("m"), [[false.into()]]);
}

#[test]
fn null_stands_for_every_version_and_one_version_can_have_many_rows() {
    let database = tracked();
    let transaction = database.begin();
    for id in 1..=50 {
        transaction
            .insert("dbo.orders", &[("id", id.into())])
            .unwrap();
    }
    let version = transaction.commit().unwrap().version.unwrap();
    let sql = "SELECT COUNT(*), MIN(CT.SYS_CHANGE_VERSION), MAX(CT.SYS_CHANGE_VERSION) FROM \
               CHANGETABLE(CHANGES dbo.orders, NULL) AS CT";
    assert_eq!(
        ask(&database, sql, &[]),
        [[50.into(), version.into(), version.into()]]
    );
}

/// The joined values are those of now: a row that is gone has none.
#[test]
fn the_base_row_is_joined_as_it_is_now() {
    let database = tracked();
    let start = database.tracking_version().unwrap();
    put(&database, 1, "a");
    put(&database, 2, "b");
    delete(&database, 2);
    let sql = "SELECT CT.[id], CASE WHEN T.[id] IS NULL THEN 0 ELSE 1 END AS [__live], T.[name] FROM \
               CHANGETABLE(CHANGES dbo.orders, @P1) AS CT LEFT OUTER JOIN dbo.orders AS T ON T.[id] = CT.[id] \
               ORDER BY CT.[id]";
    let rows = ask(&database, sql, &[big("@P1", start)]);
    assert_eq!(
        rows,
        [
            vec![1.into(), 1.into(), "a".into()],
            vec![2.into(), 0.into(), Value::Null]
        ]
    );
}

#[test]
fn the_version_of_a_row_can_be_asked_for() {
    let database = tracked();
    put(&database, 1, "a");
    let version = database.tracking_version().unwrap();
    put(&database, 2, "b");
    let sql = "SELECT T.[id], V.SYS_CHANGE_VERSION FROM dbo.orders AS T OUTER APPLY \
               CHANGETABLE(VERSION dbo.orders, ([id]), (T.[id])) AS V ORDER BY T.[id]";
    let rows = ask(&database, sql, &[]);
    assert_eq!(
        rows,
        [
            vec![1.into(), version.into()],
            vec![2.into(), (version + 1).into()]
        ]
    );
}

/// Scenario 29, from the server's side: a page by (version, key) of many rows in one version.
#[test]
fn many_rows_of_one_version_are_paged_by_version_and_key() {
    let database = tracked();
    let transaction = database.begin();
    for id in 1..=20_000 {
        transaction
            .insert("dbo.orders", &[("id", id.into()), ("name", "x".into())])
            .unwrap();
    }
    let version = transaction.commit().unwrap().version.unwrap();
    let sql = "SELECT TOP (@P1) CT.SYS_CHANGE_VERSION, CT.[id], T.[name] FROM CHANGETABLE(CHANGES dbo.orders, @P2) AS CT \
               LEFT OUTER JOIN dbo.orders AS T ON T.[id] = CT.[id] WHERE CT.SYS_CHANGE_VERSION <= @P3 AND \
               (CT.SYS_CHANGE_VERSION > @P4 OR (CT.SYS_CHANGE_VERSION = @P4 AND CT.[id] > @P5)) \
               ORDER BY CT.SYS_CHANGE_VERSION, CT.[id]";
    let mut last = 0;
    let mut connection = database.connect("sa");
    for _ in 0..5 {
        let parameters = [
            crate::common::int("@P1", 1000),
            big("@P2", 0),
            big("@P3", version),
            big("@P4", version),
            crate::common::int("@P5", last),
        ];
        let rows = crate::common::rows_of(&mut connection, sql, &parameters);
        assert_eq!(rows.len(), 1000);
        assert_eq!(rows[0][1], (last + 1).into());
        last += 1000;
        assert_eq!(rows[999][1], last.into());
    }
}
