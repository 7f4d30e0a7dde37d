//! Rules that are new or changed. Their tables are read again beside the stream, and every row is
//! told as it is now; what did not become another event is not sent. Then keys that no row tells
//! any more end, some in each commit.

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Clock, Envelope, Event, EventKey, EventKind, EventOp, Origin, Position, TableName, event,
};
use jiff::Timestamp;
use mappings::{MapContext, MappingSet, RuleInfo};
use state::{
    CaptureCommit, Item, Published, RelationStore, RuleInForce, RuleProgress, Stage, Store,
    StoreError,
};

use crate::related::Standing;
use crate::replicas::StoredReplicas;

/// Keys that end in one commit.
const KEYS_MAX: usize = 500;
/// Between two looks whether keys may end that must wait.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A source's rules, and how far each is told.
pub(crate) struct Rules {
    infos: Arc<[RuleInfo]>,
    progress: Vec<RuleProgress>,
    /// When keys that no row tells are looked for.
    due: Option<Timestamp>,
}

/// Where the search for keys that no row tells goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    rule: usize,
    teller: usize,
    after: i64,
}

impl Rules {
    /// Takes a mapping's rules into force.
    pub(crate) async fn open(
        store: &Store,
        source_id: i64,
        mapping: &MappingSet,
        checkpoint: Option<&Position>,
    ) -> Result<Self, StoreError> {
        let infos: Arc<[RuleInfo]> = mapping.rules().collect();
        let in_force = infos.iter().map(|rule| RuleInForce {
            name: rule.id.clone(),
            digest: rule.digest.clone(),
            event_type: rule.event_type,
            table: rule.table.to_string(),
            relates: rule.relates,
        });
        let in_force = in_force.collect();
        let checkpoint = checkpoint.cloned();
        let progress = store.open_rules(source_id, in_force, checkpoint).await?;
        let mut rules = Self {
            infos,
            progress: Vec::new(),
            due: None,
        };
        rules.note(progress);
        Ok(rules)
    }

    fn note(&mut self, progress: Vec<RuleProgress>) {
        self.progress = progress;
        let ending = |rule: &RuleProgress| rule.stage == Stage::Ending;
        self.due = self.progress.iter().any(ending).then_some(Timestamp::MIN);
    }

    /// A table was read: what that means to its rules.
    pub(crate) async fn table_read(
        &mut self,
        store: &Store,
        source_id: i64,
    ) -> Result<(), StoreError> {
        let progress = store.rules(source_id).await?;
        self.note(progress);
        Ok(())
    }

    fn progress(&self, rule: &str) -> Option<&RuleProgress> {
        self.progress.iter().find(|known| known.name == rule)
    }

    /// Whether a rule's table is being read for it.
    pub(crate) fn is_read(&self, rule: &str) -> bool {
        let stage = self.progress(rule).map(|known| known.stage);
        match stage {
            Some(Stage::Reading | Stage::Held | Stage::ReadingThenHeld) => true,
            Some(Stage::Told | Stage::Next | Stage::Ending | Stage::HeldNext) | None => false,
        }
    }

    /// Whether a rule's table is being read for facts that are held, and for no others.
    pub(crate) fn is_read_for_held(&self, rule: &str) -> bool {
        self.progress(rule)
            .is_some_and(|known| known.stage == Stage::Held)
    }

    /// The rules for whose held facts a table is being read.
    pub(crate) fn read_for_held(&self, table: &TableName) -> Vec<&str> {
        let rules = self.infos.iter().filter(|rule| rule.table == *table);
        rules
            .map(|rule| rule.id.as_str())
            .filter(|rule| self.is_read_for_held(rule))
            .collect()
    }

    /// Whether facts of a table's rows have still to be told for the first time.
    pub(crate) fn has_facts_to_tell(&self, table: &TableName) -> bool {
        let facts =
            |rule: &&RuleInfo| rule.table == *table && rule.event_type.kind() == EventKind::Fact;
        self.infos.iter().filter(facts).any(|rule| {
            let stage = self.progress(&rule.id).map(|known| known.stage);
            match stage {
                Some(Stage::Reading | Stage::Next | Stage::ReadingThenHeld) => true,
                Some(Stage::Told | Stage::Ending | Stage::Held | Stage::HeldNext) | None => false,
            }
        })
    }

    /// Whether a rule needs rows of several tables.
    pub(crate) fn relates(&self, rule: &str) -> bool {
        self.progress(rule).is_some_and(|known| known.relates)
    }

    /// Whether a table is being read for some rule of one row.
    pub(crate) fn is_read_for_any(&self, table: &TableName) -> bool {
        self.infos
            .iter()
            .any(|rule| rule.table == *table && self.is_read(&rule.id))
    }

    /// Whether a rule saw a streamed change as it came by.
    pub(crate) fn saw(&self, rule: &str, change: &Position) -> bool {
        let Some(known) = self.progress(rule) else {
            return true;
        };
        let unseen = known.unseen.as_ref().is_some_and(|(left, back)| {
            change <= back && left.as_ref().is_none_or(|left| change > left)
        });
        known.since.as_ref().is_none_or(|since| change > since) && !unseen
    }

    /// The rules whose facts were told before their rows are read into replicas, with their tables.
    pub(crate) fn quiet(&self) -> Arc<[(String, TableName)]> {
        let quiet = |rule: &RuleInfo| self.progress(&rule.id).is_some_and(|known| known.quiet);
        let rules = self.infos.iter().filter(|rule| quiet(rule));
        rules
            .map(|rule| (rule.id.clone(), rule.table.clone()))
            .collect()
    }

    /// Whether it is time to look for keys that no row tells.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// The search came to its end.
    pub(crate) async fn searched(
        &mut self,
        store: &Store,
        source_id: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let progress = store.rules(source_id).await?;
        self.note(progress);
        // What is left waits for something.
        let later = contract::clock::after(now, LOOK_EVERY);
        self.due = self.due.map(|_| later);
        Ok(())
    }

    /// Waits until it is time to look.
    pub(crate) async fn next_look(&self, clock: &dyn Clock) {
        match self.due {
            Some(due) => clock.sleep(contract::clock::until(clock.now(), due)).await,
            None => std::future::pending().await,
        }
    }

    /// What a search needs to know.
    pub(crate) fn searching(&self) -> Searching {
        Searching {
            infos: Arc::clone(&self.infos),
            progress: Arc::from(self.progress.as_slice()),
        }
    }
}

/// What a search for keys that no row tells looks at.
#[derive(Clone)]
pub(crate) struct Searching {
    infos: Arc<[RuleInfo]>,
    progress: Arc<[RuleProgress]>,
}

impl Searching {
    /// One commit of a search: tombstones for some keys, and where it goes on.
    pub(crate) fn step(
        &self,
        store: &mut RelationStore<'_>,
        standing: Option<&Standing>,
        unread: &[TableName],
        at: &Position,
        context: &MapContext,
        mut search: Search,
    ) -> Result<(CaptureCommit, Option<Search>), StoreError> {
        let mut ready = Vec::new();
        for known in self.progress.iter() {
            if known.stage == Stage::Ending && is_ready(store, known, standing, unread)? {
                ready.push(known.name.clone());
            }
        }
        let mut commit = CaptureCommit::default();
        while let Some(known) = self.progress.get(search.rule) {
            let rule = &known.name;
            let info = self.infos.iter().find(|info| info.id == *rule);
            let info = info.filter(|_| ready.contains(rule));
            let next = Search {
                rule: search.rule + 1,
                ..Search::default()
            };
            let Some(info) = info else {
                search = next;
                continue;
            };
            let fact = info.event_type.kind() == EventKind::Fact;
            if !fact && !store.may_end(rule, &ready)? {
                search = next;
                continue;
            }
            let tellers = store.predecessors(rule)?;
            while let Some(teller) = tellers.get(search.teller) {
                let found = store.untold(rule, teller, search.after, KEYS_MAX)?;
                for untold in &found {
                    search.after = untold.id;
                    let schema = untold.event_type.schema();
                    let key = EventKey::parse(schema, &untold.key).ok_or_else(|| {
                        StoreError::Invariant(
                            "a published key does not fit its event type".to_owned(),
                        )
                    })?;
                    let envelope = Envelope {
                        tenant: Arc::clone(&context.tenant),
                        source: Arc::clone(&context.source),
                        event_type: untold.event_type,
                        key,
                        version: at.clone(),
                        op: EventOp::Delete,
                        origin: Origin::Snapshot,
                        occurred_at: context.read_at,
                        occurred_at_exact: false,
                        read_at: context.read_at,
                        transaction: 0,
                        mapping: Arc::clone(&info.mapping),
                        fact_key: None,
                        reason: Some(if untold.same_rule {
                            event::HARD_DELETE
                        } else {
                            event::OUT_OF_SCOPE
                        }),
                        renamed_from: None,
                        warnings: Vec::new(),
                    };
                    commit.items.push(Item::Event(Published {
                        event: Event::new(envelope, None),
                        // No row's, so that it settles nothing that is held.
                        row_key: format!("key:{}", untold.key),
                        related: true,
                        zero_first: info.zero_first && untold.event_type == info.event_type,
                    }));
                }
                if !found.is_empty() {
                    return Ok((commit, Some(search)));
                }
                search = Search {
                    teller: search.teller + 1,
                    after: 0,
                    ..search
                };
            }
            store.rule_told(rule)?;
            search = next;
        }
        Ok((commit, None))
    }
}

/// Whether a rule has told all its rows.
fn is_ready(
    store: &mut RelationStore<'_>,
    known: &RuleProgress,
    standing: Option<&Standing>,
    unread: &[TableName],
) -> Result<bool, StoreError> {
    if !known.relates {
        return Ok(true);
    }
    let ready = |table: &TableName| !unread.contains(table);
    match standing {
        Some(standing) => {
            standing
                .relations
                .worked_out(&known.name, &ready, &mut StoredReplicas(store))
        }
        None => Ok(false),
    }
}
