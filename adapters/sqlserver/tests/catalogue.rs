//! What the database says about its tables.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use crate::common::{PASSWORD, source};
use contract::{TableInfo, TableName};
use tds_server::model::{Database, User};
use tds_server::wire::{Options, Server};

fn world(sql: &[&str]) -> (Database, Server) {
    let database = Database::new("ERP");
    database.add_user(User::new("agent", PASSWORD));
    for sql in sql {
        database.run(sql).unwrap();
    }
    let server = Server::start(Options::default(), database.clone()).unwrap();
    (database, server)
}

async fn described(server: &Server, tables: &[TableName]) -> Vec<TableInfo> {
    let source = source(server.address().port(), &[], Vec::new());
    source.catalogue(tables).await.unwrap()
}

fn named(name: &str) -> TableName {
    TableName::new("dbo", name)
}

#[tokio::test]
async fn columns_are_described_by_what_they_deliver() {
    let (_, server) = world(&[
        "CREATE TABLE dbo.item (id int NOT NULL, sku char(31) NOT NULL, name nvarchar(40) NULL, price money NULL, \
         qty decimal(19,5) NULL, at datetime NULL, ok bit NULL, v rowversion NOT NULL, g uniqueidentifier NULL, \
         b varbinary(max) NULL, d date NULL, t time(3) NULL, o datetimeoffset(7) NULL, x xml NULL, f real NULL, \
         big nvarchar(max) NULL, PRIMARY KEY (sku, id))",
        "GRANT SELECT ON dbo.item TO agent",
    ]);
    let found = described(&server, &[named("item")]).await;
    let columns: Vec<String> = found[0]
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " not null" };
            format!(
                "{} {} {}{null}",
                column.name,
                column.declared,
                column.kind.name()
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "id int int not null",
            "sku char(31) text not null",
            "name nvarchar(40) text",
            "price money decimal",
            "qty decimal(19,5) decimal",
            "at datetime datetime",
            "ok bit bool",
            "v rowversion bytes not null",
            "g uniqueidentifier uuid",
            "b varbinary(max) bytes",
            "d date date",
            "t time(3) time",
            "o datetimeoffset(7) timestamp",
            "x xml text",
            "f real float",
            "big nvarchar(max) text",
        ]
    );
    // In the key's order, not the table's.
    assert_eq!(found[0].key, ["sku", "id"]);
    assert_eq!(described(&server, &[]).await, found);
}

/// Scenario 36: names with anything in them, and another case.
#[tokio::test]
async fn odd_names_are_the_right_table() {
    let (_, server) = world(&[
        "CREATE TABLE dbo.[o]]d.d'[] (a int NOT NULL PRIMARY KEY)",
        "GRANT SELECT ON dbo.[o]]d.d'[] TO agent",
    ]);
    let found = described(&server, &[named("o]d.d'["), named("none")]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].table, named("o]d.d'["));
    // The server finds it in any case; the mapping's names are exact.
    assert_eq!(described(&server, &[named("O]D.D'[")]).await, []);
}

#[tokio::test]
async fn the_key_is_the_primary_one_or_a_unique_one_that_is_never_null() {
    let (_, server) = world(&[
        "CREATE TABLE dbo.a (x int NOT NULL, y int NOT NULL PRIMARY KEY)",
        "CREATE TABLE dbo.b (x int NOT NULL, y int NULL, z int NOT NULL, w int NOT NULL)",
        "CREATE UNIQUE INDEX b1 ON dbo.b (y)",
        "CREATE UNIQUE INDEX b2 ON dbo.b (z, w)",
        "CREATE UNIQUE INDEX b3 ON dbo.b (x)",
        "CREATE TABLE dbo.c (x int NULL)",
        "CREATE UNIQUE INDEX c1 ON dbo.c (x)",
        "GRANT SELECT ON dbo.a TO agent",
        "GRANT SELECT ON dbo.b TO agent",
        "GRANT SELECT ON dbo.c TO agent",
    ]);
    let found = described(&server, &[]).await;
    let keys: Vec<Vec<String>> = found.into_iter().map(|table| table.key).collect();
    assert_eq!(keys, [vec!["y"], vec!["x"], vec![]]);
}

#[tokio::test]
async fn tables_that_may_not_be_seen_are_absent() {
    let (_, server) = world(&["CREATE TABLE dbo.a (x int NOT NULL PRIMARY KEY)"]);
    assert_eq!(described(&server, &[]).await, []);
    assert_eq!(described(&server, &[named("a")]).await, []);
}
