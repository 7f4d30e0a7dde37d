//! A chunk of a snapshot, beside the stream.

use std::sync::Arc;

use contract::{EventKind, EventOp, Origin, Position, RowKey};
use state::{CaptureCommit, ChunkDone, Item};

use super::{Failed, Session, WHOLE_TABLE};
use crate::related::{self, ReadRow};
use crate::rules::Rules;
use crate::snapshot::{Chunk, Reading};
use crate::translate::Translated;

impl Session<'_> {
    pub(super) async fn chunk(&mut self, read: Chunk) -> Result<(), Failed> {
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
            // Without a key it is in no replica: whose rule needs it is told by the mapper alone.
            let keyless = keeps && row.key().is_none();
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
}

pub(super) async fn next_chunk(reading: Option<&mut Reading>) -> Option<Chunk> {
    match reading {
        Some(reading) => reading.chunks.recv().await,
        None => std::future::pending().await,
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
