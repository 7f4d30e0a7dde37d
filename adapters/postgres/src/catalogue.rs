//! What the database's catalogue says about a table, and the shape both paths give its rows.

use std::sync::Arc;

use contract::{CapturedTable, SourceError, TableName, TableShape};
use tokio_postgres::Client;

use crate::connect::{self, classify};
use crate::settings::Settings;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    /// The type's name for a cast, quoted and with its schema. Never PostgreSQL's own spelling of
    /// it: `character` cuts to one letter where `bpchar` does not.
    pub(crate) type_sql: String,
    pub(crate) not_null: bool,
    /// Computed from other columns: not in the log.
    pub(crate) generated: bool,
}

/// A unique index over plain columns of the whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unique {
    pub(crate) name: String,
    pub(crate) primary: bool,
    pub(crate) identity: bool,
    pub(crate) columns: Vec<String>,
}

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    /// Partitioned: rows live in other tables.
    pub(crate) partitioned: bool,
    /// Replica identity: `d`efault, `n`othing, `f`ull or `i`ndex.
    pub(crate) identity: u8,
    pub(crate) columns: Vec<Column>,
    pub(crate) uniques: Vec<Unique>,
}

impl Table {
    /// Reads a table; `None` when there is none of that name.
    pub(crate) async fn read(
        client: &Client,
        table: &TableName,
    ) -> Result<Option<Self>, SourceError> {
        let failed = |error| classify(&format!("read columns of {table}"), &error);
        let row = client
            .query_opt(
                "SELECT c.oid, c.relkind = 'p', c.relreplident::pg_catalog.text
                   FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')",
                &[&table.schema, &table.name],
            )
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let oid: u32 = row.get(0);
        let identity: String = row.get(2);
        let columns = client
            .query(
                "SELECT a.attname, a.atttypid, tn.nspname, t.typname, a.attnotnull,
                        a.attgenerated <> ''
                   FROM pg_catalog.pg_attribute a
                   JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                   JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
                  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
                  ORDER BY a.attnum",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let uniques = client
            .query(
                "SELECT ic.relname, i.indisprimary, i.indisreplident,
                        pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
                   FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                  CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[])
                        WITH ORDINALITY k(attnum, place)
                   JOIN pg_catalog.pg_attribute a
                     ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
                    AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
                  GROUP BY ic.relname, i.indisprimary, i.indisreplident
                  ORDER BY i.indisprimary DESC, ic.relname",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        Ok(Some(Self {
            name: table.clone(),
            partitioned: row.get(1),
            identity: identity.bytes().next().unwrap_or(b'd'),
            columns: columns
                .iter()
                .map(|row| Column {
                    name: row.get(0),
                    type_oid: row.get(1),
                    type_sql: format!(
                        "{}.{}",
                        connect::name(row.get(2)),
                        connect::name(row.get(3))
                    ),
                    not_null: row.get(4),
                    generated: row.get(5),
                })
                .collect(),
            uniques: uniques
                .iter()
                .map(|row| Unique {
                    name: row.get(0),
                    primary: row.get(1),
                    identity: row.get(2),
                    columns: row.get(3),
                })
                .collect(),
        }))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn all_not_null(&self, columns: &[String]) -> bool {
        columns
            .iter()
            .all(|name| self.column(name).is_some_and(|column| column.not_null))
    }

    /// The primary key's columns.
    pub(crate) fn primary(&self) -> Option<&[String]> {
        let primary = self.uniques.iter().find(|unique| unique.primary);
        primary.map(|unique| unique.columns.as_slice())
    }

    /// The columns the log tells of an old row: those of the replica identity; `None` = all.
    pub(crate) fn identity_columns(&self) -> Option<&[String]> {
        match self.identity {
            b'f' => None,
            b'i' => {
                let index = self.uniques.iter().find(|unique| unique.identity);
                Some(index.map_or(&[], |unique| unique.columns.as_slice()))
            }
            b'd' => Some(self.primary().unwrap_or(&[])),
            _ => Some(&[]),
        }
    }

    /// The columns that identify a row: the mapping's, else the primary key, else the index named
    /// as replica identity. Empty when there are none.
    pub(crate) fn key(&self, captured: &CapturedTable) -> Vec<String> {
        if !captured.key.is_empty() {
            return captured.key.clone();
        }
        let index = || self.uniques.iter().find(|unique| unique.identity);
        match self.primary() {
            Some(primary) => primary.to_vec(),
            None => index().map_or_else(Vec::new, |unique| unique.columns.clone()),
        }
    }

    /// The columns a snapshot pages by: unique together, so that no row falls between two chunks.
    /// The primary key, else a unique index without nulls, else one with nulls over the mapping's
    /// own key (a row without a key is nothing a mapping can use).
    pub(crate) fn paging(&self, captured: &CapturedTable) -> Option<&[String]> {
        let unique = |fits: &dyn Fn(&Unique) -> bool| {
            let found = self.uniques.iter().find(|unique| fits(unique));
            found.map(|unique| unique.columns.as_slice())
        };
        self.primary()
            .or_else(|| unique(&|index| self.all_not_null(&index.columns)))
            .or_else(|| {
                unique(&|index| index.columns.iter().all(|name| captured.key.contains(name)))
            })
    }

    /// The SQL that gives the log something to tell a row by, for a table that has no primary key.
    pub(crate) fn identity_fix(&self) -> String {
        let table = connect::table(&self.name);
        let usable = |index: &&Unique| self.all_not_null(&index.columns);
        match self.uniques.iter().find(usable) {
            Some(index) => format!(
                "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {}; undo: ALTER TABLE {table} \
                 REPLICA IDENTITY DEFAULT",
                connect::name(&index.name)
            ),
            None => format!(
                "ALTER TABLE {table} REPLICA IDENTITY FULL; undo: ALTER TABLE {table} REPLICA \
                 IDENTITY DEFAULT"
            ),
        }
    }

    /// Whether the application's own UPDATE and DELETE fail as soon as the table is published.
    pub(crate) fn would_break(&self) -> bool {
        self.identity_columns().is_some_and(<[String]>::is_empty)
    }
}

/// The shape of rows with these columns.
pub(crate) fn shape(
    table: &TableName,
    columns: Vec<String>,
    key: &[String],
) -> Result<Arc<TableShape>, SourceError> {
    let place = |name: &String| {
        columns
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| SourceError::SchemaChanged {
                what: format!("read {table}: its key column \"{name}\" is not among its columns"),
                hint: "name other key columns in the mapping, or publish the column".to_owned(),
            })
    };
    Ok(Arc::new(TableShape {
        table: table.clone(),
        key: key.iter().map(place).collect::<Result<_, _>>()?,
        columns,
    }))
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// What it does not tell of insert, update, delete and truncate.
    pub(crate) untold: Vec<&'static str>,
    pub(crate) tables: Vec<Published>,
}

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) table: TableName,
    /// The published columns; `None` = all (always before PostgreSQL 15).
    pub(crate) columns: Option<Vec<String>>,
    /// Only rows that pass this condition are published; `None` = all.
    pub(crate) filter: Option<String>,
}

impl Publication {
    /// Reads a publication; `None` when there is none of that name.
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<Self>, SourceError> {
        let failed = |error| classify(&format!("read publication \"{name}\""), &error);
        let row = client
            .query_opt(
                "SELECT pubinsert, pubupdate, pubdelete, pubtruncate
                   FROM pg_catalog.pg_publication WHERE pubname = $1",
                &[&name],
            )
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let operations = ["insert", "update", "delete", "truncate"];
        let untold = (0..4)
            .filter(|n| !row.get::<_, bool>(*n))
            .map(|n| operations[n]);
        // Before 15 the view has neither columns nor filters: a row made of it lacks the fields.
        let tables = client
            .query(
                "SELECT p.schemaname, p.tablename,
                        pg_catalog.to_jsonb(p) -> 'attnames' #>> '{}',
                        pg_catalog.to_jsonb(p) ->> 'rowfilter'
                   FROM pg_catalog.pg_publication_tables p WHERE p.pubname = $1",
                &[&name],
            )
            .await
            .map_err(failed)?;
        let tables = tables.iter().map(|row| {
            let columns: Option<String> = row.get(2);
            Published {
                table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
                columns: columns.and_then(|json| serde_json::from_str(&json).ok()),
                filter: row.get(3),
            }
        });
        Ok(Some(Self {
            untold: untold.collect(),
            tables: tables.collect(),
        }))
    }

    pub(crate) fn table(&self, table: &TableName) -> Option<&Published> {
        self.tables.iter().find(|known| known.table == *table)
    }
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Logical, `pgoutput`, of our database.
    pub(crate) usable: bool,
    pub(crate) active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) wal_status: String,
    /// Where the server holds the log for us.
    pub(crate) confirmed: Option<u64>,
    /// Bytes of log the server keeps because of it.
    pub(crate) retained: Option<i64>,
    /// Where the server's log ends now.
    pub(crate) insert: u64,
    /// The first transaction id that no finished transaction has.
    pub(crate) xmax: u64,
}

impl Slot {
    /// Reads a slot; `None` when there is none of that name.
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<Self>, SourceError> {
        let row = client
            .query_opt(
                "SELECT coalesce(slot_type = 'logical' AND plugin = 'pgoutput'
                                 AND database = pg_catalog.current_database(), false),
                        active_pid, coalesce(wal_status, 'lost'), confirmed_flush_lsn::pg_catalog.text,
                        (pg_catalog.pg_current_wal_insert_lsn() - restart_lsn)::pg_catalog.int8,
                        pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text,
                        pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text
                   FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
                &[&name],
            )
            .await
            .map_err(|error| classify(&format!("read slot \"{name}\""), &error))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let confirmed: Option<String> = row.get(3);
        let (insert, xmax): (String, String) = (row.get(5), row.get(6));
        let unreadable = || {
            SourceError::Malformed(format!(
                "read slot \"{name}\": its positions are unreadable"
            ))
        };
        Ok(Some(Self {
            usable: row.get(0),
            active_pid: row.get(1),
            wal_status: row.get(2),
            confirmed: confirmed.as_deref().and_then(crate::lsn::parse),
            retained: row.get(4),
            insert: crate::lsn::parse(&insert).ok_or_else(unreadable)?,
            xmax: xmax.parse().map_err(|_| unreadable())?,
        }))
    }
}

/// The SQL that publishes `tables`, given what is published now.
pub(crate) fn publish_sql(
    settings: &Settings,
    publication: Option<&Publication>,
    tables: &[Table],
) -> Vec<String> {
    let name = connect::name(&settings.publication);
    let missing: Vec<String> = tables
        .iter()
        .filter(|table| publication.is_none_or(|known| known.table(&table.name).is_none()))
        .map(|table| connect::table(&table.name))
        .collect();
    let missing = missing.join(", ");
    let Some(publication) = publication else {
        // Rows of partitions are told under the name of the table the mapping knows.
        let root = if tables.iter().any(|table| table.partitioned) {
            ", publish_via_partition_root = true"
        } else {
            ""
        };
        let tables = if missing.is_empty() {
            String::new()
        } else {
            format!(" FOR TABLE {missing}")
        };
        return vec![format!(
            "CREATE PUBLICATION {name}{tables} \
             WITH (publish = 'insert, update, delete, truncate'{root})"
        )];
    };
    let mut sql = Vec::new();
    if !publication.untold.is_empty() {
        sql.push(format!(
            "ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"
        ));
    }
    if !missing.is_empty() {
        sql.push(format!("ALTER PUBLICATION {name} ADD TABLE {missing}"));
    }
    sql
}
