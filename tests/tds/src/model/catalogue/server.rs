//! The server, the database and the jobs in the catalogue.

use super::super::lsn::lsn;
use super::super::rights::{User, denied};
use super::super::state::State;
use super::{Relation, big, bit, datetime, guid, local, number, sysname, text, tiny};
use crate::statements::{Kind, hex};
use crate::wire::{ServerError, Type, Value};

fn server_state() -> ServerError {
    ServerError::new(
        300,
        14,
        "VIEW SERVER STATE permission was denied on object 'server', database 'master'.",
    )
}

fn guid_value(number: u128) -> Value {
    Value::Guid(number.to_be_bytes())
}

pub(super) fn view(
    state: &State,
    user: &User,
    name: &str,
) -> Option<Result<Relation, ServerError>> {
    let needs_state = matches!(
        name,
        "dm_server_services"
            | "dm_cdc_log_scan_sessions"
            | "dm_cdc_errors"
            | "dm_tran_commit_table"
    );
    let state_of_database = name.starts_with("dm_cdc") || name.starts_with("dm_tran");
    if needs_state && !user.views_server_state() && !(state_of_database && user.database_state) {
        return Some(Err(if state_of_database {
            ServerError::new(
                262,
                14,
                format!(
                    "VIEW DATABASE STATE permission denied in database '{}'.",
                    state.name
                ),
            )
        } else {
            server_state()
        }));
    }
    Some(Ok(match name {
        "databases" => databases(state),
        "database_recovery_status" => {
            let mut found = Relation::new(&[
                ("database_id", Kind::int().not_null()),
                ("database_guid", guid()),
                ("family_guid", guid()),
                ("last_log_backup_lsn", Kind::new(Type::Numeric(25, 0))),
                ("recovery_fork_guid", guid()),
                ("first_recovery_fork_guid", guid()),
                ("fork_point_lsn", Kind::new(Type::Numeric(25, 0))),
            ]);
            // Whoever sees databases sees their rows here, says Microsoft
            // (https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-recovery-status-transact-sql).
            if user.is_owner() || state.options.databases_shown {
                found.rows.push(vec![
                    Value::Int(5),
                    guid_value(state.database_guid),
                    guid_value(state.database_guid + 1),
                    Value::Null,
                    guid_value(state.fork),
                    guid_value(state.first_fork),
                    Value::Null,
                ]);
            }
            found
        }
        "change_tracking_databases" => {
            let mut found = Relation::new(&[
                ("database_id", Kind::int().not_null()),
                ("is_auto_cleanup_on", bit()),
                ("retention_period", Kind::int()),
                ("retention_period_units", tiny()),
                ("retention_period_units_desc", Kind::nvarchar(60)),
                ("max_cleanup_version", big()),
            ]);
            let shown = user.is_owner() || state.options.databases_shown;
            if let Some(tracking) = state.tracking.as_ref().filter(|_| shown) {
                let minutes = tracking.retention_minutes;
                let (period, unit, desc) = match minutes {
                    m if m % 1440 == 0 => (m / 1440, 3, "DAYS"),
                    m if m % 60 == 0 => (m / 60, 2, "HOURS"),
                    m => (m, 1, "MINUTES"),
                };
                found.rows.push(vec![
                    Value::Int(5),
                    Value::Bit(tracking.auto_cleanup),
                    Value::Int(period),
                    Value::TinyInt(unit),
                    text(desc),
                    Value::BigInt(tracking.max_cleanup),
                ]);
            }
            found
        }
        "dm_tran_commit_table" => {
            let mut found = Relation::new(&[
                ("commit_ts", big().not_null()),
                ("xdes_id", big()),
                ("commit_lbn", big()),
                ("commit_csn", big()),
                ("commit_time", datetime()),
            ]);
            if let Some(tracking) = &state.tracking {
                found.rows = tracking
                    .commits
                    .iter()
                    .map(|(version, _, time)| {
                        vec![
                            Value::BigInt(*version),
                            Value::Null,
                            Value::Null,
                            Value::Null,
                            local(state, *time),
                        ]
                    })
                    .collect();
            }
            found
        }
        "dm_server_services" => services(state),
        "dm_cdc_log_scan_sessions" => sessions(state),
        "dm_cdc_errors" => {
            let mut found = Relation::new(&[
                ("session_id", Kind::int()),
                ("phase_number", Kind::int()),
                ("entry_time", datetime()),
                ("error_number", Kind::int()),
                ("error_severity", Kind::int()),
                ("error_state", Kind::int()),
                ("error_message", Kind::nvarchar(1024)),
            ]);
            if let Some(capture) = &state.capture {
                found.rows = capture
                    .errors
                    .iter()
                    .map(|(time, error, message)| {
                        vec![
                            Value::Int(1),
                            Value::Int(4),
                            local(state, *time),
                            Value::Int(*error),
                            Value::Int(16),
                            Value::Int(1),
                            text(message),
                        ]
                    })
                    .collect();
            }
            found
        }
        _ => return None,
    }))
}

fn databases(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("name", sysname().not_null()),
        ("database_id", Kind::int().not_null()),
        ("create_date", datetime().not_null()),
        ("compatibility_level", tiny().not_null()),
        ("collation_name", sysname()),
        ("is_read_only", bit()),
        ("state", tiny()),
        ("state_desc", Kind::nvarchar(60)),
        ("snapshot_isolation_state", tiny()),
        ("snapshot_isolation_state_desc", Kind::nvarchar(60)),
        ("is_read_committed_snapshot_on", bit()),
        ("recovery_model", tiny()),
        ("recovery_model_desc", Kind::nvarchar(60)),
        ("service_broker_guid", guid().not_null()),
        ("is_cdc_enabled", bit().not_null()),
        ("is_encrypted", bit()),
        ("replica_id", guid()),
    ]);
    let one = |name: &str, id: i32, here: bool| {
        let snapshot = !here || state.snapshot_allowed;
        vec![
            text(name),
            Value::Int(id),
            local(state, state.created),
            Value::TinyInt(150),
            text(&state.collation.0),
            Value::Bit(here && !state.updateable),
            Value::TinyInt(0),
            text("ONLINE"),
            Value::TinyInt(u8::from(snapshot)),
            text(if snapshot { "ON" } else { "OFF" }),
            Value::Bit(here && state.committed_snapshot),
            Value::TinyInt(state.options.recovery_model),
            text(match state.options.recovery_model {
                1 => "FULL",
                2 => "BULK_LOGGED",
                _ => "SIMPLE",
            }),
            guid_value(state.database_guid + 2),
            Value::Bit(here && state.capture.is_some()),
            Value::Bit(false),
            Value::Null,
        ]
    };
    found.rows = vec![
        one("master", 1, false),
        one("msdb", 4, false),
        one(&state.name, 5, true),
    ];
    found
}

fn services(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("servicename", Kind::nvarchar(256).not_null()),
        ("startup_type", Kind::int()),
        ("startup_type_desc", Kind::nvarchar(256)),
        ("status", Kind::int()),
        ("status_desc", Kind::nvarchar(256)),
        ("filename", Kind::nvarchar(256).not_null()),
    ]);
    let folder = r"C:\Program Files\Microsoft SQL Server\MSSQL16.MSSQLSERVER\MSSQL\Binn";
    let one = |name: &str, running: bool, program: &str| {
        vec![
            text(name),
            Value::Int(2),
            text("Automatic"),
            Value::Int(if running { 4 } else { 1 }),
            text(if running { "Running" } else { "Stopped" }),
            Value::Text(format!("\"{folder}\\{program}")),
        ]
    };
    let server = r#"sqlservr.exe" -sMSSQLSERVER"#;
    found
        .rows
        .push(one("SQL Server (MSSQLSERVER)", true, server));
    // Express and Azure SQL database have no agent.
    if !matches!(state.options.engine_edition, 4 | 5) {
        found.rows.push(one(
            &state.options.agent_service,
            state.options.agent_running,
            r#"SQLAGENT.EXE" -i MSSQLSERVER"#,
        ));
    }
    found
}

fn sessions(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("session_id", Kind::int()),
        ("start_time", datetime()),
        ("end_time", datetime()),
        ("duration", big()),
        ("scan_phase", Kind::nvarchar(200)),
        ("error_count", Kind::int()),
        ("tran_count", big()),
        ("last_commit_lsn", Kind::nvarchar(23)),
        ("last_commit_time", datetime()),
        ("latency", Kind::int()),
        ("empty_scan_count", Kind::int()),
    ]);
    let Some(capture) = &state.capture else {
        return found;
    };
    for (id, session) in (1..).zip(&capture.sessions) {
        let place = lsn(session.last_commit);
        let part = |range: std::ops::Range<usize>| -> String { hex(&place[range]).to_lowercase() };
        let shown = format!("{}:{}:{}", part(0..4), part(4..8), part(8..10));
        found.rows.push(vec![
            Value::Int(id),
            local(state, session.start),
            local(state, session.end),
            Value::BigInt(0),
            text("Done"),
            Value::Int(0),
            Value::BigInt(i64::from(session.transactions)),
            text(&shown),
            local(state, session.end),
            Value::Int(0),
            Value::Int(session.empty),
        ]);
    }
    found
}

pub(super) fn msdb(
    state: &State,
    user: &User,
    name: &str,
) -> Option<Result<Relation, ServerError>> {
    if name != "cdc_jobs" {
        return None;
    }
    if !user.sysadmin && !user.objects.contains("cdc_jobs") {
        return Some(Err(denied("SELECT", "cdc_jobs", "msdb", "dbo")));
    }
    let mut found = Relation::new(&[
        ("database_id", Kind::int().not_null()),
        ("job_type", Kind::nvarchar(20).not_null()),
        ("job_id", guid()),
        ("maxtrans", Kind::int()),
        ("maxscans", Kind::int()),
        ("continuous", bit()),
        ("pollinginterval", big()),
        ("retention", big()),
        ("threshold", big()),
    ]);
    if let Some(capture) = &state.capture {
        if !state.options.published {
            found.rows.push(vec![
                Value::Int(5),
                text("capture"),
                guid_value(0xca),
                number(500),
                number(10),
                Value::Bit(true),
                Value::BigInt(capture.job.poll_seconds),
                Value::BigInt(0),
                Value::BigInt(0),
            ]);
        }
        found.rows.push(vec![
            Value::Int(5),
            text("cleanup"),
            guid_value(0xc1),
            Value::Int(0),
            Value::Int(0),
            Value::Bit(false),
            Value::BigInt(0),
            Value::BigInt(capture.job.retention_minutes),
            Value::BigInt(5000),
        ]);
    }
    Some(Ok(found))
}
