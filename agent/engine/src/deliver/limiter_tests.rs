//! The limiter over time.

use proptest::prelude::*;

use super::*;

fn limiter(rate: Option<Rate>, change: impl FnOnce(&mut DestinationTraits)) -> Limiter {
    let mut traits = DestinationTraits::modest();
    traits.requests_max = 8;
    traits.limits.rate = rate;
    change(&mut traits);
    Limiter::new(&traits, None, start())
}

fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn at(millis: u64) -> Instant {
    start() + Duration::from_millis(millis)
}

fn per_second(requests: u32) -> Rate {
    Rate {
        requests,
        per: Duration::from_secs(1),
    }
}

/// When requests leave that are tried as soon as they may.
fn times(limiter: &mut Limiter, requests: usize, points: u32) -> Vec<u64> {
    let mut now = start();
    let mut times = Vec::new();
    while times.len() < requests {
        match limiter.pass(now, points) {
            Ok(()) => times.push(u64::try_from((now - start()).as_millis()).unwrap()),
            Err(Wait::Until(at)) => {
                assert!(at > now, "a wait of nothing");
                now = at;
            }
            Err(Wait::Quota) => break,
        }
    }
    times
}

#[test]
fn a_rate_holds_in_every_window_and_is_used() {
    let mut limiter = limiter(Some(per_second(4)), |_| {});
    let times = times(&mut limiter, 400, 0);
    for window in times.windows(5) {
        assert!(window[4] - window[0] > 1_000, "{window:?}");
    }
    assert!(times[399] <= 100_000 * 105 / 100, "{}", times[399]);
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_than_the_rate(
        requests in 1..20_u32, per in 50..3_000_u64,
        steps in proptest::collection::vec((0..200_u64, 0..20_u8), 1..200),
    ) {
        let rate = Rate { requests, per: Duration::from_millis(per) };
        let mut limiter = limiter(Some(rate), |_| {});
        let (mut now, mut left) = (0, Vec::new());
        for (step, said) in steps {
            now += step;
            if limiter.pass(at(now), 0).is_ok() {
                left.push(now);
            }
            if said == 0 {
                limiter.heard(at(now), &Allowance { throttled: true, ..Allowance::default() });
            }
            let window = left.iter().filter(|at| **at + per > now).count();
            prop_assert!(window <= requests as usize, "{left:?}");
        }
    }

    #[test]
    fn points_are_never_overdrawn_and_a_wait_is_long_enough(
        max in 1..200_u32, per_second in 1..50_u32,
        costs in proptest::collection::vec((0..250_u32, 0..400_u64), 1..100),
    ) {
        let points = Points { max, per_second };
        let mut limiter = limiter(None, |traits| traits.limits.points = Some(points));
        let (mut now, mut spent) = (0_u64, 0_u64);
        for (cost, step) in costs {
            now += step;
            let mut tries = 0;
            while let Err(wait) = limiter.pass(at(now), cost) {
                tries += 1;
                prop_assert!(tries < 3, "a wait that was not enough");
                let Wait::Until(until) = wait else { unreachable!() };
                now = u64::try_from((until - start()).as_millis()).unwrap();
            }
            // What costs more than there ever is leaves when all is there.
            spent += u64::from(cost.min(max));
            let had = u64::from(max) * 1_000 + now * u64::from(per_second);
            prop_assert!(spent * 1_000 <= had, "{spent} of {had}");
        }
    }
}

#[test]
fn what_the_api_says_is_kept() {
    let mut one = limiter(Some(per_second(10)), |_| {});
    one.heard(
        at(0),
        &Allowance {
            wait: Some(Duration::from_secs(3)),
            ..Allowance::default()
        },
    );
    assert_eq!(one.ready(at(2_999)), Err(Wait::Until(at(3_000))));
    assert_eq!(one.ready(at(3_000)), Ok(10));
    one.heard(
        at(3_000),
        &Allowance {
            requests_left: Some(2),
            reset: Some(Duration::from_mins(1)),
            ..Allowance::default()
        },
    );
    assert_eq!(one.ready(at(3_000)), Ok(2));
    assert!(one.pass(at(3_000), 0).is_ok() && one.pass(at(3_000), 0).is_ok());
    assert_eq!(one.ready(at(3_000)), Err(Wait::Until(at(63_000))));
    assert_eq!(one.ready(at(63_000)), Ok(10));
    // A rate that it tells goes before the one that was known; the settings' is never passed.
    one.heard(
        at(63_000),
        &Allowance {
            rate: Some(per_second(3)),
            ..Allowance::default()
        },
    );
    assert_eq!(one.ready(at(63_000)), Ok(3));
    let mut set = Limiter::new(&DestinationTraits::modest(), Some(per_second(2)), at(0));
    set.heard(
        at(0),
        &Allowance {
            rate: Some(per_second(50)),
            ..Allowance::default()
        },
    );
    assert_eq!(set.ready(at(0)), Ok(2));
}

#[test]
fn a_rate_that_proves_too_high_is_cut_and_found_again() {
    let mut one = limiter(Some(per_second(8)), |_| {});
    let throttled = Allowance {
        throttled: true,
        ..Allowance::default()
    };
    one.heard(at(0), &throttled);
    one.heard(at(1), &throttled);
    assert_eq!(one.ready(at(2)), Ok(6), "once for all that was out");
    let mut now = 2_000;
    while one.ready(at(now)) != Ok(8) {
        assert!(one.pass(at(now), 0).is_ok());
        now += 2_000;
        assert!(now < 100_000);
    }
}

#[test]
fn without_figures_calls_grow_until_there_is_trouble() {
    let mut one = limiter(None, |_| {});
    assert_eq!(one.calls(), 1);
    for _ in 0..20 {
        one.succeeded();
    }
    assert_eq!(one.calls(), 8);
    one.failed(at(0));
    one.failed(at(10));
    assert_eq!(one.calls(), 4);
    for _ in 0..4 {
        one.succeeded();
    }
    assert_eq!(one.calls(), 5);
    let mut with_figures = limiter(Some(per_second(1)), |_| {});
    with_figures.failed(at(0));
    assert_eq!(with_figures.calls(), 8);
}

#[test]
fn a_days_quota_is_noted_before_it_is_used() {
    let mut one = limiter(None, |traits| traits.limits.per_day = Some(250));
    assert_eq!(one.pass(at(0), 0), Err(Wait::Quota));
    let mut left = 0;
    let mut noted = 0;
    loop {
        if one.pass(at(left), 0).is_ok() {
            left += 1;
            assert!(left <= noted, "a crash now would forget it");
            continue;
        }
        let day = one.day().unwrap();
        day.is(7, at(1_000));
        let Some(portion) = day.take_portion() else {
            assert!(day.is_used_up());
            break;
        };
        assert_eq!(one.pass(at(left), 0), Err(Wait::Quota), "not noted yet");
        one.day().unwrap().noted();
        noted = u64::from(portion);
    }
    assert_eq!(left, 250);
    one.day().unwrap().is(8, at(2_000));
    assert!(one.day().unwrap().take_portion().is_some());
    one.day().unwrap().noted();
    assert!(one.pass(at(300), 0).is_ok());
}

#[test]
fn what_was_noted_before_midnight_is_not_spent_after_it() {
    let mut one = limiter(None, |traits| traits.limits.per_day = Some(1_000));
    let day = one.day().unwrap();
    day.is(7, at(1_000));
    assert_eq!(day.take_portion(), Some(10));
    day.noted();
    assert!(one.pass(at(999), 0).is_ok());
    assert_eq!(one.pass(at(1_000), 0), Err(Wait::Quota), "the day is over");
    let day = one.day().unwrap();
    day.is(8, at(2_000));
    assert_eq!(
        day.take_portion(),
        Some(10),
        "the next one has all of its own"
    );
    day.noted();
    for _ in 0..10 {
        assert!(one.pass(at(1_001), 0).is_ok());
    }
    assert_eq!(one.pass(at(1_002), 0), Err(Wait::Quota));
}
