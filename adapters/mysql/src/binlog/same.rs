//! A snapshot's values are the log's, to the cell: the same rows of a real MariaDB read in both ways.

use std::collections::HashMap;

use contract::{CapturedTable, ChunkLimits, SnapshotReader as _, TableName, Value};
use harness::mariadb::{MariadbOptions, MariadbServer};

use super::event::Event;
use super::golden::events;
use super::layout::Layout;
use crate::catalogue::Table;
use crate::charset::Charsets;
use crate::connect::{Rights, connect};
use crate::fetch;
use crate::life::Life;
use crate::reading::keys;
use crate::snapshot::TableReader;
use crate::values::{self, RAW};

#[path = "../../tests/common/every.rs"]
mod every;

/// The rows that were written between two files of the log, by table.
async fn logged(
    server: &MariadbServer,
    sql: &str,
    tables: &HashMap<String, Table>,
    charsets: &Charsets,
) -> HashMap<String, Vec<Vec<Value>>> {
    server.run("FLUSH BINARY LOGS").await;
    let status: mysql_async::Row = server.ask("SHOW MASTER STATUS").await;
    let file: String = status.get(0).unwrap();
    server.run(sql).await;
    server.run("FLUSH BINARY LOGS").await;
    let log = std::fs::read(server.data().join(file)).unwrap();
    let mut layouts = HashMap::new();
    let mut found: HashMap<String, Vec<Vec<Value>>> = HashMap::new();
    for event in events(&log) {
        let (raw, event) = event.unwrap();
        match event {
            Event::TableMap(table) => {
                let map = table.map(&raw.doing()).unwrap();
                let columns = &tables[&map.table].columns;
                let layout = Layout::new(&map, columns, charsets, &raw.doing()).unwrap();
                layouts.insert(map.id, (map.table.clone(), layout));
            }
            Event::Rows(rows) if !rows.is_dummy() => {
                let doing = raw.doing();
                let (table, layout) = &layouts[&rows.table_id];
                let mut reader = rows.rows(layout, &doing).unwrap();
                while let Some(row) = reader.next_row(&doing).unwrap() {
                    let rows = found.entry(table.clone()).or_default();
                    rows.push(row.after.unwrap());
                }
            }
            _ => {}
        }
    }
    found
}

fn show(column: &str, value: &Value) -> String {
    let text = value.text().unwrap_or_default();
    let shown: String = text.chars().take(60).collect();
    format!("{column}: {} {shown:?} {}", value.type_name(), text.len())
}

async fn compare(make: &str, fill: &str, names: &[&str]) {
    let server = MariadbServer::start(MariadbOptions::default());
    server
        .run(&format!("CREATE DATABASE erp; USE erp; {make}"))
        .await;
    let settings = crate::settings::of_tests(server.port());
    let mut connection = connect(&settings, Rights::Read).await.unwrap();
    connection.run("set the session", RAW).await.unwrap();
    let mut charsets = Charsets::default();
    let mut tables = HashMap::new();
    for name in names {
        let name = TableName::new("erp", *name);
        let sql = format!("SELECT * FROM {}", crate::connect::table(&name));
        let statement = fetch::prepare(&mut connection, &sql).await.unwrap();
        let sent = statement.columns();
        values::learn(&mut connection, &mut charsets, &sent)
            .await
            .unwrap();
        let table = Table::read(&mut connection, &name).await.unwrap().unwrap();
        tables.insert(name.name, table);
    }
    let logged = logged(&server, &format!("USE erp; {fill}"), &tables, &charsets).await;
    let captured: Vec<CapturedTable> = tables
        .values()
        .map(|table| CapturedTable {
            table: table.name.clone(),
            key: Vec::new(),
            columns: Vec::new(),
        })
        .collect();
    let mut reader = TableReader::open(&settings, &captured, 1, &Life::default())
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for name in names {
        let table = &tables[*name];
        let limits = ChunkLimits {
            rows_max: 1_000,
            bytes_max: 1 << 24,
        };
        let chunk = reader.chunk(&table.name, None, limits).await.unwrap();
        let key = chunk.rows[0].shape.key.clone();
        let of_key = |row: &Vec<Value>| -> Vec<Option<String>> {
            key.iter().map(|at| row[*at].text()).collect()
        };
        let logged: HashMap<_, _> = logged[*name].iter().map(|row| (of_key(row), row)).collect();
        assert_eq!(chunk.rows.len(), logged.len(), "{name}");
        for row in &chunk.rows {
            let row = row.after.as_ref().unwrap();
            let Some(from_log) = logged.get(&of_key(row)) else {
                wrong.push(format!("{name}: no row {:?} in the log", of_key(row)));
                continue;
            };
            for ((ours, theirs), column) in row.iter().zip(*from_log).zip(&table.columns) {
                if ours != theirs {
                    let (ours, theirs) = (show(&column.name, ours), show(&column.name, theirs));
                    wrong.push(format!("{name}.{ours}, and in the log {theirs}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_snapshot_gives_what_the_log_gives() {
    compare(every::EVERY_TYPE, every::EVERY_VALUE, every::EVERY).await;
}

#[tokio::test]
async fn keys_are_the_same_in_the_log() {
    let (tables, sql) = keys::tables();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    let mut make = "SET sql_mode = 'ALLOW_INVALID_DATES';".to_owned();
    let mut fill = make.clone();
    for statement in sql
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let into = if statement.starts_with("CREATE") {
            &mut make
        } else {
            &mut fill
        };
        into.push_str(statement);
        into.push(';');
    }
    compare(&make, &fill, &names).await;
}
