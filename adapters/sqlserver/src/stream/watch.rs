//! Looks of the stream itself: what changed of the database since it was opened.

use contract::{SourceError, TableName};

use crate::captured::Instances;
use crate::errors::AGAIN;
use crate::mode;
use crate::probe::Known;
use crate::settings::Mode;

use super::GAP_HINT;
use super::life::{Lives, anew};
use super::page::Trouble;
use super::table::{Found, Reader};
use super::worker::Worker;

/// Why a table is read again as a matter of routine.
pub(super) fn routine(table: &TableName, mode: Mode) -> String {
    match mode {
        Mode::Rowversion => {
            format!("rows of table {table} that were deleted are found by comparing")
        }
        _ => format!("nothing tells the changes of table {table}: they are found by comparing"),
    }
}

impl Worker {
    /// Looks for what changed since the stream was opened.
    pub(super) async fn look(&mut self) -> Result<(), SourceError> {
        let (session, _) = self.line.session().await?;
        let mut found = None;
        for watched in &self.tables {
            let table = watched.table();
            if let Some(mode) = watched.mode {
                if mode::is_compared(mode) && self.shared.is_due(table, &self.settings, true) {
                    self.standing.routine(table, routine(table, mode));
                }
                continue;
            }
            if self.shared.failed(table).is_some() {
                continue;
            }
            let found = match &found {
                Some(found) => found,
                None => found.insert(Found::read(session).await?),
            };
            let choice = found.choose(session, &self.settings, &watched.captured);
            if choice.await?.is_ok() {
                return Err(SourceError::Disconnected(format!(
                    "table {table} can be told again: the stream begins anew with it"
                )));
            }
        }
        if self.needed.tracking {
            self.look_at_lives().await?;
        }
        if !self.needed.cdc {
            return Ok(());
        }
        let (session, _) = self.line.session().await?;
        let instances = Instances::names(session).await?;
        for watched in &mut self.tables {
            let table = watched.captured.table.clone();
            let Reader::Cdc(pager) = &mut watched.reader else {
                continue;
            };
            let names = instances.of(&table);
            let names: Vec<&String> = names.iter().map(|one| &one.name).collect();
            if pager.known.iter().map(|(name, _)| name).eq(names) || instances.is_hidden {
                continue;
            }
            match pager.plan_again(session).await {
                Ok(None) => {}
                Ok(Some(gap)) => self.standing.unclear(&table, gap, GAP_HINT.to_owned()),
                Err(Trouble::Table(error)) => return Err(self.without(&table, &error)),
                Err(trouble) => return Err(trouble.error()),
            }
        }
        Ok(())
    }

    /// While nothing is tracked no page is read, and what emptied a table may be no version of its own.
    async fn look_at_lives(&mut self) -> Result<(), SourceError> {
        let (session, _) = self.line.session().await?;
        let lives = match Lives::read(session).await {
            Ok(Known::Is(lives)) => lives,
            Ok(Known::Unknown(_)) => return Ok(()),
            // The next look will do: somebody alters a table, and takes their time.
            Err(failed) if failed.is(AGAIN) => return Ok(()),
            Err(failed) => return Err(failed.error),
        };
        for watched in &self.tables {
            if let Reader::Tracking(pager) = &watched.reader
                && let Some(life) = pager.life
                && lives.of(life.object) != Some(life)
            {
                return Err(anew(watched.table()));
            }
        }
        Ok(())
    }

    /// A table cannot be told on: the stream begins anew without it.
    pub(super) fn without(&self, table: &TableName, error: &SourceError) -> SourceError {
        self.shared.fail(table, error);
        SourceError::Disconnected(format!(
            "table {table} cannot be read on, and the others are read on without it: {error}"
        ))
    }
}
