//! Statements in the words of each database.

use crate::database::Kind;
use crate::step::{Ddl, Statement};

/// The tables, with the types of texts, quantities and numbers left open.
pub const SCHEMA: &str = "
CREATE TABLE item (sku KEYTEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, uom TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE stock (sku KEYTEXT NOT NULL, warehouse KEYTEXT NOT NULL, on_hand QTY NOT NULL,
  allocated QTY NOT NULL, safety QTY NOT NULL, PRIMARY KEY (sku, warehouse));
CREATE TABLE movement (id NUMBER NOT NULL PRIMARY KEY, sku TEXT NOT NULL, warehouse TEXT NOT NULL,
  kind TEXT NOT NULL, qty QTY NOT NULL, posted_on DATE NOT NULL, document TEXT);
CREATE TABLE orders (id NUMBER NOT NULL PRIMARY KEY, number TEXT NOT NULL, customer TEXT NOT NULL,
  ordered_on DATE NOT NULL, status TEXT NOT NULL, total QTY NOT NULL, currency TEXT NOT NULL);
";

/// The types of keys, texts, quantities and numbers that a seed's tables have.
pub fn schema(kind: Kind, seed: u64) -> String {
    let shape = usize::try_from(seed / 4 % 3).unwrap_or_default();
    let types: [&str; 4] = match kind {
        Kind::Sqlite => [
            ["TEXT", "TEXT", "DECIMAL_TEXT", "INTEGER"],
            ["VARCHAR(20)", "VARCHAR(200)", "DECIMAL_TEXT", "INTEGER"],
            ["CHARACTER(20)", "CLOB", "DECIMAL_TEXT", "INTEGER"],
        ][shape],
        Kind::Postgres => [
            ["text", "text", "numeric(18,4)", "integer"],
            ["varchar(20)", "varchar(200)", "numeric", "bigint"],
            [
                "text COLLATE \"C\"",
                "text",
                "numeric(38,10)",
                "numeric(12,0)",
            ],
        ][shape],
        Kind::Mariadb => [
            [
                "VARCHAR(40)",
                "VARCHAR(200) CHARACTER SET utf8mb4",
                "DECIMAL(18,4)",
                "INTEGER",
            ],
            [
                "VARCHAR(20) CHARACTER SET latin1",
                "TEXT CHARACTER SET utf8mb4",
                "DECIMAL(38,10)",
                "BIGINT UNSIGNED",
            ],
            [
                "VARCHAR(20) COLLATE utf8mb4_bin",
                "VARCHAR(200) CHARACTER SET utf8mb4",
                "DECIMAL(20,6)",
                "MEDIUMINT UNSIGNED",
            ],
        ][shape],
        Kind::Sqlserver => ["nvarchar(40)", "nvarchar(200)", "decimal(18,4)", "int"],
    };
    let mut schema = SCHEMA.to_owned();
    for (word, sql) in ["KEYTEXT", "TEXT", "QTY", "NUMBER"].iter().zip(types) {
        schema = schema.replace(&format!(" {word} "), &format!(" {sql} "));
        schema = schema.replace(&format!(" {word})"), &format!(" {sql})"));
    }
    if kind == Kind::Sqlserver {
        schema = schema.replace("CREATE TABLE ", "CREATE TABLE dbo.");
    }
    schema
}

/// A statement; `there` says whether the row that it puts is.
pub fn statement(kind: Kind, statement: &Statement, there: bool) -> String {
    let dbo = if kind == Kind::Sqlserver { "dbo." } else { "" };
    let text = |text: &str| match kind {
        Kind::Mariadb => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        Kind::Sqlserver => format!("N'{}'", text.replace('\'', "''")),
        _ => format!("'{}'", text.replace('\'', "''")),
    };
    let number = |number: &str| match kind {
        Kind::Sqlite => format!("'{number}'"),
        _ => number.to_owned(),
    };
    match statement {
        Statement::PutItem { sku, name } if there => {
            format!(
                "UPDATE {dbo}item SET name = {} WHERE sku = '{sku}'",
                text(name)
            )
        }
        Statement::PutItem { sku, name } => format!(
            "INSERT INTO {dbo}item (sku, name, uom, status) VALUES ('{sku}', {}, 'EA', 'A')",
            text(name)
        ),
        Statement::DropItem { sku } => format!("DELETE FROM {dbo}item WHERE sku = '{sku}'"),
        Statement::RenameItem { from, to } => {
            format!("UPDATE {dbo}item SET sku = '{to}' WHERE sku = '{from}'")
        }
        Statement::PutStock {
            sku,
            warehouse,
            quantity,
        } => {
            let quantity = number(quantity);
            let insert = format!(
                "INSERT INTO {dbo}stock (sku, warehouse, on_hand, allocated, safety) VALUES \
                 ('{sku}', '{warehouse}', {quantity}, {}, {})",
                number("0"),
                number("1")
            );
            match kind {
                Kind::Sqlserver if there => format!(
                    "UPDATE dbo.stock SET on_hand = {quantity} WHERE sku = '{sku}' AND warehouse = '{warehouse}'"
                ),
                Kind::Sqlserver => insert,
                Kind::Mariadb => {
                    format!("{insert} ON DUPLICATE KEY UPDATE on_hand = VALUES(on_hand)")
                }
                Kind::Sqlite | Kind::Postgres => format!(
                    "{insert} ON CONFLICT (sku, warehouse) DO UPDATE SET on_hand = excluded.on_hand"
                ),
            }
        }
        Statement::DropStock { sku, warehouse } => {
            format!("DELETE FROM {dbo}stock WHERE sku = '{sku}' AND warehouse = '{warehouse}'")
        }
        Statement::Move {
            id,
            sku,
            warehouse,
            quantity,
        } => format!(
            "INSERT INTO {dbo}movement (id, sku, warehouse, kind, qty, posted_on, document) VALUES \
             ({id}, '{sku}', '{warehouse}', 'A', {}, '2026-11-20', NULL)",
            number(quantity)
        ),
        Statement::PutOrder { id, status } if there => {
            format!("UPDATE {dbo}orders SET status = '{status}' WHERE id = {id}")
        }
        Statement::PutOrder { id, status } => format!(
            "INSERT INTO {dbo}orders (id, number, customer, ordered_on, status, total, currency) VALUES \
             ({id}, 'SO-{id}', 'C1', '2026-11-20', '{status}', {}, 'EUR')",
            number("10.50")
        ),
        Statement::DropOrder { id } => format!("DELETE FROM {dbo}orders WHERE id = {id}"),
    }
}

/// The name of a column that is not mapped.
pub fn extra(column: u32) -> String {
    format!("extra_{column}")
}

/// A change of a table.
pub fn ddl(kind: Kind, ddl: Ddl) -> String {
    let (text, default) = match kind {
        Kind::Mariadb => ("VARCHAR(40)", "'none'"),
        _ => ("TEXT", "'none'"),
    };
    match ddl {
        // Every other one fills the rows that are there.
        Ddl::Add { table, column } if column.is_multiple_of(2) => {
            format!(
                "ALTER TABLE {table} ADD COLUMN {} {text} NOT NULL DEFAULT {default}",
                extra(column)
            )
        }
        Ddl::Add { table, column } => {
            format!("ALTER TABLE {table} ADD COLUMN {} {text}", extra(column))
        }
        Ddl::Rename { table, from, to } => {
            format!(
                "ALTER TABLE {table} RENAME COLUMN {} TO {}",
                extra(from),
                extra(to)
            )
        }
        Ddl::Drop { table, column } => format!("ALTER TABLE {table} DROP COLUMN {}", extra(column)),
    }
}
