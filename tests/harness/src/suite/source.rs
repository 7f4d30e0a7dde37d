//! What every source must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    ChangeStream, ChunkLimits, Op, Position, RowChange, Source, SourceError, TableName,
};

/// A database with the table `suite(sku TEXT PRIMARY KEY, qty <exact decimal>, note TEXT)`, prepared
/// and empty.
#[async_trait]
pub trait SourceBackend: Send + Sync {
    /// The table's full name.
    fn table(&self) -> TableName;

    /// The source, built for that table.
    fn source(&self) -> Arc<dyn Source>;

    /// Runs statements as one transaction.
    async fn commit(&self, statements: &[&str]);

    /// A read that does not end by itself, in the database's own words.
    fn endless(&self) -> String {
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
            .to_owned()
    }

    /// A position far beyond the end of the log.
    fn beyond(&self) -> Position {
        Position::border(1, contract::LogPos::from_number(u64::MAX / 4))
    }
}

const SOON: Duration = Duration::from_secs(30);

async fn take(stream: &mut dyn ChangeStream, count: usize) -> (Vec<RowChange>, Position) {
    let mut all = Vec::new();
    loop {
        let next = tokio::time::timeout(SOON, stream.next()).await;
        let batch = next.unwrap_or_else(|_| panic!("{} of {count} changes came", all.len()));
        let batch = batch.unwrap();
        for change in &batch.changes {
            assert!(
                change.position <= batch.end,
                "a batch ends after its last change"
            );
        }
        all.extend(batch.changes);
        if all.len() >= count && batch.end.seq == 0 {
            assert_eq!(all.len(), count, "more changes than were made");
            return (all, batch.end);
        }
    }
}

fn told(changes: &[RowChange]) -> Vec<(Op, Option<String>)> {
    let key = |change: &RowChange| change.key().map(|key| key.as_str().to_owned());
    changes
        .iter()
        .map(|change| (change.op, key(change)))
        .collect()
}

/// Runs the whole suite.
///
/// # Panics
/// When the source does not do what it must; the message says what.
pub async fn run(backend: &dyn SourceBackend) {
    let end = changes_come_in_order_and_again_until_acknowledged(backend).await;
    let end = a_dropped_wait_loses_nothing(backend, end).await;
    a_quiet_source_proves_that_its_log_comes_through(backend, end.clone()).await;
    chunks_equal_the_stream_and_say_what_they_reflect(backend, end).await;
    super::ask::run(backend).await;
    a_position_of_another_life_is_refused(backend).await;
}

async fn changes_come_in_order_and_again_until_acknowledged(
    backend: &dyn SourceBackend,
) -> Position {
    let source = backend.source();
    backend
        .commit(&["INSERT INTO suite VALUES ('A', '1.50', 'a')"])
        .await;
    backend
        .commit(&[
            "INSERT INTO suite VALUES ('B', '-0.0001', NULL)",
            "UPDATE suite SET qty = '2' WHERE sku = 'A'",
            "DELETE FROM suite WHERE sku = 'B'",
        ])
        .await;
    backend
        .commit(&["UPDATE suite SET note = 'it''s \\ \"ä\"' WHERE sku = 'A'"])
        .await;
    let mut stream = source.stream(1, None).await.unwrap();
    let (changes, end) = take(&mut *stream, 5).await;
    drop(stream);
    let key = |text: &str| Some(text.to_owned());
    let expected = [
        (Op::Insert, key("A")),
        (Op::Insert, key("B")),
        (Op::Update, key("A")),
        (Op::Delete, key("B")),
        (Op::Update, key("A")),
    ];
    assert_eq!(told(&changes), expected, "commit order");
    assert!(
        changes.is_sorted_by(|a, b| a.position < b.position),
        "positions rise"
    );
    for change in &changes {
        let text = change.position.to_string();
        assert_eq!(
            text.parse().as_ref(),
            Ok(&change.position),
            "a position survives its text"
        );
    }
    // Nothing was acknowledged: all of it comes again, the same to the cell.
    let mut stream = source.stream(1, None).await.unwrap();
    let (again, _) = take(&mut *stream, 5).await;
    assert_eq!(
        again, changes,
        "nothing is released before it is acknowledged"
    );
    drop(stream);
    // From every place on, exactly the rest.
    for n in 0..changes.len() - 1 {
        let mut stream = source.stream(1, Some(&changes[n].position)).await.unwrap();
        let (rest, _) = take(&mut *stream, changes.len() - n - 1).await;
        assert_eq!(rest, changes[n + 1..], "resume after change {n}");
    }
    let mut stream = source.stream(1, Some(&end)).await.unwrap();
    stream.acknowledge(&end).await.unwrap();
    backend
        .commit(&["INSERT INTO suite VALUES ('C', '3', 'c')"])
        .await;
    let (more, end) = take(&mut *stream, 1).await;
    assert_eq!(
        told(&more),
        [(Op::Insert, key("C"))],
        "what was acknowledged does not come again"
    );
    stream.acknowledge(&end).await.unwrap();
    end
}

async fn a_dropped_wait_loses_nothing(backend: &dyn SourceBackend, after: Position) -> Position {
    let source = backend.source();
    let mut stream = source.stream(1, Some(&after)).await.unwrap();
    let mut seen = Vec::new();
    let mut end = after;
    for n in 0..30 {
        let insert = format!("INSERT INTO suite VALUES ('N{n}', '{n}', NULL)");
        backend.commit(&[&insert]).await;
        // A wait that is given up at once, again and again, as the engine does.
        for _ in 0..20 {
            tokio::select! {
                biased;
                batch = stream.next() => {
                    let batch = batch.unwrap();
                    end = batch.end.clone();
                    seen.extend(batch.changes);
                }
                () = tokio::task::yield_now() => {}
            }
        }
    }
    let deadline = tokio::time::Instant::now() + SOON;
    while seen.len() < 30 || end.seq != 0 {
        let batch = tokio::time::timeout_at(deadline, stream.next()).await;
        let batch = batch
            .unwrap_or_else(|_| panic!("{} of 30 changes came", seen.len()))
            .unwrap();
        end = batch.end;
        seen.extend(batch.changes);
    }
    let expected: Vec<_> = (0..30)
        .map(|n| (Op::Insert, Some(format!("N{n}"))))
        .collect();
    assert_eq!(told(&seen), expected, "a dropped wait loses nothing");
    stream.acknowledge(&end).await.unwrap();
    end
}

/// While nothing changes, one proof comes after another.
async fn a_quiet_source_proves_that_its_log_comes_through(
    backend: &dyn SourceBackend,
    after: Position,
) {
    let source = backend.source();
    let mut stream = source.stream(1, Some(&after)).await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    let mut since = tokio::time::Instant::now();
    let mut proofs = 0;
    while proofs < 3 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{proofs} proofs came: {:?}",
            source.canary()
        );
        let wait = tokio::time::timeout(Duration::from_millis(50), stream.next());
        if let Ok(batch) = wait.await {
            assert_eq!(batch.unwrap().changes, [], "nothing has changed");
        }
        let canary = source.canary().expect("a source says what proves it alive");
        if canary.ago.is_some_and(|ago| ago < since.elapsed()) {
            proofs += 1;
            since = tokio::time::Instant::now();
        }
    }
}

async fn chunks_equal_the_stream_and_say_what_they_reflect(
    backend: &dyn SourceBackend,
    after: Position,
) {
    let source = backend.source();
    let mut stream = source.stream(1, Some(&after)).await.unwrap();
    backend
        .commit(&["UPDATE suite SET qty = '7.25', note = 'x'"])
        .await;
    let (streamed, _) = take(&mut *stream, 32).await;
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let limits = ChunkLimits {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    let table = backend.table();
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let chunk = reader
            .chunk(&table, cursor.as_deref(), limits)
            .await
            .unwrap();
        assert_eq!(chunk.mark.seq, 0, "a mark is a border");
        for change in &streamed {
            let reflects = chunk
                .sees
                .reflects(&chunk.mark, &change.position, change.transaction);
            assert!(reflects, "what was committed before the chunk is reflected");
        }
        backend
            .commit(&["UPDATE suite SET qty = '8' WHERE sku = 'A'"])
            .await;
        let (later, end) = take(&mut *stream, 1).await;
        let (position, transaction) = (&later[0].position, later[0].transaction);
        let reflects = chunk.sees.reflects(&chunk.mark, position, transaction);
        assert!(!reflects, "what was committed after the chunk is not");
        assert!(end >= chunk.mark, "the stream reaches the mark");
        backend
            .commit(&["UPDATE suite SET qty = '7.25' WHERE sku = 'A'"])
            .await;
        take(&mut *stream, 1).await;
        rows.extend(chunk.rows);
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(
        rows.iter().all(|row| row.op == Op::Read),
        "rows of a chunk are read"
    );
    let mut expected: Vec<_> = streamed
        .iter()
        .map(|c| (c.key(), c.after.clone()))
        .collect();
    let mut found: Vec<_> = rows.iter().map(|c| (c.key(), c.after.clone())).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        found, expected,
        "snapshot and stream give equal values for equal rows"
    );
}

async fn a_position_of_another_life_is_refused(backend: &dyn SourceBackend) {
    let far = backend.beyond();
    let refused = backend.source().stream(1, Some(&far)).await.err();
    assert!(
        matches!(refused, Some(SourceError::PositionLost { .. })),
        "a position beyond the log's end is lost, not skipped: {refused:?}"
    );
}
