//! The tables of the schema `cdc`.

use super::super::lsn::lsn;
use super::super::rights::{User, denied};
use super::super::state::State;
use super::super::table::View;
use super::{Relation, binary, bit, datetime, local, number, seen, sysname, text, varbinary};
use crate::statements::Kind;
use crate::wire::{Length, ServerError, Type, Value};

/// A table of the schema `cdc` as a reader sees it. None when there is none of this name.
pub(crate) fn cdc_relation(
    state: &State,
    user: &User,
    view: View,
    name: &str,
) -> Option<Result<Relation, ServerError>> {
    let capture = state.capture.as_ref()?;
    let lower = name.to_lowercase();
    let of_instance = lower
        .strip_suffix("_ct")
        .and_then(|instance| state.instance(instance));
    // Azure SQL Database has its jobs here: it has no `msdb`.
    if lower == "cdc_jobs" && state.options.engine_edition == 5 && user.selects_cdc() {
        return super::server::msdb(state, &User::sysadmin("", ""), &lower);
    }
    let known = [
        "change_tables",
        "captured_columns",
        "index_columns",
        "ddl_history",
        "lsn_time_mapping",
    ];
    if of_instance.is_none() && !known.contains(&lower.as_str()) {
        return None;
    }
    if !user.selects_cdc() {
        return Some(Err(denied("SELECT", name, &state.name, "cdc")));
    }
    let int = Kind::int;
    let mut found;
    if let Some(instance) = of_instance {
        let mut columns = vec![
            ("__$start_lsn".to_owned(), binary(10).not_null()),
            ("__$end_lsn".to_owned(), binary(10)),
            ("__$seqval".to_owned(), binary(10).not_null()),
            ("__$operation".to_owned(), int().not_null()),
            ("__$update_mask".to_owned(), varbinary(128)),
        ];
        let table = state.tables.get(&instance.source);
        for column in &instance.columns {
            let of_table = table.and_then(|table| table.columns.get(column.at));
            let kind = Kind::new(column.kind.clone()).collated(
                of_table.map_or(state.collation.1, |c| c.kind(state.collation.1).collation),
            );
            columns.push((column.name.clone(), kind));
        }
        if state.options.command_id {
            columns.push(("__$command_id".to_owned(), int()));
        }
        let rows = instance
            .rows
            .iter()
            .filter(|row| seen(view, row.from, row.until))
            .map(|row| {
                let mut values = vec![
                    Value::Bytes(lsn(row.place)),
                    Value::Null,
                    Value::Bytes(lsn(row.seqval)),
                    Value::Int(row.operation),
                    Value::Bytes(row.mask.clone()),
                ];
                values.extend(row.values.iter().cloned());
                if state.options.command_id {
                    values.push(Value::Int(row.command));
                }
                values
            });
        return Some(Ok(Relation {
            columns,
            rows: rows.collect(),
        }));
    }
    match lower.as_str() {
        "change_tables" => {
            found = Relation::new(&[
                ("object_id", int().not_null()),
                ("version", int()),
                ("source_object_id", int()),
                ("capture_instance", sysname().not_null()),
                ("start_lsn", binary(10)),
                ("end_lsn", binary(10)),
                ("supports_net_changes", bit()),
                ("has_drop_pending", bit()),
                ("role_name", sysname()),
                ("index_name", sysname()),
                ("filegroup_name", sysname()),
                ("create_date", datetime()),
                ("partition_switch", bit()),
            ]);
            found.rows = capture
                .instances
                .iter()
                .map(|instance| {
                    vec![
                        Value::Int(instance.id),
                        Value::Int(0),
                        Value::Int(instance.source),
                        text(&instance.name),
                        Value::Bytes(lsn(instance.start)),
                        Value::Null,
                        Value::Bit(instance.net),
                        Value::Null,
                        instance.role.as_deref().into(),
                        instance.index.as_deref().into(),
                        Value::Null,
                        local(state, instance.created),
                        Value::Bit(true),
                    ]
                })
                .collect();
        }
        "captured_columns" => {
            found = Relation::new(&[
                ("object_id", int().not_null()),
                ("column_name", sysname().not_null()),
                ("column_id", int()),
                ("column_type", sysname()),
                ("column_ordinal", int().not_null()),
                ("is_computed", bit()),
                ("masking_function", Kind::nvarchar(4000)),
            ]);
            for instance in &capture.instances {
                for (at, column) in instance.columns.iter().enumerate() {
                    found.rows.push(vec![
                        Value::Int(instance.id),
                        text(&column.name),
                        number(column.at + 1),
                        text(&crate::statements::type_name(&column.kind)),
                        number(at + 1),
                        Value::Bit(column.computed),
                        Value::Null,
                    ]);
                }
            }
        }
        "index_columns" => {
            found = Relation::new(&[
                ("object_id", int().not_null()),
                ("column_name", sysname().not_null()),
                ("index_ordinal", Kind::new(Type::TinyInt).not_null()),
                ("column_id", int()),
            ]);
            for instance in &capture.instances {
                for (ordinal, at) in (1_u8..).zip(&instance.key) {
                    let name = instance.columns.iter().find(|column| column.at == *at);
                    found.rows.push(vec![
                        Value::Int(instance.id),
                        text(name.map_or("", |column| &column.name)),
                        Value::TinyInt(ordinal),
                        number(at + 1),
                    ]);
                }
            }
        }
        "ddl_history" => {
            found = Relation::new(&[
                ("source_object_id", int()),
                ("object_id", int()),
                ("required_column_update", bit()),
                ("ddl_command", Kind::new(Type::NVarChar(Length::Max))),
                ("ddl_lsn", binary(10)),
                ("ddl_time", datetime()),
            ]);
            found.rows = capture
                .ddl
                .iter()
                .map(|ddl| {
                    vec![
                        Value::Int(ddl.source),
                        Value::Int(ddl.instance),
                        Value::Bit(ddl.column_update),
                        text(&ddl.command),
                        Value::Bytes(lsn(ddl.place)),
                        local(state, ddl.time),
                    ]
                })
                .collect();
        }
        _ => {
            found = Relation::new(&[
                ("start_lsn", binary(10).not_null()),
                ("tran_begin_time", datetime()),
                ("tran_end_time", datetime()),
                ("tran_id", varbinary(10)),
                ("tran_begin_lsn", binary(10)),
            ]);
            let times = capture
                .times
                .iter()
                .filter(|time| seen(view, time.from, time.until));
            found.rows = times
                .map(|time| {
                    let transaction = match time.transaction {
                        None => vec![0],
                        Some(id) => id.to_be_bytes()[2..].to_vec(),
                    };
                    vec![
                        Value::Bytes(lsn(time.place)),
                        local(state, time.begin),
                        local(state, time.end),
                        Value::Bytes(transaction),
                        Value::Null,
                    ]
                })
                .collect();
        }
    }
    Some(Ok(found))
}
