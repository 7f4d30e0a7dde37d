//! Every statement that a source needs is read and answered; broken ones are not.

use tds_server::model::Database;
use tds_server::wire::{Parameter, Type, Value};

use crate::common::{big, bytes, captured, int, place, put, refusal, text};

const ALL: &str = include_str!("statements.sql");

fn all() -> Vec<String> {
    ALL.split("\nGO")
        .map(|sql| sql.trim().to_owned())
        .filter(|sql| !sql.is_empty())
        .collect()
}

/// What fits the parameters of a statement.
fn parameters(sql: &str, last: u64) -> Vec<Parameter> {
    let lsns = |names: &[&str]| {
        names
            .iter()
            .map(|name| place(name, last))
            .collect::<Vec<_>>()
    };
    if sql.contains("fn_cdc_get_min_lsn") {
        return vec![text("@P1", "dbo_orders")];
    }
    if sql.contains("fn_cdc_map_time_to_lsn") {
        let time = Value::DateTime { days: 0, ticks: 0 };
        let time = crate::common::parameter("@P1", Type::DateTime, time);
        return vec![time, place("@P2", last)];
    }
    if sql.contains("fn_cdc_get_all_changes") || sql.contains("fn_cdc_get_net_changes") {
        return lsns(&["@P1", "@P2"]);
    }
    if sql.contains("dbo_orders_CT") {
        let mut found = vec![int("@P1", 10)];
        found.extend(lsns(&["@P2", "@P3"]));
        found.push(int("@P4", 0));
        found.push(place("@P5", 0));
        found.push(int("@P6", 0));
        return found;
    }
    if sql.contains("CHANGETABLE(CHANGES") {
        return vec![big("@P1", 0), big("@P2", 100)];
    }
    if sql.contains("T.[rv]") {
        return vec![
            int("@P1", 10),
            bytes("@P2", &[0; 8]),
            bytes("@P3", &[255; 8]),
        ];
    }
    if sql.contains("TOP (@P1)") {
        return vec![int("@P1", 10), place("@P2", 0)];
    }
    if sql.contains("OBJECT_ID(@P1)") {
        return vec![text("@P1", "[dbo].[orders]")];
    }
    if sql.contains("ddl_lsn") || sql.contains("increment_lsn") {
        return lsns(&["@P1"]);
    }
    if sql.contains("IN_MASK") {
        return vec![bytes("@P1", &[0, 0, 0, 0, 2, 0, 0, 0])];
    }
    vec![big("@P1", 0)]
}

fn full() -> (Database, u64) {
    let database = captured();
    database.track("dbo.orders").unwrap();
    let last = put(&database, 1, "one");
    database.capture_all();
    (database, last)
}

#[test]
fn every_statement_of_the_file_is_answered() {
    let (database, last) = full();
    let mut connection = database.connect("sa");
    for sql in all() {
        let found = connection.query(&sql, &parameters(&sql, last));
        let sets = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let quiet = ["IF @@TRANCOUNT", "dm_cdc_errors", "ddl_history"];
        let rows: usize = sets.iter().map(|set| set.rows.len()).sum();
        assert!(
            rows > 0 || quiet.iter().any(|part| sql.contains(part)),
            "no rows: {sql}"
        );
    }
}

/// Text cut off anywhere between its words never does what the whole does without saying so: it is an error,
/// or a shorter statement that the whole only adds to.
#[test]
fn a_statement_that_is_cut_off_inside_brackets_or_before_an_operand_is_an_error() {
    let (database, last) = full();
    for sql in all() {
        for (at, _) in sql.match_indices(' ') {
            let cut = &sql[..at];
            let open = cut.matches('(').count() != cut.matches(')').count();
            let words = [
                "AND", "ON", "WHERE", "BY", "FROM", "JOIN", "AS", "=", ">", "<", "<=", "SELECT",
            ];
            let waits =
                cut.ends_with(',') || words.iter().any(|word| cut.ends_with(&format!(" {word}")));
            if open || waits {
                let answer = database.connect("sa").query(cut, &parameters(&sql, last));
                assert!(answer.is_err(), "{cut}");
            }
        }
    }
}

#[test]
fn what_is_no_transact_sql_is_error_102() {
    let (database, _) = full();
    for sql in [
        "SELECT * FROM dbo.orders LIMIT 1",
        "SELECT CT.id FROM CHANGETABLE(CHANGES dbo.orders @P1) AS CT",
        "SELECT CT.id FROM CHANGETABLE(CHANGES dbo.orders, @P1 + 1) AS CT",
        "SELECT id FROM dbo.orders WHERE",
        "SELECT id,, name FROM dbo.orders",
        "SELECT TOP @P1 id FROM dbo.orders",
        "SELECT (id FROM dbo.orders",
        "SELECT id FROM dbo.orders ORDER BY id NULLS LAST",
        "SELECT id FROM dbo.orders ORDER id",
        "SELECT id::text FROM dbo.orders",
        "SELECT id FROM dbo.orders WHERE id IS 1",
        "EXPLAIN SELECT 1",
        "SELECT ROW_NUMBER() OVER (ORDER BY id) FROM dbo.orders",
        "FROM dbo.orders SELECT id",
        "SELECT `id` FROM dbo.orders",
        "SELECT 1 > 0",
        "SELECT id FROM dbo.orders ORDER BY id = 1",
        "SELECT @P1 = id FROM dbo.orders",
        "SELECT ISNULL(id > 1, 0) FROM dbo.orders",
    ] {
        let error = refusal(&database, sql, &[big("@P1", 0)]);
        assert!(matches!(error.number, 102 | 156), "{sql}: {error}");
    }
}

#[test]
fn unknown_names_are_errors_207_208_4104_195_and_137() {
    let (database, _) = full();
    for (sql, number) in [
        ("SELECT * FROM dbo.nothing", 208),
        ("SELECT * FROM sys.nothing", 208),
        ("SELECT * FROM cdc.dbo_nothing_CT", 208),
        (
            "SELECT * FROM cdc.fn_cdc_get_all_changes_dbo_nothing(0x00, 0x00, N'all')",
            208,
        ),
        ("SELECT nothing FROM dbo.orders", 207),
        ("SELECT o.nothing FROM dbo.orders AS o", 207),
        ("SELECT x.id FROM dbo.orders AS o", 4104),
        ("SELECT nothing(1)", 195),
        ("SELECT sys.nothing(1)", 4121),
        ("SELECT @P9", 137),
        ("SELECT @@NOTHING", 137),
        ("SET NOTHING ON", 195),
        ("EXEC sys.sp_nothing", 2812),
        (
            "SELECT id FROM dbo.orders AS a JOIN dbo.orders AS b ON a.id = b.id",
            209,
        ),
        ("USE another", 911),
        ("SELECT id FROM dbo.orders WHERE id", 4145),
        ("SELECT id FROM dbo.orders WHERE id > 1 AND 1", 4145),
        ("IF 1 SELECT 1", 4145),
    ] {
        assert_eq!(refusal(&database, sql, &[]).number, number, "{sql}");
    }
}

/// Text that ends anywhere is an answer or an error, never a panic.
#[test]
fn text_that_ends_anywhere_is_answered_or_refused() {
    let (database, last) = full();
    for sql in all() {
        let parameters = parameters(&sql, last);
        for (at, _) in sql.char_indices() {
            let _ = database.connect("sa").query(&sql[..at], &parameters);
            let _ = database.connect("sa").query(&sql[at..], &parameters);
        }
    }
    for sql in [
        "",
        ";;",
        "SELECT",
        "SELECT 0x",
        "SELECT 1e",
        "SELECT '",
        "SELECT [",
        "/*",
        "--",
        "SELECT é",
        "SELECT .5",
        "SELECT 1.e5",
    ] {
        let _ = database.connect("sa").query(sql, &[]);
    }
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(refusal(&database, &deep, &[]).number, 191);
}
