//! Keys whose row and telling did not fit at the first look.

use std::collections::{BTreeMap, HashSet};

use contract::{Clock, Position};
use engine::clock::SystemClock;
use mappings::RuleInfo;
use state::ReconcileClass;
use tokio::time::Instant;

use super::judge::agrees;
use super::{Comparison, LOOK_EVERY, Mapped, Place, ROWS, Stopped, Suspect, hashed};

/// Keys read from the state file together.
const PAGE: u32 = 500;
/// Chunks read beyond the one in which a row was, for rows that came between.
const CHUNKS_MORE: usize = 4;

impl Comparison<'_> {
    /// Looks again at keys that do not fit, until that is sure or takes too long.
    pub(super) async fn settle(&mut self) -> Result<(), Stopped> {
        let deadline = Instant::now() + self.ground.wait;
        while !self.suspects.is_empty() {
            SystemClock.sleep(LOOK_EVERY).await;
            let mut by_chunk: BTreeMap<Option<String>, Vec<Suspect>> = BTreeMap::new();
            for suspect in self.suspects.drain(..) {
                by_chunk
                    .entry(suspect.cursor.clone())
                    .or_default()
                    .push(suspect);
            }
            for (cursor, suspects) in by_chunk {
                self.rest_within_pauses().await;
                let began = Instant::now();
                let (mapped, whole) = self.again(cursor.as_deref(), &suspects).await?;
                let stored = self.ground.stored(&mapped.mark, deadline).await && whole;
                let places: Vec<Place> = suspects.iter().map(|one| one.place.clone()).collect();
                let told = self.told(&places).await?;
                let late = Instant::now() >= deadline;
                for (mut suspect, told) in suspects.into_iter().zip(told) {
                    let now = mapped.bodies.get(&suspect.place).cloned().flatten();
                    let version = told.as_ref().map(|told| told.version.clone());
                    let seen = (now, version);
                    if agrees(told.as_ref(), &seen.0) {
                        self.count(&suspect.place, None);
                    } else if stored && suspect.seen == seen {
                        let told = told.and_then(|told| told.body);
                        self.differs(&suspect.place, seen.0.as_deref(), told.as_deref());
                    } else if late {
                        let what = "the agent has not stored what the row says, or it changes again and again";
                        let lag = Some((ReconcileClass::ExpectedLag, "", what));
                        self.count(&suspect.place, lag);
                    } else {
                        suspect.seen = seen;
                        self.suspects.push(suspect);
                    }
                }
                self.rest(mapped.rows, began).await;
            }
        }
        Ok(())
    }

    /// Keys that were told before the reading began and that no row tells.
    pub(super) async fn ended(
        &mut self,
        rules: &[RuleInfo],
        keys: &HashSet<u64>,
        (first, last): (&Position, &Position),
    ) -> Result<(), Stopped> {
        let deadline = Instant::now() + self.ground.wait;
        // A row may have gone before the reader came to it.
        let stored = self.ground.stored(last, deadline).await;
        let mark = first.to_string();
        for rule in rules {
            let mut after = 0;
            loop {
                let (name, id) = (self.ground.name.to_owned(), rule.id.clone());
                let page = self
                    .ground
                    .state(move |reader| reader.told_by_rule(&name, &id, after, PAGE));
                let page = page.await?;
                let Some(last) = page.last() else { break };
                after = last.lane;
                for one in page {
                    let place = (rule.event_type, one.key);
                    // Of a key that was told since, a row may have passed behind the reader.
                    let new = one.version > mark || one.event_type != rule.event_type.name();
                    if new || keys.contains(&hashed(&place)) {
                        continue;
                    }
                    if stored {
                        self.differs(&place, None, Some("told"));
                    } else {
                        let what = "the agent has not stored all that the table reflects";
                        self.count(&place, Some((ReconcileClass::ExpectedLag, "", what)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows behind a cursor once more, and whether that are surely all that are meant: others may have come
    /// between them.
    async fn again(
        &mut self,
        cursor: Option<&str>,
        suspects: &[Suspect],
    ) -> Result<(Mapped, bool), Stopped> {
        let mut mapped = self.chunk(cursor, ROWS).await?;
        for _ in 0..CHUNKS_MORE {
            let all = suspects
                .iter()
                .all(|one| mapped.bodies.contains_key(&one.place));
            let Some(next) = mapped.next.clone().filter(|_| !all) else {
                return Ok((mapped, true));
            };
            let more = self.chunk(Some(&next), ROWS).await?;
            mapped.bodies.extend(more.bodies);
            mapped.held.extend(more.held);
            mapped.rows += more.rows;
            (mapped.next, mapped.mark) = (more.next, more.mark);
        }
        let whole = mapped.next.is_none();
        Ok((mapped, whole))
    }
}
