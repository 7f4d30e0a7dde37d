//! A small database and short words to ask it.

use tds_server::model::{Column, Database, lsn};
use tds_server::statements::{Connection, ResultSet};
use tds_server::wire::{Collation, Length, Parameter, ServerError, Type, Value};

pub(crate) fn nvarchar(size: u16) -> Type {
    Type::NVarChar(Length::Of(size))
}

/// `dbo.orders (id int, name nvarchar(50), m money, rv rowversion)`.
pub(crate) fn shop() -> Database {
    let database = Database::new("shop");
    let columns = vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("name", nvarchar(50)),
        Column::new("m", Type::Money),
        Column::rowversion("rv"),
    ];
    database
        .create_table("dbo.orders", columns, &["id"])
        .unwrap();
    database
}

/// The same, captured as `dbo_orders`, with the job started.
pub(crate) fn captured() -> Database {
    let database = shop();
    database.enable_cdc();
    database
        .capture_table("dbo.orders", None, Some(&["id", "name", "m"]))
        .unwrap();
    database
}

/// The same, tracked.
pub(crate) fn tracked() -> Database {
    let database = shop();
    database.track("dbo.orders").unwrap();
    database
}

pub(crate) fn parameter(name: &str, kind: Type, value: Value) -> Parameter {
    Parameter {
        name: name.to_owned(),
        kind,
        collation: Collation::LATIN1,
        value,
        output: false,
    }
}

pub(crate) fn int(name: &str, value: i32) -> Parameter {
    parameter(name, Type::Int, Value::Int(value))
}

pub(crate) fn big(name: &str, value: i64) -> Parameter {
    parameter(name, Type::BigInt, Value::BigInt(value))
}

pub(crate) fn bytes(name: &str, value: &[u8]) -> Parameter {
    parameter(name, Type::VarBinary(Length::Of(8000)), Value::bytes(value))
}

pub(crate) fn text(name: &str, value: &str) -> Parameter {
    parameter(name, nvarchar(4000), Value::text(value))
}

pub(crate) fn place(name: &str, value: u64) -> Parameter {
    bytes(name, &lsn(value))
}

/// The rows of the last result set.
pub(crate) fn rows_of(
    connection: &mut Connection,
    sql: &str,
    parameters: &[Parameter],
) -> Vec<Vec<Value>> {
    let sets: Vec<ResultSet> = connection.query(sql, parameters).unwrap();
    sets.into_iter().last().unwrap().rows
}

pub(crate) fn ask(database: &Database, sql: &str, parameters: &[Parameter]) -> Vec<Vec<Value>> {
    rows_of(&mut database.connect("sa"), sql, parameters)
}

/// The only value.
pub(crate) fn one(database: &Database, sql: &str, parameters: &[Parameter]) -> Value {
    let rows = ask(database, sql, parameters);
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{rows:?}");
    rows[0][0].clone()
}

pub(crate) fn refusal(database: &Database, sql: &str, parameters: &[Parameter]) -> ServerError {
    database.connect("sa").query(sql, parameters).unwrap_err()
}

pub(crate) fn ints(rows: &[Vec<Value>]) -> Vec<i32> {
    let int = |row: &Vec<Value>| match row[0] {
        Value::Int(value) => value,
        ref other => panic!("no int: {other:?}"),
    };
    rows.iter().map(int).collect()
}

pub(crate) fn put(database: &Database, id: i32, name: &str) -> u64 {
    let row = [("id", id.into()), ("name", name.into())];
    database.insert("dbo.orders", &row).unwrap().place.unwrap()
}

/// The change table in the one right order: operation, id, name, mask.
pub(crate) fn told(database: &Database) -> Vec<(i32, i32, Option<String>, Vec<u8>)> {
    let sql = "SELECT c.[__$operation], c.[id], c.[name], c.[__$update_mask] FROM cdc.[dbo_orders_CT] AS c \
               ORDER BY c.[__$start_lsn], c.[__$command_id], c.[__$seqval], c.[__$operation]";
    let row = |row: Vec<Value>| match row.as_slice() {
        [
            Value::Int(operation),
            Value::Int(id),
            name,
            Value::Bytes(mask),
        ] => {
            let name = match name {
                Value::Text(name) => Some(name.clone()),
                _ => None,
            };
            (*operation, *id, name, mask.clone())
        }
        other => panic!("{other:?}"),
    };
    ask(database, sql, &[]).into_iter().map(row).collect()
}

/// What CHANGETABLE gives: version, operation, key.
pub(crate) fn net(database: &Database, since: i64) -> Vec<(i64, String, i32)> {
    let sql = "SELECT CT.SYS_CHANGE_VERSION, CT.SYS_CHANGE_OPERATION, CT.[id] FROM \
               CHANGETABLE(CHANGES [dbo].[orders], @P1) AS CT ORDER BY CT.SYS_CHANGE_VERSION, CT.[id]";
    let row = |row: Vec<Value>| match row.as_slice() {
        [Value::BigInt(version), Value::Text(did), Value::Int(id)] => (*version, did.clone(), *id),
        other => panic!("{other:?}"),
    };
    ask(database, sql, &[big("@P1", since)])
        .into_iter()
        .map(row)
        .collect()
}

pub(crate) fn gone(version: i64, did: &str, id: i32) -> (i64, String, i32) {
    (version, did.to_owned(), id)
}
