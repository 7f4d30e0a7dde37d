//! `sys.sp_cdc_help_change_data_capture`: the instances that the caller may read, to whoever asks.

use super::bind::Result;
use super::connection::{Connection, ResultSet};
use super::types::Kind;
use crate::model::{Instance, lsn};
use crate::wire::{Column, Length, Type, Value};

impl Connection {
    pub(super) fn help(&mut self) -> Result<ResultSet> {
        let sysname = || Kind::nvarchar(128).of;
        let columns = [
            ("source_schema", sysname()),
            ("source_table", sysname()),
            ("capture_instance", sysname()),
            ("object_id", Type::Int),
            ("source_object_id", Type::Int),
            ("start_lsn", Type::Binary(10)),
            ("end_lsn", Type::Binary(10)),
            ("supports_net_changes", Type::Bit),
            ("has_drop_pending", Type::Bit),
            ("role_name", sysname()),
            ("index_name", sysname()),
            ("filegroup_name", sysname()),
            ("create_date", Type::DateTime),
            ("index_column_list", Type::NVarChar(Length::Max)),
            ("captured_column_list", Type::NVarChar(Length::Max)),
        ];
        let columns = columns.map(|(name, kind)| Column::new(name, kind)).to_vec();
        let list = |names: Vec<&str>| -> Value {
            let quoted: Vec<String> = names
                .iter()
                .map(|name| format!("[{}]", name.replace(']', "]]")))
                .collect();
            Value::Text(quoted.join(", "))
        };
        let user = self.user.clone();
        let rows = self.database.with(|state| {
            state.capture_mut()?;
            let user = state.user(&user).cloned();
            let all = state.capture.iter().flat_map(|capture| &capture.instances);
            let may = |instance: &&Instance| {
                let user = user.as_ref();
                user.is_some_and(|user| state.reads_instance(user, &instance.name))
            };
            Ok(all
                .filter(may)
                .filter_map(|instance| {
                    let table = state.tables.get(&instance.source)?;
                    Some(vec![
                        Value::text(&table.schema),
                        Value::text(&table.name),
                        Value::text(&instance.name),
                        Value::Int(instance.id),
                        Value::Int(instance.source),
                        Value::Bytes(lsn(instance.start)),
                        Value::Null,
                        Value::Bit(instance.net),
                        Value::Null,
                        instance.role.as_deref().into(),
                        instance.index.as_deref().into(),
                        Value::Null,
                        crate::model::local(state, instance.created),
                        list(
                            instance
                                .key
                                .iter()
                                .map(|at| table.columns[*at].name.as_str())
                                .collect(),
                        ),
                        list(
                            instance
                                .columns
                                .iter()
                                .map(|column| column.name.as_str())
                                .collect(),
                        ),
                    ])
                })
                .collect())
        })?;
        Ok(ResultSet { columns, rows })
    }
}
