//! Names, numbers, properties and rights.

use super::{Entry, int, sysname, text, variant, whole};
use crate::model::{Table, same_name};
use crate::statements::bind::{Cx, Result};
use crate::statements::token::{Token, tokens};
use crate::statements::types::Kind;
use crate::statements::{digits_of, length_of};
use crate::wire::{Length, Type, Value};

pub(super) const ALL: &[Entry] = &[
    ("DB_NAME", 0, 1, sysname, |cx, _, _| {
        Ok(Value::text(&cx.state.name))
    }),
    ("DB_ID", 0, 1, |_| Kind::new(Type::SmallInt), db_id),
    ("OBJECT_ID", 1, 2, int, object_id),
    ("OBJECT_NAME", 1, 2, sysname, |cx, v, k| {
        with_table(cx, v, k, |table| table.name.clone())
    }),
    ("OBJECT_SCHEMA_NAME", 1, 2, sysname, |cx, v, k| {
        with_table(cx, v, k, |table| table.schema.clone())
    }),
    ("SCHEMA_ID", 0, 1, int, schema_id),
    ("SCHEMA_NAME", 0, 1, sysname, schema_name),
    ("TYPE_NAME", 1, 1, sysname, type_name),
    ("COLUMNPROPERTY", 3, 3, int, column_property),
    (
        "COL_LENGTH",
        2,
        2,
        |_| Kind::new(Type::SmallInt),
        col_length,
    ),
    ("SERVERPROPERTY", 1, 1, variant, server_property),
    ("DATABASEPROPERTYEX", 2, 2, variant, database_property),
    ("CONNECTIONPROPERTY", 1, 1, variant, connection_property),
    ("HAS_PERMS_BY_NAME", 3, 5, int, has_perms),
    ("HAS_DBACCESS", 1, 1, int, |cx, v, k| {
        Ok(Value::Int(i32::from(
            text(&v[0], k[0])?.is_some_and(|name| same_name(&name, &cx.state.name)),
        )))
    }),
    ("IS_MEMBER", 1, 1, int, is_member),
    ("IS_ROLEMEMBER", 1, 2, int, is_role_member),
    ("USER_ID", 0, 1, int, user_id),
    (
        "SUSER_SID",
        0,
        2,
        |_| Kind::new(Type::VarBinary(Length::Of(85))),
        login_sid,
    ),
    ("IS_SRVROLEMEMBER", 1, 2, int, is_server_member),
    ("SUSER_SNAME", 0, 1, sysname, |cx, _, _| {
        Ok(Value::text(&cx.user.name))
    }),
    ("SUSER_NAME", 0, 1, sysname, |cx, _, _| {
        Ok(Value::text(&cx.user.name))
    }),
    ("ORIGINAL_LOGIN", 0, 0, sysname, |cx, _, _| {
        Ok(Value::text(&cx.user.name))
    }),
    ("USER_NAME", 0, 1, sysname, user_name),
    ("APP_NAME", 0, 0, sysname, |cx, _, _| {
        Ok(Value::text(&cx.facts.program))
    }),
    (
        "XACT_STATE",
        0,
        0,
        |_| Kind::new(Type::SmallInt),
        |cx, _, _| Ok(Value::SmallInt(i16::from(cx.facts.transactions > 0))),
    ),
];

fn db_id(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(value) = values.first() else {
        return Ok(Value::SmallInt(5));
    };
    Ok(match text(value, kinds[0])? {
        Some(name) if same_name(&name, &cx.state.name) => Value::SmallInt(5),
        Some(name) if same_name(&name, "master") => Value::SmallInt(1),
        Some(name) if same_name(&name, "msdb") => Value::SmallInt(4),
        _ => Value::Null,
    })
}

/// The parts of a name in a text, such as `[dbo].[a]]b]`. None when it is none.
pub(crate) fn parts(name: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut part = false;
    for placed in tokens(name).ok()? {
        match placed.token {
            Token::Name(name) | Token::Word(name) if !part => {
                found.push(name);
                part = true;
            }
            Token::Sign(".") if part => part = false,
            Token::Sign(".") if !found.is_empty() => found.push("dbo".to_owned()),
            Token::End => break,
            _ => return None,
        }
    }
    part.then_some(found)
}

/// The table that a text names.
pub(crate) fn named<'a>(cx: &Cx<'a>, name: &str) -> Option<&'a Table> {
    let parts = parts(name)?;
    let table = match parts.as_slice() {
        [name] => cx.state.table("dbo", name),
        [schema, name] => cx.state.table(schema, name),
        [database, schema, name] if same_name(database, &cx.state.name) => {
            cx.state.table(schema, name)
        }
        _ => None,
    };
    table.filter(|table| cx.user.sees(table))
}

fn object_id(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(name) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    if let Some(table) = named(cx, &name) {
        return Ok(Value::Int(table.id));
    }
    // What is in the schema cdc, for those who may see it.
    if let Some(parts) = parts(&name)
        && let [schema, object] = parts.as_slice()
        && same_name(schema, "cdc")
        && cx.user.selects_cdc()
        && cx.state.capture.is_some()
    {
        let lower = object.to_lowercase();
        if let Some(instance) = lower
            .strip_suffix("_ct")
            .and_then(|name| cx.state.instance(name))
        {
            return Ok(Value::Int(instance.id));
        }
        let known = [
            "change_tables",
            "captured_columns",
            "index_columns",
            "ddl_history",
            "lsn_time_mapping",
        ];
        if let Some(at) = known.iter().position(|name| *name == lower) {
            return Ok(Value::Int(1_000_000 + i32::try_from(at).unwrap_or(0)));
        }
    }
    Ok(Value::Null)
}

fn with_table(
    cx: &Cx<'_>,
    values: &[Value],
    kinds: &[&Kind],
    of: fn(&Table) -> String,
) -> Result<Value> {
    let id = whole(&values[0], kinds[0])?.and_then(|id| i32::try_from(id).ok());
    let table = id
        .and_then(|id| cx.state.tables.get(&id))
        .filter(|table| cx.user.sees(table));
    Ok(table.map_or(Value::Null, |table| Value::Text(of(table))))
}

fn schema_id(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(value) = values.first() else {
        return Ok(Value::Int(1));
    };
    let Some(name) = text(value, kinds[0])? else {
        return Ok(Value::Null);
    };
    if same_name(&name, "cdc") && cx.state.capture.is_some() {
        return Ok(Value::Int(100));
    }
    let found = cx
        .state
        .schemas
        .iter()
        .find(|(_, other)| same_name(other, &name));
    Ok(found.map_or(Value::Null, |(id, _)| Value::Int(*id)))
}

fn schema_name(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(value) = values.first() else {
        return Ok(Value::text("dbo"));
    };
    let id = whole(value, kinds[0])?;
    let found = cx
        .state
        .schemas
        .iter()
        .find(|(other, _)| Some(i64::from(*other)) == id);
    Ok(found.map_or(Value::Null, |(_, name)| Value::text(name)))
}

fn type_name(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let id = whole(&values[0], kinds[0])?;
    let found = crate::model::TYPES
        .iter()
        .find(|(_, user, _)| Some(i64::from(*user)) == id);
    Ok(found.map_or(Value::Null, |(_, _, name)| Value::text(name)))
}

fn column_property(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let id = whole(&values[0], kinds[0])?.and_then(|id| i32::try_from(id).ok());
    if let Some(at) = super::capture::own_column(cx, id, text(&values[1], kinds[1])?.as_deref()) {
        return Ok(at);
    }
    let (Some(table), Some(column), Some(property)) = (
        id.and_then(|id| cx.state.tables.get(&id)),
        text(&values[1], kinds[1])?,
        text(&values[2], kinds[2])?,
    ) else {
        return Ok(Value::Null);
    };
    let Some(at) = table.column(&column) else {
        return Ok(Value::Null);
    };
    let column = &table.columns[at];
    Ok(match property.to_lowercase().as_str() {
        "columnid" => i32::try_from(at + 1).map_or(Value::Null, Value::Int),
        "allowsnull" => Value::Int(i32::from(column.nullable)),
        "iscomputed" => Value::Int(i32::from(column.computed.is_some())),
        "isidentity" => Value::Int(i32::from(column.identity)),
        "precision" => Value::Int(i32::from(digits_of(&column.kind).0)),
        "scale" => Value::Int(i32::from(digits_of(&column.kind).1)),
        _ => Value::Null,
    })
}

fn col_length(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(table), Some(column)) = (text(&values[0], kinds[0])?, text(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    let table = named(cx, &table);
    let found = table.and_then(|table| {
        table
            .column(&column)
            .map(|at| length_of(&table.columns[at].kind))
    });
    Ok(found.map_or(Value::Null, Value::SmallInt))
}

fn of_text(text: &str) -> Value {
    Value::variant(Type::NVarChar(Length::Of(128)), Value::text(text))
}

fn of_int(value: i32) -> Value {
    Value::variant(Type::Int, Value::Int(value))
}

fn server_property(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(property) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    let options = &cx.state.options;
    let azure = options.engine_edition == 5;
    Ok(match property.to_lowercase().as_str() {
        "engineedition" => of_int(options.engine_edition),
        "edition" => of_text(if azure { "SQL Azure" } else { &options.edition }),
        "productversion" => of_text(&options.version),
        "productmajorversion" => of_text(options.version.split('.').next().unwrap_or("")),
        "productlevel" => of_text("RTM"),
        "servername" | "machinename" => of_text("MODEL"),
        "collation" => of_text("SQL_Latin1_General_CP1_CI_AS"),
        "ishadrenabled" | "isclustered" => of_int(0),
        "isintegratedsecurityonly" => of_int(0),
        _ => Value::Null,
    })
}

fn database_property(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let (Some(database), Some(property)) =
        (text(&values[0], kinds[0])?, text(&values[1], kinds[1])?)
    else {
        return Ok(Value::Null);
    };
    if !same_name(&database, &cx.state.name) {
        return Ok(Value::Null);
    }
    Ok(match property.to_lowercase().as_str() {
        "updateability" => of_text(if cx.state.updateable {
            "READ_WRITE"
        } else {
            "READ_ONLY"
        }),
        "collation" => of_text(&cx.state.collation.0),
        "status" => of_text("ONLINE"),
        "recovery" => of_text(match cx.state.options.recovery_model {
            1 => "FULL",
            2 => "BULK_LOGGED",
            _ => "SIMPLE",
        }),
        "ispublished" => of_int(i32::from(cx.state.options.published)),
        "edition" if cx.state.options.engine_edition == 5 => of_text("Standard"),
        _ => Value::Null,
    })
}

fn connection_property(_: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let property = text(&values[0], kinds[0])?.unwrap_or_default();
    Ok(match property.to_lowercase().as_str() {
        "net_transport" => of_text("TCP"),
        "auth_scheme" => of_text("SQL"),
        "protocol_type" => of_text("TSQL"),
        _ => Value::Null,
    })
}

/// NULL when the class or the permission is none that the model knows.
fn has_perms(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let securable = text(&values[0], kinds[0])?;
    let class = text(&values[1], kinds[1])?
        .unwrap_or_default()
        .to_uppercase();
    let Some(permission) = text(&values[2], kinds[2])? else {
        return Ok(Value::Null);
    };
    let permission = permission.to_uppercase();
    let yes = |has: bool| Ok(Value::Int(i32::from(has)));
    match (securable, class.as_str()) {
        (Some(name), "OBJECT") => {
            let of_cdc =
                parts(&name).is_some_and(|parts| parts.len() == 2 && same_name(&parts[0], "cdc"));
            if of_cdc {
                return yes(permission == "SELECT" && cx.user.selects_cdc());
            }
            let jobs = parts(&name)
                .is_some_and(|p| p.last().is_some_and(|last| same_name(last, "cdc_jobs")));
            if jobs {
                return yes(cx.user.sysadmin || cx.user.objects.contains("cdc_jobs"));
            }
            let Some(table) = named(cx, &name) else {
                return yes(false);
            };
            match permission.as_str() {
                "SELECT" => yes(cx.user.selects(table)),
                "VIEW CHANGE TRACKING" => yes(cx.user.views_tracking(table)),
                "INSERT" | "UPDATE" | "DELETE" | "ALTER" | "CONTROL" | "REFERENCES" => {
                    yes(cx.user.is_owner())
                }
                "VIEW DEFINITION" => yes(cx.user.sees(table)),
                _ => Ok(Value::Null),
            }
        }
        (Some(name), "SCHEMA") => {
            if same_name(&name, "cdc") {
                return yes(permission == "SELECT" && cx.user.selects_cdc());
            }
            let on = cx
                .user
                .schemas
                .get(&name.to_lowercase())
                .copied()
                .unwrap_or_default();
            match permission.as_str() {
                "SELECT" => yes(cx.user.is_owner() || on.select),
                "VIEW CHANGE TRACKING" => yes(cx.user.is_owner() || on.tracking),
                _ => Ok(Value::Null),
            }
        }
        (_, "DATABASE") => match permission.as_str() {
            "VIEW DATABASE STATE" => {
                yes(cx.user.is_owner() || cx.user.database_state || cx.user.views_server_state())
            }
            "SELECT" => yes(cx.user.is_owner() || cx.user.roles.contains("db_datareader")),
            "VIEW DEFINITION" => yes(cx.user.is_owner() || cx.user.definition),
            "CONNECT" => yes(true),
            "ALTER" | "CONTROL" => yes(cx.user.is_owner()),
            _ => Ok(Value::Null),
        },
        (None, "") | (_, "SERVER") => match permission.as_str() {
            "VIEW SERVER STATE" | "VIEW SERVER PERFORMANCE STATE" => {
                yes(cx.user.views_server_state())
            }
            "CONTROL SERVER" => yes(cx.user.sysadmin),
            "VIEW ANY DEFINITION" => yes(cx.user.sysadmin),
            _ => Ok(Value::Null),
        },
        _ => Ok(Value::Null),
    }
}

fn is_member(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(role) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    let fixed = [
        "public",
        "db_owner",
        "db_datareader",
        "db_datawriter",
        "db_ddladmin",
        "db_securityadmin",
        "db_accessadmin",
        "db_backupoperator",
        "db_denydatareader",
        "db_denydatawriter",
    ];
    let known = fixed.iter().any(|name| same_name(name, &role))
        || cx.state.roles.iter().any(|name| same_name(name, &role));
    if !known {
        return Ok(Value::Null);
    }
    Ok(Value::Int(i32::from(cx.user.is_member(&role))))
}

/// As [`is_member`], for another user when one is named.
fn is_role_member(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let known = is_member(cx, values, kinds)?;
    let (Some(role), Some(value)) = (text(&values[0], kinds[0])?, values.get(1)) else {
        return Ok(known);
    };
    if known == Value::Null {
        return Ok(known);
    }
    let Some(name) = text(value, kinds[1])? else {
        return Ok(Value::Null);
    };
    if same_name(&name, "dbo") {
        return Ok(Value::Int(i32::from(same_name(&role, "db_owner"))));
    }
    let user = cx.state.user(&name).filter(|user| user.here);
    Ok(user.map_or(Value::Null, |user| {
        Value::Int(i32::from(user.is_member(&role)))
    }))
}

fn user_id(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let name = match values.first() {
        Some(value) => text(value, kinds[0])?,
        None => Some(if cx.user.sysadmin {
            "dbo".to_owned()
        } else {
            cx.user.name.clone()
        }),
    };
    Ok(name.map_or(Value::Null, |name| crate::model::user_id(cx.state, &name)))
}

/// NULL for a login that is not there.
fn login_sid(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let name = match values.first() {
        Some(value) => text(value, kinds[0])?,
        None => Some(cx.user.name.clone()),
    };
    let user = name.and_then(|name| cx.state.user(&name));
    Ok(user.map_or(Value::Null, |user| {
        Value::Bytes(crate::model::login_sid(&user.name))
    }))
}

fn is_server_member(cx: &Cx<'_>, values: &[Value], kinds: &[&Kind]) -> Result<Value> {
    let Some(role) = text(&values[0], kinds[0])? else {
        return Ok(Value::Null);
    };
    Ok(match role.to_lowercase().as_str() {
        "public" => Value::Int(1),
        "sysadmin" | "serveradmin" | "securityadmin" | "dbcreator" => {
            Value::Int(i32::from(cx.user.sysadmin))
        }
        _ => Value::Null,
    })
}

fn user_name(cx: &Cx<'_>, _: &[Value], _: &[&Kind]) -> Result<Value> {
    Ok(Value::text(if cx.user.sysadmin {
        "dbo"
    } else {
        &cx.user.name
    }))
}
