//! A run that is as it should be has no finding, whatever was committed, superseded, repeated and held.

use judge::{Committed, HeldItem, Ledger, Received, Receiver, Repeats, What, judge};
use proptest::prelude::*;

/// One commit, and what the agent makes of it.
#[derive(Debug, Clone)]
struct Played {
    key: u8,
    /// 0 = the key ends; states are few, so that texts come back.
    body: u8,
    fact: bool,
    /// It waits in the outbox until something newer of its key comes, or the end.
    waits: bool,
    repeats: bool,
}

fn played() -> impl Strategy<Value = Played> {
    (
        0_u8..4,
        0_u8..4,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(key, body, fact, waits, repeats)| Played {
            key,
            body,
            fact,
            waits,
            repeats,
        })
}

fn tell(ledger: &mut Ledger, n: usize, key: &str, what: &What, again: bool) {
    let event = Received {
        id: format!("id-{n}"),
        event_type: "product.v1".to_owned(),
        key: key.to_owned(),
        order: format!("{n:06}"),
        what: what.clone(),
        read: false,
    };
    if again {
        ledger.received("shop", event.clone());
    }
    ledger.received("shop", event);
}

proptest! {
    #[test]
    fn a_faithful_run_has_no_finding(plays in prop::collection::vec(played(), 0..60), held in 0_u8..8) {
        let mut ledger = Ledger::new();
        ledger.receiver(Receiver::new("shop", Repeats::PassedOn));
        // Of each key, what waits.
        let mut waiting: [Option<(usize, What)>; 4] = Default::default();
        let mut has: [Option<What>; 4] = Default::default();
        for (n, play) in plays.iter().enumerate() {
            let (key, what) = if play.fact {
                (format!("F{n}"), What::Fact("x".to_owned()))
            } else if play.body == 0 {
                (format!("K{}", play.key), What::Gone)
            } else {
                (format!("K{}", play.key), What::State(play.body.to_string()))
            };
            ledger.committed(Committed {
                source: "erp".to_owned(),
                event_type: "product.v1".to_owned(),
                key: key.clone(),
                what: what.clone(),
            });
            if play.fact {
                tell(&mut ledger, n, &key, &what, play.repeats);
                continue;
            }
            let place = usize::from(play.key);
            // Superseded, or unchanged to what the receiver has.
            waiting[place] = None;
            if has[place].as_ref() == Some(&what) {
                continue;
            }
            if play.waits {
                waiting[place] = Some((n, what));
            } else if play.key != held {
                tell(&mut ledger, n, &key, &what, play.repeats);
                has[place] = Some(what);
            }
        }
        for (key, left) in waiting.into_iter().enumerate() {
            if let Some((n, what)) = left
                && key != usize::from(held)
            {
                tell(&mut ledger, n, &format!("K{key}"), &what, false);
            }
        }
        if held < 4 {
            ledger.held(HeldItem {
                receiver: Some("shop".to_owned()),
                event_type: "product.v1".to_owned(),
                key: format!("K{held}"),
                reason: "HTTP 422".to_owned(),
            });
        }
        let verdict = judge(&ledger);
        let words: Vec<_> = verdict.words().collect();
        prop_assert!(verdict.is_clean(), "{words:#?}");
    }

    #[test]
    fn one_event_less_is_always_found(bodies in prop::collection::vec(1_u8..200, 1..20), out in any::<prop::sample::Index>()) {
        // Every change is another state of a key of its own, so nothing explains a gap.
        let out = out.index(bodies.len());
        let mut ledger = Ledger::new();
        ledger.receiver(Receiver::new("shop", Repeats::PassedOn));
        for (n, body) in bodies.iter().enumerate() {
            let (key, what) = (format!("K{n}"), What::State(body.to_string()));
            ledger.committed(Committed {
                source: "erp".to_owned(),
                event_type: "product.v1".to_owned(),
                key: key.clone(),
                what: what.clone(),
            });
            if n != out {
                tell(&mut ledger, n, &key, &what, false);
            }
        }
        prop_assert_eq!(judge(&ledger).count(judge::Class::Lost), 1);
    }
}
