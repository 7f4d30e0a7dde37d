//! A failing history made smaller.

/// A smaller history that still fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk<S> {
    /// What is left of it.
    pub steps: Vec<S>,
    /// How often it was played.
    pub tries: usize,
    /// No single step can be left out any more; else the tries were used up.
    pub smallest: bool,
}

/// Leaves out steps of a history for as long as it still fails: halves first, then smaller and smaller pieces, down
/// to single steps. `fails` is called `tries_max` times at most. A history whose failure depends on chance may come
/// out larger than it need be, never as one that was not seen failing.
pub fn shrink<S: Clone>(
    steps: &[S],
    tries_max: usize,
    mut fails: impl FnMut(&[S]) -> bool,
) -> Shrunk<S> {
    let mut left = steps.to_vec();
    let mut tries = 0;
    let mut piece = left.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut smaller = false;
        while from < left.len() {
            if tries == tries_max {
                return Shrunk {
                    steps: left,
                    tries,
                    smallest: false,
                };
            }
            let to = (from + piece).min(left.len());
            let without: Vec<S> = left[..from].iter().chain(&left[to..]).cloned().collect();
            tries += 1;
            if fails(&without) {
                left = without;
                smaller = true;
            } else {
                from = to;
            }
        }
        if piece > 1 {
            piece = piece.div_ceil(2);
        } else if !smaller {
            return Shrunk {
                steps: left,
                tries,
                smallest: true,
            };
        }
    }
}
