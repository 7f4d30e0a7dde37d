//! The agent stands still for a while (SIGSTOP): a machine that sleeps, a process that gets no time.

use crate::play::Game;

pub fn happen(game: &mut Game<'_>, steps: u32) {
    if let Some(agent) = &game.agent {
        agent.signal("STOP");
        game.thaw_in = Some(steps);
    }
}
