//! EXEC: the procedures of Change Data Capture, and the clean-up of Change Tracking.

use super::ast::{Expr, Path};
use super::bind::Result;
use super::connection::{Connection, Gave, ResultSet};
use super::functions::parts;
use super::{convert, type_of};
use crate::model::{lsn_place, same_name};
use crate::wire::{Length, ServerError, Type, Value};

/// Cleans Change Tracking up by hand.
const FLUSH: &str = "sp_flush_ct_internal_table_on_demand";

/// Arguments by name or place.
struct Args(Vec<(Option<String>, Value)>);

impl Args {
    fn get(&self, name: &str, at: usize) -> Option<&Value> {
        let named = self
            .0
            .iter()
            .find(|(other, _)| other.as_deref().is_some_and(|o| same_name(o, name)));
        let placed = || self.0.get(at).filter(|(name, _)| name.is_none());
        named
            .or_else(placed)
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    fn text(&self, name: &str, at: usize) -> Result<Option<String>> {
        let Some(value) = self.get(name, at) else {
            return Ok(None);
        };
        let to = Type::NVarChar(Length::Max);
        match convert(value, &type_of(value, &to), &to, 0)? {
            Value::Text(text) => Ok(Some(text)),
            _ => Ok(None),
        }
    }

    fn need(&self, procedure: &str, name: &str, at: usize) -> Result<String> {
        self.text(name, at)?.ok_or_else(|| {
            let text = format!("Procedure or function '{procedure}' expects parameter '{name}', which was not supplied.");
            ServerError::new(201, 16, text)
        })
    }
}

impl Connection {
    pub(super) fn procedure(
        &mut self,
        path: &Path,
        args: &[(Option<String>, Expr)],
    ) -> Result<Vec<Gave>> {
        let name = path.last().map_or("", String::as_str).to_lowercase();
        let unknown = || {
            let text = format!("Could not find stored procedure '{}'.", path.join("."));
            ServerError::new(2812, 16, text)
        };
        let of_sys = match path.as_slice() {
            [_] => true,
            [.., schema, _] => same_name(schema, "sys"),
            [] => false,
        };
        if !of_sys || !(name.starts_with("sp_cdc_") || name == FLUSH) {
            return Err(unknown());
        }
        let mut given = Vec::new();
        for (name, value) in args {
            given.push((name.clone(), self.value(value, None)?));
        }
        let args = Args(given);
        // What it tells is what the caller may read.
        if name == "sp_cdc_help_change_data_capture" {
            return Ok(vec![Gave::Rows(self.help()?), Gave::Return(0)]);
        }
        let owner = self.read(|cx| Ok(cx.user.is_owner()))?;
        if !owner {
            let text = "Caller is not authorized to initiate the requested action. DBO privileges are required.";
            return Err(ServerError::new(22_904, 16, text));
        }
        let mut gave = Vec::new();
        match name.as_str() {
            "sp_cdc_enable_db" => {
                if self
                    .database
                    .with_state(|state| state.options.engine_edition)
                    == 4
                {
                    let text = "This instance of SQL Server is the Express Edition (64-bit). Change data capture is only available in the Enterprise, Developer, Enterprise Evaluation, and Standard editions.";
                    return Err(ServerError::new(22_988, 16, text));
                }
                self.database.enable_cdc();
            }
            "sp_cdc_disable_db" => self.database.with_state(|state| state.capture = None),
            "sp_cdc_enable_table" => self.enable_table(&args)?,
            "sp_cdc_disable_table" => {
                let instance = args.need(&name, "@capture_instance", 2)?;
                let table = (
                    args.need(&name, "@source_schema", 0)?,
                    args.need(&name, "@source_name", 1)?,
                );
                self.disable_table(&table.0, &table.1, &instance)?;
            }
            "sp_cdc_help_jobs" => gave.push(Gave::Rows(self.jobs()?)),
            "sp_cdc_scan" => {
                self.database.capture_all();
            }
            "sp_cdc_cleanup_change_table" => {
                let instance = args.need(&name, "@capture_instance", 0)?;
                let Some(Value::Bytes(mark)) = args.get("@low_water_mark", 1).cloned() else {
                    return Err(ServerError::new(
                        201,
                        16,
                        "The low water mark must be given.",
                    ));
                };
                self.database.cleanup(&instance, lsn_place(&mark))?;
            }
            "sp_cdc_change_job" => {
                let cleanup = args
                    .text("@job_type", 0)?
                    .is_some_and(|job| same_name(&job, "cleanup"));
                let number = |name: &str| -> Result<Option<i64>> {
                    Ok(args
                        .text(name, usize::MAX)?
                        .and_then(|text| text.parse().ok()))
                };
                let (retention, poll) = (number("@retention")?, number("@pollinginterval")?);
                self.database.with(|state| {
                    let job = &mut state.capture_mut()?.job;
                    if let (true, Some(minutes)) = (cleanup, retention) {
                        job.retention_minutes = minutes;
                    }
                    if let (false, Some(seconds)) = (cleanup, poll) {
                        job.poll_seconds = seconds;
                    }
                    Ok(())
                })?;
            }
            "sp_cdc_start_job" | "sp_cdc_stop_job" => {
                let cleanup = args
                    .text("@job_type", 0)?
                    .is_some_and(|job| same_name(&job, "cleanup"));
                if !cleanup {
                    self.database.run_job(name == "sp_cdc_start_job");
                }
            }
            FLUSH => {
                let table = args.need(&name, "@TableToClean", 0)?;
                self.flush(&table)?;
            }
            "sp_cdc_add_job" | "sp_cdc_drop_job" => {}
            _ => return Err(unknown()),
        }
        gave.push(Gave::Return(0));
        Ok(gave)
    }

    fn enable_table(&mut self, args: &Args) -> Result<()> {
        let name = "sp_cdc_enable_table";
        let (schema, table) = (
            args.need(name, "@source_schema", 0)?,
            args.need(name, "@source_name", 1)?,
        );
        let instance = args.text("@capture_instance", 3)?;
        let role = args.text("@role_name", 2)?;
        let net = args
            .text("@supports_net_changes", 4)?
            .map(|net| net == "1" || net == "true");
        let list = args.text("@captured_column_list", 6)?;
        let columns: Option<Vec<String>> = match &list {
            None => None,
            Some(list) => Some(
                list.split(',')
                    .map(|name| parts(name).and_then(|mut parts| parts.pop()))
                    .collect::<Option<_>>()
                    .ok_or_else(|| {
                        ServerError::new(22_911, 16, "The list of captured columns cannot be read.")
                    })?,
            ),
        };
        self.database.with(|state| {
            let id = state.table(&schema, &table).map(|table| table.id).ok_or_else(|| {
                let text = format!("Source table '{schema}.{table}' does not exist in the current database. Ensure that the table exists and reissue the request.");
                ServerError::new(22_931, 16, text)
            })?;
            if let Some(role) = &role {
                // The role is made when there is none.
                state.roles.insert(role.to_lowercase());
            }
            state.enable_instance(id, instance.as_deref(), columns.as_deref(), role.as_deref(), net).map(drop)
        })
    }

    fn disable_table(&mut self, schema: &str, table: &str, instance: &str) -> Result<()> {
        self.database.with(|state| {
            let source = state.table(schema, table).map(|table| table.id);
            state.seq += 1;
            let all = same_name(instance, "all");
            let capture = state.capture_mut()?;
            let before = capture.instances.len();
            capture.instances.retain(|i| Some(i.source) != source || !(all || same_name(&i.name, instance)));
            if capture.instances.len() == before {
                let text = format!("The specified capture instance '{instance}' does not exist for the source table '{schema}.{table}'.");
                return Err(ServerError::new(22_960, 16, text));
            }
            Ok(())
        })
    }

    fn jobs(&mut self) -> Result<ResultSet> {
        let sql = "SELECT NEWJOBS.job_id, NEWJOBS.job_type, CASE NEWJOBS.job_type WHEN 'capture' THEN \
                   N'cdc.capture' ELSE N'cdc.cleanup' END AS job_name, NEWJOBS.maxtrans, NEWJOBS.maxscans, \
                   NEWJOBS.continuous, NEWJOBS.pollinginterval, NEWJOBS.retention, NEWJOBS.threshold FROM \
                   msdb.dbo.cdc_jobs AS NEWJOBS ORDER BY NEWJOBS.job_type";
        let mut all = self.database.connect("sa").query(sql, &[])?;
        all.pop()
            .ok_or_else(|| ServerError::invalid_object("cdc_jobs"))
    }
}
