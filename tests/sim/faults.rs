//! A store whose commits are steps: nothing is durable before its step, and each fault leaves what it says.

use std::path::Path;
use std::sync::Arc;

use state::{StateReader, StepFault, Steps, Store, StoreError};

/// Asks for a source, which writes where it is not known, and takes one step.
async fn asks(
    store: &Arc<Store>,
    steps: &mut Steps,
    name: &'static str,
    fault: Option<StepFault>,
) -> (bool, Result<i64, StoreError>) {
    let asking = Arc::clone(store);
    let asked = tokio::spawn(async move { asking.source(name).await.map(|source| source.id) });
    assert!(steps.ready().await);
    assert!(!asked.is_finished(), "nobody has taken the step");
    let goes_on = steps.step(fault);
    (goes_on, asked.await.unwrap())
}

fn known(folder: &Path) -> usize {
    let reader = StateReader::open(folder).unwrap();
    reader.sources().unwrap().len()
}

pub async fn nothing_is_durable_before_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut steps) = Store::open_in_steps(folder.path()).unwrap();
    let store = Arc::new(store);
    let asking = Arc::clone(&store);
    let asked = tokio::spawn(async move { asking.source("erp").await });
    assert!(steps.ready().await);
    assert_eq!(known(folder.path()), 0);
    assert!(steps.step(None));
    asked.await.unwrap().unwrap();
    assert_eq!(known(folder.path()), 1);
    drop(store);
    assert!(!steps.ready().await, "nobody holds it");
    assert!(matches!(
        Store::open_in_steps(folder.path()),
        Err(StoreError::Busy { .. })
    ));
    drop(steps);
    Store::open(folder.path()).unwrap();
}

pub async fn what_waits_when_the_steps_are_gone_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut steps) = Store::open_in_steps(folder.path()).unwrap();
    let store = Arc::new(store);
    let asking = Arc::clone(&store);
    let asked = tokio::spawn(async move { asking.source("erp").await.map(|source| source.id) });
    assert!(steps.ready().await);
    drop(steps);
    assert!(matches!(asked.await.unwrap(), Err(StoreError::Stopped)));
    assert_eq!(known(folder.path()), 0);
}

pub async fn each_fault_leaves_what_it_says() {
    for (fault, durable) in [
        (StepFault::Lost, 0),
        (StepFault::Unsaid, 1),
        (StepFault::Interrupted(1), 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut steps) = Store::open_in_steps(folder.path()).unwrap();
        let store = Arc::new(store);
        let (goes_on, answer) = asks(&store, &mut steps, "erp", Some(fault)).await;
        assert!(answer.is_err(), "{fault:?}");
        assert_eq!(known(folder.path()), durable, "{fault:?}");
        if !goes_on {
            // A store in doubt takes nothing more.
            assert!(matches!(
                store.source("other").await,
                Err(StoreError::Stopped)
            ));
        }
    }
}

pub async fn a_full_disk_is_said_and_gets_over() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut steps) = Store::open_in_steps(folder.path()).unwrap();
    let store = Arc::new(store);
    // A name longer than what is free in any page needs one more.
    let long: &'static str = Box::leak("x".repeat(200_000).into_boxed_str());
    let (goes_on, answer) = asks(&store, &mut steps, long, Some(StepFault::Full)).await;
    assert!(matches!(answer, Err(StoreError::Full)), "{answer:?}");
    assert!(goes_on);
    assert_eq!(known(folder.path()), 0);
    let (_, answer) = asks(&store, &mut steps, long, None).await;
    answer.unwrap();
    assert_eq!(known(folder.path()), 1);
}
