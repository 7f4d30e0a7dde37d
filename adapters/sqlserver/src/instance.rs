//! Which capture instances of a table are read, and from where to where.
//!
//! A table has at most two. When its columns change, a second one is made, which tells all from its start
//! on: the old one is read strictly below that, and the new one from there.

use crate::lsn::Lsn;

/// A captured column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CapturedColumn {
    pub(crate) name: String,
    /// Its place in the update mask, from 1.
    pub(crate) ordinal: u32,
    /// Always null there.
    pub(crate) is_computed: bool,
}

/// A capture instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) name: String,
    /// The lowest place it can tell of. It rises when the server cleans up.
    pub(crate) low: Lsn,
    pub(crate) columns: Vec<CapturedColumn>,
}

/// A part of the log, and the instance that tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which instance, by its place in the list.
    pub(crate) instance: usize,
    /// Strictly below this; `None` = to the end.
    pub(crate) below: Option<Lsn>,
}

/// How a table is read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    /// What the first part begins behind.
    pub(crate) behind: Lsn,
    /// Between what was told and that, changes are lost.
    pub(crate) is_gap: bool,
}

/// Plans how a table is read on behind what was told of it; `None` where it has no instance.
pub(crate) fn plan(instances: &[Instance], told: Lsn) -> Option<Plan> {
    let mut order: Vec<usize> = (0..instances.len()).collect();
    order.sort_by_key(|at| instances.get(*at).map(|one| (one.low, one.name.clone())));
    let low = |at: &usize| instances.get(*at).map_or(Lsn::ZERO, |one| one.low);
    // The newest that still has all behind what was told; else the oldest, behind a gap.
    let covering = order.iter().rposition(|at| low(at) <= told.next());
    let first = covering.unwrap_or(0);
    let rest = order.get(first..)?;
    let oldest = rest.first()?;
    let is_gap = covering.is_none();
    let behind = if is_gap { low(oldest).before() } else { told };
    let belows = rest.iter().skip(1).map(|at| Some(low(at))).chain([None]);
    let parts = rest.iter().zip(belows);
    let parts = parts.map(|(at, below)| Part {
        instance: *at,
        below,
    });
    Some(Plan {
        parts: parts.collect(),
        behind,
        is_gap,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lsn(n: u8) -> Lsn {
        Lsn([0, 0, 0, 0, 0, 0, 0, 0, 1, n])
    }

    fn instance(name: &str, low: u8) -> Instance {
        Instance {
            name: name.to_owned(),
            low: lsn(low),
            columns: Vec::new(),
        }
    }

    fn part(instance: usize, below: Option<u8>) -> Part {
        Part {
            instance,
            below: below.map(lsn),
        }
    }

    /// Trap 9, and scenario 17.
    #[test]
    fn trap_9_the_old_instance_is_read_strictly_below_the_start_of_the_new_one() {
        // The newer one has a name that sorts before.
        let both = [instance("a_new", 50), instance("b_old", 10)];
        let found = plan(&both, lsn(20)).unwrap();
        assert_eq!(found.parts, [part(1, Some(50)), part(0, None)]);
        assert_eq!((found.behind, found.is_gap), (lsn(20), false));
        // What is told up to just before the new one's start needs the old one no more.
        for told in [49, 50, 70] {
            assert_eq!(
                plan(&both, lsn(told)).unwrap().parts,
                [part(0, None)],
                "{told}"
            );
        }
        assert_eq!(plan(&both, lsn(48)).unwrap().parts.len(), 2);
    }

    /// Scenario 18: the old one was dropped before all of it was told.
    #[test]
    fn an_old_instance_that_was_dropped_early_leaves_a_gap() {
        let found = plan(&[instance("new", 50)], lsn(20)).unwrap();
        assert_eq!((found.behind, found.is_gap), (lsn(49), true));
        assert!(!plan(&[instance("new", 50)], lsn(49)).unwrap().is_gap);
        assert_eq!(plan(&[], lsn(1)), None);
    }

    /// Trap 6: each instance by itself.
    #[test]
    fn trap_6_a_gap_is_found_by_the_tables_own_instances() {
        assert!(plan(&[instance("cleaned", 30)], lsn(20)).unwrap().is_gap);
        assert!(!plan(&[instance("whole", 10)], lsn(20)).unwrap().is_gap);
    }

    proptest! {
        /// Each change is told once: the parts follow one another without a hole.
        #[test]
        fn parts_leave_no_hole_and_do_not_overlap(lows in proptest::collection::vec(1..100_u8, 1..3), told in 0..100_u8) {
            let instances: Vec<Instance> = lows.iter().map(|low| instance("i", *low)).collect();
            let plan = plan(&instances, lsn(told)).unwrap();
            prop_assert!(plan.behind >= lsn(told));
            prop_assert_eq!(plan.is_gap, plan.behind > lsn(told));
            let mut from = plan.behind.next();
            for part in &plan.parts {
                prop_assert!(instances[part.instance].low <= from);
                from = part.below.unwrap_or(Lsn([0xff; 10]));
            }
            prop_assert!(plan.parts.last().unwrap().below.is_none());
        }
    }
}
