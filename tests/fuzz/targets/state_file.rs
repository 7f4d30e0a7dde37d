//! A state file with bytes changed anywhere: it is refused in words, or opened, read and written to. Never a panic.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use contract::Resend;
use contract::delivery::DeliveryEvent;
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use state::{Happened, Retention, Rules, Said, StateReader, Store, StoreError, Turn};

#[path = "../../../state/tests/common/mod.rs"]
mod common;

use common::{LIMITS, NOW, World, at, fact, price, product, stock, tombstone};

/// Bytes of a page, which most of what is written at one place lies within.
const PAGE: usize = 4_096;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .build()
        .expect("a runtime of one thread")
});

/// A sound file with work in it: what is queued, on its way, done and superseded.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let world = World::new().await;
        world
            .commit(
                vec![
                    product("A", 1, "one"),
                    stock("A", 2, 5),
                    price("A", 3, "9.90"),
                ],
                3,
            )
            .await;
        let picked = world.turn(Vec::new(), at(1)).await;
        let applied = picked.iter().take(1).map(|one| Happened {
            offset: one.offset,
            event: DeliveryEvent::Applied,
            said: Said::Applied,
            cause: None,
            answer: None,
        });
        let applied = applied.collect();
        world
            .commit(
                vec![product("A", 4, "two"), tombstone("B", 5), fact("M1", 6)],
                6,
            )
            .await;
        world.turn(applied, at(2)).await;
        let World { folder, store, .. } = world;
        drop(store);
        std::fs::read(state::file_path(folder.path())).expect("the file that was just closed")
    })
});

// The first two bytes cut the file, where they are not zero; then come changes: a page, a place in it, and bytes.
fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut file = SOUND.clone();
    let cut = usize::from(u16::from_le_bytes(input.array())) * 16;
    if cut > 0 {
        file.truncate(cut);
    }
    while !input.is_empty() {
        let page = usize::from(input.byte()) * PAGE;
        let place = usize::from(u16::from_le_bytes(input.array())) % PAGE;
        let bytes = input.piece();
        let at = page + place;
        if let Some(there) = file.get_mut(at..(at + bytes.len()).max(at)) {
            there.copy_from_slice(bytes);
        }
    }
    let folder = tempfile::tempdir().expect("room for a file");
    std::fs::write(state::file_path(folder.path()), &file).expect("room for a file");
    look(folder.path());
    let opened = RUNTIME.block_on(work(folder.path()));
    if let Err(error) = opened {
        refused(&error);
    }
    look(folder.path());
});

fn refused(error: &StoreError) {
    assert!(!error.to_string().is_empty());
    let _ = error.hint();
}

/// What commands read beside an agent.
fn look(folder: &Path) {
    if let Err(error) = state::verify(&state::file_path(folder)) {
        refused(&error);
    }
    let reader = match StateReader::open(folder) {
        Ok(reader) => reader,
        Err(error) => return refused(&error),
    };
    let read = || -> Result<(), StoreError> {
        reader.sources()?;
        reader.destinations()?;
        reader.held(10)?;
        reader.held_counts()?;
        reader.flow(NOW, Retention::default())?;
        reader.trace("A", 10)?;
        reader.standings()?;
        reader.table_sizes()?;
        Ok(())
    };
    if let Err(error) = read() {
        refused(&error);
    }
}

/// What an agent does with it.
async fn work(folder: &Path) -> Result<(), StoreError> {
    let store = Store::open(folder)?;
    let source = store.source("erp").await?.id;
    let destination = store.destination("shop").await?;
    let commit = state::CaptureCommit {
        items: vec![product("C", 20, "new"), stock("A", 21, 7)],
        routes: Arc::from([state::Route {
            destination,
            event_types: Vec::new(),
        }]),
        checkpoint: Some(common::position(21)),
        ..state::CaptureCommit::default()
    };
    store.commit_capture(source, commit, NOW).await?;
    let turn = Turn {
        resend: Resend::Safe,
        pick: Some(LIMITS),
        commands: true,
        ..Turn::at(at(3))
    };
    store
        .turn(destination, turn, Arc::new(Rules::default()))
        .await?;
    Ok(())
}
