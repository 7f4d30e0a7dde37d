//! Which tables a publication tells, and what of them: from the catalogue's own tables.
//!
//! `pg_publication_tables` says the same, but from PostgreSQL 16 on it opens each table, and so waits
//! for whoever has one locked: a table that is being rewritten would keep all others from being
//! told. How a publication's entries become tables is described with CREATE PUBLICATION
//! (<https://www.postgresql.org/docs/current/sql-createpublication.html>).

use contract::{SourceError, TableName};
use tokio_postgres::Client;

use crate::catalogue::Column;
use crate::connect::classify;

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) table: TableName,
    /// The columns the log tells; `None` = all that are not computed (always before PostgreSQL 15).
    pub(crate) columns: Option<Vec<String>>,
    /// Only rows that pass this condition are published; `None` = all.
    pub(crate) filter: Option<String>,
}

impl Published {
    /// Whether the log tells a column.
    pub(crate) fn tells(&self, column: &Column) -> bool {
        !column.generated && self.columns.is_none() || self.tells_computed(&column.name)
    }

    /// Whether the log tells this column although it may be computed: only what is listed is.
    pub(crate) fn tells_computed(&self, column: &str) -> bool {
        self.columns.iter().flatten().any(|name| name == column)
    }
}

/// Whether publications have schemas, columns and filters here: since PostgreSQL 15.
pub(crate) async fn has_parts(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// Common table expressions: `publication`, that of the name `$1`; `direct`, the tables it has by an
/// entry, a schema or as all tables; `told`, those under whose own name changes are told.
pub(crate) fn told_sql(parts: bool) -> String {
    let schemas = if parts {
        "UNION
         SELECT c.oid, true FROM pg_catalog.pg_publication_namespace e
           JOIN publication p ON p.oid = e.pnpubid
           JOIN pg_catalog.pg_class c ON c.relnamespace = e.pnnspid"
    } else {
        ""
    };
    format!(
        "publication AS (SELECT p.* FROM pg_catalog.pg_publication p WHERE p.pubname = $1),
         direct(relid, whole) AS (
             SELECT e.prrelid, false FROM pg_catalog.pg_publication_rel e
               JOIN publication p ON p.oid = e.prpubid
             UNION
             SELECT c.oid, true FROM pg_catalog.pg_class c
               JOIN publication p ON p.puballtables
              WHERE c.oid >= 16384
             {schemas}),
         told(relid) AS (
             SELECT c.oid FROM pg_catalog.pg_class c CROSS JOIN publication p
              WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
                AND CASE WHEN p.pubviaroot
                    THEN c.oid IN (SELECT d.relid FROM direct d)
                         AND NOT EXISTS (
                             SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a(relid)
                               JOIN direct d ON d.relid = a.relid WHERE a.relid <> c.oid)
                    ELSE c.relkind = 'r'
                         AND (c.oid IN (SELECT d.relid FROM direct d)
                              OR EXISTS (
                                  SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a(relid)
                                    JOIN direct d ON d.relid = a.relid))
                    END)"
    )
}

/// The tables that a publication tells, and what of each.
pub(crate) async fn read(client: &Client, name: &str) -> Result<Vec<Published>, SourceError> {
    let failed = |error| classify(&format!("read publication \"{name}\""), &error);
    let parts = has_parts(client).await.map_err(failed)?;
    // A table that is there as a whole, too, has neither columns nor a filter of its own entry.
    let more = if parts {
        "ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND CASE WHEN e.prattrs IS NOT NULL
                      THEN a.attnum = ANY (e.prattrs::pg_catalog.int2[])
                      ELSE a.attgenerated = ''
                           OR a.attgenerated = 's'
                              AND pg_catalog.to_jsonb(p) ->> 'pubgencols' = 's'
                      END
                ORDER BY a.attnum),
         pg_catalog.pg_get_expr(e.prqual, e.prrelid)"
    } else {
        "NULL::pg_catalog.text[], NULL::pg_catalog.text"
    };
    let sql = format!(
        "WITH {}
         SELECT n.nspname, c.relname, {more}
           FROM told t CROSS JOIN publication p
           JOIN pg_catalog.pg_class c ON c.oid = t.relid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_catalog.pg_publication_rel e
             ON e.prrelid = c.oid AND e.prpubid = p.oid
            AND NOT EXISTS (SELECT FROM direct d WHERE d.relid = c.oid AND d.whole)",
        told_sql(parts)
    );
    let rows = client.query(&sql, &[&name]).await.map_err(failed)?;
    let published = rows.iter().map(|row| Published {
        table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        columns: row.get(2),
        filter: row.get(3),
    });
    Ok(published.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use harness::postgres::{PostgresServer, majors};

    use super::*;

    const TABLES: &str = "CREATE SCHEMA apart;
        CREATE TABLE plain (id int PRIMARY KEY, v text, c int GENERATED ALWAYS AS (1) STORED);
        CREATE TABLE apart.plain (id int PRIMARY KEY);
        CREATE UNLOGGED TABLE quick (id int PRIMARY KEY);
        CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
        CREATE TABLE quarter PARTITION OF half FOR VALUES FROM (0) TO (50);
        CREATE TABLE apart.rest PARTITION OF whole FOR VALUES FROM (100) TO (200);
        CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE child () INHERITS (parent);
        CREATE VIEW seen AS SELECT 1 AS one";

    /// The server's own answer, where nobody has a table locked.
    async fn view(client: &Client, parts: bool) -> Vec<Published> {
        let more = if parts {
            "p.attnames::text[], p.rowfilter"
        } else {
            "NULL::text[], NULL::text"
        };
        let sql = format!(
            "SELECT schemaname::text, tablename::text, {more} FROM pg_publication_tables p
              WHERE pubname = 'p'"
        );
        let rows = client.query(&sql, &[]).await.unwrap();
        let all = rows.iter().map(|row| Published {
            table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            columns: row.get(2),
            filter: row.get(3),
        });
        all.collect()
    }

    #[tokio::test]
    async fn it_is_what_the_servers_own_view_says() {
        for (n, major) in majors().into_iter().enumerate() {
            let server = PostgresServer::shared_of(major);
            let database = format!("published_{n}");
            server.create_database(&database).await;
            let client = server.connect(&database).await;
            client.batch_execute(TABLES).await.unwrap();
            let parts = has_parts(&client).await.unwrap();
            let mut ways = vec![
                "FOR TABLE plain, apart.plain",
                "FOR TABLE whole",
                "FOR TABLE half, apart.rest",
                "FOR TABLE quarter, whole",
                "FOR TABLE parent",
                "FOR TABLE ONLY parent",
                "FOR ALL TABLES",
                "",
            ];
            if parts {
                ways.extend([
                    "FOR TABLES IN SCHEMA apart",
                    "FOR TABLES IN SCHEMA public, TABLE apart.rest",
                    "FOR TABLE plain (id, v)",
                    "FOR TABLE plain WHERE (id > 5), whole",
                    "FOR TABLES IN SCHEMA public, TABLE plain WHERE (id > 5)",
                ]);
            }
            for way in ways {
                for root in [true, false] {
                    let create = format!(
                        "DROP PUBLICATION IF EXISTS p;
                         CREATE PUBLICATION p {way} WITH (publish_via_partition_root = {root})"
                    );
                    client.batch_execute(&create).await.unwrap();
                    let mut ours = read(&client, "p").await.unwrap();
                    let mut theirs = view(&client, parts).await;
                    // The view of 15 to 17 names computed columns that the log does not have.
                    for one in &mut theirs {
                        let listed = one.columns.iter_mut();
                        listed.for_each(|names| names.retain(|name| name != "c"));
                    }
                    let name = |one: &Published| one.table.clone();
                    ours.sort_by_key(name);
                    theirs.sort_by_key(name);
                    // The view of 14 lists a partition twice that is there by itself and by its root.
                    theirs.dedup();
                    assert_eq!(ours, theirs, "{major:?} {way} {root}");
                }
            }
        }
    }
}
