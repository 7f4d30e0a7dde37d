//! Reading the change log: one thread per stream, woken by file events, with a poll behind them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    CapturedTable, ChangeBatch, ChangeStream, LogPos, Op, Position, Proof, Row, RowChange,
    SourceError, TableShape,
};
use notify::{RecursiveMode, Watcher};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::mpsc;

use crate::database::{self, LOG, PREPARE, SHAPES, denied, failed};
use crate::values::{self, Column};

/// A batch's bounds. What one application transaction wrote stays together when it fits.
const CHANGES_MAX: usize = 2_000;
const BYTES_MAX: usize = 1 << 20;
/// Log rows removed per step: the application's writers wait for a step at most.
const TRIM_STEP: u64 = 1_000;
/// Fewer rows than a step are removed at most this often.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Looks after a file event. The event is raised by the write to the `-wal` file, which comes
/// before the commit is visible: one look at once can be too early, and no event follows.
const ECHOES_MS: [u64; 4] = [1, 5, 25, 125];

pub(crate) struct LogStream {
    batches: mpsc::Receiver<Result<ChangeBatch, SourceError>>,
    acknowledged: Arc<AtomicU64>,
    wake: SyncSender<()>,
}

#[async_trait]
impl ChangeStream for LogStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        let closed = || SourceError::Disconnected("the reading thread ended".to_owned());
        self.batches.recv().await.ok_or_else(closed)?
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        if let Some(seq) = upto.pos.number() {
            self.acknowledged.fetch_max(seq, Ordering::Relaxed);
            // Full means it is about to look anyway.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }
}

pub(crate) fn position(epoch: u32, seq: u64) -> Position {
    Position::border(epoch, LogPos::from_number(seq))
}

/// Opens the log and starts the reading thread; blocks for a few statements.
pub(crate) fn open(
    file: &Path,
    tables: Vec<CapturedTable>,
    poll: Duration,
    epoch: u32,
    after: Option<&Position>,
    proof: Proof,
) -> Result<LogStream, SourceError> {
    let db = database::open(file, true)?;
    let at = start(&db, after)?;
    let (sender, batches) = mpsc::channel(1);
    let (wake, woken) = sync_channel(1);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let reader = Reader {
        db,
        tables,
        epoch,
        at,
        trimmed: 0,
        trimmed_at: None,
        acknowledged: Arc::clone(&acknowledged),
        shapes: HashMap::new(),
        proof,
    };
    let (path, file_wake) = (file.to_owned(), wake.clone());
    std::thread::Builder::new()
        .name("sqlite log".to_owned())
        .spawn(move || run(reader, &path, poll, &sender, file_wake, &woken))
        .map_err(|error| SourceError::Disconnected(format!("start the reading thread: {error}")))?;
    Ok(LogStream {
        batches,
        acknowledged,
        wake,
    })
}

/// Where to read on, or why the log does not reach back there.
fn start(db: &Connection, after: Option<&Position>) -> Result<u64, SourceError> {
    let lost = |what: String| SourceError::PositionLost {
        what,
        hint: "lighterman source resync: every table is read again and compared".to_owned(),
    };
    if !database::has_table(db, LOG).map_err(failed)? {
        return Err(match after {
            None => denied("the change log does not exist", PREPARE),
            Some(_) => lost("the change log was dropped".to_owned()),
        });
    }
    let newest = database::newest(db).map_err(failed)?;
    let oldest: Option<i64> = db
        .query_row(&format!("SELECT min(seq) FROM {LOG}"), [], |row| row.get(0))
        .map_err(failed)?;
    let oldest = oldest.map_or(newest + 1, i64::unsigned_abs);
    let Some(after) = after else {
        return Ok(oldest.saturating_sub(1));
    };
    let malformed = || SourceError::Malformed(format!("checkpoint {after} is not of this source"));
    let at = after.pos.number().ok_or_else(malformed)?;
    if at > newest {
        return Err(lost(format!(
            "the change log ends at {newest}, the checkpoint is {at}: the database was replaced by \
             an older copy"
        )));
    }
    if oldest > at + 1 {
        return Err(lost(format!(
            "the change log begins at {oldest}, the checkpoint is {at}: something removed log rows"
        )));
    }
    Ok(at)
}

/// A table's columns as its triggers wrote them.
type Shape = (Arc<TableShape>, Vec<Column>);

struct Reader {
    db: Connection,
    tables: Vec<CapturedTable>,
    epoch: u32,
    at: u64,
    trimmed: u64,
    trimmed_at: Option<Instant>,
    acknowledged: Arc<AtomicU64>,
    shapes: HashMap<(String, i64), Option<Shape>>,
    proof: Proof,
}

fn run(
    mut reader: Reader,
    file: &Path,
    poll: Duration,
    sender: &mpsc::Sender<Result<ChangeBatch, SourceError>>,
    wake: SyncSender<()>,
    woken: &Receiver<()>,
) {
    let _watcher = watch(file, wake);
    let mut first = true;
    let mut echoes = ECHOES_MS.into_iter();
    loop {
        let batch = match reader.batch() {
            Ok(batch) => batch,
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        let idle = batch.changes.is_empty();
        if (!idle || first) && sender.blocking_send(Ok(batch)).is_err() {
            return;
        }
        first = false;
        if !idle {
            reader.trim(false);
            continue;
        }
        reader.trim(true);
        if let Err(error) = reader.schema() {
            let _ = sender.blocking_send(Err(error));
            return;
        }
        reader.proof.note();
        let echo = echoes.next().map(Duration::from_millis);
        match woken.recv_timeout(echo.unwrap_or(poll).min(poll)) {
            Ok(()) => echoes = ECHOES_MS.into_iter(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if sender.is_closed() {
            return;
        }
    }
}

/// Watches the folder: the `-wal` file and the database come and go. Where file events do not
/// work (network shares) the poll serves.
fn watch(file: &Path, wake: SyncSender<()>) -> Option<notify::RecommendedWatcher> {
    let name = file.file_name()?.to_os_string();
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let ours = move |path: &PathBuf| {
        let changed = path.file_name().map(|n| n.to_string_lossy().into_owned());
        changed.is_some_and(|changed| {
            let name = name.to_string_lossy();
            changed.starts_with(&*name) && !changed.ends_with("-shm")
        })
    };
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(&ours)) {
            let _ = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(handler).ok()?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

type LogRow = (
    i64,
    String,
    i64,
    String,
    Option<String>,
    Option<String>,
    String,
);

/// A row's JSON, as JSON also where texts in it are not UTF-8.
fn cells_of(json: ValueRef<'_>) -> Option<String> {
    match json {
        ValueRef::Text(bytes) => Some(values::marked(bytes, "\\u0000")),
        _ => None,
    }
}

impl Reader {
    fn batch(&mut self) -> Result<ChangeBatch, SourceError> {
        let sql = format!(
            "SELECT seq, tab, shape, op, old, new, at FROM {LOG} WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let at = i64::try_from(self.at).unwrap_or(i64::MAX);
        let mut rows: Vec<LogRow> = Vec::new();
        {
            let mut query = self.db.prepare_cached(&sql).map_err(failed)?;
            let limit = i64::try_from(CHANGES_MAX).unwrap_or(i64::MAX);
            let mut found = query.query(params![at, limit]).map_err(failed)?;
            let mut bytes = 0;
            while let Some(row) = found.next().map_err(failed)? {
                let read = || -> rusqlite::Result<LogRow> {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        cells_of(row.get_ref(4)?),
                        cells_of(row.get_ref(5)?),
                        row.get(6)?,
                    ))
                };
                let read = read().map_err(failed)?;
                bytes +=
                    read.4.as_ref().map_or(0, String::len) + read.5.as_ref().map_or(0, String::len);
                rows.push(read);
                if bytes > BYTES_MAX {
                    break;
                }
            }
        }
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            self.at = row.0.unsigned_abs();
            changes.extend(self.change(row)?);
        }
        Ok(ChangeBatch {
            changes,
            end: position(self.epoch, self.at),
        })
    }

    fn change(&mut self, row: LogRow) -> Result<Option<RowChange>, SourceError> {
        let (seq, table, version, op, old, new, at) = row;
        let Some((shape, columns)) = self.shape(&table, version)? else {
            return Ok(None);
        };
        let malformed =
            || SourceError::Malformed(format!("log row {seq} of table {table} is damaged"));
        let cells = |json: Option<String>| -> Result<Option<Row>, SourceError> {
            let Some(json) = json else { return Ok(None) };
            let quoted: Vec<String> = serde_json::from_str(&json).map_err(|_| malformed())?;
            if quoted.len() != columns.len() {
                return Err(malformed());
            }
            let row = quoted.iter().zip(&columns);
            let row: Option<Row> = row.map(|(q, c)| values::read(q, &c.declared)).collect();
            row.map(Some).ok_or_else(malformed)
        };
        let op = match op.as_str() {
            "i" => Op::Insert,
            "u" => Op::Update,
            "d" => Op::Delete,
            _ => return Err(malformed()),
        };
        Ok(Some(RowChange {
            op,
            before: cells(old)?,
            after: cells(new)?,
            position: position(self.epoch, seq.unsigned_abs()),
            committed_at: at.parse().ok(),
            transaction: 0,
            shape,
        }))
    }

    /// The shape a log row was written with; `None` for tables nobody captures any more.
    fn shape(&mut self, table: &str, version: i64) -> Result<Option<Shape>, SourceError> {
        let key = (table.to_owned(), version);
        if let Some(known) = self.shapes.get(&key) {
            return Ok(known.clone());
        }
        let captured = self
            .tables
            .iter()
            .find(|captured| captured.table.name == table);
        let found = match captured {
            None => None,
            Some(captured) => {
                let json: Option<String> = self
                    .db
                    .query_row(
                        &format!("SELECT columns FROM {SHAPES} WHERE tab = ?1 AND version = ?2"),
                        params![table, version],
                        |row| row.get(0),
                    )
                    .optional()
                    .map_err(failed)?;
                let columns = json
                    .as_deref()
                    .and_then(database::parse_columns)
                    .ok_or_else(|| {
                        SourceError::Malformed(format!(
                            "shape {version} of table {table} is unknown"
                        ))
                    })?;
                Some((database::shape(&self.db, captured, &columns)?, columns))
            }
        };
        self.shapes.insert(key, found.clone());
        Ok(found)
    }

    /// Whether triggers still fit the tables; asked when every log row has been delivered.
    fn schema(&self) -> Result<(), SourceError> {
        for captured in &self.tables {
            let name = &captured.table.name;
            let now = database::columns(&self.db, name).map_err(failed)?;
            let prepared = database::prepared_shape(&self.db, name).map_err(failed)?;
            let fits = prepared.is_some_and(|(_, known)| known == now);
            if !fits || !crate::prepare::has_triggers(&self.db, name).map_err(failed)? {
                return Err(SourceError::SchemaChanged {
                    what: format!(
                        "table {name} does not have the columns its triggers were made for"
                    ),
                    hint: PREPARE.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Removes acknowledged log rows in small steps. A locked database only postpones it.
    ///
    /// Every trim is a write beside the application's: one that reads before it writes in a
    /// deferred transaction then gets `SQLITE_BUSY`. So small leftovers wait.
    fn trim(&mut self, idle: bool) {
        let upto = self.acknowledged.load(Ordering::Relaxed);
        let idle = idle && self.trimmed_at.is_none_or(|at| at.elapsed() >= TRIM_EVERY);
        while upto > self.trimmed && (idle || upto - self.trimmed >= TRIM_STEP) {
            let step = upto.min(self.trimmed.max(self.oldest()) + TRIM_STEP);
            let sql = format!("DELETE FROM {LOG} WHERE seq <= ?1");
            let step_number = i64::try_from(step).unwrap_or(i64::MAX);
            if let Err(error) = self.db.execute(&sql, [step_number]) {
                tracing::debug!(error = %error, "trimming the change log is postponed");
                return;
            }
            self.trimmed = step;
            self.trimmed_at = Some(Instant::now());
        }
    }

    fn oldest(&self) -> u64 {
        let sql = format!("SELECT min(seq) FROM {LOG}");
        let oldest: Option<i64> = self
            .db
            .query_row(&sql, [], |row| row.get(0))
            .unwrap_or(None);
        oldest.map_or(self.trimmed, i64::unsigned_abs)
    }
}
