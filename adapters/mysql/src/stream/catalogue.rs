//! What the log leaves open and the catalogue knows, asked on a second connection.
//!
//! A question that is given up leaves its answer on the connection, for the next one to read: so the
//! connection is put back only when the answer is there, and else another one is opened.

use std::sync::Arc;
use std::time::Duration;

use contract::{SourceError, TableName};
use tokio::time::{Instant, timeout};

use super::{LOOK_AGAIN, LOOK_EVERY, LogStream, Watched};
use crate::cascade::Cascades;
use crate::connect::{self, Connection, Rights};
use crate::known::{self, Learnt};

/// A question that is not answered for so long is given up, and the connection with it: the server's
/// own limit on statements is of no use where the network is silent.
const ASK_MAX: Duration = Duration::from_secs(20);

/// Waits for answers no longer than that.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    timeout(ASK_MAX, work).await.unwrap_or_else(|_| {
        Err(SourceError::Disconnected(format!(
            "read the catalogue: no answer within {} s",
            ASK_MAX.as_secs()
        )))
    })
}

impl LogStream {
    async fn sql(&mut self) -> Result<Connection, SourceError> {
        match self.sql.take() {
            Some(sql) => Ok(sql),
            None => connect::connect(&self.settings, Rights::Read).await,
        }
    }

    /// Asks what is to be asked before the log goes on.
    pub(super) async fn learn(&mut self) -> Result<(), SourceError> {
        if self.cascades_changed {
            in_time(self.learn_cascades()).await?;
        }
        if self.pending.is_some() {
            in_time(self.learn_table()).await?;
        }
        Ok(())
    }

    /// Gives the table the log has just described its columns. Asked again when interrupted:
    /// `pending` stays until the answer is there.
    async fn learn_table(&mut self) -> Result<(), SourceError> {
        let mut sql = self.sql().await?;
        let Some(described) = &self.pending else {
            return Ok(());
        };
        let learnt = known::learn(&mut sql, &mut self.charsets, described).await;
        let learnt = match learnt {
            Err(SourceError::Disconnected(_)) => {
                sql = connect::connect(&self.settings, Rights::Read).await?;
                known::learn(&mut sql, &mut self.charsets, described).await?
            }
            other => other?,
        };
        let (event, table) = (&described.event, &described.captured.table);
        let captured = self.captured(&table.schema, &table.name).is_some();
        match learnt {
            Learnt::Known(known) => {
                let known = Arc::new(known);
                self.known.insert(table.clone(), Arc::clone(&known));
                self.maps
                    .insert(event.id, Watched::Rows { known, captured });
            }
            // Then any change of it may be one of a key.
            Learnt::Unclear(_) if !captured => {
                self.maps.insert(event.id, Watched::Parent(table.clone()));
            }
            Learnt::Unclear(what) => {
                self.standing.mark(
                    table,
                    format!("{what}: its rows are not told"),
                    "SET GLOBAL binlog_row_metadata = 'FULL', and see lighterman map check",
                );
                let parent = self.cascades.effect(&table.schema, &table.name).is_some();
                let watched = if parent {
                    Watched::Parent(table.clone())
                } else {
                    Watched::No
                };
                self.maps.insert(event.id, watched);
            }
        }
        self.pending = None;
        self.sql = Some(sql);
        Ok(())
    }

    async fn learn_cascades(&mut self) -> Result<(), SourceError> {
        let mut sql = self.sql().await?;
        let names: Vec<TableName> = self.tables.iter().map(|one| one.table.clone()).collect();
        let cascades = match Cascades::read(&mut sql, &names, &self.cascades).await {
            Err(SourceError::Disconnected(_)) => {
                sql = connect::connect(&self.settings, Rights::Read).await?;
                Cascades::read(&mut sql, &names, &self.cascades).await?
            }
            other => other?,
        };
        self.cascades_changed = false;
        self.sql = Some(sql);
        let before = std::mem::replace(&mut self.cascades, cascades);
        self.missed_cascades(&before);
        Ok(())
    }

    /// What the foreign keys may have done that were not known for a while.
    pub(super) fn missed_cascades(&mut self, before: &Cascades) {
        let why = "a foreign key changes rows of this table in silence, and was not known for a while, \
                   because a table was locked by somebody who changes it";
        self.unclear(&self.cascades.missed(before), why);
        self.kept.note(&self.identity, &self.cascades);
    }

    /// Looks whether the captured tables are there.
    pub(super) async fn look(&mut self) -> Result<(), SourceError> {
        in_time(self.look_now()).await
    }

    async fn look_now(&mut self) -> Result<(), SourceError> {
        let mut sql = self.sql().await?;
        let again = match self.standing.look(&mut sql, &self.tables).await {
            Err(SourceError::Disconnected(_)) => {
                sql = connect::connect(&self.settings, Rights::Read).await?;
                self.standing.look(&mut sql, &self.tables).await?
            }
            other => other?,
        };
        self.sql = Some(sql);
        self.cascades_changed |= self.cascades.is_locked();
        if let Some(table) = again {
            return Err(SourceError::Disconnected(format!(
                "table {table} is told again, and is read again"
            )));
        }
        let calm = self.standing.untold().is_empty() && !self.cascades.is_locked();
        let wait = if calm { LOOK_EVERY } else { LOOK_AGAIN };
        self.look_at = Instant::now() + wait;
        Ok(())
    }
}
