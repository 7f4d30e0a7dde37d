//! Going back to an older version's state: what happened since stays known, whatever the file's format.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use contract::delivery::DeliveryEvent;
use contract::finding::worst;
use contract::{EventType, Level};
use rusqlite::Connection;
use state::{
    Command, FILE_NAME, Happened, RuleInForce, Said, Store, StoreError, backup, backups, look_back,
    roll_back, verify,
};

use crate::common::{NOW, World, at, fact, number, product, refused};

const SCHEMAS: [&str; 9] = [
    include_str!("../src/schema.sql"),
    include_str!("../src/schema_2.sql"),
    include_str!("../src/schema_3.sql"),
    include_str!("../src/schema_4.sql"),
    include_str!("../src/schema_5.sql"),
    include_str!("../src/schema_6.sql"),
    include_str!("../src/schema_7.sql"),
    include_str!("../src/schema_8.sql"),
    include_str!("../src/schema_9.sql"),
];

/// An empty state file as the version that wrote this format left it.
fn of_format(file: &Path, format: usize) -> Connection {
    let db = Connection::open(file).unwrap();
    db.pragma_update(None, "foreign_keys", "OFF").unwrap();
    db.pragma_update(None, "application_id", 0x4c54_524d_i64)
        .unwrap();
    for schema in &SCHEMAS[..format] {
        db.execute_batch(schema).unwrap();
    }
    db.pragma_update(None, "user_version", i64::try_from(format).unwrap())
        .unwrap();
    db
}

/// What a file holds, as the version before would have written it.
fn older_copy(of: &Path, to: &Path, format: usize) {
    let db = of_format(to, format);
    db.execute("ATTACH ?1 AS newer", [of.to_str().unwrap()])
        .unwrap();
    let tables: Vec<String> = db
        .prepare(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    // They keep what is copied from being deleted first.
    let triggers: Vec<(String, String)> = db
        .prepare("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (name, _) in &triggers {
        db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    for table in tables {
        let columns: String = db
            .query_row(
                "SELECT group_concat('\"' || name || '\"') FROM pragma_table_info(?1, 'main')",
                [&table],
                |row| row.get(0),
            )
            .unwrap();
        db.execute_batch(&format!(
            "DELETE FROM main.\"{table}\";
             INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM newer.\"{table}\""
        ))
        .unwrap();
    }
    for (_, sql) in &triggers {
        db.execute_batch(sql).unwrap();
    }
}

fn applied(offset: i64) -> Happened {
    Happened {
        offset,
        event: DeliveryEvent::Applied,
        said: Said::Applied,
        cause: None,
        answer: None,
    }
}

fn right(file: &Path) {
    let verdict = verify(file).unwrap();
    assert_ne!(worst(&verdict.findings), Level::Fail, "{verdict:?}");
}

/// A state, a backup of it as it was earlier, and by which keys things were told since.
struct Before {
    world: World,
    backup: PathBuf,
    told: Vec<String>,
}

/// Told before the backup: A. Since: A anew and a fact, both delivered; B and another fact, which wait.
async fn before(format: Option<usize>) -> Before {
    let world = World::new().await;
    let rule = RuleInForce {
        name: "products".to_owned(),
        digest: "d".to_owned(),
        event_type: EventType::Product,
        table: "item".to_owned(),
        relates: false,
    };
    world
        .store
        .open_rules(world.source, vec![rule], None)
        .await
        .unwrap();
    let tables = vec!["item".to_owned()];
    world
        .store
        .snapshots(world.source, 1, tables, NOW)
        .await
        .unwrap();
    world.commit(vec![product("A", 1, "a")], 1).await;
    let out = world.turn(Vec::new(), at(1)).await;
    world
        .turn(out.iter().map(|one| applied(one.offset)).collect(), at(2))
        .await;
    let mut file = backup(world.folder.path(), None, at(3)).unwrap().file;
    if let Some(format) = format {
        let older = file.with_file_name("older.db");
        older_copy(&file, &older, format);
        std::fs::remove_file(&file).unwrap();
        file = older;
    }
    world
        .commit(vec![product("A", 4, "a2"), fact("m1", 5)], 5)
        .await;
    let out = world.turn(Vec::new(), at(4)).await;
    assert_eq!(out.len(), 2);
    let told = out.iter().map(|one| one.idempotency_key.clone()).collect();
    world
        .turn(out.iter().map(|one| applied(one.offset)).collect(), at(5))
        .await;
    world
        .commit(vec![product("B", 6, "b"), fact("m2", 7)], 7)
        .await;
    Before {
        world,
        backup: file,
        told,
    }
}

async fn goes_back(format: Option<usize>) {
    let Before {
        world,
        backup,
        told,
    } = before(format).await;
    let asked = state::ask(world.folder.path(), "shop", &Command::Drain, NOW).unwrap();
    assert!(asked.is_some());
    // Not beside an agent; but what it would come to is said.
    let busy = roll_back(world.folder.path(), &backup, at(10)).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    let shown = look_back(world.folder.path(), &backup).unwrap();
    let World { folder, store, .. } = world;
    drop(store);
    let file = folder.path().join(FILE_NAME);
    let checkpoint = "SELECT CAST(substr(checkpoint, 12, 20) AS INTEGER) FROM source";
    let stood = number(&file, checkpoint);
    let done = roll_back(folder.path(), &backup, at(10)).unwrap();
    assert_eq!(
        (&done.sources, &done.destinations),
        (&shown.sources, &shown.destinations)
    );
    let newest = i64::try_from(SCHEMAS.len()).unwrap();
    let format = format.map_or(newest, |format| i64::try_from(format).unwrap());
    assert_eq!(done.formats, (newest, format));
    assert_eq!(number(&file, "PRAGMA user_version"), format);
    assert_eq!((done.requests_given_up, done.sources[0].tables), (1, 1));
    let shop = &done.destinations[0];
    assert_eq!(
        (shop.delivered_since, shop.waiting, shop.out, shop.held),
        (2, 2, 0, 0)
    );
    right(&file);
    right(&done.replaced.unwrap().join(FILE_NAME));
    // Its position is the newest, and its table is read again.
    assert_eq!(number(&file, checkpoint), stood);
    assert_eq!(number(&file, "SELECT done FROM snapshot"), 0);
    assert_eq!(number(&file, "SELECT stage FROM rule"), 1);

    // The older version starts on it: what waited leaves as it was, and nothing else does.
    let world = World::open(folder).await;
    let out = world.turn(Vec::new(), at(20)).await;
    let keys: Vec<_> = out.iter().map(|one| one.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.iter().all(|key| !told.contains(key)), "{keys:?}");
    // What the table says again was told; what is older than what was told is not told.
    let again = world.commit(vec![product("A", 8, "a2")], 8).await;
    assert_eq!((again.events, again.suppressed), (0, 1));
    let again = world.commit(vec![product("B", 3, "old")], 8).await;
    assert_eq!((again.events, again.stale), (0, 1));
    let again = world.commit(vec![fact("m1", 9)], 9).await;
    assert_eq!((again.events, again.suppressed), (0, 1));
    // What is new is told behind all that was, under an offset that nobody had.
    let newest = number(&file, "SELECT max(offset) FROM outbox");
    let told = world.commit(vec![product("A", 10, "a3")], 10).await;
    assert_eq!(told.events, 1);
    assert_eq!(number(&file, "SELECT max(offset) FROM outbox"), newest + 1);
}

#[tokio::test]
async fn what_was_told_since_an_upgrade_is_known_after_going_back() {
    goes_back(None).await;
}

#[tokio::test]
async fn so_it_is_where_the_older_version_has_an_older_format() {
    goes_back(Some(7)).await;
    goes_back(Some(6)).await;
    goes_back(Some(5)).await;
}

#[tokio::test]
async fn who_cannot_go_back_is_told_why_and_stays() {
    let Before { world, backup, .. } = before(Some(6)).await;
    let World { folder, store, .. } = world;
    drop(store);
    let file = folder.path().join(FILE_NAME);
    // A backup that is not whole.
    let broken = backup.with_file_name("broken.db");
    std::fs::copy(&backup, &broken).unwrap();
    let db = Connection::open(&broken).unwrap();
    db.execute_batch("DROP INDEX delivery_lane").unwrap();
    drop(db);
    let error = roll_back(folder.path(), &broken, NOW).unwrap_err();
    assert!(
        refused(&error).contains("index delivery_lane is missing"),
        "{error}"
    );
    // One from before what is told was remembered.
    let early = backup.with_file_name("early.db");
    drop(of_format(&early, 4));
    let error = roll_back(folder.path(), &early, NOW).unwrap_err();
    assert!(
        refused(&error).contains("only formats from 5 on"),
        "{error}"
    );
    assert_eq!(number(&file, "PRAGMA user_version"), 9, "it stays as it is");
    // There is nothing to go back from.
    roll_back(folder.path(), &backup, NOW).unwrap();
    let newer = folder.path().join("newer.db");
    drop(of_format(&newer, 7));
    let error = roll_back(folder.path(), &newer, at(1)).unwrap_err();
    assert!(refused(&error).contains("is of format 6"), "{error}");
}

/// A downgrade: this version finds a file that a newer one wrote, and goes back by itself to what it knows.
#[tokio::test]
async fn an_older_version_names_the_backup_and_can_go_back() {
    let Before { world, backup, .. } = before(None).await;
    let World { folder, store, .. } = world;
    drop(store);
    let file = folder.path().join(FILE_NAME);
    let db = Connection::open(&file).unwrap();
    db.execute_batch(
        "ALTER TABLE published ADD COLUMN newer TEXT; CREATE TABLE newer (id INTEGER); PRAGMA user_version = 10",
    )
    .unwrap();
    drop(db);
    let error = Store::open(folder.path()).unwrap_err();
    let hint = error.hint().unwrap();
    let name = backup.file_name().unwrap().to_str().unwrap();
    assert!(
        hint.contains("lighterman rollback") && hint.contains(name),
        "{hint}"
    );
    let done = roll_back(folder.path(), &backup, at(1)).unwrap();
    assert_eq!(done.formats, (10, 9));
    right(&file);
    drop(Store::open(folder.path()).unwrap());
}

#[test]
fn a_file_of_every_older_format_opens() {
    for format in 1..SCHEMAS.len() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let db = of_format(&file, format);
        db.execute_batch("INSERT INTO source (name) VALUES ('erp')")
            .unwrap();
        drop(db);
        drop(Store::open(folder.path()).unwrap());
        let verdict = verify(&file).unwrap();
        assert_eq!(worst(&verdict.findings), Level::Pass, "{verdict:?}");
        let kept = backups(folder.path());
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].format, i64::try_from(format).unwrap());
        assert!(kept[0].before_upgrade);
    }
}

/// Copies that upgrades made do not fill the disk, and a person's own stay.
#[test]
fn only_the_newest_copies_of_upgrades_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let backups_folder = folder.path().join("backups");
    std::fs::create_dir(&backups_folder).unwrap();
    drop(of_format(&folder.path().join(FILE_NAME), 6));
    for n in 0..8_u64 {
        for name in [
            format!("before-0.0.{n}-of-format-6.db"),
            format!("mine-{n}.db"),
        ] {
            let file = backups_folder.join(name);
            drop(of_format(&file, 6));
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + n);
            let opened = std::fs::File::options().write(true).open(file).unwrap();
            opened.set_modified(at).unwrap();
        }
    }
    drop(Store::open(folder.path()).unwrap());
    let (ours, theirs): (Vec<_>, Vec<_>) = backups(folder.path())
        .into_iter()
        .partition(|one| one.before_upgrade);
    assert_eq!((ours.len(), theirs.len()), (5, 8));
    let newest = ours[0].file.file_name().unwrap().to_string_lossy();
    assert!(newest.contains(env!("CARGO_PKG_VERSION")), "{newest}");
}
