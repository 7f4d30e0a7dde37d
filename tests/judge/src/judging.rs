//! Whether what receivers took is explained by what sources committed, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use crate::lane::{Lane, shown};
use crate::ledger::{Ledger, Received, Receiver, Repeats, What};
use crate::verdict::{Class, Verdict};

/// Type and key.
type Place<'a> = (&'a str, &'a str);

/// Judges a run that has come to rest: faults are over, and nothing is on its way any more.
pub fn judge(ledger: &Ledger) -> Verdict {
    let mut verdict = Verdict::default();
    if ledger.mended {
        // First, for it explains why other things are missing.
        held_still(ledger, &mut verdict);
    }
    let mut committed: BTreeMap<Place<'_>, Vec<&What>> = BTreeMap::new();
    for change in &ledger.committed {
        let place = (&*change.event_type, &*change.key);
        committed.entry(place).or_default().push(&change.what);
    }
    for receiver in &ledger.receivers {
        at_receiver(ledger, &committed, receiver, &mut verdict);
    }
    for seen in ledger
        .positions
        .iter()
        .filter(|seen| seen.told > seen.durable)
    {
        let found = format!(
            "{}: told {}, durable {}",
            seen.source, seen.told, seen.durable
        );
        verdict.found(Class::Ahead, found);
    }
    for item in &ledger.held {
        if [&item.event_type, &item.key, &item.reason]
            .iter()
            .any(|text| text.trim().is_empty())
        {
            verdict.found(Class::HeldIncomplete, format!("{item:?}"));
        }
    }
    for (receiver, balance) in &ledger.balances {
        let known = balance.delivered + balance.superseded + balance.discarded + balance.held;
        if balance.waiting > 0 || known != balance.enqueued {
            let found = format!("the agent's account of {receiver}: {balance:?}");
            verdict.found(Class::Unexplained, found);
        }
    }
    verdict
}

/// What is held, or not accounted for, although nothing is wrong any more.
fn held_still(ledger: &Ledger, verdict: &mut Verdict) {
    for item in &ledger.held {
        let by = item.receiver.as_deref().unwrap_or("the mapping");
        let found = format!(
            "held still by {by}: {} {}: {}",
            item.event_type, item.key, item.reason
        );
        verdict.found(Class::Unexplained, found);
    }
    for receiver in &ledger.receivers {
        let name = &receiver.name;
        let account = ledger.balances.iter().find(|(known, _)| known == name);
        let named = ledger.held.iter();
        let named = named.filter(|item| item.receiver.as_ref() == Some(name));
        let found = match account {
            None => format!("the agent gives no account of {name}"),
            Some((_, balance)) if balance.held > named.count() as u64 => {
                format!("held still by {name}: {}, and not all named", balance.held)
            }
            Some(_) => continue,
        };
        verdict.found(Class::Unexplained, found);
    }
}

fn at_receiver<'a>(
    ledger: &'a Ledger,
    committed: &BTreeMap<Place<'a>, Vec<&'a What>>,
    receiver: &'a Receiver,
    verdict: &mut Verdict,
) {
    let held: BTreeSet<Place<'_>> = ledger
        .held
        .iter()
        .filter(|item| {
            item.receiver
                .as_ref()
                .is_none_or(|name| *name == receiver.name)
        })
        .map(|item| (&*item.event_type, &*item.key))
        .collect();
    let took = first_of_each(receiver, verdict);
    let places: BTreeSet<Place<'_>> = committed.keys().chain(took.keys()).copied().collect();
    for place in places.into_iter().filter(|(kind, _)| receiver.takes(kind)) {
        let none = Vec::new();
        let told = committed.get(&place).unwrap_or(&none);
        let nothing = Vec::new();
        let took = took.get(&place).unwrap_or(&nothing);
        let name = format!("{} {} {}", receiver.name, place.0, place.1);
        let (states, facts): (Vec<_>, Vec<_>) =
            told.iter().copied().partition(|what| what.is_state());
        let (states_took, facts_took): (Vec<_>, Vec<_>) = took
            .iter()
            .copied()
            .partition(|event| event.what.is_state());
        if !facts.is_empty() || !facts_took.is_empty() {
            let excused = held.contains(&place)
                || ledger
                    .forgotten
                    .contains(&(place.0.to_owned(), place.1.to_owned()));
            judge_fact(&name, &facts, &facts_took, excused, verdict);
        }
        if !states.is_empty() || !states_took.is_empty() {
            let lane = Lane {
                name,
                committed: &states,
                took: &states_took,
                held: held.contains(&place),
                reads_ahead: ledger.reads_ahead,
            };
            lane.judge(verdict);
        }
    }
}

/// What the receiver took, by key, each id once; what is wrong with repetitions is found on the way.
fn first_of_each<'a>(
    receiver: &'a Receiver,
    verdict: &mut Verdict,
) -> BTreeMap<Place<'a>, Vec<&'a Received>> {
    let mut ids: BTreeMap<&str, &Received> = BTreeMap::new();
    let mut by_key: BTreeMap<Place<'_>, Vec<&Received>> = BTreeMap::new();
    let mut repeated = 0;
    for event in &receiver.took {
        let place = (&*event.event_type, &*event.key);
        let Some(first) = ids.get(&*event.id) else {
            ids.insert(&event.id, event);
            by_key.entry(place).or_default().push(event);
            continue;
        };
        repeated += 1;
        if (&first.event_type, &first.key, &first.what)
            != (&event.event_type, &event.key, &event.what)
        {
            let found = format!(
                "{}: {} is {} {} {}, and {} {} {}",
                receiver.name,
                event.id,
                first.event_type,
                first.key,
                shown(&first.what),
                event.event_type,
                event.key,
                shown(&event.what)
            );
            verdict.found(Class::Altered, found);
            continue;
        }
        if receiver.repeats == Repeats::PassedOn {
            continue;
        }
        if event.what.is_state() {
            // It had its effect again, so it stands in the lane again.
            by_key.entry(place).or_default().push(event);
        } else {
            let found = format!(
                "{}: {} {} applied twice",
                receiver.name, event.event_type, event.key
            );
            verdict.found(Class::DuplicatedFacts, found);
        }
    }
    verdict.did("received", receiver.took.len() as u64);
    verdict.did("repeated", repeated);
    by_key
}

fn judge_fact(
    name: &str,
    committed: &[&What],
    took: &[&Received],
    excused: bool,
    verdict: &mut Verdict,
) {
    let is_fact = |what: &What| matches!(what, What::Fact(_));
    for event in took {
        if !committed.iter().any(|what| **what == event.what) {
            let found = format!(
                "{name}: {} has {}, which no commit made",
                event.id,
                shown(&event.what)
            );
            verdict.found(Class::Invented, found);
        }
    }
    let told: Vec<_> = took.iter().filter(|event| is_fact(&event.what)).collect();
    if told.len() > 1 {
        let ids: Vec<_> = told.iter().map(|event| &*event.id).collect();
        verdict.found(
            Class::DuplicatedFacts,
            format!("{name}: under {}", ids.join(", ")),
        );
    }
    if told.is_empty() && !excused && committed.iter().any(|what| is_fact(what)) {
        verdict.found(Class::Lost, format!("{name}: a fact"));
    }
    if let Some(first) = took.first()
        && !is_fact(&first.what)
        && !told.is_empty()
    {
        verdict.found(
            Class::Reordered,
            format!("{name}: corrected before it was told"),
        );
    }
}
