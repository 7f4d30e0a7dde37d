//! The store's commits in virtual time: each waits for its turn, some are slow, some fail, and at some
//! the agent dies.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use state::{StepFault, Steps};
use tokio::sync::Notify;

use crate::world::{Shared, lock};

/// More commits than any run needs: a loop turns without waiting.
const COMMITS_MAX: u64 = 60_000;

/// What is to happen to commits that come.
#[derive(Default)]
pub struct Committing {
    /// A commit takes so long at most.
    pub slow: Duration,
    /// So many commits from now, one fails.
    pub fault: Option<(u32, StepFault)>,
    /// So many commits from now, the agent dies: before or behind it.
    pub death: Option<(u32, Death)>,
    /// A commit failed of which nobody can tell: the agent ends by itself.
    pub in_doubt: bool,
    /// The agent is to die now.
    pub dies: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Before,
    Behind,
}

enum Turn {
    Commit(Option<StepFault>, Option<Death>),
    Spins,
}

/// Commits what waits, until nobody holds the store any more.
pub async fn commits(mut steps: Steps, world: Shared) {
    while steps.ready().await {
        let (yields, wait) = {
            let mut world = lock(&world);
            let slow = u64::try_from(world.committing.slow.as_millis()).unwrap();
            let wait = world.rng.random_range(0..=slow);
            (world.rng.random_range(0..3), Duration::from_millis(wait))
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let (fault, death) = match turn(&world) {
            Turn::Commit(fault, death) => (fault, death),
            Turn::Spins => return std::future::pending().await,
        };
        if death == Some(Death::Before) {
            return std::future::pending().await;
        }
        let goes_on = steps.step(fault);
        if death == Some(Death::Behind) {
            return std::future::pending().await;
        }
        if fault.is_some_and(|fault| fault != StepFault::Full) {
            lock(&world).committing.in_doubt = true;
        }
        if !goes_on {
            return;
        }
    }
}

/// What happens to the commit that comes now.
fn turn(world: &Shared) -> Turn {
    let mut world = lock(world);
    world.commits += 1;
    let commits = world.commits;
    if commits > COMMITS_MAX {
        let dies = Arc::clone(&world.committing.dies);
        world.wrong(
            judge::Class::Unexplained,
            format!("{COMMITS_MAX} commits and no end"),
        );
        dies.notify_one();
        return Turn::Spins;
    }
    let due = |in_so_many: &mut u32| {
        *in_so_many = in_so_many.saturating_sub(1);
        *in_so_many == 0
    };
    let committing = &mut world.committing;
    let fault = committing.fault.take_if(|(n, _)| due(n));
    let death = committing.death.take_if(|(n, _)| due(n));
    if death.is_some() {
        committing.dies.notify_one();
    }
    if let Some((_, fault)) = fault {
        world.verdict.did("store_faults", 1);
        world.note(&format!("commit {commits} fails: {fault:?}"));
    } else {
        world.note(&format!("commit {commits}"));
    }
    Turn::Commit(fault.map(|(_, fault)| fault), death.map(|(_, death)| death))
}
