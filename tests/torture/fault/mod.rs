//! What can go wrong. Each kind of fault has a file: what it is, how one is chosen, and how it is done.

pub mod answers;
pub mod ending;
pub mod frozen;
pub mod network;
pub mod source;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::database;
use crate::destination;
use crate::play::Game;

/// One fault. Where it lasts, it lasts for so many steps of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The agent ends, and is started again.
    Ending(ending::Ending),
    /// The agent stands still.
    Frozen { steps: u32 },
    /// The network between the agent and its source or its destination.
    Network(network::Network),
    /// What the destination answers.
    Answers(destination::hook::Answers),
    /// The database itself.
    Source(source::Source),
}

impl Fault {
    pub fn kill() -> Self {
        Self::Ending(ending::Ending::Kill)
    }
}

/// One that this source and this destination can have.
pub fn choose(
    rng: &mut StdRng,
    source: database::Kind,
    destination: destination::Kind,
    lost_log: &mut bool,
) -> Fault {
    loop {
        match rng.random_range(0..100) {
            0..45 => return Fault::Ending(ending::choose(rng)),
            45..52 => {
                let steps = rng.random_range(1..20);
                return Fault::Frozen { steps };
            }
            52..72 => {
                if let Some(network) = network::choose(rng, source, destination) {
                    return Fault::Network(network);
                }
            }
            72..90 if destination == destination::Kind::Webhook => {
                return Fault::Answers(answers::choose(rng));
            }
            // Once in a history: it is long, and a person has to act.
            _ if !*lost_log => {
                *lost_log = true;
                return Fault::Source(source::choose(rng, source));
            }
            _ => {}
        }
    }
}

impl Fault {
    /// Does it.
    pub async fn happen(&self, game: &mut Game<'_>) {
        match self {
            Self::Ending(ending) => ending.happen(game).await,
            Self::Frozen { steps } => frozen::happen(game, *steps),
            Self::Network(network) => network.happen(game),
            Self::Answers(answers) => {
                if let Some(hook) = game.destination.hook() {
                    hook.answers(*answers);
                }
            }
            Self::Source(source) => source.happen(game).await,
        }
    }
}
