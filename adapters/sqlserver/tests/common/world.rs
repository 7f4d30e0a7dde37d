//! A model of a database behind a scripted server, a source that captures it, and whoever holds what it told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Behind, CapturedTable, ChangeStream, ChunkLimits, NodeKind, Op, Position, Resume, RowChange,
    Source, SourceError, TableName, Untold,
};
use tds_server::model::{Column, Database};
use tds_server::wire::{Length, Options, Server, Type, Value};

use super::{captured, secret, source, text};

const SOON: Duration = Duration::from_secs(30);

pub fn words() -> Type {
    Type::NVarChar(Length::Of(50))
}

pub fn int(number: i32) -> Value {
    Value::Int(number)
}

/// A table `id int PRIMARY KEY, name nvarchar(50), rv rowversion`.
pub fn named() -> Vec<Column> {
    vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("name", words()),
    ]
}

/// The setting `modes`, with all tables in one.
pub fn all_in(tables: &[CapturedTable], mode: &str) -> NodeKind {
    let modes = tables.iter();
    let modes = modes.map(|one| (super::key(&one.table.to_string()), super::node(text(mode))));
    NodeKind::Map(modes.collect())
}

pub struct World {
    pub database: Database,
    pub server: Server,
    pub tables: Vec<CapturedTable>,
    pub settings: Vec<(&'static str, NodeKind)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let database = Database::new("ERP");
        let server = Server::start(options, database.clone()).unwrap();
        Self {
            database,
            server,
            tables: Vec::new(),
            settings: vec![("user", text("sa")), ("password", secret("Secret-1"))],
        }
    }

    /// With a table of names.
    pub fn table(mut self, name: &str) -> Self {
        self.database.create_table(name, named(), &["id"]).unwrap();
        self.tables.push(captured("dbo", name));
        self
    }

    /// Captured by change data capture.
    pub fn cdc(self) -> Self {
        self.database.enable_cdc();
        for table in &self.tables {
            self.database
                .capture_table(&table.table.to_string(), None, None)
                .unwrap();
        }
        self
    }

    pub fn track(self) -> Self {
        for table in &self.tables {
            self.database.track(&table.table.to_string()).unwrap();
        }
        self
    }

    pub fn set(mut self, name: &'static str, kind: NodeKind) -> Self {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, kind));
        self
    }

    /// All tables in one mode.
    pub fn mode(self, mode: &str) -> Self {
        let modes = all_in(&self.tables, mode);
        self.set("modes", modes)
    }

    pub fn source(&self) -> Arc<dyn Source> {
        source(
            self.server.address().port(),
            &self.settings,
            self.tables.clone(),
        )
    }

    pub fn open(&self) -> Reader {
        Reader::new(self.source(), self.tables.last().unwrap().table.clone())
    }

    /// The same, with its stream open.
    pub async fn started(&self) -> Reader {
        self.open().started().await
    }
}

/// Reads a source as the engine does, and holds what it told.
pub struct Reader {
    pub source: Arc<dyn Source>,
    pub resume: Resume,
    pub stream: Option<Box<dyn ChangeStream>>,
    pub told: Vec<RowChange>,
    /// All that was said to be untold ever.
    pub untold: Vec<Untold>,
    table: TableName,
    /// What was stored before the newest batch, and how many changes that had.
    before: (Resume, usize),
}

impl Reader {
    /// Reads a source from now on; a table of it marks how far.
    pub fn new(source: Arc<dyn Source>, table: TableName) -> Self {
        Self {
            source,
            resume: Resume {
                epoch: 1,
                ..Resume::default()
            },
            stream: None,
            told: Vec::new(),
            untold: Vec::new(),
            table,
            before: (Resume::default(), 0),
        }
    }

    /// With its stream open.
    pub async fn started(mut self) -> Self {
        self.start().await.unwrap();
        self
    }

    /// Opens the stream behind what is stored.
    pub async fn start(&mut self) -> Result<(), SourceError> {
        self.stream = None;
        let stream = self.source.resume(&self.resume).await?;
        self.note(stream.untold());
        self.stream = Some(stream);
        Ok(())
    }

    fn note(&mut self, untold: &[Untold]) {
        for one in untold {
            if !self.untold.contains(one) {
                self.untold.push(one.clone());
            }
        }
    }

    /// The agent is killed: what was not stored is forgotten, and so is all that the source knows.
    pub fn kill(&mut self, world: &World) {
        self.start_anew(world.source());
    }

    /// As [`Reader::kill`]: another source of the same settings.
    pub fn start_anew(&mut self, source: Arc<dyn Source>) {
        self.stream = None;
        self.source = source;
    }

    /// As [`Reader::kill`], while the newest batch was being stored: a part of it was, up to a change.
    pub fn kill_within(&mut self, world: &World, part: usize) {
        let (resume, count) = std::mem::take(&mut self.before);
        if count > 0 {
            let kept = part % count;
            self.told.truncate(self.told.len() - count + kept);
            match self.told.last().filter(|_| kept > 0) {
                Some(last) => self.resume.after = Some(last.position.clone()),
                None => self.resume = resume,
            }
        }
        self.kill(world);
    }

    /// How many changes the newest batch had.
    pub fn newest(&self) -> usize {
        self.before.1
    }

    /// One batch, stored.
    pub async fn batch(&mut self) -> Result<Vec<RowChange>, SourceError> {
        if self.stream.is_none() {
            self.start().await?;
        }
        let stream = self.stream.as_mut().unwrap();
        let batch = tokio::time::timeout(SOON, stream.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("no batch comes"))?;
        let last = batch.changes.last().map(|change| &change.position);
        assert!(
            last.is_none_or(|last| *last <= batch.end),
            "a batch ends after its changes"
        );
        let after = self.resume.after.as_ref();
        let first = batch
            .changes
            .first()
            .map_or(&batch.end, |change| &change.position);
        assert!(
            after.is_none_or(|after| after < first || after == &batch.end),
            "{after:?} {first:?}"
        );
        assert!(batch.changes.is_sorted_by(|a, b| a.position < b.position));
        let untold = stream.untold().to_vec();
        self.before = (self.resume.clone(), batch.changes.len());
        self.resume.after = Some(batch.end.clone());
        self.resume.server = stream.server();
        stream.acknowledge(&batch.end).await?;
        self.note(&untold);
        self.told.extend(batch.changes.clone());
        Ok(batch.changes)
    }

    /// All that was committed and captured by now; a stream that ends is opened again.
    pub async fn catch_up(&mut self) -> Result<Vec<RowChange>, SourceError> {
        let from = self.told.len();
        for _ in 0..20 {
            match self.try_catch_up().await {
                Ok(()) => return Ok(self.told[from..].to_vec()),
                Err(SourceError::Disconnected(_)) => self.stream = None,
                Err(error) => return Err(error),
            }
        }
        panic!("the stream ends again and again");
    }

    /// The same, until the stream ends.
    pub async fn try_catch_up(&mut self) -> Result<(), SourceError> {
        if self.stream.is_none() {
            self.start().await?;
        }
        let mark = self.mark().await?;
        while self
            .resume
            .after
            .as_ref()
            .is_none_or(|at| at.seq != 0 || *at < mark)
        {
            self.batch().await?;
        }
        Ok(())
    }

    /// Behind which all is told that is there now.
    async fn mark(&self) -> Result<Position, SourceError> {
        let mut reader = self.source.snapshot(1).await?;
        let limits = ChunkLimits {
            rows_max: 1,
            bytes_max: 1,
        };
        Ok(reader.chunk(&self.table, None, limits).await?.mark)
    }

    /// How far behind a look beside the stream finds us.
    pub async fn behind(&self) -> Option<Behind> {
        self.source.look().await.unwrap().unwrap().behind
    }

    /// What was said of a table.
    pub fn said(&self, table: &str) -> Vec<String> {
        let ours = self.untold.iter().filter(|one| one.table.name == table);
        ours.map(|one| one.what.clone()).collect()
    }

    pub fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for change in &self.told {
            rows.apply(change);
        }
        rows
    }
}

/// The rows of tables by their keys, as whoever was told of them holds them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rows(pub BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>);

impl Rows {
    pub fn apply(&mut self, change: &RowChange) {
        let table = self.0.entry(change.table().to_string()).or_default();
        let key = change.key().unwrap().as_str().to_owned();
        let mut known = BTreeMap::new();
        if let Some(old) = change.old_key() {
            known = table.remove(old.as_str()).unwrap_or_default();
        }
        if change.op == Op::Delete {
            table.remove(&key);
            return;
        }
        let row = table.entry(key).or_insert(known);
        for (name, value) in change
            .shape
            .columns
            .iter()
            .zip(change.after.as_ref().unwrap())
        {
            match value {
                contract::Value::Unchanged => {}
                value => {
                    row.insert(name.clone(), value.text().unwrap_or("NULL".to_owned()));
                }
            }
        }
    }

    pub fn of(&self, table: &str) -> Vec<BTreeMap<String, String>> {
        let table = self.0.get(&format!("dbo.{table}"));
        table
            .map(|rows| rows.values().cloned().collect())
            .unwrap_or_default()
    }
}

/// What the database has, in the same form.
pub fn truth(database: &Database, table: &str) -> Vec<BTreeMap<String, String>> {
    let shown = |value: Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BigInt(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Bytes(bytes) => contract::value::hex(&bytes),
        Value::Guid(guid) => contract::value::uuid_text(&guid),
        other => panic!("{other:?}"),
    };
    let mut rows: Vec<BTreeMap<String, String>> = Vec::new();
    for row in database.rows(table).unwrap() {
        rows.push(
            row.into_iter()
                .map(|(name, value)| (name, shown(value)))
                .collect(),
        );
    }
    rows.sort_by_key(|row| row.get("id").cloned());
    rows
}

/// What happened, by operation and key.
pub fn ops(changes: &[RowChange]) -> Vec<String> {
    let shown = |change: &RowChange| {
        let key = change
            .key()
            .map_or("?".to_owned(), |key| key.as_str().to_owned());
        format!("{} {} {key}", change.op.name(), change.table().name)
    };
    changes.iter().map(shown).collect()
}
