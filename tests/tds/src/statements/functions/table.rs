//! Functions that give rows: what `cdc.fn_cdc_get_all_changes_..` and its sister give.

use std::collections::HashMap;

use crate::model::{CapturedRow, Instance, denied, lsn, same_name};
use crate::statements::ast::Path;
use crate::statements::bind::{Bound, Cx, Result};
use crate::statements::compare::sameness;
use crate::statements::types::Kind;
use crate::wire::{Length, ServerError, Type, Value};

/// A function that gives rows.
#[derive(Clone, Debug)]
pub(crate) struct TableFunction {
    instance: String,
    net: bool,
}

type Columns = Vec<(String, Kind)>;

/// Binds a function that gives rows: itself, its columns, its arguments in the types it takes.
pub(crate) fn table(
    cx: &Cx<'_>,
    path: &Path,
    args: Vec<Bound>,
) -> Result<(TableFunction, Columns, Vec<Bound>)> {
    let unknown = || ServerError::invalid_object(&path.join("."));
    let [schema, name] = path.as_slice() else {
        return Err(unknown());
    };
    let lower = name.to_lowercase();
    let (net, of) = if let Some(of) = lower.strip_prefix("fn_cdc_get_all_changes_") {
        (false, of)
    } else if let Some(of) = lower.strip_prefix("fn_cdc_get_net_changes_") {
        (true, of)
    } else {
        return Err(unknown());
    };
    let instance = cx
        .state
        .instance(of)
        .filter(|_| same_name(schema, "cdc"))
        .ok_or_else(unknown)?;
    if net && !instance.net {
        return Err(unknown());
    }
    // That the caller meets 229 here and not another error is from memory.
    if !cx.state.reads_instance(cx.user, of) {
        return Err(denied("SELECT", name, &cx.state.name, "cdc"));
    }
    if args.len() != 3 {
        return Err(ServerError::new(
            313,
            16,
            format!(
                "An insufficient number of arguments were supplied for the procedure or function {}.",
                path.join(".")
            ),
        ));
    }
    let mut columns: Columns = vec![("__$start_lsn".to_owned(), Kind::new(Type::Binary(10)))];
    if !net {
        columns.push(("__$seqval".to_owned(), Kind::new(Type::Binary(10))));
    }
    columns.push(("__$operation".to_owned(), Kind::int()));
    columns.push((
        "__$update_mask".to_owned(),
        Kind::new(Type::VarBinary(Length::Of(128))),
    ));
    let table = cx.state.tables.get(&instance.source);
    for column in &instance.columns {
        let of_table = table.and_then(|table| table.columns.get(column.at));
        let collation = of_table.map_or(cx.state.collation.1, |c| {
            c.kind(cx.state.collation.1).collation
        });
        columns.push((
            column.name.clone(),
            Kind::new(column.kind.clone()).collated(collation),
        ));
    }
    let mut bound = Vec::new();
    let kinds = [
        Type::Binary(10),
        Type::Binary(10),
        Type::NVarChar(Length::Of(30)),
    ];
    for (arg, kind) in args.into_iter().zip(kinds) {
        bound.push(arg.cast(Kind::new(kind))?);
    }
    Ok((
        TableFunction {
            instance: instance.name.clone(),
            net,
        },
        columns,
        bound,
    ))
}

impl TableFunction {
    pub(crate) fn rows(&self, cx: &Cx<'_>, args: &[Value]) -> Result<Vec<Vec<Value>>> {
        let name = if self.net { "net" } else { "all" };
        // What is out of range is told as a matter of arguments, as the server does.
        let range = || {
            ServerError::new(
                313,
                16,
                format!(
                    "An insufficient number of arguments were supplied for the procedure or function \
                     cdc.fn_cdc_get_{name}_changes_ ... ."
                ),
            )
        };
        let (Value::Bytes(from), Value::Bytes(to), Value::Text(option)) =
            (&args[0], &args[1], &args[2])
        else {
            return Err(range());
        };
        let instance = cx.state.instance(&self.instance).ok_or_else(|| {
            ServerError::invalid_object(&format!("cdc.fn_cdc_get_{name}_changes_{}", self.instance))
        })?;
        let highest = cx
            .state
            .max_lsn(|time| cx.view.between(time.from, time.until));
        let highest = highest.map(lsn).ok_or_else(range)?;
        if *from < lsn(instance.start) || *to > highest || from > to {
            return Err(range());
        }
        let option = option.trim().to_lowercase();
        let fits = |row: &&CapturedRow| {
            let place = lsn(row.place);
            cx.view.between(row.from, row.until) && place >= *from && place <= *to
        };
        let rows: Vec<&CapturedRow> = instance.rows.iter().filter(fits).collect();
        match (self.net, option.as_str()) {
            (false, "all") => Ok(rows
                .iter()
                .filter(|row| row.operation != 3)
                .map(|row| all(row))
                .collect()),
            (false, "all update old") => Ok(rows.iter().map(|row| all(row)).collect()),
            (true, "all" | "all with mask" | "all with merge") => {
                Ok(net(cx, instance, &rows, &option))
            }
            _ => Err(range()),
        }
    }
}

fn all(row: &CapturedRow) -> Vec<Value> {
    let mut found = vec![
        Value::Bytes(lsn(row.place)),
        Value::Bytes(lsn(row.seqval)),
        Value::Int(row.operation),
        Value::Bytes(row.mask.clone()),
    ];
    found.extend(row.values.iter().cloned());
    found
}

/// One row for each key: the last values, and the operation that leads there.
fn net(cx: &Cx<'_>, instance: &Instance, rows: &[&CapturedRow], option: &str) -> Vec<Vec<Value>> {
    let mut sorted: Vec<&CapturedRow> = rows.to_vec();
    sorted.sort_by_key(|row| (row.place, row.command, row.seqval, row.operation));
    let mut at: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut found: Vec<(&CapturedRow, &CapturedRow, Vec<u8>)> = Vec::new();
    for row in sorted.into_iter().filter(|row| row.operation != 3) {
        let mut key = Vec::new();
        for part in &instance.key {
            let Some(place) = instance
                .columns
                .iter()
                .position(|column| column.at == *part)
            else {
                continue;
            };
            let kind =
                Kind::new(instance.columns[place].kind.clone()).collated(cx.state.collation.1);
            key.extend(sameness(&row.values[place], &kind));
            key.push(0xff);
        }
        match at.get(&key) {
            Some(at) => {
                let (_, last, mask) = &mut found[*at];
                *last = row;
                for (bit, other) in mask.iter_mut().zip(&row.mask) {
                    *bit |= other;
                }
            }
            None => {
                at.insert(key, found.len());
                found.push((row, row, row.mask.clone()));
            }
        }
    }
    let net = found.into_iter().filter_map(|(first, last, mask)| {
        let operation = match (first.operation, last.operation) {
            (2, 1) => return None,
            (_, 1) => 1,
            _ if option == "all with merge" => 5,
            (2, _) => 2,
            _ => 4,
        };
        let shown = option == "all with mask" && operation == 4;
        let mut row = vec![
            Value::Bytes(lsn(last.place)),
            Value::Int(operation),
            if shown {
                Value::Bytes(mask)
            } else {
                Value::Null
            },
        ];
        row.extend(last.values.iter().cloned());
        Some(row)
    });
    net.collect()
}
