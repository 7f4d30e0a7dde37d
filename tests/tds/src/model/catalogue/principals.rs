//! Users and what they were granted.

use super::super::rights::{OnTable, User};
use super::super::state::State;
use super::{Relation, datetime, local, number, sysname, text, tiny, varbinary};
use crate::statements::Kind;
use crate::wire::{Type, Value};

/// The number of a user in the database, by its place.
fn principal_id(at: usize) -> Value {
    number(at + 5)
}

/// The number of a user by name; `dbo` is 1.
pub(crate) fn user_id(state: &State, name: &str) -> Value {
    if super::super::same_name(name, "dbo") {
        return Value::Int(1);
    }
    let here = |user: &User| user.here && super::super::same_name(&user.name, name);
    state
        .users
        .iter()
        .position(here)
        .map_or(Value::Null, principal_id)
}

/// The security id of a login.
pub(crate) fn login_sid(name: &str) -> Vec<u8> {
    let mut sid = vec![0x51];
    sid.extend(
        name.to_lowercase()
            .bytes()
            .chain(std::iter::repeat(0))
            .take(15),
    );
    sid
}

pub(super) fn principals(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("name", sysname().not_null()),
        ("principal_id", Kind::int().not_null()),
        ("type", Kind::new(Type::Char(1)).not_null()),
        ("type_desc", Kind::nvarchar(60)),
        ("default_schema_name", sysname()),
        ("create_date", datetime().not_null()),
        ("sid", varbinary(85)),
        ("authentication_type", Kind::int().not_null()),
    ]);
    let mut push = |name: &str, id: Value, of: &str, desc: &str, sid: Value| {
        found.rows.push(vec![
            text(name),
            id,
            text(of),
            text(desc),
            text("dbo"),
            local(state, state.created),
            sid,
            Value::Int(1),
        ]);
    };
    push(
        "dbo",
        Value::Int(1),
        "S",
        "SQL_USER",
        Value::Bytes(login_sid("sa")),
    );
    for (at, user) in state
        .users
        .iter()
        .enumerate()
        .filter(|(_, user)| user.here && !user.sysadmin)
    {
        let sid = Value::Bytes(login_sid(&user.name));
        push(&user.name, principal_id(at), "S", "SQL_USER", sid);
    }
    for (at, role) in state.roles.iter().enumerate() {
        push(role, number(at + 1000), "R", "DATABASE_ROLE", Value::Null);
    }
    found
}

pub(super) fn permissions(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("class", tiny().not_null()),
        ("class_desc", Kind::nvarchar(60)),
        ("major_id", Kind::int().not_null()),
        ("minor_id", Kind::int().not_null()),
        ("grantee_principal_id", Kind::int().not_null()),
        ("grantor_principal_id", Kind::int().not_null()),
        ("type", Kind::new(Type::Char(4)).not_null()),
        ("permission_name", sysname()),
        ("state", Kind::new(Type::Char(1)).not_null()),
        ("state_desc", Kind::nvarchar(60)),
    ]);
    let mut push = |class: u8, major: Value, to: usize, right: &str| {
        let (desc, short) = match (class, right) {
            (1, "SELECT") => ("OBJECT_OR_COLUMN", "SL  "),
            (1, _) => ("OBJECT_OR_COLUMN", "VWCT"),
            (3, "SELECT") => ("SCHEMA", "SL  "),
            (3, _) => ("SCHEMA", "VWCT"),
            _ => ("DATABASE", "CO  "),
        };
        found.rows.push(vec![
            Value::TinyInt(class),
            text(desc),
            major,
            Value::Int(0),
            principal_id(to),
            Value::Int(1),
            text(short),
            text(right),
            text("G"),
            text("GRANT"),
        ]);
    };
    let rights = |on: &OnTable| {
        [("SELECT", on.select), ("VIEW CHANGE TRACKING", on.tracking)]
            .into_iter()
            .filter_map(|(right, has)| has.then_some(right))
    };
    for (at, user) in state
        .users
        .iter()
        .enumerate()
        .filter(|(_, user)| user.here && !user.sysadmin)
    {
        push(0, Value::Int(0), at, "CONNECT");
        if user.database_state {
            push(0, Value::Int(0), at, "VIEW DATABASE STATE");
        }
        for (table, on) in &user.tables {
            rights(on).for_each(|right| push(1, Value::Int(*table), at, right));
        }
        for (schema, on) in &user.schemas {
            let id = match schema.as_str() {
                "cdc" => Value::Int(100),
                name => super::objects::schema_id(state, name),
            };
            rights(on).for_each(|right| push(3, id.clone(), at, right));
        }
    }
    found
}
