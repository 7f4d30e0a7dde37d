//! Times at which nothing leaves for a destination: of the day, or as its API asked, through the whole engine in simulated time.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use engine::{DeliverySettings, Pause};
use jiff::Timestamp;
use state::Notes;

use crate::common::shop::{Run, in_virtual_time};

#[test]
fn nothing_leaves_within_a_pause_and_all_of_it_after() {
    in_virtual_time(pause());
}

/// The clock begins at midnight.
async fn pause() {
    let time = |text: &str| text.parse().unwrap();
    let settings = DeliverySettings {
        pauses: vec![Pause {
            from: time("00:01"),
            to: time("00:03"),
        }],
        ..DeliverySettings::default()
    };
    let run = Run::start(20, settings).await;
    run.touch(1, |_| 1).await;
    run.until(20).await;
    let wait = async |until: u64| {
        while run.began.elapsed() < Duration::from_secs(until) {
            run.pass(Duration::from_millis(100)).await;
        }
    };
    wait(90).await;
    run.touch(2, |_| 2).await;
    wait(179).await;
    assert_eq!(run.came.lock().unwrap().events.len(), 20, "nothing leaves");
    run.until(40).await;
    let first = run.came.lock().unwrap().requests[1];
    let end = Duration::from_mins(3);
    let soon = end + Duration::from_secs(2);
    assert!((end..soon).contains(&first), "{first:?}");
}

#[test]
fn what_an_api_asked_for_holds_over_a_restart() {
    in_virtual_time(restart());
}

/// An hour, as an API said just before the agent stopped.
async fn restart() {
    let notes = Notes {
        throttled_until: Some(Timestamp::from_second(3_600).unwrap()),
        ..Notes::default()
    };
    let run = Run::start_with(20, DeliverySettings::default(), Some(notes)).await;
    run.touch(1, |_| 1).await;
    while run.began.elapsed() < Duration::from_secs(3_590) {
        run.pass(Duration::from_secs(10)).await;
        let came = run.came.lock().unwrap().events.len();
        assert_eq!(came, 0, "after {:?}", run.began.elapsed());
    }
    run.until(20).await;
    assert!(run.came.lock().unwrap().requests[0] >= Duration::from_hours(1));
}
