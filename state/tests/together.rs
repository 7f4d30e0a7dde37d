//! Jobs that share a transaction: each fails alone, and what writes much begins one of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use state::{CaptureCommit, CaptureReport, Item, Steps, Store, StoreError};

use crate::common::{NOW, number, position, products};

type Committing<'a> = Pin<Box<dyn Future<Output = Result<CaptureReport, StoreError>> + 'a>>;

/// No wait here takes longer.
const LIMIT: Duration = Duration::from_secs(10);

/// A store whose transactions are taken one by one, and two sources.
struct Shared {
    folder: tempfile::TempDir,
    store: Store,
    steps: Steps,
}

impl Shared {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut steps) = Store::open_in_steps(folder.path()).unwrap();
        for name in ["a", "b"] {
            let asked = store.source(name);
            let (found, ()) = tokio::join!(asked, async {
                assert!(steps.ready().await && steps.step(None));
            });
            found.unwrap();
        }
        Self {
            folder,
            store,
            steps,
        }
    }

    /// What stands in the file, of all that was told.
    fn told(&self) -> i64 {
        let file = self.folder.path().join(state::FILE_NAME);
        number(&file, "SELECT count(*) FROM outbox")
    }
}

fn commit(items: Vec<Item>, upto: u64) -> CaptureCommit {
    CaptureCommit {
        items,
        checkpoint: Some(position(upto)),
        ..CaptureCommit::default()
    }
}

fn polled(one: &mut Committing<'_>) -> Poll<Result<CaptureReport, StoreError>> {
    one.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Asks for commits, without a wait for any: so many transactions later all of them are answered.
async fn asked<const N: usize>(
    shared: &mut Shared,
    of: [(i64, CaptureCommit); N],
    transactions: usize,
) -> Vec<Result<CaptureReport, StoreError>> {
    let Shared { store, steps, .. } = shared;
    let mut waiting: Vec<Committing<'_>> = Vec::new();
    for (source, commit) in of {
        let mut one: Committing<'_> = Box::pin(store.commit_capture(source, commit, NOW));
        assert!(polled(&mut one).is_pending(), "nothing was committed yet");
        waiting.push(one);
    }
    for n in 0..transactions {
        let ready = tokio::time::timeout(LIMIT, steps.ready()).await;
        assert!(ready.is_ok(), "all was done in {n} transactions");
        assert!(steps.step(None));
    }
    let mut answers = Vec::new();
    for mut one in waiting {
        match polled(&mut one) {
            Poll::Ready(answer) => answers.push(answer),
            Poll::Pending => panic!("not answered after {transactions} transactions"),
        }
    }
    answers
}

#[tokio::test]
async fn who_fails_first_fails_alone_and_the_next_are_done_in_a_transaction_of_their_own() {
    let mut shared = Shared::new().await;
    asked(&mut shared, [(1, commit(vec![], 5))], 1).await;
    let back = commit(products(3, 1), 3);
    let fine = commit(products(10, 2), 12);
    let answers = asked(&mut shared, [(1, back), (2, fine)], 2).await;
    assert!(matches!(answers[0], Err(StoreError::Invariant(_))));
    assert_eq!(answers[1].as_ref().unwrap().events, 2);
    assert_eq!(shared.told(), 2, "nothing of what failed");
}

#[tokio::test]
async fn who_fails_behind_others_fails_alone() {
    let mut shared = Shared::new().await;
    asked(&mut shared, [(1, commit(vec![], 5))], 1).await;
    let (first, back) = (commit(products(10, 2), 12), commit(products(3, 1), 3));
    let last = commit(products(20, 1), 20);
    let answers = asked(&mut shared, [(2, first), (1, back), (2, last)], 1).await;
    assert_eq!(answers[0].as_ref().unwrap().events, 2);
    assert!(matches!(answers[1], Err(StoreError::Invariant(_))));
    assert_eq!(answers[2].as_ref().unwrap().events, 1);
    assert_eq!(shared.told(), 3, "nothing of what failed");
}

#[tokio::test]
async fn who_writes_much_begins_a_transaction() {
    let mut shared = Shared::new().await;
    let (small, large) = (commit(products(1, 1), 1), commit(products(100, 200), 300));
    let last = commit(products(2, 1), 2);
    let answers = asked(&mut shared, [(1, small), (2, large), (1, last)], 2).await;
    let events: Vec<u64> = answers.into_iter().map(|one| one.unwrap().events).collect();
    assert_eq!(events, [1, 200, 1]);
    assert_eq!(shared.told(), 202);
}
