//! Commits: one batch, what is marked, and keys that no row tells.

use std::sync::Arc;

use contract::{LogPos, Origin, Position, RowChange, TableName};
use jiff::Timestamp;
use mappings::MapContext;
use mappings::relate::Relations;
use state::{CaptureCommit, Item, RelationStore, SourceState, StoreError};

use super::{FULL_WAIT, Failed, Session};
use crate::related::{self, Done, Standing, Work};
use crate::replicas::StoredReplicas;
use crate::rules::Search;
use crate::{Common, SourceSetup};

/// Rows of a replica looked at in one commit, for those that are gone.
const LOOKS: usize = 2_000;
/// Rows of what may be many.
pub(super) const MANY: usize = LOOKS;

impl Session<'_> {
    /// Works out what is marked, where nothing of an open transaction is.
    pub(super) async fn settle(&mut self) -> Result<(), Failed> {
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
    pub(super) async fn end_untold(&mut self) -> Result<(), Failed> {
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
        let unread = self.unread();
        let (searching, standing) = (self.rules.searching(), self.related.clone());
        let mut search = Some(Search::default());
        while let Some(from) = search.take() {
            self.unless_stopped()?;
            let routes = Arc::clone(&self.common.routes);
            let (searching, standing) = (searching.clone(), standing.clone());
            let (unread, at, context) = (Arc::clone(&unread), at.clone(), context.clone());
            search = self
                .commit_work(MANY, now, move |store| {
                    let from = from.clone();
                    let (commit, next) =
                        searching.step(store, standing.as_ref(), &unread, &at, &context, from)?;
                    let routes = Arc::clone(&routes);
                    Ok((Arc::new(CaptureCommit { routes, ..commit }), next))
                })
                .await?;
        }
        self.rules
            .searched(&self.common.store, self.source_id, now)
            .await?;
        Ok(())
    }

    /// Takes rows out of replicas that the reading of their table did not see, once it is done.
    pub(super) async fn sweep(&mut self) -> Result<(), Failed> {
        // Not within a transaction: what it moves may be there again at its end.
        let border = self.reached.clone().filter(|reached| reached.seq == 0);
        let Some(at) = border else {
            return Ok(());
        };
        let read: Vec<TableName> = self
            .unswept
            .iter()
            .filter(|table| !self.guarded.contains(table))
            .cloned()
            .collect();
        for table in read {
            let Some(standing) = self.related.clone() else {
                return Ok(());
            };
            let now = self.common.clock.now();
            let mut next = Some(None);
            while let Some(after) = next.take() {
                self.unless_stopped()?;
                let (standing, table, at) = (standing.clone(), table.clone(), at.clone());
                next = self
                    .commit_work(LOOKS, now, move |store| {
                        let after: Option<String> = after.clone();
                        let next = standing.relations.sweep(
                            &table,
                            &at,
                            after.as_deref(),
                            LOOKS,
                            now,
                            &mut StoredReplicas(store),
                        )?;
                        if next.is_none() {
                            store.swept(&table.to_string())?;
                        }
                        Ok((Arc::default(), next.map(Some)))
                    })
                    .await?;
            }
            self.unswept.retain(|swept| *swept != table);
            if let Some(standing) = &mut self.related {
                standing.stored = true;
            }
            self.settle().await?;
        }
        Ok(())
    }

    /// Tables whose replicas are not whole: being read, or holding rows that may be gone.
    pub(super) fn unread(&self) -> Arc<[TableName]> {
        let unswept = self.unswept.iter();
        let unswept = unswept.filter(|table| !self.guarded.contains(table));
        self.guarded.iter().chain(unswept).cloned().collect()
    }

    /// Waits until something that waits for its time is due.
    pub(super) async fn next_due(&self) {
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
    pub(super) async fn relate(
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
            unread: self.unread(),
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
            let rows = if work.end.is_some() {
                work.changes.len()
            } else {
                MANY
            };
            let done: Done = self
                .commit_work(rows, now, move |store| {
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

    /// Between two commits of one work: whoever stops the agent does not wait for all of it, and a
    /// disk that became low is not filled by it.
    pub(super) fn unless_stopped(&self) -> Result<(), Failed> {
        if *self.common.stop.borrow() {
            return Err(Failed::Stopped);
        }
        if self.common.disk_low().is_some() {
            return Err(Failed::NoRoom);
        }
        Ok(())
    }

    /// Stores a commit.
    pub(super) async fn commit(&self, commit: CaptureCommit, now: Timestamp) -> Result<(), Failed> {
        let commit = Arc::new(commit);
        let rows = commit.items.len();
        self.commit_work(rows, now, move |_| Ok((Arc::clone(&commit), ())))
            .await
    }

    /// Stores what `work` says, waiting out a full disk: the batch stays here and
    /// unacknowledged, and `work` is asked again. It is of so many rows, about.
    pub(super) async fn commit_work<T: Send + 'static>(
        &self,
        rows: usize,
        now: Timestamp,
        work: impl Fn(&mut RelationStore<'_>) -> Result<(Arc<CaptureCommit>, T), StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<T, Failed> {
        loop {
            let stored = self
                .common
                .store
                .commit_related(self.source_id, rows, now, work.clone());
            let (report, answer) = match stored.await {
                Ok(stored) => stored,
                Err(error @ StoreError::Full) => {
                    tracing::error!(code = "state.disk_full",
                        source = self.name, stage = "commit", error = %error,
                        hint = error.hint(), "capture waits for disk space");
                    if self.common.sleep(FULL_WAIT).await {
                        return Err(Failed::Store(error));
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.meter.turned();
            if report.held > 0 {
                self.meter.held(report.held);
                tracing::warn!(
                    code = "mapping.held",
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

/// The relations of a source's rules, as the store remembers them.
pub(super) async fn open_relations(
    common: &Common,
    setup: &SourceSetup,
    state: &SourceState,
    quiet: Arc<[(String, TableName)]>,
) -> Result<(Option<Standing>, Vec<String>), Failed> {
    // A rule that changed while its source's position was given up is worked out over the rows that
    // are there all the same: as of before everything in the new life of the log.
    let mapping = Arc::clone(&setup.mapping);
    let begin = || Position::border(state.epoch, LogPos::from_number(0));
    let as_of = state.checkpoint.clone().unwrap_or_else(begin);
    let now = common.clock.now();
    let of_rows = Arc::clone(&quiet);
    let (_, (relations, stored, unswept)) = common
        .store
        .commit_related(state.id, MANY, now, move |store| {
            let mut new = Vec::new();
            for (rule, _) in of_rows.iter() {
                if !store.remembers(rule)? {
                    new.push(rule);
                }
            }
            let mut replicas = StoredReplicas(store);
            let (relations, to_read) = Relations::open(&mapping, Some(&as_of), &mut replicas)?;
            for rule in new {
                relations.all_told_before(rule, &mut replicas)?;
            }
            let tables: Vec<String> = to_read.iter().map(ToString::to_string).collect();
            store.read_again(&tables)?;
            let (stored, unswept) = (store.has_marks()?, store.unswept()?);
            Ok((Arc::default(), (relations, stored, unswept)))
        })
        .await?;
    if relations.is_empty() {
        return Ok((None, Vec::new()));
    }
    let checkpoint = state.checkpoint.as_ref();
    let standing = Standing {
        relations: Arc::new(relations),
        stored,
        // A checkpoint inside a transaction: the rest of it may still come.
        inside: checkpoint.filter(|at| at.seq > 0).map(|at| at.pos.clone()),
        due: None,
        quiet,
    };
    Ok((Some(standing), unswept))
}
