//! Whether each series of each rule fires: it must be crossed for a while to begin, and well for a while to end.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::observe;

use super::rule::Rule;
use super::series::{self, Labels, Memory, Samples, written};

/// A series that is measured no more ends after this long: what nobody measures is not known to be well.
const ABSENT_MAX: Duration = Duration::from_mins(15);
/// No rule watches more series.
const SERIES_MAX: usize = 500;

/// How a series stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Quiet,
    /// Crossed since then.
    Pending(Duration),
    Firing,
    /// Fires, and has been well since then.
    Clearing(Duration),
}

#[derive(Debug)]
struct Watched {
    labels: Labels,
    phase: Phase,
    /// When it was measured last.
    seen: Duration,
    /// What was said last, and of which value.
    sentence: String,
    value: f64,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It began: crossed for so long already.
    Began { since: Duration },
    /// It still fires, and says something else now.
    Goes,
    /// It is over. `measured` = its value is well; else it was not measured any more.
    Ended { measured: bool },
}

/// A change of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) series: String,
    pub(super) change: Change,
    pub(super) sentence: String,
    pub(super) look: String,
    pub(super) value: f64,
}

/// Judges one rule.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) rule: Rule,
    memory: Memory,
    watched: BTreeMap<String, Watched>,
}

impl Judge {
    /// Nothing is known yet but which series fired before a restart.
    pub(super) fn new(rule: Rule, firing: impl Iterator<Item = (String, String, f64)>) -> Self {
        let watched = firing.map(|(series, sentence, value)| {
            let watched = Watched {
                labels: series::read(&series),
                phase: Phase::Firing,
                seen: Duration::ZERO,
                sentence,
                value,
            };
            (series, watched)
        });
        Self {
            rule,
            memory: Memory::default(),
            watched: watched.collect(),
        }
    }

    /// How many series fire.
    pub(super) fn firing(&self) -> u64 {
        let firing =
            |watched: &&Watched| matches!(watched.phase, Phase::Firing | Phase::Clearing(_));
        self.watched.values().filter(firing).count() as u64
    }

    /// What changed with these numbers. `now` only grows.
    pub(super) fn judge(&mut self, samples: &Samples, now: Duration) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (labels, value) in self.memory.measure(&self.rule, samples, now) {
            let series = written(&labels);
            if self.watched.len() >= SERIES_MAX && !self.watched.contains_key(&series) {
                continue;
            }
            verdicts.extend(self.one(series, &labels, value, now));
        }
        if self.is_none_zero(samples) {
            let unseen = self.watched.iter().filter(|(_, one)| one.seen != now);
            let unseen: Vec<_> = unseen
                .map(|(series, one)| (series.clone(), one.labels.clone()))
                .collect();
            for (series, labels) in unseen {
                verdicts.extend(self.one(series, &labels, 0.0, now));
            }
        }
        for (series, watched) in &mut self.watched {
            let fires = matches!(watched.phase, Phase::Firing | Phase::Clearing(_));
            // What is not measured is not crossed, either; but what fires is not well for that.
            if fires && now.saturating_sub(watched.seen) < ABSENT_MAX || watched.seen == now {
                continue;
            }
            watched.phase = Phase::Quiet;
            if fires {
                verdicts.push(Verdict {
                    series: series.clone(),
                    change: Change::Ended { measured: false },
                    sentence: watched.sentence.clone(),
                    look: look(&self.rule, &watched.labels),
                    value: watched.value,
                });
            }
        }
        self.watched
            .retain(|_, watched| watched.phase != Phase::Quiet);
        verdicts
    }

    /// Whether a series of its metric that is not there is zero: what is held is only named where something is.
    fn is_none_zero(&self, samples: &Samples) -> bool {
        let readable = samples.single(observe::STATE_READABLE.name);
        self.rule.metric == observe::HELD_ITEMS && readable.is_some_and(|readable| readable > 0.0)
    }

    fn one(
        &mut self,
        series: String,
        labels: &Labels,
        value: f64,
        now: Duration,
    ) -> Option<Verdict> {
        let rule = &self.rule;
        let watched = self.watched.entry(series.clone()).or_insert(Watched {
            labels: labels.clone(),
            phase: Phase::Quiet,
            seen: now,
            sentence: String::new(),
            value,
        });
        watched.seen = now;
        let (crossed, clear) = (rule.is_crossed(value), rule.is_clear(value));
        let mut change = None;
        if matches!(watched.phase, Phase::Quiet) && crossed {
            watched.phase = Phase::Pending(now);
        }
        watched.phase = match watched.phase {
            Phase::Pending(_) if !crossed => Phase::Quiet,
            Phase::Pending(since) if now.saturating_sub(since) >= rule.hold => {
                let since = now.saturating_sub(since);
                change = Some(Change::Began { since });
                Phase::Firing
            }
            Phase::Firing if clear && rule.clear_hold > Duration::ZERO => Phase::Clearing(now),
            Phase::Clearing(_) if !clear => Phase::Firing,
            Phase::Clearing(since) if now.saturating_sub(since) >= rule.clear_hold => {
                change = Some(Change::Ended { measured: true });
                Phase::Quiet
            }
            Phase::Firing if clear => {
                change = Some(Change::Ended { measured: true });
                Phase::Quiet
            }
            other => other,
        };
        let fires = matches!(watched.phase, Phase::Firing | Phase::Clearing(_));
        if fires {
            let sentence = rule.sentence(labels, value);
            if change.is_none() && sentence != watched.sentence {
                change = Some(Change::Goes);
            }
            (watched.sentence, watched.value) = (sentence, value);
        }
        Some(Verdict {
            series,
            change: change?,
            sentence: watched.sentence.clone(),
            look: look(rule, labels),
            value: watched.value,
        })
    }
}

/// How to look at a series, in the rule's words.
fn look(rule: &Rule, labels: &Labels) -> String {
    let mut look = rule.look.clone();
    for (name, value) in labels {
        look = look.replace(&format!("{{{name}}}"), value);
    }
    look
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    /// What a rule says at each value, a second apart.
    fn said(edit: impl FnOnce(&mut Rule), values: &[Option<f64>]) -> Vec<(usize, Change)> {
        let rules = builtin::rules();
        let mut rule = rules
            .into_iter()
            .find(|rule| rule.name == "delivery-old")
            .unwrap();
        rule.clear_hold = Duration::ZERO;
        edit(&mut rule);
        let mut judge = Judge::new(rule, std::iter::empty());
        let mut said = Vec::new();
        for (second, value) in values.iter().enumerate() {
            let text = value.map_or_else(String::new, |value| {
                format!("lighterman_delivery_oldest_age_seconds{{destination=\"shop\"}} {value}\n")
            });
            let now = Duration::from_secs(second as u64);
            let verdicts = judge.judge(&Samples::read(&text), now);
            let changes = verdicts.into_iter().map(|verdict| verdict.change);
            said.extend(
                changes
                    .filter(|change| *change != Change::Goes)
                    .map(|change| (second, change)),
            );
        }
        said
    }

    const BEGAN: Change = Change::Began {
        since: Duration::ZERO,
    };
    const ENDED: Change = Change::Ended { measured: true };

    #[test]
    fn what_swings_about_the_bound_begins_once_and_ends_once() {
        let values = [899, 901, 899, 901, 500, 301, 899, 901, 300, 299, 901];
        let values = values.map(|value| Some(f64::from(value)));
        assert_eq!(said(|_| {}, &values), [(1, BEGAN), (8, ENDED), (10, BEGAN)]);
    }

    #[test]
    fn it_must_be_crossed_for_a_while_and_well_for_a_while() {
        let values = [1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0].map(|n| Some(f64::from(n) * 1_000.0));
        let edit = |rule: &mut Rule| {
            rule.hold = Duration::from_secs(2);
            rule.clear_hold = Duration::from_secs(2);
        };
        let held = Change::Began {
            since: Duration::from_secs(2),
        };
        assert_eq!(said(edit, &values), [(5, held), (11, ENDED)]);
    }

    #[test]
    fn what_is_not_measured_is_neither_well_nor_for_ever() {
        let mut values = vec![Some(1_000.0)];
        values.resize(900, None);
        assert_eq!(said(|_| {}, &values), [(0, BEGAN)]);
        values.push(None);
        assert_eq!(
            said(|_| {}, &values),
            [(0, BEGAN), (900, Change::Ended { measured: false })]
        );
    }

    #[test]
    fn what_is_held_is_over_when_nothing_is_held_any_more() {
        let rules = builtin::rules();
        let mut rule = rules.into_iter().find(|rule| rule.name == "held").unwrap();
        (rule.hold, rule.clear_hold) = (Duration::ZERO, Duration::ZERO);
        let series = "{by=\"shop\",cause=\"guard\"}";
        let before = [(series.to_owned(), "x".to_owned(), 2.0)];
        let mut judge = Judge::new(rule, before.into_iter());
        let at = |judge: &mut Judge, second, text: &str| {
            judge.judge(&Samples::read(text), Duration::from_secs(second))
        };
        let unreadable = at(&mut judge, 1, "lighterman_state_readable 0\n");
        assert_eq!(unreadable, [], "nobody knows");
        let ended = at(&mut judge, 2, "lighterman_state_readable 1\n");
        assert_eq!(ended[0].change, ENDED);
        assert_eq!(ended[0].look, "lighterman held list --cause guard");
    }

    #[test]
    fn what_fired_before_a_restart_does_not_begin_again() {
        let rules = builtin::rules();
        let rule = rules
            .into_iter()
            .find(|rule| rule.name == "source-stopped")
            .unwrap();
        let series = "{source=\"erp\"}".to_owned();
        let before = [(series.clone(), "x".to_owned(), 0.0)];
        let mut judge = Judge::new(rule, before.into_iter());
        assert_eq!(judge.firing(), 1);
        let mut at = |second, up| {
            let text = format!("lighterman_source_up{{source=\"erp\"}} {up}\n");
            judge.judge(&Samples::read(&text), Duration::from_secs(second))
        };
        let goes = at(1, 0);
        assert_eq!(goes[0].change, Change::Goes);
        assert_eq!(goes[0].sentence, "Source erp is not captured.");
        assert_eq!(at(2, 0), []);
        assert_eq!(at(3, 1), []);
        let ended = at(63, 1);
        assert_eq!(
            (ended[0].series.as_str(), &ended[0].change),
            (series.as_str(), &ENDED)
        );
    }
}
