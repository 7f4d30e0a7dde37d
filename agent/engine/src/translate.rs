//! Row changes to outbox items: the mapping applied, and cells the log left out filled from what
//! was published before.

use std::sync::Arc;

use contract::{EventOp, MappingRef, Origin, RowChange, RowKey};
use jiff::Timestamp;
use mappings::{Draft, HeldChange, MapContext, Mapper};
use state::{Held, Item, Published, Store, StoreError, Truncated};

/// Turns the changes of one source into items.
pub(crate) struct Translator {
    pub(crate) mapper: Mapper,
    pub(crate) tenant: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) source_id: i64,
}

/// The items of a batch, in log order.
#[derive(Default)]
pub(crate) struct Translated {
    /// Each with the change behind it.
    pub(crate) items: Vec<(usize, Item)>,
    pub(crate) filtered: u64,
    /// The change being translated.
    pub(crate) change: usize,
    /// Its table has not been read yet for facts: the log may be the first to tell of its row.
    pub(crate) unread: bool,
}

impl Translated {
    fn push(&mut self, item: Item) {
        self.items.push((self.change, item));
    }
}

impl Translator {
    /// What a change means to the rules that `tells` names.
    pub(crate) async fn change(
        &mut self,
        store: &Store,
        change: &RowChange,
        origin: Origin,
        read_at: Timestamp,
        tells: &(dyn Fn(&str) -> bool + Sync),
        into: &mut Translated,
    ) -> Result<(), StoreError> {
        let context = MapContext {
            tenant: Arc::clone(&self.tenant),
            source: Arc::clone(&self.source),
            read_at,
            origin,
        };
        tracing::trace!(
            code = "change.read",
            source = &*self.source,
            stage = "map",
            table = %change.table(),
            op = change.op.name(),
            origin = origin.name(),
            position = %change.position,
            "a change of a row"
        );
        let mut mapped = self.mapper.apply(change, &context);
        let told = |mapping: &MappingRef| tells(&mapping.rule);
        mapped
            .drafts
            .retain(|draft| told(&draft.envelope().mapping));
        mapped
            .rewritten
            .retain(|draft| told(&draft.envelope().mapping));
        mapped.held.retain(|held| told(&held.mapping));
        mapped
            .truncated
            .retain(|truncated| told(&truncated.mapping));
        // A row that passes from one rule to another within a key ends nothing, in whichever order
        // the rules stand.
        let taken = taken_over(&mapped.drafts);
        let mut n = 0;
        mapped.drafts.retain(|draft| {
            n += 1;
            let stays = !taken.contains(&(n - 1));
            if !stays {
                into.push(Item::Settled {
                    rule: draft.envelope().mapping.rule.clone(),
                    row_key: row_key(change, EventOp::Delete),
                });
            }
            stays
        });
        into.filtered += mapped.filtered as u64;
        for truncated in mapped.truncated {
            let mut emptied = Truncated::new(
                Arc::clone(&self.tenant),
                Arc::clone(&self.source),
                truncated.event_type,
                change.position.clone(),
                change.committed_at,
                read_at,
                change.transaction,
                truncated.mapping,
            );
            emptied.zero_first = truncated.zero_first;
            into.push(Item::Truncated(emptied));
        }
        for draft in mapped.drafts {
            let row_key = row_key(change, draft.envelope().op);
            let zero_first = draft.zero_first();
            let item = match self.finish(store, draft, &row_key, into).await? {
                Ok(event) => Item::Event(Published {
                    event,
                    row_key,
                    related: false,
                    zero_first,
                }),
                Err(held) => Item::Held(to_held(*held, change)),
            };
            into.push(item);
        }
        // None of them is unfinished, so none looks at what was published.
        for draft in mapped.rewritten {
            let row_key = row_key(change, draft.envelope().op);
            let item = match draft.finish(None) {
                Ok(event) => {
                    let published = Published {
                        event,
                        row_key,
                        related: false,
                        zero_first: false,
                    };
                    if into.unread {
                        Item::Event(published)
                    } else {
                        Item::Rewritten(published)
                    }
                }
                Err(held) => Item::Held(to_held(*held, change)),
            };
            into.push(item);
        }
        for held in mapped.held {
            into.push(Item::Held(to_held(held, change)));
        }
        Ok(())
    }

    async fn finish(
        &self,
        store: &Store,
        draft: Draft,
        row_key: &str,
        so_far: &Translated,
    ) -> Result<Result<contract::Event, Box<HeldChange>>, StoreError> {
        if !draft.needs_previous() {
            return Ok(draft.finish(None));
        }
        let envelope = draft.envelope();
        let (event_type, key) = (envelope.event_type, envelope.key.text());
        let rule = envelope.mapping.rule.clone();
        // The newest item of the same row in this batch decides; only without one does the store.
        for (_, item) in so_far.items.iter().rev() {
            match item {
                Item::Event(earlier)
                    if earlier.event.envelope.event_type == event_type
                        && earlier.event.envelope.key.text() == key =>
                {
                    let body = earlier.event.body.clone();
                    return Ok(draft.finish(body.as_ref()));
                }
                Item::Held(earlier) if earlier.rule == rule && earlier.row_key == row_key => {
                    return Ok(draft.finish(None));
                }
                Item::Truncated(earlier) if earlier.envelope.mapping.rule == rule => {
                    return Ok(draft.finish(None));
                }
                Item::Event(_)
                | Item::Rewritten(_)
                | Item::Held(_)
                | Item::Truncated(_)
                | Item::Settled { .. } => {}
            }
        }
        let known = store
            .published(self.source_id, event_type, key, rule, row_key.to_owned())
            .await?
            .filter(|known| !known.outdated);
        Ok(draft.finish(known.as_ref().map(|known| &known.body)))
    }
}

/// The tombstones among a change's events whose keys another rule tells by the same change.
fn taken_over(drafts: &[Draft]) -> Vec<usize> {
    let ends = |draft: &Draft| draft.envelope().op == EventOp::Delete;
    let told = |end: &Draft| {
        let end = end.envelope();
        drafts.iter().filter(|draft| !ends(draft)).any(|draft| {
            let told = draft.envelope();
            told.event_type == end.event_type
                && told.key == end.key
                && told.mapping.rule != end.mapping.rule
        })
    };
    let ends = drafts.iter().enumerate().filter(|(_, draft)| ends(draft));
    ends.filter(|(_, end)| told(end)).map(|(n, _)| n).collect()
}

fn row_key(change: &RowChange, op: EventOp) -> String {
    let key = match op {
        EventOp::Delete => change.old_key().or_else(|| change.key()),
        EventOp::Upsert | EventOp::Fact | EventOp::Correction => change.key(),
    };
    key.as_ref().map_or("", RowKey::as_str).to_owned()
}

fn to_held(held: HeldChange, change: &RowChange) -> Held {
    Held {
        rule: held.mapping.rule.clone(),
        event_type: held.event_type,
        table: held.table.to_string(),
        row_key: held.row_key,
        event_key: held.event_key,
        position: change.position.clone(),
        reason: held.reason,
        row_json: held.row_json,
    }
}
