//! What stops a delivery that changes more than is likely to be meant, before it leaves.
//!
//! Looked at when a state is about to leave, against what the destination was told last. A fact
//! has happened and is never stopped; neither is what a person let pass.

use contract::Decimal;
use contract::EventType;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::{kind, millis, queue};

/// How much may go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassDrop {
    /// At most so much of the keys that the destination has, in percent.
    pub percent: u32,
    /// Fewer than this are never too many.
    pub least: u32,
    /// Within so many minutes.
    pub minutes: u32,
}

/// The guards of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// A quantity or price may change by so much of what it was, in percent.
    pub jump_percent: Option<u32>,
    /// A price of nothing is held.
    pub zero_price: bool,
    /// Keys that end and quantities that become nothing.
    pub mass_drop: Option<MassDrop>,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            jump_percent: None,
            zero_price: true,
            mass_drop: Some(MassDrop {
                percent: 30,
                least: 20,
                minutes: 10,
            }),
        }
    }
}

impl Guards {
    /// None of them.
    pub fn off() -> Self {
        Self {
            jump_percent: None,
            zero_price: false,
            mass_drop: None,
        }
    }
}

/// What of a delivery the guards look at.
pub(crate) struct Guarded {
    pub(crate) kind: i64,
    pub(crate) lane: i64,
    pub(crate) measure: Option<Decimal>,
    pub(crate) dropping: bool,
}

/// Why a delivery may not leave, whatever else does; `None` = it may.
pub(crate) fn stops(
    db: &Connection,
    destination: i64,
    guards: &Guards,
    one: &Guarded,
) -> Result<Option<String>, StoreError> {
    if one.kind == kind::FACT {
        return Ok(None);
    }
    let price = one.kind == kind::code(EventType::Price);
    if let Some(measure) = one.measure {
        if guards.zero_price && price && measure <= Decimal::ZERO {
            let why = format!("the price would be {measure} (guard zero_price)");
            return Ok(Some(why));
        }
        if let Some(percent) = guards.jump_percent
            && let Some(told) = queue::told(db, destination, one.kind, one.lane)?
            && jumps(told, measure, percent)
        {
            let what = if price { "price" } else { "quantity" };
            let why = format!(
                "the {what} would change from {told} to {measure} (guard jump_percent: more than \
                 {percent} %)"
            );
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Whether a number changes by more than so much of what it was. From nothing, any is new.
fn jumps(told: Decimal, measure: Decimal, percent: u32) -> bool {
    if told == Decimal::ZERO {
        return false;
    }
    let change = measure
        .try_sub(told)
        .and_then(|change| change.abs().try_mul(Decimal::from(100_i64)));
    let most = told.abs().try_mul(Decimal::from(i64::from(percent)));
    match (change, most) {
        (Ok(change), Ok(most)) => change > most,
        // A number that leaves 38 digits has surely jumped.
        _ => true,
    }
}

/// Why no more keys of a kind may end, or quantities become nothing; `None` = they may.
pub(crate) fn too_many(
    db: &Connection,
    destination: i64,
    mass: MassDrop,
    kind: i64,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let window = SignedDuration::from_mins(i64::from(mass.minutes));
    let since = millis(contract::clock::minus(now, window));
    // What waits, whatever for, and what went within the time; not what a person let pass.
    let dropping: i64 = db
        .prepare_cached(
            "SELECT count(DISTINCT lane) FROM (
               SELECT lane FROM delivery INDEXED BY delivery_dropping
                 WHERE destination = ?1 AND kind = ?2 AND dropping = 1 AND approved = 0 AND state IN
                   ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held')
               UNION ALL
               SELECT lane FROM delivery INDEXED BY delivery_dropping
                 WHERE destination = ?1 AND kind = ?2 AND dropping = 1 AND approved = 0
                   AND state = 'delivered' AND updated_at >= ?3)",
        )?
        .query_row(params![destination, kind, since], |row| row.get(0))?;
    if dropping < i64::from(mass.least).max(1) {
        return Ok(None);
    }
    // Keys that are gone already were among those that it had.
    let gone: i64 = db
        .prepare_cached(
            "SELECT count(DISTINCT d.lane) FROM delivery d INDEXED BY delivery_dropping
             WHERE d.destination = ?1 AND d.kind = ?2 AND d.dropping = 1 AND d.state = 'delivered'
               AND d.updated_at >= ?3 AND NOT EXISTS (SELECT 1 FROM told_to t
                 WHERE t.destination = ?1 AND t.kind = ?2 AND t.lane = d.lane)",
        )?
        .query_row(params![destination, kind, since], |row| row.get(0))?;
    let percent = i64::from(mass.percent.max(1));
    // Counting goes no further than to where it makes no difference.
    let enough = dropping.saturating_mul(100) / percent + 1;
    let there: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM told_to
               WHERE destination = ?1 AND kind = ?2 LIMIT ?3)",
        )?
        .query_row(params![destination, kind, enough], |row| row.get(0))?;
    let had = there + gone;
    if dropping.saturating_mul(100) <= had.saturating_mul(percent) {
        return Ok(None);
    }
    Ok(Some(format!(
        "mass-zero brake: {dropping} of {had} would end or become nothing (guard mass_drop: more \
         than {} % within {} minutes)",
        mass.percent, mass.minutes
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_measured_by_what_was_told() {
        let check = |told: &str, measure: &str, jumped| {
            let found = jumps(told.parse().unwrap(), measure.parse().unwrap(), 50);
            assert_eq!(found, jumped, "{told} to {measure}");
        };
        check("10", "15", false);
        check("10", "15.01", true);
        check("10", "5", false);
        check("10", "4.99", true);
        check("-10", "-16", true);
        check("0", "1000", false);
        check("99999999999999999999999999999999999999", "1", true);
    }
}
