//! What happens at a database, in T-SQL over the wire, and what the source tells of it: against the scripted
//! server, and against a real one where `SQLSERVER_URL` names it. Only the address is another.
//!
//! A real server, and the suite against it:
//!
//! ```sh
//! docker run -d --name mssql -e ACCEPT_EULA=Y -e MSSQL_SA_PASSWORD='Str0ng!Passw0rd' -e MSSQL_PID=Developer \
//!   -e MSSQL_AGENT_ENABLED=true -p 127.0.0.1:1433:1433 mcr.microsoft.com/mssql/server:2022-latest
//! SQLSERVER_URL='server=tcp:127.0.0.1,1433;user=sa;password=Str0ng!Passw0rd;TrustServerCertificate=true' \
//!   cargo test -p source-sqlserver --test scenarios -- --nocapture
//! ```
//!
//! Each test has a database of its own, which it drops. The unknown ones come first: each asks the server
//! something that nobody knows without one, prints what it answered, and fails where the source is not made for
//! that answer.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod capture;
mod scripted;
mod site;
mod suite;
mod tables;
mod tracking;
mod unknown;

macro_rules! scenarios {
    ($($of:ident :: $name:ident),* $(,)?) => {
        mod on_the_scripted_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::$of::$name(crate::site::Site::scripted().await).await;
            })*
        }

        mod on_a_real_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(site) = crate::site::Site::real().await {
                    crate::$of::$name(site).await;
                }
            })*
        }
    };
}

scenarios! {
    unknown::unknown_01_captured_rows_become_visible_with_their_time,
    unknown::unknown_02_an_untouched_large_value_in_the_new_row_of_an_update,
    unknown::unknown_03_the_order_of_every_form_of_an_update,
    unknown::unknown_04_the_number_of_a_truncate_of_a_captured_table,
    unknown::unknown_05_the_number_of_a_snapshot_where_none_is_allowed,
    unknown::unknown_06_the_number_of_a_snapshot_of_an_altered_table,
    unknown::unknown_07_a_truncate_of_a_tracked_table_is_noticed,
    unknown::unknown_08_tracking_off_and_on_is_noticed,
    unknown::unknown_09_captured_changes_wait_for_no_row_lock,
    unknown::unknown_10_the_number_of_the_edition,
    unknown::unknown_11_when_change_tracking_is_cleaned_up,
    capture::scenario_01_one_transaction_over_three_tables,
    capture::trap_02_a_row_that_one_transaction_makes_and_removes_by_functions,
    capture::scenario_08_a_delete_without_its_text,
    capture::scenario_09_a_computed_column,
    capture::scenario_13_a_job_that_has_not_run,
    capture::scenario_16_a_table_that_was_just_enabled,
    capture::scenario_17_a_second_instance,
    capture::scenario_18_an_instance_that_is_dropped_early,
    capture::scenario_19_a_database_that_is_restored,
    tracking::scenario_12_changes_that_may_not_be_read,
    tracking::scenario_22_a_row_made_again_and_a_changed_key,
    tracking::scenario_25_an_emptied_table,
    tracking::scenario_26_a_table_whose_tracking_ends,
    tracking::scenario_27_snapshots_that_are_turned_off,
    tables::scenario_30_a_rowversion_of_an_open_transaction,
    tables::scenario_32_a_table_that_is_read_while_it_changes,
    tables::scenario_33_every_type,
    tables::scenario_35_a_login_that_is_refused,
    suite::what_every_source_must_do,
}
