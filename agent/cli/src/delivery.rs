//! What a `[[destination]]` block says of how it is delivered to, whatever its type.

use std::time::Duration;

use contract::finding::nearest;
use contract::{Decimal, EventType, Node, NodeKind, Rate, Section};
use engine::{DeliverySettings, Pause};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use state::{Guards, MassDrop};

/// Calls of a destination at once at most: each holds a connection and a batch.
const CONCURRENT_MAX: u64 = 64;

/// A month: what may take longer needs no promise.
const PROMISED_MAX: u64 = 31 * 86_400;

/// Reads them.
pub(crate) fn read(section: &mut Section<'_>) -> DeliverySettings {
    let mut settings = DeliverySettings {
        // Not a `mode`: types have one of their own.
        shadow: {
            let shadow = section.flag("shadow");
            section.or("shadow", shadow, false)
        },
        pauses: pauses(section, "pauses"),
        rate: rate(section),
        ..DeliverySettings::default()
    };
    if let Some(zone) = zone(section, "pauses") {
        settings.zone = zone;
    }
    let concurrent = section.number("concurrent", 1, CONCURRENT_MAX);
    settings.concurrent = concurrent.and_then(|calls| usize::try_from(calls).ok());
    let per_day = section.number("per_day", 1, u64::from(u32::MAX));
    settings.per_day = per_day.and_then(|requests| u32::try_from(requests).ok());
    let wait = section.number("dependency_wait_minutes", 0, 60 * 24 * 30);
    let default = settings.dependency_wait.as_secs() / 60;
    let wait = section.or("dependency_wait_minutes", wait, default);
    settings.dependency_wait = Duration::from_mins(wait);
    settings.guards = read_guards(section.section_or_empty("guards"));
    if let Some(promised) = section.section("delivered_within_seconds") {
        settings.promised = read_promised(promised);
    }
    settings
}

/// `delivered_within_seconds = { "order.v1" = 60 }`.
fn read_promised(mut section: Section<'_>) -> Vec<(EventType, Duration)> {
    let mut promised = Vec::new();
    for (key, node) in section.free_entries() {
        let seconds = match &node.kind {
            NodeKind::Number(text) => text.replace('_', "").parse::<u64>().ok(),
            _ => None,
        };
        let seconds = seconds.filter(|seconds| (1..=PROMISED_MAX).contains(seconds));
        match (key.name.parse::<EventType>(), seconds) {
            (Ok(event_type), Some(seconds)) => {
                promised.push((event_type, Duration::from_secs(seconds)));
            }
            (Err(()), _) => {
                let names = EventType::ALL.into_iter().map(EventType::name);
                let fix = nearest(&key.name, names.clone()).map_or_else(
                    || format!("one of {}", names.collect::<Vec<_>>().join(", ")),
                    |name| format!("did you mean `{name}`?"),
                );
                let found = format!("`{}` is not an event type", key.name);
                section.wrong(&key.name, node, found, Some(fix));
            }
            (Ok(_), None) => {
                let found = format!("expected a whole number of seconds from 1 to {PROMISED_MAX}");
                section.wrong(&key.name, node, found, None);
            }
        }
    }
    promised
}

fn read_guards(mut section: Section<'_>) -> Guards {
    let mut guards = Guards::default();
    let jump = section.number("jump_percent", 1, 1_000_000);
    guards.jump_percent = jump.and_then(|percent| u32::try_from(percent).ok());
    let zero = section.flag("zero_price");
    guards.zero_price = section.or("zero_price", zero, guards.zero_price);
    let off = section
        .get("mass_drop")
        .is_some_and(|node| node.kind == NodeKind::Bool(false));
    if off {
        guards.mass_drop = None;
    } else if let Some(default) = guards.mass_drop {
        let mut mass = section.section_or_empty("mass_drop");
        let mut number = |key, max, default| {
            let number = mass.number(key, 1, max);
            let number = number.and_then(|number| u32::try_from(number).ok());
            mass.or(key, number, default)
        };
        guards.mass_drop = Some(MassDrop {
            percent: number("percent", 100, default.percent),
            least: number("least", 1_000_000, default.least),
            minutes: number("minutes", 24 * 60, default.minutes),
        });
        mass.finish();
    }
    section.finish();
    guards
}

/// Requests in a second, also fewer than one: `0.5` is one in two seconds.
fn rate(section: &mut Section<'_>) -> Option<Rate> {
    let node = section.get("requests_per_second")?;
    let rate = rate_of(node);
    if rate.is_none() {
        let found = "expected a number from 0.001 to 10000, with at most three decimals".to_owned();
        section.wrong("requests_per_second", node, found, None);
    }
    rate
}

fn rate_of(node: &Node) -> Option<Rate> {
    let NodeKind::Number(text) = &node.kind else {
        return None;
    };
    let number: Decimal = text.replace('_', "").parse().ok()?;
    let thousandths = number.try_mul(Decimal::from(1_000_i64)).ok()?;
    if !thousandths.is_integer() {
        return None;
    }
    let thousandths: u32 = thousandths.to_string().parse().ok()?;
    if !(1..=10_000_000).contains(&thousandths) {
        return None;
    }
    Some(if thousandths.is_multiple_of(1_000) {
        Rate {
            requests: thousandths / 1_000,
            per: Duration::from_secs(1),
        }
    } else {
        // One request in the time that it takes: never more than the number says.
        Rate {
            requests: 1,
            per: Duration::from_micros(1_000_000_000_u64.div_ceil(u64::from(thousandths))),
        }
    })
}

/// Times of day at which nothing happens.
pub(crate) fn pauses(section: &mut Section<'_>, key: &'static str) -> Vec<Pause> {
    let mut pauses = Vec::new();
    for text in section.texts(key).unwrap_or_default() {
        let times = text.split_once('-').and_then(|(from, to)| {
            let time = |text: &str| text.trim().parse().ok();
            Some((time(from)?, time(to)?))
        });
        match (times, section.get(key)) {
            // One that ends when it begins is the whole day.
            (Some((from, to)), _) => pauses.push(Pause { from, to }),
            (None, Some(node)) => {
                let fix = Some("two times of day, as in \"08:00-18:00\"".to_owned());
                section.wrong(key, node, format!("`{text}` is no time of day"), fix);
            }
            (None, None) => {}
        }
    }
    pauses
}

/// The zone in which the times of `key` are meant.
pub(crate) fn zone(section: &mut Section<'_>, key: &'static str) -> Option<TimeZone> {
    let name = section.text("zone");
    match (name, section.get("zone"), section.get(key)) {
        (Some(name), Some(node), _) => {
            let zone = TimeZoneDatabase::bundled().get(name).ok();
            if zone.is_none() {
                let fix = Some("a name such as Europe/Berlin or America/Chicago".to_owned());
                section.wrong("zone", node, format!("there is no time zone `{name}`"), fix);
            }
            return zone;
        }
        // The times are a person's, and nobody knows in which zone this machine's clock is.
        (None, None, Some(_)) => {
            section.missing(
                "zone",
                "`zone = \"Europe/Berlin\"`, in which the pauses are meant",
            );
        }
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use contract::Problems;

    use super::*;

    fn check(text: &str) -> (DeliverySettings, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let mut section = Section::new(&root, "destination", &problems);
        let settings = read(&mut section);
        section.finish();
        let found = problems.take().iter().map(ToString::to_string).collect();
        (settings, found)
    }

    #[test]
    fn what_is_not_said_is_careful() {
        let (settings, found) = check("");
        assert_eq!(found, Vec::<String>::new());
        assert!(!settings.shadow && settings.rate.is_none());
        assert_eq!(settings.guards, Guards::default());
        assert_eq!(settings.dependency_wait, Duration::from_hours(1));
    }

    #[test]
    fn everything_is_read() {
        let (settings, found) = check(
            "shadow = true\npauses = [\"12:00-13:00\"]\nzone = \"Europe/Berlin\"\n\
             requests_per_second = 0.4\nconcurrent = 3\nper_day = 5_000\n\
             dependency_wait_minutes = 15\nguards = {jump_percent = 400, zero_price = false, \
             mass_drop = {percent = 10, least = 5}}\n\
             delivered_within_seconds = {\"order.v1\" = 60}\n",
        );
        assert_eq!(found, Vec::<String>::new());
        assert!(settings.shadow);
        assert_eq!(settings.pauses.len(), 1);
        let rate = Rate {
            requests: 1,
            per: Duration::from_millis(2_500),
        };
        assert_eq!(settings.rate, Some(rate));
        assert_eq!(
            (settings.concurrent, settings.per_day),
            (Some(3), Some(5_000))
        );
        assert_eq!(settings.dependency_wait, Duration::from_mins(15));
        let order = (EventType::Order, Duration::from_mins(1));
        assert_eq!(settings.promised, [order]);
        let guards = Guards {
            jump_percent: Some(400),
            zero_price: false,
            mass_drop: Some(MassDrop {
                percent: 10,
                least: 5,
                minutes: 10,
            }),
        };
        assert_eq!(settings.guards, guards);
        let (settings, found) = check("requests_per_second = 4\nguards = {mass_drop = false}");
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(settings.rate.map(|rate| rate.requests), Some(4));
        assert_eq!(settings.guards.mass_drop, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wanted) in [
            ("shadow = \"yes\"", "expected true or false"),
            ("requests_per_second = 0", "from 0.001 to 10000"),
            ("requests_per_second = 0.0005", "from 0.001 to 10000"),
            (
                "pauses = [\"noon\"]\nzone = \"Europe/Berlin\"",
                "no time of day",
            ),
            ("pauses = [\"12:00-13:00\"]", "`zone` is missing"),
            ("guards = {jump = 3}", "unknown key `jump`"),
            ("guards = {mass_drop = {percent = 0}}", "from 1 to 100"),
            (
                "delivered_within_seconds = {\"oder.v1\" = 60}",
                "did you mean `order.v1`?",
            ),
            (
                "delivered_within_seconds = {\"order.v1\" = 0}",
                "whole number of seconds from 1",
            ),
        ] {
            let (_, found) = check(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{text}: {found:?}");
        }
    }
}
