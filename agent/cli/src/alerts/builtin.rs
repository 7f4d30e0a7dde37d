//! Rules that are there without being asked for, once there is a channel to tell.

use std::time::Duration;

use engine::observe::{self, Metric};

use super::rule::{Of, Rule, Side, Urgency};

const STATUS: &str = "lighterman status";

/// Bounds of a rule: which side, from where, and from where it is well again.
struct Bounds(Side, Option<f64>, Option<f64>);

fn above(bound: f64) -> Bounds {
    Bounds(Side::Above, Some(bound), None)
}

fn below(bound: f64, clear: f64) -> Bounds {
    Bounds(Side::Below, Some(bound), Some(clear))
}

fn rule(
    name: &str,
    metric: Metric,
    Bounds(side, bound, clear): Bounds,
    hold_seconds: u64,
    urgency: Urgency,
    (say, look): (&str, &str),
) -> Rule {
    Rule {
        name: name.to_owned(),
        built_in: true,
        on: true,
        metric,
        of: Of::Value,
        window: super::settings::WINDOW,
        labels: Vec::new(),
        side,
        bound,
        clear,
        hold: Duration::from_secs(hold_seconds),
        clear_hold: super::settings::CLEAR_HOLD,
        urgency,
        say: say.to_owned(),
        look: look.to_owned(),
    }
}

/// All of them, in the order of the page.
pub(super) fn rules() -> Vec<Rule> {
    use Urgency::{Page, Warn};
    const DAY: f64 = 86_400.0;
    vec![
        rule(
            "source-stopped",
            observe::SOURCE_UP,
            below(1.0, 1.0),
            60,
            Page,
            ("Source {source} is not captured.", STATUS),
        ),
        rule(
            "source-partly",
            observe::SOURCE_PARTS_DOWN,
            above(0.0),
            300,
            Warn,
            (
                "{value} parts of source {source} are not captured, the rest is.",
                STATUS,
            ),
        ),
        rule(
            "capture-stuck",
            observe::SOURCE_ALIVE_AGE,
            above(120.0),
            0,
            Page,
            (
                "The capture loop of source {source} has not turned for {value}.",
                "lighterman status; restart the agent, it goes on where it stood",
            ),
        ),
        rule(
            "canary-late",
            observe::CANARY_AGE,
            Bounds(Side::Above, Some(120.0), Some(60.0)),
            0,
            Page,
            (
                "For {value} nothing has proven that the log of source {source} comes through: that no changes come \
                 may mean that capture is dead.",
                "lighterman status; lighterman check; docs/operating/alerts.md says what each source's proof is",
            ),
        ),
        rule(
            "capture-late",
            observe::SOURCE_LAG,
            Bounds(Side::Above, Some(300.0), Some(60.0)),
            600,
            Warn,
            ("Source {source} is read {value} late.", STATUS),
        ),
        rule(
            "retention-short",
            observe::RETENTION_LEFT,
            below(DAY, 1.25 * DAY),
            600,
            Warn,
            (
                "The database of source {source} drops log that was not read in {value}.",
                STATUS,
            ),
        ),
        rule(
            "retention-critical",
            observe::RETENTION_LEFT,
            below(DAY / 6.0, DAY / 4.0),
            60,
            Page,
            (
                "The database of source {source} drops log that was not read in {value}: behind that moment all \
                 tables must be read again.",
                "lighterman status says what fills it; have the database keep its log for longer",
            ),
        ),
        rule(
            "delivery-old",
            observe::OLDEST_AGE,
            Bounds(Side::Above, Some(900.0), Some(300.0)),
            0,
            Page,
            (
                "{destination} has not been told of a change for {value}.",
                STATUS,
            ),
        ),
        rule(
            "delivery-stuck",
            observe::DESTINATION_TURN_AGE,
            above(120.0),
            0,
            Page,
            (
                "The delivery loop of {destination} has not turned for {value}.",
                "lighterman status; restart the agent, it goes on where it stood",
            ),
        ),
        rule(
            "destination-failing",
            observe::FAILING,
            above(300.0),
            0,
            Page,
            (
                "Every request to {destination} has failed for {value}. Events wait in order, none is lost.",
                "lighterman destination test {destination}",
            ),
        ),
        rule(
            "held",
            observe::HELD_ITEMS,
            above(0.0),
            300,
            Warn,
            (
                "{value} are held for a person by {by}: {cause}.",
                "lighterman held list --cause {cause}",
            ),
        ),
        rule(
            "disk-low",
            observe::STATE_DISK_FREE,
            Bounds(Side::Below, None, None),
            60,
            Page,
            (
                "The disk of the state folder has {value} left. Sources are not read when it is low.",
                "make room; lighterman status says how much is needed",
            ),
        ),
        rule(
            "state-unreadable",
            observe::STATE_READABLE,
            below(1.0, 1.0),
            120,
            Page,
            ("The state file cannot be read.", "lighterman state verify"),
        ),
        rule(
            "mapping-refused",
            observe::MAPPING_REFUSED,
            above(0.0),
            0,
            Warn,
            (
                "A changed mapping of source {source} is refused; the one before it is in force.",
                "lighterman check",
            ),
        ),
        rule(
            "settings-refused",
            observe::SETTINGS_REFUSED,
            above(0.0),
            0,
            Warn,
            (
                "Changed settings are refused; those before them are in force.",
                "lighterman check",
            ),
        ),
    ]
}
