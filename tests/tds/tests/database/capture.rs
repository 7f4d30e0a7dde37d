//! Change Data Capture: the traps of its tables and functions.

use std::collections::BTreeSet;
use std::time::Duration;

use tds_server::model::{Column, Database, Half, KeyChange, lsn, update_mask};
use tds_server::wire::{Type, Value};

use crate::common::{ask, captured, int, nvarchar, one, place, put, refusal, shop, told};

const MAX: &str = "SELECT sys.fn_cdc_get_max_lsn()";
const MIN: &str = "SELECT sys.fn_cdc_get_min_lsn(N'dbo_orders')";

#[allow(clippy::unnecessary_wraps, reason = "the column can be NULL")]
fn name(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Trap 1: the first ordinal is bit 0 of the last byte.
#[test]
fn the_update_mask_is_big_endian_by_byte() {
    let nine: BTreeSet<usize> = (1..=9).collect();
    assert_eq!(update_mask(&nine, 9), [0x01, 0xff]);
    assert_eq!(update_mask(&BTreeSet::from([9]), 9), [0x01, 0x00]);
    assert_eq!(
        update_mask(&BTreeSet::from([1, 17]), 17),
        [0x01, 0x00, 0x01]
    );
    let database = Database::new("shop");
    let names = ["id", "b", "c", "d", "e", "f", "g", "h", "i"];
    let columns = names.map(|name| Column::new(name, Type::Int)).to_vec();
    database
        .create_table("dbo.orders", columns, &["id"])
        .unwrap();
    database.enable_cdc();
    database.capture_table("dbo.orders", None, None).unwrap();
    database.insert("dbo.orders", &[("id", 1.into())]).unwrap();
    database
        .update("dbo.orders", &[1.into()], &[("i", 5.into())])
        .unwrap();
    database.capture_all();
    let sql = "SELECT [__$update_mask], sys.fn_cdc_is_bit_set(9, [__$update_mask]), \
               sys.fn_cdc_has_column_changed(N'dbo_orders', N'id', [__$update_mask]) \
               FROM cdc.dbo_orders_CT ORDER BY [__$start_lsn], [__$operation]";
    let masks = ask(&database, sql, &[]);
    let row = |mask: [u8; 2], id: bool| vec![Value::bytes(&mask), true.into(), id.into()];
    assert_eq!(
        masks,
        [row([1, 0xff], true), row([1, 0], false), row([1, 0], false)]
    );
}

/// Trap 2: one command, several rows; each before stands next to its after by the tuple.
#[test]
fn an_update_of_several_rows_has_one_command_and_a_seqval_for_each_row() {
    let database = captured();
    put(&database, 1, "a");
    put(&database, 2, "b");
    let transaction = database.begin();
    transaction
        .update_all(
            "dbo.orders",
            &[&[1.into()], &[2.into()]],
            &[("name", "x".into())],
        )
        .unwrap();
    transaction.commit().unwrap();
    database.capture_all();
    let told = told(&database);
    assert_eq!(
        told[2..],
        [
            (3, 1, name("a"), vec![0b10]),
            (4, 1, name("x"), vec![0b10]),
            (3, 2, name("b"), vec![0b10]),
            (4, 2, name("x"), vec![0b10]),
        ]
    );
    let sql = "SELECT [__$command_id], COUNT(*), COUNT(DISTINCT [__$seqval]) FROM cdc.dbo_orders_CT \
               WHERE [__$operation] > 2 GROUP BY [__$command_id]";
    assert_eq!(ask(&database, sql, &[]), [[1.into(), 4.into(), 2.into()]]);
}

/// Trap 2: a deferred update is DELETE and INSERT with one seqval; the operation breaks the tie.
#[test]
fn a_deferred_update_is_a_delete_and_an_insert_with_one_seqval() {
    let database = captured();
    put(&database, 1, "a");
    let transaction = database.begin();
    transaction
        .update_deferred("dbo.orders", &[&[1.into()]], &[("name", "b".into())])
        .unwrap();
    transaction.commit().unwrap();
    database.capture_all();
    assert_eq!(
        told(&database)[1..],
        [
            (1, 1, name("a"), vec![0b111]),
            (2, 1, name("b"), vec![0b111])
        ]
    );
    let sql = "SELECT COUNT(DISTINCT [__$seqval]), COUNT(*) FROM cdc.dbo_orders_CT WHERE [__$command_id] = 1 \
               GROUP BY [__$start_lsn] HAVING COUNT(*) > 1";
    assert_eq!(ask(&database, sql, &[]), [[1.into(), 2.into()]]);
}

/// Trap 2: how a new key is told is an option.
#[test]
fn a_new_key_is_told_as_the_options_say() {
    for (how, operations) in [
        (KeyChange::Pair, vec![3, 4]),
        (KeyChange::DeferredIfSeveral, vec![3, 4]),
        (KeyChange::Deferred, vec![1, 2]),
    ] {
        let database = captured();
        database.options(|options| options.key_change = how);
        put(&database, 1, "a");
        database
            .update("dbo.orders", &[1.into()], &[("id", 9.into())])
            .unwrap();
        database.capture_all();
        let found: Vec<i32> = told(&database)[1..].iter().map(|row| row.0).collect();
        assert_eq!(found, operations);
    }
    // SQL that moves every key at once, as `UPDATE .. SET id = id + 1` does.
    let database = captured();
    put(&database, 1, "a");
    put(&database, 2, "b");
    database.run("UPDATE dbo.orders SET id = id + 1").unwrap();
    database.capture_all();
    let found: Vec<_> = told(&database)[2..]
        .iter()
        .map(|row| (row.0, row.1))
        .collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [(1, 1), (1, 2), (2, 2), (2, 3)]);
}

/// Trap 2: the order is the command's, not the seqval's.
#[test]
fn the_seqval_can_run_against_the_commands() {
    let database = captured();
    let transaction = database.begin();
    transaction
        .insert("dbo.orders", &[("id", 1.into()), ("name", "a".into())])
        .unwrap();
    transaction
        .update("dbo.orders", &[1.into()], &[("name", "b".into())])
        .unwrap();
    transaction.reverse_seqval();
    transaction.commit().unwrap();
    database.capture_all();
    let by = |order: &str| -> Vec<i32> {
        let sql = format!("SELECT [__$operation] FROM cdc.dbo_orders_CT ORDER BY {order}");
        crate::common::ints(&ask(&database, &sql, &[]))
    };
    assert_eq!(
        by("[__$start_lsn], [__$command_id], [__$seqval], [__$operation]"),
        [2, 3, 4]
    );
    assert_eq!(by("[__$start_lsn], [__$seqval], [__$operation]"), [3, 4, 2]);
}

/// Trap 4: a transaction appears with its time, all tables at once; halves only when a test wants them.
#[test]
fn a_transaction_appears_at_once_or_in_the_half_that_is_asked_for() {
    let counts = |database: &Database| {
        let count = |table: &str| one(database, &format!("SELECT COUNT(*) FROM cdc.{table}"), &[]);
        (count("dbo_orders_CT"), count("lsn_time_mapping"))
    };
    for (half, seen) in [(Half::Rows, (1, 0)), (Half::Times, (0, 1))] {
        let database = captured();
        put(&database, 1, "a");
        assert_eq!(
            counts(&database),
            (0.into(), 0.into()),
            "the job has not run"
        );
        database.capture_half(half);
        assert_eq!(counts(&database), (seen.0.into(), seen.1.into()));
        database.capture_all();
        assert_eq!(counts(&database), (1.into(), 1.into()));
    }
}

/// Trap 5: the functions say 313 for what is out of range, NULL included.
#[test]
fn a_place_out_of_range_is_error_313_in_the_functions() {
    let database = captured();
    let all = "SELECT f.[__$operation] FROM cdc.fn_cdc_get_all_changes_dbo_orders(@P1, @P2, N'all update old') AS f";
    let first = put(&database, 1, "a");
    assert_eq!(
        refusal(&database, all, &[place("@P1", first), place("@P2", first)]).number,
        313
    );
    database.capture_all();
    let ok = |from, to| ask(&database, all, &[place("@P1", from), place("@P2", to)]).len();
    assert_eq!(ok(first, first), 1);
    for (from, to) in [(1, first), (first, first + 1), (first, first - 1)] {
        let error = refusal(&database, all, &[place("@P1", from), place("@P2", to)]);
        assert_eq!(error.number, 313, "{from} {to}");
    }
    let null = "SELECT 1 FROM cdc.fn_cdc_get_all_changes_dbo_orders(NULL, NULL, N'all') AS f";
    assert_eq!(refusal(&database, null, &[]).number, 313);
    let few = "SELECT 1 FROM cdc.fn_cdc_get_all_changes_dbo_orders(@P1) AS f";
    assert_eq!(refusal(&database, few, &[place("@P1", first)]).number, 313);
}

#[test]
fn the_functions_give_old_images_only_when_asked_and_have_no_command() {
    let database = captured();
    let first = put(&database, 1, "a");
    let last = database
        .update("dbo.orders", &[1.into()], &[("name", "b".into())])
        .unwrap()
        .place
        .unwrap();
    database.capture_all();
    let count = |option: &str| {
        let sql = format!(
            "SELECT COUNT(*) FROM cdc.fn_cdc_get_all_changes_dbo_orders(@P1, @P2, N'{option}') AS f"
        );
        one(&database, &sql, &[place("@P1", first), place("@P2", last)])
    };
    assert_eq!(
        (count("all"), count("all update old")),
        (2.into(), 3.into())
    );
    let sql = "SELECT f.[__$command_id] FROM cdc.fn_cdc_get_all_changes_dbo_orders(@P1, @P2, N'all') AS f";
    assert_eq!(
        refusal(&database, sql, &[place("@P1", first), place("@P2", last)]).number,
        207
    );
    let sql = "SELECT f.[__$operation], f.[name] FROM cdc.fn_cdc_get_net_changes_dbo_orders(@P1, @P2, N'all with mask') AS f";
    let net = ask(&database, sql, &[place("@P1", first), place("@P2", last)]);
    assert_eq!(net, [[2.into(), "b".into()]]);
}

/// Trap 5: after a clean-up the table itself says nothing, only fewer rows.
#[test]
fn after_a_clean_up_the_change_table_gives_fewer_rows_without_an_error() {
    let database = captured();
    put(&database, 1, "a");
    let second = put(&database, 2, "b");
    database.capture_all();
    database.cleanup("dbo_orders", second).unwrap();
    assert_eq!(told(&database).len(), 1);
    assert_eq!(one(&database, MIN, &[]), Value::Bytes(lsn(second)));
    let start = "SELECT start_lsn FROM cdc.change_tables";
    assert_eq!(
        one(&database, start, &[]),
        Value::Bytes(lsn(second)),
        "it is the same column"
    );
}

/// Trap 6: each instance has its own lowest place.
#[test]
fn a_clean_up_of_one_instance_leaves_the_other() {
    let database = captured();
    database
        .create_table("dbo.other", vec![Column::new("id", Type::Int)], &["id"])
        .unwrap();
    database.capture_table("dbo.other", None, None).unwrap();
    let first = put(&database, 1, "a");
    let last = database
        .insert("dbo.other", &[("id", 1.into())])
        .unwrap()
        .place
        .unwrap();
    database.capture_all();
    database.cleanup("dbo_orders", last).unwrap();
    let other = one(
        &database,
        "SELECT sys.fn_cdc_get_min_lsn(N'dbo_other')",
        &[],
    );
    assert_ne!(other, Value::Bytes(lsn(last)));
    assert_ne!(other, Value::Bytes(lsn(first)), "where it began");
    assert_eq!(
        one(&database, "SELECT COUNT(*) FROM cdc.dbo_other_CT", &[]),
        1.into()
    );
    let times = "SELECT COUNT(*) FROM cdc.lsn_time_mapping";
    assert_eq!(
        one(&database, times, &[]),
        2.into(),
        "times are kept as long as an instance needs them"
    );
}

/// Trap 7 and §1.2: NULL until the job has run, below the instance's start until something was captured.
#[test]
fn max_lsn_is_null_at_first_and_may_be_below_the_start_of_a_new_instance() {
    let database = captured();
    assert_eq!(one(&database, MAX, &[]), Value::Null);
    let first = put(&database, 1, "a");
    database.capture_all();
    assert_eq!(one(&database, MAX, &[]), Value::Bytes(lsn(first)));
    database
        .capture_table("dbo.orders", Some("young"), None)
        .unwrap();
    let sql = "SELECT CASE WHEN start_lsn > sys.fn_cdc_get_max_lsn() THEN 1 ELSE 0 END FROM cdc.change_tables \
               WHERE capture_instance = N'young'";
    assert_eq!(one(&database, sql, &[]), 1.into());
}

/// §1.1: idle markers have the transaction 0x00 and no rows.
#[test]
fn an_idle_marker_moves_the_highest_place_without_a_transaction() {
    let database = captured();
    let first = put(&database, 1, "a");
    database.capture_all();
    let marker = database.idle_marker().unwrap();
    assert_eq!(one(&database, MAX, &[]), Value::Bytes(lsn(marker)));
    let sql = "SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00";
    assert_eq!(one(&database, sql, &[]), Value::Bytes(lsn(first)));
}

/// Trap 8: a restore has another recovery fork and grows again above what was; a failover has the same fork.
#[test]
fn a_restore_goes_back_with_a_new_fork_and_a_failover_with_the_same() {
    let database = captured();
    put(&database, 1, "a");
    database.capture_all();
    let backup = database.backup();
    let lost = put(&database, 2, "b");
    database.capture_all();
    let fork =
        "SELECT recovery_fork_guid FROM sys.database_recovery_status WHERE database_id = DB_ID()";
    let before = one(&database, fork, &[]);
    let mut old = database.connect("sa");
    database.restore(&backup);
    assert_ne!(one(&database, fork, &[]), before);
    assert!(database.max_lsn().unwrap() < lost);
    let error = old.query("SELECT 1", &[]).unwrap_err();
    assert_eq!(
        (error.number, error.class),
        (596, 21),
        "a connection from before is cut"
    );
    put(&database, 3, "c");
    put(&database, 4, "d");
    database.capture_all();
    assert!(
        database.max_lsn().unwrap() > lost,
        "it has grown above what was lost"
    );
    let now = one(&database, fork, &[]);
    database.fail_over(&backup);
    assert_eq!(one(&database, fork, &[]), now);
}

/// Trap 9: two instances at most; the younger has the new column, the older does not.
#[test]
fn a_second_instance_has_the_new_column_and_a_third_is_refused() {
    let database = captured();
    put(&database, 1, "a");
    database
        .add_column("dbo.orders", Column::new("extra", nvarchar(9)))
        .unwrap();
    put(&database, 2, "b");
    database
        .capture_table("dbo.orders", Some("v2"), None)
        .unwrap();
    database
        .insert("dbo.orders", &[("id", 3.into()), ("extra", "x".into())])
        .unwrap();
    database.capture_all();
    assert_eq!(told(&database).len(), 3);
    assert_eq!(
        ask(&database, "SELECT id, extra FROM cdc.v2_CT", &[]),
        [[3.into(), "x".into()]]
    );
    assert_eq!(
        refusal(&database, "SELECT extra FROM cdc.dbo_orders_CT", &[]).number,
        207
    );
    let error = database
        .capture_table("dbo.orders", Some("v3"), None)
        .unwrap_err();
    assert_eq!(error.number, 22_962);
    let ddl = ask(
        &database,
        "SELECT ddl_command, required_column_update FROM cdc.ddl_history",
        &[],
    );
    assert_eq!(
        ddl,
        [[
            "ALTER TABLE dbo.orders ADD extra nvarchar".into(),
            false.into()
        ]]
    );
}

/// Trap 9: dropped columns stay as NULL; another type changes the change table.
#[test]
fn a_dropped_column_stays_as_null_and_a_new_type_is_in_the_history() {
    let database = captured();
    put(&database, 1, "a");
    database.capture_all();
    database
        .alter_column("dbo.orders", "name", &nvarchar(90))
        .unwrap();
    let sql = "SELECT required_column_update FROM cdc.ddl_history";
    assert_eq!(one(&database, sql, &[]), true.into());
    let set = database
        .connect("sa")
        .query("SELECT name FROM cdc.dbo_orders_CT", &[])
        .unwrap()
        .remove(0);
    assert_eq!(set.columns[0].kind, nvarchar(90));
    database.drop_column("dbo.orders", "name").unwrap();
    database.insert("dbo.orders", &[("id", 2.into())]).unwrap();
    database.capture_all();
    assert_eq!(told(&database)[1], (2, 2, None, vec![0b111]));
    assert_eq!(told(&database)[0].2, name("a"), "what was captured stays");
}

/// Trap 9: an instance that is dropped is error 208 from then on, and zero as its lowest place.
#[test]
fn a_dropped_instance_is_error_208_and_has_no_lowest_place() {
    let database = captured();
    put(&database, 1, "a");
    database.capture_all();
    database.drop_instance("dbo_orders").unwrap();
    assert_eq!(
        refusal(&database, "SELECT id FROM cdc.dbo_orders_CT", &[]).number,
        208
    );
    assert_eq!(one(&database, MIN, &[]), Value::Bytes(vec![0; 10]));
    assert_eq!(
        one(&database, "SELECT COUNT(*) FROM cdc.change_tables", &[]),
        0.into()
    );
}

/// Trap 12.
#[test]
fn truncate_is_refused_on_a_captured_table() {
    let database = captured();
    assert_eq!(database.truncate("dbo.orders").unwrap_err().number, 4711);
    let untouched = shop();
    put(&untouched, 1, "a");
    untouched.truncate("dbo.orders").unwrap();
    assert!(untouched.rows("dbo.orders").unwrap().is_empty());
}

/// Trap 20: local time, no zone.
#[test]
fn the_time_of_a_place_is_the_servers_local_time() {
    let database = captured();
    database.clock_offset(120);
    let first = put(&database, 1, "a");
    database.capture_all();
    let sql = "SELECT DATEDIFF(MINUTE, SYSUTCDATETIME(), sys.fn_cdc_map_lsn_to_time(@P1)), \
               DATEPART(TZOFFSET, SYSDATETIMEOFFSET())";
    assert_eq!(
        ask(&database, sql, &[place("@P1", first)]),
        [[120.into(), 120.into()]]
    );
    database.clock_offset(60);
    let rows = ask(&database, sql, &[place("@P1", first)]);
    assert_eq!(
        rows,
        [[60.into(), 60.into()]],
        "the model moves all local times when the offset changes"
    );
}

/// Trap 21: a stopped job is not an error; the highest place just stops.
#[test]
fn a_stopped_job_captures_nothing_and_says_nothing() {
    let database = captured();
    put(&database, 1, "a");
    database.run_job(false);
    assert_eq!(database.capture_all(), 0);
    assert_eq!(one(&database, MAX, &[]), Value::Null);
    database.run_job(true);
    database.pass(Duration::from_mins(10));
    assert_eq!(database.capture(1), 1);
    assert_eq!(told(&database).len(), 1);
    database.options(|options| options.agent_running = false);
    let sql = "SELECT CASE WHEN dss.[status] = 4 THEN 1 ELSE 0 END FROM sys.dm_server_services AS dss \
               WHERE dss.[servicename] LIKE N'SQL Server Agent (%'";
    assert_eq!(one(&database, sql, &[]), 0.into());
    database.options(|options| options.engine_edition = 5);
    assert_eq!(
        refusal(&database, sql, &[]).number,
        208,
        "Azure SQL database has no agent"
    );
}

#[test]
fn the_job_takes_as_many_transactions_as_it_is_told() {
    let database = captured();
    for id in 1..=5 {
        put(&database, id, "a");
    }
    assert_eq!(database.capture(2), 2);
    assert_eq!(told(&database).len(), 2);
    let sql = "SELECT MAX(n.start_lsn) FROM (SELECT TOP (@P1) m.start_lsn FROM cdc.lsn_time_mapping AS m \
               WHERE m.start_lsn > @P2 ORDER BY m.start_lsn) AS n";
    let first = one(&database, sql, &[int("@P1", 1), place("@P2", 0)]);
    assert!(first != one(&database, MAX, &[]));
    assert_eq!(database.capture_all(), 3);
}

#[test]
fn what_is_rolled_back_or_changes_nothing_is_not_told() {
    let database = captured();
    let transaction = database.begin();
    transaction
        .insert("dbo.orders", &[("id", 1.into())])
        .unwrap();
    transaction.rollback();
    assert!(database.rows("dbo.orders").unwrap().is_empty());
    put(&database, 2, "a");
    // The rowversion of the row changes, but no captured column does.
    database
        .update("dbo.orders", &[2.into()], &[("name", "a".into())])
        .unwrap();
    database.capture_all();
    assert_eq!(told(&database).len(), 1);
    let other = captured();
    other.options(|options| options.capture_untouched = true);
    put(&other, 2, "a");
    other
        .update("dbo.orders", &[2.into()], &[("name", "a".into())])
        .unwrap();
    other.capture_all();
    assert_eq!(
        told(&other)[1..],
        [(3, 2, name("a"), vec![0]), (4, 2, name("a"), vec![0])]
    );
}

#[test]
fn it_is_set_up_by_its_procedures() {
    let database = shop();
    let mut connection = database.connect("sa");
    let enabled = "SELECT CAST(is_cdc_enabled AS int) FROM sys.databases WHERE name = DB_NAME()";
    assert_eq!(one(&database, enabled, &[]), 0.into());
    database.options(|options| options.engine_edition = 4);
    let express = connection.query("EXEC sys.sp_cdc_enable_db", &[]);
    assert_eq!(express.unwrap_err().number, 22_988);
    database.options(|options| options.engine_edition = 3);
    connection.query("EXEC sys.sp_cdc_enable_db", &[]).unwrap();
    assert_eq!(one(&database, enabled, &[]), 1.into());
    let sql = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'orders', @role_name = N'reader', \
               @supports_net_changes = 1, @captured_column_list = N'[id], [name]'";
    connection.query(sql, &[]).unwrap();
    let help = connection
        .query("EXEC sys.sp_cdc_help_change_data_capture", &[])
        .unwrap()
        .remove(0);
    assert_eq!(help.rows.len(), 1);
    assert_eq!(help.rows[0].last(), Some(&"[id], [name]".into()));
    let first = put(&database, 1, "a");
    connection.query("EXEC sys.sp_cdc_scan", &[]).unwrap();
    assert_eq!(
        one(&database, "SELECT COUNT(*) FROM cdc.dbo_orders_CT", &[]),
        1.into()
    );
    let sql = "EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_orders', @low_water_mark = @P1";
    connection.query(sql, &[place("@P1", first + 1)]).unwrap();
    assert_eq!(
        one(&database, "SELECT COUNT(*) FROM cdc.dbo_orders_CT", &[]),
        0.into()
    );
    let sql = "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'orders', @capture_instance = N'all'";
    connection.query(sql, &[]).unwrap();
    assert_eq!(
        one(&database, "SELECT COUNT(*) FROM cdc.change_tables", &[]),
        0.into()
    );
}
