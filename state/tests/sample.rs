//! How the last day was: what is kept of it, and for how long.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use state::Sample;

use crate::common::{World, at};

fn of(series: &str, value: u64) -> Sample {
    Sample {
        series: series.to_owned(),
        value,
    }
}

#[tokio::test]
async fn each_minute_keeps_its_largest_value_and_a_day_is_kept() {
    let world = World::new().await;
    for (second, value) in [(60, 4), (75, 9), (119, 2), (120, 1)] {
        let measured = vec![of("lag:erp", value), of("oldest:shop", value * 10)];
        world.store.sample(at(second), measured).await.unwrap();
    }
    let samples = world.reader().samples(at(0)).unwrap();
    assert_eq!(samples["lag:erp"], [(at(60), 9), (at(120), 1)]);
    assert_eq!(samples["oldest:shop"], [(at(60), 90), (at(120), 10)]);
    assert_eq!(world.reader().samples(at(120)).unwrap()["lag:erp"].len(), 1);

    // 25 hours later the first minute is gone, and the second is not.
    let later = 60 + 25 * 3_600;
    world.store.sample(at(later + 60), vec![]).await.unwrap();
    let samples = world.reader().samples(at(0)).unwrap();
    assert_eq!(samples["lag:erp"], [(at(120), 1)]);
    // A clock that was ahead leaves nothing behind.
    let ahead = vec![of("lag:erp", 7)];
    world.store.sample(at(later * 100), ahead).await.unwrap();
    let back = vec![of("lag:erp", 3)];
    world.store.sample(at(later + 120), back).await.unwrap();
    let samples = world.reader().samples(at(0)).unwrap();
    assert_eq!(samples["lag:erp"], [(at(later + 120), 3)]);
}
