//! A recount in simulated time: every key changes twice while the API takes four requests a second
//! of a hundred events each. The last value of every key is delivered in little more than the time
//! that the fewest requests take, and less stock goes before more.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::HashMap;
use std::time::Duration;

use engine::DeliverySettings;
use state::Guards;

use crate::common::shop::{ITEMS, PER_SECOND, Run, in_virtual_time};

const KEYS: u64 = 4_000;

#[test]
fn a_recount_is_right_in_hardly_more_time_than_the_fewest_requests_take() {
    in_virtual_time(recount());
}

async fn recount() {
    let settings = DeliverySettings {
        guards: Guards::off(),
        ..DeliverySettings::default()
    };
    let run = Run::start(KEYS, settings).await;
    let (began, came) = (run.began, &run.came);
    run.touch(1, |_| 100).await;
    run.until(usize::try_from(KEYS).unwrap()).await;
    // Even keys have more and then less than ever, odd ones less and then more. A fifth of the first
    // touch is told before the second one comes.
    run.touch(2, |n| if n % 2 == 0 { 105 } else { 95 }).await;
    let told = came.lock().unwrap().events.len();
    run.until(told + usize::try_from(KEYS / 5).unwrap()).await;
    let (first, from) = {
        let came = came.lock().unwrap();
        (came.events.len(), began.elapsed())
    };
    run.touch(3, |n| if n % 2 == 0 { 85 } else { 115 }).await;
    run.until(first + usize::try_from(KEYS).unwrap()).await;
    let took = began.elapsed().checked_sub(from).unwrap();

    let came = came.lock().unwrap();
    let last: HashMap<_, _> = came.events.iter().cloned().collect();
    assert!(last.values().all(|quantity| [85, 115].contains(quantity)));
    let fewest = u32::try_from(KEYS).unwrap() / 100;
    let minimum = Duration::from_secs(1) * fewest / PER_SECOND;
    assert!(
        took * 100 <= minimum * 105,
        "{took:?}, at least {minimum:?}"
    );
    let requests = came.requests.iter().filter(|at| **at > from).count();
    assert!(requests <= fewest as usize + 1, "{requests} requests");
    for window in came.requests.windows(PER_SECOND as usize + 1) {
        let apart = window[PER_SECOND as usize].checked_sub(window[0]).unwrap();
        assert!(apart > Duration::from_secs(1), "{window:?}");
    }
    // What was told last of an odd key is 95 or 100, and of an even one 100: less goes first.
    let order: Vec<i64> = came.events[first..].iter().map(|(_, one)| *one).collect();
    let increases = order.iter().position(|quantity| *quantity == 115).unwrap();
    let decrease = order.iter().rposition(|quantity| *quantity == 85).unwrap();
    assert!(
        decrease < increases + ITEMS,
        "an increase at {increases}, a decrease at {decrease}"
    );
}
