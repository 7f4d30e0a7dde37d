//! The delivery state machine: what an event's delivery to one destination can be, and what each
//! thing that happens makes of it. One pure, total function without a wildcard arm.

use std::fmt;

use jiff::Timestamp;

use crate::event::EventKind;

/// Why a delivery waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeldCause {
    /// The API refused it.
    Rejected,
    /// Nobody can tell whether it was applied, and sending again could do it twice.
    Ambiguous,
    /// A bounded policy ran out of attempts.
    Exhausted,
    /// The API holds something else than what the change was made from, again and again.
    Conflict,
    /// What the event is about did not come to the API in time.
    Dependency,
    /// A guard of ours stopped it: it changes more than is likely to be meant.
    Guard,
}

impl HeldCause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Rejected,
        Self::Ambiguous,
        Self::Exhausted,
        Self::Conflict,
        Self::Dependency,
        Self::Guard,
    ];

    /// The plain name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Ambiguous => "ambiguous",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
            Self::Dependency => "dependency",
            Self::Guard => "guard",
        }
    }
}

/// The durable state of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryState {
    /// May leave when it heads its lane.
    Queued,
    /// The intent is durable; the request may be out until `deadline`.
    Sending {
        /// No request of this attempt lives longer.
        deadline: Timestamp,
    },
    /// May or may not have happened; decided when `deadline` has passed.
    Unknown {
        /// The lost request's deadline.
        deadline: Timestamp,
    },
    /// The API took it; `ticket` asks about it.
    Accepted {
        /// How to ask.
        ticket: String,
        /// When to ask next.
        due: Timestamp,
        /// The API should have applied it by then.
        until: Timestamp,
    },
    /// Not applied by the last request; due again at `due`.
    Backoff {
        /// When.
        due: Timestamp,
    },
    /// Waits for a person, or for a newer state of its key.
    Held {
        /// Why.
        cause: HeldCause,
    },
    /// Done.
    Delivered,
    /// A newer state of the key took its place before it left.
    Superseded,
    /// An operator dropped it.
    Discarded,
}

/// A state's name without its data: what the store indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateName {
    /// See [`DeliveryState::Queued`].
    Queued,
    /// See [`DeliveryState::Sending`].
    Sending,
    /// See [`DeliveryState::Unknown`].
    Unknown,
    /// See [`DeliveryState::Accepted`].
    Accepted,
    /// See [`DeliveryState::Backoff`].
    Backoff,
    /// See [`DeliveryState::Held`].
    Held,
    /// See [`DeliveryState::Delivered`].
    Delivered,
    /// See [`DeliveryState::Superseded`].
    Superseded,
    /// See [`DeliveryState::Discarded`].
    Discarded,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Sending,
        Self::Unknown,
        Self::Accepted,
        Self::Backoff,
        Self::Held,
        Self::Delivered,
        Self::Superseded,
        Self::Discarded,
    ];

    /// The plain name, as stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Backoff => "backoff",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
        }
    }

    /// Nothing more will happen to it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Superseded | Self::Discarded)
    }

    /// A newer state event of the key may take its place: it surely did not happen. Whoever keeps what was sent of it
    /// knows whether an earlier request may still arrive.
    pub fn supersedable(self) -> bool {
        matches!(self, Self::Queued | Self::Backoff | Self::Held)
    }
}

impl DeliveryState {
    /// The name.
    pub fn name(&self) -> StateName {
        match self {
            Self::Queued => StateName::Queued,
            Self::Sending { .. } => StateName::Sending,
            Self::Unknown { .. } => StateName::Unknown,
            Self::Accepted { .. } => StateName::Accepted,
            Self::Backoff { .. } => StateName::Backoff,
            Self::Held { .. } => StateName::Held,
            Self::Delivered => StateName::Delivered,
            Self::Superseded => StateName::Superseded,
            Self::Discarded => StateName::Discarded,
        }
    }
}

/// What happens to a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// The lane lets it leave; its request will be over by `deadline`.
    Picked {
        /// When.
        deadline: Timestamp,
    },
    /// The API applied it.
    Applied,
    /// The API took it for later.
    Took {
        /// How to ask about it.
        ticket: String,
        /// When to ask.
        due: Timestamp,
        /// The API should have applied it by then.
        until: Timestamp,
    },
    /// The API was asked and has it still before it.
    Waiting {
        /// How to ask next time.
        ticket: String,
        /// When.
        due: Timestamp,
    },
    /// It surely failed and may work at `due`.
    Transient {
        /// When.
        due: Timestamp,
    },
    /// The API refused it.
    Rejected,
    /// A bounded policy ran out.
    Exhausted,
    /// The API holds something else, again and again.
    Conflicted,
    /// What it is about did not come in time.
    Orphaned,
    /// A guard of ours stops it.
    Guarded,
    /// The answer never came, or the agent restarted while the request was out.
    Lost,
    /// The deadline of an unknown request passed and sending again is safe.
    Resend {
        /// Not before.
        due: Timestamp,
    },
    /// The deadline of an unknown request passed and nobody can tell.
    CannotTell,
    /// The back-off is over.
    Due,
    /// A newer event of the same lane was queued.
    Newer,
    /// An operator sends it again.
    Replayed,
    /// An operator drops it.
    Discard,
}

/// An event that cannot happen in a state: a bug, never ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a delivery in state {state} cannot take {event}")]
pub struct Illegal {
    /// The state.
    pub state: &'static str,
    /// The event.
    pub event: String,
}

/// The next durable state.
///
/// # Errors
/// [`Illegal`] for pairs that cannot happen; the caller stops rather than guesses.
pub fn next(
    state: &DeliveryState,
    event: &DeliveryEvent,
    kind: EventKind,
) -> Result<DeliveryState, Illegal> {
    use DeliveryEvent as E;
    use DeliveryState as S;
    let illegal = || {
        Err(Illegal {
            state: state.name().name(),
            event: event.to_string(),
        })
    };
    let superseded = |state: &S| match kind {
        EventKind::State => S::Superseded,
        EventKind::Fact => state.clone(),
    };
    Ok(match (state, event) {
        (S::Queued, E::Picked { deadline }) => S::Sending {
            deadline: *deadline,
        },
        (S::Queued | S::Backoff { .. } | S::Held { .. }, E::Newer) => superseded(state),
        (S::Queued | S::Backoff { .. } | S::Held { .. }, E::Discard) => S::Discarded,
        (
            S::Queued,
            E::Applied
            | E::Took { .. }
            | E::Waiting { .. }
            | E::Transient { .. }
            | E::Rejected
            | E::Exhausted
            | E::Conflicted
            | E::Lost
            | E::Resend { .. }
            | E::CannotTell
            | E::Due
            | E::Replayed,
        ) => return illegal(),
        (S::Queued | S::Sending { .. }, E::Orphaned) => S::Held {
            cause: HeldCause::Dependency,
        },
        (S::Queued, E::Guarded) => S::Held {
            cause: HeldCause::Guard,
        },

        (S::Sending { .. } | S::Accepted { .. } | S::Unknown { .. }, E::Applied) => S::Delivered,
        (S::Sending { .. }, E::Took { ticket, due, until }) => S::Accepted {
            ticket: ticket.clone(),
            due: *due,
            until: *until,
        },
        (S::Accepted { until, .. }, E::Waiting { ticket, due }) => S::Accepted {
            ticket: ticket.clone(),
            due: *due,
            until: *until,
        },
        (S::Sending { .. }, E::Conflicted) => S::Held {
            cause: HeldCause::Conflict,
        },
        (S::Sending { .. }, E::Transient { due }) => S::Backoff { due: *due },
        (S::Sending { .. } | S::Accepted { .. } | S::Unknown { .. }, E::Rejected) => S::Held {
            cause: HeldCause::Rejected,
        },
        (S::Sending { .. } | S::Unknown { .. }, E::Exhausted) => S::Held {
            cause: HeldCause::Exhausted,
        },
        (S::Sending { deadline }, E::Lost) => S::Unknown {
            deadline: *deadline,
        },
        // What is out, or may be, waits for its own end: a newer state queues behind it.
        (S::Sending { .. } | S::Unknown { .. } | S::Accepted { .. }, E::Newer) => state.clone(),
        (
            S::Sending { .. },
            E::Picked { .. }
            | E::Waiting { .. }
            | E::Resend { .. }
            | E::CannotTell
            | E::Due
            | E::Replayed
            | E::Guarded
            | E::Discard,
        ) => return illegal(),

        (S::Unknown { .. }, E::Resend { due }) => S::Backoff { due: *due },
        (S::Unknown { .. }, E::CannotTell) => S::Held {
            cause: HeldCause::Ambiguous,
        },
        (
            S::Unknown { .. },
            E::Picked { .. }
            | E::Took { .. }
            | E::Waiting { .. }
            | E::Conflicted
            | E::Orphaned
            | E::Guarded
            | E::Transient { .. }
            | E::Lost
            | E::Due
            | E::Replayed
            | E::Discard,
        ) => return illegal(),

        // A ticket that no longer answers is as good as a lost answer.
        (S::Accepted { .. }, E::Lost) => S::Unknown {
            deadline: Timestamp::MIN,
        },
        (
            S::Accepted { .. },
            E::Picked { .. }
            | E::Took { .. }
            | E::Conflicted
            | E::Orphaned
            | E::Guarded
            | E::Transient { .. }
            | E::Exhausted
            | E::Resend { .. }
            | E::CannotTell
            | E::Due
            | E::Replayed
            | E::Discard,
        ) => return illegal(),

        (S::Backoff { .. }, E::Due) => S::Queued,
        (S::Backoff { .. } | S::Held { .. }, E::Replayed) => S::Queued,
        (
            S::Backoff { .. },
            E::Picked { .. }
            | E::Waiting { .. }
            | E::Conflicted
            | E::Orphaned
            | E::Guarded
            | E::Applied
            | E::Took { .. }
            | E::Transient { .. }
            | E::Rejected
            | E::Exhausted
            | E::Lost
            | E::Resend { .. }
            | E::CannotTell,
        ) => return illegal(),

        (
            S::Held { .. },
            E::Picked { .. }
            | E::Waiting { .. }
            | E::Conflicted
            | E::Orphaned
            | E::Guarded
            | E::Applied
            | E::Took { .. }
            | E::Transient { .. }
            | E::Rejected
            | E::Exhausted
            | E::Lost
            | E::Resend { .. }
            | E::CannotTell
            | E::Due,
        ) => return illegal(),

        // Final states stay as they are whatever comes later in the lane.
        (S::Delivered | S::Superseded | S::Discarded, E::Newer) => state.clone(),
        (
            S::Delivered | S::Superseded | S::Discarded,
            E::Picked { .. }
            | E::Waiting { .. }
            | E::Conflicted
            | E::Orphaned
            | E::Guarded
            | E::Applied
            | E::Took { .. }
            | E::Transient { .. }
            | E::Rejected
            | E::Exhausted
            | E::Lost
            | E::Resend { .. }
            | E::CannotTell
            | E::Due
            | E::Replayed
            | E::Discard,
        ) => return illegal(),
    })
}

impl fmt::Display for DeliveryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Picked { .. } => "picked",
            Self::Applied => "applied",
            Self::Took { .. } => "took",
            Self::Waiting { .. } => "waiting",
            Self::Transient { .. } => "transient",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::Conflicted => "conflicted",
            Self::Orphaned => "orphaned",
            Self::Guarded => "guarded",
            Self::Lost => "lost",
            Self::Resend { .. } => "resend",
            Self::CannotTell => "cannot tell",
            Self::Due => "due",
            Self::Newer => "newer",
            Self::Replayed => "replayed",
            Self::Discard => "discard",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<DeliveryState> {
        let moment = Timestamp::UNIX_EPOCH;
        vec![
            DeliveryState::Queued,
            DeliveryState::Sending { deadline: moment },
            DeliveryState::Unknown { deadline: moment },
            DeliveryState::Accepted {
                ticket: "t".to_owned(),
                due: moment,
                until: moment,
            },
            DeliveryState::Backoff { due: moment },
            DeliveryState::Held {
                cause: HeldCause::Rejected,
            },
            DeliveryState::Delivered,
            DeliveryState::Superseded,
            DeliveryState::Discarded,
        ]
    }

    fn events() -> Vec<DeliveryEvent> {
        let moment = Timestamp::UNIX_EPOCH;
        vec![
            DeliveryEvent::Picked { deadline: moment },
            DeliveryEvent::Applied,
            DeliveryEvent::Took {
                ticket: "t".to_owned(),
                due: moment,
                until: moment,
            },
            DeliveryEvent::Waiting {
                ticket: "t".to_owned(),
                due: moment,
            },
            DeliveryEvent::Transient { due: moment },
            DeliveryEvent::Rejected,
            DeliveryEvent::Exhausted,
            DeliveryEvent::Conflicted,
            DeliveryEvent::Orphaned,
            DeliveryEvent::Guarded,
            DeliveryEvent::Lost,
            DeliveryEvent::Resend { due: moment },
            DeliveryEvent::CannotTell,
            DeliveryEvent::Due,
            DeliveryEvent::Newer,
            DeliveryEvent::Replayed,
            DeliveryEvent::Discard,
        ]
    }

    fn table(kind: EventKind) -> String {
        let mut text = String::from("| state | event | next |\n|---|---|---|\n");
        for state in states() {
            for event in events() {
                if let Ok(after) = next(&state, &event, kind) {
                    let line = format!(
                        "| {} | {event} | {} |\n",
                        state.name().name(),
                        after.name().name()
                    );
                    text.push_str(&line);
                }
            }
        }
        text
    }

    /// The whole table, as `ARCHITECTURE.md` prints it.
    #[test]
    fn architecture_prints_the_whole_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page.contains(&table(EventKind::State)),
            "{}",
            table(EventKind::State)
        );
    }

    #[test]
    fn only_what_surely_did_not_happen_is_superseded() {
        for state in states() {
            let after = next(&state, &DeliveryEvent::Newer, EventKind::State).unwrap();
            let expected = state.name().supersedable();
            assert_eq!(
                after == DeliveryState::Superseded && after != state,
                expected,
                "{state:?}"
            );
            let fact = next(&state, &DeliveryEvent::Newer, EventKind::Fact).unwrap();
            assert_eq!(fact, state, "a fact is never superseded");
        }
    }

    #[test]
    fn final_states_never_change() {
        for state in states().into_iter().filter(|s| s.name().is_final()) {
            for event in events() {
                if let Ok(after) = next(&state, &event, EventKind::State) {
                    assert_eq!(after, state);
                }
            }
        }
    }
}
