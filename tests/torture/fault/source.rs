//! What happens to a database and its log. A person must act, and does as the documents say.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::database::Kind;
use crate::play::Game;

const STOP_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The agent is away for so many steps, and what it missed is gone from the log when it comes back: a slot that was
    /// dropped, a log that was purged, a retention that is over.
    LogLost { steps: u32 },
    /// A backup that is so many steps old takes the place of the database.
    PutBack { steps: u32 },
}

pub fn choose(rng: &mut StdRng, source: Kind) -> Source {
    let steps = rng.random_range(1..30);
    match source {
        Kind::Sqlite => Source::PutBack { steps },
        Kind::Postgres | Kind::Mariadb | Kind::Sqlserver => Source::LogLost { steps },
    }
}

impl Source {
    pub async fn happen(self, game: &mut Game<'_>) {
        game.thaw();
        if let Some(mut agent) = game.agent.take() {
            let ended = agent.terminate(STOP_MAX).await;
            assert!(ended.is_some(), "it does not stop\n{}", agent.log());
        }
        match self {
            Self::LogLost { steps } => game.lose_log_in = Some(steps),
            Self::PutBack { steps } => {
                game.back_up(steps);
                game.start();
            }
        }
    }
}
