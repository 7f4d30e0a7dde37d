//! Backups, and what a state is worth that came out of one.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use contract::delivery::DeliveryEvent;
use contract::finding::worst;
use contract::{Level, Resend};
use rusqlite::Connection;
use state::{
    Command, FILE_NAME, Happened, Resync, Said, StateReader, Store, StoreError, Turn, backup,
    compact, restore, verify,
};

use crate::common::{LIMITS, NOW, World, at, fact, files, number, product, refused};

/// Events and checkpoint of one commit are both in a backup or both not, whatever is written
/// meanwhile, and writing goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_is_one_moment_of_it() {
    let world = World::new().await;
    let long = "x".repeat(1_000);
    for n in 0..40_u64 {
        let items = (0..100).map(|k| product(&format!("P{n}-{k}"), n + 1, &long));
        world.commit(items.collect(), n + 1).await;
    }
    let (stop, commits) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writing = async {
        let mut n = 40;
        // A copy that is begun anew with each commit never comes to its end.
        let late = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
        while !stop.load(Ordering::Relaxed) {
            if tokio::time::Instant::now() > late {
                return None;
            }
            n += 1;
            // Each commit changes pages that were copied, and adds as many facts as keys.
            let first = format!("P0-{}", n % 100);
            world
                .commit(
                    vec![
                        product(&first, n, &format!("{n}{long}")),
                        fact(&format!("f{n}"), n),
                    ],
                    n,
                )
                .await;
            commits.fetch_add(1, Ordering::Relaxed);
        }
        Some(n)
    };
    let folder = world.folder.path().to_owned();
    let to = world.folder.path().join("copy.db");
    let (stopping, counting, file) = (Arc::clone(&stop), Arc::clone(&commits), to.clone());
    let copying = tokio::task::spawn_blocking(move || {
        while counting.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        let before = counting.load(Ordering::Relaxed);
        let done = backup(&folder, Some(&file), NOW).unwrap();
        let after = counting.load(Ordering::Relaxed);
        stopping.store(true, Ordering::Relaxed);
        (done, before, after)
    });
    let (last, copied) = tokio::join!(writing, copying);
    let last = last.expect("the backup ends while another one writes");
    let (done, before, after) = copied.unwrap();
    assert!(done.running, "the store is open");
    assert!(after > before + 3, "writing went on: {before} to {after}");
    assert_eq!(worst(&verify(&to).unwrap().findings), Level::Pass);
    let checkpoint: String = Connection::open(&to)
        .unwrap()
        .query_row("SELECT checkpoint FROM source", [], |row| row.get(0))
        .unwrap();
    let at: contract::Position = checkpoint.parse().unwrap();
    let at = at.pos.number().unwrap();
    assert!((40..=last).contains(&at), "{at}");
    // It is the moment at which the backup began, and not one at which it began anew.
    assert!(
        at - 40 <= before + 25,
        "{at} with {before} commits before it"
    );
    let facts = number(&to, "SELECT count(*) FROM outbox WHERE op = 'fact'");
    assert_eq!(
        facts.unsigned_abs(),
        at - 40,
        "as many as commits up to the checkpoint"
    );
    // One file, and nothing half-written beside it.
    let left = files(world.folder.path());
    let ours: Vec<&String> = left
        .iter()
        .filter(|name| name.contains("copy") || name.contains("partial"))
        .collect();
    assert_eq!(ours, ["copy.db"], "{left:?}");
}

#[tokio::test]
async fn a_backup_takes_no_other_files_place() {
    let world = World::new().await;
    let folder = world.folder.path();
    let to = folder.join("there.db");
    std::fs::write(&to, "something else").unwrap();
    let error = backup(folder, Some(&to), NOW).unwrap_err();
    assert!(refused(&error).contains("exists already"), "{error}");
    assert_eq!(std::fs::read(&to).unwrap(), b"something else");
    // Without a name it gets one by its time, and a second one in the same second is refused.
    let made = backup(folder, None, at(1)).unwrap();
    assert!(
        made.file
            .ends_with("backups/lighterman-19700101T000001Z.db"),
        "{made:?}"
    );
    assert!(refused(&backup(folder, None, at(1)).unwrap_err()).contains("exists already"));
    assert_eq!(files(&folder.join("backups")).len(), 1);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        backup(empty.path(), None, NOW).unwrap_err(),
        StoreError::Missing { .. }
    ));
}

fn happened(offset: i64, event: DeliveryEvent, said: Said) -> Happened {
    Happened {
        offset,
        event,
        said,
        cause: None,
        answer: None,
    }
}

/// What was out at the backup's time is unknown; what was delivered since is told again by the same
/// keys; what was there before the restore is kept.
#[tokio::test]
async fn a_restored_state_knows_that_it_is_old() {
    let world = World::new().await;
    world
        .commit(vec![product("A", 1, "a"), fact("m1", 2)], 2)
        .await;
    let out = world.turn(Vec::new(), at(1)).await;
    assert_eq!(out.len(), 2);
    let keys: Vec<String> = out.iter().map(|one| one.idempotency_key.clone()).collect();
    world.commit(vec![product("B", 3, "b")], 3).await;
    let asked = state::ask(world.folder.path(), "shop", &Command::Drain, NOW).unwrap();
    assert!(asked.is_some());
    let file = backup(world.folder.path(), None, at(9)).unwrap().file;
    let done = out
        .iter()
        .map(|one| happened(one.offset, DeliveryEvent::Applied, Said::Applied))
        .collect();
    world.turn(done, at(2)).await;
    world.commit(vec![fact("m2", 4)], 4).await;

    // Not beside an agent.
    let busy = restore(world.folder.path(), &file, false, at(10)).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    let World {
        folder,
        store,
        destination,
        ..
    } = world;
    drop(store);
    let restored = restore(folder.path(), &file, false, at(10)).unwrap();
    assert_eq!(restored.requests_given_up, 1);
    assert_eq!(restored.sources.len(), 1);
    assert!(
        restored.sources[0]
            .checkpoint
            .as_ref()
            .unwrap()
            .contains("0000000000000003")
    );
    let shop = &restored.destinations[0];
    assert_eq!(
        (shop.waiting, shop.out, shop.held, shop.paused),
        (1, 2, 0, false)
    );
    // What was there before is whole, and knows more.
    let before = restored.replaced.unwrap().join(FILE_NAME);
    assert_eq!(worst(&verify(&before).unwrap().findings), Level::Pass);
    assert_eq!(number(&before, "SELECT count(*) FROM outbox"), 4);

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(
        store.recover(destination, at(11)).await.unwrap(),
        2,
        "both are unknown"
    );
    let mut told: Vec<String> = Vec::new();
    for seconds in [100, 200] {
        let turn = Turn {
            resend: Resend::Safe,
            pick: Some(LIMITS),
            ..Turn::at(at(seconds))
        };
        let turned = store.turn(destination, turn, Arc::default()).await;
        let picked = turned.unwrap().picked.into_iter();
        told.extend(picked.map(|one| one.idempotency_key));
    }
    told.retain(|key| keys.contains(key));
    told.sort();
    let mut keys = keys;
    keys.sort();
    assert_eq!(told, keys, "by the same keys");
}

#[tokio::test]
async fn a_restore_can_pause_all_that_leaves() {
    let world = World::new().await;
    let file = backup(world.folder.path(), None, NOW).unwrap().file;
    let World { folder, store, .. } = world;
    drop(store);
    let restored = restore(folder.path(), &file, true, NOW).unwrap();
    assert!(restored.destinations[0].paused);
    let stands = StateReader::open(folder.path())
        .unwrap()
        .destinations()
        .unwrap();
    assert!(stands[0].paused.is_some());
}

/// Positions of the life that the backup knows must not be told again by the numbers of a later one.
#[tokio::test]
async fn a_source_that_was_read_anew_since_is_read_anew_again() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let file = backup(world.folder.path(), None, NOW).unwrap().file;
    world.store.resync("erp", Resync::All).await.unwrap();
    world.store.resync("erp", Resync::All).await.unwrap();
    let World { folder, store, .. } = world;
    drop(store);
    let restored = restore(folder.path(), &file, false, NOW).unwrap();
    assert_eq!(restored.sources[0].begins_epoch, Some(4));
    let sources = StateReader::open(folder.path()).unwrap().sources().unwrap();
    assert_eq!((sources[0].epoch, &sources[0].checkpoint), (4, &None));
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_noticed_and_done_once_more() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let file = backup(world.folder.path(), None, NOW).unwrap().file;
    let World { folder, store, .. } = world;
    drop(store);
    // As a crash leaves it: the old file is away, the new one has not come.
    let aside = folder.path().join("replaced-x");
    std::fs::create_dir(&aside).unwrap();
    std::fs::rename(folder.path().join(FILE_NAME), aside.join(FILE_NAME)).unwrap();
    let mark = folder.path().join("lighterman.restoring");
    std::fs::write(&mark, aside.to_str().unwrap()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(
        refused(&error).contains("did not come to its end"),
        "{error}"
    );
    assert!(
        !folder.path().join(FILE_NAME).exists(),
        "no state is begun anew"
    );
    restore(folder.path(), &file, false, NOW).unwrap();
    drop(Store::open(folder.path()).unwrap());
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_backup_that_is_damaged_is_not_restored() {
    let world = World::new().await;
    world.commit(vec![product("A", 1, "a")], 1).await;
    let file = backup(world.folder.path(), None, NOW).unwrap().file;
    let World { folder, store, .. } = world;
    drop(store);
    let db = Connection::open(&file).unwrap();
    db.execute("UPDATE outbox SET json = '{}'", []).unwrap();
    drop(db);
    let error = restore(folder.path(), &file, false, NOW).unwrap_err();
    assert!(
        refused(&error).contains("event 1 changed on disk"),
        "{error}"
    );
    assert_eq!(
        number(
            &folder.path().join(FILE_NAME),
            "SELECT count(*) FROM outbox"
        ),
        1
    );
}

/// Root looks after the state of an agent that is not root: the files stay the agent's.
#[cfg(unix)]
#[tokio::test]
async fn whoever_restores_or_compacts_the_file_stays_the_agents() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let world = World::new().await;
    let made = backup(world.folder.path(), None, NOW).unwrap().file;
    let mode = |file: &Path| std::fs::metadata(file).unwrap().mode() & 0o777;
    assert_eq!(mode(&made), 0o600, "a backup is for its owner alone");
    let World { folder, store, .. } = world;
    drop(store);
    let file = folder.path().join(FILE_NAME);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away.
    let root = chown(&file, Some(65_534), Some(65_534)).is_ok();
    let owner = std::fs::metadata(&file).unwrap().uid();
    assert!(!root || owner == 65_534);
    compact(folder.path()).unwrap();
    assert_eq!(
        (std::fs::metadata(&file).unwrap().uid(), mode(&file)),
        (owner, 0o640)
    );
    restore(folder.path(), &made, false, NOW).unwrap();
    assert_eq!(
        (std::fs::metadata(&file).unwrap().uid(), mode(&file)),
        (owner, 0o640)
    );
}
