//! What the database says about its tables, for people who choose one and for mappings that are
//! checked against it.

use std::collections::HashMap;
use std::time::Duration;

use contract::{ColumnInfo, ColumnKind, SourceError, TableInfo, TableName};
use tokio_postgres::Client;

use crate::catalogue::Publication;
use crate::connect::{self, Rights, classify};
use crate::kinds::Kinds;
use crate::settings::Settings;
use crate::values::Kind;

/// All of the catalogue, within the 20 seconds it may take.
const ANSWER_MAX: Duration = Duration::from_secs(18);

/// Describes `tables`, or every table a person could choose.
pub(crate) async fn describe(
    settings: &Settings,
    tables: &[TableName],
) -> Result<Vec<TableInfo>, SourceError> {
    let asked = async {
        let client = connect::connect(settings, Rights::Read).await?;
        read(&client, settings, tables).await
    };
    tokio::time::timeout(ANSWER_MAX, asked)
        .await
        .unwrap_or_else(|_| {
            let what = "read tables: the database answers too slowly";
            Err(SourceError::Disconnected(what.to_owned()))
        })
}

async fn read(
    client: &Client,
    settings: &Settings,
    tables: &[TableName],
) -> Result<Vec<TableInfo>, SourceError> {
    let failed = |error| classify("read tables", &error);
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    // Partitions are reached through their table, unless one is asked for by its name.
    let listed = client
        .query(
            "SELECT c.oid, n.nspname, c.relname, c.reltuples::pg_catalog.int8
               FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'p')
                AND (NOT c.relispartition OR pg_catalog.cardinality($1::pg_catalog.text[]) > 0)
                AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                AND n.nspname NOT LIKE 'pg\\_%'
                AND (pg_catalog.cardinality($1::pg_catalog.text[]) = 0 OR EXISTS (
                     SELECT 1 FROM ROWS FROM (
                         pg_catalog.unnest($1::pg_catalog.text[]),
                         pg_catalog.unnest($2::pg_catalog.text[])) AS wanted(s, t) WHERE wanted.s = n.nspname AND wanted.t = c.relname))
              ORDER BY n.nspname, c.relname",
            &[&schemas, &names],
        )
        .await
        .map_err(failed)?;
    let oids: Vec<u32> = listed.iter().map(|row| row.get(0)).collect();
    let mut columns = columns(client, &oids).await?;
    let mut keys = keys(client, &oids).await?;
    let publication = Publication::read(client, &settings.publication).await?;
    Ok(listed
        .iter()
        .map(|row| {
            let oid: u32 = row.get(0);
            let table = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            let published = publication.as_ref().and_then(|known| known.table(&table));
            let columns = columns.remove(&oid).unwrap_or_default().into_iter();
            // Of what the table computes itself the log has nothing but what is published.
            let there = columns.filter(|(column, computed)| {
                !computed || published.is_some_and(|known| known.tells_computed(&column.name))
            });
            // -1: never analysed.
            let rows: i64 = row.get(3);
            TableInfo {
                columns: there.map(|(column, _)| column).collect(),
                table,
                key: keys.remove(&oid).unwrap_or_default(),
                rows: u64::try_from(rows).ok(),
            }
        })
        .collect())
}

/// Each table's columns, and whether they are computed from others.
async fn columns(
    client: &Client,
    oids: &[u32],
) -> Result<HashMap<u32, Vec<(ColumnInfo, bool)>>, SourceError> {
    let rows = client
        .query(
            "SELECT a.attrelid, a.attname, a.atttypid,
                    pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
                    a.attgenerated <> ''
               FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attrelid, a.attnum",
            &[&oids],
        )
        .await
        .map_err(|error| classify("read columns", &error))?;
    let mut types: Vec<u32> = rows.iter().map(|row| row.get(2)).collect();
    types.sort_unstable();
    types.dedup();
    let mut kinds = Kinds::default();
    kinds.learn(client, &types).await?;
    let mut found: HashMap<u32, Vec<(ColumnInfo, bool)>> = HashMap::new();
    for row in &rows {
        let not_null: bool = row.get(4);
        let column = ColumnInfo {
            name: row.get(1),
            kind: kind(kinds.of(row.get(2))),
            nullable: !not_null,
            declared: row.get(3),
        };
        found
            .entry(row.get(0))
            .or_default()
            .push((column, row.get(5)));
    }
    Ok(found)
}

fn kind(kind: Kind) -> ColumnKind {
    match kind {
        Kind::Bool => ColumnKind::Bool,
        Kind::Int => ColumnKind::Int,
        Kind::Decimal | Kind::Money(_) => ColumnKind::Decimal,
        Kind::Float => ColumnKind::Float,
        Kind::Text => ColumnKind::Text,
        Kind::Date => ColumnKind::Date,
        Kind::Time => ColumnKind::Time,
        Kind::DateTime => ColumnKind::DateTime,
        Kind::Timestamp => ColumnKind::Timestamp,
        Kind::Uuid => ColumnKind::Uuid,
        Kind::Json => ColumnKind::Json,
        Kind::Bytes => ColumnKind::Bytes,
        Kind::Gone => ColumnKind::Other,
    }
}

/// The primary key of each table, or a unique index without nulls, the smallest first.
async fn keys(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Vec<String>>, SourceError> {
    let rows = client
        .query(
            "SELECT i.indrelid, pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
               FROM pg_catalog.pg_index i
               JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
              CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[])
                    WITH ORDINALITY k(attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid
                AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
              GROUP BY i.indrelid, i.indisprimary, ic.relname
             HAVING pg_catalog.bool_and(a.attnotnull)
              ORDER BY i.indrelid, i.indisprimary DESC, pg_catalog.count(*), ic.relname",
            &[&oids],
        )
        .await
        .map_err(|error| classify("read keys", &error))?;
    let mut found = HashMap::new();
    for row in &rows {
        found.entry(row.get(0)).or_insert_with(|| row.get(1));
    }
    Ok(found)
}
