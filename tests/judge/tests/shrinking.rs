//! A failing history made smaller.

use judge::shrink;
use proptest::prelude::*;

#[test]
fn what_does_not_matter_is_left_out() {
    let steps: Vec<u32> = (0..1_000).collect();
    let fails = |steps: &[u32]| steps.contains(&17) && steps.contains(&801);
    let shrunk = shrink(&steps, 1_000, fails);
    assert_eq!(shrunk.steps, [17, 801]);
    assert!(shrunk.smallest);
}

#[test]
fn tries_are_bounded_and_what_is_left_still_fails() {
    let steps: Vec<u32> = (0..1_000).collect();
    let mut played = 0;
    let fails = |steps: &[u32]| steps.contains(&17) && steps.contains(&801);
    let shrunk = shrink(&steps, 7, |steps| {
        played += 1;
        fails(steps)
    });
    assert_eq!((played, shrunk.tries), (7, 7));
    assert!(!shrunk.smallest && shrunk.steps.len() < 1_000 && fails(&shrunk.steps));
}

#[test]
fn an_empty_history_that_fails_is_the_smallest() {
    let shrunk = shrink(&[1, 2, 3], 100, |_| true);
    assert_eq!(shrunk.steps, [0; 0]);
}

proptest! {
    #[test]
    fn no_single_step_of_the_smallest_can_be_left_out(needed in prop::collection::btree_set(0_usize..60, 1..6)) {
        let steps: Vec<usize> = (0..60).collect();
        let fails = |steps: &[usize]| needed.iter().all(|step| steps.contains(step));
        let shrunk = shrink(&steps, 5_000, fails);
        prop_assert_eq!(shrunk.steps, needed.iter().copied().collect::<Vec<_>>());
    }
}
