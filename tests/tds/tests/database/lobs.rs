//! Traps 10 and 11: what the change table leaves out.

use tds_server::model::{Column, Database};
use tds_server::wire::{Type, Value};

use crate::common::{ask, nvarchar};

fn database(kept: bool) -> Database {
    let database = Database::new("shop");
    database
        .run(
            "CREATE TABLE dbo.t (id int PRIMARY KEY, a nvarchar(9), old text NOT NULL, long nvarchar(max), twice AS id * 2)",
        )
        .unwrap();
    database.options(|options| options.long_untouched_kept = kept);
    database.enable_cdc();
    database.capture_table("dbo.t", None, None).unwrap();
    let row = [
        ("id", 1.into()),
        ("a", "a".into()),
        ("old", "text".into()),
        ("long", "long".into()),
    ];
    database.insert("dbo.t", &row).unwrap();
    database
}

fn told(database: &Database) -> Vec<Vec<Value>> {
    database.capture_all();
    let sql = "SELECT [__$operation], a, old, long, twice FROM cdc.dbo_t_CT ORDER BY [__$start_lsn], [__$operation]";
    ask(database, sql, &[])
}

fn row(operation: i32, a: &str, old: Option<&str>, long: Option<&str>) -> Vec<Value> {
    vec![
        operation.into(),
        a.into(),
        old.into(),
        long.into(),
        Value::Null,
    ]
}

#[test]
fn untouched_long_columns_are_null_before_and_as_the_options_say_after() {
    for kept in [false, true] {
        let database = database(kept);
        database
            .update("dbo.t", &[1.into()], &[("a", "b".into())])
            .unwrap();
        let after = if kept {
            row(4, "b", Some("text"), Some("long"))
        } else {
            row(4, "b", None, None)
        };
        let inserted = row(2, "a", Some("text"), Some("long"));
        assert_eq!(told(&database), [inserted, row(3, "a", None, None), after]);
    }
}

#[test]
fn a_long_column_that_changed_has_both_images_but_text_has_only_the_new_one() {
    let database = database(false);
    database
        .update(
            "dbo.t",
            &[1.into()],
            &[("old", "more".into()), ("long", Value::Null)],
        )
        .unwrap();
    assert_eq!(
        told(&database)[1..],
        [
            row(3, "a", None, Some("long")),
            row(4, "a", Some("more"), None),
        ]
    );
}

#[test]
fn a_delete_lacks_even_a_text_column_that_is_not_null() {
    let database = database(false);
    database.delete("dbo.t", &[1.into()]).unwrap();
    assert_eq!(told(&database)[1], row(1, "a", None, Some("long")));
}

/// Trap 11: the table has the value, the change table never.
#[test]
fn a_computed_column_is_null_in_the_change_table() {
    let database = database(false);
    assert_eq!(ask(&database, "SELECT twice FROM dbo.t", &[]), [[2.into()]]);
    assert_eq!(told(&database)[0][4], Value::Null);
    let sql = "SELECT column_name FROM cdc.captured_columns WHERE is_computed = 1";
    assert_eq!(ask(&database, sql, &[]), [["twice".into()]]);
}

/// Trap 11: rowversion is captured as binary(8).
#[test]
fn rowversion_is_captured_as_eight_bytes() {
    let database = Database::new("shop");
    let columns = vec![
        Column::new("id", Type::Int),
        Column::new("n", nvarchar(9)),
        Column::rowversion("rv"),
    ];
    database.create_table("dbo.t", columns, &["id"]).unwrap();
    database.enable_cdc();
    database.capture_table("dbo.t", None, None).unwrap();
    database.insert("dbo.t", &[("id", 1.into())]).unwrap();
    database.capture_all();
    let set = database
        .connect("sa")
        .query("SELECT rv FROM cdc.dbo_t_CT", &[])
        .unwrap()
        .remove(0);
    assert_eq!(set.columns[0].kind, Type::Binary(8));
    assert!(matches!(&set.rows[0][0], Value::Bytes(bytes) if bytes.len() == 8));
}
