//! How the reading of a table stands.

use std::fmt::Write as _;
use std::time::Duration;

use contract::look::span;
use jiff::{SignedDuration, Timestamp};
use state::SnapshotStatus;

/// A table is said to stand still after so long without a row.
const STILL_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How the reading of a table stands, in a sentence.
pub(crate) fn reading(
    source: &str,
    table: &SnapshotStatus,
    now: Timestamp,
    running: bool,
) -> String {
    let of = table
        .estimate
        .map_or_else(String::new, |rows| format!(" of about {rows}"));
    let mut text = format!(
        "Source {source} reads {}: {}{of} rows",
        table.table, table.rows
    );
    if let Some(end) = table.paused_until.filter(|end| *end > now) {
        return text + &format!("; it pauses until {end}, as the settings say.");
    }
    if let (Some(rate), Some(left)) = (table.rows_per_second, table.eta_seconds) {
        let left = span(Duration::from_secs(left));
        let _ = write!(text, ", {rate} a second, about {left} left");
    }
    text.push('.');
    let on = table.read_at.max(table.paused_until);
    let still = on.map(|at| now.duration_since(at));
    if let Some(still) = still.filter(|still| running && *still >= STILL_AFTER) {
        let _ = write!(text, " No progress for {}.", span(still.unsigned_abs()));
    }
    if let Some(problem) = &table.problem {
        let _ = write!(text, " It does not go on: {problem}");
    }
    text
}

/// Whether its reading should go on, and does not.
pub(super) fn is_still(table: &SnapshotStatus, now: Timestamp, running: bool) -> bool {
    let on = table.read_at.max(table.paused_until);
    running && on.is_some_and(|at| now.duration_since(at) >= STILL_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_reading_is_said_in_a_sentence() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let table = SnapshotStatus {
            table: "public.stock".to_owned(),
            done: false,
            done_at: None,
            rows: 1_000,
            estimate: Some(4_000),
            rows_per_second: Some(10),
            eta_seconds: Some(300),
            read_at: Some(at(0)),
            again_at: None,
            paused_until: None,
            problem: None,
        };
        let check = |table: &SnapshotStatus, now, running, wanted: &str| {
            assert_eq!(reading("erp", table, at(now), running), wanted);
        };
        let head = "Source erp reads public.stock: 1000 of about 4000 rows";
        let rate = format!("{head}, 10 a second, about 5 min left.");
        check(&table, 5, true, &rate);
        check(
            &table,
            660,
            true,
            &format!("{rate} No progress for 11 min."),
        );
        check(&table, 660, false, &rate);
        let paused = SnapshotStatus {
            paused_until: Some(at(700)),
            ..table.clone()
        };
        let pause = format!("{head}; it pauses until 1970-01-01T00:11:40Z, as the settings say.");
        check(&paused, 660, true, &pause);
        check(&paused, 701, true, &rate);
        let stuck = SnapshotStatus {
            estimate: None,
            rows_per_second: None,
            eta_seconds: None,
            problem: Some("read table: denied".to_owned()),
            ..table
        };
        let said =
            "Source erp reads public.stock: 1000 rows. It does not go on: read table: denied";
        check(&stuck, 5, true, said);
    }
}
