//! What is said, and in which order.

use contract::Finding;
use state::{Paused, ShadowStatus};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Everything well, at the second 1,000.
#[derive(Default)]
struct World {
    lags: BTreeMap<String, Duration>,
    destinations: Vec<DestinationStatus>,
    failing: BTreeMap<String, Duration>,
    flow: Flow,
    held: Vec<HeldGroup>,
    checked: Option<Checked>,
    stopped: bool,
}

impl World {
    fn said(&self) -> Vec<(Level, String)> {
        let sentences = sentences(&Given {
            now: at(1_000),
            running: (!self.stopped).then_some(7),
            known: true,
            disk: None,
            sources: &[],
            lags: &self.lags,
            destinations: &self.destinations,
            failing: &self.failing,
            flow: &self.flow,
            held: &self.held,
            held_count: self.held.iter().map(|group| group.things).sum(),
            checked: self.checked.as_ref(),
            late: Duration::from_mins(15),
        });
        let sentences = sentences.into_iter();
        sentences.map(|one| (one.level, one.text)).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.said().into_iter().map(|(_, text)| text).collect()
    }
}

fn shop() -> DestinationStatus {
    DestinationStatus {
        name: "shop".to_owned(),
        ..DestinationStatus::default()
    }
}

fn told(event_type: &str) -> TypeFlow {
    TypeFlow {
        event_type: event_type.to_owned(),
        ..TypeFlow::default()
    }
}

fn wait(event_type: &str, count: u64, oldest: i64) -> WaitingFlow {
    WaitingFlow {
        destination: "shop".to_owned(),
        event_type: event_type.to_owned(),
        count,
        or_more: false,
        oldest_at: at(oldest),
    }
}

fn held_of(event_type: &str, things: u64, reason: Option<&str>) -> HeldGroup {
    HeldGroup {
        event_type: event_type.to_owned(),
        by: if reason.is_some() { "mapping" } else { "shop" }.to_owned(),
        cause: if reason.is_some() {
            "mapping"
        } else {
            "rejected"
        }
        .to_owned(),
        reason: reason.map(str::to_owned),
        table: None,
        things,
        or_more: false,
    }
}

const STOCK: &str = "inventory.availability.v1";

#[test]
fn an_agent_that_is_well_says_so_in_two_lines() {
    let mut world = World {
        destinations: vec![shop()],
        ..World::default()
    };
    world.flow.types = vec![told(STOCK), told("order.v1"), told("price.v1")];
    assert_eq!(
        world.texts(),
        [
            "The agent runs (process 7).",
            "Stock, orders and prices: every change that was captured is delivered.",
        ]
    );
}

#[test]
fn what_waits_and_what_is_held_is_said_as_the_business_calls_it_worst_first() {
    let mut world = World {
        destinations: vec![shop()],
        held: vec![held_of(STOCK, 3, Some("no location mapping for WH7"))],
        ..World::default()
    };
    world.flow.types = vec![told(STOCK)];
    world.flow.waiting = vec![wait(STOCK, 1, 996), wait("order.v1", 12, 100)];
    world.destinations[0].backlog = 15;
    let said = world.said();
    let said: Vec<(Level, &str)> = said.iter().map(|one| (one.0, one.1.as_str())).collect();
    assert_eq!(
        said,
        [
            (Level::Pass, "The agent runs (process 7)."),
            (
                Level::Fail,
                "Orders are 15 min behind at shop: 12 events wait."
            ),
            (Level::Warn, "3 SKUs are held: no location mapping for WH7."),
            (Level::Pass, "Stock is 4 s behind at shop: 1 event waits."),
            (
                Level::Pass,
                "2 events of a first load or a replay wait for shop."
            ),
        ]
    );
}

#[test]
fn a_refused_delivery_is_said_by_its_cause_and_reasons_are_counted() {
    let mut world = World {
        held: vec![held_of("order.v1", 1, None)],
        ..World::default()
    };
    assert_eq!(
        world.texts()[1..],
        ["1 order is held for shop: refused by the destination."]
    );
    world.held = vec![HeldGroup {
        table: Some("dbo.IV00102".to_owned()),
        ..held_of(STOCK, 3, Some("its code is not in dictionary `places`"))
    }];
    assert_eq!(
        world.texts()[1..],
        ["3 rows of dbo.IV00102, stock, are held: its code is not in dictionary `places`."]
    );
    let reasons = ["a", "b", "c", "d", "e"];
    world.held = reasons
        .map(|reason| held_of(STOCK, 2, Some(reason)))
        .to_vec();
    let said = world.texts();
    assert_eq!(said[1], "2 SKUs are held: a.");
    assert_eq!(said[4..], ["More is held for 2 other reasons."]);
}

#[test]
fn what_keeps_a_destination_from_being_told_is_said() {
    let mut world = World {
        destinations: vec![DestinationStatus {
            paused: Some(Paused { until: None }),
            throttled_until: Some(at(1_060)),
            shadow: Some(ShadowStatus::default()),
            backlog: 1,
            ..shop()
        }],
        ..World::default()
    };
    let failing = |minutes| ("shop".to_owned(), Duration::from_mins(minutes));
    world.failing = [failing(3)].into();
    let text = world.texts().join("\n");
    for words in [
        "shop is PAUSED until a person resumes it",
        "Every request to shop has failed for 3 min.",
        "shop limits us: nothing leaves until 1970-01-01T00:17:40Z.",
        "shop is in shadow mode, NOTHING is sent",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    world.failing = [failing(16)].into();
    assert_eq!(world.said()[1].0, Level::Fail);
    world.destinations = vec![shop()];
    world.failing.clear();
    assert_eq!(
        world.texts()[1..],
        ["Everything that was captured is delivered."]
    );
}

#[test]
fn the_last_check_is_said_with_its_age() {
    let check = |findings: Vec<Finding>, wanted: (Level, &str)| {
        let world = World {
            checked: Some(Checked {
                at: at(280),
                findings,
            }),
            ..World::default()
        };
        let (level, text) = world.said().remove(1);
        assert_eq!((level, text.as_str()), wanted);
    };
    let well = (Level::Pass, "Checked 12 min ago: all is well.");
    check(vec![Finding::pass("a", "b")], well);
    let (warn, fail) = (Finding::warn("a", "b"), Finding::fail("a", "b"));
    let one = (Level::Warn, "Checked 12 min ago: 1 warning.");
    check(vec![warn.clone()], one);
    let both = (Level::Fail, "Checked 12 min ago: 1 failure, 2 warnings.");
    check(vec![warn.clone(), fail, warn], both);
}

#[test]
fn a_stopped_agent_comes_first() {
    let world = World {
        stopped: true,
        ..World::default()
    };
    let said = "The agent does NOT run. Start it: lighterman run".to_owned();
    assert_eq!(world.said(), [(Level::Fail, said)]);
}
