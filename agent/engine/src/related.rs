//! Events of several tables in the capture loop: each commit takes changes into the replicas,
//! and works out what they influence when the source's transaction ends. A transaction that
//! influences much is worked out in several commits, each with a checkpoint inside it; nothing of
//! the next transaction is taken before all of it is done, so that the events do not depend on
//! how the changes were cut.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, LogPos, Origin, Position, RowChange, TableName};
use jiff::Timestamp;
use mappings::relate::{Questions, Related, Relations, Turn};
use mappings::{MapContext, Pending};
use state::{CaptureCommit, Held, Item, Published, RelationStore, StoreError};

use crate::ask::Answered;
use crate::replicas::StoredReplicas;

/// Rows and keys worked out in one commit: bounds memory.
const PIECE: usize = 500;
/// Rows and keys worked out between two looks at the clock.
const SLICE: usize = 50;
/// A commit takes nothing more after this time: a stop waits for the present one.
const COMMIT_MAX: Duration = Duration::from_millis(250);

/// Where the relations of a session stand.
#[derive(Clone)]
pub(crate) struct Standing {
    pub(crate) relations: Arc<Relations>,
    /// Marks may be in the store.
    pub(crate) stored: bool,
    /// The transaction whose changes were taken and not worked out yet.
    pub(crate) inside: Option<LogPos>,
    /// When something that waits for its time is due.
    pub(crate) due: Option<Timestamp>,
    /// Rules whose facts were told before their rows are read into replicas, with their own tables.
    pub(crate) quiet: Arc<[(String, TableName)]>,
}

/// What a commit is made of.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) changes: Arc<Vec<RowChange>>,
    /// Events of one row, with the change behind each.
    pub(crate) items: Arc<Vec<(usize, Item)>>,
    /// Where the batch ends; `None` where no change of the log was taken.
    pub(crate) end: Option<Position>,
    /// Tables that have not been read yet.
    pub(crate) unread: Arc<[TableName]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) context: MapContext,
}

/// How far a commit came.
pub(crate) struct Done {
    /// The first change that was not taken.
    pub(crate) next: usize,
    /// What the changes before influence is not all worked out.
    pub(crate) more: bool,
    pub(crate) standing: Standing,
}

/// One commit: changes from `from` on, as far as they go.
pub(crate) fn step(
    store: &mut RelationStore<'_>,
    mut standing: Standing,
    work: &Work,
    from: usize,
    commit: CaptureCommit,
) -> Result<(Arc<CaptureCommit>, Done), StoreError> {
    let mut replicas = StoredReplicas(store);
    let relations = Arc::clone(&standing.relations);
    let mut pending = relations.pending(standing.stored);
    let mut related = Vec::new();
    let mut more = false;
    let mut at = from;
    let began = work.clock.now();
    let late = || contract::clock::until(began, work.clock.now()) >= COMMIT_MAX;
    let mut worked = 0;
    let mut flush = |pending: &mut Pending, replicas: &mut StoredReplicas<'_, '_>| {
        let ready = |table: &TableName| !work.unread.contains(table);
        loop {
            let left = PIECE.saturating_sub(worked.max(related.len()));
            let slice = left.clamp(1, SLICE);
            let flushed = relations.flush(pending, &ready, &work.context, slice, replicas)?;
            related.extend(flushed.related);
            if !flushed.more {
                return Ok::<bool, StoreError>(related.len() >= PIECE);
            }
            worked += slice;
            if worked >= PIECE || related.len() >= PIECE || late() {
                return Ok(true);
            }
        }
    };
    // What an earlier commit left over comes first.
    if standing.inside.is_none() {
        more = flush(&mut pending, &mut replicas)?;
    }
    while let Some(change) = work.changes.get(at).filter(|_| !more) {
        let transaction = &change.position.pos;
        if standing
            .inside
            .as_ref()
            .is_some_and(|inside| inside != transaction)
        {
            standing.inside = None;
            more = flush(&mut pending, &mut replicas)?;
            if more {
                break;
            }
        }
        standing.inside = Some(transaction.clone());
        let read_at = work.context.read_at;
        standing
            .relations
            .apply(change, Origin::Live, read_at, &mut pending, &mut replicas)?;
        at += 1;
        if late() {
            break;
        }
    }
    let whole = at == work.changes.len();
    let border = work.end.as_ref().is_none_or(|end| end.seq == 0);
    if whole && !more && border && standing.inside.take().is_some() {
        more = flush(&mut pending, &mut replicas)?;
    }
    standing.relations.keep(&mut pending, &mut replicas)?;
    standing.stored = store.has_marks()?;
    standing.due = match store.next_due()? {
        Some(millis) if !more => Timestamp::from_millisecond(millis).ok(),
        _ => None,
    };
    let taken = work.items.iter().filter(|(n, _)| (from..at).contains(n));
    let mut items: Vec<Item> = taken.map(|(_, item)| item.clone()).collect();
    items.extend(related.into_iter().map(to_item));
    let checkpoint = match (whole, &work.end) {
        (true, Some(end)) => Some(end.clone()),
        (false, Some(_)) => {
            let last = at.checked_sub(1).and_then(|last| work.changes.get(last));
            last.map(|change| change.position.clone())
        }
        (_, None) => None,
    };
    let commit = CaptureCommit {
        items,
        checkpoint,
        changes: (at - from) as u64,
        ..commit
    };
    let done = Done {
        next: at,
        more,
        standing,
    };
    Ok((Arc::new(commit), done))
}

/// The questions that are asked next.
pub(crate) fn questions(
    store: &mut RelationStore<'_>,
    relations: &Relations,
    turn: &Turn,
    unread: &[TableName],
    limit: usize,
) -> Result<Option<Questions>, StoreError> {
    let ready = |table: &TableName| !unread.contains(table);
    relations.questions(turn, &ready, limit, &mut StoredReplicas(store))
}

/// What a database answered: into the replicas, and what it says of held questions.
pub(crate) fn answered(
    store: &mut RelationStore<'_>,
    mut standing: Standing,
    answered: &Answered,
) -> Result<(Vec<Item>, Standing), StoreError> {
    let mut replicas = StoredReplicas(store);
    let mut pending = standing.relations.pending(standing.stored);
    let relations = Arc::clone(&standing.relations);
    let (questions, answers) = (&answered.questions, &answered.answers);
    let related = relations.answered(questions, answers, &mut pending, &mut replicas)?;
    relations.keep(&mut pending, &mut replicas)?;
    standing.stored = store.has_marks()?;
    Ok((related.into_iter().map(to_item).collect(), standing))
}

/// A row of a chunk.
#[derive(Clone)]
pub(crate) struct ReadRow {
    pub(crate) row: RowChange,
    /// No streamed change that it does not reflect overtook it.
    pub(crate) fresh: bool,
    /// A quiet rule saw a change of it, and has yet to tell its fact.
    pub(crate) streamed: bool,
}

/// A chunk of a snapshot: its rows into the replicas, stale ones only where a cell is missing.
pub(crate) fn chunk(
    store: &mut RelationStore<'_>,
    mut standing: Standing,
    rows: &[ReadRow],
    whole: Option<(&TableName, &Position)>,
    read_at: Timestamp,
) -> Result<Standing, StoreError> {
    let mut replicas = StoredReplicas(store);
    let mut pending = standing.relations.pending(standing.stored);
    for ReadRow {
        row,
        fresh,
        streamed,
    } in rows
    {
        if *fresh {
            for (rule, table) in standing.quiet.iter().filter(|_| !streamed) {
                let key = row.key().filter(|_| table == row.table());
                if let Some(key) = key
                    && !replicas.0.is_held(rule, key.as_str())?
                {
                    let relations = &standing.relations;
                    relations.told_before(rule, key.as_str(), &mut replicas)?;
                }
            }
            let origin = Origin::Snapshot;
            standing
                .relations
                .apply(row, origin, read_at, &mut pending, &mut replicas)?;
        } else {
            standing.relations.complete(row, &mut replicas)?;
        }
    }
    standing.relations.keep(&mut pending, &mut replicas)?;
    if let Some((table, position)) = whole {
        standing
            .relations
            .read_whole(table, position, &mut replicas)?;
    }
    standing.stored = store.has_marks()?;
    Ok(standing)
}

fn to_item(related: Related) -> Item {
    match related {
        Related::Event {
            event,
            row_key,
            zero_first,
        } => Item::Event(Published {
            event: *event,
            row_key,
            related: true,
            zero_first,
        }),
        Related::Held { held, position } => Item::Held(Held {
            rule: held.mapping.rule.clone(),
            event_type: held.event_type,
            table: held.table.to_string(),
            row_key: held.row_key,
            event_key: held.event_key,
            position,
            reason: held.reason,
            row_json: held.row_json,
        }),
        Related::Settled { rule, row_key } => Item::Settled {
            rule: rule.rule.clone(),
            row_key,
        },
    }
}
