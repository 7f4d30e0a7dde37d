//! The agent's process ends in one way or another, and is started again at once.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::play::Game;

/// How long a stop in order may take.
const STOP_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL.
    Kill,
    /// SIGABRT: as after a bug in it.
    Abort,
    /// SIGTERM: as a service manager stops it.
    Stop,
}

pub fn choose(rng: &mut StdRng) -> Ending {
    match rng.random_range(0..10) {
        0..7 => Ending::Kill,
        7 => Ending::Abort,
        _ => Ending::Stop,
    }
}

impl Ending {
    pub async fn happen(self, game: &mut Game<'_>) {
        game.thaw();
        let Some(mut agent) = game.agent.take() else {
            return;
        };
        match self {
            Self::Kill => {}
            Self::Abort => agent.signal("ABRT"),
            Self::Stop => {
                let ended = agent.terminate(STOP_MAX).await;
                assert!(ended.is_some(), "it does not stop\n{}", agent.log());
            }
        }
        agent.kill();
        game.kills += 1;
        game.look_at_positions().await;
        game.start();
    }
}
