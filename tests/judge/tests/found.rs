//! Every class is found, and counted under its own name only.

use judge::{
    Balance, Class, Committed, HeldItem, Ledger, PositionSeen, Received, Receiver, Repeats,
    Verdict, What, judge,
};

fn state(body: &str) -> What {
    What::State(body.to_owned())
}

fn fact() -> What {
    What::Fact("5 pieces".to_owned())
}

/// A run of one key at one receiver: what was committed, and by id and version what came.
fn run(repeats: Repeats, committed: &[What], came: &[(&str, &str, What)]) -> Ledger {
    let mut ledger = Ledger::new();
    ledger.receiver(Receiver::new("shop", repeats));
    for what in committed {
        ledger.committed(Committed {
            source: "erp".to_owned(),
            event_type: "product.v1".to_owned(),
            key: "S1".to_owned(),
            what: what.clone(),
        });
    }
    for (id, order, what) in came {
        ledger.received(
            "shop",
            Received {
                id: (*id).to_owned(),
                event_type: "product.v1".to_owned(),
                key: "S1".to_owned(),
                order: (*order).to_owned(),
                what: what.clone(),
                read: id.starts_with("read"),
            },
        );
    }
    ledger
}

fn verdict(committed: &[What], came: &[(&str, &str, What)]) -> Verdict {
    judge(&run(Repeats::PassedOn, committed, came))
}

/// Only this class, so often.
fn only(verdict: &Verdict, class: Class, count: u64) {
    for other in Class::ALL {
        let wanted = if other == class { count } else { 0 };
        let words: Vec<_> = verdict.words().collect();
        assert_eq!(verdict.count(other), wanted, "{}: {words:#?}", other.name());
    }
}

fn clean(verdict: &Verdict) {
    only(verdict, Class::Lost, 0);
    assert!(verdict.is_clean());
}

#[test]
fn a_last_state_that_never_came_is_lost() {
    only(&verdict(&[state("1")], &[]), Class::Lost, 1);
    let came = [("a", "1", state("1"))];
    only(&verdict(&[state("1"), state("2")], &came), Class::Lost, 1);
}

#[test]
fn a_fact_that_never_came_is_lost_unless_the_source_lost_it() {
    let mut ledger = run(Repeats::PassedOn, &[fact()], &[]);
    only(&judge(&ledger), Class::Lost, 1);
    ledger.forgotten("product.v1", "S1");
    clean(&judge(&ledger));
}

#[test]
fn changes_before_a_lost_one_are_unexplained() {
    let verdict = verdict(&[state("1"), state("2"), state("2"), state("3")], &[]);
    assert_eq!(verdict.count(Class::Lost), 1);
    assert_eq!(verdict.count(Class::Unexplained), 2);
}

#[test]
fn older_after_newer_is_reordered_by_version_and_by_what_was_committed() {
    let committed = [state("1"), state("2"), state("1")];
    // By what the agent says itself.
    let came = [("b", "2", state("2")), ("a", "1", state("1"))];
    only(&verdict(&committed, &came), Class::Reordered, 1);
    // By what the source did, whatever the versions say.
    let came = [
        ("c", "1", state("3")),
        ("b", "2", state("2")),
        ("c2", "3", state("3")),
    ];
    let committed = [state("2"), state("3")];
    only(&verdict(&committed, &came), Class::Reordered, 1);
}

#[test]
fn what_a_read_showed_early_may_be_told_step_by_step_where_reads_run_ahead() {
    let committed = [state("1"), state("2"), state("3")];
    let played = |came: &[(&str, &str, What)], ahead: bool| {
        let mut ledger = run(Repeats::PassedOn, &committed, came);
        if ahead {
            ledger.reads_ahead();
        }
        judge(&ledger)
    };
    let came = [
        ("read", "1", state("3")),
        ("b", "2", state("2")),
        ("c", "3", state("3")),
    ];
    let shown = played(&came, true);
    clean(&shown);
    assert!(shown.to_string().contains("shown_early=1"), "{shown}");
    // Elsewhere a read is never ahead.
    only(&played(&came, false), Class::Reordered, 1);
    // Nor may the log go back behind what itself told, whatever was read.
    let came = [
        ("b", "1", state("2")),
        ("read", "2", state("3")),
        ("a", "3", state("1")),
        ("c", "4", state("3")),
    ];
    only(&played(&came, true), Class::Reordered, 1);
    // And what it shows is told again in its order, and to its end.
    let came = [("read", "1", state("3")), ("b", "2", state("2"))];
    only(&played(&came, true), Class::Lost, 1);
}

#[test]
fn a_fact_under_two_ids_is_duplicated() {
    let came = [("a", "1", fact()), ("b", "2", fact())];
    only(&verdict(&[fact()], &came), Class::DuplicatedFacts, 1);
}

#[test]
fn a_repeated_fact_is_a_finding_only_where_ids_are_recognised() {
    let came = [("a", "1", fact()), ("a", "1", fact())];
    clean(&verdict(&[fact()], &came));
    let applied = run(Repeats::Recognised, &[fact()], &came);
    only(&judge(&applied), Class::DuplicatedFacts, 1);
}

#[test]
fn a_late_repetition_of_an_old_state_counts_only_where_it_had_an_effect() {
    let committed = [state("1"), state("2")];
    let came = [
        ("a", "1", state("1")),
        ("b", "2", state("2")),
        ("a", "1", state("1")),
    ];
    clean(&verdict(&committed, &came));
    let verdict = judge(&run(Repeats::Recognised, &committed, &came));
    assert_eq!(verdict.count(Class::Reordered), 1);
    assert_eq!(verdict.count(Class::Lost), 1);
}

#[test]
fn an_end_that_never_came_is_a_missing_tombstone() {
    let committed = [state("1"), What::Gone];
    let came = [("a", "1", state("1"))];
    only(&verdict(&committed, &came), Class::MissingTombstones, 1);
    // A receiver that was never told of the key needs no word of its end.
    clean(&verdict(&committed, &[]));
}

#[test]
fn a_state_after_the_end_is_resurrected_unless_it_was_committed_again() {
    let came = [
        ("a", "1", state("1")),
        ("b", "2", What::Gone),
        ("c", "3", state("1")),
    ];
    let verdict_dead = verdict(&[state("1"), What::Gone], &came);
    assert_eq!(verdict_dead.count(Class::Resurrected), 1);
    assert_eq!(verdict_dead.count(Class::MissingTombstones), 1);
    clean(&verdict(&[state("1"), What::Gone, state("1")], &came));
}

#[test]
fn what_no_commit_made_is_invented() {
    let came = [("x", "1", state("half")), ("a", "2", state("1"))];
    only(&verdict(&[state("1")], &came), Class::Invented, 1);
    only(&verdict(&[], &came[..1]), Class::Invented, 1);
    let came = [("x", "1", fact())];
    only(&verdict(&[], &came), Class::Invented, 1);
}

#[test]
fn an_id_with_two_meanings_is_altered() {
    let committed = [state("1"), state("2")];
    let came = [
        ("a", "1", state("1")),
        ("a", "1", state("2")),
        ("b", "2", state("2")),
    ];
    only(&verdict(&committed, &came), Class::Altered, 1);
}

#[test]
fn a_position_beyond_what_is_durable_is_ahead() {
    let mut ledger = Ledger::new();
    for (told, durable) in [("10", "10"), ("11", "12"), ("13", "12")] {
        ledger.position(PositionSeen {
            source: "erp".to_owned(),
            told: told.to_owned(),
            durable: durable.to_owned(),
        });
    }
    only(&judge(&ledger), Class::Ahead, 1);
}

#[test]
fn what_is_held_explains_itself_and_its_key() {
    let held = |reason: &str, receiver: Option<&str>| HeldItem {
        receiver: receiver.map(str::to_owned),
        event_type: "product.v1".to_owned(),
        key: "S1".to_owned(),
        reason: reason.to_owned(),
    };
    let mut ledger = run(Repeats::PassedOn, &[state("1"), state("2")], &[]);
    ledger.held(held("HTTP 422", Some("shop")));
    clean(&judge(&ledger));
    ledger.held(held(" ", Some("shop")));
    only(&judge(&ledger), Class::HeldIncomplete, 1);
    // Held for somebody else explains nothing here.
    let mut ledger = run(Repeats::PassedOn, &[state("1")], &[]);
    ledger.held(held("HTTP 422", Some("other")));
    only(&judge(&ledger), Class::Lost, 1);
    let mut ledger = run(Repeats::PassedOn, &[fact()], &[]);
    ledger.held(held("no such location", None));
    clean(&judge(&ledger));
}

#[test]
fn an_account_that_does_not_come_out_even_is_unexplained() {
    let even = Balance {
        enqueued: 10,
        delivered: 6,
        superseded: 2,
        discarded: 1,
        held: 1,
        waiting: 0,
    };
    for (balance, count) in [
        (even, 0),
        (
            Balance {
                enqueued: 11,
                ..even
            },
            1,
        ),
        (
            Balance {
                waiting: 1,
                enqueued: 11,
                ..even
            },
            1,
        ),
    ] {
        let mut ledger = Ledger::new();
        ledger.balance("shop", balance);
        only(&judge(&ledger), Class::Unexplained, count);
    }
}

#[test]
fn what_is_held_or_not_accounted_for_when_all_is_mended_is_unexplained() {
    let came = [("a", "1", state("1"))];
    let mut ledger = run(Repeats::PassedOn, &[state("1")], &came);
    clean(&judge(&ledger));
    ledger.mended();
    let silent = judge(&ledger);
    only(&silent, Class::Unexplained, 1);
    let words: Vec<_> = silent.words().collect();
    assert!(words[0].contains("no account of shop"), "{words:?}");

    let account = |held| Balance {
        enqueued: 1 + held,
        delivered: 1,
        held,
        ..Balance::default()
    };
    let mut well = ledger.clone();
    well.balance("shop", account(0));
    clean(&judge(&well));
    ledger.balance("shop", account(2));
    let unnamed = judge(&ledger);
    only(&unnamed, Class::Unexplained, 1);
    for receiver in [Some("shop"), Some("shop"), None] {
        ledger.held(HeldItem {
            receiver: receiver.map(str::to_owned),
            event_type: "product.v1".to_owned(),
            key: "S1".to_owned(),
            reason: "HTTP 422".to_owned(),
        });
    }
    // Each by its name, and what the mapping holds as well.
    let named = judge(&ledger);
    only(&named, Class::Unexplained, 3);
    let words: Vec<_> = named.words().collect();
    assert!(
        words[0].contains("shop: product.v1 S1: HTTP 422"),
        "{words:?}"
    );
    assert!(words[2].contains("by the mapping"), "{words:?}");
}

#[test]
fn who_is_not_told_a_type_misses_nothing_of_it() {
    let mut ledger = Ledger::new();
    let mut receiver = Receiver::new("shop", Repeats::PassedOn);
    receiver.event_types.insert("order.v1".to_owned());
    ledger.receiver(receiver);
    ledger.committed(Committed {
        source: "erp".to_owned(),
        event_type: "product.v1".to_owned(),
        key: "S1".to_owned(),
        what: state("1"),
    });
    clean(&judge(&ledger));
}

#[test]
fn a_fact_is_told_before_it_is_corrected() {
    let corrected = What::Correction("6 pieces".to_owned());
    let committed = [fact(), corrected.clone()];
    let came = [("a", "1", fact()), ("b", "2", corrected.clone())];
    clean(&verdict(&committed, &came));
    let came = [("b", "2", corrected), ("a", "1", fact())];
    only(&verdict(&committed, &came), Class::Reordered, 1);
}

#[test]
fn the_line_of_figures_has_what_was_done_and_every_class() {
    let mut sum = Verdict::default();
    sum.did("seeds", 1);
    sum.did("kills", 4);
    let mut other = verdict(&[state("1")], &[]);
    other.did("kills", 3);
    sum.add(other);
    assert_eq!(
        sum.to_string(),
        "seeds=1 kills=7 received=0 repeated=0 lost=1 reordered=0 duplicated_facts=0 missing_tombstones=0 \
         resurrected=0 invented=0 altered=0 unexplained=0 ahead=0 held_incomplete=0"
    );
    assert_eq!(sum.words().count(), 1);
}
