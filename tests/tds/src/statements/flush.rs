//! The clean-up of Change Tracking by hand: `sp_flush_CT_internal_table_on_demand`.

use super::bind::Result;
use super::connection::Connection;
use super::functions::parts;
use crate::model::not_tracked;

impl Connection {
    /// What is older than the retention goes.
    pub(super) fn flush(&mut self, table: &str) -> Result<()> {
        self.database.with(|state| {
            let parts = parts(table).unwrap_or_default();
            let found = match parts.as_slice() {
                [name] => state.table("dbo", name),
                [schema, name] => state.table(schema, name),
                _ => None,
            };
            let found = found.filter(|table| table.tracking.is_some());
            let id = found.ok_or_else(|| not_tracked(table))?.id;
            if let Some(upto) = state.tracking_outlived() {
                state.tracking_cleanup(id, upto);
            }
            Ok(())
        })
    }
}
