//! Tables read beside the stream.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::world::{Rows, World, int, truth, words};
use contract::{ChunkLimits, Position, SnapshotChunk, SourceError, TableName};
use tds_server::model::{Column, Which};
use tds_server::wire::{ServerError, Type, Value};

const FEW: ChunkLimits = ChunkLimits {
    rows_max: 2,
    bytes_max: 1 << 20,
};

fn table(name: &str) -> TableName {
    TableName::new("dbo", name)
}

fn insert(world: &World, id: i32, name: &str) {
    let row = [("id", int(id)), ("name", Value::text(name))];
    world.database.insert("t", &row).unwrap();
}

fn rename(world: &World, id: i32, name: &str) {
    let set = [("name", Value::text(name))];
    world.database.update("t", &[int(id)], &set).unwrap();
}

/// What stands after the stream and the chunks beside it, taken as the engine takes them: a chunk when the
/// stream has reached its mark, without the rows that a change overtook which the chunk does not reflect.
#[derive(Default)]
struct Taken {
    rows: Rows,
    guard: BTreeMap<String, Position>,
    told: usize,
}

impl Taken {
    fn stream(&mut self, told: &[contract::RowChange]) {
        for change in &told[self.told..] {
            self.rows.apply(change);
            for key in [change.key(), change.old_key()].into_iter().flatten() {
                self.guard
                    .insert(key.as_str().to_owned(), change.position.clone());
            }
        }
        self.told = told.len();
    }

    fn chunk(&mut self, chunk: &SnapshotChunk) {
        for row in &chunk.rows {
            let seen = self.guard.get(row.key().unwrap().as_str());
            if seen.is_none_or(|seen| chunk.sees.reflects(&chunk.mark, seen, 0)) {
                self.rows.apply(row);
            }
        }
    }
}

/// Scenario 32, and trap 18: changes before, within and behind each chunk.
#[tokio::test]
async fn trap_18_a_table_that_is_read_while_it_changes_ends_as_it_is() {
    for mode in ["cdc", "tracking", "rowversion"] {
        for snapshots in [true, false] {
            let mut world = World::new();
            let mut columns = vec![
                Column::new("id", Type::Int).not_null(),
                Column::new("name", words()),
            ];
            if mode == "rowversion" {
                columns.push(Column::rowversion("rv"));
            }
            world.database.create_table("t", columns, &["id"]).unwrap();
            world.tables.push(common::captured("dbo", "t"));
            world.database.allow_snapshot(snapshots);
            for id in 0..6 {
                insert(&world, id, "first");
            }
            let world = match mode {
                "cdc" => world.cdc(),
                "tracking" => world.track(),
                _ => world,
            };
            world
                .database
                .options(|options| options.capture_at_once = mode == "cdc");
            let mut reader = world.open();
            reader.start().await.unwrap();
            let mut chunks = reader.source.snapshot(1).await.unwrap();
            chunks.begin().await.unwrap();
            let mut taken = Taken::default();
            let mut cursor: Option<String> = None;
            let mut n = 0;
            loop {
                rename(&world, n % 6, &format!("before {n}"));
                let late = n;
                world
                    .database
                    .before(Which::next("SELECT TOP (@P1) T."), move |database| {
                        let set = [("name", Value::text(&format!("within {late}")))];
                        database.update("t", &[int((late + 1) % 6)], &set).unwrap();
                    });
                let chunk = chunks
                    .chunk(&table("t"), cursor.as_deref(), FEW)
                    .await
                    .unwrap();
                assert_eq!(world.database.hooks_waiting(), 0);
                rename(&world, (2 * n + 1) % 6, &format!("behind {n}"));
                if mode != "rowversion" && n == 2 {
                    world.database.delete("t", &[int(0)]).unwrap();
                }
                while reader
                    .resume
                    .after
                    .as_ref()
                    .is_none_or(|at| *at < chunk.mark || at.seq > 0)
                {
                    reader.batch().await.unwrap();
                }
                taken.stream(&reader.told);
                taken.chunk(&chunk);
                cursor = chunk.next;
                n += 1;
                if cursor.is_none() {
                    break;
                }
            }
            reader.catch_up().await.unwrap();
            taken.stream(&reader.told);
            assert_eq!(
                taken.rows.of("t"),
                truth(&world.database, "t"),
                "{mode} {snapshots}"
            );
        }
    }
}

/// A chunk may be newer than what is captured: an older state is told once more, then the newer one.
#[tokio::test]
async fn a_chunk_that_is_ahead_of_the_capture_job_converges() {
    let world = World::new().table("t").cdc();
    let mut reader = world.open();
    reader.start().await.unwrap();
    insert(&world, 1, "a");
    rename(&world, 1, "b");
    let mut chunks = reader.source.snapshot(1).await.unwrap();
    let chunk = chunks.chunk(&table("t"), None, FEW).await.unwrap();
    let mut taken = Taken::default();
    while reader
        .resume
        .after
        .as_ref()
        .is_none_or(|at| *at < chunk.mark)
    {
        reader.batch().await.unwrap();
    }
    taken.stream(&reader.told);
    taken.chunk(&chunk);
    assert_eq!(taken.rows.of("t"), truth(&world.database, "t"));
    world.database.capture_all();
    reader.catch_up().await.unwrap();
    taken.stream(&reader.told);
    assert_eq!(taken.rows.of("t"), truth(&world.database, "t"));
}

/// Trap 25: identifiers sort by the server's own order, and chunks follow it.
#[tokio::test]
async fn trap_25_keys_that_only_the_server_can_sort_are_read_whole() {
    let mut world = World::new();
    let columns = vec![
        Column::new("id", Type::UniqueIdentifier).not_null(),
        Column::new("code", Type::Char(4)).not_null(),
        Column::new("name", words()),
    ];
    world
        .database
        .create_table("t", columns, &["id", "code"])
        .unwrap();
    world.tables.push(common::captured("dbo", "t"));
    for n in 0..20_u8 {
        let mut guid = [0; 16];
        guid[usize::from(n % 16)] = n.wrapping_mul(67);
        guid[15] ^= n;
        for code in ["b", "A", "é"] {
            let row = [
                ("id", Value::Guid(guid)),
                ("code", Value::text(code)),
                ("name", Value::text("x")),
            ];
            world.database.insert("t", &row).unwrap();
        }
    }
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    let mut cursor: Option<String> = None;
    let mut keys = Vec::new();
    loop {
        let chunk = chunks
            .chunk(&table("t"), cursor.as_deref(), FEW)
            .await
            .unwrap();
        keys.extend(chunk.rows.iter().map(|row| row.key().unwrap()));
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys.len(), 60);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 60);
}

/// Scenario 27, for chunks.
#[tokio::test]
async fn a_chunk_is_read_again_where_the_server_asks_for_that() {
    for number in [1205, 1222, 3961, 3952] {
        let world = World::new().table("t");
        insert(&world, 1, "a");
        let source = world.source();
        let mut chunks = source.snapshot(1).await.unwrap();
        let error = ServerError::new(number, 13, "try again");
        world
            .database
            .fail(Which::next("SELECT TOP (@P1) T."), error);
        let chunk = chunks.chunk(&table("t"), None, FEW).await.unwrap();
        assert_eq!(chunk.rows.len(), 1);
        assert_eq!(chunk.next, None);
    }
}

#[tokio::test]
async fn what_cannot_be_read_in_pieces_is_said() {
    let mut world = World::new();
    world
        .database
        .create_table("t", vec![Column::new("id", Type::Int)], &[])
        .unwrap();
    world.tables.push(common::captured("dbo", "t"));
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    let error = chunks.chunk(&table("t"), None, FEW).await.unwrap_err();
    common::denied(&error, "no primary key", "ADD PRIMARY KEY");
    let error = chunks.chunk(&table("gone"), None, FEW).await.unwrap_err();
    assert!(
        matches!(error, SourceError::SchemaChanged { .. }),
        "{error:?}"
    );
}

/// Scenario 36, and trap 24.
#[tokio::test]
async fn trap_24_names_of_any_kind_are_quoted_and_find_their_own_table() {
    for mode in ["cdc", "tracking", "rowversion", "compare"] {
        let mut world = World::new();
        let name = "odd].'na\"me";
        let full = format!("dbo.{name}");
        let mut columns = vec![
            Column::new("the ]key'", Type::Int).not_null(),
            Column::new("so.me", words()),
        ];
        if mode == "rowversion" {
            columns.push(Column::rowversion("r]v"));
        }
        world
            .database
            .create_table(&full, columns, &["the ]key'"])
            .unwrap();
        world.tables.push(common::captured("dbo", name));
        match mode {
            "cdc" => {
                world.database.enable_cdc();
                world
                    .database
                    .capture_table(&full, Some("in]st'"), None)
                    .unwrap();
            }
            "tracking" => world.database.track(&full).unwrap(),
            _ => {}
        }
        let world = world.mode(mode);
        let mut reader = world.open();
        reader.start().await.unwrap();
        let row = [("the ]key'", int(7)), ("so.me", Value::text("x"))];
        world.database.insert(&full, &row).unwrap();
        world.database.capture_all();
        let told = reader.catch_up().await.unwrap();
        assert_eq!(told.len(), usize::from(mode != "compare"), "{mode}");
        let mut chunks = reader.source.snapshot(1).await.unwrap();
        let chunk = chunks.chunk(&table(name), None, FEW).await.unwrap();
        assert_eq!(chunk.rows.len(), 1);
    }
}

/// A table in ranges of its key, each read to its own end: every row once, however the ranges lie.
#[tokio::test]
async fn ranges_are_the_table() {
    let mut world = World::new();
    let columns = vec![
        Column::new("id", Type::Int).not_null(),
        Column::new("line", Type::SmallInt).not_null(),
        Column::new("name", words()),
    ];
    world
        .database
        .create_table("t", columns, &["id", "line"])
        .unwrap();
    world.tables.push(common::captured("dbo", "t"));
    for id in [-7, 0, 1, 2, 3, 90, 91, 100] {
        for line in 0..3 {
            let row = [
                ("id", int(id)),
                ("line", Value::SmallInt(line)),
                ("name", Value::text("x")),
            ];
            world.database.insert("t", &row).unwrap();
        }
    }
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    for parts in [1, 2, 4, 50] {
        let ranges = chunks.ranges(&table("t"), parts).await.unwrap();
        assert_eq!(ranges.is_empty(), parts == 1);
        let mut keys = Vec::new();
        for range in &ranges {
            let mut cursor = Some(range.clone());
            while cursor.is_some() {
                let chunk = chunks
                    .chunk(&table("t"), cursor.as_deref(), FEW)
                    .await
                    .unwrap();
                keys.extend(chunk.rows.iter().map(|row| row.key().unwrap()));
                cursor = chunk.next;
            }
        }
        if parts > 1 {
            assert_eq!(keys.len(), 24, "{parts}");
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 24, "{parts}");
        }
    }
}

/// A key that is no number is read by one reader, and so is an empty table.
#[tokio::test]
async fn what_cannot_be_cut_is_one_range() {
    let world = World::new().table("t");
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    assert!(chunks.ranges(&table("t"), 4).await.unwrap().is_empty());
    let mut world = World::new();
    let columns = vec![Column::new("code", Type::Char(4)).not_null()];
    world
        .database
        .create_table("t", columns, &["code"])
        .unwrap();
    world.tables.push(common::captured("dbo", "t"));
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    assert!(chunks.ranges(&table("t"), 4).await.unwrap().is_empty());
}

/// The catalogue is read once, and once more when the table is altered between two chunks.
#[tokio::test]
async fn the_catalogue_is_asked_again_when_the_table_was_altered() {
    let world = World::new().table("t");
    for id in 0..9 {
        insert(&world, id, "a");
    }
    let source = world.source();
    let mut chunks = source.snapshot(1).await.unwrap();
    let read = chunks.chunk(&table("t"), None, FEW).await.unwrap();
    // Would it be asked now, it would fail.
    let error = ServerError::new(15_151, 16, "asked again");
    world.database.fail(Which::next("FROM sys.columns"), error);
    let cursor = read.next.unwrap();
    let read = chunks.chunk(&table("t"), Some(&cursor), FEW).await.unwrap();
    assert_eq!(read.rows[0].shape.columns, ["id", "name"]);
    world
        .database
        .add_column("t", Column::new("more", Type::Int))
        .unwrap();
    let cursor = read.next.unwrap();
    let asked = chunks.chunk(&table("t"), Some(&cursor), FEW).await;
    assert!(asked.unwrap_err().to_string().contains("asked again"));
    let read = chunks.chunk(&table("t"), Some(&cursor), FEW).await.unwrap();
    assert_eq!(read.rows[0].shape.columns, ["id", "name", "more"]);
    assert_eq!(read.rows[0].key().unwrap().as_str(), "4");
}
