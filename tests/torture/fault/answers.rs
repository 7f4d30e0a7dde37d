//! What an API answers when it does not simply take what it is sent.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::destination::hook::Answers;

/// Statuses, and whether what came may have been taken all the same.
const STATUSES: [(u16, bool); 14] = [
    (400, false),
    (401, false),
    (403, false),
    (404, false),
    (409, false),
    // It has it already, and says so.
    (409, true),
    (413, false),
    (422, false),
    (429, false),
    (500, false),
    (500, true),
    (502, true),
    (503, false),
    (504, true),
];

pub fn choose(rng: &mut StdRng) -> Answers {
    let requests = rng.random_range(1..30);
    let mut answers = Answers {
        requests,
        status: 204,
        taken: true,
        wait: None,
        partly: false,
        late: false,
    };
    match rng.random_range(0..10) {
        0 => answers.late = true,
        1 | 2 => {
            answers.partly = true;
            answers.status = [422, 503, 409][rng.random_range(0..3)];
        }
        _ => {
            (answers.status, answers.taken) = STATUSES[rng.random_range(0..STATUSES.len())];
            let says = matches!(answers.status, 429 | 503);
            answers.wait = (says && rng.random_range(0..2) == 0).then_some(1);
        }
    }
    answers
}
