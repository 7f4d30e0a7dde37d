//! The simulated source: pieces of transactions, chunks that do not see what the log already told,
//! lost connections.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    ChangeBatch, ChangeStream, ChunkLimits, Finding, LogPos, Op, Position, Preparation, Row,
    RowChange, Sees, SnapshotChunk, SnapshotReader, Source, SourceError, TableInfo, TableName,
};
use judge::PositionSeen;
use rand::RngExt;

use crate::database::{MOVE, item_shape, move_shape};
use crate::world::{Shared, let_others, lock};

/// A source, which looks into the agent's state file whether an acknowledgement is true.
pub struct SimSource(pub Shared);

struct SimStream {
    world: Shared,
    epoch: u32,
    /// Delivered up to here.
    at: Position,
    started: bool,
}

struct SimReader(Shared, u32);

#[async_trait]
impl Source for SimSource {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn prepare(&self, _: bool) -> Result<Preparation, SourceError> {
        Ok(Preparation::default())
    }

    async fn stream(
        &self,
        epoch: u32,
        after: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        let released = lock(&self.0).released;
        let at = after
            .cloned()
            .unwrap_or(Position::border(epoch, LogPos::from_number(released)));
        if at.pos.number().unwrap() < released {
            return Err(SourceError::PositionLost {
                what: format!("the log was released up to {released}, the checkpoint is {at}"),
                hint: String::new(),
            });
        }
        Ok(Box::new(SimStream {
            world: Arc::clone(&self.0),
            epoch,
            at,
            started: false,
        }))
    }

    async fn catalogue(&self, tables: &[TableName]) -> Result<Vec<TableInfo>, SourceError> {
        let info = |table: &TableName| TableInfo {
            table: table.clone(),
            columns: Vec::new(),
            key: Vec::new(),
            rows: Some(1_000_000),
        };
        Ok(tables.iter().map(info).collect())
    }

    async fn snapshot(&self, epoch: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        Ok(Box::new(SimReader(Arc::clone(&self.0), epoch)))
    }
}

#[async_trait]
impl ChangeStream for SimStream {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        loop {
            let_others(&self.world).await;
            {
                let mut world = lock(&self.world);
                if world.faults && world.chance(2) {
                    return Err(SourceError::Disconnected("simulated".to_owned()));
                }
                // Pieces of a transaction and several transactions per batch, both by chance.
                let most = world.rng.random_range(1..8);
                let mut changes: Vec<RowChange> = Vec::new();
                let mut end = None;
                for logged in &world.log {
                    for change in &logged.changes {
                        let mut change = change.clone();
                        change.position.epoch = self.epoch;
                        if change.position > self.at && changes.len() < most {
                            end = Some(change.position.clone());
                            changes.push(change);
                        }
                    }
                    let border = Position::border(self.epoch, LogPos::from_number(logged.end));
                    let whole = logged.changes.last().is_none_or(|last| {
                        let mut last = last.position.clone();
                        last.epoch = self.epoch;
                        last <= self.at || changes.last().is_some_and(|c| c.position == last)
                    });
                    if !whole || changes.len() >= most {
                        if whole && border > self.at {
                            end = Some(border);
                        }
                        break;
                    }
                    if border > self.at {
                        end = Some(border);
                    }
                }
                if let Some(end) = end {
                    self.at = end.clone();
                    self.started = true;
                    return Ok(ChangeBatch { changes, end });
                }
                if !self.started {
                    self.started = true;
                    return Ok(ChangeBatch {
                        changes: Vec::new(),
                        end: self.at.clone(),
                    });
                }
            }
            self.world.1.notified().await;
        }
    }

    async fn acknowledge(&mut self, upto: &Position) -> Result<(), SourceError> {
        let_others(&self.world).await;
        let mut world = lock(&self.world);
        world.note(&format!("acknowledged {upto}"));
        let stored: Option<String> = world
            .file()
            .query_row("SELECT checkpoint FROM source", [], |row| row.get(0))
            .unwrap();
        world.acknowledged.push(PositionSeen {
            source: "erp".to_owned(),
            told: upto.to_string(),
            durable: stored.unwrap_or_default(),
        });
        if upto.seq == 0 {
            let upto = upto.pos.number().unwrap();
            world.released = world.released.max(upto);
            world.log.retain(|logged| logged.end > upto);
        }
        Ok(())
    }
}

#[async_trait]
impl SnapshotReader for SimReader {
    async fn begin(&mut self) -> Result<(), SourceError> {
        // As PostgreSQL: wait until every transaction that may be in the log is visible.
        let before = lock(&self.0).next_transaction;
        loop {
            if lock(&self.0)
                .stalled
                .iter()
                .all(|(transaction, _)| *transaction >= before)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            lock(&self.0).settle(50);
        }
    }

    async fn ranges(&mut self, table: &TableName, _: usize) -> Result<Vec<String>, SourceError> {
        let mut world = lock(&self.0);
        let n = world.rng.random_range(10..30);
        let bound = if table.name == "move" {
            format!("{MOVE}old{n}")
        } else {
            format!("S{n}")
        };
        Ok(vec![format!("|{bound}"), format!("{bound}|")])
    }

    async fn chunk(
        &mut self,
        table: &TableName,
        cursor: Option<&str>,
        _: ChunkLimits,
    ) -> Result<SnapshotChunk, SourceError> {
        let_others(&self.0).await;
        let pause = lock(&self.0).rng.random_range(0..100);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut world = lock(&self.0);
        if world.faults && world.chance(10) {
            return Err(SourceError::Disconnected("simulated".to_owned()));
        }
        let end = world.log.last().map_or(world.released, |logged| logged.end);
        let mark = Position::border(self.1, LogPos::from_number(end));
        let in_progress: Vec<u64> = world.stalled.iter().map(|(t, _)| *t).collect();
        let sees = Sees::Transactions {
            xmin: in_progress
                .first()
                .copied()
                .unwrap_or(world.next_transaction),
            xmax: world.next_transaction,
            in_progress,
        };
        let moves = table.name == "move";
        // Behind the one key, up to the other.
        let (behind, until) = cursor.and_then(|c| c.split_once('|')).unwrap_or_default();
        let wanted: Vec<(String, Row)> = world
            .rows
            .iter()
            .filter(|(sku, _)| sku.starts_with(MOVE) == moves)
            .filter(|(sku, _)| sku.as_str() > behind)
            .filter(|(sku, _)| until.is_empty() || sku.as_str() <= until)
            .take(3)
            .map(|(sku, row)| (sku.clone(), row.clone()))
            .collect();
        let next = (wanted.len() == 3).then(|| format!("{}|{until}", wanted[2].0));
        world
            .chunks
            .push((tokio::time::Instant::now(), wanted.len()));
        let shape = if moves { move_shape() } else { item_shape() };
        let rows = wanted
            .into_iter()
            .map(|(_, row)| RowChange {
                shape: Arc::clone(&shape),
                op: Op::Read,
                before: None,
                after: Some(row),
                position: mark.clone(),
                committed_at: None,
                transaction: 0,
            })
            .collect();
        Ok(SnapshotChunk {
            rows,
            next,
            mark,
            sees,
        })
    }
}
