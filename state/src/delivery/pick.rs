//! Which deliveries leave next: heads of lanes that wait for nothing, the most urgent first. A turn
//! takes only what can leave now, so the rest stays open to newer states of its keys.

use contract::delivery::{DeliveryEvent, StateName};
use contract::{Outgoing, clock};
use rusqlite::params;

use super::PickLimits;
use super::record::Desk;
use super::row::{OUTGOING, outgoing};
use super::waiting::offsets_in;
use crate::error::StoreError;
use crate::guards::Guarded;

/// Guards may stop so many rounds of candidates in one turn; the next turn goes on.
const ROUNDS_MAX: usize = 8;

/// Picks and marks as sending; in shadow mode nothing is marked, for nothing leaves.
pub(super) fn pick(
    desk: &Desk<'_>,
    limits: PickLimits,
    upto: Option<i64>,
    shadow: bool,
) -> Result<Vec<Outgoing>, StoreError> {
    let limit = i64::try_from(limits.events_max).unwrap_or(i64::MAX);
    let due = offsets_in(desk, StateName::Backoff, limit, Some(desk.now))?;
    for offset in due {
        desk.own(offset, &DeliveryEvent::Due, None, None)?;
    }
    let mut picked = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let (found, stopped) = round(desk, limits, upto)?;
        for (offset, why) in &stopped {
            if shadow {
                let why = format!("shadow: it would be held: {why}");
                desk.count("shadow_guarded");
                desk.own(*offset, &DeliveryEvent::Discard, None, Some(&why))?;
            } else {
                desk.own(*offset, &DeliveryEvent::Guarded, Some("guard"), Some(why))?;
            }
        }
        picked = found;
        if stopped.is_empty() {
            break;
        }
    }
    if !shadow {
        let deadline = clock::after(desk.now, limits.request_timeout);
        for outgoing in &picked {
            let event = DeliveryEvent::Picked { deadline };
            desk.own(outgoing.offset, &event, None, None)?;
        }
    }
    Ok(picked)
}

/// Candidates within the limits, and those that a guard stops, with the reason.
type Round = (Vec<Outgoing>, Vec<(i64, String)>);

fn round(desk: &Desk<'_>, limits: PickLimits, upto: Option<i64>) -> Result<Round, StoreError> {
    let limit = i64::try_from(limits.events_max).unwrap_or(i64::MAX);
    let mut heads = desk.db.prepare_cached(&format!(
        "SELECT {OUTGOING}, d.kind, d.lane, d.measure, d.dropping, d.approved
         FROM delivery d INDEXED BY delivery_queued
           CROSS JOIN outbox o ON o.offset = d.offset JOIN source s ON s.id = o.source
         WHERE d.destination = ?1 AND d.state = 'queued' AND d.needs IS NULL
           AND d.offset <= ?3 AND NOT EXISTS (
             SELECT 1 FROM delivery e INDEXED BY delivery_lane
             WHERE e.destination = d.destination AND e.lane = d.lane AND e.offset < d.offset
               AND e.state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))
         ORDER BY d.priority, d.offset LIMIT ?2"
    ))?;
    let upto = upto.unwrap_or(i64::MAX);
    let mut rows = heads.query(params![desk.destination, limit, upto])?;
    let mut found = Vec::new();
    let mut stopped = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let approved: bool = row.get("approved")?;
        if !approved {
            let measure: Option<String> = row.get("measure")?;
            let guarded = Guarded {
                kind: row.get("kind")?,
                lane: row.get("lane")?,
                measure: measure.and_then(|text| text.parse().ok()),
                dropping: row.get("dropping")?,
            };
            if let Some(why) = desk.stops(&guarded)? {
                stopped.push((row.get("offset")?, why));
                continue;
            }
        }
        let outgoing = outgoing(row)?;
        bytes += outgoing.json.len();
        if !found.is_empty() && bytes > limits.bytes_max {
            break;
        }
        found.push(outgoing);
    }
    Ok((found, stopped))
}
