//! How long the state file's log gets.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use state::{FILE_NAME, StateSize};

use crate::common::{World, number, products};

const SHORT: u64 = 4 * 1024 * 1024;

#[tokio::test]
async fn a_disk_that_is_low_gets_the_logs_room_back() {
    let world = World::new().await;
    let log = || StateSize::of(world.folder.path()).wal_bytes;
    for from in 0..6 {
        world
            .commit(products(from * 1_000 + 1, 1_000), (from + 1) * 1_000)
            .await;
    }
    assert!(log() > SHORT, "{}", log());
    world.store.keep_log_short(true).await.unwrap();
    world.commit(products(6_001, 1), 6_001).await;
    world.commit(products(6_002, 1), 6_002).await;
    assert!(log() <= SHORT, "{}", log());
    // And it stays so.
    for from in 7..13 {
        world
            .commit(products(from * 1_000 + 1, 1_000), (from + 1) * 1_000)
            .await;
    }
    assert!(log() <= 2 * SHORT, "{}", log());
    world.store.keep_log_short(false).await.unwrap();
    for from in 13..23 {
        world
            .commit(products(from * 1_000 + 1, 1_000), (from + 1) * 1_000)
            .await;
    }
    assert!(log() > 2 * SHORT, "{}", log());
    let file = world.folder.path().join(FILE_NAME);
    assert_eq!(number(&file, "SELECT count(*) FROM published"), 22_002);
}
