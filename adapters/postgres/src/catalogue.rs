//! What the database's catalogue says about a table, and the shape both paths give its rows.

use std::sync::Arc;

use contract::{CapturedTable, SourceError, TableName, TableShape};
use tokio_postgres::Client;

use crate::connect::{self, classify};
use crate::published::{self, Published};
use crate::settings::Settings;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its number in the table, from 1, which it keeps whatever it is called.
    pub(crate) place: u16,
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
    /// Checked at once. One that may wait for the transaction's end identifies nothing in the log,
    /// and lets two rows have one key until then.
    pub(crate) immediate: bool,
    pub(crate) columns: Vec<String>,
}

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    /// Partitioned: rows live in other tables.
    pub(crate) partitioned: bool,
    /// Of its partitions, one by whose rows the log has nothing to tell, with its replica identity,
    /// and whether there is one of which the log does not tell the whole old row.
    pub(crate) unidentified: Option<(TableName, u8)>,
    pub(crate) partial: bool,
    /// A table that inherits from it and is no partition: its rows are its own.
    pub(crate) child: Option<TableName>,
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
        let columns = client
            .query(
                "SELECT a.attname, a.atttypid, tn.nspname, t.typname, a.attnotnull,
                        a.attgenerated <> '', a.attnum
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
                "SELECT ic.relname, i.indisprimary, i.indisreplident, i.indimmediate,
                        pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
                   FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                  CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[])
                        WITH ORDINALITY k(attnum, place)
                   JOIN pg_catalog.pg_attribute a
                     ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid
                    AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
                  GROUP BY ic.relname, i.indisprimary, i.indisreplident, i.indimmediate
                  ORDER BY i.indisprimary DESC, ic.relname",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let below = client
            .query(
                "SELECT n.nspname, c.relname, c.relispartition, c.relreplident = 'f',
                        CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
                             ELSE EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                                           WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
                                             AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                                                     ELSE i.indisprimary END) END,
                        c.relreplident::pg_catalog.text
                   FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind IN ('r', 'f') AND c.oid IN (
                        WITH RECURSIVE below(oid) AS (
                            SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = $1
                            UNION
                            SELECT h.inhrelid FROM pg_catalog.pg_inherits h
                              JOIN below ON below.oid = h.inhparent)
                        SELECT oid FROM below)
                  ORDER BY n.nspname, c.relname",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let below_it = |fits: &dyn Fn(&tokio_postgres::Row) -> bool| {
            let found = below.iter().find(|row| fits(row))?;
            let name = TableName::new(found.get::<_, String>(0), found.get::<_, String>(1));
            Some((name, identity_of(found.get(5))))
        };
        let partition = |row: &tokio_postgres::Row| row.get::<_, bool>(2);
        Ok(Some(Self {
            name: table.clone(),
            partitioned: row.get(1),
            unidentified: below_it(&|row| partition(row) && !row.get::<_, bool>(4)),
            partial: below_it(&|row| partition(row) && !row.get::<_, bool>(3)).is_some(),
            child: below_it(&|row| !partition(row)).map(|(name, _)| name),
            identity: identity_of(row.get(2)),
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
                    place: u16::try_from(row.get::<_, i16>(6)).unwrap_or(u16::MAX),
                })
                .collect(),
            uniques: uniques
                .iter()
                .map(|row| Unique {
                    name: row.get(0),
                    primary: row.get(1),
                    identity: row.get(2),
                    immediate: row.get(3),
                    columns: row.get(4),
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
            b'd' => {
                let primary = self
                    .uniques
                    .iter()
                    .find(|unique| unique.primary && unique.immediate);
                Some(primary.map_or(&[], |unique| unique.columns.as_slice()))
            }
            _ => Some(&[]),
        }
    }

    /// The columns that identify a row: the mapping's, else the primary key, else the index named
    /// as replica identity, else the smallest unique index without nulls. Empty when there are none.
    pub(crate) fn key(&self, captured: &CapturedTable) -> Vec<String> {
        if !captured.key.is_empty() {
            return captured.key.clone();
        }
        let index = || {
            let usable = self
                .uniques
                .iter()
                .filter(|unique| self.all_not_null(&unique.columns));
            let named = self.uniques.iter().find(|unique| unique.identity);
            named.or_else(|| usable.min_by_key(|unique| (unique.columns.len(), &unique.name)))
        };
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
        if let Some((partition, identity)) = &self.unidentified {
            let fix = identity_sql(partition, "FULL", without_index(*identity));
            let table = connect::table(partition);
            return format!("for {table} and every other partition without a primary key: {fix}");
        }
        let usable = |index: &&Unique| index.immediate && self.all_not_null(&index.columns);
        match self.uniques.iter().find(usable) {
            Some(index) => {
                let index = format!("USING INDEX {}", connect::name(&index.name));
                identity_sql(&self.name, &index, &self.identity_now())
            }
            None => self.whole_identity(),
        }
    }

    /// The SQL that has the log tell whole old rows.
    pub(crate) fn whole_identity(&self) -> String {
        identity_sql(&self.name, "FULL", &self.identity_now())
    }

    /// The replica identity it has, in SQL.
    fn identity_now(&self) -> String {
        let index = self.uniques.iter().find(|unique| unique.identity);
        match index.filter(|_| self.identity == b'i') {
            Some(index) => format!("USING INDEX {}", connect::name(&index.name)),
            None => without_index(self.identity).to_owned(),
        }
    }

    /// Whether two rows may have one of these keys until their transaction ends.
    pub(crate) fn exchanges(&self, key: &[String]) -> bool {
        let same = |unique: &&Unique| {
            unique.columns.len() == key.len() && unique.columns.iter().all(|c| key.contains(c))
        };
        let mut of_key = self.uniques.iter().filter(same).peekable();
        of_key.peek().is_some() && of_key.all(|unique| !unique.immediate)
    }

    /// Whether the application's own UPDATE and DELETE fail as soon as the table is published.
    pub(crate) fn would_break(&self) -> bool {
        if self.partitioned {
            // Its own identity means nothing: rows are those of its partitions.
            return self.unidentified.is_some();
        }
        self.identity_columns().is_some_and(<[String]>::is_empty)
    }
}

/// A replica identity as the catalogue has it.
fn identity_of(text: &str) -> u8 {
    text.bytes().next().unwrap_or(b'd')
}

/// A replica identity that no index is named for, in SQL. One whose index is gone is as none.
fn without_index(identity: u8) -> &'static str {
    match identity {
        b'f' => "FULL",
        b'd' => "DEFAULT",
        _ => "NOTHING",
    }
}

/// The SQL that gives a table another replica identity, and its undo.
pub(crate) fn identity_sql(table: &TableName, identity: &str, before: &str) -> String {
    let alter = format!("ALTER TABLE {} REPLICA IDENTITY", connect::table(table));
    format!("{alter} {identity}; undo: {alter} {before}")
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

/// What a publication may tell of.
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// What it does not tell of insert, update, delete and truncate.
    pub(crate) untold: Vec<&'static str>,
    /// Rows of partitions are told under the name of the table that was published.
    pub(crate) via_root: bool,
    /// Tables named in it, told under whatever name.
    members: Vec<TableName>,
    pub(crate) tables: Vec<Published>,
}

impl Publication {
    /// Reads a publication; `None` when there is none of that name.
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<Self>, SourceError> {
        let failed = |error| classify(&format!("read publication \"{name}\""), &error);
        let row = client
            .query_opt(
                "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, p.oid
                   FROM pg_catalog.pg_publication p WHERE pubname = $1",
                &[&name],
            )
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let untold = OPERATIONS.iter().enumerate();
        let untold = untold
            .filter(|(n, _)| !row.get::<_, bool>(*n))
            .map(|(_, operation)| *operation);
        let tables = published::read(client, name).await?;
        let oid: u32 = row.get(5);
        let members = client
            .query(
                "SELECT n.nspname, c.relname FROM pg_catalog.pg_publication_rel r
                   JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = $1",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let members = members.iter();
        let members =
            members.map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)));
        Ok(Some(Self {
            untold: untold.collect(),
            via_root: row.get(4),
            members: members.collect(),
            tables,
        }))
    }

    pub(crate) fn table(&self, table: &TableName) -> Option<&Published> {
        self.tables.iter().find(|known| known.table == *table)
    }
}

/// The SQL that publishes `tables`, given what is published now.
pub(crate) fn publish_sql(
    settings: &Settings,
    publication: Option<&Publication>,
    tables: &[Table],
) -> Vec<String> {
    publishing(settings, publication, tables).0
}

/// The SQL that publishes `tables`, given what is published now, and its undo in reverse order.
pub(crate) fn publishing(
    settings: &Settings,
    publication: Option<&Publication>,
    tables: &[Table],
) -> (Vec<String>, Vec<String>) {
    let name = connect::name(&settings.publication);
    let untold: Vec<&Table> = tables
        .iter()
        .filter(|table| publication.is_none_or(|known| known.table(&table.name).is_none()))
        .collect();
    let member =
        |table: &Table| publication.is_some_and(|known| known.members.contains(&table.name));
    let missing: Vec<String> = untold
        .iter()
        .filter(|table| !member(table))
        .map(|table| {
            // Tables that inherit from it would be published as well, and break without a key.
            let only = if table.child.is_some() { "ONLY " } else { "" };
            format!("{only}{}", connect::table(&table.name))
        })
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
        let create = format!(
            "CREATE PUBLICATION {name}{tables} \
             WITH (publish = 'insert, update, delete, truncate'{root})"
        );
        return (vec![create], vec![format!("DROP PUBLICATION {name}")]);
    };
    let (mut sql, mut undo) = (Vec::new(), Vec::new());
    let mut alter = |to: String, back: String| {
        sql.push(format!("ALTER PUBLICATION {name} {to}"));
        undo.push(format!("ALTER PUBLICATION {name} {back}"));
    };
    if !publication.untold.is_empty() {
        let told = OPERATIONS.iter();
        let told = told.filter(|operation| !publication.untold.contains(operation));
        let told: Vec<&str> = told.copied().collect();
        alter(
            format!("SET (publish = '{}')", OPERATIONS.join(", ")),
            format!("SET (publish = '{}')", told.join(", ")),
        );
    }
    if !publication.via_root && untold.iter().any(|table| table.partitioned) {
        let root = |on: bool| format!("SET (publish_via_partition_root = {on})");
        alter(root(true), root(false));
    }
    if !missing.is_empty() {
        alter(
            format!("ADD TABLE {missing}"),
            format!("DROP TABLE {missing}"),
        );
    }
    undo.reverse();
    (sql, undo)
}
