//! What a stream tells, and going on from where it was left.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; each test program uses its part"
)]

use std::time::Duration;

use contract::{
    ChangeBatch, ChangeStream, Position, Resume, RowChange, Source, SourceError, Value,
};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_mins(1);

pub async fn next(stream: &mut dyn ChangeStream) -> Result<ChangeBatch, SourceError> {
    let next = tokio::time::timeout(DEADLINE, stream.next()).await;
    next.expect("a batch comes")
}

/// So many changes, up to a border.
pub async fn changes(stream: &mut dyn ChangeStream, count: usize) -> (Vec<RowChange>, Position) {
    let deadline = Instant::now() + DEADLINE;
    let mut all: Vec<RowChange> = Vec::new();
    loop {
        assert!(Instant::now() < deadline, "{} of {count} came", all.len());
        let batch = next(stream).await.unwrap();
        stream.acknowledge(&batch.end).await.unwrap();
        all.extend(batch.changes);
        if all.len() >= count && batch.end.seq == 0 {
            let said = lines(&all);
            assert_eq!(all.len(), count, "more changes than were made: {said:?}");
            return (all, batch.end);
        }
    }
}

pub fn line(change: &RowChange) -> String {
    let row = |row: &Option<Vec<Value>>| {
        let cells = row.iter().flatten();
        let cells: Vec<String> = cells
            .map(|cell| cell.text().unwrap_or_else(|| cell.type_name().to_owned()))
            .collect();
        cells.join(",")
    };
    format!(
        "{} {} {} | {}",
        change.table().name,
        change.op.name(),
        row(&change.before),
        row(&change.after)
    )
}

pub fn lines(changes: &[RowChange]) -> Vec<String> {
    changes.iter().map(line).collect()
}

/// The stream behind a position, of a server that called itself so.
pub fn resumed(end: &Position, server: Option<String>) -> Resume {
    Resume {
        epoch: 1,
        after: Some(end.clone()),
        server,
        committed_at: None,
    }
}

/// Goes on behind a position.
pub async fn go_on(
    source: &dyn Source,
    end: &Position,
    server: Option<String>,
) -> Box<dyn ChangeStream> {
    source.resume(&resumed(end, server)).await.unwrap()
}

/// How a stream ends.
pub async fn error(stream: &mut dyn ChangeStream) -> SourceError {
    loop {
        if let Err(error) = next(stream).await {
            return error;
        }
    }
}

/// Waits until a table is named as one whose rows are not clear, and says why.
pub async fn untold(stream: &mut dyn ChangeStream, table: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = stream.untold().iter().find(|one| one.table.name == table);
        if let Some(found) = found {
            return found.what.clone();
        }
        next(stream).await.unwrap();
        assert!(Instant::now() < deadline, "{table} is not named");
    }
}

/// Where a server's log ends.
#[derive(Debug)]
pub struct Where {
    pub file: u64,
    pub offset: u64,
}

impl Where {
    pub async fn of(server: &harness::mariadb::MariadbServer) -> Self {
        let row: mysql_async::Row = server.ask("SHOW MASTER STATUS").await;
        let name: String = row.get(0).unwrap();
        Self {
            file: name.rsplit_once('.').unwrap().1.parse().unwrap(),
            offset: row.get(1).unwrap(),
        }
    }
}

/// The place in its file that a position has.
pub fn offset(at: &Position) -> u64 {
    let text = at.pos.as_str();
    u64::from_str_radix(&text[20..36], 16).unwrap()
}
