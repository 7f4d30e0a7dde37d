//! What nothing of ours may ask for.

use crate::common::{captured, put, refusal, shop};

#[test]
fn dirty_reads_and_held_locks_are_refused() {
    let database = shop();
    put(&database, 1, "one");
    for sql in [
        "SELECT id FROM dbo.orders WITH (NOLOCK)",
        "SELECT o.id FROM dbo.orders AS o WITH (NOLOCK) ORDER BY o.id",
        "SELECT id FROM dbo.orders WITH (READUNCOMMITTED)",
        "SELECT id FROM dbo.orders WITH (READPAST)",
        "SELECT id FROM dbo.orders WITH (TABLOCKX)",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    ] {
        assert_eq!(refusal(&database, sql, &[]).number, 50_000, "{sql}");
    }
    assert!(
        database
            .connect("sa")
            .query("SELECT id FROM dbo.orders WITH (READCOMMITTED)", &[])
            .is_ok()
    );
}

#[test]
fn a_reader_that_would_wait_gets_1222_when_readers_block() {
    let database = shop();
    put(&database, 1, "one");
    database.options(|options| options.readers_block = true);
    let transaction = database.begin();
    transaction
        .update("dbo.orders", &[1.into()], &[("name", "two".into())])
        .unwrap();
    let sql = "SELECT id FROM dbo.orders";
    assert_eq!(refusal(&database, sql, &[]).number, 1222);
    let snapshot = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT id FROM dbo.orders";
    assert!(database.connect("sa").query(snapshot, &[]).is_ok());
    transaction.commit().unwrap();
    assert!(database.connect("sa").query(sql, &[]).is_ok());
}

#[test]
fn two_writers_of_one_row_do_not_both_win() {
    let database = captured();
    put(&database, 1, "one");
    let (first, second) = (database.begin(), database.begin());
    first
        .update("dbo.orders", &[1.into()], &[("name", "a".into())])
        .unwrap();
    let error = second
        .update("dbo.orders", &[1.into()], &[("name", "b".into())])
        .unwrap_err();
    assert_eq!(error.number, 1222);
    first.rollback();
    second
        .update("dbo.orders", &[1.into()], &[("name", "b".into())])
        .unwrap();
    assert!(second.commit().unwrap().place.is_some());
}
