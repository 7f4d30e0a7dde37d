use engine::observe;

use super::super::builtin;
use super::*;

fn rule(metric: observe::Metric, of: Of, window: u64) -> Rule {
    let mut rule = builtin::rules().remove(0);
    rule.metric = metric;
    rule.of = of;
    rule.window = Duration::from_secs(window);
    rule
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a rule measures at each of these moments.
fn measured(rule: &Rule, texts: &[(u64, String)]) -> Vec<Vec<f64>> {
    let mut memory = Memory::default();
    let each = texts.iter().map(|(second, text)| {
        let found = memory.measure(rule, &Samples::read(text), at(*second));
        found.into_iter().map(|(_, value)| value).collect()
    });
    each.collect()
}

#[test]
fn what_is_written_is_read() {
    let samples = Samples::read(
        "# HELP x y\nup 1\nlong{source=\"e\\\"r\\\\p\\n\",b=\"}, {\"} 2.5\nnan{} NaN\nbroken{a=\"1 3\n\n",
    );
    assert_eq!(samples.of("up"), [(Labels::new(), 1.0)]);
    let (labels, value) = samples.of("long").first().unwrap();
    assert_eq!(labels[0], ("source".to_owned(), "e\"r\\p\n".to_owned()));
    assert_eq!(&read(&written(labels)), labels);
    assert_eq!(read(""), Labels::new());
    assert_eq!(labels[1], ("b".to_owned(), "}, {".to_owned()));
    assert!((value - 2.5).abs() < 1e-9);
    assert!(samples.of("nan").is_empty() && samples.of("broken").is_empty());
}

#[test]
fn a_counter_is_compared_by_how_it_grows() {
    let counter = |second: u64, value: u64| {
        let text = format!("lighterman_held_total{{by=\"shop\",cause=\"rejected\"}} {value}\n");
        (second, text)
    };
    let texts = [
        counter(0, 100),
        counter(30, 130),
        counter(60, 160),
        counter(120, 160),
        counter(180, 161),
    ];
    let increase = rule(observe::HELD_TOTAL, Of::Increase, 60);
    assert_eq!(
        measured(&increase, &texts),
        [[0.0], [30.0], [60.0], [0.0], [1.0]]
    );
    let rate = rule(observe::HELD_TOTAL, Of::Rate, 60);
    assert_eq!(
        measured(&rate, &texts)[..4],
        [vec![], vec![1.0], vec![1.0], vec![0.0]]
    );
    // A restart counts from zero; a series that comes later began with zero.
    let texts = [counter(0, 100), counter(30, 4), (40, String::new())];
    assert_eq!(measured(&increase, &texts), [vec![0.0], vec![4.0], vec![]]);
    let texts = [(0, String::new()), counter(10, 3)];
    assert_eq!(measured(&increase, &texts), [vec![], vec![3.0]]);
}

#[test]
fn a_histogram_is_compared_by_its_quantiles_and_mean() {
    let histogram = |second: u64, under_1: u64, under_10: u64, all: u64, sum: u64| {
        let labels = "destination=\"shop\",event_type=\"order.v1\"";
        let name = "lighterman_update_latency_seconds";
        let text = format!(
            "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {all}\n\
             {name}_bucket{{le=\"1.0\",{labels}}} {under_1}\n{name}_bucket{{le=\"10.0\",{labels}}} {under_10}\n\
             {name}_bucket{{le=\"+Inf\",{labels}}} {all}\n"
        );
        (second, text)
    };
    let texts = [
        histogram(0, 5, 5, 5, 5),
        histogram(60, 55, 105, 105, 205),
        histogram(120, 55, 105, 205, 9_000),
    ];
    let p90 = rule(observe::UPDATE_LATENCY, Of::Quantile(0.9), 60);
    let found = measured(&p90, &texts);
    // 50 up to 1 s, 50 up to 10 s: the 90th of 100 lies at four fifths of the way from 1 to 10.
    assert!((found[1][0] - 8.2).abs() < 1e-9, "{found:?}");
    assert!(found[0].is_empty());
    assert!(
        (found[2][0] - 10.0).abs() < 1e-9,
        "beyond the last bound: {found:?}"
    );
    let mean = rule(observe::UPDATE_LATENCY, Of::Mean, 60);
    assert!((measured(&mean, &texts)[1][0] - 2.0).abs() < 1e-9);
}

#[test]
fn what_is_remembered_is_bounded() {
    let increase = rule(observe::HELD_TOTAL, Of::Increase, 60);
    let mut memory = Memory::default();
    let mut last = 0.0;
    for second in 0..10_000 {
        let text = format!("lighterman_held_total{{by=\"shop\",cause=\"rejected\"}} {second}\n");
        let found = memory.measure(&increase, &Samples::read(&text), at(second));
        last = found[0].1;
        assert!(memory.series.values().all(|kept| kept.len() <= 63));
    }
    assert!((60.0..=61.0).contains(&last), "{last}");
    for number in 0..1_000 {
        let text = format!("lighterman_held_total{{by=\"{number}\",cause=\"rejected\"}} 1\n");
        memory.measure(&increase, &Samples::read(&text), at(20_000));
    }
    assert!(memory.series.len() <= SERIES_MAX);
}
