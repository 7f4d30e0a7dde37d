//! Which deliveries leave next: heads of lanes that wait for nothing, the most urgent first. A turn
//! takes only what can leave now, so the rest stays open to newer states of its keys.

use contract::delivery::{DeliveryEvent, DeliveryState, StateName, next};
use contract::{EventType, Outgoing, clock};
use jiff::Timestamp;
use rusqlite::params;

use super::PickLimits;
use super::record::Desk;
use super::row::{OUTGOING, OUTGOING_COLUMNS, outgoing};
use super::waiting::offsets_in;
use crate::error::StoreError;
use crate::guards::Guarded;
use crate::{kind, location, millis};

/// Guards may stop so many rounds of candidates in one turn; the next turn goes on.
const ROUNDS_MAX: usize = 8;

/// What failed so often may be why, and why others in its request fail.
const SUSPECT_FAILURES: u32 = 2;

/// Whether an event on its way out failed again and again: it shares no request with those that did
/// not, or one of them could hold up what never failed.
pub fn is_suspect(outgoing: &Outgoing) -> bool {
    outgoing.attempt > SUSPECT_FAILURES
}

/// The requests that are being filled: as many as may leave.
struct Packing {
    limits: PickLimits,
    begun: usize,
    /// Events and bytes of the newest request of those that are no suspects, and of those that are.
    newest: [(usize, usize); 2],
}

impl Packing {
    /// Whether there is room for one more.
    fn takes(&mut self, outgoing: &Outgoing) -> bool {
        let most = self.limits.batches_max.max(1);
        let bytes = outgoing.json.len();
        let [others, suspects] = &mut self.newest;
        let newest = if is_suspect(outgoing) {
            suspects
        } else {
            others
        };
        let fits = (1..self.limits.events_max / most).contains(&newest.0)
            && newest.1 + bytes <= self.limits.bytes_max / most;
        if fits {
            *newest = (newest.0 + 1, newest.1 + bytes);
        } else if self.begun < most {
            self.begun += 1;
            *newest = (1, bytes);
        } else {
            return false;
        }
        true
    }
}

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
        leave(
            desk,
            &picked,
            clock::after(desk.now, limits.request_timeout),
        )?;
    }
    Ok(picked)
}

/// Marks what was picked as sending: the round that found it read it as queued, in this transaction.
fn leave(desk: &Desk<'_>, picked: &[Outgoing], deadline: Timestamp) -> Result<(), StoreError> {
    let mut sends = desk.db.prepare_cached(
        "UPDATE delivery SET state = ?3, due_at = ?4, held_cause = NULL, ticket = NULL,
           until_at = NULL, updated_at = ?5, attempt = attempt + 1
         WHERE destination = ?1 AND offset = ?2 AND state = 'queued'",
    )?;
    let event = DeliveryEvent::Picked { deadline };
    for outgoing in picked {
        let after = next(&DeliveryState::Queued, &event, outgoing.kind())
            .map_err(|illegal| StoreError::Invariant(illegal.to_string()))?;
        let left = sends.execute(params![
            desk.destination,
            outgoing.offset,
            after.name().name(),
            millis(deadline),
            millis(desk.now)
        ])?;
        if left != 1 {
            return Err(StoreError::Invariant(format!(
                "I3: delivery {} was picked and is not queued",
                outgoing.offset
            )));
        }
    }
    Ok(())
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
             WHERE e.destination = d.destination AND e.lane = d.lane AND e.offset < d.offset AND e.open = 1)
         ORDER BY d.priority, d.offset LIMIT ?2"
    ))?;
    let upto = upto.unwrap_or(i64::MAX);
    let mut rows = heads.query(params![desk.destination, limit, upto])?;
    let mut found = Vec::new();
    let mut stopped = Vec::new();
    let mut packing = Packing {
        limits,
        begun: 0,
        newest: [(0, 0); 2],
    };
    let stops = desk.location_stops()?;
    let stock = kind::code(EventType::InventoryAvailability);
    while let Some(row) = rows.next()? {
        // A person's retry lets it pass guards, and not what a person stopped.
        if !stops.is_empty() && row.get::<_, i64>(OUTGOING_COLUMNS)? == stock {
            let key: String = row.get(4)?;
            if let Some(why) = location::frozen(&stops, &key) {
                stopped.push((row.get(0)?, why));
                continue;
            }
        }
        let approved: bool = row.get(OUTGOING_COLUMNS + 4)?;
        if !approved {
            let measure: Option<String> = row.get(OUTGOING_COLUMNS + 2)?;
            let guarded = Guarded {
                kind: row.get(OUTGOING_COLUMNS)?,
                lane: row.get(OUTGOING_COLUMNS + 1)?,
                measure: measure.and_then(|text| text.parse().ok()),
                dropping: row.get(OUTGOING_COLUMNS + 3)?,
            };
            if let Some(why) = desk.stops(&guarded)? {
                stopped.push((row.get(0)?, why));
                continue;
            }
        }
        let outgoing = outgoing(row)?;
        if packing.takes(&outgoing) {
            found.push(outgoing);
        }
    }
    Ok((found, stopped))
}
