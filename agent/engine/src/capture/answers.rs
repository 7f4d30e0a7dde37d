//! What rules ask the database, and what it answers.

use std::sync::Arc;

use contract::Clock;
use state::{CaptureCommit, Part};

use super::work::MANY;
use super::{Failed, Session};
use crate::ask::{Answered, Asker};
use crate::related;

/// Questions may have come up.
pub(super) fn want(asker: &mut Option<Asker>) {
    if let Some(asker) = asker {
        asker.wanted = true;
    }
}

/// What the database answered; nothing when it is time to ask.
pub(super) async fn next_answer(asker: Option<&mut Asker>, clock: &dyn Clock) -> Option<Answered> {
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
    /// Asks what waits in the store, where it is time.
    pub(super) async fn ask(&mut self, asker: Option<&mut Asker>) -> Result<(), Failed> {
        let (Some(asker), Some(standing)) = (asker, self.related.as_ref()) else {
            return Ok(());
        };
        let now = self.common.clock.now();
        if asker.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let (relations, limit) = (Arc::clone(&standing.relations), asker.together());
        let (turn, unread) = (asker.turn.clone(), self.unread());
        let (questions, stored) = self
            .commit_work(limit, now, move |store| {
                let found = related::questions(store, &relations, &turn, &unread, limit)?;
                Ok((Arc::default(), (found, store.has_marks()?)))
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
    pub(super) async fn answered(
        &mut self,
        asker: &mut Asker,
        answered: Answered,
    ) -> Result<(), Failed> {
        let Some(standing) = self.related.clone() else {
            return Ok(());
        };
        let now = self.common.clock.now();
        let (routes, taken) = (Arc::clone(&self.common.routes), answered.clone());
        let standing = self
            .commit_work(MANY, now, move |store| {
                let (items, standing) = related::answered(store, standing.clone(), &taken)?;
                let commit = CaptureCommit {
                    items,
                    routes: Arc::clone(&routes),
                    ..CaptureCommit::default()
                };
                Ok((Arc::new(commit), standing))
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
            let (store, part) = (&self.common.store, Part::Unanswered);
            store.set_partial(self.source_id, part, said).await?;
        }
        if let Some(error) = &answered.problem {
            let hint = error.hint().unwrap_or("it is asked again");
            tracing::warn!(code = "read.no_answer",
                source = self.name, stage = "read", error = %error, hint,
                rule = answered.questions.name, "the database does not answer");
        }
        self.settle().await
    }
}
