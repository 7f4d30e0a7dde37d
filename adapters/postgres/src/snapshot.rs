//! Reads tables in key order, chunk by chunk.
//!
//! What a chunk reflects is told by the snapshot it is read in, not by the log: a commit stands in
//! the log before readers see it. Each chunk is one repeatable-read transaction whose snapshot
//! ([`Sees::Transactions`]) is noted first, and the log's end after it; every transaction the
//! snapshot sees has its commit record before that end, the chunk's mark.
//!
//! The table is locked before the snapshot is taken. A statement that writes a table anew leaves
//! nothing in it for older snapshots: one taken before we waited for it would find no rows.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    CapturedTable, ChunkLimits, Op, Position, Row, RowChange, Sees, SnapshotChunk, SnapshotReader,
    SourceError, TableName,
};
use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryRow};

use crate::catalogue::{Column, Publication, Table, publish_sql, shape};
use crate::connect::{self, Rights, literal, name, rows};
use crate::fetch::{Fetching, cells, each, stop_if};
use crate::kinds::Kinds;
use crate::lsn;
use crate::order::{Order, Place, bounds};
use crate::settings::Settings;
use crate::values::Kind;

/// Between two looks whether old transactions have ended.
const POLL: Duration = Duration::from_millis(100);
/// After so long we say what we wait for.
const SAY_AFTER: Duration = Duration::from_secs(5);

/// Reads the captured tables.
pub(crate) struct TableReader {
    settings: Settings,
    tables: Vec<CapturedTable>,
    epoch: u32,
    /// Taken while a chunk is read: an interrupted chunk leaves a transaction open, and its
    /// connection must not be used again.
    client: Option<Client>,
    kinds: Kinds,
}

/// How a table is read.
struct Reading {
    columns: Vec<String>,
    kinds: Vec<Kind>,
    /// Places in `columns`.
    paging: Vec<usize>,
    /// Of the paging columns, as SQL.
    types: Vec<String>,
    /// The order that the paging columns stand in.
    order: Order,
    /// Which rows are published; `None` = all.
    filter: Option<String>,
    /// Where the comparison of the paging columns is looked up. A type from an extension brings
    /// its own (citext compares without case); with another than the index has, rows would fall
    /// between two chunks.
    search_path: String,
    /// See [`only`].
    only: &'static str,
}

impl TableReader {
    pub(crate) async fn open(
        settings: &Settings,
        tables: &[CapturedTable],
        epoch: u32,
    ) -> Result<Self, SourceError> {
        let client = connect::connect(settings, Rights::Read).await?;
        Ok(Self {
            settings: settings.clone(),
            tables: tables.to_vec(),
            epoch,
            client: Some(client),
            kinds: Kinds::default(),
        })
    }

    async fn client(&mut self) -> Result<Client, SourceError> {
        match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => connect::connect(&self.settings, Rights::Read).await,
        }
    }

    /// How to read a table, and the shape of its rows: the same as the log's.
    async fn reading(
        &mut self,
        client: &Client,
        table: &TableName,
    ) -> Result<(Reading, std::sync::Arc<contract::TableShape>), SourceError> {
        let captured = self.tables.iter().find(|captured| captured.table == *table);
        let found = match captured {
            Some(captured) => Table::read(client, table).await?.map(|now| (now, captured)),
            None => None,
        };
        let Some((now, captured)) = found else {
            return Err(absent(table));
        };
        let key = now.key(captured);
        let Some(paging) = now.paging(captured).filter(|_| !key.is_empty()) else {
            return Err(no_key(&now, captured));
        };
        let order = Order::read(client, table, paging).await?;
        let Some(order) = order else {
            return Err(no_key(&now, captured));
        };
        let publication = Publication::read(client, &self.settings.publication).await?;
        let published = match publication.as_ref().map(|known| known.table(table)) {
            // Its changes are not told: whatever is read of it now would be outdated unnoticed.
            Some(None) => {
                let name = &self.settings.publication;
                return Err(SourceError::SchemaChanged {
                    what: format!("read table {table}: publication \"{name}\" does not have it"),
                    hint: publish_sql(&self.settings, publication.as_ref(), &[now]).join("; "),
                });
            }
            Some(Some(published)) => Some(published.clone()),
            None => None,
        };
        // The log tells of no other rows, so a snapshot reads no others.
        let filter = published
            .as_ref()
            .and_then(|published| published.filter.clone());
        let told = |column: &&Column| match &published {
            Some(published) => published.tells(column),
            None => !column.generated,
        };
        let columns: Vec<_> = now.columns.iter().filter(told).collect();
        let oids: Vec<u32> = columns.iter().map(|column| column.type_oid).collect();
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let place = |name: &String| names.iter().position(|column| column == name);
        let places: Option<Vec<usize>> = paging.iter().map(place).collect();
        let Some(places) = places else {
            return Err(no_key(&now, captured));
        };
        let types = places
            .iter()
            .filter_map(|at| columns.get(*at))
            .map(|column| column.type_sql.clone())
            .collect();
        self.kinds.learn(client, &oids).await?;
        let paging_oids: Vec<u32> = places
            .iter()
            .filter_map(|at| oids.get(*at).copied())
            .collect();
        let reading = Reading {
            kinds: oids.iter().map(|oid| self.kinds.of(*oid)).collect(),
            paging: places,
            types,
            order,
            filter,
            search_path: search_path(client, &paging_oids).await?,
            only: only_of(now.partitioned),
            columns: names.clone(),
        };
        Ok((reading, shape(table, names, &key)?))
    }
}

/// The schemas that hold these types and their operators.
async fn search_path(client: &Client, types: &[u32]) -> Result<String, SourceError> {
    let found = client
        .query(
            "WITH RECURSIVE chain(typnamespace, typbasetype) AS (
                 SELECT t.typnamespace, t.typbasetype FROM pg_type t WHERE t.oid = ANY ($1)
                 UNION
                 SELECT t.typnamespace, t.typbasetype FROM chain JOIN pg_type t
                     ON t.oid = chain.typbasetype)
             SELECT DISTINCT n.nspname FROM chain JOIN pg_namespace n ON n.oid = typnamespace
              WHERE n.nspname <> 'pg_catalog' ORDER BY 1",
            &[&types],
        )
        .await
        .map_err(|error| connect::classify("read types of key columns", &error))?;
    let mut path = "pg_catalog".to_owned();
    for row in found {
        let _ = write!(path, ", {}", name(row.get(0)));
    }
    Ok(path)
}

/// The word that keeps a statement to a table's own rows; a partitioned table has none, and is locked
/// and read with its partitions.
async fn only(client: &Client, table: &TableName) -> Result<&'static str, SourceError> {
    let doing = format!("read table {table}");
    let found = rows(
        client,
        &format!(
            "SELECT c.relkind = 'p' FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
            literal(&table.schema),
            literal(&table.name)
        ),
        &doing,
    )
    .await?;
    let partitioned = found.first().ok_or_else(|| absent(table))?.get(0) == Some("t");
    Ok(only_of(partitioned))
}

fn only_of(partitioned: bool) -> &'static str {
    if partitioned { "" } else { "ONLY " }
}

fn absent(table: &TableName) -> SourceError {
    SourceError::SchemaChanged {
        what: format!("read table {table}: it does not exist or is not captured"),
        hint: "correct the table's name in the mapping".to_owned(),
    }
}

fn no_key(table: &Table, captured: &CapturedTable) -> SourceError {
    let name = &table.name;
    let columns: Vec<String> = captured.key.iter().map(|c| connect::name(c)).collect();
    let hint = if columns.is_empty() {
        "name the key's columns in the mapping".to_owned()
    } else {
        format!(
            "CREATE UNIQUE INDEX CONCURRENTLY ON {} ({})",
            connect::table(name),
            columns.join(", ")
        )
    };
    SourceError::SchemaChanged {
        what: format!(
            "read table {name}: it has no primary key and no unique index to read it in order by"
        ),
        hint,
    }
}

impl Reading {
    /// The statement that reads on after `cursor`.
    fn sql(&self, table: &TableName, cursor: Option<&str>, rows_max: usize) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| name(column)).collect();
        let paging: Vec<&str> = self
            .paging
            .iter()
            .filter_map(|at| columns.get(*at).map(String::as_str))
            .collect();
        let only = self.only;
        let mut sql = format!(
            "SET LOCAL search_path = {}; \
             DECLARE lighterman_chunk NO SCROLL CURSOR FOR SELECT {} FROM {only}{}",
            self.search_path,
            columns.join(", "),
            connect::table(table)
        );
        // Rows of a nullable unique index whose key is null have no place in its order.
        let mut conditions: Vec<String> = paging
            .iter()
            .map(|column| format!("{column} IS NOT NULL"))
            .collect();
        let ordered: Vec<String> = paging
            .iter()
            .enumerate()
            .map(|(n, column)| self.order.of(n, column))
            .collect();
        let place = self.order.place(cursor, table);
        let value = |n: usize, text: &str| {
            let type_sql = self.types.get(n).map_or("", String::as_str);
            self.order.of(n, &format!("{}::{type_sql}", literal(text)))
        };
        let first = ordered.first().map_or("", String::as_str);
        if let Some(until) = &place.until {
            conditions.push(format!("{first} < {}", value(0, until)));
        }
        if let Some(from) = place.from.as_ref().filter(|_| place.at.is_empty()) {
            conditions.push(format!("{first} >= {}", value(0, from)));
        }
        if !place.at.is_empty() {
            let values: Vec<String> = place
                .at
                .iter()
                .enumerate()
                .map(|(n, text)| value(n, text))
                .collect();
            conditions.push(format!(
                "({}) > ({})",
                ordered.join(", "),
                values.join(", ")
            ));
        }
        if let Some(filter) = &self.filter {
            conditions.push(format!("({filter})"));
        }
        let _ = write!(
            sql,
            " WHERE {} ORDER BY {} LIMIT {rows_max}; SET LOCAL search_path = pg_catalog",
            conditions.join(" AND "),
            ordered.join(", ")
        );
        sql
    }

    fn cursor(
        &self,
        table: &TableName,
        before: Option<&str>,
        row: &SimpleQueryRow,
    ) -> Result<String, SourceError> {
        let texts: Vec<String> = self
            .paging
            .iter()
            .filter_map(|at| row.try_get(*at).ok().flatten().map(str::to_owned))
            .collect();
        if texts.len() != self.paging.len() {
            let found = format!("read table {table}: a key is not UTF-8");
            return Err(SourceError::Malformed(found));
        }
        let place = Place {
            at: texts,
            ..self.order.place(before, table)
        };
        self.order
            .cursor(place)
            .map_err(|error| SourceError::Malformed(format!("read table {table}: {error}")))
    }
}

/// Reads `xmin:xmax:running,running`.
pub(crate) fn sees(text: &str) -> Option<Sees> {
    let mut parts = text.split(':');
    let xmin = parts.next()?.parse().ok()?;
    let xmax = parts.next()?.parse().ok()?;
    let running = parts.next()?;
    let in_progress = running
        .split(',')
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().ok())
        .collect::<Option<_>>()?;
    Some(Sees::Transactions {
        xmin,
        xmax,
        in_progress,
    })
}

/// The text of a statement's only row and column.
fn text_at(rows: &[SimpleQueryRow], at: usize, doing: &str) -> Result<String, SourceError> {
    let text = rows.get(at).and_then(|row| row.try_get(0).ok().flatten());
    text.map(str::to_owned)
        .ok_or_else(|| SourceError::Malformed(format!("{doing}: the server gives no answer")))
}

fn number_at(rows: &[SimpleQueryRow], at: usize, doing: &str) -> Result<u64, SourceError> {
    let text = text_at(rows, at, doing)?;
    text.parse()
        .map_err(|_| SourceError::Malformed(format!("{doing}: the server gives no number")))
}

#[async_trait]
impl SnapshotReader for TableReader {
    /// By the bounds that the server's own statistics have of the key's first column, put into the
    /// order the table is read in: whatever bounds they are, the ranges are the table.
    async fn ranges(
        &mut self,
        table: &TableName,
        parts: usize,
    ) -> Result<Vec<String>, SourceError> {
        let doing = format!("read statistics of {table}");
        let client = self.client().await?;
        let (reading, _) = self.reading(&client, table).await?;
        let column = reading
            .paging
            .first()
            .and_then(|at| reading.columns.get(*at));
        let (Some(column), Some(type_sql)) = (column, reading.types.first()) else {
            return Ok(Vec::new());
        };
        let found = rows(
            &client,
            &format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path = {}; \
                 SELECT v.bound::pg_catalog.text FROM ( \
                   SELECT x::{type_sql} AS bound FROM pg_catalog.pg_stats s \
                    CROSS JOIN LATERAL pg_catalog.unnest( \
                      s.histogram_bounds::pg_catalog.text::pg_catalog.text[]) x \
                    WHERE s.schemaname = {} AND s.tablename = {} AND s.attname = {} \
                      AND s.inherited = {}) v ORDER BY {}; COMMIT",
                reading.search_path,
                literal(&table.schema),
                literal(&table.name),
                literal(column),
                reading.only.is_empty(),
                reading.order.of(0, "v.bound"),
            ),
            &doing,
        )
        .await?;
        self.client = Some(client);
        let values: Option<Vec<String>> = found
            .iter()
            .map(|row| row.try_get(0).ok().flatten().map(str::to_owned))
            .collect();
        let bounds = bounds(&values.unwrap_or_default(), parts);
        if bounds.is_empty() {
            return Ok(Vec::new());
        }
        reading
            .order
            .ranges(&bounds)
            .map_err(|error| SourceError::Malformed(format!("{doing}: {error}")))
    }

    /// Waits until every transaction that may have its commit record in the log already is seen.
    ///
    /// Such a transaction still holds the lock on its own id: that is given up after it became
    /// visible. `pg_snapshot_xmax` alone does not cover it: it is the id after the last *finished*
    /// transaction, so the newest running one is not below it.
    async fn begin(&mut self) -> Result<(), SourceError> {
        let doing = "wait for running transactions";
        let client = self.client().await?;
        let started = Instant::now();
        // The circle of 32-bit ids is unrolled around the snapshot's own 64-bit one; ids in use
        // are never half a circle apart.
        let found = rows(
            &client,
            "SELECT greatest(near.xmax, (
                        SELECT max(near.xmax
                                   + ((((l.transactionid::text::int8 - near.xmax % 4294967296)
                                       + 6442450944) % 4294967296) - 2147483648) + 1)
                          FROM pg_catalog.pg_locks l
                         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock'
                           AND l.granted))
               FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS xmax) near",
            doing,
        )
        .await?;
        let bound = number_at(&found, 0, doing)?;
        let mut said = false;
        loop {
            let now = rows(
                &client,
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text",
                doing,
            )
            .await?;
            if number_at(&now, 0, doing)? >= bound {
                self.client = Some(client);
                return Ok(());
            }
            if !said && started.elapsed() >= SAY_AFTER {
                said = true;
                say(&client, doing).await?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        limits: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let doing = format!("read table {table}");
        let client = self.client().await?;
        let only = only(&client, table).await?;
        // Neither BEGIN nor LOCK takes a snapshot. Of locks this is the weakest: that of a SELECT.
        let opened = rows(
            &client,
            &format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
                 LOCK TABLE {only}{} IN ACCESS SHARE MODE; \
                 SELECT pg_current_snapshot()::text; \
                 SELECT pg_current_wal_insert_lsn()::text; \
                 SELECT current_setting('wal_block_size'); \
                 SELECT pg_size_bytes(current_setting('wal_segment_size'))",
                connect::table(table)
            ),
            &doing,
        )
        .await?;
        let unreadable = || SourceError::Malformed(format!("{doing}: its snapshot is unreadable"));
        let sees = sees(&text_at(&opened, 0, &doing)?).ok_or_else(unreadable)?;
        let end = lsn::parse(&text_at(&opened, 1, &doing)?).ok_or_else(unreadable)?;
        let block = number_at(&opened, 2, &doing)?;
        let segment = number_at(&opened, 3, &doing)?;
        let mark = lsn::border(self.epoch, lsn::record_end(end, block, segment));
        let (reading, shape) = self.reading(&client, table).await?;
        if reading.only != only {
            // Another table has its name since we asked: its partitions may not be locked.
            let what = format!("{doing}: it is another table than a moment ago");
            return Err(SourceError::Disconnected(what));
        }
        let rows_max = limits.rows_max.max(1);
        client
            .batch_execute(&reading.sql(table, cursor, rows_max))
            .await
            .map_err(|error| connect::classify(&doing, &error))?;
        let mut read: Vec<RowChange> = Vec::new();
        let mut last: Option<SimpleQueryRow> = None;
        let mut fetching = Fetching::new(rows_max, limits.bytes_max);
        let (more, whole) = loop {
            let (ask, before) = (fetching.ask(), read.len());
            let sql = format!("FETCH {ask} FROM lighterman_chunk");
            let fetched = each(&client, &sql, |row| {
                let change = change(&shape, cells(&reading.kinds, &row), &mark);
                fetching.count(change.bytes());
                read.push(change);
                last = Some(row);
                stop_if(fetching.full() && read.len() - before < ask)
            });
            let fetched = fetched.await;
            let fetched = fetched.map_err(|error| connect::classify(&doing, &error))?;
            if fetched.is_break() {
                break (true, false);
            }
            if read.len() - before < ask {
                // The statement gave all it has: the table's end, unless that was its limit.
                break (read.len() >= rows_max, true);
            }
            if fetching.full() {
                break (true, true);
            }
        };
        let next = match last.filter(|_| more) {
            Some(last) => Some(reading.cursor(table, cursor, &last)?),
            None => None,
        };
        if whole {
            rows(&client, "COMMIT", &doing).await?;
            self.client = Some(client);
        } else {
            // Larger rows than the ones before: the rest of them is not waited for.
            connect::abandon(&self.settings, client).await?;
        }
        Ok(SnapshotChunk {
            rows: read,
            next,
            mark,
            sees,
        })
    }
}

fn change(shape: &std::sync::Arc<contract::TableShape>, row: Row, mark: &Position) -> RowChange {
    RowChange {
        shape: std::sync::Arc::clone(shape),
        op: Op::Read,
        before: None,
        after: Some(row),
        position: mark.clone(),
        committed_at: None,
        transaction: 0,
    }
}

/// Names the oldest running transaction, once.
async fn say(client: &Client, doing: &str) -> Result<(), SourceError> {
    let found = rows(
        client,
        "SELECT a.pid, a.application_name
           FROM pg_catalog.pg_stat_activity a WHERE a.backend_xid IS NOT NULL
          ORDER BY age(a.backend_xid) DESC LIMIT 1",
        doing,
    )
    .await?;
    let oldest = found.first();
    tracing::info!(
        code = "snapshot.waits_for_transactions",
        stage = "snapshot",
        server_process = oldest.and_then(|row| row.try_get(0).ok().flatten()),
        application = oldest.and_then(|row| row.try_get(1).ok().flatten()),
        "snapshot waits for transactions that began before it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_snapshots_text() {
        assert_eq!(
            sees("10:20:10,14,15"),
            Some(Sees::Transactions {
                xmin: 10,
                xmax: 20,
                in_progress: vec![10, 14, 15]
            })
        );
        assert_eq!(
            sees("10:10:"),
            Some(Sees::Transactions {
                xmin: 10,
                xmax: 10,
                in_progress: vec![]
            })
        );
        for text in ["", "1", "1:2", "1:2:x", "a:2:"] {
            assert_eq!(sees(text), None, "{text}");
        }
    }

    #[test]
    fn names_and_values_in_sql_are_quoted() {
        let reading = Reading {
            columns: vec!["a\"b".to_owned(), "c".to_owned()],
            kinds: vec![Kind::Text, Kind::Int],
            paging: vec![1, 0],
            types: vec![
                "\"pg_catalog\".\"int4\"".to_owned(),
                "\"s\".\"t\"".to_owned(),
            ],
            order: Order {
                table: 9,
                key: vec![2, 1],
                compared: vec![(23, 0), (25, 950)],
                collations: vec![None, Some("\"s\".\"c\"".to_owned())],
            },
            filter: Some("c > 3".to_owned()),
            search_path: "pg_catalog, \"s\"".to_owned(),
            only: "ONLY ",
        };
        let table = TableName::new("s", "t");
        let cursor = r#"[9,[2,1],[[23,0],[25,950]],["5","it's \\"],null,null]"#;
        let sql = reading.sql(&table, Some(cursor), 7);
        assert_eq!(
            sql,
            "SET LOCAL search_path = pg_catalog, \"s\"; DECLARE lighterman_chunk NO SCROLL CURSOR FOR SELECT \"a\"\"b\", \"c\" FROM ONLY \
             \"s\".\"t\" WHERE \"c\" IS NOT NULL AND \"a\"\"b\" IS NOT NULL AND (\"c\", \"a\"\"b\" COLLATE \
             \"s\".\"c\") > ('5'::\"pg_catalog\".\"int4\", E'it''s \\\\'::\"s\".\"t\" COLLATE \"s\".\"c\") \
             AND (c > 3) ORDER BY \"c\", \"a\"\"b\" COLLATE \"s\".\"c\" LIMIT 7; SET LOCAL search_path = \
             pg_catalog"
        );
        // Of another table, key or order, as an earlier version wrote it, or of nothing: from the
        // first row.
        let first = reading.sql(&table, None, 7);
        for cursor in [
            "nonsense",
            "[\"5\"]",
            r#"[8,[2,1],[[23,0],[25,950]],["5","x"],null,null]"#,
            r#"[9,[1,2],[[23,0],[25,950]],["5","x"],null,null]"#,
            r#"[9,[2,1],[[20,0],[25,950]],["5","x"],null,null]"#,
            r#"[9,[2,1],[[23,0],[25,951]],["5","x"],null,null]"#,
            r#"[9,[2,1],[[23,0],[25,950]],["5"],null,null]"#,
            r#"[9,[2,1],["5","x"],null,null]"#,
            r#"[9,[2,1],[],null,"7"]"#,
        ] {
            assert_eq!(reading.sql(&table, Some(cursor), 7), first, "{cursor}");
        }
    }
}
