//! Rows of a live source for the events of a mapping: the events' own rows, and those they need of
//! other tables. Read by key where that can be; nothing is written.

mod outcome;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    CapturedTable, ChunkLimits, Finding, LogPos, Op, Position, ReadQuery, Row, RowChange, RowKey,
    Source, SourceError, TableInfo, TableName, TableShape, Value,
};
use mappings::MappingSet;
use mappings::relate::{FoundRow, Needed};

pub(crate) use outcome::{Tried, run};

/// Rows of one table at most, and their bytes: more would be a load on the database.
const ROWS_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;
/// Keys looked for by one statement.
const TOGETHER: usize = 50;
/// How long one statement may take.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Which of the events' own rows.
#[derive(Debug, Clone)]
pub(crate) enum Pick {
    /// Of this table, by their keys.
    Keys(TableName, Vec<Vec<Value>>),
    /// The first of each table.
    First(usize),
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Everything, as one transaction.
    pub(crate) changes: Vec<RowChange>,
    /// The events' own rows, by rule: table and row key.
    pub(crate) own: BTreeMap<String, Vec<(TableName, String)>>,
    /// What a person should know of how it was read.
    pub(crate) notes: Vec<String>,
}

/// Reads rows from a source.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) tables: &'a [TableInfo],
    pub(crate) set: &'a MappingSet,
    /// Whether a table is never read for want of a key.
    by_key_only: bool,
    rows: Rows,
    /// What each table gave, by the key of its rows.
    found: BTreeMap<(String, String), FoundRow>,
}

fn failed(table: &TableName, error: &SourceError) -> Vec<Finding> {
    let finding = Finding::fail(format!("read {table}"), error.to_string());
    vec![finding.fix(error.hint().unwrap_or("lighterman check says more"))]
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        tables: &'a [TableInfo],
        set: &'a MappingSet,
    ) -> Self {
        Self {
            source,
            tables,
            set,
            by_key_only: false,
            rows: Rows::default(),
            found: BTreeMap::new(),
        }
    }

    /// Never reads a table for want of a key: for who reads again and again.
    pub(crate) fn by_key_only(mut self) -> Self {
        self.by_key_only = true;
        self
    }

    /// The rows of some rules' events.
    ///
    /// # Errors
    /// Why the source does not give them.
    pub(crate) async fn read(
        mut self,
        rules: &[String],
        pick: &Pick,
    ) -> Result<Rows, Vec<Finding>> {
        for rule in rules {
            self.rule(rule, pick).await?;
        }
        Ok(self.rows)
    }

    async fn rule(&mut self, rule: &str, pick: &Pick) -> Result<(), Vec<Finding>> {
        let mut of_alias: BTreeMap<String, Vec<FoundRow>> = BTreeMap::new();
        let mut own = Vec::new();
        for table in self.set.own_tables(rule) {
            let table = self.whole(&table);
            let rows = match pick {
                Pick::Keys(wanted, _) if *wanted != table.table => continue,
                Pick::Keys(_, keys) => self.by(&table, &table.key, keys.clone()).await?,
                Pick::First(count) => self.first(&table, *count).await?,
            };
            for (shape, row) in &rows {
                if let Some(key) = RowKey::of(shape, row) {
                    own.push((table.table.clone(), key.as_str().to_owned()));
                }
            }
            of_alias
                .entry(self.set.own_alias(rule))
                .or_default()
                .extend(rows);
        }
        self.rows.own.insert(rule.to_owned(), own);
        let mut nth = 0;
        loop {
            let found = |alias: &str| of_alias.get(alias).cloned().unwrap_or_default();
            let Some(needed) = self.set.needed(rule, nth, &found) else {
                return Ok(());
            };
            nth += 1;
            let mut rows = Vec::new();
            for table in &needed.tables {
                rows.extend(self.needed(rule, table, &needed).await?);
            }
            of_alias.insert(needed.alias, rows);
        }
    }

    async fn needed(
        &mut self,
        rule: &str,
        table: &CapturedTable,
        needed: &Needed,
    ) -> Result<Vec<FoundRow>, Vec<Finding>> {
        let table = self.whole(table);
        if needed.by.is_empty() && self.by_key_only {
            let found = format!(
                "{} is not matched by a plain column: on live changes it is not compared",
                needed.alias
            );
            return Err(vec![
                Finding::fail(format!("rule {rule}"), found)
                    .fix("lighterman map diff OLD NEW --sample 500"),
            ]);
        }
        if needed.by.is_empty() {
            let rows = self.first(&table, ROWS_MAX).await?;
            let note = format!(
                "{} is not matched by a plain column: its first {} rows were read, no more than \
                 {ROWS_MAX}",
                needed.alias,
                rows.len()
            );
            self.rows.notes.push(note);
            return Ok(rows);
        }
        if needed.values.is_empty() {
            return Ok(Vec::new());
        }
        self.by(&table, &needed.by, needed.values.clone()).await
    }

    /// A table with every column that some rule reads and the database has.
    fn whole(&self, table: &CapturedTable) -> CapturedTable {
        let info = self.tables.iter().find(|info| info.table == table.table);
        let mut columns = table.key.clone();
        for known in self.set.all_tables() {
            if known.table == table.table {
                columns.extend(known.columns);
            }
        }
        let mut all: Vec<String> = Vec::new();
        for column in columns {
            let there = info.is_none_or(|info| info.column(&column).is_some());
            if there && !all.contains(&column) {
                all.push(column);
            }
        }
        CapturedTable {
            columns: all,
            ..table.clone()
        }
    }

    /// Rows whose columns equal one of the values.
    async fn by(
        &mut self,
        table: &CapturedTable,
        by: &[String],
        values: Vec<Vec<Value>>,
    ) -> Result<Vec<FoundRow>, Vec<Finding>> {
        if !self.source.can_query() {
            let found = "this kind of source cannot be asked by key";
            return Err(vec![Finding::fail(format!("read {}", table.table), found)]);
        }
        let shape = shape(table);
        let mut found = Vec::new();
        for some in values.chunks(TOGETHER) {
            let Some((first, more)) = some.split_first() else {
                continue;
            };
            let query = ReadQuery {
                sql: statement(table, by),
                parameters: first
                    .iter()
                    .enumerate()
                    .map(|(n, value)| (format!("v{n}"), value.clone()))
                    .collect(),
                more: more.to_vec(),
                rows_max: ROWS_MAX,
                time_max: TIME_MAX,
            };
            let answer = self.source.query(&query).await;
            let answer = answer.map_err(|error| failed(&table.table, &error))?;
            for row in answer.rows {
                found.push((Arc::clone(&shape), row));
            }
        }
        Ok(self.keep(&found))
    }

    /// The first rows of a table.
    async fn first(
        &mut self,
        table: &CapturedTable,
        count: usize,
    ) -> Result<Vec<FoundRow>, Vec<Finding>> {
        let limits = ChunkLimits {
            rows_max: count,
            bytes_max: BYTES_MAX,
        };
        let read = async {
            let mut reader = self.source.snapshot(1).await?;
            reader.chunk(&table.table, None, limits).await
        };
        let chunk = read.await.map_err(|error| failed(&table.table, &error))?;
        let rows = chunk.rows.into_iter();
        let rows: Vec<FoundRow> = rows
            .filter_map(|change| Some((change.shape, change.after?)))
            .collect();
        Ok(self.keep(&rows))
    }

    /// Notes rows, each once.
    fn keep(&mut self, rows: &[FoundRow]) -> Vec<FoundRow> {
        for (shape, row) in rows {
            let key = RowKey::of(shape, row);
            let key = key.map_or_else(String::new, |key| key.as_str().to_owned());
            let place = (shape.table.to_string(), key);
            if self.found.contains_key(&place) {
                continue;
            }
            let seq = u32::try_from(self.rows.changes.len()).unwrap_or(u32::MAX);
            self.rows
                .changes
                .push(change(shape, row, seq.saturating_add(1)));
            self.found.insert(place, (Arc::clone(shape), row.clone()));
        }
        rows.to_vec()
    }
}

fn change(shape: &Arc<TableShape>, row: &Row, seq: u32) -> RowChange {
    RowChange {
        shape: Arc::clone(shape),
        op: Op::Insert,
        before: None,
        after: Some(row.clone()),
        position: Position {
            epoch: 1,
            pos: LogPos::from_number(1),
            seq,
        },
        committed_at: None,
        transaction: 1,
    }
}

fn shape(table: &CapturedTable) -> Arc<TableShape> {
    let place = |name: &String| table.columns.iter().position(|column| column == name);
    Arc::new(TableShape {
        table: table.table.clone(),
        key: table.key.iter().filter_map(place).collect(),
        columns: table.columns.clone(),
    })
}

/// In SQL that every source takes.
fn statement(table: &CapturedTable, by: &[String]) -> String {
    let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = table.columns.iter().map(|column| name(column)).collect();
    let by = by.iter().enumerate();
    let wanted: Vec<String> = by.map(|(n, by)| format!("{} = :v{n}", name(by))).collect();
    format!(
        "select {} from {}.{} where {}",
        columns.join(", "),
        name(&table.table.schema),
        name(&table.table.name),
        wanted.join(" and ")
    )
}
