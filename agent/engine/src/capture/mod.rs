//! Loop 1: source to outbox.
//!
//! A session opens the stream at the checkpoint and repeats: take a batch, map it, store events
//! and checkpoint in one transaction, and only then acknowledge. Snapshot chunks join in when the
//! stream has reached their mark; rows that a newer streamed change has overtaken are left out.

mod answers;
mod chunk;
mod untold;
mod work;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use contract::{
    ChangeBatch, ChangeStream, Op, Origin, Position, Resume, RowChange, SourceError, TableName,
};
use jiff::Timestamp;
use mappings::Mapper;
use state::{CaptureCommit, GuardEntry, Resync, SnapshotProgress, StoreError};

use crate::ask::Asker;
use crate::look::{self, Looking};
use crate::observe::SourceMeter;
use crate::related::Standing;
use crate::rules::Rules;
use crate::snapshot::{self, Chunk, Pending, Readers, Reading};
use crate::tap::Tap;
use crate::translate::{Translated, Translator};
use crate::{Common, SourcePlan, SourceSetup, stopped};
use answers::{next_answer, want};
use chunk::next_chunk;
use work::open_relations;

/// The guard's key for "the whole table was emptied". A single backslash before a letter cannot
/// come from [`contract::RowKey`], which doubles them.
const WHOLE_TABLE: &str = "\\T";
/// Batches without changes move the checkpoint at most this often.
const QUIET_COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether a person asks for tables to be read again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two log lines on how far tables are read.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// Between two notes in the state file of when a source's log was last proven to come through.
const CANARY_EVERY: Duration = Duration::from_secs(15);
/// Between two tries when a person must act.
const DENIED_WAIT: Duration = Duration::from_secs(30);
/// Between two tries to write to a full disk.
const FULL_WAIT: Duration = Duration::from_secs(5);

enum Ended {
    Stop,
    Reload,
    /// Tables are read from their first row: a person asked for it, a mapping changed, or the log did
    /// not tell them for a while.
    Again,
    /// The state folder's disk is low: nothing is read until there is room.
    NoRoom,
}

enum Failed {
    Source(SourceError),
    Store(StoreError),
    /// Told to stop between two commits of one work; the state file says where to go on.
    Stopped,
    /// As [`Ended::NoRoom`], between two commits of one work.
    NoRoom,
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
            .with_jitter_seed(common.chance.seed())
            .without_max_times()
            .build()
    };
    let mut delays = reconnect();
    let source_id = common.store.source(&plan.name).await?.id;
    let (watched, setups) = (Arc::clone(&common), plan.setup.clone());
    let meter = common.meters.source(&plan.name);
    let mut looking = look::start(watched, plan.name.clone(), source_id, setups);
    loop {
        if let Some(why) = common.disk_low() {
            if common.wait_for_room(source_id, &why).await? {
                return Ok(());
            }
            continue;
        }
        failpoint::crash!("task.capture");
        let setup = plan.setup.borrow_and_update().clone();
        let mut moved = false;
        let ended = session(&common, &mut plan, &mut looking, setup, &mut moved).await;
        if moved {
            delays = reconnect();
        }
        let error = match ended {
            Ok(Ended::Stop) | Err(Failed::Stopped) => return Ok(()),
            Ok(Ended::Reload) => {
                tracing::info!(
                    code = "mapping.reloaded",
                    source = plan.name,
                    "mappings reloaded"
                );
                continue;
            }
            Ok(Ended::Again | Ended::NoRoom) | Err(Failed::NoRoom) => continue,
            Err(Failed::Store(error @ StoreError::Full)) => {
                tracing::error!(code = "state.disk_full",
                    source = plan.name, stage = "capture", error = %error,
                    hint = error.hint(), "capture waits for disk space");
                if common.sleep(FULL_WAIT).await {
                    return Ok(());
                }
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
                tracing::warn!(code = "capture.disconnected",
                    source = plan.name, stage = "capture", error = %error,
                    retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "source is disconnected, connecting again");
                Some(wait)
            }
            SourceError::Denied { hint, .. } | SourceError::SchemaChanged { hint, .. } => {
                tracing::error!(code = "capture.waits_for_person",
                    source = plan.name, stage = "capture", error = %error, hint,
                    "source waits for a person");
                Some(DENIED_WAIT)
            }
            SourceError::PositionLost { hint, .. } => {
                tracing::error!(code = "capture.position_lost",
                    source = plan.name, stage = "capture", error = %error, hint,
                    "source stopped: its log no longer reaches back to our position");
                // A position that was given up already is not lost by another try.
                let given_up = common.store.source(&plan.name).await?.checkpoint.is_none();
                given_up.then_some(DENIED_WAIT)
            }
            SourceError::Malformed(_) => {
                tracing::error!(code = "capture.malformed",
                    source = plan.name, stage = "capture", error = %error,
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
            biased;
            () = stopped(&mut stop) => return Ok(()),
            () = turning(&common, &meter) => {}
            // A reload may be what mends it; when nobody can reload, only the wait counts.
            Ok(()) = plan.setup.changed() => {}
            () = pause => {}
            asked = resync_asked(&common, &plan.name, source_id) => asked?,
        }
    }
}

/// The loop is not stuck while it waits for its next try; never ends.
async fn turning(common: &Common, meter: &SourceMeter) {
    loop {
        meter.turned();
        common.clock.sleep(LOOK_EVERY).await;
    }
}

/// Waits until a person asks for tables to be read again, and has it done.
async fn resync_asked(common: &Common, name: &str, source_id: i64) -> Result<(), StoreError> {
    loop {
        common.clock.sleep(LOOK_EVERY).await;
        match take_resync(common, name, source_id).await {
            Ok(false) | Err(StoreError::Full) => {}
            Ok(true) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Has done what a person asked for beside the running agent; false where nobody asked.
async fn take_resync(common: &Common, name: &str, source_id: i64) -> Result<bool, StoreError> {
    let asked = common.store.take_resync(source_id).await?;
    for what in &asked {
        match what {
            Resync::All => tracing::info!(
                code = "snapshot.asked",
                source = name,
                stage = "snapshot",
                "every table is read again and compared, as was asked"
            ),
            Resync::Tables(tables) => tracing::info!(
                code = "snapshot.asked",
                source = name,
                stage = "snapshot",
                tables = tables.join(", "),
                "tables are read again and compared, as was asked"
            ),
        }
    }
    Ok(!asked.is_empty())
}

struct Session<'a> {
    common: &'a Common,
    name: &'a str,
    source_id: i64,
    meter: Arc<SourceMeter>,
    translator: Translator,
    /// Tables whose snapshot is not done: their streamed changes are remembered in the guard.
    guarded: Vec<TableName>,
    /// Of these, those that are read from their first row again when they are done.
    once_more: Vec<TableName>,
    /// A table that was read by ranges is to be read from its first row again.
    again: bool,
    /// Tables whose replicas may hold rows that are gone.
    unswept: Vec<TableName>,
    /// Which rules tell the rows that are read, and which keys may be told by none any more.
    rules: Rules,
    /// Where the stream stands, stored or not.
    reached: Option<Position>,
    /// What the server calls itself, until that is stored: with the first checkpoint that it told, for
    /// until then the one that is stored is of whoever told that.
    server: Option<String>,
    quiet_commit_at: Timestamp,
    /// Since when it runs, and whether it has read something of a table.
    opened_at: Timestamp,
    has_read: bool,
    /// When the progress of snapshots is logged next.
    progress_at: Timestamp,
    /// Rules that need rows of several tables, where there are any.
    related: Option<Standing>,
    /// Who is told which rows changed.
    tap: Option<Tap>,
}

async fn session(
    common: &Common,
    plan: &mut SourcePlan,
    looking: &mut Looking,
    setup: SourceSetup,
    moved: &mut bool,
) -> Result<Ended, Failed> {
    let state = common.store.source(&plan.name).await?;
    looking.forget();
    common.meters.source(&plan.name).reopen();
    let mut stream = {
        let mut stop = common.stop.clone();
        let from = Resume {
            epoch: state.epoch,
            after: state.checkpoint.clone(),
            server: state.server.clone(),
            committed_at: state.committed_at,
        };
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(Ended::Stop),
            stream = setup.source.resume(&from) => stream?,
        }
    };
    common.store.set_running(state.id).await?;
    // A log that is quiet from here on tells nothing that would say it.
    if let Some(checkpoint) = state.checkpoint.as_ref().filter(|at| at.seq == 0) {
        common.meters.source(&plan.name).reach(checkpoint.clone());
    }
    let mut untold = Vec::new();
    let now = stream.untold().to_vec();
    untold::note(common, &plan.name, state.id, now, &mut untold, true).await?;
    // The stream is new: what it finds unclear from here on, it says.
    untold::read_marked(common, &plan.name, state.id, common.clock.now()).await?;
    looking.look_now();
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
    let (related, unswept) = open_relations(common, &setup, &state, rules.quiet()).await?;
    let names = tables.iter().map(ToString::to_string).collect();
    let progress = common
        .store
        .snapshots(state.id, state.epoch, names, common.clock.now())
        .await?;
    let read = tables.iter().zip(&progress);
    let once_more = read
        .filter(|(_, progress)| progress.once_more)
        .map(|(table, _)| table.clone());
    let once_more = once_more.collect();
    let unread = tables
        .iter()
        .zip(progress)
        .filter(|(_, progress)| !progress.done);
    let mut guarded = Vec::new();
    let mut pending = Vec::new();
    for (table, progress) in unread {
        guarded.push(table.clone());
        pending.extend(to_read(table, progress));
    }
    tracing::info!(
        code = "capture.started",
        source = plan.name,
        position = state.checkpoint.as_ref().map(tracing::field::display),
        epoch = state.epoch,
        snapshot_tables = guarded.len(),
        "capture started"
    );
    let mut session = Session {
        common,
        name: &plan.name,
        source_id: state.id,
        meter: common.meters.source(&plan.name),
        translator: Translator {
            mapper: Mapper::new(Arc::clone(&setup.mapping)),
            tenant: Arc::clone(&common.tenant),
            source: Arc::from(plan.name.as_str()),
            source_id: state.id,
        },
        guarded,
        once_more,
        again: false,
        unswept: tables
            .iter()
            .filter(|table| unswept.contains(&table.to_string()))
            .cloned()
            .collect(),
        rules,
        reached: state.checkpoint,
        server: stream.server().filter(|_| stream.server() != state.server),
        quiet_commit_at: Timestamp::MIN,
        opened_at: common.clock.now(),
        has_read: false,
        progress_at: contract::clock::after(common.clock.now(), PROGRESS_EVERY),
        related,
        tap: plan.tap.clone(),
    };
    let related = session.related.as_ref();
    let mut asker = related
        .filter(|standing| standing.relations.ask())
        .map(|_| Asker::new(Arc::clone(&setup.source), setup.reads_per_second));
    let mut reading: Option<Reading> = (!pending.is_empty()).then(|| {
        let readers = Readers {
            source: Arc::clone(&setup.source),
            clock: Arc::clone(&common.clock),
            store: Arc::clone(&common.store),
            pace: setup.pace.clone(),
            epoch: state.epoch,
            source_id: state.id,
            source_name: plan.name.clone(),
        };
        snapshot::start(readers, pending)
    });
    // What was marked before a restart is worked out before anything new.
    session.settle().await?;
    let mut waiting: Option<Chunk> = None;
    let mut stop = common.stop.clone();
    let mut look_at = contract::clock::after(common.clock.now(), LOOK_EVERY);
    let mut canary_at = Timestamp::MIN;
    loop {
        let batch = {
            // Waited for until it is there: a source that asks its database for a while, and is
            // asked anew before it has the answer, would never come to one.
            let mut next = stream.next();
            loop {
                let now = common.clock.now();
                session.meter.turned();
                session.meter.proven(setup.source.canary());
                // Also when the wall clock was set back.
                if now >= look_at || contract::clock::until(now, look_at) > LOOK_EVERY {
                    look_at = contract::clock::after(now, LOOK_EVERY);
                    session.note_canary(now, &mut canary_at).await?;
                    match take_resync(common, session.name, session.source_id).await {
                        Ok(false) | Err(StoreError::Full) => {}
                        Ok(true) => return Ok(Ended::Again),
                        Err(error) => return Err(error.into()),
                    }
                    let (name, id) = (session.name, session.source_id);
                    if session.may_begin_anew(now)
                        && untold::read_marked(common, name, id, now).await?
                    {
                        return Ok(Ended::Again);
                    }
                }
                if let Some(chunk) = waiting.take_if(|chunk| session.has_reached(&chunk.chunk.mark))
                {
                    session.chunk(chunk).await?;
                    session.has_read = true;
                    want(&mut asker);
                    *moved = true;
                    if session.again {
                        return Ok(Ended::Again);
                    }
                }
                if session.guarded.is_empty() && reading.take().is_some() {
                    tracing::info!(
                        code = "snapshot.done",
                        source = session.name,
                        "snapshot done"
                    );
                }
                session.sweep().await?;
                session.end_untold().await?;
                session.ask(asker.as_mut()).await?;
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return Ok(Ended::Stop),
                    () = common.disk_becomes_low() => return Ok(Ended::NoRoom),
                    Ok(()) = plan.setup.changed() => {
                        plan.setup.mark_changed();
                        return Ok(Ended::Reload);
                    }
                    error = looking.trouble() => return Err(error.into()),
                    batch = &mut next => break batch?,
                    Some(chunk) = next_chunk(reading.as_mut()), if waiting.is_none() => {
                        waiting = Some(chunk);
                    }
                    () = session.next_due() => session.settle().await?,
                    // Elsewhere nothing would come of it, and what is due already would keep the
                    // stream from ever coming to a batch.
                    () = session.rules.next_look(&*common.clock), if session.at_border() => {}
                    () = common.clock.sleep(contract::clock::until(now, look_at)) => {}
                    answered = next_answer(asker.as_mut(), &*common.clock) => {
                        if let (Some(answered), Some(asker)) = (answered, asker.as_mut()) {
                            session.answered(asker, answered).await?;
                            *moved = true;
                        }
                    }
                }
            }
        };
        // First, so that a crash behind the batch forgets nothing of it.
        let now = stream.untold().to_vec();
        let (name, id) = (session.name, session.source_id);
        let marked = untold::note(common, name, id, now, &mut untold, false).await?;
        session.batch(&mut *stream, batch).await?;
        if marked {
            look_at = common.clock.now();
        }
        want(&mut asker);
        *moved = true;
    }
}

/// What is still to be read of a table: all of it from somewhere on, or some of its ranges.
fn to_read(table: &TableName, progress: SnapshotProgress) -> Vec<Pending> {
    if progress.ranges.is_empty() {
        return vec![Pending {
            table: table.clone(),
            range: None,
            cursor: progress.cursor,
            once_more: progress.once_more,
        }];
    }
    let ranges = progress.ranges.into_iter();
    let pending = ranges.map(|(range, cursor)| Pending {
        table: table.clone(),
        range: Some(range),
        cursor: Some(cursor),
        once_more: false,
    });
    pending.collect()
}

impl Session<'_> {
    /// Whether the stream stands at a transaction border.
    fn at_border(&self) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|reached| reached.seq == 0)
    }

    /// Where the stream stands, when that is a border: all up to it is stored, also where nothing was told
    /// of it. A chunk is stored with it, because its mark may lie behind the checkpoint: some sources
    /// count their positions on from there when they are opened again, and what they tell then would be
    /// taken for older than the chunk.
    fn border(&self) -> Option<Position> {
        let related = self.related.as_ref();
        let inside = related.is_some_and(|related| related.inside.is_some());
        self.reached
            .clone()
            .filter(|reached| reached.seq == 0 && !inside)
    }

    /// For whoever compares with the rows: all up to here is stored.
    fn note_border(&self) {
        if let Some(border) = self.border() {
            self.meter.reach(border);
        }
    }

    /// Whether the stream stands at or after a mark, at a transaction border.
    fn has_reached(&self, mark: &Position) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|reached| reached.seq == 0 && reached >= mark)
    }

    /// Notes for `status` when the log was last proven to come through.
    async fn note_canary(&self, now: Timestamp, due: &mut Timestamp) -> Result<(), StoreError> {
        // A clock that was set back must not keep it from being noted.
        let waits = now < *due && contract::clock::until(now, *due) <= CANARY_EVERY;
        let Some((age, how)) = self.meter.proof().filter(|_| !waits) else {
            return Ok(());
        };
        *due = contract::clock::after(now, CANARY_EVERY);
        let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
        let proven_at = contract::clock::minus(now, age);
        let noted = self.common.store.set_canary(self.source_id, proven_at, how);
        match noted.await {
            Ok(()) | Err(StoreError::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn batch(
        &mut self,
        stream: &mut dyn ChangeStream,
        batch: ChangeBatch,
    ) -> Result<(), Failed> {
        failpoint::crash!("capture.batch");
        let now = self.common.clock.now();
        self.reached = Some(batch.end.clone());
        if batch.changes.is_empty() {
            let due = contract::clock::after(self.quiet_commit_at, QUIET_COMMIT_EVERY);
            let open = self
                .related
                .as_ref()
                .is_some_and(|related| related.inside.is_some());
            if now < due && now >= self.quiet_commit_at && !open {
                self.meter.stored(None, 0, now);
                self.note_border();
                return Ok(());
            }
        }
        self.quiet_commit_at = now;
        let mut translated = Translated::default();
        let mut guard = Vec::new();
        for (n, change) in batch.changes.iter().enumerate() {
            translated.change = n;
            translated.unread = self.guarded.contains(change.table())
                && self.rules.has_facts_to_tell(change.table());
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
        let changed = self.tap.as_ref().map(|tap| tap.rows(&batch.changes));
        let changes = batch.changes.len() as u64;
        let committed_at = batch
            .changes
            .iter()
            .filter_map(|change| change.committed_at)
            .max();
        let commit = CaptureCommit {
            routes: Arc::clone(&self.common.routes),
            committed_at,
            guard,
            filtered: translated.filtered,
            server: self.server.clone(),
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
        self.server = None;
        if let (Some(tap), Some(changed)) = (&self.tap, changed) {
            tap.tell(changed);
        }
        self.note_border();
        self.meter
            .stored(committed_at, changes, self.common.clock.now());
        // I1: only now may the source forget.
        failpoint::crash!("capture.acknowledge");
        stream.acknowledge(&batch.end).await?;
        failpoint::crash!("capture.acknowledged");
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
}
