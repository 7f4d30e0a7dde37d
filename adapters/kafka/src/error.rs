//! What Kafka's error codes mean for an event.

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is there, now or since before.
    There,
    /// Surely not there; may work later.
    Later,
    /// Too large: alone it never will be taken.
    TooLarge,
    /// It never will be taken.
    Never,
    /// Nobody can tell.
    Unclear,
}

/// A code's meaning and its words.
pub(crate) fn meaning(code: i16) -> (Meaning, String) {
    use Meaning::{Later, Never, There, TooLarge, Unclear};
    let (meaning, words) = match code {
        0 => (There, "fine"),
        46 => (There, "it had it already"),
        3 => (Later, "the topic or partition does not exist"),
        5 | 6 => (Later, "the partition has another leader now, or none"),
        9 => (Later, "a replica is not available"),
        14 | 15 | 51 => (Later, "the coordinator is not ready"),
        17 => (Later, "the topic's name is not valid"),
        19 => (Later, "too few replicas are in sync"),
        29 => (Later, "we are not allowed to write to the topic"),
        31 => (
            Later,
            "we are not allowed to in the cluster (idempotent write)",
        ),
        45 => (
            Later,
            "the broker lost count of our messages (out of order)",
        ),
        47 | 59 | 90 => (Later, "the broker does not know this producer any more"),
        53 => (Later, "we are not allowed to use the transaction"),
        10 | 18 => (TooLarge, "larger than the topic takes"),
        32 => (Never, "its timestamp is not allowed"),
        87 => (
            Never,
            "the broker refuses the record (a compacted topic without key, say)",
        ),
        7 => (Unclear, "the replicas did not confirm it in time"),
        20 => (Unclear, "written, but too few replicas were in sync"),
        58 => (Later, "wrong user, password or mechanism"),
        33 | 34 => (Later, "the mechanism is not offered, or not now"),
        35 => (
            Later,
            "the broker does not know this version of the request",
        ),
        _ => return (Unclear, format!("error {code}")),
    };
    (meaning, format!("{words} (error {code})"))
}
