//! A chunk of a snapshot, beside the stream.

use std::sync::Arc;

use contract::{EventKind, EventOp, Origin, Position, RowKey};
use state::{CaptureCommit, ChunkDone, Item, RelationStore, StoreError};

use super::{Failed, PROGRESS_EVERY, Session, WHOLE_TABLE};
use crate::related::{self, ReadRow};
use crate::rules::Rules;
use crate::snapshot::{Chunk, Reading};
use crate::translate::Translated;

impl Session<'_> {
    pub(super) async fn chunk(&mut self, read: Chunk) -> Result<(), Failed> {
        failpoint::crash!("capture.chunk");
        let now = self.common.clock.now();
        let Chunk {
            table,
            range,
            chunk,
        } = read;
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
        let held = rules.read_for_held(&table);
        let mut only_held = Vec::new();
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
            // Without a key, or a column by which rows are found, it is in no replica: whose rule
            // needs it is told by the mapper alone.
            let lacks = related.is_some_and(|related| related.relations.lacks_links(row));
            let keyless = keeps && (row.key().is_none() || lacks);
            if !fresh || !(tells || keyless) {
                continue;
            }
            let from = translated.items.len();
            self.translator
                .change(
                    &self.common.store,
                    row,
                    Origin::Snapshot,
                    now,
                    &|rule| rules.is_read(rule) || (keyless && rules.relates(rule)),
                    &mut translated,
                )
                .await?;
            for rule in &held {
                // Left out now, or no fact any more.
                let told =
                    |(_, item): &(usize, Item)| fact_of(item).is_some_and(|of| of.0 == *rule);
                if !translated.items.iter().skip(from).any(told) {
                    let settled = Item::Settled {
                        rule: (*rule).to_owned(),
                        row_key: row.key().as_ref().map_or("", RowKey::as_str).to_owned(),
                    };
                    translated.items.push((0, settled));
                }
            }
            let change = seen.as_ref().map(|(change, _)| change);
            let items = translated.items.iter().skip(from);
            only_held.extend(items.map(|(_, item)| is_told(rules, item, change)));
        }
        // A row that one rule leaves out and another takes up passes from one to the other.
        let items = translated.items.into_iter().map(|(_, item)| item);
        let (mut items, ends): (Vec<_>, Vec<_>) =
            items.zip(only_held).partition(|(item, _)| !is_end(item));
        items.extend(ends);
        let count = items.len();
        let ends = chunk.next.is_none();
        // Of ranges, the last one ends the table.
        let (of, whole_read) = (
            table.to_string(),
            move |store: &RelationStore<'_>, of: &str| match range {
                None => Ok(ends),
                Some(range) => Ok::<bool, StoreError>(ends && store.is_last_range(of, range)?),
            },
        );
        let commit = CaptureCommit {
            routes: Arc::clone(&self.common.routes),
            chunk: Some(ChunkDone {
                table: table.to_string(),
                range,
                next: chunk.next,
                rows: chunk.rows.len() as u64,
            }),
            filtered: translated.filtered,
            checkpoint: self.border(),
            server: self.server.clone(),
            ..CaptureCommit::default()
        };
        if commit.checkpoint.is_some() {
            self.server = None;
        }
        let telling = Telling::of(items, commit);
        let done = match self.related.clone() {
            Some(standing) => {
                let (rows, mark) = (Arc::new(replicated), chunk.mark.clone());
                let read = table.clone();
                let (standing, done) = self
                    .commit_work(rows.len(), now, move |store| {
                        let done = whole_read(store, &of)?;
                        let whole = done.then_some((&read, &mark));
                        let standing = standing.clone();
                        let commit = telling.commit(store)?;
                        let standing = related::chunk(store, standing, &rows, whole, now)?;
                        Ok((commit, (standing, done)))
                    })
                    .await?;
                self.related = Some(standing);
                done
            }
            None => {
                self.commit_work(count, now, move |store| {
                    let done = whole_read(store, &of)?;
                    Ok((telling.commit(store)?, done))
                })
                .await?
            }
        };
        if !done && now >= self.progress_at {
            self.progress_at = contract::clock::after(now, PROGRESS_EVERY);
            let rows = self
                .common
                .store
                .rows_read(self.source_id, table.to_string());
            let (rows, estimate) = rows.await?;
            tracing::info!(code = "snapshot.progress",
                source = self.name, stage = "snapshot", table = %table, rows, estimate,
                "tables are being read");
        }
        if done {
            let once_more = self.once_more.iter().position(|again| *again == table);
            match once_more {
                Some(at) => {
                    drop(self.once_more.remove(at));
                    // Who read the last range does not go on at the table's first row.
                    self.again = range.is_some();
                }
                None => self.guarded.retain(|guarded| *guarded != table),
            }
            self.rules
                .table_read(&self.common.store, self.source_id)
                .await?;
            tracing::info!(code = "snapshot.table_done",
                source = self.name, table = %table, "snapshot of the table is done");
        }
        self.settle().await
    }
}

pub(super) async fn next_chunk(reading: Option<&mut Reading>) -> Option<Chunk> {
    match reading {
        Some(reading) => reading.next().await,
        None => std::future::pending().await,
    }
}

/// The rule and row of a fact, told or held, and of what is settled.
fn fact_of(item: &Item) -> Option<(&str, &str)> {
    match item {
        Item::Event(told) if told.event.kind() == EventKind::Fact => {
            Some((&told.event.envelope.mapping.rule, &told.row_key))
        }
        Item::Held(held) if held.event_type.kind() == EventKind::Fact => {
            Some((&held.rule, &held.row_key))
        }
        Item::Settled { rule, row_key } => Some((rule, row_key)),
        Item::Event(_) | Item::Held(_) | Item::Rewritten(_) | Item::Truncated(_) => None,
    }
}

/// Whether an item is a fact that its rule told before, unless it is held: in an earlier reading, or
/// when the change behind it came by. A state told again is suppressed as unchanged, but a fact
/// would stand in the outbox twice.
fn is_told(rules: &Rules, item: &Item, change: Option<&Position>) -> bool {
    fact_of(item).is_some_and(|(rule, _)| {
        let saw = |change| rules.saw(rule, change);
        let came_by = change.is_some_and(saw) && !matches!(item, Item::Settled { .. });
        came_by || rules.is_read_for_held(rule)
    })
}

/// What a chunk tells.
#[derive(Clone)]
enum Telling {
    All(Arc<CaptureCommit>),
    /// All but those of which the store says that they were told; true = it is to be asked.
    Some(Arc<Vec<(Item, bool)>>, Box<CaptureCommit>),
}

impl Telling {
    fn of(items: Vec<(Item, bool)>, commit: CaptureCommit) -> Self {
        if items.iter().any(|(_, only_held)| *only_held) {
            return Self::Some(Arc::new(items), Box::new(commit));
        }
        let items = items.into_iter().map(|(item, _)| item).collect();
        Self::All(Arc::new(CaptureCommit { items, ..commit }))
    }

    fn commit(&self, store: &RelationStore<'_>) -> Result<Arc<CaptureCommit>, StoreError> {
        Ok(match self {
            Self::All(commit) => Arc::clone(commit),
            Self::Some(items, commit) => {
                let items = to_tell(store, items)?;
                Arc::new(CaptureCommit {
                    items,
                    ..CaptureCommit::clone(commit)
                })
            }
        })
    }
}

/// Of items that may have been told, those that are held. Asked within the commit that stores them,
/// so that none is told by two.
fn to_tell(store: &RelationStore<'_>, items: &[(Item, bool)]) -> Result<Vec<Item>, StoreError> {
    let mut told = Vec::with_capacity(items.len());
    for (item, only_held) in items {
        if let Some((rule, row_key)) = fact_of(item).filter(|_| *only_held) {
            if !store.is_fact_held(rule, row_key)? {
                continue;
            }
            if matches!(item, Item::Held(_)) {
                // It is held still, and once.
                told.push(Item::Settled {
                    rule: rule.to_owned(),
                    row_key: row_key.to_owned(),
                });
            }
        }
        told.push(item.clone());
    }
    Ok(told)
}

fn is_end(item: &Item) -> bool {
    matches!(item, Item::Event(told) if told.event.envelope.op == EventOp::Delete)
}
