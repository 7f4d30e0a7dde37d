//! Loop 1: source to outbox.
//!
//! A session opens the stream at the checkpoint and repeats: take a batch, map it, store events
//! and checkpoint in one transaction, and only then acknowledge. Snapshot chunks join in when the
//! stream has reached their mark; rows that a newer streamed change has overtaken are left out.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use contract::{
    ChangeBatch, ChangeStream, Clock, EventKind, EventOp, Op, Origin, Position, RowChange, RowKey,
    SourceError, TableName,
};
use jiff::Timestamp;
use mappings::relate::Relations;
use mappings::{MapContext, Mapper};
use state::{CaptureCommit, ChunkDone, GuardEntry, Item, RelationStore, SourceState, StoreError};

use crate::ask::{Answered, Asker};
use crate::related::{self, Done, ReadRow, Standing, Work};
use crate::replicas::StoredReplicas;
use crate::rules::{Rules, Search};
use crate::snapshot::{self, Chunk, Pending, Reading};
use crate::translate::{Translated, Translator};
use crate::{Common, SourcePlan, SourceSetup, stopped};

/// The guard's key for "the whole table was emptied". A single backslash before a letter cannot
/// come from [`RowKey`], which doubles them.
const WHOLE_TABLE: &str = "\\T";
/// Batches without changes move the checkpoint at most this often.
const QUIET_COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Between two tries when a person must act.
const DENIED_WAIT: Duration = Duration::from_secs(30);
/// Between two tries to write to a full disk.
const FULL_WAIT: Duration = Duration::from_secs(5);

enum Ended {
    Stop,
    Reload,
}

enum Failed {
    Source(SourceError),
    Store(StoreError),
    /// Told to stop between two commits of one work; the state file says where to go on.
    Stopped,
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Runs one source until told to stop. Source errors are handled here; only store errors end it.
pub(crate) async fn run(common: Arc<Common>, mut plan: SourcePlan) -> Result<(), StoreError> {
    let reconnect = || {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(30))
            .with_jitter()
            .without_max_times()
            .build()
    };
    let mut delays = reconnect();
    let source_id = common.store.source(&plan.name).await?.id;
    loop {
        let setup = plan.setup.borrow_and_update().clone();
        let mut moved = false;
        let ended = session(&common, &mut plan, setup, &mut moved).await;
        if moved {
            delays = reconnect();
        }
        let error = match ended {
            Ok(Ended::Stop) | Err(Failed::Stopped) => return Ok(()),
            Ok(Ended::Reload) => {
                tracing::info!(source = plan.name, "mappings reloaded");
                continue;
            }
            Err(Failed::Store(error)) => return Err(error),
            Err(Failed::Source(error)) => error,
        };
        let problem = match error.hint() {
            Some(hint) => format!("{error}; to mend it: {hint}"),
            None => error.to_string(),
        };
        match common.store.set_problem(source_id, Some(problem)).await {
            Ok(()) | Err(StoreError::Full) => {}
            Err(error) => return Err(error),
        }
        let wait = match &error {
            SourceError::Disconnected(_) => {
                let wait = delays.next().unwrap_or(DENIED_WAIT);
                tracing::warn!(source = plan.name, stage = "capture", error = %error,
                    retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "source is disconnected, connecting again");
                Some(wait)
            }
            SourceError::Denied { hint, .. } | SourceError::SchemaChanged { hint, .. } => {
                tracing::error!(source = plan.name, stage = "capture", error = %error, hint,
                    "source waits for a person");
                Some(DENIED_WAIT)
            }
            SourceError::PositionLost { hint, .. } => {
                tracing::error!(source = plan.name, stage = "capture", error = %error, hint,
                    "source stopped: its log no longer reaches back to our position");
                None
            }
            SourceError::Malformed(_) => {
                tracing::error!(source = plan.name, stage = "capture", error = %error,
                    "source stopped: its log holds something this agent does not understand");
                None
            }
        };
        let mut stop = common.stop.clone();
        let pause = async {
            match wait {
                Some(wait) => common.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            // A reload may be what mends it; when nobody can reload, only the wait counts.
            Ok(()) = plan.setup.changed() => {}
            () = pause => {}
        }
    }
}

struct Session<'a> {
    common: &'a Common,
    name: &'a str,
    source_id: i64,
    translator: Translator,
    /// Tables whose snapshot is not done: their streamed changes are remembered in the guard.
    guarded: Vec<TableName>,
    /// Of these, those that are read from their first row again when they are done.
    once_more: Vec<TableName>,
    /// Which rules tell the rows that are read, and which keys may be told by none any more.
    rules: Rules,
    /// Where the stream stands, stored or not.
    reached: Option<Position>,
    quiet_commit_at: Timestamp,
    /// Rules that need rows of several tables, where there are any.
    related: Option<Standing>,
}

async fn session(
    common: &Common,
    plan: &mut SourcePlan,
    setup: SourceSetup,
    moved: &mut bool,
) -> Result<Ended, Failed> {
    let state = common.store.source(&plan.name).await?;
    let mut stream = {
        let mut stop = common.stop.clone();
        tokio::select! {
            stream = setup.source.stream(state.epoch, state.checkpoint.as_ref()) => stream?,
            () = stopped(&mut stop) => return Ok(Ended::Stop),
        }
    };
    common.store.set_problem(state.id, None).await?;
    let tables: Vec<TableName> = setup
        .mapping
        .tables()
        .into_iter()
        .map(|captured| captured.table)
        .collect();
    // Before the snapshots' progress is read: a rule that is new or changed wants its table read
    // again, and so does a replica that grew.
    let checkpoint = state.checkpoint.as_ref();
    let rules = Rules::open(&common.store, state.id, &setup.mapping, checkpoint).await?;
    let related = open_relations(common, &setup, &state, rules.quiet()).await?;
    let names = tables.iter().map(ToString::to_string).collect();
    let progress = common.store.snapshots(state.id, state.epoch, names).await?;
    let read = tables.iter().zip(&progress);
    let once_more = read
        .filter(|(_, progress)| progress.once_more)
        .map(|(table, _)| table.clone());
    let once_more = once_more.collect();
    let pending: Vec<Pending> = tables
        .iter()
        .zip(progress)
        .filter(|(_, progress)| !progress.done)
        .map(|(table, progress)| Pending {
            table: table.clone(),
            cursor: progress.cursor,
            once_more: progress.once_more,
        })
        .collect();
    tracing::info!(
        source = plan.name,
        position = state.checkpoint.as_ref().map(tracing::field::display),
        epoch = state.epoch,
        snapshot_tables = pending.len(),
        "capture started"
    );
    let mut session = Session {
        common,
        name: &plan.name,
        source_id: state.id,
        translator: Translator {
            mapper: Mapper::new(Arc::clone(&setup.mapping)),
            tenant: Arc::clone(&common.tenant),
            source: Arc::from(plan.name.as_str()),
            source_id: state.id,
        },
        guarded: pending
            .iter()
            .map(|pending| pending.table.clone())
            .collect(),
        once_more,
        rules,
        reached: state.checkpoint,
        quiet_commit_at: Timestamp::MIN,
        related,
    };
    let related = session.related.as_ref();
    let mut asker = related
        .filter(|standing| standing.relations.ask())
        .map(|_| Asker::new(Arc::clone(&setup.source), setup.reads_per_second));
    let mut reading: Option<Reading> = (!pending.is_empty()).then(|| {
        let (source, clock) = (Arc::clone(&setup.source), Arc::clone(&common.clock));
        snapshot::start(source, clock, state.epoch, pending, plan.name.clone())
    });
    // What was marked before a restart is worked out before anything new.
    session.settle().await?;
    let mut waiting: Option<Chunk> = None;
    let mut stop = common.stop.clone();
    loop {
        if let Some(chunk) = waiting.take_if(|chunk| session.has_reached(&chunk.chunk.mark)) {
            session.chunk(chunk).await?;
            want(&mut asker);
            *moved = true;
        }
        if session.guarded.is_empty() && reading.take().is_some() {
            tracing::info!(source = session.name, "snapshot done");
        }
        session.end_untold().await?;
        session.ask(asker.as_mut()).await?;
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(Ended::Stop),
            Ok(()) = plan.setup.changed() => {
                plan.setup.mark_changed();
                return Ok(Ended::Reload);
            }
            batch = stream.next() => {
                session.batch(&mut *stream, batch?).await?;
                want(&mut asker);
                *moved = true;
            }
            Some(chunk) = next_chunk(reading.as_mut()), if waiting.is_none() => {
                waiting = Some(chunk);
            }
            () = session.next_due() => session.settle().await?,
            () = session.rules.next_look(&*common.clock) => {}
            answered = next_answer(asker.as_mut(), &*common.clock) => {
                if let (Some(answered), Some(asker)) = (answered, asker.as_mut()) {
                    session.answered(asker, answered).await?;
                    *moved = true;
                }
            }
        }
    }
}

async fn next_chunk(reading: Option<&mut Reading>) -> Option<Chunk> {
    match reading {
        Some(reading) => reading.chunks.recv().await,
        None => std::future::pending().await,
    }
}

/// Questions may have come up.
fn want(asker: &mut Option<Asker>) {
    if let Some(asker) = asker {
        asker.wanted = true;
    }
}

/// What the database answered; nothing when it is time to ask.
async fn next_answer(asker: Option<&mut Asker>, clock: &dyn Clock) -> Option<Answered> {
    match asker {
        None => std::future::pending().await,
        Some(asker) => match asker.due() {
            Some(due) => {
                clock.sleep(contract::clock::until(clock.now(), due)).await;
                None
            }
            None => Some(asker.answered().await),
        },
    }
}

impl Session<'_> {
    /// Whether the stream stands at or after a mark, at a transaction border.
    fn has_reached(&self, mark: &Position) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|reached| reached.seq == 0 && reached >= mark)
    }

    async fn batch(
        &mut self,
        stream: &mut dyn ChangeStream,
        batch: ChangeBatch,
    ) -> Result<(), Failed> {
        let now = self.common.clock.now();
        self.reached = Some(batch.end.clone());
        if batch.changes.is_empty() {
            let due = contract::clock::after(self.quiet_commit_at, QUIET_COMMIT_EVERY);
            let open = self
                .related
                .as_ref()
                .is_some_and(|related| related.inside.is_some());
            if now < due && now >= self.quiet_commit_at && !open {
                return Ok(());
            }
        }
        self.quiet_commit_at = now;
        let mut translated = Translated::default();
        let mut guard = Vec::new();
        for (n, change) in batch.changes.iter().enumerate() {
            translated.change = n;
            translated.unread = self.guarded.contains(change.table());
            self.translator
                .change(
                    &self.common.store,
                    change,
                    Origin::Live,
                    now,
                    &|_| true,
                    &mut translated,
                )
                .await?;
            self.remember(change, &mut guard);
        }
        let changes = batch.changes.len() as u64;
        let committed_at = batch
            .changes
            .iter()
            .filter_map(|change| change.committed_at);
        let commit = CaptureCommit {
            routes: Arc::clone(&self.common.routes),
            committed_at: committed_at.max(),
            guard,
            filtered: translated.filtered,
            ..CaptureCommit::default()
        };
        if self.related.is_some() {
            let end = Some(batch.end.clone());
            self.relate(batch.changes, translated.items, end, commit, now)
                .await?;
        } else {
            let commit = CaptureCommit {
                items: translated.items.into_iter().map(|(_, item)| item).collect(),
                checkpoint: Some(batch.end.clone()),
                changes,
                ..commit
            };
            self.commit(commit, now).await?;
        }
        // I1: only now may the source forget.
        stream.acknowledge(&batch.end).await?;
        Ok(())
    }

    fn remember(&self, change: &RowChange, guard: &mut Vec<GuardEntry>) {
        if !self.guarded.contains(change.table()) {
            return;
        }
        let keys = match change.op {
            Op::Truncate => vec![WHOLE_TABLE.to_owned()],
            Op::Insert | Op::Update | Op::Delete | Op::Read => [change.key(), change.old_key()]
                .into_iter()
                .flatten()
                .map(|key| key.as_str().to_owned())
                .collect(),
        };
        guard.extend(keys.into_iter().map(|row_key| GuardEntry {
            table: change.table().to_string(),
            row_key,
            position: change.position.clone(),
            transaction: change.transaction,
        }));
    }

    async fn chunk(&mut self, read: Chunk) -> Result<(), Failed> {
        let now = self.common.clock.now();
        let Chunk { table, chunk } = read;
        let keys = chunk
            .rows
            .iter()
            .map(|row| row.key().as_ref().map_or("", RowKey::as_str).to_owned())
            .chain([WHOLE_TABLE.to_owned()])
            .collect();
        let mut guard = self
            .common
            .store
            .guard(self.source_id, table.to_string(), keys)
            .await?;
        let whole = guard.pop().flatten();
        let reflected = |seen: &Option<(Position, u64)>| {
            seen.as_ref().is_none_or(|(position, transaction)| {
                chunk.sees.reflects(&chunk.mark, position, *transaction)
            })
        };
        let mut translated = Translated::default();
        let fresh = reflected(&whole);
        let mut replicated = Vec::new();
        let (rules, related) = (&self.rules, self.related.as_ref());
        let keeps = related.is_some_and(|related| related.relations.has(&table));
        let tells = rules.is_read_for_any(&table);
        for (row, seen) in chunk.rows.iter().zip(&guard) {
            let fresh = fresh && reflected(seen);
            if keeps {
                replicated.push(ReadRow {
                    row: row.clone(),
                    fresh,
                    streamed: seen.as_ref().is_some_and(|(change, _)| {
                        related.is_some_and(|related| {
                            related
                                .quiet
                                .iter()
                                .any(|(rule, _)| rules.saw(rule, change))
                        })
                    }),
                });
            }
            if !fresh || !tells {
                continue;
            }
            let from = translated.items.len();
            self.translator
                .change(
                    &self.common.store,
                    row,
                    Origin::Snapshot,
                    now,
                    &|rule| rules.is_read(rule),
                    &mut translated,
                )
                .await?;
            if let Some((change, _)) = seen {
                // The stream has told this row's facts already. A state told again is suppressed
                // as unchanged, but a fact would stand in the outbox twice.
                let kept: Vec<(usize, Item)> = translated
                    .items
                    .drain(from..)
                    .filter(|(_, item)| !told_live(rules, item, change))
                    .collect();
                translated.items.extend(kept);
            }
        }
        // A row that one rule leaves out and another takes up passes from one to the other.
        let (mut items, ends): (Vec<Item>, Vec<Item>) = translated
            .items
            .into_iter()
            .map(|(_, item)| item)
            .partition(|item| !is_end(item));
        items.extend(ends);
        let done = chunk.next.is_none();
        let commit = CaptureCommit {
            items,
            routes: Arc::clone(&self.common.routes),
            chunk: Some(ChunkDone {
                table: table.to_string(),
                next: chunk.next,
                rows: chunk.rows.len() as u64,
            }),
            filtered: translated.filtered,
            ..CaptureCommit::default()
        };
        match self.related.clone() {
            Some(standing) => {
                let (rows, mark) = (Arc::new(replicated), chunk.mark.clone());
                let read = table.clone();
                let standing = self
                    .commit_work(now, move |store| {
                        let whole = done.then_some((&read, &mark));
                        let standing = standing.clone();
                        let standing = related::chunk(store, standing, &rows, whole, now)?;
                        Ok((commit.clone(), standing))
                    })
                    .await?;
                self.related = Some(standing);
            }
            None => self.commit(commit, now).await?,
        }
        if done {
            let once_more = self.once_more.iter().position(|again| *again == table);
            match once_more {
                Some(at) => drop(self.once_more.remove(at)),
                None => self.guarded.retain(|guarded| *guarded != table),
            }
            self.rules
                .table_read(&self.common.store, self.source_id)
                .await?;
            tracing::info!(source = self.name, table = %table, "snapshot of the table is done");
        }
        self.settle().await
    }

    /// Works out what is marked, where nothing of an open transaction is.
    async fn settle(&mut self) -> Result<(), Failed> {
        let idle = |related: &Standing| related.stored && related.inside.is_none();
        if !self.related.as_ref().is_some_and(idle) {
            return Ok(());
        }
        let now = self.common.clock.now();
        let commit = CaptureCommit {
            routes: Arc::clone(&self.common.routes),
            ..CaptureCommit::default()
        };
        self.relate(Vec::new(), Vec::new(), None, commit, now).await
    }

    /// Ends keys that no row tells any more, where rules were told anew.
    async fn end_untold(&mut self) -> Result<(), Failed> {
        let now = self.common.clock.now();
        // Not within a transaction: what one of its changes ended, another may tell.
        let border = self.reached.clone().filter(|reached| reached.seq == 0);
        let Some(at) = border.filter(|_| self.rules.is_due(now)) else {
            return Ok(());
        };
        let context = MapContext {
            tenant: Arc::clone(&self.translator.tenant),
            source: Arc::clone(&self.translator.source),
            read_at: now,
            origin: Origin::Snapshot,
        };
        let unread: Arc<[TableName]> = Arc::from(self.guarded.as_slice());
        let (searching, standing) = (self.rules.searching(), self.related.clone());
        let mut search = Some(Search::default());
        while let Some(from) = search.take() {
            self.unless_stopped()?;
            let routes = Arc::clone(&self.common.routes);
            let (searching, standing) = (searching.clone(), standing.clone());
            let (unread, at, context) = (Arc::clone(&unread), at.clone(), context.clone());
            search = self
                .commit_work(now, move |store| {
                    let from = from.clone();
                    let (commit, next) =
                        searching.step(store, standing.as_ref(), &unread, &at, &context, from)?;
                    let routes = Arc::clone(&routes);
                    Ok((CaptureCommit { routes, ..commit }, next))
                })
                .await?;
        }
        self.rules
            .searched(&self.common.store, self.source_id, now)
            .await?;
        Ok(())
    }

    /// Asks what waits in the store, where it is time.
    async fn ask(&mut self, asker: Option<&mut Asker>) -> Result<(), Failed> {
        let (Some(asker), Some(standing)) = (asker, self.related.as_ref()) else {
            return Ok(());
        };
        let now = self.common.clock.now();
        if asker.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let (relations, limit) = (Arc::clone(&standing.relations), asker.together());
        let (turn, unread) = (asker.turn.clone(), self.guarded.clone());
        let (questions, stored) = self
            .commit_work(now, move |store| {
                let found = related::questions(store, &relations, &turn, &unread, limit)?;
                Ok((CaptureCommit::default(), (found, store.has_marks()?)))
            })
            .await?;
        if let Some(questions) = questions {
            asker.ask(questions, now);
            return Ok(());
        }
        asker.wanted = false;
        // What nobody asks for any more may have been marked on the way.
        if let Some(related) = &mut self.related {
            related.stored = stored;
        }
        self.settle().await
    }

    /// Stores what the database answered.
    async fn answered(&mut self, asker: &mut Asker, answered: Answered) -> Result<(), Failed> {
        let Some(standing) = self.related.clone() else {
            return Ok(());
        };
        let now = self.common.clock.now();
        let (routes, taken) = (Arc::clone(&self.common.routes), answered.clone());
        let standing = self
            .commit_work(now, move |store| {
                let (items, standing) = related::answered(store, standing.clone(), &taken)?;
                let commit = CaptureCommit {
                    items,
                    routes: Arc::clone(&routes),
                    ..CaptureCommit::default()
                };
                Ok((commit, standing))
            })
            .await?;
        self.related = Some(standing);
        let failed = asker.failed();
        asker.note(&answered, now);
        if asker.failed() != failed {
            let said = answered.problem.as_ref().map(|error| match error.hint() {
                Some(hint) => format!("{error}; to mend it: {hint}"),
                None => error.to_string(),
            });
            self.common.store.set_problem(self.source_id, said).await?;
        }
        if let Some(error) = &answered.problem {
            let hint = error.hint().unwrap_or("it is asked again");
            tracing::warn!(source = self.name, stage = "read", error = %error, hint,
                rule = answered.questions.name, "the database does not answer");
        }
        self.settle().await
    }

    /// Waits until something that waits for its time is due.
    async fn next_due(&self) {
        let standing = self
            .related
            .as_ref()
            .filter(|related| related.inside.is_none());
        match standing.and_then(|related| related.due) {
            Some(due) => {
                let wait = contract::clock::until(self.common.clock.now(), due);
                self.common.clock.sleep(wait).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Stores changes with rules that need rows of several tables, in as many commits as it takes.
    async fn relate(
        &mut self,
        changes: Vec<RowChange>,
        items: Vec<(usize, Item)>,
        end: Option<Position>,
        mut commit: CaptureCommit,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let work = Work {
            changes: Arc::new(changes),
            items: Arc::new(items),
            end,
            unread: Arc::from(self.guarded.as_slice()),
            clock: Arc::clone(&self.common.clock),
            context: MapContext {
                tenant: Arc::clone(&self.translator.tenant),
                source: Arc::clone(&self.translator.source),
                read_at: now,
                origin: Origin::Live,
            },
        };
        let mut from = 0;
        while let Some(standing) = self.related.clone() {
            self.unless_stopped()?;
            let (work_now, commit_now) = (work.clone(), commit.clone());
            let done: Done = self
                .commit_work(now, move |store| {
                    let standing = standing.clone();
                    related::step(store, standing, &work_now, from, commit_now.clone())
                })
                .await?;
            from = done.next;
            let finished = !done.more && from == work.changes.len();
            self.related = Some(done.standing);
            if finished {
                break;
            }
            // Counted and guarded once.
            commit.guard = Vec::new();
            commit.filtered = 0;
        }
        Ok(())
    }

    /// Between two commits of one work: whoever stops the agent does not wait for all of it.
    fn unless_stopped(&self) -> Result<(), Failed> {
        if *self.common.stop.borrow() {
            return Err(Failed::Stopped);
        }
        Ok(())
    }

    /// Stores a commit.
    async fn commit(&self, commit: CaptureCommit, now: Timestamp) -> Result<(), Failed> {
        self.commit_work(now, move |_| Ok((commit.clone(), ())))
            .await
    }

    /// Stores what `work` says, waiting out a full disk: the batch stays here and
    /// unacknowledged, and `work` is asked again.
    async fn commit_work<T: Send + 'static>(
        &self,
        now: Timestamp,
        work: impl Fn(&mut RelationStore<'_>) -> Result<(CaptureCommit, T), StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<T, Failed> {
        loop {
            let stored = self
                .common
                .store
                .commit_related(self.source_id, now, work.clone());
            let (report, answer) = match stored.await {
                Ok(stored) => stored,
                Err(error @ StoreError::Full) => {
                    tracing::error!(source = self.name, stage = "commit", error = %error,
                        hint = error.hint(), "capture waits for disk space");
                    if self.common.sleep(FULL_WAIT).await {
                        return Err(Failed::Store(error));
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if report.held > 0 {
                tracing::warn!(
                    source = self.name,
                    stage = "map",
                    held = report.held,
                    hint = "lighterman status",
                    "changes are held for a person"
                );
            }
            if report.events > 0 {
                for wake in &self.common.stored {
                    wake.notify_one();
                }
            }
            return Ok(answer);
        }
    }
}

/// Whether an item is a fact that its rule told when the change behind it came by.
fn told_live(rules: &Rules, item: &Item, change: &Position) -> bool {
    match item {
        Item::Event(told) if told.event.kind() == EventKind::Fact => {
            rules.saw(&told.event.envelope.mapping.rule, change)
        }
        Item::Event(_)
        | Item::Rewritten(_)
        | Item::Held(_)
        | Item::Settled { .. }
        | Item::Truncated(_) => false,
    }
}

fn is_end(item: &Item) -> bool {
    matches!(item, Item::Event(told) if told.event.envelope.op == EventOp::Delete)
}

/// The relations of a source's rules, as the store remembers them.
async fn open_relations(
    common: &Common,
    setup: &SourceSetup,
    state: &SourceState,
    quiet: Arc<[(String, TableName)]>,
) -> Result<Option<Standing>, Failed> {
    let (mapping, checkpoint) = (Arc::clone(&setup.mapping), state.checkpoint.clone());
    let now = common.clock.now();
    let of_rows = Arc::clone(&quiet);
    let (_, (relations, stored)) = common
        .store
        .commit_related(state.id, now, move |store| {
            let mut new = Vec::new();
            for (rule, _) in of_rows.iter() {
                if !store.remembers(rule)? {
                    new.push(rule);
                }
            }
            let mut replicas = StoredReplicas(store);
            let (relations, to_read) =
                Relations::open(&mapping, checkpoint.as_ref(), &mut replicas)?;
            for rule in new {
                relations.all_told_before(rule, &mut replicas)?;
            }
            let tables: Vec<String> = to_read.iter().map(ToString::to_string).collect();
            store.read_again(&tables)?;
            Ok((CaptureCommit::default(), (relations, store.has_marks()?)))
        })
        .await?;
    if relations.is_empty() {
        return Ok(None);
    }
    let checkpoint = state.checkpoint.as_ref();
    Ok(Some(Standing {
        relations: Arc::new(relations),
        stored,
        // A checkpoint inside a transaction: the rest of it may still come.
        inside: checkpoint.filter(|at| at.seq > 0).map(|at| at.pos.clone()),
        due: None,
        quiet,
    }))
}
